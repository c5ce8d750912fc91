"""What the tests of the Area tab share: the page's own words, polygons read from its address, and hands on the map."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import shapely
from shapely.geometry import shape

from geoplantnet.serving.app import PAGE
from tests.serving.page.conftest import INSIDE, TO_DEGREES, Visit, expect, link_to

_LINE = re.compile(r'^  "(?P<key>[^"]+)": "(?P<text>.*)",$', re.MULTILINE)


def words(lang: str) -> dict[str, str]:
    """The strings of the Area tab in a language."""
    text = (PAGE.parent / "src" / "strings" / f"area.{lang}.js").read_text()
    return {match["key"]: match["text"] for match in _LINE.finditer(text)}


def polygon_in(url: str, field: str = "area") -> dict[str, Any]:
    """The polygon in an address, read by its description: zigzag varints of whole millionths of a degree, in base64url."""
    (text,) = parse_qs(urlsplit(url).fragment)[field]
    values: list[int] = []
    value = shift = 0
    for byte in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    stream = iter(values)
    count = next(stream)
    at = [0, 0]

    def position() -> list[float]:
        for axis in (0, 1):
            step = next(stream)
            at[axis] += -(step + 1) // 2 if step % 2 else step // 2
        return [at[0] / 1e6, at[1] / 1e6]

    def ring() -> list[list[float]]:
        positions = [position() for _ in range(next(stream))]
        return [*positions, positions[0]]

    polygons = [[ring() for _ in range(next(stream))] for _ in range(count or 1)]
    return {"type": "MultiPolygon", "coordinates": polygons} if count else {"type": "Polygon", "coordinates": polygons[0]}


def on_grid(geometry: dict[str, Any]) -> Any:
    """A polygon in metres of EPSG:3035."""
    metres = TO_DEGREES.transform
    return shapely.transform(shape(geometry), lambda xy: np.stack(metres(xy[:, 0], xy[:, 1], direction="INVERSE"), 1))


def code_of(geometry: dict[str, Any]) -> str:
    """A polygon as text for the address: the inverse of `polygon_in`."""
    data = bytearray()

    def write(value: int) -> None:
        while value > 127:
            data.append(value & 127 | 128)
            value >>= 7
        data.append(value)

    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    write(0 if geometry["type"] == "Polygon" else len(polygons))
    last = [0, 0]
    for rings in polygons:
        write(len(rings))
        for ring in rings:
            write(len(ring) - 1)
            for position in ring[:-1]:
                for axis in (0, 1):
                    step = round(position[axis] * 1e6) - last[axis]
                    last[axis] += step
                    write(2 * step if step >= 0 else -2 * step - 1)
    return base64.urlsafe_b64encode(bytes(data)).decode().rstrip("=")


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """A rectangle of metres of EPSG:3035 in degrees, as the page rounds them."""
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    ring = [[round(float(v), 6) for v in TO_DEGREES.transform(*corner)] for corner in corners]
    return {"type": "Polygon", "coordinates": [ring]}


class Hands:
    """Somebody at the Area tab."""

    def __init__(self, visit: Visit, *, at: tuple[float, float] = INSIDE, more: str = "") -> None:
        visit.open(link_to(*at, zoom=9, more=f"&tab=area{more}"))
        visit.mapped()
        self.visit, self.page = visit, visit.page
        self.lang = self.page.evaluate("document.documentElement.lang")
        self.t = words(self.lang)
        expect(self.button("area.draw")).to_be_visible()

    def button(self, key: str) -> Any:
        """The visible button with these words."""
        return self.page.locator("#area-panel, dialog").get_by_role("button", name=self.t[key], exact=True)

    def press(self, key: str) -> None:
        """Choose a button by keyboard."""
        self.button(key).focus()
        self.page.keyboard.press("Enter")

    def click(self, dx: float, dy: float) -> None:
        """The map, so many px right of and below its middle."""
        x, y = self.visit.centre()
        self.page.mouse.click(x + dx, y + dy)

    def walk(self, **steps: int) -> None:
        """Move the map finely by keyboard: right=3 is 24 px."""
        for way, count in steps.items():
            for _ in range(count):
                self.page.keyboard.press(f"Shift+Arrow{way.capitalize()}")

    def triangle(self) -> None:
        """Draw one by pointer, closed by a click on its first vertex."""
        self.begin("area.draw")
        for place in ((-60, 50), (60, 50), (0, -40), (-60, 50)):
            self.click(*place)
        self.chosen()

    def chosen(self, field: str = "area", *, unlike: dict[str, Any] | None = None) -> dict[str, Any]:
        """The polygon, once it stands in the address, which follows a moment later."""
        old = rf"(?!{code_of(unlike)}(&|$))" if unlike else ""
        expect(self.page).to_have_url(re.compile(rf"[#&]{field}={old}"))
        return polygon_in(self.page.url, field)

    def begin(self, key: str) -> None:
        """Start to draw, and wait until the map has the room it then has."""
        self.press(key)
        middle = """() => {
            const y = new DOMMatrix(getComputedStyle(document.getElementById("crosshair")).transform).f;
            const sheet = document.getElementById("sheet").getBoundingClientRect();
            return innerWidth > 767 || (sheet.top > 450 && y < sheet.top - 100 && y > sheet.top / 2 - 20);
        }"""
        self.visit.until(middle)

    def measure(self) -> tuple[int, float]:
        """Vertices and km2 as the panel tells them."""
        text = self.page.locator("#area-panel .area-measure:visible").inner_text()
        count, km2, _ = text.split("·")
        plain = re.sub(r"[^\d.]", "", km2.replace("km²", "").replace(",", "." if self.lang == "fr" else ""))
        return int(re.sub(r"\D", "", count)), float(plain)

    def analyse(self) -> None:
        """Ask, and wait for the answer."""
        self.press("area.analyse")
        expect(self.page.locator(".area-found:visible")).to_be_visible()

    def says(self, text: str) -> None:
        """Wait for words in the live region."""
        expect(self.page.locator("#announcer")).to_contain_text(text)

    def rows(self) -> list[list[str]]:
        """The cells of the species table, as they are read."""
        script = "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
        return list(self.page.locator(".area-table:visible tbody tr").evaluate_all(script))
