"""The ODMAP protocol is whole, derives only what is recorded, and asks for the rest."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace

from geoplantnet.sdm.evaluate import METRICS
from geoplantnet.sdm.odmap import ELEMENTS, NOT_APPLICABLE, protocol
from geoplantnet.sdm.study import TO_FILL


def test_the_protocol_is_that_of_zurell_et_al():
    """84 elements, 59 of them mandatory, in five sections; ids unique."""
    assert len(ELEMENTS) == len({e.id for e in ELEMENTS}) == 84 and sum(e.mandatory for e in ELEMENTS) == 59
    assert Counter(e.section for e in ELEMENTS) == {"Overview": 25, "Data": 33, "Model": 14, "Assessment": 5, "Prediction": 7}
    assert list(dict.fromkeys(e.section for e in ELEMENTS)) == ["Overview", "Data", "Model", "Assessment", "Prediction"]


def test_every_derived_value_belongs_to_an_element(study, evaluation):
    """No answer is lost for a misspelt id, none is empty."""
    from geoplantnet.sdm import odmap

    answered = (
        odmap._overview(study)
        | odmap._data(study)
        | odmap._model(study, "by x")
        | odmap._assessment(study, evaluation)
        | odmap._prediction(study)
    )
    assert set(answered) <= {e.id for e in ELEMENTS}
    filled = protocol(study, evaluation, importance="by x").values
    assert set(filled) == {e.id for e in ELEMENTS} and all(value != "" for value in filled.values())
    assert sum(v is not None for v in filled.values()) >= 50


def test_what_only_an_author_knows_is_asked_for(study, evaluation):
    """Authors, hypotheses, assumptions, sampling design, expert judgement: never invented."""
    made = protocol(study, evaluation)
    left = {e.id for e in made.open}
    assert {"o_authorship_2", "o_concept_1", "o_assumptions_1", "o_bio_1", "d_bio_5", "m_multicol_1", "a_plausibility_2"} <= left
    assert all(f"[{TO_FILL}]" in line for line in made.to_csv().splitlines() if line.startswith("Overview,Authorship,Author"))


def test_the_table_has_the_columns_of_the_authors_application(study, evaluation):
    """section, subsection, element, Value: a row an element, commas and line ends inside values survive."""
    rows = list(csv.reader(io.StringIO(protocol(replace(study, title='A, "B"\nC'), evaluation).to_csv())))
    assert rows[0] == ["section", "subsection", "element", "Value"] and len(rows) == 85
    assert rows[1] == ["Overview", "Authorship", "Study title", 'A, "B"\nC']
    assert all(len(row) == 4 and row[3] for row in rows)


def test_the_text_holds_every_element_once_and_counts_what_is_left(study, evaluation):
    """Five headings, 84 lines, mandatory ones marked."""
    made = protocol(study, evaluation)
    lines = made.to_markdown().splitlines()
    listed = [line for line in lines if line.startswith("- **")]
    assert len(listed) == 84
    assert sum(line.split(": ", 1)[0].endswith("***") for line in listed) == 59
    assert [line for line in lines if line.startswith("## ")] == ["## Overview", "## Data", "## Model", "## Assessment", "## Prediction"]
    assert f"{len(made.open)} are left for the author" in lines[2]


def test_performance_is_the_evaluations_and_left_open_without_one(study, evaluation):
    """Every metric with its interval."""
    said = protocol(study, evaluation).values["a_perform_2"]
    assert all(m.title in said for m in METRICS) and f"{evaluation.scores['model']['auc'].value:.3f}" in said
    assert protocol(study).values["a_perform_2"] is None


def test_answers_follow_the_manifest(study):
    """No absences, no background, no rejections: said so, not passed over."""
    bare = replace(study, events={"presence-only": 40}, background=0, rejected={})
    values = protocol(bare).values
    assert str(values["d_bio_10"]).startswith(NOT_APPLICABLE) and "uniform" not in str(values["d_bio_11"])
    assert "100" in str(protocol(study).values["d_bio_9"]) and "refused" not in str(values["d_bio_9"])
    assert str(protocol(replace(bare, events={})).values["d_bio_11"]).startswith(NOT_APPLICABLE)
    assert "one fold" in str(protocol(replace(study, every_fold=False)).values["d_part_2"])
