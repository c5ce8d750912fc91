"""Photos that were made to break a decoder, and what is to become of them. Nothing here is a picture of anything.

`crafted()` are built one by one, with the kind of refusal each has to meet, or None where it has to be decoded; `mutated(n, seed)` are
sound ones with damage. All that can carry text carry `CANARY`, which must never be found in what comes out; `leaks` looks for it, and for
any metadata at all.
"""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

CANARY = b"CANARY 48.85837N 2.29448E"
"""What a photo must not tell: a place."""
PNG = b"\x89PNG\r\n\x1a\n"
Case = tuple[str, bytes, str | None]


def picture(width: int = 96, height: int = 72, mode: str = "RGB") -> Image.Image:
    """Something with edges and gradients, different at each corner."""
    ramps = [Image.linear_gradient("L").resize((width, height)), Image.linear_gradient("L").rotate(90).resize((width, height))]
    image = Image.merge("RGB", [*ramps, Image.radial_gradient("L").resize((width, height))])
    image.paste((250, 20, 30), (0, 0, width // 4, height // 6))
    return image if mode == "RGB" else image.convert(mode)


def exif(orientation: int = 1) -> bytes:
    """As a telephone writes it: who, when, with what, and where."""
    block = Image.Exif()
    block[274], block[270], block[315], block[306] = orientation, CANARY.decode(), CANARY.decode(), "2026:05:01 12:00:00"
    gps = block.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4], gps[29] = "N", (48.0, 51.0, 30.13), "E", (2.0, 17.0, 40.13), "2026:05:01"
    return block.tobytes()


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, "JPEG", **{"quality": 85, **options})
    return file.getvalue()


def png(image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, "PNG", **options)
    return file.getvalue()


