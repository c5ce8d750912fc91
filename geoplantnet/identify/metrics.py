"""How good a classifier's answers are: top-k and average-k accuracy by photo and by species, calibration, what is rejected, and sets of answers.

Scores are (n, species), the greater the likelier; truth is (n,) positions of species. Micro figures count each photo once; macro figures count each
species once: the mean over the species that the truth holds of the share of their photos. What cannot be told apart is not right: of species with
the score of the true one, all are taken to stand before it, so a net that says the same of all species scores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from geoplantnet.errors import InputError
from geoplantnet.identify.calibration import calibration_error

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Rule = Literal["top", "average", "coverage"]
RULES: tuple[Rule, ...] = ("top", "average", "coverage")
BINS = 15
"""Of `reliability`, each of as many photos."""


def ranks(scores: npt.ArrayLike, truth: npt.ArrayLike) -> Ints:
    """Place (n,) of the true species in each photo's answer, from 1; species of the same score stand before it. Raises InputError as `_checked`."""
    s, y = _checked(scores, truth)
    return (s >= s[np.arange(len(y)), y][:, None]).sum(axis=1)


def top_k(scores: npt.ArrayLike, truth: npt.ArrayLike, k: int = 1, *, macro: bool = False) -> float:
    """Share of photos (macro: mean of the species' shares) whose true species is among the first k answers. Raises InputError for k below 1."""
    if k < 1:
        raise InputError(f"top-{k} accuracy asked for; k is at least 1")
    return _mean(ranks(scores, truth) <= k, truth, macro)


def average_k_threshold(scores: npt.ArrayLike, k: float) -> float:
    """The threshold t at which answers {species: score >= t} hold k species on average, or as few less as ties ask.

    Lorieul, Joly & Shasha 2021, Classification under ambiguity: when is average-K better than top-K? (arXiv 2112.08851): the best sets of a mean size
    cut all photos' conditional probabilities at one value. The least score of the n k greatest of all n photos; where others equal it, the next greater one.
    Raises InputError for k not in (0, species].
    """
    s, _ = _checked(scores, None)
    n, species = s.shape
    if not 0 < k <= species:
        raise InputError(f"sets of {k} species on average asked for, of {species}; k lies above 0 and up to the number of species")
    pooled = np.sort(s, axis=None)[::-1]
    wanted = int(np.floor(n * k + 1e-9))
    if wanted == len(pooled):
        return float(pooled[-1])
    least = pooled[wanted - 1] if wanted else np.inf
    if pooled[wanted] < least:
        return float(least)
    greater = pooled[: np.searchsorted(-pooled, -pooled[wanted], side="left")]
    return float(greater[-1]) if len(greater) else float(np.nextafter(pooled[0], np.inf))


def average_k(scores: npt.ArrayLike, truth: npt.ArrayLike, k: float, *, macro: bool = False, threshold: float | None = None) -> float:
    """Share of photos (macro: mean of the species' shares) whose true species is in their set, sets holding k species on average.

    `threshold` is one learnt elsewhere (`average_k_threshold` on validation photos, as Garcin et al. 2021, Pl@ntNet-300K, NeurIPS datasets, section 5.2,
    do for macro average-k); None takes it from these photos. Raises InputError as `average_k_threshold`.
    """
    s, y = _checked(scores, truth)
    cut = average_k_threshold(s, k) if threshold is None else threshold
    return _mean(s[np.arange(len(y)), y] >= cut, y, macro)


