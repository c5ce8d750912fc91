"""Every task of the page of identification, on a phone, in English and French."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image
from starlette.responses import JSONResponse

from tests.serving.page_identify.conftest import FakeApi, Opener, drawn, expect, image_of, jpeg, species_of


def _answer_of(visit: Any, *photos: bytes) -> None:
    visit.open()
    visit.photos(*(photos or (jpeg(drawn(1)),)))
    visit.identify()
    visit.answered()


@pytest.mark.parametrize(("lang", "size", "name", "words"), [("en", "phone", "Stemless gentian", "82 % very likely"), ("fr", "phone", "Gentiane acaule", "82 % très probable"), ("en", "desktop", "Stemless gentian", "82 % very likely")])  # fmt: skip
def test_a_photo_becomes_candidates(identify_visits: Opener, api: FakeApi, lang: str, size: str, name: str, words: str) -> None:
    """A photo is taken in, sent, and answered by candidates with scores in figures and words, names in the language, and photos beside one's own."""
    visit = identify_visits(lang=lang, size=size)
    _answer_of(visit)
    cards = visit.page.locator(".candidate")
    expect(cards).to_have_count(5)
    expect(cards.first).to_contain_text(name)
    expect(cards.first).to_contain_text("Gentiana acaulis")
    expect(cards.first.locator(".score")).to_have_text(words.replace(" %", "\u00a0%" if lang == "en" else "\u202f%"))
    expect(cards.first.locator(".gallery .own")).to_be_visible()
    expect(cards.first.locator(".gallery li")).to_have_count(5)
    assert visit.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "nothing runs out of the screen"


def test_what_is_sent_holds_pixels_and_nothing_else(identify_visits: Opener, api: FakeApi) -> None:
    """A large photo with camera, place and time goes as a JPEG of 1,600 pixels, upright, without EXIF and without the file's name."""
    visit = identify_visits()
    photo = drawn(1, (2400, 1200))
    _answer_of(visit, jpeg(photo, place=(8.0123, 46.4812), taken="2026:05:12 10:11:12", orientation=6))
    sent = api.forms[0]
    field, filename, data = sent["files"][0]
    assert (field, filename) == ("images", "photo-1.jpg")
    assert b"Exif" not in data and b"SECRETCAMERA" not in data and b"2026:05:12" not in data
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG" and image.size == (800, 1600) and not image.getexif()
    assert "lat" not in sent["query"] and "lat" not in sent["fields"], "the place is sent only when the reader says so"
    assert sent["fields"]["organs"] == ["auto"]


def test_the_photos_own_place_is_asked_for(identify_visits: Opener, api: FakeApi) -> None:
    """The place in a photo is offered, not taken; once chosen it is sent with four decimals."""
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1), place=(8.01234567, 46.48123456)))
    expect(visit.page.get_by_text("Your photo says where it was taken")).to_be_visible()
    expect(visit.page.locator("input[value=none]")).to_be_checked()
    visit.page.locator("input[value=photo]").check()
    visit.identify()
    visit.answered()
    assert (api.forms[0]["fields"]["lat"], api.forms[0]["fields"]["lon"]) == (["46.4812"], ["8.0123"])
    assert "lat" not in api.forms[0]["query"], "addresses stand in logs"
    expect(visit.page.locator(".why")).to_contain_text("what is predicted to grow at the place")


def test_a_place_from_the_device_or_typed(identify_visits: Opener, api: FakeApi) -> None:
    """The device's place and typed coordinates are sent; what cannot be read is said, and not sent."""
    visit = identify_visits(geolocation={"latitude": 47.5, "longitude": 9.25}, permissions=["geolocation"])
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.page.locator("input[value=device]").check()
    expect(visit.page.locator(".place")).to_contain_text("47.5000, 9.2500")
    visit.page.locator("input[value=typed]").check()
    typed = visit.page.get_by_label("Latitude, longitude")
    typed.fill("somewhere")
    expect(visit.page.get_by_text("Not understood")).to_be_visible()
    typed.fill("95, 8")
    expect(visit.page.get_by_text("A latitude goes to 90")).to_be_visible()
    typed.fill("46°28'N 8°E")
    visit.identify()
    visit.answered()
    assert (api.forms[0]["fields"]["lat"], api.forms[0]["fields"]["lon"]) == (["46.4667"], ["8.0000"])


