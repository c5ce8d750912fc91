"""What the community is made of: expected numbers and shares of trait groups."""

from __future__ import annotations

from typing import Any

import xarray as xr
from array_api_compat import array_namespace

from geoplantnet.indicators.indicator import COUNT, PROPORTION, IndicatorInfo, SpeciesBlock, dataset, flagged, ratio, total


class GroupRichness:
    """Expected number of species with a trait: sum of p over the group, with its standard deviation.

    Counts the species known to have the trait. The band ``<id>_unknown`` is the share of expected richness whose trait
    is not known: with none known to lack it, the number could be higher by up to that share of richness.
    """

    def __init__(self, info: IndicatorInfo) -> None:
        self.info = info
        (self._trait,) = info.traits

    def start(self, shape: tuple[int, int]) -> None:
        self._has_data: Any = False
        self._mass: Any = 0.0
        self._mean: Any = 0.0
        self._variance: Any = 0.0
        self._unknown: Any = 0.0

    def update(self, block: SpeciesBlock) -> None:
        group, _, unknown = flagged(block.traits, self._trait)
        p = block.of(group)
        self._has_data = block.has_data | self._has_data
        self._mass = self._mass + block.total
        self._mean = self._mean + total(p)
        self._variance = self._variance + total(p * (1 - p))
        self._unknown = self._unknown + block.total_of(unknown)

    def finish(self) -> xr.Dataset:
        return dataset(self.info, self._has_data, self._mean, uncertainty=self._variance**0.5, unknown=ratio(self._unknown, self._mass))


class WoodyShare:
    """Share of woody species: sum of p over woody species / sum of p over species known to be woody or not.

    NaN where no such species is expected. Standard deviation of the ratio W / K of two sums of independent presences by
    the delta method: sum over known species of p (1 - p) (w - r)^2 / K^2 with r = W / K, w = 1 for woody; never above
    sqrt(r (1 - r)), the largest that a share with mean r can have.
    """

    info = IndicatorInfo(
        id="woody_share",
        title="Share of woody species",
        description="Which part of the expected plant species are trees, shrubs or dwarf shrubs, among the species whose growth form is known.",
        family="Ecosystem",
        unit="1",
        palette="greens",
        direction="dark green = mostly woody species",
        storage=PROPORTION,
        uncertainty="woody_share_sd",
        unknown="woody_share_unknown",
        traits=("woody",),
        needs_community=True,
    )

    def start(self, shape: tuple[int, int]) -> None:
        self._has_data: Any = False
        self._mass: Any = 0.0
        self._unknown: Any = 0.0
        self._woody: Any = 0.0
        self._woody_variance: Any = 0.0
        self._herb: Any = 0.0
        self._herb_variance: Any = 0.0

    def update(self, block: SpeciesBlock) -> None:
        woody_rows, herb_rows, unknown_rows = flagged(block.traits, "woody")
        woody, herb = block.of(woody_rows), block.of(herb_rows)
        self._has_data = block.has_data | self._has_data
        self._mass = self._mass + block.total
        self._unknown = self._unknown + block.total_of(unknown_rows)
        self._woody = self._woody + total(woody)
        self._woody_variance = self._woody_variance + total(woody * (1 - woody))
        self._herb = self._herb + total(herb)
        self._herb_variance = self._herb_variance + total(herb * (1 - herb))

    def finish(self) -> xr.Dataset:
        xp = array_namespace(self._mass)
        known = self._woody + self._herb
        share = ratio(self._woody, known)
        variance = ratio(self._woody_variance * (1 - share) ** 2 + self._herb_variance * share**2, known**2)
        deviation = xp.minimum(variance, share * (1 - share)) ** 0.5
        return dataset(self.info, self._has_data, share, uncertainty=deviation, unknown=ratio(self._unknown, self._mass))


def tree_richness() -> GroupRichness:
    """Expected number of tree species."""
    return GroupRichness(
        IndicatorInfo(
            id="tree_richness",
            title="Tree species richness",
            description="How many tree species are expected in a plot of the stated area.",
            family="Ecosystem",
            unit="species",
            range=(0.0, 10.0),
            palette="greens",
            direction="dark green = many tree species",
            storage=COUNT,
            uncertainty="tree_richness_sd",
            unknown="tree_richness_unknown",
            traits=("tree",),
        )
    )


def invasives() -> GroupRichness:
    """Expected number of invasive species."""
    return GroupRichness(
        IndicatorInfo(
            id="invasives",
            title="Invasive species",
            description="How many invasive alien plant species the place suits. Suitable does not mean that they have arrived.",
            family="Threat",
            unit="species",
            range=(0.0, 3.0),
            palette="magma",
            direction="pale yellow = suits many invasive species",
            storage=COUNT,
            uncertainty="invasives_sd",
            unknown="invasives_unknown",
            traits=("invasive",),
        )
    )
