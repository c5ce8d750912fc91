"""The contest of map servers, without the other servers: what is asked, of which raster, and how answers are judged."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import math

import httpx
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.merge import merge

from benchmarks import servers
from benchmarks.servers import Load, NotInstalled, mapserver, parse, titiler
from benchmarks.serving import (
    CELL,
    CONNECTIONS,
    EAST,
    LAYER,
    LEVELS,
    NORTH,
    REQUESTS,
    SOUTH,
    WEST,
    Reference,
    WebTile,
    colors,
    compare,
    contest_rows,
    one_cog,
    publish,
    relief,
    tiles,
    wms,
)
from geoplantnet.catalog import open_catalog
from geoplantnet.grid import TileGrid
from geoplantnet.serving import create_app
from geoplantnet.serving.crs import transformer

SIDE = 400
LOAD = Load(requests=100, sent=100, seconds=1.0, p50=1.0, p95=2.0, statuses={200: 100}, wrong=0, broken=0, cpu=2.0)


@pytest.fixture(scope="module")
def stored():
    return relief(SIDE)


@pytest.fixture(scope="module")
def store(tmp_path_factory, stored):
    """Four meta-tiles."""
    return publish(tmp_path_factory.mktemp("store"), stored, TileGrid(tile_size=SIDE * CELL // 2))


def test_the_same_tiles_are_asked_every_time_and_their_centres_lie_in_the_raster():
    """Seeded, of every level; a tile's box holds the point that its level, column and row stand for."""
    asked = tiles()
    assert asked == tiles() and len(asked) == REQUESTS and {tile.z for tile in asked} == set(range(LEVELS[0], LEVELS[1] + 1))
    for tile in asked:
        west, south, east, north = tile.bounds
        easting, northing = transformer("EPSG:3857", "EPSG:3035").transform((west + east) / 2, (south + north) / 2)
        assert WEST < easting < EAST and SOUTH < northing < NORTH
        longitude, latitude = transformer("EPSG:3857", "CRS:84").transform((west + east) / 2, (south + north) / 2)
        # the column and row of the slippy map's own formula
        assert math.floor((longitude + 180) / 360 * 2**tile.z) == tile.x
        assert math.floor((1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**tile.z) == tile.y


def test_catalog_and_cog_hold_the_same_cells(tmp_path, stored, store):
    """Place and number of every cell, no data included; the COG's colours are those of our style."""
    catalog = open_catalog(store)
    whole, transform = merge([tile.assets["field"] for tile in catalog.tiles])
    with rasterio.open(one_cog(tmp_path / "one.tif", stored), driver="GTiff") as file:
        assert file.crs.to_epsg() == 3035 and file.transform == transform and file.overviews(1) == [2]
        np.testing.assert_array_equal(file.read(), whole)
        assert file.nodata == catalog.layer(LAYER.id).nodata
        np.testing.assert_array_equal([file.colormap(1)[v][:3] for v in range(255)], colors())
    np.testing.assert_array_equal(whole[0], stored)
    assert 0.02 < (stored == 255).mean() < 0.5 and len(np.unique(stored)) > 200


@pytest.mark.parametrize("z", (10, 11, 12, 13))
def test_our_map_is_the_raster_s_and_one_that_is_moved_or_turned_is_not(stored, store, z):
    """Of every level: what the application draws passes; two pixels aside, mirrored, empty or no picture at all does not."""
    x, y = transformer("EPSG:3035", "EPSG:3857").transform(WEST, NORTH)
    side = 2 * 20_037_508.342789244 / 2**z
    inside = min(side, SIDE * CELL) / 2
    tile = WebTile(z, math.floor((x + inside) / side + 2 ** (z - 1)), math.floor(2 ** (z - 1) - (y - inside) / side))
    due = Reference(stored).draw(tile)
    assert due[..., 3].any()
    app = httpx.ASGITransport(create_app(store))

    async def asked(path: str) -> bytes:
        async with httpx.AsyncClient(transport=app, base_url="http://127.0.0.1") as client:
            return (await client.get(path)).content

    def drawn(pixels: float = 0.0) -> bytes:
        west, south, east, north = tile.bounds
        aside = pixels * (east - west) / 256
        return asyncio.run(asked(wms(tile, BBOX=f"{west + aside},{south},{east + aside},{north}")))

    def saved(pixels: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    assert compare(drawn(), due)[1] and compare(saved(due), due) == (0.0, True)
    for other in (drawn(2), drawn(-3), saved(due[::-1]), saved(due[:, ::-1]), saved(due * np.uint8(0))):
        assert not compare(other, due)[1]
    with pytest.raises(OSError):
        compare(b"<ServiceExceptionReport/>", due)


def test_what_wrk_printed_is_read():
    """Its own summary is passed over; whatever is not an answer of 200 with the right beginning is an error."""
    out = """Running 5s test @ http://127.0.0.1:8080
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.71ms    0.42ms   9.12ms   91.01%
  22474 requests in 5.00s, 5.10MB read
  Non-2xx or 3xx responses: 4
Requests/sec:   4494.21
{"requests": 22474, "sent": 22482, "seconds": 5.000612, "p50": 1.710000, "p95": 2.380000, "statuses": {"200": 22470, "503": 4}, "wrong": 2, "broken": 1}
"""
    found = parse(out)
    assert (found.requests, found.sent, found.p50, found.p95) == (22_474, 22_482, 1.71, 2.38)
    assert found.statuses == {200: 22_470, 503: 4} and found.errors == 4 + 2 + 1
    assert found.rate == pytest.approx(4494.25, abs=0.01)
    assert math.isnan(parse(out.replace('"requests": 22474', '"requests": 0')).p95)  # and not the fastest of all
    with pytest.raises(ValueError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_reference_that_is_not_installed_is_named_with_what_installs_it(tmp_path, monkeypatch):
    """And its rows are there, not met, instead of a crash."""
    monkeypatch.setattr(servers, "MAPSERV", tmp_path / "mapserv")
    monkeypatch.setenv(servers.TITILER, str(tmp_path / "python"))
    with pytest.raises(NotInstalled, match="apt-get install cgi-mapserver") as lacking, mapserver(tmp_path, tmp_path, "/"):
        pass
    with pytest.raises(NotInstalled, match="pip install titiler"), titiler("/"):
        pass
    loads = {("ours, 1 process", connections): [LOAD] for connections in CONNECTIONS}
    rows = {row.name: row for row in contest_rows(loads, {"ours, 1 process": (0, 0.5)}, {"MapServer": str(lacking.value)})}
    beside = rows["CPU of a map, 8 connections, ours, 1 process / MapServer"]
    assert not beside.ok and beside.target and math.isnan(beside.value) and "apt-get" in beside.reference
    assert rows["errors, ours, 1 process"].ok


def test_targets_compare_medians_and_every_error_counts():
    """Half of MapServer's CPU and a lower p95 at both numbers of connections; one bad answer in any round is one too many."""
    slow = dataclasses.replace(LOAD, cpu=50.0, p95=90.0)
    broken = dataclasses.replace(LOAD, statuses={200: 99, 500: 1})
    loads = {("ours, 1 process", connections): [LOAD, slow, broken] for connections in CONNECTIONS}
    loads |= {("MapServer", connections): [dataclasses.replace(LOAD, cpu=4.0, p95=2.1)] * 3 for connections in CONNECTIONS}
    rows = {row.name: row for row in contest_rows(loads, {"ours, 1 process": (1, 0.5), "MapServer": (0, 0.5)}, {})}
    for by in ("1 connection", "8 connections"):
        cpu, p95 = (rows[f"{what} of a map, {by}, ours, 1 process / MapServer"] for what in ("CPU", "p95"))
        assert cpu.ok and cpu.value == pytest.approx(0.5) and p95.ok and p95.value == pytest.approx(2 / 2.1)
    assert rows["errors, ours, 1 process"].value == 2 + 1 and not rows["errors, ours, 1 process"].ok
