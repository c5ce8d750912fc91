"""The seam of nets: its fake answers like one, a card survives being written."""

from __future__ import annotations

import numpy as np
import pytest

from geoplantnet.errors import InputError
from geoplantnet.identify.network import ORGANS, Card, FakeNetwork
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Genus s{i}") for i in range(5)))


def test_the_fake_answers_as_the_seam_says():
    """Shapes, unit features, organs that sum to one, and a photo's answer does not depend on those beside it."""
    net, rng = FakeNetwork(SPECIES), np.random.default_rng(1)
    photos = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    told = net(photos)
    assert told.logits.shape == (3, 5) and told.organs.shape == (3, len(ORGANS)) and told.plant.shape == (3,)
    np.testing.assert_allclose(np.linalg.norm(told.features, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(told.organs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(net(photos[1:2]).logits[0], told.logits[1], rtol=1e-5)
    assert net(np.zeros((1, 32, 32, 3), np.uint8)).plant[0] == 0


def test_a_card_comes_back_as_it_was():
    """From what JSON holds; a field it does not know and a temperature of 0 are told."""
    card = Card(name="n", version="2", backbone="b", size=64, temperature=1.3, view_weights={"flower": 2.0})
    assert Card.from_dict(card.to_dict()) == card
    with pytest.raises(InputError, match="surprise"):
        Card.from_dict(card.to_dict() | {"surprise": 1})
    with pytest.raises(InputError, match="temperature"):
        Card(name="n", version="2", backbone="b", size=64, temperature=0)
