"""Training learns what can be learnt, repeats to the bit, and a checkpoint is the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit

from geoplantnet.cubes import Modality, PatchReader, TablePatches
from geoplantnet.errors import ConfigurationError, InputError, ModelError, UsageError
from geoplantnet.grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from geoplantnet.sdm.batches import GroupPasses
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.losses import LOSSES, Batch, presence_absence
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.sdm.train import Average, Clock, Step, TrainingPlan, _Learner, _Task, predict_sites, train
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
    return Sites(
        species=SPECIES,
        patches=reader,
        labels=sparse.csr_array(labels),
        presence_absence=absence,
        group=group,
        xy=points[["x", "y"]].to_numpy(float),
    )


def fit(sites, rows, *, steps=None, epochs=12, architecture=None, relative=False, **plan):
    steps = steps or (Step(name="po", epochs=1, po=1.0), Step(name="both", epochs=epochs, pa=1.0, po=0.1, learning_rate=0.01))
    return train(
        sites,
        rows=rows,
        grid=GRID,
        architecture=architecture or Architecture(width=16, latent=16),
        plan=TrainingPlan(**{"steps": steps, "batch": 32, "threads": 1, **plan}),
        relative=relative,
    )


def same(a, b):
    """Whether two models' weights are equal, bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_gradient_is_learnt_and_beats_location_and_prevalence():
    """Held-out sites far from any pattern in x, y: the environment predicts them, location does not."""
    sites = a_world()
    rows = np.arange(300)
    model = fit(sites, rows, epochs=25)
    outer = sites.plots(np.arange(300, 400))
    labels = sites.found(outer)
    place = LocationOnly(trees=30).fit(sites, sites.plots(rows)).predict(sites, outer)
    flat = Prevalence().fit(sites, sites.plots(rows)).predict(sites, outer)
    own = np.nanmean(auc_per_species(predict_sites(model, sites.patches, outer), labels))
    assert own > 0.8 and own > np.nanmean(auc_per_species(place, labels)) + 0.05
    assert np.nanmean(auc_per_species(flat, labels)) == 0.5


def test_the_same_plan_gives_the_same_bits_and_another_seed_does_not():
    """Weights are equal bit for bit, whatever was drawn from global random state before."""
    sites = a_world(n=120)
    first = fit(sites, np.arange(120), epochs=2)
    torch.rand(7)
    assert same(first, fit(sites, np.arange(120), epochs=2)) and not same(first, fit(sites, np.arange(120), epochs=2, seed=1))


def test_held_out_rows_do_not_touch_the_model():
    """Changing the labels of sites outside `rows` changes nothing: no leak."""
    sites = a_world(n=160)
    changed = sites.labels.toarray()
    changed[120:] = 1 - changed[120:]
    other = replace(sites, labels=sparse.csr_array(changed))
    assert same(fit(sites, np.arange(120), epochs=2), fit(other, np.arange(120), epochs=2))


def test_without_plots_there_is_nothing_to_calibrate():
    """Presence-only records alone are refused with the fix."""
    with pytest.raises(InputError, match="add a survey"):
        fit(a_world(n=40, po_share=1.1), np.arange(40))


def test_only_plots_a_species_with_one_record_and_a_missing_modality_train():
    """No presence-only rows, a species found once, one found nowhere, and a modality that is NaN everywhere: finite predictions."""
    nothing = FakeSource(height=lambda x, y: np.nan * x, wetness=lambda x, y: np.nan * x)
    sites = a_world(n=60, po_share=-1, source=nothing)
    labels = sites.labels.toarray()
    labels[:, :2] = 0
    labels[3, 0] = 1
    sites = replace(sites, labels=sparse.csr_array(labels))
    model = fit(sites, np.arange(60), epochs=3)
    p = predict_sites(model, sites.patches, np.arange(60))
    assert torch.isfinite(model.bias).all() and np.isfinite(p).all() and p[:, :2].max() < 0.3


def test_gaps_in_the_predictors_train_and_predict():
    """NaN in some pixels of some bands, infinities too: every prediction is finite, and differs between sites."""
    gaps = FakeSource(
        height=lambda x, y: np.where(np.sin(x) > 0.5, np.nan, np.sin(x / 700)),
        wetness=lambda x, y: np.where(np.cos(y) > 0.8, np.inf, y % 3),
    )
    sites = a_world(n=80, source=gaps)
    p = predict_sites(fit(sites, np.arange(80), epochs=2), sites.patches, np.arange(80))
    assert np.isfinite(p).all() and p.std(axis=0).max() > 1e-4


