"""The area's own modules, run in the browser as they are: polygons as text, their validity and size, the order of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from shapely.geometry import mapping, shape

from geoplantnet.serving.app import PAGE

SRC = PAGE.parent / "src"
ORIGIN = "http://modules.test"
TO_METRES = pyproj.Transformer.from_crs(4326, 3035, always_xy=True)


@pytest.fixture(scope="module")
def modules(browser: Any) -> Iterator[Any]:
    """A page that can import the sources."""
    context = browser.new_context()

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path == "/":
            route.fulfill(body="<!doctype html>", content_type="text/html")
        else:
            route.fulfill(body=(SRC / path.lstrip("/")).read_text(), content_type="text/javascript")

    context.route(f"{ORIGIN}/**", serve)
    page = context.new_page()
    page.goto(f"{ORIGIN}/")
    yield page
    context.close()


def call(page: Any, module: str, expression: str, argument: Any = None) -> Any:
    """The value of a JavaScript expression of `m`, the module, and `x`, the argument."""
    return page.evaluate(f"async (x) => {{ const m = await import('{ORIGIN}/area/{module}.js'); return {expression}; }}", argument)


def _geometries(count: int) -> list[dict[str, Any]]:
    """Polygons and multipolygons with holes, around Europe and across the meridian of Greenwich, of whole millionths of a degree."""
    rng = np.random.default_rng(7)
    made = []
    for i in range(count):
        parts = []
        for part in range(1 + i % 3):
            middle = np.array([rng.uniform(-10, 30), rng.uniform(-20, 70)])
            angles = np.sort(rng.choice(np.arange(1, 360), size=rng.integers(3, 40), replace=False)) * np.pi / 180
            outline = middle + rng.uniform(0.01, 0.5, (len(angles), 1)) * np.stack([np.cos(angles), np.sin(angles)], 1)
            rings = [outline, middle + 1e-3 * np.array([[0, 0], [1, 0], [0, 1]])][: 1 + (i + part) % 2]
            parts.append([[[round(float(v), 6) for v in p] for p in [*ring, ring[0]]] for ring in rings])
        made.append({"type": "Polygon", "coordinates": parts[0]} if i % 3 == 0 else {"type": "MultiPolygon", "coordinates": parts})
    return made


def test_a_polygon_comes_back_from_its_text(modules: Any) -> None:
    """decode(encode(polygon)) is the polygon to the last digit, kind, holes, first vertex and direction of its rings included; the text is short."""
    geometries = _geometries(60)
    texts = call(modules, "code", "x.map(m.encode)", geometries)
    assert call(modules, "code", "x.map(m.decode)", texts) == geometries
    assert call(modules, "code", "x.map(m.rounded)", geometries) == geometries
    for text, geometry in zip(texts, geometries):
        assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        assert len(text) < len(json.dumps(geometry)) / 2


def test_the_text_is_what_its_description_says(modules: Any) -> None:
    """Another reader of zigzag varints in base64url, written from the description, finds the same whole millionths."""
    import base64

    geometry = {"type": "Polygon", "coordinates": [[[8.1, 46.5], [8.2, 46.5], [8.15, 46.4], [8.1, 46.5]]]}
    text = call(modules, "code", "m.encode(x)", geometry)
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    steps = [-(v + 1) // 2 if v % 2 else v // 2 for v in values[3:]]
    assert values[:3] == [0, 1, 3]
    assert np.cumsum(np.reshape(steps, (3, 2)), 0).tolist() == [[8_100_000, 46_500_000], [8_200_000, 46_500_000], [8_150_000, 46_400_000]]


def test_a_damaged_text_is_no_polygon(modules: Any) -> None:
    """A link that was cut, or written by hand, gives no polygon or another one of valid degrees; it never throws and never runs long."""
    rng = np.random.default_rng(1)
    (text, *_) = call(modules, "code", "x.map(m.encode)", _geometries(3)[2:])
    letters = list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    damaged = ["", "null", "A", "é", "____________", *(text[:n] for n in range(len(text)))]
    for _ in range(300):
        changed = list(text)
        changed[rng.integers(len(changed))] = str(rng.choice(letters))
        damaged.append("".join(changed))
    for found in call(modules, "code", "x.map(m.decode)", damaged):
        if found is not None:
            west, south, east, north = shape(found).bounds
            assert west >= -180 and east <= 180 and south >= -90 and north <= 90
    assert call(modules, "code", "x.map(m.decode)", [text[:n] for n in range(len(text))]) == [None] * len(text)


def test_a_link_holds_two_thousand_vertices(modules: Any) -> None:
    """Up to the limit there is a text that mail programs keep whole; above it none."""
    angles = np.linspace(0, 2 * np.pi, 2000)
    ring = [[round(8 + 0.1 * np.cos(a), 6), round(46 + 0.1 * np.sin(a), 6)] for a in angles[:-1]]
    text = call(modules, "code", "m.encode(x)", {"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
    assert len(text) < 12_000
    assert call(modules, "code", "m.encode(x)", {"type": "Polygon", "coordinates": [[*ring, [8.0, 46.0], ring[0]]]}) is None


def test_rounding_drops_what_it_makes_empty(modules: Any) -> None:
    """Positions that become one are one; a hole or part that shrinks to nothing goes, and a polygon that does is none."""
    speck = [[8, 46], [8 + 1e-8, 46], [8, 46 + 1e-8], [8, 46]]
    square = [[8, 46], [8, 46], [9, 46], [9, 47, 1200.0], [8, 47], [8, 46]]
    told = call(
        modules,
        "code",
        "x.map(m.rounded)",
        [{"type": "Polygon", "coordinates": [square, speck]}, {"type": "Polygon", "coordinates": [speck]}],
    )
    assert told == [{"type": "Polygon", "coordinates": [[[8, 46], [9, 46], [9, 47], [8, 47], [8, 46]]]}, None]


def _outlines(count: int) -> list[list[list[list[list[int]]]]]:
    """Random small rings on a coarse lattice: every way to touch, cross, nest and overlap comes up."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(count):
        polygons = []
        for _ in range(1 + i % 2):
            rings = []
            for _ in range(1 + (i // 2) % 3):
                n = int(rng.integers(3, 7))
                points = rng.integers(0, 9, (n, 2)) if i % 5 else rng.integers(0, 9, 2) + np.array([[0, 0], [3, 0], [3, 3], [0, 3]])
                kept = [p for j, p in enumerate(points.tolist()) if p != points[j - 1].tolist()]
                if len(kept) > 2:
                    rings.append([*kept, kept[0]])
            if rings:
                polygons.append(rings)
        if polygons:
            made.append(polygons)
    return made


def test_validity_is_that_of_the_server(modules: Any) -> None:
    """Of thousands of random outlines the page refuses those that shapely, which the server asks, finds invalid, and no other."""
    outlines = _outlines(6000)
    found = call(modules, "geometry", "x.map((one) => m.problemOf(one)?.kind ?? null)", outlines)
    wrong = []
    valid = 0
    for polygons, kind in zip(outlines, found):
        whole = shape({"type": "MultiPolygon", "coordinates": polygons})
        truth = shapely.is_valid(whole) and all(shapely.Polygon(ring).area > 0 for rings in polygons for ring in rings)
        valid += truth
        if truth != (kind is None):
            wrong.append((polygons, kind, shapely.is_valid_reason(whole)))
    assert valid > 200
    assert len(wrong) == 0, wrong[:3]


def test_area_is_that_of_equal_area_metres(modules: Any) -> None:
    """Square metres in EPSG:3035 agree with shapely over pyproj's coordinates, holes taken off."""
    metres = [shapely.transform(shape(one), lambda xy: np.stack(TO_METRES.transform(*xy.T), 1)) for one in _geometries(12)]
    polygons = [[mapping(part)["coordinates"] for part in getattr(one, "geoms", [one])] for one in metres]
    found = call(modules, "geometry", "x.map(m.areaOf)", polygons)
    for area, parts in zip(found, polygons):
        assert area == pytest.approx(sum(shapely.Polygon(p[0], p[1:]).area for p in parts), rel=1e-9)


def test_undo_and_redo(modules: Any) -> None:
    """Undo goes back a step, redo forth; a new step forgets what was undone; neither runs over an end."""
    script = """(() => { const h = m.createHistory(0); h.push(1); h.push(2); const seen = [h.undo(), h.undo(), h.undo(), h.canUndo, h.redo()];
        h.push(5); return [...seen, h.canRedo, h.redo(), h.undo()]; })()"""
    assert call(modules, "history", script) == [1, 0, 0, False, 1, False, 5, 1]


def test_unknown_is_last_and_never_a_no(modules: Any) -> None:
    """Whatever the column and the direction, what is not known stands at the end; a group holds only those known to be of it."""
    species = [
        {
            "taxonID": "a",
            "scientificName": "Abies",
            "vernacularName": "Épicéa blanc",
            "iucn": None,
            "tree": True,
            "directive": None,
            "coverage": 0.2,
        },
        {
            "taxonID": "b",
            "scientificName": "Betula",
            "vernacularName": None,
            "iucn": "CR",
            "tree": None,
            "directive": True,
            "coverage": 0.4,
        },
        {
            "taxonID": "c",
            "scientificName": "Carex",
            "vernacularName": None,
            "iucn": "LC",
            "tree": False,
            "directive": False,
            "coverage": 0.3,
        },
    ]
    order = "[false, true].map((down) => m.sorted(x, {}, down).map((one) => one.taxonID).join(''))"
    assert call(modules, "rows", order.replace("{}", "'iucn'"), species) == ["cba", "bca"]
    assert call(modules, "rows", order.replace("{}", "'tree'"), species) == ["cab", "acb"]
    assert call(modules, "rows", order.replace("{}", "'coverage'"), species) == ["acb", "bca"]
    kept = "m.filtered(x, {}, new Set({})).map((one) => one.taxonID).join('')"
    assert call(modules, "rows", kept.format("''", "['protected']"), species) == "b"
    assert call(modules, "rows", kept.format("''", "['threatened']"), species) == "b"
    assert call(modules, "rows", kept.format("'epicea'", "[]"), species) == "a"
    assert call(modules, "rows", kept.format("'blanc ab'", "[]"), species) == "a"


def test_coordinates_as_lines(modules: Any) -> None:
    """A list of latitude, longitude brings back its polygon, holes and parts included; a bad line is named."""
    words = {"hole": "trou", "polygon": "polygone"}
    for geometry in _geometries(6):
        told = call(modules, "coordinates", "m.fromText(m.toText(x.geometry, x.words), x.words)", {"geometry": geometry, "words": words})
        wanted = geometry if len(geometry["coordinates"]) > 1 or geometry["type"] == "Polygon" else None
        assert wanted is None or told["geometry"] == geometry
    read = "x.lines.map((text) => m.fromText(text, x.words))"
    lines = ["46,5; 8,1\n46,5; 8,2\n46,4; 8,15", "46.5 8.1\nhere\n46.4 8.2", "8.1, 46.5\n146.5, 8.2\n8, 46", "46.5, 8.1\n46.5, 8.2"]
    good, bad, swapped, few = call(modules, "coordinates", read, {"lines": lines, "words": words})
    assert good["geometry"]["coordinates"][0][0] == [8.1, 46.5]
    assert (bad["line"], bad["kind"], swapped["kind"], few["kind"]) == (2, "position", "degrees", "few")
