"""NCEAS / disdat (Elith et al. 2020, Biodiversity Informatics 15:69): learnt from presence-only, tested on presence-absence.

One region at a time. Species are those of the region; sites that share a place are one site. The categorical covariates
that disdat's authors name are turned into 0/1 columns; coordinates are kept beside, not among the predictors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from geoplantnet.cubes import TablePatches
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.taxonomy import SpeciesList, Taxon

CATEGORICAL = {"AWT": (), "CAN": ("ontveg",), "NSW": ("vegsys",), "NZ": ("age", "toxicats"), "SA": (), "SWI": ("calc",)}
_NO_COVARIATE = ("siteid", "spid", "x", "y", "occ", "group")


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """One region's sites: records and background first, then the test plots."""

    sites: Sites
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    distinct: int
    """Presence-only sites after records of one place were put together."""


def load(folder: Path, region: str) -> Region:
    """Read `<region>train_po|train_bg|test_env|test_pa.parquet`. Regions whose test is split by group are put one below the other."""
    po, bg = pd.read_parquet(folder / f"{region}train_po.parquet"), pd.read_parquet(folder / f"{region}train_bg.parquet")
    env = pd.concat([pd.read_parquet(f) for f in sorted(folder.glob(f"{region}test_env*.parquet"))], ignore_index=True)
    found = pd.concat([pd.read_parquet(f) for f in sorted(folder.glob(f"{region}test_pa*.parquet"))], ignore_index=True)
    names = tuple(sorted(set(po["spid"])))
    species = SpeciesList(checklist=f"disdat-{region}", taxa=tuple(Taxon(taxon_id=n, scientific_name=n) for n in names))
    place = pd.factorize(po["x"].round(3).astype(str) + " " + po["y"].round(3).astype(str))[0]
    first = po.groupby(place).first()
    frame = pd.concat([first, bg, env], ignore_index=True)
    columns = [c for c in env.columns if c not in _NO_COVARIATE]
    frame, columns = _with_dummies(frame, columns, CATEGORICAL.get(region, ()))
    position = {name: i for i, name in enumerate(names)}
    known = pd.MultiIndex.from_arrays([place, po["spid"].map(position)]).unique()
    records = sparse.csr_array(
        (np.ones(len(known), np.uint8), (known.get_level_values(0), known.get_level_values(1))), shape=(len(first), len(names))
    )
    tested = found.reindex(columns=names).fillna(0).to_numpy().astype(np.uint8)
    labels = sparse.vstack([records, sparse.csr_array((len(bg), len(names)), dtype=np.uint8), sparse.csr_array(tested)], format="csr")
    n, m = len(first), len(first) + len(bg)
    absence = np.arange(len(frame)) >= m
    group = np.where((np.arange(len(frame)) >= n) & ~absence, BACKGROUND, 0)
    sites = Sites(
        species=species,
        patches=TablePatches(frame, {"environment": tuple(columns)}),
        labels=sparse.csr_array(labels),
        presence_absence=absence,
        group=group.astype(np.int64),
        xy=frame[["x", "y"]].to_numpy(np.float64),
    )
    return Region(sites=sites, train=np.arange(m), test=np.arange(m, len(frame)), distinct=n)


def _with_dummies(frame: pd.DataFrame, columns: list[str], categorical: tuple[str, ...]) -> tuple[pd.DataFrame, list[str]]:
    present = [c for c in categorical if c in columns]
    dummies = (
        pd.get_dummies(frame[present].astype("Int64").astype(str), prefix=present, dtype=np.float32)
        if present
        else pd.DataFrame(index=frame.index)
    )
    kept = [c for c in columns if c not in present]
    return pd.concat([frame[[*kept, "x", "y"]], dummies], axis=1), [*kept, *dummies.columns]
