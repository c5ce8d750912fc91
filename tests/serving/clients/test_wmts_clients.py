"""Clients of tiles: OWSLib and GDAL's WMTS driver, which decide by the capabilities alone where each tile lies."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from owslib.wmts import WebMapTileService
from PIL import Image

from geoplantnet.serving.crs import transformer
from geoplantnet.serving.tilematrix import TILE_MATRIX_SETS, TileMatrixSet

SETS = {"EPSG:3857": "WebMercatorQuad", "EPSG:3035": "EuropeanETRS89_LAEAQuad"}
CAPABILITIES = "wmts/1.0.0/WMTSCapabilities.xml"
needs_gdal = pytest.mark.skipif(
    shutil.which("gdalwarp") is None, reason="GDAL's programs are not installed: apt-get install --no-install-recommends gdal-bin"
)


def output_of(*command: object) -> str:
    """Standard output of a program that must end well."""
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0 and "ERROR" not in ended.stderr, f"{command[0]} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


def within(tiles: TileMatrixSet, matrix: str, view: Any) -> Any:
    """A view of whole pixels of a matrix, about where another one is: a client has nothing to move, so that all must be in place."""
    step = tiles.matrix(matrix).cell_size
    west, south, east, north = view.bounds
    left, right = (round((x - tiles.west) / step) for x in (west, east))
    top, bottom = (round((tiles.north - y) / step) for y in (north, south))
    bounds = (tiles.west + left * step, tiles.north - bottom * step, tiles.west + right * step, tiles.north - top * step)
    return type(view)(crs=tiles.crs.name, bounds=bounds, width=right - left, height=bottom - top)


@pytest.mark.parametrize("crs", SETS)
@pytest.mark.parametrize("zoom", [7, 9])
def test_owslib_puts_tiles_where_they_belong(server, views, assert_in_place, crs, zoom):
    """A view cut out of tiles that OWSLib got, each put where the matrix it read says, shows every place within a pixel of where it is."""
    wmts = WebMapTileService(f"{server}/wmts")
    assert wmts.identification.type == "OGC WMTS" and {"GetTile", "GetFeatureInfo"} <= {one.name for one in wmts.operations}
    matrix = wmts.tilematrixsets[SETS[crs]].tilematrix[str(zoom)]
    limits = wmts["habitat"].tilematrixsetlinks[SETS[crs]].tilematrixlimits[str(zoom)]
    corner = matrix.topleftcorner if crs == "EPSG:3857" else matrix.topleftcorner[::-1]  # as read, north first in EPSG:3035
    step = matrix.scaledenominator * 0.00028
    rows, cols = range(limits.mintilerow, limits.maxtilerow + 1), range(limits.mintilecol, limits.maxtilecol + 1)
    words = {"layer": "habitat", "tilematrixset": SETS[crs], "tilematrix": str(zoom), "format": "image/png"}

    def tile(row: int, col: int) -> np.ndarray:
        return np.asarray(Image.open(BytesIO(wmts.gettile(**words, row=row, column=col).read())).convert("RGBA"))

    picture = np.vstack([np.hstack([tile(row, col) for col in cols]) for row in rows])
    view = type(views(crs)[0])
    west, north = corner[0] + cols[0] * 256 * step, corner[1] - rows[0] * 256 * step
    height, width = picture.shape[:2]
    assert_in_place(picture, view(crs=crs, bounds=(west, north - height * step, west + width * step, north), width=width, height=height))


@needs_gdal
@pytest.mark.parametrize("crs", SETS)
@pytest.mark.parametrize("zoom", [7, 9, 13])
def test_gdal_puts_tiles_where_they_belong(server, views, assert_in_place, rgba, tmp_path, monkeypatch, crs, zoom):
    """Told the URL, a layer and a matrix, GDAL finds the tiles itself; a window of them in their own pixels lies in place."""
    monkeypatch.setenv("GDAL_PAM_ENABLED", "NO")
    source, picture = tmp_path / "source.xml", tmp_path / "picture.png"
    tiles = TILE_MATRIX_SETS[SETS[crs]]
    source.write_text(
        f"<GDAL_WMTS><GetCapabilitiesUrl>{escape(server)}/{CAPABILITIES}</GetCapabilitiesUrl><Layer>habitat</Layer><Style>default</Style>"
        f"<TileMatrixSet>{tiles.id}</TileMatrixSet><TileMatrix>{zoom}</TileMatrix><Format>image/png</Format><BandsCount>4</BandsCount>"
        f"<Cache><Path>{tmp_path / 'cache'}</Path></Cache></GDAL_WMTS>"
    )
    whole, _, near = views(crs)
    view, step = within(tiles, str(zoom), near if zoom == 13 else whole), tiles.matrix(str(zoom)).cell_size
    output_of(
        "gdalwarp", "-q", "-r", "near", "-te", *view.bounds, "-tr", repr(step), repr(step), "-ovr", "NONE", "-of", "PNG", source, picture
    )
    assert_in_place(rgba(picture.read_bytes()), view)


@needs_gdal
def test_gdal_needs_the_url_alone(server, catalog, world, tmp_path, monkeypatch):
    """By the URL of the capabilities it lists every layer in both matrix sets, and translates one of them in its own projection."""
    monkeypatch.setenv("GDAL_DEFAULT_WMS_CACHE_PATH", str(tmp_path / "cache"))
    told = output_of("gdalinfo", f"WMTS:{server}/{CAPABILITIES}")
    for name in catalog.layers:
        assert f"layer={name}" in told
    for crs, name in SETS.items():
        source = f"WMTS:{server}/{CAPABILITIES},layer=richness,tilematrixset={name},tilematrix=8"
        picture = Path(tmp_path / f"{name}.tif")
        x, y = transformer("EPSG:3035", crs).transform((world.west + world.east) / 2, (world.south + world.north) / 2)
        cell = TILE_MATRIX_SETS[name].matrix("8").cell_size
        window = (x - 64 * cell, y + 64 * cell, x + 64 * cell, y - 64 * cell)
        output_of("gdal_translate", "-q", "-projwin", *window, source, picture)
        shown = np.moveaxis(np.asarray(Image.open(picture).convert("RGBA")), -1, 0)
        assert shown.shape == (4, 128, 128) and (shown[3] == 255).any()
