"""The page of identification in headless Chromium, on a phone, over a small server with the answers of /v2 and a tiny real net to keep."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from geoplantnet.serving.answers import PageFiles
from geoplantnet.serving.app import PAGE

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = sync_api.expect
PATIENCE = 15_000
"""Milliseconds to wait for what must come."""
expect.set_options(timeout=PATIENCE)

SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; worker-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page must live under."""
SPECIES = (
    ("gentiana-acaulis", "Gentiana acaulis", "L.", "Gentiana", "Gentianaceae", {"en": ["Stemless gentian"], "fr": ["Gentiane acaule"]}),
    ("gentiana-clusii", "Gentiana clusii", "E.P.Perrier & Songeon", "Gentiana", "Gentianaceae", {"en": ["Trumpet gentian"]}),
    ("bellis-perennis", "Bellis perennis", "L.", "Bellis", "Asteraceae", {"en": ["Daisy"], "fr": ["Pâquerette"]}),
    ("taraxacum-officinale", "Taraxacum officinale", "F.H.Wigg.", "Taraxacum", "Asteraceae", {"en": ["Dandelion"], "fr": ["Pissenlit"]}),
    ("lilium-martagon", "Lilium martagon", "L.", "Lilium", "Liliaceae", {}),
)
ORGANS = ("leaf", "flower", "fruit", "bark", "habit", "other")
SIZE = 24
"""Side of the tiny net's input, px."""


def drawn(seed: int = 0, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """A synthetic flower: petals on green, coloured by the seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    u, v = (x - size[0] / 2) / size[1], (y - size[1] / 2) / size[1]
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    petals = radius < 0.3 + 0.12 * np.cos((3 + seed % 5) * angle)
    green = np.stack([60 + 30 * np.sin(9 * u), 130 + 40 * np.sin(7 * v + seed), 50 + 0 * u], -1)
    colour = rng.uniform(90, 250, 3)
    pixels = np.where(petals[..., None], colour * (1.1 - radius[..., None]), green)
    pixels = np.where((radius < 0.07)[..., None], (240, 200, 60), pixels) + rng.normal(0, 4, (*pixels.shape[:2], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def degrees_minutes_seconds(degrees: float) -> list[float]:
    whole, rest = divmod(degrees * 3600, 3600)
    return [whole, *divmod(rest, 60)]


def jpeg(image: Image.Image, *, place: tuple[float, float] | None = None, taken: str = "", orientation: int = 1) -> bytes:
    """A JPEG as a camera writes it: `place` longitude, latitude; `taken` such as 2026:05:12 10:11:12."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SECRETCAMERA"
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken
    if place is not None:
        longitude, latitude = place
        parts = [degrees_minutes_seconds(abs(v)) for v in (latitude, longitude)]
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2], gps[3], gps[4] = "N" if latitude >= 0 else "S", parts[0], "E" if longitude >= 0 else "W", parts[1]
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, exif=exif)
    return file.getvalue()


def species_of(i: int, lang: str = "en") -> dict[str, Any]:
    taxon, name, author, genus, family, common = SPECIES[i]
    level = lambda word: {"scientificNameWithoutAuthor": word, "scientificNameAuthorship": "", "scientificName": word}  # noqa: E731
    names = {"scientificNameWithoutAuthor": name, "scientificNameAuthorship": author, "scientificName": f"{name} {author}"}
    return {"id": taxon, **names, "genus": level(genus), "family": level(family), "commonNames": common.get(lang, [])}


def image_of(seed: int, organ: str) -> dict[str, Any]:
    url = {size: f"/v2/images/{seed}/{size}" for size in "oms"}
    date = {"timestamp": 1_750_000_000_000, "string": "Jun 15, 2025"}
    return {"organ": organ, "author": "A. Botanist", "license": "cc-by-sa", "date": date, "citation": "A. Botanist, CC BY-SA", "url": url}


