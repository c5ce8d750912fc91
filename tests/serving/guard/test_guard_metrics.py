"""Metrics and health: what an operator's machines read."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from geoplantnet.config.recipe import ServingSection
from geoplantnet.config.serving import server_settings
from geoplantnet.serving import create_app
from geoplantnet.serving.guard import Guard
from geoplantnet.serving.settings import ServerSettings
from tests.serving.guard.asgi import Client, hello, run


def numbers(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value for family in text_string_to_metric_families(text) for sample in family.samples
    }


def test_requests_are_counted_by_kind_and_status():
    """Requests, bytes, refusals, seconds; numbers that others watch; few series whatever is asked for."""
    guard = Guard(ServerSettings())
    guard.metrics.watch("cache_bytes", "Bytes of a cache.", lambda: 123.0)

    async def scene():
        for path in ("/wms", "/wms", "/tiles/a/1/2/3.png", *(f"/{i}" for i in range(50))):
            await Client(guard.around(hello), path).send()
        await Client(guard.around(hello), query=b"%00").send()

    run(scene())
    told = numbers(guard.metrics.text().decode())
    assert told[("geoplantnet_http_requests_total", "wms", "200")] == 2 and told[("geoplantnet_http_requests_total", "wms", "400")] == 1
    assert told[("geoplantnet_http_requests_total", "page", "200")] == 50 and told[("geoplantnet_http_response_bytes_total", "page")] == 300
    assert told[("geoplantnet_http_refused_total", "encoding")] == 1 and told[("geoplantnet_cache_bytes",)] == 123
    assert told[("geoplantnet_http_request_seconds_count", "tiles")] == 1 and told[("geoplantnet_http_in_flight",)] == 0
    assert len({key for key in told if key[0] == "geoplantnet_http_requests_total"}) == 4


def test_a_server_without_metrics_has_no_page_of_them(store):
    """`metrics: false`."""
    assert run(Client(create_app(store), "/metrics").send()).status == 200
    assert run(Client(create_app(store, settings=ServerSettings(metrics=False)), "/metrics").send()).status == 404


def test_ready_says_why_not(store, tmp_path, monkeypatch):
    """A server whose catalog was published anew, whose tile cannot be read or whose catalog is gone is alive, and not ready."""
    monkeypatch.setattr("geoplantnet.serving.guard.health._KEPT_S", -1.0)
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    app = create_app(copy)

    def ready():
        told = run(Client(app, "/readyz").send())
        assert str(tmp_path) not in told.body.decode()
        return told.status, told.json.get("detail", "")

    assert ready() == (200, "")
    (tile, *_), aside = sorted(copy.glob("tiles/*/")), tmp_path / "aside"
    tile.rename(aside)
    assert ready() == (503, "a published file cannot be read; the operator finds the details in the server's log")
    aside.rename(tile)
    catalog = (copy / "catalog.json").read_bytes()
    (copy / "catalog.json").write_bytes(catalog + b"\n")
    assert ready() == (503, "the catalog was published anew; start the server again")
    (copy / "catalog.json").unlink()
    assert ready() == (503, "the catalog is gone")
    assert run(Client(app, "/healthz").send()).status == 200
    (copy / "catalog.json").write_bytes(catalog)
    assert ready() == (200, "")


def test_the_recipes_section_is_the_servers_settings():
    """The same names and defaults; what is said in a recipe arrives."""
    assert server_settings(ServingSection()) == ServerSettings()
    said = {"max_concurrent": 3, "private_layers": ["species.*"], "trusted_proxies": ["10.0.0.0/8", "127.0.0.1"], "keys": "a.sqlite"}
    settings = server_settings(ServingSection.model_validate(said))
    assert settings.trusted_proxies == ("10.0.0.0/8", "127.0.0.1/32") and settings.max_concurrent == 3
    assert settings.private_layers == ("species.*",) and settings.keys.name == "a.sqlite"


SERVE = """
import sys
from pathlib import Path
from geoplantnet.serving.server import serve
from geoplantnet.serving.settings import ServerSettings

if __name__ == "__main__":
    serve(Path(sys.argv[1]), host="127.0.0.1", port=0, announce=lambda url: print(url, flush=True), settings=ServerSettings(workers=2))
"""


def test_workers_share_a_port_add_up_their_metrics_and_drain(store, tmp_path):
    """Two processes: their answers are one sum, on whichever a scrape falls; SIGTERM ends both, and what they kept in common is removed."""
    script = tmp_path / "serve.py"
    script.write_text(SERVE)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    server = subprocess.Popen([sys.executable, script, store], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        url = server.stdout.readline().strip()
        seen, asked = Counter(), 0
        for _ in range(200):
            with httpx.Client(base_url=url, timeout=60) as client:  # a new connection: it may fall on the other worker
                answers = [client.get("/api/layers/richness") for _ in range(5)]
                asked += len(answers)
                assert {answer.status_code for answer in answers} == {200} and "server" not in answers[0].headers
                told = numbers(client.get("/metrics").text)
            assert told[("geoplantnet_http_requests_total", "api", "200")] == asked
            pids = {file.name for file in tmp_path.glob("geoplantnet-metrics-*/counter_*.db")}
            seen.update(pids)
            if len(pids) == 2:
                break
            time.sleep(0.05)
        assert len(seen) == 2, "only one worker ever answered"
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
    log = server.stderr.read()
    assert len(re.findall(r'"path": "/api/layers/richness"', log)) == asked and "Traceback" not in log
    assert not list(tmp_path.glob("geoplantnet-metrics-*"))


@pytest.mark.parametrize("name", ["species.v002", "nothing"])
def test_health_is_told_however_it_is_asked(client, name):
    """HEAD as GET, and not below it."""
    assert client.head("/healthz").status_code == 200 and client.get(f"/healthz/{name}").status_code == 404
