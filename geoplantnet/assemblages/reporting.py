"""Species of the reporting cells of a tile: an `Assemblage` -> two tables, the cells and a row for every species that covers some of one."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.assemblages.assemblage import Assemblage, require_list
from geoplantnet.assemblages.coverage import label_weights, reporting_cells, reporting_labels
from geoplantnet.taxonomy.species_list import SpeciesList


def reporting_tables(assemblage: Assemblage, species: SpeciesList, size: int) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """Cells (`cell_id`, `n_cells`, `valid_cells`, geometry in EPSG:3035) of `size` metres, and rows (`cell_id`, `taxonID`, `scientificName`,
    `coverage`, `mean_probability`), one a cell and species that is in the set of some map cell; both in the order of cells, then of species.

    Raises UsageError when the sets belong to another species list or `size` to no reference grid, CrsError when the tile is not in EPSG:3035.
    """
    require_list(assemblage, species.hash)
    geobox = assemblage.tile.geobox()
    cells = reporting_cells(geobox, size)
    labels = reporting_labels(geobox, cells)
    share, valid = assemblage.coverage(label_weights(labels, len(cells)))
    mean = _means(assemblage, labels, len(cells))
    cells = cells.assign(n_cells=np.bincount(labels[labels >= 0], minlength=len(cells)), valid_cells=valid.astype(int))
    zone, taxon = np.nonzero(np.nan_to_num(share) > 0)
    taxa = list(species)
    rows = pd.DataFrame(
        {
            "cell_id": cells["cell_id"].to_numpy()[zone],
            "taxonID": [taxa[k].taxon_id for k in taxon],
            "scientificName": [taxa[k].scientific_name for k in taxon],
            "coverage": share[zone, taxon],
            "mean_probability": mean[zone, taxon],
        }
    )
    return cells, rows


def _means(assemblage: Assemblage, labels: npt.NDArray[np.int32], cells: int) -> npt.NDArray[np.float64]:
    """Mean probability (reporting cell, species): of the 1 km blocks that make up a reporting cell, weighted by their valid cells."""
    step = labels.shape[0] // assemblage.means.shape[1]
    of_block, weight = labels[::step, ::step].ravel(), assemblage.block_cells().ravel().astype(float)
    belongs = label_weights(of_block[None], cells) * weight[None]
    means = np.nan_to_num(assemblage.means.reshape(assemblage.species, -1))
    with np.errstate(invalid="ignore"):
        return np.asarray((belongs @ means.T) / belongs.sum(axis=1)[:, None])