def test_a_checkpoint_is_the_model(tmp_path):
    """Loaded from disk it predicts the same bits, knows its species, modalities and facts, and holds no pickle."""
    sites, rows = a_world(n=80), np.arange(80)
    architecture = Architecture(width=16, latent=16, fusion="concatenated", plot_area=100.0)
    model = fit(sites, rows, epochs=1, architecture=architecture)
    checkpoint.save(model, tmp_path / "m", plot_area_m2=100)
    back, facts = checkpoint.load(tmp_path / "m")
    assert np.array_equal(predict_sites(back, sites.patches, rows), predict_sites(model, sites.patches, rows))
    assert back.architecture == architecture
    assert back.species.hash == SPECIES.hash and back.modalities == (HEIGHT,) and facts == {"plot_area_m2": 100}
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "weights.safetensors"]


def test_what_is_no_checkpoint_or_another_recipe_is_refused(tmp_path):
    """Absent, truncated, of other species, of other modalities: a ModelError that names the fix."""
    with pytest.raises(ModelError, match="geoplantnet train"):
        checkpoint.load(tmp_path / "none")
    sites = a_world(n=60)
    model = fit(sites, np.arange(60), epochs=1)
    checkpoint.save(model, tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError):
        checkpoint.load(tmp_path / "m")
    fewer = SpeciesList(checklist="test", taxa=SPECIES.taxa[:5])
    small = replace(sites, species=fewer, labels=sparse.csr_array(sites.labels[:, :5]))
    checkpoint.save(fit(small, np.arange(60), epochs=1), tmp_path / "n")
    weights.write_bytes((tmp_path / "n" / "weights.safetensors").read_bytes())
    with pytest.raises(ModelError, match="do not fit"):
        checkpoint.load(tmp_path / "m")
    with pytest.raises(ModelError, match="trained with modality 'terrain'"):
        checkpoint.require_modalities(model, [])
    with pytest.raises(ModelError, match="changed since"):
        checkpoint.require_modalities(model, [Modality(name="terrain", bands=("height", "wetness"), resolution=50, units="m")])
    for other in (fewer, SpeciesList(checklist="test", taxa=SPECIES.taxa[::-1])):
        with pytest.raises(ModelError, match="another species list"):
            checkpoint.require_species(model, other)
    checkpoint.require_species(model, SpeciesList(checklist="test", taxa=SPECIES.taxa))


def many_species(count):
    """A world of `count` species in few genera, found at random."""
    taxa = tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Testus {i}", genus=f"g{i % 5}") for i in range(count))
    sites = a_world(n=80)
    labels = (np.random.default_rng(0).random((80, count)) < 0.1) & (sites.presence_absence | (sites.group != BACKGROUND))[:, None]
    return replace(sites, species=SpeciesList(checklist="test", taxa=taxa), labels=sparse.csr_array(labels.astype(np.uint8)))


def test_three_hundred_species_on_two_threads_repeat_to_the_bit():
    """Many species share a genus vector: its gradient is summed in the same order every time."""
    sites = many_species(300)
    before = torch.get_num_threads()
    a, b = (
        fit(sites, np.arange(80), steps=(Step(name="pa", epochs=3, pa=1.0),), threads=2, architecture=Architecture(width=16, latent=128))
        for _ in range(2)
    )
    assert same(a, b)
    assert torch.get_num_threads() == before and not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_training_by_blocks_of_species_is_training_on_all(loss):
    """Three hundred species at once or 64 at a time: the same predictions, whatever the loss, with pseudo-labels too."""
    sites, rows = many_species(300), np.arange(80)
    steps = (
        Step(name="both", epochs=2, pa=1.0, po=1.0, loss=loss),
        Step(name="pseudo", epochs=1, pa=1.0, po=1.0, pseudo=(0.08, 0.12)),
    )
    whole, blocks = (predict_sites(fit(sites, rows, steps=steps, species_block=size), sites.patches, rows) for size in (300, 64))
    assert np.abs(whole - blocks).max() < 1e-4
    assert np.abs(whole - whole.mean(axis=0)).max() > 1e-3


