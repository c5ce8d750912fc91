"""Virtual species: plants that never grew, whose probability of occurrence is known everywhere.

Virtual species are how methods of species distribution modelling are tested against a truth (Hirzel, Helfer & Metral 2001,
Ecol. Model. 145:111; Meynard & Kaplan 2013, J. Biogeogr. 40:1; Duputie, Zimmermann & Chuine 2014, Glob. Ecol. Biogeogr.
23:457; Leroy et al. 2016, Ecography 39:599). Here the expected number of individuals on a plot is a product of a Gaussian
niche on seven gradients, of habitat, and of what neighbours of other groups help or hinder; a species is present with
probability 1 - exp(-expected number). Prevalences are log-normal: a few species are common, many are rare.

Three of the gradients (light under a forest's gaps, nutrients of grassland, reaction of the bedrock) are not in any
tabular predictor: they show in imagery only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar, overload

import numpy as np
import numpy.typing as npt
import pandas as pd
from odc.geo.geobox import GeoBox

from geoplantnet.errors import UsageError
from geoplantnet.sources.virtual import noise
from geoplantnet.sources.virtual.land_cover import CLASSES
from geoplantnet.sources.virtual.landscape import CELL, Layers, VirtualLandscape
from geoplantnet.sources.virtual.noise import Field, Pixels
from geoplantnet.sources.virtual.source import VirtualSource
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

GRADIENTS = ("temperature", "moisture", "light", "steepness", "heat", "reaction", "nutrients")
"""Axes of the niches, each scaled to about -2..2 over the landscape."""
DENSEST = 4.0
"""Individuals of a species on 100 m2, on average, where it does best: no rarity is spread so thick to reach its prevalence."""

_LOCK = threading.Lock()
_STRIP = 1 << 15
"""Cells worked at a time: small enough for a processor's cache."""


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Species that share a habitat."""

    name: str
    share: float
    """Of all species."""
    centre: tuple[float, ...]
    """Mean optimum on each of GRADIENTS."""
    spread: tuple[float, ...]
    """Standard deviation of optima among its species."""
    width: tuple[float, ...]
    """Mean niche width (standard deviation)."""
    habitat: dict[str, float]
    """Worth (0..1) of a cell full of a land-cover class; `riverside` and `roadside` count beside the classes."""
    common: float = 1.0
    """How much commoner than average its species are."""
    tree: float = 0.0
    """Share of trees among its species."""
    woody: float = 0.0
    """Share of shrubs and dwarf shrubs."""
    invasive: float = 0.0
    families: tuple[int, ...] = (1,)
    needs: dict[str, float] = field(default_factory=dict)
    """What a full cover of another group does to the log of its numbers: + helps (nurse plants), - competes."""


_GROUPS = (
    _Group(
        name="broadleaf forest", share=0.13, families=(1, 2), tree=0.4, woody=0.25, invasive=0.06,
        centre=(1.3, 0.1, -0.8, 0.3, 0.1, 0.0, 0.0), spread=(0.35, 0.6, 0.45, 0.5, 0.6, 0.9, 0.5), width=(0.77, 1.26, 0.63, 1.54, 1.54, 1.4, 1.4),
        habitat={"broadleaf_forest": 1.0, "conifer_forest": 0.2, "village": 0.05, "meadow": 0.05, "riverside": 0.1},
    ),
    _Group(
        name="montane conifer forest", share=0.14, families=(3, 2), tree=0.25, woody=0.25,
        centre=(0.3, 0.3, -0.9, 0.3, -0.1, -0.2, -0.1), spread=(0.45, 0.6, 0.5, 0.5, 0.6, 0.9, 0.4), width=(0.84, 1.26, 0.63, 1.54, 1.54, 1.4, 1.4),
        habitat={"conifer_forest": 1.0, "broadleaf_forest": 0.25, "shrub": 0.25, "meadow": 0.04, "rock": 0.03},
        needs={"broadleaf forest": -0.8},
    ),
    _Group(
        name="subalpine scrub", share=0.08, families=(4,), tree=0.1, woody=0.75,
        centre=(-0.35, 0.2, 0.3, 0.3, 0.0, -0.3, -0.3), spread=(0.25, 0.5, 0.5, 0.5, 0.7, 0.8, 0.3), width=(0.63, 1.26, 0.84, 1.54, 1.68, 1.4, 1.4),
        habitat={"shrub": 1.0, "alpine_meadow": 0.4, "conifer_forest": 0.4, "scree": 0.1, "rock": 0.08, "meadow": 0.1},
        needs={"montane conifer forest": 0.6},
    ),
    _Group(
        name="alpine meadow", share=0.19, common=2.2, families=(5, 6, 7), woody=0.05,
        centre=(-0.8, 0.3, 1.0, 0.2, 0.0, 0.0, -0.1), spread=(0.35, 0.6, 0.2, 0.5, 0.7, 1.0, 0.7), width=(0.77, 1.26, 0.84, 1.54, 1.54, 1.26, 0.98),
        habitat={"alpine_meadow": 1.0, "shrub": 0.25, "scree": 0.2, "meadow": 0.25, "rock": 0.1},
        needs={"subalpine scrub": -1.0},
    ),
    _Group(
        name="nival scree", share=0.10, common=0.8, families=(8, 5), woody=0.05,
        centre=(-1.7, 0.5, 1.0, 0.8, 0.0, 0.1, -0.4), spread=(0.4, 0.6, 0.1, 0.5, 0.7, 1.1, 0.2), width=(0.84, 1.4, 0.84, 1.68, 1.68, 1.12, 1.68),
        habitat={"scree": 1.0, "rock": 0.45, "alpine_meadow": 0.12},
        needs={"alpine meadow": -1.2},
    ),
    _Group(
        name="rock crevice", share=0.07, common=0.6, families=(8,), woody=0.15,
        centre=(-0.3, 0.0, 0.8, 1.6, 0.1, 0.0, -0.4), spread=(0.9, 0.6, 0.3, 0.4, 0.8, 1.2, 0.2), width=(0.98, 1.4, 1.12, 1.4, 1.4, 0.98, 1.68),
        habitat={"rock": 1.0, "scree": 0.25},
        needs={"nival scree": 0.3},
    ),
    _Group(
        name="hay meadow", share=0.13, common=1.8, families=(7, 6, 9), invasive=0.06,
        centre=(0.9, 0.2, 1.0, -0.3, 0.0, 0.0, 0.4), spread=(0.45, 0.6, 0.2, 0.4, 0.5, 0.8, 0.9), width=(0.84, 1.26, 0.84, 1.4, 1.54, 1.54, 0.98),
        habitat={"meadow": 1.0, "alpine_meadow": 0.15, "cropland": 0.12, "village": 0.15, "roadside": 0.05},
        needs={"ruderal": -0.4},
    ),
    _Group(
        name="dry grassland", share=0.06, families=(9, 6), woody=0.2,
        centre=(1.2, -1.1, 0.9, 0.4, 0.9, 0.5, -0.6), spread=(0.35, 0.4, 0.2, 0.5, 0.4, 0.8, 0.5), width=(0.84, 0.98, 0.84, 1.4, 0.98, 1.12, 0.84),
        habitat={"meadow": 0.8, "rock": 0.25, "scree": 0.3, "broadleaf_forest": 0.05, "alpine_meadow": 0.1},
        needs={"hay meadow": -0.5},
    ),
    _Group(
        name="riparian", share=0.05, families=(10, 1), tree=0.3, woody=0.2, invasive=0.35,
        centre=(0.9, 1.0, 0.5, -0.6, -0.1, 0.0, 0.4), spread=(0.6, 0.4, 0.5, 0.3, 0.4, 0.7, 0.5), width=(0.98, 1.4, 1.12, 1.26, 1.54, 1.68, 1.4),
        habitat={"riverside": 1.0},
        needs={"hay meadow": -0.3},
    ),
    _Group(
        name="ruderal", share=0.05, families=(11, 9), tree=0.08, invasive=0.55,
        centre=(1.4, -0.1, 0.9, -0.6, 0.2, 0.2, 1.1), spread=(0.35, 0.5, 0.3, 0.3, 0.5, 0.6, 0.5), width=(0.84, 1.4, 0.98, 1.26, 1.68, 1.82, 1.12),
        habitat={"village": 0.9, "cropland": 1.0, "roadside": 0.6, "meadow": 0.06},
        needs={"broadleaf forest": -0.6},
    ),
)  # fmt: skip
_SIDES = ("riverside", "roadside")


@dataclass(frozen=True, kw_only=True)
class VirtualSpecies:
    """Virtual species living in a virtual landscape. A small frozen value; make it with `generate`."""

    landscape: VirtualLandscape
    n: int
    """Number of species."""
    seed: int
    plot_area: float = 100.0
    """Square metres that probabilities refer to: the chance that a plot of this size, laid anywhere in the cell, holds the species."""

    @classmethod
    def generate(cls, n: int = 160, *, landscape: VirtualLandscape, seed: int, plot_area: float = 100.0) -> VirtualSpecies:
        """`n` virtual species with niches drawn from `seed`, each calibrated to its prevalence in the landscape.

        Raises UsageError for n < 1 or an area outside (0, 2500] m2 (a plot larger than a cell).
        """
        if n < 1:
            raise UsageError(f"a virtual world needs at least one species, got n = {n}")
        if not 0 < plot_area <= CELL**2:
            raise UsageError(f"plot_area must lie in (0, {CELL**2}] m2 (no larger than a cell), got {plot_area}")
        return cls(landscape=landscape, n=int(n), seed=int(seed), plot_area=float(plot_area))

    @property
    def species_list(self) -> SpeciesList:
        """The species axis; checklist "virtual", ids "v001"... Every name says that the species is virtual."""
        niches = self._niches
        width = max(3, len(str(self.n)))
        taxa = []
        for i, group in enumerate(niches.group):
            number = f"{i + 1:0{width}d}"
            taxa.append(
                Taxon(
                    taxon_id=f"v{number}",
                    scientific_name=f"Virtual species {number} ({_GROUPS[group].name})",
                    genus=f"Virtual genus {niches.genus[i]:02d}",
                    family=f"Virtual family {niches.family[i]:02d}",
                )
            )
        return SpeciesList(checklist="virtual", taxa=tuple(taxa))

    @property
    def traits(self) -> pd.DataFrame:
        """Made-up traits of the virtual species: tree, woody, invasive, eu_directive, rare (1, 0 or NaN), iucn (text or NaN).

        Index `taxon_id`. `rare` marks a prevalence below 1 %. None of it says anything about a real plant.
        """
        return _traits(self._niches, self.species_list, self.seed)

    @property
    def phenology(self) -> npt.NDArray[np.float64]:
        """When each species is noticed: the share of its records that fall in each month, (species, 12); rows sum to 1.

        A season (a normal curve around the year) around a day that comes later the colder the species' optimum is, beside a little all year
        round; trees and shrubs are known by their leaves too, so their season is long.
        """
        return _phenology(self._niches, self.traits, self.seed)

    @property
    def groups(self) -> tuple[str, ...]:
        """Name of each species' biotic group."""
        return tuple(_GROUPS[g].name for g in self._niches.group)

    @property
    def prevalence(self) -> npt.NDArray[np.float64]:
        """Mean probability of each species over the known cells of the landscape's bounds, (n,)."""
        return self._niches.prevalence

    @overload
    def true_probability(self, geobox: GeoBox) -> Field: ...
    @overload
    def true_probability(self, *, x: npt.ArrayLike, y: npt.ArrayLike) -> Field: ...
    def true_probability(self, geobox: GeoBox | None = None, *, x: npt.ArrayLike | None = None, y: npt.ArrayLike | None = None) -> Field:
        """True probability of presence on a plot of `plot_area`: float32, NaN where there is no relief.

        `true_probability(geobox)` gives (species, y, x); on coarser pixels the mean of the 50 m cells, on others bilinear.
        `true_probability(x=..., y=...)` gives (point, species) of the cells holding the points (EPSG:3035, metres). Raises
        UsageError for neither or both, and CrsError, RasterError or NoDataError as the virtual sources do.
        """
        truth = _VirtualTruth(self.landscape, self)
        if geobox is not None and x is None and y is None:
            return truth.read(geobox).values
        if geobox is None and x is not None and y is not None:
            return truth.at(pd.DataFrame({"x": np.ravel(x), "y": np.ravel(y)}))
        raise UsageError("true_probability takes either a GeoBox, or both x and y")

    @property
    def _niches(self) -> _Niches:
        with _LOCK:
            return _niches(self)


