"""Train a classifier of photos: its heads alone, the last stages of its backbone too, or all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.identify.calibration import FEWEST
from geoplantnet.identify.classifier.augment import augmented
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.model import BATCH, PhotoClassifier, TorchNetwork, as_tensor, channels_last
from geoplantnet.identify.classifier.negatives import textures
from geoplantnet.identify.classifier.reading import Squares
from geoplantnet.identify.metrics import top_k
from geoplantnet.identify.network import ORGANS, Card, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.temperature import fit_temperature, probabilities
from geoplantnet.storage import json_text, write_beside

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (n, species) and labels (n,) -> a scalar."""
_ROOM = 8 / 7
"""Side of the squares that photos are cut out of, of the side of the net's input."""
_CACHE = 4_000_000_000
"""Bytes of a frozen part's answers that are kept."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a classifier is trained. Raises ConfigurationError for numbers that cannot be."""

    backbone: str = "efficientnet-lite0"
    size: int | None = None
    """Side of the net's input, pixels; None: what the backbone was made for."""
    transfer: Literal["head", "freeze", "all"] = "freeze"
    """What learns: the heads alone (a linear probe); these and the last stages; everything."""
    frozen: int | None = None
    """Stages that do not learn under ``freeze``; None: two thirds of them."""
    epochs: int = 8
    batch: int = 32
    lr: float = 2e-3
    """Of the heads, at its highest."""
    backbone_lr: float = 0.1
    """Of the backbone's last stage, beside the heads'; stages before learn more slowly yet."""
    decay: float = 0.7
    """Learning rate of a stage beside that of the next (Howard & Ruder 2018, section 3.2, discriminative fine-tuning)."""
    weight_decay: float = 0.01
    smoothing: float = 0.1
    """Of the labels, under cross-entropy (Szegedy et al. 2016, section 7)."""
    views: int = 8
    """Augmented versions of a photo, where a frozen part's answers are kept; else every epoch has its own."""
    ema: float = 0.98
    """Weights are a running mean of the last 1 / (1 - ema) steps."""
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [name for name in ("epochs", "batch", "views") if getattr(self, name) < 1]
        wrong += [name for name in ("lr", "backbone_lr", "decay") if not getattr(self, name) > 0]
        wrong += ["smoothing"] * (not 0 <= self.smoothing < 1) + ["ema"] * (not 0 <= self.ema < 1)
        if wrong:
            raise ConfigurationError(f"training: {wrong[0]} is {getattr(self, wrong[0])}; see what `Training` says of it")


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A trained classifier, and what was seen on the way."""

    network: TorchNetwork
    history: tuple[Mapping[str, float], ...]
    """Of each epoch: its mean loss."""
    validation: Outputs | None
    """What it says of the validation photos, in their order."""


def fit(
    photos: PhotoSet,
    training: Training,
    *,
    validation: PhotoSet | None = None,
    negatives: npt.NDArray[np.uint8] | None = None,
    loss: Loss | None = None,
    name: str = "classifier",
    version: str = "1",
    resume: Path | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    device: str = "cpu",
) -> Fitted:
    """Train on all of `photos`; temperature and figures come from `validation`, of which nothing else is learnt.

    `negatives` (n, size, size, 3) show no plant; None: made-up textures. `loss` replaces cross-entropy. `resume` is a folder where the state is kept after
    every epoch: the same call goes on from there, with the same result as one that was never stopped. Raises InputError for a set without photos, or
    with one species.
    """
    if len(np.unique(photos.labels)) < 2:
        raise InputError(
            f"{len(photos)} photos of {len(np.unique(photos.labels))} species; a classifier needs photos of two species at least"
        )
    torch.manual_seed(training.seed)
    backbone = make_backbone(training.backbone)
    card = Card(name=name, version=version, backbone=training.backbone, size=training.size or backbone.size)
    model = channels_last(PhotoClassifier(backbone, len(photos.species), card).to(device).eval())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with Squares(list(photos.table["image"]), round(card.size * _ROOM)) as squares:
        history = _learn(model, photos, squares, training, loss, resume, on_epoch)
    network = TorchNetwork(model, photos.species)
    model.card = _organs_and_plants(network, photos, negatives, training.seed)
    told = predict(network, validation) if validation is not None and len(validation) else None
    model.card = _described(model.card, told, validation)
    return Fitted(network=network, history=tuple(history), validation=told)


def predict(network: TorchNetwork, photos: PhotoSet) -> Outputs:
    """What a net says of the photos of a set, prepared as online."""
    with Squares(list(photos.table["image"]), network.card.size) as squares:
        parts = [network(squares[np.arange(i, min(i + BATCH, len(photos)))]) for i in range(0, len(photos), BATCH)]
    joined = {key: np.concatenate([getattr(part, key) for part in parts]) for key in ("logits", "features", "organs", "plant")}
    return Outputs(**joined)


def stages_frozen(training: Training, stages: int) -> int:
    """How many of a backbone's stages do not learn. Raises ConfigurationError for more than there are."""
    if training.transfer != "freeze":
        return stages if training.transfer == "head" else 0
    frozen = training.frozen if training.frozen is not None else stages * 2 // 3
    if not 0 <= frozen <= stages:
        raise ConfigurationError(f"training: frozen is {frozen}, and {training.backbone} has {stages} stages")
    return frozen


