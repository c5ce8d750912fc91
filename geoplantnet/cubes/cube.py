"""The cube contract: model input of one meta-tile, an xarray DataTree with one node a modality.

    /                   attrs: tile, crs, cell_size
    /<modality>         data  ([time,] band, y, x)   physical values, float32, NaN = no data
                        valid (y, x)                 1 where at least one date has every band
                        x, y  pixel centres, metres, EPSG of the grid; rows north to south; halo included

Stored as Zarr v3, every array one chunk in one shard, written whole by one process (a dask store with chunks smaller
than a shard loses values silently). Integers are stored CF-packed (scale_factor, add_offset, _FillValue).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import CubeError
from geoplantnet.grid.tile_grid import MetaTile

Float = npt.NDArray[np.float32]


def lattice(tile: MetaTile, modality: Modality) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pixel centres (x, y) of a modality on a tile, halo included, metres."""
    geobox = tile.geobox(modality.resolution, margin=modality.halo * modality.resolution)
    return geobox.coordinates["x"].values, geobox.coordinates["y"].values


def node_of(tile: MetaTile, modality: Modality, values: Float, *, provenance: Sequence[Mapping[str, object]] = ()) -> xr.Dataset:
    """One node of a cube from physical values ([time,] band, y, x), NaN = no data, on the modality's lattice."""
    x, y = lattice(tile, modality)
    dims = (("time",) if modality.times else ()) + ("band", "y", "x")
    shape = ((modality.times,) if modality.times else ()) + (len(modality.bands), y.size, x.size)
    if values.shape != shape:
        raise CubeError(f"{modality.name} of {tile.id}: the source gave {values.shape}, the modality needs {shape} {dims}")
    finite = np.isfinite(values).all(axis=-3)
    valid = (finite.any(axis=0) if modality.times else finite).astype(np.uint8)
    return xr.Dataset(
        {"data": (dims, values.astype(np.float32, copy=False)), "valid": (("y", "x"), valid)},
        coords={"band": list(modality.bands), "y": y, "x": x},
        attrs={
            "resolution": modality.resolution,
            "halo": modality.halo,
            "units": modality.units,
            "title": modality.title or modality.name,
            "licence": modality.licence,
            "provenance": [dict(p) for p in provenance],
        },
    )


