"""How many species, and how evenly: richness and Shannon's index."""

from __future__ import annotations

from typing import Any

import xarray as xr
from array_api_compat import array_namespace

from geoplantnet.indicators.indicator import IndicatorInfo, SpeciesBlock, Storage, dataset, total


class Richness:
    """Expected number of species: sum of p, with standard deviation sqrt(sum of p (1 - p)).

    The size of a thresholded set is no richness: it depends on the threshold. The standard deviation takes presences as
    independent given the predictors (a Poisson-binomial number), so it is a lower bound of what is not known.
    """

    info = IndicatorInfo(
        id="richness",
        title="Species richness",
        description="How many plant species are expected in a plot of the stated area.",
        family="Ecosystem",
        unit="species",
        range=(0.0, 100.0),
        palette="viridis",
        direction="yellow = many species",
        storage=Storage(dtype="uint16", scale=0.05, nodata=65_535),
        uncertainty="richness_sd",
    )

    def start(self, shape: tuple[int, int]) -> None:
        self._has_data: Any = False
        self._mean: Any = 0.0
        self._variance: Any = 0.0

    def update(self, block: SpeciesBlock) -> None:
        self._has_data = block.has_data | self._has_data
        self._mean = self._mean + block.total
        self._variance = self._variance + block.variance

    def finish(self) -> xr.Dataset:
        return dataset(self.info, self._has_data, self._mean, uncertainty=self._variance**0.5)


class Shannon:
    """Shannon's index over expected shares: H = - sum of q ln q with q = p / sum of p; nats.

    In one pass: H = ln S - E / S with S = sum of p and E = sum of p ln p. 0 where no species is expected, as in vegan's
    `diversity`. Source: Shannon 1948, A mathematical theory of communication.
    """

    info = IndicatorInfo(
        id="shannon",
        title="Shannon diversity",
        description="How diverse the plant community is: it grows with the number of species and with how evenly likely they are.",
        family="Ecosystem",
        unit="nat",
        range=(0.0, 6.0),
        palette="viridis",
        direction="yellow = diverse community",
        storage=Storage(dtype="uint16", scale=0.0002, nodata=65_535),
        needs_community=True,
    )

    def start(self, shape: tuple[int, int]) -> None:
        self._has_data: Any = False
        self._mass: Any = 0.0
        self._p_ln_p: Any = 0.0

    def update(self, block: SpeciesBlock) -> None:
        p = block.known
        xp = array_namespace(p)
        self._has_data = block.has_data | self._has_data
        self._mass = self._mass + block.total
        # 0 ln 0 = 0: the logarithm sees 1 in the place of 0.
        self._p_ln_p = self._p_ln_p + total(p * xp.log(p + xp.astype(p == 0, p.dtype)))

    def finish(self) -> xr.Dataset:
        xp = array_namespace(self._mass)
        mass = xp.where(self._mass > 0, self._mass, 1.0)
        entropy = xp.clip(xp.log(mass) - self._p_ln_p / mass, min=0.0)
        return dataset(self.info, self._has_data, xp.where(self._mass > 0, entropy, 0.0))
