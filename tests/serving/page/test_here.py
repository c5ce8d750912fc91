"""What grows here: asked by click, cross-hair, coordinates and position; told with ranges, warnings and what is missing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.serving import epochs
from tests.serving.page.conftest import EXTRAPOLATED, INSIDE, OUTSIDE, Opener, Visit, expect, link_to, lon_lat


def _asked(place: tuple[float, float]) -> str:
    longitude, latitude = lon_lat(*place)
    return f"#layer=richness&place={latitude:.5f},{longitude:.5f}&tab=here"


def test_a_click_tells_what_is_predicted(everywhere: Visit) -> None:
    """A click shows the cell's species, most likely first, with bar, number, presence in words, and the indicators with intervals."""
    everywhere.open(link_to(*INSIDE))
    everywhere.mapped()
    page = everywhere.page
    page.mouse.click(*everywhere.centre())
    expect(page.locator(".stamp")).to_have_text(re.compile("Predicted, not observed|Prédit, non observé"))
    rows = page.locator(".ranked > li")
    expect(rows).to_have_count(3)
    told = [float(value) for value in rows.locator("data").evaluate_all("nodes => nodes.map(node => node.value)")]
    assert told == sorted(told, reverse=True) and 0 < told[0] < 1
    answer = page.request.get(everywhere.asked("/api/here")[-1]).json()
    assert told == [one["probability"] for one in answer["species"]]
    for row, one in zip(rows.all(), answer["species"], strict=True):
        expect(row).to_contain_text(one["scientificName"])
        expect(row.locator(".presence")).to_have_text(re.compile("^(present|présente)$" if one["present"] else "^(absent|absente)$"))
    richness = page.locator("dl data[data-layer=richness]")
    assert float(richness.get_attribute("value")) == pytest.approx(epochs.richness(INSIDE[0] // 50 * 50 + 25, INSIDE[1] // 50 * 50 + 25))
    expect(page.locator(".values .interval").first).to_contain_text("[")
    expect(page.locator("#legend .pointer")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"place=.*tab=here"))


def test_enter_at_the_cross_hair(visit: Visit) -> None:
    """By keyboard: Enter on the map asks about its centre; the answer is announced."""
    visit.open(link_to(*INSIDE))
    visit.mapped()
    page = visit.page
    page.locator("#map").focus()
    expect(page.locator("#crosshair")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".ranked > li")).to_have_count(3)
    expect(page.locator("#announcer")).to_contain_text("species predicted present")


def test_a_species_of_the_list_shows_its_map(visit: Visit) -> None:
    """The name in the list is a button that shows the species' map and legend."""
    visit.open(_asked(INSIDE))
    visit.page.locator(".ranked").get_by_role("button", name=re.compile("Abies alba")).click()
    expect(visit.page.locator("#legend-title")).to_have_text("Abies alba (silver fir)")


def test_the_list_is_ordered_and_narrowed(visit: Visit) -> None:
    """By name, and present species alone."""
    visit.open(_asked(INSIDE))
    page = visit.page
    page.locator("#species-order").select_option("name")
    expect(page.locator(".ranked .taxon")).to_have_text(["Abies alba", "Fagus sylvatica", "Picea abies"])
    present = page.locator(".ranked > li.present").count()
    page.get_by_role("checkbox", name="Present only").check()
    expect(page.locator(".ranked > li")).to_have_count(present)


@pytest.mark.parametrize(
    ("lang", "typed", "understood"),
    [
        ("en", "46.48, 8.01", "46.4800° N, 8.0100° E"),
        ("en", "46°28'N 8°E", "46.4667° N, 8.0000° E"),
        ("en", "46° 28′ 12″ N, 8° 0′ 36″ E", "46.4700° N, 8.0100° E"),
        ("en", "8.01 E 46.48 N", "46.4800° N, 8.0100° E"),
        ("en", "N46.48 W8.01", "46.4800° N, 8.0100° W"),
        ("en", "4133400 2602100", "easting 4,133,400, northing 2,602,100"),
        ("fr", "46,48 8,01", "46,4800° N, 8,0100° E"),
        ("fr", "46,48 N 8,01 O", "46,4800° N, 8,0100° O"),
    ],
)
def test_coordinates_are_understood(visits: Opener, lang: str, typed: str, understood: str) -> None:
    """Degrees in every common spelling, and metres of EPSG:3035; what was understood is said."""
    visit = visits(lang=lang)
    visit.open("#layer=richness&tab=here")
    visit.page.locator("#coordinates").fill(typed)
    with visit.page.expect_request("**/api/here?*"):
        visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#coordinates-answer")).to_contain_text(understood)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "Type a latitude"),
        ("Zermatt", "no pair of coordinates"),
        ("46.48", "Only one number"),
        ("91, 8", "latitude 91 lies beyond"),
        ("46 N 47 N", "are latitudes"),
        ("46.48 8.01 3", "no pair of coordinates"),
        ("100 99999999", "lies beyond|lie outside"),
    ],
)
def test_coordinates_that_make_no_sense_are_told(visit: Visit, typed: str, told: str) -> None:
    """The error is in words, belongs to the field, which keeps the focus; nothing is asked of the server."""
    visit.open("#layer=richness&tab=here")
    field = visit.page.get_by_label("Coordinates")
    field.fill(typed)
    visit.page.get_by_role("button", name="Go").click()
    expect(visit.page.locator("#coordinates-answer")).to_have_text(re.compile(told))
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    assert not visit.asked("/api/here")


