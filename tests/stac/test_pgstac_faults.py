"""Cubes out of a real STAC API, through a network that fails: whole and right, or not there (`faults/proxy.py` does it at length)."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from proxy import BUDGET, FaultProxy, Questions, content, of_pgstac, runs

from geoplantnet.errors import InputError, TryAgain

PATIENT = replace(BUDGET, seconds=60, timeout=20)
"""For what must not depend on how busy the machine is."""


@pytest.fixture(scope="module")
def questions(stac) -> Questions:
    return of_pgstac(stac.api, stac.files)


def test_no_partial_cube_is_accepted(questions):
    """Each run ends in its budget, with the files of the calm run or with a typed error and nothing written."""
    table = runs(8, 3, questions)
    assert not table.wrong and not table.over, str(table)
    assert 0 < table.ends["identical"] < 8 and len(table.faults) > 8, str(table)


@pytest.mark.parametrize("checksums", [False, True])
def test_every_address_leads_through_the_proxy(questions, tmp_path, checksums):
    """Without faults the proxy sees the root, two pages of a search and each file, and the cube is as without it."""
    question, right = questions[checksums]
    seen: list[tuple[str, str]] = []
    with FaultProxy(question.servers, lambda number, kind, path: seen.append((kind, path))) as proxy:
        question.write(tmp_path / "cube.zarr", proxy.url, PATIENT)
    assert content(tmp_path / "cube.zarr") == right
    assert [path for kind, path in seen if kind == "search"] == ["/", "/search", "/search"]
    assert {path[-7:] for kind, path in seen if kind == "asset" and path.startswith("/files/")} == {"B04.tif", "B08.tif", "SCL.tif"}


@pytest.mark.parametrize(
    ("fault", "last"), [("503", 3), ("html", 3), ("json error", 3), ("short", 3), ("reset mid-body", 3), ("reset", None)]
)
def test_a_lost_page_is_asked_again_or_no_cube(questions, tmp_path, fault, last):
    """The second page of a search fails: once or twice, and the cube has its items all the same; always, and there is none."""
    question, right = questions[False]
    with FaultProxy(
        question.servers, lambda number, kind, path: fault if 2 <= number <= (last or number) and kind == "search" else None
    ) as proxy:
        if last is None:
            with pytest.raises(TryAgain, match="/search: given up after 6 attempts"):
                question.write(tmp_path / "cube.zarr", proxy.url, PATIENT)
            assert not list(tmp_path.iterdir())
        else:
            question.write(tmp_path / "cube.zarr", proxy.url, PATIENT)
            assert content(tmp_path / "cube.zarr") == right
        assert proxy.seen[fault] == (2 if last else 6)


@pytest.mark.parametrize(("fault", "told"), [("loop", "page 3 leads back to an earlier page"), ("endless", "more than 12 pages")])
def test_paging_without_end_ends(questions, tmp_path, fault, told):
    """Pages of real items whose next link leads back, or on for ever, are an error and no cube."""
    question, _ = questions[False]
    proxy = FaultProxy(question.servers, lambda number, kind, path: fault if "/search" in path else None)
    with proxy, pytest.raises(InputError, match=told):
        question.write(tmp_path / "cube.zarr", proxy.url, PATIENT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lie", ["flipped", "shifted silently"])
def test_wrong_bytes_with_right_headers_never_pass_a_checksum(questions, tmp_path, lie):
    """A real file with one byte changed, or all moved, is refused by the checksum of its item."""
    question, _ = questions[True]
    proxy = FaultProxy(question.servers, lambda number, kind, path: lie if path.endswith("B08.tif") else None)
    with proxy, pytest.raises(TryAgain, match="wrong checksum x 6"):
        question.write(tmp_path / "cube.zarr", proxy.url, PATIENT)
    assert not list(tmp_path.iterdir())
