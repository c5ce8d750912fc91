"""What is up to date is left alone; what is not, and nothing else, is made again, to the same bytes as from scratch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from geoplantnet.errors import InputError, UnknownTile
from pipelines.build_cubes import CUBES
from pipelines.context import Run
from pipelines.flow import Flow, execute
from pipelines.ledger import Ledger
from pipelines.plan import Stage
from pipelines.progress import Reporter
from pipelines.stages import carry_out

ONE, TWO, THREE = "5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605"
QUIET = Reporter(Console(quiet=True))
MODALITIES = ("sentinel2", "climate", "terrain")
PER_TILE_END = ("map", "indicators", "publish", "catalog")


def test_a_second_run_does_nothing_starts_no_workers_and_says_so(reference, store, run_recipe, products, monkeypatch):
    """No cluster, no task, no byte; one sentence."""

    def refuse(self):
        raise AssertionError("workers were started")

    monkeypatch.setattr(Flow, "_connect", refuse)
    ran = run_recipe(reference.recipe, store)
    assert ran.tasks == () and products(store) == reference.bytes_of
    assert "Nothing to do" in ran.text and str(store) in ran.text


@pytest.mark.parametrize(
    ("product", "task"),
    [
        (f"cubes/{ONE}.zarr/climate", ("cubes", f"{ONE}.climate")),
        (f"cubes/{ONE}.zarr/terrain/data/c", ("cubes", f"{ONE}.terrain")),
        ("occurrences/records/events.parquet", ("occurrences", "all")),
        ("occurrences/traits.csv", ("occurrences", "all")),
        ("model/member-00/weights.safetensors", ("train", "model")),
        (f"latent/{TWO}.zarr/z", ("map", TWO)),
        (f"tiles/{TWO}/shannon.tif", ("indicators", TWO)),
        (f"tiles/{THREE}/coverage.gpkg", ("publish", THREE)),
        (f"tiles/{THREE}/{THREE}.json", ("publish", THREE)),
        ("tiles/collection.json", ("catalog", "catalog")),
        ("catalog.json", ("catalog", "catalog")),
        (f"ledger/map/{ONE}.json", ("map", ONE)),
    ],
)
def test_a_deleted_product_is_made_again_and_nothing_else(reference, store, run_recipe, products, product, task):
    """The one task that made it runs; since it comes back bit-identical, nothing downstream is stale."""
    gone = store / product
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert run_recipe(reference.recipe, store).tasks == (task,)
    assert products(store) == reference.bytes_of


@pytest.mark.parametrize("product", [f"cubes/{ONE}.zarr", f"cubes/{ONE}.zarr/zarr.json"])
def test_a_deleted_cube_is_made_again_by_the_tasks_of_its_modalities(reference, store, run_recipe, products, product):
    """Without its root it is no cube."""
    gone = store / product
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert set(run_recipe(reference.recipe, store).tasks) == {("cubes", f"{ONE}.{name}") for name in MODALITIES}
    assert products(store) == reference.bytes_of


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"map.plot_area": 400}, PER_TILE_END),
        ({"notice": "Virtual."}, PER_TILE_END),
        ({"interval": ["2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"]}, PER_TILE_END),
        ({"indicators": ["richness", "rare"]}, ("indicators", "publish", "catalog")),
        ({"title": "Another title"}, ("publish", "catalog")),
        ({"description": "Other words."}, ("catalog",)),
        ({"licence": "CC0-1.0"}, ("catalog",)),
        ({"training.steps.1.epochs": 2}, ("train", *PER_TILE_END)),
        ({"cluster": {"workers": 1}}, ()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_changed_key_reruns_only_what_depends_on_it(store, write_recipe, run_recipe, changes, stages):
    """Stages that ran after one key of the recipe changed."""
    assert run_recipe(write_recipe(changes), store).stages == stages


def test_a_run_after_many_changes_leaves_the_bytes_of_a_run_from_scratch(reference, store, write_recipe, run_recipe, products, tmp_path):
    """Change by change or at once: the same products, so no stage has forgotten what it depends on."""
    steps = [
        {"title": "Changed", "description": "Changed too.", "licence": "CC0-1.0", "attribution": ["Nobody"]},
        {"map.plot_area": 250, "notice": "Virtual plants.", "interval": ["2010-01-01T00:00:00Z", "2011-01-01T00:00:00Z"]},
        {"indicators": ["richness", "shannon", "tree_richness", "invasives", "iucn_worst", "woody_share"]},
        {"training.steps.1.epochs": 2, "species.minimum_plots": 6, "validation.block": 1500},
    ]
    changes = {}
    for step in steps:
        changes |= step
        run_recipe(write_recipe(changes), store)
    run_recipe(write_recipe(changes), tmp_path / "scratch")
    assert products(store) == products(tmp_path / "scratch") != reference.bytes_of


def test_going_back_to_the_first_recipe_gives_its_bytes_again(reference, store, write_recipe, run_recipe, products):
    """There and back: records of another recipe do not count."""
    run_recipe(write_recipe({"map.plot_area": 400}), store)
    run_recipe(reference.recipe, store)
    assert products(store) == reference.bytes_of


def with_terrain(write_recipe, **changes):
    """The tiny recipe with another definition of its terrain."""
    recipe = write_recipe()
    definition = yaml.safe_load((Path(__file__).parents[2] / "configs" / "modalities" / "terrain.yaml").read_text(encoding="utf-8"))
    (recipe.parent / "modalities").mkdir()
    (recipe.parent / "modalities" / "terrain.yaml").write_text(yaml.safe_dump({**definition, **changes}), encoding="utf-8")
    return recipe


def test_one_changed_modality_is_rebuilt_alone_and_the_model_trains_anew(reference, store, write_recipe, run_recipe):
    """The other modalities of every cube stay; what depends on the changed one does not."""
    ran = run_recipe(with_terrain(write_recipe, window=5), store)
    assert [task for task in ran.tasks if task[0] == "cubes"] == [("cubes", f"{tile}.terrain") for tile in (ONE, TWO, THREE)]
    assert ran.stages == ("cubes", "train", *PER_TILE_END)


def test_a_modality_the_model_does_not_learn_from_does_not_train_anew(store, write_recipe, run_recipe):
    """Hours of training are not lost over a band for the map's sake; nor are indicators, when the map comes out as it was."""
    terrain = {"modalities.terrain": {"definition": "terrain", "source": {"kind": "virtual-terrain"}, "train": False}}
    run_recipe(write_recipe(terrain), store)
    recipe = with_terrain(lambda: write_recipe(terrain), title="Another title")
    assert run_recipe(recipe, store).stages == ("cubes", "map", "publish", "catalog")


