"""Areas against brute force: 500 random polygons, cuts along seams, rings from any vertex, what an ensemble's members would say alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely import affinity
from starlette.testclient import TestClient

from geoplantnet.assemblages.agreement import agreement, members_at
from geoplantnet.assemblages.assemblage import Assemblage, open_assemblage, write_assemblage
from geoplantnet.assemblages.latent import LatentTile, SpeciesHead, generalised, open_latent, write_latent
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.assemblages.stores import survey as surveyed
from geoplantnet.catalog import COG, Layer, Product, write_catalog, write_cog, write_item
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.catalog.product import ZARR
from geoplantnet.grid import TileGrid
from geoplantnet.serving import create_app
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.crs import transformer
from geoplantnet.serving.exceptions import InvalidParameter
from geoplantnet.serving.ogc import areas
from geoplantnet.serving.ogc.areas import Area, Cover, area_of, survey, tiles_of
from geoplantnet.serving.ogc.jobs import Budget
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=5_000, cell_size=100)
TILES = ("5kmE4100N2550", "5kmE4105N2550")
MAP = shapely.box(4_100_000, 2_550_000, 4_110_000, 2_555_000)
SEAM = 4_105_000


def lonlat(shape: shapely.Geometry) -> dict:
    """A shape of the grid as GeoJSON, to the last digit."""
    moved = shapely.transform(shape, lambda xy: np.stack(transformer("EPSG:3035", "CRS:84").transform(xy[:, 0], xy[:, 1]), axis=1))
    return json.loads(json.dumps(shapely.geometry.mapping(moved)))


def star(rng: np.random.Generator, x: float, y: float, radius: float, corners: int) -> shapely.Polygon:
    """A polygon that is seen whole from its middle."""
    turn = (np.arange(corners) + rng.random(corners)) * 2 * np.pi / corners
    far = radius * rng.uniform(0.3, 1, corners)
    return shapely.Polygon(np.stack([x + far * np.cos(turn), y + far * np.sin(turn)], axis=1))


def drawn(i: int) -> shapely.Geometry:
    """The i-th of the random areas: simple ones, with holes, slivers, along seams and cell edges, of several parts, reaching out of the map."""
    rng = np.random.default_rng(i)
    x, y = rng.uniform(4_099_500, 4_110_500), rng.uniform(2_549_500, 2_555_500)
    kind = i % 7
    if kind == 0:
        shape = star(rng, x, y, rng.uniform(50, 3_000), int(rng.integers(5, 40)))
    elif kind == 1:
        outer = star(rng, x, y, rng.uniform(300, 2_500), 24)
        shape = shapely.difference(outer, affinity.scale(outer, 0.5, 0.5, origin=(x, y)))
        shape = shapely.difference(shape, star(rng, x + 150, y + 90, 60, 9))
    elif kind == 2:  # narrower than a cell
        sliver = shapely.box(x - 1_500, y - 0.5, x + 1_500, y + rng.uniform(0, 30))
        shape = affinity.rotate(sliver, rng.uniform(0, 180))
    elif kind == 3:
        shape = star(rng, SEAM + rng.uniform(-200, 200), y, rng.uniform(100, 4_000), 17)
    elif kind == 4:
        shape = shapely.union_all([star(rng, x + k * 700, y + rng.uniform(-900, 900), 300, 11) for k in range(-3, 4)])
    elif kind == 5:  # along the edges of cells and tiles
        corner = [100 * round(v / 100) for v in (x, y)]
        shape = shapely.box(corner[0], corner[1], corner[0] + 100 * rng.integers(1, 40), corner[1] + 100 * rng.integers(1, 30))
    else:  # smaller than a cell
        shape = star(rng, x, y, rng.uniform(0.5, 40), 6)
    return (
        shape
        if shape.is_valid and shape.geom_type in ("Polygon", "MultiPolygon") and shape.area > 0
        else shapely.box(x, y, x + 321, y + 123)
    )


class Cells:
    """Every cell of both tiles, its species and whether it is valid."""

    def __init__(self, store: Path) -> None:
        member, valid, shapes = [], [], []
        for tile_id in TILES:
            sets = open_assemblage(store / "assemblage" / f"{tile_id}.zarr", GRID)
            box = sets.tile.geobox()
            x, y = (v.ravel() for v in np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values))
            shapes.append(shapely.box(x - 50, y - 50, x + 50, y + 50))
            valid.append(sets.valid.ravel())
            own = np.zeros((x.size, sets.species), bool)
            for cell in range(x.size):
                own[cell, sets.sets.of(cell)] = True
            member.append(own)
        self.member, self.valid, self.shapes = np.concatenate(member), np.concatenate(valid), np.concatenate(shapes)
        self.tree = shapely.STRtree(self.shapes)

    def count(self, shape: shapely.Geometry) -> tuple[float, np.ndarray]:
        """Valid cells in a shape, and those with each species, by the area of every cell inside."""
        met = self.tree.query(shape, predicate="intersects")
        shapely.prepare(shape)
        whole = shapely.contains_properly(shape, self.shapes[met])
        share = np.ones(len(met))
        share[~whole] = shapely.area(shapely.intersection(self.shapes[met[~whole]], shape)) / 1e4
        share *= self.valid[met]
        return float(share.sum()), share @ self.member[met]


@pytest.fixture(scope="module")
def cells(plants: Path) -> Cells:
    return Cells(plants)


@pytest.fixture(scope="module")
def atlas(plants: Path) -> Iterator[Atlas]:
    atlas = open_atlas(plants)
    yield atlas
    atlas.close()


def covered(atlas: Atlas, area: Area) -> Cover:
    tiles = tiles_of(atlas.today, area, 16)
    return survey(atlas.today, area, tiles, atlas.species.species.hash, Budget(60)).cover


def test_five_hundred_areas_are_counted_as_by_brute_force(atlas, cells):
    """Cells and every species' cells are those of the parts of all cells inside, one by one: none wrong, none missing, none too many."""
    wrong, outside, partial = [], 0, 0
    for i in range(500):
        area = area_of(lonlat(drawn(i)), "EPSG:3035")
        if not shapely.intersects(area.shape, MAP):
            with pytest.raises(InvalidParameter, match="outside the map"):
                tiles_of(atlas.today, area, 16)
            outside += 1
            continue
        found = covered(atlas, area)
        wanted, of_species = cells.count(area.shape)
        own = np.nan_to_num(found.coverage) * found.cells
        partial += found.partial
        same = abs(found.cells - wanted) <= 1e-4 + 1e-6 * wanted and (np.abs(own - of_species) <= 1e-4 + 1e-6 * wanted).all()
        if not same or found.partial != (shapely.difference(area.shape, MAP).area > 1e-6 * area.shape.area):
            wrong.append((i, found.cells, wanted))
    assert wrong == []
    assert 5 < outside < 200 and partial > 20


