"""Named grids: the shipped tables, and how they and a user's own are made."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from geoplantnet.errors import CrsError, InputError, UnknownTile, UsageError
from geoplantnet.grid.named import (
    COLUMNS,
    FACTS,
    checked_name,
    describe,
    majority_regions,
    make_grid,
    neighbours,
    on_grid,
    outline,
    read_grid,
    read_polygons,
    tiles_of,
    write_grid,
)
from geoplantnet.grid.tile_grid import TileGrid

GRID = TileGrid()
KM2 = GRID.tile_size**2 / 1e6
REPOSITORY = Path(__file__).parents[2]
TILES = REPOSITORY / "tiles"
SHIPPED = {"demo": 4, "alps": 14, "cbnmed": 125, "greece": 423, "europe": 19_180}
AREA_KM2 = {"greece": 131_957, "cbnmed": 46_302}  # Hellenic Statistical Authority; IGN, the nine departments
REGIONS = {
    *("Alpine", "Anatolian", "Arctic", "Atlantic", "Black Sea", "Boreal", "Continental", "Macaronesian", "Mediterranean", "Pannonian"),
    *("Steppic", ""),
}
CITIES = {
    **{"Athens": (23.73, 37.98, "GR", "Mediterranean"), "Montpellier": (3.88, 43.61, "FR", "Mediterranean")},
    **{"Bolzano": (11.35, 46.50, "IT", "Alpine"), "Helsinki": (24.94, 60.17, "FI", "Boreal"), "Paris": (2.35, 48.86, "FR", "Atlantic")},
    **{
        "Budapest": (19.05, 47.50, "HU", "Pannonian"),
        "Ankara": (32.85, 39.93, "TR", "Anatolian"),
        "Funchal": (-16.9, 32.7, "PT", "Macaronesian"),
    },
    **{"Murmansk": (33.09, 68.97, "RU", "Boreal"), "Gällivare": (20.65, 67.13, "SE", "Boreal"), "Volgograd": (44.5, 48.7, "RU", "Steppic")},
    **{
        "Reykjavik": (-21.9, 64.13, "IS", "Arctic"),
        "Longyearbyen": (15.64, 78.22, "NO", "Arctic"),
        "Simferopol": (34.1, 44.95, "UA", "Steppic"),
    },
    **{
        "Nicosia": (33.37, 35.17, "CY", "Mediterranean"),
        "Zurich": (8.54, 47.37, "CH", "Continental"),
        "Dublin": (-6.26, 53.35, "IE", "Atlantic"),
    },
}
to_map = Transformer.from_crs("EPSG:4326", GRID.crs, always_xy=True).transform


@cache
def shipped(name: str) -> pd.DataFrame:
    return read_grid(TILES / f"{name}.csv", GRID)


@cache
def recipe_of_grids() -> ModuleType:
    """tiles/make_grids.py as a module."""
    spec = importlib.util.spec_from_file_location("make_grids", TILES / "make_grids.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["make_grids"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(data_folder: Path) -> tuple[dict[str, BaseGeometry], pd.DataFrame]:
    """Land by country and cells by region, as the shipped grids are made from."""
    for file in ("boundaries/ne_countries_10m_europe.gpkg", "europe_env_edc/eea_grid10km_biogeographic_regions.parquet"):
        if not (data_folder / file).is_file():
            pytest.skip(f"{file} is not under {data_folder}; set GEOPLANTNET_DATA")
    module = recipe_of_grids()
    return module.land_of(data_folder), module.regions_of(data_folder)


@pytest.fixture(scope="module")
def areas(data: tuple[dict[str, BaseGeometry], pd.DataFrame]) -> dict[str, BaseGeometry]:
    """The areas behind the shipped grids."""
    found: dict[str, BaseGeometry] = recipe_of_grids().areas_of(*data)
    return found


def square(west: float, south: float, side: float = 1.0) -> BaseGeometry:
    return shapely.box(west, south, west + side, south + side)


def save(path: Path, *geometries: Any, crs: Any = "EPSG:4326", driver: str = "GPKG", **options: Any) -> Path:
    pyogrio.write_dataframe(
        gpd.GeoDataFrame({"n": range(len(geometries))}, geometry=list(geometries), crs=crs), path, driver=driver, **options
    )
    return path


# the shipped grids


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_grid_is_sound(name: str) -> None:
    """Ids are valid and unique (the reader checks), the count is the known one, codes and regions are known words."""
    table = shipped(name)
    assert len(table) == SHIPPED[name]
    assert table.country.str.fullmatch("[A-Z]{2}").all()
    listed = table.countries.str.split("|")
    assert (listed.str[0] == table.country).all()
    assert all(len(set(codes)) == len(codes) for codes in listed)
    assert set(table.biogeographic_region) <= REGIONS
    assert (table.biogeographic_region == "").sum() == (7 if name == "europe" else 0)


@pytest.mark.parametrize("name", ["cbnmed", "greece", "europe"])
def test_rows_run_south_to_north_then_west_to_east(name: str) -> None:
    """The order of rows is that of the corners."""
    corners = [(tile.south, tile.west) for tile in map(GRID.tile, shipped(name).tile_id)]
    assert corners == sorted(corners)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_grid_is_part_of_europe(name: str) -> None:
    """A tile says the same of itself (countries, region) in every grid, and no grid has more land in it than Europe."""
    table, europe = shipped(name), shipped("europe").set_index("tile_id").loc[shipped(name).tile_id]
    for column in FACTS:
        assert (table[column].to_numpy() == europe[column].to_numpy()).all()
    assert (table.land_share.to_numpy() <= europe.land_share.to_numpy()).all()


def test_greece_is_the_tiles_of_europe_that_name_it() -> None:
    """The grid of a country and the column `countries` say the same."""
    europe = shipped("europe")
    assert list(shipped("greece").tile_id) == list(europe.tile_id[europe.countries.str.split("|").map(lambda codes: "GR" in codes)])


def test_demo_and_alps_keep_their_tiles_and_order() -> None:
    """Runs and published demos depend on these ids."""
    assert list(shipped("demo").tile_id) == ["25kmE4125N2575", "25kmE4125N2600", "25kmE4150N2575", "25kmE4150N2600"]
    assert list(shipped("alps").tile_id[:4]) == list(shipped("demo").tile_id)
    assert list(shipped("alps").region[[6, 13]]) == ["Glarus south-west", "Bolzano north-east"]


@pytest.mark.parametrize("name", AREA_KM2)
def test_the_area_is_that_of_the_statistics(name: str) -> None:
    """Shares times 625 km2 give the official area within what a generalised or hand-drawn outline costs."""
    assert shipped(name).land_share.sum() * KM2 == pytest.approx(AREA_KM2[name], rel=0.02)


def test_europe_has_the_size_of_europe() -> None:
    """10.2 million km2 of continent and islands, less Kazakhstan's corner, plus Asian Turkey: 10.7."""
    assert shipped("europe").land_share.sum() * KM2 == pytest.approx(10.7e6, rel=0.01)


