"""Observations below /v2: given, read, voted on, reviewed. Nothing is kept of a photo unless somebody gives it here, under a licence and with a key."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import ConfigurationError, InputError, LookupFailed, UnknownSpecies, did_you_mean
from geoplantnet.identify.observations import KINDS, Image, ModelVersion, Observation, ObservationStore, RefusedAct, Vote
from geoplantnet.identify.projects import RESERVED
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.identify import schemas
from geoplantnet.serving.identify.desk import REJECTED, Desk, aside, place_of, told
from geoplantnet.serving.identify.identification import MOST_PHOTOS, Asked, Lang, identified, organs_of, project_of, unplanted
from geoplantnet.serving.identify.keys import Caller
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.quota import IDENTIFY, VOTE
from geoplantnet.serving.identify.sightings import FLAGS, Sighting, bytes_of
from geoplantnet.serving.identify.uploads import Upload, content_of, read_form

LOGGER = logging.getLogger(__name__)
_MOST_LISTED = 50
_KEPT_KEYS = ("given-", "withdrawn-")
"""How keys of votes begin that are cast in an author's name."""
_FIRST_PHOTO = 1826


class Labels:
    """Keeps the labels of the store up with its votes, now and then, in one process."""

    def __init__(self, store: ObservationStore | None) -> None:
        self._store = store
        self._due = store is not None

    def changed(self) -> None:
        """There are new acts."""
        self._due = True

    def update(self) -> None:
        """Take in what is new, if anything. For a thread. What fails is logged, and tried again."""
        if self._store is None or not self._due:
            return
        self._due = False
        try:
            self._store.update()
        except Exception as error:  # whatever it is, votes go on coming in, and the next look may go well
            self._due = True
            LOGGER.warning("labels could not be brought up to date: %s", error)


def prepare(desk: Desk) -> None:
    """Tell the store the species of the net. Raises ConfigurationError for a store that determines by another checklist."""
    if desk.store is None:
        return
    species = desk.facts.species
    try:
        desk.store.add_taxa(species.checklist, species)
    except InputError as error:
        raise ConfigurationError(f"{desk.store.name} does not fit the net's species: {error}") from error


