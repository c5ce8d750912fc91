"""What an indicator is: the sums over species it asks for, what it makes of them, and the words a person reads it with.

Sums are taken by whoever holds the probabilities (`assemblages.sums`), all indicators' together and each one once, in float64: ten
thousand small terms then cost nothing of a float32 result. What is made of them is written against the array API standard, so
that one definition runs on numpy and on torch.

**Unknown is not zero.** A species whose trait is not known is in no group of that trait, and every indicator of a trait
has a band ``<id>_unknown`` saying how much of the community that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from array_api_compat import array_namespace

from geoplantnet.assemblages.blocks import Array, on_host
from geoplantnet.assemblages.sums import Sum
from geoplantnet.errors import InputError

Family = Literal["Species", "Habitat", "Conservation", "Ecosystem", "Threat"]
Float = npt.NDArray[np.float32]
Sums: TypeAlias = Mapping[str, Array]
"""Sums over species (y, x), float64, by the names an indicator gave them."""


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


CLASS = Storage(dtype="uint8", scale=1.0, nodata=255)
"""For classes."""


@dataclass(frozen=True, kw_only=True)
class IndicatorClass:
    """One class of a categorical indicator."""

    value: int
    """Stored value."""
    letters: str
    """Short code, such as ``VU``."""
    label: str
    label_fr: str
    color: str
    """``#rrggbb``."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What people read of an indicator, in another language than English."""

    title: str
    description: str
    direction: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """A band beside the main one that is neither its standard deviation nor the share of the unknown."""

    name: str
    title: str
    unit: str = "1"
    storage: Storage = PROPORTION


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
    fr: Words
    """The same in French."""
    classes: tuple[IndicatorClass, ...] = ()
    """Classes, best to worst; empty for a continuous indicator."""
    storage: Storage
    """For the main band and its standard deviation."""
    uncertainty: str | None = None
    """Name of the band with the standard deviation, in the same unit."""
    unknown: str | None = None
    """Name of the band with the share (0 to 1) of the community whose trait is not known."""
    further: tuple[Band, ...] = ()
    """Bands of its own, such as the probability of the class that is mapped."""
    traits: tuple[str, ...] = ()
    """Columns it reads of the traits table."""
    needs_community: bool = False
    """Whether it describes a community, and so says nothing where hardly a species is expected (see `compute`)."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Its variables, the main one first."""
        return (self.id, *(name for name in (self.uncertainty, self.unknown) if name), *(band.name for band in self.further))

    @property
    def valid_range(self) -> tuple[float, float]:
        """The lowest and highest value there may be, as far as the stored type reaches."""
        if self.classes:
            return min(c.value for c in self.classes), max(c.value for c in self.classes)
        return 0.0, 1.0 if self.storage is PROPORTION else self.storage.largest


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """Two functions and their words. Cells do not mix."""

    info: IndicatorInfo
    sums: Callable[[pd.DataFrame], Mapping[str, Sum]]
    """Traits, one row a species (flags 0, 1, NaN = unknown: tree, woody, invasive, eu_directive, rare; categories: iucn; numbers: range_squares, specialisation) -> the sums it
    needs, by names of its own. Raises InputError when a column is missing or holds what it may not."""
    bands: Callable[[Sums], tuple[Array, ...]]
    """Those sums -> its values (y, x), one array for each of `info.bands`; NaN where one is not defined."""


MASS: Mapping[str, Sum] = {"mass": Sum()}
"""Expected richness, by the name most indicators call it."""


def flagged(traits: pd.DataFrame, column: str) -> tuple[Float, Float, Float]:
    """Weights (species,) of those where a flag is 1, where it is 0, and where it is not known.

    Raises InputError for a missing column or another value.
    """
    try:
        value = _column(traits, column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"trait {column!r} holds something that is neither 0, 1 nor empty ({error})") from error
    unknown = np.isnan(value)
    if not np.all(unknown | (value == 0) | (value == 1)):
        raise InputError(f"trait {column!r} holds {value[~unknown & (value != 0) & (value != 1)][0]:g}; it may be 0, 1 or empty (unknown)")
    return (value == 1).astype(np.float32), (value == 0).astype(np.float32), unknown.astype(np.float32)


