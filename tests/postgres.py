"""A private PostgreSQL with PostGIS for the tests: Debian's programs, a temporary folder, a socket in it alone, an unprivileged user."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAIT = 60
"""Seconds any one step may take on a busy machine."""
INSTALL = "sudo apt-get install -y --no-install-recommends postgresql-postgis"


def lacking() -> list[str]:
    """What the machine lacks for it, each with the command that mends it."""
    lacks = []
    if postgres() is None:
        lacks.append(f"PostgreSQL with PostGIS: {INSTALL}")
    if shutil.which("setpriv") is None:
        lacks.append("setpriv: sudo apt-get install -y util-linux")
    return lacks


def postgres() -> Path | None:
    """Folder of the programs of the newest PostgreSQL that has PostGIS, where Debian puts them."""
    having = (control.parts[4] for control in Path("/usr/share/postgresql").glob("*/extension/postgis.control"))
    folders = [folder for version in having if (folder := Path("/usr/lib/postgresql", version, "bin")).is_dir()]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


def as_user(user: str, stop: str = "") -> list[str]:
    """Words before a command that make it run as `user` (PostgreSQL refuses root) and get `stop` when this process dies."""
    words = ["setpriv", *(["--pdeathsig", stop] if stop else [])]
    return [*words, "--reuid", user, "--regid", user, "--init-groups"] if user != getpass.getuser() else words


@contextlib.contextmanager
def running(command: list[str], log: Path, ready: str, **options: Any) -> Iterator[re.Match[str]]:
    """A process from the moment its log says `ready` (a pattern: the match) until the end of the block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, **options)
    try:
        until = time.monotonic() + WAIT
        while not (found := re.search(ready, log.read_text(encoding="utf-8", errors="replace"))):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        yield found
    finally:
        process.send_signal(signal.SIGINT)  # both end at once on it, in good order
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def do(*command: object, **options: Any) -> None:
    """Run a command to its end; RuntimeError with what it said when it fails."""
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=WAIT, check=False, **options)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")


@contextlib.contextmanager
def database(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL in a folder, reached by a socket there alone: the environment that leads to it."""
    programs = postgres()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    shutil.chown(folder, user)
    data = folder / "data"
    do(
        *as_user(user),
        programs / "initdb",
        "-D",
        data,
        "-U",
        "stac",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        cwd=folder,
    )
    # Nothing here outlives the tests: no waiting for the disk.
    quick = (
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "autovacuum=off",
        "max_wal_senders=0",
        "wal_level=minimal",
        "jit=off",
    )
    settings = ("listen_addresses=", f"unix_socket_directories={folder}", *quick)
    words = [word for setting in settings for word in ("-c", setting)]
    command = [*as_user(user, stop="INT"), str(programs / "postgres"), "-D", str(data), *words]
    with running(command, folder / "postgres.log", "ready to accept connections", cwd=folder):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
        yield {**kept, "PGHOST": str(folder), "PGPORT": "5432", "PGUSER": "stac", "PGPASSWORD": "none", "PGDATABASE": "postgres"}
