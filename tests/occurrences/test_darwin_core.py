"""Occurrence tables: nothing is lost silently, reading after writing is identical, bad tables are refused by name."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geoplantnet import storage
from geoplantnet.errors import CrsError, OccurrenceError
from geoplantnet.occurrences import (
    OccurrenceSet,
    concat,
    from_records,
    from_tables,
    load,
    presence_matrix,
    read_records,
    save,
    summary,
    validate_events,
    validate_occurrences,
)
from geoplantnet.taxonomy import Backbone, SpeciesList, Taxon

EVENTS = pd.DataFrame(
    {
        "eventID": ["a", "b", "c"],
        "x": [4.1e6, 4.2e6, 4.3e6],
        "y": [2.6e6, 2.6e6, 2.7e6],
        "year": [2001, None, 2003],
        "sampleSizeValue": [500.0, 200.0, None],
        "slope": [10.0, None, 0.0],
    }
)
OCCURRENCES = pd.DataFrame({"eventID": ["a", "a", "b"], "scientificName": ["Picea abies", "Fagus sylvatica", "Picea abies"]})
SPECIES = SpeciesList(
    checklist="test", taxa=tuple(Taxon(taxon_id=i, scientific_name=i) for i in ("fagus-sylvatica", "picea-abies", "quercus-robur"))
)
BACKBONE = Backbone(pd.DataFrame({"species": ["Picea abies", "Fagus sylvatica"]}), pd.DataFrame(columns=["synonym", "accepted"]))

coordinate = st.one_of(st.none(), st.just(np.inf), st.floats(-200, 200))
name = st.sampled_from(["Picea abies", "Picea excelsa", "Fagus sylvatica", "Quercus sp.", "", None, "M.Hypnum_spec."])


@pytest.fixture
def small() -> OccurrenceSet:
    return from_tables(EVENTS, OCCURRENCES, sampling="presence-absence", dataset_id="test")


def rejected(found: OccurrenceSet, table: str) -> int:
    return int(found.rejections.loc[found.rejections["table"] == table, "count"].sum())


def test_tables_become_a_set(small):
    """Plain tables give points in the grid's CRS, degrees, units and ids; an event without species stays."""
    assert small.events.crs.to_epsg() == 3035 and small.events["eventID"].tolist() == ["a", "b", "c"]
    longitude, latitude = Transformer.from_crs(3035, 4326, always_xy=True).transform(EVENTS["x"], EVENTS["y"])
    np.testing.assert_allclose(small.events["decimalLongitude"], longitude)
    np.testing.assert_allclose(small.events["decimalLatitude"], latitude)
    assert small.events["sampleSizeUnit"].tolist() == ["square metre", "square metre", ""]
    assert np.isnan(small.events["year"][1]) and np.isnan(small.events["aspect"]).all()
    assert small.occurrences["taxonID"].tolist() == ["picea-abies", "fagus-sylvatica", "picea-abies"]
    assert len(small.rejections) == 0


