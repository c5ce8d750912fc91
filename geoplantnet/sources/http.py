"""HTTP over a network that fails: a budget, retries that cover POST, and files of which every byte is checked.

    Budget      what one read may cost, a value           Patience    a budget being spent, with its clock
    Http        GET and POST of JSON and of byte ranges   Assets      rasters at URLs, as rasterio opens them

Three kinds of trouble are told apart. What may pass (a busy server, a broken connection, a page of HTML in place of data) is
tried again, and becomes TryAgain once the budget is spent. What will not pass (a wrong address, missing credentials) is a
ConfigurationError or a RasterError at once. What would pass for data is never given to GDAL: its own reader takes any bytes a
server sends with status 200 or 206 (tests/sources/test_http.py shows it), so `Assets` reads in its place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

import rasterio
import requests
import urllib3
from rasterio.abc import MultiByteRangeResourceContainer
from rasterio.errors import RasterioError, WarpOperationError
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from geoplantnet.errors import ConfigurationError, GeoPlantNetError, InputError, RasterError, TryAgain

T = TypeVar("T")
Sign = Callable[[str, str, "Patience"], tuple[str, dict[str, str]]]
"""(method, URL, patience) -> the URL to ask and more headers: called before each request, so that no signature grows old."""

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 509, *range(520, 528)})
"""Statuses that may pass by themselves (520 to 527: a proxy in front of a server that does not answer)."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5
_SLOWEST = 1000.0  # bytes a second: an answer slower than that, `timeout` seconds after it began, is given up
_PIECE = 65536
_BLOCK = 16384  # bytes: ranges are asked in whole blocks, as GDAL does
_HEAD = 4 * _BLOCK  # bytes asked first: most headers of cloud-optimised GeoTIFFs are smaller
_KEPT_BLOCKS = 256  # most blocks kept of one file: 4 MB; GDAL keeps what it has decoded
_KEPT_FILES = 4
_READINGS = 3  # times a raster that cannot be decoded is fetched before it is called damaged

_RASTERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
"""How TIFF, BigTIFF and JPEG 2000 begin. GDAL would also take XML for a VRT and read any file it names."""

_HASHES = {0x11: "sha1", 0x12: "sha256", 0x13: "sha512", 0x14: "sha3_512", 0x16: "sha3_256", 0xD5: "md5", 0xB220: "blake2b"}
"""Codes of the multihash table, as `file:checksum` uses them."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one read (a search and all its pixels) may cost at most."""

    seconds: float = 600.0
    """For the whole read, waiting included."""
    attempts: int = 8
    """For one request, and for one asset."""
    timeout: float = 30.0
    """Seconds without an answer, or without a byte of it, after which a request is given up."""
    first_pause: float = 0.5
    """Seconds before the second attempt; doubles each time, less up to half by chance."""
    longest_pause: float = 60.0
    """Seconds; Retry-After may ask for more."""
    max_pages: int = 200
    """Pages of a search, or documents of a static catalog."""
    max_items: int = 5000
    max_json: int = 64_000_000
    """Bytes of one JSON document."""
    max_whole: int = 16_000_000
    """Bytes of an asset that may be fetched whole: to verify its checksum, or because its server knows no ranges."""

    def __post_init__(self) -> None:
        for name in ("seconds", "attempts", "timeout", "max_pages", "max_items", "max_json"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"budget: {name} is {getattr(self, name)}, must be more than 0")
        if self.first_pause < 0 or self.longest_pause < self.first_pause or self.max_whole < 0:
            raise ConfigurationError(
                f"budget: pauses {self.first_pause}..{self.longest_pause} s and max_whole {self.max_whole} must rise and be at least 0"
            )

    def begin(self) -> Patience:
        """Start the clock."""
        return Patience(self)


