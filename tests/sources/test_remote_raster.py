"""Rasters and grids at URLs: only what the window needs is fetched, what may pass is tried again, a wrong byte is never a pixel."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine

from geoplantnet.errors import ConfigurationError, RasterError, TryAgain
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sources.gridded import GriddedSource
from geoplantnet.sources.http import Budget
from geoplantnet.sources.raster import Access, RasterSource
from geoplantnet.sources.terrain import TerrainSource

BOX = TileGrid().tile("25kmE4125N2575").geobox(1000, margin=1000)
QUICK = Access(budget=Budget(seconds=20, attempts=3, timeout=5, first_pause=0, longest_pause=0))

Fault = Callable[[int, str], int | None]
"""Number of the request from 1, path -> status to answer instead, or a negative number: bytes cut from the body's end."""


class Server(ThreadingHTTPServer):
    """A folder over HTTP with ranges; counts requests and bytes sent, and fails as told."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.requests, self.sent = folder, 0, 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fault: Fault = lambda number, path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.requests += 1
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        fault = self.server.fault(self.server.requests, path)
        file = self.server.folder / path.lstrip("/")
        if (fault or 0) > 0 or not file.is_file():
            self.send_response(fault or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = file.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(match[1]), min(int(match[2] or len(content)) + 1, len(content))) if match else (0, len(content))
        body = content[start:end]
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        if match:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            body = body[: len(body) + (fault or 0)]
            self.server.sent += len(body)
            self.wfile.write(body)
            if fault:
                self.connection.close()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            """The client hung up, or the body was cut."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def europe(tmp_path: Path) -> Path:
    """A whole-Europe file that does not compress: 3,000 x 3,000 pixels of 2 km, 18 MB."""
    path = tmp_path / "europe.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 3000, "width": 3000, "dtype": "int16", "crs": "EPSG:3035", "nodata": -1}
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    values = np.random.default_rng(0).integers(0, 300, (3000, 3000), dtype=np.int16)
    with rasterio.open(path, "w", transform=Affine(2000, 0, 1_400_000, 0, -2000, 7_400_000), **profile, **tiled) as dataset:
        dataset.write(values, 1)
    return path


def test_of_a_whole_europe_file_only_the_window_is_fetched(server: Server, europe: Path) -> None:
    """A tile's window of an 18 MB file costs its header and a few blocks of it; the values are the local file's."""
    remote = RasterSource(f"{server.url}/europe.tif", ("a",), access=QUICK)
    got = remote.read(BOX)
    np.testing.assert_array_equal(got, RasterSource(europe, ("a",)).read(BOX))
    assert np.isfinite(got).all() and got.attrs["provenance"] == [{"href": f"{server.url}/europe.tif"}]
    block = 256 * 256 * 2
    assert server.sent < 4 * block + 200_000 < europe.stat().st_size / 20
    x, y = BOX.coordinates["x"].values[:5], BOX.coordinates["y"].values[:5]
    np.testing.assert_array_equal(remote.at(pd.DataFrame({"x": x, "y": y}))[:, 0], np.diag(got.values[0])[:5])


def test_a_far_tile_fetches_the_header_alone(server: Server, europe: Path) -> None:
    """Where the raster does not reach nothing of its pixels is asked for."""
    far = RasterSource(f"{server.url}/europe.tif", ("a",), access=QUICK).read(TileGrid().tile("25kmE1000N1000").geobox(1000))
    assert np.isnan(far).all() and server.sent <= 2 * 65_536


def test_a_busy_server_is_asked_again(server: Server, europe: Path) -> None:
    """503, then the file; 503 for ever is TryAgain; so is a body that always ends too soon: no pixel is made of either."""
    source = RasterSource(f"{server.url}/europe.tif", ("a",), access=QUICK)
    server.fault = lambda number, path: 503 if number in (1, 3) else None
    np.testing.assert_array_equal(source.read(BOX), RasterSource(europe, ("a",)).read(BOX))
    server.fault = lambda number, path: 503
    with pytest.raises(TryAgain, match="status 503 x 3"):
        source.read(BOX)
    server.requests = 0
    server.fault = lambda number, path: -1000 if number > 1 else None
    with pytest.raises(TryAgain):
        source.read(BOX)


