"""Composites of Sentinel-2 items: on the lattice, from clear pixels alone, each offset once, the same by any window and any memory."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import odc.stac
import pandas as pd
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject

from geoplantnet.errors import NoDataError, RasterError, UsageError
from geoplantnet.sources.sentinel2 import Sentinel2Scene, StacSentinel2
from geoplantnet.sources.source import Source
from geoplantnet.sources.stac import StacEndpoint

JUNE = (date(2022, 6, 1), date(2022, 7, 1))
HEIGHT, WIDTH = 240, 320


def box_in(west: float = 679_980, north: float = 5_150_040, crs: str = "EPSG:32632", *, size: int = 120, resolution: float = 10) -> GeoBox:
    """A GeoBox of the grid in the middle of a scene of the size used here."""
    x, y = CRS(crs).transformer_to_crs(CRS("EPSG:3035"))(west + 5 * WIDTH, north - 5 * HEIGHT)
    left, top = (float(v) // 50 * 50 for v in (x, y))
    half = size * 5
    return GeoBox.from_bbox((left - half, top - half, left + half, top + half), crs="EPSG:3035", resolution=resolution, tight=True)


BOX = box_in()


def ground(seed: int = 0, low: int = 100) -> np.ndarray:
    """Stored numbers without offset: dark vegetation everywhere, brighter spots. uint16 (240, 320)."""
    rng = np.random.default_rng(seed)
    return (low + rng.gamma(2.0, 300.0, (HEIGHT, WIDTH))).astype(np.uint16)


def classes(value: int = 4) -> np.ndarray:
    return np.full((HEIGHT // 2, WIDTH // 2), value, dtype=np.uint8)


def source(endpoint: StacEndpoint, **fields: Any) -> StacSentinel2:
    return StacSentinel2(endpoint=endpoint, **({"bands": ("B04",), "interval": JUNE} | fields))


def test_a_ramp_lies_where_gdal_puts_it(scenes) -> None:
    """No half-pixel shift: nearest equals GDAL's warp of the same file exactly, bilinear to rounding, on an asymmetric ramp."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    ramp = (200 + 7 * column + 31 * row + (column * row) // 50).astype(np.uint16)
    scenes.add("ramp", {"B04": ramp, "SCL": classes(5)})
    for resampling, tolerance in (("nearest", 1e-7), ("bilinear", 3e-6)):
        got = source(scenes.endpoint, resampling=resampling).read(BOX)
        expected = np.zeros(BOX.shape, np.float32)
        with rasterio.open(scenes.folder / "ramp_B04.tif") as dataset:
            reproject(rasterio.band(dataset, 1), expected, dst_transform=BOX.affine, dst_crs="EPSG:3035", resampling=Resampling[resampling])
        assert (expected > 0).all()
        np.testing.assert_allclose(got.values[0], expected * 1e-4, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(got["count"].values, 1)
    assert isinstance(source(scenes.endpoint), Source)
    assert got.dims == ("band", "y", "x") and got.dtype == np.float32


@pytest.fixture
def season(scenes):
    """Seven dates with clouds of their own, the truth of each, and a catalog. Two granules a date, overlapping by 40 columns."""
    rng = np.random.default_rng(1)
    for i in range(7):
        whole, cloud = ground(i), np.kron(rng.random((HEIGHT // 16, WIDTH // 16)) < 0.4, np.ones((8, 8), dtype=bool))
        scl = np.where(cloud, 9, 4).astype(np.uint8)
        for part, columns in enumerate((slice(0, 180), slice(140, 320))):
            scenes.add(
                f"S2A_MSIL2A_2022060{i + 1}T101600_N0300_R022_T32TP{'RS'[part]}_x",
                {"B04": whole[:, columns], "B08": whole[:, columns] * 2, "SCL": scl[:, columns.start // 2 : columns.stop // 2]},
                when=f"2022-06-0{i + 1}T10:16:00Z",
                west=679_980 + 10 * columns.start,
            )
    return scenes


def test_the_median_of_what_is_clear(season) -> None:
    """Nearest: each pixel is numpy's median of the clear values of its dates; granules of a date count once."""
    got = source(season.endpoint, bands=("B04", "B08"), resampling="nearest").read(BOX)
    stack, seen = [], []
    for i in range(7):
        whole = ground(i).astype(np.float32)
        halves = [rasterio.open(season.folder / f"S2A_MSIL2A_2022060{i + 1}T101600_N0300_R022_T32TP{p}_x_SCL.tif").read(1) for p in "RS"]
        scl = np.concatenate([halves[0], halves[1][:, 20:]], axis=1).repeat(2, axis=0).repeat(2, axis=1)
        stack.append(np.where(scl == 4, whole, np.nan))
        seen.append(scl == 4)
    with np.errstate(all="ignore"):
        median = np.nanmedian(np.stack(stack), axis=0)
    y, x = (BOX.coordinates[d].values for d in BOX.dimensions)
    gx, gy = CRS("EPSG:3035").transformer_to_crs(CRS("EPSG:32632"))(*(v.ravel() for v in np.meshgrid(x, y)))
    at = np.floor((5_150_040 - gy) / 10).astype(int), np.floor((gx - 679_980) / 10).astype(int)
    np.testing.assert_allclose(got.values[0].ravel(), median[at] * 1e-4, rtol=1e-6)
    np.testing.assert_allclose(got.values[1], got.values[0] * 2, rtol=1e-6)
    np.testing.assert_array_equal(got["count"].values.ravel(), np.sum(seen, axis=0)[at])
    whole = got.attrs["provenance"][0]
    assert whole["items"] == 14 and "left_out" not in whole and "Copernicus" in whole["credit"] and "/" not in whole["href"]


def test_on_its_own_lattice_it_is_odc_stac_s_paste(season) -> None:
    """In the scenes' own projection nothing is interpolated: odc.stac.load, masked, and numpy's median, to the last digit."""
    box = GeoBox((100, 130), Affine(10, 0, 680_500, 0, -10, 5_149_500), CRS("EPSG:32632"))
    items = pystac.ItemCollection.from_file(season.endpoint.url)
    for item in items:
        for asset in item.assets.values():
            asset.href = str(season.folder / asset.href)
    cube = odc.stac.load(items, bands=["B04", "SCL"], geobox=box, nodata=0, dtype="uint16", groupby="solar_day", resampling="nearest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(np.where(cube.SCL.values == 4, cube.B04.values.astype(np.float32), np.nan), axis=0)
    got = source(season.endpoint, resampling="nearest").read(box)
    np.testing.assert_array_equal(got.values[0], expected * np.float32(1e-4))
    np.testing.assert_array_equal(got["count"].values, (cube.SCL.values == 4).sum(axis=0))


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_neither_memory_nor_window_changes_a_byte(season, resampling: str) -> None:
    """Any size of the stack gives the same bytes, and a window is the window of the whole: values, counts, gaps."""
    one = source(season.endpoint, resampling=resampling)
    whole = one.read(BOX)
    for stack_bytes in (1, 7 * 2 * 40 * 64, 7 * 2 * 128 * 400):
        again = replace(one, stack_bytes=stack_bytes).read(BOX)
        np.testing.assert_array_equal(again.values, whole.values)
        np.testing.assert_array_equal(again["count"].values, whole["count"].values)
    for window in (np.s_[0:31, 90:120], np.s_[40:41, 17:80]):
        part = pickle.loads(pickle.dumps(one)).read(BOX[window])
        np.testing.assert_array_equal(part.values, whole.values[:, *window])
        np.testing.assert_array_equal(part["count"].values, whole["count"].values[window])


def test_coarser_cells_are_means_of_what_was_seen(season) -> None:
    """At 50 m, a cell is the mean of the composite inside it, whatever is missing there."""
    fine = source(season.endpoint, resampling="nearest").read(box_in(resolution=1)).values[0]
    coarse = source(season.endpoint).read(box_in(resolution=50)).values[0]
    blocks = fine.reshape(coarse.shape[0], 50, coarse.shape[1], 50)
    off = coarse - np.nanmean(blocks, axis=(1, 3))
    assert np.isfinite(coarse).all() and np.abs(off).max() < 0.15 * np.nanstd(fine) and off.std() < 0.04 * np.nanstd(fine)


@pytest.mark.parametrize("resolution", [25, 50, 100, 250])
def test_a_window_of_coarse_cells_is_the_window(season, resolution: int) -> None:
    """Cells at the edge of a window have all their pixels, however many they are."""
    box = GeoBox.from_bbox(tuple(BOX.boundingbox), crs="EPSG:3035", resolution=resolution, tight=False)
    whole = source(season.endpoint).read(box)
    for window in (np.s_[1:3, 1:3], np.s_[2:3, 0:1]):
        part = source(season.endpoint).read(box[window])
        np.testing.assert_array_equal(part.values, whole.values[:, *window])
        np.testing.assert_array_equal(part["count"].values, whole["count"].values[window])


def test_an_item_that_names_no_crs_is_left_out(scenes) -> None:
    """A word that is no CRS costs its item, not the tile."""
    scenes.add("odd", {"B04": ground(), "SCL": classes()}, properties={"proj:code": "EPSG:nonsense"})
    scenes.add("good", {"B04": ground(), "SCL": classes()}, when="2022-06-13T10:16:00Z")
    got = source(scenes.endpoint).read(BOX).attrs["provenance"]
    assert got[0]["left_out"] == {"whose files are in another CRS than the item says": 1} and [p["id"] for p in got[1:]] == ["good"]


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize(
    "said",
    [
        {"s2:processing_baseline": "05.09"},
        {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True},
        {"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": False},
        {"s2:processing_baseline": "02.14"},
        {},
    ],
)
def test_the_offset_is_applied_once_whatever_the_catalog_says(scenes, raised: bool, said: dict[str, Any]) -> None:
    """Stored with or without 1000 added, described rightly or wrongly: the same reflectance, and provenance says why."""
    scenes.add("one", {"B04": ground() + 1000 * raised, "SCL": classes()}, properties=said)
    scenes.add("two", {"B04": ground(), "SCL": classes()}, when="2022-06-13T10:16:00Z", properties={"s2:processing_baseline": "02.14"})
    got = source(scenes.endpoint, resampling="nearest").read(BOX)
    only = source(replace_items(scenes, slice(1, None)), resampling="nearest").read(BOX)
    np.testing.assert_allclose(got.values, only.values, atol=1e-7)
    provenance = next(p for p in got.attrs["provenance"] if p.get("id") == "one")
    assert provenance["offset"] == (-1000 if raised else 0)
    assert "dark pixels" in provenance["why"] and provenance.get("baseline") == said.get("s2:processing_baseline")


WIDE = {"type": "Polygon", "coordinates": [[[10, 46], [13, 46], [13, 47], [10, 47], [10, 46]]]}


def replace_items(scenes, chosen: slice) -> StacEndpoint:
    """The endpoint of a catalog of some of its items."""
    kept, scenes.items = scenes.items, scenes.items[chosen]
    endpoint = scenes.endpoint
    path = scenes.folder / "fewer.json"
    path.write_text((scenes.folder / f"{scenes.collection}.json").read_text())
    scenes.items = kept
    return replace(endpoint, url=str(path))


def test_the_newest_baseline_of_a_datatake_wins(scenes) -> None:
    """Processed twice: the newer scene is the one used, the older is left out and counted; half a newer one is completed."""
    old = {"s2:datatake_id": "GS2A_20220612T101559_036412_N02.14", "grid:code": "MGRS-32TPS", "s2:processing_baseline": "02.14"}
    new = old | {"s2:datatake_id": "GS2A_20220612T101559_036412_N05.00", "s2:processing_baseline": "05.00"}
    truth = ground()
    scenes.add("a_old", {"B04": truth // 2 + 50, "SCL": classes()}, properties=old)
    scenes.add("b_new", {"B04": truth + 1000, "SCL": classes()}, properties=new)
    got = source(scenes.endpoint, resampling="nearest").read(BOX)
    assert got.attrs["provenance"][0]["left_out"] == {"duplicates of a datatake": 1}
    assert [p["id"] for p in got.attrs["provenance"][1:]] == ["b_new"] and (got["count"] == 1).all()
    scenes.items.pop()
    half = classes()
    half[:, : WIDTH // 4] = 0
    scenes.add(
        "c_half", {"B04": np.where(half.repeat(2, 0).repeat(2, 1) == 0, 0, truth + 1000).astype(np.uint16), "SCL": half}, properties=new
    )
    scenes.items[-1]["geometry"]["coordinates"][0] = [
        [(lon + scenes.items[-1]["bbox"][2]) / 2, lat] for lon, lat in scenes.items[-1]["geometry"]["coordinates"][0]
    ]
    mixed = source(scenes.endpoint, resampling="nearest").read(BOX)
    np.testing.assert_array_equal(mixed.values[0, :, 80:], got.values[0, :, 80:])
    assert (mixed.values[0, :, :40] < got.values[0, :, :40]).mean() > 0.9 and (mixed["count"] == 1).all()


def test_two_zones_meet_without_a_seam(scenes) -> None:
    """The same ground in zones 32 and 33, each with half the tile: one field, mean where both reach, count not doubled."""
    x, y = CRS("EPSG:32632").transformer_to_crs(CRS("EPSG:3035"))(728_000 + 1600, 5_150_040 - 1200)
    left, top = float(x) // 50 * 50, float(y) // 50 * 50

    def truth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 600 + 0.1 * (x - left) + 150 * np.sin((y - top) / 300)

    def field(crs: str, west: float, north: float) -> np.ndarray:
        column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        there = CRS(crs).transformer_to_crs(CRS("EPSG:3035"))(west + 10 * column.ravel(), north - 10 * row.ravel())
        return truth(*there).reshape(HEIGHT, WIDTH).round().astype(np.uint16)

    for name, crs, west, north in (("a", "EPSG:32632", 728_000, 5_150_040), ("b", "EPSG:32633", 269_420, 5_150_040)):
        scenes.add(name, {"B04": field(crs, west, north), "SCL": classes()}, west=west, north=north, crs=crs)
    box = GeoBox.from_bbox((left - 900, top - 800, left + 2100, top + 800), crs="EPSG:3035", resolution=10, tight=True)
    got = source(scenes.endpoint).read(box)
    gy, gx = np.meshgrid(*(box.coordinates[d].values for d in box.dimensions), indexing="ij")
    seen = np.isfinite(got.values[0])
    first, second = (source(replace_items(scenes, slice(i, i + 1))).read(box)["count"].values for i in (0, 1))
    assert 0.1 < (first & second).mean() < 0.9 and (first & ~second).any() and (second & ~first).any()
    np.testing.assert_allclose(got.values[0][seen], truth(gx, gy)[seen] * 1e-4, atol=1.5e-4)
    np.testing.assert_array_equal(got["count"].values, seen.astype(np.uint16))
    part = source(scenes.endpoint).read(box[50:90, 100:180])
    np.testing.assert_array_equal(part.values, got.values[:, 50:90, 100:180])


def test_a_footprint_wider_than_its_file_is_no_fault(scenes) -> None:
    """An item that meets the tile by its outline alone has nothing here: no data, rather than a broken catalog."""
    item = scenes.add("wide", {"B04": ground(), "SCL": classes()}, west=679_980 + 60_000)
    scenes.items[-1] = item | {"geometry": WIDE, "bbox": [10, 46, 13, 47]}
    with pytest.raises(NoDataError, match="has no pixel here: 1 that do not reach the pixels asked for"):
        source(scenes.endpoint).read(BOX)


def test_periods_are_a_time_axis(scenes) -> None:
    """One composite a period; a quarter all cloud is NaN with count 0, and so is one without scenes; months choose scenes."""
    scenes.add("spring", {"B04": ground(), "SCL": classes()}, when="2022-04-01T00:00:00Z")
    scenes.add("summer", {"B04": ground(1), "SCL": classes(9)}, when="2022-09-30T23:59:59Z")
    quarters = tuple((date(2022, m, 1), date(2022 + (m == 10), (m + 2) % 12 + 1, 1)) for m in (1, 4, 7, 10))
    got = source(scenes.endpoint, interval=None, periods=quarters).read(BOX)
    assert got.dims == ("time", "band", "y", "x") and got["count"].dims == ("time", "y", "x") and got["count"].dtype == np.uint16
    assert [str(t)[:10] for t in got.time.values] == ["2022-01-01", "2022-04-01", "2022-07-01", "2022-10-01"]
    assert np.isfinite(got.values).all(axis=(1, 2, 3)).tolist() == [False, True, False, False]
    assert got["count"].values.max(axis=(1, 2)).tolist() == [0, 1, 0, 0] and np.isnan(got.values[[0, 2, 3]]).all()
    assert got.attrs["provenance"][0]["items"] == 2
    with pytest.raises(NoDataError, match="no item here"):
        source(scenes.endpoint, interval=(date(2022, 1, 1), date(2023, 1, 1)), months=(12,)).read(BOX)
    assert source(scenes.endpoint, interval=None, periods=quarters).at(pd.DataFrame({"x": [0.0], "y": [0.0]})).shape == (1, 4, 1)


def test_clouds_are_asked_for_by_their_share(scenes) -> None:
    """`max_cloud` leaves out cloudier scenes; nothing left is NoDataError; zero items too."""
    scenes.add("one", {"B04": ground(), "SCL": classes()}, properties={"eo:cloud_cover": 60})
    assert source(scenes.endpoint, max_cloud=60).read(BOX).attrs["provenance"][0]["items"] == 1
    with pytest.raises(NoDataError, match=r"sentinel-2-l2a has no item here from 2022-06-01 to 2022-07-01"):
        source(scenes.endpoint, max_cloud=59).read(BOX)
    with pytest.raises(NoDataError):
        source(scenes.endpoint).read(box_in(west=600_000))


def test_what_cannot_be_used_is_counted_or_refused(scenes) -> None:
    """A missing band, a wrong CRS tag and a file off the lattice are left out and counted; when nothing is left, RasterError says so."""
    scenes.add("good", {"B04": ground(), "SCL": classes()})
    whole = source(scenes.endpoint).read(BOX)
    bare = scenes.add("bare", {"SCL": classes()}, when="2022-06-02T10:00:00Z")
    tag = scenes.add("tag", {"B04": ground(2), "SCL": classes()}, when="2022-06-03T10:00:00Z", properties={"proj:epsg": 32633})
    scenes.add("shift", {"B04": ground(2), "SCL": classes()[:, :100]}, when="2022-06-04T10:00:00Z")
    got = source(scenes.endpoint).read(BOX)
    np.testing.assert_array_equal(got.values, whole.values)
    assert got.attrs["provenance"][0]["left_out"] == {
        "without B04": 1,
        "whose files are in another CRS than the item says": 1,
        "whose bands do not share a lattice": 1,
    }
    scenes.items[:] = [bare]
    with pytest.raises(RasterError, match="none of 1 items can be used: 1 without B04"):
        source(scenes.endpoint).read(BOX)
    scenes.items[:] = [tag]
    with pytest.raises(RasterError, match="1 whose files are in another CRS than the item says"):
        source(scenes.endpoint).read(BOX)


def test_damaged_and_undeclared_files(scenes) -> None:
    """A truncated file is RasterError, never a hole; a file without declared nodata has 0 for it all the same."""
    pixels = ground()
    pixels[:, :130] = 0
    scenes.add("plain", {"B04": pixels, "SCL": classes()}, nodata=None)
    got = source(scenes.endpoint, resampling="nearest").read(BOX)
    assert 0.1 < np.isnan(got.values).mean() < 0.5 and (np.isnan(got.values[0]) == (got["count"].values == 0)).all()
    path = scenes.folder / "plain_B04.tif"
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(RasterError, match="damaged"):
        source(scenes.endpoint).read(BOX)


def test_a_source_that_makes_no_sense_is_refused(scenes) -> None:
    """Neither or both of interval and periods, an empty period, no such month, the mask as a band."""
    for fields in (
        {"interval": None},
        {"periods": (JUNE,)},
        {"interval": JUNE[::-1]},
        {"months": (13,)},
        {"bands": ()},
        {"bands": ("SCL",)},
    ):
        with pytest.raises(UsageError):
            source(scenes.endpoint, **fields)


def test_bolzano(data_folder) -> None:
    """The real scene through its item equals the scene read from its files, and its dark pixels are heard."""
    endpoint = StacEndpoint(url=str(data_folder / "stac_fixtures" / "own_items.ndjson"))
    composite = StacSentinel2(endpoint=endpoint, collection="sentinel-2-l2a-local", interval=JUNE)
    folder = data_folder / "s2_south_tyrol" / "bands"
    scene = Sentinel2Scene(path={b: folder / f"bolzano_20220612_{b}.tif" for b in ("B02", "B03", "B04", "B08", "SCL")})
    box = GeoBox.from_bbox((4_422_000, 2_596_000, 4_424_000, 2_598_000), crs="EPSG:3035", resolution=10, tight=True)
    got, expected = composite.read(box), scene.read(box)
    assert np.nanmax(np.abs(got.values - expected.values)) < 2e-7 and (np.isnan(got.values) == np.isnan(expected.values)).mean() > 0.999
    provenance = got.attrs["provenance"][1]
    assert provenance["id"] == "S2_L2A_20220612_bolzano" and provenance["offset"] == 0 and "dark pixels at" in provenance["why"]
