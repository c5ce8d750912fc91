"""The pictures of docs/qgis.md: QGIS itself opens a server's project, identifies a place, and takes up the style of a downloaded file.

geoplantnet serve alps
cd docs/img && PICTURED=http://127.0.0.1:8080 xvfb-run -a -s "-screen 0 1280x760x24" \
    qgis --nologo --noversioncheck --noplugins --code qgis.py

`PICTURED` is the server; QGIS hands a script no arguments. Written with QGIS 3.22 on Debian 12 (qgis, python3-qgis, xvfb).
"""

import os
import tempfile
import urllib.request
from pathlib import Path

from qgis.core import QgsPointXY, QgsProject, QgsRectangle
from qgis.PyQt.QtCore import QEventLoop, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDockWidget, QTreeWidget
from qgis.utils import iface

SERVER = os.environ["PICTURED"].rstrip("/")
TILE, AREA = "25kmE4150N2600", QgsRectangle(4_131_000, 2_576_500, 4_172_000, 2_624_500)
CLICKED = QgsPointXY(4_146_025, 2_588_025)
window, canvas, folder = iface.mainWindow(), iface.mapCanvas(), Path(tempfile.mkdtemp())


def fetched(path, name):
    file = folder / name
    with urllib.request.urlopen(f"{SERVER}/{path}") as answer:
        file.write_bytes(answer.read())
    return str(file)


def wait(milliseconds):
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec_()


def drawn():
    """Wait until the map is complete."""
    wait(500)
    canvas.refresh()
    while canvas.isDrawing():
        wait(200)
    wait(1500)  # legends come after the map


def arrange(width):
    """Only the layers panel, wide enough for legends."""
    window.resize(1280, 760)
    docks = {dock.objectName(): dock for dock in window.findChildren(QDockWidget)}
    for name, dock in docks.items():
        dock.setVisible(name == "Layers")
    window.resizeDocks([docks["Layers"]], [width], Qt.Horizontal)
    return docks


def save(name):
    window.grab().toImage().save(name, "JPG", 78)


def picture_of_the_project():
    iface.addProject(fetched("qgis/project.qgs", "project.qgs"))
    docks = arrange(350)
    canvas.setExtent(AREA)
    drawn()
    iface.actionIdentify().trigger()
    at = canvas.getCoordinateTransform().transform(CLICKED)
    QTest.mouseClick(canvas.viewport(), Qt.LeftButton, Qt.NoModifier, at.toQPointF().toPoint())
    wait(2500)
    results = next(dock for dock in window.findChildren(QDockWidget) if "dentify" in dock.windowTitle() and dock not in docks.values())
    for tree in results.findChildren(QTreeWidget):
        tree.expandAll()
    window.resizeDocks([docks["Layers"], results], [410, 330], Qt.Horizontal)
    drawn()
    save("qgis-project.jpg")
    results.close()


def picture_of_a_file():
    QgsProject.instance().clear()
    fetched("qgis/styles/habitat.qml", "habitat.qml")
    layer = iface.addRasterLayer(fetched(f"stac/tiles/{TILE}/habitat.tif", "habitat.tif"), "habitat")
    arrange(480)
    iface.layerTreeView().expandAll()
    QgsProject.instance().setCrs(layer.crs())
    canvas.setExtent(layer.extent())
    drawn()
    save("qgis-file.jpg")


def main():
    try:
        picture_of_the_project()
        picture_of_a_file()
    finally:
        os._exit(0)


QTimer.singleShot(3000, main)
