"""Coverage: the share of a zone's cells whose species set holds a species. Zones are reporting cells or polygons.

A zone is a row of a sparse weight matrix (zone, cell): 1 for a labelled cell, the exact share of the cell inside for
a polygon. Cells are numbered row by row from the north-west corner. Cells without data count neither above nor below.
"""

from __future__ import annotations

from typing import TypeAlias

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from odc.geo.geobox import GeoBox
from scipy.sparse import csr_array

from geoplantnet.assemblages.blocks import Array, Blocks, checked, on_host, row_strips
from geoplantnet.assemblages.sets import above
from geoplantnet.errors import CrsError, InputError
from geoplantnet.grid.tile_grid import TileGrid

Float: TypeAlias = npt.NDArray[np.float64]
Weights: TypeAlias = csr_array
"""(zone, cell) in [0, 1]: how much of each cell lies in each zone."""


def weighted_coverage(blocks: Blocks, weights: Weights, shape: tuple[int, int], threshold: Array | float) -> tuple[Float, Float, Float]:
    """Species blocks + zone weights (zone, cell) -> coverage (zone, species), mean probability (zone, species), cells (zone,).

    A species is present in a cell where p > `threshold`, one number or (y, x) (see `sets.expected_f1_threshold`).
    Coverage is the present cells' share of the zone's cells with data; `cells` is how many these are (a fraction of a
    cell for a part of it). Both are NaN in a zone without data. Merging zones is their mean weighted by `cells`.
    Raises InputError when the blocks or the weights do not fit `shape` (y, x).
    """
    if weights.shape[1] != shape[0] * shape[1]:
        raise InputError(
            f"zone weights are for {weights.shape[1]} cells, the raster {shape} has {shape[0] * shape[1]}; make them on the same grid"
        )
    limit = np.broadcast_to(on_host(threshold) if np.ndim(threshold) else np.float32(threshold), shape)
    strips: list[tuple[slice, Weights]] = []
    present, mass = [], []
    has_data = np.zeros(shape, bool)
    for _, block in checked(blocks, shape):
        p = on_host(block)
        if not strips:
            strips = [(rows, _columns(weights, rows, shape[1])) for rows in row_strips(p)]
        block_present, block_mass = np.zeros((2, weights.shape[0], p.shape[0]))
        for rows, part in strips:
            if not part.nnz:
                continue
            strip = p[:, rows]
            known = ~np.isnan(strip)
            has_data[rows] |= known.any(axis=0)
            member = above(strip, limit[rows]).astype(np.float32)
            filled = strip if known.all() else np.where(known, strip, 0)
            block_present += part @ member.reshape(len(member), -1).T
            block_mass += part @ filled.reshape(len(filled), -1).T
        present.append(block_present)
        mass.append(block_mass)
    cells = weights @ has_data.ravel().astype(np.float64)
    divisor = np.where(cells > 0, cells, np.nan)[:, None]
    return np.concatenate(present, axis=1) / divisor, np.concatenate(mass, axis=1) / divisor, cells


def zonal_coverage(blocks: Blocks, zones: npt.NDArray[np.integer], n_zones: int, threshold: Array | float) -> tuple[Float, Float, Float]:
    """As `weighted_coverage`, for zones given as labels (y, x): 0 to n_zones - 1, -1 where a cell is in none."""
    shape = (zones.shape[0], zones.shape[1])
    return weighted_coverage(blocks, label_weights(zones, n_zones), shape, threshold)


def label_weights(zones: npt.NDArray[np.integer], n_zones: int) -> Weights:
    """Labels (y, x), -1 = in no zone -> weights (zone, cell) of 0 and 1. Raises InputError for a label out of range."""
    flat = zones.ravel()
    if flat.size and not -1 <= flat.min() <= flat.max() < n_zones:
        raise InputError(f"zone labels run from {flat.min()} to {flat.max()}, expected -1 (none) to {n_zones - 1}")
    cell = np.flatnonzero(flat >= 0)
    return csr_array((np.ones(cell.size), (flat[cell], cell)), shape=(n_zones, flat.size))


