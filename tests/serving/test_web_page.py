"""The web page as a person meets it: headless Chromium, the real application, a tiny catalog made by the real writers."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyproj
import pytest
import rasterio

from geoplantnet.catalog import Catalog
from geoplantnet.serving.app import PAGE

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = sync_api.expect

WEB = PAGE.parent
TO_DEGREES = pyproj.Transformer.from_crs(3035, 4326, always_xy=True)


@dataclass
class Visit:
    """One browser page and what it asked for and complained about."""

    page: Any
    server: str
    """URL of the application."""
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def maps_of(self, layer: str) -> list[str]:
        """GetMap requests for one layer."""
        return [url for url in self.requests if "GetMap" in url and parse_qs(urlsplit(url).query)["LAYERS"] == [layer]]

    def open(self, link: str = "") -> None:
        self.page.goto(f"{self.server}/{link}")
        expect(self.page.locator("#legend-title")).not_to_be_empty()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, server: str) -> Iterator[Visit]:
    """A desktop page; at its end nothing may have gone to another host, nor anything have been complained about."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    one = Visit(page=context.new_page(), server=server)
    one.page.on("request", lambda request: one.requests.append(request.url))
    one.page.on("console", lambda message: one.complaints.append(message.text) if message.type == "error" else None)
    one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
    yield one
    context.close()
    assert [url for url in one.requests if not url.startswith((f"{server}/", "data:", "blob:"))] == []
    assert one.complaints == []


