"""The model folder of a run: an ensemble, and what was learnt about it.

model.json, member-00, member-01 ...: its members (`sdm.ensemble.Ensemble.load`, `sdm.models.load_estimator`)
calibration.json: how their mean logit becomes a probability, and how that was chosen
applicability: where they know what they talk about (`sdm.applicability`); absent where no two folds can be compared
held_out: what models that had not seen a plot said of it (`sdm.held_out`)
explanation.json: what they build on, and explanation: the same species by species with responses along the most important bands
    (`sdm.species_report`); neither where the recipe says `training.explain: false`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from geoplantnet.assemblages import SpeciesHead
from geoplantnet.errors import ModelError
from geoplantnet.sdm.applicability import Applicability
from geoplantnet.sdm.calibrate import Calibration
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.ensemble import Ensemble
from geoplantnet.sdm.model import DeepSDM
from geoplantnet.sdm.tabular import FACTS

CALIBRATION, APPLICABILITY, EXPLANATION, SPECIES_TABLES = "calibration.json", "applicability", "explanation.json", "explanation"


def kinds_of(folder: Path) -> tuple[str, ...]:
    """What the members are, as recipes call them, each once. Raises ModelError when the folder holds no ensemble."""
    try:
        members = json.loads((folder / FACTS).read_text(encoding="utf-8"))["members"]
        return tuple(dict.fromkeys(str(member["model"]) for member in members))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"no readable model at {folder} ({error}); train again with `geoplantnet train`") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What maps."""

    model: Ensemble
    calibration: Calibration
    applicability: Applicability | None

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """Raises ModelError when the folder holds none."""
        model = Ensemble.load(folder)
        try:
            raw = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"no readable calibration at {folder} ({error}); train again with `geoplantnet train`") from error
        known = (folder / APPLICABILITY).is_dir()
        return cls(
            model=model,
            calibration=Calibration.from_dict(raw),
            applicability=Applicability.load(folder / APPLICABILITY) if known else None,
        )

    @property
    def nets(self) -> tuple[DeepSDM, ...]:
        """The members, where one latent tile holds them all: networks of one length of latent vector, which count alike. Else ()."""
        found = [member.net_ for member in self.model.members if isinstance(member, Deep) and member.net_ is not None]
        joined = len(found) == len(self.model.members) and len({net.architecture.latent for net in found}) == 1
        return tuple(found) if joined and self.model.weights is None else ()

    def heads(self, plot_area: float) -> list[SpeciesHead]:
        """Calibrated species heads of those, for plots of `plot_area` m2 where they have learnt from areas."""
        return [self.calibration.fold_into(net.species_head(plot_area if net.architecture.plot_area else None)) for net in self.nets]
