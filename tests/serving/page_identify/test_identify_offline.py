"""The page without a network: it opens, answers by the net kept in the browser, keeps plants until the network is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.page_identify.conftest import SIZE, SPECIES, FakeApi, Opener, Visit, drawn, expect, jpeg


def _kept(visit: Visit) -> None:
    """Keep the net for offline."""
    visit.open("#settings")
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    visit.page.get_by_role("button", name="Keep for offline").click()
    expect(visit.page.locator("#view").get_by_text("Ready: this device answers without a network.")).to_be_visible()


def _without_network(visit: Visit) -> None:
    visit.context.set_offline(True)
    visit.forgiven = True  # the browser itself reports requests that fail


def test_it_answers_without_a_network_as_onnxruntime_does(identify_visits: Opener, api: FakeApi, model_folder: Path) -> None:
    """With the network off and the page loaded anew, the net kept in the browser gives the probabilities that onnxruntime gives in Python."""
    ort = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    visit = identify_visits()
    _kept(visit)
    asked = len(visit.requests)
    _without_network(visit)
    visit.page.reload()
    visit.open()
    expect(visit.page.locator("#network")).to_be_visible()
    photo = drawn(1, (SIZE * 4, SIZE * 4))
    visit.photos(jpeg(photo))
    visit.identify()
    visit.answered()
    expect(visit.page.get_by_text("Answered on this device")).to_be_visible()
    shown = visit.page.locator(".candidate").evaluate_all(
        "(cards) => cards.map((card) => [card.querySelector('i').textContent, card.querySelector('.score strong').textContent])"
    )
    assert api.forms == []
    assert not [url for url in visit.requests[asked:] if "/v2/identify" in url and "blob" in url]

    # the very JPEG that the page made is not at hand: its pixels are the drawing's within a few levels
    session = ort.InferenceSession(str(model_folder / "model.onnx"))
    pixels = np.asarray(photo.resize((SIZE, SIZE), 3))[None]
    logits = session.run(["logits"], {"pixels": pixels})[0][0] / 2.0
    p = np.exp(logits - logits.max())
    p /= p.sum()
    order = np.argsort(-p)
    assert [name for name, _ in shown] == [SPECIES[i][1] for i in order if p[i] >= 0.001]
    for (_, told), i in zip(shown, order, strict=False):
        assert abs(float(told.strip("<% \u00a0\u202f")) / 100 - p[i]) < 0.03


def test_photos_wait_for_the_network(identify_visits: Opener, api: FakeApi) -> None:
    """Without network and net, a plant is kept in the browser through a reload, and asked about when the network is back; nothing is lost."""
    visit = identify_visits()
    visit.open()
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    _without_network(visit)
    visit.photos(jpeg(drawn(1)), jpeg(drawn(2)))
    visit.identify()
    visit.page.get_by_role("button", name="Keep them until the network is back").click()
    expect(visit.page.get_by_text("1 plant waits for the network")).to_be_visible()
    expect(visit.page.locator(".photos li")).to_have_count(0)
    visit.page.reload()
    expect(visit.page.get_by_text("1 plant waits for the network")).to_be_visible()
    visit.context.set_offline(False)
    expect(visit.page.get_by_text("Answered: perhaps Gentiana acaulis.")).to_be_visible()
    assert len(api.forms) == 1 and len(api.forms[0]["files"]) == 2
    visit.page.get_by_role("button", name="Open").click()
    visit.answered()
    expect(visit.page.locator(".candidate")).to_have_count(5)
    visit.page.get_by_role("button", name="Next plant").click()
    expect(visit.page.locator(".waiting")).to_be_hidden()


def test_plants_that_wait_are_neither_doubled_nor_lost(identify_visits: Opener, api: FakeApi) -> None:
    """One taken up and kept again stays one; what lay on the table when another was taken up waits in its place."""
    visit = identify_visits()
    visit.open()
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    _without_network(visit)
    keep = visit.page.get_by_role("button", name="Keep them until the network is back")
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    keep.click()
    expect(visit.page.get_by_text("1 plant waits for the network")).to_be_visible()
    visit.page.get_by_role("button", name="Open").click()
    expect(visit.page.locator(".photos li")).to_have_count(1)
    visit.identify()
    keep.click()
    expect(visit.page.get_by_text("1 plant waits for the network")).to_be_visible()
    visit.photos(jpeg(drawn(2)), jpeg(drawn(3)))
    expect(visit.page.locator(".photos li")).to_have_count(2)
    visit.page.get_by_role("button", name="Open").click()
    expect(visit.page.locator(".photos li")).to_have_count(1)
    expect(visit.page.get_by_text("2 plants wait for the network")).to_be_visible()


def test_a_damaged_model_is_not_kept(identify_visits: Opener, api: FakeApi) -> None:
    """Bytes that do not have the hash the card tells are thrown away, and said."""
    visit = identify_visits(service_workers="block")
    visit.page.route("**/model/labels.json", lambda route: route.fulfill(body="{}"))
    visit.open("#settings")
    visit.page.get_by_role("button", name="Keep for offline").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("damaged")
    assert visit.page.evaluate("() => caches.keys().then((names) => names.filter((name) => name.startsWith('identify-model')))") == []


def test_an_engine_of_another_page_is_not_kept(identify_visits: Opener, api: FakeApi) -> None:
    """An engine that is not the one this page was built with is thrown away, and said."""
    visit = identify_visits(service_workers="block")
    visit.page.route("**/engine.wasm.gz", lambda route: route.fulfill(body="another engine"))
    visit.open("#settings")
    visit.page.get_by_role("button", name="Keep for offline").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("damaged")


def test_an_older_engine_is_renewed(identify_visits: Opener, api: FakeApi) -> None:
    """A net kept by an older page gets this page's engine at the next visit with a network, and answers."""
    visit = identify_visits()
    _kept(visit)
    in_cache = "async (act) => { const names = await caches.keys(); const cache = await caches.open(names.find((name) => name.startsWith('identify-model-'))); %s }"
    age = in_cache % (
        "const mark = await (await cache.match('./model/kept.json')).json(); mark.engine = 'older';"
        "await cache.put('./model/kept.json', Response.json(mark)); await cache.put('./engine.wasm.gz', new Response('older')); return true"
    )
    assert visit.page.evaluate(age)
    visit.page.reload()
    visit.until(in_cache % "return (await (await cache.match('./model/kept.json')).json()).engine !== 'older'")
    _without_network(visit)
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    expect(visit.page.get_by_text("Answered on this device")).to_be_visible()


