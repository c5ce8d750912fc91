"""One pass over a latent tile: the same as sums over its blocks, MaxExp's sets, and means by brute force."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import geopandas as gpd
import numpy as np
import pytest
import shapely
import zarr
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.assemblages import LatentTile, SpeciesHead, expected_f1_threshold
from geoplantnet.assemblages.assemblage import Assemblage, block_side, open_assemblage, require_list, write_assemblage
from geoplantnet.assemblages.coverage import polygon_weights, weighted_coverage
from geoplantnet.assemblages.stream import stream
from geoplantnet.assemblages.sums import Sum, Term, community_sums
from geoplantnet.errors import InputError, IntegrityError, StorageError, UsageError
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.products import int8_product
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=2_000)
D = 6


def multiply(a, b):
    return a.astype(np.int32) @ b.astype(np.int32).T


def tile_of(species=700, seed=0, *, spread=1.5, mean=-4.0, dtype=np.int8, grid=GRID):
    """A tile, by default of 40 x 40 cells, with holes, glaciers (availability 0) and thin ground."""
    random = np.random.default_rng(seed)
    side = grid.cells_per_side
    taxa = tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Planta {i}") for i in range(species))
    z = random.integers(-127, 128, (side, side, D)).astype(dtype)
    availability = random.choice([1.0, 1.0, 0.4, 0.02, 0.0], (side, side)).astype(np.float32)
    return LatentTile(
        tile=grid.tile_at(4_130_000, 2_580_000),
        z=z,
        scale=np.full(D, 1 / 70, np.float32),
        valid=random.random((side, side)) < 0.8,
        availability=availability,
        head=SpeciesHead(
            species=SpeciesList(checklist="test", taxa=taxa),
            weights=random.normal(0, spread / D**0.5, (species, D)).astype(np.float32),
            bias=random.normal(mean, 1.5, species).astype(np.float32),
        ),
    )


def asked(species, seed=0):
    """Every term, with and without weights."""
    random = np.random.default_rng(seed)
    some = random.choice([0.0, 1.0, 0.5], species).astype(np.float32)
    terms = get_args(Term)
    return {(term, name): Sum(term=term, weights=w) for term in terms for name, w in (("all", None), ("some", some))}


def members_of(found):
    return [set(found.sets.of(cell).tolist()) for cell in range(found.sets.start.size - 1)]


@pytest.mark.parametrize("product", [multiply, None], ids=["int8", "float32"])
@given(st.integers(0, 10**6), st.sampled_from([1, 40, 700, 1100]), st.sampled_from([-9.0, -4.0, -1.0, 3.0]))
@settings(deadline=None, max_examples=8)
def test_one_pass_is_the_sum_over_blocks(product, seed, species, mean):
    """Every sum as by `community_sums`, MaxExp's threshold as by `expected_f1_threshold`: rare and common species, thin ground, none."""
    tile = tile_of(species, seed, mean=mean)
    found = stream(tile, asked(species), multiply=product)
    threshold = expected_f1_threshold(tile.blocks, tile.shape)
    np.testing.assert_allclose(found.threshold, threshold, rtol=2e-4, atol=1e-6)
    exact, valid = community_sums(tile.blocks, tile.shape, asked(species), species=species, threshold=found.threshold)
    np.testing.assert_array_equal(valid, tile.valid)
    for (term, name), value in exact.items():
        # A probability within rounding of the threshold may fall on the other side of it.
        loose = {"atol": 1.001, "rtol": 0} if term == "member" else {"atol": 1e-4, "rtol": 3e-4}
        np.testing.assert_allclose(found.sums[term, name], np.where(valid, value, 0), **loose)
    p = np.concatenate([values for _, values in tile.blocks()]).reshape(species, -1)
    of_cell = members_of(found)
    for cell in range(0, p.shape[1], 41):
        limit = found.threshold.ravel()[cell]
        assert {k for k in of_cell[cell] if not np.isclose(p[k, cell], limit, rtol=3e-4)} == {
            k for k in np.flatnonzero(p[:, cell] > limit).tolist() if not np.isclose(p[k, cell], limit, rtol=3e-4)
        }
    rows = np.repeat(np.arange(p.shape[1]), np.diff(found.sets.start))
    np.testing.assert_allclose(found.sets.p / 255, p[found.sets.species.astype(int), rows], atol=1 / 254)
    assert (np.diff(found.sets.species.astype(int))[np.diff(rows) == 0] > 0).all()


