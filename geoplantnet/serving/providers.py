"""pygeoapi provider plug-ins over the catalog: `Coverage` (cells of the mosaic) and `Table` (features or records).

pygeoapi makes a provider object for each request, so these hold nothing: what is costly lies in the `Mosaic` and the
`FeatureTable` the configuration hands them. Our own errors pass through pygeoapi and are answered by
`geoplantnet.serving.ogc`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pygeoapi.provider.base import BaseProvider, ProviderItemNotFoundError
from pygeoapi.util import crs_transform
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from geoplantnet.catalog.product import Layer
from geoplantnet.serving.crs import CRS84, CRSS, Bounds, bounds_of, crs_of, reproject_bounds
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge
from geoplantnet.serving.mosaic import MAX_CELLS

GEOTIFF = {"name": "GTiff", "mimetype": "image/tiff; application=geotiff"}
MAX_JSON_CELLS = 250_000
"""Cells one CoverageJSON may hold (a tile of one layer): its numbers are text."""

_AXES = ("x", "y")
_SUBSET_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


class FeatureTable:
    """GeoJSON features in a fixed order, with their extents for questions of where."""

    def __init__(self, features: Sequence[Mapping[str, Any]], fields: Mapping[str, str]) -> None:
        """`features` in longitude, latitude, each with a unique `id`; `fields` are the types of their properties (JSON schema)."""
        self.fields = dict(fields)
        self._features = list(features)
        self._place = {feature["id"]: i for i, feature in enumerate(self._features)}
        self._shapes = np.array([shapely.geometry.shape(feature["geometry"]) for feature in self._features], dtype=object)

    def __deepcopy__(self, memo: dict[int, object]) -> FeatureTable:
        """Itself: pygeoapi deep-copies its configuration, and nothing here changes."""
        return self

    def select(self, bbox: Sequence[float], equal: Sequence[tuple[str, str]], words: str) -> list[int]:
        """Places of the features that meet a box, have these property values and hold all these words."""
        meets = shapely.intersects(self._shapes, shapely.box(*bbox)) if bbox else np.ones(len(self._features), bool)
        return [int(i) for i in np.flatnonzero(meets) if _has(self._features[i]["properties"], equal) and _says(self._features[i], words)]

    def feature(self, place: int) -> dict[str, Any]:
        """A copy: pygeoapi adds links and changes coordinates in place."""
        return copy.deepcopy(dict(self._features[place]))

    def by_id(self, id: str) -> dict[str, Any] | None:
        return self.feature(self._place[id]) if id in self._place else None


class Table(BaseProvider):
    """Features or records of a `FeatureTable` (the provider's `data`)."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.get_fields()

    def get_fields(self) -> dict[str, Any]:
        self._fields = {name: {"type": kind} for name, kind in self.data.fields.items()}
        return self._fields

    @crs_transform
    def query(
        self,
        offset: int = 0,
        limit: int = 10,
        resulttype: str = "results",
        bbox: Sequence[float] = (),
        properties: Sequence[tuple[str, str]] = (),
        select_properties: Sequence[str] = (),
        skip_geometry: bool = False,
        q: str | None = None,
        **ignored: Any,
    ) -> dict[str, Any]:
        """A page of features. `bbox` is in longitude, latitude."""
        found = self.data.select(bbox, properties, q or "")
        features = [self.data.feature(i) for i in found[offset : offset + limit]] if resulttype == "results" else []
        for feature in features:
            if skip_geometry:
                feature["geometry"] = None
            if select_properties:
                feature["properties"] = {name: value for name, value in feature["properties"].items() if name in select_properties}
        return {"type": "FeatureCollection", "numberMatched": len(found), "numberReturned": len(features), "features": features}

    @crs_transform
    def get(self, identifier: str, **ignored: Any) -> dict[str, Any]:
        """One feature."""
        feature = self.data.by_id(identifier)
        if feature is None:
            raise ProviderItemNotFoundError(user_msg="there is no item of this id in the collection")
        return feature


class Coverage(BaseProvider):
    """Full-resolution cells of one or more layers of a `Mosaic` (the provider's `data`); `options["layers"]` maps fields to layers."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.axes = list(_AXES)
        self.crs = crs_of(self.data.crs).uri
        self.num_bands = len(self._layers)
        self.get_fields()

    @property
    def _layers(self) -> dict[str, Layer]:
        assert self.options is not None
        return self.options["layers"]

    @property
    def _coverage_properties(self) -> dict[str, Any]:
        """What pygeoapi tells of a coverage's grid."""
        west, south, east, north = self.data.catalog.bounds
        cell = self.data.lattice(next(iter(self._layers.values()))).cell
        return {"width": round((east - west) / cell), "height": round((north - south) / cell), "resx": cell, "resy": cell}

    def get_fields(self) -> dict[str, Any]:
        self._fields = {name: {"title": layer.title, "type": "number", "x-ogc-unit": layer.unit} for name, layer in self._layers.items()}
        return self._fields

    def query(
        self,
        properties: Sequence[str] = (),
        subsets: Mapping[str, Sequence[Any]] | None = None,
        bbox: Sequence[float] = (),
        bbox_crs: str = CRS84.uri,
        format_: str = "json",
        **ignored: Any,
    ) -> Any:
        """Cells meeting a box, as CoverageJSON (values) or GeoTIFF (stored numbers with scale, offset, unit and nodata).

        `properties` choose among several layers, and must where there are several. Without a box, the whole coverage at
        the finest level that fits one answer: what the axes say. Raises InvalidParameter and TooLarge.
        """
        layers = self._chosen(properties)
        bounds = self._bounds(subsets or {}, bbox, bbox_crs)
        first, limit = next(iter(layers.values())), (MAX_JSON_CELLS if format_ == "json" else MAX_CELLS) // len(layers)
        levels = range(self.data.levels(first))
        level = 0 if subsets or bbox else next((level for level in levels if self._size(first, bounds, level) <= limit), levels[-1])
        if self._size(first, bounds, level) > limit:
            asked = f"about {self._size(first, bounds, level):.0f} cells are asked, at most {limit} fit one answer in this format"
            raise TooLarge(f"{asked}; give a smaller bbox, or f={GEOTIFF['name']}")
        read = {name: self.data.cells(layer, bounds, level) for name, layer in layers.items()}
        if any(cells.size == 0 for cells, _ in read.values()):
            raise InvalidParameter("the box asked meets no cell of the coverage; the collection's extent says where it lies")
        transform = next(iter(read.values()))[1]
        arrays = {name: cells for name, (cells, _) in read.items()}
        return (
            _coverage_json(layers, arrays, transform, self.data.crs)
            if format_ == "json"
            else _geotiff(layers, arrays, transform, self.data.crs)
        )

    def _chosen(self, properties: Sequence[str]) -> dict[str, Layer]:
        if properties:
            return {name: self._layers[name] for name in properties}
        if len(self._layers) > 1:
            raise InvalidParameter(
                f"this coverage has {len(self._layers)} fields; choose with properties=, by their names in the collection's schema"
            )
        return self._layers

    def _bounds(self, subsets: Mapping[str, Sequence[Any]], bbox: Sequence[float], bbox_crs: str) -> Bounds:
        west, south, east, north = self.data.catalog.bounds
        if subsets and bbox:
            raise InvalidParameter("bbox and subset are two ways to say the same; give one of them")
        if subsets:
            (west, east), (south, north) = _interval("x", subsets.get("x", (west, east))), _interval("y", subsets.get("y", (south, north)))
        if not bbox:
            return west, south, east, north
        crs = crs_of(bbox_crs)
        box = reproject_bounds(bounds_of(",".join(map(repr, bbox)), north_first=crs.north_first), crs.name, self.data.crs)
        if box is None:
            raise InvalidParameter(f"bbox has no image in {self.data.crs}; ask for one inside the collection's extent")
        return box

    def _size(self, layer: Layer, bounds: Bounds, level: int) -> float:
        """Cells of a level in a box, about."""
        west, south, east, north = self.data.catalog.bounds
        width, height = max(min(bounds[2], east) - max(bounds[0], west), 0), max(min(bounds[3], north) - max(bounds[1], south), 0)
        return width * height / self.data.lattice(layer, level).cell ** 2


def _interval(axis: str, values: Sequence[Any]) -> tuple[float, float]:
    numbers = [float(v) for v in values if _SUBSET_NUMBER.fullmatch(str(v))]
    if len(numbers) != len(values) or not numbers or numbers[0] > numbers[-1]:
        raise InvalidParameter(f"subset of {axis} is no interval; write it like {axis}(4000000:4100000), low before high")
    low, high = numbers[0], numbers[-1]
    return (low, high) if low < high else (low, float(np.nextafter(low, np.inf)))


def _coverage_json(layers: Mapping[str, Layer], arrays: Mapping[str, np.ma.MaskedArray], transform: Affine, crs: str) -> dict[str, Any]:
    """CoverageJSON 1.0: axes are coordinates of cell centres, rows north to south."""
    rows, columns = next(iter(arrays.values())).shape
    west, north = transform.c + transform.a / 2, transform.f + transform.e / 2
    east, south = west + (columns - 1) * transform.a, north + (rows - 1) * transform.e
    known = CRSS[crs]
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
        "parameters": {name: _parameter(layer) for name, layer in layers.items()},
        "ranges": {
            name: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": ["y", "x"],
                "shape": [rows, columns],
                "values": _values(layers[name], cells),
            }
            for name, cells in arrays.items()
        },
    }


