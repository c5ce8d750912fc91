"""The study of a run: what its recipe and its ledger say, for the model card, the ODMAP protocol and STAC MLM."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyproj import Transformer
from safetensors import SafetensorError, safe_open

from geoplantnet import __version__
from geoplantnet.config.recipe import TrainingSection
from geoplantnet.config.rooms import bounds_of
from geoplantnet.errors import ModelError
from geoplantnet.sdm.study import Predictor, RecordSource, Study
from geoplantnet.storage import sha256
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.tables import stored_species

_SOFTWARE = ("torch", "numpy", "scikit-learn", "rasterio", "pyproj")


def study_of(run: Run) -> Study:
    """Describe a run whose model is trained. Raises ModelError when its ledger has no record of that."""
    ledger, r = Ledger(run.store), run.recipe
    found, trained = ledger.record("occurrences", "all"), ledger.record("train", "model")
    if found is None or trained is None:
        raise ModelError(f"{run.store} has no record of a trained model; make it with `geoplantnet train`")
    degrees = Transformer.from_crs(run.grid.crs, "EPSG:4326", always_xy=True).transform_bounds(*bounds_of(run.grid, run.tiles))
    west, south, east, north = (round(d, 6) for d in degrees)
    nets = sorted(run.model.glob("member-*"))
    weights = [net / "weights.safetensors" for net in nets]
    first = weights[0] if weights and weights[0].is_file() else None
    made = _model_facts(nets[0] / "model.json") if nets else {}
    plan = dict(made.get("facts", {}).get("plan", {}))
    steps = plan.pop("steps", [])
    return Study(
        title=r.title,
        description=r.description,
        notice=r.notice,
        licence=r.licence,
        attribution=r.attribution,
        interval=r.interval,
        crs=run.grid.crs,
        lonlat=(west, south, east, north),
        tiles=len(run.tiles),
        tile_size=run.grid.tile_size,
        cell_size=run.grid.cell_size,
        plot_area=r.map.plot_area,
        species=stored_species(run),
        records=tuple(RecordSource(dataset=name, read=read, used=used) for name, (read, used) in found.stats["by_dataset"].items()),
        events=found.stats["events"],
        rejected=found.stats["rejected"],
        filters=_filters(run),
        predictors=tuple(
            Predictor(
                modality=m, source=r.modalities[m.name].source.kind, learnt=r.modalities[m.name].train, scaling=_scaling(made, m.name)
            )
            for m in run.modalities
        ),
        algorithm="multimodal deep species distribution model: an encoder a modality, gated fusion, one output a species"
        + (f"; the mean of {len(nets)} networks" if len(nets) > 1 else ""),
        architecture="multimodal gated-fusion network",
        settings=_settings(r.training, {**made.get("architecture", {}), **plan}, trained.stats),
        steps=tuple(_step(dict(step)) for step in steps),
        background=r.training.background,
        plots=trained.stats["plots"],
        presence_only_sites=trained.stats["presence_only_sites"],
        block=trained.stats["block"],
        folds=r.validation.folds,
        every_fold=r.validation.held_out == "all",
        tested_on=r.validation.test,
        indicators=r.indicators,
        seed=r.seed,
        software={"geoplantnet": __version__, "python": platform.python_version(), **_versions()},
        parameters=sum(_parameters(file) for file in weights) if first else None,
        weights=str(first) if first else "",
        weights_bytes=first.stat().st_size if first else 0,
        weights_sha256=sha256(first) if first else "",
    )


def _step(section: dict[str, Any]) -> str:
    """Such as "both: epochs 80, pa 1.0, po 0.1"."""
    return f"{section.pop('name')}: " + ", ".join(f"{k} {v}" for k, v in section.items() if v not in (None, 0))


def _settings(training: TrainingSection, learnt: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters: the networks' own as they were recorded, and what the recipe says of records and of what comes after."""
    of_recipe = training.model_dump(mode="json", exclude={"steps", "background", *learnt})
    found = {**of_recipe, **learnt, "members": stats["members"], "calibration": stats["calibration"]}
    return {k: v for k, v in found.items() if v not in (None, [], {}, False)}


def _filters(run: Run) -> tuple[str, ...]:
    r = run.recipe
    said = [f"Species are modelled that were found in at least {r.species.minimum_plots} plots"]
    said[0] += f" and {r.species.minimum_records} presence-only records." if r.species.minimum_records else "."
    if r.quality.bounds:
        said.append(f"Records outside {', '.join(f'{b:g}' for b in r.quality.bounds)} (west, south, east, north; degrees) are refused.")
    if r.quality.maximum_uncertainty:
        said.append(f"Records with more than {r.quality.maximum_uncertainty:g} m of coordinate uncertainty are refused.")
    if r.quality.duplicate_surveys:
        said.append("A survey that repeats another's place, year, plot area and species list is refused.")
    if r.quality.in_tiles:
        said.append("Presence-only records outside the mapped tiles are refused.")
    if thin := r.quality.thin:
        how = "one a taxon in every square" if thin.grid else "no two of a taxon nearer than this"
        said.append(f"Presence-only records are thinned over {thin.distance:g} m: {how}.")
    return tuple(said)


def _model_facts(file: Path) -> Mapping[str, Any]:
    """What the checkpoint says of itself; nothing where there is none."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _scaling(made: Mapping[str, Any], name: str) -> tuple[tuple[float, float], ...]:
    """(mean, std) of every channel of a modality."""
    own = made.get("normalisation", {}).get(name, {})
    return tuple(zip(own.get("mean", ()), own.get("std", ())))


def _versions() -> dict[str, str]:
    found = {}
    for name in _SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _parameters(weights: Path) -> int:
    """Numbers in a file of weights, buffers included."""
    try:
        with safe_open(weights, framework="numpy") as file:
            return sum(_size(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{weights} is damaged ({error}); train again with `geoplantnet train`") from error


def _size(shape: list[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