def test_organs_and_several_photos(identify_visits: Opener, api: FakeApi) -> None:
    """Photos go with the organs the reader named, at most five; one can be taken out; candidates show the compared photo's organ first."""
    visit = identify_visits()
    visit.open()
    visit.photos(*(jpeg(drawn(i)) for i in range(6)))
    expect(visit.page.get_by_role("alert")).to_contain_text("One photo too many")
    visit.page.get_by_role("button", name="Remove photo 5").click()
    visit.page.get_by_role("button", name="Remove photo 4").click()
    visit.page.get_by_role("button", name="Remove photo 3").click()
    expect(visit.page.locator(".photos li")).to_have_count(2)
    visit.page.get_by_label("It shows").nth(1).select_option("leaf")
    visit.identify()
    visit.answered()
    assert api.forms[0]["fields"]["organs"] == ["auto", "leaf"]
    first = visit.page.locator(".candidate").first.locator(".gallery li:not(.own) .caption")
    expect(first.first).to_have_text("Flower")
    visit.page.locator(".yours button").nth(1).click()
    expect(first.first).to_have_text("Leaf")


def test_files_that_are_no_pictures_are_said(identify_visits: Opener, api: FakeApi) -> None:
    """Each file that cannot be opened, or shows too little, is named with what to do; the others are taken."""
    visit = identify_visits()
    visit.open()
    tiny = jpeg(drawn(0, (20, 20)))
    files = [("plant.jpg", jpeg(drawn(1))), ("notes.heic", b"no picture"), ("dot.jpg", tiny)]
    visit.page.locator(".files input").set_input_files([{"name": n, "mimeType": "image/jpeg", "buffer": data} for n, data in files])
    expect(visit.page.locator(".photos li")).to_have_count(1)
    expect(visit.page.get_by_role("alert")).to_contain_text("notes.heic cannot be opened in this browser")
    expect(visit.page.get_by_role("alert")).to_contain_text("dot.jpg is too small")


def test_a_file_that_does_not_come_takes_no_others_with_it(identify_visits: Opener, api: FakeApi) -> None:
    """One that lies in a cloud, and cannot be read there: it is named, the others are taken."""
    visit = identify_visits()
    visit.open()
    failing = "b.name === 'b.jpg' ? Promise.reject(new DOMException('gone', 'NotReadableError')) : read.call(b)"
    visit.page.evaluate(
        f"() => {{ const read = File.prototype.arrayBuffer; File.prototype.arrayBuffer = function () {{ const b = this; return {failing}; }}; }}"
    )
    files = [{"name": name, "mimeType": "image/jpeg", "buffer": jpeg(drawn(i))} for i, name in enumerate(("a.jpg", "b.jpg", "c.jpg"))]
    visit.page.locator(".files input").set_input_files(files)
    expect(visit.page.locator(".photos li")).to_have_count(2)
    expect(visit.page.get_by_role("alert")).to_contain_text("b.jpg cannot be opened in this browser")


def test_the_page_is_there_before_a_slow_server_says_what_it_offers(identify_visits: Opener, api: FakeApi) -> None:
    """On a network that hangs the reader can take photos all the same, and addresses that were cut lead to a page."""
    visit = identify_visits()
    waiting: list[Any] = []
    visit.page.route("**/config.json", lambda route: waiting.append(route))
    visit.open("#constructor")
    expect(visit.page.get_by_role("heading", name="What plant is it?")).to_be_visible()
    assert len(waiting) == 1
    waiting[0].continue_()
    expect(visit.page.locator("#wordmark")).to_have_text("Test flora")
    visit.page.goto("about:blank")
    api.refuse(404, "there is no such species")
    visit.forgiven = True
    visit.page.unroute("**/config.json")
    visit.open("#species/%E0%A4%A")


