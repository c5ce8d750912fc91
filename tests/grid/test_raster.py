"""Rasters onto the grid: no shift, no seam, the numbers of GDAL, typed errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoplantnet.errors import CrsError, RasterError, UsageError
from geoplantnet.grid import raster
from geoplantnet.grid.raster import interpolate, read_onto, read_whole, sample_at
from geoplantnet.grid.tile_grid import TileGrid

TILE = TileGrid().tile("25kmE4125N2575")
BOX = TILE.geobox(250)


def write(path: Path, values: np.ndarray, affine: Affine, crs: str | None, **options: Any) -> Path:
    """A small GeoTIFF: values (band, y, x)."""
    bands, height, width = values.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": values.dtype, "transform": affine, "crs": crs}
    with rasterio.open(path, "w", **(profile | options)) as dataset:
        dataset.write(values)
    return path


def warped(path: Path, box: GeoBox, resampling: str) -> np.ndarray:
    """The oracle: the whole raster through GDAL's warper with an exact transformer (band, y, x)."""
    height, width = box.shape
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset,
            crs=str(box.crs),
            transform=box.affine,
            width=width,
            height=height,
            resampling=Resampling[resampling],
            tolerance=1e-9,
            dtype="float32",
            nodata=-9999,
        ) as vrt,
    ):
        return vrt.read(masked=True).filled(np.nan)


@pytest.fixture
def rough(tmp_path: Path) -> Path:
    """Two bands of noise with holes, 1 km pixels of another CRS, that covers the tile in part."""
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 100, (2, 40, 35)).astype(np.float32)
    values[:, 10:13, 20:22] = -9999
    values[1, 30, 5:9] = -9999
    return write(tmp_path / "rough.tif", values, Affine(1000, 0, 395_000, 0, -1000, 5_175_000), "EPSG:32632", nodata=-9999)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "cubic_spline"])
def test_equals_gdal_on_the_whole_raster(rough: Path, resampling: str) -> None:
    """Away from missing pixels and edges the windowed read has GDAL's numbers; and NaN exactly where GDAL has none."""
    ours, gdal = read_onto(rough, BOX, resampling=resampling), warped(rough, BOX, resampling)  # type: ignore[arg-type]
    assert ours.shape == (2, *BOX.shape) and ours.dtype == np.float32
    assert (np.nanmin(ours[1]) >= 0 and np.nanmax(ours[1]) <= 100) or resampling == "cubic"  # the hole of one band stays its own
    ours, gdal = ours[0], gdal[0]
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(gdal))
    whole = np.isfinite(ours)
    assert 0.2 < whole.mean() < 0.999
    difference = np.abs(ours - gdal)[whole]
    assert np.quantile(difference, 0.9 if resampling.startswith("cubic") else 1.0) < 1e-3


def test_average_equals_gdal_where_lattices_nest(tmp_path: Path) -> None:
    """Five fine pixels a side to a cell: the mean of the known ones, as GDAL's average."""
    values = np.random.default_rng(0).uniform(0, 1, (1, 300, 200)).astype(np.float32)
    values[0, 100:140, 60:90] = np.nan
    path = write(tmp_path / "fine.tif", values, Affine(10, 0, 4_125_000, 0, -10, 2_600_000), "EPSG:3035", nodata=np.nan)
    box = TILE.geobox(50)[:70, :50]
    ours = read_onto(path, box, resampling="bilinear")  # becomes average: the cell is five times the pixel
    np.testing.assert_allclose(ours, read_onto(path, box, resampling="average"))
    blocks = values[0].reshape(60, 5, 40, 5)
    with np.errstate(invalid="ignore"):
        expected = np.nansum(blocks, axis=(1, 3)) / np.isfinite(blocks).sum(axis=(1, 3))
    np.testing.assert_allclose(ours[0, :60, :40], expected, rtol=1e-5)
    assert np.isnan(ours[0, 60:]).all() and np.isnan(ours[0, :, 40:]).all()


