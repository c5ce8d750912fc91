"""Where people would live and walk: villages on valley floors, roads between them, paths up to the huts.

They shape the land cover, and above all the bias of opportunistic records. Coarse (200 m) lattice; arrays (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from shapely import LineString

from geoplantnet.sources.virtual.noise import Field
from geoplantnet.sources.virtual.water import smooth_line

_STEPS = [(0, 1), (1, 0), (1, 1), (1, -1)]


@dataclass(frozen=True)
class Village:
    x: float
    y: float
    radius: float
    """Metres out to which half of the ground is built."""


@dataclass(frozen=True, eq=False)
class Network:
    villages: tuple[Village, ...]
    roads: tuple[LineString, ...]
    paths: tuple[LineString, ...]
    """Footpaths from huts and alps down to a village."""


def settle(
    elevation: npt.NDArray[np.float64],
    slope: Field,
    warmth: Field,
    river_distance: Field,
    closed: npt.NDArray[np.bool_],
    chance: Field,
    *,
    cell: int,
    origin: tuple[float, float],
) -> Network:
    """Villages on gentle, mild ground near rivers, the road network that links them cheaply, and paths to huts.

    `elevation` has NaN in voids; `warmth` is the annual mean temperature (degrees Celsius); `closed` marks lakes and ice;
    `chance` is uniform (0, 1) noise that breaks ties; `origin` is the north-west corner of the lattice, metres.
    """
    known = np.isfinite(elevation)
    score = (
        np.exp(-np.square(slope / 7)) / (1 + np.exp(4.2 - warmth)) * np.exp(-np.square((river_distance - 350) / 700)) * (0.5 + 0.5 * chance)
    )
    score = np.where(known & ~closed & (river_distance > 100), score, 0.0)
    sites = _spaced(score, least=0.18, spacing=1_700 / cell)
    if not sites:
        return Network((), (), ())
    width = elevation.shape[1]

    def place(node: int) -> tuple[float, float]:
        return origin[0] + (node % width + 0.5) * cell, origin[1] - (node // width + 0.5) * cell

    villages = tuple(Village(*place(node), radius=float(90 + 330 * score.flat[node] * chance.flat[node])) for node in sites)
    graph = _walking(elevation, closed, chance, cell)
    cost, before, nearest = dijkstra(graph, indices=sites, return_predecessors=True, min_only=True)
    lines = [_line(path, place) for path in _links(graph, cost, before, nearest)]
    huts = _spaced(
        np.where(known & ~closed & (slope < 32) & (elevation < 3_200) & np.isfinite(cost).reshape(elevation.shape), chance, 0.0),
        least=0.6,
        spacing=2_600 / cell,
    )
    paths = [_line(_back(hut, before), place) for hut in huts]
    return Network(villages, tuple(line for line in lines if line is not None), tuple(line for line in paths if line is not None))


def _spaced(score: npt.NDArray[np.float64], *, least: float, spacing: float) -> list[int]:
    """Cells in order of falling score, no two nearer than `spacing` cells."""
    height, width = score.shape
    order = np.flatnonzero(score.ravel() >= least)
    order = order[np.argsort(-score.ravel()[order], kind="stable")]
    taken = np.zeros(score.shape, bool)
    reach = int(spacing)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = dy**2 + dx**2 < spacing**2
    chosen = []
    for node in order.tolist():
        y, x = divmod(node, width)
        if taken[y, x]:
            continue
        chosen.append(node)
        top, left = max(0, y - reach), max(0, x - reach)
        bottom, right = min(height, y + reach + 1), min(width, x + reach + 1)
        taken[top:bottom, left:right] |= disc[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
    return chosen


def _walking(elevation: npt.NDArray[np.float64], closed: npt.NDArray[np.bool_], chance: Field, cell: int) -> csr_array:
    """Cost (metres of flat ground) of going between neighbouring cells; grades above 8 % grow dear, water and ice dearer;
    `chance` keeps straight lines away.
    """
    height, width = elevation.shape
    number = np.arange(height * width).reshape(height, width)
    starts, ends, costs = [], [], []
    for dy, dx in _STEPS:
        here = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        there = (slice(dy, height), slice(max(0, dx), width + min(0, dx)))
        length = cell * (dy * dy + dx * dx) ** 0.5
        grade = np.abs(elevation[there] - elevation[here]) / length
        cost = length * (1 + np.square(grade / 0.08)) * np.where(closed[here] | closed[there], 40, 1) * (0.7 + chance[here])
        fine = np.isfinite(cost)
        starts.append(number[here][fine])
        ends.append(number[there][fine])
        costs.append(cost[fine])
    start, end, cost = (np.concatenate(parts) for parts in (starts, ends, costs))
    rows, cols = np.concatenate([start, end]), np.concatenate([end, start])
    return csr_array(coo_array((np.concatenate([cost, cost]), (rows, cols)), shape=(height * width, height * width)))


def _links(
    graph: csr_array, cost: npt.NDArray[np.float64], before: npt.NDArray[np.int32], nearest: npt.NDArray[np.int32]
) -> list[list[int]]:
    """The cheapest paths that join all villages: a spanning tree over the borders between their catchments."""
    edges = coo_array(graph)
    rows, cols = edges.coords
    border = (nearest[rows] != nearest[cols]) & (nearest[rows] >= 0) & (nearest[cols] >= 0)
    rows, cols = rows[border], cols[border]
    total = cost[rows] + edges.data[border] + cost[cols]
    first, second = nearest[rows], nearest[cols]
    order = np.lexsort((cols, rows, total))
    best: dict[tuple[int, int], int] = {}
    for k in order.tolist():
        best.setdefault((int(first[k]), int(second[k])), k)
    if not best:
        return []
    sites = sorted({site for pair in best for site in pair})
    index = {site: i for i, site in enumerate(sites)}
    weights = coo_array(
        ([total[k] for k in best.values()], ([index[a] for a, _ in best], [index[b] for _, b in best])), shape=(len(sites), len(sites))
    )
    tree = coo_array(minimum_spanning_tree(csr_array(weights)))
    links = []
    for a, b, length in zip(*tree.coords, tree.data):
        if length < 90_000:  # villages a glaciated ridge apart stay without a road between them
            k = best[sites[a], sites[b]]
            links.append(_back(int(rows[k]), before)[::-1] + _back(int(cols[k]), before))
    return links


def _back(node: int, before: npt.NDArray[np.int32]) -> list[int]:
    path = [node]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path


def _line(path: list[int], place) -> LineString | None:  # type: ignore[no-untyped-def]
    return LineString(smooth_line(np.array([place(node) for node in path]))) if len(path) > 1 else None
