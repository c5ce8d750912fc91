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
from geoplantnet.sources.units import check


def build_cube(tile: MetaTile, modalities: Sequence[Modality], sources: Mapping[str, Source]) -> xr.DataTree:
    """Read every modality of a tile onto its lattice and assemble the cube (see `build_node`).

    Raises NoDataError when no modality holds a single pixel.
    """
    nodes = {m.name: build_node(tile, m, sources[m.name]) for m in modalities}
    require_data(tile, nodes)
    return assemble(tile, nodes)


def build_node(tile: MetaTile, modality: Modality, source: Source, *, recipe: str = "") -> xr.Dataset:
    """Read one modality of a tile onto its lattice.

    A source with nothing over the tile leaves its node empty (all NaN, valid = 0): other modalities may still map it.
    Raises CubeError when the source lacks a band, RasterError when a value is not plausible in the band's unit.
    """
    modality.check_against(tile.grid)
    picked = band_positions(modality, source)
    geobox = tile.geobox(modality.resolution, margin=modality.halo * modality.resolution)
    try:
        read = source.read(geobox)
    except NoDataError as nothing:
        empty = np.full((*modality.axes, *geobox.shape), np.nan, np.float32)
        return node_of(tile, modality, empty, provenance=[{"nothing": str(nothing)}], recipe=recipe)
    if modality.time and "time" in read.coords and not np.array_equal(read["time"].values.astype("datetime64[D]"), modality.time.starts):
        given = ", ".join(np.datetime_as_string(read["time"].values[:3], "D"))
        raise CubeError(f"{modality.name} of {tile.id}: its source gives the periods {given} ..., the modality asks for {modality.time}")
    values = read.values if picked == list(range(len(source.bands))) else read.values[..., picked, :, :]
    for i, (band, unit, limits) in enumerate(zip(modality.bands, modality.units, modality.plausible)):
        if limits is not None:
            check(values[..., i, :, :], unit, limits, what=f"{modality.name} of {tile.id}, band {band}")
    count = read["count"].values if "count" in read.coords else None
    return node_of(tile, modality, values, count=count, provenance=read.attrs.get("provenance", ()), recipe=recipe)


def require_data(tile: MetaTile, nodes: Mapping[str, xr.Dataset]) -> None:
    """Raise NoDataError when no modality of a tile holds a single pixel."""
    if not any(node["valid"].any() for node in nodes.values()):
        raise NoDataError(
            f"tile {tile.id}: every modality ({', '.join(nodes)}) is nodata over it; drop the tile from the grid or give sources that cover it"
        )


def band_positions(modality: Modality, source: Source) -> list[int]:
    """Where a modality's bands stand among its source's. Raises CubeError for a band the source does not have."""
    for band in modality.bands:
        if band not in source.bands:
            hint = did_you_mean(band, source.bands)
            raise CubeError(f"modality {modality.name!r} asks for band {band!r}; its source gives {', '.join(source.bands)}.{hint}")
    return [source.bands.index(band) for band in modality.bands]
