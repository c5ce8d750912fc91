"""Training learns what can be learnt, repeats to the bit, and a checkpoint is the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.special import expit

from geoplantnet.cubes import Modality, PatchReader
from geoplantnet.errors import InputError, ModelError
from geoplantnet.grid import TileGrid
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.losses import deep_maxent, presence_absence
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.train import BACKGROUND, Step, TrainingData, TrainingPlan, predict_sites, train
from geoplantnet.sources.source import FakeSource
from geoplantnet.taxonomy import SpeciesList, Taxon

GRID = TileGrid(tile_size=2000)
HEIGHT = Modality(name="terrain", bands=("height", "wetness"), resolution=50)
SPECIES = SpeciesList(
    checklist="test", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Testus {i}", genus=f"g{i % 2}") for i in range(6))
)
SOURCE = FakeSource(height=lambda x, y: np.sin(x / 700) * 1.5 + 0 * y, wetness=lambda x, y: np.cos(y / 900) * 1.5 + 0 * x)


def a_world(n=400, seed=0, po_share=0.5, source=SOURCE):
    """Sites whose species follow a gradient of height and wetness; a part is presence-only, a part of that background."""
    rng = np.random.default_rng(seed)
    points = pd.DataFrame({"x": 4_200_000 + rng.random(n) * 20_000, "y": 2_600_000 + rng.random(n) * 20_000})
    height, wetness = SOURCE.at(points).T
    slopes = np.linspace(-3, 3, len(SPECIES))
    truth = expit(slopes * height[:, None] + 1.5 * wetness[:, None] - 1.5)
    labels = (rng.random(truth.shape) < truth).astype(np.uint8)
    absence = rng.random(n) >= po_share
    group = np.where(rng.random(n) < 0.2, BACKGROUND, 0)
    labels[~absence & (group == BACKGROUND)] = 0
    reader = PatchReader(points, grid=GRID, modalities=[HEIGHT], sources={"terrain": source}, cubes={})
    return TrainingData(patches=reader, labels=sparse.csr_array(labels), presence_absence=absence, group=group), points


def fit(data, rows, *, steps=None, seed=0, species=SPECIES, epochs=12):
    steps = steps or (Step(name="po", epochs=1, po=1.0), Step(name="both", epochs=epochs, pa=1.0, po=0.1, learning_rate=0.01))
    plan = TrainingPlan(steps=steps, batch=32, threads=1, seed=seed)
    return train(
        data, rows=rows, modalities=[HEIGHT], grid=GRID, species=species, architecture=Architecture(width=16, latent=16), plan=plan
    )


def test_a_gradient_is_learnt_and_beats_location_and_prevalence():
    """Held-out sites far from any pattern in x, y: the environment predicts them, location does not."""
    data, points = a_world()
    rows = np.arange(300)
    model = fit(data, rows, epochs=25)
    outer = np.flatnonzero(data.presence_absence[300:]) + 300
    labels = data.labels[outer].toarray()
    plots = rows[data.presence_absence[rows]]
    xy = points[["x", "y"]].to_numpy(np.float32)
    place = LocationOnly(trees=30).fit(xy[plots], data.labels[plots].toarray()).predict(xy[outer])
    flat = Prevalence().fit(xy[plots], data.labels[plots].toarray()).predict(xy[outer])
    own = np.nanmean(auc_per_species(predict_sites(model, data.patches, outer), labels))
    assert own > 0.8 and own > np.nanmean(auc_per_species(place, labels)) + 0.05
    assert np.nanmean(auc_per_species(flat, labels)) == 0.5


def test_the_same_plan_gives_the_same_bits_and_another_seed_does_not():
    """Weights are equal bit for bit, whatever was drawn from global random state before."""
    data, _ = a_world(n=120)
    first = fit(data, np.arange(120), epochs=2)
    torch.rand(7)
    second, other = fit(data, np.arange(120), epochs=2), fit(data, np.arange(120), epochs=2, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    assert any(not torch.equal(a, b) for a, b in zip(first.state_dict().values(), other.state_dict().values()))


def test_held_out_rows_do_not_touch_the_model():
    """Changing the labels of sites outside `rows` changes nothing: no leak."""
    data, _ = a_world(n=160)
    changed = data.labels.toarray()
    changed[120:] = 1 - changed[120:]
    other = TrainingData(patches=data.patches, labels=sparse.csr_array(changed), presence_absence=data.presence_absence, group=data.group)
    a, b = fit(data, np.arange(120), epochs=2), fit(other, np.arange(120), epochs=2)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_presence_only_loss_says_where_not_how_much():
    """Adding a constant to a species' logits leaves it unchanged; the presence-absence loss is changed."""
    logits, labels = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), (torch.arange(100).reshape(20, 5) % 3 == 0).float()
    shift = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0])
    assert deep_maxent(logits + shift, labels).item() == pytest.approx(deep_maxent(logits, labels).item(), abs=1e-5)
    assert abs(presence_absence(logits + shift, labels).item() - presence_absence(logits, labels).item()) > 0.05