def router(desk: Desk, labels: Labels) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2", tags=["observations"], responses=schemas.OF_OBSERVATIONS)

    @routes.post(
        "/observations",
        status_code=201,
        response_model=schemas.Observation,
        openapi_extra=schemas.form_of(schemas.OBSERVATION_FORM, ("images", "license")),
    )
    async def contribute(request: Request, lang: Lang = "en", no_reject: Annotated[bool, Query(alias="no-reject")] = False) -> Response:
        """Give photos of a plant, under a licence: they are kept, shown and voted on. Sent again with the same `key`, they are kept once."""
        boundary, language = content_of(request), desk.language(lang)
        store, caller = desk.stored(), await desk.caller(request)
        account = caller.account
        body = await request.body()

        def work() -> Response:
            taken = desk.take(request, caller, IDENTIFY, 1)
            try:
                given = _given(desk, account, body, boundary, no_reject)
                _keep(desk, store, given)
            except Exception as error:
                desk.failed(request, taken, error)
                raise
            labels.changed()
            labels.update()
            sighting = _found(desk, store, given.observation.observation_id, caller, labels)
            answer = told(request, sighting.told(desk, caller, language, desk.site(request)), status=201)
            return desk.answered(request, answer, taken)

        return await aside(work)

    @routes.get("/observations/review", response_model=schemas.Review)
    async def review(
        request: Request,
        lang: Lang = "en",
        limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 10,
        after: Annotated[str, Query(max_length=200, description="`next` of the page before")] = "",
    ) -> Response:
        """Others' observations whose species is not agreed on, the least sure first, that the asking account said nothing of yet."""
        language, store, caller = desk.language(lang), desk.stored(), await desk.caller(request)
        account, begin = caller.account, _cursor(after)

        def work() -> Response:
            labels.update()
            rows = store.unsettled(account, limit=limit, after=begin)
            site = desk.site(request)
            page = [Sighting.of(desk, store, record) for record in rows.to_dict("records")]
            results = [sighting.told(desk, caller, language, site) for sighting in page if sighting.listed_for(caller)]
            last = page[-1].record if len(page) == limit else None
            end = None if last is None else f"{last['confidence']!r}~{last['occurrenceID']}"
            return told(request, {"results": results, "next": end})

        return await aside(work)

    @routes.get("/observations/own", response_model=schemas.Review)
    async def own(
        request: Request,
        lang: Lang = "en",
        limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 20,
        after: Annotated[str, Query(max_length=200, description="`next` of the page before")] = "",
    ) -> Response:
        """What the asking account gave and did not take back, the last first."""
        language, store, caller = desk.language(lang), desk.stored(), await desk.caller(request)
        account = caller.account

        def work() -> Response:
            labels.update()
            rows = store.own(account, limit=limit, after=after)
            site = desk.site(request)
            results = [Sighting.of(desk, store, record).told(desk, caller, language, site) for record in rows.to_dict("records")]
            return told(request, {"results": results, "next": results[-1]["id"] if len(results) == limit else None})

        return await aside(work)

    @routes.delete("/observations/{observation_id}", status_code=204, response_class=Response)
    async def withdraw(request: Request, observation_id: str) -> Response:
        """Take back what one gave, for good: nobody is shown it any more, its photos are removed, and no later record or export holds it."""
        store, caller = desk.stored(), await desk.caller(request)
        account = caller.account

        def work() -> None:
            store.withdraw(observation_id, account)
            desk.media.forget()
            labels.changed()

        await aside(work)
        return Response(status_code=204)

    @routes.get("/observations/{observation_id}", response_model=schemas.Observation)
    async def observation(request: Request, observation_id: str, lang: Lang = "en") -> Response:
        """One observation."""
        language, store, caller = desk.language(lang), desk.stored(), await desk.caller(request)

        def work() -> Response:
            sighting = _found(desk, store, observation_id, caller, labels)
            return told(request, sighting.told(desk, caller, language, desk.site(request)))

        return await aside(work)

    @routes.post("/observations/{observation_id}/votes/image/{image}/{kind}", response_model=schemas.Voted)
    async def vote_on_image(
        request: Request, observation_id: str, image: str, kind: str, said: Annotated[schemas.Said, Body()]
    ) -> Response:
        """Say what an image shows (`organ`), or how good it is (`quality`: 1, 0 or -1). A later vote takes the place of an earlier one."""
        if kind not in ("quality", "organ"):
            raise refuse(HTTPStatus.NOT_FOUND, f"votes on an image are about quality or organ, not {shown(kind)}", "vote")
        value = _text(said.value) if kind == "quality" or said.value is not None else said.organ or ""
        if kind == "quality" and said.quality is not None:  # as Pl@ntNet's clients say it
            value = "1" if said.quality else "-1"
        return await cast(request, observation_id, kind, value, said.key or "", image)

    @routes.post("/observations/{observation_id}/votes/{kind}", response_model=schemas.Voted)
    async def vote(request: Request, observation_id: str, kind: str, said: Annotated[schemas.Said, Body()]) -> Response:
        """Name the species (`determination`), or say that the observation is `malformed`, `not_a_plant` or `cultivated`.

        `species`: taxonID or scientific name. `value`: true or false. Neither, or null: an earlier vote is withdrawn. A `kind` in the body is
        that of the vote, whatever the address says.
        """
        kind = said.kind or kind
        if kind == KINDS[0]:
            return await cast(request, observation_id, kind, _taxon(desk, said.species or said.name or _text(said.value)), said.key or "")
        if kind not in FLAGS:
            near = did_you_mean(kind[:20], (KINDS[0], *FLAGS))
            raise refuse(HTTPStatus.NOT_FOUND, f"votes are about {KINDS[0]}, {', '.join(FLAGS)}, not {shown(kind)}.{near}", "vote")
        return await cast(request, observation_id, kind, "1" if said.value is None and said.kind else _flag(said.value), said.key or "")

    async def cast(request: Request, observation_id: str, kind: str, value: str, key: str, image: str = "") -> Response:
        store, caller = desk.stored(), await desk.caller(request)
        if key.startswith(_KEPT_KEYS):
            raise refuse(HTTPStatus.BAD_REQUEST, f"key {shown(key)} begins as keys of the server's own acts do; choose another", "vote")
        act = Vote(observation_id=observation_id, user_id=caller.account, kind=kind, value=value, image=image, key=key)

        def work() -> bool:
            taken = desk.quota.take(caller.user, VOTE, 1, desk.settings.vote_quota)
            try:
                return not _stands(store, act) and store.vote(act)
            except Exception:
                desk.quota.give_back(taken)
                raise

        new = await aside(work)
        labels.changed()
        return told(request, {"observation": observation_id, "kind": kind, "value": value, "new": new, "updated": new})

    @routes.get("/projects/{project}/observations/{observation_id}/identify", response_model=schemas.IdentificationResult)
    async def identify_again(request: Request, project: str, observation_id: str, lang: Lang = "en", detailed: bool = False) -> Response:
        """What the net says of the photos of an observation, at its place as the asking account may know it."""
        language, store, caller = desk.language(lang), desk.stored(), await desk.caller(request)
        project_of(desk, project)

        def work() -> Response:
            sighting = _found(desk, store, observation_id, caller, labels)
            if not sighting.shows_photos_to(caller):
                raise refuse(HTTPStatus.NOT_FOUND, f"no photos of observation {shown(observation_id)} are shown", "store")
            taken = desk.take(request, caller, IDENTIFY, 1)
            try:
                digests = str(sighting.record["images"]).split("|")[:MOST_PHOTOS]
                organs = str(sighting.record["organs"]).split("|")[:MOST_PHOTOS]
                photos = [Upload(field="images", filename="", data=bytes_of(store, digest), id=digest) for digest in digests]
                asked = Asked(project=project, lang=language, detailed=detailed)
                told_at, _ = sighting.place_for(caller)  # scores would tell a place that the answer does not
                where = None if told_at is None else (told_at["longitude"], told_at["latitude"])
                return desk.answered(request, identified(desk, request, photos, organs, asked, place=where, taken=taken), taken)
            except Exception as error:
                desk.failed(request, taken, error)
                raise

        return await aside(work)

    return routes


