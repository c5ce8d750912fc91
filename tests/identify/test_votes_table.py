"""The table of votes refuses what it cannot mean, and records what they lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoplantnet.errors import InputError
from geoplantnet.identify.records import FLAGS, NUMBERS, RECORD_COLUMNS, TEXT, validate_records
from geoplantnet.identify.votes import NONE, Votes


def votes(**other):
    """Two users on two observations, with some of it replaced."""
    given = {"observation": [0, 0, 1], "user": [0, 1, 1], "species": [2, 2, 0], "author": [0, NONE], "n_users": 2, "n_species": 3}
    return Votes(**{k: np.asarray(v, np.int32) if isinstance(v, list) else v for k, v in (given | other).items()})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"user": [0, 0, 1]}, "twice"),
        ({"species": [0, 3, 0]}, "species 0 to 3 is outside 0 to 2"),
        ({"observation": [0, 0, 2]}, "observation"),
        ({"user": [0, -1, 1]}, "user"),
        ({"author": [0, 2]}, "author"),
        ({"species": [0, 0]}, "of species"),
        ({"ai_species": [0]}, "ai_species has shape"),
        ({"ai_species": [0, 3]}, "ai_species"),
    ],
)
def test_votes_that_mean_nothing_are_refused(other, message):
    """Each with what is wrong."""
    assert len(votes()) == 3 and votes().n_observations == 2
    with pytest.raises(InputError, match=message):
        votes(**other)


def test_records_say_which_column_is_wrong():
    """A missing column, a null text, a whole number, a flag that is none; the columns are each of one kind."""
    assert sorted([*TEXT, *NUMBERS, *FLAGS]) == sorted(RECORD_COLUMNS)
    good = pd.DataFrame({**{c: ["a"] for c in TEXT}, **{c: [0.5] for c in NUMBERS}, "valid": [True]})
    validate_records(good)
    for bad, column in (
        (good.drop(columns="license"), "license"),
        (good.assign(genus=[None]), "genus"),
        (good.assign(quality=[1]), "quality"),
        (good.assign(valid=[1]), "valid"),
    ):
        with pytest.raises(InputError, match=column):
            validate_records(bad)
