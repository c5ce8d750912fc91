"""Several photos of one plant -> one answer: the product of what each says, by what it shows, and no surer for the same photo sent twice.

Of n photos with probabilities p_i and weights u_i

    ln p = m^gain * sum_i(u_i ln p_i) / sum_i(u_i) + constant

The weighted mean of logarithms is the logarithmic opinion pool (Genest & Zidek 1986, Combining probability distributions, Statistical Science
1: 114, section 3): a species must be possible by every photo. `gain` says how much surer photos make each other: 0 = not at all (their mean), 1 =
as independent witnesses do (the product of experts; Hinton 2002, Neural Computation 14: 1771). Photos of one plant, seen by one net, lie between;
`learn_views` learns it. m is the number of photos that differ: photos that look alike share one vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from geoplantnet.errors import InputError
from geoplantnet.identify.network import ORGANS, Card, Outputs

Floats = npt.NDArray[np.float64]
DOUBT = 0.02
"""Share of each photo's answer that is spread over all species where several differ: a photo that is wrong and sure cannot forbid what others see."""
_ALIKE, _DIFFERENT = 4.0, 12.0  # grey levels of 255: a JPEG written again differs by 1 to 3, two photos of a burst by 10 and more
_THUMB = 16
_TOGETHER = 0.5  # what holds the weights together: ln weight ~ N(0, 1), as a negative log-likelihood
FEWEST = 20
"""Plants of several photos below which nothing is learnt of views."""
_PLANTS, _PHOTOS, _SPECIES = 1_000, 5, 200  # that are learnt from at most: plants, photos of each, likeliest species of each
_WEIGHTS = (0.1, 10.0)


def alike(pixels: npt.NDArray[np.uint8]) -> Floats:
    """(n, n): 1 = the same photo, 0 = another one, of photos (n, size, size, 3) as the net sees them.

    By the root mean square difference of their thumbnails of 16 x 16 pixels: 1 up to 4 grey levels of 255 (a photo sent twice, stored anew or
    scaled), 0 from 12 on, linear between (photos of a burst). A photo that was cut or turned is another one.
    """
    n, size = len(pixels), pixels.shape[1]
    edges = np.linspace(0, size, min(_THUMB, size) + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(pixels, edges, axis=1, dtype=np.float64), edges, axis=2)
    widths = np.diff([*edges, size]).astype(float)
    thumbs = (sums / (widths[:, None, None] * widths[None, :, None])).reshape(n, -1)
    apart = np.sqrt(((thumbs[:, None] - thumbs[None]) ** 2).mean(axis=2))
    same: Floats = np.clip((_DIFFERENT - apart) / (_DIFFERENT - _ALIKE), 0, 1)
    return same


def shown(organs: npt.NDArray[np.floating], told: Sequence[str], card: Card) -> Floats:
    """(n, 6): probability that a photo shows each of `ORGANS`: what its sender says, else what the net does, else all alike.

    `told` names an organ a photo, empty = not said; none at all = none said. Raises InputError for another number of them and for an unknown organ.
    """
    n = len(organs)
    if len(told) not in (0, n):
        raise InputError(f"{len(told)} organs for {n} photos; name one each, empty where it is not known, or none")
    found = np.asarray(organs, float) if card.organs else np.full((n, len(ORGANS)), 1 / len(ORGANS))
    found = found.copy()
    for i, organ in enumerate(told):
        if organ:
            if organ not in ORGANS:
                raise InputError(f"organ {organ!r} is none of {', '.join(ORGANS)}; leave it empty where it is not known")
            found[i] = np.array(ORGANS) == organ
    return found


def view_weights(shows: Floats, weights: Mapping[str, float]) -> Floats:
    """(n,): weight of each photo: that of the organs (n, 6) it may show, on average; 1 for an organ without one."""
    each: Floats = shows @ np.array([weights.get(organ, 1.0) for organ in ORGANS])
    return each


