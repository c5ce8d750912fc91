"""A study: what a recipe and the manifest of its run say, as the model card, the ODMAP protocol and STAC MLM state it.

Only what is recorded; what nobody recorded is `TO_FILL`, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoplantnet.cubes.modality import Modality
from geoplantnet.taxonomy.species_list import SpeciesList

TO_FILL = "to be filled by the author"


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
    predictors: tuple[Predictor, ...]
    algorithm: str
    architecture: str
    """Short name of the model's kind."""
    settings: Mapping[str, Any]
    """Hyper-parameters, JSON-able."""
    steps: tuple[str, ...]
    """Stretches of training, in words."""
    background: int
    """Uniform background sites added."""
    plots: int
    """Presence-absence plots trained on or held out."""
    presence_only_sites: int
    """Background included."""
    block: float
    """Side of a spatial block of the validation, metres."""
    folds: int
    every_fold: bool
    """Whether each fold is held out in turn; else one fold is held out of the mapped model."""
    tested_on: tuple[str, ...]
    """Data sets scored; () = all with absences."""
    indicators: tuple[str, ...]
    seed: int
    software: Mapping[str, str]
    """Package -> version."""
    parameters: int | None
    """Weights of the model; None = unknown."""
    weights: str
    """Path or address of the weights, for links; empty = none."""
    weights_bytes: int
    weights_sha256: str

    @property
    def learnt(self) -> tuple[Predictor, ...]:
        """The modalities the model learns from."""
        return tuple(p for p in self.predictors if p.learnt)
