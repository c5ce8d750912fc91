"""The STAC catalog of a store: tiles and their products -> items, a collection, a catalog. Static, relative, self-contained.

    catalog.json                       written last: the commit record
    tiles/collection.json              `geoplantnet:layers`, the one source of legends; overviews as its assets
    tiles/<tile id>/<tile id>.json     an item a meta-tile, beside its products

Every link to a child carries `file:checksum`, so the bytes of ``catalog.json`` vouch for everything below it: items
vouch for assets, the collection for items, the catalog for the collection.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
from odc.geo.geom import Geometry
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension

from geoplantnet.catalog.geotiff import Band, RasterHeader, read_header
from geoplantnet.catalog.product import COG, ZARR, Layer, LegendClass, Product, json_number
from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.grid import MetaTile
from geoplantnet.storage import sha256, size_of, write_json

CATALOG = "catalog.json"
COLLECTION = "tiles"
LAYERS = "geoplantnet:layers"
NOTICE = "geoplantnet:notice"
FRENCH = "geoplantnet:fr"
MADE = "geoplantnet:made"
OVERVIEW = "overview-"
"""Before the key of an asset in that of its overview, an asset of the collection."""
TREE_CHECKSUM = "geoplantnet:tree_sha256"
"""Of an asset that is a directory (Zarr): SHA-256 of its sorted (relative path, SHA-256) lines; `file:checksum` is of files."""

# pystac's own RasterExtension still writes `raster:bands` of STAC 1.0; from 1.1 on bands are a core field.
_RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
_CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
_HREF = re.compile(r"[A-Za-z0-9._/-]+")


def multihash(sha256_hex: str) -> str:
    """A SHA-256 as the STAC file extension writes it: multihash prefix ``1220`` (sha2-256, 32 bytes) + hex."""
    return f"1220{sha256_hex}"


def write_item(
    root: str | Path,
    tile: MetaTile,
    products: Sequence[Product],
    *,
    interval: tuple[datetime, datetime],
    properties: Mapping[str, Any] | None = None,
) -> Path:
    """Commit the item of one tile with its products as assets. Returns its path, for `write_catalog`.

    Bands, scales, units and nodata of rasters are read from their headers, so item and file cannot disagree. `interval`
    is what the maps stand for (start, end; with time zone), `properties` what else the item tells (JSON-able). Raises
    InputError for products outside `root`, of one key or missing; IntegrityError for one whose size changed.
    """
    store = Path(root)
    path = store / COLLECTION / tile.id / f"{tile.id}.json"
    start, end = (_utc(moment) for moment in interval)
    if start > end:
        raise InputError(f"interval ends ({end}) before it starts ({start}); give (start, end)")
    if not products:
        raise InputError(f"tile {tile.id} has no products to publish; leave it out of the catalog")
    geobox = tile.geobox()
    footprint = _footprint(tile)
    item = pystac.Item(
        id=tile.id,
        geometry=footprint,
        bbox=_bbox(footprint),
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties=dict(properties or {}),
        collection=COLLECTION,
    )
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.apply(
        code=str(geobox.crs), bbox=[float(b) for b in tile.bounds], shape=list(geobox.shape), transform=list(tuple(geobox.affine)[:6])
    )
    for product in sorted(products, key=lambda p: p.key):
        if product.key in item.assets:
            raise InputError(f"tile {tile.id} has two products of key {product.key!r}; keys are unique in a tile")
        item.add_asset(product.key, pystac.Asset(href="", title=product.title, media_type=product.media_type, roles=list(product.roles)))
        _describe(item, product, _product_path(store, tile, product), path.parent)
    item.links = [
        pystac.Link("root", f"../../{CATALOG}", media_type="application/json"),
        pystac.Link("parent", "../collection.json", media_type="application/json"),
        pystac.Link("collection", "../collection.json", media_type="application/json"),
    ]
    return write_json(path, item.to_dict(include_self_link=False, transform_hrefs=False))


def write_catalog(
    root: str | Path,
    *,
    title: str,
    description: str,
    notice: str,
    layers: Sequence[Layer],
    items: Sequence[Path],
    license: str,
    providers: Sequence[Mapping[str, Any]] = (),
    overviews: Mapping[str, Path] | None = None,
    made: Mapping[str, Any] | None = None,
    fr: Mapping[str, str] | None = None,
    products: Sequence[Product] = (),
) -> Path:
    """Commit the collection of `items` (paths that `write_item` gave), then the catalog. Returns the catalog's path.

    `notice` is what every reader must know (such as "predicted, not observed"), `license` an SPDX id or ``other``,
    `providers` are STAC provider objects, `overviews` what `write_overview` and `write_species_overview` gave, by asset, `made` how
    the maps were made (JSON-able; `Catalog.made`), `fr` title, description and notice in French, as far as they are known, `products` the files that concern all tiles together. Raises InputError when a layer's asset or band is missing from a tile, or its
    scale, offset, nodata or unit is not the file's.
    """
    store = Path(root)
    if not items:
        raise InputError(f"no tile to publish in {store}; make at least one tile's products first")
    ids = [layer.id for layer in layers]
    if len(set(ids)) != len(ids):
        raise InputError(f"layer ids must be unique, {sorted({i for i in ids if ids.count(i) > 1})} are not")
    paths = sorted(Path(item) for item in items)
    outlines: list[dict[str, Any]] = []
    assets: dict[str, dict[str, Any]] = {}
    for path in paths:
        item = _load_item(store, path)
        for layer in layers:
            _check_layer(layer, item)
        _describe_assets(assets, item)
        outlines.append({name: item[name] for name in ("bbox", "properties")})  # all bands of all tiles do not fit into memory
    collection = pystac.Collection(
        id=COLLECTION,
        title=title,
        description=description,
        extent=_extent(outlines),
        license=license,
        providers=[pystac.Provider.from_dict(dict(p)) for p in providers],
        summaries=pystac.Summaries({"proj:code": sorted({item["properties"]["proj:code"] for item in outlines})}),
        extra_fields={
            LAYERS: [layer.to_dict() for layer in layers],
            "item_assets": dict(sorted(assets.items())),
            **({MADE: dict(made)} if made else {}),
        },
    )
    collection.clear_links()
    collection.add_link(pystac.Link("root", f"../{CATALOG}", media_type="application/json", title=title))
    collection.add_link(pystac.Link("parent", f"../{CATALOG}", media_type="application/json", title=title))
    FileExtension.add_to(collection)  # not to the catalog: the extension is one of items and collections, links may carry it anywhere
    folder = store / COLLECTION
    for key, path in sorted((overviews or {}).items()):
        collection.add_asset(f"{OVERVIEW}{key}", _overview_asset(key, path, folder))
    for product in products:
        collection.add_asset(product.key, _whole_asset(product, store, folder))
    for path in paths:
        collection.add_link(_checked_link("item", path, folder, "application/geo+json"))
    collection_path = write_json(folder / "collection.json", collection.to_dict(include_self_link=False, transform_hrefs=False))

    catalog = pystac.Catalog(
        id="geoplantnet", title=title, description=description, extra_fields={NOTICE: notice, **({FRENCH: dict(fr)} if fr else {})}
    )
    catalog.clear_links()
    catalog.add_link(pystac.Link("root", f"./{CATALOG}", media_type="application/json", title=title))
    catalog.add_link(_checked_link("child", collection_path, store, "application/json"))
    return write_json(store / CATALOG, catalog.to_dict(include_self_link=False, transform_hrefs=False))


def _overview_asset(key: str, path: Path, folder: Path) -> pystac.Asset:
    digest, size = sha256(path), size_of(path)
    told = {TREE_CHECKSUM: digest} if path.is_dir() else {"file:checksum": multihash(digest)}
    return pystac.Asset(
        href=_relative(path, folder),
        title=f"Overview of {key} over all tiles",
        media_type=ZARR if path.is_dir() else COG,
        roles=["overview"],
        extra_fields={**told, "file:size": size},
    )


def _whole_asset(product: Product, store: Path, folder: Path) -> pystac.Asset:
    """A file that concerns all tiles together."""
    path = product.path if product.path.is_absolute() else store / product.path
    return pystac.Asset(
        href=_relative(path, folder),
        title=product.title,
        media_type=product.media_type,
        roles=list(product.roles),
        extra_fields={"file:checksum": multihash(product.sha256), "file:size": product.size},
    )


def _describe(item: pystac.Item, product: Product, path: Path, folder: Path) -> None:
    asset = item.assets[product.key]
    asset.href = _relative(path, folder)
    if path.is_dir():
        asset.extra_fields[TREE_CHECKSUM] = product.sha256
        asset.extra_fields["file:size"] = product.size
        FileExtension.add_to(item)
    else:
        FileExtension.ext(asset, add_if_missing=True).apply(checksum=multihash(product.sha256), size=product.size)
    if product.media_type != COG:
        return
    header = read_header(path)
    if product.bands and product.bands != tuple(band.name for band in header.bands):
        raise InputError(
            f"product {product.key} announces bands {product.bands[:3]}..., its file holds {[b.name for b in header.bands[:3]]}..."
        )
    asset.extra_fields |= _raster_fields(header)
    if product.classes:
        asset.extra_fields["bands"][0]["classification:classes"] = [_class_fields(c) for c in product.classes]
        if _CLASSIFICATION not in item.stac_extensions:
            item.stac_extensions.append(_CLASSIFICATION)
    here = {"proj:code": header.crs, "proj:shape": list(header.shape), "proj:transform": list(header.transform)}
    asset.extra_fields |= {name: value for name, value in here.items() if item.properties[name] != value}
    if _RASTER not in item.stac_extensions:
        item.stac_extensions.append(_RASTER)


def _raster_fields(header: RasterHeader) -> dict[str, Any]:
    """STAC 1.1 `bands`; what is the same for all of them stands once, beside the list, as the specification advises."""
    each = [_band_fields(band) for band in header.bands]
    shared = {
        name: value
        for name, value in each[0].items()
        if name not in ("name", "statistics") and all(band.get(name) == value for band in each)
    }
    bands = [{name: value for name, value in band.items() if name not in shared} for band in each]
    step = header.transform[0]
    return {"data_type": header.dtype, "raster:spatial_resolution": step, **shared, "bands": bands}


def _class_fields(c: LegendClass) -> dict[str, Any]:
    """STAC classification extension; its names hold letters, digits, - and _ alone."""
    return {
        "value": c.value,
        "name": re.sub(r"[^0-9A-Za-z_-]+", "-", c.label.split()[0]),
        "title": c.label,
        "description": c.label,
        "color_hint": c.color.removeprefix("#").upper(),
    }


def _band_fields(band: Band) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": band.name, "raster:scale": band.scale, "raster:offset": band.offset}
    optional = {"description": band.description, "unit": band.unit, "nodata": json_number(band.nodata), "statistics": dict(band.statistics)}
    return fields | {name: value for name, value in optional.items() if value not in ("", None, {})}


def _product_path(store: Path, tile: MetaTile, product: Product) -> Path:
    path = product.path if product.path.is_absolute() else store / product.path
    inside = path.resolve()
    if not inside.is_relative_to(store.resolve()):
        raise InputError(
            f"product {product.key} of {tile.id} lies at {path}, outside the store {store}; a catalog holds only its own files"
        )
    if not inside.exists():
        raise InputError(f"product {product.key} of {tile.id} is not at {path}; make it first")
    if size_of(inside) != product.size:
        raise IntegrityError(
            f"product {product.key} of {tile.id} has {size_of(inside)} bytes, {product.size} when it was made; make it again"
        )
    return inside


def _relative(path: Path, folder: Path) -> str:
    """Href from a folder to a file of the store. Raises InputError for characters that an URL would have to escape."""
    href = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    if not _HREF.fullmatch(href):
        raise InputError(f"{href!r} cannot be a link; name files with letters, digits, '.', '-' and '_' only")
    return href if href.startswith("..") else f"./{href}"


def _footprint(tile: MetaTile) -> dict[str, Any]:
    """The tile in WGS84, sides densified (they are curved there), rounded to 1e-7 degrees (1 cm)."""
    outline: Geometry = tile.geobox().extent.to_crs("EPSG:4326", resolution=tile.grid.tile_size / 4)
    ring = [[round(x, 7), round(y, 7)] for x, y in outline.geom.exterior.normalize().coords]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))
    return {"type": "Polygon", "coordinates": [ring if area > 0 else ring[::-1]]}  # RFC 7946: counter-clockwise


def _bbox(polygon: dict[str, Any]) -> list[float]:
    x, y = zip(*polygon["coordinates"][0])
    return [min(x), min(y), max(x), max(y)]


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InputError(f"{moment} has no time zone; give UTC")
    return moment.astimezone(UTC)


def _load_item(store: Path, path: Path) -> dict[str, Any]:
    if path.resolve().parent.parent != (store / COLLECTION).resolve():
        raise InputError(f"{path} is no item of {store / COLLECTION}; pass the paths that write_item gave")
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read item {path}: {error}; write it again") from error


def _check_layer(layer: Layer, item: Mapping[str, Any]) -> None:
    """The legend says of the stored values what the file says."""
    asset = item["assets"].get(layer.asset)
    if asset is None:
        raise InputError(f"layer {layer.id} is read from asset {layer.asset!r}, but tile {item['id']} has only {sorted(item['assets'])}")
    bands = asset.get("bands", [])
    if layer.band > len(bands):
        raise InputError(f"layer {layer.id} is band {layer.band} of {layer.asset!r}, but tile {item['id']} has {len(bands)} bands there")
    extra = [layer.uncertainty.band] if layer.uncertainty else []
    if lacking := [band for band in [*extra, layer.applicable or 1] if band > len(bands)]:
        raise InputError(f"layer {layer.id} names bands {lacking} of {layer.asset!r}, but tile {item['id']} has {len(bands)} bands there")
    fields = asset | bands[layer.band - 1]
    said = {"raster:scale": layer.scale, "raster:offset": layer.offset, "nodata": json_number(layer.nodata), "unit": layer.unit}
    wrong = {
        name: (value, fields.get(name))
        for name, value in said.items()
        if fields.get(name) != value and (name != "unit" or fields.get(name))
    }
    if wrong:
        text = ", ".join(f"{name} {mine!r} but the file {its!r}" for name, (mine, its) in wrong.items())
        raise InputError(f"layer {layer.id} says {text} (tile {item['id']}, asset {layer.asset!r}, band {layer.band}); make them agree")


def _extent(items: Sequence[Mapping[str, Any]]) -> pystac.Extent:
    west, south, east, north = zip(*(item["bbox"] for item in items))
    start = min(item["properties"]["start_datetime"] for item in items)
    end = max(item["properties"]["end_datetime"] for item in items)
    interval: list[datetime | None] = [datetime.fromisoformat(start), datetime.fromisoformat(end)]
    return pystac.Extent(pystac.SpatialExtent([[min(west), min(south), max(east), max(north)]]), pystac.TemporalExtent([interval]))


def _describe_assets(known: dict[str, dict[str, Any]], item: Mapping[str, Any]) -> None:
    """What a tile's assets are, by key; the first tile that has one describes it."""
    for key, asset in item["assets"].items():
        known.setdefault(key, {name: asset[name] for name in ("title", "type", "roles") if name in asset})


def _checked_link(rel: str, path: Path, folder: Path, media_type: str) -> pystac.Link:
    fields = {"file:checksum": multihash(sha256(path)), "file:size": size_of(path)}
    return pystac.Link(rel, _relative(path, folder), media_type=media_type, extra_fields=fields)
