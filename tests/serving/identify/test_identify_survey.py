"""Surveys: how a photo is cut, how what its squares say is put together, and the routes."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from geoplantnet.errors import InputError
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.survey import Seen, Tiling, apart, covered, gather, look, matches, overlap, summed
from geoplantnet.taxonomy.species_list import SpeciesList

SIDES = st.integers(40, 700)


def quadrat(width: int = 300, height: int = 220) -> bytes:
    """A plot of patches of different colours."""
    rng = np.random.default_rng(3)
    out = io.BytesIO()
    Image.fromarray(rng.integers(40, 255, (5, 7, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def survey(client: TestClient, query: str = "", route: str = "tiles", **data: Any) -> Any:
    return client.post(f"/v2/survey/{route}/all{query}", files=[("image", ("plot.png", quadrat()))], data=data)


def test_a_photo_of_4000_by_3000_is_140_tiles() -> None:
    """The published figure, at 518 and half of it."""
    tiling = Tiling(size=518, stride=259)
    assert tiling.count(4000, 3000) == 140 == len(tiling.boxes(4000, 3000))


@given(SIDES, SIDES, st.integers(64, 300), st.integers(0, 300), st.booleans(), st.floats(1.1, 3))
def test_tiles_lie_within_the_photo_and_are_as_many_as_was_told(
    width: int, height: int, size: int, stride: int, multi: bool, factor: float
) -> None:
    """And no part of it further in than a stride from the right and lower edge is left out."""
    tiling = Tiling(size=size, stride=min(stride, size), multi_scale=multi, factor=factor)
    boxes = tiling.boxes(width, height)
    assert len(boxes) == tiling.count(width, height) == len(np.unique(boxes, axis=0))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 0] + boxes[:, 2] <= width).all() and (boxes[:, 1] + boxes[:, 2] <= height).all()
    side, step = next(tiling.scales(width, height))
    smallest = boxes[boxes[:, 2] == side]
    assert width - (smallest[:, 0] + side).max() < max(step, 1) and height - (smallest[:, 1] + side).max() < max(step, 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(1, 12)), max_size=12))
def test_coverage_is_the_area_of_the_union(squares: list[tuple[int, int, int]]) -> None:
    """Against a mask of pixels."""
    mask = np.zeros((40, 50), bool)
    for x, y, side in squares:
        mask[y : y + side, x : x + side] = True
    boxes = np.array(squares, np.int64).reshape(-1, 3)
    assert covered(boxes, (50, 40)) == pytest.approx(mask.mean(), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(1, 12)), min_size=1, max_size=12))
def test_places_of_a_species_do_not_overlap_much_and_the_best_is_one(squares: list[tuple[int, int, int]]) -> None:
    """Whatever is left out overlaps a better one that is kept."""
    boxes = np.array(squares, np.int64)
    kept = apart(boxes, np.arange(len(boxes)))
    assert kept[0] == 0
    for i in range(len(boxes)):
        against = [k for k in kept if k < i]
        clear = not against or overlap(boxes[i], boxes[against]).max() <= 0.3
        assert clear == (i in kept)


def test_squares_count_for_their_first_ranks_that_score_enough() -> None:
    """A brute-force look at each square."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(6) * 0.4, 50).astype(np.float32)
    hit = matches(scores, min_score=0.15, max_rank=2)
    for row, marks in zip(scores, hit, strict=True):
        best = sorted(range(6), key=lambda k: -row[k])[:2]
        assert set(np.flatnonzero(marks)) == {k for k in best if row[k] >= 0.15}


def test_species_are_put_together_and_coarser_ranks_are_sums(species: SpeciesList) -> None:
    """A species seen on one half covers that half; the sum over genera and families is that over species, square by square."""
    boxes = np.array([[0, 0, 50], [50, 0, 50], [0, 50, 50], [50, 50, 50]])
    scores = np.zeros((4, len(species)), np.float32)
    scores[[0, 2], 3], scores[[1, 3], 0], scores[1, 1] = 0.9, 0.5, 0.4
    seen = Seen(boxes=boxes, scores=scores, organs=("leaf",) * 4, plant=np.ones(4, np.float32), rejected=np.zeros(4, bool))
    found = gather(seen, scores, matches(scores, min_score=0.1, max_rank=1), (100, 100), np.ones(4, bool))
    assert [(one.index, one.coverage, one.count) for one in found] == [(3, 0.5, 2), (0, 0.5, 2)]
    assert [(spot.x, spot.y) for spot in found[0].spots] == [(25, 25), (25, 75)]
    names, genera = summed(scores, [taxon.genus for taxon in species])
    assert np.allclose(genera.sum(axis=1), scores.sum(axis=1)) and genera[1, names.index("Primula")] == pytest.approx(0.9)


