"""Maps over HTTP: ours beside MapServer and titiler, in one run, loaded by wrk.

    python -m benchmarks.serving [--quick] --json FILE

One raster of 5,000 x 5,000 bytes in EPSG:3035: for us a published catalog of 100 meta-tiles, for the others one COG with overviews and
a colour table. 400 random tiles of 256 px in EPSG:3857, levels 7 to 13, as PNG, by 1 and by 8 connections; the same boxes for all, in
turns, medians of the rounds. No server keeps answers. What they draw is decoded and compared first. --quick: one short
round, and ours in one process.

MapServer is Debian's: `apt-get install cgi-mapserver nginx-light wrk`. titiler lives in an environment of its own, `.venv-titiler` (benchmarks/servers.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from PIL import Image
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.transform import from_origin

from benchmarks.mapping import SPECIES, random_tile
from benchmarks.rows import Row, main
from benchmarks.servers import Load, NotInstalled, Server, load, mapserver, mapserver_version, ours, titiler, titiler_version
from geoplantnet.assemblages import LatentTile, write_latent
from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.stores import survey
from geoplantnet.catalog import COG, ZARR, Layer, Product, write_catalog, write_cog, write_item
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.grid import MetaTile, TileGrid
from geoplantnet.serving import styles
from geoplantnet.serving.crs import Bounds

WEST, SOUTH, SIDE, CELL = 4_000_000, 2_500_000, 5_000, 50
"""The raster: lower-left corner (EPSG:3035), cells along a side, metres of a cell."""
EAST, NORTH = WEST + SIDE * CELL, SOUTH + SIDE * CELL
NODATA, SCALE = 255, 0.004
LEVELS = (7, 13)
REQUESTS, PIXELS = 400, 256
LAYERS = 20
"""Layers that the catalog advertises; all show the one raster."""
CONNECTIONS = (1, 8)
APART = 6.0
"""Largest mean difference of a colour channel, of 255, at which two pictures show one map: they interpolate differently."""
INTERVAL = (datetime(2018, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC))
LAYER = Layer(
    id="field",
    title="Field",
    description="Made up.",
    family="Ecosystem",
    asset="field",
    unit="1",
    scale=SCALE,
    nodata=NODATA,
    range=(0.0, 1.0),
)
_WORDS = {"title": "Benchmark", "description": "Made up.", "notice": "Made up.", "license": "CC0-1.0"}
_HALF = 20_037_508.342789244
"""Half the side of the world in EPSG:3857."""
_TO_GRID = pyproj.Transformer.from_crs(3857, 3035, always_xy=True)
_TO_WEB = pyproj.Transformer.from_crs(3035, 3857, always_xy=True)
_PNG = "\\137PNG"
"""How a PNG begins, as Lua writes it."""


@dataclass(frozen=True)
class WebTile:
    """A tile of the WebMercatorQuad: level, column from the west, row from the north."""

    z: int
    x: int
    y: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in EPSG:3857."""
        side = 2 * _HALF / 2**self.z
        return self.x * side - _HALF, _HALF - (self.y + 1) * side, (self.x + 1) * side - _HALF, _HALF - self.y * side

    def centres(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Easting and northing (256, 256) of the pixel centres in EPSG:3035."""
        west, south, east, north = self.bounds
        at = (np.arange(PIXELS) + 0.5) / PIXELS
        return _TO_GRID.transform(*np.meshgrid(west + at * (east - west), north - at * (north - south)))


def tiles(count: int = REQUESTS, seed: int = 1) -> list[WebTile]:
    """Random tiles whose centres lie in the raster, each level as likely."""
    rng, found = np.random.default_rng(seed), list[WebTile]()
    while len(found) < count:
        z = int(rng.integers(LEVELS[0], LEVELS[1] + 1))
        x, y = _TO_WEB.transform(rng.uniform(WEST, EAST), rng.uniform(SOUTH, NORTH))
        side = 2 * _HALF / 2**z
        tile = WebTile(z, math.floor((x + _HALF) / side), math.floor((_HALF - y) / side))
        west, south, east, north = tile.bounds
        easting, northing = _TO_GRID.transform((west + east) / 2, (south + north) / 2)
        if WEST < easting < EAST and SOUTH < northing < NORTH:
            found.append(tile)
    return found


# ---- the raster, in its two shapes


def relief(side: int = SIDE, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Stored numbers (side, side), 0 to 250: hills of five sizes, a little noise, and lowlands without data (a seventh)."""
    rng, out = np.random.default_rng(seed), np.zeros((side, side), np.float32)
    for step in (1_024, 256, 64, 16, 4):
        coarse = Image.fromarray(rng.standard_normal((side // step + 3,) * 2, dtype=np.float32))
        size = coarse.width * step
        out += np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR))[:side, :side] * np.float32((step / 1_024) ** 0.7)
    low, high = np.quantile(out[::10, ::10], (1 / 7, 0.999))
    values = (out - low) * (250 / (high - low)) + rng.standard_normal(out.shape, dtype=np.float32)
    stored = np.clip(np.rint(values), 0, 250).astype(np.uint8)
    stored[out < low] = NODATA
    return stored


def publish(root: Path, stored: npt.NDArray[np.uint8], grid: TileGrid | None = None) -> Path:
    """The raster as a catalog of meta-tiles, by the catalog's own writers; 20 layers show it."""
    grid = grid or TileGrid()
    n, items = grid.cells_per_side, list[Path]()
    for tile in grid.tiles_in(WEST, NORTH - stored.shape[0] * CELL, WEST + stored.shape[1] * CELL, NORTH):
        row, column = round((NORTH - tile.bounds[3]) / CELL), round((tile.bounds[0] - WEST) / CELL)
        items.append(_published(root, tile, stored[row : row + n, column : column + n]))
    layers = [LAYER, *(dataclasses.replace(LAYER, id=f"field{k}", title=f"Field {k}") for k in range(2, LAYERS + 1))]
    overviews = write_overviews(root, items, layers)
    write_catalog(root, **_WORDS, layers=layers, items=items, overviews=overviews)
    return root


def _published(root: Path, tile: MetaTile, stored: npt.NDArray[np.uint8], *others: Product) -> Path:
    path = root / "tiles" / tile.id / "field.tif"
    write_cog(path, stored[None], tile.geobox(), band_names=["field"], nodata=NODATA, scale=SCALE, unit="1")
    field = Product.of(path, key="field", media_type=COG, title="Field", bands=("field",))
    return write_item(root, tile, [field, *others], interval=INTERVAL)


def one_cog(path: Path, stored: npt.NDArray[np.uint8]) -> Path:
    """The raster as one COG with averaged overviews and our colours as its colour table."""
    whole = path.with_suffix(".whole.tif")
    profile = {"driver": "GTiff", "dtype": "uint8", "crs": "EPSG:3035", "nodata": NODATA, "tiled": True}
    with rasterio.open(whole, "w", width=stored.shape[1], height=stored.shape[0], count=1, transform=from_origin(WEST, NORTH, CELL, CELL), **profile) as file:  # fmt: skip
        file.write(stored, 1)
    with rasterio.open(whole, "r+") as file:
        file.build_overviews([2**k for k in range(1, 10) if min(stored.shape) >> k >= 128], Resampling.average)
    with rasterio.open(whole, "r+") as file:  # after the overviews: GDAL would average colours instead of values
        file.write_colormap(1, {value: (*color, 255) for value, color in enumerate(colors().tolist())})
    copy(whole, path, driver="COG", compress="deflate", blocksize=256, overviews="FORCE_USE_EXISTING")
    whole.unlink()
    return path


def colors() -> npt.NDArray[np.uint8]:
    """The RGB (255, 3) of stored numbers in the layer's default style."""
    ramp, values = styles.colors(LAYER), np.clip(np.arange(NODATA) * SCALE, 0, 1)
    return ramp[(values * (len(ramp) - 1)).round().astype(int)]


# ---- what is asked, and what must come


def wms(tile: WebTile, path: str = "/wms", layer: str = LAYER.id, image: str = "image/png", **more: object) -> str:
    """A request of WMS 1.3.0 for a tile."""
    box = ",".join(f"{v:.6f}" for v in tile.bounds)
    query = {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": layer, "STYLES": "", "CRS": "EPSG:3857", "BBOX": box}
    return f"{path}?{urlencode({**query, 'WIDTH': PIXELS, 'HEIGHT': PIXELS, 'FORMAT': image, 'TRANSPARENT': 'TRUE', **more})}"


def titiler_tile(tile: WebTile, raster: Path) -> str:
    return f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png?{urlencode({'url': raster, 'tilesize': PIXELS})}"


def wmts(tile: WebTile) -> str:
    query = {"SERVICE": "WMTS", "VERSION": "1.0.0", "REQUEST": "GetTile", "LAYER": LAYER.id, "STYLE": "default", "FORMAT": "image/png", "TILEMATRIXSET": "WebMercatorQuad"}  # fmt: skip
    return f"/wmts?{urlencode({**query, 'TILEMATRIX': tile.z, 'TILEROW': tile.y, 'TILECOL': tile.x})}"


def xyz(tile: WebTile, layer: str = LAYER.id) -> str:
    return f"/tiles/{layer}/{tile.z}/{tile.x}/{tile.y}.png"


class Reference:
    """The picture of a tile by the plainest means: every pixel's centre transformed, the nearest cell of averages of 2^k cells."""

    def __init__(self, stored: npt.NDArray[np.uint8]) -> None:
        self._levels = [np.ma.masked_equal(stored, NODATA)]
        for _ in range(4):
            rows, columns = self._levels[-1].shape
            even = np.ma.masked_all((rows + rows % 2, columns + columns % 2))
            even[:rows, :columns] = self._levels[-1]
            self._levels.append(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean((1, 3)))

    def draw(self, tile: WebTile) -> npt.NDArray[np.uint8]:
        """(256, 256, 4), transparent where there is no data."""
        easting, northing = tile.centres()
        pixel = math.hypot(easting[128, 128] - easting[128, 127], northing[128, 128] - northing[128, 127])
        k = min(max(0, math.floor(math.log2(pixel / CELL))), len(self._levels) - 1)
        cells = self._levels[k]
        column, row = np.floor((easting - WEST) / CELL / 2**k).astype(int), np.floor((NORTH - northing) / CELL / 2**k).astype(int)
        inside = (column >= 0) & (column < cells.shape[1]) & (row >= 0) & (row < cells.shape[0])
        found = np.ma.masked_all((PIXELS, PIXELS))
        found[inside] = cells[row[inside], column[inside]]
        out = np.zeros((PIXELS, PIXELS, 4), np.uint8)
        out[..., :3] = colors()[np.ma.filled(found, 0).round().astype(int)]
        out[..., 3] = np.where(np.ma.getmaskarray(found), 0, 255)
        return out


def compare(png: bytes, due: npt.NDArray[np.uint8]) -> tuple[float, bool]:
    """How far a picture is from the due one (`apart`), and whether it is the same map: near, and no nearer when shifted by two pixels.

    Raises OSError for what is no picture of 256 x 256.
    """
    with Image.open(io.BytesIO(png)) as image:
        drawn = np.asarray(image.convert("RGBA"))
    if drawn.shape != due.shape:
        raise OSError(f"a picture of {drawn.shape[1]} x {drawn.shape[0]} pixels")
    shifts = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))
    here, *shifted = (apart(drawn[2 + y : PIXELS - 2 + y, 2 + x : PIXELS - 2 + x], due[2:-2, 2:-2]) for x, y in shifts)
    return here, here <= min(APART, *shifted)


def apart(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Mean difference of a colour channel of two pictures (y, x, 4), of 255; a pixel that only one of them shows differs wholly."""
    shown = (one[..., 3] > 127), (other[..., 3] > 127)
    differ = np.abs(one[..., :3].astype(np.int16) - other[..., :3]).mean(axis=2)
    return float(np.where(shown[0] & shown[1], differ, 255.0 * (shown[0] != shown[1])).mean())


# ---- measuring


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A server, and how it is asked for the tiles."""

    name: str
    server: Server
    paths: Sequence[str]
    """In the order of the tiles."""


def compared(contestants: Sequence[Contestant], wanted: Sequence[WebTile], reference: Reference) -> dict[str, tuple[int, float]]:
    """Of each contestant: how many of its maps are not the raster's, and the mean difference of its pictures (`apart`)."""
    wrong, differences = {one.name: 0 for one in contestants}, {one.name: list[float]() for one in contestants}
    for k, tile in enumerate(wanted):
        due = reference.draw(tile)
        for one in contestants:
            status, body = one.server.get(one.paths[k])
            try:
                difference, same = compare(body, due)
            except OSError:
                wrong[one.name] += 1
                continue
            differences[one.name].append(difference)
            wrong[one.name] += status != 200 or not same
    return {name: (wrong[name], statistics.fmean(found) if found else math.nan) for name, found in differences.items()}


def contest(contestants: Sequence[Contestant], rounds: int, seconds: float, folder: Path) -> dict[tuple[str, int], list[Load]]:
    """Loads of each contestant and number of connections, in turns: what disturbs the machine disturbs them all."""
    found: dict[tuple[str, int], list[Load]] = {}
    for number in range(rounds):
        for connections in CONNECTIONS:
            for one in contestants:
                first = number * len(one.paths) // rounds
                found.setdefault((one.name, connections), []).append(
                    load(one.server, one.paths, connections=connections, seconds=seconds, folder=folder, begins=_PNG, first=first)
                )
    return found


def middle(loads: Sequence[Load], what: str) -> float:
    """The median of a figure over the rounds; NaN where one had no answer."""
    return float(np.median([getattr(one, what) for one in loads]))


def told(loads: Sequence[Load]) -> str:
    """What wrk saw, in words."""
    return f"{middle(loads, 'rate'):.0f} a second, p50 {middle(loads, 'p50'):.1f} ms, p95 {middle(loads, 'p95'):.1f} ms, {sum(one.errors for one in loads)} errors in {sum(one.requests for one in loads):,} answers"


def overload(server: Server, paths: Sequence[str], *, seconds: float, clients: int, past: int, folder: Path) -> tuple[Load, Load]:
    """So many clients for so long, then for a fifth of the time more of them, and of work, than the server takes: `past`, maps of 1,024 px."""
    at_work = load(server, paths, connections=clients, seconds=seconds, folder=folder)
    large = [path.replace(f"WIDTH={PIXELS}", "WIDTH=1024").replace(f"HEIGHT={PIXELS}", "HEIGHT=1024") for path in paths]
    return at_work, load(server, large, connections=past, seconds=max(2.0, seconds / 5), folder=folder)


def side_by_side(folder: Path, store: Path, stored: npt.NDArray[np.uint8], quick: bool) -> list[Row]:
    """Rows of the contest, of starting, and of memory after it."""
    wanted, raster = tiles(), one_cog(folder / "one.tif", stored)
    maps, fast = ([wms(tile, "/", image=f"image/png; mode={mode}") for tile in wanted] for mode in ("8bit", "8bit-fast"))
    lacking: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        mine = [wms(tile) for tile in wanted]
        contestants = [
            Contestant(name=f"ours, {n} process{'es' * (n > 1)}", server=stack.enter_context(ours(store, n, mine[0])), paths=mine)
            for n in ((1,) if quick else (1, 2))
        ]
        try:
            server = stack.enter_context(mapserver(raster, folder / "mapserver", maps[0]))
            contestants += [
                Contestant(name="MapServer", server=server, paths=maps),
                *([] if quick else [Contestant(name="MapServer, PNG of level 1", server=server, paths=fast)]),
            ]
        except NotInstalled as error:
            lacking["MapServer"] = str(error)
        try:
            asked = [titiler_tile(tile, raster) for tile in wanted]
            contestants.append(Contestant(name="titiler", server=stack.enter_context(titiler(asked[0])), paths=asked))
        except NotInstalled as error:
            lacking["titiler"] = str(error)
        looks = compared(contestants, wanted[:24] if quick else wanted, Reference(stored))
        for one in [] if quick else contestants:  # both processes read every file
            load(one.server, one.paths, connections=8, seconds=4, folder=folder)
        loads = contest(contestants, *((1, 1.0) if quick else (5, 3.0)), folder)
        memory = {one.name: one.server.memory() for one in contestants}
    started = {one.name: one.server.started for one in contestants}
    return [
        *contest_rows(loads, looks, lacking),
        *(_beside(f"start to first map, {name}", started, name, "s") for name in started if name.startswith("ours")),
        *(_beside(f"resident memory after the load, {name}", memory, name, "MB") for name in memory if name.startswith("ours")),
    ]


def contest_rows(
    loads: Mapping[tuple[str, int], list[Load]], looks: Mapping[str, tuple[int, float]], lacking: Mapping[str, str]
) -> list[Row]:
    """What the contest showed: `loads` by contestant and connections, `looks` (`compared`), and why which reference is `lacking`."""
    rows = []
    versions = {"MapServer": mapserver_version(), "titiler": titiler_version()}
    for (name, connections), found in loads.items():
        full = next((name.replace(short, f"{short} {version}") for short, version in versions.items() if name.startswith(short)), name)
        rows.append(Row(name=f"a map, {_by(connections)}, {full}", value=middle(found, "cpu"), unit="CPU-ms", reference=told(found)))
    rows += [_skipped(f"a map, {short}", reason) for short, reason in lacking.items()]
    for connections in CONNECTIONS:
        theirs = loads.get(("MapServer", connections))
        for name in (name for name, c in loads if c == connections and name.startswith("ours")):
            own = loads[name, connections]
            for what, unit, target, limit in (("cpu", "CPU-ms", "<= 0.5", 0.5), ("p95", "ms", "< 1", 1.0)):
                label = f"{'CPU' if what == 'cpu' else what} of a map, {_by(connections)}, {name} / MapServer"
                if theirs is None:
                    rows.append(_skipped(label, lacking["MapServer"], target))
                    continue
                a, b = middle(own, what), middle(theirs, what)
                ok = a / b <= limit if what == "cpu" else a / b < limit
                rows.append(Row(name=label, value=a / b, unit="x", reference=f"{a:.2f} and {b:.2f} {unit}", target=target, ok=ok))
    for name in looks:
        bad = sum(one.errors for (other, _), found in loads.items() if other == name for one in found)
        wrong, difference = looks[name]
        said = f"{bad} bad answers under load; of those compared {wrong} unlike the raster, mean difference of a colour {difference:.1f} of 255"
        mine = name.startswith("ours")
        rows.append(Row(name=f"errors, {name}", value=bad + wrong, unit="", reference=said, target="0" if mine else "", ok=not mine or bad + wrong == 0))  # fmt: skip
    return rows


def _by(connections: int) -> str:
    return f"{connections} connection{'s' * (connections > 1)}"


def _beside(label: str, figures: Mapping[str, float], name: str, unit: str) -> Row:
    others = ", ".join(f"{other} {value:.3g}" for other, value in figures.items() if not other.startswith(("ours", "MapServer,")))
    return Row(name=label, value=figures[name], unit=unit, reference=others)


def _skipped(label: str, reason: str, target: str = "") -> Row:
    return Row(name=label, value=math.nan, unit="", reference=reason, target=target, ok=False)


def other_questions(folder: Path, store: Path, quick: bool) -> list[Row]:
    """What else clients ask of us, one process."""
    wanted = tiles()
    seconds = 1.0 if quick else 5.0
    rng, info = np.random.default_rng(2), list[str]()
    for tile in wanted:
        i, j = (int(v) for v in rng.integers(0, PIXELS, 2))
        info.append(wms(tile, REQUEST="GetFeatureInfo", QUERY_LAYERS=LAYER.id, INFO_FORMAT="application/json", I=i, J=j))
    asked = {
        "WMTS tile": ([wmts(tile) for tile in wanted], _PNG),
        "XYZ tile": ([xyz(tile) for tile in wanted], _PNG),
        "GetFeatureInfo": (info, "{"),
        "/ogc/collections": (["/ogc/collections?f=json"], "{"),
        f"GetCapabilities of {LAYERS} layers": (["/wms?SERVICE=WMS&REQUEST=GetCapabilities"], "<?xml"),
    }
    rows = []
    with ours(store, 1, wms(wanted[0])) as server:
        for name, (paths, begins) in asked.items():
            status, body = server.get(paths[0])
            if status != 200:
                rows.append(_skipped(name, f"skipped: {paths[0].partition('?')[0]} answers {status}"))
                continue
            for connections in CONNECTIONS[: 1 if quick else None]:
                found = load(server, paths, connections=connections, seconds=seconds, folder=folder, begins=begins)
                size = "" if begins == _PNG else f"; {len(body) / 1e3:.1f} kB"
                rows.append(Row(name=f"{name}, {_by(connections)}", value=found.cpu, unit="CPU-ms", reference=told([found]) + size, target="0 errors", ok=not found.errors))  # fmt: skip
        clients, past = 32, 128 if quick else 512
        at_work, beyond = overload(server, [wms(tile) for tile in wanted], seconds=1 if quick else 60, clients=clients, past=past, folder=folder)  # fmt: skip
    statuses = ", ".join(f"{count:,} of {status}" for status, count in sorted(beyond.statuses.items()))
    strange = beyond.broken + sum(count for status, count in beyond.statuses.items() if status not in (200, 503))
    return [
        *rows,
        Row(name=f"errors, {clients} clients for {at_work.seconds:.0f} s", value=at_work.errors, unit="", reference=told([at_work]), target="0", ok=at_work.errors == 0),
        Row(name=f"neither maps nor 503, maps of 1,024 px, {past} clients for {beyond.seconds:.0f} s", value=strange, unit="", reference=statuses + ("" if 503 in beyond.statuses else ": no limit met"), target="0", ok=strange == 0),
    ]  # fmt: skip


def species_maps(folder: Path, quick: bool) -> list[Row]:
    """Maps of species drawn from the latent tile, each species asked once: nothing of it is kept from before."""
    grid = TileGrid(tile_size=5_000 if quick else 25_000)
    store = folder / "species"
    west, south, east, north = publish_species(store, grid)
    rng, paths = np.random.default_rng(4), list[str]()
    for k in rng.permutation(SPECIES):
        x, y = _TO_WEB.transform(rng.uniform(west, east), rng.uniform(south, north))
        z = int(rng.integers(10, 14))
        side = 2 * _HALF / 2**z
        paths.append(wms(WebTile(z, math.floor((x + _HALF) / side), math.floor((_HALF - y) / side)), layer=f"species.s{k}"))
    label = f"map of one of {SPECIES:,} species, never asked before"
    with ours(store, 1, wms(tiles(1)[0])) as server:
        status, _ = server.get(paths[-1])
        if status != 200:
            return [_skipped(label, f"skipped: layer species.<taxonID> answers {status}")]
        rows, first = [], 0
        for connections in CONNECTIONS:
            found = load(server, paths, connections=connections, seconds=1 if quick else 5, folder=folder, begins=_PNG, first=first)
            first += found.sent
            again = f"; {first - SPECIES:,} asked twice" if first > SPECIES else ""
            rows.append(Row(name=f"{label}, {_by(connections)}", value=found.cpu, unit="CPU-ms", reference=told([found]) + again, target="0 errors", ok=not found.errors))  # fmt: skip
        return [*rows, Row(name="resident memory after them", value=server.memory(), unit="MB", reference=f"latent tile of {grid.tile_size // 1_000} km, 10,000 x 256")]  # fmt: skip


def publish_species(store: Path, grid: TileGrid) -> Bounds:
    """A catalog of one tile of predictions, 10,000 species x 256, with its species sets and the overview; its box in EPSG:3035."""
    made = random_tile(SPECIES, 256, grid.tile_size // 1_000)
    publish_tile(store, made, [LAYER])
    return made.tile.bounds


def publish_tile(store: Path, made: LatentTile, layers: Sequence[Layer], traits: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """A catalog of a tile of predictions, with its species sets, what is known of its species, and layers that all show `relief`."""
    predictions, sets = (store / kind / f"{made.tile.id}.zarr" for kind in ("latent", "assemblage"))
    for file in (predictions, sets):
        file.parent.mkdir(parents=True)
    write_latent(made, predictions)
    found = survey(made, {})
    kept = Assemblage(tile=made.tile, species=len(made.species), list_hash=made.species.hash, threshold=found.threshold, sets=found.sets, means=found.means)  # fmt: skip
    write_assemblage(kept, sets)
    products = [Product.of(predictions, key="latent", media_type=ZARR, title="p"), Product.of(sets, key="assemblage", media_type=ZARR, title="sets")]  # fmt: skip
    items = [_published(store, made.tile, relief(made.tile.grid.cells_per_side), *products)]
    overviews = write_overviews(store, items, layers, species=made.species, traits=traits)
    write_catalog(store, **_WORDS, layers=layers, items=items, overviews=overviews)


def measure(quick: bool) -> list[Row]:
    """All of it, in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stored = relief()
        store = publish(folder / "store", stored)
        try:
            return [*side_by_side(folder, store, stored, quick), *other_questions(folder, store, quick), *species_maps(folder, quick)]
        except NotInstalled as error:  # without wrk nothing can be loaded
            return [_skipped("maps over HTTP", str(error), "measured")]


if __name__ == "__main__":
    main(measure)
