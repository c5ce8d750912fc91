"""Species blocks: the stream in which probabilities leave a tile. Ten thousand species never stand in memory at once.

A consumer gets a callable, so that it may pass over the species as often as it needs; `LatentTile.blocks` is one.
Written against the array API standard: numpy and torch arrays both pass, and neither is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, to_device

from geoplantnet.errors import InputError

Array: TypeAlias = Any
"""An array of any library that array-api-compat knows."""

Blocks: TypeAlias = Callable[[], Iterable[tuple[slice, Array]]]
"""Each call starts a pass over all species: (slice of the species axis, probabilities (species, y, x), NaN = no data)."""

_STRIP_VALUES = 2**19
"""Probabilities worked on at a time: the intermediate arrays then stay in a core's cache."""


def checked(blocks: Blocks, shape: tuple[int, int]) -> Iterator[tuple[slice, Array]]:
    """One pass over `blocks` that holds them to their contract.

    Raises InputError when a block has another extent than `shape` (y, x), leaves a gap or overlaps on the species
    axis, or holds values outside [0, 1]; and when there is no block at all.
    """
    done = 0
    for part, p in blocks():
        xp = array_namespace(p)
        if tuple(p.shape[1:]) != tuple(shape):
            raise InputError(f"species block {part.start}:{part.stop} has cells {tuple(p.shape[1:])}, expected {tuple(shape)} (y, x)")
        if part.start != done or part.stop - part.start != p.shape[0] or part.step not in (None, 1):
            raise InputError(
                f"species block {part} with {p.shape[0]} species came where species {done} was due; blocks follow each other without gap or overlap"
            )
        if xp.any(p < 0) or xp.any(p > 1):
            raise InputError(
                f"species block {part.start}:{part.stop} holds values outside [0, 1]; give probabilities, neither logits nor percentages"
            )
        done = part.stop
        yield slice(part.start, part.stop), p
    if not done:
        raise InputError("no species: the blocks are empty; give at least one species")


def row_strips(p: Array) -> list[slice]:
    """Rows of a block (species, y, x) to work on at a time: some on a CPU, for its caches; all on an accelerator."""
    species, rows, columns = p.shape
    height = max(1, _STRIP_VALUES // max(1, species * columns)) if str(device(p)) == "cpu" else max(1, rows)
    return [slice(start, min(start + height, rows)) for start in range(0, rows, height)]


def on_host(array: Array) -> npt.NDArray[Any]:
    """The array as numpy, from whichever library and device."""
    return np.asarray(to_device(array, "cpu"))
