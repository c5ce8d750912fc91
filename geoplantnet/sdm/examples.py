"""What one species is learnt from: presences against absences of plots, or against a background."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import logsumexp

from geoplantnet.errors import ConfigurationError, InputError, did_you_mean
from geoplantnet.sdm.sites import BACKGROUND, Integers, Sites

Array = npt.NDArray[np.float64]
Background = Literal["target-group", "uniform", "both"]
BACKGROUNDS = ("target-group", "uniform", "both")
BACKGROUND_WEIGHT = 100.0
"""Of a background site against 1 of a presence, where a logistic regression stands for a Poisson process: "infinitely
weighted" in the limit (Fithian & Hastie 2013); 100 is what maxnet takes (Phillips et al. 2017)."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Sites one species is learnt from; arrays share the axis `example`."""

    at: Integers
    """(n,) positions among the rows learnt from, ascending."""
    present: npt.NDArray[np.bool_]
    """(n,) True = presence; else absence, or background."""
    weight: Array
    """(n,) > 0."""
    offset: Array
    """(n,) log relative sampling effort; 0 where unknown."""
    background: bool
    """Whether `present` is False for background rather than for absences."""


class ExampleMaker:
    """Chooses the examples of every species of `sites` among `rows`.

    Rows with plots: the plots' presences and absences; presences of presence-only sites join them, each `records` times a
    plot's weight, and then all presences are scaled so that their share of the weight stays that of the plots (case-control
    weighting, King & Zeng 2001): records say where, plots how often. A species found in no plot counts as
    half a plot. With `absences=False` a plot without the species is background like any other, and nothing is scaled.

    Rows without plots: presences against `background`: "target-group" = the other sites of the groups that recorded the
    species (Phillips et al. 2009), "uniform" = the sites without a group, "both". Where a species has none of the asked kind
    the other kind stands in. More than `limit` are thinned at random. `mass`: the uniform background beside a target group
    weighs as much as so many of its sites, however many there are: a group of few sites leans on it, one of many on itself.

    An example weighs what its site does, a presence times its `Sites.presence_weight_among` the rows: among the presences of a
    species the weight moves to where it is abundant, and their sum stays.

    Sites of weight 0 are left out. Raises InputError where rows hold no presence at all, or no absence and no background.
    """

    def __init__(
        self,
        sites: Sites,
        rows: Integers,
        *,
        background: Background = "both",
        records: float = 1.0,
        absences: bool = True,
        limit: int | None = None,
        mass: float | None = None,
        seed: int = 0,
    ) -> None:
        if background not in BACKGROUNDS:
            raise ConfigurationError(
                f"background must be {', '.join(BACKGROUNDS)}, got {background!r}.{did_you_mean(background, BACKGROUNDS)}"
            )
        rows = sites.positions(rows)
        self._weight = np.ones(rows.size) if sites.weight is None else sites.weight[rows].astype(np.float64)
        self._offset = np.zeros(rows.size) if sites.effort is None else sites.effort[rows].astype(np.float64)
        presences = sites.presence_weight_among(rows)
        counts = self._weight > 0
        self._plot = sites.presence_absence[rows] & counts
        self._record = ~sites.presence_absence[rows] & counts
        self._group = sites.group[rows]
        self._found = sparse.csc_array((sites.labels if presences is None else presences)[rows], dtype=np.float64)
        self._kind, self._records, self._absences = background, records, absences and bool(self._plot.any())
        if mass is not None and not mass > 0:
            raise ConfigurationError(
                f"background_mass must be above 0 sites, got {mass}; for none of it ask for the background target-group"
            )
        self._limit, self._mass, self._seed, self._ids = limit, mass, seed, [t.taxon_id for t in sites.species]
        hit = np.zeros(rows.size, bool)
        hit[self._found.indices] = True
        if not (hit & counts).any():
            raise InputError(f"none of the {rows.size} sites to learn from has a presence; add records or plots")

    @property
    def of_plots(self) -> bool:
        """Whether absences of plots are learnt from, so that predictions are probabilities of presence."""
        return self._absences

    def of(self, species: int) -> Examples | None:
        """None where there is nothing to learn: no presence, or nothing to tell it from."""
        present, weight = np.zeros(self._weight.size, bool), self._weight.copy()
        span = slice(*self._found.indptr[species : species + 2])
        present[self._found.indices[span]] = True
        weight[self._found.indices[span]] *= self._found.data[span]
        examples = self._against_absences(present, weight) if self._absences else self._against_background(species, present, weight)
        return examples if examples.present.any() and not examples.present.all() else None

    def constant(self, species: int) -> float:
        """What is predicted everywhere for a species `of` has nothing for: (presences + 1/2) / (sites + 1), its share by
        Jeffreys' prior; 1/2 where it is the only thing recorded and there is no background.
        """
        examples = np.flatnonzero(self._plot if self._absences else self._plot | self._record)
        found = self._found[:, [species]].toarray().ravel()[examples] > 0
        return 0.5 if found.all() and not self._absences else float((found.sum() + 0.5) / (examples.size + 1))

    def rng(self, species: int) -> np.random.Generator:
        """Random numbers of one species, whatever its place in the list."""
        return np.random.default_rng([self._seed, zlib.crc32(self._ids[species].encode())])

    def _against_absences(self, present: npt.NDArray[np.bool_], weight: Array) -> Examples:
        joined = self._record & present if self._records > 0 else np.zeros_like(present)
        weight = np.where(joined, weight * self._records, weight)
        if joined.any():
            of_plots = weight[self._plot & present].sum() or 0.5 * weight[self._plot].mean()
            weight = np.where(present, weight * of_plots / weight[(self._plot | joined) & present].sum(), weight)
        at = np.flatnonzero(self._plot | joined)
        return Examples(at=at, present=present[at], weight=weight[at], offset=np.zeros(at.size), background=False)

    def _against_background(self, species: int, present: npt.NDArray[np.bool_], weight: Array) -> Examples:
        presence = present & (self._plot | self._record)
        uniform = self._record & (self._group == BACKGROUND) & ~present
        groups = np.unique(self._group[presence & self._record])
        group = self._record & np.isin(self._group, groups[groups != BACKGROUND]) & ~present
        plots = self._plot & ~present
        chosen = {"target-group": group | plots, "uniform": uniform, "both": group | uniform | plots}[self._kind]
        other = np.flatnonzero(chosen if chosen.any() else group | uniform | plots)
        if self._limit is not None and other.size > self._limit:
            other = np.sort(self.rng(species).choice(other, self._limit, replace=False))
        at = np.sort(np.concatenate([np.flatnonzero(presence), other]))
        weight = weight[at]
        if self._mass is not None and not uniform[other].all() and (beside := uniform[at]).any():
            weight = np.where(beside, weight * self._mass / weight[beside].sum(), weight)
        return Examples(at=at, present=present[at], weight=weight, offset=self._offset[at], background=True)


def cloglog_constant(background: Array) -> float:
    """The c that makes 1 - exp(-exp(log intensity + c)) MaxEnt's cloglog output (Phillips et al. 2017).

    `background` (n,) are log intensities at background sites; normalised there to r = exp(.) / sum exp(.), whose entropy is
    H = -sum r ln r, the output is 1 - exp(-exp(H) r).
    """
    total = float(logsumexp(background))
    log_share = background - total
    return -float((np.exp(log_share) * log_share).sum()) - total
