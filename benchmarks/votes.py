"""Votes: how good each strategy's labels are, what attacks do to them, how fast they come, and the store and the archive around them.

    python -m benchmarks.votes [--quick] --json FILE

Each part can be run alone: `python -m benchmarks.votes_robust` and so on, with the same options.
"""

from __future__ import annotations

from benchmarks.rows import Row, main, of_parts

PARTS = {
    "votes_robust": "",
    "votes_speed": "speed: ",
    "votes_store": "store: ",
    "votes_quality": "quality: ",
    "votes_archive": "archive: ",
    "votes_bridge": "bridge: ",
}
"""Modules of this package, each with `rows(quick)`; what is written before the names of their rows, to make a table of them."""


def rows(quick: bool) -> list[Row]:
    """Of all parts, in their order."""
    return of_parts(PARTS, quick)


if __name__ == "__main__":
    main(rows)
