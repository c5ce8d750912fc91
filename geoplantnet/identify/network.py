"""The seam between a trained net and what is done with its answers: pixels in, logits, features, organs and plant-or-not out.

Behind it stands torch (`identify.classifier`) or onnxruntime (`identify.offline`); nothing in front of it imports either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.taxonomy.species_list import SpeciesList

ORGANS = ("leaf", "flower", "fruit", "bark", "habit", "other")
"""What a photo may show, in the order of `Outputs.organs`."""
MEAN, STD = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What must be known of a trained net to use it and to cite it. Raises InputError for a temperature, size or fusion that cannot be."""

    name: str
    version: str
    """Of the weights: another training is another version."""
    backbone: str
    """Name in `classifier.BACKBONES`."""
    size: int
    """Side of the square input, pixels."""
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    """Pixels 0..255 are normalised as (x - mean) / std, red, green, blue."""
    temperature: float = 1.0
    """Logits are divided by it before the softmax (Guo et al. 2017, On calibration of modern neural networks, section 4.2)."""
    plant_threshold: float = 0.5
    """Photos whose probability of showing a plant is below are rejected."""
    organs: bool = False
    """Whether it was trained to tell organs; else all are equally likely."""
    rejects: bool = False
    """Whether it was trained to tell what is no plant; else every photo is one."""
    view_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of a photo in the fusion of several, by what it shows; 1 for an organ without one."""
    view_gain: float = 0.5
    """How much surer photos of one plant make each other: 0 = not, 1 = as independent witnesses do (`fusion`)."""
    made: str = ""
    """Day of the training, ISO 8601."""
    license: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What it scored on photos held out, such as ``top1``."""

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and np.isfinite(self.temperature)):
            raise InputError(f"temperature of {self.name} is {self.temperature}; a number above 0 was expected")
        if not (0 <= self.view_gain <= 1 and all(0 < weight < np.inf for weight in self.view_weights.values())):
            raise InputError(
                f"views of {self.name}: weights {dict(self.view_weights)}, gain {self.view_gain}; weights above 0, a gain in [0, 1] were expected"
            )
        if self.size < 8:
            raise InputError(f"input of {self.name} is {self.size} pixels wide; at least 8 were expected")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Card:
        """Inverse of `to_dict`. Raises InputError for a field that is missing or unknown."""
        try:
            return cls(**{**value, "mean": tuple(value.get("mean", MEAN)), "std": tuple(value.get("std", STD))})
        except TypeError as error:
            raise InputError(f"a card of a net cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What a net says of n photos."""

    logits: npt.NDArray[np.float32]
    """(n, species): unnormalised, not divided by the temperature."""
    features: npt.NDArray[np.float32]
    """(n, d): of length 1, what similarity is measured by."""
    organs: npt.NDArray[np.float32]
    """(n, 6): probability of each of `ORGANS`."""
    plant: npt.NDArray[np.float32]
    """(n,): probability that it shows a plant."""


class Network(Protocol):
    """A trained net, whatever runs it. Safe to call from several threads."""

    @property
    def card(self) -> Card: ...

    @property
    def species(self) -> SpeciesList:
        """What its logits stand for, in order; taxa may be genera where nothing finer was labelled."""

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Of photos (n, size, size, 3), red, green, blue, upright."""


class FakeNetwork:
    """A net without weights, for tests: the colours of a photo, projected at random. The same photo gives the same answer."""

    def __init__(self, species: SpeciesList, *, size: int = 32, d: int = 16, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.card = Card(name="fake", version="1", backbone="fake", size=size, organs=True, rejects=True)
        self.species = species
        self._to_features = rng.normal(size=(4 * 4 * 3, d))
        self._to_logits = rng.normal(size=(d, len(species))) * 4
        self._to_organs = rng.normal(size=(d, len(ORGANS)))

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Photos without any green are no plants."""
        n, size = len(pixels), self.card.size
        blocks = pixels[:, : size // 4 * 4, : size // 4 * 4].reshape(n, 4, size // 4, 4, size // 4, 3).mean(axis=(2, 4)) / 255
        features = (blocks.reshape(n, -1) - 0.5) @ self._to_features
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
        organs = np.exp(features @ self._to_organs)
        return Outputs(
            logits=(features @ self._to_logits).astype(np.float32),
            features=features.astype(np.float32),
            organs=(organs / organs.sum(axis=1, keepdims=True)).astype(np.float32),
            plant=(pixels[..., 1].reshape(n, -1).max(axis=1) > 32).astype(np.float32),
        )
