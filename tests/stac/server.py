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
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

sys.path.append(str(Path(__file__).parents[1]))
from postgres import WAIT, as_user, database, do, lacking, running

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-stac"
UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h."""
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


def missing() -> list[str]:
    """What the machine lacks, each with the command that mends it."""
    return [*lacking(), *([] if (VENV / ".made").exists() else ["stac-fastapi-pgstac: make stac"])]


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
