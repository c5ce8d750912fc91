"""Losses of a classifier: against their formulas, finite differences, their limits, and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.identify.classifier.cosine_head import CosineHead
from geoplantnet.identify.classifier.losses import LOSSES, SmoothedTopK, effective_weights, make_loss, margins_of, noisy_kth

COUNTS = np.array([400, 90, 30, 10, 4, 1])
seeds = st.integers(0, 10_000)


def batch(seed: int, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, 6), float64, and targets."""
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 6, generator=g, dtype=torch.float64), torch.randint(6, (n,), generator=g)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=20)
@given(seed=seeds)
def test_every_loss_has_the_gradient_of_finite_differences(name, seed):
    """Central differences at random logits, with the same draws of noise: for the hinge they are the exact derivative of the mean over draws."""
    logits, target = batch(seed, n=3)

    def value(z: torch.Tensor) -> torch.Tensor:
        loss = make_loss(name, COUNTS, scale=4.0, generator=torch.Generator().manual_seed(7), **({"k": 2} if "top_k" in name else {}))
        return loss(z, target, 1.0)

    z = logits.clone().requires_grad_()
    value(z).backward()
    step = 1e-6
    for i, j in ((0, 0), (1, 3), (2, 5), (0, int(target[0]))):
        moved = torch.zeros_like(logits)
        moved[i, j] = step
        slope = (value(logits + moved) - value(logits - moved)) / (2 * step)
        assert z.grad[i, j] == pytest.approx(float(slope), abs=1e-5)


@given(seeds, st.integers(1, 6))
def test_the_noisy_kth_greatest_becomes_the_kth_greatest(seed, k):
    """As the noise falls, value and gradient are those of the sorted k-th; without noise exactly; an offset of all scores moves it by the offset."""
    scores, _ = batch(seed)
    z = scores.clone().requires_grad_()
    found = noisy_kth(z, k, 1e-7, samples=3, generator=torch.Generator().manual_seed(0))
    found.sum().backward()
    hard = scores.sort(dim=1, descending=True)
    assert torch.allclose(found, hard.values[:, k - 1], atol=1e-5)
    assert torch.equal(z.grad, F.one_hot(hard.indices[:, k - 1], 6).double())
    assert torch.equal(noisy_kth(scores, k, 0.0), hard.values[:, k - 1])
    g = torch.Generator()
    shifted = noisy_kth(scores + 5, k, 1.0, generator=g.manual_seed(1)) - noisy_kth(scores, k, 1.0, generator=g.manual_seed(1))
    assert torch.allclose(shifted, torch.full_like(shifted, 5))


def test_the_noisy_greatest_is_its_expectation():
    """Of two equal scores the greater of two draws is 1 / sqrt(pi) standard deviations above, the lesser as far below; either is it half of the time."""
    z = torch.zeros(200, 2, dtype=torch.float64, requires_grad=True)
    found = noisy_kth(z, 1, 2.0, samples=500, generator=torch.Generator().manual_seed(0))
    found.sum().backward()
    assert found.mean().item() == pytest.approx(2 / np.sqrt(np.pi), abs=0.02)
    assert noisy_kth(z, 2, 2.0, samples=500).mean().item() == pytest.approx(-2 / np.sqrt(np.pi), abs=0.02)
    assert torch.allclose(z.grad.sum(dim=1), torch.ones(200).double()) and z.grad.mean().item() == pytest.approx(0.5, abs=0.01)


def test_noise_spreads_the_gradient_over_more_species_than_the_hard_loss():
    """Garcin et al. 2022, section 3: the hard top-k hinge tells two species a photo; the smoothed one many."""
    logits, target = torch.zeros(50, 6).double(), torch.zeros(50, dtype=torch.long)
    logits[:, 1:] += 0.01 * torch.arange(5)
    touched = []
    for noise in (0.0, 1.0):
        z = logits.clone().requires_grad_()
        SmoothedTopK(k=2, margins=torch.ones(6), noise=noise, samples=50)(z, target).backward()
        touched.append((z.grad != 0).any(dim=0).sum().item())
    assert touched[0] == 2 and touched[1] == 6


@given(seeds, st.integers(1, 4))
def test_the_hard_hinge_is_zero_where_the_true_species_stands_clear(seed, k):
    """Without noise it is relu(1 + s_[k+1] - s_true), by sorting; zero means a place among the first k."""
    logits, target = batch(seed)
    kth = logits.sort(dim=1, descending=True).values[:, k]
    expected = F.relu(1 + kth - logits[torch.arange(8), target])
    found = torch.stack([make_loss("top_k", COUNTS, k=k, noise=0.0)(logits[i : i + 1], target[i : i + 1]) for i in range(8)])
    assert torch.allclose(found, expected)
    places = (logits > logits.gather(1, target[:, None])).sum(dim=1)
    assert (places[found == 0] < k).all()


