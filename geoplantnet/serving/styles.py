"""Colours: named palettes, and from a layer's values to the index of a palette. Index 0 is "no data"."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from geoplantnet.catalog.product import Layer
from geoplantnet.errors import ConfigurationError, did_you_mean
from geoplantnet.serving.exceptions import StyleNotDefined, shown

# Colours evenly spaced from the low end to the high end, interpolated linearly in between. viridis, magma, inferno, plasma
# (van der Walt and Smith, CC0) and cividis (Nunez, Anderton and Renslow 2018) sampled; the others after ColorBrewer (Brewer).
_ANCHORS: dict[str, str] = {
    "viridis": "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
    "magma": "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 fea772 fec488 fde2a3 fcfdbf",
    "inferno": "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
    "plasma": "0d0887 310597 4c02a1 6600a7 7e03a8 9511a1 aa2395 bc3587 cc4778 da5a6a e66c5c f0804e f89540 fdac33 fdc527 f8df25 f0f921",
    "cividis": "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
    "greens": "f7fcf5 e5f5e0 c7e9c0 a0d99b 73c476 40aa5d 228a44 006c2c 00441b",
    "blues": "f7fbff deebf7 c6dbef 9dcae1 6aaed6 4191c6 2070b4 08509b 08306b",
    "reds": "fff5f0 fee0d2 fcbba1 fc9272 fb694a ee3a2c ca181d a30f15 67000d",
    "oranges": "fff5eb fee6ce fdd0a2 fdae6a fd8c3b f16813 d84801 a53603 7f2704",
    "purples": "fcfbfd efedf5 dadaeb bcbddc 9e9ac8 807cba 6950a3 53268f 3f007d",
    "ylgn": "ffffe5 f7fcb9 d9f0a3 acdd8e 77c679 40aa5c 228343 006737 004529",
    "ylgnbu": "ffffd9 edf8b1 c6e9b4 7ecdbb 40b5c4 1d90c0 225da8 243392 081d58",
    "ylorrd": "ffffcc ffeda0 fed976 feb24c fd8c3c fc4d2a e2191c bb0026 800026",
    "brbg": "543005 774508 995d13 b97b29 cfa256 e2c787 f1dfb3 f6edd7 f4f5f5 d7eeeb b4e2db 87d0c5 58b0a7 2d8f87 0c7169 01554b 003c30",
    "rdylgn": "a50026 c41e27 de402e f16640 f98e52 fdb567 fed481 feec9f feffbe e6f59d cbe982 abdb6d 84ca66 5ab760 2aa054 0f8446 006837",
    "grey": "000000 ffffff",
}

PALETTES: tuple[str, ...] = tuple(sorted(_ANCHORS))
"""Names a continuous layer may be drawn with; each also reversed as ``<name>_r``."""

DEFAULT = "default"
"""The style every layer has: its own palette, or its classes."""

STEPS = 255
"""Colours of a continuous ramp: what an 8-bit palette holds beside "no data"."""


@functools.lru_cache(maxsize=64)
def palette(name: str) -> npt.NDArray[np.uint8]:
    """The (255, 3) RGB colours of a palette, low to high. Raises ConfigurationError with the nearest names."""
    anchors = _ANCHORS.get(name.removesuffix("_r"))
    if anchors is None:
        raise ConfigurationError(
            f"palette {name!r} is unknown; use one of {', '.join(PALETTES)}, or one reversed ({name!r}_r).{did_you_mean(name, PALETTES)}"
        )
    points = np.array([_rgb(color) for color in anchors.split()], dtype=float)
    at = np.linspace(0, len(points) - 1, STEPS)
    ramp = np.stack([np.interp(at, np.arange(len(points)), channel) for channel in points.T], axis=1).round().astype(np.uint8)
    ramp = ramp[::-1] if name.endswith("_r") else ramp
    ramp.flags.writeable = False
    return ramp


def styles_of(layer: Layer) -> tuple[str, ...]:
    """Names of the styles offered for a layer, the default first. Classes have the colours their author gave, no others."""
    return (DEFAULT,) if layer.classes else (DEFAULT, *PALETTES)


def check_style(layer: Layer, style: str) -> str:
    """The style's full name; an empty one is the default. Raises StyleNotDefined."""
    name = style or DEFAULT
    offered = styles_of(layer)
    if name not in offered:
        raise StyleNotDefined(
            f"layer {layer.id!r} has no style {shown(name)}; it has {', '.join(offered)}.{did_you_mean(name[:30], offered)}"
        )
    return name


def colors(layer: Layer, style: str = DEFAULT) -> npt.NDArray[np.uint8]:
    """RGB colours (n, 3) of indices 1..n: the classes in their order, or the ramp from low to high."""
    if layer.classes:
        return np.array([_rgb(c.color.removeprefix("#")) for c in layer.classes], dtype=np.uint8)
    return palette(layer.palette if style == DEFAULT else style)


def indices(layer: Layer, values: np.ma.MaskedArray) -> npt.NDArray[np.uint8]:
    """Palette index of each value, any shape: 0 for no data and for values of no class, values beyond the range clipped."""
    data = np.ma.getdata(values)
    if layer.classes:
        out = np.zeros(data.shape, np.uint8)
        for i, one in enumerate(layer.classes, start=1):
            out[data == one.value] = i
    else:
        low, high = layer.range
        out = (np.clip((np.nan_to_num(data) - low) / (high - low), 0, 1) * (STEPS - 1)).round().astype(np.uint8) + np.uint8(1)
    out[np.ma.getmaskarray(values)] = 0
    return out


def check_layer(layer: Layer) -> None:
    """Whether the layer can be drawn at all: known palette, a range with room, at most 255 classes. Raises ConfigurationError."""
    if layer.classes:
        if len(layer.classes) > STEPS:
            raise ConfigurationError(f"layer {layer.id!r} has {len(layer.classes)} classes, at most {STEPS} can be drawn; merge some")
        return
    palette(layer.palette)
    if not layer.range[0] < layer.range[1]:
        raise ConfigurationError(
            f"layer {layer.id!r} has the range {layer.range}; its low end must lie below its high end (reverse colours with '_r')"
        )


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[:2], 16), int(color[2:4], 16), int(color[4:], 16)
