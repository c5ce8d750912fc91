"""One raster over the files of many tiles, without copying a pixel: VRT (any bands) and GTI (a GeoPackage that lists the files).

A VRT is read by every GDAL, but lists every band of every tile; from thousands of tiles on take a GTI (GDAL 3.9, QGIS 3.40 with it), which
asks a spatial index for the few tiles in view. Both name the files relative to themselves: keep them together when you move them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import geopandas as gpd
import pyogrio
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.errors import RasterioError

from geoplantnet.catalog.geopackage import seal
from geoplantnet.catalog.geotiff import BLOCK, Band, RasterHeader, overview_factors, read_header
from geoplantnet.errors import RasterError, StorageError, UsageError
from geoplantnet.grid.mosaic import place_of, window_around
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.storage import write_beside

MOST_SOURCES = 200_000
"""Bands times tiles of a VRT: more make a file of some 100 MB that takes a program long to open."""

_DTYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32", "float32": "Float32", "float64": "Float64"}  # fmt: skip
_LAYER = "tiles"
_APART = 0.02
"""How far, in cells, an outline of a GTI stays inside its tile. GDAL 3.10 loses a tile when exactly its window is read and the spatial index
also names neighbours that touch it; single precision, as the index has it, is half a metre in Europe.
"""


@dataclass(frozen=True, kw_only=True)
class TileFiles:
    """The same product of several tiles."""

    files: Mapping[MetaTile, Path]
    bands: tuple[int, ...] = ()
    """Which bands, counted from 1; none = all."""


def write_vrt(path: str | Path, products: Sequence[TileFiles], *, title: str) -> Path:
    """Write the bands of all products, one after the other, as one VRT around all tiles; nodata where there is none.

    Raises UsageError for another ending than .vrt or too many bands and tiles, RasterError for files that do not go together.
    """
    final = Path(path)
    if final.suffix != ".vrt":
        raise UsageError(f"{final} does not end in .vrt, by which programs know a VRT; name it so")
    headers = [_common_header(product) for product in products]
    chosen = [product.bands or tuple(range(1, len(header.bands) + 1)) for product, header in zip(products, headers)]
    sources = sum(len(bands) * len(product.files) for product, bands in zip(products, chosen))
    if sources > MOST_SOURCES:
        raise UsageError(
            f"a VRT of {sources:,} bands of tiles (at most {MOST_SOURCES:,}) is slow to open; choose fewer species, or write a GTI"
        )
    window = window_around([tile for product in products for tile in product.files])
    root = ET.Element("VRTDataset", rasterXSize=str(window.shape[1]), rasterYSize=str(window.shape[0]))
    _text(root, "SRS", str(window.crs), dataAxisToSRSAxisMapping="2,1")
    _text(root, "GeoTransform", ", ".join(_number(value) for value in window.affine.to_gdal()))
    _metadata(root, {"title": title})
    number = 0
    for product, header, bands in zip(products, headers, chosen):
        for band in bands:
            number += 1
            element = ET.SubElement(root, "VRTRasterBand", dataType=_DTYPES[header.dtype], band=str(number))
            _describe(element, header.bands[band - 1])
            for tile, file in product.files.items():
                _source(element, final, tile, file, band, header, window)
    ET.indent(root, " ")
    with write_beside(final) as temporary:
        temporary.write_bytes(ET.tostring(root, encoding="utf-8"))
    return final


def write_gti(path: str | Path, product: TileFiles, *, title: str) -> Path:
    """Write the index of a product's files: a GeoPackage of their outlines that GDAL opens as one raster of all their bands.

    Names, scales and units of the bands go into the layer's metadata. Raises UsageError for another ending than .gti.gpkg or a choice of
    bands, RasterError for files that do not go together, StorageError when it cannot be written.
    """
    final = Path(path)
    if not final.name.endswith(".gti.gpkg"):
        raise UsageError(f"{final} does not end in .gti.gpkg, by which GDAL knows a tile index; name it so")
    if product.bands:
        raise UsageError("a GTI lists whole files, with all their bands; write a VRT for some of them")
    header, tiles = _common_header(product), list(product.files)
    rows = gpd.GeoDataFrame(
        {"tile_id": [tile.id for tile in tiles], "location": [_relative(file, final) for file in product.files.values()]},
        geometry=[shapely.box(*tile.bounds).buffer(-_APART * tile.grid.cell_size, join_style="mitre") for tile in tiles],
        crs=tiles[0].grid.crs,
    )
    with write_beside(final) as temporary:
        try:
            pyogrio.write_dataframe(rows, temporary, layer=_LAYER, driver="GPKG", layer_metadata={"title": title})
            with closing(sqlite3.connect(temporary)) as connection, connection:  # in the place of the title, which XML holds as well
                connection.execute("UPDATE gpkg_metadata SET metadata = ?", (_gti_xml(header, window_around(tiles), title),))
            seal(temporary)
        except (DataSourceError, DataLayerError, sqlite3.Error) as error:
            raise StorageError(f"cannot write {final}: {str(error)[-200:]}; free space or choose another place, then run again") from error
    return final


def _common_header(product: TileFiles) -> RasterHeader:
    """The first file's header, which describes all. Raises RasterError, naming the file, where another differs or lies off its tile."""
    first: tuple[Any, ...] | None = None
    for tile, file in product.files.items():
        try:
            with rasterio.open(file, driver="GTiff") as raster:
                said = raster.dtypes, raster.descriptions, raster.units, raster.scales, raster.offsets, raster.nodatavals
                lies = raster.shape == tuple(tile.geobox().shape) and raster.transform == tile.geobox().affine
        except RasterioError as error:
            raise RasterError(f"cannot open {file} as GeoTIFF ({error}); make it again with `geoplantnet publish`") from error
        first = said if first is None else first
        if not lies:
            raise RasterError(f"{file} does not lie on tile {tile.id}; make it again with `geoplantnet publish`")
        if said != first:
            raise RasterError(
                f"{file} has other bands, scales or units than those of the tiles before it; make them all again with one recipe"
            )
    if first is None:
        raise UsageError("there is no file to put together; give at least one tile's")
    return read_header(next(iter(product.files.values())))


