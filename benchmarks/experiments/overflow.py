"""What 8-bit sums that overflow would do to an exported net: x86 processors without VNNI, emulated (decision 038).

    GEOPLANTNET_DATA=... python -m benchmarks.experiments.overflow

`vpmaddubsw` adds two products of 8 bits in 16, saturating. Every pointwise convolution of the exported graph is taken out and computed here, its input channels in
pairs, with and without saturation; the rest stays onnxruntime's. The net is that of benchmarks/identify_offline.py, the photos every third it held out.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from benchmarks.identify_offline import CALIBRATION, _divided, _squares
from geoplantnet.identify.classifier.onnx_export import export
from geoplantnet.identify.classifier.train import Training, fit
from geoplantnet.identify.offline.network import MODEL
from geoplantnet.identify.photo_set import PhotoSet


@dataclass(frozen=True, kw_only=True)
class Pointwise:
    """A convolution of 1 x 1 in 8 bits."""

    takes: str
    """Name of its quantised input."""
    gives: str
    weight: npt.NDArray[np.int32]
    """(out, in)."""
    zero: int
    scale: npt.NDArray[np.float64]
    """(out,): of a sum of products."""
    bias: npt.NDArray[np.float64]
    shape: tuple[int, ...] = ()

    def __call__(self, x: npt.NDArray[np.uint8], saturates: bool) -> npt.NDArray[np.float32]:
        rows = np.ascontiguousarray(x[0].reshape(x.shape[1], -1).T)
        sums = _sums(rows, self.weight, saturates) - self.zero * self.weight.sum(axis=1)
        return (sums * self.scale + self.bias).T.reshape(self.shape).astype(np.float32)


@numba.njit  # type: ignore[misc]
def _sums(x: npt.NDArray[np.uint8], weight: npt.NDArray[np.int32], saturates: bool) -> npt.NDArray[np.int64]:
    out = np.zeros((len(x), len(weight)), np.int64)
    for i in range(len(x)):
        for k in range(len(weight)):
            for j in range(0, x.shape[1], 2):
                pair = np.int32(x[i, j]) * weight[k, j]
                if j + 1 < x.shape[1]:
                    pair += np.int32(x[i, j + 1]) * weight[k, j + 1]
                out[i, k] += min(max(pair, -32768), 32767) if saturates else pair
    return out


def taken_apart(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Pointwise]]:
    """The graph without its pointwise convolutions, whose inputs it gives and whose outputs it takes; and these, in their order."""
    graph = model.graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    found = []
    for node in list(graph.node):
        sources = [made.get(name) for name in node.input[:2]]
        if node.op_type != "Conv" or any(one is None or one.op_type != "DequantizeLinear" for one in sources):
            continue
        x, w = sources
        assert x is not None and w is not None
        weight = values[w.input[0]]
        if weight.shape[2:] != (1, 1) or any(a.name == "group" and a.i != 1 for a in node.attribute):
            continue
        bias = np.zeros(len(weight))
        if len(node.input) > 2:
            b = made.get(node.input[2])
            bias = values[node.input[2]].astype(float) if b is None else values[b.input[0]].astype(float) * values[b.input[1]]
        scale = float(values[x.input[1]]) * values[w.input[1]].astype(float)
        found.append(
            Pointwise(
                takes=x.input[0],
                gives=node.output[0],
                weight=weight[:, :, 0, 0].astype(np.int32),
                zero=int(values[x.input[2]]),
                scale=scale,
                bias=bias,
            )
        )
        graph.node.remove(node)
        graph.input.append(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    known = {one.name for one in graph.output}
    for name in dict.fromkeys(one.takes for one in found):
        if name not in known:
            graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
    return model, found


def emulated(path: Path, pixels: npt.NDArray[np.uint8], *, saturates: bool) -> npt.NDArray[np.float32]:
    """Logits (n, species) of photos (n, size, size, 3)."""
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model, parts = taken_apart(onnx.load(str(path)))
    whole = onnx.load(str(path))
    for part in parts:
        whole.graph.output.append(helper.make_tensor_value_info(part.gives, onnx.TensorProto.FLOAT, None))
    run = onnxruntime.InferenceSession(whole.SerializeToString(), plain).run([part.gives for part in parts], {"pixels": pixels[:1]})
    parts = [Pointwise(**{**vars(part), "shape": one.shape}) for part, one in zip(parts, run, strict=True)]
    session = onnxruntime.InferenceSession(model.SerializeToString(), plain)
    logits = []
    for photo in pixels:
        fed = {"pixels": photo[None]} | {part.gives: np.zeros(part.shape, np.float32) for part in parts}
        for part in parts:
            fed[part.gives] = part(session.run([part.takes], fed)[0], saturates)
        logits.append(session.run(["logits"], fed)[0][0])
    return np.array(logits)


def main() -> None:
    data = os.environ["GEOPLANTNET_DATA"]
    learnt, held = _divided(PhotoSet.read_metadata(Path(data) / "plants" / "metadata.csv"), 1)
    network = fit(learnt, Training(transfer="head", epochs=5, views=1), validation=held, name="plants").network
    network.model.eval()
    size, which = network.card.size, np.arange(0, len(held), 3)
    pixels, truth = _squares(held, size, which), held.labels[which]
    with tempfile.TemporaryDirectory(prefix="geoplantnet-overflow-") as work:
        calibration = _squares(learnt, size, np.linspace(0, len(learnt) - 1, CALIBRATION).astype(int))
        export(network, f"{work}/8", int8=True, calibration=calibration)
        told = {"whole": network(pixels).logits}
        told |= {name: emulated(Path(work) / "8" / MODEL, pixels, saturates=name == "overflow") for name in ("exact", "overflow")}
    first = told["whole"].argmax(axis=1)
    for name, logits in told.items():
        right, same = (float((logits.argmax(axis=1) == of).mean()) for of in (truth, first))
        print(f"{name:>9}: first species right {right:.3f}, the whole net's {same:.3f}, of {len(truth)} photos")


if __name__ == "__main__":
    main()
