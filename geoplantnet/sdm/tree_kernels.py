"""The inner loop of a walk down decision trees, compiled by numba: a forest a species over a tile goes down tens of thousands of trees
at 250,000 cells. The first call compiles and keeps the machine code beside this file, or in the user's cache where that is read-only.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from numba import njit


def _compiled(function):
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither beside this file nor in a home may anything be written: compile anew in every process
        return njit(nogil=True)(function)


@_compiled
def walk(x, feature, threshold, left, right, at):
    """Put into `at` (n,) int64 the leaf of one tree that each row of `x` (n, column) falls into, counted from its root."""
    for i in range(x.shape[0]):
        node = 0
        while left[node] >= 0:
            node = left[node] if x[i, feature[node]] <= threshold[node] else right[node]
        at[i] = node
