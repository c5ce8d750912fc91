"""Coverage of zones: laws of areas, brute force, exactextract per species, and the reporting grid."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely import affinity

from geoplantnet.assemblages.coverage import (
    label_weights,
    polygon_weights,
    reporting_cells,
    reporting_labels,
    weighted_coverage,
    zonal_coverage,
)
from geoplantnet.errors import CrsError, InputError, UsageError
from geoplantnet.grid.tile_grid import TileGrid

ROWS, COLUMNS = 12, 15
BOX = GeoBox.from_bbox((4_125_000, 2_575_000, 4_125_000 + 50 * COLUMNS, 2_575_000 + 50 * ROWS), crs="EPSG:3035", resolution=50, tight=True)
relaxed = settings(deadline=None, max_examples=50)


def community(seed=0, species=7):
    random = np.random.default_rng(seed)
    p = random.random((species, ROWS, COLUMNS), dtype=np.float32) ** 2
    return p, random.uniform(0.1, 0.5, (ROWS, COLUMNS)).astype(np.float32)


def in_blocks(p, size=3):
    return lambda: ((slice(s, min(s + size, len(p))), p[s : s + size]) for s in range(0, len(p), size))


def polygons(*shapes):
    """Polygons in metres from the south-west corner of BOX."""
    moved = [affinity.translate(s, 4_125_000, 2_575_000) for s in shapes]
    return gpd.GeoSeries(moved, crs="EPSG:3035")


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 8))
@relaxed
def test_zonal_coverage_is_counting(seed, n_zones, size):
    """Equals a loop over zones and species that counts cells, with no data, unlabelled cells and empty zones among them."""
    random = np.random.default_rng(seed)
    p, threshold = community(seed)
    zones = random.integers(-1, n_zones, (ROWS, COLUMNS))
    p[:, random.random((ROWS, COLUMNS)) < 0.2] = np.nan
    coverage, mean, cells = zonal_coverage(in_blocks(p, size), zones, n_zones + 1, threshold)
    for zone in range(n_zones + 1):
        inside = (zones == zone) & np.isfinite(p[0])
        assert cells[zone] == inside.sum()
        for k in range(len(p)):
            values = p[k][inside]
            if inside.any():
                assert coverage[zone, k] == pytest.approx(np.mean(values > threshold[inside]), abs=1e-12)
                assert mean[zone, k] == pytest.approx(values.astype(float).mean(), rel=1e-9)
            else:
                assert np.isnan(coverage[zone, k]) and np.isnan(mean[zone, k])


lengths = st.floats(5, 200)


@given(st.integers(0, 99), st.floats(0, 300), st.floats(0, 250), lengths, lengths, lengths)
@relaxed
def test_union_of_disjoint_polygons_is_the_mean_weighted_by_area(seed, x, y, width, other_width, height):
    """Coverage and mean probability of a union are those of its parts, weighted by `cells`; areas add up."""
    p, threshold = community(seed)
    left, right = shapely.box(x, y, x + width, y + height), shapely.box(x + width, y, x + width + other_width, y + height)
    weights = polygon_weights(polygons(left, right, shapely.union(left, right)), BOX)
    coverage, mean, cells = weighted_coverage(in_blocks(p), weights, (ROWS, COLUMNS), threshold)
    assert cells[2] == pytest.approx(cells[0] + cells[1], rel=1e-5)
    for values in (coverage, mean):
        np.testing.assert_allclose(values[2], (values[:2] * cells[:2, None]).sum(axis=0) / cells[:2].sum(), atol=1e-4)


def test_polygon_weights_are_areas():
    """Every cell's weight is the area of its intersection with the polygon, over the cell's area: shapely agrees."""
    shape = shapely.Polygon([(33, 21), (610, 80), (480, 570), (120, 333)], holes=[[(200, 200), (300, 210), (260, 300)]])
    (outline,) = polygons(shape)
    weights = polygon_weights(polygons(shape), BOX).toarray().reshape(ROWS, COLUMNS)
    for row in range(ROWS):
        for column in range(COLUMNS):
            west, north = 4_125_000 + 50 * column, 2_575_000 + 50 * (ROWS - row)
            cell = shapely.box(west, north - 50, west + 50, north)
            assert weights[row, column] == pytest.approx(cell.intersection(outline).area / 2500, abs=1e-5)


def test_polygon_coverage_is_what_exactextract_says_per_species():
    """The weights reproduce exactextract's own mean of every species' presence raster."""
    p, threshold = community(4)
    shape = polygons(shapely.Point(400, 280).buffer(230))
    coverage, mean, _ = weighted_coverage(in_blocks(p), polygon_weights(shape, BOX), (ROWS, COLUMNS), threshold)
    west, south, east, north = BOX.boundingbox.bbox
    for k in range(len(p)):
        for values, found in ((p[k] > threshold, coverage), (p[k], mean)):
            raster = NumPyRasterSource(values.astype(np.float64), xmin=west, ymin=south, xmax=east, ymax=north)
            (told,) = exact_extract(raster, gpd.GeoDataFrame(geometry=shape), ["mean"])
            assert found[0, k] == pytest.approx(told["properties"]["mean"], abs=1e-6)


def test_polygons_are_brought_to_the_grid():
    """A polygon in geographic coordinates weighs like the same polygon in the grid's CRS; one outside weighs nothing."""
    inside = polygons(shapely.box(100, 100, 500, 400))
    fine = gpd.GeoSeries([shapely.segmentize(inside.iloc[0], 10)], crs=inside.crs)
    there = polygon_weights(fine.to_crs("EPSG:4326"), BOX).toarray()
    np.testing.assert_allclose(there, polygon_weights(inside, BOX).toarray(), atol=1e-3)
    outside = polygon_weights(polygons(shapely.box(-900, -900, -800, -800), shapely.box(100, 100, 500, 400)), BOX)
    assert outside.shape == (2, ROWS * COLUMNS) and outside[[0]].nnz == 0 and outside.sum() == pytest.approx(48)
    p, threshold = community()
    coverage, _, cells = weighted_coverage(in_blocks(p), outside, (ROWS, COLUMNS), threshold)
    assert cells[0] == 0 and np.isnan(coverage[0]).all() and np.isfinite(coverage[1]).all()


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (shapely.Point(1, 1), "is a Point"),
        (shapely.Polygon(), "is empty"),
        (shapely.Polygon([(0, 0), (100, 100), (100, 0), (0, 100)]), "invalid .*Self-intersection"),
    ],
)
def test_what_is_no_polygon_is_refused(shape, says):
    """A point, nothing, or a bow tie: the message names the geometry and the repair."""
    with pytest.raises(InputError, match=says):
        polygon_weights(polygons(shape), BOX)


