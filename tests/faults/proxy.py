"""A network that fails: a proxy that spoils the answers of a STAC API by a seed, and 200 reads through it.

    python tests/faults/proxy.py --runs 200 --seed 1 --api pgstac

Each run builds and writes a small Sentinel-2 cube through another weather of faults. It must end inside its budget, with exactly the
files of the calm run or with a typed error and nothing written; the table says how the runs ended, and the exit code is 1 otherwise.
`--api pgstac` stands in front of the real API of `tests/stac` and the real scene of Bolzano, `--api own` in front of `StacServer`,
which needs nothing but this file; without it the real one is taken where it is installed. A `FaultProxy` goes in front of any other
server too (`FaultProxy({"/stac": "http://127.0.0.1:8181"})`).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import logging
import os
import random
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from geoplantnet.cubes import Modality
from geoplantnet.cubes.build import build_cube
from geoplantnet.cubes.cube import write_cube
from geoplantnet.errors import GeoPlantNetError
from geoplantnet.grid import TileGrid
from geoplantnet.sources import stac as searching
from geoplantnet.sources.http import Budget
from geoplantnet.sources.sentinel2 import StacSentinel2
from geoplantnet.sources.stac import StacEndpoint
from geoplantnet.storage import write_beside

sys.path.insert(0, str(Path(__file__).parents[1] / "stac"))
from server import UNAVAILABLE, Unavailable, started

SEARCH_FAULTS = (
    "429", "429 wait", "503", "503 wait", "500", "502", "504", "reset", "reset mid-body", "short", "html", "json error", "drip", "bad gzip",
)  # fmt: skip
ASSET_FAULTS = (*SEARCH_FAULTS[:-1], "truncated range", "shrunk range", "shifted range", "whole file", "html as range", "zeros past half")
LIES = ("flipped", "shifted silently")
"""Wrong bytes with right headers: only a checksum tells."""
PAGING_FAULTS = ("loop", "endless")


class Server(ThreadingHTTPServer):
    """A server in a thread, on a port of its own; use it in a `with`."""

    daemon_threads = True
    request_queue_size = 64

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these servers are for."""


class StacServer(Server):
    """A STAC API with paging, POST and GET search, and files with ranges; assets' hrefs begin with its own address."""

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]] = (),
        files: Mapping[str, bytes] | None = None,
        *,
        page: int = 2,
        documents: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _StacHandler)
        self.items, self.files, self.page = list(items), dict(files or {}), page
        self.documents = dict(documents or {})
        """Path -> JSON served there as it is."""
        self.log: list[tuple[str, str, Any]] = []
        """(method, path with query, body) of the requests."""
        self.conforms = ["item-search#query"]
        self.methods = ("GET", "POST")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits for the client to confirm the headers

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


