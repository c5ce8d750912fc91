"""Landsat Collection 2 level 2, satellites 4 to 9: surface reflectance, clear by QA_PIXEL, averaged onto the cells."""

from __future__ import annotations

from dataclasses import dataclass

from geoplantnet.sources.composite import Resampling
from geoplantnet.sources.imagery import StacImagery


@dataclass(frozen=True, kw_only=True)
class StacLandsat(StacImagery):
    """Median composites of Landsat scenes of a STAC catalog, made at 30 m; a cell gets the mean of what was seen in it.

    30 m do not nest in the grid, so each 30 m pixel counts with its share of the cell; where some are missing, the others'
    mean stands. Bands go by their common names, which are the same light on every satellite.
    """

    collection: str = "landsat-c2-l2"
    bands: tuple[str, ...] = ("blue", "green", "red", "nir", "swir1", "swir2")
    mask: str = "qa_pixel"
    snow: bool = True
    resampling: Resampling = "average"
    credit: str = "Landsat imagery courtesy of the U.S. Geological Survey"
    licence: str = "public domain"

    __hash__ = StacImagery.__hash__
