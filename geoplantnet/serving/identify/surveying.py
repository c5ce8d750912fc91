"""/v2/survey: several species in one photo, and what that costs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import InputError
from geoplantnet.identify.photos import SURVEY as LIMITS
from geoplantnet.identify.photos import read_header
from geoplantnet.identify.survey import LEAST_TILE, Boxes, Found, Seen, Tiling, covered, gather, look, matches, summed
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.identify import schemas
from geoplantnet.serving.identify.desk import Desk, aside, told
from geoplantnet.serving.identify.identification import project_of
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.quota import SURVEY, Taken
from geoplantnet.serving.identify.uploads import Form, content_of, read_form

_SIZE = re.compile(r"([1-9]\d{0,5})\s*[xX×,]\s*([1-9]\d{0,5})", re.ASCII)
TileSize = Annotated[int, Query(ge=LEAST_TILE, le=20_000)]
TileStride = Annotated[int, Query(ge=0, le=20_000, description="0: half a tile")]
SQRT2 = math.sqrt(2)
_OF_QUERY = (
    "tile_size",
    "tile_stride",
    "multi_scale",
    "size_factor",
    "min_score",
    "max_rank",
    "show_species",
    "show_genus",
    "show_family",
    "detailed_reject",
    "multi_scale_coverage",
)
"""Parameters that a form does not hold: they would go by unseen."""
Factor = Annotated[float, Query(ge=1.1, le=10)]
Share = Annotated[float, Query(ge=0, le=1)]


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2", tags=["survey"], responses=schemas.ERRORS)

    @routes.post(
        "/survey/tiles/{project}", response_model=schemas.SurveyResult, openapi_extra=schemas.form_of(schemas.SURVEY_FORM, ("image",))
    )
    async def tiles(
        request: Request,
        project: str,
        tile_size: TileSize = 518,
        tile_stride: TileStride = 0,
        multi_scale: bool = False,
        size_factor: Factor = SQRT2,
        min_score: Share = 0.1,
        max_rank: Annotated[int, Query(ge=1, le=100)] = 1,
        show_species: bool = True,
        show_genus: bool = False,
        show_family: bool = False,
        detailed_reject: bool = False,
        multi_scale_coverage: bool = False,
    ) -> Response:
        """The species in a photo of a plot, cut into tiles. Each tile costs one credit of the survey quota."""
        tiling = _tiling(tile_size, tile_stride, multi_scale, size_factor)

        def cut(form: Form, width: int, height: int) -> tuple[int, Callable[[], Boxes]]:
            return tiling.count(width, height), lambda: tiling.boxes(width, height)

        show = [rank for rank, wanted in (("species", show_species), ("genus", show_genus), ("family", show_family)) if wanted]
        return await answer(
            request, project, cut, show=show, min_score=min_score, max_rank=max_rank, reject=detailed_reject, every=multi_scale_coverage
        )

    @routes.post(
        "/survey/custom/{project}", response_model=schemas.SurveyResult, openapi_extra=schemas.form_of(schemas.CUSTOM_FORM, ("image",))
    )
    async def custom(
        request: Request,
        project: str,
        min_score: Share = 0.1,
        max_rank: Annotated[int, Query(ge=1, le=100)] = 1,
        show_species: bool = True,
        show_genus: bool = False,
        show_family: bool = False,
        detailed_reject: bool = False,
    ) -> Response:
        """The species in parts of a photo: squares by their middles (`pixels`, x,y each) and sides (`sizes`, one for all or one each)."""
        show = [rank for rank, wanted in (("species", show_species), ("genus", show_genus), ("family", show_family)) if wanted]
        return await answer(
            request, project, _chosen, show=show, min_score=min_score, max_rank=max_rank, reject=detailed_reject, every=True
        )

    @routes.post("/cost/survey/{project}", response_model=schemas.Cost)
    async def cost(
        request: Request,
        project: str,
        size: Annotated[str, Query(description="of the photo, such as 3200x2400; in the query, or as a field of a form or of JSON")] = "",
        tile_size: TileSize = 518,
        tile_stride: TileStride = 0,
        multi_scale: bool = False,
        size_factor: Factor = SQRT2,
    ) -> Response:
        """How many credits a survey by tiles would cost."""
        project_of(desk, project)
        await desk.caller(request)
        given = size or await _sent(request)
        found = _SIZE.fullmatch(given.strip())
        if found is None:
            raise refuse(HTTPStatus.BAD_REQUEST, f"size {shown(given)} is no size; write it as 3200x2400", "parameter")
        tiling = _tiling(tile_size, tile_stride, multi_scale, size_factor)
        return told(request, {"estimated_cost": tiling.count(int(found[1]), int(found[2]))})

    async def answer(
        request: Request,
        project: str,
        cut: Callable[[Form, int, int], tuple[int, Callable[[], Boxes]]],
        *,
        show: Sequence[str],
        min_score: float,
        max_rank: int,
        reject: bool,
        every: bool,
    ) -> Response:
        boundary = content_of(request)
        flora = project_of(desk, project)
        caller = await desk.caller(request)
        body = await request.body()

        def work() -> Response:
            taken = desk.take(request, caller, SURVEY, 1)
            try:
                form = read_form(body, boundary, photos=("image", "images"), most=1)
                if misplaced := [name for name, _ in form.fields if name in _OF_QUERY]:
                    raise refuse(HTTPStatus.BAD_REQUEST, f"{misplaced[0]} is sent in the form; it belongs into the query", "parameter")
                if not form.photos:
                    raise refuse(HTTPStatus.BAD_REQUEST, "no photo is sent; send one file as image", "form")
                data = form.photos[0].data
                header = read_header(data, LIMITS)
                count, boxes = cut(form, *header.shape[::-1])
                if count > desk.settings.max_tiles:
                    message = f"{count} tiles are asked for, at most {desk.settings.max_tiles} are looked at; take larger ones"
                    raise refuse(HTTPStatus.BAD_REQUEST, message, "parameter")
                whole = desk.take(request, caller, SURVEY, count - 1) if count > 1 else taken
            except Exception as error:
                desk.failed(request, taken, error)
                raise
            try:
                pixels = desk.decoder.pixels(data, LIMITS)
                own = None if flora is None else flora.species
                seen = look(desk.identifier.network, pixels, boxes(), own, awaited=lambda: desk.awaited(request))
                shape = pixels.shape[1], pixels.shape[0]
                results = _results(desk, seen, shape, show=show, min_score=min_score, max_rank=max_rank, reject=reject, every=every)
                answer = told(request, _told(desk, project, form.photos[0].id, results, whole))
                return desk.answered(request, answer, *((taken,) if whole is taken else (taken, whole)))
            except Exception as error:
                desk.failed(request, taken, error)
                if whole is not taken:
                    desk.failed(request, whole, error)
                raise

        return await aside(work)

    return routes


def _tiling(size: int, stride: int, multi_scale: bool, factor: float) -> Tiling:
    try:
        return Tiling(size=size, stride=stride, multi_scale=multi_scale, factor=factor)
    except InputError as error:
        raise refuse(HTTPStatus.BAD_REQUEST, str(error), "parameter") from error


def _chosen(form: Form, width: int, height: int) -> tuple[int, Callable[[], Boxes]]:
    """Squares by their middles and sides. Raises Refused (400) for what is none, or not within the photo."""
    numbers = [_whole(text, "pixels") for text in _flat(form, "pixels")]
    sides = [_whole(text, "sizes") for text in _flat(form, "sizes")]
    if not numbers or len(numbers) % 2:
        raise refuse(HTTPStatus.BAD_REQUEST, f"pixels holds {len(numbers)} numbers; give x,y of the middle of each square", "form")
    count = len(numbers) // 2
    if len(sides) not in (1, count):
        raise refuse(HTTPStatus.BAD_REQUEST, f"{len(sides)} sizes for {count} squares; give one for all, or one for each", "form")
    if len(sides) == 1:
        sides = sides * count
    found = []
    for x, y, side in zip(numbers[::2], numbers[1::2], sides, strict=True):
        left, top = x - side // 2, y - side // 2
        if side < 8 or left < 0 or top < 0 or left + side > width or top + side > height:
            message = f"a square of {side} pixels around {x},{y} does not lie within the photo of {width} x {height}"
            raise refuse(HTTPStatus.BAD_REQUEST, message, "form")
        found.append((left, top, side))
    return count, lambda: np.array(found, np.int64)


def _flat(form: Form, name: str) -> list[str]:
    """Numbers of a field, however they are written: repeated, with commas, or as JSON."""
    return [part for value in form.all(name) for part in re.split(r"[\s,;\[\]]+", value) if part]


def _whole(text: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise refuse(HTTPStatus.BAD_REQUEST, f"{name} holds {shown(text)}; whole numbers of pixels are wanted", "form")
    return int(text)


async def _sent(request: Request) -> str:
    """The field `size` of a body: a form, a multipart form, or JSON."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return read_form(body, content_of(request), photos=(), most=0).one("size")
    if kind == "application/json":
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        return str(value.get("size", ""))[:100] if isinstance(value, dict) else ""
    found = re.search(r"(?:^|&)size=([^&]{1,100})", body[:10_000].decode("latin-1"))
    return found[1].replace("%C3%97", "x").replace("+", " ") if found else ""


