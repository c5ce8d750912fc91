"""A recipe that names an observation store: what it may say, what it may not, and that its rules are those of trusted queries."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from geoplantnet.config.load import load_recipe
from geoplantnet.config.recipe import ObservationStoreSection, TrustedSection
from geoplantnet.errors import ConfigurationError
from geoplantnet.identify.quality import TrustRules
from pipelines.ledger import paths_in

RECIPE = yaml.safe_load((Path(__file__).parents[1] / "data" / "tiny.yaml").read_text(encoding="utf-8"))
STORE = {"kind": "observations", "store": "observations.sqlite"}
PLOTS = {"kind": "virtual-plots", "plots": 150}
BACKBONE = {"reference": "reference.csv", "synonyms": "synonyms.csv"}


def recipe_of(folder: Path, occurrences: list, **changes):
    recipe = {**copy.deepcopy(RECIPE), "occurrences": occurrences, **changes}
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}), encoding="utf-8")
    return load_recipe(file)


def test_its_rules_are_those_of_trusted_queries():
    """Every rule but the study area, which the recipe has elsewhere, can be set under the same name, and is the same where it is not."""
    rules = {f.name: f.default for f in fields(TrustRules)}
    assert rules.pop("bounds") is None
    assert TrustedSection().model_dump() == rules and TrustRules(**TrustedSection().model_dump()) == TrustRules()


def test_a_store_goes_with_either_world(tmp_path):
    """With plots of a virtual world, or with a backbone beside real records; the store's file is no input by its size and time."""
    _, section = recipe_of(tmp_path, [PLOTS, {**STORE, "trusted": {"ai_score": None, "years": [2010, 2024]}}]).occurrences
    assert isinstance(section, ObservationStoreSection) and section.trusted.years == (2010, 2024) and section.trusted.ai_score is None
    assert list(paths_in(section)) == []
    real = recipe_of(
        tmp_path, [{"kind": "darwin-core", "file": "x.csv"}, STORE], backbone=BACKBONE, world=None, modalities=real_modalities()
    )
    assert [o.kind for o in real.occurrences] == ["darwin-core", "observations"]
    assert recipe_of(tmp_path, [STORE], backbone=BACKBONE).backbone is not None


def real_modalities() -> dict:
    return {"terrain": {"definition": "terrain", "source": {"kind": "terrain", "dems": ["dem.tif"]}}}


@pytest.mark.parametrize(
    ("occurrences", "changes", "said"),
    [
        ([STORE], {"world": None, "modalities": real_modalities()}, "backbone: missing, but real occurrences need it"),
        ([STORE, {"kind": "darwin-core", "file": "x.csv"}], {}, "backbone: missing, but real occurrences need it"),
        ([PLOTS, STORE, {"kind": "darwin-core", "file": "x.csv"}], {}, "occurrences mix virtual and real records"),
        ([PLOTS, {"kind": "observations"}], {}, r"occurrences\.1\.store: missing; add it"),
        ([PLOTS, {**STORE, "trusted": {"ai_skore": 0.9}}], {}, r"trusted\.ai_skore: unknown key .* Did you mean 'ai_score'"),
        ([PLOTS, {**STORE, "trusted": {"ai_score": 1.0}}], {}, r"ai_score: Input should be less than 1"),
        ([PLOTS, {**STORE, "trusted": {"ai_score": None, "validated_by_people": False}}], {}, "neither people nor a model are trusted"),
        ([PLOTS, {**STORE, "trusted": {"years": [2020, 2010]}}], {}, "years .* are empty; give first, last"),
        (
            [PLOTS, {**STORE, "trusted": {"statuses": ["natif"]}}],
            {},
            "'natif' is none of native, introduced, doubtful. Did you mean 'native'",
        ),
        ([PLOTS, {**STORE, "floras": {"regions": "x.gpkg"}}], {}, r"floras\.checklists: missing; add it"),
    ],
)
def test_what_it_may_not_say_is_named(tmp_path, occurrences, changes, said):
    """Key, value, and the fix, as for every other fault of a recipe."""
    with pytest.raises(ConfigurationError, match=said):
        recipe_of(tmp_path, occurrences, **changes)
