"""Affinities of species to habitats: recovered where they are known, the same as scikit-learn says, written and read."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from geoplantnet.errors import InputError, ModelError
from geoplantnet.sdm.habitats import Affinities, learn_affinities


def plots_of(n=400, species=30, habitats=3, seed=0):
    """Predicted assemblages whose first species belong to one habitat each, and the labels."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, habitats, n)
    p = random.beta(1, 6, (n, species))
    for h in range(habitats):
        p[np.ix_(kind == h, range(4 * h, 4 * h + 4))] += 0.4
    return np.clip(p, 0, 1).astype(np.float32), np.array([f"H{k}" for k in kind], object), np.arange(n) % 5


def logits_of(p, learnt):
    return p.astype(float) @ learnt.weights / p.sum(axis=1, dtype=float)[:, None]


def test_habitats_are_told_from_their_species():
    """Held-out accuracy far above the commonest class; the species of a habitat have the highest affinity to it."""
    p, labels, folds = plots_of()
    learnt = learn_affinities(p, labels, folds)
    assert learnt.codes == ("H0", "H1", "H2")
    assert learnt.facts["accuracy"] > 0.9 > 0.5 > learnt.facts["commonest"]["accuracy"]
    assert learnt.facts["log_loss"] < learnt.facts["commonest"]["log_loss"] and learnt.facts["top3"] == 1
    for h in range(3):
        assert (learnt.weights[4 * h : 4 * h + 4].argmax(axis=1) == h).all()


@pytest.mark.parametrize("habitats", [2, 3])
def test_mean_affinities_are_the_logits_of_the_regression(habitats):
    """The intercept lies in the affinities: their mean weighted by p gives scikit-learn's own probabilities, two habitats or three."""
    p, labels, folds = plots_of(habitats=habitats)
    learnt = learn_affinities(p, labels, folds)
    x = p.astype(float) / p.sum(axis=1, dtype=float)[:, None] * p.sum(axis=1, dtype=float).mean()
    model = LogisticRegression(C=learnt.facts["penalty"], max_iter=5000, tol=1e-6).fit(x, labels.astype(str))
    np.testing.assert_allclose(softmax(logits_of(p, learnt), axis=1), model.predict_proba(x), atol=1e-4)


def test_availability_does_not_change_a_habitat():
    """Half of a cell under ice halves every p and leaves the logits."""
    p, labels, folds = plots_of()
    learnt = learn_affinities(p, labels, folds)
    np.testing.assert_allclose(logits_of(p, learnt), logits_of(p * np.float32(0.5), learnt), rtol=1e-5)


def test_chance_is_said_to_be_chance():
    """Labels drawn at random: no better than the commonest, and said so."""
    p, _, folds = plots_of()
    labels = np.random.default_rng(3).choice(np.array(["A", "B"], object), len(p))
    learnt = learn_affinities(p, labels, folds)
    assert learnt.facts["log_loss"] > 0.98 * learnt.facts["commonest"]["log_loss"]


def test_rare_and_unknown_habitats_are_left_out():
    """Unlabelled plots and habitats of few plots teach nothing; fewer than two habitats are refused with what there is."""
    p, labels, folds = plots_of()
    labels[:300], labels[300:304] = "", "rare"
    learnt = learn_affinities(p, labels, folds, minimum_plots=6)
    assert "rare" not in learnt.codes and sum(learnt.facts["plots"].values()) == 96
    with pytest.raises(InputError, match="needs two"):
        learn_affinities(p, labels, folds, minimum_plots=90)


def test_one_fold_alone_still_learns():
    """With a single held-out fold the penalty is chosen in five parts of it."""
    p, labels, _ = plots_of()
    assert learn_affinities(p, labels, np.zeros(len(p), int)).facts["accuracy"] > 0.9


def test_what_is_saved_is_loaded(tmp_path):
    """Codes, weights and facts survive; an absent or damaged folder is a ModelError with the fix."""
    p, labels, folds = plots_of(100)
    learnt = learn_affinities(p, labels, folds)
    learnt.save(tmp_path / "habitats")
    back = Affinities.load(tmp_path / "habitats")
    assert back.codes == learnt.codes and back.facts == dict(learnt.facts)
    np.testing.assert_array_equal(back.weights, learnt.weights)
    with pytest.raises(ModelError, match="geoplantnet train"):
        Affinities.load(tmp_path / "nothing")
    (tmp_path / "habitats/affinities.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="geoplantnet train"):
        Affinities.load(tmp_path / "habitats")
