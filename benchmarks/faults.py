"""Faults: 200 kills at random moments, and flipped bits in every kind of asset, on the tiny world of the tests.

The kills fall on mapping, indicators, publishing and the catalog; some rounds more kill the whole chain. `tests/faults/kill.py` and
`tests/faults/flip.py` do it, and say more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, main

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "tests" / "data" / "tiny.yaml"
SEED = 6


def measure(quick: bool) -> list[Row]:
    """Rounds of kills after training and of the whole chain, then of flips."""
    kills, whole, flips = (10, 2, 1) if quick else (200, 10, 10)
    return [
        *_kills("after training", kills, "--after", "train"),
        *_kills("whole chain", whole),
        *_flips(flips),
    ]


def _kills(which: str, rounds: int, *options: str) -> list[Row]:
    found = _run("kill.py", "--runs", str(rounds), *options)
    fell = ", ".join(f"{stage} {count}" for stage, count in found["stages"].items())
    return [
        _row(f"kill -9, {which}: rounds identical", found["identical"], "rounds", f"an unkilled run; kills fell into {fell}", rounds),
        _row(f"kill -9, {which}: partial files at final paths", len(found["partial"]), "files", f"{found['whole']} whole ones", 0),
        _row(f"kill -9, {which}: found by verify", len(found["damage"]), "assets", "what records vouch for is right", 0),
        Row(name=f"kill -9, {which}: kills in the middle of a write", value=found["cut"], unit="rounds", reference="temporaries left"),
    ]


def _flips(rounds: int) -> list[Row]:
    found = _run("flip.py", "--rounds", str(rounds))
    spoilt = {line.partition(" ")[0] for line in found["unrepaired"]}
    ends: dict[str, int] = {}
    for counts in found["readings"].values():
        for how, count in counts.items():
            ends[how] = ends.get(how, 0) + count
    kinds = f"{found['flips'] // rounds} kinds of assets, {rounds} places each"
    silent = [kind for kind, counts in found["readings"].items() if counts.get("other values")]
    repaired = found["repaired"] + len(spoilt)
    return [
        _row("flipped bit: found by verify, task named", found["flips"] - len(found["unfound"]), "flips", kinds, found["flips"]),
        _row("flipped bit: repaired bit for bit", found["repaired"], "assets", "verify --drop, then run", repaired),
        Row(
            name="flipped bit: read all the same, as other values",
            value=ends.get("other values", 0),
            unit="flips",
            reference=f"{ends.get('error of the house', 0)} typed errors, {ends.get('the same', 0)} without effect; in {', '.join(silent) or 'none'}",
        ),
        Row(
            name="flipped bit: read with the codec's own error",
            value=ends.get("untyped error", 0),
            unit="flips",
            reference="in cubes; the task that reads one says which asset is damaged",
        ),
    ]


def _row(name: str, value: float, unit: str, reference: str, target: int) -> Row:
    return Row(name=name, value=value, unit=unit, reference=reference, target=str(target), ok=value == target)


def _run(script: str, *options: str) -> dict[str, Any]:
    """What a script of `tests/faults` writes; it ends with 1 when something is not as it should be, which the rows say."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, str(ROOT / "tests" / "faults" / script), str(RECIPE), "--seed", str(SEED), *options, "--json", str(out)]
        subprocess.run(command, check=False, cwd=ROOT)
        return dict(json.loads(out.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(measure)