def _parameter(layer: Layer) -> dict[str, Any]:
    observed: dict[str, Any] = {"label": {"en": layer.title}}
    parameter: dict[str, Any] = {"type": "Parameter", "description": {"en": layer.description}, "observedProperty": observed}
    if not layer.classes:
        return parameter | {"unit": {"symbol": layer.unit}}
    observed["categories"] = [{"id": f"{layer.id}:{c.value}", "label": {"en": c.label}} for c in layer.classes]
    return parameter | {"categoryEncoding": {f"{layer.id}:{c.value}": c.value for c in layer.classes}}


def _values(layer: Layer, cells: np.ma.MaskedArray) -> list[float | None]:
    scaled = np.ma.getdata(cells).astype(np.float64).ravel() * layer.scale + layer.offset
    missing = np.ma.getmaskarray(cells).ravel() | ~np.isfinite(scaled)
    return [None if gone else float(f"{value:.9g}") for value, gone in zip(scaled, missing, strict=True)]


def _geotiff(layers: Mapping[str, Layer], arrays: Mapping[str, np.ma.MaskedArray], transform: Affine, crs: str) -> bytes:
    nodata = next(iter(layers.values())).nodata
    dtype: npt.DTypeLike = np.result_type(*(cells.dtype for cells in arrays.values()))
    if nodata is None:
        nodata, dtype = np.nan, np.float32
    rows, columns = next(iter(arrays.values())).shape
    profile = {"driver": "GTiff", "compress": "deflate", "tiled": True, "interleave": "band"}
    with MemoryFile() as memory:
        with memory.open(
            **profile, count=len(layers), height=rows, width=columns, dtype=dtype, crs=crs, transform=transform, nodata=nodata
        ) as raster:
            for i, name in enumerate(layers, start=1):
                raster.write(np.ma.filled(arrays[name].astype(dtype), nodata), i)
                raster.set_band_description(i, name)
            raster.scales = [layer.scale for layer in layers.values()]
            raster.offsets = [layer.offset for layer in layers.values()]
            raster.units = [layer.unit for layer in layers.values()]
        return memory.read()


def _has(properties: Mapping[str, Any], equal: Sequence[tuple[str, str]]) -> bool:
    return all(str(properties.get(name)) == value for name, value in equal)


def _says(feature: Mapping[str, Any], words: str) -> bool:
    text = " ".join(str(value) for value in feature["properties"].values()).casefold()
    return all(word in text for word in words.casefold().split())
