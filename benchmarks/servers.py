"""Map servers as processes of this machine, each on a free port of 127.0.0.1, and wrk, which loads them.

What a server costs is read from the kernel, for all its processes together: CPU seconds before and after, memory as it stands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from geoplantnet.serving.server import serve
from geoplantnet.serving.settings import ServerSettings

ROOT = Path(__file__).parent.parent
TITILER = "GEOPLANTNET_TITILER"
"""Environment variable: the Python of an environment that holds titiler. Without it, `.venv-titiler` of the checkout."""
MAPSERV = Path("/usr/lib/cgi-bin/mapserv")
_WAIT = 30.0
"""Seconds a server may take to answer first, and to end."""


_Process: TypeAlias = "subprocess.Popen[bytes]"


class NotInstalled(Exception):
    """A program is not on this machine; the message names the command that mends it."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    """Such as ``http://127.0.0.1:41231``."""
    roots: tuple[int, ...]
    """Its processes; what they started counts too."""
    started: float
    """Seconds from the start of the first process to the first request answered."""

    def processes(self) -> list[psutil.Process]:
        roots = [psutil.Process(pid) for pid in self.roots]
        return [*roots, *(child for root in roots for child in root.children(recursive=True))]

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(t.user + t.system for t in times)

    def memory(self) -> float:
        """Resident megabytes; what processes share counts once."""
        return sum(process.memory_full_info().pss for process in self.processes()) / 1e6

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of one answer."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=_WAIT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk saw."""

    requests: int
    """Answers, of any status."""
    sent: int
    """Requests, those without an answer among them when wrk ended."""
    seconds: float
    p50: float
    """Milliseconds."""
    p95: float
    statuses: Mapping[int, int]
    """Answers by HTTP status."""
    wrong: int
    """Answers of 200 that do not begin as they must."""
    broken: int
    """Connections refused, cut or timed out."""
    cpu: float = field(default=float("nan"))
    """Milliseconds of the server's CPU for a request that was sent."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds

    @property
    def errors(self) -> int:
        """Whatever is not an answer of 200 that begins as it must."""
        return sum(count for status, count in self.statuses.items() if status != 200) + self.wrong + self.broken


_SCRIPT = """
local paths, begins = {}, "%(begins)s"
for line in io.lines("%(file)s") do paths[#paths + 1] = line end
local at, threads = %(first)d, {}
sent, wrong, statuses = -1, 0, {} -- wrk makes one request that it does not send
function setup(thread) threads[#threads + 1] = thread end
function request()
  at, sent = at %% #paths + 1, sent + 1
  return wrk.format("GET", paths[at])
end
function response(status, headers, body)
  statuses[status] = (statuses[status] or 0) + 1
  if status == 200 and body:sub(1, #begins) ~= begins then wrong = wrong + 1 end
end
function done(summary, latency)
  local e, t, seen = summary.errors, threads[1], {}
  for status, count in pairs(t:get("statuses")) do seen[#seen + 1] = string.format('"%%d": %%d', status, count) end
  print(string.format('{"requests": %%d, "sent": %%d, "seconds": %%f, "p50": %%f, "p95": %%f, "statuses": {%%s}, "wrong": %%d, "broken": %%d}',
    summary.requests, t:get("sent"), summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    table.concat(seen, ", "), t:get("wrong"), e.connect + e.read + e.write + e.timeout))
end
"""


def load(server: Server, paths: Sequence[str], *, connections: int, seconds: float, folder: Path, begins: str = "", first: int = 0) -> Load:
    """Ask for `paths` over and over, from the `first` on, by so many connections at once, and count what it costs.

    `begins` is what each body must begin with, ASCII. CPU is read when the server has done with the requests that wrk left behind.
    Raises NotInstalled where there is no wrk.
    """
    if shutil.which("wrk") is None:
        raise NotInstalled("wrk is not installed: apt-get install wrk")
    requests, script = folder / "requests.txt", folder / "load.lua"
    requests.write_text("".join(f"{path}\n" for path in paths), encoding="ascii")
    script.write_text(_SCRIPT % {"begins": begins, "file": requests, "first": first % len(paths)}, encoding="utf-8")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", f"--timeout={_WAIT:.0f}s", "-s", str(script), server.url]
    before = server.cpu()
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seen = parse(out)
    return dataclasses.replace(seen, cpu=1e3 * (_at_rest(server) - before) / max(seen.sent, 1))


def parse(out: str) -> Load:
    """What wrk printed under our script: its own summary, then a line of JSON. Raises ValueError where there is none."""
    line = next((line for line in reversed(out.splitlines()) if line.startswith("{")), None)
    if line is None:
        raise ValueError(f"wrk printed no figures: {out[-500:]!r}")
    seen = json.loads(line)
    if not seen["requests"]:  # no answer is no fast answer
        seen["p50"] = seen["p95"] = float("nan")
    return Load(**{**seen, "statuses": {int(status): count for status, count in seen["statuses"].items()}})


def _at_rest(server: Server) -> float:
    """CPU seconds of a server once it has nothing more to do."""
    now, end = server.cpu(), time.monotonic() + _WAIT
    while time.monotonic() < end:
        time.sleep(0.1)
        before, now = now, server.cpu()
        if now - before <= 0.02:
            break
    return now


# ---- the servers


@contextlib.contextmanager
def ours(store: Path, workers: int, ask: str) -> Iterator[Server]:
    """The application as `geoplantnet serve` runs it, in so many processes, without a log. `ask` is a path it must answer."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.servers", str(store), str(port), str(workers)]
    with contextlib.ExitStack() as stack:
        start = time.perf_counter()
        yield _answering([_process(stack, command, cwd=ROOT)], port, ask, start)


@contextlib.contextmanager
def mapserver(raster: Path, folder: Path, ask: str) -> Iterator[Server]:
    """MapServer as Debian has it: two FastCGI processes behind nginx, eight-bit PNG. Raises NotInstalled."""
    lacking = [*([] if MAPSERV.exists() else ["cgi-mapserver"]), *([] if shutil.which("nginx") else ["nginx-light"])]
    if lacking:
        raise NotInstalled(f"MapServer is not installed: apt-get install {' '.join(lacking)}")
    folder.mkdir(parents=True, exist_ok=True)
    port, owner = _free_port(), f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    names = {"raster": raster, "folder": folder, "port": port, "user": owner}
    for name, text in {"map.map": _MAP, "mapserver.conf": _MAPSERVER, "nginx.conf": _NGINX}.items():
        (folder / name).write_text(text % names, encoding="utf-8")
    environment = {**os.environ, "MAPSERVER_CONFIG_FILE": str(folder / "mapserver.conf")}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(folder / "fastcgi"))
        listener.listen(1024)
        start = time.perf_counter()
        # a FastCGI process accepts from descriptor 0: what spawn-fcgi arranges. Asked kindly, mapserv ends at its next request
        workers = [_process(stack, [str(MAPSERV)], end=signal.SIGKILL, stdin=listener, env=environment) for _ in range(2)]
        nginx = _process(stack, ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")])
        yield _answering([nginx, *workers], port, ask, start)


@contextlib.contextmanager
def titiler(ask: str) -> Iterator[Server]:
    """Titiler's application under uvicorn, one process, with the settings of GDAL its documentation recommends. Raises NotInstalled."""
    python = _titiler_python()
    if not python.exists():
        raise NotInstalled(f"titiler is not installed: python -m venv .venv-titiler; .venv-titiler/bin/pip install titiler.application uvicorn (or name its Python in {TITILER})")  # fmt: skip
    port = _free_port()
    command = [str(python), "-m", "uvicorn", "titiler.application.main:app", "--port", str(port), "--log-level", "warning", "--no-access-log"]  # fmt: skip
    settings = {"GDAL_CACHEMAX": "200", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_INGESTED_BYTES_AT_OPEN": "32768", "CPL_VSIL_CURL_CACHE_SIZE": "200000000", "VSI_CACHE": "TRUE", "PYTHONWARNINGS": "ignore"}  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with contextlib.ExitStack() as stack:
        start = time.perf_counter()
        yield _answering([_process(stack, command, env={**environment, **settings})], port, ask, start)


def _titiler_python() -> Path:
    return Path(os.environ.get(TITILER, ROOT / ".venv-titiler" / "bin" / "python"))


def titiler_version() -> str:
    """Such as ``2.4.0``; empty where it is not installed."""
    python = _titiler_python()
    words = [str(python), "-c", "from importlib.metadata import version; print(version('titiler.core'))"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() if python.exists() else ""


def mapserver_version() -> str:
    """Such as ``8.0.0``; empty where it is not installed."""
    out = subprocess.run([str(MAPSERV), "-v"], capture_output=True, text=True).stdout if MAPSERV.exists() else ""
    found = re.search(r"version (\S+)", out)
    return found[1] if found else ""


_MAP = """MAP
  NAME "benchmark" EXTENT 4000000 2500000 4250000 2750000 UNITS METERS SIZE 256 256 MAXSIZE 4096
  PROJECTION "init=epsg:3035" END
  WEB METADATA "ows_title" "benchmark" "ows_enable_request" "*" "ows_srs" "EPSG:3857 EPSG:3035" "ows_onlineresource" "http://127.0.0.1/" END END
  OUTPUTFORMAT NAME "png8" DRIVER "AGG/PNG8" MIMETYPE "image/png; mode=8bit" IMAGEMODE RGBA EXTENSION "png" TRANSPARENT ON
    FORMATOPTION "QUANTIZE_FORCE=ON" FORMATOPTION "QUANTIZE_COLORS=256" END
  OUTPUTFORMAT NAME "fast" DRIVER "AGG/PNG8" MIMETYPE "image/png; mode=8bit-fast" IMAGEMODE RGBA EXTENSION "png" TRANSPARENT ON
    FORMATOPTION "QUANTIZE_FORCE=ON" FORMATOPTION "QUANTIZE_COLORS=256" FORMATOPTION "COMPRESSION=1" END
  LAYER NAME "field" TYPE RASTER STATUS ON DATA "%(raster)s" PROJECTION "init=epsg:3035" END
    METADATA "ows_title" "field" END PROCESSING "CLOSE_CONNECTION=DEFER" PROCESSING "RESAMPLE=NEAREST" END
END
"""
_MAPSERVER = """CONFIG
  ENV MS_MAPFILE "%(folder)s/map.map" MS_MAP_PATTERN "^%(folder)s/" END
END
"""
_NGINX = """daemon off; user %(user)s; worker_processes 1; pid %(folder)s/nginx.pid; error_log %(folder)s/nginx.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000; client_body_temp_path %(folder)s/body; fastcgi_temp_path %(folder)s/temp;
  proxy_temp_path %(folder)s/proxy; uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  server {
    listen 127.0.0.1:%(port)d;
    location / {
      fastcgi_pass unix:%(folder)s/fastcgi; fastcgi_buffers 32 16k; fastcgi_buffer_size 16k;
      fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method; fastcgi_param SERVER_NAME $server_name;
      fastcgi_param SERVER_PORT $server_port; fastcgi_param SCRIPT_NAME /; fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
    }
  }
}
"""


def _process(stack: contextlib.ExitStack, command: Sequence[str], *, end: signal.Signals = signal.SIGTERM, **options: Any) -> _Process:
    """A process that ends, by its id, with the stack."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)

    def stop() -> None:
        process.send_signal(end)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(stop)
    return process


def _answering(processes: Sequence[_Process], port: int, ask: str, start: float) -> Server:
    """The server that processes make up on a port, once it answers `ask`."""
    server = Server(url=f"http://127.0.0.1:{port}", roots=tuple(process.pid for process in processes), started=0.0)
    while (said := _said(server, ask)) is not None:
        if any(process.poll() is not None for process in processes) or time.perf_counter() - start > _WAIT:
            raise RuntimeError(f"{processes[0].args} does not answer {ask}: {said}")
        time.sleep(0.005)
    return dataclasses.replace(server, started=time.perf_counter() - start)


def _said(server: Server, ask: str) -> str | None:
    """What a server says instead of an answer of 200; None once it gives one."""
    try:
        status, body = server.get(ask)
    except OSError as error:
        return str(error)
    return None if status == 200 else f"{status} {body[:300]!r}"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _serve(store: str, port: str, workers: str) -> None:
    """What the process of `ours` does."""
    settings = ServerSettings(workers=int(workers), access_log="none")
    serve(Path(store), host="127.0.0.1", port=int(port), announce=lambda url: None, settings=settings)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
