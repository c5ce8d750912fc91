"""What the records of a species show, on the page: names, months and altitudes by mouse, by keyboard and as tables, in both languages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.serving.page.conftest import Opener, Visit, expect

COARSE = {
    "names": [],
    "records": 9,
    "sampling": [{"basis": "presence-only", "count": 9}],
    "years": {"first": 2010, "last": 2019, "classes": [{"from": 2010, "to": 2019, "count": 9}], "unknown": 0},
    "months": {"counts": [0, 0, 0, 0, 2, 7, 0, 0, 0, 0, 0, 0], "unknown": 0},
    "altitudes": None,
    "datasets": None,
    "missing": [
        {"what": "names", "why": "unknown", "text": "No name."},
        {"what": "altitudes", "why": "sensitive", "text": "Altitudes are not told."},
        {"what": "years", "why": "sensitive", "text": "Years are told by decade."},
    ],
    "notes": ["Counted."],
    "generalised": {"metres": 12_500, "text": "Mean over squares"},
    "licence": "CC0-1.0",
    "attribution": [],
}


def answered(visit: Visit, body: Any, status: int = 200) -> None:
    """The server's answer about a species is this."""
    visit.page.route("**/api/species/*/records*", lambda route: route.fulfill(status=status, json=body))


def opened(visit: Visit, taxon: str = "v001") -> Any:
    visit.open(f"#layer=species.{taxon}")
    options = visit.page.locator("#legend-options")
    if options.get_attribute("open") is None:  # on a phone
        options.locator("summary").click()
    visit.page.locator("#records").click()
    dialog = visit.page.locator("dialog.records")
    expect(dialog.locator("section").first).to_be_visible()
    return dialog


def heights(dialog: Any) -> list[float]:
    return dialog.locator(".columns .column > :first-child").evaluate_all("nodes => nodes.map(node => node.getBoundingClientRect().height)")


def test_names_months_and_altitudes_are_shown(everywhere: Visit) -> None:
    """In each language, on a desktop and a phone: the reader's names first, twelve bars, altitudes from the top, nothing wider than the screen."""
    dialog = opened(everywhere)
    french = everywhere.page.evaluate("document.documentElement.lang") == "fr"
    names = dialog.locator("section").first.locator(".pairs > div")
    expect(names.first).to_have_text("françaissapin blanc, sapin <i>pectiné</i>" if french else "Englishsilver fir, European silver fir")
    assert dialog.locator(".columns .column").count() == 12
    shown = dialog.locator("table.bars:not(.as-table table) tbody tr").evaluate_all("rows => rows.map(row => row.cells[1].textContent)")
    assert shown == ["500", "0", "0", "500"]
    expect(dialog.locator(".columns")).to_have_attribute("aria-label", re.compile("900.*(June|juin)"))
    expect(dialog).to_contain_text("1998 à 2023" if french else "1998 to 2023")
    sizes = dialog.evaluate("node => [node.scrollWidth, node.clientWidth, node.getBoundingClientRect().right, innerWidth]")
    assert sizes[0] <= sizes[1] and sizes[2] <= sizes[3]


def test_the_scale_is_chosen_by_keyboard(visit: Visit) -> None:
    """Linear heights are as the counts, logarithmic ones as their logarithms; Escape gives the focus back; the choice stays."""
    dialog = opened(visit)
    linear = heights(dialog)
    assert abs(linear[3] / linear[5] - 2 / 900) < 0.02 and abs(linear[6] / linear[5] - 60 / 900) < 0.01 and linear[0] == 0
    dialog.get_by_role("radio", name="Linear").focus()
    visit.page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("radio", name="Logarithmic")).to_be_checked()
    log = heights(dialog)
    assert abs(log[3] / log[5] - 0.1615) < 0.01 and log[0] == 0
    assert dialog.locator(".scale span").all_text_contents() == ["0", "1", "10", "100"]
    visit.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(visit.page.locator("#records")).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(dialog.get_by_role("radio", name="Logarithmic")).to_be_checked()


@pytest.mark.parametrize(("lang", "scheme"), [("en", "dark"), ("fr", "light")])
def test_axe_finds_nothing_in_it(visits: Opener, lang: str, scheme: str) -> None:
    """Names, roles, contrast and order of headings: no violation, with the table open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    visit = visits(lang=lang, scheme=scheme)
    opened(visit).locator(".as-table summary").click()
    found = axe.Axe().run(visit.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]})
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []


def test_the_bars_are_a_table_too(visit: Visit) -> None:
    """Behind a word that the keyboard opens: a row a month, with its name and count."""
    dialog = opened(visit)
    dialog.get_by_text("As a table").focus()
    visit.page.keyboard.press("Enter")
    rows = dialog.locator(".as-table tbody tr")
    expect(rows).to_have_count(12)
    expect(rows.nth(5)).to_have_text("June900")


def test_what_is_not_known_is_said(visits: Opener) -> None:
    """A species of few facts, and one without records: reasons in the place of empty charts."""
    visit = visits(lang="fr")
    dialog = opened(visit, "v002")
    for words in ("Aucun nom commun", "Aucun relevé n'indique son mois", "Aucune altitude n'est connue", "n'indique son année"):
        expect(dialog).to_contain_text(words)
    expect(dialog.locator(".columns, .scale-choice, table.bars")).to_have_count(0)
    visit.page.keyboard.press("Escape")
    dialog = opened(visit, "v003")
    expect(dialog).to_contain_text("n'est parmi ceux dont le modèle a appris")


def test_a_sensitive_species_says_why_it_tells_less(visit: Visit) -> None:
    """A notice with the width of its squares; a reason in the place of altitudes; years by decade."""
    answered(visit, COARSE)
    dialog = opened(visit)
    expect(dialog.locator(".notice-of")).to_contain_text("squares of 12.5 km")
    expect(dialog).to_contain_text("Altitudes are not told.")
    expect(dialog).to_contain_text("2010 to 2019")
    expect(dialog.locator("table.bars:not(.as-table table)")).to_have_count(0)


def test_a_failed_answer_can_be_asked_again(visit: Visit) -> None:
    """The server's words, and a button; names with markup stay text; layers of no species have no records."""
    answered(visit, {"detail": "Too busy."}, 503)
    visit.open("#layer=species.v001")
    visit.page.locator("#records").click()
    dialog = visit.page.locator("dialog.records")
    expect(dialog.locator(".problem")).to_have_text("Too busy.")
    visit.page.unroute("**/api/species/*/records*")
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.locator(".columns")).to_be_visible()
    assert dialog.locator("dd i").count() == 0
    visit.page.keyboard.press("Escape")
    visit.page.goto(f"{visit.server}/#layer=richness")
    expect(visit.page.locator("#records")).to_be_hidden()
    visit.forgive("503")
