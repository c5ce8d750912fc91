"""Floor 3, model output: `LatentTile` and the probabilities it yields, species sets and what they promise, coverage. No torch here.

latent       latent vectors of a tile, and the head that makes probabilities of them
dense        probabilities of a tile as they are, for other models; imported by its own name
stores       whichever of the two lies there, opened and surveyed; imported by its own name
sets         probabilities -> species sets: MaxExp (expected F1), SSE, lambda, top-k
conformal    thresholds whose sets hold a stated share of the species present
coverage     species in polygons and reporting cells; imported by its own name, since it needs geopandas
"""

from geoplantnet.assemblages.conformal import ConformalThreshold, conformal_threshold
from geoplantnet.assemblages.latent import LatentTile, SpeciesHead, open_latent, quantise, write_latent
from geoplantnet.assemblages.sets import (
    above,
    expected_f1_threshold,
    max_expected_f1,
    set_size_expectation,
    top_k,
    tuned_k,
    tuned_threshold,
)

__all__ = [
    "ConformalThreshold",
    "LatentTile",
    "SpeciesHead",
    "above",
    "conformal_threshold",
    "expected_f1_threshold",
    "max_expected_f1",
    "open_latent",
    "quantise",
    "set_size_expectation",
    "top_k",
    "tuned_k",
    "tuned_threshold",
    "write_latent",
]
