"""The recipe: one YAML file that says all a run needs. Unknown keys are refused.

Paths are relative to the working directory; `{data}` stands for the recipe's `data` folder (overridden by --data or the
environment variable GEOPLANTNET_DATA). A modality's `definition` names a file of the `modalities` folder beside the recipe.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, IPvAnyNetwork, field_validator, model_validator

from geoplantnet.errors import did_you_mean
from geoplantnet.grid.time_axis import TimeAxis


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
    """Any Darwin Core table (CSV or TSV) or archive of presence-only records, or a GBIF download."""

    kind: Literal["darwin-core"]
    file: Path
    """A table; a .zip, or the folder of an archive that was unpacked."""


OccurrenceSection = Annotated[
    VirtualPlots | VirtualRecords | SwissForestPlots | SwissForestReleves | SwissWetlandPlots | EuForest | DarwinCoreFile,
    Field(discriminator="kind"),
]


class NamesSection(Section):
    """A table of common names, as Darwin Core's extension VernacularName has them."""

    names: Path
    """Columns vernacularName, language and scientificName; or taxonID instead of that, with `taxa`."""
    source: str
    """How it is cited."""
    taxa: Path | None = None
    """Which taxon a taxonID is: columns taxonID and scientificName."""


class BackboneSection(Section):
    """Where accepted names, synonyms and traits come from."""

    reference: Path
    synonyms: Path
    iucn: Path | None = None
    """A user's own table of IUCN categories (never shipped)."""
    vernacular: tuple[NamesSection, ...] = ()
    """Common names beside those of the reference."""


class HabitatSection(Section):
    """Which habitats the indicator `habitat` tells apart."""

    typology: str
    """Name of a file of configs/habitats, or a path to one."""
    minimum_plots: int = Field(10, ge=2)
    """Plots of a habitat among the held-out ones, or it is left out."""


class SpeciesSection(Section):
    minimum_plots: int = Field(5, ge=1)
    """Presence-absence plots a species must be found in to be modelled."""
    minimum_records: int = Field(0, ge=0)
    """Presence-only records a species must have to be modelled."""


class ThinSection(Section):
    distance: float = Field(gt=0)
    """Metres: no two presence-only records of a taxon are kept nearer than this."""
    grid: bool = False
    """One record of a taxon in every square of `distance` instead."""


class QualitySection(Section):
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees (WGS 84): records outside the grid's rectangle around this box are rejected and counted."""
    maximum_uncertainty: float | None = Field(None, gt=0)
    """Largest coordinateUncertaintyInMeters accepted."""
    duplicate_surveys: bool = False
    """Refuse a plot that repeats another's place, year, area and whole list of species."""
    in_tiles: bool = False
    """Refuse presence-only records outside the recipe's tiles."""
    thin: ThinSection | None = None
    """Thin presence-only records by taxon."""

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if bounds and not (-180 <= bounds[0] < bounds[2] <= 180 and -90 <= bounds[1] < bounds[3] <= 90):
            raise ValueError("west, south, east, north in degrees were expected, west < east and south < north")
        return bounds


class VirtualSource(Section):
    kind: Literal["virtual-sentinel2", "virtual-landsat", "virtual-climate", "virtual-bioclim", "virtual-terrain", "virtual-landcover"]


def _address(value: object) -> object:
    """A path of this machine as a Path, so that its file counts as an input; a URL as it is (a Path would lose a slash)."""
    return value if not isinstance(value, str) or re.match(r"[A-Za-z0-9+.-]+://", value) else Path(value)


Address = Annotated[str | Path, BeforeValidator(_address)]


class BudgetSection(Section):
    """What one read over the network may cost; see `sources.http.Budget`."""

    seconds: float = Field(1800, gt=0)
    attempts: int = Field(8, ge=1)
    timeout: float = Field(30, gt=0)
    max_pages: int = Field(200, ge=1)
    max_items: int = Field(5000, ge=1)


class RemoteSection(Section):
    """Whatever may lie at an http(s) or s3 address."""

    headers: dict[str, str] = {}
    """Sent to the address's own host; values may name environment variables: ${NAME}."""
    gdal: dict[str, str] = {}
    """Of s3: AWS_NO_SIGN_REQUEST, AWS_REGION, AWS_REQUEST_PAYER, AWS_S3_ENDPOINT."""
    budget: BudgetSection = Field(default_factory=BudgetSection)


