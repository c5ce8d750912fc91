"""Occurrences: who was seen where, in Darwin Core terms. Two plain tables, and a count of every row that was refused.

A sampling *event* is a place and a time: one row of a GeoDataFrame. An *occurrence* is one taxon at one event: one row of a DataFrame. A plot
surveyed completely in which nothing grew is an event without occurrences, and says something.

Rows are never lost in silence: whatever is read ends as a row of `events` or `occurrences`, or is counted with a reason in `rejections`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from pyproj import CRS, Transformer

from geoplantnet.errors import CrsError, OccurrenceError, UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.occurrences.abundance import COVER, INDIVIDUALS, UNITS, combine_layers, read_quantities
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy.backbone import Backbone, slug
from geoplantnet.taxonomy.species_list import SpeciesList

GRID_CRS = TileGrid().crs
"""CRS of `x`, `y` and of the geometry."""
SAMPLING = ("presence-only", "presence-absence")
STATUS = ("present", "absent")
EVENT_TEXT = ("eventID", "parentEventID", "samplingProtocol", "sampling", "sampleSizeUnit", "datasetID", "recordedBy")
EVENT_NUMBERS = (
    *("x", "y", "decimalLongitude", "decimalLatitude", "coordinateUncertaintyInMeters"),
    *("year", "month", "sampleSizeValue", "elevation", "slope", "aspect", "list_length"),
)
EVENT_COLUMNS = (
    *("eventID", "x", "y", "decimalLongitude", "decimalLatitude", "coordinateUncertaintyInMeters", "year", "samplingProtocol", "sampling"),
    *("sampleSizeValue", "sampleSizeUnit", "datasetID", "elevation", "slope", "aspect", "parentEventID"),
    *("month", "recordedBy", "list_length", "geometry"),
)
"""`list_length` (ours, not a Darwin Core term): species that the event's observer recorded that day, a measure of effort where nothing else is
known of it (Szabo, Vesk, Baxter & Possingham 2010, Ecol. Appl. 20: 2157-2169)."""
OCCURRENCE_TEXT = (
    *("eventID", "taxonID", "scientificName", "verbatimScientificName", "occurrenceStatus"),
    *("organismQuantity", "organismQuantityType"),
)
OCCURRENCE_COLUMNS = (*OCCURRENCE_TEXT, "abundance")
"""organismQuantity is what was written, `abundance` (ours, not a Darwin Core term) what it says in the unit of organismQuantityType."""
SQUARE_METRES = {
    **dict.fromkeys(("square metre", "square metres", "square meter", "square meters", "m2", "m²", "m^2", "sqm"), 1.0),
    **dict.fromkeys(("are", "ares"), 1e2),
    **dict.fromkeys(("hectare", "hectares", "ha"), 1e4),
    **dict.fromkeys(("square kilometre", "square kilometres", "square kilometer", "square kilometers", "km2", "km²", "km^2"), 1e6),
    **dict.fromkeys(("square centimetre", "square centimetres", "square centimeter", "square centimeters", "cm2", "cm²", "cm^2"), 1e-4),
    **dict.fromkeys(("square foot", "square feet", "ft2", "ft²", "ft^2"), 0.09290304),
}
"""Square metres in a sampleSizeUnit. Plot areas are kept in square metres."""
REJECTION_COLUMNS = ("datasetID", "table", "reason", "count", "example")
QUANTITIES = "quantities"
"""Table of refused quantities: their records are kept without one."""
_LONGEST_HEAD = 2**20
MERGED = "same taxon twice in one event"
"""Reason of rows that say again what another row of the event says (another layer, a synonym): counted, their species and abundance are kept."""


@dataclass(frozen=True)
class OccurrenceSet:
    """Events, their occurrences, and what was refused on the way."""

    events: gpd.GeoDataFrame
    """One row an event, `EVENT_COLUMNS`; points in EPSG:3035, metres; see `validate_events`."""
    occurrences: pd.DataFrame
    """One row a taxon at an event, `OCCURRENCE_COLUMNS`; see `validate_occurrences`."""
    rejections: pd.DataFrame
    """Counted refusals: datasetID, table (events | occurrences | quantities), reason, count (rows of that table), example."""

    def __post_init__(self) -> None:
        validate_events(self.events)
        validate_occurrences(self.occurrences, self.events)
        _need(self.rejections, REJECTION_COLUMNS, "rejections")


def validate_events(events: gpd.GeoDataFrame) -> None:
    """Check the event table: columns, dtypes, units, ranges, unique eventID, point geometry at x, y in the grid's CRS.

    Raises CrsError for a missing or other CRS and OccurrenceError for everything else, naming column, value and fix.
    """
    _need(events, EVENT_COLUMNS, "events")
    if not isinstance(events, gpd.GeoDataFrame) or events.crs is None:
        raise CrsError(f"events have no CRS; set it, or build them with from_tables, which makes points in {GRID_CRS}")
    if events.crs != CRS.from_user_input(GRID_CRS):
        raise CrsError(
            f"events are in {events.crs.to_string()}, the grid is in {GRID_CRS}; use events.to_crs({GRID_CRS!r}) and set x, y anew"
        )
    for column in EVENT_NUMBERS:
        if not pd.api.types.is_float_dtype(events[column]):
            raise OccurrenceError(f"events column {column} is {events[column].dtype}, wanted float (NaN where unknown); use .astype(float)")
    _ids(events["eventID"], "events", unique=True)
    _within(events, "x", -np.inf, np.inf, missing=False)
    _within(events, "y", -np.inf, np.inf, missing=False)
    _within(events, "decimalLongitude", -180, 180)
    _within(events, "decimalLatitude", -90, 90)
    _within(events, "coordinateUncertaintyInMeters", 0, np.inf)
    _within(events, "sampleSizeValue", 1e-9, np.inf)
    _within(events, "month", 1, 12)
    _within(events, "list_length", 1, np.inf)
    _within(events, "slope", 0, 90)
    _within(events, "aspect", 0, 360)
    _one_of(events["sampling"], SAMPLING, "events column sampling")
    points = events.geometry
    if not (points.geom_type == "Point").all():
        raise OccurrenceError("events geometry holds something else than points; use the representative point of each survey area")
    off = np.flatnonzero((points.x.to_numpy() != events["x"].to_numpy()) | (points.y.to_numpy() != events["y"].to_numpy()))
    if off.size:
        raise OccurrenceError(f"event {events['eventID'].iloc[off[0]]} has its point away from its x, y; derive one from the other")


def validate_occurrences(occurrences: pd.DataFrame, events: pd.DataFrame | None = None) -> None:
    """Check the occurrence table: columns, ids, status, abundance, one row a taxon and event and, given `events`, that every event exists.

    Raises OccurrenceError naming column, value and fix.
    """
    _need(occurrences, OCCURRENCE_COLUMNS, "occurrences")
    for column in ("eventID", "taxonID", "scientificName"):
        _ids(occurrences[column], "occurrences")
    _one_of(occurrences["occurrenceStatus"], STATUS, "occurrences column occurrenceStatus")
    _one_of(occurrences["organismQuantityType"], ("", *UNITS), "occurrences column organismQuantityType")
    _abundances(occurrences)
    twice = occurrences.duplicated(["eventID", "taxonID"])
    if twice.any():
        row = occurrences[twice].iloc[0]
        raise OccurrenceError(f"occurrences hold {row.scientificName} at event {row.eventID} twice; keep one row a taxon and event")
    if events is not None:
        stray = occurrences.loc[~occurrences["eventID"].isin(events["eventID"]), "eventID"]
        if len(stray):
            raise OccurrenceError(
                f"occurrences name event {stray.iloc[0]!r}, which is not among the {len(events)} events; add it or drop the rows"
            )


def from_tables(
    events: pd.DataFrame, occurrences: pd.DataFrame, *, sampling: str, dataset_id: str, backbone: Backbone | None = None
) -> OccurrenceSet:
    """Plain tables -> OccurrenceSet.

    `events` needs eventID and either x, y (EPSG:3035, metres) or decimalLongitude, decimalLatitude (EPSG:4326, degrees); other event terms are
    taken where present, year and month from eventDate where they do not stand by themselves; plot areas (sampleSizeValue) become square metres, the unit an area is in unless sampleSizeUnit says otherwise.
    `occurrences` needs eventID and scientificName; occurrenceStatus defaults to present, and to absent where the quantity is zero. Quantities
    (organismQuantity with organismQuantityType, or individualCount) become `abundance`, that of several layers of a taxon one (see
    `abundance.combine_layers`). With a `backbone`, scientificName
    is resolved to the accepted species, whose slug becomes taxonID; without one the name is taken as accepted and taxonID defaults to its slug.

    Counted in `rejections`: events without usable coordinates, presence-only events left without species, rows without event or name, names the
    backbone refuses, rows whose status contradicts their quantity, and rows that name a species of their event again; and quantities that cannot
    be read, whose rows stay. Raises OccurrenceError on missing columns, a repeated eventID or a unit that is no area.
    """
    _one_of(pd.Series([sampling]), SAMPLING, "sampling")
    _need(events, ("eventID",), "events")
    _need(occurrences, ("eventID", "scientificName"), "occurrences")
    table = _event_table(events, sampling, dataset_id)
    known = table["eventID"][table["eventID"] != ""]
    if known.duplicated().any():
        raise OccurrenceError(f"events hold eventID {known[known.duplicated()].iloc[0]!r} twice; keep one row an event")
    unplaced = coordinate_reasons(table).mask(table["eventID"] == "", "missing eventID")
    rows, refused, unread = _occurrence_table(occurrences, backbone)
    of_event = rows["eventID"].map(dict(zip(table["eventID"], unplaced))).astype(object).fillna("event not in the event table")
    refused = refused.mask(of_event != "", of_event)
    again = rows[refused == ""].duplicated(["eventID", "taxonID"])
    refused = refused.mask(again.reindex(rows.index, fill_value=False), MERGED)
    kept = _with_layers(rows, refused).astype(dict.fromkeys(OCCURRENCE_TEXT, str)).reset_index(drop=True)
    if sampling == "presence-only":
        unplaced = unplaced.mask((unplaced == "") & ~table["eventID"].isin(kept["eventID"]), "no species left")
    counted = [
        count_rejections(dataset_id, "events", unplaced, table["eventID"]),
        count_rejections(dataset_id, "occurrences", refused, rows["verbatimScientificName"]),
        count_rejections(
            dataset_id,
            QUANTITIES,
            unread.where(refused.isin(["", MERGED]), ""),
            _text(occurrences, "organismQuantity").set_axis(rows.index),
        ),
    ]
    return OccurrenceSet(_points(table[unplaced == ""]), kept, tidy_rejections(counted))


def from_records(
    records: pd.DataFrame, *, dataset_id: str, sampling: str = "presence-only", backbone: Backbone | None = None
) -> OccurrenceSet:
    """Darwin Core occurrence records (one row a sighting) -> OccurrenceSet.

    One record is one event, unless records share an eventID; then the first record describes the event. A record of that eventID at other
    coordinates is an event of its own among presence-only records (a walk), and refused where absences count (a plot is at one place). Needs scientificName and coordinates as in `from_tables`; without eventID, occurrenceID names the event, else the row number.
    """
    _need(records, ("scientificName",), "records")
    rows = records.reset_index(drop=True)
    numbered = pd.Series([f"{dataset_id}:{i}" for i in range(len(rows))], index=rows.index, dtype=object)
    event = _text(rows, "eventID")
    event = event.mask(event == "", _text(rows, "occurrenceID"))
    rows["eventID"] = event.mask(event == "", numbered)
    first = rows.drop_duplicates("eventID")
    place = [c for c in ("x", "y", "decimalLongitude", "decimalLatitude") if c in rows]
    here = pd.DataFrame({c: _number(rows, c) for c in place}, index=rows.index)
    there = here.loc[first.index].set_index(first["eventID"]).loc[rows["eventID"]]
    moved = ~((here.to_numpy() == there.to_numpy()) | (here.isna().to_numpy() & there.isna().to_numpy())).all(axis=1)
    if sampling == "presence-only":
        rows["eventID"] = rows["eventID"].mask(pd.Series(moved, index=rows.index), rows["eventID"] + ":" + numbered)
        first, moved = rows.drop_duplicates("eventID"), np.zeros(len(rows), bool)
    found = from_tables(first, rows[~moved], sampling=sampling, dataset_id=dataset_id, backbone=backbone)
    reasons = pd.Series(np.where(moved, "eventID at two places", ""), index=rows.index)
    counted = count_rejections(dataset_id, "occurrences", reasons, rows["eventID"])
    return OccurrenceSet(found.events, found.occurrences, tidy_rejections([found.rejections, counted]))


def read_records(
    path: str | os.PathLike[str], *, dataset_id: str, sampling: str = "presence-only", backbone: Backbone | None = None
) -> OccurrenceSet:
    """A Darwin Core or GBIF-like table in UTF-8 (.csv: commas, unless its first line has tabs, as in GBIF's simple downloads; otherwise tabs) with
    decimalLatitude and decimalLongitude -> OccurrenceSet. (An archive: `archive.read_archive`.)

    Without a `backbone` names are taken as they stand: GBIF's `species` where the table has it, else scientificName. See `from_records`. Raises OccurrenceError when the file is missing or is no such table.
    """
    file = Path(path)
    if not file.is_file():
        raise OccurrenceError(f"{file} is not there; give a Darwin Core occurrence table")
    with file.open("rb") as stream:
        comma = file.suffix.lower() == ".csv" and b"\t" not in stream.readline(_LONGEST_HEAD)
    quoting = csv.QUOTE_MINIMAL if comma else csv.QUOTE_NONE  # GBIF's tab-separated downloads do not quote
    try:
        rows = pd.read_csv(file, sep="," if comma else "\t", dtype=str, keep_default_na=False, quoting=quoting)  # type: ignore[call-overload]
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise OccurrenceError(f"{file} is no delimited UTF-8 table ({error}); export it as CSV or tab-separated text") from error
    _need(rows, ("scientificName", "decimalLatitude", "decimalLongitude"), file.name)
    if backbone is None and "species" in rows:
        rows["verbatimScientificName"], rows["scientificName"] = rows["scientificName"], rows["species"]
    return from_records(rows, dataset_id=dataset_id, sampling=sampling, backbone=backbone)


def concat(sets: Iterable[OccurrenceSet]) -> OccurrenceSet:
    """Several sets as one, in the order given; rejections are added up. Raises OccurrenceError when two share an eventID or none is given."""
    parts = list(sets)
    if not parts:
        raise OccurrenceError("nothing to concatenate; give at least one occurrence set")
    events = gpd.GeoDataFrame(pd.concat([p.events for p in parts], ignore_index=True), geometry="geometry", crs=GRID_CRS)
    occurrences = pd.concat([p.occurrences for p in parts], ignore_index=True)
    return OccurrenceSet(events, occurrences, tidy_rejections([p.rejections for p in parts]))


def save(occurrence_set: OccurrenceSet, folder: str | os.PathLike[str]) -> Path:
    """Commit events.parquet (GeoParquet), occurrences.parquet and rejections.parquet as one folder. Same set, same bytes."""
    with write_beside(folder) as temporary:
        temporary.mkdir()
        occurrence_set.events[list(EVENT_COLUMNS)].to_parquet(temporary / "events.parquet", index=False, compression="zstd")
        occurrence_set.occurrences[list(OCCURRENCE_COLUMNS)].to_parquet(temporary / "occurrences.parquet", index=False, compression="zstd")
        occurrence_set.rejections[list(REJECTION_COLUMNS)].to_parquet(temporary / "rejections.parquet", index=False, compression="zstd")
    return Path(folder)


def load(folder: str | os.PathLike[str]) -> OccurrenceSet:
    """Inverse of `save`. Raises OccurrenceError when a table is missing or is damaged."""
    root = Path(folder)
    try:
        events = gpd.read_parquet(root / "events.parquet")
        occurrences = pd.read_parquet(root / "occurrences.parquet")
        rejections = pd.read_parquet(root / "rejections.parquet")
    except Exception as error:  # a flipped bit in the schema ends in errors of many kinds
        raise OccurrenceError(f"{root} holds no readable occurrence set ({error}); write it with occurrences.save") from error
    if not {"month", "recordedBy", "list_length"} & set(events):  # written before observers were kept
        events = events.assign(month=np.nan, recordedBy="", list_length=np.nan)
    if "parentEventID" not in events and not set(OCCURRENCE_COLUMNS[5:]) & set(occurrences):  # written before abundances were read
        events = events.assign(parentEventID="")[list(EVENT_COLUMNS)]
        occurrences = occurrences.assign(organismQuantity="", organismQuantityType="", abundance=np.nan)
    return OccurrenceSet(events, occurrences, rejections)


def presence_matrix(occurrence_set: OccurrenceSet, species_list: SpeciesList, event_ids: Sequence[str]) -> sp.csr_matrix:
    """Presences as CSR uint8 (event, species): rows in the order of `event_ids`, columns in the order of the list.

    A zero is an absence only where the event's `sampling` is presence-absence. Species outside the list are not in it, by its meaning.
    Raises OccurrenceError for an unknown or repeated event id.
    """
    cells, _ = _present(occurrence_set, species_list, event_ids)
    shape = (len(event_ids), len(species_list))
    return sp.csr_matrix((np.ones(len(cells[0]), np.uint8), cells), shape=shape, dtype=np.uint8)


def abundance_matrix(
    occurrence_set: OccurrenceSet, species_list: SpeciesList, event_ids: Sequence[str], *, unit: str = UNITS[COVER]
) -> sp.csr_matrix:
    """Abundances as CSR float32 (event, species): the entries are those of `presence_matrix`, NaN where the abundance is unknown.

    `unit`: percent (of cover; Braun-Blanquet codes by their class) or individuals (on the event's plot area). A presence measured in the other
    unit is of unknown abundance. Raises OccurrenceError for an unknown or repeated event id, UsageError for another unit.
    """
    if unit not in UNITS.values() or not unit:
        raise UsageError(f"no abundance is in {unit!r}; ask for {UNITS[COVER]} or {UNITS[INDIVIDUALS]}")
    cells, rows = _present(occurrence_set, species_list, event_ids)
    values = rows["abundance"].where(rows["organismQuantityType"].map(UNITS) == unit).to_numpy(np.float32)
    return sp.csr_matrix((values, cells), shape=(len(event_ids), len(species_list)), dtype=np.float32)


def summary(occurrence_set: OccurrenceSet) -> pd.DataFrame:
    """The books: one row a dataset and table (events, occurrences): datasetID, table, read, used, rejected; read = used + rejected."""
    dataset = dict(zip(occurrence_set.events["eventID"], occurrence_set.events["datasetID"]))
    used = pd.concat(
        {
            "events": occurrence_set.events["datasetID"].value_counts(),
            "occurrences": occurrence_set.occurrences["eventID"].map(dataset).value_counts(),
        },
        names=["table", "datasetID"],
    )
    refused = occurrence_set.rejections[occurrence_set.rejections["table"] != QUANTITIES]
    rejected = refused.groupby(["table", "datasetID"])["count"].sum()
    books = pd.DataFrame({"used": used, "rejected": rejected}).fillna(0).astype(int).reset_index()
    books["read"] = books["used"] + books["rejected"]
    return books.sort_values(["datasetID", "table"], ignore_index=True)[["datasetID", "table", "read", "used", "rejected"]]


def coordinate_reasons(table: pd.DataFrame) -> pd.Series:
    """Why a row's coordinates cannot be used (``missing coordinates``, ``coordinates out of range``), empty where they can."""
    longitude, latitude = table["decimalLongitude"], table["decimalLatitude"]
    wild = (longitude.abs() > 180) | (latitude.abs() > 90)
    missing = ~np.isfinite(table["x"]) | ~np.isfinite(table["y"])
    return pd.Series(np.select([wild, missing], ["coordinates out of range", "missing coordinates"], ""), index=table.index, dtype=object)


def count_rejections(dataset_id: str, table: str, reasons: pd.Series, examples: pd.Series) -> pd.DataFrame:
    """One row a reason (empty reasons are accepted rows): how many rows of `table`, and the first example in alphabetical order."""
    frame = pd.DataFrame({"reason": reasons.astype(object), "example": examples.astype(object)})
    frame = frame[frame["reason"] != ""]
    grouped = (
        frame.groupby("reason")["example"].agg(["size", "min"]).reset_index()
        if len(frame)
        else pd.DataFrame(columns=["reason", "size", "min"])
    )
    grouped = grouped.rename(columns={"size": "count", "min": "example"}).assign(datasetID=dataset_id, table=table)
    return grouped[list(REJECTION_COLUMNS)]


def tidy_rejections(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Add counts up by dataset, table and reason; sorted, so that equal books are equal tables."""
    frames = [part for part in parts if len(part)]
    if not frames:
        return pd.DataFrame({c: pd.Series(dtype="int64" if c == "count" else str) for c in REJECTION_COLUMNS})
    keys = ["datasetID", "table", "reason"]
    added = pd.concat(frames).groupby(keys).agg(count=("count", "sum"), example=("example", "min")).reset_index()
    return added.astype({c: "int64" if c == "count" else str for c in REJECTION_COLUMNS})[list(REJECTION_COLUMNS)]


def to_grid(easting: npt.ArrayLike, northing: npt.ArrayLike, crs: str) -> tuple[npt.NDArray[np.float64], ...]:
    """Coordinates of another CRS (easting or longitude first) -> x, y (EPSG:3035, metres) and longitude, latitude (degrees).

    Coordinates that cannot be projected become NaN.
    """
    east, north = np.asarray(easting, float), np.asarray(northing, float)
    moved = (*_transformer(crs, GRID_CRS).transform(east, north), *_transformer(crs, "EPSG:4326").transform(east, north))
    return tuple(np.where(np.isfinite(values), values, np.nan) for values in moved)


@lru_cache(maxsize=16)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def _event_table(events: pd.DataFrame, sampling: str, dataset_id: str) -> pd.DataFrame:
    table = pd.DataFrame({column: _text(events, column) for column in EVENT_TEXT}, index=events.index)
    table = table.assign(**{column: _number(events, column) for column in EVENT_NUMBERS}, sampling=sampling, datasetID=dataset_id)
    year, month = _dates(_text(events, "eventDate"))
    table["year"], table["month"] = table["year"].fillna(year), table["month"].fillna(month)
    table["month"] = table["month"].where(table["month"].isin(range(1, 13)))
    table["list_length"] = table["list_length"].where(table["list_length"] >= 1)
    measured = table["sampleSizeValue"].notna()
    table["sampleSizeUnit"] = table["sampleSizeUnit"].mask(measured & (table["sampleSizeUnit"] == ""), "square metre")
    metres = table["sampleSizeUnit"].str.lower().map(SQUARE_METRES).astype(float)
    other = measured & metres.isna()
    if other.any():
        raise OccurrenceError(f"sampleSizeUnit is {table['sampleSizeUnit'][other].iloc[0]!r}; convert plot areas to 'square metre'")
    table["sampleSizeValue"] *= metres.fillna(1)
    table["sampleSizeUnit"] = table["sampleSizeUnit"].mask(measured, "square metre")
    if {"x", "y"} <= set(events.columns):
        *_, longitude, latitude = to_grid(table["x"], table["y"], GRID_CRS)
        table["decimalLongitude"] = table["decimalLongitude"].fillna(pd.Series(longitude, index=table.index))
        table["decimalLatitude"] = table["decimalLatitude"].fillna(pd.Series(latitude, index=table.index))
    elif {"decimalLongitude", "decimalLatitude"} <= set(events.columns):
        table["x"], table["y"], *_ = to_grid(table["decimalLongitude"], table["decimalLatitude"], "EPSG:4326")
    else:
        raise OccurrenceError(
            f"table has neither x, y nor decimalLongitude, decimalLatitude (it has {', '.join(map(str, events.columns))}); add one pair"
        )
    return table.reset_index(drop=True)


def _dates(written: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Year and month of ISO 8601 dates (2026, 2026-05, 2026-05-03T10:00Z), NaN where none stands; of an interval those its ends share."""
    year, month = (
        written.str.extract(pattern, expand=False).astype(float) for pattern in (r"^(\d{4})(?:-|/|$)", r"^\d{4}-(\d{2})(?:-|T|/|$)")
    )
    end = written.str.extract(r"/(\d{4})(?:-(\d{2}))?(?:-|T|$)").astype(float)
    same_year = end[0].isna() | (end[0] == year)
    return year.where(same_year), month.where(same_year & (end[0].isna() | (end[1] == month)))


def _occurrence_table(occurrences: pd.DataFrame, backbone: Backbone | None) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Rows, why each is refused, and why its quantity is."""
    rows = pd.DataFrame({c: _text(occurrences, c) for c in OCCURRENCE_TEXT}, index=occurrences.index)
    counted = (rows["organismQuantity"] == "") & (_text(occurrences, "individualCount") != "")
    rows["organismQuantity"] = rows["organismQuantity"].mask(counted, _text(occurrences, "individualCount"))
    rows["organismQuantityType"] = rows["organismQuantityType"].mask(counted, INDIVIDUALS)
    rows = rows.reset_index(drop=True)
    rows["verbatimScientificName"] = rows["verbatimScientificName"].mask(rows["verbatimScientificName"] == "", rows["scientificName"])
    quantity = read_quantities(rows["organismQuantity"], rows["organismQuantityType"])
    unread = quantity["reason"].copy()
    rows["organismQuantity"] = rows["organismQuantity"].mask(unread != "", "")
    rows["organismQuantityType"], rows["abundance"] = quantity["organismQuantityType"], quantity["abundance"]
    none, some = quantity["abundance"] == 0, (rows["organismQuantity"] != "") & (quantity["abundance"] != 0)
    status = rows["occurrenceStatus"].str.lower()
    status = status.mask((status == "") & none, "absent").replace("", "present")
    rows["occurrenceStatus"] = status
    if backbone is not None:
        names = backbone.resolve(rows["verbatimScientificName"])
        rows["scientificName"], rows["taxonID"] = names["accepted"], names["taxon_id"]
        refused = names["reason"].copy()
    else:
        rows["taxonID"] = rows["taxonID"].mask(rows["taxonID"] == "", rows["scientificName"].map(slug))
        refused = pd.Series(
            np.where((rows["scientificName"] == "") | (rows["taxonID"] == ""), "missing name", ""), index=rows.index, dtype=object
        )
    refused = refused.mask((refused == "") & ~status.isin(STATUS), "unknown occurrenceStatus")
    refused = refused.mask((refused == "") & (status == "present") & none, "present with a quantity of zero")
    return rows, refused.mask((refused == "") & (status == "absent") & some, "absent with a quantity above zero"), unread


def _with_layers(rows: pd.DataFrame, refused: pd.Series) -> pd.DataFrame:
    """The accepted rows, each with the quantities of the rows that were merged into it."""
    kept = rows[refused == ""].copy()
    told = rows[refused.isin(["", MERGED]) & (rows["occurrenceStatus"] == "present")]
    layers = told[told.duplicated(["eventID", "taxonID"], keep=False)]
    if (layers["organismQuantity"] == "").all():
        return kept
    combined = combine_layers(layers)
    at = pd.MultiIndex.from_frame(kept[["eventID", "taxonID"]])
    several = at.isin(combined.index) & (kept["occurrenceStatus"] == "present").to_numpy()
    for column in combined:
        kept.loc[several, column] = combined[column].reindex(at[several]).to_numpy()
    return kept


def _present(
    occurrence_set: OccurrenceSet, species_list: SpeciesList, event_ids: Sequence[str]
) -> tuple[tuple[np.ndarray, np.ndarray], pd.DataFrame]:
    """Presences at some events of listed species: (row, column) of each in a matrix, and their rows."""
    row_of = {event: i for i, event in enumerate(event_ids)}
    if len(row_of) != len(event_ids):
        raise OccurrenceError("event_ids repeat an event; give each once")
    unknown = set(row_of) - set(occurrence_set.events["eventID"])
    if unknown:
        raise OccurrenceError(
            f"event {min(unknown)!r} is not in the set of {len(occurrence_set.events)} events; take ids from events.eventID"
        )
    column_of = {taxon.taxon_id: i for i, taxon in enumerate(species_list)}
    present = occurrence_set.occurrences[occurrence_set.occurrences["occurrenceStatus"] == "present"]
    rows, columns = present["eventID"].map(row_of), present["taxonID"].map(column_of)
    inside = rows.notna() & columns.notna()
    return (rows[inside].to_numpy(np.int64), columns[inside].to_numpy(np.int64)), present[inside]


def _points(table: pd.DataFrame) -> gpd.GeoDataFrame:
    kept = table.astype(dict.fromkeys(EVENT_TEXT, str)).reset_index(drop=True)
    return gpd.GeoDataFrame(kept, geometry=gpd.points_from_xy(kept["x"], kept["y"]), crs=GRID_CRS)[list(EVENT_COLUMNS)]


def _text(table: pd.DataFrame, column: str) -> pd.Series:
    values = table[column] if column in table else pd.Series("", index=table.index)
    return values.astype(object).where(values.notna(), "").map(lambda v: str(v).strip()).astype(object)


def _number(table: pd.DataFrame, column: str) -> pd.Series:
    values = table[column] if column in table else pd.Series(np.nan, index=table.index)
    return pd.to_numeric(values, errors="coerce").astype(float)


def _need(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise OccurrenceError(
            f"{what} has no column {missing[0]!r} (it has {', '.join(map(str, table.columns))}); name it in Darwin Core terms"
        )


def _ids(values: pd.Series, what: str, *, unique: bool = False) -> None:
    empty = values.isna() | (values.astype(object) == "")
    if empty.any():
        raise OccurrenceError(f"{what} column {values.name} is empty in row {int(np.flatnonzero(empty)[0])}; every row needs one")
    if unique and values.duplicated().any():
        raise OccurrenceError(f"{what} hold {values.name} {values[values.duplicated()].iloc[0]!r} twice; make it unique")


def _within(events: pd.DataFrame, column: str, low: float, high: float, *, missing: bool = True) -> None:
    values = events[column].to_numpy()
    wrong = ~((values >= low) & (values <= high) & np.isfinite(values)) & ~(np.isnan(values) & missing)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise OccurrenceError(
            f"event {events['eventID'].iloc[i]} has {column} {values[i]}, wanted {low} to {high}{' or NaN' if missing else ''}; correct it"
        )


def _abundances(occurrences: pd.DataFrame) -> None:
    values = occurrences["abundance"]
    if not pd.api.types.is_float_dtype(values):
        raise OccurrenceError(f"occurrences column abundance is {values.dtype}, wanted float (NaN where unknown); use .astype(float)")
    cover = (occurrences["organismQuantityType"].map(UNITS) == UNITS[COVER]).to_numpy()
    numbers = values.to_numpy()
    wrong = np.flatnonzero((numbers < 0) | np.isinf(numbers) | (cover & (numbers > 100)))
    if wrong.size:
        row = occurrences.iloc[wrong[0]]
        raise OccurrenceError(
            f"{row.scientificName} at event {row.eventID} has abundance {row.abundance}, wanted 0 or more (cover to 100) or NaN; correct it"
        )


def _one_of(values: pd.Series, allowed: Sequence[str], what: str) -> None:
    wrong = values[~values.isin(allowed)]
    if len(wrong):
        raise OccurrenceError(f"{what} holds {wrong.iloc[0]!r}; use one of {', '.join(allowed)}")
