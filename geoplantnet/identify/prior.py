"""The place as evidence: p(species | photos) x p(species | place) -> p(species | photos, place).

Mac Aodha, Cole & Perona 2019, Presence-only geographical priors for fine-grained image classification (ICCV), section 3: photo and place are
independent given the species, and p(species | place) is in proportion to how likely the species is present there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from geoplantnet.errors import InputError

Floats = npt.NDArray[np.float64]
FLOORS = (0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 0.003, 0.001)
"""Those that `learn_place_weight` tries."""
WRONG = 0.1
"""Share of places that are not where the photo was taken, as far as `learn_place_weight` is concerned."""
FAINT = 0.01
"""Where all that the map knows is less likely than this, their shares say little: a lake, or a place out of their range."""
_FEWEST = 50
_HEAVIEST = 2.0


class PlacePrior(Protocol):
    """What a map knows of a place. Safe to call from several threads."""

    def at(self, longitude: float, latitude: float) -> npt.NDArray[np.float32] | None:
        """(species,), the net's: p(present there), NaN where the map does not know the species; None where nothing is mapped. Degrees, WGS 84."""

    def trust(self, longitude: float, latitude: float) -> float:
        """How far the map is to be believed there, 0 to 1: less outside of its model's area of applicability."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPrior:
    """The same everywhere: for tests, and for who knows where all photos were taken."""

    probabilities: npt.NDArray[np.float32] | None
    """(species,), as `PlacePrior.at`."""
    believed: float = 1.0

    def at(self, longitude: float, latitude: float) -> npt.NDArray[np.float32] | None:
        return self.probabilities

    def trust(self, longitude: float, latitude: float) -> float:
        return self.believed


@dataclass(frozen=True, kw_only=True)
class PlaceWeight:
    """How much a place may say. Raises InputError for a weight below 0 or a floor not in (0, 1]."""

    weight: float = 1.0
    """Exponent of the prior; 0 = the place says nothing."""
    floor: float = 0.05
    """Of what the likeliest species of a place has, the least share a species gets: none is ever impossible."""

    def __post_init__(self) -> None:
        if not (0 <= self.weight < np.inf and 0 < self.floor <= 1):
            raise InputError(
                f"a place of weight {self.weight} and floor {self.floor}; a weight from 0 on and a floor in (0, 1] were expected"
            )

    @property
    def most(self) -> float:
        """Factor by which a place changes the odds of two species at most, however wrong it is."""
        return float(self.floor**-self.weight)


def with_place(log_p: npt.ArrayLike, present: npt.ArrayLike, weight: PlaceWeight, *, trust: float = 1.0) -> Floats:
    """Answer ln p(species | photos, place) (..., species) from ln p(species | photos) and p(present | place), NaN = not known.

        p(k | photos, place)  ~  p(k | photos) * r_k ^ (weight * trust),    r_k = floor + (1 - floor) * present_k / max(present, FAINT)

    `present` itself, not its odds: somebody who photographs one plant of those that grow around takes a species in proportion to how likely it is
    there, and 0.99 for 0.9 makes it a tenth likelier, not ten times. A species unknown to the map has the geometric mean of the others' r. So a
    prior that is alike for all changes nothing, its scale means nothing as long as some species is there with more than `FAINT`, and the odds of two species change by at most
    ``floor ** -(weight * trust)``: what the photos say clearly stands against a wrong map. Raises InputError for probabilities below 0 and shapes
    that do not fit.
    """
    image, p = np.asarray(log_p, float), np.asarray(present, float)
    if image.shape != p.shape or (p < 0).any() or np.isinf(p).any():
        raise InputError(
            f"{image.shape} species in the photos' answer, {p.shape} at the place, from {np.nanmin(p, initial=0)}; give one p >= 0 each"
        )
    changed: Floats = image + weight.weight * trust * _log_share(p, weight.floor)
    return changed - logsumexp(changed, axis=-1, keepdims=True)


def _log_share(present: Floats, floor: float) -> Floats:
    """Logarithm of r (..., species) of `with_place`; alike for all where nothing is known of a place, or nothing grows there."""
    known = ~np.isnan(present)
    filled = np.where(known, present, 0.0)
    most = np.maximum(filled.max(axis=-1, keepdims=True, initial=0), FAINT)
    share = np.log(floor + (1 - floor) * filled / most)
    count = known.sum(axis=-1, keepdims=True)
    typical = np.where(known, share, 0.0).sum(axis=-1, keepdims=True) / np.maximum(count, 1)
    log_share: Floats = np.where(known, share, typical)
    return log_share


def listed(species: npt.ArrayLike, n: int) -> npt.NDArray[np.float32]:
    """(n,) as `PlacePrior.at`: 1 for the species (positions) of a checklist, 0 for others: what a flora knows of a place."""
    present = np.zeros(n, np.float32)
    present[np.asarray(species, int)] = 1
    return present


@dataclass(frozen=True, kw_only=True)
class LearntWeight:
    """What held-out photos with places say of a prior."""

    place: PlaceWeight
    photos: int
    """It was learnt from."""
    loss_before: float
    """Mean negative log-likelihood of the true species by the photos alone, nats."""
    loss_after: float
    """The same with the place, of photos it was not learnt from (5 folds)."""


def learn_place_weight(
    log_p: npt.ArrayLike, present: npt.ArrayLike, truth: npt.ArrayLike, *, groups: Sequence[str] | None = None, wrong: float = WRONG
) -> LearntWeight:
    """The weight and floor of least negative log-likelihood of ln p (n, species), p(present) (n, species) and true species (n,).

    `wrong` is the share of places that are taken to be those of other photos: held-out photos have their places, a user's may have been sent
    from home, or a map be worse elsewhere. Without it a place is trusted as far as the best are right.

    For each of `FLOORS` the likelihood is log-concave in the weight, so that its one optimum in [0, 2] is found. `groups` (n,): photos that
    belong together, such as of one observer or square, share a fold. Photos must be of places the map did not learn their own record from. Raises
    InputError for fewer than 50 photos or shapes that do not fit.
    """
    image, p, y = np.asarray(log_p, float), np.asarray(present, float), np.asarray(truth)
    if not 0 <= wrong < 1:
        raise InputError(f"a share of {wrong} of wrong places; from 0 to below 1 was expected")
    if image.ndim != 2 or image.shape != p.shape or y.shape != image.shape[:1] or len(y) < _FEWEST:
        raise InputError(
            f"{image.shape} answers, {p.shape} places, {y.shape} species; give one of each a photo, of {_FEWEST} photos or more"
        )
    shares = {floor: _log_share(p, floor) for floor in FLOORS}
    group = np.unique(np.arange(len(y)) if groups is None else np.asarray(groups), return_inverse=True)[1]
    rng = np.random.default_rng(0)
    fold, held = rng.integers(5, size=group.max() + 1)[group], np.empty(len(y))
    other = rng.permutation(len(y))
    for k in range(5):
        if (fold == k).any():
            place = _best(image, shares, y, fold != k, other, wrong)
            held[fold == k] = _losses(image, shares[place.floor], y, place.weight, fold == k)
    return LearntWeight(
        place=_best(image, shares, y, np.ones(len(y), bool), other, wrong),
        photos=len(y),
        loss_before=float(_losses(image, shares[FLOORS[0]], y, 0.0, np.ones(len(y), bool)).mean()),
        loss_after=float(held.mean()),
    )


def _losses(image: Floats, share: Floats, y: npt.NDArray[np.intp], weight: float, rows: npt.NDArray[np.bool_]) -> Floats:
    log_p = log_softmax(image[rows] + weight * share[rows], axis=1)
    return -np.asarray(log_p[np.arange(len(log_p)), y[rows]])


def _best(
    image: Floats,
    shares: dict[float, Floats],
    y: npt.NDArray[np.intp],
    rows: npt.NDArray[np.bool_],
    other: npt.NDArray[np.intp],
    wrong: float,
) -> PlaceWeight:
    found = []
    for floor, share in shares.items():

        def loss(weight: float, share: Floats = share) -> float:
            right, off = (float(_losses(image, at, y, weight, rows).mean()) for at in (share, share[other]))
            return (1 - wrong) * right + wrong * off

        at = minimize_scalar(loss, bounds=(0, _HEAVIEST), method="bounded")
        found.append((float(at.fun), floor, float(at.x)))
    _, floor, weight = min(found)
    return PlaceWeight(weight=round(weight, 4), floor=floor)
