"""GriddedSource: NetCDF and Zarr, read by window; units, calendars and coordinates as files have them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoplantnet.errors import ConfigurationError, CrsError, RasterError, UsageError
from geoplantnet.grid.raster import read_onto
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sources.gridded import GriddedSource
from geoplantnet.sources.source import Source

BOX = TileGrid().tile("25kmE4125N2575").geobox(1000, margin=1000)  # 7.7 E, 46.4 N
WIDE = GeoBox.from_bbox((2_800_000, 1_600_000, 4_400_000, 3_200_000), "EPSG:3035", resolution=20_000)  # Spain to Bavaria, over Greenwich
LON, LAT = np.arange(-10, 20, 0.25), np.arange(55, 40, -0.25)


def field(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Values that tell where they are: (y, x)."""
    return (10 + lon[None, :] * 0.3 + lat[:, None] * 0.1 + np.sin(lon[None, :] * 3) * np.cos(lat[:, None] * 2)).astype(np.float32)


def monthly(
    *, lon: np.ndarray = LON, lat: np.ndarray = LAT, times: Any = None, units: str = "degC", name: str = "tas", step: float = 1.0
) -> xr.Dataset:
    """`name` (time, lat, lon): the field, warmer by `step` each month of 2019 and 2020."""
    stamps = pd.date_range("2019-01-01", periods=24, freq="MS") if times is None else times
    values = field(lon, lat)[None] + step * np.arange(len(stamps), dtype=np.float32)[:, None, None]
    return xr.Dataset({name: (("time", "lat", "lon"), values, {"units": units})}, coords={"time": stamps, "lat": lat, "lon": lon})


def written(dataset: xr.Dataset, path: Path, **encoding: Any) -> Path:
    names = {str(v): encoding for v in dataset.data_vars} if encoding else {}
    if path.suffix == ".zarr":
        dataset.to_zarr(path, encoding=names, consolidated=False)
    else:
        dataset.to_netcdf(path, engine="h5netcdf", encoding=names)
    return path


def source(path: Path, **options: Any) -> GriddedSource:
    given = {"bands": ("tas",), "periods": TimeAxis(step="month", first="2019-01", count=24).periods, "target_units": ("degC",)}
    return GriddedSource(path=path, **(given | options))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return written(monthly(), tmp_path / "plain.nc")


def test_a_file_follows_the_contract(plain: Path) -> None:
    """Dims, dtype, times, provenance as Source promises; `at` at cell centres is `read`; it survives pickling."""
    one = source(plain, credit="the weather")
    assert isinstance(one, Source)
    one = pickle.loads(pickle.dumps(one))
    got = one.read(BOX)
    assert got.dims == ("time", "band", "y", "x") and got.dtype == np.float32 and got.shape == (24, 1, 27, 27)
    np.testing.assert_array_equal(got["time"].values.astype("datetime64[D]"), TimeAxis(step="month", first="2019-01", count=24).starts)
    assert json.loads(json.dumps(got.attrs["provenance"])) == [{"href": "plain.nc", "credit": "the weather", "variables": {"tas": "tas"}}]
    y, x = (v.ravel() for v in np.meshgrid(got.y.values, got.x.values, indexing="ij"))
    at = one.at(pd.DataFrame({"x": x, "y": y}))
    assert at.shape == (27 * 27, 24, 1)
    np.testing.assert_array_equal(at.reshape(27, 27, 24, 1).transpose(2, 3, 0, 1), got.values)


def test_values_are_those_of_gdal(plain: Path, tmp_path: Path) -> None:
    """The same pixels as GeoTIFF through the reader that is proved against GDAL's warper: bit for bit."""
    path = tmp_path / "same.tif"
    profile = {"driver": "GTiff", "count": 1, "height": LAT.size, "width": LON.size, "dtype": "float32", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=Affine(0.25, 0, -10.125, 0, -0.25, 55.125), **profile) as dataset:
        dataset.write(field(LON, LAT), 1)
    for resampling in ("nearest", "bilinear", "cubic", "cubic_spline"):
        ours = source(plain, resampling=resampling).read(BOX).values[0]
        np.testing.assert_array_equal(ours, read_onto(path, BOX, resampling=resampling))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [".nc", ".zarr"])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("longitudes", ["-180", "0", "global"])
