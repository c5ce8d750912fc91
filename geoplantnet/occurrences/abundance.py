"""Abundance: how much of a taxon was there. Darwin Core quantities in, numbers with a unit out, and weights for losses.

`organismQuantity` means nothing without `organismQuantityType`. Four types are known; whatever else is written is counted as refused, its record
is kept as a presence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from geoplantnet.errors import InputError, UsageError

COVER, BRAUN_BLANQUET, INDIVIDUALS, ORDINAL = "% cover", "Braun-Blanquet scale", "individuals", "ordinal scale"
UNITS: Mapping[str, str] = MappingProxyType({COVER: "percent", BRAUN_BLANQUET: "percent", INDIVIDUALS: "individuals", ORDINAL: ""})
"""Unit of `abundance` by organismQuantityType. Steps of an ordinal scale whose classes nobody wrote down have none: their abundance is NaN."""
BRAUN_BLANQUET_COVER: Mapping[str, float] = MappingProxyType(
    {"r": 0.1, "+": 0.5, "1": 3.0, "2m": 4.0, "2a": 8.75, "2": 15.0, "2b": 18.75, "3": 37.5, "4": 62.5, "5": 87.5}
)
"""Percent cover of a code: the middle of its class (+ below 1 %, 1 to 5, to 25, to 50, to 75, to 100; 2a to 12.5, 2b to 25). Classes: Braun-Blanquet
1964, Pflanzensoziologie, 3rd ed.; 2m, 2a, 2b: Reichelt & Wilmanns 1973, Vegetationsgeographie. Mid-points as Dengler & Dembicz 2023, Vegetation
Classification and Survey 4: 131-138, discuss. Two codes count plants and have no class: r, one small plant, is set to 0.1; 2m, many plants below
5 %, to 4, what Turboveg writes (Hennekens & Schaminee 2001, J. Veg. Sci. 12: 589-591)."""
_SPELLINGS = {
    COVER: ("cover", "%cover", "percentcover", "percentagecover", "coverpercentage", "coverpercent", "%coverage", "percentagecoverage"),
    BRAUN_BLANQUET: ("braunblanquetscale", "braunblanquet", "braunblanquetcoverabundancescale"),
    INDIVIDUALS: ("individuals", "individual", "individualcount"),
    ORDINAL: ("ordinalscale",),
}
_TYPE_OF = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
BETWEEN = " | "
"""What stands between the quantities of several layers, as in Darwin Core's lists."""


def read_quantities(quantities: pd.Series, types: pd.Series) -> pd.DataFrame:
    """Verbatim organismQuantity and organismQuantityType (text) -> columns organismQuantityType (our name or ""), abundance, reason.

    `abundance` is in the type's unit (`UNITS`), NaN where unknown; a zero is a zero in any type. `reason` says why a quantity is refused, empty
    where it is not. Types are recognised however they are spelt (case, spaces and hyphens do not matter).
    """
    pairs = pd.MultiIndex.from_arrays([quantities.astype(str), types.astype(str)])
    codes, distinct = pd.factorize(pairs)
    read = [_read(str(quantity).strip(), str(kind)) for quantity, kind in distinct]
    columns = ("organismQuantityType", "abundance", "reason")
    table = pd.DataFrame(read, columns=list(columns)).astype({"organismQuantityType": object, "abundance": float, "reason": object})
    return table.iloc[codes].set_index(quantities.index)


