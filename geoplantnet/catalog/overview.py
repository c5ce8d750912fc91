"""A catalog seen from afar: one small raster an asset over all tiles, and one store of all species.

A map of a continent would open thousands of tiles to draw a few cells of each. Here every 10 x 10 cells of a tile are one
(500 m), with overviews of 1 to 25 km, and species are means of 5 km. Made with the catalog, from the tiles it lists;
tiles that have not changed since the last time are not read again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import zarr
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from zarr.codecs import ZstdCodec

from geoplantnet.assemblages.assemblage import BlockMeans, open_means
from geoplantnet.catalog.geotiff import write_cog
from geoplantnet.catalog.product import Layer
from geoplantnet.catalog.stac import TREE_CHECKSUM
from geoplantnet.errors import IntegrityError, RasterError
from geoplantnet.storage import sha256, write_beside, write_json
from geoplantnet.taxonomy import SpeciesList

FOLDER = "overviews"
"""Of the store, where they lie."""
SPECIES = "all-species"
"""Key of the overview of all species."""
FACTOR = 10
"""Cells of a tile along the side of one of an overview, or the next larger number that divides a tile."""
SPECIES_CELL = 5_000
"""Metres of the cells species are kept in, or the next larger length that divides a tile into whole 1 km means."""
STEPS = 254
"""p = (stored / STEPS)^2: steps of 0.00002 where a species is rare, of .008 where it is everywhere; 255 = no data."""
_BLOCK, _SHARD = 256, 64
_TOGETHER = 512
"""Species worked on at a time: the chunk their means are stored in."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A tile that an overview is made from."""

    id: str
    bounds: tuple[float, float, float, float]
    """West, south, east, north, metres."""
    path: Path
    """Its raster, or its species sets and means."""
    checksum: str
    """Of the file, as the tile's item tells it."""


def write_overviews(
    root: Path,
    items: Sequence[Path],
    layers: Sequence[Layer],
    *,
    species: SpeciesList | None = None,
    traits: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Path]:
    """The overviews of all assets that `layers` are read from, and of `species` (``all-species``), by asset: for `write_catalog`.

    `items` are the paths that `write_item` gave; species are read from their asset ``assemblage``. `traits` of each taxon id are kept
    with the species. Raises as `write_overview` and `write_species_overview`.
    """
    told = [(path, json.loads(path.read_text("utf-8"))) for path in sorted(items)]

    def sources(asset: str) -> list[Source]:
        return [
            Source(
                id=item["id"],
                bounds=tuple(item["properties"]["proj:bbox"]),
                path=path.parent / item["assets"][asset]["href"],
                checksum=item["assets"][asset].get(TREE_CHECKSUM) or item["assets"][asset]["file:checksum"],
            )
            for path, item in told
        ]

    made = {}
    for asset in dict.fromkeys(layer.asset for layer in layers):
        own = [layer for layer in layers if layer.asset == asset]
        classes = {layer.band for layer in own if layer.classes} | {layer.applicable for layer in own if layer.applicable}
        made[asset] = write_overview(root, asset, sources(asset), classes=classes)
    if species:
        made[SPECIES] = write_species_overview(root, sources("assemblage"), species, traits or {})
    return made


