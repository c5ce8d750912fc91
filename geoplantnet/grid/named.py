"""Named grids: the meta-tiles an area needs, as a table `tiles/NAME.csv`, one row a tile.

Columns of the table, in this order (a file may carry more, such as `region`, a label in words):

- ``tile_id``: the meta-tile, ``25kmE4125N2575``;
- ``land_share``: share of the tile's area that the grid's area (land of Greece, a user's polygon) covers, in (0, 1];
- ``country``: ISO 3166-1 alpha-2 code of the country with most land in the tile, whatever the grid; empty = unknown;
- ``countries``: all countries with land in the tile, largest first, separated by ``|``;
- ``biogeographic_region``: the region (European Environment Agency) of most of the tile's mapped 10 km cells; empty = none mapped.

Rows run from south to north, then from west to east; the text is UTF-8 with LF and six decimals: same area, same bytes.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import CRSError as OgrCrsError
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from geoplantnet.errors import CrsError, InputError, UnknownTile, UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.storage import write_beside

COLUMNS = ("tile_id", "land_share", "country", "countries", "biogeographic_region")
FACTS = COLUMNS[2:]
"""Columns that say something of the tile itself, the same in every grid that holds it."""
DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".shp": "ESRI Shapefile", ".zip": "ESRI Shapefile"}
"""Vector formats read, by the file's ending."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FIRST_BYTES = {"GPKG": (b"SQLite format 3\0",), "GeoJSON": (b"{", b"\xef\xbb\xbf{"), "ESRI Shapefile": (b"\x00\x00\x27\x0a",)}
_DECIMALS = 6  # of land_share: 625 m2 of a 25 km tile. A tile whose share rounds to 0 is not listed.
_STEP_DEGREES = 0.02  # longest edge before reprojecting: about 2 km, whose chord stays within 0.5 m of the true curve at 70 N
_STEP_METRES = 1_000.0
_MAX_BUFFER = 1_000_000.0
_FARTHEST = 1e8  # metres: no projection has a coordinate that large


@dataclass(frozen=True, kw_only=True)
class MadeGrid:
    """What `make_grid` wrote."""

    path: Path
    """The committed file, FOLDER/NAME.csv."""
    table: pd.DataFrame
    """One row a tile, `COLUMNS`."""
    area_km2: float
    """Area of the geometry (buffered) inside the grid's bounds, km2 in the grid's CRS."""
    outside_km2: float
    """Area of the geometry (before buffering) that lies beyond the grid's bounds and got no tile, km2."""
    below_min_share: int
    """Tiles left out because the geometry covers less than `min_share` of them."""


def make_grid(
    geometry_file: str | os.PathLike[str],
    name: str,
    folder: str | os.PathLike[str],
    grid: TileGrid,
    *,
    layer: str | None = None,
    buffer: float = 0.0,
    min_share: float = 0.0,
    reference: pd.DataFrame | None = None,
    force: bool = False,
) -> MadeGrid:
    """Write FOLDER/NAME.csv: the tiles that the polygons of a file meet. `geometry_file` as in `read_polygons`.

    `buffer` widens the area first, metres in the grid's CRS; tiles covered by less than `min_share` are left out. Country and
    region come from `reference`, a grid that holds them (the shipped `europe`); they stay empty for tiles it does not hold.

    Raises UsageError for a bad name, buffer or share and for a file that exists (without `force`), CrsError and InputError for
    what is wrong with the file, UnknownTile for an area outside the grid.
    """
    path = Path(folder) / f"{checked_name(name)}.csv"
    _check_numbers(buffer, min_share)
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or replace it with --force")
    inside, outside = _on_grid(read_polygons(geometry_file, layer=layer), grid, None, buffer)
    found = _as_table(_shares(inside, grid), grid)
    kept = found[found.land_share >= min_share].reset_index(drop=True)
    if kept.empty:
        largest = f"; the largest share is {found.land_share.max():.6f}" if len(found) else ""
        raise InputError(f"{geometry_file}: no tile is covered by at least {min_share:g}{largest}; lower --min-share or add a --buffer")
    table = describe_like(kept, reference) if reference is not None else kept.assign(**dict.fromkeys(FACTS, ""))
    write_grid(table, path)
    return MadeGrid(
        path=path,
        table=table,
        area_km2=inside.area / 1e6,
        outside_km2=round(outside / 1e6, 6),  # to the square metre: less is rounding
        below_min_share=len(found) - len(kept),
    )


