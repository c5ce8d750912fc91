"""Every species distribution model by the name recipes and tables call it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from geoplantnet.errors import ModelError
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from geoplantnet.sdm.boosting import Boosting
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.ensemble import Ensemble
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.forest import RandomForest
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.maxent import MaxEnt
from geoplantnet.sdm.tabular import FACTS

MODELS: dict[str, type[Estimator]] = {
    model.name: model
    for model in (
        Prevalence,
        LocationOnly,
        GLM,
        MaxEnt,
        RandomForest,
        Boosting,
        Deep,
        Ensemble,
    )
}


def load_estimator(folder: str | os.PathLike[str]) -> Estimator:
    """Whichever model a folder holds. Raises ModelError when it holds none that is known."""
    try:
        name = json.loads((Path(folder) / FACTS).read_text(encoding="utf-8"))["estimator"]
        kind = MODELS[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"no model of a known kind at {folder} ({error}); there are {', '.join(MODELS)}") from error
    return kind.load(folder)
