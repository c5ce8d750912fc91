"""The page in headless Chromium, over the real application and a small store of two epochs made by the real writers."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyproj
import pytest

from tests.serving import epochs
from tests.serving.conftest import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = sync_api.expect
PATIENCE = 20_000
"""Milliseconds to wait for what must come."""
expect.set_options(timeout=PATIENCE)

TO_DEGREES = pyproj.Transformer.from_crs(3035, 4326, always_xy=True)
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@dataclass
class Visit:
    """One browser page and what it asked for and complained about."""

    page: Any
    server: str
    """URL of the application."""
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, link: str = "") -> None:
        """Go to the page and wait until it shows a layer."""
        self.page.goto(f"{self.server}/{link}")
        expect(self.page.locator("#legend-title")).not_to_be_empty()

    def asked(self, part: str) -> list[str]:
        """Requests whose address holds this."""
        return [url for url in self.requests if part in url]

    def maps(self, **params: str) -> list[str]:
        """GetMap requests with these parameters."""
        wanted = {name: [value] for name, value in params.items()}
        queries = {url: parse_qs(urlsplit(url).query, keep_blank_values=True) for url in self.asked("GetMap")}
        return [url for url, query in queries.items() if wanted.items() <= query.items()]

    def forgive(self, pattern: str) -> None:
        """Complaints of the browser itself about requests that the test made fail."""
        assert self.complaints, "the browser reports failed requests"
        self.complaints[:] = [text for text in self.complaints if not re.search(pattern, text)]

    def mapped(self) -> None:
        """Wait until a thematic image is on the screen."""
        self.until("() => performance.getEntriesByName('first-map').length > 0")

    def until(self, function: str, arg: Any = None) -> None:
        """Poll until a function in the page says true (Playwright's own wait needs `eval`, which the page's policy refuses)."""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(function, arg):
            assert time.monotonic() < end, f"never true: {function}"
            self.page.wait_for_timeout(50)

    def centre(self) -> tuple[float, float]:
        """Where the page says the map's centre is, px: the middle of what its panels leave free."""
        crosshair = self.page.locator("#crosshair")
        expect(crosshair).to_have_attribute("style", re.compile("translate"))
        before, now = "", crosshair.get_attribute("style")
        while before != now:  # the panels may still be taking their room
            self.page.wait_for_timeout(150)
            before, now = now, crosshair.get_attribute("style")
        x, y = re.findall(r"([-\d.]+)px", now)
        return float(x), float(y)


Opener = Callable[..., Visit]


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def planners(epochs_store: Path) -> Iterator[str]:
    """The URL of a server over the store of two epochs."""
    yield from serving(epochs_store)


@pytest.fixture
def visits(browser: Any, planners: str) -> Iterator[Opener]:
    """visits(lang="fr", size="phone", scheme="dark", server=...) -> Visit. At the end no other host was asked and nothing was complained about."""
    opened: list[tuple[Any, Visit]] = []

    def visit(*, lang: str = "en", size: str = "desktop", scheme: str = "light", server: str = planners, **options: Any) -> Visit:
        context = browser.new_context(viewport=SIZES[size], locale=lang, color_scheme=scheme, reduced_motion="reduce", **options)
        one = Visit(page=context.new_page(), server=server)
        one.page.set_default_timeout(PATIENCE)
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.on("console", lambda message: one.complaints.append(message.text) if message.type == "error" else None)
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        opened.append((context, one))
        return one

    yield visit
    for context, one in opened:
        context.close()
        assert [url for url in one.requests if not url.startswith((f"{one.server}/", "data:", "blob:"))] == []
        assert one.complaints == []


@pytest.fixture
def visit(visits: Opener) -> Visit:
    """An English page on a desktop."""
    return visits()


@pytest.fixture(params=[("en", "desktop"), ("fr", "desktop"), ("en", "phone"), ("fr", "phone")], ids="-".join)
def everywhere(request: pytest.FixtureRequest, visits: Opener) -> Visit:
    """The page in each language, on a desktop and a phone."""
    lang, size = request.param
    return visits(lang=lang, size=size)


def lon_lat(easting: float, northing: float) -> tuple[float, float]:
    """Degrees of the middle of the cell a place lies in."""
    longitude, latitude = TO_DEGREES.transform(easting // 50 * 50 + 25, northing // 50 * 50 + 25)
    return float(longitude), float(latitude)


def link_to(easting: float, northing: float, *, layer: str = "richness", zoom: float = 9, more: str = "") -> str:
    """The address that centres the map on a cell."""
    longitude, latitude = lon_lat(easting, northing)
    return f"#layer={layer}&at={latitude:.5f},{longitude:.5f}&zoom={zoom}{more}"


INSIDE = (epochs.WEST + 12_025, epochs.SOUTH + 12_025)
"""A place of the south-western tile, inside the area of applicability."""
EXTRAPOLATED = (epochs.WEST + 2_025, epochs.SOUTH + 12_025)
"""A place of that tile outside of it."""
OUTSIDE = (epochs.WEST + 40_000, epochs.SOUTH + 10_000)
"""A place between the tiles, where nothing is mapped."""