def test_average_over_another_projection_keeps_the_mean(tmp_path: Path) -> None:
    """Fine noise of another projection, averaged, is near GDAL's average, and unbiased."""
    values = np.random.default_rng(1).uniform(0, 1, (1, 900, 900)).astype(np.float32)
    path = write(tmp_path / "utm.tif", values, Affine(30, 0, 380_000, 0, -30, 5_150_000), "EPSG:32632")
    ours, gdal = read_onto(path, BOX, resampling="average"), warped(path, BOX, "average")
    both = np.isfinite(ours) & np.isfinite(gdal)
    assert both.mean() > 0.5
    assert abs((ours - gdal)[both].mean()) < 1e-3
    assert np.abs(ours - gdal)[both].max() < 0.25


@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "cubic_spline"])
@settings(deadline=None, max_examples=40)
@given(
    dx=st.floats(-500, 500),
    dy=st.floats(-500, 500),
    pixel=st.floats(60, 400),
    height=st.floats(30, 400),
    a=st.floats(-3, 3),
    b=st.floats(-3, 3),
)
def test_a_ramp_stays_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, resampling: str, dx: float, dy: float, pixel: float, height: float, a: float, b: float
) -> None:
    """A plane sampled at pixel centres comes back as that plane at cell centres: no half-pixel shift in x or in y."""
    affine = Affine(pixel, 0, 4_125_000 + dx, 0, -height, 2_600_000 + dy)
    columns, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(50) + 0.5)
    x, y = affine.c + pixel * columns, affine.f - height * rows
    values = a * (x - 4_125_000) + b * (y - 2_600_000)
    path = write(tmp_path_factory.mktemp("ramp") / "ramp.tif", values[None].astype(np.float32), affine, "EPSG:3035")
    box = TILE.geobox(20)[:80, :80]
    got = read_onto(path, box, resampling=resampling)[0]  # type: ignore[arg-type]
    cx, cy = np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values)
    c, r = (cx - affine.c) / pixel, (affine.f - cy) / height
    inner = (c > 2) & (c < 38) & (r > 2) & (r < 48)  # cells that have all their neighbours
    np.testing.assert_allclose(got[inner], (a * (cx - 4_125_000) + b * (cy - 2_600_000))[inner], atol=0.02)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "cubic_spline", "average"])
