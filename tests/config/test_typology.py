"""Typologies of habitats: what a file may say, and what stays when it is changed."""

from __future__ import annotations

import json

import pytest

from geoplantnet.config.load import recipe_folders
from geoplantnet.config.typology import load_typology
from geoplantnet.errors import ConfigurationError

SHIPPED = sorted({file.stem for folder in recipe_folders() for file in (folder / "habitats").glob("*.yaml")})
FOREST = {
    "title": "Two forests",
    "title_fr": "Deux forêts",
    "habitats": [
        {"code": "A", "title": "a", "title_fr": "b", "color": "#000000", "dominant": ["Abies alba"]},
        {"code": "B", "title": "c", "title_fr": "d", "color": "#ffffff", "dominant": ["Fagus sylvatica"]},
    ],
}


def written(tmp_path, **changes):
    file = tmp_path / "typology.yaml"
    file.write_text(json.dumps(FOREST | changes), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_typologies_open(name):
    """Every one has words in both languages, colours that differ, and either plants or land cover to tell by."""
    typology = load_typology(name)
    assert len({h.color for h in typology.habitats}) == len(typology.habitats)
    assert all(h.title != h.title_fr and (h.dominant or h.bands) for h in typology.habitats)


def test_a_habitat_keeps_its_value_whichever_others_are_mapped(tmp_path):
    """Values are places in the typology, so that maps of two models can be compared."""
    typology = load_typology(written(tmp_path))
    assert [(h.code, h.value) for h in typology.chosen(("B",))] == [("B", 2)]


def test_words_and_colours_do_not_change_what_is_learnt(tmp_path):
    """Another title or colour leaves the model alone; another species does not."""
    before = load_typology(written(tmp_path)).told_by
    painted = [h | {"title": "x", "color": "#123456"} for h in FOREST["habitats"]]
    assert load_typology(written(tmp_path, title="Other", habitats=painted)).told_by == before
    planted = [FOREST["habitats"][0], FOREST["habitats"][1] | {"dominant": ["Picea abies"]}]
    assert load_typology(written(tmp_path, habitats=planted)).told_by != before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"habitats": FOREST["habitats"][:1]}, "habitats"),
        ({"habitats": [FOREST["habitats"][0], dict(FOREST["habitats"][0])]}, "stand twice"),
        ({"habitats": [FOREST["habitats"][0], FOREST["habitats"][1] | {"dominant": []}]}, "either `dominant` species or `bands`"),
        ({"habitats": [FOREST["habitats"][0], FOREST["habitats"][1] | {"more_of": ["Luzula nivea"]}]}, "go together"),
        ({"habitats": [FOREST["habitats"][0], FOREST["habitats"][1] | {"dominant": [], "bands": ["meadow"]}]}, "or all name `dominant`"),
        ({"modality": "landcover"}, "name `bands` and the typology their `modality`"),
        ({"habitats": [FOREST["habitats"][0], FOREST["habitats"][1] | {"color": "green"}]}, "color"),
        ({"title_fr": None}, "title_fr"),
        ({"colour": "x"}, "colour"),
    ],
)
def test_typologies_that_cannot_be_are_refused(tmp_path, changes, says):
    """With the file, the key and what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        load_typology(written(tmp_path, **changes))


def test_an_unknown_typology_gets_the_nearest_name():
    """Of those that are shipped."""
    with pytest.raises(ConfigurationError, match="eunis_forests"):
        load_typology("eunis_forest")
