"""The virtual landscape: a small value, real relief with real gaps, layers that obey geography."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from geoplantnet.errors import CrsError, NoDataError, RasterError, UsageError
from geoplantnet.sources.virtual import VirtualLandscape, land_cover
from geoplantnet.sources.virtual.landscape import LAKE, ROAD, WATER
from geoplantnet.sources.virtual.noise import Pixels
from geoplantnet.sources.virtual.relief import PACKAGED_DEM

FRACTAL = VirtualLandscape.fractal((4_000_000, 3_000_000, 4_004_000, 3_004_000), seed=7)
ALETSCH = VirtualLandscape.on_dem(seed=1, bounds=(4_150_000, 2_576_000, 4_174_000, 2_604_000))
EDGE = VirtualLandscape.on_dem(seed=1, bounds=(4_123_000, 2_573_000, 4_129_000, 2_579_000))


def cover(landscape: VirtualLandscape) -> dict[str, np.ndarray]:
    layers = landscape.layers
    return dict(zip(land_cover.CLASSES, layers.land_cover(Pixels.grid(50, *layers.origin, *layers.known.shape[::-1]))))


@pytest.mark.parametrize("landscape", [FRACTAL, ALETSCH, EDGE], ids=["fractal", "aletsch", "edge"])
def test_layers_share_one_mask_and_reach_beyond_the_bounds(landscape):
    """Every layer is NaN exactly where there is no relief; the extent adds at least 2 km on each side."""
    layers = landscape.layers
    west, south, east, north = landscape.extent
    assert landscape.bounds[0] - west >= 2_000 and east - landscape.bounds[2] >= 2_000
    assert layers.known.shape == ((north - south) // 50, (east - west) // 50)
    named = {**layers.terrain, **layers.bioclim, "water": layers.water, "ground": layers.ground[0], "openness": layers.openness}
    for name, layer in named.items():
        np.testing.assert_array_equal(np.isfinite(layer), layers.known, err_msg=name)


@pytest.mark.parametrize("landscape", [FRACTAL, ALETSCH, EDGE], ids=["fractal", "aletsch", "edge"])
def test_land_cover_shares_add_up(landscape):
    """Shares lie in 0..1 and add up to 1 in every known cell."""
    shares = np.stack(list(cover(landscape).values()))[:, landscape.layers.known]
    assert shares.min() >= 0 and shares.max() <= 1 + 1e-6
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)


def test_voids_of_the_relief_stay_voids():
    """Cells outside the elevation model are the unknown ones, and only they (against the model's own footprint)."""
    layers = EDGE.layers
    west, _, _, north = EDGE.extent
    with rasterio.open(PACKAGED_DEM, driver="GTiff") as source:
        rows, cols = np.indices(layers.known.shape)
        x, y = Transformer.from_crs("EPSG:3035", source.crs, always_xy=True).transform(west + cols * 50 + 25, north - rows * 50 - 25)
        bounds = source.bounds
    depth = np.minimum(np.minimum(x - bounds.left, bounds.right - x), np.minimum(y - bounds.bottom, bounds.top - y))
    assert not layers.known[depth < -200].any()
    assert layers.known[depth > 400].all()
    assert 0.1 < layers.known.mean() < 0.9


def test_elevation_is_the_model_s():
    """Elevation on the 50 m lattice agrees with a cubic reading of the model by another route."""
    elevation = ALETSCH.layers.terrain["elevation"]
    west, _, _, north = ALETSCH.extent
    rows, cols = np.mgrid[3 : elevation.shape[0] : 17, 3 : elevation.shape[1] : 17]
    with rasterio.open(PACKAGED_DEM, driver="GTiff") as source:
        x, y = Transformer.from_crs("EPSG:3035", source.crs, always_xy=True).transform(west + cols * 50 + 25, north - rows * 50 - 25)
        u, v = (x - source.bounds.left) / 200, (source.bounds.top - y) / 200
        expected = map_coordinates(source.read(1), [v - 0.5, u - 0.5], order=3)
    difference = np.abs(elevation[rows, cols] - expected)
    assert np.median(difference) < 2
    assert difference.max() < 60


def test_the_landscape_looks_like_the_valais():
    """Ice lies high, forest between, fields low; the tree line stands near 2,100 m; it gets colder and wetter upward."""
    layers, classes = ALETSCH.layers, cover(ALETSCH)
    z = layers.terrain["elevation"]
    mean = {name: np.nansum(z * share) / np.nansum(share) for name, share in classes.items()}
    assert mean["cropland"] < mean["broadleaf_forest"] < mean["conifer_forest"] < mean["shrub"] < mean["alpine_meadow"] < mean["glacier"]
    forest = classes["conifer_forest"] + classes["broadleaf_forest"]
    assert forest[(z > 2_400) & layers.known].mean() < 0.02 < 0.5 < np.median(forest[(z > 1_200) & (z < 1_700)])
    assert 0.05 < np.nanmean(classes["glacier"]) < 0.35
    # The middle of the Aletsch tongue (Konkordiaplatz) is ice, the floor of the Rhone valley is not wild.
    west, _, _, north = ALETSCH.extent
    at = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True).transform(8.045, 46.50)
    assert classes["glacier"][int((north - at[1]) // 50), int((at[0] - west) // 50)] > 0.9
    low = layers.known & (z < 800)
    temperature, rain = layers.bioclim["bio1"], layers.bioclim["bio12"]
    high = layers.known & (z > 2_800)
    rate = (temperature[low].mean() - temperature[high].mean()) / (z[high].mean() - z[low].mean()) * 1000
    assert 5.0 < rate < 6.2
    assert rain[high].mean() > 1.5 * rain[low].mean()
    assert (layers.bioclim["bio6"] < temperature)[layers.known].all() and (temperature < layers.bioclim["bio5"])[layers.known].all()


def test_rivers_roads_and_villages_keep_to_the_valleys():
    """Water and roads lie below their surroundings on average; villages have roads; lakes are water."""
    layers = ALETSCH.layers
    tpi = layers.terrain["tpi"]
    fine = layers.lines.reshape(tpi.shape[0], 5, tpi.shape[1], 5)
    for bit in (WATER, ROAD):
        assert np.nanmean(tpi[((fine & bit) > 0).any(axis=(1, 3))]) < -40
    assert len(layers.villages) > 5
    assert np.nanmean(layers.road_distance[layers.village_distance < 60]) < 200
    assert (((layers.lines & LAKE) == 0) | ((layers.lines & WATER) > 0)).all()


def test_seeds_and_bytes():
    """The same value has the same bytes after a recomputation, another seed has others; relief of a model does not change."""
    from geoplantnet.sources.virtual import landscape as module

    first = FRACTAL.layers
    again = module._layers.__wrapped__(VirtualLandscape.fractal(FRACTAL.bounds, seed=7))
    other = module._layers.__wrapped__(VirtualLandscape.fractal(FRACTAL.bounds, seed=8))
    assert first.ground.tobytes() == again.ground.tobytes()
    assert first.lines.tobytes() == again.lines.tobytes()
    assert first.terrain["elevation"].tobytes() != other.terrain["elevation"].tobytes()
    reseeded = module._layers.__wrapped__(VirtualLandscape.on_dem(seed=2, bounds=EDGE.bounds))
    assert EDGE.layers.terrain["elevation"].tobytes() == reseeded.terrain["elevation"].tobytes()
    assert EDGE.layers.openness.tobytes() != reseeded.openness.tobytes()


def test_a_landscape_is_a_small_value():
    """It pickles to a few hundred bytes, returns equal, and hashes equal, so a worker finds its cached layers."""
    for landscape in (FRACTAL, ALETSCH):
        packed = pickle.dumps(landscape)
        assert len(packed) < 500
        assert pickle.loads(packed) == landscape and hash(pickle.loads(packed)) == hash(landscape)


def test_provenance_credits_swisstopo():
    """Packaged relief carries its credit, a fractal one does not claim it."""
    assert any(p.get("credit") == "Source: Federal Office of Topography swisstopo" for p in ALETSCH.provenance)
    assert not any("credit" in p for p in FRACTAL.provenance)


def _write(path, crs, height=20):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=20,
        height=height,
        count=1,
        dtype="float32",
        crs=crs,
        transform=Affine(200, 0, 4_000_000, 0, -200, 3_000_000),
    ) as target:
        target.write(np.linspace(500, 900, 20 * height, dtype=np.float32).reshape(1, height, 20))
    return path


def test_own_models_are_read(tmp_path):
    """A model of one's own is used over its whole extent by default, and its name stands in the provenance."""
    landscape = VirtualLandscape.on_dem(_write(tmp_path / "own.tif", "EPSG:3035"), seed=3)
    assert landscape.bounds == (4_000_000, 2_996_000, 4_004_000, 3_000_000)
    assert landscape.layers.known.mean() == pytest.approx(0.25, abs=0.02)
    assert landscape.provenance[1]["href"] == "own.tif"


def test_bad_input_is_refused(tmp_path):
    """Missing CRS, unreadable files, extents beside the model and impossible bounds raise typed errors that name the values."""
    with pytest.raises(CrsError, match="no CRS"):
        VirtualLandscape.on_dem(_write(tmp_path / "none.tif", None), seed=1)
    (tmp_path / "text.tif").write_text("no raster")
    for name in ("text.tif", "absent.tif"):
        with pytest.raises(RasterError, match=name):
            VirtualLandscape.on_dem(tmp_path / name, seed=1)
    with pytest.raises(NoDataError, match="holds no elevation"):
        VirtualLandscape.on_dem(seed=1, bounds=(5_000_000, 2_000_000, 5_025_000, 2_025_000))
    for bounds in ((4_000_000, 0, 3_000_000, 25_000), (0.5, 0, 1_000, 1_000), (0, 0, 300_000, 300_000)):
        with pytest.raises(UsageError):
            VirtualLandscape.fractal(bounds, seed=1)
    with pytest.raises(UsageError, match="seed"):
        VirtualLandscape.fractal((0, 0, 1_000, 1_000), seed=-1)
    with pytest.raises(UsageError, match="relief"):
        VirtualLandscape.fractal((0, 0, 1_000, 1_000), seed=1, relief=0)