def test_orientation_and_longitudes_do_not_matter(tmp_path: Path, kind: str, ascending: bool, longitudes: str) -> None:
    """Latitude up or down, longitude from -180 or from 0, NetCDF or Zarr: the same values, over Greenwich too."""
    lat = LAT[::-1] if ascending else LAT
    lon = {"-180": LON, "0": LON[LON >= 0], "global": np.arange(0, 360, 0.25)}[longitudes]
    values = monthly(lon=((lon + 180) % 360 - 180), lat=lat).assign_coords(lon=lon)
    path = written(values, tmp_path / f"g{kind}")
    expected = source(written(monthly(), tmp_path / "plain.nc")).read(WIDE).values
    got = source(path).read(WIDE).values
    east, north = (v.ravel() for v in np.meshgrid(WIDE.coordinates["x"].values, WIDE.coordinates["y"].values))
    degrees_east, degrees_north = (np.asarray(v) for v in CRS("EPSG:3035").transformer_to_crs(CRS("EPSG:4326"))(east, north))
    inner = (degrees_east > (0.3 if longitudes == "0" else -9.7)) & (degrees_east < 19) & (degrees_north > 40.3)  # with all neighbours
    assert inner.mean() > 0.3
    np.testing.assert_allclose(got.reshape(24, -1)[:, inner], expected.reshape(24, -1)[:, inner], atol=2e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 70), st.integers(0, 70), st.integers(1, 10), st.integers(1, 10), st.sampled_from(["bilinear", "cubic", "average"]))
def test_a_window_is_the_window(tmp_path_factory: pytest.TempPathFactory, top: int, left: int, height: int, width: int, how: Any) -> None:
    """No seams, on a global grid that joins within the window: any window of a read is bit for bit the window."""
    path = tmp_path_factory.getbasetemp() / "joined.zarr"
    if not path.exists():
        lon = np.arange(0, 360, 0.25)
        written(monthly(lon=((lon + 180) % 360 - 180)).assign_coords(lon=lon).isel(time=slice(0, 1)), path)
    one = source(path, periods=(), resampling=how)
    box = WIDE if how != "average" else WIDE.zoom_out(4)
    whole = one.read(box).values
    (top, bottom), (left, right) = ((k % n, min(k % n + size, n)) for k, size, n in zip((top, left), (height, width), box.shape))
    rows, columns = slice(top, bottom), slice(left, right)
    np.testing.assert_array_equal(one.read(box[rows, columns]).values, whole[:, rows, columns])


