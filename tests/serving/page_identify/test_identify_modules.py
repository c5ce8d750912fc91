"""The page's own arithmetic, its modules run as they are written: the square for the net, EXIF, the fusion of views."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.photos import square as server_square
from geoplantnet.identify.projects import Project, Projects
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon
from tests.serving.page_identify.conftest import SIZES, drawn, jpeg

SRC = Path(__file__).parents[3] / "geoplantnet" / "serving" / "web" / "src"
ORIGIN = "http://modules.test"


@pytest.fixture(scope="module")
def modules(chromium: Any) -> Iterator[Any]:
    """A page that can import the sources; nothing leaves the machine."""
    context = chromium.new_context(viewport=SIZES["phone"])
    page = context.new_page()

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN).lstrip("/")
        if not path:
            route.fulfill(body="<!doctype html>", content_type="text/html")
        else:
            route.fulfill(body=(SRC / path).read_text(), content_type="text/javascript")

    page.route(f"{ORIGIN}/**", serve)
    page.goto(f"{ORIGIN}/")
    yield page
    context.close()


def call(page: Any, module: str, expression: str, argument: Any) -> Any:
    return page.evaluate(f"async (x) => {{ const m = await import('{ORIGIN}/identify/{module}.js'); return {expression}; }}", argument)


def squared(page: Any, pixels: np.ndarray, size: int) -> np.ndarray:
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    told = {"data": base64.b64encode(rgba.tobytes()).decode(), "width": pixels.shape[1], "height": pixels.shape[0], "size": size}
    bytes_of = "Uint8Array.from(atob(x.data), (c) => c.charCodeAt(0))"
    found = call(page, "offline/square", f"Array.from(m.square({{width: x.width, height: x.height, data: {bytes_of}}}, x.size))", told)
    return np.array(found, np.uint8).reshape(size, size, 3)


def pillow(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)))


@settings(max_examples=40, deadline=None)
@given(width=st.integers(8, 90), height=st.integers(8, 90), size=st.integers(8, 48), seed=st.integers(0, 99))
def test_the_square_is_pillows(modules: Any, width: int, height: int, size: int, seed: int) -> None:
    """Noise of any shape, made smaller or larger, becomes the same bytes as Pillow makes of it: the net sees what it would see on the server."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(squared(modules, pixels, size), pillow(pixels, size))


def test_the_square_of_a_photo_is_the_servers(modules: Any) -> None:
    """A photo of common size: the very bytes of `identify.photos.square`."""
    pixels = np.asarray(drawn(3, (641, 480)))
    np.testing.assert_array_equal(squared(modules, pixels, 224), server_square(pixels, 224))


@settings(max_examples=20, deadline=None)
@example(longitude=1.9, latitude=-1.9)
@given(longitude=st.floats(-180, 180), latitude=st.floats(-90, 90))
def test_the_place_of_a_photo_is_read(modules: Any, longitude: float, latitude: float) -> None:
    """Degrees, minutes and seconds on every side of equator and meridian come back as the degrees that were written."""
    found = exif_of(modules, jpeg(drawn(0, (40, 40)), place=(longitude, latitude), taken="2026:05:12 10:11:12"))
    assert found["taken"] == "2026-05-12"
    if abs(longitude) < 1e-6 and abs(latitude) < 1e-6:
        return  # a camera without a fix
    assert math.isclose(found["place"]["longitude"], longitude, abs_tol=1e-5)
    assert math.isclose(found["place"]["latitude"], latitude, abs_tol=1e-5)


