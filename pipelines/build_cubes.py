"""Stage `cubes`: one task a tile and modality, so that one changed modality is rebuilt alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from typing import Any

from geoplantnet.cubes import build_node, write_node, write_root
from geoplantnet.storage import write_beside
from pipelines.context import CubeRun
from pipelines.estimate import peak_memory
from pipelines.flow import Inside, Made, Stage
from pipelines.ledger import Ledger, fingerprint, identity, paths_in, tile_of


def key_of(tile_id: str, modality: str) -> str:
    """The task of one modality of a tile."""
    return f"{tile_id}.{modality}"


def modality_of(key: str) -> str:
    """The modality of a task."""
    return key.partition(".")[2]


def cube_of(run: CubeRun, tile_id: str) -> list[tuple[str, str]]:
    """(stage, key) of all that a tile's cube is made of."""
    return [("cubes", key_of(tile_id, m.name)) for m in run.modalities]


def keys(run: CubeRun) -> list[str]:
    """Tile by tile, so that whole cubes come early."""
    return [key_of(tile_id, name) for tile_id in run.chosen for name in run.wanted]


def settings(run: CubeRun) -> Callable[[str], object]:
    """The task's modality, its source and, where this is files, which files."""
    of = {name: fingerprint(run.asked[name], input_files(run, [name])) for name in run.wanted}
    return lambda key: of[modality_of(key)]


def input_files(run: CubeRun, modalities: Iterable[str]) -> list[str]:
    """Identities of the files the sources of some modalities read."""
    paths = paths_in([run.recipe.modalities[name].source for name in modalities])
    return sorted(str(entry) for path in sorted(set(paths)) for entry in identity(path))


def work(run: CubeRun, key: str, inside: Inside) -> Made:
    """Build and commit one modality of a cube."""
    tile, m = run.tile(tile_of(key)), run.modality(modality_of(key))
    node = build_node(tile, m, run.source(m.name), recipe=run.asked[m.name])
    cube = run.cube(tile.id)
    root = write_root(tile, cube)
    with write_beside(cube / m.name) as path:
        write_node(node, path, m)
    valid = node["valid"].values
    return [root, cube / m.name], {"valid": int((valid > 0).sum()), "pixels": valid.size, "asked": run.asked[m.name]}


def empty_tiles(run: CubeRun, tiles: Iterable[str]) -> list[str]:
    """Tiles over which every modality of the recipe is nodata."""
    ledger, found = Ledger(run.store), []
    for tile_id in tiles:
        records = [ledger.record(*task) for task in cube_of(run, tile_id)]
        if all(r is not None and r.stats["valid"] == 0 for r in records):
            found.append(tile_id)
    return found


def describe(stats: dict[str, Any]) -> str:
    """Valid share."""
    return f"{100 * stats['valid'] / stats['pixels']:.0f} % valid" if stats["valid"] else "no data"


def memory(run: CubeRun) -> tuple[str, int]:
    """The modality whose task needs most memory, and the bytes."""
    return max(((m.name, peak_memory(run.grid, m)) for m in run.modalities if m.name in run.wanted), key=lambda found: found[1])


def drop_strangers(run: CubeRun) -> None:
    """Take out of the cubes what the recipe does not name, so that a cube published with it is the recipe's."""
    ledger, named = Ledger(run.store), {m.name for m in run.modalities}
    for tile_id in run.chosen:
        cube = run.cube(tile_id)
        for group in sorted(p for p in cube.iterdir() if p.is_dir() and p.name not in named) if cube.is_dir() else []:
            ledger.forget(CUBES.name, key_of(tile_id, group.name))
            shutil.rmtree(group)


CUBES: Stage[CubeRun] = Stage(
    "cubes",
    keys=keys,
    settings=settings,
    needs=lambda run, key: [],
    work=work,
    describe=describe,
    is_remote=lambda run, key: run.is_remote(modality_of(key)),
    memory=memory,
)
