"""The arithmetic of composites: median, pieces, positions, interpolation; each against brute force or a peer."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoplantnet.errors import CrsError, UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.grid.warp import bilinear, means_inside, nearest, positions_onto
from geoplantnet.sources.composite import Extent, Lattice, Native, Rasters, _network, median, onto, pieces
from geoplantnet.sources.http import Assets, Budget, Http

BOX = TileGrid(tile_size=2000).tile("2kmE4424N2596").geobox(10, margin=640)
UTM = CRS("EPSG:32632")


@given(
    hnp.arrays(
        np.uint16, st.tuples(st.integers(1, 13), st.integers(1, 40)), elements=st.sampled_from([0, 0, 0, 1, 2, 5, 999, 40_000, 65_535])
    )
)
@settings(max_examples=150, deadline=None)
def test_median_is_numpys(stack: np.ndarray) -> None:
    """Of any number of dates and gaps: numpy's nanmedian with 0 for a gap, exactly, and the number of values."""
    known = np.where(stack == 0, np.nan, stack.astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(known, axis=0)
    got, count = median(stack.copy())
    np.testing.assert_array_equal(got, expected.astype(np.float32))
    np.testing.assert_array_equal(count, (stack > 0).sum(axis=0))


@pytest.mark.parametrize("length", [24, 37, 60, 101])
def test_median_of_many(length: int) -> None:
    """Long series, more pixels than fit one chunk; the pruned network is shorter than the sort it comes from."""
    rng = np.random.default_rng(length)
    stack = rng.integers(1, 9000, (length, 20_000)).astype(np.uint16)
    stack[rng.random(stack.shape) < 0.4] = 0
    got, count = median(stack.copy())
    ordered = np.sort(stack, axis=0).astype(np.float64)
    first = length - count
    pick = np.arange(stack.shape[1])
    expected = (ordered[first + (count - 1) // 2, pick] + ordered[first + count // 2, pick]) / 2
    np.testing.assert_array_equal(got, expected.astype(np.float32))
    assert len(_network(length)) < length * np.log2(length) ** 2 / 3


@given(
    st.tuples(st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 60), st.integers(1, 60)),
    st.integers(1, 80),
    st.integers(1, 200_000),
    st.sampled_from([(1, 8, 8), (2, 16, 8), (2, 1, 60), (6, 32, 32)]),
)
@settings(max_examples=200, deadline=None)
def test_pieces_cover_once_within_memory(corner, dates: int, stack_bytes: int, like) -> None:
    """Pieces partition the extent, begin and end at coarse pixels, and hold no more than asked, but never less than one coarse pixel."""
    coarse, block_height, block_width = like
    extent = Extent(*(v * coarse for v in corner))
    placed = SimpleNamespace(
        lattice=SimpleNamespace(coarse=coarse), block=(block_height, block_width), extents={"b": Extent(0, 0, 600, 600)}, factors={"b": 1}
    )
    seen = np.zeros((extent.height, extent.width), int)
    for piece in pieces(extent, dates, placed, stack_bytes):  # type: ignore[arg-type]
        top, left = piece.top - extent.top, piece.left - extent.left
        seen[top : top + piece.height, left : left + piece.width] += 1
        assert not any(v % coarse for v in (piece.left, piece.top, piece.width, piece.height)) and piece
        assert piece.width * piece.height * dates * 2 <= stack_bytes or piece.height == coarse
    assert (seen == 1).all()


def test_positions_are_proj_s() -> None:
    """Quadratic between nodes is right to a micrometre; a window has the positions of the whole, bit for bit."""
    whole = [np.concatenate(parts) for parts in zip(*((x, y) for _, x, y in positions_onto(BOX, UTM)))]
    y, x = (BOX.coordinates[d].values for d in BOX.dimensions)
    exact = CRS("EPSG:3035").transformer_to_crs(UTM)(*(v.ravel() for v in np.meshgrid(x, y)))
    for got, expected in zip(whole, exact):
        np.testing.assert_allclose(got.ravel(), expected, rtol=0, atol=1e-6)
    for window in (np.s_[5:6, 300:301], np.s_[17:200, 63:129]):
        rows = [s for s, _, _ in positions_onto(BOX[window], UTM)]
        part = [np.concatenate(parts) for parts in zip(*((x, y) for _, x, y in positions_onto(BOX[window], UTM)))]
        for got, expected in zip(part, whole):
            np.testing.assert_array_equal(got, expected[window])
        assert rows[0].start == 0 and all(a.stop == b.start for a, b in itertools.pairwise(rows)) and rows[-1].stop == part[0].shape[0]
    with pytest.raises(CrsError):
        next(positions_onto(GeoBox((4, 4), BOX.affine, None), UTM))
    with pytest.raises(UsageError, match="north-up"):
        next(positions_onto(BOX.rotate(3), UTM))


@given(hnp.arrays(np.float32, (6, 7), elements=st.sampled_from([np.nan, 1.0, 5.0, -3.0, 1000.0])), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_bilinear_is_the_weighted_mean_of_known_neighbours(inner: np.ndarray, seed: int) -> None:
    """By brute force; NaN exactly where a position's own pixel is missing; nearest is that pixel."""
    values = np.pad(inner, 1, constant_values=np.nan)
    rng = np.random.default_rng(seed)
    columns, rows = rng.uniform(0.5, 8.499, (3, 5)), rng.uniform(0.5, 7.499, (3, 5))
    got, pixel = bilinear(values, columns, rows), nearest(values, columns, rows)
    for i in np.ndindex(3, 5):
        assert np.array_equal(pixel[i], values[int(rows[i]), int(columns[i])], equal_nan=True)
        total = weight = 0.0
        for r in range(8):
            for c in range(9):
                w = max(0, 1 - abs(c + 0.5 - columns[i])) * max(0, 1 - abs(r + 0.5 - rows[i]))
                if w and np.isfinite(values[r, c]):
                    total, weight = total + w * values[r, c], weight + w
        if np.isnan(values[int(rows[i]), int(columns[i])]):
            assert np.isnan(got[i])
        else:
            assert abs(got[i] - total / weight) <= 2e-4 * max(1, abs(total / weight))


def test_a_gap_never_bleeds_into_a_mean() -> None:
    """The mean of a cell is that of the pixels seen in it; NaN where none is; exact where lattices nest."""
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    values[2:4, 2] = np.nan
    centre = (np.arange(16) + 0.5) / 2
    columns, rows = np.meshgrid(centre, centre)
    mean, twice = means_inside([values, values * 2], columns, rows, 8)
    blocks = values.reshape(2, 4, 2, 4)
    np.testing.assert_allclose(mean, np.nanmean(blocks, axis=(1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(twice, mean * 2)
    values[:4, :4] = np.nan
    assert np.isnan(means_inside([values], columns, rows, 8)[0]).tolist() == [[True, False], [False, False]]


def native(offset: int, left: int, width: int, value: float, count: int) -> Native:
    """A flat composite with an empty border."""
    values, counts = np.full((1, 40, width), value, np.float32), np.full((40, width), count, np.uint16)
    for array in (values[0], counts):
        for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            array[edge] = np.nan if array.dtype == np.float32 else 0
    return Native(Lattice(CRS("EPSG:3035"), 10.0, 1, 0.0, 0.0), Extent(left, -100, width, 40), values, counts, 1e-4, offset)


def test_lattices_merge_by_what_they_saw() -> None:
    """Where two reach, their values weigh by their counts, offsets removed; the count is the larger; alone, each is itself."""
    box = GeoBox.from_bbox((20, 620, 480, 980), crs="EPSG:3035", resolution=10, tight=True)
    out, counts = np.empty((1, *box.shape), np.float32), np.empty(box.shape, np.uint16)
    natives = [native(-1000, 0, 30, 2000, 3), native(0, 20, 30, 3000, 1)]
    onto(natives, box, out, counts, resampling="nearest")
    np.testing.assert_allclose(out[0, 5, [0, 18, 19, 26, 27, 45]], [0.1, 0.1, (0.3 + 0.3) / 4, 0.15, 0.3, 0.3], rtol=1e-6)
    assert counts[5, [0, 18, 19, 26, 27, 45]].tolist() == [3, 3, 3, 3, 1, 1]
    onto([], box, out, counts, resampling="bilinear")
    assert np.isnan(out).all() and not counts.any()


def test_a_block_is_decoded_once(tmp_path: Path) -> None:
    """What was read is read again after the file has lost its bytes: GDAL keeps its blocks while `Rasters` is open."""
    path, whole = tmp_path / "a.tif", Window(0, 0, 512, 512)
    layout = {"height": 512, "width": 512, "count": 1, "dtype": "uint16", "tiled": True, "blockxsize": 256, "blockysize": 256}
    values = np.random.default_rng(1).integers(1, 9000, (512, 512)).astype(np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", compress="deflate", crs="EPSG:32632", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **layout
    ) as raster:
        raster.write(values, 1)
    patience = Budget().begin()
    with Rasters(Assets(Http(patience), local=True), patience) as rasters:
        assert (rasters.read(str(path), whole) == values).all()
        path.write_bytes(b"\0" * path.stat().st_size)
        assert (rasters.read(str(path), whole) == values).all()