def test_side_by_side(identify_visits: Opener, api: FakeApi) -> None:
    """A press on a photo shows it large beside one's own; arrows go through both; Escape leads back to where one was."""
    visit = identify_visits()
    _answer_of(visit, jpeg(drawn(1)), jpeg(drawn(2)))
    opener = visit.page.get_by_role("button", name="Stemless gentian, photo 2: Flower. Compare with yours")
    opener.click()
    dialog = visit.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Your photo 1: Flower")
    expect(dialog).to_contain_text("Stemless gentian: Flower, 2 of 4")
    dialog.get_by_role("button", name="The next one").last.click()
    expect(dialog).to_contain_text("Stemless gentian: Leaf, 3 of 4")
    dialog.get_by_role("button", name="The next one").first.click()
    expect(dialog).to_contain_text("Your photo 2: Flower")
    visit.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()


def test_the_way_back_leads_to_where_one_stood(identify_visits: Opener, api: FakeApi) -> None:
    """Who read about a candidate comes back to it: the answer as it was looked at, at the same height. A new view begins at its top."""
    visit = identify_visits()
    _answer_of(visit, jpeg(drawn(1)), jpeg(drawn(2)))
    page = visit.page
    last = page.locator(".candidate").nth(4)
    expect(last.locator(".gallery")).to_have_count(0)
    page.locator(".yours button").nth(1).click()
    last.get_by_role("button", name="Show photos of").click()
    expect(last.get_by_role("button", name="photo 1:")).to_be_visible()
    about = last.get_by_role("link")
    about.scroll_into_view_if_needed()
    visit.until("() => history.state?.top > 0 && history.state.top === scrollY")
    top = page.evaluate("() => scrollY")
    about.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Lilium martagon")
    assert page.evaluate("() => scrollY") == 0
    page.go_back()
    expect(last.locator(".gallery")).to_be_visible()
    expect(page.locator(".yours button").nth(1)).to_have_attribute("aria-pressed", "true")
    visit.until(f"() => Math.abs(scrollY - {top}) < 2")


def test_no_plant_is_an_answer(identify_visits: Opener, api: FakeApi) -> None:
    """A rejection says so and what helps; the guesses come on demand, marked as such."""
    visit = identify_visits()
    api.refuse(404, "Species not found")
    visit.forgiven = True  # the browser reports the 404
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    expect(visit.page.get_by_role("heading", name="No plant found")).to_be_visible()
    visit.page.get_by_role("button", name="Show the best guesses all the same").click()
    expect(visit.page.locator(".candidate")).to_have_count(5)
    expect(visit.page.get_by_text("These are guesses")).to_be_visible()
    assert api.forms[1]["query"]["no-reject"] == "true"


@pytest.mark.parametrize(
    ("scores", "words"), [((0.4, 0.38, 0.05), "Not sure"), ((0.49, 0.45, 0.02), "The genus is almost certain (Gentiana, 94")]
)
def test_doubt_is_said(identify_visits: Opener, api: FakeApi, scores: tuple[float, ...], words: str) -> None:
    """Where no species is likely enough, the answer says so; where its genus is, that."""
    if scores[0] < 0.45:
        scores = (scores[0], 0.05, scores[1])  # the second of another genus
    api.scores = scores
    visit = identify_visits()
    _answer_of(visit)
    expect(visit.page.locator("#view .notice")).to_contain_text(words)


def test_another_flora_can_be_asked(identify_visits: Opener, api: FakeApi) -> None:
    """Where the server says that another flora fits better, one press asks it, and it stays chosen."""
    api.extra = {"switchToProject": "alps"}
    visit = identify_visits()
    _answer_of(visit)
    api.extra = {}
    visit.page.get_by_role("button", name="Use that one").click()
    expect(visit.page.get_by_text("Another flora fits")).to_have_count(0)
    assert [form["query"].get("lang") for form in api.forms] == ["en", "en"]
    assert "/identify/alps?" in visit.requests[-1] or any("/identify/alps?" in url for url in visit.requests)
    visit.open("#settings")
    expect(visit.page.get_by_label("Plants to choose from")).to_have_value("alps")


