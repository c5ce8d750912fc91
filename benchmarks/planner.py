"""The planner's page over HTTP: a click, polygons and a whole tile of 10,000 species, beside exactextract over a raster a species; the page itself.

    python -m benchmarks.planner [--quick] --json FILE

A published tile of 500 x 500 cells, latent 256 of four models side by side, made by the real writers, served by the real application,
one process, over loopback; fifteen indicator layers. Latent vectors have no structure in space, so that every polygon holds nearly all
of the 10,000 species: the worst a report can meet. exactextract reads 200 of the species as rasters in memory, in turns with our
answers, and is stated for all that were found. --quick: a tile of 5 km and fewer rounds, the page as it is.

The first map is what the page marks with `performance.mark("first-map")`, or else the end of the first picture that comes.
"""

from __future__ import annotations

import dataclasses
import gzip
import http.client
import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from benchmarks.mapping import SPECIES, random_tile, traits_of
from benchmarks.rows import Row, main
from benchmarks.servers import Server, ours
from benchmarks.serving import LAYER, publish_tile
from geoplantnet.assemblages import LatentTile
from geoplantnet.assemblages.assemblage import open_assemblage
from geoplantnet.serving.app import PAGE
from geoplantnet.serving.crs import transformer

LATENT, MEMBERS, INDICATORS = 256, 4, 15
RASTERS = 200
"""Species that exactextract is given."""
REPORT = "/ogc/processes/area-report/execution"
FLAGS = ("tree", "woody", "invasive", "eu_directive", "rare", "range_squares")
_READY = "/healthz"
_MARK = "() => performance.getEntriesByName('first-map').map((one) => one.startTime)[0] ?? null"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request."""

    seconds: float
    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Client:
    """One connection to a server, kept open as a browser's is."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """GET, or POST of some JSON; until the last byte has come."""
        sent = None if body is None else json.dumps(body).encode()
        headers = {} if sent is None else {"Content-Type": "application/json"}
        start = time.perf_counter()
        self._connection.request("GET" if sent is None else "POST", path, sent, headers)
        answer = self._connection.getresponse()
        got = answer.read()
        return Answer(seconds=time.perf_counter() - start, status=answer.status, body=got)

    def report(self, shape: shapely.Geometry) -> Answer:
        return self.ask(REPORT, {"inputs": {"area": lonlat(shape)}})


def lonlat(shape: shapely.Geometry) -> dict[str, Any]:
    """A shape of the grid as GeoJSON."""
    moved = shapely.transform(shape, lambda xy: np.stack(transformer("EPSG:3035", "CRS:84").transform(xy[:, 0], xy[:, 1]), axis=1))
    return dict(json.loads(json.dumps(shapely.geometry.mapping(moved))))


def ragged(rng: np.random.Generator, bounds: Sequence[float], km2: float) -> shapely.Polygon:
    """A polygon of 60 corners and so many km2, somewhere in a box."""
    turn = (np.arange(60) + rng.random(60)) * 2 * np.pi / 60
    far = rng.uniform(0.7, 1, 60)
    unit = shapely.Polygon(np.stack([far * np.cos(turn), far * np.sin(turn)], axis=1))
    scale = math.sqrt(km2 * 1e6 / unit.area)
    x, y = (rng.uniform(low + scale, high - scale) for low, high in zip(bounds[:2], bounds[2:]))
    return shapely.transform(unit, lambda xy: xy * scale + (x, y))


def make(kilometres: int) -> tuple[LatentTile, dict[str, dict[str, Any]]]:
    """A tile of predictions that four models were joined for, and what is known of its species."""
    tile = random_tile(SPECIES, LATENT, kilometres)
    rng = np.random.default_rng(5)
    apart = rng.normal(0, 0.3, (MEMBERS, SPECIES)).astype(np.float32)
    bias = tile.head.bias + apart - apart.mean(axis=0)
    known = traits_of(SPECIES)[list(FLAGS)].set_axis([taxon.taxon_id for taxon in tile.species])
    traits = {str(id): {str(k): v for k, v in row.items() if pd.notna(v)} for id, row in known.to_dict("index").items()}
    return dataclasses.replace(tile, member_bias=bias), traits


def rasters(store: Path, tile: LatentTile, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]:
    """Species evenly over the list, and whether each is in the set of every cell (species, y, x)."""
    held = open_assemblage(store / "assemblage" / f"{tile.tile.id}.zarr", tile.tile.grid)
    chosen = np.linspace(0, SPECIES - 1, count).astype(int)
    place = np.full(SPECIES, -1)
    place[chosen] = np.arange(count)
    cell = np.repeat(np.arange(held.threshold.size), np.diff(held.sets.start))
    k = place[held.sets.species]
    present = np.zeros((count, held.threshold.size), np.uint8)
    present[k[k >= 0], cell[k >= 0]] = 1
    return chosen, present.reshape(count, *held.threshold.shape)