@pytest.mark.parametrize("corners", [100_000, 199_990])
def test_areas_of_very_many_vertices_are_counted_too(atlas, cells, corners):
    """An outline of a hundred thousand corners, over the seam."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    far = 1_800 + 300 * np.sin(40 * turn) + 5 * np.sin(9_000 * turn)
    shape = shapely.Polygon(np.stack([SEAM + far * np.cos(turn), 2_552_500 + far * np.sin(turn)], axis=1))
    area = area_of(lonlat(shape), "EPSG:3035")
    found, (wanted, of_species) = covered(atlas, area), cells.count(area.shape)
    assert found.cells == pytest.approx(wanted, abs=1e-3)
    np.testing.assert_allclose(found.coverage * found.cells, of_species, atol=1e-3)


def test_an_outline_that_crosses_itself_is_refused_with_the_place(flora):
    """Bow-ties: 400, the reason in words, and the latitude and longitude of the crossing."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b, c, d = rng.uniform((7.0, 46.0), (7.4, 46.2), (4, 2))
        quad = shapely.convex_hull(shapely.MultiPoint([a, b, c, d]))
        corners = shapely.get_coordinates(quad)[:-1]
        if len(corners) != 4:
            continue
        bow = [corners[0], corners[1], corners[3], corners[2], corners[0]]
        cross = shapely.intersection(shapely.LineString([corners[1], corners[3]]), shapely.LineString([corners[2], corners[0]]))
        told = {"type": "Polygon", "coordinates": [[list(map(float, corner)) for corner in bow]]}
        answer = flora.post("/ogc/processes/area-report/execution", json={"inputs": {"area": told}})
        assert answer.status_code == 400
        said = answer.json()["detail"]
        assert "its outline crosses itself" in said and "Self-intersection" in said
        place = [float(word.strip(",")) for word in said.replace("(", " ").split() if word.strip(",").replace(".", "").isdigit()]
        crossings = [cross] if not cross.is_empty else []
        crossings.append(shapely.intersection(shapely.LineString([corners[0], corners[1]]), shapely.LineString([corners[3], corners[2]])))
        assert any(not p.is_empty and place == pytest.approx([p.y, p.x], abs=2e-6) for p in crossings)


