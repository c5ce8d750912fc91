"""Which habitat the plants of a place make: a class of a typology such as EUNIS, from the assemblage alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from array_api_compat import array_namespace, device

from geoplantnet.assemblages.blocks import Array
from geoplantnet.assemblages.sums import Sum
from geoplantnet.errors import InputError
from geoplantnet.indicators.indicator import CLASS, MASS, Band, Indicator, IndicatorClass, IndicatorInfo, Sums, Words, ratio

_NAMED = 3
"""Habitats named a cell: the most likely ones."""


@dataclass(frozen=True, kw_only=True)
class Habitat:
    """One class of a typology of habitats."""

    code: str
    """Such as ``T17``."""
    value: int
    """Stored value, 1 to 254: the habitat's place in the typology, whichever others are mapped."""
    title: str
    title_fr: str
    color: str
    """``#rrggbb``."""


def affinity_column(code: str) -> str:
    """Name of the trait that says how much a species speaks for a habitat."""
    return f"habitat:{code}"


def habitat_of(typology: str, habitats: Sequence[Habitat], *, typology_fr: str = "") -> Indicator:
    """The most likely habitats of a cell, as an indicator.

    A habitat's logit is the community-weighted mean of the species' affinities to it (traits ``habitat:<code>``), those that
    `sdm.habitats` learns from predicted assemblages: sum of p a / sum of p. Its probability is the softmax over habitats.
    Raises InputError for fewer than two habitats, two of one code or value, or a value that is no class.
    """
    if len(habitats) < 2:
        raise InputError(f"{typology} has {len(habitats)} habitats; a map needs two")
    if len({h.code for h in habitats}) != len(habitats) or len({h.value for h in habitats}) != len(habitats):
        raise InputError(f"{typology} has two habitats of one code or value")
    if not all(0 < h.value < CLASS.nodata for h in habitats):
        raise InputError(f"{typology} has a habitat of a value outside 1 to {CLASS.nodata - 1}")

    def sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
        missing = [h.code for h in habitats if affinity_column(h.code) not in traits]
        if missing:
            raise InputError(f"the traits say nothing of the habitats {', '.join(missing)}; train again with `geoplantnet train`")
        return {**MASS, **{h.code: Sum(weights=traits[affinity_column(h.code)].to_numpy(np.float32)) for h in habitats}}

    def bands(found: Sums) -> tuple[Array, ...]:
        xp = array_namespace(found["mass"])
        logits = xp.stack([ratio(found[h.code], found["mass"]) for h in habitats])
        odds = xp.exp(logits - xp.max(logits, axis=0))
        left = odds / xp.sum(odds, axis=0)
        position = xp.reshape(xp.arange(len(habitats), device=device(left)), (-1, *([1] * (left.ndim - 1))))
        value = xp.reshape(xp.asarray([float(h.value) for h in habitats], dtype=left.dtype, device=device(left)), position.shape)
        named: list[Array] = []
        for _ in range(min(_NAMED, len(habitats))):
            best = xp.argmax(left, axis=0)
            p = xp.max(left, axis=0)
            named += [xp.where(xp.isnan(p), xp.nan, xp.sum(xp.where(position == best, value, 0.0), axis=0)), p]
            left = xp.where(position == best, -1.0, left)
        return tuple(named)

    ranks = range(2, min(_NAMED, len(habitats)) + 1)
    more = [(Band(name=f"habitat_{n}", title=f"Habitat: the most likely but {n - 1}", unit="class", storage=CLASS), n) for n in ranks]
    further = [Band(name="habitat_p", title="Habitat: probability of the one mapped")]
    for band, n in more:
        further += [band, Band(name=f"{band.name}_p", title=f"Habitat: probability of the most likely but {n - 1}")]
    return Indicator(
        info=IndicatorInfo(
            id="habitat",
            title="Habitat",
            description=f"The most likely habitat of {typology}, told from the plant species predicted for the place. Bands beside it give its "
            "probability and the two habitats that come next.",
            family="Habitat",
            unit="class",
            range=(float(min(h.value for h in habitats)), float(max(h.value for h in habitats))),
            direction="colour = the most likely habitat",
            fr=Words(
                title="Habitat",
                description=f"L'habitat le plus probable de {typology_fr or typology}, d'après les espèces de plantes prédites pour le lieu. Les bandes voisines "
                "donnent sa probabilité et les deux habitats suivants.",
                direction="couleur = l'habitat le plus probable",
            ),
            classes=tuple(
                IndicatorClass(value=h.value, letters=h.code, label=h.title, label_fr=h.title_fr, color=h.color) for h in habitats
            ),
            storage=CLASS,
            further=tuple(further),
            needs_community=True,
        ),
        sums=sums,
        bands=bands,
    )
