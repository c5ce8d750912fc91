"""Scenarios: today's model under another climate, in a store of its own, with what changes against today."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
import xarray as xr
import yaml

from geoplantnet.assemblages import open_latent
from geoplantnet.errors import ConfigurationError, InputError, UsageError
from geoplantnet.storage import files_of
from pipelines.context import Run
from pipelines.dry_run import estimate, forecast
from pipelines.outlook import UPSTREAM_OF_SCENARIO, outlook, upstream_of
from pipelines.progress import Reporter
from pipelines.run import run_stages
from pipelines.scenarios import SCENARIO_STAGES, run_scenario

TILE = "5kmE4100N2605"
WARMER = {
    "title": "three degrees warmer",
    "interval": ["2070-01-01T00:00:00Z", "2099-12-31T23:59:59Z"],
    "modalities": {"climate": {"change": {"add": {"tas": 3.0, "tasmin": 3.0, "tasmax": 3.0}}}},
}


@pytest.fixture(scope="module")
def recipe(write_recipe):
    """The tiny recipe with a scenario."""
    return write_recipe({"scenarios": {"warmer": WARMER}})


@pytest.fixture(scope="module")
def base(reference, recipe, tmp_path_factory):
    """The tiny run, in a store of its own, by a recipe with a scenario."""
    store = tmp_path_factory.mktemp("scenario") / "store"
    shutil.copytree(reference.store, store)
    return Run.open(recipe, store=store)


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


def dry(run):
    """Tasks due by stage, without those of none."""
    return {name: len(one.due) for name, one in outlook(run).items() if one.due}


def test_a_scenario_owes_links_its_own_cubes_and_changes(base, tmp_path):
    """Of an empty scenario all is due; only the cubes of what differs cost, links nothing; nothing is written."""
    run = replace(base.under("warmer"), store=tmp_path / "none")
    told = {one.total.name: one for one in forecast(run, list(upstream_of(run))).stages}
    assert list(told) == list(SCENARIO_STAGES) and not run.store.exists()
    assert {name: one.total.due for name, one in told.items()} == {name: len(s.keys(run)) for name, s in SCENARIO_STAGES.items()}
    for name in ("occurrences", "train"):
        assert told[name].linked and told[name].total.cpu_seconds == told[name].total.written == 0
    (climate,) = estimate(replace(run, wanted=("climate",)))
    assert told["cubes"].total.cpu_seconds == climate.cpu_seconds and told["cubes"].total.written == climate.written > 0
    assert told["changes"].total.cpu_seconds > 0 and told["map"].total.measured == len(run.tiles)


def test_what_each_stage_of_a_scenario_reads_is_what_its_tasks_need(warmer):
    """The table of who reads whom is that of the stages themselves, in their order."""
    assert list(UPSTREAM_OF_SCENARIO) == list(SCENARIO_STAGES)
    for name, stage in SCENARIO_STAGES.items():
        assert {needed for key in stage.keys(warmer) for needed, _ in stage.needs(warmer, key)} == set(UPSTREAM_OF_SCENARIO[name]), name


def test_the_dry_run_tells_scenarios_by_themselves(recipe, base, warmer, cli):
    """Nothing is due of a made one, alone or after its recipe; a stale base makes what builds on it due, and it is said."""
    assert dry(warmer) == {}
    alone = cli("run", recipe, "--store", base.store, "--scenario", "warmer", "--dry-run")
    both = cli("run", recipe, "--store", base.store, "--dry-run")
    assert alone.code == both.code == 0 and " changes " in alone.out
    assert [line.split()[3] for out in (alone.out, both.out) for line in out.splitlines() if " all " in line] == ["0", "0", "0"]
    stale = stale_base(base).under("warmer")
    assert dry(stale)["changes"] == len(base.tiles) and "train" not in dry(stale)
    assert any("builds on map" in note for note in forecast(stale, list(upstream_of(stale))).notes)


def stale_base(run):
    """The same run, whose maps were made for another plot area."""
    asked = run.recipe.map.model_copy(update={"plot_area": 400.0})
    return replace(run, recipe=run.recipe.model_copy(update={"map": asked}))


def test_a_stale_base_is_refused_before_anything_is_written(base, warmer, products):
    """The stage is named, and the scenario's store is as it was; a worker gets base and scenario in a few kilobytes."""
    before = products(warmer.store)
    with pytest.raises(InputError, match=r"builds on map .* and 2 more .* run the recipe itself first"):
        run_scenario(stale_base(base).under("warmer"), list(SCENARIO_STAGES), Reporter())
    assert products(warmer.store) == before
    sent = pickle.dumps(warmer)
    assert pickle.loads(sent) == warmer and len(sent) < 50_000


