"""configs/sdm/NAME.yaml -> a species distribution model, not fitted yet.

    title: what it is, in a line
    model: ensemble                      # or one of sdm.models.MODELS
    seeds: 3                             # of every member that has a seed
    members:
      - model: deep-sdm
        architecture: {width: 256}
        plan: {steps: [...]}
      - model: random-forest
        trees: 300

Keys beside `model` are the model's own hyper-parameters; they are checked by name and type before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from geoplantnet.config.load import named_file, read_yaml, recipe_folders
from geoplantnet.config.recipe import Recipe
from geoplantnet.errors import ConfigurationError, GeoPlantNetError, did_you_mean
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.ensemble import Ensemble, flattened
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.maxent import MaxEnt
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.models import MODELS
from geoplantnet.sdm.tabular import FromTable
from geoplantnet.sdm.train import Step, TrainingPlan

LEAST_FOLDS = 3
"""Folds held out from which a calibration is learnt: on two of them it is chosen, on the third it is judged."""


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """A model by its hyper-parameters, ready to be made as often as there are folds."""

    name: str
    """The file's."""
    title: str
    make: Callable[[int, TileGrid], Estimator]
    """make(seed, grid)"""


def load_model_recipe(name: str | os.PathLike[str]) -> ModelRecipe:
    """Read configs/sdm/NAME.yaml, or the file NAME. Raises ConfigurationError naming file, key, what is allowed."""
    file = named_file(name, [folder / "sdm" for folder in recipe_folders()], what="model")
    raw = read_yaml(file)
    title = raw.pop("title", "")
    maker = _maker(raw, str(file))
    maker(0, TileGrid())
    return ModelRecipe(name=file.stem, title=str(title), make=maker)


def mapped_model(recipe: Recipe, seed: int, grid: TileGrid) -> Ensemble:
    """The members, not fitted yet, of the model that `training.model` of a recipe names, each with its share of the mean logit.

    Raises ConfigurationError for a file that cannot be read, and for a model that cannot be mapped, or not as the recipe trains it.
    """
    t = recipe.training
    assert t.model is not None
    try:
        model = flattened(load_model_recipe(t.model).make(seed, grid))
    except ConfigurationError as error:
        raise ConfigurationError(f"training.model: {error}") from error
    if blind := [m.name for m in model.members if not isinstance(m, Deep | FromTable)]:
        seeing = ", ".join(name for name, kind in MODELS.items() if issubclass(kind, Deep | FromTable))
        raise ConfigurationError(
            f"training.model: {t.model!r} has a {blind[0]}, which looks at no predictor of a cell; map one of {seeing}, or an ensemble of them, "
            "and name it under validation.baselines"
        )
    if t.plot_area_offset and (other := [m.name for m in model.members if not isinstance(m, Deep)]):
        raise ConfigurationError(
            f"training.plot_area_offset: {t.model!r} has a {other[0]}, which learns nothing from plot areas; drop the key, or name networks alone"
        )
    calibrated = t.calibration == "auto" and recipe.validation.held_out == "all" and recipe.validation.folds >= LEAST_FOLDS
    if any(isinstance(m, MaxEnt) for m in model.members) and not calibrated:
        raise ConfigurationError(
            f"training.model: {t.model!r} has a maxent, whose relative suitability only calibration on held-out plots makes a probability; "
            f"set validation.held_out: all, validation.folds: {LEAST_FOLDS} or more, and training.calibration: auto"
        )
    return model


def _maker(raw: Mapping[str, Any], where: str) -> Callable[[int, TileGrid], Estimator]:
    kinds = list(MODELS)
    kind = raw.get("model")
    if kind not in kinds:
        raise ConfigurationError(f"{where}: model: {kind!r} is none of {', '.join(kinds)}.{did_you_mean(str(kind), kinds)}")
    values = {key: value for key, value in raw.items() if key != "model"}
    if kind == Ensemble.name:
        return _ensemble(values, where)
    if kind == Deep.name:
        _known(values, ("architecture", "plan"), where)
        architecture: Architecture = _dataclass(Architecture, values.get("architecture", {}), f"{where}: architecture")
        plan: TrainingPlan = _dataclass(TrainingPlan, values.get("plan", {}), f"{where}: plan")
        return lambda seed, grid: Deep(architecture=architecture, plan=replace(plan, seed=plan.seed + seed), grid=grid)
    classical: Any = _dataclass(MODELS[kind], values, where)
    seeded = any(f.name == "seed" for f in fields(classical))
    return lambda seed, grid: replace(classical, seed=classical.seed + seed) if seeded else replace(classical)


def _ensemble(values: Mapping[str, Any], where: str) -> Callable[[int, TileGrid], Estimator]:
    _known(values, ("members", "seeds", "weights"), where)
    members = values.get("members")
    if not isinstance(members, list) or not members:
        raise ConfigurationError(f"{where}: members: a list of models was expected (found {members!r:.80})")
    makers, counts = [], []
    for i, member in enumerate(members):
        if not isinstance(member, dict):
            raise ConfigurationError(f"{where}: members.{i}: a model was expected (found {member!r:.80})")
        own = dict(member)
        counts.append(_count(own.pop("seeds", 1), f"{where}: members.{i}.seeds"))
        makers.append(_maker(own, f"{where}: members.{i}"))
    weights = values.get("weights", [1.0] * len(members))
    if not isinstance(weights, list) or not all(isinstance(w, int | float) for w in weights):
        raise ConfigurationError(f"{where}: weights: a list of numbers was expected (found {weights!r:.80})")
    if len(weights) != len(members):
        raise ConfigurationError(f"{where}: weights: one a member was expected, {len(members)}; found {len(weights)}")
    shares = [w / n for w, n in zip(weights, counts) for _ in range(n)]

    def make(seed: int, grid: TileGrid) -> Estimator:
        return Ensemble([m(1000 * seed + i, grid) for m, n in zip(makers, counts) for i in range(n)], weights=shares)

    return make


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{where}: a whole number of at least 1 was expected (found {value!r})")
    return value


def _known(values: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in allowed:
            raise ConfigurationError(
                f"{where}: unknown key {key!r}; allowed: {', '.join(allowed) or 'none'}.{did_you_mean(str(key), list(allowed))}"
            )


def _dataclass(kind: type, values: Any, where: str) -> Any:
    """A dataclass from YAML, its nested dataclasses too; every key and type checked."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where}: a section was expected (found {values!r:.80})")
    _known(values, tuple(f.name for f in fields(kind) if f.init), where)
    if "steps" in values and isinstance(values["steps"], list):
        for i, step in enumerate(values["steps"]):
            if not isinstance(step, Mapping):
                raise ConfigurationError(f"{where}.steps.{i}: a step was expected (found {step!r:.80})")
            _known(step, tuple(f.name for f in fields(Step)), f"{where}.steps.{i}")
    assert is_dataclass(kind)
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors(include_url=False))
        raise ConfigurationError(f"{where}: {said}") from error
    except GeoPlantNetError as error:  # a rule between several keys, of a model, a plan or a step
        raise ConfigurationError(f"{where}: {error}") from error
