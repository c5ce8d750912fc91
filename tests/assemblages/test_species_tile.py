"""Two stores, one contract: a latent and a dense tile of the same predictions answer alike."""

from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import zarr

from geoplantnet.assemblages import LatentTile, SpeciesHead, open_latent, write_latent
from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.dense import assembled, open_dense, write_dense
from geoplantnet.assemblages.species_tile import SpeciesTile, coverage
from geoplantnet.assemblages.stream import stream
from geoplantnet.errors import InputError, IntegrityError, StorageError, UsageError
from geoplantnet.grid import TileGrid
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=2_000)
SPECIES = 90


@pytest.fixture(scope="module")
def latent():
    random = np.random.default_rng(4)
    side = GRID.cells_per_side
    taxa = tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Planta {i}") for i in range(SPECIES))
    tile = LatentTile(
        tile=GRID.tile_at(4_130_000, 2_580_000),
        z=random.integers(-127, 128, (side, side, 5)).astype(np.int8),
        scale=np.full(5, 1 / 70, np.float32),
        valid=random.random((side, side)) < 0.8,
        availability=random.choice([1.0, 0.5], (side, side)).astype(np.float32),
        head=SpeciesHead(
            species=SpeciesList(checklist="test", taxa=taxa),
            weights=random.normal(0, 0.7, (SPECIES, 5)).astype(np.float32),
            bias=random.normal(-2, 1.5, SPECIES).astype(np.float32),
        ),
        attributes={"notice": "Predicted, not observed."},
    )
    found = stream(tile, {})
    return replace(
        tile,
        assemblage=Assemblage(
            tile=tile.tile, species=SPECIES, list_hash=tile.species.hash, threshold=found.threshold, sets=found.sets, means=found.means
        ),
    )


@pytest.fixture(scope="module", params=["uint8", "uint16"])
def dense(request, latent, tmp_path_factory):
    path = tmp_path_factory.mktemp("dense") / "tile.zarr"
    with write_beside(path) as beside:
        write_dense(latent.blocks, beside, tile=latent.tile, species=latent.species, dtype=request.param, attributes=latent.attributes)
    opened = open_dense(path, GRID)
    return replace(opened, assemblage=assembled(opened)), {"uint8": 0.002, "uint16": 8e-6}[request.param] * 1.01


def near(found, expected, step):
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=step)


def test_maps_windows_points_and_blocks_agree(latent, dense):
    """Every question about probabilities, to half a stored step; no data is no data in both."""
    tile, step = dense
    window = (slice(3, 17), slice(30, 40))
    for k in (0, 41, SPECIES - 1):
        near(tile.species_map(k), latent.species_map(k), step)
        near(tile.species_map(k, window), latent.species_map(k, window), step)
    near(tile.at([0, 7, 39], [39, 2, 0]), latent.at([0, 7, 39], [39, 2, 0]), step)
    near(tile.at(3, 4), latent.at(3, 4), step)
    assert tile.at([], []).shape == latent.at([], []).shape == (0, SPECIES)
    near(np.concatenate([p for _, p in tile.blocks(17)]), np.concatenate([p for _, p in latent.blocks()]), step)
    np.testing.assert_array_equal(tile.valid, latent.valid)
    assert tile.species == latent.species and tile.attributes["notice"] == "Predicted, not observed." and tile.tile == latent.tile


def test_small_scales_and_coverage_agree(latent, dense):
    """Means of 1 km, and the coverage of polygons, up to members that rounding of p moves across the threshold."""
    tile, step = dense
    for k in (0, 41):
        near(tile.species_map(k, level=1), latent.species_map(k, level=1), step + 1e-6)
        assert tile.species_map(k, level=1).shape == (2, 2)
    west, south, east, north = latent.tile.bounds
    zones = gpd.GeoSeries([shapely.box(west + 130, south + 210, east - 333, north - 77)], crs="EPSG:3035")
    (ours, cells), (theirs, cells_of_latent) = coverage(tile, zones), coverage(latent, zones)
    np.testing.assert_allclose(cells, cells_of_latent)
    assert np.abs(ours - theirs).mean() < 0.02 and np.abs(ours - theirs).max() < (0.2 if step > 1e-3 else 0.005)


