"""What the community is made of: expected numbers and shares of trait groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from array_api_compat import array_namespace

from geoplantnet.assemblages.blocks import Array
from geoplantnet.assemblages.sums import Sum
from geoplantnet.indicators.indicator import (
    COUNT,
    MASS,
    PROPORTION,
    Indicator,
    IndicatorInfo,
    Storage,
    Sums,
    Words,
    flagged,
    numbers,
    ratio,
)


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
        fr=Words(
            title="Part des espèces ligneuses",
            description="Quelle part des espèces attendues sont des arbres, des arbustes ou des sous-arbrisseaux, parmi celles dont le port est connu.",
            direction="vert foncé = surtout des ligneuses",
        ),
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
        fr=Words(
            title="Richesse en espèces d'arbres",
            description="Combien d'espèces d'arbres on attend dans une placette de la surface indiquée.",
            direction="vert foncé = beaucoup d'espèces d'arbres",
        ),
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
        fr=Words(
            title="Espèces envahissantes",
            description="À combien d'espèces exotiques envahissantes le lieu convient. Convenir ne veut pas dire qu'elles sont arrivées.",
            direction="jaune pâle = convient à beaucoup d'envahissantes",
        ),
        storage=COUNT,
        uncertainty="invasives_sd",
        unknown="invasives_unknown",
        traits=("invasive",),
    )
)


def _endemism_sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
    squares = numbers(traits, "range_squares")
    known = squares > 0
    narrow = np.where(known, 1 / np.where(known, squares, 1), 0).astype(np.float32)
    return {
        **MASS,
        "narrow": Sum(weights=narrow),
        "variance": Sum(term="p(1-p)", weights=narrow**2),
        "unknown": Sum(weights=(~known).astype(np.float32)),
    }


def _endemism(sums: Sums) -> tuple[Array, ...]:
    """Weighted endemism: sum of p / range, the range in squares that hold records of the species; with its standard deviation.

    Every species gives one in all, spread over its range, so a cell of many species that live nowhere else stands out. Source: Crisp,
    Laffan, Linder & Monro 2001, J. Biogeogr. 28: 183-198, with expected presence in the place of presence.
    """
    return sums["narrow"], sums["variance"] ** 0.5, ratio(sums["unknown"], sums["mass"])


ENDEMISM = Indicator(
    info=IndicatorInfo(
        id="endemism",
        title="Weighted endemism",
        description="How much the place counts for species of small range: each expected species weighs one over the number of 10 km squares "
        "with records of it. Ranges are those of the records at hand, not of the world.",
        family="Conservation",
        unit="1",
        range=(0.0, 1.0),
        palette="magma",
        direction="pale yellow = many species that live in few places",
        fr=Words(
            title="Endémisme pondéré",
            description="Combien le lieu compte pour les espèces à petite aire : chaque espèce attendue pèse un, divisé par le nombre de carrés "
            "de 10 km où elle est notée. Les aires sont celles des relevés disponibles, pas celles du monde.",
            direction="jaune pâle = beaucoup d'espèces qui ne vivent qu'en peu de lieux",
        ),
        storage=Storage(dtype="uint16", scale=0.0005, nodata=65_535),
        uncertainty="endemism_sd",
        unknown="endemism_unknown",
        traits=("range_squares",),
    ),
    sums=_endemism_sums,
    bands=_endemism,
)


def _specialisation_sums(traits: pd.DataFrame) -> Mapping[str, Sum]:
    degree = numbers(traits, "specialisation", highest=1.0)
    known = ~np.isnan(degree)
    s, one = np.where(known, degree, 0).astype(np.float32), known.astype(np.float32)
    return {
        **MASS,
        "known": Sum(weights=one),
        "degree": Sum(weights=s),
        "variance": Sum(term="p(1-p)", weights=one),
        "first": Sum(term="p(1-p)", weights=s),
        "second": Sum(term="p(1-p)", weights=s**2),
        "unknown": Sum(weights=1 - one),
    }


def _specialisation(sums: Sums) -> tuple[Array, ...]:
    """Community specialisation: mean specialisation of the species, weighted by p; NaN where none is known.

    Source: the community specialisation index of Devictor, Julliard, Clavel, Jiguet, Lee & Couvet 2008, Global Ecol. Biogeogr. 17: 252-261.
    Standard deviation by the delta method: sum over known species of p (1 - p) (s - mean)^2 / K^2 with K = sum of p.
    """
    xp = array_namespace(sums["mass"])
    mean = ratio(sums["degree"], sums["known"])
    variance = ratio(sums["second"] - 2 * mean * sums["first"] + mean**2 * sums["variance"], sums["known"] ** 2)
    return mean, xp.minimum(xp.clip(variance, min=0.0), mean * (1 - mean)) ** 0.5, ratio(sums["unknown"], sums["mass"])


SPECIALISATION = Indicator(
    info=IndicatorInfo(
        id="specialisation",
        title="Community specialisation",
        description="Whether the place suits specialists or species that grow in many kinds of places. 1 is the narrowest species of the "
        "list, 0 the widest, told by how unlike the plots are that it was found in.",
        family="Ecosystem",
        unit="1",
        palette="viridis",
        direction="yellow = specialists",
        fr=Words(
            title="Spécialisation de la communauté",
            description="Si le lieu convient à des spécialistes ou à des espèces qui poussent un peu partout. 1 est l'espèce la plus étroite de la "
            "liste, 0 la plus large, selon la dissemblance des placettes où on l'a trouvée.",
            direction="jaune = spécialistes",
        ),
        storage=PROPORTION,
        uncertainty="specialisation_sd",
        unknown="specialisation_unknown",
        traits=("specialisation",),
        needs_community=True,
    ),
    sums=_specialisation_sums,
    bands=_specialisation,
)
