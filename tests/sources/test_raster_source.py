"""RasterSource and `at_cells`: any raster as a Source; points get what their cells show."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoplantnet.errors import CrsError, RasterError, UsageError
from geoplantnet.grid.raster import read_onto
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
    source = RasterSource(path=soil, bands=("ph",), plausible=(3, 9), target_units=("pH",))
    with pytest.raises(RasterError, match=r"soil\.tif, band ph: \d+.* is outside 3\.\.9 pH; .* set units: 0\.1 pH"):
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


def write(
    path: Path, values: np.ndarray, *, pixel: float = 1000, west: float = 4_120_000, north: float = 2_605_000, **options: Any
) -> Path:
    """A GeoTIFF (band, y, x) in EPSG:3035 that covers the tile."""
    bands, height, width = values.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": values.dtype, "crs": "EPSG:3035"}
    with rasterio.open(path, "w", transform=Affine(pixel, 0, west, 0, -pixel, north), **(profile | options)) as dataset:
        dataset.write(values)
    return path


# -- one file a band, codings, units ------------------------------------------------------------------------------------


def test_one_file_a_band(tmp_path: Path) -> None:
    """A template or a mapping: each band from its own file, with its own coding and unit."""
    for band, value in (("bio1", 2850), ("bio12", 9000)):
        write(tmp_path / f"CHELSA_{band}.tif", np.full((1, 40, 40), value, np.uint16), nodata=65535)
    options: dict[str, Any] = {
        "bands": ("bio1", "bio12"),
        "scale": 0.1,
        "offset": {"bio1": -273.15},
        "units": {"bio1": "degC", "bio12": "kg m-2"},
        "target_units": ("degC", "mm"),
        "plausible": ((-30, 35), (0, 6000)),
    }
    for path in (tmp_path / "CHELSA_{band}.tif", {b: tmp_path / f"CHELSA_{b}.tif" for b in ("bio12", "bio1")}):
        got = RasterSource(path, **options).read(BOX)
        np.testing.assert_allclose(got.sel(band="bio1"), 11.85, rtol=1e-5)
        np.testing.assert_allclose(got.sel(band="bio12"), 900, rtol=1e-5)
        assert [p["href"] for p in got.attrs["provenance"]] == ["CHELSA_bio1.tif", "CHELSA_bio12.tif"]


def test_what_is_said_wins_over_the_file(tmp_path: Path) -> None:
    """A file's own scale, offset and unit are used when nothing is said, and not beside what is said: never twice."""
    path = write(tmp_path / "tas.tif", np.full((1, 40, 40), 2850, np.uint16), nodata=65535)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets, dataset.units = (0.1,), (0.0,), ("K",)
    one: dict[str, Any] = {"bands": ("tas",), "target_units": ("degC",), "plausible": (-60, 50)}
    np.testing.assert_allclose(RasterSource(path, **one).read(BOX), 11.85, rtol=1e-5)
    np.testing.assert_allclose(RasterSource(path, **one, scale=0.1, offset=-273.15, units="degC").read(BOX), 11.85, rtol=1e-5)
    np.testing.assert_allclose(RasterSource(path, **one, scale=1.0, units="0.1 K").read(BOX), 11.85, rtol=1e-5)
    with pytest.raises(RasterError, match=r"is outside -60\.\.50 degC; .* set units: K in the source"):
        RasterSource(path, **one, units="degC").read(BOX)


def test_an_offset_taken_off_twice_is_found(tmp_path: Path) -> None:
    """Degrees less 273.15 once more are not believable, whatever the tile."""
    path = write(tmp_path / "tas.tif", np.full((1, 40, 40), 11.85, np.float32))
    with pytest.raises(RasterError, match=r"-261\.3 is outside"):
        RasterSource(path, ("tas",), offset=-273.15, target_units=("degC",), plausible=(-60, 50)).read(BOX)


SOILGRIDS = {
    "bdod": ("cg cm-3", 135, "kg dm-3", 1.35),
    "cec": ("mmol(c) kg-1", 250, "cmol(c) kg-1", 25),
    "cfvo": ("cm3 dm-3", 120, "%", 12),
    "clay": ("g kg-1", 230, "%", 23),
    "nitrogen": ("cg kg-1", 210, "g kg-1", 2.1),
    "phh2o": ("0.1 pH", 65, "pH", 6.5),
    "sand": ("g kg-1", 410, "%", 41),
    "silt": ("g kg-1", 360, "%", 36),
    "soc": ("dg kg-1", 340, "g kg-1", 34),
}


