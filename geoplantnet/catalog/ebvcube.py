"""EBVCube netCDF: the exchange format of GEO BON for Essential Biodiversity Variables, as portals, R (ebvcube) and QGIS plug-ins read it.

`[scenario_n/]metric_n/ebv_cube [entity, time, lat, lon]` after the format's description (https://github.com/EBVcube/EBVCube-format), CF-1.8,
ACDD-1.3. A species is an entity; its genus and family stand in the taxonomy table.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5netcdf
import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy import SpeciesList, Taxon

EPOCH = date(1860, 1, 1)
FILL = np.float32(-9999.0)
_CHUNK = 256
_LEVELS = ("species", "genus", "family")


@dataclass(frozen=True, kw_only=True)
class Group:
    """A metric, or a scenario."""

    standard_name: str
    long_name: str
    units: str = "1"
    """Of a metric."""


@dataclass(frozen=True, kw_only=True)
class About:
    """Who made what: the attributes that portals ask for."""

    title: str
    summary: str
    source: str
    """The model and its version."""
    licence: str
    created: date
    creator_name: str
    creator_institution: str
    creator_email: str = "not stated"
    ebv_class: str = "Species populations"
    ebv_name: str = "Species distributions"
    """Of the vocabulary at https://portal.geobon.org/api/v1/ebv."""
    entity_type: str = "Species"
    entity_scope: str = "Vascular plants"
    scope: Literal["Continental/Regional", "National", "Sub-national/Local", "Global"] = "Sub-national/Local"
    place: str = ""
    """The region in words."""
    keywords: Sequence[str] = ("vascular plants", "species distribution model", "Essential Biodiversity Variables")
    comment: str = ""


class Part(NamedTuple):
    """Values of some entities over a window, for one moment."""

    scenario: int | None
    """Position among the scenarios, None for a cube without any."""
    metric: int
    entities: slice
    time: int
    rows: slice
    columns: slice
    values: npt.NDArray[np.floating]
    """(entity, y, x), NaN = no data."""


def write_ebvcube(
    path: str | os.PathLike[str],
    parts: Iterable[Part],
    *,
    about: About,
    species: SpeciesList,
    geobox: GeoBox,
    times: Sequence[tuple[datetime, datetime]],
    metrics: Sequence[Group],
    scenarios: Sequence[Group] = (),
) -> Path:
    """Write an EBVCube at `path`, whole or not at all; cells that no part holds are no data. Rows of `geobox` run north to south.

    `times`: start and end of every step. One part is in memory at a time. Raises InputError for an empty axis or a part that does not fit,
    StorageError when the disk takes no more.
    """
    if not (len(species) and times and metrics):
        raise InputError("an EBVCube needs at least one species, one moment and one metric")
    final = Path(path)
    with write_beside(final) as beside, _Sink(beside) as sink:
        with h5netcdf.File(sink, "w") as file:
            _fill(file, parts, sink, about=about, species=species, geobox=geobox, times=times, metrics=metrics, scenarios=scenarios)
        sink.check()
    return final


