"""`/v2/identify`, the projects and species it knows, and the languages it tells them in: Pl@ntNet's routes, answered as its clients expect."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import LookupFailed, did_you_mean
from geoplantnet.identify.engine import Candidate, Identification
from geoplantnet.identify.projects import ALL, RESERVED, Project
from geoplantnet.identify.similarity import IndexedImage
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.identify import schemas
from geoplantnet.serving.identify.desk import REJECTED, Desk, aside, place_of, told
from geoplantnet.serving.identify.facts import group
from geoplantnet.serving.identify.fetching import fetched
from geoplantnet.serving.identify.media import is_open
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.quota import IDENTIFY, Taken
from geoplantnet.serving.identify.uploads import Form, Upload, content_of, read_form

MOST_PHOTOS = 5
RELATED = 5
"""Related images of each result."""
PRIMARY = ("leaf", "flower", "fruit", "bark", "auto")
"""Organs a photo may show by itself."""
SECONDARY = ("habit", "other")
"""Organs that are taken only beside one that is primary."""
EVERYTHING = {
    "en": ("All species", "All species the net knows"),
    "fr": ("Toutes les espèces", "Toutes les espèces que le modèle connaît"),
    "de": ("Alle Arten", "Alle Arten, die das Modell kennt"),
    "es": ("Todas las especies", "Todas las especies que el modelo conoce"),
    "it": ("Tutte le specie", "Tutte le specie che il modello conosce"),
}
"""Title and description of the project ``all``, by language; others are told the English."""
_MOST_LISTED = 10_000

Lang = Annotated[str, Query(description="language of common names")]
Type = Annotated[Literal["kt", "legacy"] | None, Query(description="which kind of floras; all are told alike")]
Related = Annotated[bool, Query(alias="include-related-images")]
NoReject = Annotated[bool, Query(alias="no-reject")]
Results = Annotated[int, Query(alias="nb-results", ge=1)]
Detailed = Annotated[bool, Query(description="genera, families and species outside the flora, as `otherResults`")]
Latitude = Annotated[str, Query(description="degrees, WGS 84: an extension, with lon, that weighs the answer by what grows there")]
Longitude = Annotated[str, Query(description="degrees, WGS 84")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The query of an identification."""

    project: str
    lang: str
    detailed: bool = False
    related: bool = False
    no_reject: bool = False
    results: int = 10
    type: str | None = None
    latitude: str = ""
    longitude: str = ""


