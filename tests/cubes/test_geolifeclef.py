"""The field's formats are read as they are, and a cube written in them comes back within what they lose."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pickle
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from geoplantnet.cubes import Modality, build_cube, write_cube
from geoplantnet.cubes.cube import stored_array, unpack
from geoplantnet.cubes.geolifeclef import (
    LANDSAT_BANDS,
    SENTINEL2_BANDS,
    Layout,
    export_geolifeclef,
    patch_path,
    quantise_reflectance,
    read_climate_tensor,
    read_glc22,
    read_landsat_csv,
    read_landsat_tensor,
    read_sentinel2,
)
from geoplantnet.cubes.torch_tensor import read_tensor, write_tensor
from geoplantnet.errors import CubeError, InputError, RasterError, UsageError
from geoplantnet.grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sources.source import FakeSource
from geoplantnet.storage import sha256

GRID = TileGrid(tile_size=2000)
TILE = GRID.tile("2kmE4200N2600")
SENTINEL2 = Modality(
    name="sentinel2",
    bands=("B02", "B03", "B04", "B08"),
    resolution=10,
    window=25,
    halo=64,
    dtype="uint16",
    scale=1e-4,
    nodata=0,
    credit="Copernicus",
)
LANDSAT = Modality(
    name="landsat",
    bands=("blue", "green", "red", "nir", "swir1", "swir2"),
    resolution=50,
    dtype="uint16",
    scale=1e-4,
    nodata=0,
    time=TimeAxis(step="quarter", first="2018-12", count=7),
)
CLIMATE = Modality(
    name="climate",
    bands=("tas", "tasmin", "tasmax", "pr"),
    units=("degC", "degC", "degC", "mm"),
    resolution=1000,
    halo=1,
    time=TimeAxis(step="month", first="2018-01", count=24),
)


class Series(FakeSource):
    """The fields of one date, again and again, a little brighter."""

    def __init__(self, count, **bands):
        super().__init__(**bands)
        self.count = count

    def read(self, geobox):
        import xarray as xr

        one = super().read(geobox)
        dates = [one * (1 + 0.01 * i) for i in range(self.count)]
        return xr.concat(dates, dim="time", combine_attrs="override")


def smooth(level, swing=0.02, gap=False):
    def value(x, y):
        v = level + swing * np.sin(x / 190) * np.cos(y / 230)
        return np.where((x - 4_200_000) ** 2 + (y - 2_600_400) ** 2 < 200**2, np.nan, v) if gap else v

    return value


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """One tile with smooth fields and a round gap on its western edge."""
    sources = {
        "sentinel2": FakeSource(
            B02=smooth(0.05, gap=True), B03=smooth(0.08, gap=True), B04=smooth(0.06, gap=True), B08=smooth(0.3, 0.1, gap=True)
        ),
        "landsat": Series(7, **{b: smooth(0.1 + 0.05 * i, gap=b == "red") for i, b in enumerate(LANDSAT.bands)}),
        "climate": Series(24, tas=smooth(8, 2), tasmin=smooth(3, 2), tasmax=smooth(14, 2), pr=smooth(60, 20)),
    }
    modalities = (SENTINEL2, LANDSAT, CLIMATE)
    path = tmp_path_factory.mktemp("cubes") / "cube.zarr"
    write_cube(build_cube(TILE, modalities, sources), path, modalities)
    return {TILE.id: path}


@pytest.fixture(scope="module")
def points():
    """The tile's corners and edges, the inside, and one survey on no cube."""
    x = [4_200_000.0, 4_201_999.9, 4_200_000.0, 4_201_234.5, 4_200_300.0, 4_300_000.0]
    y = [2_600_000.0, 2_601_999.9, 2_601_999.9, 2_600_777.7, 2_600_410.0, 2_600_000.0]
    return pd.DataFrame({"surveyId": [7, 42, 123, 3018575, 1322301, 99], "x": x, "y": y})


