"""Writers of an observation store that are killed, and very many at once: is every act that was acknowledged stored, and each once?

    python tests/faults/writers.py kills URL IMAGES [--rounds 20] [--seed 1]
    python tests/faults/writers.py crowd URL IMAGES [--writers 50] [--votes 10]

URL is of a store that is made by it. Prints one JSON object. Every writer is a process of its own, forked from this one, which holds no
connection meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from geoplantnet.errors import TryAgain
from geoplantnet.identify.observations import Image, ModelVersion, Observation, ObservationStore, Vote, schema
from geoplantnet.taxonomy import Taxon

sys.path.insert(0, str(Path(__file__).parent))
from photos import noise

TAXA = tuple(Taxon(taxon_id=f"t{n}", scientific_name=f"Genus species{n}", genus="Genus", family="F") for n in range(5))
OBSERVATIONS, PEOPLE, BATCH = 40, 7, 20
MODEL = ModelVersion(name="net", version="1")
WAIT = 120
"""Seconds that anything may take."""


def prepared(url: str, images: str) -> None:
    """A store with taxa and observations to vote on."""
    with ObservationStore.open(url, images=images, create=True) as store:
        store.add_taxa("test", TAXA)
        store.add_observations(
            pd.DataFrame(
                {"observation_id": [f"o{n}" for n in range(OBSERVATIONS)], "user_id": [f"u{n % PEOPLE}" for n in range(OBSERVATIONS)]}
            )
        )


def ballot(n: int, key: str) -> dict[str, str]:
    """The `n`th vote; changes of mind among them."""
    return {
        "observation_id": f"o{n * 7 % OBSERVATIONS}",
        "user_id": f"u{n % PEOPLE}",
        "kind": "determination",
        "value": f"t{n % 5}",
        "key": key,
    }


def act(store: ObservationStore, n: int) -> None:
    """The `n`th thing that a writer does: mostly a vote; many votes at once, an observation with its photo, a prediction, labels."""
    if n % 10 < 6:
        store.vote(Vote(**ballot(n, f"k{n}")))
    elif n % 10 == 6:
        store.add_votes(pd.DataFrame([ballot(n + i, f"k{n}.{i}") for i in range(BATCH)]))
    elif n % 10 == 7:
        photo = Image(data=noise(n), organ="leaf")
        store.add_observation(Observation(observation_id=f"new{n}", user_id=f"u{n % PEOPLE}", latitude=45.0, longitude=n / 1e6), [photo])
    elif n % 10 == 8:
        store.predict(f"o{n % OBSERVATIONS}", MODEL, f"t{n % 5}", n % 97 / 100)
    else:
        store.update()


def kills(url: str, images: str, rounds: int, seed: int) -> dict[str, Any]:
    """Kill a writer at a random moment, look, and let the next go on with the first act that was not acknowledged."""
    prepared(url, images)
    chance, begin, cut, torn = random.Random(seed), 0, 0, []
    for number in range(rounds):
        with forked(lambda send, first=begin: _write_for_ever(url, images, first, send)) as (process, pipe):
            moment = chance.random()
            told = []
            if moment < 0.15:  # while it opens the store
                time.sleep(moment * 0.5)
            else:
                told = _received(pipe, chance.randint(1, 25))
                time.sleep(chance.random() * 0.006)
            os.kill(process, signal.SIGKILL)
            told += _received(pipe, None)
        begin = told[-1] + 1 if told else begin
        stored = _stored_of(url, images, begin)
        cut += stored == "whole"
        if stored == "torn":
            torn.append(f"round {number}, act {begin}")
    with ObservationStore.open(url, images=images) as store:
        act(store, begin)
        store.update()
        found = store.verify()
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole.sqlite"
            prepared(str(whole), f"{folder}/images")
            with ObservationStore.open(whole, images=f"{folder}/images") as other:
                for n in range(begin + 1):
                    act(other, n)
                same = _chain(store) == _chain(other)
        left = sum(1 for _ in Path(images).rglob(".tmp-*"))
        return {"rounds": rounds, "acts": begin + 1, "votes": store.statistics()["votes"], "cut": cut, "torn": torn, "same": same,
                "damage": list(found.damage), "temporaries": left}  # fmt: skip


def crowd(url: str, images: str, writers: int, votes: int) -> dict[str, Any]:
    """Very many processes vote at once; every fifth vote is one that all of them send."""
    prepared(url, images)
    ends, logged, backwards = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        children = []
        for writer in range(writers):
            if (process := os.fork()) == 0:
                _vote_in_a_crowd(url, images, writer, votes, start, Path(folder) / f"{writer}.json")
            children.append(process)
        with ObservationStore.open(url, images=images) as store:
            start.touch()
            began = time.perf_counter()
            while children:
                seen = store.statistics()["votes"]
                logged, backwards = seen, backwards + (seen < logged)
                children = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
                time.sleep(0.05)
            seconds = time.perf_counter() - began
            found, stands = store.verify(), store.statistics()["votes"]
        ends = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
    keys = {key for end in ends for key in end["new"] + end["repeated"]}
    return {"writers": len(ends), "acknowledged": sum(len(end["new"]) + len(end["repeated"]) for end in ends), "keys": len(keys),
            "new": sum(len(end["new"]) for end in ends), "logged": stands, "waited": sum(end["waited"] for end in ends),
            "backwards": backwards, "damage": list(found.damage), "seconds": seconds}  # fmt: skip


@contextmanager
def forked(work: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """A process that does some work, and the pipe that it tells by; it is gone at the end of the block."""
    receive, send = os.pipe()
    if (process := os.fork()) == 0:
        os.close(receive)
        _ended_by(lambda: work(send))
    os.close(send)
    try:
        yield process, receive
    finally:
        os.close(receive)
        os.waitpid(process, 0)


def _write_for_ever(url: str, images: str, first: int, send: int) -> None:
    with ObservationStore.open(url, images=images, patience=WAIT) as store:
        n = first
        while True:
            act(store, n)
            os.write(send, struct.pack("q", n))
            n += 1


def _vote_in_a_crowd(url: str, images: str, writer: int, votes: int, start: Path, out: Path) -> None:
    def work() -> None:
        told: dict[str, Any] = {"new": [], "repeated": [], "waited": 0}
        with ObservationStore.open(url, images=images) as store:
            while not start.exists():
                time.sleep(0.01)
            for n in range(votes):
                vote = Vote(**(ballot(n, f"shared{n}") if n % 5 == 4 else ballot(writer + n, f"{writer}.{n}")))
                while True:
                    try:
                        new = store.vote(vote)
                    except TryAgain:
                        told["waited"] += 1
                    else:
                        told["new" if new else "repeated"].append(f"{vote.user_id} {vote.key}")
                        break
        out.write_text(json.dumps(told))

    _ended_by(work)


def _ended_by(work: Callable[[], None]) -> None:
    """Do the work of a forked process, and end it."""
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def _received(pipe: int, count: int | None) -> list[int]:
    """The next `count` acknowledgements; None = all until the writer is gone."""
    told: list[int] = []
    while count is None or len(told) < count:
        if not select.select([pipe], [], [], WAIT)[0]:
            raise TimeoutError(f"a writer acknowledged nothing for {WAIT} s")
        if not (read := os.read(pipe, 8)):
            break
        told.append(struct.unpack("q", read)[0])
    return told


def _stored_of(url: str, images: str, n: int) -> str:
    """Whether the act in flight was stored: none, whole or torn; torn too where an acknowledged one is not there, or labels are not the log's."""
    with ObservationStore.open(url, images=images) as store, store._database.reading() as connection:
        keys = set(connection.scalars(sa.select(schema.votes.c.key)))
        seen = set(connection.scalars(sa.select(schema.observations.c.id)))
        count = connection.scalar(sa.select(sa.func.count()).select_from(schema.votes))
        same = store.replay().same
    wanted = {key for m in range(n) for key in _keys_of(m)}
    own, rest = set(_keys_of(n)), keys - wanted
    photos = {f"new{m}" for m in range(n) if m % 10 == 7}
    if not (wanted <= keys and photos <= seen and count == len(keys) and same and rest in (set(), own)):
        return "torn"
    return "whole" if (own and rest == own) or (n % 10 == 7 and f"new{n}" in seen) else "none"


def _keys_of(n: int) -> list[str]:
    return [f"k{n}"] if n % 10 < 6 else [f"k{n}.{i}" for i in range(BATCH)] if n % 10 == 6 else []


def _chain(store: ObservationStore) -> str:
    with store._database.reading() as connection:
        return str(connection.scalar(sa.select(schema.head.c.chain)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "crowd"])
    parser.add_argument("url")
    parser.add_argument("images")
    for name, value in {"rounds": 20, "seed": 1, "writers": 50, "votes": 10}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    if given.what == "kills":
        found = kills(given.url, given.images, given.rounds, given.seed)
    else:
        found = crowd(given.url, given.images, given.writers, given.votes)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
