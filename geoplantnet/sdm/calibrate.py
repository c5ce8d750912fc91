"""Calibration: probabilities that come true as often as they say, learnt from fold-out predictions at plots.

Every calibration here is affine on the logit,

    logit p'_k = slope * logit p_k + offset_k,      slope > 0,

so it folds into a species head without mapping anew, and keeps the order of places within a species: AUC does not change.

| calibration | learnt | source |
|---|---|---|
| `temperature` | slope | Guo et al. 2017, ICML, section 4.2: the slope is 1 / T |
| `platt` | slope and one offset for all species | Platt 1999, Advances in Large Margin Classifiers, section 2 |
| `platt_by_species` | and an offset a species, shrunk towards that of all | random intercepts; Breslow & Clayton 1993, JASA 88: 9-25 |

**Fold-out** means that a plot is predicted by a model that has not seen its spatial block: what a model says of plots it
learnt from is overconfident, and correcting for it makes maps worse. An ensemble is calibrated after its members are averaged, since
the average of calibrated members is not calibrated (Rahaman & Thiery 2021, NeurIPS, arXiv:2007.08792).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from geoplantnet.assemblages.latent import SpeciesHead
from geoplantnet.errors import InputError, ModelError
from geoplantnet.sdm.evaluate import expected_calibration_error

Double = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]

EDGE = 1e-6
"""Probabilities are taken as no nearer to 0 and 1 than this: the logit of 0 is not finite, and forests predict 0."""
LEAST_SLOPE = 0.01
"""A slope stays above it, so that a calibration never turns a species' map upside down."""
_BLOCK_VALUES = 2**16
"""(plot, species) values worked on at a time: the intermediate arrays then stay in a core's cache."""
_TOLERANCE = 1e-6
"""Change of any parameter, in logits, below which a fit ends."""
_MOST_STEPS = 200
_NO_VARIANCE = 1e-4
"""Variance of species' offsets below which there is none: a hundredth of a logit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """A map of probabilities, affine on the logit. Raises ModelError for parameters that are none."""

    slope: float
    """> 0; below 1 the model was overconfident."""
    offsets: Double
    """(species,), logits."""

    def __post_init__(self) -> None:
        if not (0 < self.slope < np.inf) or self.offsets.ndim != 1 or not np.isfinite(self.offsets).all():
            raise ModelError(f"a calibration needs a slope > 0 (got {self.slope}) and one finite offset a species")

    @classmethod
    def identity(cls, species: int) -> Calibration:
        """Leaves probabilities as they are."""
        return cls(slope=1.0, offsets=np.zeros(species))

    def apply(self, p: Probabilities) -> npt.NDArray[np.float32]:
        """(n, species) probabilities -> calibrated, float32; 0 and 1 count as `EDGE` and 1 - `EDGE`.

        Raises ModelError for another number of species.
        """
        if p.shape[-1] != self.offsets.size:
            raise ModelError(
                f"the calibration is for {self.offsets.size} species, the probabilities for {p.shape[-1]}; use the model's own"
            )
        return expit(self.slope * clipped_logit(p) + self.offsets).astype(np.float32)

    def fold_into(self, head: SpeciesHead) -> SpeciesHead:
        """The head that gives the calibrated probabilities of the same latent vectors. Raises ModelError for other species."""
        if len(head.species) != self.offsets.size:
            raise ModelError(f"the calibration is for {self.offsets.size} species, the head for {len(head.species)}; use the model's own")
        return SpeciesHead(
            species=head.species,
            weights=(head.weights * self.slope).astype(np.float32),
            bias=(head.bias * self.slope + self.offsets).astype(np.float32),
        )

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {"slope": self.slope, "offsets": self.offsets.tolist()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_dict`. Raises ModelError when `value` is none."""
        try:
            return cls(slope=float(value["slope"]), offsets=np.array(value["offsets"], np.float64))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"this is no calibration ({error}); calibrate again") from error


def clipped_logit(p: Probabilities) -> Double:
    """Logits of probabilities, finite also at 0 and 1 (see `EDGE`)."""
    return logit(np.clip(p, EDGE, 1 - EDGE, dtype=np.float64))


def temperature(p: Probabilities, labels: Labels) -> Calibration:
    """One slope for all species, by maximum likelihood. `p` and `labels` (plot, species). Raises InputError when empty or not finite."""
    return _fit(p, labels, intercept=False, by_species=False)


def platt(p: Probabilities, labels: Labels) -> Calibration:
    """One slope and one offset for all species. `p` and `labels` (plot, species). Raises InputError when empty or not finite.

    Maximum likelihood of Platt's smoothed targets, (N+ + 1) / (N+ + 2) for the N+ presences and 1 / (N- + 2) for the
    N- absences, which keep the fit finite also without any presence.
    """
    return _fit(p, labels, intercept=True, by_species=False)


