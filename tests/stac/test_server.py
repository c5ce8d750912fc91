"""The servers the other tests lean on: what was loaded comes back, ranges are true, nothing stays behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

SERVER = Path(__file__).parent / "server.py"
IMAGE = "s2_south_tyrol/bands/bolzano_20220612_B02.tif"


def test_every_item_comes_back_as_it_was_loaded(stac):
    """312 real items of eleven collections, and two series of three: the API gives their properties and assets unchanged."""
    assert len(stac.items) == 312 + 2 * 3
    given = {}
    for name in {item["collection"] for item in stac.items}:
        with urllib.request.urlopen(f"{stac.api}/collections/{name}/items?limit=1000") as answer:
            for item in json.load(answer)["features"]:
                given[name, item["id"]] = item
    assert given.keys() == {(item["collection"], item["id"]) for item in stac.items}
    for item in stac.items:
        answered = given[item["collection"], item["id"]]
        assert answered["geometry"] == item["geometry"]
        assert {name: asset["href"] for name, asset in answered["assets"].items()} == {n: a["href"] for n, a in item["assets"].items()}
        for name, value in item["properties"].items():
            if value is not None and name not in ("datetime", "created", "updated"):  # times come back in another spelling
                assert answered["properties"][name] == value, (item["id"], name)


@pytest.mark.parametrize(
    ("wanted", "first", "last"), [("0-0", 0, 1), ("100-1999", 100, 2000), ("900000-", 900_000, None), ("-77", -77, None)]
)
def test_a_range_is_the_slice_of_the_file(stac, data_folder, wanted, first, last):
    """206, the bytes asked for, and where in the file they lie."""
    content = (data_folder / IMAGE).read_bytes()
    request = urllib.request.Request(f"{stac.files}/{IMAGE}", headers={"Range": f"bytes={wanted}"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206 and answer.read() == content[first:last]
        start = first % len(content)
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(content[first:last]) - 1}/{len(content)}"


@pytest.mark.parametrize(("path", "wanted", "status"), [("absent.tif", "0-9", 404), (IMAGE, "99999999-", 416), ("", "0-9", 404)])
def test_what_is_not_there_is_not_served(stac, path, wanted, status):
    """No file, no folder listing, nothing beyond the end."""
    request = urllib.request.Request(f"{stac.files}/{path}", headers={"Range": f"bytes={wanted}"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == status
    refused.value.close()


def working_in(folder: str) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(folder):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found


def test_nothing_stays_behind(stac, data_folder):
    """Two more servers run beside the first; when one is killed its database and API end too, asked to end it also tidies up."""
    command = [sys.executable, str(SERVER), str(data_folder)]
    servers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]  # both at once
    for server, end in zip(servers, (signal.SIGTERM, signal.SIGKILL)):
        with server:
            assert server.stdout is not None
            folder = Path(json.loads(server.stdout.readline())["items"]).parent
            assert len(working_in(str(folder))) >= 2
            server.send_signal(end)
            server.wait(60)
        until = time.monotonic() + 60
        while working_in(str(folder)) and time.monotonic() < until:
            time.sleep(0.05)
        assert working_in(str(folder)) == []
        if end == signal.SIGKILL:  # nobody was left to do it
            subprocess.run(["rm", "-r", str(folder)], check=True)
        assert not folder.exists()
