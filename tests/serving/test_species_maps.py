"""Species drawn on demand: from cells to the overview, latent and dense, by set and by lambda, in every epoch."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.dense import write_dense
from geoplantnet.assemblages.latent import LatentTile, SpeciesHead, write_latent
from geoplantnet.assemblages.stores import open_species_tile, survey
from geoplantnet.catalog import COG, ZARR, Layer, Product, write_catalog, write_cog, write_item
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.errors import LayerNotFound
from geoplantnet.grid import TileGrid
from geoplantnet.serving import fields, styles
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.cache import NotHeld, held_only
from geoplantnet.serving.crs import CRSS, transformer
from geoplantnet.serving.exceptions import InvalidDimensionValue
from geoplantnet.serving.render import class_array, render
from geoplantnet.serving.warp import View
from geoplantnet.serving.wms import WebMapService
from geoplantnet.taxonomy import SpeciesList, Taxon

TILES = ("25kmE4100N2550", "25kmE4100N2575", "25kmE4125N2575")
WEST, SOUTH = 4_100_000, 2_550_000
SPECIES = SpeciesList(
    checklist="test",
    taxa=(
        Taxon(taxon_id="v001", scientific_name="Abies alba", genus="Abies", family="Pinaceae", vernacular_name="silver fir"),
        Taxon(taxon_id="v002", scientific_name="Fagus sylvatica", genus="Fagus", family="Fagaceae"),
        Taxon(taxon_id="v003", scientific_name="Picea abies", genus="Picea", family="Pinaceae"),
    ),
)
RELIEF = Layer(
    id="relief", title="Relief", description="", family="Terrain", asset="relief", nodata=0, range=(1, 255), attribution="swisstopo"
)


def logit(k: int, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Rises to the east and twice as fast to the north, other species elsewhere; no mirror image of it is equal."""
    x, y = (east - WEST) / 50_000, (north - SOUTH) / 50_000
    return 3 * x * (1 - k) + 4 * y - 4 + k


def publish(root: Path, *, dense: bool = False, members: int = 1, start: int = 2017, shift: float = 0.0) -> Path:
    """A store of three tiles whose probabilities are those of `logit`."""
    grid, items = TileGrid(), []
    for tile_id in TILES:
        tile = grid.tile(tile_id)
        box = tile.geobox()
        x, y = np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values)
        z = np.stack([(x - WEST) / 50_000, (y - SOUTH) / 50_000], -1)
        z = np.round(np.concatenate([z] * members, -1) * 100).astype(np.int8)
        weights = np.array([[3 * (1 - k), 4] for k in range(3)], np.float32)
        bias = np.array([k - 4 + shift for k in range(3)], np.float32)
        valid = np.ones(box.shape, bool)
        valid[100:140, 200:260] = False
        own = bias + np.linspace(-1, 1, members, dtype=np.float32)[:, None] if members > 1 else None
        head = SpeciesHead(species=SPECIES, weights=np.tile(weights, members) / members, bias=bias)
        scale = np.full(2 * members, 0.01, np.float32)
        made = LatentTile(tile=tile, z=z, scale=scale, valid=valid, availability=np.ones(box.shape, np.float32), head=head, member_bias=own)
        predictions, folder = root / ("dense" if dense else "latent") / f"{tile_id}.zarr", root / "tiles" / tile_id
        predictions.parent.mkdir(parents=True, exist_ok=True)
        if dense:
            write_dense(made.blocks, predictions, tile=tile, species=SPECIES, dtype="uint16")
        else:
            write_latent(made, predictions)
        found = survey(open_species_tile(predictions, grid), {})
        sets = Assemblage(
            tile=tile,
            species=3,
            list_hash=SPECIES.hash,
            threshold=found.threshold,
            sets=found.sets,
            means=found.means,
            attributes={"plot_area_m2": 100},
        )
        (root / "assemblage").mkdir(exist_ok=True)
        write_assemblage(sets, root / "assemblage" / f"{tile_id}.zarr")
        relief = write_cog(folder / "relief.tif", np.ones((1, *box.shape), np.uint8), box, band_names=["relief"], nodata=0, unit="1")
        products = [
            Product.of(predictions, key=predictions.parent.name, media_type=ZARR, title="p"),
            Product.of(root / "assemblage" / f"{tile_id}.zarr", key="assemblage", media_type=ZARR, title="sets"),
            Product.of(relief, key="relief", media_type=COG, title="relief", bands=("relief",)),
        ]
        interval = datetime(start, 1, 1, tzinfo=UTC), datetime(start + 4, 12, 31, tzinfo=UTC)
        items.append(write_item(root, tile, products, interval=interval))
    overviews = write_overviews(root, items, [RELIEF], species=SPECIES, traits={"v001": {"tree": True}})
    words = {"title": "Test maps", "description": "Three tiles.", "notice": "Predicted.", "license": "CC-BY-4.0"}
    write_catalog(root, **words, layers=[RELIEF], items=items, overviews=overviews)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = publish(tmp_path_factory.mktemp("species"))
    publish(store / "scenarios" / "warmer", start=2050, shift=1.0)
    return store


