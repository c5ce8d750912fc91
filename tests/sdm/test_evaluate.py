"""Scores equal their definitions and their peers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import roc_auc_score

from geoplantnet.errors import UsageError
from geoplantnet.sdm.evaluate import METRICS, agreement, auc_per_species, evaluate, expected_calibration_error, maxexp, skill
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.taxonomy.species_list import SpeciesList


def a_sample(seed, n=60, species=7, levels=0):
    rng = np.random.default_rng(seed)
    p = rng.random((n, species))
    if levels:
        p = np.round(p * levels) / levels
    return p, (rng.random((n, species)) < p).astype(np.uint8)


@given(st.integers(0, 1000), st.sampled_from([0, 3, 10]))
def test_auc_equals_scikit_learn_with_and_without_ties(seed, levels):
    """Species by species, also where probabilities tie."""
    p, labels = a_sample(seed, levels=levels)
    ours = auc_per_species(p, labels, minimum=1)
    for k in range(p.shape[1]):
        if 0 < labels[:, k].sum() < len(labels):
            assert ours[k] == pytest.approx(roc_auc_score(labels[:, k], p[:, k]))
        else:
            assert np.isnan(ours[k])


def test_a_species_too_rare_or_too_common_is_not_scored():
    """Below the minimum of presences or of absences there is no AUC, and none is invented."""
    labels = np.zeros((20, 3), np.uint8)
    labels[:4, 0] = labels[:5, 1] = labels[:16, 2] = 1
    auc = auc_per_species(np.random.default_rng(0).random((20, 3)), labels, minimum=5)
    assert np.isnan(auc[[0, 2]]).all() and np.isfinite(auc[1])


@given(st.integers(0, 1000))
def test_calibration_error_equals_brute_force(seed):
    """Fifteen equal bins, weighted by counts, p = 1 in the last."""
    p, labels = a_sample(seed)
    p.flat[0], p.flat[1] = 0.0, 1.0
    expected, flat, hits = 0.0, p.ravel(), labels.ravel()
    for b in range(15):
        inside = (flat >= b / 15) & ((flat < (b + 1) / 15) | (b == 14))
        if inside.any():
            expected += inside.mean() * abs(hits[inside].mean() - flat[inside].mean())
    assert expected_calibration_error(p, labels) == pytest.approx(expected)


def test_folds_are_ranked_by_themselves():
    """Prevalence scores exactly .5 however different the folds' prevalences are; pooling their ranks would not."""
    rng = np.random.default_rng(1)
    folds = []
    for share in (0.2, 0.6):
        labels = (rng.random((50, 4)) < share).astype(np.uint8)
        folds.append((np.full((50, 4), 0.8 - share), labels))
    score = skill(folds)
    assert score.auc == 0.5 and score.plots == 100 and score.species == 4
    assert score.richness_bias == pytest.approx(
        (sum(p.sum() for p, _ in folds) - sum(y.sum() for _, y in folds)) / sum(y.sum() for _, y in folds)
    )


def test_an_unscorable_sample_says_so_in_json():
    """No presence at all: AUC and bias are None in JSON, not NaN."""
    score = skill([(np.full((6, 2), 0.1), np.zeros((6, 2), np.uint8))])
    assert score.to_dict()["auc"] is None and score.to_dict()["richness_bias"] is None and score.species == 0


def test_agreement_is_one_with_itself_and_ignores_constant_species():
    """A map equal to the truth has r = 1 and no error; a species of constant p has no r of its own."""
    truth = np.random.default_rng(2).random((40, 3))
    truth[:, 2] = 0.5
    found = agreement(truth, truth)
    assert found["pooled"] == pytest.approx(1) and found["per_species"] == pytest.approx(1) and found["mean_error"] == 0


def test_evaluation_agrees_with_the_skill_that_training_reports(held_out, evaluation):
    """One number under one name, wherever it is printed."""
    labels = held_out.found()
    for name, p in held_out.p.items():
        reported = skill([(p[rows], labels[rows]) for rows in held_out.folds()])
        scored = evaluation.scores[name]
        assert scored["auc"].value == pytest.approx(reported.auc)
        assert scored["ece"].value == pytest.approx(reported.ece, abs=1e-6)
        assert scored["brier"].value == pytest.approx(reported.brier, abs=1e-6)
        assert scored["richness_bias"].value == pytest.approx(reported.richness_bias, abs=1e-5)
        assert evaluation.scored_species == reported.species and evaluation.plots == reported.plots


