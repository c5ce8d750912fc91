"""Sensitive records: every rule finds its taxa, squares hold the places, and are those of the one lattice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from geoplantnet.errors import UsageError
from geoplantnet.identify.protection import NOT_SENSITIVE, Protection, told_month, told_places
from geoplantnet.taxonomy.sensitive import CATEGORIES, WITHHELD, SensitiveRule

SECRET = b"0123456789abcdef"
TO_GRID = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)


def rule(taxon: str, category: str = "2") -> SensitiveRule:
    return SensitiveRule(taxon=taxon, region="", category=category, reason="r", review=None, line=2)


def sides(rules: list[SensitiveRule], *taxa: tuple[str, str]) -> list[float]:
    table = pd.DataFrame(taxa, columns=["id", "name"], dtype=object)
    return Protection(rules=tuple(rules), secret=SECRET).sides(table["id"], table["name"]).tolist()


@pytest.mark.parametrize(
    ("taxon", "covered", "free"),
    [
        (
            "Cypripedium calceolus",
            ["Cypripedium calceolus L.", "cypripedium  CALCEOLUS", "Cypripedium calceolus var. album"],
            ["Cypripedium"],
        ),
        ("Cypripedium calceolus L.", ["Cypripedium calceolus"], ["Cypripedium guttatum"]),
        ("Ophrys", ["Ophrys apifera", "Ophrys insectifera L.", "Ophrys"], ["Orchis mascula"]),
        ("Ophrys apifera subsp. trollii", ["Ophrys apifera subsp. trollii", "Ophrys apifera"], ["Ophrys insectifera"]),
        ("Quercus × rosacea", ["Quercus x rosacea Bechst."], ["Quercus robur"]),
        ("Virtual species 003 (alpine meadow)", ["Virtual species 003 (alpine meadow)"], ["Virtual species 004 (forest)"]),
    ],
)
def test_a_rule_finds_its_taxon_however_it_is_written(taxon, covered, free):
    """With and without author, in any case, also what is below a species or a genus; and no other."""
    assert [side > 0 for side in sides([rule(taxon)], *(("x1", name) for name in covered))] == [True] * len(covered)
    assert sides([rule(taxon)], *(("x1", name) for name in free)) == [NOT_SENSITIVE] * len(free)


def test_a_rule_finds_its_taxon_by_id():
    """An id as it stands, or the slug of a name where the record has no name of its own."""
    assert sides([rule("v003")], ("v003", "Virtual species 003"), ("v004", "x")) == [12_500, NOT_SENSITIVE]
    assert sides([rule("Abies alba")], ("abies-alba", "")) == [12_500]


def test_of_several_rules_the_strictest_holds():
    """Withheld beats any square, the wider square the narrower; of other categories squares as wide as they ask."""
    assert sides([rule("Poa annua", "4"), rule("poa annua", "2"), rule("Poa", "3")], ("p", "Poa annua"), ("q", "Poa alpina")) == [
        12_500,
        1_250,
    ]
    assert sides([rule("Poa annua", "1"), rule("poa annua", "2")], ("p", "Poa annua")) == [WITHHELD]
    for category, least in CATEGORIES.items():
        (side,) = sides([rule("Poa annua", category)], ("p", "Poa annua"))
        assert side == WITHHELD if least is None else least <= side <= 12_500 and 25_000 % side == 0


def test_rules_without_a_taxon_are_named():
    """Nobody is protected by a name that is mistyped."""
    protection = Protection(rules=(rule("Poa annua"), rule("Cypripediun calceolus")), secret=SECRET)
    assert [r.taxon for r in protection.unmatched([("p", "Poa annua L."), ("c", "Cypripedium calceolus")])] == ["Cypripediun calceolus"]


def test_texts_that_name_a_sensitive_species_are_found():
    """Wherever in them, with other words around."""
    texts = pd.Series(["near Cypripedium  calceolus L.?", "Abies alba", "", "cf. cypripedium calceolus"], dtype=object)
    found = Protection(rules=(rule("Cypripedium calceolus"),), secret=SECRET).mentioned(texts)
    assert found.tolist() == [True, False, False, True]


places = st.lists(
    st.tuples(
        st.floats(-10, 30),
        st.floats(36, 70),
        st.sampled_from([np.nan, 0, 13.4, 900, 20_000]),
        st.sampled_from([200.0, 1250.0, 5000.0, 12_500.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(places)
def test_the_true_circle_lies_in_what_is_told(found):
    """The told point is the middle of a whole square of the lattice around the place; the told uncertainty reaches over all of it and the record's own."""
    longitude, latitude, own, lattice = (np.array(axis, float) for axis in zip(*found, strict=True))
    told = told_places(longitude, latitude, own, lattice, "EPSG:3035")
    x, y = TO_GRID.transform(longitude, latitude)
    east, north = TO_GRID.transform(told.longitude, told.latitude)
    assert (told.side % lattice == 0).all() and (told.side >= np.nan_to_num(own)).all()
    assert (np.abs((east - told.side / 2) / told.side - np.round((east - told.side / 2) / told.side)) < 1e-3).all()
    assert (np.abs(np.array(x) - east) <= told.side / 2 + 1e-3).all() and (np.abs(np.array(y) - north) <= told.side / 2 + 1e-3).all()
    away = Geod(ellps="WGS84").inv(told.longitude, told.latitude, longitude, latitude)[2]
    assert (away + np.nan_to_num(own) <= told.uncertainty + 1e-3).all() and (told.uncertainty >= told.side * np.sqrt(0.5) * 0.9).all()


