"""What `export` writes runs in a browser: the page's own worker gives the answers of the net it came from."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geoplantnet.identify.classifier.backbones import make_backbone
from geoplantnet.identify.classifier.model import PhotoClassifier, TorchNetwork
from geoplantnet.identify.classifier.onnx_export import export
from geoplantnet.identify.network import Card
from geoplantnet.identify.offline import OnnxNetwork
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

DIST = Path(__file__).parents[3] / "geoplantnet" / "serving" / "web" / "dist" / "identify"
ORIGIN = "http://worker.test"
ASK = """async ({pixels, n, size}) => {
  const bytes = async (name) => (await fetch(name)).arrayBuffer();
  const worker = new Worker("/worker.js", { type: "module" });
  const ask = (message) => new Promise((done, fail) => {
    worker.onmessage = ({ data }) => (data.error ? fail(new Error(data.error)) : done(data));
    worker.onerror = (event) => fail(new Error(event.message));
    worker.postMessage(message);
  });
  await ask({ model: await bytes("/model.onnx"), wasm: await bytes("/engine.wasm") });
  const told = await ask({ pixels: Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0)), n, size });
  worker.terminate();
  return Object.fromEntries(Object.entries(told).map(([name, data]) => [name, Array.from(data)]));
}"""


@pytest.mark.parametrize("int8", [False, True])
def test_the_browser_runs_what_was_exported(chromium: Any, tmp_path: Path, int8: bool) -> None:
    """Logits, organs and plant of three photos: in 32 bits to 1e-4 as onnxruntime's, in 8 bits to a step of the last rounding."""
    torch.manual_seed(0)
    species = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"G s{i}") for i in range(5)))
    card = Card(name="n", version="1", backbone="small", size=64, organs=True, rejects=True)
    model = PhotoClassifier(make_backbone("small"), len(species), card).eval()
    for head in (model.species, model.organs, model.plant):
        torch.nn.init.normal_(head.weight, std=8.0)
    network = TorchNetwork(model, species)
    photos = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    export(network, tmp_path / "m", int8=int8, calibration=photos)
    files = {
        "/": b"<!doctype html>",
        "/worker.js": (DIST / "worker.js").read_bytes(),
        "/engine.wasm": gzip.decompress((DIST / "engine.wasm.gz").read_bytes()),
        "/model.onnx": (tmp_path / "m" / "model.onnx").read_bytes(),
    }
    context = chromium.new_context()
    page = context.new_page()
    kinds = {".js": "text/javascript", ".wasm": "application/wasm"}

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        route.fulfill(body=files[path], content_type=kinds.get(Path(path).suffix, "text/html"))

    context.route(f"{ORIGIN}/**", serve)
    page.goto(f"{ORIGIN}/")
    told = page.evaluate(ASK, {"pixels": base64.b64encode(photos[:3].tobytes()).decode(), "n": 3, "size": 64})
    context.close()
    ours = OnnxNetwork(tmp_path / "m")(photos[:3])
    scale = float(np.abs(ours.logits).max())
    assert scale > 0.5 and np.ptp(ours.organs) > 0.05
    for name in ("logits", "organs", "plant"):
        expected = getattr(ours, name)
        tolerance = 1e-4 if not int8 else 0.02 * (scale if name == "logits" else 1)
        np.testing.assert_allclose(np.reshape(told[name], expected.shape), expected, atol=tolerance)
