"""JPEG and PNG as pieces: what a header tells, and a file without its metadata, whatever was in it."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from geoplantnet.errors import InputError
from geoplantnet.identify.photos import IDENTIFY, SURVEY, Limits, RefusedPhoto, read_header, stripped

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))
from photos import CANARY, PNG, after_start, chunk, chunks, crafted, exif, jpeg, leaks, picture, png, rich_jpeg, rich_png, segment, sound

WHOLE = [case for case in crafted() if case[2] is None]


def pixels(data: bytes) -> np.ndarray:
    """As Pillow has them, upright."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name, data, _ in WHOLE], ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_stripped_photo_holds_its_pixels_and_nothing_else(name, data):
    """0 bytes of metadata, and no sign of what was planted; stripping again changes nothing; it is no larger; the header is the same."""
    plain = stripped(data)
    assert leaks(plain) == [] and stripped(plain) == plain and len(plain) <= len(data) + 64
    assert read_header(plain) == read_header(data)


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("data", sound(), ids=range(len(sound())))
def test_stripping_leaves_every_pixel_as_it_was(data):
    """Pillow decodes the same from both, upright, and of a file's compressed pixels every byte is there."""
    plain = stripped(data)
    assert np.array_equal(pixels(plain), pixels(data)) and pixels(plain).shape[:2] == read_header(data).shape
    if data.startswith(PNG):
        assert [body for _, name, body in chunks(plain) if name == b"IDAT"] == [
            body for _, name, body in chunks(data[: data.index(b"IEND") + 8]) if name == b"IDAT"
        ]
    else:
        scans = data[data.index(b"\xff\xda") : data.index(b"\xff\xd9", data.index(b"\xff\xda"))]
        assert scans in plain


@pytest.mark.parametrize("write", [jpeg, png])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_how_a_photo_is_turned_is_all_that_is_left_of_exif(write, orientation):
    """All eight ways, in a block of one tag that is the same for every photo so turned; none where it is upright."""
    data = write(exif=exif(orientation))
    plain = stripped(data)
    header = read_header(data)
    assert header.orientation == read_header(plain).orientation == orientation and header.shape == pixels(data).shape[:2]
    with Image.open(io.BytesIO(plain)) as image:
        assert dict(image.getexif()) == ({} if orientation == 1 else {274: orientation})
    bare = stripped(write())
    assert (plain == bare) == (orientation == 1) and len(plain) - len(bare) in (0, 36, 38)


@given(
    base=st.sampled_from([jpeg(), jpeg(progressive=True), png()]),
    extra=st.lists(st.tuples(st.sampled_from([0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE]), st.binary(max_size=200)), max_size=6),
    trailing=st.binary(max_size=200),
)
@settings(max_examples=150)
def test_any_metadata_is_taken_out_and_no_pixel_with_it(base, extra, trailing):
    """Segments and chunks with any content, and any bytes behind the end: what comes out is the photo without them."""
    if base.startswith(PNG):
        more = b"".join(chunk((b"tEXt", b"iTXt", b"zTXt", b"iCCP", b"xxXx", b"tIME", b"eXIf")[kind % 7], body) for kind, body in extra)
    else:  # Adobe's segment says what the colours are: that one has to stay
        more = b"".join(segment(kind, body) for kind, body in extra if kind != 0xEE)
    assert stripped(after_start(base, more) + trailing) == stripped(base)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", PNG, jpeg()[:180], png()[:60]]))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(data, begin):
    """No other error than RefusedPhoto comes out of the parser."""
    for function in (read_header, stripped):
        try:
            function(begin + data)
        except RefusedPhoto as refused:
            assert refused.kind in ("not-an-image", "damaged", "unsupported", "too-many-pixels") and isinstance(refused, InputError)


@given(st.integers(1, 65_535), st.integers(1, 65_535), st.booleans())
def test_a_photo_is_refused_by_its_header_exactly_above_the_limit(width, height, as_png):
    """Whatever is behind the header: at the limit it is taken for what it says, a pixel above it is refused as too-many-pixels."""
    data = jpeg()
    if as_png:
        body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = PNG + chunk(b"IHDR", body) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    else:
        at = data.index(b"\xff\xc0") + 5
        data = data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
    header = read_header(data, Limits(pixels=width * height))
    assert (header.width, header.height, header.format) == (width, height, "png" if as_png else "jpg")
    if width * height > 1:
        with pytest.raises(RefusedPhoto, match=f"{width:,} x {height:,}") as refused:
            read_header(data, Limits(pixels=width * height - 1))
        assert refused.value.kind == "too-many-pixels"


def test_bytes_are_counted_before_anything_is_looked_at():
    """At the limit a file is read, a byte above it refused; those of identify and survey are as the API says."""
    data = png()
    assert read_header(data, Limits(bytes=len(data))).format == "png"
    for junk in (data, b"x" * len(data)):
        with pytest.raises(RefusedPhoto) as refused:
            read_header(junk, Limits(bytes=len(data) - 1))
        assert refused.value.kind == "too-large"
    assert (IDENTIFY.bytes, IDENTIFY.pixels, SURVEY.bytes, SURVEY.pixels) == (20_000_000, 25_000_000, 52_428_800, 50_000_000)
    with pytest.raises(InputError):
        Limits(pixels=0)


def test_no_memory_is_given_to_what_a_photo_says_of_itself():
    """Reading and stripping every crafted file takes a few times its own size at most: nothing is inflated or decoded."""
    for name, data, _ in crafted():
        tracemalloc.start()
        try:
            stripped(data)
        except RefusedPhoto:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 4 * len(data) + 500_000, name


def test_stray_and_fill_bytes_in_millions_are_passed_over():
    """20 MB of what may stand between segments, or within pixels: read in one search, not step by step."""
    data = jpeg()
    for filling in (b"\xff" * 19_000_000, b"\xff\x00" * 9_500_000, b"\x00" * 19_000_000):
        assert stripped(data[:20] + filling + data[20:]) == stripped(data)
    assert read_header(data[:-2] + b"\xff\xff\x00" * 6_000_000 + b"\xff\xd9").width == 96


def test_errors_say_what_to_send():
    """Every refusal names what was found and what to do; its kind survives pickling, as between processes."""
    for name, data, kind in crafted():
        if kind:
            try:
                read_header(data)
            except RefusedPhoto as refused:
                assert "send" in str(refused).lower(), (name, str(refused))
                again = pickle.loads(pickle.dumps(refused))
                assert (again.kind, str(again)) == (refused.kind, str(refused))


def test_what_was_planted_would_be_found():
    """The search for leaks finds each sort of metadata on its own."""
    for data in (rich_jpeg(), rich_png(), jpeg(exif=exif()), jpeg(comment=b"x"), after_start(jpeg(), segment(0xE2, b"ICC_PROFILE\0"))):
        assert leaks(data)
    assert leaks(after_start(png(), chunk(b"tEXt", b"x\0y"))) and leaks(png(exif=exif(3))) and leaks(jpeg() + CANARY)
    assert leaks(jpeg()) == leaks(png(picture(9, 9))) == []