@pytest.fixture(scope="module")
def exported(cubes, points, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "glc"
    return export_geolifeclef(points, folder, grid=GRID, cubes=cubes, sentinel2=SENTINEL2, landsat=LANDSAT, climate=CLIMATE)


def cube_values(cubes, m):
    return unpack(stored_array(cubes[TILE.id], m), m)


@pytest.mark.parametrize(
    ("survey", "path"),
    [(3018575, "75/85/3018575.jpeg"), (1, "1/1.jpeg"), (123, "23/1/123.jpeg"), (1000, "00/10/1000.jpeg"), (42, "42/42.jpeg")],
)
def test_folders_are_the_last_digits(tmp_path, survey, path):
    """The examples of the data sets' own description."""
    assert patch_path(tmp_path, survey) == tmp_path / path


def test_an_image_patch_comes_back_within_8_bits_and_jpeg(exported, cubes, points):
    """The 128 px around the point's nearest pixel corner, band by band; gaps stay gaps but for the ringing at their edges."""
    whole = cube_values(cubes, SENTINEL2)
    west, _, _, north = TILE.bounds
    for survey, x, y in points[:-1].itertuples(index=False):
        read = read_sentinel2(exported.layout.rgb(survey), exported.layout.nir(survey))
        assert read.dims == ("band", "y", "x") and read.shape == (4, 128, 128) and tuple(read["band"].values) == SENTINEL2_BANDS
        top, left = round((north - y) / 10) + 64 - 64, round((x - west) / 10) + 64 - 64
        truth = whole[[2, 1, 0, 3], top : top + 128, left : left + 128]
        assert truth.shape == read.shape
        gap = np.isnan(truth).any(axis=0)
        blurred = ndimage.binary_dilation(gap, iterations=16) & ~ndimage.binary_erosion(gap, iterations=16, border_value=1)
        error = np.abs(quantise_reflectance(read.values).astype(int) - quantise_reflectance(truth))
        assert error[:, ~blurred].max(initial=0) <= 3
        missing = np.isnan(read.values).all(axis=0)
        assert np.array_equal(missing[~blurred], gap[~blurred])
        assert (missing & gap).sum() >= 0.9 * gap.sum() and (missing & ~gap).sum() <= 0.1 * gap.sum()
    assert gap.any()  # the last point looks into the gap


@given(hnp.arrays(np.float32, 20, elements=st.floats(-0.25, 1.5, width=32) | st.just(float("nan"))))
def test_eight_bits_are_the_authors_gamma(values):
    """255 times the 2.5th root, cut at 0 and 1, to half a step; missing is 0."""
    numbers = quantise_reflectance(values)
    exact = 255 * np.clip(np.nan_to_num(values.astype(float), nan=0), 0, 1) ** 0.4
    assert np.abs(numbers - exact).max() <= 0.501


def test_series_come_back_within_half_a_step(exported, cubes, points):
    """Quarters and months at the pixel that holds the point; what the cube has not is NaN; table and tensor agree."""
    landsat, climate = cube_values(cubes, LANDSAT), cube_values(cubes, CLIMATE)
    west, _, _, north = TILE.bounds
    written = list(points["surveyId"][:-1])
    tables = read_landsat_csv(exported.layout.landsat_csv("red").parent)
    assert list(tables["survey"].values) == written and list(exported.written) == written and exported.without_cube == (99,)
    order = [LANDSAT.bands.index(b) for b in LANDSAT_BANDS]
    for survey, x, y in points[:-1].itertuples(index=False):
        row, column = min(int((north - y) / 50), 39), int((x - west) / 50)
        tensor = read_landsat_tensor(exported.layout.landsat(survey), first_year=2019)
        assert tensor.dims == ("band", "quarter", "year") and tensor.shape == (6, 4, 2)
        flat = tensor.values.transpose(2, 1, 0).reshape(8, 6)  # December 2018 is the first quarter of 2019
        truth = landsat[:, order, row, column]
        assert np.array_equal(np.isnan(flat[:7]), np.isnan(truth)) and np.isnan(flat[7]).all()
        assert np.nanmax(np.abs(flat[:7] - truth)) <= 0.501 / 255
        assert np.array_equal(tables.sel(survey=survey).values, tensor.values, equal_nan=True)
        row, column = int((north - y) / 1000 + 1), int((x - west) / 1000 + 1)
        row = min(row, 2)
        months = read_climate_tensor(exported.layout.climate(survey), first_year=2018)
        assert months.dims == ("variable", "year", "month") and months.shape == (4, 2, 12)
        truth = climate[:, [3, 0, 2, 1], row, column].T.reshape(4, 2, 12)
        assert np.abs(months.values - truth).max(axis=(1, 2)) == pytest.approx([0.0025, 0.025, 0.025, 0.025], abs=0.026)
        assert np.abs(months.values[0] - truth[0]).max() <= 0.0051
    assert np.isnan(tables.sel(band="red").values).any()


def test_malpolon_s_torch_reads_the_tensors(exported, points):
    """torch.load, its safe way, gives the same numbers."""
    torch = pytest.importorskip("torch")
    path = exported.layout.landsat(42)
    assert np.array_equal(torch.load(path, weights_only=True).numpy(), read_tensor(path), equal_nan=True)


def test_an_export_is_the_same_bytes_says_whom_to_credit_and_mixes_with_nothing(exported, cubes, points, tmp_path):
    """Two exports cannot be told apart, whatever the order of the points; a folder that exists is refused and untouched."""
    again = export_geolifeclef(
        points, tmp_path / "a", grid=GRID, cubes=cubes, sentinel2=SENTINEL2, landsat=LANDSAT, climate=CLIMATE, memory=0
    )
    assert sha256(again.layout.root) == sha256(exported.layout.root)
    said = json.loads((again.layout.root / "export.json").read_text())
    assert said["without_cube"] == [99] and said["modalities"][0]["credit"] == "Copernicus"
    with pytest.raises(UsageError, match="exists"):
        export_geolifeclef(points, tmp_path / "a", grid=GRID, cubes=cubes, landsat=LANDSAT)
    assert sha256(again.layout.root) == sha256(exported.layout.root)


def test_years_as_the_networks_expect_them(cubes, points, tmp_path):
    """2000-2020 and 2000-2018 asked for: tensors (6, 4, 21) and (4, 19, 12), missing where the cube has none; test names."""
    done = export_geolifeclef(
        points[:1], tmp_path / "e", grid=GRID, cubes=cubes, landsat=LANDSAT, climate=CLIMATE, subset="test",
        landsat_years=range(2000, 2021), climate_years=range(2000, 2019),
    )  # fmt: skip
    landsat, climate = read_landsat_tensor(done.layout.landsat(7)), read_climate_tensor(done.layout.climate(7))
    assert landsat.shape == (6, 4, 21) and climate.shape == (4, 19, 12)
    assert list(landsat["year"].values[np.isfinite(landsat.values).any(axis=(0, 1))]) == [2019, 2020]
    assert list(climate["year"].values[np.isfinite(climate.values).any(axis=(0, 2))]) == [2018]
    assert done.layout.landsat(7).name == "GLC24-PA-test-landsat_time_series_7_cube.pt"


@pytest.mark.parametrize(
    ("error", "says", "change"),
    [
        (UsageError, "nothing to export", {"landsat": None}),
        (UsageError, "train or test", {"subset": "val"}),
        (InputError, "each once", {"points": [1, 1]}),
        (InputError, "whole numbers", {"points": [1.5, 2]}),
        (InputError, "whole numbers", {"points": ["a", "../b"]}),
        (InputError, "from 0 on", {"points": [-1, 2]}),
        (InputError, "none of 2 points", {"cubes": {}}),
        (
            CubeError,
            "no band 'swir1'.*Did you mean 'swir11'",
            {"landsat": dataclasses.replace(LANDSAT, bands=(*LANDSAT.bands[:4], "swir11", "swir2"))},
        ),
        (CubeError, "quarters", {"landsat": dataclasses.replace(LANDSAT, time=TimeAxis(step="year", first="2018-01", count=7))}),
        (CubeError, "months", {"climate": dataclasses.replace(CLIMATE, time=None)}),
        (CubeError, "'mm'", {"climate": dataclasses.replace(CLIMATE, units=("mm",) * 4)}),
        (CubeError, "64 px", {"sentinel2": dataclasses.replace(SENTINEL2, halo=63)}),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(cubes, tmp_path, error, says, change):
    """Every refusal is typed, names its reason, and no folder stands afterwards."""
    ids = change.pop("points", [1, 2])
    where = pd.DataFrame({"surveyId": ids, "x": [4_200_100.0, 4_200_200.0], "y": [2_600_100.0, 2_600_200.0]})
    with pytest.raises(error, match=says):
        export_geolifeclef(where, tmp_path / "e", **{"grid": GRID, "cubes": cubes, "landsat": LANDSAT, **change})
    assert list(tmp_path.iterdir()) == []


# --- the real samples


def test_real_patches_of_2023(data_folder):
    """All hundred Sentinel-2 patches: 128 px, vegetation bright in the near infrared, sea and gaps missing."""
    folder = data_folder / "glc_samples" / "glc23_sample" / "SatelliteImages"
    patches = [read_sentinel2(rgb, folder / "nir" / rgb.relative_to(folder / "rgb")) for rgb in sorted((folder / "rgb").rglob("*.jpeg"))]
    assert len(patches) == 100 and {p.shape for p in patches} == {(4, 128, 128)}
    medians = np.nanmedian(np.stack([p.values for p in patches]), axis=(0, 2, 3))
    assert 0.02 < medians[2] < medians[1] < 0.15 and 0.2 < medians[3] < 0.4  # blue < green << near infrared: reflectance of land
    assert sum(bool(np.isnan(p).any()) for p in patches) == 18


def test_real_series_of_2023(data_folder):
    """100 points, 6 bands, 2000-2020; what lies after a series' end is missing, nothing else."""
    series = read_landsat_csv(data_folder / "glc_samples" / "glc23_sample" / "SatelliteTimeSeries")
    assert series.dims == ("survey", "band", "quarter", "year") and series.shape == (100, 6, 4, 21)
    assert series["year"].values[[0, -1]].tolist() == [2000, 2020]
    assert np.isnan(series.sel(band="red").values).sum() == 344
    first = pd.read_csv(data_folder / "glc_samples" / "glc23_sample" / "SatelliteTimeSeries" / "time_series_red.csv", sep=";").iloc[0]
    one = series.sel(survey=int(first["timeSerieID"]), band="red", quarter=3, year=2007)
    assert float(one) * 255 == pytest.approx(float(first["2007_3"]))
    picked = read_landsat_csv(data_folder / "glc_samples" / "glc23_sample" / "SatelliteTimeSeries", surveys=[int(first["timeSerieID"])])
    assert picked.shape == (1, 6, 4, 21)
    with pytest.raises(InputError, match="no series of"):
        read_landsat_csv(data_folder / "glc_samples" / "glc23_sample" / "SatelliteTimeSeries", surveys=[5])


def test_real_files_of_2024(data_folder):
    """The layout finds them; seasons and months look like the Northern hemisphere; warmest and coldest are in their place."""
    layout = Layout(root=data_folder / "glc_samples" / "glc24_pre_extracted")
    assert read_sentinel2(layout.rgb(1322301), layout.nir(1322301)).shape == (4, 128, 128)
    landsat, climate = read_landsat_tensor(layout.landsat(1322301)), read_climate_tensor(layout.climate(1322301))
    assert landsat.shape == (6, 4, 21) and climate.shape == (4, 19, 12)
    assert 0.2 < np.median(landsat.sel(band="nir").values) < 0.4
    mean, warmest, coldest = (climate.sel(variable=v).values.mean(axis=0) for v in ("tas", "tasmax", "tasmin"))
    assert (coldest < mean).all() and (mean < warmest).all() and mean.argmax() in (6, 7) and 0 < mean.mean() < 20
    assert dict(zip(climate["variable"].values, climate["units"].values)) == {"pr": "mm", "tas": "degC", "tasmax": "degC", "tasmin": "degC"}
    test = Layout(root=layout.root, subset="test")  # links that became text on their way
    with pytest.raises(RasterError, match=r"1621686\.jpeg"):
        read_sentinel2(test.rgb(1621686), test.nir(1621686))
    with pytest.raises(InputError, match="no torch file"):
        read_landsat_tensor(test.landsat(1621686))


def test_real_observation_of_2022(data_folder):
    """Four patches of 256 x 256; altitudes of the Charente, classes of the legend."""
    patch = read_glc22(data_folder / "glc_samples" / "glc22_sample" / "patches-fr", 10561900)
    assert dict(patch.sizes) == {"band": 3, "y": 256, "x": 256}
    assert (float(patch["altitude"].min()), float(patch["altitude"].max())) == (213, 224)
    assert set(np.unique(patch["landcover"])) <= set(range(1, 34)) and patch["altitude"].attrs["units"] == "m"


# --- bad input


def test_images_that_are_none_are_refused_before_they_are_decoded(tmp_path):
    """A missing file, text, a truncated JPEG, another format, wrong bands, and a picture larger than any patch."""
    good, grey = tmp_path / "rgb.jpeg", tmp_path / "nir.jpeg"
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    Image.fromarray(noise).save(good, "JPEG")
    Image.fromarray(noise[..., 0]).save(grey, "JPEG")
    assert read_sentinel2(good, grey).shape == (4, 128, 128)
    bad = tmp_path / "bad.jpeg"
    with pytest.raises(RasterError, match="no image"):
        read_sentinel2(bad, grey)
    for content in (b"", b"../some/link.jpeg", good.read_bytes()[:3000]):
        bad.write_bytes(content)
        with pytest.raises(RasterError, match=r"bad\.jpeg"):
            read_sentinel2(bad, grey)
    Image.fromarray(noise).save(bad, "BMP")
    with pytest.raises(RasterError, match="JPEG or PNG"):
        read_sentinel2(bad, grey)
    with pytest.raises(RasterError, match="expected RGB"):
        read_sentinel2(grey, grey)
    Image.new("L", (9000, 9000)).save(bad, "PNG")
    with pytest.raises(RasterError, match="at most 2048"):
        read_sentinel2(good, bad)
    Image.fromarray(noise[:64, :64, 0]).save(bad, "JPEG")
    with pytest.raises(RasterError, match="not of one patch"):
        read_sentinel2(good, bad)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no table"),
        ("id;2000_1\n1;hello\n", "hello"),
        ("id;2000_5\n1;3\n", "2000_5"),
        ("id;2000_1\n1;3\n1;4\n", "twice"),
        ("id;2000_1\n1;300\n", "0-255"),
        ("id;2000_1\n1;-1\n", "0-255"),
        ("id;2000_1\n1.5;3\n", "whole numbers"),
        ("id\n1\n", "columns must be named"),
        ("id;2000_1\n1;3\n2;4\n", "same ids"),
        ("id;2000_2\n1;3\n", "same ids"),
        ("id;2000_1\n\x00\xff;;;;\n", "bad.csv"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, says):
    """Every bad table is named with its reason."""
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text('"surveyId","2000_1"\n1,3\n')
    bad.write_text(text)
    with pytest.raises(InputError, match=says):
        read_landsat_csv({"red": good, "nir": bad})
    with pytest.raises(InputError, match="0 tables of band 'red'"):
        read_landsat_csv(tmp_path)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0), elements=st.floats(width=32)))