@pytest.mark.parametrize(
    ("coordinates", "says"),
    [
        (
            [[[7.1, 46.0], [7.2, 46.0], [7.2, 46.1], [7.1, 46.0]], [[8.1, 46.0], [8.2, 46.0], [8.2, 46.1], [8.1, 46.0]]],
            "a hole lies outside",
        ),
        ([[[7.1, 46.0], [7.2, "46"], [7.2, 46.1], [7.1, 46.0]]], "no ring of positions"),
        ([[[7.1, 46.0], [7.2, None], [7.2, 46.1], [7.1, 46.0]]], "no ring of positions"),
        ([[7.1, 46.0], [7.2, 46.1]], "no ring of positions"),
        ([[[7.1, 46.0], [7.2, 46.0, 5.0], {"x": 1}]], "no ring of positions"),
        ([[[[7.1, 46.0]]]], "no ring of positions"),
        ([[[7.1, 46.0], [7.2, 1e400], [7.2, 46.1], [7.1, 46.0]]], "not finite"),
        ([[[7.1, 46.0], [7.2, 46.0]]], "four positions"),
        ("everywhere", "no polygon"),
        ([], "empty"),
    ],
)
def test_what_is_no_polygon_is_refused_in_words(coordinates, says):
    """Each fault with what it is; nothing of it reaches the geometry library's own errors."""
    with pytest.raises(InvalidParameter, match=says):
        area_of({"type": "Polygon", "coordinates": coordinates}, "EPSG:3035")


@pytest.mark.parametrize("bbox", [[-171, -53, -169, -51], [170, -50, 179, -40], [100, -60, 110, -50]])
def test_an_area_half_a_world_away_is_not_laid_over_the_map(bbox):
    """Around the place opposite to the middle of an equal-area CRS the plane is torn: an area there would come out as one of all Europe."""
    with pytest.raises(InvalidParameter, match="half a world from the map"):
        area_of({"bbox": bbox}, "EPSG:3035")
    assert area_of({"bbox": [-30, 25, 44, 75]}, "EPSG:3035").km2 > 1e7


def test_other_threads_run_while_an_outline_is_looked_at():
    """An outline of spikes takes the geometry library long: the server answers others meanwhile."""
    turn = 2 * np.pi * np.arange(30_000) / 30_000
    reach = 0.01 * (1 + 0.3 * (np.arange(30_000) % 2))
    ring = np.stack([7.97 + reach * np.cos(turn), 46.4 + reach * np.sin(turn)], axis=1)
    told = {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}
    turns, done = [0], threading.Event()

    def others() -> None:
        while not done.wait(0.001):
            turns[0] += 1

    thread = threading.Thread(target=others)
    thread.start()
    before = turns[0]
    area_of(told, "EPSG:3035")
    had = turns[0] - before
    done.set()
    thread.join()
    assert had > 20  # held, they have a turn or two between the checks


def test_heights_are_left_out():
    """A position may have a height, or only some of them."""
    flat = [[7.1, 46.0], [7.2, 46.0], [7.2, 46.1], [7.1, 46.0]]
    some = [[*flat[0], 5.0], *flat[1:]]
    every = [[*position, 1.0] for position in flat]
    assert len({area_of({"type": "Polygon", "coordinates": [ring]}, "EPSG:3035").sha256 for ring in (flat, some, every)}) == 1


def test_a_ring_may_begin_anywhere_and_run_either_way(flora):
    """Rotated, reversed, with holes and parts in another order, as a feature: the same hash and the same bytes of species."""
    shape = drawn(4)
    holed = drawn(1)
    for area in (shape, holed):
        given = lonlat(area)
        polygons = given["coordinates"] if given["type"] == "MultiPolygon" else [given["coordinates"]]
        answers = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            turned = []
            for rings in polygons:
                outer, *holes = [turn(ring, rng) for ring in rings]
                turned.append([outer, *(holes[i] for i in rng.permutation(len(holes)))])
            turned = [turned[i] for i in rng.permutation(len(turned))]
            told = {"type": "MultiPolygon", "coordinates": turned} if len(turned) > 1 else {"type": "Polygon", "coordinates": turned[0]}
            told = {"type": "Feature", "properties": {}, "geometry": told} if seed % 2 else told
            answers.append(flora.post("/ogc/processes/area-report/execution", json={"inputs": {"area": told}}).content)
        assert len(set(answers)) == 1


