"""Coordinates between the offered CRS."""

from __future__ import annotations

import itertools

import numpy as np
import pyproj
import pytest

from geoplantnet.serving.crs import CRSS, transformer


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(CRSS, 2)))
def test_one_operation_is_as_good_as_all(source, target):
    """All over the world a point comes to where it does by PROJ's own choice among all operations, to the last bit; and nowhere where not."""
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.linspace(-180, 180, 361), np.linspace(-90, 90, 181)))
    name = {"CRS:84": "OGC:CRS84"}
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", name.get(source, source), always_xy=True).transform(lon, lat)
    chosen = pyproj.Transformer.from_crs(name.get(source, source), name.get(target, target), always_xy=True).transform(x, y)
    for own, theirs in zip(transformer(source, target).transform(x, y), chosen, strict=True):
        assert np.array_equal(own, theirs)