def categories(traits: pd.DataFrame, column: str, code_of: dict[str, int], unknown: int) -> npt.NDArray[np.uint8]:
    """Codes (species,) of a categorical trait. Raises InputError for a missing column or a category not in `code_of`."""
    values = _column(traits, column).to_numpy(dtype=object)
    try:
        return np.array([unknown if missing or v == "" else code_of[v] for v, missing in zip(values, pd.isna(values))], np.uint8)
    except KeyError as error:
        raise InputError(f"trait {column!r} holds {error.args[0]!r}; it may be {', '.join(code_of)} or empty (unknown)") from error


def numbers(traits: pd.DataFrame, column: str, *, highest: float = np.inf) -> npt.NDArray[np.float64]:
    """A trait (species,) that is a number from zero to `highest`; NaN where it is not known. Raises InputError for a missing column or another value."""
    try:
        value = _column(traits, column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"trait {column!r} holds something that is neither a number nor empty ({error})") from error
    if wrong := [v for v in value if not (np.isnan(v) or (0 <= v <= highest and np.isfinite(v)))]:
        allowed = "of 0 or more" if np.isinf(highest) else f"from 0 to {highest:g}"
        raise InputError(f"trait {column!r} holds {wrong[0]:g}; it may be a number {allowed}, or empty (unknown)")
    return value


def ratio(part: Array, whole: Array) -> Array:
    """Part / whole, NaN where whole is 0: a share of nothing is not defined."""
    xp = array_namespace(whole)
    return xp.where(whole > 0, part / xp.where(whole > 0, whole, 1.0), xp.nan)


def dataset(info: IndicatorInfo, has_data: Array, bands: tuple[Array, ...]) -> xr.Dataset:
    """The bands of an indicator (y, x) as a Dataset: float32, NaN outside `has_data`, CF attributes, storage encoding."""
    inside, values = on_host(has_data), dict(zip(info.bands, bands, strict=True))

    def band(name: str, storage: Storage, **attributes: object) -> xr.DataArray:
        data = np.where(inside, on_host(values[name]), np.nan).astype(np.float32)
        out = xr.DataArray(data, dims=("y", "x"), attrs=attributes)
        out.encoding = {"dtype": storage.dtype, "scale_factor": storage.scale, "_FillValue": storage.nodata}
        return out

    about: dict[str, object] = {
        "long_name": info.title,
        "comment": info.description,
        "long_name_fr": info.fr.title,
        "comment_fr": info.fr.description,
        "units": "1" if info.classes else info.unit,
        "valid_range": np.array(info.valid_range, np.float32),
    }
    if info.classes:
        about["flag_values"] = np.array([c.value for c in info.classes], info.storage.dtype)
        about["flag_meanings"] = " ".join(c.letters for c in info.classes)
    if len(info.bands) > 1:
        about["ancillary_variables"] = " ".join(info.bands[1:])
    found = {info.id: band(info.id, info.storage, **about)}
    if info.uncertainty:
        found[info.uncertainty] = band(info.uncertainty, info.storage, long_name=f"{info.title}: standard deviation", units=info.unit)
    if info.unknown:
        found[info.unknown] = band(
            info.unknown, PROPORTION, long_name=f"{info.title}: share of the species whose trait is not known", units="1"
        )
    for one in info.further:
        found[one.name] = band(one.name, one.storage, long_name=one.title, units="1" if one.unit == "class" else one.unit)
    return xr.Dataset(found)


def _column(traits: pd.DataFrame, column: str) -> pd.Series:
    if column not in traits:
        raise InputError(
            f"the traits table has no column {column!r} (it has {', '.join(map(str, traits.columns)) or 'none'}); add it, empty where unknown"
        )
    return traits[column]
