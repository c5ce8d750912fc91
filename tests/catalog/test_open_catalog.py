"""Opening and checking a published catalog: what is served is what was published, and nothing outside the root."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.catalog import Catalog, PublishedTile, check, open_catalog, write_catalog
from geoplantnet.catalog.stac import multihash
from geoplantnet.errors import InputError, IntegrityError, LayerNotFound
from geoplantnet.storage import sha256

TILE, EAST = "5kmE4125N2575", "5kmE4130N2575"


def forge(root: Path, tile: str, change) -> None:
    """Change an item as an attacker would: mend every checksum above it."""
    path = root / "tiles" / tile / f"{tile}.json"
    for child, parent in ((path, root / "tiles" / "collection.json"), (root / "tiles" / "collection.json", root / "catalog.json")):
        content = json.loads(child.read_text())
        if child == path:
            change(content)
            child.write_text(json.dumps(content))
        above = json.loads(parent.read_text())
        for link in above["links"]:
            if link["href"].endswith(child.name):
                link |= {"file:checksum": multihash(sha256(child)), "file:size": child.stat().st_size}
        parent.write_text(json.dumps(above))


def test_it_opens_as_it_was_published(published, layers):
    """Title, notice, licence, layers, tiles and their files are the publisher's; folder and file open alike."""
    catalog = open_catalog(published)
    assert (catalog.title, catalog.notice, catalog.license) == ("Demo", "Predicted, not observed.", "CC-BY-4.0")
    assert catalog.interval == ("2018-01-01T00:00:00Z", "2021-12-31T00:00:00Z")
    assert tuple(catalog.layers.values()) == layers and list(catalog.layers) == [layer.id for layer in layers]
    assert [tile.id for tile in catalog.tiles] == [TILE, EAST]
    assert catalog.tiles[0].bounds == (4_125_000, 2_575_000, 4_130_000, 2_580_000) and catalog.crs == "EPSG:3035"
    assert catalog.bounds == (4_125_000, 2_575_000, 4_135_000, 2_580_000)
    assert catalog.tiles[0].assets["coverage"] == (published / "tiles" / TILE / "coverage.gpkg").resolve()
    assert catalog.tiles[0].properties["geoplantnet:model"] == "m1"
    assert open_catalog(published / "catalog.json") == catalog


def test_the_view_is_frozen(published):
    """A server cannot change what it serves by accident."""
    catalog = open_catalog(published)
    with pytest.raises(AttributeError):
        catalog.title = "x"  # type: ignore[misc]
    for mapping in (catalog.layers, catalog.tiles[0].assets, catalog.tiles[0].properties):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]


def test_an_unknown_layer_is_named_with_its_neighbours(published):
    """LayerNotFound offers the nearest spelling."""
    catalog = open_catalog(published)
    assert catalog.layer("species.a").title == "Abies alba"
    with pytest.raises(LayerNotFound, match=r"'specis\.a'.*Did you mean 'species\.a'"):
        catalog.layer("specis.a")


corners = st.tuples(st.integers(-2, 8), st.integers(-2, 8))


