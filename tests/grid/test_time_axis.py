"""The periods of a time axis tile the calendar: no gap, no overlap."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import ConfigurationError
from geoplantnet.grid.time_axis import TimeAxis

AXES = st.builds(
    TimeAxis,
    step=st.sampled_from(["month", "quarter", "year"]),
    first=st.builds("{:04d}-{:02d}".format, st.integers(1900, 2100), st.integers(1, 12)),
    count=st.integers(1, 400),
)


@given(AXES)
def test_every_day_belongs_to_one_period(axis):
    """Each period starts where the one before ended; the first starts with the month said; lengths are whole months."""
    periods = axis.periods
    assert len(periods) == axis.count == axis.starts.size
    assert f"{periods[0][0]:%Y-%m}" == axis.first
    assert all(one[1] == two[0] for one, two in pairwise(periods))
    months = {"month": 1, "quarter": 3, "year": 12}[axis.step]
    assert all((b.year - a.year) * 12 + b.month - a.month == months and a.day == b.day == 1 for a, b in periods)
    assert [d.item() for d in axis.starts] == [start for start, _ in periods]


def test_meteorological_seasons_begin_in_december():
    """A quarter is three months from the first one on, over the turn of the year."""
    axis = TimeAxis(step="quarter", first="2019-12", count=2)
    assert axis.periods == ((date(2019, 12, 1), date(2020, 3, 1)), (date(2020, 3, 1), date(2020, 6, 1)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"step": "quater"}, "Did you mean 'quarter'"),
        ({"first": "2019-13"}, "a month such as 2019-01, got '2019-13'"),
        ({"first": "0000-01"}, "a month such as 2019-01, got '0000-01'"),
        ({"first": "2019"}, "a month such as 2019-01, got '2019'"),
        ({"count": 0}, "count must be a positive number of quarters"),
        ({"count": 100_000}, "before the year 9999"),
    ],
)
def test_what_is_no_axis_is_refused(fields, said):
    """The error names the key, the value and what is allowed."""
    with pytest.raises(ConfigurationError, match=said):
        TimeAxis(**{"step": "quarter", "first": "2019-12", "count": 4, **fields})