def combine_layers(layers: pd.DataFrame) -> pd.DataFrame:
    """Layers of one taxon at one event as one: rows with eventID, taxonID, organismQuantity, organismQuantityType, abundance -> a row a pair.

    Covers overlap independently, 1 - prod(1 - c) (Fischer 2015, Appl. Veg. Sci. 18: 336-337, after Tichy & Holt 2011); individuals add up. NaN
    where a layer has no abundance or units differ. The index is (eventID, taxonID).
    """
    known = layers.assign(unit=layers["organismQuantityType"].map(UNITS).fillna(""), gap=1 - layers["abundance"] / 100)
    grouped = known.groupby(["eventID", "taxonID"], sort=True)
    units = grouped["unit"].agg(["nunique", "first"])
    usable = (units["nunique"] == 1) & (grouped["abundance"].count() == grouped.size())
    cover = 100 * (1 - grouped["gap"].prod())
    abundance = cover.where(units["first"] == "percent", grouped["abundance"].sum()).where(usable)
    written = layers[layers["organismQuantity"] != ""].groupby(["eventID", "taxonID"])
    verbatim = written["organismQuantity"].agg(BETWEEN.join).reindex(abundance.index, fill_value="")
    kinds = grouped["organismQuantityType"].agg(["nunique", "first"])
    kind = kinds["first"].where(kinds["nunique"] == 1, np.where(usable & (units["first"] == "percent"), COVER, ""))
    return pd.DataFrame({"organismQuantity": verbatim, "organismQuantityType": kind, "abundance": abundance})


def abundance_weights(abundance: sparse.csr_array | sparse.csr_matrix, *, strength: float = 1.0, limit: float = 4.0) -> sparse.csr_array:
    """Weight of every presence in a presence-absence loss, (site, species) float32, where `abundance` has entries.

    With g = ln(1 + abundance) and m the mean of g over the presences of the species whose abundance is known,

        c = min(max(1 + strength (g / m - 1), 1 / limit), limit),    w = c / (mean of c over those presences),

    so that the known weights of every species average one: abundance moves weight among the presences of a species, none between species or
    between presences and absences. A presence of unknown abundance (NaN) weighs 1; an absence has no entry. Raises UsageError for a strength
    outside 0 to 1 or a limit below 1, InputError for an abundance of zero or less.
    """
    if not 0 <= strength <= 1 or limit < 1:
        raise UsageError(f"strength {strength} and limit {limit} make no weights; use a strength from 0 to 1 and a limit of 1 or more")
    matrix = sparse.csr_array(abundance, dtype=np.float64)
    if (matrix.data <= 0).any():
        raise InputError(f"a presence has an abundance of {np.nanmin(matrix.data):g}; give presences a positive abundance or NaN")
    log = np.log1p(matrix.data)
    known = np.isfinite(log)
    species, weight = matrix.indices[known], np.ones(matrix.nnz)
    counts = np.maximum(np.bincount(species, minlength=matrix.shape[1]), 1)

    def over_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return values / (np.bincount(species, values, minlength=matrix.shape[1]) / counts)[species]

    weight[known] = over_mean(np.clip(1 + strength * (over_mean(log[known]) - 1), 1 / limit, limit))
    return sparse.csr_array((weight.astype(np.float32), matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)


def _read(quantity: str, kind: str) -> tuple[str, float, str]:
    """(our type, abundance, reason) of one quantity."""
    if quantity == "":
        return "", np.nan, ""
    name = _TYPE_OF.get(re.sub(r"[^a-z%]", "", kind.lower()), "")
    number = _number(quantity)
    if number == 0:
        return name, 0.0, ""
    if name == "":
        return "", np.nan, "quantity of an unknown type" if kind.strip() else "quantity without a type"
    if name == BRAUN_BLANQUET:
        code = f"{number:g}" if np.isfinite(number) else quantity.lower()
        cover = BRAUN_BLANQUET_COVER.get(code, np.nan)
        return (name, cover, "") if np.isfinite(cover) else ("", np.nan, "unknown Braun-Blanquet code")
    wrong = {
        "quantity is no number": not np.isfinite(number),
        "negative quantity": number < 0,
        "cover above 100 percent": name == COVER and number > 100,
        "individuals not whole": name == INDIVIDUALS and number != np.floor(number),
    }
    reason = next((reason for reason, holds in wrong.items() if holds), "")
    return ("", np.nan, reason) if reason else (name, np.nan if name == ORDINAL else number, "")


def _number(quantity: str) -> float:
    try:
        return float(quantity.removesuffix("%"))
    except ValueError:
        return np.nan
