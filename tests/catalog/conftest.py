"""A tiny published store: two tiles of 5 km, each with a COG, a GeoPackage and a directory asset."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from geoplantnet.assemblages.coverage import reporting_cells
from geoplantnet.catalog import (
    COG,
    GEOPACKAGE,
    ZARR,
    Layer,
    LegendClass,
    Product,
    TileCoverage,
    encode,
    write_catalog,
    write_cog,
    write_coverage,
    write_item,
)
from geoplantnet.grid import MetaTile, TileGrid

GRID = TileGrid(tile_size=5000, cell_size=50)
TILES = ("5kmE4125N2575", "5kmE4130N2575")
INTERVAL = (datetime(2018, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC))
LAYERS = (
    Layer(
        id="species.a",
        title="Abies alba",
        description="suitability",
        family="Species",
        asset="suitability",
        band=1,
        scale=0.004,
        nodata=255,
    ),
    Layer(
        id="species.b",
        title="Betula nana",
        description="suitability",
        family="Species",
        asset="suitability",
        band=2,
        scale=0.004,
        nodata=255,
    ),
    Layer(
        id="iucn-worst",
        title="Worst IUCN category",
        description="",
        family="Conservation",
        asset="iucn",
        unit="class",
        nodata=0,
        classes=(LegendClass(value=1, label="LC", color="#00ff00"), LegendClass(value=2, label="VU", color="#ffaa00")),
    ),
)


def coverage_tables(tile: MetaTile) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    west, south, east, north = tile.bounds
    middle = (west + east) / 2
    cells = gpd.GeoDataFrame(
        {"cell_id": ["w", "e"], "n_cells": [5000, 5000], "valid_cells": [4000, 5000]},
        geometry=[box(west, south, middle, north), box(middle, south, east, north)],
        crs="EPSG:3035",
    )
    rows = pd.DataFrame(
        {
            "cell_id": ["w", "e", "w"],
            "taxonID": ["b", "a", "a"],
            "scientificName": ["Betula nana", "Abies alba", "Abies alba"],
            "coverage": [0.25, 0.5, 1.0],
            "mean_probability": [0.3, 0.4, 0.9],
        }
    )
    return cells, rows


def make_products(root: Path, tile: MetaTile) -> list[Product]:
    folder, geobox = root / "tiles" / tile.id, tile.geobox()
    rng = np.random.default_rng(tile.west)
    probability = rng.random((2, *geobox.shape))
    probability[:, :20] = np.nan
    write_cog(
        folder / "suitability.tif",
        encode(probability).values,
        geobox,
        band_names=["a", "b"],
        band_descriptions=["Abies alba", "Betula nana"],
        scale=0.004,
        nodata=255,
        unit="1",
    )
    classes = rng.integers(0, 3, (1, *geobox.shape), dtype=np.uint8)
    write_cog(folder / "iucn.tif", classes, geobox, band_names=["worst"], nodata=0, unit="class", overview_resampling="mode")
    cells, rows = coverage_tables(tile)
    write_coverage(folder / "coverage.gpkg", cells, rows, {"title": "Species coverage"})
    (folder / "latent.zarr" / "z").mkdir(parents=True)
    (folder / "latent.zarr" / "zarr.json").write_text("{}")
    (folder / "latent.zarr" / "z" / "0").write_bytes(b"\x01\x02")
    return [
        Product.of(folder / "suitability.tif", key="suitability", media_type=COG, title="Species suitability", bands=("a", "b")),
        Product.of(folder / "iucn.tif", key="iucn", media_type=COG, title="Worst IUCN category"),
        Product.of(folder / "coverage.gpkg", key="coverage", media_type=GEOPACKAGE, title="Species coverage"),
        Product.of(folder / "latent.zarr", key="latent", media_type=ZARR, title="Latent tile", roles=("data", "latent")),
    ]


def publish(root: Path) -> Path:
    tiles = [GRID.tile(id) for id in TILES]
    items = [write_item(root, tile, make_products(root, tile), interval=INTERVAL, properties={"geoplantnet:model": "m1"}) for tile in tiles]
    return write_catalog(
        root,
        title="Demo",
        description="A tiny catalog",
        notice="Predicted, not observed.",
        layers=LAYERS,
        items=items,
        license="CC-BY-4.0",
        providers=[{"name": "The geoplantnet developers", "roles": ["producer"]}],
    )


@pytest.fixture(scope="session")
def grid() -> TileGrid:
    return GRID


@pytest.fixture(scope="session")
def layers() -> tuple[Layer, ...]:
    return LAYERS


@pytest.fixture(scope="session")
def tables() -> Callable[[MetaTile], tuple[gpd.GeoDataFrame, pd.DataFrame]]:
    return coverage_tables


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The root of a fresh published store, the test's own to damage."""
    publish(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of one published store, to be read only."""
    root = tmp_path_factory.mktemp("published")
    publish(root)
    return root


@pytest.fixture
def products() -> Callable[[Path, MetaTile], list[Product]]:
    return make_products


@pytest.fixture(scope="session")
def coverage_of(species) -> Callable[..., TileCoverage]:
    """Random coverage of a 25 km tile's 25 reporting cells by some of the twelve species; another seed, other rows."""

    def make(tile_id: str, seed: int = 0) -> TileCoverage:
        rng = np.random.default_rng([seed, *tile_id.encode()])
        cells = reporting_cells(TileGrid().tile(tile_id).geobox()).assign(n_cells=10_000, valid_cells=rng.integers(1, 10_000, 25))
        cell, taxon = np.nonzero(rng.random((25, len(species))) < 0.5)
        rows = pd.DataFrame(
            {
                "cell_id": cells["cell_id"].to_numpy()[cell],
                "taxonID": [species[k].taxon_id for k in taxon],
                "scientificName": [species[k].scientific_name for k in taxon],
                "coverage": rng.random(cell.size),
                "mean_probability": rng.random(cell.size),
            }
        )
        return TileCoverage(tile_id=tile_id, cells=cells, rows=rows.sample(frac=1, random_state=seed))

    return make
