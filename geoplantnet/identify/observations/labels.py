"""What is made of the log: labels and weights, up to an act, by a strategy. They can be thrown away and made again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from geoplantnet.errors import StorageError, TryAgain, UsageError
from geoplantnet.identify.observations import schema
from geoplantnet.identify.observations.database import Database
from geoplantnet.identify.observations.reading import standing_votes
from geoplantnet.identify.votes import NONE, STRATEGIES, Aggregation, Change, Incremental, PlantNet, Strategy, Votes
from geoplantnet.identify.votes.anchored import Anchored

_DETERMINATION = schema.KINDS.index("determination")
_ANCHORED = "-anchored"
_MANY = 50_000
"""New votes, from which on all are taken in at once rather than one by one."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What the stored labels stand for."""

    logged: int
    """The last act they have seen."""
    chain: str
    """SHA-256 over all acts up to it."""
    strategy: str
    parameters: Mapping[str, Any]
    users: int
    """How many there were."""
    iterations: int
    converged: bool
    cycle: int
    notes: tuple[str, ...]
    at: datetime
    """When they were made, UTC."""

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of acts and rule: equal means the same labels, weights and records, in whatever store, names of users aside."""
        told = json.dumps([self.chain, self.strategy, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """What an aggregation or update came to."""

    state: State
    observations: int
    """All there are, with votes or without."""
    labelled: int
    valid: int
    changed: int
    """Observations whose label, validity, confidence or agreement is another than was stored; new ones among them."""
    users_changed: int
    """Users whose weight is."""
    incremental: bool
    """Whether only what changed was gone through."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What the log gives again, compared with what is stored."""

    acts: int
    """Up to which the log was gone through."""
    labels: int
    """Observations that came out otherwise."""
    weights: int
    """Users that did."""

    @property
    def same(self) -> bool:
        return not (self.labels or self.weights)


@dataclass(eq=False)
class Kept:
    """The engine of `update`, what it has seen, and the stored state that says the same; None = none does."""

    engine: Incremental
    logged: int
    users: int
    taxa: int
    observations: int
    stored: State | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """The tables of labels and weights as arrays by position."""

    label: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float64]
    agreement: npt.NDArray[np.float64]
    """(observation,) NaN where there is no row."""
    weight: npt.NDArray[np.float64]
    """(user,) the same."""


def stored_state(connection: Connection) -> State | None:
    """What the labels stand for; None before the first aggregation."""
    row = connection.execute(sa.select(schema.state)).one_or_none()
    if row is None:
        return None
    return State(
        logged=row.logged,
        chain=row.chain,
        strategy=row.strategy,
        parameters=MappingProxyType(json.loads(row.parameters)),
        users=row.users,
        iterations=row.iterations,
        converged=row.converged,
        cycle=row.cycle,
        notes=tuple(json.loads(row.notes)),
        at=datetime.fromtimestamp(row.at / 1000, UTC),
    )


def strategy_of(state: State | None) -> Strategy:
    """The rule that labels were made by; Pl@ntNet's as published before the first. Raises StorageError where this version has it not."""
    if state is None:
        return PlantNet()
    try:
        return strategy_named(state.strategy, state.parameters)
    except UsageError as error:
        raise StorageError(f"labels were made by a rule that this version does not know ({error}); aggregate anew") from error


_KINDS: Mapping[type[Any], tuple[type[Any] | tuple[type[Any], ...], str]] = {
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "a word"),
}
"""Type of a parameter's default -> types it may have, in words."""


def strategy_named(name: str, parameters: Mapping[str, Any]) -> Strategy:
    """A rule by its name, such as plantnet, or plantnet-anchored with plantnet's parameters. Raises UsageError where there is none."""
    plain = name.removesuffix(_ANCHORED)
    if plain not in STRATEGIES:
        raise UsageError(f"strategy {name!r} is none of {', '.join(STRATEGIES)}, or one of these with {_ANCHORED}")
    takes = {field.name: field.default for field in fields(cast(Any, STRATEGIES[plain]))}
    for given, value in parameters.items():
        if given not in takes:
            raise UsageError(f"{plain} has no parameter {given!r}; it has {', '.join(takes) or 'none'}")
        if (wanted := _KINDS.get(type(takes[given]))) and (isinstance(value, bool) or not isinstance(value, wanted[0])):
            raise UsageError(f"{plain}: {given} is {value!r}; wanted {wanted[1]}, such as {takes[given]}")
    made: Strategy = STRATEGIES[plain](**parameters)
    if name == plain:
        return made
    if not isinstance(made, PlantNet):
        raise UsageError(f"{plain} has no thresholds that anchors could pass; plantnet{_ANCHORED} has")
    return Anchored(strategy=made)


