"""A server over the store of species, with a layer of places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from starlette.testclient import TestClient

from geoplantnet.serving import create_app
from geoplantnet.serving.settings import PlaceLayer, ServerSettings

COMMUNES = {
    "Évolène": (7.4, 46.0, 7.6, 46.2),
    "Saint-Martin": (7.3, 46.1, 7.4, 46.2),
    "Val d'Évol": (7.6, 46.0, 7.7, 46.1),
    "": (8, 46, 8.1, 46.1),
}


@pytest.fixture(scope="session")
def communes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GeoPackage in EPSG:3035 of four places, one without a name, and a point."""
    path = tmp_path_factory.mktemp("places") / "communes.gpkg"
    shapes = [*(shapely.box(*box) for box in COMMUNES.values()), shapely.Point(7, 46)]
    gpd.GeoDataFrame({"nom": [*COMMUNES, "point"], "code": range(5)}, geometry=shapes, crs=4326).to_crs(3035).to_file(path)
    return path


@pytest.fixture(scope="session")
def planner(epochs_store: Path, communes: Path) -> Iterator[TestClient]:
    """A client of a server over `epochs_store`."""
    layer = PlaceLayer(id="communes", title="Communes", path=communes, name="nom", attribution="© cadastre")
    app = create_app(epochs_store, settings=ServerSettings(places=(layer,)))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