def _learn(
    model: PhotoClassifier,
    photos: PhotoSet,
    squares: Squares,
    training: Training,
    loss: Loss | None,
    resume: Path | None,
    on_epoch: Callable[[int, float], None],
) -> list[Mapping[str, float]]:
    frozen = stages_frozen(training, len(model.backbone.stages))
    batches = _Batches(model, photos, squares, training, frozen)
    groups = _groups(model, training, frozen)
    optimiser = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    learning = [parameter for group in groups for parameter in group["params"]]
    mean = [parameter.detach().clone() for parameter in learning]
    judge = loss or (lambda logits, labels: functional.cross_entropy(logits, labels, label_smoothing=training.smoothing))
    state = _State(resume, training, photos, learning, mean, optimiser)
    history = state.load()
    steps = training.epochs * batches.steps
    for epoch in range(len(history), training.epochs):
        total = 0.0
        for step, (x, labels) in enumerate(batches.epoch(epoch), start=epoch * batches.steps):
            share = _schedule(step, steps)
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * share
            value = judge(model.species(model.backbone.end(x, frozen)), labels)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            keep = min(training.ema, (1 + step) / (10 + step))  # the first steps are soon forgotten
            with torch.no_grad():
                for slow, fast in zip(mean, learning):
                    slow.lerp_(fast, 1 - keep)
            total += value.item() * len(labels)
        history.append({"epoch": epoch + 1, "loss": total / len(photos)})
        state.save(history)
        on_epoch(epoch + 1, total / len(photos))
    with torch.no_grad():
        for slow, fast in zip(mean, learning):
            fast.copy_(slow)
            fast.requires_grad_(False)
    return history