def test_presence_only_loss_by_hand():
    """One species, three sites, one record: minus the log of its softmax share."""
    logits = torch.tensor([[1.0], [2.0], [0.0]])
    expected = -np.log(np.exp(2) / (np.e + np.exp(2) + 1))
    assert deep_maxent(logits, torch.tensor([[0.0], [1.0], [0.0]])).item() == pytest.approx(expected, rel=1e-5)


def test_without_plots_there_is_nothing_to_calibrate():
    """Presence-only records alone are refused with the fix."""
    data, _ = a_world(n=40, po_share=1.1)
    with pytest.raises(InputError, match="add a survey"):
        fit(data, np.arange(40))


def test_only_plots_a_species_with_one_record_and_a_missing_modality_train():
    """No presence-only rows, a species found once, and a modality that is NaN everywhere give finite predictions."""
    nothing = FakeSource(height=lambda x, y: np.nan * x, wetness=lambda x, y: np.nan * x)
    data, _ = a_world(n=60, po_share=-1, source=nothing)
    labels = data.labels.toarray()
    labels[:, 0] = 0
    labels[3, 0] = 1
    data = TrainingData(patches=data.patches, labels=sparse.csr_array(labels), presence_absence=data.presence_absence, group=data.group)
    p = predict_sites(fit(data, np.arange(60), epochs=3), data.patches, np.arange(60))
    assert np.isfinite(p).all() and p[:, 0].max() < 0.3


def test_a_checkpoint_is_the_model(tmp_path):
    """Loaded from disk it predicts the same bits, knows its species, modalities and facts, and holds no pickle."""
    data, _ = a_world(n=80)
    model = fit(data, np.arange(80), epochs=1)
    checkpoint.save(model, tmp_path / "m", plot_area_m2=100)
    back, facts = checkpoint.load(tmp_path / "m")
    rows = np.arange(80)
    assert np.array_equal(predict_sites(back, data.patches, rows), predict_sites(model, data.patches, rows))
    assert back.species.hash == SPECIES.hash and back.modalities == (HEIGHT,) and facts == {"plot_area_m2": 100}
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "weights.safetensors"]


def test_what_is_no_checkpoint_or_another_recipe_is_refused(tmp_path):
    """Absent, truncated, of other species, of other modalities: a ModelError that names the fix."""
    with pytest.raises(ModelError, match="geoplantnet train"):
        checkpoint.load(tmp_path / "none")
    data, _ = a_world(n=60)
    model = fit(data, np.arange(60), epochs=1)
    checkpoint.save(model, tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError):
        checkpoint.load(tmp_path / "m")
    fewer = SpeciesList(checklist="test", taxa=SPECIES.taxa[:5])
    small = TrainingData(
        patches=data.patches, labels=sparse.csr_array(data.labels[:, :5]), presence_absence=data.presence_absence, group=data.group
    )
    checkpoint.save(fit(small, np.arange(60), epochs=1, species=fewer), tmp_path / "n")
    weights.write_bytes((tmp_path / "n" / "weights.safetensors").read_bytes())
    with pytest.raises(ModelError, match="do not fit"):
        checkpoint.load(tmp_path / "m")
    with pytest.raises(ModelError, match="trained with modality 'terrain'"):
        checkpoint.require_modalities(model, [])
    with pytest.raises(ModelError, match="changed since"):
        checkpoint.require_modalities(model, [Modality(name="terrain", bands=("height", "wetness"), resolution=50, units="m")])


def test_three_hundred_species_on_two_threads_repeat_to_the_bit():
    """Many species share a genus vector: its gradient is summed in the same order every time."""
    taxa = tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Testus {i}", genus=f"g{i % 5}") for i in range(300))
    many = SpeciesList(checklist="test", taxa=taxa)
    data, _ = a_world(n=80)
    labels = sparse.csr_array((np.random.default_rng(0).random((80, 300)) < 0.1).astype(np.uint8))
    data = TrainingData(patches=data.patches, labels=labels, presence_absence=data.presence_absence, group=data.group)
    plan = TrainingPlan(steps=(Step(name="pa", epochs=3, pa=1.0),), batch=32, threads=2, seed=0)
    architecture = Architecture(width=16, latent=128)
    before = torch.get_num_threads()
    a, b = (
        train(data, rows=np.arange(80), modalities=[HEIGHT], grid=GRID, species=many, architecture=architecture, plan=plan)
        for _ in range(2)
    )
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert torch.get_num_threads() == before and not torch.are_deterministic_algorithms_enabled()


def test_steps_without_records_are_skipped_and_none_at_all_is_an_error():
    """Background alone is nothing to learn from; the smallest batch works; a plan of nothing is refused."""
    data, _ = a_world(n=60)
    nobody = TrainingData(patches=data.patches, labels=data.labels, presence_absence=data.presence_absence, group=np.full(60, BACKGROUND))
    fit(nobody, np.arange(60), epochs=1)
    plan = TrainingPlan(steps=(Step(name="both", epochs=1, pa=1.0, po=1.0),), batch=2, threads=1)
    train(
        data, rows=np.arange(20), modalities=[HEIGHT], grid=GRID, species=SPECIES, architecture=Architecture(width=8, latent=8), plan=plan
    )
    with pytest.raises(InputError, match="learn from"):
        fit(nobody, np.arange(60), steps=(Step(name="po", epochs=3, po=1.0),))
