"""`--dry-run` of a whole run and of its stages: what is due after what, and what it costs, told before anything is done."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import NoDataError
from pipelines import costs
from pipelines.context import Run
from pipelines.dry_run import ASSUMED_SPECIES, forecast, size_of
from pipelines.estimate import times
from pipelines.ledger import Cost, Failure, Ledger
from pipelines.outlook import UPSTREAM, outlook, tiles_without_cube
from pipelines.plan import plan
from pipelines.run import STAGES

ONE, TWO, THREE = "5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605"
EVERYTHING = {"occurrences": 1, "cubes": 9, "train": 1, "map": 3, "indicators": 3, "publish": 3, "catalog": 1}
PER_TILE_END = {"map": 3, "indicators": 3, "publish": 3, "catalog": 1}
OF_ONE_TILE = {"map": 1, "indicators": 1, "publish": 1, "catalog": 1}
SIZE = costs.Size(
    cells=250_000,
    species=1_000,
    images=1,
    cellwise=4,
    networks=(costs.Network(width=64, latent=128, image_width=64, visits=1e5),),
    indicators=5,
    blocks=625,
    reporting=25,
)
OF_A_TILE = (costs.mapping, costs.indicators, costs.publishing)


def due(run: Run, **how: bool) -> dict[str, int]:
    """Tasks due by stage, without those of none."""
    return {name: len(one.due) for name, one in outlook(run, **how).items() if one.due}


def test_memory_that_workers_have_not_is_told(write_recipe, tmp_path):
    """A tile that does not fit into a worker: said before it happens, with both amounts; of enough memory nothing is said."""
    for memory, warned in (("0.6GB", True), ("64GB", False)):
        recipe = write_recipe(cluster={"kind": "slurm", "memory": memory})
        notes = forecast(Run.open(recipe, store=tmp_path / "none"), ["publish"], species=50_000).notes
        assert any("publish needs" in note and "600 MB" in note for note in notes) == warned, notes


def test_what_each_stage_reads_is_what_its_tasks_need(opened):
    """The table of who reads whom is that of the stages themselves, in their order."""
    assert list(UPSTREAM) == list(STAGES)
    for name, stage in STAGES.items():
        assert {needed for key in stage.keys(opened) for needed, _ in stage.needs(opened, key)} == set(UPSTREAM[name]), name


def test_an_empty_store_owes_everything_and_stays_empty(reference, tmp_path):
    """Every task of every stage, though most cannot be planned before others are done; nothing is written."""
    run = Run.open(reference.recipe, store=tmp_path / "empty")
    assert due(run) == EVERYTHING and not run.store.exists()


def test_a_finished_store_owes_nothing(opened):
    """All done, nothing due, no cost."""
    ahead = outlook(opened)
    assert {name: one.done for name, one in ahead.items()} == EVERYTHING and not due(opened)
    told = forecast(opened, list(UPSTREAM))
    assert all(one.wall == one.total.cpu_seconds == one.total.written == 0 for one in told.stages) and told.notes == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"map.plot_area": 400}, PER_TILE_END),
        ({"indicators": ["richness", "rare"]}, {"indicators": 3, "publish": 3, "catalog": 1}),
        ({"title": "Another title"}, {"publish": 3, "catalog": 1}),
        ({"description": "Other words."}, {"catalog": 1}),
        ({"training.steps.1.epochs": 2}, {"train": 1, **PER_TILE_END}),
        ({"species.minimum_plots": 4}, {"occurrences": 1, "train": 1, **PER_TILE_END}),
        ({"seed": 4}, EVERYTHING),
        ({"cluster": {"workers": 1}}, {}),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_changed_recipe_owes_what_reads_what_is_due(store, write_recipe, changes, expected):
    """Everything downstream of what a key changes, before it is known whether its bytes will change."""
    assert due(Run.open(write_recipe(changes), store=store)) == expected


@pytest.mark.parametrize(
    ("stage", "key", "expected"),
    [
        ("cubes", f"{ONE}.terrain", {"cubes": 1, "train": 1, **PER_TILE_END}),
        ("map", ONE, OF_ONE_TILE),
        ("indicators", TWO, {"indicators": 1, "publish": 1, "catalog": 1}),
        ("publish", THREE, {"publish": 1, "catalog": 1}),
        ("catalog", "catalog", {"catalog": 1}),
    ],
)
def test_a_half_made_store_owes_the_rest(opened, store, stage, key, expected):
    """One record is missing: it and all that reads it are due, the other tiles are not."""
    Ledger(store).forget(stage, key)
    assert due(replace(opened, store=store)) == expected


def test_told_is_at_least_what_a_run_then_does(store, write_recipe, run_recipe):
    """The real flow is the oracle: what it carries out after a change was told, stage by stage, to the task."""
    Ledger(store).forget("indicators", ONE)
    recipe = write_recipe({"title": "Another title"})
    told = outlook(Run.open(recipe, store=store))
    assert {(name, key) for name, one in told.items() for key in one.due} == set(run_recipe(recipe, store).tasks)


def test_a_modality_out_of_the_model_leaves_the_model_alone(store, write_recipe):
    """Its cubes are due again, and what is made of tiles; training is not."""
    run, ledger = Run.open(write_recipe({"modalities.climate.train": False}), store=store), Ledger(store)
    (training,) = plan(run, STAGES["train"]).due
    ledger.commit("train", "model", training.mark, [], {}, Cost())  # as if it had been trained without it
    ledger.forget("cubes", f"{ONE}.climate")
    assert due(run) == {"cubes": 1, **PER_TILE_END}


def test_a_tile_in_quarantine_is_left_out_and_with_retry_is_due(opened, store):
    """A cube that failed too often: its tile is owed by no stage, and said to be left out; --retry owes it again."""
    run, key = replace(opened, store=store), f"{ONE}.terrain"
    ledger = Ledger(store)
    made = ledger.record("cubes", key)
    ledger.forget("cubes", key)
    ledger.fail(Failure(stage="cubes", key=key, kind=NoDataError.__name__, message="", fingerprint=made.fingerprint, attempts=3))
    ahead = outlook(run)
    assert not ahead["cubes"].due and ahead["cubes"].left_out == {key}
    assert all(ahead[name].left_out == {ONE} and ONE not in ahead[name].due for name in ("map", "indicators", "publish"))
    assert any("in quarantine" in note for note in forecast(run, list(UPSTREAM)).notes)
    assert due(run, retry=True)["cubes"] == 1 and len(outlook(run, retry=True)["map"].due) == 3


def test_chosen_tiles_owe_their_own_tasks(opened, reference, store, tmp_path):
    """--tile: a third of everything; who trains without the other tiles' cubes is told that it will not do."""
    empty = Run.open(reference.recipe, store=tmp_path, tiles=(TWO,))
    assert due(empty) == {"occurrences": 1, "cubes": 3, "train": 1, **OF_ONE_TILE} and tiles_without_cube(empty) == [ONE, THREE]
    assert any("2 that are not chosen have none" in note for note in forecast(empty, list(UPSTREAM)).notes)
    half = replace(opened, store=store, chosen=(TWO,))
    Ledger(store).forget("map", ONE)
    assert due(half) == {}
    Ledger(store).forget("map", TWO)
    assert due(half) == OF_ONE_TILE