def test_a_second_run_does_nothing_and_a_new_base_is_noticed(base, warmer):
    """Up to date until the base's map changes; then changes are told anew. Of the same probabilities they are the same, and published already."""
    assert run_scenario(warmer, list(SCENARIO_STAGES), Reporter()).tasks == 0
    other = replace_interval(base)
    run_stages(other, ["map"], Reporter())
    again = run_scenario(other.under("warmer"), list(SCENARIO_STAGES), Reporter())
    assert {outcome.stage for outcome in again.outcomes if outcome.done} == {"changes"}


def replace_interval(run):
    """The same run, its map standing for other years."""
    return replace(run, recipe=run.recipe.model_copy(update={"interval": ("2001-01-01T00:00:00Z", "2025-12-31T23:59:59Z")}))


def test_without_a_model_there_is_no_scenario(base, tmp_path):
    """A base that was not made: an error of the input's kind that names it."""
    run = replace(base, store=tmp_path / "nothing").under("warmer")
    with pytest.raises(InputError, match=r"occurrences all .* run the recipe itself first"):
        run_scenario(run, ["occurrences"], Reporter())
    assert not (tmp_path / "nothing").exists()


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
        ({"modalities": {"climate": {"change": {"add": {"tas": float("nan")}}}}}, ConfigurationError, "tas.*finite"),
        ({"modalities": {"climate": {"change": {"add": {"tas": float("inf")}}}}}, ConfigurationError, "tas.*finite"),
        ({"modalities": {"climate": {"change": {"multiply": {"pr": -1.0}}}}}, ConfigurationError, "pr.*greater than or equal to 0"),
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
    with pytest.raises(
        ConfigurationError, match=r"scenarios.warmer.modalities.climate.change: 'taz' is none of its bands .* Did you mean 'tas'"
    ):
        Run.open(write_recipe({"scenarios": {"warmer": wrong}}), store=tmp_path)
    with pytest.raises(ConfigurationError, match=r"modalities.climate.change: 'prr' is none of its bands .* Did you mean 'pr'"):
        Run.open(write_recipe({"modalities.climate.change": {"multiply": {"prr": 0.9}}}), store=tmp_path)


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


def test_another_year_from_files_of_its_own_is_mapped(reference, write_recipe, tmp_path):
    """Other periods, as many as were learnt from, out of a NetCDF: the model takes them, and its area of applicability, too."""
    x, y = np.arange(4_095_500, 4_116_000, 1_000.0), np.arange(2_616_500, 2_594_000, -1_000.0)
    months = np.arange("2022-01", "2024-01", dtype="datetime64[M]").astype("datetime64[ns]")
    values = {"tas": 8.0, "tasmin": 4.0, "tasmax": 13.0, "pr": 90.0}
    bands = {name: (("time", "y", "x"), np.full((24, y.size, x.size), value, np.float32)) for name, value in values.items()}
    xr.Dataset(bands, coords={"time": months, "y": y, "x": x}).to_netcdf(tmp_path / "later.nc")
    source = {"kind": "netcdf", "path": str(tmp_path / "later.nc"), "crs": "EPSG:3035", "units": {"tas": "degC", "tasmin": "degC", "tasmax": "degC", "pr": "mm"}}  # fmt: skip
    time = {"step": "month", "first": "2022-01", "count": 24}
    later = {"title": "two years later", "interval": ["2022-01-01T00:00:00Z", "2023-12-31T23:59:59Z"]}
    later["modalities"] = {"climate": {"source": source, "time": time}}
    store = shutil.copytree(reference.store, tmp_path / "store")
    run = Run.open(write_recipe({"scenarios": {"later": later}}), store=store, tiles=(TILE,)).under("later")
    run_scenario(run, ["occurrences", "cubes", "train", "map", "indicators", "changes"], Reporter())
    mapped = open_latent(run.latent(TILE), run.grid)
    assert mapped.valid.all() and mapped.inside is not None and mapped.attributes["interval"][0].startswith("2022")
    with rasterio.open(run.product(TILE, "change.tif")) as file:
        assert (file.read(1) + file.read(2)).max() > 0  # another climate is another map