def with_cover(sites, seed=0):
    """The same sites; every presence has a weight of its own."""
    cover = sites.labels.astype(np.float32)
    cover.data = np.random.default_rng(seed).uniform(0.1, 4, cover.nnz).astype(np.float32)
    return replace(sites, presence_weight=cover)


@pytest.mark.parametrize("block", [300, 64])
def test_weighted_presences_leave_a_constant_at_the_prevalence(block):
    """At the logit of each species' share of the plots the loss of all plots has no slope, by blocks of species as well; two species
    that swap their cover swap their weights.
    """
    sites, rows = with_cover(many_species(300)), np.arange(80)
    plots = sites.plots(rows)
    prevalence = sites.found(plots).mean(axis=0)
    kept = np.flatnonzero((prevalence > 0) & (prevalence < 1))
    net = fit(sites, rows, steps=(Step(name="pa", epochs=1, pa=1.0),))
    learner = _Learner(net, sites, rows, TrainingPlan(steps=(), species_block=block))
    task = _Task("presence_absence", 1.0, plots, torch.ones(plots.size, 1), None, None, None, None)
    targets = learner._targets(task, None, 300)
    blocks = [targets(slice(start, min(start + block, 300))) for start in range(0, 300, block)]
    labels, worth = (torch.cat(parts, dim=1) for parts in zip(*blocks))
    assert np.array_equal(labels.numpy(), sites.found(plots)) and worth[labels == 0].eq(1).all() and worth[labels > 0].std() > 0.1
    constant = torch.from_numpy(np.log(prevalence[kept] / (1 - prevalence[kept]))).float().requires_grad_()
    loss = presence_absence(Batch.of(constant.expand(plots.size, -1), labels[:, kept], worth=worth[:, kept]))
    assert torch.autograd.grad(loss, constant)[0].abs().max() < 1e-7 < loss.item()
    moved = torch.autograd.grad(
        presence_absence(Batch.of(0.5 + constant.expand(plots.size, -1), labels[:, kept], worth=worth[:, kept])), constant
    )
    assert (moved[0] > 0).all()


def test_training_with_weighted_presences():
    """Weights change what is learnt and pseudo-labels honour them; by blocks of species the same; weights of one everywhere are none."""
    plain, rows = many_species(300), np.arange(80)
    sites = with_cover(plain)
    steps = (
        Step(name="plots", epochs=2, pa=1.0, learning_rate=0.01),
        Step(name="pseudo", epochs=1, pa=1.0, po=1.0, pseudo=(0.08, 0.12)),
    )
    p, whole, blocks, ones = (
        predict_sites(fit(s, rows, steps=steps, species_block=size), s.patches, rows)
        for s, size in ((plain, 300), (sites, 300), (sites, 64), (replace(plain, presence_weight=plain.labels), 300))
    )
    assert np.abs(whole - blocks).max() < 1e-5 and np.abs(p - ones).max() < 1e-5
    assert np.abs(whole - p).max() > 1e-3
    records = (replace(steps[1], pa=0.0),)  # the plots' weights are not asked for
    assert not same(fit(sites, rows, steps=records), fit(plain, rows, steps=records))


def test_one_species_trains():
    """A list of one species, with every loss."""
    sites = many_species(1)
    steps = tuple(Step(name=loss, epochs=1, pa=1.0, po=1.0, loss=loss) for loss in LOSSES)
    p = predict_sites(fit(sites, np.arange(80), steps=steps, sampled_species=1), sites.patches, np.arange(80))
    assert p.shape == (80, 1) and np.isfinite(p).all()


def test_steps_without_records_are_skipped_and_none_at_all_is_an_error():
    """Background alone is nothing to learn from; the smallest batch works; a plan of nothing is refused."""
    sites = a_world(n=60)
    nobody = replace(sites, labels=0 * sites.labels, group=np.full(60, BACKGROUND))
    fit(nobody, np.arange(60), epochs=1)
    fit(sites, np.arange(20), steps=(Step(name="both", epochs=1, pa=1.0, po=1.0),), batch=2)
    for step in (Step(name="po", epochs=3, po=1.0), Step(name="pseudo", epochs=3, po=1.0, pseudo=(0.1, 0.4))):
        with pytest.raises(InputError, match="learn from"):
            fit(nobody, np.arange(60), steps=(step,))


