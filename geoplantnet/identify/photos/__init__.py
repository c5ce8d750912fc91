"""Photos that strangers send: looked at before they are decoded, decoded apart, kept without what cameras write into them.

limits      how large a photo may be, and `RefusedPhoto`, why one is not taken
container   JPEG and PNG as segments and chunks, in pure Python: `read_header`, `stripped`
worker      the one decoder, Pillow, and the process it runs in
decoder     `Decoder`: a few such processes, limited, watched and replaced
squares     photos of a set as squares, decoded once
pixels      `square`, what a net sees of a photo, and `resized`, a smaller JPEG of it
"""

from geoplantnet.identify.photos.container import Header, read_header, stripped
from geoplantnet.identify.photos.decoder import Decoder
from geoplantnet.identify.photos.limits import IDENTIFY, SURVEY, Limits, RefusedPhoto
from geoplantnet.identify.photos.pixels import resized, square

__all__ = ["IDENTIFY", "SURVEY", "Decoder", "Header", "Limits", "RefusedPhoto", "read_header", "resized", "square", "stripped"]
