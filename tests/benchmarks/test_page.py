"""docs/benchmarks.md: every benchmark can be started, and a section is replaced without touching the others."""

from __future__ import annotations

import importlib
import json
import math

import pytest

from benchmarks.__main__ import BENCHMARKS, HEAD, section, written

ROW = {"name": "speed", "value": 2.5, "unit": "x", "reference": "peer 1 s", "target": ">= 2", "ok": True}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_imports(name):
    """What stands at module level is made, so that a changed interface is seen before someone measures."""
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_one_section_is_replaced_and_the_others_stay():
    """Whatever the order of running, sections stand in the listed order and keep what they said."""
    page = written(written("", "training", section("training", [ROW])), "cubes", section("cubes", [{**ROW, "name": "first"}]))
    again = written(page, "cubes", section("cubes", [{**ROW, "name": "second", "ok": False}]))
    assert again.startswith(HEAD) and again.index("## cubes") < again.index("## training")
    assert "| speed | 2.5 x | peer 1 s | >= 2 | yes |" in again and "second" in again and "**no**" in again and "first" not in again
    assert written(again, "cubes", section("cubes", [{**ROW, "name": "second", "ok": False}])) == again


def test_what_was_not_measured_is_a_dash_with_its_reason():
    """Also after the way through JSON."""
    row = json.loads(json.dumps({**ROW, "value": math.nan, "unit": "", "reference": "peer is not installed", "ok": False}))
    assert "| speed | –  | peer is not installed | >= 2 | **no** |" in section("serving", [row])


def test_tables_of_a_grouped_benchmark_are_told_by_their_names():
    """Rows "table: model" make one table each; a row without a table is among the differences; without a target nothing is met."""
    rows = [{**ROW, "name": f"{table}: {model}"} for table in ("a, 3 species", "b") for model in ("x", "y")]
    text = section("skill", [*rows, {**ROW, "name": "x minus y", "target": ""}])
    assert [line for line in text.splitlines() if line.startswith("### ")] == ["### a, 3 species", "### b", "### Differences"]
    assert text.count("| x | 2.5 x |") == 2 and "| x minus y | 2.5 x | peer 1 s |  |  |" in text