async def asked_of(
    project: str,
    related: Related = False,
    no_reject: NoReject = False,
    results: Results = 10,
    lang: Lang = "en",
    type: Type = None,
    detailed: Detailed = False,
    lat: Latitude = "",
    lon: Longitude = "",
) -> Asked:
    """What a query says; whether there is such a language or project, only the desk knows."""
    return Asked(
        project=project,
        related=related,
        no_reject=no_reject,
        results=results,
        lang=lang,
        type=type,
        detailed=detailed,
        latitude=lat,
        longitude=lon,
    )


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2")
    species = desk.facts.species

    @routes.get("/_status", tags=["service"], response_model=schemas.Status)
    async def status() -> dict[str, str]:
        """Whether the service is up."""
        return {"status": "ok"}

    @routes.get("/languages", tags=["species"], response_model=list[str])
    async def languages() -> tuple[str, ...]:
        """Codes of the languages that `lang` may name."""
        return desk.facts.languages

    @routes.get("/projects", tags=["species"], response_model=list[schemas.Project], responses=schemas.ERRORS)
    async def projects(request: Request, lang: Lang = "en", lat: Latitude = "", lon: Longitude = "", type: Type = "kt") -> Response:
        """Floras that an identification may be limited to; with a place the most relevant first."""
        language, place = desk.language(lang), place_of(lat, lon)
        await desk.caller(request)
        found = await aside(lambda: _projects(desk, place, language))
        return told(request, [_project(desk, project) for project in found], seal=desk.version)

    @routes.get("/species", tags=["species"], response_model=list[schemas.Species], responses=schemas.ERRORS)
    async def all_species(
        request: Request,
        lang: Lang = "en",
        type: Type = "kt",
        pageSize: Annotated[int | None, Query(ge=1, le=_MOST_LISTED)] = None,
        page: Annotated[int, Query(ge=1, le=10**9)] = 1,
        prefix: Annotated[str, Query(max_length=200, description="how a word of the scientific name, or of a common name, begins")] = "",
    ) -> Response:
        """All species the net knows, by name."""
        language = desk.language(lang)
        await desk.caller(request)
        found = await aside(lambda: _listed(desk, np.arange(len(species)), language, prefix, page, pageSize))
        return told(request, found, seal=desk.version)

    @routes.get("/projects/{project}/species", tags=["species"], response_model=list[schemas.Species], responses=schemas.ERRORS)
    async def species_of_project(
        request: Request,
        project: str,
        lang: Lang = "en",
        pageSize: Annotated[int | None, Query(ge=1, le=_MOST_LISTED)] = None,
        page: Annotated[int, Query(ge=1, le=10**9)] = 1,
        prefix: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        """The species of a flora, by name."""
        language, chosen = desk.language(lang), project_of(desk, project)
        await desk.caller(request)
        positions = np.arange(len(species)) if chosen is None or chosen.species is None else chosen.species
        found = await aside(lambda: _listed(desk, positions, language, prefix, page, pageSize))
        return told(request, found, seal=desk.version)

    @routes.get("/identify/{project}", tags=["identify"], response_model=schemas.IdentificationResult, responses=schemas.ERRORS)
    async def identify_addresses(
        request: Request,
        asked: Annotated[Asked, Depends(asked_of)],
        images: Annotated[list[str], Query(max_length=MOST_PHOTOS, description="addresses of photos, of origins that the operator named")],
        organs: Annotated[list[str] | None, Query(description="what each shows")] = None,
    ) -> Response:
        """Photos by their addresses -> species. They are fetched from origins that the operator named, and by default from none."""

        def read(body: bytes) -> Form:
            said = [("organs", organ) for organ in organs or ()]
            return Form(photos=tuple(fetched(images, desk.settings.photo_origins)), fields=tuple(said))

        return await answer(request, asked, read)

    @routes.post(
        "/identify/{project}",
        tags=["identify"],
        response_model=schemas.IdentificationResult,
        responses=schemas.ERRORS,
        openapi_extra=schemas.form_of(schemas.IDENTIFY_FORM, ("images",)),
    )
    async def identify(request: Request, asked: Annotated[Asked, Depends(asked_of)]) -> Response:
        """One to five photos of a plant -> species, the likeliest first."""
        boundary = content_of(request)
        return await answer(request, asked, lambda body: read_form(body, boundary, photos=("images", "images[]"), most=MOST_PHOTOS))

    async def answer(request: Request, asked: Asked, read: Callable[[bytes], Form]) -> Response:
        """`read`: a body -> photos and fields. Who asks is known before a body is taken in; what is asked costs before it is looked at."""
        asked = replace(asked, lang=desk.language(asked.lang))
        project_of(desk, asked.project)
        caller = await desk.caller(request)
        body = await request.body()

        def work() -> Response:
            taken = desk.take(request, caller, IDENTIFY, 1)
            try:
                form = read(body)
                organs = organs_of(form)
                place = place_of(asked.latitude or form.one("lat"), asked.longitude or form.one("lon"))
                return desk.answered(request, identified(desk, request, form.photos, organs, asked, place=place, taken=taken), taken)
            except Exception as error:
                desk.failed(request, taken, error)
                raise

        return await aside(work)

    for what in ("diseases", "varieties"):
        _missing(routes, what)
    return routes


def _missing(routes: APIRouter, what: str) -> None:
    """A part of Pl@ntNet's API that there is no net for."""

    async def none() -> None:
        raise refuse(HTTPStatus.NOT_FOUND, f"{what} are not told here: no net for them is served. Species are: /v2/identify/all", what)

    for method, path in (("GET", f"/{what}"), ("POST", f"/{what}/identify")):
        routes.add_api_route(path, none, methods=[method], include_in_schema=False, name=f"{what}_{method.lower()}", response_model=None)


# ---- what is asked


def organs_of(form: Form) -> list[str]:
    """What each photo of a form shows, as the client says. Raises Refused (400)."""
    if not form.photos:
        raise refuse(HTTPStatus.BAD_REQUEST, "no photo is sent; send one to five files as images", "form")
    organs = [organ.lower() for organ in form.all("organs")] or ["auto"] * len(form.photos)
    each = [value.strip().lower() for name, value in form.fields if name in ("organs", "organs[]")]
    if len(organs) < len(form.photos) == len(each):  # of some nothing is said
        organs = [organ or "auto" for organ in each]
    for organ in organs:
        if organ not in (*PRIMARY, *SECONDARY):
            near = did_you_mean(organ[:20], (*PRIMARY, *SECONDARY))
            message = f"organ {shown(organ)} is none of {', '.join((*PRIMARY, *SECONDARY))}.{near}"
            raise refuse(HTTPStatus.BAD_REQUEST, message, "form")
    if len(organs) != len(form.photos):
        message = f"{len(organs)} organs for {len(form.photos)} photos; give one for each, in their order, or none"
        raise refuse(HTTPStatus.BAD_REQUEST, message, "form")
    if not set(organs) & set(PRIMARY):
        message = f"photos of {' and '.join(dict.fromkeys(organs))} alone do not tell a species; send also one of {', '.join(PRIMARY)}"
        raise refuse(HTTPStatus.BAD_REQUEST, message, "form")
    return organs


def project_of(desk: Desk, name: str) -> Project | None:
    """The flora of a name; None for ``all`` (and ``best``), where the most relevant is chosen. Raises Refused (404)."""
    if name in RESERVED:
        return None
    try:
        return desk.identifier.projects[name]
    except LookupFailed as error:
        raise refuse(HTTPStatus.NOT_FOUND, f"there is no project {shown(name)}; /v2/projects lists them", "project") from error


def _projects(desk: Desk, place: tuple[float, float] | None, language: str) -> Sequence[Project]:
    projects = desk.identifier.projects
    title, description = EVERYTHING.get(language, EVERYTHING["en"])
    everything = Project(id=ALL, title=title, description=description)
    return [everything, *(projects if place is None else projects.near(*place))]


def _project(desk: Desk, project: Project) -> dict[str, Any]:
    count = len(desk.facts.species) if project.species is None else len(project.species)
    return {"id": project.id, "title": project.title, "description": project.description, "speciesCount": count}


def _listed(desk: Desk, positions: Any, language: str, prefix: str, page: int, size: int | None) -> list[dict[str, Any]]:
    """A page of species, by scientific name: those of whose names a word begins so, whatever its accents."""
    species, begins = desk.facts.species, _plain(prefix)
    found = [
        i
        for i in positions.tolist()
        if not begins
        or any(f" {begins}" in f" {_plain(name)}" for name in (species[i].scientific_name, *desk.facts.common_names(i, language)))
    ]
    found.sort(key=lambda i: species[i].scientific_name)
    part = found if size is None else found[(page - 1) * size : page * size]
    return [desk.facts.listed(i, language) for i in part]


@lru_cache(maxsize=65_536)
def _plain(name: str) -> str:
    """Without accents, capitals and hyphens, for people who search."""
    letters = unicodedata.normalize("NFKD", name).replace("-", " ").replace("’", " ").replace("'", " ")
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).casefold().split())


