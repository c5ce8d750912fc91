"""Flip single bits of what a run made: `verify` must name the task of each, and what it drops must come back bit for bit.

    python tests/faults/flip.py RECIPE --rounds 10 --seed 0

`KINDS` are the kinds of assets of a run. In each round one bit of one file of every kind is flipped, at a place drawn from a seed; the
damaged asset is read as it is, by the code that reads it in a run, a map server or an export, and `verify` looks at the store. Then all
kinds that a half of the tasks make are damaged at once, `verify --drop` forgets those tasks, and a second run has to mend them.
Ends with 1 when a flip was not found, a product did not come back, or reading one ended in an error that is not of the house.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from geoplantnet import occurrences as occ
from geoplantnet.assemblages import open_latent
from geoplantnet.assemblages.assemblage import open_assemblage
from geoplantnet.catalog.catalog import open_catalog
from geoplantnet.catalog.overview import SPECIES, open_species_overview
from geoplantnet.catalog.species_records import SPECIES_RECORDS, SpeciesRecords
from geoplantnet.cubes import node_named, open_cube
from geoplantnet.errors import GeoPlantNetError, RasterError
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.species_report import SpeciesTables
from geoplantnet.serving.mosaic import Mosaic
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.tables import stored_names, stored_species, stored_traits
from pipelines.trained import Trained

sys.path.insert(0, str(Path(__file__).parent))
import kill


@dataclass(frozen=True)
class Kind:
    """A kind of asset."""

    files: str
    """A pattern below the store; {t} is a tile."""
    task: str
    """Stage and key of who made it."""
    read: Callable[[Run], Any] | None = None
    """How it is read; None where only other programs do."""


def _records(run: Run) -> object:
    found = occ.load(run.records)
    return [table.to_csv() for table in (found.events, found.occurrences, found.rejections)]


def _cube(name: str) -> Callable[[Run], object]:
    return lambda run: {str(k): v.values for k, v in node_named(open_cube(run.cube(run.tiles[0])), name).load().variables.items()}


def _model(run: Run) -> object:
    trained = Trained.load(run.model)
    about = trained.applicability
    known = about and (about.names, about.threshold, about.mean, about.scale, about.weights, about.sites, about.training_index)
    weights = [{name: tensor.numpy() for name, tensor in net.state_dict().items()} for net in trained.nets]
    return weights, [head.weights for head in trained.heads(100)], known


def _held_out(run: Run) -> object:
    found = HeldOut.load(run.model / "held_out")
    return found.event, found.fold, found.p, found.truth.toarray(), found.xy


def _explanation(run: Run) -> object:
    tables = SpeciesTables.load(run.model / "explanation")
    return [
        t.to_csv() for t in (tables.found, tables.contributions, tables.importance, tables.responses.species, tables.responses.richness)
    ]


def _latent(run: Run) -> object:
    tile = open_latent(run.latent(run.tiles[0]), run.grid)
    return tile.z, tile.scale, tile.valid, tile.availability, tile.head.weights, tile.head.bias, tile.dissimilarity, tile.species


def _assemblage(run: Run) -> object:
    found = open_assemblage(run.assemblage(run.tiles[0]), run.grid)
    return found.threshold, found.sets.start, found.sets.species, found.sets.p, found.means, found.list_hash


def _layer(name: str) -> Callable[[Run], object]:
    """All cells of a layer, as the map server reads them."""

    def read(run: Run) -> object:
        mosaic = Mosaic(catalog := open_catalog(run.store))
        layer = next(layer for layer in reversed(catalog.layers.values()) if layer.asset == name)
        try:
            cells, _ = mosaic.cells(layer, run.tile(run.tiles[0]).bounds)
        finally:
            mosaic.close()
        return cells.filled(0), cells.mask

    return read


def _bands(name: str) -> Callable[[Run], object]:
    """The last band of a file that is published to be fetched."""

    def read(run: Run) -> object:
        try:
            with rasterio.open(run.product(run.tiles[0], f"{name}.tif"), driver="GTiff") as file:
                return file.read(file.count)
        except RasterioError as error:
            raise RasterError(str(error)) from error

    return read


def _far(name: str) -> Callable[[Run], object]:
    """A layer from afar."""

    def read(run: Run) -> object:
        mosaic = Mosaic(catalog := open_catalog(run.store))
        try:
            cells, _ = mosaic.cells(catalog.layer(name), catalog.bounds, mosaic.levels(catalog.layer(name)) - 3)
        finally:
            mosaic.close()
        return cells.filled(0), cells.mask

    return read


def _far_species(run: Run) -> object:
    overview = open_species_overview(open_catalog(run.store).overviews[SPECIES])
    return overview.species, overview.highest, [overview.species_map(k) for k in range(len(overview.species))], overview.threshold()


def _species_records(run: Run) -> object:
    opened = SpeciesRecords(open_catalog(run.store).assets[SPECIES_RECORDS])
    return [(taxon.taxon_id, opened.of(taxon.taxon_id)) for taxon in stored_species(run)]


def _catalog(run: Run) -> object:
    found = open_catalog(run.store)
    return found.title, found.notice, dict(found.layers), [(tile.id, tile.bounds, dict(tile.assets)) for tile in found.tiles]


KINDS = {
    "events": Kind("occurrences/records/events.parquet", "occurrences all", _records),
    "occurrences": Kind("occurrences/records/occurrences.parquet", "occurrences all", _records),
    "rejections": Kind("occurrences/records/rejections.parquet", "occurrences all", _records),
    "species list": Kind("occurrences/species.json", "occurrences all", stored_species),
    "traits": Kind("occurrences/traits.csv", "occurrences all", lambda run: stored_traits(run).to_csv()),
    "common names": Kind("occurrences/names.csv", "occurrences all", lambda run: stored_names(run).to_csv()),
    "records of species": Kind("species/records.parquet", "catalog catalog", _species_records),
    "image chunk": Kind("cubes/{t}.zarr/sentinel2/data/c/**/*", "cubes {t}.sentinel2", _cube("sentinel2")),
    "series chunk": Kind("cubes/{t}.zarr/climate/data/c/**/*", "cubes {t}.climate", _cube("climate")),
    "terrain chunk": Kind("cubes/{t}.zarr/terrain/data/c/**/*", "cubes {t}.terrain", _cube("terrain")),
    "cube validity": Kind("cubes/{t}.zarr/terrain/valid/c/**/*", "cubes {t}.terrain", _cube("terrain")),
    "cube metadata": Kind("cubes/{t}.zarr/climate/**/zarr.json", "cubes {t}.climate", _cube("climate")),
    "weights": Kind("model/member-*/weights.safetensors", "train model", _model),
    "model description": Kind("model/**/model.json", "train model", _model),
    "calibration": Kind("model/calibration.json", "train model", _model),
    "applicability, learnt": Kind("model/applicability/*", "train model", _model),
    "held-out predictions": Kind("model/held_out/*", "train model", _held_out),
    "explanation": Kind("model/explanation/*", "train model", _explanation),
    "explanation, all species": Kind("model/explanation.json", "train model"),
    "latent z": Kind("latent/{t}.zarr/z/c/**/*", "map {t}", _latent),
    "latent head": Kind("latent/{t}.zarr/head_*/c/**/*", "map {t}", _latent),
    "latent, other arrays": Kind("latent/{t}.zarr/[!zh]*/c/**/*", "map {t}", _latent),
    "latent metadata": Kind("latent/{t}.zarr/*/zarr.json", "map {t}", _latent),
    "latent attributes": Kind("latent/{t}.zarr/zarr.json", "map {t}", _latent),
    "species sets": Kind("assemblage/{t}.zarr/s*/c/**/*", "indicators {t}", _assemblage),
    "sets' threshold": Kind("assemblage/{t}.zarr/threshold/c/**/*", "indicators {t}", _assemblage),
    "means of 1 km": Kind("assemblage/{t}.zarr/means/c/**/*", "indicators {t}", _assemblage),
    "assemblage metadata": Kind("assemblage/{t}.zarr/**/zarr.json", "indicators {t}", _assemblage),
    "richness": Kind("tiles/{t}/richness.tif", "indicators {t}", _layer("richness")),
    "shannon": Kind("tiles/{t}/shannon.tif", "indicators {t}", _layer("shannon")),
    "tree richness": Kind("tiles/{t}/tree_richness.tif", "indicators {t}", _layer("tree_richness")),
    "invasives": Kind("tiles/{t}/invasives.tif", "indicators {t}", _layer("invasives")),
    "iucn_worst": Kind("tiles/{t}/iucn_worst.tif", "indicators {t}", _layer("iucn_worst")),
    "species": Kind("tiles/{t}/species.tif", "publish {t}", _bands("species")),
    "overview of an indicator": Kind("overviews/*.tif", "catalog catalog", _far("richness")),
    "record of an overview": Kind("overviews/*.json", "catalog catalog"),
    "overview of species": Kind("overviews/all-species.zarr/**/*", "catalog catalog", _far_species),
    "applicability": Kind("tiles/{t}/applicability.tif", "publish {t}", _layer("applicability")),
    "relief": Kind("tiles/{t}/relief.tif", "publish {t}", _layer("relief")),
    "coverage": Kind("tiles/{t}/coverage.gpkg", "publish {t}"),
    "STAC item": Kind("tiles/{t}/{t}.json", "publish {t}", _catalog),
    "STAC collection": Kind("tiles/collection.json", "catalog catalog", _catalog),
    "STAC catalog": Kind("catalog.json", "catalog catalog", _catalog),
}
"""Everything a run writes but the ledger, which vouches for itself, and the root of a cube, for which several tasks vouch."""

LAZY = ("image chunk", "series chunk", "terrain chunk", "cube validity")
"""Kinds that are decoded where they are used, with the codec's own error: the task that uses one says which asset is damaged."""

