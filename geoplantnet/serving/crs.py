"""The coordinate reference systems maps are offered in, and the order of their axes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import cached_property

import pyproj

from geoplantnet.errors import did_you_mean
from geoplantnet.serving.exceptions import InvalidCrs, InvalidParameter, shown

Bounds = tuple[float, float, float, float]
"""West, south, east, north: easting or longitude first, whatever the CRS says about its axes."""

_FARTHEST = 1e9
"""Coordinates beyond are refused: no CRS of ours reaches so far, and differences of huge floats overflow."""


@dataclass(frozen=True)
class Crs:
    """One coordinate reference system by the name clients use."""

    name: str
    """Such as ``EPSG:3035`` or ``CRS:84``."""
    uri: str
    """The name in OGC APIs."""

    @cached_property
    def definition(self) -> pyproj.CRS:
        """What PROJ knows of it."""
        return pyproj.CRS.from_user_input(_in_proj(self.name))

    @cached_property
    def north_first(self) -> bool:
        """Whether its first axis points north: told by the definition itself, never by a list of codes."""
        return self.definition.axis_info[0].direction.lower() == "north"


CRSS: dict[str, Crs] = {
    crs.name: crs
    for crs in (
        *(Crs(f"EPSG:{code}", f"http://www.opengis.net/def/crs/EPSG/0/{code}") for code in (3035, 3857, 4326)),
        Crs("CRS:84", "http://www.opengis.net/def/crs/OGC/1.3/CRS84"),
    )
}
CRS84 = CRSS["CRS:84"]


def crs_of(name: str) -> Crs:
    """The CRS called `name` (``EPSG:3035``, or its OGC URI). Raises InvalidCrs."""
    for crs in CRSS.values():
        if name.upper() == crs.name or name in (crs.uri, f"[{crs.name}]"):
            return crs
    raise InvalidCrs(f"CRS {shown(name)} is not offered; use one of {', '.join(CRSS)}.{did_you_mean(name[:20].upper(), CRSS)}")


def bounds_of(text: str, *, north_first: bool) -> Bounds:
    """Four numbers, minimum corner then maximum corner, as west, south, east, north. Raises InvalidParameter."""
    parts = text.split(",")
    try:
        first_low, second_low, first_high, second_high = (float(part) for part in parts)
    except ValueError:
        raise InvalidParameter(f"BBOX {shown(text)} is not four numbers separated by commas") from None
    west, south, east, north = (
        (second_low, first_low, second_high, first_high) if north_first else (first_low, second_low, first_high, second_high)
    )
    if not all(math.isfinite(v) and abs(v) <= _FARTHEST for v in (west, south, east, north)):
        raise InvalidParameter(f"BBOX {shown(text)} holds a number that is not finite or beyond {_FARTHEST:.0e}")
    if west >= east or south >= north:
        order = "south, west, north, east" if north_first else "west, south, east, north"
        raise InvalidParameter(f"BBOX {shown(text)} has no area: its axes are read as {order}, minimum before maximum")
    return west, south, east, north


@functools.lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """Easting-first transformer of points between two CRS given by name (of boxes: `reproject_bounds`). Safe to share between threads."""
    ends = _in_proj(source), _in_proj(target)
    if source in CRSS and target in CRSS:
        # pyproj makes a transformer anew in each thread, where PROJ looks for all operations between the two, for some 40 ms of every new
        # thread; between these CRS all come to the same, so that the first is as good as any
        first = pyproj.transformer.TransformerGroup(*ends, always_xy=True).transformers[0]
        return pyproj.Transformer.from_pipeline(first.definition)
    return pyproj.Transformer.from_crs(*ends, always_xy=True)


@functools.lru_cache(maxsize=64)
def _of_boxes(source: str, target: str) -> pyproj.Transformer:
    """One that knows its CRS: a box in degrees may cross the antimeridian or hold a pole, of which a pipeline knows nothing."""
    return pyproj.Transformer.from_crs(_in_proj(source), _in_proj(target), always_xy=True)


def reproject_bounds(bounds: Bounds, source: str, target: str) -> Bounds | None:
    """The box around `bounds` in another CRS, its edges followed and not only its corners. None where it has no image."""
    if source == target:
        return bounds
    try:
        box = _of_boxes(source, target).transform_bounds(*bounds, densify_pts=51)
    except pyproj.exceptions.ProjError:
        return None
    west, south, east, north = box
    return (west, south, east, north) if all(math.isfinite(v) for v in box) and west < east and south < north else None


def _in_proj(name: str) -> str:
    return "OGC:CRS84" if name == "CRS:84" else name
