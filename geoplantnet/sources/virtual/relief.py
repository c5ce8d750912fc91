"""Relief: an elevation model put onto the 50 m lattice, or a fractal one, and the terrain variables ecologists derive from it.

All arrays are float32 (y, x), rows north to south. Inputs to the derivations have no gaps: voids of a real model are
filled with the nearest known value first and masked again by the caller.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject, transform_bounds
from scipy import ndimage

from geoplantnet.errors import CrsError, NoDataError, RasterError
from geoplantnet.sources.virtual import noise
from geoplantnet.sources.virtual.noise import Field, Pixels

CRS = "EPSG:3035"
PACKAGED_DEM = Path(__file__).parent / "data" / "aletsch_dem_200m.tif"


def dem_bounds(path: Path) -> tuple[float, float, float, float]:
    """West, south, east, north (EPSG:3035, metres) of a GeoTIFF elevation model. Raises RasterError, CrsError."""
    try:
        with rasterio.open(path, driver="GTiff") as source:
            if source.crs is None:
                raise CrsError(f"{path} has no CRS; assign the one it was made in (gdal_edit.py -a_srs) before using it as relief")
            west, south, east, north = transform_bounds(source.crs, CRS, *source.bounds, densify_pts=51)
    except RasterioError as error:
        raise RasterError(f"cannot read {path} as a GeoTIFF elevation model: {error}") from error
    return west, south, east, north


def read_dem(path: Path, extent: tuple[int, int, int, int], cell: int) -> Field:
    """Elevation (m) of a GeoTIFF's first band on the `cell` lattice of `extent` (EPSG:3035), NaN in voids. Cubic convolution.

    Raises RasterError (unreadable), CrsError (no CRS), NoDataError (no elevation in the extent).
    """
    covered = dem_bounds(path)
    west, south, east, north = extent
    elevation = np.full(((north - south) // cell, (east - west) // cell), np.nan, np.float32)
    with rasterio.open(path, driver="GTiff") as source:
        reproject(
            rasterio.band(source, 1),
            elevation,
            src_nodata=source.nodata,
            dst_transform=Affine(cell, 0, west, 0, -cell, north),
            dst_crs=CRS,
            dst_nodata=np.nan,
            resampling=Resampling.cubic,
            num_threads=1,
        )
    if not np.isfinite(elevation).any():
        shown = tuple(round(b) for b in covered)
        raise NoDataError(f"{path} covers {shown} (EPSG:3035) and holds no elevation in {extent}; choose bounds inside the model")
    return elevation


def fractal_relief(pixels: Pixels, relief: float, seed: int) -> Field:
    """Elevation (m) of fractal mountains: 500 m in the valleys, about `relief` metres more on the highest peaks.

    Ridged waves make chains, spurs and gullies, each wave the stronger the higher the ground, as in the multifractals of
    Musgrave, Kolb & Mace (1989, SIGGRAPH 23:41). The lowest 3 % are levelled: lakes.
    """
    chains = _ridges(pixels, 12_000, seed + 31)
    height = np.float32(0.5) * chains + np.float32(0.08) * noise.smooth(pixels, 20_000, seed + 33)
    for wavelength, part in ((4_800, 0.46), (2_000, 0.15), (900, 0.06)):
        height += (
            np.float32(part) * (_ridges(pixels, wavelength, seed + wavelength) - np.float32(0.3)) * np.clip(chains + np.float32(0.1), 0, 1)
        )
    height += np.float32(0.02) * noise.fractal(pixels, 700, seed + 34, octaves=3) * chains
    floor = np.quantile(height, 0.03)
    return (500 + np.float32(relief) * np.clip(height - floor, 0, 1.1)).astype(np.float32)


def _ridges(pixels: Pixels, wavelength: int, seed: int) -> Field:
    """A field of crests (1) and troughs (towards 0): noise folded about zero."""
    fold = np.abs(noise.smooth(pixels, wavelength, seed) + np.float32(0.18) * noise.smooth(pixels, wavelength // 4, seed + 7))
    return np.square(1 - np.minimum(fold / np.float32(2), 1)).astype(np.float32)


def fill_voids(layer: Field) -> tuple[Field, npt.NDArray[np.bool_]]:
    """The layer with NaN replaced by the nearest known value, and where it was known."""
    known = np.isfinite(layer)
    if known.all():
        return layer, known
    rows, cols = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return layer[rows, cols], known


def slope_aspect(elevation: Field, cell: int) -> tuple[Field, Field]:
    """Slope (degrees) and aspect (degrees clockwise from north, downslope; 0 on flats), Horn (1981, Proc. IEEE 69:14)."""
    padded = np.pad(elevation.astype(np.float64), 1, mode="edge")
    above, here, below = padded[:-2], padded[1:-1], padded[2:]
    east = ((above[:, 2:] + 2 * here[:, 2:] + below[:, 2:]) - (above[:, :-2] + 2 * here[:, :-2] + below[:, :-2])) / (8 * cell)
    south = ((below[:, :-2] + 2 * below[:, 1:-1] + below[:, 2:]) - (above[:, :-2] + 2 * above[:, 1:-1] + above[:, 2:])) / (8 * cell)
    slope = np.degrees(np.arctan(np.hypot(east, south)))
    aspect = np.degrees(np.arctan2(-east, south)) % 360
    return slope.astype(np.float32), aspect.astype(np.float32)


def exposure(slope: Field, aspect: Field) -> tuple[Field, Field]:
    """Northness and eastness (-1..1): cosine and sine of the aspect, each times the sine of the slope (degrees)."""
    steep = np.sin(np.radians(slope))
    return (np.cos(np.radians(aspect)) * steep).astype(np.float32), (np.sin(np.radians(aspect)) * steep).astype(np.float32)


def topographic_position(elevation: Field, cell: int, radius: int) -> Field:
    """Elevation less its mean in a square of half-side `radius` metres (Weiss 2001), metres: + on ridges, - in valleys."""
    mean = ndimage.uniform_filter(elevation.astype(np.float64), size=2 * (radius // cell) + 1, mode="nearest")
    return (elevation - mean).astype(np.float32)


def heat_load(slope: Field, aspect: Field, latitude: Field) -> Field:
    """Potential annual heat load (MJ cm-2 yr-1): McCune & Keon (2002, J. Veg. Sci. 13:603), equation 1, aspect folded about NE-SW.

    `slope` and `aspect` in degrees, `latitude` in degrees north (0-60).
    """
    lat, s = np.radians(latitude), np.radians(slope)
    a = np.radians(np.abs(180 - np.abs(aspect - 225)))
    log = (
        -1.467
        + 1.582 * np.cos(lat) * np.cos(s)
        - 1.500 * np.cos(a) * np.sin(s) * np.sin(lat)
        - 0.262 * np.sin(lat) * np.sin(s)
        + 0.607 * np.sin(a) * np.sin(s)
    )
    return np.exp(log).astype(np.float32)


def wetness(catchment: Field, slope: Field) -> Field:
    """Topographic wetness index ln(a / tan b) (Beven & Kirkby 1979). `catchment` in m2 per metre of contour, slope in degrees."""
    return np.log(catchment / np.maximum(np.tan(np.radians(slope)), 0.01)).astype(np.float32)


def illumination(slope: Field, aspect: Field, *, azimuth: float, height: float) -> Field:
    """Cosine of the sun's incidence, 0 (in its own shade) to 1. Sun azimuth (clockwise from north) and height in degrees."""
    s, up = np.radians(slope), np.radians(height)
    cosine = np.sin(up) * np.cos(s) + np.cos(up) * np.sin(s) * np.cos(np.radians(azimuth - aspect))
    return np.maximum(cosine, 0).astype(np.float32)