@given(places, st.integers(0, 2**31))
def test_two_places_of_a_square_are_told_alike(found, seed):
    """Moved anywhere inside its square, a record is told at the same point, bit for bit."""
    longitude, latitude, own, lattice = (np.array(axis, float) for axis in zip(*found, strict=True))
    told = told_places(longitude, latitude, own, lattice, "EPSG:3035")
    corner = [np.floor(axis / lattice) * lattice for axis in map(np.array, TO_GRID.transform(longitude, latitude))]
    share = np.random.default_rng(seed).uniform(0.001, 0.999, (2, len(own)))
    moved = TO_GRID.transform(corner[0] + share[0] * lattice, corner[1] + share[1] * lattice, direction="INVERSE")
    again = told_places(*moved, own, lattice, "EPSG:3035")
    for name in ("longitude", "latitude", "uncertainty", "side"):
        np.testing.assert_array_equal(getattr(told, name), getattr(again, name))


def test_where_the_lattice_does_not_reach_nothing_is_told():
    """In Australia its squares would be slivers."""
    told = told_places(np.array([151.0, 8.0]), np.array([-33.0, 46.0]), np.zeros(2), np.full(2, 5000.0), "EPSG:3035")
    assert np.isnan(told.longitude).tolist() == [True, False]


@pytest.mark.parametrize(
    ("date", "month"),
    [
        ("2024-05-03T10:11:12Z", "2024-05"),
        ("2024-05", "2024-05"),
        ("2024", "2024"),
        ("", ""),
        ("x", ""),
        ("2024-05-03/2024-05-09", "2024-05"),
        ("2024-05-03/2024-06-01", "2024"),
        ("2023-12-31/2024-01-02", ""),
        ("20240503", "2024"),
    ],
)
def test_dates_are_told_to_the_month(date, month):
    """Never finer; coarser where the date was."""
    assert told_month([date]) == [month]


def test_new_ids_are_stable_and_need_the_secret():
    """The same under one secret, others under another; one that is too short is refused, with the way to make one."""
    one, other = (Protection(rules=(), secret=secret) for secret in (SECRET, SECRET[::-1]))
    assert one.pseudonym("o1") == one.pseudonym("o1") != one.pseudonym("o2") and one.pseudonym("o1") != other.pseudonym("o1")
    with pytest.raises(UsageError, match="head -c 32"):
        Protection(rules=(), secret=b"short")
