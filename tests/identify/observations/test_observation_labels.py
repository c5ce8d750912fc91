"""Labels of a store: made from the log, kept up to date, made again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from geoplantnet.errors import TryAgain, UsageError
from geoplantnet.identify.observations import ModelVersion, Observation, Vote
from geoplantnet.identify.observations.labels import strategy_named
from geoplantnet.identify.votes import STRATEGIES, MajorityVote, PlantNet, WeightedMajorityVote
from geoplantnet.taxonomy import Taxon

MODEL = ModelVersion(name="net", version="1")


def seen(store, n):
    store.add_observations(pd.DataFrame({"observation_id": [f"o{i:02d}" for i in range(n)], "user_id": [f"u{i % 5}" for i in range(n)]}))


def said(store, *acts):
    for observation, user, value in acts:
        store.vote(Vote(observation_id=observation, user_id=user, kind="determination", value=value))


def records_of(store):
    return pd.concat(list(store.records()), ignore_index=True).set_index("occurrenceID")


def test_labels_are_what_the_strategy_makes_of_the_votes(store):
    """Label, validity, confidence, agreement, who stands behind it; nothing of acts that came later."""
    seen(store, 2)
    store.add_user("u1", "Bo")
    said(store, *(("o00", f"u{u}", "quercus-robur") for u in (1, 2, 0)), ("o00", "u3", "acer-campestre"), ("o00", "u3", ""))
    told = store.aggregate()
    record = records_of(store).loc["o00"]
    assert (told.observations, told.labelled, told.valid, told.incremental) == (2, 1, 1, False) and told.state.strategy == "plantnet"
    assert record["taxonID"] == "quercus-robur" and record["genus"] == "Quercus" and record["family"] == "Fagaceae" and record["valid"]
    assert record["confidence"] == pytest.approx(3 * 0.742, abs=1e-8) and record["agreement"] == 1 and record["determinations"] == 3
    assert record["identifiedBy"] == "Bo"  # who gave no name is not cited, least of all by the id of the account
    said(store, ("o00", "u4", "acer-campestre"))
    store.add_observation(Observation(observation_id="o02", user_id="u9"))
    pd.testing.assert_series_equal(records_of(store).loc["o00"], record)
    assert len(records_of(store)) == 2
    store.update()
    assert records_of(store).loc["o00", "determinations"] == 4 and len(records_of(store)) == 3


def test_shares_are_of_weight(store):
    """Weight of those who say yes over that of all who spoke of it or determined; withdrawn votes and others' kinds do not count."""
    seen(store, 1)
    said(store, ("o00", "u0", "quercus-robur"), ("o00", "u1", "quercus-robur"), ("o00", "u2", "quercus-robur"))
    for user, kind, value in [
        ("u0", "malformed", "1"),
        ("u3", "malformed", "0"),
        ("u4", "not_a_plant", "1"),
        ("u4", "cultivated", "1"),
        ("u4", "cultivated", ""),
    ]:
        store.vote(Vote(observation_id="o00", user_id=user, kind=kind, value=value))
    for user, value in (("u1", "1"), ("u2", "-1"), ("u3", "1")):
        store.vote(Vote(observation_id="o00", user_id=user, kind="quality", value=value))
    store.set_weight("u0", fixed=4.0)
    store.aggregate()
    record = records_of(store).loc["o00"]
    one = 0.742
    assert record["malformed"] == pytest.approx(4 / (4 + 3 * one), abs=1e-8)
    assert record["not_a_plant"] == pytest.approx(one / (4 + 3 * one), abs=1e-8)
    assert record["cultivated"] == 0 and record["quality"] == pytest.approx(1 / 3)


def test_updates_end_where_a_full_run_does(store, open_store, dump):
    """After every batch of random acts of all kinds: labels, weights and records of `update` are those of `aggregate`, bit for bit; so is a replay."""
    random, taxa = np.random.default_rng(1), ["quercus-robur", "quercus-petraea", "acer-campestre", "bellis-perennis", ""]
    seen(store, 6)
    store.aggregate(PlantNet(ai="fixed"))
    other, incremental = open_store(), 0
    for round_ in range(8):
        n = int(random.integers(0, 12))
        store.add_votes(
            pd.DataFrame(
                {
                    "observation_id": [f"o{i:02d}" for i in random.integers(0, 6 + round_, n)],
                    "user_id": [f"u{i}" for i in random.integers(0, 7 + round_, n)],
                    "kind": random.choice(["determination", "determination", "malformed"], n),
                    "value": ["1" if random.random() < 0.3 else str(random.choice(taxa)) for _ in range(n)],
                }
            )
        )
        if round_ % 2:
            store.predict("o01", MODEL, str(random.choice(taxa[:4])), float(random.random()))
            store.set_weight(f"u{round_}" if round_ < 5 else "u0", minimal=float(random.random() * 3))
        store.add_observation(Observation(observation_id=f"o{6 + round_:02d}", user_id=f"v{round_}"))
        store.add_taxa("test checklist", [Taxon(taxon_id=f"new-{round_}", scientific_name=f"New {round_}")])
        incremental += store.update().incremental
        mine, state = dump(store), store.state()
        told = other.aggregate()
        assert told.changed == told.users_changed == 0 and told.state.identity == state.identity
        assert dump(store)["labels"] == mine["labels"] and dump(store)["user_weights"] == mine["user_weights"]
        assert store.replay().same and store.verify().damage == ()
    assert incremental == 7


