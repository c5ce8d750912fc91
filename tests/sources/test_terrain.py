"""Terrain: planes and cones with known slope and exposure, no seams, measured values first, the real Alps."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.crs import CRS

from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.source import Source
from geoplantnet.sources.terrain import ALL_BANDS, TerrainSource, exposure, heat_load_index, wetness

TILE = TileGrid().tile("25kmE4300N2700")  # near 10 E, where grid north is true north
BOX = TILE.geobox()[:80, :80]
QUICK = ("elevation", "slope", "northness", "eastness", "tpi", "heat_load")
WEST, NORTH = TILE.west, TILE.south + 25_000


def dem(path: Path, elevation: np.ndarray, *, pixel: float = 100, west: float = WEST - 3000, north: float = NORTH + 3000) -> Path:
    """A DEM (y, x) in EPSG:3035, by default from 3 km beyond the corner of the tile."""
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:3035", "nodata": -9999.0}
    affine = Affine(pixel, 0, west, 0, -pixel, north)
    with rasterio.open(path, "w", height=elevation.shape[0], width=elevation.shape[1], transform=affine, **profile) as dataset:
        dataset.write(np.where(np.isfinite(elevation), elevation, -9999).astype(np.float32), 1)
    return path


def plane(east: float, north: float, size: int = 120, pixel: float = 100) -> np.ndarray:
    """Elevation rising `east` and `north` metres a metre, 4000 m in the middle."""
    c, r = np.meshgrid(np.arange(size) - size / 2, np.arange(size) - size / 2)
    return 4000 + east * pixel * c - north * pixel * r


@settings(deadline=None, max_examples=30)
@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_a_plane_has_its_slope_and_exposure(tmp_path_factory: pytest.TempPathFactory, east: float, north: float) -> None:
    """Slope = atan |gradient|; exposure points downhill; a plane has no relative position."""
    source = TerrainSource(dems=(dem(tmp_path_factory.mktemp("dem") / "plane.tif", plane(east, north)),), bands=QUICK)
    got = source.read(BOX)
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    np.testing.assert_allclose(got.sel(band="slope"), slope, atol=0.02)
    length = np.hypot(1, np.hypot(east, north))  # sin(slope) = |gradient| / length
    np.testing.assert_allclose(got.sel(band="northness"), -north / length, atol=5e-3)
    np.testing.assert_allclose(got.sel(band="eastness"), -east / length, atol=5e-3)
    np.testing.assert_allclose(got.sel(band="tpi"), 0, atol=0.02)


def test_a_hill_stands_above_its_surroundings(tmp_path: Path) -> None:
    """On a cone the top has the largest tpi and every flank faces away from it."""
    c, r = np.meshgrid(np.arange(120) - 50, np.arange(120) - 50)
    source = TerrainSource(dems=(dem(tmp_path / "cone.tif", 2000 - 20 * np.hypot(c, r)),), bands=QUICK)
    got = source.read(BOX)
    top = np.unravel_index(int(np.argmax(got.sel(band="tpi").values)), BOX.shape)
    assert np.abs(np.array(top) - 40).max() <= 2
    assert float(got.sel(band="northness")[5, 40]) > 0.15 and float(got.sel(band="northness")[75, 40]) < -0.15
    assert float(got.sel(band="eastness")[40, 75]) > 0.15 and float(got.sel(band="eastness")[40, 5]) < -0.15


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> TerrainSource:
    """Every band of rough ground with a hole; water is followed over 600 m, to keep the test small."""
    rng = np.random.default_rng(0)
    height = rng.uniform(500, 3000, (120, 120))
    height[60:70, 30:40] = np.nan
    path = dem(tmp_path_factory.mktemp("dem") / "rough.tif", height)
    return TerrainSource(dems=(path,), bands=ALL_BANDS, twi_reach=600)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 79), st.integers(0, 79), st.integers(1, 80), st.integers(1, 80))
def test_a_window_is_the_window(rough: TerrainSource, top: int, left: int, height: int, width: int) -> None:
    """No seams in any band: reading a window is bit for bit the window of the read, though most bands need surroundings."""
    global _whole
    if _whole is None:
        _whole = rough.read(BOX).values
    rows, columns = slice(top, min(top + height, 80)), slice(left, min(left + width, 80))
    np.testing.assert_array_equal(rough.read(BOX[rows, columns]).values, _whole[:, rows, columns])
    np.testing.assert_array_equal(rough.elevation(BOX[rows, columns]), _whole[0, rows, columns])


_whole: np.ndarray | None = None


def test_neighbouring_tiles_agree_on_their_overlap(rough: TerrainSource) -> None:
    """Two tiles with a halo hold the same values where they overlap, in every band."""
    grid = TileGrid(tile_size=2000)
    a = grid.tile_at(WEST + 1, NORTH - 1)
    b = grid.tile_at(WEST + 2001, NORTH - 1)
    left, right = (rough.read(t.geobox(margin=600)).values for t in (a, b))
    np.testing.assert_array_equal(left[:, :, 40:], right[:, :, :24])
    assert np.isfinite(left).mean() > 0.8


def test_water_gathers_where_it_flows() -> None:
    """On a plane the area drained is the way uphill; in a V-shaped valley the floor is wettest; a ridge is driest."""
    cell, steps = 50.0, 20
    y, x = np.mgrid[0:100, 0:60].astype(float)
    plane = -0.1 * cell * y  # falls to the south, straight along the grid
    got = wetness(plane, cell, steps)
    # water spreads to three neighbours, whose shares of the plane's flow cancel: every cell drains `steps` + 1 cells
    np.testing.assert_allclose(got, np.log((steps + 1) * cell / 0.1), rtol=1e-12)
    valley = 0.5 * cell * np.abs(x - 30) - 0.05 * cell * y
    got = wetness(valley, cell, steps)
    assert (np.argmax(got, axis=1) == 30 - steps - 1).all()
    ridge = wetness(-0.5 * cell * np.abs(x - 30) - 0.05 * cell * y, cell, steps)
    assert (np.abs(np.argmin(ridge, axis=1) - (30 - steps - 1)) <= 1).all()  # the crest itself is less steep than its sides


def test_water_is_that_of_an_accumulation_in_order_of_height() -> None:
    """The oracle: water handed down cell by cell from the highest; equal once the reach exceeds every way."""
    z = np.random.default_rng(3).uniform(0, 100, (26, 26)) + np.linspace(300, 0, 26)[:, None]
    cell, steps = 50.0, 24
    wide = np.pad(z, steps + 1, constant_values=np.nan)
    area = np.ones(z.shape)
    around = [(j, i) for j in (-1, 0, 1) for i in (-1, 0, 1) if i or j]
    for r, c in sorted(np.ndindex(z.shape), key=lambda at: -z[at]):
        falls = {}
        for j, i in around:
            if 0 <= r + j < 26 and 0 <= c + i < 26 and z[r + j, c + i] < z[r, c]:
                length, contour = (1, 0.5) if not (i and j) else (np.sqrt(2), np.sqrt(2) / 4)
                falls[j, i] = (z[r, c] - z[r + j, c + i]) / (length * cell) * contour
        for (j, i), fall in falls.items():
            area[r + j, c + i] += area[r, c] * fall / sum(falls.values())
    got = wetness(wide, cell, steps)
    inner = (slice(1, -1), slice(1, -1))
    south = (z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:] - z[:-2, :-2] - 2 * z[:-2, 1:-1] - z[:-2, 2:]) / (8 * cell)
    east = (z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:] - z[:-2, :-2] - 2 * z[1:-1, :-2] - z[2:, :-2]) / (8 * cell)
    np.testing.assert_allclose(got[inner], np.log(area[inner] * cell / np.maximum(np.hypot(south, east), 1e-3)), rtol=1e-9)


def test_bands_are_chosen_by_name(rough: TerrainSource) -> None:
    """Only what is asked for is given, in the order asked, and equals the same band of all; an unknown one names the nearest."""
    few = TerrainSource(dems=rough.dems, bands=("twi", "aspect_sin", "elevation"), twi_reach=600)
    np.testing.assert_array_equal(few.read(BOX[:20, :20]), rough.read(BOX[:20, :20]).sel(band=list(few.bands)))
    flat = rough.read(BOX).sel(band=["aspect_sin", "aspect_cos"])
    np.testing.assert_allclose((flat**2).sum("band", skipna=False).values[np.isfinite(flat.values[0])], 1, atol=1e-6)
    with pytest.raises(UsageError, match=r"no band 'twii'.*'twi'"):
        TerrainSource(dems=rough.dems, bands=("twii",))


def test_the_first_dem_with_data_wins(tmp_path: Path) -> None:
    """Where two DEMs overlap the first counts; where it has none, the second; where neither has, NaN."""
    half = np.full((120, 120), 100.0)
    half[:, 50:] = np.nan
    lower = np.full((120, 120), 500.0)
    lower[:, 70:] = np.nan
    first, second = dem(tmp_path / "a.tif", half), dem(tmp_path / "b.tif", lower)
    got = TerrainSource(dems=(first, second), bands=QUICK).read(BOX).sel(band="elevation").values[40]
    assert (got[:38] == 100).all() and (got[42:78] == 500).all()
    assert float(TerrainSource(dems=(first, second), bands=QUICK).read(BOX).sel(band="slope").max()) < 1e-3  # no cliff between them
    far = TileGrid().tile("25kmE3000N2000").geobox()[:10, :10]
    assert np.isnan(TerrainSource(dems=(first, second), bands=QUICK).read(far).values).all()


def test_what_was_measured_wins(tmp_path: Path) -> None:
    """Measured elevation, slope and aspect replace the cell's; tpi and twi stay; without any DEM only these are unknown."""
    source = TerrainSource(dems=(dem(tmp_path / "plane.tif", plane(0.2, 0.1)),))
    assert isinstance(source, Source)
    source = pickle.loads(pickle.dumps(source))
    inside = pd.DataFrame({"x": [WEST + 1010.0] * 3, "y": [NORTH - 1010.0] * 3})
    cell = source.at(inside)[0]
    np.testing.assert_array_equal(cell, source.read(BOX).values[:, 20, 20])
    nan = np.nan
    got = source.at(inside.assign(elevation=[777, nan, nan], slope=[nan, 30, 0], aspect=[nan, 180, nan]))
    np.testing.assert_array_equal(got[0], np.concatenate([[777], cell[1:]]).astype(np.float32))
    np.testing.assert_allclose(got[1, :5], [cell[0], 30, -0.5, 0, cell[4]], atol=1e-6)
    np.testing.assert_allclose(got[2, 1:4], 0, atol=1e-6)
    outside = pd.DataFrame(
        {"x": [5e6, 5e6, nan], "y": [3e6, 3e6, 3e6], "elevation": [900, nan, 5.0], "slope": [20, nan, 1], "aspect": [225, nan, 2]}
    )
    got = source.at(outside)
    assert np.isnan(got[0, 4:6]).all() and np.isfinite(np.delete(got[0], [4, 5])).all()
    assert np.isnan(got[1]).all()
    assert got[0, 6] == pytest.approx(
        heat_load_index(20, 225, CRS("EPSG:3035").transformer_to_crs(CRS("EPSG:4326"))(5e6, 3e6)[1]), rel=1e-5
    )
    np.testing.assert_array_equal(source.elevation_at(outside), np.array([900, nan, 5], np.float32))