def test_degrees_become_metres():
    """Longitude and latitude alone are projected, easting first: the origin of EPSG:3035 is (10 E, 52 N)."""
    events = pd.DataFrame({"eventID": ["o"], "decimalLongitude": [10.0], "decimalLatitude": [52.0]})
    found = from_tables(events, OCCURRENCES.iloc[:0], sampling="presence-absence", dataset_id="t")
    np.testing.assert_allclose(found.events[["x", "y"]].to_numpy(), [[4321000, 3210000]], atol=0.01)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(coordinate, coordinate), max_size=8),
    st.lists(st.tuples(st.integers(-1, 8), name, st.sampled_from(["present", "absent", "", "perhaps"])), max_size=20),
    st.sampled_from(["presence-only", "presence-absence"]),
    st.booleans(),
)
def test_nothing_is_lost_silently(places, rows, sampling, named):
    """Rows in = rows used + rows counted with a reason, for events and for occurrences, whatever comes in."""
    events = pd.DataFrame(
        {
            "eventID": [f"e{i}" for i in range(len(places))],
            "decimalLongitude": [p[0] for p in places],
            "decimalLatitude": [p[1] for p in places],
        }
    )
    occurrences = pd.DataFrame(rows, columns=["event", "scientificName", "occurrenceStatus"])
    occurrences["eventID"] = "e" + occurrences["event"].astype(str)
    found = from_tables(events, occurrences, sampling=sampling, dataset_id="t", backbone=BACKBONE if named else None)
    assert len(found.events) + rejected(found, "events") == len(events)
    assert len(found.occurrences) + rejected(found, "occurrences") == len(occurrences)
    assert (found.rejections["reason"] != "").all() and (found.rejections["count"] > 0).all()
    books = summary(found).set_index("table")
    for table, read in (("events", len(events)), ("occurrences", len(occurrences))):
        assert (books.loc[table, "read"] if table in books.index else 0) == read


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["p", "q", "", None]), st.sampled_from([7.0, 8.0, None]), name), max_size=15))
def test_no_record_is_lost_silently(rows):
    """A record is used or counted; one record is one event unless an eventID groups records of one place."""
    records = pd.DataFrame(rows, columns=["eventID", "decimalLongitude", "scientificName"]).assign(decimalLatitude=46.0)
    found = from_records(records, dataset_id="t", backbone=BACKBONE)
    assert len(found.occurrences) + rejected(found, "occurrences") == len(records)
    assert found.events["eventID"].isin(found.occurrences["eventID"]).all()


def test_records_are_grouped_by_event():
    """Records of one eventID share it; one at another place is its own event, or refused in a survey; others get an occurrenceID or number."""
    records = pd.DataFrame(
        {
            "eventID": ["p", "p", "p", "", ""],
            "occurrenceID": ["1", "2", "3", "4", ""],
            "scientificName": ["Picea abies", "Fagus sylvatica", "Quercus robur", "Picea abies", "Picea abies"],
            "x": [4.1e6, 4.1e6, 4.2e6, 4.1e6, 4.1e6],
            "y": 2.6e6,
        }
    )
    walk = from_records(records, dataset_id="t")
    assert walk.events["eventID"].tolist() == ["p", "p:t:2", "4", "t:4"]
    assert walk.occurrences["eventID"].tolist() == ["p", "p", "p:t:2", "4", "t:4"]
    assert walk.rejections.empty
    found = from_records(records, dataset_id="t", sampling="presence-absence")
    assert found.events["eventID"].tolist() == ["p", "4", "t:4"]
    assert found.occurrences["eventID"].tolist() == ["p", "p", "4", "t:4"]
    assert found.rejections[["reason", "count"]].to_numpy().tolist() == [["eventID at two places", 1]]


def test_refused_rows_are_counted_by_reason():
    """Every reason appears with its count and an example, and a merged synonym is told apart from a loss."""
    events = pd.DataFrame(
        {"eventID": ["a", "b", "c", ""], "decimalLongitude": [8.0, 8.0, None, 8.0], "decimalLatitude": [46.0, 96.0, 46.0, 46.0]}
    )
    occurrences = pd.DataFrame(
        {
            "eventID": ["a", "a", "a", "b", "c", "z", "a"],
            "scientificName": [
                "B.Picea_abies",
                "S.Picea_abies",
                "Quercus_spec.",
                "Picea abies",
                "Picea abies",
                "Picea abies",
                "Fagus sylvatica",
            ],
            "occurrenceStatus": ["PRESENT", "present", "present", "present", "present", "present", "maybe"],
        }
    )
    found = from_tables(events, occurrences, sampling="presence-only", dataset_id="t", backbone=BACKBONE)
    counts = {(t, r): (c, e) for t, r, c, e in found.rejections[["table", "reason", "count", "example"]].to_numpy().tolist()}
    assert counts == {
        ("events", "coordinates out of range"): (1, "b"),
        ("events", "missing coordinates"): (1, "c"),
        ("events", "missing eventID"): (1, ""),
        ("occurrences", "same taxon twice in one event"): (1, "S.Picea_abies"),
        ("occurrences", "genus only"): (1, "Quercus_spec."),
        ("occurrences", "coordinates out of range"): (1, "Picea abies"),
        ("occurrences", "missing coordinates"): (1, "Picea abies"),
        ("occurrences", "event not in the event table"): (1, "Picea abies"),
        ("occurrences", "unknown occurrenceStatus"): (1, "Fagus sylvatica"),
    }
    assert found.occurrences["verbatimScientificName"].tolist() == ["B.Picea_abies"]