def test_missing_crs_wrong_grid_and_bad_labels_are_refused():
    """No CRS, weights of another raster, labels beyond the zones."""
    with pytest.raises(CrsError, match="no CRS"):
        polygon_weights(gpd.GeoSeries([shapely.box(0, 0, 1, 1)]), BOX)
    p, threshold = community()
    with pytest.raises(InputError, match="make them on the same grid"):
        weighted_coverage(in_blocks(p), label_weights(np.zeros((2, 2), int), 1), (ROWS, COLUMNS), threshold)
    with pytest.raises(InputError, match="run from 0 to 3"):
        label_weights(np.array([[0, 3]]), 3)


def test_reporting_cells_divide_a_tile():
    """A 25 km tile holds 25 cells of 5 km, named by their corner; every pixel lies in the cell that its label names."""
    tile = TileGrid().tile("25kmE4125N2575")
    box = tile.geobox(250)
    cells = reporting_cells(box)
    labels = reporting_labels(box, cells)
    assert len(cells) == 25 and cells.crs == "EPSG:3035" and cells["cell_id"].is_unique
    assert cells["cell_id"].iloc[0] == "5kmE4125N2575"
    assert cells.union_all().equals(shapely.box(*tile.bounds))
    assert (np.bincount(labels.ravel(), minlength=25) == 400).all()
    x, y = np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values)
    for i, geometry in enumerate(cells.geometry):
        assert shapely.contains_xy(geometry, x[labels == i], y[labels == i]).all()


def test_reporting_cells_straddle_where_they_must():
    """A 10 km cell that reaches beyond the tile is listed whole, and its parts in two tiles have different labels."""
    box = TileGrid().tile("25kmE4125N2575").geobox(250)
    cells = reporting_cells(box, 10_000)
    labels = reporting_labels(box, cells)
    assert cells["cell_id"].iloc[0] == "10kmE4120N2570" and len(cells) == 9
    assert labels.min() == 0 and set(np.unique(labels)) == set(range(9))
    assert not cells.union_all().equals(shapely.box(*box.boundingbox.bbox))


def test_reporting_cells_belong_to_the_reference_grid():
    """Another CRS or a size that does not divide the grid is refused."""
    with pytest.raises(CrsError, match="EPSG:3035"):
        reporting_cells(GeoBox.from_bbox((7, 46, 8, 47), crs="EPSG:4326", resolution=0.1))
    with pytest.raises(UsageError, match="not multiples"):
        reporting_cells(BOX, 7_000)