# ---- what is answered


def _results(
    desk: Desk, seen: Seen, shape: tuple[int, int], *, show: Sequence[str], min_score: float, max_rank: int, reject: bool, every: bool
) -> dict[str, Any]:
    species = desk.facts.species
    counted = np.ones(len(seen.boxes), bool) if every else seen.boxes[:, 2] == seen.boxes[:, 2].min()
    hit = matches(seen.scores, min_score=min_score, max_rank=max_rank)
    matching = hit.any(axis=1)
    sides = seen.boxes[:, 2]
    told: dict[str, Any] = {
        "nb_sub_queries": len(seen.boxes),
        "nb_matching_sub_queries": int(matching.sum()),
        "uncovered": _round(1 - covered(seen.boxes[matching], shape)),
        "tile_size": int(sides.min()),
        "tile_stride": _stride(seen.boxes),
        "image": {"width": shape[0], "height": shape[1]},
        "species": [],
        "genus": [],
        "family": [],
    }
    if "species" in show:
        told["species"] = [_species(desk, one) for one in gather(seen, seen.scores, hit, shape, counted)]
    for rank in ("genus", "family"):
        if rank in show:
            names, scores = summed(seen.scores, [getattr(taxon, rank) for taxon in species])
            found = gather(seen, scores, matches(scores, min_score=min_score, max_rank=max_rank), shape, counted)
            told[rank] = [{"name": names[one.index], **_row(one)} for one in found]
    if reject:
        told["rejected"] = [
            {"center": {"x": x + side / 2, "y": y + side / 2}, "size": side, "plant": _round(float(plant))}
            for (x, y, side), plant in zip(seen.boxes[seen.rejected].tolist(), seen.plant[seen.rejected], strict=True)
        ]
    return told


