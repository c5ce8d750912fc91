"""The observation store: acts go in and are never changed, records come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import astuple, fields
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, Self

import pandas as pd
import sqlalchemy as sa

from geoplantnet.errors import InputError, LookupFailed, StorageError, TryAgain
from geoplantnet.identify.observations import labels, reading, schema, verification
from geoplantnet.identify.observations.acts import Counted, Image, ModelVersion, Observation, RefusedAct, Tally, Vote
from geoplantnet.identify.observations.database import Database
from geoplantnet.identify.observations.images import ImageFiles
from geoplantnet.identify.observations.labels import Aggregated, Replayed, State
from geoplantnet.identify.observations.reading import Axes
from geoplantnet.identify.observations.verification import Verification
from geoplantnet.identify.observations.writing import Writer
from geoplantnet.identify.records import validate_records
from geoplantnet.identify.votes import Strategy, Votes
from geoplantnet.taxonomy import Taxon

OBSERVATION_COLUMNS = tuple(f.name for f in fields(Observation))
VOTE_COLUMNS = tuple(f.name for f in fields(Vote))
PREDICTION_COLUMNS = ("observation_id", "taxon_id", "score")
_NEEDED = ("observation_id", "user_id", "kind", "value")


class ObservationStore:
    """Observations, images and an append-only log of votes, in SQLite or PostgreSQL. Safe for threads and for many processes.

    An act that returned is on disk. An act that raised TryAgain or StorageError has left nothing, unless the connection broke
    while it was being committed: send it again with the same key (a vote) or id (an observation), and it is stored once.
    """

    def __init__(self, database: Database, images: ImageFiles) -> None:
        self._database, self.images = database, images
        self._kept: labels.Kept | None = None
        self._turn = Lock()

    @classmethod
    def open(cls, url: str | Path, *, images: str | Path | None = None, create: bool = False, patience: float = 30.0) -> Self:
        """Open a store: `url` is a path, `sqlite:///path` or `postgresql+psycopg://...`; `images` a folder or fsspec address.

        Images of a SQLite store lie by default in `<file>.images`, of another in the folder `images`. `create` makes the tables, or
        brings older ones to this version's. `patience`: seconds a writer waits for its turn before TryAgain. Raises InputError
        where there is no store, UsageError for one of another version, StorageError for a damaged file or full disk.
        """
        database = Database(url, create=create, patience=patience)
        where = images if images is not None else Path(f"{database.file}.images") if database.file else Path("images")
        return cls(database, ImageFiles(where))

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return self._database.name

    def add_taxa(self, checklist: str, taxa: Iterable[Taxon]) -> int:
        """Add taxa that may be determined; known ones are passed over -> how many are new.

        A store determines by one checklist. Raises InputError for another, or where an id names something else than before.
        """
        with self._writing() as writer:
            return writer.taxa(checklist, taxa)

    def add_user(self, user_id: str, name: str = "") -> None:
        """Add an account, or give one another name: as it wants to be cited, empty = not at all. Accounts of acts are added without."""
        self.add_users({user_id: name})

    def add_users(self, names: Mapping[str, str]) -> None:
        """Account -> name, for many."""
        with self._writing() as writer:
            writer.users(dict(names))

    def set_weight(self, user_id: str, *, fixed: float | None = None, minimal: float | None = None) -> None:
        """An administrator's act: a weight in the place of the one found, or one it does not fall below; None = neither. It is logged."""
        with self._writing() as writer:
            writer.weight(user_id, fixed, minimal)

    def add_observation(self, observation: Observation, images: Sequence[Image] = ()) -> str:
        """Store an observation and its images -> its id. The same once more changes nothing. Raises InputError for what cannot be taken."""
        for image in images:
            if image.organ not in schema.ORGANS:
                raise RefusedAct("bad value", f"organ {image.organ!r}; wanted {', '.join(schema.ORGANS)}")
        if observation.observation_id and self.withdrawn([observation.observation_id]):
            raise RefusedAct(
                "observation withdrawn", f"{observation.observation_id!r} was taken back by its author; give it under another id"
            )
        tally, stored = Tally(), []
        try:
            # Files before rows: a row never points at nothing. A file without a row is harmless, and `verify` counts it.
            for image in images:
                stored.append((*self.images.put(image.data), image.organ))
            with self._writing() as writer:
                for (digest, kind, _, _), image in zip(stored, images, strict=True):
                    if not self.images.holds(digest, kind):  # gone meanwhile, with another observation that was taken back
                        self.images.put(image.data)
                ids = writer.observations([astuple(observation)], tally, stored)
                _raise_first(tally)
        except BaseException:
            self._drop({(digest, kind) for digest, kind, *_ in stored})
            raise
        return ids[0]

    def _drop(self, files: Set[tuple[str, str]]) -> None:
        """Take away files of images that no observation holds. What fails leaves a file that `verify` counts."""
        with suppress(StorageError, TryAgain), self._database.writing() as (connection, _):  # nobody adds an image meanwhile
            for digest, kind in files - reading.held_images(connection, [digest for digest, _ in files]):
                self.images.remove(digest, kind)

    def vote(self, vote: Vote) -> bool:
        """Log a vote -> whether it is new: False where its key was logged before. Raises InputError for what cannot be taken."""
        tally = Tally()
        with self._writing() as writer:
            writer.votes([astuple(vote)], tally)
            _raise_first(tally)
        return tally.kept == 1

    def withdraw(self, observation_id: str, user_id: str | None = None) -> bool:
        """Take an observation back, for good -> whether it was there until now. It is in no record, list or export any more, and the files
        of its images are removed where no other observation has them; the log keeps that it was, not what it showed.

        `user_id` must be its author; None: an administrator, in the author's name. Raises LookupFailed where there is none, InputError for who
        is not its author.
        """
        with self._database.reading() as connection:
            author = reading.author_of(connection, observation_id)
        act = Vote(observation_id=observation_id, user_id=user_id or author, kind="withdrawn", value="1", key=f"withdrawn-{observation_id}")
        new = self.vote(act)
        with self._database.writing() as (connection, _):  # nobody adds an image meanwhile
            for digest, kind in reading.images_of_nobody_else(connection, observation_id):
                self.images.remove(digest, kind)
        return new

    def withdrawn(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these observations that their authors took back."""
        with self._database.reading() as connection:
            return reading.withdrawn(self._database, connection, ids)

    def holds(self, observation_id: str) -> bool:
        """Whether there is, or was, such an observation, aggregated or not."""
        with self._database.reading() as connection, suppress(LookupFailed):
            reading.author_of(connection, observation_id)
            return True
        return False

    def names(self, ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """(observation id, taxon id, scientific name) of everything that people and models ever called these observations; ids may be empty.

        What users said whose weight an administrator fixed at 0 is left out.
        """
        with self._database.reading() as connection:
            return reading.names(self._database, connection, ids)

    def observations_with(self, image: str) -> list[str]:
        """Ids of the observations, not taken back, that hold an image, by its SHA-256."""
        with self._database.reading() as connection:
            return reading.observations_with(connection, image)

    def predict(self, observation_id: str, model: ModelVersion, taxon_id: str, score: float) -> None:
        """Log what a model says: a taxon and its calibrated probability, 0 to 1. The last prediction of an observation stands."""
        tally = Tally()
        with self._writing() as writer:
            writer.predictions(model, [(observation_id, taxon_id, score)], tally)
            _raise_first(tally)

    def add_observations(self, observations: pd.DataFrame) -> Counted:
        """Store many, without images, in one transaction: columns as the fields of `Observation`, of which `user_id` is needed."""
        rows, tally = _rows(observations, OBSERVATION_COLUMNS, ("user_id",)), Tally()
        with self._writing() as writer:
            writer.observations(rows, tally)
        return tally.counted()

    def add_votes(self, votes: pd.DataFrame) -> Counted:
        """Log many in one transaction, in the table's order: columns as the fields of `Vote`; bad rows are counted, good ones kept."""
        rows, tally = _rows(votes, VOTE_COLUMNS, _NEEDED), Tally()
        with self._writing() as writer:
            writer.votes(rows, tally)
        return tally.counted()

    def add_predictions(self, model: ModelVersion, predictions: pd.DataFrame) -> Counted:
        """Log many of a model in one transaction: columns observation_id, taxon_id, score."""
        rows, tally = _rows(predictions, PREDICTION_COLUMNS, PREDICTION_COLUMNS), Tally()
        with self._writing() as writer:
            writer.predictions(model, rows, tally)
        return tally.counted()

    def votes(self) -> tuple[Votes, Axes]:
        """The determinations, predictions and weights that stand now, and what their positions mean."""
        with self._database.reading() as connection:
            head = connection.execute(sa.select(schema.head)).one()
            return reading.standing_votes(self._database, connection, head.logged, head.users), reading.axes(connection, head.logged)

    @property
    def default_strategy(self) -> Strategy:
        """The rule of the stored labels; Pl@ntNet's as published before there are any."""
        with self._database.reading() as connection:
            return labels.strategy_of(labels.stored_state(connection))

    def state(self) -> State | None:
        """What the stored labels stand for; None before the first aggregation."""
        with self._database.reading() as connection:
            return labels.stored_state(connection)

    def aggregate(self, strategy: Strategy | None = None) -> Aggregated:
        """Make labels and weights from the whole log by `strategy` (default: `default_strategy`), and store them in one transaction.

        Raises TryAgain when another process stored labels of a longer log meanwhile; UsageError for a strategy that cannot be stored.
        """
        return labels.aggregate(self._database, strategy if strategy is not None else self.default_strategy)

    def update(self) -> Aggregated:
        """Take in what was logged since, by the rule of the stored labels: the same labels as `aggregate`, to the last bit.

        With `PlantNet` this process keeps what it knows in memory: the first call goes through all votes, later ones through what changed.
        """
        with self._turn:
            kept, self._kept = self._kept, None
            told, self._kept = labels.update(self._database, kept)
            return told

    def replay(self) -> Replayed:
        """Make the stored labels and weights again from the log alone, and compare them to the last bit. Changes nothing."""
        return labels.replay(self._database)

    def verify(self) -> Verification:
        """Look at all: the log whole and unchanged, labels the log's, images there with the bytes they had."""
        return verification.verify(self._database, self.images)

    def records(self, *, chunk: int = 50_000, bounds: tuple[float, float, float, float] | None = None) -> Iterator[pd.DataFrame]:
        """Records (`RECORD_COLUMNS`) of what the last aggregation has seen, ordered by observation id, `chunk` at a time, of one moment.

        Acts since then are in none of the columns: aggregate or update first. Before the first aggregation all observations come,
        without labels. `bounds`: west, south, east, north in degrees, borders included; observations without a place are then left out.
        """
        if chunk < 1:
            raise InputError(f"chunk {chunk}; at least 1")
        with self._database.reading() as connection:
            for records in reading.record_chunks(self._database, connection, chunk=chunk, bounds=bounds):
                validate_records(records)
                yield records

    def taxa(self) -> pd.DataFrame:
        """The checklist: taxonID, scientificName, genus, family, a row a taxon in the order it was added."""
        t = schema.taxa
        query = sa.select(t.c.id, t.c.scientific_name, t.c.genus, t.c.family).order_by(t.c.position)
        with self._database.reading() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        return pd.DataFrame(rows, columns=["taxonID", "scientificName", "genus", "family"], dtype=object)

    def record(self, observation_id: str) -> Mapping[str, Any]:
        """One record. Raises LookupFailed where there is none, or the last aggregation has not seen it."""
        with self._database.reading() as connection:
            return reading.record(self._database, connection, observation_id)

    def history(self, observation_id: str) -> pd.DataFrame:
        """Every vote on an observation, oldest first: logged, at, user_id, name, kind, value, image, weight, stands (no later one replaced it)."""
        with self._database.reading() as connection:
            return reading.history(connection, observation_id)

    def unsettled(self, user_id: str, *, limit: int, after: tuple[float, str] | None = None) -> pd.DataFrame:
        """Records that a user may help to settle: others', licensed, with images, whose label is not valid, of which the user said nothing yet.

        The least sure first, at most `limit`; `after`: confidence and id of the last one that was told. Acts since the last aggregation count
        for the last condition alone.
        """
        with self._database.reading() as connection:
            return reading.unsettled(self._database, connection, user_id, limit, after)

    def own(self, user_id: str, *, limit: int, after: str = "") -> pd.DataFrame:
        """Records of what a user gave, the last first, at most `limit`; `after`: the id of the last one that was told."""
        with self._database.reading() as connection:
            return reading.own(self._database, connection, user_id, limit, after)

    def of_taxon(self, taxon_id: str, *, limit: int) -> tuple[tuple[int, ...], int, pd.DataFrame]:
        """Of the observations whose label is validly this taxon: how many in each month of the year (12 numbers), how many in all, and the records
        of the `limit` surest that have a licence and images.
        """
        with self._database.reading() as connection:
            return reading.of_taxon(self._database, connection, taxon_id, limit)

    def user(self, user_id: str) -> Mapping[str, Any]:
        """An account: name, weight, what an administrator set, how many observations, determinations and species, and how many are the label.

        Raises LookupFailed where there is none.
        """
        with self._database.reading() as connection:
            return reading.user(connection, user_id)

    def statistics(self) -> Mapping[str, int]:
        """How many there are of each, what is logged, and up to which act labels stand."""
        with self._database.reading() as connection:
            head = connection.execute(sa.select(schema.head)).one()
            counts = {name: getattr(head, name) for name in ("taxa", "users", "observations", "images", "models")}
            for table in (schema.votes, schema.predictions, schema.weights):
                counts[table.name] = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            counts["valid"] = connection.scalar(sa.select(sa.func.count()).select_from(schema.labels).where(schema.labels.c.valid)) or 0
            counts["withdrawn"] = connection.scalar(sa.select(sa.func.count()).select_from(schema.withdrawn().distinct().subquery())) or 0
            aggregated = connection.scalar(sa.select(schema.state.c.logged)) or 0
            return MappingProxyType({**counts, "logged": head.logged, "aggregated": aggregated})

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """A transaction of acts: all of them, or none."""
        with self._database.writing() as (connection, head):
            writer = Writer(self._database, connection, head)
            yield writer
            writer.finish()


def _rows(table: pd.DataFrame, columns: Sequence[str], needed: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows as tuples of `columns`; a column that is not there is empty. Raises InputError where one that is needed is missing."""
    if missing := [column for column in needed if column not in table]:
        raise InputError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    given = {column: table[column].astype(object).where(table[column].notna(), None).tolist() for column in columns if column in table}
    nothing = [None] * len(table)
    return list(zip(*(given.get(column, nothing) for column in columns), strict=True))


def _raise_first(tally: Tally) -> None:
    if tally.first is not None:
        raise tally.first
