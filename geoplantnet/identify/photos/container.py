"""JPEG and PNG files as the pieces they are made of, without decoding any: dimensions, orientation, and the file without its metadata.

What is not known to be needed for the pixels is left out: a list of what is kept, so what is new or hidden does not pass. Kept are

JPEG  quantisation and Huffman tables, restart interval, frame, scans; of JFIF and Adobe's segments only what colours depend on
PNG   IHDR, PLTE, tRNS, IDAT, IEND

and the orientation, where it is not upright: as an EXIF block of this one tag, one of seven constants. EXIF, XMP, IPTC, ICC profiles,
thumbnails, comments, texts, times, what follows the end, further pictures (MPO) and frames (APNG) are gone; the compressed pixels are the
same bytes. Whatever is decoded or stored passes here first, so the decoder sees one plain reading of each file.

JPEG: ITU-T T.81 (1992), annex B; JFIF 1.02; Adobe's segment: Adobe Technical Note 5116. PNG: W3C PNG (third edition), sections 5 and 11.
EXIF: CIPA DC-008 (2.32), section 4.6.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from geoplantnet.identify.photos.limits import IDENTIFY, SURVEY, Limits, RefusedPhoto

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
"""First bytes of either."""
SEGMENTS = 4096
"""Segments of a JPEG, at most: 50 MB of the largest are 800. Bounds the time a file of empty ones takes."""
SCANS = 100
"""Scans of a progressive JPEG, at most: encoders write about ten, and each goes over all blocks."""
CHUNKS = 65_536
"""Chunks of a PNG, at most."""
_FOREIGN = {
    b"GIF8": "a GIF",
    b"RIFF": "a WebP or another RIFF file",
    b"II*\0": "a TIFF or a raw file",
    b"MM\0*": "a TIFF or a raw file",
    b"BM": "a BMP",
    b"<svg": "an SVG",
    b"<?xm": "an XML or SVG file",
    b"%PDF": "a PDF",
    b"\0\0\0\x0cJXL": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"\0\0\0\x0cjP": "a JPEG 2000",
    b"8BPS": "a Photoshop file",
}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Within coded pixels 0xFF is followed by 0, fills, or begins a restart marker; anything else ends them."""
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
"""Version 1.01, square pixels, no thumbnail."""
_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_REFUSED_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic-coded",
    0xCA: "arithmetic-coded",
    0xCB: "lossless arithmetic-coded",
    0xCC: "arithmetic-coded",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    0xDC: "without a height in its header",
    0xDE: "hierarchical",
    0xDF: "hierarchical",
}
_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _APP0, _EXIF, _ADOBE, _COMMENT = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xE1, 0xEE, 0xFE
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by PNG's colour type."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of itself."""

    format: Literal["jpg", "png"]
    width: int
    """Columns as stored, before it is turned upright."""
    height: int
    """Rows as stored."""
    orientation: int = 1
    """How it is to be turned, 1 to 8 as EXIF has it (tag 274); 1 = it is upright."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the upright photo."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes, limits: Limits = IDENTIFY) -> Header:
    """Format, dimensions and orientation of a photo of which nothing is decoded; all of its pieces are looked at.

    Raises RefusedPhoto for more bytes or pixels than `limits`, and for what is no whole JPEG or PNG.
    """
    return parsed(data, limits)[0]


def stripped(data: bytes, limits: Limits = SURVEY) -> bytes:
    """The photo with the same pixels and orientation, and nothing else in it; stripping it again changes nothing. Raises RefusedPhoto.

    Pixels are not coded anew. What somebody hides in the pixels, or behind their end within the coded data, stays.
    """
    return parsed(data, limits)[1]


def parsed(data: bytes, limits: Limits) -> tuple[Header, bytes]:
    """Both of `read_header` and `stripped`, in one pass."""
    if len(data) > limits.bytes:
        raise RefusedPhoto("too-large", f"a photo of {len(data):,} bytes; at most {limits.bytes:,} are taken. Send it smaller")
    if data.startswith(JPEG):
        return _jpeg(data, limits)
    if data.startswith(PNG):
        return _png(data, limits)
    raise RefusedPhoto("not-an-image", f"{_named(data)} is neither JPEG nor PNG; send one of these")


def _named(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or another ISO media file"
    for begin, name in _FOREIGN.items():
        if data.startswith(begin):
            return name
    return f"a file that begins with {data[:8]!r}"


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width == 0 or height == 0:
        raise RefusedPhoto("damaged", f"a photo of {width} x {height} pixels holds nothing; send another")
    if width * height > limits.pixels:
        said = f"a photo of {width:,} x {height:,} pixels; at most {limits.pixels:,} are taken. Send it smaller"
        raise RefusedPhoto("too-many-pixels", said)


def _jpeg(data: bytes, limits: Limits) -> tuple[Header, bytes]:
    """Walks all segments. Coded pixels are jumped over by a search for the marker that ends them."""
    position, orientation, size, scans = 2, 0, None, 0
    jfif, adobe = b"", b""
    pieces: list[bytes | memoryview] = []
    view = memoryview(data)
    for _ in range(SEGMENTS):
        marker, position = _marker(data, position)
        if marker == _EOI:
            break
        if marker in _REFUSED_FRAMES:
            raise RefusedPhoto("unsupported", f"a JPEG that is {_REFUSED_FRAMES[marker]}; send a baseline or progressive one")
        if marker < 0xC0 or marker == _SOI or 0xF0 <= marker < _COMMENT:
            raise _broken(f"marker 0x{marker:02X} has no place at byte {position - 2:,}")
        begin, length = position - 2, _short(data, position)
        end = position + length
        if length < 2 or end > len(data):
            raise _broken(f"segment 0x{marker:02X} at byte {begin:,} says {length:,} bytes, {len(data) - position:,} are left")
        body = view[position + 2 : end]
        if marker in _FRAMES:
            if size is not None:
                raise _broken("it has two frames")
            size = _frame(bytes(body), limits)
            pieces.append(_segment(marker, body))
        elif marker in (_DQT, _DHT, _DRI):
            pieces.append(_segment(marker, body))
        elif marker == _SOS:
            if size is None:
                raise _broken("its pixels come before their frame")
            scans += 1
            if scans > SCANS:
                raise RefusedPhoto("unsupported", f"a JPEG of more than {SCANS} scans; send it with fewer")
            end = _scan_end(data, end)
            pieces += [_segment(marker, body), view[position + length : end]]
        elif scans == 0 and marker == _APP0 and bytes(body[:5]) == b"JFIF\0" and len(body) >= 14:
            jfif = _JFIF
        elif scans == 0 and marker == _ADOBE and bytes(body[:5]) == b"Adobe" and len(body) >= 12:
            adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes(body[11:12])
        elif scans == 0 and marker == _EXIF and not orientation and bytes(body[:6]) == b"Exif\0\0":
            orientation = _orientation(bytes(body[6:]))
        position = end
    else:
        raise RefusedPhoto("unsupported", f"a JPEG of more than {SEGMENTS:,} segments; save it anew and send that")
    if size is None or not scans:
        raise _broken("it ends before any pixels")
    header = Header(format="jpg", width=size[0], height=size[1], orientation=orientation or 1)
    exif = b"" if header.orientation == 1 else b"\xff\xe1\x00\x22Exif\0\0" + _exif(header.orientation)
    return header, b"".join([b"\xff\xd8", jfif, exif, adobe, *pieces, b"\xff\xd9"])


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """The next marker, and where its segment goes on. Stray bytes before it are passed over, as decoders do."""
    found = _MARKER.search(data, position)
    if found is None:
        raise _broken("it is cut: its end marker is missing")
    return data[found.end() - 1], found.end()


def _scan_end(data: bytes, position: int) -> int:
    """Where coded pixels end."""
    found = _SCAN_END.search(data, position)
    if found is None:
        raise _broken("it is cut within its pixels")
    return found.start()


def _short(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "big") if position + 2 <= len(data) else 0


def _segment(marker: int, body: bytes | memoryview) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + bytes(body)


def _frame(body: bytes, limits: Limits) -> tuple[int, int]:
    """(width, height) of a frame header (T.81, B.2.2)."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise _broken("its frame header has a wrong length")
    precision, height, width, components = struct.unpack(">BHHB", body[:6])
    if precision != 8 or components not in (1, 3, 4):
        raise RefusedPhoto("unsupported", f"a JPEG of {components} components of {precision} bits; send one of 1, 3 or 4 of 8 bits")
    _check_pixels(width, height, limits)
    return width, height


