"""The disk fills in any of the stages after training: a typed error, nothing half-written, and the same bytes once there is space."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from geoplantnet.storage import files_of
from pipelines.ledger import Ledger
from pipelines.run import STAGES

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from kill import take_away


@pytest.mark.parametrize(("stage", "left"), [("map", 200), ("indicators", 100), ("publish", 60), ("publish", 330), ("catalog", 8)])
def test_a_disk_that_fills_in_a_stage(reference, run_recipe, products, small_disk, cli, stage, left):
    """With `left` KiB free when the stage begins: exit 6 there, no product but whole ones, a ledger that can be read; then all of it."""
    disk, later = small_disk(65_536), list(STAGES)[list(STAGES).index(stage) :]
    store = disk / "store"
    shutil.copytree(reference.store, store)
    take_away(store, later)
    space = os.statvfs(disk)
    with (disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, space.f_bavail * space.f_frsize - left * 1024)
    ended = cli("run", reference.recipe, "--store", store)
    assert ended.code == 6 and "StorageError" in ended.err and "free space" in ended.err and str(store) in ended.err, ended
    assert "Traceback" not in ended.text
    assert not list(store.rglob(".tmp-*")) and Ledger(store).damage() == []
    assert {name: digest for name, digest in products(store).items() if reference.bytes_of.get(name) != digest} == {}
    assert all(not Ledger(store).keys(name) for name in later[1:])
    assert cli("status", reference.recipe, "--store", store).code == 0
    (disk / "ballast").unlink()
    run_recipe(reference.recipe, store)
    assert products(store) == reference.bytes_of and len(files_of(store)) == len(files_of(reference.store))
