"""What grows here: all that is known of the one cell that holds a place, as a planner asks for it.

Straight from the source, as a click on a map (`info`): no zoom and no interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.assemblages.agreement import members_at
from geoplantnet.assemblages.latent import LatentTile
from geoplantnet.catalog import PublishedTile
from geoplantnet.catalog.product import Layer
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.exceptions import InvalidParameter, MissingParameter, shown
from geoplantnet.serving.info import APPLICABILITY
from geoplantnet.serving.languages import language_of, notice_in, told_in
from geoplantnet.serving.ogc.areas import indicators_of, number
from geoplantnet.serving.ogc.occurrences import Occurrences
from geoplantnet.serving.ogc.processes import HEADER, epoch_of, epoch_told, version_told

LISTED, MOST_LISTED = 100, 1_000
"""Species told where nothing is said of how many, and at most."""
NEAREST = 10
"""Records told."""
LEVEL = 0.9
DEVIATIONS = 1.645
"""Standard deviations to each side in which a normal variable lies nine times in ten."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is asked."""

    lon: float
    lat: float
    """Degrees."""
    scenario: str = ""
    limit: int = LISTED
    lang: str = "en"


def place_of(query: Mapping[str, str]) -> Place:
    """The parameters of a request. Raises MissingParameter, InvalidParameter."""
    limit = query.get("limit", str(LISTED))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_LISTED):
        raise InvalidParameter(f"limit={shown(limit)} is no whole number from 1 to {MOST_LISTED}")
    return Place(
        lon=_degrees(query, "lon", "longitude", 180),
        lat=_degrees(query, "lat", "latitude", 90),
        scenario=query.get("scenario", "")[:60],
        limit=int(limit),
        lang=language_of(query.get("lang", "")),
    )


def _degrees(query: Mapping[str, str], name: str, called: str, most: int) -> float:
    if not query.get(name):
        raise MissingParameter(f"{name} is missing; give the place as lat=46.39&lon=8.05, in degrees")
    try:
        value = float(query[name])
    except ValueError:
        raise InvalidParameter(f"{name}={shown(query[name])} is no number; write the {called} in degrees, with a point: 8.05") from None
    if not -most <= value <= most:
        raise InvalidParameter(f"{name}={shown(query[name])} is no {called}; it lies between -{most} and {most} degrees")
    return value


def here(atlas: Atlas, place: Place, occurrences: Occurrences | None) -> dict[str, Any]:
    """What is told of a place, as JSON holds it. Raises InvalidParameter for a scenario there is not.

    A place without data, or outside of the map, is told as such: `state`.
    """
    epoch = epoch_of(atlas, place.scenario)
    easting, northing = transformer(CRS84.name, epoch.catalog.crs).transform(place.lon, place.lat)
    known = math.isfinite(easting) and math.isfinite(northing)
    tile = tile_at(epoch, easting, northing) if known else None
    told: dict[str, Any] = {
        "state": "outside",
        "place": {
            "lon": place.lon,
            "lat": place.lat,
            "easting": round(easting, 2) if known else None,
            "northing": round(northing, 2) if known else None,
        },
        "cell": None,
        "tile": tile.id if tile else None,
        "notice": notice_in(epoch.catalog, place.lang),
        "header": HEADER,
        "applicable": None,
        "habitat": None,
        "indicators": [],
        "species": [],
        "count": 0,
        "listed": 0,
        "withheld": len(atlas.withheld),
        "threshold": None,
        "members": None,
        "records": {
            "state": "off" if occurrences is None else "ok",
            "nearest": occurrences.nearest(easting, northing, NEAREST) if occurrences is not None and known else [],
        },
        "epoch": epoch_told(epoch, place.lang),
        "version": version_told(atlas, epoch),
    }
    return told | _cell(atlas, epoch, tile, place, easting, northing) if tile else told


def tile_at(epoch: Epoch, x: float, y: float) -> PublishedTile | None:
    """The tile whose cells hold a point of the grid's CRS, west and north edges being a cell's; None where there is none."""
    for tile in epoch.catalog.tiles:
        west, south, east, north = tile.bounds
        if west <= x < east and south < y <= north:
            return tile
    return None


