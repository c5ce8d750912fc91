"""Virtual sources: the Source contract, no seams, and imagery that tells more than tables."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.interpolate import RegularGridInterpolator

from geoplantnet.errors import CrsError, NoDataError, RasterError
from geoplantnet.sources.source import Source
from geoplantnet.sources.virtual import (
    VirtualBioclim,
    VirtualClimate,
    VirtualLandCover,
    VirtualLandsat,
    VirtualLandscape,
    VirtualSentinel2,
    VirtualTerrain,
    relief,
)

FRACTAL = VirtualLandscape.fractal((4_000_000, 3_000_000, 4_004_000, 3_004_000), seed=7)
EDGE = VirtualLandscape.on_dem(seed=1, bounds=(4_123_000, 2_573_000, 4_129_000, 2_579_000))
WIDE = VirtualLandscape.fractal((4_000_000, 3_000_000, 4_016_000, 3_016_000), seed=7)
SOURCES = [
    kind(place)
    for place in (FRACTAL, EDGE)
    for kind in (VirtualSentinel2, VirtualLandsat, VirtualClimate, VirtualTerrain, VirtualBioclim, VirtualLandCover)
]
NAMES = [f"{type(s).__name__}-{'fractal' if s.landscape is FRACTAL else 'edge'}" for s in SOURCES]


def box(landscape: VirtualLandscape, resolution: float, shape: tuple[int, int], offset: tuple[float, float] = (0, 0)) -> GeoBox:
    """Pixels of `resolution` whose north-west corner lies `offset` metres east and south of the landscape's."""
    west, north = landscape.bounds[0] + offset[0], landscape.bounds[3] - offset[1]
    return GeoBox.from_bbox(
        (west, north - shape[0] * resolution, west + shape[1] * resolution, north), crs="EPSG:3035", resolution=resolution, tight=True
    )


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_the_contract(source):
    """Order and type of axes, names, coordinates and provenance are as the Source protocol states."""
    assert isinstance(source, Source)
    geobox = box(source.landscape, 100, (7, 9))
    values = source.read(geobox)
    timed = isinstance(source, VirtualLandsat | VirtualClimate)
    assert values.dims == (("time",) if timed else ()) + ("band", "y", "x")
    assert values.dtype == np.float32 and values.shape[-3:] == (len(source.bands), 7, 9)
    assert tuple(values["band"].values) == source.bands
    np.testing.assert_array_equal(values["y"], geobox.coordinates["y"].values)
    assert values["y"][0] > values["y"][-1]
    if timed:
        assert len(values["time"]) in (8, 24) and (np.diff(values["time"].values) > np.timedelta64(0)).all()
    credits = [p.get("credit", "") for p in values.attrs["provenance"]]
    assert ("Source: Federal Office of Topography swisstopo" in credits) == (source.landscape is EDGE)
    assert all("irtual" in p["title"] for p in values.attrs["provenance"][:1])
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_no_seams(source, data):
    """A window of a read is the read of the window, bit for bit, at native, coarser, finer and unaligned pixels."""
    k, shift = data.draw(st.sampled_from([(1, 0.0), (2, 0.0), (3, 0.0), (0.5, 0.0), (1.5, 0.25), (1, 0.3)]))
    size = source.native * k
    offset = tuple(data.draw(st.integers(-2, 1)) * source.native + shift * source.native for _ in range(2))
    reach = min(12, int(6_000 / size))
    height, width = (data.draw(st.integers(2, reach)) for _ in range(2))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    whole = source.read(box(source.landscape, size, (height, width), offset))
    part = source.read(box(source.landscape, size, (height - top, width - left), (offset[0] + left * size, offset[1] + top * size)))
    np.testing.assert_array_equal(part.values, whole.values[..., top:, left:])


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_points_see_their_pixel(source):
    """`at` gives the native pixel holding the point, NaN outside the landscape and without coordinates."""
    rng = np.random.default_rng(3)
    geobox = box(source.landscape, source.native, (4_000 // source.native, 4_000 // source.native))
    west, north = geobox.affine.c, geobox.affine.f
    x, y = west + rng.uniform(0, 4_000, 60), north - rng.uniform(0, 4_000, 60)
    points = pd.DataFrame({"x": [*x, 0.0, np.nan], "y": [*y, 0.0, np.nan]})
    found = source.at(points)
    row, col = ((north - y) // source.native).astype(int), ((x - west) // source.native).astype(int)
    np.testing.assert_array_equal(found[:60], np.moveaxis(source.read(geobox).values[..., row, col], -1, 0))
    assert np.isnan(found[60:]).all()
    assert found.dtype == np.float32


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_other_resolutions_are_means_or_bilinear(source):
    """Aligned coarser pixels average the native ones with data; others are bilinear between native centres."""
    n = source.native
    native = source.read(box(source.landscape, n, (12, 12))).values
    blocks = native.reshape(*native.shape[:-2], 4, 3, 4, 3)
    with np.errstate(invalid="ignore"):
        expected = np.nansum(blocks, axis=(-3, -1), dtype=np.float64) / np.isfinite(blocks).sum(axis=(-3, -1))
    np.testing.assert_allclose(source.read(box(source.landscape, 3 * n, (4, 4))).values, expected, rtol=1e-5, atol=1e-6)
    fine = source.read(box(source.landscape, n / 2, (16, 16), (2 * n, 2 * n))).values
    grid = np.arange(12) + 0.5
    at = np.stack(np.meshgrid(2.25 + np.arange(16) / 2, 2.25 + np.arange(16) / 2, indexing="ij"), axis=-1)
    reference = RegularGridInterpolator((grid, grid), np.moveaxis(native.reshape(-1, 12, 12), 0, -1))(at)
    np.testing.assert_allclose(np.moveaxis(reference, -1, 0).reshape(fine.shape), fine, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_what_cannot_be_read_is_refused(source):
    """Wholly outside, in another CRS, or on slanted or oblong pixels: typed errors; partly outside: NaN there."""
    _, south, east, north = source.landscape.extent
    with pytest.raises(NoDataError, match=str(source.landscape.bounds[0])):
        source.read(GeoBox.from_bbox((east, south, east + 5_000, south + 5_000), crs="EPSG:3035", resolution=source.native, tight=True))
    with pytest.raises(CrsError, match="EPSG:3035"):
        source.read(GeoBox.from_bbox((8, 46, 8.1, 46.1), crs="EPSG:4326", resolution=0.01))
    good = box(source.landscape, source.native, (4, 4))
    with pytest.raises(RasterError, match="north-up"):
        source.read(good.rotate(20))
    n = source.native
    over = source.read(
        GeoBox.from_bbox((east - 2 * n, north - 2 * n, east + n, north + n), crs="EPSG:3035", resolution=n, tight=True)
    ).values
    assert np.isnan(over[..., 0, :]).all() and np.isnan(over[..., :, -1]).all()


def test_gaps_of_the_relief_are_gaps_in_every_source():
    """Where the elevation model ends, no 50 m or 10 m source has a value."""
    terrain = VirtualTerrain(EDGE).read(box(EDGE, 50, (120, 120)))
    void = np.isnan(terrain.sel(band="elevation").values)
    assert 0.02 < void.mean() < 0.9
    for source in (VirtualLandsat(EDGE), VirtualTerrain(EDGE), VirtualBioclim(EDGE), VirtualLandCover(EDGE)):
        assert np.isnan(source.read(box(EDGE, 50, (120, 120))).values[..., void]).all()
    image = VirtualSentinel2(EDGE).read(box(EDGE, 10, (600, 600))).values
    assert np.isnan(image[:, void.repeat(5, 0).repeat(5, 1)]).all()


def test_reflectance_is_physical_and_has_few_gaps():
    """Sentinel-2 lies in 0..1 with 0.5-4 % of pixels missing over the extent; vegetation is bright in the near infrared."""
    image = VirtualSentinel2(FRACTAL).read(box(FRACTAL, 10, (800, 800), (-2_000, -2_000)))
    values = image.values
    assert np.nanmin(values) > 0 and np.nanmax(values) <= 1
    missing = np.isnan(values)
    assert (missing == missing[0]).all() and 0.005 < missing[0].mean() < 0.04
    cover = VirtualLandCover(FRACTAL).read(box(FRACTAL, 50, (160, 160), (-2_000, -2_000)))
    meadow = (cover.sel(band="meadow") > 0.9).values.repeat(5, 0).repeat(5, 1)
    red, nir = image.sel(band="B04").values[meadow], image.sel(band="B08").values[meadow]
    assert np.nanmedian((nir - red) / (nir + red)) > 0.6


def test_landsat_has_seasons():
    """Broadleaf forest greens up in summer, and winter has more gaps than summer."""
    source = VirtualLandsat(WIDE)
    series = source.read(box(WIDE, 50, (320, 320)))
    cover = VirtualLandCover(WIDE).read(box(WIDE, 50, (320, 320)))
    ndvi = (series.sel(band="nir") - series.sel(band="red")) / (series.sel(band="nir") + series.sel(band="red"))
    forest = (cover.sel(band="broadleaf_forest") > 0.7).values
    assert forest.any()
    winter, summer = (np.nanmean(ndvi.values[season::4][:, forest]) for season in (0, 2))
    assert summer > winter + 0.2
    gaps = np.isnan(series.values[:, 0]).mean(axis=(1, 2))
    assert gaps[0::4].mean() > gaps[2::4].mean()
    assert 0.01 < gaps.mean() < 0.4


def test_climate_series_is_ordered():
    """Tasmin < tas < tasmax, July is warmer than January, rain is positive, and years differ."""
    series = VirtualClimate(FRACTAL).read(box(FRACTAL, 1_000, (4, 4)))
    tas, low, high, rain = (series.sel(band=b).values for b in ("tas", "tasmin", "tasmax", "pr"))
    assert (low < tas).all() and (tas < high).all() and (rain > 0).all()
    assert (tas[6] > tas[0] + 10).all()
    assert not np.allclose(tas[:12], tas[12:])


def test_a_measured_value_wins():
    """A surveyor's elevation, slope and aspect replace the raster's, and what derives from them follows; unmeasured ones do not."""
    source = VirtualTerrain(FRACTAL)
    x, y = FRACTAL.bounds[0] + 1_025.0, FRACTAL.bounds[1] + 1_025.0
    points = pd.DataFrame(
        {
            "x": [x] * 3,
            "y": [y] * 3,
            "elevation": [1234.0, np.nan, np.nan],
            "slope": [np.nan, 30.0, np.nan],
            "aspect": [np.nan, 225.0, np.nan],
        }
    )
    plain = source.at(points[["x", "y"]])
    found = pd.DataFrame(source.at(points), columns=source.bands)
    assert found.elevation[0] == 1234
    np.testing.assert_array_equal(found.iloc[0, 1:], plain[0, 1:])
    assert found.slope[1] == 30 and found.elevation[1] == plain[1, 0]
    np.testing.assert_allclose(found.northness[1], np.cos(np.radians(225)) * 0.5, rtol=1e-5)
    layers = FRACTAL.layers
    latitude = np.float32(np.median(layers.terrain["latitude"]))
    np.testing.assert_allclose(found.heat_load[1], relief.heat_load(np.float32(30), np.float32(225), latitude), rtol=1e-2)
    np.testing.assert_array_equal(found.iloc[2], plain[2])


def test_imagery_shows_what_tables_hide():
    """Within pure conifer forest, canopy gaps explain Sentinel-2 but neither land cover nor terrain nor climate."""
    whole = box(WIDE, 50, (320, 320))
    forest = VirtualLandCover(WIDE).read(whole).sel(band="conifer_forest").values > 0.97
    assert forest.sum() > 500
    hidden = WIDE.layers.openness[40:360, 40:360][forest]
    image = VirtualSentinel2(WIDE).read(whole).values[:, forest]
    seen = np.isfinite(image).all(axis=0)

    def explained(table: np.ndarray) -> float:
        features = np.column_stack([np.ones(seen.sum()), (table - table.mean(1, keepdims=True)).T])
        target = hidden[seen]
        fitted = features @ np.linalg.lstsq(features, target, rcond=None)[0]
        return 1 - float(np.var(target - fitted) / np.var(target))

    tables = np.concatenate([VirtualTerrain(WIDE).read(whole).values, VirtualBioclim(WIDE).read(whole).values])[:, forest][:, seen]
    ratios = np.stack([image[3, seen] / image[1, seen], image[3, seen] / image[0, seen], image[2, seen] / image[1, seen]])
    assert explained(ratios) > 0.2 + explained(tables)
