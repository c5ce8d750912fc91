"""Run files of GeoLifeCLEF: the sets of species predicted for surveys, written, read, scored.

    surveyId,predictions
    642,3301 7301 2436

A row a survey, ids of species separated by spaces (the sample submissions of 2024 and 2025). The score is the mean over
surveys of F1 = TP / (TP + (FP + FN) / 2); the challenge calls it micro-F1, elsewhere it is samples-F1. Ids are kept as text,
except that whole numbers may be written as 6874.0, as the challenge's tables of surveys do.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from geoplantnet.errors import InputError
from geoplantnet.storage import write_beside

Run = Mapping[str, tuple[str, ...]]
"""surveyId -> ids of the species predicted, in the file's order."""
COLUMNS = ("surveyId", "predictions")


@dataclass(frozen=True, kw_only=True)
class RunScore:
    """The challenge's score of a run."""

    samples_f1: float
    """Mean over all surveys of the truth; a survey the run leaves out scores 0."""
    surveys: int
    missing: int
    """Surveys of the truth the run leaves out."""
    empty: int
    """Surveys for which the run predicts nothing."""
    mean_size: float
    """Species predicted a survey of the run."""
    species: int
    """Species the run predicts anywhere."""
    never_found: int
    """Those of them that no survey of the truth has; all of them tell of ids of another edition."""


def write_run(path: str | os.PathLike[str], run: Mapping[str, Collection[str]]) -> Path:
    """Commit a run, surveys and species in the given order.

    Raises InputError for an id that is empty or holds white space, and for a species predicted twice.
    """
    for survey, species in run.items():
        for name in (survey, *species):
            if not name or name.split() != [name]:
                raise InputError(f"survey {survey!r}: id {name!r} is empty or holds white space, which separates ids in a run file")
        if len(set(species)) != len(species):
            raise InputError(f"survey {survey!r}: a species is predicted twice")
    with write_beside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((survey, " ".join(species)) for survey, species in run.items())
    return Path(path)


def read_run(path: str | os.PathLike[str]) -> Run:
    """A run of any origin. Raises InputError for other columns, a survey that stands twice, or a species predicted twice for one."""
    run: dict[str, tuple[str, ...]] = {}
    for line, row in _rows(path, COLUMNS):
        survey, species = _id(path, line, row, "surveyId"), tuple(map(_plain, row["predictions"].split()))
        if survey in run:
            raise InputError(f"{path}, line {line}: survey {survey!r} stands twice; give each survey one row")
        if len(set(species)) != len(species):
            raise InputError(f"{path}, line {line}: survey {survey!r} predicts a species twice")
        run[survey] = species
    if not run:
        raise InputError(f"{path} holds no survey")
    return run


def read_surveys(path: str | os.PathLike[str]) -> dict[str, frozenset[str]]:
    """What was found, from a table with a row a (surveyId, speciesId), such as the challenge's presence-absence metadata.

    Raises InputError for other columns, an empty id, or a table without a row.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for line, row in _rows(path, ("surveyId", "speciesId")):
        found[_id(path, line, row, "surveyId")].add(_id(path, line, row, "speciesId"))
    if not found:
        raise InputError(f"{path} holds no survey")
    return {survey: frozenset(species) for survey, species in found.items()}


def score_run(run: Run, truth: Mapping[str, Collection[str]]) -> RunScore:
    """Score a run against surveyId -> species found. Raises InputError for a survey the truth does not know."""
    if unknown := [survey for survey in run if survey not in truth]:
        few = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
        raise InputError(
            f"{len(unknown)} surveys of the run are none of the {len(truth)} of the truth: {few}; use the ids of the same edition"
        )
    predicted, known = set().union(*run.values()), set().union(*truth.values())
    scores = [_f1(set(run.get(survey, ())), set(species)) for survey, species in truth.items()]
    return RunScore(
        samples_f1=sum(scores) / len(scores),
        surveys=len(truth),
        missing=sum(survey not in run for survey in truth),
        empty=sum(not species for species in run.values()),
        mean_size=sum(map(len, run.values())) / max(len(run), 1),
        species=len(predicted),
        never_found=len(predicted - known),
    )


def _f1(predicted: set[str], found: set[str]) -> float:
    right = len(predicted & found)
    return right / (right + (len(predicted - found) + len(found - predicted)) / 2) if right else 0.0


def _rows(path: str | os.PathLike[str], wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every row, further columns allowed. Raises InputError for a file that is no such table."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            names = table.fieldnames or []
            if missing := [name for name in wanted if name not in names]:
                raise InputError(
                    f"{path} has columns {', '.join(names) or 'none'}; {', '.join(missing)} missing; a header and commas between cells are expected"
                )
            for row in table:
                if any(row[name] is None for name in wanted):
                    raise InputError(f"{path}, line {table.line_num}: a row ends before its last column")
                yield table.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _id(path: str | os.PathLike[str], line: int, row: dict[str, str], column: str) -> str:
    """An id of a row. Raises InputError for an empty one."""
    if name := _plain(row[column]):
        return name
    raise InputError(f"{path}, line {line}: {column} is empty")


def _plain(name: str) -> str:
    """An id without white space around it and without the .0 of a whole number read as a float."""
    return re.sub(r"^(\d+)\.0$", r"\1", name.strip())
