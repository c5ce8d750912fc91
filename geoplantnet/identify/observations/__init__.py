"""The observation store: observations, images by their content, an append-only log of votes, and the labels made from it.

schema, migrations   the tables          database    SQLite and PostgreSQL behind one door
acts, writing        what goes in        reading     what comes out
images               files by SHA-256    store       `ObservationStore`, the one thing to open
"""

from geoplantnet.identify.observations.acts import Counted, Image, ModelVersion, Observation, RefusedAct, Vote
from geoplantnet.identify.observations.reading import Axes
from geoplantnet.identify.observations.schema import KINDS, ORGANS
from geoplantnet.identify.observations.store import ObservationStore

__all__ = ["KINDS", "ORGANS", "Axes", "Counted", "Image", "ModelVersion", "Observation", "ObservationStore", "RefusedAct", "Vote"]
