"""Floor 4: species distribution models, from training to dense mapping. The only room beside `identify` that needs torch.

    sites         what every model learns from: `Sites`, over patches by position
    models        every `Estimator` by its name; deep, ensemble and the classical ones
    model, train  the network, its steps of training
    evaluate      held-out predictions -> `Evaluation`; explain, calibrate, applicability: what else is said of a model
    predict       a tile's cube -> its latent tile

Names below are imported when they are first asked for, so that what needs no torch does not wait for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoplantnet.sdm.applicability import Applicability
    from geoplantnet.sdm.baselines import LocationOnly, Prevalence
    from geoplantnet.sdm.boosting import Boosting
    from geoplantnet.sdm.calibrate import Calibration
    from geoplantnet.sdm.deep import Deep
    from geoplantnet.sdm.ensemble import Ensemble, joined_head
    from geoplantnet.sdm.estimator import Estimator
    from geoplantnet.sdm.evaluate import Evaluation
    from geoplantnet.sdm.explain import Explanation
    from geoplantnet.sdm.forest import RandomForest
    from geoplantnet.sdm.glm import GLM
    from geoplantnet.sdm.held_out import HeldOut
    from geoplantnet.sdm.losses import LOSSES
    from geoplantnet.sdm.maxent import MaxEnt
    from geoplantnet.sdm.model import Architecture, DeepSDM
    from geoplantnet.sdm.models import MODELS, load_estimator
    from geoplantnet.sdm.predict import predict_tile
    from geoplantnet.sdm.sites import BACKGROUND, Sites, Table, tabulate
    from geoplantnet.sdm.study import Study
    from geoplantnet.sdm.train import Step, TrainingPlan, predict_sites

__all__ = [
    "BACKGROUND",
    "GLM",
    "LOSSES",
    "MODELS",
    "Applicability",
    "Architecture",
    "Boosting",
    "Calibration",
    "Deep",
    "DeepSDM",
    "Ensemble",
    "Estimator",
    "Evaluation",
    "Explanation",
    "HeldOut",
    "LocationOnly",
    "MaxEnt",
    "Prevalence",
    "RandomForest",
    "Sites",
    "Step",
    "Study",
    "Table",
    "TrainingPlan",
    "joined_head",
    "load_estimator",
    "predict_sites",
    "predict_tile",
    "tabulate",
]

_NAMES = {
    "applicability": ("Applicability",),
    "baselines": ("LocationOnly", "Prevalence"),
    "boosting": ("Boosting",),
    "calibrate": ("Calibration",),
    "deep": ("Deep",),
    "ensemble": ("Ensemble", "joined_head"),
    "estimator": ("Estimator",),
    "evaluate": ("Evaluation",),
    "explain": ("Explanation",),
    "forest": ("RandomForest",),
    "glm": ("GLM",),
    "held_out": ("HeldOut",),
    "losses": ("LOSSES",),
    "maxent": ("MaxEnt",),
    "model": ("Architecture", "DeepSDM"),
    "models": ("MODELS", "load_estimator"),
    "predict": ("predict_tile",),
    "sites": ("BACKGROUND", "Sites", "Table", "tabulate"),
    "study": ("Study",),
    "train": ("Step", "TrainingPlan", "predict_sites"),
}
_MODULE = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
