"""VRT and GTI over tiles, opened by GDAL through rasterio, beside an array put together by hand."""

from __future__ import annotations

import shutil

import numpy as np
import pyogrio
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoplantnet.catalog import write_cog
from geoplantnet.catalog.virtual_mosaic import MOST_SOURCES, TileFiles, write_gti, write_vrt
from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid import TileGrid
from geoplantnet.storage import sha256

GRID = TileGrid(tile_size=20_000)
SIDE = GRID.cells_per_side
LATTICE = [(e, n) for e in range(3) for n in range(3)]
SETS = st.sets(st.sampled_from(LATTICE), min_size=1)
NAMES = ["abies-alba", "fagus & <co>"]


def tile_at(corner):
    return GRID.tile(f"20kmE{4120 + 20 * corner[0]}N{2620 + 20 * corner[1]}")


def pixels_of(corner):
    """Two bands of noise, some of it nodata, of a tile's own."""
    return np.random.default_rng(corner).integers(0, 256, (2, SIDE, SIDE)).astype("uint8")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Nine tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    for corner in LATTICE:
        write_cog(
            folder / tile_at(corner).id / "species.tif",
            pixels_of(corner),
            tile_at(corner).geobox(),
            band_names=NAMES,
            band_descriptions=["Abies alba", "Fagus"],
            scale=0.004,
            nodata=255,
            unit="1",
        )
    return folder


def files_of(store, corners):
    return TileFiles(files={tile_at(corner): store / tile_at(corner).id / "species.tif" for corner in sorted(corners)})


def by_hand(corners):
    """The whole (band, y, x), and its western and northern edge."""
    west, east = min(e for e, _ in corners), max(e for e, _ in corners)
    south, north = min(n for _, n in corners), max(n for _, n in corners)
    whole = np.full((2, (north - south + 1) * SIDE, (east - west + 1) * SIDE), 255, "uint8")
    for e, n in corners:
        whole[:, (north - n) * SIDE :, (e - west) * SIDE :][:, :SIDE, :SIDE] = pixels_of((e, n))
    return whole, 1000 * (4120 + 20 * west), 1000 * (2620 + 20 * (north + 1))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corners=SETS)
