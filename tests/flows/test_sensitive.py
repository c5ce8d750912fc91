"""A run with a table of sensitive species: tiles are mapped coarsely, anew where the table changes what they hold, and everything says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
import rasterio

from geoplantnet.assemblages.latent import LatentTile
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog import open_catalog
from geoplantnet.errors import ConfigurationError, InputError, UsageError
from geoplantnet.serving.atlas import open_atlas
from pipelines import sensitive
from pipelines.context import Run
from pipelines.export_ebvcube import export_ebvcube
from pipelines.exports import export
from pipelines.publish import catalog_needs
from pipelines.sensitive import rules_by_tile, sensitive_traits
from pipelines.tables import stored_species

HEAD = "taxon,region,category,reason,review\n"
SIDE = 25
"""Cells along a square of 1.25 km: the least that divide the tile of 5 km and are as wide as 0.01 degrees."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "sensitive.csv"


@pytest.fixture(scope="module")
def taxa(opened: Run) -> list[str]:
    return [taxon.taxon_id for taxon in stored_species(opened)]


@pytest.fixture(scope="module")
def recipe(write_recipe, table: Path) -> Path:
    return write_recipe({"sensitive": str(table)})


@pytest.fixture(scope="module")
def guarded(
    reference, recipe: Path, table: Path, taxa: list[str], run_recipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, object]:
    """The reference's store, run again with one species generalised and one withheld, and what that run did. Look, do not touch."""
    table.write_text(f"{HEAD}{taxa[0]},,3,dug up,2020-01-01\n{taxa[1]},*,1,trampled,\nNot here,,1,typed wrongly,\n")
    store = tmp_path_factory.mktemp("guarded") / "store"
    shutil.copytree(reference.store, store)
    return store, run_recipe(recipe, store)


def test_the_table_maps_tiles_again_and_says_what_it_does_not_protect(guarded) -> None:
    """Everything from the maps on is made anew, nothing before; a name of no species and a review that is due are told."""
    _, ran = guarded
    assert ran.stages == ("map", "indicators", "publish", "catalog")
    assert len([task for task in ran.tasks if task[0] == "map"]) == 3
    assert "1 species generalised, 1 withheld" in ran.text
    assert "'Not here' (line 4) is none of the" in ran.text and "to be reviewed by 2020-01-01, which has passed" in ran.text


def test_only_what_the_table_changes_is_made_again(guarded, recipe: Path, table: Path, taxa: list[str], run_recipe, tmp_path: Path) -> None:
    """Unchanged: nothing; another reason: what tells it; another category: the maps."""
    store = tmp_path / "store"
    shutil.copytree(guarded[0], store)
    before = table.read_text()
    try:
        assert run_recipe(recipe, store).tasks == ()
        table.write_text(before.replace("dug up", "collected"))
        assert run_recipe(recipe, store).stages == ("publish", "catalog")
        table.write_text(before.replace(",3,", ",4,").replace("dug up", "collected"))
        assert run_recipe(recipe, store).stages[0] == "map"
    finally:
        table.write_text(before)


def test_all_products_are_of_the_coarse_data(guarded, reference, recipe: Path, taxa: list[str], tmp_path: Path) -> None:
    """Maps, sets, means, rasters of species and cubes: constant in squares for one, nothing of the other, and the third as before."""
    store, _ = guarded
    run = Run.open(recipe, store=store)
    for tile_id in run.tiles:
        tile = open_species_tile(run.predictions(tile_id), run.grid, assemblage=run.assemblage(tile_id))
        fine = open_species_tile(reference.store / "latent" / f"{tile_id}.zarr", run.grid)
        assert isinstance(tile, LatentTile) and tile.assemblage is not None
        mean = np.nanmean(fine.species_map(0).reshape(4, SIDE, 4, SIDE), axis=(1, 3))
        wanted = np.where(tile.valid, np.kron(mean, np.ones((SIDE, SIDE))), np.nan)
        np.testing.assert_allclose(tile.species_map(0), wanted, atol=2e-5)
        assert np.isnan(tile.species_map(1)).all() and np.isnan(tile.assemblage.means[1]).all()
        assert 1 not in tile.assemblage.sets.species
        np.testing.assert_array_equal(tile.species_map(2), fine.species_map(2))
        assert not tile.head.weights[:2].any()
        with rasterio.open(run.product(tile_id, "species.tif")) as raster:
            assert "Mean over squares of 1.25 km" in raster.tags()["dataGeneralizations"]
            np.testing.assert_allclose(np.where(raster.read(1) == 255, np.nan, raster.read(1) * 0.004), wanted, atol=0.0021)
            assert (raster.read(2) == 255).all()
    path, _ = export_ebvcube(run, tmp_path / "cube.nc", resolution=50)
    with h5netcdf.File(path) as cube:
        assert len(cube["entity"]) == len(taxa) - 1 and "Mean over squares" in str(dict(cube.attrs))
    with pytest.raises(UsageError, match="withheld"):
        export_ebvcube(run, tmp_path / "none.nc", species=[taxa[1]])
    made = export(run, str(tmp_path / "maps"), name="cog", options={"species": [taxa[0]]}, inside=lambda *_: None)
    with rasterio.open(next(file for file in made.files if file.suffix == ".tif")) as raster:
        assert "dug up" in raster.tags()["dataGeneralizations"]


