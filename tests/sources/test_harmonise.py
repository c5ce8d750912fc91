"""What an item means: scale and offset, once; mask; one date of many scenes. On real items and on the ways catalogs lie."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import RasterError
from geoplantnet.sources.scenes import (
    DARK_SCL,
    INVALID_SCL,
    Harmonised,
    Unusable,
    dates,
    harmonise,
    inside,
    scenes_of,
    settled,
    usable,
)

S2 = ("B02", "B03", "B04", "B08")
LANDSAT = ("blue", "green", "red", "nir", "swir1", "swir2")


def item(properties: dict[str, Any] | None = None, *, name: str = "x", asset: dict[str, Any] | None = None, **fields: Any) -> pystac.Item:
    """A Sentinel-2 item with absolute addresses."""
    assets = {b: {"href": f"https://example.org/{name}/{b}.tif", "type": "image/tiff", **(asset or {})} for b in (*S2, "SCL")}
    return pystac.Item.from_dict(
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": "sentinel-2-l2a",
            "geometry": {"type": "Polygon", "coordinates": [[[11, 46], [12, 46], [12, 47], [11, 47], [11, 46]]]},
            "bbox": [11, 46, 12, 47],
            "properties": {"datetime": "2022-06-12T10:16:00Z", "platform": "sentinel-2b", **(properties or {})},
            "links": [],
            "assets": assets,
            **fields,
        }
    )


def scene(**fields: Any) -> Harmonised:
    one = harmonise(item(), S2, mask="SCL")
    return replace(one, **fields)


@pytest.mark.parametrize(
    ("properties", "asset", "offset"),
    [
        ({"s2:processing_baseline": "02.14"}, {}, 0),
        ({"s2:processing_baseline": "04.00"}, {}, -1000),
        (
            {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True},
            {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]},
            0,
        ),
        ({"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": False}, {}, -1000),
        (
            {"s2:processing_baseline": "02.12", "earthsearch:boa_offset_applied": False},
            {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]},
            0,
        ),
        ({"sentinel:boa_offset_applied": True, "sentinel:processing_baseline": "04.00"}, {}, 0),
        ({"sentinel:product_id": "S2A_MSIL2A_20200714T115221_N0214_R123_T28QCH_20200714T191310"}, {}, 0),
        ({"s2:product_uri": "S2A_MSIL2A_20190714T115221_N0500_R123_T28QCH_20230714T191310.SAFE"}, {}, -1000),
        ({"processing:version": "05.10"}, {"raster:offset": -0.1, "raster:scale": 1e-4}, -1000),
        ({}, {"bands": [{"raster:offset": -0.1, "raster:scale": 1e-4}]}, -1000),
        ({}, {"raster:bands": [{"scale": 1e-4, "offset": 0}]}, 0),
        ({}, {}, 0),
    ],
)
def test_the_offset_by_metadata(properties: dict[str, Any], asset: dict[str, Any], offset: int) -> None:
    """Flag, then baseline, then what the bands say: the day of sensing never counts. Scale is 1e-4."""
    got = harmonise(item(properties, asset=asset), S2, mask="SCL")
    assert (got.offset, got.scale, got.mask) == (offset, 1e-4, "scl") and got.why


@given(
    raised=st.booleans(),
    baseline=st.sampled_from([None, "02.14", "04.00", "05.11"]),
    flag=st.sampled_from([None, True, False]),
    seed=st.integers(0, 2**16),
    dark=st.integers(30, 500),
)
@settings(max_examples=60, deadline=None)
def test_pixels_win_and_nothing_is_applied_twice(raised: bool, baseline: str | None, flag: bool | None, seed: int, dark: int) -> None:
    """Whatever the catalog says, dark pixels give the offset that is in the file; what disagreed is told; doing it again changes nothing."""
    rng = np.random.default_rng(seed)
    said = {"s2:processing_baseline": baseline, "earthsearch:boa_offset_applied": flag}
    told = harmonise(item({k: v for k, v in said.items() if v is not None}), S2, mask="SCL")
    red = (dark + rng.gamma(2.0, 200.0, 4000) + 1000 * raised).astype(np.uint16)
    scl = rng.choice([4, 4, 4, 5, 6, 8, 0], 4000).astype(np.uint8)
    red[scl == 0] = 0
    red[scl == 8] = 7000
    got = settled(told, red, scl)
    assert got.offset == (-1000 if raised else 0)
    assert ("against the metadata" in got.why) == (told.offset != got.offset) and "dark pixels" in got.why
    assert settled(got, red, scl).offset == got.offset


def test_where_pixels_do_not_tell_the_metadata_stand() -> None:
    """Too few dark pixels, or numbers between the two: the metadata's word, with a note; bright ground below 800 still tells."""
    told = scene(offset=-1000)
    few = settled(told, np.full(100, 300, np.uint16), np.full(100, 4, np.uint8))
    between = settled(told, np.full(5000, 900, np.uint16), np.full(5000, 4, np.uint8))
    bright = settled(told, np.full(5000, 6000, np.uint16), np.full(5000, 11, np.uint8))
    assert {s.offset for s in (few, between, bright)} == {-1000}
    assert "too few" in few.why and "do not tell" in between.why and "too few" in bright.why
    assert settled(told, np.full(5000, 500, np.uint16), np.full(5000, 5, np.uint8)).offset == 0
    cloudy = settled(told, np.full(5000, 300, np.uint16), np.full(5000, 9, np.uint8))
    assert cloudy.offset == -1000 and not set(DARK_SCL) & {8, 9, 10}


