"""GeoTIFFs hold what was written, are cloud-optimised, and have the same bytes for the same input."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rio_cogeo import cog_validate

from geoplantnet.catalog.geotiff import decode, encode, read_header, write_cog
from geoplantnet.errors import CrsError, RasterError, StorageError, UsageError
from geoplantnet.storage import sweep


def lattice(height: int, width: int, crs: str | None = "EPSG:3035") -> GeoBox:
    return GeoBox((height, width), Affine(50, 0, 4_000_000, 0, -50, 2_600_000), crs)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_read_through_rasterio_is_what_was_written(tmp_path_factory, data):
    """For any dtype, shape and content, rasterio reads back the array, its lattice and its description."""
    dtype = data.draw(st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"]))
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70)))
    array = data.draw(hnp.arrays(dtype, shape))
    nodata = np.nan if array.dtype.kind == "f" else float(np.iinfo(dtype).max)
    names, geobox = [f"b{i}" for i in range(shape[0])], lattice(*shape[1:])
    path = write_cog(
        tmp_path_factory.mktemp("t") / "x.tif", array, geobox, band_names=names, scale=0.5, offset=-3.0, nodata=nodata, unit="m"
    )
    with rasterio.open(path, driver="GTiff") as raster:
        np.testing.assert_array_equal(raster.read(), array)
        assert (raster.crs.to_epsg(), raster.transform) == (3035, geobox.affine)
        assert list(raster.descriptions) == names
        assert (raster.scales, raster.offsets, raster.units) == ((0.5,) * shape[0], (-3.0,) * shape[0], ("m",) * shape[0])
        assert raster.nodata == nodata or np.isnan(nodata)


@pytest.mark.parametrize(
    ("dtype", "height", "width", "overviews"),
    [("uint8", 500, 500, [2, 4]), ("float32", 500, 300, [2, 4]), ("uint8", 100, 100, []), ("int16", 1, 1, [])],
)
def test_files_are_valid_cloud_optimised_geotiffs(tmp_path, dtype, height, width, overviews):
    """rio-cogeo finds no error and no warning, whatever the type and size; overviews end at half a block."""
    array = np.arange(3 * height * width, dtype="int64").reshape(3, height, width).astype(dtype)
    path = write_cog(tmp_path / "x.tif", array, lattice(height, width), band_names=["a", "b", "c"], nodata=0)
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path, driver="GTiff") as raster:
        assert raster.overviews(1) == overviews
        assert raster.profile["interleave"] == "band"
        assert raster.compression.name == "deflate"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tif"]


def test_a_band_is_stored_apart_from_its_neighbours(tmp_path):
    """Each band has its own blocks, so one species of many is read without the others."""
    path = write_cog(
        tmp_path / "x.tif", np.ones((40, 300, 300), "uint8"), lattice(300, 300), band_names=[f"s{i}" for i in range(40)], nodata=255
    )
    with rasterio.open(path, driver="GTiff") as raster:
        offsets = {raster.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=i) for i in raster.indexes}
    assert len(offsets) == 40


def test_average_overviews_leave_nodata_out(tmp_path):
    """A pixel of the first overview is the mean of the valid ones of its four, by brute force."""
    rng = np.random.default_rng(0)
    array = rng.random((1, 256, 256)).astype("float32")
    array[rng.random(array.shape) < 0.4] = np.nan
    path = write_cog(tmp_path / "x.tif", array, lattice(256, 256), band_names=["a"], nodata=np.nan)
    quads = array[0].reshape(128, 2, 128, 2).swapaxes(1, 2).reshape(128, 128, 4)
    count = (~np.isnan(quads)).sum(-1)
    expected = np.where(count > 0, np.nansum(quads, -1) / np.maximum(count, 1), np.nan)
    with rasterio.open(path, driver="GTiff", overview_level=0) as raster:
        np.testing.assert_allclose(raster.read(1), expected, rtol=1e-6)


def test_mode_overviews_invent_no_class(tmp_path):
    """Classes stay classes at small scales."""
    array = np.where(np.arange(256)[None, None, :] % 4 < 3, 1, 9).astype("uint8") * np.ones((1, 256, 1), "uint8")
    path = write_cog(tmp_path / "x.tif", array, lattice(256, 256), band_names=["a"], nodata=0, overview_resampling="mode")
    with rasterio.open(path, driver="GTiff", overview_level=0) as raster:
        assert set(np.unique(raster.read())) <= {1, 9}


def test_the_header_tells_names_units_and_statistics(tmp_path):
    """`read_header` gives back what `write_cog` was told and numpy counts over the valid stored values."""
    array = np.random.default_rng(1).integers(0, 256, (2, 40, 30)).astype("uint8")
    path = write_cog(
        tmp_path / "x.tif",
        array,
        lattice(40, 30),
        band_names=["r", "s"],
        band_descriptions=["Richness", "Shannon"],
        scale=[1.0, 0.004],
        nodata=255,
        unit=["species", "nats"],
        tags={"TIFFTAG_COPYRIGHT": "CC-BY-4.0"},
    )
    header = read_header(path)
    assert (header.crs, header.shape, header.dtype) == ("EPSG:3035", (40, 30), "uint8")
    assert header.transform == (50.0, 0.0, 4_000_000.0, 0.0, -50.0, 2_600_000.0)
    assert [(b.name, b.description, b.unit, b.scale, b.nodata) for b in header.bands] == [
        ("r", "Richness", "species", 1.0, 255),
        ("s", "Shannon", "nats", 0.004, 255),
    ]
    valid = array[1][array[1] != 255].astype(float)
    expected = {
        "minimum": valid.min(),
        "maximum": valid.max(),
        "mean": valid.mean(),
        "stddev": valid.std(),
        "valid_percent": 100 * valid.size / 1200,
    }
    assert header.bands[1].statistics == pytest.approx(expected, rel=1e-3)
    with rasterio.open(path, driver="GTiff") as raster:
        assert raster.tags()["TIFFTAG_COPYRIGHT"] == "CC-BY-4.0"


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 255), ("float32", np.nan)])
def test_a_raster_of_nodata_is_written_and_says_so(tmp_path, dtype, nodata):
    """A tile without any valid cell is a valid COG whose header says 0 percent valid and gives no other statistics."""
    path = write_cog(tmp_path / "x.tif", np.full((1, 300, 300), nodata, dtype), lattice(300, 300), band_names=["a"], nodata=nodata)
    assert read_header(path).bands[0].statistics == {"valid_percent": 0.0}
    assert cog_validate(path, strict=True, quiet=True)[0]


_WRITE = """
import sys, numpy as np
from odc.geo.geobox import GeoBox
from geoplantnet.catalog.geotiff import write_cog
box = GeoBox.from_bbox((4_000_000, 2_575_000, 4_015_000, 2_590_000), crs="EPSG:3035", resolution=50, tight=True)
p = 200 * np.random.default_rng(7).random((2, 300, 300))
for dtype in ("uint8", "float32"):
    write_cog(f"{sys.argv[1]}-{dtype}.tif", p.astype(dtype), box, band_names=["a", "b"], nodata=0, tags={"b": "2", "a": "1"})
