"""Is a store what people made of it? The log against its hash, labels against the log, images against their names."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from geoplantnet.errors import StorageError
from geoplantnet.identify.observations import schema
from geoplantnet.identify.observations.database import Database
from geoplantnet.identify.observations.images import ImageFiles
from geoplantnet.identify.observations.labels import Replayed, replay
from geoplantnet.identify.observations.writing import TEXTS, chained

_DETERMINATION = schema.KINDS.index("determination")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was looked at, and what is wrong with it."""

    acts: int
    images: int
    """Files that observations name."""
    damage: tuple[str, ...]
    """In words; empty = sound."""
    unnamed_images: int
    """Files that no observation names: of acts that were not completed, or of one that was taken back. Harmless."""
    replayed: Replayed

    @property
    def sound(self) -> bool:
        return not self.damage


def verify(database: Database, files: ImageFiles) -> Verification:
    """Go through all of a store, reading every image once."""
    damage: list[str] = []
    with database.reading() as connection:
        if database.sqlite:
            said = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
            damage += [f"the file: {line}" for line in said if line != "ok"]
        head = connection.execute(sa.select(schema.head)).one()
        damage += _log_damage(database, connection, head)
        images = {f"{digest}.{kind}": (digest, kind) for digest, kind in map(tuple, connection.execute(_kept()))}
    for digest, kind in images.values():
        try:
            files.get(digest, kind)
        except StorageError as error:
            damage.append(str(error))
    replayed = replay(database)
    if not replayed.same:
        damage.append(f"{replayed.labels} labels and {replayed.weights} weights are not what the log gives; aggregate anew")
    unnamed = sum(name not in images for name in files.found())
    return Verification(acts=head.logged, images=len(images), damage=tuple(damage), unnamed_images=unnamed, replayed=replayed)


def _kept() -> sa.Select[Any]:
    """Images of observations that were not taken back."""
    i = schema.images
    return sa.select(i.c.sha256, i.c.format).where(i.c.observation.not_in(schema.withdrawn())).distinct()


def _log_damage(database: Database, connection: Connection, head: Any) -> list[str]:
    """Every act from 1 to the last, each once, and the hash over all of them."""
    chain, expected = "", 0
    for logged, act in acts(database, connection):
        expected += 1
        if logged != expected:
            return [f"the log: act {expected} is missing, or one stands there twice"]
        chain = chained(chain, *act)
    if expected != head.logged:
        return [f"the log: it ends with act {expected}, {head.logged} were logged"]
    return [] if chain == head.chain else ["the log: its acts are not those that were logged (their hash is another)"]


def acts(database: Database, connection: Connection) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(number, what was said) of every act of a store, in their order."""
    # A stream a table would keep several cursors open on one connection: fine with both drivers, inside one transaction.
    return heapq.merge(
        _taxa(database, connection),
        _observations(database, connection),
        _votes(database, connection),
        _predictions(database, connection),
        _weights(database, connection),
        key=itemgetter(0),
    )


Acts = Iterator[tuple[int, tuple[Any, ...]]]


def _taxa(database: Database, connection: Connection) -> Acts:
    t = schema.taxa
    query = sa.select(t.c.logged, t.c.checklist, t.c.id, t.c.scientific_name, t.c.genus, t.c.family).order_by(t.c.logged)
    for rows in database.chunks(connection, query):
        yield from ((row[0], ("taxon", *row[1:])) for row in rows)


def _observations(database: Database, connection: Connection) -> Acts:
    o, u, i = schema.observations, schema.users, schema.images
    shown: dict[int, list[list[str]]] = {}
    for rows in database.chunks(connection, sa.select(i.c.observation, i.c.sha256, i.c.organ).order_by(i.c.observation, i.c.place)):
        for observation, digest, organ in map(tuple, rows):
            shown.setdefault(observation, []).append([digest, schema.ORGANS[organ]])
    query = sa.select(
        o.c.logged, o.c.position, o.c.id, u.c.id, o.c.latitude, o.c.longitude, o.c.coordinate_uncertainty, *(o.c[text] for text in TEXTS)
    )
    for rows in database.chunks(connection, query.join(u, o.c.author == u.c.position).order_by(o.c.logged)):
        yield from ((row[0], ("observation", *row[2:], *shown.get(row[1], ()))) for row in map(tuple, rows))


def _votes(database: Database, connection: Connection) -> Acts:
    v, o, u, i, t = schema.votes, schema.observations, schema.users, schema.images, schema.taxa
    query = (
        sa.select(v.c.logged, o.c.id, u.c.id, v.c.kind, v.c.value, t.c.id, sa.func.coalesce(i.c.sha256, ""), sa.func.coalesce(v.c.key, ""))
        .join(o, v.c.observation == o.c.position)
        .join(u, v.c.voter == u.c.position)
        .outerjoin(i, v.c.image == i.c.position)
        .outerjoin(t, sa.and_(v.c.value == t.c.position, v.c.kind == _DETERMINATION))
        .order_by(v.c.logged)
    )
    for rows in database.chunks(connection, query):
        for logged, observation, user, kind, value, taxon, image, key in map(tuple, rows):
            yield logged, ("vote", observation, user, kind, taxon if kind == _DETERMINATION else value, image, key)


def _predictions(database: Database, connection: Connection) -> Acts:
    p, o, m, t = schema.predictions, schema.observations, schema.models, schema.taxa
    query = (
        sa.select(p.c.logged, o.c.id, m.c.name, m.c.version, t.c.id, p.c.score)
        .join(o, p.c.observation == o.c.position)
        .join(m, p.c.model == m.c.position)
        .join(t, p.c.taxon == t.c.position)
        .order_by(p.c.logged)
    )
    for rows in database.chunks(connection, query):
        yield from ((logged, ("prediction", *said)) for logged, *said in map(tuple, rows))


def _weights(database: Database, connection: Connection) -> Acts:
    w, u = schema.weights, schema.users
    query = sa.select(w.c.logged, u.c.id, w.c.fixed, w.c.minimal).join(u, w.c.voter == u.c.position).order_by(w.c.logged)
    for rows in database.chunks(connection, query):
        yield from ((row[0], ("weight", *row[1:])) for row in rows)
