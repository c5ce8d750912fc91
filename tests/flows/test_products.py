"""What a run leaves behind: every product, readable by the field's own tools, and a catalog that vouches for the bytes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import xarray as xr
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from rio_cogeo.cogeo import cog_validate

from geoplantnet.assemblages import open_latent
from geoplantnet.catalog.catalog import check, open_catalog
from geoplantnet.catalog.overview import SPECIES, open_species_overview
from geoplantnet.cubes import PatchReader
from geoplantnet.indicators import SPARSE, indicator
from geoplantnet.sdm.predict import predict_tile
from geoplantnet.sdm.train import predict_sites
from geoplantnet.storage import sha256
from pipelines.ledger import Ledger
from pipelines.tables import stored_species, stored_traits
from pipelines.trained import Trained

TILES = ("5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605")
INDICATORS = ("richness", "shannon", "tree_richness", "invasives", "iucn_worst")


def test_every_stage_ran_once_for_each_of_its_keys(reference):
    """One task a (stage, key): tile and modality of cubes, tiles where a stage is of tiles, one otherwise."""
    per_tile = [(stage, tile) for stage in ("map", "indicators", "publish") for tile in TILES]
    cubes = [("cubes", f"{tile}.{name}") for tile in TILES for name in ("sentinel2", "climate", "terrain")]
    assert sorted(reference.ran.tasks) == sorted([("occurrences", "all"), *cubes, ("train", "model"), ("catalog", "catalog"), *per_tile])


def test_the_summary_tells_tiles_species_skill_and_place(reference):
    """The closing table says what was used, how good the model is beside its baselines, and where things lie."""
    for word in (
        "records",
        "350 used of 350",
        "species",
        "AUC",
        "ECE",
        "location-only",
        "prevalence",
        "not calibrated: that takes three held-out folds",
        "truth",
        "3 of 3",
        str(reference.store),
    ):
        assert word in reference.ran.text, word
    assert "Virtual species on fractal relief" in reference.ran.text


@pytest.mark.parametrize("tile", TILES)
def test_a_cube_is_a_zarr_datatree_with_a_node_per_modality(reference, opened, tile):
    """Any xarray user opens it; nodes hold the bands on the lattice that the modality names."""
    tree = xr.open_datatree(reference.store / "cubes" / f"{tile}.zarr", engine="zarr", consolidated=False)
    assert set(tree.children) == {"sentinel2", "climate", "terrain"} and tree.attrs["crs"] == "EPSG:3035"
    for m in opened.modalities:
        data = tree[m.name]["data"]
        assert data.shape[-3:-2] == (len(m.bands),) and np.isfinite(data.values).any()
        step = float(tree[m.name]["x"][1] - tree[m.name]["x"][0])
        assert step == m.resolution == float(tree[m.name]["y"][0] - tree[m.name]["y"][1])


def richness(store, tile):
    """Expected species (y, x) of a tile."""
    with rasterio.open(store / "tiles" / tile / "richness.tif") as raster:
        return raster.read(1) * raster.scales[0]


@pytest.mark.parametrize("name", ["species", "applicability", *INDICATORS])
def test_rasters_are_valid_cogs_on_the_grid(reference, opened, name):
    """rio-cogeo validates them strictly; they lie on the tile's cells, carry nodata, scale and names, and hold values wherever
    there is something to describe: of a community, where a species or more is expected.
    """
    of_community = name in INDICATORS and indicator(name).info.needs_community
    for tile in TILES:
        path = reference.store / "tiles" / tile / f"{name}.tif"
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert valid and not errors and not warnings
        with rasterio.open(path) as raster:
            assert raster.crs.to_epsg() == 3035 and raster.res == (50, 50) and raster.shape == (100, 100)
            assert tuple(raster.bounds) == opened.tile(tile).bounds
            assert raster.nodata is not None and all(raster.descriptions)
            known = raster.read(1) != raster.nodata
            expected = richness(reference.store, tile)
            clear = np.abs(expected - SPARSE) > 0.01  # a step of the stored richness
            assert (known == (expected > SPARSE))[clear].all() if of_community else known.any()
            assert "Nothing here was observed" in raster.tags()["notice"]


def test_species_raster_has_a_band_per_species_in_the_order_of_the_list(reference, opened):
    """Band k is species k, in probabilities."""
    species = stored_species(opened)
    with rasterio.open(reference.store / "tiles" / TILES[0] / "species.tif") as raster:
        assert raster.descriptions == tuple(t.taxon_id for t in species)
        p = np.ma.masked_equal(raster.read(), raster.nodata) * raster.scales[0]
    assert p.min() >= 0 and p.max() <= 1 and p.max() > 0.01
    assert list(stored_traits(opened).index) == [t.taxon_id for t in species]


def test_coverage_opens_in_geopandas_and_is_a_share(reference, tmp_path):
    """A GeoPackage of one reporting cell a 5 km tile, a row per species whose set covers some of it."""
    for tile in TILES:
        path = tmp_path / f"{tile}.gpkg"  # GDAL leaves sidecar files where it reads
        path.write_bytes((reference.store / "tiles" / tile / "coverage.gpkg").read_bytes())
        cells = gpd.read_file(path, layer="reporting_cells")
        rows = gpd.read_file(path, layer="species_coverage_map")
        assert cells.crs.to_epsg() == 3035 and len(cells) == 1 and cells.area.iloc[0] == 25e6
        assert len(rows) and rows["coverage"].between(0, 1).all() and rows.crs.to_epsg() == 3035


def test_the_stac_catalog_ties_all_together_and_its_checksums_match(reference):
    """It walks in pystac; projection, raster and file extensions are declared; every asset is there with the checksum told."""
    catalog = pystac.Catalog.from_file(str(reference.store / "catalog.json"))
    items = list(catalog.get_items(recursive=True))
    assert sorted(i.id for i in items) == sorted(TILES)
    for item in items:
        declared = " ".join(item.stac_extensions)
        assert "/projection/" in declared and "/raster/" in declared and "/file/" in declared
        projection = ProjectionExtension.ext(item)
        assert projection.code == "EPSG:3035" and projection.shape == [100, 100]
        assert set(item.assets) == {"cube", "latent", "assemblage", "species", "coverage", "relief", "applicability", *INDICATORS}
        for asset in item.assets.values():
            path = asset.get_absolute_href()
            if asset.media_type == "application/vnd.zarr":
                assert asset.extra_fields["geoplantnet:tree_sha256"] == sha256(path)
                continue
            content = Path(path).read_bytes()
            told = FileExtension.ext(asset)
            assert told.checksum == "1220" + hashlib.sha256(content).hexdigest() and told.size == len(content)
        bands = item.assets["species"].extra_fields["bands"]
        with rasterio.open(item.assets["species"].get_absolute_href()) as raster:
            assert [b["name"] for b in bands] == list(raster.descriptions)


def test_the_catalog_opens_for_serving_without_a_finding(reference, opened):
    """Layers for relief, uncertainty and every indicator, and every species in the overview; nothing missing, changed, unreadable or outside."""
    assert check(reference.store) == []
    catalog = open_catalog(reference.store)
    assert set(catalog.layers) == {"relief", "applicability", "dissimilarity", *INDICATORS}
    assert set(catalog.overviews) == {"relief", "applicability", *INDICATORS, SPECIES}
    assert open_species_overview(catalog.overviews[SPECIES]).species == stored_species(opened)


def test_the_catalog_keeps_how_its_maps_were_made(reference, opened):
    """Inputs, records, model and skill are those of the run's ledger and recipe, for a server that sees the catalog alone."""
    made, trained = open_catalog(reference.store).made, Ledger(reference.store).record("train", "model")
    assert [one["name"] for one in made["inputs"]] == [m.name for m in opened.model_modalities]
    assert made["skill"] == trained.stats["skill"] and made["records"]["presence_absence"] == trained.stats["plots"]
    assert made["records"]["presence_only"] == trained.stats["presence_only_sites"]
    assert made["model"]["members"] == trained.stats["members"] and trained.content.startswith(made["model"]["version"])
    assert made["cell_size_m"] == opened.grid.cell_size and made["plot_area_m2"] == opened.recipe.map.plot_area


