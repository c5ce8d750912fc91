"""The files made for QGIS, without QGIS: XML that holds the legend's colours and the server's layers. `clients/qgis` opens them in QGIS itself."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from starlette.testclient import TestClient

from geoplantnet.catalog import Layer, LegendClass
from geoplantnet.catalog.product import Uncertainty
from geoplantnet.serving import create_app, legend, qgis, styles
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.exceptions import StyleNotDefined
from geoplantnet.serving.mosaic import PREDICTED

FRENCH = Layer(
    id="wet",
    title='Wetness <1 & "more"',
    description="How wet.",
    family="Habitat",
    asset="wet",
    unit="class",
    classes=(
        LegendClass(value=3, label="Wet & <cold>", color="#0000ff", fr="Humide"),
        LegendClass(value=1, label="Dry", color="#ffff00"),
    ),
    fr={"title": "Humidité"},
)


def items(style: bytes) -> list[tuple[float, str, str]]:
    """Value, colour and label of every step of a ramp, or of every class."""
    root = ET.fromstring(style)
    found = [*root.iter("item"), *root.iter("paletteEntry")]
    assert {one.get("alpha") for one in found} == {"255"}
    return [(float(one.get("value", "nan")), one.get("color", ""), one.get("label", "")) for one in found]


def sources(document: bytes) -> dict[str, dict[str, str]]:
    """The data source of every layer of a project or definition, by the layer's id there."""
    maps = {one.findtext("id", ""): parse_qs(one.findtext("datasource", "")) for one in ET.fromstring(document).iter("maplayer")}
    return {name: {key: value for key, (value,) in source.items()} for name, source in maps.items()}


@pytest.mark.parametrize("name", [style + ending for style in styles.PALETTES for ending in ("", "_r")])
def test_a_ramp_between_its_breaks_is_the_servers(catalog, name):
    """Interpolated as QGIS does, a style's colours are those of the map, to 2 % of a channel, in every palette; values lie evenly over the range."""
    layer = dataclasses.replace(catalog.layer("richness"), palette=name, range=(-3.5, 120.25))
    values, colors, _ = zip(*items(qgis.style(layer)), strict=True)
    np.testing.assert_allclose(values, np.linspace(*layer.range, len(values)))
    told = np.array([list(bytes.fromhex(color[1:])) for color in colors], float)
    served = styles.colors(layer).astype(float)
    at = np.linspace(*layer.range, len(served))
    drawn = np.stack([np.interp(at, values, channel) for channel in told.T], axis=1)
    assert np.abs(drawn - served).max() <= 5


def test_breaks_and_labels_are_the_legends(catalog):
    """Colours are those the legend tells; its numbers stand at their values, with the unit; the ends are labelled so."""
    for layer in (one for one in catalog.layers.values() if not one.classes):
        style, described = qgis.style(layer), legend.describe(layer)
        told = items(style)
        assert [color for _, color, _ in told] == described["colors"]
        unit = " species" if layer.unit == "species" else ""
        labels = {value: label for value, _, label in told}
        assert all(labels[tick["value"]] == tick["label"] + unit for tick in described["ticks"])
        ends = next(ET.fromstring(style).iter("rampLegendSettings"))
        assert [ends.get("minimumLabel"), ends.get("maximumLabel")] == [described["ticks"][k]["label"] + unit for k in (0, -1)]


def test_classes_are_a_palette(catalog):
    """Stored values, colours and labels in the legend's order; markup in a label stays text; French where there is any."""
    assert items(qgis.style(FRENCH)) == [(3, "#0000ff", "Wet & <cold>"), (1, "#ffff00", "Dry")]
    assert [label for *_, label in items(qgis.style(FRENCH, language="fr"))] == ["Humide", "Dry"]
    habitat = catalog.layer("habitat")
    assert items(qgis.style(habitat)) == [(c.value, c.color, c.label) for c in habitat.classes]


def test_styles_of_steps_break_where_the_maps_do(catalog):
    """The style `classes`: an item is the upper end of its class, the last one open; colours and labels are the legend's."""
    layer = catalog.layer("richness")
    drawing = styles.drawing(layer, styles.CLASSES)
    root = ET.fromstring(qgis.style(layer, name=styles.CLASSES))
    assert next(root.iter("colorrampshader")).get("colorRampType") == "DISCRETE"
    ends = (*drawing.breaks, float("inf"))
    assert items(ET.tostring(root)) == [(end, c.color, c.label) for end, c in zip(ends, drawing.layer.classes, strict=True)]


