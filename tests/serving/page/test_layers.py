"""Layers: finding a species, the legend and its choices, uncertainty, extrapolation, periods, side by side, how a map was made."""

from __future__ import annotations

import re

import pytest

from tests.serving import epochs
from tests.serving.page.conftest import INSIDE, Opener, Visit, expect, link_to


def test_five_families_lead_the_tree(everywhere: Visit) -> None:
    """Species come first, then the families in the order planners think in; every advertised layer has its row."""
    everywhere.open("#tab=layers")
    page = everywhere.page
    if page.locator("#handle").is_visible():
        page.locator("#handle").click()
    expect(page.locator(".family").first).to_be_visible()
    names = page.locator(".family").evaluate_all("nodes => nodes.map(node => node.dataset.family)")
    assert names == ["Species", "Habitat", "Ecosystem", "Terrain", "Change"]
    ids = set(page.locator(".family input[name=layer]").evaluate_all("nodes => nodes.map(node => node.value)"))
    assert {"richness", "habitat", "applicability", "relief", "change.gain"} <= ids


def test_a_species_is_found_as_it_is_typed(visit: Visit) -> None:
    """Combobox by keyboard alone: arrows walk the list, the active option is announced, Enter shows the map, Escape clears."""
    visit.open()
    page, search = visit.page, visit.page.locator("#search")
    search.focus()
    search.press_sequentially("ab", delay=10)
    options = page.locator("#search-list").get_by_role("option")
    expect(options).to_have_text([re.compile("^Abies alba"), re.compile("^Picea abies")])
    expect(search).to_have_attribute("aria-expanded", "true")
    search.press("ArrowDown")
    search.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    assert search.get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    search.press("ArrowUp")
    with page.expect_request(re.compile(r"GetMap.*LAYERS=species\.v001")):
        search.press("Enter")
    expect(page.locator("#legend-title")).to_have_text("Abies alba (silver fir)")
    expect(search).to_have_attribute("aria-expanded", "false")
    expect(page).to_have_url(re.compile(r"layer=species\.v001"))
    search.press_sequentially("zzz")
    expect(page.locator("#search-status")).to_contain_text("Nothing is called “zzz”")
    search.press("Escape")
    expect(search).to_have_value("")


def test_layers_are_found_by_name_too(visits: Opener) -> None:
    """Indicators stand among the answers, in the reader's language."""
    visit = visits(lang="fr")
    visit.open("#layer=habitat")
    visit.page.locator("#search").fill("richesse")
    visit.page.locator("#search-list").get_by_role("option", name="Richesse spécifique").click()
    expect(visit.page.locator("#legend-title")).to_have_text("Richesse spécifique")


def test_common_names_and_families_find_a_species(visit: Visit) -> None:
    """A word of the common name or the family is enough."""
    visit.open()
    search = visit.page.locator("#search")
    for words, found in (("silver", ["Abies alba"]), ("fagac", ["Fagus sylvatica"])):
        search.fill(words)
        expect(visit.page.locator("#search-list").get_by_role("option")).to_have_text([re.compile(name) for name in found])


def test_what_was_looked_at_lately_comes_back(visit: Visit) -> None:
    """A chosen species is offered before anything is typed, also after a reload."""
    visit.open()
    page, search = visit.page, visit.page.locator("#search")
    search.fill("picea")
    page.locator("#search-list").get_by_role("option", name="Picea abies").click()
    expect(page).to_have_url(re.compile(r"species\.v003"))
    page.reload()
    expect(page.locator("#legend-title")).to_have_text("Picea abies")
    page.get_by_role("radio", name="Habitat").check()
    page.locator("#species-recent").get_by_role("radio", name="Picea abies").check()
    expect(page.locator("#legend-title")).to_have_text("Picea abies")


