"""Private layers: who may know of them.

A private layer is answered as one that does not exist (404), also to who gave no key: 401 would say that there is something
to see, and the name of a layer may be what has to be kept (a rare orchid that grows here). Only a key that is wrong is 401.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from geoplantnet.serving.guard.exchange import exchange_of
from geoplantnet.serving.guard.keys import matches

T = TypeVar("T")
_MAX_VIEWS = 16
"""Sets of granted layers whose views are kept: holders of keys with the same grants share one."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Which layers are private, and what a request may see of them."""

    private: tuple[str, ...] = ()
    """Patterns of layer ids."""

    def allowed(self, scope: Mapping[str, Any], layer_id: str) -> bool:
        """Whether a request may see a layer; the layer is noted for its log line. Answer False as a layer that does not exist."""
        exchange = exchange_of(scope)
        if exchange is not None:
            exchange.note_layer(layer_id)
        return self.opens(self.grants(scope), layer_id)

    def grants(self, scope: Mapping[str, Any]) -> tuple[str, ...]:
        """The patterns of private layers that the request's key opens: () for none, and where nothing is private."""
        exchange = exchange_of(scope)
        return exchange.key.layers if self.private and exchange is not None and exchange.key is not None else ()

    def opens(self, grants: tuple[str, ...], layer_id: str) -> bool:
        """Whether grants are enough for a layer."""
        return not matches(self.private, layer_id) or matches(grants, layer_id)

    def views(self, make: Callable[[Callable[[str], bool]], T]) -> Callable[[Mapping[str, Any]], T]:
        """A facade's view of what is served, one a set of grants: scope -> make(what tells whether a layer id may be seen).

        So lists, counts and spelling hints never name what a request may not see: there, it does not exist.
        """
        made = lru_cache(maxsize=_MAX_VIEWS)(lambda grants: make(lambda layer_id: self.opens(grants, layer_id)))
        return lambda scope: made(self.grants(scope))
