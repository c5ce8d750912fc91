"""Species sets read cell by cell are those of the whole tile, to the last bit, wherever their chunks end; damage is noticed."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from geoplantnet.assemblages import assemblage
from geoplantnet.assemblages.assemblage import Assemblage, SpeciesSets, open_assemblage, position_type, write_assemblage
from geoplantnet.assemblages.cell_sets import open_sets
from geoplantnet.errors import InputError, IntegrityError, StorageError
from geoplantnet.grid.tile_grid import TileGrid

GRID = TileGrid(tile_size=1_000, cell_size=100)
CELLS = 100


def made(seed: int, species: int, share: float) -> Assemblage:
    """A tile of random sets, many of them empty, some cells not valid."""
    rng = np.random.default_rng(seed)
    member = rng.random((CELLS, species)) < share * (rng.random((CELLS, 1)) < 0.7)
    valid = rng.random(CELLS) < 0.9
    member[~valid] = False
    cell, k = np.nonzero(member)
    return Assemblage(
        tile=GRID.tile("1kmE4100N2550"),
        species=species,
        list_hash="abc",
        threshold=np.where(valid, 0.3, np.nan).reshape(10, 10).astype(np.float32),
        sets=SpeciesSets(
            start=np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=CELLS))]),
            species=k.astype(position_type(species)),
            p=rng.integers(1, 256, len(k)).astype(np.uint8),
        ),
        means=np.full((species, 1, 1), 0.1, np.float32),
    )


def zones(seed: int, count: int) -> csr_array:
    """Weights of some zones, with cells in no order, an empty zone among them."""
    rng = np.random.default_rng(seed)
    weights = rng.random((count, CELLS)) * (rng.random((count, CELLS)) < 0.4)
    weights[0] = 0
    return csr_array(weights)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([3, 40, 70_000]), st.sampled_from([0.0, 0.001, 0.3]), st.sampled_from([1, 7, 64, 2**20]))
def test_lazy_sets_are_the_whole_ones(tmp_path_factory, seed, species, share, chunk):
    """Coverage to the last bit, sets, thresholds, whatever the length of chunks: a cell's run may lie in several."""
    path = tmp_path_factory.mktemp("sets") / "a.zarr"
    own = made(seed, species, share if species < 1_000 else share / 1_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemblage, "_CHUNK", max(chunk, 64) if species > 1_000 else chunk)
        write_assemblage(own, path)
    whole, kept = open_assemblage(path, GRID), {}

    def keep(number, read):
        return kept.setdefault(number, read())

    for lazy in (open_sets(path, GRID), open_sets(path, GRID, keep=keep)):
        assert (lazy.tile, lazy.species, lazy.list_hash) == (whole.tile, species, "abc")
        np.testing.assert_array_equal(lazy.threshold, whole.threshold)
        for cell in range(0, CELLS, 3):
            np.testing.assert_array_equal(lazy.of(cell), whole.sets.of(cell))
        weights = zones(seed, 3)
        for found, wanted in zip(lazy.coverage(weights), whole.coverage(weights), strict=True):
            np.testing.assert_array_equal(found, wanted)
    shutil.rmtree(path)


def test_chunks_are_read_for_the_cells_that_are_asked(tmp_path, monkeypatch):
    """Of a cell in the middle one chunk or two, of an empty area none."""
    monkeypatch.setattr(assemblage, "_CHUNK", 50)
    write_assemblage(made(0, 40, 0.5), tmp_path / "a.zarr")
    read = []

    def keep(number, make):
        read.append(number)
        return make()

    sets = open_sets(tmp_path / "a.zarr", GRID, keep=keep)
    sets.coverage(csr_array((2, CELLS)))
    assert read == []
    cell = int(np.argmax(np.diff(sets.start)))
    sets.of(cell)
    assert len(read) <= 2 and read[0] == sets.start[cell] // 50


def test_wrong_stores_are_refused(tmp_path):
    """Absent, of another grid, of another raster, with members too few, or with a species beyond the list: each with its own error."""
    path = tmp_path / "a.zarr"
    with pytest.raises(StorageError, match="geoplantnet indicators"):
        open_sets(path, GRID)
    write_assemblage(made(0, 40, 0.5), path)
    with pytest.raises(IntegrityError, match="another grid"):
        open_sets(path, TileGrid(tile_size=1_000, cell_size=50))
    with pytest.raises(InputError, match="same grid"):
        open_sets(path, GRID).coverage(csr_array((1, 4)))
    root = zarr.open_group(str(path))
    root["set_species"][5:9] = 60
    sets = open_sets(path, GRID)
    with pytest.raises(IntegrityError, match="not in the list"):
        sets.coverage(csr_array(np.ones((1, CELLS))))
    with pytest.raises(IntegrityError, match="not in the list"):
        sets.of(int(np.searchsorted(sets.start, 6, "right")) - 1)
    root["size"][:50] = 0
    with pytest.raises(IntegrityError, match="members"):
        open_sets(path, GRID)


def test_a_flipped_bit_is_noticed(tmp_path):
    """Of 60 flipped bits in what coverage reads none gives other numbers."""
    path, chance = tmp_path / "a.zarr", random.Random(0)
    write_assemblage(made(0, 40, 0.5), path)
    weights = zones(0, 3)
    wanted = open_sets(path, GRID).coverage(weights)
    files = [file for name in ("size", "set_species", "threshold") for file in (path / name).rglob("*") if file.is_file()]
    noticed = 0
    for _ in range(60):
        file = chance.choice(files)
        whole = file.read_bytes()
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        try:
            found = open_sets(path, GRID).coverage(weights)
        except IntegrityError:
            noticed += 1
        else:
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
        file.write_bytes(whole)
    assert noticed > 20