def test_every_metric_is_scored_and_lies_in_its_interval_and_range(evaluation):
    """Of every model; prevalence is a coin and has no COR and no Boyce index."""
    for name, scored in evaluation.scores.items():
        assert list(scored) == [m.key for m in METRICS]
        for m in METRICS:
            e = scored[m.key]
            if name == "prevalence" and m.key in ("cor", "boyce"):
                assert np.isnan([e.value, e.low, e.high]).all()
            else:
                assert m.lowest - 1e-9 <= e.low <= e.value + 1e-9 and e.value - 1e-9 <= e.high <= m.highest + 1e-9, (name, m.key)
    assert evaluation.scores["prevalence"]["auc"].value == evaluation.scores["prevalence"]["auc"].low == 0.5


def test_differences_are_of_the_same_draws(held_out, evaluation):
    """A model beside its own copy differs by nothing, in every draw; a better one by more than nothing."""
    twins = evaluate(replace(held_out, p={"a": held_out.p["model"], "b": held_out.p["model"]}), draws=20)
    assert all(e.value == e.low == e.high == 0 for e in twins.differences["b"].values())
    assert evaluation.differences["location only"]["auc"].low > 0
    biases = [evaluation.scores[name]["richness_bias"].value for name in ("model", "location only")]
    assert evaluation.differences["location only"]["richness_bias"].value == pytest.approx(abs(biases[0]) - abs(biases[1]))
    assert evaluation.differences["location only"]["auc"].value == pytest.approx(
        evaluation.scores["model"]["auc"].value - evaluation.scores["location only"]["auc"].value
    )


def test_intervals_are_seeded_and_those_of_more_plots_are_narrower(held_out):
    """The same seed gives the same JSON, another one other intervals of the same scores; four times the plots, half the width."""
    alone = replace(held_out, block=None)
    first, again, other = (evaluate(alone, draws=60, seed=s).to_dict() for s in (1, 1, 2))
    assert first == again != other
    assert first["scores"]["model"]["auc"]["value"] == other["scores"]["model"]["auc"]["value"]
    many = replace(
        alone,
        event=tuple(f"{e}:{i}" for i in range(4) for e in alone.event),
        fold=np.tile(alone.fold, 4),
        truth=sparse.csr_array(sparse.vstack([alone.truth] * 4)),
        xy=np.tile(alone.xy, (4, 1)),
        p={name: np.tile(p, (4, 1)) for name, p in alone.p.items()},
    )
    wide, narrow = (e.scores["model"]["brier"] for e in (evaluate(alone, draws=300), evaluate(many, draws=300)))
    assert (narrow.high - narrow.low) / (wide.high - wide.low) == pytest.approx(0.5, abs=0.12)


def test_an_interval_covers_as_often_as_it_says(held_out):
    """Brier scores of 120 samples of one population: about 95 % of the intervals hold the population's score."""
    rng = np.random.default_rng(0)
    covered = []
    p = rng.random((20_000, 4)).astype(np.float32)
    y = (rng.random(p.shape) < p**1.3).astype(np.uint8)
    wanted = float(((p - y) ** 2).mean())
    species = SpeciesList(checklist="c", taxa=held_out.species.taxa[:4])
    for i in range(120):
        rows = rng.integers(0, len(p), 80)
        sample = HeldOut(
            species=species,
            event=tuple(map(str, range(80))),
            fold=np.zeros(80, np.int64),
            truth=sparse.csr_array(y[rows]),
            p={"m": p[rows]},
            xy=np.zeros((80, 2)),
        )
        e = evaluate(sample, draws=60, seed=i, minimum=81).scores["m"]["brier"]
        covered.append(e.low <= wanted <= e.high)
    assert 0.87 < np.mean(covered) < 0.995


