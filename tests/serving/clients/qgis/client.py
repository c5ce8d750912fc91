"""QGIS at the end of a pipe, run by the Python that has PyQGIS: a line of JSON asks, a line of JSON answers. No display is needed."""

import json
import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsLayerDefinition,
    QgsLayerTreeGroup,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRaster,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QEventLoop, QSize, Qt, QTimer

FORMATS = {"html": QgsRaster.IdentifyFormatHtml, "text": QgsRaster.IdentifyFormatText, "feature": QgsRaster.IdentifyFormatFeature}
KEPT = []
"""Layers asked for: their parts die with them, whoever still holds one."""


def layer_of(asked):
    layer = QgsRasterLayer(asked["source"], "layer", asked.get("provider", "wms"))
    if not layer.isValid():
        raise RuntimeError(layer.error().message())
    if "style" in asked:
        said, loaded = layer.loadNamedStyle(asked["style"])
        if not loaded:
            raise RuntimeError(said)
    KEPT.append(layer)
    return layer


def draw(asked):
    """Render a layer, or what a project shows, into a PNG."""
    return render(asked, [layer_of(asked)])


def render(asked, layers):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(QgsCoordinateReferenceSystem(asked["crs"].replace("CRS:84", "EPSG:4326")))  # to QGIS a layer in CRS:84 is
    settings.setExtent(QgsRectangle(*asked["bounds"]))
    settings.setOutputSize(QSize(asked["width"], asked["height"]))
    settings.setBackgroundColor(Qt.transparent)
    settings.setOutputDpi(96)
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(asked["file"])
    return [error.message for error in job.errors()]


def identify(asked):
    """What the identify tool gets: text, or the attributes of features."""
    provider = layer_of(asked).dataProvider()
    view = (QgsRectangle(*asked["bounds"]), asked["width"], asked["height"])
    found = provider.identify(QgsPointXY(*asked["at"]), FORMATS[asked["format"]], *view)
    if not found.isValid():
        raise RuntimeError(found.error().message())
    (result,) = found.results().values()
    if asked["format"] != "feature":
        return result
    return [dict(zip(feature.fields().names(), feature.attributes())) for store in result for feature in store.features()]


def legend(asked):
    """Save the picture the layers panel shows below a layer."""
    fetcher = layer_of(asked).dataProvider().getLegendGraphicFetcher(None)
    loop, pictures = QEventLoop(), []
    fetcher.finish.connect(lambda picture: (pictures.append(picture), loop.quit()))
    fetcher.error.connect(lambda said: loop.quit())
    QTimer.singleShot(20_000, loop.quit)
    fetcher.start()
    loop.exec_()
    return bool(pictures) and pictures[0].save(asked["file"])


def value(asked):
    """The number QGIS takes from a raster file at a place; None for no data."""
    number, there = layer_of(asked).dataProvider().sample(QgsPointXY(*asked["at"]), asked["band"])
    return number if there else None


def renderer(asked):
    """What a style made of a layer: the renderer's band, and its colours by value, with labels."""
    made = layer_of(asked).renderer()
    if made.type() == "paletted":
        entries = [(one.value, one.color.name(), one.label) for one in made.classes()]
    else:
        entries = [(one.value, one.color.name(), one.label) for one in made.shader().rasterShaderFunction().colorRampItemList()]
    return {"type": made.type(), "bands": made.usesBands(), "entries": entries}


def project(asked):
    """Open a project and tell what it holds; draw what it shows."""
    opened = QgsProject.instance()
    if not opened.read(asked["project"]):
        raise RuntimeError(opened.error())
    root = opened.layerTreeRoot()
    shown = [node.layer() for node in root.findLayers() if node.isVisible()]
    return {
        "title": opened.title(),
        "crs": opened.crs().authid(),
        "tree": tree_of(root),
        "shown": [layer.name() for layer in shown],
        "errors": render(asked, shown),
    }


def definition(asked):
    """Add a layer definition to an empty project and tell what came of it."""
    opened = QgsProject.instance()
    opened.clear()
    added, said = QgsLayerDefinition.loadLayerDefinition(asked["definition"], opened, opened.layerTreeRoot())
    if not added:
        raise RuntimeError(said)
    return tree_of(opened.layerTreeRoot())


def tree_of(group):
    return [
        {"group": node.name(), "members": tree_of(node)}
        if isinstance(node, QgsLayerTreeGroup)
        else {
            "layer": node.name(),
            "valid": node.layer() is not None and node.layer().isValid(),
            "crs": node.layer().crs().authid(),
            "source": node.layer().source(),
            "identify": node.layer().customProperty("identify/format"),
            "words": node.layer().abstract(),
        }
        for node in group.children()
    ]


def main():
    application = QgsApplication([], False)
    application.initQgis()
    verbs = {function.__name__: function for function in (draw, identify, legend, value, renderer, project, definition)}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": verbs[asked["verb"]](asked)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    sys.stdout.flush()
    os._exit(0)  # QGIS crashes when Python takes its objects apart


main()
