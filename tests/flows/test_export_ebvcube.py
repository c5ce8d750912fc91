"""`geoplantnet export`: mapped species as EBVCube, read by libnetcdf, beside the latent tiles they come from."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from geoplantnet.assemblages import open_latent
from geoplantnet.catalog.ebvcube import read_ebvcube
from geoplantnet.errors import StorageError
from pipelines.context import Run
from pipelines.export_ebvcube import export_ebvcube
from pipelines.tables import stored_species


def test_all_species_at_1_km_are_means_of_their_cells(reference, opened, cli, tmp_path):
    """Every species of the list, one band each, where the tiles lie; values are means of blocks of 20 x 20 cells."""
    ended = cli("export", reference.recipe, "--store", reference.store, "--output", tmp_path / "all.nc", "--creator", "A. Nonym")
    assert ended.code == 0 and "all.nc" in ended.out and f"{len(opened.tiles)} tiles" in ended.out
    names, cube = read_ebvcube(tmp_path / "all.nc")
    axis = stored_species(opened)
    assert names == [t.scientific_name for t in axis]
    with rasterio.open(f'NETCDF:"{tmp_path / "all.nc"}":/metric_1/ebv_cube') as raster:
        assert "deep-SDM of " + ", ".join(m.name for m in opened.model_modalities) in raster.tags()["NC_GLOBAL#source"]
        assert raster.crs == opened.grid.crs and raster.count == len(axis) and raster.res == (1000, 1000)
        for tile_id in opened.tiles:
            latent = open_latent(opened.latent(tile_id), opened.grid)
            west, _, _, north = latent.tile.bounds
            row, column = raster.index(west + 500, north - 500)
            cells = latent.species_map(3)[:20, :20]
            expected = np.nanmean(cells) if np.isfinite(cells).any() else np.nan
            np.testing.assert_allclose(cube[3, 0, row, column], expected, atol=2e-5)


def test_one_species_at_the_cells_resolution_is_its_map(reference, opened, cli, tmp_path):
    """By name, 50 m: the very cells of the latent tiles."""
    name = stored_species(opened)[5].scientific_name
    ended = cli(
        "export", reference.recipe, "--store", reference.store, "--output", tmp_path / "one.nc", "--species", name, "--resolution", 50
    )
    assert ended.code == 0
    names, cube = read_ebvcube(tmp_path / "one.nc")
    assert names == [name]
    side = opened.grid.cells_per_side
    west = min(opened.tile(t).bounds[0] for t in opened.tiles)
    north = max(opened.tile(t).bounds[3] for t in opened.tiles)
    for tile_id in opened.tiles:
        left, _, _, top = opened.tile(tile_id).bounds
        y, x = round((north - top) / 50), round((left - west) / 50)
        np.testing.assert_array_equal(
            cube[0, 0, y : y + side, x : x + side], open_latent(opened.latent(tile_id), opened.grid).species_map(5)
        )


def test_what_cannot_be_exported_is_said(reference, cli, tmp_path):
    """A species that is not there, a resolution there is none of, a store without tiles: nothing is written."""
    out = tmp_path / "x.nc"
    for options, says in ((("--species", "Planta nulla"), "Planta nulla"), (("--resolution", 250), "may be 50 (the cells) or 1000")):
        ended = cli("export", reference.recipe, "--store", reference.store, "--output", out, *options)
        assert ended.code != 0 and says in ended.text
    run = Run.open(reference.recipe, store=reference.store)
    empty = Run.open(reference.recipe, store=tmp_path / "empty")
    (tmp_path / "empty").mkdir(exist_ok=True)
    with pytest.raises(StorageError):
        export_ebvcube(empty, out)
    assert run.tiles and not out.exists()