@pytest.mark.parametrize(
    ("status", "words", "headers"),
    [
        (413, "too large for this server", {}),
        (415, "cannot read one of the photos", {}),
        (429, "used up. Try again in 30 minutes", {"Retry_After": "1800"}),
        (503, "too much to do just now. Try again in a minute", {"Retry_After": "5"}),
        (401, "asks for a key", {}),
        (400, "HTTP 400", {}),
        (500, "failed to answer", {}),
    ],
)
def test_refusals_are_told_in_words(identify_visits: Opener, api: FakeApi, status: int, words: str, headers: dict[str, str]) -> None:
    """Each refusal says what happened and when or how to go on; the photos stay, and the next press works."""
    api.refuse(status, "words of the server", **headers)
    visit = identify_visits()
    visit.forgiven = True
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    expect(visit.page.locator("[role=alert]")).to_contain_text(words)
    expect(visit.page.locator(".photos li")).to_have_count(1)
    visit.identify()
    visit.answered()


def test_a_photo_of_nobody_and_a_species_without_common_name(identify_visits: Opener, api: FakeApi) -> None:
    """Who is not named is told so in the reader's language; no name is told twice above a comparison; the page has no frame around it."""
    nobody = {"author": "unknown", "citation": "unknown / flora, CC BY-SA"}
    plain = {**species_of(4), "commonNames": []}
    api.extra = {"results": [{"score": 0.9, "taxonID": "lilium-martagon", "species": plain, "images": [image_of(1, "flower") | nobody]}]}
    visit = identify_visits(lang="fr")
    _answer_of(visit)
    expect(visit.page.locator(".candidate").first).to_contain_text("auteur non nommé / flora, CC BY-SA")
    visit.page.locator(".candidate img").nth(1).click()
    dialog = visit.page.get_by_role("dialog")
    expect(dialog.locator(".dialog-head")).to_have_text(re.compile(r"^Lilium martagon\s*Liliaceae\s*✕$"))
    expect(dialog).to_contain_text("auteur non nommé / flora, CC BY-SA")
    visit.page.keyboard.press("Escape")
    visit.open("#species")
    assert visit.page.evaluate("() => getComputedStyle(document.querySelector('main')).outlineStyle") == "none"


def test_a_plant_is_contributed_once(identify_visits: Opener, api: FakeApi) -> None:
    """Once given it is said so, through a reload, and confirming it again offers no second contribution; another photo makes another plant."""
    visit = identify_visits(key="good-key")
    _answer_of(visit)
    confirm = visit.page.get_by_role("button", name="This is it: Stemless gentian")
    expect(visit.page.get_by_text("The server kept nothing.")).to_be_visible()
    confirm.click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_label("Contribute it").check()
    expect(dialog.get_by_label("Seen on")).to_have_value("")  # the photo does not tell it
    dialog.get_by_role("button", name="Contribute").click()
    expect(dialog).to_contain_text("Thank you")
    visit.page.keyboard.press("Escape")
    for again in range(2):
        expect(visit.page.get_by_text("You contributed this plant.")).to_be_visible()
        confirm.click()
        expect(dialog).to_contain_text("You contributed this plant.")
        expect(dialog.get_by_label("Contribute it")).to_have_count(0)
        visit.page.keyboard.press("Escape")
        if not again:
            visit.until("() => new Promise((done) => setTimeout(() => done(true), 400))")  # what lies on the table is written soon
            visit.page.reload()
    assert len(api.forms) == 2, "the identification, and one contribution"


def test_private_unless_contributed(identify_visits: Opener, api: FakeApi) -> None:
    """To confirm keeps everything private by default: nothing is sent."""
    visit = identify_visits(key="good-key")
    _answer_of(visit)
    visit.page.get_by_role("button", name="This is it: Stemless gentian").click()
    dialog = visit.page.get_by_role("dialog")
    expect(dialog.get_by_label("Keep it to myself")).to_be_checked()
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_have_count(0)
    assert len(api.forms) == 1, "only the identification itself"


