"""Named losses over a batch of photos, each with its paper; `LOSSES` lists them, `make_loss` makes one for a data set's counts.

Logits are (photo, species), target is (photo,) positions; each returns the mean over photos. Margins and noise are told in units of cosines: they are
multiplied by `scale`, the factor a cosine head (`cosine_head.CosineHead`) multiplies cosines by to make logits, so that

    scale * (margin + noisy top(cos) - cos_true)  =  scale * margin + noisy top(logits) - logits_true

and one formula serves both heads; a linear head has scale 1, with margins in units of its logits. `progress` is the share of the training that lies
behind, 0 to 1; only deferred re-weighting asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from geoplantnet.errors import ConfigurationError, InputError, did_you_mean

DEFER = 0.8
"""Share of a training after which LDAM's re-weighting begins (160 of 200 epochs in the paper)."""
BETA = 0.9999
"""Of the effective number of photos (the paper's choice for LDAM-DRW)."""


class Loss(Protocol):
    def __call__(self, logits: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
        """Logits (photo, species) and target (photo,) -> their mean loss, a scalar."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossEntropy:
    """-ln softmax of the true species; with `smoothing` (Szegedy et al. 2016, Rethinking the inception architecture, section 7) that share of the target
    is spread over all species.
    """

    smoothing: float = 0.0

    def __call__(self, logits: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
        return F.cross_entropy(logits, target, label_smoothing=self.smoothing)


@dataclass(frozen=True, kw_only=True, eq=False)
class Focal:
    """-(1 - p)^gamma ln p of the true species: what is learnt already weighs little (Lin et al. 2017, Focal loss for dense object detection, section 3.2)."""

    gamma: float = 2.0

    def __call__(self, logits: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
        log_p = -F.cross_entropy(logits, target, reduction="none")
        # -expm1: p near 1 keeps its digits, and a gradient at p = 1 that is no NaN for gamma below 1.
        return -((-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny) ** self.gamma * log_p).mean()


@dataclass(frozen=True, kw_only=True, eq=False)
class LDAM:
    """Label-distribution-aware margin (Cao et al. 2019, Learning imbalanced datasets with label-distribution-aware margin loss, NeurIPS, equations 10-13).

    Cross-entropy of logits whose true one is lowered by scale * margin, margins ~ n^(-1/4), the rarest species having the `largest`. With `deferred`
    re-weighting (DRW, section 3.3) the last part of a training weighs each photo by the inverse of its species' effective number,
    (1 - beta) / (1 - beta^n) (Cui et al. 2019), weights averaging one over species.
    """

    margins: Tensor
    """(species,): of each, in units of cosines."""
    weights: Tensor
    """(species,): of deferred re-weighting, averaging 1."""
    scale: float = 1.0
    deferred: bool = True

    def __call__(self, logits: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
        lowered = logits - self.scale * self.margins.to(logits)[target, None] * F.one_hot(target, logits.shape[1]).to(logits.dtype)
        return F.cross_entropy(lowered, target, weight=self.weights.to(logits) if self.deferred and progress >= DEFER else None)


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothedTopK:
    """Top-k hinge, smoothed by noise (Garcin, Servajean, Joly & Salmon 2022, Stochastic smoothing of the top-K calibrated hinge loss for deep imbalanced
    classification, ICML, equations 12 and 17): relu(margin + noisy top_(k+1)(s) - s_true), 0 where the true species stands a margin above what
    would drive it out of the first k.

    Without counts the margin is 1 for all (the balanced loss); with counts it is ~ n^(-1/4), the rarest species having the `largest` (the imbalanced one).
    `noise` 0 is the hard loss (Yang & Koyejo 2020, On the consistency of top-k surrogate losses), of which only k + 1 species ever get a gradient.
    """

    k: int
    margins: Tensor
    """(species,): of each, in units of cosines."""
    noise: float
    """Standard deviation of the noise (the paper's epsilon), in units of cosines."""
    samples: int = 5
    """Draws of the noise a photo (the paper's B)."""
    scale: float = 1.0
    generator: torch.Generator | None = None
    """Of the noise; None = torch's own."""

    def __call__(self, logits: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
        if self.k >= logits.shape[1]:
            raise InputError(f"top-{self.k} loss over {logits.shape[1]} species; k lies below the number of species")
        kth = noisy_kth(logits, self.k + 1, self.scale * self.noise, samples=self.samples, generator=self.generator)
        return F.relu(self.scale * self.margins.to(logits)[target] + kth - logits.gather(1, target[:, None])[:, 0]).mean()


def noisy_kth(scores: Tensor, k: int, noise: float, *, samples: int = 5, generator: torch.Generator | None = None) -> Tensor:
    """E[k-th greatest of scores + noise * Z], Z standard normal: (photo, species) -> (photo,), by `samples` draws.

    Its gradient is the probability that each species is the k-th greatest, by the same draws (Berthet et al. 2020, Learning with differentiable
    perturbed optimizers; Garcin et al. 2022, propositions 3.3 and 3.4: a difference of two perturbed maxima). As the noise falls it becomes the k-th
    greatest; `noise` 0 is that.
    """
    return _NoisyKth.apply(scores, k, noise, samples if noise > 0 else 1, generator)


class _NoisyKth(torch.autograd.Function):
    """The values are not differentiated through the draws: the gradient is the share of draws each species was the k-th greatest in."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, k: int, noise: float, samples: int, generator: torch.Generator | None) -> Tensor:
        where, total = [], torch.zeros_like(scores[:, 0])
        for _ in range(samples):  # a draw at a time: memory of one, however many
            drawn = torch.randn(scores.shape, generator=generator, dtype=scores.dtype, device=scores.device) if noise > 0 else None
            noised = scores if drawn is None else scores + noise * drawn
            values, indices = noised.topk(k, dim=1, sorted=True)
            total = total + values[:, -1]
            where.append(indices[:, -1])
        ctx.save_for_backward(torch.stack(where, dim=1))
        ctx.species = scores.shape[1]
        return total / samples

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (where,) = ctx.saved_tensors
        shares = torch.zeros(len(where), ctx.species, dtype=gradient.dtype, device=gradient.device)
        shares.scatter_add_(1, where, torch.full_like(where, 1, dtype=gradient.dtype) / where.shape[1])
        return shares * gradient[:, None], None, None, None, None


def margins_of(counts: npt.ArrayLike, largest: float) -> Tensor:
    """Margins (species,) ~ n^(-1/4) from photos a species, the rarest's being `largest`; a species without photos counts as one with one.

    Cao et al. 2019, equation 10: what minimises a bound of the balanced error. Raises InputError for counts that are none.
    """
    n = np.asarray(counts, float)
    if n.ndim != 1 or not len(n) or not np.isfinite(n).all() or (n < 0).any() or not n.any():
        raise InputError(
            f"counts of photos a species of shape {n.shape}, from {n.min() if n.size else 'nothing'}; give (species,), none negative"
        )
    inverse = np.maximum(n, 1) ** -0.25
    return torch.from_numpy(largest * inverse / inverse.max()).float()


def effective_weights(counts: npt.ArrayLike, beta: float = BETA) -> Tensor:
    """Weights (species,), averaging 1, of the inverse effective number of photos (Cui et al. 2019, Class-balanced loss, equation 4)."""
    n = np.maximum(np.asarray(counts, float), 1)
    inverse = (1 - beta) / -np.expm1(n * np.log(beta))
    return torch.from_numpy(inverse / inverse.mean()).float()


@dataclass(frozen=True, kw_only=True)
class LossKind:
    """One entry of `LOSSES`."""

    build: Callable[..., Loss]
    """(counts, scale=, generator=, and `options`) -> the loss."""
    cosine: bool
    """Whether it is meant for a cosine head."""
    options: Mapping[str, float] = field(default_factory=dict)
    """What may be set, with what it is otherwise."""


def _cross_entropy(counts: npt.ArrayLike, *, scale: float, generator: torch.Generator | None, smoothing: float) -> Loss:
    return CrossEntropy(smoothing=smoothing)


def _focal(counts: npt.ArrayLike, *, scale: float, generator: torch.Generator | None, gamma: float) -> Loss:
    return Focal(gamma=gamma)


def _ldam(counts: npt.ArrayLike, *, scale: float, generator: torch.Generator | None, largest: float, deferred: float) -> Loss:
    return LDAM(margins=margins_of(counts, largest), weights=effective_weights(counts), scale=scale, deferred=bool(deferred))


def _top_k(
    counts: npt.ArrayLike, *, scale: float, generator: torch.Generator | None, k: float, noise: float, samples: float, margin: float
) -> Loss:
    margins = torch.full((len(np.asarray(counts)),), float(margin))
    return SmoothedTopK(k=int(k), margins=margins, noise=noise, samples=int(samples), scale=scale, generator=generator)


def _imbalanced_top_k(
    counts: npt.ArrayLike, *, scale: float, generator: torch.Generator | None, k: float, noise: float, samples: float, largest: float
) -> Loss:
    margins = margins_of(counts, largest)
    return SmoothedTopK(k=int(k), margins=margins, noise=noise, samples=int(samples), scale=scale, generator=generator)


LOSSES: dict[str, LossKind] = {
    "cross_entropy": LossKind(build=_cross_entropy, cosine=False, options={"smoothing": 0.0}),
    "focal": LossKind(build=_focal, cosine=False, options={"gamma": 2.0}),
    "ldam": LossKind(build=_ldam, cosine=True, options={"largest": 0.5, "deferred": 0}),
    "ldam_drw": LossKind(build=_ldam, cosine=True, options={"largest": 0.5, "deferred": 1}),
    "top_k": LossKind(build=_top_k, cosine=False, options={"k": 5, "noise": 1.0, "samples": 5, "margin": 1.0}),
    "imbalanced_top_k": LossKind(build=_imbalanced_top_k, cosine=True, options={"k": 5, "noise": 0.01, "samples": 5, "largest": 0.4}),
}
"""What a training may name. Margins and noise are the papers' for their own data; the best lie near."""


def make_loss(
    name: str, counts: Sequence[int] | npt.ArrayLike, *, scale: float = 1.0, generator: torch.Generator | None = None, **options: float
) -> Loss:
    """A loss of `LOSSES` for `counts` (species,) of training photos and the head's `scale`. Raises ConfigurationError for a name or option unknown."""
    if name not in LOSSES:
        raise ConfigurationError(f"loss {name!r}; one of {', '.join(LOSSES)}.{did_you_mean(name, list(LOSSES))}")
    kind = LOSSES[name]
    if unknown := sorted(set(options) - set(kind.options)):
        raise ConfigurationError(f"loss {name} has no {', '.join(unknown)}; it has {', '.join(kind.options)}")
    chosen = {**kind.options, **options}
    if (
        chosen.get("k", 1) < 1
        or chosen.get("samples", 1) < 1
        or min(chosen.values()) < 0
        or not scale > 0
        or chosen.get("smoothing", 0) >= 1
    ):
        raise ConfigurationError(
            f"loss {name} with {chosen} at scale {scale}; none may be negative, k and samples are at least 1, smoothing is below 1, the scale above 0"
        )
    if chosen.get("k", 0) >= len(np.asarray(counts)):
        raise ConfigurationError(f"loss {name} of the first {chosen['k']:g} species, of {len(np.asarray(counts))}; give a smaller k")
    return kind.build(counts, scale=scale, generator=generator, **chosen)