def test_only_the_window_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file the pixels around the tile are read, and no others."""
    lon, lat = np.arange(-20, 30, 0.05), np.arange(60, 35, -0.05)
    path = written(monthly(lon=lon, lat=lat).isel(time=slice(0, 2)), tmp_path / "large.nc", chunksizes=(1, 50, 50))
    one = source(path, periods=TimeAxis(step="month", first="2019-01", count=2).periods)
    seen: list[int] = []
    original = xr.backends.h5netcdf_.H5NetCDFArrayWrapper._getitem

    def counting(self: Any, key: Any) -> Any:
        values = original(self, key)
        seen.append(np.size(values) if np.ndim(values) == 3 else 0)
        return values

    monkeypatch.setattr(xr.backends.h5netcdf_.H5NetCDFArrayWrapper, "_getitem", counting)
    one.read(BOX)
    assert 0 < sum(seen) < 2 * 12 * 12


def test_classic_netcdf_is_read_too(tmp_path: Path, plain: Path) -> None:
    """NetCDF 3 is told by its first bytes and has the values of NetCDF 4."""
    monthly().to_netcdf(tmp_path / "classic.nc", engine="scipy")
    assert (tmp_path / "classic.nc").read_bytes().startswith(b"CDF")
    np.testing.assert_array_equal(source(tmp_path / "classic.nc").read(BOX), source(plain).read(BOX))


# -- time ---------------------------------------------------------------------------------------------------------------


def test_periods_choose_their_months(plain: Path) -> None:
    """A later axis takes later months; quarters and years are means of theirs."""
    first = source(plain, periods=TimeAxis(step="month", first="2019-01", count=1).periods).read(BOX).values[0, 0]
    later = source(plain, periods=TimeAxis(step="month", first="2020-03", count=2).periods).read(BOX).values[:, 0]
    np.testing.assert_allclose(later, first + np.array([14, 15])[:, None, None], rtol=1e-6)
    quarters = source(plain, periods=TimeAxis(step="quarter", first="2019-12", count=2).periods).read(BOX).values[:, 0]
    np.testing.assert_allclose(quarters, first + np.array([12, 15])[:, None, None], rtol=1e-6)
    year = source(plain, periods=TimeAxis(step="year", first="2020-01", count=1).periods).read(BOX).values[0, 0]
    np.testing.assert_allclose(year, first + 17.5, rtol=1e-6)


@pytest.mark.parametrize("day", ["first", "middle", "last", "noleap", "360_day"])
def test_stamps_and_calendars(tmp_path: Path, day: str) -> None:
    """A month may be stamped at its first, middle or last day, and in a calendar of models."""
    stamps: Any = pd.date_range("2019-01-01", periods=24, freq="MS")
    if day in ("noleap", "360_day"):
        stamps = xr.date_range("2019-01-30", periods=24, freq="ME", calendar=day, use_cftime=True)
    else:
        stamps = {"first": stamps, "middle": stamps + pd.Timedelta(days=14), "last": stamps + pd.offsets.MonthEnd(0)}[day]
    got = source(written(monthly(times=stamps), tmp_path / "t.nc")).read(BOX).values[:, 0]
    np.testing.assert_allclose(got, got[0] + np.arange(24)[:, None, None], rtol=1e-5)


def test_days_become_months(tmp_path: Path) -> None:
    """Daily precipitation is summed and daily temperature averaged; a month that lacks days is refused with what is there."""
    days = pd.date_range("2019-01-01", "2019-02-28", freq="D")
    t = monthly(times=days, step=0.0)
    both = t.assign(pr=t["tas"] * 0 + 2).rename(tas="t2m")
    both["pr"].attrs["units"] = "mm"
    path = written(both, tmp_path / "daily.nc")
    axis = TimeAxis(step="month", first="2019-01", count=2).periods
    one = source(path, bands=("tas", "pr"), variables={"tas": "t2m"}, aggregate={"pr": "sum"}, periods=axis, target_units=("degC", "mm"))
    got = one.read(BOX).values
    np.testing.assert_allclose(got[:, 1], np.broadcast_to(np.array([62, 56])[:, None, None], got[:, 1].shape))
    np.testing.assert_allclose(got[0, 0], got[1, 0], rtol=1e-6)
    short = written(both.isel(time=slice(0, 40)), tmp_path / "short.nc")
    with pytest.raises(RasterError, match=r"tas has 9 of 28 entries from 2019-02-01 to 2019-03-01; it spans 2019-01-01 to 2019-02-09"):
        source(short, bands=("tas",), variables={"tas": "t2m"}, periods=axis).read(BOX)


def test_a_year_of_eleven_months_is_no_year(tmp_path: Path) -> None:
    """A sum that lacks a month is refused, and so is a month of hours that lacks days."""
    year = TimeAxis(step="year", first="2019-01", count=1).periods
    path = written(monthly().isel(time=[*range(5), *range(6, 12)]), tmp_path / "eleven.nc")
    with pytest.raises(RasterError, match="has 11 of 12 entries from 2019-01-01 to 2020-01-01"):
        source(path, periods=year, aggregate="sum").read(BOX)
    hours = pd.date_range("2019-01-01", "2019-01-03", freq="h", inclusive="left")
    month = TimeAxis(step="month", first="2019-01", count=1).periods
    with pytest.raises(RasterError, match="has 2 of 31 entries from 2019-01-01 to 2019-02-01"):
        source(written(monthly(times=hours), tmp_path / "hours.nc"), periods=month).read(BOX)


def test_a_climatology_serves_any_year(tmp_path: Path) -> None:
    """Months of any year, dated or numbered: a period gets its own; without `climatology` they are out of range."""
    axis = TimeAxis(step="month", first="2031-12", count=14).periods
    dated = source(written(monthly(), tmp_path / "dated.nc"), periods=axis, climatology=True).read(BOX).values[:, 0]
    numbered = monthly().isel(time=slice(0, 12)).rename(time="month").assign_coords(month=np.arange(1, 13))
    got = source(written(numbered, tmp_path / "numbered.nc"), periods=axis, climatology=True).read(BOX).values[:, 0]
    np.testing.assert_allclose(got, got[1] + np.array([11, *range(12), 0])[:, None, None], rtol=1e-6)
    np.testing.assert_allclose(dated, got + 6, rtol=1e-6)  # the mean of two years, the second warmer by 12
    with pytest.raises(RasterError, match="climatology: true"):
        source(tmp_path / "dated.nc", periods=axis).read(BOX)
    with pytest.raises(RasterError, match="no entry of month 12"):
        source(written(numbered.isel(month=slice(0, 6)), tmp_path / "half.nc"), periods=axis, climatology=True).read(BOX)


def test_one_file_a_year_and_variable(tmp_path: Path) -> None:
    """`{band}` and `{year}` in a path: each period comes from its year's file; a period over two files is refused."""
    whole = monthly()
    for year in (2019, 2020):
        written(whole.sel(time=str(year)), tmp_path / f"tas_{year}.nc")
    template = tmp_path / "{band}_{year}.nc"
    np.testing.assert_array_equal(source(template).read(BOX), source(written(whole, tmp_path / "whole.nc")).read(BOX))
    with pytest.raises(UsageError, match="spans several files"):
        source(template, periods=TimeAxis(step="quarter", first="2019-12", count=1).periods)