def side_of(cells: int) -> int:
    """Cells of an overview along the side of a tile of so many."""
    return next(side for side in sides(cells) if side <= max(cells // FACTOR, 1))


def sides(cells: int) -> list[int]:
    """Cells along a tile's side at every level from its own `cells` down to one, each at most half the one before and a divisor of `cells`.

    Cells of all levels so nest in tiles, and none has a share in two: 500, 250, 125, 50, 25, 10, 5, 2, 1.
    """
    found = [cells]
    while found[-1] > 1:
        found.append(max(d for d in range(1, found[-1] // 2 + 1) if cells % d == 0))
    return found


def write_overview(root: Path, asset: str, tiles: Sequence[Source], *, classes: Collection[int]) -> Path:
    """One raster of all bands of an asset over all tiles, at ``overviews/<asset>.tif``, as a COG in the tiles' own steps.

    A cell is the mean of those below it that hold data, or the most frequent of them in the bands named in `classes` (1-based; of
    equals the smallest value), and holds none where none of them does. Raises RasterError for tiles that are not of one kind.
    """
    path, record = _folder(root) / f"{asset}.tif", _folder(root) / f"{asset}.json"
    with rasterio.open(tiles[0].path, driver="GTiff") as first:
        names, kind, nodata, cells = [d or str(i) for i, d in enumerate(first.descriptions, 1)], first.dtypes[0], first.nodata, first.width
        labels = {"scale": first.scales, "offset": first.offsets, "unit": [unit or "" for unit in first.units], "crs": first.crs}
    side = side_of(cells)
    window = _window(tiles, side, str(labels["crs"]))
    now = {
        "names": names,
        "dtype": kind,
        "shape": [*window.shape],
        "origin": [window.affine.c, window.affine.f],
        "classes": sorted(classes),
    }
    known = _known(path, record, now)
    wanted = {tile.id: tile.checksum for tile in tiles}
    if known == wanted:
        return path
    if not known.keys() <= wanted.keys():
        known = {}
    bands = np.full((len(names), *window.shape), 0 if nodata is None else nodata, kind)
    if known:
        with rasterio.open(path, driver="GTiff") as before:
            bands[:] = before.read()
    for tile in tiles:
        if known.get(tile.id) != tile.checksum:
            bands[(slice(None), *_place(tile, window, side))] = _reduced(tile, bands, side, cells, nodata, classes)
    record.unlink(missing_ok=True)  # it vouches for the raster it was written with, and for no other
    write_cog(
        path,
        bands,
        window,
        band_names=names,
        scale=labels["scale"],
        offset=labels["offset"],
        unit=labels["unit"],
        nodata=nodata,
        overview_resampling=["mode" if band in classes else "average" for band in range(1, len(names) + 1)],
        overviews=[side // coarser for coarser in sides(cells) if coarser < side and side % coarser == 0],
        tags={"title": f"Overview of {asset}"},
    )
    write_json(record, now | {"tiles": wanted, "sha256": sha256(path)})
    return path


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesOverview:
    """All species of a catalog in cells of 5 km."""

    species: SpeciesList
    traits: Mapping[str, Mapping[str, Any]]
    """What is known of a taxon id; a trait that is not known is not there."""
    plot_area: float | None
    """m2 of the plots that probabilities are of."""
    highest: npt.NDArray[np.float32]
    """(species,): the largest mean of 1 km."""
    window: GeoBox
    """The cells, over all tiles."""
    _root: zarr.Group

    def species_map(self, k: int) -> npt.NDArray[np.float32]:
        """(y, x) mean probability of species k, NaN = no data. Raises IntegrityError."""
        stored = self._read("p", k)
        return np.where(stored == STEPS + 1, np.float32(np.nan), (stored / np.float32(STEPS)) ** 2)

    def threshold(self) -> npt.NDArray[np.float32]:
        """(y, x) mean of the cells' thresholds, above which a species is in a cell's set; NaN = no data. Raises IntegrityError."""
        return self._read("threshold", ...)

    def _read(self, name: str, place: Any) -> npt.NDArray[Any]:
        try:
            return np.asarray(self._root[name][place])  # type: ignore[index]
        except Exception as error:  # whatever a codec makes of damaged bytes
            raise _damaged(Path(str(self._root.store_path)), error) from error


def write_species_overview(root: Path, tiles: Sequence[Source], species: SpeciesList, traits: Mapping[str, Mapping[str, Any]]) -> Path:
    """All species of all tiles at ``overviews/all-species.zarr``, from the means of 1 km beside the tiles' species sets.

    A cell is the mean over the valid cells below it. Raises IntegrityError for sets of another species list.
    """
    path = _folder(root) / f"{SPECIES}.zarr"
    first = _opened(tiles[0], species)
    side = _species_side(first.shape[0], tiles[0].bounds[2] - tiles[0].bounds[0])
    window = _window(tiles, side, first.crs)
    told = {
        "tiles": {tile.id: tile.checksum for tile in tiles},
        "list": species.hash,
        "traits": dict(traits),
        "origin": [window.affine.c, window.affine.f],
    }
    record = path.with_suffix(".json")
    before = _told(path, record)
    if before and before | told == before:
        return path
    record.unlink(missing_ok=True)
    opened = [_opened(tile, species) for tile in tiles]  # of each no more than where its arrays lie
    places = [_place(tile, window, side) for tile in tiles]
    counts = [means.cells().astype(np.float32) for means in opened]
    threshold = np.full(window.shape, np.nan, np.float32)
    for means, place, count in zip(opened, places, counts, strict=True):
        threshold[place] = _weighted(means.thresholds()[None], count, side)[0]
    with write_beside(path) as temporary:
        attributes = {
            "made_from": told,
            "species": species.to_dict(),
            "crs": first.crs,
            "cell": window.affine.a,
            "plot_area_m2": first.plot_area,
        }
        group = zarr.create_group(str(temporary), zarr_format=3, attributes=attributes)
        packing = ZstdCodec(level=3, checksum=True)
        chunk = tuple(min(n, _BLOCK) for n in window.shape)
        shard = (min(_SHARD, len(species)), *(-(-n // c) * c for n, c in zip(window.shape, chunk, strict=True)))
        p = group.create_array(
            "p", shape=(len(species), *window.shape), dtype="uint8", chunks=(1, *chunk), shards=shard, compressors=packing
        )
        highest = np.zeros(len(species), np.float32)
        for start in range(0, len(species), _TOGETHER):
            some = slice(start, min(start + _TOGETHER, len(species)))
            stored = np.full((some.stop - some.start, *window.shape), STEPS + 1, np.uint8)
            for means, place, count in zip(opened, places, counts, strict=True):
                values = means.of(some)
                highest[some] = np.maximum(highest[some], np.nan_to_num(values).max(axis=(1, 2)))
                mean = _weighted(values, count, side)
                mean[np.isnan(values).all(axis=(1, 2))] = np.nan  # withheld in this tile
                stored[(slice(None), *place)] = np.where(np.isfinite(mean), np.rint(np.sqrt(np.nan_to_num(mean)) * STEPS), STEPS + 1)
            p[some] = stored
        group.create_array("threshold", data=threshold, compressors=packing)
        group.create_array("highest", data=highest, compressors=packing)
    write_json(record, told | {"sha256": sha256(path)})
    return path


def open_species_overview(path: Path) -> SpeciesOverview:
    """Open what `write_species_overview` wrote. Raises IntegrityError."""
    try:
        group = zarr.open_group(str(path), mode="r")
        told: dict[str, Any] = dict(group.attrs)
        west, north = told["made_from"]["origin"]
        height, width = group["p"].shape[1:]  # type: ignore[union-attr,index]
        cell = float(str(told["cell"]))
        window = GeoBox((height, width), Affine(cell, 0, west, 0, -cell, north), str(told["crs"]))
        species = SpeciesList.from_dict(told["species"])  # type: ignore[arg-type]
        highest = np.asarray(group["highest"][...])  # type: ignore[index]
        area = told.get("plot_area_m2")
        return SpeciesOverview(
            species=species,
            traits=told["made_from"]["traits"],
            plot_area=float(str(area)) if area else None,
            highest=highest,
            window=window,
            _root=group,
        )
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(f"{path} cannot be read as an overview of species ({error!r}); delete it and publish again")


def _folder(root: Path) -> Path:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    return root / FOLDER


def _window(tiles: Sequence[Source], side: int, crs: str) -> GeoBox:
    """The cells of an overview over all tiles."""
    west, north = min(tile.bounds[0] for tile in tiles), max(tile.bounds[3] for tile in tiles)
    east, south = max(tile.bounds[2] for tile in tiles), min(tile.bounds[1] for tile in tiles)
    cell = (tiles[0].bounds[2] - tiles[0].bounds[0]) / side
    rows, columns = round((north - south) / cell), round((east - west) / cell)
    return GeoBox((rows, columns), Affine(cell, 0, west, 0, -cell, north), crs)


def _place(tile: Source, window: GeoBox, side: int) -> tuple[slice, slice]:
    """Rows and columns of a tile in the window."""
    row = round((window.affine.f - tile.bounds[3]) / window.affine.a)
    column = round((tile.bounds[0] - window.affine.c) / window.affine.a)
    return slice(row, row + side), slice(column, column + side)


def _known(path: Path, record: Path, now: Mapping[str, Any]) -> dict[str, str]:
    """Checksums of the tiles that the overview at `path` was made from; none where there is no such overview, or one of another kind."""
    told = _told(path, record)
    return dict(told["tiles"]) if told and {name: told.get(name) for name in now} == dict(now) else {}


def _told(path: Path, record: Path) -> dict[str, Any]:
    """What the record says of the overview at `path`; nothing where it does not vouch for its bytes."""
    try:
        told = json.loads(record.read_text("utf-8"))
        return dict(told) if path.exists() and told["sha256"] == sha256(path) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _reduced(
    tile: Source, like: npt.NDArray[Any], side: int, cells: int, nodata: float | None, classes: Collection[int]
) -> npt.NDArray[Any]:
    """(band, side, side) stored values of a tile."""
    try:
        with rasterio.open(tile.path, driver="GTiff") as file:
            data = file.read()
    except RasterioError as error:
        raise RasterError(f"cannot read {tile.path}: {error}; verify the store and publish the tile again") from error
    if data.shape != (len(like), cells, cells) or data.dtype != like.dtype:
        raise RasterError(
            f"{tile.path} holds {data.shape} values of {data.dtype}, other tiles {(len(like), cells, cells)} of {like.dtype}; publish it again"
        )
    grouped = data.reshape(len(like), side, cells // side, side, cells // side)
    valid = np.ones(grouped.shape, bool) if nodata is None else ~np.isnan(grouped) if math.isnan(nodata) else grouped != nodata
    return np.stack(
        [_mode(g, v, nodata) if band in classes else _mean(g, v, nodata) for band, (g, v) in enumerate(zip(grouped, valid, strict=True), 1)]
    )


def _mean(grouped: npt.NDArray[Any], valid: npt.NDArray[np.bool_], nodata: float | None) -> npt.NDArray[Any]:
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, grouped, 0).sum(axis=(1, 3), dtype=np.float64)
    mean = total / np.maximum(count, 1)
    if grouped.dtype.kind != "f":
        mean = np.rint(mean)
    return np.where(count > 0, mean, 0 if nodata is None else nodata).astype(grouped.dtype)


def _mode(grouped: npt.NDArray[Any], valid: npt.NDArray[np.bool_], nodata: float | None) -> npt.NDArray[Any]:
    values = np.unique(grouped[valid])
    if not values.size:
        return np.full((grouped.shape[0], grouped.shape[2]), 0 if nodata is None else nodata, grouped.dtype)
    counts = np.stack([((grouped == value) & valid).sum(axis=(1, 3)) for value in values])
    return np.where(counts.max(axis=0) > 0, values[counts.argmax(axis=0)], 0 if nodata is None else nodata).astype(grouped.dtype)


def _species_side(blocks: int, tile_size: float) -> int:
    """Cells of the species overview along a tile of so many block means."""
    return max(d for d in range(1, blocks + 1) if blocks % d == 0 and d <= max(tile_size / SPECIES_CELL, 1))


def _opened(tile: Source, species: SpeciesList) -> BlockMeans:
    means = open_means(tile.path)
    if means.list_hash != species.hash:
        raise IntegrityError(f"{tile.path} holds species sets of another list; run `geoplantnet indicators` again")
    return means


def _weighted(values: npt.NDArray[np.float32], count: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """Means of blocks (n, y, x), each of so many cells (y, x) -> means (n, side, side) over all their cells, NaN where there are none."""
    n, y = len(values), count.shape[0] // side
    weight = count.reshape(side, y, side, y).sum(axis=(1, 3))
    total = (np.nan_to_num(values) * count).reshape(n, side, y, side, y).sum(axis=(2, 4))
    return np.divide(total, weight, out=np.full(total.shape, np.nan, np.float32), where=weight > 0)