def _link_to(easting: float, northing: float, zoom: float = 11) -> str:
    """The address that centres the map on the cell a place lies in."""
    longitude, latitude = TO_DEGREES.transform(easting // 50 * 50 + 25, northing // 50 * 50 + 25)
    return f"#layer=richness&at={latitude:.4f},{longitude:.4f}&zoom={zoom}"


def _stored(catalog: Catalog, asset: str, easting: float, northing: float) -> float:
    """What the published file holds at a place, read by rasterio alone."""
    (tile,) = catalog.tiles_meeting((easting, northing, easting + 1, northing + 1))
    with rasterio.open(tile.assets[asset], driver="GTiff") as raster:
        return float(next(raster.sample([(easting, northing)]))[0])


def _centre(page: Any) -> tuple[float, float]:
    """Where the page says the map's centre is, px: the middle of what its panels leave free."""
    crosshair = page.locator("#crosshair")
    expect(crosshair).to_have_attribute("style", re.compile("translate"))
    x, y = re.findall(r"([-\d.]+)px", crosshair.get_attribute("style"))
    return float(x), float(y)


def _alpha(page: Any, awaited: float) -> float:
    """Opacity of the thematic layer's pixel at the map's centre, once it is the awaited one or five seconds have passed."""
    x, y = _centre(page)
    read = "([x, y]) => document.querySelector('.thematic canvas')?.getContext('2d').getImageData(x, y, 1, 1).data[3] ?? 0"
    for _ in range(100):
        alpha = page.evaluate(read, [x, y]) / 255
        if abs(alpha - awaited) < 0.01:
            break
        page.wait_for_timeout(50)
    return alpha


def test_dist_was_built_from_src() -> None:
    """What is shipped is what the sources say: every file `dist` was built from still has the hash it was built with."""
    lines = (PAGE / "SOURCES.sha256").read_text().splitlines()
    built_from = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = [WEB / "build.mjs", WEB / "package-lock.json", *(WEB / "src").iterdir()]
    now = {path.relative_to(WEB).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert now == built_from, "run `npm ci && npm run build` in geoplantnet/serving/web and commit dist"


def test_licences_of_bundled_code_are_shipped() -> None:
    """Each bundled package stands in THIRD_PARTY.txt with its licence."""
    text = (PAGE / "THIRD_PARTY.txt").read_text()
    for package in ("ol", "proj4", "rbush", "world-atlas"):
        assert re.search(rf"^{package} [\d.]+ \(.+\)$", text, re.MULTILINE), package
    assert "Natural Earth" in text


def test_first_look(visit: Visit, catalog: Catalog) -> None:
    """The page opens on an indicator, with notice, families, legend, attribution, scale and a map drawn over the relief."""
    visit.open()
    page = visit.page
    page.wait_for_load_state("networkidle")
    assert page.title() == f"Species richness · {catalog.title}"
    expect(page.locator("#notice")).to_have_text(catalog.notice)
    expect(page.locator("#notice")).to_be_in_viewport(ratio=1)
    families = page.locator(".family summary").evaluate_all("nodes => nodes.map(node => node.firstChild.textContent)")
    assert sorted(families) == sorted({layer.family for layer in catalog.layers.values()})
    legend, layer = page.locator("#legend"), catalog.layer("richness")
    expect(legend).to_be_in_viewport(ratio=1)
    for words in (layer.title, f"Unit: {layer.unit}", layer.direction[1:], "0", "120"):
        expect(legend).to_contain_text(words)
    expect(page.locator("#attribution")).to_have_text(f"{layer.attribution} · Countries: Natural Earth")
    expect(page.locator("#scale")).to_contain_text("km")
    assert visit.maps_of("richness") and visit.maps_of("relief")


def test_wms_box_is_northing_first(visit: Visit, catalog: Catalog) -> None:
    """WMS 1.3.0 in EPSG:3035: the box of every image is given as northing, easting, on the lattice of the cells."""
    west, south, east, north = catalog.bounds
    visit.open(_link_to((west + east) / 2, (south + north) / 2, zoom=7))
    visit.page.wait_for_load_state("networkidle")
    assert visit.maps_of("richness")
    for url in visit.maps_of("richness"):
        query = parse_qs(urlsplit(url).query)
        assert (query["VERSION"], query["CRS"]) == (["1.3.0"], ["EPSG:3035"])
        bottom, left, top, right = map(float, query["BBOX"][0].split(","))
        assert (bottom % 50, left % 50, top - bottom, right - left) == (0, 0, 25_600, 25_600)
        assert abs(bottom - south) < 100_000 and abs(left - west) < 100_000


def test_switching_the_layer_switches_map_and_legend(visit: Visit, catalog: Catalog) -> None:
    """Another layer is another WMS request, another legend (classes with labels), another address."""
    visit.open()
    page = visit.page
    with page.expect_request(lambda request: "REQUEST=GetMap" in request.url and "LAYERS=habitat" in request.url):
        page.get_by_role("radio", name="Habitat").check()
    assert page.locator("#legend .classes li").all_inner_texts() == [entry.label for entry in catalog.layer("habitat").classes]
    expect(page).to_have_url(re.compile("layer=habitat"))
    page.get_by_role("radio", name="Relief").check()
    expect(page.locator("#legend-title")).to_have_text("Relief")
    expect(page.locator("#legend .bar")).to_have_count(1)


def test_search_filters_as_you_type(visit: Visit, catalog: Catalog) -> None:
    """Beginnings of words find species, counted in words; a name that is not there is said; Escape brings all back."""
    visit.open()
    page, search = visit.page, visit.page.locator("#search")
    shown = page.locator("#tree .row:visible")
    search.fill("SYL")
    expect(shown).to_have_text(["Fagus sylvatica"])
    expect(page.locator("#search-status")).to_have_text(f"1 of {len(catalog.layers)} matches")
    search.fill("ge lu")
    expect(shown).to_have_text(["Gentiana lutea"])
    search.fill("zzz")
    expect(shown).to_have_count(0)
    expect(page.locator("#search-status")).to_contain_text("Nothing is called “zzz”")
    search.press("Escape")
    expect(page.locator("#search-status")).to_be_empty()
    expect(page.get_by_role("radio", name="Species richness")).to_be_visible()


def test_opacity_and_permalink(visit: Visit, catalog: Catalog) -> None:
    """The slider changes the thematic layer; the address brings layer, place, zoom and opacity back."""
    west, _, _, north = catalog.bounds
    visit.open(_link_to(west + 9000, north - 9000, zoom=8) + "&opacity=40")
    page = visit.page
    assert _alpha(page, 0.4) == pytest.approx(0.4, abs=0.01)
    page.locator("#opacity").fill("25")
    assert _alpha(page, 0.25) == pytest.approx(0.25, abs=0.01)
    expect(page.locator("#opacity-value")).to_have_text("25 %")
    link = page.url
    assert {"layer=richness", "zoom=8", "opacity=25"} < set(urlsplit(link).fragment.split("&"))
    page.reload()
    assert _alpha(page, 0.25) == pytest.approx(0.25, abs=0.01)
    expect(page).to_have_url(link)


@pytest.mark.parametrize(
    ("right", "down"), [(24_999, 3_010), (25_000, 3_010), (20_010, 19_990)], ids=["last column", "next tile", "sparse cell"]
)
def test_a_click_shows_the_value_of_the_cell(visit: Visit, catalog: Catalog, right: float, down: float) -> None:
    """What a click shows is the number stored in the cell below the pointer, the active layer first, with its unit."""
    west, _, _, north = catalog.bounds
    place = (west + right, north - down)
    visit.open(_link_to(*place))
    page = visit.page
    page.wait_for_load_state("networkidle")
    page.mouse.click(*_centre(page))
    amount = page.locator("#values data[data-layer=richness]")
    expect(amount).to_have_text(re.compile(r"^\d+ species$"))
    assert float(amount.get_attribute("value")) == pytest.approx(_stored(catalog, "richness", *place), rel=1e-6)
    label = {entry.value: entry.label for entry in catalog.layer("habitat").classes}[int(_stored(catalog, "habitat", *place))]
    expect(page.locator("#values dl")).to_have_text(f"Habitat{label}")  # no species, no relief
    expect(page.locator("#legend .mark")).to_have_count(1)
    page.get_by_label("Close the values").click()
    expect(page.locator("#values")).to_be_hidden()


def test_no_data_is_said_in_words(visit: Visit, catalog: Catalog) -> None:
    """A cell without data, and a place no tile covers, are told apart from zero."""
    west, south, east, _ = catalog.bounds
    gap = (west + 500, south + 500)
    assert math.isnan(_stored(catalog, "richness", *gap))
    visit.open(_link_to(*gap))
    page = visit.page
    page.mouse.click(*_centre(page))
    expect(page.locator("#values data[data-layer=richness]")).to_have_text("no data")
    page.goto(f"{visit.server}/{_link_to(east - 5000, south + 5000)}")
    page.mouse.click(*_centre(page))
    expect(page.locator("#values")).to_contain_text("No data here")


def test_keyboard_alone(visit: Visit, catalog: Catalog) -> None:
    """From the first Tab to a species, its legend and the values at the centre of the map, without a pointer."""
    west, _, _, north = catalog.bounds
    visit.open(_link_to(west + 9000, north - 9000))
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("species")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#legend-title")).to_have_text("Abies alba")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#legend-title")).to_have_text("Fagus sylvatica")
    page.locator("#map").focus()
    expect(page.locator("#crosshair")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#values data[data-layer='species.v002']")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#values")).to_be_hidden()


def test_a_dead_server_is_said_and_tried_again(visit: Visit) -> None:
    """No catalog, then no images: each is told in words, and trying again heals it."""
    page = visit.page
    page.route("**/api/layers", lambda route: route.abort())
    page.goto(f"{visit.server}/")
    expect(page.locator("#alert-text")).to_contain_text("does not answer")
    page.unroute("**/api/layers")
    page.route("**/wms?*GetMap*", lambda route: route.fulfill(status=500, body=""))
    page.locator("#alert-retry").click()
    expect(page.locator("#legend-title")).to_have_text("Species richness")
    expect(page.locator("#alert-text")).to_contain_text("did not arrive")
    page.unroute("**/wms?*GetMap*")
    with page.expect_response(lambda response: "GetMap" in response.url and response.ok):
        page.locator("#alert-retry").click()
    expect(page.locator("#alert")).to_be_hidden()
    assert visit.complaints, "the browser itself reports failed requests"
    visit.complaints.clear()


def test_narrow_screen(visit: Visit) -> None:
    """At 360 px: nothing wider than the screen, legend and notice in view, layers a tap away, targets of 24 px and more."""
    visit.page.set_viewport_size({"width": 360, "height": 640})
    visit.open()
    page = visit.page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for part in ("#notice", "#legend-key", "#legend-direction"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    expect(page.locator("#search")).to_be_hidden()
    page.get_by_role("button", name="Layers").click()
    expect(page.locator("#search")).to_be_in_viewport(ratio=1)
    expect(page.locator("#legend-key")).to_be_in_viewport(ratio=1)
    boxes = page.locator("button:visible, a:visible:not(.skip), summary:visible, .row:visible, #search").evaluate_all(
        "nodes => nodes.map(node => [node.textContent.trim(), node.getBoundingClientRect().width, node.getBoundingClientRect().height])"
    )
    assert len(boxes) > 8
    assert [box for box in boxes if min(box[1:]) < 24] == []


def test_every_control_has_a_name(visit: Visit) -> None:
    """A screen reader can tell every button, field and link from the others."""
    visit.open()
    nameless = visit.page.locator("button, input, a").evaluate_all(
        "nodes => nodes.filter(node => !(node.getAttribute('aria-label') || node.title || node.textContent.trim() || node.labels?.length)).map(node => node.outerHTML)"
    )
    assert nameless == []