def test_aspect_is_from_true_north(tmp_path: Path) -> None:
    """West of 10 E grid north leans off true north: a slope that faces grid north is turned by the convergence there."""
    tile = TileGrid().tile("25kmE2700N1950")  # 9 W in Portugal
    north = tile.south + 25_000
    source = TerrainSource(dems=(dem(tmp_path / "plane.tif", plane(0, -0.3), west=tile.west - 3000, north=north + 3000),))
    got = source.read(tile.geobox()[40:41, 40:41]).values[:, 0, 0]
    x, y = tile.west + 2025, north - 2025
    to_geographic = CRS("EPSG:3035").transformer_to_crs(CRS("EPSG:4326"))
    (lon, lon_north), (lat, lat_north) = to_geographic([x, x], [y, y + 10])
    azimuth = np.arctan2((lon_north - lon) * np.cos(np.radians(lat)), lat_north - lat)
    assert abs(np.degrees(azimuth)) > 8
    np.testing.assert_allclose(np.arctan2(got[3], got[2]), azimuth, atol=2e-3)


def test_heat_load_of_mccune_and_keon() -> None:
    """Flat ground depends on latitude alone; south-west is warmest, north-east coldest; symmetric about that axis."""
    assert heat_load_index(0, 123, 47) == pytest.approx(np.exp(-1.467 + 1.582 * np.cos(np.radians(47))))
    aspects = np.arange(0, 360, 5)
    heat = heat_load_index(30, aspects, 47)
    assert aspects[np.argmin(heat)] == 45
    np.testing.assert_allclose(heat_load_index(30, 225 + aspects, 47), heat_load_index(30, 225 - aspects, 47))
    assert heat_load_index(30, 225, 47) > heat_load_index(0, 0, 47) > heat_load_index(30, 45, 47)
    np.testing.assert_allclose(exposure(90, [0, 90, 180]), [[1, 0, -1], [0, 1, 0]], atol=1e-12)


