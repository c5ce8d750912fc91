"""How the guard says no: one exception, and its body in the shape that the clients of a route understand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

from geoplantnet.errors import RequestError

Shape = Callable[[Mapping[str, Any], HTTPStatus, str], tuple[bytes, str]]
"""(scope, status, message) -> body and media type."""

PROBLEM = "application/problem+json"
_OWS = "http://www.opengis.net/ows/1.1"


class Refused(RequestError):
    """A request that goes no further."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        reason: str,
        headers: Sequence[tuple[str, str]] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        """One word for log and metrics, of a fixed list: never what a client sent."""
        self.headers = tuple(headers)
        self.more = dict(more or {})
        """Further members of the RFC 9457 problem."""


def problem(status: HTTPStatus, detail: str, more: Mapping[str, Any] | None = None) -> bytes:
    """The body of an RFC 9457 problem."""
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail, **(more or {})}
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")


def ows_exception(scope: Mapping[str, Any], status: HTTPStatus, message: str) -> tuple[bytes, str]:
    """An ExceptionReport of OWS Common 1.1, as clients of WMTS expect it."""
    report = ET.Element("ExceptionReport", {"xmlns": _OWS, "version": "1.1.0"})
    exception = ET.SubElement(report, "Exception", {"exceptionCode": "NoApplicableCode"})
    ET.SubElement(exception, "ExceptionText").text = message
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(report, encoding="utf-8"), "application/xml"
