"""Run files of GeoLifeCLEF: what is written is read, what is scored is the challenge's formula, what is wrong is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from geoplantnet.errors import InputError
from geoplantnet.sdm.run_file import read_run, read_surveys, score_run, write_run

IDS = st.integers(0, 40).map(str)
SETS = st.dictionaries(IDS, st.lists(IDS, unique=True, max_size=8), min_size=1, max_size=12)


@given(SETS)
def test_what_is_written_is_read(tmp_path_factory, run):
    """Surveys and species in their order, sets without species too."""
    file = write_run(tmp_path_factory.mktemp("run") / "run.csv", run)
    back = read_run(file)
    assert {k: list(v) for k, v in back.items()} == run and list(back) == list(run)


def test_the_file_is_what_the_challenge_takes(tmp_path):
    """Header, a line a survey, ids separated by single spaces: as its sample submission."""
    file = write_run(tmp_path / "run.csv", {"642": ["3301", "7301"], "1792": [], "7": ["11"]})
    assert file.read_bytes() == b"surveyId,predictions\n642,3301 7301\n1792,\n7,11\n"


@given(SETS, SETS)
def test_the_score_is_scikit_learns_samples_f1(predicted, found):
    """Over all surveys of the truth, those missing from the run as empty sets."""
    run = {k: v for k, v in predicted.items() if k in found}
    ids = sorted({i for sets in (*run.values(), *found.values()) for i in sets} | {"none", "nothing"})
    y, s = (np.array([[i in sets.get(k, ()) for i in ids] for k in found]) for sets in (found, run))
    score = score_run(run, found)
    assert score.samples_f1 == pytest.approx(f1_score(y, s, average="samples", zero_division=0))
    assert score.surveys == len(found) and score.missing == len(set(found) - set(run))
    assert score.empty == sum(not species for species in run.values())
    said, known = {i for species in run.values() for i in species}, {i for species in found.values() for i in species}
    assert (score.species, score.never_found) == (len(said), len(said - known))


def test_the_challenges_own_formula_by_hand():
    """TP / (TP + (FP + FN) / 2), averaged: 2 right, 1 wrong, 2 forgotten = 2 / 3.5; the missing survey 0."""
    assert score_run({"1": ("a", "b", "x")}, {"1": {"a", "b", "c", "d"}, "2": {"a"}}).samples_f1 == pytest.approx(2 / 3.5 / 2)


def test_surveys_are_read_as_the_challenge_writes_them(tmp_path):
    """Further columns, several rows a survey, whole numbers as floats (6874.0), a byte order mark."""
    file = tmp_path / "PA.csv"
    file.write_text("﻿lon,lat,speciesId,surveyId\n3.1,44.2,6874.0,212\n3.1,44.2,476.0,212\n5.0,43.0,11157.0,222\n", encoding="utf-8")
    assert read_surveys(file) == {"212": {"6874", "476"}, "222": {"11157"}}


def test_a_run_whose_whole_numbers_are_floats_scores_the_same(tmp_path):
    """A table library wrote 3301.0 on either side; an id that only ends like it stays as it is."""
    (tmp_path / "run.csv").write_text("surveyId,predictions\n212.0,6874.0 476.0 x.0\n", encoding="utf-8")
    run = read_run(tmp_path / "run.csv")
    assert run == {"212": ("6874", "476", "x.0")}
    assert score_run(run, {"212": {"6874", "476"}}).samples_f1 == pytest.approx(2 / 2.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("surveyId,speciesId\n1,\n", "line 2: speciesId is empty"),
        ("surveyId,speciesId\n ,4\n", "line 2: surveyId is empty"),
        ("surveyId;speciesId\n1;4\n", "columns surveyId;speciesId; .* missing; a header and commas"),
        ("surveyId,speciesId\n", "holds no survey"),
    ],
)
def test_a_truth_that_is_none_is_refused(tmp_path, text, says):
    """Empty ids, other separators, no row."""
    (tmp_path / "truth.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_surveys(tmp_path / "truth.csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("surveyId,predictions\n,a\n", "line 2: surveyId is empty"),
        ("surveyId,predictions\n1,a\n1,b\n", "line 3.*'1' stands twice"),
        ("surveyId,predictions\n1.0,a\n1,b\n", "stands twice"),
        ("surveyId,predictions\n1,a b a\n", "a species twice"),
        ("Id,Predicted\n1,a\n", "columns Id, Predicted; surveyId, predictions missing"),
        ("surveyId,predictions\n1\n", "line 2: a row ends before"),
        ("surveyId,predictions\n", "holds no survey"),
        ("", "columns none"),
        ("surveyId,predictions\n1,\xff\n", "cannot read"),
    ],
)
def test_a_run_that_is_none_is_refused_with_its_line(tmp_path, text, says):
    """Repeated surveys and species, other columns, short rows, nothing, no UTF-8."""
    file = tmp_path / "run.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=says):
        read_run(file)
    with pytest.raises(InputError, match="cannot read"):
        read_run(tmp_path / "none.csv")


def test_a_survey_of_another_edition_is_refused():
    """Unknown surveys are named, not scored as something else."""
    with pytest.raises(InputError, match="2 surveys of the run are none of the 1 of the truth: 8, 9"):
        score_run({"8": ("a",), "9": (), "1": ("a",)}, {"1": {"a"}})


@pytest.mark.parametrize("run", [{"1": ["a b"]}, {"1": [""]}, {"": ["a"]}, {"1": ["a", "a"]}, {"1 2": ["a"]}, {"1": ["a\n"]}])
def test_what_could_not_be_read_back_is_not_written(tmp_path, run):
    """White space in ids, empty ids, a species twice."""
    with pytest.raises(InputError):
        write_run(tmp_path / "run.csv", run)
    assert not (tmp_path / "run.csv").exists()
