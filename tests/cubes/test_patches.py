"""Patches are slices of the tile, whatever the chunks, the memory, the number of tiles and the order of the points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.cubes import Modality, PatchReader
from geoplantnet.cubes.cube import unpack
from geoplantnet.cubes.modality import STEM_OVERLAP
from geoplantnet.cubes.patches import CubeWindows, bilinear_weights, cut, pixels_per_side, unpack_into
from geoplantnet.errors import CubeError
from geoplantnet.grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis

GRID = TileGrid(tile_size=1000)
TILES = ("1kmE4200N2600", "1kmE4201N2600", "1kmE4200N2601")
IMAGE = Modality(name="image", bands=("red", "nir"), resolution=10, window=25, halo=64, dtype="uint16", scale=1e-4, nodata=0)
SERIES = Modality(
    name="series",
    bands=("a", "b"),
    resolution=50,
    dtype="int16",
    scale=0.1,
    offset=-3.0,
    nodata=-32768,
    time=TimeAxis(step="month", first="2019-01", count=3),
)
COARSE = Modality(name="coarse", bands=("t",), resolution=500, halo=1)


def stored(m, seed):
    """A packed array of a tile, with gaps."""
    rng = np.random.default_rng(seed)
    side = pixels_per_side(m, GRID)
    if m.dtype == "float32":
        values = rng.normal(size=(*m.axes, side, side)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        return values
    values = rng.integers(-500 if m.dtype == "int16" else 1, 9000, (*m.axes, side, side)).astype(m.dtype)
    values[rng.random(values.shape) < 0.1] = m.nodata
    return values


def put(folder, m, array, chunk):
    """Write an array of a cube with inner chunks of `chunk` pixels in one shard."""
    chunks = (*array.shape[:-2], *(min(n, chunk) for n in array.shape[-2:]))
    shards = tuple(-(-n // c) * c for n, c in zip(array.shape, chunks))
    group = zarr.open_group(str(folder), mode="a", zarr_format=3)
    group.create_array(
        f"{m.name}/data", shape=array.shape, dtype=array.dtype, chunks=chunks, shards=shards, fill_value=array.dtype.type(0)
    )[...] = array


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Three tiles, chunks far smaller than their arrays, and the arrays themselves."""
    paths, arrays = {}, {}
    for i, tile in enumerate(TILES):
        paths[tile] = tmp_path_factory.mktemp("cubes") / tile
        for m, chunk in ((IMAGE, 50), (SERIES, 6), (COARSE, 3)):
            arrays[tile, m.name] = stored(m, 10 * i + len(m.name))
            put(paths[tile], m, arrays[tile, m.name], chunk)
    return paths, arrays


def points_in(tiles, rows, columns):
    """A point at the centre of each cell (row, column)."""
    corners = [GRID.tile(t).bounds for t in tiles]
    return pd.DataFrame(
        {
            "x": [w + (c + 0.5) * 50.0 for (w, _, _, _), c in zip(corners, columns)],
            "y": [n - (r + 0.5) * 50.0 for (_, _, _, n), r in zip(corners, rows)],
        }
    )


def brute_force(array, m, row, column):
    """The window of one cell by its definition, unpacked whole first."""
    values = unpack(array, m).reshape(-1, *array.shape[-2:])
    ratio = m.cell_ratio(GRID)
    if ratio < 1:
        pixels = values.shape[-1]
        top = bilinear_weights(np.array([row + 0.5]), ratio, m.halo, pixels)[0][0]
        left = bilinear_weights(np.array([column + 0.5]), ratio, m.halo, pixels)[0][0]
        return values[:, top : top + 2, left : left + 2]
    around, overlap = m.window // 2, STEM_OVERLAP if ratio > 1 else 0
    first = [m.halo + (i - around) * int(ratio) - overlap for i in (row, column)]
    last = [m.halo + (i + around + 1) * int(ratio) + overlap for i in (row, column)]
    assert min(first) >= 0 and max(last) <= values.shape[-1]
    return values[:, first[0] : last[0], first[1] : last[1]]


modality_kinds = st.builds(
    lambda resolution, window, extra, times, dtype: _a_modality(resolution, window, extra, times, dtype),
    st.sampled_from([10, 25, 50, 500]),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["float32", "uint8", "uint16", "int16"]),
)


def _a_modality(resolution, window, extra, times, dtype):
    nodata = {"float32": None, "uint8": 255, "uint16": 0, "int16": -32768}[dtype]
    packing = {} if nodata is None else {"scale": 0.02, "offset": -1.5, "nodata": nodata}
    time = TimeAxis(step="year", first="2000-01", count=times) if times else None
    bare = Modality(
        name="m", bands=("a", "b"), resolution=resolution, window=1 if resolution > 50 else window, dtype=dtype, time=time, **packing
    )
    return dataclasses.replace(bare, halo=bare.reach(GRID) + extra)


@settings(max_examples=60, deadline=None)
@given(modality_kinds, st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), min_size=1, max_size=6), st.integers(0, 1000))
def test_a_cut_is_a_slice(m, cells, seed):
    """For every kind of modality, dtype, window, time axis and halo, at edges and corners: values, gaps and all."""
    m.check_against(GRID)
    rng = np.random.default_rng(seed)
    side = pixels_per_side(m, GRID)
    array = rng.integers(0, 200, (*m.axes, side, side)).astype(m.dtype)
    array[rng.random(array.shape) < 0.2] = np.nan if m.nodata is None else m.nodata
    rows, columns = np.array([(0, 0), (0, 19), (19, 0), (19, 19), *cells]).T
    patch = cut(array, m, GRID, rows, columns)
    assert patch.values.dtype == np.float32
    for i, (row, column) in enumerate(zip(rows, columns)):
        assert np.array_equal(patch.values[i], brute_force(array, m, row, column), equal_nan=True)
    assert (patch.weight_y is None) == (m.resolution <= 50)


