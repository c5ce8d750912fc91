"""Land cover as fractions of a cell: coarse land systems, sharpened by a Sentinel-2 scene where there is one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from geoplantnet.errors import InputError, RasterError, did_you_mean
from geoplantnet.grid.raster import FloatArray, read_onto
from geoplantnet.sources.raster import as_array, at_cells, check_plausible, provenance
from geoplantnet.sources.sentinel2 import Sentinel2Scene, block_mean

COVERS = ("forest", "shrub", "grassland", "cropland", "built", "bare", "glacier", "water", "wetland")

FRACTIONS: dict[str, dict[str, float]] = {
    "low-intensity settlement": {"built": 0.3, "grassland": 0.3, "cropland": 0.2, "forest": 0.2},
    "medium intensity settlement": {"built": 0.5, "grassland": 0.3, "cropland": 0.1, "forest": 0.1},
    "high intensity settlement": {"built": 0.8, "grassland": 0.15, "forest": 0.05},
    "low-intensity forest": {"forest": 0.8, "shrub": 0.1, "grassland": 0.1},
    "medium-intensity forest": {"forest": 0.85, "shrub": 0.05, "grassland": 0.1},
    "high-intensity forest": {"forest": 0.9, "shrub": 0.05, "grassland": 0.05},
    "low-intensity grassland": {"grassland": 0.75, "shrub": 0.1, "forest": 0.1, "bare": 0.05},
    "medium-intensity grassland": {"grassland": 0.8, "forest": 0.1, "cropland": 0.1},
    "high-intensity grassland": {"grassland": 0.8, "cropland": 0.1, "forest": 0.05, "built": 0.05},
    "low-intensity cropland": {"cropland": 0.7, "grassland": 0.2, "forest": 0.1},
    "medium-intensity cropland": {"cropland": 0.8, "grassland": 0.1, "forest": 0.05, "built": 0.05},
    "high-intensity cropland": {"cropland": 0.9, "grassland": 0.05, "built": 0.05},
    "extensive perm-crops": {"cropland": 0.7, "grassland": 0.15, "shrub": 0.1, "forest": 0.05},
    "intensive perm-crops": {"cropland": 0.85, "grassland": 0.1, "built": 0.05},
    "forest/shrubs and cropland mosaics": {"forest": 0.35, "shrub": 0.15, "cropland": 0.4, "grassland": 0.1},
    "forest/shrubs and grassland mosaics": {"forest": 0.35, "shrub": 0.15, "grassland": 0.5},
    "forest/shrubs and bare mosaics": {"forest": 0.3, "shrub": 0.2, "bare": 0.4, "grassland": 0.1},
    "forest/shrubs and mixed agriculture mosaics": {"forest": 0.35, "shrub": 0.15, "cropland": 0.25, "grassland": 0.25},
    "low-intensity agricultural mosaics": {"cropland": 0.4, "grassland": 0.4, "forest": 0.15, "shrub": 0.05},
    "medium-intensity agricultural mosaics": {"cropland": 0.45, "grassland": 0.4, "forest": 0.1, "built": 0.05},
    "high-intensity agricultural mosaics": {"cropland": 0.5, "grassland": 0.4, "forest": 0.05, "built": 0.05},
    "water body": {"water": 1.0},
    "wetland": {"wetland": 0.8, "water": 0.1, "grassland": 0.1},
    "glacier": {"glacier": 0.9, "bare": 0.1},
    "shrub": {"shrub": 0.7, "grassland": 0.2, "forest": 0.1},
    "bare and rocks": {"bare": 0.8, "grassland": 0.15, "shrub": 0.05},
}
"""Typical cover inside a land system (classes of Dou et al. 2021, Landscape Ecology, doi 10.1007/s10980-021-01227-5).