def test_a_label_that_is_not_the_logs_is_noticed_and_mended(store):
    """A row changed behind the store's back: replay counts it, verify tells it, aggregate puts it right."""
    seen(store, 2)
    said(store, *(("o00", f"u{u}", "quercus-robur") for u in range(3)))
    store.aggregate()
    with store._database.writing() as (connection, _):
        connection.execute(sa.text("UPDATE labels SET valid = NOT valid WHERE observation = 0"))
        connection.execute(sa.text("DELETE FROM user_weights WHERE voter = 1"))
    replayed = store.replay()
    assert (replayed.labels, replayed.weights, replayed.same) == (1, 1, False) and "1 labels and 1 weights" in " ".join(
        store.verify().damage
    )
    assert store.aggregate().changed == 1 and store.verify().sound


def test_any_strategy_by_name_can_label_a_store(store):
    """A rule without weights clears them; it is the default from then on, and updates by it; one with arrays is refused."""
    seen(store, 1)
    said(store, ("o00", "u0", "quercus-robur"))
    assert store.default_strategy == PlantNet() and store.state() is None
    store.aggregate()
    assert store.statistics()["valid"] == 0
    before = store.state().identity
    told = store.aggregate(MajorityVote())
    assert told.valid == 1 and store.default_strategy == MajorityVote() and store.state().identity != before
    assert store.update().state.strategy == "majority" and store.replay().same and records_of(store).loc["o00", "confidence"] == 1
    with pytest.raises(UsageError, match="arrays"):
        store.aggregate(WeightedMajorityVote(weight=np.ones(5)))


def test_the_identity_is_that_of_acts_and_rule(store, lite):
    """The same acts by the same rule have one identity on any database; another act, or another rule, another."""
    for one in (store, lite):
        seen(one, 2)
        said(one, ("o00", "u0", "quercus-robur"))
        one.aggregate()
    assert store.state().identity == lite.state().identity == store.aggregate().state.identity
    lite.aggregate(PlantNet(gamma=0.8))
    assert store.state().identity != lite.state().identity
    before = store.state().identity
    said(store, ("o00", "u0", "quercus-robur"))
    assert store.update().state.identity == store.state().identity != before


def test_older_labels_do_not_replace_newer_ones(store, monkeypatch):
    """Who aggregated a shorter log, and comes late, is told so."""
    seen(store, 1)

    class Slow(MajorityVote):
        def aggregate(self, votes):
            said(store, ("o00", "u0", "quercus-robur"))
            store.aggregate(MajorityVote())
            return super().aggregate(votes)

    with pytest.raises(TryAgain, match="meanwhile"):
        store.aggregate(Slow())
    assert store.statistics()["aggregated"] == store.statistics()["logged"]


@pytest.mark.parametrize("name", [*sorted(STRATEGIES), "plantnet-anchored"])
def test_labels_of_every_strategy_can_be_made_again(lite, name):
    """Stored under its name and parameters, each comes back from the log the same."""
    seen(lite, 4)
    said(lite, *((f"o{o:02d}", f"u{u}", ("quercus-robur", "acer-campestre")[(o * u) % 3 == 1]) for o in range(4) for u in range(4)))
    told = lite.aggregate(strategy_named(name, {}))
    assert told.labelled == 4 and told.state.strategy == name and lite.default_strategy.name == name
    lite.add_user("late")
    said(lite, ("o00", "later", "bellis-perennis"))
    assert lite.replay().same and lite.update().state.strategy == name and lite.replay().same


def test_new_accounts_do_not_move_the_label_of_anchors(lite):
    """With `plantnet-anchored` in a store: users whom an administrator gave weight keep their label, however many others come."""
    seen(lite, 1)
    said(lite, ("o00", "u1", "quercus-robur"))
    lite.set_weight("u1", minimal=3.0)
    lite.aggregate(strategy_named("plantnet-anchored", {}))
    lite.add_votes(
        pd.DataFrame(
            {"observation_id": "o00", "user_id": [f"new{n}" for n in range(50)], "kind": "determination", "value": "acer-campestre"}
        )
    )
    told = lite.update()
    assert records_of(lite).loc["o00", ["taxonID", "valid"]].tolist() == ["quercus-robur", True] and "50 votes" in " ".join(
        told.state.notes
    )
    lite.aggregate(PlantNet())
    assert records_of(lite).loc["o00", "taxonID"] == "acer-campestre"
