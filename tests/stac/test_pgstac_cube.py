"""The cube of Bolzano out of a real STAC API equals, pixel for pixel, what reading the scene's files directly gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from geoplantnet.config.load import load_modality
from geoplantnet.cubes import build_cube, node_named, open_cube, write_cube
from geoplantnet.errors import NoDataError, RasterError
from geoplantnet.grid import TileGrid
from geoplantnet.sources.http import Budget
from geoplantnet.sources.sentinel2 import INVALID_SCL, Sentinel2Scene, StacSentinel2
from geoplantnet.sources.stac import StacEndpoint

BANDS = ("B02", "B03", "B04", "B08")
JUNE = (date(2022, 6, 1), date(2022, 7, 1))
TILE = TileGrid(tile_size=5000).tile("5kmE4425N2595")
"""East of the city: the scene reaches into it from the west, is cut by its edges there and in the north, and ends inside."""
LATTICE = TILE.geobox(10, margin=640)
FLOAT = 5e-7
"""Reflectance: what float32 rounds off."""

SHIFT = 1e-4
"""Pixels: twice what two releases of PROJ differ by here."""

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]


@pytest.fixture(scope="session")
def files(data_folder: Path) -> dict[str, Path]:
    """One file a band, and the scene classification."""
    return {band: data_folder / "s2_south_tyrol" / "bands" / f"bolzano_20220612_{band}.tif" for band in (*BANDS, "SCL")}


@pytest.fixture(scope="session")
def reached(files) -> tuple[slice, slice]:
    """Rows and columns of the tile's lattice that the scene can reach, and some more."""
    with rasterio.open(files["SCL"]) as scene:
        west, south, east, north = transform_bounds(scene.crs, str(LATTICE.crs), *scene.bounds, densify_pts=101)
    left, top = ~LATTICE.affine * (west, north)
    right, bottom = ~LATTICE.affine * (east, south)
    rows, columns = LATTICE.shape
    return slice(max(0, int(top) - 5), min(rows, int(bottom) + 5)), slice(max(0, int(left) - 5), min(columns, int(right) + 5))


