"""WCAG 2.2: axe finds nothing in any state, the keyboard is never caught, focus is seen, targets are large enough."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

from tests.serving.page.conftest import EXTRAPOLATED, INSIDE, OUTSIDE, Opener, Visit, expect, lon_lat

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}


def _place(place: tuple[float, float]) -> str:
    longitude, latitude = lon_lat(*place)
    return f"#layer=richness&tab=here&place={latitude:.5f},{longitude:.5f}"


def _typed(visit: Visit) -> None:
    visit.page.locator("#search").fill("a")
    expect(visit.page.locator("#search-list [role=option]").first).to_be_visible()


def _how(visit: Visit) -> None:
    options = visit.page.locator("#legend-options")
    if options.get_attribute("open") is None:
        options.locator("summary").click()
    visit.page.locator("#how").click()
    expect(visit.page.locator("dialog dl").first).to_be_visible()


def _browsed(visit: Visit) -> None:
    visit.page.locator(".browse > summary").click()
    visit.page.locator(".family-of summary").first.click()
    visit.page.locator(".genus-of summary").first.click()
    expect(visit.page.locator(".genus-of input").first).to_be_visible()


def _answered(visit: Visit) -> None:
    expect(visit.page.locator("#here-result .place")).to_be_visible()


def _complained(visit: Visit) -> None:
    visit.page.locator("#coordinates").fill("nowhere")
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#coordinates-answer")).not_to_be_empty()


def _nothing(visit: Visit) -> None:
    """The state is the link's alone."""


STATES: dict[str, tuple[str, Callable[[Visit], None]]] = {
    "first look": ("", _nothing),
    "classes": ("#layer=habitat&hatch=1", _nothing),
    "presence": ("#layer=species.v001&presence=1&lambda=0.4", _nothing),
    "uncertainty": ("#layer=richness&uncertainty=1", _nothing),
    "search": ("#layer=habitat", _typed),
    "browsing": ("#layer=habitat", _browsed),
    "how": ("#layer=richness", _how),
    "swipe": ("#layer=richness&swipe=habitat&swipe-at=30", _nothing),
    "here": (_place(INSIDE), _answered),
    "extrapolation": (_place(EXTRAPOLATED), _answered),
    "outside": (_place(OUTSIDE), _answered),
    "wrong coordinates": ("#layer=richness&tab=here", _complained),
}


@pytest.mark.parametrize(("lang", "scheme"), [("en", "light"), ("fr", "dark")])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(visits: Opener, state: str, lang: str, scheme: str) -> None:
    """No violation of WCAG 2.2 A and AA, nor of best practice, in each state, by day in English and by night in French."""
    link, reach = STATES[state]
    visit = visits(lang=lang, scheme=scheme)
    visit.open(link)
    reach(visit)
    _no_violations(visit)


@pytest.mark.parametrize(("lang", "scheme"), [("en", "dark"), ("fr", "light")])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_on_a_phone(visits: Opener, state: str, lang: str, scheme: str) -> None:
    """The same on a phone, the sheet open."""
    link, reach = STATES[state]
    visit = visits(lang=lang, size="phone", scheme=scheme)
    visit.open(link)
    sheet = visit.page.locator("#sheet")
    if sheet.get_attribute("data-height") == "peek":
        visit.page.locator("#handle").click()
    reach(visit)
    _no_violations(visit)


def _no_violations(visit: Visit) -> None:
    found = axe.Axe().run(visit.page, options=RULES).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]][:4]) for one in found] == []


def test_the_keyboard_is_never_caught(visit: Visit) -> None:
    """Tab from the top passes through every part and leaves the page's last control, each stop with a name and a visible outline."""
    visit.open("#layer=richness")
    page = visit.page
    seen: list[str] = []
    describe = """() => {
      const node = document.activeElement;
      if (!node || node === document.body) return null;
      const shown = (one) => getComputedStyle(one).outlineStyle !== "none" && parseFloat(getComputedStyle(one).outlineWidth) >= 2;
      const outlined = shown(node) || (node.closest("label") && shown(node.closest("label"))) || node.id === "map" || node.id === "swipe-at";
      const name = node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent || node.title;
      return { id: node.id || node.className || node.tagName, name: Boolean(name?.trim()), outlined };
    }"""
    for _ in range(80):
        page.keyboard.press("Tab")
        stop = page.evaluate(describe)
        if stop is None:
            break
        assert stop["name"] and stop["outlined"], stop
        seen.append(stop["id"])
    else:
        raise AssertionError(f"Tab never left the page: {seen}")
    assert {"tab-layers", "search", "map", "opacity", "how", "compare", "zoom-in", "theme", "copy-link"} <= set(seen)
    assert len(seen) == len(set(seen)) or max(map(seen.count, seen)) < 20


def test_from_the_first_tab_to_a_species_and_its_values(visit: Visit) -> None:
    """A planner without a pointer finds a species, reads its legend, and asks what grows at the centre of the map."""
    visit.open(f"#layer=richness&at={lon_lat(*INSIDE)[1]:.5f},{lon_lat(*INSIDE)[0]:.5f}&zoom=9")
    page = visit.page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("fag")
    expect(page.locator("#search-list [role=option]")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#legend-title")).to_have_text("Fagus sylvatica")
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".ranked")).to_contain_text("Fagus sylvatica")


def test_targets_are_large_enough(everywhere: Visit) -> None:
    """Every control is at least 24 by 24 px (WCAG 2.5.8), or part of a label that is."""
    everywhere.open(_place(INSIDE))
    _answered(everywhere)
    small = everywhere.page.locator("button:visible, a:visible:not(.skip), summary:visible, select:visible, input:visible").evaluate_all(
        """nodes => nodes.map(node => (node.matches("input") && node.closest("label")) || node)
          .map(node => [node.outerHTML.slice(0, 90), node.getBoundingClientRect()])
          .filter(([, box]) => box.width > 1 && Math.min(box.width, box.height) < 24).map(([html, box]) => `${html} ${box.width}x${box.height}`)"""
    )
    assert small == []


def test_headings_are_in_order(everywhere: Visit) -> None:
    """One h1; no heading skips a level."""
    everywhere.open(_place(INSIDE))
    _answered(everywhere)
    levels = [int(tag[1]) for tag in everywhere.page.locator("h1, h2, h3, h4").evaluate_all("nodes => nodes.map(node => node.tagName)")]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_less_motion_is_none(visit: Visit) -> None:
    """With reduced motion asked for, nothing is animated."""
    visit.open()
    moving = visit.page.evaluate("document.getAnimations().filter(one => one.effect.getTiming().iterations === Infinity).length")
    assert moving == 0


def test_forced_colours_keep_the_choices_visible(visits: Opener) -> None:
    """In high contrast the chosen tab and layer are outlined."""
    visit = visits(forced_colors="active")
    visit.open("#layer=habitat")
    outline = visit.page.get_by_role("tab", name=re.compile("Layers")).evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
