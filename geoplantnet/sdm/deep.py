"""The multimodal deep-SDM as an estimator, and the recipe of the GeoLifeCLEF 2023 winner."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np

from geoplantnet.errors import InputError, ModelError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.ensemble import Ensemble
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.model import Architecture, DeepSDM
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.train import Progress, Step, TrainingPlan, predict_sites, train

STEPS = (
    Step(name="warm-up", epochs=5, pa=1.0, learning_rate=3e-3),
    Step(name="records", epochs=2, po=1.0, learning_rate=2e-3),
    Step(name="pseudo-labels", epochs=3, pa=1.0, po=0.5, pseudo=(0.05, 0.4), learning_rate=2e-3),
    Step(name="fine-tune", epochs=15, pa=1.0, po=0.05, learning_rate=3e-3),
)
"""Plots first, then where records are, then records as plots, then plots with a little of the records."""
UNG_RECORD_EPOCHS = 10
"""Passes over the records; twice as many made the published result worse (Ung et al. 2023)."""
UNG_NETS = 3
"""Nets in the ensemble: samples-F1 .270 against .249 of one (private score of GeoLifeCLEF 2023)."""
UNG_SET_SIZE = 20
"""Species in every predicted set of the recipe."""


class Deep(Estimator):
    """`DeepSDM`, by an architecture and a plan of training.

    Without a single plot among the rows it learns from presence-only records alone: predictions are then relative suitability,
    sigmoids of logits centred on the records' sites, and rank places for a species, not species at a place.
    """

    name: ClassVar[str] = checkpoint.ESTIMATOR

    def __init__(self, *, architecture: Architecture | None = None, plan: TrainingPlan | None = None, grid: TileGrid | None = None) -> None:
        """`grid`: whose cells the predictors describe."""
        self.architecture = architecture or Architecture(latent=256)
        self.plan = plan or TrainingPlan(steps=STEPS)
        self.grid = grid or TileGrid()
        self.net_: DeepSDM | None = None
        self.relative_ = False

    def fit(
        self,
        sites: Sites,
        rows: Integers,
        *,
        progress: Progress = lambda done, total, message: None,
        resume: str | os.PathLike[str] | None = None,
    ) -> Self:
        """See `Estimator.fit`; `progress` and `resume` as in `train`. Rows are a set: their order changes nothing.

        Raises InputError when the rows hold nothing to learn from.
        """
        rows = np.sort(np.asarray(rows, np.int64))
        if not sites.labels[rows].sum():
            raise InputError("no species was found at any of the sites to learn from; give sites with records of species of the list")
        self.net_ = train(
            sites,
            rows=rows,
            grid=self.grid,
            architecture=self.architecture,
            plan=self.plan,
            progress=progress,
            resume=resume,
            relative=True,
        )
        self.relative_ = not sites.plots(rows).size
        return self

    def predict(self, sites: Sites, rows: Integers) -> Float:
        """See `Estimator.predict`; on plots of the sites' own area where the model has learnt from areas."""
        net = self._fitted()
        checkpoint.require_species(net, sites.species)
        checkpoint.require_modalities(net, sites.patches.modalities)
        rows = np.asarray(rows, np.int64)
        area = None if sites.plot_area is None or net.architecture.plot_area is None else sites.plot_area[rows]
        return predict_sites(net, sites.patches, rows, plot_area=area)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """See `Estimator.save`: a checkpoint, with the plan among its facts."""
        checkpoint.save(self._fitted(), folder, relative=self.relative_, plan=asdict(self.plan))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """See `Estimator.load`. Of a checkpoint that another saved, the plan is not known and is the default."""
        net, facts = checkpoint.load(folder)
        plan: Any = facts.get("plan")
        made = cls(architecture=net.architecture, plan=_plan(plan) if plan else None, grid=net.grid)
        made.net_, made.relative_ = net, bool(facts.get("relative"))
        return made

    def _fitted(self) -> DeepSDM:
        if self.net_ is None:
            raise ModelError("the deep-SDM has not been fitted yet; call `fit`, or `load` a saved one")
        return self.net_


def ung(
    sites: Sites,
    rows: Integers,
    *,
    grid: TileGrid | None = None,
    width: int = 32,
    latent: int = 256,
    batch: int = 64,
    learning_rate: float = 1e-3,
    threads: int = 2,
    seed: int = 0,
) -> Ensemble:
    """The recipe that won GeoLifeCLEF 2023 as nets not fitted yet, sized for the sites at positions `rows`.

    Ung, Kojima & Wada 2023, "Leverage samples with single positive labels to train CNN-based models for multi-label plant
    species prediction" (CLEF working notes, CEUR Vol-3497): plots with binary cross-entropy, then records with cross-entropy
    over species, then plots again; modalities concatenated late; the mean of 3 nets; the 20 most probable species a plot (UNG_SET_SIZE).
    Private samples-F1: joint .058, plots only .196, records then plots .221, plots - records - plots .249, three nets .270.

    What differs here: the encoders are this package's, not ResNets on 128 px patches; no weights are pre-trained; the mean is
    of logits.
    The 10 passes over records are the published ones (of 5 million records). Those over plots are not known to us: as many as
    make 1,000 batches, 10 at least and 100 at most.
    """
    plots = sites.plots(np.asarray(rows, np.int64)).size
    passes = int(np.clip(np.ceil(1000 * batch / max(plots, 1)), 10, 100))
    steps = (
        Step(name="plots", epochs=passes, pa=1.0, learning_rate=learning_rate),
        Step(name="records", epochs=UNG_RECORD_EPOCHS, po=1.0, loss="cross_entropy", learning_rate=learning_rate),
        Step(name="plots again", epochs=passes, pa=1.0, learning_rate=learning_rate),
    )
    architecture = Architecture(width=width, latent=latent, modality_dropout=0.0, fusion="concatenated")
    plans = [TrainingPlan(steps=steps, batch=batch, threads=threads, seed=seed + i) for i in range(UNG_NETS)]
    return Ensemble([Deep(architecture=architecture, plan=plan, grid=grid) for plan in plans])


def _plan(fields: dict[str, Any]) -> TrainingPlan:
    """A plan from what `asdict` made of it, through JSON."""
    steps = tuple(Step(**{**s, "pseudo": None if s["pseudo"] is None else tuple(s["pseudo"])}) for s in fields["steps"])
    return TrainingPlan(**{**fields, "steps": steps})