def test_soilgrids_mapped_units(tmp_path: Path) -> None:
    """The nine properties, from the units the files are mapped in to the usual ones, in the Homolosine projection of the files."""
    homolosine = "+proj=igh +lon_0=0 +datum=WGS84 +units=m +no_defs"
    x, y = CRS("EPSG:3035").transformer_to_crs(CRS(homolosine))(4_135_000, 2_590_000)
    for name, (_, stored, _, _) in SOILGRIDS.items():
        values = np.full((1, 60, 60), stored, np.int16)
        write(tmp_path / f"{name}.tif", values, pixel=1000, west=x - 30_000, north=y + 30_000, crs=homolosine, nodata=-32768)
    source = RasterSource(
        tmp_path / "{band}.tif",
        tuple(SOILGRIDS),
        units={name: held for name, (held, _, _, _) in SOILGRIDS.items()},
        target_units=tuple(target for _, _, target, _ in SOILGRIDS.values()),
    )
    got = source.read(BOX[20:22, 20:22])
    np.testing.assert_allclose(got.values[:, 0, 0], [value for *_, value in SOILGRIDS.values()], rtol=1e-5)


def test_chelsa_around_montpellier(data_folder: Path) -> None:
    """The real integers of CHELSA: bio1 in K * 10, bio2 in K * 10, bio3 a ratio * 10, bio4 in K * 1000; 0 where there is nothing."""
    path = data_folder / "glc_samples" / "chelsa_montpellier" / "bio_{band}_crop_sample.tif"
    source = RasterSource(
        path,
        ("1", "2", "3", "4"),
        scale={"1": 0.1, "2": 0.1, "3": 10.0, "4": 0.001},
        offset={"1": -273.15},
        units={"1": "degC", "2": "K", "3": "%", "4": "K"},
        target_units=("degC", "K", "%", "K"),
        plausible=((-30, 35), (0, 30), (0, 100), (0, 30)),
        nodata=0,
    )
    lon, lat = [3.8767, 3.5814], [43.6108, 44.1212]  # Montpellier, Mont Aigoual
    x, y = CRS("EPSG:4326").transformer_to_crs(CRS("EPSG:3035"))(np.array(lon), np.array(lat))
    got = source.at(pd.DataFrame({"x": x, "y": y}))
    np.testing.assert_allclose(got[0], [14.95, 7.2, 31.1, 5.63], atol=0.1)  # E-OBS: 14.5 degC
    assert 3 < got[1, 0] < 8  # 1,567 m
    box = TileGrid().tile("25kmE3750N2275").geobox(1000)
    with pytest.raises(RasterError, match=r"declares no nodata value; say `nodata: VALUE`"):
        RasterSource(path, ("1",)).read(box)
    with pytest.raises(RasterError, match=r"band 1: 28\d+.* is outside -30\.\.35 degC; .* set units: 0\.1 K"):
        RasterSource(path, ("1",), nodata=0, target_units=("degC",), plausible=(-30, 35)).read(box)


# -- nodata -------------------------------------------------------------------------------------------------------------


def test_nodata_that_nobody_declared(tmp_path: Path) -> None:
    """Integers must say what is no data; floats are searched for what files write for nothing; `none` is taken at its word."""
    whole = write(tmp_path / "int.tif", np.full((1, 40, 40), 7, np.int16))
    with pytest.raises(RasterError, match=r"int\.tif holds int16 and declares no nodata value"):
        RasterSource(whole, ("a",)).read(BOX)
    for said in ("none", -1):
        assert (RasterSource(whole, ("a",), nodata=said).read(BOX) == 7).all()  # type: ignore[arg-type]
    for sentinel in (-9999, -3.4028234663852886e38, 9.969209968386869e36):
        values = np.full((1, 40, 40), 7, np.float32)
        values[0, 15:20, 15:20] = sentinel
        path = write(tmp_path / "float.tif", values)
        with pytest.raises(RasterError, match=r"float\.tif holds -?\d.* in 25 of the pixels read.*say `nodata"):
            RasterSource(path, ("a",)).read(BOX)
        got = RasterSource(path, ("a",), nodata=sentinel).read(BOX)
        assert np.isnan(got).any() and np.nanmax(got) == 7
    assert np.isnan(RasterSource(write(tmp_path / "nan.tif", np.full((1, 40, 40), np.nan, np.float32)), ("a",)).read(BOX)).all()


def test_a_mask_in_the_file_counts_as_declared(tmp_path: Path) -> None:
    """An internal mask says what is data as well as a nodata value does."""
    path = tmp_path / "mask.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 40, "width": 40, "dtype": "uint8", "crs": "EPSG:3035"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", transform=Affine(1000, 0, 4_120_000, 0, -1000, 2_605_000), **profile) as dataset,
    ):
        dataset.write(np.full((1, 40, 40), 5, np.uint8))
        mask = np.full((40, 40), 255, np.uint8)
        mask[:15] = 0
        dataset.write_mask(mask)
    got = RasterSource(path, ("a",)).read(BOX)
    assert np.isnan(got.values[0, 0]).all() and (got.values[0, -1] == 5).all()