def test_a_flora_leaves_nothing_outside_of_it_and_bare_squares_count_for_nothing(species: SpeciesList) -> None:
    """Within the flora scores sum to one; squares that show no plant have none."""
    pixels = np.random.default_rng(1).integers(40, 255, (128, 192, 3), dtype=np.uint8)
    pixels[:, 128:, 1] = 0
    seen = look(FakeNetwork(species), pixels, Tiling(size=64, stride=64).boxes(192, 128), np.array([1, 4]))
    assert np.allclose(seen.scores[~seen.rejected].sum(axis=1), 1) and not seen.scores[:, [0, 2, 3, 5]].any()
    assert seen.rejected.reshape(2, 3)[:, 2].all() and not seen.scores[seen.rejected].any()


def test_sizes_that_cannot_be_are_refused() -> None:
    """With the values."""
    for wrong in ({"size": 10}, {"size": 100, "stride": 101}, {"factor": 1.0}, {"factor": float("nan")}):
        with pytest.raises(InputError):
            Tiling(**wrong)  # type: ignore[arg-type]


def test_a_survey_tells_species_places_and_costs_a_credit_a_tile(client: TestClient) -> None:
    """As many credits as the cost route said before; shares within 0 and 1; places within the photo."""
    query = "?tile_size=100&tile_stride=50&show_genus=true&show_family=true&detailed_reject=true&min_score=0.05&max_rank=2"
    cost = client.post("/v2/cost/survey/all?tile_size=100&tile_stride=50", data={"size": "300x220"}).json()["estimated_cost"]
    answer = survey(client, query)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    results = told["results"]
    assert (
        results["nb_sub_queries"] == cost == 15 and told["remainingIdentificationRequests"] == 160 - 15
    )  # the default of 2,000 for a key of 500 a day: this one has 40
    assert client.get("/v2/quota").json()["count"] == {"identify": 0, "survey": 15}
    assert results["image"] == {"width": 300, "height": 220} and results["tile_size"] == 100 and results["tile_stride"] == 50
    assert results["species"] and results["genus"] and results["family"]
    for row in (*results["species"], *results["genus"], *results["family"]):
        assert 0 < row["coverage"] <= 1 and 0 < row["max_score"] <= 1 and len(row["location"]) <= row["count"]
        assert all(0 < spot["center"]["x"] < 300 and 0 < spot["center"]["y"] < 220 for spot in row["location"])
    assert {row["binomial"] for row in results["species"]} <= {
        "Primula veris",
        "Primula elatior",
        "Gentiana lutea",
        "Gentiana verna",
        "Cypripedium calceolus",
        "Picea abies",
    }


def test_parameters_may_stand_in_the_form(client: TestClient) -> None:
    """As programs written for Pl@ntNet send them: the same answer as by the query; what does not hold, or is said twice, is told, and costs one."""
    asked = {"tile_size": "100", "tile_stride": "50", "min_score": "0.05", "max_rank": "2", "show_genus": "true", "show_species": "false"}
    of_form, of_query = survey(client, **asked), survey(client, "?" + "&".join(f"{k}={v}" for k, v in asked.items()))
    assert of_form.status_code == 200 and of_form.json()["results"] == of_query.json()["results"]
    assert of_form.json()["results"]["nb_sub_queries"] == 15 and not of_form.json()["results"]["species"]
    tiles = {"tile_size": "100", "tile_stride": "100"}
    told = [
        client.post("/v2/cost/survey/all", data={"size": "300x220", **tiles}),
        client.post("/v2/cost/survey/all", json={"size": "300x220", "tile_size": 100, "tile_stride": 100}),
        client.post("/v2/cost/survey/all?size=300x220", data=tiles),
        client.post("/v2/cost/survey/all", files=[(name, (None, value)) for name, value in {"size": "300x220", **tiles}.items()]),
    ]
    assert [answer.json() for answer in told] == [{"estimated_cost": 6}] * 4
    used = client.get("/v2/quota").json()["count"]["survey"]
    for query, form, words in (
        ("", {"tile_size": "ten"}, "tile_size 'ten'"),
        ("", {"min_score": "7"}, "min_score '7'"),
        ("?tile_size=100", {"tile_size": "100"}, "give it once"),
        ("", {"pyramid": "true"}, "pyramid is not done"),
        ("?pyramid=true", {}, "pyramid is not done"),
    ):
        answer = survey(client, query, **form)
        assert answer.status_code == 400 and words in answer.json()["message"], answer.text
    assert client.get("/v2/quota").json()["count"]["survey"] == used + 5


