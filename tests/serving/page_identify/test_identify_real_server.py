"""The page over the real server of identification: an answer, a contribution, another's vote; the net kept and used without a network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import Decoder
from geoplantnet.serving.guard import KeyRing
from geoplantnet.serving.identify import IdentifySettings, create_identify_app
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon
from tests.serving.page_identify.conftest import PATIENCE, SIZES, SPECIES, Visit, drawn, expect, jpeg


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """URL of a server with a store and an offline folder, and the keys of two people."""
    folder = tmp_path_factory.mktemp("real")
    taxa = tuple(Taxon(taxon_id=taxon, scientific_name=name, genus=genus, family=family) for taxon, name, _, genus, family, _ in SPECIES)
    ring = KeyRing(folder / "keys.sqlite", create=True)
    keys = {user: ring.add(user, quota=40) for user in ("ann", "ben")}
    ring.close()
    settings = IdentifySettings(keys=folder / "keys.sqlite", quota=folder / "quota.sqlite", update_s=0.2)
    with Decoder(workers=1) as decoder, ObservationStore.open(folder / "store.sqlite", create=True) as store:
        identifier = Identifier(FakeNetwork(SpeciesList(checklist="test 1", taxa=taxa)))
        app = create_identify_app(identifier, store=store, settings=settings, decoder=decoder, model_folder=model_folder)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", keys
        server.should_exit = True
        thread.join(timeout=10)


def _visit(chromium: Any, url: str, key: str) -> Visit:
    context = chromium.new_context(viewport=SIZES["phone"], locale="en", reduced_motion="reduce")
    context.add_init_script(f"localStorage.setItem('geoplantnet-identify', JSON.stringify({{key: '{key}'}}))")
    visit = Visit(page=context.new_page(), context=context, server=url)
    visit.page.set_default_timeout(PATIENCE)
    context.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("console", lambda message: visit.complaints.append(message.text) if message.type == "error" else None)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    return visit


def test_from_a_photo_to_anothers_vote(chromium: Any, real: tuple[str, dict[str, str]]) -> None:
    """Ann's photo is identified and contributed; Ben sees it under Review with its picture, and agrees; the species' page tells it."""
    url, keys = real
    ann = _visit(chromium, url, keys["ann"])
    ann.open()
    ann.photos(jpeg(drawn(1), place=(8.0123, 46.4812), taken="2026-05-12 10:11:12".replace("-", ":", 2)))
    ann.page.locator("input[value=photo]").check()
    ann.identify()
    ann.answered()
    expect(ann.page.locator(".candidate")).to_have_count(5)
    name = ann.page.locator(".candidate i").first.text_content()
    ann.page.locator(".candidate .strong").first.click()
    dialog = ann.page.get_by_role("dialog")
    dialog.get_by_label("Contribute it").check()
    dialog.get_by_role("button", name="Contribute").click()
    expect(dialog).to_contain_text("Thank you")
    ann.context.close()
    ben = _visit(chromium, url, keys["ben"])
    ben.open("#review")
    expect(ben.page.locator(".review h2")).to_contain_text(str(name))
    image = ben.page.locator(".review img").first
    expect(image).to_be_visible()
    ben.until("() => document.querySelector('.review img').naturalWidth > 0")
    ben.page.get_by_role("button", name="I agree").click()
    expect(ben.page.get_by_text("Nothing waits for a review")).to_be_visible()
    ben.page.get_by_role("button", name="Undo").click()
    expect(ben.page.locator(".review h2")).to_contain_text(str(name))
    ben.page.reload()  # the server has it in the queue again
    expect(ben.page.locator(".review h2")).to_contain_text(str(name))
    ben.page.get_by_role("button", name="I agree").click()
    expect(ben.page.get_by_text("Nothing waits for a review")).to_be_visible()
    ben.open("#species")
    ben.page.get_by_role("combobox").fill(str(name)[:5])
    ben.page.get_by_role("option", name=str(name)).click()
    expect(ben.page.locator(".pairs")).to_contain_text(str(name))
    ben.context.close()
    again = _visit(chromium, url, keys["ann"])
    again.open("#own")
    expect(again.page.locator(".given li")).to_contain_text(str(name))
    again.until("() => document.querySelector('.given img').naturalWidth > 0")
    photo = again.page.locator(".given img").get_attribute("src")
    again.page.get_by_role("button", name="Take back").click()
    again.page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
    expect(again.page.get_by_text("You have contributed nothing yet.")).to_be_visible()
    assert httpx.get(str(photo)).status_code == 404
    again.context.close()
    for visit in (ann, ben, again):
        assert visit.complaints == []
        assert [one for one in visit.requests if not one.startswith((f"{url}/", "data:", "blob:"))] == []


def test_the_servers_model_is_kept_and_answers(chromium: Any, real: tuple[str, dict[str, str]]) -> None:
    """Under the real server's headers the net is fetched, checked, and answers with the network off."""
    url, keys = real
    visit = _visit(chromium, url, keys["ann"])
    visit.open("#settings")
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    visit.page.get_by_role("button", name="Keep for offline").click()
    expect(visit.page.locator("#view").get_by_text("Ready: this device answers")).to_be_visible()
    assert visit.complaints == []
    visit.context.set_offline(True)
    visit.open()
    visit.photos(jpeg(drawn(2)))
    visit.identify()
    visit.answered()
    expect(visit.page.get_by_text("Answered on this device")).to_be_visible()
    expect(visit.page.locator(".candidate")).to_have_count(3)
    visit.context.close()
