"""What is refused before any work is done for it: by its size, its method, its spelling. And bodies, which must arrive in time.

A body is read whole before a request takes its place among those worked on: a slow sender holds up nobody.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.types import Message, Receive

from geoplantnet.serving.guard.keys import TOKEN
from geoplantnet.serving.guard.refusal import Refused
from geoplantnet.serving.settings import ServerSettings

_HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_PATH = re.compile(rb"(?:[!$&-;=@-Z_a-z~]|%(?!00|[01][0-9A-Fa-f]|2[EeFf]|5[Cc]|7[Ff])[0-9A-Fa-f]{2})*")
"""RFC 3986, without escaped controls, slashes, backslashes and dots: nothing that a proxy and a file system may read as two things."""
_QUERY = re.compile(rb"(?:[^%\x00-\x20\x7f]|%(?!0[0-8BbCcEeFf]|1[0-9A-Fa-f]|7[Ff])[0-9A-Fa-f]{2})*")
"""Any text but controls (tab and line ends may be escaped) and escapes that are none."""
_CLOSE = (("Connection", "close"),)
_PHRASE = "; make the request smaller"


class ClientGone(Exception):
    """The client hung up: there is nobody to answer."""


class Door:
    """The limits on what a request may be."""

    def __init__(self, settings: ServerSettings) -> None:
        self._limits = settings
        self._others = {"POST": _any_of(settings.post_paths), "DELETE": _any_of(settings.delete_paths)}

    def check(self, scope: Mapping[str, Any]) -> bool:
        """Raises Refused. Returns whether a body follows."""
        limits, method, query = self._limits, scope["method"], scope["query_string"]
        path = scope.get("raw_path")
        if path is None:
            path = scope["path"].encode("utf-8", "surrogateescape")
        hosts, length, total, chunked = 0, b"", 0, False
        for name, value in scope["headers"]:
            total += len(name) + len(value)
            if name == b"host":
                hosts += 1
                if not _HOST.fullmatch(value):
                    raise Refused(HTTPStatus.BAD_REQUEST, "the Host header is malformed", reason="host")
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
        if hosts > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, "the Host header is given more than once", reason="host")
        if len(path) > limits.max_path:
            raise self._too_long("path", len(path), limits.max_path)
        if len(query) > limits.max_query:
            raise self._too_long("query string", len(query), limits.max_query)
        if total > limits.max_header_bytes:
            message = f"the headers have {total} bytes, at most {limits.max_header_bytes} are read{_PHRASE}"
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message, reason="headers", headers=_CLOSE)
        if query.count(b"&") >= limits.max_parameters:
            message = f"the query has more than {limits.max_parameters} parameters; give fewer"
            raise Refused(HTTPStatus.BAD_REQUEST, message, reason="parameters")
        if not _PATH.fullmatch(path):
            message = "the path holds a character or percent-encoding that no path here has; use the links that services give"
            raise Refused(HTTPStatus.BAD_REQUEST, message, reason="encoding")
        if not _QUERY.fullmatch(query):
            message = "the query holds a control character, or a % that starts no percent-encoding; write % as %25"
            raise Refused(HTTPStatus.BAD_REQUEST, message, reason="encoding")
        if TOKEN.search(query):
            message = (
                "an API key is in the query, where logs and histories keep it: have it revoked, and send the new one as header X-API-Key"
            )
            raise Refused(HTTPStatus.BAD_REQUEST, message, reason="key-in-query")
        return self._body_follows(scope, method, length, chunked)

    def methods(self, path: str) -> tuple[str, ...]:
        """Those of a path."""
        return ("GET", "HEAD", *(name for name, paths in self._others.items() if paths.fullmatch(path)))

    def _body_follows(self, scope: Mapping[str, Any], method: str, length: bytes, chunked: bool) -> bool:
        methods = self.methods(scope["path"])
        posted = method == "POST" and method in methods
        preflight = method == "OPTIONS" and any(name == b"access-control-request-method" for name, _ in scope["headers"])
        if method not in methods and not preflight:
            allowed = ", ".join(methods)
            message = f"this path is not for {method[:20]!r}; use {allowed}"
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, message, reason="method", headers=(("Allow", allowed), *_CLOSE))
        announced = chunked or (length != b"" and length.strip(b"0") != b"")
        if announced and not chunked and (not length.isdigit() or len(length) > 15 or int(length) > self._limits.max_body):
            raise self._too_large()
        return posted or announced  # that of a GET is read too, and means nothing

    async def body(self, receive: Receive) -> bytes:
        """The body, whatever its Content-Length claims. Raises Refused (too large, too slow) and ClientGone."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._limits.max_body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            why = f"the body did not arrive within {self._limits.body_s:g} seconds; send it faster"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, why, reason="slow", headers=_CLOSE) from None

    def _too_large(self) -> Refused:
        message = f"the body has more than {self._limits.max_body} bytes{_PHRASE}"
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, reason="body", headers=_CLOSE)

    def _too_long(self, what: str, length: int, limit: int) -> Refused:
        message = f"the {what} has {length} bytes, at most {limit} are read{_PHRASE}"
        return Refused(HTTPStatus.REQUEST_URI_TOO_LONG, message, reason="url")


def _any_of(paths: tuple[str, ...]) -> re.Pattern[str]:
    patterns = ("/".join("[^/]+" if part == "*" else re.escape(part) for part in path.split("/")) for path in paths)
    return re.compile("|".join(patterns) or r"(?!)")


def replay(body: bytes, receive: Receive) -> Receive:
    """What an application receives after its body was read for it."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def hung_up(receive: Receive) -> None:
    """Ends when the client has hung up. What is left of a body is not kept: for requests whose body was read, or that have none."""
    while (await receive())["type"] != "http.disconnect":
        pass
