"""Held-out predictions: what models that had not seen a plot said of it, and what was found there.

The training stage leaves them as a folder; every score and figure is made from it alone.

    held_out.json            species axis, names of the models, how many plots
    plots.parquet            a row a plot: eventID, fold, block, x, y
    predictions.safetensors  p/0, p/1 ... (plot, species), a model each; truth.indices, truth.indptr (CSR of presences)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import safetensors.numpy
from scipy import sparse

from geoplantnet.errors import InputError, ModelError
from geoplantnet.storage import json_text, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

Float = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]
FOLDER = "held_out"
"""Name of the folder inside a model's."""
_FACTS, _PLOTS, _ARRAYS = "held_out.json", "plots.parquet", "predictions.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Predictions of one or more models at the same held-out plots; arrays share the axis `plot`, in any order.

    Raises InputError where lengths disagree, an event stands twice, or a probability is outside [0, 1].
    """

    species: SpeciesList
    event: tuple[str, ...]
    """(plot,): eventID."""
    fold: Integers
    """(plot,): the fold whose model had not seen the plot."""
    truth: sparse.csr_array
    """(plot, species) uint8, 1 = found."""
    p: Mapping[str, Float]
    """Model name -> (plot, species) float16 or float32 in [0, 1]. The first is the model that maps, the others are baselines."""
    xy: npt.NDArray[np.float64]
    """(plot, 2): easting and northing, metres of the grid."""
    block: Integers | None = None
    """(plot,): id of the spatial block a plot lies in; None = unknown."""

    def __post_init__(self) -> None:
        n, shape = len(self.event), (len(self.event), len(self.species))
        if not n or not self.p:
            raise InputError(f"held-out predictions of {len(self.p)} models at {n} plots; give one model and one plot at least")
        if len(set(self.event)) != n:
            raise InputError(f"{n - len(set(self.event))} eventIDs of the held-out plots stand twice; a plot is held out once")
        for name, length in (("fold", len(self.fold)), ("xy", len(self.xy)), ("block", n if self.block is None else len(self.block))):
            if length != n:
                raise InputError(f"{name} describes {length} plots, there are {n}")
        if self.truth.shape != shape:
            raise InputError(f"truth is {self.truth.shape}, (plot, species) are {shape}; label with the same list of species")
        for name, p in self.p.items():
            if p.shape != shape or p.dtype not in (np.float16, np.float32):
                raise InputError(f"predictions of {name!r} are {p.dtype} {p.shape}; wanted float16 or float32 {shape}")
            if not (p.min() >= 0 and p.max() <= 1):  # NaN fails both
                raise InputError(f"predictions of {name!r} hold NaN or values outside [0, 1]; a suitability has to be scaled first")

    def __len__(self) -> int:
        return len(self.event)

    def found(self) -> npt.NDArray[np.uint8]:
        """Presences, dense (plot, species)."""
        return self.truth.toarray().astype(np.uint8)

    def folds(self) -> Iterator[Integers]:
        """Positions of each fold's plots, folds ascending."""
        for fold in np.unique(self.fold):
            yield np.flatnonzero(self.fold == fold)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Commit as a folder; the same predictions give the same bytes."""
        presences = sparse.csr_array(self.truth)
        presences.sort_indices()
        arrays = {f"p/{i}": np.ascontiguousarray(p) for i, p in enumerate(self.p.values())}
        arrays |= {"truth.indices": presences.indices.astype(np.int32), "truth.indptr": presences.indptr.astype(np.int64)}
        plots = pd.DataFrame({"eventID": list(self.event), "fold": self.fold.astype(np.int64)})
        if self.block is not None:
            plots["block"] = self.block.astype(np.int64)
        plots["x"], plots["y"] = self.xy.T.astype(np.float64)
        facts = {"models": list(self.p), "plots": len(self), "species": self.species.to_dict()}
        with write_beside(folder) as temporary:
            temporary.mkdir()
            (temporary / _ARRAYS).write_bytes(safetensors.numpy.save(arrays))
            (temporary / _FACTS).write_text(json_text(facts), encoding="utf-8")
            plots.to_parquet(temporary / _PLOTS, index=False)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> HeldOut:
        """What `save` wrote. Raises ModelError when the folder holds none, or one that is damaged."""
        path = Path(folder)
        if not (path / _FACTS).is_file():
            raise ModelError(f"no held-out predictions at {path}; make them with `geoplantnet train`")
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            arrays = safetensors.numpy.load_file(path / _ARRAYS)
            plots = pd.read_parquet(path / _PLOTS)
            return cls(**_fields(facts, arrays, plots))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError, safetensors.SafetensorError) as error:
            raise ModelError(
                f"the held-out predictions at {path} are damaged ({error}); make them again with `geoplantnet train`"
            ) from error


def _fields(facts: dict[str, Any], arrays: dict[str, Any], plots: pd.DataFrame) -> dict[str, Any]:
    species = SpeciesList.from_dict(facts["species"])
    indices, indptr = arrays["truth.indices"], arrays["truth.indptr"]
    if len(plots) != facts["plots"] or len(indptr) != len(plots) + 1:
        raise ValueError(f"{len(plots)} plots, {facts['plots']} were recorded, {len(indptr) - 1} have presences")
    truth = sparse.csr_array((np.ones(len(indices), np.uint8), indices, indptr), shape=(len(plots), len(species)))
    truth.check_format()
    return {
        "species": species,
        "event": tuple(plots["eventID"]),
        "fold": plots["fold"].to_numpy(),
        "truth": truth,
        "p": {name: arrays[f"p/{i}"] for i, name in enumerate(facts["models"])},
        "xy": plots[["x", "y"]].to_numpy(),
        "block": plots["block"].to_numpy() if "block" in plots else None,
    }
