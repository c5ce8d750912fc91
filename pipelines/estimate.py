"""What cubes will cost: bytes read and written, processor and wall time, memory. From arithmetic, and from what tasks took so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Any

import numpy as np

from geoplantnet.config.recipe import LandsatStacSection, Sentinel2StacSection
from geoplantnet.cubes.modality import Modality
from geoplantnet.grid.tile_grid import TileGrid

StacSection = Sentinel2StacSection | LandsatStacSection

PROCESS = 450e6
"""Bytes of a worker process that has everything imported and works on nothing."""
COPIES = 3
"""A task holds its values as float32: what was read, the node, and what is compressed."""
PACKED = {"float32": 0.85}
"""Bytes on disk of a byte of values; integers shrink more."""
PACKED_INTEGERS = 0.65
AROUND = 15e3
"""Bytes of what describes the values: coordinates, validity, metadata."""
VALUES_A_SECOND = 6e6
"""Values read, brought onto the lattice, merged and compressed in a second of one processor (eight Sentinel-2 scenes of a tile: 35 s)."""
BYTES_A_SECOND = 10e6
"""Over the network, one task."""
A_TASK = 0.3
"""Seconds a task takes whatever its size: files opened, folders made, records synced to disk."""

SATELLITES = {"sentinel2-stac": (10.0, 5.0), "landsat-stac": (30.0, 8.0)}
"""Pixel in metres, and days after which a place is seen again (two satellites)."""
CLEAR_ENOUGH = 0.5
"""Share of scenes that stay where a limit to their cloud is set."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The cost of a number of tasks of one modality."""

    name: str
    due: int = 0
    done: int = 0
    quarantined: int = 0
    read: float = 0.0
    """Bytes."""
    written: float = 0.0
    """Bytes."""
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    """If one task came after the other."""
    memory: float = 0.0
    """Bytes a worker holds at most."""
    remote: bool = False
    measured: int = 0
    """Tasks of this modality measured in this store, on which time, output and memory rest; 0 = arithmetic."""
    missing: str = ""
    """Input files that are not there, in words; empty = none is known to be missing."""


def values_of(grid: TileGrid, modality: Modality) -> int:
    """Values of one tile, halo included."""
    side = round(grid.tile_size / modality.resolution) + 2 * modality.halo
    return side * side * len(modality.bands) * max(modality.times, 1)


def peak_memory(grid: TileGrid, modality: Modality) -> int:
    """Bytes a task of a modality needs at most."""
    return int(PROCESS + COPIES * 4 * values_of(grid, modality))


def scenes_of(modality: Modality, section: StacSection) -> float:
    """Scenes of a place that a composite is made from, as often as the satellites pass."""
    if modality.time is not None:
        spans = modality.time.periods
    else:
        assert section.start is not None and section.end is not None
        spans = ((section.start, section.end + timedelta(days=1)),)
    days = (start + timedelta(days=n) for start, end in spans for n in range((end - start).days))
    counted = sum(not section.months or day.month in section.months for day in days)
    return counted / SATELLITES[section.kind][1] * (1.0 if section.max_cloud is None else CLEAR_ENOUGH)


def bytes_of_scenes(grid: TileGrid, modality: Modality, section: StacSection) -> float:
    """What a composite of one tile reads: all bands (16 bits) and the mask (8 bits) of its scenes, in their own pixels."""
    side = (grid.tile_size + 2 * modality.halo * modality.resolution) / SATELLITES[section.kind][0]
    return scenes_of(modality, section) * side**2 * (2 * len(modality.bands) + 1)


def by_arithmetic(grid: TileGrid, modality: Modality, *, read: float | None, remote: bool) -> Estimate:
    """One task. `read`: bytes it reads; None = one stored value for each of the cube."""
    values, size = values_of(grid, modality), np.dtype(modality.dtype).itemsize
    inward = float(values * size if read is None else read)
    cpu = A_TASK + max(values, inward / size) / VALUES_A_SECOND
    return Estimate(
        name=modality.name,
        due=1,
        read=inward,
        written=AROUND + values * size * PACKED.get(modality.dtype, PACKED_INTEGERS),
        cpu_seconds=cpu,
        seconds=cpu + (inward / BYTES_A_SECOND if remote else 0),
        memory=peak_memory(grid, modality),
        remote=remote,
    )


def by_measure(one: Estimate, records: list[Any]) -> Estimate:
    """One task, as tasks of this modality were before."""
    if not records:
        return one
    return Estimate(
        name=one.name,
        due=1,
        read=one.read,
        written=fmean(max(o.bytes for o in r.outputs) for r in records),
        cpu_seconds=fmean(r.cpu_seconds for r in records),
        seconds=fmean(r.seconds for r in records),
        memory=max(r.peak_memory for r in records),
        remote=one.remote,
        measured=len(records),
    )


def times(one: Estimate, *, due: int, done: int, quarantined: int) -> Estimate:
    """So many tasks like one."""
    return Estimate(
        name=one.name,
        due=due,
        done=done,
        quarantined=quarantined,
        read=one.read * due,
        written=one.written * due,
        cpu_seconds=one.cpu_seconds * due,
        seconds=one.seconds * due,
        memory=one.memory if due else 0.0,
        remote=one.remote,
        measured=one.measured,
    )


def wall_seconds(estimates: list[Estimate], *, workers: int, reads_at_once: int) -> float:
    """With all workers busy, and no more than so many of them reading over the network."""
    remote = sum(e.seconds for e in estimates if e.remote)
    return max(sum(e.seconds for e in estimates) / workers, remote / min(workers, reads_at_once))


def rows(estimates: list[Estimate], *, workers: int, reads_at_once: int) -> Iterator[list[str]]:
    """A line a modality, and one for all: tasks due, done; read, CPU, wall, memory, written; known from what."""
    named = [(e.name, [e]) for e in estimates]
    for name, part in [*named, ("all", estimates)] if len(named) > 1 else named:
        measured = sum(e.measured for e in part)
        yield [
            name,
            *(f"{sum(getattr(e, what) for e in part):,}" for what in ("due", "done")),
            amount(sum(e.read for e in part)),
            duration(sum(e.cpu_seconds for e in part)),
            duration(wall_seconds(part, workers=workers, reads_at_once=reads_at_once)),
            amount(max(e.memory for e in part)),
            amount(sum(e.written for e in part)),
            f"{measured:,} done" if measured else "sums",
        ]


def amount(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def duration(seconds: float) -> str:
    """Seconds for people: hours, where there are any."""
    return f"{seconds:.0f} s" if seconds < 360 else f"{seconds / 3600:,.1f} h"