@pytest.mark.parametrize("city", CITIES)
def test_cities_lie_in_their_country_and_region(city: str) -> None:
    """The tile of a known city names its country and its biogeographic region."""
    lon, lat, country, region = CITIES[city]
    row = shipped("europe").set_index("tile_id").loc[GRID.tile_at(*to_map(lon, lat)).id]
    assert (row.country, row.biogeographic_region) == (country, region)


@pytest.mark.parametrize(
    ("place", "lon", "lat", "held"),
    [
        *[
            ("Montpellier", 3.877, 43.611, True),
            ("Mende", 3.5, 44.518, True),
            ("Nice", 7.262, 43.71, True),
            ("Perpignan", 2.895, 42.699, True),
        ],
        *[("Avignon", 4.806, 43.949, True), ("Carcassonne", 2.354, 43.213, True), ("Le Vigan", 3.606, 43.992, True)],
        *[("Gap", 6.08, 44.56, False), ("Albi", 2.148, 43.93, False), ("Rodez", 2.575, 44.351, False), ("Privas", 4.6, 44.735, False)],
        *[
            ("Bastia", 9.45, 42.7, False),
            ("Valence", 4.892, 44.933, False),
            ("Barcelona", 2.17, 41.39, False),
            ("Foix", 1.605, 42.965, False),
        ],
    ],
)
def test_the_french_mediterranean_has_its_towns(place: str, lon: float, lat: float, held: bool) -> None:
    """Towns of the nine departments lie in cbnmed's area, those around it do not."""
    tile = GRID.tile_at(*to_map(lon, lat)).id
    inside = recipe_of_grids().CBNMED.contains(shapely.Point(lon, lat))
    assert inside == held
    assert tile in set(shipped("cbnmed").tile_id) or not held