SAME, OTHER, TYPED, UNTYPED = "the same", "other values", "error of the house", "untyped error"
"""How the reading of a damaged asset ended."""


def task(kind: Kind, run: Run) -> tuple[str, str]:
    """Stage and key of who made an asset of the first tile."""
    stage, _, key = kind.task.format(t=run.tiles[0]).partition(" ")
    return stage, key


def drawn(kind: Kind, run: Run, chance: random.Random) -> Path:
    """A file of a kind."""
    pattern = kind.files.format(t=run.tiles[0])
    return chance.choice(sorted(p for p in run.store.glob(pattern) if p.is_file()))


def flip(file: Path, chance: random.Random) -> str:
    """Change one bit; says which."""
    whole = bytearray(file.read_bytes())
    byte, bit = chance.randrange(len(whole)), chance.randrange(8)
    whole[byte] ^= 1 << bit
    file.write_bytes(whole)
    return f"bit {bit} of byte {byte} of {file.name}"


@contextmanager
def flipped(file: Path, chance: random.Random) -> Iterator[str]:
    """One bit is another while the context lasts."""
    whole = file.read_bytes()
    try:
        yield flip(file, chance)
    finally:
        file.write_bytes(whole)


def as_read(kind: Kind, run: Run) -> object:
    """What a reader finds, comparable."""
    assert kind.read is not None
    return _plain(kind.read(run))


