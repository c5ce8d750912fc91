"""Identification without torch: a folder with a net as ONNX, what it needs to answer, and who reads it.

network    `OnnxNetwork`, the folder as a `Network`
identify   the runner that lies in the folder: onnxruntime, NumPy and Pillow are all it needs
"""

from geoplantnet.identify.offline.network import OnnxNetwork

__all__ = ["OnnxNetwork"]
