"""How a layer is read: one description, told as JSON to programs and drawn as PNG for people."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import reportlab
from PIL import Image, ImageDraw, ImageFont

from geoplantnet.catalog.product import Layer
from geoplantnet.serving import styles
from geoplantnet.serving.languages import told_in
from geoplantnet.serving.styles import Drawing

_STOPS = 17
"""Colours of a continuous ramp told to programs."""
_TICKS = 5

_WIDTH, _MARGIN, _RAMP_HEIGHT, _SWATCH = 280, 12, 18, 16
_TEXT, _FAINT, _LINE, _PAPER = "#1a1a1a", "#555555", "#777777", "#ffffff"
_SPELLED = str.maketrans({"→": "->", "−": "-", "μ": "µ", "″": '"', "′": "'", "\u202f": " ", "đ": "d"})
FONT = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
"""Bitstream Vera, which comes with reportlab: the letters of western European languages."""
UNITLESS = ("", "1", "class")


def describe(layer: Layer, style: str = styles.DEFAULT) -> dict[str, Any]:
    """Everything a legend says of a layer in a style, JSON-able. Raises StyleNotDefined.

    `colors` are `#rrggbb`, evenly spaced from the low to the high end of `range`; empty for a layer of classes.
    `ticks` are the numbers to write below them. `unit` is `1` for a number without unit. `fr` holds the words in French, as far as the
    publisher gave them; `uncertainty` the legend of that style, and `presence` the classes of that one, or null where the layer has none.
    """
    offered = styles.styles_of(layer)
    presence = styles.drawing(layer, styles.PRESENCE) if styles.PRESENCE in offered else None
    spread = styles.UNCERTAINTY if styles.UNCERTAINTY in offered else None
    return {
        **_in_both_languages(layer, style),
        "uncertainty": spread and _in_both_languages(layer, spread),
        "presence": presence and describe_drawing(presence)["classes"],
    }


def _in_both_languages(layer: Layer, style: str) -> dict[str, Any]:
    french = describe_drawing(styles.drawing(told_in(layer, "fr"), style))
    words = {name: french[name] for name in ("title", "description", "direction")}
    return {**describe_drawing(styles.drawing(layer, style)), "fr": {**words, "classes": [one["label"] for one in french["classes"]]}}


def describe_drawing(drawing: Drawing) -> dict[str, Any]:
    """The same of a layer as it is drawn."""
    layer = drawing.layer
    low, high = layer.range
    stops = [] if layer.classes else [round(i * (styles.STEPS - 1) / (_STOPS - 1)) for i in range(_STOPS)]
    return {
        "id": layer.id,
        "title": layer.title,
        "description": layer.description,
        "family": layer.family,
        "kind": "classes" if layer.classes else "continuous",
        "unit": layer.unit,
        "range": None if layer.classes else [low, high],
        "colors": [_hex(color) for color in styles.colors(layer)[stops]],
        "ticks": []
        if layer.classes
        else [{"value": low + (high - low) * i / (_TICKS - 1), "label": label} for i, label in enumerate(_tick_labels(low, high))],
        "classes": [{"value": c.value, "label": c.label, "color": c.color} for c in layer.classes],
        "direction": layer.direction,
        "attribution": layer.attribution,
        "styles": list(styles.styles_of(drawing.source)),
        "generalised": layer.generalised,
    }


def draw(drawing: Drawing) -> bytes:
    """The legend as PNG: title, unit, the ramp with its numbers or the classes with their labels, the direction in words."""
    description = describe_drawing(drawing)
    image = Image.new("RGB", (_WIDTH, _paint(None, description)), _PAPER)
    _paint(ImageDraw.Draw(image), description)
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def size(drawing: Drawing) -> tuple[int, int]:
    """Width and height of the drawn legend, pixels."""
    return _WIDTH, _paint(None, describe_drawing(drawing))


def note(image: Image.Image, text: str) -> None:
    """Write a text into an image, from the top, wrapped to its width and cut at its end."""
    draw, face = ImageDraw.Draw(image), font(13)
    lines = _wrap(plain(text), face.getlength, image.width - 2 * _MARGIN)
    draw.rectangle([0, 0, image.width - 1, min(round(17.5 * len(lines)) + _MARGIN, image.height - 1)], fill=_PAPER, outline="#b2182b")
    for i, line in enumerate(lines):
        draw.text((_MARGIN, 6 + round(17.5 * i)), line, fill="#b2182b", font=face)


def _paint(canvas: ImageDraw.ImageDraw | None, legend: dict[str, Any]) -> int:
    """Draw from top to bottom and return the height; without a canvas, only measure."""
    y = _MARGIN
    unit = "" if legend["unit"] in UNITLESS else f" ({legend['unit']})"
    y = _write(canvas, y, legend["title"] + unit, 15, _TEXT) + 4
    y = _paint_classes(canvas, y, legend["classes"]) if legend["classes"] else _paint_ramp(canvas, y, legend)
    if legend["direction"]:
        y = _write(canvas, y + 4, legend["direction"], 13, _FAINT)
    return y + _MARGIN


def _paint_ramp(canvas: ImageDraw.ImageDraw | None, y: int, legend: dict[str, Any]) -> int:
    left, right = _MARGIN, _WIDTH - _MARGIN - 1
    colors = [_rgb(color) for color in legend["colors"]]
    if canvas:
        for x in range(left, right + 1):
            place = (x - left) / (right - left) * (len(colors) - 1)
            k = min(int(place), len(colors) - 2)
            between = tuple(round(a + (b - a) * (place - k)) for a, b in zip(colors[k], colors[k + 1], strict=True))
            canvas.line([(x, y), (x, y + _RAMP_HEIGHT)], fill=between)
        canvas.rectangle([left, y, right, y + _RAMP_HEIGHT], outline=_LINE)
    y += _RAMP_HEIGHT
    if canvas:
        _paint_ticks(canvas, y, left, right, [tick["label"] for tick in legend["ticks"]])
    return y + 21


def _paint_ticks(canvas: ImageDraw.ImageDraw, y: int, left: int, right: int, labels: list[str]) -> None:
    """Numbers below the ramp: the ends first, then the middle, then what still finds room."""
    face, last = font(12), len(labels) - 1
    taken: list[tuple[float, float]] = []
    for i in sorted(range(len(labels)), key=lambda i: (i not in (0, last), 2 * i != last)):
        middle = left + (right - left) * i / last
        canvas.line([(round(middle), y), (round(middle), y + 4)], fill=_LINE)
        width = face.getlength(labels[i])
        start = min(max(middle - width / 2, left), right - width)
        if all(start > end + 6 or start + width < begin - 6 for begin, end in taken):
            canvas.text((start, y + 5), labels[i], fill=_TEXT, font=face)
            taken.append((start, start + width))


def _paint_classes(canvas: ImageDraw.ImageDraw | None, y: int, classes: list[dict[str, Any]]) -> int:
    for one in classes:
        if canvas:
            canvas.rectangle([_MARGIN, y, _MARGIN + _SWATCH, y + _SWATCH], fill=one["color"], outline=_LINE)
        y = max(_write(canvas, y, one["label"], 13, _TEXT, left=_MARGIN + _SWATCH + 8), y + _SWATCH) + 5
    return y


def _write(canvas: ImageDraw.ImageDraw | None, y: int, text: str, points: int, color: str, *, left: int = _MARGIN) -> int:
    """Text wrapped to the legend's width; returns where the next line starts."""
    face = font(points)
    for line in _wrap(plain(text), face.getlength, _WIDTH - _MARGIN - left):
        if canvas:
            canvas.text((left, y), line, fill=color, font=face)
        y += round(points * 1.35)
    return y


