"""Training: steps over presence-absence plots and presence-only records, seeded and repeatable to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import PatchReader
from geoplantnet.errors import InputError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm.losses import deep_maxent, presence_absence
from geoplantnet.sdm.model import Architecture, DeepSDM, Normalisation, Tally, repeatable
from geoplantnet.taxonomy.species_list import SpeciesList

Integers = npt.NDArray[np.int64]
BACKGROUND = -1
"""Group of uniform background sites, which stand beside the records of every group."""
BACKGROUND_SHARE = 0.25
"""Background sites in a presence-only batch, per record site."""
Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, message)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stretch of training; the losses of both kinds of record are added with these weights."""

    name: str
    epochs: int
    """Passes over the presence-absence plots (over the presence-only sites when `pa` is 0)."""
    pa: float = 0.0
    """Weight of the presence-absence loss; 0 leaves the plots out."""
    po: float = 0.0
    """Weight of the presence-only loss; 0 leaves the records out."""
    learning_rate: float = 1e-3
    """Peak of a one-cycle cosine schedule."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How to train."""

    steps: tuple[Step, ...]
    batch: int = 64
    """Plots, and as many presence-only sites, a batch."""
    weight_decay: float = 1e-2
    threads: int = 2
    """CPU threads; part of the plan because sums depend on it in the last bit."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """Sites, their predictors and what was found there."""

    patches: PatchReader
    labels: sparse.csr_array
    """(site, species) uint8; a presence-only background site has an empty row."""
    presence_absence: npt.NDArray[np.bool_]
    """(site,): True for a plot whose absences count."""
    group: Integers
    """(site,): which presence-only data set a site belongs to, 0, 1 ...; BACKGROUND for a site without records. Sites of one
    group are each other's target-group background; those of another, where other taxa were looked for, are not."""


def train(
    data: TrainingData,
    *,
    rows: Integers,
    modalities: Sequence[Modality],
    grid: TileGrid,
    species: SpeciesList,
    architecture: Architecture,
    plan: TrainingPlan,
    progress: Progress = lambda done, total, message: None,
) -> DeepSDM:
    """Fit a model on the sites at positions `rows`. The same inputs and plan give the same model, bit for bit.

    Raises InputError when no presence-absence plot is among the rows (nothing could be calibrated).
    """
    plots, records = rows[data.presence_absence[rows]], rows[~data.presence_absence[rows]]
    if not plots.size:
        raise InputError("no presence-absence plots to train on: presence-only records alone cannot give probabilities; add a survey")
    with repeatable(plan.threads):
        return _fit(data, rows, plots, records, modalities, grid, species, architecture, plan, progress)


def _fit(
    data: TrainingData,
    rows: Integers,
    plots: Integers,
    records: Integers,
    modalities: Sequence[Modality],
    grid: TileGrid,
    species: SpeciesList,
    architecture: Architecture,
    plan: TrainingPlan,
    progress: Progress,
) -> DeepSDM:
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    model = DeepSDM(
        modalities=modalities,
        grid=grid,
        species=species,
        normalisation=_normalisation(data.patches, modalities, rng.permutation(rows)[:1000]),
        architecture=architecture,
    )
    with torch.no_grad():
        found = np.asarray(data.labels[plots].sum(axis=0)).ravel()
        prevalence = (found + 0.5) / (plots.size + 1)
        model.bias.copy_(torch.from_numpy(np.log(prevalence / (1 - prevalence)).astype(np.float32)))
    seen = int((data.group[records] != BACKGROUND).sum())
    lengths = [_length(step, plots.size, seen, plan.batch) for step in plan.steps]
    if not sum(lengths):
        raise InputError("no training step has anything to learn from; give a step epochs and records of its kind")
    done, total = 0, sum(lengths)
    for step, length in zip(plan.steps, lengths):
        if not length:
            continue
        optimiser = torch.optim.AdamW(model.parameters(), lr=step.learning_rate, weight_decay=plan.weight_decay)
        # A fifth of the steps warm up, at least one: OneCycleLR divides by the length of that part.
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=step.learning_rate, total_steps=length + 1, pct_start=max(0.2, 2 / (length + 1))
        )
        pa_batches, po_batches = _batches(plots, plan.batch, rng), _group_batches(records, data.group, plan.batch, rng)
        model.train()
        for _ in range(length):
            loss = torch.zeros(())
            for weight, batches, criterion in ((step.pa, pa_batches, presence_absence), (step.po, po_batches, deep_maxent)):
                if weight and (batch := next(batches)).size:
                    labels = torch.from_numpy(data.labels[batch].toarray().astype(np.float32))
                    keep = _modality_dropout(batch.size, len(model.modalities), architecture.modality_dropout, rng)
                    loss = loss + weight * criterion(model(data.patches.read(batch), keep), labels)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            done += 1
            progress(done, total, f"{step.name}, loss {loss.item():.3f}")
    return model.eval()


def predict_sites(model: DeepSDM, patches: PatchReader, rows: Integers, *, batch: int = 256) -> npt.NDArray[np.float32]:
    """Probabilities (len(rows), species) at the sites at positions `rows`."""
    out = np.empty((rows.size, len(model.species)), np.float32)
    with repeatable(), torch.inference_mode():
        for start in range(0, rows.size, batch):
            out[start : start + batch] = torch.sigmoid(model(patches.read(rows[start : start + batch]))).numpy()
    return out


def _length(step: Step, plots: int, records: int, batch: int) -> int:
    sites = plots if step.pa else records if step.po else 0
    return step.epochs * -(-sites // batch)


def _batches(rows: Integers, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Endless batches, every row once a pass, a new order each pass."""
    own = np.random.default_rng(rng.integers(2**63))
    while True:
        order = own.permutation(rows)
        for start in range(0, max(order.size, 1), size):
            yield order[start : start + size]


def _group_batches(rows: Integers, group: Integers, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Endless presence-only batches, each of one group (drawn by its number of sites) with some background beside it."""
    own = np.random.default_rng(rng.integers(2**63))
    groups = [rows[group[rows] == g] for g in np.unique(group[rows]) if g != BACKGROUND]
    background = rows[group[rows] == BACKGROUND]
    if not groups:
        while True:
            yield rows[:0]
    streams = [_batches(members, size, own) for members in groups]
    beside = _batches(background, max(1, round(size * BACKGROUND_SHARE)), own)
    chance = np.array([members.size for members in groups]) / sum(members.size for members in groups)
    while True:
        yield np.concatenate([next(streams[own.choice(len(groups), p=chance)]), next(beside)])


def _modality_dropout(n: int, modalities: int, chance: float, rng: np.random.Generator) -> torch.Tensor:
    """(n, modalities) 0/1: each hidden with `chance`, never all of a sample's."""
    keep = rng.random((n, modalities)) >= chance
    keep[np.arange(n), rng.integers(modalities, size=n)] = True
    return torch.from_numpy(keep.astype(np.float32))


def _normalisation(patches: PatchReader, modalities: Sequence[Modality], rows: Integers) -> dict[str, Normalisation]:
    """Centre and spread over some sites, read a few at a time: patches of imagery are large."""
    ordered = np.sort(rows)
    tallies = {m.name: Tally() for m in modalities if m.normalisation == "standard"}
    for start in range(0, ordered.size, 32):
        read = patches.read(ordered[start : start + 32])
        for name, tally in tallies.items():
            tally.add(read[name].values)
    return {m.name: tallies[m.name].normalisation() if m.name in tallies else Normalisation.none(m) for m in modalities}