def test_what_a_file_holds_of_uncertainty(catalog):
    """The style `uncertainty` draws the band that holds it; `presence`, which none holds, is refused."""
    trust = Uncertainty(band=2, title="Deviation", unit="species", range=(0.0, 9.0))
    layer = dataclasses.replace(catalog.layer("richness"), uncertainty=trust)
    style = qgis.style(layer, name=styles.UNCERTAINTY)
    assert next(ET.fromstring(style).iter("rasterrenderer")).get("band") == "2"
    assert [items(style)[k][0] for k in (0, -1)] == [0, 9]
    with pytest.raises(StyleNotDefined, match="by the server alone"):
        qgis.style(dataclasses.replace(layer, asset=PREDICTED[0]), name=styles.PRESENCE)


def test_a_style_names_the_band(client):
    """Of a published file by default the layer's own, of an export the asked one."""
    for query, band in (("", "3"), ("?band=1", "1")):
        root = ET.fromstring(client.get(f"/qgis/styles/species.v003.qml{query}").content)
        assert next(root.iter("rasterrenderer")).get("band") == band


@pytest.mark.parametrize("path", ["project.qgs", "layers.qlr"])
def test_every_layer_is_in_the_tree_and_asks_this_server(client, server, catalog, path):
    """Leaves of the tree and maps are the same layers, once each; their source is the layer's name at the URL the file came from."""
    document = client.get(f"/qgis/{path}").content
    leaves = [leaf.get("id") for leaf in ET.fromstring(document).iter("layer-tree-layer")]
    found = sources(document)
    assert len(leaves) == len(set(leaves)) == len(catalog.layers) and set(leaves) == set(found)
    assert {source["layers"] for source in found.values()} == set(catalog.layers)
    for source in found.values():
        assert (source["crs"], source["styles"]) == ("EPSG:3035", "default")
        assert source["url"].split("?")[0] == f"{server}/{qgis.SERVICE}"


def test_the_tree_shows_one_map_over_the_relief(client):
    """Families exclude each other, as do the maps of one; checked are the first indicator and the relief, which lies outside."""
    root = ET.fromstring(client.get("/qgis/project.qgs").content).find("layer-tree-group")
    maps, ground = list(root)
    assert maps.get("mutually-exclusive") == "1" and ground.get("name") == "Relief" and ground.get("checked") == "Qt::Checked"
    for group in maps:
        assert group.get("mutually-exclusive") == "1"
        assert [leaf.get("checked") for leaf in group] == ["Qt::Checked", *["Qt::Unchecked"] * (len(group) - 1)]
    assert [group.get("name") for group in maps if group.get("checked") == "Qt::Checked"] == ["Ecosystem"]
    assert list(maps)[int(maps.get("mutually-exclusive-child"))].get("name") == "Ecosystem"


def test_one_layer_alone(client):
    """A species' own .qlr holds this layer only."""
    found = sources(client.get("/qgis/layers/species.v002.qlr").content)
    assert [source["layers"] for source in found.values()] == ["species.v002"]


def test_thousands_of_species_stay_out_of_the_project(client, monkeypatch):
    """A family larger than a project can open leaves no group; its layers are still given one by one."""
    monkeypatch.setattr(qgis, "MAX_FAMILY", 2)
    root = ET.fromstring(client.get("/qgis/project.qgs").content)
    assert "Species" not in {group.get("name") for group in root.iter("layer-tree-group")}
    assert client.get("/qgis/layers/species.v001.qlr").status_code == 200


def test_behind_a_proxy_files_name_the_public_address(store):
    """Sources and nothing else hold the configured URL, not the address the request came by."""
    with TestClient(create_app(store, url="https://maps.example.org/plants")) as inside:
        found = sources(inside.get("/qgis/project.qgs").content)
    assert {source["url"].split("?")[0] for source in found.values()} == {f"https://maps.example.org/plants/{qgis.SERVICE}"}