def test_families_and_genera_are_browsed(visit: Visit) -> None:
    """Family, genus, species: each arrives when it is opened."""
    visit.open()
    page = visit.page
    assert not visit.asked("/api/families")
    page.get_by_text("Browse by family").click()
    page.locator(".family-of summary", has_text="Pinaceae").click()
    page.locator(".genus-of summary", has_text="Abies").click()
    page.locator(".genus-of").get_by_role("radio", name="Abies alba").check()
    expect(page.locator("#legend-title")).to_have_text("Abies alba (silver fir)")


def test_a_failed_search_is_said_and_tried_again(visit: Visit) -> None:
    """A server that does not answer the search is told where the answers would stand; layers are still found."""
    visit.open("#layer=habitat")
    page, search = visit.page, visit.page.locator("#search")
    page.route("**/api/species?*", lambda route: route.abort())
    search.fill("applic")
    expect(page.locator("#search-list").get_by_role("option")).to_have_text([re.compile("^Area of applicability")])
    expect(page.locator("#search-status")).to_contain_text("does not answer")
    page.unroute("**/api/species?*")
    page.locator("#search-status").get_by_role("button", name="Try again").click()
    expect(page.locator("#search-status")).to_have_text("1 match")
    visit.forgive("Failed to load")


def test_classes_are_told_apart_without_colour(visit: Visit) -> None:
    """Each class of a legend has its own letters or number beside its colour."""
    visit.open("#layer=habitat")
    expect(visit.page.locator("#legend .classes li")).to_have_text(["1Woodland", "2Grassland"])


def test_presence_by_the_cells_rule_or_a_threshold(visit: Visit) -> None:
    """Presence is drawn by the cells' own rule; with a slider by lambda; the legend says which, and the address keeps it."""
    visit.open(link_to(*INSIDE, layer="species.v001"))
    page = visit.page
    with page.expect_request(lambda request: "STYLES=presence" in request.url and "DIM_LAMBDA" not in request.url):
        page.get_by_role("radio", name="Presence", exact=True).check()
    expect(page.locator("#legend .classes")).to_contain_text("in the cell's species set")
    page.get_by_role("radio", name="its probability is above").check()
    with page.expect_request(re.compile("DIM_LAMBDA=0.3")):
        page.locator("#lambda").fill("0.3")
    expect(page.locator("#legend .classes")).to_contain_text("probability above 0.30")
    expect(page).to_have_url(re.compile("presence=1.*lambda=0.3"))
    page.get_by_role("radio", name="Probability", exact=True).check()
    expect(page.locator("#legend .bar")).to_be_visible()


def test_uncertainty_has_a_legend_of_its_own(visit: Visit) -> None:
    """The toggle asks for the style `uncertainty` and shows its title, unit and scale."""
    visit.open("#layer=richness")
    page = visit.page
    with page.expect_request(re.compile("STYLES=uncertainty")):
        page.get_by_role("checkbox", name="Uncertainty").check()
    expect(page.locator("#legend-title")).to_have_text("Species richness: standard deviation")
    expect(page.locator("#legend .tick").last).to_have_text("9.00")
    page.get_by_role("checkbox", name="Uncertainty").uncheck()
    expect(page.locator("#legend-title")).to_have_text("Species richness")


def test_extrapolation_is_hatched_where_it_is(visit: Visit) -> None:
    """Stripes lie over cells outside the area of applicability and nowhere else; the legend says what they mean."""
    visit.open(link_to(epochs.WEST + 5_000, epochs.SOUTH + 12_000, zoom=7))
    visit.mapped()
    page = visit.page
    page.get_by_role("checkbox", name="Hatch").check()
    expect(page.locator("#legend-hatch")).to_contain_text("extrapolation")
    x, y = visit.centre()
    inked = """([x, y]) => {
      const canvas = document.querySelector(".hatch canvas");
      if (!canvas) return null;
      const ratio = canvas.width / innerWidth;
      const count = (from, width) => {
        const { data } = canvas.getContext("2d").getImageData(from * ratio, (y - 20) * ratio, width * ratio, 40 * ratio);
        return data.filter((value, i) => i % 4 === 3 && value > 0).length / (data.length / 4);
      };
      return [count(x - 60, 50), count(x + 10, 50)];
    }"""
    visit.until(f"at => ({inked})(at)?.[0] > 0.1", [x, y])
    outside, inside = page.evaluate(inked, [x, y])
    assert outside > 0.1 and inside == 0