@given(st.sampled_from(["uint8", "uint16", "int16"]), st.floats(-1, 1, width=32), st.floats(-100, 100, width=32), st.integers(0, 2**32 - 1))
def test_unpacking_in_place_is_unpacking(dtype, scale, offset, seed):
    """Bit for bit what `unpack` gives, also of a strided window."""
    limits = np.iinfo(dtype)
    m = Modality(name="m", bands=("a",), resolution=50, dtype=dtype, scale=scale, offset=offset, nodata=7)
    array = np.random.default_rng(seed).integers(limits.min, limits.max, (2, 9, 9), endpoint=True).astype(dtype)
    array[0, 0] = 7
    out = np.empty((2, 4, 5), np.float32)
    unpack_into(out, array[:, :4, 2:7], m)
    assert np.array_equal(out, unpack(array[:, :4, 2:7], m), equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(TILES), st.integers(0, 19), st.integers(0, 19)), min_size=1, max_size=12),
    st.sampled_from([0, 50_000, 1 << 30]),
    st.randoms(use_true_random=False),
)
def test_a_reader_gives_slices_whatever_its_memory(cubes, sites, memory, shuffle):
    """Chunks cut across windows, memory for none, some or all of them, repeats, any order: the same values."""
    paths, arrays = cubes
    tiles, rows, columns = zip(*sites)
    reader = PatchReader(
        points_in(tiles, rows, columns), grid=GRID, modalities=[IMAGE, SERIES, COARSE], sources={}, cubes=paths, memory=memory
    )
    index = list(range(len(sites))) * 2
    shuffle.shuffle(index)
    read = reader.read(index)
    for m in (IMAGE, SERIES, COARSE):
        for i, k in enumerate(index):
            assert np.array_equal(read[m.name].values[i], brute_force(arrays[tiles[k], m.name], m, rows[k], columns[k]), equal_nan=True)
    assert read["coarse"].weight_y.shape == (len(index), 1, 2)
    assert np.allclose(read["coarse"].weight_y.sum(axis=-1), 1)


def test_what_is_held_is_bounded(cubes):
    """Never more than the memory asked for, and what is held is used again."""
    paths, _ = cubes
    counted = []

    class Counting(CubeWindows):
        def _chunk(self, array, *key):
            before = self.held
            chunk = super()._chunk(array, *key)
            counted.append((key, self.held, self.held != before))
            return chunk

    rng = np.random.default_rng(0)
    tiles = rng.choice(TILES, 40)
    rows, columns = rng.integers(0, 20, (2, 40))
    reader = PatchReader(points_in(tiles, rows, columns), grid=GRID, modalities=[IMAGE], sources={}, cubes=paths)
    one = 2 * 50 * 50 * 2
    reader._windows = Counting(paths, GRID, memory=10 * one)
    reader.read(np.arange(40))
    assert max(held for _, held, _ in counted) <= 10 * one
    assert any(not new for _, _, new in counted)


def test_points_off_the_cubes_are_missing_and_an_empty_read_is_empty(cubes):
    """NaN, half weights, no cube opened; no points, no values."""
    paths, _ = cubes
    points = pd.DataFrame({"x": [4_300_025.0, 4_200_025.0], "y": [2_600_025.0, 2_600_025.0]})
    reader = PatchReader(points, grid=GRID, modalities=[IMAGE, COARSE], sources={}, cubes=paths)
    read = reader.read([0, 1])
    for name in ("image", "coarse"):
        assert np.isnan(read[name].values[0]).all() and np.isfinite(read[name].values[1]).any()
    assert (read["coarse"].weight_y[0] == 0.5).all()
    assert reader.read([])["image"].values.shape == (0, 2, 129, 129)
    nowhere = PatchReader(points[:1], grid=GRID, modalities=[IMAGE, COARSE], sources={}, cubes={})
    assert np.isnan(nowhere.read([0, 0])["coarse"].values).all()


def test_a_series_is_read_at_its_points_alone(cubes, monkeypatch):
    """A series of a point costs the chunk that holds it, once, when the reader is made; reading it again costs nothing."""
    paths, arrays = cubes
    asked = []
    whole = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda self, key: asked.append(key) or whole(self, key))
    reader = PatchReader(points_in([TILES[0]] * 2, [3, 4], [17, 16]), grid=GRID, modalities=[SERIES], sources={}, cubes=paths)
    assert asked == [(..., slice(0, 6), slice(12, 18))]
    values = reader.read([0, 1, 0])["series"].values
    assert len(asked) == 1
    assert np.array_equal(values[2, :, 0, 0], unpack(arrays[TILES[0], "series"], SERIES)[:, :, 3, 17].reshape(-1), equal_nan=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"name": "nothing"}, "holds no 'nothing'"), ({"halo": 66}, "232"), ({"dtype": "int16"}, "uint16"), ({"bands": ("red",)}, "rebuild")],
)
def test_a_cube_that_does_not_fit_is_named(cubes, change, says):
    """A missing modality, or one of another shape or type: CubeError with both sides, not a wrong patch."""
    paths, _ = cubes
    m = dataclasses.replace(IMAGE, **{"units": ("1",), "plausible": (None,), "long_names": (), **change})
    reader = PatchReader(points_in([TILES[0]], [0], [0]), grid=GRID, modalities=[m], sources={}, cubes=paths)
    with pytest.raises(CubeError, match=says):
        reader.read([0])
