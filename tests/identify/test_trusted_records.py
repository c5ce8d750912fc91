"""Trusted queries: every record read is kept, or counted under exactly one reason."""

from __future__ import annotations

import sys
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify import quality
from geoplantnet.identify.calibration import Calibration
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.quality import PEOPLE, REASONS, TrustRules, dates, trusted
from geoplantnet.identify.records import TEXT
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


@settings(max_examples=15)
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


def test_the_model_alone_is_trusted_above_its_limit():
    """A record nobody determined takes the model's taxon and its name; 0.95 itself is not above 0.95; with ai_score None no model is asked."""
    rows = [{**UNLABELLED, **MODEL}, {**UNLABELLED, **MODEL, "ai_score": np.nextafter(0.95, 1)}, {**UNLABELLED, **MODEL, "ai_score": 0.95}]
    found = query(make(*rows))
    kept = pd.concat(list(found))
    assert kept["occurrenceID"].tolist() == ["o0", "o1"] and found.counts == {quality.BELOW: 1}
    assert set(kept["taxonID"]) == {"bellis-perennis"} and set(kept["family"]) == {"Asteraceae"}
    assert set(kept["verification"]) == {"model above 0.95"}
    nobody = query(make(*rows), rules=TrustRules(ai_score=None))
    assert sum(map(len, nobody)) == 0 and nobody.counts == {quality.UNDETERMINED: 3}


def test_people_come_before_the_model():
    """A valid label stands whatever the model says; a label that is not valid is trusted where a trusted model says the same, and only there."""
    other = {**MODEL, "ai_taxonID": "abies-alba"}
    found = query(make(other, {**MODEL, "valid": False}, {**other, "valid": False}, {"valid": False, **MODEL, "ai_score": 0.5}))
    kept = pd.concat(list(found))
    assert kept["verification"].tolist() == [PEOPLE, "model above 0.95"] and set(kept["taxonID"]) == {"bellis-perennis"}
    assert found.counts == {quality.DISAGREE: 1, quality.NOT_VALID: 1}


def test_a_label_nobody_voted_for_stands_on_the_model():
    """Valid, but without a person's vote: it is asked for the model's score, and is refused where that is low or people alone count."""
    machine = {"determinations": 0.0, "identifiedBy": ""}
    found = query(make({**machine, **MODEL}, {**machine, **MODEL, "ai_score": 0.9}))
    assert pd.concat(list(found))["verification"].tolist() == ["model above 0.95"] and found.counts == {quality.FEW: 1}


def judged_by_hand(rules, label, valid, votes, ai, score, calibrated):
    """Who vouches for a label, or why nobody does: the rules in words, one record at a time."""
    trusts_models = rules.ai_score is not None
    says = ai if trusts_models else ""
    if label and valid and votes >= rules.determinations and rules.validated_by_people:
        return PEOPLE
    high = bool(says) and score > rules.ai_score
    if high and calibrated and label in ("", says) and (label or says in set(NAMES["taxonID"])):
        return f"model above {rules.ai_score}"
    if not label and not says:
        return quality.UNDETERMINED
    if label and valid and rules.validated_by_people:
        return quality.FEW
    if high and label in ("", says):
        return quality.NAMELESS if calibrated else quality.UNCALIBRATED
    if high and calibrated:
        return quality.DISAGREE
    return quality.NOT_VALID if label and rules.validated_by_people else quality.BELOW


