"""Each named loss is its paper's, a block of species at a time as well as whole, and a weight is a repetition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import log_loss

from geoplantnet.sdm.losses import (
    LOSSES,
    PRESENCE,
    TARGET_GROUP,
    Batch,
    cross_entropy,
    deep_maxent,
    full_weighted,
    presence_absence,
    rarity,
)
from geoplantnet.sdm.train import _sampled_species

EACH = pytest.mark.parametrize("name", sorted(LOSSES))


def a_case(seed, sites=12, species=9):
    """Logits, labels and all facts a batch can have; some sites are background and have no label."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(sites, species, generator=generator)
    background = torch.rand(sites, generator=generator) < 0.3
    labels = ((torch.rand(sites, species, generator=generator) < 0.3) & ~background[:, None]).float()
    facts = {
        "weight": torch.rand(sites, generator=generator) + 0.5,
        "background": background,
        "rarity": rarity(labels.sum(dim=0), float((~background).sum())),
    }
    return logits, labels, facts


def loss_and_gradient(name, logits, labels, **facts):
    own = logits.clone().requires_grad_()
    loss = LOSSES[name](Batch.of(own, labels, **facts))
    loss.backward()
    return loss.item(), own.grad


@EACH
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999), block=st.integers(1, 10), masked=st.booleans())
def test_blocks_of_species_give_the_whole(name, seed, block, masked):
    """Loss and gradient do not depend on how many species are looked at at a time."""
    logits, labels, facts = a_case(seed)
    if masked:
        generator = torch.Generator().manual_seed(seed)
        facts["worth"] = (torch.rand(labels.shape, generator=generator) < 0.6) * (1 + torch.rand(labels.shape, generator=generator))
    whole, gradient = loss_and_gradient(name, logits, labels, **facts)
    blocks, own = loss_and_gradient(name, logits, labels, block=block, **facts)
    assert blocks == pytest.approx(whole, rel=1e-5, abs=1e-6)
    assert torch.allclose(own, gradient, rtol=1e-5, atol=1e-6)


@EACH
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999), times=st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_a_weight_is_a_repetition(name, seed, times):
    """A site of weight 2 is the site twice."""
    logits, labels, facts = a_case(seed)
    counts = torch.tensor(times)
    facts.pop("weight")
    once = LOSSES[name](Batch.of(logits, labels, weight=counts.float(), **facts))
    background = facts.pop("background").repeat_interleave(counts)
    many = LOSSES[name](Batch.of(logits.repeat_interleave(counts, 0), labels.repeat_interleave(counts, 0), background=background, **facts))
    assert once.item() == pytest.approx(many.item(), rel=1e-4, abs=1e-6)


@EACH
def test_a_batch_of_background_alone_teaches_no_presence(name):
    """Sites without a single record give a finite loss and no gradient upwards."""
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    facts = {"background": torch.ones(5, dtype=torch.bool)}
    loss, gradient = loss_and_gradient(name, logits, torch.zeros(5, 4), **facts)
    assert np.isfinite(loss) and torch.isfinite(gradient).all() and (gradient >= 0).all()


def test_presence_absence_is_the_log_loss():
    """Scikit-learn's log loss over all cells, and over the known ones; what is unknown may be anything."""
    logits, labels, _ = a_case(1)
    p, y = torch.sigmoid(logits).numpy().ravel(), labels.numpy().ravel()
    assert presence_absence(Batch.of(logits, labels)).item() == pytest.approx(log_loss(y, p), rel=1e-5)
    known = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = log_loss(y[known.numpy().ravel()], p[known.numpy().ravel()])
    for other in (labels, torch.where(known, labels, 1 - labels)):
        assert presence_absence(Batch.of(logits, other, worth=known.float())).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_is_that_of_single_records():
    """Each record is a sample of one class; torch's own cross-entropy over them."""
    logits, labels, facts = a_case(3)
    site, species = labels.nonzero(as_tuple=True)
    expected = torch.nn.functional.cross_entropy(logits[site], species)
    assert cross_entropy(Batch.of(logits, labels)).item() == pytest.approx(expected.item(), rel=1e-5)
    each = torch.nn.functional.cross_entropy(logits[site], species, reduction="none")
    weighted = (each * facts["weight"][site]).sum() / facts["weight"][site].sum()
    assert cross_entropy(Batch.of(logits, labels, weight=facts["weight"])).item() == pytest.approx(weighted.item(), rel=1e-5)


