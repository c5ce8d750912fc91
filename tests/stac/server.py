"""A real STAC API for the tests: stac-fastapi-pgstac on PostgreSQL and PostGIS, loaded with real items.

    python tests/stac/server.py ../shared/data

Everything lives in a temporary folder; the database listens on a socket in it, the API and the images on free ports of
127.0.0.1. One line of JSON says when it is ready, and where: `api`, `files` (images over HTTP, with ranges) and `items`
(a file with the items as loaded, one a line). It ends, and takes everything with it, when its standard input does.
What is missing on the machine is said with the command that mends it, and exit status 69.
"""

from __future__ import annotations

import contextlib
import getpass
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-stac"
UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h."""
WAIT = 60
"""Seconds any one step may take on a busy machine."""
LOAD = """
import sys
from pypgstac.pypgstac import PgstacCLI
cli = PgstacCLI()
cli.migrate()
cli.load("collections", sys.argv[1])
cli.load("items", sys.argv[2])
"""
"""pypgstac's three commands in one process."""

Json = dict[str, Any]


class Unavailable(Exception):
    """What the machine lacks, a line each, with the command that mends it."""


def postgres() -> Path | None:
    """Folder of the programs of the newest PostgreSQL that has PostGIS, where Debian puts them."""
    having = (control.parts[4] for control in Path("/usr/share/postgresql").glob("*/extension/postgis.control"))
    folders = [folder for version in having if (folder := Path("/usr/lib/postgresql", version, "bin")).is_dir()]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


def missing() -> list[str]:
    """What the machine lacks, each with the command that mends it."""
    lacks = []
    if postgres() is None:
        lacks.append("PostgreSQL with PostGIS: sudo apt-get install -y --no-install-recommends postgresql-postgis")
    if not (VENV / ".made").exists():
        lacks.append("stac-fastapi-pgstac: make stac")
    if shutil.which("setpriv") is None:
        lacks.append("setpriv: sudo apt-get install -y util-linux")
    return lacks