def assemble(tile: MetaTile, nodes: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """The cube of a tile from its nodes."""
    root = xr.Dataset(attrs={"tile": tile.id, "crs": tile.grid.crs, "cell_size": tile.grid.cell_size, "Conventions": "CF-1.8"})
    return xr.DataTree.from_dict({"/": root, **{f"/{name}": node for name, node in nodes.items()}})


def validate_cube(cube: xr.DataTree, tile: MetaTile, modalities: Sequence[Modality]) -> None:
    """Raise CubeError unless `cube` holds `tile` with these modalities, bands, times and lattices."""
    if cube.attrs.get("tile") != tile.id:
        raise CubeError(f"cube is of tile {cube.attrs.get('tile')!r}, expected {tile.id!r}; rebuild it with `geoplantnet cubes`")
    for m in modalities:
        if m.name not in cube.children:
            raise CubeError(f"cube {tile.id} has no {m.name!r} (it has {sorted(cube.children)}); rebuild it with `geoplantnet cubes`")
        node = node_named(cube, m.name)
        data = node["data"]
        bands = tuple(str(b) for b in node["band"].values)
        if bands != m.bands:
            raise CubeError(f"cube {tile.id} {m.name}: bands {bands}, the model needs {m.bands}")
        x, y = lattice(tile, m)
        shape = ((m.times,) if m.times else ()) + (len(m.bands), y.size, x.size)
        if data.shape != shape:
            held = node.attrs.get("resolution")
            raise CubeError(
                f"cube {tile.id} holds {m.name} as {data.shape} at {held} m, expected {shape} at {m.resolution} m; rebuild it with `geoplantnet cubes`"
            )
        if not (np.array_equal(node["x"], x) and np.array_equal(node["y"], y)):
            raise CubeError(f"cube {tile.id} {m.name}: pixel centres are off the tile's lattice; rebuild it with `geoplantnet cubes`")


def node_named(cube: xr.DataTree, name: str) -> xr.Dataset:
    """One modality of a cube: `data`, `valid` and their coordinates."""
    return cube[name].to_dataset()


def pack(values: Float, modality: Modality) -> npt.NDArray[np.generic]:
    """Physical values -> stored values. Raises CubeError when a finite value does not fit the stored type."""
    if modality.dtype == "float32":
        return values.astype(np.float32, copy=False)
    assert modality.nodata is not None
    limits = np.iinfo(modality.dtype)
    scaled = np.rint((values - np.float32(modality.offset)) / np.float32(modality.scale))
    missing = ~np.isfinite(scaled)
    outside = ~missing & ((scaled < limits.min) | (scaled > limits.max))
    if outside.any():
        worst = float(values[outside].flat[0])
        raise CubeError(
            f"{modality.name}: value {worst} does not fit {modality.dtype} with scale {modality.scale}; change dtype or scale of the modality"
        )
    collides = ~missing & (scaled == modality.nodata)  # a true value on the nodata code moves to its neighbour
    scaled[collides] += 1 if modality.nodata <= limits.min else -1
    scaled[missing] = modality.nodata
    return scaled.astype(modality.dtype)


def unpack(stored: npt.NDArray[np.generic], modality: Modality) -> Float:
    """Stored values -> physical values, float32, NaN = no data."""
    if modality.dtype == "float32":
        return np.asarray(stored, np.float32)
    values = stored.astype(np.float32) * np.float32(modality.scale) + np.float32(modality.offset)
    values[stored == modality.nodata] = np.nan
    return values


def write_cube(cube: xr.DataTree, path: str | os.PathLike[str], modalities: Sequence[Modality]) -> None:
    """Write `cube` as Zarr v3 at `path`, which must not exist (wrap it in `storage.write_beside`)."""
    root = zarr.create_group(str(path), zarr_format=3, attributes=_plain(cube.attrs))
    for m in modalities:
        node = node_named(cube, m.name)
        group = root.create_group(m.name, attributes={**_plain(node.attrs), "bands": list(m.bands)})
        packing = {} if m.dtype == "float32" else {"scale_factor": m.scale, "add_offset": m.offset, "_FillValue": m.nodata}
        data = node["data"]
        _put(
            group,
            "data",
            pack(data.values, m),
            tuple(map(str, data.dims)),
            {**packing, "units": m.units},
            fill=np.nan if m.nodata is None else m.nodata,
        )
        _put(group, "valid", node["valid"].values, ("y", "x"), {"flag_values": [0, 1], "flag_meanings": "missing valid"}, fill=0)
        _put(group, "x", node["x"].values, ("x",), {"standard_name": "projection_x_coordinate", "units": "m"}, fill=0)
        _put(group, "y", node["y"].values, ("y",), {"standard_name": "projection_y_coordinate", "units": "m"}, fill=0)


def open_cube(path: str | os.PathLike[str]) -> xr.DataTree:
    """Open a cube lazily; values decode to physical float32. Raises CubeError when `path` holds none."""
    if not Path(path).exists():
        raise CubeError(f"no cube at {path}; build it with `geoplantnet cubes`")
    try:
        tree = xr.open_datatree(str(path), engine="zarr", chunks=None, consolidated=False)
    except Exception as error:
        raise CubeError(f"{path} cannot be opened as a cube ({error}); delete it and run `geoplantnet cubes` again") from error
    nodes = {name: child.to_dataset().assign_coords(band=child.attrs["bands"]) for name, child in tree.children.items()}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=tree.attrs), **{f"/{name}": node for name, node in nodes.items()}})


def stored_array(path: str | os.PathLike[str], modality: Modality) -> npt.NDArray[np.generic]:
    """The packed values of one modality of a stored cube, whole, as they lie on disk (see `unpack`)."""
    group = zarr.open_group(str(path), mode="r")
    array = group[f"{modality.name}/data"]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[...])


def _put(
    group: zarr.Group, name: str, values: npt.NDArray[np.generic], dims: tuple[str, ...], attributes: dict[str, Any], *, fill: float
) -> None:
    chunks = values.shape[:-2] + tuple(min(n, 512) for n in values.shape[-2:]) if values.ndim >= 2 else values.shape
    shards = tuple(-(-n // c) * c for n, c in zip(values.shape, chunks))
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle" if values.dtype.itemsize > 1 else "bitshuffle"),
        fill_value=values.dtype.type(fill),
        dimension_names=dims,
        attributes=attributes,
    )
    array[...] = values


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in attributes.items()}
