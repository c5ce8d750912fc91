"""Overviews are what their tiles hold, seen from afar: brute force, tiles that change, damage."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoplantnet.assemblages.assemblage import Assemblage, SpeciesSets, write_assemblage
from geoplantnet.catalog import overview
from geoplantnet.catalog.geotiff import write_cog
from geoplantnet.catalog.overview import STEPS, Source, open_species_overview, sides, write_overview, write_species_overview
from geoplantnet.errors import IntegrityError, RasterError
from geoplantnet.grid import TileGrid
from geoplantnet.storage import sha256
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=10_000, cell_size=100)
PLACES = ((4_000_000, 2_500_000), (4_010_000, 2_500_000), (4_010_000, 2_510_000))  # none in the north-west
SPECIES = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Planta {i}") for i in range(70)))


def published(root: Path, values: np.ndarray) -> list[Source]:
    """Tiles of two bands, a count and a class, 0 = no data: `values` are (tile, 100, 100)."""
    found = []
    for (west, south), one in zip(PLACES, values, strict=True):
        tile = GRID.tile_at(west, south)
        bands = np.stack([one, one % 4]).astype(np.uint8)
        path = write_cog(root / tile.id / "a.tif", bands, tile.geobox(), band_names=["count", "class"], nodata=0, scale=0.5)
        found.append(Source(id=tile.id, bounds=tile.bounds, path=path, checksum=sha256(path)))
    return found


@given(cells=st.integers(1, 3000))
def test_levels_nest(cells):
    """Every level divides a tile into whole cells, at most half as many as the one before, down to one."""
    found = sides(cells)
    assert found[0] == cells and found[-1] == 1 and all(cells % side == 0 for side in found)
    assert all(b <= a / 2 for a, b in itertools.pairwise(found))
    assert sides(500) == [500, 250, 125, 50, 25, 10, 5, 2, 1]


@given(seed=st.integers(0, 2**32 - 1), corner=arrays(np.uint8, (20, 20), elements=st.integers(0, 5)))
@settings(max_examples=12, deadline=None)
def test_cells_are_means_and_modes(tmp_path_factory, seed, corner):
    """Every cell, at every level, is the mean (most frequent class) of the cells below it that hold data; brute force."""
    root = tmp_path_factory.mktemp("store")
    values = np.random.default_rng(seed).integers(0, 256, (3, 100, 100))
    values[0, :20, :20] = corner
    values[1, 30:60, 30:60] = 0
    path = write_overview(root, "a", published(root, values), classes={2})
    assert path == root / "overviews" / "a.tif"
    whole = np.zeros((2, 200, 200), int)
    for (west, south), one in zip(PLACES, values, strict=True):
        row, column = (2_510_000 - south) // 100, (west - 4_000_000) // 100
        whole[:, row : row + 100, column : column + 100] = one, one % 4
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2, 5, 10] and file.scales == (0.5, 0.5) and file.transform.a == 1000 and file.nodata == 0
        for factor in (1, 2, 5, 10):
            n = 20 // factor
            got = file.read(out_shape=(2, n, n))
            base = whole if factor == 1 else np.repeat(np.repeat(file.read(), 10, 1), 10, 2).astype(int)
            for band, how in ((0, "mean"), (1, "mode")):
                for i in range(n):
                    for j in range(n):
                        size = 200 // n
                        block = base[band, i * size : (i + 1) * size, j * size : (j + 1) * size]
                        known = block[block > 0]
                        if not known.size:
                            assert got[band, i, j] == 0
                        elif how == "mean":
                            assert abs(int(got[band, i, j]) - known.mean()) <= 1
                        elif factor == 1:
                            counts = np.bincount(known)
                            assert counts[got[band, i, j]] == counts.max()
                        else:
                            assert got[band, i, j] in known


def test_only_tiles_that_changed_are_read_again(tmp_path, monkeypatch):
    """A second publication of three tiles, one of them new, reads that one; the overview is the same as one made anew."""
    random = np.random.default_rng(3)
    values = random.integers(1, 256, (3, 100, 100))
    write_overview(tmp_path, "a", published(tmp_path, values), classes=())
    values[1] = random.integers(1, 256, (100, 100))
    tiles, read = published(tmp_path, values), []
    reduced = overview._reduced
    monkeypatch.setattr(overview, "_reduced", lambda tile, *rest: read.append(tile.id) or reduced(tile, *rest))
    path = write_overview(tmp_path, "a", tiles, classes=())
    assert read == [tiles[1].id]
    patched = path.read_bytes()
    write_overview(tmp_path, "a", tiles, classes=())
    assert read == [tiles[1].id], "nothing has changed"
    path.unlink()
    write_overview(tmp_path, "a", tiles, classes=())
    assert path.read_bytes() == patched and len(read) == 4


@pytest.mark.parametrize("harm", ["record is gone", "record is cut", "raster is gone", "a tile is no longer published"])
def test_what_cannot_be_trusted_is_made_anew(tmp_path, harm):
    """Whatever was lost or no longer belongs there, the overview holds the tiles it is asked for, and nothing else."""
    tiles = published(tmp_path, np.random.default_rng(3).integers(1, 256, (3, 100, 100)))
    path = write_overview(tmp_path, "a", tiles, classes=())
    record = path.with_suffix(".json")
    if harm == "record is gone":
        record.unlink()
    elif harm == "record is cut":
        record.write_bytes(record.read_bytes()[:40])
    elif harm == "raster is gone":
        path.unlink()
    else:
        tiles = [tiles[0], tiles[2]]  # the window is the same
    write_overview(tmp_path, "a", tiles, classes=())
    assert json.loads(record.read_text())["tiles"] == {tile.id: tile.checksum for tile in tiles}
    with rasterio.open(path) as file:
        south_east = file.read(1)[10:, 10:]
    assert south_east.any() == (len(tiles) == 3)


def test_tiles_of_another_kind_are_refused(tmp_path):
    """A tile with other bands is named, with the fix."""
    tiles = published(tmp_path, np.ones((3, 100, 100)))
    tile = GRID.tile_at(*PLACES[1])
    write_cog(tiles[1].path, np.ones((1, 100, 100), np.uint8), tile.geobox(), band_names=["count"], nodata=0)
    with pytest.raises(RasterError, match="publish it again"):
        write_overview(tmp_path, "a", tiles, classes=())


def sets(root: Path, means: np.ndarray, thresholds: np.ndarray, list_hash: str = SPECIES.hash) -> list[Source]:
    """Assemblages with these means (tile, species, 10, 10) and thresholds (tile, 100, 100)."""
    found = []
    for (west, south), mean, threshold in zip(PLACES, means, thresholds, strict=True):
        tile, path = GRID.tile_at(west, south), root / f"{west}-{south}.zarr"
        nothing = SpeciesSets(start=np.zeros(10_001, np.int64), species=np.zeros(0, np.uint16), p=np.zeros(0, np.uint8))
        one = Assemblage(
            tile=tile, species=70, list_hash=list_hash, threshold=threshold, sets=nothing, means=mean, attributes={"plot_area_m2": 25}
        )
        write_assemblage(one, path)
        found.append(Source(id=tile.id, bounds=tile.bounds, path=path, checksum=f"{west}"))
    return found


def test_species_are_weighted_means(tmp_path):
    """A cell of 5 km is the mean over all valid cells of its means of 1 km, to within a step; brute force. Rare species keep their digits."""
    random = np.random.default_rng(5)
    thresholds = random.random((3, 100, 100), np.float32)
    thresholds[0, :50, :50] = np.nan  # a whole cell of 5 km
    thresholds[1, 7:16, 20:33] = np.nan
    valid = np.isfinite(thresholds).reshape(3, 10, 10, 10, 10).sum(axis=(2, 4))
    means = (random.random((3, 70, 10, 10)) * 10.0 ** -np.arange(70)[:, None, None].clip(0, 3)).astype(np.float32)
    means[np.broadcast_to((valid == 0)[:, None], means.shape)] = np.nan
    path = write_species_overview(tmp_path, sets(tmp_path, means, thresholds), SPECIES, {"t3": {"iucn": "VU"}})
    found = open_species_overview(path)
    assert found.species == SPECIES and found.traits == {"t3": {"iucn": "VU"}} and found.plot_area == 25
    assert found.window.shape == (4, 4) and found.window.affine.a == 5000
    np.testing.assert_allclose(found.highest, np.nanmax(means, axis=(0, 2, 3)), atol=1e-5)
    for k in (0, 2, 3, 69):
        whole = np.full((4, 4), np.nan)
        for tile, (west, south) in enumerate(PLACES):
            row, column = (2_510_000 - south) // 5000, (west - 4_000_000) // 5000
            for i in range(2):
                for j in range(2):
                    block = slice(i * 5, i * 5 + 5), slice(j * 5, j * 5 + 5)
                    weight = valid[tile][block]
                    if weight.sum():
                        whole[row + i, column + j] = (np.nan_to_num(means[tile, k][block]) * weight).sum() / weight.sum()
        got = found.species_map(k)
        assert (np.isnan(got) == np.isnan(whole)).all() and np.isnan(got).sum() == 5
        step = (np.sqrt(np.nan_to_num(whole)) + 1 / STEPS) / STEPS
        assert (np.abs(got - whole)[np.isfinite(whole)] <= step[np.isfinite(whole)]).all()
    assert (np.isnan(found.threshold()) == np.isnan(whole)).all()


def test_sets_of_another_list_are_refused(tmp_path):
    """Positions in another list would be other species."""
    with pytest.raises(IntegrityError, match="another list"):
        write_species_overview(
            tmp_path, sets(tmp_path, np.zeros((3, 70, 10, 10), np.float32), np.ones((3, 100, 100), np.float32), "x"), SPECIES, {}
        )
    with pytest.raises(IntegrityError, match="publish again"):
        open_species_overview(tmp_path / "nothing.zarr")