class TerrainSection(RemoteSection):
    kind: Literal["terrain"]
    dems: tuple[Address, ...] = Field(min_length=1)
    """GeoTIFF elevation models, the first with data wins."""


class ClimateSection(Section):
    kind: Literal["lapse-rate-climate"]
    temperature: Path
    precipitation: Path
    reference_elevation: Path
    dems: tuple[Path, ...] = ()


class EndpointSection(Section):
    """A STAC API or a static catalog: a file of configs/sources, or the same keys in a recipe."""

    title: str = ""
    url: str = ""
    """Root of an API, or a static catalog's address."""
    path: Path | None = None
    """A static catalog on this machine; `url` without http(s) means the same."""
    sign: Literal["none", "planetary-computer", "headers", "s3"] = "none"
    headers: dict[str, str] = {}
    """Values may name environment variables: ${NAME}."""
    header_hosts: tuple[str, ...] = ()
    """Further hosts that get the headers."""
    alternate: str = ""
    """Which of the assets' alternate addresses to read, such as s3."""
    gdal: dict[str, str] = {}
    """Of s3: AWS_REGION, AWS_REQUEST_PAYER, AWS_S3_ENDPOINT and the keys."""
    collections: dict[str, str] = {}
    """Kind of source (sentinel2-stac, landsat-stac) -> the collection's id here."""
    assets: dict[str, dict[str, str]] = {}
    """Kind of source -> our names of bands and mask -> keys of the assets here, where they are not the same."""
    budget: BudgetSection = Field(default_factory=BudgetSection)

    @model_validator(mode="before")
    @classmethod
    def _path(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("url"), str) and not re.match(r"[a-z0-9+.-]+://", raw["url"]):
            return {**{k: v for k, v in raw.items() if k != "url"}, "path": raw["url"]}
        return raw

    @model_validator(mode="after")
    def _somewhere(self) -> EndpointSection:
        if bool(self.url) == (self.path is not None):
            raise ValueError("an endpoint needs `url`: the address of an API, or the address or path of a static catalog")
        return self


class StacSection(Section):
    """Where imagery is found and which of it is taken."""

    endpoint: EndpointSection
    """In a recipe: the name of a file in configs/sources, a path to one, the address or path of a catalog, or its keys."""
    collection: str | None = None
    """Default: the endpoint's for this kind."""
    assets: dict[str, str] = {}
    """Our names of bands and mask -> keys of the assets; added to the endpoint's."""
    snow: bool = True
    """False: snow hides the ground and counts as not seen."""
    start: date | None = None
    """First day; with a time axis its periods say the days."""
    end: date | None = None
    """Last day."""
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()
    """Months of the year that count, such as [6, 7, 8]; () = all."""
    max_cloud: float | None = Field(None, ge=0, le=100)
    """Most percent of cloud a scene's catalog entry may state."""

    @model_validator(mode="after")
    def _ordered(self) -> StacSection:
        if (self.start is None) != (self.end is None) or (self.start and self.end and self.start > self.end):
            raise ValueError("start and end belong together, the first day before the last")
        return self


class Sentinel2StacSection(StacSection):
    """Cloud-free median composites of Sentinel-2 level 2A."""

    kind: Literal["sentinel2-stac"]


class LandsatStacSection(StacSection):
    """Cloud-free composites of Landsat Collection 2 level 2, averaged onto the cells."""

    kind: Literal["landsat-stac"]


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


class FileSection(RemoteSection):
    """Files of the user's: paths of this machine, or http(s) and s3 addresses."""

    path: Address | dict[str, Address]
    """One file, or one a band (band: file). `{band}`, `{year}` and `{month:02}` may stand in a path."""
    units: str | tuple[str, ...] | dict[str, str] | None = None
    """Units of the file's values; win over what the file says of itself."""


