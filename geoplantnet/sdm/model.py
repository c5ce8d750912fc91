"""The multimodal network: encoders -> gated fusion -> latent z -> species head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from geoplantnet.assemblages.latent import SpeciesHead
from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch
from geoplantnet.errors import ModelError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm.encoders import CellEncoder, CoarseEncoder, ImageEncoder
from geoplantnet.taxonomy.species_list import SpeciesList


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What shapes the network, beside its modalities and species."""

    width: int = 32
    """Channels of every encoder."""
    latent: int = 128
    """Length d of the latent vector z."""
    dropout: float = 0.1
    """Dropout on the latent vector while training."""
    modality_dropout: float = 0.1
    """Chance that a modality is hidden from a training sample (at least one is kept)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalisation:
    """Centre and spread of every channel of a modality, from the training data."""

    mean: npt.NDArray[np.float32]
    """(time * band,)"""
    std: npt.NDArray[np.float32]
    """(time * band,), > 0"""

    @classmethod
    def of(cls, values: npt.NDArray[np.float32]) -> Normalisation:
        """From training patches (n, time * band, y, x); a channel without data or spread gets mean 0, std 1."""
        tally = Tally()
        tally.add(values)
        return tally.normalisation()

    @classmethod
    def none(cls, modality: Modality) -> Normalisation:
        """Leaves every channel of a modality as it is."""
        channels = int(np.prod(modality.axes))
        return cls(mean=np.zeros(channels, np.float32), std=np.ones(channels, np.float32))


class Tally:
    """Sums of channels over patches that come a few at a time."""

    def __init__(self) -> None:
        self._sums: npt.NDArray[np.float64] | None = None

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Take in patches (n, channel, y, x); NaN counts as absent."""
        known = np.isfinite(values)
        filled = np.where(known, values, 0).astype(np.float64)
        sums = np.stack([known.sum(axis=(0, 2, 3), dtype=np.float64), filled.sum(axis=(0, 2, 3)), (filled**2).sum(axis=(0, 2, 3))])
        self._sums = sums if self._sums is None else self._sums + sums

    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of what was taken in."""
        if self._sums is None:
            raise ModelError("no training site to take centre and spread from")
        count, total, squares = self._sums
        mean = total / np.maximum(count, 1)
        std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
        flat = std <= 1e-6 * np.maximum(np.abs(mean), 1)
        return Normalisation(mean=mean.astype(np.float32), std=np.where(flat, 1, std).astype(np.float32))


@contextmanager
def repeatable(threads: int = 1) -> Iterator[None]:
    """A fixed number of CPU threads and deterministic kernels: last bits depend on both. What was set before is put back."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