def test_what_is_not_looked_at_costs_nothing(client_of: Callable[..., TestClient]) -> None:
    """Beyond the quota: all is given back, and the numbers agree. A photo whose pixels are damaged costs one, not a tile each."""
    client = client_of(changes={"survey_quota": 10, "daily_quota": 40})
    refused = survey(client, "?tile_size=100&tile_stride=50")
    assert (
        refused.status_code == 429 and "15 were asked for" in refused.json()["message"] and "0 of today's 10" in refused.json()["message"]
    )
    limits = [value for name, value in refused.headers.multi_items() if name.lower() == "ratelimit"]
    assert len(limits) == 1 and "r=10;" in limits[0] and client.get("/v2/quota").json()["count"]["survey"] == 0
    whole = quadrat()
    start = whole.index(b"IDAT")
    length = int.from_bytes(whole[start - 4 : start], "big")
    bad = b"IDAT" + zlib.compress(b"\x09" * 50)  # a sound chunk of nonsense
    chunk = (len(bad) - 4).to_bytes(4, "big") + bad + zlib.crc32(bad).to_bytes(4, "big")
    damaged = whole[: start - 4] + chunk + whole[start + length + 8 :]
    answer = client.post("/v2/survey/tiles/all?tile_size=200&tile_stride=100", files=[("image", ("plot.png", damaged))])
    assert answer.status_code == 400 and client.get("/v2/quota").json()["count"]["survey"] == 1, answer.text


def test_scales_cost_more_and_a_small_photo_is_one_tile(client: TestClient) -> None:
    """Larger squares beside the small ones; the whole shorter side where a tile is larger than the photo."""
    one = survey(client).json()["results"]
    assert one["nb_sub_queries"] >= 1 and one["tile_size"] == 220
    several = survey(client, "?tile_size=100&multi_scale=true").json()["results"]
    assert several["nb_sub_queries"] > 15
    assert client.post("/v2/cost/survey/all?size=3200x2400&tile_size=518").json() == {"estimated_cost": 88}


def test_chosen_squares_are_looked_at(client: TestClient) -> None:
    """Middles as numbers, with commas or as JSON; what does not lie within the photo is refused."""
    for pixels in (["60,60", "200,100"], ["60,60,200,100"], ["[[60,60],[200,100]]"]):
        answer = survey(client, route="custom", pixels=pixels, sizes="80")
        assert answer.status_code == 200 and answer.json()["results"]["nb_sub_queries"] == 2, answer.text
    for wrong in (
        {"pixels": "60", "sizes": "80"},
        {"pixels": "60,60", "sizes": "800"},
        {"sizes": "80"},
        {"pixels": "a,b", "sizes": "8"},
        {"pixels": "60,60"},
    ):
        assert survey(client, route="custom", **wrong).status_code == 400


def test_what_a_survey_cannot_do_is_refused_and_costs_one(client_of: Callable[..., TestClient]) -> None:
    """Too many tiles, no photo, sizes that cannot be, more than the quota holds: the last costs nothing beyond the first credit."""
    client = client_of(changes={"max_tiles": 50, "survey_quota": 20, "daily_quota": 40})
    assert survey(client, "?tile_size=64&tile_stride=4").status_code == 400
    assert survey(client, "?tile_size=64&tile_stride=65").status_code == 400
    assert client.post("/v2/survey/tiles/all", files=[("image", ("a.png", b"no"))]).status_code == 415
    assert survey(client, "?tile_size=64&tile_stride=40").status_code == 429
    assert client.post("/v2/cost/survey/all", data={"size": "0x7"}).status_code == 400
    for size, status in (("300x220", 400), ("9000x9000", 413)):  # what is not looked at has no price
        answer = client.post(f"/v2/cost/survey/all?size={size}&tile_size=64&tile_stride=4")
        assert answer.status_code == status, answer.text
    for pyramid in ("yes", "TRUE", "1"):
        assert "pyramid" in survey(client, f"?pyramid={pyramid}").json()["message"]
    assert client.get("/v2/quota").json()["count"]["survey"] == 6
