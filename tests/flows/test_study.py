"""The study of a run says what its checkpoints and its ledger say, not what a recipe usually has."""

from __future__ import annotations

import json
import shutil

import pytest

from geoplantnet.errors import ModelError
from geoplantnet.sdm.card import model_card
from geoplantnet.sdm.evaluate import evaluate
from geoplantnet.sdm.model import CLIP
from geoplantnet.sdm.odmap import protocol
from geoplantnet.storage import sha256
from pipelines.context import Run
from pipelines.evaluate import held_out_of
from pipelines.ledger import Ledger
from pipelines.study import study_of


@pytest.fixture
def rewrite(store):
    """Change what a member's checkpoint says of itself."""

    def change(member, **facts):
        file = store / "model" / member / "model.json"
        raw = json.loads(file.read_text(encoding="utf-8"))
        for dotted, value in facts.items():
            *sections, last = dotted.split("__")
            section = raw
            for part in sections:
                section = section[part]
            section[last] = value
        file.write_text(json.dumps(raw), encoding="utf-8")

    return change


def test_how_modalities_meet_is_what_the_network_says(reference, store, rewrite):
    """Gated unless it was trained otherwise."""
    run = Run.open(reference.recipe, store=store)
    assert "gated fusion" in study_of(run).algorithm and "gated" in study_of(run).architecture
    rewrite("member-00", architecture__fusion="concatenated")
    told = study_of(run)
    assert "gated" not in told.algorithm + told.architecture and "concatenation" in told.algorithm and "concatenation" in told.architecture


def test_every_member_is_weighed_and_told_apart(write_recipe, store, rewrite):
    """Checksum, size and parameters of each; a setting they do not share is a list, and is what they differ by."""
    shutil.copytree(store / "model" / "member-00", store / "model" / "member-01")
    rewrite("member-01", facts__plan__seed=4, architecture__dropout=0.0)
    run = Run.open(write_recipe({"validation.held_out": "all", "training.members": "folds"}), store=store)
    told = study_of(run)
    files = [store / "model" / f"member-0{i}" / "weights.safetensors" for i in range(2)]
    assert [(w.name, w.path, w.sha256, w.bytes) for w in told.weights] == [
        (f.parent.name, str(f), sha256(f), f.stat().st_size) for f in files
    ]
    assert told.parameters == sum(w.parameters for w in told.weights) > told.weights[0].parameters > 1000
    assert told.differ_by == ("fold", "dropout", "seed")
    assert told.settings["dropout"] == [0.1, 0.0] and told.settings["seed"] == [3, 4] and told.settings["latent"] == 16
    evaluation = evaluate(held_out_of(run), draws=2)
    for text in (model_card(told, evaluation), protocol(told, evaluation).to_markdown()):
        assert "fitted on all data" not in text and "the mean of the folds' own models" in text and "logits of 2 networks" in text
    rewrite("member-01", normalisation__terrain__mean=[0.0] * 5)
    assert next(p for p in study_of(run).predictors if p.modality.name == "terrain").scaling == ()
    shutil.rmtree(store / "model" / "member-01")
    (store / "model" / "member-00" / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="damaged"):
        study_of(run)


def test_losses_are_told_where_records_are_learnt_by_them(reference, store, rewrite):
    """Plots alone have no loss of records; pseudo-labels are learnt as plots."""
    run, step = (
        Run.open(reference.recipe, store=store),
        {"name": "s", "epochs": 1, "loss": "cross_entropy", "pa": 1.0, "po": 0.0, "pseudo": None},
    )
    told = study_of(run)
    assert told.record_losses == ("deep_maxent",) and ["deep_maxent" in words for words in told.steps] == [False, True]
    steps = [step, {**step, "name": "t", "po": 1.0}, {**step, "name": "u", "po": 1.0, "loss": "deep_maxent", "pseudo": [0.05, 0.4]}]
    rewrite("member-00", facts__plan__steps=steps)
    told = study_of(run)
    assert told.record_losses == ("cross_entropy",)
    assert ["loss" in words for words in told.steps] == [False, True, False]


def test_filters_by_place_post_processing_and_novelty_are_those_of_the_run(write_recipe, store):
    """From recipe and ledger; the share outside is that of the tiles mapped by this very model."""
    changes = {
        "quality": {"bounds": [5.0, 45.0, 12.0, 48.0], "in_tiles": True, "maximum_uncertainty": 100},
        "map.require_any": ["terrain"],
        "validation.buffer": 300.0,
    }
    run = Run.open(write_recipe(changes), store=store)
    told, trained = study_of(run), Ledger(store).record("train", "model").stats
    assert len(told.clipping) == 2 and set(told.clipping) < set(told.filters) and "rectangle around 5, 45, 12, 48" in told.clipping[0]
    assert told.post_processing == ("Cells without any of terrain stay empty.",) and told.buffer == 300 and told.clip == CLIP
    assert told.dissimilarity == trained["applicability"] and told.extrapolated is None  # the recipe maps otherwise than the tiles were


def test_a_store_without_a_network_has_no_study(reference, store):
    """The verb that makes one is named."""
    for member in (store / "model").glob("member-*"):
        shutil.rmtree(member)
    with pytest.raises(ModelError, match="geoplantnet train"):
        study_of(Run.open(reference.recipe, store=store))


def test_scenarios_of_the_recipe_are_told(store, write_recipe):
    """What differs, in words, in the ODMAP protocol; without scenarios there are none."""
    climate = {"change": {"add": {"tas": 3.0, "tasmin": -1.5}, "multiply": {"pr": 0.9}}}
    warmer = {"title": "warmer", "interval": ["2070-01-01T00:00:00Z", "2099-12-31T23:59:59Z"], "modalities": {"climate": climate}}
    (told,) = study_of(Run.open(write_recipe({"scenarios": {"hot": warmer}}), store=store)).scenarios
    assert (told.name, told.title) == ("hot", "warmer") and told.differs == ("climate: pr x 0.9, tas + 3, tasmin - 1.5",)
    assert study_of(Run.open(write_recipe(), store=store)).scenarios == ()