def test_tiles_instead_of_maps(atlas, monkeypatch):
    """Switched to WMTS, sources name the matrix set of the tiles' CRS and the capabilities, their query kept whole; of several epochs the default."""
    monkeypatch.setattr(qgis, "SERVICE", "wmts")
    found = sources(qgis.project(atlas, qgis.listed(atlas), "http://x"))["geoplantnet_habitat"]
    assert (found["tileMatrixSet"], found["layers"]) == ("EuropeanETRS89_LAEAQuad", "habitat")
    assert found["url"] == "http://x/wmts?SERVICE=WMTS&REQUEST=GetCapabilities" and "tileDimensions" not in found
    monkeypatch.setattr(Atlas, "epochs_of", lambda atlas, layer: atlas.epochs * 2)
    found = sources(qgis.project(atlas, qgis.listed(atlas), "http://x"))["geoplantnet_habitat"]
    assert found["tileDimensions"] == "Time=default;Scenario=default"


def test_a_species_that_is_not_listed_comes_from_its_own_service(atlas, catalog, monkeypatch):
    """QGIS refuses a layer its capabilities do not list: such a species is asked of /wms/species/<id>, of tiles likewise."""
    monkeypatch.setattr(qgis, "SERVICE", "wms")
    rare = dataclasses.replace(catalog.layer("species.v001"), id="species.rare-one")
    (found,) = sources(qgis.layer_definition(atlas, [rare], "http://x")).values()
    assert (found["url"], found["layers"]) == ("http://x/wms/species/rare-one", "species.rare-one")
    monkeypatch.setattr(qgis, "SERVICE", "wmts")
    (found,) = sources(qgis.layer_definition(atlas, [rare], "http://x")).values()
    assert found["url"] == "http://x/wmts/species/rare-one?SERVICE=WMTS&REQUEST=GetCapabilities"


def test_french_titles(atlas, catalog):
    """?lang=fr takes the French title where a layer has one, else the other."""
    document = qgis.layer_definition(atlas, [FRENCH, catalog.layer("richness")], "http://x", language="fr")
    assert [one.findtext("layername") for one in ET.fromstring(document).iter("maplayer")] == ["Humidité", "Species richness"]
    english = qgis.layer_definition(atlas, [FRENCH], "http://x")
    assert next(ET.fromstring(english).iter("maplayer")).findtext("layername") == FRENCH.title


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("styles/richness.qml?band=0", 400, "count from 1"),
        ("styles/richness.qml?band=1e3", 400, "count from 1"),
        ("styles/richness.qml?style=sunset", 400, "has no style"),
        ("styles/habitat.qml?style=magma", 400, "has no style"),
        ("styles/richnes.qml", 404, "Did you mean"),
        ("styles/..%2Fcatalog.qml", 400, ""),
        ("project.qgs?lang=xx", 400, "en or fr"),
        ("layers/none.qlr", 404, "not among"),
    ],
)
def test_what_there_is_not(client, path, status, words):
    """A wrong name, band, style or language is told in words, with the right status."""
    answer = client.get(f"/qgis/{path}")
    assert answer.status_code == status and words in answer.json()["detail"]


def test_files_are_saved_under_their_name(client):
    """A browser saves each as a file QGIS opens by its ending."""
    for path in ("project.qgs", "layers.qlr", "layers/species.v001.qlr", "styles/richness.qml"):
        answer = client.get(f"/qgis/{path}")
        assert f'filename="{path.split("/")[-1]}"' in answer.headers["content-disposition"] and "x-qgis" in answer.headers["content-type"]


def test_values_come_under_the_header_qgis_looks_for(client):
    """GetFeatureInfo's JSON has its type in a header spelt Content-Type: QGIS compares names by letter, and takes other answers for GML."""
    query = "SERVICE=WMS&VERSION=1.3.0&REQUEST=GetFeatureInfo&LAYERS=richness&QUERY_LAYERS=richness&STYLES=&CRS=EPSG:3035&FORMAT=image/png"
    box = "BBOX=2550000,4100000,2600000,4150000&WIDTH=10&HEIGHT=10&I=1&J=1&INFO_FORMAT=application/json"
    assert (b"Content-Type", b"application/json") in client.get(f"/wms?{query}&{box}").headers.raw
