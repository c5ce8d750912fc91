"""What can be computed: species in an area, a report of it, a file of it, and, for an operator, the map of a tile."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from rasterio.features import geometry_mask

from geoplantnet import __version__
from geoplantnet.catalog import PublishedTile
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas, Epoch, open_atlas
from geoplantnet.serving.crs import CRS84
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge, shown
from geoplantnet.serving.languages import LANGUAGES, notice_in, title_in
from geoplantnet.serving.mosaic import MAX_CELLS
from geoplantnet.serving.ogc.areas import (
    Area,
    Cover,
    Survey,
    area_of,
    groups_of,
    habitats_of,
    indicators_of,
    number,
    rows_of,
    survey,
    tiles_of,
)
from geoplantnet.serving.ogc.coverages import GEOTIFF, MAX_FIELDS, Cells, geotiff
from geoplantnet.serving.ogc.jobs import Budget, Result
from geoplantnet.serving.ogc.rows import Chosen, GeoPackageRows
from geoplantnet.serving.report import DRAWN, FORMATS, Words, asked_layer, clean, filename, layers_of, pictures_of, written

Inputs = Mapping[str, Any]
Operator = Callable[[str], Mapping[str, Any]]
"""Maps a tile, named by its id, and tells what came of it."""

MAP_TILE = "map-tile"
GRANT = f"process.{MAP_TILE}"
"""What a key has to open for it."""
SYNC_S = 30
"""Seconds a request waits for a process."""
SYNC_TILES, ASYNC_TILES = 16, 1000
"""Tiles a request goes through, and a job."""
MOST_ROWS = 500_000
"""Rows of one exported GeoPackage."""
HEADER = "Predicted, not observed"
"""What every answer to a person begins with."""
MEDIA_TYPE, SITE = ":media type", ":site"
"""Of inputs, what the server adds itself, which no client can name: the format of the output that is asked for, and its own public address."""
JSON = "application/json"
GEOPACKAGE = "application/geopackage+sqlite3"

_POSITION = {"type": "array", "items": {"type": "number"}, "minItems": 2}
_RINGS = {"type": "array", "items": {"type": "array", "items": _POSITION}}
_AREA = {
    "anyOf": [
        {
            "type": "object",
            "required": ["bbox"],
            "properties": {
                "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                "crs": {"type": "string", "enum": [CRS84.uri]},
            },
        },
        {
            "type": "object",
            "required": ["type", "coordinates"],
            "properties": {"type": {"type": "string", "enum": ["Polygon"]}, "coordinates": _RINGS},
        },
        {
            "type": "object",
            "required": ["type", "coordinates"],
            "properties": {"type": {"type": "string", "enum": ["MultiPolygon"]}, "coordinates": {"type": "array", "items": _RINGS}},
        },
        {
            "type": "object",
            "required": ["type", "geometry"],
            "properties": {"type": {"type": "string", "enum": ["Feature"]}, "geometry": {"type": "object"}},
        },
    ]
}
_NAMES = {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": MAX_FIELDS}


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input of a process."""

    title: str
    schema: Mapping[str, Any]
    """JSON schema (2020-12 and OpenAPI 3.0 alike)."""
    required: bool = True
    checked: bool = True
    """Whether its schema is held against it before the process runs; else the process reads it by itself."""


# A hundred thousand positions would take seconds by a schema, and `area_of` says better what is wrong with one.
_WHERE = Input(title="A GeoJSON polygon, multipolygon or feature of one, or a bbox, in longitude, latitude", schema=_AREA, checked=False)
_NAME = Input(title="What the area is called", schema={"type": "string", "maxLength": 200}, required=False)
_LANG = Input(title="Language of titles and labels", schema={"type": "string", "enum": list(LANGUAGES)}, required=False)
_LEAST = Input(title="The smallest coverage that counts, 0 to 1", schema={"type": "number", "minimum": 0, "maximum": 1}, required=False)
_EPOCH = Input(title="today, or the name of a scenario", schema={"type": "string", "maxLength": 60}, required=False)
_LAYER = Input(title="Id of the layer on the first map of a document", schema={"type": "string", "maxLength": 100}, required=False)
_LINK = Input(
    title="The part of the area's permanent link behind the address of the page, from the # on",
    schema={"type": "string", "maxLength": 200_000, "pattern": "^#[A-Za-z0-9_.~!$&'()*+,;=:@/?%-]*$"},
    required=False,
)
_COMPARE = Input(
    title="What to set beside it: a second area, or a scenario of the same one",
    schema={
        "anyOf": [
            *_AREA["anyOf"],
            {
                "type": "object",
                "required": ["scenario"],
                "properties": {"scenario": {"type": "string", "maxLength": 60}},
                "additionalProperties": False,
            },
        ]
    },
    required=False,
    checked=False,
)


