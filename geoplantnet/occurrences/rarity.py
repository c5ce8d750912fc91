"""What the records themselves say of a species: how small its range is, and how special the places it grows in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from geoplantnet.errors import InputError
from geoplantnet.occurrences.darwin_core import OccurrenceSet

SQUARE = 10_000
"""Metres of the squares a range is counted in: those of the Habitats Directive's reports (EEA reference grid)."""
PLOTS = 10
"""Plots drawn at a time; Fridley et al. took 20, which many a rare species does not reach."""
DRAWS = 100


def range_squares(records: OccurrenceSet, taxa: Sequence[str]) -> pd.Series:
    """Squares of 10 km (EPSG:3035) with a presence of each taxon, by taxonID in the given order; NaN for one without any record.

    Of these records: where they cover part of a species' range, so does the number.
    """
    rows = records.occurrences.loc[records.occurrences["occurrenceStatus"] == "present", ["eventID", "taxonID"]]
    places = records.events.set_index("eventID").loc[rows["eventID"], ["x", "y"]].to_numpy(float)
    column, row = np.floor(places / SQUARE).astype(np.int64).T
    distinct = pd.DataFrame({"taxonID": rows["taxonID"].to_numpy(), "column": column, "row": row}).drop_duplicates()
    return distinct["taxonID"].value_counts().reindex(list(taxa)).astype(float).rename("range_squares")


def specialisation(presence: sparse.csr_array, *, seed: int = 0, plots: int = PLOTS, draws: int = DRAWS) -> npt.NDArray[np.float64]:
    """Plots (plot, species) with 1 where a species was found -> how special each species' places are, 0 the least, 1 the most, (species,).

    Among `plots` plots of a species drawn at random, `draws` times, Whittaker's beta diversity, number of species in all / mean number a plot:
    a species of like places has a low one. Scaled over the list and turned round; NaN for a species in fewer than `plots` plots, or where
    all are alike. Take plots of one survey: those of unlike area or care differ for that alone. Sources: Fridley, Vandermast, Kuppinger,
    Manthey & Peet 2007, J. Ecol. 95: 707-722; multiplicative beta: Zeleny 2009, J. Ecol. 97: 10-17. Raises InputError for `plots` below 2.
    """
    if plots < 2:
        raise InputError(f"places are compared among 2 plots or more, got plots={plots}")
    random = np.random.default_rng(seed)
    found = sparse.csr_array(presence).astype(bool)
    by_species = found.tocsc()
    theta = np.full(found.shape[1], np.nan)
    for k in range(found.shape[1]):
        own = by_species.indices[by_species.indptr[k] : by_species.indptr[k + 1]]
        if own.size < plots:
            continue
        chosen = np.argsort(random.random((draws, own.size)), axis=1)[:, :plots]
        lists = found[own[chosen].ravel()].toarray().reshape(draws, plots, -1)
        theta[k] = np.mean(lists.any(axis=1).sum(axis=1) / lists.sum(axis=2).mean(axis=1))
    if np.isnan(theta).all() or np.nanmin(theta) == np.nanmax(theta):
        return np.full_like(theta, np.nan)
    return (np.nanmax(theta) - theta) / (np.nanmax(theta) - np.nanmin(theta))