# ---- what is answered


def identified(
    desk: Desk,
    request: Request,
    photos: Sequence[Upload],
    organs: Sequence[str],
    asked: Asked,
    *,
    place: tuple[float, float] | None,
    taken: Taken,
) -> Response:
    """The answer to an identification. For a thread. Raises Refused (404) where no photo shows a plant, and what decoding raises."""
    found = desk.identifier.identify(
        desk.pixels([photo.data for photo in photos]),
        ["" if organ == "auto" else organ for organ in organs],
        project=asked.project,
        place=place,
        top=min(asked.results, len(desk.facts.species)),
        related=RELATED if asked.related else 0,
    )
    return _answer(desk, request, asked, photos, organs, found, taken)


def _answer(
    desk: Desk, request: Request, asked: Asked, photos: Sequence[Upload], organs: Sequence[str], found: Identification, taken: Taken
) -> Response:
    predicted = [
        {"image": photo.id, "filename": photo.filename, "organ": organ, "score": _score(score)}
        for photo, (organ, score) in zip(photos, found.organs, strict=True)
    ]
    if (found.rejected and not asked.no_reject) or not found.candidates:
        rejected = unplanted(photos, found.plant, reason="not-a-plant" if found.rejected else "no-species")
        # the words that clients look for, and beside them what they should
        raise refuse(
            HTTPStatus.NOT_FOUND, "Species not found", REJECTED, rejected=rejected, remainingIdentificationRequests=taken.remaining
        )
    site = desk.site(request)
    gone = desk.not_shown(hit.image for candidate in found.candidates for hit in candidate.related)
    results = [_result(desk, candidate, asked.lang, site, related=asked.related, gone=gone) for candidate in found.candidates]
    answer: dict[str, Any] = {
        "query": {
            "project": asked.project,
            "images": [photo.id for photo in photos],
            "organs": list(organs),
            "includeRelatedImages": asked.related,
            "noReject": asked.no_reject,
            **({"type": asked.type} if asked.type else {}),
        },
        "language": asked.lang,
        "preferedReferential": found.project,
        "bestMatch": results[0]["species"]["scientificName"],
        "results": results,
        "version": desk.version,
        "remainingIdentificationRequests": taken.remaining,
        "predictedOrgans": predicted,
        "evidence": found.evidence,
        "answerSet": [desk.facts.species[i].taxon_id for i in found.answer_set],
    }
    if found.switch:
        answer["switchToProject"] = found.switch
    if asked.detailed:
        answer["otherResults"] = {
            "species": [_result(desk, candidate, asked.lang, site, related=False) for candidate in found.outside],
            "genus": [_grouped(desk, "genus", name, score) for name, score in found.genera[: asked.results]],
            "family": [{"score": _score(score), "family": group(name)} for name, score in found.families[: asked.results]],
        }
    return told(request, answer)