def test_dense_map_equals_patch_prediction_at_200_cells_of_the_run(opened):
    """At most 1e-4 of |dp| in fp32 lies between the mapped tiles and the trained model on patches around 200 random cells."""
    model = Trained.load(opened.model).nets[0]
    rng = np.random.default_rng(20)
    tile_of, rows, columns = rng.integers(len(TILES), size=200), *rng.integers(opened.grid.cells_per_side, size=(2, 200))
    corners = np.array([opened.tile(t).bounds for t in TILES])[tile_of]
    points = pd.DataFrame({"x": corners[:, 0] + (columns + 0.5) * 50.0, "y": corners[:, 3] - (rows + 0.5) * 50.0})
    reader = PatchReader(points, grid=opened.grid, modalities=opened.model_modalities, sources={}, cubes={t: opened.cube(t) for t in TILES})
    from_patches = predict_sites(model, reader, np.arange(200))
    head = model.species_head()
    for i, tile in enumerate(TILES):
        z, valid = predict_tile(model, opened.tile(tile), opened.cube(tile))
        here = np.flatnonzero(tile_of == i)
        assert valid[rows[here], columns[here]].all()
        assert np.abs(head.probabilities(z[rows[here], columns[here]]).T - from_patches[here]).max() <= 1e-4
    assert from_patches.std(axis=0).max() > 1e-3  # the model does vary over the cells


@pytest.mark.parametrize("name", ["richness", "shannon", "iucn_worst"])
def test_the_last_band_of_every_indicator_says_where_it_is_extrapolated(reference, opened, name):
    """A count, a number and a class: band `applicable` is the latent tile's, at full size and, as 0 or 1, in every overview."""
    tile = opened.tiles[0]
    mapped = open_latent(opened.latent(tile), opened.grid)
    path = opened.product(tile, f"{name}.tif")
    with rasterio.open(path) as file:
        assert file.descriptions[-1] == "applicable" and file.tags()["title_fr"] and file.tags()["valid_range"]
        full, nodata, count = file.read(file.count), file.nodata, len(file.overviews(1))
        classes = json.loads(file.tags().get("classes", "[]"))
    np.testing.assert_array_equal(full, np.where(mapped.valid, mapped.inside, nodata))
    for level in range(count):
        with rasterio.open(path, overview_level=level) as smaller:
            assert set(np.unique(smaller.read(smaller.count))) <= {0, 1, nodata}
            if name == "iucn_worst":
                assert set(np.unique(smaller.read(1))) <= {c["value"] for c in classes} | {nodata}


def test_classes_are_told_in_the_catalog(reference, opened):
    """STAC's classification extension: every stored class with its name and colour, on the first band alone."""
    tile = opened.tiles[0]
    item = json.loads((reference.store / "tiles" / tile / f"{tile}.json").read_text(encoding="utf-8"))
    first, *others = item["assets"]["iucn_worst"]["bands"]
    told = first["classification:classes"]
    assert {c["name"] for c in told} >= {"LC", "CR", "none"} and all(re.fullmatch("[0-9A-F]{6}", c["color_hint"]) for c in told)
    assert not any("classification:classes" in band for band in others)
    assert any("classification" in extension for extension in item["stac_extensions"])
