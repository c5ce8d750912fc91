"""Projects: the floras that an identification may be limited to, over the species a net knows; by name, by place, by what the photos show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import InputError, LookupFailed, did_you_mean
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.regions import Regions
from geoplantnet.storage import write_json
from geoplantnet.taxonomy import SpeciesList
from geoplantnet.taxonomy.backbone import parse_name

ALL = "all"
"""Asks for the most relevant flora, as ``best`` does: no project has these names."""
RESERVED = (ALL, "best")
HOLDS = 0.9
"""Share of the probability from which on a flora is said to hold what the photos show."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """A flora. Raises InputError for species that are not sorted, or named twice."""

    id: str
    """In addresses, such as ``k-western-europe`` or a region's code."""
    title: str = ""
    description: str = ""
    species: npt.NDArray[np.intp] | None = None
    """Positions in the net's list, sorted; None = all of them."""
    codes: tuple[str, ...] = ()
    """Of the regions it is the flora of; none for a thematic one."""

    def __post_init__(self) -> None:
        if self.species is not None and (np.diff(self.species) <= 0).any():
            raise InputError(f"species of project {self.id} are not sorted, or one is named twice; give sorted positions")


@dataclass(frozen=True, kw_only=True, eq=False)
class Projects:
    """Projects over one list of species, by id. Raises InputError for an id twice, reserved or empty, and for a species that is not in the list."""

    species: SpeciesList
    """The net's."""
    items: tuple[Project, ...]
    """In the order they are told."""
    regions: Regions = field(default_factory=lambda: Regions({}))
    """Where floras of a place lie, by their codes."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Floras that are no project, and why."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """Species of each flora that the net does not know; floras without such are not named."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Rows of a file that named no species of the net, counted by reason."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for project in self.items:
            if not project.id or project.id in RESERVED or project.id in seen:
                raise InputError(
                    f"project {project.id!r} is named twice, reserved or empty; give each an id of its own, none of {', '.join(RESERVED)}"
                )
            seen.add(project.id)
            if (
                project.species is not None
                and len(project.species)
                and not 0 <= project.species[0] <= project.species[-1] < len(self.species)
            ):
                raise InputError(
                    f"project {project.id} has species {project.species[-1]}, the list ends at {len(self.species) - 1}; was it made for another net?"
                )

    @classmethod
    def from_floras(cls, floras: Floras, species: SpeciesList, *, titles: Mapping[str, tuple[str, str]] | None = None) -> Projects:
        """A project a flora, its code the id; `titles`: title and description by code.

        Species are matched by taxonID. A genus in the net's list (photos that nobody could name better) belongs where one of its species does. A flora of
        which the net knows no species is left out, and said to be.
        """
        genera = {taxon.genus: i for i, taxon in enumerate(species) if taxon.genus and taxon.scientific_name == taxon.genus}
        placed, items, left_out, unknown = set(floras.placed.codes), [], {}, {}
        for code in floras.codes:
            checklist = floras.checklist(code).index
            named = {species.index_of(taxon) for taxon in checklist if taxon in species}
            if len(named) < len(checklist):
                unknown[code] = len(checklist) - len(named)
            named |= {genera[species[i].genus] for i in named if species[i].genus in genera}
            if not named or code in RESERVED:
                left_out[code] = "the net knows none of its species" if not named else f"{code!r} is a reserved name"
                continue
            title, description = (titles or {}).get(code, (code, ""))
            items.append(
                Project(
                    id=code, title=title, description=description, species=np.array(sorted(named)), codes=(code,) if code in placed else ()
                )
            )
        return cls(
            species=species,
            items=tuple(items),
            regions=floras.placed,
            left_out=left_out,
            unknown=unknown,
            refused=dict(floras.refused or {}),
        )

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        species: SpeciesList,
        regions: Regions | None = None,
        *,
        titles: Mapping[str, tuple[str, str]] | None = None,
    ) -> Projects:
        """Projects of a CSV table as `Floras.read` takes it; where it has names, these are looked up among the net's species, without their authors.

        Raises InputError as `Floras.read`.
        """
        return cls.from_floras(Floras.read(path, regions, backbone=_OwnNames(species)), species, titles=titles)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Project]:
        return iter(self.items)

    def __contains__(self, name: object) -> bool:
        return name in self._by_id

    def __getitem__(self, name: str) -> Project:
        """Raises LookupFailed with the nearest spellings."""
        found = self._by_id.get(name)
        if found is None:
            raise LookupFailed(f"no project {name!r} among {len(self)}.{did_you_mean(name, self._by_id)}")
        return found

    @cached_property
    def _by_id(self) -> dict[str, Project]:
        return {project.id: project for project in self.items}

    def at(self, longitude: float, latitude: float) -> Project | None:
        """The flora that speaks for a place, degrees: the one of the smallest region around it; None where there is none."""
        around = self._around(longitude, latitude)
        return around[0] if around else None

    def near(self, longitude: float, latitude: float) -> tuple[Project, ...]:
        """All, by relevance for a place: floras of regions around it, the smallest first; thematic ones; other floras, the nearest first."""
        around = self._around(longitude, latitude)
        rest = [project for project in self.items if project not in around]
        there = [self._distance(project, longitude, latitude) for project in rest]
        order = sorted(range(len(rest)), key=lambda i: (there[i], i))
        return (*around, *(rest[i] for i in order))

    def _around(self, longitude: float, latitude: float) -> list[Project]:
        inside = self.regions.inside([longitude], [latitude])[:, 0]
        areas = {code: area for code, area, here in zip(self.regions.codes, self.regions.areas, inside, strict=True) if here}
        found = [
            (min(areas[code] for code in project.codes if code in areas), i)
            for i, project in enumerate(self.items)
            if areas.keys() & set(project.codes)
        ]
        return [self.items[i] for _, i in sorted(found)]

    def _distance(self, project: Project, longitude: float, latitude: float) -> float:
        known = [code for code in project.codes if code in self.regions.codes]
        return float(self.regions.select(known).border_distance([longitude], [latitude])[0]) if known else 0.0

    def holding(self, probabilities: npt.ArrayLike, *, among: Sequence[Project] | None = None) -> Project | None:
        """The smallest project with at least `HOLDS` of the probability (species,); None where there is none."""
        p = np.asarray(probabilities, float)
        own = [
            (len(self.species) if project.species is None else len(project.species), i, project)
            for i, project in enumerate(self.items if among is None else among)
        ]
        for _, _, project in sorted(own, key=lambda row: row[:2]):
            if mass(p, project) >= HOLDS:
                return project
        return None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, without the regions' borders."""
        return {
            "species": self.species.hash,
            "projects": [
                {
                    "id": project.id,
                    "title": project.title,
                    "description": project.description,
                    "species": None if project.species is None else project.species.tolist(),
                    "codes": list(project.codes),
                }
                for project in self.items
            ],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], species: SpeciesList, regions: Regions | None = None) -> Projects:
        """Inverse of `to_dict`. Raises InputError for what is none, or was made for another list."""
        try:
            if value["species"] != species.hash:
                raise InputError(
                    f"projects were made for the species list {value['species']!r}, the net has {species.hash!r}; make them anew"
                )
            items = tuple(
                Project(
                    id=str(row["id"]),
                    title=str(row["title"]),
                    description=str(row["description"]),
                    species=None if row["species"] is None else np.array(row["species"], np.intp),
                    codes=tuple(map(str, row["codes"])),
                )
                for row in value["projects"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"projects cannot be read ({error!r}); write them with Projects.save") from error
        return cls(species=species, items=items, regions=regions or Regions({}))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """As JSON: same projects, same bytes."""
        return write_json(path, self.to_dict())

    @classmethod
    def open(cls, path: str | os.PathLike[str], species: SpeciesList, regions: Regions | None = None) -> Projects:
        """Inverse of `save`. Raises InputError as `from_dict`, and for a file that cannot be read."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} holds no projects ({error}); write them with Projects.save") from error
        return cls.from_dict(value, species, regions)


class _OwnNames:
    """The species of a list, by their names."""

    def __init__(self, species: SpeciesList) -> None:
        self._ids = {taxon.scientific_name: taxon.taxon_id for taxon in species}

    def resolve(self, names: pd.Series, /) -> pd.DataFrame:
        found = [self._resolved(str(name)) for name in names]
        return pd.DataFrame(found, columns=["taxon_id", "reason"], dtype=object)

    def _resolved(self, name: str) -> tuple[str, str]:
        parsed = parse_name(name)
        for candidate in (name, *parsed.candidates):
            if candidate in self._ids:
                return self._ids[candidate], ""
        return "", parsed.reason or "the net does not know it"


def mass(probabilities: npt.NDArray[np.floating], project: Project) -> float:
    """Share of the probability (species,) that is a project's."""
    return float(probabilities.sum() if project.species is None else probabilities[project.species].sum())
