"""The ODMAP protocol is whole, derives only what is recorded, and asks for the rest."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace

import pytest

from geoplantnet.sdm.evaluate import METRICS, evaluate
from geoplantnet.sdm.odmap import ELEMENTS, NOT_APPLICABLE, protocol
from geoplantnet.sdm.study import TO_FILL, Scenario


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
        | odmap._model(study, evaluation, "by x")
        | odmap._assessment(study, evaluation)
        | odmap._prediction(study)
    )
    assert set(answered) <= {e.id for e in ELEMENTS}
    filled = protocol(study, evaluation, importance="by x").values
    assert set(filled) == {e.id for e in ELEMENTS} and all(value != "" for value in filled.values())
    assert sum(v is not None for v in filled.values()) >= 60


def test_what_only_an_author_knows_is_asked_for(study, evaluation):
    """Authors, hypotheses, assumptions, sampling design, expert judgement: never invented."""
    made = protocol(study, evaluation)
    assert [e.id for e in made.open] == [
        *("o_authorship_2", "o_authorship_3", "o_authorship_4", "o_location_1", "o_bio_1", "o_concept_1", "o_assumptions_1"),
        *("o_algorithms_2", "o_software_2", "o_software_3", "d_bio_5", "d_pred_3", "m_multicol_1", "a_plausibility_1", "a_plausibility_2"),
    ]
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
    assert "100" in str(protocol(study).values["d_bio_9"]) and "Records refused" not in str(values["d_bio_9"])
    assert str(protocol(replace(bare, events={})).values["d_bio_11"]).startswith(NOT_APPLICABLE)
    assert "one fold" in str(protocol(replace(study, every_fold=False)).values["d_part_2"])
    assert protocol(study).values["d_bio_7"] == study.clipping[0] and str(
        protocol(replace(study, clipping=())).values["d_bio_7"]
    ).startswith("none")


@pytest.mark.parametrize("every_fold", [True, False])
@pytest.mark.parametrize("members_of_folds", [True, False])
def test_what_the_mapped_model_has_seen_is_said_as_it_is(study, evaluation, every_fold, members_of_folds):
    """All data only where it was fitted once more: not where it is the folds' models, not where a fold was held out of it."""
    made = protocol(replace(study, every_fold=every_fold, members_of_folds=members_of_folds), evaluation).values
    for element in ("o_workflow_1", "d_part_1", "m_selection_3"):
        said = str(made[element])
        assert ("fitted on all data" in said) == (every_fold and not members_of_folds), element
        assert ("mean of the folds' own models" in said) == (every_fold and members_of_folds), element
        assert ("has not seen the held-out fold" in said) == (not every_fold), element
    assert ("which is mapped, is not scored" in str(made["a_perform_2"])) == (every_fold and members_of_folds)


def test_novelty_is_quantified_where_an_index_is(study):
    """Threshold and share of the cells; without an index the protocol says that nobody can tell, not that it does not apply."""
    known, unknown = protocol(study).values, protocol(replace(study, dissimilarity=None, extrapolated=None)).values
    for element in ("d_proj_8", "p_uncertainty_5"):
        assert "0.25" in str(known[element]) and "12 %" in str(known[element]) and "Meyer & Pebesma" in str(known[element])
        assert "not quantified" in str(unknown[element]) and not str(unknown[element]).startswith(NOT_APPLICABLE)
    assert (
        "not masked" in str(known["p_uncertainty_5"])
        and "marked" in str(known["m_settings_2"])
        and "marked" not in str(unknown["m_settings_2"])
    )


def test_extrapolation_stops_where_the_model_clips(study):
    """Standardised modalities stop at so many standard deviations; those left as they are do not."""
    raw = tuple(replace(p, modality=replace(p.modality, normalisation="none")) for p in study.predictors)
    assert "more than 3.5 standard deviations" in str(protocol(replace(study, clip=3.5)).values["m_settings_2"])
    said = str(protocol(replace(study, predictors=(study.predictors[0], *raw[1:]))).values["m_settings_2"])
    assert said.startswith("terrain: values more than 4 ") and "image, climate: taken as they are" in said
    assert "standard deviation" not in str(protocol(replace(study, predictors=raw)).values["m_settings_2"])