def test_a_window_is_bit_for_bit_the_window(rough: Path, resampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No seams: any window of a read, and a read in small blocks, equal the read."""
    whole = read_onto(rough, BOX, resampling=resampling)  # type: ignore[arg-type]
    for rows, columns in ((slice(0, 7), slice(0, 9)), (slice(33, 64), slice(50, 100)), (slice(99, 100), slice(0, 1))):
        np.testing.assert_array_equal(read_onto(rough, BOX[rows, columns], resampling=resampling), whole[:, rows, columns])  # type: ignore[arg-type]
    monkeypatch.setattr(raster, "_BLOCK_VALUES", 500)
    monkeypatch.setattr(raster, "_WINDOW_VALUES", 60)
    np.testing.assert_array_equal(read_onto(rough, BOX, resampling=resampling), whole)  # type: ignore[arg-type]


def test_shares_are_exact_where_lattices_nest(tmp_path: Path) -> None:
    """With `shares` each pixel stands for its own area: coarse pixels are not smoothed, fine ones all count."""
    codes = np.random.default_rng(1).integers(0, 3, (1, 60, 60)).astype(np.uint8)
    ones = {"prepare": lambda v: np.where(np.isfinite(v), v == 1, np.nan).astype(np.float32), "shares": True}
    for pixel, cells in ((10, 12), (25, 30), (100, 80)):
        path = write(tmp_path / f"{pixel}.tif", codes, Affine(pixel, 0, 4_125_000, 0, -pixel, 2_600_000), "EPSG:3035")
        box = TILE.geobox(50)[:cells, :cells]
        fine = (codes[0] == 1).repeat(pixel // 5, 0).repeat(pixel // 5, 1)[: cells * 10, : cells * 10]
        np.testing.assert_allclose(read_onto(path, box, **ones)[0], fine.reshape(cells, 10, cells, 10).mean(axis=(1, 3)), atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "cubic_spline"])
def test_points_get_what_cells_get(rough: Path, method: str) -> None:
    """`sample_at` at cell centres, in any order, is `read_onto`; points outside or not finite are NaN."""
    cells = read_onto(rough, BOX, resampling=method)  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    r, c = rng.integers(0, 100, (2, 300))
    x, y = BOX.coordinates["x"].values[c], BOX.coordinates["y"].values[r]
    got = sample_at(rough, np.append(x, [np.nan, 0.0]), np.append(y, [1.0, 0.0]), "EPSG:3035", method=method)  # type: ignore[arg-type]
    assert got.shape == (302, 2) and got.dtype == np.float32
    np.testing.assert_array_equal(got[:300], cells[:, r, c].T)
    assert np.isnan(got[300:]).all()
    assert sample_at(rough, [], [], "EPSG:3035").shape == (0, 2)


def test_geographic_points_are_lon_lat(tmp_path: Path) -> None:
    """A raster that holds its own longitude gives it back at lon, lat points: axes are never swapped."""
    columns, rows = np.meshgrid(np.arange(30) + 0.5, np.arange(20) + 0.5)
    lon, lat = 6 + 0.1 * columns, 48 - 0.1 * rows
    path = write(tmp_path / "lonlat.tif", np.stack([lon, lat]).astype(np.float32), Affine(0.1, 0, 6, 0, -0.1, 48), "EPSG:4326")
    got = sample_at(path, [7.33, 8.0], [47.1, 46.51], "EPSG:4326")
    np.testing.assert_allclose(got, [[7.33, 47.1], [8.0, 46.51]], atol=1e-5)


def test_bands_nodata_and_prepare(rough: Path, tmp_path: Path) -> None:
    """Bands are picked and ordered; `nodata` replaces the declared one; `prepare` sees native pixels before interpolation."""
    whole = read_onto(rough, BOX)
    np.testing.assert_array_equal(read_onto(rough, BOX, bands=[2, 1]), whole[::-1])
    np.testing.assert_array_equal(read_onto(rough, BOX, prepare=lambda v: v[:1] - v[1:]).shape, (1, *BOX.shape))
    codes = np.full((1, 4, 4), 7, np.uint8)
    codes[0, :, 2:] = 9
    path = write(tmp_path / "codes.tif", codes, Affine(1000, 0, 4_125_000, 0, -1000, 2_600_000), "EPSG:3035")
    assert np.isnan(read_onto(path, BOX, nodata=9)[0, 5, 8:]).all()
    share = read_onto(path, BOX, prepare=lambda v: (v == 9).astype(np.float32))
    np.testing.assert_allclose(share[0, 5, :16], np.interp(np.arange(16) * 0.25 + 0.125, [1.5, 2.5], [0, 1]), atol=1e-6)


def test_holes_lose_their_weight() -> None:
    """Beside a missing pixel bilinear takes what is known; inside it there is nothing."""
    values = np.array([[[1.0, np.nan, 3.0]]], np.float32)
    got = interpolate(values, np.array([0.5, 0.9, 1.1, 2.1, -0.1, np.nan]), np.full(6, 0.5))
    np.testing.assert_array_equal(got[0], np.array([1, 1, np.nan, 3, np.nan, np.nan], np.float32))


def test_no_overlap_and_all_nodata_are_nan(rough: Path, tmp_path: Path) -> None:
    """A raster elsewhere, and one without a single value, give NaN: whether that is wrong is the caller's business."""
    far = TileGrid().tile("25kmE1000N1000").geobox(250)
    assert np.isnan(read_onto(rough, far)).all() and read_onto(rough, far).shape == (2, 100, 100)
    empty = write(
        tmp_path / "empty.tif", np.zeros((1, 40, 40), np.uint8), Affine(1000, 0, 4_120_000, 0, -1000, 2_610_000), "EPSG:3035", nodata=0
    )
    assert np.isnan(read_onto(empty, BOX)).all()
    assert np.isnan(sample_at(empty, [4_130_000.0], [2_590_000.0], "EPSG:3035")).all()


def test_read_whole_gives_the_raster_and_its_geobox(rough: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Native pixels and lattice; a raster too big to hold is refused."""
    values, box = read_whole(rough)
    assert values.shape == (2, 40, 35) and np.isnan(values[0, 10, 20])
    np.testing.assert_array_equal(read_onto(rough, box, resampling="nearest"), values)
    monkeypatch.setattr(raster, "_WINDOW_VALUES", 100)
    with pytest.raises(RasterError, match="too many to hold"):
        read_whole(rough)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_no_crs_is_named_with_its_fix(tmp_path: Path) -> None:
    """A raster without CRS raises CrsError that names the file and the command that mends it; so does one without extent."""
    values = np.ones((1, 4, 4), np.float32)
    with pytest.raises(CrsError, match=r"nocrs\.tif has no CRS.*gdal_edit -a_srs"):
        read_onto(write(tmp_path / "nocrs.tif", values, Affine(10, 0, 0, 0, -10, 0), None), BOX)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = write(tmp_path / "noextent.tif", values, Affine.identity(), "EPSG:3035")
    with pytest.raises(CrsError, match=r"noextent\.tif has a CRS but no geotransform"):
        read_onto(path, BOX)
    with pytest.raises(CrsError, match="GeoBox has no CRS"):
        read_onto(path, GeoBox((2, 2), Affine.identity(), None))


@pytest.mark.parametrize(
    ("crs", "corner", "pixel", "message"),
    [
        ("EPSG:3035", (6.0, 48.0), 0.01, r"EPSG:3035.*degrees, not metres\. It is likely in EPSG:4326"),
        ("EPSG:32632", (-25.0, 72.0), 0.25, "degrees, not metres"),
        ("EPSG:4326", (4_100_000, 2_700_000), 1000, r"EPSG:4326.*metres, not degrees\. It is likely in EPSG:3035"),
        ("EPSG:4326", (2_600_000, 1_200_000), 100, "likely in EPSG:2056"),
        ("EPSG:4258", (700_000, 6_300_000), 100, "likely in EPSG:2154"),
        ("EPSG:4326", (600_000, 5_200_000), 10, "a UTM zone such as EPSG:32632"),
        ("EPSG:4326", (3e7, 5e6), 10, "Assign the CRS its publisher names"),
        ("EPSG:4326", (45.0, 100.0), 0.5, "axes are swapped"),
        ("EPSG:4326", (400.0, 48.0), 0.1, "not on Earth"),
    ],
)
def test_a_wrong_crs_tag_is_found(tmp_path: Path, crs: str, corner: tuple[float, float], pixel: float, message: str) -> None:
    """Degrees tagged as metres, metres as degrees, axes swapped: CrsError with the CRS that is likely meant, never pixels elsewhere."""
    path = write(tmp_path / "tag.tif", np.ones((1, 50, 40), np.float32), Affine(pixel, 0, corner[0], 0, -pixel, corner[1]), crs)
    with pytest.raises(CrsError, match=message):
        read_onto(path, BOX)
    with pytest.raises(CrsError, match=message):
        sample_at(path, [4_130_000.0], [2_590_000.0], "EPSG:3035")


def test_right_tags_pass(tmp_path: Path) -> None:
    """Global files by corner or by centre, 0..360, fine local grids in metres: no false alarm."""
    for crs, affine, shape in (
        ("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), (180, 360)),
        ("EPSG:4326", Affine(1, 0, -180.5, 0, -1, 90.5), (181, 361)),
        ("EPSG:4326", Affine(0.25, 0, -0.125, 0, -0.25, 90.125), (721, 1440)),
        ("EPSG:4326", Affine(1, 0, 0, 0, 1, -90), (180, 360)),
        ("EPSG:32632", Affine(0.5, 0, 400_000, 0, -0.5, 5_150_000), (100, 100)),
        ("EPSG:3035", Affine(100, 0, 0, 0, -100, 0), (100, 100)),
    ):
        path = write(tmp_path / "right.tif", np.ones((1, *shape), np.uint8), affine, crs)
        read_onto(path, BOX)


def test_swapped_degrees_are_found_where_they_would_reach(tmp_path: Path) -> None:
    """A raster of the Alps whose columns run along latitude misses the tile, and would hold it exchanged; one of Kazakhstan just misses."""
    values = np.ones((1, 100, 100), np.float32)
    swapped = write(tmp_path / "swapped.tif", values, Affine(0.05, 0, 44, 0, -0.05, 10), "EPSG:4326")
    with pytest.raises(CrsError, match="with its axes exchanged"):
        read_onto(swapped, BOX)
    east = write(tmp_path / "east.tif", values, Affine(0.05, 0, 60, 0, -0.05, 50), "EPSG:4326")
    assert np.isnan(read_onto(east, BOX)).all()


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_longitudes_from_zero_and_round_the_globe(tmp_path: Path, resampling: str) -> None:
    """A globe cut at Greenwich or at the antimeridian has the same values, at the seam too, and windows stay windows."""
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 1, (1, 90, 180)).astype(np.float32)
    cut = write(tmp_path / "cut.tif", np.roll(values, 90, axis=2), Affine(2, 0, -180, 0, -2, 90), "EPSG:4326")
    zero = write(tmp_path / "zero.tif", values, Affine(2, 0, 0, 0, -2, 90), "EPSG:4326")
    box = GeoBox.from_bbox((2_800_000, 1_600_000, 5_000_000, 3_800_000), "EPSG:3035", resolution=20_000)  # both sides of Greenwich
    got = read_onto(zero, box, resampling=resampling)  # type: ignore[arg-type]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, read_onto(cut, box, resampling=resampling), atol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_onto(zero, box[20:50, 30:35], resampling=resampling), got[:, 20:50, 30:35])  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        sample_at(zero, [-0.5, 359.5], [45.2, 45.2], "EPSG:4326")[0], sample_at(zero, [-0.5, 359.5], [45.2, 45.2], "EPSG:4326")[1]
    )
    fiji = GeoBox.from_bbox((-1_000_000, -500_000, 1_000_000, 500_000), "+proj=aeqd +lat_0=-18 +lon_0=180", resolution=100_000)
    np.testing.assert_allclose(
        read_onto(cut, fiji, resampling=resampling),  # type: ignore[arg-type]
        read_onto(zero, fiji, resampling=resampling),  # type: ignore[arg-type]
        atol=1e-5,
    )


def test_a_truncated_cog_is_damaged(tmp_path: Path) -> None:
    """A cloud-optimised file keeps its header in front and opens though its pixels are missing: RasterError, not NaN."""
    values = np.random.default_rng(0).uniform(0, 1, (1, 600, 600)).astype(np.float32)
    profile = {"driver": "COG", "count": 1, "height": 600, "width": 600, "dtype": "float32", "crs": "EPSG:3035"}
    path = tmp_path / "cog.tif"
    with rasterio.open(path, "w", transform=Affine(100, 0, 4_110_000, 0, -100, 2_620_000), blocksize=128, **profile) as dataset:
        dataset.write(values)
    content = path.read_bytes()
    for share in (0.1, 0.5):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(RasterError, match=r"cog\.tif"):
            read_onto(path, BOX)


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    """A file cut short raises RasterError and never gives half an answer."""
    values = np.random.default_rng(0).uniform(0, 1, (1, 200, 200)).astype(np.float32)
    path = write(tmp_path / "cut.tif", values, Affine(200, 0, 4_120_000, 0, -200, 2_610_000), "EPSG:3035", compress="deflate")
    content = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(RasterError, match=r"cut\.tif"):
            read_onto(path, BOX)


def test_the_driver_is_never_guessed(rough: Path, tmp_path: Path) -> None:
    """An XML VRT named .tif, which would make GDAL open other files, is refused; so is text, a folder and a GDAL path."""
    vrt = tmp_path / "innocent.tif"
    vrt.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><SRS>EPSG:3035</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>'
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{rough}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    with pytest.raises(RasterError, match="cannot be opened as GTiff"):
        read_onto(vrt, BOX)
    with pytest.raises(RasterError, match="cannot be opened as AAIGrid"):
        read_onto(rough, BOX, driver="AAIGrid")
    for path in (tmp_path, tmp_path / "absent.tif", "/vsicurl/http://example.org/a.tif", f"vrt://{rough}", f"zip://{rough}"):
        with pytest.raises(RasterError, match="not a local file"):
            read_onto(path, BOX)


def test_wrong_calls(rough: Path) -> None:
    """Unknown bands, methods and shapes are refused with what is allowed."""
    with pytest.raises(RasterError, match=r"has bands 1\.\.2, asked for \[3\]"):
        read_onto(rough, BOX, bands=[1, 3])
    with pytest.raises(UsageError, match="'lanczos' is unknown"):
        read_onto(rough, BOX, resampling="lanczos")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'average' cannot sample"):
        sample_at(rough, [0.0], [0.0], "EPSG:3035", method="average")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one length"):
        sample_at(rough, [0.0, 1.0], [0.0], "EPSG:3035")
