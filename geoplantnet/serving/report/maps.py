"""The maps of a report, drawn by the renderer of every other map: the area outlined, what lies around it paler, a scale and a legend."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence

import shapely
from PIL import Image, ImageDraw

from geoplantnet.catalog.product import Layer
from geoplantnet.serving import legend, styles
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.crs import crs_of
from geoplantnet.serving.exceptions import InvalidParameter
from geoplantnet.serving.languages import told_in
from geoplantnet.serving.render import render
from geoplantnet.serving.report.content import Picture
from geoplantnet.serving.report.words import NO_BREAK, Words
from geoplantnet.serving.warp import View

_WIDTH, _HEIGHT = 900, 640
_AROUND = 1.3
"""Of the area's width and height: what is shown."""
_LEAST = 1_500.0
"""Metres that are shown, at least: thirty cells of 50 m."""
_FAR = 6.0
"""How much more the map shows that tells where the area is."""
_LINE, _FOUND, _HALO = (20, 20, 20), (178, 24, 43), (255, 255, 255)
_PALER = 0.45
"""How white what lies outside the area is made."""
_WANTED = (("richness",), ("habitat",), ("threatened", "eu_directive", "rare"))
"""Layers shown, of each the first that there is."""
RELIEF = "relief"


def layers_of(epoch: Epoch, first: Layer | None = None) -> list[Layer]:
    """The layers that a report shows: `first` in place of the overview."""
    found = [next((epoch.catalog.layers[id] for id in ids if id in epoch.catalog.layers), None) for ids in _WANTED]
    if first is not None:
        found[0] = first
    return [layer for k, layer in enumerate(found) if layer is not None and layer not in found[:k]]


def asked_layer(atlas: Atlas, epoch: Epoch, id: str | None) -> Layer | None:
    """The layer a request names, as that epoch shows it. Raises LayerNotFound, InvalidParameter for one the epoch has not."""
    if id is None:
        return None
    layer = atlas.layer(id)
    if epoch not in atlas.epochs_of(layer):
        raise InvalidParameter(f"layer {id!r} is not shown by {epoch.name!r}; leave it out, or take another")
    return atlas.shown_by(layer, epoch)


def pictures_of(
    epoch: Epoch, shape: shapely.Geometry, layers: Sequence[Layer], words: Words, check: Callable[[], None]
) -> tuple[Picture, ...]:
    """The maps of an area (`shape`, in the catalog's CRS), and first, where the relief is known, where it lies.

    `check` is called before each, and raises when nobody waits any more.
    """
    found = []
    if relief := epoch.catalog.layers.get(RELIEF):
        found.append(_picture(epoch, shape, relief, words, title=words("map.place"), far=_FAR))
    for layer in layers:
        check()
        found.append(_picture(epoch, shape, layer, words))
    return tuple(found)


def _picture(epoch: Epoch, shape: shapely.Geometry, layer: Layer, words: Words, *, title: str = "", far: float = 1.0) -> Picture:
    drawing = styles.drawing(told_in(layer, words.lang))
    west, south, east, north = shape.bounds
    wide = max((east - west) * _AROUND, (north - south) * _AROUND * _WIDTH / _HEIGHT, _LEAST) * far
    x, y = (west + east) / 2, (south + north) / 2
    w, s, e, n = epoch.catalog.bounds
    whole = max(e - w, (n - s) * _WIDTH / _HEIGHT)
    if far > 1 and wide > whole and shapely.box(w, s, e, n).contains(shape):  # there is no more to see than the whole map
        wide, x, y = whole, (w + e) / 2, (s + n) / 2
    high = wide * _HEIGHT / _WIDTH
    crs = epoch.catalog.crs
    view = View(crs=crs_of(crs), bbox=(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), width=_WIDTH, height=_HEIGHT)
    image = _hatched()
    drawn = Image.open(io.BytesIO(render([(epoch.mosaic, drawing)], view))).convert("RGBA")
    image.paste(drawn, mask=drawn.getchannel("A"))
    _outline(image, shape, view, paler=not title)
    _scale(image, wide / _WIDTH, words)
    out = io.BytesIO()
    image.save(out, "PNG")
    digits = 0 if wide >= 20_000 else 1
    frame = words("map.frame", width=words.number(wide / 1e3, digits), height=words.number(high / 1e3, digits), crs=crs)
    return Picture(
        layer=layer.id, title=title or drawing.layer.title, frame=frame, map=out.getvalue(), legend=b"" if title else legend.draw(drawing)
    )


def _hatched() -> Image.Image:
    """Ground without data: a pattern that is no colour of a layer."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), (250, 250, 250))
    drawn = ImageDraw.Draw(image)
    for x in range(-_HEIGHT, _WIDTH, 12):
        drawn.line([(x, _HEIGHT), (x + _HEIGHT, 0)], fill=(205, 205, 205))
    return image


def _outline(image: Image.Image, shape: shapely.Geometry, view: View, *, paler: bool) -> None:
    west, _, _, north = view.bbox
    x, y = view.step
    inside = Image.new("L", image.size, 0)
    mask = ImageDraw.Draw(inside)
    rings = []
    for polygon in sorted(_polygons(shape), key=lambda one: -shapely.box(*one.bounds).area):  # what lies in a hole after the hole
        own = [[((e - west) / x, (north - n) / y) for e, n in ring.coords] for ring in (polygon.exterior, *polygon.interiors)]
        for k, ring in enumerate(own):
            mask.polygon(ring, fill=0 if k else 255)
        rings += own
    if paler:
        veil = Image.blend(image, Image.new("RGB", image.size, _HALO), _PALER)
        image.paste(veil, mask=inside.point(lambda value: 255 - value))
    drawn = ImageDraw.Draw(image)
    for width, color in ((6, _HALO), (3, _LINE if paler else _FOUND)):
        for ring in rings:
            drawn.line(ring, fill=color, width=width, joint="curve")


def _polygons(shape: shapely.Geometry) -> Iterator[shapely.Polygon]:
    for part in shapely.get_parts(shape):
        if part.geom_type == "Polygon":
            yield part
        elif hasattr(part, "geoms"):
            yield from _polygons(part)


def _scale(image: Image.Image, metres: float, words: Words) -> None:
    """A bar of a round length, at most a quarter of the map, in its lower left."""
    longest = metres * _WIDTH / 4
    power = 10.0 ** math.floor(math.log10(longest))
    length = power * max(k for k in (1, 2, 5) if k * power <= longest)
    wide = round(length / metres)
    text = f"{words.number(length / 1e3)}{NO_BREAK}km" if length >= 1e3 else f"{words.number(length)}{NO_BREAK}m"
    drawn, face = ImageDraw.Draw(image), legend.font(20)
    left, top, bottom = 18, image.height - 56, image.height - 16
    drawn.rectangle([left - 8, top - 4, left + max(wide, round(face.getlength(text))) + 10, bottom], fill=_HALO, outline=(119, 119, 119))
    drawn.text((left, top - 2), legend.plain(text), fill=_LINE, font=face)
    drawn.rectangle([left, bottom - 14, left + wide, bottom - 8], fill=_LINE)
    drawn.rectangle([left + wide // 2, bottom - 13, left + wide - 1, bottom - 9], fill=_HALO)
