"""The observation store: how fast acts go in and come out, and what kills, crowds and broken connections do to it.

On SQLite, and beside it on PostgreSQL where Debian's programs are (`sudo apt-get install postgresql-postgis`). One process at a time but for
the crowd. PostgreSQL has fsync=off here, as tests have it: its times are not those of a server that keeps votes through a power cut.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rows import Row, main
from geoplantnet.identify.observations import ModelVersion, ObservationStore, Vote
from geoplantnet.taxonomy import Taxon

ROOT = Path(__file__).parent.parent
WRITERS = ROOT / "tests" / "faults" / "writers.py"
SPECIES = 11_000
SINGLE = 300
"""Votes that are sent one by one, each its own transaction."""


def rows(quick: bool) -> list[Row]:
    """Of both databases: bulk, single acts, labels, records; then faults."""
    out = []
    with tempfile.TemporaryDirectory(prefix="store-", dir="/tmp") as folder, ExitStack() as stack:
        urls = {"SQLite": str(Path(folder) / "store.sqlite")}
        server = stack.enter_context(_postgresql(folder))
        if server is not None:
            urls["PostgreSQL"] = server("speed")
        else:
            nothing = "not installed: sudo apt-get install -y --no-install-recommends postgresql-postgis"
            out.append(Row(name="PostgreSQL with PostGIS", value=float("nan"), unit="", reference=nothing))
        for name, url in urls.items():
            out += _speed(name, url, Path(folder), 20_000 if quick else 1_000_000)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        out.append(Row(name="Peak memory of the process", value=peak, unit="GB", reference="with the tables that are sent, in bulk"))
        for name in urls:
            url = server("faults") if server is not None and name == "PostgreSQL" else f"{folder}/faults.sqlite"
            out += _faults(name, url, Path(folder) / name, 10 if quick else 200, 10 if quick else 100)
    return out


def _speed(name: str, url: str, folder: Path, n: int) -> list[Row]:
    draw, seen, people = np.random.default_rng(8), n * 73 // 100, n // 10
    ids, users = np.array([f"o{i}" for i in range(seen)], object), np.array([f"u{i}" for i in range(people)], object)
    taxa = np.array([f"t{i}" for i in range(SPECIES)], object)
    observations = pd.DataFrame(
        {"observation_id": ids, "user_id": users[draw.integers(0, people, seen)], "latitude": draw.uniform(36, 60, seen),
         "longitude": draw.uniform(-8, 20, seen), "event_date": "2024-05-01"}
    )  # fmt: skip
    votes = pd.DataFrame(
        {"observation_id": ids[draw.integers(0, seen, n)], "user_id": users[draw.integers(0, people, n)], "kind": "determination",
         "value": taxa[draw.zipf(1.6, n) % SPECIES], "key": [f"k{i}" for i in range(n)]}
    )  # fmt: skip
    said = pd.DataFrame({"observation_id": ids, "taxon_id": taxa[draw.zipf(1.6, seen) % SPECIES], "score": draw.random(seen)})
    beside = f"{seen:,} observations, {people:,} users, {SPECIES:,} species"
    limit = ("about a minute, <= 90 s", 90.0) if n >= 1_000_000 and "://" not in url else ()
    with ObservationStore.open(url, images=folder / "images", create=True) as store:
        store.add_taxa("benchmark", [Taxon(taxon_id=t, scientific_name=f"Genus {t}", genus="Genus", family="F") for t in taxa])
        out = [
            _timed(f"{name}: {seen:,} observations in bulk", lambda: store.add_observations(observations), beside),
            _timed(f"{name}: {n:,} votes in bulk, each with a key", lambda: store.add_votes(votes), beside, *limit),
            _timed(f"{name}: the same votes again, all known by their key", lambda: store.add_votes(votes), "none is logged twice"),
            _timed(
                f"{name}: {seen:,} predictions in bulk", lambda: store.add_predictions(ModelVersion(name="net", version="1"), said), beside
            ),
            _timed(f"{name}: all votes as arrays", store.votes, beside),
            _timed(f"{name}: labels from the whole log (Pl@ntNet), stored", store.aggregate, beside),
            _timed(f"{name}: records of all", lambda: sum(len(chunk) for chunk in store.records()), f"{seen:,}, in chunks of 50,000"),
        ]
        if "sqlite" in url:
            out.append(Row(name=f"{name}: size of the file", value=Path(url).stat().st_size / 1e6, unit="MB", reference=beside))
        out += _single(name, store, [Vote(**row) for row in votes.head(SINGLE).assign(key="").to_dict("records")])
        logged = store.statistics()["votes"]
        out.append(Row(name=f"{name}: votes in the log", value=logged, unit="votes", reference=f"{n:,} + {SINGLE + 2} sent",
                       target="the same", ok=logged == n + SINGLE + 2))  # fmt: skip
        out.append(_timed(f"{name}: labels made from the log again, and compared", store.replay, "`replay`"))
        sound = store.replay().same
        out[-1] = Row(**{**vars(out[-1]), "target": "the same to the last bit", "ok": sound})
    return out


def _single(name: str, store: ObservationStore, votes: list[Vote]) -> list[Row]:
    """Acts as an app sends them, each on disk before it returns; then labels that follow one vote."""
    times = []
    for vote in votes:
        began = time.perf_counter()
        store.vote(vote)
        times.append(time.perf_counter() - began)
    store.update()
    follow = []
    for vote in votes[:2]:
        store.vote(vote)
        began = time.perf_counter()
        store.update()
        follow.append(time.perf_counter() - began)
    return [
        Row(name=f"{name}: a vote, on disk", value=statistics.median(times) * 1e3, unit="ms", reference=f"median of {len(times)}"),
        Row(name=f"{name}: a vote, on disk, 99 %", value=float(np.quantile(times, 0.99)) * 1e3, unit="ms", reference="one process"),
        Row(
            name=f"{name}: labels after one more vote (update), stored", value=follow[-1] * 1e3, unit="ms", reference="the engine in memory"
        ),
    ]


def _faults(name: str, url: str, folder: Path, rounds: int, votes: int) -> list[Row]:
    killed = _run("kills", url, folder, "--rounds", str(rounds))
    lost = len(killed["torn"])
    told = f"{killed['acts']:,} acts; {killed['cut']} were stored and not yet acknowledged, sent again"
    out = [
        _none(f"{name}: kill -9, rounds with an act lost or in pieces", lost, "rounds", f"{rounds} kills at random; {told}"),
        _none(f"{name}: kill -9, logs that differ from one never killed", int(not killed["same"]), "logs", "hash over all acts"),
        _none(f"{name}: kill -9, damage that verify finds", len(killed["damage"]), "", f"{killed['votes']:,} votes"),
    ]
    crowd = _run("crowd", f"{url}.crowd" if "://" not in url else url.replace("faults", "crowd"), folder, "--votes", str(votes))
    rate = crowd["logged"] / crowd["seconds"]
    sent = f"{crowd['acknowledged']:,} acknowledged, {crowd['keys']:,} different; told to wait {crowd['waited']} times"
    return [
        *out,
        _none(f"{name}: {crowd['writers']} writers at once, votes lost or doubled", abs(crowd["logged"] - crowd["keys"]), "votes", sent),
        Row(name=f"{name}: {crowd['writers']} writers at once", value=rate, unit="votes/s", reference="all together, each vote on disk"),
    ]


def _run(what: str, url: str, folder: Path, *options: str) -> dict:
    command = [sys.executable, str(WRITERS), what, url, str(folder / what), *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def _timed(name: str, work: Callable[[], object], reference: str, target: str = "", limit: float = float("inf")) -> Row:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Row(
        name=name, value=seconds, unit="s", reference=f"{reference}; {cpu:.3g} CPU-s of this process", target=target, ok=seconds <= limit
    )


def _none(name: str, found: int, unit: str, reference: str) -> Row:
    return Row(name=name, value=found, unit=unit, reference=reference, target="0", ok=found == 0)


@contextmanager
def _postgresql(folder: str) -> Iterator[Callable[[str], str] | None]:
    """Addresses of databases on a server of its own; None where it cannot be had."""
    sys.path.insert(0, str(ROOT / "tests"))
    from postgres import database, do, lacking, postgres

    if lacking():
        yield None
        return
    place = Path(folder) / "server"
    place.mkdir()
    Path(folder).chmod(0o755)  # user postgres has to get in
    with database(place) as environment:
        programs = postgres()

        def made(name: str) -> str:
            for one in (name, "crowd") if name == "faults" else (name,):
                do(programs / "createdb", one, env=environment)
            return f"postgresql+psycopg://{environment['PGUSER']}@/{name}?host={place}"

        yield made
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(rows)