def source(url: str, collection: str = "sentinel-2-l2a-http", **options: object) -> StacSentinel2:
    endpoint = StacEndpoint(url=url, budget=Budget(seconds=300, attempts=3))
    return StacSentinel2(endpoint=endpoint, collection=collection, interval=JUNE, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def scene(stac, reached) -> xr.DataArray:
    """The scene's part of the tile as the API and its HTTP files give it, bilinear."""
    return source(stac.api).read(LATTICE[reached])


@pytest.fixture(scope="session")
def nearest(stac, reached) -> xr.DataArray:
    """The same without interpolation."""
    return source(stac.api, resampling="nearest").read(LATTICE[reached])


@pytest.fixture(scope="session")
def direct(files, reached) -> Float:
    """The same read from the files."""
    return read_directly(files, LATTICE[reached])


def masked(files: Mapping[str, Path]) -> tuple[Float, dict[str, Any]]:
    """The scene as stored, float32 (band, y, x), NaN where its classification or a 0 says that nothing was seen; and its profile."""
    with rasterio.open(files["SCL"]) as dataset:
        clear = ~np.isin(dataset.read(1), INVALID_SCL)
    bands = []
    for band in BANDS:
        with rasterio.open(files[band]) as dataset:
            stored, profile = dataset.read(1), dataset.profile
        bands.append(np.where(clear & (stored != 0), stored, np.nan))
    return np.stack(bands).astype(np.float32), {**profile, "count": len(bands), "dtype": "float32", "nodata": np.nan}


def positions(profile: dict[str, Any], box: GeoBox) -> tuple[Double, Double]:
    """Column and row in the scene (centre of its first pixel = 0.5) of every pixel of a GeoBox: each transformed by itself, (y, x)."""
    x, y = np.meshgrid(*(box.coordinates[name].values for name in ("x", "y")))
    easting, northing = Transformer.from_crs(str(box.crs), profile["crs"], always_xy=True).transform(x, y)
    affine = profile["transform"]
    return (easting - affine.c) / affine.a, (northing - affine.f) / affine.e


def read_directly(files: Mapping[str, Path], box: GeoBox, *, nearest: bool = False) -> Float:
    """The files read with rasterio, masked and interpolated in numpy, pixel by pixel: reflectance (band, y, x).

    Bilinear; a missing neighbour loses its weight, and where a pixel's own neighbour is missing so is the pixel.
    """
    stored, profile = masked(files)
    column, row = positions(profile, box)
    height, width = stored.shape[1:]
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = column[inside] + 1, row[inside] + 1  # one more pixel all around: the missing neighbours of the outermost
    stored = np.pad(stored, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    own = stored[:, row.astype(int), column.astype(int)]
    left, above = np.floor(column - 0.5).astype(int), np.floor(row - 0.5).astype(int)
    right, below = column - 0.5 - left, row - 0.5 - above
    total, weight = np.zeros((2, *own.shape))
    for i, j, share in ((0, 0, (1 - right) * (1 - below)), (1, 0, right * (1 - below)), (0, 1, (1 - right) * below), (1, 1, right * below)):
        value = stored[:, above + j, left + i]
        total += np.where(np.isnan(value), 0, value) * share
        weight += ~np.isnan(value) * share
    values = np.full((len(BANDS), *box.shape), np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        values[:, inside] = own if nearest else np.where(np.isnan(own), np.nan, total / weight)
    return values * np.float32(1e-4)


def warped(files: Mapping[str, Path], box: GeoBox, method: Resampling) -> Float:
    """The files masked in numpy and brought onto a GeoBox by GDAL, which is told not to approximate: reflectance (band, y, x).

    GDAL lends a missing pixel the values of its neighbours; here what is masked under a pixel's centre stays missing.
    """
    height, width = box.shape
    onto = {"crs": str(box.crs), "transform": box.affine, "height": height, "width": width, "tolerance": 1e-9, "nodata": np.nan}
    stored, profile = masked(files)
    layers = []
    for band in stored:  # one at a time: GDAL lets a pixel missing in one band count as missing in others
        with MemoryFile() as memory:
            with memory.open(**profile | {"count": 1}) as dataset:
                dataset.write(band, 1)
            with memory.open() as dataset:
                own, brought = (WarpedVRT(dataset, resampling=how, **onto).read(1) for how in (Resampling.nearest, method))
        layers.append(np.where(np.isnan(own), np.nan, brought))
    return np.stack(layers) * np.float32(1e-4)


def test_the_cube_of_a_tile_is_its_files(stac, direct, reached, tmp_path):
    """Search, build, write, open: 628 x 628 pixels in four bands, each the files' to within the rounding of the store."""
    modality = load_modality("sentinel2", [Path(__file__).parents[2] / "configs" / "modalities"], key="sentinel2")
    cube = build_cube(TILE, [modality], {"sentinel2": source(stac.api)})
    write_cube(cube, tmp_path / "cube.zarr", [modality])
    node = node_named(open_cube(tmp_path / "cube.zarr"), "sentinel2")
    wanted = np.full((4, *LATTICE.shape), np.nan, np.float32)
    wanted[:, *reached] = direct
    data = node["data"].values
    np.testing.assert_array_equal(np.isfinite(data), np.isfinite(wanted))
    np.testing.assert_allclose(data[:, *reached], wanted[:, *reached], rtol=0, atol=modality.scale / 2 + FLOAT)
    seen = np.isfinite(wanted).all(axis=0)
    np.testing.assert_array_equal(node["valid"].values, seen)
    np.testing.assert_array_equal(node["count"].values, seen)
    assert 200_000 < seen.sum() < 300_000  # of 394,384
    assert [p["id"] for p in node.attrs["provenance"][1:]] == ["S2_L2A_20220612_bolzano"]


def test_before_it_is_stored_nothing_is_rounded(nearest, scene, direct, files, reached):
    """What the source reads: nearest to the last bit, bilinear to that of float32."""
    np.testing.assert_array_equal(nearest.values, read_directly(files, LATTICE[reached], nearest=True))
    np.testing.assert_allclose(scene.values, direct, rtol=0, atol=FLOAT)


def test_gdal_gives_the_same(nearest, scene, files, reached):
    """GDAL's warp of the files differs by what half a millimetre makes: its PROJ and pyproj's are of two releases."""
    rows, columns = (slice(part.stop - 300, part.stop) for part in reached)  # with the corner of the scene
    box, part = LATTICE[rows, columns], np.s_[:, -300:, -300:]
    column, row = positions(masked(files)[1], box)
    sure = (np.abs(column - np.rint(column)) > SHIFT) & (np.abs(row - np.rint(row)) > SHIFT)  # else a neighbour may be taken
    assert sure.mean() > 0.999
    np.testing.assert_array_equal(nearest.values[part][:, sure], warped(files, box, Resampling.nearest)[:, sure])
    steepest = 2.0  # reflectance from one pixel to the next
    np.testing.assert_allclose(scene.values[part][:, sure], warped(files, box, Resampling.bilinear)[:, sure], rtol=0, atol=SHIFT * steepest)


def test_the_same_by_http_and_by_path(stac, scene, reached):
    """Through the API and HTTP ranges, or from a catalog file with paths: the same bytes and the same scenes."""
    local = source(stac.catalog, "sentinel-2-l2a-local").read(LATTICE[reached])
    assert scene.values.tobytes() == local.values.tobytes()
    assert scene["count"].values.tobytes() == local["count"].values.tobytes()
    mine, theirs = (
        [{k: v for k, v in p.items() if k not in ("href", "collection")} for p in r.attrs["provenance"]] for r in (local, scene)
    )
    assert mine == theirs


def test_the_reader_of_one_scene_agrees(scene, files, reached):
    """Nothing in this scene is masked: `Sentinel2Scene`, which masks after interpolating, gives the same everywhere."""
    one, many = Sentinel2Scene(path=files).read(LATTICE[reached]).values, scene.values
    np.testing.assert_array_equal(np.isfinite(one), np.isfinite(many))
    np.testing.assert_allclose(one, many, rtol=0, atol=FLOAT)


@pytest.fixture
def clouded(files, tmp_path, stac) -> dict[str, Path]:
    """The scene with blocks of 40 x 40 pixels of every class in its SCL, in a catalog of its own: `catalog`."""
    with rasterio.open(files["SCL"]) as dataset:
        profile, shape = dataset.profile, dataset.shape
    blocks = np.random.default_rng(3).integers(0, 12, (shape[0] // 40 + 1, shape[1] // 40 + 1))
    path = tmp_path / "SCL.tif"
    with rasterio.open(path, "w", **profile | {"nodata": None}) as dataset:
        dataset.write(blocks.repeat(40, 0).repeat(40, 1)[: shape[0], : shape[1]].astype("uint8"), 1)
    item = json.loads(json.dumps(next(i for i in stac.items if i["collection"] == "sentinel-2-l2a-local")))
    item["assets"]["SCL"]["href"] = str(path)
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}), encoding="utf-8")
    return {**files, "SCL": path, "catalog": catalog}


def test_under_clouds_only_the_ring_around_them_differs_between_readers(clouded, reached):
    """A masked neighbour weighs nothing, as when reading directly; `Sentinel2Scene` masks the same pixels, but lets it weigh."""
    rows, columns = reached
    box = LATTICE[rows, columns][100:400, -300:]
    many = source(str(clouded["catalog"]), "sentinel-2-l2a-local").read(box).values
    np.testing.assert_allclose(many, read_directly(clouded, box), rtol=0, atol=FLOAT)
    paths = {name: path for name, path in clouded.items() if name != "catalog"}
    one = Sentinel2Scene(path=paths).read(box).values
    np.testing.assert_array_equal(np.isfinite(one), np.isfinite(many))
    masked = np.isnan(many).any(axis=0)
    assert 0.3 < masked.mean() < 0.7
    # A pixel's four neighbours in the file lie within 1.5 pixels of it: those of a pixel 3 away from any masked one are clear.
    padded = np.pad(masked, 3)
    around = [padded[3 + j : 3 + j + masked.shape[0], 3 + i : 3 + i + masked.shape[1]] for j in range(-3, 4) for i in range(-3, 4)]
    ring = np.any(around, axis=0)
    difference = np.abs(one - many).max(axis=0)
    assert difference[~ring].max() < FLOAT
    assert np.nanmax(difference[ring]) > 1e-3


def test_an_api_cannot_name_paths_of_this_machine(stac):
    """An address without a scheme belongs to the server that gave it: our own files are not opened for a stranger."""
    with pytest.raises(RasterError, match=stac.api):
        source(stac.api, "sentinel-2-l2a-local").read(LATTICE[300:310, 200:210])


def test_where_no_scene_lies_is_no_data(stac):
    """No item of the collection meets the box: NoDataError, which leaves a node empty."""
    with pytest.raises(NoDataError, match="sentinel-2-l2a-http"):
        source(stac.api).read(TileGrid().tile("25kmE4000N3000").geobox(10)[:50, :50])
