"""The addresses of what the planners' page asks for beside maps, below ``/api``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from geoplantnet.catalog.species_records import SPECIES_RECORDS, SpeciesRecords
from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving.answers import json_answer, to_json
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.ogc.parameters import Parameter
from geoplantnet.serving.planner.how import how_made
from geoplantnet.serving.planner.places import Places
from geoplantnet.serving.planner.records import records_told
from geoplantnet.serving.planner.species import SpeciesSearch
from geoplantnet.serving.planner.upload import read_upload

_TEXT = {"type": "string", "maxLength": 100}
_QUERY = Parameter(name="q", about="give what a person types, of at most 100 characters", schema=_TEXT)
_FAMILY = Parameter(name="family", about="give the name of a family; /api/families has them", schema=_TEXT)
_GENUS = Parameter(name="genus", about="give the name of a genus; /api/families has them", schema=_TEXT)
_LIMIT = Parameter(name="limit", about="give a whole number from 1 to 100", schema={"type": "integer", "minimum": 1, "maximum": 100})
_OFFSET = Parameter(
    name="offset", about="give a whole number of species to skip", schema={"type": "integer", "minimum": 0, "maximum": 10**6}
)


def routes(prefix: str, atlas_of: Callable[[Request], Atlas], places: Mapping[str, Places]) -> list[BaseRoute]:
    """Species and their records, families, uploads, places, and how a layer was made. `atlas_of` gives what a request may see."""
    searches: WeakKeyDictionary[Atlas, SpeciesSearch] = WeakKeyDictionary()
    opened_records: dict[Path, SpeciesRecords] = {}
    lock = threading.Lock()

    def search_of(atlas: Atlas) -> SpeciesSearch:
        with lock:  # two at once would both make it
            if atlas not in searches:
                records = atlas.taxon_records
                searches[atlas] = SpeciesSearch([records[i] for i in range(len(records))] if records else [])
            return searches[atlas]

    def records_of(atlas: Atlas) -> SpeciesRecords | None:
        path = atlas.catalog.assets.get(SPECIES_RECORDS)
        if path is None:
            return None
        with lock:
            if path not in opened_records:
                opened_records[path] = SpeciesRecords(path)
            return opened_records[path]

    def species(request: Request) -> Response:
        atlas = atlas_of(request)
        query, family, genus = (_given(request, parameter) for parameter in (_QUERY, _FAMILY, _GENUS))
        offset, limit = int(_given(request, _OFFSET) or 0), int(_given(request, _LIMIT) or 30)
        found = search_of(atlas).find(query, family=family, genus=genus)
        told = {"count": len(found), "withheld": len(atlas.withheld), "species": found[offset : offset + limit]}
        return json_answer(request, to_json(told), seal=atlas.seal)

    def species_records(request: Request) -> Response:
        atlas = atlas_of(request)
        taxon = atlas.taxon(request.path_params["id"])
        opened = records_of(atlas)
        found = opened.of(taxon.taxon_id) if opened else None
        told = records_told(atlas, taxon, found, published=opened is not None, language=request.query_params.get("lang", ""))
        return json_answer(request, to_json(told), seal=atlas.seal)

    def families(request: Request) -> Response:
        atlas = atlas_of(request)
        return json_answer(request, to_json({"families": search_of(atlas).families}), seal=atlas.seal)

    async def upload(request: Request) -> Response:
        data, name = await request.body(), request.query_params.get("name", "")
        told = await run_in_threadpool(read_upload, data, name)
        return json_answer(request, to_json(told))

    def layer_how(request: Request) -> Response:
        atlas = atlas_of(request)
        layer = atlas.layer(request.path_params["id"])
        language, scenario = (request.query_params.get(name, "") for name in ("lang", "scenario"))
        return json_answer(request, to_json(how_made(atlas, layer, language, scenario=scenario)), seal=atlas.seal)

    def place_layers(request: Request) -> Response:
        return json_answer(request, to_json({"places": [one.told() for one in places.values()]}), seal=PLACES)

    def place_list(request: Request) -> Response:
        query, limit = _given(request, _QUERY), int(_given(request, _LIMIT) or 30)
        return json_answer(request, to_json({"features": _layer(places, request).find(query, limit)}), seal=PLACES)

    def place(request: Request) -> Response:
        return json_answer(request, to_json(_layer(places, request).feature(request.path_params["feature"])), seal=PLACES)

    return [
        Route(f"{prefix}/species", species, methods=["GET"]),
        Route(f"{prefix}/species/{{id}}/records", species_records, methods=["GET"]),
        Route(f"{prefix}/families", families, methods=["GET"]),
        Route(f"{prefix}/upload", upload, methods=["POST"]),
        Route(f"{prefix}/layers/{{id}}/how", layer_how, methods=["GET"]),
        Route(f"{prefix}/places", place_layers, methods=["GET"]),
        Route(f"{prefix}/places/{{id}}", place_list, methods=["GET"]),
        Route(f"{prefix}/places/{{id}}/{{feature}}", place, methods=["GET"]),
    ]


PLACES = "places"
"""Seals answers that depend on nothing but their own bytes."""


def _given(request: Request, parameter: Parameter) -> str:
    """What the query says; empty where it does not. Raises InvalidParameter."""
    text: str = request.query_params.get(parameter.name, "")
    if text:
        parameter.check(text)
    return text


def _layer(places: Mapping[str, Places], request: Request) -> Places:
    """Raises LayerNotFound."""
    name = request.path_params["id"]
    if name not in places:
        known = ", ".join(places) or "none are mounted here"
        raise LayerNotFound(f"{shown(name)} is no layer of places; there are: {known}.{did_you_mean(name[:60], places)}")
    return places[name]
