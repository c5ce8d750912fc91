"""A flipped bit in each kind of asset: found, named, mended; and read without `verify` it ends no program."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from pipelines.context import Run
from pipelines.ledger import Ledger

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from flip import KINDS, LAZY, OTHER, TYPED, UNTYPED, as_read, drawn, flip, flipped, reading, task

CHECKED = ("latent z", "latent head", "latent, other arrays", "species sets", "sets' threshold", "means of 1 km")
"""Kinds that carry a checksum of their own."""
COSTLY = ("occurrences", "train")
"""Stages left out of the mending here, for the seconds they take; `faults/flip.py` has them all."""


@pytest.fixture
def run(reference, store) -> Run:
    return Run.open(reference.recipe, store=store)


def test_every_file_of_a_run_is_of_a_kind(opened):
    """All products of a tile, and what concerns all tiles; of a cube one modality stands for the others."""
    tile, others = opened.tiles[0], opened.tiles[1:]
    of_kinds = {file for kind in KINDS.values() for file in opened.store.glob(kind.files.format(t=tile))}
    left = [p.relative_to(opened.store).as_posix() for p in opened.store.rglob("*") if p.is_file() and p not in of_kinds]
    aside = (".lock", ".writers", "ledger/", f"cubes/{tile}.zarr/")
    assert [name for name in left if not name.startswith(aside) and not any(other in name for other in others)] == []


def test_verify_names_the_task_of_every_flip(run):
    """One bit of every kind, three times, all at once: each task is named, and no other."""
    chance = random.Random(1)
    for _ in range(3):
        found = {}
        for kind in KINDS.values():
            found[drawn(kind, run, chance)] = task(kind, run)
        before = {file: file.read_bytes() for file in found}
        for file in found:
            flip(file, chance)
        assert {(fault.stage, fault.key) for fault in Ledger(run.store).damage()} == set(found.values())
        for file, content in before.items():
            file.write_bytes(content)
    assert Ledger(run.store).damage() == []


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.read])
def test_reading_what_is_damaged_ends_in_an_error_of_the_house(run, name):
    """Never in a traceback; and where a checksum stands, never in other values."""
    kind, chance = KINDS[name], random.Random(name)
    undamaged = as_read(kind, run)
    assert undamaged == as_read(kind, run)
    for _ in range(4):
        with flipped(drawn(kind, run, chance), chance) as what:
            ended, words = reading(kind, run, undamaged)
        assert ended != UNTYPED or name in LAZY, f"{what}: {words}"
        assert ended != OTHER or name not in CHECKED, what
        assert ended != TYPED or words


def test_what_is_dropped_comes_back(reference, run, run_recipe, products):
    """A bit of every kind but the costly ones; `verify --drop`, run: the bytes of the reference."""
    chance = random.Random(2)
    kinds = [kind for kind in KINDS.values() if task(kind, run)[0] not in COSTLY]
    for kind in kinds:
        flip(drawn(kind, run, chance), chance)
    ledger, damaged = Ledger(run.store), {task(kind, run) for kind in kinds}
    for fault in ledger.damage():
        ledger.forget(fault.stage, fault.key)
    assert set(run_recipe(reference.recipe, run.store).tasks) == damaged
    assert products(run.store) == reference.bytes_of


def test_a_task_that_reads_damaged_input_names_it_and_is_not_held_back(reference, run, products, cli):
    """The codec's own words would help nobody: the asset, the fix, exit 6. However often it was tried, mending is enough."""
    tile = run.tiles[0]
    chunk = run.cube(tile) / "sentinel2" / "data" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:16] + b"\xff" * 64 + chunk.read_bytes()[80:])  # the header of a compressed block
    Ledger(run.store).forget("map", tile)
    for _ in range(run.recipe.cluster.attempts + 1):
        ended = cli("map", reference.recipe, "--store", run.store)
        assert ended.code == 5 and "Traceback" not in ended.text
        assert f"cubes/{tile}.zarr/sentinel2 differs from its recorded SHA-256" in ended.err and "verify --drop" in ended.err
        assert "quarantine" not in ended.err
    assert Ledger(run.store).failures("map")[0].kind == "IntegrityError"
    assert cli("verify", reference.recipe, "--store", run.store, "--drop").code == 6
    assert cli("run", reference.recipe, "--store", run.store).code == 0
    assert products(run.store) == reference.bytes_of and not Ledger(run.store).failures()
