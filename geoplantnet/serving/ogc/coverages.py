"""Coverages: cells of one layer or of several, as they are stored or at another size, as CoverageJSON or GeoTIFF.

pygeoapi describes them by the provider `Coverage`; it hands no cells out, since pygeoapi knows neither sizes nor scenarios.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pygeoapi.provider.base import BaseProvider
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from geoplantnet.catalog.product import Layer
from geoplantnet.errors import did_you_mean
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.crs import CRSS, Bounds, crs_of
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge
from geoplantnet.serving.mosaic import MAX_CELLS, Mosaic
from geoplantnet.serving.ogc.parameters import NUMBER, box_of, times_of

GEOTIFF = {"name": "GTiff", "mimetype": "image/tiff; application=geotiff"}
MAX_JSON_CELLS = 250_000
"""Cells one CoverageJSON may hold (a tile of one layer): its numbers are text."""
MAX_FIELDS = 100
"""Layers one answer may hold."""

_NOTHING = "the box asked meets no cell of the coverage; the collection's extent says where it lies"
_INTERVAL = re.compile(rf"([xy])\((?P<low>{NUMBER})(?::(?P<high>{NUMBER}))?\)")
_SIZE = re.compile(r"([xy])\(([0-9]{1,5})\)")


class Coverage(BaseProvider):
    """What pygeoapi tells of a coverage: its grid and its fields. `data` is a `Mosaic`; `options["layers"]` maps fields to layers."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.axes = ["x", "y"]
        self.crs = crs_of(self.data.crs).uri
        self.num_bands = len(self._layers)

    @property
    def _layers(self) -> Mapping[str, Layer]:
        assert self.options is not None
        return self.options["layers"]

    @property
    def _coverage_properties(self) -> dict[str, Any]:
        """What pygeoapi tells of a coverage's grid."""
        west, south, east, north = self.data.catalog.bounds
        cell = self.data.lattice(next(iter(self._layers.values()))).cell
        return {"width": round((east - west) / cell), "height": round((north - south) / cell), "resx": cell, "resy": cell}

    @property
    def fields(self) -> dict[str, Any]:
        """Made when they are asked for: there may be thousands."""
        return {name: {"title": layer.title, "type": "number", "x-ogc-unit": layer.unit} for name, layer in self._layers.items()}

    def get_fields(self) -> dict[str, Any]:
        return self.fields


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells of some layers on one lattice, rows north to south."""

    layers: Mapping[str, Layer]
    """By the name of the field."""
    arrays: Mapping[str, np.ma.MaskedArray]
    """Stored numbers (y, x), masked = no data."""
    coding: Mapping[str, tuple[float, float, float]]
    """Scale, offset and the stored number that means no data (NaN: none does): value = stored * scale + offset."""
    transform: Affine
    crs: str


def coverage(atlas: Atlas, layers: Mapping[str, Layer], query: Mapping[str, str]) -> tuple[bytes | dict[str, Any], dict[str, str]]:
    """Answer a checked query for some of `layers`: a GeoTIFF's bytes or a CoverageJSON, and headers.

    Without a size, cells meeting the box as they are stored; without a box either, the whole at the finest level that fits one answer.
    Raises InvalidParameter, InvalidDimensionValue and TooLarge.
    """
    chosen = _chosen(layers, query.get("properties", ""))
    first = next(iter(chosen.values()))
    epoch = epoch_of(atlas, first, query)
    shown = {name: atlas.shown_by(layer, epoch) for name, layer in chosen.items()}
    as_json = query.get("f", "json") == "json"
    limit = (MAX_JSON_CELLS if as_json else MAX_CELLS) // len(shown)
    bounds = _bounds(epoch.mosaic, query)
    size = _size(epoch.mosaic, first, bounds, query)
    cells = _resampled(epoch.mosaic, shown, bounds, size, limit) if size else _stored(epoch.mosaic, shown, bounds, limit, query)
    if any(array.size == 0 for array in cells.arrays.values()):
        raise InvalidParameter(_NOTHING)
    headers = {"Content-Crs": f"<{CRSS[cells.crs].uri}>"}
    return (coverage_json(cells) if as_json else geotiff(cells)), headers


def epoch_of(atlas: Atlas, layer: Layer, query: Mapping[str, str]) -> Epoch:
    """The epoch that `datetime` and `scenario` choose. Raises InvalidDimensionValue."""
    time = query.get("datetime", "")
    start, end = times_of(time) if time else (None, None)
    known = [moment.isoformat() for moment in (start, end) if moment]
    return atlas.epoch(layer, time="/".join(known), scenario=query.get("scenario", ""))


def _chosen(layers: Mapping[str, Layer], properties: str) -> dict[str, Layer]:
    names = [name for name in properties.split(",") if name]
    if not names:
        if len(layers) > 1:
            raise InvalidParameter(
                f"this coverage has {len(layers)} fields; choose with properties=, by their names in the collection's schema"
            )
        return dict(layers)
    if len(names) > MAX_FIELDS:
        raise TooLarge(f"{len(names)} fields are asked at once, at most {MAX_FIELDS} fit one answer")
    for name in names:
        if name not in layers:
            raise InvalidParameter(f"{name!r} is no field of this coverage.{did_you_mean(name[:60], layers)}")
    return {name: layers[name] for name in names}


def _bounds(mosaic: Mosaic, query: Mapping[str, str]) -> Bounds | None:
    """The box asked for in the mosaic's CRS; None for everything."""
    if "subset" in query and "bbox" in query:
        raise InvalidParameter("bbox and subset are two ways to say the same; give one of them")
    if "subset" in query:
        west, south, east, north = mosaic.catalog.bounds
        found = {"x": (west, east), "y": (south, north)}
        for part in _INTERVAL.finditer(query["subset"]):
            low = float(part["low"])
            high = float(part["high"]) if part["high"] else float(np.nextafter(low, np.inf))
            if low > high:
                raise InvalidParameter(f"subset of {part[1]} is no interval; write it like {part[1]}(4000000:4100000), low before high")
            found[part[1]] = low, high if high > low else float(np.nextafter(low, np.inf))
        return found["x"][0], found["y"][0], found["x"][1], found["y"][1]
    box = box_of(query)
    if box is None:
        return None
    bounds = box.bounds_in(mosaic.crs)
    if bounds is None:
        raise InvalidParameter(_NOTHING)
    return bounds


