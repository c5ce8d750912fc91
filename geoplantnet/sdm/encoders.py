"""One encoder per modality, translation-equivariant on its own grid: a patch gives what the whole tile gives there.

No padding, no batch statistics, no normalisation over space, no pooling that depends on the patch. Every encoder maps
(n, channels, y, x) to (n, width, cells_y, cells_x), where a patch holds exactly one cell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoplantnet.cubes.modality import STEM_OVERLAP


def box_mean(x: Tensor, side: int) -> Tensor:
    """Mean over side x side windows, valid positions only.

    Each axis is added up by the prime factors of `side`, 5 + 5 terms instead of 25; every output adds the same terms in the same order
    wherever it lies, so that a strip of a tile gives the bits of the whole.
    """
    if x.shape[-2:] == (side, side):
        return x.mean((-2, -1), keepdim=True)
    return _windows(_windows(x, side, -2), side, -1) * (1 / side**2)


def _windows(x: Tensor, side: int, axis: int) -> Tensor:
    """Sums of `side` neighbours along an axis: of the first factor's, then of those sums, a factor apart, and so on."""
    step = 1
    for factor in _factors(side):
        length = x.shape[axis] - (factor - 1) * step
        total = x.narrow(axis, 0, length)
        for i in range(1, factor):
            total = total + x.narrow(axis, i * step, length)
        x, step = total, step * factor
    return x


def _factors(n: int) -> list[int]:
    """Prime factors, ascending."""
    found, f = [], 2
    while n > 1:
        while n % f:
            f += 1
        found.append(f)
        n //= f
    return found


def crop(x: Tensor, margin: int) -> Tensor:
    """Cut `margin` rows and columns from each side."""
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin] if margin else x


class BoxPyramid(nn.Module):
    """Means over 1, 5 and all cells of the window, side by side: the centre, its surroundings, its landscape."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.sides = tuple(sorted({1, min(5, window), window}))

    def forward(self, x: Tensor) -> Tensor:
        means = [crop(box_mean(x, side) if side > 1 else x, (self.window - side) // 2) for side in self.sides]
        return torch.cat(means, dim=1)


class CellEncoder(nn.Module):
    """Rasters on the cells: a pointwise MLP, then a box pyramid when it sees more than its own cell."""

    def __init__(self, channels: int, width: int, window: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.point = nn.Sequential(*_dense(channels, width, dropout), *_dense(width, width, dropout))
        self.pyramid = BoxPyramid(window)
        self.out = nn.Conv2d(width * len(self.pyramid.sides), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pyramid(self.point(x)))


class ImageEncoder(nn.Module):
    """Imagery finer than the cell: a stem strided by the pixels of a cell puts its features exactly on the cells."""

    def __init__(self, channels: int, width: int, window: int, ratio: int, *, inner: int, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        side = ratio + 2 * STEM_OVERLAP
        blocks: list[nn.Module] = [nn.Conv2d(channels, inner, side, stride=ratio), nn.GELU()]
        for _ in range(layers):
            blocks += [nn.Conv2d(inner, inner, 3), nn.GELU()]
        if dropout:
            blocks.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*blocks)
        self.pyramid = BoxPyramid(window - 2 * layers)
        self.out = nn.Conv2d(inner * len(self.pyramid.sides), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pyramid(self.features(x)))


class CoarseEncoder(nn.Module):
    """Fields coarser than the cell: encoded once per source pixel, the features then gathered bilinearly to cells."""

    def __init__(self, channels: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.point = nn.Sequential(*_dense(channels, width, dropout), nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, weight_y: Tensor, weight_x: Tensor) -> Tensor:
        """`weight_y` (n, cells_y, rows) and `weight_x` (n, cells_x, columns): bilinear weights of the cell centres."""
        rows = torch.einsum("nyi,ncij->ncyj", weight_y, self.point(x))
        return torch.einsum("nxj,ncyj->ncyx", weight_x, rows)


def _dense(channels: int, width: int, dropout: float) -> list[nn.Module]:
    """One layer of a pointwise MLP; without dropout none is put in, so that none draws a random number."""
    return [nn.Conv2d(channels, width, 1), nn.GELU(), *([nn.Dropout(dropout)] if dropout else [])]
