"""configs/sdm/*.yaml: every shipped recipe makes a model, and what is wrong in one is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from geoplantnet.config.models import load_model_recipe
from geoplantnet.errors import ConfigurationError
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.ensemble import Ensemble

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "sdm").glob("*.yaml"))
GRID = TileGrid()


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_every_shipped_recipe_makes_what_it_says(file):
    """Its model is of the kind named, with the hyper-parameters written."""
    asked = yaml.safe_load(file.read_text(encoding="utf-8"))
    recipe = load_model_recipe(file.stem)
    model = recipe.make(3, GRID)
    assert recipe.title == asked["title"] and model.name == asked["model"]
    if isinstance(model, Deep):
        assert [s.name for s in model.plan.steps] == [s["name"] for s in asked["plan"]["steps"]]
        assert model.architecture.width == asked["architecture"]["width"] and model.plan.seed == 3
    elif isinstance(model, Ensemble):
        assert len(model.members) == sum(m.get("seeds", 1) for m in asked["members"])
    else:
        assert all(getattr(model, key) == value for key, value in asked.items() if key not in ("title", "model"))


def test_the_default_network_is_the_shipped_one():
    """What `Deep()` does without a word is what configs/sdm/deep.yaml says and the benchmarks score."""
    shipped = load_model_recipe("deep").make(0, GRID)
    assert (shipped.architecture, shipped.plan) == (Deep().architecture, Deep().plan)


def test_the_published_recipe():
    """Ung et al.: plots, records, plots; cross-entropy over species, 10 passes over records; late concatenation; three seeds."""
    nets = load_model_recipe("ung").make(0, GRID).members
    assert len({net.plan.seed for net in nets}) == 3
    for net in nets:
        first, records, last = net.plan.steps
        assert (first.pa, first.po, records.pa, records.po, last.pa, last.po) == (1, 0, 0, 1, 1, 0)
        assert records.loss == "cross_entropy" and records.epochs == 10 and net.architecture.fusion == "concatenated"


def test_members_share_their_kinds_weight_and_no_two_have_one_seed(tmp_path):
    """Three nets and a forest at weights 1 and 1: a net counts a third of the forest; seeds of the members and of runs differ."""
    file = tmp_path / "m.yaml"
    file.write_text(
        "model: ensemble\nweights: [1, 1]\nmembers:\n  - {model: deep-sdm, seeds: 3, plan: {steps: [{name: a, epochs: 1, pa: 1}]}}\n"
        "  - {model: random-forest, trees: 7}\n"
    )
    recipe = load_model_recipe(file)
    first, second = recipe.make(0, GRID), recipe.make(1, GRID)
    assert first.weights == pytest.approx((1 / 3, 1 / 3, 1 / 3, 1))
    seeds = [m.plan.seed for made in (first, second) for m in made.members[:3]]
    assert len(set(seeds)) == 6 and first.members[3].trees == 7 and first.members[3].seed != second.members[3].seed
    assert first.members[0] is not recipe.make(0, GRID).members[0]  # a model of its own every time


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: random-forrest", "model: 'random-forrest' is none of .*random-forest"),
        ("title: none", "model: None is none of"),
        ("model: glm\nrigde: 2", "unknown key 'rigde'; allowed: .*Did you mean 'ridge'"),
        ("model: random-forest\ntrees: many", "trees: Input should be a valid integer"),
        ("model: random-forest\ntrees: 0", "at least 1"),
        ("model: deep-sdm\nplan: {steps: [{name: a, epochs: 1, pa: 1, los: x}]}", r"plan.steps.0: unknown key 'los'"),
        ("model: deep-sdm\nplan: {steps: [{name: a, epochs: 1, po: 1, loss: deepmaxent}]}", "no loss 'deepmaxent'"),
        ("model: deep-sdm\nplan: {steps: [{name: a, pa: 1}]}", "epochs or updates"),
        ("model: deep-sdm\narchitecture: {widht: 3}\nplan: {steps: []}", "architecture: unknown key 'widht'"),
        ("model: deep-sdm\narchitecture: 3\nplan: {steps: []}", "architecture: a section was expected"),
        ("model: ensemble", "members: a list of models was expected"),
        ("model: ensemble\nmembers: [glm]", "members.0: a model was expected"),
        ("model: ensemble\nmembers: [{model: glm, seeds: 0}]", "members.0.seeds: a whole number"),
        ("model: ensemble\nmembers: [{model: glm}]\nweights: [1, 2]", "weights: one a member was expected, 1; found 2"),
        ("model: ensemble\nmembers: [{model: glm}]\nweights: 3", "weights: a list of numbers"),
        ("- a", "a mapping of keys was expected"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    """File, key, what is allowed."""
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as raised:
        load_model_recipe(file)
    assert str(file) in str(raised.value)


def test_a_name_nobody_has_lists_those_there_are():
    """With the nearest spelling."""
    with pytest.raises(ConfigurationError, match=r"no model 'ensembel'; there are .*Did you mean 'ensemble'"):
        load_model_recipe("ensembel")
