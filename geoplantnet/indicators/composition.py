"""What the community is made of: expected numbers and shares of trait groups."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from array_api_compat import array_namespace

from geoplantnet.assemblages.blocks import Array
from geoplantnet.assemblages.sums import Sum
from geoplantnet.indicators.indicator import COUNT, MASS, PROPORTION, Indicator, IndicatorInfo, Sums, flagged, ratio


def group_richness(info: IndicatorInfo) -> Indicator:
    """Expected number of species with the trait of `info`: sum of p over the group, with its standard deviation.

    Counts the species known to have the trait. The band ``<id>_unknown`` is the share of expected richness whose trait
    is not known: with none known to lack it, the number could be higher by up to that share of richness.
    """
    (trait,) = info.traits

    def sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
        group, _, unknown = flagged(traits, trait)
        return {**MASS, "group": Sum(weights=group), "variance": Sum(term="p(1-p)", weights=group), "unknown": Sum(weights=unknown)}

    def bands(found: Sums) -> tuple[Array, ...]:
        return found["group"], found["variance"] ** 0.5, ratio(found["unknown"], found["mass"])

    return Indicator(info=info, sums=sums, bands=bands)


def _woody_sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
    woody, herb, unknown = flagged(traits, "woody")
    return {
        **MASS,
        "woody": Sum(weights=woody),
        "woody variance": Sum(term="p(1-p)", weights=woody),
        "herb": Sum(weights=herb),
        "herb variance": Sum(term="p(1-p)", weights=herb),
        "unknown": Sum(weights=unknown),
    }


def _woody_share(sums: Sums) -> tuple[Array, ...]:
    """Share of woody species: sum of p over woody species / sum of p over species known to be woody or not.

    NaN where no such species is expected. Standard deviation of the ratio W / K of two sums of independent presences by
    the delta method: sum over known species of p (1 - p) (w - r)^2 / K^2 with r = W / K, w = 1 for woody; never above
    sqrt(r (1 - r)), the largest that a share with mean r can have.
    """
    xp = array_namespace(sums["mass"])
    known = sums["woody"] + sums["herb"]
    share = ratio(sums["woody"], known)
    variance = ratio(sums["woody variance"] * (1 - share) ** 2 + sums["herb variance"] * share**2, known**2)
    return share, xp.minimum(variance, share * (1 - share)) ** 0.5, ratio(sums["unknown"], sums["mass"])


WOODY_SHARE = Indicator(
    info=IndicatorInfo(
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
    ),
    sums=_woody_sums,
    bands=_woody_share,
)

TREE_RICHNESS = group_richness(
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

INVASIVES = group_richness(
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
