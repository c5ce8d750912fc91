"""Training: what learns and what does not, the same again for a seed and after a stop, and what a net is not told."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.identify.classifier import LOSSES, Training, begin, load, predict, save
from geoplantnet.identify.classifier import fit as train
from geoplantnet.identify.classifier.augment import augmented
from geoplantnet.identify.classifier.cosine_head import CosineHead
from geoplantnet.identify.classifier.negatives import KINDS, photos_below, textures
from geoplantnet.identify.classifier.state import epochs_done
from geoplantnet.identify.classifier.train import _set, stages_frozen, teach_to_reject
from geoplantnet.identify.metrics import auroc, top_k
from geoplantnet.identify.photo_set import PhotoSet

sys.path.append(str(Path(__file__).parent))
from drawn import drawn_set, jpeg

QUICK = Training(backbone="small", size=32, transfer="all", epochs=3, batch=16, lr=1e-2, backbone_lr=1.0, decay=1.0, ema=0.5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three species, 16 photos of 8 plants each."""
    return drawn_set(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def parts(photos):
    fold = photos.folds(4)
    return photos.subset(fold != 0), photos.subset(fold == 0)


def fit(photos, training, **options):
    """Without made-up textures, which most tests do not need."""
    return train(photos, training, **{"negatives": np.zeros((0, 32, 32, 3), np.uint8), **options})


def _weights(fitted):
    return {name: tensor.clone() for name, tensor in fitted.network.model.state_dict().items()}


def _same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class _Killed(Exception):
    pass


def _kill_after(epoch):
    def on_epoch(done, loss):
        if done == epoch:
            raise _Killed

    return on_epoch


def test_a_net_learns_plants_organs_and_what_is_none(photos, parts):
    """Colours of discs in seconds: plants never seen are told, textures never seen are rejected, and the card says what was learnt."""
    learn, judge = parts
    fitted = train(learn, replace(QUICK, epochs=12, ema=0.9), validation=judge, name="drawn", version="3")
    card = fitted.network.card
    assert top_k(fitted.validation.logits, judge.labels) > 0.9 and card.figures["top1"] > 0.9
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] and len(fitted.history) == 12
    assert card.organs and card.rejects and (card.name, card.version, card.size) == ("drawn", "3", 32)
    others = fitted.network(textures(40, 32, seed=99)).plant
    assert auroc(fitted.validation.plant, others).value > 0.9
    again = predict(fitted.network, judge)
    np.testing.assert_allclose(again.logits, fitted.validation.logits, atol=1e-4)


def test_a_seed_says_all_and_another_says_otherwise(parts):
    """The same call gives the same weights to the bit; another seed does not."""
    first = _weights(fit(parts[0], QUICK))
    assert _same(first, _weights(fit(parts[0], QUICK)))
    assert not _same(first, _weights(fit(parts[0], replace(QUICK, seed=1))))


@pytest.mark.parametrize(
    "training",
    [
        QUICK,
        replace(QUICK, transfer="freeze", frozen=2, views=2),
        replace(QUICK, loss="imbalanced_top_k", loss_options={"k": 1, "noise": 0.1}),
    ],
    ids=["all", "freeze", "noisy loss"],
)
def test_a_training_that_was_killed_ends_as_if_it_never_was(parts, tmp_path, training):
    """Killed after any epoch and called again: the same weights to the bit, the same history, no epoch done twice."""
    whole = fit(parts[0], training)
    for epoch in (1, 2):
        state = tmp_path / f"state{epoch}"
        with pytest.raises(_Killed):
            fit(parts[0], training, resume=state, on_epoch=_kill_after(epoch))
        done = []
        again = fit(parts[0], training, resume=state, on_epoch=lambda e, loss, done=done: done.append(e))
        assert _same(_weights(whole), _weights(again)) and whole.history == again.history
        assert done == list(range(epoch + 1, 4))


