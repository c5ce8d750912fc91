"""Open a published catalog for serving, and check its bytes: a frozen view, nothing outside its root."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError

from geoplantnet.catalog.product import COG, Layer
from geoplantnet.catalog.stac import CATALOG, FRENCH, LAYERS, MADE, NOTICE, OVERVIEW, TREE_CHECKSUM, multihash
from geoplantnet.errors import InputError, IntegrityError, LayerNotFound, StorageError, did_you_mean
from geoplantnet.storage import sha256, size_of

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class PublishedTile:
    """One tile of a catalog and where its products lie."""

    id: str
    bounds: Bounds
    """West, south, east, north in `crs`."""
    crs: str
    """Authority code, such as ``EPSG:3035``."""
    assets: Mapping[str, Path]
    """Absolute path of each product, by asset key; all inside the catalog's root."""
    properties: Mapping[str, Any]
    """The item's properties: start and end of the interval, and what the publisher told of how it was made."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """A published catalog as it stood when it was opened."""

    root: Path
    title: str
    description: str
    notice: str
    """What every reader must know, such as ``predicted, not observed``."""
    license: str
    interval: tuple[str, str]
    """Start and end of what the maps stand for, RFC 3339, UTC."""
    layers: Mapping[str, Layer]
    """By id, in the publisher's order."""
    tiles: tuple[PublishedTile, ...]
    """In the order of their ids; all in one CRS."""
    overviews: Mapping[str, Path] = field(default_factory=dict)
    """By asset: what is drawn of all tiles together from afar (`catalog.overview`); ``all-species`` is of all species."""
    assets: Mapping[str, Path] = field(default_factory=dict)
    """By key: the other files that concern all tiles together."""
    version: str
    """SHA-256 of ``catalog.json``, which vouches for all below it: changes when any published byte does (for ETags)."""
    fr: Mapping[str, str] = field(default_factory=dict)
    """Title, description and notice in French, as far as the publisher gave them."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """How the maps were made, as their publisher tells it: inputs, records, model, skill; empty in a catalog published without."""
    withheld: frozenset[str] = frozenset()
    """Keys of the assets that are not handed out as files, since hidden layers may lie in them (`showing`)."""

    @property
    def crs(self) -> str:
        """The CRS of all tiles."""
        return self.tiles[0].crs

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of all tiles, in `crs`."""
        west, south, east, north = self._boxes.T
        return float(west.min()), float(south.min()), float(east.max()), float(north.max())

    def layer(self, id: str) -> Layer:
        """The layer named `id`. Raises LayerNotFound with the nearest spellings."""
        layer = self.layers.get(id)
        if layer is None:
            raise LayerNotFound(f"{id!r} is not among the {len(self.layers)} layers of {self.title}.{did_you_mean(id, self.layers)}")
        return layer

    def showing(self, may: Callable[[str], bool]) -> Catalog:
        """The catalog as if only the layers whose ids may be seen were published; their rasters stay readable.

        Where layers are hidden, files are withheld unless layers lie in them and all of these may be seen: a file without a
        layer of its own (species sets, coverage, cubes) may hold anything.
        """
        seen = {id: layer for id, layer in self.layers.items() if may(id)}
        if len(seen) == len(self.layers):
            return self
        open_to_all = {layer.asset for layer in seen.values()} - {layer.asset for id, layer in self.layers.items() if id not in seen}
        keys = {key for tile in self.tiles for key in tile.assets} | self.overviews.keys() | self.assets.keys()
        withheld = frozenset(keys - open_to_all)
        return replace(self, layers=MappingProxyType(seen), withheld=withheld)

    def tiles_meeting(self, bounds: Bounds) -> tuple[PublishedTile, ...]:
        """Tiles whose interior meets a box (west, south, east, north in the catalog's CRS)."""
        west, south, east, north = bounds
        w, s, e, n = self._boxes.T
        return tuple(self.tiles[i] for i in np.flatnonzero((w < east) & (e > west) & (s < north) & (n > south)))

    @cached_property
    def _boxes(self) -> npt.NDArray[np.float64]:
        return np.array([tile.bounds for tile in self.tiles], np.float64)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something of a catalog that is not as it was published."""

    fault: Literal["missing", "changed", "unreadable", "outside"]
    path: Path
    tile: str = ""
    """Empty for the catalog and the collection themselves."""
    asset: str = ""
    """Empty for a STAC document."""
    message: str
    """What, both values, and the fix."""


def open_catalog(path: str | Path) -> Catalog:
    """Open the catalog at `path`: a store's root, or its ``catalog.json``.

    Every STAC document is compared with the checksum its parent holds (assets are not: see `check`). Raises InputError
    for what is no catalog of ours or links out of its root, IntegrityError for a document that changed since.
    """
    root, raw = _read_root(path)
    catalog = _parse(raw, root / CATALOG)
    collection_path, collection = _open_child(root, root / CATALOG, _only_child(catalog, root))
    try:
        items = [_open_child(root, collection_path, link) for link in collection["links"] if link["rel"] == "item"]
        tiles = tuple(sorted((_tile(root, *item) for item in items), key=lambda tile: tile.id))
        layers = [Layer.from_dict(value) for value in collection[LAYERS]]
        whole = _whole_assets(root, collection_path, collection)
        start, end = collection["extent"]["temporal"]["interval"][0]
        opened = Catalog(
            root=root,
            title=catalog["title"],
            description=catalog["description"],
            notice=catalog[NOTICE],
            license=collection["license"],
            interval=(start, end),
            layers=MappingProxyType({layer.id: layer for layer in layers}),
            tiles=tiles,
            overviews=MappingProxyType({k.removeprefix(OVERVIEW): path for k, path in whole.items() if k.startswith(OVERVIEW)}),
            assets=MappingProxyType({key: path for key, path in whole.items() if not key.startswith(OVERVIEW)}),
            version=sha256(root / CATALOG),
            made=MappingProxyType(dict(collection.get(MADE, {}))),
            fr=MappingProxyType({name: str(text) for name, text in catalog.get(FRENCH, {}).items()}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{root / CATALOG} is no geoplantnet catalog: {error!r}; publish it again") from error
    _check_whole(opened)
    return opened


def check(path: str | Path) -> list[Finding]:
    """Compare every document and asset of a catalog with its recorded size and checksum; open every raster. Empty = all well.

    Goes on after a fault, so that one call names all of them; below a changed document nothing can be told. ``catalog.json``
    itself is vouched for by its `Catalog.version`, kept elsewhere. Raises InputError when there is no catalog to begin with.
    """
    root, raw = _read_root(path)
    catalog = _parse(raw, root / CATALOG)
    return list(_faults_below(root, root / CATALOG, [_only_child(catalog, root)]))


def _faults_below(root: Path, parent: Path, links: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for link in links:
        try:
            path = _resolve(root, parent, str(link.get("href", "")))
        except InputError as error:
            yield Finding(fault="outside", path=parent, message=str(error))
            continue
        tile = path.stem if link.get("rel") == "item" else ""
        finding = _compare(path, link, tile=tile)
        if finding:  # what a changed document says of its children is worth nothing
            yield finding
            continue
        document = _parse(path.read_bytes(), path)
        yield from _faults_below(root, path, [link for link in document.get("links", []) if link.get("rel") == "item"])
        for key, asset in sorted(document.get("assets", {}).items()):
            yield from _asset_faults(root, path, tile, key, asset)


def _asset_faults(root: Path, item: Path, tile: str, key: str, asset: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        path = _resolve(root, item, str(asset.get("href", "")))
    except InputError as error:
        yield Finding(fault="outside", path=item, tile=tile, asset=key, message=str(error))
        return
    finding = _compare(path, asset, tile=tile, asset=key)
    if finding:
        yield finding
    elif asset.get("type") == COG:
        try:
            rasterio.open(path, driver="GTiff").close()
        except RasterioError as error:
            message = f"{path} does not open as GeoTIFF ({error}); make it and publish again"
            yield Finding(fault="unreadable", path=path, tile=tile, asset=key, message=message)


def _compare(path: Path, record: Mapping[str, Any], *, tile: str = "", asset: str = "") -> Finding | None:
    def finding(fault: Literal["missing", "changed", "unreadable"], message: str) -> Finding:
        return Finding(
            fault=fault, path=path, tile=tile, asset=asset, message=f"{path} {message}; restore it, or make it and publish again"
        )

    if not path.exists():
        return finding("missing", "is not there")
    try:
        size, digest = size_of(path), sha256(path)
    except OSError as error:
        return finding("unreadable", f"cannot be read ({error})")
    if size != record.get("file:size"):
        return finding("changed", f"has {size} bytes, published with {record.get('file:size')}")
    recorded, actual = (record.get(TREE_CHECKSUM), digest) if path.is_dir() else (record.get("file:checksum"), multihash(digest))
    return None if recorded == actual else finding("changed", f"has checksum {actual}, published with {recorded}")


def _read_root(path: str | Path) -> tuple[Path, bytes]:
    given = Path(path)
    root = (given.parent if given.name == CATALOG else given).resolve()
    try:
        return root, (root / CATALOG).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"there is no catalog at {root / CATALOG}; publish one first") from error
    except OSError as error:
        raise StorageError(f"cannot read {root / CATALOG}: {error}; check the store") from error


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); publish the catalog again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, not a STAC object; publish the catalog again")
    return value


def _only_child(catalog: Mapping[str, Any], root: Path) -> Mapping[str, Any]:
    children = [link for link in catalog.get("links", []) if isinstance(link, dict) and link.get("rel") == "child"]
    if len(children) != 1 or NOTICE not in catalog:
        raise InputError(
            f"{root / CATALOG} is no geoplantnet catalog ({len(children)} children, {NOTICE!r} expected); open one that publish made"
        )
    return children[0]


def _open_child(root: Path, parent: Path, link: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    path = _resolve(root, parent, str(link.get("href", "")))
    fault = _compare(path, link)
    if fault:
        raise IntegrityError(f"{fault.message}. If a publication is running, open the catalog again when it has ended")
    return path, _parse(path.read_bytes(), path)


def _tile(root: Path, path: Path, item: Mapping[str, Any]) -> PublishedTile:
    properties = item["properties"]
    west, south, east, north = map(float, properties["proj:bbox"])
    assets = {key: _resolve(root, path, asset["href"]) for key, asset in sorted(item["assets"].items())}
    return PublishedTile(
        id=item["id"],
        bounds=(west, south, east, north),
        crs=properties["proj:code"],
        assets=MappingProxyType(assets),
        properties=MappingProxyType(properties),
    )


def _whole_assets(root: Path, path: Path, collection: Mapping[str, Any]) -> dict[str, Path]:
    """What concerns all tiles together, by the collection's keys."""
    return {key: _resolve(root, path, asset["href"]) for key, asset in collection.get("assets", {}).items()}


def _check_whole(catalog: Catalog) -> None:
    if not catalog.tiles:
        raise InputError(f"the catalog {catalog.root} has no tiles; publish at least one")
    if len({tile.crs for tile in catalog.tiles}) != 1:
        raise InputError(
            f"the catalog {catalog.root} mixes the CRS {sorted({tile.crs for tile in catalog.tiles})}; publish one catalog a grid"
        )
    for tile in catalog.tiles:
        if lacking := sorted({layer.asset for layer in catalog.layers.values()} - set(tile.assets)):
            raise InputError(f"tile {tile.id} lacks the assets {lacking} that layers are read from; publish it again")


def _resolve(root: Path, document: Path, href: str) -> Path:
    """The file a relative href of a document means. Raises InputError when it is none, or outside the root (symlinks followed)."""
    path = (document.parent / href).resolve()
    if not href or ":" in href or Path(href).is_absolute() or not path.is_relative_to(root):
        raise InputError(f"{document} links to {href!r}, which is not a file inside {root}; publish the catalog again")
    return path