def read_ebvcube(
    path: str | os.PathLike[str], *, metric: int = 0, scenario: int | None = None
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Entity names, and one cube (entity, time, lat, lon) with NaN for no data. Raises IntegrityError when there is none."""
    group = f"{'' if scenario is None else f'scenario_{scenario + 1}/'}metric_{metric + 1}"
    try:
        with h5netcdf.File(path, "r") as file:
            values = np.asarray(file[f"{group}/ebv_cube"][...])
            names = [bytes(row).decode().strip() for row in np.asarray(file["entity"][...])]
    except (OSError, KeyError) as error:
        raise IntegrityError(f"{path} has no {group}/ebv_cube ({error}); is it an EBVCube?") from error
    return names, np.where(values == FILL, np.float32(np.nan), values)


class _Sink(io.RawIOBase):
    """The file that HDF5 writes to. HDF5 does not survive a write that fails, on a full disk it ends the process: so none fails here.

    The first error is kept, for `check`, and what is written from then on, a part at most, is held in memory.
    """

    def __init__(self, path: Path) -> None:
        self._file, self._at = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), 0
        self._error: OSError | None = None
        self._held: list[tuple[int, bytes]] = []

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error:
            raise self._error

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and not self._error:
                done += os.pwrite(self._file, view[done:], self._at + done)
        except OSError as error:
            self._error = error
        if done < len(view):
            self._held.append((self._at + done, bytes(view[done:])))
        self._at += len(view)
        return len(view)

    def readinto(self, into: Any) -> int:
        view = memoryview(into).cast("B")
        found = os.pread(self._file, len(view), self._at).ljust(len(view), b"\0")
        view[:] = found
        for start, held in self._held:
            first, last = max(start, self._at), min(start + len(held), self._at + len(view))
            if first < last:
                view[first - self._at : last - self._at] = held[first - start : last - start]
        self._at += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        ends = [os.fstat(self._file).st_size, *(start + len(held) for start, held in self._held)]
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: max(ends)}[whence]
        return self._at

    def truncate(self, size: int | None = None) -> int:
        length = self._at if size is None else size
        try:
            os.ftruncate(self._file, length)
        except OSError as error:
            self._error = self._error or error
        return length

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()


def _fill(
    file: Any,
    parts: Iterable[Part],
    sink: _Sink,
    *,
    about: About,
    species: SpeciesList,
    geobox: GeoBox,
    times: Sequence[tuple[datetime, datetime]],
    metrics: Sequence[Group],
    scenarios: Sequence[Group],
) -> None:
    """Axes, attributes and values of an EBVCube; ends early when the disk takes no more."""
    _axes(file, about, species, geobox, times)
    _taxonomy(file, species)
    file.attrs.update(_facts(about, geobox, times))
    cubes = {}
    for s, scenario in enumerate(scenarios) if scenarios else [(None, None)]:
        above = file if s is None else _group(file, f"scenario_{s + 1}", scenario)
        for m, metric in enumerate(metrics):
            cubes[s, m] = _cube(_group(above, f"metric_{m + 1}", metric, units=True), metric, geobox, len(species))
    for part in parts:
        cube = cubes.get((part.scenario, part.metric))
        target = (part.entities.stop - part.entities.start, part.rows.stop - part.rows.start, part.columns.stop - part.columns.start)
        outside = part.entities.stop > len(species) or part.rows.stop > geobox.shape[0] or part.columns.stop > geobox.shape[1]
        if cube is None or part.values.shape != target or outside or not 0 <= part.time < len(times):
            raise InputError(
                f"part {tuple(part[:6])} with values {part.values.shape} does not fit {len(species)} species, {len(times)} moments, "
                f"{len(metrics)} metrics, {len(scenarios)} scenarios and {tuple(geobox.shape)} cells"
            )
        cube[part.entities, part.time, part.rows, part.columns] = np.where(np.isnan(part.values), FILL, part.values).astype(np.float32)
        sink.check()


def _axes(file: Any, about: About, species: SpeciesList, geobox: GeoBox, times: Sequence[tuple[datetime, datetime]]) -> None:
    height, width = geobox.shape
    widest = max(len(word.encode()) for t in species for word in _ranks(t))
    names = _characters([t.scientific_name for t in species], width=widest)
    file.dimensions = {"entity": len(species), "time": None, "lat": height, "lon": width, "nchar": names.shape[1]}
    file.resize_dimension("time", len(times))
    crs = CRS.from_user_input(str(geobox.crs))
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    mapping = file.create_variable("crs", (), dtype="S1")
    mapping.attrs.update({k: v for k, v in crs.to_cf().items() if k != "crs_wkt"})
    mapping.attrs.update({"long_name": "CRS definition", "spatial_ref": crs.to_wkt(), "GeoTransform": f"{c} {a} {b} {f} {d} {e}"})
    metres = crs.is_projected
    for name, axis, values, full in (
        ("lat", "Y", f + e * (np.arange(height) + 0.5), "projection_y_coordinate" if metres else "latitude"),
        ("lon", "X", c + a * (np.arange(width) + 0.5), "projection_x_coordinate" if metres else "longitude"),
    ):
        unit = "meter" if metres else f"degree_{'north' if axis == 'Y' else 'east'}"
        variable = file.create_variable(name, (name,), data=values.astype(np.float64))
        variable.attrs.update({"axis": axis, "units": unit, "standard_name": full, "long_name": name})
    days = np.array([(start.date() - EPOCH).days for start, _ in times], np.int32)
    time = file.create_variable("time", ("time",), dtype=np.int32)
    time[:] = days
    time.attrs.update({"axis": "T", "calendar": "standard", "units": "days since 1860-01-01 00:00:00.0", "long_name": "time"})
    entity = file.create_variable("entity", ("entity", "nchar"), data=names)
    kind = {"ebv_entity_type": about.entity_type, "ebv_entity_scope": about.entity_scope}
    entity.attrs.update({"units": "1", "long_name": "entity", **kind, "ebv_entity_classification_name": species.checklist})


def _taxonomy(file: Any, species: SpeciesList) -> None:
    """Names of the levels, of every species at each, and its key; the axes in the format's own order."""
    ranks = [_ranks(t) for t in species]
    table = np.stack([_characters([row[i] for row in ranks], width=file.dimensions["nchar"].size) for i in range(len(_LEVELS))], axis=2)
    levels, keys = _characters(_LEVELS), _characters([t.taxon_id for t in species])
    file.dimensions.update({"taxonlevel": len(_LEVELS), "nchar_taxonlist": levels.shape[1], "nchar_taxonid": keys.shape[1]})
    file.create_variable("taxonomy_levels", ("nchar_taxonlist", "taxonlevel"), data=levels.T.copy()).attrs["units"] = "1"
    file.create_variable("taxonomy_table", ("nchar", "entity", "taxonlevel"), data=table.transpose(1, 0, 2).copy()).attrs["units"] = "1"
    file.create_variable("taxonomy_key", ("nchar_taxonid", "entity"), data=keys.T.copy()).attrs.update(
        {"units": "1", "long_name": "taxonID"}
    )


def _ranks(taxon: Taxon) -> tuple[str, ...]:
    """The names of a species at `_LEVELS`."""
    return taxon.scientific_name, taxon.genus, taxon.family


def _facts(about: About, geobox: GeoBox, times: Sequence[tuple[datetime, datetime]]) -> Mapping[str, str]:
    """Global attributes."""
    west, south, east, north = geobox.boundingbox.bbox
    crs = CRS.from_user_input(str(geobox.crs))
    metres, north_first = crs.is_projected, crs.axis_info[0].direction == "north"  # bounds go by the CRS' own order of axes
    ring = ((west, south), (west, north), (east, north), (east, south), (west, south))
    step, unit = abs(geobox.transform.a), "meters" if metres else "degrees"
    facts = {
        "Conventions": "CF-1.8, ACDD-1.3, EBV-1.0",
        "title": about.title,
        "summary": about.summary,
        "source": about.source,
        "license": about.licence,
        "date_created": about.created.isoformat(),
        "creator_name": about.creator_name,
        "creator_institution": about.creator_institution,
        "creator_email": about.creator_email,
        "publisher_name": about.creator_name,
        "publisher_institution": about.creator_institution,
        "publisher_email": about.creator_email,
        "ebv_class": about.ebv_class,
        "ebv_name": about.ebv_name,
        "ebv_domain": "Terrestrial",
        "ebv_vocabulary": "https://portal.geobon.org/api/v1/ebv",
        "ebv_cube_dimensions": "lon, lat, time, entity",
        "ebv_spatial_scope": about.scope,
        "ebv_spatial_description": about.place or "not stated",
        "geospatial_lat_resolution": f"{step:g} {unit}",
        "geospatial_lon_resolution": f"{step:g} {unit}",
        "geospatial_lat_units": f"{unit}_north",
        "geospatial_lon_units": f"{unit}_east",
        "geospatial_bounds_crs": str(geobox.crs),
        "geospatial_bounds": f"POLYGON(({', '.join(f'{y} {x}' if north_first else f'{x} {y}' for x, y in ring)}))",
        "time_coverage_start": min(start for start, _ in times).date().isoformat(),
        "time_coverage_end": max(end for _, end in times).date().isoformat(),
        "time_coverage_resolution": _step([start for start, _ in times]),
        "keywords": ", ".join(about.keywords),
        "comment": about.comment,
        "history": "",
    }
    return {name: value for name, value in facts.items() if value}


def _step(starts: Sequence[datetime]) -> str:
    """Years, months and days between moments as Pyyyy-mm-dd; zeros for a single one, or where they differ."""
    steps = {(b.year - a.year, b.month - a.month, b.day - a.day) for a, b in pairwise(starts)}
    years, months, days = steps.pop() if len(steps) == 1 and min(next(iter(steps))) >= 0 else (0, 0, 0)
    return f"P{years:04d}-{months:02d}-{days:02d}"


def _group(above: Any, name: str, group: Group | None, *, units: bool = False) -> Any:
    made = above.create_group(name)
    assert group is not None
    made.attrs.update({"standard_name": group.standard_name, "long_name": group.long_name, **({"units": group.units} if units else {})})
    return made


def _cube(group: Any, metric: Group, geobox: GeoBox, entities: int) -> Any:
    height, width = geobox.shape
    chunks = (1, 1, min(_CHUNK, height), min(_CHUNK, width))
    cube = group.create_variable(
        "ebv_cube", ("entity", "time", "lat", "lon"), dtype=np.float32, fillvalue=FILL, chunks=chunks, compression="gzip", shuffle=True
    )
    facts = {"grid_mapping": "/crs", "coordinates": "/entity", "coverage_content_type": "modelResult"}
    cube.attrs.update({**facts, "long_name": metric.standard_name, "units": metric.units})
    return cube


def _characters(words: Sequence[str], *, width: int | None = None) -> npt.NDArray[np.bytes_]:
    """Words as characters (word, nchar), UTF-8, filled up with blanks."""
    coded = [word.encode() for word in words]
    length = width or max(1, *(len(word) for word in coded))
    return np.array([list(word.ljust(length)) for word in coded], np.uint8).view("S1")
