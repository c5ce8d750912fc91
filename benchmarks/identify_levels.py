"""Losses on a long tail, partitions with few experts asked, labels of a coarser rank, and sets of answers that keep their promise.

    python -m benchmarks.identify_levels [--quick] --json FILE

Heads on EfficientNet-Lite0's features of the photos of `plants` (29 labels, 60 photos each): what is compared is the last layer, not the whole net. The
15 test photos of each label are the same in every run and are used for no choice; a run draws which labels are rare, and which photos are seen.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.stats import t as student
from torch import nn

from benchmarks.rows import Row, main
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.cosine_head import CosineHead
from geoplantnet.identify.classifier.levels import MultiLevelLoss
from geoplantnet.identify.classifier.losses import LOSSES, Loss, make_loss
from geoplantnet.identify.classifier.partition import PartitionedHead
from geoplantnet.identify.evaluation import twins_together
from geoplantnet.identify.levels import Levels
from geoplantnet.identify.metrics import expected_calibration_error, set_figures, set_rule, top_k
from geoplantnet.identify.partition import Partition, at_random, by_confusion, by_level, mean_answers
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos import square
from geoplantnet.identify.temperature import best_temperature, probabilities

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
TEST = 15
"""Photos of each label that are held out."""
MOST, FEWEST = 45, 2
"""Training photos of the commonest and of the rarest label of a long tail; between them they fall exponentially."""
COSINE = "cross_entropy, cosine head"
"""What margin losses are to be told from: their head without their margins."""
TRIED: dict[str, tuple[dict[str, float], ...]] = {
    "cross_entropy": ({}, {"smoothing": 0.1}),
    COSINE: ({}, {"smoothing": 0.1}),
    "focal": ({"gamma": 1.0}, {"gamma": 2.0}),
    "ldam": ({"largest": 0.2}, {"largest": 0.5}),
    "ldam_drw": ({"largest": 0.2}, {"largest": 0.5}),
    "top_k": tuple({"k": k, "noise": noise} for k, noise in itertools.product((1, 5), (0.3, 1.0))),
    "imbalanced_top_k": tuple({"k": k, "noise": 0.03, "largest": largest} for k, largest in itertools.product((1, 3), (0.2, 0.4))),
    "cross_entropy, for five": ({}, {"smoothing": 0.1}),
    "top_k, for five": tuple({"k": 5, "noise": noise} for noise in (0.1, 0.3, 1.0)),
    "imbalanced_top_k, for five": tuple({"k": 5, "noise": 0.03, "largest": largest} for largest in (0.2, 0.4, 0.8)),
}
"""Options of each loss; the best on photos out of the training photos is measured, by macro top-1, or by macro top-5 where it is meant for five."""


class Photos(NamedTuple):
    """Features of photos of the same labels."""

    x: torch.Tensor
    """(n, d), standardised."""
    y: npt.NDArray[np.int64]
    levels: Levels

    def rows(self, rows: npt.NDArray[np.intp]) -> Photos:
        return Photos(self.x[torch.from_numpy(rows)], self.y[rows], self.levels)


def rows(quick: bool) -> list[Row]:
    torch.set_num_threads(1)
    photos = _photos()
    runs = 2 if quick else 5
    test, rest = _split(photos.y, TEST, seed=0)
    held_out, pool = photos.rows(test), photos.rows(rest)
    return [
        *_losses(pool, held_out, runs),
        *_partitions(pool, held_out, runs),
        *_coarse_labels(pool, held_out, runs),
        *_sets(pool, held_out, runs),
    ]


def _losses(pool: Photos, held_out: Photos, runs: int) -> list[Row]:
    """Macro accuracy of each loss, beside cross-entropy in the same runs."""
    chosen, promised = {}, {}
    for name, tried in TRIED.items():
        scores = []
        for options in tried:
            tuning = []
            for seed in (100, 101):
                inner, outer = _split(pool.y, 9, seed)
                tail, _ = _long_tail(pool.y[outer], seed, MOST - 9)
                judged = _told(_loss_head(pool.rows(outer[tail]), name, options, seed), pool.rows(inner))
                tuning.append(top_k(judged, pool.y[inner], 5 if "for five" in name else 1, macro=True))
            scores.append(np.mean(tuning))
        chosen[name], promised[name] = tried[int(np.argmax(scores))], max(scores)
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in TRIED}
    for seed in range(runs):
        tail, order = _long_tail(pool.y, seed, MOST)
        rare = np.isin(held_out.y, order[-len(order) // 3 :])
        for name, options in chosen.items():
            told = _told(_loss_head(pool.rows(tail), name, options, seed), held_out)
            seen[name].append(
                (
                    top_k(told, held_out.y, macro=True),
                    top_k(told[rare], held_out.y[rare], macro=True),
                    top_k(told, held_out.y, 5, macro=True),
                )
            )
    plain = np.array(seen["cross_entropy"])
    found = []
    for name, figures in seen.items():
        options = ", ".join(f"{k} {v:g}" for k, v in chosen[name].items()) or "as it is"
        for i, what in enumerate(("macro top-1", "macro top-1 of the rarest third", "macro top-5")):
            values = np.array(figures)[:, i]
            more = values - plain[:, i]
            beside = (
                f"cross-entropy {plain[:, i].mean():.3f}; difference {_spread(more)}"
                if name != "cross_entropy"
                else f"± {values.std():.3f} over runs"
            )
            found.append(Row(name=f"long tail: {name} ({options}), {what}", value=float(values.mean()), unit="", reference=beside))
    best = max((n for n in seen if n not in ("cross_entropy", COSINE) and "for five" not in n), key=lambda n: promised[n])
    for against in ("cross_entropy", COSINE):
        gain = np.array(seen[best])[:, 1] - np.array(seen[against])[:, 1]
        found.append(
            Row(
                name=f"long tail: rarest third, the loss that tuning found best ({best}) over {against}",
                value=float(gain.mean()),
                unit="",
                reference=f"{_spread(gain)}, {runs} runs",
                target="> 0, 95 %",
                ok=_above(gain),
            )
        )
    return found


def _partitions(pool: Photos, held_out: Photos, runs: int) -> list[Row]:
    """Top-1 and rows of weights multiplied, of each partition by experts asked, beside a flat head on the same photos."""
    species = pool.levels.species
    groups = len(pool.levels.family.names)
    flat, seen, cost = [], dict[tuple[str, str], list[float]](), dict[tuple[str, str], list[float]]()
    for seed in range(runs):
        inner, outer = _split(pool.y, 15, seed)
        part = _loss_head(pool.rows(outer), "cross_entropy", {}, seed)
        confusion = mean_answers(probabilities(_told(part, pool.rows(inner))), pool.y[inner])
        flat.append(top_k(_told(_loss_head(pool, "cross_entropy", {}, seed), held_out), held_out.y))
        ways = {
            f"families ({groups})": by_level(pool.levels.family),
            f"confusion ({groups})": by_confusion(confusion, groups),
            f"at random ({groups})": at_random(species, groups, seed=seed),
            "confusion (6)": by_confusion(confusion, 6),
            "at random (6)": at_random(species, 6, seed=seed),
        }
        for way, partition in ways.items():
            head = _partition_head(pool, partition, seed)
            for k in (1, 2, None):
                told, asked = head.answer(held_out.x, k)
                sizes = np.bincount(partition.of)
                at = (way, "all" if k is None else str(k))
                seen.setdefault(at, []).append(top_k(told, held_out.y))
                cost.setdefault(at, []).append((len(sizes) + (asked @ sizes).mean()) / species)
    found = []
    for (way, k), values in seen.items():
        fewer = f"flat head {np.mean(flat):.3f}; difference {_spread(np.array(values) - flat)}; {np.mean(cost[way, k]):.2f} of its rows"
        found.append(Row(name=f"partition: {way}, experts asked {k}, top-1", value=float(np.mean(values)), unit="", reference=fewer))
    for size in (groups, 6):
        gain = np.array(seen[f"confusion ({size})", "1"]) - seen[f"at random ({size})", "1"]
        found.append(
            Row(
                name=f"partition: one expert of {size}, by confusion over at random, top-1",
                value=float(gain.mean()),
                unit="",
                reference=f"{_spread(gain)}, {runs} runs",
                target="> 0, 95 %",
                ok=_above(gain),
            )
        )
    return found


def _coarse_labels(pool: Photos, held_out: Photos, runs: int) -> list[Row]:
    """Three photos a label say their species, the others their family alone: what these add, beside leaving them out.

    The 29 labels are of 14 families, so a family says much here; in a flora it says less.
    """
    family = pool.levels.family
    without, with_them = [], []
    for seed in range(runs):
        told, coarse = _split(pool.y, 3, seed)
        few = pool.rows(told)
        codes = np.concatenate([few.y, [pool.levels.code("family", int(f)) for f in family.of[pool.y[coarse]]]]).astype(np.int64)
        both = Photos(torch.cat([few.x, pool.x[torch.from_numpy(coarse)]]), codes, pool.levels)
        for answers, train in ((without, few), (with_them, both)):
            head = nn.Linear(pool.x.shape[1], pool.levels.species)
            p = probabilities(_told(_learn(head, train, MultiLevelLoss(pool.levels), seed), held_out))
            answers.append((top_k(p, held_out.y), top_k(family.sums(p), family.of[held_out.y])))
    gain = np.array(with_them) - np.array(without)
    return [
        Row(
            name=f"coarse labels: 3 photos a species and {MOST - 3} of its family, {rank} top-1",
            value=float(np.mean([w[i] for w in with_them])),
            unit="",
            reference=f"without them {np.mean([w[i] for w in without]):.3f}; difference {_spread(gain[:, i])}",
            target="above without, 95 %",
            ok=_above(gain[:, i]),
        )
        for i, rank in enumerate(("species", "family"))
    ]


def _sets(pool: Photos, held_out: Photos, runs: int) -> list[Row]:
    """Temperature and sets learnt on half of the held-out photos and judged on the other half, of a head that saw 8 photos a label."""
    judged: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []
    covered: dict[float, list[tuple[float, float]]] = {}
    for seed in range(runs):
        few, _ = _split(pool.y, 8, seed)
        logits = _told(_loss_head(pool.rows(few), "cross_entropy", {}, seed), held_out)
        for half in range(4):
            learn, judge = _split(held_out.y, TEST // 2, seed * 4 + half)
            p, y = probabilities(logits, best_temperature(logits[learn], held_out.y[learn])), held_out.y
            judged.append((probabilities(logits[judge]), p[judge], y[judge]))
            for wanted in (0.8, 0.9, 0.95):
                told = set_figures(p[judge], y[judge], set_rule("coverage", wanted, p[learn], y[learn]))
                covered.setdefault(wanted, []).append((told["coverage"], told["size"]))
    raw, calibrated, truth = (np.concatenate(part) for part in zip(*judged, strict=True))
    before, after = expected_calibration_error(raw, truth), expected_calibration_error(calibrated, truth)
    accuracy = top_k(raw, truth)
    found = [
        Row(
            name="calibration: ECE after temperature, all runs' answers together",
            value=after,
            unit="",
            reference=f"before {before:.3f}",
            target="below before",
            ok=after < before,
        )
    ]
    for wanted, seen in covered.items():
        share, size = np.array(seen).T
        error = share.std() / np.sqrt(len(share))
        found.append(
            Row(
                name=f"sets: coverage where {wanted:.0%} is wanted",
                value=float(share.mean()),
                unit="",
                reference=f"{size.mean():.2f} species a set; first answer alone {accuracy:.3f}; {_spread(share)}",
                target=f">= {wanted:g}, but for chance",
                ok=bool(share.mean() >= wanted - 2 * error),
            )
        )
    return found


def _loss_head(photos: Photos, name: str, options: dict[str, float], seed: int) -> nn.Module:
    d, species = photos.x.shape[1], photos.levels.species
    torch.manual_seed(seed)
    called = name.partition(",")[0]
    head = CosineHead(d, species) if name == COSINE or LOSSES[called].cosine else nn.Linear(d, species)
    counts = np.bincount(photos.y, minlength=species)
    loss = make_loss(called, counts, scale=getattr(head, "scale", 1.0), **options)
    return _learn(head, photos, loss, seed)


def _partition_head(photos: Photos, partition: Partition, seed: int) -> PartitionedHead:
    torch.manual_seed(seed)
    counts = np.bincount(photos.y, minlength=photos.levels.species)
    head = PartitionedHead(photos.x.shape[1], partition.with_counts(counts))
    _learn(head, photos, make_loss("cross_entropy", counts), seed)
    return head


def _learn(head: nn.Module, photos: Photos, loss: Loss, seed: int, epochs: int = 40, batch: int = 64) -> nn.Module:
    """Adam with weight decay and a falling rate; the same for every loss."""
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), 2e-3, weight_decay=0.1)
    steps = epochs * -(-len(photos.y) // batch)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    target = torch.from_numpy(photos.y)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(target)).split(batch):
            optimiser.zero_grad()
            loss(head(photos.x[chosen]), target[chosen], epoch / epochs).backward()
            optimiser.step()
            falling.step()
    return head


@torch.no_grad()
def _told(head: nn.Module, photos: Photos) -> npt.NDArray[np.float32]:
    return head(photos.x).numpy()


def _split(y: npt.NDArray[np.int64], each: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positions of so many photos of each label, and of the others."""
    rng = np.random.default_rng(seed)
    first = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:each] for label in np.unique(y)])
    return first, np.setdiff1d(np.arange(len(y)), first)


