"""Floor 4: indicators of plant diversity, made of sums over species. No torch here.

A new indicator is two small functions and one line of `INDICATORS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd
import xarray as xr

from geoplantnet.assemblages.blocks import Array, Blocks, on_host
from geoplantnet.assemblages.sets import expected_f1_threshold
from geoplantnet.assemblages.sums import Sum, community_sums
from geoplantnet.errors import ConfigurationError, did_you_mean
from geoplantnet.indicators.composition import ENDEMISM, INVASIVES, SPECIALISATION, TREE_RICHNESS, WOODY_SHARE
from geoplantnet.indicators.conservation import EU_DIRECTIVE, IUCN_WORST, RARE, THREATENED
from geoplantnet.indicators.diversity import RICHNESS, SHANNON
from geoplantnet.indicators.habitat import Habitat, affinity_column, habitat_of
from geoplantnet.indicators.indicator import Band, Indicator, IndicatorClass, IndicatorInfo, Storage, Words, dataset

__all__ = [
    "INDICATORS",
    "SPARSE",
    "Band",
    "Habitat",
    "Indicator",
    "IndicatorClass",
    "IndicatorInfo",
    "Storage",
    "Words",
    "affinity_column",
    "asked_sums",
    "compute",
    "from_sums",
    "habitat_of",
    "indicator",
]

INDICATORS: dict[str, Indicator] = {
    one.info.id: one
    for one in (
        *(SHANNON, RICHNESS, TREE_RICHNESS, WOODY_SHARE, SPECIALISATION, INVASIVES),
        *(EU_DIRECTIVE, RARE, IUCN_WORST, THREATENED, ENDEMISM),
    )
}
"""Those that need no more than traits; a `habitat_of` some typology stands beside them."""

SPARSE = 1.0
"""Expected species below which a cell holds no community worth describing: bare rock, ice, open water."""

Asked: TypeAlias = tuple[str, str]
"""(indicator, its own name for a sum); ("", "mass") is expected richness."""
_MASS: Asked = ("", "mass")


def indicator(name: str | Indicator) -> Indicator:
    """An indicator by its id, or itself. Raises ConfigurationError with the nearest spelling."""
    if isinstance(name, Indicator):
        return name
    if name not in INDICATORS:
        raise ConfigurationError(f"{name!r} is no indicator; there are {', '.join(INDICATORS)}.{did_you_mean(name, INDICATORS)}")
    return INDICATORS[name]


def asked_sums(names: Sequence[str | Indicator], traits: pd.DataFrame) -> dict[Asked, Sum]:
    """The sums over species that some indicators need, and expected richness; traits have one row a species.

    Raises ConfigurationError for an unknown name or none, InputError when a trait is missing or holds what it may not.
    """
    if not names:
        raise ConfigurationError(f"no indicator asked for; there are {', '.join(INDICATORS)}")
    chosen = [indicator(name) for name in names]
    return {_MASS: Sum()} | {(one.info.id, own): wanted for one in chosen for own, wanted in one.sums(traits).items()}


def from_sums(names: Sequence[str | Indicator], sums: Mapping[Asked, Array], has_data: Array, *, least: float = 0.0) -> xr.Dataset:
    """The sums of `asked_sums`, (y, x) each -> indicators: variables (y, x), float32, NaN = no data, in the order of `names`.

    Where fewer than `least` species are expected, indicators that describe a community (evenness, shares, the worst category) have no
    value: ten species of p = .001 are as even as ten trees, and are no forest.
    """
    found, sparse = xr.Dataset(), on_host(sums[_MASS]) < least
    for one in {one.info.id: one for one in map(indicator, names)}.values():
        bands = dataset(one.info, has_data, one.bands({own: value for (owner, own), value in sums.items() if owner == one.info.id}))
        if one.info.needs_community:
            for band in bands.values():
                band.values[sparse] = float("nan")
        found = found.assign(bands.data_vars)
    return found


def compute(
    names: Sequence[str | Indicator],
    blocks: Blocks,
    traits: pd.DataFrame,
    shape: tuple[int, int],
    *,
    threshold: Array | float | None = None,
    least: float = 0.0,
) -> xr.Dataset:
    """Indicators of a raster of communities by one pass over its species blocks, see `from_sums`.

    `traits` has one row a species, in the order of the species axis; `shape` is (y, x). The species set, where an
    indicator reads it, is {p > threshold}: one number, (y, x), or by default MaxExp, which costs further passes over
    the blocks. Raises ConfigurationError for an unknown name, InputError when blocks or traits break their contract.
    """
    wanted = asked_sums(names, traits)
    if threshold is None and any(one.term == "member" for one in wanted.values()):
        threshold = expected_f1_threshold(blocks, shape)
    sums, has_data = community_sums(blocks, shape, wanted, species=len(traits), threshold=threshold)
    return from_sums(names, sums, has_data, least=least)
