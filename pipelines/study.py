"""The study of a run: what its recipe and its ledger say, for the model card, the ODMAP protocol and STAC MLM."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyproj import Transformer
from safetensors import SafetensorError, safe_open

from geoplantnet import __version__
from geoplantnet.config.recipe import OF_MODEL, ScenarioModality, TrainingSection
from geoplantnet.config.rooms import bounds_of
from geoplantnet.errors import ModelError
from geoplantnet.sdm.model import CLIP, Architecture
from geoplantnet.sdm.study import NETWORK, Predictor, RecordSource, Scenario, Study, Weights
from geoplantnet.storage import sha256, size_of
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.maps import extrapolated_share
from pipelines.tables import stored_species

_FUSION = {"gated": "gated fusion of modalities", "concatenated": "concatenation of modalities"}
_KINDS = {
    "glm": "logistic regression with squares",
    "maxent": "MaxEnt with maxnet's features and penalties, calibrated to probabilities",
    "random-forest": "Random Forest",
    "boosting": "gradient boosting (LightGBM)",
}
_OF_TABLE = "on a table of predictors, each modality at the cell and, where its window is wider, its mean over the window"
_SOFTWARE = ("torch", "numpy", "scikit-learn", "rasterio", "pyproj")
_OF_KIND = {"maxent": "elapid", "boosting": "lightgbm"}


def study_of(run: Run) -> Study:
    """Describe a run whose model is trained. Raises ModelError when its ledger has no record of that."""
    ledger, r = Ledger(run.store), run.recipe
    found, trained = ledger.record("occurrences", "all"), ledger.record("train", "model")
    if found is None or trained is None:
        raise ModelError(f"{run.store} has no record of a trained model; make it with `geoplantnet train`")
    degrees = Transformer.from_crs(run.grid.crs, "EPSG:4326", always_xy=True).transform_bounds(*bounds_of(run.grid, run.tiles))
    west, south, east, north = (round(d, 6) for d in degrees)
    nets = sorted(run.model.glob("member-*"))
    if not nets:
        raise ModelError(f"{run.model} holds no model; train again with `geoplantnet train`")
    made = [_model_facts(net / "model.json") for net in nets]
    shares = _model_facts(run.model / "model.json").get("weights") or [1.0] * len(nets)
    settings, steps, differ = _of_members(made)
    algorithm, architecture = _algorithm(made)
    of_folds = r.validation.held_out == "all" and r.training.members == "folds"
    clipping = _clipping(run)
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
        filters=_filters(run) + clipping,
        clipping=clipping,
        predictors=tuple(
            Predictor(
                modality=m, source=r.modalities[m.name].source.kind, learnt=r.modalities[m.name].train, scaling=_scaling(made, m.name)
            )
            for m in run.modalities
        ),
        algorithm=algorithm,
        architecture=architecture,
        settings=_settings(r.training, settings, trained.stats, r.seed),
        steps=tuple(dict.fromkeys(_step(dict(step)) for step in steps)),
        record_losses=tuple(dict.fromkeys(step["loss"] for step in steps if step["po"] and not step["pseudo"])),
        clip=CLIP,
        background=r.training.background,
        plots=trained.stats["plots"],
        presence_only_sites=trained.stats["presence_only_sites"],
        block=trained.stats["block"],
        autocorrelation=trained.stats.get("autocorrelation", {}).get("range"),
        buffer=r.validation.buffer,
        folds=r.validation.folds,
        every_fold=r.validation.held_out == "all",
        members_of_folds=of_folds,
        differ_by=(("fold",) if of_folds and len(nets) > 1 else ()) + differ,
        calibration=trained.stats["calibration"],
        kept_apart={_kind(m) for m in made} == {NETWORK}
        and len({m.get("architecture", {}).get("latent") for m in made}) == 1
        and len(set(shares)) == 1,
        tested_on=r.validation.test,
        indicators=r.indicators,
        dissimilarity=trained.stats.get("applicability"),
        extrapolated=extrapolated_share(run),
        post_processing=_post_processing(run, trained.stats["calibration"]),
        seed=r.seed,
        software={
            "geoplantnet": __version__,
            "python": platform.python_version(),
            **_versions([_OF_KIND[k] for m in made if (k := _kind(m)) in _OF_KIND]),
        },
        weights=tuple(_weights(net, _kind(m), share) for net, m, share in zip(nets, made, shares)),
        scenarios=tuple(
            Scenario(name=name, title=s.title, interval=s.interval, differs=tuple(_differs(*one) for one in s.modalities.items()))
            for name, s in r.scenarios.items()
        ),
    )


def _kind(facts: Mapping[str, Any]) -> str:
    return str(facts.get("estimator", NETWORK))


def _algorithm(made: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What the members are, in words, and their kind in short."""
    nets = [m for m in made if _kind(m) == NETWORK]
    long, short = [], []
    if nets:
        named = dict.fromkeys(m.get("architecture", {}).get("fusion", Architecture.fusion) for m in nets)
        fusion = " or ".join(_FUSION[name] for name in named)
        long.append(f"multimodal deep species distribution model: an encoder a modality, {fusion}, one output a species")
        short.append(f"multimodal network, {fusion}")
    kinds = [kind for kind in dict.fromkeys(map(_kind, made)) if kind != NETWORK]
    if kinds:
        long.append(f"{', '.join(_KINDS[kind] for kind in kinds)} {_OF_TABLE}")
        short += kinds
    several = f"; the mean logit of {len(made)} {'models' if kinds else 'networks'}" if len(made) > 1 else ""
    return "; and ".join(long) + several, " and ".join(short)