# ---- what is given


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A contribution, checked."""

    observation: Observation
    photos: tuple[Image, ...]
    taxon: str
    """What the author says it is; empty = nothing."""
    taxa: tuple[str, float]
    """What the net says it is, and how surely."""


def _given(desk: Desk, account: str, body: bytes, boundary: bytes, no_reject: bool) -> _Given:
    form = read_form(body, boundary, photos=("images", "images[]"), most=MOST_PHOTOS)
    organs, licences = organs_of(form), desk.settings.licences
    license = form.one("license").lower()
    if license not in licences:
        known = ", ".join(licences)
        raise refuse(
            HTTPStatus.BAD_REQUEST, f"license {shown(license)} is none of {known}; photos are kept and shown under one of these", "form"
        )
    place = place_of(form.one("lat"), form.one("lon"))
    uncertainty = form.one("uncertainty")
    if uncertainty and not _is_number(uncertainty):
        message = f"uncertainty {shown(uncertainty)} is no radius; give metres above 0, or leave it out"
        raise refuse(HTTPStatus.BAD_REQUEST, message, "form")
    project, key = form.one("project"), form.one("key")
    if project:
        project_of(desk, project)
    taxon = _taxon(desk, form.one("species"))
    answer = desk.identifier.identify(
        desk.pixels([photo.data for photo in form.photos]),
        [organ if organ != "auto" else "" for organ in organs],
        place=place,
        top=1,
    )
    if answer.rejected and not no_reject and form.one("no-reject").lower() not in ("1", "true"):
        raise refuse(HTTPStatus.NOT_FOUND, "Species not found", REJECTED, rejected=unplanted(form.photos, answer.plant))
    best = answer.candidates[0]
    name = hashlib.sha256("\0".join((account, key or "\0".join(photo.id for photo in form.photos))).encode()).hexdigest()[:32]
    return _Given(
        observation=Observation(
            observation_id=name,
            user_id=account,
            latitude=place[1] if place else None,
            longitude=place[0] if place else None,
            coordinate_uncertainty=float(uncertainty) if uncertainty else None,
            event_date=_day(form.one("date")),
            dataset_id="geoplantnet",
            flora=project if project not in RESERVED else "",
            license=licences[license],
            rights_holder=form.one("author")[:200],
            verbatim_name=desk.facts.species[desk.facts.species.index_of(taxon)].scientific_name if taxon else "",
        ),
        photos=tuple(Image(data=photo.data, organ=organ) for photo, organ in zip(form.photos, organs, strict=True)),
        taxon=taxon,
        taxa=(desk.facts.species[best.species].taxon_id, min(max(best.score, 0.0), 1.0)),
    )


def _keep(desk: Desk, store: ObservationStore, given: _Given) -> None:
    """The author's vote has a key of its own: whoever sends a contribution again casts no second one."""
    card = desk.identifier.network.card
    name = given.observation.observation_id
    try:
        store.add_observation(given.observation, given.photos)
    except RefusedAct as refused:
        if refused.reason != "id of another observation":
            raise
        message = "this was given before, with other facts or photos: take that observation back first, correct it by a vote, or give it a key of its own"
        raise refuse(HTTPStatus.CONFLICT, message, "store") from refused
    if given.taxon:
        store.vote(Vote(observation_id=name, user_id=given.observation.user_id, kind=KINDS[0], value=given.taxon, key=f"given-{name}"))
    store.predict(name, ModelVersion(name=card.name, version=card.version, about=f"backbone {card.backbone}"), *given.taxa)


