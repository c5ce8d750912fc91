"""A disk that fills while a product is written: all or nothing, and an error that names it, of every writer of the house."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import box

from geoplantnet import occurrences as occ
from geoplantnet.assemblages import write_latent
from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.dense import write_dense
from geoplantnet.assemblages.stream import stream
from geoplantnet.catalog.ebvcube import About, Group, Part, write_ebvcube
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.geotiff import write_cog
from geoplantnet.cubes.cube import node_of, write_node
from geoplantnet.errors import StorageError
from geoplantnet.storage import sha256, write_beside, write_json
from geoplantnet.taxonomy import SpeciesList, Taxon

sys.path.insert(0, str(Path(__file__).parents[1] / "data" / "stores"))
from make import SPECIES, latent


def beside(write: Callable[[Path], None]) -> Callable[[Path], Path]:
    """What a flow does around a writer that wants it."""

    def whole(path: Path) -> Path:
        with write_beside(path) as temporary:
            write(temporary)
        return path

    return whole


@pytest.fixture
def writers(modalities, small_grid):
    """A small product of each kind, as a function of its path."""
    tile, random = latent(), np.random.default_rng(1)
    found = stream(tile, {})
    sets = Assemblage(
        tile=tile.tile, species=len(SPECIES), list_hash=SPECIES.hash, threshold=found.threshold, sets=found.sets, means=found.means
    )
    cells = gpd.GeoDataFrame({"cell_id": ["a"], "n_cells": [9], "valid_cells": [9]}, geometry=[box(0, 0, 9, 9)], crs=tile.tile.grid.crs)
    columns = ["cell_id", "taxonID", "scientificName", "coverage", "mean_probability"]
    rows = pd.DataFrame([["a", f"planta-{i}", f"Planta {i}", 0.5, 0.25] for i in range(300)], columns=columns)
    values = random.integers(0, 250, (40, 10, 10)).astype(np.uint8)
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    about = About(title="t", summary="s", source="s", licence="l", created=date(2020, 1, 1), creator_name="c", creator_institution="i")
    part = Part(None, 0, slice(0, len(SPECIES)), 0, slice(0, 10), slice(0, 10), random.random((len(SPECIES), 10, 10), np.float32))
    metric = Group(standard_name="probability", long_name="probability")
    image, at = modalities[0], small_grid.tile_at(4_200_500, 2_600_500)
    many = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Planta {i}") for i in range(60)))
    blocks = [(slice(0, 60), random.random((60, 40, 40), np.float32))]  # many pages: with a single one, a file cannot have holes
    side = round(small_grid.tile_size / image.resolution) + 2 * image.halo
    node = node_of(at, image, random.random((*image.axes, side, side), np.float32))
    events = pd.DataFrame({"scientificName": [f"Planta {i}" for i in range(200)], "decimalLatitude": "46.5", "decimalLongitude": "8.0"})
    records = occ.from_records(events, dataset_id="d", sampling="presence-only")
    return {
        "latent": beside(lambda path: write_latent(tile, path)),
        "assemblage": beside(lambda path: write_assemblage(sets, path)),
        "dense": beside(lambda path: write_dense(lambda: blocks, path, tile=at, species=many)),
        "cube": beside(lambda path: write_node(node, path, image)),
        "gpkg": lambda path: write_coverage(path, cells, rows, {"notice": "Predicted, not observed."}),
        "cog": lambda path: write_cog(path, values, tile.geobox, band_names=[f"b{i}" for i in range(40)], nodata=255),
        "ebvcube": lambda path: write_ebvcube(
            path, [part], about=about, species=SPECIES, geobox=tile.geobox, times=[(moment, moment)], metrics=[metric]
        ),
        "json": lambda path: write_json(path, list(range(9000))),
        "records": lambda path: occ.save(records, path),
    }


KINDS = ("latent", "assemblage", "dense", "cube", "gpkg", "cog", "ebvcube", "json", "records")


@pytest.mark.parametrize("kind", KINDS)
def test_all_or_nothing_however_little_space_there_is(writers, small_disk, tmp_path, kind):
    """From one page up to enough: StorageError that names the product, not a byte left behind; then the bytes of an ample disk."""
    write, refused = writers[kind], 0
    whole = sha256(write(tmp_path / f"ample.{kind}"))
    for kibibytes in (4, 8, 16, 28, 44, 64, 92, 128, 180, 256, 360, 512, 724, 1024, 2048, 4096, 8192):
        disk = small_disk(kibibytes)
        try:
            written = write(disk / f"product.{kind}")
        except StorageError as error:
            assert str(disk / f"product.{kind}") in str(error) and "free space" in str(error)
            assert list(disk.iterdir()) == []
            refused += 1
        else:
            break
    assert refused and sha256(written) == whole and list(disk.iterdir()) == [disk / f"product.{kind}"]


@pytest.mark.parametrize("kind", ["dense", "ebvcube", "gpkg", "json"])
def test_what_stood_there_still_stands(writers, small_disk, kind):
    """A product that cannot be replaced for lack of space is the old one, to the byte."""
    disk = small_disk(2048)
    before = sha256(writers[kind](disk / f"product.{kind}"))
    small_disk(used(disk) + 8)
    with pytest.raises(StorageError, match="free space"):
        writers[kind](disk / f"product.{kind}")
    assert sha256(disk / f"product.{kind}") == before and list(disk.iterdir()) == [disk / f"product.{kind}"]


def used(disk: Path) -> int:
    """KiB that a file system holds."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
