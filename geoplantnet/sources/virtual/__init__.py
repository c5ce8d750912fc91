"""A virtual world: real Alpine relief, or fractal, with simulated climate, land cover and imagery, and virtual species whose
true probability is known. For testing models against a truth, for teaching, and for a demo that needs no download.

Nouns: `VirtualLandscape`, the sources that read it, `VirtualSpecies`, and two surveys. Floor 2 (sources).
"""

from geoplantnet.sources.virtual.landscape import DEMO_BOUNDS, VirtualLandscape
from geoplantnet.sources.virtual.sampling import sample_plots, sample_presence_only
from geoplantnet.sources.virtual.source import (
    VirtualBioclim,
    VirtualClimate,
    VirtualLandCover,
    VirtualLandsat,
    VirtualSentinel2,
    VirtualTerrain,
)
from geoplantnet.sources.virtual.species import VirtualSpecies

__all__ = [
    "DEMO_BOUNDS",
    "VirtualBioclim",
    "VirtualClimate",
    "VirtualLandCover",
    "VirtualLandsat",
    "VirtualLandscape",
    "VirtualSentinel2",
    "VirtualSpecies",
    "VirtualTerrain",
    "sample_plots",
    "sample_presence_only",
]