def _of_members(made: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]], tuple[str, ...]]:
    """Hyper-parameters of all members, a list where they differ; their steps of training; and the names of what they differ by.

    Members of several kinds differ by kind; a setting then has its kind before its name.
    """
    kinds = list(dict.fromkeys(map(_kind, made)))
    if len(kinds) > 1:
        parts = {kind: _of_members([m for m in made if _kind(m) == kind]) for kind in kinds}
        joined = {f"{kind}.{name}": value for kind, (own, _, _) in parts.items() for name, value in own.items()}
        return joined, [step for _, steps, _ in parts.values() for step in steps], ("kind",)
    plans = [dict(m.get("facts", {}).get("plan", {})) for m in made]
    steps = [plan.pop("steps", []) for plan in plans]
    own = [{**m.get("architecture", {}), **plan, **m.get("parameters", {})} for m, plan in zip(made, plans)]
    names = list(dict.fromkeys(name for settings in own for name in settings))
    values = {name: [settings.get(name) for settings in own] for name in names}
    differ = [name for name, v in values.items() if any(other != v[0] for other in v)]
    joined = {name: v if name in differ else v[0] for name, v in values.items()}
    return joined, [step for of_member in steps for step in of_member], (*differ, *(["steps"] if any(s != steps[0] for s in steps) else []))


def _step(section: dict[str, Any]) -> str:
    """Such as "both: epochs 80, pa 1.0, po 0.1, loss deep_maxent"; the loss is that of presence-only records and left out where none learns."""
    if not section["po"] or section["pseudo"]:
        del section["loss"]
    return f"{section.pop('name')}: " + ", ".join(f"{k} {v}" for k, v in section.items() if v not in (None, 0))


