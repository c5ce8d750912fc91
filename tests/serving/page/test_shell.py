"""The shell: first look, address, languages, themes, tabs, the sheet of a phone, print, failures in words."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serving import epochs
from tests.serving.conftest import serving
from tests.serving.page.conftest import INSIDE, Opener, Visit, expect, link_to


def test_first_look(everywhere: Visit) -> None:
    """The page opens on an indicator with notice, legend, attribution, scale and a map drawn over the relief, in the reader's language."""
    everywhere.open()
    everywhere.mapped()
    page = everywhere.page
    french = page.evaluate("document.documentElement.lang") == "fr"
    title = "Richesse spécifique" if french else "Species richness"
    expect(page.locator("#notice")).to_have_text(epochs.FRENCH_NOTICE if french else epochs.NOTICE)
    expect(page.locator("#notice")).to_be_in_viewport(ratio=1)
    expect(page.locator("#legend-title")).to_have_text(title)
    expect(page.locator("#legend-keys")).to_contain_text("Jaune = beaucoup" if french else "Yellow = many species")
    expect(page.locator("#legend-keys .bar")).to_be_in_viewport(ratio=1)
    expect(page.locator("#scale")).to_contain_text("km")
    expect(page.locator("#attribution")).to_contain_text("the makers of <this> map & others")
    expect(page).to_have_title(f"{title} · Cartes d'essai 2017" if french else f"{title} · Test maps")
    assert everywhere.maps(LAYERS="richness") and everywhere.maps(LAYERS="relief")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_wms_box_is_northing_first(visit: Visit) -> None:
    """WMS 1.3.0 in EPSG:3035: the box of every image is given as northing, easting, on the lattice of the cells."""
    visit.open(link_to(epochs.WEST + 25_000, epochs.SOUTH + 25_000, zoom=7))
    visit.mapped()
    for url in visit.maps(LAYERS="richness"):
        query = parse_qs(urlsplit(url).query)
        assert (query["VERSION"], query["CRS"]) == (["1.3.0"], ["EPSG:3035"])
        bottom, left, top, right = map(float, query["BBOX"][0].split(","))
        assert (bottom % 50, left % 50, top - bottom, right - left) == (0, 0, 25_600, 25_600)
        assert abs(bottom - epochs.SOUTH) < 100_000 and abs(left - epochs.WEST) < 100_000


def test_a_link_brings_everything_back(visits: Opener) -> None:
    """What is chosen stands in the address, and the address opened by another browser shows the same."""
    first = visits()
    first.open(link_to(*INSIDE, zoom=8))
    page = first.page
    page.get_by_role("radio", name="Habitat").check()
    page.locator("#opacity").fill("40")
    page.locator("#hatch").check()
    page.locator("#relief").uncheck()
    page.locator("[data-lang=fr]").click()
    page.get_by_role("tab", name="Ici").click()
    expect(page).to_have_url(re.compile("layer=habitat.*opacity=40.*relief=0.*hatch=1.*tab=here.*lang=fr"))
    second = visits()
    second.open(urlsplit(page.url).fragment and f"#{urlsplit(page.url).fragment}")
    other = second.page
    expect(other.locator("#legend-title")).to_have_text("Habitat")
    expect(other.locator("#opacity")).to_have_value("40")
    expect(other.locator("#hatch")).to_be_checked()
    expect(other.locator("#relief")).not_to_be_checked()
    expect(other.get_by_role("tab", name="Ici")).to_have_attribute("aria-selected", "true")
    expect(other).to_have_url(page.url)


def test_the_address_changed_by_hand_is_followed(visit: Visit) -> None:
    """Another address in the same page shows its layer; back shows the first."""
    visit.open("#layer=richness")
    visit.page.goto(f"{visit.server}/#layer=habitat&opacity=20")
    expect(visit.page.locator("#legend-title")).to_have_text("Habitat")
    expect(visit.page.locator("#opacity")).to_have_value("20")
    visit.page.go_back()
    expect(visit.page.locator("#legend-title")).to_have_text("Species richness")


def test_an_unknown_layer_of_a_link_is_told(everywhere: Visit) -> None:
    """A link to a layer that is not there says so and shows another."""
    everywhere.open("#layer=gone")
    expect(everywhere.page.locator("#announcer")).to_contain_text("gone")
    expect(everywhere.page.locator("#layers-message")).to_contain_text("gone")
    expect(everywhere.page.locator("#legend-title")).to_have_text(re.compile("richness|Richesse"))
    everywhere.forgive("404")


