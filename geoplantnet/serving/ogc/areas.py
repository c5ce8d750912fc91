"""What lies in a polygon: coverage of every species, exact, from the tiles' species sets, and means of indicators, cell by cell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from scipy.sparse import csr_array

from geoplantnet.assemblages.assemblage import open_assemblage
from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.catalog import Catalog, PublishedTile
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import IntegrityError
from geoplantnet.grid import TileGrid
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge
from geoplantnet.serving.mosaic import PREDICTED
from geoplantnet.serving.ogc.features import trait_of
from geoplantnet.serving.ogc.jobs import Budget

MAX_VERTICES = 10_000
ASSET = "assemblage"
"""Of a tile, its species sets."""
THREATENED = frozenset({"VU", "EN", "CR"})
"""Red List categories of threatened species."""
_NOT_INDICATORS = frozenset({"Terrain", "Species"})
"""Families of layers that no report tells of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Area:
    """A polygon as it was asked for."""

    shape: shapely.Geometry
    """In the catalog's CRS."""
    sha256: str
    """Of the polygon as given, whatever the order of its rings and vertices: the same for the same area."""

    @property
    def km2(self) -> float:
        """Its area: the grid's CRS is one of equal areas."""
        return float(shapely.area(self.shape)) / 1e6


def area_of(told: Any, crs: str) -> Area:
    """A GeoJSON polygon, multipolygon or feature of one, or a bbox, in longitude, latitude (RFC 7946). Raises InvalidParameter, TooLarge."""
    if isinstance(told, dict) and "type" not in told and "bbox" in told:
        west, south, east, north = (float(side) for side in told["bbox"])
        if not (west < east and south < north):
            raise InvalidParameter("bbox has no area: it is west, south, east, north, minimum before maximum")
        told = {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}
    geometry = told.get("geometry") if isinstance(told, dict) and told.get("type") == "Feature" else told
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise InvalidParameter("area is no GeoJSON Polygon, MultiPolygon or Feature of one; give it in longitude, latitude")
    rings = _positions(geometry)
    if len(rings) > MAX_VERTICES:
        raise TooLarge(f"area has {len(rings)} vertices, at most {MAX_VERTICES} are read; simplify it")
    try:
        shape = shapely.geometry.shape(geometry)
    except (ValueError, TypeError, KeyError, IndexError, shapely.errors.ShapelyError) as error:
        raise InvalidParameter("area cannot be read as a polygon; each ring needs four positions or more, the last as the first") from error
    if shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        raise InvalidParameter("area is empty, or holds a number that is not finite; draw it again")
    west, south, east, north = shape.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise InvalidParameter(f"area reaches from {west:g}, {south:g} to {east:g}, {north:g}; it has to be in longitude, latitude")
    if not shape.is_valid:
        raise InvalidParameter(
            f"area is no valid polygon ({shapely.is_valid_reason(shape)}); repair it, for instance with shapely.make_valid"
        )
    flat = shapely.force_2d(shape)
    moved = shapely.transform(flat, lambda xy: np.stack(transformer(CRS84.name, crs).transform(xy[:, 0], xy[:, 1]), axis=1))
    if not np.isfinite(shapely.get_coordinates(moved)).all() or not moved.is_valid or not moved.area > 0:
        raise InvalidParameter(f"area has no image in {crs}; choose one inside the mapped area")
    return Area(shape=moved, sha256=hashlib.sha256(shapely.to_wkb(shapely.normalize(flat), byte_order=1)).hexdigest())


def _positions(geometry: Mapping[str, Any]) -> list[Any]:
    """All positions, counted before anything is made of them. Raises InvalidParameter."""
    found: list[Any] = []
    polygons = geometry.get("coordinates")
    for polygon in [polygons] if geometry["type"] == "Polygon" else polygons if isinstance(polygons, list) else [None]:
        for ring in polygon if isinstance(polygon, list) else [None]:
            if not isinstance(ring, list) or not all(_is_position(position) for position in ring):
                raise InvalidParameter("area holds something that is no ring of positions; each position is [longitude, latitude]")
            found += ring
    return found


def _is_position(value: Any) -> bool:
    return isinstance(value, list) and 2 <= len(value) <= 4 and all(type(number) in (int, float) for number in value)


def tiles_of(epoch: Epoch, area: Area, most: int) -> list[PublishedTile]:
    """The tiles an area meets. Raises InvalidParameter for none, TooLarge for more than `most`."""
    shapely.prepare(area.shape)
    tiles = [tile for tile in epoch.catalog.tiles_meeting(area.shape.bounds) if shapely.intersects(area.shape, shapely.box(*tile.bounds))]
    if not tiles:
        raise InvalidParameter("area meets no mapped tile; the extent of the collections says what is mapped")
    if len(tiles) > most:
        raise TooLarge(
            f"area meets {len(tiles)} tiles, at most {most} are gone through in one request; ask for less, or with Prefer: respond-async"
        )
    return tiles


