"""GDAL's own clients, as Debian has them: WMS by its capabilities and by a description file, and OGC API Features."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest

from geoplantnet.serving.capabilities import INFO_FORMATS

GML = "application/vnd.ogc.gml"
PROGRAMS = ("gdalinfo", "gdal_translate", "gdalwarp", "gdallocationinfo", "ogrinfo")
FIRST = {"EPSG:3035": "yxYX", "EPSG:3857": "xyXY", "EPSG:4326": "yxYX", "CRS:84": "xyXY"}
"""The order of BBOX in WMS 1.3.0, which who writes a description must know; in 1.1.1 it is xyXY."""
CASES = [("1.3.0", crs) for crs in FIRST] + [("1.1.1", crs) for crs in FIRST if crs != "CRS:84"]

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="GDAL's programs are not installed: apt-get install --no-install-recommends gdal-bin"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """GDAL keeps tiles where it is told, not in the working directory."""
    monkeypatch.setenv("GDAL_DEFAULT_WMS_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setenv("GDAL_PAM_ENABLED", "NO")
    yield


def output_of(*command: object) -> str:
    """Standard output of a program that must end well."""
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, f"{command[0]} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


def description(server: str, version: str, view, layer: str, block: int = 64) -> str:
    """A WMS as GDAL describes it: images of `block` pixels a side make up the view."""
    west, south, east, north = view.bounds
    reference = "CRS" if version == "1.3.0" else "SRS"
    order = FIRST[view.crs] if version == "1.3.0" else "xyXY"
    projection = "EPSG:4326" if view.crs == "CRS:84" else view.crs
    return (
        f"<GDAL_WMS><Service name='WMS'><Version>{version}</Version><ServerUrl>{escape(server)}/wms?</ServerUrl>"
        f"<{reference}>{view.crs}</{reference}><BBoxOrder>{order}</BBoxOrder><ImageFormat>image/png</ImageFormat>"
        f"<Layers>{layer}</Layers><Styles></Styles><Transparent>TRUE</Transparent></Service><DataWindow>"
        f"<UpperLeftX>{west!r}</UpperLeftX><UpperLeftY>{north!r}</UpperLeftY><LowerRightX>{east!r}</LowerRightX><LowerRightY>{south!r}</LowerRightY>"
        f"<SizeX>{view.width}</SizeX><SizeY>{view.height}</SizeY></DataWindow><Projection>{projection}</Projection>"
        f"<BandsCount>4</BandsCount><BlockSizeX>{block}</BlockSizeX><BlockSizeY>{block}</BlockSizeY></GDAL_WMS>"
    )


@pytest.mark.parametrize(("version", "crs"), CASES)
def test_every_place_is_where_it_is(server, views, assert_in_place, rgba, tmp_path, version, crs):
    """A map GDAL puts together from images of 64 pixels shows corner, hole and single cell within a pixel of where they lie."""
    for view in views(crs):
        service, picture = tmp_path / "service.xml", tmp_path / "picture.png"
        service.write_text(description(server, version, view, "habitat"))
        output_of("gdal_translate", "-q", "-of", "PNG", service, picture)
        assert_in_place(rgba(picture.read_bytes()), view)


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
def test_the_capabilities_are_enough(server, views, assert_in_place, rgba, tmp_path, version):
    """Given the service's URL alone, GDAL lists the layers and, told to draw one over a window, puts every place where it is."""
    told = json.loads(output_of("gdalinfo", "-json", f"WMS:{server}/wms?SERVICE=WMS&VERSION={version}&REQUEST=GetCapabilities"))
    names = [value for key, value in told["metadata"]["SUBDATASETS"].items() if key.endswith("_NAME") and "LAYERS=habitat&" in value]
    assert len(names) == 1
    for view in views("EPSG:3035"):
        picture = tmp_path / "picture.png"
        window = ("-t_srs", view.crs, "-te", *view.bounds, "-ts", view.width, view.height, "-r", "near", "-overwrite")
        output_of("gdalwarp", "-q", *window, "-of", "PNG", f"{names[0]}&FORMAT=image/png&TRANSPARENT=TRUE", picture)
        assert_in_place(rgba(picture.read_bytes()), view)


@pytest.mark.skipif(GML not in INFO_FORMATS, reason=f"GDAL asks GetFeatureInfo for {GML} alone, which is not served")
@pytest.mark.parametrize("crs", [crs for version, crs in CASES if version == "1.1.1"])
def test_a_pixel_tells_the_stored_value(server, views, places, tmp_path, crs):
    """What gdallocationinfo tells of a known cell holds the number stored in it. It writes X and Y in every version; 1.3.0 wants I and J."""
    for (east, north), stored in places.items():
        view = type(views(crs)[0]).around((east - 400, north - 400, east + 400, north + 400), crs, 61, 40)
        service = tmp_path / "service.xml"
        service.write_text(description(server, "1.1.1", view, "richness"))
        report = ET.fromstring(output_of("gdallocationinfo", "-xml", "-b", 1, service, *view.pixel_of(east, north)))
        (told,) = report.iter("LocationInfo")
        numbers = [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", " ".join(told.itertext()))]
        assert pytest.approx(stored, rel=1e-6) in numbers


def test_features_are_the_tiles(server, catalog, world):
    """OAPIF: every meta-tile is a feature with the polygon of its place, in longitude, latitude."""
    told = output_of("ogrinfo", "-ro", "-al", f"OAPIF:{server}/ogc", "tiles")
    assert "Feature Count: 3" in told
    assert sorted(line.split("= ")[1] for line in told.splitlines() if line.startswith("  tile (String)")) == sorted(world.tiles)
