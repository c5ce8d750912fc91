"""The proxy of faults, in front of an API of its own; `stac/test_pgstac_faults.py` puts it in front of a real one."""

from __future__ import annotations

import http.client
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from proxy import ASSET_FAULTS, LIES, PAGING_FAULTS, SEARCH_FAULTS, FaultProxy, StacServer, Table, own_api, runs, weather


def test_no_partial_cube_is_accepted():
    """Each run ends in its budget, with the files of the calm run or with a typed error and nothing written."""
    with own_api() as questions:
        table = runs(8, 3, questions)
    assert not table.wrong and not table.over, str(table)
    assert 0 < table.ends["identical"] < 8 and len(table.faults) > 8, str(table)


def test_the_table_counts_what_must_not_be():
    """Partial, wrong and untyped runs are counted together, and those over budget."""
    ends = Counter({"identical": 5, "TryAgain: status 503": 4, "PARTIAL": 3, "WRONG": 2, "UNTYPED KeyError: 'x'": 1})
    table = Table(ends=ends, faults=Counter({"503": 4}), seconds=[1.0] * 14 + [100.0])
    assert (table.wrong, table.over) == (6, 1)
    assert "     6  partial, wrong or untyped\n     1  over budget" in str(table)


def test_weather_is_drawn_by_its_seed():
    """The same seed and run give the same faults; 200 runs hold every kind of fault."""

    def faults(seed: int, run: int) -> list[str | None]:
        _, fault = weather(seed, run)
        return [fault(n, "search" if n % 3 else "asset", "/search") for n in range(30)]

    assert faults(1, 5) == faults(1, 5) != faults(1, 6)
    seen = {fault for run in range(200) for fault in faults(1, run)}
    assert seen == {None, *SEARCH_FAULTS, *ASSET_FAULTS, *LIES, *PAGING_FAULTS}


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return answer.status, dict(answer.headers), answer.read()


@pytest.fixture
def server():
    with StacServer(files={"a.tif": bytes(range(200))}, documents={"/d": {"href": "{base}"}}) as running:
        yield running


def test_a_calm_proxy_changes_nothing_but_addresses(server):
    """Ranges, statuses and bodies pass; the server's address in JSON becomes the proxy's."""
    server.documents["/d"] = {"href": f"{server.url}/a.tif"}
    with FaultProxy({"/x": server.url}) as proxy:
        assert fetch(f"{proxy.url}/x/a.tif", Range="bytes=10-19")[::2] == (206, bytes(range(10, 20)))
        assert fetch(f"{proxy.url}/x/a.tif")[::2] == (200, bytes(range(200)))
        assert f"{proxy.url}/x/a.tif".encode() in fetch(f"{proxy.url}/x/d")[2]
        assert not proxy.seen


@pytest.mark.parametrize(
    ("fault", "length"), [("truncated range", 50), ("shrunk range", 50), ("zeros past half", 100), ("flipped", 100), ("whole file", 200)]
)
def test_a_fault_does_what_its_name_says(server, fault, length):
    """The client gets an answer, with another body than the server gave."""
    with FaultProxy({"": server.url}, lambda *_: fault) as proxy:
        _, _, body = fetch(f"{proxy.url}/a.tif", Range="bytes=0-99")
        assert len(body) == length and body != bytes(range(100)) and proxy.seen == {fault: 1}


@pytest.mark.parametrize("fault", ["short", "reset", "reset mid-body"])
def test_a_broken_answer_breaks_the_connection(server, fault):
    """The client cannot read to the end."""
    with FaultProxy({"": server.url}, lambda *_: fault) as proxy, pytest.raises((OSError, http.client.HTTPException)):
        fetch(f"{proxy.url}/a.tif", Range="bytes=0-99")
