"""How this API says no: the shape that clients of Pl@ntNet's API know, and the status of every error."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import LookupFailed, TryAgain
from geoplantnet.identify.observations import RefusedAct
from geoplantnet.identify.photos import RefusedPhoto
from geoplantnet.serving.answers import to_json
from geoplantnet.serving.exceptions import fault_of, shown
from geoplantnet.serving.guard import Refused

JSON = "application/json"
_PHRASES = {413: "Payload Too Large", 414: "URI Too Long"}
"""RFC 9110's names; Python 3.11 has older ones."""
OF_PHOTO: Mapping[str, HTTPStatus] = {
    "too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too-many-pixels": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not-an-image": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "damaged": HTTPStatus.BAD_REQUEST,
    "too-slow": HTTPStatus.BAD_REQUEST,
}
"""Kind of a refused photo -> status."""


_OF_ACT = {
    "unknown observation": HTTPStatus.NOT_FOUND,
    "unknown image": HTTPStatus.NOT_FOUND,
    "not the author": HTTPStatus.FORBIDDEN,
    "observation withdrawn": HTTPStatus.GONE,
}
"""Reason of a refused act -> status; of others 400."""


def body_of(status: int, message: str, more: Mapping[str, Any] | None = None) -> bytes:
    """The JSON of a refusal."""
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    plain = message.encode("utf-8", "replace").decode()
    return to_json({"statusCode": int(status), "error": phrase, "message": plain, **(more or {})})


def shape(scope: Mapping[str, Any], status: HTTPStatus, message: str) -> tuple[bytes, str]:
    """How the guard refuses below /v2."""
    return body_of(status, message), JSON


async def answer_of(request: Request, error: Exception) -> Response:
    """The answer to a request that failed, whatever the error."""
    status, message, headers, more = _told(error)
    return Response(body_of(status, message, more), status, dict(headers), media_type=JSON)


def status_of(error: Exception) -> int:
    """The status that `answer_of` gives."""
    return _told(error)[0]


def _told(error: Exception) -> tuple[int, str, tuple[tuple[str, str], ...], Mapping[str, Any]]:
    if isinstance(error, Refused):
        return int(error.status), str(error), error.headers, error.more
    if isinstance(error, RefusedPhoto):
        return int(OF_PHOTO[error.kind]), str(error), (), {"kind": error.kind}
    if isinstance(error, RefusedAct):
        return int(_OF_ACT.get(error.reason, HTTPStatus.BAD_REQUEST)), str(error), (), {}
    if isinstance(error, LookupFailed):
        return 404, str(error), (), {}
    if isinstance(error, TryAgain):
        return 503, str(error), (("Retry-After", "5"),), {}
    if isinstance(error, RequestValidationError):
        return 400, _of_validation(error), (), {}
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), tuple((error.headers or {}).items()), {}
    fault, message = fault_of(error)
    return int(fault.status), message, (), {}


def _of_validation(error: RequestValidationError) -> str:
    """The first thing that is wrong, by the name of its parameter."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "body"
    given = first.get("input")
    told = f" ({shown(str(given))} is given)" if isinstance(given, str | int | float) else ""
    return f"{where[:60]}: {first.get('msg', 'not valid')}{told}"


def refuse(status: HTTPStatus, message: str, reason: str, **more: Any) -> Refused:
    """An error that a route raises."""
    return Refused(status, message, reason=reason, more=more)
