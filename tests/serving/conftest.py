"""A small published catalog, made by the catalog's own writers, and a server over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import uvicorn

from geoplantnet.catalog import COG, Catalog, Layer, LegendClass, Product, open_catalog, write_catalog, write_cog, write_item
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.grid import MetaTile, TileGrid
from geoplantnet.serving import Mosaic, create_app
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.settings import ServerSettings
from tests.serving.epochs import publish_epochs

# Three tiles of a square of four: the hole in the south-east makes every mirrored or rotated map visible.
TILES = ("25kmE4100N2550", "25kmE4100N2575", "25kmE4125N2575")
WEST, SOUTH, EAST, NORTH = 4_100_000, 2_550_000, 4_150_000, 2_600_000
NOTICE = "Predicted, not observed."
INTERVAL = (datetime(2017, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC))

RICHNESS = Layer(
    id="richness",
    title="Species richness",
    description="Expected number of species in a plot of 200 m².",
    family="Ecosystem",
    asset="richness",
    unit="species",
    nodata=float("nan"),
    range=(0.0, 120.0),
    direction="yellow = many species",
    attribution="the makers of <this> map & others",
)
HABITAT = Layer(
    id="habitat",
    title="Habitat",
    description="Most likely EUNIS habitat.",
    family="Habitat",
    asset="habitat",
    unit="class",
    nodata=0,
    classes=(
        LegendClass(value=1, label="Woodland", color="#1b7837"),
        LegendClass(value=2, label="Grassland", color="#a6dba0"),
        LegendClass(value=7, label="Sparsely vegetated", color="#999999"),
    ),
)
RELIEF = Layer(
    id="relief",
    title="Relief",
    description="Hillshade.",
    family="Terrain",
    asset="relief",
    unit="1",
    nodata=0,
    range=(1.0, 255.0),
    palette="grey",
)
SPECIES = tuple(
    Layer(
        id=f"species.v{i:03d}",
        title=name,
        description="Probability of presence in a plot of 200 m².",
        family="Species",
        asset="species",
        band=i,
        unit="1",
        scale=0.004,
        nodata=255,
        direction="yellow = likely",
    )
    for i, name in enumerate(("Abies alba", "Fagus sylvatica", "Gentiana lutea"), start=1)
)
LAYERS = (*SPECIES, HABITAT, RICHNESS, RELIEF)


def richness(east: npt.NDArray[np.float64], north: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear in place, so that bilinear interpolation is exact; rises twice as fast to the north as to the east."""
    return 10 + (east - WEST) / 1000 + 2 * (north - SOUTH) / 2500


def habitat(east: npt.NDArray[np.float64], north: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Woodland, with grassland in the north-west corner of the area (10 km by 5 km) and one sparse cell."""
    classes = np.ones(np.broadcast_shapes(east.shape, north.shape), np.uint8)
    classes[(east < WEST + 10_000) & (north > NORTH - 5_000)] = 2
    classes[(east // 50 == (WEST + 20_000) // 50) & (north // 50 == (SOUTH + 30_000) // 50)] = 7
    return classes


class World:
    """What the published maps hold: for tests to compare with."""

    west, south, east, north = WEST, SOUTH, EAST, NORTH
    tiles = TILES
    notice = NOTICE
    richness = staticmethod(richness)
    habitat = staticmethod(habitat)

    @staticmethod
    def holds(east: npt.ArrayLike, north: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether a tile holds a point."""
        x, y = np.asarray(east), np.asarray(north)
        inside = (x >= WEST) & (x < EAST) & (y > SOUTH) & (y <= NORTH)
        return inside & ~((x >= WEST + 25_000) & (y <= SOUTH + 25_000))


def publish(root: Path) -> Path:
    """Write the catalog."""
    grid = TileGrid()
    items = [_publish_tile(root, grid.tile(tile_id)) for tile_id in TILES]
    overviews = write_overviews(root, items, LAYERS)
    words = {"title": "Test maps", "description": "Three tiles.", "notice": NOTICE, "license": "CC-BY-4.0"}
    write_catalog(root, **words, layers=LAYERS, items=items, overviews=overviews)
    return root


def _publish_tile(root: Path, tile: MetaTile) -> Path:
    box = tile.geobox()
    x, y = box.coordinates["x"].values[None, :], box.coordinates["y"].values[:, None]
    step = np.arange(box.shape[0] * box.shape[1]).reshape(box.shape) % 251
    rich = richness(x, y).astype(np.float32)
    if tile.id == TILES[0]:
        rich[-20:, :30] = np.nan
    species = np.stack([(step + 60 * band) % 251 for band in range(3)]).astype(np.uint8)
    species[:, 100:140, 200:260] = 255
    folder = root / "tiles" / tile.id
    rasters: dict[str, tuple[npt.NDArray[np.generic], dict[str, object]]] = {
        "richness": (rich[None], {"nodata": float("nan"), "unit": "species"}),
        "habitat": (habitat(x, y)[None], {"nodata": 0, "unit": "class", "overview_resampling": "mode"}),
        "relief": ((1 + step % 255).astype(np.uint8)[None], {"nodata": 0, "unit": "1"}),
        "species": (species, {"nodata": 255, "scale": 0.004, "unit": "1"}),
    }
    products = []
    for key, (array, options) in rasters.items():
        names = [f"v{i:03d}" for i in (1, 2, 3)] if key == "species" else [key]
        path = write_cog(folder / f"{key}.tif", array, box, band_names=names, **options)  # type: ignore[arg-type]
        products.append(Product.of(path, key=key, media_type=COG, title=key, bands=tuple(names)))
    return write_item(root, tile, products, interval=INTERVAL)


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def catalog(store: Path) -> Catalog:
    return open_catalog(store)


@pytest.fixture(scope="session")
def mosaic(catalog: Catalog) -> Iterator[Mosaic]:
    mosaic = Mosaic(catalog)
    yield mosaic
    mosaic.close()


@pytest.fixture(scope="session")
def atlas(store: Path) -> Iterator[Atlas]:
    atlas = open_atlas(store)
    yield atlas
    atlas.close()


@pytest.fixture(scope="session")
def server(store: Path) -> Iterator[str]:
    """The URL of the application answering on a free port of this machine."""
    yield from serving(store)


def serving(store: Path, **settings: Any) -> Iterator[str]:
    """The URL of a server over a store, with these of the operator's settings."""
    app = create_app(store, settings=ServerSettings(**settings))
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[httpx.Client]:
    """A client of the running application."""
    with httpx.Client(base_url=server, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def epochs_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of today and a scenario, with indicators that have uncertainty and an area of applicability, and species."""
    return publish_epochs(tmp_path_factory.mktemp("epochs"))


@pytest.fixture(scope="session")
def epochs_atlas(epochs_store: Path) -> Iterator[Atlas]:
    atlas = open_atlas(epochs_store)
    yield atlas
    atlas.close()


@pytest.fixture(scope="session")
def epochs_client(epochs_store: Path) -> Iterator[httpx.Client]:
    """A client of a server over `epochs_store`."""
    for url in serving(epochs_store):
        with httpx.Client(base_url=url, timeout=30) as client:
            yield client
