"""An exported folder as a `Network`, run by onnxruntime."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from geoplantnet.errors import IntegrityError, ModelError
from geoplantnet.identify.network import Card, Outputs
from geoplantnet.storage import sha256
from geoplantnet.taxonomy.species_list import SpeciesList

MODEL, CARD, LABELS = "model.onnx", "card.json", "labels.json"
OUTPUTS = ("logits", "features", "organs", "plant")
PARITY = "parity"
PROBE = "probe"
"""In the card: `squares` of a picture, and its first `logits` by sums that do not overflow."""
_SIDE, _PROBED = 32, 64
_EXACT = "session.x64quantprecision"
"""Of onnxruntime: sums of 8-bit products by slower instructions. x86 processors without VNNI have quick ones that overflow (decision 038)."""
_ALIKE = 0.08
"""Distance of the probe's logits from those wanted, of their length: rounding stays below a third of it, overflow is three times as much."""
INDEX = "index/"
"""Files of the index are checked by who opens it."""
_BATCH = 16


def probe_of(network: OnnxNetwork) -> dict[str, Any]:
    """What a folder tells a processor by that does not compute as it should: a picture of coloured squares, and what the net makes of it."""
    n = -(-network.card.size // _SIDE)
    squares = (np.arange(n * n * 3) * 97 % 251).astype(np.uint8).reshape(n, n, 3)
    logits = network(_picture(squares, network.card.size)).logits[0, :_PROBED]
    return {"squares": squares.tolist(), "logits": logits.astype(float).tolist()}


def _picture(squares: npt.ArrayLike, size: int) -> npt.NDArray[np.uint8]:
    return np.asarray(squares, np.uint8).repeat(_SIDE, 0).repeat(_SIDE, 1)[None, :size, :size]


class OnnxNetwork:
    """A net out of a folder. Raises ModelError for a folder that is none, IntegrityError for a file that is not as it was written."""

    def __init__(self, folder: str | os.PathLike[str], *, threads: int = 1) -> None:
        path = Path(folder)
        try:
            told = json.loads((path / CARD).read_text(encoding="utf-8"))
            files, self.parity, probed = told.pop("files"), told.pop(PARITY, {}), told.pop(PROBE, None)
            card, species = Card.from_dict(told), SpeciesList.from_dict(json.loads((path / LABELS).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"no exported classifier at {path} ({error}); write one with `geoplantnet identify export`") from error
        for name in {MODEL, LABELS, *(name for name in files if not name.startswith(INDEX))}:
            if not (path / name).is_file() or sha256(path / name) != files.get(name):
                raise IntegrityError(f"{path / name} is not as it was written; export the classifier again, or bring back a copy")
        self._begin(path / MODEL, card, species, threads)
        self.exact = probed is not None and not self._computes(probed)
        """Whether this processor's quick sums of 8 bits overflow, so that slower ones are used."""
        if self.exact:
            self._begin(path / MODEL, card, species, threads, exact=True)

    def _computes(self, probed: Mapping[str, Any]) -> bool:
        """Whether the probe's logits are what they were where the folder was written."""
        wanted = np.asarray(probed["logits"], float)
        told = self(_picture(probed["squares"], self.card.size)).logits[0, : len(wanted)]
        return bool(np.linalg.norm(told - wanted) <= _ALIKE * np.linalg.norm(wanted))

    @classmethod
    def of_graph(cls, model: Path, card: Card, species: SpeciesList, *, threads: int = 1) -> OnnxNetwork:
        """A net out of a graph that is in no folder yet, by sums that do not overflow."""
        network = cls.__new__(cls)
        network.parity, network.exact = {}, True
        network._begin(model, card, species, threads, exact=True)
        return network

    def _begin(self, model: Path, card: Card, species: SpeciesList, threads: int, *, exact: bool = False) -> None:
        self.card, self.species = card, species
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(_EXACT, str(int(exact)))
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no class
            raise ModelError(f"onnxruntime cannot run {model} ({str(error)[:200]}); export the classifier again") from error
        takes = {one.name: (one.type, one.shape[1:]) for one in self._session.get_inputs()}
        gives = {one.name: one.shape for one in self._session.get_outputs()}
        if (
            takes != {"pixels": ("tensor(uint8)", [card.size, card.size, 3])}
            or not set(OUTPUTS) <= gives.keys()
            or gives["logits"][1] != len(species)
        ):
            raise ModelError(
                f"the graph {model} takes {takes} and gives {gives}; pixels of {card.size} x {card.size} and the logits of {len(species)} species "
                "were expected. Export the classifier again"
            )

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Of photos (n, size, size, 3), red, green, blue, upright."""
        parts = [
            self._session.run(list(OUTPUTS), {"pixels": np.ascontiguousarray(pixels[i : i + _BATCH])})
            for i in range(0, max(len(pixels), 1), _BATCH)
        ]
        return Outputs(**{name: np.concatenate([part[j] for part in parts]).astype(np.float32) for j, name in enumerate(OUTPUTS)})
