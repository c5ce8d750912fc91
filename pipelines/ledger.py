"""The ledger of a store: one record per (stage, key), written last, that says what was made from what.

A task is done when its record carries the fingerprint of today's recipe and inputs and every output lies there with the
recorded size. Fingerprints are built on the *content* of upstream outputs, so a product that is rebuilt bit-identical
makes nothing downstream stale. A key is a tile (`25kmE4125N2575`), a tile and a modality (`25kmE4125N2575.sentinel2`) or
the name of a task that concerns all tiles.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import BaseModel

from geoplantnet.errors import StorageError, TryAgain
from geoplantnet.storage import files_of, json_text, sha256, size_of, sweep, write_json

PATIENCE = 30.0
"""Seconds a run waits for the last tasks of a run that was killed."""
DEEPEST = 2
"""Folders below the store in which temporaries can lie (cubes/TILE.zarr); what is committed has none inside."""
PASSING = ("TryAgain", "ConnectionError")
"""Kinds of failures that say nothing of the task itself: another try may succeed, and none is held against it."""


def tile_of(key: str) -> str:
    """The tile a task belongs to; of a task that concerns all tiles, its own name."""
    return key.partition(".")[0]


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
    """How long it took."""
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes its worker process held at most."""
    seal: str = ""
    """SHA-256 of the record's text with an empty seal: a record with a changed byte is no record."""

    def sealed(self) -> Record:
        """The record with its seal."""
        return replace(self, seal=hashlib.sha256(json_text(asdict(replace(self, seal=""))).encode()).hexdigest())

    @property
    def content(self) -> str:
        """What downstream fingerprints are built on: the outputs, not how long they took."""
        return fingerprint([[o.path, o.sha256] for o in self.outputs])


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a task could not be done; kept beside the records until it succeeds."""

    stage: str
    key: str
    kind: str
    message: str
    exit_code: int = 1
    details: str = ""
    fingerprint: str = ""
    """What was tried."""
    attempts: int = 0
    """How often exactly that was tried and failed; `PASSING` kinds do not count."""

    def is_poison(self, mark: str, attempts: int) -> bool:
        """Whether the task, if it is still the same, failed so often that it is not worth another try."""
        return self.fingerprint == mark and self.attempts >= attempts


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

    def keys(self, stage: str) -> set[str]:
        """Tasks of a stage that have a record: one listing of a folder, however many there are."""
        return {name.removesuffix(".json") for name in self._names(stage) if name.endswith(".json")}

    def record(self, stage: str, key: str) -> Record | None:
        """The record of a task, or None when there is none, or a damaged one."""
        return _read(self._file(stage, key))

    def holds(self, record: Record) -> bool:
        """Whether every output of a record still lies there with its size."""
        return all(_size(self.store / o.path) == o.bytes for o in record.outputs)

    def commit(self, stage: str, key: str, mark: str, outputs: Iterable[Path], stats: dict[str, Any], cost: Cost) -> Record:
        """Hash the outputs and write the record: from here on the task is done."""
        listed = tuple(Output(path=p.relative_to(self.store).as_posix(), sha256=sha256(p), bytes=size_of(p)) for p in sorted(outputs))
        record = Record(stage=stage, key=key, fingerprint=mark, outputs=listed, stats=stats, **cost._asdict()).sealed()
        write_json(self._file(stage, key), asdict(record))
        self._file(stage, key, "failed").unlink(missing_ok=True)
        return record

    def fail(self, failure: Failure) -> None:
        """Keep why a task failed."""
        write_json(self._file(failure.stage, failure.key, "failed"), asdict(failure))

    def failures(self, stage: str | None = None) -> list[Failure]:
        """Tasks (of one stage) that failed and have not succeeded since, by stage and key."""
        files = [self._folder / s / n for s in self._stages(stage) for n in sorted(self._names(s)) if n.endswith(".failed")]
        return [failure for file in files if (failure := _read_failure(file))]

    def records(self, stage: str | None = None) -> Iterator[Record]:
        """All records (of one stage), by stage and key."""
        for name in self._stages(stage):
            for key in sorted(self.keys(name)):
                if record := self.record(name, key):
                    yield record

    def take_back(self, stage: str, key: str) -> None:
        """Drop the record of a task that is about to change its outputs. Earlier failures stay known."""
        self._file(stage, key).unlink(missing_ok=True)

    def forget(self, stage: str, key: str) -> None:
        """Drop what is known of a task, so that the next run does it again."""
        for suffix in ("json", "failed"):
            self._file(stage, key, suffix).unlink(missing_ok=True)

    def _stages(self, stage: str | None) -> list[str]:
        if stage is not None:
            return [stage]
        return sorted(p.name for p in self._folder.iterdir()) if self._folder.is_dir() else []

    def _names(self, stage: str) -> list[str]:
        """What lies in the folder of a stage."""
        try:
            with os.scandir(self._folder / stage) as entries:
                return [entry.name for entry in entries]
        except FileNotFoundError:
            return []

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
            found += [Damage(stage, key, fault) for fault in self.faults(record)]
        return found

    def faults(self, record: Record) -> list[str]:
        """What is wrong with the outputs of one record, byte by byte."""
        return [fault for output in record.outputs if (fault := self._fault(output))]

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
            sweep(self.store, deepest=DEEPEST)
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


class Cost(NamedTuple):
    """What a task took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0


def _read(file: Path) -> Record | None:
    """A record of which no byte was changed."""
    try:
        text = file.read_text(encoding="utf-8")
        raw = json.loads(text)
        record = Record(**{**raw, "outputs": tuple(Output(**o) for o in raw["outputs"])})
        unsealed = text.replace(f'"seal": "{record.seal}"', '"seal": ""', 1)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if hashlib.sha256(unsealed.encode()).hexdigest() == record.seal else None


def _size(path: str | Path) -> int:
    """Bytes of a file, or of all files below a folder; -1 when nothing lies there. Zarr has many small folders: this is called often."""
    try:
        with os.scandir(path) as entries:
            return sum(_size(e.path) if e.is_dir(follow_symlinks=False) else e.stat().st_size for e in entries)
    except NotADirectoryError:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return -1


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
    """Every path named anywhere in recipe sections; of one with names in braces the files that it stands for."""
    if isinstance(value, Path):
        plain = Path(*takewhile(lambda part: "{" not in part, value.parts))
        if plain == value:
            yield value
        else:
            yield from sorted(plain.glob(re.sub(r"\{[^}]*\}", "*", value.relative_to(plain).as_posix())))
    elif isinstance(value, BaseModel):
        yield from paths_in(list(dict(value).values()))
    elif isinstance(value, Mapping):
        yield from paths_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from paths_in(inner)
