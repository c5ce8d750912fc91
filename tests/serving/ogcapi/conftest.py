"""A published store with species, their sets, coverage and records: two small tiles, a scenario, five species that can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import httpx
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from starlette.testclient import TestClient

from geoplantnet.assemblages.assemblage import open_assemblage, write_assemblage
from geoplantnet.assemblages.dense import assembled, open_dense, write_dense
from geoplantnet.assemblages.reporting import reporting_tables
from geoplantnet.catalog import COG, Layer, LegendClass, Product, write_catalog, write_cog, write_item
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.catalog.product import GEOPACKAGE, ZARR
from geoplantnet.grid import MetaTile, TileGrid
from geoplantnet.serving import create_app
from geoplantnet.serving.settings import ServerSettings
from geoplantnet.taxonomy import SpeciesList, Taxon
from geoplantnet.taxonomy.traits import TRAITS

GRID = TileGrid(tile_size=5_000, cell_size=100)
TILES = ("5kmE4100N2550", "5kmE4105N2550")
CELL = 1_000
"""Metres of the reporting cells: twenty-five a tile."""
NOTICE = "Predicted, not observed."
TODAY = (datetime(2017, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC))
WARMER = (datetime(2070, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC))
SPECIES = SpeciesList(
    checklist="test",
    taxa=tuple(
        Taxon(taxon_id=id, scientific_name=name, genus=name.split()[0], family=family, vernacular_name=common)
        for id, name, family, common in (
            ("abies-alba", "Abies alba", "Pinaceae", "silver fir"),
            ("fagus-sylvatica", "Fagus sylvatica", "Fagaceae", "beech"),
            ("gentiana-lutea", "Gentiana lutea", "Gentianaceae", ""),
            ("impatiens-glandulifera", "Impatiens glandulifera", "Balsaminaceae", "Himalayan balsam"),
            ("cypripedium-calceolus", "Cypripedium calceolus", "Orchidaceae", "lady's slipper"),
        )
    ),
)
KNOWN = pd.DataFrame(
    {
        "tree": [1.0, 1.0, 0.0, 0.0, 0.0],
        "woody": [1.0, 1.0, 0.0, 0.0, 0.0],
        "invasive": [0.0, 0.0, 0.0, 1.0, 0.0],
        "eu_directive": [0.0, 0.0, np.nan, 0.0, 1.0],
        "rare": [0.0, 0.0, np.nan, 0.0, 1.0],
        "iucn": ["LC", "LC", None, None, "VU"],
        "range_squares": [40.0, 50.0, 12.0, 30.0, 3.0],
        "specialisation": [0.1, 0.2, 0.5, 0.3, np.nan],
    },
    index=[taxon.taxon_id for taxon in SPECIES],
)
RICHNESS = Layer(
    id="richness",
    title="Species richness",
    description="Expected number of species.",
    family="Ecosystem",
    asset="richness",
    unit="species",
    nodata=float("nan"),
    range=(0.0, 5.0),
)
HABITAT = Layer(
    id="habitat",
    title="Habitat",
    description="Most likely habitat.",
    family="Habitat",
    asset="habitat",
    unit="class",
    nodata=0,
    classes=(LegendClass(value=1, label="Woodland", color="#1b7837"), LegendClass(value=2, label="Grassland", color="#a6dba0")),
)
LAYERS = (RICHNESS, HABITAT)


def probabilities(tile: MetaTile, shift: float = 0.0) -> npt.NDArray[np.float32]:
    """(species, y, x), NaN in the northern two rows: rising to the east, to the north, here and there, rarely, in one corner."""
    box = tile.geobox()
    x = (box.coordinates["x"].values[None, :] - 4_100_000) / 10_000
    y = (box.coordinates["y"].values[:, None] - 2_550_000) / 5_000
    rng = np.random.default_rng(tile.west // 1000)
    p = np.stack(
        [
            np.broadcast_to(x, box.shape),
            np.broadcast_to(y, box.shape),
            rng.random(box.shape) * 0.6,
            np.broadcast_to(0.9 * (x > 0.8), box.shape),
            0.8 * ((x < 0.05) & (y < 0.1)),
        ]
    ).astype(np.float32)
    p = np.clip(p + shift, 0, 1)
    p[:, :2] = np.nan
    return p


def publish(root: Path, interval: tuple[datetime, datetime], title: str, shift: float = 0.0) -> Path:
    """Write a store of two tiles."""
    items = []
    for tile_id in TILES:
        tile = GRID.tile(tile_id)
        folder, box, p = root / "tiles" / tile_id, tile.geobox(), probabilities(tile, shift)
        folder.mkdir(parents=True)
        dense, sets = root / "dense" / f"{tile_id}.zarr", root / "assemblage" / f"{tile_id}.zarr"
        dense.parent.mkdir(exist_ok=True)
        sets.parent.mkdir(exist_ok=True)
        write_dense(lambda p=p: iter([(slice(0, len(SPECIES)), p)]), dense, tile=tile, species=SPECIES, dtype="uint16")
        opened = open_dense(dense, GRID)
        write_assemblage(assembled(opened), sets)
        cells, rows = reporting_tables(open_assemblage(sets, GRID), SPECIES, CELL)
        write_coverage(folder / "coverage.gpkg", cells, rows, {"title": "Species coverage"})
        rich = p.sum(axis=0)
        write_cog(folder / "richness.tif", rich[None], box, band_names=["richness"], nodata=float("nan"), unit="species")
        habitat = np.where(p[0] > p[1], 1, 2).astype(np.uint8)
        habitat[np.isnan(p[0])] = 0
        write_cog(folder / "habitat.tif", habitat[None], box, band_names=["habitat"], nodata=0, unit="class", overview_resampling="mode")
        products = [
            Product.of(folder / "richness.tif", key="richness", media_type=COG, title="Richness"),
            Product.of(folder / "habitat.tif", key="habitat", media_type=COG, title="Habitat"),
            Product.of(folder / "coverage.gpkg", key="coverage", media_type=GEOPACKAGE, title="Species coverage"),
            Product.of(dense, key="dense", media_type=ZARR, title="Probabilities"),
            Product.of(sets, key="assemblage", media_type=ZARR, title="Species sets"),
        ]
        items.append(write_item(root, tile, products, interval=interval))
    traits = {id: {name: value for name, value in row.items() if pd.notna(value)} for id, row in KNOWN.to_dict("index").items()}
    overviews = write_overviews(root, items, LAYERS, species=SPECIES, traits=traits)
    words = {"title": title, "description": "Two tiles.", "notice": NOTICE, "license": "CC-BY-4.0"}
    write_catalog(root, **words, layers=LAYERS, items=items, overviews=overviews)
    return root


def records(root: Path) -> None:
    """Four records, one of them very uncertain, one without any word of it, one absent."""
    folder = root / "occurrences" / "records"
    folder.mkdir(parents=True)
    events = pd.DataFrame(
        {
            "eventID": ["e1", "e2", "e3"],
            "x": [4_100_123.4, 4_103_210.0, 4_107_777.0],
            "y": [2_550_987.6, 2_552_345.0, 2_553_333.0],
            "coordinateUncertaintyInMeters": [5.0, 3_000.0, np.nan],
            "year": [2019.0, np.nan, 2021.0],
            "sampling": "presence-absence",
            "datasetID": ["survey", "survey", "herbarium"],
        }
    )
    rows = pd.DataFrame(
        {
            "eventID": ["e1", "e1", "e2", "e3"],
            "taxonID": ["abies-alba", "cypripedium-calceolus", "abies-alba", "fagus-sylvatica"],
            "scientificName": ["Abies alba", "Cypripedium calceolus", "Abies alba", "Fagus sylvatica"],
            "occurrenceStatus": ["present", "present", "absent", "present"],
        }
    )
    events.to_parquet(folder / "events.parquet")
    rows.to_parquet(folder / "occurrences.parquet")


@pytest.fixture(scope="session")
def plants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the store, to be read only."""
    root = publish(tmp_path_factory.mktemp("plants"), TODAY, "Plants")
    publish(root / "scenarios" / "warmer", WARMER, "Plants, warmer", shift=0.15)
    records(root)
    return root