def test_contributing(identify_visits: Opener, api: FakeApi) -> None:
    """A contribution goes with key, licence, name, day and place, photos without EXIF; it is thanked for."""
    visit = identify_visits(key="good-key")
    visit.open()
    visit.photos(jpeg(drawn(1), place=(8.0123, 46.4812), taken="2026:05:12 10:11:12"))
    visit.page.locator("input[value=photo]").check()
    visit.identify()
    visit.answered()
    visit.page.get_by_role("button", name="This is it: Stemless gentian").click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_label("Contribute it").check()
    expect(dialog.get_by_label("Seen on")).to_have_value("2026-05-12")
    dialog.get_by_label("Name to be credited").fill("Ann")
    dialog.get_by_label("Licence of photos and record").select_option("cc-by")
    dialog.get_by_role("button", name="Contribute").click()
    expect(dialog).to_contain_text("Thank you. It is among your contributions.")
    sent = api.forms[1]
    told = {name: values[0] for name, values in sent["fields"].items()}
    assert len(told.pop("key")) == 32, "sent twice, it is kept once"
    assert told == {
        "organs": "auto",
        "species": "gentiana-acaulis",
        "license": "cc-by",
        "author": "Ann",
        "date": "2026-05-12",
        "lat": "46.4812",
        "lon": "8.0123",
    }
    assert sent["key"] == "good-key" and b"Exif" not in sent["files"][0][2]


def test_a_contribution_needs_a_key(identify_visits: Opener, api: FakeApi) -> None:
    """Without a key, and with one the server does not know, the reader is told what to do and nothing is lost."""
    visit = identify_visits(key="bad-key")
    visit.forgiven = True
    _answer_of(visit)
    visit.page.get_by_role("button", name="This is it: Stemless gentian").click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_label("Contribute it").check()
    dialog.get_by_role("button", name="Contribute").click()
    expect(dialog.get_by_role("alert")).to_contain_text("asks for a key, or does not know yours")
    visit = identify_visits()
    _answer_of(visit)
    visit.page.get_by_role("button", name="This is it: Stemless gentian").click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_label("Contribute it").check()
    expect(dialog).to_contain_text("A contribution needs your key")
    expect(dialog.get_by_role("button", name="Contribute")).to_be_disabled()
    dialog.get_by_label("Keep it to myself").check()
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_have_count(0)


def _queue(n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"o{i}",
            "species": species_of(i),
            "date": "2026-05-03",
            "place": {"latitude": 46.48, "longitude": 8.01},
            "author": "Ann",
            "confidence": 0.56,
            "votes": 3,
            "images": [image_of(i, "flower"), image_of(i + 7, "leaf")],
            "answers": [{"species": species_of(i), "share": 0.56}, {"species": species_of((i + 1) % 5), "share": 0.3}],
        }
        for i in range(n)
    ]


