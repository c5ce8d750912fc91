"""How many requests are worked on at once: so many, so many more that wait, and no others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from geoplantnet.serving.guard.door import ClientGone
from geoplantnet.serving.guard.refusal import Refused


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The room of a gate."""

    concurrent: int
    """Requests inside."""
    waiting: int
    """Requests before it."""
    wait_s: float
    """Seconds one waits at most."""


class Gate:
    """A door with so many places behind it; first come, first served. For one event loop: nothing here is locked."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.inside = 0
        """Places taken: one stays taken until the work has really ended, also when its client was answered or left."""
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests before the gate."""
        return len(self._queue)

    def try_enter(self) -> bool:
        """Take a place if one is free."""
        if self.inside >= self.capacity.concurrent:
            return False
        self.inside += 1
        return True

    async def wait(self, client_left: Coroutine[Any, Any, None]) -> None:
        """Take a place as soon as one is free. Raises Refused (nobody left in time) and ClientGone."""
        if len(self._queue) >= self.capacity.waiting:
            client_left.close()
            raise busy("queue")
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        left = asyncio.ensure_future(client_left)
        try:
            await asyncio.wait((turn, left), timeout=self.capacity.wait_s, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            if turn.done():
                self.leave()
            raise
        finally:
            gone = left.done()
            left.cancel()
            if not turn.done():
                self._queue.remove(turn)
                turn.cancel()
        if turn.cancelled():
            raise ClientGone if gone else busy("wait")
        if gone:
            self.leave()
            raise ClientGone

    def leave(self) -> None:
        """Give a place back: to the first that waits, if any."""
        if self._queue:
            self._queue.popleft().set_result(None)
        else:
            self.inside -= 1


def busy(reason: str, *, after_s: int = 5) -> Refused:
    """The refusal of a request that the server has no room or time for now."""
    message = "the server is at work on as many requests as it can; try again in a few seconds"
    if reason == "timeout":
        message = "the answer takes longer than the server gives it; ask for less, or try again later"
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, message, reason=reason, headers=(("Retry-After", str(after_s)),))
