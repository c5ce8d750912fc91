"""Records by hand, and by chance, for the tests of exports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from geoplantnet.identify.records import FLAGS, NUMBERS, RECORD_COLUMNS, TEXT

GOOD = {
    "occurrenceID": "o1",
    "recordedBy": "Zoé Müller",
    "recordedByID": "u1",
    "eventDate": "2024-05-03T10:11:12Z",
    "datasetID": "app",
    "license": "http://creativecommons.org/licenses/by/4.0/legalcode",
    "rightsHolder": "Zoé Müller",
    "decimalLatitude": 46.5123456,
    "decimalLongitude": 8.1234567,
    "coordinateUncertaintyInMeters": 12.0,
    "taxonID": "abies-alba",
    "scientificName": "Abies alba",
    "verbatimScientificName": "Abies alba",
    "genus": "Abies",
    "family": "Pinaceae",
    "identifiedBy": "Zoé Müller|Jan",
    "valid": True,
    "confidence": 3.2,
    "agreement": 0.9,
    "determinations": 3.0,
    "quality": 0.5,
    "organs": "leaf|fruit",
    "images": "aa11|bb22",
}
TAXA = ("Abies alba", "Fagus sylvatica", "Cypripedium calceolus", "Ophrys apifera subsp. trollii", "Trichomanes speciosum")


def records(*changes: dict[str, Any]) -> pd.DataFrame:
    """A table of records: each is the good one with its changes; `taxon` sets id, name and genus."""
    rows = []
    for change in changes:
        row = {name: "" for name in TEXT} | {name: np.nan for name in NUMBERS} | {"malformed": 0.0, "not_a_plant": 0.0, "cultivated": 0.0}
        own = dict(change)
        if name := own.pop("taxon", None):
            own = {"scientificName": name, "taxonID": name.lower().replace(" ", "-"), "genus": name.split()[0]} | own
        rows.append(row | GOOD | own)
    columns = [*RECORD_COLUMNS, *(["verification"] if any("verification" in c for c in changes) else [])]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(NUMBERS, float) | dict.fromkeys(FLAGS, bool))
    return table.fillna({"verification": ""})


texts = st.text(st.characters(codec="utf-8"), max_size=8)
shares = st.sampled_from([0.0, 0.2, 0.49, 0.5, 0.7, 1.0])


@st.composite
def any_record(draw: Any, taxa: tuple[str, ...] = TAXA) -> dict[str, Any]:
    """A record of whatever kind: valid or not, one plant or none, sure or not, anywhere."""
    taxon, models = draw(st.sampled_from(taxa)), draw(st.sampled_from(("", *taxa)))
    score = draw(st.sampled_from([np.nan, 0.3, 0.94, 0.97])) if models else np.nan
    return {
        "taxon": taxon,
        "valid": draw(st.booleans()),
        "determinations": float(draw(st.integers(0, 3))),
        "identifiedBy": draw(st.sampled_from(["", "A|B", "\tC\n"])),
        "malformed": draw(shares),
        "not_a_plant": draw(shares),
        "cultivated": draw(shares),
        "ai_taxonID": models.lower().replace(" ", "-"),
        "ai_model": "net 1.0" if models else "",
        "ai_score": score,
        "verification": draw(st.sampled_from(["", "validated by people", "model above 0.95"])),
        "verbatimScientificName": draw(st.sampled_from(["", taxon, "near Cypripedium calceolus L.?", 'a "b"\tc\nd', *taxa])),
        "decimalLatitude": draw(st.sampled_from([np.nan, 46.5, 60.0, -33.0, 95.0]) | st.floats(40, 60)),
        "decimalLongitude": draw(st.sampled_from([np.nan, 8.1, 151.0]) | st.floats(-5, 25)),
        "coordinateUncertaintyInMeters": draw(st.sampled_from([np.nan, 0.0, 13.37, 900.0, 70_000.0])),
        "recordedBy": draw(texts),
        "rightsHolder": draw(texts),
        "eventDate": draw(st.sampled_from(["", "2024", "2024-05-03T10:11Z", "2024-05-03/2024-06-01", "2023-12-31/2024-01-02", "x"])),
    }