def _size(mosaic: Mosaic, layer: Layer, bounds: Bounds | None, query: Mapping[str, str]) -> tuple[int, int] | None:
    """Columns and rows asked for; None for the cells themselves."""
    if "scale-size" in query and "scale-factor" in query:
        raise InvalidParameter("scale-size and scale-factor are two ways to say the same; give one of them")
    if "scale-size" in query:
        sizes = {part[1]: int(part[2]) for part in _SIZE.finditer(query["scale-size"])}
        if sizes.keys() != {"x", "y"}:
            raise InvalidParameter("scale-size names one axis twice; write it like x(400),y(400)")
        return sizes["x"], sizes["y"]
    if "scale-factor" not in query:
        return None
    west, south, east, north = _inside(mosaic, bounds)
    cell = mosaic.lattice(layer).cell * float(query["scale-factor"])
    return max(math.ceil((east - west) / cell), 1), max(math.ceil((north - south) / cell), 1)


def _inside(mosaic: Mosaic, bounds: Bounds | None) -> Bounds:
    """The box, cut to where there are tiles."""
    west, south, east, north = mosaic.catalog.bounds
    if bounds is None:
        return west, south, east, north
    cut = max(west, bounds[0]), max(south, bounds[1]), min(east, bounds[2]), min(north, bounds[3])
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise InvalidParameter(_NOTHING)
    return cut


def _resampled(mosaic: Mosaic, layers: Mapping[str, Layer], bounds: Bounds | None, size: tuple[int, int], limit: int) -> Cells:
    """Values at the centres of so many columns and rows, as a map shows them."""
    width, height = size
    if width * height > limit:
        raise TooLarge(f"{width} x {height} cells are asked, at most {limit} fit one answer in this format; ask for fewer")
    west, south, east, north = _inside(mosaic, bounds)
    crs = CRSS[mosaic.crs]
    arrays = {name: mosaic.sample(layer, crs, (west, south, east, north), width, height) for name, layer in layers.items()}
    transform = Affine((east - west) / width, 0, west, 0, -(north - south) / height, north)
    return Cells(layers=layers, arrays=arrays, coding=dict.fromkeys(layers, (1.0, 0.0, math.nan)), transform=transform, crs=mosaic.crs)


def _stored(mosaic: Mosaic, layers: Mapping[str, Layer], bounds: Bounds | None, limit: int, query: Mapping[str, str]) -> Cells:
    first = next(iter(layers.values()))
    around = bounds or mosaic.catalog.bounds
    levels = range(mosaic.levels(first))
    level = 0 if bounds else next((level for level in levels if _cells(mosaic, first, around, level) <= limit), levels[-1])
    if _cells(mosaic, first, around, level) > limit:
        asked = f"about {_cells(mosaic, first, around, level):.0f} cells are asked, at most {limit} fit one answer in this format"
        raise TooLarge(f"{asked}; give a smaller bbox, a scale-factor, or f={GEOTIFF['name']}")
    read = {name: mosaic.cells(layer, around, level) for name, layer in layers.items()}
    fields = {name: mosaic.field(layer, "value") for name, layer in layers.items()}
    return Cells(
        layers=layers,
        arrays={name: cells for name, (cells, _) in read.items()},
        coding={name: (field.scale, field.offset, field.missing) for name, field in fields.items()},
        transform=next(iter(read.values()))[1],
        crs=mosaic.crs,
    )


