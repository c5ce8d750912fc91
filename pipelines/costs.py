"""What the stages beside the cubes cost: processor time, memory and bytes of one task, as sums over cells, species and latent values.

The constants are fitted to docs/benchmarks.md (section mapping) and to runs of whole recipes, on one core with bfloat16 and with a
virtual landscape; they tell hours from weeks, and give way to what tasks of the store took (`measured`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, nan
from statistics import fmean
from typing import Any

from pipelines.estimate import A_TASK, Estimate

PROCESS = 1.1e9
"""Bytes of a worker process that has torch imported and works on nothing."""

IMAGE_CELL, CELLWISE_CELL = 7e-6, 4e-6
"""Seconds a cell takes to encode: a modality finer than the cells by IMAGE_WIDTH channels, any other by WIDTH (bfloat16; twice that and more in
32 bits)."""
IMAGE_WIDTH, WIDTH, IMAGE_POWER = 128, 256, 1.7
"""Widths of which that is so. The work of images grows with this power of theirs, that of others in proportion."""
LATENT_VALUE = 0.08e-6
"""Seconds a latent value takes to be quantised, compressed and written; how far a cell is from the plots learnt from is in it."""
LATENT_BYTES = 0.95
"""Bytes on disk of a latent value in 8 bits, of a weight of the head four times as many."""

PASS = 5e-9
"""Seconds a cell and species takes in the one pass over the species; an ensemble's members take as many passes again."""
PER_INDICATOR = 2e-6
"""Seconds a cell takes to be made an indicator, encoded and written."""
IN_A_SET, SET_SHARE, MEMBER_BYTES = 95, 0.2, 1.3
"""Species in a cell's set: a fifth of all, no more than so many; and the bytes of each."""
MEAN_BYTES = 1.6
"""Bytes of a mean of 1 km of one species."""
RASTER_BYTES = 0.9
"""Bytes of a cell of an indicator, with the bands that say how sure it is."""

COMPARE, COMPARE_BYTES = 5e-9, 5
"""Seconds a cell and species takes to be compared between two maps: twice half a pass, which makes sums of p and no sets; bytes of a cell."""

EXPORT = 80e-9
"""Seconds a cell and species takes to be exported as a band of a GeoTIFF, with overviews, statistics and what reads it back."""
EXPORT_BYTES, EXPORT_MEMORY = 0.2, 400e6
"""Bytes of it on disk, and of all bands together held while they are made, however many."""
AROUND_PUBLISHING = 2.0
"""Seconds of coverage, relief and the item of a tile."""
COVERAGE_BYTES = 30
"""Bytes of the coverage of one reporting cell (5 km) by one species."""
ITEM_BYTES = 270
"""Bytes of what a tile's STAC item says of one species' band."""

LINK_BYTES, LAYER_BYTES = 260, 700
"""Bytes of the collection: a tile, a layer."""
CHECK = 4e-6
"""Seconds the catalog takes to hold one layer against one band of one tile."""
OVERVIEW, OVERVIEW_BYTES = 0.012, 7_000
"""Seconds and bytes that a tile's share in the overview of one indicator takes."""
SPECIES_OVERVIEW, SPECIES_OVERVIEW_BYTES = 6e-6, 18
"""Those of its share in the overview of one species."""
A_SPECIES, A_SPECIES_BYTES = 0.3e-3, 200
"""Those of one species in that overview, however many tiles."""

VISIT, VISIT_SPECIES, VISIT_IMAGE = 0.1e-3, 31e-9, 0.16e-3
"""Seconds of training: a site each time it is learnt from, beside that a species, and an image modality and unit of width."""

AROUND_TRAINING = 5.0
"""Seconds of all that is done once beside it: records gathered, scores, where the model applies."""
ENCODER, SCORES = 45, 1e3
"""Weights of a network beside its head, in squares of its width; bytes a species of what is kept of held-out plots."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of the ensemble that maps."""

    width: int
    latent: int
    image_width: int
    """Inside the encoder of imagery."""
    visits: float = nan
    """How often its training learns from a site, in one round; NaN = not known."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What the cost of a tile depends on."""

    cells: int
    species: int
    images: int
    """Modalities finer than the cells."""
    cellwise: int
    """All other modalities of the model."""
    networks: tuple[Network, ...]
    """Those whose mean is mapped."""
    indicators: int
    blocks: int
    """Of 1 km."""
    reporting: int
    """Reporting cells of 5 km."""

    @property
    def latent(self) -> int:
        """Latent values of a cell: those of all networks side by side."""
        return sum(network.latent for network in self.networks)