def _plain(value: object) -> object:
    """Arrays as their bytes, so that NaN equals NaN; all that is no collection as its words."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return sorted((str(name), _plain(each)) for name, each in value.items())
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    return repr(value)


def reading(kind: Kind, run: Run, undamaged: object) -> tuple[str, str]:
    """How reading a damaged asset ends, and the error's words."""
    try:
        return (SAME if as_read(kind, run) == undamaged else OTHER), ""
    except GeoPlantNetError as error:
        return TYPED, f"{error.kind}: {error}"
    except Exception as error:
        return UNTYPED, f"{type(error).__name__}: {error}"


@dataclass
class Found:
    """What came of all rounds."""

    flips: int = 0
    unfound: list[str] = field(default_factory=list)
    """Flips that `verify` did not name, and tasks it named without reason."""
    repaired: int = 0
    """Flipped assets of which a second run made what they were."""
    unrepaired: list[str] = field(default_factory=list)
    readings: dict[str, Counter[str]] = field(default_factory=dict)
    """How reading ended, by kind."""
    untyped: list[str] = field(default_factory=list)
    """Readings that ended in an error that is not of the house, but those of cubes (`LAZY`)."""


def round_of(recipe: str, store: Path, unkilled: kill.Unkilled, undamaged: dict[str, object], chance: random.Random, found: Found) -> None:
    """Read each kind with a flipped bit, and verify; then flip one bit of each kind that some tasks make, verify, drop, run and compare."""
    run = Run.open(recipe, store=store)
    files = {}
    for name, kind in KINDS.items():
        files[name] = file = drawn(kind, run, chance)
        if kind.read is not None:
            with flipped(file, chance) as what:
                ended, words = reading(kind, run, undamaged[name])
            found.readings.setdefault(name, Counter())[ended] += 1
            if ended == UNTYPED and name not in LAZY:
                found.untyped.append(f"{name}, {what}: {words}")
    for name, file in files.items():
        with flipped(file, chance) as what:
            named = {(fault.stage, fault.key) for fault in Ledger(store).damage()}
        found.flips += 1
        if named != {task(KINDS[name], run)}:
            found.unfound.append(f"{name}, {what}: verify named {sorted(named)}")
    owners = {name: task(KINDS[name], run) for name in files}
    tasks = {owner for owner in sorted(set(owners.values())) if chance.random() < 0.5} or {owners["species"]}
    broken = [file for name, file in files.items() if owners[name] in tasks]
    for file in broken:
        flip(file, chance)
    ledger = Ledger(store)
    if (named := {(fault.stage, fault.key) for fault in ledger.damage()}) != tasks:
        found.unfound.append(f"all at once: verify named {sorted(named ^ tasks)} wrongly or not")
    for stage, key in tasks:
        ledger.forget(stage, key)
    heir = kill.start(recipe, store, store.parent / "log")
    heir.join()
    wrong = kill.differences(unkilled, store)
    if heir.exitcode or wrong:
        found.unrepaired += wrong or [f"the run ended with {heir.exitcode}: {(store.parent / 'log').read_text()[-500:]}"]
    spoilt = {words.partition(" ")[0] for words in wrong}
    found.repaired += sum(file.relative_to(store).as_posix() not in spoilt for file in broken)