@dataclass
class FakeApi:
    """What /v2 answers, what it was sent, and what it shall refuse next."""

    scores: tuple[float, ...] = (0.82, 0.11, 0.03, 0.01, 0.005)
    evidence: str = "sdm"
    faults: list[Response] = field(default_factory=list)
    """Answers of the next identifications, instead of real ones."""
    forms: list[dict[str, Any]] = field(default_factory=list)
    """Each identification or contribution: its query, fields and files."""
    votes: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    """(observation, what, key)."""
    config: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of an answer."""
    queue: list[dict[str, Any]] = field(default_factory=list)
    mine: list[dict[str, Any]] = field(default_factory=list)
    """What the reader gave."""
    held: threading.Event | None = None
    """Identifications wait for it."""
    worker: str = ""
    """What stands at the end of the service worker: another text makes it a newer one."""

    def refuse(self, status: int, message: str, **headers: str) -> None:
        body = {"statusCode": status, "error": "refused", "message": message}
        self.faults.append(JSONResponse(body, status, headers={k.replace("_", "-"): v for k, v in headers.items()}))

    async def _form(self, request: Request) -> dict[str, Any]:
        form = await request.form()
        fields: dict[str, list[str]] = {}
        files = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.setdefault(name, []).append(value)
            else:
                files.append((name, value.filename, await value.read()))
        told = {"query": dict(request.query_params), "fields": fields, "files": files, "key": request.headers.get("api-key", "")}
        self.forms.append(told)
        return told

    async def identify(self, request: Request) -> Response:
        told = await self._form(request)
        while self.held is not None and not self.held.is_set():
            await anyio.sleep(0.02)
        if self.faults:
            return self.faults.pop(0)
        lang, organs = told["query"]["lang"], told["fields"]["organs"]
        results = [
            {
                "score": score,
                "taxonID": SPECIES[i][0],
                "species": species_of(i, lang),
                "images": [image_of(10 * i + j, ("flower", "leaf")[j % 2]) for j in range(4)],
            }
            for i, score in enumerate(self.scores)
        ]
        return JSONResponse(
            {
                "query": {
                    "project": request.path_params["project"],
                    "images": [],
                    "organs": organs,
                    "includeRelatedImages": True,
                    "noReject": False,
                },
                "language": lang,
                "preferedReferential": "Alps",
                "bestMatch": "Gentiana acaulis L.",
                "results": results,
                "otherResults": {"species": [{"score": 0.02, "species": species_of(4, lang)}], "genus": [], "family": []},
                "version": "2026-05-01 (1.0)",
                "remainingIdentificationRequests": 489,
                "predictedOrgans": [{"image": str(i), "filename": "", "organ": "flower", "score": 0.9} for i in range(len(organs))],
                "evidence": self.evidence,
            }
            | self.extra
        )

    async def contribute(self, request: Request) -> Response:
        told = await self._form(request)
        if told["key"] != "good-key":
            return JSONResponse({"statusCode": 401, "error": "Unauthorized", "message": "no such key"}, 401)
        return JSONResponse({"id": "obs-77"}, 201)

    async def vote(self, request: Request) -> Response:
        if self.faults:
            return self.faults.pop(0)
        what = await request.json()
        assert len(what.pop("key")) == 32, "each vote has a name of its own"
        self.votes.append((request.path_params["id"], what, request.headers.get("api-key", "")))
        return JSONResponse({"status": "ok"})

    def review(self, request: Request) -> Response:
        start = int(request.query_params.get("after") or 0)
        page = self.queue[start : start + 2]
        return JSONResponse({"results": page, "next": start + 2 if start + 2 < len(self.queue) else None})

    def own(self, request: Request) -> Response:
        start = int(request.query_params.get("after") or 0)
        return JSONResponse({"results": self.mine[start : start + 2], "next": str(start + 2) if start + 2 < len(self.mine) else None})

    def withdraw(self, request: Request) -> Response:
        if self.faults:
            return self.faults.pop(0)
        assert request.headers.get("api-key") == "good-key"
        self.mine = [one for one in self.mine if one["id"] != request.path_params["id"]]
        return Response(status_code=204)

    def species(self, request: Request) -> Response:
        prefix, lang = request.query_params.get("prefix", "").lower(), request.query_params.get("lang", "en")
        found = [species_of(i, lang) for i in range(len(SPECIES))]
        return JSONResponse([one for one in found if one["scientificNameWithoutAuthor"].lower().startswith(prefix)])

    def facts(self, request: Request) -> Response:
        ids = [taxon for taxon, *_ in SPECIES]
        if request.path_params["id"] not in ids:
            return JSONResponse({"statusCode": 404, "error": "Not Found", "message": "no such species"}, 404)
        i = ids.index(request.path_params["id"])
        months = [0, 0, 1, 6, 21, 34, 18, 4, 0, 0, 0, 0]
        more = {
            "iucnCategory": "LC",
            "gbifId": 5415111,
            "recordCount": 84,
            "months": months,
            "altitude": [{"from": 500, "to": 600, "count": 9}],
            "map": None,
            "images": [image_of(10 * i + j, "flower") for j in range(3)],
        }
        return JSONResponse(species_of(i, request.query_params.get("lang", "en")) | more)


def tiny_folder(folder: Path, *, species: int = 3) -> None:
    """The offline folder with a net of one layer: the mean colours of a 4 x 4 grid, times fixed weights."""
    onnx = pytest.importorskip("onnx", reason="pip install onnx")
    helper, tensor = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(5)
    side = SIZE // 4

    def constant(name: str, values: Any) -> Any:
        return onnx.numpy_helper.from_array(np.asarray(values), name)

    nodes = [
        helper.make_node("Cast", ["pixels"], ["x0"], to=tensor.FLOAT),
        helper.make_node("Transpose", ["x0"], ["x1"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["x1", "mean"], ["x2"]),
        helper.make_node("Div", ["x2", "std"], ["x3"]),
        helper.make_node("AveragePool", ["x3"], ["x4"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Flatten", ["x4"], ["x5"], axis=1),
        helper.make_node("LpNormalization", ["x5"], ["features"], axis=1, p=2),
        helper.make_node("MatMul", ["x5", "w"], ["logits"]),
        helper.make_node("MatMul", ["x5", "o"], ["o1"]),
        helper.make_node("Softmax", ["o1"], ["organs"], axis=1),
        helper.make_node("ReduceMean", ["x5"], ["p0"], axes=[1], keepdims=0),
        helper.make_node("Sigmoid", ["p0"], ["p1"]),
        helper.make_node("Clip", ["p1", "half"], ["plant"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", tensor.UINT8, ["n", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info(name, tensor.FLOAT, shape)
            for name, shape in (("logits", ["n", species]), ("features", ["n", 48]), ("organs", ["n", 6]), ("plant", ["n"]))
        ],
        [
            constant("mean", np.float32(127)),
            constant("std", np.float32(128)),
            constant("w", rng.normal(size=(48, species)).astype(np.float32)),
            constant("o", rng.normal(size=(48, 6)).astype(np.float32)),
            constant("half", np.float32(0.6)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    taxa = [
        {"taxonID": taxon, "scientificName": name, "genus": genus, "family": family, "vernacularName": ""}
        for taxon, name, _, genus, family, _ in SPECIES[:species]
    ]
    names = {lang: {taxon: common[lang] for taxon, *_, common in SPECIES[:species] if lang in common} for lang in ("en", "fr")}
    folder.mkdir(parents=True)
    files = {
        "model.onnx": model.SerializeToString(),
        "labels.json": json.dumps({"checklist": "test", "hash": "0" * 64, "taxa": taxa}).encode(),
        "names.json": json.dumps(names).encode(),
    }
    card = {
        "name": "tiny",
        "version": "v1",
        "backbone": "tiny",
        "size": SIZE,
        "temperature": 2.0,
        "plant_threshold": 0.5,
        "organs": True,
        "rejects": True,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "card.json").write_text(
        json.dumps(card | {"files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}})
    )


class Held(PageFiles):
    """The page's files under the policy it must live under."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["content-security-policy"] = POLICY
        return response


