"""/v2/survey: several species in one photo, and what that costs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import InputError
from geoplantnet.identify.photos import SURVEY as LIMITS
from geoplantnet.identify.photos import RefusedPhoto, read_header
from geoplantnet.identify.survey import LEAST_TILE, Boxes, Found, Seen, Tiling, covered, gather, look, matches, summed
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.guard import Refused
from geoplantnet.serving.identify import schemas
from geoplantnet.serving.identify.desk import Desk, aside, told
from geoplantnet.serving.identify.identification import project_of
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.quota import SURVEY, Taken, quota_spent
from geoplantnet.serving.identify.uploads import Form, content_of, read_form

_SIZE = re.compile(r"([1-9]\d{0,5})\s*[xX×,]\s*([1-9]\d{0,5})", re.ASCII)
SQRT2 = math.sqrt(2)
_NOT_DONE = ("pyramid", "show_embeddings")
"""Of Pl@ntNet's survey, and not of this one."""


class Cut(BaseModel):
    """How a photo is cut."""

    tile_size: int = Field(518, ge=LEAST_TILE, le=20_000)
    tile_stride: int = Field(0, ge=0, le=20_000, description="0: half a tile")
    multi_scale: bool = False
    size_factor: float = Field(SQRT2, ge=1.1, le=10)


class Shown(BaseModel):
    """What is told of its squares."""

    min_score: float = Field(0.1, ge=0, le=1)
    max_rank: int = Field(1, ge=1, le=100)
    show_species: bool = True
    show_genus: bool = False
    show_family: bool = False
    detailed_reject: bool = False


class Tiled(Cut, Shown):
    """A survey by tiles."""

    multi_scale_coverage: bool = False


class Costed(Cut):
    """A survey that is only thought of."""

    size: str = Field("", description="of the photo, such as 3200x2400; all may stand in the query, in a form, or in JSON")


Asked = TypeVar("Asked", bound=BaseModel)


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2", tags=["survey"], responses=schemas.ERRORS)

    @routes.post(
        "/survey/tiles/{project}", response_model=schemas.SurveyResult, openapi_extra=schemas.form_of(schemas.SURVEY_FORM, ("image",))
    )
    async def tiles(request: Request, project: str, asked: Annotated[Tiled, Query()]) -> Response:
        """The species in a photo of a plot, cut into tiles. Each tile costs one credit of the survey quota. Parameters may stand in the form."""

        def cut(form: Form, given: Shown, width: int, height: int) -> tuple[int, Callable[[], Boxes]]:
            tiling = _tiling(given)  # type: ignore[arg-type]
            return tiling.count(width, height), lambda: tiling.boxes(width, height)

        return await answer(request, project, cut, asked)

    @routes.post(
        "/survey/custom/{project}", response_model=schemas.SurveyResult, openapi_extra=schemas.form_of(schemas.CUSTOM_FORM, ("image",))
    )
    async def custom(request: Request, project: str, asked: Annotated[Shown, Query()]) -> Response:
        """The species in parts of a photo: squares by their middles (`pixels`, x,y each) and sides (`sizes`, one for all or one each)."""
        return await answer(request, project, _chosen, asked)

    @routes.post("/cost/survey/{project}", response_model=schemas.Cost)
    async def cost(
        request: Request,
        project: str,
        asked: Annotated[Costed, Query()],
    ) -> Response:
        """How many credits a survey by tiles would cost."""
        project_of(desk, project)
        await desk.caller(request)
        given = _with(request, await _sent(request), asked)
        found = _SIZE.fullmatch(given.size.strip())
        if found is None:
            raise refuse(HTTPStatus.BAD_REQUEST, f"size {shown(given.size)} is no size; write it as 3200x2400", "parameter")
        width, height = int(found[1]), int(found[2])
        if width * height > LIMITS.pixels:
            raise RefusedPhoto(
                "too-many-pixels", f"a photo of {width} x {height} has more than {LIMITS.pixels:,} pixels; send a smaller one"
            )
        return told(request, {"estimated_cost": few_enough(_tiling(given).count(width, height))})

    def few_enough(count: int) -> int:
        if count > desk.settings.max_tiles:
            message = f"{count} tiles are asked for, at most {desk.settings.max_tiles} are looked at; take larger ones"
            raise refuse(HTTPStatus.BAD_REQUEST, message, "parameter")
        return count

    async def answer(
        request: Request,
        project: str,
        cut: Callable[[Form, Shown, int, int], tuple[int, Callable[[], Boxes]]],
        asked: Shown,
    ) -> Response:
        boundary = content_of(request)
        flora = project_of(desk, project)
        caller = await desk.caller(request)
        body = await request.body()

        def work() -> Response:
            taken = desk.take(request, caller, SURVEY, 1)
            try:
                form = read_form(body, boundary, photos=("image", "images"), most=1)
                given = _with(request, form, asked)
                for name in _NOT_DONE:
                    if (form.one(name) or request.query_params.get(name, "")).lower() not in ("", "0", "false", "no", "off"):
                        raise refuse(
                            HTTPStatus.BAD_REQUEST,
                            f"{name} is not done here; leave it out (multi_scale looks at several scales)",
                            "parameter",
                        )
                if not form.photos:
                    raise refuse(HTTPStatus.BAD_REQUEST, "no photo is sent; send one file as image", "form")
                data = form.photos[0].data
                header = read_header(data, LIMITS)
                count, boxes = cut(form, given, *header.shape[::-1])
                whole = desk.take(request, caller, SURVEY, few_enough(count) - 1) if count > 1 else taken
            except Refused as refused:
                if refused.status == HTTPStatus.TOO_MANY_REQUESTS:  # nothing was looked at
                    raise quota_spent(replace(desk.give_back(request, taken), n=count)) from refused
                desk.failed(request, taken, refused)
                raise
            except Exception as error:
                desk.failed(request, taken, error)
                raise
            looked = 0

            def go_on(squares: int) -> bool:
                nonlocal looked
                looked = squares
                return desk.awaited(request)

            try:
                pixels = desk.decoder.pixels(data, LIMITS)
                own = None if flora is None else flora.species
                seen = look(desk.identifier.network, pixels, boxes(), own, go_on=go_on)
                shape = pixels.shape[1], pixels.shape[0]
                results = _results(desk, seen, shape, given)
                return told(request, _told(desk, project, form.photos[0].id, results, whole))
            except Exception as error:
                if looked and not desk.awaited(request):  # what was looked at costs: else a survey that is too long could be asked for ever
                    desk.quota.give_back(replace(whole, n=count - looked))
                    raise
                if whole is not taken and isinstance(error, RefusedPhoto):  # a fault of the client's costs as any other: one
                    desk.give_back(request, whole)
                elif whole is not taken:
                    desk.failed(request, whole, error)
                desk.failed(request, taken, error)
                raise

        return await aside(work)

    return routes


