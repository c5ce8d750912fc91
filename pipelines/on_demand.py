"""A tile mapped because somebody asked the server for it: `geoplantnet run` in a process of its own, which may need what a server lacks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoplantnet.errors import InputError, StorageError, TryAgain, UnknownTile
from pipelines.context import Run

_BUSY = TryAgain.exit_code
_LAST = 300
"""Letters of what the pipeline said at its end that are told."""


def map_tile(recipe: str, data: Path | None, store: Path, tile: str) -> Mapping[str, Any]:
    """Carry out every stage that is not up to date for the tiles that are published and this one; tells how many there are then.

    The catalog is of all of them: a server shows the new one once it is started anew. Raises UnknownTile for a tile the recipe does
    not list, TryAgain while another run holds the store, StorageError and InputError for a run that fails.
    """
    run = Run.open(recipe, data=data, store=store)
    if tile not in run.tiles:
        raise UnknownTile(f"{tile} is none of the {len(run.tiles)} tiles of {recipe}; add it to the recipe's tiles first")
    published = [name for name in run.tiles if (run.store / "tiles" / name / f"{name}.json").is_file()]
    tiles = list(dict.fromkeys([*published, tile]))
    where = ["--store", str(run.store), *(["--data", str(data)] if data else [])]
    chosen = [word for name in tiles for word in ("--tile", name)]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", recipe, *where, *chosen],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == _BUSY:
        raise TryAgain("another run holds the store; try again when it has ended")
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-_LAST:]
        raise (StorageError if done.returncode == StorageError.exit_code else InputError)(f"mapping {tile} failed: {said}")
    return {"tile": tile, "tiles": len(tiles), "published": True}
