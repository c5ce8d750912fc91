"""SIGKILL at random moments: what stands is whole, and after a second run every byte is as if nothing had happened (`kill.py` does it at length)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from geoplantnet.storage import sha256

sys.path.insert(0, str(Path(__file__).parent))
from kill import Found, Unkilled, frozen, look

HERE = Path(__file__).parent


def test_kills_leave_no_trace():
    """The whole group, then the parent alone: nothing partial at a final path, then the products of the unkilled run, no litter, no process."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "kill.py"), str(HERE.parent / "data" / "tiny.yaml"), "--runs", "2", "--seed", "7"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "2 of 2 identical", ended.stdout + ended.stderr


def test_half_a_product_would_be_noticed(tmp_path):
    """What the rounds look for: a cut file or folder at its final path is found, a temporary is none, what is absent is no fault."""
    store, left = tmp_path / "store", tmp_path / "left"
    (store / "z.zarr" / "c").mkdir(parents=True)
    for name in ("a.tif", "z.zarr/zarr.json", "z.zarr/c/0"):
        (store / name).write_bytes(b"whole")
    unkilled = Unkilled({}, {name: sha256(store / name) for name in ("a.tif", "z.zarr")} | {"never.json": ""}, 1.0)
    (store / ".tmp-1-b.tif").write_bytes(b"ha")
    assert frozen(store, left) and not (left / ".tmp-1-b.tif").exists()
    found = Found()
    assert look(left, unkilled, found) == [] and found.whole == 2
    (left / "a.tif").unlink()
    (left / "a.tif").write_bytes(b"who")
    (left / "z.zarr" / "c" / "0").unlink()
    assert look(left, unkilled, found) == found.partial == ["a.tif is not whole", "z.zarr is not whole"]
    assert not frozen(left, tmp_path / "again") and (store / "a.tif").read_bytes() == b"whole"
