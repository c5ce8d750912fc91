"""What is at stake: threatened, protected and rare species."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from array_api_compat import array_namespace

from geoplantnet.assemblages.blocks import Array
from geoplantnet.assemblages.sums import Sum
from geoplantnet.indicators.composition import group_richness
from geoplantnet.indicators.indicator import (
    CLASS,
    COUNT,
    MASS,
    PROPORTION,
    Band,
    Indicator,
    IndicatorClass,
    IndicatorInfo,
    Sums,
    Words,
    categories,
    ratio,
)

_NONE, _UNKNOWN = 0, 1

IUCN_CLASSES = (
    IndicatorClass(
        value=_NONE, letters="none", label="(no species in the set)", label_fr="(aucune espèce dans l'ensemble)", color="#f5f5f5"
    ),
    IndicatorClass(
        value=_UNKNOWN,
        letters="unknown",
        label="(no category on record for the species of the set)",
        label_fr="(aucune catégorie connue pour les espèces de l'ensemble)",
        color="#b9c4d0",
    ),
    IndicatorClass(value=2, letters="NE", label="Not evaluated", label_fr="Non évaluée", color="#ffffff"),
    IndicatorClass(value=3, letters="DD", label="Data deficient", label_fr="Données insuffisantes", color="#d1d1c6"),
    IndicatorClass(value=4, letters="LC", label="Least concern", label_fr="Préoccupation mineure", color="#60c659"),
    IndicatorClass(value=5, letters="NT", label="Near threatened", label_fr="Quasi menacée", color="#cce226"),
    IndicatorClass(value=6, letters="VU", label="Vulnerable", label_fr="Vulnérable", color="#f9e814"),
    IndicatorClass(value=7, letters="EN", label="Endangered", label_fr="En danger", color="#fc7f3f"),
    IndicatorClass(value=8, letters="CR", label="Critically endangered", label_fr="En danger critique", color="#d81e05"),
    IndicatorClass(value=9, letters="EW", label="Extinct in the wild", label_fr="Éteinte à l'état sauvage", color="#542344"),
    IndicatorClass(value=10, letters="EX", label="Extinct", label_fr="Éteinte", color="#000000"),
)
"""Red List categories in the IUCN's own colours, best to worst; a species that counts for nothing first."""

_CODE_OF = {c.letters: c.value for c in reversed(IUCN_CLASSES) if c.value not in (_NONE, _UNKNOWN)}
_THREATENED = tuple(_CODE_OF[letters] for letters in ("CR", "EN", "VU"))
_AT_RISK = ("EX", "EW", "CR", "EN", "VU", "NT")
"""Categories whose probability is told one by one, worst first."""


def _worst_sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
    codes = categories(traits, "iucn", _CODE_OF, _UNKNOWN)
    found = {}
    for c in IUCN_CLASSES:
        if c.value != _NONE:
            weights = (codes == c.value).astype(np.float32)
            found[c.letters] = Sum(term="member", weights=weights)
            if c.letters in _AT_RISK:
                found[f"no {c.letters}"] = Sum(term="ln(1-p)", weights=weights)
    return found


def _worst(sums: Sums) -> tuple[Array, ...]:
    """The worst Red List category in the species set of a cell: EX, EW, CR, EN, VU, NT, LC, DD, NE.

    A species whose category is not known never hides a known one; a set of such species only is ``unknown``, an empty
    set ``none``. The band ``iucn_worst_unknown`` is the share of the set's species whose category is not known.

    ``iucn_worst_p`` is the probability that the mapped category is the worst of all species truly there, presences independent given
    the predictors: no species of a worse category, and one at least of this one; from LC down, that no species of NT or worse is there.
    A set may hold rare species whose probability is small: then so is this number, and the label is what could be there rather than what
    most likely is.
    """
    unknown = sums["unknown"]
    xp = array_namespace(unknown)
    worst, size, none_worse = xp.zeros_like(unknown), xp.zeros_like(unknown), xp.zeros_like(unknown)
    p = xp.zeros_like(unknown)
    for c in reversed(IUCN_CLASSES):  # worst first
        if c.value == _NONE:
            continue
        new = (sums[c.letters] > 0) & (worst == 0)
        worst = xp.where(new, float(c.value), worst)
        if c.letters in _AT_RISK:
            none = sums[f"no {c.letters}"]
            p = xp.where(new, xp.exp(none_worse) * -xp.expm1(none), p)
            none_worse = none_worse + none
        size = size + sums[c.letters]
    safe = worst < _CODE_OF["NT"]
    return worst, ratio(unknown, size), xp.where(safe, xp.exp(none_worse), p)


