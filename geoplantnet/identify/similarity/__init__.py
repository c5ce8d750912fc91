"""Similar observations: features -> binary codes -> a shortlist by Hamming distance -> the nearest by cosine.

rmmh       random maximum margin hashing: features -> codes
images     what is known of each image, in columns
nearest    rows by Hamming distance, rows by cosine, ties by age
index      the index: add, remove, search, related images of candidates
files      the index as a folder: written at once, checked when opened
"""

from geoplantnet.identify.similarity.images import Hit, IndexedImage
from geoplantnet.identify.similarity.index import ImageIndex
from geoplantnet.identify.similarity.rmmh import Hashing, fit_hyperplanes, fit_rmmh

__all__ = ["Hashing", "Hit", "ImageIndex", "IndexedImage", "fit_hyperplanes", "fit_rmmh"]
