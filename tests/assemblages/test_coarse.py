"""Sensitive species in a tile: means over squares in the place of cells, the same whatever lies inside the squares, and nothing finer in the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.assemblages import LatentTile, SpeciesHead, open_latent, write_latent
from geoplantnet.assemblages.change import change_between
from geoplantnet.assemblages.dense import open_dense, write_dense, write_dense_rows
from geoplantnet.assemblages.latent import generalised
from geoplantnet.assemblages.stores import survey
from geoplantnet.assemblages.stream import stream
from geoplantnet.assemblages.sums import Sum, community_sums
from geoplantnet.errors import IntegrityError
from geoplantnet.grid import TileGrid
from geoplantnet.storage import files_of, sha256
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=2_000)
SIDE, COUNT, D = 40, 30, 8
SQUARES = {3: 0, 7: 8, 11: 20, 12: 8}
"""Species 3 is withheld, the others are told in squares of 8, 20 and 8 cells."""
LIST = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Planta {i}") for i in range(COUNT)))
SUMS = {"richness": Sum(term="p"), "variance": Sum(term="p(1-p)"), "entropy": Sum(term="p ln p"), "set": Sum(term="member")}


def multiply(a, b):
    return a.astype(np.int32) @ b.astype(np.int32).T


def tile_of(seed: int = 0, *, members: int = 2, sign: float = 1.0, dtype: type = np.int8) -> LatentTile:
    """Two of the latent values are mirrored inside every square of 8 and of 20 cells, and only sensitive species look at them: with the other
    `sign` these have their probabilities at other cells of the same squares.
    """
    random = np.random.default_rng(seed)
    z = random.integers(-127, 128, (SIDE, SIDE, D * members))
    valid = np.ones((SIDE, SIDE), bool)
    for side, value in ((8, 0), (20, 1)):
        half = random.integers(-127, 128, (SIDE, SIDE // side, side // 2, members))
        z[:, :, value::D] = np.concatenate([half, -half[:, :, ::-1]], axis=2).reshape(SIDE, SIDE, members)
    valid[3, :] = False
    weights = random.normal(0, 1, (COUNT, D * members)).astype(np.float32)
    for value in (0, 1):
        weights[:, value::D] = 0
    for k, side in SQUARES.items():
        weights[k] = 0
        weights[k, (1 if side == 20 else 0) :: D] = 3 * sign
    bias = random.normal(-2, 1, COUNT).astype(np.float32)
    return LatentTile(
        tile=GRID.tile_at(4_130_000, 2_580_000),
        z=z.astype(dtype),
        scale=np.full(D * members, 1 / 70, np.float32),
        valid=valid,
        availability=np.full((SIDE, SIDE), 204 / 255, np.float32),
        head=SpeciesHead(species=LIST, weights=weights, bias=bias),
        member_bias=np.stack([bias + 0.3 * m for m in range(members)]) if members > 1 else None,
    )


def bytes_of(path: Path) -> dict[str, str]:
    return {file.relative_to(path).as_posix(): sha256(file) for file in files_of(path)}


def means(p: np.ndarray, side: int) -> np.ndarray:
    """What a cell of the tile should be told: brute force over squares."""
    out = np.full(p.shape, np.nan)
    for y in range(0, SIDE, side):
        for x in range(0, SIDE, side):
            own = p[y : y + side, x : x + side]
            out[y : y + side, x : x + side] = np.where(np.isfinite(own), np.nanmean(own), np.nan)
    return out


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("dtype", [np.int8, np.float16])
def test_every_question_is_answered_from_squares(members, dtype, tmp_path):
    """Blocks, maps, windows, cells, members, spread, sums, sets and means of 1 km, after the disk too: means by brute force, others as before."""
    fine = tile_of(members=members, dtype=dtype)
    write_latent(generalised(fine, SQUARES), tmp_path / "t.zarr")
    tile = open_latent(tmp_path / "t.zarr", GRID)
    of_blocks = np.concatenate([p for _, p in tile.blocks(7)])
    rows, columns = (a.ravel() for a in np.mgrid[:SIDE, :SIDE])
    at = tile.at(rows, columns).T.reshape(COUNT, SIDE, SIDE)
    for k in range(COUNT):
        if SQUARES.get(k) == 0:
            wanted = np.full((SIDE, SIDE), np.nan)
        elif k in SQUARES:
            wanted = means(fine.species_map(k), SQUARES[k])
            assert np.nanstd(fine.species_map(k)) > 0.1  # there was something to hide
        else:
            wanted = fine.species_map(k)
        for found in (tile.species_map(k), of_blocks[k], at[k]):
            np.testing.assert_allclose(found, wanted, atol=2e-5)
        window = slice(5, 23), slice(1, 19)
        np.testing.assert_array_equal(tile.species_map(k, window), tile.species_map(k)[window])
        spread = np.std([means(fine.member(m).species_map(k), SQUARES[k]) for m in range(members)], axis=0) if SQUARES.get(k) else None
        if spread is not None:
            np.testing.assert_allclose(tile.spread(k), np.where(tile.valid, spread, np.nan), atol=4e-5)
    for product in (multiply, None):
        found = stream(tile, SUMS, multiply=product)
        exact, _ = community_sums(tile.blocks, tile.shape, SUMS, species=COUNT, threshold=found.threshold)
        for name, values in exact.items():
            np.testing.assert_allclose(found.sums[name], np.where(tile.valid, values, 0), atol=1.001 if name == "set" else 2e-3)
        assert np.isnan(found.means[3]).all() and 3 not in found.sets.species
        np.testing.assert_allclose(found.means[11, 0, 0], np.nanmean(of_blocks[11, :20, :20]), rtol=1e-4)
    change = change_between(fine, tile)
    told = np.stack([np.nan_to_num(p) for p in of_blocks])
    gap = told - np.nan_to_num(np.concatenate([p for _, p in fine.blocks()]))
    np.testing.assert_allclose(np.nan_to_num(change.gain), np.clip(gap, 0, None).sum(axis=0), atol=1e-3)
    np.testing.assert_allclose(np.nan_to_num(change.loss), np.clip(-gap, 0, None).sum(axis=0), atol=1e-3)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_what_lies_inside_squares_leaves_no_trace_in_a_latent_tile(tmp_path_factory, seed):
    """Two maps with other probabilities of the sensitive species at the cells, and the same means over squares, are the same bytes."""
    folder = tmp_path_factory.mktemp("worlds")
    one, other = tile_of(seed), tile_of(seed, sign=-1.0)
    assert not np.allclose(one.species_map(7), other.species_map(7), equal_nan=True)
    for name, tile in (("one", one), ("other", other)):
        write_latent(generalised(tile, SQUARES), folder / name)
        write_latent(tile, folder / f"{name}-fine")
    assert bytes_of(folder / "one") == bytes_of(folder / "other")
    assert bytes_of(folder / "one-fine") != bytes_of(folder / "other-fine")  # the control: without rules there is a trace


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_what_lies_inside_squares_leaves_no_trace_in_a_dense_tile(tmp_path_factory, seed):
    """The same of dense tiles, written by blocks or rows, cells without data among them: probabilities exchanged inside squares."""
    random, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("worlds")
    p = random.random((COUNT, SIDE, SIDE)).astype(np.float32)
    p[:, random.random((SIDE, SIDE)) < 0.2] = np.nan
    moved = p.copy()
    for k, side in SQUARES.items():
        side = side or SIDE
        for y in range(0, SIDE, side):
            for x in range(0, SIDE, side):
                own = moved[k, y : y + side, x : x + side]
                own[np.isfinite(own)] = random.permutation(own[np.isfinite(own)])
    tile = GRID.tile_at(4_130_000, 2_580_000)
    for name, values in (("one", p), ("other", moved)):
        write_dense(lambda values=values: [(slice(0, COUNT), values)], folder / name, tile=tile, species=LIST, squares=SQUARES)
        strips = [(slice(y, y + 10), values[:, y : y + 10]) for y in range(0, SIDE, 10)]
        write_dense_rows(strips, folder / f"{name}-rows", tile=tile, species=LIST, dtype="uint8", squares=SQUARES)
    assert bytes_of(folder / "one") == bytes_of(folder / "other") and bytes_of(folder / "one-rows") == bytes_of(folder / "other-rows")
    opened = open_dense(folder / "one", GRID)
    np.testing.assert_array_equal(opened.valid, np.isfinite(p[0]))
    np.testing.assert_allclose(opened.species_map(11), means(p[11], 20), atol=0.0041)
    np.testing.assert_array_equal(opened.at([5], [6])[0], [values[5, 6] for _, block in opened.blocks() for values in block])
    assert np.isnan(opened.species_map(3)).all() and np.isfinite(survey(opened, SUMS).sums["richness"]).all()


def test_without_rules_nothing_changes(tmp_path):
    """The stored bytes are those of a tile that knows no sensitive species."""
    tile = tile_of()
    assert generalised(tile, {}) is tile
    write_latent(tile, tmp_path / "t.zarr")
    assert not [name for name in bytes_of(tmp_path / "t.zarr") if name.startswith("sensitive")]
    assert open_latent(tmp_path / "t.zarr", GRID).coarse is None


def test_no_weight_of_a_sensitive_species_is_left(tmp_path):
    """Head and members' biases are empty in what is stored; a program that knows no squares finds the species nowhere."""
    write_latent(generalised(tile_of(), SQUARES), tmp_path / "t.zarr")
    tile = open_latent(tmp_path / "t.zarr", GRID)
    rows = list(SQUARES)
    assert not tile.head.weights[rows].any() and len(np.unique(tile.head.bias[rows])) == 1
    assert tile.member_bias is not None and len(np.unique(tile.member_bias[:, rows])) == 1
    assert np.nanmax(replace(tile, coarse=None).species_map(7)) < 1e-9


def test_damaged_squares_are_refused(tmp_path):
    """Squares that do not fit the tile, or means that are gone: told as damage, and never as the cells' own."""
    tile = generalised(tile_of(), SQUARES)
    assert tile.coarse is not None
    wrong = replace(tile, coarse=replace(tile.coarse, squares={3: 0, 7: 9}))
    write_latent(wrong, tmp_path / "t.zarr")
    with pytest.raises(IntegrityError, match="sensitive"):
        open_latent(tmp_path / "t.zarr", GRID)
    write_latent(replace(tile, coarse=replace(tile.coarse, means={})), tmp_path / "u.zarr")
    with pytest.raises(IntegrityError, match="sensitive_means_8"):
        open_latent(tmp_path / "u.zarr", GRID)