class Fault(Exception):
    """What went wrong with one attempt and may pass by itself. Never leaves this module but as the cause of a TryAgain."""

    def __init__(self, cause: str, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        """A few words, the same for the same trouble: what is counted."""
        self.retry_after = retry_after
        """Seconds the server asked to wait."""


class Changed(Exception):
    """A file became another while it was read: nothing of it can be used, the whole read has to start again."""


class Patience:
    """A budget being spent: one a read, passed to everything the read does. The clock, sleep and chance are seams."""

    def __init__(
        self,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        chance: random.Random | None = None,
    ) -> None:
        self.budget = budget
        self.faults: Counter[str] = Counter()
        """What went wrong so far, and how often."""
        self.now = now
        self._clock, self._sleep, self._chance = clock, sleep, chance or random.Random()
        self._began = clock()

    @property
    def spent(self) -> float:
        """Seconds since the read began."""
        return self._clock() - self._began

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.budget.seconds - self.spent)

    def attempt(self, what: str, call: Callable[[], T]) -> T:
        """Call until it succeeds. A Fault is tried again after a pause; raises TryAgain when the budget is spent.

        `what` names it for people, without secrets.
        """
        seen: Counter[str] = Counter()
        while True:
            if self.remaining <= 0:
                raise self._given_up(what, seen, "no time was left to ask")
            try:
                return call()
            except Fault as fault:
                seen[fault.cause] += 1
                self.faults[fault.cause] += 1
                tried = sum(seen.values())
                if tried >= self.budget.attempts:
                    raise self._given_up(what, seen, str(fault)) from fault
                pause = self._pause(tried, fault.retry_after)
                if pause >= self.remaining:
                    wish = f"the server asks to wait {fault.retry_after:.0f} s; " if fault.retry_after else ""
                    raise self._given_up(what, seen, f"{wish}{fault}") from fault
                self._sleep(pause)

    def _pause(self, tried: int, retry_after: float | None) -> float:
        pause = min(self.budget.first_pause * 2.0 ** (tried - 1), self.budget.longest_pause)
        return max(pause * self._chance.uniform(0.5, 1.0), retry_after or 0.0)

    def _given_up(self, what: str, seen: Mapping[str, int], last: str) -> TryAgain:
        tried = sum(seen.values())
        causes = ", ".join(f"{cause} x {n}" for cause, n in sorted(seen.items()))
        return TryAgain(
            f"{what}: given up after {tried} attempt{'s' if tried != 1 else ''} ({causes or 'none'}) and {self.spent:.1f} s of a budget of "
            f"{self.budget.attempts} attempts a request and {self.budget.seconds:g} s; last: {last}. Try again later, or raise the budget"
        )


def patience_of(budget: Budget | Patience) -> Patience:
    """A running budget: itself, or a value that starts running now."""
    return budget if isinstance(budget, Patience) else budget.begin()