def collected(data: Path, files: str) -> dict[str, list[Json]]:
    """The real items by collection, each id once: Landsat and Sentinel-2 of public catalogs, and our own images twice:
    `...-local` by path, `...-http` by the address of `files`. Of Sentinel-2 there is also a series (`three_days`).
    """
    folder = data / "stac_fixtures"
    items: list[Json] = json.loads(gzip.decompress((folder / "cassette_items.json.gz").read_bytes()))["features"]
    for file in sorted((folder / "odc-stac").glob("*json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        items += content.get("features", [content] if content["type"] == "Feature" else [])
    for line in (folder / "own_items.ndjson").read_text(encoding="utf-8").splitlines():
        local, remote = json.loads(line), json.loads(line)
        remote["collection"] = local["collection"].replace("-local", "-http")
        for name, asset in local["assets"].items():
            path = (folder / asset["href"]).resolve()
            asset["href"] = str(path)
            remote["assets"][name]["href"] = f"{files}/{path.relative_to(data).as_posix()}"
        items += [local, remote]
        if remote["collection"] == "sentinel-2-l2a-http":
            items += three_days(remote, data, files)
    found: dict[str, dict[str, Json]] = {}
    for item in items:
        item.setdefault("collection", item["properties"].get("odc:product"))
        item["links"] = []  # of the catalog it came from; the API writes its own
        found.setdefault(item["collection"], {}).setdefault(item["id"], item)
    return {name: list(members.values()) for name, members in sorted(found.items())}


def three_days(item: Json, data: Path, files: str) -> Iterator[Json]:
    """One scene as if seen on three days: `...-series` as it is, `...-checked` with size and SHA-256 of each asset (file extension)."""
    for name in ("series", "checked"):
        for days in (0, 5, 10):
            other: Json = json.loads(json.dumps(item))
            when = datetime.fromisoformat(item["properties"]["datetime"]) + timedelta(days=days)
            other["collection"] = item["collection"].replace("http", name)
            other["id"] = f"{item['id']}_{when:%Y%m%d}"
            other["properties"]["datetime"] = f"{when:%Y-%m-%dT%H:%M:%SZ}"
            for asset in other["assets"].values() if name == "checked" else ():
                content = (data / asset["href"].removeprefix(f"{files}/")).read_bytes()
                asset |= {"file:size": len(content), "file:checksum": "1220" + hashlib.sha256(content).hexdigest()}
            yield other


def collection(name: str, items: list[Json]) -> Json:
    """A collection around its items."""
    boxes, times = [item["bbox"] for item in items], sorted(item["properties"]["datetime"] for item in items)
    around = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    extent = {"spatial": {"bbox": [around]}, "temporal": {"interval": [[times[0], times[-1]]]}}
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "proprietary",
        "links": [],
        "extent": extent,
    }


class Ranges(SimpleHTTPRequestHandler):
    """Files of a folder, whole or by one byte range."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits for the client to confirm the headers
    left: int | None = None
    """Bytes still to be sent; None = all."""

    def send_head(self) -> Any:
        self.left = None
        path, wanted = Path(self.translate_path(self.path)), re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not path.is_file():
            return self.send_error(404)
        if wanted is None:
            return super().send_head()
        size = path.stat().st_size
        first, last = (int(v) if v else None for v in wanted.groups())
        if first is None:  # the last n bytes
            first, last = max(0, size - (last or 0)), size - 1
        last = size - 1 if last is None else min(last, size - 1)
        if first > last:
            return self.send_error(416)
        self.left = last - first + 1
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(self.left))
        self.end_headers()
        stream = path.open("rb")
        stream.seek(first)
        return stream

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read(self.left))

    def log_message(self, *_: object) -> None:
        """Silence: standard error is for what went wrong."""


@contextlib.contextmanager
def images(folder: Path) -> Iterator[str]:
    """A folder over HTTP: the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Ranges(*a, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


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


@contextlib.contextmanager
def served(data: Path) -> Iterator[Json]:
    """All of it, from an empty folder to an API that answers: what the line of JSON says."""
    with contextlib.ExitStack() as stack:
        # Below /tmp: a socket's name is short, and user postgres has to get in.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stac-", dir="/tmp")))
        files = stack.enter_context(images(data))
        items, collections = folder / "items.ndjson", folder / "collections.ndjson"
        content = collected(data, files)
        items.write_text("".join(json.dumps(item) + "\n" for members in content.values() for item in members), encoding="utf-8")
        collections.write_text("".join(json.dumps(collection(*pair)) + "\n" for pair in content.items()), encoding="utf-8")
        environment = stack.enter_context(database(folder))
        do(VENV / "bin" / "python", "-c", LOAD, collections, items, env=environment, cwd=folder)
        socket = environment["PGHOST"].replace("/", "%2F")  # it becomes a part of a URL
        factory = ["uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app", "--host", "127.0.0.1", "--port", "0", "--no-access-log"]
        command = [*as_user(getpass.getuser(), stop="INT"), str(VENV / "bin" / "python"), "-m", *factory]
        api = stack.enter_context(
            running(command, folder / "api.log", r"running on (http://\S+)", env={**environment, "PGHOST": socket}, cwd=folder)
        )
        yield {"api": api[1], "files": files, "items": str(items)}


@contextlib.contextmanager
def started(data: Path) -> Iterator[Json]:
    """`served` in a process of its own, which ends with the block, or by itself when this process dies. Raises Unavailable."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, str(Path(__file__)), str(data)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdin is not None and process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                ended = process.wait(WAIT)
                log.seek(0)
                if ended == UNAVAILABLE:
                    raise Unavailable(log.read())
                raise RuntimeError(f"the STAC API did not start (exit {ended}): {log.read()}")
            yield json.loads(line)
        finally:
            process.stdin.close()
            try:
                process.wait(WAIT)
            finally:
                process.kill()
                process.stdout.close()


def main(data: Path, asked: BinaryIO) -> int:
    if lacks := missing():
        print("\n".join(lacks), file=sys.stderr)
        return UNAVAILABLE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with contextlib.suppress(KeyboardInterrupt), served(data.resolve()) as where:
        print(json.dumps(where), flush=True)
        asked.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.stdin.buffer))
