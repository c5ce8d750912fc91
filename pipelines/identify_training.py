"""Verbs of `geoplantnet identify` that make classifiers: one of labelled photos, the next version of a store's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from geoplantnet.errors import InputError, UsageError
from pipelines.figures import figures_of, print_figures
from pipelines.identifier import PLACE_FILE, check_output, network_of
from pipelines.labelled_photos import HELD_OUT, PhotosArg, left_out, photos_of, readable, source_of, split, tell_rejected

if TYPE_CHECKING:
    from geoplantnet.identify.classifier.train import Training
    from geoplantnet.identify.partition import Partition
    from geoplantnet.identify.photo_set import PhotoSet

BackboneOption = Annotated[str, typer.Option(help="small, resnet18, efficientnet-lite0|1|2, or dinov2:FOLDER.")]
TransferOption = Annotated[str, typer.Option(help="What learns: head, freeze (the last stages too) or all.")]
EpochsOption = Annotated[int, typer.Option(min=1, help="Times that each photo is learnt from.")]
SizeOption = Annotated[int | None, typer.Option(help="Side of the net's input, pixels; default: what the backbone was made for.")]
LossOption = Annotated[str, typer.Option(help="cross_entropy, focal, ldam, ldam_drw, top_k or imbalanced_top_k.")]
LossOptions = Annotated[list[str] | None, typer.Option("--loss-option", help="Of the loss, such as k=3 or largest=0.3; again for another.")]
LevelsOption = Annotated[
    str, typer.Option("--levels", help="Weights of species, genus and family, which are learnt too then, such as 1,0.5,0.25.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
ImagesOption = Annotated[str | None, typer.Option(help="Where a store's images lie.")]
SeedOption = Annotated[int, typer.Option(help="Same seed, same result.")]


def train(
    photos: PhotosArg,
    output: Annotated[Path, typer.Option("--output", help="Folder of the classifier to be made.")],
    backbone: BackboneOption = "efficientnet-lite0",
    transfer: TransferOption = "freeze",
    frozen: Annotated[int | None, typer.Option(help="Stages that do not learn under freeze; default: two thirds.")] = None,
    epochs: EpochsOption = 8,
    size: SizeOption = None,
    loss: LossOption = "cross_entropy",
    held_out: Annotated[float, typer.Option(help="Share held out for figures and calibration, where the photos have no split.")] = HELD_OUT,
    loss_option: LossOptions = None,
    levels: LevelsOption = "",
    negatives: Annotated[Path | None, typer.Option(help="Folder of photos that show no plant; made-up textures teach that too.")] = None,
    name: Annotated[str, typer.Option(help="The classifier's name.")] = "classifier",
    version: Annotated[str, typer.Option(help="Of these weights.")] = "1",
    partition: Annotated[
        str,
        typer.Option(
            "--partition",
            help="A master net and an expert net a group, of which an answer asks two: genus, family, random:N or confusion:N.",
        ),
    ] = "",
    confused_by: Annotated[
        Path | None,
        typer.Option("--confused-by", help="The classifier whose mistakes on the held-out photos make the groups of confusion:N."),
    ] = None,
    device: DeviceOption = "cpu",
    images: ImagesOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train a classifier; what was begun and killed goes on."""
    from geoplantnet.identify import evaluation
    from geoplantnet.identify.calibration import FEWEST
    from geoplantnet.identify.classifier import checkpoint
    from geoplantnet.identify.classifier.state import epochs_done
    from geoplantnet.identify.classifier.train import Training, fit

    console = Console(stderr=True)
    training = Training(
        backbone=backbone,
        transfer=transfer,  # type: ignore[arg-type]
        frozen=frozen,
        epochs=epochs,
        size=size,
        loss=loss,
        loss_options=_options(loss_option or []),
        levels=_levels(levels),
        seed=seed,
    )
    _check(training, device)
    check_output(output, ("classifier.json", "classifier.safetensors", PLACE_FILE, "partition.json", "master", "expert-*"))
    known = readable(photos_of(photos, images=images))
    learn, judge = split(known, held_out, seed)
    console.print(f"{len(learn):,} photos of {learn.table['species'].nunique():,} species to learn from, {len(judge):,} held out")
    tell_rejected(console, left_out(known, learn, judge))
    tell_rejected(console, known.rejected)
    made = {"photos": source_of(photos), "rejected": dict(known.rejected), "held_out": held_out}
    if partition:
        from geoplantnet.identify.classifier.partition import fit_partition

        groups = _groups(partition, known, seed) if confused_by is None else _confused(partition, known, judge, confused_by)
        console.print(f"{len(groups.names):,} groups of species")
        fit_partition(
            output,
            learn,
            groups,
            training,
            validation=judge,
            without_plants=negatives,
            name=name,
            version=version,
            device=device,
            on_part=console.print,
            made={**made, "learnt_from": len(learn)},
        )
        if len(judge):
            network = network_of(output)
            print_figures(
                console,
                figures_of(network, judge, evaluation.answers(network, judge)),
                f"{output}: figures of {len(judge):,} photos held out",
            )
        return
    state = output.parent / f".{output.name}-state"
    if done := epochs_done(state):
        console.print(f"{done} of {epochs} epochs were done before; this goes on from there")
    fitted = fit(
        learn,
        training,
        validation=judge,
        name=name,
        version=version,
        without_plants=negatives,
        resume=state,
        on_epoch=lambda epoch, value: console.print(f"epoch {epoch} of {epochs}: loss {value:.3f}"),
        device=device,
    )
    checkpoint.save(
        fitted.network,
        output,
        learnt_from=len(learn),
        training=dict(vars(training)),
        **made,
    )
    shutil.rmtree(state, ignore_errors=True)
    if "ece" not in fitted.network.card.figures:
        console.print(
            f"no temperature was learnt: {len(judge):,} photos held out are too few ({FEWEST} would do), so that scores are not calibrated; "
            "give more photos, or a larger --held-out"
        )
    print_figures(console, dict(fitted.network.card.figures), f"{output}: figures of {len(judge):,} photos held out")


