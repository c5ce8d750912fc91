"""Peak memory is the process's own: what it held, not what the process that started it held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.meter import Meter

HELD = 300_000_000
"""Bytes: far above what a bare interpreter with numpy takes."""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells a process's peak from its parent's")
def test_a_child_of_a_large_process_is_small():
    """The process that starts workers may be large; their peaks are theirs."""
    held = np.ones(HELD, np.uint8)
    source = "from pipelines.meter import Meter; print(Meter().read().peak_memory)"
    told = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(told.stdout) < held.nbytes


def test_what_a_task_holds_is_counted():
    """Memory written to raises the peak by at least its size, also when it is given back at once."""
    meter = Meter()
    before = meter.read().peak_memory
    np.ones(HELD, np.uint8).sum()
    assert meter.read().peak_memory >= min(before + HELD // 2, HELD)