@given(corners, st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_tiles_meeting_a_box_are_those_whose_interior_it_meets(corner, size):
    """Against brute force over a grid of 6 x 6 tiles; touching an edge is not meeting."""
    tiles = tuple(
        PublishedTile(id=f"{x}-{y}", bounds=(x, y, x + 1, y + 1), crs="EPSG:3035", assets={}, properties={})
        for x in range(6)
        for y in range(6)
    )
    catalog = Catalog(root=Path(), title="", description="", notice="", license="", interval=("", ""), layers={}, tiles=tiles, version="")
    (west, south), (width, height) = corner, size
    cells = {f"{x}-{y}" for x in range(west, west + width) for y in range(south, south + height)} if width and height else set()
    met = catalog.tiles_meeting((west, south, west + width, south + height))
    assert {tile.id for tile in met} >= cells & {tile.id for tile in tiles}
    if width and height:
        assert {tile.id for tile in met} == cells & {tile.id for tile in tiles}


def test_the_version_follows_the_content(published, store, layers):
    """Equal stores have equal versions; another notice, another asset or another layer order another one."""
    first = open_catalog(store).version
    assert first == open_catalog(published).version
    asked = {"title": "Demo", "description": "A tiny catalog", "license": "CC-BY-4.0", "items": sorted((store / "tiles").glob("*/*.json"))}
    versions = {first}
    for notice, order in (("Changed.", layers), ("Predicted, not observed.", layers[::-1])):
        write_catalog(store, **asked, notice=notice, layers=order)
        versions.add(open_catalog(store).version)
    assert len(versions) == 3


def test_a_whole_catalog_has_no_findings(published):
    """`check` of what was just published finds nothing."""
    assert check(published) == []


@pytest.mark.parametrize("file", ["suitability.tif", "iucn.tif", "coverage.gpkg", "latent.zarr/z/0", f"{TILE}.json"])
def test_any_flipped_bit_is_found(store, file):
    """One bit anywhere in a published file is found and laid at its tile and asset."""
    path = store / "tiles" / TILE / file
    original, rng = path.read_bytes(), random.Random(file)
    for _ in range(5):
        flipped = bytearray(original)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        (finding,) = check(store)
        assert (finding.fault, finding.tile) == ("changed", TILE)
        assert finding.asset == {"suitability.tif": "suitability", "iucn.tif": "iucn", "coverage.gpkg": "coverage"}.get(
            file, "latent" if "zarr" in file else ""
        )
    path.write_bytes(original)
    assert check(store) == []


def test_missing_cut_and_extra_files_are_found_together(store):
    """One check names every fault: a deleted file, a truncated one, a file added to a Zarr store, a deleted item."""
    folder = store / "tiles" / TILE
    (folder / "iucn.tif").unlink()
    (folder / "coverage.gpkg").write_bytes((folder / "coverage.gpkg").read_bytes()[:-1])
    (folder / "latent.zarr" / "extra").write_bytes(b"")
    (store / "tiles" / EAST / f"{EAST}.json").unlink()
    found = {(f.tile, f.asset): f.fault for f in check(store)}
    assert found == {(TILE, "iucn"): "missing", (TILE, "coverage"): "changed", (TILE, "latent"): "changed", (EAST, ""): "missing"}
    assert all("publish again" in finding.message for finding in check(store))


def test_a_raster_published_damaged_is_unreadable(store):
    """Bytes that match their checksum but are no GeoTIFF are found too."""
    path = store / "tiles" / TILE / "iucn.tif"
    path.write_bytes(b"no tiff")

    def accept(item):
        item["assets"]["iucn"] |= {"file:checksum": multihash(sha256(path)), "file:size": 7}

    forge(store, TILE, accept)
    assert [(f.fault, f.asset) for f in check(store)] == [("unreadable", "iucn")]


@pytest.mark.parametrize(
    "href",
    [
        "../../../outside.tif",
        "/etc/passwd",
        "http://example.org/x.tif",
        "/vsicurl/http://example.org/x.tif",
        "file:///etc/passwd",
        "",
        "./link.tif",
    ],
)
def test_hrefs_that_leave_the_root_are_refused(store, href):
    """Upwards, absolute, remote, empty and through a symlink: open_catalog raises InputError, check says `outside`."""
    (store.parent / "outside.tif").write_bytes(b"secret")
    (store / "tiles" / TILE / "link.tif").symlink_to(store.parent / "outside.tif")
    forge(store, TILE, lambda item: item["assets"]["iucn"].update(href=href))
    with pytest.raises(InputError, match="not a file inside"):
        open_catalog(store)
    assert [(f.fault, f.asset) for f in check(store)] == [("outside", "iucn")]


@pytest.mark.parametrize("document", ["tiles/collection.json", f"tiles/{TILE}/{TILE}.json"])
@pytest.mark.parametrize("fault", ["flip", "cut", "delete"])
def test_a_document_that_changed_since_is_not_served(store, document, fault):
    """A collection or item that differs from what its parent vouches for raises IntegrityError."""
    path = store / document
    raw = path.read_bytes()
    if fault == "delete":
        path.unlink()
    else:
        path.write_bytes(raw[:-2] if fault == "cut" else raw.replace(b"EPSG", b"EPSH", 1))
    with pytest.raises(IntegrityError, match="publish"):
        open_catalog(store)


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"{}", b'{"links": []}', b'{"links": [1], "geoplantnet:notice": ""}', b"\xff\xfe"]
)
def test_what_is_no_catalog_is_an_input_error(tmp_path, content):
    """Absent, empty, cut and foreign files raise InputError from open and from check."""
    if content is not None:
        (tmp_path / "catalog.json").write_bytes(content)
    for call in (open_catalog, check):
        with pytest.raises(InputError, match=r"catalog\.json"):
            call(tmp_path)


def test_a_tile_without_the_asset_of_a_layer_is_not_served(store):
    """A forged item that lacks what a layer is read from raises InputError."""
    forge(store, TILE, lambda item: item["assets"].pop("iucn"))
    with pytest.raises(InputError, match="iucn"):
        open_catalog(store)


def test_a_moved_store_opens(store, tmp_path):
    """Relative links: the folder can be copied elsewhere and keeps its version."""
    shutil.copytree(store, tmp_path / "elsewhere")
    moved = open_catalog(tmp_path / "elsewhere")
    assert moved.version == open_catalog(store).version and check(tmp_path / "elsewhere") == []
    assert moved.tiles[0].assets["iucn"].is_relative_to((tmp_path / "elsewhere").resolve())


def test_a_map_server_runs_without_torch():
    """Importing the room does not import torch."""
    program = "import sys, geoplantnet.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
