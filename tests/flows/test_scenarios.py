"""Scenarios: today's model under another climate, in a store of its own, with what changes against today."""

from __future__ import annotations

import shutil

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
import yaml

from geoplantnet.assemblages import open_latent
from geoplantnet.errors import ConfigurationError, InputError, UsageError
from geoplantnet.storage import files_of
from pipelines.context import Run
from pipelines.progress import Reporter
from pipelines.scenarios import SCENARIO_STAGES, run_scenario
from pipelines.stages import TaskFailed

TILE = "5kmE4100N2605"
WARMER = {
    "title": "three degrees warmer",
    "interval": ["2070-01-01T00:00:00Z", "2099-12-31T23:59:59Z"],
    "modalities": {"climate": {"change": {"add": {"tas": 3.0, "tasmin": 3.0, "tasmax": 3.0}}}},
}


@pytest.fixture(scope="module")
def base(reference, write_recipe, tmp_path_factory):
    """The tiny run, in a store of its own, by a recipe with a scenario."""
    store = tmp_path_factory.mktemp("scenario") / "store"
    shutil.copytree(reference.store, store)
    return Run.open(write_recipe({"scenarios": {"warmer": WARMER}}), store=store)


@pytest.fixture(scope="module")
def warmer(base):
    run = base.under("warmer")
    done = run_scenario(run, list(SCENARIO_STAGES), Reporter())
    assert [outcome.stage for outcome in done.outcomes if outcome.done] == list(SCENARIO_STAGES)
    return run


def test_the_base_is_taken_over_and_only_what_differs_is_built(base, warmer):
    """Model, records and other modalities are the very files of the base; the changed one has three degrees more."""
    for name in ("model", "occurrences", f"cubes/{TILE}.zarr/terrain", f"cubes/{TILE}.zarr/sentinel2"):
        for file in files_of(base.store / name):
            assert file.samefile(warmer.store / name / file.relative_to(base.store / name))
    before, after = (run.source("climate").read(run.tile(TILE).geobox()) for run in (base, warmer))
    gap = (after - before).mean(("time", "y", "x")).to_series()
    expected = [3.0 if band in ("tas", "tasmin", "tasmax") else 0.0 for band in gap.index]
    np.testing.assert_allclose(gap, expected, atol=1e-3)
    assert not list(warmer.store.rglob(".tmp-*"))


def test_products_carry_epoch_and_scenario(warmer):
    """Items have the scenario's interval and name, a raster of changes, and read as STAC; the notice says which scenario."""
    collection = pystac.Catalog.from_file(str(warmer.store / "catalog.json"))
    items = list(collection.get_items(recursive=True))
    assert len(items) == len(warmer.tiles)
    for item in items:
        assert item.properties["geoplantnet:scenario"] == "warmer" and "change" in item.assets
        assert item.properties["start_datetime"].startswith("2070") and item.properties["end_datetime"].startswith("2099")
        assert "three degrees warmer" in item.properties["geoplantnet:notice"]


def test_changes_are_those_of_the_two_maps(base, warmer):
    """Gain, loss and turnover of the raster against both maps' probabilities, cell by cell."""
    maps = [open_latent(run.latent(TILE), run.grid) for run in (base, warmer)]
    a, b = (np.concatenate([p for _, p in tile.blocks()]).reshape(-1, *tile.shape).astype(float) for tile in maps)
    with rasterio.open(warmer.product(TILE, "change.tif")) as file:
        assert file.descriptions[:3] == ("gain", "loss", "turnover") and file.tags()["scenario"] == "warmer"
        found = file.read(masked=True).astype(float) * np.array(file.scales)[:, None, None]
    np.testing.assert_allclose(found[0], np.maximum(b - a, 0).sum(axis=0), atol=0.0051)
    np.testing.assert_allclose(found[1], np.maximum(a - b, 0).sum(axis=0), atol=0.0051)
    both = (a + b).sum(axis=0)
    told = ~np.ma.getmaskarray(found[2])
    assert (told == (both >= 1)).mean() > 0.999
    np.testing.assert_allclose(found[2][told], (np.abs(a - b).sum(axis=0) / both)[told], atol=1e-3)
    inside = maps[0].inside & maps[1].inside
    np.testing.assert_array_equal(found[3].astype(bool), inside)


