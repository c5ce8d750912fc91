"""Several species in one photo: it is cut into squares that overlap, each is identified, and what they say is put together by species.

As Pl@ntNet's survey has it (Goëau, Espitalier, Bonnet and Joly 2024, Overview of PlantCLEF 2024, LifeCLEF): a square counts for the species of its
first ranks that score enough. Positions are pixels of the upright photo, x to the right and y down, from its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError, TryAgain
from geoplantnet.identify.network import ORGANS, Network
from geoplantnet.identify.photos import square

Boxes = npt.NDArray[np.int64]
_BATCH = 16
_OVERLAP = 0.3
"""Squares of one species that overlap by more (intersection over union) are one place: neighbours at half a side do (1/3)."""
LEAST_TILE = 64


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a photo is cut. Raises InputError for sizes that cannot be."""

    size: int = 518
    """Side of a square, pixels of the photo."""
    stride: int = 0
    """Pixels from one square to the next; 0: half a side."""
    multi_scale: bool = False
    """Whether larger squares are cut too, each `factor` as large as those before, up to the photo's shorter side."""
    factor: float = math.sqrt(2)

    def __post_init__(self) -> None:
        if self.size < LEAST_TILE:
            raise InputError(f"tile_size {self.size}; at least {LEAST_TILE} pixels are wanted")
        if not 0 <= self.stride <= self.size:
            raise InputError(f"tile_stride {self.stride} is not from 1 to tile_size {self.size}: parts of the photo would be in no square")
        if not (math.isfinite(self.factor) and self.factor >= 1.1):
            raise InputError(f"size_factor {self.factor}; at least 1.1 is wanted")

    def scales(self, width: int, height: int) -> Iterator[tuple[int, int]]:
        """(side, stride) of each scale. Of a photo smaller than a square the whole shorter side is one."""
        shorter = min(width, height)
        side, stride = float(self.size), float(self.stride or max(1, self.size // 2))
        if side >= shorter:
            yield shorter, max(1, round(stride * shorter / side))
            return
        while side <= shorter:
            yield int(side), max(1, int(stride))
            if not self.multi_scale:
                return
            side, stride = side * self.factor, stride * self.factor

    def boxes(self, width: int, height: int) -> Boxes:
        """(n, 3): x, y of the upper left corner and side of each square; row by row, scale by scale.

        Squares begin every stride and end within the photo: what remains right and below is in none. A photo of 4000 x 3000 has 14 x 10.
        """
        found = []
        for side, stride in self.scales(width, height):
            x, y = (np.arange(0, length - side + 1, stride) for length in (width, height))
            grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
            found.append(np.concatenate([grid, np.full((len(grid), 1), side)], axis=1))
        return np.concatenate(found).astype(np.int64)

    def count(self, width: int, height: int) -> int:
        """How many squares there are, without making them."""
        return sum(((width - side) // stride + 1) * ((height - side) // stride + 1) for side, stride in self.scales(width, height))


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where something was found."""

    x: float
    y: float
    """Middle."""
    size: int
    score: float
    organ: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A species, genus or family in the photo."""

    index: int
    """Position among what was counted: species of the list, or names in the order given."""
    coverage: float
    """Share of the photo's area that lies in squares where it was found."""
    max_score: float
    count: int
    """Squares where it was found."""
    spots: tuple[Spot, ...]
    """The best scored first; of squares that overlap much the best alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a net says of each square."""

    boxes: Boxes
    scores: npt.NDArray[np.float32]
    """(n, species): probabilities within the flora; zero for squares that show no plant."""
    organs: tuple[str, ...]
    plant: npt.NDArray[np.float32]
    """(n,)"""
    rejected: npt.NDArray[np.bool_]
    """(n,): squares that show no plant."""


def look(
    network: Network,
    pixels: npt.NDArray[np.uint8],
    boxes: Boxes,
    species: npt.NDArray[np.intp] | None,
    *,
    go_on: Callable[[int], bool] = lambda looked: True,
) -> Seen:
    """Identify each square of a photo (h, w, 3). `species`: positions of the flora; None: all.

    `go_on` is asked before every few squares, with the number of those that were looked at. Raises InputError for a flora of none, TryAgain once
    it says no.
    """
    if species is not None and not len(species):
        raise InputError("the project has no species; choose another")
    size, card = network.card.size, network.card
    scores = np.zeros((len(boxes), len(network.species)), np.float32)
    plant, organs = np.ones(len(boxes), np.float32), np.zeros(len(boxes), np.intp)
    for start in range(0, len(boxes), _BATCH):
        if not go_on(start):
            raise TryAgain("the survey took longer than its answer is waited for; ask for fewer tiles")
        part = slice(start, start + _BATCH)
        out = network(np.stack([square(pixels[y : y + side, x : x + side], size) for x, y, side in boxes[part].tolist()]))
        logits = out.logits.astype(np.float64) / card.temperature
        if species is not None:
            kept = np.full(logits.shape, -np.inf)
            kept[:, species] = logits[:, species]
            logits = kept
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores[part] = p / p.sum(axis=1, keepdims=True)
        plant[part], organs[part] = out.plant, out.organs.argmax(axis=1)
    rejected = (plant < card.plant_threshold) if card.rejects else np.zeros(len(boxes), bool)
    scores[rejected] = 0.0
    return Seen(boxes=boxes, scores=scores, organs=tuple(ORGANS[i] for i in organs.tolist()), plant=plant, rejected=rejected)


def matches(scores: npt.NDArray[np.float32], *, min_score: float, max_rank: int) -> npt.NDArray[np.bool_]:
    """(n, k): whether a square counts for each: it is of its first `max_rank`, and scores `min_score` or more."""
    rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1, kind="stable")
    return (rank < max_rank) & (scores >= min_score) & (scores > 0)


def gather(
    seen: Seen, scores: npt.NDArray[np.float32], hit: npt.NDArray[np.bool_], shape: tuple[int, int], counted: npt.NDArray[np.bool_]
) -> list[Found]:
    """Put together what squares say, (n, k) `scores` and `hit`: the widest spread first. `shape`: width, height. `counted`: squares whose area
    makes the coverage.
    """
    found = []
    for k in np.flatnonzero(hit.any(axis=0)).tolist():
        mine = np.flatnonzero(hit[:, k])
        order = mine[np.argsort(-scores[mine, k], kind="stable")]
        spots = tuple(_spot(seen, i, float(scores[i, k])) for i in apart(seen.boxes, order))
        area = covered(seen.boxes[mine[counted[mine]]], shape)
        found.append(Found(index=k, coverage=area, max_score=float(scores[order[0], k]), count=len(mine), spots=spots))
    return sorted(found, key=lambda one: (-one.coverage, -one.max_score, one.index))


def _spot(seen: Seen, i: int, score: float) -> Spot:
    x, y, side = seen.boxes[i].tolist()
    return Spot(x=x + side / 2, y=y + side / 2, size=side, score=score, organ=seen.organs[i])


def apart(boxes: Boxes, order: Sequence[int] | npt.NDArray[np.intp]) -> list[int]:
    """Of squares, the best first, those that no better one overlaps by more than `_OVERLAP`."""
    kept: list[int] = []
    for i in np.asarray(order).tolist():
        if not kept or overlap(boxes[i], boxes[kept]).max() <= _OVERLAP:
            kept.append(i)
    return kept


def overlap(one: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """(n,): intersection over union of a square with others."""
    x, y, side = one
    wide = np.clip(np.minimum(x + side, others[:, 0] + others[:, 2]) - np.maximum(x, others[:, 0]), 0, None)
    high = np.clip(np.minimum(y + side, others[:, 1] + others[:, 2]) - np.maximum(y, others[:, 1]), 0, None)
    both = (wide * high).astype(float)
    return both / (side**2 + others[:, 2] ** 2 - both)


def covered(boxes: Boxes, shape: tuple[int, int]) -> float:
    """Share of a photo (width, height) that lies in some square, exactly: on the grid that their edges draw."""
    if not len(boxes):
        return 0.0
    xs, ys = (np.unique(np.concatenate([boxes[:, axis], boxes[:, axis] + boxes[:, 2]])) for axis in (0, 1))
    inside = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    left, right = np.searchsorted(xs, boxes[:, 0]), np.searchsorted(xs, boxes[:, 0] + boxes[:, 2])
    top, below = np.searchsorted(ys, boxes[:, 1]), np.searchsorted(ys, boxes[:, 1] + boxes[:, 2])
    for a, b, c, d in zip(top.tolist(), below.tolist(), left.tolist(), right.tolist(), strict=True):
        inside[a:b, c:d] = True
    return float((np.diff(ys)[:, None] * np.diff(xs)[None, :])[inside].sum() / (shape[0] * shape[1]))


def summed(scores: npt.NDArray[np.float32], names: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Probabilities of species (n, species) summed by genus or family -> the names, sorted, and (n, names)."""
    ordered = sorted(set(names))
    place = {name: i for i, name in enumerate(ordered)}
    total = np.zeros((len(scores), len(ordered)), np.float32)
    np.add.at(total.T, np.array([place[name] for name in names]), scores.T)
    return ordered, np.minimum(total, 1.0)