def test_full_weighted_is_the_published_formula():
    """Term by term in float64 as the paper and its authors' code have it: means over presences, absences, random background."""
    logits, labels, facts = a_case(4, sites=40)
    facts.pop("weight")
    background = facts["background"].numpy()
    y, p = labels.numpy()[~background].astype(np.float64), torch.sigmoid(logits.double()).numpy()
    at_records, at_random = p[~background], p[background]
    n, found = y.shape[0], y.sum(axis=0)
    assert background.any() and (found > 0).all() and (found < n).all()
    w = n / found
    expected = -(PRESENCE * y * w * np.log(at_records) + TARGET_GROUP * (1 - y) / (1 - 1 / w) * np.log(1 - at_records)).mean()
    expected -= (1 - TARGET_GROUP) * np.log(1 - at_random).mean()
    assert full_weighted(Batch.of(logits, labels, **facts)).item() == pytest.approx(expected, rel=1e-5)


def test_what_a_group_never_recorded_was_not_looked_for():
    """Full weights: a species at no site of the group has neither presences nor absences; one at all sites no absence, and all is finite."""
    weights = rarity(torch.tensor([0.0, 10.0, 4.0]), 10)
    assert weights.isfinite().all() and weights[:, 0].tolist() == [0, 0]
    assert weights[0, 1:].tolist() == pytest.approx([1, 2.5]) and weights[1, 2].item() == pytest.approx(1 / (1 - 0.4))


def test_presence_only_loss_says_where_not_how_much():
    """Adding a constant to a species' logits leaves it unchanged; the presence-absence loss is changed."""
    logits, labels = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), (torch.arange(100).reshape(20, 5) % 3 == 0).float()
    shift = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0])
    same, moved = (deep_maxent(Batch.of(x, labels)).item() for x in (logits, logits + shift))
    assert same == pytest.approx(moved, abs=1e-5)
    before, after = (presence_absence(Batch.of(x, labels)).item() for x in (logits, logits + shift))
    assert abs(after - before) > 0.05


def test_presence_only_loss_by_hand():
    """One species, three sites, one record: minus the log of its softmax share."""
    logits = torch.tensor([[1.0], [2.0], [0.0]])
    expected = -np.log(np.exp(2) / (np.e + np.exp(2) + 1))
    assert deep_maxent(Batch.of(logits, torch.tensor([[0.0], [1.0], [0.0]]))).item() == pytest.approx(expected, rel=1e-5)


def test_a_weighted_label_counts_more_and_is_still_one_label():
    """By hand, with numpy: weights of presences multiply their terms, and the mean is over the labels that are known."""
    logits, labels, facts = a_case(6)
    worth = torch.where(labels > 0, 0.2 + 3 * torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)), 1.0)
    worth[2:4, :3] = 0
    p, y, w, s = (t.double().numpy() for t in (torch.sigmoid(logits.double()), labels, worth, facts["weight"]))
    terms = -(y * np.log(p) + (1 - y) * np.log(1 - p)) * s[:, None]
    expected = (w * terms).sum() / ((w > 0) * s[:, None]).sum()
    found = presence_absence(Batch.of(logits, labels, worth=worth, weight=facts["weight"]))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_sampled_species_expect_the_loss_of_all(weighted):
    """The mean over many draws is the loss and the gradient of all species, within four standard errors; drawn all, it is equal."""
    logits, labels, _ = a_case(5, sites=6, species=14)
    labels[:, 6:] = 0
    logits.requires_grad_()
    worth = torch.where(labels > 0, 0.2 + 3 * torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)), 1.0) ** weighted
    whole = presence_absence(Batch.of(logits, labels, worth=worth))
    (gradient,) = torch.autograd.grad(whole, logits)
    rng, draws, gradients = np.random.default_rng(0), [], []
    matrix = sparse.csr_array(labels.numpy().astype(np.uint8))
    for _ in range(1500):
        columns, stands_for = _sampled_species(matrix, 3, rng)
        assert stands_for.sum() == pytest.approx(14) and set(np.unique(matrix.indices)) <= set(columns)
        part = {"worth": worth[:, columns], "stands_for": torch.from_numpy(stands_for)}
        loss = presence_absence(Batch.of(logits[:, columns], labels[:, columns], **part))
        draws.append(loss.item())
        gradients.append(torch.autograd.grad(loss, logits)[0])
    stacked = torch.stack(gradients)
    assert np.std(draws) > 0
    assert abs(np.mean(draws) - whole.item()) < 4 * np.std(draws) / np.sqrt(len(draws))
    assert ((stacked.mean(0) - gradient).abs() <= 4 * stacked.std(0) / len(draws) ** 0.5 + 1e-6).all()
    columns, stands_for = _sampled_species(matrix, 14, rng)
    every = presence_absence(
        Batch.of(logits[:, columns], labels[:, columns], worth=worth[:, columns], stands_for=torch.from_numpy(stands_for))
    )
    assert every.item() == pytest.approx(whole.item(), rel=1e-5)