IUCN_WORST = Indicator(
    info=IndicatorInfo(
        id="iucn_worst",
        title="Worst Red List category",
        description="The most threatened category of the IUCN Red List among the species predicted to be present.",
        family="Conservation",
        unit="class",
        range=(float(IUCN_CLASSES[0].value), float(IUCN_CLASSES[-1].value)),
        direction="red = a critically endangered species is predicted",
        fr=Words(
            title="Pire catégorie de la Liste rouge",
            description="La catégorie la plus menacée de la Liste rouge de l'UICN parmi les espèces prédites présentes.",
            direction="rouge = une espèce en danger critique est prédite",
        ),
        classes=IUCN_CLASSES,
        storage=CLASS,
        unknown="iucn_worst_unknown",
        further=(Band(name="iucn_worst_p", title="Worst Red List category: probability that it is the one mapped"),),
        traits=("iucn",),
        needs_community=True,
    ),
    sums=_worst_sums,
    bands=_worst,
)


def _threatened_sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
    codes = categories(traits, "iucn", _CODE_OF, _UNKNOWN)
    listed, unknown = np.isin(codes, _THREATENED), codes == _UNKNOWN
    return {**MASS, "absence": Sum(term="ln(1-p)", weights=listed.astype(np.float32)), "unknown": Sum(weights=unknown.astype(np.float32))}


def _threatened(sums: Sums) -> tuple[Array, ...]:
    """Probability that at least one species listed as CR, EN or VU is present: 1 - product of (1 - p).

    Presences are taken as independent given the predictors. Species without a known category are left out, so it is a
    lower bound; ``threatened_unknown`` is their share of expected richness. Logarithms keep the many tiny p apart.
    """
    xp = array_namespace(sums["mass"])
    return -xp.expm1(sums["absence"]), ratio(sums["unknown"], sums["mass"])


THREATENED = Indicator(
    info=IndicatorInfo(
        id="threatened",
        title="Threatened species present",
        description="How likely it is that at least one vulnerable, endangered or critically endangered plant species grows here.",
        family="Conservation",
        unit="1",
        palette="magma",
        direction="pale yellow = a threatened species is almost certain",
        fr=Words(
            title="Présence d'espèces menacées",
            description="Probabilité qu'au moins une espèce vulnérable, en danger ou en danger critique pousse ici.",
            direction="jaune pâle = une espèce menacée est presque certaine",
        ),
        storage=PROPORTION,
        unknown="threatened_unknown",
        traits=("iucn",),
    ),
    sums=_threatened_sums,
    bands=_threatened,
)

EU_DIRECTIVE = group_richness(
    IndicatorInfo(
        id="eu_directive",
        title="Habitats Directive species",
        description="How many plant species of the EU Habitats Directive are expected in a plot of the stated area.",
        family="Conservation",
        unit="species",
        range=(0.0, 3.0),
        palette="cividis",
        direction="yellow = many protected species",
        fr=Words(
            title="Espèces de la directive Habitats",
            description="Combien d'espèces de plantes de la directive Habitats on attend dans une placette de la surface indiquée.",
            direction="jaune = beaucoup d'espèces protégées",
        ),
        storage=COUNT,
        uncertainty="eu_directive_sd",
        unknown="eu_directive_unknown",
        traits=("eu_directive",),
    )
)

RARE = group_richness(
    IndicatorInfo(
        id="rare",
        title="Rare species",
        description="How many plant species marked as rare are expected in a plot of the stated area.",
        family="Conservation",
        unit="species",
        range=(0.0, 3.0),
        palette="cividis",
        direction="yellow = many rare species",
        fr=Words(
            title="Espèces rares",
            description="Combien d'espèces de plantes signalées comme rares on attend dans une placette de la surface indiquée.",
            direction="jaune = beaucoup d'espèces rares",
        ),
        storage=COUNT,
        uncertainty="rare_sd",
        unknown="rare_unknown",
        traits=("rare",),
    )
)
