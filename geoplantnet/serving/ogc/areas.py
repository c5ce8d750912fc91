"""What lies in a polygon: coverage of every species, exact, from the tiles' species sets, and means of indicators, cell by cell."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine
from scipy.sparse import csr_array

from geoplantnet.assemblages.agreement import agreement
from geoplantnet.assemblages.assemblage import block_side
from geoplantnet.assemblages.cell_sets import CellSets
from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.assemblages.latent import LatentTile
from geoplantnet.catalog import PublishedTile
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import IntegrityError
from geoplantnet.serving.atlas import Epoch
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge
from geoplantnet.serving.fields import Predictions
from geoplantnet.serving.languages import told_in
from geoplantnet.serving.mosaic import PREDICTED
from geoplantnet.serving.ogc.jobs import Budget
from geoplantnet.serving.taxa import GROUPS, TaxonRecords, belongs

Double = npt.NDArray[np.float64]

MAX_VERTICES = 200_000
PRODUCTS = 4_000_000
"""Cells times species of a tile at which the models' members are asked one by one: on more cells, on every so many-th of them."""
MOST_KEPT = 2**21
"""Cells of all tiles of an area together that are kept for that."""
_NOT_INDICATORS = frozenset({"Terrain", "Species"})
"""Families of layers that no report tells of."""
_PLACED = re.compile(r"^(?P<reason>[^\[]+)\[(?P<x>\S+) (?P<y>\S+)\]$")
_REASONS = {
    "Self-intersection": "its outline crosses itself",
    "Ring Self-intersection": "its outline touches itself",
    "Hole lies outside shell": "a hole lies outside of it",
    "Holes are nested": "a hole lies in another hole",
    "Interior is disconnected": "holes cut it in two",
    "Nested shells": "one of its parts lies in another",
    "Duplicate Rings": "one of its parts is there twice",
    "Too few points in geometry component": "an outline has less than three corners",
}
"""What GEOS finds wrong with a polygon, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Area:
    """A polygon as it was asked for."""

    shape: shapely.Geometry
    """In the catalog's CRS; edges are straight there between the vertices that were given."""
    bounds: tuple[float, float, float, float]
    """West, south, east, north in degrees."""
    sha256: str
    """Of the polygon as given, whatever the order of its rings and vertices: the same for the same area."""

    @property
    def km2(self) -> float:
        """Its area: the grid's CRS is one of equal areas."""
        return float(shapely.area(self.shape)) / 1e6


def area_of(told: Any, crs: str) -> Area:
    """A GeoJSON polygon, multipolygon or feature of one, or a bbox, in longitude, latitude (RFC 7946). Raises InvalidParameter, TooLarge.

    The same area gets the same `Area`, to the last bit, wherever its rings begin and whichever way they run.
    """
    if isinstance(told, dict) and "type" not in told and "bbox" in told:
        told = _box(told)
    geometry = told.get("geometry") if isinstance(told, dict) and told.get("type") == "Feature" else told
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise InvalidParameter("area is no GeoJSON Polygon, MultiPolygon or Feature of one, and no bbox; give it in longitude, latitude")
    polygons = _rings(geometry)
    count = sum(len(ring) for rings in polygons for ring in rings)
    if count > MAX_VERTICES:
        raise TooLarge(f"area has {count} vertices, at most {MAX_VERTICES} are read; simplify it")
    if not count:
        raise InvalidParameter("area is empty; draw it again")
    try:
        parts = [
            shapely.polygons(rings[0], holes=rings[1:] or None) for rings in ([shapely.linearrings(r) for r in own] for own in polygons)
        ]
    except (ValueError, TypeError, IndexError, shapely.errors.ShapelyError) as error:
        raise InvalidParameter("area cannot be read as a polygon; each ring needs four positions or more, the last as the first") from error
    shape = parts[0] if geometry["type"] == "Polygon" else shapely.multipolygons(parts)
    west, south, east, north = shape.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise InvalidParameter(f"area reaches from {west:g}, {south:g} to {east:g}, {north:g}; it has to be in longitude, latitude")
    if not shapely.is_valid(shape):  # unlike the method, other threads run meanwhile: an outline of spikes takes seconds
        raise InvalidParameter(f"area is no valid polygon: {_why(shapely.is_valid_reason(shape))}; correct it there and send it again")
    _hold_near(shape, crs)
    flat = shapely.normalize(shape)
    moved = shapely.transform(flat, lambda xy: np.stack(transformer(CRS84.name, crs).transform(xy[:, 0], xy[:, 1]), axis=1))
    if not np.isfinite(shapely.get_coordinates(moved)).all() or not moved.area > 0:
        raise InvalidParameter(f"area has no image in {crs}; choose one inside the mapped area")
    if not shapely.is_valid(moved):  # edges that touch, or nearly, may cross by a rounding of the coordinates
        moved = shapely.make_valid(moved)
    return Area(shape=moved, bounds=shape.bounds, sha256=hashlib.sha256(shapely.to_wkb(flat, byte_order=1)).hexdigest())