def _stride(boxes: Boxes) -> int:
    """Pixels between squares of the smallest side; their side where there is one."""
    side = int(boxes[:, 2].min())
    steps = np.diff(np.unique(boxes[boxes[:, 2] == side, 0]))
    return int(steps.min()) if len(steps) else side


def _species(desk: Desk, one: Found) -> dict[str, Any]:
    taxon, fact = desk.facts.species[one.index], desk.facts.of[one.index]
    row: dict[str, Any] = {
        "name": f"{taxon.scientific_name} {fact.authorship}".rstrip(),
        "binomial": taxon.scientific_name,
        "taxonID": taxon.taxon_id,
        "genus": taxon.genus,
        "family": taxon.family,
        **_row(one),
    }
    return row | ({"gbif_id": int(fact.gbif)} if fact.gbif else {})


def _row(one: Found) -> dict[str, Any]:
    return {
        "coverage": _round(one.coverage),
        "max_score": _round(one.max_score),
        "count": one.count,
        "location": [
            {"center": {"x": spot.x, "y": spot.y}, "size": spot.size, "score": _round(spot.score), "organ": spot.organ}
            for spot in one.spots
        ],
    }


def _round(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 5)


def _told(desk: Desk, project: str, image: str, results: dict[str, Any], taken: Taken) -> dict[str, Any]:
    return {
        "query": {"project": project, "image": image},
        "results": results,
        "version": desk.version,
        "remainingIdentificationRequests": taken.remaining,
    }
