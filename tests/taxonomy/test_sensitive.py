"""The table of sensitive species: what stands in it is what is read, and whatever is wrong is told with its line."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.taxonomy import SpeciesList, Taxon
from geoplantnet.taxonomy.sensitive import (
    CATEGORIES,
    COLUMNS,
    WITHHELD,
    check_regions,
    overdue,
    read_sensitive,
    rules_in,
    rules_of,
    square,
    squares,
)

HEAD = "taxon,region,category,reason,review\n"
LIST = SpeciesList(
    checklist="test",
    taxa=(
        Taxon(taxon_id="cypripedium-calceolus", scientific_name="Cypripedium calceolus"),
        Taxon(taxon_id="abies-alba", scientific_name="Abies alba"),
        Taxon(taxon_id="v003", scientific_name="Virtual species 003 (alpine meadow)"),
    ),
)
words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)


def read(tmp_path: Path, text: str):
    file = tmp_path / "sensitive.csv"
    file.write_text(text, encoding="utf-8", newline="")
    return read_sensitive(file)


@given(
    rows=st.lists(st.tuples(words, st.just("") | words, st.sampled_from(sorted(CATEGORIES)), words, st.none() | st.dates()), max_size=6),
    order=st.permutations(COLUMNS),
    bom=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, rows, order, bom):
    """Whatever words, columns in any order, quotes, empty lines, a byte order mark: each row comes back as it was."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(order)
    for taxon, region, category, reason, review in rows:
        row = {"taxon": taxon, "region": region, "category": category.lower(), "reason": reason, "review": review or ""}
        out.writerow([row[name] for name in order])
        text.write("\r\n")
    found = read(tmp_path_factory.mktemp("table"), ("\ufeff" if bom else "") + text.getvalue())
    told = [(r.taxon, r.region, r.category, r.reason, r.review) for r in found]
    assert told == [(taxon, "" if region == "*" else region, *rest) for taxon, region, *rest in rows]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty; its first line is taxon,region"),
        ("taxon,region,category,reason\n", "column 'review' stands 0 times"),
        ("taxon;region;category;reason;review\n", "separated by commas"),
        ("taxon,regoin,category,reason,review\n", "Did you mean 'region'"),
        (f"{HEAD}Abies alba,,5,why,\n", r"csv:2: category '5' is none of 1, 2, 3, 4, SINP1"),
        (f"{HEAD}\nAbies alba,,SNIP2,why,\n", r"csv:3: category 'SNIP2'.*Did you mean .*'SINP2'"),
        (f"{HEAD}Abies alba,,2,why,31.12.2030\n", r"csv:2: review '31.12.2030' is no date; write it as 2030-12-31"),
        (f"{HEAD}Abies alba,,2,,\n", "no reason"),
        (f"{HEAD},,2,why,\n", "no taxon"),
        (f"{HEAD}Abies alba,,2,dug up, and sold,\n", "6 cells, the first line has 5 columns; put quotes"),
        (f'{HEAD}"Abies" alba,,2,why,\n', "csv:2: .*quotes"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path, text, match):
    """With the file, the line and what to write."""
    with pytest.raises(InputError, match=match):
        read(tmp_path, text)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_file_breaks_the_reader(tmp_path_factory, content):
    """Any bytes are a table or an InputError."""
    file = tmp_path_factory.mktemp("table") / "sensitive.csv"
    file.write_bytes(HEAD.encode() + content)
    try:
        read_sensitive(file)
    except InputError as error:
        assert str(file) in str(error)
    with pytest.raises(InputError, match="cannot be read"):
        read_sensitive(file.with_name("none.csv"))


def test_names_are_found_as_people_write_them(tmp_path):
    """By id or name, with an author, in any case; a name of no species is told with the nearest spelling, and loses no other."""
    rules = read(
        tmp_path,
        f"{HEAD}Cypripedium calceolus L.,,2,why,\nABIES  alba,,1,why,\nv003,,3,why,\nabies-alba,,2,why,\nCypripedium calcaelus,,2,why,\n",
    )
    found, missing = rules_of(rules, LIST)
    assert {k: [rule.category for rule in own] for k, own in found.items()} == {0: ["2"], 1: ["1", "2"], 2: ["3"]}
    assert len(missing) == 1 and "(line 6) is none of the 3 species mapped. Did you mean 'Cypripedium calceolus'" in missing[0]
    assert squares(found, 500, 50) == {0: 250, 1: WITHHELD, 2: 25}


@given(st.sampled_from(sorted(CATEGORIES)), st.sampled_from([500, 50, 250, 1000, 7, 1]), st.sampled_from([10, 50, 100, 1000]))
def test_squares_are_the_least_that_are_wide_enough(category, cells, size):
    """They divide a tile without rest and are no narrower than the category's cell; no smaller ones are; where a tile is too narrow, none."""
    side, least = square(category, cells, size), CATEGORIES[category]
    able = [n for n in range(1, cells + 1) if cells % n == 0 and least is not None and n * size >= least]
    assert side == min(able, default=WITHHELD)


def test_squares_of_the_usual_grid():
    """25 km tiles of 50 m cells: what docs/operator.md says."""
    metres = {category: 50 * square(category, 500, 50) for category in CATEGORIES}
    assert metres == {"1": 0, "2": 12_500, "3": 1_250, "4": 200, "SINP1": 5_000, "SINP2": 12_500, "SINP3": 0, "SINP4": 0}


def test_regions_and_reviews(tmp_path):
    """A rule holds where its region is, in any case of letters; an unknown one is refused; a review that is due is found, on the day after."""
    rules = read(tmp_path, f"{HEAD}Abies alba,ch,2,why,2030-01-01\nv003,*,1,why,\n")
    check_regions(rules, ["CH", "Alpine", ""], "s.csv")
    assert len(rules_in(rules, ["CH"])) == 2 and [r.taxon for r in rules_in(rules, ["FR"])] == ["v003"]
    with pytest.raises(InputError, match=r"s.csv:2: region 'ch' is not known: the grid's tiles are of Alpine, FR"):
        check_regions(rules, ["FR", "Alpine"], "s.csv")
    with pytest.raises(InputError, match="the grid says no region"):
        check_regions(rules, [], "s.csv")
    assert not overdue(rules, date(2030, 1, 1)) and overdue(rules, date(2030, 1, 2)) == [rules[0]]
