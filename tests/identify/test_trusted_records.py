"""Trusted queries: every record read is kept, or counted under exactly one reason."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from geoplantnet.identify import quality
from geoplantnet.identify.calibration import Calibration
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.quality import PEOPLE, REASONS, TrustRules, trusted
from geoplantnet.identify.regions import Regions, countries

sys.path.append(str(Path(__file__).parent))
from trust_records import make

TODAY = date(2026, 6, 1)
FLAT = {"ece_before": 0.1, "ece_after": 0.01, "log_loss_before": 0.5, "log_loss_after": 0.4, "correct": 0.8}
IDENTITY = Calibration(model="m 1", records=1_000, method="none", **FLAT)
MODEL = {"ai_taxonID": "bellis-perennis", "ai_score": 0.97, "ai_model": "m 1"}
NAMES = pd.DataFrame({"taxonID": ["bellis-perennis"], "scientificName": ["Bellis perennis"], "genus": ["Bellis"], "family": ["Asteraceae"]})
UNLABELLED = {"taxonID": "", "scientificName": "", "genus": "", "family": "", "valid": False, "determinations": 0.0, "identifiedBy": ""}
REGIONS = Regions({"IT": box(6, 36, 19, 47), "FR": box(-5, 42, 6, 51)})
CHECKLISTS = pd.DataFrame(
    [
        ("IT", "bellis-perennis", "native"),
        ("IT", "opuntia-humifusa", "doubtful"),
        ("FR", "bellis-perennis", "native"),
        ("FR", "arbutus-unedo", "native"),
        ("useful", "abies-alba", "native"),
    ],
    columns=["region", "taxonID", "status"],
)
FLORAS = Floras(checklists=CHECKLISTS, regions=REGIONS)
CENTROIDS = pd.DataFrame({"longitude": [12.5674], "latitude": [41.8719]})

EACH = {
    quality.AGAIN: ({"occurrenceID": "o0"}, {}),
    quality.NO_PLACE: ({"decimalLatitude": np.nan}, {}),
    quality.SWAPPED: ({"decimalLatitude": 11.2486, "decimalLongitude": 43.7711}, {"bounds": (9.0, 42.0, 13.0, 45.0)}),
    quality.RANGE: ({"decimalLatitude": 95.0, "decimalLongitude": 95.0}, {}),
    quality.ZERO: ({"decimalLatitude": 0.0, "decimalLongitude": 0.0}, {}),
    quality.OUTSIDE: ({"decimalLatitude": 60.0}, {"bounds": (9.0, 42.0, 13.0, 45.0)}),
    quality.BAD_UNCERTAINTY: ({"coordinateUncertaintyInMeters": -1.0}, {}),
    quality.UNCERTAIN: ({"coordinateUncertaintyInMeters": 10_001.0}, {}),
    quality.SEA: ({"decimalLatitude": 40.0, "decimalLongitude": 12.0}, {}),
    quality.CENTROID: ({"decimalLatitude": 41.872, "decimalLongitude": 12.567, "coordinateUncertaintyInMeters": np.nan}, {}),
    quality.NO_DATE: ({"eventDate": ""}, {}),
    quality.NOT_ISO: ({"eventDate": "3 May 2024"}, {}),
    quality.OLD: ({"eventDate": "1799-12-31"}, {}),
    quality.FUTURE: ({"eventDate": "2026-06-03"}, {}),
    quality.YEAR: ({"eventDate": "1999-12-31"}, {"years": (2000, 2030)}),
    quality.NOT_A_PLANT: ({"not_a_plant": 0.5}, {}),
    quality.MALFORMED: ({"malformed": 0.5}, {}),
    quality.CULTIVATED: ({"cultivated": 0.5}, {}),
    quality.POOR: ({"quality": -0.5}, {"min_quality": 0.0}),
    quality.UNDETERMINED: (UNLABELLED, {}),
    quality.FEW: ({"determinations": 1.0}, {"determinations": 2}),
    quality.UNCALIBRATED: ({**UNLABELLED, **MODEL, "ai_model": "m 2"}, {}),
    quality.NAMELESS: ({**UNLABELLED, **MODEL, "ai_taxonID": "nobody-knows"}, {}),
    quality.DISAGREE: ({**MODEL, "valid": False, "taxonID": "abies-alba"}, {}),
    quality.NOT_VALID: ({"valid": False}, {}),
    quality.BELOW: ({**UNLABELLED, **MODEL, "ai_score": 0.95}, {}),
    quality.ABSENT: ({"taxonID": "arbutus-unedo"}, {}),
    quality.STATUS: ({"taxonID": "opuntia-humifusa"}, {}),
    quality.DUPLICATE: ({"decimalLongitude": 11.24862}, {}),
    quality.SAME_IMAGE: ({"images": f"{'f' * 64}|{0:064x}"}, {}),
}


def query(*chunks, rules=None, **more):
    settings = {
        "calibrations": {"m 1": IDENTITY},
        "floras": FLORAS,
        "land": countries(),
        "centroids": CENTROIDS,
        "names": NAMES,
        "today": TODAY,
    }
    return trusted(chunks, rules, **{**settings, **more})


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_reached_by_one_fault(reason):
    """A good record beside one with a single fault: the first is kept, the other is counted under that fault and no other."""
    fault, rules = EACH[reason]
    found = query(make({}, fault), rules=TrustRules(**rules))
    kept = pd.concat(list(found))
    assert found.counts == {reason: 1}
    assert kept["occurrenceID"].tolist() == ["o0"] and kept["verification"].tolist() == [PEOPLE]
    assert (found.read, found.kept) == (2, 1)


@pytest.mark.parametrize("first", range(0, len(REASONS), 3))
def test_the_first_of_two_faults_counts(first):
    """A record with faults of two kinds is counted under the earlier reason of the fixed order."""
    for second in range(first + 1, len(REASONS)):
        one, two = EACH[REASONS[first]], EACH[REASONS[second]]
        if set(one[0]) & set(two[0]) or set(one[1]) & set(two[1]):
            continue
        found = query(make({}, {**two[0], **one[0]}), rules=TrustRules(**one[1], **two[1]))
        list(found)
        counted = {reason for reason, count in found.counts.items() if reason == REASONS[first]}
        assert counted == {REASONS[first]}, (REASONS[first], REASONS[second], found.counts)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_read_is_kept_plus_counted(data):
    """Whatever the records and however they are cut into chunks, read = kept + counts, and the same records are kept."""
    rows = data.draw(st.lists(st.sampled_from([{}, *(fault for fault, _ in EACH.values())]), max_size=30))
    table = make(*rows)
    cut = data.draw(st.integers(1, max(len(table), 1)))
    whole, parts = query(table), query(*[table.iloc[i : i + cut] for i in range(0, len(table), cut)])
    one, many = list(whole), list(parts)
    kept = [i for chunk in one for i in chunk["occurrenceID"]]
    assert kept == [i for chunk in many for i in chunk["occurrenceID"]]
    assert whole.counts == parts.counts and whole.read == parts.read == len(table)
    assert whole.kept == len(kept) == whole.read - sum(whole.counts.values())
    assert whole.rejections["count"].sum() == whole.read - whole.kept
    pd.testing.assert_frame_equal(whole.rejections, parts.rejections)
