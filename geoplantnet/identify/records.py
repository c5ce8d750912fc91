"""What a store tells of its observations: chunks of a plain table, a row an observation, in Darwin Core terms where there is one.

The store yields them, quality keeps or refuses them, exports and the species distribution model read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from geoplantnet.errors import InputError

TEXT = (
    "occurrenceID",
    "recordedBy",
    "recordedByID",
    "eventDate",
    "datasetID",
    "flora",
    "license",
    "rightsHolder",
    "taxonID",
    "scientificName",
    "verbatimScientificName",
    "genus",
    "family",
    "identifiedBy",
    "ai_taxonID",
    "ai_model",
    "organs",
    "images",
)
NUMBERS = (
    "decimalLatitude",
    "decimalLongitude",
    "coordinateUncertaintyInMeters",
    "confidence",
    "agreement",
    "determinations",
    "ai_score",
    "malformed",
    "not_a_plant",
    "cultivated",
    "quality",
)
FLAGS = ("valid",)
RECORD_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "occurrenceID": "id of the observation, stable",
        "recordedBy": "name under which the author wants to be cited; empty = none",
        "recordedByID": "id of the author's account",
        "eventDate": "when the photo was taken, ISO 8601; empty = unknown",
        "datasetID": "provenance: the app, project or archive it came from",
        "flora": "id of the flora the author named; empty = none",
        "license": "URL of the licence of record and images",
        "rightsHolder": "who holds the rights",
        "decimalLatitude": "degrees, WGS 84; NaN = unknown",
        "decimalLongitude": "degrees, WGS 84; NaN = unknown",
        "coordinateUncertaintyInMeters": "radius, metres; NaN = unknown",
        "taxonID": "the label, a taxon id of the store's checklist; empty = none",
        "scientificName": "of the label",
        "verbatimScientificName": "as the author determined it; empty = not",
        "genus": "of the label",
        "family": "of the label",
        "identifiedBy": "names of those whose vote is the label and who gave one, separated by |; `determinations` counts all",
        "valid": "whether the strategy trusts the label",
        "confidence": "summed weight of the votes for the label",
        "agreement": "its share of all weight, 0 to 1",
        "determinations": "people's votes on the species",
        "ai_taxonID": "the model's determination; empty = none",
        "ai_score": "its calibrated probability, 0 to 1; NaN = none",
        "ai_model": "name and version of the model",
        "malformed": "share of weight that says: several species, or not one plant, 0 to 1; 0 = nobody said so",
        "not_a_plant": "share of weight that says: no plant, 0 to 1",
        "cultivated": "share of weight that says: potted, planted or cultivated, 0 to 1",
        "quality": "mean of the images' quality votes, -1 bad to 1 good; NaN = none",
        "organs": "organs of the images, in their order, separated by |",
        "images": "SHA-256 of the images, in their order, separated by |",
    }
)
"""Column -> what it holds. Texts are never null, numbers are float64, `valid` is bool."""


def validate_records(records: pd.DataFrame) -> None:
    """Raises InputError naming the column that is missing or of another kind."""
    for column in RECORD_COLUMNS:
        if column not in records:
            raise InputError(f"records have no column {column!r} ({RECORD_COLUMNS[column]})")
    for column in (*TEXT, *NUMBERS):
        if records[column].isna().any() and column in TEXT:
            raise InputError(f"records column {column} holds a null; write an empty text where nothing is known")
        if column in NUMBERS and not pd.api.types.is_float_dtype(records[column]):
            raise InputError(f"records column {column} is {records[column].dtype}, wanted float64 (NaN where unknown)")
    for column in FLAGS:
        if not pd.api.types.is_bool_dtype(records[column]):
            raise InputError(f"records column {column} is {records[column].dtype}, wanted bool")