def test_a_tensor_is_read_as_it_was_written(tmp_path_factory, values):
    """Any shape, NaN and infinities included."""
    path = tmp_path_factory.mktemp("t") / "t.pt"
    write_tensor(path, values)
    assert np.array_equal(read_tensor(path), values, equal_nan=True)


def test_tensors_saved_by_torch_are_read(tmp_path):
    """Every number type and any strides, as torch itself reads them."""
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        tensor = torch.arange(60).reshape(3, 4, 5).to(dtype).permute(2, 0, 1)[1:, :, ::2]
        torch.save(tensor, tmp_path / "t.pt")
        assert np.array_equal(read_tensor(tmp_path / "t.pt"), tensor.numpy())
    for other in ({"a": torch.ones(2)}, [torch.ones(2)], torch.nn.Linear(2, 2), torch.nn.Parameter(torch.ones(2)), 3):
        torch.save(other, tmp_path / "o.pt")
        with pytest.raises(InputError, match="plain tensor"):
            read_tensor(tmp_path / "o.pt")


class Boom:
    """Unpickling this would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def a_file(path, pickled, values=b"\0" * 64, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", values)


def test_no_pickle_is_ever_executed(tmp_path):
    """A pickle that would act is refused, in torch's file and on its own, and nothing happened."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(Boom(str(tmp_path / "boom")), protocol)
        a_file(tmp_path / "a.pt", pickled)
        (tmp_path / "b.pt").write_bytes(pickled)
        for name in ("a.pt", "b.pt"):
            with pytest.raises(InputError, match="plain tensor"):
                read_tensor(tmp_path / name)
    assert not (tmp_path / "boom").exists()


