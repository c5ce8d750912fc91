"""What may pass is tried again without holding up the others; what fails every time goes into quarantine, and comes out of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import pytest
from rich.console import Console

from geoplantnet.errors import ConfigurationError, NoDataError, PartialResult, TryAgain
from geoplantnet.storage import write_json
from pipelines import flow as flow_module
from pipelines.context import Run
from pipelines.flow import Flow
from pipelines.ledger import Failure, Ledger
from pipelines.plan import Stage
from pipelines.progress import Reporter
from pipelines.stages import carry_out

ONE, TWO, THREE = "5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605"
QUIET = Reporter(Console(quiet=True))
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    """Nobody wants to wait in tests."""
    monkeypatch.setattr(flow_module, "FIRST_DELAY", 0.05)


def a_stage(work, **more):
    return Stage("cubes", keys=lambda run: run.chosen, settings=lambda run: lambda key: [], needs=lambda run, key: [], work=work, **more)


def a_flow(run, stage, *, retry=False):
    with Flow(run, QUIET, retry=retry) as flow:
        return flow.carry_out(stage)


def tried(run, key) -> int:
    """Leaves a mark, and tells how many there are."""
    folder = run.store / "tried" / key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(time.monotonic_ns())).touch()
    return len(list(folder.iterdir()))


def counts(store: Path) -> dict[str, int]:
    return {folder.name: len(list(folder.iterdir())) for folder in (store / "tried").iterdir()}


def made(run, key):
    return [write_json(run.store / f"{key}.json", 1)], {}


@pytest.fixture
def run(reference, tmp_path) -> Run:
    return Run.open(reference.recipe, store=tmp_path / "store")


def test_a_busy_server_is_tried_again_and_then_all_is_well(run):
    """TryAgain twice, then success: no failure is left, and the other tiles were done meanwhile."""

    def work(run, key, inside):
        if tried(run, key) < 3 and key == ONE:
            raise TryAgain("429")
        return made(run, key)

    outcome = a_flow(run, a_stage(work))
    assert sorted(outcome.done) == sorted([ONE, TWO, THREE]) and not outcome.failures and outcome.done[-1] == ONE
    assert counts(run.store) == {ONE: 3, TWO: 1, THREE: 1} and Ledger(run.store).failures() == []


def test_a_server_that_stays_busy_is_nobodys_fault(run):
    """After its attempts the task has failed, but it is not poison: the next run asks the server again."""

    def work(run, key, inside):
        if tried(run, key) and key == ONE:
            raise TryAgain("503")
        return made(run, key)

    for n in (1, 2):
        (failure,) = a_flow(run, a_stage(work)).failures
        assert (failure.key, failure.kind, failure.exit_code, failure.attempts) == (ONE, "TryAgain", 75, 0)
        assert counts(run.store)[ONE] == 3 * n


def test_a_poison_tile_is_quarantined_with_its_reason_and_released_when_it_changes_or_on_request(run):
    """Its own fault, three runs long: then no run tries it again, but names it and ends with 5; --retry does, and so does a change."""

    def work(run, key, inside):
        tried(run, key)
        if key == ONE and not (run.store / "mended").exists():
            raise NoDataError("no pixel")
        return made(run, key)

    stage = a_stage(work)
    for n in (1, 2, 3):
        (failure,) = a_flow(run, stage).failures
        assert failure.attempts == n and counts(run.store)[ONE] == n
    with pytest.raises(PartialResult, match=r"1 of them failed 3 times and are in quarantine until they change: --retry") as error:
        carry_out(run, [stage], QUIET)
    assert error.value.exit_code == 5 and f"{ONE} (cubes: no pixel)" in str(error.value) and counts(run.store)[ONE] == 3
    assert a_flow(run, stage, retry=True).failures[0].attempts == 4 and counts(run.store)[ONE] == 4
    changed = Stage("cubes", keys=stage.keys, settings=lambda run: lambda key: ["other"], needs=stage.needs, work=work)
    assert a_flow(run, changed).failures[0].attempts == 1 and counts(run.store)[ONE] == 5
    (run.store / "mended").touch()
    assert a_flow(run, changed).done == (ONE,) and Ledger(run.store).failures() == []


def test_the_command_line_lists_and_releases_quarantine(reference, cli, store):
    """Status names it; run leaves it alone and ends with 5; run --retry makes it."""
    ledger, key = Ledger(store), f"{ONE}.terrain"
    record = ledger.record("cubes", key)
    ledger.forget("cubes", key)
    ledger.fail(Failure(stage="cubes", key=key, kind="Hung", message="it hung", fingerprint=record.fingerprint, attempts=3))
    assert f"cubes {key}: Hung: it hung (in quarantine after 3 attempts)" in cli("status", reference.recipe, "--store", store).out
    ended = cli("cubes", reference.recipe, "--store", store)
    assert ended.code == 5 and "in quarantine" in ended.err and "nothing to do" not in ended.out
    told = cli("cubes", reference.recipe, "--store", store, "--dry-run", "--modalities", "terrain")
    assert [word for word in next(line for line in told.out.splitlines() if "terrain" in line).split() if word.isdigit()][:2] == ["0", "2"]
    assert "1 tasks are in quarantine (--retry)" in " ".join(told.out.split())
    assert cli("cubes", reference.recipe, "--store", store, "--retry").code == 0
    assert ledger.record("cubes", key).outputs == record.outputs and ledger.failures() == []


def test_a_task_that_always_kills_its_worker_is_named_and_bystanders_are_not(write_recipe, tmp_path):
    """One worker: the other tasks wait behind it when it dies, and are done all the same."""

    def work(run, key, inside):
        tried(run, key)
        if key == ONE:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return made(run, key)

    run = Run.open(write_recipe(cluster={"workers": 1, "attempts": 2}), store=tmp_path)
    outcome = a_flow(run, a_stage(work))
    assert sorted(outcome.done) == sorted([TWO, THREE])
    (failure,) = outcome.failures
    assert (failure.key, failure.kind, failure.attempts) == (ONE, "KilledWorker", 2) and counts(tmp_path)[ONE] == 2
    assert a_flow(run, a_stage(work)).quarantined == 1


def test_a_hung_task_is_ended_at_its_deadline_and_named(write_recipe, tmp_path):
    """It sleeps for ever, holding the store; the others are done, and the next run finds the store free."""

    def work(run, key, inside):
        if key == ONE:
            time.sleep(1000)
        return made(run, key)

    run = Run.open(write_recipe(cluster={"workers": 1, "attempts": 1, "deadline": 2}), store=tmp_path)
    outcome = a_flow(run, a_stage(work))
    assert sorted(outcome.done) == sorted([TWO, THREE])
    (failure,) = outcome.failures
    assert failure.kind == "Hung" and "cluster.deadline (2 s)" in failure.message
    with Ledger(tmp_path).locked():
        pass


def test_no_more_tasks_read_over_the_network_than_allowed(write_recipe, tmp_path):
    """Three workers, two remote tiles, one read at a time: their times do not overlap, and the local tile does not wait."""

    def work(run, key, inside):
        began = time.monotonic()
        time.sleep(0.3)
        return [write_json(run.store / f"{key}.json", [began, time.monotonic()])], {"times": [began, time.monotonic()]}

    run = Run.open(write_recipe(cluster={"workers": 3, "reads_at_once": 1}), store=tmp_path)
    a_flow(run, a_stage(work, is_remote=lambda run, key: key != THREE))
    (a, b), (c, d) = sorted(Ledger(tmp_path).record("cubes", key).stats["times"] for key in (ONE, TWO))
    assert a < b <= c < d


def test_a_task_too_large_for_a_worker_is_refused_before_anything_starts(write_recipe, tmp_path, monkeypatch):
    """ConfigurationError, exit 3: what needs how much, what there is, what to change."""
    monkeypatch.setattr(Flow, "_connect", lambda self: pytest.fail("workers were started"))
    run = Run.open(write_recipe(cluster={"workers": 1, "memory": "1GB"}), store=tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"a task of landsat needs about 2\.0 GB, a worker has 1\.0 GB; raise cluster\.memory"
    ) as error:
        a_flow(run, a_stage(made, memory=lambda run: ("landsat", 2_000_000_000)))
    assert error.value.exit_code == 3