def public(url: str) -> str:
    """A URL without its query, user and password: what may be shown, logged and stored."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:  # a port that is no number, brackets that do not close
        return "(a malformed address)"
    if not parts.scheme:
        return url
    return f"{parts.scheme}://{host}{parts.path}"


@dataclass(frozen=True)
class Answer:
    """One answer of a server, read to its end and found whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Http:
    """GET and POST within a budget. Every answer is read to its end, and must be as long as it says.

    Secrets (`headers`) go to the hosts of `hosts` alone, whatever redirects say, and with `https_only` never in clear, whatever
    a catalog's links say; they are not logged and not in errors.
    """

    def __init__(
        self,
        patience: Patience,
        *,
        headers: Mapping[str, str] | None = None,
        hosts: frozenset[str] = frozenset(),
        https_only: bool = False,
        sign: Sign | None = None,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self.patience = patience
        self._headers, self._hosts, self._sign, self._https_only = dict(headers or {}), hosts, sign, https_only
        self._session = _Session()
        self._session.headers["User-Agent"] = "geoplantnet"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter or _WatchedAdapter())

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def json(
        self,
        url: str,
        *,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        check: Callable[[Any], str | None] = lambda document: None,
    ) -> Any:
        """A JSON document. `check` says what is wrong with it (then it is asked again) or None.

        Raises TryAgain, ConfigurationError (a status that will not pass), InputError (larger than the budget allows).
        """

        def ask() -> Any:
            answer = self.ask(method, url, params=params, body=body, headers={"Accept": "application/json", **(headers or {})})
            document = _parsed(answer)
            wrong = check(document)
            if wrong:
                raise Fault("error with status 200", f"{public(answer.url)}: {wrong}")
            return document

        return self.patience.attempt(f"{method} {public(url)}", ask)

    def ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
        wrong: type[GeoPlantNetError] = ConfigurationError,
    ) -> Answer:
        """One attempt, redirects followed. Raises Fault, or `wrong` for what will not pass."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(method, url, params, body, headers or {}, self.patience.budget.max_json if most is None else most, wrong)
            if answer.status not in REDIRECTS:
                return _accepted(answer, method, self.patience, wrong)
            url, params = _redirected(answer, method), None
        raise wrong(f"{method} {public(url)}: more than {MAX_REDIRECTS} redirects; use the address they end at")

    def _once(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str],
        most: int,
        wrong: type[GeoPlantNetError],
    ) -> Answer:
        sent = dict(headers)
        if self._sign is not None:
            url, more = self._sign(method, url, self.patience)
            sent |= more
        try:
            parts, port = urlsplit(url), urlsplit(url).port  # the port is judged when it is asked for
        except ValueError as error:
            raise wrong(f"{public(url)}: {error}; mend the catalog or the source") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise wrong(f"{public(url)} is no http or https address; mend it, or sign: s3 for s3 addresses")
        if parts.hostname in self._hosts and (parts.scheme == "https" or not self._https_only):
            sent |= {name: with_environment(value) for name, value in self._headers.items()}
        budget, remaining = self.patience.budget, self.patience.remaining
        timeout = max(0.001, min(budget.timeout, remaining))
        try:
            request = self._session.prepare_request(requests.Request(method, url, headers=sent, params=dict(params or {}), json=body))
            settings = self._session.merge_environment_settings(request.url or url, {}, True, None, None)
        except (requests.RequestException, ValueError) as error:
            raise ConfigurationError(f"{public(url)} cannot be asked: {type(error).__name__}") from None
        with _Watch() as watch:
            watch.cut_after(timeout)
            try:
                with self._session.send(request, timeout=timeout, allow_redirects=False, **settings) as response:
                    watch.cut_after(max(0.001, self.patience.remaining))
                    data = _body(response, self.patience, most, wrong)
                    return Answer(response.status_code, response.headers, data, url)
            except Fault:
                raise
            except requests.exceptions.SSLError as error:
                if "CERTIFICATE" in str(error).upper():
                    raise ConfigurationError(
                        f"{public(url)}: its certificate is not trusted; mend the address or REQUESTS_CA_BUNDLE"
                    ) from None
                raise Fault("connection", f"{public(url)}: TLS") from None
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                cause = "timeout" if watch.cut else _cause(error)
                raise Fault(cause, f"{public(url)}: {type(error).__name__}") from None


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What an item says of an asset's bytes (STAC file extension)."""

    size: int | None = None
    """Bytes (`file:size`)."""
    checksum: str | None = None
    """Multihash, hexadecimal (`file:checksum`)."""


