"""Labels kept up to date are those of a full run, bit for bit, whatever happened in between."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify.votes import NONE, Change, Incremental, PlantNet, Votes

sys.path.insert(0, str(Path(__file__).parent))
import plain_votes as plain


def empty(users=0, species=0, observations=0):
    """No votes yet."""
    nothing = np.empty(0, np.int32)
    return Votes(
        observation=nothing, user=nothing, species=nothing, author=np.full(observations, NONE, np.int32), n_users=users, n_species=species
    )


def same(engine):
    """The engine's state is that of a full run over its votes, and told as such."""
    full, kept = engine.strategy.aggregate(engine.votes()), engine.aggregation
    for name in ("label", "valid", "confidence", "agreement", "weight"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(full, name), err_msg=name)
    assert (kept.iterations, kept.converged, kept.cycle, kept.notes) == (full.iterations, full.converged, full.cycle, full.notes)
    return kept


STRATEGIES = st.builds(
    PlantNet,
    gamma=st.sampled_from([0.742, 1.1, 2.2]),
    theta_conf=st.sampled_from([0.5, 1.5, 2.0]),
    theta_acc=st.sampled_from([0.4, 0.7]),
    vote_share=st.sampled_from([0.1, 0.5, 1.0]),
    ai=st.sampled_from(["ignored", "fixed", "confident", "invalidating"]),
    established=st.sampled_from([0, 1, 2]),
    max_iterations=st.sampled_from([2, 100]),
)


@st.composite
def histories(draw):
    """A few changes, one after the other: new observations, users, votes, the model's, weights."""
    observations, users, species = 0, 0, 3
    changes = []
    for _ in range(draw(st.integers(1, 6))):
        new_users = draw(st.integers(0, 2)) + (users == 0)
        users += new_users
        authors = draw(st.lists(st.integers(NONE, users - 1), max_size=4))
        observations += len(authors)
        where = st.integers(0, observations - 1) if observations else st.nothing()
        changes.append(
            Change(
                users=new_users,
                authors=authors,
                votes=draw(st.lists(st.tuples(where, st.integers(0, users - 1), st.integers(NONE, species - 1)), max_size=12))
                if observations
                else [],
                ai=draw(st.lists(st.tuples(where, st.integers(NONE, species - 1), st.sampled_from([0.5, 0.7, 0.9])), max_size=2))
                if observations
                else [],
                weights=draw(
                    st.lists(
                        st.tuples(st.integers(0, users - 1), st.sampled_from([np.nan, 0.0, 3.0]), st.sampled_from([np.nan, 1.0])),
                        max_size=1,
                    )
                ),
            )
        )
    return changes


@settings(max_examples=250, deadline=None)
@given(strategy=STRATEGIES, history=histories())
def test_any_history_ends_where_a_full_run_does(strategy, history):
    """After every change; and what is told as changed is what differs."""
    engine = Incremental(empty(species=3), strategy)
    for change in history:
        before = engine.aggregation
        kept_before = {name: getattr(before, name).copy() for name in ("label", "valid", "confidence", "agreement", "weight")}
        changed = engine.change(change)
        assert all(np.array_equal(getattr(before, name), values) for name, values in kept_before.items())
        kept = same(engine)
        for name, found in (("observations", changed.observations), ("users", changed.users)):
            columns = ("label", "valid", "confidence", "agreement") if name == "observations" else ("weight",)
            size = len(getattr(kept, columns[0]))
            differs = np.zeros(size, bool)
            for column in columns:
                was, now = getattr(before, column), getattr(kept, column)
                differs[len(was) :] = True
                differs[: len(was)] |= was != now[: len(was)]
            assert found.tolist() == np.flatnonzero(differs).tolist()


def crowd(seed, n_observations=400, n_users=60, n_species=40, votes=1500):
    """People of unlike diligence, who are right three times of four."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_species, n_observations)
    diligence = 1 / np.arange(1, n_users + 1)
    pairs = np.unique(
        np.stack([random.integers(0, n_observations, votes), random.choice(n_users, votes, p=diligence / diligence.sum())], axis=1), axis=0
    )
    species = np.where(random.random(len(pairs)) < 0.75, truth[pairs[:, 0]], random.integers(0, n_species, len(pairs)))
    author = random.integers(0, n_users, n_observations)
    return Votes(
        observation=pairs[:, 0].astype(np.int32),
        user=pairs[:, 1].astype(np.int32),
        species=species.astype(np.int32),
        author=author.astype(np.int32),
        n_users=n_users,
        n_species=n_species,
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_crowd_that_goes_on_voting_stays_exact(seed, monkeypatch):
    """Three hundred changes of a crowd of long rounds, the votes sorted anew now and then."""
    monkeypatch.setattr("geoplantnet.identify.votes.incremental._LOOSE", 25)
    random = np.random.default_rng(seed)
    engine = Incremental(crowd(seed), PlantNet(established=8 * (seed % 2)))
    rounds = set()
    for step in range(300):
        votes = [
            (int(random.integers(400)), int(random.integers(60)), int(random.integers(NONE, 40))) for _ in range(random.integers(1, 4))
        ]
        engine.change(Change(votes=votes))
        rounds.add(engine.aggregation.iterations)
        if step % 10 == 0:
            same(engine)
    same(engine)
    assert max(rounds) > 3


@pytest.mark.parametrize("seed", plain.RESTLESS)
def test_cycles_come_and_go_with_votes(seed):
    """Votes that go round are changed one by one, and taken back: every state is a full run's, with a cycle or without."""
    random, votes = np.random.default_rng(seed), plain.restless(seed)
    engine = Incremental(votes, plain.RESTLESS_RULE)
    cycles = {same(engine).cycle}
    assert cycles == {plain.RESTLESS[seed]}
    for at in random.integers(0, len(votes), 15).tolist():
        place = int(votes.observation[at]), int(votes.user[at])
        engine.change(Change(votes=[(*place, int(random.integers(NONE, votes.n_species)))]))
        cycles.add(same(engine).cycle)
        engine.change(Change(votes=[(*place, int(votes.species[at]))]))
        assert same(engine).cycle == plain.RESTLESS[seed]
    assert 0 in cycles


def test_a_change_of_what_there_is_not_changes_nothing():
    """Positions outside are refused, before anything is taken in."""
    engine = Incremental(crowd(1), PlantNet())
    before = engine.aggregation
    for change, message in (
        (Change(votes=[(0, 0, 1), (400, 0, 1)]), "observation 400"),
        (Change(votes=[(0, 60, 1)]), "user 60"),
        (Change(votes=[(0, 0, 40)]), "species 40"),
        (Change(authors=[60]), "author 60"),
        (Change(weights=[(-1, 1.0, np.nan)]), "user -1"),
        (Change(weights=[(0, -1.0, np.nan)]), "0 to 1000"),
        (Change(weights=[(0, np.nan, np.inf)]), "0 to 1000"),
    ):
        with pytest.raises(InputError, match=message):
            engine.change(change)
    assert engine.aggregation is before and len(engine.votes()) == len(crowd(1))
    same(engine)
