"""What a server remembers, by bytes: the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_thread = threading.local()


class NotHeld(Exception):
    """What is asked for is not in memory, and there is no time to make it (`held_only`)."""


@contextmanager
def held_only() -> Iterator[None]:
    """On this thread nothing is read or made meanwhile: where something would have to be, NotHeld is raised.

    For who must not wait, as the one thread that answers all connections.
    """
    _thread.hurried = True
    try:
        yield
    finally:
        _thread.hurried = False


def takes_time() -> None:
    """Said before what is slow, such as reading a file. Raises NotHeld within `held_only`."""
    if getattr(_thread, "hurried", False):
        raise NotHeld


class Cache:
    """Values by key, at most `limit` bytes of them; safe to share between threads.

    A value larger than the limit is handed out and not kept. What several threads miss at once is made by one of them, and the others
    wait for it: a screen of tiles asked for together opens its files once. Where making it fails, those who waited try themselves.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = self.hits = self.misses = 0
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The value of a key, made and measured (bytes) where it is not held; `make` must not ask for the same key.

        Raises what `make` raises, and NotHeld in place of making it within `held_only`.
        """
        while True:
            with self._lock:
                held = self._held.get(key)
                if held is not None:
                    self._held.move_to_end(key)
                    self.hits += 1
                    return held[0]
                takes_time()
                making = self._making.get(key)
                if making is None:
                    self.misses += 1
                    self._making[key] = Future()
                    break
            if making.exception() is None:
                return making.result()
        try:
            value = make()
            self._keep(key, value, size(value))
        except BaseException as error:
            self._made(key).set_exception(error)
            raise
        self._made(key).set_result(value)
        return value

    def _made(self, key: Hashable) -> Future[Any]:
        with self._lock:
            return self._making.pop(key)

    def _keep(self, key: Hashable, value: Any, cost: int) -> None:
        if cost > self.limit:
            return
        with self._lock:
            before = self._held.pop(key, None)
            self._held[key] = value, cost
            self.bytes += cost - (before[1] if before else 0)
            while self.bytes > self.limit:
                self.bytes -= self._held.popitem(last=False)[1][1]