@pytest.mark.parametrize("kind", ["vrt", "gti"])
def test_any_set_of_tiles_reads_as_one_raster(store, tmp_path, kind, corners):
    """Pixels, place, nodata between tiles, names, scales and units are those of the tiles; a second index has the same bytes."""
    write, name = (lambda p, f: write_vrt(p, [f], title="T & t"), "a.vrt") if kind == "vrt" else (_gti, "a.gti.gpkg")
    path = write(tmp_path / name, files_of(store, corners))
    whole, west, north = by_hand(corners)
    with rasterio.open(path) as raster:
        assert raster.driver == kind.upper() and raster.crs.to_epsg() == 3035
        assert (raster.transform.c, raster.transform.f, raster.res) == (west, north, (50, 50))
        assert raster.descriptions == tuple(NAMES) and raster.scales == (0.004, 0.004) and raster.units == ("1", "1")
        assert raster.nodatavals == (255, 255) and raster.tags(1)["long_name"] == "Abies alba" and raster.tags()["title"] == "T & t"
        np.testing.assert_array_equal(raster.read(), whole)
        for e, n in corners:  # a window that ends where its tile does
            row, column = (round((north - 1000 * (2640 + 20 * n)) / 50), round((1000 * (4120 + 20 * e) - west) / 50))
            exactly = raster.read(1, window=((row, row + SIDE), (column, column + SIDE)))
            np.testing.assert_array_equal(exactly, pixels_of((e, n))[0])
        across = ((SIDE // 2, whole.shape[1]), (SIDE // 3, whole.shape[2]))
        np.testing.assert_array_equal(raster.read(2, window=across), whole[1, SIDE // 2 :, SIDE // 3 :])
    before = sha256(path)
    assert sha256(write(tmp_path / name, files_of(store, corners))) == before


def _gti(path, files):
    return write_gti(path, files, title="T & t")


def test_a_coarse_view_reads_the_tiles_overviews(store, tmp_path):
    """At half the resolution a GTI shows what the overviews of its tiles hold."""
    path = write_gti(tmp_path / "a.gti.gpkg", files_of(store, LATTICE), title="t")
    with rasterio.open(path) as raster, rasterio.open(store / tile_at((0, 2)).id / "species.tif", overview_level=0) as tile:
        assert raster.overviews(1) == [2, 4]
        np.testing.assert_array_equal(raster.read(1, out_shape=(3 * SIDE // 2,) * 2)[: SIDE // 2, : SIDE // 2], tile.read(1))


def test_a_vrt_takes_some_bands_of_several_products(store, tmp_path):
    """The second species, then both: three bands in this order."""
    files = files_of(store, LATTICE[:2])
    path = write_vrt(tmp_path / "a.vrt", [TileFiles(files=files.files, bands=(2,)), files], title="t")
    whole, _, _ = by_hand(LATTICE[:2])
    with rasterio.open(path) as raster:
        assert raster.descriptions == (NAMES[1], *NAMES)
        np.testing.assert_array_equal(raster.read(), whole[[1, 0, 1]])


def test_indexes_move_with_their_tiles_and_a_gti_is_a_map_of_outlines(store, tmp_path):
    """Both name files relative to themselves; the GeoPackage holds a square a tile."""
    shutil.copytree(store, tmp_path / "a" / "tiles")
    files = files_of(tmp_path / "a" / "tiles", LATTICE)
    write_vrt(tmp_path / "a" / "out" / "x.vrt", [files], title="t")
    write_gti(tmp_path / "a" / "out" / "x.gti.gpkg", files, title="t")
    (tmp_path / "a").rename(tmp_path / "b")
    for name in ("x.vrt", "x.gti.gpkg"):
        with rasterio.open(tmp_path / "b" / "out" / name) as raster:
            np.testing.assert_array_equal(raster.read(), by_hand(LATTICE)[0])
    outlines = pyogrio.read_dataframe(tmp_path / "b" / "out" / "x.gti.gpkg")
    assert sorted(outlines.tile_id) == sorted(tile_at(corner).id for corner in LATTICE)
    assert all(np.allclose(row.geometry.bounds, GRID.tile(row.tile_id).bounds, atol=1.01) for row in outlines.itertuples())


def test_files_that_do_not_go_together_are_refused(store, tmp_path):
    """Other bands, another tile's place, a text, the wrong ending, too much for a VRT: nothing is written."""
    files = files_of(store, LATTICE[:2]).files
    tile = tile_at(LATTICE[1])
    other = write_cog(tmp_path / "in" / "one.tif", pixels_of((0, 0))[:1], tile.geobox(), band_names=["x"], nodata=255)
    (tmp_path / "in" / "text.tif").write_text("<VRTDataset/>")
    for file, says in (
        (other, "other bands"),
        (files[tile_at(LATTICE[0])], "does not lie on"),
        (tmp_path / "in" / "text.tif", "cannot open"),
    ):
        with pytest.raises(RasterError, match=says):
            write_vrt(tmp_path / "a.vrt", [TileFiles(files={**files, tile: file})], title="t")
    many = TileFiles(files=files, bands=(1,) * (MOST_SOURCES // 2 + 1))
    for call, says in (
        (lambda: write_vrt(tmp_path / "a.tif", [TileFiles(files=files)], title="t"), r"\.vrt"),
        (lambda: write_gti(tmp_path / "a.gpkg", TileFiles(files=files), title="t"), r"\.gti\.gpkg"),
        (lambda: write_vrt(tmp_path / "a.vrt", [many], title="t"), "fewer species"),
        (lambda: write_gti(tmp_path / "a.gti.gpkg", TileFiles(files=files, bands=(1,)), title="t"), "VRT for some"),
    ):
        with pytest.raises(UsageError, match=says):
            call()
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
