"""What a backbone was taught of other things: means of classes out of a head's weights, and photos without plants that nobody collected."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import skimage
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoplantnet.identify.classifier import Training, fit, train
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.negatives import textures
from geoplantnet.identify.classifier.rejection import PLANTS, WITH_PLANTS, class_means
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos import square

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "plants"


@given(st.integers(0, 10**6))
def test_a_head_tells_the_means_of_its_classes(seed):
    """Of normal classes with one diagonal covariance the exact head gives the exact means back, whatever all weights have in common."""
    rng = np.random.default_rng(seed)
    d, variance = 6, rng.uniform(0.5, 2, 6)
    means = rng.uniform(3, 6, (1000, d))
    weights = means / variance + rng.normal(size=d)
    noise = rng.normal(size=(500, d))
    noise = (noise - noise.mean(0)) / noise.std(0) * np.sqrt(variance) + means.mean(
        0
    )  # the mean and variance of what is seen, to the digit
    plants, none = class_means(weights.astype(np.float32), noise, noise)
    np.testing.assert_allclose(plants, means[list(PLANTS)], rtol=1e-4)
    np.testing.assert_allclose(none, np.delete(means, sorted(WITH_PLANTS), axis=0), rtol=1e-4)
    assert set(PLANTS) <= WITH_PLANTS and len(set(PLANTS)) == len(PLANTS)


def test_means_follow_the_features_that_were_taught():
    """A backbone whose features were turned and shifted since: the means too, but for the penalty; none is below 0."""
    rng = np.random.default_rng(0)
    weights, before = rng.normal(size=(1000, 5)), rng.uniform(0, 2, (2_000, 5))
    turned = before @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 4
    plain, followed = class_means(weights, before, before)[1], class_means(weights, before, turned)[1]
    assert plain.min() == 0 and followed.min() >= 0 and len(plain) == 1000 - len(WITH_PLANTS)
    back = np.linalg.lstsq(np.c_[before, np.ones(len(before))], turned, rcond=None)[0]
    np.testing.assert_allclose(followed, np.c_[plain, np.ones(len(plain))] @ back, atol=0.1)


def test_classes_are_in_their_usual_order():
    """The head that the package brings calls a photo of dahlias a daisy or what else shows plants, and a temple none of these."""
    net = make_backbone("efficientnet-lite0").eval()
    import torch

    assert net.classes is not None and make_backbone("efficientnet-lite0", pretrained=False).classes is None
    assert make_backbone("small").classes is None
    with torch.inference_mode():
        for name, shows in (("flower", True), ("china", False)):
            pixels = square(np.asarray(Image.open(Path(sklearn.__file__).parent / f"datasets/images/{name}.jpg").convert("RGB")), 224)
            x = (torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() - 127) / 128
            likeliest = (net(x) @ net.classes.T)[0].topk(3).indices.tolist()
            assert (likeliest[0] in WITH_PLANTS) == shows, (name, likeliest)


@pytest.mark.skipif(not DATA.is_dir(), reason="no plants in GEOPLANTNET_DATA")
def test_photos_without_plants_are_rejected_though_nobody_gave_any(monkeypatch):
    """A cat, a cup, a temple, a portrait: taken for plants by a net taught textures alone, rejected by one that asks its backbone; plants it never saw are not."""
    photos = PhotoSet.read_metadata(DATA / "metadata.csv")
    photos = photos.subset(np.arange(len(photos)) % 20 == 0)
    training = Training(epochs=1, views=1, frozen=15)
    squares = []
    for file in (
        Path(skimage.__file__).parent / "data/chelsea.png",
        Path(skimage.__file__).parent / "data/coffee.png",
        Path(sklearn.__file__).parent / "datasets/images/china.jpg",
        Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg",
    ):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        squares += [square(pixels[y : y + 160, x : x + 160], 224) for y in (0, 120) for x in (0, 160, 240)]
    fold, rejected = photos.folds(4), {}
    for how in ("asked", "not asked"):
        if how == "not asked":
            monkeypatch.setattr(train, "class_means", lambda classes, before, after: (before[:0], before[:0]))
        fitted = fit(photos.subset(fold != 0), training, validation=photos.subset(fold == 0), negatives=textures(60, 224, 0))
        rejected[how] = float((fitted.network(np.stack(squares)).plant < 0.5).mean())
        assert fitted.validation is not None and (fitted.validation.plant > 0.5).mean() > 0.95
    assert rejected["asked"] > max(0.5, rejected["not asked"] + 0.25), rejected
