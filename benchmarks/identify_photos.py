"""Photos from strangers: what decoding them apart costs beside Pillow in the same process, and what 2,000 damaged ones come to.

    python -m benchmarks.identify_photos [--quick] --json FILE

Photos are drawn, of 12 Mpx with grain as a camera's; times are medians of calls in turn. Damaged ones: `tests/faults/photos.py`.
"""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.rows import Row, main
from geoplantnet.identify.photos import SURVEY, Decoder, RefusedPhoto, decoder, read_header, resized, square, stripped

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))
import photos as made

SIZE = 224
LEAST_SCALE = 2
"""A reduced decoding is asked for at least so many pixels a pixel of the square."""


def rows(quick: bool) -> list[Row]:
    return [*_times(3 if quick else 9), *_damage(300 if quick else 2000), *_largest(quick)]


def camera(width: int = 4000, height: int = 3000) -> bytes:
    """A JPEG with detail at all scales, about as many bytes as a telephone's, turned, with metadata."""
    rng = np.random.default_rng(0)
    whole = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((6, 60), (40, 30), (300, 20), (1500, 10)):
        grains = rng.integers(0, 255, (max(2, cells * height // width), cells, 3), dtype=np.uint8)
        whole += weight / 120 * np.asarray(Image.fromarray(grains).resize((width, height), Image.Resampling.BICUBIC))
    image = Image.fromarray(np.clip(whole + rng.normal(0, 2, whole.shape), 0, 255).astype(np.uint8))
    return made.jpeg(image, quality=88, exif=made.exif(6), comment=made.CANARY)


def _in_process(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").transpose(Image.Transpose.ROTATE_270))


def _reduced(data: bytes) -> np.ndarray:
    """The square of what libjpeg decodes at the coarsest scale that has `LEAST_SCALE` pixels a pixel."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", tuple(LEAST_SCALE * SIZE * side // min(image.size) for side in image.size))
        return square(np.asarray(image.transpose(Image.Transpose.ROTATE_270)), SIZE)


def _medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Milliseconds of each, called in turn, the first round not counted."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            taken[name].append(1e3 * (time.perf_counter() - begin))
    return {name: median(values[1:]) for name, values in taken.items()}


def _times(rounds: int) -> list[Row]:
    data = camera()
    begin = time.perf_counter()
    with Decoder(workers=1) as apart:
        apart.square(made.png(), SIZE)
        start = 1e3 * (time.perf_counter() - begin)
        ms = _medians(
            {
                "pixels": lambda: apart.pixels(data),
                "pixels here": lambda: _in_process(data),
                "square": lambda: apart.square(data, SIZE),
                "square here": lambda: square(_in_process(data), SIZE),
                "reduced": lambda: _reduced(data),
                "smaller": lambda: apart.resized(data, 800),
                "smaller here": lambda: resized(_in_process(data), 800),
                "header": lambda: read_header(data),
                "stripped": lambda: stripped(data),
            },
            rounds,
        )
        exact = apart.square(data, SIZE).astype(int)
    off = abs(_reduced(data) - exact)
    bomb = next(photo for name, photo, _ in made.crafted() if name.startswith("png of 30,000"))
    refusal = _medians({"bomb": lambda: _refused(partial(read_header, bomb))}, rounds)["bomb"]
    said = f"12 Mpx JPEG of {len(data) / 1e6:.1f} MB"
    return [
        Row(
            name=f"all pixels of a {said}",
            value=ms["pixels"],
            unit="ms",
            reference=f"Pillow in the same process {ms['pixels here']:.0f} ms",
        ),
        Row(
            name=f"square of {SIZE} of it",
            value=ms["square"],
            unit="ms",
            reference=f"Pillow in the same process {ms['square here']:.0f} ms; by libjpeg's reduced decoding, which is not used, {ms['reduced']:.0f} ms "
            f"and pixels off by {off.mean():.2f} levels on average, {off.max()} at most",
            target="at most 1.25 times Pillow in the same process",
            ok=ms["square"] <= 1.25 * ms["square here"],
        ),
        Row(
            name="JPEG of 800 px of it",
            value=ms["smaller"],
            unit="ms",
            reference=f"from all pixels in the same process {ms['smaller here']:.0f} ms",
        ),
        Row(name="header of it", value=ms["header"], unit="ms", reference="no pixel decoded"),
        Row(name="stripped of metadata", value=ms["stripped"], unit="ms", reference="no pixel decoded"),
        Row(name="a bomb of 900 Mpx refused", value=refusal, unit="ms", reference=f"{len(bomb) / 1e3:.0f} kB that decode to 112 MB"),
        Row(name="start of a decoding process", value=start, unit="ms", reference="once, with the first photo"),
    ]


def _refused(call: Callable[[], object]) -> str:
    try:
        call()
    except RefusedPhoto as refused:
        return refused.kind
    return "decoded"


def _tells(data: bytes) -> bool:
    """Whether a photo that is taken tells more than its pixels once it is stripped."""
    try:
        return bool(made.leaks(stripped(data)))
    except RefusedPhoto:
        return False


def _damage(n: int) -> list[Row]:
    outcomes: Counter[str] = Counter()
    told = wrong = most = 0
    before = _memory("self", "VmRSS")
    with Decoder(workers=1) as apart:
        apart.pixels(made.png())
        first = apart.processes()
        for data in made.mutated(n, seed=1):
            outcomes[_refused(partial(apart.pixels, data))] += 1
            told += _tells(data)
        for _, data, kind in made.crafted():
            wrong += _refused(partial(apart.pixels, data)) != (kind or "decoded")
            told += _tells(data)
        replaced = apart.processes() != first
        most = _memory(apart.processes()[0], "VmHWM")
    counted = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
    return [
        Row(
            name=f"{n:,} mutated photos: neither decoded nor refused",
            value=n - sum(outcomes.values()),
            unit="photos",
            reference=counted,
            target="0",
        ),
        Row(
            name=f"{len(made.crafted())} crafted photos: met by another end than foreseen",
            value=wrong,
            unit="photos",
            reference="bombs, cuts, polyglots, rare sorts",
            target="0",
            ok=not wrong,
        ),
        Row(
            name="photos that tell more than pixels once stripped",
            value=told,
            unit="photos",
            reference="of all of these",
            target="0",
            ok=not told,
        ),
        Row(name="decoders ended by them", value=int(replaced), unit="", reference="of 1", target="0", ok=not replaced),
        Row(
            name="most memory of the decoding process over them",
            value=most / 1e6,
            unit="MB",
            reference=f"the calling process grew by {(_memory('self', 'VmRSS') - before) / 1e6:.0f} MB",
            target=f"at most {_budget() / 1e6:.0f}",
            ok=most <= _budget(),
        ),
    ]


def _largest(quick: bool) -> list[Row]:
    """The sorts that take the most memory, of 50 Mpx (12 when quick), turned."""
    width, height = (4000, 3000) if quick else (8000, 6250)
    pixels = made.zeros(height * (1 + 8 * width))
    deep = (
        made.PNG
        + made.ihdr(width, height, 16, 6)
        + made.chunk(b"eXIf", made.exif(6)[6:])
        + made.chunk(b"IDAT", pixels)
        + made.chunk(b"IEND", b"")
    )
    inks = made.jpeg(made.picture(width, height, "CMYK"), progressive=True, subsampling=0, exif=made.exif(6))
    found = []
    for name, data in (("PNG of 16 bits with alpha", deep), ("progressive JPEG of four inks", inks)):
        with Decoder(workers=1, seconds=60) as apart:
            apart.pixels(made.png())
            begin = time.perf_counter()
            ended = _refused(partial(apart.pixels, data, SURVEY))
            taken, most = time.perf_counter() - begin, _memory(apart.processes()[0], "VmHWM")
        found.append(
            Row(
                name=f"most memory for a {name}, {width * height / 1e6:.0f} Mpx",
                value=most / 1e6,
                unit="MB",
                reference=f"{ended} in {taken:.1f} s; the kernel allows {_budget() / 1e6:.0f} MB",
                target="decoded within it",
                ok=ended == "decoded" and most < _budget(),
            )
        )
    return found


def _budget() -> int:
    return decoder.MEMORY_BASE + SURVEY.bytes + decoder.MEMORY_PIXEL * SURVEY.pixels


def _memory(process: int | str, name: str) -> int:
    """A line of /proc/<process>/status, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main(rows)