class Assets:
    """Rasters at URLs, as rasterio and what is built upon it open them: give it to odc-stac as `patch_url`.

    The address it returns is a `str` that rasterio opens through this object. Bytes come in ranges; each answer must be the
    range asked for (Content-Range, length, same total and same ETag as before) and no page of text. An asset with a checksum
    that is no larger than the budget's `max_whole` is fetched whole and verified. When that fails for good, GDAL gets no
    bytes, `failure` keeps the error, and `with_retries` raises it whatever GDAL makes of the gap.

    One thread at a time. Paths of this machine are allowed only with `local`, and must be TIFF or JPEG 2000 as well. `begins`:
    how files must begin, where they are of another kind.
    """

    def __init__(
        self,
        http: Http,
        *,
        expected: Mapping[str, Expected] | None = None,
        local: bool = False,
        begins: tuple[bytes, ...] = _RASTERS,
    ) -> None:
        self.http = http
        self.failure: BaseException | None = None
        """The first error since `forget`."""
        self.is_remote = False
        """Whether an address of the network was asked for."""
        self.bytes_read = 0
        """Bytes that came over the network and were accepted."""
        self._expected = dict(expected or {})
        self._local = local
        self.begins = begins
        self._files: OrderedDict[str, _RemoteFile] = OrderedDict()

    def __call__(self, href: str) -> str:
        """The address to hand to rasterio.open. Raises RasterError for what is neither a URL nor an allowed path."""
        if re.match(r"(https?|s3)://", href, re.IGNORECASE):
            try:
                _ = urlsplit(href).port  # rasterio would trip over it, too
            except ValueError as error:
                raise RasterError(f"asset {public(href)}: {error}; mend the item") from None
            self.is_remote = True
            return _Address(href, self)
        path = Path(href.removeprefix("file://"))
        if not self._local or not path.is_file():
            why = (
                "is not a file of this machine"
                if self._local
                else "is not an http, https or s3 address, and the catalog is not of this machine"
            )
            raise RasterError(f"asset {href} {why}; mend the item")
        with path.open("rb") as file:
            _must_begin(file.read(12), href, self.begins)
        return os.fspath(path)

    def forget(self) -> None:
        """Drop every byte and error remembered."""
        self.failure = None
        self._files.clear()

    def open(self, href: str) -> io.RawIOBase:
        """The file at a URL, seekable. Raises FileNotFoundError after noting the error in `failure`."""
        if href in self._files:
            self._files.move_to_end(href)
        else:
            self._files[href] = _RemoteFile(self, href, self._expected.get(href, Expected()))
            while len(self._files) > _KEPT_FILES:
                self._files.popitem(last=False)
        remote = self._files[href]
        if self.failure is not None:  # GDAL tries again, by other doors
            raise FileNotFoundError(href)
        try:
            remote.begin()
        except BaseException as error:
            self.note(error)
            raise FileNotFoundError(href) from None
        return _Handle(remote)

    def note(self, error: BaseException) -> None:
        """Keep the first error: it has passed through C, where exceptions get lost."""
        if self.failure is None:
            self.failure = error


def with_retries(call: Callable[[], T], budget: Budget | Patience, *, assets: Assets | None = None) -> T:
    """Run a read of rasters; run it again after what may pass. Whatever GDAL made of it, a failed byte is an error.

    Raises TryAgain when the budget is spent, RasterError when a raster cannot be decoded (asked thrice where it came over the
    network), and what `assets` met.
    """
    undecodable = 0

    def once() -> T:
        nonlocal undecodable
        if assets is not None:
            assets.failure = None
        result: T | None = None
        error: Exception | None = None
        try:
            result = call()
        except Exception as caught:
            error = caught
        if assets is not None and assets.failure is not None:  # the reason of `error`, or what GDAL passed over
            failure, assets.failure = assets.failure, None
            if isinstance(failure, Changed):
                assets.forget()
                raise Fault("changed", str(failure))
            raise failure
        if error is None:
            return cast(T, result)
        if not isinstance(error, RasterioError | WarpOperationError):
            raise error
        if assets is None and _of_network(error):  # GDAL went to the network by itself
            raise Fault("GDAL", _deepest(error)) from error
        undecodable += 1
        if assets is not None:
            assets.forget()
        if undecodable == _READINGS or (assets is not None and not assets.is_remote):
            again = f" ({undecodable} times, each fetched anew)" if undecodable > 1 else ""
            raise RasterError(
                f"a raster cannot be decoded{again}: {_deepest(error)}; it is damaged, fetch it again or leave it out"
            ) from error
        raise Fault("undecodable", _deepest(error)) from error

    return patience_of(budget).attempt("reading rasters", once)


def gdal_options(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """GDAL options for rasters at URLs: no listing of folders, no sidecar files, nothing remembered between reads.

    `extra` wins. The GDAL_HTTP options matter only where GDAL itself goes to the network (/vsicurl/, /vsis3/), which `Assets`
    avoids: GDAL cannot tell a wrong answer from a right one.
    """
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": "NO",
        "VSI_CACHE": "FALSE",
        "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
        "CPL_VSIL_CURL_USE_HEAD": "NO",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_TIMEOUT": "60",
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
        "GDAL_HTTP_LOW_SPEED_TIME": "30",
        "GDAL_HTTP_MAX_RETRY": "3",
        "GDAL_HTTP_RETRY_DELAY": "1",
        **(extra or {}),
    }


