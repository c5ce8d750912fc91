"""Photos are decoded by processes of their own, which may be ended at any time: a bomb, a hang or a fault of a codec costs one of them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from geoplantnet.errors import InputError, TryAgain
from geoplantnet.identify.photos import worker
from geoplantnet.identify.photos.container import Header, parsed
from geoplantnet.identify.photos.limits import IDENTIFY, SURVEY, Limits, RefusedPhoto
from geoplantnet.identify.photos.pixels import Pixels, check_size

MEMORY_BASE, MEMORY_PIXEL = 128_000_000, 12
"""Address space of a process beyond what it begins with: bytes, and bytes a pixel of the largest photo."""
_START_SECONDS = 30.0
"""In which a process has to be ready."""
_START = "import sys, json, runpy; sys.path[:] = json.loads(sys.argv[2]); runpy.run_path(sys.argv[3], run_name='__main__')"


class Decoder:
    """A few limited processes that decode photos. A context manager; every method may be called from several threads.

    Processes are started anew from the interpreter, not forked: a server's threads, locks and open files are not in them. What they are
    given is `stripped` first. Each method raises RefusedPhoto for a photo that is not taken, and TryAgain when all processes were busy for
    `patience` seconds or none can be started.
    """

    def __init__(self, *, workers: int = 2, limits: Limits = SURVEY, seconds: float = 10.0, patience: float = 30.0) -> None:
        """`limits`: the largest that any call allows; memory follows from it. `seconds`: for one photo, by the clock and of CPU time."""
        if workers < 1 or not seconds > 0:
            raise InputError(f"{workers} processes of {seconds} seconds a photo; at least 1 and more than 0 are wanted")
        self.limits, self.seconds, self.patience = limits, seconds, patience
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._workers = workers
        self._lock = threading.Lock()
        """Held while `_closed` is looked at and a process given back, so that none is after closing."""
        self._closed = True

    def __enter__(self) -> Self:
        self._closed = False
        for _ in range(self._workers):
            self._idle.put(self._started())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all processes: at once those that are idle, others after their photo."""
        with self._lock:
            self._closed = True
        while True:
            try:
                one = self._idle.get_nowait()
            except queue.Empty:
                return
            if one is not None:
                one.end()

    def processes(self) -> list[int]:
        """Ids of the processes that are idle, for who watches their memory."""
        with self._idle.mutex:
            return [one.pid for one in self._idle.queue if one is not None]

    def pixels(self, data: bytes, limits: Limits = IDENTIFY) -> Pixels:
        """All pixels (h, w, 3) uint8, red, green, blue, upright."""
        header, plain = self._parsed(data, limits)
        told, body = self._ask(header, plain, {"want": "pixels"})
        return np.frombuffer(body, np.uint8).reshape(told["height"], told["width"], 3)

    def square(self, data: bytes, size: int, limits: Limits = IDENTIFY) -> Pixels:
        """`square(pixels(data), size)` to the bit, made beside the decoder: (size, size, 3)."""
        check_size(size)
        header, plain = self._parsed(data, limits)
        _, body = self._ask(header, plain, {"want": "square", "size": size})
        return np.frombuffer(body, np.uint8).reshape(size, size, 3)

    def resized(self, data: bytes, longest: int, limits: Limits = IDENTIFY, *, quality: int = 85) -> bytes:
        """A smaller JPEG as by `resized`, for the eye: a JPEG is decoded coarsely where that is enough."""
        check_size(longest)
        header, plain = self._parsed(data, limits)
        _, body = self._ask(header, plain, {"want": "resized", "longest": longest, "quality": quality})
        return bytes(body)

    def _parsed(self, data: bytes, limits: Limits) -> tuple[Header, bytes]:
        allowed = Limits(bytes=min(limits.bytes, self.limits.bytes), pixels=min(limits.pixels, self.limits.pixels))
        return parsed(data, allowed)

    def _ask(self, header: Header, data: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        request = {**request, "format": header.format, "orientation": header.orientation, "bytes": len(data)}
        if self._closed:
            raise InputError("the decoder is closed; use it within `with Decoder() as decoder`")
        one = self._taken()
        try:
            for _ in range(2):  # the first process may have been ended by something else than the photo
                one = one or self._started()
                try:
                    return one.ask(request, data, self.seconds)
                except _Ended as ended:
                    one = None
                    if ended.slow:
                        said = f"the photo took more than {self.seconds:g} s to decode; save it anew, smaller, and send that"
                        raise RefusedPhoto("too-slow", said) from None
                except TryAgain:
                    one = None
                    raise
            raise RefusedPhoto("damaged", "the photo ended its decoder twice; save it anew and send that")
        finally:
            self._give_back(one)

    def _taken(self) -> _Worker | None:
        """A process that is idle; None where it is to be started."""
        try:
            return self._idle.get(timeout=self.patience)
        except queue.Empty:
            raise TryAgain(f"all {self._workers} decoders of photos were busy for {self.patience:g} s; try again") from None

    def _give_back(self, one: _Worker | None) -> None:
        with self._lock:
            if not self._closed:
                self._idle.put(one)
                return
        if one is not None:
            one.end()

    def _started(self) -> _Worker:
        memory = MEMORY_BASE + self.limits.bytes + MEMORY_PIXEL * self.limits.pixels
        return _Worker({"memory": memory, "pixels": self.limits.pixels, "seconds": math.ceil(self.seconds)})


class _Ended(Exception):
    """A process has ended, or was, over a photo."""

    def __init__(self, *, slow: bool) -> None:
        self.slow = slow


class _Worker:
    """One process, and the socket that is its input and output."""

    def __init__(self, options: dict[str, int]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            path = json.dumps([str(Path(folder).absolute()) for folder in sys.path])
            program = [sys.executable, "-I", "-S", "-B", "-c", _START, json.dumps(options), path, worker.__file__]
            try:
                self._process = subprocess.Popen(
                    program,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},  # none of its secrets
                    start_new_session=True,  # Ctrl-C is for the server, which ends its processes itself
                )
            except OSError as error:
                ours.close()
                raise TryAgain(f"no decoder of photos can be started: {error.strerror or error}; free memory, then try again") from error
        self._socket = ours
        self.pid = self._process.pid
        self._ready = False

    def _wait(self) -> None:
        """Until it can be asked. Raises TryAgain where it does not come up, which no photo is to blame for."""
        if self._ready:
            return
        with contextlib.suppress(OSError, EOFError):
            self._ready = self._line(time.monotonic() + _START_SECONDS) == (b"ready", b"")
        if not self._ready:
            said = f"a decoder of photos did not start (status {self.end()}); look at memory and at the installation of Pillow"
            raise TryAgain(said)

    def ask(self, request: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytearray]:
        """Send and wait, `seconds` in all, not counting a start. Raises _Ended when the process has ended, or had to be; RefusedPhoto as it says."""
        self._wait()
        deadline = time.monotonic() + seconds
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(request).encode() + b"\n" + data)
            line, rest = self._line(deadline)
            told = json.loads(line)
            if "error" in told:
                raise _refusal(told)
            length = told["bytes"] if "bytes" in told else told["width"] * told["height"] * 3
            body = bytearray(length)
            body[: len(rest)] = rest
            self._fill(memoryview(body)[len(rest) :], deadline)
            return told, body
        except (OSError, ValueError, KeyError, EOFError) as error:
            late = isinstance(error, TimeoutError)
            raise _Ended(slow=self.end() == -signal.SIGXCPU or late) from None

    def _line(self, deadline: float) -> tuple[bytes, bytes]:
        begun = b""
        while b"\n" not in begun:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            more = self._socket.recv(4096)
            if not more:
                raise EOFError
            begun += more
        line, _, rest = begun.partition(b"\n")
        return line, rest

    def _fill(self, view: memoryview, deadline: float) -> None:
        while view:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]

    def end(self) -> int:
        """End the process -> its status; it holds nothing that is lost."""
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.05)
        self._process.kill()
        return self._process.wait()


def _refusal(told: dict[str, Any]) -> RefusedPhoto:
    if told["error"] == "memory":
        return RefusedPhoto("too-many-pixels", "the photo needs more memory than one is given; send it smaller")
    return RefusedPhoto("damaged", f"the photo is damaged: {told.get('detail', '')}; copy it anew, or send another")
