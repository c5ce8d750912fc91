"""WCAG 2.2 AA in every state of the page of identification: axe finds nothing, targets are large, focus is seen, the keyboard is enough."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.page_identify.conftest import FakeApi, Opener, Visit, drawn, expect, image_of, jpeg, species_of

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
RULES: dict[str, Any] = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def _start(visit: Visit, api: FakeApi) -> None:
    visit.open()


def _photos(visit: Visit, api: FakeApi) -> None:
    visit.open()
    visit.photos(jpeg(drawn(1), place=(8.0, 46.5)), jpeg(drawn(2)))
    visit.page.locator("input[value=typed]").check()


def _complaint(visit: Visit, api: FakeApi) -> None:
    visit.forgiven = True
    api.refuse(429, "no more", Retry_After="600")
    _photos(visit, api)
    visit.identify()
    expect(visit.page.locator("[role=alert] .notice")).to_be_visible()


def _answer(visit: Visit, api: FakeApi) -> None:
    api.scores = (0.4, 0.35, 0.1, 0.05)
    visit.open()
    visit.photos(jpeg(drawn(1)), jpeg(drawn(2)))
    visit.identify()
    visit.answered()


def _rejected(visit: Visit, api: FakeApi) -> None:
    visit.forgiven = True
    api.refuse(404, "Species not found")
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()


def _compared(visit: Visit, api: FakeApi) -> None:
    _answer(visit, api)
    visit.page.locator(".gallery button").nth(1).click()


def _contributing(visit: Visit, api: FakeApi) -> None:
    _answer(visit, api)
    visit.page.locator(".candidate .strong").first.click()
    visit.page.locator("input[value=share]").check()


def _species(visit: Visit, api: FakeApi) -> None:
    visit.open("#species/gentiana-acaulis")
    expect(visit.page.locator(".columns")).to_be_visible()


def _found(visit: Visit, api: FakeApi) -> None:
    visit.open("#species")
    visit.page.get_by_role("combobox").fill("gent")
    expect(visit.page.get_by_role("option")).to_have_count(2)


def _review(visit: Visit, api: FakeApi) -> None:
    api.queue = [
        {
            "id": "o1",
            "species": species_of(0),
            "votes": 1,
            "confidence": 0.5,
            "answers": [],
            "prediction": None,
            "images": [image_of(0, "flower"), image_of(1, "leaf")],
        }
    ]
    visit.open("#review")
    expect(visit.page.locator(".review")).to_be_visible()


def _voted(visit: Visit, api: FakeApi) -> None:
    _review(visit, api)
    visit.page.get_by_role("button").filter(has_text=re.compile("Skip|Passer")).click()
    visit.page.get_by_role("button").filter(has_text=re.compile("Look at|Revoir")).click()
    visit.page.locator(".review .strong").click()
    expect(visit.page.locator(".tally button")).to_be_visible()


def _enlarged(visit: Visit, api: FakeApi) -> None:
    _review(visit, api)
    visit.page.locator(".review .pictures button").first.click()
    expect(visit.page.get_by_role("dialog")).to_be_visible()


def _settings(visit: Visit, api: FakeApi) -> None:
    visit.open("#settings")
    expect(visit.page.locator("select")).to_have_count(2)


def _own(visit: Visit, api: FakeApi) -> None:
    one = {"id": "o1", "species": species_of(0), "date": "2026-05-03", "place": None, "votes": 1, "confidence": 0.5, "valid": False}
    api.mine = [{**one, "images": [image_of(0, "flower")]}]
    visit.open("#own")
    visit.page.get_by_role("listitem").get_by_role("button").click()
    expect(visit.page.get_by_role("dialog")).to_be_visible()


def _another_name(visit: Visit, api: FakeApi) -> None:
    _answer(visit, api)
    visit.page.locator(".none-of-these button").click()
    visit.page.get_by_role("combobox").fill("gent")
    expect(visit.page.get_by_role("option")).to_have_count(2)


STATES: dict[str, Callable[[Visit, FakeApi], None]] = {
    "start": _start,
    "photos": _photos,
    "complaint": _complaint,
    "answer": _answer,
    "rejected": _rejected,
    "compared": _compared,
    "contributing": _contributing,
    "species": _species,
    "found": _found,
    "review": _review,
    "voted": _voted,
    "enlarged": _enlarged,
    "settings": _settings,
    "own": _own,
    "another name": _another_name,
}


@pytest.mark.parametrize(("lang", "scheme"), [("en", "dark"), ("fr", "light")])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_on_the_phone(identify_visits: Opener, api: FakeApi, state: str, lang: str, scheme: str) -> None:
    """No violation of WCAG 2.2 A and AA, nor of best practice, in each state, by night in English and by day in French."""
    visit = identify_visits(lang=lang, scheme=scheme, key="good-key")
    STATES[state](visit, api)
    found = axe.Axe().run(visit.page, options=RULES).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]][:4]) for one in found] == []
    small = visit.page.evaluate(
        """() => [...document.querySelectorAll("button, select, .choice, a.button, .tabs a, input:not([type=file], [type=radio], [type=checkbox])")]
          .filter((node) => node.checkVisibility())
          .map((node) => [node.outerHTML.slice(0, 80), node.getBoundingClientRect()])
          .filter(([, box]) => box.width < 40 || box.height < 40).map(([html]) => html)"""
    )
    assert small == [], "a thumb needs 40 pixels"
    assert visit.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_by_keyboard_alone(identify_visits: Opener, api: FakeApi) -> None:
    """From the top, Tab passes through every part of an answer and out again; each stop has a name, is seen, and lies clear of head and tabs."""
    visit = identify_visits()
    _answer(visit, api)
    visit.page.evaluate("() => { window.scrollTo(0, 0); document.activeElement.blur(); }")
    seen: list[str] = []
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        visit.page.wait_for_timeout(40)  # what scrolls has come to rest
        told = visit.page.evaluate(
            """() => {
              const node = document.activeElement;
              if (!node || node === document.body) return null;
              const box = node.getBoundingClientRect();
              const name = node.getAttribute("aria-label") || node.textContent.trim() || node.id;
              const outlined = getComputedStyle(node).outlineStyle !== "none";
              const top = document.elementFromPoint(box.left + box.width / 2, Math.min(Math.max(box.top + box.height / 2, 0), innerHeight - 1));
              return { name, outlined, clear: node.contains(top) || Boolean(top?.contains(node)) };
            }"""
        )
        if told is None:
            break
        assert told["name"] and told["outlined"] and told["clear"], told
        seen.append(told["name"])
    assert "This is it: Stemless gentian" in seen
    assert "Next plant" in seen, "the end is reached"
    visit.open("#settings")
    visit.page.reload()
    visit.page.keyboard.press("Tab")
    expect(visit.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("main")).to_be_focused()
