"""The cube on disk is the cube in memory, on the tile's lattice, and broken ones are refused by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.config.load import load_modality
from geoplantnet.cubes import (
    Modality,
    PatchReader,
    build_cube,
    build_node,
    node_named,
    open_cube,
    validate_cube,
    write_cube,
    write_node,
    write_root,
)
from geoplantnet.cubes.cube import assemble, lattice, node_of, pack, unpack
from geoplantnet.cubes.patches import bilinear_weights, cells_of, cut, dense_weights, tile_patch
from geoplantnet.errors import ConfigurationError, CubeError, NoDataError, RasterError
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sources.source import FakeSource
from geoplantnet.storage import sha256


@pytest.fixture(scope="module")
def cube(tmp_path_factory, small_grid, modalities, sources):
    tile = small_grid.tile("2kmE4200N2600")
    tree = build_cube(tile, modalities, sources)
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    write_cube(tree, path, modalities)
    return tile, tree, path


def test_reading_gives_what_was_written(cube, modalities):
    """Values to half a step of the packing, NaN where NaN, coordinates and attributes the same."""
    _, tree, path = cube
    back = open_cube(path)
    for m in modalities:
        written, read = tree[m.name]["data"].values, back[m.name]["data"].values
        assert np.array_equal(np.isnan(written), np.isnan(read))
        assert np.nanmax(np.abs(written - read)) <= (0.51 * m.scale if m.dtype != "float32" else 0)
        assert np.array_equal(tree[m.name]["valid"], back[m.name]["valid"])
        assert np.array_equal(back[m.name]["x"], tree[m.name]["x"])
        assert back[m.name].attrs["provenance"] == tree[m.name].attrs["provenance"]


def test_the_same_cube_is_the_same_bytes(cube, modalities, tmp_path):
    """Two writes of one cube cannot be told apart."""
    write_cube(cube[1], tmp_path / "again.zarr", modalities)
    assert sha256(tmp_path / "again.zarr") == sha256(cube[2])


def test_every_array_is_one_shard(cube, modalities):
    """One file of values per array: a tile of a thousand tiles is not a million files."""
    _, _, path = cube
    for m in modalities:
        assert (
            len(list((path / m.name / "data" / "c").rglob("*"))) - len([d for d in (path / m.name / "data" / "c").rglob("*") if d.is_dir()])
            == 1
        )


def test_pixels_lie_on_the_tile_lattice(cube, modalities):
    """The first pixel centre inside the halo is half a pixel from the tile's corner, for every resolution."""
    tile, tree, _ = cube
    west, _, _, north = tile.bounds
    for m in modalities:
        assert tree[m.name]["x"].values[m.halo] == west + m.resolution / 2
        assert tree[m.name]["y"].values[m.halo] == north - m.resolution / 2


def test_others_read_place_and_time_as_cf(cube, modalities):
    """odc-geo finds the tile's GeoBox in every node, xarray the first day of every period; both from the file alone."""
    import odc.geo.xr  # noqa: F401

    tile, _, path = cube
    for m in modalities:
        node = xr.open_dataset(path, group=m.name, engine="zarr", consolidated=False, decode_coords="all")
        assert node["data"].odc.geobox == tile.geobox(m.resolution, margin=m.halo * m.resolution)
        if m.time:
            assert np.array_equal(node["time"].values.astype("datetime64[D]"), m.time.starts)


class Composite(FakeSource):
    """Values with the number of clear observations behind them."""

    def read(self, geobox):
        values = super().read(geobox)
        counted = np.arange(geobox.shape[0] * geobox.shape[1]).reshape(geobox.shape) * 50
        return values.where(counted > 0).assign_coords(count=(("y", "x"), counted))


def test_a_composite_keeps_its_counts(small_grid, tmp_path):
    """Clear observations come back as they were; more than 65,535 count as 65,535."""
    tile, m = small_grid.tile("2kmE4200N2600"), Modality(name="image", bands=("a",), resolution=50)
    write_cube(build_cube(tile, [m], {"image": Composite(a=lambda x, y: x * 0 + y)}), tmp_path / "cube.zarr", [m])
    counted = node_named(open_cube(tmp_path / "cube.zarr"), "image")["count"].values
    assert np.array_equal(counted.ravel(), np.minimum(np.arange(1_600) * 50, 65_535))