# -- classes ------------------------------------------------------------------------------------------------------------

CLASSES = {1: "forest", 2: "forest", 3: "water", 9: "bare"}


def test_shares_are_areas(tmp_path: Path) -> None:
    """Nested lattices, fine and coarse: a band is exactly the share of the cell's area its codes cover; nodata is not part of it."""
    codes = np.random.default_rng(0).choice([1, 2, 3, 9, 7], (1, 500, 500)).astype(np.uint8)
    codes[0, 300:] = 0
    path = write(tmp_path / "fine.tif", codes, pixel=10, west=4_125_000, north=2_600_000, nodata=0)
    box = TileGrid().tile("25kmE4125N2575").geobox()[:80, :80]
    got = RasterSource(path, ("forest", "water", "bare"), classes=CLASSES, resampling="average").read(box)
    blocks = codes[0].reshape(100, 5, 100, 5)[:80, :, :80]
    for band, members in (("forest", (1, 2)), ("water", (3,)), ("bare", (9,))):
        expected = np.isin(blocks, members).mean(axis=(1, 3))[:60]
        np.testing.assert_allclose(got.sel(band=band)[:60], expected, atol=1e-6)
    assert np.isnan(got.values[:, 60:]).all()
    coarse = write(tmp_path / "coarse.tif", codes[:, :30, :30], pixel=100, west=4_125_025, north=2_600_000, nodata=0)  # half a cell east
    got = RasterSource(coarse, ("forest", "water", "bare"), classes=CLASSES).read(box[:20, 1:21])
    half = np.isin(codes[0, :10, :12], (1, 2)).repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(got.sel(band="forest"), (half[:20, :20] + 0.0 + half[:20, 1:21]) / 2, atol=1e-6)


def test_shares_of_another_projection(tmp_path: Path) -> None:
    """Pixels of another CRS: near what 20 x 20 samples a cell find, unbiased; whole where a class is alone; points get their cell."""
    rng = np.random.default_rng(2)
    codes = rng.choice([1, 3, 9], (1, 30, 30)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    path = write(tmp_path / "utm.tif", codes, pixel=20, west=402_000, north=5_160_000, crs="EPSG:32632", nodata=0)
    x, y = CRS("EPSG:32632").transformer_to_crs(CRS("EPSG:3035"))(404_400, 5_157_600)
    grid = TileGrid()
    row, column = int((grid.tile_at(x, y).south + 25_000 - y) // 50), int((x - grid.tile_at(x, y).west) // 50)
    box = grid.tile_at(x, y).geobox()[row - 20 : row + 20, column - 20 : column + 20]
    source = RasterSource(path, ("forest", "water", "bare"), classes={1: "forest", 3: "water", 9: "bare"})
    got = source.read(box)
    fine = read_onto(path, box.zoom_out(1 / 20), resampling="nearest")[0].reshape(40, 20, 40, 20)
    for band, code in (("forest", 1), ("water", 3), ("bare", 9)):
        expected = (fine == code).mean(axis=(1, 3))
        difference = got.sel(band=band).values - expected
        assert abs(difference.mean()) < 2e-3 and np.abs(difference).max() < 0.16
        np.testing.assert_array_equal(got.sel(band=band).values[expected == 1], 1)
    np.testing.assert_allclose(got.sum("band"), 1, atol=1e-6)
    np.testing.assert_array_equal(source.read(box[3:9, 4:30]), got[:, 3:9, 4:30])
    cy, cx = (v.ravel() for v in np.meshgrid(got.y.values, got.x.values, indexing="ij"))
    at = source.at(pd.DataFrame({"x": cx + 13, "y": cy - 20}))
    np.testing.assert_array_equal(at.T.reshape(3, 40, 40), got.values)


def test_classes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Bands that no code makes, or codes whose band is not asked for, are a wrong call."""
    path = write(tmp_path / "codes.tif", np.ones((1, 40, 40), np.uint8), nodata=0)
    with pytest.raises(UsageError, match="classes make the bands"):
        RasterSource(path, ("forest",), classes=CLASSES)
    with pytest.raises(UsageError, match="scale names"):
        RasterSource(path, ("a",), scale={"b": 2.0})
    with pytest.raises(UsageError, match="2 values for 1 bands"):
        RasterSource(path, ("a",), target_units=("K", "mm"))
    with pytest.raises(UsageError, match="time axis"):
        RasterSource(tmp_path / "{year}.tif", ("a",))
    with pytest.raises(UsageError, match="may stand in a path"):
        RasterSource(tmp_path / "{tile}.tif", ("a",))
    with pytest.raises(UsageError, match="no file for the bands"):
        RasterSource({"b": path}, ("a",))


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