def aggregate(database: Database, strategy: Strategy) -> Aggregated:
    """All of the log, by a strategy, into the tables."""
    parameters_of(strategy)
    with database.reading() as connection:
        head = connection.execute(sa.select(schema.head)).one()
        votes = standing_votes(database, connection, head.logged, head.users)
    made = strategy.aggregate(votes)
    state = _state(head.logged, head.chain, strategy, votes.n_users, made)
    changed, users = _write(database, state, made)
    return _told(state, made, changed, users, incremental=False)


def update(database: Database, kept: Kept | None) -> tuple[Aggregated, Kept | None]:
    """What came since the labels were made, by the same strategy, and the engine to go on with (None: the strategy has none)."""
    with database.reading() as connection:
        strategy = strategy_of(stored_state(connection))
        if not isinstance(strategy, PlantNet):
            kept = None
        else:
            head = connection.execute(sa.select(schema.head)).one()
            many = kept is None or kept.engine.strategy != strategy or head.logged - kept.logged > _MANY
            change = None if many or kept is None else _since(connection, kept, head)
            if change is None:
                votes = standing_votes(database, connection, head.logged, head.users)
    if not isinstance(strategy, PlantNet):
        return aggregate(database, strategy), None
    before, moved = None, None
    if kept is not None and change is not None:
        before, moved = kept.stored, kept.engine.change(change)
        kept = Kept(kept.engine, head.logged, head.users, head.taxa, head.observations)
    else:
        kept = Kept(Incremental(votes, strategy), head.logged, head.users, head.taxa, head.observations)
    made = kept.engine.aggregation
    state = _state(head.logged, head.chain, strategy, head.users, made)
    some = (before, moved.observations, moved.users) if before is not None and moved is not None else None
    changed, users = _write(database, state, made, some)
    kept.stored = state
    return _told(state, made, changed, users, incremental=moved is not None), kept


def replay(database: Database) -> Replayed:
    """Make labels and weights from the log again, as stored up to the same act by the same strategy, and compare to the last bit."""
    with database.reading() as connection:
        state = stored_state(connection)
        if state is None:
            return Replayed(acts=0, labels=0, weights=0)
        votes = standing_votes(database, connection, state.logged, state.users)
        stored = _stored(database, connection, votes)
    made = strategy_of(state).aggregate(votes)
    return Replayed(acts=state.logged, labels=len(_differing(stored, made)), weights=len(_differing_users(stored, made)))


def parameters_of(strategy: Strategy) -> str:
    """A strategy's fields as JSON. Raises UsageError for one that no name and numbers bring back."""
    plain = strategy.strategy if isinstance(strategy, Anchored) else strategy
    try:
        text = json.dumps(asdict(plain), sort_keys=True)  # type: ignore[call-overload]
    except TypeError as error:
        raise UsageError(
            f"{strategy.name} with arrays among its parameters cannot be kept in a store; set users' weights instead"
        ) from error
    strategy_named(strategy.name, json.loads(text))
    return text


def _since(connection: Connection, kept: Kept, head: Any) -> Change:
    """The acts after those that the engine has seen, in their order."""
    v, p, w, o = schema.votes, schema.predictions, schema.weights, schema.observations
    said = sa.select(v.c.observation, v.c.voter, sa.func.coalesce(v.c.value, NONE)).where(
        v.c.logged > kept.logged, v.c.kind == _DETERMINATION
    )
    guessed = sa.select(p.c.observation, p.c.taxon, p.c.score).where(p.c.logged > kept.logged)
    set_by = sa.select(w.c.voter, w.c.fixed, w.c.minimal).where(w.c.logged > kept.logged)
    nothing = float("nan")
    return Change(
        votes=[tuple(row) for row in connection.execute(said.order_by(v.c.logged))],
        authors=list(connection.scalars(sa.select(o.c.author).where(o.c.position >= kept.observations).order_by(o.c.position))),
        users=head.users - kept.users,
        species=head.taxa - kept.taxa,
        ai=[tuple(row) for row in connection.execute(guessed.order_by(p.c.logged))],
        weights=[
            (who, nothing if fixed is None else fixed, nothing if least is None else least)
            for who, fixed, least in map(tuple, connection.execute(set_by.order_by(w.c.logged)))
        ],
    )


def _state(logged: int, chain: str, strategy: Strategy, users: int, made: Aggregation) -> State:
    return State(
        logged=logged,
        chain=chain,
        strategy=strategy.name,
        parameters=MappingProxyType(json.loads(parameters_of(strategy))),
        users=users,
        iterations=made.iterations,
        converged=made.converged,
        cycle=made.cycle,
        notes=made.notes,
        at=datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC),
    )