def fuse(log_p: npt.ArrayLike, weights: npt.ArrayLike, same: npt.ArrayLike, gain: float, *, doubt: float = DOUBT) -> Floats:
    """Answer ln p (species,) of one plant from ln p (n, species) of n photos; `weights` (n,) >= 0, `same` (n, n) of `alike`.

    The order of photos means nothing, nor does the scale of weights; one photo, or one sent several times, is answered as it is. A photo of
    weight 0 counts for nothing. Raises InputError where all weights are 0, or shapes do not fit.
    """
    each, w, kin = np.asarray(log_p, float), np.asarray(weights, float), np.asarray(same, float)
    if each.ndim != 2 or w.shape != each.shape[:1] or kin.shape != (len(w), len(w)) or not (w.sum() > 0 and (w >= 0).all()):
        raise InputError(
            f"{each.shape} answers, {w.shape} weights from {w.min(initial=0)}, {kin.shape} likenesses; give one weight >= 0 a photo, not all 0"
        )
    return _fused(each[None], w[None], kin[None], gain, doubt)[0]


def _fused(log_p: Floats, w: Floats, kin: Floats, gain: float, doubt: float = DOUBT) -> Floats:
    """(plant, species) of (plant, photo, species), weights (plant, photo) and likenesses (plant, photo, photo); weight 0 = no such photo."""
    counts = w > 0
    kin = np.where(counts[:, None, :], kin, 0.0) + np.eye(w.shape[1]) * ~counts[:, :, None]  # what does not count is nobody's double
    share = 1 / kin.sum(axis=2)
    u = w * share
    # Kish's effective sample size (1965, Survey Sampling, section 11.7), where the doubles of a photo are one
    differ = np.maximum(u.sum(axis=1) ** 2 / (u**2 / share).sum(axis=1), 1.0)
    votes = u / u.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        spread = (doubt * (1 - 1 / differ))[:, None, None]
        each = np.logaddexp(np.log1p(-spread) + log_p, np.log(spread / log_p.shape[2]))
    pooled = differ[:, None] ** gain * np.einsum("nv,nvs->ns", votes, np.where(counts[:, :, None], each, 0.0))
    fused: Floats = pooled - logsumexp(pooled, axis=1, keepdims=True)
    return fused


@dataclass(frozen=True, kw_only=True)
class Views:
    """How photos of one plant are put together, learnt from plants held out: `Card.view_weights` and `Card.view_gain`."""

    weights: Mapping[str, float]
    """By organ, 1 on average over the photos it was learnt from."""
    gain: float
    """0 to 1."""
    observations: int
    """With two photos or more: what it was learnt from."""
    loss_before: float
    """Mean negative log-likelihood of the true species with equal weights and no gain, nats."""
    loss_after: float
    """The same with what was learnt, of observations it was not learnt from (5 folds)."""


def learn_views(
    outputs: Outputs,
    species: npt.ArrayLike,
    observation: npt.ArrayLike,
    organs: Sequence[str] = (),
    *,
    card: Card,
    same: Mapping[str, Floats] | None = None,
) -> Views:
    """Weights of organs and the gain from photos (n,) the net did not learn from: their species (positions) and observations (ids).

    By least negative log-likelihood of the fused answer. Weights are held together (a normal prior on their logarithm), so that an organ seen
    rarely keeps a weight near 1. Observations of one photo say nothing of fusion and are left out. `same`: `alike` of an observation's photos;
    without, all differ. It learns from 1,000 observations at most, drawn by chance, from the first five photos of each and the 200 species that are
    likeliest by them. Raises InputError for fewer than 20 observations of several photos, and for one with several species.
    """
    log_p = log_softmax(np.asarray(outputs.logits, float) / card.temperature, axis=1)
    y, names = np.asarray(species), np.asarray(observation).astype(str)
    shows = shown(outputs.organs, organs, card)
    if y.shape != (len(log_p),) or names.shape != (len(log_p),):
        raise InputError(f"{len(log_p)} answers, {y.shape} species, {names.shape} observations; give one of each a photo")
    groups = [(str(name), rows) for name, rows in pd.Series(np.arange(len(y))).groupby(names).indices.items() if len(rows) > 1]
    for name, rows in groups:
        if len(set(y[rows].tolist())) > 1:
            raise InputError(
                f"photos of observation {name} are of {len(set(y[rows].tolist()))} species; photos of one plant share its species"
            )
    if len(groups) < FEWEST:
        raise InputError(f"{len(groups)} observations have several photos; {FEWEST} are needed to learn how photos are put together")
    groups = [(name, rows[:_PHOTOS]) for name, rows in groups]
    groups = [groups[i] for i in sorted(np.random.default_rng(0).permutation(len(groups))[:_PLANTS])]
    cases = _Cases.of([(*_likeliest(log_p[rows], int(y[rows[0]])), shows[rows], _likeness(same, name, len(rows))) for name, rows in groups])
    fold = np.arange(len(groups)) % 5  # ids are sorted, and say nothing of the species
    held = np.empty(len(groups))
    for k in range(5):
        held[fold == k] = cases.taken(fold == k).losses(*cases.taken(fold != k).learnt())
    a, gain = cases.learnt()
    seen = np.concatenate([shows[rows] for _, rows in groups]).mean(axis=0)
    a = a / float(a @ seen)
    return Views(
        weights={organ: round(float(value), 4) for organ, value, share in zip(ORGANS, a, seen, strict=True) if share > 0},
        gain=round(gain, 4),
        observations=len(groups),
        loss_before=float(cases.losses(np.ones(len(ORGANS)), 0.0).mean()),
        loss_after=float(held.mean()),
    )


