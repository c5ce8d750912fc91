"""The observation store: observations, images by their content, an append-only log of votes, and the labels made from it.

schema, migrations   the tables          database    SQLite and PostgreSQL behind one door
acts, writing        what goes in        reading     what comes out
labels               what is made of it  verification  whether it is what people made of it
images               files by SHA-256    store       `ObservationStore`, the one thing to open
"""

from geoplantnet.identify.observations.acts import Counted, Image, ModelVersion, Observation, RefusedAct, Vote
from geoplantnet.identify.observations.labels import Aggregated, Replayed, State
from geoplantnet.identify.observations.reading import Axes
from geoplantnet.identify.observations.schema import KINDS, ORGANS
from geoplantnet.identify.observations.store import ObservationStore
from geoplantnet.identify.observations.verification import Verification

__all__ = [
    "KINDS",
    "ORGANS",
    "Aggregated",
    "Axes",
    "Counted",
    "Image",
    "ModelVersion",
    "Observation",
    "ObservationStore",
    "RefusedAct",
    "Replayed",
    "State",
    "Verification",
    "Vote",
]
