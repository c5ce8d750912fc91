"""How a stage is carried out: which tasks are due, on which workers, and what becomes of a failure."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed, get_worker
from distributed.scheduler import KilledWorker

import geoplantnet
from geoplantnet.config.recipe import ClusterSection
from geoplantnet.errors import GeoPlantNetError, InputError, StorageError
from pipelines.context import Run
from pipelines.ledger import Failure, Ledger, Record, fingerprint
from pipelines.progress import Reporter

Made = tuple[list[Path], dict[str, Any]]
"""What a task hands back: the assets it committed, and a few facts for the ledger."""
Inside = Callable[[int, int, str], None]
TOPIC = "geoplantnet"
WITHOUT_WORKERS = "120s"
"""How long a task waits for a worker when all have gone and none comes back; then it has failed."""
PATIENCE = 20.0
"""Seconds to wait for a scheduler to answer."""
WORKER_ENVIRONMENT = {
    # A worker that gives freed arrays back to the system pays for the same pages again and again: training took 7 times longer.
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    # One thread a task; training sets its own, which sleep rather than spin while they wait for a core.
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Stage:
    """One verb of the pipeline."""

    name: str
    keys: Callable[[Run], Sequence[str]]
    """Its tasks."""
    settings: Callable[[Run, str], object]
    """The part of recipe and inputs that a task depends on (JSON-able)."""
    needs: Callable[[Run, str], list[tuple[str, str]]]
    """(stage, key) of the upstream tasks it reads."""
    work: Callable[[Run, str, Inside], Made]
    """Does the task on a worker."""
    describe: Callable[[dict[str, Any]], str] = lambda stats: ""
    """The facts as a short note for people."""


@dataclass(frozen=True)
class Outcome:
    """What a stage did."""

    stage: str
    done: tuple[Record, ...]
    skipped: int
    failures: tuple[Failure, ...]
    """Of its own tasks, and those upstream that left some of its tasks out."""
    seconds: float


class Interrupted(Exception):
    """The run was asked to stop; running tasks were finished first."""


class Flow:
    """Carries out stages of one run, starting workers only when something is due.

    While it is open, SIGINT and SIGTERM let running tasks end and hand out no more; a second one is not waited for.
    """

    def __init__(self, run: Run, reporter: Reporter) -> None:
        self.run, self.reporter, self.ledger = run, reporter, Ledger(run.store)
        self._client: Client | None = None
        self._cluster: LocalCluster | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._stop = threading.Event()
        self._handlers: dict[signal.Signals, Any] = {}

    def carry_out(self, stage: Stage) -> Outcome:
        """Do every due task of a stage. A failing task is recorded and the others go on.

        Raises InputError when an upstream stage has not been run, StorageError when the store takes no more, Interrupted
        after SIGINT or SIGTERM.
        """
        self._heed(stage)
        started = time.monotonic()
        due, skipped, blocked = [], 0, []
        for key in stage.keys(self.run):
            upstream = [(s, k, self.ledger.record(s, k)) for s, k in stage.needs(self.run, key)]
            missing = [(s, k) for s, k, record in upstream if record is None]
            if missing:
                blocked.append((key, missing))
                continue
            mark = fingerprint(
                geoplantnet.__version__,
                asdict(self.run.grid),
                stage.name,
                key,
                stage.settings(self.run, key),
                [r.content for _, _, r in upstream if r],
            )
            if self.ledger.is_done(stage.name, key, mark):
                skipped += 1
            else:
                due.append((key, mark))
        left_out = self._leave_out(stage, blocked)
        records, failures = self._do(stage, due) if due else ([], [])
        return Outcome(stage.name, tuple(records), skipped, (*left_out, *failures), time.monotonic() - started)

    def _leave_out(self, stage: Stage, blocked: list[tuple[str, list[tuple[str, str]]]]) -> list[Failure]:
        """A tile whose upstream task failed is left out, and what was made of it before counts no more; one whose upstream
        was never run is the caller's mistake.
        """
        failures = self.ledger.failures()
        causes: dict[Failure, None] = {}
        for key, missing in blocked:
            for upstream, of in missing:
                of_this_tile = [f for f in failures if f.key == of]
                if not of_this_tile:
                    raise InputError(
                        f"{stage.name} {key} needs {upstream} {of}, which has not been made; run `geoplantnet {upstream}` first"
                    )
                causes[next((f for f in of_this_tile if f.stage == upstream), of_this_tile[0])] = None
            self.ledger.forget(stage.name, key)
        return list(causes)

    def _do(self, stage: Stage, due: list[tuple[str, str]]) -> tuple[list[Record], list[Failure]]:
        client = self._connect()
        records: list[Record] = []
        failures: list[Failure] = []
        waiting = iter(due)
        with self.reporter.stage(stage.name, len(due)) as bar:
            handler = lambda event: bar.inside(*event[1]) if isinstance(event, tuple) else None  # noqa: E731
            client.subscribe_topic(TOPIC, handler)
            running: dict[Any, str] = {}
            pool: as_completed = as_completed()

            def submit() -> None:
                if not (self._stop.is_set() or _full(failures)) and (task := next(waiting, None)):
                    future = client.submit(execute, stage, self.run, *task, pure=False, retries=0)
                    running[future.key] = task[0]
                    pool.add(future)

            for _ in range(2 * len(client.scheduler_info(n_workers=-1)["workers"]) or 2):
                submit()
            for future in pool:
                key = running[future.key]
                result = _result(future, stage.name, key)
                if isinstance(result, Record):
                    records.append(result)
                    bar.task_done(key, result.seconds, stage.describe(result.stats))
                else:
                    failures.append(result)
                    if not _full([result]):
                        self.ledger.fail(result)
                    bar.task_done(key, 0.0, f"failed: {result.message}")
                submit()
            client.unsubscribe_topic(TOPIC)
        if full := _full(failures):
            raise StorageError(full.message)
        self._heed(stage)
        return records, failures

    def _heed(self, stage: Stage) -> None:
        if self._stop.is_set():
            raise Interrupted(f"stopped during {stage.name}; running tasks were finished, run again to go on")

    def _drain(self, signum: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()
        # In a thread of its own: the signal may have come in the middle of a print.
        threading.Thread(target=self.reporter.say, args=("stopping: waiting for running tasks (again to stop at once)",)).start()

    def _connect(self) -> Client:
        if self._client is None:
            self._client = self._start(self.run.recipe.cluster)
        return self._client

    def _start(self, section: ClusterSection) -> Client:
        if section.scheduler:
            try:
                return Client(section.scheduler, timeout=PATIENCE)
            except OSError as error:
                raise InputError(
                    f"no Dask scheduler answers at {section.scheduler} ({error}); start one, or drop cluster.scheduler"
                ) from error
        self._scratch = tempfile.TemporaryDirectory(prefix="geoplantnet-")
        settings = {
            "distributed.worker.daemon": True,
            "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
            "distributed.scheduler.no-workers-timeout": WITHOUT_WORKERS,
        }
        with _signals_stay_here(), dask.config.set(settings):
            self._cluster = LocalCluster(
                n_workers=section.workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=section.memory,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                local_directory=self._scratch.name,
                silence_logs=50,
            )
        return Client(self._cluster)

    def close(self) -> None:
        """Let workers and scratch space go."""
        try:
            if self._client is not None:
                self._client.close()
            if self._cluster is not None:
                self._cluster.close()
            if self._scratch is not None:
                self._scratch.cleanup()
        finally:
            for which, handler in self._handlers.items():
                signal.signal(which, handler)

    def __enter__(self) -> Flow:
        if threading.current_thread() is threading.main_thread():  # Python hands signals to no other
            self._handlers = {s: signal.signal(s, self._drain) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _signals_stay_here() -> Iterator[None]:
    """Workers started inside never see SIGINT and SIGTERM.

    Ctrl-C and batch systems signal the whole process group, but only the run may act: it lets the workers end their
    tasks. Processes inherit the blocked mask; what arrives meanwhile is delivered to this one afterwards.
    """
    resource_tracker.ensure_running()  # multiprocessing's helper unblocks both when it starts, so it must have started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def execute(stage: Stage, run: Run, key: str, mark: str) -> Record | Failure:
    """Do one task on a worker and enter it in the ledger; an error comes back as a Failure, never as a traceback.

    The old record is taken back before the first output is touched: a record never speaks of files it did not see.
    """
    started = time.monotonic()
    ledger = Ledger(run.store)
    try:
        with ledger.writing():
            ledger.forget(stage.name, key)
            outputs, stats = stage.work(run, key, lambda done, total, message: get_worker().log_event(TOPIC, (key, done, total, message)))
            return ledger.commit(stage.name, key, mark, outputs, stats, time.monotonic() - started)
    except GeoPlantNetError as error:
        return Failure(stage=stage.name, key=key, kind=error.kind, message=str(error), exit_code=error.exit_code)
    except Exception as error:
        text = traceback.format_exc()
        return Failure(stage=stage.name, key=key, kind=type(error).__name__, message=str(error) or type(error).__name__, details=text)


def _full(failures: Sequence[Failure]) -> Failure | None:
    """The first failure that says the store takes no more: every other task would fail of it too."""
    return next((f for f in failures if f.kind == StorageError.__name__), None)


def _result(future: Any, stage: str, key: str) -> Record | Failure:
    try:
        return future.result()
    except KilledWorker:
        message = "its worker was killed several times, most likely for lack of memory; lower cluster.workers or raise cluster.memory"
        return Failure(stage=stage, key=key, kind="KilledWorker", message=message)
    except Exception as error:
        return Failure(stage=stage, key=key, kind=type(error).__name__, message=str(error))
