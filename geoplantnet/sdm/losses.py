"""Named losses, each with its paper, over a batch of sites and all species; `LOSSES` lists them by name.

Logits and labels are (site, species). With tens of thousands of species they are made a block of species at a time, and made
again in the backward pass: a batch then costs the memory of a block, and the result is that of the whole. A site of weight
2 counts as two such sites would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

PRESENCE = 1.0
"""Lambda 1 of the full-weighted loss: weight of its presences (1 in the authors' code)."""
TARGET_GROUP = 0.8
"""Lambda 2: weight of its target-group pseudo-absences; the random ones get the rest (0.8 in the authors' code for NCEAS)."""
_LEAST = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Logits of some sites, and what is known of them; asked for a slice of the species axis at a time."""

    logits: Callable[[slice], Tensor]
    """-> (site, block)"""
    targets: Callable[[slice], tuple[Tensor, Tensor | None]]
    """-> labels (site, block) 0/1, and their weights: 0 = the label is unknown, above 0 = how much it counts; None = 1."""
    sites: int
    species: int
    block: int
    """Species at a time."""
    weight: Tensor | None = None
    """(site,) > 0; None = 1."""
    background: Tensor | None = None
    """(site,) bool: random background, which has no label; None = no site is."""
    stands_for: Tensor | None = None
    """(species,): of how many species each one is a sample; None = of itself."""
    rarity: Tensor | None = None
    """(2, species): weights of presences and of target-group absences, for `full_weighted`; None = 1."""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, *, worth: Tensor | None = None, block: int | None = None, **facts: Tensor) -> Batch:
        """From whole tensors (site, species); `facts` are the fields above."""
        return cls(
            logits=lambda s: logits[:, s],
            targets=lambda s: (labels[:, s], None if worth is None else worth[:, s]),
            sites=logits.shape[0],
            species=logits.shape[1],
            block=block or max(logits.shape[1], 1),
            **facts,
        )

    def total(self, part: Callable[[slice], Tensor]) -> Tensor:
        """Sum over blocks of what `part` makes of each."""
        return torch.stack(self.each(part)).sum(dim=0)

    def each(self, part: Callable[[slice], Tensor]) -> list[Tensor]:
        """What `part` makes of every block. Of several, none is kept for the backward pass: each is made again there."""
        blocks = [slice(start, min(start + self.block, self.species)) for start in range(0, self.species, self.block)]
        if len(blocks) == 1:
            return [part(blocks[0])]
        return [checkpoint(part, s, use_reentrant=False, preserve_rng_state=False) for s in blocks]

    def site_weight(self, like: Tensor) -> Tensor:
        """(site,)"""
        return like.new_ones(self.sites) if self.weight is None else self.weight


Loss = Callable[[Batch], Tensor]


def presence_absence(batch: Batch) -> Tensor:
    """Mean binary cross-entropy over plots and species whose label is known: an absence is a searched-for absence.

    With unknown labels it is the masked form that pseudo-labels need (Chen et al. 2024, LifeCLEF notebook, CEUR Vol-3740:
    presence-only records with the labels a model is sure of). Of a sample of species the expectation is the loss of all. A
    label's weight multiplies its term; the divisor counts it once, since such weights average one over all presences of a
    species and not over those of a batch.
    """

    def part(s: slice) -> Tensor:
        logits = batch.logits(s)
        labels, worth = batch.targets(s)
        known = None if worth is None else (worth > 0).to(labels.dtype)
        factors = [f for f in (_column(batch.weight), known, _row(batch.stands_for, s)) if f is not None]
        weight = functools.reduce(torch.mul, factors, torch.ones_like(labels)) if factors else None
        loss = F.binary_cross_entropy_with_logits(logits, labels, weight if weight is None or worth is None else weight * worth)
        share = labels.numel() / (batch.sites * batch.species)
        return torch.stack([loss * share, loss.new_tensor(share) if weight is None else weight.mean() * share])

    loss, share = batch.total(part)
    return loss / share.clamp(min=_LEAST)


def cross_entropy(batch: Batch) -> Tensor:
    """Presence-only: which species a record is of, as a softmax over species, mean over records.

    The presence-only step of the GeoLifeCLEF 2023 winner (Ung, Kojima & Wada 2023, CLEF working notes, CEUR Vol-3497). Blind to
    how often a site was visited, not to how often a species is reported.
    """

    def part(s: slice) -> Tensor:
        logits = batch.logits(s)
        labels, _ = batch.targets(s)
        return torch.stack([torch.logsumexp(logits, dim=1), (labels * logits).sum(dim=1), labels.sum(dim=1)])

    parts = torch.stack(batch.each(part))
    whole, scored, records = torch.logsumexp(parts[:, 0], dim=0), parts[:, 1].sum(dim=0), parts[:, 2].sum(dim=0)
    weight = batch.site_weight(whole)
    return (weight * (records * whole - scored)).sum() / (weight * records).sum().clamp(min=_LEAST)


def full_weighted(batch: Batch) -> Tensor:
    """Presence-only: weighted presences, target-group pseudo-absences and random ones, as independent species.

    Zbinden et al. 2024 (Ecol. Inform. 81: 102623, arXiv 2401.02989), the full weighted loss. With w = n / n_s, n sites and
    n_s of them with the species,

        - mean over sites with records of  lambda1 w y ln p + lambda2 / (1 - 1/w) (1 - y) ln(1 - p)
        - (1 - lambda2) mean over random background of  ln(1 - p)

    both means over species too; lambda1, lambda2 as PRESENCE, TARGET_GROUP. `Batch.rarity` holds w and 1 / (1 - 1/w).
    """

    def part(s: slice) -> Tensor:
        logits = batch.logits(s)
        labels, _ = batch.targets(s)
        absent = F.softplus(logits)  # -ln(1 - p)
        present = absent - logits  # -ln p
        rare, common = (1.0, 1.0) if batch.rarity is None else batch.rarity[:, s]
        at_records = PRESENCE * rare * labels * present + TARGET_GROUP * common * (1 - labels) * absent
        share = _row(batch.stands_for, s)
        terms = (at_records, absent) if share is None else (at_records * share, absent * share)
        random = torch.zeros(batch.sites, dtype=torch.bool, device=logits.device) if batch.background is None else batch.background
        weight = batch.site_weight(logits)
        return torch.stack([(weight * ~random * terms[0].sum(dim=1)).sum(), (weight * random * terms[1].sum(dim=1)).sum()])

    at_records, at_random = batch.total(part)
    weight = batch.site_weight(at_records)
    every = batch.species if batch.stands_for is None else float(batch.stands_for.sum())
    random = 0.0 if batch.background is None else (weight * batch.background).sum()
    return at_records / ((weight.sum() - random) * every).clamp(min=_LEAST) + (1 - TARGET_GROUP) * at_random / torch.as_tensor(
        random * every
    ).clamp(min=_LEAST)


def deep_maxent(batch: Batch) -> Tensor:
    """Presence-only: each species' records against all sites of the batch, as a softmax over sites.

    The batch's other sites are the target-group background, so sampling effort common to all species cancels
    (Phillips et al. 2009, Ecol. Appl. 19: target-group background; Ryckewaert et al. 2024, arXiv 2412.19217, the
    DeepMaxent loss); known effort is an offset of the logits. Invariant to a species' bias: it says where, not how much.
    """

    def part(s: slice) -> Tensor:
        logits = batch.logits(s)
        labels, _ = batch.targets(s)
        if batch.weight is None:
            return torch.stack([(labels * F.log_softmax(logits, dim=0)).sum(), labels.sum()])
        everywhere = torch.logsumexp(logits + batch.weight.log()[:, None], dim=0)
        weighted = batch.weight[:, None] * labels
        return torch.stack([(weighted * (logits - everywhere)).sum(), weighted.sum()])

    scored, records = batch.total(part)
    return -scored / records.clamp(min=_LEAST)


LOSSES: dict[str, Loss] = {
    "presence_absence": presence_absence,
    "cross_entropy": cross_entropy,
    "full_weighted": full_weighted,
    "deep_maxent": deep_maxent,
}
"""What a step of training may name for its presence-only records."""


def rarity(found: Tensor, sites: float) -> Tensor:
    """Weights (2, species) of presences and target-group absences from the sites `found` (species,) of `sites` each is at.

    n / n_s and 1 / (1 - n_s / n) of the full-weighted loss; a species at no site of the group was not looked for there, so
    its absence weighs 0; one at every site has no absence.
    """
    looked_for = (found > 0).to(torch.float32)
    return torch.stack([looked_for * sites / found.clamp(min=1), looked_for * sites / (sites - found).clamp(min=1)])


def _column(values: Tensor | None) -> Tensor | None:
    return None if values is None else values[:, None]


def _row(values: Tensor | None, s: slice) -> Tensor | None:
    return None if values is None else values[None, s]
