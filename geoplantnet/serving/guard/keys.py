"""API keys: who holds one, which layers it opens, how often it may be used a day. In SQLite, shared by all workers.

A key is 32 random bytes, so its SHA-256 is all that has to be kept: there is no dictionary to try, and a slow hash would
only make every request slow. A stolen file of keys opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from geoplantnet.errors import ConfigurationError, StorageError, TryAgain, UsageError, did_you_mean
from geoplantnet.serving.guard.refusal import Refused
from geoplantnet.serving.settings import check_pattern

LOGGER = logging.getLogger(__name__)

PREFIX = "gpn_"
"""What every key starts with: scanners for leaked secrets find it."""
TOKEN = re.compile(rb"gpn_[A-Za-z0-9_-]{43}")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,63}")
_DAY = 86_400
_ENDLESS = 2**62
_BUSY_S = 5.0
"""Seconds to wait for another process that writes."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    name TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, layers TEXT NOT NULL, quota INTEGER, created TEXT NOT NULL, expires TEXT, revoked TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage (name TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (name, day)) WITHOUT ROWID;
"""
_SPEND = """
INSERT INTO usage (name, day, used) VALUES (?, ?, 1)
ON CONFLICT (name, day) DO UPDATE SET used = used + 1 WHERE used < ? RETURNING used
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """What is known of a key, which is not the key itself."""

    name: str
    """Whose it is; told in logs."""
    layers: tuple[str, ...]
    """Patterns of the private layers it opens."""
    quota: int | None
    """Requests a day (UTC); None: as many as asked."""
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    used: int = 0
    """Requests today."""

    def grants(self, layer_id: str) -> bool:
        """Whether it opens a private layer."""
        return matches(self.layers, layer_id)

    def state(self, now: datetime) -> str:
        """``valid``, ``revoked`` or ``expired``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class KeyRing:
    """The keys of one file. Shared by threads; each process opens its own."""

    def __init__(self, file: Path, *, create: bool = False) -> None:
        """Raises ConfigurationError where there is no such file (unless it is to be made), StorageError for one that is no file of keys."""
        if not create and not file.is_file():
            raise ConfigurationError(f"there is no file of keys {file}; make one with `geoplantnet keys add`")
        self.file = file
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if create:
                file.touch(mode=0o600)
            self._db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{file} cannot be used as a file of keys ({error}); name another, or mend its permissions") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # ---- the operator's side

    def add(
        self,
        name: str,
        *,
        layers: tuple[str, ...] = (),
        quota: int | None = None,
        expires: datetime | None = None,
        now: datetime | None = None,
    ) -> str:
        """Make a key and return it; it cannot be had again. Raises UsageError for a name that is taken or none, and a quota below 1."""
        now = now or datetime.now(UTC)
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a key; use up to 64 letters, digits, @ . _ -")
        if quota is not None and quota < 1:
            raise UsageError(f"a quota of {quota} requests a day was asked; give 1 or more")
        if expires is not None and expires <= now:
            raise UsageError(f"the key would have expired on {expires:%Y-%m-%d}; give a later day")
        for pattern in layers:
            check_pattern(pattern, "layers")
        token = PREFIX + secrets.token_urlsafe(32)
        row = (name, _hash(token.encode()), json.dumps(layers), quota, _text(now), _text(expires))
        with self._file_alone():
            try:
                self._db.execute("INSERT INTO keys (name, hash, layers, quota, created, expires) VALUES (?, ?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError as error:
                raise UsageError(f"{name!r} has a key already, or had one; choose another name") from error
        return token

    def revoke(self, name: str, *, now: datetime | None = None) -> None:
        """Make a key worthless, from the next request on. Raises UsageError for an unknown name."""
        with self._file_alone():
            done = self._db.execute(
                "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE name = ?", (_text(now or datetime.now(UTC)), name)
            ).rowcount
        if not done:
            known = [key.name for key in self.keys()]
            raise UsageError(f"nobody called {name!r} has a key in {self.file}.{did_you_mean(name, known)}")

    def keys(self, *, now: datetime | None = None) -> list[Key]:
        """All keys there are or were, by name, with what was used of them today."""
        day = _day(now or datetime.now(UTC))
        with self._file_alone():
            rows = self._db.execute(f"{_SELECT} ORDER BY keys.name", (day,)).fetchall()
        return [_key(row) for row in rows]

    @contextmanager
    def _file_alone(self) -> Iterator[None]:
        """The file for one thread; its faults as errors of ours."""
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as error:
            raise TryAgain(f"{self.file} cannot be used now ({error}); try again") from error
        except sqlite3.Error as error:
            raise StorageError(f"{self.file} is no sound file of keys ({error}); restore it, or name another") from error

    # ---- the server's side

    def use(self, token: bytes, *, now: datetime | None = None) -> tuple[Key, bool]:
        """Count one request of a key -> the key with today's use, and whether its quota allows the request.

        Counting is one statement of the database: however many threads and processes ask at once, a quota of n lets n through.
        Raises Refused: 401 for a key that is not valid, 503 when the file is at work too long.
        """
        now = now or datetime.now(UTC)
        with self._answering():
            key = self._valid(token, now)
            used = self._db.execute(_SPEND, (key.name, _day(now), _ENDLESS if key.quota is None else key.quota)).fetchone()
        return (key, False) if used is None else (replace(key, used=used[0]), True)

    def known(self, token: bytes, *, now: datetime | None = None) -> Key:
        """A key without counting a request, for who counts something else. Raises Refused as `use`."""
        with self._answering():
            return self._valid(token, now or datetime.now(UTC))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """The file for one thread; its faults as what a client is told."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            LOGGER.error("%s cannot be used: %s", self.file, error)
            message = "keys cannot be checked at the moment; try again in a few seconds"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, message, reason="keys", headers=(("Retry-After", "5"),)) from error

    def _valid(self, token: bytes, now: datetime) -> Key:
        key = self._find(token, _day(now))
        if key is None or key.state(now) != "valid":
            raise unauthorised("the API key is unknown, expired or revoked; ask the operator for another")
        return key

    def _find(self, token: bytes, day: str) -> Key | None:
        """A key by its hash. Found through an index, whose timing tells of hashes only; what decides is compared in constant time."""
        digest = _hash(token)
        row = self._db.execute(f"{_SELECT} WHERE keys.hash = ?", (day, digest)).fetchone()
        return _key(row) if row is not None and hmac.compare_digest(row[1], digest) else None


