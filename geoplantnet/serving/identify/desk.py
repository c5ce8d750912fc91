"""What the routes share, and how each request is taken in: who asks, what it costs, how its photos become pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import did_you_mean
from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import IDENTIFY, Decoder, Limits
from geoplantnet.identify.photos.pixels import Pixels
from geoplantnet.identify.similarity.images import IndexedImage
from geoplantnet.serving.answers import json_answer, to_json
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.guard import Refused, exchange_of
from geoplantnet.serving.identify.facts import Facts
from geoplantnet.serving.identify.keys import Caller, Callers
from geoplantnet.serving.identify.media import Media
from geoplantnet.serving.identify.problems import refuse, status_of
from geoplantnet.serving.identify.protection import Sensitive
from geoplantnet.serving.identify.quota import Quota, Taken, rate_limit
from geoplantnet.serving.identify.settings import IdentifySettings

T = TypeVar("T")
REJECTED = "rejected"
"""Reason of the refusal of photos that show no plant."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
    """What every route needs."""

    identifier: Identifier
    facts: Facts
    settings: IdentifySettings
    decoder: Decoder
    quota: Quota
    callers: Callers
    media: Media
    sensitive: Sensitive
    store: ObservationStore | None = None
    atlas: Callable[[], Atlas] | None = None
    """The maps, as who has no key may see them; None: no maps are served here."""
    model_folder: Path | None = None

    @property
    def version(self) -> str:
        """Of the net, as Pl@ntNet's API tells it: ``2026-07-20 (7.3)``."""
        card = self.identifier.network.card
        return f"{card.made} ({card.version})" if card.made else card.version

    def site(self, request: Request) -> str:
        """The address the server is reached by."""
        return (self.settings.url or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")

    def language(self, asked: str) -> str:
        """Raises Refused (400) for one that is not known."""
        code = asked.strip().lower()
        if code not in self.facts.languages and code.split("-")[0] in self.facts.languages:  # as browsers have it: fr-FR
            code = code.split("-")[0]
        if code not in self.facts.languages:
            near = did_you_mean(code[:20], self.facts.languages)
            raise refuse(HTTPStatus.BAD_REQUEST, f"lang {shown(asked)} is no language that names are told in.{near}", "parameter")
        return code

    def licence(self, address: str) -> str:
        """The word for a licence (``cc-by-sa``), as Pl@ntNet's API has it; an address that has none stays what it is."""
        return next((word for word, known in self.settings.licences.items() if known == address), address)

    def stored(self) -> ObservationStore:
        """Raises Refused (404) where there is no store."""
        if self.store is None:
            raise refuse(HTTPStatus.NOT_FOUND, "this server keeps no observations: it was started without a store", "store")
        return self.store

    def not_shown(self, images: Iterable[IndexedImage]) -> frozenset[str]:
        """Observations of an index made some time ago that their authors took back since, or that somebody called by a sensitive name."""
        ids = {image.observation for image in images if image.observation}
        gone = self.store.withdrawn(sorted(ids)) if self.store is not None and ids else frozenset()
        return gone | self.sensitive.hidden(self.store, ids - gone)

    async def caller(self, request: Request) -> Caller:
        """Raises Refused (401)."""
        return await aside(lambda: self.callers.of(request))

    def take(self, request: Request, caller: Caller, category: str, n: int) -> Taken:
        """Count what a request asks for; the answer, whatever it is, gets the headers. For a thread. Raises Refused (429)."""
        taken = self.quota.take(caller.user, category, n, caller.quotas[category])
        _announce(request, taken)
        return taken

    def failed(self, request: Request, taken: Taken, error: Exception) -> None:
        """Give back what a request cost that failed by our making, or by the client's where errors are free. For a thread.

        That photos show no plant is an answer, though its status is 404: it costs.
        """
        answered = isinstance(error, Refused) and error.reason == REJECTED
        if status_of(error) >= 500 or not (self.settings.errors_cost or answered) or not self.awaited(request):
            self.give_back(request, taken)

    def give_back(self, request: Request, taken: Taken) -> Taken:
        """Undo a `take`, and tell what is left -> what stands then. For a thread."""
        now = self.quota.give_back(taken)
        _announce(request, now)
        return now

    def awaited(self, request: Request) -> bool:
        """Whether the answer can still come in time."""
        exchange = exchange_of(request.scope)
        return exchange is None or exchange.late is None

    def answered(self, request: Request, answer: Response, *taken: Taken) -> Response:
        """The answer; what it cost is given back where it comes too late, and 503 was said in its place. For a thread."""
        if not self.awaited(request):
            for one in taken:
                self.quota.give_back(one)
        return answer

    def pixels(self, photos: Sequence[bytes], limits: Limits = IDENTIFY) -> list[Pixels]:
        """What the net sees of photos, in order. For a thread. Raises RefusedPhoto, TryAgain."""
        size = self.identifier.network.card.size
        return [self.decoder.square(data, size, limits) for data in photos]


def _announce(request: Request, taken: Taken) -> None:
    """Put the rate-limit headers on the answer, whoever makes it."""
    exchange = exchange_of(request.scope)
    if exchange is not None:
        said = [(name.lower().encode(), value.encode()) for name, value in rate_limit(taken)]
        names = {name for name, _ in said}
        exchange.headers = [pair for pair in exchange.headers if pair[0] not in names] + said


async def aside(work: Callable[[], T]) -> T:
    """Do what takes time or waits for a file in a thread; one that has begun is waited for."""
    return await anyio.to_thread.run_sync(work)


def told(request: Request, value: object, *, seal: str = "", status: int = 200) -> Response:
    """A JSON answer, compressed where that pays. Without a seal no cache keeps it: it may be of one caller alone."""
    answer = json_answer(request, to_json(value), seal=seal)
    if status != 200:
        answer.status_code = status
    if not seal:
        answer.headers["Cache-Control"] = "no-store"
    return answer


def number(text: str, name: str, low: float, high: float) -> float:
    """A finite number within low to high, also as languages print small ones (5e-05). Raises Refused (400)."""
    if (
        not re.fullmatch(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[+-]?\d{1,3})?", text.strip(), re.ASCII | re.IGNORECASE)
        or not low <= float(text) <= high
    ):
        raise refuse(HTTPStatus.BAD_REQUEST, f"{name} {shown(text)} is no number from {low:g} to {high:g}", "parameter")
    return float(text)


def place_of(lat: str, lon: str) -> tuple[float, float] | None:
    """Longitude, latitude in degrees of what a request names; None where it names neither. Raises Refused (400) for half a place."""
    if not lat and not lon:
        return None
    if not lat or not lon:
        raise refuse(HTTPStatus.BAD_REQUEST, "half a place is given; give lat and lon, in degrees, or neither", "parameter")
    return number(lon, "lon", -180, 180), number(lat, "lat", -90, 90)
