"""Reads one uploaded file in a process of its own, which may take little and knows nothing: a file to run, not a module to import.

Told on standard input: a line of JSON (`limits`), then the file's bytes. Answers on standard output with one JSON value: what the file
holds, or ``{"refused": why}``. Nothing of geoplantnet is imported. GDAL is left the one driver that the file's first bytes ask for, so that
it cannot take the file for a format that reads other files or the network.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import sqlite3
import stat
import sys
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

LONGITUDE_LATITUDE = "OGC:CRS84"
_SHAPE_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_NAMES = ("name", "nom", "title", "titre", "label", "libelle", "designation")
"""Columns that name a feature, the best first."""
_LONGEST_NAME = 200
_EDGE = 1e-9
"""Degrees beyond 180 or 90 that are rounding."""
_GRID = 1e-6
"""Degrees: the page rounds polygons to them."""
_REASONS = {
    "not-polygon": "points, lines or mixed geometries; only polygons are areas",
    "empty": "without a geometry, or an empty one",
    "outside": "outside the earth, or without a place in longitude and latitude; check the file's coordinate reference system",
}


class Refused(Exception):
    """The file is not taken; the message says why, and what to do."""


def limit_this_process(limits: dict[str, Any]) -> None:
    """Memory (bytes), processor time (seconds), size of a written file (bytes), open files; and no core dumps."""
    for what, most in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_FSIZE, limits["inflated"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def read(data: bytes, limits: dict[str, Any]) -> dict[str, Any]:
    """What a file holds. Raises Refused, and whatever a library makes of a damaged file."""
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if data.startswith(b"SQLite format 3\0"):
        rows, crs = _geopackage(data, limits)
    elif data.startswith(b"PK"):
        rows, crs = _zipped(data, limits)
    elif text.startswith(b"{"):
        rows, crs = _geojson(text, limits)
    elif text.startswith(b"<"):
        rows, crs = _kml(text, limits)
    else:
        raise Refused("this is none of GeoJSON, GeoPackage, KML, KMZ or a zipped shapefile; export the polygons as one of these")
    return _told(rows, crs, limits)


# ---- the formats: each gives (name, geometry) of all features, and their CRS; x before y


def _geojson(text: bytes, limits: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """Read here: what is looked for in it is little, and its old member ``crs`` might name an address that a library would go to."""
    import shapely

    def not_json(constant: str) -> float:
        raise Refused(f"the file holds {constant}, which is no JSON; mend the coordinates and export it again")

    try:
        told = json.loads(text, parse_constant=not_json)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the file is no valid JSON ({str(error)[:100]}); export it again as GeoJSON") from None
    kind = told.get("type")
    if kind == "Topology":
        raise Refused("this is TopoJSON; export the polygons as GeoJSON")
    features = told.get("features") if kind == "FeatureCollection" else [told] if kind == "Feature" else [{"geometry": told}]
    if not isinstance(features, list):
        raise Refused("the FeatureCollection has no list of features; export it again as GeoJSON")
    _check_count(len(features), limits)
    properties, shapes = [], []
    for feature in features:
        own = feature if isinstance(feature, dict) else {}
        named = own.get("properties")
        properties.append(named if isinstance(named, dict) else {})
        geometry = own.get("geometry")
        shapes.append(None if geometry is None else _shape(geometry, shapely))
    if kind not in ("FeatureCollection", "Feature") and shapes[0] is UNREADABLE:
        raise Refused("the file is JSON, but no GeoJSON of polygons; export it again as GeoJSON")
    keys = list(dict.fromkeys(key for own in properties for key, value in own.items() if isinstance(value, str)))
    key = _naming(keys)
    return [(_name(own.get(key)) if key else "", shape) for own, shape in zip(properties, shapes)], _crs_of_geojson(told)


UNREADABLE = object()
"""Stands for a geometry that is there and cannot be read."""


def _shape(geometry: Any, shapely: Any) -> Any:
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        return UNREADABLE
    inner = {name: geometry[name] for name in ("type", "coordinates", "geometries") if name in geometry}
    try:
        return shapely.from_geojson(json.dumps(inner), on_invalid="raise")
    except (shapely.errors.ShapelyError, ValueError, RecursionError):
        return UNREADABLE


def _crs_of_geojson(told: dict[str, Any]) -> Any:
    """Longitude, latitude (RFC 7946), or what the member ``crs`` of GeoJSON 2008 names."""
    if "crs" not in told:
        return LONGITUDE_LATITUDE
    crs = told["crs"]
    name = crs.get("properties", {}).get("name") if isinstance(crs, dict) and isinstance(crs.get("properties"), dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9:. _-]{1,100}", name):
        raise Refused("the GeoJSON's member `crs` names no reference system; export it in longitude, latitude (EPSG:4326), without `crs`")
    return name


def _kml(text: bytes, limits: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    root: list[str] = []

    def doctype(*of: Any) -> None:
        raise Refused("the KML has a DOCTYPE, whose entities are not read; save it without")

    def start(name: str, attributes: Any) -> None:
        if not root and name.rpartition(":")[2] != "kml":
            raise Refused(f"this is XML, but no KML (its root is {name[:40]!r}); export the polygons as KML or GeoJSON")
        root.append(name)

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = doctype, start
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise Refused(f"the KML is damaged ({error}); export it again") from None
    Path("upload.kml").write_bytes(text)
    rows, _ = _with_gdal("upload.kml", "KML", limits)
    return rows, LONGITUDE_LATITUDE


def _geopackage(data: bytes, limits: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """Tables alone: views and triggers, which could call functions, are taken out of the copy before GDAL opens it."""
    path = Path("upload.gpkg")
    path.write_bytes(data)
    try:
        with sqlite3.connect(path) as copy:
            copy.execute("PRAGMA trusted_schema = OFF")
            made = copy.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
            for kind, name, _, sql in made:
                if kind in ("view", "trigger"):
                    copy.execute(f"DROP {kind} {_quoted(name)}")
                elif kind == "table" and re.search(r"\bGENERATED\b|\bAS\s*\(", sql or "", re.IGNORECASE):
                    raise Refused(f"table {name[:40]!r} of the GeoPackage computes its columns; export the layer to a new GeoPackage")
        copy.close()
    except sqlite3.Error as error:
        raise Refused(f"the GeoPackage is damaged ({str(error)[:100]}); export it again") from None
    return _with_gdal(path.name, "GPKG", limits)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _zipped(data: bytes, limits: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """A KMZ or a zipped shapefile: judged by its directory, before anything is inflated."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
        _check_members(members, limits)
        own = [m for m in members if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
        by_end = [(PurePosixPath(m.filename), m) for m in own]
        if documents := [m for path, m in by_end if path.suffix.lower() == ".kml"]:
            first = min(documents, key=lambda m: (m.filename.lower() != "doc.kml", documents.index(m)))
            text = _inflated(archive, first, limits)
            return _kml(text.removeprefix(b"\xef\xbb\xbf").lstrip(), limits)
        shapes = [path for path, _ in by_end if path.suffix.lower() == ".shp"]
        if len(shapes) != 1:
            what = f"{len(shapes)} shapefiles" if shapes else "neither a shapefile nor a KML"
            raise Refused(f"the zip file holds {what}; pack the .shp, .shx, .dbf and .prj of one shapefile")
        parts = {path.suffix.lower(): m for path, m in by_end if path.with_suffix("") == shapes[0].with_suffix("")}
        for part, words in ((".shx", "its index"), (".prj", "which says its coordinate reference system")):
            if part not in parts:
                raise Refused(f"the shapefile lacks its {part}, {words}; pack the .shp, .shx, .dbf and .prj together")
        for part in _SHAPE_PARTS:
            if part in parts:
                Path(f"upload{part}").write_bytes(_inflated(archive, parts[part], limits))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, ValueError, OSError, RuntimeError) as error:
        raise Refused(f"the zip file is damaged or packed in an unusual way ({str(error)[:100]}); pack it again") from None
    return _with_gdal("upload.shp", "ESRI Shapefile", limits)