def test_plot_area_scales_odds_and_its_exponent_is_learnt():
    """Plots whose odds grow with the root of their area: the exponent is found, the head of an area is the model on that area."""
    rng, rows = np.random.default_rng(0), np.arange(400)
    sites = a_world(n=400, po_share=-1)
    area = np.where(rng.random(400) < 0.1, np.nan, 10 ** rng.uniform(0, 4, 400)).astype(np.float32)
    odds = np.log(np.where(np.isnan(area), 100, area) / 100) * 0.5 - 0.5
    labels = (rng.random((400, len(SPECIES))) < expit(odds)[:, None]).astype(np.uint8)
    sites = replace(sites, labels=sparse.csr_array(labels), plot_area=area)
    architecture = Architecture(width=8, latent=8, plot_area=100.0)
    model = fit(sites, rows, steps=(Step(name="pa", epochs=20, pa=1.0, learning_rate=0.03),), architecture=architecture)
    exponent = torch.nn.functional.softplus(model.area_exponent).item()
    assert exponent == pytest.approx(0.5, abs=0.08)
    at = {a: predict_sites(model, sites.patches, rows, plot_area=np.full(400, a, np.float32)) for a in (100, 400, np.nan)}
    assert np.array_equal(at[100], at[np.nan]) and np.array_equal(at[100], predict_sites(model, sites.patches, rows))
    grown = np.log(at[400] / (1 - at[400])) - np.log(at[100] / (1 - at[100]))
    assert np.allclose(grown, exponent * np.log(4), atol=1e-3)
    with torch.inference_mode():
        z = model.latent(sites.patches.read(rows))[0][:, :, 0, 0].numpy()
    assert np.allclose(model.species_head(400).probabilities(z).T, at[400], atol=1e-5)
    assert np.allclose(model.species_head().probabilities(z).T, at[100], atol=1e-5)
    with pytest.raises(ModelError, match="reference `plot_area`"):
        fit(sites, rows, epochs=1).species_head(400)


def test_known_effort_is_not_taken_for_suitability():
    """Records pile up where effort is high, species grow everywhere: untold, the map follows effort; told, it does not."""
    rng, rows = np.random.default_rng(1), np.arange(500)
    sites = a_world(n=500, po_share=1.1)
    height = sites.patches.read(rows)["terrain"].values[:, 0, 0, 0]
    labels = (rng.random((500, len(SPECIES))) < 0.8 * np.exp(height - height.max())[:, None]).astype(np.uint8)
    sites = replace(sites, labels=sparse.csr_array(labels), group=np.zeros(500, np.int64))
    steps = (Step(name="po", epochs=15, po=1.0, learning_rate=0.01),)
    slopes = []
    for each in (sites, replace(sites, effort=height)):
        model = fit(each, rows, steps=steps, architecture=Architecture(width=8, latent=8), relative=True)
        p = predict_sites(model, sites.patches, rows).astype(np.float64)
        slopes.append(np.polyfit(height, np.log(p / (1 - p)).mean(axis=1), 1)[0])
    assert slopes[0] > 0.7 and abs(slopes[1]) < 0.3


def test_a_site_of_weight_none_is_not_there():
    """Sites of weight 0 change nothing, and neither does a weight of 1 everywhere."""
    sites, rows = a_world(n=100), np.arange(100)
    kept = np.random.default_rng(0).random(100) < 0.7
    weighted = replace(sites, weight=kept.astype(np.float32))
    ones = replace(sites, weight=np.ones(100, np.float32))
    assert same(fit(weighted, rows, epochs=1), fit(ones, rows[kept], epochs=1))
    p, q = (predict_sites(fit(s, rows, epochs=2), sites.patches, rows) for s in (sites, ones))
    assert np.abs(p - q).max() < 1e-3


def test_pseudo_labels_teach_what_the_teacher_is_sure_of():
    """Records of one species alone: with pseudo-labels from plots the records' other species stay as likely as plots say."""
    sites = a_world(n=400)
    labels = sites.labels.toarray()
    labels[~sites.presence_absence, 1:] = 0
    sites, rows = replace(sites, labels=sparse.csr_array(labels)), np.arange(400)
    first = Step(name="plots", epochs=15, pa=1.0, learning_rate=0.01)
    by_loss = {
        "absent": Step(name="records", epochs=8, po=1.0, loss="presence_absence", learning_rate=0.01),
        "pseudo": Step(name="records", epochs=8, po=1.0, pseudo=(0.05, 0.4), learning_rate=0.01),
    }
    outer = sites.plots(rows)
    p = {name: predict_sites(fit(sites, rows, steps=(first, step)), sites.patches, outer)[:, 1:] for name, step in by_loss.items()}
    truth = sites.found(outer)[:, 1:].mean()
    assert p["absent"].mean() < 0.5 * truth and p["pseudo"].mean() > 0.7 * truth