class RasterSection(FileSection):
    """GeoTIFF, cloud-optimised or not."""

    kind: Literal["raster"]
    bands: tuple[str, ...] | None = None
    """Names of the file's bands, in its order; default: the modality's."""
    indexes: tuple[int, ...] | None = None
    """1-based bands of the file; default: the first, second ..."""
    scale: float | tuple[float, ...] | dict[str, float] | None = None
    """Value = stored * scale + offset, before the conversion of units; default: what the file says."""
    offset: float | tuple[float, ...] | dict[str, float] | None = None
    plausible: tuple[float, float] | None = None
    """Lowest and highest believable value; default: the modality's."""
    classes: dict[int, str] | None = None
    """The raster holds codes: code -> band, which becomes the share of the cell that its codes cover."""
    nodata: float | Literal["none"] | None = None
    """Replaces what the file declares; none: every value is data."""


class NetcdfSection(FileSection):
    """NetCDF or Zarr on a regular grid."""

    kind: Literal["netcdf", "zarr"]
    variables: dict[str, str] = {}
    """Band -> variable of the file, where they are not called the same."""
    climatology: bool = False
    """The file's months are those of any year."""
    aggregate: Literal["mean", "sum"] | dict[str, Literal["mean", "sum"]] = "mean"
    """How several entries of one period become one."""
    select: dict[str, str | float] = {}
    """Further dimension -> coordinate value, such as {depth: 0.05}."""
    reaches: dict[str, float] = {}
    """Band -> a value it must reach somewhere within twelve months: precipitation in m, said to be mm, does not."""
    nodata: float | None = None
    crs: str | None = None
    """CRS of the file's coordinates, where it does not say."""


SourceSection = Annotated[
    VirtualSource
    | TerrainSection
    | ClimateSection
    | SentinelSection
    | Sentinel2StacSection
    | LandsatStacSection
    | LandCoverSection
    | RasterSection
    | NetcdfSection,
    Field(discriminator="kind"),
]


SCENARIOS = "scenarios"
"""Folder of the store that holds those of the recipe's scenarios."""


def _ordered_moments(interval: tuple[str, str]) -> tuple[str, str]:
    first, last = (datetime.fromisoformat(moment) for moment in interval)
    if first.tzinfo is None or last.tzinfo is None:
        raise ValueError("moments need a time zone, such as 2000-01-01T00:00:00Z")
    if first > last:
        raise ValueError("the first moment comes after the last")
    return interval


class ChangeSection(Section):
    """Another climate by the delta-change method: value x multiply + add, in the modality's units."""

    add: dict[str, FiniteFloat] = {}
    """Band -> what is added, such as {tas: 3.0}."""
    multiply: dict[str, Annotated[FiniteFloat, Field(ge=0)]] = {}
    """Band -> factor, such as {pr: 0.9}; never below 0."""

    @model_validator(mode="after")
    def _changes(self) -> ChangeSection:
        if not (self.add or self.multiply):
            raise ValueError("`add` and `multiply` are both empty; say what changes")
        return self


class ModalitySection(Section):
    definition: str
    """Name of a file in the `modalities` folder, without .yaml."""
    source: SourceSection
    """Default: the source its definition names."""
    time: TimeAxis | None = None
    """Other periods than the definition's."""
    change: ChangeSection | None = None
    """What its source's values are changed by."""
    train: bool = True
    """False keeps the modality in the cube (for masks, pictures) but out of the model."""


class ScenarioModality(Section):
    """What of a modality is another in a scenario: where it comes from, its periods, or a change to its values."""

    source: SourceSection | None = None
    time: TimeAxis | None = None
    """As many periods as the model learnt from."""
    change: ChangeSection | None = None

    @model_validator(mode="after")
    def _differs(self) -> ScenarioModality:
        if self.source is None and self.time is None and self.change is None:
            raise ValueError("one of `source`, `time` and `change` is needed; without any it is no other modality")
        return self


class FrenchSection(Section):
    """The recipe's words in French; those left out stay as they are."""

    title: str = ""
    notice: str = ""
    description: str = ""


class ScenarioSection(Section):
    """Another climate or another year, mapped by the model that learnt from today's."""

    title: str = Field(min_length=1)
    title_fr: str = ""
    interval: tuple[str, str]
    """First and last moment it stands for, ISO 8601 with time zone."""
    modalities: dict[str, ScenarioModality] = Field(min_length=1)

    _moments = field_validator("interval")(_ordered_moments)


