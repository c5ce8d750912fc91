"""A model as a STAC item with the machine learning model extension (MLM) v1.4.0: what goes in, what comes out, where the weights lie.

https://github.com/stac-extensions/mlm
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from geoplantnet.cubes.modality import STEM_OVERLAP, Modality
from geoplantnet.errors import InputError
from geoplantnet.sdm.study import Predictor, Study, Weights

SCHEMA = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
REQUIRED = ("mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output")
_NAME, _KEY = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]"), re.compile(r"[0-9a-zA-Z_.-]+")
_STRUCTURE = ("shape", "dim_order", "data_type")


def mlm_item(study: Study) -> dict[str, Any]:
    """The item, checked: an asset a member, since the extension has no word for an ensemble and takes any number of assets of role
    mlm:model; `members` of the hyper-parameters counts them. Assets lead to where `study.weights` says (see `Study.seen_from`).
    """
    west, south, east, north = study.lonlat
    bands = [band for p in study.learnt for band in _bands(p.modality)]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_FILE, SCHEMA],
        "id": slug(study.title),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(study.lonlat),
        "properties": _properties(study) | {"bands": bands},  # here the extension looks for them; the core wants them in an asset, too
        "links": [],
        "assets": {w.name: _asset(w, bands) for w in study.weights},
    }
    check_item(item)
    return item


def check_item(item: Mapping[str, Any]) -> None:
    """Raise InputError unless the item has every field the extension requires, each of the form it requires."""
    properties, faults = item.get("properties", {}), []
    faults += [f"properties.{name} is missing" for name in REQUIRED if not properties.get(name)]
    if SCHEMA not in item.get("stac_extensions", ()):
        faults.append(f"stac_extensions lacks {SCHEMA}")
    if not _NAME.fullmatch(properties.get("mlm:name", "")):
        faults.append(f"mlm:name {properties.get('mlm:name')!r} is not letters, digits, '_', '.', '-' and spaces, a letter first")
    for field, inner, wanted in (("mlm:input", "input", ("name", "bands", "input")), ("mlm:output", "result", ("name", "tasks", "result"))):
        for i, part in enumerate(properties.get(field) or ()):
            faults += [f"{field}[{i}].{name} is missing" for name in wanted if name not in part]
            faults += [f"{field}[{i}].{inner}.{name} is missing" for name in _STRUCTURE if not part.get(inner, {}).get(name)]
    named = {band["name"] for band in properties.get("bands", ())}
    asked = {band for part in properties.get("mlm:input") or () for band in part.get("bands", ())}
    faults += [f"band {band!r} of an input is not described in properties.bands" for band in sorted(asked - named)]
    faults += [
        f"hyper-parameter {key!r} has characters other than letters, digits, '_', '.', '-'"
        for key in properties.get("mlm:hyperparameters", ())
        if not _KEY.fullmatch(key)
    ]
    models = [asset for asset in item.get("assets", {}).values() if "mlm:model" in asset.get("roles", ())]
    if not models or not all(asset.get("href") and asset.get("mlm:artifact_type") for asset in models):
        faults.append("there must be an asset of role mlm:model, and every such one needs an href and an mlm:artifact_type")
    if faults:
        raise InputError(f"no valid STAC MLM item: {'; '.join(faults)}")


def slug(title: str) -> str:
    """A title as an id: letters, digits and '-'; "model" before one that begins with no letter."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower()
    return plain if len(plain) > 2 and plain[0].isalpha() else f"model-{plain or 'sdm'}"


def _asset(weights: Weights, bands: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "href": weights.path,
        "title": f"Weights of {weights.name}",
        "type": "application/octet-stream",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": "safetensors",
        "mlm:total_parameters": weights.parameters,
        "bands": bands,
        "file:size": weights.bytes,
        "file:checksum": f"1220{weights.sha256}",  # a multihash: SHA-256, 32 bytes
    }


def _properties(study: Study) -> dict[str, Any]:
    facts = {
        "title": study.title,
        "description": f"{study.description or study.title} {study.notice}",
        "license": study.licence,
        "datetime": None,
        "start_datetime": study.interval[0],
        "end_datetime": study.interval[1],
        "mlm:name": slug(study.title),
        "mlm:architecture": study.architecture,
        "mlm:tasks": ["classification"],
        "mlm:framework": "PyTorch",
        "mlm:framework_version": study.software.get("torch", ""),
        "mlm:memory_size": sum(w.bytes for w in study.weights),
        "mlm:total_parameters": study.parameters,
        "mlm:pretrained": False,
        "mlm:accelerator_constrained": False,
        "mlm:hyperparameters": {**study.settings, "members": study.members},
        "mlm:input": [_input(p, study) for p in study.learnt],
        "mlm:output": [_output(study)],
    }
    kept = {name: value for name, value in facts.items() if value not in ("", {}) and (value is not None or name == "datetime")}
    return kept | {"mlm:pretrained_source": None}


def _bands(m: Modality) -> list[dict[str, Any]]:
    names = m.long_names or m.bands
    return [
        {"name": f"{m.name}.{band}", "description": words, "unit": unit, "data_type": "float32"}
        for band, words, unit in zip(m.bands, names, m.units)
    ]


def _input(p: Predictor, study: Study) -> dict[str, Any]:
    m = p.modality
    ratio = study.cell_size / m.resolution
    side = round(m.window * ratio + (2 * STEM_OVERLAP if ratio > 1 else 0)) if ratio >= 1 else -1
    channels = max(m.times, 1) * len(m.bands)
    where = "pixels around the cell" if ratio >= 1 else "pixels from which the cell's value is interpolated"
    made: dict[str, Any] = {
        "name": m.name,
        "description": f"{m.title or m.name}: {m.resolution:g} m {where}"
        + (f"; {m.times} {m.time.step}s of every band" if m.time else "")
        + (f"; standardised by training sites, values stop {study.clip:g} standard deviations off" if m.normalisation == "standard" else "")
        + "; NaN = missing",
        "bands": [f"{m.name}.{band}" for band in m.bands],
        "input": {"shape": [-1, channels, side, side], "dim_order": ["batch", "channel", "height", "width"], "data_type": "float32"},
    }
    if len(p.scaling) == channels:
        made["value_scaling"] = [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in p.scaling]
    return made


def _output(study: Study) -> dict[str, Any]:
    calibrated = "" if study.calibration in ("none", "identity") else f", calibrated ({study.calibration})"
    return {
        "name": "probability of presence",
        "description": f"of every species on a plot of {study.plot_area:g} m2: the inverse logit of {study.averaging or 'the network'}{calibrated}",
        "tasks": ["classification"],
        "result": {"shape": [-1, len(study.species)], "dim_order": ["batch", "class"], "data_type": "float32"},
        "classification:classes": [
            {"value": i, "name": re.sub(r"[^0-9A-Za-z_-]", "_", t.taxon_id), "description": t.scientific_name}
            for i, t in enumerate(study.species)
        ],
    }
