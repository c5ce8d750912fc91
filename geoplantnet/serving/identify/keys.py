"""Who asks: the holder of a key, or an address without one.

A key comes as header `Api-Key` (or `X-API-Key`, or `Authorization: Bearer`). Pl@ntNet's clients send it as `api-key` in the query: it is taken out of
there before anything else looks at the request, so that no log, error or metric holds it.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from geoplantnet.serving.guard import Key, KeyRing, Refused, exchange_of
from geoplantnet.serving.guard.keys import PREFIX, TOKEN, unauthorised
from geoplantnet.serving.identify.quota import CATEGORIES, IDENTIFY, SURVEY, Quota
from geoplantnet.serving.identify.settings import IdentifySettings

_OF_QUERY = {"api-key": b"api-key", "authenix-access-token": b"authenix-access-token"}
_LONGEST = 200


def out_of_query(app: ASGIApp) -> ASGIApp:
    """Middleware: what the query names as a key becomes a header, where none is given, and leaves the query."""

    async def moved(scope: Scope, receive: Receive, send: Send) -> None:
        query: bytes = scope.get("query_string", b"")
        if scope["type"] == "http" and query:
            kept: list[bytes] = []
            headers = list(scope["headers"])
            for part in query.split(b"&"):
                name, _, value = part.partition(b"=")
                header = _OF_QUERY.get(unquote_plus(name.decode("latin-1")).lower())
                if header is None:
                    kept.append(part)
                elif value:
                    headers.append((header, unquote_plus(value.decode("latin-1")).encode("utf-8", "replace")[:_LONGEST]))
            scope = {**scope, "query_string": b"&".join(kept), "headers": headers}
        await app(scope, receive, send)

    return moved


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks."""

    user: str
    """Name of the key, which is the account in the observation store; without a key a pseudonym of the address, of the day."""
    key: Key | None
    quotas: Mapping[str, int]
    """What is granted a day, by category."""

    @property
    def account(self) -> str:
        """The account in the observation store. Raises Refused (401) for who has none."""
        if self.key is None:
            raise unauthorised("contributions and votes need an account: send the key you were given as header Api-Key")
        return self.user


class Callers:
    """Tells who asks, by the file of keys."""

    def __init__(self, settings: IdentifySettings, quota: Quota) -> None:
        """Raises what `KeyRing` raises."""
        self._settings, self._quota = settings, quota
        self._ring = KeyRing(settings.keys) if settings.keys is not None else None

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()

    def of(self, request: Request) -> Caller:
        """Reads the file of keys: for a thread. Raises Refused (400, 401, 503)."""
        settings = self._settings
        token = _token(request) if self._ring is not None else None  # without a file of keys, what a client always sends says nothing
        if token is not None and self._ring is not None:
            key = self._ring.known(token)
            exchange = exchange_of(request.scope)
            if exchange is not None:  # for the log, and so that no shared cache keeps the answer
                exchange.key = replace(key, quota=None)
            granted = settings.daily_quota if key.quota is None else key.quota
            tiles = math.ceil(settings.survey_quota * granted / settings.daily_quota) if settings.daily_quota else settings.survey_quota
            return Caller(user=key.name, key=key, quotas={IDENTIFY: granted, SURVEY: tiles})
        if settings.anonymous_quota == 0:
            raise unauthorised("a key is needed: send it as header Api-Key")
        user = self._quota.pseudonym(_address(request))
        return Caller(user=user, key=None, quotas=dict.fromkeys(CATEGORIES, settings.anonymous_quota))


def _token(request: Request) -> bytes | None:
    """The key of a request. Raises Refused for two that differ, and for what is no key."""
    found: bytes | None = None
    for name, value in request.headers.raw:
        if name in (b"api-key", b"x-api-key"):
            given = value.strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            given = value[7:].strip()
        elif name == b"authenix-access-token":
            raise unauthorised("access tokens of Authenix are not taken here; send a key as header Api-Key")
        else:
            continue
        if not given:  # as pages send it before anybody typed a key
            continue
        if found is not None and found != given:
            raise Refused(HTTPStatus.BAD_REQUEST, "two different API keys are given; send one", reason="key")
        found = given
    if found is not None and not TOKEN.fullmatch(found):
        raise unauthorised(f"the API key is malformed; a key is {PREFIX} and 43 letters and digits")
    return found


def _address(request: Request) -> str:
    """What counts as one address: an IPv4, and of IPv6 the network of 64 bits that a household has."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
