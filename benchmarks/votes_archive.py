"""A million records leave as a Darwin Core Archive and come back: memory, speed, and what another reader says of it.

One record in a hundred is of a sensitive species. Each step runs in a process of its own, whose CPU time and peak memory are told. The rows:
writing, beside python-dwca-reader's pass over the same archive; reading, beside pandas' bare read of its table.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.rows import Row, main
from geoplantnet.identify.records import FLAGS, NUMBERS, RECORD_COLUMNS, TEXT

CHUNK = 50_000
SENSITIVE = 0.01
MOST_MEMORY = 1.0
"""GB of a process that writes, libraries and all."""


def records(n: int, seed: int = 0) -> Iterator[pd.DataFrame]:
    """N records in chunks: 11,000 species, 100,000 observers, one or two images, most validated by people, Europe's longitudes and latitudes."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        number = np.arange(start, start + size)
        species = np.where(rng.random(size) < SENSITIVE, 0, rng.integers(1, 11_000, size))
        observer = rng.integers(0, 100_000, size)
        table = {name: np.full(size, "", object) for name in TEXT} | {name: np.zeros(size) for name in NUMBERS}
        genus = [f"Genus{'abcdefghij'[s % 10]}" for s in species]
        names = [f"{g} species{_letters(s)}" for g, s in zip(genus, species, strict=True)]
        people = rng.random(size) < 0.7
        table |= {
            "occurrenceID": [f"https://example.org/observation/{i:09d}" for i in number],
            "recordedBy": [f"Observer {i}" for i in observer],
            "recordedByID": [f"u{i}" for i in observer],
            "eventDate": [f"20{10 + i % 15}-{1 + i % 12:02d}-{1 + i % 28:02d}T10:11:12Z" for i in number],
            "license": np.full(size, "http://creativecommons.org/licenses/by/4.0/legalcode", object),
            "rightsHolder": [f"Observer {i}" for i in observer],
            "decimalLatitude": rng.uniform(38, 65, size),
            "decimalLongitude": rng.uniform(-8, 28, size),
            "coordinateUncertaintyInMeters": rng.uniform(3, 300, size).round(1),
            "taxonID": [f"t{s}" for s in species],
            "scientificName": names,
            "verbatimScientificName": names,
            "genus": genus,
            "identifiedBy": np.where(people, [f"Observer {i}|Expert {i % 500}" for i in observer], ""),
            "valid": people,
            "confidence": rng.uniform(2, 9, size),
            "agreement": rng.uniform(0.7, 1, size),
            "determinations": np.where(people, 3.0, 0.0),
            "ai_taxonID": [f"t{s}" for s in species],
            "ai_model": np.full(size, "net 1.0", object),
            "ai_score": rng.uniform(0.951, 1, size),
            "organs": np.full(size, "flower|leaf", object),
            "images": [f"{i:064x}|{i + n:064x}" for i in number],
            "verification": np.where(people, "validated by people", "model above 0.95"),
        }
        frame = pd.DataFrame({name: table[name] for name in (*RECORD_COLUMNS, "verification")})
        yield frame.astype(dict.fromkeys(TEXT, object) | dict.fromkeys(FLAGS, bool))


def _letters(number: int) -> str:
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def write(path: Path, n: int) -> dict[str, Any]:
    """The export of n records -> seconds, and its books."""
    from geoplantnet.identify.export import CORE, Export, ExportRules, write_darwin_core
    from geoplantnet.identify.protection import Protection
    from geoplantnet.occurrences.archive import DatasetDescription
    from geoplantnet.taxonomy.sensitive import SensitiveRule

    rule = SensitiveRule(taxon="t0", region="", category="2", reason="rare", review=None, line=2)
    about = DatasetDescription(
        title="Benchmark", description="Made up.", organization="Ours", license="CC-BY-4.0", published=date(2026, 1, 2)
    )
    rules = ExportRules(license="l", rights_holder="Ours", dataset_name="Benchmark", images="https://example.org/{sha256}.jpg")
    export = Export(records(n), rules, protection=Protection(rules=(rule,), secret=b"0123456789abcdef"))
    making = time.process_time()
    for _ in records(n):
        pass
    start = time.process_time()
    written = write_darwin_core(path, export, about)
    took = time.process_time() - start - (start - making)  # less what the records cost to make up
    return {"seconds": took, "rows": written.rows[CORE.file], "generalised": export.report.generalised, "bytes": path.stat().st_size}


