"""What the occurrences stage leaves for the others: species list and traits."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from geoplantnet.errors import InputError, IntegrityError, StorageError
from geoplantnet.storage import write_beside, write_json
from geoplantnet.taxonomy.species_list import SpeciesList
from geoplantnet.taxonomy.vernacular import NAME_COLUMNS
from pipelines.context import Run

SPECIES, TRAITS, NAMES = "species.json", "traits.csv", "names.csv"


def store_species(run: Run, species: SpeciesList, traits: pd.DataFrame, names: pd.DataFrame) -> None:
    """Commit the species axis, its traits and its common names."""
    write_json(run.occurrences / SPECIES, species.to_dict())
    with write_beside(run.occurrences / TRAITS) as path:
        traits.reindex([t.taxon_id for t in species]).to_csv(path, index_label="taxonID", lineterminator="\n")
    with write_beside(run.occurrences / NAMES) as path:
        names.to_csv(path, index=False, lineterminator="\n")


def _stored(run: Run, name: str) -> Path:
    path = run.occurrences / name
    if not path.is_file():
        raise StorageError(f"{path} is not there; make it with `geoplantnet occurrences`")
    return path


def stored_species(run: Run) -> SpeciesList:
    """The species axis of the run. Raises StorageError when it is not there, IntegrityError when it is damaged."""
    path = _stored(run, SPECIES)
    try:
        return SpeciesList.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise _damaged(path, error) from error


def stored_traits(run: Run) -> pd.DataFrame:
    """Traits of the species axis, in its order, indexed by taxonID; unknown is NaN. Raises StorageError when they are not there,
    IntegrityError when they are damaged.
    """
    path = _stored(run, TRAITS)
    try:
        return pd.read_csv(path, index_col="taxonID", dtype={"taxonID": str, "iucn": str}, keep_default_na=True)
    except ValueError as error:
        raise _damaged(path, error) from error


def stored_names(run: Run) -> pd.DataFrame:
    """Common names of the species axis (`geoplantnet.taxonomy.vernacular.NAME_COLUMNS`). Raises as `stored_traits`."""
    path = _stored(run, NAMES)
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)[list(NAME_COLUMNS)]
    except (ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def known_traits(run: Run) -> dict[str, dict[str, str | float | bool]]:
    """What is known of every taxon id; a trait that is not known is not there."""
    table = stored_traits(run)
    return {str(taxon): {str(k): v for k, v in row.items() if not pd.isna(v)} for taxon, row in table.to_dict("index").items()}


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(f"{path} is damaged ({error!r}); make it again with `geoplantnet verify --drop` and `geoplantnet run`")
