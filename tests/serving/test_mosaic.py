"""The mosaic reads the right cell for every pixel: against analytic fields, rasterio's warper and brute force."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.merge import merge
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT

from geoplantnet.catalog import Catalog, open_catalog
from geoplantnet.errors import RasterError
from geoplantnet.serving import Mosaic
from geoplantnet.serving.crs import CRSS, Bounds, reproject_bounds, transformer
from geoplantnet.serving.exceptions import TooLarge
from geoplantnet.serving.fields import RasterField

BOXES = {  # around the corner where three tiles meet a hole, some 12 km wide
    "EPSG:3035": (4_119_000.0, 2_568_500.0, 4_131_000.0, 2_580_500.0),
    "EPSG:3857": (821_000.0, 5_813_000.0, 839_000.0, 5_831_000.0),
    "EPSG:4326": (7.375, 46.2, 7.545, 46.32),
    "CRS:84": (7.375, 46.2, 7.545, 46.32),
}


def centres(crs: str, bbox: Bounds, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Easting and northing (EPSG:3035) of the pixel centres, each transformed exactly."""
    x = bbox[0] + (np.arange(width) + 0.5) * (bbox[2] - bbox[0]) / width
    y = bbox[3] - (np.arange(height) + 0.5) * (bbox[3] - bbox[1]) / height
    return transformer(crs, "EPSG:3035").transform(*np.meshgrid(x, y))


@pytest.fixture(scope="module")
def merged(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tiles of the habitat layer in one file, made by rasterio: what the warper reads."""
    path = tmp_path_factory.mktemp("merged") / "habitat.tif"
    files = [rasterio.open(tile.assets["habitat"], driver="GTiff") for tile in catalog.tiles]
    data, transform = merge(files)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 0, "crs": files[0].crs} | {
        "width": data.shape[2],
        "height": data.shape[1],
        "transform": transform,
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(data)
    for file in files:
        file.close()
    return path


@pytest.mark.parametrize("crs", CRSS)
def test_every_pixel_shows_the_field_at_its_centre(mosaic, world, crs):
    """Zoomed out, a field linear in place comes out at the exactly transformed centres, in all CRS, across tiles; the hole is empty."""
    bbox = BOXES[crs]
    shown = mosaic.sample(mosaic.catalog.layer("richness"), CRSS[crs], bbox, 151, 100)
    east, north = centres(crs, bbox, 151, 100)
    inner = world.holds(east, north) & world.holds(east + 200, north - 200) & world.holds(east + 200, north)  # edges have fewer neighbours
    assert inner.any() and not inner.all()
    expected = world.richness(east, north)
    assert np.abs(np.ma.getdata(shown) - expected)[inner].max() < 0.01  # 0.05 a cell; the interpolated centre may be 0.02 cells off
    edge = np.abs(east - (world.west + 25_000)) < 2  # the interpolated centre may fall on the other side
    edge |= np.abs(north - (world.south + 25_000)) < 2
    assert (np.ma.getmaskarray(shown) == ~world.holds(east, north))[~edge].all()


@pytest.fixture(scope="module")
def field_file(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tiles of the richness layer in one file with GDAL's own overviews: what the warper reads."""
    path = tmp_path_factory.mktemp("merged") / "richness.tif"
    files = [rasterio.open(tile.assets["richness"], driver="GTiff") for tile in catalog.tiles]
    data, transform = merge(files, nodata=np.nan)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan, "crs": files[0].crs, "tiled": True}
    with rasterio.open(path, "w", **profile, width=data.shape[2], height=data.shape[1], transform=transform) as out:
        out.write(data)
        out.build_overviews([2, 4, 8, 16], Resampling.average)
    for file in files:
        file.close()
    return path


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:3857", "EPSG:4326"])
@pytest.mark.parametrize("zoom", range(5, 18))
def test_at_every_zoom_pixels_lie_where_the_warper_puts_them(mosaic, world, field_file, crs, zoom):
    """From 4.9 km to 1.2 m a pixel: the field, linear in place, is off by less than half a pixel, both from the exact place and from WarpedVRT."""
    metres = 40_075_016.686 / 256 / 2**zoom
    step = metres / 111_320 if crs == "EPSG:4326" else metres
    size = min(256, max(8, round(70_000 / metres)))
    x, y = transformer("EPSG:3035", crs).transform(world.west + 24_000, world.south + 27_000)
    bbox = (x - step * size / 2, y - step * size / 2, x + step * size / 2, y + step * size / 2)
    shown = mosaic.sample(mosaic.catalog.layer("richness"), CRSS[crs], bbox, size, size)
    east, north = centres(crs, bbox, size, size)
    pixel = metres * (1 if crs == "EPSG:3035" else np.cos(np.radians(46.3)))  # the shorter side on the ground
    margin = 3 * pixel + 100  # at edges cells have fewer neighbours
    inner = np.ones(east.shape, bool)
    for dx in (-margin, 0, margin):
        for dy in (-margin, 0, margin):
            inner &= world.holds(east + dx, north + dy)
    inner &= ~((east < world.west + 1_500 + margin) & (north < world.south + 26_000 + margin))  # the hole in the first tile
    assert inner.any() or zoom < 7
    half = 0.5 * max(pixel, 50) * 1e-3  # in species: what half a pixel (zoomed in: half a cell) to the east is worth
    off = np.abs(np.ma.getdata(shown) - world.richness(east, north))
    assert not np.ma.getmaskarray(shown)[inner].any() and off[inner].max(initial=0) < half * (1.8 if pixel < 50 else 1)
    with rasterio.open(field_file, driver="GTiff") as source:
        options = {
            "crs": "OGC:CRS84" if crs == "EPSG:4326" else crs,
            "transform": from_bounds(*bbox, size, size),
            "width": size,
            "height": size,
        }
        with WarpedVRT(source, **options, resampling=Resampling.nearest if pixel < 50 else Resampling.bilinear, tolerance=0.01) as warped:
            expected = warped.read(1, masked=True)
    both = inner & ~np.ma.getmaskarray(expected)
    different = np.abs(np.ma.getdata(shown) - np.ma.getdata(expected))[both]
    assert both.sum() >= 0.99 * inner.sum() and (different < half).mean() > 0.99 if inner.any() else True