def test_fetching_goes_on_while_the_reader_looks_elsewhere(identify_visits: Opener, api: FakeApi) -> None:
    """Leaving the settings ends no download: it is told there again, can be ended there, and ends in a net that is kept."""
    visit = identify_visits(service_workers="block")
    routes: list[Any] = []
    visit.page.route("**/model/model.onnx", lambda route: routes.append(route))
    visit.open("#settings")
    visit.page.get_by_role("button", name="Keep for offline").click()
    expect(visit.page.locator("progress")).to_be_visible()
    visit.page.get_by_role("link", name="Species").click()
    expect(visit.page.get_by_role("heading", name="Explore a species")).to_be_visible()
    visit.page.get_by_role("link", name="Settings").click()
    expect(visit.page.locator("progress")).to_be_visible()
    routes.pop().continue_()
    expect(visit.page.get_by_text("Kept: version v1")).to_be_visible()
    visit.page.get_by_role("button", name="Remove it").click()
    visit.page.get_by_role("button", name="Keep for offline").click()
    visit.page.get_by_role("button", name="Cancel").click()
    expect(visit.page.get_by_role("button", name="Keep for offline")).to_be_visible()
    assert visit.page.evaluate("() => caches.keys().then((names) => names.filter((name) => name.startsWith('identify-model')))") == []


def test_a_kept_model_can_be_removed(identify_visits: Opener, api: FakeApi) -> None:
    """What was kept is told with its version, and is gone when the reader says so."""
    visit = identify_visits()
    _kept(visit)
    expect(visit.page.get_by_text("Kept: version v1")).to_be_visible()
    visit.page.get_by_role("button", name="Remove it").click()
    expect(visit.page.get_by_text("Removed from this device.").last).to_be_visible()
    assert visit.page.evaluate("() => caches.keys().then((names) => names.filter((name) => name.startsWith('identify-model')))") == []


def test_the_shell_is_kept_and_answers_are_not(identify_visits: Opener, api: FakeApi) -> None:
    """The caches hold the page's own files and its configuration, nothing below /v2."""
    visit = identify_visits()
    visit.open()
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    visit.page.reload()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    kept = visit.page.evaluate(
        "async () => (await Promise.all((await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).map((r) => r.url)))).flat()"
    )
    assert kept and all("/identify/" in url for url in kept)
    assert not [url for url in kept if "/v2/" in url]
