"""The recipe: one YAML file that says all a run needs. Unknown keys are refused.

Paths are relative to the working directory; `{data}` stands for the recipe's `data` folder (overridden by --data or the
environment variable GEOPLANTNET_DATA). A modality's `definition` names a file of the `modalities` folder beside the recipe.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from geoplantnet.errors import did_you_mean


class Section(BaseModel):
    """Base of every part of a recipe: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GridSection(Section):
    tiles: str | tuple[str, ...]
    """A named grid (tiles/NAME.csv) or a list of tile ids."""
    tile_size: int = Field(25_000, gt=0, multiple_of=1_000)
    """Side of a meta-tile, metres."""
    cell_size: int = Field(50, gt=0)
    """Side of a cell, metres; divides tile_size."""

    @model_validator(mode="after")
    def _nests(self) -> GridSection:
        if self.tile_size % self.cell_size:
            raise ValueError(f"cell_size {self.cell_size} m does not divide tile_size {self.tile_size} m")
        return self


class WorldSection(Section):
    """A virtual world: real or fractal relief with virtual species of known probability."""

    relief: Literal["aletsch", "fractal"] = "aletsch"
    species: int = Field(160, ge=2, le=20_000)


class VirtualPlots(Section):
    kind: Literal["virtual-plots"]
    plots: int = Field(ge=1)


class VirtualRecords(Section):
    kind: Literal["virtual-records"]
    records: int = Field(ge=1)


class SwissForestPlots(Section):
    """Systematic 4 km forest grid: presence-absence."""

    kind: Literal["swiss-forest-plots"]
    folder: Path
    area: Literal[30, 200, 500] = 500


class SwissForestReleves(Section):
    """Preferential relevés, 1930s-1969: presence-only."""

    kind: Literal["swiss-forest-releves"]
    folder: Path


class SwissWetlandPlots(Section):
    kind: Literal["swiss-wetland-plots"]
    folder: Path


class EuForest(Section):
    """EU-Forest 1 km tree records: presence-only."""

    kind: Literal["eu-forest"]
    archive: Path


class DarwinCoreFile(Section):
    """Any Darwin Core table (CSV or TSV) of presence-only records."""

    kind: Literal["darwin-core"]
    file: Path


OccurrenceSection = Annotated[
    VirtualPlots | VirtualRecords | SwissForestPlots | SwissForestReleves | SwissWetlandPlots | EuForest | DarwinCoreFile,
    Field(discriminator="kind"),
]


class BackboneSection(Section):
    """Where accepted names, synonyms and traits come from."""

    reference: Path
    synonyms: Path
    iucn: Path | None = None
    """A user's own table of IUCN categories (never shipped)."""


class SpeciesSection(Section):
    minimum_plots: int = Field(5, ge=1)
    """Presence-absence plots a species must be found in to be modelled."""
    minimum_records: int = Field(0, ge=0)
    """Presence-only records a species must have to be modelled."""


class QualitySection(Section):
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees (WGS 84): records outside the grid's rectangle around this box are rejected and counted."""
    maximum_uncertainty: float | None = Field(None, gt=0)
    """Largest coordinateUncertaintyInMeters accepted."""

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if bounds and not (-180 <= bounds[0] < bounds[2] <= 180 and -90 <= bounds[1] < bounds[3] <= 90):
            raise ValueError("west, south, east, north in degrees were expected, west < east and south < north")
        return bounds


class VirtualSource(Section):
    kind: Literal["virtual-sentinel2", "virtual-landsat", "virtual-climate", "virtual-bioclim", "virtual-terrain", "virtual-landcover"]


class TerrainSection(Section):
    kind: Literal["terrain"]
    dems: tuple[Path, ...] = Field(min_length=1)
    """GeoTIFF elevation models, the first with data wins."""


class ClimateSection(Section):
    kind: Literal["lapse-rate-climate"]
    temperature: Path
    precipitation: Path
    reference_elevation: Path
    dems: tuple[Path, ...] = ()


class SentinelSection(Section):
    """One scene on disk, with its scene classification."""

    kind: Literal["sentinel2-scene"]
    file: Path
    stored: tuple[str, ...] = ("B02", "B03", "B04", "B08", "SCL")
    """Names of the file's bands, in its order."""
    offset: float = 0.0
    """Added to stored * 0.0001; -0.1 for processing baselines from 04.00 that still carry it."""


class LandCoverSection(Section):
    kind: Literal["land-systems"]
    land_systems: Path
    classes: Path
    lights: Path | None = None
    scene: SentinelSection | None = None
    """A Sentinel-2 scene that refines the cover where it is clear."""


class RasterSection(Section):
    """Any GeoTIFF of the user's."""

    kind: Literal["raster"]
    path: Path
    bands: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    plausible: tuple[float, float] | None = None


SourceSection = Annotated[
    VirtualSource | TerrainSection | ClimateSection | SentinelSection | LandCoverSection | RasterSection,
    Field(discriminator="kind"),
]


class ModalitySection(Section):
    definition: str
    """Name of a file in the `modalities` folder, without .yaml."""
    source: SourceSection
    train: bool = True
    """False keeps the modality in the cube (for masks, pictures) but out of the model."""


class StepSection(Section):
    name: str
    epochs: int = Field(ge=1)
    pa: float = Field(0.0, ge=0)
    po: float = Field(0.0, ge=0)
    learning_rate: float = Field(1e-3, gt=0)

    @model_validator(mode="after")
    def _learns_from_something(self) -> StepSection:
        if self.pa + self.po == 0:
            raise ValueError("a step needs `pa` or `po` above 0; otherwise it learns nothing")
        return self