def turn(ring: list, rng: np.random.Generator) -> list:
    open_ring = ring[:-1]
    k = int(rng.integers(len(open_ring)))
    turned = open_ring[k:] + open_ring[:k]
    turned = turned[::-1] if rng.random() < 0.5 else turned
    return [*turned, turned[0]]


def test_parts_of_an_area_add_up(atlas):
    """However an area is cut, along the seam of tiles or anywhere, its parts hold the cells of the whole."""
    for i in range(0, 60):
        rng = np.random.default_rng(i)
        shape = shapely.intersection(star(rng, SEAM + rng.uniform(-800, 800), 2_552_500, 2_000, 19), MAP)
        at = SEAM if i % 2 else SEAM + rng.uniform(-500, 500)
        halves = [shapely.intersection(shape, shapely.box(*box)) for box in ((0, 0, at, 1e7), (at, 0, 1e7, 1e7))]
        whole, *parts = (
            covered(atlas, Area(shape=one, bounds=(0, 0, 0, 0), sha256="")) for one in (shape, *halves) if not one.is_empty and one.area > 1
        )
        assert sum(one.cells for one in parts) == pytest.approx(whole.cells, abs=1e-4)
        summed = sum(np.nan_to_num(one.coverage) * one.cells for one in parts)
        np.testing.assert_allclose(summed, whole.coverage * whole.cells, atol=1e-4)


# ---- an ensemble

MEMBERS, LATENT, COUNT = 3, 4, 30
TRAITS = {f"s{k}": {"invasive": k % 3 == 0} for k in range(COUNT)}


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory) -> Path:
    """A store of two tiles that three models were joined for, with one layer, and a corner without data."""
    root = tmp_path_factory.mktemp("ensemble")
    rng = np.random.default_rng(0)
    species = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"s{k}", scientific_name=f"Species {k}") for k in range(COUNT)))
    own = rng.normal(size=(MEMBERS, COUNT, LATENT)).astype(np.float32)
    bias = rng.normal(-1, 0.7, (MEMBERS, COUNT)).astype(np.float32)
    head = SpeciesHead(species=species, weights=np.concatenate(own, axis=1) / np.float32(MEMBERS), bias=bias.mean(axis=0))
    layer = Layer(id="field", title="Field", description="Made up.", family="Ecosystem", asset="field", nodata=float("nan"))
    items = []
    for tile_id in TILES:
        tile = GRID.tile(tile_id)
        valid = np.ones((50, 50), bool)
        valid[:7, :9] = False
        made = LatentTile(
            tile=tile,
            z=rng.integers(-127, 128, (50, 50, MEMBERS * LATENT)).astype(np.int8),
            scale=np.full(MEMBERS * LATENT, 1 / 80, np.float32),
            valid=valid,
            availability=(rng.integers(100, 256, (50, 50)) / 255).astype(np.float32),
            head=head,
            member_bias=bias,
        )
        latent, sets = root / "latent" / f"{tile_id}.zarr", root / "assemblage" / f"{tile_id}.zarr"
        for path in (latent, sets):
            path.parent.mkdir(exist_ok=True)
        write_latent(made, latent)
        found = surveyed(open_species_tile(latent, GRID), {})
        write_assemblage(
            Assemblage(tile=tile, species=COUNT, list_hash=species.hash, threshold=found.threshold, sets=found.sets, means=found.means),
            sets,
        )
        raster = root / "tiles" / tile_id / "field.tif"
        write_cog(raster, np.ones((1, 50, 50), np.float32), tile.geobox(), band_names=["field"], nodata=float("nan"), unit="1")
        products = [
            Product.of(raster, key="field", media_type=COG, title="Field"),
            Product.of(latent, key="latent", media_type=ZARR, title="p"),
            Product.of(sets, key="assemblage", media_type=ZARR, title="sets"),
        ]
        items.append(write_item(root, tile, products, interval=(datetime(2017, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))))
    words = {"title": "Ensemble", "description": "Two tiles.", "notice": "Predicted.", "license": "CC0-1.0"}
    write_catalog(
        root, **words, layers=[layer], items=items, overviews=write_overviews(root, items, [layer], species=species, traits=TRAITS)
    )
    return root


