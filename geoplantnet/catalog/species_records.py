"""What records show of every species, as one Parquet file of a catalog: a row a species, with its common names and its counts.

| column | holds |
|---|---|
| taxonID, scientificName | the species |
| names | list of vernacularName, language, source |
| counts | list of facet, label, lower, upper, untold, count: `geoplantnet.occurrences.record_counts` says what they mean |

A species that is withheld has no row; one that is withheld in part of the area has a row without counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoplantnet.catalog.geoparquet import ABOUT
from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy import Taxon

SPECIES_RECORDS = "species-records"
"""Key of the collection's asset."""
PARQUET = "application/vnd.apache.parquet"
FILE = Path("species", "records.parquet")
"""Where it lies in a store."""
_NAME = pa.struct([("vernacularName", pa.string()), ("language", pa.string()), ("source", pa.string())])
_COUNT = pa.struct(
    [
        *((name, pa.string()) for name in ("facet", "label")),
        *((name, pa.float64()) for name in ("lower", "upper")),
        ("untold", pa.string()),
        ("count", pa.int64()),
    ]
)
_SCHEMA = pa.schema([("taxonID", pa.string()), ("scientificName", pa.string()), ("names", pa.list_(_NAME)), ("counts", pa.list_(_COUNT))])


@dataclass(frozen=True, kw_only=True)
class RecordsOfTaxon:
    """What the file tells of one species."""

    names: tuple[Mapping[str, str], ...]
    """vernacularName, language (ISO 639-1 where there is a code; empty = not told), source."""
    counts: tuple[Mapping[str, Any], ...]
    """facet, label, lower, upper (None where there is no such end), untold, count; empty for a species without records, or one of which none
    are told."""


def write_species_records(
    root: str | Path, taxa: Iterable[Taxon], counts: pd.DataFrame, names: pd.DataFrame, metadata: Mapping[str, str]
) -> Path:
    """Commit the file of a store: the taxa that are told, in their order. `counts` and `names` as `record_counts` and `common_names` give them.

    Same content, same bytes. Raises InputError for counts or names of a taxon that is not among `taxa`: it may be one not to be told.
    """
    listed = list(taxa)
    path, known = Path(root) / FILE, {taxon.taxon_id for taxon in listed}
    for what, table in (("counts", counts), ("names", names)):
        if strangers := sorted(set(table["taxonID"]) - known):
            raise InputError(
                f"{what} of {strangers[0]!r} are to be published, which is not among the {len(known)} species told; leave them out"
            )
    of_counts, of_names = _by_taxon(counts, _COUNT), _by_taxon(names, _NAME)
    rows = [
        {
            "taxonID": taxon.taxon_id,
            "scientificName": taxon.scientific_name,
            "names": of_names.get(taxon.taxon_id, []),
            "counts": of_counts.get(taxon.taxon_id, []),
        }
        for taxon in listed
    ]
    told = {ABOUT: json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False)}
    with write_beside(path) as temporary:
        pq.write_table(
            pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata(told)), temporary, compression="zstd", write_page_checksum=True
        )
    return path


def _by_taxon(table: pd.DataFrame, fields: pa.StructType) -> dict[str, list[dict[str, Any]]]:
    columns = [field.name for field in fields]
    plain = table[columns].astype(object).where(table[columns].notna(), None)
    found: dict[str, list[dict[str, Any]]] = {}
    for taxon, *values in zip(table["taxonID"], *(plain[column] for column in columns)):
        found.setdefault(str(taxon), []).append(dict(zip(columns, values)))
    return found


class SpeciesRecords:
    """The file, opened: everything in memory, some 20 MB for 10,000 species."""

    def __init__(self, path: Path) -> None:
        """Raises IntegrityError for a file that is damaged or is another."""
        try:
            self._table = pq.read_table(path, page_checksum_verification=True)
            if not self._table.schema.equals(_SCHEMA):
                raise ValueError(f"its columns are {self._table.schema.names}")
            self._table.validate(full=True)
        except Exception as error:  # a flipped bit ends in errors of many kinds
            raise IntegrityError(f"{path} cannot be read as records of species ({error!r}); publish the catalog again") from error
        self._place = {taxon: i for i, taxon in enumerate(self._table["taxonID"].to_pylist())}

    def of(self, taxon_id: str) -> RecordsOfTaxon | None:
        """What is told of a taxon id; None where it has no row."""
        i = self._place.get(taxon_id)
        if i is None:
            return None
        names, counts = (self._table[column][i].as_py() for column in ("names", "counts"))
        return RecordsOfTaxon(names=tuple(names), counts=tuple(counts))

    def __len__(self) -> int:
        return len(self._place)