@pytest.fixture(scope="module")
def shown(root: Path) -> Atlas:
    return open_atlas(root)


def holds(east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Whether a published cell with data lies there."""
    inside = (east >= WEST) & (east < WEST + 50_000) & (north > SOUTH) & (north <= SOUTH + 50_000)
    column, row = np.floor((east - WEST) / 50) % 500, np.floor((SOUTH + 50_000 - north) / 50) % 500
    return (
        inside & ~((east >= WEST + 25_000) & (north <= SOUTH + 25_000)) & ~((row >= 100) & (row < 140) & (column >= 200) & (column < 260))
    )


def around(crs: str, east: float, north: float, pixel: float, size: int = 60) -> View:
    x, y = transformer("EPSG:3035", crs).transform(east, north)
    step = pixel if CRSS[crs].definition.is_projected else pixel / 90_000
    half = step * size / 2
    return View(crs=CRSS[crs], bbox=(x - half, y - half * 0.9, x + half, y + half * 0.9), width=size, height=round(size * 0.9))


@pytest.mark.parametrize("crs", CRSS)
@pytest.mark.parametrize("pixel", [20, 90, 180, 450, 1200, 2600, 5200])
def test_every_pixel_is_the_species_probability_there(shown, crs, pixel):
    """From cells through means of 1 km to the overview, in all CRS: the analytic probability at the pixel's centre, to what the cells' size leaves open."""
    layer = shown.layer("species.v001")
    view = around(crs, 4_118_000, 2_581_000, pixel)
    got = shown.today.mosaic.sample(layer, view.crs, view.bbox, view.width, view.height)
    places = [view.centre(np.arange(view.width)[None, :], np.arange(view.height)[:, None])[axis] for axis in (0, 1)]
    east, north = transformer(crs, "EPSG:3035").transform(*np.broadcast_arrays(*places))
    p = 1 / (1 + np.exp(-logit(0, east, north)))
    margin = max(pixel, 2500 if pixel > 2000 else 1500 if pixel >= 400 else 100)
    clear = np.ones(p.shape, bool)
    for x in (-margin, 0, margin):
        for y in (-margin, 0, margin):
            clear &= holds(east + x, north + y)
    if pixel < 4000:
        assert clear.any()
    assert not np.ma.getmaskarray(got)[clear].any()
    cell = 50 if pixel < 400 else 1000 if pixel < 2000 else 5000
    tolerance = 0.002 + 0.3 * (cell / 50_000) + (0.012 if cell == 50 else 0)  # z in steps of .01; at most .3 a tile's side up
    assert np.abs(np.ma.getdata(got) - p)[clear].max(initial=0) < tolerance
    empty = ~holds(east, north)
    if pixel <= 50:
        assert (np.ma.getmaskarray(got) == empty)[: view.height // 2].mean() > 0.98


def test_a_value_is_the_head_s(shown, root):
    """A click tells the probability of the one cell, as the tile itself does; none outside, none where there is no data."""
    tile = open_species_tile(root / "latent" / f"{TILES[1]}.zarr", TileGrid())
    mosaic = shown.today.mosaic
    for row, column in ((0, 0), (17, 480), (499, 3)):
        east, north = WEST + column * 50 + 10, SOUTH + 50_000 - row * 50 - 10
        expected = tile.at(row, column)[0]
        assert [mosaic.value_at(shown.layer(f"species.v00{k + 1}"), east, north) for k in range(3)] == pytest.approx(expected, abs=2e-5)
    assert mosaic.value_at(shown.layer("species.v001"), WEST + 10_010, SOUTH + 50_000 - 5_010) is None
    assert mosaic.value_at(shown.layer("species.v001"), WEST - 10, SOUTH + 10) is None


def test_presence_is_the_cell_s_set(shown, root):
    """Without lambda, the species of a cell are those of its set, cell for cell; with one, those above it."""
    tile = open_species_tile(root / "latent" / f"{TILES[1]}.zarr", TileGrid(), assemblage=root / "assemblage" / f"{TILES[1]}.zarr")
    assert tile.assemblage
    view = View(crs=CRSS["EPSG:3035"], bbox=tuple(map(float, tile.tile.bounds)), width=500, height=500)  # type: ignore[arg-type]
    member = np.zeros((3, 250_000), bool)
    for cell in range(250_000):
        member[tile.assemblage.sets.of(cell), cell] = True
    assert member.any() and not member.all()
    for k in range(3):
        layer, p = shown.layer(f"species.v00{k + 1}"), tile.species_map(k)
        index = class_array(shown.today.mosaic, styles.drawing(layer, "presence"), view)
        assert ((index == 1) == member[k].reshape(500, 500)).mean() > 0.9999  # p is kept in 65,534ths
        assert ((index == 0) == ~tile.valid).all()
        index = class_array(shown.today.mosaic, styles.drawing(layer, "presence", threshold=0.4), view)
        certain = np.abs(p - 0.4) > 1e-4
        assert ((index == 2) == (p > 0.4))[certain].all()


def test_latent_and_dense_are_one(root, tmp_path):
    """The store a model's predictions lie in makes no difference to a map of them, at any zoom."""
    other, this = open_atlas(publish(tmp_path, dense=True)), open_atlas(root)
    for pixel in (30, 150, 600, 3000):
        view = around("EPSG:3857", 4_118_000, 2_581_000, pixel)
        a, b = (
            atlas.today.mosaic.sample(atlas.layer("species.v003"), view.crs, view.bbox, view.width, view.height) for atlas in (this, other)
        )
        assert (np.ma.getmaskarray(a) == np.ma.getmaskarray(b)).all() and np.abs(a - b).max() < 0.001
    assert other.layer("species.v003").asset == "dense"


def test_members_disagree_as_the_tile_says(tmp_path):
    """Style uncertainty of an ensemble shows the deviation of its members; a single model has no such style."""
    atlas = open_atlas(publish(tmp_path, members=3))
    layer = atlas.layer("species.v002")
    tile = open_species_tile(tmp_path / "latent" / f"{TILES[0]}.zarr", TileGrid())
    west, south, east, north = map(float, tile.tile.bounds)
    got = atlas.today.mosaic.sample(layer, CRSS["EPSG:3035"], (west, south, east, north), 500, 500, reads="uncertainty")
    expected = tile.spread(1)
    assert np.abs(got - expected)[tile.valid].max() < 2e-5 and got.max() > 0.05
    assert "uncertainty" in styles.styles_of(layer)


def test_afar_no_tile_is_opened(root, monkeypatch):
    """A map of all of it at 3 km a pixel reads the overview alone; one at 500 m the means, and no predictions."""
    opened: list[str] = []
    for name in ("open_species_tile", "open_means"):
        real = getattr(fields, name)
        monkeypatch.setattr(fields, name, lambda path, *rest, real=real, name=name: opened.append(name) or real(path, *rest))
    atlas = open_atlas(root)
    layer = atlas.layer("species.v001")
    mosaic = atlas.today.mosaic
    mosaic.field(layer, "value")
    opened.clear()
    view = around("EPSG:3857", 4_120_000, 2_580_000, 5000)
    assert mosaic.sample(layer, view.crs, view.bbox, 60, 54).count() and opened == []
    view = around("EPSG:3857", 4_120_000, 2_580_000, 800)
    mosaic.sample(layer, view.crs, view.bbox, 60, 54)
    assert set(opened) <= {"open_means"}
    wide = View(crs=CRSS["EPSG:3035"], bbox=(3_000_000.0, 1_500_000.0, 5_000_000.0, 3_500_000.0), width=4000, height=4000)
    monkeypatch.setattr(mosaic, "catalog", dataclasses.replace(mosaic.catalog, tiles=mosaic.catalog.tiles * 1000))
    assert mosaic._level(mosaic.field(layer, "value"), (500.0, 500.0), wide) == len(mosaic.field(layer, "value").levels) - 1
    assert (
        mosaic._level(mosaic.field(layer, "uncertainty"), (500.0, 500.0), wide) is None
    )  # it has no overview: nothing rather than all tiles
    assert (
        mosaic.field(shown_relief := atlas.layer("relief"), "value")
        .levels[mosaic._level(mosaic.field(shown_relief, "value"), (200.0, 200.0), wide)]
        .cell
        == 500
    )


def test_what_is_kept_stays_within_its_bytes(root):
    """However many maps of however many species, the caches hold no more than they may, and the maps are the same."""
    plenty, little = open_atlas(root), open_atlas(root, cache_bytes=2_000_000)
    for k in (1, 2, 3, 1):
        for pixel in (40, 200, 900, 6000):
            view = around("EPSG:4326", 4_121_000, 2_574_000, pixel)
            pictures = [class_array(a.today.mosaic, styles.drawing(a.layer(f"species.v00{k}")), view) for a in (plenty, little)]
            assert (pictures[0] == pictures[1]).all()
            assert sum(cache.bytes for cache in little.today.mosaic.caches.values()) <= 2_000_000
    assert plenty.today.mosaic.caches["arrays"].hits > 0


def test_epochs_are_found_by_time_and_scenario(shown):
    """A time lies in an epoch or is nearest to one; a scenario is named; both narrow the choice; today is the default."""
    layer = shown.layer("species.v001")
    asked = {
        "": "today",
        "2019": "today",
        "2019-06-01/2020-01-01": "today",
        "2051-02": "warmer",
        "1900-01-01": "today",
        "2100-01-01T00:00:00Z": "warmer",
    }
    asked |= {"2034": "today", "2037": "warmer", "current": "today"}
    assert {time: shown.epoch(layer, time=time).name for time in asked} == asked
    assert shown.epoch(layer, scenario="warmer").name == "warmer" and shown.epoch(layer, time="1999", scenario="warmer").name == "warmer"
    for time in ("soon", "2019-13-01", "a/b", "1/2/3/4"):
        with pytest.raises(InvalidDimensionValue, match="2025-01-01"):
            shown.epoch(layer, time=time)
    with pytest.raises(InvalidDimensionValue, match="Did you mean 'warmer'"):
        shown.epoch(layer, scenario="warmr")
    view = around("EPSG:3035", 4_110_000, 2_590_000, 50)
    maps = [epoch.mosaic.sample(layer, view.crs, view.bbox, 20, 20) for epoch in shown.epochs]
    assert (maps[1] > maps[0]).all()  # a logit more everywhere


def test_a_species_is_a_layer_nobody_lists(shown):
    """Its layer has words and a range of its own; a wrong name gets the nearest right one."""
    assert list(shown.layers) == ["relief"]
    layer = shown.layer("species.v001")
    assert layer.title == "Abies alba (silver fir)" and "100 m²" in layer.description and layer.attribution == "swisstopo"
    assert layer.range[1] >= 0.9 and shown.species and shown.species.traits == {"v001": {"tree": True}}
    with pytest.raises(LayerNotFound, match="v001"):
        shown.layer("species.v01")
    png = Image.open(BytesIO(render([(shown.today.mosaic, styles.drawing(layer))], around("EPSG:3857", 4_118_000, 2_581_000, 100))))
    assert png.mode == "P" and len(np.unique(np.asarray(png))) > 20


def test_what_takes_time_leaves_the_thread_that_answers(shown):
    """Large maps, several at once, pictures of faults and hints among thousands of names raise NotHeld within `held_only`; a warm map does not."""
    service = WebMapService(shown)
    asked = {
        "SERVICE": "WMS",
        "VERSION": "1.3.0",
        "REQUEST": "GetMap",
        "LAYERS": "relief",
        "STYLES": "",
        "CRS": "EPSG:3035",
        "FORMAT": "image/png",
    }
    asked |= {"BBOX": "2575000,4100000,2600000,4125000", "WIDTH": "256", "HEIGHT": "256"}
    assert service.answer(asked.items(), site="").media_type == "image/png"
    with held_only():
        assert service.answer(asked.items(), site="").media_type == "image/png"
    slow = [{"WIDTH": "1024", "HEIGHT": "1024"}, {"LAYERS": ",".join(["relief"] * 3), "STYLES": ",,"}, {"FORMAT": "image/webp"}]
    slow += [{"LAYERS": "nothing", "EXCEPTIONS": "INIMAGE"}, {"LAYERS": "species.v0001"}]
    for change in slow:
        with held_only(), pytest.raises(NotHeld):
            service.answer((asked | change).items(), site="")


def test_a_tag_belongs_to_what_is_shown(shown):
    """Who may not see a species is told so, and not that what it holds of it is still right."""
    hidden = shown.showing(lambda layer_id: layer_id != "species.v001")
    assert hidden.seal != shown.seal and hidden.seal == shown.showing(lambda layer_id: layer_id != "species.v001").seal
    asked = {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": "species.v001", "STYLES": "", "CRS": "EPSG:3035"}
    asked |= {"FORMAT": "image/png", "BBOX": "2575000,4100000,2600000,4125000", "WIDTH": "16", "HEIGHT": "16"}
    tag = WebMapService(shown).answer(asked.items(), site="").headers["ETag"]
    assert WebMapService(shown).answer(asked.items(), site="", etag=tag).status == 304
    assert WebMapService(hidden).answer(asked.items(), site="", etag=tag).status == 404