def test_neighbours_are_symmetric_and_touch() -> None:
    """Each neighbour has the tile among its own, they touch, and a tile of the interior has eight."""
    around = neighbours(shipped("greece").tile_id, GRID)
    assert all(a in around[b] for a, found in around.items() for b in found)
    assert all(shapely.box(*GRID.tile(a).bounds).touches(shapely.box(*GRID.tile(b).bounds)) for a, found in around.items() for b in found)
    pairs = shapely.STRtree(squares := outline(around, GRID).geometry.to_numpy()).query(squares, predicate="touches")
    assert pairs.shape[1] == sum(map(len, around.values()))
    assert max(map(len, around.values())) == 8


# the laws, against the data


@pytest.mark.parametrize("name", ["greece", "cbnmed", "europe"])
def test_shares_sum_to_the_area(name: str, areas: dict[str, BaseGeometry]) -> None:
    """Area law: shares times 625 km2 equal the area of the geometry in the equal-area CRS."""
    assert shipped(name).land_share.sum() * KM2 == pytest.approx(areas[name].area / 1e6, rel=1e-5)


@pytest.mark.parametrize("name", ["greece", "cbnmed"])
def test_brute_force_finds_the_same_tiles(name: str, areas: dict[str, BaseGeometry]) -> None:
    """One intersection for every tile of the bounding box gives the shipped ids and shares."""
    area = areas[name]
    shapely.prepare(area)
    tiles = list(GRID.tiles_in(*area.bounds))
    shares = shapely.area(shapely.intersection(area, shapely.box(*np.array([t.bounds for t in tiles]).T))) / GRID.tile_size**2
    expected = {tile.id: share for tile, share in zip(tiles, shares) if share > 5e-7}
    table = shipped(name)
    assert list(table.tile_id) == list(expected)
    assert np.abs(table.land_share.to_numpy() - list(expected.values())).max() < 1e-6


def test_every_point_on_land_lies_in_a_listed_tile(areas: dict[str, BaseGeometry]) -> None:
    """2,000 random points of Europe: those on land have their tile in the grid, and no listed tile is without land."""
    area, listed = areas["europe"], set(shipped("europe").tile_id)
    shapely.prepare(area)
    rng = np.random.default_rng(1)
    west, south, east, north = area.bounds
    x, y = rng.uniform(west, east, 2_000), rng.uniform(south, north, 2_000)
    land = shapely.contains_xy(area, x, y)
    assert land.sum() > 300
    assert set(GRID.tile_ids_at(x[land], y[land])) <= listed
    some = outline(rng.choice(sorted(listed), 300, replace=False), GRID).geometry.to_numpy()
    assert shapely.intersects(area, some).all()


def test_the_data_give_the_shipped_bytes(tmp_path: Path, data: tuple[dict[str, BaseGeometry], pd.DataFrame]) -> None:
    """Making all grids anew writes the same files."""
    for name, table in recipe_of_grids().make(*data).items():
        assert write_grid(table, tmp_path / f"{name}.csv").read_bytes() == (TILES / f"{name}.csv").read_bytes(), name


# tiles of an area


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=3, max_size=12, unique=True), st.integers(0, 60))
def test_shares_are_the_areas_of_the_pieces(points: list[tuple[int, int]], hole: int) -> None:
    """Any polygon, with a hole: the tiles are those brute force finds, and the shares sum to the area."""
    area = shapely.MultiPoint([(3_500_000 + 500 * x, 2_500_000 + 500 * y) for x, y in points]).convex_hull
    if area.geom_type != "Polygon":
        return
    area = area.difference(area.centroid.buffer(500 * hole)) if hole else area
    if area.is_empty:
        return
    table = tiles_of(area, GRID, crs=GRID.crs)
    pieces = {t.id: shapely.box(*t.bounds).intersection(area).area / GRID.tile_size**2 for t in GRID.tiles_in(*area.bounds)}
    assert dict(zip(table.tile_id, table.land_share)) == pytest.approx({k: v for k, v in pieces.items() if v > 5e-7}, abs=1e-6)
    assert table.land_share.sum() * GRID.tile_size**2 == pytest.approx(area.area, rel=1e-4, abs=1e4)


def test_a_tile_is_its_own_grid() -> None:
    """A tile's square meets that tile alone, wholly; touching an edge is not meeting."""
    tile = GRID.tile("25kmE4125N2575")
    table = tiles_of(shapely.box(*tile.bounds), GRID, crs=GRID.crs)
    assert table.to_numpy().tolist() == [[tile.id, 1.0]]