@pytest.mark.parametrize(
    "rules",
    [
        TrustRules(),
        TrustRules(determinations=2),
        TrustRules(ai_score=None),
        TrustRules(validated_by_people=False),
        TrustRules(ai_score=0.5),
    ],
    ids=["default", "two votes", "people alone", "model alone", "0.5"],
)
def test_every_state_of_a_label_is_judged_as_by_hand(rules):
    """All states of label, validity, votes, prediction, score and calibration agree with the rules written out in words."""
    states = [
        state
        for state in product(
            ("", "bellis-perennis", "abies-alba"), (False, True), (0, 1, 2), ("", "bellis-perennis", "zz"), (0.6, 0.97), (True, False)
        )
        if state[0] or not (state[1] or state[2])
    ]
    rows = [
        {
            **{"taxonID": label, "valid": valid, "determinations": float(votes), "ai_taxonID": ai, "ai_score": score if ai else np.nan},
            **{"ai_model": ("m 1" if calibrated else "m 2") if ai else "", "recordedByID": f"u{i}", "datasetID": f"d{i}"},
        }
        for i, (label, valid, votes, ai, score, calibrated) in enumerate(states)
    ]
    found = trusted([make(*rows)], rules, calibrations={"m 1": IDENTITY}, names=NAMES, today=TODAY)
    said = dict(next(found)[["datasetID", "verification"]].to_numpy())
    said |= dict(found.rejections[["datasetID", "reason"]].to_numpy())
    for i, state in enumerate(states):
        assert said[f"d{i}"] == judged_by_hand(rules, *state), state


def test_scores_count_on_the_scale_of_their_calibration():
    """A model that is too sure of itself is trusted where its calibrated score is above the limit; kept records carry that score."""
    sure = Calibration(model="m 1", records=1_000, method="temperature", a=0.5, b=0.5, **FLAT)
    rows = [{**UNLABELLED, **MODEL, "ai_score": score} for score in (0.97, 0.999)]
    found = query(make(*rows), calibrations={"m 1": sure})
    kept = pd.concat(list(found))
    assert found.counts == {quality.BELOW: 1} and kept["ai_score"].tolist() == pytest.approx([1 / (1 + np.sqrt(0.001 / 0.999))])
    few = Calibration(model="m 1", records=499, method="none", **FLAT)
    refused = query(make(*rows), calibrations={"m 1": few})
    assert sum(map(len, refused)) == 0 and refused.counts == {quality.UNCALIBRATED: 2}
    none = trusted([make(*rows)], today=TODAY)
    assert sum(map(len, none)) == 0 and none.counts == {quality.UNCALIBRATED: 2}


def test_with_people_distrusted_only_the_model_counts():
    """validated_by_people=False: a valid label alone is not enough."""
    found = query(make({}, MODEL, {**MODEL, "ai_score": 0.4}), rules=TrustRules(validated_by_people=False))
    assert pd.concat(list(found))["verification"].tolist() == ["model above 0.95"] and found.counts == {quality.BELOW: 2}


def test_limits_themselves_pass():
    """What is just good enough: the uncertainty, the first and last year, the earliest date, an observer a day ahead of Greenwich."""
    good = [
        {"coordinateUncertaintyInMeters": 10_000.0},
        {"coordinateUncertaintyInMeters": np.nan},
        *({"eventDate": text} for text in ("1800", "2026-06-02", "2026-06-02T08:00+14:00", "2026", "1999-12-31/2000-01-02")[:3]),
        {"quality": np.nan},
        {"malformed": 0.49, "cultivated": 0.49, "not_a_plant": 0.49},
    ]
    found = query(make(*good), rules=TrustRules(min_quality=0.9, years=(1800, 2026)))
    assert sum(map(len, found)) == len(good) and found.counts == {}


def test_an_undated_record_passes_where_it_may():
    """undated=True lets an unknown date pass, but no wrong one."""
    found = query(make({"eventDate": ""}, {"eventDate": "2024-02-30"}), rules=TrustRules(undated=True, years=(2000, 2026)))
    assert sum(map(len, found)) == 1 and found.counts == {quality.NOT_ISO: 1}


def test_a_centroid_refuses_only_what_was_not_measured():
    """A phone's place at a country's centre is believed; a place of unknown or wide uncertainty there is one somebody looked up."""
    there = {"decimalLatitude": 41.8719, "decimalLongitude": 12.5674}
    uncertain = [
        {**there, "coordinateUncertaintyInMeters": value, "recordedByID": f"u{i}"} for i, value in enumerate((5.0, 1_000.0, np.nan))
    ]
    far = {**there, "decimalLatitude": 41.8719 + 0.0091, "coordinateUncertaintyInMeters": np.nan}
    found = query(make(*uncertain, far), rules=TrustRules())
    assert pd.concat(list(found))["occurrenceID"].tolist() == ["o0", "o3"] and found.counts == {quality.CENTROID: 2}


