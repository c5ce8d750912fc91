"""How a stage is carried out: a window of tasks in flight, tried again where that may help, and what becomes of a failure."""

from __future__ import annotations

import queue
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from distributed import Future, WorkerPlugin, get_worker
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

from geoplantnet.errors import GeoPlantNetError, IntegrityError, StorageError, TryAgain
from pipelines.context import CubeRun
from pipelines.lanes import Lanes
from pipelines.ledger import PASSING, Failure, Ledger, Record
from pipelines.meter import Meter, ended_after
from pipelines.plan import Inside, Made, Stage, Task, leave_out, plan
from pipelines.progress import Reporter
from pipelines.progress import Stage as Bar
from pipelines.workers import Workers, require_memory

__all__ = ["Flow", "Inside", "Interrupted", "Made", "Outcome", "Stage", "execute"]

AHEAD = 2
"""Tasks in flight for every worker thread: one running, one waiting for it."""
FIRST_DELAY, LONGEST_DELAY = 5.0, 600.0
"""Seconds before a task is tried again; each time four times longer."""
BYSTANDER = 10
"""How often a task that was only waiting on a worker when that died is handed out again without being counted."""
GLANCE = 2.0
"""Seconds between two looks at the workers."""


@dataclass(frozen=True)
class Outcome:
    """What a stage did."""

    stage: str
    done: tuple[str, ...]
    """Keys of the tasks carried out."""
    skipped: int
    failures: tuple[Failure, ...]
    """Of its own tasks (those in quarantine too), and those upstream that left some of its tasks out."""
    quarantined: int
    seconds: float


class Interrupted(Exception):
    """The run was asked to stop; running tasks were finished first."""