def test_bytes_are_within_a_factor_of_2_of_what_was_written(opened):
    """Training, mapping, indicators, publishing and the catalog, by arithmetic alone; bytes are the same on every machine."""
    run, ledger = opened, Ledger(opened.store)
    size = size_of(run, ledger.record("occurrences", "all").stats["species"])
    whole = (costs.training(size, rounds=1, threads=1), costs.cataloguing(size, 3))
    for one in (*whole, *(cost(size) for cost in OF_A_TILE)):
        records = list(ledger.records(one.name))
        assert 0.5 <= one.written * len(records) / sum(o.bytes for r in records for o in r.outputs) <= 2, one.name


def test_measured_tasks_take_the_place_of_arithmetic_unless_other_species_are_asked(opened, store):
    """One tile of three is missing: it costs what the two that are there did; for 10,000 species they tell nothing."""
    ledger = Ledger(store)
    ledger.forget("map", ONE)
    run = replace(opened, store=store)
    (own,) = forecast(run, ["map"]).stages
    records = list(ledger.records("map"))
    assert (own.total.due, own.total.done, own.total.measured) == (1, 2, 2)
    assert own.total.cpu_seconds == pytest.approx(sum(r.cpu_seconds for r in records) / 2)
    (other,) = forecast(run, ["map"], species=10_000).stages
    assert other.total.measured == 0 and other.total.written > own.total.written


@given(st.integers(1, 400), st.integers(1, 64))
def test_twice_the_tiles_are_twice_the_cost(tiles, workers):
    """Tasks are alike: cost is linear in them. The catalog is linear beside what it costs without any tile."""
    for cost in OF_A_TILE:
        once, twice = (times(cost(SIZE), due=n * tiles, done=0, quarantined=0) for n in (1, 2))
        assert twice.cpu_seconds == pytest.approx(2 * once.cpu_seconds) and twice.written == pytest.approx(2 * once.written)
        assert twice.memory == once.memory
    none, once, twice = (costs.cataloguing(SIZE, n * tiles) for n in (0, 1, 2))
    assert twice.written - none.written == pytest.approx(2 * (once.written - none.written))


