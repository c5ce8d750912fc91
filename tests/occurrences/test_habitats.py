"""Habitats of plots: dominance by cover, the order of rules, land cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoplantnet import occurrences as occ
from geoplantnet.config.typology import load_typology
from geoplantnet.errors import InputError
from geoplantnet.occurrences import DominanceRule

RULES = [
    DominanceRule(code="T18", dominant=("Fagus sylvatica",), more_of=("Luzula nivea", "Vaccinium myrtillus"), than=("Hedera helix",)),
    DominanceRule(code="T17", dominant=("Fagus sylvatica",)),
    DominanceRule(code="T31", dominant=("Picea abies",)),
]


def plots_of(plots):
    """{event: {name: cover in percent}} as an OccurrenceSet."""
    events = pd.DataFrame({"eventID": list(plots), "x": 4_100_000.0, "y": 2_600_000.0 + 100 * np.arange(len(plots)), "year": 2000.0})
    rows = [(event, name, cover) for event, plants in plots.items() for name, cover in plants.items()]
    table = pd.DataFrame(rows, columns=["eventID", "scientificName", "organismQuantity"])
    table["organismQuantity"] = table["organismQuantity"].map("{:g}".format)
    return occ.from_tables(events, table.assign(organismQuantityType="% cover"), sampling="presence-absence", dataset_id="test")


def test_most_of_the_cover_makes_the_habitat():
    """Half or more of the cover of named trees; a further condition picks among classes of the same tree; else none."""
    found = occ.dominant_habitats(
        plots_of(
            {
                "beech": {"Fagus sylvatica": 60, "Hedera helix": 5},
                "acid beech": {"Fagus sylvatica": 60, "Luzula nivea": 1, "Picea abies": 20},
                "both groups": {"Fagus sylvatica": 60, "Luzula nivea": 1, "Hedera helix": 1},
                "spruce": {"Picea abies": 51, "Fagus sylvatica": 49},
                "tie": {"Picea abies": 30, "Fagus sylvatica": 30},
                "seedlings": {"Picea abies": 4, "Fagus sylvatica": 3},
                "meadow": {"Hedera helix": 80},
            }
        ),
        RULES,
    )
    assert found.to_dict() == {
        "beech": "T17",
        "acid beech": "T18",
        "both groups": "T17",
        "spruce": "T31",
        "tie": "T17",  # half is enough, and rules come in order
        "seedlings": "",
    }


def test_no_rule_is_refused():
    """A typology without rules cannot tell a plot."""
    with pytest.raises(InputError, match="no rule"):
        occ.dominant_habitats(plots_of({"a": {"Picea abies": 50}}), [])


def test_the_shipped_forests_tell_real_plots_apart(data_folder):
    """Of 726 systematic Swiss forest plots, most get a habitat; spruce and beech forests are the commonest, as in the forest inventory."""
    from geoplantnet.taxonomy import Backbone

    names = Backbone.read(data_folder / "reference/species_reference.csv", data_folder / "reference/synonyms_germansl.csv")
    plots = occ.read_ws(data_folder / "swiss_plots_dave", names, 500)
    found = occ.dominant_habitats(plots, load_typology("eunis_forests").rules)
    counts = found[found != ""].value_counts()
    assert counts.sum() > 0.65 * len(plots.events) and list(counts.index[:2]) == ["T31", "T17"]
    height = plots.events.set_index("eventID")["elevation"]
    mean = {code: height[found.index[found == code]].mean() for code in ("T1E", "T17", "T31", "T34") if (found == code).any()}
    assert sorted(mean, key=mean.__getitem__) == [code for code in ("T1E", "T17", "T31", "T34") if code in mean]


def test_land_cover_makes_a_habitat_where_it_has_most_of_the_cell():
    """Half or more of one cover; mixed or unknown cells have none."""
    shares = np.array([[0.7, 0.2], [0.4, 0.4], [np.nan, np.nan], [0.1, 0.9]])
    assert occ.majority_habitats(shares, ["R4", "T3"]).tolist() == ["R4", "", "", "T3"]
