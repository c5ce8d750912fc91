"""The model folder of a run: an ensemble of networks, and what was learnt about it.

model.json, member-00, member-01 ...: the networks (`sdm.ensemble.Ensemble.load`, `sdm.models.load_estimator`)
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

CALIBRATION, APPLICABILITY, EXPLANATION, SPECIES_TABLES = "calibration.json", "applicability", "explanation.json", "explanation"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What maps."""

    nets: tuple[DeepSDM, ...]
    """Members of the ensemble, which all count alike."""
    calibration: Calibration
    applicability: Applicability | None

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """Raises ModelError when the folder holds none."""
        ensemble = Ensemble.load(folder, {Deep.name: Deep})
        nets = tuple(net for member in ensemble.members if isinstance(member, Deep) and (net := member.net_) is not None)
        try:
            raw = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"no readable calibration at {folder} ({error}); train again with `geoplantnet train`") from error
        known = (folder / APPLICABILITY).is_dir()
        return cls(
            nets=nets,
            calibration=Calibration.from_dict(raw),
            applicability=Applicability.load(folder / APPLICABILITY) if known else None,
        )

    def heads(self, plot_area: float) -> list[SpeciesHead]:
        """Calibrated species heads of the members, for plots of `plot_area` m2 where they have learnt from areas."""
        return [self.calibration.fold_into(net.species_head(plot_area if net.architecture.plot_area else None)) for net in self.nets]