def beside(
    client: Client, tile: LatentTile, store: Path, shapes: Sequence[shapely.Polygon]
) -> tuple[list[float], list[float], float, float]:
    """Seconds of our reports; of exactextract for as many species as were found; the largest difference of a coverage; species found."""
    chosen, present = rasters(store, tile, RASTERS)
    west, south, east, north = tile.tile.bounds
    sources = [NumPyRasterSource(one, xmin=west, ymin=south, xmax=east, ymax=north, name=f"s{k}") for k, one in zip(chosen, present)]
    own, theirs, apart, counts = [], [], 0.0, []
    for shape in shapes:
        answer = client.report(shape)
        told = answer.json()
        start = time.perf_counter()
        found = exact_extract(sources, gpd.GeoDataFrame(geometry=[shape], crs="EPSG:3035"), ["mean"], output="pandas")
        seconds = time.perf_counter() - start
        coverage = {row["taxonID"]: row["coverage"] for row in told["species"]}
        apart = max(apart, *(abs(float(found[f"s{k}_mean"].iloc[0]) - coverage.get(f"s{k}", 0.0)) for k in chosen))
        own.append(answer.seconds)
        theirs.append(seconds * told["count"] / RASTERS)
        counts.append(told["count"])
    return own, theirs, apart, float(np.median(counts))


def p95(answers: Sequence[Answer]) -> float:
    """Milliseconds."""
    return 1e3 * float(np.quantile([one.seconds for one in answers], 0.95))


def peak(server: Server) -> float:
    """The most megabytes resident at once so far, of all the server's processes."""
    found = 0
    for process in server.processes():
        told = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        found += int(told.split("VmHWM:")[1].split()[0])
    return found / 1e3


def questions(store: Path, tile: LatentTile, quick: bool) -> list[Row]:
    """A click, a polygon and the whole tile, each asked until its 95th percentile says something."""
    rng, bounds = np.random.default_rng(1), tile.tile.bounds
    km2 = 1.0 if quick else 10.0
    clicks, polygons, wholes, starts = (60, 12, 3, 1) if quick else (200, 40, 12, 3)
    west, south, east, north = bounds
    colds = []
    for number in range(starts):
        with ours(store, 1, _READY) as server:
            client = Client(server)
            here = client.ask(_click(rng, bounds))
            colds.append((here, client.report(ragged(np.random.default_rng(number), bounds, km2))))
    with ours(store, 1, _READY) as server:
        client = Client(server)
        client.ask(_click(rng, bounds))
        asked = [client.ask(_click(rng, bounds)) for _ in range(clicks)]
        shapes = [ragged(rng, bounds, km2) for _ in range(polygons)]
        client.report(shapes[0])
        warm = [client.report(shape) for shape in shapes]
        whole = [client.report(shapely.box(west, south, east, north)) for _ in range(wholes)]
        most = peak(server)
        own, theirs, apart, species = beside(client, tile, store, shapes[: 4 if quick else 12])
    wrong = sum(one.status != 200 for one in (*asked, *warm, *whole))
    cells = tile.valid.size
    cold_click, cold_area = (1e3 * max(pair[i].seconds for pair in colds) for i in (0, 1))
    size = len(warm[0].body) / 1e6
    ours_s, theirs_s = float(np.median(own)), float(np.median(theirs))
    scaled = f"{RASTERS} rasters of {cells:,} cells in memory, stated for the {species:,.0f} species found"
    return [
        _within("a click, p95", p95(asked), 150, f"{clicks} places; the first of a server, nothing in memory: {cold_click:.0f} ms"),
        _within(f"report of {km2:g} km², p95", p95(warm), 500, f"{polygons} polygons of 60 corners, {species:,.0f} species, {size:.1f} MB of JSON; the first of a server: {cold_area:.0f} ms"),
        _within("report of the whole tile, p95", p95(whole), 3_000, f"{wholes} times, {cells:,} cells, {len(json.loads(whole[0].body)['species']):,} species"),
        Row(name="most memory at once", value=most, unit="MB", reference="resident, the server's whole process, after all of these"),
        Row(name=f"report of {km2:g} km² / exactextract", value=ours_s / theirs_s, unit="x", reference=f"{1e3 * ours_s:.0f} and {1e3 * theirs_s:.0f} ms, medians in turns: {scaled}", target="< 1", ok=ours_s < theirs_s),
        Row(name="largest difference of a coverage from exactextract's", value=apart, unit="", reference=f"{RASTERS} species of each polygon", target="<= 1e-6", ok=apart <= 1e-6),
        Row(name="answers that are not 200", value=wrong, unit="", reference=f"{len(asked) + len(warm) + len(whole)} answers", target="0", ok=not wrong),
    ]  # fmt: skip


