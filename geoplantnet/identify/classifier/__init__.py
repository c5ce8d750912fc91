"""The classifier of photos: made, trained, judged and kept. The one room of `identify` with torch.

backbones    nets that turn photos into features, by name (`BACKBONES`), as stages of which any number may be frozen
model        a backbone with heads for species, organ and plant or not; `TorchNetwork`, the seam's net
cosine_head  a head for losses with margins
augment      photos as they might as well have been taken
negatives    photos that show no plant, made up
losses       `LOSSES`, for long tails too
levels       genus and family in training: labels of any rank
partition    a master and experts of groups of species: `fit_partition`, `open_partition`
train        `Training`, `fit`, `begin`: heads alone, the last stages too, or all; resumable by what `state` keeps
cross_validation  held-out figures of a way of training
checkpoint   `save`, `load`: safetensors and JSON
"""

from geoplantnet.identify.classifier.backbones import BACKBONES, make_backbone
from geoplantnet.identify.classifier.checkpoint import load, save
from geoplantnet.identify.classifier.cross_validation import HeldOut, cross_validate
from geoplantnet.identify.classifier.levels import MultiLevelLoss
from geoplantnet.identify.classifier.losses import LOSSES, make_loss
from geoplantnet.identify.classifier.model import TorchNetwork
from geoplantnet.identify.classifier.partition import PartitionedHead, PartitionedNetwork, fit_partition, open_partition
from geoplantnet.identify.classifier.train import Fitted, Training, begin, fit, predict

__all__ = [
    "BACKBONES",
    "LOSSES",
    "Fitted",
    "HeldOut",
    "MultiLevelLoss",
    "PartitionedHead",
    "PartitionedNetwork",
    "TorchNetwork",
    "Training",
    "begin",
    "cross_validate",
    "fit",
    "fit_partition",
    "load",
    "make_backbone",
    "make_loss",
    "open_partition",
    "predict",
    "save",
]