def _with(request: Request, form: Form, asked: Asked) -> Asked:
    """What the query says, and the fields of a form beside it. Raises Refused (400) for what does not hold, and what is said twice."""
    given = {name: form.one(name) for name in type(asked).model_fields if form.one(name)}
    if twice := given.keys() & set(request.query_params):
        raise refuse(HTTPStatus.BAD_REQUEST, f"{min(twice)} is given in the query and in the form; give it once", "parameter")
    try:
        return type(asked).model_validate({**asked.model_dump(), **given})
    except ValidationError as error:
        fault = error.errors()[0]
        message = f"{fault['loc'][0]} {shown(str(fault['input']))}: {fault['msg']}"
        raise refuse(HTTPStatus.BAD_REQUEST, message, "parameter") from error


def _tiling(asked: Cut) -> Tiling:
    try:
        return Tiling(size=asked.tile_size, stride=asked.tile_stride, multi_scale=asked.multi_scale, factor=asked.size_factor)
    except InputError as error:
        raise refuse(HTTPStatus.BAD_REQUEST, str(error), "parameter") from error


def _chosen(form: Form, given: Shown, width: int, height: int) -> tuple[int, Callable[[], Boxes]]:
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


async def _sent(request: Request) -> Form:
    """The fields of a body: a form, a multipart form, or an object of JSON."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return read_form(body, content_of(request), photos=(), most=0)
    if kind == "application/json":
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        pairs = value.items() if isinstance(value, dict) else ()
        return Form(photos=(), fields=tuple((str(name)[:100], str(text)[:100]) for name, text in pairs if text is not None))
    try:
        fields = parse_qsl(body[:10_000].decode("utf-8", "replace"), max_num_fields=64)
    except ValueError:
        fields = []
    return Form(photos=(), fields=tuple((name[:100], text[:100]) for name, text in fields))


# ---- what is answered


def _results(desk: Desk, seen: Seen, shape: tuple[int, int], asked: Shown) -> dict[str, Any]:
    species, min_score, max_rank = desk.facts.species, asked.min_score, asked.max_rank
    every = asked.multi_scale_coverage if isinstance(asked, Tiled) else True
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
    if asked.show_species:
        told["species"] = [_species(desk, one) for one in gather(seen, seen.scores, hit, shape, counted)]
    for rank, wanted in (("genus", asked.show_genus), ("family", asked.show_family)):
        if wanted:
            names, scores = summed(seen.scores, [getattr(taxon, rank) for taxon in species])
            found = gather(seen, scores, matches(scores, min_score=min_score, max_rank=max_rank), shape, counted)
            told[rank] = [{"name": names[one.index], **_row(one)} for one in found]
    if asked.detailed_reject:
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
