"""The engine: photos in, species out; several photos are one plant, the flora and the place are evidence beside them.

Net -> probabilities of each photo (`Card.temperature`) -> one answer of all (`fusion`) -> the place (`prior`, else its flora) -> the project
asked for -> candidates, genera, families, and images like the photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from geoplantnet.errors import InputError
from geoplantnet.identify.fusion import alike, fuse, shown, view_weights
from geoplantnet.identify.network import ORGANS, Network
from geoplantnet.identify.photos import square
from geoplantnet.identify.prior import PlacePrior, PlaceWeight, listed, with_place
from geoplantnet.identify.projects import ALL, RESERVED, Project, Projects, mass
from geoplantnet.identify.similarity import Hit, ImageIndex
from geoplantnet.taxonomy import SpeciesList

Floats = npt.NDArray[np.float64]
Evidence = Literal["sdm", "flora", "none"]
MOST_PHOTOS = 5
_WITH_IMAGES = 50
"""Candidates that images are looked up for."""
CREDIBLE = 0.9
"""Probability that `Identification.answer_set` holds, as far as the net is calibrated."""
FLORA = PlaceWeight(weight=1.0, floor=0.05)
"""Of a place that has a flora and no map: checklists miss what is new or planted, so that a species not listed keeps 1 / 20 of its odds."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A species, and how likely it is."""

    species: int
    """Position in the net's list."""
    score: float
    """0 to 1; of all species of the project they sum to 1."""
    related: tuple[Hit, ...] = ()
    """Images of it, the most like the photos first."""


@dataclass(frozen=True, kw_only=True)
class Identification:
    """What the photos of a plant show."""

    candidates: tuple[Candidate, ...]
    """The likeliest first; of equal ones the first in the list."""
    genera: tuple[tuple[str, float], ...]
    """Name and score, the likeliest first: sums over all their species, of the project. Species without one are in none."""
    families: tuple[tuple[str, float], ...]
    organs: tuple[tuple[str, float], ...]
    """What each photo shows by the net, and how sure it is; by a net that cannot tell, what was said of it (1), else ``other``."""
    plant: tuple[float, ...]
    """Probability that each photo shows a plant."""
    rejected: bool
    """No photo shows one. The candidates are those there would be."""
    project: str
    """The one used: that asked for, the flora of the place, or ``all``."""
    evidence: Evidence
    """What of the place was used: the map's prediction (``sdm``), the checklist of its flora, or nothing."""
    outside: tuple[Candidate, ...] = ()
    """Species that the project asked for has not, the likeliest first; scores as if all species were asked for."""
    switch: str = ""
    """A project that holds what the photos show, where the one asked for does not; empty where it does."""
    answer_set: tuple[int, ...] = ()
    """The fewest species that hold `CREDIBLE` of the probability, the likeliest first: what can be said without being wrong too often."""