def test_changes_are_exported_as_they_were_published(base, warmer, write_recipe, cli, tmp_path):
    """A mosaic cut at a region's edge, a VRT and a GTI of gain, loss, turnover and applicable: each tile's own pixels, scales, units."""
    west, south, east, north = warmer.tile(TILE).bounds
    area = shapely.box(west + 1_000, south - 1_000, east, north)
    gpd.GeoSeries([area], crs=3035).to_file(tmp_path / "area.gpkg")
    recipe = write_recipe({"scenarios": {"warmer": WARMER}})
    asked = ("export", recipe, "--store", base.store, "--scenario", "warmer", "--indicator", "change")
    cut = ("--format", "cog", "--output", tmp_path, "--region", tmp_path / "area.gpkg")
    for options in (cut, ("--output", tmp_path / "c.vrt"), ("--output", tmp_path / "c.gti.gpkg")):
        ended = cli(*asked, *options)
        assert ended.code == 0, ended.text
    (mosaic,) = tmp_path.glob("change_*.tif")
    for path in (mosaic, tmp_path / "c.vrt", tmp_path / "c.gti.gpkg"):
        with rasterio.open(path) as whole, rasterio.open(warmer.product(TILE, "change.tif")) as tile:
            for said in ("descriptions", "scales", "units", "nodatavals", "dtypes"):
                assert getattr(whole, said) == getattr(tile, said), (path, said)
            expected = tile.read()
            if path == mosaic:
                expected[..., :20] = tile.nodata
                assert whole.tags()["scenario"] == "warmer" and whole.tags()["title"].startswith("Change of the flora")
            np.testing.assert_array_equal(whole.read(window=whole.window(west, south, east, north)), expected)


def test_a_second_run_does_nothing_and_a_new_base_is_noticed(base, warmer):
    """Up to date until the base's map changes; then changes are told anew. Of the same probabilities they are the same, and published already."""
    assert run_scenario(warmer, list(SCENARIO_STAGES), Reporter()).tasks == 0
    other = replace_interval(base)
    from pipelines.run import run_stages

    run_stages(other, ["map"], Reporter())
    again = run_scenario(warmer, list(SCENARIO_STAGES), Reporter())
    assert {outcome.stage for outcome in again.outcomes if outcome.done} == {"changes"}


def replace_interval(run):
    """The same run, its map standing for other years."""
    from dataclasses import replace

    return replace(run, recipe=run.recipe.model_copy(update={"interval": ("2001-01-01T00:00:00Z", "2025-12-31T23:59:59Z")}))


def test_without_a_model_there_is_no_scenario(base, tmp_path):
    """A base that was not made: an error of the input's kind that names it."""
    from dataclasses import replace

    run = replace(base, store=tmp_path / "nothing").under("warmer")
    with pytest.raises(TaskFailed, match="run the recipe itself first") as found:
        run_scenario(run, ["occurrences"], Reporter())
    assert found.value.kind == InputError.__name__


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            {"modalities": {"climat": {"change": {"add": {"tas": 1.0}}}}},
            ConfigurationError,
            "none of the modalities .* Did you mean 'climate'",
        ),
        ({"modalities": {"climate": {}}}, ConfigurationError, "one of `source`, `time` and `change`"),
        ({"modalities": {"climate": {"change": {}}}}, ConfigurationError, "say what changes"),
        ({"interval": ["2099-01-01T00:00:00Z", "2070-01-01T00:00:00Z"]}, ConfigurationError, "first moment comes after the last"),
        (
            {"modalities": {"climate": {"time": {"step": "month", "first": "2050-01", "count": 3}}}},
            ConfigurationError,
            "periods, the model learns from",
        ),
    ],
)
def test_scenarios_that_cannot_be_are_refused(write_recipe, tmp_path, change, error, says):
    """Found when the recipe is opened, before anything is done."""
    with pytest.raises(error, match=says):
        Run.open(write_recipe({"scenarios": {"warmer": WARMER | change}}), store=tmp_path)


def test_unknown_scenarios_and_bands_are_named(base, write_recipe, tmp_path):
    """With the nearest spelling."""
    with pytest.raises(UsageError, match="Did you mean 'warmer'"):
        base.under("warmr")
    wrong = WARMER | {"modalities": {"climate": {"change": {"add": {"taz": 1.0}}}}}
    run = Run.open(write_recipe({"scenarios": {"warmer": wrong}}), store=tmp_path).under("warmer")
    with pytest.raises(ConfigurationError, match="'taz' is none of the bands"):
        run.source("climate")


def test_a_name_is_a_folder_and_no_more(write_recipe, tmp_path):
    """Names that would leave the store, or hide in it, are refused."""
    for name in ("../up", "Upper", ".hidden", ""):
        with pytest.raises(ConfigurationError, match="small letters, digits"):
            Run.open(write_recipe({"scenarios": {name: WARMER}}), store=tmp_path)


def test_the_shipped_recipe_has_a_scenario_that_opens():
    """What the documentation shows can be opened."""
    from geoplantnet.config.load import find_recipe

    recipe = yaml.safe_load(find_recipe("demo").read_text(encoding="utf-8"))
    assert Run.open("demo").under(next(iter(recipe["scenarios"]))).scenario
