"""The dimensions of a layer beside the plane: the epoch (time, scenario), and lambda of a species' presence (WMS 1.3.0, Annex C)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from geoplantnet.catalog.product import Layer
from geoplantnet.serving import styles
from geoplantnet.serving.atlas import Atlas, Epoch, moments
from geoplantnet.serving.exceptions import InvalidDimensionValue, shown

SET = "set"
"""The lambda that is no number: a species is present where it is in the cell's own species set."""

_DECIMAL = re.compile(r"[0-9.eE+-]{1,30}")


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One dimension as capabilities declare it."""

    name: str
    """Asked for as TIME, else as DIM_ and the name."""
    units: str
    """``ISO8601``, or empty for values without."""
    extent: str
    """Values separated by commas, or low/high/resolution (0 = any)."""
    default: str
    nearest: bool = False
    """Whether the nearest value stands in for one that is not there."""
    current: bool = False
    """Whether the word ``current`` is understood, as today's."""


def dimensions_of(atlas: Atlas, layer: Layer) -> tuple[Dimension, ...]:
    """Those of a layer. One that today's map alone shows has no time: there is nothing to choose."""
    found = []
    epochs = atlas.epochs_of(layer)
    if epochs != (atlas.today,):
        starts = ",".join(written(start) for start in sorted({epoch.start for epoch in epochs}))
        default = epochs[0]
        found.append(
            Dimension(
                name="time", units="ISO8601", extent=starts, default=written(default.start), nearest=True, current=default is atlas.today
            )
        )
        found.append(Dimension(name="scenario", units="", extent=",".join(epoch.name for epoch in epochs), default=default.name))
    if styles.PRESENCE in styles.styles_of(layer):
        found.append(Dimension(name="lambda", units="", extent=f"{SET},0/1/0", default=SET))
    return tuple(found)


def chosen_epoch(atlas: Atlas, layer: Layer, *, time: str, scenario: str) -> tuple[Epoch, tuple[str, ...]]:
    """The epoch that shows a layer, and a warning (Annex C.4) for each dimension of which another value than the one asked is used.

    Raises InvalidDimensionValue.
    """
    epoch = atlas.epoch(layer, time=time, scenario=scenario)
    declared = {dimension.name: dimension for dimension in dimensions_of(atlas, layer)}
    warnings = []
    for name, asked, used in (("time", time, written(epoch.start)), ("scenario", scenario, epoch.name)):
        if name not in declared or asked == used or asked.lower() == "current":
            continue
        if name == "time" and asked and moments(asked)[0] == epoch.start:
            continue
        default = not asked and used == declared[name].default
        warnings.append(f"99 {'Default' if default else 'Nearest'} value used: {name}={quote(used, safe=':')}")
    return epoch, tuple(warnings)


def lambda_of(text: str, name: str = "DIM_LAMBDA") -> float | None:
    """Lambda, by the name it was asked for: a probability; None = the cells' own set rule. Raises InvalidDimensionValue."""
    if not text or text == SET:
        return None
    try:
        value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise InvalidDimensionValue(f"{name}={shown(text)} is no probability; give a number from 0 to 1, or {SET} for the cells' own rule")
    return value


def written(moment: datetime) -> str:
    """A moment as ISO 8601 writes it in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
