"""Products on disk and their STAC catalog (floor 4): `Product`, `Layer`, `Catalog`.

    geotiff      array -> cloud-optimised GeoTIFF      geopackage   species coverage -> GeoPackage
    relief       elevation -> hillshade                stac         products -> items, collection, catalog
    overview     a catalog seen from afar: a raster an asset, a store of all species
    catalog      open it for serving, check its bytes    geoparquet   species coverage of many tiles -> GeoParquet
    species_records   what records show of every species -> Parquet
    points       records with places -> GeoParquet or GeoPackage
    postgis      species coverage -> PostGIS; imported by its own name, since it needs psycopg

Runs without torch.
"""

from geoplantnet.catalog.catalog import Catalog, Finding, PublishedTile, check, open_catalog
from geoplantnet.catalog.coverage import TileCoverage
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.geoparquet import write_geoparquet
from geoplantnet.catalog.geotiff import Encoded, decode, encode, read_header, write_cog
from geoplantnet.catalog.product import COG, GEOPACKAGE, ZARR, Layer, LegendClass, Product, Uncertainty
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
    "TileCoverage",
    "Uncertainty",
    "check",
    "decode",
    "encode",
    "hillshade",
    "open_catalog",
    "read_header",
    "write_catalog",
    "write_cog",
    "write_coverage",
    "write_geoparquet",
    "write_item",
]
