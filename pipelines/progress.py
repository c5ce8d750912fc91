"""Progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0
"""Seconds between two plain lines of one long task, or of a stage of many."""
MANY = 200
"""From so many tasks on, not every one gets a plain line; failures always do."""


class Reporter:
    """Says what a run is doing, on one console."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A bar for a stage of `total` tasks."""
        if not self.console.is_terminal:
            yield Stage(self, title, total, None)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            yield Stage(self, title, total, progress)


class Stage:
    """Progress of one stage: whole tasks, and steps inside a long task."""

    def __init__(self, reporter: Reporter, title: str, total: int, progress: Progress | None) -> None:
        self._reporter, self._title, self._total, self._progress = reporter, title, total, progress
        self._done = self._failed = 0
        self._began = time.monotonic()
        self._bar = progress.add_task(f"{title:<12}", total=total) if progress else None
        self._inner: dict[str, object] = {}
        self._last = 0.0

    def task_done(self, key: str, seconds: float, note: str, *, failed: bool = False) -> None:
        """One task has ended."""
        self._done += 1
        self._failed += failed
        if self._progress is not None and self._bar is not None:
            if key in self._inner:
                self._progress.remove_task(self._inner.pop(key))  # type: ignore[arg-type]
            self._progress.update(self._bar, completed=self._done)
            if failed:
                self.note(f"{key}  {note}")
        elif self._total < MANY or failed:
            self._reporter.say(f"{self._title:<12} {self._done}/{self._total}  {key}  {seconds:.1f} s  {note}".rstrip())
        elif self._done == self._total or time.monotonic() - self._last > PLAIN_EVERY:
            self._last = time.monotonic()
            rate = self._done / max(self._last - self._began, 1e-9)
            left = f", about {(self._total - self._done) / rate / 60:.0f} min left" if self._done < self._total else ""
            failures = f", {self._failed} failed" if self._failed else ""
            self._reporter.say(f"{self._title:<12} {self._done}/{self._total}  {3600 * rate:,.0f} tasks/h{left}{failures}")

    def note(self, text: str) -> None:
        """Something to know about a task."""
        self._reporter.say(f"{self._title:<12} {text}" if self._progress is None else text)

    def inside(self, key: str, done: int, total: int, message: str) -> None:
        """A step inside a task."""
        if self._progress is not None:
            if key not in self._inner:
                self._inner[key] = self._progress.add_task("", total=total)
            self._progress.update(self._inner[key], completed=done, total=total, description=f"  {message:<24}")  # type: ignore[arg-type]
        elif time.monotonic() - self._last > PLAIN_EVERY:
            self._last = time.monotonic()
            self._reporter.say(f"{self._title:<12} {key}  {100 * done // max(total, 1)} %  {message}")
