"""The species axis: order, identity, look-up."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import InputError, UnknownSpecies
from geoplantnet.taxonomy import SpeciesList, Taxon

ids = st.lists(st.from_regex(r"[a-z]{1,8}(-[a-z]{1,8})?", fullmatch=True), unique=True, min_size=1, max_size=30)


def listed(taxon_ids, checklist="test"):
    return SpeciesList(
        checklist=checklist, taxa=tuple(Taxon(taxon_id=i, scientific_name=f"Genus {i}", genus="Genus", family="F") for i in taxon_ids)
    )


@given(ids)
def test_an_index_and_its_taxon_agree(taxon_ids):
    """index_of inverts indexing, by id and by name, and membership follows."""
    species = listed(taxon_ids)
    assert [species.index_of(t.taxon_id) for t in species] == list(range(len(species)))
    assert [species.index_of(t.scientific_name) for t in species] == list(range(len(species)))
    assert all(t.taxon_id in species and t.scientific_name in species for t in species)
    assert "no such species" not in species


@given(ids)
def test_a_list_survives_json(taxon_ids):
    """to_dict and from_dict are inverse through JSON, and the hash with them."""
    species = listed(taxon_ids)
    again = SpeciesList.from_dict(json.loads(json.dumps(species.to_dict())))
    assert again == species and again.hash == species.hash


@given(ids, st.randoms(use_true_random=False))
def test_the_hash_is_the_order(taxon_ids, random):
    """Another order, or another checklist, is another hash; vernacular names are not part of it."""
    other = list(taxon_ids)
    random.shuffle(other)
    assert (listed(other).hash == listed(taxon_ids).hash) == (other == taxon_ids)
    assert listed(taxon_ids, "other").hash != listed(taxon_ids).hash
    renamed = SpeciesList(checklist="test", taxa=tuple(dataclasses.replace(t, vernacular_name="x") for t in listed(taxon_ids)))
    assert renamed.hash == listed(taxon_ids).hash


def test_an_unknown_species_is_named_with_the_nearest():
    """A misspelt name raises UnknownSpecies and suggests the right one."""
    with pytest.raises(UnknownSpecies, match="Did you mean 'picea-abies'"):
        listed(["picea-abies", "fagus-sylvatica"]).index_of("picea-abis")


def test_a_doubled_id_is_refused():
    """Two taxa of one id raise InputError naming it."""
    with pytest.raises(InputError, match="'a' twice"):
        listed(["a", "b", "a"])


def test_a_changed_list_is_seen():
    """A list whose content does not match its recorded hash is refused."""
    value = listed(["a", "b"]).to_dict()
    value["taxa"] = value["taxa"][::-1]
    with pytest.raises(InputError, match="does not match its recorded hash"):
        SpeciesList.from_dict(value)