def _check_members(members: list[zipfile.ZipInfo], limits: dict[str, Any]) -> None:
    if len(members) > limits["members"]:
        raise Refused(f"the zip file has {len(members)} members, at most {limits['members']} are read; pack one shapefile or KML alone")
    for m in members:
        parts = re.split(r"[/\\]", m.orig_filename)
        if ".." in parts or parts[0] == "" or ":" in parts[0] or "\\" in m.orig_filename or "\0" in m.orig_filename:
            raise Refused("the zip file has a member whose path leads out of it; pack it again, with plain names")
        kind = stat.S_IFMT(m.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused("the zip file has a member that is a link or a device; pack the files themselves")
        if m.flag_bits & 1:
            raise Refused("the zip file is encrypted; pack it without a password")
    size = sum(m.file_size for m in members)
    if size > limits["inflated"]:
        raise Refused(f"the zip file unpacks to {size} bytes, at most {limits['inflated']} are read; give fewer or simpler polygons")


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: dict[str, Any]) -> bytes:
    """The bytes of a member, no more than its entry announces. Raises BadZipFile, and what zlib does."""
    import zlib

    try:
        with archive.open(member) as file:
            return file.read(min(member.file_size, limits["inflated"]) + 1)
    except zlib.error as error:
        raise zipfile.BadZipFile(str(error)) from None


