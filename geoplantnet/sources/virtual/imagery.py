"""What satellites would see of a virtual landscape: Sentinel-2 at 10 m and Landsat seasons at 50 m.

Every value is a function of the pixel's place alone, by elementwise arithmetic, so windows and points agree bit for bit.
Reflectances are of the order of spectral libraries for the surface types; they are a drawing, not a radiative model.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from geoplantnet.sources.virtual import noise
from geoplantnet.sources.virtual.land_cover import CLASSES
from geoplantnet.sources.virtual.landscape import CELL, EQUILIBRIUM_LINE, LAKE, PIXEL, ROAD, WATER, Layers
from geoplantnet.sources.virtual.noise import Field, Pixels

SENTINEL2_BANDS = ("B02", "B03", "B04", "B08")
LANDSAT_BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
SEASONS = ("winter", "spring", "summer", "autumn")

_SURFACES: dict[str, tuple[float, float, float, float, float, float]] = {
    # blue, green, red, near infrared reflectance; grain: spread of single pixels; swell: spread over some 60 m
    "glacier": (0.62, 0.63, 0.61, 0.53, 0.03, 0.06),
    "rock": (0.095, 0.108, 0.118, 0.160, 0.16, 0.20),
    "scree": (0.120, 0.138, 0.150, 0.200, 0.10, 0.12),
    "alpine_meadow": (0.040, 0.074, 0.062, 0.300, 0.09, 0.13),
    "shrub": (0.026, 0.050, 0.036, 0.290, 0.20, 0.12),
    "conifer_forest": (0.017, 0.030, 0.021, 0.190, 0.30, 0.10),
    "broadleaf_forest": (0.021, 0.046, 0.027, 0.380, 0.20, 0.08),
    "meadow": (0.040, 0.078, 0.060, 0.340, 0.05, 0.08),
    "cropland": (0.035, 0.070, 0.040, 0.440, 0.04, 0.04),
    "village": (0.085, 0.100, 0.100, 0.200, 0.25, 0.05),
    "ice": (0.330, 0.345, 0.325, 0.260, 0.10, 0.14),
    "limestone": (0.145, 0.160, 0.170, 0.210, 0.14, 0.16),
    "stony_meadow": (0.070, 0.098, 0.100, 0.250, 0.12, 0.14),
    "fat_meadow": (0.028, 0.074, 0.034, 0.470, 0.05, 0.06),
    "understory": (0.026, 0.053, 0.034, 0.285, 0.14, 0.10),
    "bare_field": (0.085, 0.105, 0.135, 0.220, 0.04, 0.05),
    "ripe_field": (0.070, 0.110, 0.125, 0.310, 0.04, 0.04),
    "hedge": (0.020, 0.042, 0.026, 0.330, 0.20, 0.05),
    "roof": (0.110, 0.120, 0.150, 0.210, 0.22, 0.05),
    "garden": (0.032, 0.066, 0.040, 0.360, 0.12, 0.05),
    "road": (0.105, 0.115, 0.125, 0.170, 0.05, 0.04),
    "lake": (0.035, 0.045, 0.022, 0.012, 0.02, 0.05),
    "river": (0.075, 0.088, 0.078, 0.060, 0.08, 0.10),
}
_CODE = {name: np.uint8(i) for i, name in enumerate(_SURFACES)}
_SPECTRA = np.array([s[:4] for s in _SURFACES.values()], np.float32)
_GRAIN = np.array([s[4] for s in _SURFACES.values()], np.float32)
_SWELL = np.array([s[5] for s in _SURFACES.values()], np.float32)
_STRIP = 96
"""Pixel rows worked at a time: small enough for a processor's cache."""