class DeepSDM(nn.Module):
    """Patches of several modalities -> latent vectors -> logits of all species.

    The species vector is the sum of its own, its genus' and its family's, which shrinks rare species to their kin.
    """

    def __init__(
        self,
        *,
        modalities: Sequence[Modality],
        grid: TileGrid,
        species: SpeciesList,
        normalisation: Mapping[str, Normalisation],
        architecture: Architecture | None = None,
    ) -> None:
        super().__init__()
        a = self.architecture = architecture or Architecture()
        if not modalities:
            raise ModelError("a model needs at least one modality; name one under `modalities` in the recipe")
        self.modalities, self.grid, self.species, self.normalisation = tuple(modalities), grid, species, dict(normalisation)
        self.encoders = nn.ModuleDict({m.name: _encoder(m, grid, a.width) for m in self.modalities})
        self.gate = nn.ModuleDict({m.name: nn.Conv2d(a.width, 1, 1) for m in self.modalities})
        joined = len(self.modalities) * (a.width + 1)
        self.fuse = nn.Sequential(
            nn.Conv2d(joined, a.latent, 1), nn.GELU(), nn.Dropout(a.dropout), nn.Conv2d(a.latent, a.latent, 1), nn.Tanh()
        )
        genera, families = sorted({t.genus for t in species}), sorted({t.family for t in species})
        self.register_buffer("genus_of", torch.tensor([genera.index(t.genus) for t in species]), persistent=False)
        self.register_buffer("family_of", torch.tensor([families.index(t.family) for t in species]), persistent=False)
        spread = a.latent**-0.5
        self.species_vector = nn.Parameter(torch.randn(len(species), a.latent) * spread * 0.5)
        self.genus_vector = nn.Parameter(torch.zeros(len(genera), a.latent))
        self.family_vector = nn.Parameter(torch.zeros(len(families), a.latent))
        self.bias = nn.Parameter(torch.zeros(len(species)))
        for m in self.modalities:
            norm = self.normalisation[m.name]
            self.register_buffer(f"mean_{m.name}", torch.from_numpy(norm.mean)[:, None, None], persistent=False)
            self.register_buffer(f"std_{m.name}", torch.from_numpy(norm.std)[:, None, None], persistent=False)

    def head_weights(self) -> Tensor:
        """(species, latent)"""
        return self.species_vector + self.genus_vector[self.genus_of] + self.family_vector[self.family_of]  # type: ignore[index]

    def latent(self, patches: Mapping[str, Patch], keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Patches -> z (n, latent, cells_y, cells_x) and whether any modality was there, (n, cells_y, cells_x) bool.

        `keep` (n, modality) 0/1 hides modalities from samples (modality dropout, ablation).
        """
        embedded, present = [], []
        for i, m in enumerate(self.modalities):
            features, available = self._encode(m, patches[m.name])
            if keep is not None:
                available = available * keep[:, i, None, None, None]
            gate = torch.sigmoid(self.gate[m.name](features)) * available
            embedded += [features * gate, available]
            present.append(available)
        z = self.fuse(torch.cat(embedded, dim=1))
        return z, torch.cat(present, dim=1).amax(dim=1) > 0

    def forward(self, patches: Mapping[str, Patch], keep: Tensor | None = None) -> Tensor:
        """Patches of n points -> logits (n, species)."""
        z, _ = self.latent(patches, keep)
        return z[:, :, 0, 0] @ self.head_weights().T + self.bias

    def species_head(self) -> SpeciesHead:
        """The head as plain arrays, for latent tiles."""
        with torch.no_grad():
            return SpeciesHead(species=self.species, weights=self.head_weights().numpy().copy(), bias=self.bias.detach().numpy().copy())

    def _encode(self, m: Modality, patch: Patch) -> tuple[Tensor, Tensor]:
        """Features (n, width, cells_y, cells_x) and availability of the cell itself, (n, 1, cells_y, cells_x) 0/1."""
        values = torch.from_numpy(patch.values)
        finite = torch.isfinite(values)
        x = (torch.where(finite, values, 0.0) - getattr(self, f"mean_{m.name}")) / getattr(self, f"std_{m.name}")
        x = torch.where(finite, x, 0.0)
        encoder = self.encoders[m.name]
        known = finite.to(x.dtype)
        if isinstance(encoder, ImageEncoder):  # the bands of an image come and go together
            known = known.unflatten(1, (max(m.times, 1), len(m.bands))).amin(dim=2)
        x = torch.cat([x, known], dim=1)
        seen = known.amax(dim=1, keepdim=True)
        if patch.weight_y is not None and patch.weight_x is not None:
            weights = torch.from_numpy(patch.weight_y), torch.from_numpy(patch.weight_x)
            available = torch.einsum("nyi,ncij,nxj->ncyx", weights[0], seen, weights[1])
            return encoder(x, *weights), (available > 0.5).to(x.dtype)
        features = encoder(x)
        return features, _centre_cells(seen, m, self.grid)


def _centre_cells(seen: Tensor, m: Modality, grid: TileGrid) -> Tensor:
    """Availability (n, 1, y, x) of pixels -> of the cells predicted: the pixel at each cell's centre."""
    step = int(m.cell_ratio(grid))
    start = m.reach(grid) + step // 2
    stop_y, stop_x = seen.shape[-2] - m.reach(grid), seen.shape[-1] - m.reach(grid)
    return seen[..., start:stop_y:step, start:stop_x:step]


def _encoder(m: Modality, grid: TileGrid, width: int) -> nn.Module:
    m.check_against(grid)
    ratio, dates = m.cell_ratio(grid), max(m.times, 1)
    if ratio > 1:
        if m.window < 7:
            raise ModelError(f"modality {m.name!r}: the image encoder needs a window of at least 7 cells, got {m.window}")
        return ImageEncoder(dates * (len(m.bands) + 1), width, m.window, int(ratio))
    channels = 2 * dates * len(m.bands)  # every value and whether it is known
    return CoarseEncoder(channels, width) if ratio < 1 else CellEncoder(channels, width, m.window)