def test_zoomed_in_a_cell_is_a_cell(mosaic):
    """At 10 m a pixel a cell is 5 x 5 equal pixels, of the value a click on it tells."""
    layer = mosaic.catalog.layer("richness")
    shown = mosaic.sample(layer, CRSS["EPSG:3035"], (4_110_000.0, 2_580_000.0, 4_110_500.0, 2_580_500.0), 50, 50)
    blocks = shown.reshape(10, 5, 10, 5)
    assert (blocks.min(axis=(1, 3)) == blocks.max(axis=(1, 3))).all()
    assert blocks[0, 0, 9, 0] == np.float32(mosaic.value_at(layer, 4_110_499.0, 2_580_499.0))
    assert len(np.unique(blocks[:, 0, :, 0])) > 50


@pytest.mark.parametrize("crs", CRSS)
def test_classes_come_from_the_nearest_cell(mosaic, world, crs):
    """At 5 m a pixel the one odd cell and the corner of another class show where they are, brute force."""
    odd = (world.west + 20_025, world.south + 30_025)
    x, y = transformer("EPSG:3035", crs).transform(*odd)
    half = 200 if CRSS[crs].definition.is_projected else 0.002
    bbox = (x - half, y - half, x + 0.7 * half, y + half)
    shown = mosaic.sample(mosaic.catalog.layer("habitat"), CRSS[crs], bbox, 90, 80)
    east, north = centres(crs, bbox, 90, 80)
    assert (shown == 7).any() and (shown == 1).any()
    certain = (np.abs((east / 50) % 1 - 0.5) < 0.45) & (np.abs((north / 50) % 1 - 0.5) < 0.45)
    assert (np.ma.getdata(shown) == world.habitat(east, north))[certain].all()


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:3857", "EPSG:4326"])
def test_nearest_agrees_with_the_warper(mosaic, merged, crs):
    """At full resolution rasterio's WarpedVRT (nearest) shows the same class in all but a few border pixels."""
    bbox, width, height = BOXES[crs], 400, 380
    with rasterio.open(merged, driver="GTiff") as source:
        warped = WarpedVRT(
            source,
            crs="OGC:CRS84" if crs == "EPSG:4326" else crs,
            transform=from_bounds(*bbox, width, height),
            width=width,
            height=height,
            resampling=Resampling.nearest,
            tolerance=0.01,
        )
        with warped:
            expected = warped.read(1, masked=True)
    shown = mosaic.sample(mosaic.catalog.layer("habitat"), CRSS[crs], bbox, width, height)
    assert np.ma.getmaskarray(expected).any()
    same = (np.ma.getmaskarray(shown) == np.ma.getmaskarray(expected)) & (shown.filled(0) == expected.filled(0))
    assert same.mean() > 0.999


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_parts_of_a_map_are_the_map(mosaic, data):
    """Cutting a map into two never changes a pixel: neither tiles of the grid nor tiles of a client leave seams."""
    width, cut = 64, data.draw(st.integers(1, 63))
    pixel = data.draw(st.sampled_from([25.0, 50.0, 100.0, 400.0]))
    west = data.draw(st.integers(0, 40)) * 500 + 4_105_000.0
    north = 2_599_000.0 - data.draw(st.integers(0, 40)) * 500
    layer = mosaic.catalog.layer(data.draw(st.sampled_from(["habitat", "species.v002"])))
    crs = CRSS["EPSG:3035"]
    south, middle, east = north - width * pixel, west + cut * pixel, west + width * pixel
    whole = mosaic.sample(layer, crs, (west, south, east, north), width, width)
    left = mosaic.sample(layer, crs, (west, south, middle, north), cut, width)
    right = mosaic.sample(layer, crs, (middle, south, east, north), width - cut, width)
    np.testing.assert_array_equal(whole.filled(-1), np.ma.hstack([left, right]).filled(-1))