def test_one_date_of_many_scenes() -> None:
    """Same datatake, same granule: the newest baseline first, those it covers left out and counted, in any order of items."""
    box = {"type": "Polygon", "coordinates": [[[11, 46], [12, 46], [12, 47], [11, 47], [11, 46]]]}
    half = {"type": "Polygon", "coordinates": [[[11, 46], [11.5, 46], [11.5, 47], [11, 47], [11, 46]]]}
    take = {"s2:datatake_id": "GS2A_20220612T101559_036412_N02.14"}
    items = [
        item({**take, "s2:processing_baseline": "02.14", "s2:mgrs_tile": "32TPS"}, name="old", geometry=box),
        item({"s2:datatake_id": "GS2A_20220612T101559_036412_N05.00", "s2:processing_baseline": "05.00", "grid:code": "MGRS-32TPS"}, name="new", geometry=half),
        item({"s2:datatake_id": "GS2A_20220612T101559_036412_N04.00", "s2:processing_baseline": "04.00", "s2:mgrs_tile": "32TPS"}, name="middle", geometry=half),
        item({**take, "s2:processing_baseline": "02.14", "s2:mgrs_tile": "32TQS"}, name="beside", geometry=box),
        item({"datetime": "2022-06-09T10:16:00Z"}, name="before", geometry=box),
    ]  # fmt: skip
    for seed in range(5):
        random.Random(seed).shuffle(items)
        groups, left_out = dates(harmonise(i, S2, mask="SCL") for i in items)
        assert [[s.id for s in group] for group in groups] == [["before"], ["new", "old", "beside"]]
        assert left_out == {"duplicates of a datatake": 1}


def test_a_datatake_goes_by_many_names() -> None:
    """Catalogs with a datatake id, a product name or nothing but a platform: same pass, same key; baseline is no part of it."""
    names = [
        {"s2:datatake_id": "GS2B_20220612T101559_036412_N05.00"},
        {"s2:datatake_id": "GS2B_20220612T101559_036412_N02.14"},
    ]
    assert len({harmonise(item(p), S2, mask="SCL").datatake for p in names}) == 1
    products = ["S2B_MSIL2A_20220612T101559_N0400_R065_T32TPS_20220612T133711", "S2B_MSIL2A_20220612T101559_R065_T32TQS_20220613T000000"]
    got = [harmonise(item(name=n), S2, mask="SCL") for n in products]
    assert got[0].datatake == got[1].datatake == "S2B 20220612T101559 R065" and [s.place for s in got] == ["32TPS", "32TQS"]
    assert got[0].baseline == "04.00" and got[1].baseline is None
    assert harmonise(item(), S2, mask="SCL").datatake == "sentinel-2b 2022-06-12"


def test_masks() -> None:
    """Every SCL class and every combination of QA_PIXEL's low bits is clear or not by the published codes; snow is a choice."""
    scl = np.arange(12, dtype=np.uint8)
    assert set(scl[~usable(scl, "scl")]) == set(INVALID_SCL) == {0, 1, 3, 8, 9, 10}
    assert set(scl[~usable(scl, "scl", snow=False)]) == {*INVALID_SCL, 11}
    qa = np.arange(256, dtype=np.uint16) | 0xF400
    fill, dilated, cirrus, cloud, shadow, snow = ((qa >> bit) & 1 == 1 for bit in range(6))
    np.testing.assert_array_equal(usable(qa, "qa_pixel"), ~(fill | dilated | cirrus | cloud | shadow))
    np.testing.assert_array_equal(usable(qa, "qa_pixel", snow=False), ~(fill | dilated | cirrus | cloud | shadow | snow))
    np.testing.assert_array_equal(inside(qa, "qa_pixel"), ~fill)
    assert usable(np.array([21824, 21952], np.uint16), "qa_pixel").all()  # clear land and clear water of Landsat 8
    assert not usable(np.array([1, 22280, 23888, 54596], np.uint16), "qa_pixel").any()  # fill, cloud, shadow, cirrus


