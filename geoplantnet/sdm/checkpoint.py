"""A trained model on disk: safetensors for the weights, JSON for all else. Never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ModelError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm.model import Architecture, DeepSDM, Normalisation
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

_WEIGHTS, _FACTS = "weights.safetensors", "model.json"
ESTIMATOR = "deep-sdm"
"""Which of the estimators a checkpoint is of; see `sdm.models.load_estimator`."""


def save(model: DeepSDM, folder: str | os.PathLike[str], **facts: object) -> None:
    """Commit a checkpoint folder. `facts` (plot area, records used, skill ...) are kept and given back by `load`."""
    description = {
        "estimator": ESTIMATOR,
        "architecture": asdict(model.architecture),
        "grid": asdict(model.grid),
        "modalities": [asdict(m) for m in model.modalities],
        "normalisation": {
            k: {"mean": [None if np.isnan(v) else v for v in n.mean.tolist()], "std": n.std.tolist()}
            for k, n in model.normalisation.items()
        },
        "species": model.species.to_dict(),
        "surveys": model.surveys,
        "facts": facts,
    }
    with write_beside(folder) as temporary:
        temporary.mkdir()
        (temporary / _WEIGHTS).write_bytes(safetensors.torch.save(model.state_dict()))
        (temporary / _FACTS).write_text(json.dumps(description, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")


def load(folder: str | os.PathLike[str]) -> tuple[DeepSDM, dict[str, object]]:
    """The model (in eval mode) and its facts. Raises ModelError when the folder holds no matching checkpoint."""
    path = Path(folder)
    try:
        d = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        weights = safetensors.torch.load_file(path / _WEIGHTS)
        model = _model(d)
        facts = dict(d["facts"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"no readable checkpoint at {path} ({error}); train it with `geoplantnet train`") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"the weights at {path} do not fit the model they lie beside: {error}") from error
    return model.eval(), facts


def _model(d: dict[str, Any]) -> DeepSDM:
    """An untrained model from its description."""
    return DeepSDM(
        modalities=[Modality.from_dict(row) for row in d["modalities"]],
        grid=TileGrid(**{**d["grid"], "bounds": tuple(d["grid"]["bounds"])}),
        species=SpeciesList.from_dict(d["species"]),
        normalisation={
            k: Normalisation(mean=np.array(n["mean"], np.float32), std=np.array(n["std"], np.float32))
            for k, n in d["normalisation"].items()
        },
        architecture=Architecture(**d["architecture"]),
        surveys=int(d.get("surveys", 0)),
    )


def require_modalities(model: DeepSDM, modalities: Sequence[Modality]) -> None:
    """Raise ModelError unless every modality of the model is among `modalities`, equal in every field but its periods, of which it has as many.

    Periods may be others: a model maps another year than those it learnt from.
    """
    given = {m.name: m for m in modalities}
    for m in model.modalities:
        if m.name not in given:
            raise ModelError(f"the model was trained with modality {m.name!r}, the recipe has {sorted(given)}; add it or train again")
        if not given[m.name].learns_as(m):
            raise ModelError(f"modality {m.name!r} changed since the model was trained; train again with `geoplantnet train`")


def require_species(model: DeepSDM, species: SpeciesList) -> None:
    """Raise ModelError unless the model is of exactly these species, in this order."""
    if model.species.hash == species.hash:
        return
    own, given = ({t.taxon_id: t.scientific_name for t in each} for each in (model.species, species))
    missing, unknown = [n for k, n in given.items() if k not in own], [n for k, n in own.items() if k not in given]
    differs = [
        f"{len(names)} species {where} ({names[0]} ...)"
        for names, where in ((missing, "it never saw"), (unknown, "not asked for"))
        if names
    ]
    raise ModelError(
        f"the model was trained on another species list of {len(own)} species, not on this one of {len(given)}: "
        f"{' and '.join(differs) or 'the same species in another order or under other names'}; use its own list or train again"
    )