def test_zoomed_out_there_are_no_gaps_between_tiles(mosaic, world):
    """From 50 m to 12.8 km a pixel every pixel whose centre lies in a tile shows data, and none other."""
    layer, crs = mosaic.catalog.layer("relief"), CRSS["EPSG:3035"]
    for power in range(9):
        pixel = 50.0 * 2**power
        bbox = (4_099_010.0, 2_549_010.0, 4_099_010.0 + 60 * pixel, 2_549_010.0 + 60 * pixel)
        shown = mosaic.sample(layer, crs, bbox, 60, 60)
        east, north = centres("EPSG:3035", bbox, 60, 60)
        np.testing.assert_array_equal(~np.ma.getmaskarray(shown), world.holds(east, north), err_msg=f"{pixel} m")


def test_overviews_are_means_where_values_are_continuous(mosaic, world):
    """A pixel of 1.6 km shows the field of its place to within half a pixel's rise: levels without overviews are averaged, not picked."""
    bbox = (4_100_000.0, 2_576_000.0, 4_124_000.0, 2_600_000.0)
    shown = mosaic.sample(mosaic.catalog.layer("richness"), CRSS["EPSG:3035"], bbox, 15, 15)
    east, north = centres("EPSG:3035", bbox, 15, 15)
    assert np.abs(shown - world.richness(east, north)).max() < 0.5


def test_a_map_far_away_or_of_the_whole_world_is_answered(mosaic):
    """Boxes without data, beyond the projection or around the globe give masked pixels, or the few that hold data."""
    layer = mosaic.catalog.layer("habitat")
    for crs, bbox in (
        ("CRS:84", (100.0, -60.0, 110.0, -50.0)),
        ("CRS:84", (-500.0, -300.0, -400.0, -200.0)),
        ("EPSG:3857", (-2e7, -2e7, -1.9e7, -1.9e7)),
        ("EPSG:3035", (-1e9, -1e9, -9e8, -9e8)),
    ):
        assert np.ma.getmaskarray(mosaic.sample(layer, CRSS[crs], bbox, 20, 10)).all()
    world_map = mosaic.sample(layer, CRSS["CRS:84"], (-180.0, -90.0, 180.0, 90.0), 720, 360)
    assert 1 <= (~np.ma.getmaskarray(world_map)).sum() <= 6
    row, column = np.argwhere(~np.ma.getmaskarray(world_map))[0]
    assert (90 - row / 2, -180 + column / 2) == pytest.approx((46.5, 7.5), abs=0.6)


@pytest.mark.parametrize(("width", "height"), [(4096, 2), (2, 4096), (4096, 1)])
def test_a_needle_of_a_map_reads_no_more_cells_than_a_square_one(mosaic, monkeypatch, width, height):
    """Pixels a thousand times longer than wide are answered from a coarse level: memory does not grow with the catalog."""
    asked: list[int] = []
    read = RasterField.read

    def watched(self: RasterField, level: int, rows: slice, columns: slice):
        asked.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return read(self, level, rows, columns)

    monkeypatch.setattr(RasterField, "read", watched)
    shown = mosaic.sample(mosaic.catalog.layer("relief"), CRSS["EPSG:3035"], mosaic.catalog.bounds, width, height)
    assert shown.count() and max(asked) <= 16 * width * height


