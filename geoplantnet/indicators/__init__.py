"""Floor 4: indicators of plant diversity, accumulated over species blocks. No torch here.

A new indicator is one class and one line of `INDICATORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from geoplantnet.assemblages.blocks import Array, Blocks, checked, on_host, row_strips
from geoplantnet.assemblages.sets import above, expected_f1_threshold
from geoplantnet.errors import ConfigurationError, InputError, did_you_mean
from geoplantnet.indicators.composition import WoodyShare, invasives, tree_richness
from geoplantnet.indicators.conservation import IucnWorst, Threatened, eu_directive, rare
from geoplantnet.indicators.diversity import Richness, Shannon
from geoplantnet.indicators.indicator import Indicator, IndicatorClass, IndicatorInfo, SpeciesBlock, Storage

__all__ = ["INDICATORS", "SPARSE", "Indicator", "IndicatorClass", "IndicatorInfo", "SpeciesBlock", "Storage", "compute", "indicator"]

INDICATORS: dict[str, Callable[[], Indicator]] = {
    "shannon": Shannon,
    "richness": Richness,
    "tree_richness": tree_richness,
    "woody_share": WoodyShare,
    "invasives": invasives,
    "eu_directive": eu_directive,
    "rare": rare,
    "iucn_worst": IucnWorst,
    "threatened": Threatened,
}


def indicator(name: str) -> Indicator:
    """A fresh indicator. Raises ConfigurationError with the nearest spelling."""
    if name not in INDICATORS:
        raise ConfigurationError(f"{name!r} is no indicator; there are {', '.join(INDICATORS)}.{did_you_mean(name, INDICATORS)}")
    return INDICATORS[name]()


SPARSE = 1.0
"""Expected species below which a cell holds no community worth describing: bare rock, ice, open water."""


def compute(
    names: Sequence[str],
    blocks: Blocks,
    traits: pd.DataFrame,
    shape: tuple[int, int],
    *,
    threshold: Array | float | None = None,
    least: float = 0.0,
) -> xr.Dataset:
    """Indicators of a raster of communities: variables (y, x), float32, NaN = no data, in the order of `names`.

    `traits` has one row a species, in the order of the species axis; `shape` is (y, x). The species set, where an
    indicator reads it, is {p > threshold}: one number, (y, x), or by default MaxExp, which costs further passes over
    the blocks. Where fewer than `least` species are expected, indicators that describe a community (evenness, shares, the
    worst category) have no value: ten species of p = .001 are as even as ten trees, and are no forest. Raises ConfigurationError for an unknown name, InputError when blocks or traits break their contract.
    """
    chosen = [indicator(name) for name in dict.fromkeys(names)]
    if not chosen:
        raise ConfigurationError(f"no indicator asked for; there are {', '.join(INDICATORS)}")
    if threshold is None and any(one.info.uses_set for one in chosen):
        threshold = expected_f1_threshold(blocks, shape)
    strips: list[tuple[slice, list[Indicator]]] = []
    done = 0
    mass: Array = 0.0
    for species, p in checked(blocks, shape):
        done = species.stop
        if not strips:
            strips = [(rows, [indicator(one.info.id) for one in chosen]) for rows in row_strips(p)]
            for rows, indicators in strips:
                for one in indicators:
                    one.start((rows.stop - rows.start, shape[1]))
        if least:
            mass = mass + SpeciesBlock(species=species, p=p).total
        table = traits.iloc[species]
        if len(table) != p.shape[0]:
            raise InputError(
                f"the traits table has {len(traits)} rows, the blocks reach species {done}; give one row a species, in the list's order"
            )
        for rows, indicators in strips:
            part = p[:, rows, :]
            member = above(part, _rows(threshold, rows)) if threshold is not None else None
            block = SpeciesBlock(species=species, p=part, member=member, traits=table)
            for one in indicators:
                one.update(block)
    if done != len(traits):
        raise InputError(
            f"the traits table has {len(traits)} rows, the blocks hold {done} species; give one row a species, in the list's order"
        )
    finished = [[one.finish() for one in indicators] for _, indicators in strips]
    found = xr.Dataset({str(band): _stacked([part[band] for part in parts]) for parts in zip(*finished) for band in parts[0]})
    if least:
        _leave_out(found, [one.info for one in chosen], on_host(mass) < least)
    return found


def _leave_out(found: xr.Dataset, infos: Sequence[IndicatorInfo], sparse: npt.NDArray[np.bool_]) -> None:
    """NaN, in place, at sparse cells (y, x) for every band of an indicator that needs a community."""
    for info in infos:
        if info.needs_community:
            for band in info.bands:
                found[band].values[sparse] = np.nan


def _rows(threshold: Array | float, rows: slice) -> Array | float:
    """The threshold of some rows of the raster."""
    return threshold if isinstance(threshold, int | float) else threshold[rows, :]


def _stacked(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    """Strips put one below the other, with the attributes and the encoding that xarray would forget."""
    out = xr.DataArray(np.concatenate([part.to_numpy() for part in parts]), dims=parts[0].dims, attrs=parts[0].attrs)
    out.encoding = parts[0].encoding
    return out
