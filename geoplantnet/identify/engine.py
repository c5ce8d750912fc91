"""Photos in, species out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import LookupFailed
from geoplantnet.identify.network import ORGANS, Network
from geoplantnet.identify.photos import square


@dataclass(frozen=True, kw_only=True)
class Candidate:
    species: int
    score: float
    related: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Identification:
    candidates: tuple[Candidate, ...]
    genera: tuple[tuple[str, float], ...]
    families: tuple[tuple[str, float], ...]
    organs: tuple[tuple[str, float], ...]
    plant: tuple[float, ...]
    rejected: bool
    project: str
    evidence: str
    outside: tuple[Candidate, ...] = ()
    answer_set: tuple[int, ...] = ()


class Identifier:
    def __init__(self, network: Network, *, projects: Any = None, prior: Any = None, index: Any = None) -> None:
        self.network, self.projects, self.prior, self.index = network, projects, prior, index

    def identify(
        self,
        photos: Sequence[npt.NDArray[np.uint8]],
        organs: Sequence[str] = (),
        *,
        project: str = "all",
        place: tuple[float, float] | None = None,
        top: int = 10,
        related: int = 0,
    ) -> Identification:
        if project != "all" and project not in (self.projects or ()):
            raise LookupFailed(f"no project {project!r}")
        out = self.network(np.stack([square(photo, self.network.card.size) for photo in photos]))
        p = np.exp(out.logits - out.logits.max(axis=1, keepdims=True))
        p = (p / p.sum(axis=1, keepdims=True)).mean(axis=0)
        order = np.argsort(-p)[:top]
        sums: dict[str, dict[str, float]] = {"genus": {}, "family": {}}
        for taxon, value in zip(self.network.species, p.tolist(), strict=True):
            for rank, mine in sums.items():
                mine[getattr(taxon, rank)] = mine.get(getattr(taxon, rank), 0.0) + value
        ranked = {rank: tuple(sorted(mine.items(), key=lambda pair: -pair[1])) for rank, mine in sums.items()}
        return Identification(
            candidates=tuple(Candidate(species=int(i), score=float(p[i])) for i in order),
            genera=ranked["genus"],
            families=ranked["family"],
            organs=tuple((ORGANS[int(row.argmax())], float(row.max())) for row in out.organs),
            plant=tuple(out.plant.tolist()),
            rejected=bool((out.plant < self.network.card.plant_threshold).all()),
            project=project,
            evidence="none",
        )