def _broken(how: str) -> RefusedPhoto:
    return RefusedPhoto("damaged", f"the photo is damaged: {how}; copy it anew, or send another")


def _orientation(tiff: bytes) -> int:
    """Tag 274 of the first directory, 0 where there is none that can be read (CIPA DC-008, 4.6.2 and 4.6.4)."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 0
    start = struct.unpack(f"{order}I", tiff[4:8])[0]
    if start + 2 > len(tiff):
        return 0
    count = struct.unpack_from(f"{order}H", tiff, start)[0]
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, at)
        if tag == 274:
            value = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", tiff, at + 8)[0]  # some editors write a LONG
            return value if kind in (3, 4) and values == 1 and 1 <= value <= 8 else 0
    return 0


def _exif(orientation: int) -> bytes:
    """A TIFF header and one directory of one tag."""
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HH", orientation, 0) + b"\0\0\0\0"


def _png(data: bytes, limits: Limits) -> tuple[Header, bytes]:
    """Walks all chunks; the sums of those kept are checked."""
    position, orientation, colour = len(PNG), 0, 0
    size: tuple[int, int] | None = None
    palette = 0
    seen: set[bytes] = set()
    pieces: list[bytes | memoryview] = []
    view = memoryview(data)
    pixels_over = False
    for _ in range(CHUNKS):
        if position + 12 > len(data):
            raise _broken("it is cut: its end is missing")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _broken(f"chunk {name!r} at byte {position:,} says {length:,} bytes, {len(data) - position - 12:,} are left")
        body, chunk = view[position + 8 : end - 4], view[position:end]
        position = end
        if not name[0] & 0x20 and name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise RefusedPhoto("unsupported", f"a PNG with the chunk {name!r}, which is needed and not known; save it anew and send that")
        if size is None and name != b"IHDR":
            raise _broken("it does not begin with its header")
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT") and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise _broken(f"the sum of chunk {name.decode()} is wrong")
        if name == b"IEND":
            break
        if name == b"IHDR":
            if size is not None:
                raise _broken("it has two headers")
            size, colour = _png_header(bytes(body), limits)
        elif name == b"IDAT":
            if pixels_over:
                raise _broken("its pixels are in two places")
        elif name == b"PLTE":
            if seen & {b"PLTE", b"tRNS", b"IDAT"} or length % 3 or not 3 <= length <= 768 or colour in (0, 4):
                raise _broken(f"a palette of {length} bytes has no place here")
            palette = length // 3
        elif name == b"tRNS":
            most = {0: 2, 2: 6, 3: palette}.get(colour, 0)
            if seen & {b"tRNS", b"IDAT"} or not 1 <= length <= most or (colour != 3 and length != most):
                raise _broken(f"transparency of {length} bytes has no place here")
        elif name == b"eXIf":
            orientation = orientation or _orientation(bytes(body))
        pixels_over = pixels_over or (b"IDAT" in seen and name != b"IDAT")
        seen.add(name)
        if name in (b"PLTE", b"tRNS", b"IDAT"):
            pieces.append(chunk)
        elif name == b"IHDR":
            ihdr = chunk
    else:
        raise RefusedPhoto("unsupported", f"a PNG of more than {CHUNKS:,} chunks; save it anew and send that")
    if size is None or b"IDAT" not in seen or (colour == 3 and not palette):
        raise _broken("it ends before any pixels")
    header = Header(format="png", width=size[0], height=size[1], orientation=orientation or 1)
    exif = b"" if header.orientation == 1 else _chunk(b"eXIf", _exif(header.orientation))
    return header, b"".join([PNG, ihdr, exif, *pieces, _chunk(b"IEND", b"")])


def _png_header(body: bytes, limits: Limits) -> tuple[tuple[int, int], int]:
    """((width, height), colour type) of IHDR (PNG, 11.2.1)."""
    if len(body) != 13:
        raise _broken(f"its header has {len(body)} bytes in place of 13")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if colour not in _CHANNELS or depth not in _DEPTHS[colour] or compression or filtering or interlace > 1:
        raise _broken(f"a PNG of colour type {colour}, {depth} bits, methods {compression}, {filtering} and {interlace} does not exist")
    _check_pixels(width, height, limits)
    return (width, height), colour


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