def _day(text: str) -> str:
    """A date, ISO 8601, that is over, as the store has it: 2026-05-31, with its time where that is known; empty for none. Raises Refused (400)."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refuse(HTTPStatus.BAD_REQUEST, f"date {shown(text)} is not ISO 8601; write it as 2026-05-31", "form") from None
    if moment.date() > datetime.now(UTC).date() and moment.date().toordinal() - date.today().toordinal() > 1:
        raise refuse(HTTPStatus.BAD_REQUEST, f"date {shown(text)} is still to come", "form")
    if moment.year < _FIRST_PHOTO:
        raise refuse(HTTPStatus.BAD_REQUEST, f"date {shown(text)} is before there were photos; write the day the photos were taken", "form")
    return moment.isoformat() if "T" in text or ":" in text else moment.date().isoformat()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False


def _taxon(desk: Desk, text: str) -> str:
    """The taxonID of a name; empty for none. Raises Refused (400) for one that is none of the net's species."""
    try:
        return desk.facts.taxon_id(text) if text else ""
    except UnknownSpecies as error:
        raise refuse(HTTPStatus.BAD_REQUEST, str(error), "vote") from error


def _stands(store: ObservationStore, act: Vote) -> bool:
    """Whether the same was said already, and nothing else since. With a key of its own it may be an older act that is sent again: the log tells."""
    if act.key:
        return False
    log = store.history(act.observation_id)
    same = (log["user_id"] == act.user_id) & (log["kind"] == act.kind) & (log["image"] == act.image)
    return bool((log.loc[same & log["stands"], "value"] == act.value).any())


def _text(value: bool | int | str | None) -> str:
    """A vote's value as the store has it."""
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def _flag(value: bool | int | str | None) -> str:
    """A flag, also where a client says it in words."""
    return {"true": "1", "false": "0"}.get(text := _text(value), text)


def _cursor(text: str) -> tuple[float, str] | None:
    if not text:
        return None
    sure, _, name = text.partition("~")
    try:
        found = float(sure)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise refuse(HTTPStatus.BAD_REQUEST, f"after {shown(text)} is no `next` of a page", "parameter")
    return found, name


def _found(desk: Desk, store: ObservationStore, observation_id: str, caller: Caller, labels: Labels) -> Sighting:
    """One observation. Raises Refused (404) where there is none that may be told of."""
    try:
        record = store.record(observation_id)
    except LookupFailed:
        if store.holds(observation_id):
            labels.changed()
            labels.update()  # it is new
        try:
            record = store.record(observation_id)
        except LookupFailed as error:
            raise refuse(HTTPStatus.NOT_FOUND, f"there is no observation {shown(observation_id)}", "store") from error
    sighting = Sighting.of(desk, store, record)
    if not sighting.found_by(caller):
        raise refuse(HTTPStatus.NOT_FOUND, f"there is no observation {shown(observation_id)}", "store")
    return sighting
