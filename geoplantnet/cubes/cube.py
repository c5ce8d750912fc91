"""The cube contract: model input of one meta-tile, an xarray DataTree with one node a modality.

    /                   attrs: tile, crs, cell_size
    /<modality>         data  ([time,] band, y, x)   physical values, float32, NaN = no data
                        valid (y, x)                 1 where at least one date has every band
                        count ([time,] y, x)         composites only: clear observations behind each pixel
                        x, y  pixel centres, metres, EPSG of the grid; rows north to south; halo included
                        time  first day of each period, UTC
                        spatial_ref  the CRS and GeoTransform, as CF and GDAL read them

Stored as Zarr v3, every array one chunk in one shard, written whole by one process (a dask store with chunks smaller
than a shard loses values silently). Integers are stored CF-packed (scale_factor, add_offset, _FillValue). Each node is
committed by itself, the root is the same bytes whoever writes it: a modality is rebuilt without touching the others.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from pyproj import CRS
from zarr.codecs import BloscCodec

from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import CubeError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.storage import write_beside

Float = npt.NDArray[np.float32]
_GROUP = "zarr.json"
_CHUNK_VALUES = 4 * 512 * 512
"""Most values of an inner chunk: the four bands of an image 512 px wide, or a long series of few pixels."""


def lattice(tile: MetaTile, modality: Modality) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pixel centres (x, y) of a modality on a tile, halo included, metres."""
    geobox = tile.geobox(modality.resolution, margin=modality.halo * modality.resolution)
    return geobox.coordinates["x"].values, geobox.coordinates["y"].values


def node_of(
    tile: MetaTile,
    modality: Modality,
    values: Float,
    *,
    count: npt.NDArray[np.integer] | None = None,
    provenance: Sequence[Mapping[str, object]] = (),
    recipe: str = "",
) -> xr.Dataset:
    """One node of a cube from physical values ([time,] band, y, x), NaN = no data, on the modality's lattice.

    `count` ([time,] y, x): clear observations behind each pixel of a composite. `recipe`: hash of what was asked for.
    Raises CubeError for values of another shape.
    """
    x, y = lattice(tile, modality)
    dims = (("time",) if modality.times else ()) + ("band", "y", "x")
    shape = (*modality.axes, y.size, x.size)
    if values.shape != shape:
        raise CubeError(f"{modality.name} of {tile.id}: the source gave {values.shape}, the modality needs {shape} {dims}")
    valid = np.zeros(shape[-2:], bool)
    for date in values.reshape(-1, len(modality.bands), *shape[-2:]):
        valid |= np.isfinite(date).all(axis=0)
    node = xr.Dataset(
        {"data": (dims, values.astype(np.float32, copy=False)), "valid": (("y", "x"), valid.astype(np.uint8))},
        coords={"band": list(modality.bands), "y": y, "x": x, "spatial_ref": ((), 0, _spatial_ref(tile, modality))},
        attrs={
            "resolution": modality.resolution,
            "halo": modality.halo,
            "units": list(modality.units),
            "long_names": list(modality.long_names),
            "title": modality.title or modality.name,
            "licence": modality.licence,
            "credit": modality.credit,
            "recipe": recipe,
            "provenance": [dict(p) for p in provenance],
        },
    )
    if modality.time:
        node = node.assign_coords(time=modality.time.starts.astype("datetime64[ns]"))
    if count is not None:
        wanted = (*shape[:-3], *shape[-2:])
        if count.shape != wanted:
            raise CubeError(f"{modality.name} of {tile.id}: the source counted {count.shape}, the modality needs {wanted}")
        node["count"] = (tuple(d for d in dims if d != "band"), np.minimum(count, 65_535).astype(np.uint16))
    return node


def assemble(tile: MetaTile, nodes: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """The cube of a tile from its nodes."""
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=_root(tile)), **{f"/{name}": node for name, node in nodes.items()}})


def _root(tile: MetaTile) -> dict[str, Any]:
    return {"tile": tile.id, "crs": tile.grid.crs, "cell_size": tile.grid.cell_size, "Conventions": "CF-1.8"}


def _spatial_ref(tile: MetaTile, modality: Modality) -> dict[str, Any]:
    box = tile.geobox(modality.resolution, margin=modality.halo * modality.resolution)
    a = box.affine
    return {
        **CRS.from_user_input(tile.grid.crs).to_cf(),
        "GeoTransform": f"{a.c:.10g} {a.a:.10g} {a.b:.10g} {a.f:.10g} {a.d:.10g} {a.e:.10g}",
    }


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
        shape = (*m.axes, y.size, x.size)
        if data.shape != shape:
            held = node.attrs.get("resolution")
            raise CubeError(
                f"cube {tile.id} holds {m.name} as {data.shape} at {held} m, expected {shape} at {m.resolution} m; rebuild it with `geoplantnet cubes`"
            )
        if not (np.array_equal(node["x"], x) and np.array_equal(node["y"], y)):
            raise CubeError(f"cube {tile.id} {m.name}: pixel centres are off the tile's lattice; rebuild it with `geoplantnet cubes`")
        if m.time and not ("time" in node.coords and np.array_equal(node["time"].values.astype("datetime64[D]"), m.time.starts)):
            raise CubeError(f"cube {tile.id} {m.name}: holds other periods than {m.time}; rebuild it with `geoplantnet cubes`")


def node_named(cube: xr.DataTree, name: str) -> xr.Dataset:
    """One modality of a cube: `data`, `valid` and their coordinates."""
    return cube[name].to_dataset()


