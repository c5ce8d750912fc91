"""Label aggregation: many people's determinations of an observation -> one label, whether it is valid, and what each user's word weighs.

`Votes` is the sparse table of determinations, a strategy is a frozen value with `aggregate(votes)`, `Aggregation` is what comes of it.
"""

from geoplantnet.identify.votes.dawid_skene import DawidSkene
from geoplantnet.identify.votes.glad import Glad
from geoplantnet.identify.votes.incremental import Change, Changed, Incremental
from geoplantnet.identify.votes.majority import MajorityVote, TwoThird, Wawa, WeightedMajorityVote
from geoplantnet.identify.votes.plantnet import PlantNet
from geoplantnet.identify.votes.table import NONE, Aggregation, Strategy, Votes

__all__ = [
    "NONE",
    "STRATEGIES",
    "Aggregation",
    "Change",
    "Changed",
    "DawidSkene",
    "Glad",
    "Incremental",
    "MajorityVote",
    "PlantNet",
    "Strategy",
    "TwoThird",
    "Votes",
    "Wawa",
    "WeightedMajorityVote",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "majority": MajorityVote,
    "weighted-majority": WeightedMajorityVote,
    "wawa": Wawa,
    "two-third": TwoThird,
    "dawid-skene": DawidSkene,
    "glad": Glad,
    "plantnet": PlantNet,
}
"""Strategies by name; each can be made without an argument."""