def test_a_source_of_other_periods_is_refused(small_grid):
    """A series of the right length but of another year is not taken for what was asked."""
    tile = small_grid.tile("2kmE4200N2600")
    m = Modality(name="series", bands=("a",), resolution=50, time=TimeAxis(step="year", first="2020-01", count=2))

    class Dated(FakeSource):
        def read(self, geobox):
            years = np.array(["2018-01-01", "2019-01-01"], "datetime64[ns]")
            return xr.concat([super().read(geobox)] * 2, dim="time", combine_attrs="override").assign_coords(time=years)

    with pytest.raises(CubeError, match=r"periods 2018-01-01, 2019-01-01 .*, the modality asks for .*2020-01"):
        build_node(tile, m, Dated(a=lambda x, y: x + y))


def test_a_value_that_cannot_be_is_an_error_with_its_unit(small_grid):
    """Kelvin where degrees Celsius were said: refused before anything is written, naming band, value and unit."""
    tile = small_grid.tile("2kmE4200N2600")
    m = Modality(name="climate", bands=("pr", "tas"), resolution=1000, halo=1, units=("mm", "degC"), plausible=((0, 3000), (-60, 50)))
    with pytest.raises(RasterError, match=r"climate of 2kmE4200N2600, band tas: 285.* degC"):
        build_node(tile, m, FakeSource(pr=lambda x, y: x * 0 + y * 0 + 80, tas=lambda x, y: x * 0 + y * 0 + 285))


def test_nodes_are_committed_one_by_one_into_the_same_cube(cube, modalities, sources, tmp_path):
    """Root and nodes written apart, in any order, twice over, are byte for byte the cube written at once."""
    tile, _, path = cube
    for m in reversed(modalities):
        write_root(tile, tmp_path / "cube.zarr")
        write_node(build_node(tile, m, sources[m.name]), tmp_path / "cube.zarr" / m.name, m)
    write_root(tile, tmp_path / "cube.zarr")
    assert sha256(tmp_path / "cube.zarr") == sha256(path)


def test_a_modality_survives_json(modalities):
    """What a checkpoint keeps of a modality makes the same one."""
    named = Modality(name="m", bands=("a", "b"), resolution=50, units=("K",), plausible=(None, (0, 1)), long_names=("x", "y"))
    for m in (*modalities, named):
        assert Modality.from_dict(json.loads(json.dumps(dataclasses.asdict(m)))) == m


def test_values_are_those_of_the_place(small_grid):
    """A ramp source read through a cube gives each pixel its own coordinates: no shift, no flip."""
    tile = small_grid.tile("2kmE4200N2600")
    m = Modality(name="ramp", bands=("x", "y"), resolution=50, halo=3)
    tree = build_cube(tile, [m], {"ramp": FakeSource(x=lambda x, y: x + 0 * y, y=lambda x, y: y + 0 * x)})
    x, y = lattice(tile, m)
    assert np.array_equal(tree["ramp"]["data"].values[0, 0], x.astype(np.float32))
    assert np.array_equal(tree["ramp"]["data"].values[1, :, 0], y.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bands": ("red", "blue")}, "bands"),
        ({"halo": 65}, "64|2628|rebuild"),
        ({"name": "other"}, "no 'other'"),
        ({"resolution": 25.0, "halo": 26}, "25.0 m"),
    ],
)
def test_a_cube_that_does_not_fit_is_refused(cube, modalities, change, says):
    """Wrong bands, halo, name or resolution: the error says what both sides have and to rebuild."""
    tile, _, path = cube
    wanted = dataclasses.replace(modalities[0], **change)
    with pytest.raises(CubeError, match=says):
        validate_cube(open_cube(path), tile, [wanted])
    validate_cube(open_cube(path), tile, modalities)


