"""The observation store: what goes in comes out, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from geoplantnet.identify.observations import Image, ModelVersion, Observation, Vote
from geoplantnet.identify.records import RECORD_COLUMNS

JPEG = b"\xff\xd8\xff\xe0 a leaf"
PNG = b"\x89PNG\r\n\x1a\n a flower"
MODEL = ModelVersion(name="net", version="2")


def all_records(store, **options):
    chunks = list(store.records(**options))
    return pd.concat(chunks, ignore_index=True).set_index("occurrenceID") if chunks else pd.DataFrame(columns=list(RECORD_COLUMNS))


def vote(observation="o1", user="ada", kind="determination", value="quercus-robur", **more):
    return Vote(observation_id=observation, user_id=user, kind=kind, value=value, **more)


def test_an_observation_comes_out_as_it_went_in(store):
    """Every field, its images in their order with organs, and Darwin Core's names for them."""
    store.add_user("ada", "Ada Lovelace")
    seen = Observation(
        observation_id="o1",
        user_id="ada",
        latitude=43.5,
        longitude=11.25,
        coordinate_uncertainty=12.5,
        event_date="2024-05-17",
        dataset_id="app",
        flora="tuscany",
        license="https://creativecommons.org/licenses/by/4.0/",
        rights_holder="A. Lovelace",
        verbatim_name="Eiche — \N{LATIN SMALL LETTER E WITH ACUTE}\t'x'",
    )
    assert store.add_observation(seen, [Image(data=JPEG, organ="leaf"), Image(data=PNG)]) == "o1"
    record = all_records(store).loc["o1"]
    hashes = [hashlib.sha256(data).hexdigest() for data in (JPEG, PNG)]
    assert record[["decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters"]].tolist() == [43.5, 11.25, 12.5]
    assert (
        record["recordedBy"] == "Ada Lovelace"
        and record["recordedByID"] == "ada"
        and record["verbatimScientificName"] == seen.verbatim_name
    )
    assert record["images"] == "|".join(hashes) and record["organs"] == "leaf|auto" and record["license"] == seen.license
    assert record["taxonID"] == "" and not record["valid"] and np.isnan(record["quality"]) and record["confidence"] == 0
    assert store.images.get(hashes[0], "jpg") == JPEG and store.images.get(hashes[1], "png") == PNG


def test_the_same_acts_give_the_same_store_one_by_one_or_at_once(store, lite, dump):
    """Single and bulk calls are one way in: the same rows and the same hash over all acts, on either database."""
    observations = pd.DataFrame(
        {"observation_id": ["o1", "o2"], "user_id": ["ada", "bob"], "latitude": [1.5, np.nan], "longitude": [2.5, np.nan]}
    )
    votes = pd.DataFrame(
        [
            ("o1", "ada", "determination", "quercus-robur", "k1"),
            ("o2", "ada", "malformed", "1", ""),
            ("o1", "bob", "determination", "", None),
        ],
        columns=["observation_id", "user_id", "kind", "value", "key"],
    )
    lite.add_observations(observations)
    lite.add_votes(votes)
    lite.add_predictions(MODEL, pd.DataFrame({"observation_id": ["o1"], "taxon_id": ["acer-campestre"], "score": [0.25]}))
    store.add_observation(Observation(observation_id="o1", user_id="ada", latitude=1.5, longitude=2.5))
    store.add_observation(Observation(observation_id="o2", user_id="bob"))
    for row in votes.itertuples(index=False):
        assert store.vote(Vote(**{**row._asdict(), "key": row.key or ""}))
    store.predict("o1", MODEL, "acer-campestre", 0.25)
    assert dump(store) == dump(lite)
    pd.testing.assert_frame_equal(all_records(store), all_records(lite))
