"""Products on disk and their STAC catalog (floor 4): `Product`, `Layer`, `Catalog`.

    geotiff      array -> cloud-optimised GeoTIFF      geopackage   species coverage -> GeoPackage
    relief       elevation -> hillshade                stac         products -> items, collection, catalog
    catalog      open it for serving, check its bytes

Runs without torch.
"""

from geoplantnet.catalog.catalog import Catalog, Finding, PublishedTile, check, open_catalog
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.geotiff import Encoded, decode, encode, read_header, write_cog
from geoplantnet.catalog.product import COG, GEOPACKAGE, ZARR, Layer, LegendClass, Product
from geoplantnet.catalog.relief import hillshade
from geoplantnet.catalog.stac import write_catalog, write_item

__all__ = [
    "COG",
    "GEOPACKAGE",
    "ZARR",
    "Catalog",
    "Encoded",
    "Finding",
    "Layer",
    "LegendClass",
    "Product",
    "PublishedTile",
    "check",
    "decode",
    "encode",
    "hillshade",
    "open_catalog",
    "read_header",
    "write_catalog",
    "write_cog",
    "write_coverage",
    "write_item",
]