def test_an_unknown_map_of_a_link_is_told(everywhere: Visit) -> None:
    """A scenario that is not there (any more): today's is shown, and it is said."""
    everywhere.open("#layer=richness&scenario=colder")
    expect(everywhere.page.locator("#layers-message")).to_contain_text("colder")
    expect(everywhere.page.locator("#scenario")).to_have_value("")
    expect(everywhere.page).to_have_url(re.compile("^(?!.*colder)"))


def test_the_publishers_words_are_told_in_french(visits: Opener) -> None:
    """Title, notice and the names of maps, as far as the publisher gave them; back in English on a switch."""
    visit = visits(lang="fr")
    visit.open("#layer=richness&scenario=warmer")
    page = visit.page
    expect(page.locator("#catalog-title")).to_have_text("Cartes d'essai 2017")
    expect(page.locator("#notice")).to_have_text(epochs.FRENCH_NOTICE)
    expect(page.locator("#legend-family")).to_contain_text("Cartes d'essai 2050")
    assert "Cartes d'essai 2017" in page.title()
    page.locator("[data-lang=en]").click()
    expect(page.locator("#notice")).to_have_text(epochs.NOTICE)
    expect(page.locator("#legend-family")).to_contain_text("Warmer")


def test_copying_the_link_says_so(visits: Opener) -> None:
    """The button puts the whole address on the clipboard, and says so to eyes and ears."""
    visit = visits(permissions=["clipboard-read", "clipboard-write"])
    visit.open("#layer=habitat")
    visit.page.get_by_role("button", name="Copy a link").click()
    expect(visit.page.locator("#toast")).to_contain_text("copied")
    expect(visit.page.locator("#announcer")).to_contain_text("copied")
    assert "layer=habitat" in visit.page.evaluate("navigator.clipboard.readText()")