def by_another(path: Path, n: int) -> dict[str, Any]:
    """python-dwca-reader's pass over core and extensions -> seconds, records, and extension rows without a record."""
    from dwca.read import DwCAReader

    start = time.process_time()
    with DwCAReader(str(path)) as archive:
        ids = {row.id for row in archive}
        of_extensions = [own for table in archive.extension_files for (own,) in table.iter_terms(["coreid"])]
        assert archive.metadata is not None
    return {"seconds": time.process_time() - start, "rows": len(ids), "orphans": sum(own not in ids for own in of_extensions)}


def read_back(path: Path, n: int) -> dict[str, Any]:
    """Our reader -> seconds, events kept."""
    from geoplantnet.occurrences.archive import read_archive

    start = time.process_time()
    found = read_archive(path, dataset_id="benchmark")
    return {"seconds": time.process_time() - start, "rows": len(found.occurrences), "refused": int(found.rejections["count"].sum())}


def by_pandas(path: Path, n: int) -> dict[str, Any]:
    """The core as text, no more."""
    import zipfile

    start = time.process_time()
    with zipfile.ZipFile(path) as archive, archive.open("occurrence.txt") as stream:
        rows = pd.read_csv(stream, sep="\t", dtype=str, keep_default_na=False, quoting=3)
    return {"seconds": time.process_time() - start, "rows": len(rows)}


def alone(step: Callable[[Path, int], dict[str, Any]], path: Path, n: int) -> dict[str, Any]:
    """A step in a process of its own -> what it gives, and its peak memory in GB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_step, args=(theirs, step, path, n))
    process.start()
    theirs.close()
    try:
        told: dict[str, Any] = json.loads(ours.recv())
    finally:
        process.join()
    return told


def _step(answer: Any, step: Callable[[Path, int], dict[str, Any]], path: Path, n: int) -> None:
    told = step(path, n)
    answer.send(json.dumps(told | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}))


def rows(quick: bool) -> list[Row]:
    """The figures; `quick` takes 50,000 records."""
    n = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.zip"
        wrote, few = alone(write, path, n), alone(write, path.with_name("few.zip"), n // 10)
        other, back, bare = (alone(step, path, n) for step in (by_another, read_back, by_pandas))
    issues = abs(other["rows"] - wrote["rows"]) + other["orphans"]
    return [
        Row(
            name=f"archive of {n:,} records: written",
            value=wrote["rows"] / wrote["seconds"],
            unit="records/CPU-s",
            reference=f"python-dwca-reader iterates it at {other['rows'] / other['seconds']:,.0f} records/CPU-s",
        ),
        Row(
            name="archive: peak memory of the writer",
            value=wrote["memory"],
            unit="GB",
            reference=f"a tenth of the records: {few['memory']:.2f} GB; the archive: {wrote['bytes'] / 1e9:.2f} GB",
            target=f"< {MOST_MEMORY} GB, whatever their number",
            ok=wrote["memory"] < MOST_MEMORY,
        ),
        Row(
            name="archive: issues python-dwca-reader finds",
            value=issues,
            unit="records or rows",
            reference=f"{other['rows']:,} records opened, {wrote['generalised']:,} in squares, {other['orphans']} orphans",
            target="0",
            ok=issues == 0 and wrote["rows"] == n,
        ),
        Row(
            name="archive: read back",
            value=back["rows"] / back["seconds"],
            unit="records/CPU-s",
            reference=f"pandas reads its table as text at {bare['rows'] / bare['seconds']:,.0f}; our peak memory {back['memory']:.2f} GB",
            target="every record",
            ok=back["rows"] + back["refused"] == n,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(rows))
