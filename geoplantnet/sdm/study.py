"""A study: what a recipe and the manifest of its run say, as the model card, the ODMAP protocol and STAC MLM state it.

Only what is recorded; what nobody recorded is `TO_FILL`, never a guess.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoplantnet.cubes.modality import Modality
from geoplantnet.taxonomy.species_list import SpeciesList

TO_FILL = "to be filled by the author"
NETWORK = "deep-sdm"
"""What recipes call the one kind of model that is no model of a table."""


@dataclass(frozen=True, kw_only=True)
class RecordSource:
    """One data set of occurrences."""

    dataset: str
    """Darwin Core datasetID."""
    read: int
    """Records."""
    used: int


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """One modality and where its values come from."""

    modality: Modality
    source: str
    """Kind of source, as recipes call it."""
    learnt: bool
    """False for what is kept for masks and pictures only."""
    scaling: tuple[tuple[float, float], ...] = ()
    """(mean, standard deviation) of every channel that the model subtracts and divides by; () = none or unknown."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What one member of the model has learnt: the file with the weights of a network, the folder of any other."""

    name: str
    """Of the member."""
    path: str
    """Path or address, for links."""
    bytes: int
    sha256: str
    parameters: int
    """Numbers in the file, or in the folder's arrays, buffers included."""
    kind: str = NETWORK
    """As recipes call it (`sdm.models.MODELS`)."""
    weight: float = 1.0
    """How much the member counts in the mean, relative to the others."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Another climate or another year that the model is mapped under."""

    name: str
    title: str
    interval: tuple[str, str]
    """First and last moment it stands for, ISO 8601."""
    differs: tuple[str, ...]
    """What of its predictors is another than where the model learnt, a modality each, in words."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One trained model with the data it was trained on and the maps it was trained for."""

    title: str
    description: str
    notice: str
    """What the predictions are, and are not."""
    licence: str
    """Of the products, an SPDX name."""
    attribution: tuple[str, ...]
    interval: tuple[str, str]
    """First and last moment the predictions stand for, ISO 8601."""
    crs: str
    lonlat: tuple[float, float, float, float]
    """West, south, east, north around the tiles, degrees, WGS 84."""
    tiles: int
    tile_size: int
    """Metres."""
    cell_size: int
    """Metres."""
    plot_area: float
    """m2 to which probabilities refer."""
    species: SpeciesList
    records: tuple[RecordSource, ...]
    events: Mapping[str, int]
    """Sampling (presence-absence, presence-only) -> events used."""
    rejected: Mapping[str, int]
    """Reason -> records refused."""
    filters: tuple[str, ...]
    """Rules of data cleaning and of choosing species, sentences."""
    clipping: tuple[str, ...]
    """Those of them that refuse records for where they lie."""
    predictors: tuple[Predictor, ...]
    algorithm: str
    architecture: str
    """Short name of the model's kind."""
    settings: Mapping[str, Any]
    """Hyper-parameters, JSON-able."""
    steps: tuple[str, ...]
    """Stretches of training, in words."""
    record_losses: tuple[str, ...]
    """Names of the losses by which presence-only records are learnt; () where they are not, or as plots only (pseudo-labels)."""
    clip: float
    """Standard deviations from the training mean at which standardised predictors stop."""
    background: int
    """Uniform background sites added."""
    plots: int
    """Presence-absence plots trained on or held out."""
    presence_only_sites: int
    """Background included."""
    block: float
    """Side of a spatial block of the validation, metres."""
    autocorrelation: float | None
    """Range of spatial autocorrelation that the side was taken from, metres; None = the side was chosen."""
    buffer: float
    """Metres around held-out plots in which nothing is learnt from; 0 = none."""
    folds: int
    every_fold: bool
    """Whether each fold is held out in turn; else one fold is held out of the mapped model."""
    members_of_folds: bool
    """Whether the model that maps is made of the folds' own models, each blind to its fold; else, with every fold held out in turn, it is
    fitted once more on all data."""
    differ_by: tuple[str, ...]
    """What the members differ by, such as seed, fold, or names of settings."""
    calibration: str
    """Name of the calibration that the maps hold; none = not looked for, identity = none helped."""
    kept_apart: bool
    """Whether maps keep the members of an ensemble apart, and so tell how far they disagree; else their mean alone."""
    tested_on: tuple[str, ...]
    """Data sets scored; () = all with absences."""
    indicators: tuple[str, ...]
    dissimilarity: float | None
    """Dissimilarity index up to which a cell lies in the area of applicability; None = no such area is known."""
    extrapolated: float | None
    """Share of the mapped cells outside of it; None = unknown, or no tile is mapped by this model."""
    post_processing: tuple[str, ...]
    """What becomes of probabilities on a map, sentences."""
    seed: int
    software: Mapping[str, str]
    """Package -> version."""
    weights: tuple[Weights, ...]
    """One a member, whose mean logit the model is; () = none are known."""
    scenarios: tuple[Scenario, ...] = ()
    """Those of the recipe."""

    @property
    def learnt(self) -> tuple[Predictor, ...]:
        """The modalities the model learns from."""
        return tuple(p for p in self.predictors if p.learnt)

    @property
    def members(self) -> int:
        """Models whose mean logit is mapped."""
        return max(len(self.weights), 1)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the members, each once."""
        return tuple(dict.fromkeys(w.kind for w in self.weights)) or (NETWORK,)

    @property
    def noun(self) -> str:
        """What a member is called: network, the one kind of table model, or model."""
        return "network" if self.kinds == (NETWORK,) else self.kinds[0] if len(self.kinds) == 1 else "model"

    @property
    def fitted(self) -> str:
        """What the model that maps has seen."""
        if not self.every_fold:
            return "the model that maps has not seen the held-out fold"
        if self.members_of_folds:
            near = f" and within {self.buffer:g} m of its plots" if self.buffer else ""
            return f"the model that maps is the mean of the folds' own models, each of which has seen all data but those of its fold{near}"
        return "after each fold was held out in turn, the model that maps is fitted on all data"

    @property
    def averaging(self) -> str:
        """How members make one model; empty for a single one."""
        if self.members == 1:
            return ""
        differ = f"; they differ by {', '.join(self.differ_by)}" if self.differ_by else ""
        total = sum(w.weight for w in self.weights)
        alike = len({w.weight for w in self.weights}) == 1
        weighed = "of equal weight" if alike else f"weighed {', '.join(f'{w.kind} {100 * w.weight / total:.0f} %' for w in self.weights)}"
        return f"the mean of the logits of {self.members} {self.noun}s {weighed} (a logarithmic opinion pool){differ}"

    @property
    def parameters(self) -> int | None:
        """Weights of all networks together; None = unknown, or not all members are networks."""
        return (sum(w.parameters for w in self.weights) or None) if self.noun == "network" else None

    def seen_from(self, folder: str | os.PathLike[str]) -> Study:
        """The study with paths of weights that are relative to a folder, for links in a file there."""
        moved = tuple(replace(w, path=Path(os.path.relpath(w.path, folder)).as_posix()) for w in self.weights)
        return replace(self, weights=moved)
