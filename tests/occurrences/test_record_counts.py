"""What records show of a species: every record counted once in each facet, and of sensitive species nothing that leads to a place."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import OccurrenceError
from geoplantnet.occurrences import COUNT_COLUMNS, GRID_CRS, OccurrenceSet, record_counts
from geoplantnet.occurrences.darwin_core import EVENT_COLUMNS, EVENT_TEXT, OCCURRENCE_COLUMNS
from geoplantnet.occurrences.record_counts import ALTITUDE_CLASS, FACETS, ROUGHEST

TAXA = ("abies-alba", "cypripedium-calceolus", "fagus-sylvatica", "orchis-militaris")
PLACE = {"year": 2000, "month": 6, "elevation": 900.0, "coordinateUncertaintyInMeters": 5.0, "dataset": "walks", "relief": None}
X, Y = 4_100_000.0, 2_600_000.0

maybe = lambda values: st.one_of(st.none(), values)  # noqa: E731
sightings = st.fixed_dictionaries(
    {
        "event": st.integers(0, 9),
        "taxonID": st.sampled_from(TAXA),
        "occurrenceStatus": st.sampled_from(["present", "present", "present", "absent"]),
    }
)
places = st.fixed_dictionaries(
    {
        "year": maybe(st.integers(1899, 2026)),
        "month": maybe(st.integers(1, 12)),
        "elevation": maybe(st.floats(-5, 4_500)),
        "coordinateUncertaintyInMeters": maybe(st.sampled_from([5.0, ROUGHEST, 251.0, 1_000.0])),
        "dataset": st.sampled_from(["walks", "plots"]),
        "relief": maybe(st.floats(-5, 4_500)),
    }
)


def gathered(rows: list[dict], events: list[dict]) -> tuple[OccurrenceSet, np.ndarray]:
    """Sightings at ten places -> a set, and the relief at its events."""
    ids = [f"e{i}" for i in range(len(events))]
    table = pd.DataFrame(events).astype(dict.fromkeys(("year", "month", "elevation", "coordinateUncertaintyInMeters", "relief"), float))
    table = table.assign(eventID=ids, sampling="presence-only", datasetID=table["dataset"], x=X, y=Y)
    empty = dict.fromkeys([c for c in EVENT_COLUMNS if c not in table and c != "geometry"], np.nan)
    empty |= dict.fromkeys([c for c in EVENT_TEXT if c not in table], "")
    points = gpd.GeoDataFrame(table.assign(**empty), geometry=gpd.points_from_xy(table["x"], table["y"]), crs=GRID_CRS)
    seen = {(row["event"], row["taxonID"]): row for row in rows}.values()
    told = pd.DataFrame(
        [(f"e{row['event']}", row["taxonID"], row["occurrenceStatus"]) for row in seen], columns=["eventID", "taxonID", "occurrenceStatus"]
    )
    told = told.assign(scientificName=told["taxonID"], verbatimScientificName="", organismQuantity="", organismQuantityType="")
    none = pd.DataFrame({column: [] for column in ("datasetID", "table", "reason", "count", "example")})
    found = OccurrenceSet(points[list(EVENT_COLUMNS)], told.assign(abundance=np.nan)[list(OCCURRENCE_COLUMNS)], none)
    return found, table["relief"].to_numpy()


worlds = st.builds(gathered, st.lists(sightings, max_size=25), st.lists(places, min_size=10, max_size=10))


def by_hand(found: OccurrenceSet, ground: np.ndarray, sensitive: dict[str, int]) -> dict[tuple, int]:
    """The same counts, one record after the other."""
    counts: dict[tuple, int] = {}
    events = {event.eventID: (event, metres) for event, metres in zip(found.events.itertuples(), ground)}
    rows = [row for row in found.occurrences.itertuples() if row.occurrenceStatus == "present"]
    beside = {row.eventID for row in rows if sensitive.get(row.taxonID, 0) > 0}
    for row in rows:
        if sensitive.get(row.taxonID) == 0:
            continue
        event, metres = events[row.eventID]
        coarse = row.taxonID in sensitive
        year = ("", event.year, event.year, "") if event.year == event.year else ("", None, None, "unknown")
        if coarse and not year[3]:
            year = ("", event.year // 10 * 10, event.year // 10 * 10 + 9, "")
        month = ("", event.month, event.month, "") if event.month == event.month else ("", None, None, "unknown")
        precise = event.coordinateUncertaintyInMeters <= ROUGHEST
        if row.eventID in beside:
            altitude: tuple = ("", None, None, "withheld")
        elif event.elevation == event.elevation or (precise and metres == metres):
            recorded = event.elevation == event.elevation
            low = (event.elevation if recorded else metres) // ALTITUDE_CLASS * ALTITUDE_CLASS
            altitude = ("recorded" if recorded else "relief", low, low + ALTITUDE_CLASS, "")
        else:
            altitude = ("", None, None, "imprecise" if metres == metres and not precise else "unknown")
        dataset = ("", None, None, "withheld") if coarse else (event.datasetID, None, None, "")
        for facet, kind in zip(FACETS, ((event.sampling, None, None, ""), year, month, altitude, dataset)):
            key = (row.taxonID, facet, *kind)
            counts[key] = counts.get(key, 0) + 1
    return counts


def as_dict(counts: pd.DataFrame) -> dict[tuple, int]:
    keys = counts.astype(object).where(counts.notna(), None)
    return {tuple(row[:-1]): row[-1] for row in keys.itertuples(index=False, name=None)}


@settings(max_examples=60)
@given(worlds, st.dictionaries(st.sampled_from(TAXA), st.sampled_from([0, 1_250])))
def test_counts_are_those_of_counting_by_hand(world, sensitive: dict[str, int]) -> None:
    """The table equals one made record by record, has no row twice, and every facet of a taxon sums to its records of presence."""
    found, ground = world
    counts = record_counts(found, TAXA, relief=ground, sensitive=sensitive)
    assert tuple(counts) == COUNT_COLUMNS and (counts["count"] > 0).all()
    told = as_dict(counts)
    assert len(told) == len(counts) and told == by_hand(found, ground, sensitive)
    sums = counts.groupby(["taxonID", "facet"])["count"].sum().unstack()
    assert sums.empty or (sums.eq(sums.iloc[:, 0], axis=0).all(axis=None) and set(sums) == set(FACETS))


@settings(max_examples=20)
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(world, random) -> None:
    """Events and records in another order give the same table, row by row."""
    found, ground = world
    events, rows = [*range(len(found.events))], [*range(len(found.occurrences))]
    random.shuffle(events)
    random.shuffle(rows)
    moved = OccurrenceSet(
        found.events.iloc[events].reset_index(drop=True), found.occurrences.iloc[rows].reset_index(drop=True), found.rejections
    )
    pd.testing.assert_frame_equal(record_counts(found, TAXA, relief=ground), record_counts(moved, TAXA, relief=ground[events]))


@settings(max_examples=25)
@given(worlds, st.lists(st.floats(0, 4_000), min_size=40, max_size=40))
def test_altitudes_of_sensitive_places_change_nothing(world, others: list[float]) -> None:
    """Wherever in its square a sensitive species grows, and whatever was found with it, the counts of all species are the same."""
    found, ground = world
    sensitive = {"cypripedium-calceolus": 1_250, "orchis-militaris": 0}
    rows = found.occurrences
    there = found.events["eventID"].isin(
        rows.loc[(rows.taxonID == "cypripedium-calceolus") & (rows.occurrenceStatus == "present"), "eventID"]
    )
    elsewhere = np.resize(others, len(there))
    moved = found.events.assign(elevation=found.events["elevation"].mask(there & found.events["elevation"].notna(), elsewhere))
    first = record_counts(found, TAXA, relief=ground, sensitive=sensitive)
    second = record_counts(
        OccurrenceSet(moved, rows, found.rejections), TAXA, relief=np.where(there, elsewhere[::-1], ground), sensitive=sensitive
    )
    pd.testing.assert_frame_equal(first, second)
    assert "orchis-militaris" not in set(first["taxonID"])


def test_a_withheld_species_leaves_no_trace() -> None:
    """With and without the records of a species that is withheld, everything told of the others is the same."""
    events = [PLACE] * 10
    others = [{"event": e, "taxonID": "abies-alba", "occurrenceStatus": "present"} for e in range(5)]
    hidden = [{"event": e, "taxonID": "orchis-militaris", "occurrenceStatus": "present"} for e in range(5)]
    one, two = (record_counts(gathered(rows, events)[0], TAXA, sensitive={"orchis-militaris": 0}) for rows in (others, others + hidden))
    pd.testing.assert_frame_equal(one, two)
    assert one.loc[one["facet"] == "altitude", "untold"].tolist() == [""]


def test_a_relief_of_another_length_is_refused() -> None:
    """It names both lengths."""
    found, _ = gathered([], [PLACE])
    with pytest.raises(OccurrenceError, match=r"relief holds .3,. altitudes for 1 events"):
        record_counts(found, TAXA, relief=[1.0, 2.0, 3.0])
