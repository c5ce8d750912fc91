"""The plant at hand: a reload, another view, another language and a newer page lose nothing of it; what waits can be named and contributed later."""

from __future__ import annotations

import threading
from typing import Any

from tests.serving.page_identify.conftest import FakeApi, Opener, Visit, drawn, expect, jpeg

KEPT = """async () => {
  const opened = (request) => new Promise((done, fail) => Object.assign(request, { onsuccess: () => done(request.result), onerror: fail }));
  const database = await opened(indexedDB.open("geoplantnet-identify"));
  const tables = await opened(database.transaction("tables").objectStore("tables").getAll());
  database.close();
  return tables.some((one) => %s);
}"""
"""Whether the browser's database holds such a table, `one`."""


def _sent(form: dict[str, Any]) -> dict[str, str]:
    return {name: values[0] for name, values in form["fields"].items()}


def test_a_reload_loses_nothing(identify_visits: Opener, api: FakeApi) -> None:
    """Photos, what they show, the place and the answer are there again; after the next plant is begun they are gone from the device."""
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1)), jpeg(drawn(2)))
    visit.page.get_by_label("It shows").nth(1).select_option("bark")
    visit.page.get_by_label("Coordinates").check()
    visit.page.get_by_label("Latitude, longitude").fill("46.4812, 8.0123")
    visit.until(KEPT % "one.photos.length === 2 && one.photos[1].organ === 'bark' && one.place?.latitude === 46.4812")
    visit.page.reload()
    expect(visit.page.locator(".photos li")).to_have_count(2)
    expect(visit.page.get_by_label("It shows").nth(1)).to_have_value("bark")
    expect(visit.page.get_by_label("Latitude, longitude")).to_have_value("46.4812, 8.0123")
    visit.identify()
    visit.answered()
    assert _sent(api.forms[0])["lat"] == "46.4812" and api.forms[0]["fields"]["organs"] == ["auto", "bark"]
    visit.until(KEPT % "one.answer")
    visit.page.reload()
    expect(visit.page.locator(".candidate")).to_have_count(5)
    assert len(api.forms) == 1
    visit.page.get_by_role("button", name="Next plant").click()
    expect(visit.page.locator(".photos li")).to_have_count(0)
    visit.page.reload()
    expect(visit.page.get_by_role("button", name="Identify")).to_be_disabled()
    expect(visit.page.locator(".photos li")).to_have_count(0)


def test_another_tab_has_a_table_of_its_own(identify_visits: Opener, api: FakeApi) -> None:
    """What lies on the table of one tab is not on that of another."""
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.until(KEPT % "one.photos.length === 1")
    other = visit.context.new_page()
    other.goto(f"{visit.server}/identify/")
    expect(other.get_by_role("button", name="Identify")).to_be_disabled()
    expect(other.locator(".photos li")).to_have_count(0)


def test_asking_goes_on_while_the_reader_looks_elsewhere(identify_visits: Opener, api: FakeApi) -> None:
    """Another view and another language end no identification; the answer is a press away; a change of the photos does end it."""
    api.held = threading.Event()
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    expect(visit.page.get_by_role("button", name="Cancel")).to_be_visible()
    visit.page.get_by_role("link", name="Settings").click()
    visit.page.get_by_role("button", name="Français").click()
    api.held.set()
    visit.until("() => document.getElementById('announcer').textContent.includes('La réponse est là')")
    visit.page.get_by_role("link", name="Identifier").click()
    visit.page.get_by_role("button", name="Voir la réponse").click()
    visit.answered()
    assert len(api.forms) == 1, "the answer at hand is shown, not asked for again"
    api.held.clear()
    visit.page.get_by_role("link", name="Changer les photos").click()
    visit.photos(jpeg(drawn(2)))
    visit.identify()
    visit.page.get_by_role("button", name="Retirer la photo 2").click()
    expect(visit.page.get_by_role("button", name="Annuler")).to_be_hidden()
    api.held.set()
    expect(visit.page.get_by_role("button", name="Identifier")).to_be_enabled()
    visit.page.wait_for_timeout(300)
    expect(visit.page.locator("main")).to_have_class("view-identify")


def test_a_refusal_is_told_when_the_reader_comes_back(identify_visits: Opener, api: FakeApi) -> None:
    """What was refused while another view was shown stands there at the return, and is gone with the next press."""
    api.held = threading.Event()
    api.refuse(503, "busy", Retry_After="5")
    visit = identify_visits()
    visit.forgiven = True
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.page.get_by_role("link", name="Settings").click()
    expect(visit.page.get_by_role("heading", name="Settings")).to_be_visible()
    api.held.set()
    visit.page.wait_for_timeout(300)
    visit.page.get_by_role("link", name="Identify").click()
    expect(visit.page.locator("[role=alert]")).to_contain_text("too much to do just now")
    visit.identify()
    visit.answered()


