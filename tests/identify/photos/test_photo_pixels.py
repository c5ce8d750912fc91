"""The one preparation of photos for nets, and smaller JPEGs of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from geoplantnet.errors import InputError
from geoplantnet.identify.photos import resized, square

SIDES = st.integers(1, 60)


def random(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 17 + y / 29), np.cos(x / 31), np.sin(y / 23 - x / 41)]
    return np.stack([127 + 120 * wave for wave in waves], axis=-1).astype(np.uint8)


@given(SIDES, SIDES, st.integers(1, 40))
@settings(max_examples=60)
def test_a_square_is_a_square_of_the_photos_own_range(height, width, size):
    """uint8 (size, size, 3); one colour stays itself; left out is what is beside the central square."""
    assert square(random(height, width), size).shape == (size, size, 3)
    grey = np.full((height, width, 3), (3, 77, 250), np.uint8)
    assert (square(grey, size) == (3, 77, 250)).all()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30), st.just(3))))
@settings(max_examples=60)
def test_a_square_of_that_size_is_left_as_it_is(pixels):
    """So what was made square beside the decoder may be made so again."""
    once = square(pixels, 12)
    assert np.array_equal(square(once, 12), once)
    side = min(pixels.shape[:2])
    central = pixels[(pixels.shape[0] - side) // 2 :, (pixels.shape[1] - side) // 2 :][:side, :side]
    if (pixels.shape[0] - side) % 2 == (pixels.shape[1] - side) % 2 == 0:
        assert np.array_equal(square(pixels, side), central)


@given(SIDES, SIDES, st.integers(1, 30), st.booleans())
@settings(max_examples=60)
def test_a_square_turns_with_the_photo(height, width, size, flip):
    """A mirrored photo gives the mirrored square, a turned one the turned square, up to a rounding of the two passes."""
    pixels = 60 + random(height, width) // 2  # sharp edges overshoot, and what is cut off at 0 and 255 depends on the order of the passes
    made = square(pixels, size).astype(int)
    mirrored = pixels[:, ::-1] if flip else pixels[::-1]
    assert abs(square(mirrored, size).astype(int) - (made[:, ::-1] if flip else made[::-1])).max() <= 1
    assert abs(square(pixels.transpose(1, 0, 2), size).astype(int) - made.transpose(1, 0, 2)).max() <= 2


@pytest.mark.parametrize(("height", "width", "size"), [(448, 672, 224), (1000, 600, 150), (512, 512, 256), (100, 150, 224), (96, 480, 32)])
def test_a_square_is_the_short_side_resized_and_the_centre_cut_out(height, width, size):
    """Beside the two steps done with Pillow, where the long side becomes a whole number of pixels: the same within a level."""
    pixels = smooth(height, width)
    whole = Image.fromarray(pixels).resize(
        (width * size // min(height, width), height * size // min(height, width)), Image.Resampling.BICUBIC
    )
    left, top = (whole.width - size) // 2, (whole.height - size) // 2
    oracle = np.asarray(whole.crop((left, top, left + size, top + size))).astype(int)
    assert abs(square(pixels, size) - oracle).max() <= 1


def test_a_photo_of_one_row_makes_a_square():
    """However long it is: what is beside the central square is never resized."""
    assert square(np.zeros((1, 1_000_000, 3), np.uint8), 224).shape == (224, 224, 3)


@given(SIDES, SIDES, st.integers(1, 80))
@settings(max_examples=60)
def test_a_smaller_image_keeps_its_shape(height, width, longest):
    """The longer side is as asked, or the photo's own; the other follows within half a pixel; at least one of each."""
    data = resized(random(height, width), longest)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.format == "JPEG" and max(image.size) == min(longest, max(height, width))
        scale = min(1, longest / max(height, width))
        assert all(
            got == max(1, want) or abs(got - want) <= 0.5 for got, want in zip(image.size, (width * scale, height * scale), strict=True)
        )
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)], ids=str
)
def test_other_arrays_are_refused(bad):
    """By a typed error that says what was expected."""
    for function in (square, resized):
        with pytest.raises(InputError, match=r"uint8 \(h, w, 3\)"):
            function(bad, 8)


@pytest.mark.parametrize("size", [0, -1, 8193])
def test_sizes_out_of_bounds_are_refused(size):
    """None, negative, or more than is made."""
    for function in (square, resized):
        with pytest.raises(InputError, match="8,192"):
            function(random(4, 4), size)
