"""The API of identification over HTTP: milliseconds of an answer, quotas under a storm, photos and forms made to break it, many large bodies at once.

The server runs in a process of its own on 127.0.0.1, the clients here. Milliseconds are those of EfficientNet-Lite0 for 1,000 species (drawn heads: they take as long as
trained ones) by torch, and of the same net as offline folders of 32 and 8 bits; all else is asked of a net without weights.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.rows import Row, main
from geoplantnet.identify.classifier import TorchNetwork, checkpoint, make_backbone
from geoplantnet.identify.classifier.model import PhotoClassifier, channels_last
from geoplantnet.identify.classifier.onnx_export import export
from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import Card, FakeNetwork
from geoplantnet.serving.guard import KeyRing
from geoplantnet.serving.identify import IdentifySettings, serve_identify
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon
from pipelines.identifier import network_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "faults"))
SPECIES = SpeciesList(
    checklist="benchmark",
    taxa=tuple(
        Taxon(taxon_id=f"s{i:04d}", scientific_name=f"Genus{i // 8} species{i}", genus=f"Genus{i // 8}", family=f"F{i // 40}")
        for i in range(1000)
    ),
)
MODEL = "GEOPLANTNET_MODEL"
"""Tells a server's process the folder of its net; empty: one without weights."""


def rows(quick: bool) -> list[Row]:
    """Latency, then quota, faults and memory, each on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="identify-") as folder:
        return [*_latency(Path(folder), quick), *_storm(Path(folder)), *_faults(Path(folder), quick), *_bodies(Path(folder))]


def make(maps: Any) -> Identifier:
    """Called in the server's process."""
    model = os.environ.get(MODEL, "")
    return Identifier(network_of(Path(model)) if model else FakeNetwork(SPECIES, size=224))


def nets(folder: Path) -> dict[str, Path]:
    """Folders of one net, by what runs it."""
    backbone = make_backbone("efficientnet-lite0")
    card = Card(name="Lite0", version="1", backbone="efficientnet-lite0", size=224, mean=backbone.mean, std=backbone.std, organs=True)
    net = TorchNetwork(channels_last(PhotoClassifier(backbone, len(SPECIES), card).eval()), SPECIES)
    found = {name: folder / name for name in ("torch", "ONNX, 32 bits", "ONNX, 8 bits")}
    checkpoint.save(net, found["torch"])
    drawn = np.stack([np.asarray(Image.open(io.BytesIO(photo(224, 224, seed)))) for seed in range(16)])
    export(net, found["ONNX, 32 bits"], int8=False)
    export(net, found["ONNX, 8 bits"], calibration=drawn)
    return found


@contextlib.contextmanager
def server(folder: Path, quota: int, model: Path | None = None, **settings: Any) -> Iterator[tuple[str, str, psutil.Process]]:
    """Host and port, a key, and the process of a server."""
    keys = Path(tempfile.mkdtemp(dir=folder), "keys.sqlite")
    ring = KeyRing(keys, create=True)
    token = ring.add("ada", quota=quota)
    ring.close()
    options = {"keys": str(keys), "quota": str(keys.with_name("quota.sqlite")), **settings}
    command = [sys.executable, "-c", "import sys; from benchmarks.identify_api import serve; serve(sys.argv[1])", json.dumps(options)]
    environment = {**os.environ, MODEL: str(model or "")}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            address = process.stdout.readline().strip().removeprefix("http://").rstrip("/")
            for _ in range(600):
                try:
                    connection = http.client.HTTPConnection(address, timeout=120)
                    connection.request("GET", "/v2/_status")
                    connection.getresponse().read()
                    break
                except OSError:
                    time.sleep(0.2)
            yield address, token, psutil.Process(process.pid)
        finally:
            process.terminate()


def serve(options: str) -> None:
    """What the process of the server does: `IdentifySettings` as JSON in, its address on standard output."""
    told = json.loads(options)
    own = IdentifySettings(access_log="none", **{**told, **{name: Path(told[name]) for name in ("keys", "quota")}})
    serve_identify(make, host="127.0.0.1", port=0, announce=lambda url: print(url, flush=True), settings=own)


def form(photos: list[bytes]) -> tuple[bytes, str]:
    """Body and content type."""
    parts = [
        b'--bench\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' + photo + b"\r\n"
        for photo in photos
    ]
    return b"".join(parts) + b"--bench--\r\n", "multipart/form-data; boundary=bench"


def ask(connection: http.client.HTTPConnection, token: str, body: bytes, kind: str, query: str = "") -> tuple[int, bytes]:
    connection.request("POST", f"/v2/identify/all{query}", body, {"Api-Key": token, "Content-Type": kind})
    answer = connection.getresponse()
    return answer.status, answer.read()


