"""STAC: from the one root a client reaches today's tiles and those of every scenario, and nothing that is private."""

from __future__ import annotations

import json
from urllib.parse import urljoin, urlsplit


def walk(client, url: str = "/stac/catalog.json") -> dict[str, dict]:
    """All documents that child and item links lead to, by their URL."""
    found, todo = {}, [url]
    while todo:
        one = todo.pop()
        if one in found:
            continue
        answer = client.get(one)
        assert answer.status_code == 200, (one, answer.text)
        found[one] = answer.json()
        todo += [urlsplit(urljoin(one, link["href"])).path for link in found[one]["links"] if link["rel"] in ("child", "item")]
    return found


def test_scenarios_are_children_of_the_root(flora, plants):
    """Both catalogs' items are reached; an asset of a scenario is the scenario's own file, folders of Zarr included."""
    found = walk(flora)
    items = [url for url, document in found.items() if document["type"] == "Feature"]
    assert sum(url.startswith("/stac/scenarios/warmer/") for url in items) == 2 and len(items) == 4
    asset = flora.get("/stac/scenarios/warmer/tiles/5kmE4100N2550/coverage.gpkg")
    assert asset.content == (plants / "scenarios/warmer/tiles/5kmE4100N2550/coverage.gpkg").read_bytes()
    assert flora.get("/stac/scenarios/warmer/assemblage/5kmE4100N2550.zarr/zarr.json").status_code == 200
    for path in ("scenarios/warmer/jobs.sqlite", "scenarios/colder/catalog.json", "scenarios/warmer/scenarios/warmer/catalog.json"):
        assert flora.get(f"/stac/{path}").status_code == 404


def test_the_file_stays_as_it_was_published(plants):
    """What is told of scenarios is not written: the catalog's bytes vouch for what is below them."""
    assert "scenarios" not in (plants / "catalog.json").read_text()


def test_private_layers_are_in_no_scenario_either(serving):
    """A hidden layer is neither in the collection of a scenario nor among its files."""
    client = serving(private_layers=("habitat", "species.cyp*"))
    told = json.dumps(list(walk(client).values()))
    assert "Most likely habitat" not in told and "richness.tif" in told
    for path in ("tiles/5kmE4100N2550/habitat.tif", "tiles/5kmE4100N2550/coverage.gpkg", "assemblage/5kmE4100N2550.zarr/zarr.json"):
        assert client.get(f"/stac/scenarios/warmer/{path}").status_code == 404, path
