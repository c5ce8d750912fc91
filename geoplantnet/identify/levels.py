"""Genera and families of a list of species, and their probabilities: sums over their species, so that the levels of an answer always agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError, UnknownSpecies, did_you_mean
from geoplantnet.taxonomy.species_list import SpeciesList

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Rank = Literal["species", "genus", "family"]
RANKS: tuple[Rank, ...] = ("species", "genus", "family")


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """One coarser rank over the species of a list: every species is in one group."""

    rank: Rank
    names: tuple[str, ...]
    """Of the groups, in the order they first appear in the list; empty where unknown, such a group being of one genus (family) alone."""
    of: Ints
    """(species,): position of each one's group."""

    def sums(self, probabilities: npt.ArrayLike) -> Floats:
        """(..., species) -> (..., groups): each group's is the sum of its species'."""
        return np.add.reduceat(self._sorted(probabilities), self._starts, axis=-1)

    def log_sums(self, log_probabilities: npt.ArrayLike) -> Floats:
        """The same of logarithms, without leaving them: what is as unlikely as e^-1000 keeps its order."""
        return np.logaddexp.reduceat(self._sorted(log_probabilities), self._starts, axis=-1)

    def members(self, group: int) -> Ints:
        """Positions of a group's species, ascending."""
        return np.flatnonzero(self.of == group)

    def index_of(self, name: str) -> int:
        """Position of a group by its name. Raises UnknownSpecies with the nearest spellings."""
        if not name or name not in self.names:
            raise UnknownSpecies(f"{name!r} is no {self.rank} of these species.{did_you_mean(name, [n for n in self.names if n])}")
        return self.names.index(name)

    def _sorted(self, values: npt.ArrayLike) -> Floats:
        v = np.asarray(values, float)
        if v.shape[-1:] != self.of.shape:
            raise InputError(f"values {v.shape} over {len(self.of)} species; their last axis is the species axis")
        return v[..., np.argsort(self.of, kind="stable")]

    @property
    def _starts(self) -> Ints:
        return np.concatenate([[0], np.cumsum(np.bincount(self.of))[:-1]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """Genera and families of a list of species, families being unions of genera.

    A label of a photo may stand at any of the three ranks: its *code* is a species' position, or (species + position of a genus), or
    (species + genera + position of a family), so that a table holds one number a photo.
    """

    species: int
    """How many there are."""
    genus: Level
    family: Level
    family_of_genus: Ints
    """(genera,)"""

    @classmethod
    def of(cls, species: SpeciesList) -> Levels:
        """The levels of a list.

        A taxon that names no genus has the first word of its name, which is one in every name of a plant below the rank of genus; one that names no
        family has that of another of its genus, else an unnamed one of its genus alone. Raises InputError for a genus in two families.
        """
        genera = [taxon.genus or taxon.scientific_name.removeprefix("×").strip().split(" ")[0] for taxon in species]
        known: dict[str, str] = {}
        for genus, taxon in zip(genera, species, strict=True):
            if taxon.family and known.setdefault(genus, taxon.family) != taxon.family:
                raise InputError(
                    f"{species.checklist}: genus {genus} is in {known[genus]} and in {taxon.family} ({taxon.scientific_name}); mend one of them"
                )
        genus_names = list(dict.fromkeys(genera))
        keys = [(known.get(genus, ""), "" if genus in known else genus) for genus in genus_names]
        families = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        at = {genus: i for i, genus in enumerate(genus_names)}
        genus_of = np.array([at[genus] for genus in genera], np.intp)
        family_of_genus = np.array([families[key] for key in keys], np.intp)
        return cls(
            species=len(species),
            genus=Level(rank="genus", names=tuple(genus_names), of=genus_of),
            family=Level(rank="family", names=tuple(name for name, _ in families), of=family_of_genus[genus_of]),
            family_of_genus=family_of_genus,
        )

    @property
    def codes(self) -> int:
        """How many labels there are, at all three ranks."""
        return self.species + len(self.genus.names) + len(self.family.names)

    def code(self, rank: Rank, position: int) -> int:
        """The code of a label. Raises InputError for a rank or a position that is none."""
        sizes = {"species": self.species, "genus": len(self.genus.names), "family": len(self.family.names)}
        if rank not in sizes or not 0 <= position < sizes[rank]:
            raise InputError(f"label {position} of rank {rank!r}; there are {', '.join(f'{n} of rank {r}' for r, n in sizes.items())}")
        return position + sum(sizes[r] for r in RANKS[: RANKS.index(rank)])

    def targets(self, codes: npt.ArrayLike) -> tuple[Ints, Ints, Ints]:
        """Labels (n,) by code -> each one's species, genus and family, -1 where it says none: a genus tells its family, never its species.

        Raises InputError for a code that is none.
        """
        c = np.asarray(codes)
        if c.size and (not np.issubdtype(c.dtype, np.integer) or c.min() < 0 or c.max() >= self.codes):
            raise InputError(f"labels of type {c.dtype} from {c.min()} to {c.max()}; codes are whole numbers from 0 to {self.codes - 1}")
        genera = len(self.genus.names)
        genus = np.concatenate([self.genus.of, np.arange(genera), np.full(len(self.family.names), -1)])
        family = np.concatenate([self.family.of, self.family_of_genus, np.arange(len(self.family.names))])
        return np.where(c < self.species, c, -1).astype(np.intp), genus[c], family[c]
