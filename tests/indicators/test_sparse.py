"""Where hardly a species is expected there is no community to describe."""

from __future__ import annotations

import numpy as np
import pandas as pd

from geoplantnet.indicators import INDICATORS, compute, indicator


def test_sparse_cells_keep_their_sums_and_lose_their_community():
    """Below `least` expected species, evenness, shares and worst categories are NaN; counts and chances stay; others are untouched."""
    p = np.array([[[0.4, 0.9]], [[0.2, 0.8]], [[0.1, 0.7]]], np.float32)
    traits = pd.DataFrame(
        {"tree": [1.0, 0, 0], "woody": 1.0, "invasive": 0.0, "eu_directive": 0.0, "rare": 0.0, "iucn": ["EN", "LC", "LC"]}
        | {"range_squares": 3.0, "specialisation": 0.5}
    )
    whole, masked = (compute(list(INDICATORS), lambda: [(slice(0, 3), p)], traits, (1, 2), least=least) for least in (0.0, 1.0))
    for name in INDICATORS:
        for band in indicator(name).info.bands:
            assert masked[band][0, 1] == whole[band][0, 1] or np.isnan(whole[band][0, 1])
            if indicator(name).info.needs_community:
                assert np.isnan(masked[band][0, 0])
            else:
                assert masked[band][0, 0] == whole[band][0, 0] or np.isnan(whole[band][0, 0])
    assert np.isfinite(masked["richness"]).all() and np.isnan(masked["shannon"][0, 0])
