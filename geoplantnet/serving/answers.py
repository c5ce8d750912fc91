"""Answers worth compressing: JSON, and the files of the page. Tiles, maps and files of the catalog are compressed in themselves."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

LEAST = 1000
"""Bytes of JSON from which on it is compressed."""
_TEXTS = frozenset({".html", ".js", ".mjs", ".css", ".json", ".svg", ".txt", ".map", ".webmanifest"})
"""Ends of the names of files that gzip makes smaller."""
_FAST, _SMALL = 5, 9
"""Levels of gzip: for an answer made now, and for a file packed once."""


def accepts_gzip(headers: Headers) -> bool:
    """Whether a client takes gzip (RFC 9110, 12.5.3): named, or by ``*``, and not with weight zero."""
    weights: dict[str, float] = {}
    for part in headers.get("accept-encoding", "").lower().split(","):
        name, _, parameter = part.partition(";")
        try:
            weights[name.strip()] = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            weights[name.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def to_json(value: Any) -> bytes:
    """UTF-8, no NaN (ValueError)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def json_answer(request: Request, body: bytes, *, seal: str = "", media_type: str = "application/json") -> Response:
    """JSON, compressed where that is asked for and pays.

    With a `seal` (such as `Atlas.seal`: what the body is made from) it has an ETag, is kept by browsers and asked for again each time,
    and 304 where the client has it.
    """
    packed = len(body) > LEAST and accepts_gzip(request.headers)
    headers = {"Vary": "Accept-Encoding"}
    if seal:
        tag = hashlib.sha256(seal.encode() + body).hexdigest()[:32]
        headers |= {"ETag": f'"{tag}-gzip"' if packed else f'"{tag}"', "Cache-Control": "no-cache"}
        held = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if held & {headers["ETag"], "*"}:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if packed:
        body, headers["Content-Encoding"] = gzip.compress(body, _FAST, mtime=0), "gzip"
    return Response(body, headers=headers, media_type=media_type)


class PageFiles(StaticFiles):
    """The files of the built page, each packed the first time it is asked for and kept in memory; parts of files are sent as they are."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """As `StaticFiles` does it, in a thread: the file is packed there, too."""
        found, facts = super().lookup_path(path)
        if facts is not None and stat.S_ISREG(facts.st_mode):
            _file(found, facts.st_mtime_ns, facts.st_size)
        return found, facts

    def file_response(self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        request = Headers(scope=scope)
        tag, packed = _file(str(full_path), stat_result.st_mtime_ns, stat_result.st_size)
        headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"} | ({"Vary": "Accept-Encoding"} if packed else {})
        answer: Response = FileResponse(full_path, status_code, headers, stat_result=stat_result)
        if packed is not None and "range" not in request and accepts_gzip(request):
            told = ("last-modified", "content-type", "cache-control", "vary")
            own = {"ETag": f'"{tag}-gzip"', "Content-Encoding": "gzip", "Content-Length": str(len(packed))}
            body = b"" if scope["method"] == "HEAD" else packed
            answer = Response(body, status_code, own | {name: answer.headers[name] for name in told})
        return NotModifiedResponse(answer.headers) if self.is_not_modified(answer.headers, request) else answer


@lru_cache(maxsize=256)
def _file(path: str, mtime_ns: int, size: int) -> tuple[str, bytes | None]:
    """Hash of a file's bytes, and they packed; None where that makes them no smaller."""
    data = Path(path).read_bytes()
    packed = gzip.compress(data, _SMALL, mtime=0) if Path(path).suffix in _TEXTS else data
    return hashlib.sha256(data).hexdigest()[:32], packed if len(packed) < len(data) else None
