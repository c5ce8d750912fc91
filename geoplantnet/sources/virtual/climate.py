"""A simulated Alpine climate: monthly normals as functions of elevation, place and landform.

Temperature falls with elevation by 5.6 K/km on the year's mean (Rolland 2003, J. Climate 16:1032: 5.4-5.8 K/km in the
Alps), more in early summer and less in winter. Precipitation rises with elevation by the monthly factors of Thornton et
al. (1997, J. Hydrol. 190:214) as used by MicroMet (Liston & Elder 2006, J. Hydrometeorol. 7:217). A smooth synoptic
field, drawn from the seed, makes one side of the mountains wetter than the other. None of it is an observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoplantnet.sources.virtual.noise import Field

_MONTH = np.arange(12)
REFERENCE_ELEVATION = 650.0
"""Elevation (m) the monthly means below refer to: the floor of an inner-Alpine valley."""
MEAN_TEMPERATURE = 9.4 - 10.0 * np.cos(2 * np.pi * (_MONTH - 0.2) / 12)
"""Monthly mean temperature at the reference elevation, degrees Celsius, January first."""
LAPSE_RATE = 5.6 - 1.0 * np.cos(2 * np.pi * (_MONTH + 0.5) / 12)
"""Fall of temperature with elevation by month, K/km."""
DAILY_RANGE = 9.0 - 2.5 * np.cos(2 * np.pi * _MONTH / 12)
"""Mean daily maximum less minimum on a slope, K."""
PRECIPITATION = np.array([82, 76, 80, 78, 92, 104, 108, 112, 84, 80, 88, 92], float)
"""Monthly precipitation at 1500 m, mm."""
PRECIPITATION_FACTOR = np.array([0.35, 0.35, 0.35, 0.30, 0.25, 0.20, 0.20, 0.20, 0.20, 0.25, 0.30, 0.35])
"""Increase of precipitation with elevation by month, 1/km (Thornton et al. 1997)."""
_DAYS = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True, eq=False)
class Setting:
    """What the climate of a cell depends on; arrays (y, x)."""

    elevation: Field
    """Metres."""
    warmth: Field
    """Smooth regional departure of temperature, K."""
    wetness: Field
    """Smooth regional factor of precipitation."""
    basin: Field
    """0 on slopes and ridges, 1 on valley floors where cold air gathers in winter."""

    def taken(self, take: Callable[[Field], Field]) -> Setting:
        """The setting of the places that `take` picks from a layer."""
        return Setting(take(self.elevation), take(self.warmth), take(self.wetness), take(self.basin))

    def temperature(self, month: int) -> Field:
        """Monthly mean temperature (degrees Celsius); `month` 0 is January."""
        fall = np.float32(LAPSE_RATE[month] / 1000) * (self.elevation - np.float32(REFERENCE_ELEVATION))
        cold_pool = np.float32(1.5 * max(0.0, np.cos(2 * np.pi * month / 12))) * self.basin
        return np.float32(MEAN_TEMPERATURE[month]) - fall - cold_pool + self.warmth

    def daily_range(self, month: int) -> Field:
        """Mean daily maximum less minimum (K): wider on valley floors."""
        return np.float32(DAILY_RANGE[month]) * (np.float32(0.85) + np.float32(0.3) * self.basin)

    def precipitation(self, month: int) -> Field:
        """Monthly precipitation (mm)."""
        rise = np.float32(PRECIPITATION_FACTOR[month]) * np.clip((self.elevation - np.float32(1500)) / np.float32(1000), -1.2, 1.6)
        return (np.float32(PRECIPITATION[month]) * self.wetness * (1 + rise) / (1 - rise)).astype(np.float32)


def bioclim(setting: Setting) -> dict[str, Field]:
    """Annual summaries (y, x), named as in WorldClim's BIOCLIM: bio1 mean temperature, bio5 and bio6 maximum and minimum
    of the warmest and coldest month (degrees Celsius), bio12 annual and bio18 June-to-August precipitation (mm; the
    warmest quarter here); and gdd5, growing degree days above 5 degrees Celsius (K d) from monthly means; tas01 and tas07
    are January's and July's mean (degrees Celsius).
    """
    zero = np.zeros(setting.elevation.shape, np.float32)
    mean, rain, summer_rain, gdd = zero.copy(), zero.copy(), zero.copy(), zero.copy()
    warmest, coldest = zero - np.inf, zero + np.inf
    for month, days in enumerate(_DAYS):
        temperature, precipitation, half = setting.temperature(month), setting.precipitation(month), setting.daily_range(month) / 2
        mean += temperature / np.float32(12)
        gdd += np.maximum(temperature - np.float32(5), 0) * np.float32(days)
        warmest = np.maximum(warmest, temperature + half)
        coldest = np.minimum(coldest, temperature - half)
        rain += precipitation
        if month in (5, 6, 7):
            summer_rain += precipitation
    return {
        "bio1": mean,
        "bio5": warmest,
        "bio6": coldest,
        "bio12": rain,
        "bio18": summer_rain,
        "gdd5": gdd,
        "tas01": setting.temperature(0),
        "tas07": setting.temperature(6),
    }
