"""What the page says of an area: the table is the server's, its files read back, its link brings it back, and every state has its words."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import httpx
import openpyxl
import pytest
import shapely

from geoplantnet.assemblages.assemblage import open_assemblage
from geoplantnet.grid import TileGrid
from geoplantnet.serving.settings import PlaceLayer
from tests.serving import epochs
from tests.serving.conftest import serving
from tests.serving.page.area import Hands, box, code_of, on_grid
from tests.serving.page.conftest import INSIDE, OUTSIDE, Opener, Visit, expect

SQUARE = box(INSIDE[0] - 525, INSIDE[1] - 525, INSIDE[0] + 475, INSIDE[1] + 475)
"""A square of 20 x 20 whole cells."""
NEXT = box(INSIDE[0] + 475, INSIDE[1] - 525, INSIDE[0] + 1475, INSIDE[1] + 475)
"""Its neighbour in the east."""
WITH_AREA = f"&area={code_of(SQUARE)}"


def _asked(server: str, area: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    url = f"{server}/ogc/processes/area-report/execution"
    answer = httpx.post(url, json={"inputs": {"area": area, **inputs}}, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_table_is_the_servers_and_the_cells_own(everywhere: Visit, epochs_store: Path) -> None:
    """Every row tells what the server's JSON tells, in the reader's language; coverage is what counting the cells of the sets by hand gives."""
    hands = Hands(everywhere, more=WITH_AREA)
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    told = _asked(everywhere.server, SQUARE, lang=hands.lang)
    expect(hands.page.locator(".area-found:visible")).to_have_text(hands.t["area.found.other"].replace("{n}", str(told["count"])))
    hands.says(hands.t["area.found.other"].replace("{n}", str(told["count"])))
    rows = hands.rows()
    point = "," if hands.lang == "fr" else "."
    assert [row[0].splitlines()[0] for row in rows] == [one["scientificName"] for one in told["species"]]
    assert [row[-1] for row in rows] == [one["taxonID"] for one in told["species"]]
    assert [row[1].splitlines()[0].split()[0] for row in rows] == [
        f"{one['coverage'] * 100:.1f}".replace(".", point) for one in told["species"]
    ]
    hands.page.locator(".area-name:visible").first.click()
    expect(hands.page).to_have_url(re.compile(f"layer=species.{told['species'][0]['taxonID']}"))
    expect(hands.page.locator("#legend-title")).to_contain_text(told["species"][0]["scientificName"])
    sets = open_assemblage(epochs_store / "assemblage" / f"{epochs.TILES[0]}.zarr", TileGrid())
    west, south, *_ = (round(side / 50) * 50 for side in on_grid(SQUARE).bounds)
    column, row = (west - epochs.WEST) // 50, (epochs.SOUTH + 25_000 - south) // 50 - 20
    side = sets.valid.shape[1]
    cells = [(row + y) * side + column + x for y in range(20) for x in range(20)]
    for one in told["species"]:
        index = epochs.SPECIES.index_of(one["taxonID"])
        assert one["coverage"] == pytest.approx(sum(index in sets.sets.of(cell) for cell in cells) / 400, abs=2e-4)


def test_sorting_filtering_and_paging_thousands(visits: Opener) -> None:
    """2,500 species: by any column, filtered by words and groups, a page at a time; unknown is last, said in words, and nothing is lost."""
    visit = visits()
    species = [
        {
            "taxonID": f"t{i:04d}",
            "scientificName": f"Planta {i:04d}",
            "vernacularName": "Épine" if i == 7 else None,
            "family": "Rosaceae" if i % 2 else "Poaceae",
            "genus": "Planta",
            "iucn": [None, "LC", "VU", "CR", "DD"][i % 5],
            "tree": [None, True, False][i % 3],
            "invasive": i % 100 == 0,
            "directive": [None, False, True][i % 3],
            "narrowRanged": i % 4 == 0,
            "generalised": 10_000 if i == 1 else None,
            "coverage": 1 - i / 2500,
            "low": 0.5 - i / 5000,
            "high": 1 - i / 5000,
            "cells": 10.0,
            "probability": 0.1,
        }
        for i in range(2500)
    ]

    def answer(route: Any) -> None:
        told = route.fetch().json() | {"species": species, "count": len(species), "withheld": 2, "generalised": 1, "members": 5}
        route.fulfill(json=told)

    visit.page.route("**/area-report/execution", answer)
    hands = Hands(visit, more=WITH_AREA)
    page = hands.page
    count = page.locator(".area-count:visible")
    expect(count).to_have_text("2,500 species")
    expect(page.locator(".area-note").filter(has_text="withheld")).to_be_visible()
    assert len(hands.rows()) == 50
    sort = page.locator(".area-table:visible th[scope=col] button")
    for column in ("name", "coverage", "iucn", "tree", "invasive", "directive", "endemic", "id"):
        button = page.locator(f".area-table:visible [data-column={column}]")
        button.focus()
        page.keyboard.press("Enter")
        head = page.locator(f".area-table:visible th:has([data-column={column}])")
        expect(head).to_have_attribute("aria-sort", "ascending" if column in ("name", "id") else "descending")
        expect(button).to_be_focused()
        assert page.locator(".area-table:visible [aria-sort]").count() == 1
    assert sort.count() == 8
    page.locator(".area-table:visible [data-column=iucn]").click()
    assert hands.rows()[0][2].startswith("CR")
    hands.button("area.table.forth").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".area-pager:visible span")).to_have_text("51 to 100 of 2,500")
    page.locator(".area-filter:visible").fill("epine")
    expect(count).to_have_text("1 of 2,500 species")
    page.locator(".area-filter:visible").fill("rosaceae planta")
    expect(count).to_have_text("1,250 of 2,500 species")
    page.locator(".area-filter:visible").fill("")
    expect(page.locator(".area-chips [data-chip]")).to_have_count(0)  # the cards say and do the same
    page.locator(".area-card[data-group=protected]").click()
    expect(count).to_have_text(f"{sum(one['directive'] is True for one in species):,} of 2,500 species")
    expect(page.locator(".area-card[data-group=protected]")).to_have_attribute("aria-pressed", "true")
    page.locator(".area-card[data-group=threatened]").click()
    both = [one for one in species if one["directive"] and one["iucn"] in ("VU", "CR")]
    expect(count).to_have_text(f"{len(both)} of 2,500 species")
    expect(page.locator(".area-table:visible tfoot")).to_contain_text(f"{len(both)} threatened")
    page.locator(".area-filter:visible").fill("nothing is called so")
    expect(page.locator(".area-table:visible td.empty")).to_be_visible()
    hands.press("area.table.enlarge")
    expect(page.locator("dialog[open] .area-table")).to_be_visible()
    page.locator("dialog [data-chip=trees]").click()
    expect(page.locator(".area-card[data-group=trees]")).to_have_attribute("aria-pressed", "true")
    hands.button("area.table.reduce").focus()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.locator(".area-filter:visible").fill("Planta 0000")
    for group in ("protected", "threatened", "trees"):
        page.locator(f".area-card[data-group={group}]").click()
    row = page.locator(".area-table:visible tbody tr")
    expect(row.locator("td.unknown").first).to_contain_text("not known")


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("lang", ["en", "fr"])
def test_files_read_back(visits: Opener, tmp_path: Path, lang: str, size: str) -> None:
    """CSV, XLSX and GeoJSON hold the table's species and coverage, the polygon's hash and the link to the answer."""
    visit = visits(lang=lang, size=size, accept_downloads=True)
    hands = Hands(visit, more=f"{WITH_AREA}&area-name=Field%20one")
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    told = _asked(visit.server, SQUARE)
    wanted = {one["taxonID"]: one["coverage"] for one in told["species"]}
    paths = {}
    for kind in ("csv", "xlsx", "geojson"):
        with hands.page.expect_download() as download:
            hands.press(f"area.take.{kind}")
        assert download.value.suggested_filename == f"geoplantnet-Field-one.{kind}"
        paths[kind] = tmp_path / f"file.{kind}"
        download.value.save_as(paths[kind])
        hands.says(hands.t["area.saved"].replace("{file}", f"geoplantnet-Field-one.{kind}"))
    rows = list(csv.DictReader(line for line in paths["csv"].read_text("utf-8-sig").splitlines() if not line.startswith("#")))
    assert {row["taxonID"]: float(row["coverage"]) for row in rows} == wanted
    book = openpyxl.load_workbook(paths["xlsx"])
    cells = [str(value) for sheet in book for row in sheet.iter_rows(values_only=True) for value in row if value is not None]
    assert set(wanted) <= set(cells) and told["area"]["sha256"] in cells and any(WITH_AREA[1:] in cell for cell in cells)
    written = json.loads(paths["geojson"].read_text())
    assert told["area"]["sha256"] in json.dumps(written)
    assert gpd.read_file(paths["geojson"]).geometry.iloc[0].normalize().equals_exact(shapely.geometry.shape(SQUARE).normalize(), 1e-9)


@pytest.mark.parametrize(("kind", "starts"), [("html", b"<!doctype html"), ("pdf", b"%PDF-")])
def test_the_report_opens(everywhere: Visit, kind: str, starts: bytes) -> None:
    """The report is made as a job and opened by a link to its result, which is the document."""
    hands = Hands(everywhere, more=WITH_AREA)
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    hands.press(f"area.take.{kind}")
    link = hands.page.locator(".area-open")
    expect(link).to_be_visible()
    expect(link).to_have_attribute("target", "_blank")
    answer = httpx.get(f"{hands.visit.server}/{link.get_attribute('href')}", timeout=30)
    assert answer.status_code == 200 and answer.content.lower().startswith(starts.lower())


def test_a_link_brings_back_polygon_hash_and_table(visits: Opener) -> None:
    """Drawn in one browser, opened in another: the same polygon to the last digit, the same hash, the same table."""
    first = Hands(visits())
    first.triangle()
    drawn = first.chosen()
    first.analyse()
    told = _asked(first.visit.server, drawn)
    first.page.locator(".area-provenance > summary").click()
    expect(first.page.locator(".area-provenance")).to_contain_text(told["area"]["sha256"])
    second = visits()
    second.open(f"#{first.page.url.split('#')[1]}")
    other = Hands.__new__(Hands)
    other.visit, other.page, other.lang, other.t = second, second.page, first.lang, first.t
    expect(other.page.locator(".area-found:visible")).to_be_visible()
    assert other.chosen() == drawn
    assert other.rows() == first.rows()
    other.page.locator(".area-provenance > summary").click()
    expect(other.page.locator(".area-provenance")).to_contain_text(told["area"]["sha256"])


def test_waiting_can_be_cancelled(everywhere: Visit) -> None:
    """While the server counts there is progress and a button that ends it, said in words; then it can be asked again."""
    held: list[Any] = []
    everywhere.page.route("**/area-report/execution", lambda route: held.append(route))
    hands = Hands(everywhere, more=WITH_AREA)
    expect(hands.page.locator("progress")).to_be_visible()
    hands.press("area.cancel")
    expect(hands.page.locator(".area-analysis .area-status")).to_have_text(hands.t["area.cancelled"])
    hands.says(hands.t["area.cancelled"])
    hands.page.unroute_all()
    hands.analyse()


def test_a_large_area_is_a_job_that_can_be_ended(visits: Opener) -> None:
    """An area of many tiles is asked for as a job whose progress is shown; cancelling it tells the server, which ends it."""
    large = box(epochs.WEST - 100_000, epochs.SOUTH - 100_000, epochs.EAST + 100_000, epochs.NORTH + 100_000)
    visit = visits()
    visit.page.route(
        "**/ogc/jobs/*",
        lambda route: route.fulfill(json={"status": "running", "progress": 40}) if route.request.method == "GET" else route.continue_(),
    )
    hands = Hands(visit, more=f"&area={code_of(large)}")
    expect(hands.page.locator(".area-analysis .area-status")).to_contain_text("40 %")
    with hands.page.expect_request(lambda request: request.method == "DELETE" and "/ogc/jobs/" in request.url):
        hands.press("area.cancel")
    expect(hands.page.locator(".area-analysis .area-status")).to_have_text(hands.t["area.cancelled"])
    hands.page.unroute_all()
    hands.analyse()
    expect(hands.page.locator(".area-note:visible").first).to_contain_text("mapped")


def test_two_periods_side_by_side(everywhere: Visit) -> None:
    """Today beside a scenario: numbers in two columns, species by where they are found, the difference as the server's two reports have it."""
    hands = Hands(everywhere, more=WITH_AREA)
    hands.page.locator("#area-against").select_option("warmer")
    hands.press("area.analyse")
    expect(hands.page.locator(".area-pair")).to_be_visible()
    today, warmer = (_asked(everywhere.server, SQUARE, scenario=name) for name in ("today", "warmer"))
    shares = [{one["taxonID"]: one["coverage"] for one in report["species"]} for report in (today, warmer)]
    for row in hands.rows():
        difference = float(row[3].split()[0].replace("−", "-").replace(",", "."))
        a, b = (share.get(row[-1], 0) for share in shares)
        assert difference == pytest.approx(100 * (b - a), abs=0.06)
    assert {row[-1] for row in hands.rows()} == set(shares[0]) | set(shares[1])
    expect(hands.page).to_have_url(re.compile("&compare=warmer"))
    again = everywhere.page.context.new_page()
    again.goto(hands.page.url)
    expect(again.locator(".area-pair")).to_be_visible()
    assert again.locator(".area-table:visible tbody").inner_text() == hands.page.locator(".area-table:visible tbody").inner_text()
    again.close()


