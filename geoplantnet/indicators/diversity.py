"""How many species, and how evenly: richness and Shannon's index."""

from __future__ import annotations

from array_api_compat import array_namespace

from geoplantnet.assemblages.blocks import Array
from geoplantnet.assemblages.sums import Sum
from geoplantnet.indicators.indicator import MASS, Indicator, IndicatorInfo, Storage, Sums, Words


def _richness(sums: Sums) -> tuple[Array, ...]:
    """Sum of p, with standard deviation sqrt(sum of p (1 - p)).

    The size of a thresholded set is no richness: it depends on the threshold. The standard deviation takes presences as
    independent given the predictors (a Poisson-binomial number), so it is a lower bound of what is not known.
    """
    return sums["mass"], sums["variance"] ** 0.5


RICHNESS = Indicator(
    info=IndicatorInfo(
        id="richness",
        title="Species richness",
        description="How many plant species are expected in a plot of the stated area.",
        family="Ecosystem",
        unit="species",
        range=(0.0, 100.0),
        palette="viridis",
        direction="yellow = many species",
        fr=Words(
            title="Richesse spécifique",
            description="Combien d'espèces de plantes on attend dans une placette de la surface indiquée.",
            direction="jaune = beaucoup d'espèces",
        ),
        storage=Storage(dtype="uint16", scale=0.05, nodata=65_535),
        uncertainty="richness_sd",
    ),
    sums=lambda traits: {**MASS, "variance": Sum(term="p(1-p)")},
    bands=_richness,
)


def _shannon(sums: Sums) -> tuple[Array, ...]:
    """Shannon's index over expected shares: H = - sum of q ln q with q = p / sum of p; nats.

    In one pass: H = ln S - E / S with S = sum of p and E = sum of p ln p. 0 where no species is expected, as in vegan's
    `diversity`. Source: Shannon 1948, A mathematical theory of communication.

    Standard deviation by the delta method, presences independent given the predictors: dH/dp = - (ln p - E / S) / S, so that
    var H = sum of p (1 - p) (ln p - E / S)^2 / S^2.
    """
    mass = sums["mass"]
    xp = array_namespace(mass)
    some = xp.where(mass > 0, mass, 1.0)
    mean = sums["p ln p"] / some
    entropy = xp.clip(xp.log(some) - mean, min=0.0)
    variance = sums["second"] - 2 * mean * sums["first"] + mean**2 * sums["variance"]
    return xp.where(mass > 0, entropy, 0.0), xp.clip(variance, min=0.0) ** 0.5 / some


SHANNON = Indicator(
    info=IndicatorInfo(
        id="shannon",
        title="Shannon diversity",
        description="How diverse the plant community is: it grows with the number of species and with how evenly likely they are.",
        family="Ecosystem",
        unit="nat",
        range=(0.0, 6.0),
        palette="viridis",
        direction="yellow = diverse community",
        fr=Words(
            title="Diversité de Shannon",
            description="À quel point la communauté végétale est diverse : l'indice croît avec le nombre d'espèces et avec l'égalité de leurs probabilités.",
            direction="jaune = communauté diverse",
        ),
        storage=Storage(dtype="uint16", scale=0.0002, nodata=65_535),
        uncertainty="shannon_sd",
        needs_community=True,
    ),
    sums=lambda traits: {
        **MASS,
        "p ln p": Sum(term="p ln p"),
        "variance": Sum(term="p(1-p)"),
        "first": Sum(term="p(1-p) ln p"),
        "second": Sum(term="p(1-p) ln2 p"),
    },
    bands=_shannon,
)
