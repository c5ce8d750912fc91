"""What a map of Europe costs: the tables of docs/europe.md, from measured figures, the sums of `--dry-run`, and stated prices.

python -m benchmarks.europe [--tiles 16000] [--species 10000] [--networks 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geoplantnet.indicators import INDICATORS
from pipelines import costs
from pipelines.context import CubeRun
from pipelines.estimate import BYTES_A_SECOND, Estimate, StacSection, by_arithmetic, bytes_of_scenes

DECODED = 90e6
"""Bytes of pixels that a core finds, decodes, harmonises and composes in a second: docs/benchmarks.md, cubes."""
CELLS, WIDTH, IMAGE_WIDTH, LATENT = 250_000, 256, 128, 256
BY_PATCH, PATCH_BYTES, SEED_BYTES = 83, 129 * 129 * 4 * 2, 1_050e6
"""ResNet-18 on patches: cells a second and core; bytes of a patch; bytes of a tile in the seed system: docs/benchmarks.md, mapping."""
ON_GPU, PATCHES_ON_GPU = 0.5, 1_000
"""Not measured. Seconds of a GPU for encoders and pass of a tile, at a fiftieth of a core's; patches a second that it is fed with."""
TRAINED = 450 * 256
"""Sites that configs/sdm/deep.yaml learns from: updates x plots and records of a batch."""
RAW = 0.65
"""Bytes that travel for a byte of pixels: imagery lies compressed in its catalog."""
READS = 32
"""Tasks that read over the network at once, on the whole cluster: what public catalogs bear, and configs/cluster asks for."""
TB_MONTH = 20.0
"""Euro for a terabyte on an object store or a shared file system, a month. An assumption."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Who does it, and at what price; all assumptions."""

    name: str
    cores: int
    memory: float
    """Bytes a core."""
    price: float
    """Euro a core and hour."""


MACHINES = (
    Machine(name="one machine of 64 cores, 512 GB, leased", cores=64, memory=8e9, price=0.01),
    Machine(name="a cluster of 10 nodes of 32 cores, 128 GB each", cores=320, memory=4e9, price=0.02),
    Machine(name="cloud, on demand, 500 cores of 8 GB", cores=500, memory=8e9, price=0.05),
    Machine(name="cloud, spot, 500 cores of 8 GB, a tenth done twice", cores=500, memory=8e9, price=0.05 * 0.35 * 1.1),
)


def cubes() -> list[tuple[Estimate, bool]]:
    """A tile's cube as configs/europe.yaml asks for it, by modality, and whether it is composed of satellite scenes."""
    run, found = CubeRun.open_cubes("europe"), []
    for m in run.modalities:
        section = run.recipe.modalities[m.name].source
        imagery = isinstance(section, StacSection)
        read = bytes_of_scenes(run.grid, m, section) if isinstance(section, StacSection) else None
        found.append((by_arithmetic(run.grid, m, read=read, remote=imagery), imagery))
    return found


def size_of(species: int, networks: int) -> costs.Size:
    """A tile of the plan."""
    network = costs.Network(width=WIDTH, latent=LATENT, image_width=IMAGE_WIDTH, visits=TRAINED)
    return costs.Size(
        cells=CELLS,
        species=species,
        images=1,
        cellwise=7,
        networks=(network,) * networks,
        indicators=len(INDICATORS),
        blocks=625,
        reporting=25,
    )


def stages(tiles: int, species: int, networks: int) -> list[tuple[str, Estimate, int]]:
    """(in words, one task, tasks) of every stage. Of imagery time is that of the benchmark, of all else the sums of `--dry-run`."""
    size, parts = size_of(species, networks), cubes()
    cpu = sum(e.read / DECODED if imagery else e.cpu_seconds for e, imagery in parts)
    read, written, memory = sum(e.read for e, _ in parts), sum(e.written for e, _ in parts), max(e.memory for e, _ in parts)
    cube = Estimate(name="cubes", read=read, written=written, cpu_seconds=cpu, memory=memory)
    return [
        ("cubes: 8 modalities", cube, tiles),
        (f"train: {networks} network{'s' * (networks > 1)}, 5 folds and all", costs.training(size, rounds=6, threads=1), 1),
        ("map: latent tiles", costs.mapping(size), tiles),
        (f"indicators: {size.indicators}, and species sets", costs.indicators(size), tiles),
        ("publish: coverage, relief, items", costs.publishing(size, rasters=False), tiles),
        ("catalog", costs.cataloguing(size, tiles), 1),
    ]


