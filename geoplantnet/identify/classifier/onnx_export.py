"""A trained classifier as a folder that answers without torch: ONNX, 32-bit or 8-bit, with labels, floras, index and a runner."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from geoplantnet.errors import InputError
from geoplantnet.identify.classifier.model import PhotoClassifier, TorchNetwork
from geoplantnet.identify.network import Network, Outputs
from geoplantnet.identify.offline.network import MODEL, OUTPUTS, PARITY, PROBE, OnnxNetwork, probe_of
from geoplantnet.identify.projects import Projects
from geoplantnet.identify.temperature import probabilities
from geoplantnet.storage import json_text, sha256, write_beside

OPSET = 17
"""Of the graph: onnxruntime since 1.12 and onnxruntime-web run it."""
FEWEST = 16
"""Photos that 8-bit weights need, at least."""
_FLOATS = 2
"""Convolutions at the beginning that stay in 32 bits: the net is closer to itself, and quicker (decision 038)."""
_HEADS = ("species", "organs", "plant")
_TIMED = 10
"""Photos that an export is timed on."""
_HELD = 4
"""Of so many photos the last does not calibrate: what 8 bits lose is measured on these."""


class _OfPixels(nn.Module):
    """The classifier of uint8 photos (n, size, size, 3), as they come out of a decoder."""

    def __init__(self, model: PhotoClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return tuple(self.model(pixels.to(torch.float32).permute(0, 3, 1, 2)))  # type: ignore[return-value]


def export(
    network: TorchNetwork,
    folder: str | os.PathLike[str],
    *,
    int8: bool = True,
    calibration: npt.NDArray[np.uint8] | None = None,
    held: npt.NDArray[np.uint8] | None = None,
    projects: Projects | None = None,
    names: Mapping[str, Mapping[str, list[str]]] | None = None,
    index: Path | None = None,
) -> dict[str, float]:
    """Commit the folder; what it loses beside the net, on photos `held` (n, size, size, 3) that the net did not learn from, its size, and its time.

    `int8`: weights a channel and activations in 8 bits, their ranges from `calibration`; else 32-bit floats. Without `held` one in four of the calibration
    photos is kept from it for the loss; without either the loss is that on noise. `projects`, `names` (language -> taxonID -> names) and `index` (a
    folder `ImageIndex.save` wrote) go with it. Raises InputError for fewer than 16 photos to calibrate with.
    """
    size = network.card.size
    photos = calibration if calibration is not None and len(calibration) else _noise(size)
    of_its_own = held is not None and len(held) > 0
    if int8 and (calibration is None or len(calibration) < FEWEST):
        raise InputError(
            f"{0 if calibration is None else len(calibration)} photos to calibrate 8-bit weights with; give at least {FEWEST}, or keep 32 bits"
        )
    with tempfile.TemporaryDirectory(prefix="geoplantnet-onnx-") as work, write_beside(folder) as temporary:
        temporary.mkdir()
        whole = Path(work) / "whole.onnx"
        _write_graph(network.model, size, whole)
        apart = np.arange(len(photos)) % _HELD == _HELD - 1
        if int8:
            _quantise(whole, temporary / MODEL, photos if of_its_own else photos[~apart])
        else:
            shutil.copyfile(whole, temporary / MODEL)
        (temporary / "labels.json").write_text(json_text(network.species.to_dict()), encoding="utf-8")
        if projects is not None:
            (temporary / "projects.json").write_text(json_text(projects.to_dict()), encoding="utf-8")
        (temporary / "names.json").write_text(json_text(names or {}), encoding="utf-8")
        if index is not None:
            shutil.copytree(index, temporary / "index")
        shutil.copyfile(Path(__file__).parents[1] / "offline" / "identify.py", temporary / "identify.py")
        ran = OnnxNetwork.of_graph(temporary / MODEL, network.card, network.species)
        judged = held if held is not None and of_its_own else photos[apart] if int8 else photos
        lost = parity(network(judged), ran(judged), network.card.temperature)
        told = {**lost, "megabytes": (temporary / MODEL).stat().st_size / 1e6, "bits": 8.0 if int8 else 32.0}
        files = {file.relative_to(temporary).as_posix(): sha256(file) for file in sorted(temporary.rglob("*")) if file.is_file()}
        card = {**network.card.to_dict(), "files": files, PARITY: told, PROBE: probe_of(ran)}
        (temporary / "card.json").write_text(json_text(card), encoding="utf-8")
    return {**told, **_milliseconds(network, OnnxNetwork(folder), judged[:_TIMED])}


def _milliseconds(whole: Network, ours: Network, photos: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Medians of the CPU time of a photo here, the two nets in turns; of this machine, so not in the card."""
    spent: dict[str, list[float]] = {"milliseconds": [], "milliseconds_before": []}
    for photo in photos:
        for name, net in zip(spent, (ours, whole), strict=True):
            start = time.process_time()
            net(photo[None])
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: median(values) for name, values in spent.items()}


def parity(whole: Outputs, ours: Outputs, temperature: float) -> dict[str, float]:
    """How far two runs of a net on the same photos differ: share with the same first species, largest and mean difference of a probability, least cosine
    of features.
    """
    p, q = probabilities(whole.logits, temperature), probabilities(ours.logits, temperature)
    return {
        "photos": float(len(p)),
        "same_first": float((p.argmax(axis=1) == q.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(p - q).max()),
        "mean_difference": float(np.abs(p - q).max(axis=1).mean()),
        "least_cosine": float((whole.features * ours.features).sum(axis=1).min()),
    }


def _write_graph(model: PhotoClassifier, size: int, path: Path) -> None:
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter tells of constants it does not fold, and that it is the older one
        torch.onnx.export(
            _OfPixels(model).eval(),
            (example,),
            str(path),
            input_names=["pixels"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in ("pixels", *OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )


class _Photos(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, photos: npt.NDArray[np.uint8]) -> None:
        self._each = iter([{"pixels": photos[i : i + 1]} for i in range(len(photos))])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._each, None)


def _quantise(whole: Path, target: Path, photos: npt.NDArray[np.uint8]) -> None:
    """Convolutions in 8 bits, but the first, whose errors all others inherit, and the layers of a transformer; the heads, which are small and decide,
    stay in 32, and so do products of two activations. Raises InputError for a net that has nothing else.
    """
    prepared = whole.with_name("prepared.onnx")
    quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(str(prepared)).graph
    weights = {one.name for one in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    heads = [node.name for node in products if any(f"/{head}/" in node.name for head in _HEADS) or not weights.intersection(node.input)]
    first = [node.name for node in graph.node if node.op_type == "Conv"][:_FLOATS]
    quantize_static(
        str(prepared),
        str(target),
        _Photos(photos),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        op_types_to_quantize=["Conv", "Add", "Clip", "Relu", "AveragePool", "MaxPool", "MatMul", "Gemm"],
        nodes_to_exclude=[*first, *heads],
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    if not any(one.data_type == onnx.TensorProto.INT8 for one in onnx.load(str(target)).graph.initializer):
        raise InputError("this net has no layer whose weights can be of 8 bits; keep 32 bits (--float)")


def _noise(size: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8)