The fractions are a judgement of ours, not of the authors: the cover a system is named after dominates, mosaics share. They sum to 1.
"""

_OPEN = ("forest", "shrub", "grassland", "cropland", "wetland")
_BARREN = ("built", "bare", "glacier")
_SCORE = (0.0, 10.0)  # pressure scores of the human footprint (Venter et al. 2016)


@dataclass(frozen=True, kw_only=True)
class LandCoverSource:
    """Fractions 0..1 of each cell under forest, shrub, grassland, cropland, built, bare, glacier, water, wetland; they sum to 1.

    The land system of each coarse pixel is turned into typical fractions (`FRACTIONS`) and these are smoothed by a B-spline: no
    staircase of coarse pixels. Where a Sentinel-2 scene has usable pixels, they say how much of a cell is water, barren, dark forest or
    other green, and the land system only how to name it (a dasymetric refinement):

    - water: scene class 6, or dark (near infrared <= 0.15) and brighter in green (NDWI > 0, McFeeters 1996);
    - barren (scene class 5, or NDVI < 0.3): shared among built, bare and glacier as in the land system;
    - dark forest (NDVI >= 0.6, near infrared <= 0.25, red <= 0.05: conifers): forest;
    - other green: shared as the land system shares forest, shrub, grassland, cropland and wetland, with what the dark
      pixels already show taken off its forest;
    - snow (scene class 11) hides what is below it and counts as not seen.

    A cell seen in part is a mean of both, weighted by the part seen. With `lights` and `built` (scores 0..10 of nocturnal light and of
    built-up pressure) there are the further bands `night_lights` and `built_up`, 0..1.
    """

    landsystem: str | os.PathLike[str]
    """Class codes, 0 = unknown."""
    classes: str | os.PathLike[str]
    """JSON: {"1": "low-intensity settlement", ...}, the names being those of `FRACTIONS`."""
    lights: str | os.PathLike[str] | None = None
    built: str | os.PathLike[str] | None = None
    sentinel2: Sentinel2Scene | None = None
    """Needs the bands B03, B04 and B08."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    cell_size: float = 50.0
    """Side of the cells that hold the points given to `at`, metres."""
    credit: str = ""
    licence: str = ""
    driver: str = "GTiff"

    @property
    def bands(self) -> tuple[str, ...]:
        return (*COVERS, *self._scores)

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 (band, y, x). Raises RasterError, CrsError."""
        inputs = [provenance(self.landsystem, self.credit, self.licence), *(provenance(p) for p in self._scores.values())]
        if self.sentinel2 is not None:
            inputs += self.sentinel2.provenance()
        return as_array(self._layers(geobox), self.bands, geobox, inputs)

    def at(self, points: pd.DataFrame) -> FloatArray:
        """float32 (n, band): what the cells that hold the points show."""
        return at_cells(self._layers, points, bands=len(self.bands), crs=self.crs, cell_size=self.cell_size)

    @property
    def _scores(self) -> dict[str, str | os.PathLike[str]]:
        return {name: path for name, path in (("night_lights", self.lights), ("built_up", self.built)) if path is not None}

    def _layers(self, geobox: GeoBox) -> FloatArray:
        fractions = read_onto(
            self.landsystem, geobox, bands=[1], resampling="cubic_spline", driver=self.driver, prepare=self._to_fractions()
        )
        if self.sentinel2 is not None:
            fractions = _refine(fractions, self.sentinel2, geobox)
        layers = [fractions]
        for name, path in self._scores.items():
            score = read_onto(path, geobox, bands=[1], driver=self.driver)
            check_plausible(score, _SCORE, what=f"score of {name}", path=path)
            layers.append(score / np.float32(_SCORE[1]))
        return np.concatenate(layers)

    def _to_fractions(self) -> Callable[[FloatArray], FloatArray]:
        """Class codes (1, y, x) -> fractions (9, y, x), NaN where the code is unknown."""
        table = _table(self.classes)

        def fractions(codes: FloatArray) -> FloatArray:
            known = np.isfinite(codes[0]) & (codes[0] != 0)
            index = np.where(known, codes[0], 0).astype(np.intp)
            strange = sorted(set(np.unique(index).tolist()) - {0} - set(table))
            if strange:
                raise RasterError(
                    f"{self.landsystem} holds class codes {strange} that {self.classes} does not name; use the table of this raster"
                )
            rows = np.full((max(table) + 1, len(COVERS)), np.nan, dtype=np.float32)
            for code, row in table.items():
                rows[code] = row
            return np.moveaxis(rows[index], -1, 0)

        return fractions


def _table(classes: str | os.PathLike[str]) -> dict[int, tuple[float, ...]]:
    """Class code -> fractions in the order of COVERS. Raises InputError for a table that cannot be read or a class without fractions."""
    try:
        names = {int(code): name for code, name in json.loads(Path(classes).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f'{classes} is no table of land systems ({error}); write JSON like {{"1": "low-intensity settlement"}}') from error
    unknown = [name for name in names.values() if name not in FRACTIONS]
    if unknown or not names or min(names) < 1:
        hint = did_you_mean(str(unknown[0]), FRACTIONS) if unknown else " Codes are positive whole numbers."
        raise InputError(f"{classes} names land systems without known fractions: {unknown}.{hint}")
    return {code: tuple(FRACTIONS[name].get(cover, 0.0) for cover in COVERS) for code, name in names.items()}


def _refine(prior: FloatArray, scene: Sentinel2Scene, geobox: GeoBox) -> FloatArray:
    """Fractions from land systems (9, y, x), refined by the scene's 10 m pixels where it shows the ground."""
    height, width = geobox.shape
    factor = max(1, int(abs(geobox.resolution.x) // 10))
    fine = geobox.zoom_out(1 / factor) if factor > 1 else geobox
    scl = scene.scl(fine)
    if not np.isfinite(scl).any():
        return prior
    green, red, infrared = replace(scene, bands=("B03", "B04", "B08")).read(fine).values
    with np.errstate(invalid="ignore", divide="ignore"):
        ndvi = (infrared - red) / (infrared + red)
    seen = np.isfinite(ndvi) & (scl != 11)
    water = seen & ((scl == 6) | ((green > infrared) & (infrared <= 0.15)))
    barren = seen & ~water & ((scl == 5) | (ndvi < 0.3))
    dark = seen & ~water & ~barren & (ndvi >= 0.6) & (infrared <= 0.25) & (red <= 0.05)
    other = seen & ~water & ~barren & ~dark
    parts = block_mean(np.stack([seen, water, barren, dark, other]).astype(np.float32), height, width)
    visible = parts[0]
    wet, bare, conifer, rest = parts[1:] / np.where(visible > 0, visible, np.nan)

    p = dict(zip(COVERS, prior.astype(np.float64)))
    share = _shares([p[c] for c in _BARREN], otherwise=_BARREN.index("bare"))
    refined = {cover: bare * s for cover, s in zip(_BARREN, share)}
    weights = [np.maximum(p["forest"] - conifer, 0.0), *(p[c] for c in _OPEN[1:])]
    refined |= {cover: rest * s for cover, s in zip(_OPEN, _shares(weights, otherwise=_OPEN.index("grassland")))}
    refined["forest"] = refined["forest"] + conifer
    refined["water"] = wet
    new = np.stack([refined[c] for c in COVERS])
    blend = visible * new + (1 - visible) * prior
    return np.where((visible > 0) & np.isfinite(prior), blend, prior).astype(np.float32)


def _shares(weights: list[npt.NDArray[np.float64]], *, otherwise: int) -> npt.NDArray[np.float64]:
    """Weights scaled to sum to 1; where all are 0, everything goes to `otherwise`."""
    stack = np.stack(weights)
    total = stack.sum(axis=0)
    fallback = np.zeros(len(weights))
    fallback[otherwise] = 1.0
    return np.where(total > 0, stack / np.where(total > 0, total, 1.0), fallback[:, None, None])
