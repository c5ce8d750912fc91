"""Several devices are one, but for rounding: two processes on the CPU share each batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit

from geoplantnet.cubes import TablePatches
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.sites import Sites
from geoplantnet.sdm.train import Step, TrainingPlan, predict_sites, train
from geoplantnet.taxonomy import SpeciesList, Taxon


def test_two_devices_train_as_one():
    """Losses that are means over sites are shared out exactly, so without dropout the model is that of one device."""
    rng = np.random.default_rng(0)
    heights = rng.normal(size=(81, 1))
    table = TablePatches(pd.DataFrame({"height": heights[:, 0], "wetness": rng.normal(size=81)}), {"terrain": ("height", "wetness")})
    sites = Sites(
        species=SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Testus {i}") for i in range(20))),
        patches=table,
        labels=sparse.csr_array((rng.random((81, 20)) < expit(3 * heights)).astype(np.uint8)),
        presence_absence=np.arange(81) % 3 > 0,
        group=np.zeros(81, np.int64),
        xy=np.zeros((81, 2)),
        plot_area=np.full(81, 50, np.float32),
    )
    steps = (
        Step(name="po", epochs=1, po=1.0, loss="presence_absence"),
        Step(name="both", epochs=10, pa=1.0, po=0.5, loss="presence_absence", learning_rate=0.03),
    )
    architecture = Architecture(width=8, latent=8, dropout=0.0, modality_dropout=0.0, plot_area=100.0)
    heard: list[str] = []
    one, two = (
        train(
            sites,
            rows=np.arange(81),
            grid=TileGrid(),
            architecture=architecture,
            plan=TrainingPlan(steps=steps, batch=20, threads=1, accelerator="cpu", devices=devices),
            progress=lambda done, total, message: heard.append(f"{done}/{total} {message}"),
        )
        for devices in (1, 2)
    )
    p, q = (predict_sites(model, table, np.arange(81)) for model in (one, two))
    assert p.std(axis=0).min() > 0.02 and np.abs(p - q).max() < 1e-3
    assert two.area_exponent.item() == pytest.approx(one.area_exponent.item(), abs=1e-3)
    assert len(heard) == 2 * 32 and heard[31].startswith("32/32 both, epoch 10/10, loss ")
