"""What every model learns from and predicts at: sites, their predictors, and what was found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch
from geoplantnet.errors import InputError, UsageError, did_you_mean
from geoplantnet.taxonomy.species_list import SpeciesList

Float = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
BACKGROUND = -1
"""Group of uniform background sites, which stand beside the records of every group."""


class Patches(Protocol):
    """Predictors by position: `cubes.PatchReader` reads cubes and sources, `cubes.TablePatches` a table."""

    modalities: tuple[Modality, ...]

    def __len__(self) -> int: ...

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Sites:
    """Presence-absence plots, presence-only records' sites and background, in any order; arrays share the axis `site`.

    Raises InputError where lengths disagree.
    """

    species: SpeciesList
    patches: Patches
    labels: sparse.csr_array
    """(site, species) uint8, 1 = found; a background site has an empty row."""
    presence_absence: npt.NDArray[np.bool_]
    """(site,): True for a plot whose absences count."""
    group: Integers
    """(site,): which data set a site belongs to, 0, 1 ...; BACKGROUND for a site without records. Presence-only sites of one
    group are each other's target-group background; those of another, where other taxa were looked for, are not."""
    xy: npt.NDArray[np.float64]
    """(site, 2): easting and northing in metres of the grid; a model looks at them only if it says so."""
    plot_area: Float | None = None
    """(site,) m2, NaN = unknown; None = unknown everywhere."""
    weight: Float | None = None
    """(site,) >= 0: how much a site counts in losses (abundance, certainty, thinning); None = 1."""
    effort: Float | None = None
    """(site,) natural log of relative sampling effort, an offset to presence-only logits; None = 0."""

    def __post_init__(self) -> None:
        n = len(self.patches)
        for name in ("labels", "presence_absence", "group", "xy", "plot_area", "weight", "effort"):
            value = getattr(self, name)
            if value is not None and value.shape[0] != n:
                raise InputError(f"{name} describes {value.shape[0]} sites, the predictors {n}; give every site one row, in one order")
        if self.labels.shape[1] != len(self.species):
            raise InputError(f"labels hold {self.labels.shape[1]} species, the list {len(self.species)}; label with the same list")

    def __len__(self) -> int:
        return len(self.patches)

    def found(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Labels of some sites, dense (n, species)."""
        return self.labels[np.asarray(rows, np.int64)].toarray().astype(np.uint8)

    def plots(self, rows: Integers) -> Integers:
        """Those of `rows` that are presence-absence plots."""
        return rows[self.presence_absence[rows]]

    def records(self, rows: Integers) -> Integers:
        """Those of `rows` that are presence-only or background."""
        return rows[~self.presence_absence[rows]]

    def masked(self, names: Sequence[str]) -> Sites:
        """The same sites with some modalities missing everywhere: what a model knows without them."""
        return replace(self, patches=MaskedPatches(self.patches, names))


class MaskedPatches:
    """Patches of another reader, with some modalities all NaN. Raises UsageError for a name it does not have."""

    def __init__(self, patches: Patches, names: Sequence[str]) -> None:
        self.modalities, self._patches, self._hidden = patches.modalities, patches, frozenset(names)
        known = [m.name for m in patches.modalities]
        for name in names:
            if name not in known:
                raise UsageError(f"no modality {name!r} to hide; there are {', '.join(known)}.{did_you_mean(name, known)}")

    def __len__(self) -> int:
        return len(self._patches)

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]:
        """Patches at positions `index`, hidden modalities NaN."""
        read = self._patches.read(index)
        return {name: replace(p, values=np.full_like(p.values, np.nan)) if name in self._hidden else p for name, p in read.items()}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Predictors of sites as a table, for models that see one."""

    values: Float
    """(site, predictor), NaN = missing."""
    names: tuple[str, ...]
    """`modality.band`, `modality.band@date`, and `... mean` for the mean over the window."""
    modality: tuple[str, ...]
    """(predictor,): the modality each comes from."""


def tabulate(patches: Patches, rows: Integers, *, batch: int = 512) -> Table:
    """Every modality at the cell of each site, and where its window is wider its mean over the window.

    Coarse modalities are interpolated bilinearly to the cell's centre.
    """
    names, owner = _columns(patches.modalities)
    values = np.empty((rows.size, len(names)), np.float32)
    for start in range(0, rows.size, batch):
        read = patches.read(rows[start : start + batch])
        values[start : start + batch] = np.concatenate([_at_cell(m, read[m.name]) for m in patches.modalities], axis=1)
    return Table(values=values, names=names, modality=owner)


def _columns(modalities: Sequence[Modality]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names, owner = [], []
    for m in modalities:
        dates = [f"@{i}" for i in range(m.times)] or [""]
        own = [f"{m.name}.{band}{date}" for date in dates for band in m.bands]
        own += [f"{name} mean" for name in own] if m.window > 1 else []
        names += own
        owner += [m.name] * len(own)
    return tuple(names), tuple(owner)


def _at_cell(m: Modality, patch: Patch) -> Float:
    values = patch.values
    if patch.weight_y is not None and patch.weight_x is not None:
        return np.einsum("nyi,ncij,nxj->nc", patch.weight_y, values, patch.weight_x).astype(np.float32)
    centre = values[:, :, values.shape[2] // 2, values.shape[3] // 2]
    if m.window == 1:
        return centre
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, values, 0).sum(axis=(2, 3)) / known.sum(axis=(2, 3))
    return np.concatenate([centre, mean], axis=1).astype(np.float32)
