"""The formats of GeoLifeCLEF and malpolon, in and out: image patches, Landsat series, climate series.

What each edition stores, and what becomes of it here (always float32, NaN = missing):

    2022        ID_rgb.jpg, ID_near_ir.jpg   256 x 256 px of 1 m aerial images, 8 bits as the camera's operator delivered them
                ID_altitude.tif              256 x 256, metres; -32768 = missing
                ID_landcover.tif             256 x 256, class codes; 0 = missing
    2023, 2024  rgb/CD/AB/XXXXABCD.jpeg      128 x 128 px of 10 m Sentinel-2 around the point, and nir/... the same;
                                             255 * (reflectance, cut at 1) ** (1 / 2.5); black in all four bands (8 or less: JPEG
                                             blurs a gap's edge; 8 is a reflectance of 0.0002) = missing
    2023        time_series_BAND.csv         a row a point, a column a quarter: "2000_1" = December 1999 to February 2000;
                                             0-255 = reflectance * 255; "eos" (end of series) or empty = missing
    2024        landsat ... ID_cube.pt       the same series as a tensor (6 bands, 4 quarters, 21 years)
                bioclimatic ... ID_cube.pt   a tensor (4 variables, 19 years, 12 months) of CHELSA's integers: pr in 0.01 mm,
                                             tas, tasmax, tasmin in 0.1 K; NaN = missing

CD/AB are the last two digits of the id and the two before them. The data's authors say that reflectance is cut at 1 (10,000
in the product) on its way to 8 bits; the gamma agrees with the data: Sentinel-2 scenes coded so have the patches' means (88,
93, 77, 160 of a scene of Bolzano; 85, 87, 74, 148 of a patch). That 1.0 is 255 in the Landsat series is read off the series
(they reach 254; vegetation is about 0.3 in the near infrared), the climate variables' order off their values (the third is
the warmest, the fourth the coldest). malpolon reads the 2024 layout: what `export_geolifeclef` writes its data sets open.
"""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
import xarray as xr
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geoplantnet.cubes.cube import unpack
from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import CubeWindows
from geoplantnet.cubes.torch_tensor import read_tensor, write_tensor
from geoplantnet.errors import CubeError, InputError, RasterError, UsageError, did_you_mean
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.storage import json_text, write_beside

Float = npt.NDArray[np.float32]

SENTINEL2_BANDS = ("B04", "B03", "B02", "B08")
"""Red, green, blue and near infrared: the order of the files and of malpolon's arrays."""
LANDSAT_BANDS = ("red", "green", "blue", "nir", "swir1", "swir2")
CLIMATE_VARIABLES = ("pr", "tas", "tasmax", "tasmin")
CLIMATE_UNITS = ("mm", "degC", "degC", "degC")
PATCH_SIDE = 128
"""Pixels of 10 m."""
GAMMA = 2.5
_WHITE = 255.0
_BLACK = 8
_KELVIN = 273.15
_LARGEST_SIDE = 2048
_QUARTER = re.compile(r"(\d{4})_([1-4])")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the 2024 edition, and malpolon, have the files of a survey."""

    root: Path
    subset: str = "train"
    """"train" or "test" (the two are spelt differently in places)."""

    def __post_init__(self) -> None:
        if self.subset not in ("train", "test"):
            raise UsageError(f"subset must be train or test, got {self.subset!r}")

    def rgb(self, survey: int) -> Path:
        """JPEG, three bands."""
        return patch_path(self.root / f"PA_{self.subset.title()}_SatellitePatches_RGB" / f"pa_{self.subset}_patches_rgb", survey)

    def nir(self, survey: int) -> Path:
        """JPEG, one band."""
        return patch_path(self.root / f"PA_{self.subset.title()}_SatellitePatches_NIR" / f"pa_{self.subset}_patches_nir", survey)

    def landsat(self, survey: int) -> Path:
        """Tensor (6, 4, years)."""
        folder = self._series("landsat_time_series")
        name = "landsat-time-series" if self.subset == "train" else "landsat_time_series"
        return folder / f"GLC24-PA-{self.subset}-{name}_{survey}_cube.pt"

    def climate(self, survey: int) -> Path:
        """Tensor (4, years, 12)."""
        return self._series("bioclimatic_monthly") / f"GLC24-PA-{self.subset}-bioclimatic_monthly_{survey}_cube.pt"

    def landsat_csv(self, band: str) -> Path:
        """The 2023 edition's table of one band."""
        return self.root / "SatelliteTimeSeries" / f"time_series_{band}.csv"

    def _series(self, kind: str) -> Path:
        return self.root / "TimeSeries-Cubes" / "TimeSeries-Cubes" / f"GLC24-PA-{self.subset}-{kind}"