Loss = Literal["presence_absence", "cross_entropy", "full_weighted", "deep_maxent"]
"""Names of `sdm.losses.LOSSES`; written out, since a machine that only serves maps has no torch to ask them from."""
Baseline = Literal["prevalence", "location-only", "glm", "maxent", "random-forest", "boosting"]
"""Names of `sdm.models.MODELS` that learn from a table of predictors."""


class StepSection(Section):
    name: str
    epochs: int = Field(0, ge=0)
    """Passes over the plots (over the presence-only sites where `pa` is 0). These, `updates`, or both: then whichever comes first."""
    updates: int | None = Field(None, ge=1)
    """Batches, rounded up to whole passes."""
    pa: float = Field(0.0, ge=0)
    po: float = Field(0.0, ge=0)
    learning_rate: float = Field(1e-3, gt=0)
    loss: Loss = "deep_maxent"
    """Of the presence-only records."""
    pseudo: tuple[float, float] | None = None
    """(low, high): learn the records as plots; a species is absent where the model so far says p < low, present where p > high or recorded."""

    @model_validator(mode="after")
    def _learns_from_something(self) -> StepSection:
        if self.pa + self.po == 0:
            raise ValueError("a step needs `pa` or `po` above 0; otherwise it learns nothing")
        if not (self.epochs or self.updates):
            raise ValueError("a step needs `epochs` above 0, or `updates`")
        if self.pseudo and not (self.po and 0 <= self.pseudo[0] < self.pseudo[1] <= 1):
            raise ValueError("`pseudo` needs 0 <= low < high <= 1, and `po` above 0")
        return self


class TrainingSection(Section):
    steps: tuple[StepSection, ...] = ()
    """Stretches of training, in order. Either these, or `model`."""
    model: str | None = None
    """Name of a file of configs/sdm, or a path to one, instead of the keys from `steps` to `fusion` here. Networks of one `latent` that count
    alike are mapped as latent tiles; any other model that sees predictors as dense tiles, which are larger."""
    batch: int = Field(64, ge=2)
    weight_decay: float = Field(1e-2, ge=0)
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of the moving average of weights that makes the model; none = the last weights."""
    background_mass: float | None = Field(None, ge=0)
    """Uniform background beside records weighs as much as so many of their sites; none = a quarter of them."""
    sampled_species: int | None = Field(None, ge=1)
    """Species drawn for a batch of plots beside those found there, for lists of many thousands; none = all."""
    precision: Literal["32", "bf16"] = "32"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1)
    threads: int = Field(2, ge=1)
    width: int = Field(32, ge=4)
    image_width: int | None = Field(None, ge=4)
    """Channels inside the encoder of imagery finer than the cell; none = `width`."""
    latent: int = Field(128, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    encoder_dropout: float = Field(0.0, ge=0, lt=1)
    modality_dropout: float = Field(0.1, ge=0, lt=1)
    survey_bias: bool = False
    """Every presence-only data set reports each species more or less readily than plots do, which is learnt and left out of predictions."""
    fusion: Literal["gated", "concatenated"] = "gated"
    members: Annotated[int, Field(ge=1, le=99)] | Literal["folds"] = 1
    """Models in the ensemble that maps: seeds, or `folds`: the models of the validation's folds themselves, which costs no further training."""
    calibration: Literal["auto", "none"] = "auto"
    """auto: learnt from held-out plots where three folds or more are held out, and kept only if its error falls on folds it has not seen."""
    explain: bool = True
    """Say beside the model what it builds on: contributions of modalities, importance of predictors."""
    plot_area_offset: bool = False
    """Learn how probabilities grow with plot area, from plots of several; those of the map are of `map.plot_area`."""
    abundance_weights: float | None = Field(None, gt=0, le=1)
    """How far presences of a species count more where its cover is high than where it is low, 1 = in proportion to ln(1 + cover);
    they average 1, so that a species is as frequent as plots say. A presence of unknown cover counts 1; none = so does every one."""
    uncertainty_weight: float | None = Field(None, gt=0)
    """Side in metres of the window that a record's place must lie in: records count by the share of their uncertainty disc inside it."""
    effort: float | Literal["scott"] | None = None
    """Bandwidth in metres (or by Scott's rule) of the density of presence-only records, an offset to what is learnt from them."""
    background: int = Field(0, ge=0)
    """Uniform background sites added to the presence-only ones, drawn over the mapped tiles."""
    target_group: float | None = Field(None, gt=0)
    """Sites of records of species that are not modelled are background of their data set, one in every square of so many metres."""
    measured: tuple[str, ...] = ()
    """Modalities whose values at a plot come from what was measured there, not from the cube."""

    @field_validator("effort")
    @classmethod
    def _bandwidth(cls, effort: float | str | None) -> float | str | None:
        if isinstance(effort, float) and not effort > 0:
            raise ValueError("scott, or a bandwidth above 0 metres was expected")
        return effort

    @model_validator(mode="after")
    def _one_way(self) -> TrainingSection:
        inline = sorted(OF_MODEL & self.model_fields_set)
        if self.model is None and not self.steps:
            raise ValueError("`steps` is missing; add it, or name a `model`")
        if self.model is not None and inline:
            raise ValueError(f"`model` {self.model!r} says it all; drop {', '.join(inline)}, or `model`")
        return self


