"""Run files, as the LifeCLEF challenges take them: what a system answers to test photos, written, read strictly, and scored.

Two kinds. PlantCLEF until 2023: a row an observation (or image) and candidate: ``ObservationId;species_id;probability;rank``. PlantCLEF of quadrats, since
2024: a row a quadrat, ``quadrat_id,"[species ids]"``. Scores as these challenges define them (Goeau, Bonnet & Joly, Overview of PlantCLEF 2022, section 4;
Martellucci et al., Overview of PlantCLEF 2025, section 4).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.storage import write_beside

COLUMNS = ("ObservationId", "species_id", "probability", "rank")
MOST = 100
"""Candidates an observation, at most."""


def write_run(
    path: str | os.PathLike[str], observations: Sequence[str], probabilities: npt.ArrayLike, species: Sequence[str], *, top: int = 30
) -> Path:
    """Commit a run file of probabilities (observations, species): the `top` most probable species of each, the first in the list before its equals.

    Raises InputError for shapes that do not fit, an observation that comes twice, and `top` beyond 1 to 100.
    """
    p = np.asarray(probabilities, np.float64)
    if p.shape != (len(observations), len(species)):
        raise InputError(
            f"probabilities of shape {p.shape} for {len(observations)} observations and {len(species)} species; one each was expected"
        )
    if not 1 <= top <= MOST:
        raise InputError(f"{top} candidates an observation; a run file holds 1 to {MOST}")
    if len(set(observations)) != len(observations):
        raise InputError("an observation comes twice; a run file answers each once")
    order = np.argsort(-p, axis=1, kind="stable")[:, :top]
    with write_beside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, delimiter=";", lineterminator="\n")
        out.writerow(COLUMNS)
        for name, row, scores in zip(observations, order, p):
            out.writerows((name, species[k], f"{scores[k]:.6g}", place) for place, k in enumerate(row.tolist(), start=1))
    return Path(path)


def read_run(path: str | os.PathLike[str]) -> pd.DataFrame:
    """The rows of a run file, by observation and rank.

    Raises InputError, with the line, for another head, a probability outside 0 to 1, ranks that are not 1, 2, 3 ... of falling probability, more than 100
    candidates, or a species twice in one answer.
    """
    file = Path(path)
    try:
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig")), delimiter=";"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    if not rows or tuple(rows[0]) not in (COLUMNS, ("ImageId", *COLUMNS[1:])):
        raise InputError(f"{file} begins with {';'.join(rows[0]) if rows else 'nothing'}; a run file begins with {';'.join(COLUMNS)}")
    table = []
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            name, species, score, rank = row
            table.append((name, species, float(score), int(rank), line))
        except ValueError:
            raise InputError(f"{file}, line {line}: {';'.join(row)} is no observation, species, probability and rank") from None
    found = pd.DataFrame(table, columns=[*COLUMNS, "line"])
    _check(found, file)
    return found.drop(columns="line").sort_values(["ObservationId", "rank"], kind="stable").reset_index(drop=True)


def _check(found: pd.DataFrame, file: Path) -> None:
    def refuse(wrong: pd.Series, why: str) -> None:
        if wrong.any():
            raise InputError(f"{file}, line {found.loc[wrong, 'line'].iloc[0]}: {why}")

    refuse(~found["probability"].between(0, 1), "a probability lies outside 0 to 1")
    refuse(found.duplicated(["ObservationId", "species_id"]), "a species stands twice in one answer")
    ordered = found.sort_values(["ObservationId", "rank"], kind="stable")
    place = ordered.groupby("ObservationId").cumcount() + 1
    refuse((ordered["rank"] != place).reindex(found.index), "ranks of an answer are 1, 2, 3 and so on, each once")
    refuse((place > MOST).reindex(found.index), f"an answer has more than {MOST} candidates")
    before = ordered.groupby("ObservationId")["probability"].shift()
    refuse((ordered["probability"] > before).reindex(found.index), "a candidate is more probable than the one ranked before it")


def score_run(run: pd.DataFrame, truth: Mapping[str, str]) -> dict[str, float]:
    """Of rows as `read_run` gives them and the species of each observation: mrr, macro_mrr (mean over the species' means), top1, macro_top1.

    An observation that the run does not answer, or whose species it does not name, scores 0. Raises InputError where the run answers what was not asked.
    """
    if not truth:
        raise InputError("the truth names no observation; there is nothing to score")
    odd = set(run["ObservationId"]) - truth.keys()
    if odd:
        raise InputError(f"the run answers {sorted(odd)[0]!r}, which is not among the {len(truth)} observations of the truth")
    true = run["ObservationId"].map(truth)
    rank = run.loc[run["species_id"] == true].set_index("ObservationId")["rank"]
    frame = pd.DataFrame({"species": pd.Series(dict(truth), dtype=object)})
    frame["mrr"] = (1.0 / rank).reindex(frame.index).fillna(0.0)
    frame["top1"] = (frame["mrr"] == 1.0).astype(float)
    macro = frame.groupby("species")[["mrr", "top1"]].mean().mean()
    micro = frame[["mrr", "top1"]].mean()
    return {"mrr": float(micro["mrr"]), "macro_mrr": float(macro["mrr"]), "top1": float(micro["top1"]), "macro_top1": float(macro["top1"])}


def is_of_quadrats(path: str | os.PathLike[str]) -> bool:
    """Whether a run file says it is of quadrats. Raises InputError for a file that cannot be read."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            return file.readline().startswith("quadrat_id,")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8: {error}") from error