def test_what_is_damaged_or_not_there_is_said_at_once(server: Server, europe: Path, tmp_path: Path) -> None:
    """404, credentials, a file cut short on the server, text named .tif: typed errors, never pixels."""
    with pytest.raises(RasterError, match="status 404"):
        RasterSource(f"{server.url}/absent.tif", ("a",), access=QUICK).read(BOX)
    server.fault = lambda number, path: 403
    with pytest.raises(ConfigurationError, match="credentials"):
        RasterSource(f"{server.url}/europe.tif?sig=SECRET", ("a",), access=QUICK).read(BOX)
    server.fault = lambda number, path: None
    (tmp_path / "cut.tif").write_bytes(europe.read_bytes()[:1_000_000])
    with pytest.raises(RasterError):
        RasterSource(f"{server.url}/cut.tif", ("a",), access=QUICK).read(BOX)
    (tmp_path / "vrt.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    with pytest.raises((RasterError, TryAgain)):
        RasterSource(f"{server.url}/vrt.tif", ("a",), access=QUICK).read(BOX)


@pytest.mark.parametrize(
    "path", ["/vsicurl/http://127.0.0.1:1/a.tif", "/vsis3/bucket/a.tif", "vrt://a.tif", "ftp://h/a.tif", "file:///etc/passwd"]
)
def test_other_addresses_are_refused(path: str) -> None:
    """GDAL gets no path of its own, and no scheme but http, https and s3 is an address."""
    with pytest.raises(RasterError, match="not a local file"):
        RasterSource(path, ("a",), access=QUICK).read(BOX)


def test_headers_and_queries_stay_secret(server: Server, europe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the environment reach the server, and neither they nor a signed query reach provenance or an error."""
    monkeypatch.setenv("TOKEN", "swordfish")
    access = Access(budget=QUICK.budget, headers={"X-Token": "${TOKEN}"})
    source = RasterSource(f"{server.url}/europe.tif?sig=SECRET", ("a",), plausible=(0, 1), access=access)
    with pytest.raises(RasterError) as caught:
        source.read(BOX)
    assert server.asked[0][1]["x-token"] == "swordfish" and "sig=SECRET" in server.asked[0][0]
    assert "SECRET" not in str(caught.value) and "swordfish" not in f"{caught.value} {source!r}"
    shown = RasterSource(f"{server.url}/europe.tif?sig=SECRET", ("a",), access=access).read(BOX).attrs["provenance"]
    assert shown == [{"href": f"{server.url}/europe.tif"}]


def test_one_file_a_band_and_month(server: Server, tmp_path: Path) -> None:
    """A template over HTTP: every band and month from its own file, as local."""
    axis = TimeAxis(step="month", first="2019-12", count=2).periods
    for band, value in (("tas", 1000), ("pr", 2000)):
        for year, month in ((2019, 12), (2020, 1)):
            profile = {"driver": "GTiff", "count": 1, "height": 40, "width": 40, "dtype": "float32", "crs": "EPSG:3035"}
            with rasterio.open(
                tmp_path / f"{band}_{month:02}_{year}.tif", "w", transform=Affine(2000, 0, 4_100_000, 0, -2000, 2_640_000), **profile
            ) as dataset:
                dataset.write(np.full((40, 40), value + month, np.float32), 1)
    source = RasterSource(f"{server.url}/{{band}}_{{month:02}}_{{year}}.tif", ("tas", "pr"), periods=axis, access=QUICK)
    got = source.read(BOX)
    assert got.dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(got.values[:, :, 3, 3], [[1012, 2012], [1001, 2001]])
    np.testing.assert_array_equal(
        RasterSource(f"{tmp_path}/{{band}}_{{month:02}}_{{year}}.tif", ("tas", "pr"), periods=axis).read(BOX), got
    )


def test_terrain_from_a_remote_dem(server: Server, data_folder: Path) -> None:
    """A DEM at a URL gives what the file gives."""
    dem = data_folder / "swiss_terrain" / "aletsch_dem_200m.tif"
    (server.folder / "dem.tif").write_bytes(dem.read_bytes())
    box = TileGrid().tile("25kmE4125N2575").geobox()[200:230, 200:230]
    remote = TerrainSource(dems=(f"{server.url}/dem.tif",), access=QUICK)
    np.testing.assert_array_equal(remote.read(box), TerrainSource(dems=(dem,)).read(box))


@pytest.fixture
def grids(tmp_path: Path) -> tuple[Path, Path]:
    """The same 12 MB as NetCDF and as Zarr."""
    lon, lat = np.arange(-20, 30, 0.05), np.arange(60, 35, -0.05)
    values = np.random.default_rng(1).normal(10, 3, (6, lat.size, lon.size)).astype(np.float32)
    coords = {"time": pd.date_range("2020-01-01", periods=6, freq="MS"), "lat": lat, "lon": lon}
    dataset = xr.Dataset({"tas": (("time", "lat", "lon"), values, {"units": "degC"})}, coords=coords)
    dataset.to_netcdf(tmp_path / "large.nc", engine="h5netcdf", encoding={"tas": {"chunksizes": (1, 50, 50)}})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        dataset.to_zarr(tmp_path / "large.zarr", encoding={"tas": {"chunks": (1, 50, 50)}}, consolidated=True)
    return tmp_path / "large.nc", tmp_path / "large.zarr"


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_grids_are_read_by_window_over_http(server: Server, grids: tuple[Path, Path], kind: str) -> None:
    """NetCDF and Zarr at a URL: the local values, a small part of the bytes; a busy server is asked again, then TryAgain."""
    options: dict[str, Any] = {"bands": ("tas",), "periods": TimeAxis(step="month", first="2020-01", count=2).periods, "access": QUICK}
    remote = GriddedSource(path=f"{server.url}/large.{kind}", **options)
    expected = GriddedSource(path=grids[0], **options).read(BOX)
    got = remote.read(BOX)
    np.testing.assert_array_equal(got, expected)
    assert got.attrs["provenance"][0]["href"] == f"{server.url}/large.{kind}"
    assert server.sent < 1_500_000 < grids[0].stat().st_size / 7
    failures = iter([503])
    server.fault = lambda number, path: next(failures, None) if "tas/c" in path or path.endswith(".nc") else None
    np.testing.assert_array_equal(remote.read(BOX), expected)
    server.fault = lambda number, path: 503
    with pytest.raises(TryAgain, match=r"large\.(nc|zarr)"):
        remote.read(BOX)
    server.fault = lambda number, path: None
    with pytest.raises(RasterError, match=r"absent\.(nc|zarr)"):
        GriddedSource(path=f"{server.url}/absent.{kind}", **options).read(BOX)


def test_a_grid_cut_short_on_the_server_is_damaged(server: Server, grids: tuple[Path, Path], tmp_path: Path) -> None:
    """Half a NetCDF, HTML instead of one, and half a Zarr chunk: typed errors, never values."""
    options: dict[str, Any] = {"bands": ("tas",), "periods": TimeAxis(step="month", first="2020-01", count=6).periods, "access": QUICK}
    content = grids[0].read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) // 2])
    (tmp_path / "html.nc").write_text("<html>503</html>" * 100)
    for name in ("cut.nc", "html.nc"):
        with pytest.raises((RasterError, TryAgain), match=re.escape(name)):
            GriddedSource(path=f"{server.url}/{name}", **options).read(BOX)
    for chunk in (grids[1] / "tas" / "c" / "3").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises((RasterError, TryAgain), match=r"large\.zarr"):
        GriddedSource(path=f"{server.url}/large.zarr", **options).read(BOX)
