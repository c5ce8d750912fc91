"""What a server remembers: bounded, made once however many ask, and never made by who must not wait."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.serving.cache import Cache, NotHeld, held_only


@given(asked=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=60), limit=st.integers(1, 30))
def test_bytes_are_bounded_and_values_right(asked, limit):
    """Whatever is asked, the value is the key's own, and what is kept never weighs more than the limit."""
    cache, sizes = Cache(limit), dict[int, int]()
    for key, cost in asked:
        weight = sizes.setdefault(key, cost)
        assert cache.get(key, lambda key=key: key * 7, lambda _, weight=weight: weight) == key * 7
        assert cache.bytes <= limit
    assert cache.hits + cache.misses == len(asked)


def test_what_many_miss_at_once_is_made_once():
    """Twelve threads that ask together get one and the same value, also where it is too large to be kept."""
    for limit in (10, 1):
        cache, made, together = Cache(limit), [], threading.Barrier(12)

        def make(made=made):
            made.append(object())
            time.sleep(0.1)
            return made[-1]

        def ask(_, cache=cache, together=together, make=make):
            together.wait()
            return cache.get("key", make, lambda _: 5)

        with ThreadPoolExecutor(12) as pool:
            found = set(pool.map(ask, range(12)))
        assert found == set(made) and len(made) == 1
        assert cache.bytes == (5 if limit > 5 else 0)


def test_who_waited_for_a_failure_tries_himself():
    """Where the first one fails, he alone is told; the others make it, one of them for all."""
    cache, tries, together = Cache(10), [], threading.Barrier(6)

    def make():
        tries.append(None)
        time.sleep(0.05)
        if len(tries) == 1:
            raise OSError("once")
        return "made"

    def ask(_):
        together.wait()
        try:
            return cache.get("key", make, lambda _: 1)
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(ask, range(6))) == ["made"] * 5 + ["once"]
    assert len(tries) == 2


def test_who_must_not_wait_gets_what_is_held_or_an_error():
    """Within `held_only` nothing is made; a value that is there is handed out; afterwards, and on other threads, all is as ever."""
    cache = Cache(10)
    cache.get("there", lambda: 1, lambda _: 1)
    with held_only():
        assert cache.get("there", lambda: 2, lambda _: 1) == 1
        with pytest.raises(NotHeld):
            cache.get("absent", lambda: 2, lambda _: 1)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(cache.get, "absent", lambda: 3, lambda _: 1).result() == 3
    assert cache.get("other", lambda: 4, lambda _: 1) == 4
