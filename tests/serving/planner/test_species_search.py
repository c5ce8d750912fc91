"""Species by name: the same as going through all of them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.catalog.overview import SpeciesOverview
from geoplantnet.serving.planner.names import LEAST_INSIDE, NameIndex, folded
from geoplantnet.serving.planner.species import SpeciesSearch
from geoplantnet.serving.taxa import TaxonRecords
from geoplantnet.taxonomy import SpeciesList, Taxon

FLORA = (
    Taxon(taxon_id="g1", scientific_name="Abies alba", genus="Abies", family="Pinaceae", vernacular_name="Sapin pectiné"),
    Taxon(taxon_id="g2", scientific_name="Picea abies", genus="Picea", family="Pinaceae", vernacular_name="Épicéa"),
    Taxon(taxon_id="g3", scientific_name="Gentiana lutea", genus="Gentiana", family="Gentianaceae", vernacular_name="Gentiane jaune"),
    Taxon(taxon_id="g4", scientific_name="Crepis paludosa", genus="Crepis", family="Asteraceae", vernacular_name="Crépide des marais"),
    Taxon(taxon_id="g5", scientific_name="Lilium martagon", genus="Lilium", family="Liliaceae", vernacular_name="Lis martagon"),
    Taxon(taxon_id="g6", scientific_name="Incerta sedis"),
)


OVERVIEW = SpeciesOverview(
    species=SpeciesList(checklist="test", taxa=FLORA),
    traits={},
    plot_area=None,
    highest=np.ones(len(FLORA), np.float32),
    window=None,  # type: ignore[arg-type]
    _root=None,  # type: ignore[arg-type]
)
RECORDS = TaxonRecords(OVERVIEW, FLORA, lambda taxon_id: None)
SEARCH = SpeciesSearch([RECORDS[i] for i in range(len(RECORDS))])


def found(query: str, **more: str) -> list[str]:
    return [record["taxonID"] for record in SEARCH.find(query, **more)]


def test_best_first():
    """A genus by name or beginning comes before a later word of that name, common names and ids count, accents and case do not."""
    assert found("abies") == ["g1", "g2"] and found("ABI") == ["g1", "g2"]
    assert found("épicea") == found("EPICÉA") == ["g2"] and found("g3") == ["g3"]
    assert found("ge lu") == ["g3"] and found("lu ge") == ["g3"] and found("entian") == ["g3"]
    assert found("en") == [] and found("---") == [] and found("abies nothing") == []
    assert found("pinaceae") == ["g1", "g2"] and found("", family="PINACEAE", genus="picea") == ["g2"]
    assert found("") == ["g1", "g4", "g3", "g6", "g5", "g2"]


WORDS = st.text(alphabet="abcéE -'œ", max_size=8)


@given(things=st.lists(st.tuples(WORDS, WORDS), max_size=30), query=WORDS)
def test_the_index_finds_what_going_through_all_finds(things, query):
    """Against brute force, word by word and rank by rank."""
    typed = folded(query)

    def rank(own: tuple[str, ...]) -> int:
        names = [folded(name) for name in own]
        parts = [part for name in names for part in name.split()]
        if typed in names:
            return 0
        if names[0].startswith(typed):
            return 1
        if all(any(part.startswith(word) for part in parts) for word in typed.split()):
            return 2
        inside = all(any(part.startswith(w) if len(w) < LEAST_INSIDE else w in part for part in parts) for w in typed.split())
        return 3 if inside else 4

    by_name = sorted(range(len(things)), key=lambda i: (not folded(things[i][0]), folded(things[i][0])))
    expected = (
        sorted((i for i in by_name if rank(things[i]) < 4), key=lambda i: rank(things[i])) if typed else [] if query.strip() else by_name
    )
    assert NameIndex(things).find(query) == expected


@given(text=st.text(max_size=20))
def test_folding_is_done_once(text):
    """Folding again changes nothing, and decomposed text folds as composed text does."""
    assert folded(folded(text)) == folded(text)
    assert folded(unicodedata.normalize("NFD", text)) == folded(text)


def test_families_hold_every_species_once():
    """Counts of genera add up to those of families, and these to all; what has no family comes last."""
    told = SEARCH.families
    assert [one["name"] for one in told] == ["Asteraceae", "Gentianaceae", "Liliaceae", "Pinaceae", ""]
    assert sum(one["count"] for one in told) == len(FLORA)
    assert all(one["count"] == sum(genus["count"] for genus in one["genera"]) for one in told)
    assert told[3]["genera"] == [{"name": "Abies", "count": 1}, {"name": "Picea", "count": 1}]


def test_species_over_http(planner):
    """Pages, filters, ETag and refusals of ``/api/species``; families."""
    told = planner.get("/api/species", params={"q": "pice", "lang": "fr"}).json()
    assert told["count"] == 1 and told["withheld"] == 0 and told["species"][0]["scientificName"] == "Picea abies"
    all_of_them = planner.get("/api/species").json()["species"]
    pages = [planner.get(f"/api/species?limit=1&offset={i}").json()["species"][0] for i in range(3)]
    assert pages == all_of_them and [one["scientificName"] for one in pages] == ["Abies alba", "Fagus sylvatica", "Picea abies"]
    assert planner.get("/api/species?family=pinaceae&genus=Abies").json()["count"] == 1
    answer = planner.get("/api/species")
    assert planner.get("/api/species", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    for bad in ("limit=0", "limit=101", "limit=x", "offset=-1", f"q={'x' * 101}"):
        refusal = planner.get(f"/api/species?{bad}")
        assert refusal.status_code == 400 and "give" in refusal.json()["detail"], bad
    families = planner.get("/api/families").json()["families"]
    assert [(one["name"], one["count"]) for one in families] == [("Fagaceae", 1), ("Pinaceae", 2)]


def test_private_species_are_never_told(epochs_store: Path):
    """Neither found, nor counted, nor in families, without a key."""
    from starlette.testclient import TestClient

    from geoplantnet.serving import create_app
    from geoplantnet.serving.settings import ServerSettings

    with TestClient(create_app(epochs_store, settings=ServerSettings(private_layers=("species.v003",)))) as client:
        assert client.get("/api/species?q=picea").json()["count"] == 0 and client.get("/api/species").json()["count"] == 2
        assert client.get("/api/families").json()["families"][1]["count"] == 1
        assert client.get("/api/layers").json()["species"]["count"] == 2
        assert client.get("/api/layers/species.v003/how").status_code == 404


@pytest.mark.parametrize("query", ["%", "'", '"', "\\", "(", ".*", "\n", "🌲", "ﬀ", "İ"])
def test_marks_are_no_patterns(query, planner):
    """Nothing a person types is taken for a pattern."""
    assert planner.get("/api/species", params={"q": query}).status_code == 200
