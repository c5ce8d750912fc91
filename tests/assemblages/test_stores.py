"""Rows or species first, the dense tile is one; whichever store lies there is opened and gone over alike."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geoplantnet.assemblages import LatentTile, SpeciesHead, write_latent
from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.dense import DenseTile, open_dense, write_dense, write_dense_rows
from geoplantnet.assemblages.species_tile import coverage
from geoplantnet.assemblages.stores import open_species_tile, survey
from geoplantnet.assemblages.sums import Sum
from geoplantnet.errors import InputError, IntegrityError, StorageError
from geoplantnet.grid import TileGrid
from geoplantnet.storage import sha256
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=2_000)
TILE = GRID.tile_at(4_130_000, 2_580_000)
COUNT = 30
SPECIES = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Planta {i}") for i in range(COUNT)))


@pytest.fixture(scope="module")
def p():
    """(species, y, x) in steps of a 65,000th, with cells that hold nothing."""
    random = np.random.default_rng(1)
    p = np.rint(random.beta(0.4, 3, (COUNT, 40, 40)) * 65_000).astype(np.float32) / np.float32(65_000)
    p[:, random.random((40, 40)) < 0.2] = np.nan
    return p


def in_strips(p, *heights):
    start = 0
    for height in heights:
        yield slice(start, start + height), p[:, start : start + height]
        start += height


def test_rows_first_or_species_first_is_the_same_tile(p, tmp_path):
    """Bit for bit, whatever the strips."""
    write_dense(lambda: [(slice(0, COUNT), p)], tmp_path / "a.zarr", tile=TILE, species=SPECIES, dtype="uint16")
    write_dense_rows(in_strips(p, 7, 1, 32), tmp_path / "b.zarr", tile=TILE, species=SPECIES)
    assert sha256(tmp_path / "a.zarr") == sha256(tmp_path / "b.zarr")
    np.testing.assert_array_equal(np.concatenate([q for _, q in open_dense(tmp_path / "b.zarr", GRID).blocks(11)]), p)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("strips", "says"),
    [
        (lambda p: in_strips(p, 7, 1), "end at row 8 of 40"),
        (lambda p: [(slice(4, 8), p[:, 4:8])], "row 0 was due"),
        (lambda p: in_strips(p[:9], 40), r"is \(9, 40, 40\)"),
        (lambda p: in_strips(p - 1, 40), r"outside \[0, 1\]"),
    ],
)
def test_strips_that_are_none_are_refused(p, tmp_path, strips, says):
    """A gap, an early end, another list, logits: errors that name what was expected."""
    with pytest.raises(InputError, match=says):
        write_dense_rows(strips(p), tmp_path / "c.zarr", tile=TILE, species=SPECIES)


def test_dissimilarity_is_kept_where_there_is_data_and_no_cell_changes_sides(p, tmp_path):
    """As a latent tile keeps it: to half a thousandth of the threshold, inside stays inside."""
    index = np.random.default_rng(3).random((40, 40)).astype(np.float32)
    index[0, 0] = np.nan
    write_dense_rows(
        in_strips(p, 40),
        tmp_path / "d.zarr",
        tile=TILE,
        species=SPECIES,
        dissimilarity=index,
        dissimilarity_threshold=0.4,
        attributes={"a": 1},
    )
    tile = open_dense(tmp_path / "d.zarr", GRID)
    known = np.isfinite(index) & tile.valid
    np.testing.assert_array_equal(np.isfinite(tile.dissimilarity), known)
    np.testing.assert_allclose(tile.dissimilarity[known], index[known], atol=2.1e-4)
    np.testing.assert_array_equal(tile.inside[known], index[known] <= np.float32(0.4))
    assert tile.dissimilarity_threshold == 0.4 and tile.members == 1 and tile.attributes == {"a": 1}
    write_dense_rows(in_strips(p, 40), tmp_path / "e.zarr", tile=TILE, species=SPECIES)
    assert open_dense(tmp_path / "e.zarr", GRID).inside is None


def test_a_dense_tile_is_surveyed_as_by_brute_force(p, tmp_path):
    """Sums, MaxExp sets and means of 1 km by going through the cells one by one; coverage of a polygon from the sets."""
    write_dense_rows(in_strips(p, 40), tmp_path / "f.zarr", tile=TILE, species=SPECIES)
    some = (np.arange(COUNT) % 3 == 0).astype(np.float32)
    found = survey(open_dense(tmp_path / "f.zarr", GRID), {"all": Sum(), "some": Sum(weights=some), "set": Sum(term="member")})
    valid = np.isfinite(p).all(axis=0)
    present = np.zeros(p.shape, bool)
    for y, x in np.argwhere(valid):
        own = p[:, y, x].astype(float)
        order = np.argsort(-own)
        f1 = [2 * own[order[:k]].sum() / (k + own.sum()) for k in range(1, COUNT + 1)]
        present[order[: np.argmax(f1) + 1], y, x] = True
        cell = y * 40 + x
        assert sorted(found.sets.of(cell)) == np.flatnonzero(present[:, y, x]).tolist()
    np.testing.assert_allclose(found.sums["all"][valid], np.nansum(p, axis=0)[valid], rtol=1e-6)
    np.testing.assert_allclose(found.sums["some"][valid], np.nansum(p[::3], axis=0)[valid], rtol=1e-6)
    np.testing.assert_array_equal(found.sums["set"][valid], present.sum(axis=0)[valid])
    np.testing.assert_array_equal(np.isnan(found.threshold), ~valid)
    np.testing.assert_allclose(found.means[:, 1, 0], np.nanmean(p[:, 20:, :20], axis=(1, 2)), rtol=1e-5)
    kept = Assemblage(
        tile=TILE, species=COUNT, list_hash=SPECIES.hash, threshold=found.threshold, sets=found.sets, means=found.means, attributes={}
    )
    write_assemblage(kept, tmp_path / "sets.zarr")
    west, south, east, north = TILE.bounds
    zone = gpd.GeoSeries([shapely.box(west + 500, south + 250, east - 100, north)], crs="EPSG:3035")
    share, cells = coverage(open_species_tile(tmp_path / "f.zarr", GRID, assemblage=tmp_path / "sets.zarr"), zone)
    inside = (slice(0, 35), slice(10, 38))
    assert cells[0] == valid[inside].sum()
    np.testing.assert_allclose(share[0], present[:, *inside].sum(axis=(1, 2)) / cells[0], rtol=1e-6)


def test_whichever_store_lies_there_is_opened(p, tmp_path):
    """Dense or latent by what it is, not by its name; absent and damaged ones are told apart."""
    head = SpeciesHead(species=SPECIES, weights=np.zeros((COUNT, 2), np.float32), bias=np.zeros(COUNT, np.float32))
    latent = LatentTile(
        tile=TILE,
        z=np.zeros((40, 40, 2), np.int8),
        scale=np.ones(2, np.float32),
        valid=np.ones((40, 40), bool),
        availability=np.ones((40, 40), np.float32),
        head=head,
    )
    write_latent(latent, tmp_path / "one.zarr")
    write_dense_rows(in_strips(p, 40), tmp_path / "two.zarr", tile=TILE, species=SPECIES)
    one, two = (open_species_tile(tmp_path / name, GRID) for name in ("one.zarr", "two.zarr"))
    assert isinstance(one, LatentTile) and isinstance(two, DenseTile) and one.species == two.species
    assert survey(one, {"all": Sum()}).sums["all"][3, 3] == pytest.approx(COUNT / 2)
    with pytest.raises(StorageError, match="geoplantnet map"):
        open_species_tile(tmp_path / "none.zarr", GRID)
    (tmp_path / "two.zarr" / "valid" / "zarr.json").unlink()
    with pytest.raises(IntegrityError, match="cannot be read as a dense tile"):
        open_species_tile(tmp_path / "two.zarr", GRID)
