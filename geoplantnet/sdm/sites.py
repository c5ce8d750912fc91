"""What every model learns from and predicts at: sites, their predictors, and what was found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

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

    Labels and weights of presences may be given dense or in any sparse format, and arrays in any type that holds their values;
    they are kept as said below. Raises InputError where shapes disagree, labels are no 0 and 1, or a value is none of its kind.
    """

    species: SpeciesList
    patches: Patches
    labels: sparse.csr_array
    """(site, species) uint8, an entry of 1 where found, indices sorted; a background site has an empty row."""
    presence_absence: npt.NDArray[np.bool_]
    """(site,): True for a plot whose absences count."""
    group: Integers
    """(site,): which data set a site belongs to, 0, 1 ...; BACKGROUND for a site without records. Presence-only sites of one
    group are each other's target-group background; those of another, where other taxa were looked for, are not."""
    xy: npt.NDArray[np.float64]
    """(site, 2): easting and northing in metres of the grid, NaN = unknown; a model looks at them only if it says so."""
    plot_area: Float | None = None
    """(site,) > 0 m2, NaN = unknown; None = unknown everywhere."""
    weight: Float | None = None
    """(site,) >= 0: how much a site counts in losses, presences and absences alike (certainty, thinning); 0 = not at all, None = 1."""
    effort: Float | None = None
    """(site,) natural log of relative sampling effort, an offset to presence-only logits; NaN = unknown, which becomes 0; None = 0."""
    presence_weight: sparse.csr_array | None = None
    """(site, species) float32 > 0, an entry for every presence and no other: how much it counts beside the other presences of its
    species (abundance). Models see it by `presence_weight_among`: it says which sites of a species are its best, not how frequent
    it is. None = 1."""

    def __post_init__(self) -> None:
        n = len(self.patches)
        kept: dict[str, Any] = {
            "labels": _labels(self.labels, self.species, n),
            "presence_absence": _of_sites("presence_absence", self.presence_absence, (n,), "b"),
            "group": _of_sites("group", self.group, (n,), "iu").astype(np.int64, copy=False),
            "xy": _of_sites("xy", self.xy, (n, 2), "iuf").astype(np.float64, copy=False),
        }
        for name in ("plot_area", "weight", "effort"):
            value = getattr(self, name)
            kept[name] = None if value is None else _of_sites(name, value, (n,), "iuf").astype(np.float32, copy=False)
        if (kept["group"] < BACKGROUND).any():
            raise InputError(f"group holds {kept['group'].min()}; number data sets 0, 1 ... and give background {BACKGROUND}")
        if (area := kept["plot_area"]) is not None and not (np.isnan(area) | ((area > 0) & (area < np.inf))).all():
            raise InputError("plot_area holds what is no area above 0 m2; give NaN where it is unknown")
        if (weight := kept["weight"]) is not None and not (np.isfinite(weight) & (weight >= 0)).all():
            raise InputError("weight holds what is no finite number >= 0; leave a site out by weight 0")
        if (effort := kept["effort"]) is not None:
            if np.isinf(effort).any():
                raise InputError(
                    "effort holds the log of no or endless effort; give NaN where it is unknown, and leave a site out by weight 0"
                )
            kept["effort"] = np.where(np.isnan(effort), np.float32(0), effort)
        if self.presence_weight is not None:
            kept["presence_weight"] = _presence_weight(self.presence_weight, kept["labels"], self.species)
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.patches)

    def positions(self, rows: npt.ArrayLike) -> Integers:
        """Positions of some sites, (n,), in the order given; see `positions`."""
        return positions(rows, len(self))

    def found(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Labels of some sites, dense (n, species)."""
        return self.labels[self.positions(rows)].toarray()

    def plots(self, rows: npt.ArrayLike) -> Integers:
        """Those of `rows` that are presence-absence plots."""
        chosen = self.positions(rows)
        return chosen[self.presence_absence[chosen]]

    def records(self, rows: npt.ArrayLike) -> Integers:
        """Those of `rows` that are presence-only or background."""
        chosen = self.positions(rows)
        return chosen[~self.presence_absence[chosen]]

    def presence_weight_among(self, rows: npt.ArrayLike) -> sparse.csr_array | None:
        """`presence_weight` (site, species) scaled so that a species' presences average 1 on the plots among `rows`, and on their other sites.

        The mean counts sites by `weight` s: sum of s_i w_ik over the plots with species k is sum of s_i. So the constant of least
        weighted cross-entropy, sum s w / (sum s w + sum of s over absences), stays the species' prevalence.
        """
        if self.presence_weight is None:
            return None
        chosen, own, species = self.positions(rows), self.presence_weight, len(self.species)
        times = np.bincount(chosen, None if self.weight is None else self.weight[chosen], minlength=len(self))
        site = np.repeat(np.arange(len(self)), np.diff(own.indptr))
        part = own.indices + species * self.presence_absence[site]  # (entry,): its species, on plots or elsewhere
        presences = np.bincount(part, times[site], minlength=2 * species)
        weighted = np.bincount(part, times[site] * own.data, minlength=2 * species)
        factor = np.divide(presences, weighted, out=np.ones(2 * species), where=weighted > 0)
        scaled = np.maximum(own.data * factor[part], np.finfo(np.float32).tiny).astype(np.float32)  # none becomes an absence
        return sparse.csr_array((scaled, own.indices, own.indptr), shape=own.shape)

    def masked(self, names: Sequence[str]) -> Sites:
        """The same sites with some modalities missing everywhere: what a model knows without them."""
        return replace(self, patches=MaskedPatches(self.patches, names))


def positions(rows: npt.ArrayLike, sites: int) -> Integers:
    """Positions (n,) of some of so many sites: whole numbers as they are, of a mask (site,) those that are True.

    Raises UsageError for a mask of another length, for a position that is negative or beyond the last site, and for what is neither.
    """
    given = np.asarray(rows)
    if given.dtype == np.bool_:
        if given.shape != (sites,):
            raise UsageError(
                f"a mask of rows must be of all {sites} sites, got shape {given.shape}; give a True or False a site, or positions"
            )
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise UsageError(f"rows must be positions of sites (n,) or a mask of them, got {given.dtype} {given.shape}; give whole numbers")
    chosen = given.astype(np.int64, copy=False)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < sites:
        wrong = chosen.min() if chosen.min() < 0 else chosen.max()
        raise UsageError(f"row {wrong} is no site: there are {sites}; give positions from 0 to {sites - 1}")
    return chosen


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


def tabulate(patches: Patches, rows: npt.ArrayLike, *, batch: int = 512) -> Table:
    """Every modality at the cell of each site, and where its window is wider its mean over the window.

    Coarse modalities are interpolated bilinearly to the cell's centre. `rows` as in `positions`.
    """
    rows = positions(rows, len(patches))
    names, owner = columns_of(patches.modalities)
    values = np.empty((rows.size, len(names)), np.float32)
    for start in range(0, rows.size, batch):
        read = patches.read(rows[start : start + batch])
        values[start : start + batch] = np.concatenate([_at_cell(m, read[m.name]) for m in patches.modalities], axis=1)
    return Table(values=values, names=names, modality=owner)


def columns_of(modalities: Sequence[Modality]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a table's columns, and the modality of each."""
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


def _of_sites(name: str, values: Any, shape: tuple[int, ...], kinds: str) -> npt.NDArray[Any]:
    """An array of `shape` whose dtype is of one of numpy's `kinds`; whole 0 and 1 are a mask, too."""
    array = np.asarray(values)
    if array.shape != shape:
        raise InputError(f"{name} has the shape {array.shape}, wanted {shape}; give each of the {shape[0]} sites one row, in one order")
    if kinds == "b" and array.dtype.kind in "iu" and ((array == 0) | (array == 1)).all():
        return array.astype(np.bool_)
    if array.size and array.dtype.kind not in kinds:
        wanted = {"b": "True or False", "iu": "whole numbers", "iuf": "numbers"}[kinds]
        raise InputError(f"{name} holds {array.dtype}, wanted {wanted}; convert it first")
    return array


def _csr(name: str, values: Any, species: SpeciesList, sites: int) -> sparse.csr_array:
    """Anything (site, species) as CSR, without stored zeros or entries given twice, indices sorted; what was given is not changed."""
    given = values if sparse.issparse(values) else np.asarray(values)
    if given.shape != (sites, len(species)):
        raise InputError(
            f"{name} has the shape {given.shape}, wanted {(sites, len(species))}, (site, species); give every site one row, "
            "in the order of the predictors, and label with the list's species"
        )
    if given.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {given.dtype}, wanted numbers; convert it first")
    matrix = sparse.csr_array(given)
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def _labels(values: Any, species: SpeciesList, sites: int) -> sparse.csr_array:
    labels = _csr("labels", values, species, sites)
    if (wrong := np.flatnonzero(labels.data != 1)).size:
        site = int(np.searchsorted(labels.indptr, wrong[0], side="right")) - 1
        name = species[int(labels.indices[wrong[0]])].scientific_name
        raise InputError(
            f"labels hold {labels.data[wrong[0]]} for {name} at site {site}; a label is 1 (found) or 0: give `counts > 0`, and "
            "abundances as presence_weight (occurrences.abundance_weights)"
        )
    return labels.astype(np.uint8, copy=False)


def _presence_weight(values: Any, labels: sparse.csr_array, species: SpeciesList) -> sparse.csr_array:
    weight = _csr("presence_weight", values, species, labels.shape[0])
    same = np.array_equal(weight.indptr, labels.indptr) and np.array_equal(weight.indices, labels.indices)
    if not same or not (np.isfinite(weight.data) & (weight.data > 0)).all():
        raise InputError(
            "presence_weight must hold one finite number above 0 for every presence and none elsewhere; give 1 where nothing is known"
        )
    return weight.astype(np.float32, copy=False)
