"""The one renderer behind every facade: layers, a CRS, a box and a size in; PNG out."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from geoplantnet.catalog.product import Layer
from geoplantnet.serving import styles
from geoplantnet.serving.crs import Bounds, Crs
from geoplantnet.serving.exceptions import InvalidFormat, InvalidParameter, shown
from geoplantnet.serving.mosaic import Mosaic

MAX_SIZE = 4096
"""Most pixels along a side of a map."""

FORMATS = ("image/png",)
"""Formats maps are drawn in: PNG with at most 256 colours, so that transparency is whole and edges are crisp."""

_WHITE = (255, 255, 255)


def render(
    mosaic: Mosaic,
    layers: Sequence[tuple[Layer, str]],
    crs: Crs,
    bbox: Bounds,
    width: int,
    height: int,
    *,
    background: tuple[int, int, int] | None = None,
    format: str = "image/png",
) -> bytes:
    """Draw layers, each with the name of its style, the first at the bottom. Pixels without data show `background`, or are transparent.

    `bbox` is west, south, east, north in `crs` (easting or longitude first). Raises InvalidParameter for a size outside
    1..4096, InvalidFormat, StyleNotDefined, and RasterError for a published file that cannot be read.
    """
    if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
        raise InvalidParameter(f"a map of {width} x {height} pixels is asked; both sides must lie between 1 and {MAX_SIZE}")
    if format not in FORMATS:
        raise InvalidFormat(f"format {shown(format)} is not offered; use {' or '.join(FORMATS)}")
    drawn = [(styles.check_style(layer, style), layer) for layer, style in layers]
    images = [_image(mosaic, layer, style, crs, bbox, width, height, background) for style, layer in drawn]
    if len(images) == 1:
        return _png(images[0])
    canvas = Image.new("RGBA", (width, height), (*(background or _WHITE), 0 if background is None else 255))
    for image in images:
        canvas.alpha_composite(image.convert("RGBA"))
    return _png(canvas)


def _image(
    mosaic: Mosaic, layer: Layer, style: str, crs: Crs, bbox: Bounds, width: int, height: int, background: tuple[int, int, int] | None
) -> Image.Image:
    """One layer as a paletted image, index 0 being "no data"."""
    index = styles.indices(layer, mosaic.sample(layer, crs, bbox, width, height))
    colors = np.vstack([np.array([background or _WHITE], np.uint8), styles.colors(layer, style)])
    image = Image.fromarray(index, "L")
    image.putpalette(colors.tobytes())
    if background is None:
        image.info["transparency"] = 0
    return image


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
