"""Records as a store tells them, made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from geoplantnet.identify.records import FLAGS, NUMBERS, RECORD_COLUMNS, TEXT

GOOD = {
    **dict.fromkeys(TEXT, ""),
    **{
        "recordedByID": "u1",
        "recordedBy": "Ada",
        "eventDate": "2024-05-03",
        "datasetID": "app",
        "license": "https://creativecommons.org/licenses/by/4.0/",
    },
    **{
        "taxonID": "bellis-perennis",
        "scientificName": "Bellis perennis",
        "genus": "Bellis",
        "family": "Asteraceae",
        "identifiedBy": "Ada|Bo",
    },
    **{"decimalLatitude": 43.7711, "decimalLongitude": 11.2486, "coordinateUncertaintyInMeters": 12.0, "confidence": 3.0, "agreement": 1.0},
    **{
        "determinations": 3.0,
        "ai_score": np.nan,
        "malformed": 0.0,
        "not_a_plant": 0.0,
        "cultivated": 0.0,
        "quality": np.nan,
        "valid": True,
    },
}
"""A record that nothing is wrong with."""


def make(*rows: dict) -> pd.DataFrame:
    """Rows, each told by what differs from a good record -> records; ids o0, o1 ... and places 80 m apart unless said."""
    full = [
        {**GOOD, "occurrenceID": f"o{i}", "decimalLongitude": GOOD["decimalLongitude"] + i * 1e-3, "images": f"{i:064x}", **row}
        for i, row in enumerate(rows)
    ]
    table = pd.DataFrame(full, columns=list(RECORD_COLUMNS))
    return table.astype({**dict.fromkeys(TEXT, object), **dict.fromkeys(NUMBERS, float), **dict.fromkeys(FLAGS, bool)})