def _async(now: list[FakeApi], name: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        answer: Response = await getattr(now[0], name)(request)
        return answer

    return endpoint


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offline") / "model"
    tiny_folder(folder)
    return folder


@pytest.fixture(scope="session")
def _server(model_folder: Path) -> Iterator[tuple[str, list[FakeApi]]]:
    now = [FakeApi()]

    def picture(request: Request) -> Response:
        file = io.BytesIO()
        drawn(int(request.path_params["seed"]), (240, 240)).save(file, "JPEG")
        return Response(file.getvalue(), media_type="image/jpeg")

    def config(request: Request) -> Response:
        size = sum(path.stat().st_size for path in model_folder.iterdir())
        told = {"title": "Test flora", "languages": ["en", "fr"], "maps": False, "model": {"size": size, "version": "v1"}, "store": True}
        return JSONResponse(told | {"licences": ["cc-by-sa", "cc-by"]} | now[0].config)

    projects = [
        {"id": "all", "title": "Most relevant", "description": "", "speciesCount": 5},
        {"id": "alps", "title": "Alps", "description": "", "speciesCount": 3},
    ]

    def worker(request: Request) -> Response:
        script = (PAGE / "identify" / "sw.js").read_text()
        return Response(f"{script}\n{now[0].worker}", media_type="text/javascript", headers={"cache-control": "no-cache"})

    app = Starlette(
        routes=[
            Route("/identify/config.json", config),
            Route("/identify/sw.js", worker),
            Mount("/identify/model", PageFiles(directory=model_folder)),
            Mount("/identify", Held(directory=PAGE / "identify", html=True)),
            Route("/v2/projects", lambda request: JSONResponse(projects)),
            Route("/v2/identify/{project}", _async(now, "identify"), methods=["POST"]),
            Route("/v2/species", lambda request: now[0].species(request)),
            Route("/v2/species/{id}", lambda request: now[0].facts(request)),
            Route("/v2/images/{seed}/{size}", picture),
            Route("/v2/observations", _async(now, "contribute"), methods=["POST"]),
            Route("/v2/observations/review", lambda request: now[0].review(request)),
            Route("/v2/observations/own", lambda request: now[0].own(request)),
            Route("/v2/observations/{id}", lambda request: now[0].withdraw(request), methods=["DELETE"]),
            Route("/v2/observations/{id}/votes/{kind}", _async(now, "vote"), methods=["POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    httpx.get(f"{url}/identify/config.json").raise_for_status()
    yield url, now
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def api(_server: tuple[str, list[FakeApi]]) -> FakeApi:
    """A fresh state of the server's answers."""
    _server[1][0] = FakeApi()
    return _server[1][0]


@dataclass
class Visit:
    """One browser page, what it asked for and what it complained about."""

    page: Any
    context: Any
    server: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    forgiven: bool = False
    """Whether the browser may complain, of requests that the test made fail."""

    def open(self, hash: str = "") -> None:
        self.page.goto(f"{self.server}/identify/{hash}")
        expect(self.page.locator("h1")).to_be_visible()

    def photos(self, *files: bytes, names: tuple[str, ...] = ()) -> None:
        """Choose these files as photos and wait until they lie there."""
        before = self.page.locator(".photos li").count()
        payload = [
            {"name": names[i] if names else f"plant{i + 1}.jpg", "mimeType": "image/jpeg", "buffer": data} for i, data in enumerate(files)
        ]
        self.page.locator(".files input").set_input_files(payload)
        expect(self.page.locator(".photos li")).to_have_count(min(5, before + len(files)))

    def identify(self) -> None:
        self.page.locator(".go .strong").first.click()

    def answered(self) -> None:
        expect(self.page.locator("main")).to_have_class("view-answer")

    def until(self, function: str) -> None:
        """Poll until a function in the page says true (Playwright's own wait needs `eval`, which the page's policy refuses)."""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(function):
            assert time.monotonic() < end, f"never true: {function}"
            self.page.wait_for_timeout(50)


Opener = Callable[..., Visit]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def identify_visits(chromium: Any, _server: tuple[str, list[FakeApi]], api: FakeApi) -> Iterator[Opener]:
    """identify_visits(lang="fr", size="desktop", key="good-key") -> Visit. At the end no other host was asked and nothing was complained about."""
    opened: list[Visit] = []

    def visit(*, lang: str = "en", size: str = "phone", scheme: str = "light", key: str = "", **options: Any) -> Visit:
        context = chromium.new_context(viewport=SIZES[size], locale=lang, color_scheme=scheme, reduced_motion="reduce", **options)
        one = Visit(page=context.new_page(), context=context, server=_server[0])
        if key:
            context.add_init_script(f"localStorage.setItem('geoplantnet-identify', JSON.stringify({{key: '{key}'}}))")
        one.page.set_default_timeout(PATIENCE)
        context.on("request", lambda request: one.requests.append(request.url))
        one.page.on("console", lambda message: one.complaints.append(message.text) if message.type == "error" else None)
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        opened.append(one)
        return one

    yield visit
    for one in opened:
        one.context.close()
        assert [url for url in one.requests if not url.startswith((f"{one.server}/", "data:", "blob:"))] == []
        assert one.forgiven or one.complaints == []
