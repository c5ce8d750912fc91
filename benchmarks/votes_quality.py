"""Trusted queries and the crawl filter at length: records a second with every check on, memory, and what a calibrated 0.95 is worth."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from datetime import date

import numpy as np
import pandas as pd
import shapely
from scipy.special import expit, logit

from benchmarks.rows import Row, main
from geoplantnet.identify.calibration import fit_calibration
from geoplantnet.identify.crawl import CandidatePage, filter_crawl
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.quality import TrustRules, trusted
from geoplantnet.identify.records import FLAGS, NUMBERS, RECORD_COLUMNS, TEXT
from geoplantnet.identify.regions import countries

SPECIES = 11_000
CHUNK = 50_000
EUROPE = (-9.0, 36.0, 30.0, 60.0)


def records(n: int, seed: int = 0) -> Iterator[pd.DataFrame]:
    """Chunks of records over Europe, one in five with a fault."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, CHUNK):
        m = min(CHUNK, n - start)
        taxon = (SPECIES * rng.random(m) ** 3).astype(int)
        label = np.array([f"genus epithet-{k}" for k in range(SPECIES)], object)
        day = pd.to_datetime("2015-01-01") + pd.to_timedelta(rng.integers(0, 4_000, m), "D")
        table = pd.DataFrame({column: np.full(m, "", object) for column in TEXT})
        table = table.assign(
            occurrenceID=[f"{start + i:09d}" for i in range(m)],
            recordedByID=[f"u{k}" for k in rng.integers(0, 100_000, m)],
            eventDate=day.strftime("%Y-%m-%d").to_numpy(object),
            datasetID="app",
            taxonID=label[taxon],
            ai_taxonID=np.where(rng.random(m) < 0.8, label[taxon], label[0]),
            ai_model="m 1",
            images=[f"{value:064x}" for value in range(start, start + m)],
            decimalLongitude=rng.uniform(EUROPE[0], EUROPE[2], m),
            decimalLatitude=rng.uniform(EUROPE[1], EUROPE[3], m),
            coordinateUncertaintyInMeters=rng.lognormal(3, 1.5, m),
            determinations=rng.integers(1, 6, m).astype(float),
            ai_score=rng.beta(3, 1, m),
            malformed=np.where(rng.random(m) < 0.02, 0.8, 0.0),
            not_a_plant=np.where(rng.random(m) < 0.02, 0.8, 0.0),
            cultivated=np.where(rng.random(m) < 0.05, 0.8, 0.0),
            valid=rng.random(m) < 0.8,
            **dict.fromkeys(("confidence", "agreement", "quality"), 0.5),
        )
        yield table[list(RECORD_COLUMNS)].astype({**dict.fromkeys(NUMBERS, float), **dict.fromkeys(FLAGS, bool)})


def rows(quick: bool) -> list[Row]:
    """The figures."""
    n = 200_000 if quick else 1_000_000
    rng = np.random.default_rng(1)
    world = countries()
    europe = [code for code in world.codes if world[code].intersects(shapely.box(*EUROPE))]
    checklists = pd.concat(
        pd.DataFrame(
            {"region": code, "taxonID": [f"genus epithet-{k}" for k in np.flatnonzero(rng.random(SPECIES) < 0.7)], "status": "native"}
        )
        for code in europe
    )
    truth = rng.beta(2, 0.7, 20_000)
    outcome = rng.random(20_000) < truth
    sure = expit(2.5 * logit(truth))
    calibration = fit_calibration("m 1", sure[:10_000], outcome[:10_000])
    query = trusted(
        records(n),
        TrustRules(),
        calibrations={"m 1": calibration},
        floras=Floras(checklists=checklists, regions=world),
        land=world,
        centroids=world.centroids,
        today=date(2026, 6, 1),
    )
    made = time.process_time()
    for _ in records(n):
        pass
    made = time.process_time() - made
    spent = time.process_time()
    for _ in query:
        pass
    spent = time.process_time() - spent - made
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pages = [
        CandidatePage(
            url=f"https://{i % 97}.org/{i}",
            title=f"Quercus robur {i}",
            caption="",
            text="an oak. " * 200,
            image=str(i),
            species="Quercus robur",
        )
        for i in range(2_000)
    ]
    crawled = time.process_time()
    filter_crawl(pages, ["Quercus robur"], known=["Quercus petraea"])
    crawled = time.process_time() - crawled
    new, right = sure[10_000:], outcome[10_000:]
    trusts, before = right[calibration.apply(new) > 0.95].mean(), right[new > 0.95].mean()
    return [
        Row(
            name=f"trusted query of {n:,} records, every check",
            value=spent,
            unit="CPU-s",
            reference=f"{query.kept / n:.1%} kept, the others under {len(query.counts)} reasons",
            target="< 60 a million",
            ok=spent < 60 * n / 1e6,
        ),
        Row(name="its memory, peak of the process", value=peak, unit="GiB", reference="", target="< 2", ok=peak < 2),
        Row(
            name="right of a model's calibrated scores above 0.95, other records",
            value=float(trusts),
            unit="",
            reference=f"{before:.3f} of its scores as they are; calibration error {calibration.ece_before:.3f}, then {calibration.ece_after:.3f}",
            target="> 0.95",
            ok=bool(trusts > 0.95),
        ),
        Row(name="crawl filter, pages of 1,600 letters", value=len(pages) / crawled, unit="pages/CPU-s", reference=""),
    ]


if __name__ == "__main__":
    main(rows)
