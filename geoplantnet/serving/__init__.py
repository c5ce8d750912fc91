"""Maps over the network (floor 5): a store in, one ASGI application out.

    atlas         layers by name, epochs, species     app, server          the application; the port and its processes
    fields        cells at several levels             wms, capabilities    Web Map Service 1.3.0 and 1.1.1 (offers, dimensions, info)
    mosaic, warp  cells under the pixels of a map     wmts, tiles          Web Map Tile Service 1.0.0, XYZ (tilematrix)
    render        layers -> image, for every facade   ogc                  OGC APIs, pygeoapi behind a narrow door
    styles        how numbers become colours          qgis                 project, layers and styles for QGIS
    legend        how a layer is read                 stac_files           the files the catalog lists
    crs           axis order                          guard, settings      limits, keys, logs, metrics; what an operator decides
    cache, files  what is kept                        exceptions           an error -> HTTP status and OGC code
    web           the page

A facade parses (axis order, styles, names), the mosaic reads, the renderer draws. Runs without torch.
"""

from geoplantnet.serving.app import create_app
from geoplantnet.serving.mosaic import Mosaic
from geoplantnet.serving.render import render

__all__ = ["Mosaic", "create_app", "render"]
