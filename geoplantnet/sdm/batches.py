"""Endless streams of batches that can be put back to where they were: what a resumed training goes on with."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from geoplantnet.sdm.sites import BACKGROUND, Integers

BACKGROUND_SHARE = 0.25
"""Background sites in a presence-only batch, per record site, where nothing else is asked for."""
State = dict[str, Any]
"""Plain values, as JSON holds them."""


class Stream(Protocol):
    """Endless batches of rows."""

    def __next__(self) -> Integers: ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


class Passes:
    """Batches of `rows`, every row once a pass, a new order each pass. Its generator is drawn from `parent` at the first batch."""

    def __init__(self, rows: Integers, size: int, parent: np.random.Generator) -> None:
        self._rows, self._size, self._parent = rows, size, parent
        self._rng: np.random.Generator | None = None
        self._before: State = {}
        self._order = rows[:0]
        self._at = 0

    def __next__(self) -> Integers:
        if self._rng is None:
            self._rng = np.random.default_rng(self._parent.integers(2**63))
            self._shuffle()
        elif self._at >= max(self._order.size, 1):
            self._shuffle()
        batch = self._order[self._at : self._at + self._size]
        self._at += self._size
        return batch

    def _shuffle(self) -> None:
        assert self._rng is not None
        self._before, self._at = dict(self._rng.bit_generator.state), 0
        self._order = self._rng.permutation(self._rows)

    def state(self) -> State:
        """Where the stream is: its generator before the last shuffle, and how far it has come since."""
        return {"generator": self._before, "at": self._at}

    def restore(self, state: State) -> None:
        """Go on as the stream would have that gave `state`."""
        if not state["generator"]:
            return
        self._rng = np.random.default_rng(0)
        self._rng.bit_generator.state = state["generator"]
        self._shuffle()
        self._at = state["at"]


class GroupPasses:
    """Presence-only batches, each of one group (drawn by its number of sites) with some background beside it; empty without groups."""

    def __init__(self, rows: Integers, group: Integers, size: int, parent: np.random.Generator, *, mass: float | None = None) -> None:
        """`mass`: all background weighs as much as so many record sites, however many there are; None = BACKGROUND_SHARE a site."""
        self._rows, self._parent = rows, parent
        groups = [rows[group[rows] == g] for g in np.unique(group[rows]) if g != BACKGROUND]
        self._rng = np.random.default_rng(0)  # replaced at the first batch; the streams share the object
        self._begun = False
        self._streams = [Passes(members, size, self._rng) for members in groups]
        share = BACKGROUND_SHARE if mass is None else mass / max(sum(members.size for members in groups), 1)
        self._beside = Passes(rows[group[rows] == BACKGROUND], max(1, round(size * share)), self._rng)
        self._chance = np.array([members.size for members in groups]) / max(sum(members.size for members in groups), 1)

    def __next__(self) -> Integers:
        if not self._begun:
            self._rng.bit_generator.state = np.random.default_rng(self._parent.integers(2**63)).bit_generator.state
            self._begun = True
        if not self._streams:
            return self._rows[:0]
        return np.concatenate([next(self._streams[self._rng.choice(len(self._streams), p=self._chance)]), next(self._beside)])

    def state(self) -> State:
        """Where the stream and those of its groups are."""
        return {
            "generator": dict(self._rng.bit_generator.state) if self._begun else {},
            "streams": [stream.state() for stream in (*self._streams, self._beside)],
        }

    def restore(self, state: State) -> None:
        """Go on as the stream would have that gave `state`."""
        if not state["generator"]:
            return
        self._rng.bit_generator.state, self._begun = state["generator"], True
        for stream, own in zip((*self._streams, self._beside), state["streams"]):
            stream.restore(own)
