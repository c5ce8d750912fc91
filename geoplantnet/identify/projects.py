"""Floras that an identification may be limited to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """A flora."""

    id: str
    title: str = ""
    description: str = ""
    species: npt.NDArray[np.intp] | None = None
    codes: tuple[str, ...] = ()