def test_what_is_left_out_is_counted() -> None:
    """Reasons with their numbers; when nothing is left, an error that says them."""
    bare = item(name="bare")
    del bare.assets["B08"], bare.assets["SCL"]
    kept, left_out = scenes_of([item(), bare], lambda i: harmonise(i, S2, mask="SCL"))
    assert len(kept) == 1 and left_out == {"without B08, SCL": 1}
    with pytest.raises(RasterError, match="none of 1 items can be used: 1 without B08, SCL; name the bands' assets"):
        scenes_of([bare], lambda i: harmonise(i, S2, mask="SCL"))
    assert harmonise(bare, ("red",), {"red": "B04", "SCL": "B02"}, mask="SCL").assets["red"].endswith("B04.tif")
    with pytest.raises(Unusable, match="without B04"):
        harmonise(bare, ("B04",), {"B04": "red", "SCL": "B02"}, mask="SCL")


@pytest.fixture(scope="module")
def cassette(data_folder: Path) -> list[pystac.Item]:
    """273 real items of two APIs."""
    with gzip.open(data_folder / "stac_fixtures" / "cassette_items.json.gz") as file:
        return [pystac.Item.from_dict(feature) for feature in json.load(file)["features"]]


def test_real_sentinel2_items(cassette: list[pystac.Item]) -> None:
    """Planetary Computer (by key, baseline 02.12) and Earth Search (by the names of its bands, COG rather than JPEG 2000, flagged as applied)."""
    got = [harmonise(i, S2, mask="SCL") for i in cassette if "sentinel" in (i.collection_id or "")]
    assert len(got) == 40 and {s.offset for s in got} == {0} and all(s.place for s in got)
    assert all(href.endswith(".tif") for s in got for href in s.assets.values())
    earth = next(s for s in got if s.id == "S2B_24MUV_20250731_0_L2A")
    assert earth.assets["B08"].endswith("/B08.tif") and earth.baseline == "05.11" and "boa_offset_applied is true" in earth.why
    groups, left_out = dates(got)
    assert not left_out and max(map(len, groups)) > 20 and sum(map(len, groups)) == 40


def test_real_landsat_items(cassette: list[pystac.Item], data_folder: Path) -> None:
    """Landsat 8 by its band numbers, Landsat 7 and 8 by common names: the same light; scale and offset of Collection 2."""
    got = [harmonise(i, LANDSAT, mask="qa_pixel") for i in cassette if "landsat" in (i.collection_id or "")]
    assert len(got) == 233
    assert got[0].assets["red"].endswith("SR_B4.TIF") and got[0].assets["swir2"].endswith("SR_B7.TIF")
    assert all(s.scale == 0.0000275 and abs(s.offset * s.scale + 0.2) < 1e-15 for s in got)
    folder = data_folder / "stac_fixtures" / "odc-stac"
    for name, red in (
        ("LE07_L2SP_044033_20210329_20210424_02_T1_SR", "SR_B3.TIF"),
        ("LC08_L2SP_028030_20200114_20200824_02_T1_SR", "SR_B4.TIF"),
    ):
        one = harmonise(pystac.Item.from_file(str(folder / f"{name}.json")), LANDSAT, mask="qa_pixel")
        assert one.assets["red"].endswith(red) and one.assets["nir"].split("_B")[-1] == ("4.TIF" if "LE07" in name else "5.TIF")
        assert len(one.checksums) == (7 if "LE07" in name else len(one.checksums)) and one.when.tzinfo is UTC
        assert one.place == name[10:16]
    older = item({"landsat:collection_number": "01"}, name="LC08_L2SP_028030_20200114_20200824_01_T1")
    with pytest.raises(Unusable, match="Collection 01"):
        harmonise(older, ("B02",), {"qa_pixel": "SCL"}, mask="qa_pixel")


def test_landsat_5_by_number() -> None:
    """Without common names an older satellite's band 4 is near infrared, a newer one's band 5."""
    for name, nir in (("LT05_L2SP_192028_19990701_20200908_02_T1", "SR_B4"), ("LC09_L2SP_192028_20220701_20220908_02_T1", "SR_B5")):
        one = item({"landsat:wrs_path": "192", "landsat:wrs_row": "028", "platform": name[:4]}, name=name)
        one.assets.clear()
        for key in (*(f"SR_B{i}" for i in range(1, 8)), "QA_PIXEL"):
            one.add_asset(key, pystac.Asset(f"https://example.org/{key}.TIF", media_type="image/tiff"))
        got = harmonise(one, ("nir",), mask="qa_pixel")
        assert got.assets["nir"].endswith(f"{nir}.TIF") and got.place == "192028"
        assert got.datatake == f"{name[:4].lower()} 192 {datetime(2022, 6, 12):%Y-%m-%d}"


def test_landsat_level_1_is_no_reflectance_of_the_surface() -> None:
    """The same bands and the same QA_PIXEL, but other numbers: left out, by what the item says or by its name."""
    for name, said in (("LC09_L1TP_192028_20220701_20220908_02_T1", {}), ("x", {"landsat:correction": "L1GT"})):
        one = item(said, name=name)
        one.add_asset("qa_pixel", pystac.Asset("https://example.org/qa.TIF", media_type="image/tiff"))
        with pytest.raises(Unusable, match="Landsat level 1"):
            harmonise(one, S2, mask="qa_pixel")