class _StacHandler(_Handler):
    server: StacServer

    def do_POST(self) -> None:
        text = self.body()
        self._respond(json.loads(text or b"{}"))

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if "bbox" in query:
            query["bbox"] = [float(v) for v in query["bbox"].split(",")]  # type: ignore[assignment]
        self._respond(query)

    do_HEAD = do_GET

    def _respond(self, query: dict[str, Any]) -> None:
        path = urlsplit(self.path).path
        self.server.log.append((self.command, self.path, query))
        if path.lstrip("/") in self.server.files:
            self._file(self.server.files[path.lstrip("/")])
        elif path in self.server.documents:
            self._json(self.server.documents[path])
        elif path in ("", "/"):
            self._json(self._landing())
        elif path.startswith("/collections/") and any(i.get("collection") == path.split("/")[2] for i in self.server.items):
            self._json({"type": "Collection", "id": path.split("/")[2], "stac_version": "1.0.0", "links": []})
        elif path == "/search":
            self._json(self._search(query))
        else:
            self._json({"code": "NotFound", "description": path}, 404)

    def _landing(self) -> dict[str, Any]:
        base, api = self.server.url, "https://api.stacspec.org/v1.0.0/"
        links = [{"rel": "search", "href": f"{base}/search", "type": "application/geo+json", "method": m} for m in self.server.methods]
        conforms = [f"{api}core", f"{api}item-search", *(f"{api}{name}" for name in self.server.conforms)]
        root = {"rel": "root", "href": f"{base}/", "type": "application/json"}
        links.append({"rel": "data", "href": f"{base}/collections"})
        return {
            "type": "Catalog",
            "id": "test",
            "stac_version": "1.0.0",
            "description": "d",
            "conformsTo": conforms,
            "links": [root, *links],
        }

    def _search(self, query: dict[str, Any]) -> dict[str, Any]:
        west, south, east, north = query.get("bbox", (-180, -90, 180, 90))
        hits = [
            i for i in self.server.items
            if not i.get("bbox") or (i["bbox"][0] <= east and i["bbox"][2] >= west and i["bbox"][1] <= north and i["bbox"][3] >= south)
        ]  # fmt: skip
        first, size = int(query.get("token", 0)), min(self.server.page, int(query.get("limit", self.server.page)))
        links = []
        if first + size < len(hits):
            if self.command == "POST":
                links = [
                    {"rel": "next", "href": f"{self.server.url}/search", "method": "POST", "body": {"token": first + size}, "merge": True}
                ]
            else:
                box = ",".join(str(v) for v in (west, south, east, north))
                links = [{"rel": "next", "href": f"{self.server.url}/search?bbox={box}&limit={size}&token={first + size}"}]
        text = json.dumps(hits[first : first + size]).replace("{base}", self.server.url)
        return {"type": "FeatureCollection", "features": json.loads(text), "links": links}

    def _json(self, document: Any, status: int = 200) -> None:
        self.answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _file(self, data: bytes) -> None:
        etag = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes", "Content-Type": "image/tiff"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if match is None:
            self.answer(200, etag, data)
            return
        first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
        if first > last:
            self.answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
        else:
            self.answer(206, etag | {"Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1])


Weather = Callable[[int, str, str], str | None]
"""(number of the request, "search" or "asset", path) -> the fault of this request, or None."""


class FaultProxy(Server):
    """Stands in front of servers (path prefix -> address) and spoils what `weather` says; addresses in JSON come to point to it."""

    def __init__(self, upstreams: Mapping[str, str], weather: Weather = lambda number, kind, path: None) -> None:
        super().__init__(("127.0.0.1", 0), _FaultHandler)
        self.upstreams, self.weather = dict(upstreams), weather
        self.number = 0
        self.seen: Counter[str] = Counter()
        """Faults done so far."""
        self.page: tuple[int, dict[str, str], bytes] | None = None
        """The answer to a search that paging faults give for ever."""
        self.lock = threading.Lock()


class _FaultHandler(_Handler):
    server: FaultProxy

    def do_GET(self) -> None:
        self._spoil(self.body())

    do_POST = do_HEAD = do_GET

    def _spoil(self, sent: bytes) -> None:
        with self.server.lock:
            number, self.server.number = self.server.number, self.server.number + 1
        kind = "asset" if self.headers.get("Range") or re.search(r"\.tiff?($|\?)", self.path) else "search"
        fault = self.server.weather(number, kind, self.path)
        if fault is not None:
            self.server.seen[fault] += 1
        if fault and self._without_asking(fault):
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "accept-encoding")}
        if fault == "whole file":
            headers.pop("Range", None)
        again = fault in PAGING_FAULTS and "again=" in self.path
        status, got, body = self.server.page if again and self.server.page else self._forward(sent, headers)
        if kind == "search" and self.command != "HEAD":
            body = self._rewritten(body)
            if fault in PAGING_FAULTS and status == 200:
                self.server.page = status, got, body
                body = _paged_wrongly(fault, body, self.server.url + self.path, number)
        self._spoilt(fault, status, got, body, kind)

    def _forward(self, sent: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        prefix = next(p for p in sorted(self.server.upstreams, key=len, reverse=True) if self.path.startswith(p))
        upstream = urlsplit(self.server.upstreams[prefix])
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        with suppress(OSError):
            connection.connect()
        try:
            connection.request(self.command, (upstream.path + self.path[len(prefix) :]) or "/", body=sent or None, headers=dict(headers))
            response = connection.getresponse()
            keep = (
                "content-type",
                *(("content-length",) if self.command == "HEAD" else ()),
                "content-range",
                "etag",
                "accept-ranges",
                "last-modified",
            )
            got = {name: value for name, value in response.getheaders() if name.lower() in keep}
            return response.status, got, response.read()
        finally:
            connection.close()

    def _rewritten(self, body: bytes) -> bytes:
        text = body.decode("utf-8")
        for prefix, address in self.server.upstreams.items():
            text = text.replace(address, self.server.url + prefix)
        return text.encode()

    def _without_asking(self, fault: str) -> bool:
        """Faults that need no answer of the server behind."""
        html, error = (
            b"<!DOCTYPE html><html><body>Service under maintenance</body></html>",
            b'{"code": "InternalError", "description": "timeout"}',
        )
        if fault[:3].isdigit():
            wait: dict[str, str] = {}
            if fault.endswith("wait"):
                wait = {"Retry-After": "0" if self.server.number % 2 else formatdate(time.time() + 1, usegmt=True)}
            self.answer(int(fault[:3]), {"Content-Type": "text/html"} | wait, html)
        elif fault == "html":
            self.answer(200, {"Content-Type": "text/html"}, html)
        elif fault == "json error":
            self.answer(200, {"Content-Type": "application/json"}, error)
        elif fault == "reset":
            self._reset()
        else:
            return False
        return True

    def _reset(self) -> None:
        """Close so that the other side gets a RST, not an end."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _spoilt(self, fault: str | None, status: int, headers: dict[str, str], body: bytes, kind: str) -> None:
        half = max(1, len(body) // 2)
        if fault in ("reset mid-body", "short"):
            self._head(status, headers | {"Content-Length": str(len(body)), "Connection": "close"})
            self.wfile.write(body[:half])
            self.close_connection = True
            if fault == "reset mid-body":
                self._reset()
        elif fault == "drip":
            self._head(status, headers | {"Content-Length": str(len(body))})
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.02)
        elif fault == "bad gzip":
            self.answer(status, headers | {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08" + body[:half])
        elif status == 206 and fault == "truncated range":
            self.answer(206, headers, body[:half])
        elif status == 206 and fault == "shrunk range":
            first, total = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers["Content-Range"]).groups()  # type: ignore[union-attr]
            self.answer(206, headers | {"Content-Range": f"bytes {first}-{int(first) + half - 1}/{total}"}, body[:half])
        elif status == 206 and fault == "shifted range":
            first, last, total = (int(v) for v in re.findall(r"\d+", headers["Content-Range"]))
            self.answer(206, headers | {"Content-Range": f"bytes {first + 16}-{last + 16}/{total}"}, body[16:] + b"\0" * 16)
        elif status == 206 and fault == "html as range":
            page = b"<html>" + b"x" * max(0, len(body) - 6)
            self.answer(200, {"Content-Type": "text/html"}, page[: len(body)])
        elif status == 206 and fault == "zeros past half":
            self.answer(200, headers, body[:half] + b"\0" * (len(body) - half))
        elif kind == "asset" and fault == "flipped":
            spot = half
            self.answer(status, headers, body[:spot] + bytes([body[spot] ^ 0x10]) + body[spot + 1 :])
        elif kind == "asset" and fault == "shifted silently":
            self.answer(status, headers, body[16:] + b"\0" * 16)
        else:
            self.answer(status, headers, body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()


def _paged_wrongly(fault: str, body: bytes, path: str, number: int) -> bytes:
    """A page whose next link leads to itself, or to another page for ever."""
    page = json.loads(body)
    if page.get("type") != "FeatureCollection":
        return body
    page["links"] = [{"rel": "next", "href": f"{path.split('?')[0]}?again={number if fault == 'endless' else 0}"}]
    return json.dumps(page).encode()


BUDGET = Budget(seconds=3.0, attempts=6, timeout=0.4, first_pause=0.01, longest_pause=0.1, max_pages=12, max_items=100)
GRACE = 3.0
"""Seconds a run may need beside the network: the arithmetic of a cube on a busy machine."""
TILE = TileGrid(tile_size=2000).tile("2kmE4422N2598")
"""Inside the scene of Bolzano."""
PAGE = 2
"""Items asked a page: three make two pages."""
MODALITY = Modality(name="sentinel2", bands=("B04", "B08"), resolution=10, halo=5, dtype="uint16", scale=1e-4, nodata=0)


def world() -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Three Sentinel-2 scenes over a tile, B04 stored plainly (any byte passes for a pixel): items and files."""
    centre = TILE.geobox(10).extent.centroid.to_crs("EPSG:32632").coords[0]
    west, north = (20 * round(value / 20) for value in centre)
    lattice = GeoBox((256, 256), Affine(10, 0, west - 1280, 0, -10, north + 1280), "EPSG:32632")
    outline = lattice.extent.to_crs("EPSG:4326")
    items, files = [], {}
    for n, day in enumerate((5, 15, 25)):
        chance = np.random.default_rng(n)
        assets = {}
        for band in ("B04", "B08", "SCL"):
            if band == "SCL":
                values = np.where(np.kron(chance.random((8, 8)) < 0.2, np.ones((16, 16))), 8, 4).astype(np.uint8)
                data = _tiff(values, lattice.zoom_out(2).affine, compress="deflate")
            else:
                values = np.cumsum(chance.integers(-20, 21, (256, 256)), axis=1) + 3000
                data = _tiff(values.astype(np.uint16), lattice.affine, **({} if band == "B04" else {"compress": "deflate", "predictor": 2}))
            name = f"scene{n}/{band}.tif"
            files[name] = data
            assets[band] = {"href": f"{{base}}/{name}", "type": "image/tiff; application=geotiff", "roles": ["data"]}
        properties = {
            "datetime": f"2021-06-{day:02d}T10:16:00Z",
            "platform": "sentinel-2a",
            "eo:cloud_cover": 5 * n,
            "s2:processing_baseline": "03.00",
            "grid:code": "MGRS-32TPS",
            "proj:epsg": 32632,
        }
        extensions = ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"]
        feature = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": extensions,
            "id": f"scene{n}",
            "collection": "sentinel-2-l2a",
        }
        place = {"geometry": outline.json, "bbox": list(outline.boundingbox)}
        items.append({**feature, **place, "properties": properties, "links": [], "assets": assets})
    return items, files