@dataclass(frozen=True, eq=False)
class _Niches:
    """Parameters of all species; arrays (species,) or (species, gradient)."""

    group: npt.NDArray[np.int64]
    genus: npt.NDArray[np.int64]
    family: npt.NDArray[np.int64]
    optimum: Field
    width: Field
    log_density: Field
    """Log of the expected individuals on 100 m2 at the optimum in full habitat."""
    prevalence: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _VirtualTruth(VirtualSource):
    """The true probability as a source, one band a species."""

    world: VirtualSpecies
    title: ClassVar[str] = "Virtual species: true probability"

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(str(i) for i in range(self.world.n))

    def _values(self, pixels: Pixels) -> Field:
        niches, layers = self.world._niches, self.landscape.layers
        out = np.empty((self.world.n, *pixels.shape), np.float32)
        rows = max(1, _STRIP // pixels.shape[-1]) if pixels.is_grid else pixels.shape[0]
        for top in range(0, pixels.shape[0], rows):
            part = slice(top, top + rows)
            strip = Pixels(CELL, pixels.cols, pixels.rows[part]) if pixels.is_grid else pixels
            _presence(niches, layers, strip, self.world.plot_area, out[:, part])
        return out


def _presence(niches: _Niches, layers: Layers, pixels: Pixels, area: float, out: Field) -> None:
    """Fill `out` (species, ...) with 1 - exp(-individuals on `area` m2)."""
    gradients, habitat = _environment(layers, pixels)
    for k in range(len(out)):
        individuals = _niche(gradients, niches.optimum[k], niches.width[k])
        individuals *= habitat[niches.group[k]]
        individuals *= -np.exp(niches.log_density[k]) * np.float32(area / 100)
        np.expm1(individuals, out=out[k])
        np.negative(out[k], out=out[k])


def _niche(gradients: Field, optimum: Field, width: Field) -> Field:
    """Gaussian response, 0..1: exp(-1/2 sum ((g - optimum) / width)^2)."""
    distance = np.zeros(gradients.shape[1:], np.float32)
    for g, o, w in zip(gradients, optimum, width):
        z = (g - o) * (np.float32(1) / w)
        z *= z
        distance += z
    distance *= np.float32(-0.5)
    return np.exp(distance, out=distance)


def _environment(layers: Layers, pixels: Pixels) -> tuple[Field, Field]:
    """Gradients (gradient, ...) and what each group finds of habitat and neighbours (group, ...), in 50 m `pixels`."""
    cells = layers.cells(pixels)
    cover = dict(zip(CLASSES, layers.land_cover(pixels)))
    forest = cover["conifer_forest"] + cover["broadleaf_forest"]
    openness, intensity = layers.openness[cells], layers.intensity[cells]
    terrain, climate = layers.terrain, layers.bioclim
    light = 1 - forest * (1 - np.float32(0.85) * openness)
    grass = cover["meadow"] + cover["alpine_meadow"]
    nutrients = grass * intensity + np.float32(0.9) * (cover["village"] + cover["cropland"]) + np.float32(0.35) * forest
    gradients = np.stack(
        [
            (climate["bio1"][cells] - np.float32(2.5)) / np.float32(4),
            np.log(climate["bio12"][cells] / np.float32(1_100)) / np.float32(0.5) + (terrain["twi"][cells] - np.float32(8)) / np.float32(4),
            (light - np.float32(0.55)) / np.float32(0.4),
            (terrain["slope"][cells] - np.float32(20)) / np.float32(15),
            (terrain["heat_load"][cells] - np.float32(0.72)) / np.float32(0.22),
            np.float32(3) * layers.carbonate[cells] - np.float32(1.5),
            (nutrients - np.float32(0.4)) / np.float32(0.3),
        ]
    ).astype(np.float32)
    # Where July barely thaws, above some 3,300 m, the season is too short for almost everything.
    season = 1 / (1 + np.exp((np.float32(1.5) - climate["tas07"][cells]) / np.float32(0.7)))
    plants = 1 - cover["glacier"] - cover["water"]
    cover["riverside"] = np.exp(layers.river_distance[cells] / np.float32(-70)) * plants
    cover["roadside"] = np.exp(layers.road_distance[cells] / np.float32(-50)) * plants
    habitat = np.stack([sum(np.float32(worth) * cover[name] for name, worth in group.habitat.items()) for group in _GROUPS])
    names = [group.name for group in _GROUPS]
    stand = np.stack(
        [
            h * np.exp(np.float32(-0.5) * np.square((gradients[0] - np.float32(g.centre[0])) / np.float32(0.8)))
            for h, g in zip(habitat, _GROUPS)
        ]
    )
    for i, group in enumerate(_GROUPS):
        for other, effect in group.needs.items():
            habitat[i] *= np.exp(np.float32(effect) * stand[names.index(other)])
    return gradients, np.minimum(habitat, 1) * season


@lru_cache(maxsize=8)
def _niches(world: VirtualSpecies) -> _Niches:
    rng = np.random.default_rng([world.seed, world.n])
    shares = np.array([group.share for group in _GROUPS])
    group = np.sort(
        np.searchsorted(np.cumsum(shares / shares.sum()), (np.arange(world.n) + rng.random()) / world.n, side="right").clip(
            max=len(_GROUPS) - 1
        )
    )
    group = rng.permutation(group)
    parameters = np.array([(g.centre, g.spread, g.width) for g in _GROUPS])[group]
    optimum = parameters[:, 0] + parameters[:, 1] * rng.standard_normal((world.n, len(GRADIENTS)))
    breadth = np.exp(0.35 * rng.standard_normal((world.n, 1)))  # from specialists to generalists
    width = parameters[:, 2] * breadth * np.exp(0.2 * rng.standard_normal((world.n, len(GRADIENTS))))
    common = np.array([g.common for g in _GROUPS])[group]
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / world.n) for i in range(world.n)])
    target = (0.06 * common * np.exp(1.5 * rng.permutation(quantiles))).clip(0.0005, 0.5)
    genus = group * 3 + 1 + rng.integers(0, 3, world.n)
    # A genus belongs to one family: its number decides which of the group's families that is.
    family = np.array([_GROUPS[g].families[(n - 1) % 3 % len(_GROUPS[g].families)] for g, n in zip(group, genus)])
    niches = _Niches(
        group, genus, family, optimum.astype(np.float32), width.astype(np.float32), np.zeros(world.n, np.float32), np.zeros(world.n)
    )
    return _calibrated(niches, world.landscape, target, world.plot_area)