_LANDSAT: dict[str, tuple[tuple[float, ...], ...]] = {
    # class: winter, spring, summer, autumn; each blue, green, red, nir, swir1, swir2, without snow
    "glacier": (
        (0.78, 0.78, 0.76, 0.66, 0.10, 0.08),
        (0.76, 0.76, 0.74, 0.64, 0.10, 0.08),
        (0.55, 0.56, 0.54, 0.44, 0.07, 0.05),
        (0.60, 0.61, 0.59, 0.50, 0.08, 0.06),
    ),
    "rock": ((0.10, 0.11, 0.12, 0.16, 0.20, 0.18),) * 4,
    "scree": ((0.12, 0.14, 0.15, 0.20, 0.24, 0.21),) * 4,
    "alpine_meadow": (
        (0.06, 0.08, 0.09, 0.18, 0.25, 0.18),
        (0.055, 0.075, 0.085, 0.20, 0.25, 0.17),
        (0.04, 0.075, 0.06, 0.31, 0.21, 0.11),
        (0.05, 0.075, 0.08, 0.22, 0.25, 0.16),
    ),
    "shrub": (
        (0.035, 0.05, 0.05, 0.20, 0.17, 0.10),
        (0.03, 0.05, 0.045, 0.24, 0.17, 0.09),
        (0.025, 0.05, 0.036, 0.30, 0.16, 0.08),
        (0.03, 0.05, 0.045, 0.24, 0.17, 0.09),
    ),
    "conifer_forest": (
        (0.018, 0.028, 0.022, 0.16, 0.08, 0.04),
        (0.018, 0.030, 0.022, 0.19, 0.09, 0.04),
        (0.017, 0.030, 0.021, 0.20, 0.09, 0.04),
        (0.018, 0.029, 0.022, 0.18, 0.09, 0.04),
    ),
    "broadleaf_forest": (
        (0.04, 0.055, 0.065, 0.17, 0.20, 0.12),
        (0.028, 0.055, 0.040, 0.33, 0.17, 0.08),
        (0.021, 0.046, 0.027, 0.39, 0.17, 0.07),
        (0.035, 0.060, 0.065, 0.28, 0.20, 0.10),
    ),
    "meadow": (
        (0.055, 0.075, 0.08, 0.21, 0.25, 0.16),
        (0.035, 0.075, 0.045, 0.40, 0.21, 0.10),
        (0.040, 0.078, 0.055, 0.36, 0.22, 0.11),
        (0.042, 0.075, 0.062, 0.30, 0.23, 0.13),
    ),
    "cropland": (
        (0.07, 0.09, 0.11, 0.20, 0.27, 0.21),
        (0.06, 0.09, 0.08, 0.30, 0.25, 0.17),
        (0.05, 0.09, 0.075, 0.38, 0.23, 0.14),
        (0.075, 0.10, 0.12, 0.24, 0.29, 0.22),
    ),
    "village": (
        (0.085, 0.095, 0.10, 0.17, 0.18, 0.15),
        (0.085, 0.10, 0.10, 0.20, 0.18, 0.14),
        (0.085, 0.10, 0.10, 0.22, 0.18, 0.14),
        (0.085, 0.10, 0.10, 0.19, 0.18, 0.14),
    ),
    "water": ((0.04, 0.05, 0.03, 0.015, 0.005, 0.003),) * 4,
}
_LANDSAT_SPECTRA = np.array([_LANDSAT[name] for name in CLASSES], np.float32)
_SNOW = np.array((0.80, 0.80, 0.78, 0.68, 0.10, 0.07), np.float32)
_SNOW_LINE = np.array((900.0, 2_100.0, 3_150.0, 2_500.0), np.float32)
"""Elevation (m) of the snow line in each season."""
_CLOUDED = (0.25, 0.10, 0.03, 0.08)
"""Share of cells without a clear view in each season."""


def sentinel2(layers: Layers, pixels: Pixels, seed: int) -> Field:
    """Reflectance of SENTINEL2_BANDS on 10 m pixels: (4, y, x) for a grid, (4, n) for points; NaN in gaps and voids."""
    if not pixels.is_grid:
        return _sentinel2(layers, pixels, seed)
    height, width = pixels.shape
    out = np.empty((4, height, width), np.float32)
    for top in range(0, height, _STRIP):
        strip = Pixels(pixels.size, pixels.cols, pixels.rows[top : top + _STRIP])
        out[:, top : top + _STRIP] = _sentinel2(layers, strip, seed)
    return out