def test_modalities_can_be_built_one_after_the_other(reference, run_recipe, products, tmp_path):
    """Chosen one by one, in whatever order, they make the cubes of one go."""
    for name in reversed(MODALITIES):
        done = carry_out(Run.open(reference.recipe, store=tmp_path, modalities=(name,)), [CUBES], QUIET)
        assert [key for outcome in done.outcomes for key in outcome.done] == [f"{tile}.{name}" for tile in (ONE, TWO, THREE)]
    cubes = {name: sha for name, sha in reference.bytes_of.items() if name.startswith("cubes/")}
    assert products(tmp_path) == cubes


def test_what_another_recipe_left_in_a_cube_is_not_published(reference, store, write_recipe, run_recipe, products):
    """A modality that is no longer the recipe's leaves the cube with its record; the store is that of the recipe alone."""
    recipe = write_recipe({"modalities.more": {"definition": "terrain", "source": {"kind": "virtual-terrain"}, "train": False}})
    run_recipe(recipe, store)
    assert (store / "cubes" / f"{ONE}.zarr" / "more").is_dir()
    run_recipe(reference.recipe, store)
    assert products(store) == reference.bytes_of and Ledger(store).damage() == []


def test_only_the_chosen_tile_is_worked_on(reference, store, run_recipe, products):
    """--tile restricts tasks of tiles; world, records, model and catalog stay those of the whole recipe."""
    for tile in (ONE, TWO):
        shutil.rmtree(store / "latent" / f"{tile}.zarr")
    assert run_recipe(reference.recipe, store, tiles=(TWO,)).tasks == (("map", TWO),)
    assert run_recipe(reference.recipe, store).tasks == (("map", ONE),)
    assert products(store) == reference.bytes_of


def test_a_chosen_tile_that_is_not_the_recipes_is_refused(reference, store):
    """With the nearest spelling."""
    with pytest.raises(UnknownTile, match=f"Did you mean .*{ONE}"):
        Run.open(reference.recipe, store=store, tiles=("5kmE4100N260",))


@pytest.mark.parametrize(("verb", "first"), [("train", "occurrences"), ("map", "train"), ("indicators", "map"), ("publish", "map")])
def test_a_stage_without_its_upstream_names_the_verb_to_run_first(reference, tmp_path, run_recipe, verb, first):
    """InputError before any worker is started."""
    with pytest.raises(InputError, match=f"run `geoplantnet {first}` first"):
        run_recipe(reference.recipe, tmp_path / "empty", names=[verb])


def test_a_record_is_taken_back_before_its_outputs_change(reference, store):
    """A task killed between its product and its record leaves no record: going back to the old recipe, of equal sizes, must not believe it."""

    def killed(run, key, inside):
        (run.store / "tiles" / key / "shannon.tif").write_bytes(b"new")
        raise KeyboardInterrupt

    stage = Stage("indicators", keys=lambda run: run.chosen, settings=lambda run: lambda key: [], needs=lambda run, key: [], work=killed)
    assert Ledger(store).record("indicators", ONE)
    with pytest.raises(KeyboardInterrupt):
        execute(stage, Run.open(reference.recipe, store=store), ONE, "mark")
    assert Ledger(store).record("indicators", ONE) is None
