"""Every score equals scikit-learn, SciPy or its definition; a score under weights is that of repeated plots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, jaccard_score, precision_recall_curve, roc_auc_score

from geoplantnet.sdm import scores

SEEDS = st.integers(0, 10_000)
LEVELS = st.sampled_from([0, 4, 25])


def a_sample(seed, levels=0, n=50, species=6):
    """Probabilities (with ties at `levels` steps) and presences, at least one presence and absence a species."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, species))
    if levels:
        p = np.round(p * levels) / levels
    labels = (rng.random((n, species)) < 0.3 * p + 0.1).astype(np.uint8)
    labels[0], labels[1] = 1, 0
    return p, labels


@given(SEEDS, LEVELS)
def test_auc_and_average_precision_equal_scikit_learn(seed, levels):
    """With ties and without."""
    p, labels = a_sample(seed, levels)
    ours = scores.ranking(p, labels)
    for k in range(p.shape[1]):
        assert ours.auc[0, k] == pytest.approx(roc_auc_score(labels[:, k], p[:, k]))
        assert ours.auc_pr[0, k] == pytest.approx(average_precision_score(labels[:, k], p[:, k]))


@given(SEEDS, LEVELS)
def test_weighted_ranking_equals_scikit_learn_with_sample_weights(seed, levels):
    """Any weights, whole or not."""
    p, labels = a_sample(seed, levels)
    w = np.random.default_rng(seed + 1).random((3, len(p)))
    ours = scores.ranking(p, labels, w)
    for b in range(3):
        assert ours.auc[b, 0] == pytest.approx(roc_auc_score(labels[:, 0], p[:, 0], sample_weight=w[b]))
        assert ours.auc_pr[b, 0] == pytest.approx(average_precision_score(labels[:, 0], p[:, 0], sample_weight=w[b]))


def everything(p, labels, weights=None):
    """All scores by name, each (draw, ...); thresholds and sets do not depend on weights."""
    threshold = np.full(p.shape[1], 0.4)
    found = scores.ranking(p, labels, weights)._asdict()
    found |= {"cor": scores.correlation(p, labels, weights), "tss": scores.true_skill(p, labels, threshold, weights)}
    found |= {"boyce": scores.boyce(p, labels, weights), "prevalence": scores.prevalence(labels, weights)}
    return found | scores.set_scores(p > 0.4, labels, weights)._asdict() | scores.calibration(p, labels, weights)._asdict()


@settings(max_examples=40)
@given(SEEDS, LEVELS)
def test_a_weighted_score_is_the_score_of_repeated_plots(seed, levels):
    """The law that makes bootstraps one computation; for every score there is."""
    p, labels = a_sample(seed, levels)
    w = np.random.default_rng(seed + 1).integers(1, 4, (2, len(p)))
    together = everything(p, labels, w)
    for b in range(2):
        alone = everything(np.repeat(p, w[b], axis=0), np.repeat(labels, w[b], axis=0))
        for name, values in alone.items():
            assert together[name][b] == pytest.approx(values[0], nan_ok=True), name


@given(SEEDS, LEVELS)
def test_cor_is_pearsons_r_with_presence(seed, levels):
    """The point-biserial correlation; a constant p has none."""
    p, labels = a_sample(seed, levels)
    p[:, 1] = 0.7
    ours = scores.correlation(p, labels)[0]
    assert np.isnan(ours[1])
    for k in (0, 2, 3):
        assert ours[k] == pytest.approx(pearsonr(p[:, k], labels[:, k])[0])


@given(SEEDS, LEVELS)
def test_the_best_threshold_is_the_best_of_all(seed, levels):
    """Brute force over every value of p: no other has a larger TSS, no higher one an equal; TSS is as confusion counts say."""
    p, labels = a_sample(seed, levels)
    best = scores.best_threshold(p, labels)
    ours = scores.true_skill(p, labels, best)[0]
    for k in range(p.shape[1]):
        q, y = p[:, k], labels[:, k].astype(bool)
        tss = {t: (q[y] >= t).mean() - (q[~y] >= t).mean() for t in np.unique(q)}
        assert ours[k] == pytest.approx(max(tss.values()))
        assert best[k] == max(t for t in tss if tss[t] >= max(tss.values()) - 1e-12)


def test_a_species_never_found_has_no_threshold_and_no_scores():
    """NaN, not an invented number, and nothing raised or warned."""
    p, labels = a_sample(0)
    labels[:, 2] = 0
    assert np.isnan(scores.best_threshold(p, labels)[2]) and np.isnan(scores.true_skill(p, labels, scores.best_threshold(p, labels))[0, 2])
    for name in ("auc", "auc_pr", "cor", "tss", "boyce"):
        assert np.isnan(everything(p, labels)[name][0, 2]), name


@given(SEEDS, LEVELS)
def test_boyce_equals_its_definition(seed, levels):
    """Windows counted one by one, SciPy's Spearman over those that hold plots."""
    p, labels = a_sample(seed, levels)
    ours = scores.boyce(p, labels)[0]
    for k in range(p.shape[1]):
        q, y = p[:, k], labels[:, k]
        span, ratio, middle = np.ptp(q), [], []
        for i in range(101):
            low = q.min() + i / 100 * 0.9 * span
            inside = (q >= low - 1e-9 * span) & (q <= low + 0.1 * span + 1e-9 * span)
            if inside.any():
                ratio.append((y[inside].sum() / y.sum()) / (inside.sum() / len(q)))
                middle.append(low)
        assert ours[k] == pytest.approx(spearmanr(middle, np.round(ratio, 12))[0], abs=1e-6)


