"""Maps over the network (floor 5): one catalog in, one ASGI application out.

    app           the application and its routes      wms, capabilities    Web Map Service 1.3.0 and 1.1.1
    mosaic        catalog rasters read as one         ogc, providers       OGC APIs, pygeoapi behind a narrow door
    render        layers -> PNG, for every facade     styles, legend       colours, and how a layer is read
    crs           axis order                          exceptions           an error -> HTTP status and OGC code
    tiles, tilematrix   XYZ, and what all tiles share    wmts, wmts_capabilities   Web Map Tile Service 1.0.0
    guard         limits, keys, logs, metrics           files                the catalog's files
    settings      what an operator decides              server               the port and its processes
    web           the page

A facade parses (axis order, styles, names), the mosaic reads, the renderer draws. Runs without torch.
"""

from geoplantnet.serving.app import create_app
from geoplantnet.serving.mosaic import Mosaic
from geoplantnet.serving.render import render

__all__ = ["Mosaic", "create_app", "render"]