def test_the_review_queue(identify_visits: Opener, api: FakeApi) -> None:
    """Others' plants come one by one, over pages: agree, another name, no plant, cultivated, skip; each vote is sent once with the key."""
    api.queue = _queue(5)
    visit = identify_visits(key="good-key")
    visit.open("#review")
    title = visit.page.locator(".review h2")
    expect(title).to_contain_text("Gentiana acaulis")
    visit.page.get_by_role("button", name="I agree").click()
    expect(title).to_contain_text("Gentiana clusii")
    visit.page.get_by_role("button", name="Another name").click()
    finder = visit.page.get_by_role("combobox", name="Which species is it?")
    finder.fill("bel")
    visit.page.get_by_role("option", name="Bellis perennis").click()
    expect(title).to_contain_text("Bellis perennis")
    visit.page.get_by_role("button", name="Not a plant").click()
    expect(title).to_contain_text("Taraxacum officinale")
    visit.page.get_by_role("button", name="Skip").click()
    expect(title).to_contain_text("Lilium martagon")
    visit.page.get_by_role("button", name="Cultivated").click()
    end = visit.page.get_by_text("1 plant you skipped still waits")
    expect(end).to_be_visible()
    expect(visit.page.locator(".stage .notice")).to_be_focused()
    expect(visit.page.get_by_text("4 votes since you opened this page")).to_be_visible()
    api.queue = _queue(5)[3:4]  # the server does not tell again what was voted on
    visit.page.get_by_role("button", name="Look at what you skipped").click()
    expect(title).to_contain_text("Taraxacum officinale")
    visit.page.get_by_role("button", name="I agree").click()
    expect(visit.page.get_by_text("Nothing waits for a review")).to_be_visible()
    assert api.votes == [
        ("o0", {"species": "gentiana-acaulis"}, "good-key"),
        ("o1", {"species": "bellis-perennis"}, "good-key"),
        ("o2", {"kind": "not_a_plant"}, "good-key"),
        ("o4", {"kind": "cultivated"}, "good-key"),
        ("o3", {"species": "taraxacum-officinale"}, "good-key"),
    ]


def test_the_last_vote_can_be_undone(identify_visits: Opener, api: FakeApi) -> None:
    """A slip of the finger is taken back at the server, a refusal of it told; the plant comes again and the focus with it, also past the end."""
    api.queue = _queue(1)
    visit = identify_visits(key="good-key")
    visit.forgiven = True
    visit.open("#review")
    title = visit.page.locator(".review h2")
    visit.page.get_by_role("button", name="Not a plant").click()
    expect(visit.page.get_by_text("Nothing waits for a review")).to_be_visible()
    undo = visit.page.get_by_role("button", name="Undo. You said: not a plant.")
    api.refuse(503, "busy")
    undo.click()
    expect(visit.page.locator(".tally [role=alert]")).to_contain_text("too much to do")
    undo.click()
    expect(title).to_contain_text("Gentiana acaulis")
    expect(title).to_be_focused()
    expect(undo).to_have_count(0)
    visit.page.get_by_role("button", name="I agree").click()
    expect(visit.page.get_by_text("1 vote since")).to_be_visible()
    assert api.votes == [
        ("o0", {"kind": "not_a_plant"}, "good-key"),
        ("o0", {}, "good-key"),
        ("o0", {"species": "gentiana-acaulis"}, "good-key"),
    ]


def test_photos_of_others_are_seen_large(identify_visits: Opener, api: FakeApi) -> None:
    """A press enlarges a photo, whole and credited; arrow keys go through the others; Escape leads back."""
    api.queue = _queue(1)
    visit = identify_visits(key="good-key")
    visit.open("#review")
    opener = visit.page.get_by_role("button", name="Photo 1: Flower. Enlarge")
    opener.click()
    dialog = visit.page.get_by_role("dialog", name="Gentiana acaulis")
    expect(dialog).to_contain_text("Flower, 1 of 2")
    visit.page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("Leaf, 2 of 2")
    visit.page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("Flower, 1 of 2")
    expect(dialog.locator("img")).to_have_js_property("complete", True)
    visit.page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    visit.open("#species/gentiana-acaulis")
    visit.page.get_by_role("button", name="Enlarge").first.click()
    expect(visit.page.get_by_role("dialog").locator(".credit")).not_to_be_empty()


