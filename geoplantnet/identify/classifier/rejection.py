"""What features photos of other plants, and of no plants, would have: told by the head that a backbone came with, so that nobody need collect them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

PLANTS = (
    *range(936, 947),  # cabbage, broccoli, courgette, squashes, cucumber, artichoke, pepper, cardoon
    *range(948, 959),  # apple to pomegranate, hay
    *(984, 985, 986, 987, 988, 989, 990, 998),  # rapeseed, daisy, lady's slipper, maize, acorn, rose hip, buckeye, ear
    *(301, 304, 309, 317, *range(321, 327)),  # ladybird, leaf beetle, bee, leafhopper, butterflies: on leaves and flowers
    *(580, 738),  # greenhouse, flowerpot
)
"""Classes of ImageNet (ILSVRC 2012, in the usual order) whose photos show plants."""
WITH_PLANTS = frozenset(
    [
        *range(936, 959),  # cabbage to custard apple, pomegranate, hay
        *range(984, 999),  # rapeseed, daisy, lady's slipper, maize, acorn, rose hip, buckeye, fungi, ear
        *range(300, 327),  # beetles, flies, bees, dragonflies, butterflies: on plants more often than not
        *(31, 32, *range(40, 48), *range(70, 78), 94, 113),  # tree frogs, small lizards, spiders, hummingbird, snail
        *(580, 738, 883, 970, 975, 979),  # greenhouse, flowerpot, vase, alp, lakeside, valley
    ]
)
"""Classes whose photos show plants, or may well: of the others photos show none."""
_STRENGTH = 10.0
"""Of the penalty on the map from features as they came to features as they were taught."""
Floats = npt.NDArray[np.float32]


def class_means(classes: Floats, before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Features (m, d) of the classes of ImageNet that show plants, and of those that show none, in a net that was trained on.

    `classes` (1000, d): weights of the head that the backbone came with. `before` and `after` (n, d): features of the same photos, of plants and of none, by the
    backbone as it came and as it is now. Where the features of class c are normal around mean_c with one diagonal covariance, the softmax of a linear head has
    weights mean_c / variance, up to what all classes share (Bishop 2006, Pattern recognition and machine learning, section 4.2.1); so mean_c is the mean of all
    plus variance * (weights_c - mean weights). A ridge regression takes these means to the features of today; none is below 0, as after a rectifier.
    """
    means = np.maximum(before.mean(axis=0) + before.var(axis=0) * (classes - classes.mean(axis=0)), 0.0)
    if not np.array_equal(before, after):  # the backbone learnt
        means = np.maximum(Ridge(alpha=_STRENGTH).fit(before, after).predict(means), 0.0)
    none = [c for c in range(len(classes)) if c not in WITH_PLANTS]
    return means[list(PLANTS)].astype(np.float32), means[none].astype(np.float32)
