"""What an indicator is: an accumulator over species blocks, and the words a person reads it with.

Written against the array API standard, so that one definition runs on numpy and inside a streamed model head on torch.
Sums over species are kept in float64: ten thousand small terms then cost nothing of a float32 result.

**Unknown is not zero.** A species whose trait is not known is in no group of that trait, and every indicator of a trait
has a band ``<id>_unknown`` saying how much of the community that is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from array_api_compat import array_namespace, device

from geoplantnet.assemblages.blocks import Array, on_host
from geoplantnet.errors import InputError, UsageError

Family = Literal["Species", "Habitat", "Conservation", "Ecosystem", "Threat"]


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a band is best stored: stored = round(value / scale)."""

    dtype: str
    """Name of a numpy integer type."""
    scale: float
    nodata: int
    """Stored value that means no data; all below it are values."""

    @property
    def largest(self) -> float:
        """The largest value that fits."""
        return self.scale * (self.nodata - 1)


PROPORTION = Storage(dtype="uint8", scale=0.004, nodata=255)
"""For shares and probabilities: 0 to 1 in steps of .004."""
COUNT = Storage(dtype="uint16", scale=0.01, nodata=65_535)
"""For expected numbers of species: 0 to 655 in steps of .01."""


@dataclass(frozen=True, kw_only=True)
class IndicatorClass:
    """One class of a categorical indicator."""

    value: int
    """Stored value."""
    letters: str
    """Short code, such as ``VU``."""
    label: str
    color: str
    """``#rrggbb``."""


@dataclass(frozen=True, kw_only=True)
class IndicatorInfo:
    """All that a catalogue layer, a legend and a writer need to know of an indicator."""

    id: str
    """Name of the main variable, of the layer and in the registry."""
    title: str
    description: str
    """One or two plain sentences for a planner."""
    family: Family
    """Where it hangs in the layer tree."""
    unit: str
    """UDUNITS-like (``1`` for a proportion), or ``class``."""
    range: tuple[float, float] = (0.0, 1.0)
    """Values at the two ends of the palette."""
    palette: str = "viridis"
    """Name of a continuous palette; unused when there are classes."""
    direction: str
    """The legend in words, such as ``yellow = many species``."""
    classes: tuple[IndicatorClass, ...] = ()
    """Classes, best to worst; empty for a continuous indicator."""
    storage: Storage
    """For the main band and its standard deviation."""
    uncertainty: str | None = None
    """Name of the band with the standard deviation, in the same unit."""
    unknown: str | None = None
    """Name of the band with the share (0 to 1) of the community whose trait is not known."""
    traits: tuple[str, ...] = ()
    """Columns it reads of the traits table."""
    needs_community: bool = False
    """Whether it describes a community, and so says nothing where hardly a species is expected (see `compute`)."""
    uses_set: bool = False
    """Whether it reads `SpeciesBlock.member`."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Its variables, the main one first."""
        return (self.id, *(name for name in (self.uncertainty, self.unknown) if name))


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesBlock:
    """Some consecutive species over some cells. What several indicators need of it is computed once."""

    species: slice
    """Where the block lies on the species axis."""
    p: Array
    """(species, y, x) in [0, 1], NaN = no data."""
    member: Array | None = None
    """(species, y, x) bool, True in the species set; None when no indicator at hand asks for it."""
    traits: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row a species of the block. Flags (0, 1, NaN = unknown): tree, woody, invasive, eu_directive, rare; categories: iucn."""

    @cached_property
    def has_data(self) -> Array:
        """(y, x): whether any species has a probability."""
        return ~array_namespace(self.p).all(self._missing, axis=0)

    @cached_property
    def known(self) -> Array:
        """(species, y, x): p with 0 in the place of no data. A species without a probability adds nothing."""
        xp = array_namespace(self.p)
        return xp.where(self._missing, 0.0, self.p) if xp.any(self._missing) else self.p

    @cached_property
    def total(self) -> Array:
        """(y, x): sum of p, float64."""
        return total(self.known)

    @cached_property
    def variance(self) -> Array:
        """(y, x): sum of p (1 - p), float64: variance of the number of species when presences are independent."""
        return total(self.known * (1 - self.known))

    @cached_property
    def _missing(self) -> Array:
        return array_namespace(self.p).isnan(self.p)

    def of(self, rows: npt.NDArray[np.intp]) -> Array:
        """`known` of some species of the block."""
        xp = array_namespace(self.known)
        return xp.take(self.known, xp.asarray(rows, device=device(self.known)), axis=0)

    def total_of(self, rows: npt.NDArray[np.intp]) -> Array:
        """(y, x): sum of p over some species of the block, float64, reading whichever is fewer, they or the others."""
        if 2 * len(rows) <= self.p.shape[0]:
            return total(self.of(rows))
        others = np.setdiff1d(np.arange(self.p.shape[0]), rows, assume_unique=True)
        rest = total(self.of(others))
        return array_namespace(rest).clip(self.total - rest, min=0.0)


class Indicator(Protocol):
    """An accumulator: `start` once, `update` for every block of species, then `finish`. Cells do not mix."""

    @property
    def info(self) -> IndicatorInfo: ...

    def start(self, shape: tuple[int, int]) -> None:
        """Forget everything; cells (y, x) are expected from now on."""
        ...

    def update(self, block: SpeciesBlock) -> None:
        """Take in a block. Raises InputError when a trait column is missing or holds what it may not."""
        ...

    def finish(self) -> xr.Dataset:
        """The variables `info.bands` (y, x), float32, NaN = no data, with CF attributes and an encoding to store them in."""
        ...


def total(values: Array) -> Array:
    """Sum over species, (species, y, x) -> (y, x), in float64."""
    xp = array_namespace(values)
    return xp.sum(values, axis=0, dtype=xp.float64)


def flagged(traits: pd.DataFrame, column: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows where a flag is 1, where it is 0, and where it is not known. Raises InputError for a missing column or another value."""
    try:
        value = _column(traits, column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"trait {column!r} holds something that is neither 0, 1 nor empty ({error})") from error
    unknown = np.isnan(value)
    if not np.all(unknown | (value == 0) | (value == 1)):
        raise InputError(f"trait {column!r} holds {value[~unknown & (value != 0) & (value != 1)][0]:g}; it may be 0, 1 or empty (unknown)")
    return np.flatnonzero(value == 1), np.flatnonzero(value == 0), np.flatnonzero(unknown)


