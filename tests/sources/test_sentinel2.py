"""A Sentinel-2 scene: reflectance where the ground is seen, NaN where it is not; both layouts agree."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.sentinel2 import INVALID_SCL, Sentinel2Scene
from geoplantnet.sources.source import Source

TILE = TileGrid().tile("25kmE4125N2575")
BOX = TILE.geobox(10)[:60, :60]
STORED = ("B04", "B03", "B02", "B08", "SCL")


@pytest.fixture
def pixels() -> np.ndarray:
    """DN (4, 60, 60) in the order B04, B03, B02, B08, and a class of each kind in vertical stripes of five pixels (1, ...)."""
    rng = np.random.default_rng(0)
    dn = rng.integers(100, 6000, (4, 60, 60))
    scl = np.repeat(np.arange(12), 5)[None].repeat(60, axis=0)
    return np.concatenate([dn, scl[None]]).astype(np.uint16)


def write(path: Path, values: np.ndarray, **options: object) -> Path:
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": "EPSG:3035",
    }
    affine = Affine(10, 0, TILE.west, 0, -10, TILE.south + 25_000)
    with rasterio.open(path, "w", transform=affine, nodata=0, **(profile | options)) as dataset:
        dataset.write(values)
    return path


@pytest.fixture
def scene(tmp_path: Path, pixels: np.ndarray) -> Sentinel2Scene:
    return Sentinel2Scene(path=write(tmp_path / "scene.tif", pixels), stored=STORED)


def test_reflectance_where_the_ground_is_seen(scene: Sentinel2Scene, pixels: np.ndarray) -> None:
    """DN * 1e-4 in the order asked for; NaN exactly under no data, defects, shadow, cloud and cirrus; SCL as stored."""
    assert isinstance(scene, Source)
    scene = pickle.loads(pickle.dumps(scene))
    got = scene.read(BOX)
    assert (
        got.dims == ("band", "y", "x") and got.dtype == np.float32 and tuple(got.band.values) == scene.bands == ("B02", "B03", "B04", "B08")
    )
    usable = ~np.isin(pixels[4], INVALID_SCL)
    assert INVALID_SCL == (0, 1, 3, 8, 9, 10)
    np.testing.assert_array_equal(np.isfinite(got.values), np.broadcast_to(usable, (4, 60, 60)))
    np.testing.assert_allclose(got.values[:, usable], pixels[[2, 1, 0, 3]][:, usable] * 1e-4, rtol=1e-6)
    scl = scene.scl(BOX)
    np.testing.assert_array_equal(np.where(np.isnan(scl), 0, scl), pixels[4])
    assert "Copernicus" in got.attrs["provenance"][0]["credit"]


def test_one_file_a_band_is_the_same_scene(scene: Sentinel2Scene, pixels: np.ndarray, tmp_path: Path) -> None:
    """Five files with names for keys read as one file with five bands."""
    paths = {name: write(tmp_path / f"{name}.tif", pixels[i : i + 1]) for i, name in enumerate(STORED)}
    np.testing.assert_array_equal(Sentinel2Scene(path=paths).read(BOX).values, scene.read(BOX).values)
    assert [p["href"] for p in Sentinel2Scene(path=paths).read(BOX).attrs["provenance"]] == [
        "B02.tif",
        "B03.tif",
        "B04.tif",
        "B08.tif",
        "SCL.tif",
    ]


def test_coarser_pixels_are_the_mean_of_usable_ones(scene: Sentinel2Scene, pixels: np.ndarray) -> None:
    """A 50 m cell is the mean of its 25 pixels that are seen; a clouded pixel never leaks into it."""
    fine, coarse = scene.read(BOX).values, scene.read(TILE.geobox(50)[:12, :12]).values
    blocks = fine.reshape(4, 12, 5, 12, 5)
    with np.errstate(invalid="ignore"):
        expected = np.nansum(blocks, axis=(2, 4)) / np.isfinite(blocks).sum(axis=(2, 4))
    np.testing.assert_allclose(coarse, expected, rtol=1e-5)


def test_points_and_windows(scene: Sentinel2Scene) -> None:
    """`at` at pixel centres is `read`; outside and NaN points are NaN; a window is the window."""
    whole = scene.read(BOX)
    y, x = (v.ravel() for v in np.meshgrid(whole.y.values, whole.x.values, indexing="ij"))
    np.testing.assert_array_equal(scene.at(pd.DataFrame({"x": x, "y": y})), whole.values.reshape(4, -1).T)
    assert np.isnan(scene.at(pd.DataFrame({"x": [np.nan, 0.0], "y": [0.0, 0.0]}))).all()
    np.testing.assert_array_equal(scene.read(BOX[7:31, 12:50]).values, whole.values[:, 7:31, 12:50])


def test_an_offset_is_added_after_the_scale(pixels: np.ndarray, tmp_path: Path) -> None:
    """Baseline 04.00: stored = reflectance * 10000 + 1000."""
    shifted = pixels.copy()
    shifted[:4] += 1000
    plain = Sentinel2Scene(path=write(tmp_path / "a.tif", pixels), stored=STORED).read(BOX)
    np.testing.assert_allclose(
        Sentinel2Scene(path=write(tmp_path / "b.tif", shifted), stored=STORED, offset=-0.1).read(BOX), plain, atol=1e-6
    )


def test_what_is_no_scene_is_refused(scene: Sentinel2Scene, pixels: np.ndarray, tmp_path: Path) -> None:
    """Reflectance out of range (a forgotten scale), a missing band and a missing file are named."""
    path = Path(str(scene.path))
    with pytest.raises(RasterError, match=r"scene\.tif, reflectance of B02: .* outside the plausible range"):
        Sentinel2Scene(path=path, stored=STORED, scale=1.0).read(BOX)
    with pytest.raises(UsageError, match=r"needs \['B11'\]"):
        Sentinel2Scene(path=path, stored=STORED, bands=("B11",))
    with pytest.raises(UsageError, match=r"needs \['SCL'\]"):
        Sentinel2Scene(path={b: path for b in ("B02", "B03", "B04", "B08")})
    with pytest.raises(RasterError, match="not a local file"):
        Sentinel2Scene(path=tmp_path / "absent.tif").read(BOX)
    with pytest.raises(RasterError, match=r"has bands 1\.\.4"):
        Sentinel2Scene(path=write(tmp_path / "four.tif", pixels[:4]), stored=STORED).read(BOX)


def test_bolzano(data_folder: Path) -> None:
    """The real scene: split and whole files agree, woods are green, the town is not."""
    folder = data_folder / "s2_south_tyrol"
    one = Sentinel2Scene(path=folder / "S2_L2A_20220612_bolzano_B04B03B02B08SCL.tif", stored=STORED)
    many = Sentinel2Scene(path={b: folder / "bands" / f"bolzano_20220612_{b}.tif" for b in STORED})
    box = GeoBox.from_bbox((4_422_000, 2_596_000, 4_424_000, 2_598_000), crs="EPSG:3035", resolution=10, tight=True)
    got = one.read(box)
    np.testing.assert_array_equal(many.read(box).values, got.values)
    assert float(np.isfinite(got.values).mean()) > 0.99
    assert float(got.min()) > 0.0 and float(got.quantile(0.99)) < 1
    ndvi = (got.sel(band="B08") - got.sel(band="B04")) / (got.sel(band="B08") + got.sel(band="B04"))
    scl = one.scl(box)
    assert float(ndvi.values[scl == 4].mean()) > 0.6 > 0.3 > float(ndvi.values[scl == 5].mean())