def test_a_period_is_not_compared_with_itself(visit: Visit) -> None:
    """A link to a comparison with a period that is not mapped, or with the one that is shown, answers for the area alone."""
    for more in ("&compare=nowhere", "&scenario=warmer&compare=warmer"):
        hands = Hands(visit, more=WITH_AREA + more)
        expect(hands.page.locator(".area-found:visible")).to_be_visible()
        expect(hands.page.locator("#area-against")).to_have_value("")
        expect(hands.page).not_to_have_url(re.compile("compare="))


def test_two_areas_side_by_side(everywhere: Visit) -> None:
    """A second area is drawn beside the first; both stand in the address and on the map, and the link brings both back."""
    hands = Hands(everywhere, more=WITH_AREA)
    hands.page.locator("#area-against").select_option("area")
    hands.triangle()
    assert hands.chosen("area") == SQUARE and hands.chosen("area2") != SQUARE
    hands.press("area.analyse")
    expect(hands.page.locator(".area-pair")).to_be_visible()
    again = everywhere.page.context.new_page()
    again.goto(everywhere.page.url)
    expect(again.locator(".area-pair")).to_be_visible()


def _file(features: list[tuple[str, dict[str, Any]]]) -> bytes:
    told = [{"type": "Feature", "properties": {"name": name}, "geometry": geometry} for name, geometry in features]
    return json.dumps({"type": "FeatureCollection", "features": told}).encode()


