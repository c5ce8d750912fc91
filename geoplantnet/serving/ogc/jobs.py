"""Jobs that take longer than a request: kept in SQLite, worked off by a few threads or by Dask, their results until they expire.

Worker processes of one server share the folder. A job belongs to the process that took it; one whose process is gone has failed.
"""

from __future__ import annotations

import copy
import os
import re
import secrets
import shutil
import socket
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from geoplantnet.errors import ConfigurationError, StorageError, TryAgain
from geoplantnet.serving.exceptions import TooLarge, fault_of
from geoplantnet.storage import to_wal, write_beside

AT_ONCE = 2
"""Jobs a process works on at once."""
MOST_WAITING = 32
"""Jobs that wait or are at work, of everybody."""
MOST_OWN = 8
"""Those of one client."""
KEPT_S = 86_400
"""Seconds a job and its result are kept after its end."""
JOB_S = 900
"""Seconds a job may take."""
MOST_BYTES = 256 * 2**20
"""Of one result."""
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    id TEXT PRIMARY KEY, process TEXT NOT NULL, owner TEXT NOT NULL, worker TEXT NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL,
    progress INTEGER NOT NULL, code INTEGER NOT NULL, created REAL NOT NULL, started REAL, finished REAL, updated REAL NOT NULL,
    media_type TEXT, filename TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_owner ON job (owner, created);
"""
_FORGOTTEN = """
UPDATE job SET status = 'failed', code = 503, message = 'the server was started anew; send it again', finished = ?, updated = ?
WHERE status IN ('accepted', 'running') AND
"""
OPEN = ("accepted", "running")


class Dismissed(Exception):
    """Nobody wants the result any more."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a process made."""

    body: bytes
    media_type: str
    filename: str = ""
    """To be saved under; empty for what is read at once."""