def test_the_moving_average_is_the_weighted_mean_of_what_it_saw():
    """Against the sum written out; of one set of weights it is that set; trained with it, the model is another, finite one."""
    model, decay = torch.nn.Linear(3, 2), 0.9
    average, seen = Average(model, decay), []
    for i in range(7):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, generator=torch.Generator().manual_seed(i)))
        seen.append(model.weight.detach().clone())
        average.update(model)
        factors = torch.tensor([decay**k for k in range(i, -1, -1)])
        expected = (factors[:, None, None] * torch.stack(seen)).sum(0) / factors.sum()
        assert torch.allclose(average.weights["weight"], expected, atol=1e-6)
    sites, rows = a_world(n=100), np.arange(100)
    last, averaged = (fit(sites, rows, epochs=3, ema=ema) for ema in (None, 0.99))
    assert not same(last, averaged) and np.isfinite(predict_sites(averaged, sites.patches, rows)).all()


def test_half_precision_is_close():
    """Trained in bfloat16 the model predicts within a few hundredths of the one in float32, and its weights are float32."""
    sites, rows = a_world(n=200), np.arange(200)
    p, q = (fit(sites, rows, epochs=4, precision=precision) for precision in ("32", "bf16"))
    assert all(w.dtype == torch.float32 for w in q.state_dict().values())
    gap = np.abs(predict_sites(p, sites.patches, rows) - predict_sites(q, sites.patches, rows))
    assert 0 < gap.mean() < 0.02 and gap.max() < 0.1


def test_a_loss_that_is_no_number_stops_with_the_step():
    """An absurd learning rate names its step and what to change."""
    with pytest.raises(ModelError, match=r"step 'wild', epoch .*learning_rate"):
        fit(a_world(n=80), np.arange(80), steps=(Step(name="wild", epochs=20, pa=1.0, learning_rate=1e30),))


def test_what_cannot_be_planned_is_refused():
    """Unknown losses, thresholds out of order, values that are none."""
    with pytest.raises(UsageError, match="deep_maxent"):
        Step(name="po", epochs=1, po=1.0, loss="deepmaxent")
    for pseudo in ((0.4, 0.05), (-0.1, 0.5), (0.1, 1.5)):
        with pytest.raises(UsageError, match="low < high"):
            Step(name="po", epochs=1, po=1.0, pseudo=pseudo)
    step = Step(name="pa", epochs=1, pa=1.0)
    for wrong in ({"ema": 1.5}, {"precision": "16"}, {"accelerator": "tpu"}, {"devices": 0}, {"species_block": 0}):
        with pytest.raises(ConfigurationError):
            TrainingPlan(steps=(step,), **wrong)
    with pytest.raises(ConfigurationError, match="gated"):
        Architecture(fusion="late")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="cuda"):
            fit(a_world(n=40), np.arange(40), accelerator="cuda", epochs=1)


def test_what_a_survey_reports_readily_is_not_taken_for_prevalence():
    """Lists in which a common species is never written down: with a bias of its own the survey does not lower its map."""
    sites, rows = a_world(n=600), np.arange(600)
    labels = sites.labels.toarray()
    labels[~sites.presence_absence, 0] = 0
    sites = replace(sites, labels=sparse.csr_array(labels), group=np.where(sites.presence_absence, 1, 0))
    steps = (Step(name="both", epochs=12, pa=1.0, po=1.0, loss="presence_absence", learning_rate=0.01),)
    outer = sites.plots(rows)
    told = {}
    for own in (False, True):
        model = fit(sites, rows, steps=steps, architecture=Architecture(width=16, latent=16, survey_bias=own))
        told[own] = predict_sites(model, sites.patches, outer)[:, 0].mean()
    observed = sites.found(outer)[:, 0].mean()
    assert told[False] < 0.75 * observed and abs(told[True] - observed) < 0.12 * observed


