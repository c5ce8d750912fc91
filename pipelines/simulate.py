"""Simulated observers of a recipe's virtual world, put into an observation store: votes, predictions, and labels made of them."""

from __future__ import annotations

from dataclasses import dataclass

from geoplantnet.config.rooms import bounds_of, world_of
from geoplantnet.errors import UsageError
from geoplantnet.identify.simulated import MODEL, Crowd, SimulatedObservations, simulate_observers
from pipelines.context import Run
from pipelines.observations import open_store


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What was put into a store."""

    store: str
    users: int
    observations: int
    votes: int
    valid: int
    """Observations whose label is valid."""
    right: int
    """Of the valid labels, those that are true."""
    truth: SimulatedObservations
    """All of it, with what is true."""


def simulate(run: Run, address: str, *, observations: int, seed: int, crowd: Crowd | None = None) -> Simulated:
    """Observers of the recipe's world, as far as its tiles go, in a store of their own, which is made where there is none.

    Raises ConfigurationError for a recipe without a world, UsageError for a store that holds observations already.
    """
    world = world_of(run.recipe, run.grid, run.tiles)
    seen = simulate_observers(world, observations, seed=seed, within=bounds_of(run.grid, run.tiles), crowd=crowd)
    with open_store(address, create=True) as store:
        from geoplantnet.identify.observations import ModelVersion  # here: it needs SQLAlchemy, and open_store says so

        if present := store.statistics()["observations"]:
            raise UsageError(
                f"{store.name} holds {present:,} observations already; simulate into a new store, so that none are mixed with real ones"
            )
        store.add_taxa(seen.species.checklist, seen.species)
        store.add_users(dict(zip(seen.users["user_id"], seen.users["name"])))
        store.add_observations(seen.observations)
        votes = store.add_votes(seen.votes)
        store.add_predictions(ModelVersion(name=MODEL[0], version=MODEL[1]), seen.predictions)
        made = store.aggregate()
        true = dict(zip(seen.truth["observation_id"], seen.truth["taxonID"]))
        right = sum(
            true[row] == taxon
            for records in store.records()
            for row, taxon, valid in zip(records["occurrenceID"], records["taxonID"], records["valid"])
            if valid
        )
        return Simulated(
            store=store.name,
            users=len(seen.users),
            observations=len(seen.observations),
            votes=votes.kept,
            valid=made.valid,
            right=right,
            truth=seen,
        )
