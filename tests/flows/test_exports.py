"""`geoplantnet export`: rasters of a run, read by GDAL, beside the latent tiles and published files they come from."""

from __future__ import annotations

import json
import shutil
import subprocess
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rio_cogeo import cog_validate

import geoplantnet.grid.mosaic
import pipelines.export_rasters as rasters
from geoplantnet.assemblages import open_latent
from geoplantnet.catalog.files import SUMS, read_sums
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.config.typology import load_typology
from geoplantnet.errors import StorageError, UsageError
from geoplantnet.sdm.habitats import FOLDER, Affinities
from geoplantnet.serving import legend
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.storage import files_of, sha256
from pipelines.context import Run
from pipelines.exports import FORMATS, export
from pipelines.tables import stored_species

BLOCK = "40kmE4080N2600"
"""The block of 8 x 8 tiles of 5 km that holds the tiny recipe's."""


@pytest.fixture(scope="module")
def maps(opened):
    """(tile, species position) -> what species_map says, as a file stores it."""
    axis, tiles = stored_species(opened), {t: open_latent(opened.latent(t), opened.grid) for t in opened.tiles}
    return {(t, k): encode(latent.species_map(k)).values for t, latent in tiles.items() for k in range(len(axis))}


def on_tile(raster, run, tile_id, band=1):
    """A tile's cells of a larger raster."""
    west, _, _, north = run.tile(tile_id).bounds
    row, column = raster.index(west + 1, north - 1)
    side = run.grid.cells_per_side
    return raster.read(band, window=((row, row + side), (column, column + side)))


def quietly(run, output, **options):
    """`export` without progress."""
    return export(run, str(output), name=options.pop("name", None), options=options, inside=lambda done, total, message: None)


@pytest.fixture(scope="module")
def mosaics(opened, tmp_path_factory):
    """All species as COGs."""
    folder = tmp_path_factory.mktemp("cog") / "all"
    return folder, quietly(opened, folder, name="cog")


def test_mosaics_of_all_species_are_their_maps_across_the_seams(opened, mosaics, maps):
    """A valid COG a species and block: every tile's cells are its species_map, and where there is no tile there is no data."""
    folder, done = mosaics
    axis = stored_species(opened)
    assert done.tiles == 3 and sorted(p.name for p in done.files) == sorted([*(f"{t.taxon_id}_{BLOCK}.tif" for t in axis), SUMS])
    for k, taxon in enumerate(axis):
        path = folder / f"{taxon.taxon_id}_{BLOCK}.tif"
        assert cog_validate(path, strict=True, quiet=True)[0]
        with rasterio.open(path) as raster:
            assert (raster.descriptions, raster.scales, raster.nodata) == ((taxon.taxon_id,), (0.004,), 255)
            assert raster.tags(1)["long_name"] == taxon.scientific_name and raster.profile["compress"] == "lerc_zstd"
            assert opened.recipe.notice == raster.tags()["notice"] and "100 m2" in raster.tags()["title"]
            for tile in opened.tiles:
                np.testing.assert_array_equal(on_tile(raster, opened, tile), maps[tile, k])
            assert raster.shape == (200, 200) and (raster.read(1)[:100, 100:] == 255).all()


def test_overviews_of_a_mosaic_do_not_see_its_seams(opened, mosaics):
    """Each overview cell is the mean of the four cells below it that have data, also where tiles meet."""
    folder, _ = mosaics
    path = folder / f"{stored_species(opened)[2].taxon_id}_{BLOCK}.tif"
    with rasterio.open(path) as raster, rasterio.open(path, overview_level=0) as coarse:
        quads = raster.read(1, masked=True).astype(float).reshape(100, 2, 100, 2).swapaxes(1, 2).reshape(100, 100, 4)
        np.testing.assert_allclose(coarse.read(1, masked=True), np.ma.mean(quads, axis=2), atol=0.51)


