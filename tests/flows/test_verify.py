"""`verify` finds every changed byte, and what it drops is made again to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoplantnet.storage import files_of
from pipelines.ledger import Ledger

TILE = "5kmE4100N2600"
KINDS = {
    "occurrences/records/events.parquet": ("occurrences", "all"),
    "occurrences/records/occurrences.parquet": ("occurrences", "all"),
    "occurrences/records/rejections.parquet": ("occurrences", "all"),
    "occurrences/species.json": ("occurrences", "all"),
    "occurrences/traits.csv": ("occurrences", "all"),
    "occurrences/names.csv": ("occurrences", "all"),
    f"cubes/{TILE}.zarr/terrain/data/c/0/0/0": ("cubes", f"{TILE}.terrain"),
    f"cubes/{TILE}.zarr/sentinel2/zarr.json": ("cubes", f"{TILE}.sentinel2"),
    "model/member-00/weights.safetensors": ("train", "model"),
    "model/model.json": ("train", "model"),
    f"latent/{TILE}.zarr/z/zarr.json": ("map", TILE),
    f"assemblage/{TILE}.zarr/threshold/c/0/0": ("indicators", TILE),
    f"tiles/{TILE}/richness.tif": ("indicators", TILE),
    f"tiles/{TILE}/iucn_worst.tif": ("indicators", TILE),
    f"tiles/{TILE}/species.tif": ("publish", TILE),
    f"tiles/{TILE}/coverage.gpkg": ("publish", TILE),
    f"tiles/{TILE}/relief.tif": ("publish", TILE),
    f"tiles/{TILE}/{TILE}.json": ("publish", TILE),
    "species/records.parquet": ("catalog", "catalog"),
    "tiles/collection.json": ("catalog", "catalog"),
    "catalog.json": ("catalog", "catalog"),
    f"ledger/indicators/{TILE}.json": ("indicators", TILE),
}


ROOT = f"cubes/{TILE}.zarr/zarr.json"
"""The one file that several tasks vouch for: all modalities of its tile."""
CUBE = {("cubes", f"{TILE}.{name}") for name in ("sentinel2", "climate", "terrain")}


def flip(file: Path, position: int, bit: int = 0) -> None:
    """Change one bit of one byte."""
    content = bytearray(file.read_bytes())
    content[position % len(content)] ^= 1 << bit
    file.write_bytes(content)


def found(store: Path) -> set[tuple[str, str]]:
    return {(damage.stage, damage.key) for damage in Ledger(store).damage()}


def test_an_undamaged_store_has_no_findings(reference):
    """Nothing is reported where nothing happened."""
    assert Ledger(reference.store).damage() == []


def test_every_file_of_a_store_is_vouched_for(reference):
    """No product file lies outside the ledger: what is not recorded could not be found damaged."""
    recorded = [reference.store / o.path for r in Ledger(reference.store).records() for o in r.outputs]
    covered = {file for path in recorded for file in files_of(path)}
    assert {reference.store / name for name in reference.bytes_of} == covered


@pytest.mark.parametrize(("asset", "task"), KINDS.items(), ids=[Path(k).name for k in KINDS])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted", "grown"])
def test_damage_to_any_kind_of_asset_is_found_and_named(damaged, asset, task, damage):
    """One changed bit, a byte less, a byte more, a file gone: the task that made it is reported, and only that."""
    file = damaged / asset
    if damage == "flipped":
        flip(file, file.stat().st_size // 2)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "grown":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        file.unlink()
    if damage == "deleted" and asset.startswith("ledger"):
        assert found(damaged) == set()  # no record, no claim: the next run makes it again
    else:
        assert found(damaged) == {task}


def test_damage_to_the_root_of_a_cube_is_found_by_all_its_modalities(damaged):
    """Each of them needs it."""
    flip(damaged / ROOT, 40)
    assert found(damaged) == CUBE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_flipped_bit_anywhere_is_found(all_files, damaged, data):
    """Any bit of any byte of any file of the store, the ledger's own records included."""
    file = damaged / data.draw(st.sampled_from(all_files))
    whole = file.read_bytes()
    flip(file, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7)))
    try:
        assert len(found(damaged)) == (len(CUBE) if file.parent.name.endswith(".zarr") and file.parent.parent.name == "cubes" else 1)
    finally:
        file.write_bytes(whole)


def test_what_is_dropped_is_made_again_bit_identical(reference, store, run_recipe, products):
    """Damage of seven kinds at once, verify --drop, run: the bytes of the reference."""
    for asset in list(KINDS)[::3]:
        flip(store / asset, 100)
    (store / f"tiles/{TILE}/coverage.gpkg").write_bytes(b"")
    ledger = Ledger(store)
    dropped = found(store)
    for stage, key in dropped:
        ledger.forget(stage, key)
    assert set(run_recipe(reference.recipe, store).tasks) == dropped
    assert products(store) == reference.bytes_of and found(store) == set()


@pytest.fixture(scope="module")
def all_files(reference) -> list[str]:
    return sorted(p.relative_to(reference.store).as_posix() for p in files_of(reference.store) if p.stat().st_size)


@pytest.fixture(scope="module")
def shared_copy(reference, tmp_path_factory) -> Path:
    import shutil

    copy = tmp_path_factory.mktemp("damaged") / "store"
    shutil.copytree(reference.store, copy)
    return copy


@pytest.fixture
def damaged(shared_copy, reference, request) -> Path:
    """A copy of the store to damage; mended afterwards."""
    yield shared_copy
    for name in [*reference.bytes_of, *(n for n in KINDS if n.startswith("ledger"))]:
        source, file = reference.store / name, shared_copy / name
        if not file.exists() or file.stat().st_size != source.stat().st_size or name in (*KINDS, ROOT):
            file.write_bytes(source.read_bytes())