"""


def test_two_processes_write_the_same_bytes(tmp_path):
    """Nothing of the moment, the process or the file's name is in the file."""
    for name in ("one", "another-name"):
        subprocess.run([sys.executable, "-c", _WRITE, str(tmp_path / name)], check=True)
    assert len(list(tmp_path.iterdir())) == 4
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 2


_WRITE_ON_A_FULL_DISK = """
import resource, signal, sys, numpy as np
from odc.geo.geobox import GeoBox
from geoplantnet.catalog.geotiff import write_cog
from geoplantnet.errors import StorageError
box = GeoBox.from_bbox((4_000_000, 2_575_000, 4_015_000, 2_590_000), crs="EPSG:3035", resolution=50, tight=True)
noise = np.random.default_rng(7).integers(0, 255, (2, 300, 300)).astype("uint8")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for room in (0, 1000, 60_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        write_cog(sys.argv[1], noise, box, band_names=["a", "b"], nodata=255)
    except StorageError as error:
        print(error.kind)
"""


def test_a_store_without_room_keeps_the_old_file_and_says_so(tmp_path):
    """A write that does not fit ends in a StorageError, leaves what stood there, and no litter."""
    path = tmp_path / "x.tif"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", _WRITE_ON_A_FULL_DISK, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["StorageError"] * 3
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x.tif", b"old")]


