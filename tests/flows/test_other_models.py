"""Models that are no head on a latent vector, from the recipe to the catalog: a forest, and an ensemble of a network and a forest."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import rasterio

from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog.catalog import check, open_catalog
from geoplantnet.catalog.ebvcube import read_ebvcube
from geoplantnet.cubes import PatchReader
from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.models import load_estimator
from geoplantnet.sdm.sites import Sites
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.trained import Trained, kinds_of

TILE = "5kmE4100N2600"
NET = {"model": "deep-sdm", "architecture": {"width": 4, "latent": 8}, "plan": {"batch": 32, "threads": 1, "steps": [{"name": "plots", "epochs": 1, "pa": 1.0}]}}  # fmt: skip
FOREST = {"model": "random-forest", "trees": 8, "records": 0}
MIXED = {"model": "ensemble", "weights": [2, 1], "members": [NET, FOREST]}
QUICK = {"validation.baselines": ["prevalence"], "map.precision": "32"}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A model recipe as a file."""

    def write(model):
        file = tmp_path_factory.mktemp("models") / "model.yaml"
        file.write_text(json.dumps(model), encoding="utf-8")  # YAML, and without aliases
        return str(file)

    return write


@pytest.fixture(scope="module", params=["forest", "mixed"])
def other(request, reference, model_file, write_recipe, run_recipe, tmp_path_factory):
    """The whole run; the forest with every fold held out, so that it is calibrated. Look, do not touch."""
    store = tmp_path_factory.mktemp(request.param) / "store"
    shutil.copytree(reference.store, store)
    if request.param == "forest":
        changes = {"training": {"model": model_file(FOREST)}, "validation.held_out": "all"}
    else:
        changes = {"training": {"model": model_file(MIXED), "explain": False}}
    recipe = write_recipe({**QUICK, **changes})
    ran = run_recipe(recipe, store)
    return Run.open(recipe, store=store), recipe, ran


def test_a_cell_on_the_map_is_the_prediction_at_its_centre(other):
    """By the saved model alone: `load_estimator`, `predict` at sites on cells, the calibration; and the published raster says so, too."""
    run, _, _ = other
    tile, mapped = run.tile(TILE), open_species_tile(run.predictions(TILE), run.grid)
    model, trained = load_estimator(run.model), Trained.load(run.model)
    rows, columns = np.random.default_rng(0).integers(0, 100, (2, 60))
    west, _, _, north = tile.bounds
    xy = np.stack([west + (columns + 0.5) * 50, north - (rows + 0.5) * 50], axis=1)
    points = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1]})
    sites = Sites(
        species=mapped.species,
        patches=PatchReader(points, grid=run.grid, modalities=run.model_modalities, sources={}, cubes={TILE: run.cube(TILE)}),
        labels=np.zeros((60, len(mapped.species)), np.uint8),
        presence_absence=np.zeros(60, bool),
        group=np.full(60, -1),
        xy=xy,
    )
    expected = trained.calibration.apply(model.predict(sites, np.arange(60)))
    assert expected.std(axis=0).max() > 0.01 and trained.nets == ()
    np.testing.assert_allclose(mapped.at(rows, columns), expected, rtol=0, atol=2e-4)
    with rasterio.open(run.product(TILE, "species.tif")) as raster:
        np.testing.assert_allclose(raster.read()[:, rows, columns].T * raster.scales[0], expected, rtol=0, atol=0.0023)


def test_every_stage_makes_of_it_what_it_makes_of_a_network(other):
    """All products lie there and are as recorded; richness is the sum of p; no spread is claimed; the item names the store."""
    run, _, ran = other
    assert ran.stages == ("train", "map", "indicators", "publish", "catalog") and check(run.store) == []
    mapped = open_species_tile(run.predictions(TILE), run.grid, assemblage=run.assemblage(TILE))
    p = np.concatenate([block for _, block in mapped.blocks()])
    with rasterio.open(run.product(TILE, "richness.tif")) as raster:
        assert "richness_spread" not in raster.descriptions
        np.testing.assert_allclose(raster.read(1) * raster.scales[0], p.sum(axis=0), atol=0.51 * raster.scales[0])
    with rasterio.open(run.product(TILE, "applicability.tif")) as raster:
        np.testing.assert_array_equal(raster.read(2) == 1, mapped.inside)
    np.testing.assert_allclose(mapped.assemblage.means[:, 0, 0], p[:, :20, :20].mean(axis=(1, 2)), atol=2e-5)
    layers = open_catalog(run.store).layers
    assert "richness.spread" not in layers and "applicability" in layers
    assert not run.latent(TILE).exists() and "dense" in (run.store / "tiles" / TILE / f"{TILE}.json").read_text(encoding="utf-8")


