"""The written STAC: valid, self-contained, of the same bytes, and at one with the files it describes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
import shapely
from pyproj import Transformer
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import JsonSchemaSTACValidator

from geoplantnet.catalog import COG, Layer, Product, encode, write_catalog, write_cog, write_item
from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.storage import sha256

TILE = "5kmE4125N2575"
INTERVAL = (datetime(2018, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC))


def documents(root: Path) -> list[Path]:
    return [root / "catalog.json", *sorted((root / "tiles").glob("*.json")), *sorted((root / "tiles").glob("*/*.json"))]


def test_pystac_walks_it_and_every_document_is_valid_stac(published):
    """Pystac reads catalog, collection and items; each validates against the core JSON schemas that pystac ships."""
    catalog = pystac.Catalog.from_file(str(published / "catalog.json"))
    collection = catalog.get_child("tiles")
    assert isinstance(collection, pystac.Collection)
    items = list(catalog.get_items(recursive=True))
    assert [item.id for item in items] == [TILE, "5kmE4130N2575"] and [item.collection_id for item in items] == ["tiles", "tiles"]
    assert items[0].get_collection().get_parent() is catalog
    validator = JsonSchemaSTACValidator()
    for thing in (catalog, collection, *items):
        raw = json.loads(Path(thing.get_self_href()).read_text())
        validator.validate_core(raw, thing.STAC_OBJECT_TYPE, raw["stac_version"])
    assert catalog.stac_extensions == []  # the file extension's schema knows items and collections only
    assert collection.extent.temporal.intervals == [list(INTERVAL)]
    assert items[0].datetime is None and items[0].common_metadata.start_datetime == INTERVAL[0]


def test_pystac_client_walks_it_as_a_static_catalog(published):
    """The client that people point at APIs opens the file as well."""
    client = pystac_client.Client.open(str(published / "catalog.json"))
    assert [collection.id for collection in client.get_collections()] == ["tiles"]
    assert len(list(client.get_items(recursive=True))) == 2


def test_every_href_is_relative_and_leads_somewhere(published):
    """The folder can be moved or served as it is: no absolute path, no URL but of schemas, no dead link."""
    for path in documents(published):
        content = json.loads(path.read_text())
        for link in [*content["links"], *content.get("assets", {}).values()]:
            assert link["href"].startswith((".", "..")), link
            assert (path.parent / link["href"]).exists(), link
        assert str(published) not in path.read_text()


def test_checksums_and_sizes_are_those_of_the_files(published):
    """`file:checksum` is the multihash of each file; a directory has its tree's hash instead."""
    for item in pystac.Catalog.from_file(str(published / "catalog.json")).get_items(recursive=True):
        for key, asset in item.get_assets().items():
            path = Path(asset.get_absolute_href())
            if key == "latent":
                assert path.is_dir() and asset.extra_fields["geoplantnet:tree_sha256"] == sha256(path)
                assert FileExtension.ext(asset).checksum is None
            else:
                assert FileExtension.ext(asset).checksum == "1220" + sha256(path)
                assert FileExtension.ext(asset).size == path.stat().st_size


def test_the_projection_and_bands_are_those_of_the_rasters(published):
    """Shape, transform, code, scale, nodata, unit and names in the item are what rasterio reads in the file."""
    for item in pystac.Catalog.from_file(str(published / "catalog.json")).get_items(recursive=True):
        projection = ProjectionExtension.ext(item)
        asset = item.assets["suitability"]
        with rasterio.open(asset.get_absolute_href(), driver="GTiff") as raster:
            assert projection.code == f"EPSG:{raster.crs.to_epsg()}"
            assert tuple(projection.shape) == raster.shape and tuple(projection.transform) == tuple(raster.transform)[:6]
            assert tuple(projection.bbox) == tuple(raster.bounds)
            fields = asset.extra_fields
            assert (fields["data_type"], fields["nodata"], fields["raster:scale"], fields["unit"]) == ("uint8", 255, 0.004, "1")
            assert [band["name"] for band in fields["bands"]] == list(raster.descriptions) == ["a", "b"]
            assert [band["description"] for band in fields["bands"]] == ["Abies alba", "Betula nana"]
            valid = raster.read(1)[raster.read(1) != 255]
            assert fields["bands"][0]["statistics"]["mean"] == pytest.approx(valid.mean())


