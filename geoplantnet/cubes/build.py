"""tile + modalities + sources -> cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from geoplantnet.cubes.cube import assemble, node_of
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import CubeError, NoDataError, did_you_mean
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.sources.source import Source


def build_cube(tile: MetaTile, modalities: Sequence[Modality], sources: Mapping[str, Source]) -> xr.DataTree:
    """Read every modality of a tile onto its lattice and assemble the cube.

    A source with nothing over the tile leaves its node empty (all NaN, valid = 0): other modalities may still map it.
    Raises NoDataError when no modality holds a single pixel, CubeError when a source lacks a band of its modality.
    """
    nodes = {}
    for m in modalities:
        m.check_against(tile.grid)
        source = sources[m.name]
        picked = band_positions(m, source)
        geobox = tile.geobox(m.resolution, margin=m.halo * m.resolution)
        try:
            read = source.read(geobox)
        except NoDataError:
            shape = ((m.times,) if m.times else ()) + (len(m.bands), *geobox.shape)
            nodes[m.name] = node_of(tile, m, np.full(shape, np.nan, np.float32))
        else:
            nodes[m.name] = node_of(tile, m, read.values[..., picked, :, :], provenance=read.attrs.get("provenance", ()))
    if not any(node["valid"].any() for node in nodes.values()):
        raise NoDataError(
            f"tile {tile.id}: every modality ({', '.join(nodes)}) is nodata over it; drop the tile from the grid or give sources that cover it"
        )
    return assemble(tile, nodes)


def band_positions(modality: Modality, source: Source) -> list[int]:
    """Where a modality's bands stand among its source's. Raises CubeError for a band the source does not have."""
    for band in modality.bands:
        if band not in source.bands:
            hint = did_you_mean(band, source.bands)
            raise CubeError(f"modality {modality.name!r} asks for band {band!r}; its source gives {', '.join(source.bands)}.{hint}")
    return [source.bands.index(band) for band in modality.bands]