def test_reading_after_writing_is_identical(small, tmp_path):
    """Save and load are inverse, and the same set gives the same bytes."""
    again = load(save(small, tmp_path / "one"))
    for part in ("events", "occurrences", "rejections"):
        pd.testing.assert_frame_equal(pd.DataFrame(getattr(again, part)), pd.DataFrame(getattr(small, part)))
    assert again.events.crs == small.events.crs
    save(again, tmp_path / "two")
    assert storage.sha256(tmp_path / "one") == storage.sha256(tmp_path / "two")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_a_damaged_folder_is_refused(small, tmp_path):
    """A missing or cut table raises OccurrenceError, not a reader's own error."""
    with pytest.raises(OccurrenceError, match="no readable occurrence set"):
        load(tmp_path / "nowhere")
    folder = save(small, tmp_path / "cut")
    (folder / "occurrences.parquet").write_bytes((folder / "occurrences.parquet").read_bytes()[:100])
    with pytest.raises(OccurrenceError, match="no readable occurrence set"):
        load(folder)


def test_concat_adds_up(small):
    """Concatenation keeps every row and adds the books; shared event ids are refused."""
    other = from_tables(
        EVENTS.assign(eventID=["d", "e", ""]), OCCURRENCES.assign(eventID="d"), sampling="presence-only", dataset_id="other"
    )
    both = concat([small, other])
    assert len(both.events) == len(small.events) + len(other.events) and len(both.occurrences) == len(small.occurrences) + len(
        other.occurrences
    )
    pd.testing.assert_frame_equal(summary(both), pd.concat([summary(other), summary(small)], ignore_index=True))
    with pytest.raises(OccurrenceError, match="eventID 'a' twice"):
        concat([small, small])
    with pytest.raises(OccurrenceError, match="nothing to concatenate"):
        concat([])


@settings(max_examples=6, deadline=None)
@given(st.permutations(["a", "b", "c"]))
def test_presence_matrix_is_the_brute_force_table(order):
    """Each cell says whether that species is present at that event, in the orders asked; absences and strangers are not presences."""
    occurrences = pd.concat([OCCURRENCES, pd.DataFrame({"eventID": ["c", "c"], "scientificName": ["Quercus robur", "Unlisted species"]})])
    occurrences["occurrenceStatus"] = ["present", "present", "present", "absent", "present"]
    found = from_tables(EVENTS, occurrences, sampling="presence-absence", dataset_id="t")
    matrix = presence_matrix(found, SPECIES, order)
    assert matrix.shape == (3, 3) and matrix.dtype == np.uint8 and matrix.format == "csr"
    present = {("a", "picea-abies"), ("a", "fagus-sylvatica"), ("b", "picea-abies")}
    np.testing.assert_array_equal(matrix.toarray(), [[(e, t.taxon_id) in present for t in SPECIES] for e in order])


def test_presence_matrix_knows_its_events(small):
    """A subset is fine; unknown or repeated events are refused."""
    assert presence_matrix(small, SPECIES, ["b"]).toarray().tolist() == [[0, 1, 0]]
    with pytest.raises(OccurrenceError, match="event 'z' is not in the set"):
        presence_matrix(small, SPECIES, ["a", "z"])
    with pytest.raises(OccurrenceError, match="repeat"):
        presence_matrix(small, SPECIES, ["a", "a"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", np.nan, "has x nan"),
        ("decimalLatitude", 91.0, "has decimalLatitude 91"),
        ("slope", 90.5, "has slope 90.5"),
        ("aspect", -1.0, "has aspect -1"),
        ("coordinateUncertaintyInMeters", -5.0, "coordinateUncertaintyInMeters -5"),
        ("sampleSizeValue", 0.0, "sampleSizeValue 0"),
        ("sampling", "presence", "use one of presence-only, presence-absence"),
        ("eventID", "b", "'b' twice"),
        ("eventID", "", "column eventID is empty in row 0"),
        ("x", 4.15e6, "point away from its x, y"),
    ],
)
def test_bad_events_are_refused(small, column, value, message):
    """Each broken column is named with its value."""
    broken = small.events.copy()
    broken.loc[0, column] = value
    with pytest.raises(OccurrenceError, match=message):
        validate_events(broken)