# -- units --------------------------------------------------------------------------------------------------------------


def test_attributes_are_converted(tmp_path: Path) -> None:
    """Kelvin become degrees Celsius because the file says so; packed integers are unpacked as CF says."""
    kelvin = monthly(units="K") + 273.15
    kelvin["tas"].attrs["units"] = "K"
    expected = source(written(monthly(), tmp_path / "plain.nc")).read(BOX).values
    got = source(written(kelvin, tmp_path / "kelvin.nc"), plausible=(-60, 50)).read(BOX).values
    np.testing.assert_allclose(got, expected, atol=1e-4)
    packed = written(kelvin, tmp_path / "packed.nc", dtype="int16", scale_factor=0.01, add_offset=273.15, _FillValue=-32768)
    np.testing.assert_allclose(source(packed).read(BOX).values, expected, atol=6e-3)


def test_attributes_that_lie_are_found_and_overruled(tmp_path: Path) -> None:
    """DegC that say K: the error names the unit they are plausible in; said in the source, it wins, and provenance tells."""
    path = written(monthly(units="K"), tmp_path / "lies.nc")
    with pytest.raises(RasterError, match=r"lies\.nc, tas: -2\d\d\.\d+ \(read as K\) is outside -60\.\.50 degC; .* set units: degC"):
        source(path, plausible=(-60, 50)).read(BOX)
    honest = source(path, plausible=(-60, 50), units="degC")
    got = honest.read(BOX)
    np.testing.assert_array_equal(got, source(written(monthly(), tmp_path / "plain.nc")).read(BOX))
    assert got.attrs["provenance"][0]["units"] == {"tas": "read as degC, the file says K"}


def test_rates_become_the_amount_of_their_month(tmp_path: Path) -> None:
    """ERA5's m a day are mm of a month of 31, 28, 31 days; metres said to be millimetres never make a wet month."""
    rate = monthly(name="tp", units="m", step=0.0) * 0 + 0.002
    rate["tp"].attrs["units"] = "m"
    path = written(rate, tmp_path / "tp.nc")
    axis = TimeAxis(step="month", first="2019-01", count=12).periods
    pr = {"bands": ("pr",), "variables": {"pr": "tp"}, "periods": axis, "target_units": ("mm",), "plausible": (0.0, 2500.0)}
    got = source(path, **pr, units="m day-1").read(BOX).values[:, 0, 3, 3]
    np.testing.assert_allclose(got, 2 * np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]), rtol=1e-6)
    total = written(rate * 31, tmp_path / "total.nc")
    with pytest.raises(RasterError, match=r"no value exceeds 0\.062 mm, at least 5 is expected somewhere; .* set units: m in the source"):
        source(total, **pr, units="mm", reaches={"pr": 5.0}).read(BOX)


