"""Named losses, each with its paper. Logits and labels are (sites, species)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def presence_absence(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over plots and species: an absence is a searched-for absence."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def deep_maxent(logits: Tensor, labels: Tensor) -> Tensor:
    """Presence-only: each species' records against all sites of the batch, as a softmax over sites.

    The batch's other sites are the target-group background, so sampling effort common to all species cancels
    (Phillips et al. 2009, Ecol. Appl. 19: target-group background; Ryckewaert et al. 2024, arXiv 2412.19217, the
    DeepMaxent loss). Invariant to a species' bias: it says where, not how much.
    """
    records = labels.sum()
    return -(labels * F.log_softmax(logits, dim=0)).sum() / records.clamp(min=1)
