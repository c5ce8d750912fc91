"""How a layer was made: what the catalog keeps of it, in two languages, and what is not known is not made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from geoplantnet.catalog import open_catalog
from geoplantnet.catalog.stac import MADE, multihash
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.planner.how import _WORDS, how_made
from geoplantnet.storage import sha256, write_json

MADE_OF = {
    "inputs": [
        {
            "name": "climate",
            "title": "Climate",
            "resolution_m": 1000.0,
            "from": "2019-01",
            "to": "2020-12",
            "source": "zarr",
            "credit": "ECMWF",
            "licence": "CC-BY",
        },
        {
            "name": "relief",
            "title": "",
            "resolution_m": 25.0,
            "from": None,
            "to": None,
            "source": "virtual-terrain",
            "credit": "x",
            "licence": "",
        },
    ],
    "cell_size_m": 50,
    "plot_area_m2": 100.0,
    "records": {"presence_only": 6000, "presence_absence": 1500, "plots": 300},
    "model": {"name": "deep-sdm", "version": "abc", "members": 3},
    "skill": {"model": {"auc": 0.9, "brier": None, "ece": 0.01, "plots": 300, "species": 112}, "prevalence": {"auc": 0.5}},
    "habitats": {"accuracy": 0.9, "top3": 1.0},
    "calibration": "beta",
    "threshold_rule": "MaxExp (maximum expected F1)",
    "applicability": True,
    "attribution": ["a survey"],
    "software": "geoplantnet 9",
}


def publish_made(root: Path, made: dict[str, object]) -> None:
    """Write into a published collection how it was made, as the publisher does."""
    path = root / "tiles" / "collection.json"
    write_json(path, json.loads(path.read_text()) | {MADE: made})
    catalog = json.loads((root / "catalog.json").read_text())
    child = next(link for link in catalog["links"] if link["rel"] == "child")
    child |= {"file:checksum": multihash(sha256(path)), "file:size": path.stat().st_size}
    write_json(root / "catalog.json", catalog)


@pytest.fixture(scope="module")
def made_atlas(epochs_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    root = tmp_path_factory.mktemp("made") / "store"
    shutil.copytree(epochs_store, root)
    publish_made(root, MADE_OF)
    atlas = open_atlas(root)
    yield atlas
    atlas.close()


def test_what_the_catalog_keeps_is_told(made_atlas):
    """Inputs with resolution, period, licence and whom to name; records, model, skill with names and units, rule, caveats."""
    told = how_made(made_atlas, made_atlas.layer("species.v001"))
    assert told["inputs"] == [
        {"title": "Climate", "detail": "cells of 1000 m; 2019-01 to 2020-12; ECMWF; licence: CC-BY"},
        {"title": "relief", "detail": "cells of 25 m; computed for a virtual landscape, not measured"},
    ]
    assert told["records"] == MADE_OF["records"] and told["model"] == MADE_OF["model"]
    assert [(one["value"], one["unit"], one["of"]) for one in told["skill"]] == [
        (v, "1", "300 plots held out in blocks, 112 species") for v in (0.9, 0.01)
    ]
    assert "MaxExp" in told["threshold_rule"] and told["calibration"] == "beta" and told["software"] == "geoplantnet 9"
    told_caveats = " ".join(told["caveats"])
    for words in ("not observed", "50 m wide", "Climate: 1000 m", "100 m²", "area of applicability", "Many records"):
        assert words in told_caveats
    assert told["period"]["start"].startswith("20") and datetime.fromisoformat(told["date"]) <= datetime.now(UTC)
    habitat = how_made(made_atlas, made_atlas.layer("habitat"))
    assert [one["value"] for one in habitat["skill"]] == [0.9, 1.0]


def test_a_store_that_keeps_nothing_still_answers(epochs_atlas):
    """Of a catalog published before, what is not known is null, and what holds of every map is told."""
    told = how_made(epochs_atlas, epochs_atlas.layer("richness"))
    assert told["inputs"] == [] and told["skill"] == [] and told["threshold_rule"] is None and told["software"] is None
    assert set(told["records"].values()) == set(told["model"].values()) == {None}
    assert told["licence"] and told["caveats"] and told["catalog_version"] == epochs_atlas.catalog.version


def test_what_nobody_counted_is_left_out(made_atlas, monkeypatch):
    """Skill without the numbers of plots and species is of held-out plots, not of None of them."""
    skill = {"model": {name: value for name, value in MADE_OF["skill"]["model"].items() if name not in ("plots", "species")}}
    monkeypatch.setattr(made_atlas.today.mosaic, "catalog", replace(made_atlas.catalog, made=MADE_OF | {"skill": skill}))
    assert {one["of"] for one in how_made(made_atlas, made_atlas.layer("richness"))["skill"]} == {"held-out plots"}


def test_french_says_the_same(made_atlas, epochs_atlas):
    """Every sentence is there in both languages with the same numbers; the answers differ in words alone."""
    english, french = (how_made(made_atlas, made_atlas.layer("richness"), language) for language in ("en", "fr"))
    assert french["title"] == "Richesse spécifique" and french["threshold_rule"] != english["threshold_rule"]
    assert len(french["caveats"]) == len(english["caveats"]) and french["records"] == english["records"]
    assert [one["value"] for one in french["skill"]] == [one["value"] for one in english["skill"]]
    for key, words in _WORDS["en"].items():
        assert _holes(words) == _holes(_WORDS["fr"][key]), key
    assert _WORDS["en"].keys() == _WORDS["fr"].keys()


def _holes(words: str) -> list[str]:
    return sorted(part.partition("}")[0] for part in words.split("{")[1:])


def test_over_http(epochs_client):
    """Of every advertised layer and of species; layers that are not there are 404."""
    for layer in [one["id"] for f in epochs_client.get("/api/layers").json()["families"] for one in f["layers"]] + ["species.v001"]:
        for lang in ("", "fr", "de"):
            assert epochs_client.get(f"/api/layers/{layer}/how?lang={lang}").json()["title"]
    assert epochs_client.get("/api/layers/nothing/how").status_code == 404


def test_catalogs_keep_what_they_are_given(made_atlas, store):
    """`Catalog.made` is what was published; empty where nothing was."""
    assert dict(made_atlas.catalog.made) == MADE_OF and dict(open_catalog(store).made) == {}
