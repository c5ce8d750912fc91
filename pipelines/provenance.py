"""What the catalog keeps of how its maps were made: for a server, which sees the catalog and not the folders of the run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from geoplantnet import __version__
from geoplantnet.cubes.modality import Modality
from pipelines.compute_indicators import SET_RULE
from pipelines.context import Run
from pipelines.ledger import Ledger


def made_of(run: Run) -> dict[str, Any]:
    """Inputs, records, model, skill and rules, JSON-able; a scenario has its base's model and records. What the ledger does not know is None."""
    base = run.base or run
    ledger = Ledger(base.store)
    trained, found = ledger.record("train", "model"), ledger.record("occurrences", "all")
    stats = trained.stats if trained else {}
    return {
        "inputs": [_input(run, modality) for modality in run.model_modalities],
        "cell_size_m": run.grid.cell_size,
        "plot_area_m2": run.recipe.map.plot_area,
        "records": {
            "presence_only": stats.get("presence_only_sites"),
            "presence_absence": stats.get("plots"),
            "plots": stats.get("skill", {}).get("model", {}).get("plots"),
            "datasets": sorted(found.stats.get("by_dataset", {})) if found else [],
        },
        "model": {
            "name": run.recipe.training.model or "deep-sdm",
            "version": trained.content[:12] if trained else None,
            "members": stats.get("members"),
        },
        "skill": stats.get("skill", {}),
        "habitats": {name: value for name, value in stats.get("habitats", {}).items() if name in ("accuracy", "top3")},
        "calibration": stats.get("calibration"),
        "threshold_rule": SET_RULE,
        "applicability": "applicability" in stats,
        "attribution": list(run.recipe.attribution),
        "software": f"geoplantnet {__version__}",
    }


def _input(run: Run, modality: Modality) -> dict[str, Any]:
    """One modality as people are told of it."""
    time = modality.time
    return {
        "name": modality.name,
        "title": modality.title,
        "bands": len(modality.bands),
        "resolution_m": modality.resolution,
        "from": f"{time.periods[0][0]:%Y-%m}" if time else None,
        "to": f"{time.periods[-1][1] - timedelta(days=1):%Y-%m}" if time else None,
        "source": run.recipe.modalities[modality.name].source.kind,
        "credit": modality.credit,
        "licence": modality.licence,
    }