def test_the_language_is_switched_everywhere(visit: Visit) -> None:
    """Words, layer titles, numbers, document language and title follow the switch."""
    visit.open("#layer=richness")
    page = visit.page
    page.locator("[data-lang=fr]").click()
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page).to_have_title("Richesse spécifique · Cartes d'essai 2017")
    expect(page.get_by_role("tab")).to_have_text(["Couches", "Ici", "Zone"])
    expect(page.locator("#legend")).to_contain_text("Unité : espèces")
    expect(page.get_by_role("radio", name="Richesse spécifique")).to_be_checked()
    page.locator("[data-lang=en]").click()
    expect(page.get_by_role("tab")).to_have_text(["Layers", "Here", "Area"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_one_is_chosen(visits: Opener, scheme: str) -> None:
    """Auto is what the system has; the button goes through light and dark, and the address keeps it."""
    visit = visits(scheme=scheme)
    visit.open()
    root, button = visit.page.locator("html"), visit.page.locator("#theme")
    expect(root).to_have_attribute("data-theme", scheme)
    button.click()
    expect(root).to_have_attribute("data-theme", "light")
    button.click()
    expect(root).to_have_attribute("data-theme", "dark")
    expect(visit.page).to_have_url(re.compile("theme=dark"))
    button.click()
    expect(root).to_have_attribute("data-theme", scheme)


def test_tabs_by_keyboard(visit: Visit) -> None:
    """One tab stop for the tabs; arrows, Home and End move between them; only the chosen panel is there."""
    visit.open()
    page = visit.page
    page.get_by_role("tab", name="Layers").focus()
    for key, name in (("ArrowRight", "Here"), ("ArrowRight", "Area"), ("ArrowRight", "Layers"), ("End", "Area"), ("Home", "Layers")):
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel")).to_have_count(1)
        assert page.locator("[role=tab][tabindex='0']").count() == 1


def test_skip_links_lead_past_the_head(visit: Visit) -> None:
    """The first Tab offers the layers, the second the map; the address stays as it is."""
    visit.open("#layer=habitat")
    page = visit.page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Layers")).to_be_focused()
    page.locator(".skip").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#map")).to_be_focused()
    expect(page).to_have_url(re.compile("layer=habitat"))


def test_the_sheet_of_a_phone(visits: Opener) -> None:
    """Three heights by the handle, by press and by drag; the legend stays in view; targets are at least 24 px."""
    visit = visits(size="phone")
    visit.open()
    page, sheet, handle = visit.page, visit.page.locator("#sheet"), visit.page.locator("#handle")
    for height in ("peek", "half", "full"):
        expect(sheet).to_have_attribute("data-height", height)
        expect(page.locator("#legend-keys .bar")).to_be_in_viewport(ratio=1)
        handle.focus()
        page.keyboard.press("Enter")
    expect(sheet).to_have_attribute("data-height", "peek")
    expect(page.locator("#search")).to_be_hidden()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, 330, steps=4)
    page.mouse.up()
    expect(sheet).to_have_attribute("data-height", "half")
    expect(page.locator("#search")).to_be_in_viewport(ratio=1)
    boxes = page.locator(
        "button:visible, a:visible:not(.skip), summary:visible, label.row:visible, input[type=search]:visible"
    ).evaluate_all(
        "nodes => nodes.map(node => [node.outerHTML.slice(0, 80), node.getBoundingClientRect().width, node.getBoundingClientRect().height])"
    )
    assert len(boxes) > 8
    assert [box for box in boxes if min(box[1:]) < 24] == []


def test_print_holds_map_legend_notice_scale_and_link(visit: Visit) -> None:
    """On paper stand map, legend, notice, scale, date and the address that brings it back; controls do not."""
    visit.open("#layer=habitat")
    visit.mapped()
    page = visit.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for part in ("#map", "#legend-keys", "#notice", "#scale", "#print-foot"):
        expect(page.locator(part)).to_be_visible()
    for part in (".tools", "#controls", "#panel", "#legend-options"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator("#print-foot")).to_contain_text("layer=habitat")
    map_box, legend_box = page.locator("#map").bounding_box(), page.locator("#legend").bounding_box()
    assert map_box["x"] + map_box["width"] <= legend_box["x"]
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(page.locator("#panel")).to_be_visible()


def test_a_dead_server_is_said_and_tried_again(visit: Visit) -> None:
    """No catalog, then no images: each is told in words, and trying again heals it."""
    page = visit.page
    page.route("**/api/layers", lambda route: route.abort())
    page.goto(f"{visit.server}/")
    expect(page.locator("#alert-text")).to_contain_text("does not answer")
    page.unroute("**/api/layers")
    page.route("**/wms?*GetMap*", lambda route: route.fulfill(status=500, body=""))
    page.locator("#alert-retry").click()
    expect(page.locator("#legend-title")).to_have_text("Species richness")
    expect(page.locator("#alert-text")).to_contain_text("did not arrive")
    page.unroute("**/wms?*GetMap*")
    with page.expect_response(lambda response: "GetMap" in response.url and response.ok):
        page.locator("#alert-retry").click()
    expect(page.locator("#alert")).to_be_hidden()
    expect(page.locator("#map")).to_be_focused()
    visit.forgive("Failed to load|500")


def test_an_empty_catalog_is_said(everywhere: Visit) -> None:
    """A catalog without layers is told in words, not as an empty page."""
    page = everywhere.page
    bounds = {"EPSG:3035": [epochs.WEST, epochs.SOUTH, epochs.EAST, epochs.NORTH]}
    told = {"title": "Nothing yet", "notice": "", "version": "0" * 64, "bounds": bounds, "families": []}
    page.route("**/api/layers", lambda route: route.fulfill(json=told))
    page.goto(f"{everywhere.server}/#tab=layers")
    expect(page.locator("#layers-panel")).to_contain_text(re.compile("No layers yet|Pas encore de couches"))
    expect(page.locator("#legend")).to_be_hidden()


@pytest.mark.parametrize(("setting", "asked"), [("none", False), ("natural-earth", True)])
def test_the_basemap_is_the_operators_choice(visits: Opener, epochs_store: Path, setting: str, asked: bool) -> None:
    """Countries are loaded where the recipe leaves them, and not with `none`."""
    for server in serving(epochs_store, basemap=setting):
        visit = visits(server=server)
        visit.open()
        visit.mapped()
        assert bool(visit.asked("countries.json")) is asked
        visit.page.close()  # before its server


def test_tiles_of_a_named_host_alone_are_let_in(visits: Opener, epochs_store: Path) -> None:
    """A template of another host is asked for images, with its credit, and the policy lets in that host and no other."""
    for server in serving(epochs_store, basemap="http://tiles.test/{z}/{x}/{y}.png", basemap_attribution="Test tiles"):
        visit = visits(server=server)
        visit.page.route("http://tiles.test/**", lambda route: route.fulfill(status=200, content_type="image/png", body=_PIXEL))
        with visit.page.expect_request(re.compile(r"http://tiles\.test/\d+/\d+/\d+\.png")):
            visit.open()
        visit.mapped()
        expect(visit.page.locator("#attribution")).to_contain_text("Test tiles")
        policy = visit.page.request.get(server).headers["content-security-policy"]
        assert "img-src 'self' data: blob: http://tiles.test;" in policy
        visit.page.close()
        visit.requests[:] = [url for url in visit.requests if not url.startswith("http://tiles.test/")]


_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc0f01f0005000"
    "1ff56a4f4be0000000049454e44ae426082"
)