def cost_table(found: Sequence[tuple[str, Estimate, int]], size: costs.Size) -> Iterator[str]:
    """A line a stage: a task, and all of them; and what rasters of all species would add."""
    yield "| stage | CPU-s a tile | MB a tile | GB a worker | CPU-hours | TB stored |"
    yield "|---|---|---|---|---|---|"
    for words, e, tasks in found:
        each = [f"{e.cpu_seconds:,.0f}", f"{e.written / 1e6:,.0f}"] if tasks > 1 else ["", ""]
        yield f"| {words} | {' | '.join(each)} | {e.memory / 1e9:.1f} | {_hours(e.cpu_seconds * tasks)} | {e.written * tasks / 1e12:.2f} |"
    hours, stored = _sums(found)
    yield f"| **all** | | | | **{hours:,.0f}** | **{stored:.1f}** |"
    tiles, rasters, without = found[0][2], costs.publishing(size), costs.publishing(size, rasters=False)
    seconds, room = rasters.cpu_seconds - without.cpu_seconds, rasters.written - without.written
    added = [
        f"+{seconds:,.0f}",
        f"+{room / 1e6:,.0f}",
        f"{rasters.memory / 1e9:.1f}",
        f"+{seconds * tiles / 3600:,.0f}",
        f"+{room * tiles / 1e12:.1f}",
    ]
    yield f"| a raster of every species, too (`publish.species: true`) | {' | '.join(added)} |"


def price_table(found: Sequence[tuple[str, Estimate, int]]) -> Iterator[str]:
    """A line a machine: days and euro. A worker may take the memory of several cores, which then rest; while cubes are read as many
    cores are paid for as read.
    """
    yield "| machine (assumed price a core-hour) | days | of them cubes | of them `publish` | euro of computing | euro a month of storing |"
    yield "|---|---|---|---|---|---|"
    _, stored = _sums(found)
    for m in MACHINES:
        hours, paid = {}, 0.0
        for _, e, tasks in found:
            cores = m.cores / max(e.memory / m.memory, 1.0)
            hours[e.name], used = e.cpu_seconds * tasks / 3600 / cores, m.cores
            if e.name == "cubes":
                used = min(m.cores, READS)
                hours[e.name] = max(e.cpu_seconds * tasks / used, _travelled(e) * tasks / BYTES_A_SECOND / READS) / 3600
            elif tasks == 1:
                used = 1
                hours[e.name] = e.cpu_seconds / 3600 / used
            paid += hours[e.name] * used
        days = (f"{part / 24:.1f}" for part in (sum(hours.values()), hours["cubes"], hours["publish"]))
        yield f"| {m.name} ({m.price:.3f}) | {' | '.join(days)} | {_round(paid * m.price)} | {_round(stored * TB_MONTH)} |"


def _travelled(cube: Estimate) -> float:
    """Bytes of a tile that come over the network."""
    return RAW * cube.read


def other_tables(found: Sequence[tuple[str, Estimate, int]], tiles: int, species: int) -> Iterator[str]:
    """What is read, what a GPU would change, what the naive way takes."""
    by_name = {e.name: e for _, e, _ in found}
    mapped = by_name["map"].cpu_seconds + by_name["indicators"].cpu_seconds
    on_gpu = CELLS * (costs.IMAGE_CELL + 7 * costs.CELLWISE_CELL + costs.PASS * species)
    cells = tiles * CELLS
    yield "| figure | value |"
    yield "|---|---|"
    pixels, travelled = by_name["cubes"].read * tiles, _travelled(by_name["cubes"]) * tiles
    yield f"| pixels read from catalogs | {pixels / 1e12:,.0f} TB, of which some {travelled / 1e12:,.0f} TB travel (compressed, assumed {RAW:g}) |"
    yield f"| days of reading, {READS} tasks at once of {BYTES_A_SECOND / 1e6:.0f} MB/s each (assumed) | {travelled / BYTES_A_SECOND / READS / 86_400:.1f} |"
    yield f"| map and indicators on processors | {mapped * tiles / 3600:,.0f} CPU-hours |"
    yield f"| of them what a GPU could take over (estimate) | {on_gpu * tiles / 3600:,.0f} CPU-hours, for {ON_GPU * tiles / 3600:,.0f} GPU-hours; {(mapped - on_gpu) * tiles / 3600:,.0f} CPU-hours stay |"
    yield f"| by patches: ResNet-18 on Sentinel-2 alone, a patch a cell | {cells / BY_PATCH / 3600:,.0f} CPU-hours, or {cells / PATCHES_ON_GPU / 86_400:,.0f} days of a GPU at {PATCHES_ON_GPU:,} patches a second (estimate) |"
    yield f"| by patches: pixels cut | {cells * PATCH_BYTES / 1e12:,.0f} TB |"
    yield f"| the seed system's rasters | {SEED_BYTES * tiles / 1e12:.1f} TB; latent tiles, species sets and indicators: {(by_name['map'].written + by_name['indicators'].written) * tiles / 1e12:.1f} TB |"


def _sums(found: Sequence[tuple[str, Estimate, int]]) -> tuple[float, float]:
    """CPU hours and terabytes."""
    return sum(e.cpu_seconds * n for _, e, n in found) / 3600, sum(e.written * n for _, e, n in found) / 1e12


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.{0 if seconds > 36_000 else 1}f}"


def _round(euro: float) -> str:
    """Two digits: nobody knows more."""
    return f"{float(f'{euro:.2g}'):,.0f}"


def tables(tiles: int = 16_000, species: int = 10_000, networks: int = 1) -> list[str]:
    """All three, as lines of Markdown."""
    found = stages(tiles, species, networks)
    return [*cost_table(found, size_of(species, networks)), "", *price_table(found), "", *other_tables(found, tiles, species)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("tiles", 16_000), ("species", 10_000), ("networks", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    print("\n".join(tables(**vars(parser.parse_args()))))