def test_the_catalog_tells_it(guarded, taxa: list[str]) -> None:
    """Traits, lists and layers: the one with its squares, the other not at all."""
    atlas = open_atlas(guarded[0])
    assert atlas.generalised(taxa[0]) == 1250 and atlas.generalised(taxa[2]) is None
    assert [taxon.taxon_id for taxon in atlas.withheld] == [taxa[1]] and taxa[1] not in {taxon.taxon_id for taxon in atlas.taxa}
    layer = atlas.species_layer(taxa[0])
    assert layer.generalised == 1250 and "mean over squares of 1.25 km: the species is sensitive" in layer.direction
    sensitive = atlas.sensitivity(taxa[0])
    assert sensitive is not None and (sensitive.category, sensitive.reason) == ("3", "dug up")
    assert "dug up" in layer.description and "moyenne par carrés de 1,25 km" in layer.fr["direction"]
    atlas.close()


def test_traits_counted_from_exact_places_are_not_told_of_a_sensitive_species(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are; of the others everything is."""
    traits = {"iucn": "EN", "range_squares": 1.0, "specialisation": 0.4}
    monkeypatch.setattr(sensitive, "known_traits", lambda run: {"rare": traits, "common": traits})
    monkeypatch.setattr(sensitive, "sensitive_traits", lambda run: {"rare": {"generalised": 12_500}, "unlisted": {"withheld": True}})
    told = sensitive.traits_told(None)  # type: ignore[arg-type]
    assert told == {"rare": {"iucn": "EN", "generalised": 12_500}, "common": traits, "unlisted": {"withheld": True}}


def test_a_rule_of_a_region_holds_in_its_tiles_alone(write_recipe, table: Path, taxa: list[str], guarded) -> None:
    """A named grid's countries say where; one that the grid does not know is refused when the recipe is opened."""
    other = table.with_name("regions.csv")
    other.write_text(f"{HEAD}{taxa[0]},IT,2,dug up,\n{taxa[1]},Alpine,1,dug up,\n")
    recipe = write_recipe({"sensitive": str(other), "grid": {"tiles": "alps"}})
    run = Run.open(recipe, store=guarded[0])
    held = rules_by_tile(run)
    named = {tile: {rule.region for rule in rules} for tile, rules in held.items()}
    assert {"IT"} in named.values() or {"IT", "Alpine"} in named.values()
    assert {"Alpine"} in named.values() and len(named) <= len(run.tiles)
    told = sensitive_traits(run)[taxa[0]]
    assert told["generalised"] == 12_500 and "withheld" not in told and "in IT" in told["generalisation"]
    other.write_text(f"{HEAD}{taxa[0]},Alpin,2,dug up,\n")
    with pytest.raises(InputError, match=r"regions.csv:2: region 'Alpin' is not known.*Did you mean 'Alpine'"):
        Run.open(recipe, store=guarded[0])


def test_a_tile_mapped_under_other_rules_leaves_the_catalog(guarded, recipe: Path, table: Path, run_recipe, tmp_path: Path) -> None:
    """Publishing without mapping anew tells of no tile whose predictions are finer than the table says today."""
    store = tmp_path / "store"
    shutil.copytree(guarded[0], store)
    before = table.read_text()
    run = Run.open(recipe, store=store)
    try:
        assert len(catalog_needs(run, "catalog")) == 3
        table.write_text(before.replace(",3,", ",1,"))
        run_recipe(recipe, store, tiles=run.tiles[:1], names=["map", "indicators", "publish", "catalog"])
        assert catalog_needs(run, "catalog") == [("publish", run.tiles[0])]
        assert len(open_catalog(store).tiles) == 1
    finally:
        table.write_text(before)


def test_a_scenario_finer_than_todays_map_is_not_served(guarded, reference, tmp_path: Path) -> None:
    """The catalog of a scenario that was made without the table stops the server, which says how to mend it."""
    store = tmp_path / "store"
    shutil.copytree(guarded[0], store)
    shutil.copytree(reference.store, store / "scenarios" / "warmer")
    with pytest.raises(ConfigurationError, match="geoplantnet run RECIPE --scenario warmer"):
        open_atlas(store)
