"""Write a small store with the code of the day, to be read by the code of later days: `tests/assemblages/test_old_stores.py`.

    python tests/data/stores/make.py tests/data/stores/v1

Run it before a format changes, and commit what it makes; a folder that is there already is refused. Beside one asset of each kind it
writes `expected.json`: what the code that wrote them reads of them. The products here are of 10 x 10 cells and five invented species.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import zarr
from shapely import box

from geoplantnet.assemblages import LatentTile, SpeciesHead, open_latent, write_latent
from geoplantnet.assemblages.assemblage import Assemblage, open_assemblage, write_assemblage
from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.assemblages.dense import open_dense, write_dense
from geoplantnet.assemblages.stream import stream
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.grid import TileGrid
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=1_000, cell_size=100)
TILE = GRID.tile("1kmE4130N2580")
ROWS, COLUMNS = [0, 2, 5, 9], [0, 7, 5, 9]
"""Cells whose probabilities are recorded."""
SPECIES = SpeciesList(
    checklist="invented", taxa=tuple(Taxon(taxon_id=f"planta-{i}", scientific_name=f"Planta {w}") for i, w in enumerate("abcde"))
)


def latent() -> LatentTile:
    """Two members, gaps, dissimilarity."""
    random, side = np.random.default_rng(11), GRID.cells_per_side
    bias = random.normal(-1, 1, (2, len(SPECIES))).astype(np.float32)
    valid = random.random((side, side)) < 0.9
    valid[ROWS, COLUMNS] = [True, True, False, True]
    weights = random.normal(0, 0.7, (len(SPECIES), 6)).astype(np.float32)
    return LatentTile(
        tile=TILE,
        z=np.where(valid[..., None], random.integers(-127, 128, (side, side, 6)), 0).astype(np.int8),
        scale=np.full(6, 1 / 70, np.float32),
        valid=valid,
        availability=(random.integers(0, 256, (side, side)) / 255).astype(np.float32),
        head=SpeciesHead(species=SPECIES, weights=weights, bias=bias.mean(axis=0)),
        member_bias=bias,
        dissimilarity=np.where(valid, random.random((side, side)), np.nan).astype(np.float32),
        dissimilarity_threshold=0.6,
        attributes={"notice": "Predicted, not observed.", "plot_area_m2": 100},
    )


def write(folder: Path) -> None:
    """One asset of each kind."""
    folder.mkdir(parents=True)
    tile = latent()
    write_latent(tile, folder / "latent.zarr")
    found = stream(tile, {})
    sets = Assemblage(
        tile=TILE,
        species=len(SPECIES),
        list_hash=SPECIES.hash,
        threshold=found.threshold,
        sets=found.sets,
        means=found.means,
        attributes=tile.attributes,
    )
    write_assemblage(sets, folder / "assemblage.zarr")
    write_dense(tile.blocks, folder / "dense.zarr", tile=TILE, species=SPECIES, dtype="uint16", attributes=tile.attributes)
    # The first latent tiles held the species sets' threshold, of one member and without dissimilarity.
    first = LatentTile(tile=TILE, z=tile.z, scale=tile.scale, valid=tile.valid, availability=tile.availability, head=tile.head)
    write_latent(first, folder / "latent-with-threshold.zarr")
    zarr.open_group(folder / "latent-with-threshold.zarr", mode="a").create_array("threshold", data=np.full(tile.shape, 0.25, np.float32))
    with_gaps = gpd.GeoDataFrame(
        {"cell_id": ["one", "two"], "n_cells": [50, 50], "valid_cells": [48, 0]}, geometry=[box(0, 0, 9, 5), box(0, 5, 9, 9)], crs=GRID.crs
    )
    columns = ["cell_id", "taxonID", "scientificName", "coverage", "mean_probability"]
    rows = pd.DataFrame([["one", "planta-0", "Planta a", 0.5, 0.25], ["one", "planta-3", "Planta d", 1.0, 0.75]], columns=columns)
    package = write_coverage(folder / "coverage.gpkg", with_gaps, rows, {"notice": "Predicted, not observed."})
    (folder / "coverage.gpkg.gz").write_bytes(gzip.compress(package.read_bytes(), mtime=0))
    package.unlink()


def read(folder: Path) -> dict[str, Any]:
    """What today's code reads of a store, as plain values."""
    tile = open_latent(folder / "latent.zarr", GRID, assemblage=folder / "assemblage.zarr")
    first, dense = open_latent(folder / "latent-with-threshold.zarr", GRID), open_dense(folder / "dense.zarr", GRID)
    sets = open_assemblage(folder / "assemblage.zarr", GRID)
    zones = gpd.GeoSeries([box(*TILE.bounds), box(4_130_130, 2_580_210, 4_130_660, 2_580_770)], crs=GRID.crs)
    share, cells = sets.coverage(polygon_weights(zones, TILE.geobox()))
    return {
        "tile": tile.tile.id,
        "species": [t.scientific_name for t in tile.species],
        "notice": tile.attributes["notice"],
        "latent": _plain(tile.at(ROWS, COLUMNS)),
        "member": _plain(tile.member(1).at(ROWS, COLUMNS)),
        "inside": int(tile.inside.sum()) if tile.inside is not None else None,
        "dissimilarity": _plain(tile.dissimilarity[ROWS, COLUMNS]) if tile.dissimilarity is not None else None,
        "threshold": _plain(tile.threshold[ROWS, COLUMNS]),
        "means": _plain(tile.species_map(3, level=1)),
        "sets": [sets.sets.of(cell).tolist() for cell in (0, 27, 55, 99)],
        "coverage": _plain(share),
        "cells": _plain(cells),
        "first latent": _plain(first.at(ROWS, COLUMNS)),
        "first threshold": _plain(first.threshold[ROWS, COLUMNS]),
        "dense": _plain(dense.at(ROWS, COLUMNS)),
        "dense map": _plain(dense.species_map(4, (slice(2, 4), slice(6, 9)))),
    }


def _plain(values: np.ndarray) -> list[Any]:
    """NaN is None."""
    return np.where(np.isnan(values), None, values.astype(object)).tolist()


if __name__ == "__main__":
    to = Path(sys.argv[1])
    write(to)
    (to / "expected.json").write_text(json.dumps(read(to), indent=1) + "\n", encoding="utf-8")