def test_averaging_is_that_of_the_members(study):
    """The mean logit of so many; a single network has none to speak of."""
    ensemble, single = protocol(study).values, protocol(replace(study, weights=study.weights[:1])).values
    for element in ("o_algorithms_3", "m_selection_2"):
        assert "logits of 2 networks" in str(ensemble[element]) and "differ by seed" in str(ensemble[element])
        assert str(single[element]).startswith(NOT_APPLICABLE)
    assert "between the 2 members" in str(ensemble["p_uncertainty_3"]) and "not computed" in str(single["p_uncertainty_3"])


def test_the_threshold_is_that_of_the_evaluation(study, held_out, evaluation):
    """From other folds where there are several; from the scored plots, and said to flatter, with one."""
    rows = next(iter(held_out.folds()))
    one = replace(
        held_out,
        event=tuple(held_out.event[i] for i in rows),
        fold=held_out.fold[rows],
        block=held_out.block[rows],
        truth=held_out.truth[rows],
        xy=held_out.xy[rows],
        p={k: p[rows] for k, p in held_out.p.items()},
    )
    single = evaluate(one, draws=2)
    assert "other folds" in str(protocol(study, evaluation).values["m_threshold_1"])
    for made in (protocol(study, single), protocol(replace(study, every_fold=False))):
        assert "other folds" not in str(made.values["m_threshold_1"]) and "flatters" in str(made.values["m_threshold_1"])


@pytest.mark.parametrize(
    ("losses", "says", "says_not"),
    [
        (("deep_maxent",), "target-group background", NOT_APPLICABLE),
        (("full_weighted", "cross_entropy"), "500 sites drawn uniformly", NOT_APPLICABLE),
        (("cross_entropy",), f"{NOT_APPLICABLE}: records are learnt as shares of species", "uniformly"),
        (("presence_absence",), "counts as absent there", "uniformly"),
        ((), f"{NOT_APPLICABLE}: no step", "uniformly"),
    ],
)
def test_the_background_is_that_of_the_loss(study, losses, says, says_not):
    """A loss that compares species at one site has no background, whatever the recipe adds."""
    said = str(protocol(replace(study, record_losses=losses)).values["d_bio_11"])
    assert says in said and says_not not in said


def test_the_buffer_and_the_range_are_told(study):
    """What is left out around held-out plots, and where the side of a block comes from."""
    made = protocol(replace(study, buffer=750.0, autocorrelation=4200.0)).values
    assert (
        "within 750 m" in replace(study, buffer=750.0, members_of_folds=True).fitted and "within" not in replace(study, buffer=750.0).fitted
    )
    assert "more than 750 m" in str(made["d_part_1"]) and "4.2 km" in str(made["m_depend_1"])
    assert " m from its plots" not in str(protocol(study).values["d_part_1"]) and "autocorrelation" not in str(
        protocol(study).values["m_depend_1"]
    )


def test_scenarios_are_told_where_there_are_any(study, evaluation):
    """Name, title, years and what differs stand under transfer data and scenario uncertainty; without any, both are not applicable."""
    moments = ("2070-01-01T00:00:00Z", "2099-12-31T23:59:59Z")
    warmer = Scenario(name="warmer", title="three degrees warmer", interval=moments, differs=("climate: tas + 3, pr x 0.9",))
    with_it, without = (protocol(one, evaluation).values for one in (replace(study, scenarios=(warmer,)), study))
    for element in ("d_proj_6", "p_uncertainty_4"):
        for words in ("warmer", "three degrees warmer", *moments, "tas + 3, pr x 0.9"):
            assert words in with_it[element]
    assert not any(with_it[f"d_proj_{i}"].startswith(NOT_APPLICABLE) for i in range(1, 8))
    assert all(without[e].startswith(NOT_APPLICABLE) for e in ("p_uncertainty_4", *(f"d_proj_{i}" for i in range(1, 8))))
