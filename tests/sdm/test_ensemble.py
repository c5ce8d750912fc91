"""An ensemble is the mean of its members on the logit, says how they differ, and folds into one head."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit, logit

from geoplantnet.assemblages.latent import SpeciesHead
from geoplantnet.cubes.table import TablePatches
from geoplantnet.errors import InputError, ModelError, UsageError
from geoplantnet.indicators import compute
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from geoplantnet.sdm.calibrate import EDGE
from geoplantnet.sdm.ensemble import Ensemble, joined_head
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.sites import Sites
from geoplantnet.storage import sha256, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

relaxed = settings(deadline=None, max_examples=30)
SITES = 15


class Nearby(Estimator):
    """Prevalence of the sites learnt from, scaled, with a tilt along the one predictor; remembers what it has seen."""

    name = "nearby"

    def __init__(self, tilt: float = 0.0) -> None:
        self.tilt = tilt

    def fit(self, sites, rows):
        self.seen_ = np.array(rows)
        self.prevalence_ = (sites.found(rows).sum(axis=0) + 0.5) / (rows.size + 1)
        return self

    def predict(self, sites, rows):
        x = sites.patches.read(rows)["t"].values[:, 0, 0, 0]
        return expit(logit(self.prevalence_) + self.tilt * x[:, None]).astype(np.float32)

    def save(self, folder):
        with write_beside(folder) as temporary:
            temporary.mkdir()
            (temporary / "nearby.json").write_text(json.dumps([self.tilt, self.prevalence_.tolist()]))

    @classmethod
    def load(cls, folder):
        tilt, prevalence = json.loads((Path(folder) / "nearby.json").read_text())
        model = cls(tilt)
        model.prevalence_ = np.array(prevalence)
        return model


@pytest.fixture(scope="module")
def sites(species) -> Sites:
    rng = np.random.default_rng(0)
    return Sites(
        species=species,
        patches=TablePatches(pd.DataFrame({"x": rng.normal(size=SITES)}), {"t": ("x",)}),
        labels=sparse.csr_array((rng.random((SITES, 12)) < 0.4).astype(np.uint8)),
        presence_absence=np.ones(SITES, bool),
        group=np.zeros(SITES, np.int64),
        xy=np.zeros((SITES, 2)),
    )


ROWS = np.arange(SITES)
tilts = st.lists(st.floats(-3, 3), min_size=1, max_size=5)


@given(tilts, st.integers(0, 1000))
@relaxed
def test_the_ensemble_is_the_weighted_mean_logit_and_lies_between_its_members(sites, tilts, seed):
    """Equal to the definition, never outside the members, and no matter in which order they stand."""
    weights = np.random.default_rng(seed).uniform(0.1, 5, len(tilts))
    ensemble = Ensemble([Nearby(t) for t in tilts], weights=weights).fit(sites, ROWS)
    single = np.stack([m.predict(sites, ROWS) for m in ensemble.members]).astype(float)
    p = ensemble.predict(sites, ROWS)
    np.testing.assert_allclose(p, expit(np.average(logit(np.clip(single, EDGE, 1 - EDGE)), axis=0, weights=weights)), rtol=1e-5)
    assert (p >= single.min(axis=0) - 1e-6).all() and (p <= single.max(axis=0) + 1e-6).all()
    np.testing.assert_allclose(p, Ensemble(ensemble.members[::-1], weights=weights[::-1]).predict(sites, ROWS), rtol=1e-5)


@given(tilts, st.integers(0, 1000))
@relaxed
def test_spread_is_the_members_standard_deviation_of_whatever_is_asked(sites, tilts, seed):
    """Of every probability, of richness and of an indicator of the library; with weights; 0 for one member or equal ones."""
    weights = np.random.default_rng(seed).uniform(0.1, 5, len(tilts))

    def shannon(p):
        found = compute(["shannon"], lambda: [(slice(0, 12), p.T[:, None, :])], pd.DataFrame(index=range(12)), (1, len(p)))
        return found["shannon"].to_numpy()[0]

    ensemble = Ensemble([Nearby(t) for t in tilts], weights=weights).fit(sites, ROWS)
    single = [m.predict(sites, ROWS) for m in ensemble.members]
    for measure in (lambda p: p, lambda p: p.sum(axis=1), shannon):
        values = np.stack([measure(p) for p in single]).astype(float)
        expected = np.sqrt(np.average((values - np.average(values, axis=0, weights=weights)) ** 2, axis=0, weights=weights))
        np.testing.assert_allclose(ensemble.spread(sites, ROWS, measure), expected, atol=1e-6)
    assert not Ensemble([ensemble.members[0]] * 3).spread(sites, ROWS).any()


def test_cross_fitting_predicts_every_site_by_the_member_that_has_not_seen_it(sites):
    """Member i learns from all folds but i, and the fold-out predictions are its own; the ensemble is then fitted."""
    folds = np.random.default_rng(1).permutation(SITES - 3) % 3
    rows = np.random.default_rng(2).permutation(SITES)[: SITES - 3]
    ensemble = Ensemble([Nearby(t) for t in (0.0, 0.5, 1.0)])
    held_out = ensemble.cross_fit(sites, rows, folds)
    for i, member in enumerate(ensemble.members):
        assert set(member.seen_) == set(rows[folds != i])
        np.testing.assert_array_equal(held_out[folds == i], member.predict(sites, rows[folds == i]))
    assert ensemble.predict(sites, ROWS).shape == (SITES, 12)
    masked = Ensemble([Nearby(t) for t in (0.0, 0.5, 1.0)])
    again = masked.cross_fit(sites, np.isin(ROWS, rows), folds[np.argsort(rows)])
    np.testing.assert_allclose(again, held_out[np.argsort(rows)], rtol=1e-6)


def test_what_no_member_could_learn_is_unfitted(sites):
    """A species found in one fold alone is unknown to that fold's member, not to the ensemble; one found nowhere is unknown to all."""
    labels = sites.labels.toarray()
    labels[:, [2, 5]] = 0
    labels[0, 2] = 1
    ensemble = Ensemble([Prevalence(), Prevalence()])
    ensemble.cross_fit(replace(sites, labels=labels), ROWS, ROWS % 2)
    ids = [taxon.taxon_id for taxon in sites.species]
    assert {ids[2], ids[5]} <= set(ensemble.members[0].unfitted_) and ids[2] not in ensemble.members[1].unfitted_
    assert ids[5] in ensemble.unfitted_ and ids[2] not in ensemble.unfitted_


