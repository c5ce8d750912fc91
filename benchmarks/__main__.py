"""Run benchmarks and write their sections of docs/benchmarks.md: `python -m benchmarks [NAME ...] [--quick] [--rows FOLDER]`."""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BENCHMARKS = (
    "cubes",
    "patches",
    "scheduling",
    "mapping",
    "training",
    "alps",
    "maxent",
    "skill",
    "serving",
    "planner",
    "votes",
    "identify",
    "faults",
)
GROUPED = ("skill", "votes", "identify")
"""Benchmarks of many tables: rows are told apart by what stands before the first colon of their names."""
HEAD = """# Benchmarks

Written by `make bench`. Machines differ and are noisy: trust the ratios, each measured side by side in one process.
"""
_COLUMNS = ("value", "beside", "target", "met")


def section(name: str, rows: list[dict[str, Any]]) -> str:
    """One benchmark as Markdown."""
    if name not in GROUPED:
        return "\n".join([f"## {name}", "", *_table("figure", rows), ""])
    lines, groups = [f"## {name}", "", *_about(name)], dict[str, list[dict[str, Any]]]()
    for row in rows:
        group, _, label = str(row["name"]).partition(": ")
        groups.setdefault(group if label else "Differences", []).append({**row, "name": label or group})
    for title, own in groups.items():
        lines += [f"### {title}", "", *_table("model", own), ""]
    return "\n".join(lines)


def _about(name: str) -> list[str]:
    """What the benchmark says of itself, from its first lines."""
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
    return [line.strip() if line.startswith("    ") else line for line in text.strip().splitlines()] + [""]


def _table(first: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"| {first} | {' | '.join(_COLUMNS)} |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for r in rows:
        met = "" if not r["target"] else "yes" if r["ok"] else "**no**"
        name = str(r["name"]).replace("|", "∣")
        lines.append(f"| {name} | {_figure(r['value'])} {r['unit']} | {r['reference']} | {r['target']} | {met} |")
    return lines


def _figure(value: float) -> str:
    """Three digits; of what is small three decimals, so that scores stand below each other; a dash for what was not measured."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1 else f"{value:.3g}"


def written(page: str, name: str, text: str) -> str:
    """The page with one section in its place; the others stay as they were last measured."""
    found = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, flags=re.S | re.M))
    sections = {known: f"## {known}\n{body}" for known, body in found.items()} | {name: text}
    order = [*(b for b in BENCHMARKS if b in sections), *(s for s in sections if s not in BENCHMARKS)]
    return HEAD + "\n" + "\n".join(sections[one].rstrip() + "\n" for one in order)


def run(names: list[str], quick: bool, given: Path | None) -> None:
    """Each benchmark in a process of its own; its section is written when it has ended."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if given:
                files = sorted(given.glob(f"{name}*.json"))
                if not files:
                    raise SystemExit(f"{given} holds no {name}*.json; measure it, or name the benchmarks it has")
            else:
                files = [Path(folder) / f"{name}.json"]
                command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(files[0]), *(["--quick"] if quick else [])]
                subprocess.run(command, check=True)
            rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
        page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        PAGE.write_text(written(page, name, section(name, rows)), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them where none is named")
    parser.add_argument("--quick", action="store_true", help="smaller inputs")
    parser.add_argument("--rows", type=Path, help="run nothing; take the rows of FOLDER/NAME*.json, measured part by part")
    arguments = parser.parse_args()
    run(arguments.names or list(BENCHMARKS), arguments.quick, arguments.rows)
