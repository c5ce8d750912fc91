"""A training on disk after each epoch, so that one that was killed goes on to the same weights, bit for bit.

`folder/epoch-000007` holds all tensors as safetensors and all else as JSON. Each epoch gets a folder of its own name, committed
by a rename, and only then the one before is removed: at any instant one is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from geoplantnet.errors import ModelError
from geoplantnet.storage import json_text, sweep, write_beside

_TENSORS, _FACTS, _NAME = "tensors.safetensors", "state.json", "epoch-"


@dataclass(frozen=True, kw_only=True, eq=False)
class Position:
    """Where a training is, at the end of an epoch."""

    facts: dict[str, Any]
    """Plain values: step, epoch, streams, generators, the optimiser's groups and schedule."""
    tensors: dict[str, Tensor]
    """Weights, moving average, teacher, moments of the optimiser, torch's generators."""


class Journal:
    """Positions of one training under a folder. `of` names what the training is of: part -> digest."""

    def __init__(self, folder: str | os.PathLike[str], of: Mapping[str, str]) -> None:
        self._folder, self._of = Path(folder), dict(of)

    def last(self) -> Position | None:
        """The newest position, or None when there is none.

        Raises ModelError when it is unreadable, or of another training: another plan, other sites, other species.
        """
        found = self._epochs()
        if not found:
            return None
        newest = found[max(found)]
        try:
            facts = json.loads((newest / _FACTS).read_text(encoding="utf-8"))
            of, tensors = facts.pop("of"), safetensors.torch.load_file(newest / _TENSORS)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise ModelError(f"{newest} cannot be read as a training to go on with ({error}); delete it and train again") from error
        if other := [part for part in sorted({*of, *self._of}) if of.get(part) != self._of.get(part)]:
            raise ModelError(
                f"{self._folder} holds a training of another {' and another '.join(other)}; go on with what it began with, "
                "give another `resume` folder, or delete it to begin anew"
            )
        return Position(facts=facts, tensors=tensors)

    def commit(self, position: Position, epoch: int) -> None:
        """Put down a position as epoch number `epoch` of the training, then drop the older ones."""
        before = self._epochs()
        with write_beside(self._folder / f"{_NAME}{epoch:06d}") as temporary:
            temporary.mkdir()
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in position.tensors.items()}
            (temporary / _TENSORS).write_bytes(safetensors.torch.save(tensors))
            (temporary / _FACTS).write_text(json_text({**position.facts, "of": self._of}), encoding="utf-8")
        for number, folder in before.items():
            if number < epoch:
                shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        """Remove what a killed training left half-written; only for who trains here alone."""
        if self._folder.is_dir():
            sweep(self._folder, deepest=1)

    def _epochs(self) -> dict[int, Path]:
        return {int(p.name.removeprefix(_NAME)): p for p in self._folder.glob(f"{_NAME}*") if p.name.removeprefix(_NAME).isdigit()}


def digest(*parts: object) -> str:
    """SHA-256 of arrays and plain values, in order."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            whole.update(f"{part.dtype.str}{part.shape}".encode())
            whole.update(np.ascontiguousarray(part).tobytes())
        else:
            whole.update(json.dumps(part, sort_keys=True, default=str).encode())
    return whole.hexdigest()
