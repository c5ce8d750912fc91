"""A net offline: what ONNX, in 32 and in 8 bits, costs and loses beside the same net in torch.

    python -m benchmarks.identify_offline [--quick] --json FILE

EfficientNet-Lite0 with its ImageNet weights and heads trained on four fifths of the labelled photos of `plants/`; all figures are of the
fifth that neither training nor the calibration of 8 bits saw. Times are of one photo at a time on one thread: medians of CPU time, the three nets in turns.
In the browser: from the press on Identify to the answer, without a network, in Chromium at a phone's size, where that and Playwright are installed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from benchmarks.rows import Row, main
from geoplantnet.identify.classifier import checkpoint
from geoplantnet.identify.classifier.onnx_export import export, parity
from geoplantnet.identify.classifier.train import Training, fit
from geoplantnet.identify.evaluation import twins_together
from geoplantnet.identify.network import Network
from geoplantnet.identify.offline import OnnxNetwork
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos.squares import Squares
from geoplantnet.serving.answers import PageFiles
from geoplantnet.serving.app import PAGE
from geoplantnet.storage import size_of

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "plants"
CALIBRATION = 128
"""Photos that 8 bits are calibrated on."""
TORCH, FLOAT, INT8 = "torch", "ONNX, 32 bits", "ONNX, 8 bits"


def rows(quick: bool) -> list[Row]:
    torch.set_num_threads(1)
    learnt, held = _divided(PhotoSet.read_metadata(DATA / "metadata.csv"), 3 if quick else 1)
    training = Training(transfer="head", epochs=5, views=1)
    network = fit(learnt, training, validation=held, name="plants").network
    network.model.eval()
    calibration = _squares(learnt, network.card.size, np.linspace(0, len(learnt) - 1, CALIBRATION).astype(int))
    pixels = _squares(held, network.card.size, np.arange(len(held)))
    with tempfile.TemporaryDirectory(prefix="geoplantnet-offline-") as work:
        checkpoint.save(network, f"{work}/torch")
        for bits, int8 in (("32", False), ("8", True)):
            export(network, f"{work}/{bits}", int8=int8, calibration=calibration)
        nets: dict[str, Network] = {TORCH: network, FLOAT: OnnxNetwork(f"{work}/32"), INT8: OnnxNetwork(f"{work}/8")}
        sizes = {
            TORCH: size_of(f"{work}/torch/{checkpoint.WEIGHTS}") / 1e6,
            FLOAT: size_of(f"{work}/32/model.onnx") / 1e6,
            INT8: size_of(f"{work}/8/model.onnx") / 1e6,
        }
        starts = {name: _start(f"{work}/{bits}") for name, bits in ((FLOAT, "32"), (INT8, "8"))}
        told = {name: net(pixels) for name, net in nets.items()}
        times = _times(nets, pixels, 10 if quick else 60)
        browser = _browser(
            Path(work) / "8", [Path(image) for image in held.table["image"].iloc[:: max(1, len(held) // (4 if quick else 12))]]
        )
    right = {name: float((one.logits.argmax(axis=1) == held.labels).mean()) for name, one in told.items()}
    made = []
    for name in (FLOAT, INT8):
        lost = parity(told[TORCH], told[name], network.card.temperature)
        whole = name == FLOAT
        made += [
            Row(name=f"{name}: size", value=sizes[name], unit="MB", reference=f"torch {sizes[TORCH]:.1f} MB", target="" if whole else "< 6", ok=whole or sizes[name] < 6),
            Row(name=f"{name}: a photo", value=times[name], unit="ms CPU", reference=f"torch {times[TORCH]:.1f} ms, in turns", target="< torch", ok=times[name] < times[TORCH]),
            Row(name=f"{name}: reading the folder", value=starts[name], unit="ms CPU", reference="once"),
            Row(name=f"{name}: first species is torch's", value=lost["same_first"], unit="of 1", reference=f"{len(held)} held-out photos of {len(held.species)} labels", target="1" if whole else ">= .97", ok=lost["same_first"] >= (1 if whole else 0.97)),
            Row(name=f"{name}: first species is right", value=right[name], unit="of 1", reference=f"torch {right[TORCH]:.4f}, the same photos", target="within .01", ok=right[name] >= right[TORCH] - 0.01),
            Row(name=f"{name}: largest difference of a probability", value=lost["largest_difference"], unit="p", reference=f"torch; mean of each photo's largest {lost['mean_difference']:.2g}", target="<= 1e-4" if whole else "", ok=not whole or lost["largest_difference"] <= 1e-4),
            Row(name=f"{name}: least cosine of features", value=lost["least_cosine"], unit="of 1", reference="torch's features of the same photo"),
        ]  # fmt: skip
    if browser is not None:
        start, each = browser
        made += [
            Row(name="browser, 8 bits: a photo", value=each, unit="ms", reference=f"onnxruntime here {times[INT8]:.1f} ms CPU for the net alone", target="< 1000", ok=each < 1000),
            Row(name="browser, 8 bits: the first photo, with the start of the engine", value=start, unit="ms", reference="once a visit"),
        ]  # fmt: skip
    return made


def _browser(folder: Path, photos: list[Path]) -> tuple[float, float] | None:
    """Milliseconds from press to answer of the first photo, and the median of the others; None where there is no Chromium."""
    sync_api, path = _playwright(), shutil.which("chromium") or shutil.which("chromium-browser")
    if sync_api is None or path is None:
        return None
    told = {"languages": ["en"], "places": False, "store": False, "model": {"size": size_of(folder), "version": "1"}}
    app = Starlette(
        routes=[
            Route("/identify/config.json", lambda _: JSONResponse(told)),
            Mount("/identify/model", PageFiles(directory=folder)),
            Mount("/identify", PageFiles(directory=PAGE / "identify", html=True)),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    site = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/identify/"
    try:
        with sync_api.sync_playwright() as playwright:
            arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
            page = browser.new_page(viewport={"width": 390, "height": 844}, locale="en")
            page.goto(f"{site}#settings")
            page.get_by_role("button", name="Keep for offline").click()
            page.get_by_text("Kept: version").wait_for(timeout=60_000)
            page.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
            page.context.set_offline(True)
            spent = []
            for photo in photos:
                page.goto(f"{site}#identify")
                page.locator(".files input").set_input_files(str(photo))
                page.locator(".photos li").wait_for()
                spent.append(page.evaluate(_PRESS))
                page.get_by_role("button", name="Next plant").click()
            browser.close()
    finally:
        server.should_exit = True
        thread.join(timeout=10)
    return float(spent[0]), median(float(one) for one in spent[1:])


_PRESS = """() => new Promise((done) => {
  const start = performance.now();
  new MutationObserver((_, seen) => {
    if (document.documentElement.dataset.view !== "answer") return;
    seen.disconnect();
    done(performance.now() - start);
  }).observe(document.documentElement, { attributes: true });
  document.querySelector(".go .strong").click();
})"""


def _playwright() -> Any:
    try:
        import playwright.sync_api
    except ImportError:
        return None
    return playwright.sync_api


def _divided(photos: PhotoSet, every: int) -> tuple[PhotoSet, PhotoSet]:
    """Four fifths and one fifth of every n-th photo; those stored twice stay together (told by their colours at 32 pixels: any limit from .95 to .995 finds the same)."""
    some = photos.subset(np.arange(len(photos)) % every == 0)
    small = _squares(some, 32, np.arange(len(some))).reshape(len(some), -1).astype(np.float32)
    some = twins_together(some, small - small.mean(axis=1, keepdims=True))
    fold = some.folds(5, 0)
    return some.subset(fold != 0), some.subset(fold == 0)


def _squares(photos: PhotoSet, size: int, which: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    with Squares(list(photos.table["image"]), size) as squares:
        return squares[which]


def _cpu_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def _start(folder: str) -> float:
    return median(_cpu_ms(lambda: OnnxNetwork(folder)) for _ in range(3))


def _times(nets: dict[str, Network], pixels: npt.NDArray[np.uint8], count: int) -> dict[str, float]:
    for net in nets.values():
        net(pixels[:1])
    spent: dict[str, list[float]] = {name: [] for name in nets}
    for i in range(count):
        for name, net in nets.items():
            one = pixels[i % len(pixels)][None]
            spent[name].append(_cpu_ms(lambda net=net, one=one: net(one)))  # type: ignore[misc]
    return {name: median(values) for name, values in spent.items()}


if __name__ == "__main__":
    main(rows)
