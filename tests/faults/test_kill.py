"""SIGKILL at random moments, then a second run: every byte as if nothing had happened (`kill.py` does it at length)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_kills_leave_no_trace():
    """The whole group, then the parent alone: the products of the unkilled run, no litter, no process left."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "kill.py"), str(HERE.parent / "data" / "tiny.yaml"), "--runs", "2", "--seed", "7"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "2 of 2 identical", ended.stdout + ended.stderr