def test_names_follow_the_language(identify_visits: Opener, api: FakeApi) -> None:
    """The answer at hand gets its common names in the language that is chosen, without being asked for again."""
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    expect(visit.page.locator(".candidate h2").first).to_have_text("Stemless gentian")
    visit.page.get_by_role("button", name="Français").click()
    expect(visit.page.locator(".candidate h2").first).to_have_text("Gentiane acaule")
    expect(visit.page.locator(".candidate h2").nth(1)).to_have_text("Gentiana clusii E.P.Perrier & Songeon")
    assert len(api.forms) == 1


def test_the_model_does_not_have_the_last_word(identify_visits: Opener, api: FakeApi) -> None:
    """A plant is contributed under a name that the answer does not hold."""
    api.scores = (0.82, 0.11)
    visit = identify_visits(key="good-key")
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    visit.page.get_by_role("button", name="None of these").click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Which species is it?").fill("lil")
    dialog.get_by_role("option", name="Lilium martagon").click()
    expect(dialog).to_contain_text("It is Lilium martagon")
    dialog.get_by_label("Contribute it").check()
    dialog.get_by_role("button", name="Contribute").click()
    expect(dialog).to_contain_text("Thank you")
    assert _sent(api.forms[1])["species"] == "lilium-martagon"


def test_a_name_given_without_network_is_contributed_later(identify_visits: Opener, api: FakeApi, model_folder: Any) -> None:
    """Answered on the device and named there, a plant waits; when the network is back it is asked about and contributed under that name."""
    visit = identify_visits(key="good-key")
    _keep(visit)
    visit.context.set_offline(True)
    visit.forgiven = True
    visit.open("#identify")
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    visit.page.get_by_role("button", name="This is it").nth(1).click()
    dialog = visit.page.get_by_role("dialog")
    named = str(dialog.locator(".dialog-head .eyebrow").text_content())
    dialog.get_by_label("contribute it when the network is back").check()
    dialog.get_by_role("button", name="Done").click()
    expect(visit.page.get_by_text(f"You named it {named}. Not asked yet.")).to_be_visible()
    expect(visit.page.get_by_text("1 plant waits for the network")).to_be_visible()
    visit.context.set_offline(False)
    expect(visit.page.get_by_text(f"You named it {named}. Open it to contribute.")).to_be_visible()
    expect(visit.page.get_by_text("1 plant has its answer")).to_be_visible()
    visit.page.get_by_role("button", name="Open").click()
    visit.answered()
    visit.page.get_by_role("button", name="Contribute it").click()
    dialog.get_by_label("Contribute it").check()
    dialog.get_by_role("button", name="Contribute").click()
    expect(dialog).to_contain_text("Thank you")
    assert _sent(api.forms[-1])["species"].replace("-", " ") == named.lower()
    dialog.get_by_role("button", name="Next plant").click()
    expect(visit.page.locator(".waiting")).to_be_hidden()


def test_a_place_is_asked_for_where_it_is_of_use(identify_visits: Opener, api: FakeApi) -> None:
    """A server that knows no places is not told any; one that takes contributions says what the place is for."""
    api.config = {"places": False, "store": False}
    visit = identify_visits(service_workers="block")
    visit.open()
    visit.photos(jpeg(drawn(1)))
    expect(visit.page.get_by_role("group", name="Where does it grow?")).to_be_hidden()
    api.config = {"places": False, "store": True}
    visit.page.reload()
    expect(visit.page.locator("#to-map")).to_be_hidden()
    visit.photos(jpeg(drawn(2)))
    expect(visit.page.get_by_text("A place counts where you contribute the plant.")).to_be_visible()


def test_a_newer_page_takes_over_when_the_reader_says_so(identify_visits: Opener, api: FakeApi) -> None:
    """A newer version is offered, not forced; loading it keeps the plant at hand."""
    visit = identify_visits()
    visit.open()
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    visit.until("() => navigator.serviceWorker.controller !== null")
    newer = visit.page.get_by_text("A newer version of this page is there.")
    expect(newer).to_be_hidden()
    visit.photos(jpeg(drawn(1)))
    api.worker = "// newer"
    visit.page.evaluate("() => navigator.serviceWorker.getRegistration().then((registration) => registration.update()).then(() => true)")
    expect(newer).to_be_visible()
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name="Load it").click()
    expect(visit.page.locator(".photos li")).to_have_count(1)
    expect(newer).to_be_hidden()


def _keep(visit: Visit) -> None:
    visit.open("#settings")
    visit.until("() => navigator.serviceWorker.ready.then(() => true)")
    visit.page.get_by_role("button", name="Keep for offline").click()
    expect(visit.page.locator("#view").get_by_text("Ready: this device answers without a network.")).to_be_visible()