def patch_path(folder: str | Path, survey: int, suffix: str = ".jpeg") -> Path:
    """`folder`/CD/AB/XXXXABCD.jpeg; ids of less than four digits have shorter or fewer folders, as in the data sets."""
    text = str(int(survey))
    return Path(folder, text[-2:], text[-4:-2], f"{text}{suffix}")


def read_sentinel2(rgb: str | Path, nir: str | Path) -> xr.DataArray:
    """A patch of the 2023 or 2024 edition: surface reflectance (band, y, x), 128 x 128 px of 10 m, rows north to south.

    Raises RasterError for a file that is missing, damaged, no JPEG or PNG, too large, or of the wrong bands.
    """
    colour, grey = _image(Path(rgb), "RGB"), _image(Path(nir), "L")
    if colour.shape[:2] != grey.shape[:2]:
        raise RasterError(f"{rgb} has {colour.shape[:2]} pixels, {nir} {grey.shape[:2]}: not of one patch")
    numbers = np.concatenate([colour.transpose(2, 0, 1), grey[None]])
    values = ((numbers / np.float32(_WHITE)) ** np.float32(GAMMA)).astype(np.float32)
    values[:, (numbers <= _BLACK).all(axis=0)] = np.nan
    return xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={"band": list(SENTINEL2_BANDS)},
        attrs={"long_name": "surface reflectance", "units": "1", "resolution": 10.0},
    )


def read_glc22(folder: str | Path, observation: int) -> xr.Dataset:
    """The four patches of an observation of the 2022 edition, 256 x 256 px over 256 m, rows north to south.

    `folder` holds CD/AB/ID_rgb.jpg and its kin (patches-fr or patches-us of the edition). Variables: rgb (band, y, x) and
    near_ir (y, x), 8-bit numbers without a physical unit; altitude (y, x), m; landcover (y, x), class codes.
    Raises RasterError as `read_sentinel2` does.
    """
    paths = {
        name: patch_path(folder, observation, f"_{name}.{kind}")
        for name, kind in (("rgb", "jpg"), ("near_ir", "jpg"), ("altitude", "tif"), ("landcover", "tif"))
    }
    altitude, landcover = _tiff(paths["altitude"]), _tiff(paths["landcover"])
    altitude[altitude == -32_768] = np.nan
    landcover[landcover == 0] = np.nan
    colour, grey = _image(paths["rgb"], "RGB").astype(np.float32), _image(paths["near_ir"], "L").astype(np.float32)
    shapes = {
        name: array.shape[:2] for name, array in (("rgb", colour), ("near_ir", grey), ("altitude", altitude), ("landcover", landcover))
    }
    if len(set(shapes.values())) != 1:
        raise RasterError(f"observation {observation} in {folder}: its patches differ in size: {shapes}")
    return xr.Dataset(
        {
            "rgb": (("band", "y", "x"), colour.transpose(2, 0, 1), {"units": "1", "long_name": "8-bit aerial image"}),
            "near_ir": (("y", "x"), grey, {"units": "1", "long_name": "8-bit aerial image, near infrared"}),
            "altitude": (("y", "x"), altitude, {"units": "m", "long_name": "altitude"}),
            "landcover": (("y", "x"), landcover, {"units": "1", "long_name": "land cover class of the edition's legend"}),
        },
        coords={"band": ["red", "green", "blue"]},
        attrs={"resolution": 1.0, "observation": int(observation)},
    )


