"""From trusted records to occurrences: nothing is lost, dates, observers, effort and uncertainty come along, names do not."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet import occurrences as occ
from geoplantnet.identify.bridge import UNNAMED, list_lengths, to_occurrences
from geoplantnet.identify.quality import PEOPLE, TrustRules, trusted
from geoplantnet.taxonomy import Backbone

sys.path.append(str(Path(__file__).parent))
from trust_records import make

TODAY = date(2026, 6, 1)


def bridged(records: pd.DataFrame, *, chunk: int = 3, backbone: Backbone | None = None, **rules):
    chunks = [records.iloc[i : i + chunk] for i in range(0, len(records), chunk)]
    return to_occurrences(trusted(chunks, TrustRules(**rules), today=TODAY), backbone=backbone)


def test_a_record_becomes_an_event_with_what_is_known_of_it():
    """Place, date, account, uncertainty and taxon of a validated record stand in the tables; the name of the person does not."""
    found = bridged(make({"eventDate": "2024-05-03T10:20:00+02:00", "recordedByID": "u7", "recordedBy": "Ada Lovelace"}))
    (event,) = found.occurrences.events.to_dict("records")
    assert (event["eventID"], event["year"], event["month"], event["recordedBy"], event["list_length"]) == ("o0", 2024, 5, "u7", 1)
    assert (event["coordinateUncertaintyInMeters"], event["datasetID"], event["sampling"]) == (12, "app", "presence-only")
    assert (event["decimalLongitude"], event["decimalLatitude"]) == (11.2486, 43.7711)
    (row,) = found.occurrences.occurrences.to_dict("records")
    assert (row["taxonID"], row["scientificName"], row["occurrenceStatus"]) == ("bellis-perennis", "Bellis perennis", "present")
    assert found.verified == {PEOPLE: 1} and found.read == 1
    for table in (found.occurrences.events, found.occurrences.occurrences):
        assert not table.astype(str).apply(lambda column: column.str.contains("Ada")).to_numpy().any()


def test_lists_are_of_an_observer_and_a_day():
    """Species counted once, other days and observers apart; NaN for unknown observers, months, years and spans of days."""
    day = "2024-05-03"
    records = make(
        {"recordedByID": "u1", "taxonID": "a", "eventDate": day},
        {"recordedByID": "u1", "taxonID": "a", "eventDate": f"{day}T23:59:00Z"},
        {"recordedByID": "u1", "taxonID": "b", "eventDate": day},
        {"recordedByID": "u1", "taxonID": "c", "eventDate": "2024-05-04"},
        {"recordedByID": "u2", "taxonID": "c", "eventDate": day},
        {"recordedByID": "", "taxonID": "a", "eventDate": day},
        {"recordedByID": "u1", "taxonID": "d", "eventDate": "2024-05"},
        {"recordedByID": "u1", "taxonID": "d", "eventDate": f"{day}/2024-05-05"},
        {"recordedByID": "u1", "taxonID": "d", "eventDate": ""},
    )
    np.testing.assert_array_equal(list_lengths(records), [2, 2, 2, 1, 1, np.nan, np.nan, np.nan, np.nan])


row = st.fixed_dictionaries(
    {
        "recordedByID": st.sampled_from(["", "u1", "u2"]),
        "taxonID": st.sampled_from(["", "a", "b"]),
        "datasetID": st.sampled_from(["", "app", "archive"]),
        "eventDate": st.sampled_from(["", "2024", "2024-05", "2024-05-03", "2031-01-01", "May"]),
        "valid": st.booleans(),
        "decimalLatitude": st.sampled_from([43.7, 0.0, np.nan, 95.0]),
        "malformed": st.sampled_from([0.0, 0.5, 1.0]),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(row, max_size=12), st.integers(1, 5))
def test_every_record_is_an_occurrence_or_counted(rows, chunk):
    """In each data set read = used + rejected, of events as of occurrences; what is used does not depend on the chunks."""
    records = make(*({**one, "scientificName": one["taxonID"]} for one in rows)) if rows else make({}).iloc[:0]
    found = bridged(records, chunk=chunk)
    books = occ.summary(found.occurrences)
    expected = records["datasetID"].replace("", UNNAMED).value_counts().to_dict()
    for table in ("events", "occurrences"):
        assert books[books["table"] == table].set_index("datasetID")["read"].to_dict() == expected
    assert found.read == len(records) and sum(found.verified.values()) == len(found.occurrences.events)
    whole = bridged(records, chunk=100)
    pd.testing.assert_frame_equal(pd.DataFrame(found.occurrences.events), pd.DataFrame(whole.occurrences.events))
    pd.testing.assert_frame_equal(found.occurrences.rejections, whole.occurrences.rejections)


def test_names_are_resolved_by_a_backbone():
    """A synonym becomes its accepted species; a name that the backbone refuses is counted under its reason."""
    synonyms = pd.DataFrame({"synonym": ["Bellis pumila"], "accepted": ["Bellis perennis"]})
    backbone = Backbone(pd.DataFrame({"species": ["Bellis perennis"]}), synonyms)
    found = bridged(
        make({"taxonID": "x1", "scientificName": "Bellis pumila"}, {"taxonID": "x2", "scientificName": "Nullus nullus"}), backbone=backbone
    )
    assert found.occurrences.occurrences["taxonID"].tolist() == ["bellis-perennis"]
    assert found.occurrences.rejections.query("table == 'occurrences'")["count"].sum() == 1


def test_nothing_trusted_is_an_empty_set():
    """A store without one trusted record gives empty tables and the whole account of why."""
    found = bridged(make({"valid": False}, {"malformed": 1.0}), ai_score=None)
    assert len(found.occurrences.events) == 0 and found.verified == {}
    assert found.occurrences.rejections.query("table == 'occurrences'")["count"].tolist() == [1, 1]


@pytest.mark.parametrize("dataset", ["", UNNAMED])
def test_records_of_no_data_set_have_one(dataset):
    """A datasetID that is empty becomes one of its own, so that training knows which records belong together."""
    found = bridged(make({"datasetID": dataset}, {"datasetID": dataset, "valid": False}))
    assert set(found.occurrences.events["datasetID"]) == {UNNAMED} == set(found.occurrences.rejections["datasetID"])
