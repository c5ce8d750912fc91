"""RasterSource and `at_cells`: any raster as a Source; points get what their cells show."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geoplantnet.errors import CrsError, RasterError, UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.raster import RasterSource, at_cells
from geoplantnet.sources.source import Source

BOX = TileGrid().tile("25kmE4125N2575").geobox(500)


@pytest.fixture
def soil(tmp_path: Path) -> Path:
    """PH * 10 in band 1, depth in cm in band 2; 2 km pixels that cover the tile."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(40, 80, (20, 20)), rng.integers(10, 150, (20, 20))]).astype(np.int16)
    values[:, :2] = -1
    path = tmp_path / "soil.tif"
    profile = {"driver": "GTiff", "count": 2, "height": 20, "width": 20, "dtype": "int16", "crs": "EPSG:3035", "nodata": -1}
    with rasterio.open(path, "w", transform=Affine(2000, 0, 4_120_000, 0, -2000, 2_602_000), **profile) as dataset:
        dataset.write(values)
    return path


def test_read_and_at_follow_the_contract(soil: Path) -> None:
    """Dims, dtype, scale, names and provenance as Source promises; `at` at cell centres is `read`; it survives pickling."""
    source = RasterSource(soil, ("ph",), scale=0.1, plausible=(3, 9), credit="the surveyors")
    assert isinstance(source, Source)
    source = pickle.loads(pickle.dumps(source))
    array = source.read(BOX)
    assert array.dims == ("band", "y", "x") and array.dtype == np.float32 and list(array.band.values) == ["ph"]
    assert float(array.min()) >= 4 and float(array.max()) < 8
    assert json.loads(json.dumps(array.attrs["provenance"])) == [{"href": "soil.tif", "credit": "the surveyors"}]
    y, x = (v.ravel() for v in np.meshgrid(array.y.values, array.x.values, indexing="ij"))
    np.testing.assert_array_equal(source.at(pd.DataFrame({"x": x, "y": y}))[:, 0], array.values.ravel())


def test_bands_are_picked_by_number(soil: Path) -> None:
    """`indexes` say which bands of the file the names stand for, in the order asked."""
    source = RasterSource(path=soil, bands=("depth", "ph"), indexes=(2, 1), resampling="nearest")
    array = source.read(BOX)
    assert float(array.sel(band="depth").max()) > 80 > float(array.sel(band="ph").max())
    with pytest.raises(UsageError, match="one name a band"):
        RasterSource(path=soil, bands=("depth",), indexes=(2, 1))


def test_an_implausible_value_names_file_band_value_and_range(soil: Path) -> None:
    """Units lie: what is outside the believable range raises, by `read` and by `at`."""
    source = RasterSource(path=soil, bands=("ph",), plausible=(3, 9))
    with pytest.raises(RasterError, match=r"soil\.tif, band ph: \d+.* outside the plausible range 3\.\.9"):
        source.read(BOX)
    with pytest.raises(RasterError, match=r"band ph"):
        source.at(pd.DataFrame({"x": [4_130_000.0], "y": [2_590_000.0]}))


def test_bad_rasters_raise_their_kind(soil: Path, tmp_path: Path) -> None:
    """No CRS, no file, missing columns; a point that is not finite is NaN."""
    with rasterio.open(soil) as dataset:
        profile, values = dataset.profile | {"crs": None}, dataset.read()
    with rasterio.open(tmp_path / "nocrs.tif", "w", **profile) as dataset:
        dataset.write(values)
    with pytest.raises(CrsError):
        RasterSource(path=tmp_path / "nocrs.tif", bands=("ph",)).read(BOX)
    with pytest.raises(RasterError):
        RasterSource(path=tmp_path / "absent.tif", bands=("ph",)).read(BOX)
    source = RasterSource(path=soil, bands=("ph",))
    with pytest.raises(UsageError, match=r"missing \['y'\]"):
        source.at(pd.DataFrame({"x": [1.0]}))
    assert np.isnan(source.at(pd.DataFrame({"x": [np.nan, 4_130_000.0], "y": [2_590_000.0, np.inf]}))).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-2e4, 2e4), st.floats(-2e4, 2e4) | st.just(float("nan"))), max_size=30))
def test_at_cells_gives_each_point_its_cell(points: list[tuple[float, float]]) -> None:
    """However points are scattered, each gets the value of the cell that holds it; west and south edges belong to it."""
    x, y = np.array(points, float).reshape(-1, 2).T

    def read(box: GeoBox) -> np.ndarray:
        cx, cy = np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values)
        return np.stack([cx, cy]).astype(np.float32)

    got = at_cells(read, pd.DataFrame({"x": x, "y": y}), bands=2, crs="EPSG:3035", cell_size=50)
    finite = np.isfinite(x) & np.isfinite(y)
    assert np.isnan(got[~finite]).all()
    np.testing.assert_array_equal(got[finite, 0], np.floor(x[finite] / 50) * 50 + 25)
    np.testing.assert_array_equal(got[finite, 1], np.floor(y[finite] / 50) * 50 + 25)
