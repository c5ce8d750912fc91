"""Another engine for the encoders of a network that maps: OpenVINO, where it is installed.

It fuses layers that torch carries out one by one: a quarter faster or more on a processor without bfloat16, and no faster with it
(docs/decisions/021). Only encoders go through it, nearly all of the work. Results differ from torch's by rounding, and from one run to
the next: the promise that the same inputs give the same bytes holds for torch alone.
"""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.devices import Precision

Runtime = Literal["torch", "openvino"]

_COMPILING = threading.Lock()
"""One for all encoders: torch.export keeps what it traces in globals, which two threads would take from each other."""


class OpenVinoEncoder:
    """An encoder compiled by OpenVINO, for every shape of inputs once; one CPU thread a call, any number of calls at a time.

    Raises ConfigurationError where OpenVINO is not installed.
    """

    def __init__(self, encoder: nn.Module, precision: Precision) -> None:
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "map.runtime is openvino, which is not installed: pip install 'geoplantnet[openvino]', or leave it at torch"
            ) from error
        self._openvino, self._encoder = openvino, encoder.eval()
        self._options = {
            "INFERENCE_PRECISION_HINT": {"32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
        }
        self._compiled: dict[tuple[torch.Size, ...], Any] = {}
        self._own = threading.local()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the encoder's `forward` gives, float32."""
        arrays = [np.ascontiguousarray(x.numpy()) for x in inputs]
        return torch.from_numpy(self._request(inputs).infer(arrays)[0].copy())

    def _request(self, inputs: tuple[Tensor, ...]) -> Any:
        """The calling thread's own request for inputs of these shapes: a request serves one call at a time."""
        shapes = tuple(x.shape for x in inputs)
        requests = self._own.__dict__.setdefault("requests", {})
        if shapes not in requests:
            with _COMPILING:
                if shapes not in self._compiled:
                    self._compiled[shapes] = self._compile(inputs)
            requests[shapes] = self._compiled[shapes].create_infer_request()
        return requests[shapes]

    def _compile(self, inputs: tuple[Tensor, ...]) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            exported = torch.export.export(self._encoder, tuple(torch.zeros(x.shape) for x in inputs))
        return self._openvino.Core().compile_model(self._openvino.convert_model(exported), "CPU", self._options)
