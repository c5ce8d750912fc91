"""Identify: classifier, losses, evidence of views and places, similar images, offline engine, photos that break decoders, the API.

    python -m benchmarks.identify [--quick] --json FILE

Each part can be run alone: `python -m benchmarks.identify_train` and so on, with the same options.
"""

from __future__ import annotations

from benchmarks.rows import Row, main, of_parts

PARTS = {
    "identify_train": "training: ",
    "identify_levels": "losses and levels: ",
    "identify_evidence": "evidence: ",
    "identify_similarity": "similar images: ",
    "identify_offline": "offline: ",
    "identify_photos": "photos: ",
    "identify_api": "API: ",
}
"""Modules of this package, each with `rows(quick)`; what is written before the names of their rows, to make a table of them."""


def rows(quick: bool) -> list[Row]:
    """Of all parts, in their order."""
    return of_parts(PARTS, quick)


if __name__ == "__main__":
    main(rows)