def noise(seed: int, width: int = 96, height: int = 96) -> bytes:
    """A PNG of its own for each seed, as many bytes as it has pixels, without metadata."""
    return png(Image.frombytes("L", (width, height), random.Random(seed).randbytes(width * height)))


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def ihdr(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def raw_png(width: int, height: int, depth: int, colour: int, raw: bytes, *before: bytes, interlace: int = 0) -> bytes:
    """Of unfiltered rows, each with its filter byte."""
    return PNG + ihdr(width, height, depth, colour, interlace) + b"".join(before) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@functools.cache
def zeros(n: int) -> bytes:
    """Zero bytes, deflated, without having them all."""
    packer = zlib.compressobj(9)
    whole = [packer.compress(bytes(min(1 << 20, n - begin))) for begin in range(0, n, 1 << 20)]
    return b"".join(whole) + packer.flush()


def after_start(data: bytes, more: bytes) -> bytes:
    """A JPEG with `more` behind its first marker, or a PNG with it behind its header."""
    at = 33 if data.startswith(PNG) else 2
    return data[:at] + more + data[at:]


def frame_at(data: bytes) -> int:
    """Where a JPEG's frame segment begins."""
    return next(at for at, marker, _ in segments(data) if marker in (0xC0, 0xC1, 0xC2))


def resized_frame(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header tells other dimensions."""
    at = frame_at(data) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(begin, marker, body) of a sound JPEG's segments up to its first scan."""
    position = 2
    while True:
        length = struct.unpack_from(">H", data, position + 2)[0]
        yield position, data[position + 1], data[position + 4 : position + 2 + length]
        if data[position + 1] == 0xDA:
            return
        position += 2 + length


def chunks(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(begin, name, body) of a sound PNG's chunks."""
    position = 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield position, name, data[position + 8 : position + 8 + length]
        position += 12 + length


def rich_jpeg(**options: object) -> bytes:
    """With all that a camera and an editor leave in one."""
    return after_start(
        jpeg(exif=exif(options.pop("orientation", 6)), comment=CANARY, icc_profile=b"\0" * 128 + CANARY, **options),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + CANARY + b"</x:xmpmeta>")
        + segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x20\x1c\x02\x5a" + CANARY)
        + segment(0xE2, b"MPF\0" + CANARY)
        + segment(0xE0, b"JFXX\0\x13\x01\x01" + CANARY)
        + segment(0xEB, b"JP\0\0" + CANARY),
    )


def rich_png() -> bytes:
    """With all the texts and profiles a PNG may hold."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", CANARY.decode())
    text.add_text("Packed", CANARY.decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", CANARY.decode(), zip=True)
    data = png(pnginfo=text, exif=exif(6), icc_profile=b"\0" * 128 + CANARY, dpi=(300, 300))
    return after_start(data, chunk(b"tIME", b"\x07\xea\x05\x01\x0c\0\0") + chunk(b"prVt", CANARY)) + b"after the end " + CANARY


def animated() -> bytes:
    """An APNG of three frames."""
    file = io.BytesIO()
    frames = [picture().rotate(120 * n) for n in range(3)]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


def pair() -> bytes:
    """An MPO of two pictures, as stereo cameras and some telephones write."""
    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[picture().rotate(180)])
    return file.getvalue()


def foreign(name: str) -> bytes:
    file = io.BytesIO()
    picture().save(file, name)
    return file.getvalue()


def many_scans(n: int, image: Image.Image | None = None) -> bytes:
    """A progressive JPEG whose last scan comes n times more."""
    data = jpeg(image, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * n + b"\xff\xd9"


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("index.html", b"<script>alert(1)</script>" + CANARY)
    return file.getvalue()


@functools.cache
def crafted() -> list[Case]:
    """(name, file, kind of refusal or None), at least 50. The largest has 1 MB; decoded they would fill any memory."""
    plain, bare = jpeg(), png()
    head = frame_at(plain)
    script = b"<?php system($_GET['c']); ?><script>alert(1)</script>"
    grey16 = b"".join(b"\0" + b"".join(struct.pack(">H", 257 * (4 * x % 256)) for x in range(64)) for _ in range(48))
    rgb16 = b"".join(b"\0" + b"".join(struct.pack(">HHH", 65535, 1000 * x, 0) for x in range(64)) for _ in range(48))
    palette = picture().quantize(64)
    see_through = picture().convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    adam = _adam7(picture(33, 21))
    return [
        # Bombs: little that says it is, or becomes, very much.
        (
            "png of 30,000 x 30,000 zeros",
            PNG + ihdr(30_000, 30_000, 1, 0) + chunk(b"IDAT", zeros(30_000 * 3_751)) + chunk(b"IEND", b""),
            "too-many-pixels",
        ),
        (
            "png of 13,000 x 13,000, 169 Mpx",
            PNG + ihdr(13_000, 13_000, 1, 0) + chunk(b"IDAT", zeros(13_000 * 1_626)) + chunk(b"IEND", b""),
            "too-many-pixels",
        ),
        ("png of 2^31 - 1 squared", PNG + ihdr(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "too-many-pixels"),
        ("png of 2^32 - 1 columns", PNG + ihdr(2**32 - 1, 1) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "too-many-pixels"),
        ("png of 25,000,001 x 1", raw_png(25_000_001, 1, 1, 0, bytes(3_125_002)), "too-many-pixels"),
        (
            "png of 5,000 x 5,000, just allowed",
            PNG + ihdr(5000, 5000, 1, 0) + chunk(b"IDAT", zeros(5000 * 626)) + chunk(b"IEND", b""),
            None,
        ),
        ("png of one row of 1,000,000", raw_png(1_000_000, 1, 1, 0, bytes(125_001)), None),
        ("png of one column of 1,000,000", raw_png(1, 1_000_000, 1, 0, bytes(2_000_000)), None),
        ("png of 64 x 64 that inflates to 150 MB", PNG + ihdr(64, 64) + chunk(b"IDAT", zeros(150_000_000)) + chunk(b"IEND", b""), None),
        ("png with a colour profile that inflates to 150 MB", after_start(bare, chunk(b"iCCP", b"icc\0\0" + zeros(150_000_000))), None),
        ("png with a text that inflates to 150 MB", after_start(bare, chunk(b"zTXt", b"Comment\0\0" + zeros(150_000_000))), None),
        (
            "png with an international text that inflates to 150 MB",
            after_start(bare, chunk(b"iTXt", b"x\0\1\0\0\0" + zeros(150_000_000))),
            None,
        ),
        ("jpeg whose header says 65,500 x 65,500", resized_frame(plain, 65_500, 65_500), "too-many-pixels"),
        ("jpeg whose header says 5,000 x 5,000", resized_frame(plain, 5_000, 5_000), None),
        ("jpeg of a height of 0", resized_frame(plain, 96, 0), "damaged"),
        ("jpeg of a width of 0", resized_frame(plain, 0, 72), "damaged"),
        ("jpeg of 1,000 scans more", many_scans(1000), "unsupported"),
        ("jpeg of 60 scans more", many_scans(60), None),
        ("jpeg of 10,000 empty comments", after_start(plain, segment(0xFE, b"") * 10_000), "unsupported"),
        ("jpeg with a million fill bytes", after_start(plain, b"\xff" * 1_000_000), None),
        ("jpeg with stray stuffed bytes between segments", after_start(plain, b"\xff\0" * 200_000), None),
        ("jpeg with a million fill bytes within its pixels", plain[:-2] + b"\xff" * 1_000_000 + b"\xff\xd9", None),
        ("png of 70,000 empty chunks", after_start(bare, chunk(b"teXt", b"") * 70_000), "unsupported"),
        ("png of 1,000 pixel chunks of a byte", _split_pixels(bare), None),
        # Cut, or with parts that do not fit.
        ("nothing", b"", "not-an-image"),
        ("first bytes of a jpeg", b"\xff\xd8\xff", "damaged"),
        ("first bytes of a png", PNG, "damaged"),
        *((f"jpeg cut at marker {marker:02X}", plain[:at], "damaged") for at, marker, _ in segments(plain) if at > 2),
        *((f"jpeg cut within segment {marker:02X}", plain[: at + 3], "damaged") for at, marker, _ in segments(plain)),
        ("jpeg cut within its pixels", plain[: -len(plain) // 3], "damaged"),
        ("jpeg without its end marker", plain[:-2], "damaged"),
        *((f"png cut at {name.decode()}", bare[:at], "damaged") for at, name, _ in chunks(bare)),
        ("png cut within its pixels", bare[: len(bare) // 2], "damaged"),
        ("png whose pixels end early", _short_pixels(bare), "damaged"),
        ("png whose pixels are no deflate", PNG + ihdr(8, 8) + chunk(b"IDAT", b"not deflated at all") + chunk(b"IEND", b""), "damaged"),
        ("png with a wrong sum", bare[:29] + b"\0\0\0\0" + bare[33:], "damaged"),
        ("png without pixels", PNG + ihdr(8, 8) + chunk(b"IEND", b""), "damaged"),
        ("png with two headers", after_start(bare, ihdr(8, 8)), "damaged"),
        ("png with a chunk of 2 GB", bare[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bare[41:], "damaged"),
        ("png with a palette of 257 colours", raw_png(8, 8, 8, 3, bytes(72), chunk(b"PLTE", bytes(771))), "damaged"),
        ("png with indices and no palette", raw_png(8, 8, 8, 3, bytes(72)), "damaged"),
        ("png with an index beyond its palette", raw_png(8, 8, 8, 3, b"\0" + b"\xff" * 8 + bytes(63), chunk(b"PLTE", bytes(6))), None),
        ("png of 3 bits", raw_png(8, 8, 3, 0, bytes(32)), "damaged"),
        ("png with text instead of transparency", raw_png(8, 8, 8, 0, bytes(72), chunk(b"tRNS", CANARY)), "damaged"),
        ("png with a needed chunk nobody knows", after_start(bare, chunk(b"ABCD", b"")), "unsupported"),
        ("png of Apple's own sort", PNG + chunk(b"CgBI", b"\x50\0\x20\x06") + bare[8:], "unsupported"),
        ("jpeg with two frames", plain[:head] + plain[head : head + 19] + plain[head:], "damaged"),
        ("jpeg without a frame", plain[:head] + plain[head + 19 :], "damaged"),
        ("jpeg without quantisation", _without(plain, 0xDB), "damaged"),
        ("jpeg without Huffman tables", _without(plain, 0xC4), None),
        ("jpeg with a reserved marker", after_start(plain, segment(0x02, CANARY)), "damaged"),
        ("jpeg in a jpeg", after_start(plain, plain), "damaged"),
        # Sorts of JPEG that are not taken.
        *(
            (f"jpeg that is {name}", plain[: head + 1] + bytes((marker,)) + plain[head + 2 :], "unsupported")
            for name, marker in (
                ("lossless", 0xC3),
                ("arithmetic-coded", 0xC9),
                ("arithmetic-coded and progressive", 0xCA),
                ("hierarchical", 0xC5),
            )
        ),
        ("jpeg of 12 bits", plain[: head + 4] + b"\x0c" + plain[head + 5 :], "unsupported"),
        (
            "jpeg of 2 components",
            plain[:head] + segment(0xC0, struct.pack(">BHHB", 8, 72, 96, 2) + b"\1\x11\0\2\x11\0") + plain[head + 19 :],
            "unsupported",
        ),
        # Other files by another name.
        *((f"{name} by another name", foreign(name), "not-an-image") for name in ("GIF", "TIFF", "BMP", "ICO", "PPM")),
        ("webp by another name", b"RIFF\x24\0\0\0WEBPVP8 " + bytes(24), "not-an-image"),
        ("heic by another name", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "not-an-image"),
        ("avif by another name", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(64), "not-an-image"),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not-an-image"),
        (
            "svg with an outer entity",
            b"<?xml version='1.0'?><!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>",
            "not-an-image",
        ),
        ("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not-an-image"),
        ("a program", b"\x7fELF\x02\x01\x01" + bytes(57), "not-an-image"),
        ("text", b"a leaf", "not-an-image"),
        ("jpeg behind an empty line", b"\r\n" + plain, "not-an-image"),
        ("png with its line ends changed", bare.replace(b"\r\n", b"\n", 1), "not-an-image"),
        # Polyglots: what is a photo is taken, the rest is not.
        ("jpeg and zip", plain + archive(), None),
        ("png and zip", bare + archive(), None),
        ("jpeg and html in a comment", after_start(plain, segment(0xFE, b"<html>" + script + CANARY)), None),
        ("jpeg and php behind the end", plain + script + CANARY, None),
        ("jpeg and javascript", b"\xff\xd8\xff\xe0\x2f\x2a" + bytes(0x2F28) + plain[2:] + b"*/=1;" + CANARY, None),
        ("png and php in a text", after_start(bare, chunk(b"tEXt", b"Comment\0" + script + CANARY)), None),
        ("png and jpeg", bare + rich_jpeg(), None),
        ("motion photo", rich_jpeg() + b"\0\0\0\x18ftypmp42" + CANARY * 40, None),
        # Sound, and rare.
        ("jpeg with all metadata", rich_jpeg(), None),
        ("png with all metadata", rich_png(), None),
        *((f"jpeg turned as {n}", rich_jpeg(orientation=n), None) for n in range(1, 9)),
        ("jpeg whose EXIF says it is turned as 9", jpeg(exif=exif(9)), None),
        ("jpeg whose EXIF is cut", after_start(plain, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")), None),
        (
            "jpeg whose EXIF leads to itself",
            after_start(plain, segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x87\x69\0\4\0\0\0\1\0\0\0\x08" * 40)),
            None,
        ),
        (
            "jpeg with a thumbnail of another picture",
            after_start(plain[20:] and b"\xff\xd8" + plain[20:], segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\4\4" + (CANARY * 2)[:48])),
            None,
        ),
        ("jpeg, progressive", rich_jpeg(progressive=True), None),
        ("jpeg, grey", jpeg(picture(mode="L"), exif=exif(3)), None),
        ("jpeg, CMYK", jpeg(picture(mode="CMYK")), None),
        ("jpeg, YCCK", _ycck(), None),
        ("jpeg, red green blue as they are", jpeg(keep_rgb=True), None),
        ("jpeg with restart markers", jpeg(restart_marker_blocks=2), None),
        ("jpeg, 4:4:4", jpeg(subsampling=0), None),
        ("jpeg of one pixel", jpeg(picture(1, 1)), None),
        ("jpeg of 65,500 x 4", jpeg(picture(65_500, 4)), None),
        ("mpo of two pictures", pair(), None),
        ("png, 1 bit", png(picture(mode="1")), None),
        ("png, 2 bits", raw_png(16, 16, 2, 0, (b"\0" + b"\x1b\xe4\x1b\xe4") * 16), None),
        ("png, grey of 16 bits", raw_png(64, 48, 16, 0, grey16), None),
        ("png, colours of 16 bits", raw_png(64, 48, 16, 2, rgb16), None),
        ("png, grey of 16 bits with a transparent one", raw_png(64, 48, 16, 0, grey16, chunk(b"tRNS", b"\0\0")), None),
        ("png, grey of 16 bits and alpha", raw_png(16, 16, 16, 4, (b"\0" + b"\x80\0\xff\xff" * 16) * 16), None),
        ("png, colours and alpha of 16 bits", raw_png(16, 16, 16, 6, (b"\0" + b"\x80\0\x40\0\x20\0\0\0" * 16) * 16), None),
        ("png, grey and alpha", png(see_through.convert("LA")), None),
        ("png, colours and alpha", png(see_through, exif=exif(8)), None),
        (
            "png, one transparent colour",
            raw_png(8, 8, 8, 2, (b"\0" + b"\x0a\x14\x1e" * 8) * 8, chunk(b"tRNS", b"\0\x0a\0\x14\0\x1e")),
            None,
        ),
        ("png, palette", png(palette), None),
        ("png, palette with transparency", png(palette, transparency=bytes(range(0, 256, 4))), None),
        ("png, Adam7", adam, None),
        ("apng", animated(), None),
        ("png of one pixel", png(picture(1, 1)), None),
    ]


def _split_pixels(data: bytes) -> bytes:
    """A PNG with the first thousand bytes of its pixels in a chunk each."""
    pixels = b"".join(body for _, name, body in chunks(data) if name == b"IDAT")
    parts = [pixels[n : n + 1] for n in range(1000)] + [pixels[1000:]]
    return data[:33] + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b"")


def _short_pixels(data: bytes) -> bytes:
    """A sound PNG by its chunks, whose pixels are half."""
    pixels = b"".join(body for _, name, body in chunks(data) if name == b"IDAT")
    return data[:33] + chunk(b"IDAT", pixels[: len(pixels) // 2]) + chunk(b"IEND", b"")


def _without(data: bytes, kind: int) -> bytes:
    """A JPEG without the segments of a marker."""
    kept = [segment(marker, body) for _, marker, body in segments(data) if marker != kind]
    scan = next(at + 4 + len(body) for at, marker, body in segments(data) if marker == 0xDA)
    return b"\xff\xd8" + b"".join(kept) + data[scan:]


def _ycck() -> bytes:
    """A CMYK JPEG whose Adobe segment says that its first three inks are YCbCr."""
    data = jpeg(picture(mode="CMYK"))
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def _adam7(image: Image.Image) -> bytes:
    """An interlaced PNG, which Pillow does not write: the seven passes of the specification (8.2)."""
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(y0, image.height, dy):
            row = b"".join(bytes(image.getpixel((x, y))) for x in range(x0, image.width, dx))  # type: ignore[arg-type]
            raw += b"\0" + row if row else b""
    return raw_png(image.width, image.height, 8, 2, raw, interlace=1)


@functools.cache
def sound() -> list[bytes]:
    """What `mutated` begins with."""
    see_through = picture().convert("RGBA")
    see_through.putalpha(128)
    return [
        rich_jpeg(),
        rich_jpeg(progressive=True, orientation=5),
        jpeg(picture(mode="CMYK"), exif=exif(3)),
        jpeg(picture(mode="L"), restart_marker_blocks=3),
        rich_png(),
        png(see_through, exif=exif(7)),
        png(picture().quantize(32), transparency=bytes(range(32))),
        _adam7(picture(48, 40)),
        animated(),
    ]


def mutated(n: int, seed: int = 0) -> Iterator[bytes]:
    """Damaged photos, the same for the same seed: bits, bytes, lengths and dimensions changed, pieces cut, doubled, moved, exchanged.

    Every second PNG has its sums put right, so that damage gets as far as the decoder.
    """
    stir = random.Random(seed)
    for number in range(n):
        data = bytearray(stir.choice(sound()))
        for _ in range(stir.choice((1, 1, 1, 2, 4, 16))):
            _damage(data, stir)
        yield _summed(bytes(data)) if number % 2 and data.startswith(PNG) else bytes(data)


def _damage(data: bytearray, stir: random.Random) -> None:
    if len(data) < 16:
        return
    at, length = stir.randrange(len(data)), min(stir.randint(1, 64), len(data))
    match stir.randrange(9):
        case 0:
            data[at] ^= 1 << stir.randrange(8)
        case 1:
            data[at] = stir.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 2:
            data[at : at + length] = stir.randbytes(length)
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = data[at : at + length]
        case 5:
            del data[at:]
        case 6:
            other = stir.choice(sound())
            data[at:] = other[stir.randrange(len(other)) :]
        case 7:  # what says how large things are
            header = data.find(b"IHDR") + 4 if data.startswith(PNG) else max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
            if 4 < header < len(data) - 12:
                data[header + stir.randrange(10)] = stir.randrange(256)
        case _:  # a marker where none was
            data[at : at + 2] = bytes((0xFF, stir.randrange(0xC0, 0x100)))


def _summed(data: bytes) -> bytes:
    """A PNG with sums as they should be, as far as its chunks can be told."""
    put, position = bytearray(PNG), 8
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > len(data):
            break
        put += chunk(name, data[position + 8 : position + 8 + length])
        position += 12 + length
    return bytes(put + data[position:])


def leaks(data: bytes) -> list[str]:
    """What a photo that went through us still tells beside its pixels and how it is turned: empty, or names of what was found."""
    found = ["canary"] if CANARY in data or CANARY.decode().encode("utf-16-le") in data else []
    if data.startswith(PNG):
        for _, name, body in chunks(data):
            if name not in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND") and not (name == b"eXIf" and _turn_alone(body)):
                found.append(name.decode("latin-1"))
        return found
    if not data.startswith(b"\xff\xd8") or not data.endswith(b"\xff\xd9"):
        return [*found, "not a whole JPEG"]
    for at, marker, body in segments(data):
        harmless = {
            0xE0: len(body) == 14 and body[:5] == b"JFIF\0",
            0xEE: len(body) == 12 and body[:5] == b"Adobe",
            0xE1: _turn_alone(body[6:]),
        }
        if (0xE0 <= marker <= 0xEF and not harmless.get(marker, False)) or marker == 0xFE:
            found.append(f"segment {marker:02X} at {at}")
    return found


def _turn_alone(tiff: bytes) -> bool:
    """Whether EXIF holds orientation and nothing else."""
    return len(tiff) == 26 and tiff[:20] == b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + tiff[19:20] and tiff[20:] == bytes(6)