def test_bad_event_tables_are_refused(small):
    """No CRS, another CRS, a missing column, integers and polygons are table-level faults."""
    with pytest.raises(CrsError, match="no CRS"):
        validate_events(gpd.GeoDataFrame(pd.DataFrame(small.events), geometry="geometry", crs=None).set_crs(None, allow_override=True))
    with pytest.raises(CrsError, match="EPSG:4326"):
        validate_events(small.events.to_crs(4326))
    with pytest.raises(OccurrenceError, match="no column 'aspect'"):
        validate_events(small.events.drop(columns="aspect"))
    with pytest.raises(OccurrenceError, match="year is int64"):
        validate_events(small.events.assign(year=2000))
    with pytest.raises(OccurrenceError, match="something else than points"):
        validate_events(small.events.assign(geometry=small.events.buffer(5)).set_geometry("geometry"))


def test_bad_occurrences_are_refused(small):
    """Doubled taxa, unknown status, empty ids and stray events are named."""
    rows = small.occurrences
    with pytest.raises(OccurrenceError, match="Picea abies at event a twice"):
        validate_occurrences(pd.concat([rows, rows.iloc[:1]]))
    with pytest.raises(OccurrenceError, match="'maybe'"):
        validate_occurrences(rows.assign(occurrenceStatus="maybe"))
    with pytest.raises(OccurrenceError, match="taxonID is empty"):
        validate_occurrences(rows.assign(taxonID=""))
    with pytest.raises(OccurrenceError, match="name event 'z'"):
        OccurrenceSet(small.events, rows.assign(eventID=["a", "b", "z"]), small.rejections)


def test_bad_calls_are_refused():
    """No coordinates at all, a wrong sampling, acres, and a doubled eventID are errors, not rejections."""
    with pytest.raises(OccurrenceError, match="neither x, y nor decimalLongitude"):
        from_tables(EVENTS[["eventID", "x"]], OCCURRENCES, sampling="presence-only", dataset_id="t")
    with pytest.raises(OccurrenceError, match="sampling holds 'both'"):
        from_tables(EVENTS, OCCURRENCES, sampling="both", dataset_id="t")
    with pytest.raises(OccurrenceError, match="'acre'"):
        from_tables(EVENTS.assign(sampleSizeUnit="acre"), OCCURRENCES, sampling="presence-only", dataset_id="t")
    with pytest.raises(OccurrenceError, match="eventID 'a' twice"):
        from_tables(EVENTS.assign(eventID="a"), OCCURRENCES, sampling="presence-only", dataset_id="t")


def test_gbif_download_is_read(tmp_path):
    """A tab-separated GBIF-like download: unquoted text, upper-case status, species column; with a backbone names are resolved instead."""
    header = "gbifID\toccurrenceID\tspecies\tscientificName\tdecimalLatitude\tdecimalLongitude\tcoordinateUncertaintyInMeters\tyear\toccurrenceStatus\tlocality\n"
    rows = [
        'x\to1\tPicea abies\tPicea excelsa (Lam.) Link\t46.5\t8.0\t25\t1999\tPRESENT\tan "open quote\n',
        "x\to2\t\tQuercus\t46.5\t8.0\t\t\tPRESENT\t\n",
        "x\to3\tFagus sylvatica\tFagus sylvatica L.\t\t8.0\t25\t1999\tPRESENT\t\n",
    ]
    (tmp_path / "occurrence.txt").write_text(header + "".join(rows), encoding="utf-8")
    plain = read_records(tmp_path / "occurrence.txt", dataset_id="gbif")
    assert plain.occurrences[["eventID", "taxonID", "verbatimScientificName"]].to_numpy().tolist() == [
        ["o1", "picea-abies", "Picea excelsa (Lam.) Link"]
    ]
    assert plain.events[["year", "coordinateUncertaintyInMeters"]].to_numpy().tolist() == [[1999, 25]]
    assert set(plain.rejections["reason"]) == {"missing name", "missing coordinates", "no species left"}
    named = read_records(tmp_path / "occurrence.txt", dataset_id="gbif", backbone=BACKBONE)
    assert named.occurrences["scientificName"].tolist() == ["Picea abies"]
    assert set(named.rejections["reason"]) == {"genus only", "missing coordinates", "no species left"}


