"""The one renderer behind every facade: layers in their styles, a CRS, a box and a size in; an image out."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image

from geoplantnet.serving import kernels, styles
from geoplantnet.serving.cache import takes_time
from geoplantnet.serving.exceptions import InvalidFormat, InvalidParameter, shown
from geoplantnet.serving.fields import Field
from geoplantnet.serving.mosaic import Mosaic
from geoplantnet.serving.styles import Drawing
from geoplantnet.serving.warp import View

MAX_SIZE = 4096
"""Most pixels along a side of a map."""
MAX_PIXELS = MAX_SIZE * MAX_SIZE
"""Most pixels of all layers of a map together."""

PNG, WEBP, JPEG = "image/png", "image/webp", "image/jpeg"
FORMATS = (PNG, WEBP, JPEG)
"""PNG has at most 256 colours, so that transparency is whole and edges are crisp; WebP is lossless; JPEG knows no transparency."""

Color = tuple[int, int, int]
_WHITE = (255, 255, 255)
_LEVEL = 1
"""Of deflate: a map is looked at once, and the network is faster than level 6. ISA-L's takes a fifth of zlib's time for 6 % more bytes."""
_AT_ONCE = 384 * 384
"""Pixels of the largest map that is drawn without leaving the thread that asks (`cache.held_only`)."""


def render(drawn: Sequence[tuple[Mosaic, Drawing]], view: View, *, background: Color | None = None, format: str = PNG) -> bytes:
    """Draw layers, each of its mosaic (today's, or that of a scenario), the first at the bottom.

    Pixels without data show `background`, or are transparent (white in JPEG). Raises InvalidParameter for a size outside 1..4096 or too many pixels,
    InvalidFormat, and RasterError for a published file that cannot be read.
    """
    if not (1 <= view.width <= MAX_SIZE and 1 <= view.height <= MAX_SIZE):
        raise InvalidParameter(f"a map of {view.width} x {view.height} pixels is asked; both sides must lie between 1 and {MAX_SIZE}")
    if format not in FORMATS:
        raise InvalidFormat(f"format {shown(format)} is not offered; use {' or '.join(FORMATS)}")
    if view.width * view.height * len(drawn) > _AT_ONCE or format != PNG:
        takes_time()
    if view.width * view.height * len(drawn) > MAX_PIXELS:
        raise InvalidParameter(
            f"{len(drawn)} layers of {view.width} x {view.height} pixels are asked, {MAX_PIXELS:,} pixels are drawn for one answer; ask for "
            "a smaller map, or fewer layers"
        )
    canvas = None
    for mosaic, drawing in drawn:
        index = class_array(mosaic, drawing, view)
        if not index.max():
            continue
        if len(drawn) == 1 and format == PNG:
            return _paletted(index, styles.colors(drawing.layer), background)
        image = Image.fromarray(index, "L")
        image.putpalette(np.vstack([np.array([_WHITE], np.uint8), styles.colors(drawing.layer)]).tobytes())
        image.info["transparency"] = 0
        canvas = canvas or Image.new("RGBA", (view.width, view.height), (*(background or _WHITE), 0 if background is None else 255))
        canvas.alpha_composite(image.convert("RGBA"))
    return encode(canvas, format) if canvas else blank(view.width, view.height, background=background, format=format)


@functools.lru_cache(maxsize=64)
def blank(width: int, height: int, *, background: Color | None = None, format: str = PNG) -> bytes:
    """A map that shows nothing, in as few bytes as there can be: made once."""
    if format == PNG:
        return _png(np.zeros((height, -(-width // 8)), np.uint8), width, 1, bytes(background or _WHITE), transparent=background is None)
    return encode(Image.new("RGBA", (width, height), (*(background or _WHITE), 0 if background is None else 255)), format)


def class_array(mosaic: Mosaic, drawing: Drawing, view: View) -> npt.NDArray[np.uint8]:
    """Palette index (height, width) of every pixel, rows north to south; 0 = no data."""
    layer, reads = drawing.source, drawing.reads
    if not (drawing.smooth and mosaic.zoomed_out(layer, view, reads)):
        table = _table(mosaic.field(layer, reads), drawing)
        if table is not None:
            return mosaic.paint(layer, view, table, reads=reads)
    values = np.ma.getdata(mosaic.sample(layer, view.crs, view.bbox, view.width, view.height, reads=reads))
    if drawing.layer.classes:
        return styles.indices(drawing, values)
    out = np.empty(values.shape, np.uint8)
    low, high = drawing.layer.range
    kernels.ramp(values, low, high, styles.STEPS, out)
    return out


def _table(field: Field, drawing: Drawing) -> npt.NDArray[np.uint8] | None:
    """The palette index of every stored number; None for stored numbers that no table can hold."""
    return _index_table(str(field.dtype), field.scale, field.offset, field.missing, drawing) if field.dtype in ("uint8", "uint16") else None


@functools.lru_cache(maxsize=512)
def _index_table(dtype: str, scale: float, offset: float, missing: float, drawing: Drawing) -> npt.NDArray[np.uint8]:
    stored = np.arange(np.iinfo(dtype).max + 1)
    values = np.where(stored == missing, np.nan, stored * scale + offset)
    return styles.indices(drawing, values)


def _paletted(index: npt.NDArray[np.uint8], colors: npt.NDArray[np.uint8], background: Color | None) -> bytes:
    return _png(index, index.shape[1], 8, bytes(background or _WHITE) + colors.tobytes(), transparent=background is None)


def _png(packed: npt.NDArray[np.uint8], width: int, bits: int, palette: bytes, *, transparent: bool) -> bytes:
    """A PNG of 256 colours at most (ISO/IEC 15948) from rows of packed indices, index 0 perhaps transparent: Pillow takes several times as long."""
    height, row = packed.shape
    rows = np.empty((height, row + 1), np.uint8)
    rows[:, 0] = 0  # no filter: what is for photographs makes maps larger
    rows[:, 1:] = packed
    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    clear = _chunk(b"tRNS", b"\0") if transparent else b""
    data = isal_zlib.compress(rows.tobytes(), _LEVEL)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"PLTE", palette) + clear + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(kind + data))


def encode(canvas: Image.Image, format: str) -> bytes:
    """An RGBA image in one of FORMATS; what is transparent is white in JPEG."""
    out = BytesIO()
    if format == JPEG:
        paper = Image.new("RGB", canvas.size, _WHITE)
        paper.paste(canvas, mask=canvas.getchannel("A"))
        paper.save(out, "JPEG", quality=90)
    elif format == WEBP:
        canvas.save(out, "WEBP", lossless=True, quality=20, method=2)
    else:
        canvas.save(out, "PNG", compress_level=_LEVEL)
    return out.getvalue()
