"""Killed writers, fifty at once, a lock that is held, a full disk: no vote is lost, and none stands twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from postgres import database

from geoplantnet.errors import GeoPlantNetError, StorageError, TryAgain
from geoplantnet.identify.observations import Image, Observation, ObservationStore, Vote, schema
from geoplantnet.identify.votes import PlantNet

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))
from photos import noise

WRITERS = Path(__file__).parents[2] / "faults" / "writers.py"


def of(user: str, key: str, taxon: str = "quercus-robur") -> Vote:
    return Vote(observation_id="o1", user_id=user, kind="determination", value=taxon, key=key)


def keys_of(store: ObservationStore) -> list[str]:
    """Keys of the log, in its order."""
    with store._database.reading() as connection:
        return list(connection.scalars(sa.select(schema.votes.c.key).order_by(schema.votes.c.logged)))


def fault(what: str, url: str, folder: Path, *options: str) -> dict:
    """What `tests/faults/writers.py` says."""
    command = [sys.executable, str(WRITERS), what, url, str(folder / "images"), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


def test_a_killed_writer_loses_no_acknowledged_act_and_doubles_none(store_url, tmp_path):
    """After kill -9 at random, acts in flight are whole or not there; sent again, the log is that of a writer never killed, to its hash."""
    found = fault("kills", store_url, tmp_path, "--rounds", "6")
    assert found["torn"] == [] and found["same"] and found["damage"] == [], found
    assert found["acts"] > 10


def test_fifty_processes_write_at_once(store_url, tmp_path):
    """Every vote of every process is logged, one that all send is logged once and new to one of them alone; readers see the log grow."""
    found = fault("crowd", store_url, tmp_path, "--writers", "50", "--votes", "5")
    assert (found["writers"], found["acknowledged"], found["keys"]) == (50, 250, 201), found
    assert found["new"] == found["logged"] == 201 and found["backwards"] == 0 and found["damage"] == []


def test_fifty_threads_share_a_store(store):
    """One open store serves many threads: each vote once, acts numbered without a gap."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    with ThreadPoolExecutor(50) as threads:
        new = list(threads.map(lambda n: store.vote(of(f"u{n % 9}", f"k{n % 100}")), range(0, 1800, 9)))
    assert sum(new) == 100 == len(set(keys_of(store))) and store.statistics()["votes"] == 100 and store.verify().sound


def test_who_waits_too_long_is_told_to_try_again(store, open_store):
    """While another holds the store a writer gets TryAgain after its patience and has stored nothing; sent again it is stored once."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    hurried = open_store(patience=0.1)
    with store._database.writing():
        with pytest.raises(TryAgain, match="send it again"):
            hurried.vote(of("bob", "k"))
        assert hurried.statistics()["votes"] == 0
    assert hurried.vote(of("bob", "k")) and not store.vote(of("bob", "k"))
    assert keys_of(store) == ["k"]


def fill(disk: Path, left: int) -> Path:
    """A file that grows until `left` KiB are left."""
    space = os.statvfs(disk)
    if (more := space.f_bavail * space.f_frsize - left * 1024) > 0:
        with (disk / "ballast").open("ab") as ballast:
            os.posix_fallocate(ballast.fileno(), ballast.tell(), more)
    return disk / "ballast"


def until_full(store: ObservationStore, most: int) -> tuple[list[str], list[GeoPlantNetError]]:
    """Vote, in bulk too, until the store takes no more -> what was acknowledged, what was said."""
    told: list[str] = []
    for n in range(most):
        try:
            if n % 4:
                store.vote(of(f"u{n}", f"k{n}"))
                told.append(f"k{n}")
            else:
                rows = [("o1", f"u{n}.{i}", "determination", "acer-campestre", f"k{n}.{i}") for i in range(50)]
                store.add_votes(pd.DataFrame(rows, columns=["observation_id", "user_id", "kind", "value", "key"]))
                told += [row[-1] for row in rows]
        except GeoPlantNetError as error:
            return told, [error]
    return told, []


def test_a_full_disk_is_a_typed_error_and_loses_nothing(small_disk, checklist, tmp_path):
    """SQLite on a disk that fills: StorageError, all acknowledged votes and the labels of the last update that ended are there, and with space it goes on."""
    disk = small_disk(16_384)
    with ObservationStore.open(disk / "store.sqlite", create=True) as store:
        store.add_taxa(*checklist)
        store.add_observation(Observation(observation_id="o1", user_id="ada"))
        store.vote(of("ada", "first"))
        labels = store.aggregate(PlantNet()).state
        ballast = fill(disk, 400)
        told, errors = until_full(store, 2000)
        assert isinstance(errors[0], StorageError) and "space" in str(errors[0]), errors
        fill(disk, 0)
        with pytest.raises(StorageError, match="space"):
            store.add_observation(Observation(observation_id="o2", user_id="ada"), [Image(data=noise(1, 1000, 500))])
        with pytest.raises(StorageError, match="space"):
            for _ in range(200):
                labels = store.update().state
        assert keys_of(store) == ["first", *told] and store.state() == labels and store.replay().same
        assert store.statistics()["observations"] == 1 and not list(disk.rglob(".tmp-*"))
        ballast.unlink()
        assert store.add_observation(Observation(observation_id="o2", user_id="ada"), [Image(data=noise(1, 1000, 500))])
        resent = [store.vote(of(f"u{n}", f"k{n}")) for n in range(1, 400) if n % 4]
        assert sum(resent) == len(resent) - sum("." not in key for key in told) and len(set(keys_of(store))) == len(keys_of(store))
        store.update()
        assert store.verify().sound


@pytest.fixture
def full_postgresql(postgis, small_disk) -> Callable[[], tuple[str, Path]]:
    """PostgreSQL with a disk of its own: its address and the disk. Below /tmp, since user postgres has to get in."""
    with tempfile.TemporaryDirectory(prefix="disk-", dir="/tmp") as place:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", place], capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.strip()}")
        try:
            (folder := Path(place) / "server").mkdir()
            shutil.chown(place, "postgres")
            with database(folder) as environment:
                yield f"postgresql+psycopg://{environment['PGUSER']}@/{environment['PGDATABASE']}?host={folder}", Path(place)
        finally:
            subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_below_postgresql(full_postgresql, checklist, tmp_path):
    """The server's disk fills: a typed error, all acknowledged votes are there, and with space it goes on."""
    url, disk = full_postgresql
    with ObservationStore.open(url, images=tmp_path / "images", create=True) as store:
        store.add_taxa(*checklist)
        store.add_observation(Observation(observation_id="o1", user_id="ada"))
        ballast = fill(disk, 200)
        told, errors = until_full(store, 2000)
        assert isinstance(errors[0], (StorageError, TryAgain)) and str(errors[0]).count("\n") < 10, errors
        ballast.unlink()
        logged = keys_of(store)
        assert logged[: len(told)] == told
        for n in range(1, 40):
            store.vote(of(f"more{n}", f"m{n}"))
        assert set(told) <= set(keys_of(store)) and len(set(keys_of(store))) == len(keys_of(store)) and store.verify().sound
