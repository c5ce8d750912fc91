"""Layers of polygons that the operator mounts for planners to choose from: communes, protected areas, parcels. Read once, when the server starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geoplantnet.errors import ConfigurationError, LayerNotFound, did_you_mean
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.planner.names import NameIndex
from geoplantnet.serving.settings import PlaceLayer

if TYPE_CHECKING:
    import geopandas as gpd

LOGGER = logging.getLogger(__name__)

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".shp": "ESRI Shapefile"}
"""Of files by the end of their names."""
_LONGITUDE_LATITUDE = "OGC:CRS84"
_EQUAL_AREA = "+proj=cea +lon_0=0 +datum=WGS84 +units=m"


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """One layer of polygons."""

    layer: PlaceLayer
    ids: tuple[str, ...]
    """Of the places: the same as long as the file is."""
    names: tuple[str, ...]
    shapes: Any
    """(place,) polygons and multipolygons as published, never simplified; longitude, latitude."""
    km2: Any
    """(place,)"""

    def told(self) -> dict[str, Any]:
        """As the list of layers has it."""
        own = self.layer
        return {"id": own.id, "title": own.title, "count": len(self.ids), "attribution": own.attribution}

    def find(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Places by name, best first (`NameIndex.find`)."""
        return [self._row(i) for i in self._by_name.find(query)[:limit]]

    def feature(self, place: str) -> dict[str, Any]:
        """One place as a GeoJSON Feature. Raises LayerNotFound."""
        i = self._index.get(place)
        if i is None:
            raise LayerNotFound(
                f"{shown(place)} is none of the {len(self.ids)} places of {self.layer.title}.{did_you_mean(place[:60], self.ids)}"
            )
        geometry = shapely.geometry.mapping(self.shapes[i])
        row = self._row(i)
        return {
            "type": "Feature",
            "id": row["id"],
            "bbox": row["bounds"],
            "properties": {"name": row["name"], "km2": row["km2"], "layer": self.layer.id, "attribution": self.layer.attribution},
            "geometry": geometry,
        }

    def _row(self, i: int) -> dict[str, Any]:
        bounds = [round(float(side), 7) for side in shapely.bounds(self.shapes[i])]
        return {"id": self.ids[i], "name": self.names[i], "km2": float(f"{self.km2[i]:.6g}"), "bounds": bounds}

    @cached_property
    def _by_name(self) -> NameIndex:
        return NameIndex([(name,) for name in self.names])

    @cached_property
    def _index(self) -> dict[str, int]:
        return {place: i for i, place in enumerate(self.ids)}


def open_places(layers: Sequence[PlaceLayer]) -> dict[str, Places]:
    """The layers by id. Raises ConfigurationError for a file that is not there or cannot be read, a column it has not, or no polygon."""
    found = {}
    for layer in layers:
        found[layer.id] = _open(layer)
        _ = found[layer.id]._by_name, found[layer.id]._index  # the first who asks need not wait
    return found


def _open(layer: PlaceLayer) -> Places:
    where = f"serving.places: {layer.id!r}"
    table = _table(layer, where)
    kinds = shapely.get_type_id(table.geometry.values)
    kept = np.flatnonzero(np.isin(kinds, (3, 6)) & ~shapely.is_empty(table.geometry.values))
    if not kept.size:
        raise ConfigurationError(f"{where}: {layer.path} holds no polygon; name a layer of areas")
    shapes = shapely.force_2d(table.geometry.values[kept])
    bounds = shapely.bounds(shapes)
    if not np.isfinite(bounds).all() or (np.abs(bounds) > [180.000001, 90.000001, 180.000001, 90.000001]).any():
        raise ConfigurationError(
            f"{where}: {layer.path} holds polygons that lie nowhere on the earth; check its coordinate reference system"
        )
    names = tuple("" if value is None or value != value else str(value).strip() for value in table[layer.name].iloc[kept])
    km2 = table.geometry.iloc[kept].to_crs(_EQUAL_AREA).area.to_numpy() / 1e6
    ids = tuple(str(table.index[i]) for i in kept)
    broken = [ids[i] for i in np.flatnonzero(~shapely.is_valid(shapes))]
    if broken:
        LOGGER.warning(
            "%s: %d of the %d outlines of %s cross or touch themselves (ids %s): a report of such a place is refused; repair them in a GIS "
            "(Fix geometries)",
            where,
            len(broken),
            len(ids),
            layer.path,
            ", ".join(broken[:10]) + (", ..." if len(broken) > 10 else ""),
        )
    return Places(layer=layer, ids=ids, names=names, shapes=shapes, km2=km2)


def _table(layer: PlaceLayer, where: str) -> gpd.GeoDataFrame:
    """The file's names and polygons in longitude, latitude, by feature id."""
    import pyogrio

    path = Path(layer.path)
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise ConfigurationError(f"{where}: {path.name} is none of {', '.join(DRIVERS)}; give a GeoPackage, GeoJSON or shapefile")
    if not path.is_file():
        raise ConfigurationError(f"{where}: there is no file {path}; mend the path")
    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) > 1:
            raise ConfigurationError(f"{where}: {path} has the layers {', '.join(layers[:10])}; give a file of one")
        columns = [str(name) for name in pyogrio.read_info(path)["fields"]]
        if layer.name not in columns:
            raise ConfigurationError(
                f"{where}: {path} has no column {layer.name!r}; it has {', '.join(columns[:20])}.{did_you_mean(layer.name, columns)}"
            )
        table = pyogrio.read_dataframe(path, columns=[layer.name], fid_as_index=True)
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        pyogrio.errors.GeometryError,
        pyogrio.errors.FeatureError,
    ) as error:
        raise ConfigurationError(f"{where}: {path} cannot be read ({error}); export it again as GeoPackage") from error
    if table.crs is None:
        raise ConfigurationError(f"{where}: {path} does not say its coordinate reference system; assign it (a shapefile needs its .prj)")
    return table.to_crs(_LONGITUDE_LATITUDE)