class Identifier:
    """A net with what is known beside it. Safe to use from several threads, as its parts are."""

    def __init__(
        self,
        network: Network,
        *,
        projects: Projects | None = None,
        prior: PlacePrior | None = None,
        index: ImageIndex | None = None,
        place_weight: PlaceWeight | None = None,
    ) -> None:
        """`place_weight`: what `prior.learn_place_weight` found for this net and map.

        Raises InputError for projects of another list of species, ModelError for an index of another net.
        """
        if projects is not None and projects.species.hash != network.species.hash:
            raise InputError(
                f"projects are of {projects.species.checklist} ({len(projects.species)} species), the net of {network.species.checklist} "
                f"({len(network.species)}); make them for the net's list"
            )
        if index is not None:
            index.check(network.card)
        self.network = network
        self.projects = projects if projects is not None else Projects(species=network.species, items=())
        self.prior, self.index = prior, index
        self.place_weight = place_weight or PlaceWeight()
        self._groups = {rank: _Groups(network.species, rank) for rank in ("genus", "family")}

    @property
    def knows_places(self) -> bool:
        """Whether a place may change an answer: there is a map, or a flora of some place."""
        return self.prior is not None or any(project.codes for project in self.projects)

    def identify(
        self,
        photos: Sequence[npt.NDArray[np.uint8]],
        organs: Sequence[str] = (),
        *,
        project: str = ALL,
        place: tuple[float, float] | None = None,
        top: int = 10,
        related: int = 0,
    ) -> Identification:
        """Photos (h, w, 3) of one plant, one to five, upright.

        `organs` says what each shows (empty: the net looks). `project` keeps its own species alone; ``all`` and ``best`` keep every one. A place
        (longitude, latitude, degrees) makes species likelier that grow there by the map or, where that ends, by the checklist of its flora.
        `top` candidates, the first 50 with `related` images like the photos.
        Raises LookupFailed for a project there is not, InputError for other numbers of photos or organs and for a place that is none.
        """
        if not 1 <= len(photos) <= MOST_PHOTOS:
            raise InputError(f"{len(photos)} photos; one to {MOST_PHOTOS} of one plant were expected")
        if top < 1 or related < 0:
            raise InputError(f"{top} candidates with {related} images; at least 1 candidate, and no fewer than 0 images were expected")
        chosen = None if project in RESERVED else self.projects[project]
        where = None if place is None else _degrees(place)
        net, card = self.network, self.network.card
        pixels = np.stack([square(photo, card.size) for photo in photos])
        told = net(pixels)
        shows = shown(told.organs, organs, card)
        plants = told.plant >= card.plant_threshold if card.rejects else np.ones(len(photos), bool)
        counts = plants if plants.any() else np.ones(len(photos), bool)
        each = log_softmax(told.logits.astype(float) / card.temperature, axis=1)
        log_p = fuse(each, view_weights(shows, card.view_weights) * counts, alike(pixels), card.view_gain)
        log_p, evidence, flora = self._at(log_p, where)
        p = np.exp(log_p)
        within = p if chosen is None else _within(log_p, chosen)
        own = np.arange(len(p)) if chosen is None or chosen.species is None else chosen.species
        order = own[np.argsort(-within[own], kind="stable")]
        first = order[: min(top, _WITH_IMAGES)]
        hits = self._related(told.features[counts], [_named(shows[i]) for i in np.flatnonzero(counts)], first, related)
        hits += [()] * (min(top, len(order)) - len(first))
        beyond = np.setdiff1d(np.arange(len(p)), own, assume_unique=True)
        beyond = beyond[np.argsort(-p[beyond], kind="stable")][:top]
        return Identification(
            candidates=tuple(
                Candidate(species=int(k), score=float(within[k]), related=hit) for k, hit in zip(order[:top], hits, strict=True)
            ),
            genera=self._groups["genus"].ranked(within),
            families=self._groups["family"].ranked(within),
            organs=tuple(self._organ(i, told.organs[i], organs) for i in range(len(photos))),
            plant=tuple(told.plant.astype(float).tolist()),
            rejected=not plants.any(),
            project=chosen.id if chosen is not None else flora.id if flora is not None else ALL,
            evidence=evidence,
            outside=tuple(Candidate(species=int(k), score=float(p[k])) for k in beyond),
            switch=self._switch(p, chosen, where),
            answer_set=_credible(within, order),
        )

    def _at(self, log_p: Floats, place: tuple[float, float] | None) -> tuple[Floats, Evidence, Project | None]:
        """With what is known of the place: its map, else its flora, else nothing."""
        if place is None:
            return log_p, "none", None
        if self.prior is not None:
            present = self.prior.at(*place)
            if present is not None and np.nanmax(present, initial=0) > 0:  # where nothing grows, the map tells no species from another
                return with_place(log_p, present, self.place_weight, trust=self.prior.trust(*place)), "sdm", None
        flora = self.projects.at(*place)
        if flora is None or flora.species is None:
            return log_p, "none", None
        return with_place(log_p, listed(flora.species, len(log_p)), FLORA), "flora", flora

    def _switch(self, p: Floats, chosen: Project | None, place: tuple[float, float] | None) -> str:
        """Where most of the probability is not the chosen project's: one that holds it, that of the place first, ``all`` last."""
        if chosen is None or mass(p, chosen) >= 0.5:
            return ""
        around = [] if place is None else [project for project in (self.projects.at(*place),) if project is not None]
        better = self.projects.holding(p, among=around) or self.projects.holding(p)
        return better.id if better is not None else ALL

    def _organ(self, i: int, seen: npt.NDArray[np.float32], told: Sequence[str]) -> tuple[str, float]:
        if self.network.card.organs:
            return ORGANS[int(seen.argmax())], float(seen.max())
        return (told[i], 1.0) if told and told[i] else ("other", 1 / len(ORGANS))

    def _related(
        self, features: npt.NDArray[np.float32], organs: list[str], species: npt.NDArray[np.intp], k: int
    ) -> list[tuple[Hit, ...]]:
        if self.index is None or k == 0:
            return [()] * len(species)
        taxa = [self.network.species[int(i)].taxon_id for i in species]
        return [tuple(hits) for hits in self.index.related(features, taxa, k=k, organs=organs)]


class _Groups:
    """Genera or families of a list of species: sums over their species."""

    def __init__(self, species: SpeciesList, rank: str) -> None:
        names = [str(getattr(taxon, rank)) for taxon in species]
        self.names, self._of = np.unique(names, return_inverse=True) if names else (np.array([], str), np.array([], np.intp))

    def ranked(self, p: Floats) -> tuple[tuple[str, float], ...]:
        sums = np.bincount(self._of, p, minlength=len(self.names))
        order = np.argsort(-sums, kind="stable")
        return tuple((str(self.names[i]), float(sums[i])) for i in order if self.names[i] and sums[i] > 0)


def _degrees(place: tuple[float, float]) -> tuple[float, float]:
    longitude, latitude = float(place[0]), float(place[1])
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise InputError(f"longitude {longitude}, latitude {latitude} is no place; give degrees, longitude first")
    return longitude, latitude


def _within(log_p: Floats, project: Project) -> Floats:
    """Probabilities (species,) of a project's species alone, that sum to 1; 0 for others. In logarithms: what is left may be very little."""
    if project.species is None or not len(project.species):
        return np.exp(log_p) if project.species is None else np.zeros_like(log_p)
    p = np.zeros_like(log_p)
    own = log_p[project.species]
    p[project.species] = np.exp(own - logsumexp(own))
    return p


def _named(shows: Floats) -> str:
    """The organ a photo likely shows; empty where nobody can tell."""
    return ORGANS[int(shows.argmax())] if shows.max() >= 0.5 else ""


def _credible(p: Floats, order: npt.NDArray[np.intp]) -> tuple[int, ...]:
    count = int(np.searchsorted(np.cumsum(p[order]), CREDIBLE * (1 - 1e-9))) + 1
    return tuple(int(i) for i in order[:count])