def tiles_of(
    geometry: gpd.GeoDataFrame | gpd.GeoSeries | BaseGeometry,
    grid: TileGrid,
    *,
    crs: str | CRS | None = None,
    buffer: float = 0.0,
    min_share: float = 0.0,
) -> pd.DataFrame:
    """Tiles whose area meets polygons. Returns tile_id, land_share (share of the tile covered), south to north, west to east.

    `crs` is for a bare shapely geometry only. Edges are cut to 0.02 degrees or 1 km before they are reprojected, so that a long
    parallel stays one. `buffer`: metres in the grid's CRS. What lies beyond the grid's bounds gets no tile; UnknownTile when
    that is everything. Raises CrsError, InputError for what is no valid polygon, UsageError for a bad buffer or share.
    """
    _check_numbers(buffer, min_share)
    inside, _ = _on_grid(geometry, grid, crs, buffer)
    table = _as_table(_shares(inside, grid), grid)
    return table[table.land_share >= min_share].reset_index(drop=True)


def on_grid(geometry: gpd.GeoDataFrame | gpd.GeoSeries | BaseGeometry, grid: TileGrid, *, crs: str | CRS | None = None) -> BaseGeometry:
    """Polygons as one geometry in the grid's CRS, cut at the grid's bounds. Arguments and errors as in `tiles_of`."""
    return _on_grid(geometry, grid, crs, 0.0)[0]


def describe(
    tiles: pd.DataFrame, grid: TileGrid, *, countries: gpd.GeoDataFrame, regions: pd.DataFrame, cell_size: int = 10_000
) -> pd.DataFrame:
    """Add country, countries and biogeographic region to a table of tiles. Returns `COLUMNS`.

    `countries`: polygons with a column `code`; several rows may share one. `regions`: one row a mapped square cell of
    `cell_size` metres, columns x, y (its centre in the grid's CRS) and region. The region with the largest area of cells in
    the tile wins, and of equals the first by name.
    """
    wanted = set(tiles.tile_id)
    land: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for code, rows in countries.groupby("code", sort=True):
        inside, _ = _on_grid(rows.geometry, grid, None, 0.0, outside_is_error=False)
        for (south, west), share in _shares(inside, grid).items():
            tile_id = _id(grid, west, south)
            if tile_id in wanted:
                land[tile_id].append((-share, str(code)))
    ranked = {tile_id: [code for _, code in sorted(found)] for tile_id, found in land.items()}
    region = majority_regions(regions, grid, cell_size=cell_size)
    return tiles[["tile_id", "land_share"]].assign(
        country=[ranked.get(t, [""])[0] for t in tiles.tile_id],
        countries=["|".join(ranked.get(t, [])) for t in tiles.tile_id],
        biogeographic_region=[region.get(t, "") for t in tiles.tile_id],
    )