def test_the_coast_is_drawn_coarsely():
    """A record some kilometres off the drawn coast is kept, and as far as it is uncertain; beyond it is at sea."""
    at_sea = {"decimalLatitude": 43.8, "decimalLongitude": 10.16, "taxonID": "bellis-perennis"}
    distance = float(countries().border_distance([10.16], [43.8])[0])
    assert not countries().covered([10.16], [43.8])[0] and 1_000 < distance < 9_000
    for limit, uncertainty, kept in ((distance + 1, 5, 1), (distance - 1, 5, 0), (distance - 1, distance + 1, 1)):
        found = query(make({**at_sea, "coordinateUncertaintyInMeters": uncertainty}), rules=TrustRules(sea_distance=limit))
        assert sum(map(len, found)) == kept and found.counts == ({} if kept else {quality.SEA: 1})


def test_the_flora_an_author_names_tells_swapped_coordinates():
    """A place outside the flora its author chose, and inside it when exchanged, is swapped; without a region it is not asked."""
    swapped = {"decimalLatitude": 11.2486, "decimalLongitude": 43.7711}
    found = query(make({**swapped, "flora": "IT"}, {**swapped, "flora": "useful"}), land=None)
    assert sum(map(len, found)) == 1 and found.counts == {quality.SWAPPED: 1}


@settings(max_examples=25)
@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.lists(st.integers(0, 4), max_size=3), st.booleans()), max_size=25), st.integers(1, 25)
)
def test_duplicates_agree_with_a_plain_set(drawn, cut):
    """The same observer, species, day and place, or an image, again: as two plain sets find it, however the records are cut into chunks."""
    rows = [
        {
            **{"recordedByID": f"u{who}", "eventDate": f"2024-05-0{day + 1}T10:0{i % 10}:00Z", "decimalLongitude": 11.0 + place / 1e3},
            **{"images": "|".join(f"{image:064x}" for image in images), "valid": valid},
        }
        for i, (who, day, place, images, valid) in enumerate(drawn)
    ]
    table = make(*rows)
    found = trusted([table.iloc[i : i + cut] for i in range(0, len(table), cut)], today=TODAY)
    kept = [i for chunk in found for i in chunk["occurrenceID"]]
    sightings, shown, expected, counts = set(), set(), [], {quality.NOT_VALID: 0, quality.DUPLICATE: 0, quality.SAME_IMAGE: 0}
    for i, (who, day, place, images, valid) in enumerate(drawn):
        if not valid:
            counts[quality.NOT_VALID] += 1
        elif (who, day, place) in sightings:
            counts[quality.DUPLICATE] += 1
        else:
            sightings.add((who, day, place))
            if shown & set(images):
                counts[quality.SAME_IMAGE] += 1
            else:
                expected.append(f"o{i}")
            shown |= set(images)
    assert kept == expected and found.counts == {reason: count for reason, count in counts.items() if count}


def test_an_unknown_observer_repeats_nobody():
    """Records without an account are not duplicates of each other, and duplicates=True lets an account's pass."""
    same = {"decimalLongitude": 11.25}
    assert sum(map(len, query(make({**same, "recordedByID": ""}, {**same, "recordedByID": ""})))) == 2
    assert sum(map(len, query(make(same, same), rules=TrustRules(duplicates=True)))) == 2
    assert sum(map(len, query(make(same, same)))) == 1