@pytest.mark.parametrize(
    ("array", "change", "error", "word"),
    [
        (np.zeros((2, 10, 10), "uint8"), {}, RasterError, "different names"),
        (np.zeros((1, 10, 9), "uint8"), {}, RasterError, "one lattice"),
        (np.zeros((10, 10), "uint8"), {}, RasterError, "band, y, x"),
        (np.zeros((0, 10, 10), "uint8"), {"band_names": []}, RasterError, "empty"),
        (np.zeros((1, 10, 10), "int64"), {}, RasterError, "int64"),
        (np.zeros((1, 10, 10), "bool"), {}, RasterError, "bool"),
        (np.full((1, 10, 10), np.nan, "float32"), {"nodata": -9999.0}, RasterError, "NaN"),
        (np.zeros((1, 10, 10), "uint8"), {"nodata": 256}, RasterError, "256"),
        (np.zeros((1, 10, 10), "uint8"), {"nodata": np.nan}, RasterError, "nan"),
        (np.zeros((1, 10, 10), "uint8"), {"unit": ["m", "s"]}, RasterError, "unit"),
        (np.zeros((1, 10, 10), "uint8"), {"band_descriptions": []}, RasterError, "descriptions"),
        (np.zeros((1, 10, 10), "uint8"), {"overview_resampling": "averge"}, UsageError, "average"),
        (np.zeros((1, 10, 10), "uint8"), {"geobox": lattice(10, 10, None)}, CrsError, "CRS"),
        (np.zeros((1, 10, 10), "uint8"), {"geobox": lattice(10, 10).flipy()}, RasterError, "north-up"),
    ],
)
def test_arrays_that_do_not_fit_their_description_are_refused(tmp_path, array, change, error, word):
    """Each mismatch raises its typed error, names the fault, and writes nothing."""
    asked = {"geobox": lattice(10, 10), "band_names": ["a"], "nodata": 0} | change
    with pytest.raises(error, match=word):
        write_cog(tmp_path / "x.tif", array, asked.pop("geobox"), **asked)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_that_cannot_be_made_is_an_error(tmp_path):
    """A file where a folder should be is no silent success."""
    (tmp_path / "file").write_text("x")
    with pytest.raises((OSError, StorageError)):
        write_cog(tmp_path / "file" / "x.tif", np.zeros((1, 10, 10), "uint8"), lattice(10, 10), band_names=["a"], nodata=0)


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"<VRTDataset/>"])
def test_reading_what_is_no_geotiff_raises(tmp_path, content):
    """Empty, cut and foreign files raise RasterError; a VRT is not followed."""
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(RasterError, match=r"x\.tif"):
        read_header(tmp_path / "x.tif")


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(0, 1) | st.just(np.nan)))
def test_decoding_after_encoding_is_within_half_a_step(p):
    """NaN and only NaN comes back as NaN; probabilities move by half of 0.004 at most, 0 and 1 not at all; nothing is clipped."""
    encoded = encode(p)
    back = decode(encoded.values)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(p))
    assert encoded.missing == np.isnan(p).sum() and encoded.clipped == 0
    assert np.all(np.abs(back - p)[~np.isnan(p)] <= 0.002 + 1e-7)
    np.testing.assert_array_equal(back[p == 1], 1)


@given(
    hnp.arrays(np.float64, 8, elements=st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, -np.inf])),
    st.sampled_from(["uint8", "int8", "uint16", "int16"]),
    st.booleans(),
)
def test_encoding_never_makes_a_value_nodata_and_counts_what_it_clips(values, dtype, lowest):
    """Only NaN becomes nodata; each value outside the range is counted and lands on the range's nearest end."""
    info = np.iinfo(dtype)
    nodata = info.min if lowest else info.max
    low, high = (info.min + 1, info.max) if lowest else (info.min, info.max - 1)
    encoded = encode(values, scale=2.0, offset=5.0, nodata=nodata, dtype=dtype)
    np.testing.assert_array_equal(encoded.values == nodata, np.isnan(values))
    raw = np.rint((values - 5.0) / 2.0)
    assert encoded.clipped == sum(r < low or r > high for r in raw)
    np.testing.assert_array_equal(encoded.values[~np.isnan(raw)], [min(max(r, low), high) for r in raw[~np.isnan(raw)]])


@pytest.mark.parametrize(
    "asked", [{"nodata": 7}, {"dtype": "float32"}, {"scale": 0.0}, {"scale": np.nan}, {"offset": np.inf}, {"dtype": "int64"}]
)
def test_encodings_that_would_lose_values_are_refused(asked):
    """A nodata among the values, a zero scale and a dtype that is no small integer raise UsageError."""
    with pytest.raises(UsageError):
        encode(np.zeros(3), **asked)


def test_encoding_nothing_gives_nothing():
    """An empty array stays empty."""
    assert encode(np.empty((0, 5))).values.shape == (0, 5)


