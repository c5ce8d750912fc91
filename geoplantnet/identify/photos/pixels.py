"""Arrays of pixels: what a net sees of a photo, and smaller JPEGs of it. Pixels are uint8 (h, w, 3), red, green, blue, upright."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from geoplantnet.errors import InputError
from geoplantnet.identify.photos import worker

LARGEST_SIDE = 8192
"""Of what `square` and `resized` make, pixels."""
Pixels = npt.NDArray[np.uint8]


def square(pixels: Pixels, size: int) -> Pixels:
    """The one preparation of a photo for a net: (h, w, 3) -> (size, size, 3), the same online, offline and in evaluation.

    The central square as long as the short side, resized by Pillow's bicubic filter, which averages over what it takes away. That is
    resizing the short side to `size` and cropping the centre, without making the rest. A square of that size comes back unchanged.
    Raises InputError for other arrays.
    """
    check_size(size)
    return np.asarray(worker.squared(_image(pixels), size))


def resized(pixels: Pixels, longest: int, *, quality: int = 85) -> bytes:
    """A JPEG whose longer side is `longest` pixels, or the photo's own where that is less. Raises InputError for other arrays."""
    check_size(longest)
    return worker.smaller(_image(pixels), longest, quality)


def check_size(size: int) -> None:
    """Of an image to be made: raises InputError for sides that cannot be, or are no thumbnail any more."""
    if not 1 <= size <= LARGEST_SIDE:
        raise InputError(f"an image of {size} pixels is asked for; from 1 to {LARGEST_SIDE:,} are made")


def _image(pixels: Pixels) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputError(f"pixels of shape {pixels.shape} and type {pixels.dtype}; uint8 (h, w, 3), red, green, blue, were expected")
    return Image.fromarray(np.ascontiguousarray(pixels))
