"""Traits per species, in the order of a SpeciesList. Unknown is NaN, never zero.

| trait | 1 means | unknown where |
|---|---|---|
| tree | GlobalTreeSearch names it a tree | the species is not in the reference |
| woody | Ellenberg life form P, N or Z, or a tree | no life form known |
| invasive | on the Union list (Regulation (EU) 1143/2014) | the species is not in the reference |
| eu_directive | on the Habitats Directive's checklist (92/43/EEC, Article 17), itself or a subspecies | not in the reference |
| rare | see `rare` below | neither category nor directive status known |

DAISIE's "alien somewhere in Europe" makes no species invasive: it holds species native elsewhere in Europe.

`rare`: 1 when the IUCN category is VU, EN, CR, EW or EX, or the species is on the Habitats Directive's checklist; 0 when it is not on the
checklist and its category is LC or NT, or no categories were given; NaN when categories were given and this species' is missing or DD.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.taxonomy.backbone import Backbone, slug
from geoplantnet.taxonomy.species_list import SpeciesList

TRAITS = ("tree", "woody", "invasive", "eu_directive", "rare")
"""Columns holding 1.0, 0.0 or NaN."""
IUCN_CATEGORIES = ("EX", "EW", "CR", "EN", "VU", "NT", "LC", "DD", "NE")
"""Worst to best, then the two that say nothing."""
_THREATENED = {"EX", "EW", "CR", "EN", "VU"}
_REFERENCE = {"tree": "tree", "woody": "woody", "eu_ias_union_concern": "invasive", "eu_habitats_directive": "eu_directive"}
_OLD_CATEGORIES = {"LR/cd": "NT", "LR/nt": "NT", "LR/lc": "LC", "LR/CD": "NT", "LR/NT": "NT", "LR/LC": "LC", "CD": "NT"}


def load_traits(
    species_list: SpeciesList,
    reference_csv: str | os.PathLike[str],
    iucn_csv: str | os.PathLike[str] | None = None,
    *,
    backbone: Backbone | None = None,
) -> pd.DataFrame:
    """Traits indexed by taxon_id, in list order: `TRAITS` as float (1, 0, NaN) and `iucn` (category or NaN); sources in `attrs["sources"]`.

    `reference_csv` is species_reference.csv; `iucn_csv` (columns species, iucn) is a user's own file, never shipped. With a `backbone`, rows filed
    under a synonym count for the accepted species (the largest known value wins; of categories, the worst). Raises InputError when a file or
    column is missing, or a category is unknown.
    """
    reference = _read(reference_csv, ("species", *_REFERENCE)).rename(columns=_REFERENCE)
    values = reference[list(_REFERENCE.values())].apply(pd.to_numeric, errors="coerce").clip(upper=1).set_axis(reference["species"])
    traits = _by_taxon(values, backbone).max().reindex([t.taxon_id for t in species_list]).astype(float)
    traits.index.name = "taxon_id"
    sources = {
        "tree": "GlobalTreeSearch 1.7 (BGCI)",
        "woody": "Ellenberg life forms (GermanSL 1.5, CC BY 4.0) and GlobalTreeSearch 1.7",
        "invasive": "Union list, Regulation (EU) 1143/2014",
        "eu_directive": "Habitats Directive 92/43/EEC, Article 17 checklist (CC BY 4.0)",
        "rare": "Habitats Directive checklist",
    }
    iucn = pd.Series(np.nan, index=traits.index, dtype=object)
    if iucn_csv is not None:
        iucn = _categories(iucn_csv, backbone).reindex(traits.index)
        sources |= {"iucn": "IUCN Red List categories, user's file", "rare": "IUCN Red List categories and Habitats Directive checklist"}
    traits["rare"] = _rare(traits["eu_directive"], iucn, categories_given=iucn_csv is not None)
    traits = traits[list(TRAITS)].assign(iucn=iucn)
    traits.attrs["sources"] = sources
    validate_traits(traits, species_list)
    return traits


def validate_traits(traits: pd.DataFrame, species_list: SpeciesList) -> None:
    """Check a trait table: index equal to the list's ids in order, `TRAITS` of 1, 0 or NaN as float, `iucn` a known category or NaN.

    Raises InputError naming column, species and fix.
    """
    _need(traits, (*TRAITS, "iucn"), "trait table")
    ids = [t.taxon_id for t in species_list]
    if list(traits.index) != ids:
        raise InputError(
            f"trait table has {len(traits)} rows, not the {len(ids)} species of the list in order; build it with load_traits for this list"
        )
    for column in TRAITS:
        values = traits[column]
        wrong = ~(values.isin([0.0, 1.0]) | values.isna())
        if not pd.api.types.is_float_dtype(values) or wrong.any():
            which = f"{values[wrong].iloc[0]} for {wrong.idxmax()}" if wrong.any() else f"dtype {values.dtype}"
            raise InputError(f"trait {column} holds {which}; wanted float 1, 0 or NaN (unknown)")
    unknown = traits["iucn"].dropna()
    unknown = unknown[~unknown.isin(IUCN_CATEGORIES)]
    if len(unknown):
        raise InputError(f"trait iucn holds {unknown.iloc[0]!r} for {unknown.index[0]}; use one of {', '.join(IUCN_CATEGORIES)} or NaN")


def _rare(directive: pd.Series, iucn: pd.Series, *, categories_given: bool) -> pd.Series:
    listed, threatened = directive == 1, iucn.isin(_THREATENED)
    safe = iucn.isin({"LC", "NT"}) if categories_given else pd.Series(True, index=iucn.index)
    return pd.Series(np.select([listed | threatened, safe & (directive == 0)], [1.0, 0.0], np.nan), index=directive.index)


def _categories(path: str | os.PathLike[str], backbone: Backbone | None) -> pd.Series:
    table = _read(path, ("species", "iucn")).dropna(subset=["iucn"])
    category = table["iucn"].astype(str).str.strip().replace(_OLD_CATEGORIES)
    unknown = category[~category.isin(IUCN_CATEGORIES)]
    if len(unknown):
        raise InputError(f"{path} holds the category {unknown.iloc[0]!r}; use one of {', '.join(IUCN_CATEGORIES)}")
    rank = category.map({c: -float(i) for i, c in enumerate(IUCN_CATEGORIES)}).set_axis(table["species"])
    worst = _by_taxon(rank.to_frame("rank"), backbone)["rank"].max()
    return worst.map(lambda r: IUCN_CATEGORIES[int(-r)]).astype(object)


def _by_taxon(values: pd.DataFrame, backbone: Backbone | None) -> pd.api.typing.DataFrameGroupBy:  # type: ignore[type-arg]
    if backbone is None:
        return values.groupby([slug(str(name)) for name in values.index])
    resolved = backbone.resolve(values.index)
    known = (resolved["taxon_id"] != "").to_numpy()
    return values[known].groupby(resolved.loc[known, "taxon_id"].to_numpy())


def _read(path: str | os.PathLike[str], columns: tuple[str, ...]) -> pd.DataFrame:
    if not Path(path).is_file():
        raise InputError(f"{path} is not there; give a CSV with the columns {', '.join(columns)}")
    table = pd.read_csv(path, low_memory=False)
    _need(table, columns, str(path))
    return table


def _need(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise InputError(f"{what} has no column {missing[0]!r} (it has {', '.join(map(str, table.columns))}); add it")