def _hold_near(shape: shapely.Geometry, crs: str) -> None:
    """Raises InvalidParameter for a corner half a world away from where the CRS is made for: it tears the plane there, and an area laid over
    the tear would hold what lies outside of it.
    """
    use = pyproj.CRS(crs).area_of_use
    if use is None:
        return
    middle = np.radians([(use.west + use.east) / 2, (use.south + use.north) / 2])
    corners = np.radians(shapely.get_coordinates(shape))
    cosine = np.sin(corners[:, 1]) * np.sin(middle[1]) + np.cos(corners[:, 1]) * np.cos(middle[1]) * np.cos(corners[:, 0] - middle[0])
    if (cosine <= 0).any():
        lon, lat = np.degrees(corners[int(np.argmin(cosine))])
        raise InvalidParameter(f"area reaches to latitude {lat:.4f}, longitude {lon:.4f}, half a world from the map; choose one near it")


def _box(told: Mapping[str, Any]) -> dict[str, Any]:
    try:
        west, south, east, north = (float(side) for side in told["bbox"])
    except (TypeError, ValueError, OverflowError):
        raise InvalidParameter("bbox is no list of four numbers; give west, south, east, north in degrees") from None
    if told.get("crs", CRS84.uri) != CRS84.uri:
        raise InvalidParameter(f"bbox is in another CRS than {CRS84.uri}; give it in longitude, latitude")
    if not (west < east and south < north):
        raise InvalidParameter("bbox has no area: it is west, south, east, north, minimum before maximum")
    return {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}


def _rings(geometry: Mapping[str, Any]) -> list[list[Double]]:
    """The rings (n, 2) of each polygon, without heights. Raises InvalidParameter."""
    polygons = geometry.get("coordinates")
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    if not isinstance(polygons, list) or not all(isinstance(rings, list) for rings in polygons):
        raise InvalidParameter("area holds something that is no polygon; each is a list of rings of positions")
    return [[_ring(ring) for ring in rings] for rings in polygons if rings]


def _ring(told: Any) -> Double:
    try:
        ring = np.asarray(told)
    except ValueError:
        ring = _without_heights(told)
    if not isinstance(told, list) or ring.ndim != 2 or not 2 <= ring.shape[1] <= 4 or ring.dtype.kind not in "if":
        raise _no_ring()
    flat = ring[:, :2].astype(np.float64)
    if not np.isfinite(flat).all():
        raise InvalidParameter("area holds a number that is not finite; draw it again")
    return flat


def _without_heights(told: list[Any]) -> npt.NDArray[Any]:
    """A ring of which only some positions have a height."""
    try:
        return np.asarray([position[:2] for position in told])
    except (ValueError, TypeError, KeyError):
        raise _no_ring() from None


def _no_ring() -> InvalidParameter:
    return InvalidParameter("area holds something that is no ring of positions; each position is [longitude, latitude]")


def _why(reason: str) -> str:
    """What is wrong with a polygon in longitude, latitude, and where."""
    found = _PLACED.match(reason)
    if not found:
        return reason
    words, x, y = found["reason"], float(found["x"]), float(found["y"])
    return f"{_REASONS.get(words, words)} at latitude {y:.6f}, longitude {x:.6f} ({words})"


def tiles_of(epoch: Epoch, area: Area, most: int) -> list[PublishedTile]:
    """The tiles an area meets. Raises InvalidParameter for none, TooLarge for more than `most`."""
    shapely.prepare(area.shape)
    tiles = [tile for tile in epoch.catalog.tiles_meeting(area.shape.bounds) if shapely.intersects(area.shape, shapely.box(*tile.bounds))]
    if not tiles:
        west, south, east, north = extents(epoch.catalog)[CRS84.name]
        raise InvalidParameter(
            f"area lies outside the map, it meets no mapped tile; the map reaches from latitude {south:.2f} to {north:.2f} and from "
            f"longitude {west:.2f} to {east:.2f}"
        )
    if len(tiles) > most:
        raise TooLarge(
            f"area meets {len(tiles)} tiles, at most {most} are gone through in one request; ask for less, or with Prefer: respond-async"
        )
    return tiles


