"""A small store of two epochs: two tiles on a diagonal, three species, indicators with all the bands a layer can have."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.latent import LatentTile, SpeciesHead, write_latent
from geoplantnet.assemblages.stores import open_species_tile, survey
from geoplantnet.catalog import COG, ZARR, Layer, LegendClass, Product, write_catalog, write_cog, write_item
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.catalog.product import Uncertainty
from geoplantnet.catalog.species_records import PARQUET, SPECIES_RECORDS, write_species_records
from geoplantnet.grid import TileGrid
from geoplantnet.occurrences import COUNT_COLUMNS
from geoplantnet.taxonomy import SpeciesList, Taxon

TILES = ("25kmE4100N2550", "25kmE4125N2575")
WEST, SOUTH, EAST, NORTH = 4_100_000, 2_550_000, 4_150_000, 2_600_000
NOTICE = "Predicted, not observed."
FRENCH_NOTICE = "Prédit, non observé."
SPECIES = SpeciesList(
    checklist="test",
    taxa=(
        Taxon(taxon_id="v001", scientific_name="Abies alba", genus="Abies", family="Pinaceae", vernacular_name="silver fir"),
        Taxon(taxon_id="v002", scientific_name="Fagus sylvatica", genus="Fagus", family="Fagaceae"),
        Taxon(taxon_id="v003", scientific_name="Picea abies", genus="Picea", family="Pinaceae"),
    ),
)
TRAITS: dict[str, dict[str, Any]] = {}
RICHNESS = Layer(
    id="richness",
    title="Species richness",
    description="Expected number of species.",
    family="Ecosystem",
    asset="richness",
    unit="species",
    scale=0.05,
    nodata=65535,
    range=(0.0, 60.0),
    direction="yellow = many species",
    fr={"title": "Richesse spécifique", "description": "Nombre attendu d'espèces.", "direction": "jaune = beaucoup"},
    attribution="the makers of <this> map & others",
    uncertainty=Uncertainty(
        band=2,
        title="Species richness: standard deviation",
        unit="species",
        scale=0.05,
        range=(0.0, 9.0),
        fr="Richesse spécifique : écart-type",
    ),
    applicable=3,
)
HABITAT = Layer(
    id="habitat",
    title="Habitat",
    description="Most likely habitat.",
    family="Habitat",
    asset="habitat",
    unit="class",
    nodata=0,
    classes=(
        LegendClass(value=1, label="Woodland", color="#1b7837", fr="Forêt"),
        LegendClass(value=2, label="Grassland", color="#a6dba0", fr="Prairie"),
    ),
)
APPLICABILITY = Layer(
    id="applicability",
    title="Area of applicability",
    description="Where the model applies.",
    family="Ecosystem",
    asset="habitat",
    band=2,
    unit="class",
    nodata=0,
    classes=(LegendClass(value=1, label="inside", color="#1b7837"), LegendClass(value=2, label="outside", color="#d73027")),
)
GAIN = Layer(
    id="change.gain",
    title="Species gained",
    description="Gained.",
    family="Change",
    asset="change",
    unit="species",
    nodata=255,
    range=(0, 9),
)
RELIEF = Layer(
    id="relief", title="Relief", description="Hillshade.", family="Terrain", asset="relief", nodata=0, range=(1, 255), palette="grey"
)
LAYERS = (RICHNESS, HABITAT, APPLICABILITY)


def publish_epochs(root: Path) -> Path:
    """Today's map and that of the scenario ``warmer``; richness is 10 more in the latter."""
    _publish(root, title="Test maps", start=2017, warmer=0, layers=(*LAYERS, RELIEF))
    _publish(root / "scenarios" / "warmer", title="Test maps, warmer", start=2050, warmer=1, layers=(*LAYERS, GAIN))
    return root


def publish_model(root: Path) -> Path:
    """The store of another model of the same species; richness is 20 more."""
    _publish(root, title="Test maps by another model", start=2017, warmer=2, layers=LAYERS)
    return root


def richness(east: float, north: float, warmer: int = 0) -> float:
    """Of the cell whose centre this is, in the file's steps."""
    return round((10 + 10 * warmer + (east - WEST) / 5000 + 2 * (north - SOUTH) / 5000) / 0.05) * 0.05