def test_long_parallels_stay_parallels() -> None:
    """A box of two vertices a side, 30 degrees wide, gets the tiles of the box drawn finely: edges are cut before they are moved."""
    coarse, fine = shapely.box(0, 60, 30, 61), shapely.segmentize(shapely.box(0, 60, 30, 61), 0.001)
    a, b = tiles_of(coarse, GRID, crs="EPSG:4326"), tiles_of(fine, GRID, crs="EPSG:4326")
    assert list(a.tile_id) == list(b.tile_id)
    assert np.abs(a.land_share - b.land_share).max() < 1e-5  # 0.5 m in 25 km is 2e-5 of a tile at most
    vertices_only = gpd.GeoSeries([coarse], crs="EPSG:4326").to_crs(GRID.crs).iloc[0]
    assert set(tiles_of(vertices_only, GRID, crs=GRID.crs).tile_id) != set(a.tile_id)


@pytest.mark.parametrize("crs", ["EPSG:2154", "EPSG:32631", "EPSG:3857", "EPSG:2056", "EPSG:4258", "EPSG:27700"])
def test_any_crs_gives_the_same_tiles(crs: str) -> None:
    """One area told in another CRS (metres, degrees) meets the same tiles."""
    area = gpd.GeoSeries([shapely.segmentize(square(5, 45), 0.001)], crs="EPSG:4326")
    here, there = tiles_of(area, GRID), tiles_of(area.to_crs(crs), GRID)
    assert list(here.tile_id) == list(there.tile_id)
    assert np.abs(here.land_share - there.land_share).max() < 1e-3  # national datums are metres apart


def test_overlapping_polygons_count_once() -> None:
    """Two features over each other are one area."""
    once = tiles_of(gpd.GeoSeries([shapely.box(5, 45, 6.5, 46)], crs="EPSG:4326"), GRID)
    twice = tiles_of(gpd.GeoSeries([shapely.box(5, 45, 6, 46), shapely.box(5.5, 45, 6.5, 46)], crs="EPSG:4326"), GRID)
    assert list(once.tile_id) == list(twice.tile_id)
    assert np.abs(once.land_share - twice.land_share).max() < 1e-5


def test_a_buffer_widens_and_a_minimum_narrows() -> None:
    """A buffer of 10 km adds tiles within 10 km; a least share leaves out exactly the tiles below it."""
    plain = tiles_of(square(5, 45), GRID, crs="EPSG:4326")
    wide = tiles_of(square(5, 45), GRID, crs="EPSG:4326", buffer=10_000)
    assert set(plain.tile_id) < set(wide.tile_id)
    distance = shapely.distance(outline(wide.tile_id, GRID).geometry.to_numpy(), on_grid(square(5, 45), GRID, crs="EPSG:4326"))
    assert distance.max() < 10_000
    half = tiles_of(square(5, 45), GRID, crs="EPSG:4326", min_share=0.5)
    assert list(half.tile_id) == list(plain.tile_id[plain.land_share >= 0.5])


def test_another_grid_has_other_tiles() -> None:
    """Smaller tiles: same area, more of them."""
    small = TileGrid(tile_size=5000)
    table = tiles_of(square(5, 45), small, crs="EPSG:4326")
    assert table.tile_id.str.startswith("5kmE").all()
    assert table.land_share.sum() * 25 == pytest.approx(tiles_of(square(5, 45), GRID, crs="EPSG:4326").land_share.sum() * 625, rel=1e-4)


def test_countries_are_ranked_by_their_land_in_the_tile() -> None:
    """The larger part comes first, of equals the first code; a region is that of most cell area."""
    west, south = 4_000_000, 2_500_000
    countries = gpd.GeoDataFrame(
        {"code": ["BB", "AA", "BB"]},
        geometry=[shapely.box(west, south, west + 9_000, south + 25_000), shapely.box(west + 9_000, south, west + 50_000, south + 25_000),
                  shapely.box(west + 40_000, south, west + 50_000, south + 25_000)],
        crs=GRID.crs,
    )  # fmt: skip
    cells = pd.DataFrame({"x": [west + 5_000, west + 15_000, west + 25_000], "y": [south + 5_000] * 3, "region": ["Dry", "Wet", "Dry"]})
    tiles = tiles_of(shapely.box(west, south, west + 50_000, south + 25_000), GRID, crs=GRID.crs)
    table = describe(tiles, GRID, countries=countries, regions=cells)
    assert tuple(table.columns) == COLUMNS
    assert table.countries.tolist() == ["AA|BB", "AA|BB"]
    assert table.biogeographic_region.tolist() == ["Dry", "Dry"]
    assert majority_regions(cells.iloc[:2], GRID) == {"25kmE4000N2500": "Dry"}  # equal areas: the first by name
    assert majority_regions(cells, TileGrid(tile_size=5000))["5kmE4010N2505"] == "Wet"


