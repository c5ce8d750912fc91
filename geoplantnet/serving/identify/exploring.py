"""What is known of a species and of a place: /v2/species/{taxonID} and /v2/prediction/geo/species. Photos by their sealed addresses."""

from __future__ import annotations

import threading
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.catalog.species_records import SPECIES_RECORDS, SpeciesRecords
from geoplantnet.errors import LayerNotFound, UnknownSpecies
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge
from geoplantnet.serving.identify import schemas
from geoplantnet.serving.identify.desk import Desk, aside, number, told
from geoplantnet.serving.identify.identification import Lang, image_told
from geoplantnet.serving.identify.media import is_open
from geoplantnet.serving.identify.prior import positions_on_map
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.sightings import photos_of
from geoplantnet.serving.ogc.areas import area_of, rows_of, survey, tiles_of
from geoplantnet.serving.ogc.jobs import Budget
from geoplantnet.serving.planner.records import records_told
from geoplantnet.taxonomy import SpeciesList, Taxon

PHOTOS = 24
"""Observations whose photos are told of a species."""
_MOST_TILES = 4
"""Tiles of the map that a box may meet."""
_SECONDS = 20.0


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2", responses=schemas.ERRORS)
    maps = _Maps(desk.facts.species)

    @routes.get("/species/{taxon_id}", tags=["species"], response_model=schemas.SpeciesFacts)
    async def species(request: Request, taxon_id: str, lang: Lang = "en") -> Response:
        """A species: its names, photos, when it was seen, how high it grows, and its map."""
        language = desk.language(lang)
        await desk.caller(request)
        try:
            i = desk.facts.species.index_of(taxon_id)
        except UnknownSpecies as error:
            raise refuse(HTTPStatus.NOT_FOUND, str(error), "species") from error
        return told(request, await aside(lambda: _species(desk, maps, i, language, desk.site(request))))

    @routes.get("/prediction/geo/species", tags=["map"], response_model=schemas.SpeciesOfBox)
    async def species_of_box(
        request: Request,
        topLeftLon: Annotated[str, Query()],
        topLeftLat: Annotated[str, Query()],
        bottomRightLon: Annotated[str, Query()],
        bottomRightLat: Annotated[str, Query()],
        lang: Lang = "en",
        least: Annotated[float, Query(ge=0, le=1, description="share of the box a species covers at least")] = 0.0,
    ) -> Response:
        """The species that the map predicts in a box, the widest spread first. Those withheld from maps are counted, not named."""
        language = desk.language(lang)
        await desk.caller(request)
        west, east = (number(text, name, -180, 180) for text, name in ((topLeftLon, "topLeftLon"), (bottomRightLon, "bottomRightLon")))
        north, south = (number(text, name, -90, 90) for text, name in ((topLeftLat, "topLeftLat"), (bottomRightLat, "bottomRightLat")))
        if not (west < east and south < north):
            message = f"the box reaches from longitude {west:g} to {east:g} and from latitude {north:g} down to {south:g}: it has no area"
            raise refuse(HTTPStatus.BAD_REQUEST, message, "parameter")
        if desk.atlas is None:
            raise refuse(HTTPStatus.NOT_FOUND, "this server has no maps: it was started without a catalog", "maps")
        atlas = desk.atlas()
        found = await aside(lambda: _predicted(desk, maps, atlas, (west, south, east, north), least, language))
        return told(request, found, seal=atlas.seal + desk.version)

    @routes.get("/media/{path:path}", tags=["service"], response_class=Response)
    async def media(request: Request, path: str) -> Response:
        """A photo, by the address that an answer gave."""
        photo = await aside(lambda: desk.media.answer(path))
        policy = {"Cache-Control": photo.cached, "Content-Security-Policy": "default-src 'none'; sandbox"}
        return Response(photo.data, media_type=photo.media_type, headers=policy)

    return routes


class _Maps:
    """The maps' species beside the net's, and what records show of them; opened once."""

    def __init__(self, species: SpeciesList) -> None:
        self._net = species
        self._lock = threading.Lock()
        self._opened: dict[Path, SpeciesRecords] = {}
        self._positions: tuple[str, npt.NDArray[np.intp]] = ("", np.empty(0, np.intp))

    def positions(self, atlas: Atlas) -> npt.NDArray[np.intp]:
        """As `positions_on_map`, of the net's species."""
        with self._lock:
            if self._positions[0] != atlas.seal:
                self._positions = atlas.seal, positions_on_map(atlas, self._net)
            return self._positions[1]

    def shown(self, atlas: Atlas, i: int) -> Taxon | None:
        """A species of the net as the map knows it; None for one that has no map, or whose map is not shown."""
        at = int(self.positions(atlas)[i])
        return atlas.species.species[at] if atlas.species is not None and at >= 0 else None

    def records(self, atlas: Atlas, taxon: Taxon, language: str) -> dict[str, Any]:
        """What records show of a species of the map, as the planners' page tells it."""
        path = atlas.catalog.assets.get(SPECIES_RECORDS)
        opened = None
        if path is not None:
            with self._lock:
                opened = self._opened.get(path) or self._opened.setdefault(path, SpeciesRecords(path))
        return records_told(atlas, taxon, opened.of(taxon.taxon_id) if opened else None, published=opened is not None, language=language)


