"""A trained classifier on disk: safetensors for the weights, JSON for all else. Never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from geoplantnet.errors import ModelError
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.model import PhotoClassifier, TorchNetwork, channels_last
from geoplantnet.identify.network import Card
from geoplantnet.storage import json_text, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

WEIGHTS, FACTS = "classifier.safetensors", "classifier.json"


def save(network: TorchNetwork, folder: str | os.PathLike[str], **provenance: Any) -> Path:
    """Commit a checkpoint folder. `provenance` (data, recipe, what was rejected) is kept beside card and species."""
    described = {"card": network.card.to_dict(), "species": network.species.to_dict(), "provenance": provenance}
    with write_beside(folder) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(safetensors.torch.save(network.model.state_dict()))
        (temporary / FACTS).write_text(json_text(described), encoding="utf-8")
    return Path(folder)


def load(folder: str | os.PathLike[str]) -> TorchNetwork:
    """A classifier, in eval mode. Raises ModelError where the folder holds none, UsageError where its backbone's package is missing."""
    path = Path(folder)
    try:
        described = json.loads((path / FACTS).read_text(encoding="utf-8"))
        weights = safetensors.torch.load_file(path / WEIGHTS)
        card, species = Card.from_dict(described["card"]), SpeciesList.from_dict(described["species"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"no readable classifier at {path} ({error}); train one with `geoplantnet identify train`") from error
    model = PhotoClassifier(make_backbone(card.backbone, pretrained=False), len(species), card)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"the weights at {path} do not fit the net they lie beside: {error}") from error
    return TorchNetwork(channels_last(model.eval()), species)


def provenance(folder: str | os.PathLike[str]) -> Mapping[str, Any]:
    """What `save` was told of a checkpoint's making."""
    try:
        told: Mapping[str, Any] = json.loads((Path(folder) / FACTS).read_text(encoding="utf-8"))["provenance"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"no readable classifier at {folder} ({error}); train one with `geoplantnet identify train`") from error
    return told
