"""Quality checks refuse and count; they never repair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point, box

from geoplantnet.errors import UsageError
from geoplantnet.grid import TileGrid
from geoplantnet.occurrences import check, concat, from_records, from_tables, in_tiles, share_inside, summary

ALPS = (4_000_000, 2_400_000, 4_700_000, 2_800_000)


def records(**columns):
    table = pd.DataFrame(columns)
    return table.assign(scientificName=table.get("scientificName", "Picea abies"), eventID=[f"e{i}" for i in range(len(table))])


def reasons(found, table="events"):
    part = found.rejections[found.rejections["table"] == table]
    return dict(zip(part["reason"], part["count"]))


def test_each_bad_place_has_its_reason():
    """Zero, swapped and outside coordinates are told apart; a good one passes unchanged."""
    found = from_records(records(decimalLatitude=[46.5, 0.0, 8.0, 60.0], decimalLongitude=[8.0, 0.0, 46.5, 8.0]), dataset_id="t")
    checked = check(found, bounds=ALPS)
    assert reasons(checked) == {"zero coordinates": 1, "swapped coordinates": 1, "outside the study area": 1}
    assert checked.events["eventID"].tolist() == ["e0"] and checked.occurrences["eventID"].tolist() == ["e0"]
    pd.testing.assert_frame_equal(pd.DataFrame(checked.events), pd.DataFrame(found.events.iloc[:1]))


def test_a_point_inside_both_ways_is_not_swapped():
    """Only a point outside the study area can be called swapped: on the diagonal nothing is refused."""
    found = from_records(records(decimalLatitude=[35.0], decimalLongitude=[35.0]), dataset_id="t")
    assert reasons(check(found)) == {}


def test_default_bounds_are_the_grids():
    """Without bounds the study area is where the grid has tiles: swapped Alpine coordinates are found."""
    found = from_records(records(decimalLatitude=[8.0, 46.5], decimalLongitude=[46.5, 8.0]), dataset_id="t")
    assert reasons(check(found)) == {"swapped coordinates": 1}


def test_uncertainty_and_year():
    """Too uncertain and too old go; unknown uncertainty and year stay; the limits themselves stay."""
    found = from_records(
        records(
            decimalLatitude=46.5,
            decimalLongitude=[8.0, 8.1, 8.2, 8.3],
            coordinateUncertaintyInMeters=[100, 101, None, 5],
            year=[1950, 2000, None, 1949],
        ),
        dataset_id="t",
    )
    checked = check(found, max_uncertainty=100, years=(1950, 2030))
    assert checked.events["eventID"].tolist() == ["e0", "e2"]
    assert reasons(checked) == {"coordinate uncertainty too large": 1, "year outside the window": 1}


def test_duplicates_among_records_only():
    """The same taxon, place and year twice leaves one; another year, taxon or place stays; surveys are never duplicates."""
    table = records(
        decimalLatitude=46.5,
        decimalLongitude=[8.0, 8.0, 8.0, 8.0, 8.1],
        year=[2000, 2000, 2001, 2000, 2000],
        scientificName=["A b", "A b", "A b", "C d", "A b"],
    )
    checked = check(from_records(table, dataset_id="t"))
    assert checked.events["eventID"].tolist() == ["e0", "e2", "e3", "e4"]
    assert reasons(checked, "occurrences") == {"same taxon, place and year again": 1} and reasons(checked) == {"no species left": 1}
    surveys = from_tables(table, table, sampling="presence-absence", dataset_id="t")
    assert len(check(surveys).events) == 5
    assert len(check(from_records(table, dataset_id="t"), duplicates=False).events) == 5


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.sampled_from([None, 1900, 2000]), st.sampled_from(["A b", "C d"])),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["presence-only", "presence-absence"]),
    st.booleans(),
)
def test_checking_loses_nothing_and_is_idempotent(rows, sampling, duplicates):
    """Used + rejected stays what was read, and a second check changes nothing."""
    table = records(
        decimalLatitude=[r[0] for r in rows],
        decimalLongitude=[r[1] for r in rows],
        year=[r[2] for r in rows],
        scientificName=[r[3] for r in rows],
    )
    found = from_tables(table, table, sampling=sampling, dataset_id="t")
    once = check(found, years=(1950, 2020), max_uncertainty=10, duplicates=duplicates)
    assert summary(once)["read"].tolist() == summary(found)["read"].tolist() == [len(rows)] * 2
    twice = check(once, years=(1950, 2020), max_uncertainty=10, duplicates=duplicates)
    pd.testing.assert_frame_equal(twice.rejections, once.rejections)
    assert twice.events["eventID"].tolist() == once.events["eventID"].tolist()
    assert np.isfinite(once.events[["x", "y"]].to_numpy()).all()


def test_empty_windows_are_refused():
    """Bounds or years that hold nothing are a wrong call."""
    found = from_records(records(decimalLatitude=[46.5], decimalLongitude=[8.0]), dataset_id="t")
    with pytest.raises(UsageError, match="bounds"):
        check(found, bounds=(1, 1, 1, 2))
    with pytest.raises(UsageError, match="years"):
        check(found, years=(2000, 1999))


def test_the_same_survey_twice():
    """A plot with place, year, area and whole list of another is counted once asked; another list, year or area is a survey of its own."""
    events = pd.DataFrame(
        {
            "eventID": list("abcdefg"),
            "x": [4.1e6] * 6 + [4.2e6],
            "y": 2.6e6,
            "year": [2000, 2000, 2000, 2001, 2000, None, 2000],
            "sampleSizeValue": [500, 500, 500, 500, 200, 500, 500],
        }
    )
    rows = pd.DataFrame([(e, "Picea abies") for e in "abcdefg"] + [("c", "Abies alba")], columns=["eventID", "scientificName"])
    found = from_tables(events, rows, sampling="presence-absence", dataset_id="t")
    assert len(check(found).events) == 7
    checked = check(found, duplicate_surveys=True)
    assert checked.events["eventID"].tolist() == ["a", "c", "d", "e", "f", "g"]
    assert reasons(checked) == {"same survey again": 1} == reasons(checked, "occurrences")
    assert len(check(checked, duplicate_surveys=True).events) == 6
    empty = from_tables(events, rows.iloc[:0], sampling="presence-absence", dataset_id="t")
    assert check(empty, duplicate_surveys=True).events["eventID"].tolist() == ["a", "d", "e", "f", "g"]


def test_records_outside_every_tile():
    """Presence-only records outside the tiles are counted, with their rows; plots stay wherever they are."""
    grid = TileGrid()
    places = pd.DataFrame({"eventID": ["in", "out"], "x": [4_110_000.0, 4_210_000.0], "y": 2_610_000.0, "scientificName": "Picea abies"})
    records = from_records(places, dataset_id="r")
    plots = places.assign(eventID=["p", "q"])
    both = concat([records, from_tables(plots, plots, sampling="presence-absence", dataset_id="p")])
    kept = in_tiles(both, grid, grid.tile_ids_at([4_110_000.0], [2_610_000.0]))
    assert kept.events["eventID"].tolist() == ["in", "p", "q"]
    assert reasons(kept) == {"outside every tile": 1} == reasons(kept, "occurrences")
    assert summary(kept)["read"].tolist() == summary(both)["read"].tolist()
    assert len(in_tiles(both, grid, []).events) == 2


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 5_000), st.floats(1, 5_000))
def test_share_of_the_disc_is_geometry(radius, side):
    """Shapely's area of disc and square agrees within its polygon's error."""
    disc = Point(0, 0).buffer(radius, quad_segs=256)
    square = box(-side / 2, -side / 2, side / 2, side / 2)
    assert share_inside([radius], side)[0] == pytest.approx(disc.intersection(square).area / disc.area, abs=1e-4)


def test_share_of_the_disc_at_its_ends():
    """A sure record weighs one; the less sure, the less; unknown as told; nonsense refused."""
    np.testing.assert_array_equal(share_inside([0, 25, np.nan], 50), [1, 1, 1])
    np.testing.assert_allclose(share_inside([np.nan, 1000], 50, unknown=1000), 4 * 25**2 / (np.pi * 1000**2), rtol=1e-5)
    shares = share_inside(np.geomspace(1, 1e5, 200), 1_280)
    assert (np.diff(shares) <= 0).all() and (shares > 0).all()
    with pytest.raises(UsageError, match="have no share"):
        share_inside([-1], 50)
    with pytest.raises(UsageError, match="have no share"):
        share_inside([1], 0)
