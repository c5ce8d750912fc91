"""Floor 3, model input: `Modality`, the cube contract, building cubes, cutting patches."""

from geoplantnet.cubes.build import build_cube
from geoplantnet.cubes.cube import node_named, open_cube, validate_cube, write_cube
from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch, PatchReader, tile_patch

__all__ = ["Modality", "Patch", "PatchReader", "build_cube", "node_named", "open_cube", "tile_patch", "validate_cube", "write_cube"]