def _source(element: ET.Element, vrt: Path, tile: MetaTile, file: Path, band: int, header: RasterHeader, window: GeoBox) -> None:
    """One band of one tile, in its place. What is said of the file here need not be asked of it until a pixel is read."""
    rows, columns = place_of(tile, window)
    height, width = (str(n) for n in header.shape)
    source = ET.SubElement(element, "SimpleSource")
    _text(source, "SourceFilename", _relative(file, vrt), relativeToVRT="1")
    _text(source, "SourceBand", str(band))
    facts = {"RasterXSize": width, "RasterYSize": height, "DataType": _DTYPES[header.dtype]}
    ET.SubElement(source, "SourceProperties", facts | {"BlockXSize": str(BLOCK), "BlockYSize": str(BLOCK)})
    ET.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=width, ySize=height)
    ET.SubElement(source, "DstRect", xOff=str(columns.start), yOff=str(rows.start), xSize=width, ySize=height)


def _gti_xml(header: RasterHeader, window: GeoBox, title: str) -> str:
    """The XML of a GTI, in the metadata domain of its layer where GDAL looks for it (https://gdal.org/drivers/raster/gti.html)."""
    whole = ET.Element("GDALMultiDomainMetadata")
    root = ET.SubElement(ET.SubElement(whole, "Metadata", domain="xml:GTI", format="xml"), "GDALTileIndexDataset")
    west, south, east, north = window.boundingbox.bbox
    step = window.affine.a
    numbers = {"ResX": step, "ResY": step, "MinX": west, "MinY": south, "MaxX": east, "MaxY": north}
    for name, value in {"IndexLayer": _LAYER, **{name: _number(number) for name, number in numbers.items()}}.items():
        _text(root, name, value)
    for number, band in enumerate(header.bands, start=1):
        _describe(ET.SubElement(root, "Band", band=str(number), dataType=_DTYPES[header.dtype]), band)
    _metadata(root, {"title": title})
    for factor in overview_factors(*header.shape):  # those the tiles have
        _text(ET.SubElement(root, "Overview"), "Factor", str(factor))
    return ET.tostring(whole, encoding="unicode")


def _describe(element: ET.Element, band: Band) -> None:
    """What a band's header says, in the words that VRT and GTI share."""
    _text(element, "Description", band.name)
    _text(element, "Offset", _number(band.offset))
    _text(element, "Scale", _number(band.scale))
    if band.nodata is not None:
        _text(element, "NoDataValue", _number(band.nodata))
    if band.unit:
        _text(element, "UnitType", band.unit)
    if band.description:
        _metadata(element, {"long_name": band.description})


def _metadata(element: ET.Element, items: Mapping[str, str]) -> None:
    of = ET.SubElement(element, "Metadata")
    for key, value in items.items():
        _text(of, "MDI", value, key=key)


def _text(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text


def _number(value: float) -> str:
    """The shortest text that is read as the same number."""
    return repr(float(value)).removesuffix(".0")


def _relative(file: Path, index: Path) -> str:
    """The way from an index to a file, links followed: the system follows them, too."""
    return Path(os.path.relpath(file.resolve(), index.parent.resolve())).as_posix()
