"""The page at /identify, and beside it the offline folder of the net and what this server offers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Scope

from geoplantnet.serving.answers import PageFiles, json_answer, to_json
from geoplantnet.serving.app import PAGE
from geoplantnet.serving.identify.desk import Desk
from geoplantnet.serving.languages import LANGUAGES

FILES = PAGE / "identify"
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data: blob:; connect-src 'self'; worker-src 'self'; "
    "manifest-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
"""Of the page: its own files alone, and WebAssembly, in which the net runs offline."""


class _Files(PageFiles):
    """The page's files, with its policy."""

    def file_response(self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["Content-Security-Policy"] = _POLICY
        return answer


def routes(desk: Desk) -> list[BaseRoute]:
    """Below /identify."""
    folder = desk.model_folder

    def config(request: Request) -> Response:
        card = desk.identifier.network.card
        model = None if folder is None else {"size": size_of(folder), "version": card.version}
        told = {
            "title": desk.settings.title,
            "languages": list(LANGUAGES),
            "maps": desk.atlas is not None,
            "places": desk.identifier.knows_places,
            "model": model,
            "store": desk.store is not None,
            "licences": list(desk.settings.licences),
        }
        return json_answer(request, to_json(told), seal=desk.version)

    def none(request: Request) -> Response:
        raise HTTPException(404, "this server offers no net to keep: it was started without an offline folder")

    def not_built(request: Request) -> Response:
        return PlainTextResponse(
            "The page is not built. In a checkout run: npm ci && npm run build, in geoplantnet/serving/web.\nThe API answers without it: /v2/docs\n"
        )

    model = Mount("/model", PageFiles(directory=folder)) if folder is not None else Route("/model/{path:path}", none)
    built = (FILES / "index.html").is_file()
    return [
        Route("/config.json", config, methods=["GET"]),
        model,
        Mount("/", _Files(directory=FILES, html=True)) if built else Route("/", not_built, methods=["GET"]),
    ]


def size_of(folder: Path) -> int:
    """Bytes of what a browser keeps of an offline folder: its files, not the index of images, which is for servers."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
