"""How much each user asked for: counted by user, category and day (UTC) in one SQLite file that threads and processes share.

Counting is one statement of the database, so however many ask at once, a quota of n lets n through. The file is written in WAL mode
without a sync for each request: after a power cut a few requests may be forgotten, none is counted twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from http import HTTPStatus
from pathlib import Path

from geoplantnet.errors import StorageError, TryAgain
from geoplantnet.serving.guard import Refused
from geoplantnet.storage import to_wal

IDENTIFY, SURVEY = "identify", "survey"
CATEGORIES = (IDENTIFY, SURVEY)
"""What is counted apart and told: identifications, and tiles of surveys."""
VOTE = "vote"
"""Counted so that nobody floods the log of votes."""
_WORDS = {IDENTIFY: "identifications", SURVEY: "tiles of surveys", VOTE: "votes"}
ANONYMOUS = "anonymous:"
"""What users without a key are called, with a pseudonym of their address behind it that changes every day."""
_DAY = 86_400
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    user TEXT NOT NULL, category TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (user, category, day)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secret (one INTEGER PRIMARY KEY CHECK (one = 1), bytes BLOB NOT NULL);
"""
_TAKE = """
INSERT INTO spent (user, category, day, used) SELECT :user, :category, :day, :n WHERE :n <= :quota
ON CONFLICT (user, category, day) DO UPDATE SET used = used + :n WHERE used + :n <= :quota RETURNING used
"""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What was taken of a quota."""

    user: str
    category: str
    day: str
    """UTC, ISO 8601."""
    n: int
    quota: int
    used: int
    """That day, with these."""
    seconds_left: int
    """Until midnight UTC."""

    @property
    def remaining(self) -> int:
        return max(0, self.quota - self.used)


class Quota:
    """Counts in a file. Shared by threads; each process opens its own."""

    def __init__(self, file: Path | None) -> None:
        """None: in memory, for one process. Raises StorageError for a file that cannot be used."""
        self._file = file or ":memory:"
        self._lock = threading.Lock()
        self._cleared = ""
        try:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch(mode=0o600)
            self._db = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            to_wal(self._db, _BUSY_S)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO secret VALUES (1, ?)", (secrets.token_bytes(32),))
            self.secret: bytes = self._db.execute("SELECT bytes FROM secret").fetchone()[0]
            """Random, the same for all who open the file."""
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self._file} cannot be used to count quotas ({error}); name another file, or mend its permissions"
            ) from error

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def take(self, user: str, category: str, n: int, quota: int, *, now: datetime | None = None) -> Taken:
        """Count n more of a user's category, all or none of them. Raises Refused (429) where the day's quota does not hold them."""
        moment = now or datetime.now(UTC)
        day = f"{moment.astimezone(UTC):%Y-%m-%d}"
        with self._alone() as db:
            if day > self._cleared:  # pseudonyms of another day lead to nobody: their counts are of no use
                self._cleared = day
                db.execute("DELETE FROM spent WHERE user >= ? AND user < ? AND day < ?", (ANONYMOUS, ANONYMOUS + "\U0010ffff", day))
            row = db.execute(_TAKE, {"user": user, "category": category, "day": day, "n": n, "quota": quota}).fetchone()
        left = seconds_left(moment)
        if row is None:
            used = self.used(user, day).get(category, 0)
            spent = Taken(user=user, category=category, day=day, n=n, quota=quota, used=used, seconds_left=left)
            raise quota_spent(spent)
        return Taken(user=user, category=category, day=day, n=n, quota=quota, used=row[0], seconds_left=left)

    def give_back(self, taken: Taken) -> Taken:
        """Undo a `take` -> what stands then."""
        with self._alone() as db:
            row = db.execute(
                "UPDATE spent SET used = max(0, used - ?) WHERE user = ? AND category = ? AND day = ? RETURNING used",
                (taken.n, taken.user, taken.category, taken.day),
            ).fetchone()
        used = row[0] if row else 0
        return Taken(
            user=taken.user,
            category=taken.category,
            day=taken.day,
            n=0,
            quota=taken.quota,
            used=used,
            seconds_left=taken.seconds_left,
        )

    def used(self, user: str, day: str) -> dict[str, int]:
        """Category -> what was used of it on a day."""
        with self._alone() as db:
            return dict(db.execute("SELECT category, used FROM spent WHERE user = ? AND day = ?", (user, day)).fetchall())

    def history(self, user: str, year: int) -> dict[str, dict[str, int]]:
        """Day -> category -> used, of the days of a year on which something was, in order."""
        with self._alone() as db:
            rows = db.execute(
                "SELECT day, category, used FROM spent WHERE user = ? AND day >= ? AND day < ? AND used > 0 ORDER BY day, category",
                (user, f"{year:04d}-", f"{year + 1:04d}-"),
            ).fetchall()
        found: dict[str, dict[str, int]] = {}
        for day, category, used in rows:
            found.setdefault(day, {})[category] = used
        return found

    def pseudonym(self, address: str, *, now: datetime | None = None) -> str:
        """The user that an address is counted as: another every day, and of no use to find the address by."""
        day = f"{(now or datetime.now(UTC)).astimezone(UTC):%Y-%m-%d}"
        return ANONYMOUS + hmac.new(self.secret, f"{day} {address}".encode(), hashlib.sha256).hexdigest()[:24]

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                yield self._db
        except sqlite3.OperationalError as error:
            raise TryAgain(f"quotas cannot be counted at the moment ({error}); try again in a few seconds") from error
        except sqlite3.Error as error:
            raise StorageError(f"{self._file} is no sound file of quotas ({error}); restore it, or name another") from error


def seconds_left(now: datetime) -> int:
    """Until midnight UTC, at least 1."""
    today = now.astimezone(UTC)
    midnight = datetime.combine(today.date() + timedelta(days=1), time(tzinfo=UTC))
    return max(1, round((midnight - today).total_seconds()))


def rate_limit(taken: Taken) -> tuple[tuple[str, str], ...]:
    """The headers of draft-ietf-httpapi-ratelimit-headers: the policy, and what is left of it. `pk` tells one user's quota from another's."""
    pk = base64.b64encode(hashlib.sha256(f"{taken.user} {taken.category}".encode()).digest()[:12]).decode()
    name = "dailyQuota" if taken.category == IDENTIFY else f"daily{taken.category.capitalize()}Quota"
    return (
        ("RateLimit-Policy", f'"{name}";q={taken.quota};w={_DAY};pk=:{pk}:'),
        ("RateLimit", f'"{name}";r={taken.remaining};t={taken.seconds_left};pk=:{pk}:'),
    )


def quota_spent(taken: Taken) -> Refused:
    """The refusal of what goes beyond a quota."""
    what = _WORDS[taken.category]
    asked = f"; {taken.n} were asked for" if taken.n > 1 else ""
    return Refused(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"{taken.used} of today's {taken.quota} {what} are spent{asked}; there are new ones at midnight UTC",
        reason="quota",
        headers=(("Retry-After", str(taken.seconds_left)), *rate_limit(taken)),
    )
