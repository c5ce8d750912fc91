"""Darwin Core Archives and GBIF downloads -> `OccurrenceSet`. Files are read where they lie in the zip: nothing is unpacked.

Understood are zips and folders with a `meta.xml` whose core is Occurrence (a GBIF download: its `verbatim.txt` is left aside) or Event with an
Occurrence extension, and, without `meta.xml`, a single table with a header (GBIF's simple download).
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import pandas as pd
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geoplantnet.errors import OccurrenceError
from geoplantnet.occurrences.archive.layout import DWC, EVENT, GBIF, OCCURRENCE, Field, Table, read_meta, short_name
from geoplantnet.occurrences.darwin_core import (
    SQUARE_METRES,
    OccurrenceSet,
    count_rejections,
    from_records,
    from_tables,
    tidy_rejections,
)
from geoplantnet.taxonomy.backbone import Backbone

MOST_BYTES = 2**36
"""Bytes of an archive's tables, unpacked: a GBIF download of some hundred million records."""
_MOST_FILES = 200_000
_RATIO, _SMALL = 200, 2**28
"""No table of text packs better than this; a file larger than `_SMALL` that does is a bomb."""
_LONGEST = 2**24
"""Bytes of a line."""
_CHUNK = 50_000
_PLACE = ("decimalLatitude", "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters", "elevation")
_OF_EVENT = (
    *("eventID", "parentEventID", "samplingProtocol", "sampleSizeValue", "sampleSizeUnit", "eventDate", "year", "month", "recordedBy"),
    *_PLACE,
)
_OF_OCCURRENCE = (
    *("occurrenceID", "scientificName", "verbatimScientificName", "species", "genus", "specificEpithet", "taxonID", "occurrenceStatus"),
    *("organismQuantity", "organismQuantityType", "individualCount", "basisOfRecord", "degreeOfEstablishment", "establishmentMeans"),
)
_NUMBERS = frozenset(("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "elevation", "sampleSizeValue"))
_UNLIKE = frozenset(("occurrenceID", "eventID", "eventDate"))
"""Texts that seldom come twice; of all others one copy is kept."""
_NOT_SIGHTINGS = {"fossilspecimen": "fossil specimen", "livingspecimen": "living specimen of a collection"}
_NOT_WILD = ("captive", "cultivated", "managed")
_WORLD = {"", "wgs84", "epsg4326", "worldgeodeticsystem1984", "etrs89", "epsg4258", "notrecorded", "unknown", "worldgeodeticsystem84"}
"""Spellings of WGS 84, of what differs from it by less than a metre, and of nothing said."""
RAGGED = "row without the header's number of cells"
DATUM = "unknown geodetic datum"


def read_archive(
    path: str | os.PathLike[str],
    *,
    dataset_id: str,
    sampling: str = "presence-only",
    backbone: Backbone | None = None,
    most_bytes: int = MOST_BYTES,
) -> OccurrenceSet:
    """A Darwin Core Archive (zip or folder) -> OccurrenceSet; places in another datum become WGS 84.

    Delimiters, quotes, header lines, encodings and default values are those of `meta.xml`. As in `read_records`, without a `backbone` names are
    taken as they stand, GBIF's `species` first. Counted in `rejections`, besides what `from_records` refuses: rows without the header's number of
    cells, fossils, living specimens, cultivated plants, datums that nobody knows. Occurrences take place, date and observer from their event
    where the core is Event. `sampling`: what an absence means (see `from_tables`).

    Raises OccurrenceError for what is no archive: nothing there, no table of occurrences, files that lead out of it, damage, a zip that unpacks
    to more than `most_bytes`, cells in another encoding than said.
    """
    with ExitStack() as opened:
        folder = _open(Path(path), most_bytes, opened)
        core, extensions = _described(folder)
        if core.row_type not in ("", OCCURRENCE, EVENT):
            raise OccurrenceError(
                f"{path} has a core of {short_name(core.row_type)}; give an archive of occurrences, or of events with them"
            )
        if core.row_type != EVENT:
            rows, ragged = _read(folder, core, (*_OF_OCCURRENCE, *_OF_EVENT), "occurrenceID")
            kept, own = _sightings(_placed(_named(rows, backbone)), dataset_id, ragged)
            found = from_records(kept, dataset_id=dataset_id, sampling=sampling, backbone=backbone)
        else:
            of_events = [table for table in extensions if table.row_type == OCCURRENCE]
            if len(of_events) != 1:
                raise OccurrenceError(f"{path} has events and {len(of_events)} tables of occurrences; one says what was found there")
            events, ragged_events = _read(folder, core, _OF_EVENT, "eventID")
            rows, ragged = _read(folder, of_events[0], _OF_OCCURRENCE, "eventID")
            events, lost = _kept(_placed(events), "events", dataset_id, "eventID", ragged_events)
            kept, own = _sightings(_named(rows, backbone), dataset_id, ragged)
            own = [*own, *lost]
            found = from_tables(events, kept, sampling=sampling, dataset_id=dataset_id, backbone=backbone)
    return OccurrenceSet(found.events, found.occurrences, tidy_rejections([found.rejections, *own]))


class _Folder:
    """The files of an archive, by name: of a zip, or of a folder on disk."""

    def __init__(self, path: Path, archive: zipfile.ZipFile | None, root: str) -> None:
        self.path, self._archive, self._root = path, archive, root

    def names(self) -> list[str]:
        """Files of the top folder."""
        if self._archive is None:
            return sorted(file.name for file in self.path.iterdir() if file.is_file())
        inside = (n.removeprefix(self._root) for n in self._archive.namelist() if n.startswith(self._root))
        return sorted(n for n in inside if n and "/" not in n)

    def open(self, name: str) -> IO[bytes]:
        """The bytes of a file. Raises OccurrenceError for one that is not there, or outside."""
        if self._archive is None:
            file = (self.path / name).resolve()
            if not file.is_relative_to(self.path.resolve()):
                raise OccurrenceError(f"{self.path} names the file {name!r}, which is outside; an archive holds its files itself")
            if file.is_file():
                return file.open("rb")
        elif self._root + name in self._archive.namelist():
            return self._archive.open(self._root + name)
        raise OccurrenceError(f"{self.path} holds no {name!r} (it has {', '.join(self.names()[:9])})")


def _open(path: Path, most_bytes: int, opened: ExitStack) -> _Folder:
    """The archive, looked at before anything is read of it."""
    if path.is_dir():
        return _Folder(path, None, "")
    try:
        archive = opened.enter_context(zipfile.ZipFile(path))
    except FileNotFoundError as error:
        raise OccurrenceError(f"{path} is not there; give a Darwin Core Archive") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise OccurrenceError(f"{path} is no zip ({error}); give a Darwin Core Archive as a zip or an unpacked folder") from error
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")]
    if len(entries) > _MOST_FILES:
        raise OccurrenceError(f"{path} holds {len(entries)} files; an archive has at most {_MOST_FILES}")
    for entry in entries:
        _require_harmless(path, entry)
    for name, times in Counter(entry.filename for entry in entries).items():
        if times > 1:
            raise OccurrenceError(f"{path} holds {name!r} {times} times; readers differ in which they take")
    if (total := sum(entry.file_size for entry in entries)) > most_bytes:
        raise OccurrenceError(f"{path} unpacks to {total} bytes, more than {most_bytes}; divide it, or allow more")
    tops = {PurePosixPath(entry.filename).parts[0] for entry in entries}
    single = len(tops) == 1 and all("/" in entry.filename for entry in entries)
    return _Folder(path, archive, f"{tops.pop()}/" if single else "")


def _require_harmless(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
        raise OccurrenceError(f"{path} holds {name!r}, which leads out of it; make the archive anew")
    if stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
        raise OccurrenceError(f"{path} holds {name!r}, a link or an encrypted file; make the archive anew, of plain files")
    if entry.file_size > max(_SMALL, _RATIO * entry.compress_size):
        raise OccurrenceError(f"{path} holds {name!r}, {entry.compress_size} bytes that unpack to {entry.file_size}; no table does that")


def _described(folder: _Folder) -> tuple[Table, tuple[Table, ...]]:
    """The tables by `meta.xml`; without one the single table there is, by its first line."""
    names = folder.names()
    if "meta.xml" in names:
        return read_meta(_bytes(folder, "meta.xml"), f"{folder.path}/meta.xml")
    tables = [name for name in names if Path(name).suffix.lower() in (".csv", ".txt", ".tsv")]
    if len(tables) != 1:
        raise OccurrenceError(f"{folder.path} has no meta.xml, and {len(tables)} tables; give an archive, or a folder with one table")
    with folder.open(tables[0]) as stream:
        first = stream.readline(_LONGEST).decode("utf-8-sig", "replace").rstrip("\r\n")
    tabs = "\t" in first  # GBIF's simple download is named .csv, has tabs and no quotes
    separator, quote = ("\t", "") if tabs else (",", '"')
    terms = next(csv.reader([first], delimiter=separator, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL), [])
    fields = tuple(Field(term=f"{DWC}{term.strip()}", index=i) for i, term in enumerate(terms))
    return Table(file=tables[0], row_type=OCCURRENCE, key=None, fields=fields, separator=separator, quote=quote), ()


def _bytes(folder: _Folder, name: str) -> bytes:
    try:
        with folder.open(name) as stream:
            return stream.read(2**20 + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise OccurrenceError(f"{folder.path}/{name} cannot be read ({error}); fetch the archive again") from error


class _Guarded(io.RawIOBase):
    """A stream that refuses a line which never ends: whoever reads lines would hold it all in memory."""

    def __init__(self, stream: IO[bytes], what: str) -> None:
        self._stream, self._what, self._length = stream, what, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        last = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._length = len(data) - last - 1 if last >= 0 else self._length + len(data)
        if self._length > _LONGEST:
            raise OccurrenceError(f"{self._what} has a line of more than {_LONGEST} bytes; is it a table?")
        return len(data)


def _read(folder: _Folder, table: Table, wanted: Sequence[str], key: str) -> tuple[pd.DataFrame, list[str]]:
    """The wanted terms of a table, `key` from its id where no field says it; and the first cells of its ragged rows."""
    chosen = _chosen(table, wanted)
    if table.key is not None and (key not in chosen or chosen[key].index is None):
        chosen[key] = Field(term=f"{DWC}{key}", index=table.key)
    elif table.key is not None and key == "occurrenceID":
        chosen["id"] = Field(term="id", index=table.key)
    columns = [(name, field.index) for name, field in chosen.items() if field.index is not None]
    if not columns:
        raise OccurrenceError(
            f"{folder.path}/{table.file} has none of the columns {', '.join(wanted[:5])} ...; name them in Darwin Core terms"
        )
    numbers, take = [name for name, _ in columns if name in _NUMBERS], itemgetter(*(index for _, index in columns), -1)
    needed = max(index for _, index in columns if index is not None) + 1
    chunks, ragged, known = [pd.DataFrame({name: pd.Series(dtype=object) for name, _ in columns})], list[str](), dict[str, str]()

    def chunk(rows: list[Any]) -> pd.DataFrame:
        cells = list(zip(*rows, strict=True))[:-1]
        frame = {
            name: list(values) if name in _UNLIKE or name in numbers else [known.setdefault(v, v) for v in values]
            for (name, _), values in zip(columns, cells, strict=True)
        }
        return pd.DataFrame(frame, dtype=object).assign(**{n: pd.to_numeric(pd.Series(frame[n]), errors="coerce") for n in numbers})

    width: int | None = None
    held: list[Any] = []
    try:
        with folder.open(table.file) as stream:
            for number, row in enumerate(_rows(stream, table, f"{folder.path}/{table.file}")):
                width = len(row) if width is None else width
                if number < table.header_lines:
                    width = len(row)
                    continue
                if len(row) != width or len(row) < needed:
                    if row not in ([], [""]):  # an empty line says nothing
                        ragged.append(row[0])
                    continue
                held.append(take(row))
                if len(held) == _CHUNK:
                    chunks.append(chunk(held))
                    held = []
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise OccurrenceError(f"{folder.path}/{table.file} cannot be read ({error}); fetch the archive again") from error
    except (UnicodeError, LookupError) as error:
        raise OccurrenceError(f"{folder.path}/{table.file} is not in {table.encoding}, as it says ({error}); name its encoding") from error
    except csv.Error as error:
        raise OccurrenceError(f"{folder.path}/{table.file}: {error}; close quotes, or say in meta.xml that there are none") from error
    if held:
        chunks.append(chunk(held))
    frame = pd.concat(chunks if len(chunks) == 1 else chunks[1:], ignore_index=True)
    for name, field in chosen.items():
        if field.index is None:
            frame[name] = field.default
        elif field.default:
            empty = frame[name].isna() if name in numbers else frame[name] == ""
            frame[name] = frame[name].mask(empty, float(field.default) if name in numbers else field.default)
    if "id" in frame:
        frame[key] = frame[key].mask(frame[key] == "", frame["id"])
    return frame, ragged


def _chosen(table: Table, wanted: Sequence[str]) -> dict[str, Field]:
    """Wanted term -> its field; of two with one short name Darwin Core's, then GBIF's."""
    found: dict[str, Field] = {}
    for field in sorted(table.fields, key=lambda f: (not f.term.startswith(DWC), not f.term.startswith(GBIF))):
        if (name := short_name(field.term)) in wanted and (field.index is not None or field.default):
            found.setdefault(name, field)
    return found


def _rows(stream: IO[bytes], table: Table, what: str) -> Iterator[list[str]]:
    """Every line as cells, the header's too."""
    encoding = "utf-8-sig" if table.encoding.lower().replace("-", "") == "utf8" else table.encoding
    plain = io.BufferedReader(_Guarded(stream, what), 2**20)
    if table.quote:
        yield from csv.reader(io.TextIOWrapper(plain, encoding, newline=""), delimiter=table.separator, quotechar=table.quote, strict=True)
        return
    # Files often say "\n" and have "\r\n"; other ends of lines, such as U+2028, are text.
    lines = io.TextIOWrapper(plain, encoding, newline="\r" if table.line_end == "\r" else "\n")
    yield from (line.rstrip("\r\n").split(table.separator) for line in lines)


def _named(rows: pd.DataFrame, backbone: Backbone | None) -> pd.DataFrame:
    """With a scientificName: of genus and epithet where the table has none."""
    if "scientificName" not in rows:
        if not {"genus", "specificEpithet"} <= set(rows):
            raise OccurrenceError("the table of occurrences has no column scientificName, nor genus and specificEpithet; add one")
        rows = rows.assign(scientificName=(rows["genus"] + " " + rows["specificEpithet"]).str.strip())
    if backbone is None and "species" in rows:
        verbatim = rows["verbatimScientificName" if "verbatimScientificName" in rows else "scientificName"]
        rows = rows.assign(verbatimScientificName=verbatim, scientificName=rows["species"])
    return rows


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    """With places in WGS 84 (none where nobody knows the datum), and areas alone as sizes of samples."""
    for name in ("decimalLatitude", "decimalLongitude"):
        if name not in rows:
            raise OccurrenceError(f"the table has no column {name}; without places its records are of no use")
    if "geodeticDatum" in rows:
        longitude, latitude = (rows[name].to_numpy(float, copy=True) for name in ("decimalLongitude", "decimalLatitude"))
        reason = pd.Series("", index=rows.index, dtype=object)
        for datum, places in rows.groupby("geodeticDatum", sort=False).indices.items():
            if re.sub(r"[^a-z0-9]", "", str(datum).lower().split("(")[0]) in _WORLD:
                continue
            try:
                crs = CRS.from_user_input(str(datum))
            except CRSError:
                crs = None
            if crs is None or not crs.is_geographic:
                reason.iloc[places] = DATUM
                continue
            moved = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(longitude[places], latitude[places])
            longitude[places], latitude[places] = (np.where(np.isfinite(axis), axis, np.nan) for axis in moved)
        rows = rows.assign(decimalLongitude=longitude, decimalLatitude=latitude, refused=reason)
    if {"sampleSizeValue", "sampleSizeUnit"} <= set(rows):  # many are hours or nets, of which no plot is made
        areas = rows["sampleSizeUnit"].str.lower().isin({*SQUARE_METRES, ""})
        rows = rows.assign(sampleSizeValue=rows["sampleSizeValue"].where(areas & (rows["sampleSizeValue"] > 0)))
    return rows


def _sightings(rows: pd.DataFrame, dataset_id: str, ragged: Sequence[str]) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """The rows that tell of a plant that grew there by itself, and counts of the others."""

    def plain(column: str) -> pd.Series:
        return rows[column].str.lower().str.replace(r"[^a-z]", "", regex=True) if column in rows else pd.Series("", index=rows.index)

    reason = rows["refused"] if "refused" in rows else pd.Series("", index=rows.index, dtype=object)
    reason = reason.mask(reason == "", plain("basisOfRecord").map(_NOT_SIGHTINGS).fillna(""))
    wild = ~(plain("degreeOfEstablishment").str.startswith(_NOT_WILD) | plain("establishmentMeans").str.startswith(_NOT_WILD))
    reason = reason.mask((reason == "") & ~wild, "cultivated")
    return _kept(rows.assign(refused=reason), "occurrences", dataset_id, "scientificName", ragged)


def _kept(rows: pd.DataFrame, table: str, dataset_id: str, example: str, ragged: Sequence[str]) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """The rows that are not `refused`, and counts of the others and of ragged ones."""
    refused = rows["refused"] if "refused" in rows else pd.Series("", index=rows.index, dtype=object)
    torn = pd.Series([RAGGED] * len(ragged), dtype=object)
    counted = [
        count_rejections(dataset_id, table, refused, rows[example]),
        count_rejections(dataset_id, table, torn, pd.Series(list(ragged), dtype=object)),
    ]
    return rows[refused == ""].drop(columns="refused", errors="ignore").reset_index(drop=True), counted