def test_the_period_is_chosen(visit: Visit) -> None:
    """A scenario is asked for by DIM_SCENARIO and told in the legend; what has no scenario is not asked for one."""
    visit.open("#layer=richness")
    page = visit.page
    with page.expect_request(re.compile("LAYERS=richness.*DIM_SCENARIO=warmer")):
        page.locator("#scenario").select_option("warmer")
    expect(page.locator("#legend-family")).to_contain_text("Warmer")
    expect(page).to_have_url(re.compile("scenario=warmer"))
    assert not visit.maps(LAYERS="relief", DIM_SCENARIO="warmer")


def test_two_maps_side_by_side(everywhere: Visit) -> None:
    """Today left, a scenario right of a slider that keys move; both legends in view; the address keeps it."""
    everywhere.open("#layer=richness")
    everywhere.mapped()
    page = everywhere.page
    options = page.locator("#legend-options")
    if options.get_attribute("open") is None:
        options.locator("summary").click()
    page.locator("#compare").click()
    slider = page.locator("#swipe-at")
    expect(slider).to_be_focused()
    expect(page.locator("#legend .key")).to_have_count(2)
    expect(page).to_have_url(re.compile("swipe=richness&swipe-scenario=warmer&swipe-at=50"))
    before = page.locator("#swipe-line").bounding_box()["x"]
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile("swipe-at=40"))
    assert page.locator("#swipe-line").bounding_box()["x"] < before
    assert everywhere.maps(LAYERS="richness", DIM_SCENARIO="warmer")
    page.locator("#compare").click()
    expect(slider).to_be_hidden()


@pytest.mark.parametrize("width", [0.25, 0.75])
def test_each_side_of_the_divider_shows_its_own_layer(visit: Visit, width: float) -> None:
    """Left of the divider only the left layer has ink, right of it only the right one."""
    visit.open(link_to(epochs.WEST + 12_500, epochs.SOUTH + 12_500, zoom=8, more=f"&swipe=habitat&swipe-at={width * 100:.0f}"))
    page = visit.page
    visit.until("() => document.querySelector('.swiped canvas') && document.querySelector('.thematic canvas') && true")
    line = page.locator("#swipe-line").bounding_box()["x"] + 1.5
    _, y = visit.centre()
    ink = """([layer, x, y]) => {
      const canvas = document.querySelector(`.${layer} canvas`);
      const ratio = canvas.width / innerWidth;
      return canvas.getContext("2d").getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data[3] > 0;
    }"""
    for layer, side, other in (("thematic", -30, 30), ("swiped", 30, -30)):
        visit.until(f"at => ({ink})(at)", [layer, line + side, y])
        assert not page.evaluate(ink, [layer, line + other, y])


def test_how_a_map_was_made(everywhere: Visit) -> None:
    """A dialog tells what is known of the layer's making, holds the focus, and gives it back."""
    everywhere.open("#layer=richness")
    page = everywhere.page
    options = page.locator("#legend-options")
    if options.get_attribute("open") is None:
        options.locator("summary").click()
    page.locator("#how").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("CC-BY-4.0")
    expect(dialog).to_contain_text("the makers of <this> map & others")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator("#how")).to_be_focused()


def test_a_generalised_species_says_so(visit: Visit) -> None:
    """The legend of a sensitive species tells the squares it is averaged over."""
    page = visit.page

    def generalised(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        route.fulfill(response=answer, json={**answer.json(), "generalised": 12_500})  # type: ignore[attr-defined]

    page.route("**/api/layers/species.v001", generalised)
    visit.open("#layer=species.v001")
    expect(page.locator("#legend-note")).to_contain_text("12.5 km")
