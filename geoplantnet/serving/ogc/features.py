"""Collections of features and records, and the pygeoapi provider over them.

pygeoapi makes a provider object for each request, so `Table` holds nothing: what is costly lies in the `Features` that the
configuration hands it. pygeoapi would transform two corners of a box; what was asked for reaches the collections whole, by `ASKED`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import shapely
from pygeoapi.provider.base import BaseProvider, ProviderItemNotFoundError
from pygeoapi.util import crs_transform

from geoplantnet.catalog import PublishedTile
from geoplantnet.catalog.product import Layer
from geoplantnet.catalog.stac import COLLECTION
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.ogc.parameters import Box, Parameter, Q, text
from geoplantnet.taxonomy.species_list import Taxon
from geoplantnet.taxonomy.traits import TRAITS

Feature = dict[str, Any]
Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which features are asked for."""

    box: Box | None = None
    times: tuple[Any, Any] = (None, None)
    """Two moments; None = open."""
    equal: Mapping[str, str] = field(default_factory=dict)
    """Values of properties, and the collection's own parameters."""
    words: str = ""


class Features(Protocol):
    """A collection."""

    fields: Mapping[str, Schema]
    """JSON schema of each property."""
    parameters: Sequence[Parameter]
    """What may be asked of it beside box, time and page."""

    def page(self, query: Query, offset: int, limit: int) -> tuple[list[Feature], int | None]:
        """Features from `offset` on, at most `limit`, and how many there are in all; None where counting would be too dear."""
        ...

    def by_id(self, id: str) -> Feature | None:
        """One feature."""
        ...


ASKED: ContextVar[Query] = ContextVar("asked", default=Query())  # noqa: B039 - it is frozen


@contextmanager
def asking(query: Query) -> Iterator[None]:
    """Hands a query to the providers that pygeoapi makes inside."""
    token = ASKED.set(query)
    try:
        yield
    finally:
        ASKED.reset(token)