def read_landsat_csv(files: str | Path | Mapping[str, str | Path], surveys: Sequence[int] | None = None) -> xr.DataArray:
    """Landsat series of tables, one a band: surface reflectance (survey, band, quarter, year).

    `files` maps bands to tables, or is a folder where each of `LANDSAT_BANDS` has one file ending in its name. The first
    column is the id (timeSerieID, surveyId), the others are year_quarter; `;` or `,` between them. `surveys` picks ids.
    Raises InputError for a table that is none of this, or when the bands' tables disagree.
    """
    paths = _band_files(Path(files)) if isinstance(files, (str, Path)) else {band: Path(path) for band, path in files.items()}
    tables = {band: _series_table(path, surveys) for band, path in paths.items()}
    (first, reference), *others = tables.items()
    for band, table in others:
        if not (table.columns.equals(reference.columns) and table.index.sort_values().equals(reference.index.sort_values())):
            raise InputError(f"{paths[band]} and {paths[first]} have not the same ids and quarters")
    # The 2023 edition sorts the ids of its six tables in two ways: each is brought into the first one's order.
    numbers = np.stack([table.reindex(reference.index).to_numpy(np.float32) for table in tables.values()], axis=1)
    periods = [(int(year), int(quarter)) for year, quarter in (c.split("_") for c in reference.columns)]
    return _landsat(_by_year(numbers, periods), list(tables), _years(periods), survey=reference.index.to_numpy())


def read_landsat_tensor(path: str | Path, *, first_year: int = 2000) -> xr.DataArray:
    """Landsat series of a 2024 tensor: surface reflectance (band, quarter, year). Raises InputError for another shape."""
    numbers = read_tensor(path)
    if numbers.ndim != 3 or numbers.shape[:2] != (6, 4):
        raise InputError(f"{path} holds {numbers.shape}; a Landsat tensor is (6 bands, 4 quarters, years)")
    return _landsat(_digital(numbers, path), LANDSAT_BANDS, range(first_year, first_year + numbers.shape[2]))


