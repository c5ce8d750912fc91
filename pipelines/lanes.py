"""Which task next: those that read over the network held to a number in flight, retries when their time has come."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable

from pipelines.plan import Task


class Lanes:
    """A queue of tasks in two lanes. Pure bookkeeping: the caller tells the time."""

    def __init__(self, due: Iterable[Task], is_remote: Callable[[str], bool], *, reads_at_once: int) -> None:
        self._is_remote, self._reads_at_once = is_remote, reads_at_once
        self._local: deque[Task] = deque()
        self._remote: deque[Task] = deque()
        self._later: list[tuple[float, int, Task]] = []
        self._put = 0
        self.reading = 0
        """Tasks in flight that read over the network."""
        for task in due:
            self._lane(task).append(task)

    def take(self, now: float) -> Task | None:
        """The next task that may start, or None. Network first, as long as its lane has room: it is the narrow one."""
        while self._later and self._later[0][0] <= now:
            task = heapq.heappop(self._later)[2]
            self._lane(task).appendleft(task)
        if self._remote and self.reading < self._reads_at_once:
            self.reading += 1
            return self._remote.popleft()
        return self._local.popleft() if self._local else None

    def ended(self, task: Task) -> None:
        """A task is no longer in flight."""
        self.reading -= self._is_remote(task.key)

    def again(self, task: Task, at: float) -> None:
        """Try a task once more, not before `at`. The others do not wait for it."""
        heapq.heappush(self._later, (at, self._put, task))
        self._put += 1

    @property
    def next_time(self) -> float | None:
        """When the first of those that wait may start."""
        return self._later[0][0] if self._later else None

    def __len__(self) -> int:
        """Tasks not in flight and not done."""
        return len(self._local) + len(self._remote) + len(self._later)

    def _lane(self, task: Task) -> deque[Task]:
        return self._remote if self._is_remote(task.key) else self._local