def _species(desk: Desk, maps: _Maps, i: int, language: str, site: str) -> dict[str, Any]:
    taxon = desk.facts.species[i]
    months: tuple[int, ...] = (0,) * 12
    count, photos = 0, []
    hidden = desk.sensitive.any([(taxon.taxon_id, taxon.scientific_name)])
    if desk.store is not None:
        months, count, rows = desk.store.of_taxon(taxon.taxon_id, limit=PHOTOS)
        unseen = desk.sensitive.hidden(desk.store, rows["occurrenceID"].tolist())
        photos = [
            photo
            for record in rows.to_dict("records")
            if is_open(str(record["license"])) and not hidden and record["occurrenceID"] not in unseen
            for photo in photos_of(desk, record, str(record["rightsHolder"] or record["recordedBy"]), site)
        ]
    index = desk.identifier.index
    if index is not None and len(photos) < PHOTOS and not hidden:
        known = {photo["id"] for photo in photos}
        more = [image for image in index.of_species(taxon.taxon_id) if is_open(image.license) and image.image not in known]
        gone = desk.not_shown(more)
        there = (image for image in more if image.observation not in gone)
        photos += [image_told(desk, image, site) for image in islice(there, PHOTOS - len(photos))]
    atlas = desk.atlas() if desk.atlas is not None else None
    on_map = maps.shown(atlas, i) if atlas is not None else None
    altitude = None
    if atlas is not None and on_map is not None:
        seen = maps.records(atlas, on_map, language)
        altitude = (seen["altitudes"] or {}).get("classes")
        if not count:  # the store has seen none: what the map was made from
            months, count = tuple((seen["months"] or {}).get("counts", months)), seen["records"] or 0
    return {
        **desk.facts.listed(i, language),
        **desk.facts.described(i, language),
        "months": list(months),
        "recordCount": count,
        "altitude": altitude,
        "images": photos,
        "map": {"layer": f"species.{on_map.taxon_id}", "wms": f"{site}/wms"} if on_map is not None else None,
    }


def _predicted(
    desk: Desk, maps: _Maps, atlas: Atlas, box: tuple[float, float, float, float], least: float, language: str
) -> dict[str, Any]:
    records, epoch = atlas.taxon_records, atlas.today
    if records is None or atlas.species is None:
        raise LayerNotFound("no species are mapped here; the store was published without them")
    try:
        area = area_of({"bbox": list(box)}, epoch.catalog.crs)
        tiles = tiles_of(epoch, area, _MOST_TILES)
        cover = survey(epoch, area, tiles, atlas.species.species.hash, Budget(_SECONDS)).cover
    except (InvalidParameter, TooLarge) as error:
        outside = "outside the map" in str(error)
        raise refuse(HTTPStatus.NOT_FOUND if outside else HTTPStatus.BAD_REQUEST, str(error), "parameter") from error
    own, rows = atlas.species.species, []
    of_net = {own[int(at)].taxon_id: i for i, at in enumerate(maps.positions(atlas)) if at >= 0}
    for row in rows_of(records, cover, least):
        i = of_net.get(row["taxonID"])
        common = [row["vernacularName"]] if row["vernacularName"] else []
        rows.append(
            {
                "id": row["taxonID"],
                "scientificNameWithoutAuthor": row["scientificName"],
                "scientificNameAuthorship": desk.facts.of[i].authorship if i is not None else "",
                "genus": row["genus"] or "",
                "family": row["family"] or "",
                "commonNames": desk.facts.common_names(i, language) if i is not None else common,
                "coverage": row["coverage"],
                "probability": row["probability"],
                "identifiable": i is not None,
            }
        )
    return {
        "bbox": list(box),
        "results": rows,
        "withheld": len(atlas.withheld),
        "cells": float(np.round(cover.cells, 2)),
        "partial": cover.partial,
        "notice": atlas.catalog.notice,
        "title": atlas.catalog.title,
        "license": atlas.catalog.license,
        "version": atlas.version,
    }