def with_checksums(items: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Items whose assets say their size and SHA-256 (STAC file extension)."""
    out = json.loads(json.dumps(items))
    for item in out:
        for asset in item["assets"].values():
            data = files[asset["href"].removeprefix("{base}/")]
            asset |= {"file:size": len(data), "file:checksum": "1220" + hashlib.sha256(data).hexdigest()}
    return out


def _tiff(values: np.ndarray, affine: Affine, **options: Any) -> bytes:
    with MemoryFile() as memory:
        layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 0, "crs": "EPSG:32632", "transform": affine}
        height, width = values.shape
        with memory.open(driver="GTiff", height=height, width=width, count=1, dtype=values.dtype.name, **layout, **options) as raster:
            raster.write(values, 1)
        return memory.read()


@dataclass(frozen=True, kw_only=True)
class Question:
    """A cube to be had: what is asked, and of whom."""

    servers: Mapping[str, str]
    """Path prefix -> address, for a `FaultProxy`; the API has the prefix ""."""
    collection: str
    interval: tuple[date, date]
    max_cloud: float | None = None
    """Percent; the scene of Bolzano does not say."""

    def write(self, path: Path, url: str, budget: Budget = BUDGET) -> None:
        """Search the API at `url`, read, compose and write the cube of the tile: whole at `path`, or not at all."""
        endpoint = StacEndpoint(url=url, budget=budget)
        asked = {"collection": self.collection, "interval": self.interval, "max_cloud": self.max_cloud}
        source = StacSentinel2(endpoint=endpoint, bands=MODALITY.bands, **asked)
        with mock.patch.object(searching, "_PAGE", PAGE):
            cube = build_cube(TILE, [MODALITY], {MODALITY.name: source})
        with write_beside(path) as beside:
            write_cube(cube, beside, [MODALITY])

    def answer(self) -> dict[str, str]:
        """The content of the cube that comes from the servers themselves."""
        with TemporaryDirectory() as folder:
            self.write(Path(folder) / "cube.zarr", self.servers[""], Budget())
            return content(Path(folder) / "cube.zarr")


Questions = Mapping[bool, tuple[Question, Mapping[str, str]]]
"""Whether items carry checksums -> what is asked, and the right answer."""


def answered(questions: Mapping[bool, Question]) -> Questions:
    return {checksums: (question, question.answer()) for checksums, question in questions.items()}


@contextmanager
def own_api() -> Iterator[Questions]:
    """`StacServer` with three small scenes."""
    items, files = world()
    june = (date(2021, 6, 1), date(2021, 7, 1))
    with StacServer(items, files, page=PAGE) as plain, StacServer(with_checksums(items, files), files, page=PAGE) as summed:
        asked = {"collection": "sentinel-2-l2a", "interval": june, "max_cloud": 80}
        yield answered({checksums: Question(servers={"": api.url}, **asked) for checksums, api in ((False, plain), (True, summed))})


def of_pgstac(api: str, files: str) -> Questions:
    """The scene of Bolzano on three days, from the API of `tests/stac` and its files."""
    asked = {"servers": {"": api, "/files": files}, "interval": (date(2022, 6, 1), date(2022, 7, 1))}
    collections = {False: "sentinel-2-l2a-series", True: "sentinel-2-l2a-checked"}
    return answered({checksums: Question(collection=name, **asked) for checksums, name in collections.items()})


@contextmanager
def pgstac() -> Iterator[Questions]:
    """stac-fastapi-pgstac on PostgreSQL, with real items and images. Raises Unavailable."""
    data = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not data.is_dir():
        raise Unavailable(f"real data: they are not at {data}; set GEOPLANTNET_DATA")
    with started(data) as where:
        yield of_pgstac(where["api"], where["files"])


def content(path: Path) -> dict[str, str]:
    """SHA-256 of every file of a cube but the addresses in its provenance, which name the server's port."""
    return {
        str(file.relative_to(path)): hashlib.sha256(re.sub(rb"127\.0\.0\.1:\d+", b"server", file.read_bytes())).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def weather(seed: int, run: int) -> tuple[bool, Weather]:
    """(whether items carry checksums, the weather) of one run."""
    chance = random.Random(f"{seed} {run}")
    checksums = chance.random() < 0.4
    often = chance.choice((0.03, 0.1, 0.2, 0.35, 0.6, 1.0))
    for_search = chance.sample(SEARCH_FAULTS, chance.randint(1, 4))
    for_assets = chance.sample(ASSET_FAULTS + (LIES if checksums else ()), chance.randint(1, 5))
    paging = chance.choice(PAGING_FAULTS) if chance.random() < 0.08 else None
    calm_search = chance.random() < 0.5

    def fault(number: int, kind: str, path: str) -> str | None:
        if kind == "search":
            if paging and "/search" in path:
                return paging
            return chance.choice(for_search) if chance.random() < (0.03 if calm_search else often) else None
        return chance.choice(for_assets) if chance.random() < often else None

    return checksums, fault


def one_run(seed: int, run: int, questions: Questions) -> tuple[str, float, Counter[str]]:
    """How a run ended, seconds, faults met."""
    checksums, fault = weather(seed, run)
    question, right = questions[checksums]
    with TemporaryDirectory() as folder, FaultProxy(question.servers, fault) as proxy:
        path = Path(folder) / "cube.zarr"
        began = time.monotonic()
        try:
            question.write(path, proxy.url)
        except GeoPlantNetError as error:
            cause = getattr(error.__cause__, "cause", None) or re.sub(r"^\S+://\S+ ", "", str(error)).split(";")[0][:70]
            end = f"{error.kind}: {cause}" if not any(Path(folder).iterdir()) else "PARTIAL"
        except Exception as error:
            end = f"UNTYPED {type(error).__name__}: {error}"
        else:
            end = "identical" if content(path) == right else "WRONG"
        return end, time.monotonic() - began, proxy.seen


@dataclass(frozen=True, kw_only=True)
class Table:
    """How runs ended."""

    ends: Counter[str]
    faults: Counter[str]
    seconds: Sequence[float]

    @property
    def wrong(self) -> int:
        """Runs that ended otherwise than whole or with a typed error."""
        return sum(number for end, number in self.ends.items() if end.startswith(("UNTYPED", "PARTIAL", "WRONG")))

    @property
    def over(self) -> int:
        """Runs that took longer than they may."""
        return sum(seconds > BUDGET.seconds + GRACE for seconds in self.seconds)

    def __str__(self) -> str:
        lines = [f"{number:6d}  {end}" for end, number in self.ends.most_common()]
        lines += ["", f"{self.wrong:6d}  partial, wrong or untyped"]
        lines += [
            f"{self.over:6d}  over budget ({BUDGET.seconds:g} s and {GRACE:g} s for arithmetic; longest {max(self.seconds):.1f} s)",
            "",
        ]
        kinds = ", ".join(f"{fault} {number}" for fault, number in self.faults.most_common())
        return "\n".join([*lines, f"{sum(self.faults.values())} faults of {len(self.faults)} kinds: {kinds}"])


def runs(count: int, seed: int, questions: Questions) -> Table:
    """Ask so many times, each through a weather of its own."""
    ended = [one_run(seed, run, questions) for run in range(count)]
    return Table(
        ends=Counter(end for end, _, _ in ended), faults=sum((seen for _, _, seen in ended), Counter()), seconds=[s for _, s, _ in ended]
    )


def show(arguments: argparse.Namespace, api: str, questions: Questions) -> int:
    """Run, print the table, return the exit code."""
    table = runs(arguments.runs, arguments.seed, questions)
    print(f"{arguments.runs} runs in front of {api}, seed {arguments.seed}\n\n{table}")
    return int(bool(table.wrong or table.over))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--api", choices=("pgstac", "own"), help="what the proxy stands in front of; default: pgstac where it is installed")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    if arguments.api != "own":
        try:
            with pgstac() as questions:
                return show(arguments, "stac-fastapi-pgstac", questions)
        except Unavailable as lacks:
            print(lacks, file=sys.stderr)
            if arguments.api == "pgstac":
                return UNAVAILABLE
    with own_api() as questions:
        return show(arguments, "StacServer", questions)


if __name__ == "__main__":
    sys.exit(main())