# files


@pytest.mark.parametrize(("ending", "driver"), [("gpkg", "GPKG"), ("geojson", "GeoJSON"), ("shp", "ESRI Shapefile"), ("GPKG", "GPKG")])
def test_make_grid_writes_what_read_grid_reads(tmp_path: Path, ending: str, driver: str) -> None:
    """A polygon file of each format becomes a grid that loads, with country and region of the tiles, the same bytes twice."""
    area = shapely.box(10.9, 46.2, 11.5, 46.6)
    file = save(tmp_path / f"area.{ending}", area, driver=driver)
    made = make_grid(file, "bozen", tmp_path / "tiles", GRID, reference=shipped("europe"))
    assert made.path == tmp_path / "tiles" / "bozen.csv"
    pd.testing.assert_frame_equal(read_grid(made.path, GRID), made.table)
    assert list(made.table.tile_id) == list(tiles_of(area, GRID, crs="EPSG:4326").tile_id)
    assert set(made.table.country) == {"IT"} and set(made.table.biogeographic_region) == {"Alpine"}
    assert made.area_km2 == pytest.approx(made.table.land_share.sum() * KM2, rel=1e-5)
    assert (made.outside_km2, made.below_min_share) == (0, 0)
    before = made.path.read_bytes()
    assert b"\r" not in before
    assert make_grid(file, "bozen", tmp_path / "tiles", GRID, reference=shipped("europe"), force=True).path.read_bytes() == before


def test_make_grid_never_overwrites_unasked(tmp_path: Path) -> None:
    """A grid that stands is kept unless `force` is given, and a failing run leaves nothing behind."""
    file = save(tmp_path / "area.gpkg", square(5, 45))
    path = make_grid(file, "mine", tmp_path / "t", GRID).path
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"mine\.csv exists.*--force"):
        make_grid(save(tmp_path / "other.gpkg", square(6, 45)), "mine", tmp_path / "t", GRID)
    with pytest.raises(InputError):
        make_grid(tmp_path / "none.gpkg", "mine", tmp_path / "t", GRID, force=True)
    assert path.read_bytes() == before
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["mine.csv"]


def test_without_a_reference_the_facts_are_unknown(tmp_path: Path) -> None:
    """Empty, never invented."""
    made = make_grid(save(tmp_path / "area.gpkg", square(5, 45)), "mine", tmp_path, GRID)
    assert (made.table[list(FACTS)] == "").all(axis=None)
    pd.testing.assert_frame_equal(read_grid(made.path, GRID), made.table)


def test_what_lies_outside_is_told(tmp_path: Path) -> None:
    """An area half in the grid: the rest is given in km2, in the grid's CRS and in degrees, near and beyond the horizon."""
    edge = shapely.box(7_350_000, 3_000_000, 7_450_000, 3_100_000)
    made = make_grid(save(tmp_path / "edge.gpkg", edge, crs=GRID.crs), "edge", tmp_path, GRID)
    assert (made.area_km2, made.outside_km2) == pytest.approx((5_000, 5_000))
    far = save(tmp_path / "far.gpkg", square(5, 45), shapely.box(-54, 2, -52, 4))  # a second part in French Guiana
    guiana = 2 * 111.32 * 2 * 110.57 * 0.9986  # km, at 3 N
    assert make_grid(far, "far", tmp_path, GRID).outside_km2 == pytest.approx(guiana, rel=0.01)


def test_tiles_below_the_least_share_are_counted(tmp_path: Path) -> None:
    """`below_min_share` says how many tiles the option left out; none left is an error that names the largest share."""
    file = save(tmp_path / "area.gpkg", square(5, 45))
    every = make_grid(file, "all", tmp_path, GRID)
    some = make_grid(file, "some", tmp_path, GRID, min_share=0.9)
    assert some.below_min_share == len(every.table) - len(some.table) > 0
    tiny = save(tmp_path / "tiny.gpkg", square(5, 45, 0.01))
    with pytest.raises(InputError, match=r"largest share is 0\.00.*--min-share"):
        make_grid(tiny, "tiny", tmp_path, GRID, min_share=0.5)


