"""The one decoder, and the process it runs in. Pillow and the standard library alone: `Decoder` starts this file as a program.

A request is a line of JSON and the photo's bytes; an answer is a line of JSON and pixels, or a JPEG. The process has no address of a file
to write: it can open nothing, its memory is limited, and so is its CPU time for each photo.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

FORMATS = {"jpg": "JPEG", "png": "PNG"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes each orientation of EXIF upright."""
_STRIP = 1 << 20
"""Bytes of pixels written at once."""


def opened(data: bytes, kind: str) -> Image.Image:
    """The photo, of which no pixel is decoded yet."""
    return Image.open(io.BytesIO(data), formats=(FORMATS[kind],))


def coloured(image: Image.Image) -> Image.Image:
    """In red, green, blue of 8 bits: of 16 bits the upper 8, what is transparent over white, inks as Adobe writes them. No colour profile."""
    image.load()
    if image.mode.startswith("I"):  # 16-bit grey; `convert` would cut at 255
        upper = 1 if image.mode in ("I;16", "I;16L") else 0
        if image.mode in ("I", "I;16N"):
            image = image.convert("I;16")
            upper = 1
        image = Image.frombytes("L", image.size, image.tobytes()[upper::2])
    elif image.has_transparency_data:
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turned as EXIF's orientation, 1 to 8, says."""
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def squared(image: Image.Image, size: int) -> Image.Image:
    """The central square, `size` pixels wide; see `pixels.square`."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def smaller(image: Image.Image, longest: int, quality: int) -> bytes:
    """JPEG bytes; see `pixels.resized`."""
    scale = min(1.0, longest / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    file = io.BytesIO()
    (image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def answer(request: dict[str, Any], data: bytes) -> tuple[Image.Image | None, bytes]:
    """What is asked: pixels ("pixels", or "square" of a `size`), or a JPEG ("resized" to `longest`)."""
    image = opened(data, request["format"])
    if request["want"] == "resized":  # for the eye alone: what the decoder can leave out is left out
        scale = min(1.0, 2 * request["longest"] / max(image.size))
        image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    image = coloured(image)  # one name for all: what was is given back before the next is made
    image = upright(image, request["orientation"])
    if request["want"] == "square":
        return squared(image, request["size"]), b""
    if request["want"] == "resized":
        return None, smaller(image, request["longest"], request["quality"])
    return image, b""


def confine(memory: int) -> None:
    """No new file, no bytes into one, no core dump, no more address space than `memory` beyond what is in use."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(what, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # standard input, output and error are there, and remain


def _allow(seconds: int) -> None:
    """CPU time from now on; then the kernel ends the process."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, resource.RLIM_INFINITY))


def serve(requests: BinaryIO, answers: BinaryIO, *, memory: int, pixels: int, seconds: int) -> None:
    """Answer until there is nothing more to read."""
    Image.MAX_IMAGE_PIXELS = pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.init()  # whatever a format imports is imported before files are out of reach
    for kind in ("JPEG", "PNG"):
        _try(kind)
    confine(memory)
    answers.write(b"ready\n")
    answers.flush()
    while line := requests.readline():
        _allow(seconds)
        request = json.loads(line)
        data = requests.read(request["bytes"])
        try:
            image, encoded = answer(request, data)
        except MemoryError:
            told: dict[str, Any] = {"error": "memory"}
        except Exception as error:
            told = {"error": "damaged", "detail": f"{error}"[:200]}
        else:
            told = {"width": image.width, "height": image.height} if image else {"bytes": len(encoded)}
        answers.write(json.dumps(told).encode() + b"\n")
        if "error" not in told:
            if image:
                rows = max(1, _STRIP // (3 * image.width))
                for top in range(0, image.height, rows):
                    answers.write(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
            else:
                answers.write(encoded)
        answers.flush()
        image, encoded, data = None, b"", b""


def _try(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    file.seek(0)
    Image.open(file).convert("RGB").resize((4, 4), Image.Resampling.BICUBIC).tobytes()


if __name__ == "__main__":
    serve(os.fdopen(0, "rb"), os.fdopen(1, "wb"), **json.loads(sys.argv[1]))