def _likeliest(log_p: Floats, true: int) -> tuple[Floats, int]:
    """Answers (photo, some species) of the true species and those that are likeliest beside it, and the true one's new position."""
    if log_p.shape[1] <= _SPECIES:
        return log_p, true
    best = log_p.max(axis=0)
    best[true] = np.inf
    some = np.argpartition(-best, _SPECIES)[:_SPECIES]
    return np.asarray(log_softmax(log_p[:, some], axis=1)), int(np.flatnonzero(some == true)[0])


def _likeness(same: Mapping[str, Floats] | None, name: str, n: int) -> Floats:
    found = (same or {}).get(name)
    return np.eye(n) if found is None else np.asarray(found, float)[:n, :n]


@dataclass(frozen=True, eq=False)
class _Cases:
    """Plants to learn from, padded to the most photos that one has; arrays share the axis `plant`."""

    log_p: Floats
    """(plant, photo, species)"""
    shows: Floats
    """(plant, photo, 6); 0 where a plant has no such photo."""
    same: Floats
    true: npt.NDArray[np.intp]

    @classmethod
    def of(cls, cases: Sequence[tuple[Floats, int, Floats, Floats]]) -> _Cases:
        n, most, species = len(cases), max(len(case[0]) for case in cases), cases[0][0].shape[1]
        log_p, shows, same = np.zeros((n, most, species)), np.zeros((n, most, len(ORGANS))), np.zeros((n, most, most))
        for i, (own, _, showing, likeness) in enumerate(cases):
            v = len(own)
            log_p[i, :v], shows[i, :v], same[i, :v, :v] = own, showing, likeness
        return cls(log_p, shows, same, np.array([case[1] for case in cases]))

    def taken(self, rows: npt.NDArray[np.bool_]) -> _Cases:
        return _Cases(self.log_p[rows], self.shows[rows], self.same[rows], self.true[rows])

    def losses(self, a: Floats, gain: float) -> Floats:
        """-ln p (plant,) of the true species."""
        fused = _fused(self.log_p, self.shows @ a, self.same, gain)
        return -np.asarray(fused[np.arange(len(self.true)), self.true])

    def learnt(self) -> tuple[Floats, float]:
        """Weights (6,) and gain; organs that no photo shows keep a weight of 1."""
        seen = np.flatnonzero(self.shows.any(axis=(0, 1)))

        def weights(theta: Floats) -> Floats:
            a = np.ones(len(ORGANS))
            a[seen] = np.exp(theta[:-1])
            return a

        def objective(theta: Floats) -> float:
            fit = float(self.losses(weights(theta), theta[-1]).mean())
            return fit + float((theta[:-1] ** 2).sum()) * _TOGETHER / len(self.true)

        bounds = [tuple(np.log(_WEIGHTS))] * len(seen) + [(0.0, 1.0)]
        found = minimize(objective, np.array([0.0] * len(seen) + [0.5]), method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}).x
        return weights(found), float(found[-1])