class Budget:
    """The time a process has, and who wants to know how far it is."""

    def __init__(self, seconds: float, told: Callable[[float], None] = lambda share: None) -> None:
        self._until = time.monotonic() + seconds
        self._seconds, self._told = seconds, told
        self._begin, self._share = 0.0, 1.0
        self.dismissed = threading.Event()

    def check(self) -> None:
        """Raises TooLarge when the time is over, Dismissed when nobody waits any more."""
        if self.dismissed.is_set():
            raise Dismissed
        if time.monotonic() > self._until:
            raise TooLarge(
                f"the process took longer than {self._seconds:.0f} s and was ended; ask for a smaller area, or with Prefer: respond-async"
            )

    def step(self, done: int, of: int) -> None:
        """So many of these are done. Raises as `check`."""
        self.check()
        self._told(self._begin + self._share * done / max(of, 1))

    def part(self, number: int, of: int) -> Budget:
        """The same time and the same wish for the `number`-th (from 0) of so many parts of the work: progress goes on where the last one ended."""
        one = copy.copy(self)
        one._begin, one._share = self._begin + self._share * number / of, self._share / of
        return one


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is known of a job."""

    id: str
    process: str
    owner: str
    status: str
    """accepted, running, successful, failed or dismissed"""
    message: str
    progress: int
    """Per cent."""
    code: int
    """HTTP status of its result."""
    created: datetime
    started: datetime | None
    finished: datetime | None
    updated: datetime
    media_type: str | None
    filename: str | None


@dataclass(kw_only=True)
class _AtWork:
    future: Future[Result]
    budget: Budget = field(default_factory=lambda: Budget(JOB_S))


class Jobs:
    """The jobs of a server. Safe to share between threads; processes share the folder."""

    def __init__(self, folder: Path | None = None, *, scheduler: str = "") -> None:
        """`folder` keeps jobs and results; without one they end with the server. `scheduler`: address of a Dask cluster that does the work."""
        self.folder = folder or Path(tempfile.mkdtemp(prefix="geoplantnet-jobs-"))
        # also where nobody closes it: an application that was made and never started
        self._forget = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True) if folder is None else None
        self._scheduler = scheduler
        self._executor: Executor | None = None
        self._client: Any = None
        self._at_work: dict[str, _AtWork] = {}
        self._lock = threading.Lock()
        self._worker = _name_of(os.getpid())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._db() as db:
                to_wal(db)
                db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"jobs cannot be kept in {self.folder} ({error}); name another folder as serving.jobs") from error
        self._bury_the_dead()

    @property
    def remote(self) -> bool:
        """Whether work is handed to Dask: then it must be a function of plain values."""
        return bool(self._scheduler)

    def submit(self, process: str, owner: str, work: Callable[..., Result], *args: Any) -> Job:
        """Take a job: ``work(*args, budget)``, or ``work(*args)`` on a Dask cluster. Raises TryAgain when too many wait."""
        self._sweep()
        id, now = secrets.token_urlsafe(16), time.time()
        with self._db() as db:
            db.execute("BEGIN IMMEDIATE")
            of_all, own = db.execute(
                "SELECT count(*), coalesce(sum(owner = ?), 0) FROM job WHERE status IN ('accepted', 'running')", (owner,)
            ).fetchone()
            if of_all >= MOST_WAITING or own >= MOST_OWN:
                db.execute("ROLLBACK")
                raise TryAgain(f"{own} jobs of yours and {of_all} in all are at work or wait; try again when one has ended")
            db.execute(
                "INSERT INTO job (id, process, owner, worker, status, message, progress, code, created, updated) "
                "VALUES (?, ?, ?, ?, 'accepted', 'waits for its turn', 0, 0, ?, ?)",
                (id, process, owner, self._worker, now, now),
            )
            db.execute("COMMIT")
        try:
            self._start(id, work, args)
        except BaseException as error:
            self._failed(id, error)
            raise
        (job,) = self._select("WHERE id = ?", (id,))
        return job

    def job(self, id: str) -> Job | None:
        """A job by its id, which nobody can guess."""
        rows = self._select("WHERE id = ?", (id,)) if _ID.fullmatch(id) else []
        return rows[0] if rows else None

    def jobs(self, owner: str, limit: int, offset: int) -> tuple[list[Job], int]:
        """Those of a client, the newest first, and how many there are."""
        self._sweep()
        with self._db() as db:
            count = db.execute("SELECT count(*) FROM job WHERE owner = ?", (owner,)).fetchone()[0]
        return self._select("WHERE owner = ? ORDER BY created DESC, id LIMIT ? OFFSET ?", (owner, limit, offset)), int(count)

    def result(self, job: Job) -> Result:
        """What a successful job made. Raises StorageError when its file is gone."""
        try:
            body = self._path(job.id).read_bytes()
        except OSError as error:
            raise StorageError(f"the result of job {job.id} cannot be read ({error.strerror}); send it again") from error
        return Result(body=body, media_type=job.media_type or "", filename=job.filename or "")

    def dismiss(self, job: Job) -> Job:
        """End a job, or throw its result away."""
        with self._lock:
            at_work = self._at_work.get(job.id)
        self._update(job.id, "dismissed", "dismissed by the client", only=(*OPEN, "successful", "failed"))
        if at_work:
            at_work.budget.dismissed.set()
            at_work.future.cancel()
        self._path(job.id).unlink(missing_ok=True)
        return self.job(job.id) or job

    def close(self) -> None:
        """End what is at work; a folder that was not named is removed."""
        with self._lock:
            for at_work in self._at_work.values():
                at_work.budget.dismissed.set()
                at_work.future.cancel()
        if self._client is not None:
            self._client.close()
        elif self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        if self._forget is not None:
            self._forget()

    # ---- work

    def _start(self, id: str, work: Callable[..., Result], args: tuple[Any, ...]) -> None:
        def told(share: float) -> None:
            self._update(id, "running", "at work", progress=round(95 * share), only=OPEN)

        budget = Budget(JOB_S, told)

        def here() -> Result:
            budget.check()
            self._update(id, "running", "at work", only=OPEN)
            return work(*args, budget)

        executor = self._workers()
        with self._lock:
            future: Future[Result] = executor.submit(work, *args) if self.remote else executor.submit(here)
            self._at_work[id] = _AtWork(future=future, budget=budget)
        if self.remote:
            self._update(id, "running", f"handed to {self._scheduler}", only=OPEN)
        future.add_done_callback(lambda done: self._ended(id, done))

    def _workers(self) -> Executor:
        with self._lock:
            if self._executor is None and self._scheduler:
                from distributed import Client

                try:
                    self._client = Client(self._scheduler, timeout=10, set_as_default=False)
                except (OSError, ValueError) as error:
                    raise TryAgain(f"the Dask cluster that does the work does not answer ({type(error).__name__}); try again") from error
                self._executor = self._client.get_executor(pure=False, retries=0)
            elif self._executor is None:
                self._executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="job")
            assert self._executor is not None
            return self._executor

    def _ended(self, id: str, done: Future[Result]) -> None:
        try:
            result = done.result()
            if len(result.body) > MOST_BYTES:
                raise TooLarge(f"the result has {len(result.body)} bytes, at most {MOST_BYTES} are kept; ask for less")
            with write_beside(self._path(id)) as temporary:
                temporary.write_bytes(result.body)
            kept = self._update(
                id, "successful", "done", progress=100, code=200, media_type=result.media_type, filename=result.filename, only=OPEN
            )
            if not kept:  # dismissed meanwhile
                self._path(id).unlink(missing_ok=True)
        except (CancelledError, Dismissed):
            self._update(id, "dismissed", "ended before it was done", only=OPEN)
        except Exception as error:
            self._failed(id, error)
        finally:
            with self._lock:
                self._at_work.pop(id, None)

    def _failed(self, id: str, error: BaseException) -> None:
        fault, message = fault_of(error) if isinstance(error, Exception) else (None, "the server was ended")
        self._update(id, "failed", message, code=int(fault.status) if fault else 503, only=OPEN)

    # ---- what is kept

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.result"

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "jobs.sqlite", timeout=5, isolation_level=None)) as db:
            yield db

    def _select(self, where: str, values: tuple[object, ...]) -> list[Job]:
        columns = "id, process, owner, status, message, progress, code, created, started, finished, updated, media_type, filename"
        with self._db() as db:
            rows = db.execute(f"SELECT {columns} FROM job {where}", values).fetchall()
        return [_job_of(dict(zip(columns.split(", "), row))) for row in rows]

    def _update(self, id: str, status: str, message: str, *, only: tuple[str, ...], **more: object) -> bool:
        """Write what became of a job; False where it is in another state than one of `only`."""
        now = time.time()
        values: dict[str, object] = {"status": status, "message": message, "updated": now, **more}
        if status not in OPEN:
            values["finished"] = now
        columns = ", ".join(f"{name} = ?" for name in values)
        started = ", started = coalesce(started, ?)" if status == "running" else ""
        query = f"UPDATE job SET {columns}{started} WHERE id = ? AND status IN ({', '.join('?' * len(only))})"
        with self._db() as db:
            done = db.execute(query, (*values.values(), *((now,) if started else ()), id, *only))
            return done.rowcount > 0

    def _sweep(self) -> None:
        """Forget what ended long ago."""
        with self._db() as db:
            now = time.time()
            db.execute(f"{_FORGOTTEN} updated < ?", (now, now, now - KEPT_S))
            old = db.execute("SELECT id FROM job WHERE finished < ?", (now - KEPT_S,)).fetchall()
            db.executemany("DELETE FROM job WHERE id = ?", old)
        for (id,) in old:
            self._path(id).unlink(missing_ok=True)

    def _bury_the_dead(self) -> None:
        """Jobs of processes of this machine that are no more have failed."""
        with self._db() as db:
            workers = [row[0] for row in db.execute("SELECT DISTINCT worker FROM job WHERE status IN ('accepted', 'running')")]
            now = time.time()
            for worker in workers:
                host, pid, _ = worker.rsplit(":", 2)
                if host == socket.gethostname() and _name_of(int(pid)) != worker:
                    db.execute(f"{_FORGOTTEN} worker = ?", (now, now, worker))


def _job_of(row: dict[str, Any]) -> Job:
    for name in ("created", "started", "finished", "updated"):
        row[name] = None if row[name] is None else datetime.fromtimestamp(row[name], UTC)
    return Job(**row)


def _name_of(pid: int) -> str:
    """A process of this machine, told apart from others that had its number."""
    try:
        began = f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        began = ""
    return f"{socket.gethostname()}:{pid}:{began}"