def test_block_means_are_means_of_valid_cells():
    """Blocks of 1 km; NaN where no cell is valid."""
    tile = tile_of(30)
    tile.valid[:20, 20:40] = False
    found, p = stream(tile, {}), np.concatenate([values for _, values in tile.blocks()])
    assert found.means.shape == (30, 2, 2)
    for y, x in np.ndindex(2, 2):
        block = p[:, 20 * y : 20 * y + 20, 20 * x : 20 * x + 20].reshape(30, -1)
        if (y, x) == (0, 1):
            assert np.isnan(found.means[:, y, x]).all()
        else:
            np.testing.assert_allclose(found.means[:, y, x], np.nanmean(block, axis=1), rtol=1e-4, atol=1e-7)


def same_bits(one, other):
    for name in one.sums:
        np.testing.assert_array_equal(one.sums[name], other.sums[name])
    for field in ("start", "species", "p"):
        np.testing.assert_array_equal(getattr(one.sets, field), getattr(other.sets, field))
    np.testing.assert_array_equal(one.threshold, other.threshold)
    np.testing.assert_array_equal(one.means, other.means)


@pytest.mark.parametrize("product", [multiply, None], ids=["int8", "float32"])
def test_threads_do_not_change_a_bit(product):
    """Rich and poor blocks in turn, so that what one leaves for the next differs: four threads give the bits of one."""
    grid = TileGrid(tile_size=5_000)
    tile = tile_of(700, grid=grid, mean=-6.0)
    z = tile.z.astype(np.int16)
    z[..., 0] = np.where(np.add.outer(np.arange(100) // 20, np.arange(100) // 20) % 2, 127, -127)
    tile = replace(tile, z=z.astype(np.int8))
    same_bits(stream(tile, asked(700), multiply=product), stream(tile, asked(700), multiply=product, threads=4))


def test_neighbours_do_not_change_a_bit():
    """Cells of a tile whose other half is gone have the bits they had, by integer products."""
    whole = tile_of(900)
    half = replace(whole, valid=whole.valid & (np.arange(40) < 17)[:, None])
    all_of, some = (stream(tile, {"mass": Sum()}, multiply=multiply) for tile in (whole, half))
    np.testing.assert_array_equal(some.threshold[half.valid], all_of.threshold[half.valid])
    np.testing.assert_array_equal(some.sums["mass"][half.valid], all_of.sums["mass"][half.valid])
    assert [some.sets.of(c).tolist() for c in range(680)] == [all_of.sets.of(c).tolist() for c in range(680)]


def test_a_threshold_of_ones_own_makes_the_sets():
    """A lambda far below any expected F1, and one far above."""
    tile = tile_of(200)
    p = np.concatenate([values for _, values in tile.blocks()]).reshape(200, -1)
    for limit in (1e-4, 0.3):
        found = stream(tile, {}, multiply=multiply, threshold=np.full(tile.shape, limit, np.float32))
        size = np.array([len(members) for members in members_of(found)])
        near = np.isclose(p, limit, rtol=1e-3).sum(axis=0)
        assert (np.abs(size - (p > limit).sum(axis=0)) <= near).all() and size.sum() > 0


def test_float16_latents_and_members_of_ensembles_stream_too():
    """A latent that int8 cannot hold goes through float32; a member is a tile of its own, also where it has a single latent value."""
    members = replace(tile_of(50), member_bias=np.random.default_rng(1).normal(-3, 1, (D, 50)).astype(np.float32))
    for tile in (tile_of(50, dtype=np.float16), members.member(0), members.member(D - 1)):
        limit = np.full(tile.shape, 0.2, np.float32)
        exact, valid = community_sums(tile.blocks, tile.shape, asked(50), species=50, threshold=np.float32(0.2))
        found = stream(tile, asked(50), multiply=int8_product, threshold=limit)
        for (term, name), value in exact.items():
            loose = {"atol": 1.001, "rtol": 0} if term == "member" else {"atol": 1e-4, "rtol": 3e-4}
            np.testing.assert_allclose(found.sums[term, name], np.where(valid, value, 0), **loose)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_the_fast_product_is_the_product(n, k, d, seed):
    """All shapes, a single latent value among them: the integers of a plain product."""
    random = np.random.default_rng(seed)
    a, b = random.integers(-128, 128, (n, d)).astype(np.int8), random.integers(-128, 128, (k, d)).astype(np.int8)
    np.testing.assert_array_equal(int8_product(a, b), multiply(a, b))


def test_thresholds_of_another_shape_are_refused():
    for threshold in (np.float32(0.2), np.full((3, 3), 0.2, np.float32)):
        with pytest.raises(InputError, match="give one a cell"):
            stream(tile_of(5), {}, threshold=threshold)


@pytest.mark.parametrize(("tile", "cell", "side"), [(2_000, 50, 20), (2_000, 1_000, 1), (4_000, 2_000, 1), (2_000, 80, 5)])
def test_blocks_divide_a_tile(tile, cell, side):
    """1 km where cells divide it, the next smaller number of cells that leaves no rest elsewhere; block_cells counts by the same."""
    grid = TileGrid(tile_size=tile, cell_size=cell)
    assert block_side(grid) == side
    made = tile_of(5, grid=grid)
    one = kept(made, stream(made, {}))
    assert one.block_cells().sum() == made.valid.sum() and one.block_cells().max() <= side**2


def test_nothing_valid_is_nothing():
    """A tile without a valid cell: no sums, no sets, no means, and it can be kept."""
    tile = tile_of(20)
    tile.valid[:] = False
    found = stream(tile, {"mass": Sum()}, multiply=multiply)
    assert not found.sums["mass"].any() and np.isnan(found.threshold).all() and np.isnan(found.means).all() and not found.sets.species.size


def test_weights_of_another_list_are_refused():
    with pytest.raises(InputError, match=r"weights \(3,\) for 20 species"):
        stream(tile_of(20), {"a": Sum(weights=np.ones(3, np.float32))})


def kept(tile, found):
    return Assemblage(
        tile=tile.tile,
        species=len(tile.species),
        list_hash=tile.species.hash,
        threshold=found.threshold,
        sets=found.sets,
        means=found.means,
        attributes={"notice": "Predicted, not observed."},
    )


@pytest.mark.parametrize("species", [1, 300, 70_000])
def test_what_is_written_is_read(tmp_path, species):
    """Sets exact, also of more species than 16 bits tell; means in steps of a 65,534th; attributes kept."""
    tile = tile_of(species, mean=-4.0 if species < 1000 else -12.0)
    one = kept(tile, stream(tile, {}))
    with write_beside(tmp_path / "a.zarr") as path:
        write_assemblage(one, path)
    back = open_assemblage(tmp_path / "a.zarr", GRID)
    for name in ("start", "species", "p"):
        np.testing.assert_array_equal(getattr(back.sets, name), getattr(one.sets, name))
    np.testing.assert_array_equal(back.threshold, one.threshold)
    np.testing.assert_allclose(back.means, one.means, atol=1 / 65_534)
    assert back.attributes["notice"] == "Predicted, not observed." and back.tile == tile.tile
    require_list(back, tile.species.hash)
    with pytest.raises(UsageError, match="belong to species list"):
        require_list(back, "another")


def test_what_cannot_be_sets_is_refused(tmp_path):
    """Absent, another grid, members that do not add up."""
    tile = tile_of(20)
    with pytest.raises(StorageError, match="no species sets at"):
        open_assemblage(tmp_path / "a.zarr", GRID)
    write_assemblage(kept(tile, stream(tile, {})), tmp_path / "a.zarr")
    with pytest.raises(IntegrityError, match="another grid"):
        open_assemblage(tmp_path / "a.zarr", TileGrid(tile_size=1_000))
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="a")
    root["size"][0] = 7
    with pytest.raises(IntegrityError, match="cannot be read as species sets"):
        open_assemblage(tmp_path / "a.zarr", GRID)


def polygons(tile, seed=0):
    """Blobs over the tile, one reaching beyond it, one outside."""
    west, south, east, north = tile.tile.bounds
    random = np.random.default_rng(seed)
    circles = [shapely.Point(random.uniform(west, east), random.uniform(south, north)).buffer(r) for r in (60, 300, 900, 5_000)]
    return gpd.GeoSeries([*circles, shapely.Point(west - 9_000, south).buffer(100)], crs="EPSG:3035")


def test_coverage_from_sets_is_that_of_probabilities_and_of_exactextract():
    """All species over polygons, from the sets alone: as from blocks of probabilities, and as exactextract's mean of every band."""
    tile = tile_of(60, mean=-2.0)
    tile.valid[:] = np.random.default_rng(5).random(tile.shape) < 0.9
    assemblage, zones = kept(tile, stream(tile, {}, multiply=multiply)), polygons(tile)
    weights = polygon_weights(zones, tile.geobox)
    share, cells = assemblage.coverage(weights)
    of_blocks, _, cells_of_blocks = weighted_coverage(tile.blocks, weights, tile.shape, assemblage.threshold)
    np.testing.assert_allclose(cells, cells_of_blocks)
    np.testing.assert_allclose(share, of_blocks, atol=2 / max(cells.min(), 40))  # a cell whose p is within rounding of the threshold
    west, south, east, north = tile.tile.bounds
    rows = np.repeat(np.arange(tile.valid.size), np.diff(assemblage.sets.start))
    for k in (0, 7, 59):
        band = np.where(tile.valid, 0.0, np.nan)
        band.ravel()[rows[assemblage.sets.species == k]] = 1.0
        raster = NumPyRasterSource(band, xmin=west, ymin=south, xmax=east, ymax=north)
        found = exact_extract(raster, gpd.GeoDataFrame(geometry=zones), ["mean"], output="pandas")["mean"]
        np.testing.assert_allclose(share[:, k], found.to_numpy(float), rtol=1e-9, atol=1e-12)
    assert np.isnan(share[-1]).all() and cells[-1] == 0
    with pytest.raises(InputError, match="weights are for 1599 cells, the tile has 1600"):
        assemblage.coverage(weights[:, :1599])


def test_coverage_adds_over_parts():
    """Two halves, weighted by their cells, make the whole."""
    tile = tile_of(40, mean=-2.0)
    assemblage = kept(tile, stream(tile, {}))
    west, south, east, north = tile.tile.bounds
    middle = (west + east) / 2 + 13
    zones = gpd.GeoSeries(
        [shapely.box(west, south, east, north), shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)],
        crs="EPSG:3035",
    )
    share, cells = assemblage.coverage(polygon_weights(zones, tile.geobox))
    np.testing.assert_allclose(share[0], (share[1] * cells[1] + share[2] * cells[2]) / cells[0], rtol=1e-6)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become a user without a home")
def test_a_server_that_may_write_nowhere_still_compiles():
    """Read-only code and no home: machine code is made anew, not refused."""
    command = "import numpy as np; from geoplantnet.assemblages import kernels; out = np.zeros(3, np.float32); "
    command += "kernels.add_columns(np.ones((2, 3), np.float32), out); print(out.sum())"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-B", "-c"]
    home = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(Path(__file__).parents[2])}
    if subprocess.run([*nobody, "import numba, geoplantnet"], env=home, capture_output=True, check=False).returncode:
        pytest.skip("other users may not read this checkout or its Python")
    ran = subprocess.run([*nobody, command], env=home, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "6.0", ran.stderr