@given(seeds)
def test_losses_without_what_makes_them_special_are_cross_entropy(seed):
    """Focal of gamma 0, LDAM of margin 0 before its re-weighting, no smoothing; LDAM lowers the true logit alone, so it is never less."""
    logits, target = batch(seed)
    plain = F.cross_entropy(logits, target)
    for loss in (make_loss("focal", COUNTS, gamma=0.0), make_loss("ldam", COUNTS, largest=0.0), make_loss("cross_entropy", COUNTS)):
        assert torch.allclose(loss(logits, target), plain)
    lowered = logits.clone()
    lowered[torch.arange(8), target] -= 10 * margins_of(COUNTS, 0.5)[target].double()
    assert torch.allclose(make_loss("ldam", COUNTS, scale=10.0)(logits, target), F.cross_entropy(lowered, target))
    assert make_loss("ldam", COUNTS)(logits, target) >= plain and make_loss("focal", COUNTS)(logits, target) <= plain


def test_deferred_weights_begin_late():
    """Before 80% of a training LDAM-DRW is LDAM; after, the rare weigh more, by the effective number."""
    logits, target = batch(0)
    early, late = (make_loss("ldam_drw", COUNTS)(logits, target, progress) for progress in (0.79, 0.8))
    assert early == make_loss("ldam", COUNTS)(logits, target) and early != late
    weights = effective_weights(COUNTS)
    assert (weights.diff() > 0).all() and weights.mean().item() == pytest.approx(1)
    assert weights[5] / weights[0] == pytest.approx((1 - 0.9999**400) / (1 - 0.9999), rel=1e-3)


def test_margins_grow_as_the_fourth_root():
    """16 times fewer photos, twice the margin; the rarest has the largest; one without photos has it too."""
    assert margins_of([160, 10], 0.4).tolist() == pytest.approx([0.2, 0.4]) and margins_of([16, 1, 0], 1.0).tolist() == [0.5, 1, 1]
    for wrong in ([], [-1, 2], [0, 0], [np.nan, 1], [[1, 2]]):
        with pytest.raises(InputError, match="counts"):
            margins_of(wrong, 0.5)


def test_scale_tells_margins_in_cosines():
    """Scale * hinge(cosines) is hinge(scale * cosines) told the scale: with the same draws, to rounding."""
    g = torch.Generator()
    cosines, target = batch(3)
    cosines = cosines / 12
    one = make_loss("imbalanced_top_k", COUNTS, k=2, generator=g.manual_seed(0))(cosines, target)
    many = make_loss("imbalanced_top_k", COUNTS, k=2, scale=30.0, generator=g.manual_seed(0))(30 * cosines, target)
    assert many.item() == pytest.approx(30 * one.item())


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_give_finite_losses_and_gradients(name):
    """Logits of 10,000 either way, float32: nothing overflows."""
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    value = make_loss(name, [9, 3, 1], **({"k": 1} if "top_k" in name else {}))(logits, torch.tensor([0, 0]), 1.0)
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_learns_a_separable_set(name):
    """100 steps on features that tell the species: all right, with the head it is meant for."""
    torch.manual_seed(0)
    y = torch.arange(6).repeat(20)
    x = F.one_hot(y, 6).float() + 0.1 * torch.randn(120, 6)
    head = CosineHead(6, 6) if LOSSES[name].cosine else torch.nn.Linear(6, 6)
    loss = make_loss(name, np.full(6, 20), scale=getattr(head, "scale", 1.0), **({"k": 1} if "top_k" in name else {}))
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    for step in range(100):
        optimiser.zero_grad()
        loss(head(x), y, step / 100).backward()
        optimiser.step()
    assert (head(x).argmax(dim=1) == y).all()


def test_a_name_or_option_unknown_is_told():
    """With the nearest spelling, or what there is; numbers that cannot be; more places than species."""
    with pytest.raises(ConfigurationError, match="focal"):
        make_loss("focel", COUNTS)
    with pytest.raises(ConfigurationError, match="gamma"):
        make_loss("focal", COUNTS, gama=1.0)
    for wrong in ({"k": 0}, {"samples": 0}, {"noise": -1.0}, {"scale": 0.0}):
        with pytest.raises(ConfigurationError, match="scale"):
            make_loss("top_k", COUNTS, **wrong)
    with pytest.raises(ConfigurationError, match="first 6 species, of 6"):
        make_loss("top_k", COUNTS, k=6)
    with pytest.raises(InputError, match="below the number"):
        SmoothedTopK(k=6, margins=torch.ones(6), noise=0.0)(*batch(0))
