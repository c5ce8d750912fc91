"""What training on real records costs and yields: occurrences, cubes and training of a shipped recipe in an empty store.

    python -m benchmarks.alps [--quick] --json FILE

--quick takes the demo (virtual species on real relief) instead of the Alps. The bound is 30 minutes and 6 GB on two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rows import Row, main
from pipelines.ledger import Ledger

ROOT = Path(__file__).parent.parent
DATA = os.environ.get("GEOPLANTNET_DATA", str(ROOT.parent / "shared" / "data"))
SECONDS, BYTES = 30 * 60, 6 * 2**30


def measure(quick: bool) -> list[Row]:
    """Wall time and largest process of stage `train`, and the skill it came to."""
    name = "demo" if quick else "alps"
    with tempfile.TemporaryDirectory() as store:
        for stage in ("occurrences", "cubes", "train"):
            command = [sys.executable, "-c", "from pipelines.cli import main; main()", stage, f"configs/{name}.yaml"]
            subprocess.run([*command, "--store", store, "--data", DATA], cwd=ROOT, check=True)
        record = Ledger(Path(store)).record("train", "model")
    assert record is not None
    skill, what = record.stats["skill"], f"{name}.yaml"
    cost = (
        f"{record.stats['plots']:,} plots, {record.stats['presence_only_sites']:,} presence-only sites, {record.stats['species']} species; "
    )
    cost += f"{record.cpu_seconds:,.0f} CPU-s; load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"
    rows = [
        Row(name=f"{what}: training, folds, baselines, explanation, applicability", value=record.seconds, unit="s", reference=cost, target="<= 1800", ok=record.seconds <= SECONDS),
        Row(name=f"{what}: largest process", value=record.peak_memory / 2**20, unit="MB", reference=cost, target="<= 6144", ok=record.peak_memory <= BYTES),
    ]  # fmt: skip
    for model, s in skill.items():
        beside = (
            f"ECE {s['ece']:.3f}; bias of richness {100 * s['richness_bias']:+.1f} %; {s['species']} species scored on {s['plots']} plots"
        )
        rows.append(
            Row(
                name=f"{what}, held-out plots: {model}",
                value=s["auc"] if s["auc"] is not None else float("nan"),
                unit="AUC",
                reference=beside,
            )
        )
    return rows


if __name__ == "__main__":
    main(measure)