def test_files_that_are_no_tables_are_refused(tmp_path):
    """A missing, empty, binary or coordinate-less file raises OccurrenceError with the fix."""
    with pytest.raises(OccurrenceError, match="is not there"):
        read_records(tmp_path / "none.csv", dataset_id="t")
    for number, content in enumerate((b"", b"\xff\xfe\x00\x01", b"\x89PNG\r\n\x1a\n\x00\xff")):
        (tmp_path / f"{number}.csv").write_bytes(content)
        with pytest.raises(OccurrenceError):
            read_records(tmp_path / f"{number}.csv", dataset_id="t")
    (tmp_path / "short.csv").write_text("scientificName,decimalLatitude\nPicea abies,46\n")
    with pytest.raises(OccurrenceError, match=r"short\.csv has no column 'decimalLongitude'"):
        read_records(tmp_path / "short.csv", dataset_id="t")


@pytest.mark.parametrize(
    ("unit", "square_metres"),
    [
        ("", 2),
        ("square metre", 2),
        ("Square Meters", 2),
        ("m²", 2),
        ("ha", 20_000),
        ("are", 200),
        ("km2", 2e6),
        ("cm^2", 2e-4),
        ("square feet", 0.18580608),
    ],
)
def test_plot_areas_are_square_metres(unit, square_metres):
    """An area arrives in square metres whatever its unit; one that is no area (a time, a length) is refused by name."""
    events = EVENTS.assign(sampleSizeValue=2.0, sampleSizeUnit=unit)
    found = from_tables(events, OCCURRENCES, sampling="presence-absence", dataset_id="t")
    np.testing.assert_allclose(found.events["sampleSizeValue"], square_metres)
    assert set(found.events["sampleSizeUnit"]) == {"square metre"}
    with pytest.raises(OccurrenceError, match="'minutes'"):
        from_tables(events.assign(sampleSizeUnit="minutes"), OCCURRENCES, sampling="presence-absence", dataset_id="t")
    with pytest.raises(OccurrenceError, match="sampleSizeValue -1"):
        from_tables(EVENTS.assign(sampleSizeValue=-1.0), OCCURRENCES, sampling="presence-absence", dataset_id="t")


def test_an_event_keeps_its_date_and_observer(tmp_path):
    """Year and month of its own columns, else of eventDate as far as it tells one; sets written before are read."""
    dates = ["2024-05-03T10:00:00Z", "2023", "2022-07", "2024-05-30/2024-06-02", "2024-05-01/2024-05-31", "", "May 2020"]
    records = pd.DataFrame(
        {"scientificName": "Poa alpina", "decimalLatitude": 46.4, "decimalLongitude": 8.0, "eventDate": dates, "recordedBy": "observer 1"}
    ).assign(year=["", "", "", "", "", "2019", ""], month=["", "", "", "", "", "13", ""], list_length=[3, 0, "", "", "", "", ""])
    found = from_records(records, dataset_id="dates")
    assert found.events["year"].tolist()[:6] == [2024, 2023, 2022, 2024, 2024, 2019] and np.isnan(found.events["year"][6])
    assert found.events["month"].fillna(0).tolist() == [5, 0, 7, 0, 5, 0, 0]
    assert found.events["recordedBy"].tolist() == ["observer 1"] * 7 and found.events["list_length"].fillna(0).tolist() == [
        3,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
    folder = save(found, tmp_path / "records")
    again = load(folder)
    pd.testing.assert_frame_equal(pd.DataFrame(again.events), pd.DataFrame(found.events))
    gpd.read_parquet(folder / "events.parquet").drop(columns=["month", "recordedBy", "list_length"]).to_parquet(folder / "events.parquet")
    assert load(folder).events["month"].isna().all()