def _with_gdal(path: str, driver: str, limits: dict[str, Any]) -> tuple[list[tuple[str, Any]], Any]:
    """All layers of a file, read by one driver. Raises Refused for what it cannot read."""
    os.environ["GDAL_SKIP"] = ",".join(name for name in limits["drivers"] if name != driver)
    for name in ("geopandas", "pandas", "pyarrow"):  # pyogrio would import them, for half a second and nothing
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    import pyogrio
    import shapely

    if set(pyogrio.list_drivers()) != {driver}:
        raise Refused(f"this server cannot read such files; export the polygons as GeoJSON (GDAL has no {driver})")
    rows: list[tuple[str, Any]] = []
    systems: list[str | None] = []
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) > limits["layers"]:
            raise Refused(f"the file has {len(layers)} layers, at most {limits['layers']} are read; export one layer")
        for layer in layers:
            left = limits["features"] + 1 - len(rows)
            told, _, wkb, columns = pyogrio.raw.read(path, layer=layer, max_features=left)
            if wkb is None:
                continue
            texts = {str(n): values for n, kind, values in zip(told["fields"], told["ogr_types"], columns) if kind == "OFTString"}
            naming = _naming([n for n in texts if any(isinstance(value, str) and value.strip() for value in texts[n])])
            names = texts[naming] if naming else [None] * len(wkb)
            rows += [(_name(name), shape) for name, shape in zip(names, shapely.from_wkb(wkb, on_invalid="ignore"))]
            if len(wkb):
                systems.append(told["crs"])
            _check_count(len(rows), limits)
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        pyogrio.errors.GeometryError,
        pyogrio.errors.FeatureError,
    ) as error:
        raise Refused(f"the file cannot be read as {driver} ({str(error).partition(';')[0][:120]}); export it again") from None
    if len(set(systems)) > 1:
        raise Refused("the layers of the file have different coordinate reference systems; export one layer")
    return rows, systems[0] if systems else LONGITUDE_LATITUDE


# ---- what becomes of them


def _check_count(count: int, limits: dict[str, Any]) -> None:
    if count > limits["features"]:
        raise Refused(
            f"the file has more than {limits['features']} features; select fewer, or merge them into one polygon, and export it again"
        )


def _naming(columns: list[str]) -> str | None:
    """The column that names features: one called so, or else the first."""
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in _NAMES if name in by_name), columns[0] if columns else None)


def _name(value: Any) -> str:
    """A name fit to be shown."""
    text = value if isinstance(value, str) else ""
    return "".join(ch for ch in text if ch.isprintable()).strip()[:_LONGEST_NAME]


def _told(rows: list[tuple[str, Any]], crs: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """The polygons in longitude, latitude; how many of the other features there were, by reason; and the CRS they came in."""
    import shapely

    system, move = _transformer(crs)
    dropped: Counter[tuple[str, str]] = Counter()
    features: list[dict[str, Any]] = []
    polygons: list[Any] = []
    vertices = 0
    for name, shape in rows:
        polygon, why = _polygon(shape, shapely)
        if polygon is not None:
            vertices += shapely.get_num_coordinates(polygon)
            if vertices > limits["vertices"]:
                raise Refused(f"the polygons have more than {limits['vertices']} vertices; simplify them, and export the file again")
            polygon, why = _moved(polygon, move, shapely)
        if polygon is None:
            dropped[why] += 1
        else:
            polygons.append(polygon)
            features.append({"type": "Feature", "properties": {"name": name}, "geometry": _geometry(polygon, shapely)})
    if not features:
        reasons = "; ".join(f"{count} {reason}" for (_, reason), count in dropped.items()) or "it has no features"
        raise Refused(f"the file holds no polygon that can be used: {reasons}")
    told = [{"kind": kind, "reason": reason, "count": count} for (kind, reason), count in dropped.items()]
    collection = {"type": "FeatureCollection", "features": features}
    return {"features": collection, "count": len(features), "dropped": told, "crs": system, "union": _union(polygons, shapely)}


def _union(polygons: list[Any], shapely: Any) -> dict[str, Any] | None:
    """Several polygons as one area, on the grid of what links hold; neighbours that share an edge would be no valid multipolygon."""
    if len(polygons) < 2:
        return None
    whole = shapely.union_all(polygons, grid_size=_GRID)
    parts = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]
    return _geometry(shapely.multipolygons(parts) if len(parts) > 1 else parts[0], shapely) if parts else None