def test_the_position_is_asked_for(visits: Opener) -> None:
    """The position goes where the browser says; a refusal is told in words."""
    longitude, latitude = lon_lat(*INSIDE)
    visit = visits(permissions=["geolocation"], geolocation={"longitude": longitude, "latitude": latitude})
    visit.open("#layer=richness&tab=here")
    visit.page.get_by_role("button", name="Where I am").click()
    expect(visit.page.locator(".ranked > li")).to_have_count(3)
    refused = visits()
    refused.open("#layer=richness&tab=here")
    refused.page.evaluate("() => { navigator.geolocation.getCurrentPosition = (found, failed) => failed({ code: 1 }); }")
    refused.page.get_by_role("button", name="Where I am").click()
    expect(refused.page.locator("#coordinates-answer")).to_contain_text("does not allow")


def test_extrapolation_is_warned_of(everywhere: Visit) -> None:
    """Outside the area of applicability the answer begins with a warning; inside there is none."""
    everywhere.open(_asked(EXTRAPOLATED))
    expect(everywhere.page.locator(".warning")).to_contain_text("xtrapolation")


def test_outside_the_map(everywhere: Visit) -> None:
    """A place no tile covers is told in words, with a way back to the data."""
    everywhere.open(_asked(OUTSIDE))
    expect(everywhere.page.locator(".state-title")).to_have_text(re.compile("Outside the map|Hors de la carte"))
    expect(everywhere.page.locator("#here-result button")).to_be_visible()


def test_the_period_is_that_of_the_map(visit: Visit) -> None:
    """A scenario chosen for the map holds for the place too, and is named."""
    visit.open(_asked(INSIDE) + "&scenario=warmer")
    expect(visit.page.locator(".place-head")).to_contain_text("Warmer")
    assert visit.asked("scenario=warmer")


def test_a_server_that_fails_is_told_and_tried_again(visit: Visit) -> None:
    """No answer: words and a button; then the answer."""
    visit.page.route("**/api/here?*", lambda route: route.fulfill(status=503, json={"detail": "too many at once"}))
    visit.open(_asked(INSIDE))
    expect(visit.page.locator("#here-result")).to_contain_text("too many at once")
    visit.page.unroute("**/api/here?*")
    visit.page.locator("#here-result").get_by_role("button", name="Try again").click()
    expect(visit.page.locator("#here-result")).to_be_focused()
    expect(visit.page.locator(".ranked > li")).to_have_count(3)
    visit.forgive("503")


def test_marks_of_species_are_told_in_words(everywhere: Visit) -> None:
    """Red List letters, tree, invasive, directive, squares of a sensitive species and withheld ones are all in words too."""
    page = everywhere.page
    record = {"vernacularName": None, "family": "F", "genus": "G", "narrowRanged": None, "probability": 0.5, "low": 0.2, "high": 0.9}
    rare = {"taxonID": "v001", "scientificName": "Rara avis", "iucn": "VU", "tree": True, "invasive": True, "directive": True}

    def told(route: Any) -> None:
        answer = route.fetch()
        species = [{**record, **rare, "present": True, "generalised": 12_500}]
        nearest = [
            {
                "taxonID": "v001",
                "scientificName": "Rara avis",
                "year": 2020,
                "distance_m": 1200,
                "square_m": 1000,
                "basis": "HumanObservation",
            }
        ]
        more = {"species": species, "count": 1, "withheld": 2, "members": 4, "records": {"state": "ok", "nearest": nearest}}
        route.fulfill(response=answer, json={**answer.json(), **more})

    page.route("**/api/here?*", told)
    everywhere.open(_asked(INSIDE))
    row = page.locator(".ranked > li")
    for words in ("VU", "[Vv]ulnerable|vulnérable", "tree|arbre", "invasive|envahissante", "Habitats", "12[.,]5 km", "20 %"):
        expect(row).to_contain_text(re.compile(words))
    expect(page.locator("#here-result")).to_contain_text(re.compile("2 sensitive species are withheld|2 espèces sensibles ne sont pas"))
    expect(page.locator(".records")).to_contain_text(re.compile("2020.*1[.,]2 km"))


def test_no_data_is_not_zero(visit: Visit) -> None:
    """A cell without data is told in words."""
    visit.page.route("**/api/here?*", lambda route: route.fulfill(json={"state": "no-data", "place": {"lon": 8, "lat": 46}}))
    visit.open(_asked(INSIDE))
    expect(visit.page.locator(".state-title")).to_have_text("No data here")