def _schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: up within the first twentieth, then down along a cosine."""
    warm = max(1, steps // 20)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _groups(model: PhotoClassifier, training: Training, frozen: int) -> list[dict[str, Any]]:
    """Parameters that learn, with their highest rate. Batch norms keep the statistics they came with: few photos estimate them badly."""
    stages = list(model.backbone.stages)
    groups = [{"params": list(model.species.parameters()), "highest": training.lr}]
    for place, stage in enumerate(stages[frozen:], start=frozen):
        rate = training.lr * training.backbone_lr * training.decay ** (len(stages) - 1 - place)
        groups.append({"params": list(stage.parameters()), "highest": rate})
    groups = [group for group in groups if group["params"]]
    for group in groups:
        for parameter in group["params"]:  # type: ignore[attr-defined]
            parameter.requires_grad_(True)
    return groups


class _Batches:
    """Augmented photos as the first stage that learns sees them, in an order that the seed and the epoch say."""

    def __init__(self, model: PhotoClassifier, photos: PhotoSet, squares: Squares, training: Training, frozen: int) -> None:
        self.model, self.squares, self.training, self.frozen = model, squares, training, frozen
        self.labels = torch.tensor(photos.labels)
        self.steps = math.ceil(len(photos) / training.batch)
        self._kept = self._keep() if frozen else None

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every photo once: what the frozen stages make of it, and its label."""
        generator = torch.Generator().manual_seed(self.training.seed * 100_003 + epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        device = self.model.mean.device
        for rows in order.split(self.training.batch):
            kept = self._kept[epoch % len(self._kept)] if self._kept else None
            x = self._begun(rows, generator) if kept is None else kept[rows].to(device, torch.float32)
            yield x, self.labels[rows].to(device)

    def _begun(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        seen = augmented(as_tensor(self.squares[rows.numpy()]), self.model.card.size, generator)
        seen = seen.to(self.model.mean.device, memory_format=torch.channels_last)
        with torch.no_grad():
            return self.model.backbone.begin(self.model.normalised(seen), self.frozen)

    def _keep(self) -> list[Tensor] | None:
        """What the frozen stages make of every version of every photo, in half precision; None where that is too much to keep."""
        views = min(self.training.views, self.training.epochs)
        kept: list[Tensor] = []
        for view in range(views):
            generator = torch.Generator().manual_seed(self.training.seed * 100_003 + 50_000 + view)
            parts = []
            for rows in torch.arange(len(self.labels)).split(BATCH):
                parts.append(self._begun(rows, generator).to(torch.float16))
                if not kept and parts[0][0].numel() * 2 * len(self.labels) * views > _CACHE:
                    return None
            kept.append(torch.cat(parts))
        return kept


class _State:
    """What an epoch leaves behind, so that a training that was killed goes on."""

    def __init__(
        self,
        folder: Path | None,
        training: Training,
        photos: PhotoSet,
        learning: list[Tensor],
        mean: list[Tensor],
        optimiser: torch.optim.Optimizer,
    ) -> None:
        self.folder, self.learning, self.mean, self.optimiser = folder, learning, mean, optimiser
        self.of = {"training": asdict(training), "species": photos.species.hash, "photos": len(photos)}

    def load(self) -> list[Mapping[str, float]]:
        """The epochs that were done. Raises ConfigurationError where the folder is of another training."""
        if self.folder is None or not (self.folder / "state.json").is_file():
            return []
        told = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        if told["of"] != self.of:
            raise ConfigurationError(f"{self.folder} keeps the state of another training; give another folder, or take it away")
        tensors = safetensors.torch.load_file(self.folder / "state.safetensors")
        with torch.no_grad():
            for i, (fast, slow) in enumerate(zip(self.learning, self.mean)):
                fast.copy_(tensors[f"fast.{i}"])
                slow.copy_(tensors[f"mean.{i}"])
                self.optimiser.state[fast] = {key: tensors[f"{key}.{i}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        history: list[Mapping[str, float]] = told["history"]
        return history

    def save(self, history: list[Mapping[str, float]]) -> None:
        if self.folder is None:
            return
        tensors: dict[str, Tensor] = {}
        for i, (fast, slow) in enumerate(zip(self.learning, self.mean)):
            tensors |= {f"fast.{i}": fast.detach(), f"mean.{i}": slow} | {f"{k}.{i}": v for k, v in self.optimiser.state[fast].items()}
        with write_beside(self.folder) as temporary:
            temporary.mkdir()
            (temporary / "state.safetensors").write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}))
            (temporary / "state.json").write_text(json_text({"of": self.of, "history": history}), encoding="utf-8")


def _organs_and_plants(network: TorchNetwork, photos: PhotoSet, negatives: npt.NDArray[np.uint8] | None, seed: int) -> Card:
    """Fit the heads of organs and of plant or not on the features that were learnt; the card that says whether they were."""
    model, card = network.model, network.card
    pooled = _pooled(network, photos)
    organs = photos.table["organ"].map({organ: i for i, organ in enumerate(ORGANS)}).to_numpy(float)
    said = ~np.isnan(organs)
    if len(np.unique(organs[said])) > 1:
        _set(model.organs, pooled[said], organs[said].astype(int), len(ORGANS))
        card = replace(card, organs=True)
    others = textures(max(200, min(len(photos), 1000)), card.size, seed) if negatives is None else negatives
    if len(others):
        away = np.concatenate([_raw(model, others[i : i + BATCH]) for i in range(0, len(others), BATCH)])
        _set(model.plant, np.concatenate([away, pooled]), np.r_[np.zeros(len(away), int), np.ones(len(pooled), int)], 2)
        card = replace(card, rejects=True)
    return card


def _pooled(network: TorchNetwork, photos: PhotoSet) -> npt.NDArray[np.float32]:
    with Squares(list(photos.table["image"]), network.card.size) as squares:
        return np.concatenate(
            [_raw(network.model, squares[np.arange(i, min(i + BATCH, len(photos)))]) for i in range(0, len(photos), BATCH)]
        )


@torch.inference_mode()
def _raw(model: PhotoClassifier, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    raw: npt.NDArray[np.float32] = model.backbone(model.normalised(as_tensor(pixels, model.mean.device))).float().cpu().numpy()
    return raw


def _set(head: nn.Linear, x: npt.NDArray[np.float32], y: npt.NDArray[np.int64], classes: int) -> None:
    """A logistic regression of standardised features, folded into a head; a class without photos becomes as unlikely as e^-20 makes it."""
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    found = LogisticRegression(C=0.01, max_iter=500, class_weight="balanced").fit((x - middle) / spread, y)
    weight = found.coef_ / spread
    bias = found.intercept_ - weight @ middle
    with torch.no_grad():
        if head.out_features == 1:
            head.weight.copy_(torch.from_numpy(weight.astype(np.float32)))
            head.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
            return
        if len(found.classes_) == 2:
            weight, bias = np.concatenate([0 * weight, weight]), np.r_[0.0, bias]
        head.weight.zero_()
        head.bias.fill_(float(np.min(bias)) - 20.0)
        head.weight[found.classes_] = torch.from_numpy(weight.astype(np.float32))
        head.bias[found.classes_] = torch.from_numpy(bias.astype(np.float32))


def _described(card: Card, told: Outputs | None, validation: PhotoSet | None) -> Card:
    """The card with the day, and, where there are validation photos, their temperature and figures."""
    card = replace(card, made=datetime.now(UTC).date().isoformat())
    if told is None or validation is None:
        return card
    truth = validation.labels
    figures = {
        "photos": float(len(truth)),
        "top1": top_k(told.logits, truth, 1),
        "top5": top_k(told.logits, truth, min(5, told.logits.shape[1])),
    }
    figures |= {"macro_top1": top_k(told.logits, truth, 1, macro=True)}
    if len(truth) < FEWEST:
        return replace(card, figures=figures)
    found = fit_temperature(told.logits, truth, groups=validation.table["observation"].to_numpy())
    figures |= {"ece_before": found.ece_before, "ece": found.ece_after}
    figures["sure"] = float(probabilities(told.logits, found.temperature).max(axis=1).mean())
    return replace(card, temperature=found.temperature, figures=figures)