def test_a_tensor_that_reaches_beyond_its_values_is_refused(tmp_path):
    """Shapes, strides and offsets are checked against the values there are, and large or compressed members are not read."""
    write_tensor(tmp_path / "good.pt", np.arange(6, dtype=np.float32).reshape(2, 3))
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        pickled = archive.read("archive/data.pkl")
    numbers = [m.start() for m in re.finditer(b"J", pickled)]  # count, offset, two of the shape, two strides
    assert len(numbers) == 6
    for position in numbers[1:]:
        for wrong in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):
            a_file(tmp_path / "bad.pt", pickled[: position + 1] + wrong + pickled[position + 5 :], b"\0" * 24)
            with pytest.raises(InputError, match="bad"):
                read_tensor(tmp_path / "bad.pt")
    a_file(tmp_path / "bad.pt", pickled, b"\0" * 20)
    with pytest.raises(InputError, match="beyond"):
        read_tensor(tmp_path / "bad.pt")
    a_file(tmp_path / "bad.pt", pickled, b"\0" * (1 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_tensor(tmp_path / "bad.pt")
    with pytest.raises(InputError, match="no tensor file"):
        read_tensor(tmp_path / "nowhere.pt")
    with pytest.raises(InputError, match="6 bands"):
        read_landsat_tensor(tmp_path / "good.pt")
    with pytest.raises(InputError, match="4 variables"):
        read_climate_tensor(tmp_path / "good.pt")


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_damaged_tensor_files_end_in_a_typed_error(tmp_path_factory, junk, position, byte):
    """Random bytes, and a good file with one byte changed: an array or an InputError, never another exception."""
    folder = tmp_path_factory.mktemp("t")
    write_tensor(folder / "t.pt", np.arange(12, dtype=np.float32).reshape(3, 4))
    good = bytearray((folder / "t.pt").read_bytes())
    good[position % len(good)] = byte
    for content in (junk, bytes(good)):
        (folder / "t.pt").write_bytes(content)
        with contextlib.suppress(InputError):
            assert read_tensor(folder / "t.pt").dtype.kind in "fiu"
