"""Labelled photos as a user names them: read, without the damaged, in what teaches and what judges a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from geoplantnet.errors import InputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from geoplantnet.identify.photo_set import PhotoSet

PhotosArg = Annotated[
    str, typer.Argument(help="Labelled photos: a folder laid out as Pl@ntNet-300K, a CSV with file and label, or a store of observations.")
]
HELD_OUT = 0.2
"""Share of the photos that a classifier does not learn from, where they have no split of their own."""
_PHOTOS = (".jpg", ".jpeg", ".png")
_STORES = (".sqlite", ".db", ".sqlite3")


def photos_of(source: str, *, images: str | None = None) -> PhotoSet:
    """Labelled photos, from what a user names. Raises InputError for what is none of the three kinds."""
    from geoplantnet.identify.photo_set import PhotoSet

    path = Path(source)
    if path.is_dir():
        return PhotoSet.read_folder(path)
    if is_store(source):
        from pipelines.train_identify import validated_photos

        return validated_photos(source, images=images).photos
    if path.is_file():
        return PhotoSet.read_metadata(path)
    raise InputError(
        f"there is nothing at {source}; name a folder laid out as Pl@ntNet-300K, a CSV with file and label, or a store of observations"
    )


def photos_in(places: Sequence[Path]) -> dict[str, Path]:
    """Files of photos by their names without ending, of files and folders. Raises InputError for none, a path that is not there, and a name that comes twice."""
    found: dict[str, Path] = {}
    for place in places:
        if not place.exists():
            raise InputError(f"there is nothing at {place}; name photos, or folders of them")
        inside = [file for file in sorted(place.rglob("*")) if file.suffix.lower() in _PHOTOS] if place.is_dir() else [place]
        for file in inside:
            if found.setdefault(file.stem, file) != file:
                raise InputError(f"{found[file.stem]} and {file} are both called {file.stem}; an answer needs one name a photo")
    if not found:
        raise InputError(f"there are no photos ({', '.join(_PHOTOS)}) in {', '.join(map(str, places))}")
    return found


def source_of(source: str) -> str:
    """Where photos came from, as a record or a message may tell it: a file's full path, a database without its password."""
    if "://" not in source:
        return str(Path(source).resolve())
    from sqlalchemy.engine import make_url

    return make_url(source).render_as_string(hide_password=True)


def split(photos: PhotoSet, held_out: float, seed: int) -> tuple[PhotoSet, PhotoSet]:
    """Training and validation photos, by observation: as the set itself says; where it says no validation, a share of what may be learnt from is held out.

    Photos of its split ``test`` are in neither, and no photo teaches that shows a plant of another split. A species is held out only where it has another
    observation to learn from. Raises InputError where nothing is left to learn from.
    """
    said = photos.table["split"]
    if (said != "").any():
        elsewhere = photos.table["observation"].isin(photos.table.loc[said.isin(("val", "test")), "observation"])
        learn = photos.subset(((said == "train") & ~elsewhere).to_numpy())
        if not len(learn):
            named = ", ".join(sorted(set(said) - {""}))
            raise InputError(f"the photos have splits ({named}), and no plant is in train alone; mark what is to be learnt from")
        if (said == "val").any():
            tested = photos.table["observation"].isin(photos.table.loc[said == "test", "observation"])
            return learn, photos.subset(((said == "val") & ~tested).to_numpy())
        photos = learn
    if not 0.02 <= held_out <= 0.5:
        raise UsageError(f"--held-out {held_out}: a share from 0.02 to 0.5 of the photos was expected")
    observations = photos.table["observation"]
    if (n := observations.nunique()) < 2:
        raise InputError(f"photos of {n} observation; to learn from some and judge on others takes two at least")
    place = photos.folds(n, seed)  # of each observation in a row where those of a species stand side by side
    held = np.floor((place + 1) * held_out) > np.floor(place * held_out)
    learnt = photos.table["species"].isin(photos.table.loc[~held, "species"])
    held &= ~observations.isin(observations[~learnt]).to_numpy()
    return photos.subset(~held), photos.subset(held)


def readable(photos: PhotoSet) -> PhotoSet:
    """The photos without those that are damaged, which are counted: one in a hundred thousand must not end a night's training."""
    from geoplantnet.identify.photos.squares import unreadable

    bad = unreadable(list(photos.table["image"]))
    if not bad.any():
        return photos
    rejected = {**photos.rejected, f"no whole JPEG or PNG, such as {photos.table['image'][int(bad.argmax())]}": int(bad.sum())}
    return replace(photos.subset(~bad), rejected=rejected)


def left_out(known: PhotoSet, learn: PhotoSet, judge: PhotoSet) -> dict[str, int]:
    """Photos that neither teach nor judge, by reason."""
    used = set(learn.table["image"]) | set(judge.table["image"])
    left = known.table[~known.table["image"].isin(used)]
    said = left["split"].value_counts()
    reasons = {"test": "of the split test", "": "without a split, in a set that has splits"}
    return {reasons.get(str(name), f"of the split {name}, of a plant that stands in another split"): int(n) for name, n in said.items()}


def as_trained(made: Mapping[str, Any], photos: PhotoSet) -> tuple[PhotoSet, PhotoSet]:
    """Photos that taught a classifier and such as did not, where they are those it was made of."""
    if "identity" in made:  # made by `retrain`
        return photos.of_split("train"), photos.of_split("test")
    return split(photos, made.get("held_out", HELD_OUT), made.get("training", {}).get("seed", 0))


def that_taught(model: Path, source: str, photos: PhotoSet) -> np.ndarray:
    """(n,): photos that a classifier learnt from, as far as can be told: those of the very source it was trained on."""
    from geoplantnet.identify.classifier import checkpoint
    from geoplantnet.identify.classifier.partition import MASTER

    none = np.zeros(len(photos), bool)
    folder = model / MASTER if (model / MASTER).is_dir() else model
    if not (folder / checkpoint.FACTS).is_file():
        return none
    made = checkpoint.provenance(folder)
    if made.get("photos") != source_of(source):
        return none
    return photos.table["image"].isin(as_trained(made, photos)[0].table["image"]).to_numpy()


def squares_of(photos: PhotoSet, most: int, size: int) -> np.ndarray:
    """(n, size, size, 3): some of the photos, at most so many."""
    from geoplantnet.identify.photos.squares import Squares

    some = np.sort(np.random.default_rng(0).permutation(len(photos))[:most])
    with Squares(list(photos.table["image"].iloc[some]), size) as read:
        return np.asarray(read[np.arange(len(some))])


def is_store(source: str) -> bool:
    return "://" in source or (Path(source).suffix in _STORES and not Path(source).is_dir())


def name_of(image: str, *, stored: bool) -> str:
    """An image's name in an index: its SHA-256 where a store has it, else where it lies, whatever way it was spelled."""
    return Path(image).stem if stored else str(Path(image).resolve())


def tell_rejected(console: Console, rejected: Mapping[str, int]) -> None:
    """A line a reason."""
    for reason, n in rejected.items():
        console.print(f"left out: {n:,} photos, {reason}")
