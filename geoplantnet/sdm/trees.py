"""Decision trees as plain arrays: read, written and walked without the library that grew them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeRegressor

from geoplantnet.sdm.tree_kernels import walk

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Binary trees, nodes of all trees one after another. A node with `left` < 0 is a leaf."""

    root: npt.NDArray[np.int64]
    """(tree,) node at which each tree begins."""
    feature: npt.NDArray[np.int32]
    """(node,) column asked."""
    threshold: npt.NDArray[np.float64]
    """(node,) a value <= it goes left."""
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    """(node,) children, counted from the tree's root; -1 at a leaf."""

    @classmethod
    def of(cls, grown: Sequence[DecisionTreeRegressor]) -> Self:
        """The trees scikit-learn grew (on columns without gaps)."""
        trees = [g.tree_ for g in grown]
        return cls(
            root=np.cumsum([0, *(t.node_count for t in trees)], dtype=np.int64)[:-1],
            feature=_joined([t.feature for t in trees], np.int32),
            threshold=_joined([t.threshold for t in trees], np.float64),
            left=_joined([t.children_left for t in trees], np.int32),
            right=_joined([t.children_right for t in trees], np.int32),
        )

    @classmethod
    def join(cls, parts: Sequence[Trees]) -> Self:
        """All trees of several, in order."""
        nodes = np.cumsum([0, *(p.feature.size for p in parts)], dtype=np.int64)
        return cls(
            root=_joined([p.root + n for p, n in zip(parts, nodes)], np.int64),
            feature=_joined([p.feature for p in parts], np.int32),
            threshold=_joined([p.threshold for p in parts], np.float64),
            left=_joined([p.left for p in parts], np.int32),
            right=_joined([p.right for p in parts], np.int32),
        )

    def __len__(self) -> int:
        return self.root.size

    def leaves(self, x: Float, tree: int) -> npt.NDArray[np.int64]:
        """(n,) the leaf of one tree that each row of `x` (n, column) falls into, as a node of all.

        Rows are compared as float32 with float64 thresholds, as scikit-learn does.
        """
        stop = self.root[tree + 1] if tree + 1 < self.root.size else self.feature.size
        nodes = slice(self.root[tree], stop)
        at = np.empty(len(x), np.int64)
        walk(x, self.feature[nodes], self.threshold[nodes], self.left[nodes], self.right[nodes], at)
        return at + self.root[tree]

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays to be kept; `Trees(**arrays)` is the same again."""
        return dict(vars(self))


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
