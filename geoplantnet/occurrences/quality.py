"""Quality checks on occurrences. An OccurrenceSet in, a smaller OccurrenceSet out, every refused row counted with its reason.

Nothing is repaired: a point that would fall in the study area with latitude and longitude exchanged is refused as such, not moved.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.occurrences.darwin_core import OccurrenceSet, count_rejections, tidy_rejections, to_grid
from geoplantnet.occurrences.thinning import thin, thin_to_grid

SWAPPED = "swapped coordinates"
OUTSIDE = "outside the study area"
ZERO = "zero coordinates"
UNCERTAIN = "coordinate uncertainty too large"
YEAR = "year outside the window"
DUPLICATE = "same taxon, place and year again"
SURVEYED = "same survey again"
NO_TILE = "outside every tile"
EMPTY = "no species left"


def check(
    occurrence_set: OccurrenceSet,
    *,
    bounds: tuple[float, float, float, float] | None = None,
    max_uncertainty: float | None = None,
    years: tuple[float, float] | None = None,
    duplicates: bool = True,
    duplicate_surveys: bool = False,
) -> OccurrenceSet:
    """Refuse events and records that fail, first reason counting: zero, swapped or outside coordinates, uncertainty, year, duplicates.

    `bounds`: west, south, east, north of the study area in EPSG:3035, metres (default: where the grid has tiles). `max_uncertainty`: metres.
    `years`: first and last, inclusive. An unknown uncertainty or year passes. `duplicates`: among presence-only events keep the first (by
    eventID) of several records of one taxon at one place (to the metre) in one year; an event left without species goes too. Presence-absence
    events are surveys of their own and are never duplicates, unless `duplicate_surveys`: then one that repeats another's place, year, plot area and
    every taxon with its status goes (a resurvey with another list stays). Raises UsageError when bounds or years are empty.
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
    if duplicate_surveys:
        reasons = reasons.mask((reasons == "") & _resurveyed(events[reasons == ""], rows).reindex(events.index, fill_value=False), SURVEYED)
    refused = rows["eventID"].map(dict(zip(events["eventID"], reasons))).astype(object)
    if duplicates:
        refused = refused.mask(_duplicated(events, rows[refused == ""]).reindex(rows.index, fill_value=False), DUPLICATE)
        emptied = set(rows["eventID"]) - set(rows.loc[refused == "", "eventID"])
        reasons = reasons.mask((reasons == "") & events["eventID"].isin(emptied), EMPTY)
    return _without(occurrence_set, reasons, refused)


def thinned(occurrence_set: OccurrenceSet, *, distance: float, grid: bool = False, seed: int = 0) -> OccurrenceSet:
    """Presence-only records thinned by taxon (`thinning.thin`, or `thinning.thin_to_grid` in cells of `distance` if `grid`), metres.

    The others are counted as refused, with the events they leave without species; surveys stay whole. A taxon's only record is always kept.
    """
    events, rows = occurrence_set.events, occurrence_set.occurrences
    place = pd.DataFrame(events[["x", "y", "sampling"]]).set_index(events["eventID"]).loc[rows["eventID"]]
    thin_out = ((place["sampling"] == "presence-only").to_numpy()) & (rows["occurrenceStatus"] == "present").to_numpy()
    kept = np.ones(len(rows), bool)
    records = place.loc[thin_out, ["x", "y"]].to_numpy(float)
    kept[thin_out] = (thin_to_grid if grid else thin)(records, rows.loc[thin_out, "taxonID"].to_numpy(str), distance, seed=seed)
    what = f"another record of the taxon in its {distance:g} m cell" if grid else f"within {distance:g} m of a record of the taxon"
    refused = pd.Series(np.where(kept, "", what), index=rows.index, dtype=object)
    emptied = set(rows["eventID"]) - set(rows.loc[kept, "eventID"])
    reasons = pd.Series(np.where(events["eventID"].isin(emptied), EMPTY, ""), index=events.index, dtype=object)
    return _without(occurrence_set, reasons, refused)


