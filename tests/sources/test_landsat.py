"""Landsat onto the cells: the mean of what is seen in each, whatever the 30 m lattice does; clear by QA_PIXEL."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject

from geoplantnet.sources.landsat import StacLandsat
from geoplantnet.sources.source import Source

SIDE = 120
WEST, NORTH = 679_995.0, 5_150_025.0  # pixels of Landsat begin at odd multiples of 15 m
CLEAR, CLOUD, SHADOW, SNOW, FILL = 21824, 22280, 23888, 30048, 1
X, Y = (float(v) // 50 * 50 for v in CRS("EPSG:32632").transformer_to_crs(CRS("EPSG:3035"))(WEST + 15 * SIDE, NORTH - 15 * SIDE))
BOX = GeoBox.from_bbox((X - 1000, Y - 1000, X + 1000, Y + 1000), crs="EPSG:3035", resolution=50, tight=True)


def add(folder, name: str, red: np.ndarray, qa: np.ndarray, **fields: Any) -> None:
    """A scene with one band, reflectance given, stored as Collection 2 stores it."""
    stored = np.rint((red + 0.2) / 0.0000275).astype(np.uint16)
    stored[qa == FILL] = 0
    folder.add(
        name,
        {"red": stored, "qa_pixel": qa.astype(np.uint16)},
        west=WEST,
        north=NORTH,
        step=30,
        **({"when": "2022-07-01T10:00:00Z"} | fields),
    )


def source(folder, **fields: Any) -> StacLandsat:
    return StacLandsat(endpoint=folder.endpoint, **({"bands": ("red",), "interval": (date(2022, 7, 1), date(2022, 10, 1))} | fields))


@pytest.fixture
def smooth() -> np.ndarray:
    row, column = np.mgrid[:SIDE, :SIDE]
    return 0.05 + 0.001 * column + 0.0004 * row + 0.02 * np.sin(row / 5) * np.cos(column / 7)


def test_a_cell_is_the_mean_of_its_pixels(landsat_scenes, smooth: np.ndarray) -> None:
    """Against GDAL's area average of the same file; and no shift: against the ground's own function at the cells' centres."""
    add(landsat_scenes, "one", smooth, np.full((SIDE, SIDE), CLEAR))
    got = source(landsat_scenes).read(BOX)
    expected = np.zeros(BOX.shape, np.float32)
    with rasterio.open(landsat_scenes.folder / "one_red.tif") as dataset:
        reproject(rasterio.band(dataset, 1), expected, dst_transform=BOX.affine, dst_crs="EPSG:3035", resampling=Resampling.average)
    expected = expected * 0.0000275 - 0.2
    off = got.values[0] - expected
    assert np.abs(off).max() < 1e-3 and off.std() < 2.5e-4 and abs(off.mean()) < 2e-5
    assert isinstance(source(landsat_scenes), Source) and (got["count"] == 1).all()
    shifted = np.abs(got.values[0, :, 1:] - expected[:, :-1]).mean()
    assert shifted > 5 * np.abs(off).mean()


def test_gaps_never_bleed(landsat_scenes) -> None:
    """Clouds of any brightness leave a flat field flat; cells without a clear pixel are NaN with count 0; a gap of the sensor too."""
    rng = np.random.default_rng(0)
    qa = np.where(np.kron(rng.random((SIDE // 5, SIDE // 5)) < 0.4, np.ones((5, 5))) > 0, CLOUD, CLEAR)
    qa[:, 60:64] = FILL
    red = np.where(qa == CLEAR, 0.12, rng.uniform(0.3, 1.0, qa.shape))
    add(landsat_scenes, "one", red, qa)
    got = source(landsat_scenes).read(BOX)
    seen = np.isfinite(got.values[0])
    np.testing.assert_allclose(got.values[0][seen], 0.12, atol=2e-5)
    assert 0.4 < seen.mean() < 0.95 and ((got["count"].values > 0) == seen).all()
    assert np.isfinite(source(landsat_scenes).read(BOX.zoom_out(8)).values).all()
    np.testing.assert_array_equal(source(landsat_scenes, stack_bytes=1).read(BOX[3:9, 11:30]).values, got.values[:, 3:9, 11:30])


def test_quarters_bits_and_snow(landsat_scenes) -> None:
    """Shadow, cloud and fill hide, snow only when asked; the median of three is the middle one; a quarter under cloud is empty."""
    flat = np.full((SIDE, SIDE), 0.1)
    for day, level, bits in ((1, 0.1, CLEAR), (9, 0.2, SNOW), (17, 0.3, CLEAR), (25, 0.9, SHADOW)):
        path = {"landsat:wrs_path": "192", "landsat:wrs_row": "028", "platform": "landsat-8"}
        add(
            landsat_scenes, f"d{day}", flat - 0.1 + level, np.full((SIDE, SIDE), bits), when=f"2022-07-{day:02d}T10:00:00Z", properties=path
        )
    add(landsat_scenes, "autumn", flat, np.full((SIDE, SIDE), CLOUD), when="2022-10-05T10:00:00Z")
    periods = ((date(2022, 7, 1), date(2022, 10, 1)), (date(2022, 10, 1), date(2023, 1, 1)))
    for snow, level, count in ((True, 0.2, 3), (False, 0.2, 2)):
        got = source(landsat_scenes, interval=None, periods=periods, snow=snow).read(BOX)
        np.testing.assert_allclose(got.values[0], level, atol=2e-5)
        assert (got["count"].values[0] == count).all() and np.isnan(got.values[1]).all() and not got["count"].values[1].any()


def test_finer_cells_are_interpolated(landsat_scenes, smooth: np.ndarray) -> None:
    """Asked at 10 m, Landsat is bilinear: GDAL's bilinear of the same file."""
    add(landsat_scenes, "one", smooth, np.full((SIDE, SIDE), CLEAR))
    fine = GeoBox.from_bbox((X - 500, Y - 500, X + 500, Y + 500), crs="EPSG:3035", resolution=10, tight=True)
    expected = np.zeros(fine.shape, np.float32)
    with rasterio.open(landsat_scenes.folder / "one_red.tif") as dataset:
        reproject(rasterio.band(dataset, 1), expected, dst_transform=fine.affine, dst_crs="EPSG:3035", resampling=Resampling.bilinear)
    np.testing.assert_allclose(source(landsat_scenes).read(fine).values[0], expected * 0.0000275 - 0.2, atol=3e-5)
