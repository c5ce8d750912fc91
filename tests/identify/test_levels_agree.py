"""Genera and families of a list: sums that always agree, and labels at any rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import InputError, UnknownSpecies
from geoplantnet.identify.levels import Levels
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon


def listed(*names: tuple[str, str, str]) -> SpeciesList:
    """Of (scientific name, genus, family)."""
    taxa = tuple(Taxon(taxon_id=f"t{i}", scientific_name=n, genus=g, family=f) for i, (n, g, f) in enumerate(names))
    return SpeciesList(checklist="test", taxa=taxa)


LIST = listed(
    ("Rosa canina", "Rosa", "Rosaceae"),
    ("Quercus robur", "Quercus", "Fagaceae"),
    ("Rosa gallica", "Rosa", ""),
    ("Rubus", "Rubus", "Rosaceae"),
    ("×Incognita minor", "", ""),
    ("Nemo alba", "Nemo", ""),
)
seeds = st.integers(0, 10_000)


def test_genera_and_families_of_a_list():
    """In order of appearance; a genus by the name's first word, a family by another of the genus; unknown families apart from each other."""
    levels = Levels.of(LIST)
    assert levels.genus.names == ("Rosa", "Quercus", "Rubus", "Incognita", "Nemo") and levels.genus.of.tolist() == [0, 1, 0, 2, 3, 4]
    assert levels.family.names == ("Rosaceae", "Fagaceae", "", "") and levels.family.of.tolist() == [0, 1, 0, 0, 2, 3]
    assert levels.genus.members(0).tolist() == [0, 2] and levels.family.index_of("Fagaceae") == 1
    with pytest.raises(UnknownSpecies, match="Rosa"):
        levels.genus.index_of("Roza")
    with pytest.raises(UnknownSpecies):
        levels.family.index_of("")


@given(seeds)
def test_levels_agree_and_sum_to_one(seed):
    """Genera are sums of species and families of genera, by brute force; logarithms give the same, also of what underflows."""
    levels = Levels.of(LIST)
    p = np.random.default_rng(seed).dirichlet(np.full(6, 0.2), size=3)
    genus, family = levels.genus.sums(p), levels.family.sums(p)
    brute = np.stack([p[:, levels.genus.of == g].sum(axis=1) for g in range(5)], axis=1)
    assert np.allclose(genus, brute) and np.allclose(genus.sum(axis=1), 1) and np.allclose(family.sum(axis=1), 1)
    assert np.allclose(np.stack([genus[:, levels.family_of_genus == f].sum(axis=1) for f in range(4)], axis=1), family)
    log_p = np.log(np.maximum(p, 1e-300)) - 2000
    assert np.allclose(levels.genus.log_sums(log_p) + 2000, np.log(levels.genus.sums(np.maximum(p, 1e-300))))
    assert (family.max(axis=1) >= genus.max(axis=1) - 1e-12).all() and (genus.max(axis=1) >= p.max(axis=1) - 1e-12).all()


@given(st.integers(0, 14))
def test_a_label_tells_its_own_rank_and_the_coarser_ones(code):
    """Code -> rank and position -> code returns; a genus tells its family and no species, a family neither."""
    levels = Levels.of(LIST)
    species, genus, family = (int(t[0]) for t in levels.targets(np.array([code])))
    rank = "species" if species >= 0 else "genus" if genus >= 0 else "family"
    assert levels.codes == 15 and levels.code(rank, {"species": species, "genus": genus, "family": family}[rank]) == code
    if species >= 0:
        assert genus == levels.genus.of[species]
    if genus >= 0:
        assert family == levels.family_of_genus[genus]


def test_what_is_no_level_is_refused():
    """A genus in two families names both; values of another length; codes and positions that are none."""
    with pytest.raises(InputError, match=r"Rosa.*Rosaceae.*Fagaceae"):
        Levels.of(listed(("Rosa canina", "Rosa", "Rosaceae"), ("Rosa alba", "Rosa", "Fagaceae")))
    levels = Levels.of(LIST)
    with pytest.raises(InputError, match="species axis"):
        levels.genus.sums(np.zeros((2, 5)))
    for wrong in (np.array([15]), np.array([-1]), np.array([0.5])):
        with pytest.raises(InputError, match="0 to 14"):
            levels.targets(wrong)
    with pytest.raises(InputError, match="6 of rank species"):
        levels.code("species", 6)
