"""Several photos of one plant: laws of their fusion, and what is learnt about it."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import log_softmax

from geoplantnet.errors import InputError
from geoplantnet.identify.fusion import alike, fuse, learn_views, shown, view_weights
from geoplantnet.identify.network import ORGANS, Card, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.taxonomy import SpeciesList, Taxon

CARD = Card(name="n", version="1", backbone="b", size=32, organs=True)


def answers(seed: int, n: int, species: int) -> np.ndarray:
    return log_softmax(np.random.default_rng(seed).normal(0, 3, (n, species)), axis=1)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), gain=st.floats(0, 1))
def test_neither_order_nor_scale_of_weights_matters_and_species_may_be_permuted(seed, n, gain):
    """The answer is a distribution, the same for photos in another order, species in another order, and weights ten times as large."""
    rng = np.random.default_rng(seed)
    log_p, weights, same = answers(seed, n, 7), rng.uniform(0.1, 3, n), np.eye(n)
    if n > 1:
        same[0, 1] = same[1, 0] = rng.random()
    fused, photos, species = fuse(log_p, weights, same, gain), rng.permutation(n), rng.permutation(7)
    assert np.exp(fused).sum() == pytest.approx(1)
    np.testing.assert_allclose(fuse(log_p[photos], weights[photos], same[np.ix_(photos, photos)], gain), fused, atol=1e-9)
    np.testing.assert_allclose(fuse(log_p[:, species], weights, same, gain), fused[species], atol=1e-9)
    np.testing.assert_allclose(fuse(log_p, 10 * weights, same, gain), fused, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), copies=st.integers(1, 5), gain=st.floats(0, 1))
def test_a_photo_sent_again_says_no_more(seed, copies, gain):
    """One photo is answered as it is; sent up to five times it is no surer; beside another one its copies share one vote."""
    log_p, own = answers(seed, 2, 6), np.zeros(copies, int)
    np.testing.assert_allclose(fuse(log_p[own], np.ones(copies), np.ones((copies, copies)), gain), log_p[0], atol=1e-9)
    rows = np.array([*own, 1])
    same = (rows[:, None] == rows[None]).astype(float)
    np.testing.assert_allclose(fuse(log_p[rows], np.ones(copies + 1), same, gain), fuse(log_p, np.ones(2), np.eye(2), gain), atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), gain=st.floats(0, 1))
def test_a_photo_without_weight_counts_for_nothing(seed, gain):
    """Neither its answer nor its likeness to others changes what they say."""
    log_p = answers(seed, 3, 6)
    same = np.eye(3)
    same[0, 2] = same[2, 0] = 1
    np.testing.assert_allclose(fuse(log_p, [1, 2, 0], same, gain), fuse(log_p[:2], [1, 2], np.eye(2), gain), atol=1e-9)


def test_photos_that_agree_are_surer_the_more_so_the_larger_the_gain():
    """Two photos of 0.6 each: with no gain no surer, as independent witnesses about as Bayes has it."""
    log_p = np.log([[0.6, 0.3, 0.1]] * 2)
    p = [float(np.exp(fuse(log_p, [1, 1], np.eye(2), gain, doubt=0)[0])) for gain in (0, 0.5, 1)]
    assert p[0] == pytest.approx(0.6) and p[0] < p[1] < p[2]
    assert p[2] == pytest.approx(0.36 / (0.36 + 0.09 + 0.01))


def test_one_photo_that_is_sure_and_wrong_forbids_nothing():
    """What two photos are fairly sure of stays first, though a third gives it one in a billion."""
    wrong = np.log([1e-9, 1 - 1e-9 - 1e-6, 1e-6])
    right = np.log([0.9, 0.02, 0.08])
    assert fuse([right, right, wrong], np.ones(3), np.eye(3), 0.5).argmax() == 0
    assert fuse([right, right, wrong], np.ones(3), np.eye(3), 0.5, doubt=0).argmax() == 1


def test_copies_are_told_from_other_photos():
    """A photo stored again as JPEG of low quality, or scaled, is the same; noise and other photos are others; a photo is like itself."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    photos = [np.asarray(Image.fromarray(part).resize((96, 96), Image.Resampling.BICUBIC)) for part in coarse]
    file = io.BytesIO()
    Image.fromarray(photos[0]).save(file, "JPEG", quality=40)
    scaled = Image.fromarray(photos[0]).resize((60, 60), Image.Resampling.BICUBIC).resize((96, 96), Image.Resampling.BICUBIC)
    same = alike(np.stack([photos[0], np.asarray(Image.open(file)), np.asarray(scaled), photos[1]]))
    np.testing.assert_allclose(same[:3, :3], 1)
    np.testing.assert_array_equal(same[3], [0, 0, 0, 1])
    np.testing.assert_array_equal(same, same.T)


