"""Acts into rows, inside one transaction: names become positions, acts their numbers, and the hash goes on over each."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from geoplantnet.errors import InputError, did_you_mean
from geoplantnet.identify.observations import schema
from geoplantnet.identify.observations.acts import (
    ModelVersion,
    RefusedAct,
    Stored,
    Tally,
    checked_observation,
    checked_vote,
    milliseconds,
    number_of,
    text_of,
)
from geoplantnet.identify.observations.database import Database
from geoplantnet.taxonomy import Taxon

TEXTS = ("event_date", "dataset_id", "flora", "license", "rights_holder", "verbatim_name")
"""Texts of an observation, as table and hash order them."""
SLICE = 100_000
"""Acts that are looked up at once."""
_DETERMINATION, _WITHDRAWN = (schema.KINDS.index(kind) for kind in ("determination", "withdrawn"))


def chained(chain: str, *act: object) -> str:
    """SHA-256 (hex) of the hash so far and the next act: equal logs have equal hashes, whoever holds them."""
    return hashlib.sha256(json.dumps([chain, *act], ensure_ascii=True).encode()).hexdigest()


class Writer:
    """One transaction's writing. `finish` moves the head; without it nothing counts."""

    def __init__(self, database: Database, connection: Connection, head: Row[Any]) -> None:
        self._database, self._connection = database, connection
        self._count = {name: getattr(head, name) for name in ("taxa", "users", "observations", "images", "models")}
        self._chain, self._checklist = head.chain, head.checklist
        self.logged: int = head.logged
        self._now = time.time_ns() // 1_000_000
        self._all_taxa: list[str] | None = None
        self._hint = ""

    def finish(self) -> None:
        """Say in `head` what there is now."""
        values = {**self._count, "logged": self.logged, "chain": self._chain, "checklist": self._checklist}
        self._connection.execute(schema.head.update().values(values))

    def taxa(self, checklist: str, taxa: Iterable[Taxon]) -> int:
        """Add those that are not there. Raises InputError for another checklist, or another name of a known id."""
        text_of(checklist, "checklist", needed=True)
        if self._checklist not in ("", checklist):
            raise InputError(
                f"the store determines by {self._checklist!r}, not by {checklist!r}; make a store of its own for another checklist"
            )
        self._checklist = checklist
        table = schema.taxa
        known = {row.id: (row.scientific_name, row.genus, row.family) for row in self._connection.execute(sa.select(table))}
        rows: list[tuple[Any, ...]] = []
        for taxon in taxa:
            words = (taxon.scientific_name, taxon.genus, taxon.family)
            for what, word in zip(("taxon_id", "scientific_name", "genus", "family"), (taxon.taxon_id, *words), strict=True):
                text_of(word, what, needed=what in ("taxon_id", "scientific_name"))
            if known.setdefault(taxon.taxon_id, words) != words:
                raise InputError(
                    f"taxon {taxon.taxon_id!r} is {known[taxon.taxon_id]} in the store, not {words}; an id means the same for ever"
                )
            if len(known) > self._count["taxa"] + len(rows):
                self._act("taxon", checklist, taxon.taxon_id, *words)
                rows.append((self._count["taxa"] + len(rows), checklist, taxon.taxon_id, *words, self.logged))
        columns = ("position", "checklist", "id", "scientific_name", "genus", "family", "logged")
        return self._append(table, columns, rows)

    def users(self, names: dict[str, str]) -> None:
        """Add accounts, or give known ones these names."""
        for user, name in names.items():
            text_of(user, "user_id", needed=True)
            if "|" in text_of(name, "name"):
                raise InputError(f"the name {name!r} holds '|', which parts names in lists; write it without")
        known = self._positions(schema.users, names)
        renamed = [{"at": known[user], "to": name} for user, name in names.items() if user in known]
        if renamed:
            statement = schema.users.update().where(schema.users.c.position == sa.bindparam("at")).values(name=sa.bindparam("to"))
            self._connection.execute(statement, renamed)
        self._register([user for user in names if user not in known], names)

    def weight(self, user: str, fixed: float | None, minimal: float | None) -> None:
        """Set what an administrator decides of a user; None = nothing."""
        voter = self._positions(schema.users, [user]).get(user)
        if voter is None:
            raise InputError(f"there is no user {user!r}; add_user first")
        if any(given is not None and given != given for given in (fixed, minimal)):
            raise RefusedAct("weight is no number", "nan; give a number, or leave it out to take back what was set")
        fixed, minimal = number_of(fixed, "fixed weight", 0, 1e6), number_of(minimal, "minimal weight", 0, 1e6)
        self._act("weight", user, fixed, minimal)
        self._append(schema.weights, ("logged", "voter", "fixed", "minimal", "at"), [(self.logged, voter, fixed, minimal, self._now)])

    def observations(self, rows: Sequence[tuple[Any, ...]], tally: Tally, images: Sequence[tuple[str, str, int, str]] = ()) -> list[str]:
        """Add observations (fields in the order of `Observation`) and the `images` (SHA-256, format, size, organ) of the last -> their ids."""
        ids: list[str] = []
        for begin in range(0, len(rows), SLICE):
            ids += self._observations(begin, rows[begin : begin + SLICE], tally, images)
        return ids

    def votes(self, rows: Sequence[tuple[Any, ...]], tally: Tally) -> None:
        """Log votes: fields in the order of `Vote`."""
        for begin in range(0, len(rows), SLICE):
            self._votes(begin, rows[begin : begin + SLICE], tally)

    def predictions(self, model: ModelVersion, rows: Sequence[tuple[Any, ...]], tally: Tally) -> None:
        """Log predictions of a model: (observation id, taxon id, score). What the model said before of one is not logged again."""
        position = self._model(model)
        for begin in range(0, len(rows), SLICE):
            self._predictions(begin, position, model, rows[begin : begin + SLICE], tally)

    def _observations(
        self, begin: int, rows: Sequence[tuple[Any, ...]], tally: Tally, images: Sequence[tuple[str, str, int, str]]
    ) -> list[str]:
        good: list[tuple[int, str, Stored]] = []
        for number, (identifier, user, north, east, radius, *texts) in enumerate(rows, start=begin):
            try:
                name = text_of(identifier, "observation_id") or uuid.uuid4().hex
                good.append((number, name, checked_observation(user, north, east, radius, tuple(texts), TEXTS)))
            except RefusedAct as refused:
                tally.refuse(number, refused)
        table = schema.observations
        wanted = self._database.members({name for _, name, _ in good})
        known: dict[str, Stored] = {
            row.id: (row.user, row.latitude, row.longitude, row.coordinate_uncertainty, tuple(getattr(row, text) for text in TEXTS))
            for row in self._connection.execute(
                sa.select(table, schema.users.c.id.label("user"))
                .join(schema.users, table.c.author == schema.users.c.position)
                .where(table.c.id.in_(wanted))
            )
        }
        users = self._everybody(told[0] for _, _, told in good)
        new: list[tuple[Any, ...]] = []
        for number, name, told in good:
            if name in known:
                if known[name] == told and (not images or self._shown(name) in ([], [(image[0], image[3]) for image in images])):
                    tally.repeated += 1
                else:
                    tally.refuse(number, RefusedAct("id of another observation", f"{name!r} is in the store with other content"))
                continue
            known[name] = told
            author, *place, words = told
            self._act("observation", name, author, *place, *words, *([image[0], image[3]] for image in images))
            new.append((self._count["observations"] + len(new), name, users[author], *place, *words, self.logged))
        columns = ("position", "id", "author", "latitude", "longitude", "coordinate_uncertainty", *TEXTS, "logged")
        tally.kept += self._append(table, columns, new)
        if new and images:
            first, of = self._count["images"], new[-1][0]
            shown = [
                (first + place, of, place, digest, kind, schema.ORGANS.index(organ), size)
                for place, (digest, kind, size, organ) in enumerate(images)
            ]
            self._append(schema.images, ("position", "observation", "place", "sha256", "format", "organ", "size"), shown)
        return [name for _, name, _ in good]

    def _shown(self, observation: str) -> list[tuple[str, str]]:
        """SHA-256 and organ of an observation's images, in order."""
        i, o = schema.images, schema.observations
        query = sa.select(i.c.sha256, i.c.organ).join(o, i.c.observation == o.c.position).where(o.c.id == observation).order_by(i.c.place)
        return [(digest, schema.ORGANS[organ]) for digest, organ in self._connection.execute(query)]

    def _votes(self, begin: int, rows: Sequence[tuple[Any, ...]], tally: Tally) -> None:
        good = []
        for number, (observation, user, kind, value, image, key, at) in enumerate(rows, start=begin):
            try:
                about, what, of = checked_vote(kind, value, image)
                where, who = text_of(observation, "observation_id", needed=True), text_of(user, "user_id", needed=True)
                good.append((number, where, who, about, what, of, text_of(key, "key"), milliseconds(at, self._now)))
            except RefusedAct as refused:
                tally.refuse(number, refused)
        seen = self._positions(schema.observations, {row[1] for row in good})
        taxa = self._positions(schema.taxa, {str(row[4]) for row in good if row[3] == _DETERMINATION and row[4] is not None})
        pictures = self._pictures({row[5] for row in good if row[5]})
        authors, gone = self._authors({row[1] for row in good if row[3] == _WITHDRAWN}), self._gone(seen.values())
        placed = []
        for row in good:
            number, observation, who, about, what, of, key, at = row
            try:
                place = seen.get(observation)
                if place is None:
                    raise RefusedAct("unknown observation", repr(observation))
                if about == _WITHDRAWN and authors[observation] != who:
                    raise RefusedAct("not the author", f"{who!r} did not give observation {observation!r}; its author alone takes it back")
                if place in gone and about != _WITHDRAWN:
                    raise RefusedAct("observation withdrawn", f"{observation!r} was taken back by its author")
                if about == _DETERMINATION and what is not None:
                    what = self._taxon(taxa, str(what))
                picture = pictures.get((place, of)) if of else None
                if of and picture is None:
                    raise RefusedAct("unknown image", f"{of!r} is not of observation {observation!r}")
                placed.append((row, place, what, picture))
            except RefusedAct as refused:
                tally.refuse(number, refused)
        users = self._everybody(row[2] for row, *_ in placed)
        used = self._used_keys({(users[row[2]], row[6]) for row, *_ in placed if row[6]})
        new = []
        for (number, observation, who, about, given, of, key, at), place, what, picture in placed:
            voter, said = users[who], (place, about, picture, what)
            if key and (before := used.setdefault((voter, key), said)) is not said:
                if before == said:
                    tally.repeated += 1
                else:
                    tally.refuse(number, RefusedAct("key of another vote", f"{who!r} used key {key!r} for something else"))
                continue
            self._act("vote", observation, who, about, given, of, key)
            new.append((self.logged, place, voter, about, picture, what, at, key or None))
        tally.kept += self._append(schema.votes, ("logged", "observation", "voter", "kind", "image", "value", "at", "key"), new)

    def _predictions(self, begin: int, position: int, model: ModelVersion, rows: Sequence[tuple[Any, ...]], tally: Tally) -> None:
        good = []
        for number, (observation, taxon, score) in enumerate(rows, start=begin):
            try:
                where, what = text_of(observation, "observation_id", needed=True), text_of(taxon, "taxon_id", needed=True)
                if (sure := number_of(score, "score", 0, 1)) is None:
                    raise RefusedAct("score is no number", repr(score))
                good.append((number, where, what, sure))
            except RefusedAct as refused:
                tally.refuse(number, refused)
        table = schema.predictions
        seen = self._positions(schema.observations, {row[1] for row in good})
        taxa = self._positions(schema.taxa, {row[2] for row in good})
        latest = (
            sa.select(table.c.observation, table.c.model, table.c.taxon, table.c.score)
            .where(table.c.observation.in_(self._database.members(seen.values(), int)))
            .order_by(table.c.logged)
        )
        stands = {row.observation: (row.model, row.taxon, row.score) for row in self._connection.execute(latest)}
        new = []
        for number, observation, name, sure in good:
            try:
                if (place := seen.get(observation)) is None:
                    raise RefusedAct("unknown observation", repr(observation))
                taxon = self._taxon(taxa, name)
            except RefusedAct as refused:
                tally.refuse(number, refused)
                continue
            if stands.get(place) == (position, taxon, sure):
                tally.repeated += 1
                continue
            stands[place] = (position, taxon, sure)
            self._act("prediction", observation, model.name, model.version, name, sure)
            new.append((self.logged, place, position, taxon, sure))
        tally.kept += self._append(table, ("logged", "observation", "model", "taxon", "score"), new)

    def _model(self, model: ModelVersion) -> int:
        """The position of a model, which is added where it is new."""
        for what in ("name", "version", "sha256", "about"):
            text_of(getattr(model, what), f"model {what}", needed=what in ("name", "version"))
        table = schema.models
        found = self._connection.execute(sa.select(table).where(table.c.name == model.name, table.c.version == model.version)).one_or_none()
        if found is None:
            row = (self._count["models"], model.name, model.version, model.sha256, model.about)
            self._append(table, ("position", "name", "version", "sha256", "about"), [row])
            return row[0]
        if model.sha256 and found.sha256 and model.sha256 != found.sha256:
            raise InputError(
                f"model {model.name} {model.version} has weights {found.sha256} in the store, not {model.sha256}; give it a version of its own"
            )
        return int(found.position)

    def _act(self, *act: object) -> None:
        self.logged += 1
        self._chain = chained(self._chain, *act)

    def _append(self, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
        self._database.insert(self._connection, table, columns, rows)
        if table.name in self._count:
            self._count[table.name] += len(rows)
        return len(rows)

    def _positions(self, table: sa.Table, ids: Iterable[str]) -> dict[str, int]:
        """Id -> position of those that are there."""
        if not (wanted := list(ids)):
            return {}
        query = sa.select(table.c.id, table.c.position).where(table.c.id.in_(self._database.members(wanted)))
        return {name: position for name, position in self._connection.execute(query)}

    def _authors(self, ids: Iterable[str]) -> dict[str, str]:
        """Id -> account of the author, of those that are there."""
        if not (wanted := list(ids)):
            return {}
        o, u = schema.observations, schema.users
        query = sa.select(o.c.id, u.c.id).join(u, o.c.author == u.c.position).where(o.c.id.in_(self._database.members(wanted)))
        return {name: author for name, author in self._connection.execute(query)}

    def _gone(self, positions: Iterable[int]) -> set[int]:
        """Those of these observations that were taken back."""
        return set(positions).intersection(self._connection.scalars(schema.withdrawn()))

    def _everybody(self, ids: Iterable[str]) -> dict[str, int]:
        """Id -> position of users; who is new gets an account without a name."""
        wanted = list(dict.fromkeys(ids))
        known = self._positions(schema.users, wanted)
        return {**known, **self._register([user for user in wanted if user not in known], {})}

    def _register(self, users: Sequence[str], names: dict[str, str]) -> dict[str, int]:
        first = self._count["users"]
        rows = [(first + n, user, names.get(user, "")) for n, user in enumerate(users)]
        self._append(schema.users, ("position", "id", "name"), rows)
        return {user: position for position, user, _ in rows}

    def _taxon(self, taxa: dict[str, int], name: str) -> int:
        if (position := taxa.get(name)) is not None:
            return position
        if self._all_taxa is None:
            self._all_taxa = list(self._connection.scalars(sa.select(schema.taxa.c.id)))
            self._hint = did_you_mean(name, self._all_taxa)  # of the first alone: among very many taxa it takes a while
        hint, self._hint = self._hint, ""
        if not self._all_taxa:
            raise RefusedAct("unknown taxon", f"{name!r}; the store has no taxa yet, add_taxa first")
        raise RefusedAct("unknown taxon", f"{name!r} is none of the {len(self._all_taxa):,} taxa of {self._checklist!r}.{hint}")

    def _pictures(self, digests: set[str]) -> dict[tuple[int, str], int]:
        """(observation, SHA-256) -> position of the image; of two alike the first."""
        table = schema.images
        query = sa.select(table.c.observation, table.c.sha256, table.c.position).where(table.c.sha256.in_(self._database.members(digests)))
        found = self._connection.execute(query.order_by(table.c.position.desc())) if digests else ()
        return {(observation, digest): position for observation, digest, position in found}

    def _used_keys(self, pairs: Iterable[tuple[int, str]]) -> dict[tuple[int, str], tuple[Any, ...]]:
        """(voter, key) -> what was said under it, of those that were used."""
        if not (wanted := list(pairs)):
            return {}
        table, asked = schema.votes, self._database.pairs(wanted)
        query = sa.select(table.c.voter, table.c.key, table.c.observation, table.c.kind, table.c.image, table.c.value).join(
            asked, sa.and_(table.c.voter == asked.c.number, table.c.key == asked.c.text)
        )
        return {(voter, key): tuple(said) for voter, key, *said in self._connection.execute(query)}
