"""Several models as one: their mean, and how far they disagree.

**The mean is taken on the logit** (a logarithmic opinion pool: Genest & Zidek 1986, Statist. Sci. 1: 114-135). For networks
with a linear species head it is again one linear head, on the members' latent vectors laid side by side (`joined_head`), so an
ensemble maps into one latent tile like a single network; the mean of probabilities has no such head. It leans
towards the member that is surest: where members disagree, the p of rare species and so their sum come out lower than in the mean of
probabilities. So an ensemble is calibrated after averaging (see `calibrate`), which takes that back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from geoplantnet.assemblages.latent import SpeciesHead
from geoplantnet.errors import InputError, ModelError, UsageError
from geoplantnet.sdm.calibrate import clipped_logit
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.tabular import FACTS
from geoplantnet.storage import json_text, write_beside

Measure = Callable[[Float], npt.NDArray[np.floating]]
"""Probabilities (n, species) -> an indicator (n,), or (n, anything)."""


class Ensemble(Estimator):
    """Members of any kind, or seeds or folds of one kind. Members fitted elsewhere need no `fit`.

    `weights` say how much a member counts in means and deviations (default: all alike). Raises UsageError when there is
    no member or the weights are not one number > 0 a member.
    """

    name: ClassVar[str] = "ensemble"

    def __init__(self, members: Sequence[Estimator], *, weights: Sequence[float] | None = None) -> None:
        self.members, self.weights = tuple(members), None if weights is None else tuple(weights)
        _shares(len(self.members), self.weights)

    @property
    def unfitted_(self) -> tuple[str, ...]:  # type: ignore[override]
        """Ids of species that no member could learn, in the list's order."""
        return tuple(id_ for id_ in self.members[0].unfitted_ if all(id_ in member.unfitted_ for member in self.members[1:]))

    @property
    def shares(self) -> list[float]:
        """How much of the mean each member is; they sum to 1."""
        return _shares(len(self.members), self.weights)

    def fit(self, sites: Sites, rows: Integers) -> Self:
        """Every member on the same rows: members that differ in kind or in seed."""
        rows = sites.positions(rows)
        for member in self.members:
            member.fit(sites, rows)
        return self

    def cross_fit(self, sites: Sites, rows: Integers, folds: Integers) -> Float:
        """Each member on all folds but its own, and what it predicts there: fold-out predictions (n, species).

        `folds` (n,) of the rows, 0 to members - 1. The ensemble then is the final model, every row seen by all members
        but one; the predictions serve scores and calibration. They are single members', so they show the ensemble as less
        skilled than it is, and a calibration learnt from them leaves what averaging takes from the sum of p (forests of
        four folds, Swiss plots: 4 % of richness). Raises InputError when a fold is empty or none of a member's.
        """
        rows = sites.positions(rows)
        counts = np.bincount(folds, minlength=len(self.members)) if folds.size and folds.min() >= 0 else np.zeros(1, int)
        if folds.shape != rows.shape or counts.size != len(self.members) or not counts.all():
            raise InputError(f"folds must be 0 to {len(self.members) - 1}, one a row and each with rows, for {len(self.members)} members")
        held_out = np.empty((rows.size, len(sites.species)), np.float32)
        for fold, member in enumerate(self.members):
            member.fit(sites, rows[folds != fold])
            held_out[folds == fold] = member.predict(sites, rows[folds == fold])
        return held_out

    def predict(self, sites: Sites, rows: Integers) -> Float:
        """(n, species): inverse logit of the members' weighted mean logit; 0 and 1 count as `calibrate.EDGE` and 1 - EDGE."""
        return pooled(self._predictions(sites, rows))

    def spread(self, sites: Sites, rows: Integers, of: Measure = lambda p: p) -> Float:
        """Standard deviation between members of `of(p)`: by default of every probability, (n, species).

        `of=lambda p: p.sum(axis=1)` is the spread of richness, (n,). It is the members' own deviation (divided by their number,
        not by one less), 0 for one member. It shows what seeds, folds and methods disagree on, and not what all of them do not know.
        """
        mean: npt.NDArray[np.float64] | float = 0.0
        squares: npt.NDArray[np.float64] | float = 0.0
        seen = 0.0
        for share, p in self._predictions(sites, rows):  # West 1979: one pass, no cancellation
            seen += share
            gap = np.asarray(of(p), np.float64) - mean
            mean = mean + gap * (share / seen)
            squares = squares + share * (1 - share / seen) * gap**2
        return np.sqrt(squares).astype(np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """A folder with one folder a member, and JSON that says what each is."""
        names = [f"member-{i:02d}" for i in range(len(self.members))]
        facts = {
            "estimator": self.name,
            "members": [{"folder": n, "model": m.name} for n, m in zip(names, self.members)],
            "weights": None if self.weights is None else list(self.weights),
        }
        with write_beside(folder) as temporary:
            temporary.mkdir()
            for name, member in zip(names, self.members):
                member.save(temporary / name)
            (temporary / FACTS).write_text(json_text(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], models: Mapping[str, type[Estimator]] | None = None) -> Self:
        """The ensemble `save` wrote. `models`: the members' classes by `Estimator.name`, by default all of `sdm.models.MODELS`.

        Raises ModelError when the folder holds none, or a member of a kind not in `models`.
        """
        if models is None:
            from geoplantnet.sdm.models import MODELS  # here: the list of all models may name this one

            models = MODELS
        path = Path(folder)
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
            if facts["estimator"] != cls.name:
                raise ModelError(f"{path} holds a {facts['estimator']!r}, not an {cls.name!r}; load it as what it is")
            kinds, weights = [(str(row["folder"]), str(row["model"])) for row in facts["members"]], facts["weights"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"no readable ensemble at {path} ({error}); train it again") from error
        for _, kind in kinds:
            if kind not in models:
                raise ModelError(f"{path} holds a {kind!r} model; known are {', '.join(sorted(models))}")
        return cls([models[kind].load(path / name) for name, kind in kinds], weights=weights)

    def _predictions(self, sites: Sites, rows: Integers) -> Iterator[tuple[float, Float]]:
        """Every member's share and probabilities, one at a time. Raises ModelError when members disagree on the species."""
        shape, rows = None, sites.positions(rows)
        for share, member in zip(self.shares, self.members):
            p = member.predict(sites, rows)
            shape = shape or p.shape
            if p.shape != shape:
                raise ModelError(f"a {member.name} member predicts {p.shape}, the first {shape}; join models of one species list")
            yield share, p


def pooled(predictions: Iterable[tuple[float, Float]]) -> Float:
    """Members' shares and probabilities, all of one shape -> the inverse logit of their weighted mean logit, see `Ensemble.predict`."""
    total: npt.NDArray[np.float64] | float = 0.0
    for share, p in predictions:
        total = total + share * clipped_logit(p)
    return expit(total).astype(np.float32)


def flattened(model: Estimator) -> Ensemble:
    """A model as an ensemble of models that are none themselves: itself alone, or its members and their members, each with its share."""
    found = _leaves(model, 1.0)
    shares = [share for share, _ in found]
    alike = np.allclose(shares, shares[0], rtol=1e-9)
    return Ensemble([member for _, member in found], weights=None if alike else shares)


def _leaves(model: Estimator, share: float) -> list[tuple[float, Estimator]]:
    if not isinstance(model, Ensemble):
        return [(share, model)]
    return [leaf for own, member in zip(model.shares, model.members) for leaf in _leaves(member, share * own)]


def joined_head(heads: Sequence[SpeciesHead], *, weights: Sequence[float] | None = None) -> SpeciesHead:
    """One head on members' latent vectors laid side by side, (n, sum of d), that gives their weighted mean logit.

    sum of a_m (z_m . w_mk + b_mk) = [z_1 ... z_M] . [a_1 w_1k ... a_M w_Mk] + sum of a_m b_mk, with shares a_m that sum to 1.
    The latent tile grows with the members: d = M x 256. Raises UsageError as `Ensemble` does, ModelError when species lists differ.
    """
    shares = _shares(len(heads), weights)
    if any(head.species.hash != heads[0].species.hash for head in heads):
        raise ModelError("the heads are of different species lists; join models trained on one list")
    return SpeciesHead(
        species=heads[0].species,
        weights=np.concatenate([share * head.weights for share, head in zip(shares, heads)], axis=1).astype(np.float32),
        bias=np.sum([share * head.bias.astype(np.float64) for share, head in zip(shares, heads)], axis=0).astype(np.float32),
    )


def _shares(members: int, weights: Sequence[float] | None) -> list[float]:
    """Weights that sum to 1."""
    given = [1.0] * members if weights is None else [float(w) for w in weights]
    if not members or len(given) != members or not all(0 < w < float("inf") for w in given):
        raise UsageError(f"an ensemble needs members, and one weight > 0 each; got {members} members and weights {given}")
    return [w / sum(given) for w in given]