class TrainingSection(Section):
    steps: tuple[StepSection, ...] = Field(min_length=1)
    batch: int = Field(64, ge=2)
    weight_decay: float = Field(1e-2, ge=0)
    threads: int = Field(2, ge=1)
    width: int = Field(32, ge=4)
    latent: int = Field(128, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    modality_dropout: float = Field(0.1, ge=0, lt=1)
    background: int = Field(0, ge=0)
    """Uniform background sites added to the presence-only ones, drawn over the mapped tiles."""
    measured: tuple[str, ...] = ()
    """Modalities whose values at a plot come from what was measured there, not from the cube."""


class ValidationSection(Section):
    block: float = Field(gt=0)
    """Side of a spatial block, metres; at least the range of autocorrelation."""
    folds: int = Field(5, ge=2)
    held_out: Literal["one", "all"] = "one"
    """`one`: fold 0 is held out of the mapped model. `all`: every fold in turn, then the mapped model sees all."""
    test: tuple[str, ...] = ()
    """datasetIDs of the presence-absence plots scored; empty = all."""


class MapSection(Section):
    plot_area: float = Field(gt=0)
    """Plot area in m2 to which the probabilities refer."""
    require_any: tuple[str, ...] = ()
    """Cells without any of these modalities stay empty; () maps wherever the model has data."""
    unavailable: dict[str, tuple[str, ...]] = {}
    """modality -> bands whose fractions cannot hold plants (glacier, water): p is reduced by their share."""


class ClusterSection(Section):
    workers: int = Field(2, ge=1)
    memory: str = "auto"
    """Per worker, such as 4GB; auto shares this machine's among the workers."""
    scheduler: str | None = None
    """Address of a running Dask scheduler; None starts a local cluster."""

    @field_validator("memory")
    @classmethod
    def _amount(cls, memory: str) -> str:
        if not re.fullmatch(r"auto|\d+(\.\d+)? ?[kKMGT]i?B", memory):
            raise ValueError("auto, or an amount such as 4GB or 512MiB was expected")
        return memory

    @field_validator("scheduler")
    @classmethod
    def _address(cls, scheduler: str | None) -> str | None:
        if scheduler and not re.fullmatch(r"(tcp|tls|ws|wss)://\S+:\d+", scheduler):
            raise ValueError("an address such as tcp://10.0.0.1:8786 was expected")
        return scheduler


class Recipe(Section):
    title: str
    notice: str
    """One sentence a map shows at all times: what these predictions are, and are not."""
    description: str = ""
    licence: str = "CC-BY-4.0"
    attribution: tuple[str, ...] = ()
    store: Path
    data: Path | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    interval: tuple[str, str] = ("2000-01-01T00:00:00Z", "2025-12-31T23:59:59Z")
    """First and last moment the predictions stand for, ISO 8601 with time zone."""
    grid: GridSection
    world: WorldSection | None = None
    occurrences: tuple[OccurrenceSection, ...] = Field(min_length=1)
    backbone: BackboneSection | None = None
    species: SpeciesSection = Field(default_factory=SpeciesSection)
    quality: QualitySection = Field(default_factory=QualitySection)
    modalities: dict[str, ModalitySection] = Field(min_length=1)
    training: TrainingSection
    validation: ValidationSection
    map: MapSection
    indicators: tuple[str, ...] = Field(min_length=1)
    cluster: ClusterSection = Field(default_factory=ClusterSection)

    @field_validator("interval")
    @classmethod
    def _moments(cls, interval: tuple[str, str]) -> tuple[str, str]:
        first, last = (datetime.fromisoformat(moment) for moment in interval)
        if first.tzinfo is None or last.tzinfo is None:
            raise ValueError("moments need a time zone, such as 2000-01-01T00:00:00Z")
        if first > last:
            raise ValueError("the first moment comes after the last")
        return interval

    @model_validator(mode="after")
    def _hangs_together(self) -> Recipe:
        if self.store == Path():
            raise ValueError("`store` is empty; name a folder of its own for the products")
        for name in self.modalities:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ValueError(f"modality name {name!r}: use letters, digits and _, a letter first")
        if len(set(self.indicators)) != len(self.indicators):
            raise ValueError(f"indicators {list(self.indicators)} name one twice")
        kinds: list[str] = [*(o.kind for o in self.occurrences), *(m.source.kind for m in self.modalities.values())]
        virtual = [kind for kind in kinds if kind.startswith("virtual")]
        if virtual and self.world is None:
            raise ValueError(f"world: missing, but {virtual[0]} needs it; add a `world:` section")
        if len({o.kind.startswith("virtual") for o in self.occurrences}) > 1:
            raise ValueError("occurrences mix virtual and real records; use one kind in a recipe")
        if self.backbone is None and any(not o.kind.startswith("virtual") for o in self.occurrences):
            raise ValueError("backbone: missing, but real occurrences need it; add a `backbone:` section (reference, synonyms)")
        for where, names in (
            ("training.measured", self.training.measured),
            ("map.require_any", self.map.require_any),
            ("map.unavailable", self.map.unavailable),
        ):
            for name in names:
                if name not in self.modalities:
                    near = did_you_mean(name, self.modalities)
                    raise ValueError(f"{where}: {name!r} is none of the modalities {', '.join(self.modalities)}.{near}")
        if not any(m.train for m in self.modalities.values()):
            raise ValueError("modalities: every one says `train: false`; a model needs at least one")
        return self
