"""What stands beside a store's own maps: those of another model, and the same words in French."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from geoplantnet.config.load import find_recipe, load_recipe
from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.app import create_app
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.settings import ServerSettings
from geoplantnet.taxonomy import SpeciesList
from tests.serving.epochs import FRENCH_NOTICE, NOTICE, SOUTH, SPECIES, WEST, publish_model, richness

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


def test_a_model_without_species_tells_none(epochs_store, store):
    """Its maps of indicators are shown; of a place and of an area it is said what there is instead."""
    client = TestClient(create_app(epochs_store, settings=ServerSettings(models={"bare": store})), raise_server_exceptions=False)
    lon, lat = transformer("EPSG:3035", CRS84.name).transform(EAST_OF, NORTH_OF)
    area = {"bbox": [lon, lat, lon + 0.01, lat + 0.01]}
    answers = [
        client.get("/api/here", params={"lon": lon, "lat": lat, "scenario": "bare"}),
        client.post("/ogc/processes/area-report/execution", json={"inputs": {"area": area, "scenario": "bare"}}),
        client.post("/ogc/processes/area-report/execution", json={"inputs": {"area": area, "compare": {"scenario": "bare"}}}),
    ]
    assert [answer.status_code for answer in answers] == [400] * 3
    inputs = {"area": area, "scenario": "bare", "indicators": ["richness"]}
    assert client.post("/ogc/processes/export/execution", json={"inputs": inputs}).status_code == 200
    assert client.post("/ogc/processes/export/execution", json={"inputs": inputs | {"format": "geopackage"}}).status_code == 400
    assert all("use one of today, warmer" in answer.json()["detail"] for answer in answers)


def test_how_a_models_map_was_made_is_told_of_that_model(epochs_store, model):
    """Of the version of its own catalog, not of the store's; of a map there is not it is said which there are."""
    client = TestClient(create_app(epochs_store, settings=ServerSettings(models={"forest": model})))
    told = {name: client.get(f"/api/layers/richness/how?scenario={name}").json() for name in ("", "forest")}
    assert [told[name]["epoch"] for name in told] == ["today", "forest"]
    assert told[""]["catalog_version"] != told["forest"]["catalog_version"]
    refused = client.get("/api/layers/richness/how?scenario=forset")
    assert refused.status_code == 400 and "forest" in refused.json()["detail"]


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


def test_the_publishers_french_is_told_to_who_reads_french(epochs_client):
    """Notice and titles in a click, at a place, in a report and in what the page reads; in English what the publisher gave there."""
    lon, lat = transformer("EPSG:3035", CRS84.name).transform(EAST_OF, NORTH_OF)
    place, area = {"lon": lon, "lat": lat}, {"area": {"bbox": [lon, lat, lon + 0.01, lat + 0.01]}}
    answers = {
        language: [
            epochs_client.get("/api/here", params=place | {"lang": language}).json(),
            epochs_client.post("/ogc/processes/area-report/execution", json={"inputs": area | {"lang": language}}).json(),
        ]
        for language in ("en", "fr")
    }
    said = {language: {(one["notice"], one["epoch"]["title"]) for one in both} for language, both in answers.items()}
    english = epochs_client.get("/api/layers").json()["title"]
    assert said == {"en": {(NOTICE, english)}, "fr": {(FRENCH_NOTICE, "Cartes d'essai 2017")}}
    told = epochs_client.get("/api/layers").json()
    assert told["notice"] == NOTICE and told["fr"] == {"title": "Cartes d'essai 2017", "notice": FRENCH_NOTICE}
    assert [epoch["title_fr"] for epoch in told["epochs"]] == ["Cartes d'essai 2017", "Cartes d'essai 2050"]


def test_a_scenarios_recipe_is_french_where_its_base_is():
    """Title and notice name the scenario in French; without French words there are none to make up."""
    recipe = load_recipe(find_recipe("demo"))
    warmer = recipe.under("warmer").fr
    assert warmer.title == f"{recipe.fr.title} : trois degrés de plus, un dixième plus sec"
    assert warmer.notice.startswith(recipe.fr.notice) and warmer.notice.endswith("Scénario : trois degrés de plus, un dixième plus sec.")
    assert recipe.model_copy(update={"fr": type(recipe.fr)()}).under("warmer").fr == type(recipe.fr)()