def platt_by_species(p: Probabilities, labels: Labels) -> Calibration:
    """Platt's slope and offset, and species' own offsets shrunk towards it. `p` and `labels` (plot, species).

    logit P(y_ik = 1) = a logit p_ik + b + o_k with o_k ~ N(0, v), offset_k = b + o_k. Given v, (a, b, o) maximise the
    penalised likelihood, sum of log P(y_ik) - sum of o_k^2 / 2v, by Newton's method (Breslow & Clayton 1993, JASA 88:
    9-25). v comes from the data: the fixed point of MacKay's evidence (1992, Bayesian interpolation, Neural Computation
    4: 415-447)

        v = sum of o_k^2 / sum of v h_k / (1 + v h_k),    h_k = sum over plots of P (1 - P),

    whose denominator is the number of offsets the data determine. h_k is about the number of presences: a species with
    none or one keeps nearly all of b, one with many its own offset. Where species differ no more than chance allows, v falls to 0
    and this is `platt`. Raises InputError when empty or not finite.
    """
    return _fit(p, labels, intercept=True, by_species=True)


CALIBRATIONS: Mapping[str, Callable[[Probabilities, Labels], Calibration]] = {
    "temperature": temperature,
    "platt": platt,
    "platt_by_species": platt_by_species,
}
"""By name, in order of their parameters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Which calibration was kept, and what each scored on folds it was not learnt from."""

    name: str
    """A name of `CALIBRATIONS`, or identity."""
    calibration: Calibration
    """Learnt from all folds."""
    ece: Mapping[str, tuple[float, ...]]
    """Expected calibration error on every held-out fold, by name, identity first."""
    log_loss: Mapping[str, tuple[float, ...]]
    """Mean negative log-likelihood of a (plot, species) on every held-out fold."""
    plots: tuple[int, ...]
    """Plots of every fold."""

    def to_dict(self) -> dict[str, object]:
        """JSON-able: all but the calibration's own parameters."""
        scores = {"ece": {k: list(v) for k, v in self.ece.items()}, "log_loss": {k: list(v) for k, v in self.log_loss.items()}}
        return {"name": self.name, "plots": list(self.plots), **scores}


def choose(p: Probabilities, labels: Labels, folds: npt.NDArray[np.integer]) -> Choice:
    """The calibration to keep, judged on folds like the target; identity unless the error falls.

    `p` and `labels` (plot, species): fold-out predictions. `folds` (plot,): what stands to the others as the target stands
    to all of them (spatial blocks; surveys, when another survey is the target). Each calibration is learnt on the other
    folds and scored on the one held out. Kept are those whose expected calibration error, averaged over folds by plots,
    is below identity's; of these the one with the least log loss, which is a proper score where ECE is none (a model that
    says every species' prevalence has no ECE) and sees single species where pooled ECE lets them cancel. Raises
    InputError when there are fewer than two folds.
    """
    p, labels = _checked(p, labels)
    names, plots = np.unique(folds, return_counts=True)
    if folds.shape != p.shape[:1] or names.size < 2:
        raise InputError(f"{names.size} fold(s) of {folds.size} plots cannot judge a calibration of {len(p)}; give at least two folds")
    ece: dict[str, list[float]] = {name: [] for name in ("identity", *CALIBRATIONS)}
    loss: dict[str, list[float]] = {name: [] for name in ece}
    for fold in names:
        own = folds == fold
        for name in ece:
            learnt = _learn(name, p[~own], labels[~own])
            after = learnt.apply(p[own])
            ece[name].append(expected_calibration_error(after, labels[own].astype(np.uint8)))
            loss[name].append(_log_loss(after, labels[own]))
    mean_ece = {name: float(np.average(values, weights=plots)) for name, values in ece.items()}
    mean_loss = {name: float(np.average(values, weights=plots)) for name, values in loss.items()}
    better = [name for name in CALIBRATIONS if mean_ece[name] < mean_ece["identity"]]
    kept = min(better, key=lambda name: mean_loss[name], default="identity")
    return Choice(
        name=kept,
        calibration=_learn(kept, p, labels),
        ece={name: tuple(values) for name, values in ece.items()},
        log_loss={name: tuple(values) for name, values in loss.items()},
        plots=tuple(plots.tolist()),
    )


def _learn(name: str, p: Probabilities, labels: Labels) -> Calibration:
    return CALIBRATIONS[name](p, labels) if name in CALIBRATIONS else Calibration.identity(p.shape[1])


def _log_loss(p: Probabilities, labels: Labels) -> float:
    x = clipped_logit(p)
    return float(np.mean(np.logaddexp(0, x) - (labels > 0) * x))


def _checked(p: Probabilities, labels: Labels) -> tuple[Probabilities, Labels]:
    """Raises InputError unless p and labels are of the same (plot, species), at least one of each, finite and in [0, 1]."""
    if p.ndim != 2 or p.shape != labels.shape:
        raise InputError(f"probabilities {p.shape} and labels {labels.shape} are not of the same (plot, species)")
    if not p.size:
        raise InputError(
            f"nothing to calibrate on: {p.shape[0]} plots, {p.shape[1]} species; give fold-out predictions at presence-absence plots"
        )
    if not (p.min() >= 0 and p.max() <= 1):
        raise InputError("a prediction is not in [0, 1] or is missing; predict every plot by the fold that has not seen it")
    return p, labels