@dataclass(frozen=True, kw_only=True)
class Process:
    """Something that can be computed."""

    id: str
    title: str
    description: str
    inputs: Mapping[str, Input]
    output: str
    """Name of its one output."""
    media_types: tuple[str, ...]
    run: Callable[[Atlas, Inputs, Budget, int], Result]
    """(atlas, checked inputs, budget, most tiles) -> result. Raises RequestError for inputs that mean nothing."""
    only_async: bool = False


def species_in_area(atlas: Atlas, inputs: Inputs, budget: Budget, most_tiles: int) -> Result:
    """Coverage of an area by each species."""
    return _as_json(_surveyed(atlas, inputs, budget, most_tiles)[0])


def area_report(atlas: Atlas, inputs: Inputs, budget: Budget, most_tiles: int) -> Result:
    """Species, groups of them and indicators of an area, or of two: as JSON, or as a document made of it."""
    inputs = {**inputs, "name": clean(inputs["name"]).strip()} if "name" in inputs else inputs
    sides = [inputs]
    if "compare" in inputs:
        sides.append({**inputs, **_beside(inputs["compare"])})
    told = report(atlas, inputs, budget.part(0, len(sides)), most_tiles)
    if len(sides) > 1:
        told["compare"] = report(atlas, sides[1], budget.part(1, 2), most_tiles)
    media_type = inputs.get(MEDIA_TYPE, JSON)
    if media_type == JSON:
        return _as_json(told)
    words, pictures = Words(lang=inputs.get("lang", LANGUAGES[0])), []
    for side in sides if media_type in DRAWN else ():
        epoch, area = _epoch(atlas, side), area_of(side["area"], atlas.catalog.crs)
        layers = layers_of(epoch, asked_layer(atlas, epoch, inputs.get("layer")))
        pictures.append(pictures_of(epoch, area.shape, layers, words, budget.check))
    body = written(
        told,
        media_type,
        geometries=[_geometry(side["area"]) for side in sides],
        pictures=pictures,
        words=words,
        made=datetime.now(UTC).date(),
        link=f"{inputs.get(SITE, '')}/{inputs['link']}" if "link" in inputs else "",
    )
    return Result(body=body, media_type=media_type, filename=filename(told, media_type))


def _beside(told: Any) -> dict[str, Any]:
    """The inputs that are others on the second side: an area with its name, or a scenario. Raises InvalidParameter for neither."""
    if isinstance(told, dict) and "scenario" in told:
        if told.keys() != {"scenario"} or not isinstance(told["scenario"], str):
            raise InvalidParameter('compare names a scenario as {"scenario": "name"}, and nothing beside it; or it is an area')
        return told
    return {"area": told, "name": _name_in(told)}