def test_a_raster_on_another_lattice_says_so_itself(tmp_path, grid):
    """An asset coarser than the tile's cells carries its own shape and transform."""
    tile = grid.tile(TILE)
    geobox = tile.geobox(1000)
    path = write_cog(tmp_path / "tiles" / TILE / "coarse.tif", np.ones((1, 5, 5), "float32"), geobox, band_names=["a"], nodata=np.nan)
    item_path = write_item(tmp_path, tile, [Product.of(path, key="coarse", media_type=COG, title="")], interval=INTERVAL)
    asset = json.loads(item_path.read_text())["assets"]["coarse"]
    assert asset["proj:shape"] == [5, 5] and asset["proj:transform"] == list(geobox.affine)[:6] and asset["nodata"] == "nan"
    assert "proj:code" not in asset and asset["raster:spatial_resolution"] == 1000


def test_the_footprint_is_the_tile_in_wgs84(published, grid):
    """The item's polygon, counter-clockwise, holds the tile's points and none beyond it; bbox is its bounds."""
    tile = grid.tile(TILE)
    item = pystac.Item.from_file(str(published / "tiles" / TILE / f"{TILE}.json"))
    polygon = shapely.geometry.shape(item.geometry)
    assert polygon.exterior.is_ccw and list(polygon.bounds) == item.bbox
    west, south, east, north = tile.bounds
    to_wgs84 = Transformer.from_crs(3035, 4326, always_xy=True).transform
    inside = [(x, y) for x in np.linspace(west + 1, east - 1, 9) for y in np.linspace(south + 1, north - 1, 9)]
    outside = [(x, y) for x in (west - 1, east + 1) for y in np.linspace(south, north, 9)]
    assert all(polygon.contains(shapely.Point(to_wgs84(*p))) for p in inside)
    assert not any(polygon.contains(shapely.Point(to_wgs84(*p))) for p in outside)


def test_the_collection_carries_the_layers(published, layers):
    """`geoplantnet:layers` is the legends' one source, in the publisher's order."""
    collection = json.loads((published / "tiles" / "collection.json").read_text())
    assert tuple(Layer.from_dict(value) for value in collection["geoplantnet:layers"]) == layers
    assert set(collection["item_assets"]) == {"suitability", "iucn", "coverage", "latent"}
    assert (collection["license"], collection["summaries"]) == ("CC-BY-4.0", {"proj:code": ["EPSG:3035"]})


def test_publishing_twice_writes_the_same_bytes(published, store):
    """Two stores of the same content are the same, file by file."""
    files = sorted(path.relative_to(store) for path in store.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(published) for path in published.rglob("*") if path.is_file())
    assert all((store / file).read_bytes() == (published / file).read_bytes() for file in files)


def test_the_catalog_is_committed_last(published, store, layers, monkeypatch):
    """Killed before the last rename, a publication leaves no new catalog."""
    from geoplantnet.catalog import stac

    before = (store / "catalog.json").read_bytes()
    written: list[str] = []

    def write_json(path, value):
        written.append(Path(path).name)
        if Path(path).name == "catalog.json":
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(stac, "write_json", write_json)
    items = sorted((store / "tiles").glob("*/*.json"))
    with pytest.raises(KeyboardInterrupt):
        write_catalog(store, title="New", description="", notice="", layers=layers, items=items, license="CC0-1.0")
    assert written == ["collection.json", "catalog.json"]
    assert (store / "catalog.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"asset": "absent"}, "absent"),
        ({"band": 3}, "2 bands"),
        ({"asset": "coverage"}, "0 bands"),
        ({"scale": 0.01}, "raster:scale 0.01 but the file 0.004"),
        ({"offset": 1.0}, "raster:offset"),
        ({"nodata": None}, "nodata None but the file 255"),
        ({"unit": "nats"}, "unit 'nats' but the file '1'"),
    ],
)
def test_a_legend_that_contradicts_its_file_is_refused(store, layers, change, word):
    """Layers whose asset, band, scale, offset, nodata or unit is not the file's raise InputError and publish nothing."""
    before = (store / "catalog.json").read_bytes()
    items = sorted((store / "tiles").glob("*/*.json"))
    with pytest.raises(InputError, match=word):
        write_catalog(
            store, title="", description="", notice="", layers=[dataclasses.replace(layers[0], **change)], items=items, license="CC0-1.0"
        )
    assert (store / "catalog.json").read_bytes() == before