@pytest.mark.parametrize("size", [8, 15, 33, 224])
def test_thumbnails_are_means(size):
    """A photo brighter by 8 grey levels is half alike, whatever its size."""
    dark = np.random.default_rng(0).integers(0, 200, (1, size, size, 3), np.uint8)
    assert alike(np.concatenate([dark, dark + 8]))[0, 1] == pytest.approx(0.5)


def test_what_a_photo_shows_is_told_seen_or_unknown():
    """The sender's word first, then the net's view, all alike for a net that cannot tell; an unknown organ or a wrong number is refused."""
    seen = np.full((2, 6), 0.1, np.float32)
    seen[:, 1] = 0.5
    found = shown(seen, ["leaf", ""], CARD)
    assert found[0].tolist() == [1, 0, 0, 0, 0, 0] and found[1, 1] == pytest.approx(0.5)
    blind = Card(name="n", version="1", backbone="b", size=32)
    np.testing.assert_allclose(shown(seen, (), blind), 1 / 6)
    np.testing.assert_allclose(view_weights(found, {"leaf": 3.0, "flower": 2.0}), [3, 0.1 * 3 + 0.5 * 2 + 0.4])
    with pytest.raises(InputError, match="root"):
        shown(seen, ["leaf", "root"], CARD)
    with pytest.raises(InputError, match="3 organs for 2 photos"):
        shown(seen, ["leaf"] * 3, CARD)


def test_nothing_is_made_of_photos_that_all_weigh_nothing():
    """A typed error, not NaN."""
    with pytest.raises(InputError, match="not all 0"):
        fuse(answers(0, 2, 3), [0, 0], np.eye(2), 0.5)


def plants(n: int, seed: int, *, shared: float, leaf: float = 1.2) -> tuple[Outputs, np.ndarray, np.ndarray, list[str]]:
    """A flower and a leaf a plant, each answered as surely as it is right by itself; a part of the error is `shared` by both, leaves say `leaf`."""
    rng = np.random.default_rng(seed)
    species, organs = np.repeat(rng.integers(0, 8, n), 2), ["flower", "leaf"] * n
    signal = np.where(np.array(organs) == "flower", 1.2, leaf)
    noise = np.sqrt(shared) * np.repeat(rng.normal(size=(n, 8)), 2, axis=0) + np.sqrt(1 - shared) * rng.normal(size=(2 * n, 8))
    # calibrated each by itself: of z = signal * onehot + noise the posterior is softmax(signal * z)
    logits = (signal[:, None] * (signal[:, None] * np.eye(8)[species] + noise)).astype(np.float32)
    told = np.eye(6, dtype=np.float32)[[ORGANS.index(organ) for organ in organs]]
    out = Outputs(logits=logits, features=np.zeros((2 * n, 2), np.float32), organs=told, plant=np.ones(2 * n, np.float32))
    return out, species, np.repeat(np.arange(n), 2).astype(str), organs


