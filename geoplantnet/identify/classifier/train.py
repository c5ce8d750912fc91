"""Train a classifier of photos: its heads alone, the last stages of its backbone too, or all of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.identify import fusion
from geoplantnet.identify.calibration import FEWEST
from geoplantnet.identify.classifier.augment import augmented
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.cosine_head import SCALE, CosineHead
from geoplantnet.identify.classifier.levels import MultiLevelLoss
from geoplantnet.identify.classifier.losses import LOSSES, Loss, make_loss
from geoplantnet.identify.classifier.model import BATCH, PhotoClassifier, TorchNetwork, as_tensor, channels_last
from geoplantnet.identify.classifier.negatives import photos_below, textures
from geoplantnet.identify.classifier.rejection import class_means
from geoplantnet.identify.classifier.state import State
from geoplantnet.identify.evaluation import answers
from geoplantnet.identify.levels import Levels
from geoplantnet.identify.metrics import top_k
from geoplantnet.identify.network import ORGANS, Card, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos.squares import Squares
from geoplantnet.identify.temperature import FOLDS, fit_temperature, probabilities

_ROOM = 8 / 7
"""Side of the squares that photos are cut out of, of the side of the net's input."""
_PROBE = 0.1
"""Inverse strength of the penalty on the weights of a probe of standardised features."""
_SOME = 1_000
"""Photos by which features of a backbone as it came are taken to those of today."""
_NO_PLANT = 0.3
"""Probability of a plant below which a photo is rejected: to turn away somebody's plant is worse than to name a cup."""
_MANY = 1_000_000
"""Species, more than any option of a loss asks for."""
_CACHE = 4_000_000_000
"""Bytes of a frozen part's answers that are kept."""
Transfer = Literal["head", "freeze", "all"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a classifier is trained. Raises ConfigurationError for numbers that cannot be."""

    backbone: str = "efficientnet-lite0"
    size: int | None = None
    """Side of the net's input, pixels; None: what the backbone was made for."""
    transfer: Transfer = "freeze"
    """What learns: the heads alone (a linear probe); these and the last stages; everything."""
    frozen: int | None = None
    """Stages that do not learn under ``freeze``; None: two thirds of them."""
    epochs: int = 8
    batch: int = 32
    lr: float = 2e-3
    """Of the heads, at its highest."""
    backbone_lr: float = 0.25
    """Of the backbone's last stage, beside the heads'; stages before learn more slowly yet."""
    decay: float = 0.7
    """Learning rate of a stage beside that of the next (Howard & Ruder 2018, section 3.2, discriminative fine-tuning)."""
    weight_decay: float = 0.01
    start: Literal["probe", "zero"] = "probe"
    """What the head of species begins as: a logistic regression of the features a taught backbone came with, so that the first steps do not
    spoil these (Kumar et al. 2022, Fine-tuning can distort pretrained features), or nothing."""
    loss: str = "cross_entropy"
    """One of `losses.LOSSES`; margin losses come with a head of cosines."""
    loss_options: Mapping[str, float] = field(default_factory=dict)
    """Other values of what `losses.LOSSES` says may be set."""
    levels: tuple[float, float, float] | None = None
    """Weights of species, genus and family, none negative, where coarser levels are learnt too (`levels.MultiLevelLoss`)."""
    smoothing: float = 0.1
    """Of the labels, under cross-entropy (Szegedy et al. 2016, section 7)."""
    views: int = 4
    """Augmented versions of a photo, where a frozen part's answers are kept; else every epoch has its own."""
    ema: float = 0.98
    """Weights are a running mean of the last 1 / (1 - ema) steps."""
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [name for name in ("epochs", "batch", "views") if getattr(self, name) < 1]
        wrong += [name for name in ("lr", "backbone_lr", "decay") if not getattr(self, name) > 0]
        wrong += ["smoothing"] * (not 0 <= self.smoothing < 1) + ["ema"] * (not 0 <= self.ema < 1)
        wrong += ["transfer"] * (self.transfer not in get_args(Transfer)) + ["start"] * (self.start not in ("probe", "zero"))
        if self.levels is not None:
            wrong += ["levels"] * (not all(0 <= weight < math.inf for weight in self.levels) or not sum(self.levels))
        if wrong:
            raise ConfigurationError(f"training: {wrong[0]} is {getattr(self, wrong[0])}; see what `Training` says of it")
        self.made_loss(np.ones(_MANY))  # a name or option that is none is told now

    @property
    def cosine(self) -> bool:
        """Whether the head's logits are cosines times a factor, as the loss asks."""
        return LOSSES[self.loss].cosine if self.loss in LOSSES else False

    def made_loss(self, counts: npt.ArrayLike, generator: torch.Generator | None = None) -> Loss:
        """The loss for photos a species (species,). Raises ConfigurationError for a name or option that is none."""
        smoothing = {"smoothing": self.smoothing} if self.loss == "cross_entropy" else {}
        return make_loss(self.loss, counts, scale=SCALE if self.cosine else 1.0, generator=generator, **{**smoothing, **self.loss_options})


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
    without_plants: str | os.PathLike[str] | None = None,
    begun: Begun | None = None,
    name: str = "classifier",
    version: str = "1",
    resume: Path | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    device: str = "cpu",
) -> Fitted:
    """Train on all of `photos`; temperature and figures come from `validation`, of which nothing else is learnt.

    `negatives` (n, size, size, 3) show no plant; None: made-up textures, and the photos below the folder `without_plants`. `loss` replaces the one that `training` names. `begun`: what `begin` made of these photos among
    others. `resume` is a folder where the state is kept after every epoch: the same call goes on from there, with the same result as one that was
    never stopped. Raises InputError for a set without photos, or with one species.
    """
    if len(np.unique(photos.labels)) < 2:
        raise InputError(
            f"{len(photos)} photos of {len(np.unique(photos.labels))} species; a classifier needs photos of two species at least"
        )
    model = _untrained(training, len(photos.species), name, version, device)
    if negatives is None:  # before hours of learning: a folder may be misspelled
        negatives = textures(min(max(200, len(photos) // 4), 1000), model.card.size, training.seed)
        if without_plants is not None:
            negatives = np.concatenate([negatives, photos_below(without_plants, model.card.size)])
    own = begun if begun is not None else begin(photos, training, device=device)
    with Squares(list(photos.table["image"]), round(model.card.size * _ROOM)) as squares:
        batches = _Batches(model, photos, squares, training, own)
        state = State(resume, asdict(training), photos)
        if training.start == "probe" and model.backbone.taught and not state.kept:
            _set(model.species, _pooled(model, photos, training, own), photos.labels, _PROBE)
        noise = torch.Generator(device)
        judge = loss or training.made_loss(photos.counts, noise)
        if training.levels is not None:
            judge = MultiLevelLoss(Levels.of(photos.species), species=judge, weights=training.levels)
        history = _learn(model, batches, training, judge, noise, state, on_epoch)
    network = TorchNetwork(model, photos.species)
    _organs_and_plants(model, photos, negatives, training, own)
    told = predict(network, validation, begun) if validation is not None and len(validation) else None
    model.card = _described(model.card, told, validation)
    return Fitted(network=network, history=tuple(history), validation=told)


@torch.inference_mode()
def predict(network: TorchNetwork, photos: PhotoSet, begun: Begun | None = None) -> Outputs:
    """What a net says of the photos of a set, prepared as online; from what was `begun` of them where that is given, in half precision then."""
    if begun is not None:
        pooled = torch.from_numpy(_pooled(network.model, photos, begun.training, begun)).to(network.model.mean.device)
        told = network.model.heads(pooled)
        return Outputs(**{key: getattr(told, key).float().cpu().numpy() for key in told._fields})
    return answers(network, photos)


def stages_frozen(training: Training, stages: int) -> int:
    """How many of a backbone's stages do not learn. Raises ConfigurationError for more than there are."""
    if training.transfer != "freeze":
        return stages if training.transfer == "head" else 0
    frozen = training.frozen if training.frozen is not None else stages * 2 // 3
    if not 0 <= frozen <= stages:
        raise ConfigurationError(f"training: frozen is {frozen}, and {training.backbone} has {stages} stages")
    return frozen


@dataclass(frozen=True, kw_only=True, eq=False)
class Begun:
    """What the frozen stages make of photos, kept: of augmented versions to learn from, and of the photos as they are. Made by `begin`."""

    training: Training
    """Whose backbone, size, frozen stages and seed it is of."""
    position: Mapping[str, int]
    """Of each photo, by its address."""
    views: tuple[Tensor, ...]
    """(photos, ...) of each augmented version, half precision."""
    plain: Tensor
    """(photos, ...)."""

    def rows(self, photos: PhotoSet, training: Training) -> Tensor:
        """(n,): where the photos of a set lie. Raises InputError for a photo that is not there, or another frozen part."""
        odd = [n for n in ("backbone", "size", "transfer", "frozen", "seed") if getattr(training, n) != getattr(self.training, n)]
        missing = [image for image in photos.table["image"] if image not in self.position]
        if odd or missing:
            raise InputError(f"what was begun is of {'another ' + odd[0] if odd else 'other photos than ' + missing[0]}; begin it anew")
        return torch.tensor([self.position[image] for image in photos.table["image"]])


def begin(photos: PhotoSet, training: Training, *, device: str = "cpu") -> Begun | None:
    """Run the frozen stages once over photos that several trainings share, such as the folds of a set.

    None where nothing is frozen, or it is too much to keep (4 GB); `fit` then looks at every photo anew in every epoch.
    """
    model = _untrained(training, len(photos.species), "classifier", "1", device)
    with Squares(list(photos.table["image"]), round(model.card.size * _ROOM)) as squares:
        views = _augmented_views(model, squares, len(photos), training)
    if views is None:
        return None
    plain = torch.cat(list(_plain(model, photos, stages_frozen(training, len(model.backbone.stages)))))
    return Begun(training=training, position={image: i for i, image in enumerate(photos.table["image"])}, views=tuple(views), plain=plain)


def _untrained(training: Training, n_species: int, name: str, version: str, device: str) -> PhotoClassifier:
    torch.manual_seed(training.seed)
    backbone = make_backbone(training.backbone)
    card = Card(
        name=name, version=version, backbone=training.backbone, size=training.size or backbone.size, mean=backbone.mean, std=backbone.std
    )
    model = channels_last(PhotoClassifier(backbone, n_species, card, cosine=training.cosine).to(device).eval())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _augmented_views(model: PhotoClassifier, squares: Squares, n: int, training: Training) -> list[Tensor] | None:
    """What the frozen stages make of every version of every photo; None where nothing is frozen, or that is too much to keep."""
    frozen, views = stages_frozen(training, len(model.backbone.stages)), min(training.views, training.epochs)
    if not frozen:
        return None
    kept: list[Tensor] = []
    for view in range(views):
        generator = torch.Generator().manual_seed(training.seed * 100_003 + 50_000 + view)
        parts: list[Tensor] = []
        for rows in torch.arange(n).split(BATCH):
            parts.append(_begun(model, squares, rows, frozen, generator).to(torch.float16).cpu())
            if not kept and parts[0][0].numel() * 2 * n * (views + 1) > _CACHE:
                return None
        kept.append(torch.cat(parts))
    return kept


@torch.no_grad()
def _begun(model: PhotoClassifier, squares: Squares, rows: Tensor, frozen: int, generator: torch.Generator) -> Tensor:
    seen = augmented(as_tensor(squares[rows.numpy()]), model.card.size, generator)
    seen = seen.to(model.mean.device, memory_format=torch.channels_last)
    return model.backbone.begin(model.normalised(seen), frozen)


@torch.no_grad()
def _plain(model: PhotoClassifier, photos: PhotoSet, stages: int) -> Iterator[Tensor]:
    """What the first stages make of photos as they are, in half precision, a batch after another."""
    with Squares(list(photos.table["image"]), model.card.size) as squares:
        for i in range(0, len(photos), BATCH):
            pixels = as_tensor(squares[np.arange(i, min(i + BATCH, len(photos)))], model.mean.device)
            yield model.backbone.begin(model.normalised(pixels), stages).to(torch.float16).cpu()


@torch.no_grad()
def _pooled(model: PhotoClassifier, photos: PhotoSet, training: Training, begun: Begun | None) -> npt.NDArray[np.float32]:
    """(n, d): the backbone's features of photos as they are."""
    frozen = stages_frozen(training, len(model.backbone.stages))
    parts = _plain(model, photos, frozen) if begun is None else iter(begun.plain[begun.rows(photos, training)].split(BATCH))
    device = model.mean.device
    return np.concatenate([model.backbone.end(part.to(device, torch.float32), frozen).cpu().numpy() for part in parts])


class _Batches:
    """Augmented photos as the first stage that learns sees them, in an order that the seed and the epoch say."""

    def __init__(self, model: PhotoClassifier, photos: PhotoSet, squares: Squares, training: Training, begun: Begun | None) -> None:
        self.model, self.squares, self.training = model, squares, training
        self.frozen = stages_frozen(training, len(model.backbone.stages))
        self.labels = torch.tensor(photos.labels)
        self.steps = math.ceil(len(photos) / training.batch)
        self._rows = begun.rows(photos, training) if begun is not None else torch.arange(len(photos))
        self._kept = begun.views if begun is not None else ()

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every photo once: what the frozen stages make of it, and its label."""
        generator = torch.Generator().manual_seed(self.training.seed * 100_003 + epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        device = self.model.mean.device
        kept = self._kept[epoch % len(self._kept)] if self._kept else None
        for rows in order.tensor_split(self.steps):  # of equal size: a norm learns nothing from one photo that is left over
            if kept is None:
                x = _begun(self.model, self.squares, rows, self.frozen, generator)
            else:
                x = kept[self._rows[rows]].to(device, torch.float32)
            yield x, self.labels[rows].to(device)


def _learn(
    model: PhotoClassifier,
    batches: _Batches,
    training: Training,
    judge: Loss,
    noise: torch.Generator,
    state: State,
    on_epoch: Callable[[int, float], None],
) -> list[Mapping[str, float]]:
    groups = _groups(model, training, batches.frozen)
    optimiser = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    learning = [parameter for group in groups for parameter in group["params"]]
    mean = [parameter.detach().clone() for parameter in learning]
    norms = [] if model.backbone.taught else list(model.backbone.buffers())
    history = state.load(learning, [*mean, *norms], optimiser)
    n, steps = len(batches.labels), training.epochs * batches.steps
    for epoch in range(len(history), training.epochs):
        total = 0.0
        noise.manual_seed(training.seed * 100_003 + 70_000 + epoch)  # so that an epoch is the same after a stop
        model.backbone.stages[batches.frozen :].train(not model.backbone.taught)
        for step, (x, labels) in enumerate(batches.epoch(epoch), start=epoch * batches.steps):
            share = _schedule(step, steps)
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * share
            value = judge(model.species(model.backbone.end(x, batches.frozen)), labels, step / steps)
            if not torch.isfinite(value):  # before it spoils the weights, and what is kept of them
                raise ConfigurationError(
                    f"training: the loss of epoch {epoch + 1} is {value.item()}, the net has run away; give a lower lr than {training.lr:g}, or a loss of smaller margins"
                )
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            keep = min(training.ema, (1 + step) / (10 + step))  # the first steps are soon forgotten
            with torch.no_grad():
                for slow, fast in zip(mean, learning):
                    slow.lerp_(fast, 1 - keep)
            total += value.item() * len(labels)
        history.append({"epoch": epoch + 1, "loss": total / n})
        state.save(history, learning, [*mean, *norms], optimiser)
        on_epoch(epoch + 1, total / n)
    model.eval()
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
    """Parameters that learn, with their highest rate."""
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


def teach_to_reject(
    network: TorchNetwork, photos: PhotoSet, negatives: npt.NDArray[np.uint8], training: Training, *, begun: Begun | None = None
) -> None:
    """Fit the head of plant or not anew, and nothing else: from photos of plants, of what shows none (n, size, size, 3), and from `rejection`."""
    _teach_plants(network.model, photos, _pooled(network.model, photos, training, begun), negatives, training, begun)


def _teach_plants(
    model: PhotoClassifier,
    photos: PhotoSet,
    pooled: npt.NDArray[np.float32],
    negatives: npt.NDArray[np.uint8],
    training: Training,
    begun: Begun | None,
) -> None:
    away = _raw(model, negatives)
    came, shown = make_backbone(training.backbone), pooled[:0]
    if came.classes is not None:
        some = np.unique(np.linspace(0, len(photos) - 1, min(len(photos), _SOME)).astype(int))
        untaught = channels_last(PhotoClassifier(came, 1, model.card).to(model.mean.device).eval())
        before = np.concatenate([_raw(untaught, negatives), _pooled(untaught, photos.subset(some), training, begun)])
        shown, none = class_means(came.classes.numpy(), before, np.concatenate([away, pooled[some]]))
        away = np.concatenate([away, none])
    # Plants of other kinds count as much as the own ones: else what is unlike these would be no plant.
    weights = [np.full(len(part), 1 / len(part) / share) for part, share in ((away, 1), (pooled, 2), (shown, 2)) if len(part)]
    y = np.r_[np.zeros(len(away), int), np.ones(len(pooled) + len(shown), int)]
    _set(model.plant, np.concatenate([away, pooled, shown]), y, weights=np.concatenate(weights))
    model.card = replace(model.card, rejects=True, plant_threshold=_NO_PLANT)


def _organs_and_plants(
    model: PhotoClassifier, photos: PhotoSet, negatives: npt.NDArray[np.uint8], training: Training, begun: Begun | None
) -> None:
    """Fit the heads of organs and of plant or not on the features that were learnt; the card says whether they were."""
    pooled = _pooled(model, photos, training, begun)
    organs = photos.table["organ"].map({organ: i for i, organ in enumerate(ORGANS)}).to_numpy(float)
    said = ~np.isnan(organs)
    if len(np.unique(organs[said])) > 1:
        _set(model.organs, pooled[said], organs[said].astype(int))
        model.card = replace(model.card, organs=True)
    if len(negatives):
        _teach_plants(model, photos, pooled, negatives, training, begun)


@torch.inference_mode()
def _raw(model: PhotoClassifier, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, d): the backbone's features of squares."""
    parts = [model.backbone(model.normalised(as_tensor(pixels[i : i + BATCH], model.mean.device))) for i in range(0, len(pixels), BATCH)]
    return np.asarray(torch.cat(parts).float().cpu().numpy(), np.float32)


def _set(
    head: nn.Linear | CosineHead,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    strength: float = 0.01,
    weights: npt.NDArray[np.float64] | None = None,
) -> None:
    """A logistic regression of standardised features, folded into a head; a class without photos becomes as unlikely as e^-20 makes it.

    `weights` (n,): of each photo within its class; None: all alike. Each class weighs as much as another.

    A head of cosines takes its directions alone, the biases laid into the weights along the mean feature.
    """
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    each = np.ones(len(y)) if weights is None else weights
    classes, of = np.unique(y, return_inverse=True)
    each = each / np.bincount(of, each)[of] * len(y) / len(classes)
    found = LogisticRegression(C=strength, max_iter=500).fit((x - middle) / spread, y, sample_weight=each)
    weight = found.coef_ / spread
    bias = found.intercept_ - weight @ middle
    if len(found.classes_) == 2 and head.weight.shape[0] > 1:
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.r_[-bias / 2, bias / 2]
    rows = found.classes_ if head.weight.shape[0] > 1 else np.zeros(1, int)
    with torch.no_grad():
        if isinstance(head, CosineHead):
            laid = weight + bias[:, None] * middle / max(float(middle @ middle), 1e-12)
            head.weight[rows] = functional.normalize(torch.from_numpy(laid.astype(np.float32)), dim=1)
            return
        head.weight.zero_()
        head.bias.fill_(float(np.min(bias)) - 20.0)
        head.weight[rows] = torch.from_numpy(weight.astype(np.float32))
        head.bias[rows] = torch.from_numpy(bias.astype(np.float32))


def _described(card: Card, told: Outputs | None, validation: PhotoSet | None) -> Card:
    """The card with the day, and, where there are validation photos, their temperature and figures."""
    card = replace(card, made=datetime.now(UTC).date().isoformat())
    if told is None or validation is None:
        return card
    truth = validation.labels
    figures = {
        "photos": float(len(truth)),
        "top1": top_k(told.logits, truth, 1),
        "macro_top1": top_k(told.logits, truth, 1, macro=True),
    }
    if told.logits.shape[1] >= 5:
        figures["top5"] = top_k(told.logits, truth, 5)
    if card.rejects:
        figures["rejected_plants"] = float((told.plant < card.plant_threshold).mean())
    if len(truth) < FEWEST or validation.table["observation"].nunique() < FOLDS:
        return replace(card, figures=figures)
    found = fit_temperature(told.logits, truth, groups=validation.table["observation"].to_numpy())
    figures |= {"ece_before": found.ece_before, "ece": found.ece_after}
    figures["sure"] = float(probabilities(told.logits, found.temperature).max(axis=1).mean())
    return _with_views(replace(card, temperature=found.temperature, figures=figures), told, validation)


def _with_views(card: Card, told: Outputs, validation: PhotoSet) -> Card:
    """The card with what validation photos say of putting several of one plant together; as it is where too few plants have several."""
    table = validation.table
    plant = (
        table["observation"].astype(str) + "/" + table["species"].astype(str)
    )  # photos of one observation that two people labelled apart are apart
    if int((plant.value_counts() > 1).sum()) < fusion.FEWEST:
        return card
    views = fusion.learn_views(told, validation.labels, plant.to_numpy(), table["organ"].tolist(), card=card)
    return replace(card, view_weights=views.weights, view_gain=views.gain)