def expected_calibration_error(probabilities: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Of the first answer's probability, by `identify.calibration.calibration_error`: 15 bins of as many photos. Raises InputError for what is no probability."""
    p, y = _checked(probabilities, truth)
    _as_probabilities(p)
    return calibration_error(p.max(axis=1), p.argmax(axis=1) == y)


def reliability(probabilities: npt.ArrayLike, truth: npt.ArrayLike, *, bins: int = BINS) -> pd.DataFrame:
    """Table of the bins from the least sure on: `n` photos, mean `probability` of the first answer, share `right` of them, its 95% interval `low`, `high`.

    The interval is Wilson's (1927). Raises InputError for what is no probability.
    """
    p, y = _checked(probabilities, truth)
    _as_probabilities(p)
    order = np.argsort(p.max(axis=1), kind="stable")
    sure, right = p.max(axis=1)[order], (p.argmax(axis=1) == y)[order]
    parts = [(s, r) for s, r in zip(np.array_split(sure, bins), np.array_split(right, bins), strict=True) if len(s)]
    n = np.array([len(s) for s, _ in parts])
    share = np.array([r.mean() for _, r in parts])
    low, high = wilson(share, n)
    return pd.DataFrame({"n": n, "probability": [float(s.mean()) for s, _ in parts], "right": share, "low": low, "high": high})


def wilson(share: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of a share seen in n trials: Wilson's score interval (1927, J. Am. Stat. Assoc. 22: 209)."""
    p, m = np.asarray(share, float), np.asarray(n, float)
    z = float(norm.ppf(0.5 + confidence / 2))
    middle, half = (p + z**2 / (2 * m)) / (1 + z**2 / m), z / (1 + z**2 / m) * np.sqrt(p * (1 - p) / m + z**2 / (4 * m**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Auroc:
    """Probability that what should score higher does, a tie counting half, with a 95% interval."""

    value: float
    low: float
    high: float


def auroc(positive: npt.ArrayLike, negative: npt.ArrayLike, *, confidence: float = 0.95) -> Auroc:
    """Of scores (m,) of what should score high, such as plants, beside (n,) of what should not. Raises InputError for an empty side or NaN.

    The interval is method 5 of Newcombe 2006 (Stat. Med. 25: 559): all values whose own standard error (Hanley & McNeil's, with the mean of both
    sample sizes) reaches the one seen. It is honest where one side stands wholly above the other, where a bootstrap gives no width at all.
    """
    a, b = np.asarray(positive, float).ravel(), np.asarray(negative, float).ravel()
    if not (len(a) and len(b)) or np.isnan(a).any() or np.isnan(b).any():
        raise InputError(
            f"AUROC of {len(a)} and {len(b)} scores, {int(np.isnan(a).sum() + np.isnan(b).sum())} of them NaN; give some of each"
        )
    m, n = len(a), len(b)
    seen = float((rankdata(np.concatenate([a, b]))[:m].sum() - m * (m + 1) / 2) / (m * n))
    z, size = float(norm.ppf(0.5 + confidence / 2)), (m + n) / 2 - 1

    def beyond(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + size * (1 - theta) / (2 - theta) + size * theta / (1 + theta)) / (m * n)
        return float(abs(seen - theta) - z * np.sqrt(max(variance, 0.0)))

    inside = float(np.clip(seen, 1e-9, 1 - 1e-9))  # at 0 and 1 the standard error is 0
    low = brentq(beyond, 0.0, inside) if seen > 0 else 0.0
    high = brentq(beyond, inside, 1.0) if seen < 1 else 1.0
    return Auroc(value=seen, low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class SetRule:
    """Which species an answer names, instead of one. Learnt by `set_rule`. Raises InputError for a rule that is none."""

    rule: Rule
    """``top``: the first k. ``average``: all above a threshold at which k are named on average. ``coverage``: all above a threshold at which
    the true one is named as often as wanted."""
    wanted: float
    """k of ``top`` and ``average``, the share of ``coverage``."""
    threshold: float = 0.0
    """Probability from which on a species is named; unused by ``top``."""
    photos: int = 0
    """It was learnt from."""

    def __post_init__(self) -> None:
        fits = {"top": self.wanted >= 1 and self.wanted == int(self.wanted), "average": self.wanted > 0, "coverage": 0 < self.wanted < 1}
        if not fits.get(self.rule, False) or np.isnan(self.threshold):
            raise InputError(
                f"a set rule {self.rule!r} of {self.wanted} at {self.threshold}; give one of {', '.join(RULES)}: a whole k, a mean size above 0, or a share in (0, 1)"
            )


def set_rule(rule: Rule, wanted: float, probabilities: npt.ArrayLike, truth: npt.ArrayLike | None = None) -> SetRule:
    """The rule learnt from held-out photos' probabilities (n, species); ``coverage`` needs their truth.

    ``coverage`` is split conformal prediction with the score 1 - p of the true species (Sadinle, Lei & Wasserman 2019, J. Am. Stat. Assoc. 114: 223, least
    ambiguous sets): the threshold is the floor((n + 1) (1 - wanted))-th least p of the true species, and new photos of the same kind have theirs in the set
    with probability at least `wanted`, on average over photos and draws of the n, whatever the net. Too few photos for that (n + 1 < 1 / (1 - wanted)) give
    a threshold of 0: every species is named. Photos of one plant are no independent draws: give one of each. Raises InputError as `SetRule`.
    """
    p, y = _checked(probabilities, truth)
    _as_probabilities(p)
    learnt = SetRule(rule=rule, wanted=wanted)
    if rule == "top":
        return learnt
    if rule == "average":
        return SetRule(rule=rule, wanted=wanted, threshold=average_k_threshold(p, wanted), photos=len(p))
    if truth is None:
        raise InputError("a set rule of coverage is learnt from photos whose species is known; give the truth")
    at = int(np.floor((len(y) + 1) * (1 - wanted) + 1e-9))
    threshold = float(np.sort(p[np.arange(len(y)), y])[at - 1]) if at >= 1 else 0.0
    return SetRule(rule=rule, wanted=wanted, threshold=threshold, photos=len(p))


def answer_set(probabilities: npt.ArrayLike, rule: SetRule) -> tuple[int, ...]:
    """Positions of the species an answer (species,) names, likeliest first, of equal ones the first in the list. Never empty: the first is always named."""
    p = np.asarray(probabilities, float)
    if p.ndim != 1 or not len(p) or np.isnan(p).any():
        raise InputError(f"an answer of shape {p.shape} with {int(np.isnan(p).sum())} NaN; give the probabilities (species,) of one")
    order = np.argsort(-p, kind="stable")
    named = int(rule.wanted) if rule.rule == "top" else int((p >= rule.threshold).sum())
    return tuple(int(i) for i in order[: max(named, 1)])


def set_figures(probabilities: npt.ArrayLike, truth: npt.ArrayLike, rule: SetRule) -> dict[str, float]:
    """What the sets of held-out photos hold: `coverage` (micro) and `macro_coverage` of the true species, `size` on average, share `alone` of sets of one."""
    p, y = _checked(probabilities, truth)
    true = p[np.arange(len(y)), y][:, None]
    before = ((p > true) | ((p == true) & (np.arange(p.shape[1]) < y[:, None]))).sum(axis=1)
    sizes = np.full(len(y), int(rule.wanted)) if rule.rule == "top" else np.maximum((p >= rule.threshold).sum(axis=1), 1)
    found = before < sizes  # as `answer_set`, of all photos at once
    return {
        "coverage": _mean(found, y, False),
        "macro_coverage": _mean(found, y, True),
        "size": float(sizes.mean()),
        "alone": float((sizes == 1).mean()),
    }


def figures(probabilities: npt.ArrayLike, truth: npt.ArrayLike, *, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """The usual figures by name: `top1`, `macro_top1`, `average5`, `macro_average5` ... for each k up to the number of species, `ece` and `nll` (nats)."""
    p, y = _checked(probabilities, truth)
    found: dict[str, float] = {}
    for k in (k for k in ks if k <= p.shape[1]):
        found |= {f"top{k}": top_k(p, y, k), f"macro_top{k}": top_k(p, y, k, macro=True)}
        found |= {f"average{k}": average_k(p, y, k), f"macro_average{k}": average_k(p, y, k, macro=True)}
    found["ece"] = expected_calibration_error(p, y)
    found["nll"] = float(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).tiny)).mean())
    return found


def _mean(right: npt.NDArray[np.bool_], truth: npt.ArrayLike, macro: bool) -> float:
    if not macro:
        return float(right.mean())
    y = np.asarray(truth)
    photos = np.bincount(y)
    return float((np.bincount(y, right)[photos > 0] / photos[photos > 0]).mean())


def _checked(scores: npt.ArrayLike, truth: npt.ArrayLike | None) -> tuple[Floats, Ints]:
    """Both as arrays. Raises InputError for other shapes, no photo, NaN, or a species that is not in the list."""
    s = np.asarray(scores, float)
    if s.ndim != 2 or not s.size or np.isnan(s).any():
        raise InputError(f"scores of shape {s.shape} with {int(np.isnan(s).sum())} NaN; give (n, species) of at least one photo, all known")
    if truth is None:
        return s, np.empty(0, np.intp)
    y = np.asarray(truth)
    if y.shape != s.shape[:1] or not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= s.shape[1]:
        raise InputError(
            f"truth of shape {y.shape} and type {y.dtype} for scores {s.shape}; give each photo's species as its position, 0 to {s.shape[1] - 1}"
        )
    return s, y.astype(np.intp)


def _as_probabilities(p: Floats) -> None:
    if p.min() < 0 or p.max() > 1 + 1e-6:
        raise InputError(
            f"scores from {p.min()} to {p.max()} are no probabilities; divide logits by the temperature and take their softmax"
        )