def read_climate_tensor(path: str | Path, *, first_year: int = 2000) -> xr.DataArray:
    """Monthly climate of a 2024 tensor (variable, year, month): pr in mm, the others in degC (coordinate `units`).

    Raises InputError for another shape.
    """
    numbers = read_tensor(path)
    if numbers.ndim != 3 or numbers.shape[0] != 4 or numbers.shape[2] != 12:
        raise InputError(f"{path} holds {numbers.shape}; a climate tensor is (4 variables, years, 12 months)")
    values = numbers.astype(np.float32)
    values[0] /= 100
    values[1:] = values[1:] / 10 - np.float32(_KELVIN)
    return xr.DataArray(
        values,
        dims=("variable", "year", "month"),
        coords={
            "variable": list(CLIMATE_VARIABLES),
            "units": ("variable", list(CLIMATE_UNITS)),
            "year": np.arange(first_year, first_year + values.shape[1]),
            "month": np.arange(1, 13),
        },
        attrs={"long_name": "monthly climate"},
    )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote, and what it could not."""

    layout: Layout
    written: tuple[int, ...]
    """Ids of the surveys written, in the order of the points."""
    without_cube: tuple[int, ...] = field(default=())
    """Ids of surveys on whose tile no cube stands: nothing was written for them."""


def export_geolifeclef(
    points: pd.DataFrame,
    folder: str | Path,
    *,
    grid: TileGrid,
    cubes: Mapping[str, Path],
    sentinel2: Modality | None = None,
    landsat: Modality | None = None,
    climate: Modality | None = None,
    subset: str = "train",
    landsat_years: Sequence[int] | None = None,
    climate_years: Sequence[int] | None = None,
    quality: int = 90,
    memory: int = 1 << 29,
) -> Exported:
    """Write cubes at points as GeoLifeCLEF 2024 has them (`Layout`), and the Landsat series also as tables of 2023.

    `points` has surveyId, x and y (the grid's CRS). Images: the 128 x 128 px around the pixel corner nearest to the point.
    Series: the pixel that holds the point, over the given years of the tensors, missing where the cube has none (malpolon's
    networks expect 2000-2020 of Landsat and 2000-2018 of climate); by default the cube's own years. `quality` is the JPEG's; the
    editions have 90. What is lost: 8 bits and JPEG in images, 8 bits in Landsat, 0.05 degC and 0.005 mm in climate.
    Tensors are .pt because nothing else is read there; see `torch_tensor`. Beside them, export.json says what was made of
    what, and whom to credit.

    The folder is committed whole. Raises UsageError when it exists or nothing is asked for, InputError for points without
    a usable id or all off the cubes, CubeError for a modality that lacks a band, a unit or the periods of the format.
    """
    final = Path(folder)
    if final.exists():
        raise UsageError(f"{final} exists; name a new folder, an export never mixes with another")
    surveys = _survey_ids(points)
    tile_ids = grid.tile_ids_at(points["x"], points["y"])
    if any(t is None for t in tile_ids):
        raise CubeError(f"{sum(t is None for t in tile_ids)} points lie outside the grid; reject them before exporting")
    has = np.array([t in cubes for t in tile_ids], bool)
    if not has.any():
        raise InputError(f"none of {len(points)} points lies on a tile with a cube; build their cubes with `geoplantnet cubes`")
    writers: list[_Writer] = []
    if sentinel2 is not None:
        writers.append(_Images(sentinel2, grid, quality))
    if landsat is not None:
        writers.append(_Quarters(landsat, grid, landsat_years))
    if climate is not None:
        writers.append(_Months(climate, grid, climate_years))
    if not writers:
        raise UsageError("nothing to export: give sentinel2=, landsat= or climate=")
    windows = CubeWindows(cubes, grid, memory=memory)
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    here = np.flatnonzero(has)
    with write_beside(final) as temporary:
        layout = Layout(root=temporary, subset=subset)
        for i in here[np.lexsort((x[here], -y[here], tile_ids[here].astype(str)))]:  # tile by tile, as they lie on disk
            for writer in writers:
                writer.write(layout, int(surveys[i]), windows, tile_ids[i], x[i], y[i])
        order = [int(s) for s in surveys[here]]
        for writer in writers:
            writer.finish(layout, order)
        said = {
            "surveys": len(order),
            "without_cube": sorted(int(s) for s in surveys[~has]),
            "modalities": [w.said for w in writers],
        }
        (temporary / "export.json").write_text(json_text(said), encoding="utf-8")
    return Exported(layout=Layout(root=final, subset=subset), written=tuple(order), without_cube=tuple(int(s) for s in surveys[~has]))


def quantise_reflectance(values: Float) -> npt.NDArray[np.uint8]:
    """Surface reflectance -> 8 bits of a Sentinel-2 patch; missing = 0."""
    bright = np.clip(np.nan_to_num(values, nan=0.0), 0, 1) ** np.float32(1 / GAMMA)
    return np.rint(bright * np.float32(_WHITE)).astype(np.uint8)


class _Writer(ABC):
    """Writes one modality at points; `said` goes into export.json."""

    bands: tuple[str, ...] = ()

    def __init__(self, modality: Modality, grid: TileGrid) -> None:
        self.modality, self.grid = modality, grid
        self.picked = [_position(modality, band) for band in self.bands]
        self.said: dict[str, Any] = {
            "name": modality.name,
            "bands": list(self.bands),
            "licence": modality.licence,
            "credit": modality.credit,
        }

    @abstractmethod
    def write(self, layout: Layout, survey: int, windows: CubeWindows, tile_id: str, x: float, y: float) -> None:
        """Write the files of one point."""

    def finish(self, layout: Layout, surveys: Sequence[int]) -> None:  # noqa: B027  only tables need it
        """Called once, after the last point."""

    def _pixel(self, tile_id: str, x: float, y: float) -> tuple[float, float]:
        """Row and column of a point in a tile's array, halo included; 0.5 = the centre of the first pixel."""
        west, _, _, north = self.grid.tile(tile_id).bounds
        m = self.modality
        return (north - y) / m.resolution + m.halo, (x - west) / m.resolution + m.halo

    def _series(self, windows: CubeWindows, tile_id: str, x: float, y: float) -> Float:
        """Physical values (time, band in the format's order) of the pixel that holds a point."""
        row, column = self._pixel(tile_id, x, y)
        stored = windows.window(tile_id, self.modality, int(np.ceil(row)) - 1, int(np.floor(column)), 1)
        values = unpack(stored, self.modality).reshape(self.modality.axes)
        return values[..., self.picked]


class _Images(_Writer):
    bands = SENTINEL2_BANDS

    def __init__(self, modality: Modality, grid: TileGrid, quality: int) -> None:
        super().__init__(modality, grid)
        self.quality = quality
        if modality.resolution != 10 or modality.times > 1 or modality.halo < PATCH_SIDE // 2:
            raise CubeError(
                f"{modality.name}: a patch is one date of 10 m with 64 px beyond the tile, got {modality.times or 1} of "
                f"{modality.resolution} m with {modality.halo} px"
            )
        self.said["coding"] = "255 * min(reflectance, 1) ** (1 / 2.5); 0 in all bands = missing"

    def write(self, layout: Layout, survey: int, windows: CubeWindows, tile_id: str, x: float, y: float) -> None:
        row, column = self._pixel(tile_id, x, y)
        top, left = (int(np.floor(p + 0.5)) - PATCH_SIDE // 2 for p in (row, column))
        stored = windows.window(tile_id, self.modality, top, left, PATCH_SIDE)
        numbers = quantise_reflectance(unpack(stored, self.modality)[self.picked])
        for path, image in ((layout.rgb(survey), numbers[:3].transpose(1, 2, 0)), (layout.nir(survey), numbers[3])):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(image)).save(path, "JPEG", quality=self.quality, subsampling="4:2:0")


class _Quarters(_Writer):
    bands = LANDSAT_BANDS

    def __init__(self, modality: Modality, grid: TileGrid, years: Sequence[int] | None) -> None:
        super().__init__(modality, grid)
        if modality.time is None or modality.time.step != "quarter":
            raise CubeError(f"{modality.name}: Landsat series have a time axis of quarters, got {modality.time}")
        # December to February is quarter 1 of the year they end in, like January to March: the middle month says it.
        middle = [start.astype("datetime64[M]") + 1 for start in modality.time.starts]
        months = [int(m.astype(int)) for m in middle]
        self.periods = [(1970 + m // 12, m % 12 // 3 + 1) for m in months]
        self.years = tuple(years or _years(self.periods))
        self.said |= {"coding": "255 * reflectance", "years": list(self.years)}
        self.rows: dict[int, npt.NDArray[np.int16]] = {}

    def write(self, layout: Layout, survey: int, windows: CubeWindows, tile_id: str, x: float, y: float) -> None:
        values = self._series(windows, tile_id, x, y)
        numbers = np.rint(np.clip(values, 0, 1) * np.float32(_WHITE))
        self.rows[survey] = np.where(np.isfinite(numbers), numbers, -1).astype(np.int16)
        path = layout.landsat(survey)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensor(path, _by_year(numbers.T[None], self.periods, self.years)[0])

    def finish(self, layout: Layout, surveys: Sequence[int]) -> None:
        header = ";".join(["timeSerieID", *(f"{year}_{quarter}" for year, quarter in self.periods)])
        for b, band in enumerate(self.bands):
            path = layout.landsat_csv(band)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as stream:
                stream.write(header + "\n")
                for survey in surveys:
                    stream.write(";".join([str(survey), *("eos" if v < 0 else str(v) for v in self.rows[survey][:, b])]) + "\n")


class _Months(_Writer):
    bands = CLIMATE_VARIABLES

    def __init__(self, modality: Modality, grid: TileGrid, years: Sequence[int] | None) -> None:
        super().__init__(modality, grid)
        if modality.time is None or modality.time.step != "month":
            raise CubeError(f"{modality.name}: climate series have a time axis of months, got {modality.time}")
        for band, position in zip(self.bands, self.picked):
            unit, allowed = modality.units[position], ("mm",) if band == "pr" else ("degC", "K")
            if unit not in allowed:
                raise CubeError(f"{modality.name}: {band} is in {unit!r}; the format needs {' or '.join(allowed)}")
        months = modality.time.starts.astype("datetime64[M]").astype(int)
        self.periods = [(1970 + int(m) // 12, int(m) % 12 + 1) for m in months]
        self.years = tuple(years or _years(self.periods))
        self.said |= {"coding": "pr in 0.01 mm, temperatures in 0.1 K", "years": list(self.years)}
        kelvin = [_KELVIN if modality.units[p] == "degC" else 0.0 for p in self.picked]
        self.step = np.array([100, 10, 10, 10], np.float32)
        self.offset = np.array([0.0, *kelvin[1:]], np.float32)

    def write(self, layout: Layout, survey: int, windows: CubeWindows, tile_id: str, x: float, y: float) -> None:
        numbers = np.rint((self._series(windows, tile_id, x, y) + self.offset) * self.step)
        path = layout.climate(survey)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensor(path, _by_year(numbers.T[None], self.periods, self.years, parts=12)[0].transpose(0, 2, 1))


def _image(path: Path, mode: str) -> npt.NDArray[np.uint8]:
    """A JPEG or PNG as (y, x[, band]); its header is judged before a pixel is decoded."""
    if not path.is_file():
        raise RasterError(f"no image at {path}")
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.mode != mode or max(image.size) > _LARGEST_SIDE:
                raise RasterError(f"{path} is {image.mode} of {image.size} pixels; expected {mode}, at most {_LARGEST_SIDE} a side")
            return np.asarray(image)
    except RasterError:
        raise
    except Exception as error:  # what a decoder raises on damaged bytes is its own affair
        raise RasterError(f"{path} cannot be read as a JPEG or PNG ({error}); fetch it again") from error


def _tiff(path: Path) -> Float:
    """The one band of a GeoTIFF as (y, x); patches have no georeference."""
    if not path.is_file():
        raise RasterError(f"no image at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as source:
                if source.count != 1 or max(source.shape) > _LARGEST_SIDE:
                    raise RasterError(
                        f"{path} has {source.count} bands of {source.shape} pixels; expected 1, at most {_LARGEST_SIDE} a side"
                    )
                return np.asarray(source.read(1)).astype(np.float32)
    except RasterioError as error:
        raise RasterError(f"{path} cannot be read as a TIFF ({error}); fetch it again") from error


def _band_files(folder: Path) -> dict[str, Path]:
    found = {}
    for band in LANDSAT_BANDS:
        files = sorted(p for p in folder.glob("*.csv") if re.search(rf"(^|[-_]){band}\.csv$", p.name))
        if len(files) != 1:
            raise InputError(f"{folder} has {len(files)} tables of band {band!r}, such as time_series_{band}.csv; expected one")
        found[band] = files[0]
    return found


def _series_table(path: Path, surveys: Sequence[int] | None) -> pd.DataFrame:
    """One table of 8-bit numbers, NaN = missing, indexed by id."""
    if not path.is_file():
        raise InputError(f"no table at {path}")
    try:
        with path.open(encoding="utf-8") as stream:
            separator = ";" if ";" in stream.readline(1 << 16) else ","
        table = pd.read_csv(path, sep=separator, index_col=0, na_values=["eos", ""], keep_default_na=False, encoding="utf-8")
        table = table.astype(np.float32)
        ids = table.index.astype(np.int64)
        if (ids != table.index).any():
            raise ValueError("ids are whole numbers")
        table.index = ids
    except (ValueError, TypeError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} is no table of year_quarter columns after an id ({error})") from error
    odd = [c for c in table.columns if not _QUARTER.fullmatch(str(c))]
    if odd or not len(table.columns):
        raise InputError(f"{path}: columns must be named like 2000_1, got {odd[:3]}")
    if not table.index.is_unique or not table.columns.is_unique:
        raise InputError(f"{path} names an id or a quarter twice")
    if surveys is not None:
        unknown = sorted(set(surveys) - set(table.index))
        if unknown:
            raise InputError(f"{path} has no series of {unknown[:5]} ({len(unknown)} of {len(surveys)} asked for)")
        table = table.loc[list(surveys)]
    _digital(table.to_numpy(), path)
    return table


def _digital(numbers: npt.NDArray[Any], path: str | Path) -> Float:
    """8-bit numbers as they should be. Raises InputError for one that is outside 0-255."""
    outside = numbers[(numbers < 0) | (numbers > _WHITE)]
    if outside.size:
        raise InputError(f"{path}: {outside.size} values such as {outside.flat[0]} are outside 0-255; it is not an 8-bit Landsat series")
    return numbers.astype(np.float32)


def _landsat(numbers: Float, bands: Iterable[str], years: Iterable[int], *, survey: npt.NDArray[np.int64] | None = None) -> xr.DataArray:
    dims = (("survey",) if survey is not None else ()) + ("band", "quarter", "year")
    coords: dict[str, Any] = {"band": list(bands), "quarter": [1, 2, 3, 4], "year": list(years)}
    if survey is not None:
        coords["survey"] = survey
    return xr.DataArray(
        numbers / np.float32(_WHITE), dims=dims, coords=coords, attrs={"long_name": "surface reflectance", "units": "1", "resolution": 30.0}
    )


def _years(periods: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    years = [year for year, _ in periods]
    return tuple(range(min(years), max(years) + 1))


def _by_year(values: Float, periods: Sequence[tuple[int, int]], years: Sequence[int] | None = None, *, parts: int = 4) -> Float:
    """(n, band, period) -> (n, band, part of the year, year); NaN where a year has no such period, others are left out."""
    columns = {year: i for i, year in enumerate(years or _years(periods))}
    out = np.full((*values.shape[:2], parts, len(columns)), np.nan, np.float32)
    for i, (year, part) in enumerate(periods):
        if year in columns:
            out[:, :, part - 1, columns[year]] = values[:, :, i]
    return out


def _position(modality: Modality, band: str) -> int:
    if band not in modality.bands:
        hint = did_you_mean(band, modality.bands)
        raise CubeError(f"{modality.name} has no band {band!r}, which the format needs; it has {', '.join(modality.bands)}.{hint}")
    return modality.bands.index(band)


def _survey_ids(points: pd.DataFrame) -> npt.NDArray[np.int64]:
    if missing := [c for c in ("surveyId", "x", "y") if c not in points]:
        raise InputError(f"points have no column {', '.join(missing)}; they have {', '.join(map(str, points.columns))}")
    try:
        surveys = points["surveyId"].to_numpy().astype(np.int64)
        whole = bool((surveys == points["surveyId"].to_numpy()).all())
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"surveyId must be whole numbers, the formats name files by their digits ({error})") from error
    if not whole or (surveys < 0).any() or len(set(surveys.tolist())) != len(surveys):
        raise InputError("surveyId must be whole numbers from 0 on, each once: the formats have one file a survey")
    return surveys