def _cells(mosaic: Mosaic, layer: Layer, bounds: Bounds, level: int) -> float:
    """Cells of a level in a box, about."""
    west, south, east, north = mosaic.catalog.bounds
    width, height = max(min(bounds[2], east) - max(bounds[0], west), 0), max(min(bounds[3], north) - max(bounds[1], south), 0)
    return width * height / mosaic.lattice(layer, level).cell ** 2


# ---- formats


def coverage_json(cells: Cells) -> dict[str, Any]:
    """CoverageJSON 1.0: axes are coordinates of cell centres, rows north to south."""
    transform = cells.transform
    rows, columns = next(iter(cells.arrays.values())).shape
    west, north = transform.c + transform.a / 2, transform.f + transform.e / 2
    east, south = west + (columns - 1) * transform.a, north + (rows - 1) * transform.e
    known = CRSS[cells.crs]
    return {
        "type": "Coverage",
        "domain": {
            "type": "Domain",
            "domainType": "Grid",
            "axes": {"x": {"start": west, "stop": east, "num": columns}, "y": {"start": north, "stop": south, "num": rows}},
            "referencing": [
                {"coordinates": ["y", "x"] if known.north_first else ["x", "y"], "system": {"type": "ProjectedCRS", "id": known.uri}},
            ],
        },
        "parameters": {name: _parameter(layer) for name, layer in cells.layers.items()},
        "ranges": {
            name: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": ["y", "x"],
                "shape": [rows, columns],
                "values": _values(array, *cells.coding[name][:2]),
            }
            for name, array in cells.arrays.items()
        },
    }


def _parameter(layer: Layer) -> dict[str, Any]:
    observed: dict[str, Any] = {"label": {"en": layer.title}}
    parameter: dict[str, Any] = {"type": "Parameter", "description": {"en": layer.description}, "observedProperty": observed}
    if not layer.classes:
        return parameter | {"unit": {"symbol": layer.unit}}
    observed["categories"] = [{"id": f"{layer.id}:{c.value}", "label": {"en": c.label}} for c in layer.classes]
    return parameter | {"categoryEncoding": {f"{layer.id}:{c.value}": c.value for c in layer.classes}}


def _values(array: np.ma.MaskedArray, scale: float, offset: float) -> list[float | None]:
    scaled = np.ma.getdata(array).astype(np.float64).ravel() * scale + offset
    missing = np.ma.getmaskarray(array).ravel() | ~np.isfinite(scaled)
    digits = 7 if array.dtype == np.float32 else 9
    return [None if gone else float(f"{value:.{digits}g}") for value, gone in zip(scaled, missing, strict=True)]


def geotiff(cells: Cells) -> bytes:
    """A band a layer: stored numbers with scale, offset, unit and nodata where all layers share one kind of them, else values as float32."""
    arrays: dict[str, np.ma.MaskedArray] = dict(cells.arrays)
    coding = dict(cells.coding)
    kinds = {(array.dtype.str, coding[name][2]) for name, array in arrays.items()}
    dtype: npt.DTypeLike = next(iter(arrays.values())).dtype
    nodata = next(iter(coding.values()))[2]
    if len(kinds) > 1 or math.isnan(nodata) or np.dtype(dtype).kind == "f":
        for name, array in arrays.items():
            scale, offset, _ = coding[name]
            arrays[name] = np.ma.asarray(array.astype(np.float32) * np.float32(scale) + np.float32(offset))
            coding[name] = 1.0, 0.0, math.nan
        nodata, dtype = math.nan, np.float32
    rows, columns = next(iter(arrays.values())).shape
    profile = {"driver": "GTiff", "compress": "deflate", "tiled": True, "interleave": "band"}
    with MemoryFile() as memory:
        with memory.open(
            **profile, count=len(arrays), height=rows, width=columns, dtype=dtype, crs=cells.crs, transform=cells.transform, nodata=nodata
        ) as raster:
            for i, (name, array) in enumerate(arrays.items(), start=1):
                raster.write(np.ma.filled(array.astype(dtype), nodata), i)
                raster.set_band_description(i, name)
            raster.scales = [coding[name][0] for name in arrays]
            raster.offsets = [coding[name][1] for name in arrays]
            raster.units = [layer.unit for layer in cells.layers.values()]
        return memory.read()
