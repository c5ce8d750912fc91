"""Abundance: what was written becomes a number with a unit, or is counted; weights move within a species only."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from geoplantnet.errors import InputError, OccurrenceError, UsageError
from geoplantnet.occurrences import (
    abundance_matrix,
    abundance_weights,
    concat,
    from_records,
    from_tables,
    load,
    presence_matrix,
    read_records,
    save,
    summary,
    validate_occurrences,
)
from geoplantnet.occurrences.abundance import BRAUN_BLANQUET_COVER, combine_layers, read_quantities
from geoplantnet.taxonomy import SpeciesList, Taxon

NAMES = ("Abies alba", "Fagus sylvatica", "Picea abies", "Quercus robur")
SPECIES = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=n.lower().replace(" ", "-"), scientific_name=n) for n in NAMES))


def survey(rows, events=("a",), sampling="presence-absence", **columns):
    table = pd.DataFrame(rows, columns=["eventID", "scientificName", "organismQuantity", "organismQuantityType"])
    places = pd.DataFrame({"eventID": list(events), "x": [4.1e6 + i for i in range(len(events))], "y": 2.6e6})
    return from_tables(places, table.assign(**columns), sampling=sampling, dataset_id="t")


def refused(found, table="quantities"):
    part = found.rejections[found.rejections["table"] == table]
    return dict(zip(part["reason"], part["count"]))


@pytest.mark.parametrize(
    ("quantity", "kind", "expected"),
    [
        ("+", "BraunBlanquetScale", ("Braun-Blanquet scale", 0.5, "")),
        ("R", "Braun-Blanquet Scale", ("Braun-Blanquet scale", 0.1, "")),
        ("5.0", "braun blanquet", ("Braun-Blanquet scale", 87.5, "")),
        ("2m", "Braun-Blanquet scale", ("Braun-Blanquet scale", 4.0, "")),
        ("12.5", "% cover", ("% cover", 12.5, "")),
        ("40 %", "percentageCoverage", ("% cover", 40.0, "")),
        ("100", "percent cover", ("% cover", 100.0, "")),
        ("27", "individuals", ("individuals", 27.0, "")),
        ("0", "", ("", 0.0, "")),
        ("", "individuals", ("", np.nan, "")),
        ("3", "ordinal scale", ("ordinal scale", np.nan, "")),
        ("6", "Braun-Blanquet scale", ("", np.nan, "unknown Braun-Blanquet code")),
        ("-99", "Braun-Blanquet scale", ("", np.nan, "unknown Braun-Blanquet code")),
        ("-5", "individuals", ("", np.nan, "negative quantity")),
        ("2.5", "individuals", ("", np.nan, "individuals not whole")),
        ("130", "% cover", ("", np.nan, "cover above 100 percent")),
        ("many", "individuals", ("", np.nan, "quantity is no number")),
        ("inf", "individuals", ("", np.nan, "quantity is no number")),
        ("12.5", "% biomass", ("", np.nan, "quantity of an unknown type")),
        ("12.5", "", ("", np.nan, "quantity without a type")),
    ],
)
def test_a_quantity_is_read_or_has_a_reason(quantity, kind, expected):
    """Each type has its unit; everything that is no quantity of it is named."""
    read = read_quantities(pd.Series([quantity]), pd.Series([kind])).iloc[0]
    assert read["organismQuantityType"] == expected[0] and read["reason"] == expected[2]
    np.testing.assert_equal(read["abundance"], expected[1])


def test_braun_blanquet_rises():
    """A higher code is a larger cover."""
    codes = ["r", "+", "1", "2m", "2a", "2", "2b", "3", "4", "5"]
    assert sorted(BRAUN_BLANQUET_COVER, key=BRAUN_BLANQUET_COVER.__getitem__) == codes


def test_a_bad_quantity_does_not_cost_the_record():
    """A quantity that cannot be read is counted as one, and its taxon stays present; the books of records are untouched."""
    found = survey(
        [("a", "Picea abies", "7", "Braun-Blanquet scale"), ("a", "Fagus sylvatica", "-3", "individuals"), ("a", "Abies alba", "9", "?")]
    )
    assert refused(found) == {"unknown Braun-Blanquet code": 1, "negative quantity": 1, "quantity of an unknown type": 1}
    assert found.occurrences["abundance"].isna().all() and (found.occurrences["organismQuantityType"] == "").all()
    assert summary(found)[["table", "read", "used"]].to_numpy().tolist() == [["events", 1, 1], ["occurrences", 3, 3]]


def test_zero_is_absence():
    """A zero without a status is an absence; a status that contradicts its quantity is refused."""
    rows = [
        ("a", "Picea abies", "0", ""),
        ("a", "Fagus sylvatica", "0", "% cover"),
        ("a", "Abies alba", "3", "% cover"),
        ("a", "Quercus robur", "1", ""),
    ]
    found = survey(rows, occurrenceStatus=["", "present", "absent", "present"])
    assert found.occurrences[["taxonID", "occurrenceStatus"]].to_numpy().tolist() == [
        ["picea-abies", "absent"],
        ["quercus-robur", "present"],
    ]
    assert refused(found, "occurrences") == {"present with a quantity of zero": 1, "absent with a quantity above zero": 1}


def test_individual_count_is_read():
    """IndividualCount stands in for a missing organismQuantity, and only then."""
    records = pd.DataFrame(
        {
            "scientificName": ["Picea abies", "Picea abies"],
            "individualCount": ["4", "4"],
            "organismQuantity": ["", "60"],
            "organismQuantityType": ["", "% cover"],
            "x": [4.1e6, 4.2e6],
            "y": 2.6e6,
        }
    )
    found = from_records(records, dataset_id="t")
    assert found.occurrences[["organismQuantityType", "abundance"]].to_numpy().tolist() == [["individuals", 4.0], ["% cover", 60.0]]


def test_layers_become_one():
    """Covers overlap independently, individuals add up; a layer without a number or in another unit makes the whole unknown."""
    rows = [
        ("a", "Picea abies", "4", "Braun-Blanquet scale"),
        ("a", "Picea abies", "2", "Braun-Blanquet scale"),
        ("a", "Fagus sylvatica", "3", "individuals"),
        ("a", "Fagus sylvatica", "4", "individuals"),
        ("a", "Abies alba", "50", "% cover"),
        ("a", "Abies alba", "5", "individuals"),
        ("b", "Picea abies", "50", "% cover"),
        ("b", "Picea abies", "3", "Braun-Blanquet scale"),
        ("b", "Abies alba", "3", "% cover"),
        ("b", "Abies alba", "", ""),
        ("b", "Fagus sylvatica", "100", "% cover"),
        ("b", "Fagus sylvatica", "1", "% cover"),
    ]
    found = survey(rows, events=("a", "b"))
    table = found.occurrences.set_index(["eventID", "taxonID"])
    assert table.loc[("a", "picea-abies"), "organismQuantity"] == "4 | 2"
    np.testing.assert_allclose(table.loc[("a", "picea-abies"), "abundance"], 100 * (1 - 0.375 * 0.85))
    assert table.loc[("a", "fagus-sylvatica"), "abundance"] == 7
    assert table.loc[("a", "abies-alba"), "organismQuantityType"] == "" and np.isnan(table.loc[("a", "abies-alba"), "abundance"])
    np.testing.assert_allclose(table.loc[("b", "picea-abies"), "abundance"], 100 * (1 - 0.5 * 0.625))
    assert table.loc[("b", "picea-abies"), "organismQuantityType"] == "% cover"
    assert np.isnan(table.loc[("b", "abies-alba"), "abundance"])
    np.testing.assert_allclose(table.loc[("b", "fagus-sylvatica"), "abundance"], 100)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_combined_cover_is_a_cover(covers, random):
    """Between the largest layer and 100, and in any order the same."""
    table = pd.DataFrame({"eventID": "a", "taxonID": "t", "organismQuantity": "x", "organismQuantityType": "% cover", "abundance": covers})
    whole = combine_layers(table)["abundance"].iloc[0]
    assert max(covers) - 1e-9 <= whole <= 100
    order = list(range(len(covers)))
    random.shuffle(order)
    np.testing.assert_allclose(combine_layers(table.iloc[order])["abundance"].iloc[0], whole)


def test_abundances_stand_beside_presences():
    """The matrix has the entries of the presences, in their order; unknown and other units are NaN; units are asked by name."""
    rows = [
        ("a", "Picea abies", "4", "Braun-Blanquet scale"),
        ("a", "Fagus sylvatica", "12", "individuals"),
        ("b", "Quercus robur", "", ""),
        ("b", "Abies alba", "0", "% cover"),
        ("b", "Unlisted species", "5", "% cover"),
    ]
    found = survey(rows, events=("a", "b", "c"))
    order = ["c", "b", "a"]
    presence, cover = presence_matrix(found, SPECIES, order), abundance_matrix(found, SPECIES, order)
    count = abundance_matrix(found, SPECIES, order, unit="individuals")
    assert cover.dtype == np.float32 and cover.format == "csr" and cover.shape == (3, 4)
    for matrix in (cover, count):
        np.testing.assert_array_equal(matrix.indices, presence.indices)
        np.testing.assert_array_equal(matrix.indptr, presence.indptr)
    np.testing.assert_equal(cover.toarray(), np.array([[0, 0, 0, 0], [0, 0, 0, np.nan], [0, np.nan, 62.5, 0]], np.float32))
    np.testing.assert_equal(count.toarray(), np.array([[0, 0, 0, 0], [0, 0, 0, np.nan], [0, 12, np.nan, 0]], np.float32))
    with pytest.raises(UsageError, match="percent or individuals"):
        abundance_matrix(found, SPECIES, order, unit="stems")
    with pytest.raises(OccurrenceError, match="'z' is not in the set"):
        abundance_matrix(found, SPECIES, ["z"])


def test_quantities_survive_files(tmp_path):
    """Saved, loaded and concatenated they stay; a set written before abundances were read is read as one without."""
    found = survey([("a", "Picea abies", "+", "Braun-Blanquet scale"), ("a", "Abies alba", "?", "% cover")])
    again = load(save(found, tmp_path / "one"))
    pd.testing.assert_frame_equal(again.occurrences, found.occurrences)
    other = survey([("b", "Picea abies", "?", "% cover")], events=("b",))
    assert refused(concat([found, other])) == {"quantity is no number": 2}
    old = tmp_path / "one"
    events, rows = pd.read_parquet(old / "events.parquet"), pd.read_parquet(old / "occurrences.parquet")
    gpd.read_parquet(old / "events.parquet").drop(columns="parentEventID").to_parquet(old / "events.parquet")
    rows.drop(columns=["organismQuantity", "organismQuantityType", "abundance"]).to_parquet(old / "occurrences.parquet")
    assert load(old).occurrences["abundance"].isna().all() and len(load(old).events) == len(events)


def test_a_table_with_quantities_is_read(tmp_path):
    """Darwin Core columns of a file arrive as abundance; plot areas arrive in square metres, with their survey."""
    text = "scientificName,decimalLatitude,decimalLongitude,eventID,parentEventID,sampleSizeValue,sampleSizeUnit,organismQuantity,organismQuantityType\n"
    text += "Picea abies,46.5,8,p1,s,0.05,hectare,2a,Braun-Blanquet scale\nFagus sylvatica,46.5,8,p1,s,0.05,hectare,20,%cover\n"
    text += "Picea abies,46.6,8,p2,s,100,m2,,\n"
    (tmp_path / "t.csv").write_text(text)
    found = read_records(tmp_path / "t.csv", dataset_id="t", sampling="presence-absence")
    np.testing.assert_equal(found.occurrences["abundance"].tolist(), [8.75, 20.0, np.nan])
    assert found.events[["sampleSizeValue", "sampleSizeUnit", "parentEventID"]].to_numpy().tolist() == [
        [500.0, "square metre", "s"],
        [100.0, "square metre", "s"],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"abundance": -1.0}, "abundance -1"),
        ({"abundance": 101.0}, "abundance 101"),
        ({"abundance": np.inf}, "abundance inf"),
        ({"abundance": 3}, "abundance is int64"),
        ({"organismQuantityType": "kg"}, "'kg'"),
    ],
)
def test_bad_abundances_are_refused(change, message):
    """A table made by hand is checked: range, dtype, type."""
    rows = survey([("a", "Picea abies", "20", "% cover")]).occurrences
    with pytest.raises(OccurrenceError, match=message):
        validate_occurrences(rows.assign(**change))


matrices = npst.arrays(np.float64, (6, 3), elements=st.sampled_from([0.0, 0.1, 0.5, 3, 15, 37.5, 62.5, 87.5, np.nan]))


@settings(max_examples=50, deadline=None)
@given(matrices, st.floats(0, 1), st.floats(1, 6))
def test_weights_are_the_formula(values, strength, limit):
    """Brute force, entry by entry; the weights of a species average one; more abundant never weighs less."""
    weights = abundance_weights(sparse.csr_array(values), strength=strength, limit=limit).toarray()
    assert ((weights != 0) == (values != 0)).all()
    for k in range(3):
        here = values[:, k] != 0
        log = np.log1p(values[here, k])
        mean = np.nanmean(log) if np.isfinite(log).any() else 1.0
        held = np.clip(1 + strength * (log / mean - 1), 1 / limit, limit)
        expected = np.where(np.isnan(log), 1, held / np.nanmean(held) if np.isfinite(log).any() else 1)
        np.testing.assert_allclose(weights[here, k], expected, rtol=1e-6)
        if here.any():
            assert weights[here, k].mean() == pytest.approx(1, rel=1e-6)
            order = np.argsort(log)
            known = order[np.isfinite(log[order])]
            assert (np.diff(weights[here, k][known]) >= -1e-6).all()


def test_two_species_that_swap_cover_swap_weights():
    """Where one is abundant and the other scarce, the one weighs more and the other less: weights are of a species at a site."""
    cover = np.array([[80.0, 5.0, 0], [5.0, 80.0, 0], [0, 0, 20.0]])
    one, other = (abundance_weights(sparse.csr_array(c)).toarray() for c in (cover, cover[:, [1, 0, 2]]))
    np.testing.assert_array_equal(one, other[:, [1, 0, 2]])
    assert one[0, 0] > 1.3 > 0.7 > one[0, 1] and one[2, 2] == 1


def test_a_species_with_one_record_weighs_one():
    """Nothing to compare it with; so does one of unknown abundance. A presence of abundance zero is an error."""
    weights = abundance_weights(sparse.csr_array(np.array([[87.5, 0, np.nan], [0, 0.5, 0]])))
    np.testing.assert_array_equal(weights.toarray(), [[1, 0, 1], [0, 1, 0]])
    with pytest.raises(InputError, match="abundance of -1"):
        abundance_weights(sparse.csr_array(np.array([[-1.0]])))
    with pytest.raises(UsageError, match="strength 2"):
        abundance_weights(sparse.csr_array(np.eye(2)), strength=2)
    with pytest.raises(UsageError, match=r"limit 0\.5"):
        abundance_weights(sparse.csr_array(np.eye(2)), limit=0.5)
