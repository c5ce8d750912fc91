"""Species in groups, each to have an expert of its own behind a master that tells the groups apart: by genus, by confusion, or at random.

p(species) = p(group) p(species | group). A flat softmax over tens of thousands of species is trained and asked as one; a partition trains each expert
on its own photos, adds species to one group alone, and asks the experts of the few groups a photo may belong to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from geoplantnet.errors import InputError
from geoplantnet.identify.levels import Level
from geoplantnet.taxonomy.backbone import slug
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """Every species in one group. Raises InputError for a group without species, or shares that do not sum to 1 in each group."""

    names: tuple[str, ...]
    """Of the groups."""
    of: Ints
    """(species,): position of each one's group."""
    shares: Floats
    """(species,): each one's share of its group's photos, above 0: what is said within a group whose expert is not asked."""

    def __post_init__(self) -> None:
        sizes = np.bincount(self.of, minlength=len(self.names))
        if len(sizes) != len(self.names) or not len(sizes) or (sizes == 0).any():
            raise InputError(
                f"a partition of {len(self.of)} species into {len(self.names)} groups, {int((sizes == 0).sum())} of them empty"
            )
        sums = np.bincount(self.of, self.shares, minlength=len(self.names))
        if self.shares.shape != self.of.shape or not (self.shares > 0).all() or np.abs(sums - 1).max() > 1e-6:
            raise InputError(f"shares within groups sum to {sums.min()} ... {sums.max()}; they are above 0 and sum to 1 in each")

    @property
    def members(self) -> list[Ints]:
        """Of each group: positions of its species, ascending."""
        order = np.argsort(self.of, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.of, minlength=len(self.names)))[:-1])

    def with_counts(self, counts: npt.ArrayLike) -> Partition:
        """With shares of the photos each species has, (n + 1) / (sum + size): one without photos is not impossible."""
        n = np.asarray(counts, float) + 1
        return replace(self, shares=n / np.bincount(self.of, n, minlength=len(self.names))[self.of])

    def groups_list(self, checklist: str) -> SpeciesList:
        """The groups as the list of a master's answers."""
        taxa = tuple(Taxon(taxon_id=f"group-{i:05d}-{slug(name)}".rstrip("-"), scientific_name=name) for i, name in enumerate(self.names))
        return SpeciesList(checklist=f"groups of {checklist}", taxa=taxa)

    def joined(self, master: npt.ArrayLike, within: npt.ArrayLike) -> Floats:
        """Log p (n, species) of log p(group) (n, groups) and, of each species, log p(species | group), NaN where its group's expert was not asked.

        A group not asked keeps its probability, spread over its species by `shares`: so answers sum to 1, the probability of every group is the
        master's whoever was asked, and no species is impossible.
        """
        inside = np.asarray(within, float)
        return np.asarray(master, float)[:, self.of] + np.where(np.isnan(inside), np.log(self.shares), inside)

    def factored(self, logits: npt.ArrayLike) -> tuple[Floats, Floats]:
        """A flat net's logits (n, species) as log p(group) (n, groups) and log p(species | group) (n, species). `joined` gives its softmax back."""
        log_p = log_softmax(np.asarray(logits, float), axis=1)
        groups = np.stack([logsumexp(log_p[:, m], axis=1) for m in self.members], axis=1)
        return groups, log_p - groups[:, self.of]


def asked(master: npt.ArrayLike, k: int | None) -> npt.NDArray[np.bool_]:
    """(n, groups): the k likeliest groups of each photo by log p or logits (n, groups), of equal ones the first; None = all. Raises InputError for k below 1."""
    m = np.asarray(master, float)
    if k is not None and k < 1:
        raise InputError(f"{k} experts a photo; at least one was expected")
    chosen = np.zeros(m.shape, bool)
    first = np.argsort(-m, axis=1, kind="stable")[:, : m.shape[1] if k is None else k]
    np.put_along_axis(chosen, first, True, axis=1)
    return chosen


def by_level(level: Level) -> Partition:
    """A group a genus, or a family."""
    return _partition(level.of, level.names)


def at_random(species: int, groups: int, *, seed: int = 0) -> Partition:
    """Groups of equal sizes, give or take one. Raises InputError for more groups than species."""
    _wanted(species, groups)
    return _partition(np.random.default_rng(seed).permutation(np.arange(species) % groups))


def by_confusion(confusion: npt.ArrayLike, groups: int, *, largest: int | None = None) -> Partition:
    """Groups of species that a net mistakes for each other, of `largest` species at most (None: twice the mean, else one group swallows all).

    `confusion` (species, species) is how probable each other species (column) was on photos of one (row), best of held-out photos: `mean_answers`. Average
    linkage: the two groups with the greatest mean confusion both ways become one, until so many are left; where none fit within `largest` any more, the
    two smallest do. Time grows with the cube of the species: for some thousands of them. Raises InputError for a matrix that is none, or too many groups.
    """
    c = np.array(confusion, float)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or not np.isfinite(c).all() or (c < 0).any():
        raise InputError(f"confusion of shape {c.shape}; give (species, species), finite and none negative")
    n = len(c)
    _wanted(n, groups)
    most = -(-2 * n // groups) if largest is None else largest
    between = c + c.T
    np.fill_diagonal(between, 0.0)
    size, of = np.ones(n), np.arange(n)
    alive = np.ones(n, bool)
    for _ in range(n - groups):
        mean = between / np.outer(size, size)
        allowed = np.triu(np.outer(alive, alive) & (np.add.outer(size, size) <= most), 1)
        if allowed.any():
            i, j = np.unravel_index(np.argmax(np.where(allowed, mean, -1.0)), mean.shape)
        else:
            i, j = sorted(np.argsort(np.where(alive, size, np.inf), kind="stable")[:2])
        between[i] += between[j]
        between[:, i] += between[:, j]
        size[i] += size[j]
        alive[j] = False
        of[of == j] = i
    return _partition(np.unique(of, return_inverse=True)[1])


def mean_answers(probabilities: npt.ArrayLike, truth: npt.ArrayLike) -> Floats:
    """(species, species): the mean answer to photos of each species, from held-out ones (n, species) and their truth (n,); 0 for one without photos."""
    p, y = np.asarray(probabilities, float), np.asarray(truth)
    total = np.zeros((p.shape[1], p.shape[1]))
    np.add.at(total, y, p)
    return total / np.maximum(np.bincount(y, minlength=len(total)), 1)[:, None]


def _partition(of: npt.ArrayLike, names: tuple[str, ...] | None = None) -> Partition:
    group = np.asarray(of, np.intp)
    sizes = np.bincount(group)
    labels = tuple(str(i) for i in range(len(sizes))) if names is None else names
    return Partition(names=labels, of=group, shares=1 / sizes[group])


def _wanted(species: int, groups: int) -> None:
    if not 1 <= groups <= species:
        raise InputError(f"{groups} groups of {species} species; give 1 to {species}")