def test_the_state_of_another_training_is_refused(parts, tmp_path):
    """Other numbers, other photos: told which, not mixed; without a folder nothing is written."""
    fit(parts[0], replace(QUICK, epochs=1), resume=tmp_path / "s")
    assert epochs_done(tmp_path / "s") == 1 and epochs_done(tmp_path / "none") == 0
    for other, photos, why in (
        (replace(QUICK, epochs=1, lr=1e-3), parts[0], f"lr {QUICK.lr:g}, now 0.001"),
        (replace(QUICK, epochs=1), parts[1], f"{len(parts[0])} photos, now {len(parts[1])}"),
    ):
        with pytest.raises(ConfigurationError, match=rf"1 epochs of another training \({re.escape(why)}\)"):
            fit(photos, other, resume=tmp_path / "s")


@pytest.mark.parametrize(
    ("transfer", "frozen", "still"), [("head", None, 5), ("freeze", 3, 3), ("freeze", None, 3), ("freeze", 0, 0), ("all", None, 0)]
)
def test_only_what_should_learns(parts, transfer, frozen, still):
    """Weights of the stages that do not learn are those the seed gave, to the bit; each stage that learns has others."""
    training = replace(QUICK, transfer=transfer, frozen=frozen, epochs=1, views=1)
    from geoplantnet.identify.classifier.train import _untrained

    before = _untrained(training, 3, "n", "1", "cpu")
    after = fit(parts[0], training).network.model
    moved = [
        any(not torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
        for one, other in zip(before.backbone.stages, after.backbone.stages)
    ]
    assert moved == [False] * still + [True] * (5 - still) and stages_frozen(training, 5) == still
    assert not torch.equal(before.species.weight, after.species.weight)
    assert not any(parameter.requires_grad for parameter in after.parameters())


def test_nothing_but_temperature_and_figures_comes_from_validation(parts):
    """With the labels of the validation photos shuffled, or without any, the weights are the same."""
    learn, judge = parts
    shuffled = PhotoSet(species=judge.species, table=judge.table.assign(species=np.roll(judge.labels, 5)))
    fits = [fit(learn, replace(QUICK, epochs=1), validation=v) for v in (judge, shuffled, None)]
    assert _same(_weights(fits[0]), _weights(fits[1])) and _same(_weights(fits[0]), _weights(fits[2]))
    assert fits[2].validation is None and not fits[2].network.card.figures


def test_what_was_begun_for_all_serves_each(photos, parts):
    """Of the same photos: the same net as without; of a part of them: a net that learns; what is of other photos or numbers is refused."""
    training = replace(QUICK, transfer="freeze", frozen=2, views=2)
    assert _same(_weights(fit(photos, training, begun=begin(photos, training))), _weights(fit(photos, training)))
    learn, judge = parts
    begun = begin(learn, training)
    fitted = fit(learn, training, begun=begun)
    np.testing.assert_allclose(predict(fitted.network, learn, begun).logits, predict(fitted.network, learn).logits, atol=0.05)
    with pytest.raises(InputError, match="other photos"):
        fit(judge, training, begun=begun)
    with pytest.raises(InputError, match="another size"):
        fit(learn, replace(training, size=64), begun=begun)
    assert begin(photos, QUICK) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_learnt_by_name(parts, tmp_path, loss):
    """Its loss falls, its net answers, and comes back from disk with its head."""
    options = {"k": 1} if "top_k" in loss else {}
    fitted = fit(parts[0], replace(QUICK, epochs=6, loss=loss, loss_options=options), validation=parts[1])
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert top_k(fitted.validation.logits, parts[1].labels) > 1 / 3
    save(fitted.network, tmp_path / "m")
    np.testing.assert_array_equal(predict(load(tmp_path / "m"), parts[1]).logits, predict(fitted.network, parts[1]).logits)


def test_coarser_levels_are_learnt_where_asked(parts, tmp_path):
    """Weights of species, genus and family change what is learnt; a stop does not."""
    training = replace(QUICK, levels=(1.0, 0.5, 0.25))
    whole = fit(parts[0], training)
    assert not _same(_weights(whole), _weights(fit(parts[0], QUICK)))
    with pytest.raises(_Killed):
        fit(parts[0], training, resume=tmp_path / "s", on_epoch=_kill_after(1))
    assert _same(_weights(whole), _weights(fit(parts[0], training, resume=tmp_path / "s")))


def test_what_to_reject_is_taught_anew_and_nothing_else(parts):
    """A net without the head learns it from photos of its user's; every other weight stays to the bit."""
    learn, judge = parts
    fitted = fit(learn, replace(QUICK, epochs=6, ema=0.8))
    before = _weights(fitted)
    assert not fitted.network.card.rejects and (predict(fitted.network, judge).plant == 1).all()
    teach_to_reject(fitted.network, learn, textures(100, 32, seed=1, kinds=("stripes", "tiles")), QUICK)
    after = _weights(fitted)
    assert fitted.network.card.rejects and {k for k in after if not torch.equal(before[k], after[k])} == {"plant.weight", "plant.bias"}
    assert auroc(predict(fitted.network, judge).plant, fitted.network(textures(20, 32, seed=2, kinds=("tiles",))).plant).value > 0.75


def test_a_folder_of_photos_without_plants_is_learnt_from(parts, tmp_path):
    """They are read below the folder, thinned evenly; what is like them is rejected, which nets taught textures alone take for plants; empty: told."""
    rng = np.random.default_rng(0)
    skin = [np.clip(np.array([220, 180, 150]) + rng.normal(0, 8, (40, 50, 3)), 0, 255).astype(np.uint8) for _ in range(30)]
    (tmp_path / "a").mkdir()
    for i, pixels in enumerate(skin):
        (tmp_path / "a" / f"{i:02}.JPG").write_bytes(jpeg(pixels))
    (tmp_path / "notes.txt").write_text("no photo")
    assert photos_below(tmp_path, 32).shape == (30, 32, 32, 3)
    assert (photos_below(tmp_path, 32, at_most=3) == photos_below(tmp_path, 32)[[0, 14, 29]]).all()
    fitted = train(parts[0], replace(QUICK, epochs=6), without_plants=tmp_path)
    assert (fitted.network(photos_below(tmp_path, 32)).plant < 0.5).mean() > 0.9
    assert (predict(fitted.network, parts[1]).plant > 0.5).mean() > 0.8
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no JPEG or PNG"):
        photos_below(tmp_path / "none", 32)


def test_a_taught_backbone_begins_with_a_probe(photos, monkeypatch):
    """At a learning rate of next to nothing the head tells what it learnt from already; begun from zero it does not."""
    from geoplantnet.identify.classifier import backbones

    def taught(pretrained=True):
        net = backbones.small()
        net.taught = True
        return net

    monkeypatch.setitem(backbones.BACKBONES, "small", taught)
    still = replace(QUICK, transfer="head", epochs=1, lr=1e-9, views=1)
    for loss in ("cross_entropy", "ldam"):
        probed = predict(fit(photos, replace(still, loss=loss)).network, photos)
        assert top_k(probed.logits, photos.labels) > 0.9
    nothing = predict(fit(photos, replace(still, start="zero")).network, photos)
    assert top_k(nothing.logits, photos.labels) < 0.9 and np.ptp(nothing.logits) < 1


def test_a_species_without_photos_is_never_the_answer(photos):
    """The list may hold more species than were photographed; organs that nobody photographed are never told."""
    some = photos.subset(photos.labels != 1)
    fitted = fit(some, replace(QUICK, epochs=6))
    told = predict(fitted.network, photos)
    assert (told.logits.argmax(axis=1) != 1).all()
    assert told.organs[:, [2, 3, 4, 5]].max() < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch": 0},
        {"views": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"smoothing": 1.0},
        {"ema": 1.0},
        {"loss": "hinge"},
        {"transfer": "some"},
        {"start": "middle"},
        {"loss_options": {"gamma": 1.0}},
        {"loss": "focal", "loss_options": {"gamma": -1.0}},
    ],
)
def test_numbers_that_cannot_be_are_refused(change):
    """Before anything is read."""
    with pytest.raises(ConfigurationError):
        replace(QUICK, **change)