class _State(NamedTuple):
    slope: float
    shift: float
    """Offset of all species."""
    own: Double
    """(species,): what a species adds to it."""


class _Sums(NamedTuple):
    """Derivatives of the log-likelihood, summed over plots; (species,) each. r = target - P, w = P (1 - P), x = logit p."""

    loss: Double
    r: Double
    rx: Double
    w: Double
    wx: Double
    wxx: Double


def _fit(p: Probabilities, labels: Labels, *, intercept: bool, by_species: bool) -> Calibration:
    p, labels = _checked(p, labels)
    targets = _targets(labels)
    state, _ = _newton(p, labels, targets, _State(1.0, 0.0, np.zeros(p.shape[1])), 0.0, intercept)
    if by_species:
        variance = 1.0
        for _ in range(_MOST_STEPS):
            state, sums = _newton(p, labels, targets, state, variance, intercept)
            determined = float(np.sum(variance * sums.w / (1 + variance * sums.w)))
            before, variance = variance, float(np.sum(state.own**2)) / max(determined, 1e-12)
            if variance < _NO_VARIANCE:
                state, _ = _newton(p, labels, targets, state._replace(own=np.zeros_like(state.own)), 0.0, intercept)
                break
            if abs(variance - before) < 1e-3 * before:
                break
    return Calibration(slope=state.slope, offsets=state.shift + state.own)


def _targets(labels: Labels) -> tuple[float, float]:
    """Platt's targets of a presence and of an absence."""
    present = int(np.count_nonzero(labels))
    return (present + 1) / (present + 2), 1 / (labels.size - present + 2)


def _newton(
    p: Probabilities, labels: Labels, targets: tuple[float, float], state: _State, variance: float, intercept: bool
) -> tuple[_State, _Sums]:
    """The mode of the penalised likelihood. The Hessian is an arrow: a 2 x 2 corner, a diagonal, and two rows between."""
    sums = _sums(p, labels, targets, state)
    for _ in range(_MOST_STEPS):
        step = _step(state, sums, variance, intercept)
        if max(abs(step.slope), abs(step.shift), float(np.abs(step.own).max())) < _TOLERANCE:
            break
        here = _objective(state, sums, variance)
        for halving in range(30):
            share = 0.5**halving
            ahead = _State(
                max(state.slope + share * step.slope, LEAST_SLOPE), state.shift + share * step.shift, state.own + share * step.own
            )
            ahead_sums = _sums(p, labels, targets, ahead)
            if _objective(ahead, ahead_sums, variance) <= here * (1 + 1e-10):  # to rounding
                break
        state, sums = ahead, ahead_sums
    return state, sums


def _step(state: _State, sums: _Sums, variance: float, intercept: bool) -> _State:
    """Newton's step, with species' offsets eliminated (Schur complement)."""
    gradient = np.array([sums.rx.sum(), sums.r.sum()])
    corner = np.array([[sums.wxx.sum(), sums.wx.sum()], [sums.wx.sum(), sums.w.sum()]])
    arms = np.stack([sums.wx, sums.w])
    own_gradient, own_curvature = np.zeros_like(sums.r), np.ones_like(sums.r)
    if variance:
        own_gradient, own_curvature = sums.r - state.own / variance, sums.w + 1 / variance
        gradient = gradient - arms @ (own_gradient / own_curvature)
        corner = corner - (arms / own_curvature) @ arms.T
    held = state.slope <= LEAST_SLOPE and gradient[0] < 0
    free = [i for i in range(2) if not (i == 0 and held) and not (i == 1 and not intercept)]
    shared = np.zeros(2)
    # A touch of ridge: all logits equal leave slope and offset undetermined.
    damped = corner[np.ix_(free, free)] + 1e-9 * np.eye(len(free))
    shared[free] = np.linalg.solve(damped, gradient[free])
    own = (own_gradient - shared @ arms) / own_curvature if variance else np.zeros_like(sums.r)
    return _State(float(shared[0]), float(shared[1]), own)


def _objective(state: _State, sums: _Sums, variance: float) -> float:
    penalty = float(np.sum(state.own**2)) / (2 * variance) if variance else 0.0
    return float(sums.loss.sum()) + penalty


def _sums(p: Probabilities, labels: Labels, targets: tuple[float, float], state: _State) -> _Sums:
    out = np.zeros((6, p.shape[1]))
    offsets = state.shift + state.own
    height = max(1, _BLOCK_VALUES // p.shape[1])
    for rows in (slice(start, start + height) for start in range(0, len(p), height)):
        x = clipped_logit(p[rows])
        eta = state.slope * x + offsets
        target = np.where(labels[rows] > 0, *targets)
        chance = expit(eta)
        r, w = target - chance, chance * (1 - chance)
        wx = w * x
        for total, values in zip(out, (np.logaddexp(0, eta) - target * eta, r, r * x, w, wx, wx * x)):
            total += values.sum(axis=0)
    return _Sums(*out)
