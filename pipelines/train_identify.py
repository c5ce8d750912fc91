"""Periodic training from what people validated: new photos in, a new version beside the old, in use only where it is no worse.

The held-out photos are those of observations whose hash says so: an observation is held out for ever, so versions are judged on photos that none of them
ever learnt from, and the newest of two on all that are there today.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from geoplantnet.errors import InputError, StorageError, TryAgain
from geoplantnet.identify.network import ORGANS
from geoplantnet.identify.photo_set import PLACE, PhotoSet
from geoplantnet.storage import json_text, write_beside, write_json
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon
from pipelines.labelled_photos import source_of
from pipelines.observations import open_store, require_people

if TYPE_CHECKING:
    from geoplantnet.identify.classifier.model import TorchNetwork
    from geoplantnet.identify.classifier.train import Training
    from geoplantnet.identify.observations import ObservationStore

CURRENT, RECORDS = "current", "versions.json"
HELD_OUT = 0.2
"""Share of observations that never teach."""
_LIMIT = 0.5
"""Share of the votes' weight that calls an observation malformed, no plant or cultivated, above which its photos teach nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Validated:
    """Photos of the observations whose label people made valid."""

    photos: PhotoSet
    """With splits train and test; test is held out for ever."""
    identity: str
    """Of what was read: the same labels and images give the same."""


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """What a periodic training came to."""

    version: str
    """Of the model in use afterwards; empty = none yet."""
    trained: bool
    promoted: bool
    words: str
    """What happened and why, for people."""


def is_held_out(observation: str) -> bool:
    """Whether an observation is held out: a fifth are, by a hash of their id alone."""
    return int.from_bytes(hashlib.sha256(observation.encode()).digest()[:8], "big") < HELD_OUT * 2**64


def validated_photos(store: str, *, images: str | None = None, minimum: int = 1) -> Validated:
    """The photos of a store's validated observations, of species with at least `minimum` photos to learn from.

    Counted as rejected: observations not valid, malformed, no plant, cultivated or without photos; images that are not there; species of too few photos.
    Raises InputError for a store without labels or without any photo left, and UsageError where a model voted on the labels.
    """
    with open_store(store, images) as opened:
        if opened.state() is None:
            raise InputError(f"{opened.name} has no labels yet; make them with `geoplantnet observations aggregate`")
        require_people(opened)
        name = opened.name
        rejected: Counter[str] = Counter()
        rows = [row for chunk in opened.records() for row in _rows(chunk, opened, rejected)]
        taxa = opened.taxa().set_index("taxonID")
        checklist = f"validated in {Path(opened.name).name}"
    table = pd.DataFrame(rows, columns=["image", "taxonID", "organ", "observation", "split", "author", "license", *PLACE])
    both = (table["split"] == "train") & table["image"].isin(table.loc[table["split"] == "test", "image"])
    if both.any():  # one photo given twice, of observations on either side
        rejected["photo of an observation held out, too"] += int(both.sum())
        table = table[~both]
    learnt = table.loc[table["split"] == "train", "taxonID"].value_counts()
    few = ~table["taxonID"].isin(learnt.index[learnt >= minimum])
    if few.any():
        rejected[f"of a species with fewer than {minimum} photos to learn from"] += int(few.sum())
    table = table[~few].sort_values(["taxonID", "image"], kind="stable").reset_index(drop=True)
    if table.empty:
        raise InputError(f"{name} holds no validated photos of a species with {minimum} of them ({dict(rejected)})")
    ids = sorted(table["taxonID"].unique())
    listed = tuple(
        Taxon(
            taxon_id=i, scientific_name=str(taxa.at[i, "scientificName"]), genus=str(taxa.at[i, "genus"]), family=str(taxa.at[i, "family"])
        )
        for i in ids
    )
    identity = hashlib.sha256(json.dumps(table.drop(columns=["author", *PLACE]).to_numpy().tolist()).encode()).hexdigest()
    table["species"] = table["taxonID"].map({name: i for i, name in enumerate(ids)})
    species = SpeciesList(checklist=checklist, taxa=listed)
    return Validated(photos=PhotoSet(species=species, table=table, rejected=dict(rejected)), identity=identity)


def _rows(records: pd.DataFrame, store: ObservationStore, rejected: Counter[str]) -> list[tuple[str | float, ...]]:
    rows: list[tuple[str | float, ...]] = []
    for record in records.to_dict("records"):
        if not record["valid"] or not record["taxonID"]:
            rejected["observation not validated"] += 1
            continue
        if max(record["malformed"], record["not_a_plant"], record["cultivated"]) > _LIMIT:
            rejected["observation malformed, no plant or cultivated"] += 1
            continue
        names = [name for name in record["images"].split("|") if name]
        if not names:
            rejected["observation without photos"] += 1
        organs = record["organs"].split("|") if record["organs"] else []
        where = [float("nan") if pd.isna(record[column]) else float(record[column]) for column in PLACE]
        for place, name in enumerate(names):
            address = store.images.address(name)
            if address is None:
                rejected["image not in the store"] += 1
                continue
            organ = organs[place] if place < len(organs) and organs[place] in ORGANS else ""
            held = "test" if is_held_out(record["occurrenceID"]) else "train"
            author = record["recordedBy"]
            rows.append((address, record["taxonID"], organ, record["occurrenceID"], held, author, record["license"], *where))
    return rows


