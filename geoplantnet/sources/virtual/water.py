"""What runs downhill: drainage, rivers, lakes and glaciers, on a coarse lattice (200 m) that keeps it quick.

Arrays are (y, x), rows north to south. `Drainage` holds the flow graph; water and ice are routed through the same one.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from shapely import LineString

from geoplantnet.sources.virtual.noise import Field

_STEPS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


@dataclass(frozen=True, eq=False)
class Drainage:
    """Where each cell's water goes; cells are numbered in reading order."""

    shape: tuple[int, int]
    cell: int
    """Side of a cell, metres."""
    order: list[int]
    """Known cells from the outlets upward: every cell comes after the one it drains to."""
    parent: list[int]
    """The one cell each cell drains to (single flow), -1 for outlets and voids."""
    flows: tuple[list[int], list[int], list[float]]
    """Multiple flow as (from, to, share), from the highest cell down; the shares of a cell add up to 1."""

    def route(self, supply: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Flow through each cell: what it gets from above plus its own `supply` (negative: loss), never below zero."""
        flow = supply.ravel().tolist()
        for upper, lower, share in zip(*self.flows):
            if flow[upper] > 0:
                flow[lower] += flow[upper] * share
        return np.maximum(flow, 0.0).reshape(self.shape)

    def gather(self) -> npt.NDArray[np.int64]:
        """Number of cells draining through each cell, itself included (single flow)."""
        count = [0] * len(self.parent)
        for cell in reversed(self.order):
            count[cell] += 1
            if self.parent[cell] >= 0:
                count[self.parent[cell]] += count[cell]
        return np.array(count).reshape(self.shape)


def drainage(elevation: npt.NDArray[np.float64], cell: int) -> Drainage:
    """Flow graph of an elevation model with NaN voids, its depressions filled by priority flood.

    Barnes, Lehman & Mulla (2014, Comput. Geosci. 62:117) for filling; multiple flow shares after Freeman (1991,
    Comput. Geosci. 17:413), slope to the power 1.1. Cells at the border of the known area are outlets.
    """
    height, width = elevation.shape
    wide = width + 2  # a ring of void around, so that every cell has eight neighbours
    padded = np.pad(elevation, 1, constant_values=np.nan)
    known = np.isfinite(padded)
    outlet = known & ~ndimage.binary_erosion(known, np.ones((3, 3)))
    surface, done, parent = padded.ravel().tolist(), (~known | outlet).ravel().tolist(), [-1] * padded.size
    offsets = [dy * wide + dx for dy, dx in _STEPS]
    heap = [(surface[c], c) for c in np.flatnonzero(outlet).tolist()]
    heapq.heapify(heap)
    order: list[int] = []
    while heap:
        z, c = heapq.heappop(heap)
        order.append(c)
        for offset in offsets:
            n = c + offset
            if not done[n]:
                done[n] = True
                parent[n] = c
                if surface[n] <= z:
                    surface[n] = z + 1e-3
                heapq.heappush(heap, (surface[n], n))

    inner = np.full(padded.shape, -1)
    inner[1:-1, 1:-1] = np.arange(height * width).reshape(height, width)
    number = inner.ravel()
    downward = np.array(order[::-1], dtype=np.int64)
    filled, parents = np.array(surface), np.array(parent)
    inland = downward[parents[downward] >= 0]
    neighbours = inland[:, None] + np.array(offsets)
    lengths = np.array([(dy * dy + dx * dx) ** 0.5 * cell for dy, dx in _STEPS])
    weight = np.maximum(filled[inland, None] - filled[neighbours], 0) / lengths
    weight **= 1.1
    weight /= weight.sum(axis=1, keepdims=True)
    some = weight > 0
    return Drainage(
        shape=(height, width),
        cell=cell,
        order=number[order].tolist(),
        parent=np.where(parents >= 0, number[parents], -1).reshape(padded.shape)[1:-1, 1:-1].ravel().tolist(),
        flows=(number[np.repeat(inland, some.sum(axis=1))].tolist(), number[neighbours[some]].tolist(), weight[some].tolist()),
    )


def rivers(graph: Drainage, origin: tuple[float, float], *, source_area: float) -> list[tuple[LineString, float]]:
    """River courses as smoothed lines with their catchment (km2) at the lower end, from where `source_area` km2 drain.

    `origin` is the north-west corner (easting, northing) of the graph's lattice.
    """
    km2 = graph.cell**2 / 1e6
    count = graph.gather().ravel()
    mouths = {cell for cell in graph.order if count[cell] * km2 >= source_area}
    fed = {graph.parent[cell] for cell in mouths}
    heads = sorted((cell for cell in mouths if cell not in fed), key=lambda cell: (-int(count[cell]), cell))
    drawn: set[int] = set()
    courses = []
    width = graph.shape[1]
    for head in heads:
        path, cell = [head], head
        while cell not in drawn and graph.parent[cell] >= 0:
            drawn.add(cell)
            cell = graph.parent[cell]
            path.append(cell)
        # A new line starts where the catchment grows much, so that a course can widen downstream.
        start = 0
        points = smooth_line(
            np.array([(origin[0] + (c % width + 0.5) * graph.cell, origin[1] - (c // width + 0.5) * graph.cell) for c in path])
        )
        for i in range(1, len(path)):
            if i == len(path) - 1 or count[path[i]] > 1.5 * count[path[start]]:
                courses.append((LineString(points[2 * start : 2 * i + 1]), float(count[path[i - 1]] * km2)))
                start = i
    return courses


def smooth_line(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A stepped path (n, 2) as a softer one (2n - 1, 2) with the same ends: midpoints added, then averaged along the line."""
    if len(points) < 3:
        return np.repeat(points, 2, axis=0)[: 2 * len(points) - 1] if len(points) == 2 else points
    dense = np.empty((2 * len(points) - 1, 2))
    dense[::2], dense[1::2] = points, (points[1:] + points[:-1]) / 2
    soft = ndimage.uniform_filter1d(dense, size=7, axis=0, mode="nearest")
    soft[0], soft[-1] = points[0], points[-1]
    return soft


def lakes(elevation: Field, known: npt.NDArray[np.bool_], cell: int, *, smallest: float) -> npt.NDArray[np.bool_]:
    """Still water: level ground (within 0.1 m over 250 m) of more than `smallest` hectares. `known` is False in voids."""
    reach = 2 * (125 // cell) + 1
    level = ndimage.maximum_filter(elevation, reach) - ndimage.minimum_filter(elevation, reach) < 0.1
    level &= known
    level = ndimage.binary_dilation(level, np.ones((3, 3)), iterations=125 // cell)
    labels, n = ndimage.label(level)
    areas = np.bincount(labels.ravel(), minlength=n + 1) * cell**2 / 1e4
    return (areas > smallest)[labels] & (labels > 0)


def glacier(
    graph: Drainage, elevation: npt.NDArray[np.float64], slope: npt.NDArray[np.float64], *, equilibrium: float
) -> npt.NDArray[np.float64]:
    """Ice flux (m3 of water a year per metre of width): the mass balance of the firn routed down the valleys until it melts.

    Balance rises with elevation above the `equilibrium` line (m) by 0.7 m a year in 100 m, at most 2 m a year, and steep
    faces keep little snow: of the order seen on Alpine glaciers (Zemp et al. 2009, J. Glaciol. 55).
    """
    balance = np.minimum(0.007 * (elevation - equilibrium), 2.0)
    keeps = 1 / (1 + np.exp((slope - 42) / 3))
    balance = np.where(balance > 0, balance * keeps, balance)
    return graph.route(np.nan_to_num(balance, nan=-99.0) * graph.cell**2) / graph.cell