@pytest.mark.parametrize("name", ["", "Greece", "a b", "../up", "a/b", "a.csv", "1st", "é", "a" * 65, "-a"])
def test_odd_names_are_refused(name: str, tmp_path: Path) -> None:
    """The name is a file name everywhere."""
    with pytest.raises(UsageError, match="is no name of a grid"):
        make_grid(save(tmp_path / "area.gpkg", square(5, 45)), name, tmp_path, GRID)
    assert checked_name("alps-2_b") == "alps-2_b"


@pytest.mark.parametrize(
    ("option", "value"), [("buffer", -1), ("buffer", float("nan")), ("buffer", 1e7), ("min_share", 1.5), ("min_share", float("nan"))]
)
def test_odd_numbers_are_refused(option: str, value: float, tmp_path: Path) -> None:
    """Buffer and share have their range."""
    with pytest.raises(UsageError, match=option):
        make_grid(save(tmp_path / "area.gpkg", square(5, 45)), "mine", tmp_path, GRID, **{option: value})


BOWTIE = shapely.Polygon([(5, 45), (6, 46), (6, 45), (5, 46)])


@pytest.mark.parametrize(
    ("geometries", "says"),
    [
        ([shapely.Point(5, 45)], "feature 1 holds a Point.*buffer it"),
        ([square(5, 45), shapely.LineString([(5, 45), (6, 46)])], "feature 2 holds a LineString"),
        ([shapely.GeometryCollection([square(5, 45), shapely.Point(5, 45)])], "holds a Point"),
        ([square(5, 45), None], "feature 2 has no geometry"),
        ([shapely.Polygon()], "feature 1 has no geometry"),
        ([BOWTIE], "no valid polygon: Self-intersection.*mend"),
        ([], "no feature"),
        ([shapely.box(-179, 50, 179, 60)], "358.0 degrees of longitude.*antimeridian"),
    ],
)
def test_what_is_no_area_is_refused(geometries: list[Any], says: str, tmp_path: Path) -> None:
    """Points, lines, empty, invalid and antimeridian polygons end in a typed error that names the feature and the way out."""
    file = save(tmp_path / "area.gpkg", *geometries, **({} if geometries else {"geometry_type": "Polygon"}))
    with pytest.raises(InputError, match=says):
        make_grid(file, "mine", tmp_path, GRID)
    assert not (tmp_path / "mine.csv").exists()


@pytest.mark.parametrize("area", [square(-60, 0), square(170, -50), square(-170, -53), square(5, -45)])
def test_an_area_elsewhere_is_an_unknown_tile(area: BaseGeometry, tmp_path: Path) -> None:
    """Far off, even at the antipode of the projection's centre."""
    with pytest.raises(UnknownTile, match=r"outside the grid's bounds.*check its CRS"):
        make_grid(save(tmp_path / "area.gpkg", area), "mine", tmp_path, GRID)