def polygon_weights(polygons: gpd.GeoSeries | gpd.GeoDataFrame, geobox: GeoBox) -> Weights:
    """Polygons -> weights (polygon, cell): the exact share of each cell's area inside, by exactextract.

    Polygons are brought to the geobox's CRS; a row is all zero for a polygon outside. exactextract keeps shares in
    float32. Raises CrsError when the polygons have no CRS, InputError for an empty or invalid geometry or one that is
    no polygon, and for a rotated geobox.
    """
    if polygons.crs is None:
        raise CrsError("the polygons have no CRS; set it, for instance polygons.set_crs('EPSG:4326')")
    transform = geobox.transform
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise InputError(f"polygon weights need a north-up geobox, got the transform {tuple(transform)[:6]}")
    shapes = polygons.geometry.to_crs(str(geobox.crs)).reset_index(drop=True)
    for i, geometry in enumerate(shapes):
        _hold_polygon(i, geometry)
    west, south, east, north = geobox.boundingbox.bbox
    raster = NumPyRasterSource(np.zeros(geobox.shape, np.uint8), xmin=west, ymin=south, xmax=east, ymax=north)
    found = exact_extract(raster, gpd.GeoDataFrame(geometry=shapes), ["cell_id", "coverage"], output="pandas")
    count = [len(ids) for ids in found["cell_id"]]
    row = np.repeat(np.arange(len(shapes)), count)
    size = (len(shapes), geobox.shape[0] * geobox.shape[1])
    if not sum(count):
        return csr_array(size)
    cell, share = np.concatenate(found["cell_id"].to_list()), np.concatenate(found["coverage"].to_list())
    return csr_array((share.astype(np.float64), (row, cell.astype(np.int64))), shape=size)


def reporting_cells(geobox: GeoBox, size: int = 5_000) -> gpd.GeoDataFrame:
    """The cells of the `size` m reference grid that meet a geobox: `cell_id` (``5kmE4125N2575``: corner in km), geometry.

    EPSG:3035; south to north, west to east; whole squares, also where the geobox covers a part of them only. Raises
    CrsError when the geobox is in another CRS, UsageError when `size` does not divide the reference grid.
    """
    if geobox.crs != "EPSG:3035":
        raise CrsError(f"reporting cells belong to the EEA reference grid, EPSG:3035; the geobox is in {geobox.crs}")
    tiles = list(TileGrid(tile_size=size, cell_size=size).tiles_in(*geobox.boundingbox.bbox))
    return gpd.GeoDataFrame({"cell_id": [t.id for t in tiles]}, geometry=[shapely.box(*t.bounds) for t in tiles], crs="EPSG:3035")


def reporting_labels(geobox: GeoBox, cells: gpd.GeoDataFrame) -> npt.NDArray[np.int32]:
    """Labels (y, x) for `zonal_coverage`: the row of `cells` (see `reporting_cells`) that holds a pixel's centre, else -1.

    West and south edges belong to a cell.
    """
    labels = np.full(geobox.shape, -1, np.int32)
    x, y = geobox.coordinates["x"].values, geobox.coordinates["y"].values
    for i, (west, south, east, north) in enumerate(cells.geometry.bounds.to_numpy()):
        labels[np.ix_((y >= south) & (y < north), (x >= west) & (x < east))] = i
    return labels


def _columns(weights: Weights, rows: slice, width: int) -> Weights:
    """The weights of the cells in some rows of the raster."""
    return csr_array(weights[:, rows.start * width : rows.stop * width])


def _hold_polygon(i: int, geometry: shapely.Geometry | None) -> None:
    if geometry is None or geometry.is_empty:
        raise InputError(f"polygon {i} is empty; remove it or draw it again")
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise InputError(f"geometry {i} is a {geometry.geom_type}; coverage needs a Polygon or MultiPolygon")
    if not shapely.is_valid(geometry):  # unlike the method, other threads run meanwhile
        raise InputError(f"polygon {i} is invalid ({shapely.is_valid_reason(geometry)}); repair it, for instance with shapely.make_valid")
