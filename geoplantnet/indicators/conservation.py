"""What is at stake: threatened, protected and rare species."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from array_api_compat import array_namespace, device

from geoplantnet.indicators.composition import GroupRichness
from geoplantnet.indicators.indicator import (
    COUNT,
    PROPORTION,
    IndicatorClass,
    IndicatorInfo,
    SpeciesBlock,
    Storage,
    categories,
    dataset,
    members,
    ratio,
    total,
)

_NONE, _UNKNOWN = 0, 1

IUCN_CLASSES = (
    IndicatorClass(value=_NONE, letters="none", label="(no species in the set)", color="#f5f5f5"),
    IndicatorClass(value=_UNKNOWN, letters="unknown", label="(no category on record for the species of the set)", color="#b9c4d0"),
    IndicatorClass(value=2, letters="NE", label="Not evaluated", color="#ffffff"),
    IndicatorClass(value=3, letters="DD", label="Data deficient", color="#d1d1c6"),
    IndicatorClass(value=4, letters="LC", label="Least concern", color="#60c659"),
    IndicatorClass(value=5, letters="NT", label="Near threatened", color="#cce226"),
    IndicatorClass(value=6, letters="VU", label="Vulnerable", color="#f9e814"),
    IndicatorClass(value=7, letters="EN", label="Endangered", color="#fc7f3f"),
    IndicatorClass(value=8, letters="CR", label="Critically endangered", color="#d81e05"),
    IndicatorClass(value=9, letters="EW", label="Extinct in the wild", color="#542344"),
    IndicatorClass(value=10, letters="EX", label="Extinct", color="#000000"),
)
"""Red List categories in the IUCN's own colours, best to worst; a species that counts for nothing first."""

_CODE_OF = {c.letters: c.value for c in reversed(IUCN_CLASSES) if c.value not in (_NONE, _UNKNOWN)}
_THREATENED = tuple(_CODE_OF[letters] for letters in ("CR", "EN", "VU"))


class IucnWorst:
    """The worst Red List category in the species set of a cell: EX, EW, CR, EN, VU, NT, LC, DD, NE.

    A species whose category is not known never hides a known one; a set of such species only is ``unknown``, an empty
    set ``none``. The band ``iucn_worst_unknown`` is the share of the set's species whose category is not known.
    """

    info = IndicatorInfo(
        id="iucn_worst",
        title="Worst Red List category",
        description="The most threatened category of the IUCN Red List among the species predicted to be present.",
        family="Conservation",
        unit="class",
        range=(float(IUCN_CLASSES[0].value), float(IUCN_CLASSES[-1].value)),
        direction="red = a critically endangered species is predicted",
        classes=IUCN_CLASSES,
        storage=Storage(dtype="uint8", scale=1.0, nodata=255),
        unknown="iucn_worst_unknown",
        traits=("iucn",),
        needs_community=True,
        uses_set=True,
    )

    def start(self, shape: tuple[int, int]) -> None:
        self._has_data: Any = False
        self._worst: Any = None
        self._size: Any = 0
        self._unknown: Any = 0

    def update(self, block: SpeciesBlock) -> None:
        member = members(block, self.info.id)
        xp = array_namespace(member)
        codes = categories(block.traits, "iucn", _CODE_OF, _UNKNOWN)
        code = xp.asarray(codes, device=device(member))[:, None, None]
        worst = xp.max(xp.astype(member, xp.uint8) * code, axis=0)  # a species outside the set is 0, `none`
        unknown = member & (code == _UNKNOWN)
        self._has_data = block.has_data | self._has_data
        self._worst = worst if self._worst is None else xp.maximum(self._worst, worst)
        self._size = self._size + xp.sum(member, axis=0, dtype=xp.int32)
        self._unknown = self._unknown + xp.sum(unknown, axis=0, dtype=xp.int32)

    def finish(self) -> xr.Dataset:
        xp = array_namespace(self._size)
        size, unknown = xp.astype(self._size, xp.float64), xp.astype(self._unknown, xp.float64)
        return dataset(self.info, self._has_data, self._worst, unknown=ratio(unknown, size))


class Threatened:
    """Probability that at least one species listed as CR, EN or VU is present: 1 - product of (1 - p).

    Presences are taken as independent given the predictors. Species without a known category are left out, so it is a
    lower bound; ``threatened_unknown`` is their share of expected richness.
    """

    info = IndicatorInfo(
        id="threatened",
        title="Threatened species present",
        description="How likely it is that at least one vulnerable, endangered or critically endangered plant species grows here.",
        family="Conservation",
        unit="1",
        palette="magma",
        direction="pale yellow = a threatened species is almost certain",
        storage=PROPORTION,
        unknown="threatened_unknown",
        traits=("iucn",),
    )

    def start(self, shape: tuple[int, int]) -> None:
        self._has_data: Any = False
        self._mass: Any = 0.0
        self._unknown: Any = 0.0
        self._ln_none: Any = 0.0

    def update(self, block: SpeciesBlock) -> None:
        codes = categories(block.traits, "iucn", _CODE_OF, _UNKNOWN)
        listed = block.of(np.flatnonzero(np.isin(codes, _THREATENED)))
        xp = array_namespace(listed)
        # Logarithms keep the many tiny p apart; the largest double below 1 stands for p = 1, whose logarithm is infinite.
        p = xp.clip(xp.astype(listed, xp.float64), max=1 - 2.0**-53)
        self._has_data = block.has_data | self._has_data
        self._mass = self._mass + block.total
        self._unknown = self._unknown + block.total_of(np.flatnonzero(codes == _UNKNOWN))
        self._ln_none = self._ln_none + total(xp.log1p(-p))

    def finish(self) -> xr.Dataset:
        xp = array_namespace(self._mass)
        return dataset(self.info, self._has_data, -xp.expm1(self._ln_none), unknown=ratio(self._unknown, self._mass))


def eu_directive() -> GroupRichness:
    """Expected number of species of the EU Habitats Directive."""
    return GroupRichness(
        IndicatorInfo(
            id="eu_directive",
            title="Habitats Directive species",
            description="How many plant species of the EU Habitats Directive are expected in a plot of the stated area.",
            family="Conservation",
            unit="species",
            range=(0.0, 3.0),
            palette="cividis",
            direction="yellow = many protected species",
            storage=COUNT,
            uncertainty="eu_directive_sd",
            unknown="eu_directive_unknown",
            traits=("eu_directive",),
        )
    )


def rare() -> GroupRichness:
    """Expected number of rare species."""
    return GroupRichness(
        IndicatorInfo(
            id="rare",
            title="Rare species",
            description="How many plant species marked as rare are expected in a plot of the stated area.",
            family="Conservation",
            unit="species",
            range=(0.0, 3.0),
            palette="cividis",
            direction="yellow = many rare species",
            storage=COUNT,
            uncertainty="rare_sd",
            unknown="rare_unknown",
            traits=("rare",),
        )
    )
