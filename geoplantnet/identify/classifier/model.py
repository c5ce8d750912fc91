"""A classifier of photos: a backbone, and heads for species, organ and plant or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from geoplantnet.identify.classifier.backbones import Backbone
from geoplantnet.identify.classifier.cosine_head import CosineHead
from geoplantnet.identify.network import ORGANS, Card, Outputs
from geoplantnet.taxonomy.species_list import SpeciesList

BATCH = 32
"""Photos that go through a net at once."""


class Told(NamedTuple):
    """What the heads say of n photos."""

    logits: Tensor
    """(n, species)."""
    features: Tensor
    """(n, d), of length 1."""
    organs: Tensor
    """(n, 6): probabilities."""
    plant: Tensor
    """(n,): probability."""


class PhotoClassifier(nn.Module):
    """Photos (n, 3, size, size) in 0..255 -> `Told`. Normalises by itself, so that what runs it need not know how."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, n_species: int, card: Card, *, cosine: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.n_species = n_species
        self.species: nn.Linear | CosineHead = CosineHead(backbone.d, n_species) if cosine else nn.Linear(backbone.d, n_species)
        self.organs = nn.Linear(backbone.d, len(ORGANS))
        self.plant = nn.Linear(backbone.d, 1)
        self.card = card
        self.register_buffer("mean", torch.tensor(card.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).reshape(1, 3, 1, 1), persistent=False)
        for head in (h for h in (self.species, self.organs, self.plant) if isinstance(h, nn.Linear)):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Photos as the backbone takes them."""
        return (pixels - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Told:
        """Organs are equally likely, and every photo is a plant, where these heads were not trained."""
        return self.heads(self.backbone(self.normalised(pixels)))

    def heads(self, pooled: Tensor) -> Told:
        """What is said of a backbone's features (n, d)."""
        organs = self.organs(pooled).softmax(dim=1) if self.card.organs else torch.full_like(self.organs(pooled), 1 / len(ORGANS))
        plant = self.plant(pooled)[:, 0].sigmoid() if self.card.rejects else torch.ones_like(pooled[:, 0])
        return Told(self.species(pooled), functional.normalize(pooled, dim=1), organs, plant)


def channels_last(model: PhotoClassifier) -> PhotoClassifier:
    """The model with its weights laid out as convolutions on CPUs like them: several times faster than otherwise."""
    laid: PhotoClassifier = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid


def as_tensor(pixels: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Photos (n, size, size, 3) as (n, 3, size, size) in 0..255, float32, channels last."""
    return (
        torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
    )


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A trained classifier as `identify.network.Network`."""

    model: PhotoClassifier
    species: SpeciesList

    @property
    def card(self) -> Card:
        return self.model.card

    @torch.inference_mode()
    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Of photos (n, size, size, 3), red, green, blue, upright."""
        device = self.model.mean.device
        parts = [self.model(as_tensor(pixels[i : i + BATCH], device)) for i in range(0, len(pixels), BATCH)]
        logits, features, organs, plant = (
            (np.concatenate([p[j].float().cpu().numpy() for p in parts]) for j in range(4)) if parts else _nothing(self.model)
        )
        return Outputs(logits=logits, features=features, organs=organs, plant=plant)


def _nothing(model: PhotoClassifier) -> tuple[npt.NDArray[np.float32], ...]:
    shapes: tuple[tuple[int, ...], ...] = ((0, model.n_species), (0, model.backbone.d), (0, len(ORGANS)), (0,))
    return tuple(np.zeros(shape, np.float32) for shape in shapes)