def test_coreutils_verifies_an_export_and_a_second_one_changes_nothing(opened, mosaics):
    """`sha256sum -c` agrees with every file; exporting a part again gives the same bytes and keeps the list whole."""
    folder, done = mosaics
    assert subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=folder).returncode == 0
    before = {path.name: sha256(path) for path in files_of(folder)}
    quietly(opened, folder, name="cog", species=[stored_species(opened)[4].scientific_name])
    assert {path.name: sha256(path) for path in files_of(folder)} == before and len(read_sums(folder)) == len(done.files) - 1


def test_blocks_and_batches_are_a_matter_of_bookkeeping(opened, maps, tmp_path, monkeypatch):
    """With blocks of one tile and one map in memory at a time, the same cells come out, a file a tile."""
    monkeypatch.setattr(geoplantnet.grid.mosaic, "TILES_A_SIDE", 1)
    monkeypatch.setattr(rasters, "MAPS_AT_ONCE", 1)
    axis = stored_species(opened)
    done = quietly(opened, tmp_path, name="cog", species=[axis[1].taxon_id, axis[0].taxon_id])
    assert len(done.files) == 7
    for tile in opened.tiles:
        for k in (0, 1):
            with rasterio.open(tmp_path / f"{axis[k].taxon_id}_{tile}.tif") as raster:
                np.testing.assert_array_equal(raster.read(1), maps[tile, k])


@pytest.mark.parametrize(("crs", "ending"), [(4326, "geojson"), (32632, "gpkg")])
def test_a_region_of_any_crs_cuts_species_and_indicators_by_the_cells_centres(opened, reference, cli, maps, tmp_path, crs, ending):
    """From the command line: inside, what is mapped; outside, no data; the tile that the region does not meet is left out."""
    axis = stored_species(opened)
    area = gpd.GeoSeries([shapely.Point(4_104_000, 2_602_500).buffer(2_222)], crs=3035)
    area.to_crs(crs).to_file(tmp_path / f"area.{ending}")
    asked = ("--format", "cog", "--region", tmp_path / f"area.{ending}", "--species", axis[3].scientific_name, "--indicator", "richness")
    ended = cli("export", reference.recipe, "--store", reference.store, "--output", tmp_path / "out", *asked)
    assert ended.code == 0 and "3 files" in ended.out and "2 tiles" in ended.out
    step = np.arange(25, 5000, 50)
    paths = (tmp_path / "out" / f"{name}_{BLOCK}.tif" for name in (axis[3].taxon_id, "richness"))
    with rasterio.open(next(paths)) as of_species, rasterio.open(next(paths)) as of_indicator:
        assert of_species.shape == of_indicator.shape == (100, 200)
        for tile in opened.tiles[:2]:
            west, _, _, north = opened.tile(tile).bounds
            inside = shapely.contains_xy(area.iloc[0], *np.meshgrid(west + step, north - step))
            assert inside.any() and not inside.all()
            got = on_tile(of_species, opened, tile)
            assert np.count_nonzero(got != np.where(inside, maps[tile, 3], 255)) <= 2  # centres within millimetres of the edge
            with rasterio.open(opened.product(tile, "richness.tif")) as published:
                assert (of_indicator.descriptions, of_indicator.scales) == (published.descriptions, published.scales)
                for band in published.indexes:
                    expected = np.where(inside, published.read(band), published.nodata)
                    assert np.count_nonzero(on_tile(of_indicator, opened, tile, band) != expected) <= 2