def in_tiles(occurrence_set: OccurrenceSet, grid: TileGrid, tile_ids: Iterable[str], *, sampling: str = "presence-only") -> OccurrenceSet:
    """Events of one `sampling` outside all of `tile_ids` refused and counted with their records; others stay wherever they are."""
    events, rows = occurrence_set.events, occurrence_set.occurrences
    inside = pd.Series(grid.tile_ids_at(events["x"], events["y"]), index=events.index, dtype=object).isin(set(tile_ids))
    reasons = pd.Series(np.where(inside | (events["sampling"] != sampling), "", NO_TILE), index=events.index, dtype=object)
    return _without(occurrence_set, reasons, rows["eventID"].map(dict(zip(events["eventID"], reasons))).astype(object))


def share_inside(uncertainty: npt.ArrayLike, side: float, *, unknown: float = 0.0) -> npt.NDArray[np.float32]:
    """Weight of records by what their place is worth, (n,) in (0, 1]: the share of the uncertainty disc inside a window of `side` metres.

    The true place is uniform in a disc of radius r (`coordinateUncertaintyInMeters`) around the stated one, the window a square of half side a
    around it (the cell or patch that the predictors are read from). The share of the disc in the square is

        1                                                    r <= a
        1 - 4 (acos(a / r) - (a / r) sqrt(1 - (a / r)^2)) / pi   a < r < sqrt(2) a    (four segments cut off)
        4 a^2 / (pi r^2)                                     r >= sqrt(2) a           (the square lies in the disc)

    An unknown uncertainty (NaN) is taken to be `unknown` metres. Raises UsageError for a side that is not positive or a negative radius.
    """
    radius = np.asarray(uncertainty, float)
    radius = np.where(np.isnan(radius), unknown, radius)
    if not side > 0 or (radius < 0).any():
        raise UsageError(
            f"a window of {side} m and uncertainties from {radius.min(initial=0)} m have no share; use a positive side, radii of 0 or more"
        )
    t = np.minimum(side / 2 / np.maximum(radius, 1e-9), 1)
    cut = 1 - 4 * (np.arccos(t) - t * np.sqrt(1 - t**2)) / np.pi
    return np.where(t <= np.sqrt(0.5), 4 * t**2 / np.pi, cut).astype(np.float32)


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


def _resurveyed(events: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Which presence-absence events repeat an earlier one (by eventID): place to the metre, year, plot area, every taxon and its status."""
    surveys = pd.DataFrame(events[events["sampling"] == "presence-absence"]).sort_values("eventID", kind="stable")
    of_surveys = rows[rows["eventID"].isin(surveys["eventID"])].sort_values("taxonID", kind="stable")
    entry = of_surveys["taxonID"].astype(str) + "=" + of_surveys["occurrenceStatus"].astype(str)
    lists = entry.groupby(of_surveys["eventID"]).agg("\n".join)
    key = pd.DataFrame(
        {
            "x": surveys["x"].round(),
            "y": surveys["y"].round(),
            "year": surveys["year"].fillna(-1),
            "area": surveys["sampleSizeValue"].fillna(-1),
            "taxa": [lists.get(event, "") for event in surveys["eventID"]],
        }
    )
    return key.duplicated()


def _without(occurrence_set: OccurrenceSet, reasons: pd.Series, refused: pd.Series) -> OccurrenceSet:
    """The set without events and rows that have a reason, which are counted by data set."""
    events, rows = occurrence_set.events, occurrence_set.occurrences
    dataset = rows["eventID"].map(dict(zip(events["eventID"], events["datasetID"])))
    counted = [occurrence_set.rejections]
    for name in sorted(events["datasetID"].unique()):
        counted.append(count_rejections(name, "events", reasons[events["datasetID"] == name], events["eventID"]))
        counted.append(count_rejections(name, "occurrences", refused[dataset == name], rows["verbatimScientificName"]))
    kept = rows[refused == ""].reset_index(drop=True)
    return OccurrenceSet(events[reasons == ""].reset_index(drop=True), kept, tidy_rejections(counted))