def exif_of(page: Any, data: bytes) -> Any:
    bytes_of = "Uint8Array.from(atob(x), (c) => c.charCodeAt(0)).buffer"
    return call(page, "exif", f"m.readExif({bytes_of})", base64.b64encode(data).decode())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_broken_exif_tells_nothing_and_breaks_nothing(modules: Any, data: Any) -> None:
    """Photos cut short or with wrong bytes give a place within the globe or none, never an error or an endless loop."""
    whole = bytearray(jpeg(drawn(0, (40, 40)), place=(8.0, 46.5), taken="2026:05:12 10:11:12"))
    for _ in range(data.draw(st.integers(0, 12))):
        whole[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    found = exif_of(modules, bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    if found["place"] is not None:
        assert abs(found["place"]["longitude"]) <= 180 and abs(found["place"]["latitude"]) <= 90


def test_the_place_in_a_png_is_read(modules: Any) -> None:
    """The chunk eXIf of a PNG tells a place as a JPEG does."""
    exif = Image.Exif()
    exif[0x010F] = "camera"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "S", [33, 30, 0], "W", [70, 15, 0]
    file = io.BytesIO()
    drawn(0, (40, 40)).save(file, "PNG", exif=exif)
    assert exif_of(modules, file.getvalue())["place"] == {"longitude": -70.25, "latitude": -33.5}


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_an_answer_offline_is_the_servers(modules: Any, data: Any) -> None:
    """What is made of a net's outputs in the browser is what `Identifier.identify` makes: scores, order, floras, organs, rejection, repeated photos."""
    n, count, seed = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 24)), data.draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    taxa = tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Genus{i % 5} s{i}", genus=f"Genus{i % 5}", family="F") for i in range(count))
    species = SpeciesList(checklist="test", taxa=taxa)
    floras = [data.draw(st.sets(st.integers(0, count - 1), min_size=1)) for _ in range(2)]
    items = tuple(Project(id=f"flora{i}", title=f"Flora {i}", species=np.array(sorted(own))) for i, own in enumerate(floras))
    projects = Projects(species=species, items=items)
    net = FakeNetwork(species, size=data.draw(st.sampled_from((20, 32))), seed=seed)
    net.card = replace(
        net.card,
        temperature=float(rng.uniform(0.5, 3)),
        view_weights={"leaf": 0.6, "flower": 1.7},
        view_gain=float(rng.uniform()),
        organs=data.draw(st.booleans()),
        rejects=data.draw(st.booleans()),
    )
    size = net.card.size
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (n, 4, 4, 3), np.uint8), size // 4, 1), size // 4, 2)
    if data.draw(st.booleans()):
        pixels[0, ..., 1] = 0  # no plant
    if n > 1 and data.draw(st.booleans()):  # nearly the same photo twice
        pixels[1] = np.clip(pixels[0].astype(int) + data.draw(st.integers(0, 14)), 0, 255)
    organs = data.draw(st.lists(st.sampled_from(("auto", "leaf", "flower", "bark")), min_size=n, max_size=n))
    project = data.draw(st.sampled_from(("all", "flora0")))
    expected = Identifier(net, projects=projects).identify(list(pixels), ["" if o == "auto" else o for o in organs], project=project)
    outputs = net(pixels)
    told = {
        "outputs": {name: getattr(outputs, name).ravel().tolist() for name in ("logits", "organs", "plant")},
        "pixels": pixels.ravel().tolist(),
        "card": net.card.to_dict(),
        "labels": species.to_dict(),
        "projects": projects.to_dict(),
        "organs": organs,
        "project": project,
    }
    found = call(modules, "offline/answer", "m.answerOf(x.outputs, x.pixels, {...x, reject: false, names: {}, language: 'en'})", told)
    refused = call(modules, "offline/answer", "m.answerOf(x.outputs, x.pixels, {...x, reject: true, names: {}, language: 'en'})", told)
    assert refused.get("rejected", False) == expected.rejected
    assert [one["organ"] for one in found["predictedOrgans"]] == [organ for organ, _ in expected.organs]
    scores = {species[one.species].taxon_id: one.score for one in expected.candidates}
    assert [one["score"] for one in found["results"]] == pytest.approx([*scores.values()], abs=1e-6)
    assert {one["taxonID"]: one["score"] for one in found["results"] if one["score"] > 1e-6} == pytest.approx(
        {taxon: score for taxon, score in scores.items() if score > 1e-6}, abs=1e-6
    )
    assert [one["score"] for one in found["otherResults"]["species"]] == pytest.approx([one.score for one in expected.outside], abs=1e-6)
    assert (found.get("switchToProject") or "") == expected.switch
    assert found["answerSet"] == [species[i].taxon_id for i in expected.answer_set]