def test_weights_and_gain_are_learnt_from_what_photos_say():
    """Of photos that err alone the gain is large, of such that err together small; the held-out answer is better than with equal weights.

    Leaves that are answered at random, and surely, lose their weight.
    """
    alone = learn_views(*plants(200, 1, shared=0.0), card=CARD)
    together = learn_views(*plants(200, 1, shared=0.95), card=CARD)
    assert alone.gain > 0.75 and together.gain < 0.4
    assert alone.loss_after < alone.loss_before
    out, species, names, organs = plants(200, 1, shared=0.0)
    leaves = np.array(organs) == "leaf"
    out.logits[leaves] = out.logits[leaves][np.random.default_rng(0).permutation(200)]
    misled = learn_views(out, species, names, organs, card=CARD)
    assert misled.weights["leaf"] < 0.5 * misled.weights["flower"]
    assert set(alone.weights) == {"flower", "leaf"} and alone.observations == 200
    Card(name="n", version="1", backbone="b", size=32, view_weights=alone.weights, view_gain=alone.gain)


def test_learning_views_needs_plants_of_one_species_and_enough_of_them():
    """Too few, and an observation of two species, are told."""
    out, species, names, organs = plants(30, 2, shared=0)
    with pytest.raises(InputError, match="20 are needed"):
        learn_views(out, species, np.arange(60).astype(str), organs, card=CARD)
    species = species.copy()
    species[0] = (species[0] + 1) % 8
    with pytest.raises(InputError, match="observation 0"):
        learn_views(out, species, names, organs, card=CARD)


def test_a_trained_net_carries_what_validation_says_of_views():
    """Weights and gain are in its card; too few plants of several photos leave it as it was; labels that differ are plants apart."""
    train = pytest.importorskip("geoplantnet.identify.classifier.train")
    out, species, names, organs = plants(60, 5, shared=0)
    columns = {"image": [f"{i}.jpg" for i in range(120)], "species": species, "organ": organs, "observation": names}
    table = pd.DataFrame(columns | dict.fromkeys(("split", "author", "license"), ""))
    taxa = SpeciesList(checklist="t", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"S{i}") for i in range(8)))
    learnt = train._described(CARD, out, PhotoSet(species=taxa, table=table))
    assert set(learnt.view_weights) == {"flower", "leaf"} and learnt.view_gain != CARD.view_gain
    apart = table.assign(observation=[f"o{i}" for i in range(120)])
    assert train._described(CARD, out, PhotoSet(species=taxa, table=apart)).view_weights == {}
    few = table.assign(observation=[f"o{i % 3}" for i in range(120)])  # three plants are too few for figures of others
    assert train._described(CARD, out, PhotoSet(species=taxa, table=few)).figures.keys() == {"photos", "top1", "top5", "macro_top1"}
    mixed = table.assign(observation=[f"o{i // 4}" for i in range(120)])  # two plants each
    assert set(train._described(CARD, out, PhotoSet(species=taxa, table=mixed)).view_weights) == {"flower", "leaf"}


def test_of_many_species_the_likeliest_are_learnt_from():
    """Ten thousand species that nobody takes the plants for change neither the gain nor the weights; a plant may have seven photos."""
    rng = np.random.default_rng(0)
    species, names = np.repeat(rng.integers(0, 8, 40), 7), np.repeat(np.arange(40), 7).astype(str)
    logits = np.full((280, 10_000), -20, np.float32)
    logits[:, :8] = 3 * np.eye(8)[species] + 3 * rng.normal(size=(280, 8))
    sides = {"features": np.zeros((280, 2), np.float32), "organs": np.full((280, 6), 1 / 6, np.float32), "plant": np.ones(280, np.float32)}
    found = [learn_views(Outputs(logits=logits[:, :n], **sides), species, names, card=CARD) for n in (200, 10_000)]
    assert found[0].gain == pytest.approx(found[1].gain, abs=1e-3) and 0 < found[0].gain < 1