def _cell(atlas: Atlas, epoch: Epoch, tile: PublishedTile, place: Place, easting: float, northing: float) -> dict[str, Any]:
    predictions = epoch.mosaic.predictions
    assert predictions
    sets, size = predictions.sets(tile), predictions.cell
    west, _, _, north = tile.bounds
    row, column = math.floor((north - northing) / size), math.floor((easting - west) / size)
    left, top = west + column * size, north - row * size
    told: dict[str, Any] = {"state": "no-data", "cell": {"bounds": [left, top - size, left + size, top], "size": size}}
    threshold = float(sets.threshold[row, column])
    if math.isnan(threshold):
        return told
    opened = predictions.opened(tile)
    p = opened.at(row, column)[0]
    members = members_at(opened, row, column) if isinstance(opened, LatentTile) and opened.members > 1 else None
    present = np.zeros(sets.species, bool)
    present[sets.of(row * sets.threshold.shape[1] + column)] = True
    layers = [(layer, told_in(layer, place.lang)) for layer in indicators_of(epoch)]
    species, count = _species(atlas, p, present, members, place.limit)
    return told | {
        "state": "ok",
        "applicable": applicable(epoch, easting, northing),
        "habitat": _habitat(epoch, place.lang, easting, northing),
        "indicators": [_indicator(epoch, layer, words, easting, northing) for layer, words in layers],
        "species": species,
        "count": count,
        "listed": len(species),
        "threshold": number(threshold),
        "members": opened.members,
    }


def _species(
    atlas: Atlas, p: npt.NDArray[np.float32], present: npt.NDArray[np.bool_], members: npt.NDArray[np.float32] | None, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """The likeliest species, and how many are in the cell's set; equals in the order of the list."""
    records = atlas.taxon_records
    assert records
    own = p[records.positions]
    rows = []
    for i in np.argsort(-own, kind="stable")[:limit].tolist():
        k = records.positions[i]
        if np.isnan(own[i]):  # the rest: nothing is told of them here
            break
        each = [*members[:, k].tolist(), float(p[k])] if members is not None else None  # rounding must not leave p outside its range
        interval = {"low": number(min(each)) if each else None, "high": number(max(each)) if each else None}
        rows.append(records[i] | {"probability": number(float(p[k])), **interval, "present": bool(present[k])})
    return rows, int(present[records.positions].sum())


def _indicator(epoch: Epoch, layer: Layer, words: Layer, easting: float, northing: float) -> dict[str, Any]:
    value = epoch.mosaic.value_at(layer, easting, northing)
    low = high = None
    spread = words.uncertainty
    if value is not None and layer.uncertainty and not layer.classes:  # of a class it is told how likely it is, which is no deviation
        deviation = epoch.mosaic.value_at(layer, easting, northing, reads="uncertainty")
        if deviation is not None:
            least, most = _limits(layer)
            low, high = (number(min(max(value + side * DEVIATIONS * deviation, least), most)) for side in (-1, 1))
    return {
        "layer": layer.id,
        "title": words.title,
        "family": layer.family,
        "unit": layer.unit,
        "value": None if value is None else int(value) if layer.classes else number(value),
        "label": next((one.label for one in words.classes if one.value == value), None),
        "low": low,
        "high": high,
        "level": LEVEL,
        "uncertainty_title": spread.title if spread else None,
    }


def _limits(layer: Layer) -> tuple[float, float]:
    """What the values of a layer cannot leave: proportions 0 and 1, what is not drawn below 0 that."""
    least = 0.0 if layer.range[0] >= 0 else -math.inf
    return least, 1.0 if layer.unit == "1" and layer.range[1] <= 1 else math.inf


def _habitat(epoch: Epoch, lang: str, easting: float, northing: float) -> dict[str, Any] | None:
    for layer in epoch.catalog.layers.values():
        if layer.family == "Habitat" and layer.classes:
            value = epoch.mosaic.value_at(layer, easting, northing)
            label = next((one.label for one in told_in(layer, lang).classes if one.value == value), None)
            return {"layer": layer.id, "value": int(value), "label": label} if value is not None else None
    return None


def applicable(epoch: Epoch, easting: float, northing: float) -> bool | None:
    """Whether the cell lies in the model's area of applicability; None where nobody knows."""
    own = epoch.catalog.layers.get(APPLICABILITY)
    value = epoch.mosaic.value_at(own, easting, northing) if own else None
    return None if value is None else value == 1
