"""Tiles: what all facades of tiles share (`Pyramid`, `Endpoint`), and the plainest of them, XYZ with TileJSON.

    /tiles/{layer}.json                      TileJSON 3.0
    /tiles/{layer}/{z}/{x}/{y}.png           a tile of WebMercatorQuad; also .webp and .jpg
    /tiles/v-bb8bcb8e32f0/{layer}/...        the same, of one version of the maps: kept for a year by whoever fetched it

Parameters of both: `style`, `time`, `scenario` and, of the style `presence`, `lambda`.

A tile whose data are in memory takes less time than the way to another thread and back, so it is made at once; what has to be read
or computed goes to a thread, and the others are answered meanwhile.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving import styles
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.cache import Cache, NotHeld, held_only, takes_time
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84
from geoplantnet.serving.dimensions import lambda_of
from geoplantnet.serving.exceptions import InvalidDimensionValue, InvalidFormat, InvalidParameter, VersionGone, shown
from geoplantnet.serving.guard import exchange_of
from geoplantnet.serving.render import JPEG, PNG, WEBP, render
from geoplantnet.serving.styles import Drawing
from geoplantnet.serving.tilematrix import TILE_MATRIX_SETS, TILE_SIZE, WEB_MERCATOR, TileMatrixSet, tile_bounds, tile_number
from geoplantnet.serving.warp import View
from geoplantnet.serving.wms import Answer

EXTENSIONS: Mapping[str, str] = {"png": PNG, "webp": WEBP, "jpg": JPEG}
"""Formats of tiles, by the ends of their URLs."""
IMMUTABLE = "public, max-age=31536000, immutable"
"""For URLs that name the version of the maps: what they answer never changes."""
BRIEF = "public, max-age=300, must-revalidate"
"""For all others."""

_VERSION = re.compile(r"v-[0-9a-f]{12}")
_LONGEST_TIME = 80
_DRAWINGS = 2048
"""Layers in a style and an epoch that are kept ready."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A GET or HEAD request below a facade's path."""

    path: str
    """What follows the facade's own path, decoded, without a slash in front."""
    query: tuple[tuple[str, str], ...]
    etag: str
    """If-None-Match: what the client holds."""
    public_url: Callable[[], str]
    """Address of the whole server, by which the client came."""
    note_layer: Callable[[str], None]
    """Called with the layer that is asked for: for the log."""


class Pyramid:
    """The tiles of an atlas: which there are, how they are named, what they look like, how long they last."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        tile = atlas.catalog.tiles[0]
        cell = (tile.bounds[2] - tile.bounds[0]) / tile.properties["proj:shape"][0]
        self.sets: Mapping[str, TileMatrixSet] = {one.id: one.down_to(cell) for one in TILE_MATRIX_SETS.values()}
        """Those that are served, down to what the cells are worth."""
        self.version = f"v-{atlas.version[:12]}"
        """The segment of a URL that names what is served now."""
        self._drawings = Cache(_DRAWINGS)

    def drawing(
        self, layer: str, *, style: str = "", time: str = "", scenario: str = "", threshold: float | None = None
    ) -> tuple[Epoch, Drawing]:
        """What a client's words mean. Raises LayerNotFound, StyleNotDefined, InvalidDimensionValue."""
        if len(time) > _LONGEST_TIME:  # what is kept is bounded by the number of its keys
            raise InvalidDimensionValue(f"time {shown(time)} is no time; write a date such as 2025-01-01, or start/end")

        def make() -> tuple[Epoch, Drawing]:
            known = self.atlas.layer(layer)
            epoch = self.atlas.epoch(known, time=time, scenario=scenario)
            drawing = styles.drawing(self.atlas.shown_by(known, epoch), style, threshold=threshold)
            epoch.mosaic.field(drawing.source, drawing.reads)  # opens files, which is for now and not for the first tile
            return epoch, drawing

        return self._drawings.get((layer, style, time, scenario, threshold), make, lambda _: 1)

    def image(self, drawn: tuple[Epoch, Drawing], tiles: TileMatrixSet, matrix: str, row: int, col: int, format: str) -> bytes:
        """A tile. Without data, the same few bytes each time. Raises TileOutOfRange, and what `render` raises."""
        epoch, drawing = drawn
        bounds = tile_bounds(tiles, matrix, row, col)
        return render([(epoch.mosaic, drawing)], View(crs=tiles.crs, bbox=bounds, width=TILE_SIZE, height=TILE_SIZE), format=format)

    def unversioned(self, segments: Sequence[str]) -> tuple[Sequence[str], str]:
        """A path without the version, and how long its answer lasts. Raises VersionGone for a version that is not served."""
        if not segments or not _VERSION.fullmatch(segments[0]):
            return segments, BRIEF
        if segments[0] != self.version:
            raise VersionGone(
                f"the maps have been published anew: version {segments[0]} is no longer served, {self.version} is; read the "
                "capabilities, or the TileJSON, again"
            )
        return segments[1:], IMMUTABLE

    def tag(self, *words: str) -> str:
        """The strong ETag of what these words ask for: the same words get the same bytes from the same maps and the same program."""
        told = "\n".join((self.atlas.seal, *words))
        return f'"{hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'

    def kept(self, asked: Asked, tag: str, lasts: str, make: Callable[[], tuple[bytes, str]]) -> Answer:
        """An answer (body and media type) with its ETag; without body, and unmade, for a client that holds it."""
        headers = {"ETag": tag, "Cache-Control": lasts}
        if tag in asked.etag:  # only an answer without fault ever carried it
            return Answer(b"", "", HTTPStatus.NOT_MODIFIED, headers)
        body, media_type = make()
        return Answer(body, media_type, HTTPStatus.OK, headers)


