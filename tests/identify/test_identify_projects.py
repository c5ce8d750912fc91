"""Projects: floras over the species a net knows, by name, by place, by what photos show; JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import shapely

from geoplantnet.errors import InputError, LookupFailed
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.projects import Project, Projects
from geoplantnet.identify.regions import Regions
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = SpeciesList(
    checklist="test",
    taxa=(
        Taxon(taxon_id="t0", scientific_name="Abies alba", genus="Abies"),
        Taxon(taxon_id="t1", scientific_name="Bellis perennis", genus="Bellis"),
        Taxon(taxon_id="t2", scientific_name="Carex flava", genus="Carex"),
        Taxon(taxon_id="g1", scientific_name="Bellis", genus="Bellis"),
    ),
)
REGIONS = Regions(
    {
        "land": shapely.box(0, 0, 10, 10),
        "valley": shapely.box(2, 2, 4, 4),
        "isle": shapely.box(20, 0, 22, 2),
        "empty": shapely.box(50, 50, 51, 51),
    }
)


@pytest.fixture(scope="module")
def projects() -> Projects:
    rows = [
        ("land", "t0"),
        ("land", "t1"),
        ("land", "unheard-of"),
        ("valley", "t1"),
        ("isle", "t2"),
        ("useful", "t0"),
        ("useful", "t2"),
        ("moss", "unheard-of"),
    ]
    table = pd.DataFrame(rows, columns=["region", "taxonID"]).assign(status="native")
    return Projects.from_floras(Floras(checklists=table, regions=REGIONS), SPECIES, titles={"useful": ("Useful plants", "Eaten.")})


def test_floras_are_projects_over_the_species_of_the_net(projects):
    """A genus is where a species of it is; a flora of which the net knows nothing is left out, and said to be."""
    assert [project.id for project in projects] == ["isle", "land", "useful", "valley"] and len(projects) == 4
    assert projects["land"].species.tolist() == [0, 1, 3] and projects["valley"].species.tolist() == [1, 3]
    assert projects["useful"].title == "Useful plants" and projects["useful"].codes == () and projects["land"].codes == ("land",)
    assert projects.unknown == {"land": 1, "moss": 1}
    assert list(projects.left_out) == ["moss"] and "none of its species" in projects.left_out["moss"]


def test_a_file_of_names_is_read_by_the_species_of_the_net(tmp_path):
    """With authors and without; synonyms are one species; what the net does not know, and what is no species, is counted."""
    path = tmp_path / "floras.csv"
    rows = [
        "land,Abies alba Mill.,native",
        "land,Bellis perennis,",
        "land,Bellis perennis L.,introduced",
        "valley,Carex sp.,native",
        "useful,Malus domestica,",
    ]
    path.write_text("\n".join(["region,scientificName,status", *rows]), encoding="utf-8")
    read = Projects.read(path, SPECIES, REGIONS)
    assert [project.id for project in read] == ["land"] and read["land"].species.tolist() == [0, 1, 3]
    assert read.refused == {"genus only": 1, "the net does not know it": 1}


def test_the_smallest_region_around_a_place_speaks(projects):
    """Borders count; beyond all regions nobody speaks."""
    assert projects.at(3, 3).id == "valley" and projects.at(9, 9).id == "land" and projects.at(10, 10).id == "land"
    assert projects.at(-30, 3) is None


def test_near_a_place_all_are_told_the_most_relevant_first(projects):
    """Around it from the smallest on, thematic ones, then the others by distance: each exactly once."""
    assert [project.id for project in projects.near(3, 3)] == ["valley", "land", "useful", "isle"]
    assert [project.id for project in projects.near(19, 1)] == ["useful", "isle", "land", "valley"]


def test_what_photos_show_points_to_the_smallest_flora_that_holds_it(projects):
    """Nine tenths of the probability, or no flora."""
    assert projects.holding([0.02, 0.95, 0.01, 0.02]).id == "valley"
    assert projects.holding([0.5, 0.45, 0, 0.05]).id == "land"
    assert projects.holding([0, 0.5, 0.5, 0]) is None


def test_projects_come_back_from_json(projects, tmp_path):
    """The same in all but the borders, which can be given again; equal projects are equal bytes; another list of species is refused."""
    path = projects.save(tmp_path / "projects.json")
    back = Projects.open(path, SPECIES, REGIONS)
    assert back.to_dict() == projects.to_dict() and back.at(3, 3).id == "valley"
    assert Projects.open(path, SPECIES).at(3, 3) is None
    assert back.save(tmp_path / "again.json").read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="make them anew"):
        Projects.open(path, replace(SPECIES, checklist="another"))
    for broken in ("{", "[]", json.dumps({"species": SPECIES.hash}), json.dumps({"species": SPECIES.hash, "projects": [{"id": "x"}]})):
        (tmp_path / "broken.json").write_text(broken)
        with pytest.raises(InputError, match=r"Projects\.save"):
            Projects.open(tmp_path / "broken.json", SPECIES)


def test_projects_that_cannot_be_are_told(projects):
    """A reserved or double id, species out of order or out of the list, a name nobody has."""
    with pytest.raises(LookupFailed, match="valley"):
        projects["valey"]
    assert "valley" in projects and "valey" not in projects
    for items, why in (
        ((Project(id="all"),), "reserved"),
        ((Project(id="a"), Project(id="a")), "twice"),
        ((Project(id="a", species=np.array([1, 9])),), "another net"),
    ):
        with pytest.raises(InputError, match=why):
            Projects(species=SPECIES, items=items)
    with pytest.raises(InputError, match="sorted"):
        Project(id="a", species=np.array([2, 1]))
