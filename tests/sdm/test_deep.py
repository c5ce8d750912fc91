"""The deep-SDM as an estimator: what it is fitted on decides what its numbers mean; the published recipe is a plan of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit

from geoplantnet.cubes import Modality, PatchReader, TablePatches, build_cube, write_cube
from geoplantnet.errors import InputError, ModelError
from geoplantnet.grid import TileGrid
from geoplantnet.sdm import deep
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.sites import Sites
from geoplantnet.sdm.train import Step, TrainingPlan
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = SpeciesList(
    checklist="test", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Testus {i}", genus=f"g{i % 2}") for i in range(6))
)
PLAN = TrainingPlan(
    steps=(
        Step(name="records", epochs=4, po=1.0, learning_rate=0.01),
        Step(name="both", epochs=8, pa=1.0, po=0.1, learning_rate=0.01),
    ),
    batch=32,
    threads=1,
)
SMALL = Architecture(width=8, latent=16)


def a_world(n=300, seed=0, *, plots=0.5):
    """Sites whose species follow warmth; records pile up where the truth is high."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"warmth": rng.normal(size=n), "rain": rng.normal(size=n)})
    truth = expit(np.outer(frame["warmth"], np.linspace(-3, 3, len(SPECIES))) - 1)
    absence = rng.random(n) < plots
    return Sites(
        species=SPECIES,
        patches=TablePatches(frame, {"climate": ("warmth",), "water": ("rain",)}),
        labels=sparse.csr_array((rng.random(truth.shape) < truth).astype(np.uint8)),
        presence_absence=absence,
        group=np.where(absence, 0, 1),
        xy=rng.random((n, 2)),
    ), truth


def test_it_learns_the_gradient_and_a_saved_one_is_itself(tmp_path):
    """Held-out sites are ranked well; saved and loaded it predicts the same bits and knows its hyper-parameters."""
    sites, _ = a_world()
    model = Deep(architecture=SMALL, plan=PLAN).fit(sites, np.arange(200))
    outer = sites.plots(np.arange(200, 300))
    p = model.predict(sites, outer)
    assert np.nanmean(auc_per_species(p, sites.found(outer))) > 0.75 and not model.relative_
    model.save(tmp_path / "deep")
    back = Deep.load(tmp_path / "deep")
    assert np.array_equal(back.predict(sites, outer), p)
    assert (back.architecture, back.plan, back.grid, back.relative_) == (SMALL, PLAN, TileGrid(), False)


def test_records_alone_give_relative_suitability():
    """Without plots the places of each species are ranked, logits are centred on the records' sites, and the default recipe works."""
    sites, truth = a_world(plots=-1)
    longer = replace(PLAN, steps=(replace(PLAN.steps[0], epochs=25), PLAN.steps[1]))
    for plan in (deep.PLAN, longer):
        model = Deep(architecture=SMALL, plan=plan).fit(sites, np.arange(300))
        p = model.predict(sites, np.arange(300)).astype(np.float64)
        assert model.relative_ and np.abs(np.log(p / (1 - p)).mean(axis=0)).max() < 0.05
    labels = sites.labels.toarray()
    labels[:, 1] = 0
    unseen = Deep(architecture=SMALL, plan=longer).fit(replace(sites, labels=sparse.csr_array(labels)), np.arange(300))
    assert unseen.predict(sites, np.arange(300))[:, 1].max() < 0.05  # never recorded, it is unlikely everywhere
    rank = [np.corrcoef(p[:, k], truth[:, k])[0, 1] for k in range(len(SPECIES)) if k not in (2, 3)]
    assert min(rank) > 0.7


def test_a_modality_missing_everywhere_or_hidden_is_no_obstacle(tmp_path):
    """All NaN while training, or only while predicting: predictions are finite, and differ from those that see it."""
    sites, _ = a_world(n=150)
    rows = np.arange(150)
    blind = Deep(architecture=SMALL, plan=PLAN).fit(sites.masked(["water"]), rows)
    p = blind.predict(sites.masked(["water"]), rows)
    assert np.isfinite(p).all() and np.array_equal(p, blind.predict(sites, rows))  # of what it never saw it knows nothing
    blind.save(tmp_path / "blind")
    assert np.array_equal(p, Deep.load(tmp_path / "blind").predict(sites, rows))
    seeing = Deep(architecture=SMALL, plan=PLAN).fit(sites, rows)
    without = seeing.predict(sites.masked(["climate"]), rows)
    assert np.isfinite(without).all() and np.abs(without - seeing.predict(sites, rows)).max() > 1e-3
    assert np.isfinite(seeing.predict(sites.masked(["climate", "water"]), rows)).all()