class XyzTiles:
    """Tiles as web maps ask for them, and their TileJSON."""

    def __init__(self, pyramid: Pyramid) -> None:
        self._pyramid = pyramid
        self._set = pyramid.sets[WEB_MERCATOR.id]

    def answer(self, asked: Asked) -> Answer:
        """Raises LayerNotFound, VersionGone, TileOutOfRange and others of `exceptions.FAULTS`."""
        segments, lasts = self._pyramid.unversioned(asked.path.split("/"))
        # what a client holds is looked at before what it asks for is read: a 304 costs next to nothing
        if len(segments) == 4:
            return self._pyramid.kept(
                asked, self._pyramid.tag("xyz", *segments, repr(asked.query)), lasts, lambda: self._tile(segments, asked)
            )
        if len(segments) == 1 and segments[0].endswith(".json"):
            url = asked.public_url()
            tag = self._pyramid.tag("tilejson", url, *segments, repr(asked.query))
            return self._pyramid.kept(asked, tag, "no-cache", lambda: (self._tilejson(segments[0], asked, url), "application/json"))
        raise LayerNotFound(f"/tiles/{shown(asked.path)} is neither /tiles/LAYER/Z/X/Y.png nor /tiles/LAYER.json")

    def _tile(self, segments: Sequence[str], asked: Asked) -> tuple[bytes, str]:
        layer, z, x, last = segments
        asked.note_layer(layer)
        y, _, extension = last.partition(".")
        drawn = self._pyramid.drawing(layer, **_choices(asked.query))
        format = format_of(extension)
        matrix = self._set.matrix(z)
        row, col = tile_number(y, "y", matrix.height), tile_number(x, "x", matrix.width)
        return self._pyramid.image(drawn, self._set, z, row, col, format), format

    def _tilejson(self, name: str, asked: Asked, url: str) -> bytes:
        takes_time()
        asked.note_layer(name.removesuffix(".json"))
        epoch, drawing = self._pyramid.drawing(name.removesuffix(".json"), **_choices(asked.query))
        layer, atlas = drawing.layer, self._pyramid.atlas
        query = f"?{urlencode(asked.query)}" if asked.query else ""
        dimensions = [(name, value) for name, value in asked.query if name != "style"]  # the style is in the path
        document = {
            "tilejson": "3.0.0",
            "name": layer.title,
            "description": " ".join(part for part in (layer.description, layer.direction) if part),
            "attribution": html.escape(layer.attribution, quote=False),  # clients take it for HTML
            "version": "1.0.0",
            "scheme": "xyz",
            "tiles": [f"{url}/tiles/{self._pyramid.version}/{quote(layer.id)}/{{z}}/{{x}}/{{y}}.png{query}"],
            "minzoom": 0,
            "maxzoom": len(self._set.matrices) - 1,
            "bounds": [round(v, 6) for v in extents(atlas.catalog)[CRS84.name]],
            "epoch": epoch.name,
            "legend_url": f"{url}/wmts/1.0.0/{self._pyramid.version}/{quote(layer.id)}/{drawing.style}/legend.png"
            + (f"?{urlencode(dimensions)}" if dimensions else ""),
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


class Endpoint:
    """A facade as an ASGI application below one path: GET and HEAD alone, at once where it can be, else on a thread."""

    def __init__(self, answer_of: Callable[[Scope], Callable[[Asked], Answer]], public_url: Callable[[Request], str]) -> None:
        """`answer_of` gives what answers a request: callable from several threads, raising NotHeld where it would wait within `held_only`."""
        self._answer_of, self._public_url = answer_of, public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _send(send, Answer(b"only GET is served here\n", "text/plain", HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"}))
            return
        asked = Asked(
            path=scope["path_params"].get("path", ""),
            query=tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            etag=next((value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"), ""),
            public_url=lambda: self._public_url(Request(scope)),
            note_layer=exchange.note_layer if (exchange := exchange_of(scope)) else _unheard,
        )
        make = self._answer_of(scope)
        await _send(send, await at_once(lambda: make(asked)))


async def at_once(make: Callable[[], Answer]) -> Answer:
    """What `make` gives: on this thread when it takes no time, else on another. Raises what `make` does, but for NotHeld."""
    try:
        with held_only():
            return make()
    except NotHeld:
        return await run_in_threadpool(make)


async def _send(send: Send, answer: Answer) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.status != HTTPStatus.NOT_MODIFIED:
        kind = answer.media_type + ("; charset=utf-8" if answer.media_type.startswith("text/") else "")
        headers += [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _unheard(layer: str) -> None:
    """Where no log is kept."""


def format_of(extension: str) -> str:
    """The media type of a tile by the end of its URL. Raises InvalidFormat."""
    found = EXTENSIONS.get(extension)
    if found is None:
        raise InvalidFormat(f"tiles do not end in {shown('.' + extension)}; use .{', .'.join(EXTENSIONS)}")
    return found


def _choices(query: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The parameters of a tile as `Pyramid.drawing` takes them. Raises InvalidParameter, InvalidDimensionValue."""
    chosen: dict[str, Any] = {}
    for name, value in query:
        if name not in _PARAMETERS:
            raise InvalidParameter(
                f"parameter {shown(name)} is not known here; use {', '.join(_PARAMETERS)}.{did_you_mean(name[:30], _PARAMETERS)}"
            )
        if name in chosen:
            raise InvalidParameter(f"parameter {name} is given more than once; give it once")
        chosen[name] = value
    if "lambda" in chosen:
        chosen["threshold"] = lambda_of(chosen.pop("lambda"), "lambda")
    return chosen


_PARAMETERS = ("style", "time", "scenario", "lambda")