def test_bands_one_after_the_other_make_the_same_bytes(tmp_path):
    """A generator that holds one band at a time writes the file that the whole array does."""
    array = np.random.default_rng(3).integers(0, 256, (5, 300, 280)).astype("uint8")
    asked = {"geobox": lattice(300, 280), "band_names": list("abcde"), "nodata": 255, "tags": {"t": "1"}}
    whole = write_cog(tmp_path / "whole.tif", array, **asked)
    flow = write_cog(tmp_path / "flow.tif", (band for band in array), dtype="uint8", **asked)
    assert flow.read_bytes() == whole.read_bytes() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("bands", "dtype", "error", "word"),
    [
        ([np.zeros((10, 10), "uint8")], "uint8", RasterError, "2 names, but 1 bands"),
        ([np.zeros((10, 10), "uint8")] * 3, "uint8", RasterError, "more bands"),
        ([np.zeros((10, 10), "uint8"), np.zeros((10, 9), "uint8")], "uint8", RasterError, "one lattice"),
        ([np.zeros((10, 10), "uint8"), np.zeros((10, 10), "int16")], "uint8", RasterError, "one type"),
        ([np.zeros((10, 10), "uint8")] * 2, None, UsageError, "dtype"),
    ],
)
def test_a_flow_that_breaks_its_word_leaves_nothing(tmp_path, bands, dtype, error, word):
    """Too few, too many, misshapen or mistyped bands, found out half-way: a typed error, and no file or litter."""
    with pytest.raises(error, match=word):
        write_cog(tmp_path / "x.tif", iter(bands), lattice(10, 10), dtype=dtype, band_names=["a", "b"], nodata=0)
    assert not list(tmp_path.iterdir())


def test_a_fault_inside_the_flow_keeps_the_old_file(tmp_path):
    """Whatever the source of bands raises comes through; what stood there still stands."""
    (tmp_path / "x.tif").write_bytes(b"old")

    def bands():
        yield np.zeros((10, 10), "uint8")
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        write_cog(tmp_path / "x.tif", bands(), lattice(10, 10), dtype="uint8", band_names=["a", "b"], nodata=0)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x.tif", b"old")]


