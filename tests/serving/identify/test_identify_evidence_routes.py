"""What stands beside the photos, through the API: projects, the place, similar images, maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.photos import Decoder
from geoplantnet.identify.prior import FixedPrior
from geoplantnet.identify.projects import Project, Projects
from geoplantnet.identify.similarity import ImageIndex, IndexedImage
from geoplantnet.serving import create_app
from geoplantnet.serving.identify.desk import Desk
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon


def identify(client: TestClient, photo: bytes, project: str = "all", **query: Any) -> Any:
    return client.post(f"/v2/identify/{project}", params=query, files=[("images", ("a.jpg", photo))])


@pytest.fixture
def parts(species: SpeciesList, photo: Callable[..., bytes], decoder: Decoder, tmp_path: Path) -> Identifier:
    """Two projects, a place where one species alone is mapped, and an index of licensed and unlicensed photos."""
    network = FakeNetwork(species)
    projects = Projects(
        species=species,
        items=(
            Project(id="primroses", title="Primroses", species=np.array([0, 1])),
            Project(id="others", title="Others", species=np.array([2, 3, 4, 5])),
        ),
    )
    present = np.full(len(species), 0.01, np.float32)
    present[3] = 0.9
    images, features = [], []
    for i in range(40):
        file = tmp_path / f"indexed{i}.jpg"
        file.write_bytes(photo(100 + i, size=(300, 200)))
        features.append(network(decoder.square(file.read_bytes(), 32)[None]).features[0])
        images.append(
            IndexedImage(
                image=str(file),
                observation=f"o{i // 2}",
                species=species[i % 6].taxon_id,
                organ="leaf" if i % 2 else "flower",
                author=f"Author {i}",
                license="CC BY-SA 4.0" if i % 4 else "all rights reserved",
                date="2025-06-01",
            )
        )
    index = ImageIndex.train(np.stack(features), bits=64)
    index.add(np.stack(features), images)
    return Identifier(network, projects=projects, prior=FixedPrior(probabilities=present), index=index)


def test_a_project_keeps_its_own_species_and_tells_what_it_left_out(
    client_of: Callable[..., TestClient], parts: Identifier, photo: Callable[..., bytes]
) -> None:
    """Scores of a project sum to one; the likeliest outside of it are told apart; a project that does not fit names one that does."""
    client = client_of(identifier=parts)
    listed = client.get("/v2/projects").json()
    assert [(one["id"], one["speciesCount"]) for one in listed] == [("all", 6), ("primroses", 2), ("others", 4)]
    assert client.get("/v2/projects", params={"lang": "fr"}).json()[0]["title"] == "Toutes les espèces"
    assert [one["id"] for one in client.get("/v2/projects/primroses/species").json()] == ["primula-elatior", "primula-veris"]
    switched = set()
    for seed in range(12):
        told = identify(client, photo(seed), "primroses", detailed=True).json()
        assert {one["taxonID"] for one in told["results"]} == {"primula-veris", "primula-elatior"}
        assert sum(one["score"] for one in told["results"]) == pytest.approx(1, abs=1e-4)
        assert not {one["taxonID"] for one in told["otherResults"]["species"]} & {"primula-veris", "primula-elatior"}
        assert told["preferedReferential"] == "primroses"
        switched.add(told.get("switchToProject"))
    assert "others" in switched


def test_the_place_raises_what_grows_there_and_says_so(
    client_of: Callable[..., TestClient], parts: Identifier, photo: Callable[..., bytes]
) -> None:
    """From the query or from the form alike; without a place there is no such evidence."""
    client = client_of(identifier=parts)
    of = lambda told: next(one["score"] for one in told["results"] if one["taxonID"] == "gentiana-verna")  # noqa: E731
    for seed in range(4):
        bare, placed = identify(client, photo(seed)).json(), identify(client, photo(seed), lat="46.4", lon="8.05").json()
        in_form = client.post("/v2/identify/all", files=[("images", ("a.jpg", photo(seed)))], data={"lat": "46.4", "lon": "8.05"}).json()
        assert (bare["evidence"], placed["evidence"]) == ("none", "sdm") and of(placed) > of(bare)
        assert placed["results"] == in_form["results"]


def test_related_images_are_of_the_species_and_only_those_under_an_open_licence(
    client_of: Callable[..., TestClient], parts: Identifier, photo: Callable[..., bytes]
) -> None:
    """Their photos can be had at the addresses told, in three sizes, and no path of this machine is told."""
    client = client_of(identifier=parts)
    answer = identify(client, photo(1), **{"include-related-images": True})
    told = answer.json()
    images = [image for result in told["results"] for image in result["images"]]
    assert images and all(image["license"] == "CC BY-SA 4.0" for image in images)
    assert "indexed" not in answer.text and str(Path.cwd()) not in answer.text
    for url in images[0]["url"].values():
        shown = client.get(url)
        assert shown.status_code == 200 and shown.headers["content-type"] == "image/jpeg" and "max-age" in shown.headers["cache-control"]
    assert "images" not in identify(client, photo(1)).json()["results"][0]


def test_photos_that_were_taken_back_are_not_related(
    client_of: Callable[..., TestClient], parts: Identifier, photo: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index made before still holds them; answers and species' pages do not."""
    client = client_of(identifier=parts)
    images = [
        image for result in identify(client, photo(1), **{"include-related-images": True}).json()["results"] for image in result["images"]
    ]
    taken = images[0]["observation"]
    assert taken
    monkeypatch.setattr(Desk, "not_shown", lambda self, shown: frozenset({taken} & {image.observation for image in shown}))
    answer = identify(client, photo(1), **{"include-related-images": True}).json()
    told = [image["observation"] for result in answer["results"] for image in result["images"]]
    told += [
        image["observation"] for taxon in parts.network.species for image in client.get(f"/v2/species/{taxon.taxon_id}").json()["images"]
    ]
    assert told and taken not in told