def _publish(root: Path, *, title: str, start: int, warmer: int, layers: tuple[Layer, ...]) -> None:
    grid, items = TileGrid(), []
    for tile_id in TILES:
        tile = grid.tile(tile_id)
        box = tile.geobox()
        x, y = np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values)
        folder = root / "tiles" / tile_id
        rich = np.round((10 + 10 * warmer + (x - WEST) / 5000 + 2 * (y - SOUTH) / 5000) / 0.05)
        inside = np.where(x < WEST + 5000, 0, 1)
        bands = {
            "richness": (
                np.stack([rich, rich // 10, inside]).astype(np.uint16),
                65535,
                ["richness", "richness_sd", "applicable"],
                "species",
            ),
            "habitat": (np.stack([np.where(y > NORTH - 5000, 2, 1), 2 - inside]).astype(np.uint8), 0, ["habitat", "inside"], "class"),
            "change": (np.full((1, *box.shape), 3, np.uint8), 255, ["gain"], "species"),
            "relief": (np.full((1, *box.shape), 100, np.uint8), 0, ["relief"], "1"),
        }
        products = []
        for key in ("richness", "habitat", "change" if warmer == 1 else "relief"):
            array, nodata, names, unit = bands[key]
            scale = [0.05, 0.05, 1.0] if key == "richness" else 1.0
            units = [unit, unit, "1"] if key == "richness" else unit
            path = write_cog(folder / f"{key}.tif", array, box, band_names=names, nodata=nodata, scale=scale, unit=units)
            products.append(Product.of(path, key=key, media_type=COG, title=key, bands=tuple(names)))
        predicted = _species(root, tile_id, x, y, warmer)
        products += [Product.of(path, key=key, media_type=ZARR, title=key) for key, path in predicted.items()]
        items.append(
            write_item(root, tile, products, interval=(datetime(start, 1, 1, tzinfo=UTC), datetime(start + 4, 12, 31, tzinfo=UTC)))
        )
    whole = [species_records(root)] if not warmer else []
    overviews = write_overviews(root, items, layers, species=SPECIES, traits=TRAITS)
    words: dict[str, Any] = {"title": title, "description": "Two tiles.", "notice": NOTICE, "license": "CC-BY-4.0"}
    words["fr"] = {"title": f"Cartes d'essai {start}", "notice": FRENCH_NOTICE}
    hosts = [{"name": "Plant maps", "roles": ["host"]}]
    write_catalog(root, **words, layers=layers, items=items, overviews=overviews, providers=hosts, products=whole)


NAMES = pd.DataFrame(
    [
        ("v001", "silver fir", "en", "A flora"),
        ("v001", "European silver fir", "en", "Another flora"),
        ("v001", "sapin blanc", "fr", "A flora"),
        ("v001", "sapin <i>pectiné</i>", "fr", "A flora"),
        ("v001", "Weißtanne", "de", "A flora"),
    ],
    columns=["taxonID", "vernacularName", "language", "source"],
)
COUNTED: tuple[tuple[str, str, str, float | None, float | None, str, int], ...] = (
    ("v001", "sampling", "presence-absence", None, None, "", 40),
    ("v001", "sampling", "presence-only", None, None, "", 1_000),
    *(("v001", "year", "", year, year, "", 260) for year in (1998, 2011, 2019, 2023)),
    *(("v001", "month", "", month, month, "", n) for month, n in ((4, 2), (5, 38), (6, 900), (7, 60))),
    ("v001", "month", "", None, None, "unknown", 40),
    ("v001", "altitude", "recorded", 800.0, 900.0, "", 30),
    ("v001", "altitude", "relief", 800.0, 900.0, "", 470),
    ("v001", "altitude", "relief", 1_100.0, 1_200.0, "", 500),
    ("v001", "altitude", "", None, None, "imprecise", 25),
    ("v001", "altitude", "", None, None, "unknown", 10),
    ("v001", "altitude", "", None, None, "withheld", 5),
    ("v001", "dataset", "plots", None, None, "", 40),
    ("v001", "dataset", "walks", None, None, "", 1_000),
    ("v002", "sampling", "presence-absence", None, None, "", 3),
    ("v002", "year", "", None, None, "unknown", 3),
    ("v002", "month", "", None, None, "unknown", 3),
    ("v002", "altitude", "", None, None, "imprecise", 3),
    ("v002", "dataset", "plots", None, None, "", 3),
)
"""What is told of the records of the first two species, as `record_counts` would; of the third there are none."""


def species_records(root: Path) -> Product:
    counts = pd.DataFrame(COUNTED, columns=list(COUNT_COLUMNS)).astype({"lower": float, "upper": float})
    path = write_species_records(root, SPECIES, counts, NAMES, {"title": "Test maps"})
    return Product.of(path, key=SPECIES_RECORDS, media_type=PARQUET, title="Records")


def _species(root: Path, tile_id: str, x: np.ndarray, y: np.ndarray, warmer: int) -> dict[str, Path]:
    tile = TileGrid().tile(tile_id)
    z = np.round(np.stack([(x - WEST) / 50_000, (y - SOUTH) / 50_000], -1) * 100).astype(np.int8)
    head = SpeciesHead(
        species=SPECIES,
        weights=np.array([[3 * (1 - k), 4] for k in range(3)], np.float32),
        bias=np.array([k - 4 + warmer for k in range(3)], np.float32),
    )
    made = LatentTile(
        tile=tile,
        z=z,
        scale=np.full(2, 0.01, np.float32),
        valid=np.ones(x.shape, bool),
        availability=np.ones(x.shape, np.float32),
        head=head,
        member_bias=None,
    )
    latent, sets = root / "latent" / f"{tile_id}.zarr", root / "assemblage" / f"{tile_id}.zarr"
    for path in (latent, sets):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_latent(made, latent)
    found = survey(open_species_tile(latent, TileGrid()), {})
    told = {"plot_area_m2": 100}
    write_assemblage(
        Assemblage(
            tile=tile, species=3, list_hash=SPECIES.hash, threshold=found.threshold, sets=found.sets, means=found.means, attributes=told
        ),
        sets,
    )
    return {"latent": latent, "assemblage": sets}
