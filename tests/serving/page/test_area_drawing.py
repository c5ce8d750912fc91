"""Drawing and editing an area, by pointer and by keyboard, on a desktop and on a phone, in both languages."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.serving.page.area import Hands, box, code_of, on_grid
from tests.serving.page.conftest import INSIDE, Opener, Visit, expect

PIXEL = 6400 / 2**9
"""Metres of a px at the zoom of these tests."""


def test_a_polygon_by_pointer(everywhere: Visit) -> None:
    """Three clicks and one on the first vertex: the polygon in the address is what was clicked, its size is told, the page no longer draws."""
    hands = Hands(everywhere)
    hands.begin("area.draw")
    for place in ((-60, 50), (60, 50), (0, -40)):
        hands.click(*place)
    count, drawn_km2 = hands.measure()
    assert count == 3
    hands.click(-60, 50)
    shape = on_grid(hands.chosen())
    first, second, third, _ = np.array(shape.exterior.coords)
    assert second - first == pytest.approx([120 * PIXEL, 0], abs=2 * PIXEL)
    assert third - first == pytest.approx([60 * PIXEL, 90 * PIXEL], abs=2 * PIXEL)
    if everywhere.page.viewport_size["width"] > 767:  # on a phone the middle moves as the sheet makes room
        assert first == pytest.approx([INSIDE[0] - 60 * PIXEL, INSIDE[1] - 50 * PIXEL], abs=2 * PIXEL)
    assert hands.measure() == (3, pytest.approx(shape.area / 1e6, rel=0.006))
    assert drawn_km2 == pytest.approx(shape.area / 1e6, rel=0.006)
    expect(hands.page.locator("body")).not_to_have_class(re.compile("sketching"))
    expect(hands.button("area.analyse")).to_be_focused()
    hands.says(hands.t["area.ready"])


def test_the_last_click_asks_for_nothing_on_a_slow_device(visits: Opener) -> None:
    """The click that closes a polygon is no click on the map, however long its drawing takes: the area stays in front."""
    hands = Hands(visits())
    hands.begin("area.draw")
    hands.page.evaluate("""() => document.querySelector("[data-go]").addEventListener("focus", () => {
        const until = performance.now() + 600;
        while (performance.now() < until);
    })""")
    a_while = "() => new Promise((done) => setTimeout(() => done(true), 600))"
    for place in ((-60, 50), (60, 50), (0, -40), (-60, 50)):
        hands.click(*place)
        hands.visit.until(a_while)  # no double click
    hands.chosen()
    hands.visit.until(a_while)
    assert "place=" not in hands.page.url
    assert hands.measure()[0] == 3


def test_a_polygon_by_keyboard_alone(everywhere: Visit) -> None:
    """Space places vertices at the cross-hair, Backspace and Ctrl + Y undo and redo, Enter closes: no pointer is needed, and each step is told."""
    hands = Hands(everywhere)
    keys = hands.page.keyboard
    hands.press("area.draw")
    expect(hands.page.locator("#map")).to_be_focused()
    hands.says(hands.t["area.start.polygon"])
    keys.press("Space")
    hands.walk(right=8)
    keys.press("Space")
    hands.says("2 ")
    hands.walk(up=6)
    keys.press("Space")
    keys.press("Backspace")
    assert hands.measure()[0] == 2
    keys.press("Control+y")
    assert hands.measure()[0] == 3
    keys.press("Control+z")
    keys.press("Enter")
    expect(hands.page.locator(".area-problem:visible")).to_have_text(hands.t["area.fault.missing.one"].replace("{n}", "1"))
    keys.press("Control+Shift+z")
    keys.press("Enter")
    shape = on_grid(hands.chosen())
    assert shape.area == pytest.approx(64 * 48 / 2 * PIXEL**2, rel=0.02)
    assert hands.measure()[1] == pytest.approx(shape.area / 1e6, rel=0.006)
    expect(hands.button("area.analyse")).to_be_focused()


def test_arrows_still_move_the_map(visit: Visit) -> None:
    """While drawing, an arrow key moves the map under the cross-hair as it does elsewhere."""
    hands = Hands(visit)
    hands.press("area.draw")
    before = hands.page.url
    hands.page.keyboard.press("ArrowRight")
    visit.until("(url) => location.href !== url", before)


def test_an_outline_that_crosses_itself_is_refused(everywhere: Visit) -> None:
    """The edges that cross are told as soon as they are there, Enter is refused with the reason, and an undo later it is accepted."""
    hands = Hands(everywhere)
    hands.begin("area.draw")
    for place in ((-60, 50), (60, 50), (60, -40), (-20, 80)):
        hands.click(*place)
    fault = hands.t["area.fault.crossing"]
    expect(hands.page.locator(".area-problem:visible")).to_have_text(fault)
    hands.says(fault)
    expect(hands.button("area.finish")).to_have_attribute("aria-disabled", "true")
    expect(hands.button("area.finish")).to_have_attribute("title", fault)
    hands.page.keyboard.press("Enter")
    expect(hands.page.locator("body")).to_have_class(re.compile("sketching"))
    assert "area=" not in hands.page.url
    hands.page.keyboard.press("Backspace")
    hands.page.keyboard.press("Enter")
    assert len(hands.chosen()["coordinates"][0]) == 4


def test_the_closing_edge_is_checked_too(visit: Visit) -> None:
    """An outline whose last edge, from the last vertex to the first, crosses another is refused at the end."""
    hands = Hands(visit)
    hands.begin("area.draw")
    for place in ((-60, 0), (60, 0), (60, -50), (20, 40)):
        hands.click(*place)
    hands.click(-60, -60)
    hands.page.keyboard.press("Enter")
    expect(hands.page.locator(".area-problem:visible")).to_have_text(hands.t["area.fault.crossing"])


@pytest.mark.parametrize("start", ["area.draw", "area.rectangle"])
def test_escape_leaves_no_trace(everywhere: Visit, start: str) -> None:
    """Esc ends the drawing wherever the focus is; the map then answers clicks again, and there is no area."""
    hands = Hands(everywhere)
    hands.begin(start)
    hands.click(-60, 50)
    hands.button("area.cancel-drawing").focus()
    hands.page.keyboard.press("Escape")
    hands.says(hands.t["area.drawing-cancelled"])
    expect(hands.page.locator("body")).not_to_have_class(re.compile("sketching"))
    expect(hands.page.locator("#map")).to_have_attribute("data-mode", "read")
    expect(hands.button(start)).to_be_focused()
    assert "area=" not in hands.page.url
    hands.click(20, 20)
    expect(hands.page.locator("#tab-here")).to_have_attribute("aria-selected", "true")


def test_a_rectangle_by_pointer_and_by_keyboard(visits: Opener) -> None:
    """Two corners, placed by clicks or at the cross-hair, make the same rectangle, upright on the grid."""
    first, second = Hands(visits()), Hands(visits())
    first.button("area.rectangle").click()
    first.click(0, 0)
    first.click(64, -40)
    second.press("area.rectangle")
    second.page.keyboard.press("Space")
    second.walk(right=8, up=5)
    second.page.keyboard.press("Space")
    one, other = on_grid(first.chosen()), on_grid(second.chosen())
    assert one.symmetric_difference(other).area < 4 * PIXEL * (64 + 40) * PIXEL
    west, south, east, north = other.bounds
    assert other.area == pytest.approx((east - west) * (north - south), rel=1e-4)
    first.visit.until("() => document.getElementById('map').dataset.mode === 'read'")
    assert first.page.url.count("zoom=9") == 1, "the second click is no double click that zooms"


def test_a_hole_takes_area_away(visit: Visit) -> None:
    """A hole drawn inside is in the polygon; one outside of it is refused in words."""
    hands = Hands(visit)
    hands.triangle()
    whole, before = hands.measure()[1], hands.chosen()
    hands.begin("area.hole")
    for place in ((-10, 20), (10, 20), (0, 0)):
        hands.click(*place)
    hands.page.keyboard.press("Enter")
    expect(hands.page.locator("body")).not_to_have_class(re.compile("sketching"))
    assert len(hands.chosen(unlike=before)["coordinates"]) == 2
    assert hands.measure() == (6, pytest.approx(whole - 200 * PIXEL**2 / 1e6, rel=0.02))
    hands.begin("area.hole")
    for place in ((100, 20), (120, 20), (110, 0)):
        hands.click(*place)
    hands.page.keyboard.press("Enter")
    expect(hands.page.locator(".area-problem:visible")).to_have_text(hands.t["area.fault.outside"])


def test_a_vertex_is_dragged(visits: Opener) -> None:
    """In edit mode a vertex is taken from 11 px beside it, so its target is more than 24 px wide, and follows the pointer."""
    hands = Hands(visits())
    hands.triangle()
    drawn = hands.chosen()
    before = on_grid(drawn)
    hands.button("area.edit").click()
    x, y = hands.visit.centre()
    hands.page.mouse.move(x + 60 + 8, y + 50 + 8)
    hands.page.mouse.down()
    hands.page.mouse.move(x + 100, y + 60, steps=4)
    hands.page.mouse.up()
    expect(hands.page.locator(".area-measure:visible")).not_to_have_text(re.compile(r"^$"))
    hands.page.locator("#map").focus()
    hands.page.keyboard.press("Enter")
    expect(hands.page.locator("body")).not_to_have_class(re.compile("sketching"))
    after = on_grid(hands.chosen(unlike=drawn))
    assert after.exterior.coords[1] == pytest.approx((INSIDE[0] + 100 * PIXEL, INSIDE[1] - 60 * PIXEL), abs=3 * PIXEL)
    assert after.area > 1.2 * before.area


def test_vertices_are_edited_by_keyboard(everywhere: Visit) -> None:
    """N chooses a vertex, M moves it to the cross-hair, I inserts, Delete removes, undo goes back, Esc leaves the area as it was."""
    hands = Hands(everywhere, more=f"&area={code_of(_square())}")
    keys = hands.page.keyboard
    hands.press("area.edit")
    expect(hands.button("area.vertex-move")).to_have_attribute("aria-disabled", "true")
    keys.press("n")
    hands.walk(left=5)
    keys.press("m")
    moved = hands.measure()
    assert moved[0] == 4 and moved[1] > 1.0
    keys.press("i")
    assert hands.measure()[0] == 5
    keys.press("Delete")
    assert hands.measure()[0] == 4
    keys.press("Control+z")
    assert hands.measure()[0] == 5
    keys.press("Escape")
    hands.says(hands.t["area.edit-cancelled"])
    assert hands.chosen() == _square()
    hands.press("area.edit")
    keys.press("n")
    hands.walk(left=5)
    keys.press("m")
    keys.press("Enter")
    expect(hands.page.locator("body")).not_to_have_class(re.compile("sketching"))
    assert hands.chosen(unlike=_square()) != _square()
    hands.press("area.undo-area")
    expect(hands.page.locator("#area-list")).to_have_value(re.compile(f"{_square()['coordinates'][0][0][1]:.6f}"))
    assert hands.measure() == (4, 1.0)


def test_deleting_can_be_undone_from_its_list(visit: Visit) -> None:
    """A deleted area leaves the address; coordinates typed into the list bring one back; a wrong line is named and nothing changes."""
    hands = Hands(visit, more=f"&area={code_of(_square())}")
    text = hands.page.locator("#area-list").input_value()
    hands.press("area.delete")
    expect(hands.page).not_to_have_url(re.compile("area="))
    hands.page.locator(".area-list > summary").click()
    hands.page.locator("#area-list").fill(text + "\nnowhere")
    hands.press("area.list.apply")
    expect(hands.page.locator("#area-list-fault")).to_contain_text("5")
    expect(hands.page.locator("#area-list")).to_be_focused()
    hands.page.locator("#area-list").fill(text)
    hands.press("area.list.apply")
    assert hands.chosen() == _square()


def test_on_a_phone_the_big_button_draws(visits: Opener) -> None:
    """With a thumb: the map is dragged under the cross-hair and a button of 44 px places the vertices, all in view."""
    hands = Hands(visits(size="phone", has_touch=True, is_mobile=True))
    hands.begin("area.draw")
    place = hands.button("area.place-vertex")
    expect(place).to_be_in_viewport(ratio=1)
    assert place.bounding_box()["height"] >= 44
    place.tap()
    hands.says("1 ")
    for count, (dx, dy) in enumerate(((-60, 0), (0, 60)), start=2):
        x, y = hands.visit.centre()
        hands.page.mouse.move(x, y)
        hands.page.mouse.down()
        hands.page.mouse.move(x + dx, y + dy, steps=5)
        hands.page.mouse.up()
        place.tap()
        hands.says(f"{count} ")
    expect(hands.button("area.finish")).to_be_in_viewport(ratio=1)
    hands.button("area.finish").tap()
    drawn = hands.chosen()
    assert len(drawn["coordinates"][0]) == 4
    assert hands.measure() == (3, pytest.approx(on_grid(drawn).area / 1e6, rel=0.006))


def test_what_cannot_apply_says_why(everywhere: Visit) -> None:
    """Before there is an area the analysis is refused in words, on the button and when it is pressed."""
    hands = Hands(everywhere)
    expect(hands.button("area.analyse")).to_have_attribute("aria-disabled", "true")
    hands.press("area.analyse")
    hands.says(hands.t["area.refused.no-area"])
    assert not hands.visit.asked("/execution")


def _square() -> dict:
    west, south = INSIDE[0] - 500, INSIDE[1] - 500
    return box(west, south, west + 1000, south + 1000)