def unplanted(photos: Sequence[Upload], plant: Sequence[float], *, reason: str = "not-a-plant") -> dict[str, Any]:
    """Why photos have no answer, and how surely each shows a plant."""
    images = [{"image": photo.id, "filename": photo.filename, "plant": _score(p)} for photo, p in zip(photos, plant, strict=True)]
    return {"reason": reason, "images": images}


def _result(
    desk: Desk, candidate: Candidate, language: str, site: str, *, related: bool, gone: frozenset[str] = frozenset()
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "score": _score(candidate.score),
        "species": desk.facts.described(candidate.species, language),
        "taxonID": desk.facts.species[candidate.species].taxon_id,
        **desk.facts.elsewhere(candidate.species),
    }
    if related:
        taxon = desk.facts.species[candidate.species]
        hits = () if desk.sensitive.any([(taxon.taxon_id, taxon.scientific_name)]) else candidate.related
        row["images"] = [
            image_told(desk, hit.image, site) for hit in hits if is_open(hit.image.license) and hit.image.observation not in gone
        ]
    return row


def image_told(desk: Desk, image: IndexedImage, site: str) -> dict[str, Any]:
    """A related image, as `images` tells it."""
    author, licence = image.author or "unknown", desk.licence(image.license)
    return {
        "organ": image.organ or "other",
        "author": author,
        "license": licence,
        "date": date_of(image.date),
        "citation": f"{author} / {desk.settings.title}, {cited(licence)}",
        "url": desk.media.urls(image.image, site),
        "observation": image.observation,
    }


def cited(licence: str) -> str:
    """A licence as people write it: ``CC BY-SA`` of ``cc-by-sa``."""
    return licence.upper().replace("CC-", "CC ", 1) if licence.startswith("cc") else licence


def date_of(text: str) -> dict[str, Any]:
    """A date as Pl@ntNet's API tells it: milliseconds since 1970, and words; nothing where it is not known."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return {}
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return {"timestamp": round(utc.timestamp() * 1000), "string": text}


def _grouped(desk: Desk, rank: str, name: str, score: float) -> dict[str, Any]:
    family = next((taxon.family for taxon in desk.facts.species if taxon.genus == name), "")
    return {"score": _score(score), rank: group(name), "family": group(family)}


def _score(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), 5)
