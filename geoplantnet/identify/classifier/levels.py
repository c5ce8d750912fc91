"""Genus and family in training: a photo labelled to its genus alone teaches the genus, and not which of its species it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from geoplantnet.errors import ConfigurationError
from geoplantnet.identify.classifier.losses import CrossEntropy, Loss
from geoplantnet.identify.levels import Levels


def log_sums(log_probabilities: Tensor, of: Tensor, groups: int) -> Tensor:
    """(photo, species) -> (photo, group): logarithm of the sum over each group's species, `of` (species,) naming them. As `Level.log_sums`."""
    index = of.expand_as(log_probabilities)
    shape = (len(log_probabilities), groups)
    most = log_probabilities.new_full(shape, -torch.inf).scatter_reduce(1, index, log_probabilities.detach(), "amax")
    most = torch.where(most.isfinite(), most, torch.zeros_like(most))
    summed = log_probabilities.new_zeros(shape).scatter_add(1, index, (log_probabilities - most.gather(1, index)).exp())
    return summed.log() + most


class MultiLevelLoss:
    """Weighted sum of a species' loss and of -ln p of genus and family, p being sums of the species' probabilities (a hierarchical softmax's levels;
    Bertinetto et al. 2020, Making better mistakes, CVPR, section 3.2, sums the same terms).

    Targets are codes of `identify.levels.Levels`. Each photo counts at the ranks its label says, and the mean is over all photos: one labelled to its
    genus adds nothing at the rank of species.
    """

    def __init__(self, levels: Levels, *, species: Loss | None = None, weights: tuple[float, float, float] = (1.0, 0.5, 0.25)) -> None:
        """`species`: the loss at the rank of species, cross-entropy if none. `weights`: of species, genus, family; ConfigurationError if one is negative."""
        if min(weights) < 0 or not sum(weights):
            raise ConfigurationError(f"weights {weights} of species, genus and family; none is negative, and one is above 0")
        self.levels, self.weights, self.of_species = levels, weights, species or CrossEntropy()
        self._groups = [(torch.from_numpy(level.of), len(level.names)) for level in (levels.genus, levels.family)]

    def __call__(self, logits: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
        """Logits (photo, species), codes (photo,) -> a scalar."""
        species, *coarse = (torch.from_numpy(t).to(logits.device) for t in self.levels.targets(target.cpu().numpy()))
        told = species >= 0
        total = logits.sum() * 0.0
        if self.weights[0] and told.any():
            total = total + self.weights[0] * self.of_species(logits[told], species[told], progress) * (told.sum() / len(logits))
        if any(self.weights[1:]):
            log_p = F.log_softmax(logits, dim=1)
            for weight, (of, groups), goal in zip(self.weights[1:], self._groups, coarse, strict=True):
                found = log_sums(log_p, of.to(logits.device), groups).gather(1, goal.clamp(min=0)[:, None])[:, 0]
                total = total - weight * torch.where(goal >= 0, found, torch.zeros_like(found)).mean()
        return total