def test_units_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    """No attribute, or one that is no unit: the fix is to say it; what measures something else is refused."""
    dataset = monthly()
    del dataset["tas"].attrs["units"]
    with pytest.raises(RasterError, match="has no units attribute; say `units`"):
        source(written(dataset, tmp_path / "none.nc")).read(BOX)
    with pytest.raises(RasterError, match=r"says units 'kelvni'.*Did you mean 'kelvin'"):
        source(written(monthly(units="kelvni"), tmp_path / "typo.nc")).read(BOX)
    with pytest.raises(ConfigurationError, match="measure different things"):
        source(tmp_path / "typo.nc", units="mm").read(BOX)


def test_fill_values_nobody_declared_are_found(tmp_path: Path) -> None:
    """9.97e36, NetCDF's own fill, and -9999 are refused until said; declared ones are NaN."""
    dataset = monthly()
    dataset["tas"][:, 30:40, 60:80] = -9999
    path = written(dataset, tmp_path / "fill.nc", _FillValue=None)
    with pytest.raises(RasterError, match=r"fill\.nc, tas holds -9999 in \d+ of the pixels read.*nodata: -9999"):
        source(path).read(BOX)
    assert np.isnan(source(path, nodata=-9999.0).read(BOX)).any()
    np.testing.assert_array_equal(
        source(path, nodata=-9999.0).read(BOX), source(written(dataset, tmp_path / "declared.nc", _FillValue=-9999.0)).read(BOX)
    )


# -- lattices and bad files ---------------------------------------------------------------------------------------------


def test_projected_grids_need_their_crs(tmp_path: Path) -> None:
    """X and y with a grid mapping, in m or km; without one `file_crs` has to say it."""
    x, y = np.arange(4_000_500, 4_300_000, 1000.0), np.arange(2_700_500, 2_500_000, -1000.0)
    values = (x[None, :] / 1e5 - y[:, None] / 1e5).astype(np.float32)
    plain = xr.Dataset({"tas": (("y", "x"), values, {"units": "degC"})}, coords={"y": y, "x": x})
    mapped = plain.assign(crs=((), 0, CRS("EPSG:3035").proj.to_cf()))
    mapped["tas"].attrs["grid_mapping"] = "crs"
    got = source(written(mapped, tmp_path / "mapped.nc"), periods=()).read(BOX).values[0]
    cx, cy = np.meshgrid(BOX.coordinates["x"].values, BOX.coordinates["y"].values)
    np.testing.assert_allclose(got, cx / 1e5 - cy / 1e5, atol=1e-4)
    with pytest.raises(CrsError, match="file_crs"):
        source(written(plain, tmp_path / "plain.nc"), periods=()).read(BOX)
    np.testing.assert_array_equal(source(tmp_path / "plain.nc", periods=(), file_crs="EPSG:3035").read(BOX).values[0], got)
    km = plain.assign_coords(x=x / 1000, y=y / 1000)
    km["x"].attrs["units"] = km["y"].attrs["units"] = "km"
    again = source(written(km, tmp_path / "km.nc"), periods=(), file_crs="EPSG:3035").read(BOX).values[0]
    np.testing.assert_allclose(again, got, atol=1e-4)