@given(x=st.floats(4_099_000, 4_151_000), y=st.floats(2_549_000, 2_601_000))
@settings(max_examples=60, deadline=None)
def test_a_value_is_the_stored_one(mosaic, x, y):
    """The value at a point is what rasterio reads from the one tile's cell there, scaled; None where no tile or no data is."""
    layer = mosaic.catalog.layer("species.v002")
    expected = None
    for tile in mosaic.catalog.tiles:
        west, south, east, north = tile.bounds
        if west <= x < east and south < y <= north:
            with rasterio.open(tile.assets["species"], driver="GTiff") as file:
                row, column = int((north - y) // 50), int((x - west) // 50)
                stored = int(file.read(2)[row, column])
                expected = None if stored == 255 else stored * 0.004
    assert mosaic.value_at(layer, x, y) == (None if expected is None else pytest.approx(expected))


def test_cells_are_those_of_the_files(mosaic, catalog):
    """A block of cells across tiles equals rasterio's merge of the files, and says where it lies."""
    files = [rasterio.open(tile.assets["species"], driver="GTiff") for tile in catalog.tiles]
    bounds = (4_120_000.0, 2_570_000.0, 4_131_000.0, 2_581_000.0)
    expected, transform = merge(files, bounds=bounds, indexes=[3], nodata=255)
    cells, where = mosaic.cells(catalog.layer("species.v003"), bounds)
    np.testing.assert_array_equal(cells.filled(255), expected[0])
    assert where == transform
    for file in files:
        file.close()


def test_too_many_cells_are_refused(mosaic, monkeypatch):
    """More cells than an answer may hold raise TooLarge before anything is read."""
    monkeypatch.setattr("geoplantnet.serving.mosaic.MAX_CELLS", 1000)
    with pytest.raises(TooLarge, match="at most 1000"):
        mosaic.cells(mosaic.catalog.layer("relief"), mosaic.catalog.bounds)


def test_threads_share_few_files(catalog):
    """Many threads reading at once get the values one gets alone, and the idle files stay below their limit."""
    mosaic = Mosaic(catalog, open_files=2)
    layer, crs, bbox = catalog.layer("habitat"), CRSS["EPSG:3857"], BOXES["EPSG:3857"]
    alone = mosaic.sample(layer, crs, bbox, 64, 64)
    seen: list[bool] = []

    def work() -> None:
        for _ in range(5):
            seen.append(np.ma.allequal(mosaic.sample(layer, crs, bbox, 64, 64), alone))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 30 and all(seen)
    assert mosaic._tiles.files._count <= 2
    mosaic.close()
    assert mosaic._tiles.files._count == 0


def test_a_broken_file_is_named(store, tmp_path):
    """A truncated tile raises RasterError with its path, and the other tiles go on being read."""
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    catalog = open_catalog(copy)
    broken = catalog.tiles[0].assets["relief"]
    broken.write_bytes(broken.read_bytes()[:2000])
    mosaic = Mosaic(catalog)
    with pytest.raises(RasterError, match=r"relief\.tif"):
        mosaic.sample(catalog.layer("relief"), CRSS["EPSG:3035"], catalog.tiles[0].bounds, 250, 250)
    assert (
        mosaic.sample(catalog.layer("relief"), CRSS["EPSG:3035"], (4_126_000.0, 2_576_000.0, 4_149_000.0, 2_599_000.0), 230, 230).count()
        == 230 * 230
    )


def test_bounds_follow_the_edges():
    """The box around a reprojected box holds points of its edges, which its corners alone do not."""
    box = (2_500_000.0, 2_500_000.0, 6_000_000.0, 2_600_000.0)
    found = reproject_bounds(box, "EPSG:3035", "CRS:84")
    assert found is not None
    _, latitude = transformer("EPSG:3035", "CRS:84").transform(np.linspace(box[0], box[2], 99), np.full(99, box[3]))
    assert latitude.max() <= found[3] + 1e-3
    assert latitude.max() > max(latitude[0], latitude[-1]) + 0.5
