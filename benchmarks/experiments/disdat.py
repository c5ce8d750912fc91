"""NCEAS / disdat (Elith et al. 2020, Biodiversity Informatics 15:69): learnt from presence-only, tested on presence-absence.

One region at a time. Species are those of the region; sites of a group that share a place are one site. The categorical covariates
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
    known: npt.NDArray[np.bool_]
    """(test, species): whether the species was looked for there."""
    distinct: int
    """Presence-only sites after records of one place were put together."""


def load(folder: Path, region: str) -> Region:
    """Read `<region>train_po|train_bg|test_env|test_pa.parquet`; of regions tested by group (AWT, NSW), every group's tables.

    A group's species are recorded and tested at its own sites: each is a data set of its own among the records, and at another
    group's test plots a species is unknown (`known`), not absent.
    """
    po, bg = pd.read_parquet(folder / f"{region}train_po.parquet"), pd.read_parquet(folder / f"{region}train_bg.parquet")
    names = tuple(sorted(set(po["spid"])))
    position = {name: i for i, name in enumerate(names)}
    plots, found, known = [], [], []
    for file in sorted(folder.glob(f"{region}test_env*.parquet")):
        env = pd.read_parquet(file)
        presence = pd.read_parquet(file.with_name(file.name.replace("test_env", "test_pa"))).set_index("siteid").loc[env["siteid"]]
        tested = [name for name in names if name in presence]
        plots.append(env)
        found.append(presence.reindex(columns=names).fillna(0).to_numpy().astype(np.uint8))
        known.append(np.tile(np.isin(names, tested), (len(env), 1)))
    frame_of_tests = pd.concat(plots, ignore_index=True)
    group = pd.factorize(po["group"], sort=True)[0] if "group" in po else np.zeros(len(po), int)
    place = pd.factorize(po["x"].round(3).astype(str) + " " + po["y"].round(3).astype(str) + " " + pd.Series(group).astype(str))[0]
    first = po.assign(of_group=group).groupby(place).first()
    columns = [c for c in frame_of_tests.columns if c not in _NO_COVARIATE]
    frame, columns = _with_dummies(pd.concat([first, bg, frame_of_tests], ignore_index=True), columns, CATEGORICAL.get(region, ()))
    pairs = pd.MultiIndex.from_arrays([place, po["spid"].map(position)]).unique()
    records = sparse.csr_array(
        (np.ones(len(pairs), np.uint8), (pairs.get_level_values(0), pairs.get_level_values(1))), shape=(len(first), len(names))
    )
    labels = sparse.vstack([records, sparse.csr_array((len(bg), len(names)), dtype=np.uint8), sparse.csr_array(np.concatenate(found))])
    m = len(first) + len(bg)
    sites = Sites(
        species=SpeciesList(checklist=f"disdat-{region}", taxa=tuple(Taxon(taxon_id=n, scientific_name=n) for n in names)),
        patches=TablePatches(frame, {"environment": tuple(columns)}),
        labels=sparse.csr_array(labels),
        presence_absence=np.arange(len(frame)) >= m,
        group=np.concatenate([first["of_group"], np.full(len(bg), BACKGROUND), np.zeros(len(frame) - m)]).astype(np.int64),
        xy=frame[["x", "y"]].to_numpy(np.float64),
    )
    return Region(sites=sites, train=np.arange(m), test=np.arange(m, len(frame)), known=np.concatenate(known), distinct=len(first))


def _with_dummies(frame: pd.DataFrame, columns: list[str], categorical: tuple[str, ...]) -> tuple[pd.DataFrame, list[str]]:
    present = [c for c in categorical if c in columns]
    dummies = (
        pd.get_dummies(frame[present].astype("Int64").astype(str), prefix=present, dtype=np.float32)
        if present
        else pd.DataFrame(index=frame.index)
    )
    kept = [c for c in columns if c not in present]
    return pd.concat([frame[[*kept, "x", "y"]], dummies], axis=1), [*kept, *dummies.columns]
