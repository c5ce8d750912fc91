"""A training that is killed, anywhere, goes on to the weights it would have had."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import ModelError
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.sites import Sites
from geoplantnet.sdm.train import Step, TrainingPlan, train
from geoplantnet.taxonomy import SpeciesList, Taxon

STEPS = (
    Step(name="warm-up", epochs=2, pa=1.0),
    Step(name="records", epochs=2, po=1.0),
    Step(name="nothing to learn", epochs=1),
    Step(name="pseudo-labels", epochs=2, pa=1.0, po=1.0, pseudo=(0.1, 0.3)),
    Step(name="fine-tune", epochs=2, pa=1.0, po=0.1),
)
PLAN = TrainingPlan(steps=STEPS, batch=16, threads=1, ema=0.9, sampled_species=2)
BATCHES = 2 * 4 + 2 * 2 + 2 * 4 + 2 * 4


def a_world(seed=0):
    """64 plots, 32 records of two groups, 16 background sites; some values missing."""
    rng = np.random.default_rng(seed)
    n = 112
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"]).mask(rng.random((n, 3)) < 0.1)
    group = np.repeat([0, 1, 2, -1], [64, 16, 16, 16])
    labels = (rng.random((n, 7)) < 0.3).astype(np.uint8)
    labels[group == -1] = 0
    return Sites(
        species=SpeciesList(
            checklist="test", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"T {i}", genus=f"g{i % 3}") for i in range(7))
        ),
        patches=TablePatches(frame, {"one": ("a", "b"), "two": ("c",)}),
        labels=sparse.csr_array(labels),
        presence_absence=group == 0,
        group=group,
        xy=np.zeros((n, 2)),
        plot_area=np.where(rng.random(n) < 0.5, 100, 400).astype(np.float32),
    )


def fit(sites, *, plan=PLAN, rows=None, stop=None, resume=None, architecture=None):
    """Train; `stop` is called with the number of batches done."""

    def progress(done, total, message):
        assert total == BATCHES or plan is not PLAN
        if stop is not None:
            stop(done)

    return train(
        sites,
        rows=np.arange(112) if rows is None else rows,
        grid=TileGrid(),
        architecture=architecture or Architecture(width=8, latent=8, plot_area=100.0),
        plan=plan,
        progress=progress,
        resume=resume,
    )


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Killed(Exception):
    """Stands for a power cut."""


def until(batches):
    def stop(done):
        if done == batches:
            raise Killed

    return stop


@pytest.fixture(scope="module")
def whole():
    """The model of a training nobody interrupts."""
    return fit(a_world())


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, BATCHES), min_size=1, max_size=3))
def test_killed_anywhere_it_goes_on_to_the_same_weights(whole, tmp_path_factory, kills):
    """Stopped after any batch, several times over, in any step: the weights are those of an uninterrupted run, bit for bit."""
    folder = tmp_path_factory.mktemp("resume")
    for batches in sorted(kills):
        torch.rand(3)  # whatever else draws from global state
        with contextlib.suppress(Killed):
            fit(a_world(), stop=until(batches), resume=folder)
    assert same(fit(a_world(), resume=folder), whole)


def test_every_epoch_is_kept_and_only_the_last(whole, tmp_path):
    """A run stopped in epoch k goes on from the end of epoch k - 1; a finished one is read, not trained again."""
    done = []
    with pytest.raises(Killed):
        fit(a_world(), stop=until(11), resume=tmp_path)  # the third batch of the second step's two epochs of two
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-000003"]
    assert same(fit(a_world(), stop=done.append, resume=tmp_path), whole) and done[0] == 11
    again = []
    assert same(fit(a_world(), stop=again.append, resume=tmp_path), whole) and again == []
    facts = json.loads((tmp_path / "epoch-000009" / "state.json").read_text())
    assert facts["step"] == 4 and facts["epoch"] == 2 and not list(tmp_path.glob(".tmp-*"))


def test_a_real_kill(whole, tmp_path):
    """SIGKILL to another process in the midst of an epoch: this one goes on to the same weights."""
    script = f"""
import importlib.util, os, signal
spec = importlib.util.spec_from_file_location("killed", {str(Path(__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.fit(module.a_world(), stop=lambda done: done == 15 and os.kill(os.getpid(), signal.SIGKILL), resume={str(tmp_path)!r})
"""
    ended = subprocess.run([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert ended.returncode == -signal.SIGKILL and [p.name for p in tmp_path.glob("epoch-*")] == ["epoch-000004"]
    assert same(fit(a_world(), resume=tmp_path), whole)


def test_another_training_is_refused(tmp_path):
    """Another plan, other labels, other rows, other predictors, another architecture, an unreadable state: named, nothing overwritten."""
    plain = a_world()
    cover = plain.labels.astype(np.float32)
    sites = replace(plain, presence_weight=cover)
    with pytest.raises(Killed):
        fit(sites, stop=until(9), resume=tmp_path)
    cover = cover.copy()
    cover.data[0] = 3
    for other in (plain, replace(sites, presence_weight=cover)):
        with pytest.raises(ModelError, match="another set of sites"):
            fit(other, resume=tmp_path)
    labels = sites.labels.toarray()
    labels[5, 5] = 1 - labels[5, 5]
    taxa = (replace(sites.species.taxa[0], scientific_name="Another one"), *sites.species.taxa[1:])
    others = {
        "plan": {"plan": replace(PLAN, seed=1)},
        "set of sites": {"sites": replace(plain, labels=sparse.csr_array(labels))},
        "list of species": {"sites": replace(sites, species=SpeciesList(checklist="test", taxa=taxa))},
        "set of predictors": {"sites": replace(sites, patches=a_world(seed=1).patches)},
        "set of modalities": {"sites": replace(sites, patches=TablePatches(pd.DataFrame({"a": np.zeros(112)}), {"one": ("a",)}))},
        "architecture": {"architecture": Architecture(width=8, latent=9, plot_area=100.0)},
    }
    for part, changed in others.items():
        with pytest.raises(ModelError, match=f"another {part}"):
            fit(**{"sites": sites, "resume": tmp_path, **changed})
    with pytest.raises(ModelError, match="another set of"):
        fit(sites, rows=np.arange(1, 112), resume=tmp_path)
    tensors = next(tmp_path.glob("epoch-*")) / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(ModelError, match="delete it"):
        fit(sites, resume=tmp_path)
