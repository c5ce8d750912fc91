"""Regions of the world by code: polygons in degrees -> which of them a point lies in, and how far it is from their borders.

What floras are tied to, and what tells land from sea.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from scipy.spatial import KDTree
from shapely.geometry.base import BaseGeometry

from geoplantnet.errors import InputError, did_you_mean
from geoplantnet.grid.named import read_polygons

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
EARTH = 6_371_008.8
"""Mean radius of the Earth, metres (IUGG)."""
_STEP = 0.02  # degrees between the points that stand for a border: at most 2.2 km, so a distance of 5 km is told at most 130 m too far


class Regions:
    """Polygons by code, longitude and latitude of WGS 84, degrees. They may overlap: a country and a province of it.

    Raises InputError for a polygon that is invalid or reaches beyond +-180, +-90 degrees.
    """

    def __init__(self, polygons: Mapping[str, BaseGeometry]):
        for code, polygon in polygons.items():
            west, south, east, north = polygon.bounds if not polygon.is_empty else (0, 0, 0, 0)
            if polygon.is_empty or not shapely.is_valid(polygon) or polygon.geom_type not in ("Polygon", "MultiPolygon"):
                why = "empty" if polygon.is_empty else polygon.geom_type if shapely.is_valid(polygon) else shapely.is_valid_reason(polygon)
                raise InputError(f"region {code} is no valid polygon ({why}); mend it, e.g. by shapely.make_valid")
            if west < -180 or east > 180 or south < -90 or north > 90:
                raise InputError(
                    f"region {code} reaches from {west}, {south} to {east}, {north}; give degrees, cut where it crosses 180 degrees"
                )
        self._polygons = dict(polygons)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, code: str) -> Regions:
        """The polygons of a GeoPackage, GeoJSON or Shapefile by the column `code`; those of one code are one region.

        Raises InputError and CrsError as `grid.named.read_polygons`, and InputError for a column that is not there or an empty code.
        """
        shapes = read_polygons(path)
        file = Path(path)
        source = f"/vsizip/{{{file.resolve()}}}" if file.suffix.lower() == ".zip" else file
        try:
            columns = pyogrio.read_dataframe(source, read_geometry=False)
        except (DataSourceError, DataLayerError, ValueError) as error:
            raise InputError(f"{file}: its columns cannot be read ({error})") from error
        if code not in columns:
            raise InputError(f"{file} has no column {code!r}; it has {', '.join(columns)}.{did_you_mean(code, columns)}")
        codes = columns[code].fillna("").astype(str).str.strip()
        if (codes == "").any():
            raise InputError(f"{file}: feature {int(np.argmax(codes == '')) + 1} has no {code}; name every region")
        grouped = gpd.GeoSeries(shapes.to_crs("EPSG:4326")).groupby(codes.to_numpy())
        return cls({str(name): shapely.union_all(np.asarray(part.array)) for name, part in grouped})

    @property
    def codes(self) -> tuple[str, ...]:
        """In their order."""
        return tuple(self._polygons)

    def __getitem__(self, code: str) -> BaseGeometry:
        """Polygon of a code. Raises KeyError."""
        return self._polygons[code]

    def select(self, codes: Iterable[str]) -> Regions:
        """Some of them, in the order given. Raises InputError for a code that is not there."""
        wanted = list(codes)
        for code in wanted:
            if code not in self._polygons:
                raise InputError(f"no region {code!r} among {len(self._polygons)} regions.{did_you_mean(code, self._polygons)}")
        return Regions({code: self._polygons[code] for code in wanted})

    def inside(self, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> Flags:
        """(region, n): whether a point lies in a region, borders included. NaN lies nowhere."""
        x, y = np.asarray(longitude, float), np.asarray(latitude, float)
        found = np.zeros((len(self._polygons), len(x)), bool)
        for row, polygon in enumerate(self._polygons.values()):
            near = np.flatnonzero(_in_box(polygon, x, y))
            if near.size:
                shapely.prepare(polygon)
                found[row, near] = shapely.intersects_xy(polygon, x[near], y[near])
        return found

    def covered(self, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> Flags:
        """(n,): whether a point lies in any of them."""
        x, y = np.asarray(longitude, float), np.asarray(latitude, float)
        found = np.zeros(len(x), bool)
        for polygon in self._polygons.values():
            near = np.flatnonzero(~found & _in_box(polygon, x, y))
            if near.size:
                shapely.prepare(polygon)
                found[near] = shapely.intersects_xy(polygon, x[near], y[near])
        return found

    def border_distance(self, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> Floats:
        """(n,): metres from a point to the nearest border of any of them (great circle; up to 3 % of a kilometre too far), inf for NaN."""
        return _nearest(self._border, longitude, latitude)

    def border_within(self, longitude: npt.ArrayLike, latitude: npt.ArrayLike, metres: npt.ArrayLike) -> Flags:
        """(region, n): whether a region's border is at most so many metres (scalar or (n,)) away."""
        limit = np.broadcast_to(np.asarray(metres, float), np.shape(longitude))
        found = [_nearest(tree, longitude, latitude, limit.max(initial=0)) <= limit for tree in self._borders]
        return np.array(found, bool).reshape(len(self._polygons), len(limit))

    @cached_property
    def centroids(self) -> pd.DataFrame:
        """Where a record lies that knows its country alone: code, longitude, latitude, degrees; of each region, and of its largest part.

        Gazetteers differ by kilometres: bring those that your records were made with (`read_places`).
        """
        rows = {
            (code, point.x, point.y)
            for code, polygon in self._polygons.items()
            for point in (polygon.centroid, max(shapely.get_parts(polygon), key=shapely.area).centroid)
        }
        return pd.DataFrame(sorted(rows), columns=["code", "longitude", "latitude"])

    @cached_property
    def areas(self) -> Floats:
        """(region,) square metres on the sphere: only to tell a province from its country."""
        shares = [_spherical_area(polygon) for polygon in self._polygons.values()]
        return np.array(shares, float)

    @cached_property
    def _border(self) -> KDTree:
        return KDTree(np.concatenate([tree.data for tree in self._borders]))

    @cached_property
    def _borders(self) -> list[KDTree]:
        return [KDTree(_on_sphere(*shapely.get_coordinates(shapely.segmentize(p, _STEP)).T)) for p in self._polygons.values()]