def test_a_cube_of_other_periods_is_refused(cube):
    """As many quarters of other years are another cube."""
    tile, _, _ = cube
    cells = tile.grid.cells_per_side
    held = Modality(name="series", bands=("a",), resolution=50, time=TimeAxis(step="quarter", first="2019-12", count=4))
    wanted = dataclasses.replace(held, time=TimeAxis(step="quarter", first="2020-12", count=4))
    series = assemble(tile, {"series": node_of(tile, held, np.ones((4, 1, cells, cells), np.float32))})
    validate_cube(series, tile, [held])
    with pytest.raises(CubeError, match="other periods"):
        validate_cube(series, tile, [wanted])


def test_a_cube_of_another_tile_is_refused(cube, modalities):
    """Tile ids are compared."""
    tile, _, path = cube
    with pytest.raises(CubeError, match="2kmE4202N2600"):
        validate_cube(open_cube(path), tile.grid.tile("2kmE4202N2600"), modalities)


def test_no_cube_and_no_data_are_typed_errors(tmp_path, small_grid, modalities, sources):
    """A missing cube, a folder that is none, a tile without any data, a band the source lacks."""
    with pytest.raises(CubeError, match="geoplantnet cubes"):
        open_cube(tmp_path / "none.zarr")
    (tmp_path / "junk.zarr").mkdir()
    with pytest.raises(CubeError, match="delete it"):
        open_cube(tmp_path / "junk.zarr")
    tile = small_grid.tile("2kmE4200N2600")
    nothing = {"image": FakeSource(red=lambda x, y: np.nan * (x + y), nir=lambda x, y: np.nan * (x + y))}
    with pytest.raises(NoDataError, match="drop the tile"):
        build_cube(tile, modalities[:1], nothing)
    with pytest.raises(CubeError, match="Did you mean 'nir'"):
        build_cube(tile, [dataclasses.replace(modalities[0], bands=("red", "nirr"))], sources)


@given(st.lists(st.floats(0.0001220703125, 6.5, width=32) | st.just(float("nan")), min_size=1, max_size=20))
def test_packing_loses_half_a_step_at_most(values):
    """uint16 at 1e-4 with 0 as no data: NaN stays NaN, values stay within half a step."""
    m = Modality(name="s2", bands=("a",), resolution=10, dtype="uint16", scale=1e-4, nodata=0)
    given_values = np.array(values, np.float32)
    back = unpack(pack(given_values, m), m)
    assert np.array_equal(np.isnan(back), np.isnan(given_values))
    assert np.all(np.abs(back - given_values)[~np.isnan(back)] <= 0.51e-4)


def test_a_value_that_does_not_fit_is_an_error_and_zero_is_not_nodata():
    """Overflow is refused, and a true zero beside the nodata code 0 becomes the next value up."""
    m = Modality(name="s2", bands=("a",), resolution=10, dtype="uint16", scale=1e-4, nodata=0)
    with pytest.raises(CubeError, match="change dtype or scale"):
        pack(np.array([7.0], np.float32), m)
    assert unpack(pack(np.array([0.0], np.float32), m), m)[0] == pytest.approx(1e-4)


@pytest.mark.parametrize("name", ["sentinel2", "landsat"])
def test_reflectance_below_zero_is_kept(name):
    """Water and shadow are slightly negative once an offset is taken off: no error, no clipping, and not the code of no data."""
    m = load_modality(name, [Path(__file__).parents[2] / "configs" / "modalities"], key=name)
    values = np.array([-0.3, -0.002, 0.0, 0.0001, 2.0, np.nan], np.float32)
    assert np.allclose(unpack(pack(values, m), m), values, atol=0.51 * m.scale, equal_nan=True)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"resolution": 30}, "does not nest"),
        ({"resolution": 10, "window": 25, "halo": 61}, "halo 61"),
        ({"resolution": 1000, "halo": 0}, "halo 0"),
        ({"resolution": 1000, "halo": 1, "window": 3}, "window must be 1"),
    ],
)
def test_modalities_that_cannot_lie_on_the_grid(small_grid, fields, says):
    """30 m under 50 m cells, halos too small, windows of coarse fields."""
    with pytest.raises(ConfigurationError, match=says):
        Modality(name="m", bands=("a",), **fields).check_against(small_grid)