def main() -> int:
    """Exit code: 0 when all was found and repaired."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe: a YAML file, or the name of a shipped one")
    parser.add_argument("--rounds", type=int, default=10, help="flips of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the places")
    parser.add_argument("--json", type=Path, help="also write what came of it here")
    asked = parser.parse_args()
    kill.become_a_worker()
    chance, found = random.Random(asked.seed), Found()
    with tempfile.TemporaryDirectory(prefix="flip-") as name:
        scratch = Path(name)
        unkilled = kill.unkilled_run(asked.recipe, scratch, None)
        if unkilled is None:
            return 1
        store = scratch / "store"
        shutil.copytree(scratch / "reference", store)
        whole = Run.open(asked.recipe, store=store)
        undamaged = {name: as_read(kind, whole) for name, kind in KINDS.items() if kind.read is not None}
        for n in range(asked.rounds):
            round_of(asked.recipe, store, unkilled, undamaged, chance, found)
            print(
                f"{n + 1:3d}  {found.flips} flips, {len(found.unfound)} not found, {len(found.unrepaired)} files not repaired", flush=True
            )
            if found.unrepaired:
                break
    for name, ends in found.readings.items():
        print(f"{name:<26} {', '.join(f'{count} {how}' for how, count in sorted(ends.items()))}")
    for line in [*found.unfound, *found.unrepaired, *found.untyped]:
        print(line)
    if asked.json:
        asked.json.write_text(json.dumps(vars(found), indent=1) + "\n", encoding="utf-8")
    return int(bool(found.unfound or found.unrepaired or found.untyped))


if __name__ == "__main__":
    sys.exit(main())
