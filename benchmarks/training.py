"""Memory and time of a training step by number of species: all species at once, in blocks, and by a sample, side by side."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import lightning_fabric  # noqa: F401  (its memory is not the training's)
import numpy as np
import pandas as pd
from scipy import sparse

from benchmarks.rows import Row, main
from geoplantnet.cubes import TablePatches
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.sites import Sites
from geoplantnet.sdm.train import Step, TrainingPlan, train
from geoplantnet.taxonomy import SpeciesList, Taxon

BATCH, LATENT, BLOCK, SAMPLE = 128, 256, 4096, 1000


def a_world(species: int, batches: int) -> Sites:
    """Plots with 20 species and records with one, predictors of one table: what is measured is the species axis."""
    rng = np.random.default_rng(0)
    n = 2 * BATCH * batches
    plot = np.arange(n) < n // 2
    counts = np.where(plot, min(20, species), 1)
    labels = sparse.coo_array(
        (np.ones(counts.sum(), np.uint8), (np.repeat(np.arange(n), counts), rng.integers(species, size=counts.sum())))
    )
    taxa = [Taxon(taxon_id=f"s{i}", scientific_name=f"Species {i}", genus=f"g{i // 8}", family=f"f{i // 100}") for i in range(species)]
    labels.resize((n, species))
    found = labels.tocsr()
    found.data[:] = 1
    return Sites(
        species=SpeciesList(checklist="benchmark", taxa=tuple(taxa)),
        patches=TablePatches(pd.DataFrame(rng.normal(size=(n, 16))).add_prefix("v"), {"table": tuple(f"v{i}" for i in range(16))}),
        labels=sparse.csr_array(found),
        presence_absence=plot,
        group=plot.astype(np.int64),
        xy=np.zeros((n, 2)),
    )


def memory(of: str) -> float:
    """MB this process holds (`VmRSS`) or has held at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(of)) / 1024


def step(species: int, block: int, sampled: int | None, batches: int) -> tuple[float, float]:
    """Seconds of CPU a batch (median, without the first) and MB a training grows by; in a process that did nothing before."""
    sites = a_world(species, batches)
    before = memory("VmRSS")
    times = [time.process_time()]
    train(
        sites,
        rows=np.arange(len(sites)),
        grid=TileGrid(),
        architecture=Architecture(width=32, latent=LATENT),
        plan=TrainingPlan(
            steps=(Step(name="both", epochs=1, pa=1.0, po=1.0),),
            batch=BATCH,
            threads=1,
            accelerator="cpu",
            species_block=block,
            sampled_species=sampled,
        ),
        progress=lambda done, total, message: times.append(time.process_time()),
    )
    return float(np.median(np.diff(times)[1:])), memory("VmHWM") - before


def apart(species: int, block: int, sampled: int | None, batches: int) -> tuple[float, float]:
    """`step` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(step, species, block, sampled, batches).result()


def measure(quick: bool) -> list[Row]:
    """200 and 2,000 species (quick), then 10,000 and 50,000."""
    rows = []
    for species in (200, 2_000) if quick else (200, 2_000, 10_000, 50_000):
        batches = 6 if species > 2_000 else 12
        whole, most = apart(species, species, None, batches)
        blocks, less = apart(species, BLOCK, None, batches)
        sample, least = apart(species, BLOCK, SAMPLE, batches)
        what = f"{species:,} species, batch {BATCH} + {BATCH}, latent {LATENT}"
        rows += [
            Row(name=f"training step, {what}", value=1e3 * blocks, unit="ms of one core", reference=f"blocks of {BLOCK:,}; all at once {1e3 * whole:,.0f}; {SAMPLE:,} sampled species {1e3 * sample:,.0f}"),
            Row(name=f"memory of training, {what}", value=less, unit="MB", reference=f"blocks of {BLOCK:,}, weights, gradients and moments included; all at once {most:,.0f}; {SAMPLE:,} sampled species {least:,.0f}", target="<= 6144", ok=less <= 6144),
        ]  # fmt: skip
    return rows


if __name__ == "__main__":
    main(measure)