@pytest.mark.parametrize("compress", ["zstd", "lerc_zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_compression_keeps_every_bit(tmp_path, compress, dtype):
    """Integers and floating point, nodata among them, come back equal, in a valid COG."""
    array = np.random.default_rng(4).integers(0, 256, (2, 300, 270)).astype(dtype)
    nodata = np.nan if dtype == "float32" else 255
    array[0, :50] = nodata
    array[1] = nodata
    path = write_cog(tmp_path / "x.tif", array, lattice(300, 270), band_names=["a", "b"], nodata=nodata, compress=compress)
    with rasterio.open(path, driver="GTiff") as raster:
        assert raster.profile["compress"] == compress
        np.testing.assert_array_equal(raster.read(), array)
    assert cog_validate(path, strict=True, quiet=True)[0]


@given(st.sampled_from([0.1, 0.01, 0.0005]), st.integers(0, 5))
def test_a_stated_error_is_kept_to(max_error, seed):
    """Floating point values move by no more than was allowed, unknown stays unknown, and the file is smaller for it."""
    rng = np.random.default_rng(seed)
    array = rng.random((1, 64, 64)).astype("float32")
    array[0, rng.random((64, 64)) < 0.3] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        asked = {"geobox": lattice(64, 64), "band_names": ["a"], "nodata": np.nan, "compress": "lerc_zstd"}
        path = write_cog(Path(folder) / "x.tif", array, max_error=max_error, **asked)
        exact = write_cog(Path(folder) / "y.tif", array, **asked)
        assert path.stat().st_size < exact.stat().st_size
        with rasterio.open(path, driver="GTiff") as raster:
            again = raster.read()
    np.testing.assert_array_equal(np.isnan(again), np.isnan(array))
    assert np.nanmax(np.abs(again - array)) <= max_error + 1e-7


@pytest.mark.parametrize(
    "asked",
    [{"compress": "lzw"}, {"max_error": 0.1}, {"max_error": -1.0, "compress": "lerc_zstd"}, {"max_error": 1.0, "compress": "lerc_zstd"}],
)
def test_compressions_that_cannot_be_are_refused(tmp_path, asked):
    """Another codec, and an error for integers or for a codec that knows none, raise UsageError."""
    with pytest.raises(UsageError):
        write_cog(tmp_path / "x.tif", np.zeros((1, 10, 10), "uint8"), lattice(10, 10), band_names=["a"], nodata=0, **asked)


def test_lerc_notices_every_flipped_bit_of_its_pixels(tmp_path):
    """Of 150 bits flipped where pixels lie, none is read as a wrong value; DEFLATE lets some through."""
    y, x = np.mgrid[:300, :300]
    array = (120 + 60 * np.sin(x / 20) + 40 * np.cos(y / 31) + np.random.default_rng(5).normal(0, 3, (300, 300))).astype("uint8")[None]
    silent = {}
    for compress in ("lerc_zstd", "deflate"):
        path = write_cog(tmp_path / f"{compress}.tif", array, lattice(300, 300), band_names=["a"], nodata=255, compress=compress)
        sound, rng = path.read_bytes(), np.random.default_rng(6)
        silent[compress] = 0
        for bit in rng.integers(8 * 2000, 8 * len(sound), 150):  # behind the header, whose bits no codec guards
            damaged = bytearray(sound)
            damaged[bit // 8] ^= 1 << (bit % 8)
            try:
                with MemoryFile(bytes(damaged)) as memory, memory.open(driver="GTiff") as raster:
                    silent[compress] += not np.array_equal(raster.read(), array)
            except RasterioError:
                pass
    assert silent["lerc_zstd"] == 0 < silent["deflate"]


_KILLED = """
import os, signal, sys, numpy as np
import geoplantnet.storage as storage
from odc.geo.geobox import GeoBox
from geoplantnet.catalog.geotiff import write_cog
box = GeoBox.from_bbox((4_000_000, 2_575_000, 4_015_000, 2_590_000), crs="EPSG:3035", resolution=50, tight=True)
storage._commit = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
write_cog(sys.argv[1], np.ones((1, 300, 300), "uint8"), box, band_names=["a"], nodata=255)
"""


def test_a_kill_before_the_rename_keeps_the_old_file(tmp_path):
    """What is left of a killed write are temporaries, which `sweep` knows."""
    (tmp_path / "x.tif").write_bytes(b"old")
    assert subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "x.tif")]).returncode == -9
    assert (tmp_path / "x.tif").read_bytes() == b"old"
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tif"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_band_is_a_colour_or_transparency(tmp_path, count):
    """Bytes of one to five bands: none is red, green, blue or alpha, and overviews of the last are those of its own values alone."""
    bands = np.random.default_rng(count).integers(0, 200, (count, 600, 600)).astype(np.uint8)
    bands[-1] = np.arange(600)[:, None] // 300  # a mask
    bands[0, :100] = 255
    path = write_cog(tmp_path / "bands.tif", bands, lattice(600, 600), band_names=[f"b{i}" for i in range(count)], nodata=255)
    with rasterio.open(path) as file:
        assert not {ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha} & set(file.colorinterp)
        (factor, *_) = file.overviews(1)
    with rasterio.open(path, overview_level=0) as file:
        np.testing.assert_allclose(file.read(count), bands[-1].reshape(600 // factor, factor, 600 // factor, factor).mean((1, 3)), atol=1)


def test_overviews_may_be_made_band_by_band(tmp_path):
    """Classes by their mode, a mask by its mode, numbers by their mean; at full size, tags and checks are those of any raster."""
    random = np.random.default_rng(0)
    classes = np.repeat(np.repeat(random.choice([2, 7, 9], (150, 150)), 4, 0), 4, 1)
    numbers, mask = random.integers(0, 200, (600, 600)), (np.add.outer(np.arange(600), np.arange(600)) > 600)
    bands = np.stack([classes, numbers, mask]).astype(np.uint8)
    bands[:, :40, :40] = 255
    path = write_cog(
        tmp_path / "mixed.tif", bands, lattice(600, 600), band_names=["classes", "numbers", "mask"], scale=[1, 0.5, 1], nodata=255,
        unit=["class", "m", "class"], tags={"title": "three kinds"}, overview_resampling=["mode", "average", "mode"],
    )  # fmt: skip
    assert cog_validate(path)[0] and not list(tmp_path.glob(".tmp-*"))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), bands)
        assert file.scales == (1, 0.5, 1) and file.units == ("class", "m", "class") and file.tags()["title"] == "three kinds"
        assert file.descriptions == ("classes", "numbers", "mask") and file.overviews(1) == file.overviews(2) == file.overviews(3)
    with rasterio.open(path, overview_level=0) as file:
        half = file.read()
    assert set(np.unique(half[0])) <= {2, 7, 9, 255} and set(np.unique(half[2])) == {0, 1, 255}
    np.testing.assert_allclose(half[1, 20:, 20:], numbers.reshape(300, 2, 300, 2).mean((1, 3))[20:, 20:], atol=1)
    assert (half[:, :20, :20] == 255).all()
    again = write_cog(
        tmp_path / "again.tif", bands, lattice(600, 600), band_names=["classes", "numbers", "mask"], scale=[1, 0.5, 1], nodata=255,
        unit=["class", "m", "class"], tags={"title": "three kinds"}, overview_resampling=["mode", "average", "mode"],
    )  # fmt: skip
    assert again.read_bytes() == path.read_bytes()
