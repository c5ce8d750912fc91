"""The multimodal network: encoders -> fusion -> latent z -> species head."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geoplantnet.assemblages.latent import SpeciesHead
from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch
from geoplantnet.errors import ConfigurationError, ModelError, did_you_mean
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm.devices import Precision
from geoplantnet.sdm.encoders import CellEncoder, CoarseEncoder, ImageEncoder
from geoplantnet.sdm.runtime import OpenVinoEncoder
from geoplantnet.taxonomy.species_list import SpeciesList

Fusion = Literal["gated", "concatenated"]
CLIP = 4.0
"""Standard deviations from the mean at which standardised predictors stop: beyond the training data nothing grows without end."""
AREA_EXPONENT = 0.25
"""Where the exponent of plot area starts: species-area curves rise with about its fourth root (Rosenzweig 1995)."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What shapes the network, beside its modalities and species."""

    width: int = 32
    """Channels of every encoder."""
    image_width: int | None = None
    """Channels inside the encoder of imagery finer than the cell, where nearly all of the work of mapping is; None = `width`."""
    latent: int = 128
    """Length d of the latent vector z."""
    dropout: float = 0.1
    """Dropout on the latent vector while training."""
    encoder_dropout: float = 0.0
    """Dropout on the features of every encoder while training; .3 suits wide encoders and few plots."""
    modality_dropout: float = 0.1
    """Chance that a modality is hidden from a training sample (at least one is kept)."""
    fusion: Fusion = "gated"
    """How modalities meet: each weighed by a gate of its own, or side by side as they are (late concatenation, Ung et al. 2023)."""
    plot_area: float | None = None
    """Reference plot area A0 in m2, to which logits refer; None = plots of every size are alike."""
    survey_bias: bool = False
    """Every presence-only data set has a number of its own a species, added to logits in training and left out of predictions:
    how readily it reports the species, beside plots (Fithian et al. 2015, Methods Ecol. Evol. 6: 424, whose bias is common to all)."""

    def __post_init__(self) -> None:
        if self.fusion not in get_args(Fusion):
            raise ConfigurationError(
                f"fusion must be {' or '.join(get_args(Fusion))}, got {self.fusion!r}.{did_you_mean(self.fusion, get_args(Fusion))}"
            )
        if self.plot_area is not None and not self.plot_area > 0:
            raise ConfigurationError(f"plot_area must be a reference area above 0 m2, got {self.plot_area}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalisation:
    """Centre and spread of every channel of a modality, from the training data."""

    mean: npt.NDArray[np.float32]
    """(time * band,), NaN where no training site had a value: then any other site's counts as missing, for nothing was learnt of it."""
    std: npt.NDArray[np.float32]
    """(time * band,), > 0"""

    @classmethod
    def of(cls, values: npt.NDArray[np.float32]) -> Normalisation:
        """From training patches (n, time * band, y, x); a channel without spread gets std 1, one without data mean NaN, too."""
        tally = Tally()
        tally.add(values)
        return tally.normalisation()


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

    def normalisation(self, kind: str = "standard") -> Normalisation:
        """Mean and standard deviation of what was taken in; for kind "none", what leaves values as they are."""
        if self._sums is None:
            raise ModelError("no training site to take centre and spread from")
        count, total, squares = self._sums
        mean = total / np.maximum(count, 1)
        std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
        flat = std <= 1e-6 * np.maximum(np.abs(mean), 1)
        if kind == "none":
            mean, flat = np.zeros_like(mean), np.ones_like(flat)
        return Normalisation(mean=np.where(count > 0, mean, np.nan).astype(np.float32), std=np.where(flat, 1, std).astype(np.float32))


@contextmanager
def repeatable(threads: int = 1) -> Iterator[None]:
    """A fixed number of CPU threads and deterministic kernels: last bits depend on both. What was set before is put back."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's matrix products repeat only with it; read when CUDA starts
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

    On a plot of area A the logit of every species is eta + beta ln(A / A0), beta >= 0 learnt and common to all: the odds of
    presence grow with a power of the area. The form p = 1 - exp(-exp(eta + beta ln A)) of a Poisson process agrees while p is
    small; odds are taken because a latent tile then stays one dot product a species, at any area.
    """

    def __init__(
        self,
        *,
        modalities: Sequence[Modality],
        grid: TileGrid,
        species: SpeciesList,
        normalisation: Mapping[str, Normalisation],
        architecture: Architecture | None = None,
        surveys: int = 0,
    ) -> None:
        """`surveys`: presence-only data sets with a bias of their own, see `Architecture.survey_bias`."""
        super().__init__()
        a = self.architecture = architecture or Architecture()
        if not modalities:
            raise ModelError("a model needs at least one modality; name one under `modalities` in the recipe")
        self.modalities, self.grid, self.species, self.normalisation = tuple(modalities), grid, species, dict(normalisation)
        self._engines: dict[str, OpenVinoEncoder] = {}
        self.encoders = nn.ModuleDict({m.name: _encoder(m, grid, a) for m in self.modalities})
        if a.fusion == "gated":
            self.gate = nn.ModuleDict({m.name: nn.Conv2d(a.width, 1, 1) for m in self.modalities})
        joined = len(self.modalities) * (a.width + 1)
        # z has no bound: a tanh at its end cost .003 to .01 of AUC (docs/experiments/skill.md)
        self.fuse = nn.Sequential(nn.Conv2d(joined, a.latent, 1), nn.GELU(), nn.Dropout(a.dropout), nn.Conv2d(a.latent, a.latent, 1))
        genera, families = sorted({t.genus for t in species}), sorted({t.family for t in species})
        at_genus, at_family = ({name: i for i, name in enumerate(names)} for names in (genera, families))
        self.register_buffer("genus_of", torch.tensor([at_genus[t.genus] for t in species]), persistent=False)
        self.register_buffer("family_of", torch.tensor([at_family[t.family] for t in species]), persistent=False)
        spread = a.latent**-0.5
        self.species_vector = nn.Parameter(torch.randn(len(species), a.latent) * spread * 0.5)
        self.genus_vector = nn.Parameter(torch.zeros(len(genera), a.latent))
        self.family_vector = nn.Parameter(torch.zeros(len(families), a.latent))
        self.bias = nn.Parameter(torch.zeros(len(species)))
        if surveys:
            self.survey_bias = nn.Parameter(torch.zeros(surveys, len(species)))
        if a.plot_area is not None:  # softplus of it is beta
            self.area_exponent = nn.Parameter(torch.tensor(float(np.log(np.expm1(AREA_EXPONENT)))))
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
            gated = self.architecture.fusion == "gated"
            gate = torch.sigmoid(self.gate[m.name](features)) * available if gated else available
            embedded += [features * gate, available]
            present.append(available)
        z = self.fuse(torch.cat(embedded, dim=1))
        return z, torch.cat(present, dim=1).amax(dim=1) > 0

    def forward(self, patches: Mapping[str, Patch], keep: Tensor | None = None, plot_area: Tensor | None = None) -> Tensor:
        """Patches of n points -> logits (n, species), on plots of `plot_area` (n,) m2 (None, NaN = the reference area)."""
        z, _ = self.latent(patches, keep)
        logits = self.logits(z[:, :, 0, 0])(slice(0, len(self.species)))
        return logits if plot_area is None else logits + self.area_offset(plot_area)[:, None]

    def logits(self, z: Tensor, *, species: Tensor | None = None, block: int | None = None) -> Callable[[slice], Tensor]:
        """Latent vectors (n, d) -> what gives logits (n, block) of the slices [0, block), [block, 2 block) ... of the species axis.

        `species`: positions in the list that make up the axis, None = all; `block`: species a slice, None = all in one.
        """
        axis: tuple[Tensor, ...] = self.species_vector, self.bias, self.genus_of, self.family_of  # type: ignore[assignment]
        own, bias, genus, family = axis if species is None else (of_all[species] for of_all in axis)
        size = block or max(own.shape[0], 1)
        # Split, not sliced: one gradient for all blocks, not one as long for each.
        owns, biases = ((own,), (bias,)) if own.shape[0] <= size else (own.split(size), bias.split(size))

        def of(s: slice) -> Tensor:
            i = s.start // size
            vectors = owns[i] + self.genus_vector[genus[s]] + self.family_vector[family[s]]
            return z @ vectors.T + biases[i]

        return of

    def area_offset(self, plot_area: Tensor) -> Tensor:
        """Plot areas (n,) m2 -> what they add to logits, beta ln(A / A0); 0 where unknown, and for a model without area."""
        if self.architecture.plot_area is None:
            return torch.zeros_like(plot_area)
        ratio = torch.where(plot_area > 0, plot_area / self.architecture.plot_area, 1.0)
        return F.softplus(self.area_exponent) * torch.log(ratio)

    @property
    def surveys(self) -> int:
        """Presence-only data sets with a bias of their own."""
        return self.survey_bias.shape[0] if hasattr(self, "survey_bias") else 0

    def species_head(self, plot_area: float | None = None) -> SpeciesHead:
        """The head as plain arrays, for latent tiles of plots of `plot_area` m2 (None = the reference area).

        Raises ModelError when the model has not learnt from plot areas.
        """
        if plot_area is not None and self.architecture.plot_area is None:
            raise ModelError(
                f"the model knows no plot area to scale to {plot_area} m2 from; train with a reference `plot_area`, or leave it out"
            )
        with torch.no_grad():
            bias = self.bias.detach().clone()
            if plot_area is not None:
                bias += self.area_offset(bias.new_tensor([plot_area]))
            return SpeciesHead(species=self.species, weights=self.head_weights().cpu().numpy().copy(), bias=bias.cpu().numpy())

    def in_bfloat16(self) -> DeepSDM:
        """A copy whose encoders, gates and fusion compute in bfloat16, channels last: for mapping alone, head and bias stay as they are."""
        copied = copy.deepcopy(self)
        for part in (copied.encoders, copied.fuse, *([copied.gate] if self.architecture.fusion == "gated" else [])):
            part.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return copied

    def on_openvino(self, precision: Precision) -> DeepSDM:
        """A copy whose encoders OpenVINO runs, for mapping alone. Raises ConfigurationError where it is not installed."""
        copied = copy.deepcopy(self)
        copied._engines = {name: OpenVinoEncoder(encoder, precision) for name, encoder in copied.encoders.items()}
        return copied

    @property
    def dtype(self) -> torch.dtype:
        """In which the encoders compute."""
        return next(self.encoders.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are; patches are moved there."""
        return self.bias.device

    def _encode(self, m: Modality, patch: Patch) -> tuple[Tensor, Tensor]:
        """Features (n, width, cells_y, cells_x) and availability of the cell itself, (n, 1, cells_y, cells_x) 0/1."""
        values, *weights = self._tensors(patch)
        finite = torch.isfinite(values)
        if np.isnan(self.normalisation[m.name].mean).any():
            finite &= getattr(self, f"mean_{m.name}").isfinite()
        x = (torch.where(finite, values, 0.0) - getattr(self, f"mean_{m.name}")) / getattr(self, f"std_{m.name}")
        if m.normalisation == "standard":
            x = x.clamp(-CLIP, CLIP)
        x = torch.where(finite, x, 0.0)
        encoder = self.encoders[m.name]
        known = finite.to(x.dtype)
        if isinstance(encoder, ImageEncoder):  # the bands of an image come and go together
            known = known.unflatten(1, (max(m.times, 1), len(m.bands))).amin(dim=2)
        x = torch.cat([x, known], dim=1)
        if self.dtype == torch.bfloat16:
            x = x.to(self.dtype, memory_format=torch.channels_last)
        seen = known.amax(dim=1, keepdim=True)
        encode = self._engines.get(m.name, encoder)
        if weights:
            available = torch.einsum("nyi,ncij,nxj->ncyx", weights[0], seen, weights[1])
            return encode(x, *(w.to(x.dtype) for w in weights)), (available > 0.5).to(x.dtype)
        features = encode(x)
        return features, _centre_cells(seen, m, self.grid).to(x.dtype)

    def _tensors(self, patch: Patch) -> list[Tensor]:
        """Values, and the bilinear weights of rows and columns where it has them, on the model's device."""
        arrays = (patch.values, patch.weight_y, patch.weight_x)
        return [torch.from_numpy(a).to(self.device) for a in arrays if a is not None]


def _centre_cells(seen: Tensor, m: Modality, grid: TileGrid) -> Tensor:
    """Availability (n, 1, y, x) of pixels -> of the cells predicted: the pixel at each cell's centre."""
    step = int(m.cell_ratio(grid))
    start = m.reach(grid) + step // 2
    stop_y, stop_x = seen.shape[-2] - m.reach(grid), seen.shape[-1] - m.reach(grid)
    return seen[..., start:stop_y:step, start:stop_x:step]


def _encoder(m: Modality, grid: TileGrid, architecture: Architecture) -> nn.Module:
    m.check_against(grid)
    width, dropout = architecture.width, architecture.encoder_dropout
    ratio, dates = m.cell_ratio(grid), max(m.times, 1)
    if ratio > 1:
        if m.window < 7:
            raise ModelError(f"modality {m.name!r}: the image encoder needs a window of at least 7 cells, got {m.window}")
        inner = architecture.image_width or width
        return ImageEncoder(dates * (len(m.bands) + 1), width, m.window, int(ratio), inner=inner, dropout=dropout)
    channels = 2 * dates * len(m.bands)  # every value and whether it is known
    return CoarseEncoder(channels, width, dropout=dropout) if ratio < 1 else CellEncoder(channels, width, m.window, dropout=dropout)