@pytest.mark.parametrize(
    "folds", [np.zeros(SITES, int), np.arange(SITES) % 4, np.arange(SITES) % 3 - 1, np.arange(SITES - 1) % 3, np.zeros(0, int)]
)
def test_folds_that_are_not_the_members_are_refused(sites, folds):
    """An empty fold, one too many, a negative one, folds of other rows."""
    with pytest.raises(InputError, match="folds must be 0 to 2"):
        Ensemble([Nearby(), Nearby(), Nearby()]).cross_fit(sites, ROWS, folds)


@pytest.mark.parametrize("weights", [None, (1.0, 2.5)])
def test_a_saved_ensemble_predicts_the_same_and_is_the_same_bytes(sites, tmp_path, weights):
    """Members and weights come back; saving twice gives equal folders."""
    ensemble = Ensemble([Nearby(0.3), Nearby(-1.0)], weights=weights).fit(sites, ROWS)
    ensemble.save(tmp_path / "a")
    ensemble.save(tmp_path / "b")
    back = Ensemble.load(tmp_path / "a", {"nearby": Nearby})
    np.testing.assert_array_equal(back.predict(sites, ROWS), ensemble.predict(sites, ROWS))
    np.testing.assert_array_equal(back.spread(sites, ROWS), ensemble.spread(sites, ROWS))
    assert back.weights == weights and sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_members_of_the_library_are_known_by_name(sites, tmp_path):
    """Saved with what `MODELS` holds, loaded without being told what it is."""
    ensemble = Ensemble([Prevalence(), LocationOnly(trees=3)]).fit(sites, ROWS)
    ensemble.save(tmp_path / "e")
    np.testing.assert_array_equal(Ensemble.load(tmp_path / "e").predict(sites, ROWS), ensemble.predict(sites, ROWS))
    Prevalence().fit(sites, ROWS).save(tmp_path / "p")
    with pytest.raises(ModelError, match="holds a 'prevalence'"):
        Ensemble.load(tmp_path / "p")


def test_what_is_no_ensemble_is_not_loaded(sites, tmp_path):
    """No folder, damaged JSON, a member of a kind not known."""
    with pytest.raises(ModelError, match="no readable ensemble"):
        Ensemble.load(tmp_path / "none", {})
    Ensemble([Nearby()]).fit(sites, ROWS).save(tmp_path / "e")
    with pytest.raises(ModelError, match="'nearby' model; known are forest"):
        Ensemble.load(tmp_path / "e", {"forest": Nearby})
    (tmp_path / "e" / "model.json").write_text("[]")
    with pytest.raises(ModelError, match="no readable ensemble"):
        Ensemble.load(tmp_path / "e", {"nearby": Nearby})


def test_members_of_other_species_and_weights_of_others_are_refused(sites):
    """Joining two species axes by position would be silent nonsense."""
    one, other = Nearby().fit(sites, ROWS), Nearby().fit(sites, ROWS)
    other.prevalence_ = other.prevalence_[:-1]
    with pytest.raises(ModelError, match="one species list"):
        Ensemble([one, other]).predict(sites, ROWS)
    for members, weights in (([], None), ([one], [1, 2]), ([one, one], [1, 0]), ([one], [float("nan")])):
        with pytest.raises(UsageError, match="one weight > 0 each"):
            Ensemble(members, weights=weights)


@given(st.integers(0, 1000), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
@relaxed
def test_one_head_on_joined_latent_vectors_is_the_mean_logit_of_all(species, seed, lengths, weighted):
    """What a latent tile of the ensemble says equals what the ensemble says; members' d may differ."""
    rng = np.random.default_rng(seed)
    heads = [
        SpeciesHead(species=species, weights=rng.normal(size=(12, d)).astype(np.float32), bias=rng.normal(size=12).astype(np.float32))
        for d in lengths
    ]
    latents = [rng.normal(size=(7, d)).astype(np.float32) for d in lengths]
    weights = rng.uniform(0.1, 3, len(heads)) if weighted else None
    logits = [head.weights.astype(float) @ z.T + head.bias[:, None].astype(float) for head, z in zip(heads, latents)]
    joined = joined_head(heads, weights=weights)
    assert joined.weights.shape == (12, sum(lengths))
    found = joined.probabilities(np.concatenate(latents, axis=1))
    np.testing.assert_allclose(found, expit(np.average(logits, axis=0, weights=weights)), atol=1e-6)


def test_heads_of_other_species_are_not_joined(species):
    """Same number, another order: refused."""
    turned = SpeciesList(checklist=species.checklist, taxa=species.taxa[::-1])
    heads = [SpeciesHead(species=s, weights=np.zeros((12, 2), np.float32), bias=np.zeros(12, np.float32)) for s in (species, turned)]
    with pytest.raises(ModelError, match="different species lists"):
        joined_head(heads)
    with pytest.raises(UsageError, match="needs members"):
        joined_head([])
