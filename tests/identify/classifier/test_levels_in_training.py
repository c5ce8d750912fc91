"""Levels in training: torch's sums are numpy's, and a label of a genus teaches the genus alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from geoplantnet.errors import ConfigurationError
from geoplantnet.identify.classifier.levels import MultiLevelLoss, log_sums
from geoplantnet.identify.classifier.losses import make_loss
from geoplantnet.identify.levels import Levels
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

GENERA = ("Rosa", "Quercus", "Rosa", "Rubus", "Quercus", "Rosa")
LEVELS = Levels.of(
    SpeciesList(
        checklist="test",
        taxa=tuple(
            Taxon(taxon_id=f"t{i}", scientific_name=f"{g} s{i}", genus=g, family="Fagaceae" if g == "Quercus" else "Rosaceae")
            for i, g in enumerate(GENERA)
        ),
    )
)
seeds = st.integers(0, 10_000)


def logits_of(seed: int, n: int = 4) -> torch.Tensor:
    return 3 * torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seeds)
def test_torch_sums_are_numpys(seed):
    """Also of species given no probability, and where all would underflow; with a finite gradient."""
    log_p = F.log_softmax(logits_of(seed), dim=1)
    log_p[0, :3] = -torch.inf
    log_p[1] -= 2000
    z = log_p.clone().requires_grad_()
    found = log_sums(z, torch.from_numpy(LEVELS.genus.of), 3)
    assert np.allclose(found.detach().numpy(), LEVELS.genus.log_sums(log_p.numpy()))
    found[:, 1].sum().backward()
    assert z.grad.isfinite().all()


@given(seeds)
def test_the_loss_is_the_weighted_sum_of_three_likelihoods(seed):
    """Of species' labels, by the probabilities that numpy sums; (1, 0, 0) is the species' loss alone."""
    logits = logits_of(seed)
    y = torch.tensor([0, 1, 4, 5])
    p = logits.softmax(dim=1).numpy()
    _, genus, family = LEVELS.targets(y.numpy())
    rows = np.arange(4)
    parts = [-np.log(q[rows, t]).mean() for q, t in ((p, y), (LEVELS.genus.sums(p), genus), (LEVELS.family.sums(p), family))]
    assert MultiLevelLoss(LEVELS, weights=(1, 0.5, 0.25))(logits, y).item() == pytest.approx(np.dot([1, 0.5, 0.25], parts))
    focal = make_loss("focal", np.ones(6))
    assert MultiLevelLoss(LEVELS, species=focal, weights=(1, 0, 0))(logits, y).item() == pytest.approx(focal(logits, y).item())


@given(seeds)
def test_a_label_of_a_genus_moves_no_species_against_another_of_it(seed):
    """The gradient is that of the genus' softmax, shared among its species by their own probabilities; a family's likewise; none at species' rank."""
    z = logits_of(seed, n=1).requires_grad_()
    code = LEVELS.code("genus", 0)
    value = MultiLevelLoss(LEVELS, weights=(1, 1, 0))(z, torch.tensor([code]))
    value.backward()
    p = z.detach().softmax(dim=1)[0]
    member = torch.tensor([g == "Rosa" for g in GENERA])
    share = torch.where(member, p / p[member].sum(), 0)
    assert torch.allclose(z.grad[0], p - share) and value.item() == pytest.approx(-p[member].sum().log().item())
    silent = logits_of(seed, n=1).requires_grad_()
    MultiLevelLoss(LEVELS, weights=(1, 1, 0))(silent, torch.tensor([LEVELS.code("family", 0)])).backward()
    assert not silent.grad.any()


def test_a_photo_counts_the_same_in_any_batch():
    """The mean over a mixed batch is the mean of its photos one by one."""
    logits, codes = logits_of(1), torch.tensor([0, LEVELS.code("genus", 1), LEVELS.code("family", 1), 5])
    loss = MultiLevelLoss(LEVELS)
    each = [loss(logits[i : i + 1], codes[i : i + 1]).item() for i in range(4)]
    assert loss(logits, codes).item() == pytest.approx(np.mean(each))
    with pytest.raises(ConfigurationError, match="weights"):
        MultiLevelLoss(LEVELS, weights=(0, 0, 0))
