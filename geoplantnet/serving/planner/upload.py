"""``POST /api/upload``: the polygons of a file that a person has, whatever a GIS made it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from geoplantnet.errors import TryAgain
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge

MAX_BYTES = 1_000_000
MAX_FEATURES = 1_000
LIMITS = {
    "features": MAX_FEATURES,
    "vertices": 100_000,
    "inflated": 20_000_000,
    "members": 100,
    "layers": 50,
    "memory": 2 << 30,
    "cpu_s": 10,
}
"""What a file may hold (`inflated`: bytes of all members of a zip file) and what its reader may take (bytes, seconds)."""
WALL_S = 20.0
AT_ONCE = 2
"""Readers of a worker process."""
IN_LINE = 4
"""Files that wait for one of them; maps keep the other places of the gate."""

_READER = Path(__file__).with_name("reader.py")
_KEPT = ("PATH", "LD_LIBRARY_PATH", "GDAL_DATA", "PROJ_DATA", "PROJ_LIB", "SYSTEMROOT")
"""Of the environment: where libraries and their tables lie. Keys and passwords are not handed on."""
_places = threading.BoundedSemaphore(AT_ONCE)
_room = threading.BoundedSemaphore(AT_ONCE + IN_LINE)


def read_upload(data: bytes, name: str = "") -> dict[str, Any]:
    """The polygons of a GeoJSON, GeoPackage, KML, KMZ or zipped shapefile: ``features`` (GeoJSON, longitude, latitude), ``count``, ``dropped``
    features by reason, ``crs`` they came in, ``union`` of several (None for one), ``name`` (of the file, without its ending).

    The file is told by its content; `name` is for people. It is read by `reader` in a process of its own. Raises InvalidParameter, which says
    what to do, TooLarge, and TryAgain when many files are being read.
    """
    if len(data) > MAX_BYTES:
        raise TooLarge(f"the file has {len(data)} bytes, at most {MAX_BYTES} are read (1 MB); export fewer or simpler polygons")
    if not data:
        raise InvalidParameter("the file is empty; send the file's bytes as the body of the request")
    if not _room.acquire(blocking=False):
        raise TryAgain("many files are being read; send it again in a moment")
    try:
        with _places:
            told = _read(data)
    finally:
        _room.release()
    if "refused" in told:
        raise InvalidParameter(str(told["refused"]))
    return told | {"name": _stem(name)}


def _read(data: bytes) -> dict[str, Any]:
    with TemporaryDirectory(prefix="geoplantnet-upload-") as folder:
        alone = {name: os.environ[name] for name in _KEPT if name in os.environ}
        alone |= {"TMPDIR": folder, "HOME": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        alone |= {"PROJ_NETWORK": "OFF", "GDAL_HTTP_PROXY": "127.0.0.1:9"}  # whatever a file makes GDAL do, it reaches no network
        told = json.dumps(LIMITS | {"drivers": _drivers()}).encode() + b"\n"
        try:
            ended = subprocess.run(
                [sys.executable, "-I", str(_READER)],
                input=told + data,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=alone,
                timeout=WALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"refused": "the file takes too long to read; export fewer or simpler polygons"}
    try:
        return dict(json.loads(ended.stdout))
    except ValueError:  # it was ended: too much memory or time, or a library fell over
        return {"refused": "the file is damaged, or takes too much to read; export fewer or simpler polygons, for instance as GeoJSON"}


@cache
def _drivers() -> tuple[str, ...]:
    """Names of all that GDAL can read vectors with here."""
    import pyogrio

    return tuple(pyogrio.list_drivers())


def _stem(name: str) -> str:
    """What a person calls the file."""
    last = name.replace("\\", "/").rpartition("/")[2]
    text = "".join(ch for ch in last if ch.isprintable()).strip()[:200]
    return text.rpartition(".")[0] or text
