"""Shared fixtures: a small grid, a small world of fake sources, and where the real data lie."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from geoplantnet.cubes import Modality
from geoplantnet.grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sources.source import FakeSource
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

sys.path.append(str(Path(__file__).parent))
from postgres import database, lacking

# The same examples in every run, on machines of any speed; `--hypothesis-profile default` looks for new ones.
settings.register_profile("house", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("house")
# Hypothesis also draws the constants it finds in whatever local modules happen to be imported: a test alone would see other examples than in the whole run.
providers._get_local_constants = lambda: providers._local_constants


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data (never in the repository); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}; set GEOPLANTNET_DATA")
    return folder


@pytest.fixture(scope="session")
def postgis() -> Iterator[str]:
    """Address of a private PostgreSQL with PostGIS, as its superuser; it ends with the session."""
    if lacks := lacking():
        pytest.skip(f"no PostgreSQL of their own for the tests; `make stac` as root installs it. Missing: {'; '.join(lacks)}")
    # Below /tmp: a socket's name is short, and user postgres has to get in.
    with tempfile.TemporaryDirectory(prefix="postgis-", dir="/tmp") as folder, database(Path(folder)) as environment:
        yield f"postgresql://{environment['PGUSER']}@/{environment['PGDATABASE']}?host={folder}"


@pytest.fixture(scope="session")
def small_grid() -> TileGrid:
    """2 km tiles of 40 x 40 cells."""
    return TileGrid(tile_size=2000)


@pytest.fixture(scope="session")
def modalities() -> tuple[Modality, ...]:
    """One modality of each kind: finer than, on, and coarser than the cells; with and without a window or a time axis."""
    return (
        Modality(name="image", bands=("red", "nir"), resolution=10, window=25, halo=64, dtype="uint16", scale=1e-4, nodata=0),
        Modality(name="terrain", bands=("elevation", "slope"), resolution=50, window=25, halo=12),
        Modality(name="series", bands=("a", "b"), resolution=50, time=TimeAxis(step="month", first="2020-11", count=3)),
        Modality(name="climate", bands=("t", "p"), resolution=1000, halo=1),
    )


class FakeSeries(FakeSource):
    """Three dates of the same fields, each brighter."""

    def read(self, geobox):
        one = super().read(geobox)
        import xarray as xr

        return xr.concat([one, one * 1.5, one * 2], dim="time", combine_attrs="override")

    def at(self, points):
        one = super().at(points)
        return np.stack([one, one * 1.5, one * 2], axis=1)


def _texture(scale: float, gap: bool = False):
    def value(x, y):
        v = 0.3 + 0.2 * np.sin(x / scale) * np.cos(y / scale * 1.3) + 0.05 * np.sin((x * 7.1 + y * 3.7) / scale)
        if gap:
            v = np.where(np.sin(x / 311) * np.cos(y / 217) > 0.9, np.nan, v)
        return v

    return value


@pytest.fixture(scope="session")
def sources() -> dict[str, FakeSource]:
    """Smooth fields with structure at every scale, and gaps in the image and the series."""
    return {
        "image": FakeSource(red=_texture(40.0, gap=True), nir=_texture(23.0)),
        "terrain": FakeSource(elevation=lambda x, y: 1500 + 800 * _texture(900.0)(x, y), slope=_texture(300.0)),
        "series": FakeSeries(a=_texture(120.0, gap=True), b=_texture(170.0)),
        "climate": FakeSource(t=_texture(5000.0), p=_texture(7000.0)),
    }


@pytest.fixture(scope="session")
def species() -> SpeciesList:
    """Twelve species of three genera."""
    return SpeciesList(
        checklist="test",
        taxa=tuple(Taxon(taxon_id=f"s{i:02d}", scientific_name=f"Testus species{i}", genus=f"g{i % 3}", family="f") for i in range(12)),
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of its own, to be filled. A call with its size in KiB mounts it, or makes it larger or smaller."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def sized(kibibytes: int) -> Path:
        size = f"size={kibibytes}k"
        command = ["-o", f"remount,{size}", str(place)] if mounted else ["-t", "tmpfs", "-o", size, "tmpfs", str(place)]
        done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")
        mounted.append(True)
        return place

    yield sized
    if mounted:
        for _ in range(100):  # a library's threads, or an error's frames, may hold a file for some moments
            gc.collect()
            if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        subprocess.run(["umount", str(place)], check=True)
