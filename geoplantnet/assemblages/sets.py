"""From probabilities to a species set. Arrays are (species, y, x); NaN (no data) is never a member.

| rule | set | tuned on plots |
|---|---|---|
| MaxExp, `max_expected_f1` | the largest expected F1 of the cell | nothing |
| Set Size Expectation (SSE), `set_size_expectation` | as many species as are expected, the most probable ones | nothing |
| lambda, `above` | p > lambda | lambda: `tuned_threshold` |
| top-k, `top_k` | the k most probable | k: `tuned_k` |
| conformal, `conformal.conformal_threshold` | p > threshold, holds 90 % of the species present | the threshold |

**MaxExp** (`max_expected_f1`), the default, takes the species that together have the largest expected F1. Nothing is
tuned, and the number of species differs from cell to cell. With independent presences the best set holds the k most
probable species for some k (Lewis 1995, https://doi.org/10.1145/215206.215366; Ye et al. 2012, arXiv:1206.4625), so k is
all there is to choose. We choose it by the plug-in expectation

    F(k) = 2 C_k / (k + P),        C_k = sum of the k largest p,  P = sum of all p,

numerator and denominator of F1 = 2 |S & Y| / (|S| + |Y|) each replaced by its expectation. The gap to the exact
expectation comes from the spread of |Y|, of order Var|Y| / (k + P)^2, and closes as communities grow. Found for random
communities: at 10 species .025 of F1 at most and .001 on average, at 40 .011 and .0002, at 120 .0003 and .00001.

**No sorting is needed.** Maximising the ratio over sets is a linear-fractional programme: with F* its maximum, t = F* / 2
is the root of

    g(t) = sum of max(p - t, 0)  -  t P,

since g(F / 2) > 0 just when some set does better than F, and the best set holds the species whose term is positive:
S* = {p > F* / 2}. Species with p = F* / 2 change nothing; they are left out, so S* is the smallest of the best sets.
g falls and is convex. So from any threshold the F / 2 of its set lies below the root (Newton's step; for ratios
Dinkelbach 1967, https://doi.org/10.1287/mnsc.13.7.492) and a chord across the root meets zero above it: a pass over
the species narrows the root from both sides, until the few probabilities in between fit in memory and decide exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device

from geoplantnet.assemblages.blocks import Array, Blocks, checked, on_host, row_strips
from geoplantnet.errors import InputError, UsageError

_FIRST_CUTS = (0.0, 0.004, 0.02, 0.08, 0.25, 0.5)
"""Thresholds the first pass looks at. At 0 the mass is P and g >= 0; at 0.5 g <= 0, as no F1 is above 1."""
_IN_MEMORY = 2**22
"""Probabilities that may be gathered for the last, exact step."""


def above(p: Array, threshold: Array | float) -> Array:
    """Members (species, y, x) by the set rule p > threshold. `threshold`: one number, or (y, x) a cell.

    Strictly greater: a species at the threshold is no member. Sets grow as the threshold falls.
    """
    return p > threshold


def top_k(p: Array, k: Array | int) -> Array:
    """Members (species, y, x): the `k` most probable species, all species with data where there are fewer.

    `k`: one number, or (y, x) a cell. Among equal probabilities the species first in the list wins. Raises UsageError
    when `k` is negative.
    """
    xp = array_namespace(p)
    if k < 0 if isinstance(k, int) else xp.any(k < 0):
        raise UsageError(f"top_k needs k >= 0, got {k}")
    known = ~xp.isnan(p)
    order = xp.argsort(xp.where(known, -p, xp.inf), axis=0, stable=True)
    rank = xp.argsort(order, axis=0, stable=True)
    return (rank < k) & known


def set_size_expectation(p: Array) -> Array:
    """Members (species, y, x) by Set Size Expectation (SSE): the k most probable species, k = sum of p to the nearest integer.

    The size is the expected number of species, and no set of another size comes nearer to it. Source: SSE of
    Gigot--Léandri et al. 2026, arXiv:2602.11771; in community ecology the probability ranking rule on stacked
    probabilities (pS-SDM + PRR: D'Amen et al. 2015, J. Biogeogr. 42: 1255-1266). For probabilities that fit in memory.
    """
    xp = array_namespace(p)
    expected = xp.sum(xp.where(xp.isnan(p), 0.0, p), axis=0, dtype=xp.float64)
    return top_k(p, xp.astype(xp.round(expected), xp.int64))


def max_expected_f1(p: Array) -> Array:
    """Members (species, y, x) by MaxExp, for probabilities (species, y, x) that fit in memory."""
    threshold = expected_f1_threshold(lambda: [(slice(0, p.shape[0]), p)], tuple(p.shape[1:]))
    return above(p, threshold)


def expected_f1_threshold(blocks: Blocks, shape: tuple[int, int]) -> Array:
    """The MaxExp set rule as a threshold (y, x), float32: the set is {p > threshold}. NaN where a cell has no data.

    Twice the threshold is the expected F1 of the set. `shape` is (y, x). It is the largest float32 not above F* / 2, so
    that float32 probabilities are compared without rounding. Passes over the blocks: two for a small raster, three to
    five for a tile of 10,000 species. Raises InputError when the blocks break their contract.
    """
    tally = _tally(blocks, shape, _FIRST_CUTS)
    has_data, total = tally.has_data, tally.mass[0, ...]
    low, high, between = _bracket(tally, total)
    while between > _IN_MEMORY:
        low, high, now = _bracket(_tally(blocks, shape, (low, high)), total)
        if now >= between:
            break
        between = now
    xp = array_namespace(total)
    threshold = xp.asarray(_decide(blocks, shape, low, high, total), device=device(total))
    return xp.where(has_data, threshold, xp.asarray(xp.nan, dtype=xp.float32, device=device(total)))


def tuned_threshold(p: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """Lambda in [0, 1] that maximises samples-F1 of {p > lambda} on validation plots; p and labels (plot, species).

    Samples-F1 is the mean over plots of 2 |S & Y| / (|S| + |Y|), 0 where both are empty (GeoLifeCLEF's score; Ung et al.
    2023 and later entries tune it). Exact: every p is a candidate, tried in one sweep from the largest down, in which each
    species changes its own plot's F1 alone. Of equally good lambdas the largest: the smallest sets. Memory is some 50 bytes a value.
    Raises InputError when there is no plot or the shapes differ.
    """
    ranked, f1 = _ranked_f1(p, labels)
    order = np.argsort(-ranked, axis=None, kind="stable")
    level = np.append(ranked.ravel()[order], 0.0)
    # F1 is read where a value ends: equal probabilities enter together. Rounding, so that equals stay equal in any order.
    mean = np.round(np.cumsum(np.diff(f1, axis=1, prepend=0).ravel()[order]) / len(f1), 12)
    ends = np.flatnonzero(level[:-1] > np.maximum(level[1:], 0))
    if not ends.size or mean[ends].max() <= 0:
        return 1.0
    best = ends[np.argmax(mean[ends])]
    return float(max(level[best + 1], 0))


def tuned_k(p: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> int:
    """The k that maximises samples-F1 of `top_k` on validation plots (see `tuned_threshold`); of equals the smallest.

    Raises InputError when there is no plot or the shapes differ.
    """
    _, f1 = _ranked_f1(p, labels)
    mean = np.round(np.append(0.0, f1.mean(axis=0)), 12)
    return int(np.argmax(mean))


def _ranked_f1(p: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]:
    """Per plot the probabilities from the largest down, -1 for no data, and the F1 of its first 1, 2 ... species; both (plot, species)."""
    if p.ndim != 2 or p.shape != labels.shape or not p.size:
        raise InputError(
            f"probabilities {p.shape} and labels {labels.shape} are no (plot, species) of the same plots; give validation plots"
        )
    value, present = np.where(np.isnan(p), p.dtype.type(-1), p), labels > 0
    order = np.argsort(-value, axis=1, kind="stable")
    ranked = np.take_along_axis(value, order, axis=1)
    known = ranked >= 0
    hits = np.cumsum(np.take_along_axis(present, order, axis=1) & known, axis=1)
    both = np.cumsum(known, axis=1) + present.sum(axis=1, keepdims=True)
    return ranked, 2 * hits / np.maximum(both, 1)


class _Tally(NamedTuple):
    """What one pass learns about the sets {p > cut}; the cuts ascend."""

    cut: Array
    """(cut, y, x), float32."""
    size: Array
    """(cut, y, x): how many species."""
    mass: Array
    """(cut, y, x): the sum of their p, float64."""
    has_data: Array
    """(y, x): whether any species has a probability."""


def _tally(blocks: Blocks, shape: tuple[int, int], cuts: Sequence[Array | float]) -> _Tally:
    tally = None
    for _, p in checked(blocks, shape):
        xp = array_namespace(p)
        if tally is None:
            full, dev = (len(cuts), *shape), device(p)
            level = xp.stack([c + xp.zeros(shape, dtype=xp.float32, device=dev) for c in cuts])
            size, mass = xp.zeros(full, dtype=xp.int32, device=dev), xp.zeros(full, dtype=xp.float64, device=dev)
            tally = _Tally(level, size, mass, xp.zeros(shape, dtype=xp.bool, device=dev))
        for rows in row_strips(p):
            part, missing = p[:, rows, :], xp.isnan(p[:, rows, :])
            tally.has_data[rows, :] |= ~xp.all(missing, axis=0)
            part = xp.where(missing, 0.0, part) if xp.any(missing) else part
            for i in range(len(cuts)):
                inside = part > tally.cut[i, rows, :]
                tally.size[i, rows, :] += xp.sum(inside, axis=0, dtype=xp.int32)
                # A product in the place of `where`: five times as fast on a CPU.
                tally.mass[i, rows, :] += xp.sum(xp.astype(inside, part.dtype) * part, axis=0, dtype=xp.float64)
    assert tally is not None  # `checked` refuses an empty stream
    return tally


def _bracket(tally: _Tally, total: Array) -> tuple[Array, Array, int]:
    """Low <= t <= high (y, x), float32, around the root of g; and how many probabilities lie between, at most."""
    xp = array_namespace(total)
    cut, whole = xp.astype(tally.cut, xp.float64), xp.astype(tally.size, xp.float64) + total
    g = tally.mass - cut * whole
    facts = (cut, g, tally.size)
    left, right = [f[0, ...] for f in facts], [f[-1, ...] for f in facts]  # the cuts next to the root: (cut, g, size)
    for i in range(1, cut.shape[0]):
        left = [xp.where(g[i, ...] > 0, f[i, ...], old) for f, old in zip(facts, left)]
    for i in range(cut.shape[0] - 2, -1, -1):
        right = [xp.where(g[i, ...] <= 0, f[i, ...], old) for f, old in zip(facts, right)]
    fall = left[1] - right[1]
    chord = left[0] + (right[0] - left[0]) * left[1] / xp.where(fall > 0, fall, 1.0)
    newton = xp.max(tally.mass / xp.where(whole > 0, whole, 1.0), axis=0)
    low = _to_float32(xp.maximum(left[0], newton), up=False)
    high = xp.maximum(low, _to_float32(xp.where(fall > 0, xp.minimum(chord, right[0]), right[0]), up=True))
    return low, high, int(xp.sum(xp.clip(left[2] - right[2], min=0)))


def _to_float32(values: Array, *, up: bool) -> Array:
    """The nearest float32 not below (`up`) or not above a float64."""
    xp = array_namespace(values)
    near = xp.astype(values, xp.float32)
    back = xp.astype(near, xp.float64)
    toward = xp.full_like(near, xp.inf if up else -xp.inf)
    return xp.where(back < values if up else back > values, xp.nextafter(near, toward), near)


def _decide(blocks: Blocks, shape: tuple[int, int], low: Array, high: Array, total: Array) -> npt.NDArray[np.float32]:
    """F* / 2 (y, x), by Newton's steps over the probabilities in (low, high], gathered in one more pass."""
    size, mass = np.zeros((2, shape[0] * shape[1]))
    cells, values = [np.empty(0, np.int64)], [np.empty(0)]
    for _, p in checked(blocks, shape):
        xp = array_namespace(p)
        for rows in row_strips(p):
            part = p[:, rows, :]
            surely = part > high[rows, :]
            here = slice(rows.start * shape[1], rows.stop * shape[1])
            size[here] += on_host(xp.sum(surely, axis=0, dtype=xp.int32)).ravel()
            mass[here] += on_host(xp.sum(xp.where(surely, part, 0.0), axis=0, dtype=xp.float64)).ravel()
            perhaps = (part > low[rows, :]) & ~surely
            _, row, column = xp.nonzero(perhaps)
            cells.append((on_host(row) + rows.start) * shape[1] + on_host(column))
            values.append(on_host(part[perhaps]).astype(np.float64))
    cell, value = np.concatenate(cells), np.concatenate(values)
    whole, root = size + on_host(total).ravel(), on_host(low).ravel()
    while True:
        inside = value > root[cell]
        both = whole + np.bincount(cell[inside], minlength=root.size)
        part = mass + np.bincount(cell[inside], weights=value[inside], minlength=root.size)
        step = _to_float32(part / np.where(both > 0, both, 1.0), up=False)
        if not np.any(step > root):
            return root.reshape(shape)
        root = np.maximum(root, step)