def test_an_uploaded_file(everywhere: Visit) -> None:
    """Of several polygons one is chosen, or all as one area without the edge they share; what is left out is told with its reason."""
    hands = Hands(everywhere)
    hands.press("area.upload")
    expect(hands.page.locator("#area-file")).to_be_focused()
    expect(hands.page.locator("#area-file-limits")).to_contain_text("1")
    point = {"type": "Point", "coordinates": SQUARE["coordinates"][0][0]}
    data = _file([("West", SQUARE), ("East", NEXT), ("Tree", point)])
    hands.page.locator("#area-file").set_input_files({"name": "parcels.geojson", "mimeType": "application/geo+json", "buffer": data})
    picks = hands.page.locator(".area-picks:visible button")
    expect(picks).to_have_count(3)
    expect(hands.page.locator(".area-upload .area-status")).to_contain_text("points")
    expect(picks.first).to_be_focused()
    hands.page.keyboard.press("Enter")
    whole = hands.chosen()
    assert whole["type"] == "Polygon"
    assert on_grid(whole).area == pytest.approx(2e6, rel=1e-4)
    expect(hands.page.locator("#area-name")).to_have_value("parcels")


def test_a_single_polygon_is_taken_at_once_and_faults_are_told(visit: Visit) -> None:
    """One polygon needs no choice; a file that is none, or too large, is refused with the reason, and the page goes on."""
    hands = Hands(visit)
    hands.press("area.upload")
    status = hands.page.locator(".area-upload .area-status")
    put = lambda name, data: hands.page.locator("#area-file").set_input_files({"name": name, "mimeType": "", "buffer": data})  # noqa: E731
    put("big.geojson", b" " * 1_000_001)
    expect(status).to_contain_text("1 MB")
    put("photo.jpg", io.BytesIO(b"\xff\xd8\xff\xe0 no polygons").getvalue())
    expect(hands.page.locator(".area-upload .area-status.failed")).not_to_contain_text("1 MB")
    put("field.geojson", _file([("Field", SQUARE)]))
    assert hands.chosen() == SQUARE or on_grid(hands.chosen()).symmetric_difference(on_grid(SQUARE)).area < 1
    expect(hands.page.locator("#area-name")).to_have_value("Field")
    visit.forgive("400")


