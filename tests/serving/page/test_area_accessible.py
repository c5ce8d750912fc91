"""The Area tab under axe, WCAG 2.2 AA, in each of its states; its strings in both languages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.serving.page.area import Hands, box, code_of, words
from tests.serving.page.conftest import INSIDE, OUTSIDE, Opener, expect

axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

SQUARE = box(INSIDE[0] - 525, INSIDE[1] - 525, INSIDE[0] + 475, INSIDE[1] + 475)
AWAY = box(OUTSIDE[0], OUTSIDE[1], OUTSIDE[0] + 1000, OUTSIDE[1] + 1000)
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}


def _drawing(hands: Hands) -> None:
    hands.begin("area.draw")
    for place in ((-60, 50), (60, 50), (60, -40), (-20, 80)):
        hands.click(*place)
    expect(hands.page.locator(".area-problem:visible")).not_to_be_empty()


def _editing(hands: Hands) -> None:
    hands.press("area.edit")
    hands.page.keyboard.press("n")


def _uploading(hands: Hands) -> None:
    hands.press("area.upload")


def _found(hands: Hands) -> None:
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    hands.page.locator(".area-provenance > summary").click()


def _enlarged(hands: Hands) -> None:
    _found(hands)
    hands.press("area.table.enlarge")


def _compared(hands: Hands) -> None:
    hands.page.locator("#area-against").select_option("warmer")
    hands.press("area.analyse")
    expect(hands.page.locator(".area-pair")).to_be_visible()


def _failed(hands: Hands) -> None:
    expect(hands.button("area.retry")).to_be_visible()


def _waiting(hands: Hands) -> None:
    hands.page.route("**/area-report/execution", lambda route: None)
    hands.press("area.analyse")
    expect(hands.page.locator("progress")).to_be_visible()


def _empty(hands: Hands) -> None:
    expect(hands.page.locator(".area-intro")).to_be_visible()
    hands.page.locator(".area-list > summary").click()


STATES: dict[str, tuple[Callable[[Hands], None], str]] = {
    "empty": (_empty, ""),
    "drawing a fault": (_drawing, ""),
    "editing": (_editing, f"&area={code_of(SQUARE)}"),
    "uploading": (_uploading, ""),
    "waiting": (_waiting, f"&area={code_of(SQUARE)}"),
    "found": (_found, f"&area={code_of(SQUARE)}"),
    "enlarged": (_enlarged, f"&area={code_of(SQUARE)}"),
    "compared": (_compared, f"&area={code_of(SQUARE)}"),
    "off the map": (_failed, f"&area={code_of(AWAY)}"),
}


@pytest.mark.parametrize(
    ("lang", "size", "scheme"), [("en", "desktop", "light"), ("fr", "desktop", "dark"), ("en", "phone", "light"), ("fr", "phone", "dark")]
)
@pytest.mark.parametrize("state", STATES)
def test_no_violation(visits: Opener, state: str, lang: str, size: str, scheme: str) -> None:
    """Nothing is wrong, says axe, in this state, in either language, on a desktop and on a phone, by day and by night."""
    prepare, more = STATES[state]
    visit = visits(lang=lang, size=size, scheme=scheme, bypass_csp=True)
    hands = Hands(visit, more=more)
    prepare(hands)
    found = axe_playwright.Axe().run(hands.page, options=RULES).response["violations"]
    assert [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found] == []
    if state == "off the map":
        visit.forgive("400")


def test_targets_are_wide_enough(visits: Opener) -> None:
    """Every button, link, field and heading that sorts is at least 24 px high and wide (WCAG 2.5.8)."""
    hands = Hands(visits(), more=f"&area={code_of(SQUARE)}")
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    small = hands.page.locator("#area-panel :is(button, select, input, summary, textarea):visible").evaluate_all(
        """(nodes) => nodes.map((node) => [node.outerHTML.slice(0, 120), node.getBoundingClientRect()])
            .filter(([, { width, height }]) => width < 24 || height < 24).map(([html]) => html)"""
    )
    assert small == []


def test_both_languages_have_the_same_strings() -> None:
    """Each key stands in both, with the same placeholders."""
    english, french = words("en"), words("fr")
    assert english.keys() == french.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", french[key])), key
