"""A latent tile answers every question from one dot product, and survives being written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from geoplantnet.assemblages import LatentTile, SpeciesHead, open_latent, quantise, write_latent
from geoplantnet.assemblages.latent import MEAN_ERROR, TAIL_ERROR
from geoplantnet.errors import IntegrityError, ModelError, StorageError, UsageError
from geoplantnet.grid import TileGrid


def a_tile(grid, species, seed=0, gain=1.0):
    rng = np.random.default_rng(seed)
    side, d = grid.cells_per_side, 16
    head = SpeciesHead(
        species=species,
        weights=(rng.normal(size=(len(species), d)) * gain).astype(np.float32),
        bias=rng.normal(-2, 1, len(species)).astype(np.float32),
    )
    z = np.tanh(rng.normal(size=(side, side, d))).astype(np.float32)
    valid = rng.random((side, side)) > 0.1
    stored, scale, error = quantise(z, valid, head)
    share = (rng.integers(0, 256, (side, side)) / 255).astype(np.float32)
    return (
        LatentTile(
            tile=grid.tile("2kmE4200N2600"),
            z=stored,
            scale=scale,
            valid=valid,
            availability=share,
            head=head,
            attributes={"plot_area_m2": 100},
        ),
        z,
        error,
    )


def test_probabilities_equal_float64_arithmetic(small_grid, species):
    """Availability * sigmoid(z w + b), NaN where not valid, for block, map and cells alike."""
    tile, _, _ = a_tile(small_grid, species)
    z = tile.z.astype(np.float64) * tile.scale
    expected = expit(np.einsum("yxd,sd->syx", z, tile.head.weights) + tile.head.bias[:, None, None]) * tile.availability
    expected[:, ~tile.valid] = np.nan
    assert np.allclose(tile.block(slice(None)), expected, atol=1e-5, equal_nan=True)
    assert np.allclose(tile.species_map(3), expected[3], atol=1e-5, equal_nan=True)
    window = (slice(5, 9), slice(30, 40))
    assert np.allclose(tile.species_map(3, window), expected[(3, *window)], atol=1e-5, equal_nan=True)
    assert np.allclose(tile.at([0, 7], [39, 2]), expected[:, [0, 7], [39, 2]].T, atol=1e-5, equal_nan=True)


@given(st.integers(1, 13))
@settings(max_examples=10)
def test_blocks_do_not_depend_on_their_size(size):
    """Streaming species in any block size gives the same bits."""
    from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

    species = SpeciesList(checklist="t", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"S {i}") for i in range(12)))
    tile, _, _ = a_tile(TileGrid(tile_size=2000), species)
    parts = list(tile.blocks(size))
    assert parts[0][0].start == 0 and parts[-1][0].stop == 12
    assert np.allclose(np.concatenate([b for _, b in parts]), tile.block(slice(None)), atol=1e-6, equal_nan=True)


def test_int8_holds_its_limits_and_else_float16_is_chosen(small_grid, species):
    """Gentle heads fit into int8 within the stated error; a steep head falls back to float16 and says so."""
    gentle, z, error = a_tile(small_grid, species)
    assert gentle.z.dtype == np.int8 and error["mean_dp"] <= MEAN_ERROR and error["p999_dp"] <= TAIL_ERROR
    exact = gentle.head.probabilities(z[gentle.valid])
    stored = gentle.head.probabilities(gentle.z[gentle.valid] * gentle.scale)
    assert np.abs(exact - stored).mean() <= MEAN_ERROR
    steep, _, error = a_tile(small_grid, species, gain=40.0)
    assert steep.z.dtype == np.float16 and error["dtype_bits"] == 16


def test_written_and_read_are_one(tmp_path, small_grid, species):
    """Every probability, attribute and species survives the disk."""
    tile, _, _ = a_tile(small_grid, species)
    write_latent(tile, tmp_path / "t.zarr")
    back = open_latent(tmp_path / "t.zarr", small_grid)
    assert np.array_equal(back.block(slice(None)), tile.block(slice(None)), equal_nan=True)
    assert back.species.hash == species.hash and back.tile == tile.tile and back.attributes["plot_area_m2"] == 100


def test_what_is_no_tile_is_refused(tmp_path, small_grid, species):
    """Absent, damaged, of another grid, or a head of another length."""
    with pytest.raises(StorageError, match="geoplantnet map"):
        open_latent(tmp_path / "none", small_grid)
    (tmp_path / "junk").mkdir()
    with pytest.raises(IntegrityError, match="run again"):
        open_latent(tmp_path / "junk", small_grid)
    tile, _, _ = a_tile(small_grid, species)
    write_latent(tile, tmp_path / "t.zarr")
    with pytest.raises(IntegrityError, match="another grid"):
        open_latent(tmp_path / "t.zarr", TileGrid(tile_size=4000))
    with pytest.raises(ModelError, match="12 species"):
        SpeciesHead(species=species, weights=np.zeros((3, 4), np.float32), bias=np.zeros(3, np.float32))


def test_extreme_logits_do_not_overflow(species):
    """Logits of +-1000 are exactly 0 and 1, without a warning."""
    head = SpeciesHead(species=species, weights=np.full((12, 1), 1000, np.float32), bias=np.zeros(12, np.float32))
    with np.errstate(all="raise", under="ignore"):
        p = head.probabilities(np.array([[1.0], [-1.0]], np.float32))
    assert p[0].tolist() == [1.0, 0.0]


def joined(small_grid, species, members=3, seed=4):
    """A tile of several members, their own heads, and their own latent vectors."""
    rng = np.random.default_rng(seed)
    side, d = small_grid.cells_per_side, 5
    heads = [
        SpeciesHead(
            species=species,
            weights=rng.normal(size=(len(species), d)).astype(np.float32),
            bias=rng.normal(-2, 1, len(species)).astype(np.float32),
        )
        for _ in range(members)
    ]
    z = np.tanh(rng.normal(size=(side, side, members * d))).astype(np.float32)
    valid = rng.random((side, side)) > 0.1
    weights = np.concatenate([head.weights / members for head in heads], axis=1).astype(np.float32)
    bias = np.mean([head.bias for head in heads], axis=0).astype(np.float32)
    index = np.where(rng.random((side, side)) > 0.1, rng.gamma(1.5, 0.5, (side, side)), np.nan).astype(np.float32)
    index[0, :2] = 0.75, np.nextafter(np.float32(0.75), np.float32(1))  # the edge, and just beyond
    index[1, 0] = 1e6
    tile = LatentTile(
        tile=small_grid.tile("2kmE4200N2600"),
        z=z.astype(np.float16),
        scale=np.ones(members * d, np.float32),
        valid=valid,
        availability=(rng.integers(0, 256, (side, side)) / 255).astype(np.float32),
        head=SpeciesHead(species=species, weights=weights, bias=bias),
        member_bias=np.stack([head.bias for head in heads]),
        dissimilarity=index,
        dissimilarity_threshold=0.75,
    )
    return tile, heads, z.astype(np.float16).astype(np.float64).reshape(side, side, members, d)


def test_a_joined_tile_gives_every_member_back(small_grid, species):
    """Member m says what its own head says of its own part of z; the tile the mean logit; the spread is theirs."""
    tile, heads, z = joined(small_grid, species)
    logits = np.stack([np.einsum("yxd,sd->syx", z[:, :, m], head.weights) + head.bias[:, None, None] for m, head in enumerate(heads)])
    expected = np.where(tile.valid, expit(logits) * tile.availability, np.nan)
    for m in range(3):
        assert np.allclose(tile.member(m).block(slice(None)), expected[m], atol=1e-5, equal_nan=True)
    mean = np.where(tile.valid, expit(logits.mean(axis=0)) * tile.availability, np.nan)
    assert np.allclose(tile.block(slice(None)), mean, atol=1e-5, equal_nan=True)
    assert np.allclose(tile.spread(2), expected[:, 2].std(axis=0), atol=1e-5, equal_nan=True)
    window = (slice(3, 9), slice(0, 7))
    assert np.allclose(tile.spread(2, window), expected[(slice(None), 2, *window)].std(axis=0), atol=1e-5, equal_nan=True)
    richness = tile.spread_of(lambda one: one.block(slice(None)).sum(axis=0))
    assert np.allclose(richness, expected.sum(axis=1).std(axis=0), atol=1e-4, equal_nan=True)


def test_one_member_agrees_with_itself(small_grid, species):
    """No spread, and no other member."""
    tile, _, _ = a_tile(small_grid, species)
    assert tile.members == 1 and tile.member(0) is tile and np.nanmax(tile.spread(0)) == 0 and tile.inside is None
    with pytest.raises(UsageError, match="1 members"):
        tile.member(1)


def test_members_and_dissimilarity_survive_the_disk(tmp_path, small_grid, species):
    """Probabilities of every member to the bit; dissimilarity to half a thousandth of the threshold, and no cell changes sides."""
    tile, _, _ = joined(small_grid, species)
    write_latent(tile, tmp_path / "t.zarr")
    back = open_latent(tmp_path / "t.zarr", small_grid)
    assert back.members == 3 and np.array_equal(back.member(1).block(slice(None)), tile.member(1).block(slice(None)), equal_nan=True)
    assert np.array_equal(back.inside, tile.inside) and back.inside[0, :2].tolist() == [True, False]
    near = tile.dissimilarity < 65 * 0.75
    assert np.array_equal(np.isnan(back.dissimilarity), np.isnan(tile.dissimilarity))
    assert np.abs(back.dissimilarity - tile.dissimilarity)[near].max() <= 0.75 / 1000 * 1.001
    assert 65 * 0.75 < back.dissimilarity[1, 0] < 66 * 0.75


def test_biases_that_fit_no_members_are_refused(small_grid, species):
    """Sixteen latent values cannot be three members'."""
    tile, _, _ = a_tile(small_grid, species)
    with pytest.raises(ModelError, match="members' biases"):
        replace(tile, member_bias=np.zeros((3, 12), np.float32))


@given(st.integers(0, 40), st.integers(1, 70))
@settings(max_examples=15, deadline=None)
def test_quantising_does_not_depend_on_how_many_rows_are_held(seed, side):
    """Stored z and scale are those of the whole array at once, whatever its height and however many cells are valid."""
    from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

    rng = np.random.default_rng(seed)
    species = SpeciesList(checklist="t", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"S {i}") for i in range(3)))
    head = SpeciesHead(species=species, weights=rng.normal(size=(3, 4)).astype(np.float32), bias=np.zeros(3, np.float32))
    z, valid = rng.normal(size=(side, 6, 4)).astype(np.float32), rng.random((side, 6)) < rng.random()
    stored, scale, _ = quantise(z, valid, head)
    peak = np.abs(z[valid]).max(axis=0, initial=0.0)
    assert np.array_equal(scale, np.where(peak > 0, peak / 127, 1).astype(np.float32)) or stored.dtype == np.float16
    clean = np.where(valid[..., None], z, 0)
    assert np.array_equal(stored, np.rint(clean / scale).astype(np.int8) if stored.dtype == np.int8 else clean.astype(np.float16))