def _click(rng: np.random.Generator, bounds: Sequence[float]) -> str:
    west, south, east, north = bounds
    lon, lat = transformer("EPSG:3035", "CRS:84").transform(rng.uniform(west, east), rng.uniform(south, north))
    return f"/api/here?{urlencode({'lon': lon, 'lat': lat})}"


def _within(name: str, milliseconds: float, target: float, reference: str) -> Row:
    return Row(name=name, value=milliseconds, unit="ms", reference=reference, target=f"<= {target:,g}", ok=milliseconds <= target)


# ---- the page


def page(store: Path, quick: bool) -> list[Row]:
    """What a browser fetches until the first map is drawn, and when that is: on a fresh server, nothing in the browser's cache."""
    labels = "first map drawn after page load", "the page, gzip"
    try:
        from playwright.sync_api import sync_playwright

        visits = []
        with ours(store, 1, _READY) as server, sync_playwright() as playwright:
            path = shutil.which("chromium")
            options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=path, args=options)
            visits += [_visit(browser, server) for _ in range(3 if quick else 10)]
            browser.close()
    except Exception as error:  # no browser, or a page that draws nothing: told as a figure that is missing, the others stand
        reason = f"not measured: {str(error).splitlines()[0][:150]}"
        return [Row(name=name, value=math.nan, unit="", reference=reason, target=target, ok=False) for name, target in zip(labels, ("<= 2", "<= 600"))]  # fmt: skip
    drawn, texts, pictures = (list(found) for found in zip(*visits))
    middle, weight = float(np.median(drawn)), max(texts)
    files = sum(
        len(gzip.compress(file.read_bytes())) for file in PAGE.iterdir() if file.suffix in (".html", ".js", ".css", ".json", ".svg")
    )
    return [
        Row(name=labels[0], value=middle, unit="s", reference=f"Chromium, {len(drawn)} visits, the slowest {max(drawn):.2f} s", target="<= 2", ok=middle <= 2),
        Row(name=labels[1], value=weight / 1e3, unit="kB", reference=f"all it fetches at first but pictures of maps, which are {max(pictures) / 1e3:.0f} kB; every file it has: {files / 1e3:.0f} kB", target="<= 600", ok=weight <= 600_000),
    ]  # fmt: skip


def _visit(browser: Any, server: Server) -> tuple[float, int, int]:
    """Seconds from the start of loading to the first map; bytes fetched at first, texts by gzip; those of pictures of maps."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    requests: list[Any] = []
    tab.on("requestfinished", lambda one: requests.append(one))
    with tab.expect_event("requestfinished", predicate=_is_map, timeout=30_000) as first:
        tab.goto(server.url)
    tab.wait_for_load_state("networkidle")
    marked = _marked(tab)
    timing = first.value.timing  # milliseconds since the epoch, and from there on
    start = tab.evaluate("performance.timeOrigin")
    seconds = (marked if marked is not None else timing["startTime"] + timing["responseEnd"] - start) / 1e3
    fetched = [(_is_map(one), _body(one)) for one in list(requests)]
    context.close()
    return seconds, sum(len(gzip.compress(body)) for is_map, body in fetched if not is_map), sum(len(body) for is_map, body in fetched if is_map)  # fmt: skip


def _is_map(request: Any) -> bool:
    return any(path in request.url for path in ("/tiles/", "/wmts", "GetMap"))


def _marked(tab: Any) -> float | None:
    """Milliseconds at which the page says that it has drawn its first map; None where it says nothing within a second."""
    for _ in range(10):
        found = tab.evaluate(_MARK)
        if found is not None:
            return float(found)
        tab.wait_for_timeout(100)
    return None


def _body(request: Any) -> bytes:
    answer = request.response()
    return bytes(answer.body()) if answer and answer.status == 200 else b""


def measure(quick: bool) -> list[Row]:
    """All of it, in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        store = Path(name)
        tile, traits = make(5 if quick else 25)
        layers = [LAYER, *(dataclasses.replace(LAYER, id=f"field{k}", title=f"Field {k}") for k in range(2, INDICATORS + 1))]
        publish_tile(store, tile, layers, traits)
        return [*questions(store, tile, quick), *page(store, quick)]


if __name__ == "__main__":
    main(measure)
