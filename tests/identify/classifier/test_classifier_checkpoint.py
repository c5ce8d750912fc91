"""Classifiers on disk: the same answers after a round trip, nothing that could run, damage told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from geoplantnet.errors import IntegrityError, ModelError
from geoplantnet.identify.classifier import checkpoint, load, make_backbone, save
from geoplantnet.identify.classifier.model import PhotoClassifier, TorchNetwork, channels_last
from geoplantnet.identify.network import Card
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

SPECIES = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=str(i), scientific_name=f"Genus {i}", genus="Genus") for i in range(5)))


def _network(*, backbone="small", cosine=False, species=SPECIES, **card):
    torch.manual_seed(1)
    facts = Card(
        name="n", version="2", backbone=backbone, size=32, temperature=0.7, organs=True, rejects=True, figures={"top1": 0.5}, **card
    )
    model = channels_last(PhotoClassifier(make_backbone(backbone), len(species), facts, cosine=cosine).eval())
    return TorchNetwork(model, species)


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("cosine", [False, True])
def test_a_classifier_comes_back_as_it_was(tmp_path, photos, cosine):
    """Card, species and every answer to the bit, whichever its head; what it was made of beside it."""
    network = _network(cosine=cosine)
    save(network, tmp_path / "m", photos="plants", rejected={"no file": 3})
    again = load(tmp_path / "m")
    assert again.card == network.card and again.species == SPECIES and not again.model.training
    first, second = network(photos), again(photos)
    for key in ("logits", "features", "organs", "plant"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key))
    assert checkpoint.provenance(tmp_path / "m") == {"photos": "plants", "rejected": {"no file": 3}}


def test_a_transformer_needs_no_folder_but_the_checkpoint(tmp_path, photos):
    """A net of DINOv2 opens where the folder it was learnt from is gone."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=32, patch_size=16)
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "from")
    network = _network(backbone=f"dinov2:{tmp_path / 'from'}")
    save(network, tmp_path / "m")
    (tmp_path / "from").rename(tmp_path / "gone")
    np.testing.assert_array_equal(load(tmp_path / "m")(photos).logits, network(photos).logits)


def test_a_checkpoint_holds_tensors_and_json_only(tmp_path):
    """No pickle: two files, one that JSON reads, one that begins with the length of a JSON header."""
    save(_network(), tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["classifier.json", "classifier.safetensors"]
    data = (tmp_path / "m" / "classifier.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert "species.weight" in header and data[:2] != b"\x80\x04"


def test_bits_that_flipped_are_told(tmp_path):
    """One bit among the weights, the header or at the end: an error that names the file, never another answer."""
    save(_network(), tmp_path / "m")
    file = tmp_path / "m" / "classifier.safetensors"
    data = file.read_bytes()
    for at in (0, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(IntegrityError, match=r"classifier\.safetensors"):
            load(tmp_path / "m")


@pytest.mark.parametrize("damage", ["gone", "no weights", "no json", "half a json", "other species", "other head", "other backbone"])
def test_folders_that_hold_no_classifier_are_told(tmp_path, damage):
    """A typed error each; none loads half."""
    folder = tmp_path / "m"
    save(_network(), folder)
    facts = folder / "classifier.json"
    told = json.loads(facts.read_text())
    match damage:
        case "gone":
            folder = tmp_path / "nowhere"
        case "no weights":
            (folder / "classifier.safetensors").unlink()
        case "no json":
            facts.unlink()
        case "half a json":
            facts.write_text(facts.read_text()[:200])
        case "other species":
            told["species"]["taxa"] = told["species"]["taxa"][:4]
            del told["species"]["hash"]
            facts.write_text(json.dumps(told))
        case "other head":
            facts.write_text(json.dumps({**told, "head": "cosine"}))
        case "other backbone":
            facts.write_text(json.dumps({**told, "card": {**told["card"], "backbone": "resnet18"}}))
    with pytest.raises(ModelError):
        load(folder)


def test_a_save_that_fails_leaves_the_old_one(tmp_path, photos, monkeypatch):
    """What stood there stands, nothing else is left."""
    network = _network()
    save(network, tmp_path / "m")
    monkeypatch.setattr(checkpoint, "json_text", lambda value: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(_network(cosine=True), tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m")(photos).logits, network(photos).logits)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_photos_are_answered_alone_as_together(photos):
    """A net says of a photo what it says of it among others, within rounding; of none nothing, in the right shapes; organs sum to one."""
    network = _network()
    many = np.concatenate([photos] * 8)
    together = network(many)
    for i in (0, 7, 39):
        alone = network(many[i : i + 1])
        for key in ("logits", "features", "organs", "plant"):
            np.testing.assert_allclose(getattr(alone, key)[0], getattr(together, key)[i], atol=1e-5)
    np.testing.assert_allclose(together.organs.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together.features, axis=1), 1, atol=1e-5)
    nothing = network(many[:0])
    assert [getattr(nothing, k).shape for k in ("logits", "features", "organs", "plant")] == [(0, 5), (0, 128), (0, 6), (0,)]


def test_threads_get_the_answers_of_one(photos):
    """Eight threads at once: each its own answer."""
    from concurrent.futures import ThreadPoolExecutor

    network = _network()
    wanted = [network(photos[i : i + 1]).logits for i in range(5)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: network(photos[i % 5 : i % 5 + 1]).logits, range(40)))
    assert all((found[i] == wanted[i % 5]).all() for i in range(40))