class Flow:
    """Carries out stages of one run, starting workers only when something is due.

    While it is open, SIGINT and SIGTERM let running tasks end and hand out no more; a second one is not waited for.
    """

    def __init__(self, run: CubeRun, reporter: Reporter, *, retry: bool = False) -> None:
        self.run, self.reporter, self.retry, self.ledger = run, reporter, retry, Ledger(run.store)
        self._workers: Workers | None = None
        self._stop = threading.Event()
        self._handlers: dict[signal.Signals, Any] = {}

    def carry_out(self, stage: Stage[Any]) -> Outcome:
        """Do every due task of a stage. A failing task is recorded and the others go on.

        Raises InputError when an upstream stage has not been run, ConfigurationError when a worker cannot hold the largest
        task, StorageError when the store takes no more, TryAgain when scheduler or workers are gone, Interrupted after a signal.
        """
        self._heed(stage)
        started = time.monotonic()
        found = plan(self.run, stage, retry=self.retry)
        left_out = leave_out(self.run, stage, found.blocked)
        done, failures = self._do(stage, found.due) if found.due else ([], [])
        seconds = time.monotonic() - started
        return Outcome(stage.name, tuple(done), found.done, (*left_out, *found.poison, *failures), len(found.poison), seconds)

    def _do(self, stage: Stage[Any], due: list[Task]) -> tuple[list[str], list[Failure]]:
        require_memory(self.run.recipe.cluster, *stage.memory(self.run))
        before = {f.key: f for f in self.ledger.failures(stage.name)}
        with self.reporter.stage(stage.name, len(due)) as bar, _Handed(self._connect(), self.run, stage, bar) as handed:
            done, failures = self._keep_going(stage, due, before, handed, bar)
        if failures and _is_full(failures[-1]):
            raise StorageError(failures[-1].message)
        self._heed(stage)
        return done, failures

    def _keep_going(
        self, stage: Stage[Any], due: list[Task], before: dict[str, Failure], handed: _Handed, bar: Bar
    ) -> tuple[list[str], list[Failure]]:
        """Keep the window full until nothing is left, or nothing more may start."""
        section = self.run.recipe.cluster
        lanes = Lanes(due, lambda key: stage.is_remote(self.run, key), reads_at_once=section.reads_at_once)
        done: list[str] = []
        failures: list[Failure] = []
        full = False
        while True:
            ending = full or self._stop.is_set()
            while not ending and handed.has_room and (task := lanes.take(time.monotonic())):
                handed.out(task)
            if not handed.in_flight and (ending or not lanes):
                return done, sorted(failures, key=_is_full)
            ended = handed.next_result(until=lanes.next_time if handed.has_room else None)
            if ended is None:
                continue
            task, result = ended
            lanes.ended(task)
            if isinstance(result, _Bystander):
                lanes.again(task, time.monotonic())
            elif isinstance(result, Record):
                done.append(task.key)
                bar.task_done(task.key, result.seconds, stage.describe(result.stats))
            else:
                full = full or _is_full(result)
                failure = before[task.key] = _counted(result, before.get(task.key), task)
                if not _is_full(failure):
                    self.ledger.fail(failure)
                tried = handed.tries(task)
                if tried < section.attempts and stage.of_tiles and _may_pass(failure):
                    delay = min(FIRST_DELAY * 4 ** (tried - 1), LONGEST_DELAY)
                    lanes.again(task, time.monotonic() + delay)
                    bar.note(f"{task.key}  {failure.message}; trying again in {delay:.0f} s ({tried} of {section.attempts} attempts)")
                else:
                    failures.append(failure)
                    bar.task_done(task.key, 0.0, f"failed: {failure.message}", failed=True)

    def _heed(self, stage: Stage[Any]) -> None:
        if self._stop.is_set():
            raise Interrupted(f"stopped during {stage.name}; running tasks were finished, run again to go on")

    def _drain(self, signum: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()
        # In a thread of its own: the signal may have come in the middle of a print.
        threading.Thread(target=self.reporter.say, args=("stopping: waiting for running tasks (again to stop at once)",)).start()

    def _connect(self) -> Workers:
        if self._workers is None:
            self._workers = Workers(self.run.recipe.cluster)
            if not self._workers.threads:
                self.reporter.say("waiting for workers")
        return self._workers

    def close(self) -> None:
        """Let the workers go."""
        try:
            if self._workers is not None:
                self._workers.close()
        finally:
            for which, handler in self._handlers.items():
                signal.signal(which, handler)

    def __enter__(self) -> Flow:
        if threading.current_thread() is threading.main_thread():  # Python hands signals to no other
            self._handlers = {s: signal.signal(s, self._drain) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Bystander:
    """Of a task that had not begun when the worker it waited for died: nothing is known of it."""


class _Handed:
    """The tasks in flight: hands them to workers, which got stage and run once, and hears how they ended."""

    def __init__(self, workers: Workers, run: CubeRun, stage: Stage[Any], bar: Bar) -> None:
        self._workers, self._run, self._stage, self._bar = workers, run, stage, bar
        self._name = f"geoplantnet-{uuid.uuid4().hex}"
        self._tasks: dict[Any, tuple[Task, Future]] = {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._began: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._bystander: dict[str, int] = {}
        self._room, self._looked = AHEAD, 0.0

    def __enter__(self) -> _Handed:
        deadline = self._run.recipe.cluster.deadline if self._stage.of_tiles else None
        self._workers.client.subscribe_topic(self._name, self._heard)
        self._workers.client.register_plugin(_Work(self._stage, self._run, deadline), name=self._name)
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers.alive:
            self._workers.client.unsubscribe_topic(self._name)
            self._workers.client.unregister_worker_plugin(self._name)

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether another task may be handed out; workers come and go."""
        now = time.monotonic()
        if now - self._looked > GLANCE:
            self._room, self._looked = max(self._workers.threads, 1) * AHEAD, now
        return len(self._tasks) < self._room

    def tries(self, task: Task) -> int:
        """How often a task was tried in this run, and did not succeed."""
        return self._tries.get(task.key, 0)

    def out(self, task: Task) -> None:
        """Hand a task to whichever worker is free."""
        future = self._workers.client.submit(_on_worker, self._name, *task, pure=False, retries=0)
        self._tasks[future.key] = task, future
        future.add_done_callback(self._ended.put)

    def next_result(self, until: float | None) -> tuple[Task, Record | Failure | _Bystander] | None:
        """The next task that ended, and how; None when none did for a while. Raises TryAgain when scheduler or workers are gone."""
        wait = GLANCE if until is None else min(max(until - time.monotonic(), 0.0), GLANCE)
        try:
            future = self._ended.get(timeout=wait)
        except queue.Empty:
            if not self._workers.alive:
                raise TryAgain("the Dask scheduler is gone; what is done stays done, run again") from None
            return None
        task, _ = self._tasks.pop(future.key)
        result = self._result(future, task.key)
        future.release()  # the scheduler forgets it before it is told of many more
        self._began.pop(task.key, None)
        if isinstance(result, Failure):
            self._tries[task.key] = self._tries.get(task.key, 0) + 1
        elif isinstance(result, Record):
            self._tries.pop(task.key, None)
        return task, result

    def _result(self, future: Future, key: str) -> Record | Failure | _Bystander:
        stage, section = self._stage.name, self._run.recipe.cluster
        began = self._began.get(key)
        try:
            return future.result()
        except KilledWorker:
            if began is None and self._bystander.get(key, 0) < BYSTANDER:
                self._bystander[key] = self._bystander.get(key, 0) + 1
                return _Bystander()
            if began is not None and self._stage.of_tiles and time.monotonic() - began >= section.deadline:
                message = f"it hung: it took longer than cluster.deadline ({section.deadline:g} s) and was ended"
                return Failure(stage=stage, key=key, kind="Hung", message=message)
            message = "its worker was killed, most likely for lack of memory; raise cluster.memory or lower cluster.workers"
            return Failure(stage=stage, key=key, kind="KilledWorker", message=message)
        except (NoWorkerError, NoValidWorkerError) as error:
            raise TryAgain("all workers are gone and none came back; what is done stays done, run again") from error
        except (CommClosedError, ConnectionError) as error:
            message = f"the connection to its worker was lost ({error})"
            return Failure(stage=stage, key=key, kind="ConnectionError", message=message, exit_code=TryAgain.exit_code)
        except Exception as error:
            return Failure(stage=stage, key=key, kind=type(error).__name__, message=str(error) or type(error).__name__)

    def _heard(self, event: Any) -> None:
        """A worker says that a task began, or how far it is."""
        told = event[1]
        if isinstance(told, str):
            self._began[told] = time.monotonic()
        else:
            self._bar.inside(*told)


class _Work(WorkerPlugin):
    """What every task of a stage needs, sent to each worker once, also to those that join later."""

    def __init__(self, stage: Stage[Any], run: CubeRun, deadline: float | None) -> None:
        self.stage, self.run, self.deadline = stage, run, deadline


def _on_worker(name: str, key: str, mark: str) -> Record | Failure:
    worker = get_worker()
    own = worker.plugins[name]
    assert isinstance(own, _Work)
    worker.log_event(name, key)
    with ended_after(own.deadline):
        return execute(own.stage, own.run, key, mark, lambda done, total, message: worker.log_event(name, (key, done, total, message)))


def execute(stage: Stage[Any], run: CubeRun, key: str, mark: str, inside: Inside = lambda done, total, message: None) -> Record | Failure:
    """Do one task and enter it in the ledger; an error comes back as a Failure, never as a traceback.

    The record of what the task made before is taken back first: a record never speaks of files it did not see.
    """
    meter, ledger = Meter(), Ledger(run.store)
    failed: Callable[..., Failure] = lambda **facts: Failure(stage=stage.name, key=key, **facts)  # noqa: E731
    try:
        with ledger.writing():
            ledger.take_back(stage.name, key)
            outputs, stats = stage.work(run, key, inside)
            return ledger.commit(stage.name, key, mark, outputs, stats, meter.read())
    except (StorageError, TryAgain) as error:
        return failed(kind=error.kind, message=str(error), exit_code=error.exit_code)
    except (ConnectionError, TimeoutError) as error:
        return failed(kind="ConnectionError", message=f"{type(error).__name__}: {error}", exit_code=TryAgain.exit_code)
    except Exception as error:
        ours = error if isinstance(error, GeoPlantNetError) else None
        if (stage.of_tiles or not ours) and (damaged := _damaged(stage, run, key)):
            words = f"{damaged}; `geoplantnet verify --drop`, then run again (reading it ended in: {str(error) or type(error).__name__})"
            return failed(kind=IntegrityError.__name__, message=words, exit_code=IntegrityError.exit_code)
        if ours:
            return failed(kind=ours.kind, message=str(ours), exit_code=ours.exit_code)
        return failed(kind=type(error).__name__, message=str(error) or type(error).__name__, details=traceback.format_exc())


def _damaged(stage: Stage[Any], run: CubeRun, key: str) -> str:
    """Which of the assets that a task reads is not as it was made; empty when all are. Asked when a task failed: every byte is read."""
    ledger = Ledger(run.store)
    records = [record for need in stage.needs(run, key) if (record := ledger.record(*need))]
    return next((fault for record in records for fault in ledger.faults(record)), "")


def _may_pass(failure: Failure) -> bool:
    """Whether another try may succeed, with nothing changed."""
    return failure.kind in (*PASSING, "KilledWorker", "Hung")


def _counted(failure: Failure, before: Failure | None, task: Task) -> Failure:
    """A failure with how often exactly this was tried, by earlier runs too. Damaged input is not counted: mended, it is what it was."""
    earlier = before.attempts if before is not None and before.fingerprint == task.mark else 0
    return replace(failure, fingerprint=task.mark, attempts=earlier + (failure.kind not in (*PASSING, IntegrityError.__name__)))


def _is_full(failure: Failure) -> bool:
    """Whether a failure says that the store takes no more: every other task would fail of it too."""
    return failure.kind == StorageError.__name__