def _long_tail(y: npt.NDArray[np.int64], seed: int, most: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Positions of photos whose labels' numbers fall from `most` to `FEWEST`, and the labels from the commonest on, in an order drawn."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(y))
    counts = np.round(np.geomspace(most, FEWEST, len(order))).astype(int)
    return np.concatenate([rng.permutation(np.flatnonzero(y == label))[:n] for label, n in zip(order, counts, strict=True)]), order


def _above(gain: npt.NDArray[np.float64]) -> bool:
    """Whether the lower end of the 95 % of a mean over runs, by Student's t, is above 0."""
    return bool(gain.mean() - student.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain)) > 0)


def _spread(values: npt.ArrayLike) -> str:
    v = np.asarray(values, float)
    return (
        f"{v.mean():+.3f} ± {v.std(ddof=1) / np.sqrt(len(v)):.3f}"
        if v.min() < 0 or v.max() < 0.5
        else f"{v.mean():.3f} ± {v.std(ddof=1) / np.sqrt(len(v)):.3f}"
    )


def _photos() -> Photos:
    """Features at 224 pixels, kept beside other temporary files: a minute or two of a core. Of photos that are stored twice, one."""
    told = PhotoSet.read_metadata(DATA / "plants" / "metadata.csv")
    file = Path(tempfile.gettempdir()) / "geoplantnet-plants-lite0.npz"
    if not file.is_file():
        np.savez(file, features=_features(list(told.table["image"])), files=np.array([Path(image).name for image in told.table["image"]]))
    kept = np.load(file)
    at = {Path(str(name)).name: i for i, name in enumerate(kept["files"])}
    x = kept["features"][[at[Path(image).name] for image in told.table["image"]]]
    once = np.sort(np.unique(twins_together(told, x).table["observation"], return_index=True)[1])
    x, told = x[once], told.subset(once)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    return Photos(torch.from_numpy(x.astype(np.float32)), told.labels, Levels.of(told.species))


@torch.inference_mode()
def _features(images: Sequence[str]) -> npt.NDArray[np.float32]:
    net = make_backbone("efficientnet-lite0").eval().to(memory_format=torch.channels_last)
    parts = []
    for start in range(0, len(images), 16):
        pixels = np.stack([square(np.asarray(Image.open(image).convert("RGB")), 224) for image in images[start : start + 16]])
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
        parts.append(net((x - 127) / 128).numpy())
    return np.concatenate(parts)


if __name__ == "__main__":
    main(rows)