def test_it_reads_cubes_as_well_as_tables(tmp_path, small_grid, modalities, sources, species):
    """Images, series and coarse climate at their own resolution, through PatchReader, with both ways for modalities to meet."""
    tile = small_grid.tile("2kmE4200N2600")
    write_cube(build_cube(tile, modalities, sources), tmp_path / "cube", modalities)
    rng = np.random.default_rng(0)
    west, south, _, _ = tile.bounds
    points = pd.DataFrame({"x": west + rng.random(24) * 2000, "y": south + rng.random(24) * 2000})
    sites = Sites(
        species=species,
        patches=PatchReader(points, grid=small_grid, modalities=modalities, sources=sources, cubes={tile.id: tmp_path / "cube"}),
        labels=sparse.csr_array((rng.random((24, len(species))) < 0.4).astype(np.uint8)),
        presence_absence=np.arange(24) % 2 == 0,
        group=np.arange(24) % 2,
        xy=points.to_numpy(float),
    )
    plan = TrainingPlan(steps=(Step(name="both", epochs=1, pa=1.0, po=1.0),), batch=8, threads=1)
    for fusion in ("gated", "concatenated"):
        model = Deep(architecture=Architecture(width=8, latent=8, fusion=fusion), plan=plan, grid=small_grid)
        p = model.fit(sites, np.arange(24)).predict(sites, np.arange(24))
        assert np.isfinite(p).all() and p.std(axis=0).max() > 0


def test_plots_of_known_area_are_predicted_at_their_area():
    """The same place on a larger plot holds every species at least as likely; where the area is unknown it is the reference area."""
    sites, _ = a_world(n=100, plots=2)
    rows = np.arange(100)
    areas = np.where(np.arange(100) % 2, 100, 400).astype(np.float32)
    model = Deep(architecture=replace(SMALL, plot_area=100.0), plan=PLAN).fit(replace(sites, plot_area=areas), rows)
    small, large, unknown = (model.predict(replace(sites, plot_area=np.full(100, a, np.float32)), rows) for a in (100, 400, np.nan))
    assert (large > small).all() and np.array_equal(small, unknown) and np.array_equal(small, model.predict(sites, rows))


def test_fit_goes_on_where_it_was_killed(tmp_path):
    """`resume` and `progress` reach the training; the order of rows changes nothing."""
    sites, _ = a_world(n=100)

    def stop(done, total, message):
        if done == 7:
            raise KeyboardInterrupt

    model = Deep(architecture=SMALL, plan=PLAN)
    with pytest.raises(KeyboardInterrupt):
        model.fit(sites, np.arange(100), progress=stop, resume=tmp_path)
    p = model.fit(sites, np.arange(100)[::-1], resume=tmp_path).predict(sites, np.arange(100))
    assert np.array_equal(p, Deep(architecture=SMALL, plan=PLAN).fit(sites, np.arange(100)).predict(sites, np.arange(100)))


def test_what_cannot_be_done_says_why(tmp_path):
    """Unfitted, nothing to learn, another list of species, a modality gone or changed, no saved model there."""
    sites, _ = a_world(n=60)
    with pytest.raises(ModelError, match="fit"):
        Deep().predict(sites, np.arange(3))
    with pytest.raises(ModelError, match="fit"):
        Deep().save(tmp_path / "never")
    with pytest.raises(ModelError, match="no readable checkpoint"):
        Deep.load(tmp_path)
    with pytest.raises(InputError, match="no species was found"):
        Deep(plan=PLAN).fit(replace(sites, labels=0 * sites.labels), np.arange(60))
    model = Deep(architecture=SMALL, plan=PLAN).fit(sites, np.arange(60))
    fewer = replace(sites, species=SpeciesList(checklist="test", taxa=SPECIES.taxa[:5]), labels=sparse.csr_array(sites.labels[:, :5]))
    with pytest.raises(ModelError, match=r"not on this one of 5: 1 species not asked for \(Testus 5"):
        model.predict(fewer, np.arange(60))
    frame = pd.DataFrame({"warmth": np.zeros(60), "rain": np.zeros(60)})
    for columns, reason in (
        ({"climate": ("warmth",)}, "'water'"),
        ({"climate": ("warmth",), "water": ("rain", "warmth")}, "changed since"),
    ):
        with pytest.raises(ModelError, match=reason):
            model.predict(replace(a_world(n=60)[0], patches=TablePatches(frame, columns)), np.arange(60))
    assert Modality(name="climate", bands=("warmth",), resolution=50) == model.net_.modalities[0]
