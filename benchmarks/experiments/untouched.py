"""Two surveys on which nothing in configs/sdm was chosen: Swiss mires, and a flora atlas of Mediterranean France.

Both are presence-absence with complete lists, in five spatial blocks; predictors are those of `swiss`, by what rasters tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from benchmarks.experiments.swiss import BLOCK, modalities, predictors
from geoplantnet.cubes import TablePatches
from geoplantnet.occurrences import presence_matrix
from geoplantnet.occurrences.splits import spatial_blocks
from geoplantnet.occurrences.surveys import read_wet
from geoplantnet.sdm.sites import Sites
from geoplantnet.taxonomy import SpeciesList, Taxon
from geoplantnet.taxonomy.backbone import Backbone, species_list_from

LEAST, MOST = 20, 500
"""Plots a species must be found on; and so many species at most, drawn with seed 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Plots and the fold of each."""

    sites: Sites
    fold: npt.NDArray[np.int64]


def mires(data: Path) -> Survey:
    """1,496 patches of mires (Graf et al. 2010), species by accepted name, elevation of the patch as surveyed."""
    backbone = Backbone.read(data / "reference/species_reference.csv", data / "reference/synonyms_germansl.csv")
    found = read_wet(data / "swiss_plots_dave", backbone)
    events = found.events.reset_index(drop=True)
    species = species_list_from(sorted(set(found.occurrences["scientificName"])), backbone)
    return _survey(events, presence_matrix(found, species, list(events["eventID"])), species, data)


def atlas(data: Path) -> Survey:
    """715 cells of 10 km (Lenormand et al. 2019), species by number, rasters at the cell's centre."""
    cells = gpd.read_file(data / "medfrance_atlas_bioregion" / "vegesf.gpkg").to_crs("EPSG:3035")
    rows = pd.read_parquet(data / "medfrance_atlas_bioregion" / "vegedf.parquet")
    centre = cells.geometry.centroid
    events = pd.DataFrame({"eventID": cells.iloc[:, 0].astype(str), "x": centre.x, "y": centre.y})
    names = sorted(rows["Species"].astype(str).unique())
    pairs = pd.MultiIndex.from_arrays(
        [pd.Index(events["eventID"]).get_indexer(rows["Site"].astype(str)), pd.Index(names).get_indexer(rows["Species"].astype(str))]
    ).unique()
    labels = sparse.csr_array(
        (np.ones(len(pairs), np.uint8), (pairs.get_level_values(0), pairs.get_level_values(1))), shape=(len(events), len(names))
    )
    species = SpeciesList(checklist="medfrance-atlas", taxa=tuple(Taxon(taxon_id=n, scientific_name=n) for n in names))
    return _survey(events, labels, species, data)


def _survey(events: pd.DataFrame, labels: sparse.csr_array, species: SpeciesList, data: Path) -> Survey:
    enough = np.flatnonzero(np.asarray(labels.sum(axis=0)).ravel() >= LEAST)
    if enough.size > MOST:
        enough = np.sort(np.random.default_rng(0).choice(enough, MOST, replace=False))
    table = predictors(events, data)
    told = table[[c for c in table if table[c].std() > 0]]
    return Survey(
        sites=Sites(
            species=SpeciesList(checklist=species.checklist, taxa=tuple(species[int(i)] for i in enough)),
            patches=TablePatches(told, modalities(told)),
            labels=sparse.csr_array(sparse.csc_array(labels)[:, enough]).astype(np.uint8),
            presence_absence=np.ones(len(events), bool),
            group=np.zeros(len(events), np.int64),
            xy=events[["x", "y"]].to_numpy(np.float64),
        ),
        fold=np.asarray(spatial_blocks(events, BLOCK, 5, 0), np.int64),
    )