@contextmanager
def gdal_environment(extra: Mapping[str, str] | None = None) -> Iterator[None]:
    """`gdal_options` in force for what is read inside, ``${NAME}`` looked up; without AWS_ options: those are for `Assets` alone."""
    with rasterio.Env(**{name: with_environment(value) for name, value in gdal_options(extra).items() if not name.startswith("AWS_")}):
        yield


class _Address(str):
    """A URL that rasterio opens through `Assets`: rasterio looks for `path` and `fs.open`, everyone else sees the string."""

    path: str
    fs: SimpleNamespace

    def __new__(cls, href: str, assets: Assets) -> _Address:
        self = super().__new__(cls, href)
        self.path, self.fs = href, SimpleNamespace(open=_FileSystem(assets, href))
        return self


class _FileSystem(MultiByteRangeResourceContainer):
    """What rasterio asks to open a file: one file, and no sidecar beside it. GDAL then asks for many blocks at once."""

    def __init__(self, assets: Assets, href: str) -> None:
        self._assets, self._href = assets, href

    def open(self, path: str, mode: str = "rb", **_: object) -> io.RawIOBase:
        if path != self._href:
            raise FileNotFoundError(path)
        return self._assets.open(path)

    def size(self, path: str) -> int:
        with self.open(path) as file:
            return file.seek(0, os.SEEK_END)

    def isfile(self, path: str) -> bool:
        return path == self._href

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return []

    def mtime(self, path: str) -> int:
        return 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)


class _Handle(io.RawIOBase):
    """A position in a remote file."""

    def __init__(self, remote: _RemoteFile) -> None:
        self._remote, self._at = remote, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._remote.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._remote.size if size < 0 else min(self._at + size, self._remote.size)
        data = self._remote.read(self._at, end)
        self._at += len(data)
        return data

    def get_byte_ranges(self, offsets: list[int], sizes: list[int]) -> list[bytes]:
        """Ranges, each as long as asked: rasterio copies what it gets, and a shorter one would leave GDAL old memory for data."""
        return [self._remote.read_all(offset, offset + size) for offset, size in zip(offsets, sizes)]