def retrain(
    store: str,
    models: Path,
    training: Training,
    *,
    minimum: int = 5,
    images: str | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    device: str = "cpu",
) -> Retrained:
    """Train a new version from a store's validated photos, unless nothing changed; use it where it is no worse on the photos held out.

    `models` holds a folder a version, ``versions.json`` with what each was made of and scored, and ``current``, the name of the one in use: writing another
    name into it is going back. A server uses what ``current`` named when it started. Raises TryAgain while another retraining of
    `models` is under way, and what `validated_photos` and `fit` raise.
    """
    models.mkdir(parents=True, exist_ok=True)
    with (models / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TryAgain(f"{models} is being retrained by another process; wait until it has ended") from error
        return _retrain(store, models, training, minimum=minimum, images=images, on_epoch=on_epoch, device=device)


def _retrain(
    store: str,
    models: Path,
    training: Training,
    *,
    minimum: int,
    images: str | None,
    on_epoch: Callable[[int, float], None],
    device: str,
) -> Retrained:
    from geoplantnet.identify.classifier import checkpoint
    from geoplantnet.identify.classifier.train import fit

    found = validated_photos(store, images=images, minimum=minimum)
    learn, judge = found.photos.of_split("train"), found.photos.of_split("test")
    versions, current = _versions(models), current_version(models)
    made_of = json.loads(json_text({"identity": found.identity, "training": asdict(training)}))  # as it is read again
    if any(all(version[key] == value for key, value in made_of.items()) for version in versions):
        return Retrained(
            version=current,
            trained=False,
            promoted=False,
            words=f"nothing new was validated in {source_of(store)}; version {current or 'none'} stays",
        )
    version = f"{max([0, *(int(folder.name) for folder in models.glob('[0-9]*') if folder.name.isdigit())]) + 1:04d}"
    key = hashlib.sha256(json_text(made_of).encode()).hexdigest()[:16]
    state = models / f".state-{key}"  # what was begun of these photos and killed goes on
    for other in models.glob(".state-*"):
        if other != state:
            shutil.rmtree(other, ignore_errors=True)
    fitted = fit(learn, training, validation=judge, name=models.name, version=version, resume=state, on_epoch=on_epoch, device=device)
    checkpoint.save(
        fitted.network, models / version, **made_of, photos=source_of(store), learnt_from=len(learn), rejected=dict(found.photos.rejected)
    )
    new = _right(fitted.network, judge)
    old = _right(checkpoint.load(models / current), judge) if current else None
    promoted = old is None or new is None or new >= old
    record = {
        **made_of,
        "version": version,
        "day": datetime.now(UTC).date().isoformat(),
        "photos": {"learnt_from": len(learn), "held_out": len(judge)},
        "rejected": dict(found.photos.rejected),
        "top1": new,
        "top1_of_current": old,
        "promoted": promoted,
    }
    if promoted:  # before it is on record: who is killed between the two learns once more, and judges it beside the version in use
        use(models, version)
    write_json(models / RECORDS, [*versions, record])
    shutil.rmtree(state, ignore_errors=True)
    told = f"version {version}, learnt from {len(learn):,} photos, is right on {_percent(new)} of {len(judge):,} held out"
    beside = "" if old is None else f", version {current} on {_percent(old)}"
    kept = "it is in use now" if promoted else f"version {current} stays in use"
    return Retrained(version=version if promoted else current, trained=True, promoted=promoted, words=f"{told}{beside}; {kept}")


def current_version(models: Path) -> str:
    """Name of the version in use, empty where there is none. Raises StorageError where `current` names a version that is not there."""
    if not (models / CURRENT).is_file():
        return ""
    version = (models / CURRENT).read_text(encoding="utf-8").strip()
    if not (models / version).is_dir() or not version:
        raise StorageError(f"{models / CURRENT} names {version!r}, which is not in {models}; write the name of a version that is")
    return version


def use(models: Path, version: str) -> None:
    """Put a version to use, a former one too. Raises InputError where it is not there."""
    if not version or not (models / version).is_dir():
        raise InputError(f"no version {version!r} in {models}; there are {', '.join(sorted(p.name for p in models.glob('[0-9]*')))}")
    with write_beside(models / CURRENT) as temporary:
        temporary.write_text(version + "\n", encoding="utf-8")


def _versions(models: Path) -> list[dict[str, Any]]:
    file = models / RECORDS
    try:
        told: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    except ValueError as error:
        raise StorageError(f"{file} cannot be read ({error}); restore it") from error
    return told


def _right(network: TorchNetwork, judge: PhotoSet) -> float | None:
    """Share of held-out photos that a version is right on; a species it does not know is wrong. None without photos."""
    from geoplantnet.identify.classifier.train import predict

    if not len(judge):
        return None
    first = predict(network, judge).logits.argmax(axis=1)
    names = [network.species[int(k)].taxon_id for k in first]
    return float(sum(a == judge.species[int(b)].taxon_id for a, b in zip(names, judge.labels)) / len(judge))


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
