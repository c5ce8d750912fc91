"""The multimodal deep-SDM as an estimator."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np

from geoplantnet.errors import InputError, ModelError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.model import Architecture, DeepSDM
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.train import Progress, Step, TrainingPlan, predict_sites, train

ARCHITECTURE = Architecture(
    width=256, image_width=128, latent=256, dropout=0.15, encoder_dropout=0.3, modality_dropout=0.1, survey_bias=True
)
PLAN = TrainingPlan(
    steps=(
        Step(name="plots and records", updates=400, epochs=60, pa=0.25, po=1.0, loss="presence_absence", learning_rate=2e-3),
        Step(name="plots", updates=50, pa=1.0, learning_rate=5e-4),
    ),
    batch=128,
    threads=1,
    ema=0.99,
    background_mass=1000,
)
"""The recipe of configs/sdm/deep.yaml, for hundreds to thousands of sites: plots and records together, then plots alone."""


class Deep(Estimator):
    """`DeepSDM`, by an architecture and a plan of training.

    Without a single plot among the rows it learns from presence-only records alone: predictions are then relative suitability,
    sigmoids of logits centred on the records' sites, and rank places for a species, not species at a place.
    """

    name: ClassVar[str] = checkpoint.ESTIMATOR

    def __init__(self, *, architecture: Architecture | None = None, plan: TrainingPlan | None = None, grid: TileGrid | None = None) -> None:
        """`grid`: whose cells the predictors describe."""
        self.architecture = architecture or ARCHITECTURE
        self.plan = plan or PLAN
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
        rows = np.sort(sites.positions(rows))
        counted = rows if sites.weight is None else rows[sites.weight[rows] > 0]
        found = np.asarray(sites.labels[counted].sum(axis=0)).ravel() > 0
        if not found.any():
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
        self.relative_ = not sites.plots(counted).size
        self.unfitted_ = tuple(taxon.taxon_id for taxon, known in zip(sites.species, found) if not known)
        return self

    def predict(self, sites: Sites, rows: Integers) -> Float:
        """See `Estimator.predict`; on plots of the sites' own area where the model has learnt from areas."""
        net = self._fitted()
        checkpoint.require_species(net, sites.species)
        checkpoint.require_modalities(net, sites.patches.modalities)
        rows = sites.positions(rows)
        area = None if sites.plot_area is None or net.architecture.plot_area is None else sites.plot_area[rows]
        return predict_sites(net, sites.patches, rows, plot_area=area)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """See `Estimator.save`: a checkpoint, with the plan among its facts."""
        checkpoint.save(self._fitted(), folder, relative=self.relative_, plan=asdict(self.plan), unfitted=self.unfitted_)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """See `Estimator.load`. Of a checkpoint that another saved, neither the plan (the default) nor who is unfitted (none) is known."""
        net, facts = checkpoint.load(folder)
        plan: Any = facts.get("plan")
        unfitted: Any = facts.get("unfitted", ())
        made = cls(architecture=net.architecture, plan=_plan(plan) if plan else None, grid=net.grid)
        made.net_, made.relative_, made.unfitted_ = net, bool(facts.get("relative")), tuple(unfitted)
        return made

    def _fitted(self) -> DeepSDM:
        if self.net_ is None:
            raise ModelError("the deep-SDM has not been fitted yet; call `fit`, or `load` a saved one")
        return self.net_


def _plan(fields: dict[str, Any]) -> TrainingPlan:
    """A plan from what `asdict` made of it, through JSON."""
    steps = tuple(Step(**{**s, "pseudo": None if s["pseudo"] is None else tuple(s["pseudo"])}) for s in fields["steps"])
    return TrainingPlan(**{**fields, "steps": steps})
