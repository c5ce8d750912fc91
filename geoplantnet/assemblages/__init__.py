"""Floor 3, model output: `LatentTile` and the probabilities it yields, species sets, coverage. No torch here."""

from geoplantnet.assemblages.latent import LatentTile, SpeciesHead, open_latent, quantise, write_latent

__all__ = ["LatentTile", "SpeciesHead", "open_latent", "quantise", "write_latent"]