@lru_cache(maxsize=1)
def countries() -> Regions:
    """Countries by ISO 3166-1 alpha-2 code (XK is Kosovo), Natural Earth 1:50 m (public domain); see data/README.md.

    Coasts are true to a few kilometres, and many islets are missing, some 40 km off: bring finer polygons (`Regions.read`) where that matters.
    """
    with resources.as_file(resources.files("geoplantnet.identify") / "data" / "countries.parquet") as file:
        table = pd.read_parquet(file)
    return Regions(dict(zip(table["code"], shapely.from_wkb(table["geometry"]))))


def read_places(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Points such as centroids, capitals, herbaria: a CSV table in UTF-8 with longitude and latitude, degrees of WGS 84.

    Raises InputError for a file that is no such table, or a place that is none.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
        places = table[["longitude", "latitude"]].astype(float)
    except KeyError:
        raise InputError(f"{path} has the columns {', '.join(map(str, table))}; it needs longitude and latitude") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV in UTF-8 with longitude and latitude ({error})") from error
    wrong = np.flatnonzero(~((places["longitude"].abs() <= 180) & (places["latitude"].abs() <= 90)).to_numpy())
    if wrong.size:
        x, y = places.iloc[wrong[0]]
        raise InputError(f"{path}, row {wrong[0] + 1}: {x}, {y} is no place; longitudes lie in -180 to 180, latitudes in -90 to 90")
    return table


def distances(longitude: npt.ArrayLike, latitude: npt.ArrayLike, places: pd.DataFrame) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Metres (great circle) to the nearest of `places` (columns longitude, latitude, degrees), and its row; inf, 0 for NaN or no places."""
    n = len(np.asarray(longitude, float))
    if not len(places):
        return np.full(n, np.inf), np.zeros(n, np.intp)
    tree = KDTree(_on_sphere(places["longitude"].to_numpy(float), places["latitude"].to_numpy(float)))
    points = _on_sphere(np.asarray(longitude, float), np.asarray(latitude, float))
    known = np.isfinite(points).all(axis=1)
    found, row = np.full(n, np.inf), np.zeros(n, np.intp)
    chord, row[known] = tree.query(points[known])
    found[known] = _arc(chord)
    return found, row


def _in_box(polygon: BaseGeometry, x: Floats, y: Floats) -> Flags:
    west, south, east, north = polygon.bounds
    return (x >= west) & (x <= east) & (y >= south) & (y <= north)


def _nearest(tree: KDTree, longitude: npt.ArrayLike, latitude: npt.ArrayLike, limit: float = np.inf) -> Floats:
    """Metres to the nearest point of the tree; inf beyond `limit`, where the search ends."""
    points = _on_sphere(np.asarray(longitude, float), np.asarray(latitude, float))
    known = np.isfinite(points).all(axis=1)
    chord = np.full(len(points), np.inf)
    chord[known] = tree.query(points[known], distance_upper_bound=np.nextafter(limit, np.inf))[0]
    return np.where(np.isfinite(chord), _arc(chord), np.inf)


def _on_sphere(longitude: Floats, latitude: Floats) -> Floats:
    """(n, 3) on the sphere of the Earth's mean radius, metres: distances need no projection, and know no pole and no date line."""
    east, north = np.radians(longitude), np.radians(latitude)
    return EARTH * np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


def _arc(chord: npt.ArrayLike) -> Floats:
    return 2 * EARTH * np.arcsin(np.minimum(np.asarray(chord, float) / (2 * EARTH), 1))


def _spherical_area(polygon: BaseGeometry) -> float:
    """By the equal-area cylinder: x = R lambda, y = R sin(phi)."""
    flat = shapely.transform(polygon, lambda xy: np.stack([np.radians(xy[:, 0]) * EARTH, np.sin(np.radians(xy[:, 1])) * EARTH], axis=-1))
    return float(flat.area)