def test_what_one_gave_can_be_taken_back(identify_visits: Opener, api: FakeApi) -> None:
    """Own contributions come in pages with how settled they are; one is taken back after a second question, and a refusal of it is told."""
    api.mine = [{**one, "valid": i == 0, "id": f"o{i}"} for i, one in enumerate(_queue(3))]
    visit = identify_visits(key="good-key")
    visit.forgiven = True
    visit.open("#settings")
    visit.page.get_by_role("link", name="Your contributions").click()
    items = visit.page.locator(".given li")
    expect(items).to_have_count(2)
    expect(items.first).to_contain_text("Agreed on; 3 votes.")
    visit.page.get_by_role("button", name="Show more").click()
    expect(items).to_have_count(3)
    opener = visit.page.get_by_role("button", name="Take back Gentiana clusii")
    opener.click()
    dialog = visit.page.get_by_role("dialog", name="Take it back for good?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(opener).to_be_focused()
    assert len(api.mine) == 3
    opener.click()
    api.refuse(503, "busy")
    dialog.get_by_role("button", name="Take it back").click()
    expect(dialog.get_by_role("alert")).to_contain_text("too much to do")
    dialog.get_by_role("button", name="Take it back").click()
    expect(dialog).to_have_count(0)
    expect(items).to_have_count(2)
    assert [one["id"] for one in api.mine] == ["o0", "o2"]


def test_a_vote_that_fails_can_be_cast_again(identify_visits: Opener, api: FakeApi) -> None:
    """A refused vote stays on the screen with its reason, and goes through at the next press."""
    api.queue = _queue(2)
    visit = identify_visits(key="good-key")
    visit.forgiven = True
    visit.open("#review")
    api.refuse(503, "busy", Retry_After="5")
    visit.page.get_by_role("button", name="I agree").click()
    expect(visit.page.locator(".review [role=alert]")).to_contain_text("too much to do")
    visit.page.get_by_role("button", name="I agree").click()
    expect(visit.page.locator(".review h2")).to_contain_text("Gentiana clusii")
    assert len(api.votes) == 1


def test_exploring_a_species(identify_visits: Opener, api: FakeApi) -> None:
    """A species is found by its name with the keyboard alone, and told by names, months as bars and as a table, and photos."""
    visit = identify_visits()
    visit.open("#species")
    finder = visit.page.get_by_role("combobox", name="Name of a species")
    finder.focus()
    visit.page.keyboard.type("gent")
    expect(visit.page.get_by_role("option")).to_have_count(2)
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("heading", name="Trumpet gentian")).to_be_visible()
    expect(visit.page.locator(".columns")).to_have_attribute("aria-label", "Records by month; most in June (34)")
    expect(visit.page.locator(".pictures li")).to_have_count(3)
    visit.forgiven = True
    visit.open("#species/nothing-such")
    expect(visit.page.get_by_role("alert")).to_contain_text("not found on the server")


def test_language_and_choices_last(identify_visits: Opener, api: FakeApi) -> None:
    """French is a press away in any view, photos stay; language, key and colours outlast a reload; the key goes in a header alone."""
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.page.get_by_role("button", name="Français").click()
    expect(visit.page.get_by_role("heading", name="Quelle est cette plante")).to_be_visible()
    expect(visit.page.locator(".photos li")).to_have_count(1)
    visit.page.get_by_role("link", name="Réglages").click()
    visit.page.get_by_label("Clé").fill("good-key")
    visit.page.get_by_label("Couleurs").select_option("dark")
    visit.page.reload()
    expect(visit.page.get_by_label("Clé")).to_have_value("good-key")
    assert visit.page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    visit.page.get_by_role("link", name="Identifier").click()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    assert api.forms[0]["key"] == "good-key" and api.forms[0]["query"]["lang"] == "fr"
    assert not [url for url in visit.requests if "good-key" in url]


def test_names_are_text_not_markup(identify_visits: Opener, api: FakeApi) -> None:
    """Names and credits with markup are shown as they are written, and run nothing."""
    evil = "<img src=x onerror=\"document.title='owned'\">"
    visit = identify_visits()

    async def answer(request: Any) -> JSONResponse:
        await request.form()
        one = {
            "score": 0.9,
            "taxonID": "x",
            "species": species_of(0) | {"commonNames": [evil]},
            "images": [image_of(1, "flower") | {"citation": evil}],
        }
        return JSONResponse({"results": [one], "predictedOrgans": [], "evidence": "flora", "preferedReferential": evil, "version": evil})

    api.identify = answer  # type: ignore[method-assign, assignment]
    _answer_of(visit)
    expect(visit.page.locator(".candidate h2")).to_have_text(evil)
    assert "owned" not in visit.page.title()
