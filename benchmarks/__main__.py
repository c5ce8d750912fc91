"""Run every benchmark and write docs/benchmarks.md: `python -m benchmarks [--quick]`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = ("cubes", "patches", "scheduling", "mapping", "training", "maxent", "skill")


def table(name: str, rows: list[dict[str, object]]) -> list[str]:
    """One benchmark as Markdown."""
    lines = [f"## {name}", "", "| figure | value | beside | target | met |", "|---|---|---|---|---|"]
    lines += [
        f"| {str(r['name']).replace('|', '∣')} | {r['value']:.3g} {r['unit']} | {r['reference']} | {r['target']} | {'yes' if r['ok'] else 'no'} |"
        for r in rows
    ]
    return [*lines, ""]


def run(arguments: list[str]) -> None:
    """Each benchmark in a process of its own; the table is written when all have ended."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Machines differ and are noisy: trust the ratios, each measured side by side in one process.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHMARKS:
            file = Path(folder) / f"{name}.json"
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(file), *arguments], check=True)
            lines += table(name, json.loads(file.read_text(encoding="utf-8")))
    (HERE.parent / "docs" / "benchmarks.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    run(sys.argv[1:])