def test_catalogs_without_tiles_or_with_foreign_items_are_refused(store, layers, tmp_path):
    """No items, twice the same layer, items from elsewhere and damaged ones raise InputError."""
    asked = {"title": "", "description": "", "notice": "", "license": "CC0-1.0", "layers": layers}
    items = sorted((store / "tiles").glob("*/*.json"))
    foreign = shutil.copy(items[0], tmp_path / "foreign.json")
    for change, word in (
        ({"items": []}, "no tile"),
        ({"items": [foreign]}, "no item of"),
        ({"items": items, "layers": layers[:1] * 2}, "unique"),
    ):
        with pytest.raises(InputError, match=word):
            write_catalog(store, **(asked | change))
    items[0].write_text("{")
    with pytest.raises(InputError, match="write it again"):
        write_catalog(store, **asked, items=items)


def test_products_that_cannot_be_published_are_refused(tmp_path, grid):
    """Outside the root, absent, changed since, doubled, badly named and none at all: each raises its typed error."""
    tile, root = grid.tile(TILE), tmp_path / "store"
    inside = root / "x.bin"
    inside.parent.mkdir()
    inside.write_bytes(b"abc")
    (tmp_path / "outside.bin").write_bytes(b"abc")
    (root / "a b.bin").write_bytes(b"abc")

    def product(path, **change):
        return dataclasses.replace(Product.of(inside, key="k", media_type="application/octet-stream", title=""), path=Path(path), **change)

    good = product("x.bin")
    for products, error, word in (
        ([], InputError, "no products"),
        ([good, good], InputError, "two products"),
        ([product(tmp_path / "outside.bin")], InputError, "outside the store"),
        ([product("../outside.bin")], InputError, "outside the store"),
        ([product("absent.bin")], InputError, "make it first"),
        ([product("a b.bin")], InputError, "link"),
        ([product("x.bin", size=9)], IntegrityError, "3 bytes, 9"),
    ):
        with pytest.raises(error, match=word):
            write_item(root, tile, products, interval=INTERVAL)
    for interval in (INTERVAL[::-1], (datetime(2018, 1, 1), INTERVAL[1])):
        with pytest.raises(InputError):
            write_item(root, tile, [good], interval=interval)
    assert not list(root.glob("tiles/**/*.json"))


def test_band_names_must_be_the_files(tmp_path, grid):
    """A product that announces other bands than its file has is refused."""
    tile = grid.tile(TILE)
    path = write_cog(tmp_path / "x.tif", encode(np.zeros((1, 100, 100))).values, tile.geobox(), band_names=["a"], nodata=255)
    with pytest.raises(InputError, match="announces"):
        write_item(tmp_path, tile, [Product.of(path, key="k", media_type=COG, title="", bands=("b",))], interval=INTERVAL)


def test_memory_of_a_catalog_does_not_grow_with_its_tiles(tmp_path):
    """Four times the tiles, each with a thousand bands, take no more memory by the allocator: items are looked at one after the other."""
    band = {"raster:scale": 0.004, "raster:offset": 0.0, "nodata": 255, "unit": "1"}
    asset = {**band, "bands": [{"name": f"s{k}", "description": f"Species {k}", "statistics": {"minimum": k}} for k in range(1_000)]}
    layers = [Layer(id="s0", title="", description="", family="Species", asset="species", scale=0.004, nodata=255)]
    moments = {"start_datetime": "2000-01-01T00:00:00Z", "end_datetime": "2001-01-01T00:00:00Z", "proj:code": "EPSG:3035"}
    peaks = []
    for count in (4, 4, 16):  # the first of all also makes what is made once a process
        items = [tmp_path / f"{count}" / "tiles" / f"t{i}" / f"t{i}.json" for i in range(count)]
        for path in items:
            path.parent.mkdir(parents=True, exist_ok=True)
            item = {"id": path.stem, "bbox": [0, 0, 1, 1], "properties": moments, "assets": {"species": asset}}
            path.write_text(json.dumps(item), encoding="utf-8")
        tracemalloc.start()
        write_catalog(tmp_path / f"{count}", title="", description="", notice="", layers=layers, items=items, license="CC0-1.0")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]
