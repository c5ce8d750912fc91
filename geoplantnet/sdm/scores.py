"""Scores of predictions against presences and absences, for many resamples at once.

Arrays are (plot, species), a set of species is boolean. `weights` (draw, plot) says how often a plot counts in a draw; None
is one draw in which each counts once. A score under weights is the score of plots repeated so often, hence bootstrap,
block bootstrap and the sample itself are one computation. NaN is a score that is not defined: no presence, no absence, no
spread. The F1 of an empty set where nothing is found is 0, as in scikit-learn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Float = npt.NDArray[np.floating]
Bool = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

BINS = 15
"""Equal-width bins of probability: of the expected calibration error and the reliability diagram."""
_WINDOWS, _WINDOW_SHARE = 101, 0.1


class Ranking(NamedTuple):
    """How well species rank plots, each (draw, species)."""

    auc: Float
    """Area under the ROC curve: the chance that a plot with the species gets more than one without, ties half (Hanley and McNeil 1982)."""
    auc_pr: Float
    """Average precision, the step-wise area under the precision-recall curve (Davis and Goadrich 2006): its floor is prevalence."""


class Curve(NamedTuple):
    """A species' plots from the highest probability down; the first cut takes none, the last all."""

    threshold: Float
    """(cut,) descending: plots with p >= it are taken."""
    presences: Float
    """(draw, cut) taken."""
    absences: Float
    """(draw, cut) taken."""


def curve(p: Float, labels: Labels, weights: Float | None = None) -> Curve:
    """Presences and absences taken by every threshold, for one species: `p` and `labels` (plot,)."""
    w = _weights(len(p), weights)
    order = np.argsort(-p, kind="stable")
    ranked, found = p[order], labels[order].astype(bool)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # ties are taken together
    w = w[:, order]
    taken, present = np.cumsum(w, axis=1)[:, last], np.cumsum(w * found, axis=1)[:, last]
    start = np.zeros((len(w), 1))
    return Curve(np.append(np.inf, ranked[last]), np.hstack([start, present]), np.hstack([start, taken - present]))


