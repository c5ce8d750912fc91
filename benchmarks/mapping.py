"""Mapping a tile densely against predicting every cell from its own patch, with the same network and the same answer."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.rows import Row, main
from geoplantnet.assemblages import quantise
from geoplantnet.cubes import Modality, PatchReader, build_cube, write_cube
from geoplantnet.grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sdm.model import Architecture, DeepSDM, Normalisation
from geoplantnet.sdm.predict import predict_tile
from geoplantnet.sdm.train import predict_sites
from geoplantnet.sources.virtual import VirtualClimate, VirtualLandscape, VirtualSentinel2, VirtualTerrain
from geoplantnet.taxonomy import SpeciesList, Taxon

MODALITIES = (
    Modality(name="sentinel2", bands=("B02", "B03", "B04", "B08"), resolution=10, window=25, halo=64, dtype="uint16", scale=1e-4, nodata=0),
    Modality(
        name="terrain", bands=("elevation", "slope", "northness", "eastness", "tpi", "twi", "heat_load"), resolution=50, window=25, halo=12
    ),
    Modality(
        name="climate",
        bands=("tas", "tasmin", "tasmax", "pr"),
        resolution=1000,
        halo=1,
        time=TimeAxis(step="month", first="2020-01", count=24),
    ),
)


def measure(quick: bool) -> list[Row]:
    """One tile of 5 km (quick) or 25 km, 100 species; patches at 256 or 2,048 random cells."""
    grid = TileGrid(tile_size=5_000 if quick else 25_000)
    count = 256 if quick else 2_048
    tile = grid.tile_at(4_130_000, 2_580_000)
    landscape = VirtualLandscape.fractal(tile.bounds, seed=1)
    sources = {"sentinel2": VirtualSentinel2(landscape), "terrain": VirtualTerrain(landscape), "climate": VirtualClimate(landscape)}
    species = SpeciesList(checklist="benchmark", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Species {i}") for i in range(100)))
    with tempfile.TemporaryDirectory() as folder:
        cube = Path(folder) / "cube.zarr"
        write_cube(build_cube(tile, MODALITIES, sources), cube, MODALITIES)
        rows, columns = np.random.default_rng(0).integers(0, grid.cells_per_side, (2, count))
        west, _, _, north = tile.bounds
        points = pd.DataFrame({"x": west + (columns + 0.5) * 50.0, "y": north - (rows + 0.5) * 50.0})
        reader = PatchReader(points, grid=grid, modalities=MODALITIES, sources=sources, cubes={tile.id: cube})
        torch.manual_seed(0)
        normalisation = {name: Normalisation.of(patch.values) for name, patch in reader.read(np.arange(64)).items()}
        model = DeepSDM(
            modalities=MODALITIES, grid=grid, species=species, normalisation=normalisation, architecture=Architecture(width=24)
        ).eval()
        with torch.no_grad():
            model.species_vector.normal_(0, 0.5)
        torch.set_num_threads(1)
        start = time.process_time()
        z, valid = predict_tile(model, tile, cube)
        dense = valid.size / (time.process_time() - start)
        start = time.process_time()
        from_patches = predict_sites(model, reader, np.arange(count), batch=64)
        patched = count / (time.process_time() - start)
    head = model.species_head()
    error = float(np.abs(head.probabilities(z[rows, columns]).T - from_patches).max())
    _, _, quantised = quantise(z, valid, head)
    return [
        Row(name="dense mapping against patches", value=dense / patched, unit="x", reference=f"the same network by patches: {patched:,.0f} cells/s/core; dense {dense:,.0f}", target=">= 150", ok=dense / patched >= 150),
        Row(name="largest |dp|, dense - patch", value=error, unit="1", reference=f"{count} random cells, fp32", target="<= 1e-4", ok=error <= 1e-4),
        Row(name="mean |dp| of int8 latent", value=quantised["mean_dp"], unit="1", reference="unquantised latent", target="<= 0.002", ok=quantised["mean_dp"] <= 0.002),
        Row(name="99.9th percentile of |dp| of int8 latent", value=quantised["p999_dp"], unit="1", reference="unquantised latent", target="<= 0.02", ok=quantised["p999_dp"] <= 0.02),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
