"""The application: what it tells of the catalog, which files it hands out, its headers, and that it starts without torch."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import subprocess
import sys
from io import BytesIO
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from geoplantnet.serving import create_app, render, styles
from geoplantnet.serving.crs import CRSS
from geoplantnet.serving.exceptions import InvalidFormat, InvalidParameter, StyleNotDefined
from geoplantnet.serving.warp import View


def test_layers_are_told_by_family(client, catalog):
    """/api/layers holds title, notice, extents, epochs and every advertised layer once, below its family."""
    told = client.get("/api/layers").json()
    assert (told["title"], told["notice"], told["version"]) == (catalog.title, catalog.notice, catalog.version)
    assert [f["name"] for f in told["families"]] == ["Species", "Habitat", "Ecosystem", "Terrain"]
    assert [layer["id"] for f in told["families"] for layer in f["layers"]] == list(catalog.layers)
    assert told["bounds"]["EPSG:3035"] == [4_100_000, 2_550_000, 4_150_000, 2_600_000]
    assert told["bounds"]["EPSG:4326"][0] == pytest.approx(7.12, abs=0.02)
    assert (told["species"], told["places"], told["records"]) == ({"count": 0, "withheld": 0, "generalised": 0}, False, False)
    assert [(epoch["name"], epoch["start"][:10], epoch["end"][:10]) for epoch in told["epochs"]] == [("today", "2017-01-01", "2021-12-31")]
    assert client.get("/api/layers/nothing").json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "'nothing' is not among the 6 layers of Test maps.",
    }


def test_json_is_revalidated_by_its_etag(client):
    """Who holds the layers of this version gets 304."""
    tag = client.get("/api/layers").headers["etag"]
    assert client.get("/api/layers", headers={"If-None-Match": tag}).status_code == 304


def test_species_are_counted_not_listed(epochs_client):
    """/api/layers tells how many species there are; the layer of each is there all the same."""
    told = epochs_client.get("/api/layers").json()
    assert told["species"]["count"] == 3
    assert not [layer["id"] for f in told["families"] for layer in f["layers"] if layer["id"].startswith("species.")]
    assert epochs_client.get("/api/layers/species.v001").json()["generalised"] is None
    assert len(told["epochs"]) == 2


def test_stac_hands_out_what_the_catalog_lists(client, catalog):
    """Catalog, collection, items and assets are served where their relative links point, byte for byte."""
    root = client.get("/stac/catalog.json").json()
    child = next(link["href"] for link in root["links"] if link["rel"] == "child")
    collection = client.get("/stac/" + child.removeprefix("./"))
    assert collection.status_code == 200 and collection.headers["content-type"] == "application/json"
    tile = catalog.tiles[0]
    item = client.get(f"/stac/tiles/{tile.id}/{tile.id}.json").json()
    for key, asset in item["assets"].items():
        answer = client.get(f"/stac/tiles/{tile.id}/{asset['href'].removeprefix('./')}")
        assert asset["file:checksum"] == "1220" + hashlib.sha256(answer.content).hexdigest(), key
    part = client.get(f"/stac/tiles/{tile.id}/relief.tif", headers={"Range": "bytes=0-15"})
    assert part.status_code == 206 and part.content == tile.assets["relief"].read_bytes()[:16]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nothing.json",
        "tiles",
        "tiles/",
        "../catalog.json",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "tiles/../../x",
        "tiles/%00",
        "secret.txt",
        "..%2fsecret",
    ],
)
def test_no_other_file_leaves_the_server(client, store, path):
    """Paths out of the store, folders, and files in the store that the catalog does not list are 404; hidden dots and slashes are 400."""
    (store / "secret.txt").write_text("secret")
    answer = client.get(f"/stac/{path}")
    assert answer.status_code == (400 if "%" in path else 404) and "secret" not in answer.text.replace(path, "")


def test_raw_paths_do_not_climb(server, store):
    """Dots that no client normalised do not lead out either."""
    (store.parent / "outside.txt").write_text("outside")
    address = urlsplit(server)
    for path in ("/stac/../outside.txt", "/stac/../../outside.txt", "/stac/tiles/../../outside.txt", "/stac//etc/passwd"):
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
        assert b"404 Not Found" in answer.split(b"\r\n")[0] and b"outside" not in answer.split(b"\r\n\r\n", 1)[1]


def test_every_answer_is_guarded(client):
    """Pages, maps, data and faults alike carry the policy that keeps foreign content out."""
    for path in ("/", "/wms", "/api/layers", "/stac/catalog.json", "/ogc", "/healthz", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'"), path
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example/<script>", "a b", "[::1", "x:y", "user@host", 'a"b'])
def test_a_malformed_host_is_refused(client, host):
    """The Host header goes into links: one that is no host is answered 400."""
    assert client.get("/wms?REQUEST=GetCapabilities", headers={"Host": host}).status_code == 400


def test_links_follow_the_address_of_the_request(client):
    """Capabilities and OGC links name the host the client came by."""
    for path in ("/wms?SERVICE=WMS&REQUEST=GetCapabilities", "/ogc"):
        assert "http://maps.example.org:8080/" in client.get(path, headers={"Host": "maps.example.org:8080"}).text


def test_health(client, catalog):
    """/healthz says which catalog is served."""
    assert client.get("/healthz").json() == {"status": "ok", "version": catalog.version, "layers": 6, "tiles": 3}


def test_unknown_pages_are_problems(client):
    """What is not there is told as RFC 9457 says it."""
    answer = client.get("/api/nothing")
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"
    assert client.post("/api/layers").headers["allow"]


def test_a_fault_of_the_server_tells_no_inner_workings(store, tmp_path):
    """A damaged tile is a 500 with a ServiceException that names no path; the next request is served."""
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    broken = copy / "tiles" / "25kmE4100N2550" / "relief.tif"
    broken.write_bytes(broken.read_bytes()[:1500])
    transport = httpx.ASGITransport(create_app(copy), raise_app_exceptions=False)
    query = "/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS={}&STYLES=&CRS=EPSG:3035&BBOX=2551000,4101000,2552000,4102000&WIDTH=9&HEIGHT=9&FORMAT=image/png"

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.get(query.format(name)) for name in ("relief", "habitat")]

    bad, good = asyncio.run(ask())
    assert bad.status_code == 500 and "ServiceException" in bad.text and str(copy) not in bad.text and "server's log" in bad.text
    assert good.status_code == 200


def test_a_server_starts_without_torch():
    """Importing the application pulls in neither torch nor matplotlib."""
    code = "import sys, geoplantnet.serving.app; print([m for m in ('torch', 'matplotlib', 'flask') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_renderer_refuses_what_the_services_refuse(mosaic, catalog):
    """Called from Python, it checks size, style and format itself, and draws the same map as the WMS."""
    layer = catalog.layer("habitat")
    drawn = [(mosaic, styles.drawing(layer))]

    def view(width: int, height: int) -> View:
        return View(crs=CRSS["EPSG:3035"], bbox=catalog.bounds, width=width, height=height)

    for width, height in ((0, 1), (1, 4097), (-1, -1)):
        with pytest.raises(InvalidParameter, match="4096"):
            render(drawn, view(width, height))
    with pytest.raises(InvalidParameter, match="fewer layers"):
        render(drawn * 16, view(4096, 4096))
    with pytest.raises(StyleNotDefined):
        styles.drawing(layer, "magma")
    with pytest.raises(InvalidFormat):
        render(drawn, view(5, 5), format="image/gif")
    png = Image.open(BytesIO(render(drawn, view(20, 10))))
    assert png.mode == "P" and png.size == (20, 10)
    assert np.asarray(png.convert("RGBA"))[9, 19, 3] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/wms?SERVICE=WMS&REQUEST=GetCapabilities", 200),
        ("/wms", 400),
        ("/wmts/1.0.0/WMTSCapabilities.xml", 200),
        ("/wmts", 400),
        ("/tiles/richness.json", 200),
        ("/tiles/richness/9/267/181.gif", 400),
        ("/ogc", 200),
        ("/ogc/collections/nothing", 404),
        ("/stac/catalog.json", 200),
        ("/stac/nothing.json", 404),
        ("/api/layers", 200),
        ("/qgis/layers.qlr", 200),
        ("/healthz", 200),
    ],
)
def test_pages_of_other_origins_may_read_every_answer(client, path, status):
    """One header, once, on every facade, on refusals too; and the headers that a client of maps needs can be read."""
    answer = client.get(path, headers={"Origin": "https://elsewhere.example", "Accept": "application/json"})
    assert answer.status_code == status
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"ratelimit", "ratelimit-policy", "etag", "warning", "content-range"} <= set(exposed)
    assert "access-control-allow-credentials" not in answer.headers