@pytest.mark.parametrize(
    "fields",
    [
        {"window": 4},
        {"bands": ()},
        {"bands": ("a", "a")},
        {"resolution": -1},
        {"dtype": "int7"},
        {"dtype": "uint8"},
        {"units": ("m", "m")},
        {"plausible": ((1, 0),)},
        {"long_names": ("a", "b")},
        {"resampling": "nearst"},
        {"normalisation": "log"},
    ],
)
def test_modalities_that_make_no_sense(fields):
    """Every bad field is named."""
    with pytest.raises(ConfigurationError, match="'m'"):
        Modality(**{"name": "m", "bands": ("a",), "resolution": 50, **fields})


def test_a_patch_is_the_window_of_the_tile(cube, modalities):
    """Patches cut around cells equal slices of the whole array, for images, cells and coarse fields."""
    tile, _, path = cube
    rows, columns = np.array([0, 5, 39]), np.array([39, 0, 17])
    for m in modalities:
        whole = tile_patch(path, m, tile)
        from geoplantnet.cubes.cube import stored_array

        patch = cut(stored_array(path, m), m, tile.grid, rows, columns)
        if patch.weight_y is not None:
            assert whole.weight_y is not None and whole.weight_x is not None and patch.weight_x is not None
            dense = np.einsum("yi,cij,xj->cyx", whole.weight_y[0], whole.values[0], whole.weight_x[0])
            assert np.allclose(
                np.einsum("nyi,ncij,nxj->ncyx", patch.weight_y, patch.values, patch.weight_x)[..., 0, 0],
                dense[:, rows, columns].T,
                atol=1e-5,
            )
            continue
        step, side = int(m.cell_ratio(tile.grid)), patch.values.shape[-1]
        for i, (r, c) in enumerate(zip(rows, columns)):
            assert np.array_equal(
                patch.values[i], whole.values[0, :, r * step : r * step + side, c * step : c * step + side], equal_nan=True
            )


@given(st.integers(1, 50), st.integers(1, 4), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_bilinear_weights_reproduce_a_plane(cells, halo, ratio):
    """Gathering a linear field from coarse pixel centres gives its value at every cell centre; weights sum to one."""
    pixels = int(np.ceil(cells * ratio)) + 2 * halo
    weights = dense_weights(cells, ratio, halo, pixels)
    position_of_pixel = (np.arange(pixels) - halo + 0.5) / ratio  # in cells
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(weights @ position_of_pixel, np.arange(cells) + 0.5, atol=1e-3 / ratio)
    left, pair = bilinear_weights(np.arange(cells) + 0.5, ratio, halo, pixels)
    assert ((left >= 0) & (left + 1 < pixels)).all() and np.allclose(pair.sum(axis=1), 1)


@given(st.floats(0, 1999.99), st.floats(0, 1999.99))
def test_the_cell_of_a_point_holds_it(dx, dy):
    """Row from the north, column from the west; a point lies within its cell's bounds."""
    from geoplantnet.grid import TileGrid

    grid = TileGrid(tile_size=2000)
    west, south, _, north = grid.tile("2kmE4200N2600").bounds
    rows, columns = cells_of(np.array([west + dx]), np.array([south + dy]), grid)
    x0, y1 = west + columns[0] * 50, north - rows[0] * 50
    assert x0 <= west + dx < x0 + 50 and y1 - 50 <= south + dy < y1


def test_points_without_a_cube_ask_the_sources(cube, modalities, sources):
    """Off the stored tiles, cell-wise modalities come from the source, windowed ones are missing, measured ones win everywhere."""
    tile, _, path = cube
    points = pd.DataFrame({"x": [4_200_125.0, 4_300_125.0], "y": [2_600_125.0, 2_600_125.0]})
    reader = PatchReader(points, grid=tile.grid, modalities=modalities, sources=sources, cubes={tile.id: path}, measured=["series"])
    read = reader.read([0, 1])
    assert np.isfinite(read["image"].values[0]).any() and np.isnan(read["image"].values[1]).all()
    assert np.isnan(read["terrain"].values[1]).all()
    expected = sources["series"].at(points).reshape(2, -1)
    assert np.array_equal(read["series"].values[:, :, 0, 0], expected, equal_nan=True)
    with pytest.raises(CubeError, match="outside the grid"):
        PatchReader(points.assign(x=1.0), grid=tile.grid, modalities=modalities, sources=sources, cubes={})
