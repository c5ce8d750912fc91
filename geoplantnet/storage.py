"""Write beside, fsync, rename: nothing half-written ever stands at its final path.

A killed GeoTIFF write opens without error and reads wrong; a rename does not. Directories (Zarr) are committed the
same way. Temporary names start with ``.tmp-``, so that litter of a killed run is recognised and swept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geoplantnet.errors import StorageError

_PREFIX = ".tmp-"
_GRACE = 0.02
"""Seconds in which the threads of a library end what they have begun to write."""


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it (file or directory) and rename it to `path`.

    On any error the temporary is removed and what stood at `path` before still stands. A full disk, a failing
    device, a file where a folder stands and a folder where a file stands raise StorageError.
    """
    final = Path(path)
    temporary = final.parent / f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}-{final.name}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        _commit(temporary, final)
    except OSError as error:
        _discard(temporary)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
            raise StorageError(f"cannot write {final}: {error.strerror}; free space or choose another store, then run again") from error
        raise
    except BaseException:
        _discard(temporary)
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Commit `value` as UTF-8 JSON with sorted keys (same value, same bytes)."""
    text = json_text(value)
    with write_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def json_text(value: Any) -> str:
    """What `write_json` writes: one text a value. Raises ValueError for NaN and infinities, which JSON has not."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def files_of(path: Path) -> list[Path]:
    """The regular files of an asset: itself, or everything below a directory, sorted by relative POSIX path."""
    if path.is_dir():
        return sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).as_posix())
    return [path]


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file, or of a directory's sorted (relative path, SHA-256) lines."""
    asset = Path(path)
    if asset.is_dir():
        tree = hashlib.sha256()
        for file in files_of(asset):
            tree.update(f"{file.relative_to(asset).as_posix()}\0{sha256(file)}\n".encode())
        return tree.hexdigest()
    with asset.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of a file, or of all files below a directory."""
    return sum(file.stat().st_size for file in files_of(Path(path)))


def sweep(root: str | os.PathLike[str], *, deepest: int | None = None) -> int:
    """Remove every temporary below `root`. Returns how many. Only for who holds the store alone: writers are not asked.

    `deepest`: folders more than so many levels below `root` are not looked into (a store of many tiles has millions).

    (A process id says little: a killed process keeps it until it is reaped, and a container gives it to the next.)
    """
    removed = 0
    for folder, directories, files in os.walk(root):
        for name in [*directories, *files]:
            if name.startswith(_PREFIX):
                _remove(Path(folder) / name)
                removed += 1
        level = len(Path(folder).relative_to(root).parts)
        directories[:] = [d for d in directories if not d.startswith(_PREFIX)] if deepest is None or level < deepest else []
    return removed


def _sync(path: Path) -> None:
    for file in files_of(path):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    folders = [path, *(p for p in path.rglob("*") if p.is_dir())] if path.is_dir() else []
    for folder in folders:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _commit(temporary: Path, final: Path) -> None:
    if final.exists() and temporary.is_dir() != final.is_dir():  # a mistyped name would end what somebody keeps there
        is_one, wanted = ("folder", "file") if final.is_dir() else ("file", "folder")
        raise StorageError(f"{final} is a {is_one}, and a {wanted} is to be written there; name another place, or move it away")
    if not temporary.is_dir():
        temporary.replace(final)
    else:  # a directory cannot be replaced in one step: the old one steps aside, swept if we are killed in between
        aside = final.parent / f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}-old"
        if final.exists():
            final.rename(aside)
        try:
            temporary.rename(final)
        except OSError:
            if aside.exists():
                aside.rename(final)
            raise
        _remove(aside)
    _sync_folder(final.parent)


def _discard(temporary: Path) -> None:
    """Remove what was written until the error. Zarr writes with threads, which may not have heard of it: a folder has to stay away a while."""
    again = temporary.is_dir()
    _remove(temporary)
    while again:
        time.sleep(_GRACE)
        again = temporary.exists()
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def to_wal(connection: sqlite3.Connection, patience: float = 10.0) -> None:
    """Let readers of an SQLite file go on beside a writer. Waits so many seconds for other processes that open the same new file.

    SQLite itself does not wait here: it says at once that the file is locked. Raises sqlite3.OperationalError.
    """
    end = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
