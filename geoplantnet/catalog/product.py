"""What is published: `Layer` (one thing a map can show) and `Product` (one file of one tile)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoplantnet.errors import InputError
from geoplantnet.storage import sha256, size_of

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOPACKAGE = "application/geopackage+sqlite3"
ZARR = "application/vnd.zarr"

_LAYER_ID = re.compile(r"[a-z0-9._-]+")
_ASSET_KEY = re.compile(r"[A-Za-z0-9._-]+")
_COLOR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, kw_only=True)
class LegendClass:
    """One class of a categorical layer."""

    value: int
    """Stored value."""
    label: str
    color: str
    """``#rrggbb``."""
    fr: str = ""
    """The label in French."""

    def __post_init__(self) -> None:
        if not _COLOR.fullmatch(self.color):
            raise InputError(f"legend class {self.label!r} has colour {self.color!r}; write it as '#rrggbb' in lower case")


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """The band beside a layer's own that says how far to trust it: a standard deviation, or the probability of the class shown."""

    band: int
    """1-based, of the layer's asset."""
    title: str
    unit: str = "1"
    scale: float = 1.0
    """value = stored * scale; no data is stored as in the layer's own band."""
    range: tuple[float, float] = (0.0, 1.0)
    direction: str = ""
    fr: str = ""
    """The title in French."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One thing a map can show: which asset and band hold it, and how a person reads it.

    The one source for the web page's legend, GetLegendGraphic and capabilities; published inside the STAC catalog.
    Raises InputError when a field cannot be what it is said to be.
    """

    id: str
    """Name in WMS and URLs: lower case letters, digits, ``.``, ``-``, ``_`` (``shannon``, ``species.v017``)."""
    title: str
    description: str
    family: str
    """Where it hangs in the layer tree: Species, Habitat, Conservation, Ecosystem, Threat or Terrain."""
    asset: str
    """Key of the asset in every tile's STAC item."""
    band: int = 1
    """1-based band of the asset."""
    unit: str = "1"
    """UDUNITS-like unit (``1`` for a proportion), or ``class``."""
    scale: float = 1.0
    """value = stored * scale + offset."""
    offset: float = 0.0
    nodata: float | None = None
    """Stored value that means no data."""
    range: tuple[float, float] = (0.0, 1.0)
    """Values at the two ends of the palette."""
    palette: str = "viridis"
    """Name of a continuous palette (serving knows the colours); unused when `classes` is given."""
    classes: tuple[LegendClass, ...] = ()
    """Classes of a categorical layer, best to worst; empty for a continuous one."""
    direction: str = ""
    """The legend in words, such as ``yellow = many species``."""
    fr: Mapping[str, str] = field(default_factory=dict, hash=False)
    """`title`, `description` and `direction` in French, as far as there are any."""
    attribution: str = ""
    uncertainty: Uncertainty | None = None
    applicable: int | None = None
    """1-based band of the asset that is 1 inside the model's area of applicability, 0 outside; None = there is none."""
    generalised: int | None = None
    """Metres of the squares whose means the values are, since the species is sensitive; None = every cell has its own."""

    def __post_init__(self) -> None:
        if not _LAYER_ID.fullmatch(self.id):
            raise InputError(f"{self.id!r} cannot name a layer; use lower case letters, digits, '.', '-' and '_'")
        check_asset_key(self.asset)
        if self.band < 1:
            raise InputError(f"layer {self.id} names band {self.band}; bands count from 1")
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.offset)):
            raise InputError(f"layer {self.id} has scale {self.scale} and offset {self.offset}; both must be finite and the scale not 0")
        if not (len(self.range) == 2 and math.isfinite(self.range[1] - self.range[0]) and self.range[0] < self.range[1]):
            raise InputError(f"layer {self.id} has range {self.range}; give two finite values, the lower one first")
        if len({c.value for c in self.classes}) != len(self.classes):
            raise InputError(f"layer {self.id} has two classes of one value; each stored value has one label")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: lists for tuples, ``"nan"`` for a nodata of NaN. Inverse of `from_dict`."""
        value = dataclasses.asdict(self)
        value["nodata"] = json_number(self.nodata)
        value["range"] = list(self.range)
        value["classes"] = [dict(c) for c in value["classes"]]
        if self.uncertainty:
            value["uncertainty"]["range"] = list(self.uncertainty.range)
        return {name: one for name, one in value.items() if one is not None or name == "nodata"}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Layer:
        """Inverse of `to_dict`; absent fields take their defaults. Raises InputError for a field it does not know or cannot read."""
        types = {f.name: f.type for f in dataclasses.fields(cls)}
        if unknown := sorted(set(value) - set(types)):
            raise InputError(
                f"layer {value.get('id')!r} has unknown fields {unknown}; it was published by a newer version, upgrade this one"
            )
        if mistyped := sorted(name for name in value if types[name] == "str" and not isinstance(value[name], str)):
            raise InputError(f"layer {value.get('id')!r} has fields {mistyped} that are no text; publish the catalog again")
        fields = dict(value)
        try:
            if fields.get("nodata") is not None:
                fields["nodata"] = float(fields["nodata"])
            if "range" in fields:
                low, high = fields["range"]
                fields["range"] = (float(low), float(high))
            fields["classes"] = tuple(LegendClass(**c) for c in fields.get("classes", ()))
            if spread := fields.get("uncertainty"):
                low, high = spread["range"]
                fields["uncertainty"] = Uncertainty(**{**spread, "range": (float(low), float(high))})
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"layer {value.get('id')!r} cannot be read: {error}; publish the catalog again") from error


@dataclass(frozen=True, kw_only=True)
class Product:
    """One published file of one tile."""

    key: str
    """Asset key in the tile's STAC item."""
    path: Path
    """Where it lies (absolute, or relative to the store's root)."""
    media_type: str
    title: str
    sha256: str
    size: int
    """Bytes."""
    roles: tuple[str, ...] = ("data",)
    bands: tuple[str, ...] = field(default=())
    """Band names of a raster, in order."""
    classes: tuple[LegendClass, ...] = ()
    """Of a raster whose first band holds classes."""

    def __post_init__(self) -> None:
        check_asset_key(self.key)

    @classmethod
    def of(
        cls,
        path: Path,
        *,
        key: str,
        media_type: str,
        title: str,
        roles: tuple[str, ...] = ("data",),
        bands: tuple[str, ...] = (),
        classes: tuple[LegendClass, ...] = (),
    ) -> Product:
        """Describe the file (or Zarr directory) at `path`: reads it once for its SHA-256 and size."""
        return cls(
            key=key,
            path=path,
            media_type=media_type,
            title=title,
            sha256=sha256(path),
            size=size_of(path),
            roles=roles,
            bands=bands,
            classes=classes,
        )


def check_asset_key(key: str) -> None:
    """Raise InputError unless `key` is safe as a STAC asset key and in a URL."""
    if not _ASSET_KEY.fullmatch(key):
        raise InputError(f"{key!r} cannot be an asset key; use letters, digits, '.', '-' and '_'")


def readable_end(value: float, *, least: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten: an end for a colour ramp that a person can read."""
    value = max(value, least)
    power = 10.0 ** math.floor(math.log10(value))
    return round(next(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 0.999) * power, 6)


def json_number(value: float | None) -> float | str | None:
    """A nodata value as STAC writes it: JSON has no NaN, so ``"nan"`` stands for it."""
    return "nan" if value is not None and math.isnan(value) else value