@dataclass(frozen=True, kw_only=True, eq=False)
class Cover:
    """Species in an area."""

    coverage: Double
    """(species,): share of the area's valid cells whose set holds the species; NaN where no cell is valid."""
    cells: float
    """Valid cells, parts of cells as such."""
    cell_area: float
    """m2"""
    partial: bool
    """Whether some of the area lies in no tile."""
    probability: Double
    """(species,): mean p over the area's valid cells, NaN where it is not known. See `from_cells`."""
    low: Double
    high: Double
    """(species,): the least and the greatest coverage that members of the ensemble alone would give, each by the cells' own thresholds, and
    the coverage itself; NaN where there is one member."""
    members: int
    """Models whose predictions are joined."""
    from_cells: int
    """Cells that probability and range are of; 0 for a probability made of means of 1 km."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found in an area."""

    cover: Cover
    indicators: list[dict[str, Any]]
    """What the map of each layer asked for tells: its mean, or the shares of its classes, weighted by how much of each cell lies inside."""


def survey(
    epoch: Epoch,
    area: Area,
    tiles: Sequence[PublishedTile],
    list_hash: str,
    budget: Budget,
    layers: Iterable[Layer] = (),
    lang: str = "en",
    also: npt.NDArray[np.intp] | None = None,
) -> Survey:
    """Coverage of all species, and the means of some layers, tile by tile: of a tile its sums are held, and some of its cells.

    The mean probability is found of the species that some cell's set holds, and of those at the positions `also`. Raises IntegrityError for
    sets of another species list.
    """
    predictions = epoch.mosaic.predictions
    assert predictions
    present: Double | float = 0.0
    cells = inside_area = 0.0
    sums = [_Sum(told_in(layer, lang)) for layer in layers]
    asked = _Asked(predictions, most=MOST_KEPT // max(len(tiles), 1))
    steps = 2 * len(tiles)
    for done, tile in enumerate(tiles):
        budget.step(done, steps)
        sets = predictions.sets(tile)
        if sets.list_hash != list_hash:
            raise IntegrityError(f"tile {tile.id} holds species sets of another list; run `geoplantnet indicators` again")
        inside = _Inside(area, tile, epoch.catalog.crs, predictions.cell)
        inside_area += inside.m2
        at, weight = inside.of_tile()
        valid = sets.valid.ravel()[at]
        at, weight = at[valid], weight[valid]
        found = np.zeros(sets.species)
        sets.add(at, weight, found)
        present = present + found
        cells += float(weight.sum())
        asked.note(tile, sets, at, weight)
        for one in sums:
            budget.check()
            stored, transform = epoch.mosaic.cells(one.layer, inside.window)
            if not stored.size:
                continue
            share = inside.weights(GeoBox(stored.shape, transform, epoch.catalog.crs)).toarray()[0]
            counts = (share > 0) & ~np.ma.getmaskarray(stored).ravel()
            field = epoch.mosaic.field(one.layer, "value")
            one.add(np.ma.getdata(stored).ravel()[counts] * np.float64(field.scale) + field.offset, share[counts])
    coverage = np.asarray(present) / (cells or np.nan)
    probability, low, high, members, from_cells = asked.answer(coverage, cells, budget, also)
    cover = Cover(
        coverage=coverage,
        cells=cells,
        cell_area=predictions.cell**2,
        partial=bool(area.shape.area - inside_area > 1e-6 * area.shape.area),
        probability=probability,
        low=low,
        high=high,
        members=members,
        from_cells=from_cells,
    )
    return Survey(cover=cover, indicators=[one.told() for one in sums])


class _Asked:
    """Mean probabilities of an area's species, and what each member of the ensemble would say of them.

    Of a latent tile both are computed on the area's cells, or on every so many-th where there are too many for their species; of a
    dense one, which keeps no members, the means of 1 km are taken.
    """

    def __init__(self, predictions: Predictions, most: int) -> None:
        self._predictions, self._most = predictions, max(most, 400)
        self._kept: list[tuple[PublishedTile, npt.NDArray[np.int64], Double, npt.NDArray[np.float32], float]] = []
        self._mass: Double | float = 0.0
        self._dense = False

    def note(self, tile: PublishedTile, sets: CellSets, at: npt.NDArray[np.int64], weight: Double) -> None:
        """The valid cells of an area in a tile, and their weights."""
        if not len(at):
            return
        if "latent" in tile.assets:
            some = _systematic(len(at), self._most)
            self._kept.append((tile, at[some], weight[some], sets.threshold.ravel()[at[some]], float(weight.sum())))
            return
        self._dense = True
        means = self._predictions.means(tile)
        side = block_side(sets.tile.grid)
        row, column = np.divmod(at, sets.threshold.shape[1])
        blocks = np.bincount(row // side * means.shape[1] + column // side, weights=weight, minlength=means.shape[0] * means.shape[1])
        met = np.flatnonzero(blocks)
        mean = means.of(slice(None)).reshape(sets.species, -1)[:, met]
        self._mass = self._mass + np.nan_to_num(mean).astype(np.float64) @ blocks[met]

    def answer(
        self, coverage: Double, cells: float, budget: Budget, also: npt.NDArray[np.intp] | None
    ) -> tuple[Double, Double, Double, int, int]:
        """Mean probability, low, high (all (species,)), members, and the cells these are of."""
        nothing = np.full(coverage.shape, np.nan)
        wanted = coverage > 0
        if also is not None:
            wanted[also] = cells > 0
        found = np.flatnonzero(wanted)
        if not found.size:
            return nothing, nothing, nothing, self._members(), 0
        mean, low, high = nothing.copy(), nothing.copy(), nothing.copy()
        if self._dense:
            mean[found] = np.asarray(self._mass)[found] / cells
            return mean, low, high, 1, 0
        mass, used, members = np.zeros(len(found)), 0, self._members()
        present = np.zeros((members, len(found)))
        alike = True
        for done, (tile, at, weight, threshold, whole) in enumerate(self._kept):
            budget.step(len(self._kept) + done, 2 * len(self._kept))
            opened = self._predictions.opened(tile)
            assert isinstance(opened, LatentTile)
            some = _systematic(len(at), max(PRODUCTS // len(found), 1))
            said = agreement(opened, at[some], weight[some], found, threshold[some])
            part = whole / weight[some].sum()  # what was not asked is taken to be as what was
            mass += said.mass * part
            alike = alike and opened.members == members
            if alike:
                present += said.present * part
            used += len(at[some])
        mean[found] = mass / cells
        if alike and members > 1:
            share = np.clip(present / cells, 0, 1)
            low[found], high[found] = np.minimum(share.min(axis=0), coverage[found]), np.maximum(share.max(axis=0), coverage[found])
        return mean, low, high, members, used

    def _members(self) -> int:
        return self._predictions.opened(self._kept[0][0]).members if self._kept else 1


def _systematic(count: int, most: int) -> npt.NDArray[np.int64] | slice:
    """Evenly spaced numbers below `count`, at most `most` of them; always the same."""
    return slice(None) if count <= most else (np.arange(most, dtype=np.int64) * count + count // 2) // most


def indicators_of(epoch: Epoch) -> list[Layer]:
    """The layers that a report tells of."""
    return [layer for layer in epoch.catalog.layers.values() if layer.family not in _NOT_INDICATORS and layer.asset not in PREDICTED]


class _Inside:
    """How much of each cell of a tile lies in an area: found once for cells of one size, in the box of the area in the tile alone."""

    def __init__(self, area: Area, tile: PublishedTile, crs: str, cell: float) -> None:
        parts = [p for p in _polygons(shapely.intersection(area.shape, shapely.box(*tile.bounds))) if p.area > 0]
        self._parts = gpd.GeoSeries(parts, crs=crs)
        self._crs, self._tile, self._cell = crs, tile, cell
        self._found: dict[tuple[object, ...], csr_array] = {}
        self.m2 = float(sum(part.area for part in parts))
        """Area in the tile."""
        west, _, _, north = tile.bounds
        w, s, e, n = self._parts.total_bounds if parts else (west, north, west, north)
        self._columns = int((w - west) // cell), int(-((west - e) // cell))
        self._rows = int((north - n) // cell), int(-((s - north) // cell))
        self.window = (
            west + self._columns[0] * cell,
            north - self._rows[1] * cell,
            west + self._columns[1] * cell,
            north - self._rows[0] * cell,
        )
        """West, south, east, north of the tile's cells that the area meets."""

    def of_tile(self) -> tuple[npt.NDArray[np.int64], Double]:
        """The tile's cells that the area meets, ascending, numbered row by row from its north-west corner, and how much of each is inside."""
        shape = self._rows[1] - self._rows[0], self._columns[1] - self._columns[0]
        if not all(shape):
            return np.zeros(0, np.int64), np.zeros(0)
        box = GeoBox(shape, Affine(self._cell, 0, self.window[0], 0, -self._cell, self.window[3]), self._crs)
        found = self.weights(box)
        row, column = np.divmod(found.indices.astype(np.int64), shape[1])
        side = round((self._tile.bounds[2] - self._tile.bounds[0]) / self._cell)
        return (row + self._rows[0]) * side + column + self._columns[0], found.data

    def weights(self, box: GeoBox) -> csr_array:
        """(1, cell), sorted"""
        key = (*box.shape, *box.transform)
        if key not in self._found:
            each = polygon_weights(self._parts, box) if len(self._parts) else csr_array((0, box.shape[0] * box.shape[1]))
            self._found[key] = csr_array(each.sum(axis=0).reshape(1, -1))
        return self._found[key]


def _polygons(shape: shapely.Geometry) -> Iterator[shapely.Polygon]:
    for part in shapely.get_parts(shape):
        if part.geom_type == "Polygon":
            yield part
        elif hasattr(part, "geoms"):
            yield from _polygons(part)


class _Sum:
    """An indicator's values over the cells of an area."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._cells = self._total = 0.0
        self._classes = np.zeros(len(layer.classes))

    def add(self, values: Double, weight: Double) -> None:
        """Those of a tile."""
        self._cells += float(weight.sum())
        self._total += float(values @ weight)
        self._classes += [weight[values == one.value].sum() for one in self.layer.classes]

    def told(self) -> dict[str, Any]:
        layer, cells = self.layer, self._cells
        told: dict[str, Any] = {
            "layer": layer.id,
            "title": layer.title,
            "family": layer.family,
            "unit": layer.unit,
            "cells": number(cells),
        }
        if layer.classes:
            shares = [(one, float(of_class) / cells if cells else 0.0) for one, of_class in zip(layer.classes, self._classes)]
            return told | {
                "classes": [{"value": one.value, "label": one.label, "share": number(share)} for one, share in shares if share > 0]
            }
        return told | {"mean": number(self._total / cells) if cells else None}


def rows_of(records: TaxonRecords, cover: Cover, least: float) -> list[dict[str, Any]]:
    """The species told that cover some of an area, and `least` of it: the widest spread first, then in the order of the list."""
    share = cover.coverage[records.positions]
    kept = np.flatnonzero((share > 0) & (share >= least))
    rows = []
    for i in kept[np.argsort(-share[kept], kind="stable")].tolist():
        k = records.positions[i]
        rows.append(
            records[i]
            | {
                "coverage": number(share[i]),
                "low": _known(cover.low[k]),
                "high": _known(cover.high[k]),
                "cells": number(share[i] * cover.cells),
                "probability": _known(cover.probability[k]),
            }
        )
    return rows


def groups_of(rows: Sequence[Mapping[str, Any]], records: TaxonRecords, cover: Cover) -> dict[str, Any]:
    """Of the species found: how many are protected, invasive, threatened, of narrow range and trees, which, and of how many it is not known.

    `expected`: how many species of the group a cell of the area is expected to hold, the sum of their mean probabilities: of those that are
    found and of those too unlikely for any cell's set. None where it is not known.
    """
    told = {}
    for group in GROUPS:
        answers = [(row, belongs(row, group)) for row in rows]
        members = [row for row, yes in answers if yes]
        expected = float(cover.probability[records.of_group[group]].sum())
        told[group] = {
            "count": len(members),
            "unknown": sum(yes is None for _, yes in answers),
            "expected": _known(expected) if cover.cells else None,
            "species": [row["taxonID"] for row in members],
        }
    return told


def habitats_of(indicators: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Shares of the classes of the layers of habitats, the widest first."""
    shares = [share for one in indicators if one["family"] == "Habitat" for share in one.get("classes", ())]
    return sorted(shares, key=lambda share: -share["share"])


def number(value: float) -> float:
    """Nine digits: what a float32 of cells is worth, and no noise."""
    return float(f"{value:.9g}")


def _known(value: float) -> float | None:
    return number(value) if np.isfinite(value) else None