def _calibrated(niches: _Niches, landscape: VirtualLandscape, target: npt.NDArray[np.float64], area: float) -> _Niches:
    """Niches with the density that gives each species its prevalence on 100 m2 plots, where `DENSEST` allows it."""
    individuals = _sampled_individuals(niches, landscape)
    best = individuals.max(axis=1)
    low, high = np.full(len(target), -30.0), np.log(DENSEST) - np.log(np.maximum(best, 1e-12))
    for _ in range(40):
        middle = (low + high) / 2
        reached = -np.expm1(-np.exp(middle)[:, None] * individuals).mean(axis=1)
        low, high = np.where(reached < target, middle, low), np.where(reached < target, high, middle)
    density = ((low + high) / 2).astype(np.float32)
    prevalence = -np.expm1(-np.exp(density.astype(float))[:, None] * individuals * (area / 100)).mean(axis=1)
    return _Niches(niches.group, niches.genus, niches.family, niches.optimum, niches.width, density, prevalence)


def _sampled_individuals(niches: _Niches, landscape: VirtualLandscape) -> npt.NDArray[np.float64]:
    """Unscaled individuals (species, cell) on a regular sample of some 6,000 known cells within the bounds."""
    layers = landscape.layers
    west, south, east, north = landscape.bounds
    step = max(1, round(((east - west) * (north - south) / CELL**2 / 6_000) ** 0.5)) * CELL
    x, y = np.meshgrid(np.arange(west + CELL / 2, east, step), np.arange(south + CELL / 2, north, step))
    pixels = Pixels.holding(CELL, x.ravel(), y.ravel())
    known = noise.nearest(layers.known, layers.origin, CELL, pixels)
    pixels = Pixels(CELL, pixels.cols[known], pixels.rows[known])
    gradients, habitat = _environment(layers, pixels)
    rows = [_niche(gradients, o, w) * habitat[g] for o, w, g in zip(niches.optimum, niches.width, niches.group)]
    return np.stack(rows).astype(np.float64)