def test_boyce_tells_good_from_inverted_and_is_undefined_without_spread():
    """Presences where p is high: near 1; where it is low: near -1; a constant p has no windows."""
    rng = np.random.default_rng(0)
    q = rng.random(4000)
    labels = np.stack([rng.random(4000) < q, rng.random(4000) < 1 - q, rng.random(4000) < 0.3], axis=1).astype(np.uint8)
    good, inverted, none = scores.boyce(np.stack([q, q, np.full(4000, 0.2)], axis=1), labels)[0]
    assert good > 0.98 and inverted < -0.98 and np.isnan(none)


@given(SEEDS, st.sampled_from([0.05, 0.4, 0.99]))
def test_set_scores_equal_scikit_learn(seed, threshold):
    """samples, micro, macro and Jaccard, also of plots without species and sets without members."""
    p, labels = a_sample(seed)
    labels[2:4] = 0
    sets = p > threshold
    ours = scores.set_scores(sets, labels)
    for name, average in (("samples_f1", "samples"), ("micro_f1", "micro"), ("macro_f1", "macro")):
        assert getattr(ours, name)[0] == pytest.approx(f1_score(labels, sets, average=average, zero_division=0))
    assert ours.jaccard[0] == pytest.approx(jaccard_score(labels, sets, average="samples", zero_division=0))
    assert ours.set_size_bias[0] == pytest.approx(sets.sum() / labels.sum() - 1)


def test_macro_f1_leaves_out_species_never_found():
    """A species without presences has no F1 to average; the others keep theirs."""
    p, labels = a_sample(1)
    labels[:, 0] = 0
    known = scores.set_scores(p[:, 1:] > 0.4, labels[:, 1:]).macro_f1
    assert scores.set_scores(p > 0.4, labels).macro_f1 == pytest.approx(known)


@given(SEEDS)
def test_sorensen_and_jaccard_are_one_measure_on_a_plot(seed):
    """J = F / (2 - F) for any single plot."""
    p, labels = a_sample(seed)
    for i in range(len(p)):
        one = scores.set_scores(p[i : i + 1] > 0.4, labels[i : i + 1])
        assert one.jaccard[0] == pytest.approx(one.samples_f1[0] / (2 - one.samples_f1[0]))


@given(SEEDS)
def test_levels_equal_their_definitions(seed):
    """Brier of scikit-learn, richness by hand."""
    p, labels = a_sample(seed)
    ours = scores.calibration(p, labels)
    assert ours.brier[0] == pytest.approx(brier_score_loss(labels.ravel(), p.ravel()))
    gap = p.sum(axis=1) - labels.sum(axis=1)
    assert ours.richness_bias[0] == pytest.approx(gap.sum() / labels.sum())
    assert ours.richness_rmse[0] == pytest.approx(np.sqrt((gap**2).mean()))


def test_auc_pr_above_chance_is_zero_for_chance_and_one_for_perfection():
    """Whatever the prevalence."""
    for share in (0.02, 0.5, 0.9):
        labels = (np.arange(1000) < 1000 * share).astype(np.uint8)[:, None]
        flat, perfect = (scores.ranking(p, labels).auc_pr for p in (np.full((1000, 1), 0.3), labels.astype(float)))
        assert scores.above_chance(flat, scores.prevalence(labels)) == pytest.approx(0)
        assert scores.above_chance(perfect, scores.prevalence(labels)) == pytest.approx(1)


@given(SEEDS, LEVELS)
def test_the_area_under_the_roc_curve_is_the_auc(seed, levels):
    """Drawn curve and printed number agree; it starts above 0 only where p ranks presences first, and ends at 1."""
    p, labels = a_sample(seed, levels)
    at = np.linspace(0, 1, 20_001)
    drawn = scores.roc(p, labels, at)
    assert np.trapezoid(drawn, at, axis=1) == pytest.approx(scores.ranking(p, labels).auc[0], abs=1e-3)
    assert (np.diff(drawn, axis=1) >= -1e-12).all() and drawn[:, -1] == pytest.approx(1)


@given(SEEDS, LEVELS)
def test_the_mean_precision_over_sensitivities_is_the_average_precision(seed, levels):
    """Drawn curve and printed number agree, and every point is a cut of scikit-learn's curve."""
    p, labels = a_sample(seed, levels)
    at = (np.arange(20_000) + 0.5) / 20_000
    drawn = scores.precision_recall(p, labels, at)
    assert drawn.mean(axis=1) == pytest.approx(scores.ranking(p, labels).auc_pr[0], abs=1e-3)
    for k in range(p.shape[1]):
        precision, _, _ = precision_recall_curve(labels[:, k], p[:, k])
        assert np.isclose(drawn[k][:, None], precision, atol=1e-9).any(axis=1).all()


def test_precision_at_a_sensitivity_is_that_of_the_first_cut_that_reaches_it():
    """By hand: found, not, found, not -> 1 up to half of the presences, then 2/3; never found: NaN."""
    p, labels = np.array([[0.9, 0.5], [0.8, 0.4], [0.7, 0.3], [0.1, 0.2]]), np.array([[1, 0], [0, 0], [1, 0], [0, 0]], np.uint8)
    drawn = scores.precision_recall(p, labels, np.array([0.25, 0.5, 0.51, 1.0]))
    np.testing.assert_allclose(drawn[0], [1, 1, 2 / 3, 2 / 3])
    assert np.isnan(drawn[1]).all()


def test_a_sweep_holds_the_scores_of_each_threshold():
    """And sets shrink as lambda rises."""
    p, labels = a_sample(3)
    sweep = scores.threshold_sweep(p, labels, np.array([0.1, 0.4, 0.8]))
    assert sweep.samples_f1[1] == scores.set_scores(p > 0.4, labels).samples_f1[0]
    assert (np.diff(sweep.set_size_bias) <= 0).all()
