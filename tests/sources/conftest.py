"""Scenes of known truth: cloud-optimised GeoTIFFs and a catalog beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from geoplantnet.sources.http import Budget
from geoplantnet.sources.stac import StacEndpoint


class SceneFolder:
    """Writes scenes and their items into one folder. `west`, `north`: corner of the first pixel, in the scene's CRS."""

    def __init__(self, folder: Path, collection: str) -> None:
        self.folder, self.collection = folder, collection
        self.items: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        bands: Mapping[str, np.ndarray],
        *,
        when: str = "2022-06-12T10:16:00Z",
        west: float = 679_980,
        north: float = 5_150_040,
        step: float = 10,
        crs: str = "EPSG:32632",
        properties: Mapping[str, Any] | None = None,
        assets: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One scene: (y, x) arrays by band; the largest has pixels of `step` metres, smaller ones cover the same ground."""
        largest = max(array.shape[1] for array in bands.values())
        height = max(array.shape[0] for array in bands.values())
        profile = {"nodata": 0, "blocksize": 128, "compress": "deflate", "overviews": "none"} | options
        fields: dict[str, Any] = {}
        for band, array in bands.items():
            side = step * largest / array.shape[1]
            path = self.folder / f"{name}_{band}.tif"
            with rasterio.open(
                path,
                "w",
                driver="COG",
                count=1,
                height=array.shape[0],
                width=array.shape[1],
                dtype=array.dtype,
                crs=crs,
                transform=from_origin(west, north, side, side),
                **profile,
            ) as dataset:
                dataset.write(array, 1)
            fields[band] = {"href": path.name, "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"]}
            fields[band] |= (assets or {}).get(band, {})
        box = GeoBox((height, largest), from_origin(west, north, step, step), CRS(crs))
        ring = [list(map(float, point)) for point in box.extent.to_crs("EPSG:4326").exterior.points]
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": self.collection,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [min(p[0] for p in ring), min(p[1] for p in ring), max(p[0] for p in ring), max(p[1] for p in ring)],
            "properties": {"datetime": when, "platform": "sentinel-2a", "proj:epsg": CRS(crs).epsg, **(properties or {})},
            "links": [],
            "assets": fields,
        }
        self.items.append(item)
        return item

    @property
    def endpoint(self) -> StacEndpoint:
        """A catalog of all scenes so far, with a budget that ends soon."""
        path = self.folder / f"{self.collection}.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": self.items}), encoding="utf-8")
        return StacEndpoint(url=str(path), budget=Budget(seconds=30, attempts=2, first_pause=0, longest_pause=0))


@pytest.fixture
def scenes(tmp_path: Path) -> SceneFolder:
    """An empty catalog of Sentinel-2 scenes."""
    return SceneFolder(tmp_path, "sentinel-2-l2a")


@pytest.fixture
def landsat_scenes(tmp_path: Path) -> SceneFolder:
    """An empty catalog of Landsat scenes."""
    return SceneFolder(tmp_path, "landsat-c2-l2")