def photo(width: int, height: int, seed: int = 0) -> bytes:
    """A JPEG with as much detail as a photo has."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    out = io.BytesIO()
    coarse.save(out, "JPEG", quality=88)
    return out.getvalue()


def _latency(folder: Path, quick: bool) -> list[Row]:
    found, told = [], [("one photo of 1280 x 960", [photo(1280, 960)])]
    if not quick:
        told.append(("one photo of 4000 x 3000", [photo(4000, 3000)]))
        told.append(("five photos of 1280 x 960", [photo(1280, 960, seed) for seed in range(5)]))
    for name, model in nets(folder).items():
        with server(folder, 10**6, model) as (address, token, _):
            connection = http.client.HTTPConnection(address, timeout=120)
            for title, photos in told:
                body, kind = form(photos)
                times = []
                for _ in range(10 if quick else 100):
                    begin = time.perf_counter()
                    status, _ = ask(connection, token, body, kind)
                    times.append(1000 * (time.perf_counter() - begin))
                    assert status == 200
                times = sorted(times[len(times) // 10 :])
                p95 = times[int(0.95 * (len(times) - 1))]
                beside = f"p95 {p95:.0f}; {len(body) / 1e6:.2f} MB; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
                found.append(Row(name=f"{title}, {name}: p50 of an answer", value=statistics.median(times), unit="ms", reference=beside))
        found.append(_alone(name, model))
    return found


def _alone(name: str, model: Path) -> Row:
    """The net without a server."""
    net, pixels = network_of(model), np.zeros((1, 224, 224, 3), np.uint8)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        net(pixels)
        times.append(1000 * (time.perf_counter() - begin))
    return Row(name=f"{name}: the net alone, one photo", value=statistics.median(times), unit="ms", reference="what an answer takes of it")


def _storm(folder: Path) -> list[Row]:
    body, kind = form([photo(200, 160)])

    def one(_: int) -> int:
        connection = http.client.HTTPConnection(address, timeout=120)
        try:
            return ask(connection, token, body, kind)[0]
        finally:
            connection.close()

    with server(folder, 100, workers=2, max_waiting=2000, max_wait_s=120) as (address, token, _), ThreadPoolExecutor(100) as pool:
        statuses = Counter(pool.map(one, range(1000)))
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return [
        Row(
            name="Answers of 1,000 parallel calls on a quota of 100",
            value=statuses[200],
            unit="answers",
            reference=f"2 workers, 100 connections at once: {told}",
            target="exactly 100",
            ok=statuses[200] == 100 and statuses[429] == 900,
        )
    ]


def _faults(folder: Path, quick: bool) -> list[Row]:
    from photos import crafted, mutated

    n = 200 if quick else 2000
    statuses: Counter[int] = Counter()
    slowest, peak = 0.0, 0.0
    with server(folder, 10**6) as (address, token, process):
        connection = http.client.HTTPConnection(address, timeout=120)
        before = _memory(process)
        cases = [data for _, data, _ in crafted()]
        for number, data in enumerate([*cases, *mutated(n, seed=3)]):
            begin = time.perf_counter()
            status, _ = ask(connection, token, *form([data]), "?no-reject=true")
            slowest = max(slowest, time.perf_counter() - begin)
            statuses[status] += 1
            if number % 20 == 0:
                peak = max(peak, _memory(process))
    broken = sum(count for status, count in statuses.items() if status >= 500)
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return [
        Row(
            name=f"Answers of 5xx to {len(cases)} crafted and {n} mutated photos",
            value=broken,
            unit="answers",
            reference=f"{told}; the slowest took {slowest:.2f} s",
            target="0",
            ok=broken == 0,
        ),
        Row(
            name="Memory of server and decoders during these, at most",
            value=peak,
            unit="MB",
            reference=f"{before:.0f} MB before",
            target="below 1500",
            ok=peak < 1500,
        ),
    ]


def _bodies(folder: Path) -> list[Row]:
    """Forty clients that send 50 MB each at once: memory holds, and the server answers after."""
    body, kind = form([b"\xff\xd8\xff" + bytes(10_000_000)] * 5)
    peak, statuses = 0.0, Counter[int]()

    def one(_: int) -> int:
        connection = http.client.HTTPConnection(address, timeout=180)
        try:
            return ask(connection, token, body, kind)[0]
        except OSError:  # refused while it still sends
            return 503
        finally:
            connection.close()

    with server(folder, 10**6) as (address, token, process), ThreadPoolExecutor(40) as pool:
        before = _memory(process)
        futures = [pool.submit(one, i) for i in range(40)]
        while not all(future.done() for future in futures):
            peak = max(peak, _memory(process))
            time.sleep(0.05)
        statuses.update(future.result() for future in futures)
        after, _ = ask(http.client.HTTPConnection(address, timeout=60), token, *form([photo(200, 160)]))
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return [
        Row(
            name="Memory with 40 forms of 50 MB sent at once, at most",
            value=peak,
            unit="MB",
            reference=f"{before:.0f} MB before; {told}; the next request is answered {after}",
            target="below 2000; 0 x 500",
            ok=peak < 2000 and after == 200 and not statuses[500],
        )
    ]


def _memory(process: psutil.Process) -> float:
    """MB of a process and those below it."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total / 1e6


if __name__ == "__main__":
    main(rows)
