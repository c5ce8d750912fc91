"""Stores of earlier days are read as they were meant; what is of no known format, or damaged, is refused with the fix."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from geoplantnet.assemblages import open_latent
from geoplantnet.assemblages.assemblage import open_assemblage
from geoplantnet.assemblages.dense import open_dense
from geoplantnet.errors import IntegrityError
from geoplantnet.storage import files_of

sys.path.insert(0, str(Path(__file__).parents[1] / "data" / "stores"))
from make import GRID, read, write

STORES = Path(__file__).parents[1] / "data" / "stores"
VERSIONS = sorted(p.name for p in STORES.iterdir() if (p / "expected.json").is_file())
OPEN = {"latent": open_latent, "latent-with-threshold": open_latent, "assemblage": open_assemblage, "dense": open_dense}


def assert_alike(found, expected):
    """Equal, numbers to a millionth."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_alike(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frozen_store_reads_as_when_it_was_written(version):
    """Latent tiles (of the first layout too), species sets and dense tiles give the values noted by the code that wrote them."""
    assert_alike(read(STORES / version), json.loads((STORES / version / "expected.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frozen_geopackage_opens(version, tmp_path):
    """Cells, coverage and the view of both, by their names."""
    file = tmp_path / "coverage.gpkg"
    file.write_bytes(gzip.decompress((STORES / version / "coverage.gpkg.gz").read_bytes()))
    cells, rows, view = (gpd.read_file(file, layer=name) for name in ("reporting_cells", "species_coverage", "species_coverage_map"))
    assert list(cells["cell_id"]) == ["one", "two"] and list(cells["valid_cells"]) == [48, 0] and cells.crs.to_epsg() == 3035
    assert rows[["taxonID", "coverage", "mean_probability"]].values.tolist() == [["planta-0", 0.5, 0.25], ["planta-3", 1.0, 0.75]]
    assert list(view["scientificName"]) == ["Planta a", "Planta d"] and view.geometry.area.tolist() == [45.0, 45.0]


def test_the_store_of_today_holds_the_same_values(tmp_path):
    """A new layout of files changes no value: the latest frozen store and one written now read alike."""
    write(tmp_path / "now")
    assert_alike(read(tmp_path / "now"), read(STORES / VERSIONS[-1]))


@pytest.fixture
def store(tmp_path) -> Path:
    write(tmp_path / "store")
    return tmp_path / "store"


def change(file: Path, how) -> None:
    """Rewrite a JSON document."""
    document = json.loads(file.read_text(encoding="utf-8"))
    how(document)
    file.write_text(json.dumps(document), encoding="utf-8")


FUTURE = {
    "a Zarr format to come": ("z/zarr.json", "threshold/zarr.json", "p/zarr.json", lambda d: d.update(zarr_format=4)),
    "a codec to come": ("z/zarr.json", "means/zarr.json", "by_cell/zarr.json", lambda d: d["codecs"].append({"name": "shrink"})),
    "no species": ("zarr.json", "zarr.json", "zarr.json", lambda d: d["attributes"].pop("species")),
    "another tile's name": ("zarr.json", "zarr.json", "zarr.json", lambda d: d["attributes"].update(tile="25kmE4125N2575")),
    "more cells": ("z/zarr.json", "means/zarr.json", "p/zarr.json", lambda d: d.update(shape=[2 * n for n in d["shape"]])),
}


@pytest.mark.parametrize("asset", ["latent", "assemblage", "dense"])
@pytest.mark.parametrize("what", FUTURE)
def test_what_is_of_no_known_format_is_refused(store, asset, what):
    """IntegrityError that names the file and what to do, whatever is strange about it."""
    *files, how = FUTURE[what]
    change(store / f"{asset}.zarr" / files[["latent", "assemblage", "dense"].index(asset)], how)
    with pytest.raises(IntegrityError, match=rf"{asset}\.zarr .*run again"):
        OPEN[asset](store / f"{asset}.zarr", GRID)


@pytest.mark.filterwarnings("ignore:Object at")
@pytest.mark.parametrize("name", ["dissimilarity", "member_bias"])
def test_an_optional_array_is_not_silently_left_out(store, name):
    """A tile whose dissimilarity or members cannot be read is damaged; it is not one without any."""
    (store / "latent.zarr" / name / "zarr.json").write_text("{")
    with pytest.raises(IntegrityError, match="run again"):
        open_latent(store / "latent.zarr", GRID)
    (store / "latent.zarr" / name / "zarr.json").unlink()
    with pytest.raises(IntegrityError, match=f"{name} is no array"):
        open_latent(store / "latent.zarr", GRID)


def test_a_flipped_bit_in_any_array_is_noticed_by_who_reads_it(store):
    """Chunks carry checksums: no flipped bit of 300 gives other values, of latent, sets and dense tiles alike."""
    chance = random.Random(5)
    chunks = [file for name in ("latent", "assemblage", "dense") for file in files_of(store / f"{name}.zarr") if file.suffix != ".json"]
    for _ in range(300):
        file = chance.choice(chunks)
        asset, whole = file.relative_to(store).parts[0], file.read_bytes()
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        try:
            found = values(asset.removesuffix(".zarr"), store / asset)
        except IntegrityError as error:
            assert "run again" in str(error)
        else:  # bits that say nothing, such as those of padding
            file.write_bytes(whole)
            np.testing.assert_array_equal(found, values(asset.removesuffix(".zarr"), store / asset))
        file.write_bytes(whole)


def values(asset: str, path: Path) -> np.ndarray:
    """All numbers of an asset in a row."""
    opened = OPEN[asset](path, GRID)
    if asset == "assemblage":
        parts = [opened.threshold, opened.sets.start, opened.sets.species, opened.sets.p, opened.means]
    elif asset == "dense":
        parts = [opened.valid, opened.at(np.arange(10), np.arange(10)), *(opened.species_map(k) for k in range(5))]
    else:
        spread = [opened.spread(2), opened.dissimilarity] if opened.dissimilarity is not None else []
        parts = [opened.block(slice(None)), opened.threshold, *spread]
    return np.concatenate([np.ravel(part).astype(float) for part in parts])


def test_a_copy_that_lost_the_group_is_refused(store, tmp_path):
    """An asset without its root, as an interrupted copy leaves it, is damaged and not empty."""
    for asset, open_ in OPEN.items():
        shutil.copytree(store / f"{asset}.zarr", tmp_path / asset, ignore=lambda folder, names: {"zarr.json"} & set(names))
        with pytest.raises(IntegrityError, match="run again"):
            open_(tmp_path / asset, GRID)