@pytest.fixture(scope="module")
def with_places(epochs_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("places") / "parks.geojson"
    path.write_bytes(_file([("Parc du Chêne", SQUARE), ("Parc du Lac", NEXT)]))
    yield from serving(epochs_store, places=(PlaceLayer(id="parks", title="Parks", path=path, name="name", attribution="Park office"),))


def test_a_place_is_found_and_chosen(visits: Opener, with_places: str) -> None:
    """Where the operator mounts places one is searched without accents and chosen by keyboard; its name goes with it."""
    hands = Hands(visits(server=with_places))
    hands.press("area.places")
    hands.page.locator("#area-place").fill("chene")
    picks = hands.page.locator(".area-places .area-picks button")
    expect(picks).to_have_count(1)
    expect(hands.page.locator(".area-places")).to_contain_text("Park office")
    picks.focus()
    hands.page.keyboard.press("Enter")
    assert on_grid(hands.chosen()).symmetric_difference(on_grid(SQUARE)).area < 1
    expect(hands.page.locator("#area-name")).to_have_value("Parc du Chêne")


def test_no_places_no_button(visit: Visit) -> None:
    """Where none are mounted the page does not offer them."""
    hands = Hands(visit)
    expect(hands.button("area.places")).to_have_count(0)


def test_an_area_off_the_map_is_told(visit: Visit) -> None:
    """Where nothing is mapped the server's reason is shown, with a way to try again."""
    away = box(OUTSIDE[0], OUTSIDE[1], OUTSIDE[0] + 1000, OUTSIDE[1] + 1000)
    hands = Hands(visit, more=f"&area={code_of(away)}")
    expect(hands.page.locator(".area-analysis .area-status.failed")).to_contain_text("map")
    expect(hands.button("area.retry")).to_be_visible()
    visit.forgive("400")


def test_a_server_that_is_down_is_told(everywhere: Visit) -> None:
    """A silent server is told in words in the page's language; when it is back the same button brings the answer."""
    everywhere.page.route("**/area-report/execution", lambda route: route.abort())
    hands = Hands(everywhere, more=WITH_AREA)
    expect(hands.button("area.retry")).to_be_visible()
    expect(hands.page.locator(".area-analysis .area-status.failed")).to_contain_text("serveur" if hands.lang == "fr" else "server")
    hands.page.unroute_all()
    hands.press("area.retry")
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    everywhere.forgive("ERR_FAILED")


def test_the_other_language_is_told_at_once(visit: Visit) -> None:
    """Changing the language changes the words, the numbers and what the server names, and keeps area and answer."""
    hands = Hands(visit, more=WITH_AREA)
    expect(hands.page.locator(".area-found:visible")).to_be_visible()
    hands.page.get_by_role("button", name="Français").click()
    expect(hands.page.locator(".area-found:visible")).to_contain_text("espèces trouvées")
    expect(hands.page.locator(".area-indicators:visible")).to_contain_text("Richesse spécifique")
    expect(hands.page.locator(".area-table:visible thead")).to_contain_text("Couverture")
