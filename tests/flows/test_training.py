"""What `train` leaves: ensembles, calibration, held-out predictions, where the model applies; and how it goes on after a kill."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from scipy.special import expit, logit

from geoplantnet import occurrences as occ
from geoplantnet.assemblages import open_latent
from geoplantnet.catalog.catalog import check, open_catalog
from geoplantnet.errors import InputError
from geoplantnet.sdm.applicability import Applicability
from geoplantnet.sdm.evaluate import expected_calibration_error
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.models import MODELS, load_estimator
from geoplantnet.sdm.sites import BACKGROUND, tabulate
from geoplantnet.sdm.species_report import SpeciesTables
from geoplantnet.storage import sha256
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.sites import gather
from pipelines.stages import TaskFailed
from pipelines.train_sdm import TRAIN
from pipelines.trained import Trained

TILE = "5kmE4100N2600"


@pytest.fixture(scope="module")
def joined(reference, write_recipe, run_recipe, tmp_path_factory):
    """The whole run with the models of three folds as one, calibrated where that helps. Look, do not touch."""
    store = tmp_path_factory.mktemp("joined") / "store"
    shutil.copytree(reference.store, store)
    recipe = write_recipe({"validation.held_out": "all", "training.members": "folds"})
    ran = run_recipe(recipe, store)
    return Run.open(recipe, store=store), ran


def test_models_of_folds_are_one_ensemble(joined):
    """A folder that loads as an estimator; what the tile says of a cell is the calibrated mean logit of its members."""
    run, _ = joined
    trained, latent = Trained.load(run.model), open_latent(run.latent(TILE), run.grid)
    assert len(trained.nets) == len(load_estimator(run.model).members) == latent.members == 3
    rows, columns = np.nonzero(latent.valid)[0][:50], np.nonzero(latent.valid)[1][:50]
    slope, offsets = trained.calibration.slope, trained.calibration.offsets
    members = np.stack([latent.member(m).at(rows, columns) / latent.availability[rows, columns, None] for m in range(3)])
    own = (logit(members.astype(float)) - offsets) / slope  # as the members said it
    assert np.allclose(expit(slope * own.mean(axis=0) + offsets), latent.at(rows, columns), atol=1e-3)
    for m, net in enumerate(trained.nets):
        assert np.allclose(latent.member(m).head.weights, slope * net.species_head().weights, atol=1e-5)


def test_disagreement_of_the_ensemble_is_published(joined):
    """Band and layer of the spread of richness are the standard deviation of the members' sums of p."""
    run, _ = joined
    latent = open_latent(run.latent(TILE), run.grid)
    sums = np.stack([latent.member(m).block(slice(None)).sum(axis=0) for m in range(3)])
    with rasterio.open(run.product(TILE, "richness.tif")) as raster:
        layer = open_catalog(run.store).layers["richness.spread"]
        assert raster.descriptions[layer.band - 1] == "richness_spread"
        assert np.abs(raster.read(layer.band) * raster.scales[layer.band - 1] - sums.std(axis=0))[latent.valid].max() <= 0.003
    assert latent.spread(0).max() > 0 and check(run.store) == []


def test_calibration_is_kept_only_where_it_helps_and_shown_honestly(joined):
    """What is held out is predicted as the map predicts it, by calibrations that have not seen the plot; before stands beside it."""
    run, ran = joined
    held_out = HeldOut.load(run.model / "held_out")
    stats = Ledger(run.store).record("train", "model").stats
    written = json.loads((run.model / "calibration.json").read_text(encoding="utf-8"))
    assert stats["calibration"] == written["choice"]["name"] and sorted(set(held_out.fold)) == [0, 1, 2] and len(held_out) == 150
    mean = {name: np.average(e, weights=written["choice"]["plots"]) for name, e in written["choice"]["ece"].items()}
    if stats["calibration"] == "identity":
        assert mean["identity"] <= min(mean.values()) and "uncalibrated" not in held_out.p and written["slope"] == 1
        assert "left out" in ran.text
    else:
        assert mean[stats["calibration"]] < mean["identity"] and list(held_out.p)[:2] == ["model", "uncalibrated"]
        before = expected_calibration_error(held_out.p["uncalibrated"], held_out.found())
        assert stats["skill"]["uncalibrated"]["ece"] == pytest.approx(before) and "uncalibrated" in ran.text