@pytest.fixture(scope="session")
def flora(plants: Path) -> Iterator[TestClient]:
    """A client of the store as it is served without further settings."""
    with TestClient(create_app(plants), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def serving(plants: Path) -> Iterator[Callable[..., httpx.Client]]:
    """Makes a client of the store, served with these settings."""
    made: list[TestClient] = []

    def make(**settings: object) -> TestClient:
        client = TestClient(create_app(plants, settings=ServerSettings(**settings)), raise_server_exceptions=False)  # type: ignore[arg-type]
        made.append(client)
        return client.__enter__()

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def coverage_rows() -> Callable[[Path], gpd.GeoDataFrame]:
    """All rows of a store's GeoPackages with their polygons, by tile, cell and taxon: read by GDAL."""

    def read(root: Path) -> gpd.GeoDataFrame:
        parts = []
        for tile_id in TILES:
            path = root / "tiles" / tile_id / "coverage.gpkg"
            cells = gpd.read_file(path, layer="reporting_cells")
            rows = gpd.read_file(
                path, layer="species_coverage", columns=["cell_id", "taxonID", "scientificName", "coverage", "mean_probability"]
            )
            parts.append(cells.merge(pd.DataFrame(rows).drop(columns="geometry", errors="ignore"), on="cell_id").assign(tile_id=tile_id))
        joined = gpd.GeoDataFrame(pd.concat(parts), crs="EPSG:3035")
        return joined.sort_values(["tile_id", "cell_id", "taxonID"], ignore_index=True)

    return read


@pytest.fixture(scope="session")
def known() -> pd.DataFrame:
    """The traits of the species."""
    assert set(TRAITS) <= set(KNOWN)
    return KNOWN
