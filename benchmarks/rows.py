"""What every benchmark shares: its rows, its command line, its JSON."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure beside what it is compared with."""

    name: str
    value: float
    unit: str
    reference: str
    """What was run side by side, with its own figure."""
    target: str = ""
    ok: bool = True


def of_parts(parts: Mapping[str, str], quick: bool) -> list[Row]:
    """Rows of several modules of this package, in their order; `parts`: module -> what is written before the names of its rows."""
    return [
        replace(row, name=title + row.name)
        for part, title in parts.items()
        for row in importlib.import_module(f"benchmarks.{part}").rows(quick)
    ]


def main(measure: Callable[[bool], list[Row]]) -> None:
    """Run `measure(quick)` as a command: prints the rows, writes them with --json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="smaller inputs")
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    rows = [asdict(row) for row in measure(arguments.quick)]
    for row in rows:
        print(
            f"{row['name']}: {row['value']:.4g} {row['unit']}  (reference: {row['reference']}; target: {row['target'] or 'none'}; ok: {row['ok']})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
