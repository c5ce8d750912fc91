"""Chunks of tables -> one Darwin Core Archive. The core goes into the zip as it comes; extensions wait on disk, since a zip is written file by file."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import OccurrenceError, UsageError
from geoplantnet.occurrences.archive.layout import Table, all_clean, cleaned, meta_xml
from geoplantnet.storage import write_beside

CORE_ID = "coreid"
"""Column of an extension's rows that names their row of the core."""
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Stands in every time stamp a zip demands: the same content has the same bytes."""
_DECIMALS = 7
"""Of numbers: a centimetre in degrees."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written."""

    path: Path
    rows: Mapping[str, int]
    """By file of the archive."""
    cells_cleaned: int
    """Texts with tabs, ends of lines or other control characters, which became spaces (see `layout.cleaned`)."""


def write_archive(
    path: str | os.PathLike[str],
    chunks: Iterable[Mapping[str, pd.DataFrame]],
    *,
    core: Table,
    key: str,
    extensions: Sequence[Table] = (),
    metadata: Callable[[], bytes],
) -> Written:
    """Commit an archive of a core and extensions (tables of `Table.of`). Bounded memory: a chunk, and eight bytes a row of the core.

    A chunk maps file names to tables that have a column a term (text, or numbers: NaN is an empty cell, 7 decimals); `key` is the core's column
    that is its id; rows of extensions stand in the chunk of their core row and name it in `CORE_ID`. `metadata` gives `eml.xml`, asked for when all chunks have come. Same chunks, same bytes.

    Raises OccurrenceError for an id that is empty or comes twice, and for a row of an extension whose core row is not in its chunk; StorageError
    on a full disk; nothing stands at `path` then but what stood there before.
    """
    final = Path(path)
    if final.suffix.lower() != ".zip":
        raise UsageError(f"{final} does not end in .zip; a Darwin Core Archive is a zip")
    with write_beside(final) as temporary, ExitStack() as opened:
        waiting = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix=".tmp-", dir=final.parent)))
        archive = opened.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED))
        spooled = {table.file: opened.enter_context((waiting / table.file).open("wb")) for table in extensions}
        counts, marks, cleanings = {table.file: 0 for table in (core, *extensions)}, list[npt.NDArray[np.uint64]](), 0
        with archive.open(_entry(core.file), "w", force_zip64=True) as stream:
            files: dict[str, IO[bytes]] = {core.file: stream, **spooled}
            for table in (core, *extensions):
                files[table.file].write(_header(table, "id" if table is core else CORE_ID))
            for chunk in chunks:
                ids = _ids(chunk[core.file], key)
                marks.append(pd.util.hash_array(ids.to_numpy(object), categorize=False))
                for table in (core, *extensions):
                    rows = chunk[table.file]
                    own = ids if table is core else _own_rows(rows, ids, table)
                    text, found = _lines(own, rows, table)
                    files[table.file].write(text)
                    counts[table.file] += len(rows)
                    cleanings += found
        _require_unique(marks)
        for table in extensions:
            spooled[table.file].close()
            with (waiting / table.file).open("rb") as source, archive.open(_entry(table.file), "w", force_zip64=True) as stream:
                shutil.copyfileobj(source, stream, 2**20)
        for name, content in (("meta.xml", meta_xml(core, extensions)), ("eml.xml", metadata())):
            archive.writestr(_entry(name), content)
    return Written(path=final, rows=counts, cells_cleaned=cleanings)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
    return entry


def _header(table: Table, key: str) -> bytes:
    return ("\t".join((key, *table.terms)) + "\n").encode()


def _ids(rows: pd.DataFrame, key: str) -> pd.Series:
    ids = _cleaned(rows[key])
    if (ids.str.strip() == "").any():
        raise OccurrenceError(f"a record has no {key}; every row of the core needs one of its own")
    return ids


def _own_rows(rows: pd.DataFrame, ids: pd.Series, table: Table) -> pd.Series:
    own = _cleaned(rows[CORE_ID])
    strange = own[~own.isin(ids)]
    if len(strange):
        raise OccurrenceError(f"{table.file} names record {strange.iloc[0]!r}, which is not in its chunk; give rows with their record")
    return own


def _cleaned(ids: pd.Series) -> pd.Series:
    texts = [str(own) for own in ids]
    return pd.Series(texts if all_clean(texts) else [cleaned(own) for own in texts], index=ids.index, dtype=object)


def _require_unique(marks: list[npt.NDArray[np.uint64]]) -> None:
    """By 64-bit hashes: of a hundred million ids two differ and look alike once in some 4,000 archives."""
    seen = np.sort(np.concatenate(marks)) if marks else np.zeros(0, np.uint64)
    twice = int((seen[1:] == seen[:-1]).sum())
    if twice:
        raise OccurrenceError(f"{twice} ids of the core come twice; every record needs one of its own")


def _lines(ids: pd.Series, rows: pd.DataFrame, table: Table) -> tuple[bytes, int]:
    """Rows as lines, and how many cells were cleaned."""
    if rows.empty:
        return b"", 0
    columns, cleanings = [ids.tolist()], 0
    for term in table.terms:
        cells, found = _cells(rows[term])
        columns.append(cells)
        cleanings += found
    return "".join(f"{line}\n" for line in map("\t".join, zip(*columns, strict=True))).encode(), cleanings


def _cells(column: pd.Series) -> tuple[list[str], int]:
    if pd.api.types.is_float_dtype(column):
        rounded = np.round(column.to_numpy(), _DECIMALS) + 0.0  # no minus before a zero
        return ["" if number != number else f"{number:.{_DECIMALS}f}".rstrip("0").rstrip(".") for number in rounded.tolist()], 0
    texts = [str(text) for text in column.tolist()]
    if all_clean(texts):
        return texts, 0
    clean = [cleaned(text) for text in texts]
    return clean, sum(a != b for a, b in zip(texts, clean, strict=True))
