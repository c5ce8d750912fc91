"""Colours: named palettes, the styles of a layer, and from its values to the index of a palette. Index 0 is "no data"."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.catalog.product import Layer, LegendClass
from geoplantnet.errors import ConfigurationError, did_you_mean
from geoplantnet.serving.exceptions import StyleNotDefined, shown
from geoplantnet.serving.mosaic import PREDICTED, Reads

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
CLASSES = "classes"
"""Five equal steps of the layer's own palette in place of a ramp."""
PRESENCE = "presence"
"""Of a species: where its probability exceeds lambda, or without one where it is in the cell's species set."""
UNCERTAINTY = "uncertainty"
"""How far to trust the layer: a standard deviation, or the probability of the class shown."""

STEPS = 255
"""Colours of a continuous ramp: what an 8-bit palette holds beside "no data"."""
_CLASS_COUNT = 5
_PRESENT, _ABSENT = "#0b6e3b", "#e3ded1"


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


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A layer in one of its styles: what is read of it, and how its numbers become colours."""

    layer: Layer
    """As a legend tells it in this style: title, unit, range, palette or classes."""
    source: Layer
    """The layer whose numbers are read."""
    style: str
    reads: Reads = "value"
    breaks: tuple[float, ...] = ()
    """Values at which the next class begins, where classes are made of a continuous layer: class i of `layer.classes` lies before breaks[i]."""

    @property
    def smooth(self) -> bool:
        """Whether it is interpolated when zoomed out."""
        return not self.layer.classes


def styles_of(layer: Layer) -> tuple[str, ...]:
    """Names of the styles offered for a layer, the default first. Classes have the colours their author gave, no others."""
    trust = (UNCERTAINTY,) if layer.uncertainty else ()
    if layer.classes:
        return (DEFAULT, *trust)
    return (DEFAULT, CLASSES, *((PRESENCE,) if layer.asset in PREDICTED else ()), *trust, *PALETTES)


def check_style(layer: Layer, style: str) -> str:
    """The style's full name; an empty one is the default. Raises StyleNotDefined."""
    name = style or DEFAULT
    offered = styles_of(layer)
    if name not in offered:
        raise StyleNotDefined(
            f"layer {layer.id!r} has no style {shown(name)}; it has {', '.join(offered)}.{did_you_mean(name[:30], offered)}"
        )
    return name


def drawing(layer: Layer, style: str = DEFAULT, *, threshold: float | None = None) -> Drawing:
    """A layer in a style. `threshold` is lambda, a probability, and counts for `presence` alone. Raises StyleNotDefined."""
    name = check_style(layer, style)
    if name == UNCERTAINTY:
        assert layer.uncertainty
        u = layer.uncertainty
        told = replace(
            layer, title=u.title, unit=u.unit, range=u.range, palette="cividis", classes=(), direction=u.direction, description=""
        )
        return Drawing(layer=told, source=layer, style=name, reads="uncertainty")
    if name == PRESENCE:
        rule = "in the cell's species set" if threshold is None else f"probability above {threshold:g}"
        classes = (LegendClass(value=1, label=f"present: {rule}", color=_PRESENT), LegendClass(value=0, label="absent", color=_ABSENT))
        told = replace(layer, unit="class", classes=classes, direction="green = predicted present")
        if threshold is None:
            return Drawing(layer=told, source=layer, style=name, reads="set")
        return Drawing(layer=replace(told, classes=classes[::-1]), source=layer, style=name, breaks=(threshold,))
    if name == CLASSES:
        low, high = layer.range
        breaks = [low + (high - low) * i / _CLASS_COUNT for i in range(1, _CLASS_COUNT)]
        ramp = palette(layer.palette)[[round(i * (STEPS - 1) / (_CLASS_COUNT - 1)) for i in range(_CLASS_COUNT)]]
        edges = [f"{edge:.3g}" for edge in (low, *breaks, high)]
        labels = [f"{a} to {b}" for a, b in itertools.pairwise(edges)]
        labels[-1] = f"{edges[-2]} and more"
        steps = tuple(
            LegendClass(value=i, label=label, color="#{:02x}{:02x}{:02x}".format(*color))
            for i, (label, color) in enumerate(zip(labels, ramp, strict=True))
        )
        return Drawing(layer=replace(layer, classes=steps), source=layer, style=name, breaks=tuple(breaks))
    if name != DEFAULT:
        return Drawing(layer=replace(layer, palette=name, direction=""), source=layer, style=name)  # words may name the colours
    return Drawing(layer=layer, source=layer, style=name)


def colors(layer: Layer) -> npt.NDArray[np.uint8]:
    """RGB colours (n, 3) of indices 1..n: the classes in their order, or the ramp from low to high."""
    if layer.classes:
        return np.array([_rgb(c.color.removeprefix("#")) for c in layer.classes], dtype=np.uint8)
    return palette(layer.palette)


def indices(drawing: Drawing, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Palette index of each value, any shape: 0 for NaN (no data) and for values of no class, values beyond the range clipped."""
    known = np.isfinite(values)
    clean = np.where(known, values, 0)
    if drawing.breaks:
        out = (1 + np.searchsorted(drawing.breaks, clean, side="left" if drawing.style == PRESENCE else "right")).astype(np.uint8)
    elif drawing.layer.classes:
        out = np.zeros(values.shape, np.uint8)
        for i, one in enumerate(drawing.layer.classes, start=1):
            out[clean == one.value] = i
    else:
        low, high = drawing.layer.range
        out = (np.clip((clean - low) / (high - low), 0, 1) * (STEPS - 1)).round().astype(np.uint8) + np.uint8(1)
    out[~known] = 0
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