def rate_limit(key: Key, *, now: datetime | None = None) -> tuple[tuple[str, str], ...]:
    """The headers of draft-ietf-httpapi-ratelimit-headers-10: how much of a key's quota is left, and for how long."""
    if key.quota is None:
        return ()
    left = _seconds_left(now or datetime.now(UTC))
    return ("RateLimit-Policy", f'"day";q={key.quota};w={_DAY}'), ("RateLimit", f'"day";r={max(0, key.quota - key.used)};t={left}')


def quota_spent(key: Key, *, now: datetime | None = None) -> Refused:
    """The refusal of a request beyond a key's quota."""
    return Refused(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"the {key.quota} requests that the key of {key.name} has a day are spent; it has new ones at midnight UTC",
        reason="quota",
        headers=(("Retry-After", str(_seconds_left(now or datetime.now(UTC)))),),
        more={"type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "violated-policies": ["day"]},
    )


_SELECT = """
SELECT keys.name, hash, layers, quota, created, expires, revoked, coalesce(used, 0)
FROM keys LEFT JOIN usage ON usage.name = keys.name AND usage.day = ?
"""


def token_of(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The key a request carries, as ``X-API-Key`` or ``Authorization: Bearer``. Raises Refused for two that differ, and for what is no key."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"x-api-key":
            given = value
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            given = value[7:].strip()
        else:
            continue
        if found is not None and found != given:
            raise Refused(HTTPStatus.BAD_REQUEST, "two different API keys are given; send one", reason="key")
        found = given
    if found is not None and not TOKEN.fullmatch(found):
        raise unauthorised(f"the API key is malformed; a key is {PREFIX} and 43 letters and digits")
    return found


def unauthorised(message: str) -> Refused:
    """The refusal of a key that is none."""
    challenge = (("WWW-Authenticate", 'Bearer realm="geoplantnet", error="invalid_token"'),)
    return Refused(HTTPStatus.UNAUTHORIZED, message, reason="key", headers=challenge)


def matches(patterns: tuple[str, ...], layer_id: str) -> bool:
    """Whether a layer id is meant by one of the patterns (``*`` any letters, ``?`` one, all else itself)."""
    return bool(patterns) and _compiled(patterns).fullmatch(layer_id) is not None


@lru_cache(maxsize=1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern) for pattern in patterns))


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _key(row: tuple[Any, ...]) -> Key:
    name, _, layers, quota, created, expires, revoked, used = row
    moments: Mapping[str, datetime | None] = {
        field: datetime.fromisoformat(text) if text else None for field, text in (("expires", expires), ("revoked", revoked))
    }
    return Key(name=name, layers=tuple(json.loads(layers)), quota=quota, created=datetime.fromisoformat(created), used=used, **moments)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def _day(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y-%m-%d}"


def _seconds_left(now: datetime) -> int:
    """Until midnight UTC, at least 1."""
    today = now.astimezone(UTC)
    midnight = datetime.combine(today.date() + timedelta(days=1), time(tzinfo=UTC))
    return max(1, round((midnight - today).total_seconds()))