class _RemoteFile:
    """Checked bytes of one file, and those remembered of it."""

    def __init__(self, assets: Assets, href: str, expected: Expected) -> None:
        self._assets, self._href, self._expected = assets, href, expected
        self.size = -1
        self._etag: str | None = None
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._whole: bytes | None = None

    def begin(self) -> None:
        """Learn the size and the header; fetch the whole when its checksum can be verified."""
        if self.size >= 0:
            return
        most, size = self._assets.http.patience.budget.max_whole, self._expected.size
        if self._expected.checksum is None or size is None or size > most:
            self._attempt(lambda: self._fetch(0, _HEAD))
        verifiable = self._expected.checksum is not None and (self.size if size is None else size) <= most
        if self._whole is None and (verifiable or self.size < 0):
            self._attempt(lambda: self._fetch(0, None))

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end), fewer only after `failure` was noted or at the end of the file."""
        if start >= end:
            return b""
        if self._assets.failure is not None:  # the read is lost: spend nothing more on it
            return b""
        try:
            if self._whole is None:
                self._complete(start, end)
            if self._whole is not None:
                return self._whole[start:end]
            first = start // _BLOCK
            data = b"".join(self._blocks[b] for b in range(first, (end - 1) // _BLOCK + 1))
            self._trim()
            return data[start - first * _BLOCK : end - first * _BLOCK]
        except BaseException as error:
            self._assets.note(error)
            return b""

    def read_all(self, start: int, end: int) -> bytes:
        """Bytes [start, end); zeros after `failure` was noted, also for a range that leaves the file."""
        data = self.read(start, min(end, self.size))
        if len(data) == end - start:
            return data
        where = public(self._href)
        self._assets.note(
            RasterError(f"{where} has {self.size} bytes and says that data lie at {start}-{end - 1}; it is damaged, fetch it again")
        )
        return bytes(end - start)

    def _complete(self, start: int, end: int) -> None:
        """Fetch the missing blocks of a range, neighbours together."""
        missing = [b for b in range(start // _BLOCK, (end - 1) // _BLOCK + 1) if b not in self._blocks]
        while missing and self._whole is None:
            last = 0
            while last + 1 < len(missing) and missing[last + 1] == missing[last] + 1:
                last += 1
            begin, finish = missing[0] * _BLOCK, min((missing[last] + 1) * _BLOCK, self.size)
            self._attempt(lambda begin=begin, finish=finish: self._fetch(begin, finish))  # type: ignore[misc]
            missing = missing[last + 1 :]

    def _trim(self) -> None:
        while len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)

    def _attempt(self, call: Callable[[], None]) -> None:
        self._assets.http.patience.attempt(f"GET {public(self._href)}", call)

    def _fetch(self, start: int, end: int | None) -> None:
        """One attempt at a range [start, end), or at the whole file. Raises Fault, RasterError."""
        most = self._assets.http.patience.budget.max_whole
        headers = {"Accept-Encoding": "identity"} | ({} if end is None else {"Range": f"bytes={start}-{end - 1}"})
        whole_or_range = max(most, 0 if end is None else end - start)
        answer = self._assets.http.ask("GET", self._href, headers=headers, most=whole_or_range, wrong=RasterError)
        where, kind = public(self._href), answer.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind in ("text/html", "application/json", "application/problem+json", "application/xhtml+xml"):
            raise Fault("text in place of a raster", f"{where}: {kind} with status {answer.status}")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Fault("wrong range", f"{where}: compressed although asked not to be")
        total = self._ranged(answer, start, end) if answer.status == 206 else self._entire(answer)
        etag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        self._same_file(total, etag, answer.status)
        if answer.status != 206 and self._expected.checksum is not None and not matches(self._expected.checksum, answer.body):
            raise Fault("wrong checksum", f"{where}: its bytes are not those of its item's file:checksum")
        if start == 0 or answer.status != 206:
            self._begins_as_raster(answer)
        if answer.status != 206 and end is not None and self.size < 0 and self._expected == Expected():
            return  # nothing vouches that this is more than an unlabelled part: `begin` asks for the whole
        self.size, self._etag = total, etag or self._etag
        if answer.status == 206:
            for i in range(0, len(answer.body), _BLOCK):
                self._blocks[(start + i) // _BLOCK] = answer.body[i : i + _BLOCK]
        else:
            self._whole = answer.body
            self._blocks.clear()
        self._assets.bytes_read += len(answer.body)

    def _ranged(self, answer: Answer, start: int, end: int | None) -> int:
        """Size of the file, from an answer that is exactly the range asked for."""
        where, said = public(self._href), answer.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said.strip())
        if match is None or end is None:
            raise Fault("wrong range", f"{where}: status 206 with Content-Range {said!r}")
        first, last, total = (int(group) for group in match.groups())
        if first != start or last + 1 != min(end, total):
            raise Fault("wrong range", f"{where}: asked for bytes {start}-{end - 1}, got {said!r}")
        if len(answer.body) != last + 1 - first:
            raise Fault("truncated", f"{where}: {len(answer.body)} bytes of {last + 1 - first}")
        return total

    def _entire(self, answer: Answer) -> int:
        """Size of the file, from an answer that is all of it: its length must have been declared by somebody."""
        declared = "Content-Length" in answer.headers or answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if not declared and self._expected.size is None and self._expected.checksum is None:
            raise Fault("truncated", f"{public(self._href)}: an answer of undeclared length")
        return len(answer.body)

    def _begins_as_raster(self, answer: Answer) -> None:
        if answer.body[:64].lstrip().lower().startswith((b"<", b"{", b"[")):
            raise Fault("text in place of a raster", f"{public(self._href)}: {answer.body[:40]!r} with status {answer.status}")
        _must_begin(answer.body, public(self._href), self._assets.begins)

    def _same_file(self, total: int, etag: str | None, status: int) -> None:
        """Raises Fault or Changed unless an answer fits what the item said and what came before."""
        where = public(self._href)
        if self._expected.size is not None and total != self._expected.size:
            raise Fault("wrong size", f"{where} has {total} bytes, its item says {self._expected.size}")
        if self.size >= 0 and total != self.size and status != 206:
            raise Fault("wrong range", f"{where}: status {status} with {total} bytes of {self.size}")
        if self.size >= 0 and (total != self.size or (etag is not None and self._etag is not None and etag != self._etag)):
            raise Changed(f"{where}: {self.size} bytes ({self._etag}) before, {total} bytes ({etag}) now")


def matches(checksum: str, data: bytes) -> bool:
    """Whether bytes have a multihash (hexadecimal). Raises InputError for one that is malformed or of an unknown kind."""
    try:
        raw = bytes.fromhex(checksum)
        code, at = _varint(raw, 0)
        length, at = _varint(raw, at)
        name = _HASHES[code]
        if len(raw) - at != length or not length:
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError):
        raise InputError(
            f"file:checksum {str(checksum)[:80]!r} is no multihash of a kind known here ({', '.join(_HASHES.values())}); mend the item"
        ) from None
    digest = hashlib.blake2b(data, digest_size=length) if name == "blake2b" else hashlib.new(name, data, usedforsecurity=False)
    return digest.digest() == raw[at:]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _must_begin(head: bytes, where: str, begins: tuple[bytes, ...]) -> None:
    if not head.startswith(begins):
        kinds = "neither TIFF nor JPEG 2000" if begins is _RASTERS else "not of the kind expected"
        raise RasterError(f"{where} begins with {head[:8]!r}: {kinds}; only these are opened over the network")


def with_environment(value: str) -> str:
    """Put environment variables in the place of ``${NAME}``. Raises ConfigurationError when one is not set."""

    def of(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise ConfigurationError(f"the environment variable {match[1]} is not set; the source needs it for its credentials") from None

    return re.sub(r"\$\{(\w+)\}", of, value)


def _redirected(answer: Answer, method: str) -> str:
    try:
        target = urljoin(answer.url, answer.headers.get("Location", ""))
        parts, here = urlsplit(target), urlsplit(answer.url)
    except ValueError as error:
        raise ConfigurationError(f"{public(answer.url)} redirects to an address that is none: {error}") from None
    if "Location" not in answer.headers or parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{public(answer.url)} redirects to {public(target)!r}, which is no http or https address")
    if here.scheme == "https" and parts.scheme == "http":
        raise ConfigurationError(f"{public(answer.url)} redirects from https to http ({public(target)}); use an https address")
    if method != "GET" and answer.status not in (307, 308):
        raise ConfigurationError(f"{public(answer.url)} redirects a {method} to {public(target)}; use that address in the source")
    return target


def _accepted(answer: Answer, method: str, patience: Patience, wrong: type[GeoPlantNetError]) -> Answer:
    """The answer when its status is a success; raises Fault or `wrong`."""
    status, what = answer.status, f"{method} {public(answer.url)}"
    if 200 <= status < 300:
        return answer
    if status in TRANSIENT:
        raise Fault(f"status {status}", what, retry_after=_retry_after(answer.headers.get("Retry-After"), patience))
    says = " ".join(answer.body[:300].decode("utf-8", "replace").split())
    if status in (401, 403):
        raise ConfigurationError(f"{what}: status {status}; the server wants other credentials: see `sign` and `headers` of the source")
    if status in (404, 410):
        raise wrong(f"{what}: status {status}, nothing is there; mend the address or the name of the collection")
    if status == 416:
        raise Fault("wrong range", f"{what}: status 416")
    raise wrong(f"{what}: status {status}, the server refuses the question: {says}")


def _retry_after(value: str | None, patience: Patience) -> float | None:
    """Seconds from a Retry-After header (seconds or an HTTP date), None when absent or nonsense."""
    if value is None:
        return None
    with suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - patience.now())
    return None


def _body(response: requests.Response, patience: Patience, most: int, wrong: type[GeoPlantNetError]) -> bytes:
    """The body, piece by piece, so that neither a drip nor a flood goes unnoticed; of an error, its beginning."""
    where, success = public(response.url or ""), response.status_code < 300
    length = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    too_much = f"{where}: more than the {most} bytes allowed at once; raise the budget of the source, or copy the file to this machine"
    if success and plain and length.isdigit() and int(length) > most:
        raise wrong(too_much)
    began, size, pieces = patience.spent, 0, []
    while success or size < _PIECE:
        piece = response.raw.read1(_PIECE, decode_content=True)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise wrong(too_much)
        elapsed = patience.spent - began
        if patience.remaining <= 0 or (elapsed > patience.budget.timeout and size < elapsed * _SLOWEST):
            raise Fault("timeout", f"{where}: {size} bytes in {elapsed:.1f} s")
    if success and plain and length.isdigit() and size != int(length):
        raise Fault("truncated", f"{where}: {size} bytes of {length}")
    return b"".join(pieces)


def _parsed(answer: Answer) -> Any:
    where, text = public(answer.url), answer.body
    if "html" in answer.headers.get("Content-Type", "").lower() or text[:64].lstrip().startswith(b"<"):
        raise Fault("text in place of JSON", f"{where}: {text[:40]!r}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Fault("text in place of JSON", f"{where}: {len(text)} bytes ending with {text[-40:]!r}") from None


def _cause(error: BaseException) -> str:
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return "timeout"
    if isinstance(error, requests.exceptions.ContentDecodingError | urllib3.exceptions.DecodeError):
        return "undecodable"
    if "IncompleteRead" in repr(error) or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "truncated"
    return "connection"


def _deepest(error: BaseException) -> str:
    """What GDAL said first, on one line and without queries of URLs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return re.sub(r"\?[^\s'\"]*", "", " ".join(str(error).split()))