def test_a_missing_or_untrue_crs_is_refused(tmp_path: Path) -> None:
    """No CRS; metres that claim to be degrees; a coordinate nowhere on the Earth; a CRS that has no place on it."""
    shape = save(tmp_path / "area.shp", square(5, 45), driver="ESRI Shapefile")
    shape.with_suffix(".prj").unlink()
    with pytest.raises(CrsError, match=r"has no CRS.*a_srs"):
        make_grid(shape, "mine", tmp_path, GRID)
    with pytest.raises(CrsError, match="no longitudes and latitudes"):
        make_grid(save(tmp_path / "metres.geojson", square(4e6, 2.5e6, 1e5), driver="GeoJSON"), "mine", tmp_path, GRID)
    with pytest.raises(CrsError, match="nowhere on the Earth"):
        make_grid(save(tmp_path / "huge.gpkg", square(1e12, 2.5e6, 1e12), crs="EPSG:32631"), "mine", tmp_path, GRID)
    with pytest.raises(CrsError, match="has no CRS"):
        tiles_of(square(5, 45), GRID)
    local = gpd.GeoSeries([square(5, 45)], crs='LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(CrsError, match="cannot be brought"):
        tiles_of(local, GRID)


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    """The ending names the driver, the content must agree, and nothing but a local file is opened."""
    for name in ("area.kml", "area.vrt", "area"):
        with pytest.raises(InputError, match="says no format read here"):
            read_polygons(tmp_path / name)
    for name in ("/vsicurl/http://host/area.gpkg", tmp_path, tmp_path / "absent.shp"):
        with pytest.raises(InputError):
            read_polygons(name)
    (tmp_path / "vrt.shp").write_text("<OGRVRTDataSource/>")
    (tmp_path / "text.gpkg").write_text("not a package")
    (tmp_path / "list.geojson").write_text("[1, 2]")
    (tmp_path / "empty.geojson").write_text("")
    for name in ("vrt.shp", "text.gpkg", "list.geojson", "empty.geojson"):
        with pytest.raises(InputError, match="the content is no"):
            read_polygons(tmp_path / name)
    (tmp_path / "topo.json").write_text('{"type": "Topology", "objects": {}, "arcs": []}')
    (tmp_path / "half.geojson").write_text('{"type": "FeatureCollection", "features": [')
    (tmp_path / "half.gpkg").write_bytes(save(tmp_path / "area.gpkg", square(5, 45)).read_bytes()[:5000])
    for name in ("topo.json", "half.geojson", "half.gpkg"):
        with pytest.raises(InputError):
            read_polygons(tmp_path / name)


def test_several_layers_need_a_name(tmp_path: Path) -> None:
    """A package of two layers is not guessed at; an unknown layer is answered with those there are."""
    file = save(tmp_path / "two.gpkg", square(5, 45), layer="a")
    save(file, square(7, 45), layer="b", append=True)
    with pytest.raises(InputError, match=r"2 layers with geometry \(a, b\).*--layer"):
        read_polygons(file)
    with pytest.raises(InputError, match="no layer 'c'; there are a, b"):
        read_polygons(file, layer="c")
    assert read_polygons(file, layer="b").total_bounds.tolist() == [7, 45, 8, 46]


def test_heights_and_nested_collections_are_no_obstacle(tmp_path: Path) -> None:
    """3D polygons, and polygons inside a collection, are areas like others."""
    high = shapely.force_3d(square(5, 45), 100.0)
    plain = make_grid(save(tmp_path / "a.gpkg", square(5, 45)), "a", tmp_path, GRID).table
    assert make_grid(save(tmp_path / "b.gpkg", high), "b", tmp_path, GRID).table.equals(plain)
    nested = {"type": "GeometryCollection", "geometries": [shapely.geometry.mapping(square(5, 45))]}
    (tmp_path / "c.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": nested}))
    assert make_grid(tmp_path / "c.geojson", "c", tmp_path, GRID).table.equals(plain)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("tile_id,land_share\n", InputError, "lacks country"),
        ("land_share,tile_id,country,countries,biogeographic_region\n", InputError, "first column is 'land_share'"),
        ("{head}25kmE4125N2575,1.5,CH,CH,Alpine\n", InputError, r"line 2: land_share '1.5'"),
        ("{head}25kmE4125N2575,,CH,CH,Alpine\n", InputError, "line 2: land_share"),
        ("{head}25kmE4125N2575,1,CH,CH,Alpine\n25kmE4125N2575,1,CH,CH,Alpine\n", InputError, "line 3: '25kmE4125N2575' stands twice"),
        ("{head}25kmE4125N2575,1,CH,CH,Alpine\n25kmE4126N2575,1,CH,CH,Alpine\n", UnknownTile, "line 3: '25kmE4126N2575'"),
        ("", InputError, "cannot be read"),
    ],
)
def test_a_damaged_table_is_refused(text: str, error: type[Exception], says: str, tmp_path: Path) -> None:
    """The reader names the file, the line and the value."""
    file = tmp_path / "grid.csv"
    file.write_text(text.replace("{head}", ",".join(COLUMNS) + "\n"))
    with pytest.raises(error, match=says):
        read_grid(file, GRID)


def test_a_country_called_na_is_no_missing_value(tmp_path: Path) -> None:
    """NA is Namibia's code."""
    row = pd.DataFrame([["25kmE4125N2575", 0.5, "NA", "NA", ""]], columns=list(COLUMNS))
    assert read_grid(write_grid(row, tmp_path / "g.csv"), GRID).iloc[0].tolist() == ["25kmE4125N2575", 0.5, "NA", "NA", ""]
