"""Floor 3, model input: `Modality`, the cube contract, building cubes, cutting patches."""

from geoplantnet.cubes.build import build_cube, build_node, require_data
from geoplantnet.cubes.cube import node_named, open_cube, validate_cube, write_cube, write_node, write_root
from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch, PatchReader, tile_patch
from geoplantnet.cubes.table import TablePatches

__all__ = [
    "Modality",
    "Patch",
    "PatchReader",
    "TablePatches",
    "build_cube",
    "build_node",
    "node_named",
    "open_cube",
    "require_data",
    "tile_patch",
    "validate_cube",
    "write_cube",
    "write_node",
    "write_root",
]