def test_blocks_are_drawn_where_there_are_enough_and_widen_the_interval(held_out):
    """Plots that are copies of each other in a block are one witness: ten blocks of ten copies vary more than a hundred plots."""
    rng = np.random.default_rng(3)
    p = np.repeat(rng.random((10, 12)).astype(np.float32), 10, axis=0)
    y = np.repeat((rng.random((10, 12)) < 0.5).astype(np.uint8), 10, axis=0)
    blocks = np.repeat(np.arange(10), 10)
    made = HeldOut(
        species=held_out.species,
        event=tuple(map(str, range(100))),
        fold=np.arange(100) % 2,
        block=blocks,
        truth=sparse.csr_array(y),
        p={"m": p},
        xy=np.zeros((100, 2)),
    )
    by_block, by_plot = evaluate(made, draws=200), evaluate(replace(made, block=blocks // 2), draws=200)
    assert (by_block.resampled, by_block.units) == ("blocks", 10) and (by_plot.resampled, by_plot.units) == ("plots", 100)
    width = [e.scores["m"]["samples_f1"].high - e.scores["m"]["samples_f1"].low for e in (by_block, by_plot)]
    assert width[0] > 2 * width[1]


def test_prevalence_classes_share_out_the_scored_species(held_out, evaluation):
    """Each scored species is in one class; the classes' AUC is the mean of their own species' pairs."""
    table = evaluation.per_species[evaluation.per_species["model"] == "model"]
    classes = evaluation.classes["model"]
    assert sum(c.species for c in classes) == evaluation.scored_species == (table["folds"] > 0).sum()
    for c in classes:
        own = table[(table["prevalence"] >= c.low) & (table["prevalence"] < c.high) & (table["folds"] > 0)]
        if len(own):
            assert c.scores["auc"].value == pytest.approx(np.average(own["auc"], weights=own["folds"]))
        else:
            assert c.species == 0 and np.isnan(c.scores["auc"].value)


def test_tss_takes_its_threshold_from_other_folds(held_out):
    """A fold whose probabilities are all shifted is judged with thresholds that were not shifted with it: no oracle's choice."""
    p = held_out.p["model"].copy()
    shifted = held_out.fold == 0
    p[shifted] = p[shifted] ** 8
    honest = evaluate(replace(held_out, p={"m": p}), draws=2)
    assert honest.threshold == "other folds"
    assert (
        honest.scores["m"]["tss"].value < evaluate(replace(held_out, p={"m": held_out.p["model"]}), draws=2).scores["m"]["tss"].value - 0.05
    )
    assert honest.scores["m"]["auc"].value == pytest.approx(
        evaluate(replace(held_out, p={"m": held_out.p["model"]}), draws=2).scores["m"]["auc"].value, abs=1e-3
    )
    one = evaluate(replace(held_out, fold=np.zeros(len(held_out), np.int64), p={"m": p}), draws=2)
    assert one.threshold == "same plots"


def test_a_models_own_set_rule_is_used(held_out):
    """Fixed top-3 for one model, MaxExp for the others; a rule for nobody is refused."""

    def top3(p):
        return p >= np.sort(p, axis=1)[:, [-3]]

    ours = evaluate(held_out, draws=2, rules={"model": top3})
    labels = held_out.found()
    f1 = [2 * (s & y).sum() / (s.sum() + y.sum()) for s, y in zip(top3(held_out.p["model"]), labels.astype(bool))]
    assert ours.scores["model"]["samples_f1"].value == pytest.approx(np.mean(f1))
    assert ours.scores["location only"]["samples_f1"] == evaluate(held_out, draws=2).scores["location only"]["samples_f1"]
    with pytest.raises(UsageError, match="nobody"):
        evaluate(held_out, draws=2, rules={"nobody": top3})
    with pytest.raises(UsageError, match="one draw"):
        evaluate(held_out, draws=0)


def test_maxexp_sets_are_those_of_the_maps(held_out):
    """Plot by plot the k most probable species with the largest plug-in F1, by brute force."""
    p = held_out.p["model"]
    for row, own in zip(p[:40], maxexp(p[:40])):
        falling = np.sort(row)[::-1].astype(float)
        f1 = 2 * np.cumsum(falling) / (np.arange(1, len(row) + 1) + falling.sum())
        assert own.sum() == np.argmax(f1) + 1 and row[own].min() >= row[~own].max()


def test_a_fold_without_scorable_species_leaves_numbers_undefined_not_wrong(held_out):
    """Nothing reaches the minimum: ranking scores are None in JSON, sets and levels stand; every number can be written."""
    found = evaluate(held_out, draws=3, minimum=1000).to_dict()
    assert found["scored_species"] == 0 and found["scores"]["model"]["auc"] == {"value": None, "low": None, "high": None}
    assert found["scores"]["model"]["samples_f1"]["value"] > 0
    json.dumps(found, allow_nan=False)


def test_reliability_bins_hold_every_pair_and_their_gap_is_the_ece(held_out, evaluation):
    """Counts sum to plots x species; count-weighted gaps sum to the printed ECE."""
    for name, bins in evaluation.reliability.items():
        pairs = sum(b.count for b in bins)
        assert pairs == evaluation.plots * evaluation.species
        gap = sum(b.count * abs(b.observed.value - b.predicted) for b in bins) / pairs
        assert gap == pytest.approx(evaluation.scores[name]["ece"].value)


def test_the_species_table_holds_each_model_and_species_once(held_out, evaluation):
    """A species never found stands there, unscored."""
    table = evaluation.per_species
    assert len(table) == 36 and not table.duplicated(["model", "taxonID"]).any()
    never = table[(table["taxonID"] == "t11")]
    assert (never["presences"] == 0).all() and (never["folds"] == 0).all() and never["auc"].isna().all()
