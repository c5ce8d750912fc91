"""Finds things by what a person types of their names: among some ten thousand, at every letter."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

LEAST_INSIDE = 3
"""Letters from which on a word may also lie inside another one."""
_LAST = "\U0010ffff"
_LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l"})
_WHOLE, _FIRST, _WORDS, _INSIDE, _NOT = range(5)


def folded(text: str) -> str:
    """Words in small letters without accents, a space between two; hyphens, apostrophes and other marks part words."""
    plain = "".join(ch for ch in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(ch))
    return " ".join(re.findall(r"[^\W_]+", plain.translate(_LIGATURES)))


class NameIndex:
    """Beginnings of words in a sorted list of words, other parts of words in one long text."""

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        """`names` of each thing: the first is its own, by which things that fit equally well are ordered; it may be found by all."""
        own = [[folded(name) for name in of] for of in names]
        self.ordered = sorted(range(len(own)), key=lambda i: (not own[i][0], own[i][0]))
        """Indices of all, by name; those without one last."""
        fields = [[name for name in own[i] if name] for i in self.ordered]
        self._first = [own[i][0] or _LAST for i in self.ordered]
        self._exact = _positions((name, at) for at, of in enumerate(fields) for name in set(of))
        by_word = _positions((word, at) for at, of in enumerate(fields) for word in {w for name in of for w in name.split()})
        self._words = sorted(by_word)
        self._of_word = [by_word[word] for word in self._words]
        lines = [f"{' '.join(of)}\n" for of in fields]
        self._text = "".join(lines)
        self._starts = np.array([0, *accumulate(map(len, lines))], np.int64)

    def find(self, query: str) -> list[int]:
        """Indices of all that fit, best first: a whole name, the beginning of the own name, words that each begin with one typed, words that hold
        them. Accents, case and marks do not count. Without a query all, by name.
        """
        typed = folded(query)
        if not typed:
            return [] if query.strip() else list(self.ordered)
        words, rank = typed.split(), np.full(len(self.ordered), _NOT, np.int8)
        rank[self._all_of([self._holding(word) for word in words])] = _INSIDE
        rank[self._all_of([self._beginning(word) for word in words])] = _WORDS
        rank[bisect_left(self._first, typed) : bisect_right(self._first, typed + _LAST)] = _FIRST
        rank[self._exact.get(typed, [])] = _WHOLE
        return [self.ordered[at] for at in np.argsort(rank, kind="stable")[: int((rank < _NOT).sum())]]

    def _all_of(self, each: Sequence[Indices]) -> npt.NDArray[np.bool_]:
        """(thing,): those that are in each of the lists."""
        among = np.ones(len(self.ordered), bool)
        for indices in each:
            own = np.zeros(len(self.ordered), bool)
            own[indices] = True
            among &= own
        return among

    def _beginning(self, word: str) -> Indices:
        """Those with a word that begins so."""
        own = self._of_word[bisect_left(self._words, word) : bisect_right(self._words, word + _LAST)]
        return np.array([at for positions in own for at in positions], np.int64)

    def _holding(self, word: str) -> Indices:
        """Those with these letters anywhere in a word; for a short word those where one begins so."""
        if len(word) < LEAST_INSIDE:
            return self._beginning(word)
        at = np.fromiter((match.start() for match in re.finditer(re.escape(word), self._text)), np.int64)
        return np.asarray(np.searchsorted(self._starts, at, side="right") - 1, np.int64)


def _positions(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for key, position in pairs:
        found.setdefault(key, []).append(position)
    return found
