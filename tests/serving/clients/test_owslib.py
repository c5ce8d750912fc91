"""OWSLib, the client of Python programs: it decides the order of axes itself, from version and CRS."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from owslib.wms import WebMapService

from geoplantnet.serving.legend import draw
from geoplantnet.serving.styles import drawing

VERSIONS = {"1.3.0": ("EPSG:3035", "EPSG:3857", "EPSG:4326", "CRS:84"), "1.1.1": ("EPSG:3035", "EPSG:3857", "EPSG:4326")}
CASES = [(version, crs) for version, known in VERSIONS.items() for crs in known]


@pytest.mark.parametrize(("version", "crs"), CASES)
def test_every_place_is_where_it_is(server, views, assert_in_place, rgba, version, crs):
    """Corner, hole and single cell of a map got by OWSLib lie within a pixel of their ground positions."""
    wms = WebMapService(f"{server}/wms", version=version)
    for view in views(crs):
        size = (view.width, view.height)
        image = wms.getmap(
            layers=["habitat"], styles=["default"], srs=crs, bbox=view.bounds, size=size, format="image/png", transparent=True
        )
        assert_in_place(rgba(image.read()), view)


@pytest.mark.parametrize(("version", "crs"), CASES)
def test_a_pixel_tells_the_stored_value(server, views, places, version, crs):
    """GetFeatureInfo of the pixel over a known cell is the number stored in that cell."""
    wms = WebMapService(f"{server}/wms", version=version)
    for (east, north), stored in places.items():
        x, y = (east, north)
        view = type(views(crs)[0]).around((x - 400, y - 400, x + 400, y + 400), crs, 61, 40)
        answer = wms.getfeatureinfo(
            layers=["richness"],
            styles=[""],
            srs=crs,
            bbox=view.bounds,
            size=(view.width, view.height),
            format="image/png",
            query_layers=["richness"],
            info_format="application/json",
            xy=view.pixel_of(x, y),
        )
        (feature,) = json.loads(answer.read())["features"]
        assert feature["properties"]["value"] == pytest.approx(stored, rel=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_legend_is_found_by_the_capabilities(server, catalog, rgba, version):
    """The legend OWSLib is pointed to is the picture of the layer's classes."""
    wms = WebMapService(f"{server}/wms", version=version)
    picture = httpx.get(wms["habitat"].styles["default"]["legend"]).content
    np.testing.assert_array_equal(rgba(picture), rgba(draw(drawing(catalog.layer("habitat")))))