def test_sets_that_teach_nothing_are_refused(photos, tmp_path):
    """One species, no photos, more stages frozen than there are, and a photo that is none: it is named."""
    for bad in (photos.subset(photos.labels == 0), photos.subset([])):
        with pytest.raises(InputError, match="two species"):
            fit(bad, QUICK)
    with pytest.raises(ConfigurationError, match="5 stages"):
        fit(photos, replace(QUICK, transfer="freeze", frozen=6))
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no photo")
    table = photos.table.copy()
    table.loc[3, "image"] = str(tmp_path / "bad.jpg")
    with pytest.raises(InputError, match=r"bad\.jpg cannot be read"):
        fit(PhotoSet(species=photos.species, table=table), QUICK)


def test_photos_are_changed_each_in_its_own_way_and_the_same_again():
    """Of the right size and range, the same for a seed; photos of a batch differ though they are one; one colour stays one but for light and hiding."""
    rng = np.random.default_rng(0)
    photo = torch.from_numpy(rng.uniform(0, 255, (1, 3, 40, 60)).astype(np.float32)).expand(6, -1, -1, -1)
    first, again = (augmented(photo, 32, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (6, 3, 32, 32) and torch.equal(first, again) and first.min() >= 0 and first.max() <= 255
    assert all(not torch.equal(first[i], first[j]) for i in range(6) for j in range(i))
    assert not torch.equal(first, augmented(photo, 32, torch.Generator().manual_seed(4)))
    plain = augmented(torch.full((16, 3, 40, 40), 100.0), 32, torch.Generator().manual_seed(0))
    for each in plain:
        values = each[(each - 127).abs() > 1e-6]
        assert values.max() - values.min() < 1e-3 and values.min() >= 69.9 and values.max() <= 130.1


def test_made_up_textures_are_the_same_for_a_seed_and_of_every_kind():
    """Sizes, seeds, none at all; no photo is of one colour."""
    made = textures(2 * len(KINDS), 32, seed=1)
    assert made.shape == (10, 32, 32, 3) and made.dtype == np.uint8 and (made == textures(10, 32, seed=1)).all()
    assert (made[:5] != textures(5, 32, seed=2)).any() and textures(0, 32, 0).shape == (0, 32, 32, 3)
    assert (made.reshape(10, -1).std(axis=1) > 0).all()


def test_a_training_that_runs_away_ends_at_once(photos, tmp_path):
    """A loss that is no number ends it with the epoch and what to do, and nothing of it is kept to go on from."""
    seen = []

    class Away:
        def __call__(self, logits, target, progress=0.0):
            seen.append(progress)
            return logits.sum() * (float("nan") if len(seen) > 4 else 0.0)

    with pytest.raises(ConfigurationError, match=r"epoch 2 is nan.*lower lr"):
        train(photos, QUICK, loss=Away(), resume=tmp_path / "s")
    assert json.loads((tmp_path / "s" / "state.json").read_text())["history"] == [{"epoch": 1, "loss": 0.0}]


def test_a_head_of_two_cosines_begins_with_two_directions():
    """As unlike as two can be, neither of them nothing: a zero would have the whole gradient."""
    head, rng = CosineHead(6, 2), np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (rng.normal(size=(60, 6)) + np.where(y[:, None] == 1, 1.0, -1.0)).astype(np.float32)
    _set(head, x, y)
    assert (
        head.weight.norm(dim=1).tolist() == pytest.approx([1.0, 1.0])
        and (head(torch.from_numpy(x)).argmax(dim=1).numpy() == y).mean() > 0.9
    )
