"""What the catalog tells of the records of every species: counted from those the model learnt from, with the altitudes of the cubes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.catalog.product import Product
from geoplantnet.catalog.species_records import PARQUET, SPECIES_RECORDS, write_species_records
from geoplantnet.cubes import Modality, node_named, open_cube
from geoplantnet.occurrences import load, record_counts
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.sensitive import records_squares, withheld
from pipelines.tables import stored_names, stored_species


def counted_from(run: Run) -> object:
    """What the file depends on beside the tiles: the records as they are stored."""
    record = Ledger(run.store).record("occurrences", "all")
    return record and record.content


def write_records(run: Run, tiles: Iterable[str]) -> Product:
    """Commit what records show of every species that is told, with the relief of some tiles' cubes; the collection's asset."""
    found, species, silent = load(run.records), stored_species(run), withheld(run)
    told = [taxon for k, taxon in enumerate(species) if k not in silent]
    relief, names = _relief(run, found.events, tiles), stored_names(run)
    counts = record_counts(found, [taxon.taxon_id for taxon in told], relief=relief, sensitive=records_squares(run))
    path = write_species_records(
        run.store,
        told,
        counts,
        names[names["taxonID"].isin([taxon.taxon_id for taxon in told])],
        {"title": f"Records of every species: {run.recipe.title}", "licence": run.recipe.licence, "notice": run.recipe.notice},
    )
    return Product.of(path, key=SPECIES_RECORDS, media_type=PARQUET, title="What records show of every species")


def _relief(run: Run, events: pd.DataFrame, tiles: Iterable[str]) -> npt.NDArray[np.float64]:
    """Elevation of the pixel that holds each event, metres; NaN outside the tiles, and everywhere in a run without any."""
    metres = np.full(len(events), np.nan)
    modality = _elevation(run)
    if modality is None:
        return metres
    x, y = events["x"].to_numpy(), events["y"].to_numpy()
    holding = run.grid.tile_ids_at(x, y)
    holding[np.isfinite(events["elevation"].to_numpy(float))] = None  # measured on the spot
    for tile_id in tiles:
        here = np.flatnonzero(holding == tile_id)
        if here.size:
            metres[here] = _at(run, tile_id, modality, x[here], y[here])
    return metres


def _at(run: Run, tile_id: str, modality: Modality, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    band = node_named(open_cube(run.cube(tile_id)), modality.name)["data"].sel(band="elevation")
    values = np.asarray(band.values, float)
    left, top = float(band["x"][0]) - modality.resolution / 2, float(band["y"][0]) + modality.resolution / 2
    column, row = ((np.abs(place - edge) // modality.resolution).astype(int) for place, edge in ((x, left), (y, top)))
    return values[np.clip(row, 0, len(values) - 1), np.clip(column, 0, values.shape[1] - 1)]


def _elevation(run: Run) -> Modality | None:
    """The finest modality of the recipe that holds elevation in metres, once."""
    fits = [
        m for m in run.modalities if "elevation" in m.bands and not m.times and m.units[m.bands.index("elevation") % len(m.units)] == "m"
    ]
    return min(fits, key=lambda m: m.resolution, default=None)