OF_MODEL = frozenset(
    (
        *("steps", "batch", "weight_decay", "ema", "background_mass", "sampled_species", "precision", "accelerator", "devices", "threads"),
        *("width", "image_width", "latent", "dropout", "encoder_dropout", "modality_dropout", "survey_bias", "fusion"),
    )
)
"""Keys of `training` that a model recipe has of its own."""


class ValidationSection(Section):
    block: Annotated[float, Field(gt=0)] | Literal["autocorrelation"]
    """Side of a spatial block, metres; at least the range of autocorrelation. `autocorrelation`: the range of what predictors leave
    unexplained of the plots' species, rounded up to kilometres (5 to 200 km)."""
    folds: int = Field(5, ge=2)
    held_out: Literal["one", "all"] = "one"
    """`one`: fold 0 is held out of the mapped model. `all`: every fold in turn, then the mapped model sees all."""
    buffer: float = Field(0.0, ge=0)
    """Metres around held-out plots in which nothing is learnt from either."""
    test: tuple[str, ...] = ()
    """datasetIDs of the presence-absence plots scored; empty = all."""
    baselines: tuple[Baseline, ...] = ("location-only", "prevalence")
    """What the model is scored beside, learnt from the same plots."""


class MapSection(Section):
    plot_area: float = Field(gt=0)
    """Plot area in m2 to which the probabilities refer."""
    require_any: tuple[str, ...] = ()
    """Cells without any of these modalities stay empty; () maps wherever the model has data."""
    unavailable: dict[str, tuple[str, ...]] = {}
    """modality -> bands whose fractions cannot hold plants (glacier, water): p is reduced by their share."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is any."""
    runtime: Literal["torch", "openvino"] = "torch"
    """What runs the encoders; openvino (extra `openvino`) is faster than torch on a CPU without bfloat16."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """bfloat16 is faster and changes a probability by thousandths; auto takes it where the processor has it. A cluster of unlike
    machines should name one, or its tiles differ by as much."""


class PublishSection(Section):
    """What of a tile becomes files for others, beside indicators and coverage."""

    species: bool = True
    """A raster of every species; false where there are thousands: `geoplantnet export` writes those that are asked for."""


class ClusterSection(Section):
    """Who does the work, and how much of it at once. `--cluster NAME` takes one from configs/cluster/NAME.yaml."""

    kind: Literal["local", "slurm", "kubernetes"] = "local"
    """`local`: worker processes on this machine; the others through dask-jobqueue and dask-kubernetes."""
    scheduler: str | None = None
    """Address of a Dask scheduler that is already running; nothing is started then."""
    workers: int = Field(2, ge=1)
    memory: str = "auto"
    """Per worker, such as 4GB; auto (local only) shares this machine's among the workers."""
    reads_at_once: int = Field(8, ge=1)
    """Tasks that read over the network, in flight at the same time on the whole cluster."""
    attempts: int = Field(3, ge=1)
    """How often a task is tried before it is put into quarantine."""
    deadline: float = Field(7200, gt=0)
    """Seconds after which a task counts as hung."""
    options: dict[str, Any] = {}
    """Handed to dask-jobqueue's SLURMCluster or dask-kubernetes' KubeCluster as they are."""

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

    @model_validator(mode="after")
    def _fits(self) -> ClusterSection:
        if self.kind == "local" and self.options:
            raise ValueError(f"options {sorted(self.options)} are for kind slurm or kubernetes; a local cluster has none")
        if self.kind != "local" and self.scheduler:
            raise ValueError(f"scheduler names a running cluster, kind {self.kind} starts one; keep one of them")
        if self.kind != "local" and self.memory == "auto":
            raise ValueError(f"memory: kind {self.kind} needs an amount for each worker, such as 8GB")
        return self