def test_styles_lie_beside_the_files_they_are_of(opened, tmp_path):
    """--format qml of the same choice: a style for each COG under its name, with the published layer's colours, of the file's first band."""
    axis = stored_species(opened)
    asked = {"species": [axis[3].scientific_name], "indicator": ["richness", "iucn_worst"]}
    maps = quietly(opened, tmp_path, name="cog", **asked)
    done = quietly(opened, tmp_path, name="qml", **asked)
    assert {p.stem for p in done.files if p.suffix == ".qml"} == {p.stem for p in maps.files if p.suffix == ".tif"}
    assert set(read_sums(tmp_path)) == {p.name for p in (*maps.files, *done.files)} - {SUMS}
    atlas = open_atlas(opened.store)
    for name, stem in {f"species.{axis[3].taxon_id}": axis[3].taxon_id, "richness": "richness", "iucn_worst": "iucn_worst"}.items():
        root, layer = ElementTree.parse(tmp_path / f"{stem}_{BLOCK}.qml").getroot(), atlas.layer(name)
        (renderer,) = root.iter("rasterrenderer")
        colors = [one.get("color") for one in (*root.iter("item"), *root.iter("paletteEntry"))]
        assert renderer.get("band") == "1" and colors == ([c.color for c in layer.classes] or legend.describe(layer)["colors"])
    atlas.close()


def test_classes_stay_classes_in_overviews(opened, tmp_path):
    """The worst Red List category of a block has no category between two others at small scales."""
    quietly(opened, tmp_path, name="cog", indicator=["iucn_worst"])
    path = tmp_path / f"iucn_worst_{BLOCK}.tif"
    with rasterio.open(path) as raster, rasterio.open(path, overview_level=0) as coarse:
        assert set(np.unique(coarse.read(1))) <= set(np.unique(raster.read(1)))


def test_habitats_are_classes_of_the_runs_own_typology(reference, write_recipe, tmp_path):
    """The habitat's raster, whose classes no registry knows but the model's own folder: all bands, and no class between two others."""
    run = Run.open(
        write_recipe({"indicators": ["habitat"], "habitats": {"typology": "eunis_forests"}}),
        store=shutil.copytree(reference.store, tmp_path / "s"),
    )
    codes = tuple(h.code for h in load_typology("eunis_forests").habitats[:9:4])
    Affinities(codes=codes, weights=np.zeros((len(stored_species(run)), 3), np.float32), facts={}).save(run.model / FOLDER)
    random, tiles = np.random.default_rng(0), tuple(run.tile(tile) for tile in run.tiles)
    names, units, scales = ["habitat", "habitat_p"], ["class", "1"], [1.0, 0.004]
    stored = {tile.id: random.choice(np.array([1, 5, 9], np.uint8), (2, *tile.geobox().shape)) for tile in tiles}
    for tile in tiles:
        write_cog(
            run.product(tile.id, "habitat.tif"), stored[tile.id], tile.geobox(), band_names=names, scale=scales, nodata=255, unit=units
        )
    chosen = rasters.Selection(run=run, tiles=tiles, axis=stored_species(run), species=(), indicators=("habitat",))
    path = rasters.export_cog(chosen, tmp_path / "out", lambda *step: None).files[0]
    with rasterio.open(path) as raster, rasterio.open(path, overview_level=0) as coarse:
        for tile in run.tiles:
            np.testing.assert_array_equal([on_tile(raster, run, tile, band) for band in (1, 2)], stored[tile])
        assert (list(raster.descriptions), list(raster.units), list(raster.scales)) == (names, units, scales)
        assert raster.tags()["title"] == "Habitat" and set(np.unique(coarse.read(1))) <= {1, 5, 9, 255}


def test_a_geotiff_a_tile_holds_the_chosen_species_in_the_order_asked_for(opened, maps, tmp_path):
    """A band a species, named; all of them without a choice."""
    axis = stored_species(opened)
    done = quietly(opened, tmp_path / "some", name="geotiff", species=[axis[7].scientific_name, axis[2].taxon_id], compress="deflate")
    assert [p.name for p in done.files] == [*(f"{t}.tif" for t in opened.tiles), SUMS]
    quietly(opened, tmp_path / "all", name="geotiff")
    for tile in opened.tiles:
        with rasterio.open(tmp_path / "some" / f"{tile}.tif") as some, rasterio.open(tmp_path / "all" / f"{tile}.tif") as every:
            assert some.descriptions == (axis[7].taxon_id, axis[2].taxon_id) and some.profile["compress"] == "deflate"
            assert every.descriptions == tuple(t.taxon_id for t in axis)
            np.testing.assert_array_equal(some.read(), [maps[tile, 7], maps[tile, 2]])
            np.testing.assert_array_equal(every.read(), [maps[tile, k] for k in range(len(axis))])