@pytest.fixture(scope="module")
def asked(ensemble) -> Iterator[TestClient]:
    with TestClient(create_app(ensemble), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("seed", range(4))
def test_the_range_is_what_each_member_alone_would_cover(asked, ensemble, seed):
    """Low and high are those of the members' own predictions above the cells' thresholds, cell by cell; p is the mean over the cells."""
    shape = star(np.random.default_rng(seed), SEAM, 2_552_500, 1_900, 15)
    told = asked.post("/ogc/processes/species-in-area/execution", json={"inputs": {"area": lonlat(shape)}}).json()
    area, counted = area_of(lonlat(shape), "EPSG:3035"), Cells(ensemble)
    share = shapely.area(shapely.intersection(counted.shapes, area.shape)) / 1e4 * counted.valid
    tiles = [open_latent(ensemble / "latent" / f"{id}.zarr", GRID, assemblage=ensemble / "assemblage" / f"{id}.zarr") for id in TILES]
    limit = np.concatenate([tile.threshold.ravel() for tile in tiles])

    def over_cells(tile_of) -> np.ndarray:
        return np.nan_to_num(np.concatenate([tile_of(tile).block(slice(None)).reshape(COUNT, -1) for tile in tiles], axis=1))

    mean = over_cells(lambda tile: tile) @ share / share.sum()
    covers = np.array([(over_cells(lambda tile, m=m: tile.member(m)) > np.nan_to_num(limit, nan=2)) @ share for m in range(MEMBERS)])
    covers /= share.sum()
    assert (told["members"] == MEMBERS and told["interval_cells"] == told["area"]["cells"] == pytest.approx(share.sum(), abs=1e-3)) or (
        told["interval_cells"] == int((share > 0).sum())
    )
    assert len(told["species"]) > 15
    for row in told["species"]:
        k = int(row["taxonID"][1:])
        assert row["low"] == pytest.approx(min(covers[:, k].min(), row["coverage"]), abs=1e-3)
        assert row["high"] == pytest.approx(max(covers[:, k].max(), row["coverage"]), abs=1e-3)
        assert row["probability"] == pytest.approx(mean[k], abs=1e-5)
        assert 0 <= row["low"] <= row["coverage"] <= row["high"] <= 1
    assert max(row["high"] - row["low"] for row in told["species"]) > 0.05


def test_a_range_of_some_cells_holds_the_coverage_of_all(ensemble, monkeypatch):
    """Where cells times species are too many, every so many-th cell is asked: coverage stays exact, its range near, and both the same each time."""
    whole = areas.PRODUCTS
    atlas, area = open_atlas(ensemble), area_of(lonlat(MAP), "EPSG:3035")

    def at(products: int) -> Cover:
        monkeypatch.setattr(areas, "PRODUCTS", products)
        return covered(atlas, area)

    every, some, again = at(whole), at(500 * COUNT), at(500 * COUNT)
    atlas.close()
    assert some.from_cells <= 1_000 + COUNT < every.from_cells and some.members == MEMBERS
    np.testing.assert_array_equal(some.coverage, every.coverage)
    np.testing.assert_array_equal(some.low, again.low)
    found = every.coverage > 0
    assert (some.low[found] <= every.coverage[found]).all() and (some.high[found] >= every.coverage[found]).all()
    np.testing.assert_allclose(some.low[found], every.low[found], atol=0.08)
    np.testing.assert_allclose(some.probability[found], every.probability[found], atol=0.03)


@pytest.mark.parametrize("least", [0, 0.4])
def test_expected_species_are_counted_whether_listed_or_not(asked, ensemble, least):
    """The sum of the mean probabilities of all species of a group, those below the smallest coverage and in no cell's set among them."""
    shape = star(np.random.default_rng(1), SEAM, 2_552_500, 90, 15)
    inputs = {"area": lonlat(shape), "min_coverage": least}
    told = asked.post("/ogc/processes/area-report/execution", json={"inputs": inputs}).json()
    area, counted = area_of(lonlat(shape), "EPSG:3035"), Cells(ensemble)
    share = shapely.area(shapely.intersection(counted.shapes, area.shape)) / 1e4 * counted.valid
    tiles = [open_latent(ensemble / "latent" / f"{id}.zarr", GRID) for id in TILES]
    row, column = np.divmod(np.arange(2_500), 50)
    p = np.nan_to_num(np.concatenate([tile.at(row, column) for tile in tiles]))
    mean = share @ p / share.sum()
    listed = {row["taxonID"] for row in told["species"]}
    own = [k for k in range(COUNT) if TRAITS[f"s{k}"]["invasive"]]
    assert told["groups"]["invasive"]["expected"] == pytest.approx(float(mean[own].sum()), rel=1e-5)
    assert set(told["groups"]["invasive"]["species"]) == listed & {f"s{k}" for k in own} != {f"s{k}" for k in own}


def test_of_an_area_without_data_nothing_is_expected(asked):
    """Null, where a number would say that somebody looked."""
    shape = shapely.box(4_100_050, 2_554_850, 4_100_250, 2_554_950)
    told = asked.post("/ogc/processes/area-report/execution", json={"inputs": {"area": lonlat(shape)}}).json()
    assert told["area"]["cells"] == 0 and told["count"] == 0 and told["probability_of"] is None
    assert {group["expected"] for group in told["groups"].values()} == {None}


def test_one_model_has_no_range(flora):
    """Null for low and high, and the reason can be read: one member."""
    told = flora.post("/ogc/processes/species-in-area/execution", json={"inputs": {"area": lonlat(drawn(0))}}).json()
    assert told["members"] == 1 and told["interval_cells"] is None
    assert {(row["low"], row["high"]) for row in told["species"]} == {(None, None)}


# ---- here


def test_here_tells_what_the_tile_holds_at_the_cell(asked, ensemble):
    """Probabilities, sets, threshold and the members' range are those of the one cell; the place comes back; the likeliest first."""
    rng = np.random.default_rng(3)
    tiles = {id: open_latent(ensemble / "latent" / f"{id}.zarr", GRID, assemblage=ensemble / "assemblage" / f"{id}.zarr") for id in TILES}
    for _ in range(25):
        x, y = rng.uniform(4_100_000, 4_110_000), rng.uniform(2_550_000, 2_555_000)
        lon, lat = transformer("EPSG:3035", "CRS:84").transform(x, y)
        told = asked.get("/api/here", params={"lon": lon, "lat": lat, "limit": 7}).json()
        tile = tiles[TILES[int(x > SEAM)]]
        row, column = int((2_555_000 - y) // 100), int((x - tile.tile.bounds[0]) // 100)
        west, south, east, north = told["cell"]["bounds"]
        assert west <= x < east and south < y <= north and east - west == told["cell"]["size"] == 100
        assert told["tile"] == tile.tile.id
        if not tile.valid[row, column]:
            assert told["state"] == "no-data" and told["species"] == []
            continue
        p = tile.at(row, column)[0]
        members = np.stack([tile.member(m).at(row, column)[0] for m in range(MEMBERS)])
        own = tile.assemblage.sets.of(row * 50 + column)
        assert told["state"] == "ok" and told["count"] == len(own) and told["listed"] == 7 and told["members"] == MEMBERS
        assert told["threshold"] == pytest.approx(tile.threshold[row, column], rel=1e-6)
        assert [r["taxonID"] for r in told["species"]] == [f"s{k}" for k in np.argsort(-p, kind="stable")[:7]]
        for found in told["species"]:
            k = int(found["taxonID"][1:])
            assert found["present"] == (k in own)
            assert found["probability"] == pytest.approx(p[k], rel=1e-5)
            assert found["low"] == pytest.approx(members[:, k].min(), rel=1e-4) and found["high"] == pytest.approx(
                members[:, k].max(), rel=1e-4
            )
            assert found["low"] <= found["probability"] <= found["high"]


def test_here_tells_indicators_habitat_and_the_nearest_records(serving):
    """By the layers' own cells; records by the middles of their squares, the nearest first, none of hidden species, none of absence."""
    lon, lat = transformer("EPSG:3035", "CRS:84").transform(4_100_150, 2_550_150)
    client = serving(occurrences=100, private_layers=("species.cyp*",))
    told = client.get("/api/here", params={"lon": lon, "lat": lat}).json()
    richness = next(one for one in told["indicators"] if one["layer"] == "richness")
    assert richness["value"] > 0 and (richness["low"], richness["high"]) == (None, None) and richness["level"] == 0.9
    assert told["habitat"] == {"layer": "habitat", "value": 2, "label": "Grassland"}
    assert told["records"]["state"] == "ok" and [r["taxonID"] for r in told["records"]["nearest"]] == ["abies-alba", "fagus-sylvatica"]
    first = told["records"]["nearest"][0]
    assert (first["distance_m"], first["square_m"], first["year"]) == (800, 100, 2019)
    assert "cypripedium" not in json.dumps(told) and [r["probability"] for r in told["species"]] == sorted(
        (r["probability"] for r in told["species"]), reverse=True
    )
    open_to_all = serving().get("/api/here", params={"lon": lon, "lat": lat})
    assert open_to_all.json()["records"] == {"state": "off", "nearest": []}
    assert "cypripedium-calceolus" in open_to_all.text and open_to_all.headers["etag"]
    again = serving().get("/api/here", params={"lon": lon, "lat": lat}, headers={"If-None-Match": open_to_all.headers["etag"]})
    assert again.status_code == 304


def test_an_indicator_has_the_interval_of_its_deviation(epochs_client):
    """Value and 1.645 standard deviations to each side, never below nothing; words in French; whether the model applies."""
    lon, lat = transformer("EPSG:3035", "CRS:84").transform(4_100_100, 2_550_100)
    told = epochs_client.get("/api/here", params={"lon": lon, "lat": lat, "lang": "fr"}).json()
    (richness,) = (one for one in told["indicators"] if one["layer"] == "richness")
    deviation = (richness["value"] / 0.05 // 10) * 0.05
    assert richness["low"] == pytest.approx(max(richness["value"] - 1.645 * deviation, 0))
    assert richness["high"] == pytest.approx(richness["value"] + 1.645 * deviation)
    assert richness["title"] == "Richesse spécifique" and richness["uncertainty_title"] == "Richesse spécifique : écart-type"
    assert told["habitat"]["label"] == "Forêt" and told["applicable"] is False
    warm = epochs_client.get("/api/here", params={"lon": lon, "lat": lat, "scenario": "warmer"}).json()
    assert (
        warm["epoch"]["name"] == "warmer" and next(o for o in warm["indicators"] if o["layer"] == "richness")["value"] > richness["value"]
    )


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("lat=46.02&lon=20", 200, "outside"),
        ("lat=-46&lon=-170", 200, "outside"),
        ("lat=46,02&lon=7.2", 400, "with a point"),
        ("lat=46.02", 400, "lon is missing"),
        ("lat=nan&lon=7.2", 400, "no latitude"),
        ("lat=46.02&lon=190", 400, "no longitude"),
        ("lat=46.02&lon=7.2&limit=2000", 400, "1 to 1000"),
        ("lat=46.02&lon=7.2&limit=-1", 400, "1 to 1000"),
        ("lat=46.02&lon=7.2&scenario=colder", 400, "no scenario"),
    ],
)
def test_a_place_that_cannot_be_told_says_why(flora, query, status, says):
    """Outside of the map is an answer; a number that is none is a fault with what to write."""
    answer = flora.get(f"/api/here?{query}")
    assert answer.status_code == status and says in (answer.json()["state"] if status == 200 else answer.json()["detail"])


def test_members_of_a_sensitive_species_say_what_its_squares_say(ensemble):
    """Members and means of an area come of the squares' means, as the tile itself tells them; of a withheld species there is nothing."""
    tile = generalised(open_latent(ensemble / "latent" / f"{TILES[0]}.zarr", GRID), {3: 10, 8: 0})
    cells = np.flatnonzero(tile.valid.ravel())[::37]
    rows, columns = np.divmod(cells, 50)
    weight, threshold = np.linspace(0.1, 1, len(cells)), np.full(len(cells), 0.3, np.float32)
    species = np.array([1, 3, 8, 20])
    said = agreement(tile, cells, weight, species, threshold)
    own = np.nan_to_num(tile.at(rows, columns)[:, species])
    alone = np.stack([np.nan_to_num(tile.member(m).at(rows, columns)) for m in range(MEMBERS)])
    np.testing.assert_allclose(said.mass, weight @ own, rtol=1e-5)
    np.testing.assert_allclose(said.present, [weight @ (p[:, species] > 0.3) for p in alone], rtol=1e-9)
    assert said.mass[2] == 0 and (said.present[:, 2] == 0).all()
    for i in (0, 5, 30):
        np.testing.assert_allclose(members_at(tile, int(rows[i]), int(columns[i])), alone[:, i], rtol=1e-4, atol=1e-7)
