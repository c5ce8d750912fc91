"""An ASGI client that can misbehave: lie about lengths, send slowly, hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Told:
    """What came back."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    taken: int = 0
    """Messages of the request that were asked for."""

    def header(self, name: str) -> str:
        return ", ".join(value.decode() for key, value in self.headers if key.lower() == name.encode())

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One request: `send` it, `leave` at any time."""

    def __init__(
        self,
        app: Any,
        path: str = "/wms",
        *,
        query: bytes = b"",
        method: str = "GET",
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: Sequence[bytes] = (b"",),
        endless: bool = False,
        raw_path: bytes | None = None,
    ) -> None:
        self.told, self.gone = Told(), asyncio.Event()
        self._app, self._parts, self._endless = app, list(body), endless
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode() if raw_path is None else raw_path,
            "root_path": "",
            "query_string": query,
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("192.0.2.7", 1234),
            "server": ("localhost", 80),
        }

    def leave(self) -> None:
        self.gone.set()

    async def send(self) -> Told:
        await self._app(self.scope, self._receive, self._take)
        return self.told

    async def _receive(self) -> dict[str, Any]:
        if self.gone.is_set() or not (self._parts or self._endless):
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self.told.taken += 1
        part = self._parts.pop(0) if self._parts else b"x" * 1000
        return {"type": "http.request", "body": part, "more_body": bool(self._parts) or self._endless}

    async def _take(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        if message["type"] == "http.response.start":
            assert self.told.status == 0, "answered twice"
            self.told.status, self.told.headers = message["status"], list(message["headers"])
        else:
            self.told.body += message.get("body", b"")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An application that says back what it was sent."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello " + message.get("body", b"")})


async def until(true: Callable[[], bool]) -> None:
    """Give the others their turn until something is so."""
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never was so")


def run(work: Awaitable[T]) -> T:
    """Run a coroutine; a minute is for ever."""

    async def timed() -> T:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(timed())