def test_floating_point_maps_keep_to_the_stated_error(opened, tmp_path):
    """--max-error: probabilities themselves, NaN where unknown, no further off than was said."""
    axis = stored_species(opened)
    quietly(opened, tmp_path, name="cog", species=[axis[0].taxon_id], max_error=0.0005)
    with rasterio.open(tmp_path / f"{axis[0].taxon_id}_{BLOCK}.tif") as raster:
        assert raster.dtypes == ("float32",) and np.isnan(raster.nodata) and raster.scales == (1.0,)
        for tile in opened.tiles:
            p, got = open_latent(opened.latent(tile), opened.grid).species_map(0), on_tile(raster, opened, tile)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(p))
            assert np.nanmax(np.abs(got - p)) <= 0.0005 + 1e-7


def test_indexes_over_the_published_tiles_move_with_them(reference, opened, cli, tmp_path):
    """VRT and GTI, known by their endings: the published pixels, also after the folder with both was moved."""
    shutil.copytree(reference.store, tmp_path / "a" / "store")
    axis = stored_species(opened)
    asked = {
        "s.vrt": ("--species", axis[5].taxon_id, "--species", axis[1].scientific_name, "--indicator", "richness"),
        "s.gti.gpkg": (),
        "richness.gti.gpkg": ("--indicator", "richness"),
    }
    for name, options in asked.items():
        assert cli("export", reference.recipe, "--store", tmp_path / "a" / "store", "--output", tmp_path / "a" / name, *options).code == 0
    (tmp_path / "a").rename(tmp_path / "b")
    every = [("species", k + 1) for k in range(len(axis))]
    bands = {"s.vrt": [("species", 6), ("species", 2), ("richness", 1)], "s.gti.gpkg": every, "richness.gti.gpkg": [("richness", 1)]}
    for name, expected in bands.items():
        with rasterio.open(tmp_path / "b" / name) as raster:
            for number, (product, band) in enumerate(expected, start=1):
                for tile in opened.tiles:
                    with rasterio.open(opened.product(tile, f"{product}.tif")) as published:
                        assert raster.descriptions[number - 1] == published.descriptions[band - 1]
                        assert raster.scales[number - 1] == published.scales[band - 1]
                        np.testing.assert_array_equal(
                            on_tile(raster, opened, tile, number), published.read(band), err_msg=f"{name} {number} {tile}"
                        )


def test_an_index_of_a_region_says_that_it_holds_whole_tiles(opened, tmp_path):
    """It lists the tiles that the region meets, and does not pretend to have cut them."""
    gpd.GeoSeries([shapely.box(4_105_100, 2_600_100, 4_105_400, 2_600_400)], crs=3035).to_file(tmp_path / "area.gpkg")
    done = quietly(opened, tmp_path / "r.vrt", indicator=["richness"], region=tmp_path / "area.gpkg")
    assert done.tiles == 1 and "Whole tiles" in done.words
    with rasterio.open(tmp_path / "r.vrt") as raster:
        assert raster.shape == (100, 100) and raster.bounds.left == 4_105_000


def test_a_failure_on_the_way_vouches_for_what_was_finished_only(opened, tmp_path, monkeypatch):
    """The disk fills at the second species: the first is new and listed, the second is the old one and no longer listed."""
    axis = stored_species(opened)
    names = [axis[0].taxon_id, axis[1].taxon_id]
    first, second = (f"{name}_{BLOCK}.tif" for name in names)
    quietly(opened, tmp_path, name="cog", species=names)
    before = sha256(tmp_path / second)
    write, calls = rasters.write_cog, []

    def full(path, *arguments, **options):
        calls.append(path)
        if len(calls) > 1:
            raise StorageError("full")
        return write(path, *arguments, **options)

    monkeypatch.setattr(rasters, "write_cog", full)
    with pytest.raises(StorageError):
        quietly(opened, tmp_path, name="cog", species=names, max_error=0.01)
    assert read_sums(tmp_path) == {first: sha256(tmp_path / first)} and sha256(tmp_path / second) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([first, second, SUMS])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--output", "x"), "add --format: cog, qml, geotiff, gti, vrt, ebvcube, geopackage, geoparquet, postgis"),
        (("--output", "x", "--format", "cogg"), "Did you mean 'cog'"),
        (
            ("--output", "x.nc", "--region", "a.gpkg"),
            "formats that can use it: cog, qml, geotiff, gti, vrt, geopackage, geoparquet, postgis",
        ),
        (("--output", "x", "--format", "geotiff", "--indicator", "richness"), "formats that can use it: cog, qml, gti, vrt"),
        (
            ("--output", "x.gti.gpkg", "--species", "v001"),
            "formats that can use it: cog, qml, geotiff, vrt, ebvcube, geopackage, geoparquet, postgis",
        ),
        (("--output", "x.gti.gpkg", "--indicator", "richness", "--indicator", "shannon"), "one --indicator"),
        (("--output", "x.vrt", "--compress", "deflate"), "formats that can use it: cog, geotiff"),
        (("--output", "x", "--format", "cog", "--creator", "me"), "formats that can use it: ebvcube"),
        (("--output", "x", "--format", "cog", "--species", "Planta nulla"), "Planta nulla"),
        (("--output", "x", "--format", "cog", "--indicator", "richnes"), "Did you mean 'richness'"),
        (("--output", "x", "--format", "cog", "--max-error", "0.1", "--compress", "zstd"), "needs --compress lerc_zstd"),
        (("--output", "x", "--format", "cog", "--max-error", "0"), "--max-error 0 must be more than 0"),
        (("--output", "x", "--format", "cog", "--indicator", "change"), "say which by --scenario"),
        (("--output", "x", "--format", "cog", "--max-error", "0.1", "--indicator", "richness"), "is of probabilities"),
        (("--output", "x", "--format", "cog", "--region", "nowhere.gpkg"), "not a local file"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_what_can(reference, cli, tmp_path, monkeypatch, options, says):
    """Each wrong wish ends with a typed error that names the way out, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    ended = cli("export", reference.recipe, "--store", reference.store, *options)
    assert ended.code in (2, 4) and says in ended.text
    assert not list(tmp_path.iterdir())


def test_a_gti_of_some_species_is_refused_by_its_own_function(opened, tmp_path):
    """Not the command line alone knows that a GTI lists whole files."""
    some = rasters.Selection(run=opened, tiles=(opened.tile(opened.tiles[0]),), axis=stored_species(opened), species=(1,))
    with pytest.raises(UsageError, match="--format vrt"):
        FORMATS["gti"].write(some, tmp_path / "x.gti.gpkg", lambda *step: None)


def test_a_run_may_publish_no_rasters_of_species(reference, write_recipe, run_recipe, store, tmp_path):
    """`publish.species: false`: coverage, indicators and latent tile without species.tif, no layer of it; species come by export alone."""
    recipe = write_recipe({"publish": {"species": False}})
    ran = run_recipe(recipe, store)
    assert set(ran.stages) == {"publish", "catalog"} and not list(store.glob("tiles/*/species.tif"))
    layers = {layer["id"] for layer in json.loads((store / "tiles/collection.json").read_text(encoding="utf-8"))["geoplantnet:layers"]}
    assert "richness" in layers and not [name for name in layers if name.startswith("species.")]
    run = Run.open(recipe, store=store)
    with pytest.raises(UsageError, match=r"publish.species: false.*--format cog"):
        quietly(run, tmp_path / "all.vrt")
    assert quietly(run, tmp_path / "richness.vrt", indicator=["richness"]).files
    one = stored_species(run)[0].taxon_id
    assert quietly(run, tmp_path / "cogs", name="cog", species=[one]).files