def ranking(p: Float, labels: Labels, weights: Float | None = None) -> Ranking:
    """AUC-ROC and AUC-PR of every species (draw, species)."""
    w = _weights(len(p), weights)
    auc, precise = np.full((2, len(w), p.shape[1]), np.nan)
    for k in range(p.shape[1]):
        _, hits, alarms = curve(p[:, k], labels[:, k], w)
        gained, paid = np.diff(hits, axis=1), np.diff(alarms, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            auc[:, k] = (paid * (hits[:, 1:] + hits[:, :-1])).sum(axis=1) / (2 * hits[:, -1] * alarms[:, -1])
            precision = np.nan_to_num(hits[:, 1:] / (hits[:, 1:] + alarms[:, 1:]))
            precise[:, k] = (gained * precision).sum(axis=1) / hits[:, -1]
    return Ranking(auc, precise)


def above_chance(auc_pr: Float, prevalence: Float) -> Float:
    """AUC-PR beyond what a random ranking gets: (AP - prevalence) / (1 - prevalence), 0 = random, 1 = perfect, so that species
    of unlike prevalence can be compared.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return (auc_pr - prevalence) / (1 - prevalence)


def prevalence(labels: Labels, weights: Float | None = None) -> Float:
    """Share of plots that hold each species (draw, species)."""
    w = _weights(len(labels), weights)
    with np.errstate(invalid="ignore"):
        return (w @ labels) / w.sum(axis=1, keepdims=True)


def correlation(p: Float, labels: Labels, weights: Float | None = None) -> Float:
    """COR (draw, species): Pearson's r of p and presence, the point-biserial correlation (Elith et al. 2006, Ecography 29: 129-151)."""
    w, y = _weights(len(p), weights), labels.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = w / w.sum(axis=1, keepdims=True)
        q = p.astype(float) - p.mean(axis=0, dtype=float)  # centred first: squares of p near a constant would cancel
        mean, share = w @ q, w @ y
        spread = (w @ q**2 - mean**2) * (share - share**2)
        return np.where(spread > 1e-24, (w @ (q * y) - mean * share) / np.sqrt(np.maximum(spread, 1e-300)), np.nan)


def best_threshold(p: Float, labels: Labels) -> Float:
    """(species,): the threshold of the largest TSS, the highest of equals; NaN for a species never or always found.

    The prediction is presence where p >= threshold: maximum of sensitivity + specificity, as Liu et al. 2013 advise.
    """
    best = np.full(p.shape[1], np.nan)
    for k in np.flatnonzero((labels.any(axis=0)) & (labels == 0).any(axis=0)):
        threshold, hits, alarms = curve(p[:, k], labels[:, k])
        skill = hits[0] * alarms[0, -1] - alarms[0] * hits[0, -1]  # TSS times whole numbers: equals are equal
        best[k] = threshold[1:][np.argmax(skill[1:])]
    return best


def true_skill(p: Float, labels: Labels, threshold: Float, weights: Float | None = None) -> Float:
    """TSS (draw, species) at thresholds (species,): sensitivity + specificity - 1 (Allouche et al. 2006). NaN where there is no threshold."""
    w, y = _weights(len(p), weights), labels.astype(float)
    taken = (p >= threshold).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        tss = (w @ (taken * y)) / (w @ y) - (w @ (taken * (1 - y))) / (w @ (1 - y))
    return np.where(np.isfinite(threshold), tss, np.nan)


def boyce(p: Float, labels: Labels, weights: Float | None = None) -> Float:
    """Continuous Boyce index (draw, species) (Hirzel et al. 2006, Ecol. Modell. 199: 142-152).

    101 windows, each a tenth of the range of p wide, move over it; F = share of presences / share of plots in a window, and
    the index is Spearman's r between F and the windows' order: 1 = presences pile up where p is high. Windows without
    plots are left out. NaN where p does not vary, or F does not.
    """
    w = _weights(len(p), weights)
    out = np.full((len(w), p.shape[1]), np.nan)
    for k in range(p.shape[1]):
        q = p[:, k].astype(float)
        low, high = q.min(), q.max()
        if high <= low:
            continue
        width = _WINDOW_SHARE * (high - low)
        start = low + np.linspace(0, 1 - _WINDOW_SHARE, _WINDOWS) * (high - low)
        margin = 1e-9 * (high - low)  # a plot at the end of the range belongs to the last window, whatever the rounding
        inside = ((q[:, None] >= start - margin) & (q[:, None] <= start + width + margin)).astype(float)
        out[:, k] = _rank_correlation((w * labels[:, k]) @ inside, w @ inside)
    return out


def _rank_correlation(presences: Float, plots: Float) -> Float:
    """Spearman's r of presences / plots with the order of the windows, both (draw, window); windows without plots do not count."""
    known = plots > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(known, presences / plots, np.inf)  # the unknown rank last and change no other's rank
    order, rank = np.cumsum(known, axis=1, dtype=float), rankdata(ratio, axis=1)
    n = known.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (np.where(known, r - np.where(known, r, 0).sum(axis=1, keepdims=True) / n, 0.0) for r in (order, rank))
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


class SetScores(NamedTuple):
    """How predicted sets of species match those found, each (draw,)."""

    samples_f1: Float
    """Mean over plots of 2 |S & Y| / (|S| + |Y|): Sorensen's similarity, GeoLifeCLEF's score; 0 for a plot where both are empty."""
    micro_f1: Float
    """F1 of all (plot, species) pairs pooled."""
    macro_f1: Float
    """Mean F1 over the species found in at least one of the plots."""
    jaccard: Float
    """Mean over plots of |S & Y| / |S or Y|."""
    set_size_bias: Float
    """(species in the sets - species found) / species found: why |S| is no richness."""


def set_scores(members: Bool, labels: Labels, weights: Float | None = None) -> SetScores:
    """Scores of sets `members` (plot, species)."""
    w, s, y = _weights(len(labels), weights), members.astype(float), labels.astype(float)
    hit = s * y
    size, found, right = s.sum(axis=1), y.sum(axis=1), hit.sum(axis=1)
    total = w.sum(axis=1)
    known = y.any(axis=0)
    f1 = _safe(2 * (w @ hit[:, known]), w @ (s + y)[:, known])
    return SetScores(
        samples_f1=_safe(w @ _safe(2 * right, size + found), total),
        micro_f1=_safe(2 * (w @ right), w @ (size + found)),
        macro_f1=f1.mean(axis=1) if known.any() else np.zeros(len(w)),
        jaccard=_safe(w @ _safe(right, size + found - right), total),
        set_size_bias=_bias(w @ size, w @ found),
    )


class Calibration(NamedTuple):
    """How probabilities match frequencies, each (draw,)."""

    ece: Float
    """Expected calibration error: mean |observed frequency - mean p| over 15 bins, by their counts (Naeini et al. 2015)."""
    brier: Float
    """Mean squared error of the probabilities (Brier 1950)."""
    richness_bias: Float
    """(sum of p - species found) / species found, over all plots."""
    richness_rmse: Float
    """Root of the plots' mean squared (sum of p - species found), in species (Calabrese et al. 2014 for sums of p as richness)."""


def calibration(p: Float, labels: Labels, weights: Float | None = None) -> Calibration:
    """Scores of the level of probabilities, all species pooled."""
    w, q = _weights(len(p), weights), p.astype(float)
    total, predicted, found = w.sum(axis=1), q.sum(axis=1), labels.sum(axis=1, dtype=float)
    count, mass, hits = binned(p, labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Calibration(
            ece=np.abs(w @ (hits - mass)).sum(axis=1) / (w @ count).sum(axis=1),
            brier=(w @ ((q - labels) ** 2).mean(axis=1)) / total,
            richness_bias=_bias(w @ predicted, w @ found),
            richness_rmse=np.sqrt((w @ (predicted - found) ** 2) / total),
        )


def binned(p: Float, labels: Labels) -> tuple[Float, Float, Float]:
    """Of every plot and bin (plot, bin): species in it, the sum of their p, and how many of them are found."""
    n = len(p)
    where = np.minimum((p.astype(float) * BINS).astype(int), BINS - 1) + BINS * np.arange(n)[:, None]

    def sums(values: npt.NDArray[np.generic] | None) -> Float:
        flat = None if values is None else values.ravel().astype(float)
        return np.bincount(where.ravel(), flat, minlength=n * BINS).reshape(n, BINS).astype(float)

    return sums(None), sums(p), sums(labels)


class Sweep(NamedTuple):
    """Sets {p > threshold} at each of many thresholds, each (threshold,)."""

    threshold: Float
    samples_f1: Float
    micro_f1: Float
    set_size_bias: Float


def threshold_sweep(p: Float, labels: Labels, thresholds: Float) -> Sweep:
    """Scores of the set rule p > lambda at every lambda of `thresholds`."""
    scores = [set_scores(p > t, labels) for t in thresholds]
    return Sweep(thresholds, *(np.array([getattr(s, name)[0] for s in scores]) for name in Sweep._fields[1:]))


def roc(p: Float, labels: Labels, at: Float) -> Float:
    """Sensitivity of every species at false positive rates `at` (species, rate), linear between cuts; NaN where AUC is."""
    out = np.full((p.shape[1], len(at)), np.nan)
    for k in np.flatnonzero((labels.any(axis=0)) & (labels == 0).any(axis=0)):
        _, hits, alarms = curve(p[:, k], labels[:, k])
        rate, share = alarms[0] / alarms[0, -1], hits[0] / hits[0, -1]
        out[k] = np.interp(at, rate, share)  # where it rises straight up, the upper end
    return out


def precision_recall(p: Float, labels: Labels, at: Float) -> Float:
    """Precision of every species at sensitivities `at` > 0 (species, sensitivity), that of the first cut which reaches it; NaN where AUC is.

    A step, not a line between cuts, which would flatter (Davis and Goadrich 2006): its mean over all sensitivities is AUC-PR.
    """
    out = np.full((p.shape[1], len(at)), np.nan)
    for k in np.flatnonzero((labels.any(axis=0)) & (labels == 0).any(axis=0)):
        _, hits, alarms = curve(p[:, k], labels[:, k])
        reached = np.searchsorted(hits[0], np.asarray(at) * hits[0, -1] * (1 - 1e-12))  # a share of a whole number, whatever the rounding
        out[k] = hits[0, reached] / (hits[0, reached] + alarms[0, reached])
    return out


def _weights(plots: int, weights: Float | None) -> Float:
    return np.ones((1, plots)) if weights is None else np.asarray(weights, float)


def _safe(a: Float, b: Float) -> Float:
    """A ratio that is 0 where the denominator is."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)


def _bias(got: Float, wanted: Float) -> Float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(wanted > 0, got / wanted - 1, np.nan)