LayerPattern = Annotated[str, Field(pattern=r"^[a-z0-9._*?-]{1,100}$")]
"""A layer's id, with * for any letters and ? for one."""


class PlaceSection(Section):
    """A layer of polygons that planners may choose an area from."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")
    title: str = Field(min_length=1)
    path: Path
    """GeoPackage or GeoJSON of one layer, or shapefile."""
    name: str = Field(min_length=1)
    """Column that names the places."""
    attribution: str = ""


class ServingSection(Section):
    """What `geoplantnet serve` lets in, and how much of it: `geoplantnet.serving.settings.ServerSettings` says what each means."""

    url: str = Field("", pattern=r"^(https?://[^\s/]+\S*)?$")
    workers: int = Field(1, ge=1)
    drain_s: int = Field(20, ge=1)
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    max_connections: int = Field(1000, ge=1)
    max_concurrent: int = Field(16, ge=1)
    max_waiting: int = Field(64, ge=0)
    max_wait_s: float = Field(10.0, gt=0)
    timeout_s: float = Field(60.0, gt=0)
    max_downloads: int = Field(32, ge=1)
    cache_bytes: int = Field(1_000_000_000, ge=1)
    max_path: int = Field(2048, ge=1)
    max_query: int = Field(8192, ge=1)
    max_parameters: int = Field(64, ge=1)
    max_header_bytes: int = Field(16_384, ge=1)
    max_body: int = Field(4_194_304, ge=1)
    body_s: float = Field(20.0, gt=0)
    post_paths: tuple[Annotated[str, Field(pattern=r"^/")], ...] = ("/ogc/processes/*/execution", "/api/upload")
    delete_paths: tuple[Annotated[str, Field(pattern=r"^/")], ...] = ("/ogc/jobs/*",)
    private_layers: tuple[LayerPattern, ...] = ()
    keys: Path | None = None
    access_log: Literal["auto", "json", "text", "none"] = "auto"
    metrics: bool = True
    models: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")], Path] = {}
    basemap: str = Field("natural-earth", pattern=r"^(natural-earth|none|(https?://|/)\S*\{z\}\S*)$")
    basemap_attribution: str = ""
    postgis: str = Field("", pattern=r"^(postgres(ql)?://\S+|.*=.*)?$")
    postgis_schema: str = Field("geoplantnet", pattern=r"^[a-z_][a-z0-9_]{0,47}$")
    occurrences: Literal[10, 100, 1_000, 5_000, 10_000, 50_000, 100_000] | None = None
    jobs: Path | None = None
    places: tuple[PlaceSection, ...] = ()
    scheduler: str = Field("", pattern=r"^((tcp|tls|ucx)://\S+)?$")


class CubeRecipe(Section):
    """What the cubes need: tiles, modalities, where to keep them, who does the work."""

    title: str
    store: Path
    data: Path | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    grid: GridSection
    world: WorldSection | None = None
    modalities: dict[str, ModalitySection] = Field(min_length=1)
    cluster: ClusterSection = Field(default_factory=ClusterSection)

    @model_validator(mode="after")
    def _cubes_hang_together(self) -> CubeRecipe:
        if self.store == Path():
            raise ValueError("`store` is empty; name a folder of its own for the products")
        for name in self.modalities:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ValueError(f"modality name {name!r}: use letters, digits and _, a letter first")
        virtual = [kind for kind in self._kinds() if kind.startswith("virtual")]
        if virtual and self.world is None:
            raise ValueError(f"world: missing, but {virtual[0]} needs it; add a `world:` section")
        return self

    def _kinds(self) -> list[str]:
        """Kinds of everything read."""
        return [m.source.kind for m in self.modalities.values()]


class Recipe(CubeRecipe):
    """A whole run: records, cubes, model, maps, indicators."""

    notice: str
    """One sentence a map shows at all times: what these predictions are, and are not."""
    description: str = ""
    fr: FrenchSection = Field(default_factory=FrenchSection)
    licence: str = "CC-BY-4.0"
    attribution: tuple[str, ...] = ()
    interval: tuple[str, str] = ("2000-01-01T00:00:00Z", "2025-12-31T23:59:59Z")
    """First and last moment the predictions stand for, ISO 8601 with time zone."""
    occurrences: tuple[OccurrenceSection, ...] = Field(min_length=1)
    backbone: BackboneSection | None = None
    species: SpeciesSection = Field(default_factory=SpeciesSection)
    sensitive: Path | None = None
    """Table of sensitive species (taxon, region, category, reason, review), which are told as means over squares, or not at all."""
    quality: QualitySection = Field(default_factory=QualitySection)
    training: TrainingSection
    validation: ValidationSection
    map: MapSection
    publish: PublishSection = Field(default_factory=PublishSection)
    serving: ServingSection = Field(default_factory=ServingSection)
    habitats: HabitatSection | None = None
    indicators: tuple[str, ...] = Field(min_length=1)
    scenarios: dict[str, ScenarioSection] = {}
    """Other climates and years by name, mapped after the recipe's own."""

    _moments = field_validator("interval")(_ordered_moments)

    @model_validator(mode="after")
    def _hangs_together(self) -> Recipe:
        if len(set(self.indicators)) != len(self.indicators):
            raise ValueError(f"indicators {list(self.indicators)} name one twice")
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
        if self.training.members == "folds" and self.validation.held_out != "all":
            raise ValueError("training.members: folds needs validation.held_out: all; one fold's model alone is no ensemble")
        if ("habitat" in self.indicators) != (self.habitats is not None):
            raise ValueError("the indicator `habitat` and the section `habitats:` (typology) go together; give both or neither")
        for name, scenario in self.scenarios.items():
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
                raise ValueError(f"scenario {name!r}: use small letters, digits, - and _")
            for modality in scenario.modalities:
                if modality not in self.modalities:
                    near = did_you_mean(modality, self.modalities)
                    raise ValueError(f"scenarios.{name}: {modality!r} is none of the modalities {', '.join(self.modalities)}.{near}")
        if not any(m.train for m in self.modalities.values()):
            raise ValueError("modalities: every one says `train: false`; a model needs at least one")
        return self

    def under(self, name: str) -> Recipe:
        """The recipe of one of its scenarios: the same but for what the scenario says, and without scenarios of its own."""
        scenario = self.scenarios[name]
        modalities = dict(self.modalities)
        for key, other in scenario.modalities.items():
            modalities[key] = modalities[key].model_copy(
                update={field: v for field in ("source", "time", "change") if (v := getattr(other, field)) is not None}
            )
        words = f"{self.notice} Scenario: {scenario.title}."
        told = {"title": f"{self.title}: {scenario.title}", "notice": words, "interval": scenario.interval, "fr": self._french(scenario)}
        return self.model_copy(update={**told, "modalities": modalities, "scenarios": {}, "store": self.store / SCENARIOS / name})

    def _french(self, scenario: ScenarioSection) -> FrenchSection:
        """The words of a scenario: of what has none, none."""
        called = scenario.title_fr or scenario.title
        title = f"{self.fr.title} : {called}" if self.fr.title else ""
        return self.fr.model_copy(update={"title": title, "notice": self.fr.notice and f"{self.fr.notice} Scénario : {called}."})

    def _kinds(self) -> list[str]:
        return [*(o.kind for o in self.occurrences), *super()._kinds()]
