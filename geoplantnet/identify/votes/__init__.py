"""Label aggregation: many people's determinations of an observation -> one label, whether it is valid, and what each user's word weighs.

`Votes` is the sparse table of determinations, a strategy is a frozen value with `aggregate(votes)`, `Aggregation` is what comes of it.
"""

from geoplantnet.identify.votes.incremental import Change, Changed, Incremental
from geoplantnet.identify.votes.majority import MajorityVote, TwoThird, Wawa, WeightedMajorityVote
from geoplantnet.identify.votes.plantnet import PlantNet
from geoplantnet.identify.votes.table import NONE, Aggregation, Strategy, Votes

__all__ = [
    "NONE",
    "Aggregation",
    "Change",
    "Changed",
    "Incremental",
    "MajorityVote",
    "PlantNet",
    "Strategy",
    "TwoThird",
    "Votes",
    "Wawa",
    "WeightedMajorityVote",
]
