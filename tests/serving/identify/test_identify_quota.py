"""Quotas: exactly so many, whoever asks at once; by user, category and day."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from geoplantnet.errors import StorageError
from geoplantnet.serving.guard import Refused
from geoplantnet.serving.identify.quota import IDENTIFY, SURVEY, Quota, rate_limit

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)


def _storm(file: Path) -> int:
    """500 calls of eight threads of a process of its own -> how many were let through."""
    quota = Quota(file)

    def ask(_: int) -> int:
        try:
            quota.take("ada", IDENTIFY, 1, 100)
        except Refused:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(500)))


def test_a_thousand_calls_of_two_processes_on_a_quota_of_a_hundred_get_exactly_a_hundred(tmp_path: Path) -> None:
    """Eight threads each, one file."""
    file = tmp_path / "quota.sqlite"
    with multiprocessing.get_context("fork").Pool(2) as pool:  # forked: what is imported need not be again
        answers = pool.map(_storm, [file, file], chunksize=1)
    assert sum(answers) == 100
    quota = Quota(file)
    assert quota.used("ada", f"{datetime.now(UTC):%Y-%m-%d}") == {IDENTIFY: 100}


def _opens(file: Path) -> bytes:
    quota = Quota(file)
    quota.close()
    return quota.secret


def test_processes_that_start_at_once_open_one_new_file(tmp_path: Path) -> None:
    """As the workers of a server do: none is told that it is locked, and all have one secret."""
    with multiprocessing.get_context("fork").Pool(8) as pool:
        for i in range(40):
            assert len(set(pool.map(_opens, [tmp_path / f"{i}.sqlite"] * 8, chunksize=1))) == 1


def test_calls_at_once_over_http_get_exactly_their_quota(client: TestClient, photo: Callable[..., bytes]) -> None:
    """Sixty at once of a key for forty: forty answers, twenty refusals with the time to wait."""
    data = photo(1)

    def ask(_: int) -> int:
        return client.post("/v2/identify/all", files=[("images", ("a.jpg", data))]).status_code

    with ThreadPoolExecutor(12) as pool:
        assert Counter(pool.map(ask, range(60))) == {200: 40, 429: 20}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from((IDENTIFY, SURVEY)), st.integers(1, 7), st.booleans()), max_size=40),
    st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_a_quota_behaves_as_a_counter(acts: list[tuple[str, str, int, bool]], limit: int) -> None:
    """Against a dictionary: all of what is asked is taken or nothing, never more than the limit, and what is given back can be taken again."""
    quota, model = Quota(None), Counter[tuple[str, str]]()
    for user, category, n, back in acts:
        if model[user, category] + n <= limit:
            taken = quota.take(user, category, n, limit, now=NOON)
            model[user, category] += n
            assert (taken.used, taken.remaining) == (model[user, category], limit - model[user, category])
            if back:
                assert quota.give_back(taken).used == model[user, category] - n
                model[user, category] -= n
        else:
            with pytest.raises(Refused):
                quota.take(user, category, n, limit, now=NOON)
        assert quota.used(user, "2026-05-31").get(category, 0) == model[user, category]
    quota.close()


def test_a_day_ends_at_midnight_utc_wherever_the_clock_is(tmp_path: Path) -> None:
    """A second before midnight it is today's, at midnight tomorrow's; the headers tell how long."""
    quota = Quota(tmp_path / "q.sqlite")
    late = datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)
    taken = quota.take("ada", IDENTIFY, 1, 1, now=late)
    assert taken.seconds_left == 1 and dict(rate_limit(taken))["RateLimit"].startswith('"dailyQuota";r=0;t=1;')
    with pytest.raises(Refused) as refused:
        quota.take("ada", IDENTIFY, 1, 1, now=late)
    assert refused.value.status == 429 and ("Retry-After", "1") in refused.value.headers
    assert quota.take("ada", IDENTIFY, 1, 1, now=late + timedelta(seconds=1)).used == 1
    assert quota.history("ada", 2026) == {"2026-05-31": {IDENTIFY: 1}, "2026-06-01": {IDENTIFY: 1}}


def test_addresses_are_counted_under_names_that_tell_nobody_and_are_forgotten(tmp_path: Path) -> None:
    """Another name every day and in every file; yesterday's counts of them are gone, those of keys stay."""
    quota, other = Quota(tmp_path / "a.sqlite"), Quota(tmp_path / "b.sqlite")
    tomorrow = NOON + timedelta(days=1)
    name = quota.pseudonym("192.0.2.1", now=NOON)
    assert name == quota.pseudonym("192.0.2.1", now=NOON) and "192.0" not in name and len(name) == len("anonymous:") + 24
    assert (
        len(
            {
                name,
                quota.pseudonym("192.0.2.1", now=tomorrow),
                other.pseudonym("192.0.2.1", now=NOON),
                quota.pseudonym("192.0.2.2", now=NOON),
            }
        )
        == 4
    )
    quota.take(name, IDENTIFY, 1, 5, now=NOON)
    quota.take("ada", IDENTIFY, 1, 5, now=NOON)
    quota.take("ada", IDENTIFY, 1, 5, now=tomorrow)
    assert quota.used(name, "2026-05-31") == {} and quota.used("ada", "2026-05-31") == {IDENTIFY: 1}
    assert Quota(tmp_path / "a.sqlite").pseudonym("192.0.2.1", now=NOON) == name


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    file = tmp_path / "quota.sqlite"
    file.write_text("not a database, but longer than its header would be " * 10)
    with pytest.raises(StorageError, match="quota"):
        Quota(file)


def test_threads_share_one_count() -> None:
    """In memory too."""
    quota, got = Quota(None), []

    def ask() -> None:
        for _ in range(50):
            try:
                got.append(quota.take("ada", IDENTIFY, 1, 100, now=NOON))
            except Refused:
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken.used for taken in got) == list(range(1, 101))