class Table(BaseProvider):
    """Features or records (the provider's `data`: a `Features`)."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self._fields = {name: dict(schema) for name, schema in self.data.fields.items()}

    def get_fields(self) -> dict[str, Any]:
        return self._fields

    @crs_transform
    def query(
        self,
        offset: int = 0,
        limit: int = 10,
        resulttype: str = "results",
        select_properties: Sequence[str] = (),
        skip_geometry: bool = False,
        **ignored: Any,
    ) -> dict[str, Any]:
        """A page of what `ASKED` asks for."""
        features, matched = self.data.page(ASKED.get(), offset, limit if resulttype == "results" else 0)
        for feature in features:
            if skip_geometry:
                feature["geometry"] = None
            if select_properties:
                feature["properties"] = {name: value for name, value in feature["properties"].items() if name in select_properties}
        found = {} if matched is None else {"numberMatched": matched}
        return {"type": "FeatureCollection", **found, "numberReturned": len(features), "features": features}

    @crs_transform
    def get(self, identifier: str, **ignored: Any) -> Feature:
        """One feature."""
        feature = self.data.by_id(identifier)
        if feature is None:
            raise ProviderItemNotFoundError(user_msg="there is no item of this id in the collection")
        return feature


class Unchanging:
    """pygeoapi deep-copies its configuration; what nothing changes need not be copied."""

    def __deepcopy__(self, memo: dict[int, object]) -> Unchanging:
        return self


# ---- meta-tiles


class MetaTiles(Unchanging):
    """The tiles of a catalog with their files, in the order of their ids."""

    fields: Mapping[str, Schema] = {name: {"type": "string"} for name in ("tile", "crs", "assets", "item")} | {
        name: {"type": "number"} for name in ("west", "south", "east", "north")
    }
    parameters: Sequence[Parameter] = (Parameter(name="tile", about="the tile of this id", schema=text()),)

    def __init__(self, atlas: Atlas, url: str) -> None:
        catalog = atlas.catalog
        self._tiles, self._url = catalog.tiles, url
        self._withheld = catalog.withheld | atlas.kept_back
        self._place = {tile.id: i for i, tile in enumerate(catalog.tiles)}
        rings = np.array([_ring(tile) for tile in catalog.tiles])
        x, y = transformer(catalog.crs, CRS84.name).transform(rings[..., 0], rings[..., 1])
        self._shapes = shapely.polygons(np.round(np.stack([x, y], axis=-1), 7))

    def page(self, query: Query, offset: int, limit: int) -> tuple[list[Feature], int | None]:
        """See `Features.page`."""
        meets = np.ones(len(self._tiles), bool)
        if query.box:
            area = query.box.polygon(CRS84.name)
            meets &= shapely.intersects(self._shapes, area) if area is not None else False
        if "tile" in query.equal:
            meets &= np.array([tile.id == query.equal["tile"] for tile in self._tiles])
        found = np.flatnonzero(meets)
        return [self._feature(int(i)) for i in found[offset : offset + limit]], len(found)

    def by_id(self, id: str) -> Feature | None:
        """See `Features.by_id`."""
        return self._feature(self._place[id]) if id in self._place else None

    def _feature(self, i: int) -> Feature:
        tile = self._tiles[i]
        west, south, east, north = tile.bounds
        properties = {
            "tile": tile.id,
            "crs": tile.crs,
            "west": west,
            "south": south,
            "east": east,
            "north": north,
            "assets": ", ".join(key for key in tile.assets if key not in self._withheld),
            "item": f"{self._url}/stac/{COLLECTION}/{tile.id}/{tile.id}.json",
        }
        return {"type": "Feature", "id": tile.id, "geometry": _polygon(self._shapes[i]), "properties": properties}


def _ring(tile: PublishedTile) -> list[tuple[float, float]]:
    west, south, east, north = tile.bounds
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def _polygon(shape: shapely.Polygon) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [shapely.get_coordinates(shape).tolist()]}


# ---- species

_TEXT = ("scientificName", "vernacularName", "family", "genus", "iucn")
_NUMBERS = ("range_squares", "specialisation", "highest_probability")


class SpeciesRecords(Unchanging):
    """Species with what is known of them, in the order of the species list. Records are made as they are asked for."""

    fields: Mapping[str, Schema] = (
        {name: {"type": "string"} for name in ("type", "title", "description", "taxonID", *_TEXT, "layer", "unit", "coverage", "map")}
        | {name: {"type": "boolean"} for name in TRAITS}
        | {name: {"type": "number"} for name in _NUMBERS}
    )
    parameters: Sequence[Parameter] = (
        Q,
        *(Parameter(name=name, about=f"records of this {name}", schema=text()) for name in ("taxonID", "layer", *_TEXT)),
        *(Parameter(name=name, about=f"records whose {name} is known to be so", schema={"type": "boolean"}) for name in TRAITS),
    )

    def __init__(self, atlas: Atlas, url: str) -> None:
        self._atlas, self._url = atlas, url
        west, south, east, north = extents(atlas.catalog)[CRS84.name]
        self._extent = shapely.box(west, south, east, north)
        self._geometry = _polygon(self._extent)
        self._taxa = taxa_of(atlas)
        self._place = {taxon.taxon_id: i for i, taxon in enumerate(self._taxa)}
        self._texts = [
            " ".join((t.taxon_id, t.scientific_name, t.vernacular_name or "", t.family or "", t.genus or "")).casefold() for t in self._taxa
        ]

    def __len__(self) -> int:
        return len(self._taxa)

    def page(self, query: Query, offset: int, limit: int) -> tuple[list[Feature], int | None]:
        """See `Features.page`."""
        if query.box:
            area = query.box.polygon(CRS84.name)
            if area is None or not shapely.intersects(area, self._extent):
                return [], 0
        words = query.words.casefold().split()
        found = [
            i
            for i, text in enumerate(self._texts)
            if all(word in text for word in words) and all(_is(self._value(i, name), value) for name, value in query.equal.items())
        ]
        return [self._record(i) for i in found[offset : offset + limit]], len(found)

    def by_id(self, id: str) -> Feature | None:
        """See `Features.by_id`."""
        return self._record(self._place[id]) if id in self._place else None

    def _value(self, i: int, name: str) -> Any:
        taxon = self._taxa[i]
        known: dict[str, Callable[[], Any]] = {
            "taxonID": lambda: taxon.taxon_id,
            "layer": lambda: f"{SPECIES_PREFIX}{taxon.taxon_id}",
            "scientificName": lambda: taxon.scientific_name,
            "vernacularName": lambda: taxon.vernacular_name or None,
            "family": lambda: taxon.family or None,
            "genus": lambda: taxon.genus or None,
            "highest_probability": lambda: self._highest(taxon.taxon_id),
        }
        return known[name]() if name in known else trait_of(self._atlas, taxon.taxon_id, name)

    def _highest(self, taxon_id: str) -> float | None:
        known = self._atlas.species
        return float(f"{known.highest[known.species.index_of(taxon_id)]:.4g}") if known else None

    def _record(self, i: int) -> Feature:
        taxon_id = self._taxa[i].taxon_id
        layer = self._atlas.species_layer(taxon_id)
        maps = f"{self._url}/ogc/collections/species-probability"
        properties: dict[str, Any] = {"type": "dataset", "title": layer.title, "description": layer.description}
        properties |= {name: self._value(i, name) for name in ("taxonID", *_TEXT, *TRAITS, *_NUMBERS, "layer")}
        properties |= {
            "unit": layer.unit,
            "coverage": f"{maps}/coverage?properties={taxon_id}",
            "map": f"{maps}/map?properties={taxon_id}",
        }
        if sensitive := self._atlas.sensitivity(taxon_id):
            properties |= {"generalised": sensitive.generalised, "dataGeneralizations": sensitive.generalisation}
        return {"type": "Feature", "id": taxon_id, "geometry": self._geometry, "properties": properties}


def taxa_of(atlas: Atlas) -> Sequence[Taxon]:
    """The species shown: those of the overview, or else of the layers that are published."""
    if atlas.species:
        return atlas.taxa
    return [
        Taxon(taxon_id=layer.id.removeprefix(SPECIES_PREFIX), scientific_name=layer.title)
        for layer in atlas.layers.values()
        if layer.id.startswith(SPECIES_PREFIX)
    ]


def hidden_taxa(atlas: Atlas) -> frozenset[str]:
    """Ids of the species that are there and not shown, or withheld."""
    if not atlas.species:
        return frozenset()
    return frozenset(taxon.taxon_id for taxon in atlas.species.species) - {taxon.taxon_id for taxon in atlas.taxa}


def trait_of(atlas: Atlas, taxon_id: str, name: str) -> Any:
    """A trait as JSON holds it: true or false, a number, a word; None where it is not known."""
    value = atlas.species.traits.get(taxon_id, {}).get(name) if atlas.species else None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return bool(value) if name in TRAITS else value


class SpeciesLayers(Mapping[str, Layer]):
    """The layer of each species by its taxon id, made when it is asked for."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._ids = {taxon.taxon_id: None for taxon in taxa_of(atlas)}

    def __deepcopy__(self, memo: dict[int, object]) -> SpeciesLayers:
        return self

    def __getitem__(self, taxon_id: str) -> Layer:
        if taxon_id not in self._ids:
            raise KeyError(taxon_id)
        return self._atlas.species_layer(taxon_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, taxon_id: object) -> bool:
        return taxon_id in self._ids


def _is(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    return str(value) == text if value is not None else False