def test_bad_files_say_what_is_wrong(plain: Path, tmp_path: Path) -> None:
    """Absent, damaged, uneven, rotated, without times, with a further dimension, metres for degrees: typed errors with a fix."""
    with pytest.raises(RasterError, match="is not there"):
        source(tmp_path / "absent.nc").read(BOX)
    content = plain.read_bytes()
    for share in (0.0, 0.3, 0.7, 0.98):
        cut = tmp_path / "cut.nc"
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(RasterError, match=r"cut\.nc"):
            source(cut).read(BOX)
    with pytest.raises(RasterError, match=r"no variable 'tas'; it has tass\. Did you mean 'tass'"):
        source(written(monthly(name="tass"), tmp_path / "typo.nc")).read(BOX)
    uneven = np.sort(np.concatenate([LAT[:-1], [40.3]]))
    with pytest.raises(RasterError, match="lat is not evenly spaced"):
        source(written(monthly(lat=uneven), tmp_path / "uneven.nc")).read(BOX)
    with pytest.raises(RasterError, match="regular grid"):
        source(written(monthly().rename(lat="rlat", lon="rlon"), tmp_path / "rotated.nc")).read(BOX)
    with pytest.raises(RasterError, match="24 times"):
        source(plain, periods=()).read(BOX)
    with pytest.raises(RasterError, match="no time axis"):
        source(written(monthly().isel(time=0, drop=True), tmp_path / "flat.nc")).read(BOX)
    deep = xr.concat([monthly(), monthly() + 7], pd.Index([0.05, 0.2], name="depth"))
    deep["tas"].attrs["units"] = "degC"
    deep_path = written(deep, tmp_path / "deep.nc")
    with pytest.raises(RasterError, match=r"dimension 'depth'.*select: \{depth"):
        source(deep_path).read(BOX)
    np.testing.assert_array_equal(source(deep_path, select={"depth": 0.05}).read(BOX), source(plain).read(BOX))
    metres = monthly(lon=np.arange(4e6, 4.2e6, 1e4), lat=np.arange(2.7e6, 2.5e6, -1e4))
    with pytest.raises(CrsError, match=r"metres, not degrees.*EPSG:3035"):
        source(written(metres, tmp_path / "metres.nc")).read(BOX)


def test_wrong_calls(plain: Path) -> None:
    """What does not fit together is said when the source is made."""
    for options, message in (
        ({"bands": ()}, "no bands"),
        ({"variables": {"pr": "tp"}}, "variables names"),
        ({"target_units": ("degC", "mm")}, "one a band"),
        ({"path": "{nonsense}.nc"}, "may stand in a path"),
        ({"path": {"pr": plain}}, "the bands are tas"),
    ):
        with pytest.raises(UsageError, match=message):
            GriddedSource(**({"path": plain, "bands": ("tas",)} | options))  # type: ignore[arg-type]


def test_era5_is_what_its_geotiff_is(data_folder: Path, tmp_path: Path) -> None:
    """The real ERA5 climatology as NetCDF, 0..360, ascending, attributes that lie (K, m): the GeoTIFF's values, Montpellier's climate."""
    folder = data_folder / "era5_climatology_eu"
    variables = {}
    for name, file, lie in (("t2m", "era5_t2m_monthly_2000_2025.tif", "K"), ("tp", "era5_precip_monthly_2000_2025.tif", "m")):
        with rasterio.open(folder / file) as dataset:
            values, t = dataset.read(), dataset.transform
        lon, lat = t.c + t.a * (np.arange(values.shape[2]) + 0.5), t.f + t.e * (np.arange(values.shape[1]) + 0.5)
        variables[name] = (("month", "latitude", "longitude"), values, {"units": lie})
    west = xr.Dataset(variables, coords={"month": np.arange(1, 13), "latitude": lat, "longitude": lon % 360})
    path = written(west.sortby("longitude").sortby("latitude").isel(longitude=slice(None)), tmp_path / "era5.zarr")
    one = GriddedSource(
        path=written(xr.Dataset(variables, coords={"month": np.arange(1, 13), "latitude": lat, "longitude": lon}), tmp_path / "era5.nc"),
        bands=("tas", "pr"),
        variables={"tas": "t2m", "pr": "tp"},
        periods=TimeAxis(step="month", first="2020-01", count=24).periods,
        climatology=True,
        units={"tas": "degC", "pr": "mm month-1"},
        target_units=("degC", "mm"),
        plausible=((-60, 50), (0, 2500)),
        reaches={"pr": 5.0},
    )
    box = TileGrid().tile("25kmE3750N2275").geobox(1000)  # Montpellier
    got = one.read(box).values
    np.testing.assert_allclose(got[:12, 0], read_onto(folder / "era5_t2m_monthly_2000_2025.tif", box), atol=1e-5)
    np.testing.assert_allclose(got[12:, 1], read_onto(folder / "era5_precip_monthly_2000_2025.tif", box), rtol=1e-5)
    assert 14 < np.nanmean(got[:12, 0]) < 17 and 600 < got[:12, 1].sum(axis=0).min() < 900
    with pytest.raises(RasterError, match="not evenly spaced"):  # -25..45 E written as 335..360 and 0..45 leaves a gap
        GriddedSource(path=path, bands=("t2m",), units="degC", periods=one.periods, climatology=True).read(box)
