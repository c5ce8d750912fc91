"""A line a request: JSON for programs, short words for a person at a terminal. And the server's own messages as JSON."""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import unquote_plus

from geoplantnet.serving.guard.exchange import REQUEST_ID, Exchange
from geoplantnet.serving.guard.keys import PREFIX

_LONGEST = 1000
"""Characters of a path or query that are kept: a line stays below what a pipe takes in one piece (4 kB), also of many writers."""
_PLACES = {"lat", "lon", "topleftlon", "topleftlat", "bottomrightlon", "bottomrightlat"}
"""Where somebody found a plant: beside an address it would tell where a person was."""
_PAIR = re.compile(r"([^?&=\s]{1,100})=[^&\s]*")
_KEYLIKE = re.compile(rf"{PREFIX}[A-Za-z0-9_%-]{{8,}}")


@dataclass(frozen=True, kw_only=True)
class AccessLog:
    """Where the lines go. One write a line: lines of several processes do not mix."""

    human: bool
    file: int = 2
    """Number of the open file; 2 = standard error."""

    @classmethod
    def of(cls, kind: str, stream: TextIO) -> AccessLog | None:
        """As `ServerSettings.access_log` says, onto a stream; None for no log."""
        return None if kind == "none" else cls(human=stream.isatty() if kind == "auto" else kind == "text", file=stream.fileno())

    def write(self, scope: Any, exchange: Exchange, seconds: float) -> None:
        """Tell of one request. A log that cannot be written to stops no server."""
        line = _human(scope, exchange, seconds) if self.human else _json(scope, exchange, seconds)
        try:
            os.write(self.file, line.encode("utf-8", "backslashreplace"))
        except OSError:
            return


def _json(scope: Any, exchange: Exchange, seconds: float) -> str:
    """ASCII only, so that no control character, line end or other script reaches a terminal through the log."""
    client = scope.get("client")
    record = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request": exchange.id,
        "client": client[0] if client else None,
        "method": scope["method"][:20],
        "path": _kept(scope["path"]),
        "query": _kept(scope["query_string"].decode("latin-1")),
        "status": exchange.status,
        "bytes": exchange.bytes,
        "ms": round(1000 * seconds, 2),
        "kind": exchange.kind,
        "layer": _kept(",".join(exchange.layers)) or None,
        "key": exchange.key.name if exchange.key is not None else None,
    }
    if exchange.reason:
        record["refused"] = exchange.reason
    line = json.dumps(record)
    if len(line) > 4000:  # escapes may make six characters of one
        line = json.dumps({**record, "path": record["path"][:200], "query": record["query"][:200], "layer": None})
    return line + "\n"


def _human(scope: Any, exchange: Exchange, seconds: float) -> str:
    query = scope["query_string"].decode("latin-1")
    asked = _kept(scope["path"] + ("?" + query if query else ""))
    request = f"{scope['method'][:20]} {asked}".encode("unicode_escape").decode("ascii")
    whose = f"  {exchange.key.name}" if exchange.key is not None else ""
    why = f"  refused: {exchange.reason}" if exchange.reason else ""
    size = f"{exchange.bytes / 1000:8.1f} kB"
    return f"{datetime.now():%H:%M:%S}  {exchange.status}  {1000 * seconds:7.1f} ms  {size}  {request}{whose}{why}\n"


def _kept(text: str) -> str:
    text = _PAIR.sub(_without_place, _KEYLIKE.sub(f"{PREFIX}***", text))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _without_place(pair: re.Match[str]) -> str:
    return f"{pair[1]}=***" if unquote_plus(pair[1]).lower() in _PLACES else pair[0]


class JsonLines(logging.Formatter):
    """Messages of the server itself, a JSON object a line, with the request they are about."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _KEYLIKE.sub(f"{PREFIX}***", record.getMessage()),
        }
        if request := REQUEST_ID.get():
            told["request"] = request
        if record.exc_info:
            told["error"] = _KEYLIKE.sub(f"{PREFIX}***", self.formatException(record.exc_info))
        return json.dumps(told)


def logging_of(*, human: bool) -> dict[str, Any]:
    """A `logging.config.dictConfig`: warnings and worse on standard error, for people or as JSON."""
    line = {"format": "%(levelname)s: %(message)s"} if human else {"()": JsonLines}
    handler = {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": line},
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }
