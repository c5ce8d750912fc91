"""QGIS itself, by PyQGIS and without a display: maps, identify, legends, and the files the server makes for it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import rasterio

from geoplantnet.serving import legend, styles
from geoplantnet.serving.crs import transformer

VERSIONS = {"1.3.0": ("EPSG:3035", "EPSG:3857", "EPSG:4326", "CRS:84"), "1.1.1": ("EPSG:3035", "EPSG:3857", "EPSG:4326")}
CASES = [(version, crs) for version, known in VERSIONS.items() for crs in known]
PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
"""Debian's own, which its PyQGIS is for."""


class Qgis:
    """The running `client.py`."""

    def __init__(self, home: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._running = subprocess.Popen(
            [PYTHON, str(Path(__file__).with_name("client.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**clean, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "QGIS_CUSTOM_CONFIG_PATH": str(home)},
        )

    def ask(self, verb: str, **asked: Any) -> Any:
        assert self._running.stdin is not None and self._running.stdout is not None
        self._running.stdin.write(json.dumps({"verb": verb, **asked}, default=str) + "\n")
        self._running.stdin.flush()
        line = self._running.stdout.readline()
        assert line, f"QGIS died of {verb} {asked}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def end(self) -> None:
        assert self._running.stdin is not None
        self._running.stdin.close()
        self._running.wait(20)


@pytest.fixture(scope="module")
def qgis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qgis]:
    asked = [PYTHON, "-c", "import qgis.core"]
    if not Path(PYTHON).exists() or subprocess.run(asked, env={"HOME": "/"}, capture_output=True, check=False).returncode:
        pytest.skip("PyQGIS is not installed (1.2 GB): `make test-qgis` as root installs it")
    running = Qgis(tmp_path_factory.mktemp("qgis"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def fetched(client, tmp_path_factory):
    """A file of the server's /qgis, saved: its path."""

    def fetch(path: str) -> Path:
        answer = client.get(f"/qgis/{path}")
        answer.raise_for_status()
        file = tmp_path_factory.mktemp("file") / path.split("?")[0].split("/")[-1]
        file.write_bytes(answer.content)
        return file

    return fetch


def source(server: str, version: str, crs: str, layer: str) -> str:
    """A WMS layer as QGIS writes it down."""
    url = quote(f"{server}/wms?VERSION={version}", safe=":/")
    return f"contextualWMSLegend=0&crs={crs}&dpiMode=7&featureCount=10&format=image/png&layers={layer}&styles=&url={url}"


@pytest.mark.parametrize(("version", "crs"), CASES)
def test_every_place_is_where_it_is(qgis, server, views, assert_in_place, rgba, tmp_path, version, crs):
    """Corner, hole and single cell of a map QGIS renders lie within a pixel of their ground positions.

    A map that a layer does not fill is itself moved by up to a pixel each way: QGIS cuts it at the layer's extent, in whole pixels.
    """
    for view in views(crs)[1:]:
        picture = tmp_path / "map.png"
        errors = qgis.ask("draw", source=source(server, version, crs, "habitat"), file=picture, **dataclasses.asdict(view))
        assert errors == []
        assert_in_place(rgba(picture.read_bytes()), view)


@pytest.mark.parametrize(
    ("matrix_set", "crs", "corner", "coarsest"),
    [
        ("WebMercatorQuad", "EPSG:3857", (-20037508.342789244, 20037508.342789244), 156543.03392804097),
        ("EuropeanETRS89_LAEAQuad", "EPSG:3035", (2_000_000, 5_500_000), 17578.125),
    ],
)
def test_tiles_lie_where_they_lie(qgis, client, server, views, assert_in_place, rgba, tmp_path, matrix_set, crs, corner, coarsest):
    """WMTS: at the scale of a matrix QGIS puts tiles together so that corner, hole and single cell lie where they are."""
    capabilities = f"{server}/wmts?SERVICE=WMTS&REQUEST=GetCapabilities"
    if client.get(capabilities).status_code != 200:
        pytest.skip("no WMTS is served")
    asked = f"contextualWMSLegend=0&crs={crs}&dpiMode=7&format=image/png&layers=habitat&styles=default&tileMatrixSet={matrix_set}"
    for view in views(crs)[1:]:
        resolution = coarsest / 2 ** round(np.log2(coarsest / view.resolution))
        west = corner[0] + round((view.bounds[0] - corner[0]) / resolution) * resolution
        north = corner[1] - round((corner[1] - view.bounds[3]) / resolution) * resolution
        bounds = (west, north - view.height * resolution, west + view.width * resolution, north)
        on_pixels, picture = dataclasses.replace(view, bounds=bounds), tmp_path / "tiles.png"
        qgis.ask("draw", source=f"{asked}&url={quote(capabilities, safe=':/')}", file=picture, **dataclasses.asdict(on_pixels))
        assert_in_place(rgba(picture.read_bytes()), on_pixels)


@pytest.mark.parametrize("told", ["html", "text", "feature"])
@pytest.mark.parametrize(("version", "crs"), CASES)
def test_identify_tells_the_stored_value(qgis, server, views, places, version, crs, told):
    """The identify tool shows the title and the number stored in the cell that was clicked, in each of its three formats."""
    for place, stored in places.items():
        view = type(views(crs)[0]).around((place[0] - 400, place[1] - 400, place[0] + 400, place[1] + 400), crs, 60, 40)
        at = transformer("EPSG:3035", crs).transform(*place)
        found = qgis.ask("identify", source=source(server, version, crs, "richness"), at=at, format=told, **dataclasses.asdict(view))
        if told == "feature":
            assert float(found[0]["value"]) == pytest.approx(stored, rel=1e-6)
            assert (found[0]["title"], found[0]["unit"]) == ("Species richness", "species")
        else:
            assert "Species richness" in found and f"{stored:g} species" in found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_legend_is_the_layers(qgis, server, catalog, rgba, tmp_path, version):
    """Below a layer QGIS shows the picture of its classes."""
    assert qgis.ask("legend", source=source(server, version, "EPSG:3035", "habitat"), file=tmp_path / "legend.png")
    np.testing.assert_array_equal(rgba((tmp_path / "legend.png").read_bytes()), rgba(legend.draw(styles.drawing(catalog.layer("habitat")))))


def test_the_project_opens(qgis, fetched, views, catalog, tmp_path):
    """Every layer of the project is valid, below its family, in the tiles' CRS; it shows an indicator over the relief, and something is drawn."""
    view = views("EPSG:3035")[0]
    told = qgis.ask("project", project=fetched("project.qgs"), file=tmp_path / "map.png", **dataclasses.asdict(view))
    assert (told["title"], told["crs"], told["errors"]) == (catalog.title, "EPSG:3035", [])
    maps, ground = told["tree"]
    assert (maps["group"], ground["layer"]) == (catalog.title, "Relief")
    families = {group["group"]: [member["layer"] for member in group["members"]] for group in maps["members"]}
    assert families == {
        "Species": ["Abies alba", "Fagus sylvatica", "Gentiana lutea"],
        "Habitat": ["Habitat"],
        "Ecosystem": ["Species richness"],
    }
    for layer in [ground, *(member for group in maps["members"] for member in group["members"])]:
        assert (layer["valid"], layer["crs"], layer["identify"]) == (True, "EPSG:3035", "Html") and catalog.notice in layer["words"]
    assert told["shown"] == ["Species richness", "Relief"]


def test_layer_definitions_are_added(qgis, fetched, catalog):
    """The .qlr adds all layers to a project; that of one species adds this one, in French with its French title where it has one."""
    everything, ground = qgis.ask("definition", definition=fetched("layers.qlr"))
    assert sum(len(group["members"]) for group in everything["members"]) + 1 == len(catalog.layers) and ground["valid"]
    (one,) = qgis.ask("definition", definition=fetched("layers/species.v002.qlr?lang=fr"))
    assert one["layer"] == "Fagus sylvatica" and one["valid"]


@pytest.mark.parametrize(
    ("name", "style"),
    [("richness", "default"), ("richness", "classes"), ("richness", "magma"), ("species.v002", "default"), ("habitat", ""), ("relief", "")],
)
def test_a_style_draws_a_file_as_the_server_draws_the_layer(qgis, server, fetched, catalog, rgba, tmp_path, name, style):
    """A published tile with the layer's .qml looks as the WMS does: QGIS scales values itself, nodata is transparent, colours agree."""
    layer, tile = catalog.layer(name), catalog.tiles[0]
    west, south, east, north = (float(side) for side in rasterio.open(tile.assets[layer.asset]).bounds)
    view = {"crs": "EPSG:3035", "bounds": (west, south, east, north), "width": 500, "height": 500}
    served, drawn = tmp_path / "served.png", tmp_path / "drawn.png"
    asked = source(server, "1.3.0", "EPSG:3035", name).replace("styles=", f"styles={style}")
    qgis.ask("draw", source=asked, file=served, **view)
    file = fetched(f"styles/{name}.qml?style={style}")
    qgis.ask("draw", source=tile.assets[layer.asset], provider="gdal", style=file, file=drawn, **view)
    expected, got = rgba(served.read_bytes()).astype(int), rgba(drawn.read_bytes()).astype(int)
    np.testing.assert_array_equal(expected[..., 3], got[..., 3])
    seen = expected[..., 3] == 255
    assert seen.any() and not (name == "species.v002" and seen.all())
    assert np.abs(expected - got)[seen].max() <= (
        0 if layer.classes or style == styles.CLASSES else 4
    )  # 255 colours there, any number here


def test_qgis_applies_a_files_scale(qgis, catalog):
    """The number QGIS reads from a species' raster is the probability, not the stored byte: styles are written in values."""
    tile = catalog.tiles[0]
    with rasterio.open(tile.assets["species"]) as raster:
        x, y = raster.xy(7, 300)
        stored = int(next(raster.sample([(x, y)]))[1])
    told = qgis.ask("value", source=tile.assets["species"], provider="gdal", at=(x, y), band=2)
    assert told == pytest.approx(stored * 0.004) and stored > 0


def test_a_styles_colours_are_the_legends(qgis, fetched, catalog):
    """Band, colours, breaks and labels QGIS takes from a .qml are those of the legend; another palette and band can be asked for."""
    tile = catalog.tiles[0]
    layer = catalog.layer("species.v003")
    asked = {"source": tile.assets["species"], "provider": "gdal"}
    made = qgis.ask("renderer", style=fetched("styles/species.v003.qml?style=magma"), **asked)
    colors = legend.describe(layer, "magma")["colors"]
    assert (made["type"], made["bands"]) == ("singlebandpseudocolor", [3])
    assert [color for _, color, _ in made["entries"]] == colors
    assert [value for value, _, _ in made["entries"]] == pytest.approx(np.linspace(*layer.range, len(colors)).tolist())
    assert qgis.ask("renderer", style=fetched("styles/species.v003.qml?band=1"), **asked)["bands"] == [1]
    classes = qgis.ask("renderer", style=fetched("styles/habitat.qml"), source=tile.assets["habitat"], provider="gdal")
    assert [tuple(entry) for entry in classes["entries"]] == [(c.value, c.color, c.label) for c in catalog.layer("habitat").classes]
    assert styles.DEFAULT in legend.describe(layer)["styles"]