@pytest.fixture
def with_maps(client_of: Callable[..., TestClient], epochs_store: Path, parts: Identifier) -> Iterator[TestClient]:
    yield client_of(maps=create_app(epochs_store), identifier=parts)


def test_maps_are_served_beside_with_their_own_guard(with_maps: TestClient) -> None:
    """Their routes, page and errors are what they are alone; ours are ours."""
    assert with_maps.get("/api/layers").status_code == 200
    assert with_maps.get("/wms?SERVICE=WMS&REQUEST=GetCapabilities").headers["content-type"].startswith("text/xml")
    assert with_maps.get("/healthz").json()["layers"] > 0
    assert with_maps.get("/identify/config.json").json()["maps"] is True
    assert with_maps.get("/v2/nothing").json()["statusCode"] == 404
    assert with_maps.post("/wms").status_code == 405
    assert with_maps.delete("/v2/projects").json()["statusCode"] == 405


BOX = {"topLeftLon": 7.2, "topLeftLat": 46.2, "bottomRightLon": 7.35, "bottomRightLat": 46.1}


def test_species_of_a_box_come_from_the_map(with_maps: TestClient) -> None:
    """The widest spread first, with what the net can identify; a box that is none or lies elsewhere is refused."""
    told = with_maps.get("/v2/prediction/geo/species", params=BOX)
    assert told.status_code == 200, told.text
    rows = told.json()["results"]
    assert rows and [row["coverage"] for row in rows] == sorted((row["coverage"] for row in rows), reverse=True)
    assert {row["id"]: row["identifiable"] for row in rows} == {row["id"]: row["id"] == "v003" for row in rows}
    for change, status in (({"topLeftLon": 7.4}, 400), ({"topLeftLat": "x"}, 400), ({"topLeftLat": 95}, 400)):
        assert with_maps.get("/v2/prediction/geo/species", params=BOX | change).status_code == status
    far = {"topLeftLon": -60, "topLeftLat": -10, "bottomRightLon": -59, "bottomRightLat": -11}
    assert with_maps.get("/v2/prediction/geo/species", params=far).status_code in (400, 404)


def test_a_species_is_found_on_the_map_by_its_name_where_ids_are_of_another_checklist(
    client_of: Callable[..., TestClient], epochs_store: Path
) -> None:
    """The net's v002 is the map's v001, with its records; the map's v002 is another plant, and what the map lacks has no map."""
    names = {"v002": "Abies alba", "x": "Primula veris"}
    net = SpeciesList(checklist="another", taxa=tuple(Taxon(taxon_id=key, scientific_name=name) for key, name in names.items()))
    client = client_of(maps=create_app(epochs_store), identifier=Identifier(FakeNetwork(net)))
    told, ours = client.get("/v2/species/v002").json(), client.get("/api/species/v001/records").json()
    assert told["map"]["layer"] == "species.v001" and told["recordCount"] == ours["records"] > 0
    assert told["months"] == ours["months"]["counts"] and told["altitude"] == ours["altitudes"]["classes"]
    assert client.get("/v2/species/x").json()["map"] is None
    box = client.get("/v2/prediction/geo/species", params=BOX).json()["results"]
    assert {row["scientificNameWithoutAuthor"] for row in box if row["identifiable"]} == {"Abies alba"}


def test_photos_of_sensitive_species_are_shown_nowhere(
    client_of: Callable[..., TestClient], parts: Identifier, photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """Neither beside an answer nor on the species' page: who photographed it, when, and of which observation, leads to its place."""
    table = tmp_path / "sensitive.csv"
    table.write_text("taxon,region,category,reason,review\nPicea abies,,2,collected,\n")
    client = client_of(identifier=parts, changes={"sensitive": table})
    told = identify(client, photo(1), **{"include-related-images": True}).json()["results"]
    assert {result["taxonID"] for result in told if not result["images"]} == {"picea-abies"}
    assert client.get("/v2/species/picea-abies").json()["images"] == []


def test_photos_of_the_index_are_shown_of_a_species(client_of: Callable[..., TestClient], parts: Identifier) -> None:
    """Licensed ones alone, one of each observation."""
    client = client_of(identifier=parts)
    images = client.get("/v2/species/picea-abies").json()["images"]
    assert images and {image["license"] for image in images} == {"CC BY-SA 4.0"}
    assert len({image["observation"] for image in images}) == len(images)
    assert client.get(images[0]["url"]["s"]).status_code == 200


def test_without_maps_there_is_no_prediction(client: TestClient) -> None:
    """404 that says why."""
    assert "catalog" in client.get("/v2/prediction/geo/species", params=BOX).json()["message"]
