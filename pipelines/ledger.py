"""The ledger of a store: one record per (stage, key), written last, that says what was made from what.

A task is done when its record carries the fingerprint of today's recipe and inputs and every output lies there with the
recorded size. Fingerprints are built on the *content* of upstream outputs, so a product that is rebuilt bit-identical
makes nothing downstream stale.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import BaseModel

from geoplantnet.errors import StorageError, TryAgain
from geoplantnet.storage import files_of, json_text, sha256, size_of, sweep, write_json

PATIENCE = 30.0
"""Seconds a run waits for the last tasks of a run that was killed."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """One asset of a task."""

    path: str
    """Relative to the store."""
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a task did."""

    stage: str
    key: str
    fingerprint: str
    outputs: tuple[Output, ...]
    stats: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    seal: str = ""
    """SHA-256 over all the rest: a record with a changed byte is no record."""

    def sealed(self) -> Record:
        """The record with its seal."""
        return replace(self, seal=fingerprint(asdict(replace(self, seal=""))))

    @property
    def content(self) -> list[list[str]]:
        """What downstream fingerprints are built on."""
        return [[o.path, o.sha256] for o in self.outputs]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a task could not be done; kept beside the records until it succeeds."""

    stage: str
    key: str
    kind: str
    message: str
    exit_code: int = 1
    details: str = ""


class Damage(NamedTuple):
    """One asset, or one record, that is not as it was written."""

    stage: str
    key: str
    message: str


class Ledger:
    """Reads and writes the records of one store."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._folder = store / "ledger"

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded here."""
        return any(self._folder.glob("*/*.json"))

    def record(self, stage: str, key: str) -> Record | None:
        """The record of a task, or None when there is none, or a damaged one."""
        return _read(self._file(stage, key))

    def is_done(self, stage: str, key: str, mark: str) -> bool:
        """Whether the task was done from exactly these inputs and its outputs still lie there."""
        record = self.record(stage, key)
        if record is None or record.fingerprint != mark:
            return False
        return all((self.store / o.path).exists() and size_of(self.store / o.path) == o.bytes for o in record.outputs)

    def commit(self, stage: str, key: str, mark: str, outputs: Iterable[Path], stats: dict[str, Any], seconds: float) -> Record:
        """Hash the outputs and write the record: from here on the task is done."""
        listed = tuple(Output(path=p.relative_to(self.store).as_posix(), sha256=sha256(p), bytes=size_of(p)) for p in sorted(outputs))
        record = Record(stage=stage, key=key, fingerprint=mark, outputs=listed, stats=stats, seconds=round(seconds, 2)).sealed()
        write_json(self._file(stage, key), asdict(record))
        return record

    def fail(self, failure: Failure) -> None:
        """Keep why a task failed."""
        write_json(self._file(failure.stage, failure.key, "failed"), asdict(failure))

    def failures(self) -> list[Failure]:
        """Tasks that failed and have not succeeded since."""
        return [failure for p in sorted(self._folder.glob("*/*.failed")) if (failure := _read_failure(p))]

    def records(self) -> Iterator[Record]:
        """All records, by stage and key."""
        for file in sorted(self._folder.glob("*/*.json")):
            if record := self.record(file.parent.name, file.stem):
                yield record

    def forget(self, stage: str, key: str) -> None:
        """Drop what is known of a task, so that the next run does it again."""
        for suffix in ("json", "failed"):
            self._file(stage, key, suffix).unlink(missing_ok=True)

    def damage(self) -> list[Damage]:
        """Compare every output with its record, byte by byte. One entry per output that is missing or differs, and per damaged record."""
        found = []
        for file in sorted(self._folder.glob("*/*.json")):
            stage, key = file.parent.name, file.stem
            record = self.record(stage, key)
            if record is None:
                found.append(
                    Damage(stage, key, f"{file.relative_to(self.store).as_posix()} is damaged: what it recorded cannot be checked")
                )
                continue
            found += [Damage(stage, key, fault) for output in record.outputs if (fault := self._fault(output))]
        return found

    def _fault(self, output: Output) -> str:
        """What is wrong with an asset; empty when nothing is."""
        path = self.store / output.path
        try:
            if not path.exists():
                return f"{output.path} is missing"
            if size_of(path) != output.bytes:
                return f"{output.path} has {size_of(path)} bytes, recorded were {output.bytes}"
            return "" if sha256(path) == output.sha256 else f"{output.path} differs from its recorded SHA-256"
        except OSError as error:
            return f"{output.path} cannot be read ({error.strerror})"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run; sweep what killed runs left.

        Raises TryAgain when another run holds it, or when tasks of a run that was killed still write after PATIENCE seconds.
        """
        with self._open_lock(".lock") as lock, self._open_lock(".writers") as writers:
            if not _flock(lock, fcntl.LOCK_EX):
                raise TryAgain(f"another run holds {self.store}; wait for it to end, or use another --store")
            given_up = time.monotonic() + PATIENCE
            while not _flock(writers, fcntl.LOCK_EX):
                if time.monotonic() > given_up:
                    raise TryAgain(f"tasks of a run that was killed still write to {self.store}; wait for them to end, or end them")
                time.sleep(0.1)
            sweep(self.store)
            fcntl.flock(writers, fcntl.LOCK_UN)
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Mark this process as one that writes to the store: a task may outlive the run that sent it."""
        with self._open_lock(".writers") as writers:
            fcntl.flock(writers, fcntl.LOCK_SH)
            yield

    def _open_lock(self, name: str) -> IO[str]:
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            return (self.store / name).open("w")
        except OSError as error:
            raise StorageError(f"cannot use {self.store} as a store: {error.strerror}; choose another with --store") from error

    def _file(self, stage: str, key: str, suffix: str = "json") -> Path:
        return self._folder / stage / f"{key}.{suffix}"


def _read(file: Path) -> Record | None:
    """A record of which no byte was changed."""
    try:
        text = file.read_text(encoding="utf-8")
        raw = json.loads(text)
        record = Record(**{**raw, "outputs": tuple(Output(**o) for o in raw["outputs"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
    whole = record.seal == record.sealed().seal and text == json_text(asdict(record))
    return record if whole else None


def _read_failure(file: Path) -> Failure | None:
    try:
        return Failure(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _flock(file: IO[str], how: int) -> bool:
    """Whether the lock could be had without waiting."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def fingerprint(*parts: object) -> str:
    """SHA-256 of JSON-able parts; dictionaries by sorted key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def identity(path: str | os.PathLike[str]) -> list[list[object]]:
    """What tells that an input file (or folder of files) was replaced: name, size and time of change."""
    root = Path(path)
    if not root.exists():
        return [[str(root), None, None]]
    return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files_of(root)]


def paths_in(value: object) -> Iterator[Path]:
    """Every path named anywhere in recipe sections."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from paths_in(list(dict(value).values()))
    elif isinstance(value, Mapping):
        yield from paths_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from paths_in(inner)
