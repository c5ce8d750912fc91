"""geoplantnet: from photos and surveys to 50 m maps of plant biodiversity. The floors are drawn in DEVELOP.md."""

__version__ = "0.1.0"
