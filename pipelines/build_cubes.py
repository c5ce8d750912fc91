"""Stage `cubes`: the cube of every tile."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from geoplantnet.cubes import build_cube, write_cube
from geoplantnet.storage import write_beside
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.ledger import identity, paths_in


def settings(run: Run, tile_id: str) -> object:
    """Modalities, their sources and, where these are files, which files."""
    sections = {name: section.source.model_dump(mode="json") for name, section in run.recipe.modalities.items()}
    world = [run.recipe.world.model_dump(), run.recipe.seed, run.tiles] if run.recipe.world else None
    return [[asdict(m) for m in run.modalities], sections, world, sorted(map(str, input_files(run)))]


def input_files(run: Run) -> list[list[object]]:
    """Identities of the files the sources read."""
    paths = paths_in([section.source for section in run.recipe.modalities.values()])
    return [entry for path in sorted(set(paths)) for entry in identity(path)]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Build and commit one cube."""
    tree = build_cube(run.tile(tile_id), run.modalities, run.sources)
    with write_beside(run.cube(tile_id)) as path:
        write_cube(tree, path, run.modalities)
    valid = {name: round(float(node["valid"].mean()), 4) for name, node in tree.children.items()}
    return [run.cube(tile_id)], {"valid": valid}


def describe(stats: dict[str, Any]) -> str:
    """Valid share of each modality."""
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in stats["valid"].items())


CUBES = Stage("cubes", keys=lambda run: run.chosen, settings=settings, needs=lambda run, tile: [], work=work, describe=describe)
