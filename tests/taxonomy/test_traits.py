"""Traits: unknown is NaN, never zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoplantnet.errors import InputError
from geoplantnet.taxonomy import TRAITS, Backbone, SpeciesList, Taxon, load_traits, slug, validate_traits

NAMES = [
    "Picea abies",
    "Fagus sylvatica",
    "Impatiens glandulifera",
    "Cypripedium calceolus",
    "Obscurus unknownii",
    "Aria edulis",
    "Solidago gigantea",
]
REFERENCE = pd.DataFrame(
    {
        "species": [
            "Picea abies",
            "Fagus sylvatica",
            "Impatiens glandulifera",
            "Cypripedium calceolus",
            "Aria edulis",
            "Sorbus aria",
            "Solidago gigantea",
        ],
        "tree": [1, 1, 0, 0, 0, 1, 0],
        "woody": [1, 1, 0, 0, np.nan, 1, np.nan],
        "eu_ias_union_concern": [0, 0, 1, 0, 0, 0, 0],
        "eu_habitats_directive": [0, 0, 0, 2, 0, 0, 0],
        "daisie_status": [None, None, "Alien", None, None, None, "Alien"],
        "src_plantclef": [1, 1, 1, 1, 1, None, 1],
    }
)


@pytest.fixture(scope="module")
def species() -> SpeciesList:
    return SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=slug(n), scientific_name=n) for n in NAMES))


@pytest.fixture
def reference(tmp_path):
    REFERENCE.to_csv(tmp_path / "reference.csv", index=False)
    return tmp_path / "reference.csv"


@pytest.fixture
def categories(tmp_path):
    table = pd.DataFrame(
        {"species": ["Picea abies", "Fagus sylvatica", "Impatiens glandulifera", "Sorbus aria"], "iucn": ["LC", "VU", "DD", "LR/nt"]}
    )
    table.to_csv(tmp_path / "iucn.csv", index=False)
    return tmp_path / "iucn.csv"


def test_rows_follow_the_list(species, reference):
    """The table has one row a species in list order, whatever the file's order, floats and recorded sources."""
    traits = load_traits(species, reference)
    assert list(traits.index) == [t.taxon_id for t in species]
    assert all(traits[c].dtype == float for c in TRAITS)
    assert set(traits.attrs["sources"]) == set(TRAITS)
    reversed_list = SpeciesList(checklist="test", taxa=species.taxa[::-1])
    pd.testing.assert_frame_equal(load_traits(reversed_list, reference), traits.iloc[::-1])


def test_unknown_is_nan(species, reference):
    """A species the reference lacks has NaN in every trait; an empty cell stays NaN; a known no is 0."""
    traits = load_traits(species, reference)
    assert traits.loc["obscurus-unknownii"].isna().all()
    assert np.isnan(traits.loc["solidago-gigantea", "woody"]) and traits.loc["impatiens-glandulifera", "woody"] == 0


def test_invasive_is_the_union_list_alone(species, reference):
    """A species alien by DAISIE but not on the Union list is not invasive."""
    traits = load_traits(species, reference)
    assert traits.loc["impatiens-glandulifera", "invasive"] == 1 and traits.loc["solidago-gigantea", "invasive"] == 0


def test_a_listed_subspecies_counts(species, reference):
    """The directive's code 2 (a subspecies is listed) is 1."""
    assert load_traits(species, reference).loc["cypripedium-calceolus", "eu_directive"] == 1


def test_rare_rule(species, reference, categories):
    """Threatened or listed is rare; LC and NT are not; with categories, no category or DD is unknown; without, the directive decides."""
    with_categories = load_traits(species, reference, categories)["rare"]
    assert with_categories["fagus-sylvatica"] == 1 and with_categories["cypripedium-calceolus"] == 1 and with_categories["picea-abies"] == 0
    assert with_categories[["impatiens-glandulifera", "solidago-gigantea", "obscurus-unknownii"]].isna().all()
    without = load_traits(species, reference)
    assert without["rare"]["fagus-sylvatica"] == 0 and without["iucn"].isna().all() and np.isnan(without["rare"]["obscurus-unknownii"])


def test_synonyms_share_their_traits(species, reference, categories):
    """With a backbone, what is filed under Sorbus aria counts for Aria edulis; without, it does not."""
    backbone = Backbone(REFERENCE, pd.DataFrame(columns=["synonym", "accepted"]))
    alone, shared = load_traits(species, reference, categories), load_traits(species, reference, categories, backbone=backbone)
    assert alone.loc["aria-edulis", "tree"] == 0 and np.isnan(alone.loc["aria-edulis", "woody"])
    assert shared.loc["aria-edulis", "tree"] == 1 and shared.loc["aria-edulis", "woody"] == 1 and shared.loc["aria-edulis", "iucn"] == "NT"


def test_bad_tables_are_refused(species, reference, tmp_path):
    """Missing file or column, unknown category, wrong order and wrong values name column and species."""
    with pytest.raises(InputError, match="is not there"):
        load_traits(species, tmp_path / "none.csv")
    REFERENCE.drop(columns="woody").to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(InputError, match="no column 'woody'"):
        load_traits(species, tmp_path / "short.csv")
    pd.DataFrame({"species": ["Picea abies"], "iucn": ["XX"]}).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(InputError, match="category 'XX'"):
        load_traits(species, reference, tmp_path / "bad.csv")
    traits = load_traits(species, reference)
    with pytest.raises(InputError, match="in order"):
        validate_traits(traits.iloc[::-1], species)
    with pytest.raises(InputError, match=r"trait woody holds 0\.5 for picea-abies"):
        validate_traits(traits.assign(woody=0.5), species)
    with pytest.raises(InputError, match="trait tree holds dtype"):
        validate_traits(traits.fillna({"tree": 0}).astype({"tree": int}), species)


def test_real_reference(data_folder):
    """On the real tables: spruce is a woody tree, the Union list gives tens of species, and unknowns remain unknown."""
    folder = data_folder / "reference"
    backbone = Backbone.read(folder / "species_reference.csv", folder / "synonyms_germansl.csv")
    species = SpeciesList(checklist="test", taxa=tuple(backbone.taxon(n) for n in backbone.accepted_names))
    traits = load_traits(species, folder / "species_reference.csv", folder / "iucn_restricted.csv", backbone=backbone)
    assert traits.loc["picea-abies", ["tree", "woody", "invasive"]].tolist() == [1, 1, 0]
    assert 30 <= traits["invasive"].sum() <= 45
    assert traits["woody"].isna().mean() > 0.5 and traits["iucn"].notna().sum() > 1000
    assert traits.loc["aria-edulis", "woody"] == 1
