"""Maps of another model beside a store's own: the same layers, asked for by the model's name in every service."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.app import create_app
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.serving.settings import ServerSettings
from geoplantnet.taxonomy import SpeciesList
from tests.serving.epochs import SOUTH, SPECIES, WEST, publish_model, richness

EAST_OF, NORTH_OF = WEST + 12_025, SOUTH + 12_025


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_model(tmp_path_factory.mktemp("model"))


def test_a_models_maps_are_told_by_its_name(epochs_store, model):
    """A click, the capabilities and STAC know the model; without its name the store's own map answers, of the same years."""
    client = TestClient(create_app(epochs_store, settings=ServerSettings(models={"forest": model})))
    query = {
        "SERVICE": "WMS",
        "VERSION": "1.3.0",
        "REQUEST": "GetFeatureInfo",
        "LAYERS": "richness",
        "QUERY_LAYERS": "richness",
        "STYLES": "",
        "CRS": "EPSG:3035",
        "BBOX": f"{NORTH_OF - 25},{EAST_OF - 25},{NORTH_OF + 25},{EAST_OF + 25}",
        "WIDTH": 1,
        "HEIGHT": 1,
        "I": 0,
        "J": 0,
        "INFO_FORMAT": "application/json",
    }
    told = [
        client.get("/wms", params=query | more).json()["features"][0]["properties"]["value"]
        for more in ({}, {"DIM_SCENARIO": "warmer"}, {"DIM_SCENARIO": "forest"}, {"TIME": "2018-01-01"})
    ]
    assert told == pytest.approx([richness(EAST_OF, NORTH_OF, warmer) for warmer in (0, 1, 2, 0)])
    assert "today,warmer,forest" in client.get("/wms", params={"SERVICE": "WMS", "REQUEST": "GetCapabilities"}).text
    links = client.get("/stac/catalog.json").json()["links"]
    assert [link["href"] for link in links if link["rel"] == "child"][-1] == "./scenarios/forest/catalog.json"
    assert client.get("/stac/scenarios/forest/catalog.json").status_code == 200


def test_a_species_of_a_model_is_its_own(epochs_store, model):
    """The same species, other probabilities."""
    atlas = open_atlas(epochs_store, models={"forest": model})
    layer = atlas.layer("species.v001")
    own, other = (atlas.epoch(layer, scenario=name).mosaic.value_at(layer, EAST_OF, NORTH_OF) for name in ("today", "forest"))
    assert own is not None and other is not None and other > own
    assert atlas.models == {"forest": model}


def test_a_name_that_is_taken_or_of_other_species_is_refused(epochs_store, model, tmp_path, monkeypatch):
    """At the start, with the fix in words."""
    with pytest.raises(ConfigurationError, match="call the model otherwise"):
        open_atlas(epochs_store, models={"warmer": model})
    with pytest.raises(ConfigurationError, match="small letters"):
        ServerSettings(models={"Random Forest": model})
    monkeypatch.setattr("tests.serving.epochs.SPECIES", SpeciesList(checklist="test", taxa=SPECIES.taxa[::-1]))
    publish_model(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="another list of species"):
        open_atlas(epochs_store, models={"other": tmp_path / "other"})
