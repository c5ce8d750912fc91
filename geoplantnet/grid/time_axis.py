"""The time axis of a modality: equal calendar periods, one after the other. All times are UTC."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import ConfigurationError, did_you_mean

Period = tuple[date, date]
"""First day, and the day after the last: half open."""

_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """`count` periods of one length from a month on. Raises ConfigurationError for a step or month that is none."""

    step: Literal["month", "quarter", "year"]
    """A quarter is three months from `first` on, so that meteorological seasons begin with a December."""
    first: str
    """First month of the first period, such as 2019-01."""
    count: int
    """Number of periods."""

    def __post_init__(self) -> None:
        if self.step not in _MONTHS:
            hint = did_you_mean(str(self.step), _MONTHS)
            raise ConfigurationError(f"time: step must be {', '.join(_MONTHS)}, got {self.step!r}.{hint}")
        if not re.fullmatch(r"(?!0000)\d{4}-(0[1-9]|1[0-2])", self.first):
            raise ConfigurationError(f"time: first must be a month such as 2019-01, got {self.first!r}")
        if self.count < 1 or self._month(self.count) // 12 > 9999:
            raise ConfigurationError(f"time: count must be a positive number of {self.step}s before the year 9999, got {self.count}")

    @property
    def periods(self) -> tuple[Period, ...]:
        """Half-open [first day, day after the last), (count,)."""
        edges = [date(month // 12, month % 12 + 1, 1) for month in map(self._month, range(self.count + 1))]
        return tuple(itertools.pairwise(edges))

    @property
    def starts(self) -> npt.NDArray[np.datetime64]:
        """First day of every period: datetime64[D] (count,)."""
        return np.array([start for start, _ in self.periods], "datetime64[D]")

    def _month(self, period: int) -> int:
        """Months since year 0 at which a period starts."""
        year, month = map(int, self.first.split("-"))
        return year * 12 + month - 1 + period * _MONTHS[self.step]
