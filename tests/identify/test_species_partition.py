"""Species in groups: every species in one, answers that sum to one whoever is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from geoplantnet.errors import InputError
from geoplantnet.identify.levels import Levels
from geoplantnet.identify.partition import Partition, asked, at_random, by_confusion, by_level, mean_answers
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

seeds = st.integers(0, 10_000)


@given(seeds, st.integers(1, 12))
def test_all_experts_of_a_flat_net_are_the_flat_net(seed, groups):
    """A softmax over all is master times experts, exactly, in any partition."""
    logits = np.random.default_rng(seed).normal(size=(3, 12)) * 4
    partition = at_random(12, groups, seed=seed)
    assert np.allclose(partition.joined(*partition.factored(logits)), log_softmax(logits, axis=1))


@given(seeds, st.integers(1, 4))
def test_answers_sum_to_one_and_groups_keep_what_the_master_says(seed, k):
    """Whatever number of experts is asked; a group not asked is told by its shares; more experts change none that was asked."""
    rng = np.random.default_rng(seed)
    partition = at_random(12, 4, seed=seed).with_counts(rng.integers(0, 50, 12))
    master, within = partition.factored(rng.normal(size=(5, 12)) * 4)
    chosen = asked(master, k)[:, partition.of]
    p = np.exp(partition.joined(master, np.where(chosen, within, np.nan)))
    assert np.allclose(p.sum(axis=1), 1) and (p > 0).all()
    groups = np.stack([p[:, m].sum(axis=1) for m in partition.members], axis=1)
    assert np.allclose(groups, np.exp(master)) and (asked(master, k).sum(axis=1) == k).all()
    whole = np.exp(partition.joined(master, within))
    assert np.allclose(p[chosen], whole[chosen])
    assert np.allclose(p[~chosen], (np.exp(master)[:, partition.of] * partition.shares)[~chosen])


def test_the_likeliest_groups_are_asked_of_equal_ones_the_first():
    """Ties in the list's order; None asks all."""
    assert asked([[0.0, 2.0, 2.0, 1.0]], 1).tolist() == [[False, True, False, False]]
    assert asked([[0.0, 2.0, 2.0, 1.0]], 3).tolist() == [[False, True, True, True]] and asked([[0.0, 1.0]], None).all()
    with pytest.raises(InputError, match="at least one"):
        asked([[0.0]], 0)


@given(seeds, st.integers(1, 15))
def test_every_way_puts_each_species_in_one_of_so_many_groups(seed, groups):
    """At random of sizes that differ by one at most; by confusion within the largest allowed, where that can be; the same seed, the same groups."""
    confusion = np.random.default_rng(seed).uniform(size=(15, 15))
    for partition in (at_random(15, groups, seed=seed), by_confusion(confusion, groups), by_confusion(confusion, groups, largest=1)):
        assert len(partition.names) == groups and sorted(np.concatenate(partition.members).tolist()) == list(range(15))
    assert np.ptp(np.bincount(at_random(15, groups, seed=seed).of)) <= 1
    assert (at_random(15, groups, seed=seed).of == at_random(15, groups, seed=seed).of).all()


def test_species_that_are_mistaken_for_each_other_share_a_group():
    """Blocks of confusion are found as they are, whatever the order of species; without a limit even if one block has most species."""
    rng = np.random.default_rng(0)
    block = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 0])
    confusion = 0.01 * rng.uniform(size=(12, 12)) + 0.2 * (block[:, None] == block)
    found = by_confusion(confusion, 3, largest=12).of
    assert ((found[:, None] == found) == (block[:, None] == block)).all()
    order = rng.permutation(12)
    moved = by_confusion(confusion[np.ix_(order, order)], 3, largest=12).of
    assert ((moved[:, None] == moved) == (block[order][:, None] == block[order])).all()


def test_mean_answers_are_means_by_true_species():
    """By hand; a species without photos has none."""
    p = np.array([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.1, 0.9, 0.0]])
    assert np.allclose(mean_answers(p, np.array([0, 0, 1])), [[0.6, 0.4, 0], [0.1, 0.9, 0], [0, 0, 0]])


def test_groups_are_a_list_of_their_own():
    """Genera by name, with ids that are safe and unique even where names are not."""
    taxa = tuple(Taxon(taxon_id=f"t{i}", scientific_name=n) for i, n in enumerate(("Rosa canina", "Rosa alba", "Rubus idaeus")))
    partition = by_level(Levels.of(SpeciesList(checklist="test", taxa=taxa)).genus)
    assert partition.names == ("Rosa", "Rubus") and [m.tolist() for m in partition.members] == [[0, 1], [2]]
    assert [t.scientific_name for t in partition.groups_list("test")] == ["Rosa", "Rubus"]
    assert len(Partition(names=("", ""), of=np.array([0, 1]), shares=np.ones(2)).groups_list("x")) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: at_random(3, 4),
        lambda: by_confusion(np.ones((3, 2)), 1),
        lambda: by_confusion(-np.ones((3, 3)), 1),
        lambda: by_confusion(np.ones((3, 3)), 0),
        lambda: Partition(names=("a", "b"), of=np.array([0, 0]), shares=np.full(2, 0.5)),
        lambda: Partition(names=("a",), of=np.array([0, 0]), shares=np.ones(2)),
    ],
)
def test_what_is_no_partition_is_refused(call):
    """Too many groups, a matrix that is none, an empty group, shares that do not sum to one."""
    with pytest.raises(InputError):
        call()
