"""A Zarr store at an http(s) or s3 address, for reading: every answer is checked, and asked again within a budget.

Stores of fsspec take a busy server's answer for a missing chunk, or stop at the first broken connection. Here only 404 and 410
mean that a chunk is missing (and is fill, as Zarr says); what may pass is tried again, and ends as TryAgain.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from geoplantnet.errors import GeoPlantNetError
from geoplantnet.sources.http import Fault, Http, public

_TEXT = ("text/html", "application/xhtml+xml", "application/problem+json")


class _Refused(GeoPlantNetError):
    """An answer that will not pass. Never leaves this module when it says that nothing is there."""

    exit_code = 4


class HttpStore(Store):
    """Keys below a URL. Cannot list: the store needs consolidated metadata, or its members be asked for by name."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, url: str, http: Http) -> None:
        super().__init__(read_only=True)
        self._url, self._http = url.rstrip("/"), http

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HttpStore) and other._url == self._url

    def __repr__(self) -> str:
        return f"HttpStore({public(self._url)})"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Bytes of a key, None where there are none. Raises TryAgain, ConfigurationError, and RasterError's kin."""
        url = self._of(key)
        data = self._http.patience.attempt(f"GET {public(url)}", lambda: self._once(url, byte_range))
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Bytes of several keys."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether there is a key."""
        url = self._of(key)
        return self._http.patience.attempt(f"GET {public(url)}", lambda: self._once(url, RangeByteRequest(0, 1))) is not None

    def _of(self, key: str) -> str:
        """The URL of a key; a query stays behind it."""
        path, mark, query = self._url.partition("?")
        return f"{path.rstrip('/')}/{key}{mark}{query}"

    def _once(self, url: str, byte_range: ByteRequest | None) -> bytes | None:
        """One attempt. Raises Fault."""
        asked = _header(byte_range)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={asked}"} if asked else {})
        try:
            answer = self._http.ask("GET", url, headers=headers, wrong=_Refused)
        except _Refused as error:
            said = re.match(r"GET .*?: status (\d+)", str(error))  # the first: what follows are the server's words
            if said is not None and said[1] in ("404", "410"):
                return None
            raise
        where, told = public(url), answer.headers.get("Content-Range", "")
        if answer.headers.get("Content-Type", "").split(";")[0].strip().lower() in _TEXT:
            raise Fault("text in place of data", f"{where} with status {answer.status}")
        if byte_range is None:
            if answer.status != 200:
                raise Fault("wrong range", f"{where}: status {answer.status} for the whole")
            return answer.body
        if answer.status != 206:
            return _part(answer.body, byte_range)
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", told.strip())
        if match is None:
            raise Fault("wrong range", f"{where}: status 206 with Content-Range {told!r}")
        first, last, total = (int(group) for group in match.groups())
        start, end = _bounds(byte_range, total)
        if (first, last + 1) != (start, end) or len(answer.body) != end - start:
            raise Fault("wrong range", f"{where}: asked for bytes {asked}, got {told!r} and {len(answer.body)} bytes")
        return answer.body

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("this store is read only")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("this store is read only")

    def list(self) -> AsyncIterator[str]:
        raise NotImplementedError("a store over HTTP cannot be listed")

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError("a store over HTTP cannot be listed")

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError("a store over HTTP cannot be listed")


def _header(byte_range: ByteRequest | None) -> str:
    match byte_range:
        case RangeByteRequest(start, end):
            return f"{start}-{end - 1}"
        case OffsetByteRequest(offset):
            return f"{offset}-"
        case SuffixByteRequest(suffix):
            return f"-{suffix}"
    return ""


def _bounds(byte_range: ByteRequest, total: int) -> tuple[int, int]:
    match byte_range:
        case RangeByteRequest(start, end):
            return start, min(end, total)
        case OffsetByteRequest(offset):
            return offset, total
    return max(0, total - byte_range.suffix), total


def _part(body: bytes, byte_range: ByteRequest) -> bytes:
    start, end = _bounds(byte_range, len(body))
    return body[start:end]