@given(st.sampled_from(["species", "cells", "cellwise", "images", "indicators"]), st.integers(1, 20))
def test_more_of_anything_costs_no_less(what, more):
    """More species, cells, modalities or indicators never save time, memory or bytes; more species never save bytes."""
    larger = replace(SIZE, **{what: getattr(SIZE, what) + more * 1_000 if what in ("species", "cells") else getattr(SIZE, what) + more})
    for cost in OF_A_TILE:
        a, b = cost(SIZE), cost(larger)
        assert b.cpu_seconds >= a.cpu_seconds and b.memory >= a.memory and b.written >= a.written
        assert what != "species" or b.written > a.written


@given(st.integers(1, 9))
def test_an_ensemble_costs_its_members(count):
    """Each of them is trained, encodes every cell and keeps its latent values."""
    one, many = (replace(SIZE, networks=SIZE.networks * n) for n in (1, count))
    kept = [costs.mapping(size).written - 2 * size.cells for size in (one, many)]
    assert kept[1] == pytest.approx(count * kept[0])
    trained = [costs.training(size, rounds=1, threads=1).cpu_seconds - costs.AROUND_TRAINING for size in (one, many)]
    assert trained[1] == pytest.approx(count * trained[0])


def test_visits_of_a_training_by_hand():
    """Epochs over plots, with as many records beside them; records alone; updates, rounded to nothing; unknown stays unknown."""
    steps = [{"pa": 1.0, "epochs": 3}, {"pa": 1.0, "po": 0.1, "epochs": 2}, {"po": 1.0, "epochs": 4}]
    assert costs.visits(plots=100, records=1_000, steps=steps, batch=10) == 3 * 100 + 2 * 200 + 4 * 1_000
    limited = [{"pa": 1.0, "epochs": 60, "updates": 20}, {"pa": 1.0, "epochs": 1, "updates": 20}]
    assert costs.visits(plots=100, records=0, steps=limited, batch=10) == 2 * 100 + 100
    assert isnan(costs.visits(plots=float("nan"), records=float("nan"), steps=steps, batch=10))


def test_species_are_said_to_come_from_somewhere(reference, opened, tmp_path):
    """As asked, as found, all of the virtual world, or assumed: never silently."""
    run = Run.open(reference.recipe, store=tmp_path / "empty")
    assert forecast(run, ["map"], species=7_000).species == "7,000 species, as asked"
    assert forecast(run, ["map"]).species == "20 species, all of the virtual world"
    assert "as `occurrences` found" in forecast(opened, ["map"]).species
    told = forecast(Run.open("alps", store=tmp_path / "alps"), ["train", "map"])
    assert f"{ASSUMED_SPECIES:,} species, which is assumed" in told.species
    assert isnan(told.stages[0].total.cpu_seconds) and told.stages[1].total.due == 14


def test_the_command_tells_every_stage_and_the_total(cli, reference, tmp_path):
    """`run --dry-run`: a line each, nothing written, no worker started; a verb alone says what comes first."""
    ended = cli("run", reference.recipe, "--store", tmp_path / "store", "--dry-run")
    assert ended.code == 0 and not (tmp_path / "store").exists()
    for name, count in {**EVERYTHING, "all": 21}.items():
        assert next(line for line in ended.out.splitlines() if f" {name} " in line).split()[3] == str(count), name
    assert "20 species, all of the virtual world" in " ".join(ended.out.split())
    alone = cli("publish", reference.recipe, "--store", tmp_path / "store", "--dry-run", "--tile", ONE).out
    assert " catalog " in alone and " train " not in alone
    assert "occurrences, cubes, train, map, indicators must be carried out first" in alone


def test_after_a_run_the_command_says_that_nothing_is_due(cli, reference):
    """Zero due of every stage, and all done."""
    ended = cli("run", reference.recipe, "--store", reference.store, "--dry-run")
    line = next(line for line in ended.out.splitlines() if " all " in line).split()
    assert ended.code == 0 and (line[3], line[5]) == ("0", "21")


def test_species_without_a_dry_run_are_refused(cli, reference, tmp_path):
    """--species changes no model; exit 2."""
    ended = cli("map", reference.recipe, "--store", tmp_path, "--species", 5)
    assert ended.code == 2 and "--species goes with --dry-run" in ended.err


NO_TORCH = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from pipelines.context import Run
from pipelines.dry_run import forecast
for store in sys.argv[2:]:
    told = forecast(Run.open(sys.argv[1], store=Path(store)), ["map"])
    print(told.stages[0].total.due, told.stages[0].total.done, *told.notes)
"""


def test_without_torch_it_says_what_it_cannot_know(store, write_recipe, tmp_path):
    """A machine that has no torch plans an empty store; of a made one it takes what is recorded as done, and says so."""
    recipe = write_recipe({"map.plot_area": 400, "training": {"model": "deep"}})
    Ledger(store).forget("map", ONE)
    command = [sys.executable, "-c", NO_TORCH, str(recipe), str(tmp_path / "none"), str(store)]
    empty, made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert empty.startswith("3 0 ") and "torch is not installed" not in empty
    assert made.startswith("1 2 ") and "torch is not installed" in made