def test_applicability_is_that_of_the_features_at_the_cells(joined):
    """The published index at cells is the one of their predictors; plots learnt from lie at 0 from themselves."""
    run, _ = joined
    aoa, latent = Applicability.load(run.model / "applicability"), open_latent(run.latent(TILE), run.grid)
    assert np.nanmax(aoa.index(aoa.sites)) <= 1e-5 and len(aoa.sites) == 150
    data = gather(run)
    tile = run.tile(TILE)
    here = np.flatnonzero((run.grid.tile_ids_at(*data.sites.xy.T) == TILE) & data.sites.presence_absence)
    west, _, _, north = tile.bounds
    rows, columns = ((north - data.sites.xy[here, 1]) // 50).astype(int), ((data.sites.xy[here, 0] - west) // 50).astype(int)
    expected = aoa.index(tabulate(data.sites.patches, here))
    step = aoa.threshold / 1000
    assert here.size > 10 and np.abs(latent.dissimilarity[rows, columns] - expected).max() <= step
    with rasterio.open(run.product(TILE, "applicability.tif")) as raster:
        index, inside = raster.read()
        assert raster.descriptions == ("dissimilarity_index", "inside") and float(raster.tags()["dissimilarity_threshold"]) > 0
    assert np.array_equal(inside == 1, latent.inside & latent.valid) and (inside == 1).any()
    assert np.abs(index * 0.001 - latent.dissimilarity)[latent.valid].max() <= 0.0006


def test_an_explanation_names_every_modality_and_band(joined):
    """Shapley values sum to what all modalities bring, on held-out plots."""
    run, _ = joined
    found = json.loads((run.model / "explanation.json").read_text(encoding="utf-8"))
    assert {row["modality"] for row in found["contributions"]} == {m.name for m in run.modalities}
    assert len(found["predictors"]) == sum(len(m.bands) for m in run.modalities) and found["plots"] >= 100
    assert sum(row["share"] for row in found["contributions"]) == pytest.approx(1)


def test_an_explanation_is_kept_species_by_species(joined):
    """The tables' means are the report's; richness is the sum of the species; ranges are those of the plots learnt from."""
    run, _ = joined
    found, data = json.loads((run.model / "explanation.json").read_text(encoding="utf-8")), gather(run)
    tables = SpeciesTables.load(run.model / "explanation")
    for rows, name, table, value in (
        ("contributions", "modality", tables.contributions, "shapley"),
        ("predictors", "name", tables.importance, "importance"),
    ):
        told = {row[name]: row[value] for row in found[rows]}
        np.testing.assert_allclose([table[key].mean() for key in told], list(told.values()), atol=1e-6)
    responses = tables.responses
    bands = responses.predictors["predictor"].tolist()
    assert set(bands) == set(most_important_of(found)) and len(bands) <= 6
    curves = responses.species.groupby(["predictor", "value"], sort=False)["mean"].sum()
    np.testing.assert_allclose(curves, responses.richness["mean"], rtol=1e-4)
    learnt = tabulate(data.sites.patches, np.flatnonzero(data.sites.presence_absence))
    for _, band in responses.predictors.iterrows():
        columns = [j for j, c in enumerate(learnt.names) if c.partition("@")[0] == band["predictor"] and not c.endswith("mean")]
        own = pd.DataFrame(learnt.values[:, columns]).mean(axis=1)
        assert (band["low"], band["high"]) == (pytest.approx(own.min(), abs=1e-4), pytest.approx(own.max(), abs=1e-4))
    labels = data.sites.labels.toarray()
    assert tables.plots == 150 and tables.found["presences"].tolist() == labels[data.sites.presence_absence].sum(axis=0).tolist()
    assert tables.found["records"].tolist() == labels[~data.sites.presence_absence].sum(axis=0).tolist()


def most_important_of(found):
    """The best band of every modality, then the best of all, six at most, that matter."""
    names = [row["name"] for row in found["predictors"] if row["importance"] > 0]
    best = {}
    for name in names:
        best.setdefault(name.split(".")[0], name)
    return list(dict.fromkeys([*best.values(), *names]))[:6]


def test_what_is_not_asked_is_not_explained(store, write_recipe, run_recipe):
    """`explain: false`: neither file nor folder; where the model applies is told as ever."""
    recipe = write_recipe({"training.explain": False})
    run_recipe(recipe, store, names=["train"])
    kept = {p.name for p in (store / "model").iterdir()}
    assert not kept & {"explanation", "explanation.json"} and "applicability" in kept


def test_a_killed_training_goes_on_from_its_last_epoch_to_the_same_bytes(reference, store):
    """Stopped at any of its steps, it does not begin anew, and leaves nothing but the model."""
    run = Run.open(reference.recipe, store=store)
    whole = []
    TRAIN.work(run, "model", lambda done, total, message: whole.append(done))

    def killed(done, total, message):
        if "both" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TRAIN.work(run, "model", killed)
    assert any((store / "scratch").rglob("epoch-*"))
    after: list[int] = []
    TRAIN.work(run, "model", lambda done, total, message: after.append(done))
    assert len(after) < len(whole) and min(after) > min(whole)
    assert sha256(store / "model") == sha256(reference.store / "model") and not (store / "scratch").exists()


def test_a_changed_recipe_does_not_go_on_with_what_another_left(reference, store, write_recipe):
    """Its own training begins anew, and the other's is removed."""

    def killed(done, total, message):
        if done > 3:
            raise KeyboardInterrupt

    for changes in ({}, {"training.width": 4}):
        with pytest.raises(KeyboardInterrupt):
            TRAIN.work(Run.open(write_recipe(changes), store=store), "model", killed)
        assert len(list((store / "scratch" / "train").iterdir())) == 1


@pytest.mark.parametrize("validation", [{"block": "autocorrelation"}, {"block": 1000, "buffer": 1000.0}])
def test_blocks_buffers_and_baselines_are_the_recipes(store, write_recipe, run_recipe, validation):
    """Blocks as wide as what predictors leave unexplained, a dead zone around held-out plots, any of the classical models."""
    recipe = write_recipe({"validation": {"folds": 3, "held_out": "one", "baselines": ["glm", "random-forest"], **validation}})
    run_recipe(recipe, store, names=["train"])
    run = Run.open(recipe, store=store)
    stats = Ledger(store).record("train", "model").stats
    assert set(stats["skill"]) == {"model", "glm", "random-forest"}
    if validation["block"] == "autocorrelation":
        found = stats["autocorrelation"]
        assert stats["block"] == np.clip(np.ceil(found["range"] / 1000) * 1000, 5_000, 200_000) and found["low"] <= found["high"]
    else:
        held_out, aoa = HeldOut.load(run.model / "held_out"), Applicability.load(run.model / "applicability")
        data = gather(run)
        nearest = [np.hypot(*(held_out.xy - place).T).min() for place in data.sites.xy[data.scored]]
        assert len(aoa.sites) == sum(distance >= 1000 for distance in nearest) < 150 - len(held_out)


def test_seeds_of_a_model_recipe_make_the_members(store, write_recipe, run_recipe, tmp_path):
    """An ensemble by file, times the recipe's own seeds; another text of the file trains anew."""
    file = tmp_path / "two.yaml"
    step = {"name": "plots", "epochs": 1, "pa": 1.0}
    member = {
        "model": "deep-sdm",
        "seeds": 2,
        "architecture": {"width": 4, "latent": 8},
        "plan": {"batch": 32, "threads": 1, "steps": [step]},
    }
    file.write_text(yaml.safe_dump({"model": "ensemble", "members": [member]}), encoding="utf-8")
    recipe = write_recipe({"training": {"model": str(file), "members": 2}})
    assert run_recipe(recipe, store, names=["train"]).stages == ("train",)
    nets = Trained.load(store / "model").nets
    assert len(nets) == 4 and len({net.bias.detach().numpy().tobytes() for net in nets}) == 4
    member["plan"]["batch"] = 64
    file.write_text(yaml.safe_dump({"model": "ensemble", "members": [member]}), encoding="utf-8")
    assert run_recipe(recipe, store, names=["train"]).stages == ("train",)


def test_what_records_are_worth_is_as_the_recipe_says(reference, store, write_recipe, run_recipe):
    """Sites of other species are background, one a square; effort is an offset of records that averages one; plots have none."""
    recipe = write_recipe(
        {"species.minimum_plots": 12, "training.target_group": 500.0, "training.effort": "scott", "training.background": 40}
    )
    run_recipe(recipe, store, names=["occurrences"])
    data = gather(Run.open(recipe, store=store))
    sites, empty = data.sites, np.asarray(data.sites.labels.sum(axis=1)).ravel() == 0
    others = ~sites.presence_absence & empty & (sites.group != BACKGROUND)
    assert others.any() and (sites.group == BACKGROUND).sum() == 40
    assert len({tuple(place) for place in (sites.xy[others] // 500).tolist()}) == others.sum()
    records = ~sites.presence_absence
    assert (sites.effort[~records] == 0).all() and np.exp(sites.effort[records]).mean() == pytest.approx(1, abs=1e-4)
    assert sites.weight is None and sites.plot_area is None


def test_covers_weigh_presences_and_uncertainty_weighs_records(store, write_recipe, run_recipe):
    """Read from the store: a presence weighs by its species' cover there, 1 where none was written down; a record by the share of its
    disc inside the window; plots and background weigh 1; a model learns from both.
    """
    keys = {"training.abundance_weights": 0.5, "training.uncertainty_weight": 200.0, "training.background": 10}
    run = Run.open(write_recipe(keys), store=store)
    found, rng = occ.load(run.records), np.random.default_rng(0)
    rows, events = found.occurrences, found.events
    known = rng.random(len(rows)) < 0.8
    cover = np.where(known, rng.choice([0.5, 15.0, 62.5], len(rows)), np.nan)
    told = {"organismQuantityType": np.where(known, "% cover", ""), "organismQuantity": np.where(known, cover.astype(str), "")}
    recorded = (events["sampling"] == "presence-only").to_numpy()
    uncertain = np.where(recorded & (rng.random(len(events)) < 0.5), 500.0, np.nan)
    changed = occ.OccurrenceSet(
        events.assign(coordinateUncertaintyInMeters=uncertain), rows.assign(abundance=cover, **told), found.rejections
    )
    occ.save(changed, run.records)
    data = gather(run)
    sites = data.sites
    expected = np.zeros(sites.labels.shape)
    at, of = {e: i for i, e in enumerate(data.events["eventID"])}, {t.taxon_id: k for k, t in enumerate(sites.species)}
    for event, taxon, value in zip(rows["eventID"], rows["taxonID"], cover):
        if event in at and taxon in of:
            expected[at[event], of[taxon]] = np.log1p(value) if np.isfinite(value) else -1
    for k in range(expected.shape[1]):
        own, seen = expected[:, k] > 0, expected[:, k] != 0
        ratio = np.clip(1 + 0.5 * (expected[own, k] / expected[own, k].mean() - 1), 0.25, 4)
        expected[seen, k] = 1
        expected[own, k] = ratio / ratio.mean()
    np.testing.assert_allclose(sites.presence_weight.toarray(), expected, rtol=1e-5)
    assert np.ptp(sites.presence_weight.data) > 0.5 and expected[sites.group == BACKGROUND].sum() == 0
    share = occ.share_inside(data.events["coordinateUncertaintyInMeters"].to_numpy(float), 200.0)
    np.testing.assert_allclose(sites.weight, np.where(sites.presence_absence | (sites.group == BACKGROUND), 1, share), rtol=1e-6)
    assert 0 < sites.weight.min() < 0.1
    every = np.arange(len(sites))
    p, q = (MODELS["glm"](ridge=5.0).fit(s, every).predict(s, every[:20]) for s in (sites, replace(sites, presence_weight=None)))
    assert np.isfinite(p).all() and np.abs(p - q).max() > 1e-3
    plain = gather(Run.open(write_recipe({"training.background": 10}), store=store)).sites
    assert plain.presence_weight is None and plain.weight is None and np.array_equal(plain.labels.indices, sites.labels.indices)


def test_plot_areas_that_cannot_be_told_apart_are_refused(store, write_recipe):
    """An exponent of area needs plots of several."""
    with pytest.raises(InputError, match="plots of several areas"):
        gather(Run.open(write_recipe({"training.plot_area_offset": True}), store=store))


def test_thinned_records_are_counted(store, write_recipe, run_recipe):
    """Read = used + refused, and the reason is told."""
    recipe = write_recipe({"quality": {"thin": {"distance": 2000.0}, "in_tiles": True, "duplicate_surveys": True}})
    run_recipe(recipe, store, names=["occurrences"])
    stats = Ledger(store).record("occurrences", "all").stats
    assert stats["read"] == stats["used"] + sum(stats["rejected"].values()) and stats["quantities_refused"] == {}
    assert stats["rejected"]["within 2000 m of a record of the taxon"] > 10


def test_a_buffer_that_leaves_no_plot_is_an_error(store, write_recipe, run_recipe):
    """With the way out."""
    with pytest.raises(TaskFailed, match="smaller buffer"):
        run_recipe(write_recipe({"validation.buffer": 50_000.0}), store, names=["train"])