def _settings(training: TrainingSection, learnt: Mapping[str, Any], stats: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Hyper-parameters: the members' own as they were recorded, and what the recipe says of records and of what comes after."""
    of_model = OF_MODEL if training.model else ("steps",)
    of_recipe = training.model_dump(mode="json", exclude={"background", *of_model, *learnt})
    found = {**of_recipe, **learnt, "members": stats["members"], "calibration": stats["calibration"]}
    if found.get("seed") == seed:
        del found["seed"]  # the run's own, said once
    return {k: v for k, v in found.items() if v is not None and v is not False and v not in ([], {})}


def _filters(run: Run) -> tuple[str, ...]:
    r = run.recipe
    said = [f"Species are modelled that were found in at least {r.species.minimum_plots} plots"]
    said[0] += f" and {r.species.minimum_records} presence-only records." if r.species.minimum_records else "."
    if r.quality.maximum_uncertainty:
        said.append(f"Records with more than {r.quality.maximum_uncertainty:g} m of coordinate uncertainty are refused.")
    if r.quality.duplicate_surveys:
        said.append("A survey that repeats another's place, year, plot area and species list is refused.")
    if thin := r.quality.thin:
        how = "one a taxon in every square" if thin.grid else "no two of a taxon nearer than this"
        said.append(f"Presence-only records are thinned over {thin.distance:g} m: {how}.")
    return tuple(said)


def _clipping(run: Run) -> tuple[str, ...]:
    """The filters that go by place."""
    quality, said = run.recipe.quality, []
    if quality.bounds:
        said.append(
            f"Records outside the grid's rectangle around {', '.join(f'{b:g}' for b in quality.bounds)} "
            "(west, south, east, north; degrees) are refused."
        )
    if quality.in_tiles:
        said.append("Presence-only records outside the mapped tiles are refused.")
    return tuple(said)


def _post_processing(run: Run, calibration: str) -> tuple[str, ...]:
    """What becomes of a logit on its way to the map."""
    asked, said = run.recipe.map, []
    if calibration not in ("none", "identity"):
        said.append(f"Logits are calibrated ({calibration.replace('_', ' ')}, learnt on held-out plots).")
    if asked.unavailable:
        bands = "; ".join(f"{name}: {', '.join(of)}" for name, of in asked.unavailable.items())
        said.append(f"Probabilities are multiplied by the share of the cell that can hold plants, 1 minus its shares of {bands}.")
    if asked.require_any:
        said.append(f"Cells without any of {', '.join(asked.require_any)} stay empty.")
    return tuple(said)


def _differs(modality: str, other: ScenarioModality) -> str:
    """What of a modality is another in a scenario, such as "climate: tas + 3, pr x 0.9"."""
    said = [f"source {other.source.kind}"] if other.source else []
    if other.time:
        said.append(f"{other.time.count} {other.time.step}s from {other.time.first}")
    if other.change:
        said += [f"{band} x {factor:g}" for band, factor in other.change.multiply.items()]
        said += [f"{band} {'-' if shift < 0 else '+'} {abs(shift):g}" for band, shift in other.change.add.items()]
    return f"{modality}: {', '.join(said)}"


def _weights(member: Path, kind: str, share: float) -> Weights:
    """What one member has learnt. Raises ModelError when it is missing or damaged."""
    arrays = member / ("weights.safetensors" if kind == NETWORK else "arrays.safetensors")
    path = arrays if kind == NETWORK else member  # trees may be text files beside the arrays
    return Weights(
        name=member.name, path=str(path), parameters=_parameters(arrays), bytes=size_of(path), sha256=sha256(path), kind=kind, weight=share
    )


def _model_facts(file: Path) -> Mapping[str, Any]:
    """What the checkpoint says of itself; nothing where there is none."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _scaling(made: Sequence[Mapping[str, Any]], name: str) -> tuple[tuple[float, float], ...]:
    """(mean, std) of every channel of a modality; () where members, having learnt from other sites, have their own, or a channel has none."""
    every = {tuple(zip(own.get("mean", ()), own.get("std", ()))) for m in made for own in [m.get("normalisation", {}).get(name, {})]}
    common = every.pop() if len(every) == 1 else ()
    return common if all(mean is not None for mean, _ in common) else ()


def _versions(more: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in dict.fromkeys((*_SOFTWARE, *more)):
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