def _wrap(text: str, length: Callable[[str], float], width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and length(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def plain(text: str) -> str:
    """Text in the letters the font has: other accents dropped, some signs spelled, what is left shown as ``?``."""
    return "".join(c if ord(c) in _letters() else _without_accents(c) for c in text.translate(_SPELLED))


def _without_accents(letter: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
    return "".join(c if ord(c) in _letters() else "?" for c in plain)


@functools.cache
def _letters() -> frozenset[int]:
    from reportlab.pdfbase.ttfonts import TTFontFile  # slow to import, and most requests draw no legend

    return frozenset(TTFontFile(str(FONT), validate=0).charToGlyph)


def _tick_labels(low: float, high: float) -> list[str]:
    """The shortest decimals that tell the ticks apart and lie within 1 % of a step of them, or 4 significant digits."""
    values = [low + (high - low) * i / (_TICKS - 1) for i in range(_TICKS)]
    step = (high - low) / (_TICKS - 1)
    for decimals in range(6):
        labels = [f"{v:.{decimals}f}" for v in values]
        if all(abs(float(label) - v) <= step / 100 for label, v in zip(labels, values, strict=True)) and max(map(len, labels)) <= 9:
            return labels
    return [f"{v:.4g}" for v in values]


@functools.cache
def font(points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, points - 1)  # its letters are larger than those of other fonts of as many points


def _hex(rgb: Any) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(v) for v in rgb))


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