def test_what_a_tile_was_opened_without_is_said(latent, dense):
    """No third level, no level 1 and no coverage without the assemblage: errors that name the fix."""
    zone = gpd.GeoSeries([shapely.box(*latent.tile.bounds)], crs="EPSG:3035")
    tiles: list[SpeciesTile] = [latent, dense[0]]
    for tile in tiles:
        with pytest.raises(UsageError, match="levels 0, the cells, and 1"):
            tile.species_map(0, level=2)
        bare = replace(tile, assemblage=None)  # type: ignore[type-var]
        for ask in (lambda bare=bare: bare.species_map(0, level=1), lambda bare=bare: coverage(bare, zone)):
            with pytest.raises(UsageError, match="open it with its assemblage"):
                ask()


def test_a_member_has_means_and_sets_of_its_own(latent):
    """What an ensemble has been found to hold is not what one of its members says; the spread of maps needs no sets at all."""
    members = replace(latent, member_bias=np.stack([latent.head.bias - 2, latent.head.bias + 2, *[latent.head.bias] * 3]))
    one = members.member(0)
    assert one.assemblage is None
    np.testing.assert_array_equal(one.threshold, latent.assemblage.threshold)
    with pytest.raises(UsageError, match="open it with its assemblage"):
        one.species_map(3, level=1)
    maps = np.stack([members.member(m).species_map(3) for m in range(5)]).astype(float)
    np.testing.assert_allclose(members.spread(3), maps.std(axis=0), atol=1e-6)


def test_gaps_of_single_species_touch_no_other(latent, tmp_path):
    """A species without probabilities somewhere, as masks of single models leave: means are over each one's own cells."""
    p = np.random.default_rng(2).random((3, 40, 40), dtype=np.float32)
    p[0, :10], p[1, 5, 5], p[2, :20, :20] = np.nan, np.nan, np.nan
    taxa = SpeciesList(checklist="test", taxa=latent.species.taxa[:3])
    write_dense(lambda: [(slice(0, 3), p)], tmp_path / "g.zarr", tile=latent.tile, species=taxa, dtype="uint16")
    found = assembled(open_dense(tmp_path / "g.zarr", GRID)).means
    for k, y, x in np.ndindex(3, 2, 2):
        block = p[k, 20 * y : 20 * y + 20, 20 * x : 20 * x + 20]
        np.testing.assert_allclose(found[k, y, x], np.nanmean(block) if np.isfinite(block).any() else np.nan, atol=2e-5)


def test_a_latent_tile_is_opened_with_its_assemblage(latent, tmp_path):
    """Threshold and means come with it; one of another species list is refused."""
    write_latent(latent, tmp_path / "z.zarr")
    write_assemblage(latent.assemblage, tmp_path / "a.zarr")
    back = open_latent(tmp_path / "z.zarr", GRID, assemblage=tmp_path / "a.zarr")
    np.testing.assert_array_equal(back.threshold, latent.assemblage.threshold)
    np.testing.assert_allclose(back.species_map(3, level=1), latent.species_map(3, level=1), atol=1e-5)
    write_assemblage(replace(latent.assemblage, list_hash="of another list"), tmp_path / "b.zarr")
    with pytest.raises(UsageError, match="belong to species list of another"):
        open_latent(tmp_path / "z.zarr", GRID, assemblage=tmp_path / "b.zarr")


def test_dense_tiles_that_cannot_be_are_refused(latent, tmp_path):
    """Absent, of another grid, of another list, values that are no probabilities: typed errors, and no stray file is left."""
    with pytest.raises(StorageError, match="no dense tile at"):
        open_dense(tmp_path / "d.zarr", GRID)
    write_dense(latent.blocks, tmp_path / "d.zarr", tile=latent.tile, species=latent.species)
    with pytest.raises(IntegrityError, match="another grid"):
        open_dense(tmp_path / "d.zarr", TileGrid(tile_size=1_000))
    short = SpeciesList(checklist="test", taxa=latent.species.taxa[:50])
    with pytest.raises(UsageError, match="the list 50"):
        write_dense(latent.blocks, tmp_path / "e.zarr", tile=latent.tile, species=short)
    percent = [(slice(0, SPECIES), np.full((SPECIES, 40, 40), 7.0, np.float32))]
    with pytest.raises(InputError, match=r"outside \[0, 1\]"):
        write_dense(lambda: percent, tmp_path / "f.zarr", tile=latent.tile, species=latent.species)
    root = zarr.open_group(str(tmp_path / "d.zarr"), mode="a")
    del root["by_cell"]
    with pytest.raises(IntegrityError, match="cannot be read as a dense tile"):
        open_dense(tmp_path / "d.zarr", GRID)
    assert not list(tmp_path.glob(".tmp-*"))