def test_bad_dems_are_refused(tmp_path: Path) -> None:
    """Elevation out of this world names the file; one path instead of a tuple is a wrong call."""
    path = dem(tmp_path / "feet.tif", np.full((120, 120), 12_000.0))
    with pytest.raises(RasterError, match=r"feet\.tif, elevation"):
        TerrainSource(dems=(path,)).read(BOX)
    for dems in ((), path, str(path)):
        with pytest.raises(UsageError, match="tuple of paths"):
            TerrainSource(dems=dems)  # type: ignore[arg-type]


def test_the_alps_are_where_they_are(data_folder: Path) -> None:
    """Real DEMs: Finsteraarhorn region high, Lake Brienz low and flat, Glarus in its own tile; tiles meet without a seam."""
    source = TerrainSource(
        dems=(data_folder / "swiss_terrain" / "aletsch_dem_200m.tif", data_folder / "swiss_terrain" / "srtm_1arcsec_glarus.tif")
    )
    points = {
        "Jungfraujoch": (7.985, 46.547),
        "Aletsch glacier": (8.03, 46.50),
        "Lake Brienz": (7.96, 46.727),
        "Visp": (7.88, 46.294),
        "Linthal": (9.0, 46.92),
    }
    x, y = CRS("EPSG:4326").transformer_to_crs(CRS("EPSG:3035"))(*map(np.array, zip(*points.values())))
    got = dict(zip(points, source.at(pd.DataFrame({"x": x, "y": y}))))
    assert 3200 < got["Jungfraujoch"][0] < 3700
    assert got["Lake Brienz"][0] == pytest.approx(564, abs=10) and got["Lake Brienz"][1] < 2
    assert got["Visp"][0] == pytest.approx(650, abs=60)
    assert 600 < got["Linthal"][0] < 1300
    west, east = (TileGrid().tile(t) for t in ("25kmE4125N2600", "25kmE4150N2600"))
    left, right = source.read(west.geobox()[:60, -1:]).values, source.read(east.geobox()[:60, :1]).values
    assert np.abs(left - right)[0].max() < 150 and np.isfinite(left).all()
    both = source.read(west.geobox(margin=50)[1:61, -2:]).values
    np.testing.assert_array_equal(both, np.concatenate([left, right], axis=2))
