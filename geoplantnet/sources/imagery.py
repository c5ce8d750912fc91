"""Composites of a satellite's scenes as a Source: search, harmonise, compose on each lattice, bring onto the GeoBox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import xarray as xr
from odc.geo.geobox import GeoBox

from geoplantnet.errors import NoDataError, RasterError, UsageError
from geoplantnet.sources.composite import (
    STACK_BYTES,
    Counts,
    FloatArray,
    Lattice,
    Placed,
    Rasters,
    Resampling,
    compose,
    onto,
    place,
    reach,
)
from geoplantnet.sources.http import public
from geoplantnet.sources.scenes import Harmonised, Unusable, dates, harmonise, scenes_of
from geoplantnet.sources.stac import StacEndpoint, opened, search

Period = tuple[date, date]
"""First day, and the day after the last: half open, UTC."""


_BESIDE = "that do not reach the pixels asked for"


@dataclass(frozen=True, kw_only=True)
class StacImagery:
    """Median composites of clear pixels. Reflectance, float32, NaN where no clear pixel was seen.

    A subclass says what a satellite's bands and mask are called. Every read searches, so the same catalog gives the same
    composite, and a window of a read is the read of the window.
    """

    endpoint: StacEndpoint
    collection: str
    bands: tuple[str, ...]
    """What `read` gives, in this order."""
    mask: str
    """Our name of the asset that says which pixels are clear."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """Our names of bands and mask -> keys of the items' assets; what is not named is looked up by key and common name."""
    interval: Period | None = None
    """One composite of all scenes between two days: no time axis."""
    periods: tuple[Period, ...] = ()
    """A composite each: a time axis. Give either this or `interval`."""
    months: tuple[int, ...] = ()
    """Only scenes of these months, 1 to 12; default all."""
    max_cloud: float | None = None
    """Highest cloud cover of a scene, percent; cloudier scenes are not asked for."""
    snow: bool = True
    """Whether snow is a surface like others (True) or hides it (False)."""
    resampling: Resampling = "bilinear"
    crs: str = "EPSG:3035"
    """CRS of the grid."""
    cell_size: float = 50.0
    """Side of the grid's cells, metres."""
    stack_bytes: int = STACK_BYTES
    """Most memory for the scenes worked on at once; another value gives the same bytes."""
    credit: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not self.bands or self.mask in self.bands:
            raise UsageError(f"bands {self.bands} must be at least one, and not the mask {self.mask!r}")
        if (self.interval is None) == (not self.periods):
            raise UsageError("give either interval=(first day, day after the last) or periods, a tuple of such pairs")
        for first, end in self._periods:
            if not first < end:
                raise UsageError(f"period {first} to {end} is empty; the second day is the one after the last")
        if any(month not in range(1, 13) for month in self.months):
            raise UsageError(f"months are 1 to 12, got {self.months}")
        for name in ("bands", "periods", "months"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "assets", dict(self.assets))

    def __hash__(self) -> int:
        return hash((self.endpoint, self.collection, self.bands, self.interval, self.periods))

    @property
    def _periods(self) -> tuple[Period, ...]:
        return self.periods if self.interval is None else (self.interval,)

    @property
    def remote(self) -> bool:
        """Whether a read goes over a network."""
        return self.endpoint.is_remote

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """Reflectance, float32 (band, y, x), or (time, band, y, x) with `periods`; `count` holds the clear observations.

        A period without a clear pixel is NaN with count 0. Raises NoDataError when no scene reaches the GeoBox in any period,
        RasterError when scenes do but none can be used, TryAgain when the catalog's budget is spent.
        """
        patience = self.endpoint.budget.begin()
        periods = self._periods
        found = search(
            self.endpoint,
            collection=self.collection,
            geobox=geobox,
            start=_midnight(min(first for first, _ in periods)),
            end=_midnight(max(end for _, end in periods)),
            max_cloud=self.max_cloud,
            patience=patience,
        )
        left_out = Counter({reason: len(ids) for reason, ids in found.rejected.items()})
        items = [item for item in found if self._wanted(item)]
        if not items:
            told = f" ({', '.join(f'{n} {reason}' for reason, n in left_out.items())})" if left_out else ""
            raise NoDataError(
                f"{public(self.endpoint.url)}: collection {self.collection} has no item here from {min(periods)[0]} to "
                f"{max(end for _, end in periods)}{told}; ask for a longer time, or more cloud"
            )
        systems = {item.id: _crs(item) for item in items}
        scenes, reasons = scenes_of(items, lambda item: harmonise(item, self.bands, self.assets, mask=self.mask))
        left_out.update(reasons)
        out = np.empty((len(periods), len(self.bands), *geobox.shape), dtype=np.float32)
        counts = np.empty((len(periods), *geobox.shape), dtype=np.uint16)
        used: list[dict[str, Any]] = []
        with opened(self.endpoint, items, patience) as assets:
            for i, (first, end) in enumerate(periods):
                chosen = [s for s in scenes if _midnight(first) <= s.when < _midnight(end)]
                with Rasters(assets, patience) as rasters:
                    used += self._composite(chosen, systems, rasters, geobox, out[i], counts[i], left_out)
        if not used:
            told = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
            if left_out[_BESIDE] == len(items):  # footprints are drawn wider than files reach
                raise NoDataError(f"{public(self.endpoint.url)}: collection {self.collection} has no pixel here: {told}")
            raise RasterError(f"none of {len(items)} items of {self.collection} can be used: {told}; mend the catalog or ask another one")
        return self._array(out, counts, geobox, used, left_out)

    def at(self, points: pd.DataFrame) -> FloatArray:
        """NaN, float32 (n, band) or (n, time, band): imagery at points comes from cubes, a search a point would cost hours."""
        axes = (len(self.periods),) if self.periods else ()
        return np.full((len(points), *axes, len(self.bands)), np.nan, dtype=np.float32)

    def _wanted(self, item: pystac.Item) -> bool:
        when = item.datetime or datetime.fromisoformat(item.properties["start_datetime"])
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
        in_period = any(_midnight(first) <= when < _midnight(end) for first, end in self._periods)
        return in_period and (not self.months or when.month in self.months)

    def _composite(
        self,
        scenes: Sequence[Harmonised],
        systems: Mapping[str, str | None],
        rasters: Rasters,
        geobox: GeoBox,
        out: FloatArray,
        counts: Counts,
        left_out: Counter[str],
    ) -> list[dict[str, Any]]:
        """One period's composite into `out` (band, y, x) and `counts` (y, x). Returns the scenes it is made of."""
        lattices: dict[Lattice, list[Placed]] = {}
        for scene in scenes:
            try:
                placed = place(scene, self.mask, self.bands, rasters, crs=systems[scene.id])
            except Unusable as reason:
                left_out[str(reason)] += 1
                continue
            lattices.setdefault(placed.lattice, []).append(placed)
        natives, used = [], []
        for lattice, members in sorted(lattices.items(), key=lambda entry: (str(entry[0].crs), entry[0].step, entry[0].x, entry[0].y)):
            extent = reach(geobox, lattice, [p.extents[self.mask] for p in members])
            if not extent:
                left_out[_BESIDE] += len(members)
                continue
            groups, duplicates = dates([p.scene for p in members])
            left_out.update(duplicates)
            by_scene = {p.scene.id: p for p in members}
            grouped = [[by_scene[scene.id] for scene in group] for group in groups]
            natives.append(compose(grouped, self.bands, self.mask, extent, rasters, snow=self.snow, stack_bytes=self.stack_bytes))
            used += [scene for group in groups for scene in group]
        onto(natives, geobox, out, counts, resampling=self.resampling)
        return [scene.provenance() for scene in sorted(used, key=lambda s: (s.when, s.id))]

    def _array(
        self, out: FloatArray, counts: Counts, geobox: GeoBox, used: Sequence[dict[str, Any]], left_out: Mapping[str, int]
    ) -> xr.DataArray:
        y, x = (geobox.coordinates[d].values for d in geobox.dimensions)
        where = public(self.endpoint.url) if self.endpoint.is_remote else Path(self.endpoint.url).name  # the same on every machine
        whole: dict[str, Any] = {"href": where, "collection": self.collection, "items": len(used)}
        whole |= {"left_out": dict(sorted(left_out.items()))} if left_out else {}
        whole |= {name: value for name in ("credit", "licence") if (value := getattr(self, name))}
        coords: dict[str, Any] = {"band": list(self.bands), "y": y, "x": x}
        attrs = {"provenance": [whole, *used]}
        if self.interval is not None:
            coords["count"] = (("y", "x"), counts[0])
            return xr.DataArray(out[0], dims=("band", "y", "x"), coords=coords, attrs=attrs)
        coords["time"] = np.array([first for first, _ in self.periods], "datetime64[ns]")
        coords["count"] = (("time", "y", "x"), counts)
        return xr.DataArray(out, dims=("time", "band", "y", "x"), coords=coords, attrs=attrs)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _crs(item: pystac.Item) -> str | None:
    """The CRS an item says its assets are in, where it says so."""
    code, epsg = item.properties.get("proj:code"), item.properties.get("proj:epsg")
    return str(code) if code else f"EPSG:{epsg}" if epsg else None
