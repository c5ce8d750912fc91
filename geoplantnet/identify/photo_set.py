"""Labelled photos to train and to judge a classifier with: a table of photos over an ordered list of species."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.identify.network import ORGANS
from geoplantnet.taxonomy.backbone import slug
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

COLUMNS = ("image", "species", "organ", "observation", "split", "author", "license")
PLACE = ("decimalLongitude", "decimalLatitude")
"""Columns that a table may have beside: degrees, WGS 84, NaN where nobody said."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoSet:
    """Photos and what each shows. Raises InputError for a table that lacks a column or names a species, organ or split there is not."""

    species: SpeciesList
    table: pd.DataFrame
    """One row a photo: image (path or fsspec address), species (position in `species`), organ (one of `ORGANS`, or empty = not said),
    observation (photos of one plant share it), split (train, val, test or empty = none given), author, license, and `PLACE` where photos have one."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Photos of the source that are not in the table, counted by reason."""

    def __post_init__(self) -> None:
        lacks = [column for column in COLUMNS if column not in self.table]
        if lacks:
            raise InputError(f"a table of photos lacks {', '.join(lacks)}; it needs {', '.join(COLUMNS)}")
        positions = self.table["species"].to_numpy()
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(self.species)):
            raise InputError(f"a photo is of species {positions.max()}, and there are {len(self.species)}; give positions of the list")
        for column, known in (("organ", ORGANS), ("split", SPLITS)):
            odd = set(self.table[column]) - {*known, ""}
            if odd:
                raise InputError(f"{column} {sorted(odd)[0]!r} of a photo is none of {', '.join(known)}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def places(self) -> npt.NDArray[np.float64]:
        """(n, 2): longitude and latitude of each photo, degrees, WGS 84; NaN where it is not said."""
        if not set(PLACE) <= set(self.table.columns):
            return np.full((len(self), 2), np.nan)
        return self.table[list(PLACE)].to_numpy(np.float64)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,): position of each photo's species."""
        return self.table["species"].to_numpy(np.int64)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(species,): photos of each."""
        return np.bincount(self.labels, minlength=len(self.species))

    @classmethod
    def read_folder(cls, root: str | os.PathLike[str]) -> PhotoSet:
        """A data set laid out as Pl@ntNet-300K (Garcin et al. 2021): images/{train,val,test}/{class id}/{hash}.jpg below `root`.

        plantnet300K_metadata.json (hash -> species_id, obs_id, organ, author, license, split) and plantnet300K_species_id_2_name.json (class id ->
        name with author) are read where they lie there; without the first a photo is an observation of its own, without the second the class id is the name.
        Rejected and counted: files that are no JPEG or PNG by name, photos that the metadata put elsewhere or do not know, metadata without a file.
        """
        folder = Path(root)
        names = _json(folder / "plantnet300K_species_id_2_name.json")
        metadata = _json(folder / "plantnet300K_metadata.json")
        if not (folder / "images").is_dir():
            raise InputError(f"{folder} has no folder images/ with train, val and test below it; give the folder that holds it")
        rejected: Counter[str] = Counter()
        rows, seen = [], set()
        for split in SPLITS:
            for file in sorted((folder / "images" / split).glob("*/*")):
                if file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                    rejected["not named as JPEG or PNG"] += 1
                    continue
                told = metadata.get(file.stem, {})
                seen.add(file.stem)
                if metadata and not told:
                    rejected["not in the metadata"] += 1
                elif told and (str(told.get("species_id")), str(told.get("split"))) != (file.parent.name, split):
                    rejected["elsewhere than its metadata say"] += 1
                else:
                    organ = str(told.get("organ") or "")
                    rows.append(
                        {
                            "image": str(file),
                            "class": file.parent.name,
                            "organ": organ if organ in ORGANS else "",
                            "observation": str(told.get("obs_id") or file.relative_to(folder / "images").as_posix()),
                            "split": split,
                            "author": str(told.get("author") or ""),
                            "license": str(told.get("license") or ""),
                        }
                    )
        missing = len(metadata.keys() - seen)
        if missing:
            rejected["in the metadata without a file"] = missing
        if not rows:
            raise InputError(f"{folder}/images holds no photos of species in train, val or test ({dict(rejected) or 'no rows'})")
        classes = sorted({row["class"] for row in rows}, key=lambda c: (len(c), c))
        taxa = tuple(_taxon_named(str(names.get(c, c)), c) for c in classes)
        at = {c: i for i, c in enumerate(classes)}
        table = pd.DataFrame([{**row, "species": at[row.pop("class")]} for row in rows])
        return cls(species=SpeciesList(checklist=f"classes of {folder.name}", taxa=taxa), table=_ordered(table), rejected=dict(rejected))

    @classmethod
    def read_metadata(cls, path: str | os.PathLike[str]) -> PhotoSet:
        """A CSV table: file (relative to it) and label, and where known genus, family, organ, observation, split, author, license or licence, decimalLongitude, decimalLatitude.

        Rejected and counted: rows without a label, rows whose file is not there, a photo listed again, and all rows of one listed under several labels. A
        place that is none on the globe is none. Raises InputError for a file that is no such table, a label spelt in two ways, or in two genera or families.
        """
        file = Path(path)
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(f"{file} cannot be read as CSV in UTF-8 ({error}); its first line names file and label at least") from error
        table = table.rename(columns={"licence": "license"})
        if not {"file", "label"} <= set(table.columns):
            parted = "; they are parted by semicolons, save it with commas" if len(table.columns) == 1 and ";" in table.columns[0] else ""
            raise InputError(f"{file} has the columns {', '.join(map(str, table.columns))}; it needs file and label{parted}")
        for column in ("genus", "family", "organ", "observation", "split", "author", "license"):
            if column not in table:
                table[column] = ""
        for column in ("label", "genus", "family", "observation", "split"):
            table[column] = table[column].str.strip()
        table["image"] = [os.path.normpath(file.parent / name) for name in table["file"]]
        here = table["image"].map(os.path.isfile)
        rejected = Counter({"no label": int((table["label"] == "").sum()), "no file": int(((table["label"] != "") & ~here).sum())})
        table = table[(table["label"] != "") & here].copy()
        several = table.groupby("image")["label"].transform("nunique") > 1
        twice = table["image"].duplicated() & ~several
        rejected |= Counter({"listed under several labels": int(several.sum()), "listed twice": int(twice.sum())})
        table = table[~several & ~twice].copy()
        if table.empty:
            raise InputError(f"{file} names no photo that is there ({dict(rejected) or 'no rows'})")
        table["observation"] = table["observation"].where(table["observation"] != "", table["file"])
        taxa = tuple(
            Taxon(taxon_id=slug(str(label)), scientific_name=str(label), genus=_one(rows, "genus", file), family=_one(rows, "family", file))
            for label, rows in table.groupby("label", sort=True)
        )
        spelt: dict[str, str] = {}
        for taxon in taxa:
            other = spelt.setdefault(taxon.taxon_id, taxon.scientific_name)
            if other != taxon.scientific_name:
                raise InputError(f"{file} spells one label in two ways, {other!r} and {taxon.scientific_name!r}; write it as one")
        if set(PLACE) <= set(table.columns):
            table[list(PLACE)] = _degrees(table[list(PLACE)].apply(pd.to_numeric, errors="coerce"))
        at = {taxon.scientific_name: i for i, taxon in enumerate(taxa)}
        table["species"] = table["label"].map(at)
        species = SpeciesList(checklist=f"labels of {file.parent.name}", taxa=taxa)
        return cls(species=species, table=_ordered(table), rejected={k: n for k, n in rejected.items() if n})

    def subset(self, rows: npt.ArrayLike) -> PhotoSet:
        """The photos of a mask (n,) or of positions, in their order; the list of species stays."""
        chosen = np.asarray(rows)
        where = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return replace(self, table=self.table.iloc[where].reset_index(drop=True), rejected={})

    def of_split(self, split: str) -> PhotoSet:
        """The photos that the data set puts into a split."""
        return self.subset((self.table["split"] == split).to_numpy())

    def folds(self, k: int, seed: int = 0) -> npt.NDArray[np.intp]:
        """(n,): the fold each photo is held out in. Photos of an observation share one; each species is spread as evenly as its observations allow.

        Raises InputError for fewer than two folds, or fewer observations than folds.
        """
        groups = self.table["observation"].to_numpy()
        n_groups = len(set(groups))
        if not 2 <= k <= max(n_groups, 1):
            raise InputError(f"{k} folds of {n_groups} observations; give a number from 2 to {n_groups}")
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"species": self.labels, "observation": groups})
        first = frame.drop_duplicates("observation")
        fold: dict[str, int] = {}
        at = 0  # goes on from species to species, so that folds are of one size
        for _, members in first.groupby("species", sort=True):
            for name in rng.permutation(members["observation"].to_numpy()):
                fold[name] = at % k
                at += 1
        return np.array([fold[name] for name in groups], np.intp)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    columns = [*COLUMNS, *(PLACE if set(PLACE) <= set(table.columns) else ())]
    return table.sort_values(["species", "image"], kind="stable").reset_index(drop=True)[columns].astype({"species": "int64"})


def _one(rows: pd.DataFrame, rank: str, file: Path) -> str:
    """What the rows of a label say of its genus or family. Raises InputError where they say two things."""
    said = sorted(set(rows[rank]) - {""})
    if len(said) > 1:
        raise InputError(f"{file} has {rows['label'].iloc[0]!r} in the {rank} {said[0]} and in {said[1]}; mend one of them")
    return str(said[0]) if said else ""


def _degrees(places: pd.DataFrame) -> pd.DataFrame:
    """Longitude and latitude, both NaN where either is not on the globe."""
    longitude, latitude = (places[column] for column in PLACE)
    return places.where((longitude.abs() <= 180) & (latitude.abs() <= 90))


def _taxon_named(name: str, class_id: str) -> Taxon:
    """Of `Genus_epithet_Author` or `Genus epithet Author`: the class's id stays its id. A hybrid keeps its sign, what is below a species its rank.

    "Mentha x piperita L." is Mentha × piperita, "Daucus carota subsp. sativus (Hoffm.) Arcang." Daucus carota subsp. sativus.
    """
    words = name.replace("_", " ").split()
    genus = words[0] if words and words[0][:1].isupper() else ""
    kept, rest = words[:1], words[1:]
    if rest[:1] and rest[0] in _HYBRID:
        kept, rest = [*kept, "×"], rest[1:]
    if rest[:1] and rest[0][:1].islower():
        kept, rest = [*kept, rest[0]], rest[1:]
    elif kept[-1:] == ["×"]:
        kept.pop()
    at = next((k for k, word in enumerate(rest[:-1]) if word in _BELOW and rest[k + 1][:1].islower()), None)
    if at is not None and len(kept) > 1:
        kept += rest[at : at + 2]
    return Taxon(taxon_id=class_id, scientific_name=" ".join(kept) or class_id, genus=genus)


_HYBRID = ("x", "X", "×")
_BELOW = ("subsp.", "ssp.", "var.", "f.", "subvar.", "nothosubsp.")
"""Ranks below a species, as names write them."""


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); restore it, or take it away to do without") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; restore it, or take it away to do without")
    return value


def join(sets: Sequence[PhotoSet]) -> PhotoSet:
    """Several sets over one list of species as one. Raises InputError where their lists differ."""
    if len({photos.species.hash for photos in sets}) != 1:
        raise InputError("sets of photos over different lists of species cannot be joined; read them with one list")
    rejected: Counter[str] = Counter()
    for photos in sets:
        rejected.update(photos.rejected)
    table = pd.concat([photos.table for photos in sets], ignore_index=True)
    return PhotoSet(species=sets[0].species, table=table, rejected=dict(rejected))
