"""An exported folder as a `Network`, run by onnxruntime."""

from __future__ import annotations

import json
import os
from pathlib import Path

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
INDEX = "index/"
"""Files of the index are checked by who opens it."""
_BATCH = 16


class OnnxNetwork:
    """A net out of a folder. Raises ModelError for a folder that is none, IntegrityError for a file that is not as it was written."""

    def __init__(self, folder: str | os.PathLike[str], *, threads: int = 1) -> None:
        path = Path(folder)
        try:
            told = json.loads((path / CARD).read_text(encoding="utf-8"))
            files, self.parity = told.pop("files"), told.pop(PARITY, {})
            card, species = Card.from_dict(told), SpeciesList.from_dict(json.loads((path / LABELS).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"no exported classifier at {path} ({error}); write one with `geoplantnet identify export`") from error
        for name in {MODEL, LABELS, *(name for name in files if not name.startswith(INDEX))}:
            if not (path / name).is_file() or sha256(path / name) != files.get(name):
                raise IntegrityError(f"{path / name} is not as it was written; export the classifier again, or bring back a copy")
        self._begin(path / MODEL, card, species, threads)

    @classmethod
    def of_graph(cls, model: Path, card: Card, species: SpeciesList, *, threads: int = 1) -> OnnxNetwork:
        """A net out of a graph that is in no folder yet."""
        network = cls.__new__(cls)
        network.parity = {}
        network._begin(model, card, species, threads)
        return network

    def _begin(self, model: Path, card: Card, species: SpeciesList, threads: int) -> None:
        self.card, self.species = card, species
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
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
