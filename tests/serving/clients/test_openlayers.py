"""OpenLayers in Chromium, in the version the web page is built with: its canvas is read back, pixel by pixel."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoplantnet.serving.app import PAGE
from geoplantnet.serving.crs import transformer
from geoplantnet.serving.legend import draw
from geoplantnet.serving.styles import drawing
from geoplantnet.serving.tilematrix import TILE_MATRIX_SETS
from tests.serving.clients.test_wmts_clients import within

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

WEB = PAGE.parent
CACHE = Path(__file__).parents[3] / ".cache"
SCRIPTS = {"/ol.js": "ol/dist/ol.js", "/proj4.js": "proj4/dist/proj4.js"}
VERSIONS = {"1.3.0": ("EPSG:3035", "EPSG:3857", "EPSG:4326", "CRS:84"), "1.1.1": ("EPSG:3035", "EPSG:3857", "EPSG:4326")}
CASES = [(version, crs) for version, known in VERSIONS.items() for crs in known]


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder of npm's packages: the web page's where it was built here, else fetched once for its lock file."""
    built = WEB / "node_modules"
    if (built / SCRIPTS["/ol.js"]).is_file():
        return built
    folder = CACHE / f"npm-{hashlib.sha256((WEB / 'package-lock.json').read_bytes()).hexdigest()[:12]}"
    if not (folder / "node_modules" / ".package-lock.json").is_file():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed, which fetches OpenLayers: apt-get install npm, or install Node 20")
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WEB / name, folder)
        command = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode:
            pytest.skip(f"npm could not fetch OpenLayers: {ended.stderr.strip().splitlines()[-1:]}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def page(server: str, packages: Path) -> Iterator[Any]:
    """A page of the server's own origin with OpenLayers and three functions; at its end nothing may have been complained about."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    files = {"/client.html": Path(__file__).with_name("openlayers.html")} | {url: packages / file for url, file in SCRIPTS.items()}
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for url, file in files.items():
            page.route(f"{server}{url}", lambda route, request, file=file: route.fulfill(path=file))
        page.goto(f"{server}/client.html")
        yield page
        browser.close()
    assert complaints == []


def asked(view: Any, version: str, layer: str, *, tiled: bool = False) -> dict[str, Any]:
    """A view as the page's functions take it."""
    return {**dataclasses.asdict(view), "resolution": view.resolution, "version": version, "layer": layer, "tiled": tiled}


@pytest.mark.parametrize("tiled", [False, True], ids=["image", "tiles"])
@pytest.mark.parametrize(("version", "crs"), CASES)
def test_every_place_is_where_it_is(page, views, assert_in_place, rgba, version, crs, tiled):
    """What the canvas shows of corner, hole and single cell lies within a pixel of where it is, as one image and as tiles."""
    for view in views(crs):
        picture = page.evaluate("asked => draw(asked)", asked(view, version, "habitat", tiled=tiled))
        assert_in_place(rgba(b64decode(picture.split(",")[1])), view)


@pytest.mark.parametrize("tiles", TILE_MATRIX_SETS.values(), ids=list(TILE_MATRIX_SETS))
@pytest.mark.parametrize("zoom", [7, 9, 13])
def test_tiles_lie_where_the_capabilities_say(page, views, assert_in_place, rgba, tiles, zoom):
    """A map of WMTS tiles that OpenLayers places by the capabilities alone shows corner, hole and single cell where they are."""
    whole, _, near = views(tiles.crs.name)
    view = within(tiles, str(zoom), near if zoom == 13 else whole)
    picture = page.evaluate("asked => draw(asked)", {**asked(view, "", "habitat"), "matrixSet": tiles.id})
    assert_in_place(rgba(b64decode(picture.split(",")[1])), view)


@pytest.mark.parametrize(("version", "crs"), CASES)
def test_a_click_tells_the_stored_value(page, views, places, version, crs):
    """The GetFeatureInfo that OpenLayers writes for a place answers the number stored in the cell there."""
    view = views(crs)[2]
    for place, stored in places.items():
        value = page.evaluate(
            "([asked, at]) => valueAt(asked, at)", [asked(view, version, "richness"), transformer("EPSG:3035", crs).transform(*place)]
        )
        assert value == pytest.approx(stored, rel=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_legend_is_the_layers(page, views, catalog, rgba, version):
    """The legend OpenLayers asks for is the picture of the layer's classes."""
    picture = page.evaluate("asked => legendOf(asked)", asked(views("EPSG:3035")[0], version, "habitat"))
    np.testing.assert_array_equal(rgba(bytes(picture)), rgba(draw(drawing(catalog.layer("habitat")))))