def describe_like(tiles: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Add country, countries and biogeographic region from a grid that holds the tiles. Empty where it does not."""
    facts = reference.set_index("tile_id")[list(FACTS)].reindex(tiles.tile_id).fillna("")
    return tiles[["tile_id", "land_share"]].assign(**{column: facts[column].to_numpy() for column in FACTS})


def majority_regions(regions: pd.DataFrame, grid: TileGrid, *, cell_size: int = 10_000) -> dict[str, str]:
    """tile_id -> the region whose cells cover most of it, for every tile with a mapped cell; `regions` as in `describe`."""
    size = grid.tile_size
    low_x, low_y, high_x, high_y = grid.bounds
    west, south = (regions[axis].to_numpy(float) - cell_size / 2 for axis in ("x", "y"))
    overlaps = []
    for i in range(math.ceil(cell_size / size) + 1):
        for j in range(math.ceil(cell_size / size) + 1):
            x, y = (np.floor(west / size) + i) * size, (np.floor(south / size) + j) * size
            width = np.minimum(west + cell_size, x + size) - np.maximum(west, x)
            height = np.minimum(south + cell_size, y + size) - np.maximum(south, y)
            met = (width > 0) & (height > 0) & (x >= low_x) & (x < high_x) & (y >= low_y) & (y < high_y)
            overlaps.append(pd.DataFrame({"y": y, "x": x, "region": regions.region, "area": width * height})[met])
    area = pd.concat(overlaps).groupby(["y", "x", "region"], sort=True).area.sum().reset_index()
    best = area.sort_values("area", ascending=False, kind="stable").drop_duplicates(["y", "x"]).sort_values(["y", "x"])
    return {_id(grid, int(x), int(y)): str(region) for y, x, region in zip(best.y, best.x, best.region)}


def neighbours(tile_ids: Iterable[str], grid: TileGrid) -> dict[str, list[str]]:
    """For each tile, the up to eight tiles around it that the named grid holds too, south to north, west to east."""
    held = list(dict.fromkeys(tile_ids))
    known = set(held)
    return {tile_id: [n.id for n in grid.tile(tile_id).neighbours() if n.id in known] for tile_id in held}


def outline(tile_ids: Iterable[str], grid: TileGrid) -> gpd.GeoDataFrame:
    """The tiles as squares in the grid's CRS, one row a tile, for maps and for a look in QGIS."""
    ids = list(tile_ids)
    bounds = np.array([grid.tile(tile_id).bounds for tile_id in ids], float).reshape(-1, 4)
    return gpd.GeoDataFrame({"tile_id": ids}, geometry=shapely.box(*bounds.T), crs=grid.crs)


def write_grid(table: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Commit a table of tiles as CSV, rows and columns in its order: UTF-8, LF, shares with six decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    shares = [f"{share:.{_DECIMALS}f}" for share in table.land_share]
    writer.writerows(table.assign(land_share=shares).itertuples(index=False))
    with write_beside(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    return Path(path)


def read_grid(path: str | os.PathLike[str], grid: TileGrid) -> pd.DataFrame:
    """Read and check a named grid with all its columns; unknown = empty text. Rows keep the file's order.

    Raises InputError, naming the file and the line, for a file that is no such table, a tile that stands twice or a share
    outside (0, 1], and UnknownTile for an id the grid does not have.
    """
    file = Path(path)
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise InputError(f"{file}: cannot be read as a named grid: {' '.join(str(error).split())}") from error
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing or table.columns[0] != COLUMNS[0]:
        wrong = f"it lacks {', '.join(missing)}" if missing else f"its first column is {table.columns[0]!r}"
        raise InputError(f"{file}: a named grid has the columns {', '.join(COLUMNS)}, tile_id first, but {wrong}")
    shares = pd.to_numeric(table.land_share, errors="coerce").to_numpy(float)
    wrong_rows = np.flatnonzero(~((shares > 0) & (shares <= 1)))
    if len(wrong_rows):
        row = int(wrong_rows[0])
        raise InputError(f"{file}, line {row + 2}: land_share {table.land_share[row]!r} is no number in (0, 1]")
    twice = np.flatnonzero(table.tile_id.duplicated())
    if len(twice):
        raise InputError(f"{file}, line {twice[0] + 2}: {table.tile_id[twice[0]]!r} stands twice")
    for row, tile_id in enumerate(table.tile_id):
        try:
            grid.tile(tile_id)
        except UnknownTile as error:
            raise UnknownTile(f"{file}, line {row + 2}: {error}") from error
    return table.assign(land_share=shares)


def checked_name(name: str) -> str:
    """The name of a grid, which is also its file's. Raises UsageError unless it is plain: a-z, 0-9, - and _."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no name of a grid; use a small letter, then small letters, digits, '-' or '_' (64 at most)")
    return name


def read_polygons(path: str | os.PathLike[str], *, layer: str | None = None) -> gpd.GeoSeries:
    """Polygons of a GeoPackage, GeoJSON or Shapefile (zipped, too), with their CRS. `layer` is needed where the file has several with geometry.

    Raises InputError for a file that is none of these, cannot be read, has no feature, or holds an empty, invalid or
    non-polygon geometry (its number and fault are named), and CrsError where the CRS is missing or cannot be true.
    """
    file = Path(path)
    driver = DRIVERS.get(file.suffix.lower())
    if driver is None:
        raise InputError(
            f"{file}: the ending says no format read here ({', '.join(DRIVERS)}); convert it, e.g. ogr2ogr area.gpkg {file.name}"
        )
    if not file.is_file():  # also shuts out /vsi..., URLs and anything else GDAL would resolve by itself
        raise InputError(f"{file} is not a local file; give the path of a {driver} file on this machine")
    zipped = file.suffix.lower() == ".zip"
    source = f"/vsizip/{{{file.resolve()}}}" if zipped else file
    try:
        with file.open("rb") as stream:
            start = stream.read(512)
        first_bytes = (b"PK\x03\x04",) if zipped else _FIRST_BYTES[driver]
        if not (start.lstrip() if driver == "GeoJSON" else start).startswith(first_bytes):
            kind = "zip archive" if zipped else driver
            raise InputError(f"{file}: the content is no {kind}; mend the file or its ending ({', '.join(DRIVERS)})")
        name = _layer(file, source, layer)
        found = pyogrio.read_info(source, layer=name)["driver"]
        if found != driver:
            raise InputError(f"{file}: the content is {found}, the ending says {driver}; mend the file or its ending")
        rows = pyogrio.read_dataframe(source, layer=name, columns=[], force_2d=True)
    except (DataSourceError, DataLayerError, OgrCrsError, ProjError, ShapelyError, OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as {driver}: {' '.join(str(error).split())}") from error
    if not isinstance(rows, gpd.GeoDataFrame):
        raise InputError(f"{file}: layer {name!r} has no geometry; give a layer of polygons")
    if rows.crs is None:
        raise CrsError(f"{file} has no CRS; assign the right one, e.g. ogr2ogr -a_srs EPSG:4326 mended.gpkg {file.name}")
    try:
        _check_polygons(rows.geometry)
    except CrsError as error:
        raise CrsError(f"{file}: {error}") from error
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return rows.geometry


def _layer(file: Path, source: str | Path, layer: str | None) -> str:
    """The layer to read: the one named, or the only one with geometry."""
    layers = {str(name): kind for name, kind in pyogrio.list_layers(source)}
    spatial = [name for name, kind in layers.items() if kind is not None]
    if layer is not None:
        if layer not in layers:
            raise InputError(f"{file}: no layer {layer!r}; there are {', '.join(layers) or 'none'}")
        return layer
    if not spatial:
        raise InputError(f"{file}: no layer has geometry; give a file of polygons")
    if len(spatial) > 1:
        raise InputError(
            f"{file}: there are {len(spatial)} layers with geometry ({', '.join(spatial)}); name one with --layer, or keep one"
        )
    return spatial[0]


def _check_numbers(buffer: float, min_share: float) -> None:
    if not 0 <= buffer <= _MAX_BUFFER:  # False for NaN too
        raise UsageError(f"buffer {buffer} m must lie in [0, {_MAX_BUFFER:.0f}]")
    if not 0 <= min_share <= 1:
        raise UsageError(f"min_share {min_share} must lie in [0, 1]")


def _check_polygons(polygons: gpd.GeoSeries) -> None:
    if not len(polygons):
        raise InputError("there is no feature; give at least one polygon")
    for number, geometry in enumerate(polygons, start=1):
        if geometry is None or geometry.is_empty:
            raise InputError(f"feature {number} has no geometry; delete it or draw its polygon")
        kinds = {part.geom_type for part in _parts(geometry)}
        if kinds != {"Polygon"}:
            other = ", ".join(sorted(kinds - {"Polygon"}))
            raise InputError(f"feature {number} holds a {other}, an area is needed; buffer it into a polygon first, or keep polygons only")
        if not geometry.is_valid:
            why = shapely.is_valid_reason(geometry)
            raise InputError(
                f"feature {number} is no valid polygon: {why}; mend it, e.g. with 'Fix geometries' of QGIS or ogr2ogr -makevalid"
            )
    assert polygons.crs is not None
    west, south, east, north = polygons.total_bounds
    if polygons.crs.is_geographic and not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
        raise CrsError(
            f"coordinates from ({west:g}, {south:g}) to ({east:g}, {north:g}) are no longitudes and latitudes, as {polygons.crs.name} has them; "
            "assign the true CRS, or cut the polygon at the antimeridian"
        )


def _parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The single parts of a geometry, collections in collections opened."""
    if not hasattr(geometry, "geoms"):
        return [geometry]
    return [inner for part in geometry.geoms for inner in _parts(part)]


def _areal(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of a geometry alone: overlays leave points and lines where areas only touch."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    return shapely.MultiPolygon([part for part in _parts(geometry) if part.geom_type == "Polygon" and not part.is_empty])


def _on_grid(
    geometry: gpd.GeoDataFrame | gpd.GeoSeries | BaseGeometry,
    grid: TileGrid,
    crs: str | CRS | None,
    buffer: float,
    *,
    outside_is_error: bool = True,
) -> tuple[BaseGeometry, float]:
    """One geometry in the grid's CRS, cut at the grid's bounds, and the area in m2 that lay beyond them."""
    series = gpd.GeoSeries([geometry], crs=crs) if isinstance(geometry, BaseGeometry) else geometry.geometry
    if series.crs is None:
        raise CrsError("the geometry has no CRS; set it, e.g. to EPSG:4326 for longitude and latitude")
    _check_polygons(series)
    area = shapely.union_all(np.array([_areal(g) for g in series], dtype=object))
    area, beyond = _project(area, CRS(series.crs), grid)
    frame = shapely.box(*grid.bounds)
    inside = _areal(shapely.intersection(area, frame))
    beyond += area.area - inside.area
    if buffer:
        inside = _areal(shapely.intersection(shapely.buffer(area, buffer, quad_segs=32), frame))
    if inside.area == 0 and outside_is_error:
        west, south, east, north = series.total_bounds
        raise UnknownTile(
            f"the area (from {west:g}, {south:g} to {east:g}, {north:g} in {series.crs.name}) lies outside the grid's bounds {grid.bounds} "
            f"in {grid.crs}; check its CRS"
        )
    return inside, max(0.0, beyond)


def _project(area: BaseGeometry, crs: CRS, grid: TileGrid) -> tuple[BaseGeometry, float]:
    """A geometry in the grid's CRS, and the area in m2 cut off on the way because it lies far from the grid.

    The way leads over longitude and latitude, where what lies far off (a point's antipode has no place on the map) is cut away.
    """
    target = CRS(grid.crs)
    if crs == target:
        return area, 0.0
    geographic = target.geodetic_crs
    assert geographic is not None
    if not crs.is_geographic:
        metre = 1 / crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        farthest = np.abs(area.bounds).max()
        if farthest > _FARTHEST * metre:
            raise CrsError(f"a coordinate of {farthest:g} is nowhere on the Earth in {crs.name}; assign the true CRS")
        area = shapely.segmentize(area, _STEP_METRES * metre)
    lonlat = _moved(area, crs, geographic)
    for ring in _rings(lonlat):
        jump = np.abs(np.diff(ring[:, 0])).max()
        if jump > 180:
            raise InputError(
                f"an edge spans {jump:.1f} degrees of longitude: the polygon crosses the antimeridian or holds a pole; "
                f"cut it at 180 degrees, or give it in {grid.crs}"
            )
    window = shapely.box(*_lonlat_bounds(grid, geographic))
    if shapely.box(*lonlat.bounds).within(window):
        near, cut_off = lonlat, 0.0
    else:
        near = _areal(shapely.intersection(lonlat, window))
        cut_off = _geodesic_area(lonlat, target) - _geodesic_area(near, target)
    return _moved(shapely.segmentize(near, _STEP_DEGREES), geographic, target), cut_off


def _rings(area: BaseGeometry) -> Iterator[npt.NDArray[np.float64]]:
    """Coordinates (n, 2) of every ring, holes too."""
    for part in _parts(area):
        if not part.is_empty:
            yield from (shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors))


def _geodesic_area(lonlat: BaseGeometry, crs: CRS) -> float:
    """Area in m2 on the ellipsoid of a CRS, of polygons in degrees."""
    assert crs.ellipsoid is not None
    geod = Geod(a=crs.ellipsoid.semi_major_metre, b=crs.ellipsoid.semi_minor_metre)
    total = 0.0
    for part in _parts(shapely.segmentize(lonlat, 1.0)):
        for i, ring in enumerate(_rings(part)):
            total += (-1 if i else 1) * abs(geod.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0])
    return total


def _lonlat_bounds(grid: TileGrid, geographic: CRS) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees of a box around the grid, a degree wider; all longitudes where it holds a pole."""
    west, south, east, north = grid.bounds
    x, y = np.meshgrid(np.linspace(west, east, 129), np.linspace(south, north, 129))
    to_lonlat = Transformer.from_crs(CRS(grid.crs), geographic, always_xy=True)
    lon, lat = (np.asarray(v) for v in to_lonlat.transform(x, y))
    pole_x, pole_y = to_lonlat.transform([0.0, 0.0], [90.0, -90.0], direction="INVERSE")
    poles = [west <= px <= east and south <= py <= north for px, py in zip(pole_x, pole_y)]
    if not np.isfinite(lon).all() or any(poles) or np.abs(np.diff(lon, axis=1)).max() > 180:
        finite = lat[np.isfinite(lat)]
        bottom = -90.0 if poles[1] else max(-90.0, float(finite.min()) - 1)
        return -180.0, bottom, 180.0, 90.0 if poles[0] else min(90.0, float(finite.max()) + 1)
    return max(-180.0, lon.min() - 1), max(-90.0, lat.min() - 1), min(180.0, lon.max() + 1), min(90.0, lat.max() + 1)


def _moved(geometry: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    """Reproject vertex by vertex; a valid polygon whose edges now cross by a hair is mended."""
    if geometry.is_empty:
        return geometry
    try:
        transformer = Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise CrsError(f"{source.name} cannot be brought to {target.name} ({error}); reproject the polygons first") from error
    moved: BaseGeometry = shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise InputError(f"a vertex has no place in {target.name} (from {source.name}); check the file's CRS and coordinates")
    return moved if moved.is_valid else _areal(shapely.make_valid(moved))


def _shares(geometry: BaseGeometry, grid: TileGrid) -> dict[tuple[int, int], float]:
    """(south, west) of each tile -> share of it the geometry covers, rounded; none where that is 0. South to north, west to east.

    The box of tiles is halved again and again, the geometry cut with it, so that each tile meets a small piece only.
    """
    size = grid.tile_size
    shares: dict[tuple[int, int], float] = {}
    if geometry.is_empty:
        return shares
    w, s, e, n = shapely.bounds(geometry)
    first, last = (math.floor(w / size), math.floor(s / size)), (math.ceil(e / size), math.ceil(n / size))
    pending: list[tuple[BaseGeometry, int, int, int, int]] = [(geometry, *first, *last)]
    while pending:
        whole, west, south, east, north = pending.pop()
        box = shapely.box(west * size, south * size, east * size, north * size)
        piece = _areal(shapely.intersection(whole, box))
        if piece.area == 0:
            continue
        if piece.area == box.area:  # exact: both are whole metres
            shares.update(((row * size, column * size), 1.0) for row in range(south, north) for column in range(west, east))
        elif (east - west, north - south) == (1, 1):
            share = round(min(1.0, piece.area / box.area), _DECIMALS)
            if share > 0:
                shares[south * size, west * size] = share
        elif east - west >= north - south:
            middle = (west + east) // 2
            pending += [(piece, west, south, middle, north), (piece, middle, south, east, north)]
        else:
            middle = (south + north) // 2
            pending += [(piece, west, south, east, middle), (piece, west, middle, east, north)]
    return dict(sorted(shares.items()))


def _id(grid: TileGrid, west: int, south: int) -> str:
    return f"{grid.tile_size // 1000}kmE{west // 1000}N{south // 1000}"


def _as_table(shares: Mapping[tuple[int, int], float], grid: TileGrid) -> pd.DataFrame:
    return pd.DataFrame(
        {"tile_id": [_id(grid, west, south) for south, west in shares], "land_share": np.fromiter(shares.values(), float, len(shares))}
    )
