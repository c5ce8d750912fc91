"""docs/europe.md says what `python -m benchmarks.europe` prints."""

from __future__ import annotations

from pathlib import Path

from benchmarks.europe import stages, tables

PAGE = Path(__file__).parents[2] / "docs" / "europe.md"


def test_every_line_of_every_table_stands_on_the_page():
    """A changed constant, recipe or price makes the page wrong: copy the tables anew, and read the words around them."""
    page = PAGE.read_text(encoding="utf-8").splitlines()
    assert not [line for line in tables() if line not in page]


def test_twice_the_tiles_are_twice_the_work():
    """Of every stage of tiles; training costs the same."""
    for (_, a, once), (_, b, twice) in zip(stages(1_000, 100, 1), stages(2_000, 100, 1)):
        assert twice == (1 if once == 1 else 2 * once) and (a == b or a.name == "catalog")
