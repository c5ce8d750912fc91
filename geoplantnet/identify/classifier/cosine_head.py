"""A head whose logits are cosines times a factor: what margin losses are made for, since the length of a species' weights cannot buy a margin."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 30.0
"""Logits a cosine; LDAM's code has 30, Garcin et al. 50."""


class CosineHead(nn.Module):
    """Features (photo, d) -> scale * cosine to each species' weight (photo, species). Cao et al. 2019, section 3.2."""

    def __init__(self, d: int, species: int, *, scale: float = SCALE) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(F.normalize(torch.randn(species, d), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """No division by a length of 0: a feature of zeros has a cosine of 0 to all."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))
