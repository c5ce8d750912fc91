"""Nets judged: figures against other people's code, species a net does not know, what it is confused by."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from geoplantnet.errors import InputError
from geoplantnet.identify import evaluation
from geoplantnet.identify.network import FakeNetwork, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos import square
from geoplantnet.identify.temperature import probabilities
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

sys.path.append(str(Path(__file__).parent / "classifier"))
from drawn import drawn_set, species_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return drawn_set(tmp_path_factory.mktemp("judged"), 4, 6)


def _told(logits):
    n = len(logits)
    return Outputs(
        logits=logits, features=np.ones((n, 1), np.float32), organs=np.full((n, 6), 1 / 6, np.float32), plant=np.ones(n, np.float32)
    )


def test_answers_are_those_to_photos_prepared_as_online(photos):
    """A set's answers are the net's to each photo's square; a set without photos has none."""
    from PIL import Image

    network = FakeNetwork(photos.species)
    pixels = np.stack([square(np.asarray(Image.open(image)), 32) for image in photos.table["image"]])
    np.testing.assert_allclose(evaluation.answers(network, photos).logits, network(pixels).logits, atol=1e-5)
    with pytest.raises(InputError, match="without photos"):
        evaluation.answers(network, photos.subset([]))


def test_figures_are_those_of_scikit_learn_by_organ(photos):
    """Top-1 of all photos and of each organ, macro by hand, with the card's temperature in the calibration alone."""
    rng = np.random.default_rng(0)
    told = _told(rng.normal(size=(len(photos), 4)).astype(np.float32))
    network = FakeNetwork(photos.species)
    table = evaluation.evaluate(network, photos, told)
    assert list(table.index) == ["all", "flower", "leaf"] and (table["unknown"] == 0).all() and table["top5"].isna().all()
    for name, mask in evaluation.by_organ(photos).items():
        y, p = photos.labels[mask], probabilities(told.logits[mask])
        assert table.loc[name, "top1"] == pytest.approx(top_k_accuracy_score(y, p, k=1, labels=range(4)))
        assert table.loc[name, "macro_top1"] == pytest.approx(np.mean([(p[y == s].argmax(1) == s).mean() for s in np.unique(y)]))
        assert table.loc[name, "photos"] == mask.sum()
    network.card = replace(network.card, temperature=3.0)
    hot = evaluation.evaluate(network, photos, told)
    assert hot.loc["all", "top1"] == table.loc["all", "top1"] and hot.loc["all", "nll"] != table.loc["all", "nll"]


def test_species_a_net_does_not_know_are_wrong_and_counted(photos):
    """Of four species, two known: figures are those of the known ones times their share; lists are matched by name, in any order."""
    known = replace(species_of(4), checklist="other", taxa=tuple(reversed(species_of(4).taxa[:2])))
    network = FakeNetwork(known)
    assert sorted(set(evaluation.positions(photos, network)[photos.labels < 2])) == [0, 1]
    assert (evaluation.positions(photos, network)[photos.labels >= 2] == -1).all()
    right = np.where(photos.labels[:, None] == [1, 0], 1.0, 0.0).astype(np.float32)
    table = evaluation.evaluate(network, photos, _told(right))
    assert table.loc["all", "unknown"] == 12 and table.loc["all", "top1"] == 0.5 and table.loc["all", "macro_top1"] == 0.5
    stranger = PhotoSet(species=photos.species, table=photos.table[photos.labels == 3])
    assert np.isnan(evaluation.evaluate(network, stranger, _told(right[:6])).loc["all", "top1"])


def test_what_a_species_is_taken_for_is_told(photos):
    """The worst species first, with the one it is mostly taken for."""
    first = np.where(photos.labels == 2, np.where(np.arange(len(photos)) % 3 == 0, 2, 0), photos.labels)
    table = evaluation.by_species(FakeNetwork(photos.species), photos, _told(np.eye(4, dtype=np.float32)[first]))
    worst = table.iloc[0]
    assert (worst["species"], worst["photos"], worst["taken_for"]) == ("Genus1 species2", 6, "Genus0 species0")
    assert worst["top1"] == pytest.approx(1 / 3) and worst["share"] == pytest.approx(2 / 3)
    assert (table["top1"][1:] == 1).all() and (table["taken_for"][1:] == "").all() and isinstance(table, pd.DataFrame)


def test_what_is_known_scores_above_what_is_not():
    """Confident answers beside flat ones: both scores of logits tell them apart wholly, the head of plants, which says one thing, not at all."""
    sure, flat = _told(np.eye(4, dtype=np.float32)[[0, 1, 2]] * 9), _told(np.zeros((5, 4), np.float32))
    found = evaluation.telling_apart(sure, flat, FakeNetwork(species_of(4)).card)
    assert (found["first"].value, found["energy"].value, found["plant"].value) == (1, 1, 0.5)
    assert evaluation.knowing(flat, FakeNetwork(species_of(4)).card)["energy"] == pytest.approx(np.log(4))


@given(st.integers(0, 10_000))
def test_photos_stored_twice_are_of_one_observation(seed):
    """By brute force: two photos share an observation after where a chain of twins or of shared observations leads from one to the other, and only there."""
    rng = np.random.default_rng(seed)
    n = 12
    features = rng.normal(size=(5, 8))[rng.integers(0, 5, n)] * rng.uniform(0.5, 2, (n, 1)) + rng.normal(0, 0.01, (n, 8))
    before = rng.integers(0, 8, n)
    table = pd.DataFrame({"image": [f"{i}" for i in range(n)], "species": 0, "observation": [f"o{i}" for i in before]})
    photos = PhotoSet(species=species_of(1), table=table.assign(organ="", split="", author="", license=""))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    reach = (unit @ unit.T > 0.98) | (before[:, None] == before)
    for _ in range(n):
        reach = (reach.astype(int) @ reach) > 0
    after = evaluation.twins_together(photos, features).table["observation"].to_numpy()
    assert ((after[:, None] == after) == reach).all() and set(after) <= set(table["observation"])
    with pytest.raises(InputError, match="one row"):
        evaluation.twins_together(photos, features[1:])


def test_species_of_another_list_are_found_by_id_and_name_and_never_by_a_name_that_two_have():
    """Two classes of one name are told apart by their ids; where the ids do not help, neither is taken."""
    net = FakeNetwork(
        SpeciesList(
            checklist="a",
            taxa=tuple(Taxon(taxon_id=i, scientific_name=n, genus="", family="") for i, n in [("1", "Aa x"), ("2", "Aa x"), ("3", "Bb c")]),
        )
    )
    own = SpeciesList(
        checklist="b",
        taxa=tuple(
            Taxon(taxon_id=i, scientific_name=n, genus="", family="")
            for i, n in [("1", "Aa x"), ("2", "Aa x"), ("7", "Bb c"), ("9", "Aa x"), ("8", "Dd")]
        ),
    )
    rows = pd.DataFrame(
        {"image": list("abcde"), "species": range(5), "organ": "", "observation": list("abcde"), "split": "", "author": "", "license": ""}
    )
    assert evaluation.positions(PhotoSet(species=own, table=rows), net).tolist() == [0, 1, 2, -1, -1]