def retrain(
    store: Annotated[str, typer.Argument(help="A store of observations.")],
    models: Annotated[Path, typer.Option("--models", help="Folder of versions; `current` in it names the one in use.")],
    backbone: BackboneOption = "efficientnet-lite0",
    transfer: TransferOption = "freeze",
    epochs: EpochsOption = 8,
    size: SizeOption = None,
    loss: LossOption = "cross_entropy",
    loss_option: LossOptions = None,
    levels: LevelsOption = "",
    minimum: Annotated[int, typer.Option(min=2, help="Photos that a species needs.")] = 5,
    device: DeviceOption = "cpu",
    images: ImagesOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train anew from what people validated since; the new version is used where it is no worse on the same held-out photos."""
    from geoplantnet.identify.classifier.train import Training
    from pipelines.train_identify import retrain as again

    training = Training(
        backbone=backbone,
        transfer=transfer,  # type: ignore[arg-type]
        epochs=epochs,
        size=size,
        loss=loss,
        loss_options=_options(loss_option or []),
        levels=_levels(levels),
        seed=seed,
    )
    _check(training, device)
    told = again(store, models, training, minimum=minimum, images=images, device=device)
    Console(stderr=True).print(told.words)


def _options(given: Sequence[str]) -> dict[str, float]:
    """``k=3`` -> {"k": 3.0}. Raises UsageError for what is none."""
    found = {}
    for one in given:
        name, _, value = one.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"--loss-option {one}: name=number was expected, such as k=3") from None
    return found


def _levels(given: str) -> tuple[float, float, float] | None:
    """``1,0.5,0.25`` -> weights. Raises UsageError for what are none."""
    if not given:
        return None
    try:
        species, genus, family = (float(part) for part in given.split(","))
    except ValueError:
        raise UsageError(f"--levels {given}: three numbers were expected, of species, genus and family, such as 1,0.5,0.25") from None
    return species, genus, family


def _check(training: Training, device: str) -> None:
    """Raises UsageError for a device or backbone that is not there, ModelError for a backbone that cannot be read: before photos are."""
    import torch

    from geoplantnet.identify.classifier.backbones import make_backbone
    from geoplantnet.identify.classifier.train import stages_frozen

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device} cannot be used here ({str(error).splitlines()[0]}); cpu always can") from error
    stages_frozen(training, len(make_backbone(training.backbone).stages))


def _groups(wanted: str, photos: PhotoSet, seed: int) -> Partition:
    """What `--partition` names. Raises UsageError for what it does not know."""
    from geoplantnet.identify.levels import Levels
    from geoplantnet.identify.partition import at_random, by_level

    if wanted in ("genus", "family"):
        return by_level(getattr(Levels.of(photos.species), wanted))
    kind, _, count = wanted.partition(":")
    if kind == "confusion" and count.isdigit():
        raise UsageError(f"--partition {wanted}: whose confusion? name a classifier of these species with --confused-by")
    if kind != "random" or not count.isdigit():
        raise UsageError(f"--partition {wanted}: genus, family, random:N or confusion:N was expected")
    return at_random(len(photos.species), int(count), seed=seed)


def _confused(wanted: str, photos: PhotoSet, judge: PhotoSet, model: Path) -> Partition:
    """Groups of the species that a classifier mistakes for each other on photos held out.

    Raises UsageError for another partition, InputError where it knows none of the photos' species.
    """
    from geoplantnet.identify import evaluation
    from geoplantnet.identify.partition import by_confusion, mean_answers
    from geoplantnet.identify.temperature import probabilities

    kind, _, count = wanted.partition(":")
    if kind != "confusion" or not count.isdigit():
        raise UsageError(f"--confused-by goes with --partition confusion:N, not with {wanted!r}")
    network = network_of(model)
    at = evaluation.same_species(photos.species, network.species)
    judge = judge.subset(at[judge.labels] >= 0)
    if not len(judge):
        raise InputError(f"no photo held out is of a species that {model} knows; there is no confusion to group by")
    told = probabilities(evaluation.answers(network, judge).logits, network.card.temperature)
    said = np.where(at >= 0, told[:, at], 0.0)
    return by_confusion(mean_answers(said, judge.labels), int(count))
