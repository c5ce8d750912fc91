"""Draw every indicator of a published catalog on one sheet, by the WMS and legends that people see.

python docs/img/gallery.py STORE FILE.jpg [--bounds WEST SOUTH EAST NORTH] [--layers ID ...] [--columns 4]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image, ImageChops
from starlette.testclient import TestClient

from geoplantnet.serving.app import create_app

SIDE, LEGEND, GAP = 420, 210, 16


def picture(client: TestClient, path: str, **parameters: object) -> Image.Image:
    answer = client.get(path, params={key: str(value) for key, value in parameters.items()})
    answer.raise_for_status()
    return Image.open(io.BytesIO(answer.content)).convert("RGBA")


def card(client: TestClient, layer: str, bounds: tuple[float, ...], relief: bool) -> Image.Image:
    """One layer over the relief, its legend below."""
    west, south, east, north = bounds
    height = round(SIDE * (north - south) / (east - west))
    common = {"service": "WMS", "version": "1.1.1", "srs": "EPSG:3035", "format": "image/png", "styles": "", "transparent": "true"}
    size = {"width": SIDE, "height": height, "bbox": ",".join(f"{b:.0f}" for b in bounds)}
    found = Image.new("RGBA", (SIDE, height + LEGEND), "white")
    drawn = Image.new("RGBA", (SIDE, height), "white")
    drawn.alpha_composite(picture(client, "/wms", request="GetMap", layers=layer, **common, **size))
    if relief:
        shade = Image.new("RGBA", (SIDE, height), "white")
        shade.alpha_composite(picture(client, "/wms", request="GetMap", layers="relief", **common, **size))
        drawn = Image.blend(drawn, ImageChops.multiply(drawn, shade), 0.55)
    found.paste(drawn, (0, 0))
    legend = picture(client, "/wms", service="WMS", version="1.1.1", request="GetLegendGraphic", layer=layer, format="image/png")
    scale = min(1.0, LEGEND / legend.height, SIDE / legend.width)
    legend = legend.resize((round(legend.width * scale), round(legend.height * scale)), Image.Resampling.LANCZOS)
    found.paste(legend, (0, height + 4), legend)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("store", type=Path)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--bounds", type=float, nargs=4)
    arguments.add_argument("--layers", nargs="*")
    arguments.add_argument("--columns", type=int, default=4)
    given = arguments.parse_args()
    with TestClient(create_app(given.store / "catalog.json")) as client:
        told = client.get("/api/layers").json()
        layers = [layer["id"] for family in told["families"] for layer in family["layers"]]
        chosen = given.layers or [name for name in layers if not name.startswith("species.") and name != "relief"]
        bounds = tuple(given.bounds or told["bounds"]["EPSG:3035"])
        cards = [card(client, name, bounds, "relief" in layers) for name in chosen]
    columns = min(given.columns, len(cards))
    rows = -(-len(cards) // columns)
    width, height = cards[0].size
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for i, one in enumerate(cards):
        sheet.paste(one.convert("RGB"), (GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)))
    sheet.save(given.file, quality=85)


if __name__ == "__main__":
    main()
