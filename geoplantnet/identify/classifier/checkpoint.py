"""A trained classifier on disk: safetensors for the weights, JSON for all else. Never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from geoplantnet.errors import IntegrityError, ModelError
from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.cosine_head import CosineHead
from geoplantnet.identify.classifier.model import PhotoClassifier, TorchNetwork, channels_last
from geoplantnet.identify.network import Card
from geoplantnet.storage import json_text, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

WEIGHTS, FACTS = "classifier.safetensors", "classifier.json"


def save(network: TorchNetwork, folder: str | os.PathLike[str], **provenance: Any) -> Path:
    """Commit a checkpoint folder. `provenance` (data, recipe, what was rejected) is kept beside card and species."""
    cosine = isinstance(network.model.species, CosineHead)
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.model.state_dict().items()})
    described = {
        "card": network.card.to_dict(),
        "backbone": network.model.backbone.config,
        "head": "cosine" if cosine else "linear",
        "weights": hashlib.sha256(weights).hexdigest(),
        "species": network.species.to_dict(),
        "provenance": provenance,
    }
    with write_beside(folder) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights)
        (temporary / FACTS).write_text(json_text(described), encoding="utf-8")
    return Path(folder)


def load(folder: str | os.PathLike[str]) -> TorchNetwork:
    """A classifier, in eval mode.

    Raises ModelError where the folder holds none, IntegrityError for weights that are not those saved, UsageError where its backbone's package is missing.
    """
    path = Path(folder)
    try:
        described = json.loads((path / FACTS).read_text(encoding="utf-8"))
        data = (path / WEIGHTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != described["weights"]:
            raise IntegrityError(f"{path / WEIGHTS} is not what {FACTS} beside it describes; restore the folder, or train anew")
        weights = safetensors.torch.load(data)
        card, species = Card.from_dict(described["card"]), SpeciesList.from_dict(described["species"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"no readable classifier at {path} ({error}); train one with `geoplantnet identify train`") from error
    model = PhotoClassifier(
        make_backbone(card.backbone, pretrained=False, config=described.get("backbone")),
        len(species),
        card,
        cosine=described.get("head") == "cosine",
    )
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
