"""Photos as they might as well have been taken: cut, turned, lit differently, partly hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def augmented(photos: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Photos (n, 3, h, w) in 0..255 -> (n, 3, size, size), each changed in its own way.

    Cut: 35 to 100 % of the area, sides 3:4 to 4:3, mirrored half of the time, turned by up to 15 degrees; what lies outside mirrors the inside.
    Light: brightness and contrast by up to 30 %, saturation by up to 40 %. Hidden: in one of four a grey rectangle of up to 15 % of the area.
    """
    n = len(photos)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    area, ratio = uniform(0.35, 1.0), uniform(math.log(3 / 4), math.log(4 / 3)).exp()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    across, down = uniform(-1, 1) * (1 - wide), uniform(-1, 1) * (1 - high)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = uniform(-math.pi / 12, math.pi / 12)
    c, s = angle.cos(), angle.sin()
    cut = torch.stack([torch.stack([wide * mirror * c, -high * s, across], 1), torch.stack([wide * mirror * s, high * c, down], 1)], 1)
    grid = functional.affine_grid(cut, [n, 3, size, size], align_corners=False)
    seen = functional.grid_sample(photos, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    each = (slice(None), None, None, None)
    grey = seen.mean(dim=1, keepdim=True)
    seen = grey + (seen - grey) * uniform(0.6, 1.4)[each]
    level = seen.mean(dim=(1, 2, 3), keepdim=True)
    seen = (level + (seen - level) * uniform(0.7, 1.3)[each]) * uniform(0.7, 1.3)[each]

    side = (uniform(0.02, 0.15).sqrt() * size).long()
    x, y = (uniform(0, 1) * (size - side)).long(), (uniform(0, 1) * (size - side)).long()
    for i in torch.nonzero(uniform(0, 1) < 0.25)[:, 0].tolist():
        seen[i, :, y[i] : y[i] + side[i], x[i] : x[i] + side[i]] = 127
    return seen.clamp_(0, 255)