def training(size: Size, *, rounds: int, threads: int) -> Estimate:
    """All trainings: `rounds` of every network. NaN seconds where nobody knows how many sites there are."""
    of_visit = [VISIT + VISIT_SPECIES * size.species + VISIT_IMAGE * size.images * n.image_width for n in size.networks]
    cpu = AROUND_TRAINING + rounds * sum(n.visits * seconds for n, seconds in zip(size.networks, of_visit))
    written = sum(4.0 * (size.species * n.latent + ENCODER * n.width**2) for n in size.networks) + SCORES * size.species + 200e3
    return Estimate(name="train", cpu_seconds=cpu, seconds=cpu / threads, memory=2 * PROCESS, written=written)


def mapping(size: Size) -> Estimate:
    """The networks over a tile, and its latent tile."""
    images = sum(IMAGE_CELL * size.images * (n.image_width / IMAGE_WIDTH) ** IMAGE_POWER for n in size.networks)
    encode = images + sum(CELLWISE_CELL * size.cellwise * n.width / WIDTH for n in size.networks)
    cpu = A_TASK + size.cells * (encode + LATENT_VALUE * size.latent)
    values = size.cells * size.latent
    return Estimate(
        name="map",
        cpu_seconds=cpu,
        seconds=cpu,
        memory=PROCESS + 16.0 * values,
        written=LATENT_BYTES * (values + 4 * size.species * size.latent) + 2 * size.cells,
    )


def indicators(size: Size) -> Estimate:
    """One pass over the species of a tile: species sets, means of 1 km, indicators."""
    members = len(size.networks)
    cpu = A_TASK + size.cells * (PASS * size.species * (1 + members * (members > 1)) + PER_INDICATOR * size.indicators)
    sets = size.cells * min(IN_A_SET, SET_SHARE * size.species) * MEMBER_BYTES
    return Estimate(
        name="indicators",
        cpu_seconds=cpu,
        seconds=cpu,
        memory=PROCESS + size.cells * (4.0 * size.latent + 16 * IN_A_SET + 100 * size.indicators),
        written=sets + MEAN_BYTES * size.blocks * size.species + RASTER_BYTES * size.cells * size.indicators,
    )


def changes(size: Size) -> Estimate:
    """One pass over the species of two latent tiles: gain, loss, turnover."""
    cpu = A_TASK + size.cells * COMPARE * size.species
    return Estimate(
        name="changes",
        cpu_seconds=cpu,
        seconds=cpu,
        memory=PROCESS + size.cells * (8.0 * size.latent + 100),
        written=float(COMPARE_BYTES * size.cells),
    )


def publishing(size: Size, *, rasters: bool = True) -> Estimate:
    """The coverage of reporting cells, the STAC item and, with `rasters`, a band a species."""
    bands = float(size.cells) * size.species * rasters
    cpu = A_TASK + AROUND_PUBLISHING + EXPORT * bands
    described = 110e3 + (ITEM_BYTES * rasters + COVERAGE_BYTES * size.reporting) * size.species
    return Estimate(
        name="publish",
        cpu_seconds=cpu,
        seconds=cpu,
        memory=PROCESS + size.cells * size.latent + EXPORT_MEMORY * rasters,
        written=EXPORT_BYTES * bands + 3 * size.cells + described,
    )


def cataloguing(size: Size, tiles: int) -> Estimate:
    """What ties the tiles together: a link each, a layer an indicator that is held against every tile, and the overviews."""
    cpu = A_TASK + tiles * (size.indicators * (CHECK + OVERVIEW) + size.species * SPECIES_OVERVIEW) + size.species * A_SPECIES
    overviews = tiles * (size.indicators * OVERVIEW_BYTES + size.species * SPECIES_OVERVIEW_BYTES)
    written = LINK_BYTES * tiles + LAYER_BYTES * size.indicators + A_SPECIES_BYTES * size.species + overviews
    return Estimate(name="catalog", cpu_seconds=cpu, seconds=cpu, memory=PROCESS, written=written)


def measured(one: Estimate, records: list[Any]) -> Estimate:
    """One task, as tasks of its stage were before; as it was estimated where there are none."""
    if not records:
        return one
    return replace(
        one,
        written=fmean(sum(o.bytes for o in r.outputs) for r in records),
        cpu_seconds=fmean(r.cpu_seconds for r in records),
        seconds=fmean(r.seconds for r in records),
        memory=max(r.peak_memory for r in records),
        measured=len(records),
    )


def visits(*, plots: float, records: float, steps: list[dict[str, Any]], batch: int) -> float:
    """How often one training learns from a site: (epochs, updates, pa, po) of its steps -> plots and as many records beside them.

    A step without plots passes over the records; one with `updates` ends after so many batches, if its epochs have not ended before.
    """
    total = 0.0
    for step in steps:
        with_plots, with_records = step.get("pa", 0.0) > 0, step.get("po", 0.0) > 0
        a_pass = plots * (1 + with_records) if with_plots else records
        batches = max(ceil((plots if with_plots else records) / batch), 1) if a_pass == a_pass else nan
        most = step.get("epochs") or inf
        total += a_pass * min(most, step["updates"] / batches if step.get("updates") else inf)
    return total