def _transformer(crs: Any) -> tuple[str, Any]:
    """What the CRS is called, and what gives longitude, latitude of x, y. Raises Refused."""
    import pyproj

    fix = "assign the right one, or export the polygons in longitude, latitude (EPSG:4326)"
    if crs is None:
        raise Refused(f"the file does not say its coordinate reference system; {fix}")
    try:
        system = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError:
        raise Refused(f"the file's coordinate reference system cannot be read; {fix}") from None
    if not (system.is_geographic or system.is_projected):
        raise Refused(f"the file's coordinate reference system is undefined, or none of places on the earth; {fix}")
    try:
        found = pyproj.Transformer.from_crs(system, LONGITUDE_LATITUDE, always_xy=True)
    except pyproj.exceptions.ProjError:
        raise Refused(f"the file's coordinate reference system has no way to longitude, latitude; {fix}") from None
    code = system.to_authority(min_confidence=70)
    return _name(":".join(code) if code else system.name), found.transform


def _polygon(shape: Any, shapely: Any) -> tuple[Any, tuple[str, str]]:
    """The polygon or multipolygon that a geometry is, flat; or None and why it is none."""
    if shape is UNREADABLE:
        return None, _invalid("it cannot be read: is a ring open, or a position missing?")
    if shape is None or shape.is_empty:
        return None, ("empty", _REASONS["empty"])
    parts = shapely.get_parts(shape)
    if shape.geom_type == "GeometryCollection" and all(part.geom_type == "Polygon" for part in parts):
        shape = shapely.multipolygons(parts)
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return None, ("not-polygon", _REASONS["not-polygon"])
    flat = shapely.force_2d(shape)
    reason = shapely.is_valid_reason(flat)
    if reason != "Valid Geometry":
        return None, _invalid(reason.partition("[")[0])
    return flat, ("", "")


def _invalid(reason: str) -> tuple[str, str]:
    return "invalid", f"no valid polygons ({reason.strip()}); repair them in a GIS (Fix geometries), since a repair can change an area"


def _moved(polygon: Any, move: Any, shapely: Any) -> tuple[Any, tuple[str, str]]:
    import numpy as np

    moved = shapely.transform(polygon, lambda xy: np.stack(move(xy[:, 0], xy[:, 1]), axis=1))
    positions = np.abs(shapely.get_coordinates(moved))
    if not np.isfinite(positions).all() or (positions > np.array([180, 90]) + _EDGE).any():
        return None, ("outside", _REASONS["outside"])
    reason = shapely.is_valid_reason(moved)
    return (moved, ("", "")) if reason == "Valid Geometry" and moved.area > 0 else (None, _invalid(reason.partition("[")[0]))


def _geometry(polygon: Any, shapely: Any) -> dict[str, Any]:
    """As RFC 7946 has it: outer rings counter-clockwise, holes clockwise."""
    parts = [shapely.geometry.polygon.orient(part) for part in shapely.get_parts(polygon)]
    rings = [[[list(position) for position in ring.coords] for ring in (part.exterior, *part.interiors)] for part in parts]
    if polygon.geom_type == "Polygon":
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def main() -> None:
    """Read, and answer; a file that breaks a library is refused as damaged."""
    limits = json.loads(sys.stdin.buffer.readline())
    limit_this_process(limits)
    try:
        answer = read(sys.stdin.buffer.read(), limits)
    except Refused as refused:
        answer = {"refused": str(refused)}
    except (Exception, MemoryError) as error:
        answer = {"refused": f"the file is damaged, or of a kind that is not read ({type(error).__name__}); export it again"}
    sys.stdout.write(json.dumps(answer, allow_nan=False))


if __name__ == "__main__":
    main()