@settings(max_examples=80)
@given(st.dates(date(1000, 1, 1), date(2999, 12, 31)), st.dates(date(1000, 1, 1), date(2999, 12, 31)), st.sampled_from([4, 7, 10]))
def test_dates_are_the_calendars(first, second, length):
    """Years, months and days, alone and in intervals, give the first and last day the calendar gives; a reversed interval is no date."""
    text = f"{first.isoformat()[:length]}/{second.isoformat()}"
    start, end, iso = dates(pd.Series([first.isoformat()[:length], text, first.isoformat() + "T23:59:59.5+02:00"], dtype=object))
    begins = {4: first.replace(month=1, day=1), 7: first.replace(day=1), 10: first}[length]
    month_end = (pd.Timestamp(first) + pd.offsets.MonthEnd(0)).date() if 1700 < first.year < 2200 else None
    ends = {4: first.replace(month=12, day=31), 7: month_end, 10: first}[length]
    assert start[0] == int(begins.strftime("%Y%m%d")) and iso[0] and iso[2]
    assert ends is None or end[0] == int(ends.strftime("%Y%m%d"))
    assert iso[1] == (begins <= second) and (not iso[1] or end[1] == int(second.strftime("%Y%m%d")))


def test_what_is_no_date():
    """Other notations, impossible days and times, half intervals and other alphabets are not ISO 8601."""
    wrong = [
        "2024-5-3",
        "03/05/2024",
        "20240503",
        "2024-13",
        "2024-00",
        "2023-02-29",
        "1900-02-29",
        "2024-04-31",
        "2024-05-03T25:00",
        "2024/",
        "/2024",
        "24",
        "2024-05-03/02",
        "2024-05-30/31T10:00",
        "٢٠٢٤",
    ]
    assert not dates(pd.Series([*wrong, "today", "2024-05-03 ", "2024\n"], dtype=object))[2].any()
    right = [
        "2024-02-29",
        "2000-02-29",
        "2024-05-03T10:00",
        "2024-05-03T10:00:00Z",
        "2024-05-03 10:00",
        "2024-05/2024-06",
        "2024/2024-02-29",
    ]
    assert dates(pd.Series(right, dtype=object))[2].all()
    short = dates(pd.Series(["2007-11-13/15", "2007-11-13/12-02", "2007-11/12", "2023-02/2023-03"], dtype=object))
    assert short[0].tolist() == [20071113, 20071113, 20071101, 20230201] and short[1].tolist() == [20071115, 20071202, 20071231, 20230331]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"validated_by_people": False, "ai_score": None}, "neither people nor a model"),
        ({"ai_score": 1.0}, "ai_score 1.0"),
        ({"malformed": 0.0}, "malformed 0.0"),
        ({"determinations": 0}, "determinations 0"),
        ({"max_uncertainty": -1.0}, "max_uncertainty -1.0"),
        ({"min_quality": float("nan")}, "min_quality nan"),
        ({"years": (2020, 2010)}, r"years \(2020, 2010\)"),
        ({"bounds": (10, 40, 5, 50)}, "bounds"),
        ({"statuses": ("wild",)}, "statuses wild"),
        ({"sea_distance": float("inf")}, "sea_distance inf"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rules, told):
    """A limit outside its range is told with its value."""
    with pytest.raises(UsageError, match=told):
        TrustRules(**rules)


def test_tables_that_are_none_are_refused():
    """A chunk without a column of records, names without theirs, and a taxon named twice."""
    with pytest.raises(InputError, match="no column 'valid'"):
        next(query(make({}).drop(columns="valid")))
    with pytest.raises(InputError, match="they need taxonID"):
        query(names=NAMES.drop(columns="genus"))
    with pytest.raises(InputError, match="bellis-perennis twice"):
        query(names=pd.concat([NAMES, NAMES]))


def test_texts_of_pandas_own_type_are_texts():
    """Records whose texts are pandas' strings, as Parquet files give them, are judged the same."""
    table = make({}, *(fault for fault, _ in EACH.values()), {**UNLABELLED, **MODEL})
    strings = table.astype(dict.fromkeys(TEXT, "str"))
    plain, own = query(table), query(strings)
    kept = pd.concat(list(plain)), pd.concat(list(own))
    assert plain.counts == own.counts and kept[0].astype(object).compare(kept[1].astype(object)).empty


def test_empty_chunks_pass_through():
    """No records are no fault: the chunk comes out empty, with the column of the kept."""
    (kept,) = list(query(make({}).iloc[:0]))
    assert kept.empty and "verification" in kept
