"""Uploads: the same polygons out of every format, and a reason, never a fault, for every file that is not read."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import stat
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import RequestError, TryAgain
from geoplantnet.serving.planner.upload import AT_ONCE, IN_LINE, LIMITS, MAX_BYTES, MAX_FEATURES, read_upload

FORMATS = ("geojson", "gpkg", "kml", "kmz", "zip")


def written(folder: Path, table: gpd.GeoDataFrame, kind: str) -> bytes:
    """A table as the bytes of a file of a format."""
    source = {"kmz": "kml", "zip": "shp"}.get(kind, kind)
    path = folder / f"own.{source}"
    if source in ("geojson", "kml"):
        table = table.to_crs(4326)
    table.rename(columns={"name": "Name"} if source == "kml" else {}).to_file(path, driver="KML" if source == "kml" else None)
    if kind == source:
        return path.read_bytes()
    if kind == "kmz":
        return zipped({"doc.kml": path.read_bytes()})
    return zipped(
        {
            f"inner/{part.name}": part.read_bytes()
            for part in folder.glob("own.*")
            if part.suffix in (".shp", ".shx", ".dbf", ".prj", ".cpg")
        }
    )


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def collection(*geometries: object, **more: object) -> bytes:
    features = [{"type": "Feature", "properties": {}, "geometry": one} for one in geometries]
    return json.dumps({"type": "FeatureCollection", "features": features, **more}).encode()


def refused(data: bytes) -> str:
    """Why a file is not read."""
    with pytest.raises(RequestError) as error:
        read_upload(data)
    return str(error.value)


SQUARE = {"type": "Polygon", "coordinates": [[[7, 46], [7.1, 46], [7.1, 46.1], [7, 46.1], [7, 46]]]}


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Geometry:
    """Stars around a place in EPSG:3035, some with a hole, some of two parts."""
    x, y, sides = draw(st.floats(3e6, 5e6)), draw(st.floats(2e6, 3e6)), draw(st.integers(3, 12))
    radii = np.array(draw(st.lists(st.floats(50, 5_000), min_size=sides, max_size=sides)))
    angles = np.arange(sides) * 2 * np.pi / sides

    def star(east: float, size: float) -> shapely.Polygon:
        return shapely.Polygon(np.stack([east + size * radii * np.cos(angles), y + size * radii * np.sin(angles)], axis=1))

    kind = draw(st.sampled_from(["plain", "hole", "parts"]))
    whole = star(x, 1)
    if kind == "hole":
        return shapely.Polygon(whole.exterior, [star(x, 0.5).exterior])
    return shapely.MultiPolygon([whole, star(x + 20_000, 1)]) if kind == "parts" else whole


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=4, deadline=None)
@given(shapes=st.lists(polygons(), min_size=1, max_size=4))
def test_polygons_come_back_from_every_format(kind, shapes, tmp_path_factory):
    """Polygons with holes and parts, written by a peer, are the same on the ground (to a centimetre), with their names and CRS."""
    table = gpd.GeoDataFrame({"name": [f"Pré {i}" for i in range(len(shapes))]}, geometry=shapes, crs=3035)
    told = read_upload(written(tmp_path_factory.mktemp(kind), table, kind), f"C:\\maps\\alp.{kind}")
    assert (told["count"], told["dropped"], told["name"]) == (len(shapes), [], "alp")
    assert told["crs"] == ("EPSG:3035" if kind in ("gpkg", "zip") else "OGC:CRS84")
    found = gpd.GeoDataFrame.from_features(told["features"], crs=4326).to_crs(3035)
    assert list(found["name"]) == list(table["name"])
    for mine, its in zip(shapes, found.geometry, strict=True):
        assert its.is_valid and shapely.hausdorff_distance(mine, its) < 0.01
        assert shapely.area(shapely.symmetric_difference(mine, its)) < 0.05 * shapely.length(mine)


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(FORMATS), seed=st.integers(0, 2**32))
def test_damaged_files_are_told_not_faults(kind, seed, good):
    """Truncated, flipped and overwritten files of every format are read or refused with a reason; nothing else happens."""
    chance, data = random.Random(seed), bytearray(good[kind])
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    for _ in range(chance.randrange(1, 20)):
        if data:
            at = chance.randrange(len(data))
            data[at : at + chance.choice((0, 1, 4))] = chance.randbytes(chance.choice((0, 1, 4)))
    answer(bytes(data))


@settings(max_examples=10, deadline=None)
@given(
    head=st.sampled_from([b"", b"{", b"<kml>", b"PK\3\4", b"SQLite format 3\0", b"<?xml version='1.0' encoding='utf-16'?>"]),
    tail=st.binary(max_size=300),
)
def test_random_bytes_are_told_not_faults(head, tail):
    """Any bytes behind the first ones of a format."""
    answer(head + tail)


def answer(data: bytes) -> None:
    try:
        told = read_upload(data)
    except RequestError as error:
        assert len(str(error)) > 20
    else:
        json.dumps(told, allow_nan=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, bytes]:
    """A good file of every format."""
    table = gpd.GeoDataFrame(
        {"name": ["a", "b"]}, geometry=[shapely.box(4e6, 2.5e6, 4.01e6, 2.51e6), shapely.Point(4e6, 2.6e6).buffer(99)], crs=3035
    )
    return {kind: written(tmp_path_factory.mktemp(kind), table, kind) for kind in FORMATS}


def test_what_is_no_polygon_is_counted_by_reason():
    """Points, missing and empty geometries, self-intersections and places off the earth are left out, each counted with its reason."""
    bow = {"type": "Polygon", "coordinates": [[[7, 46], [8, 47], [8, 46], [7, 47], [7, 46]]]}
    open_ring = {"type": "Polygon", "coordinates": [[[7, 46], [8, 47], [8, 46], [7, 47]]]}
    far = {"type": "Polygon", "coordinates": [[[700, 46], [701, 46], [701, 47], [700, 46]]]}
    point = {"type": "Point", "coordinates": [7, 46]}
    empty = {"type": "Polygon", "coordinates": []}
    told = read_upload(collection(SQUARE, point, point, None, empty, bow, open_ring, far, {"type": "Curve"}))
    assert told["count"] == 1
    kinds = [(one["kind"], one["count"]) for one in told["dropped"]]
    assert sorted(kinds) == [("empty", 2), ("invalid", 1), ("invalid", 2), ("not-polygon", 2), ("outside", 1)]
    assert any("Self-intersection" in one["reason"] and "Fix geometries" in one["reason"] for one in told["dropped"])
    assert "2 points" in refused(collection(point, point))


def test_heights_go_and_rings_turn_as_rfc_7946_says():
    """A clockwise polygon with heights comes back flat and counter-clockwise."""
    ring = [[7, 46, 1000], [7, 47, 1000], [8, 47, 1000], [7, 46, 1000]]
    told = read_upload(json.dumps({"type": "Polygon", "coordinates": [ring]}).encode())
    found = shapely.geometry.shape(told["features"]["features"][0]["geometry"])
    assert not found.has_z and found.exterior.is_ccw and found.equals(shapely.Polygon(ring))


def test_the_old_crs_of_geojson_is_honoured_or_refused():
    """EPSG by name is reprojected; a link, null or nonsense is refused with the fix."""
    metric = {"type": "Polygon", "coordinates": [[[4e6, 2.5e6], [4.01e6, 2.5e6], [4.01e6, 2.51e6], [4e6, 2.5e6]]]}
    told = read_upload(collection(metric, crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3035"}}))
    truth = gpd.GeoSeries([shapely.geometry.shape(metric)], crs=3035).to_crs(4326)[0]
    assert told["crs"] == "EPSG:3035"
    assert shapely.hausdorff_distance(shapely.geometry.shape(told["features"]["features"][0]["geometry"]), truth) < 1e-7
    link = {"type": "link", "properties": {"href": "http://localhost/", "type": "proj4"}}
    for crs in (
        None,
        link,
        {"type": "name", "properties": {"name": "EPSG:99999999"}},
        "EPSG:3035",
        {"type": "name", "properties": {"name": "+init=/etc/passwd"}},
    ):
        assert "longitude, latitude" in refused(collection(SQUARE, crs=crs))


def test_a_file_without_crs_is_refused_with_the_fix(tmp_path):
    """A shapefile without its .prj, and a GeoPackage of an undefined system."""
    table = gpd.GeoDataFrame({"name": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)])
    with pytest.warns(UserWarning, match="crs"):
        table.to_file(tmp_path / "own.gpkg")
        table.to_file(tmp_path / "own.shp")
    assert "assign" in refused((tmp_path / "own.gpkg").read_bytes())
    parts = {f"own{end}": (tmp_path / f"own{end}").read_bytes() for end in (".shp", ".shx", ".dbf")}
    assert ".prj" in refused(zipped(parts))
    assert ".shx" in refused(zipped({"own.shp": parts["own.shp"]}))


def test_limits_are_told():
    """1,000 features and 1 MB are read, one more is not; nor too many vertices."""
    assert read_upload(collection(*[SQUARE] * MAX_FEATURES))["count"] == MAX_FEATURES
    assert "1000 features" in refused(collection(*[SQUARE] * (MAX_FEATURES + 1)))
    padded = collection(SQUARE)
    assert read_upload(padded + b" " * (MAX_BYTES - len(padded)))["count"] == 1
    assert "1 MB" in refused(padded + b" " * (MAX_BYTES - len(padded) + 1))


def test_too_many_vertices_are_told(tmp_path):
    """A staircase of more vertices than are read, which packs well."""
    steps = np.repeat(np.arange(LIMITS["vertices"] // 2 + 10), 2) * 1.0
    stairs = np.stack([4e6 + steps[1:], 2.5e6 + steps[:-1]], axis=1)
    table = gpd.GeoDataFrame({"name": ["stairs"]}, geometry=[shapely.Polygon([*stairs, (4e6, stairs[-1, 1])])], crs=3035)
    assert "vertices" in refused(written(tmp_path, table, "zip"))


def test_a_layer_of_1001_features_is_refused_in_every_format(tmp_path_factory):
    """Whichever library reads it."""
    table = gpd.GeoDataFrame({"name": ["a"] * 1001}, geometry=[shapely.box(4e6, 2.5e6, 4.01e6, 2.51e6)] * 1001, crs=3035)
    for kind in ("gpkg", "kmz", "zip"):
        assert "1000 features" in refused(written(tmp_path_factory.mktemp(kind), table, kind))


def test_zip_files_are_judged_before_they_are_unpacked(good):
    """Bombs, paths that lead out, links, too many members, passwords, nested archives."""
    bomb = zipped({"own.shp": bytes(LIMITS["inflated"]), "own.shx": b"0"})
    assert len(bomb) < 100_000 and "unpacks to" in refused(bomb)
    for name in ("../own.kml", "/etc/own.kml", "a/../../own.kml", "C:/own.kml", "..\\own.kml"):
        assert "leads out" in refused(zipped({name: good["kml"]})), name
    assert "at most 100" in refused(zipped({f"{i}.txt": b"" for i in range(101)}))
    link = zipfile.ZipInfo("own.kml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "link" in refused(out.getvalue())
    assert "neither" in refused(zipped({"inner.zip": good["zip"]}))
    lying = bytearray(zipped({"doc.kml": b"<kml>" + b" " * 1_000_000 + b"</kml>"}))
    at = lying.rindex(b"PK\1\2") + 24  # the size its directory announces
    lying[at : at + 4] = (10).to_bytes(4, "little")
    answer(bytes(lying))


def test_xml_entities_are_refused():
    """A document type, with which entities come, is not read; nor other XML."""
    laughs = b'<?xml version="1.0"?><!DOCTYPE kml [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><kml>&b;</kml>'
    outside = b'<!DOCTYPE kml [<!ENTITY x SYSTEM "file:///etc/passwd">]><kml><Placemark><name>&x;</name></Placemark></kml>'
    assert "DOCTYPE" in refused(laughs) and "DOCTYPE" in refused(outside) and "DOCTYPE" in refused(zipped({"doc.kml": outside}))
    assert "no KML" in refused(
        b"<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )


def test_formats_that_read_other_files_are_not_formats_here(tmp_path, good):
    """VRT, TopoJSON, CSV and SQLite that is no GeoPackage are refused, whatever they are called; the content counts, not the name."""
    assert "TopoJSON" in refused(b'{"type":"Topology","objects":{},"arcs":[]}')
    assert "none of" in refused(b'id,WKT\n1,"POLYGON ((0 0,1 0,1 1,0 0))"\n')
    with sqlite3.connect(tmp_path / "x.sqlite") as db:
        db.execute("CREATE TABLE places (geom BLOB)")
    assert "cannot be read" in refused((tmp_path / "x.sqlite").read_bytes())
    assert read_upload(good["kml"], "own.gpkg")["count"] == 2
    assert "parse" not in refused(b'{"type":"Polygon","coordinates":[[[NaN,1]]]}')


def test_views_and_triggers_of_a_geopackage_do_nothing(tmp_path, good):
    """A view that is announced as a layer, and a trigger, are gone before the file is read; columns that are computed are refused."""
    path = tmp_path / "own.gpkg"
    path.write_bytes(good["gpkg"])
    with sqlite3.connect(path) as db:
        db.execute("CREATE VIEW spy AS SELECT fid, geom, load_extension('/tmp/x.so') AS name FROM own")
        db.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('spy', 'features', 'spy', 3035)")
        db.execute("INSERT INTO gpkg_geometry_columns VALUES ('spy', 'geom', 'POLYGON', 3035, 0, 0)")
        db.execute("CREATE TRIGGER t AFTER INSERT ON own BEGIN SELECT load_extension('/tmp/x.so'); END")
    assert read_upload(path.read_bytes())["count"] == 2
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE sly (fid INTEGER PRIMARY KEY, geom BLOB, name TEXT GENERATED ALWAYS AS (upper('x')))")
    assert "computes" in refused(path.read_bytes())


def test_text_that_could_harm_a_page_is_plain_when_it_comes_back():
    """Names lose controls and lone surrogates and stay within 200 characters; they are never more than text in JSON."""
    name = "\ud800a\x00\u202e<b>" + "x" * 300
    feature = {"type": "Feature", "properties": {"nr": 3, "Nom": name}, "geometry": SQUARE}
    told = read_upload(json.dumps(feature).encode(), "\ud800/../\x00x.json")
    found = told["features"]["features"][0]["properties"]["name"]
    assert found.startswith("a<b>xxx") and len(found) == 200 and told["name"] == "x"


def test_over_http(planner):
    """Polygons are answered as JSON; every refusal is a problem of status 400."""
    good = planner.post("/api/upload?name=alp.geojson", content=collection(SQUARE))
    assert good.status_code == 200 and good.json()["count"] == 1 and good.json()["name"] == "alp"
    for bad in (b"", b"nothing", b"x" * (MAX_BYTES + 1)):
        told = planner.post("/api/upload", content=bad)
        assert told.status_code == 400 and told.headers["content-type"] == "application/problem+json" and told.json()["detail"]


def test_uploads_leave_room_for_maps(monkeypatch):
    """Those that wait are few: one more is refused at once, and taken when they are done. None holds a place of the server in vain."""
    go_on, inside = threading.Event(), threading.Semaphore(0)

    def slow(data: bytes) -> dict:
        inside.release()
        go_on.wait(30)
        return {}

    monkeypatch.setattr("geoplantnet.serving.planner.upload._read", slow)
    with ThreadPoolExecutor(AT_ONCE + IN_LINE + 1) as people:
        try:
            sent = [people.submit(read_upload, b"{}") for _ in range(AT_ONCE + IN_LINE + 1)]
            refused = next(one for one in as_completed(sent, timeout=20))
            assert isinstance(refused.exception(), TryAgain) and not any(one.done() for one in sent if one is not refused)
            assert all(inside.acquire(timeout=10) for _ in range(AT_ONCE)) and not inside.acquire(blocking=False)
        finally:
            go_on.set()
        assert [one.result() for one in sent if one is not refused] == [{"name": ""}] * (AT_ONCE + IN_LINE)
    assert read_upload(b"{}") == {"name": ""}