def _name_in(told: Any) -> str:
    """The name that a feature says of itself."""
    properties = told.get("properties") if isinstance(told, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    return clean(name).strip()[:200] if isinstance(name, str) else ""


def _geometry(told: Any) -> dict[str, Any]:
    """The polygon of an area that was read already, as it was given."""
    if "type" not in told:
        west, south, east, north = told["bbox"]
        return {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}
    geometry = told["geometry"] if told["type"] == "Feature" else told
    return {"type": geometry["type"], "coordinates": geometry["coordinates"]}


def report(atlas: Atlas, inputs: Inputs, budget: Budget, most_tiles: int) -> dict[str, Any]:
    """What an area report tells, as JSON holds it. Raises RequestError for inputs that mean nothing."""
    told, found = _surveyed(atlas, inputs, budget, most_tiles, indicators=True)
    species, records = told.pop("species"), atlas.taxon_records
    assert records
    told |= {"groups": groups_of(species, records, found.cover), "habitats": habitats_of(found.indicators), "indicators": found.indicators}
    return told | {"species": species}


def _surveyed(atlas: Atlas, inputs: Inputs, budget: Budget, most_tiles: int, *, indicators: bool = False) -> tuple[dict[str, Any], Survey]:
    """What is told of an area and its species."""
    epoch, area = _epoch(atlas, inputs), area_of(inputs["area"], atlas.catalog.crs)
    tiles = tiles_of(epoch, area, most_tiles)
    layers = indicators_of(epoch) if indicators else ()
    least, records = inputs.get("min_coverage", 0), atlas.taxon_records
    assert records
    also = np.unique(np.concatenate([*records.of_group.values()])) if indicators else None
    found = survey(epoch, area, tiles, _list(atlas), budget, layers, inputs.get("lang", LANGUAGES[0]), also)
    cover = found.cover
    rows = rows_of(records, cover, least)
    told = _about(atlas, epoch, area, tiles, cover, inputs)
    told |= {
        "min_coverage": least,
        "count": len(rows),
        "withheld": len(atlas.withheld),
        "generalised": sum(row["generalised"] is not None for row in rows),
        "members": cover.members,
        "interval_cells": cover.from_cells if cover.members > 1 else None,
        "probability_of": f"{cover.from_cells} cells" if cover.from_cells else "means of 1 km" if cover.cells else None,
        "species": rows,
    }
    return told, found


def export(atlas: Atlas, inputs: Inputs, budget: Budget, most_tiles: int) -> Result:
    """Layers of an area as one GeoTIFF, or coverage of its reporting cells as one GeoPackage."""
    species = tuple(dict.fromkeys(inputs.get("species", ())))
    of_species = bool(species) or inputs.get("format") == "geopackage"
    epoch, area = _epoch(atlas, inputs, of_species=of_species), area_of(inputs["area"], atlas.catalog.crs)
    tiles = tiles_of(epoch, area, most_tiles)
    for taxon_id in species:
        atlas.taxon(taxon_id)
    if inputs.get("format", "geotiff") == "geopackage":
        return _geopackage(atlas, epoch, area, species, budget)
    layers = {f"{SPECIES_PREFIX}{taxon_id}": atlas.species_layer(taxon_id) for taxon_id in species}
    for name in dict.fromkeys(inputs.get("indicators", ())):
        if name not in epoch.catalog.layers:
            raise LayerNotFound(f"{name[:60]!r} is no layer of {epoch.title}; the collections of coverages name those there are")
        layers[name] = epoch.catalog.layers[name]
    if not layers:
        raise InvalidParameter("nothing is asked for; name species, indicators, or both")
    budget.step(0, 1)
    return Result(body=_raster(epoch, area, layers, len(tiles)), media_type=GEOTIFF["mimetype"], filename="export.tif")


def _raster(epoch: Epoch, area: Area, layers: Mapping[str, Layer], tiles: int) -> bytes:
    mosaic = epoch.mosaic
    sides = {mosaic.lattice(layer).cell for layer in layers.values()}
    if len(sides) > 1:
        raise InvalidParameter(f"the layers have cells of {', '.join(f'{side:g}' for side in sorted(sides))} m; ask for those of one size")
    west, south, east, north = area.shape.bounds
    size = (east - west) * (north - south) / next(iter(sides)) ** 2 * len(layers)
    if size > MAX_CELLS:
        raise TooLarge(f"about {size:.0f} cells are asked, at most {MAX_CELLS} fit one file; ask for a smaller area, or fewer layers")
    read = {name: mosaic.cells(layer, area.shape.bounds) for name, layer in layers.items()}
    transform, shape = next(iter(read.values()))[1], next(iter(read.values()))[0].shape
    if not min(shape):
        raise InvalidParameter("the area meets no cell; the extent of the collections says what is mapped")
    outside = geometry_mask([area.shape], out_shape=shape, transform=transform)
    fields = {name: mosaic.field(layer, "value") for name, layer in layers.items()}
    cells = Cells(
        layers=layers,
        arrays={name: np.ma.array(stored, mask=np.ma.getmaskarray(stored) | outside) for name, (stored, _) in read.items()},
        coding={name: (one.scale, one.offset, one.missing) for name, one in fields.items()},
        transform=transform,
        crs=mosaic.crs,
    )
    return geotiff(cells)


def _geopackage(atlas: Atlas, epoch: Epoch, area: Area, species: tuple[str, ...], budget: Budget) -> Result:
    """The reporting cells an area meets, and the rows of some species or all that are shown."""
    source = GeoPackageRows(epoch.catalog)
    shown = {taxon.taxon_id for taxon in atlas.taxa}
    wanted = species or tuple(shown)
    rows: list[tuple[str, str, str, float, float]] = []
    cells: dict[str, dict[str, Any]] = {}
    for number_, taxon_id in enumerate(sorted(wanted)):
        budget.step(number_, len(wanted))
        for row in source.page(Chosen(taxon=taxon_id, area=area.shape), 0, MOST_ROWS + 1 - len(rows)):
            cells[row.cell] = {"cell_id": row.cell, "n_cells": row.n_cells, "valid_cells": row.valid_cells, "geometry": row.shape}
            rows.append((row.cell, row.taxon, row.name, row.coverage, row.mean_probability))
        if len(rows) > MOST_ROWS:
            raise TooLarge(f"more than {MOST_ROWS} rows are asked; ask for fewer species, or a smaller area")
    if not rows:
        raise InvalidParameter("none of the species is in a reporting cell of the area; ask for others, or for a larger area")
    table = pd.DataFrame(rows, columns=["cell_id", "taxonID", "scientificName", "coverage", "mean_probability"])
    polygons = gpd.GeoDataFrame(list(cells.values()), geometry="geometry", crs="EPSG:3035")
    with tempfile.TemporaryDirectory() as folder:
        metadata = {"title": epoch.title, "notice": epoch.catalog.notice, "license": epoch.catalog.license}
        said = {row[1]: f"{row[2]}: {own.generalisation}" for row in rows if (own := atlas.sensitivity(row[1]))}
        metadata |= {"dataGeneralizations": " | ".join(said.values())} if said else {}
        path = write_coverage(Path(folder, "export.gpkg"), polygons, table, metadata)
        return Result(body=path.read_bytes(), media_type=GEOPACKAGE, filename="export.gpkg")


def _map_tile(operator: Operator) -> Callable[[Atlas, Inputs, Budget, int], Result]:
    def run(atlas: Atlas, inputs: Inputs, budget: Budget, most_tiles: int) -> Result:
        return _as_json(operator(inputs["tile"]))

    return run


PROCESSES: Mapping[str, Process] = {
    one.id: one
    for one in (
        Process(
            id="species-in-area",
            title="Species in an area",
            description="Which species are predicted in a polygon, and on what share of its cells: of every cell the species set is counted, "
            "cells on the edge by the part that lies inside. With the range of what the models of the ensemble say alone.",
            inputs={"area": _WHERE, "name": _NAME, "min_coverage": _LEAST, "scenario": _EPOCH, "lang": _LANG},
            output="species",
            media_types=(JSON,),
            run=species_in_area,
        ),
        Process(
            id="area-report",
            title="Report of an area",
            description="Species in a polygon, which of them are protected, invasive, threatened, of narrow range or trees, its vegetation, and "
            "the means of all indicators there.",
            inputs={
                "area": _WHERE,
                "name": _NAME,
                "min_coverage": _LEAST,
                "scenario": _EPOCH,
                "lang": _LANG,
                "compare": _COMPARE,
                "layer": _LAYER,
                "link": _LINK,
            },
            output="report",
            media_types=(JSON, *FORMATS),
            run=area_report,
        ),
        Process(
            id="export",
            title="Export of an area",
            description="Maps of some species and indicators in a polygon as a GeoTIFF (a cell belongs to it when its centre does), or the "
            "coverage of its reporting cells as a GeoPackage. For more than a few tiles use `geoplantnet export`.",
            inputs={
                "area": _WHERE,
                "species": Input(title="Taxon ids", schema=_NAMES, required=False),
                "indicators": Input(title="Ids of layers, for a GeoTIFF", schema=_NAMES, required=False),
                "format": Input(
                    title="geotiff or geopackage", schema={"type": "string", "enum": ["geotiff", "geopackage"]}, required=False
                ),
                "scenario": _EPOCH,
            },
            output="file",
            media_types=(GEOTIFF["mimetype"], GEOPACKAGE),
            run=export,
        ),
    )
}


def processes_of(operator: Operator | None) -> Mapping[str, Process]:
    """What a server offers; `operator` maps tiles, where somebody switched it on."""
    if operator is None:
        return PROCESSES
    one = Process(
        id=MAP_TILE,
        title="Map a tile",
        description="Runs the pipeline for a tile. The server shows it once it is started anew. Needs a key that grants " + GRANT,
        inputs={"tile": Input(title="Id of a tile", schema={"type": "string", "pattern": "^[0-9]{1,4}kmE[0-9]{1,5}N[0-9]{1,5}$"})},
        output="tile",
        media_types=(JSON,),
        run=_map_tile(operator),
        only_async=True,
    )
    return {**PROCESSES, one.id: one}


# ---- on a Dask worker


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job as plain values, for a worker that sees the store at the same path."""

    process: str
    inputs: Inputs
    store: str
    version: str
    """Of the catalog: another one is opened anew."""
    shown: frozenset[str]
    """Ids of all layers, of species too, that the client may see: what is published meanwhile is not among them."""
    seconds: float
    models: tuple[tuple[str, str], ...] = ()
    """Stores of other models by name, seen at the same paths."""
    operator: Operator | None = None


def run_elsewhere(task: Task) -> Result:
    """Do a job on a worker of a cluster."""
    process = processes_of(task.operator)[task.process]
    atlas = _opened(task.store, task.version, task.models)
    return process.run(atlas.showing(task.shown.__contains__), task.inputs, Budget(task.seconds), ASYNC_TILES)


@lru_cache(maxsize=1)
def _opened(store: str, version: str, models: tuple[tuple[str, str], ...]) -> Atlas:
    return open_atlas(store, models={name: Path(path) for name, path in models})


# ---- inside


def _epoch(atlas: Atlas, inputs: Inputs, *, of_species: bool = True) -> Epoch:
    return epoch_of(atlas, inputs.get("scenario", ""), of_species=of_species)


def epoch_of(atlas: Atlas, scenario: str, *, of_species: bool = True) -> Epoch:
    """The epoch of a scenario, or today's. Raises InvalidParameter for one there is not and, `of_species`, for one published without species."""
    if of_species and atlas.species is None:
        raise InvalidParameter("the store was published without species; publish it anew with them")
    name = scenario or atlas.today.name
    found = {epoch.name: epoch for epoch in atlas.epochs if epoch.mosaic.predictions or not of_species}
    if name not in found:
        with_them = " with species" if of_species else ""
        raise InvalidParameter(
            f"there is no scenario {shown(name)}{with_them}; use one of {', '.join(found)}.{did_you_mean(name[:60], found)}"
        )
    return found[name]


def epoch_told(epoch: Epoch, lang: str) -> dict[str, Any]:
    """An epoch as JSON tells it, its title in a language where the publisher gave it."""
    return {
        "name": epoch.name,
        "title": title_in(epoch.catalog, lang),
        "start": epoch.catalog.interval[0],
        "end": epoch.catalog.interval[1],
    }


def version_told(atlas: Atlas, epoch: Epoch) -> dict[str, Any]:
    """What made an answer: by it anybody can tell whether another one comes of the same maps. `model` is None where the catalog does not say."""
    model = epoch.catalog.made.get("model", {})
    named = " ".join(str(model[part]) for part in ("name", "version") if model.get(part))
    return {"catalog": epoch.catalog.version, "species_list": _list(atlas), "software": __version__, "model": named or None}


def _list(atlas: Atlas) -> str:
    assert atlas.species
    return atlas.species.species.hash


def _about(atlas: Atlas, epoch: Epoch, area: Area, tiles: Sequence[PublishedTile], cover: Cover, inputs: Inputs) -> dict[str, Any]:
    """What every answer tells of where, when and of which version it is."""
    lang = inputs.get("lang", LANGUAGES[0])
    return {
        "notice": notice_in(epoch.catalog, lang),
        "header": HEADER,
        "area": {
            "name": inputs.get("name") or None,
            "km2": number(area.km2),
            "mapped_km2": number(cover.cells * cover.cell_area / 1e6),
            "cells": number(cover.cells),
            "tiles": len(tiles),
            "vertices": int(shapely.get_num_coordinates(area.shape)),
            "sha256": area.sha256,
            "bounds": [round(side, 7) for side in area.bounds],
            "partial": cover.partial,
        },
        "epoch": epoch_told(epoch, lang),
        "version": version_told(atlas, epoch),
        "licence": epoch.catalog.license,
    }


def _as_json(told: Mapping[str, Any]) -> Result:
    return Result(body=json.dumps(told, ensure_ascii=False, allow_nan=False).encode(), media_type=JSON)
