"""What a task takes, and the end of one that hangs. Used inside worker processes."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.ledger import Cost


class Meter:
    """Time, processor time and peak memory of this process since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), time.process_time()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak of earlier tasks

    def read(self) -> Cost:
        """What was taken so far. Where the peak of earlier tasks cannot be forgotten, it counts."""
        return Cost(round(time.monotonic() - self._began, 2), round(time.process_time() - self._cpu, 2), _peak_memory())


def _peak_memory() -> int:
    """Bytes this process held at most. Linux tells them apart from those of the process it was started from; getrusage does not."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


_ends: dict[int, float] = {}
_lock = threading.Lock()


@contextmanager
def ended_after(seconds: float | None) -> Iterator[None]:
    """The process is killed by SIGALRM if the body takes longer; None = it may take as long as it needs.

    The system ends it, not Python: a body that hangs in a C library, holding the interpreter's lock, ends all the same, also
    when the run that sent it is gone. Several threads share the one timer of the process: it goes off at the earliest end.
    """
    if seconds is None:
        yield
        return
    token = threading.get_ident()
    with _lock:
        _ends[token] = time.monotonic() + seconds
        _set_timer()
    try:
        yield
    finally:
        with _lock:
            del _ends[token]
            _set_timer()


def _set_timer() -> None:
    left = max(min(_ends.values()) - time.monotonic(), 0.001) if _ends else 0.0
    signal.setitimer(signal.ITIMER_REAL, left)
