"""OGC APIs over an atlas: Features, Records, Coverages, Maps, Tiles and Processes. pygeoapi's core behind a narrow door.

door            routes: what reaches pygeoapi, what our own handlers answer        parameters   what requests may carry
collections     what there is, as pygeoapi's configuration                         openapi      the OpenAPI document
features        tiles and species; the provider over them                          pages        documents as HTML
rows            coverage of reporting cells, from GeoPackages or PostGIS
occurrences     records, where they are published
coverages       cells as CoverageJSON and GeoTIFF
"""

from geoplantnet.serving.ogc.collections import configuration, listed
from geoplantnet.serving.ogc.door import OgcApi, ogc_exception

__all__ = ["OgcApi", "configuration", "listed", "ogc_exception"]