def categories(traits: pd.DataFrame, column: str, code_of: dict[str, int], unknown: int) -> npt.NDArray[np.uint8]:
    """Codes (species,) of a categorical trait. Raises InputError for a missing column or a category not in `code_of`."""
    values = _column(traits, column).to_numpy(dtype=object)
    try:
        return np.array([unknown if missing or v == "" else code_of[v] for v, missing in zip(values, pd.isna(values))], np.uint8)
    except KeyError as error:
        raise InputError(f"trait {column!r} holds {error.args[0]!r}; it may be {', '.join(code_of)} or empty (unknown)") from error


def members(block: SpeciesBlock, who: str) -> Array:
    """The block's species set. Raises UsageError when the block has none."""
    if block.member is None:
        raise UsageError(
            f"{who} reads the species set, but the block of species {block.species.start}:{block.species.stop} came without `member`"
        )
    return block.member


def ratio(part: Array, whole: Array) -> Array:
    """Part / whole, NaN where whole is 0: a share of nothing is not defined."""
    xp = array_namespace(whole)
    return xp.where(whole > 0, part / xp.where(whole > 0, whole, 1.0), xp.nan)


def dataset(
    info: IndicatorInfo, has_data: Array, main: Array, *, uncertainty: Array | None = None, unknown: Array | None = None
) -> xr.Dataset:
    """The bands of an indicator (y, x) as a Dataset: float32, NaN outside `has_data`, CF attributes, storage encoding."""
    inside = on_host(has_data)

    def band(values: Array, storage: Storage, **attributes: object) -> xr.DataArray:
        data = np.where(inside, on_host(values), np.nan).astype(np.float32)
        out = xr.DataArray(data, dims=("y", "x"), attrs=attributes)
        out.encoding = {"dtype": storage.dtype, "scale_factor": storage.scale, "_FillValue": storage.nodata}
        return out

    about: dict[str, object] = {"long_name": info.title, "comment": info.description, "units": "1" if info.classes else info.unit}
    if info.classes:
        about["flag_values"] = np.array([c.value for c in info.classes], info.storage.dtype)
        about["flag_meanings"] = " ".join(c.letters for c in info.classes)
    if len(info.bands) > 1:
        about["ancillary_variables"] = " ".join(info.bands[1:])
    bands = {info.id: band(main, info.storage, **about)}
    if info.uncertainty:
        bands[info.uncertainty] = band(uncertainty, info.storage, long_name=f"{info.title}: standard deviation", units=info.unit)
    if info.unknown:
        bands[info.unknown] = band(unknown, PROPORTION, long_name=f"{info.title}: share of the species whose trait is not known", units="1")
    return xr.Dataset(bands)


def _column(traits: pd.DataFrame, column: str) -> pd.Series:
    if column not in traits:
        raise InputError(
            f"the traits table has no column {column!r} (it has {', '.join(map(str, traits.columns)) or 'none'}); add it, empty where unknown"
        )
    return traits[column]
