"""An observation store that a recipe names: what its labels stand for, and its trusted records as occurrences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from geoplantnet.config.recipe import FlorasSection, ObservationStoreSection
from geoplantnet.errors import InputError
from geoplantnet.identify.bridge import Bridged, to_occurrences
from geoplantnet.identify.calibration import calibrate
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.quality import TrustRules, trusted
from geoplantnet.identify.regions import Regions, countries
from geoplantnet.sources.http import with_environment
from geoplantnet.taxonomy import Backbone
from pipelines.context import Run
from pipelines.observations import open_store, require_people

if TYPE_CHECKING:
    from geoplantnet.identify.observations import ObservationStore


def labels_mark(section: ObservationStoreSection) -> str:
    """What tells that the store's labels are others than before, for the ledger; empty where there is no store, or no label yet."""
    try:
        with opened(section) as store:
            state = store.state()
    except InputError:
        return ""  # said when it is read
    return state.identity if state else ""


def read_trusted(run: Run, section: ObservationStoreSection, backbone: Backbone | None) -> tuple[Bridged, dict[str, Any]]:
    """The trusted records of a store, and its account: read, trusted by whom, how far a model's score is calibrated, acts not aggregated yet.

    Scores are calibrated on the store's own validated records. Raises InputError for a store without labels,
    and as `require_people`.
    """
    with opened(section) as store:
        if store.state() is None:
            raise InputError(f"{store.name} has no labels yet; make them with `geoplantnet observations aggregate`")
        require_people(store)
        rules = TrustRules(**section.trusted.model_dump(), bounds=run.recipe.quality.bounds)
        calibrations = calibrate(store.records()) if rules.ai_score is not None else {}
        query = trusted(
            store.records(),
            rules,
            calibrations=calibrations,
            floras=_floras(section.floras, backbone) if section.floras else None,
            land=countries() if backbone is not None else None,  # a virtual world lies nowhere
            centroids=_centroids(section.centroids) if section.centroids else None,
            names=store.taxa(),
        )
        found, counts = to_occurrences(query, backbone=backbone), store.statistics()
        account = {
            "store": store.name,
            "read": found.read,
            "verified": found.verified,
            "calibrations": {m: {"method": c.method, "records": c.records, "ece": c.ece_after} for m, c in sorted(calibrations.items())},
            "not_aggregated": counts["logged"] - counts["aggregated"],
        }
    return found, account


def opened(section: ObservationStoreSection) -> ObservationStore:
    """The store of a recipe. Raises ConfigurationError where its address names an environment variable that is not set, and as `open_store`."""
    return open_store(with_environment(section.store))


def _floras(section: FlorasSection, backbone: Backbone | None) -> Floras:
    regions = Regions.read(section.regions, code=section.code) if section.regions else countries()
    return Floras.read(section.checklists, regions, backbone=backbone)


def _centroids(file: Path) -> pd.DataFrame:
    try:
        found = pd.read_csv(file, usecols=["longitude", "latitude"], dtype=float)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is no table of centroids ({error}); it needs the columns longitude, latitude, in degrees") from error
    return found.dropna()