def _sentinel2(layers: Layers, pixels: Pixels, seed: int) -> Field:
    def at(layer: Field) -> Field:
        return noise.interpolate(layer, layers.origin, CELL, pixels)

    grain = noise.white(pixels, seed + 1)
    swell = noise.smooth(pixels, 60, seed + 2)
    surface = _ground(layers, pixels, swell * np.float32(0.55) + noise.smooth(pixels, 30, seed + 3) * np.float32(0.835))
    clumps = noise.smooth(pixels, 20, seed + 4)
    _add_detail(surface, layers, pixels, clumps, grain, seed, at)

    lines = noise.nearest(layers.lines, (layers.origin[0] * CELL // PIXEL, layers.origin[1] * CELL // PIXEL), PIXEL, pixels)
    surface[(lines & ROAD) > 0] = _CODE["road"]
    surface[(lines & WATER) > 0] = _CODE["river"]
    surface[(lines & LAKE) > 0] = _CODE["lake"]

    light = np.float32(0.22) + np.float32(1.12) * at(layers.illumination)
    light *= (
        1
        + _GRAIN[surface] * (grain - np.float32(0.5)) * np.float32(2)
        + _SWELL[surface] * (np.float32(0.6) * swell + np.float32(0.5) * clumps)
    )
    light[~noise.nearest(layers.known, layers.origin, CELL, pixels) | (at(layers.cloud) > 1)] = np.nan
    out = np.empty((4, *pixels.shape), np.float32)
    for band in range(4):
        np.multiply(_SPECTRA[:, band][surface], light, out=out[band])
    return np.clip(out, 0.001, 1.0, out=out)


def _ground(layers: Layers, pixels: Pixels, deviate: Field) -> npt.NDArray[np.uint8]:
    """Ground class of each pixel: a roll of the dice on the interpolated shares, smooth over some 30 m."""
    t = np.clip(deviate * np.float32(1 / 4.6) + np.float32(0.5), 0, 1)
    roll = np.minimum(t * t * (3 - 2 * t), np.float32(0.995))
    surface = np.zeros(pixels.shape, np.uint8)
    reached = np.zeros(pixels.shape, np.float32)
    for share in layers.ground[:-1]:
        part = noise.interpolate(share, layers.origin, CELL, pixels)
        reached += part
        surface += roll >= reached
    return surface


def _add_detail(surface: npt.NDArray[np.uint8], layers: Layers, pixels: Pixels, clumps: Field, grain: Field, seed: int, at) -> None:  # type: ignore[no-untyped-def]
    """Change ground classes into what a closer look shows, in place: gaps, fields, roofs, bare ice, limestone."""
    t = np.clip(clumps * np.float32(1 / 4.6) + np.float32(0.5), 0, 1)
    chance = t * t * (3 - 2 * t)

    forest = (surface == _CODE["conifer_forest"]) | (surface == _CODE["broadleaf_forest"])
    if forest.any():
        surface[forest & (chance < at(layers.openness) * np.float32(0.85))] = _CODE["understory"]
    rocky = (surface == _CODE["rock"]) | (surface == _CODE["scree"])
    if rocky.any():
        surface[rocky & (chance < at(layers.carbonate))] = _CODE["limestone"]
    alpine = surface == _CODE["alpine_meadow"]
    if alpine.any():
        surface[alpine & (chance < np.float32(0.55) * (1 - at(layers.intensity)))] = _CODE["stony_meadow"]
    icy = surface == _CODE["glacier"]
    if icy.any():
        surface[
            icy & (at(layers.terrain["elevation"]) + np.float32(90) * noise.smooth(pixels, 300, seed + 9) < np.float32(EQUILIBRIUM_LINE))
        ] = _CODE["ice"]
    built = surface == _CODE["village"]
    if built.any():
        house = noise.uniform((pixels.cols * 2 + pixels.rows) // 4, (pixels.rows * 2 - pixels.cols) // 4, seed + 5)
        surface[built & (house < 0.42)] = _CODE["roof"]
        surface[built & (house > 0.62)] = _CODE["garden"]
    meadow, field = surface == _CODE["meadow"], surface == _CODE["cropland"]
    if meadow.any() or field.any():
        lot, edge = _parcels(pixels, seed)
        surface[meadow & (lot < at(layers.intensity))] = _CODE["fat_meadow"]
        surface[field & (lot < 0.25)] = _CODE["bare_field"]
        surface[field & (lot > 0.65)] = _CODE["ripe_field"]
        surface[(meadow | field) & edge & (grain < 0.45)] = _CODE["hedge"]


def _parcels(pixels: Pixels, seed: int) -> tuple[Field, npt.NDArray[np.bool_]]:
    """A uniform number for each pixel's parcel (some 110 x 70 m, bent with the land), and whether the pixel lies on its edge."""
    x, y = pixels.cols * np.float32(pixels.size), pixels.rows * np.float32(pixels.size)
    bend = noise.smooth(pixels, 640, seed + 6) * np.float32(60)
    turn = noise.smooth(pixels, 900, seed + 7) * np.float32(60)
    u = (x * np.float32(0.8) + y * np.float32(0.6) + bend) * np.float32(1 / 110)
    v = (y * np.float32(0.8) - x * np.float32(0.6) + turn) * np.float32(1 / 70)
    j = np.floor(v)
    row = j.astype(np.int64)
    stretch = noise.uniform(row, np.zeros_like(row), seed + 10)
    u = u * (np.float32(0.5) + stretch) + stretch * np.float32(7)
    i = np.floor(u)
    edge = (u - i < 0.08) | (v - j < 0.14)
    return noise.uniform(i.astype(np.int64), row, seed + 8), edge


def landsat(layers: Layers, pixels: Pixels, seed: int, season: int, quarter: int) -> Field:
    """Reflectance of LANDSAT_BANDS on 50 m pixels inside the extent in one quarter: (6, ...); NaN in clouds, polar shade and voids.

    `season` indexes SEASONS; `quarter` counts from the first and decides where clouds lay.
    """
    cells = layers.cells(pixels)
    cover = layers.land_cover(pixels)
    openness, intensity, carbonate = (layer[cells] for layer in (layers.openness, layers.intensity, layers.carbonate))
    spectra = _LANDSAT_SPECTRA[:, season]
    forest = cover[CLASSES.index("conifer_forest")] + cover[CLASSES.index("broadleaf_forest")]
    stone = cover[CLASSES.index("rock")] + cover[CLASSES.index("scree")]
    elevation = layers.terrain["elevation"][cells]
    departure = noise.smooth(pixels, 4_000, seed + 31 + quarter) * np.float32(120)
    t = np.clip((elevation - _SNOW_LINE[season] - departure) * np.float32(1 / 500) + np.float32(0.5), 0, 1)
    snow = t * t * (3 - 2 * t) * (1 - np.float32(0.7) * forest) * (1 - cover[-1])
    light = np.float32(0.25) + np.float32(1.08) * layers.illumination[cells]
    light *= 1 + np.float32(0.03) * (noise.white(pixels, seed + 61 + quarter) - np.float32(0.5))
    out = np.empty((6, *pixels.shape), np.float32)
    for band in range(6):
        value = np.zeros(pixels.shape, np.float32)
        for share, spectrum in zip(cover, spectra):
            value += share * spectrum[band]
        gap = spectra[CLASSES.index("shrub"), band] - spectra[CLASSES.index("conifer_forest"), band]
        fat = np.float32(0.08 if band == 3 else -0.012) * cover[CLASSES.index("meadow")]
        value += forest * openness * np.float32(0.7) * gap + fat * (intensity - np.float32(0.5)) + stone * carbonate * np.float32(0.09)
        value += snow * (_SNOW[band] - value)
        out[band] = np.clip(value * light, 0.001, 1.0)
    cloud = noise.fractal(pixels, 6_000, seed + 91 + quarter, octaves=4)
    out[:, cloud > np.float32(NormalDist().inv_cdf(1 - _CLOUDED[season]))] = np.nan
    return out