def test_a_model_with_survey_biases_comes_back_whole(tmp_path):
    """Their number is in the checkpoint; maps do not see them."""
    sites, rows = a_world(n=120), np.arange(120)
    model = fit(sites, rows, epochs=2, architecture=Architecture(width=8, latent=8, survey_bias=True))
    checkpoint.save(model, tmp_path / "model")
    again, _ = checkpoint.load(tmp_path / "model")
    assert model.surveys == again.surveys == 1 and same(model, again)
    assert np.array_equal(model.species_head().bias, model.bias.detach().numpy())


def test_predictors_far_outside_the_training_data_stop_at_four_deviations():
    """A cell a hundred deviations away is predicted as one at four; within four nothing is touched."""
    frame = pd.DataFrame({"height": np.r_[np.random.default_rng(0).normal(size=100), 4.0, 100.0, 3.0]})
    frame["height"] = np.r_[(v := frame["height"][:100]) / v.std(ddof=0) - (v / v.std(ddof=0)).mean(), 4.0, 100.0, 3.0]
    rng = np.random.default_rng(1)
    labels = (rng.random((103, len(SPECIES))) < 0.4).astype(np.uint8)
    sites = Sites(
        species=SPECIES,
        patches=TablePatches(frame, {"terrain": ("height",)}),
        labels=sparse.csr_array(labels),
        presence_absence=np.ones(103, bool),
        group=np.zeros(103, np.int64),
        xy=np.zeros((103, 2)),
    )
    model = fit(sites, np.arange(100), epochs=3)
    at_four, far, at_three = predict_sites(model, sites.patches, np.array([100, 101, 102]))
    assert np.allclose(at_four, far, atol=1e-5) and not np.allclose(at_three, far, atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 90), st.integers(4, 40))
def test_background_weighs_what_the_plan_says(records, background, size):
    """Beside each batch of records, background in the proportion of its mass to all record sites, and one at least."""
    group = np.r_[np.zeros(records, np.int64), np.full(background, BACKGROUND)]
    batch = next(GroupPasses(np.arange(group.size), group, size, np.random.default_rng(0), mass=30.0))
    drawn = (group[batch] == BACKGROUND).sum()
    assert drawn == min(background, max(1, round(size * 30.0 / records))) and (group[batch] == 0).sum() == min(size, records)


@pytest.mark.parametrize(
    ("length", "batches"), [({"updates": 9}, 12), ({"updates": 9, "epochs": 2}, 8), ({"updates": 9, "epochs": 50}, 12), ({"epochs": 2}, 8)]
)
def test_updates_stand_for_passes(length, batches):
    """So many batches as asked for, rounded up to whole passes of four here, and no more than so many passes; neither is refused."""
    sites, rows = a_world(n=120, po_share=-1), np.arange(120)
    seen = []
    plan = TrainingPlan(steps=(Step(name="plots", pa=1.0, **length),), batch=32, threads=1)
    train(sites, rows=rows, grid=GRID, architecture=Architecture(width=8, latent=8), plan=plan, progress=lambda *a: seen.append(a[:2]))
    assert seen[-1] == (batches, batches)
    for bad in ({}, {"updates": 0}, {"epochs": -1, "updates": 3}):
        with pytest.raises(UsageError, match="epochs or updates"):
            Step(name="plots", pa=1.0, **bad)


@pytest.mark.parametrize(("passed", "done", "said"), [(10, 20, ", 40 s left"), (100, 20, ", 7 min left"), (10, 100, ""), (10, 0, "")])
def test_the_time_left_goes_by_the_pace_so_far(passed, done, said):
    """Of 100 batches 20 in 10 s: 40 s left; nothing is said at the end, nor before the first."""
    now = iter([0.0, float(passed)])
    assert Clock(0, 100, lambda: next(now)).left(done) == said


def test_a_model_maps_other_periods_than_it_learnt_from():
    """As many periods, or none, of bands and pixels that are the same; more of them, or other bands, are another modality."""
    learnt = Modality(name="climate", bands=("tas",), resolution=1000, halo=1, time=TimeAxis(step="month", first="2020-01", count=24))
    assert replace(learnt, time=TimeAxis(step="month", first="2050-01", count=24)).learns_as(learnt)
    assert not replace(learnt, time=TimeAxis(step="month", first="2050-01", count=12)).learns_as(learnt)
    assert not replace(learnt, time=None).learns_as(learnt) and not replace(learnt, bands=("pr",)).learns_as(learnt)
