"""Rows into tables: the votes as they stand at one moment, and the records that tell what the store knows of each observation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from geoplantnet.errors import InputError, LookupFailed
from geoplantnet.identify.observations import schema
from geoplantnet.identify.observations.database import Database
from geoplantnet.identify.records import NUMBERS, RECORD_COLUMNS, TEXT
from geoplantnet.identify.votes import NONE, Votes

_DETERMINATION, _QUALITY, _ORGAN = (schema.KINDS.index(kind) for kind in ("determination", "quality", "organ"))
_SHARES = ("malformed", "not_a_plant", "cultivated")


@dataclass(frozen=True, kw_only=True, eq=False)
class Axes:
    """What the positions of `Votes` mean. Positions are for ever: later acts only append."""

    observations: npt.NDArray[np.object_]
    """(observation,) ids."""
    users: npt.NDArray[np.object_]
    """(user,) ids."""
    taxa: npt.NDArray[np.object_]
    """(species,) ids."""
    logged: int
    """The last act that was looked at."""


def standing_votes(database: Database, connection: Connection, upto: int, n_users: int) -> Votes:
    """Determinations, predictions and weights as they stood after act `upto`, when there were `n_users`."""
    acts = table_of(
        database, connection, sa.select(schema.observations.c.position, schema.observations.c.author), schema.observations, upto
    )
    author = acts[np.argsort(acts[:, 0]), 1].astype(np.int32)
    n_taxa = connection.scalar(sa.select(sa.func.count()).where(schema.taxa.c.logged <= upto)) or 0
    votes = schema.votes
    query = sa.select(votes.c.logged, votes.c.observation, votes.c.voter, sa.func.coalesce(votes.c.value, NONE))
    log = last_rows(table_of(database, connection, query.where(votes.c.kind == _DETERMINATION), votes, upto), n_users)
    log = log[log[:, 3] != NONE]
    ai_species, ai_score = _predictions(database, connection, upto, len(author))
    fixed, minimal = _weights(connection, upto, n_users)
    return Votes(
        observation=log[:, 1].astype(np.int32),
        user=log[:, 2].astype(np.int32),
        species=log[:, 3].astype(np.int32),
        author=author,
        n_users=n_users,
        n_species=n_taxa,
        ai_species=ai_species,
        ai_score=ai_score,
        fixed_weight=fixed,
        minimal_weight=minimal,
    )


def last_rows(log: npt.NDArray[np.int64], n_users: int) -> npt.NDArray[np.int64]:
    """(act, observation, user, ...) -> the rows that are the last of their (observation, user)."""
    log = log[np.argsort(log[:, 0], kind="stable")]
    pair = log[:, 1] * max(n_users, 1) + log[:, 2]
    _, last = np.unique(pair[::-1], return_index=True)
    return log[len(log) - 1 - last]


def table_of(database: Database, connection: Connection, query: sa.Select[Any], table: sa.Table, upto: int) -> npt.NDArray[np.int64]:
    """The whole numbers of a query's rows up to an act, in chunks: a row of Python objects is ten times an array's."""
    width = len(query.selected_columns)
    chunks = database.chunks(connection, query.where(table.c.logged <= upto))
    parts = [np.fromiter(chain.from_iterable(rows), np.int64, len(rows) * width).reshape(-1, width) for rows in chunks]
    return np.concatenate(parts) if parts else np.empty((0, width), np.int64)


def axes(connection: Connection, logged: int) -> Axes:
    """Ids by position."""
    o = schema.observations
    return Axes(
        observations=_ids(connection, sa.select(o.c.id).where(o.c.logged <= logged).order_by(o.c.position)),
        users=_ids(connection, sa.select(schema.users.c.id).order_by(schema.users.c.position)),
        taxa=_ids(connection, sa.select(schema.taxa.c.id).order_by(schema.taxa.c.position)),
        logged=logged,
    )


def record_chunks(
    database: Database, connection: Connection, *, chunk: int, bounds: tuple[float, float, float, float] | None
) -> Iterator[pd.DataFrame]:
    """The records of what the last aggregation has seen (of all, unlabelled, before the first), ordered by id."""
    upto, identifier = _told_upto(connection), schema.observations.c.id
    place = [_inside(database, bounds)] if bounds is not None else []
    page = _page(connection, upto, chunk, *place)
    while len(page):
        yield _records(database, connection, page, upto)
        page = _page(connection, upto, chunk, *place, identifier > page["occurrenceID"].iloc[-1])


def record(database: Database, connection: Connection, observation_id: str) -> Mapping[str, Any]:
    """The record of one observation. Raises LookupFailed where there is none."""
    upto = _told_upto(connection)
    page = _page(connection, upto, 1, schema.observations.c.id == observation_id)
    if page.empty:
        if withdrawn(database, connection, [observation_id]):
            raise LookupFailed(f"observation {observation_id!r} was taken back by its author")
        raise LookupFailed(f"there is no observation {observation_id!r}, or it came after the last aggregation; update, then ask again")
    told = _records(database, connection, page, upto).iloc[0]
    return MappingProxyType({name: told[name] for name in RECORD_COLUMNS})


def unsettled(database: Database, connection: Connection, user_id: str, limit: int, after: tuple[float, str] | None) -> pd.DataFrame:
    """Records of others' licensed observations with images whose label is not valid and of which the user said nothing: the least sure first."""
    o, u, label, v, i = schema.observations, schema.users, schema.labels, schema.votes, schema.images
    upto, sure = _told_upto(connection), sa.func.coalesce(schema.labels.c.confidence, 0.0)
    last = (
        sa.select(sa.func.max(v.c.logged))
        .join(u, v.c.voter == u.c.position)
        .where(u.c.id == user_id)
        .group_by(v.c.observation, v.c.kind, v.c.image)
    )
    spoken = sa.select(v.c.observation).where(v.c.logged.in_(last), v.c.value.is_not(None))  # a vote taken back says nothing
    query = (
        sa.select(o.c.id)
        .join(u, o.c.author == u.c.position)
        .outerjoin(label, label.c.observation == o.c.position)
        .where(
            o.c.logged <= upto,
            u.c.id != user_id,
            o.c.license != "",
            sa.func.coalesce(label.c.valid, sa.false()) == sa.false(),
            o.c.position.not_in(spoken),
            o.c.position.not_in(schema.withdrawn()),
            sa.exists().where(i.c.observation == o.c.position),
        )
        .order_by(sure, o.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.or_(sure > after[0], sa.and_(sure == after[0], o.c.id > after[1])))
    ids = connection.scalars(query).all()
    page = _page(connection, upto, len(ids), o.c.id.in_(ids))
    return _records(database, connection, page, upto).set_index("occurrenceID", drop=False).loc[list(ids)].reset_index(drop=True)


def of_taxon(database: Database, connection: Connection, taxon_id: str, limit: int) -> tuple[tuple[int, ...], int, pd.DataFrame]:
    """Of the observations validly labelled so: how many each month (12), how many in all, and records of the surest with a licence and images."""
    o, label, taxon, i = schema.observations, schema.labels, schema.taxa, schema.images
    upto = _told_upto(connection)
    mine = sa.select(o.c.id, o.c.event_date, o.c.license, label.c.confidence).join(label, label.c.observation == o.c.position)
    mine = mine.join(taxon, label.c.taxon == taxon.c.position)
    mine = mine.where(taxon.c.id == taxon_id, label.c.valid, o.c.logged <= upto, o.c.position.not_in(schema.withdrawn()))
    month = sa.func.substr(mine.subquery().c.event_date, 6, 2)
    counted = dict(map(tuple, connection.execute(sa.select(month, sa.func.count()).group_by(month))))
    months = tuple(int(counted.get(f"{number:02d}", 0)) for number in range(1, 13))
    shown = mine.where(o.c.license != "", sa.exists().where(i.c.observation == o.c.position))
    ids = connection.scalars(shown.order_by(label.c.confidence.desc(), o.c.id).limit(limit)).all()
    records = _records(database, connection, _page(connection, upto, len(ids), o.c.id.in_(ids)), upto)
    return months, sum(counted.values()), records.set_index("occurrenceID", drop=False).loc[list(ids)].reset_index(drop=True)


def own(database: Database, connection: Connection, user_id: str, limit: int, after: str) -> pd.DataFrame:
    """Records of a user's observations, the last given first; after that of an id."""
    o, u = schema.observations, schema.users
    upto = _told_upto(connection)
    query = sa.select(o.c.id).join(u, o.c.author == u.c.position).where(u.c.id == user_id, o.c.logged <= upto)
    query = query.where(o.c.position.not_in(schema.withdrawn())).order_by(o.c.position.desc()).limit(limit)
    if after:
        query = query.where(o.c.position < sa.select(o.c.position).where(o.c.id == after).scalar_subquery())
    ids = connection.scalars(query).all()
    records = _records(database, connection, _page(connection, upto, len(ids), o.c.id.in_(ids)), upto)
    return records.set_index("occurrenceID", drop=False).loc[list(ids)].reset_index(drop=True)


def author_of(connection: Connection, observation_id: str) -> str:
    """The account that gave an observation. Raises LookupFailed where there is none."""
    o, u = schema.observations, schema.users
    author = connection.scalar(sa.select(u.c.id).join(o, o.c.author == u.c.position).where(o.c.id == observation_id))
    if author is None:
        raise LookupFailed(f"there is no observation {observation_id!r}")
    return str(author)


def withdrawn(database: Database, connection: Connection, ids: Sequence[str]) -> frozenset[str]:
    """Those of these observations that were taken back."""
    o = schema.observations
    query = sa.select(o.c.id).where(o.c.position.in_(schema.withdrawn()), o.c.id.in_(database.members(list(ids))))
    return frozenset(connection.scalars(query))


def images_of_nobody_else(connection: Connection, observation_id: str) -> list[tuple[str, str]]:
    """SHA-256 and format of the images of an observation that no other one which is still there holds."""
    i, o = schema.images, schema.observations
    other = i.alias()
    held = sa.select(other.c.sha256).where(other.c.sha256 == i.c.sha256, other.c.observation.not_in(schema.withdrawn()))
    query = sa.select(i.c.sha256, i.c.format).distinct().join(o, i.c.observation == o.c.position)
    return [(digest, kind) for digest, kind in connection.execute(query.where(o.c.id == observation_id, ~held.exists()))]


def held_images(connection: Connection, digests: Sequence[str]) -> frozenset[tuple[str, str]]:
    """SHA-256 and format of those of these images that an observation holds which is not taken back."""
    i = schema.images
    query = sa.select(i.c.sha256, i.c.format).where(i.c.sha256.in_(digests), i.c.observation.not_in(schema.withdrawn()))
    return frozenset((digest, kind) for digest, kind in connection.execute(query))


def observations_with(connection: Connection, image: str) -> list[str]:
    """Ids of the observations that hold an image, and are not taken back."""
    i, o = schema.images, schema.observations
    query = sa.select(o.c.id).join(i, i.c.observation == o.c.position).where(i.c.sha256 == image, o.c.position.not_in(schema.withdrawn()))
    return list(connection.scalars(query.distinct()))


def names(database: Database, connection: Connection, ids: Sequence[str]) -> list[tuple[str, str, str]]:
    """(observation id, taxon id, name) of all votes but those of silenced users, of predictions, and of words of their authors."""
    o, v, p, t, w = schema.observations, schema.votes, schema.predictions, schema.taxa, schema.weights
    last = sa.select(sa.func.max(w.c.logged)).group_by(w.c.voter).scalar_subquery()
    silenced = sa.select(w.c.voter).where(w.c.logged.in_(last), w.c.fixed == 0)
    wanted = o.c.id.in_(database.members(list(ids)))
    voted = sa.select(o.c.id, t.c.id.label("taxon"), t.c.scientific_name).select_from(
        v.join(o, v.c.observation == o.c.position).join(t, v.c.value == t.c.position)
    )
    predicted = sa.select(o.c.id, t.c.id, t.c.scientific_name).select_from(
        p.join(o, p.c.observation == o.c.position).join(t, p.c.taxon == t.c.position)
    )
    written = sa.select(o.c.id, sa.literal(""), o.c.verbatim_name).where(wanted, o.c.verbatim_name != "")
    query = sa.union(
        voted.where(wanted, v.c.kind == schema.KINDS.index("determination"), v.c.voter.not_in(silenced)), predicted.where(wanted), written
    )
    return [tuple(row) for row in connection.execute(query)]


def history(connection: Connection, observation_id: str) -> pd.DataFrame:
    """Every vote ever cast on an observation, oldest first."""
    v, o, u, i, t, w = schema.votes, schema.observations, schema.users, schema.images, schema.taxa, schema.user_weights
    query = (
        sa.select(
            v.c.logged,
            v.c.at,
            u.c.id.label("user_id"),
            u.c.name,
            v.c.kind,
            v.c.value,
            t.c.id.label("taxon"),
            i.c.sha256.label("image"),
            w.c.weight,
        )
        .join(o, v.c.observation == o.c.position)
        .join(u, v.c.voter == u.c.position)
        .outerjoin(i, v.c.image == i.c.position)
        .outerjoin(t, sa.and_(v.c.value == t.c.position, v.c.kind == _DETERMINATION))
        .outerjoin(w, w.c.voter == v.c.voter)
        .where(o.c.id == observation_id)
        .order_by(v.c.logged)
    )
    log = _frame(connection, query)
    log["image"] = log["image"].fillna("")
    log["stands"] = ~log.duplicated(["user_id", "kind", "image"], keep="last")
    log["value"] = [_word(kind, value, taxon) for kind, value, taxon in zip(log["kind"], log["value"], log["taxon"], strict=True)]
    log["kind"] = [schema.KINDS[kind] for kind in log["kind"]]
    log["at"] = pd.to_datetime(log["at"], unit="ms", utc=True)
    log["weight"] = log["weight"].astype(float)
    return log[["logged", "at", "user_id", "name", "kind", "value", "image", "weight", "stands"]]


def user(connection: Connection, user_id: str) -> Mapping[str, Any]:
    """What the store knows of an account. Raises LookupFailed where there is none."""
    u, v, o, w, label = schema.users, schema.votes, schema.observations, schema.weights, schema.labels
    row = connection.execute(sa.select(u).where(u.c.id == user_id)).one_or_none()
    if row is None:
        raise LookupFailed(f"there is no user {user_id!r}")
    set_by = connection.execute(sa.select(w).where(w.c.voter == row.position).order_by(w.c.logged.desc()).limit(1)).one_or_none()
    query = sa.select(v.c.observation, v.c.value, label.c.taxon, label.c.valid).outerjoin(label, label.c.observation == v.c.observation)
    log = _frame(connection, query.where(v.c.voter == row.position, v.c.kind == _DETERMINATION).order_by(v.c.logged))
    log = log.drop_duplicates("observation", keep="last")
    log = log[log["value"].notna()]
    right = log["value"] == log["taxon"]
    return MappingProxyType(
        {
            "user_id": row.id,
            "name": row.name,
            "weight": connection.scalar(sa.select(schema.user_weights.c.weight).where(schema.user_weights.c.voter == row.position)),
            "fixed_weight": set_by.fixed if set_by else None,
            "minimal_weight": set_by.minimal if set_by else None,
            "observations": connection.scalar(
                sa.select(sa.func.count()).where(o.c.author == row.position, o.c.position.not_in(schema.withdrawn()))
            )
            or 0,
            "determinations": len(log),
            "species": int(log["value"].nunique()),
            "as_the_label": int(right.sum()),
            "as_a_valid_label": int((right & log["valid"].fillna(False).astype(bool)).sum()),
        }
    )


def _word(kind: int, value: float | None, taxon: str | None) -> str:
    """A vote's value as it was sent."""
    if value is None or value != value:
        return ""
    return str(taxon) if kind == _DETERMINATION else schema.ORGANS[int(value)] if kind == _ORGAN else str(int(value))


def _told_upto(connection: Connection) -> int:
    """The last act that records tell of."""
    logged = connection.scalar(sa.select(schema.state.c.logged))
    return int(connection.scalar(sa.select(schema.head.c.logged)) or 0) if logged is None else int(logged)


def _page(connection: Connection, upto: int, chunk: int, *where: sa.ColumnElement[bool]) -> pd.DataFrame:
    o, u, label, taxon = schema.observations, schema.users, schema.labels, schema.taxa
    query = (
        sa.select(
            o.c.position,
            o.c.id.label("occurrenceID"),
            u.c.name.label("recordedBy"),
            u.c.id.label("recordedByID"),
            o.c.event_date.label("eventDate"),
            o.c.dataset_id.label("datasetID"),
            o.c.flora,
            o.c.license,
            o.c.rights_holder.label("rightsHolder"),
            o.c.latitude.label("decimalLatitude"),
            o.c.longitude.label("decimalLongitude"),
            o.c.coordinate_uncertainty.label("coordinateUncertaintyInMeters"),
            o.c.verbatim_name.label("verbatimScientificName"),
            sa.func.coalesce(label.c.taxon, NONE).label("taxon"),
            taxon.c.id.label("taxonID"),
            taxon.c.scientific_name.label("scientificName"),
            taxon.c.genus,
            taxon.c.family,
            sa.func.coalesce(label.c.valid, sa.false()).label("valid"),
            label.c.confidence,
            label.c.agreement,
        )
        .join(u, o.c.author == u.c.position)
        .outerjoin(label, label.c.observation == o.c.position)
        .outerjoin(taxon, label.c.taxon == taxon.c.position)
        .where(o.c.logged <= upto, o.c.position.not_in(schema.withdrawn()), *where)
        .order_by(o.c.id)
        .limit(chunk)
    )
    return _frame(connection, query)


def _inside(database: Database, bounds: tuple[float, float, float, float]) -> sa.ColumnElement[bool]:
    west, south, east, north = bounds
    if not (west <= east and south <= north):
        raise InputError(f"bounds {bounds} are not west, south, east, north in degrees")
    if not database.sqlite:
        gis = database.postgis
        return sa.text(f"geometry OPERATOR({gis}.&&) {gis}.ST_MakeEnvelope(:west, :south, :east, :north, 4326)").bindparams(  # type: ignore[return-value]
            west=west, south=south, east=east, north=north
        )
    o = schema.observations
    return sa.and_(o.c.latitude.between(south, north), o.c.longitude.between(west, east))


def _records(database: Database, connection: Connection, page: pd.DataFrame, upto: int) -> pd.DataFrame:
    """The columns of `RECORD_COLUMNS` of a page of observations."""
    page = page.set_index("position")
    members = database.members(page.index.tolist(), int)
    log = _current(connection, members, upto)
    named = log[(log["kind"] == _DETERMINATION) & log["value"].notna()]
    page["determinations"] = named.groupby("observation").size().reindex(page.index, fill_value=0)
    chosen = named[(named["value"] == page["taxon"].reindex(named["observation"]).to_numpy()) & (named["name"] != "")]
    page["identifiedBy"] = _joined(chosen["observation"], chosen["name"])
    judged = log[log["value"].notna()]
    for share in _SHARES:
        page[share] = _share(judged, schema.KINDS.index(share)).reindex(page.index, fill_value=0.0)
    page["quality"] = judged[judged["kind"] == _QUALITY].groupby("observation")["value"].mean()
    for column, values in _images(connection, members, judged[judged["kind"] == _ORGAN], upto).items():
        page[column] = values
    for column, values in _ai(connection, members, upto).items():
        page[column] = values
    page = page.reindex(columns=list(RECORD_COLUMNS)).reset_index(drop=True)
    for column in TEXT:
        page[column] = page[column].astype(object).where(page[column].notna(), "")
    for column in NUMBERS:
        page[column] = page[column].astype(float)
    page[["confidence", "agreement"]] = page[["confidence", "agreement"]].fillna(0.0)
    page["valid"] = page["valid"].astype(bool)
    return page


def _current(connection: Connection, members: Any, upto: int) -> pd.DataFrame:
    """The votes that stand on some observations, oldest first, each with its voter's name (empty: wants none) and weight."""
    v, u, w = schema.votes, schema.users, schema.user_weights
    query = (
        sa.select(v.c.logged, v.c.observation, v.c.voter, v.c.kind, v.c.image, v.c.value, u.c.name, w.c.weight)
        .join(u, v.c.voter == u.c.position)
        .outerjoin(w, w.c.voter == v.c.voter)
        .where(v.c.observation.in_(members), v.c.logged <= upto)
        .order_by(v.c.logged)
    )
    log = _frame(connection, query)
    log["image"] = log["image"].fillna(NONE).astype(np.int64)
    log["value"] = log["value"].astype(float)
    log["weight"] = log["weight"].astype(float).fillna(1.0)
    return log.drop_duplicates(["observation", "voter", "kind", "image"], keep="last")


def _share(judged: pd.DataFrame, kind: int) -> pd.Series:
    """Observation -> weight of those who say yes over that of all who spoke of it or determined the plant."""
    asked = judged[judged["kind"].isin((kind, _DETERMINATION))]
    everybody = asked.drop_duplicates(["observation", "voter"]).groupby("observation")["weight"].sum()
    yes = asked[(asked["kind"] == kind) & (asked["value"] == 1)].groupby("observation")["weight"].sum()
    return (yes / everybody.where(everybody > 0)).reindex(everybody.index).fillna(0.0)


def _images(connection: Connection, members: Any, organs: pd.DataFrame, upto: int) -> dict[str, pd.Series]:
    """Images and organs of observations. An organ is what most votes say; of as many, the author's word, then the first of `ORGANS`."""
    i = schema.images
    query = sa.select(i.c.position, i.c.observation, i.c.sha256, i.c.organ).where(i.c.observation.in_(members))
    shown = _frame(connection, query.order_by(i.c.observation, i.c.place)).set_index("position")
    if len(organs):
        said = organs.groupby(["image", "value"]).size().rename("votes").reset_index()
        said["own"] = said["value"] == shown["organ"].reindex(said["image"]).to_numpy()
        said = said.sort_values(["image", "votes", "own", "value"], ascending=[True, False, False, True]).drop_duplicates("image")
        shown.loc[said["image"], "organ"] = said["value"].to_numpy().astype(int)
    organ = pd.Series([schema.ORGANS[organ] for organ in shown["organ"]], index=shown.index, dtype=object)
    return {"organs": _joined(shown["observation"], organ), "images": _joined(shown["observation"], shown["sha256"])}


def _ai(connection: Connection, members: Any, upto: int) -> dict[str, pd.Series]:
    p, m, t = schema.predictions, schema.models, schema.taxa
    query = (
        sa.select(p.c.observation, t.c.id, p.c.score, m.c.name, m.c.version)
        .join(m, p.c.model == m.c.position)
        .join(t, p.c.taxon == t.c.position)
        .where(p.c.observation.in_(members), p.c.logged <= upto)
        .order_by(p.c.logged)
    )
    last = _frame(connection, query).drop_duplicates("observation", keep="last").set_index("observation")
    return {"ai_taxonID": last["id"], "ai_score": last["score"].astype(float), "ai_model": last["name"] + " " + last["version"]}


def _predictions(
    database: Database, connection: Connection, upto: int, n: int
) -> tuple[npt.NDArray[np.int32] | None, npt.NDArray[np.float64] | None]:
    p = schema.predictions
    query = sa.select(p.c.observation, p.c.taxon, p.c.score).where(p.c.logged <= upto).order_by(p.c.logged)
    species, score = np.full(n, NONE, np.int32), np.zeros(n)
    some = False
    for rows in database.chunks(connection, query):
        some = True
        for observation, taxon, sure in map(tuple, rows):  # in the order of the log: the last stands
            species[observation], score[observation] = taxon, sure
    return (species, score) if some else (None, None)


def _weights(connection: Connection, upto: int, n_users: int) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    w = schema.weights
    rows = connection.execute(sa.select(w.c.voter, w.c.fixed, w.c.minimal).where(w.c.logged <= upto).order_by(w.c.logged)).fetchall()
    if not rows:
        return None, None
    fixed, minimal = np.full(n_users, np.nan), np.full(n_users, np.nan)
    for voter, one, other in rows:
        fixed[voter], minimal[voter] = np.nan if one is None else one, np.nan if other is None else other
    return fixed, minimal


def _frame(connection: Connection, query: sa.Select[Any]) -> pd.DataFrame:
    """A query's rows, made column by column: a row of the database taken apart by pandas costs many times as much."""
    result = connection.execute(query)
    names: Sequence[str] = list(result.keys())
    columns = list(zip(*result.fetchall(), strict=True)) or [()] * len(names)
    frame = pd.DataFrame({n: pd.Series(list(column), dtype=object) for n, column in enumerate(columns)})
    frame.columns = pd.Index(names)
    return frame.infer_objects()


def _joined(observations: pd.Series, words: pd.Series) -> pd.Series:
    """Observation -> its words, in their order, separated by |."""
    of: dict[int, list[str]] = {}
    for observation, word in zip(observations.tolist(), words.tolist(), strict=True):
        of.setdefault(observation, []).append(word)
    return pd.Series({observation: "|".join(found) for observation, found in of.items()}, dtype=object)


def _ids(connection: Connection, query: sa.Select[Any]) -> npt.NDArray[np.object_]:
    return np.array(connection.scalars(query).all(), dtype=object)