def pack(values: Float, modality: Modality) -> npt.NDArray[np.generic]:
    """Physical values -> stored values. Raises CubeError when a finite value does not fit the stored type."""
    if modality.dtype == "float32":
        return values.astype(np.float32, copy=False)
    packed = np.empty(values.shape, modality.dtype)
    planes = values.reshape(-1, *values.shape[-2:]) if values.ndim > 2 else values[None]
    for plane, out in zip(planes, packed.reshape(planes.shape)):  # a plane at a time: a long series is not held twice
        out[...] = _packed(plane, modality)
    return packed


def _packed(values: Float, modality: Modality) -> Float:
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
    return scaled


def unpack(stored: npt.NDArray[np.generic], modality: Modality) -> Float:
    """Stored values -> physical values, float32, NaN = no data."""
    if modality.dtype == "float32":
        return np.asarray(stored, np.float32)
    values = stored.astype(np.float32) * np.float32(modality.scale) + np.float32(modality.offset)
    values[stored == modality.nodata] = np.nan
    return values


def write_cube(cube: xr.DataTree, path: str | os.PathLike[str], modalities: Sequence[Modality]) -> None:
    """Write a whole cube as Zarr v3 at `path`, which must not exist (wrap it in `storage.write_beside`)."""
    zarr.create_group(str(path), zarr_format=3, attributes=_plain(cube.attrs))
    for m in modalities:
        write_node(node_named(cube, m.name), Path(path) / m.name, m)


def write_root(tile: MetaTile, path: str | os.PathLike[str]) -> Path:
    """Make `path` the (still empty) cube of a tile unless it is one already; returns the file that says so.

    The same bytes whoever writes them, so that the tasks of a tile's modalities need not wait for each other.
    """
    with tempfile.TemporaryDirectory() as scratch:
        zarr.create_group(scratch, zarr_format=3, attributes=_root(tile))
        said = (Path(scratch) / _GROUP).read_bytes()
    file = Path(path) / _GROUP
    if not file.is_file() or file.read_bytes() != said:
        with write_beside(file) as temporary:
            temporary.write_bytes(said)
    return file


def write_node(node: xr.Dataset, path: str | os.PathLike[str], modality: Modality) -> None:
    """Write one modality of a cube as the Zarr v3 group `path`, which must not exist (wrap it in `storage.write_beside`)."""
    m = modality
    group = zarr.create_group(str(path), zarr_format=3, attributes={**_plain(node.attrs), "bands": list(m.bands)})
    packing = {} if m.dtype == "float32" else {"scale_factor": m.scale, "add_offset": m.offset, "_FillValue": m.nodata}
    data = node["data"]
    mapped = {"grid_mapping": "spatial_ref"}
    stored = pack(data.values, m)
    units = m.units[0] if len(set(m.units)) == 1 else ", ".join(m.units)
    nodata = np.nan if m.nodata is None else m.nodata
    _put(
        group,
        "data",
        stored,
        tuple(map(str, data.dims)),
        {**packing, **mapped, "units": units, "long_name": m.title or m.name},
        fill=nodata,
    )
    flags = {"flag_values": [0, 1], "flag_meanings": "missing valid"}
    _put(group, "valid", node["valid"].values, ("y", "x"), {**flags, **mapped, "long_name": "at least one date has every band"}, fill=0)
    if "count" in node:
        counted = node["count"]
        said = {**mapped, "units": "1", "long_name": "clear observations"}
        _put(group, "count", counted.values, tuple(map(str, counted.dims)), said, fill=0)
    for axis in ("x", "y"):
        said = {"standard_name": f"projection_{axis}_coordinate", "long_name": f"{axis} of the pixel's centre", "units": "m"}
        _put(group, axis, node[axis].values, (axis,), said, fill=0)
    if m.time:
        days = m.time.starts.astype(np.int64)
        said = {
            "standard_name": "time",
            "long_name": f"first day of the {m.time.step}",
            "units": "days since 1970-01-01",
            "calendar": "standard",
        }
        _put(group, "time", days, ("time",), said, fill=0)
    _put(group, "spatial_ref", np.array(0, np.int64), (), _plain(node["spatial_ref"].attrs), fill=0)


def open_cube(path: str | os.PathLike[str]) -> xr.DataTree:
    """Open a cube lazily; values decode to physical numbers, NaN where missing (packed ones as float64). Raises CubeError when `path` holds none."""
    if not Path(path).exists():
        raise CubeError(f"no cube at {path}; build it with `geoplantnet cubes`")
    try:
        tree = xr.open_datatree(str(path), engine="zarr", chunks=None, consolidated=False, decode_coords="all")
        nodes = {name: child.to_dataset().assign_coords(band=child.attrs["bands"]) for name, child in tree.children.items()}
    except Exception as error:
        raise CubeError(f"{path} cannot be opened as a cube ({error}); delete it and run `geoplantnet cubes` again") from error
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
    chunks = _chunks(values.shape)
    shards = tuple(-(-n // c) * c for n, c in zip(values.shape, chunks)) or None
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


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Inner chunks: whole series of some pixels, so that a point or a patch is read without its tile."""
    if len(shape) < 2:
        return shape
    layers = int(np.prod(shape[:-2]))
    side = next((s for s in (512, 256, 128, 64) if layers * s * s <= _CHUNK_VALUES), 20)
    return shape[:-2] + tuple(min(n, side) for n in shape[-2:])


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in attributes.items()}
