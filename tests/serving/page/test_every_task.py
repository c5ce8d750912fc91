"""The tasks of the Layers and Here tabs in each language, on a desktop and a phone, by what does not depend on words."""

from __future__ import annotations

import re

from tests.serving.page.conftest import INSIDE, Visit, expect, link_to, lon_lat


def _open_panel(visit: Visit) -> None:
    handle = visit.page.locator("#handle")
    if handle.is_visible() and visit.page.locator("#sheet").get_attribute("data-height") == "peek":
        handle.click()


def _open_options(visit: Visit) -> None:
    options = visit.page.locator("#legend-options")
    if options.get_attribute("open") is None:
        options.locator("summary").click()


def test_a_species_is_found_and_shown(everywhere: Visit) -> None:
    """A few letters of its name, the first answer, its map."""
    everywhere.open("#layer=richness&tab=layers")
    _open_panel(everywhere)
    page = everywhere.page
    page.locator("#search").fill("fagus")
    option = page.locator("#search-list").get_by_role("option")
    expect(option).to_have_count(1)
    with page.expect_request(re.compile(r"GetMap.*LAYERS=species\.v002")):
        page.locator("#search").press("Enter")
    expect(page.locator("#legend-title")).to_contain_text("Fagus sylvatica")


def test_presence_by_the_set_rule_or_by_lambda(everywhere: Visit) -> None:
    """Presence is asked for by the cells' own rule until the slider says otherwise; the address keeps it."""
    everywhere.open("#layer=species.v001")
    _open_options(everywhere)
    page = everywhere.page
    page.locator("input[name=view][value=presence]").check(force=True)
    expect(page).to_have_url(re.compile("presence=1"))
    page.locator("input[name=rule][value=lambda]").check()
    page.locator("#lambda").focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"lambda=0\.\d+"))
    value = re.search(r"lambda=(0\.\d+)", page.url)
    assert value
    everywhere.until("value => performance.getEntriesByType('resource').some(one => one.name.includes(`DIM_LAMBDA=${value}`))", value[1])


def test_uncertainty_hatch_and_opacity(everywhere: Visit) -> None:
    """Each is a control beside the legend, seen on the map and kept in the address."""
    everywhere.open("#layer=richness")
    _open_options(everywhere)
    page = everywhere.page
    with page.expect_request(re.compile("GetMap.*STYLES=uncertainty")):
        page.locator("#uncertainty").check()
    page.locator("#hatch").check()
    expect(page.locator("#legend-hatch")).to_be_visible()
    page.locator("#opacity").focus()
    page.keyboard.press("Home")
    expect(page).to_have_url(re.compile("opacity=0(&|$)"))
    expect(page).to_have_url(re.compile("uncertainty=1"))
    expect(page).to_have_url(re.compile("hatch=1"))


def test_typed_coordinates_are_read(everywhere: Visit) -> None:
    """A typed place is understood, shown in the reader's number format, and answered."""
    everywhere.open(link_to(*INSIDE, more="&tab=here"))
    _open_panel(everywhere)
    longitude, latitude = lon_lat(*INSIDE)
    page = everywhere.page
    page.locator("#coordinates").fill(f"{latitude:.5f}, {longitude:.5f}")
    page.keyboard.press("Enter")
    expect(page.locator(".ranked > li")).to_have_count(3)
    point = "," if page.evaluate("document.documentElement.lang") == "fr" else "."
    expect(page.locator("#here-result .place")).to_contain_text(f"{latitude:.4f}".replace(".", point))


def test_a_link_brings_back_what_was_seen(everywhere: Visit) -> None:
    """Layer, presence, threshold, opacity, place and tab of a link are those of the page that opens it."""
    longitude, latitude = lon_lat(*INSIDE)
    everywhere.open(f"#layer=species.v003&presence=1&lambda=0.25&opacity=40&place={latitude:.5f},{longitude:.5f}&tab=here")
    page = everywhere.page
    expect(page.locator("#legend-title")).to_contain_text("Picea abies")
    expect(page.locator(".ranked > li")).to_have_count(3)
    _open_options(everywhere)
    expect(page.locator("#opacity")).to_have_value("40")
    expect(page.locator("#lambda")).to_have_value("0.25")
    expect(page.locator("input[name=view][value=presence]")).to_be_checked()