def _of_network(error: BaseException) -> bool:
    """Whether GDAL, reading by itself, complained of the network."""
    text = f"{error} {_deepest(error)}".lower()
    return any(word in text for word in ("http", "curl", "timed out", "timeout", "connection", "range"))


class _Watch:
    """Cuts the connections of this thread when time is up: a timeout of the socket starts anew with every byte."""

    _of_thread = threading.local()

    def __init__(self) -> None:
        self.cut = False
        self._sockets: list[socket.socket] = []
        self._timer: threading.Timer | None = None

    @classmethod
    def current(cls) -> _Watch | None:
        return getattr(cls._of_thread, "watch", None)

    def __enter__(self) -> _Watch:
        self._outer, self._of_thread.watch = self.current(), self
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._of_thread.watch = self._outer

    def cut_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def see(self, connection: socket.socket | None) -> None:
        if connection is not None:
            self._sockets.append(connection)

    def _cut(self) -> None:
        self.cut = True
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _SeenByWatch:
    """Tells the watch of this thread which socket a connection uses."""

    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._tell()

    def putrequest(self, *args: Any, **options: Any) -> None:
        self._tell()
        super().putrequest(*args, **options)  # type: ignore[misc]

    def _tell(self) -> None:
        watch = _Watch.current()
        if watch is not None:
            watch.see(self.sock)


class _WatchedHttpConnection(_SeenByWatch, HTTPConnection):
    pass


class _WatchedHttpsConnection(_SeenByWatch, HTTPSConnection):
    pass


class _WatchedHttpPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHttpConnection


class _WatchedHttpsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHttpsConnection


class _Session(requests.Session):
    """Redirects are `Http.ask`'s: requests would read a redirect's body to its end, however long, to look where it leads."""

    def resolve_redirects(self, *args: Any, **options: Any) -> Iterator[Any]:  # type: ignore[override]
        return iter(())


class _WatchedAdapter(HTTPAdapter):
    """requests' own adapter, with no retries of its own and connections that can be cut."""

    def __init__(self) -> None:
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedHttpPool, "https": _WatchedHttpsPool}
