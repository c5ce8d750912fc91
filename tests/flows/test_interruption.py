"""Stopped, starved of space or killed: the store stays whole, and the next run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.ledger import Ledger

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "pipelines.cli", "run"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def start(recipe, store, **options) -> subprocess.Popen[str]:
    """The command line in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, str(recipe), "--store", str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
        **options,
    )


def temporaries(store) -> list[Path]:
    return list(store.rglob(".tmp-*"))


@pytest.mark.parametrize(("which", "whole_group"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_drains_ends_with_130_and_a_rerun_completes(reference, write_recipe, run_recipe, products, tmp_path, which, whole_group):
    """Running tasks end and count; no more are begun. Ctrl-C reaches the workers too, and must not stop them."""
    run = start(write_recipe(cluster={"workers": 1}), tmp_path / "store")
    said = []
    for line in run.stdout:
        said.append(line)
        if line.startswith("cubes") and "1/9" in line:
            (os.killpg if whole_group else os.kill)(run.pid, which)
    assert run.wait() == 130, said
    assert len(said) == len(set(said))  # no line twice, though the signal may come in the middle of one
    text = "".join(said)
    assert "stopping: waiting for running tasks" in text and "run again to go on" in text and "Traceback" not in text
    assert not temporaries(tmp_path / "store") and Ledger(tmp_path / "store").damage() == []
    again = run_recipe(reference.recipe, tmp_path / "store")
    assert ("occurrences", "all") not in again.tasks and ("catalog", "catalog") in again.tasks
    assert products(tmp_path / "store") == reference.bytes_of


@pytest.mark.parametrize("megabytes", [1, 5, 8])
def test_a_full_disk_is_a_typed_error_and_the_run_goes_on_when_there_is_space(reference, run_recipe, products, small_disk, cli, megabytes):
    """Exit 6 at whatever stage the space ends, nothing half-written at a final path, and the reference's bytes afterwards."""
    store = small_disk(1024 * megabytes) / "store"
    ended = cli("run", reference.recipe, "--store", store)
    assert ended.code == 6 and "StorageError" in ended.err and "free space" in ended.err, ended
    assert "Traceback" not in ended.text
    assert Ledger(store).damage() == [] and not temporaries(store)
    small_disk(65_536)
    run_recipe(reference.recipe, store)
    assert products(store) == reference.bytes_of


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from pipelines.cli import main
main()
"""


def test_a_limit_on_file_size_is_a_typed_error_too(reference, write_recipe, run_recipe, products, tmp_path):
    """The operating system refuses to let a file grow (a quota behaves alike); needs no right to mount."""
    recipe, store = write_recipe(cluster={"workers": 1}), tmp_path / "store"
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, "120000", "run", str(recipe), "--store", str(store)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert ended.returncode == 6 and "StorageError" in ended.stderr and "Traceback" not in ended.stdout + ended.stderr, ended
    assert Ledger(store).damage() == [] and not temporaries(store)
    run_recipe(reference.recipe, store)
    assert products(store) == reference.bytes_of
