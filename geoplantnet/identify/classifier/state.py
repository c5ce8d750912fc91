"""What an epoch of a training leaves behind, so that one that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from geoplantnet.errors import ConfigurationError
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.storage import json_text, write_beside

_STATE = "state.json"


def epochs_done(folder: Path) -> int:
    """Epochs of a training that a folder keeps; 0 where it keeps none."""
    return len(json.loads((folder / _STATE).read_text(encoding="utf-8"))["history"]) if (folder / _STATE).is_file() else 0


def _differ(kept: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In what two trainings differ, for people."""
    was, options = kept.get("training", {}), now["training"]
    words = [f"{key} {was.get(key)}, now {options[key]}" for key in options if was.get(key) != options[key]]
    photos = [f"{len(kept.get('photos', ()))} photos, now {len(now['photos'])}" if kept.get("photos") != now["photos"] else ""]
    labels = ["other labels" if photos == [""] and any(kept.get(key) != now[key] for key in ("species", "labels")) else ""]
    return ", ".join([*words, *filter(None, photos + labels)])


class State:
    """The state of a training in a folder; None: it is not kept. What else the folder is of stands beside it, and must be the same."""

    def __init__(self, folder: Path | None, training: Mapping[str, Any], photos: PhotoSet) -> None:
        self.folder = folder
        told = {
            "training": dict(training),
            "species": photos.species.hash,
            "photos": list(photos.table["image"]),
            "labels": photos.labels.tolist(),
        }
        self.of = json.loads(json.dumps(told))  # as it is read again

    @property
    def kept(self) -> bool:
        """Whether an epoch was done."""
        return self.folder is not None and (self.folder / _STATE).is_file()

    def load(self, learning: list[Tensor], mean: list[Tensor], optimiser: torch.optim.Optimizer) -> list[Mapping[str, float]]:
        """The epochs that were done. Raises ConfigurationError where the folder is of another training."""
        if self.folder is None or not self.kept:
            return []
        told = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        if told["of"] != self.of:
            raise ConfigurationError(
                f"{self.folder} keeps {len(told['history'])} epochs of another training ({_differ(told['of'], self.of)}); start it with the same "
                "photos and options to go on, or delete that folder to begin anew"
            )
        tensors = safetensors.torch.load_file(self.folder / "state.safetensors")
        with torch.no_grad():
            for i, slow in enumerate(mean):
                slow.copy_(tensors[f"mean.{i}"])
            for i, fast in enumerate(learning):
                fast.copy_(tensors[f"fast.{i}"])
                if f"step.{i}" in tensors:  # what never had a gradient has no moments
                    moments = {key: tensors[f"{key}.{i}"].to(fast.device) for key in ("exp_avg", "exp_avg_sq")}
                    optimiser.state[fast] = {"step": tensors[f"step.{i}"], **moments}
        history: list[Mapping[str, float]] = told["history"]
        return history

    def save(
        self, history: list[Mapping[str, float]], learning: list[Tensor], mean: list[Tensor], optimiser: torch.optim.Optimizer
    ) -> None:
        """Write it, whole or not at all."""
        if self.folder is None:
            return
        tensors: dict[str, Tensor] = {f"mean.{i}": slow for i, slow in enumerate(mean)}
        for i, fast in enumerate(learning):
            tensors |= {f"fast.{i}": fast.detach()} | {f"{k}.{i}": v for k, v in optimiser.state[fast].items()}
        with write_beside(self.folder) as temporary:
            temporary.mkdir()
            (temporary / "state.safetensors").write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}))
            (temporary / _STATE).write_text(json_text({"of": self.of, "history": history}), encoding="utf-8")