def _phenology(niches: _Niches, traits: pd.DataFrame, seed: int) -> npt.NDArray[np.float64]:
    n = len(traits)
    rng = np.random.default_rng([seed, n, 2])
    # Mid-May for the warmest lowland species, early August next to the ice.
    peak = 180 - 22 * niches.optimum[:, GRADIENTS.index("temperature")] + 12 * rng.standard_normal(n)
    length = np.where(traits["woody"] == 1, 45, 22) * np.exp(0.25 * rng.standard_normal(n))
    middle = (np.arange(12) + 0.5) * 365 / 12
    away = (middle - peak[:, None] + 182.5) % 365 - 182.5
    noticed = 0.02 + np.exp(-0.5 * (away / length[:, None]) ** 2)
    return np.asarray(noticed / noticed.sum(axis=1, keepdims=True), np.float64)


def _traits(niches: _Niches, species: SpeciesList, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, niches.group.size, 1])
    n = len(species)
    groups = [_GROUPS[g] for g in niches.group]
    roll = rng.random((n, 5))
    tree = roll[:, 0] < [g.tree for g in groups]
    woody = tree | (roll[:, 1] < [g.woody for g in groups])
    invasive = roll[:, 2] < [g.invasive for g in groups]
    rarity = np.log10(niches.prevalence) + 0.35 * rng.standard_normal(n)
    category = np.array(["CR", "EN", "VU", "NT", "LC"])[np.searchsorted([-3.1, -2.7, -2.3, -1.9], rarity)].astype(object)
    category[invasive] = "LC"
    category[roll[:, 3] < 0.05] = "DD"
    directive = ~invasive & (rarity < -2.2) & (roll[:, 4] < 0.4)
    table = pd.DataFrame(
        {
            "tree": tree.astype(float),
            "woody": woody.astype(float),
            "invasive": invasive.astype(float),
            "eu_directive": directive.astype(float),
            "rare": (niches.prevalence < 0.01).astype(float),
            "iucn": category,
        },
        index=pd.Index([taxon.taxon_id for taxon in species], name="taxon_id"),
    )
    # As in real trait tables, some entries are unknown: empty, never zero.
    for column, share in (("invasive", 0.04), ("eu_directive", 0.06), ("iucn", 0.08)):
        table.loc[rng.random(n) < share, column] = np.nan
    return table
