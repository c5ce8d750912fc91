"""Observations of sensitive species: what is told of them to others than their author."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.protection import NOT_SENSITIVE, Protection
from geoplantnet.taxonomy.sensitive import SensitiveRule, read_sensitive


@dataclass(frozen=True, kw_only=True)
class Sensitive:
    """Which taxa are sensitive. Of an observation that anybody called one of them no place, photo or day is told: a vote is soon changed."""

    rules: tuple[SensitiveRule, ...] = field(default=())

    @classmethod
    def read(cls, table: Path | None) -> Sensitive:
        """Raises InputError."""
        return cls(rules=read_sensitive(table) if table is not None else ())

    def any(self, taxa: Iterable[tuple[str, str]]) -> bool:
        """Whether one of these (taxon id, scientific name) is sensitive."""
        pairs = [pair for pair in taxa if any(pair)]
        if not pairs or not self.rules:
            return False
        ids, names = zip(*pairs, strict=True)
        return bool((self._protection.sides(pd.Series(ids, dtype=object), pd.Series(names, dtype=object)) != NOT_SENSITIVE).any())

    def hidden(self, store: ObservationStore | None, ids: Iterable[str]) -> frozenset[str]:
        """Those of these observations that anybody, or a model, ever called one of them."""
        wanted = sorted(set(ids) - {""})
        if store is None or not wanted or not self.rules:
            return frozenset()
        called = store.names(wanted)
        sensitive = {pair for pair in {(taxon, name) for _, taxon, name in called} if self.any([pair])}
        return frozenset(observation for observation, taxon, name in called if (taxon, name) in sensitive)

    @cached_property
    def _protection(self) -> Protection:
        return Protection(rules=self.rules, secret=secrets.token_bytes(32))  # ids are told as they are: the secret makes none