def read_transects(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """The transect of each quadrat of a table that `read_truth` reads; None where it has no column transect. Raises InputError for a quadrat of two."""
    table = _truth(path)
    if "transect" not in table:
        return None
    pairs = table[[table.columns[0], "transect"]].drop_duplicates()
    if (twice := pairs[pairs.columns[0]].duplicated()).any():
        raise InputError(f"{path} puts {pairs.loc[twice].iloc[0, 0]!r} into two transects; mend one of them")
    return dict(zip(pairs.iloc[:, 0], pairs["transect"], strict=True))


def read_truth(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Species ids by observation or quadrat, of a CSV table whose first column names it and whose column taxonID (or species_id) its species.

    Raises InputError for another table, and for a species that comes twice in one.
    """
    table = _truth(path)
    column = next((name for name in ("taxonID", "species_id") if name in table.columns[1:]), None)
    if column is None or table.empty:
        raise InputError(
            f"{path} has {len(table)} rows of {', '.join(map(str, table.columns))}; names in the first column and taxonID were expected"
        )
    rows = table[[table.columns[0], column]]
    if rows.duplicated().any():
        raise InputError(f"{path} names a species of {rows[rows.duplicated()].iloc[0, 0]!r} twice")
    return {str(name): tuple(species) for name, species in rows.groupby(table.columns[0], sort=False)[column]}


def _truth(path: str | os.PathLike[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} cannot be read as CSV in UTF-8 ({error})") from error


def write_quadrats(path: str | os.PathLike[str], answers: Mapping[str, Iterable[str]]) -> Path:
    """Commit a run file of quadrats: the species said to grow in each. Raises InputError for a species named twice in one."""
    with write_beside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write("quadrat_id,species_ids\n")
        for name, species in answers.items():
            named = list(species)
            if len(set(named)) != len(named):
                raise InputError(f"the answer to quadrat {name} names a species twice; name each once")
            out = csv.writer(file, lineterminator="\n")
            out.writerow([name, "[" + ", ".join(named) + "]"])
    return Path(path)


def read_quadrats(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Species ids by quadrat. Raises InputError, with the line, for another head, a list that is none, a quadrat or species that comes twice."""
    file = Path(path)
    try:
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    if not rows or rows[0] != ["quadrat_id", "species_ids"]:
        raise InputError(
            f"{file} begins with {','.join(rows[0]) if rows else 'nothing'}; a run file of quadrats begins with quadrat_id,species_ids"
        )
    found: dict[str, tuple[str, ...]] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not (row[1].startswith("[") and row[1].endswith("]")) or row[0] in found:
            raise InputError(
                f'{file}, line {line}: {",".join(row)} is no quadrat that comes once with a list of species such as "[12, 34]"'
            )
        ids = tuple(part.strip().strip("'\"") for part in row[1][1:-1].split(",") if part.strip())
        if len(set(ids)) != len(ids):
            raise InputError(f"{file}, line {line}: a species stands twice in one answer")
        found[row[0]] = ids
    return found


def score_quadrats(
    run: Mapping[str, Iterable[str]], truth: Mapping[str, Iterable[str]], transects: Mapping[str, str] | None = None
) -> float:
    """Mean over the quadrats of the truth of F1 = 2 |A and T| / (|A| + |T|); two empty sets agree.

    With the transect of each quadrat the mean over transects of the means over theirs, as PlantCLEF takes it since 2025. Raises InputError as `score_run`,
    and for a quadrat without a transect.
    """
    if not truth:
        raise InputError("the truth names no quadrat; there is nothing to score")
    odd = run.keys() - truth.keys()
    if odd:
        raise InputError(f"the run answers {sorted(odd)[0]!r}, which is not among the {len(truth)} quadrats of the truth")
    if transects is not None and (lacking := truth.keys() - transects.keys()):
        raise InputError(f"quadrat {sorted(lacking)[0]!r} has no transect; name one for each, or for none")
    scores: dict[str, list[float]] = {}
    for name, there in truth.items():
        a, t = set(run.get(name, ())), set(there)
        of = name if transects is None else transects[name]
        scores.setdefault(of, []).append(2 * len(a & t) / (len(a) + len(t)) if a or t else 1.0)
    return float(np.mean([np.mean(of) for of in scores.values()]))
