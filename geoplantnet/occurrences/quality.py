"""Quality checks on occurrences. An OccurrenceSet in, a smaller OccurrenceSet out, every refused row counted with its reason.

Nothing is repaired: a point that would fall in the study area with latitude and longitude exchanged is refused as such, not moved.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from geoplantnet.errors import UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.occurrences.darwin_core import OccurrenceSet, count_rejections, tidy_rejections, to_grid

SWAPPED = "swapped coordinates"
OUTSIDE = "outside the study area"
ZERO = "zero coordinates"
UNCERTAIN = "coordinate uncertainty too large"
YEAR = "year outside the window"
DUPLICATE = "same taxon, place and year again"
EMPTY = "no species left"


def check(
    occurrence_set: OccurrenceSet,
    *,
    bounds: tuple[float, float, float, float] | None = None,
    max_uncertainty: float | None = None,
    years: tuple[float, float] | None = None,
    duplicates: bool = True,
) -> OccurrenceSet:
    """Refuse events and records that fail, first reason counting: zero, swapped or outside coordinates, uncertainty, year, duplicates.

    `bounds`: west, south, east, north of the study area in EPSG:3035, metres (default: where the grid has tiles). `max_uncertainty`: metres.
    `years`: first and last, inclusive. An unknown uncertainty or year passes. `duplicates`: among presence-only events keep the first (by
    eventID) of several records of one taxon at one place (to the metre) in one year; an event left without species goes too. Presence-absence
    events are surveys of their own and are never duplicates. Raises UsageError when bounds or years are empty.
    """
    area = TileGrid().bounds if bounds is None else bounds
    if area[0] >= area[2] or area[1] >= area[3]:
        raise UsageError(f"bounds {area} are empty; give west, south, east, north")
    if years is not None and years[0] > years[1]:
        raise UsageError(f"years {years} are empty; give first, last")
    events, rows = occurrence_set.events, occurrence_set.occurrences
    reasons = place_reasons(events, area)
    if max_uncertainty is not None:
        reasons = reasons.mask((reasons == "") & (events["coordinateUncertaintyInMeters"] > max_uncertainty), UNCERTAIN)
    if years is not None:
        reasons = reasons.mask((reasons == "") & ((events["year"] < years[0]) | (events["year"] > years[1])), YEAR)
    refused = rows["eventID"].map(dict(zip(events["eventID"], reasons))).astype(object)
    if duplicates:
        refused = refused.mask(_duplicated(events, rows[refused == ""]).reindex(rows.index, fill_value=False), DUPLICATE)
        emptied = set(rows["eventID"]) - set(rows.loc[refused == "", "eventID"])
        reasons = reasons.mask((reasons == "") & events["eventID"].isin(emptied), EMPTY)
    dataset = rows["eventID"].map(dict(zip(events["eventID"], events["datasetID"])))
    counted = [occurrence_set.rejections]
    for name in sorted(events["datasetID"].unique()):
        counted.append(count_rejections(name, "events", reasons[events["datasetID"] == name], events["eventID"]))
        counted.append(count_rejections(name, "occurrences", refused[dataset == name], rows["verbatimScientificName"]))
    kept = rows[refused == ""].reset_index(drop=True)
    return OccurrenceSet(events[reasons == ""].reset_index(drop=True), kept, tidy_rejections(counted))


def place_reasons(events: pd.DataFrame, bounds: tuple[float, float, float, float]) -> pd.Series:
    """Why a place is refused, per event: zero coordinates, swapped coordinates (inside `bounds` when exchanged), outside; else empty."""
    longitude, latitude = events["decimalLongitude"], events["decimalLatitude"]
    inside = _inside(events["x"].to_numpy(), events["y"].to_numpy(), bounds)
    exchanged_x, exchanged_y, *_ = to_grid(latitude.where(longitude.abs() <= 90), longitude.where(longitude.abs() <= 90), "EPSG:4326")
    zero = ((longitude == 0) & (latitude == 0)).to_numpy()
    swapped = ~inside & _inside(exchanged_x, exchanged_y, bounds)
    return pd.Series(np.select([zero, swapped, ~inside], [ZERO, SWAPPED, OUTSIDE], ""), index=events.index, dtype=object)


def _inside(x: np.ndarray, y: np.ndarray, bounds: tuple[float, float, float, float]) -> np.ndarray:
    west, south, east, north = bounds
    return (x >= west) & (x < east) & (y >= south) & (y < north)


def _duplicated(events: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Which rows repeat an earlier event's taxon, place and year."""
    columns = ["eventID", "x", "y", "year", "sampling"]
    joined = rows[["eventID", "taxonID"]].merge(pd.DataFrame(events[columns]), on="eventID", how="left").set_index(rows.index)
    joined = joined[joined["sampling"] == "presence-only"].sort_values("eventID", kind="stable")
    return joined.assign(x=joined["x"].round(), y=joined["y"].round(), year=joined["year"].fillna(-1)).duplicated(
        ["taxonID", "x", "y", "year"]
    )
