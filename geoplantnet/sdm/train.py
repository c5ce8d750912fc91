"""Training: steps over presence-absence plots and presence-only records, seeded, repeatable to the bit, resumable."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor, nn

from geoplantnet.errors import ConfigurationError, InputError, ModelError, UsageError, did_you_mean
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm.batches import GroupPasses, Passes, Stream
from geoplantnet.sdm.devices import Accelerator, Precision, fabric_of, others
from geoplantnet.sdm.losses import LOSSES, Batch, rarity
from geoplantnet.sdm.model import Architecture, DeepSDM, Normalisation, Tally, repeatable
from geoplantnet.sdm.resume import Journal, Position, digest
from geoplantnet.sdm.sites import BACKGROUND, Float, Integers, Patches, Sites, positions

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, message), batches of all steps, after every batch."""
CENTRE_SITES = 2000
"""Most sites of presence-only records over which relative suitability is centred."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stretch of training; the losses of both kinds of record are added with these weights.

    A step that finds no site to learn from is left out; so is one with pseudo-labels where there are no plots, since a label
    needs a probability. Raises UsageError for a loss that does not exist or thresholds out of order.
    """

    name: str
    epochs: int = 0
    """Passes over the presence-absence plots (over the presence-only sites when `pa` is 0, or there are no plots)."""
    updates: int | None = None
    """So many batches, rounded up to whole passes. Beside `epochs` the step ends with whichever comes first: many passes over few plots
    learn them by heart."""
    pa: float = 0.0
    """Weight of the presence-absence loss; 0 leaves the plots out."""
    po: float = 0.0
    """Weight of the presence-only loss; 0 leaves the records out."""
    learning_rate: float = 1e-3
    """Peak of a one-cycle cosine schedule."""
    loss: str = "deep_maxent"
    """Presence-only loss, one of `losses.LOSSES`."""
    pseudo: tuple[float, float] | None = None
    """(low, high): learn the records as plots instead. Where the model as it stands when the step begins gives p < low a species
    is absent, where p > high or it was recorded it is present, between it does not count (GeoLifeCLEF 2024: .05, .4)."""

    def __post_init__(self) -> None:
        if self.epochs < 0 or (self.updates is not None and self.updates < 1) or not (self.epochs or self.updates):
            raise UsageError(f"step {self.name!r}: give it epochs or updates above 0, or both: then it ends with whichever comes first")
        if self.loss not in LOSSES:
            raise UsageError(f"step {self.name!r}: no loss {self.loss!r}; there are {', '.join(LOSSES)}.{did_you_mean(self.loss, LOSSES)}")
        if self.pseudo is not None and not (self.po and 0 <= self.pseudo[0] < self.pseudo[1] <= 1):
            raise UsageError(
                f"step {self.name!r}: pseudo needs 0 <= low < high <= 1 and a weight `po` above 0, got {self.pseudo}, po {self.po}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How to train. Raises ConfigurationError for a value that is none."""

    steps: tuple[Step, ...]
    batch: int = 64
    """Plots, and as many presence-only sites, a batch; of all devices together."""
    weight_decay: float = 1e-2
    threads: int = 2
    """CPU threads; part of the plan because sums depend on it in the last bit."""
    seed: int = 0
    ema: float | None = None
    """Decay of the moving average of weights that makes the model, over the batches of the last step; None = the last weights."""
    species_block: int = 4096
    """Species at a time in a loss; fewer cost less memory and more time. Up to so many are taken whole."""
    background_mass: float | None = None
    """Uniform background beside records weighs as much as so many of their sites: few surveyed sites lean on it, many on each other
    (the target-group background shrunk towards the uniform one); None = a quarter of the records' sites."""
    sampled_species: int | None = None
    """Species drawn for a batch of plots beside those found on them, each standing for its share of the rest; None = all."""
    precision: Precision = "32"
    """"bf16": matrix products and convolutions in bfloat16, weights and sums in float32."""
    accelerator: Accelerator = "auto"
    devices: int = 1
    """Devices of this machine; a batch is shared out among them, so presence-only softmaxes see a device's share of the sites."""

    def __post_init__(self) -> None:
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigurationError(f"ema must lie between 0 and 1 (0.999 is usual), got {self.ema}")
        for field, value, allowed in (
            ("precision", self.precision, get_args(Precision)),
            ("accelerator", self.accelerator, get_args(Accelerator)),
        ):
            if value not in allowed:
                raise ConfigurationError(f"{field} must be {', '.join(allowed)}, got {value!r}.{did_you_mean(str(value), allowed)}")
        for field in ("batch", "threads", "devices", "species_block"):
            if getattr(self, field) < 1:
                raise ConfigurationError(f"{field} must be at least 1, got {getattr(self, field)}")


def train(
    sites: Sites,
    *,
    rows: Integers,
    grid: TileGrid,
    architecture: Architecture,
    plan: TrainingPlan,
    progress: Progress = lambda done, total, message: None,
    resume: str | os.PathLike[str] | None = None,
    relative: bool = False,
) -> DeepSDM:
    """Fit a model on the sites at positions `rows`. The same inputs and plan give the same model, bit for bit.

    `resume` names a folder of this training alone: what it comes to is put there after every epoch, and a training that was
    killed goes on from there to the very same weights. `relative` lets presence-only records alone be learnt from; then the
    logits of a species are centred on its group's sites and their sigmoid is a relative suitability, no probability.

    Raises InputError when no presence-absence plot is among the rows (nothing could be calibrated) and `relative` is not set,
    or no step has anything to learn from; ModelError when a loss is no longer finite, or `resume` holds another training.
    """
    rows = sites.positions(rows)
    if sites.weight is not None:
        rows = rows[sites.weight[rows] > 0]
    if not relative and not sites.plots(rows).size:
        raise InputError("no presence-absence plots to train on: presence-only records alone cannot give probabilities; add a survey")
    task = sites, rows, grid, architecture, plan, resume
    with repeatable(plan.threads), others(plan, _on_another_device, *task) as port:
        return _Training(0, port, *task).run(progress)


def predict_sites(
    model: DeepSDM, patches: Patches, rows: Integers, *, batch: int = 256, plot_area: Float | None = None
) -> npt.NDArray[np.float32]:
    """Probabilities (len(rows), species) at the sites at positions `rows`.

    `plot_area`: m2 of each of the rows, NaN = unknown; None = the model's reference area everywhere.
    """
    rows = positions(rows, len(patches))
    out = np.empty((rows.size, len(model.species)), np.float32)
    with repeatable(), torch.inference_mode():
        for start in range(0, rows.size, batch):
            part = slice(start, start + batch)
            area = None if plot_area is None else torch.from_numpy(plot_area[part]).to(model.device)
            out[part] = torch.sigmoid(model(patches.read(rows[part]), plot_area=area)).cpu().numpy()
    return out


class Average:
    """Moving average of a model's weights after each batch: sum of d^(t - i) w_i over sum of d^(t - i), i = 1 ... t.

    Dividing by the sum of factors is the bias correction of Adam (Kingma & Ba 2015, section 3): weights of before the first
    batch have no part in it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are."""
        self.count += 1
        share = (1 - self.decay) / (1 - self.decay**self.count)
        for name, p in model.named_parameters():
            self.weights[name].lerp_(p, share)


class _Task(NamedTuple):
    """One kind of record of a batch, as one device sees it."""

    loss: str
    weight: float
    rows: Integers
    keep: Tensor
    """(row, modality) 0/1"""
    columns: Integers | None
    """Positions of the species the loss is of, None = all."""
    stands_for: Float | None
    """(column,): how many species each stands for."""
    teacher: DeepSDM | None
    """Gives pseudo-labels."""
    pseudo: tuple[float, float] | None


class _Learner(nn.Module):
    """Model and losses in one module: several devices average gradients of whatever happens inside its `forward`."""

    def __init__(self, model: DeepSDM, sites: Sites, rows: Integers, plan: TrainingPlan) -> None:
        super().__init__()
        self.model, self._sites, self._block = model, sites, plan.species_block
        self._presences = sites.presence_weight_among(rows)
        self._rarity = dict(_rarities(sites, sites.records(rows))) if any(s.po and s.loss == "full_weighted" for s in plan.steps) else {}

    def forward(self, tasks: list[_Task]) -> Tensor:
        loss = torch.zeros((), device=self.model.device)
        for task in tasks:
            loss = loss + task.weight * self._loss(task)
        return loss

    def _loss(self, task: _Task) -> Tensor:
        device, patches = self.model.device, self._sites.patches.read(task.rows)
        z = self.model.latent(patches, task.keep.to(device))[0][:, :, 0, 0]
        if task.columns is not None and not task.columns.size:
            return z.sum() * 0
        columns = None if task.columns is None else torch.from_numpy(task.columns).to(device)
        count = len(self.model.species) if task.columns is None else task.columns.size
        logits, offset = self.model.logits(z, species=columns, block=self._block), self._offset(task)
        group = self._sites.group[task.rows]
        survey = self._survey(task, int(group.max()), columns)
        rare = self._rarity.get(int(group.max())) if task.loss == "full_weighted" else None
        weight = self._sites.weight
        return LOSSES[task.loss](
            Batch(
                logits=_sum(logits, offset, survey),
                targets=self._targets(task, patches, count),
                sites=task.rows.size,
                species=count,
                block=self._block,
                weight=None if weight is None else torch.from_numpy(weight[task.rows]).to(device),
                background=torch.from_numpy(group == BACKGROUND).to(device),
                stands_for=None if task.stands_for is None else torch.from_numpy(task.stands_for).to(device),
                rarity=None if rare is None else rare.to(device),
            )
        )

    def _survey(self, task: _Task, group: int, columns: Tensor | None) -> Tensor | None:
        """(species,) of what a data set of records reports more or less readily than plots do; pseudo-labels are as of plots."""
        if self._sites.presence_absence[task.rows[0]] or task.pseudo is not None or not self.model.surveys or group == BACKGROUND:
            return None
        own = self.model.survey_bias[group]
        return own if columns is None else own[columns]

    def _offset(self, task: _Task) -> Tensor | None:
        """(row,) added to all logits: of plot area for plots, of sampling effort for records learnt as such."""
        sites, device = self._sites, self.model.device
        if sites.presence_absence[task.rows[0]]:
            known = sites.plot_area if self.model.architecture.plot_area is not None else None
            return None if known is None else self.model.area_offset(torch.from_numpy(known[task.rows]).to(device))
        return None if sites.effort is None or task.pseudo is not None else torch.from_numpy(sites.effort[task.rows]).to(device)

    def _targets(self, task: _Task, patches: Any, count: int) -> Callable[[slice], tuple[Tensor, Tensor | None]]:
        """Labels and their weights: a presence's own where there are such, 1 for an absence, 0 for what no teacher is sure of."""
        device, weighted = self.model.device, self._presences is not None
        entries = (self._sites.labels if self._presences is None else self._presences)[task.rows]
        if task.columns is not None:
            entries = entries[:, task.columns]
        if whole := count <= self._block:
            dense = torch.from_numpy(entries.toarray().astype(np.float32)).to(device)
        else:
            by_species = entries.tocsc()

        def recorded(s: slice) -> tuple[Tensor, Tensor | None]:
            found = dense if whole else torch.from_numpy(by_species[:, s].toarray(order="C").astype(np.float32)).to(device)
            return ((found > 0).float(), torch.where(found > 0, found, 1.0)) if weighted else (found, None)

        if task.teacher is None or task.pseudo is None:
            return recorded
        low, high = task.pseudo
        with torch.no_grad():
            taught = task.teacher.logits(task.teacher.latent(patches)[0][:, :, 0, 0], block=self._block)

        def pseudo_labels(s: slice) -> tuple[Tensor, Tensor | None]:
            with torch.no_grad():
                p = torch.sigmoid(taught(s).float())
                found, worth = recorded(s)
                present = torch.maximum(found, (p > high).float())
                known = torch.maximum(present, (p < low).float())
                return present, known if worth is None else known * worth

        return pseudo_labels


def _sum(logits: Callable[[slice], Tensor], of_site: Tensor | None, of_species: Tensor | None) -> Callable[[slice], Tensor]:
    """Logits of a block with what is added to each site's and each species'."""

    def of(s: slice) -> Tensor:
        block = logits(s)
        block = block if of_site is None else block + of_site[:, None]
        return block if of_species is None else block + of_species[s]

    return of


class _Training:
    """All that a training has at hand, and where it is."""

    def __init__(
        self,
        rank: int,
        port: int,
        sites: Sites,
        rows: Integers,
        grid: TileGrid,
        architecture: Architecture,
        plan: TrainingPlan,
        resume: str | os.PathLike[str] | None,
    ) -> None:
        self.rank, self.sites, self.plan = rank, sites, plan
        self.plots, self.records = sites.plots(rows), sites.records(rows)
        torch.manual_seed(plan.seed)
        self.rng = np.random.default_rng(plan.seed)
        normalisation = _normalisation(sites.patches, self.rng.permutation(rows)[:1000])
        seen = self.records[sites.group[self.records] != BACKGROUND]
        self.model = DeepSDM(
            modalities=sites.patches.modalities,
            grid=grid,
            species=sites.species,
            normalisation=normalisation,
            architecture=architecture,
            surveys=int(sites.group[seen].max(initial=-1)) + 1 if architecture.survey_bias else 0,
        )
        with torch.no_grad():
            self.model.bias.copy_(_prevalence_logits(sites, self.plots if self.plots.size else seen))
            for group in range(self.model.surveys):
                of_group = seen[sites.group[seen] == group]
                if of_group.size:
                    self.model.survey_bias[group] = _prevalence_logits(sites, of_group) - self.model.bias
        self.batches = [_batches_an_epoch(step, self.plots.size, seen.size, plan.batch) for step in plan.steps]
        self.steps = tuple(
            step if step.updates is None or not n else replace(step, epochs=_passes(step.updates, n, step.epochs), updates=None)
            for step, n in zip(plan.steps, self.batches)
        )
        self.total = sum(step.epochs * n for step, n in zip(self.steps, self.batches))
        if not self.total:
            raise InputError("no training step has anything to learn from; give a step epochs and records of its kind")
        if plan.precision == "bf16":  # in float32 it would be faster too, with other last bits
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.fabric = fabric_of(plan, rank, port)
        self.learner = self.fabric.setup_module(_Learner(self.model, sites, rows, plan))
        self.average: Average | None = None
        self.teacher: DeepSDM | None = None
        self.done = 0
        self.journal = None if resume is None else Journal(resume, _identity(self.model, sites, rows, plan))
        if self.journal and rank == 0:
            self.journal.clean()
        self.before = self.journal.last() if self.journal else None

    def run(self, progress: Progress) -> DeepSDM:
        """Every step that is not done yet; the model on the CPU, in eval mode."""
        first = self.before.facts["step"] if self.before else 0
        for index, step in enumerate(self.steps):
            if index >= first and self.batches[index]:
                self._step(index, step, progress)
        model = self._evaluated().cpu().eval()
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if not self.plots.size:
            _centre(model, self.sites, self.records)
        return model

    def _step(self, index: int, step: Step, progress: Progress) -> None:
        plan, length = self.plan, step.epochs * self.batches[index]
        self.teacher = self._frozen() if step.pseudo else None
        self.average = Average(self.model, plan.ema) if plan.ema else None
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=step.learning_rate, weight_decay=plan.weight_decay)
        # A fifth of the batches warm up, at least one: OneCycleLR divides by the length of that part.
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=step.learning_rate, total_steps=length + 1, pct_start=max(0.2, 2 / (length + 1))
        )
        self.streams: tuple[Stream, Stream] = (
            Passes(self.plots, plan.batch, self.rng),
            GroupPasses(self.records, self.sites.group, plan.batch, self.rng, mass=plan.background_mass),
        )
        epoch = 0
        if self.before and self.before.facts["step"] == index:
            self._restore(self.before)
            epoch, self.before = self.before.facts["epoch"], None
        self.model.train()
        clock = Clock(self.done, self.total)
        while epoch < step.epochs:
            epoch += 1
            if self.rank:  # the first device goes on as a device alone would
                torch.manual_seed(int(np.random.SeedSequence([plan.seed, index, epoch, self.rank]).generate_state(1)[0]))
            for batch in range(self.batches[index]):
                loss = self._batch(step, epoch)
                self.done += 1
                if self.journal and self.rank == 0 and batch == self.batches[index] - 1:
                    self.journal.commit(self._position(index, epoch), sum(s.epochs for s in self.steps[:index]) + epoch)
                progress(self.done, self.total, f"{step.name}, epoch {epoch}/{step.epochs}, loss {loss:.3f}{clock.left(self.done)}")

    def _batch(self, step: Step, epoch: int) -> float:
        tasks = list(self._tasks(step))
        loss = self.learner(tasks)
        value = loss.item()
        if self.rank == 0:
            self._require_finite(value, "loss", step, epoch)
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self._require_finite(norm.item(), "gradient", step, epoch)
        self.optimiser.step()
        self.schedule.step()
        if self.average:
            self.average.update(self.model)
        return value

    def _tasks(self, step: Step) -> Iterator[_Task]:
        plan, modalities = self.plan, len(self.model.modalities)
        for weight, stream, of_plots in zip((step.pa, step.po), self.streams, (True, False)):
            if not weight or not (batch := next(stream)).size:  # type: ignore[call-overload]
                continue
            keep = _modality_dropout(batch.size, modalities, self.model.architecture.modality_dropout, self.rng)
            as_plots = of_plots or step.pseudo is not None
            columns, stands_for = None, None
            if of_plots and plan.sampled_species is not None:
                columns, stands_for = _sampled_species(self.sites.labels[batch], plan.sampled_species, self.rng)
            elif not as_plots and step.loss == "deep_maxent" and len(self.model.species) > plan.species_block:
                columns = np.unique(self.sites.labels[batch].indices).astype(np.int64)  # the others' terms are 0
            share = slice(self.rank, None, plan.devices) if batch.size >= plan.devices else slice(None)
            yield _Task(
                loss="presence_absence" if as_plots else step.loss,
                weight=weight if plan.devices == 1 else weight * _part(batch.size, share, plan.devices),
                rows=batch[share],
                keep=keep[share],
                columns=columns,
                stands_for=stands_for,
                teacher=None if of_plots else self.teacher,
                pseudo=None if of_plots else step.pseudo,
            )

    def _require_finite(self, value: float, what: str, step: Step, epoch: int) -> None:
        if not math.isfinite(value):
            raise ModelError(
                f"step {step.name!r}, epoch {epoch}: the {what} is {value}, so nothing is learnt any more; lower its learning_rate "
                f"(now {step.learning_rate:g}, try {step.learning_rate / 10:g}), or train with precision 32 if it was bf16"
            )

    def _evaluated(self) -> DeepSDM:
        """The model with the weights that count: the moving average where there is one. The trained weights are gone then."""
        if self.average:
            self.model.load_state_dict({**self.model.state_dict(), **self.average.weights})
        return self.model

    def _frozen(self) -> DeepSDM:
        """A copy of the model as it would be evaluated now, for pseudo-labels."""
        frozen = copy.deepcopy(self.model).eval().requires_grad_(False)
        if self.average:
            frozen.load_state_dict({**frozen.state_dict(), **self.average.weights})
        return frozen

    def _position(self, step: int, epoch: int) -> Position:
        moments = self.optimiser.state_dict()
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimiser.{i}.{k}": v for i, state in moments["state"].items() for k, v in state.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.weights.items()} if self.average else {}
        tensors |= {f"teacher.{k}": v for k, v in self.teacher.state_dict().items()} if self.teacher else {}
        tensors["generator.cpu"] = torch.get_rng_state()
        if self.model.device.type == "cuda":
            tensors["generator.cuda"] = torch.cuda.get_rng_state(self.model.device)
        facts = {
            "step": step,
            "epoch": epoch,
            "done": self.done,
            "averaged": self.average.count if self.average else 0,
            "groups": moments["param_groups"],
            "schedule": self.schedule.state_dict(),
            "generator": self.rng.bit_generator.state,
            "streams": [stream.state() for stream in self.streams],
        }
        return Position(facts=facts, tensors=tensors)

    def _restore(self, position: Position) -> None:
        facts, device = position.facts, self.model.device

        def of(kind: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{kind}."): v for k, v in position.tensors.items() if k.startswith(f"{kind}.")}

        self.model.load_state_dict(of("model"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in of("optimiser").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        self.optimiser.load_state_dict(
            {"state": state, "param_groups": [{**group, "betas": tuple(group["betas"])} for group in facts["groups"]]}
        )
        self.schedule.load_state_dict(facts["schedule"])
        if self.average:
            self.average.weights = {k: v.to(device) for k, v in of("average").items()}
            self.average.count = facts["averaged"]
        if self.teacher:
            self.teacher.load_state_dict(of("teacher"))
        self.done = facts["done"]
        self.rng.bit_generator.state = facts["generator"]
        for stream, own in zip(self.streams, facts["streams"]):
            stream.restore(own)
        torch.set_rng_state(position.tensors["generator.cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(position.tensors["generator.cuda"], device)


class Clock:
    """How long the rest will take, going by the batches so far."""

    def __init__(self, done: int, total: int, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._start, self._from, self._total = now, now(), done, total

    def left(self, done: int) -> str:
        """Such as ", 12 s left"; nothing at the end, or where nothing has been done since the clock was started."""
        if done == self._from:
            return ""
        seconds = (self._now() - self._start) / (done - self._from) * (self._total - done)
        return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left" if done < self._total else ""


def _on_another_device(rank: int, port: int, *task: Any) -> None:
    """What the process of each further device does."""
    plan: TrainingPlan = task[4]
    with repeatable(plan.threads):
        _Training(rank, port, *task).run(lambda done, total, message: None)


def _passes(updates: int, batches: int, at_most: int) -> int:
    """Whole passes of so many batches that make up some updates, no more than `at_most` (0 = any number)."""
    passes = -(-updates // batches)
    return min(passes, at_most) if at_most else passes


def _batches_an_epoch(step: Step, plots: int, records: int, batch: int) -> int:
    if step.pseudo and not plots:
        return 0
    sites = plots if step.pa and plots else records if step.po else 0
    return -(-sites // batch)


def _part(size: int, share: slice, devices: int) -> float:
    """What a device's mean over its share counts, so that the mean over devices is the mean over the batch."""
    return len(range(size)[share]) * devices / size if size >= devices else 1.0


def _prevalence_logits(sites: Sites, rows: Integers) -> Tensor:
    """(species,): the logit of each one's share of the sites, finite also for one at none or all."""
    prevalence = (np.asarray(sites.labels[rows].sum(axis=0)).ravel() + 0.5) / (rows.size + 1)
    return torch.from_numpy(np.log(prevalence / (1 - prevalence)).astype(np.float32))


def _rarities(sites: Sites, records: Integers) -> Iterator[tuple[int, Tensor]]:
    """Of each group of presence-only records, what `full_weighted` weighs its species with."""
    for group in np.unique(sites.group[records]):
        rows = records[sites.group[records] == group]
        weight = np.ones(rows.size) if sites.weight is None else sites.weight[rows].astype(np.float64)
        yield int(group), rarity(torch.from_numpy((weight @ sites.labels[rows]).astype(np.float32)), float(weight.sum()))


def _sampled_species(labels: sparse.csr_array, count: int, rng: np.random.Generator) -> tuple[Integers, Float]:
    """Species of the batch (each standing for itself) and `count` of the others (each standing for its share of them)."""
    found = np.unique(labels.indices)
    rest = np.setdiff1d(np.arange(labels.shape[1]), found)
    drawn = rng.choice(rest, min(count, rest.size), replace=False)
    shares = [np.ones(found.size), np.full(drawn.size, rest.size / max(drawn.size, 1))]
    return np.concatenate([found, drawn]).astype(np.int64), np.concatenate(shares).astype(np.float32)


def _modality_dropout(n: int, modalities: int, chance: float, rng: np.random.Generator) -> Tensor:
    """(n, modalities) 0/1: each hidden with `chance`, never all of a sample's."""
    keep = rng.random((n, modalities)) >= chance
    keep[np.arange(n), rng.integers(modalities, size=n)] = True
    return torch.from_numpy(keep.astype(np.float32))


def _normalisation(patches: Patches, rows: Integers) -> dict[str, Normalisation]:
    """Centre and spread over some sites, read a few at a time: patches of imagery are large."""
    ordered = np.sort(rows)
    tallies = {m.name: Tally() for m in patches.modalities}
    for start in range(0, ordered.size, 32):
        read = patches.read(ordered[start : start + 32])
        for name, tally in tallies.items():
            tally.add(read[name].values)
    return {m.name: tallies[m.name].normalisation(m.normalisation) for m in patches.modalities}


def _centre(model: DeepSDM, sites: Sites, records: Integers) -> None:
    """Set biases so that every species' logit is 0 on average over presence-only sites (evenly spaced, CENTRE_SITES at most).

    Their losses leave the bias open, and a sigmoid of logits far from 0 would say nothing. A species without a record stays
    as unlikely on average as it is rare.
    """
    rows = records[np.linspace(0, records.size - 1, min(CENTRE_SITES, records.size)).astype(int)]
    with torch.inference_mode():
        z = torch.cat([model.latent(sites.patches.read(rows[i : i + 256]))[0][:, :, 0, 0] for i in range(0, rows.size, 256)])
    with torch.no_grad():
        found = torch.from_numpy(np.asarray(sites.labels[records].sum(axis=0)).ravel() > 0)
        level = torch.where(found, 0.0, _prevalence_logits(sites, records))
        model.bias.copy_(level - model.head_weights() @ z.clone().mean(dim=0))


def _identity(model: DeepSDM, sites: Sites, rows: Integers, plan: TrainingPlan) -> dict[str, str]:
    """Digests of all that decides a training's weights, by part."""
    presences = sites.presence_weight_among(rows)
    found = (sites.labels if presences is None else presences)[rows]
    of_sites = [getattr(sites, name) for name in ("presence_absence", "group", "plot_area", "weight", "effort")]
    norms = [values for m in model.modalities for values in (model.normalisation[m.name].mean, model.normalisation[m.name].std)]
    sample = sites.patches.read(np.sort(rows)[:: max(1, rows.size // 16)][:16])
    return {
        "plan": digest(asdict(plan)),
        "architecture": digest(asdict(model.architecture), asdict(model.grid)),
        "list of species": digest(model.species.to_dict()),
        "set of modalities": digest([asdict(m) for m in model.modalities]),
        "set of sites": digest(rows, found.indptr, found.indices, found.data, *(v if v is None else v[rows] for v in of_sites)),
        "set of predictors": digest(*norms, *(sample[m.name].values for m in model.modalities)),
    }