@dataclass(frozen=True, kw_only=True, eq=False)
class Cover:
    """Species in an area."""

    coverage: npt.NDArray[np.float64]
    """(species,): share of the area's valid cells whose set holds the species; NaN where no cell is valid."""
    cells: float
    """Valid cells, parts of cells as such."""
    cell_area: float
    """m2"""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found in an area."""

    cover: Cover
    indicators: list[dict[str, Any]]
    """What the map of each layer asked for tells: its mean, or the shares of its classes, weighted by how much of each cell lies inside."""


def survey(epoch: Epoch, area: Area, tiles: list[PublishedTile], list_hash: str, budget: Budget, layers: Iterable[Layer] = ()) -> Survey:
    """Coverage of all species, and the means of some layers, tile by tile: nothing of a tile is held but its sums.

    Raises IntegrityError for sets of another species list.
    """
    grid = _grid_of(epoch.catalog)
    present: npt.NDArray[np.float64] | float = 0.0
    cells = 0.0
    sums = [_Sum(layer) for layer in layers]
    for done, tile in enumerate(tiles):
        budget.step(done, len(tiles))
        sets = open_assemblage(tile.assets[ASSET], grid)
        if sets.list_hash != list_hash:
            raise IntegrityError(f"tile {tile.id} holds species sets of another list; run `geoplantnet indicators` again")
        inside = _Inside(area, tile, epoch.catalog.crs)
        share, known = sets.coverage(inside.weights(sets.tile.geobox()))
        present = present + np.nan_to_num(share[0]) * known[0]
        cells += float(known[0])
        for one in sums:
            budget.check()
            stored, transform = epoch.mosaic.cells(one.layer, tile.bounds)
            weight = inside.weights(GeoBox(stored.shape, transform, epoch.catalog.crs)).toarray()[0]
            counts = (weight > 0) & ~np.ma.getmaskarray(stored).ravel()
            field = epoch.mosaic.field(one.layer, "value")
            one.add(np.ma.getdata(stored).ravel()[counts] * np.float64(field.scale) + field.offset, weight[counts])
    cover = Cover(coverage=np.asarray(present) / (cells or np.nan), cells=cells, cell_area=float(grid.cell_size) ** 2)
    return Survey(cover=cover, indicators=[one.told() for one in sums])


def indicators_of(epoch: Epoch) -> list[Layer]:
    """The layers that a report tells of."""
    return [layer for layer in epoch.catalog.layers.values() if layer.family not in _NOT_INDICATORS and layer.asset not in PREDICTED]


class _Inside:
    """How much of each cell of a tile lies in an area: found once for cells of one size, of the part of the area in the tile alone."""

    def __init__(self, area: Area, tile: PublishedTile, crs: str) -> None:
        parts = shapely.get_parts(shapely.intersection(area.shape, shapely.box(*tile.bounds)))
        self._parts = gpd.GeoSeries([part for part in parts if part.geom_type == "Polygon"], crs=crs)
        self._found: dict[tuple[object, ...], csr_array] = {}

    def weights(self, box: GeoBox) -> csr_array:
        """(1, cell)"""
        key = (*box.shape, *box.transform)
        if key not in self._found:
            each = polygon_weights(self._parts, box) if len(self._parts) else csr_array((0, box.shape[0] * box.shape[1]))
            self._found[key] = csr_array(each.sum(axis=0).reshape(1, -1))
        return self._found[key]


class _Sum:
    """An indicator's values over the cells of an area."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._cells = self._total = 0.0
        self._classes = np.zeros(len(layer.classes))

    def add(self, values: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> None:
        """Those of a tile."""
        self._cells += float(weight.sum())
        self._total += float(values @ weight)
        self._classes += [weight[values == one.value].sum() for one in self.layer.classes]

    def told(self) -> dict[str, Any]:
        layer, cells = self.layer, self._cells
        told: dict[str, Any] = {"layer": layer.id, "title": layer.title, "unit": layer.unit, "cells": number(cells)}
        if layer.classes:
            shares = [(one, float(of_class) / cells if cells else 0.0) for one, of_class in zip(layer.classes, self._classes)]
            return told | {
                "classes": [{"value": one.value, "label": one.label, "share": number(share)} for one, share in shares if share > 0]
            }
        return told | {"mean": number(self._total / cells) if cells else None}


def rows_of(atlas: Atlas, cover: Cover, least: float) -> list[dict[str, Any]]:
    """The species shown that cover some of an area, and `least` of it: the widest spread first, then in the order of the list."""
    assert atlas.species
    index = {taxon.taxon_id: atlas.species.species.index_of(taxon.taxon_id) for taxon in atlas.taxa}
    found = [(taxon, float(cover.coverage[index[taxon.taxon_id]])) for taxon in atlas.taxa]
    kept = sorted(((taxon, share) for taxon, share in found if share > 0 and share >= least), key=lambda pair: -pair[1])
    return [
        {
            "taxonID": taxon.taxon_id,
            "scientificName": taxon.scientific_name,
            "coverage": number(share),
            "cells": number(share * cover.cells),
        }
        for taxon, share in kept
    ]


def groups_of(atlas: Atlas, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the species found: how many are protected, invasive, threatened and of narrow range, with their names, and of how many it is not known.

    `Atlas.narrow_ranged` says which are of narrow range.
    """

    def belongs(taxon_id: str, group: str) -> bool | None:
        if group == "narrow_ranged":
            return atlas.narrow_ranged(taxon_id)
        if group == "threatened":
            category = trait_of(atlas, taxon_id, "iucn")
            return None if category in (None, "DD", "NE") else category in THREATENED
        return trait_of(atlas, taxon_id, {"protected": "eu_directive"}.get(group, group))

    told = {}
    for group in ("protected", "invasive", "threatened", "narrow_ranged"):
        answers = [(row, belongs(row["taxonID"], group)) for row in rows]
        members = [row for row, yes in answers if yes]
        told[group] = {"count": len(members), "unknown": sum(yes is None for _, yes in answers), "species": members}
    return told


def number(value: float) -> float:
    """Nine digits: what a float32 of cells is worth, and no noise."""
    return float(f"{value:.9g}")


def _grid_of(catalog: Catalog) -> TileGrid:
    size = round(catalog.tiles[0].bounds[2] - catalog.tiles[0].bounds[0])
    west, south, east, north = (round(bound) for bound in catalog.bounds)
    cell = round(size / catalog.tiles[0].properties["proj:shape"][0])
    return TileGrid(crs=catalog.crs, tile_size=size, cell_size=cell, bounds=(west, south, east, north))
