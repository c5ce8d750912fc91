"""Cross-validation: every photo judged once, by the net that never saw its plant."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from geoplantnet.identify.classifier import Training, begin, cross_validate
from geoplantnet.identify.evaluation import answers
from geoplantnet.identify.metrics import top_k

sys.path.append(str(Path(__file__).parent))
from drawn import drawn_set


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    photos = drawn_set(tmp_path_factory.mktemp("folds"), 3, 20)
    training = Training(
        backbone="small", size=32, transfer="freeze", frozen=1, epochs=6, views=6, batch=12, lr=1e-2, backbone_lr=1.0, decay=1.0
    )
    seen = []
    return cross_validate(
        photos, training, folds=3, begun=begin(photos, training), on_fold=lambda k, figures: seen.append((k, figures["top1"]))
    ), seen


def test_each_photo_is_told_by_the_net_of_its_fold(held):
    """The outputs are, photo by photo, what the net of its fold says of it; the folds are those of the set, plants whole."""
    own, seen = held
    assert (own.fold == own.photos.folds(3)).all() and len(own.networks) == 3 and [k for k, _ in seen] == [0, 1, 2]
    assert (own.photos.table.assign(fold=own.fold).groupby("observation")["fold"].nunique() == 1).all()
    for k, network in enumerate(own.networks):
        mask = own.fold == k
        again = answers(network, own.photos.subset(mask))
        np.testing.assert_allclose(own.outputs.logits[mask], again.logits, atol=0.05)
        assert top_k(own.outputs.logits[mask], own.photos.labels[mask]) == pytest.approx(seen[k][1])


def test_a_cross_validation_that_was_killed_goes_on(tmp_path):
    """Killed in the second fold: the first is not learnt again, and what comes out is the same."""
    photos = drawn_set(tmp_path / "photos", 2, 12)
    training = Training(backbone="small", size=32, transfer="all", epochs=2, batch=12)

    def kill(fold, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(photos, training, folds=2, resume=tmp_path / "state", on_fold=kill)
    first = (tmp_path / "state" / "fold0" / "state.json").stat().st_mtime_ns
    again = cross_validate(photos, training, folds=2, resume=tmp_path / "state")
    assert (tmp_path / "state" / "fold0" / "state.json").stat().st_mtime_ns == first
    np.testing.assert_array_equal(again.outputs.logits, cross_validate(photos, training, folds=2).outputs.logits)


def test_figures_are_of_all_photos_and_of_groups(held):
    """The rows' photos add up; top-1 is the mean over photos, spread the folds' deviation; a temperature is learnt, held out."""
    own, seen = held
    table = own.table()
    assert table.loc["all", "photos"] == table.loc[["flower", "leaf"], "photos"].sum() == 60
    assert table.loc["all", "top1"] == pytest.approx(top_k(own.outputs.logits, own.photos.labels)) and table.loc["all", "top1"] > 0.8
    assert table.loc["all", "spread"] == pytest.approx(np.std([top1 for _, top1 in seen], ddof=1))
    one = own.table({"first": own.fold == 0})
    assert np.isnan(one.loc["first", "spread"]) and one.loc["first", "photos"] == (own.fold == 0).sum()
    assert own.temperature.temperature > 0 and own.temperature.photos == 60