def test_it_is_scored_and_calibrated_as_a_network_is(other):
    """Held-out predictions beside the baselines; kinds are told; a calibration where three folds were held out."""
    run, _, _ = other
    stats, held_out = Ledger(run.store).record("train", "model").stats, HeldOut.load(run.model / "held_out")
    assert set(stats["skill"]) >= {"model", "prevalence"} and stats["applicability"] > 0
    if kinds_of(run.model) == ("random-forest",):
        assert stats["calibration"] != "none" and len(held_out) == 150 and stats["members"] == 1
    else:
        assert kinds_of(run.model) == ("deep-sdm", "random-forest") and stats["members"] == 2
        assert Trained.load(run.model).model.shares == pytest.approx([2 / 3, 1 / 3]) and stats["calibration"] == "none"


def test_nothing_is_done_twice_and_verify_exports_and_reports_work(other, run_recipe, cli, tmp_path):
    """A second run does nothing; every product verifies; the file for others and the report name the model as it is."""
    run, recipe, _ = other
    assert run_recipe(recipe, run.store).tasks == ()
    assert cli("verify", recipe, "--store", run.store).code == 0
    assert cli("export", recipe, "--store", run.store, "--output", tmp_path / "all.nc", "--resolution", 50).code == 0
    names, cube = read_ebvcube(tmp_path / "all.nc")
    mapped = open_species_tile(run.predictions(TILE), run.grid)
    assert names[5] == mapped.species[5].scientific_name and np.isfinite(cube[5, 0]).any()
    with rasterio.open(f'NETCDF:"{tmp_path / "all.nc"}":/metric_1/ebv_cube') as raster:
        kinds = " and ".join(kinds_of(run.model)).replace("deep-sdm", "deep-SDM")
        assert f": {kinds} of sentinel2" in raster.tags()["NC_GLOBAL#source"]
    assert cli("report", recipe, "--store", run.store, "--output", tmp_path / "r", "--bootstrap", "2").code == 0
    card = (tmp_path / "r" / "model_card.md").read_text(encoding="utf-8")
    odmap = (tmp_path / "r" / "odmap.md").read_text(encoding="utf-8")
    assert "Random Forest on a table of predictors" in card and not (tmp_path / "r" / "mlm.json").exists()
    if len(kinds_of(run.model)) == 1:
        assert "network" not in card + odmap and "batch" not in card and "Members: one random-forest" in card
    else:
        assert "2 models weighed deep-sdm 67 %, random-forest 33 %" in card and "random-forest.trees 8" in card


def test_a_store_that_goes_back_to_networks_keeps_no_dense_tile(reference, other, run_recipe, products, tmp_path):
    """What the model before left is gone, and the tiles are those of a store that never knew it."""
    run, _, _ = other
    shutil.copytree(run.store, tmp_path / "store")
    run_recipe(reference.recipe, tmp_path / "store")
    assert products(tmp_path / "store") == reference.bytes_of


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        ({"model": "prevalence"}, {}, "has a prevalence, which looks at no predictor .*validation.baselines"),
        ({"model": "ensemble", "members": [FOREST, {"model": "location-only"}]}, {}, "has a location-only"),
        (MIXED, {"training.plot_area_offset": True}, "has a random-forest, which learns nothing from plot areas; drop the key"),
        ({"model": "maxent"}, {}, "only calibration on held-out plots .*validation.held_out: all"),
        ({"model": "maxent"}, {"validation.held_out": "all", "training.calibration": "none"}, "training.calibration: auto"),
    ],
)
def test_a_model_that_cannot_be_mapped_is_refused_before_anything_runs(write_recipe, model_file, model, changes, says):
    """With what to change in the recipe."""
    recipe = write_recipe({"training": {"model": model_file(model)}, **changes})
    with pytest.raises(ConfigurationError, match=says):
        Run.open(recipe)


def test_what_can_be_mapped_opens(write_recipe, model_file):
    """MaxEnt where it will be calibrated; networks of unlike latent vectors, and ensembles within an ensemble."""
    long = {**NET, "architecture": {"width": 4, "latent": 16}}
    nested = {"model": "ensemble", "members": [MIXED, {"model": "glm"}]}
    for model in ({"model": "maxent"}, {"model": "ensemble", "members": [NET, long]}, nested):
        assert Run.open(write_recipe({"training": {"model": model_file(model)}, "validation.held_out": "all"})).tiles