def _told(state: State, made: Aggregation, changed: int, users: int, *, incremental: bool) -> Aggregated:
    return Aggregated(
        state=state,
        observations=len(made.label),
        labelled=int(np.count_nonzero(made.label != NONE)),
        valid=int(np.count_nonzero(made.valid)),
        changed=changed,
        users_changed=users,
        incremental=incremental,
    )


def _write(
    database: Database,
    state: State,
    made: Aggregation,
    some: tuple[State, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
) -> tuple[int, int]:
    """Bring the tables to `made` -> how many labels and weights were others.

    `some`: the stored state that is known to differ from `made` at these observations and users alone.
    """
    with database.deriving() as connection:
        before = stored_state(connection)
        if before is not None and before.logged > state.logged:
            raise TryAgain(f"labels up to act {before.logged} were written meanwhile, these are of {state.logged}; run again")
        if some is not None and before == some[0]:
            observations, users = some[1], some[2]
        else:
            stored = _stored(database, connection, made)
            observations, users = _differing(stored, made), _differing_users(stored, made)
            if made.weight is None:
                connection.execute(schema.user_weights.delete())
        _replace(database, connection, schema.labels, observations, _label_rows(made, observations))
        if made.weight is not None:
            _replace(database, connection, schema.user_weights, users, zip(users.tolist(), made.weight[users].tolist()))
        connection.execute(schema.state.delete())
        row = {**asdict_of(state), "one": 1}
        connection.execute(schema.state.insert().values(row))
    return len(observations), len(users)


def asdict_of(state: State) -> dict[str, Any]:
    """A state as its row."""
    return {
        "logged": state.logged,
        "chain": state.chain,
        "strategy": state.strategy,
        "parameters": json.dumps(dict(state.parameters), sort_keys=True),
        "users": state.users,
        "iterations": state.iterations,
        "converged": state.converged,
        "cycle": state.cycle,
        "notes": json.dumps(state.notes),
        "at": round(state.at.timestamp() * 1000),
    }


def _label_rows(made: Aggregation, observations: npt.NDArray[np.int64]) -> Any:
    taxon = [None if taxon == NONE else taxon for taxon in made.label[observations].tolist()]
    columns = (made.valid, made.confidence, made.agreement)
    return zip(observations.tolist(), taxon, *(column[observations].tolist() for column in columns))


def _replace(database: Database, connection: Connection, table: sa.Table, positions: npt.NDArray[np.int64], rows: Any) -> None:
    """Put rows in the place of those of some positions."""
    if len(positions):
        key = next(iter(table.primary_key.columns))
        connection.execute(table.delete().where(key.in_(database.members(positions.tolist(), int))))
        database.insert(connection, table, [column.name for column in table.columns], list(rows))


def _stored(database: Database, connection: Connection, sizes: Votes | Aggregation) -> Stored:
    """The tables as arrays, as long as what they are compared with."""
    if isinstance(sizes, Votes):
        n, users = sizes.n_observations, sizes.n_users
    else:
        n, users = len(sizes.label), 0 if sizes.weight is None else len(sizes.weight)
    out = Stored(
        label=np.full(n, NONE, np.int64),
        valid=np.zeros(n, bool),
        confidence=np.full(n, np.nan),
        agreement=np.full(n, np.nan),
        weight=np.full(users, np.nan),
    )
    table = schema.labels
    query = sa.select(table.c.observation, sa.func.coalesce(table.c.taxon, NONE), table.c.valid, table.c.confidence, table.c.agreement)
    for rows in database.chunks(connection, query.where(table.c.observation < n)):
        at, label, valid, confidence, agreement = (np.array(column) for column in zip(*rows))
        out.label[at], out.valid[at], out.confidence[at], out.agreement[at] = label, valid, confidence, agreement
    table = schema.user_weights
    for rows in database.chunks(connection, sa.select(table.c.voter, table.c.weight).where(table.c.voter < users)):
        at, weight = (np.array(column) for column in zip(*rows))
        out.weight[at] = weight
    return out


def _differing(stored: Stored, made: Aggregation) -> npt.NDArray[np.int64]:
    """Observations that are stored otherwise, or not."""
    differs = (stored.label != made.label) | (stored.valid != made.valid)
    return np.flatnonzero(differs | (stored.confidence != made.confidence) | (stored.agreement != made.agreement))


def _differing_users(stored: Stored, made: Aggregation) -> npt.NDArray[np.int64]:
    return np.empty(0, np.int64) if made.weight is None else np.flatnonzero(stored.weight != made.weight)
