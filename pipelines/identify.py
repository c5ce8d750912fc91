"""`geoplantnet identify`: train a classifier of photos, judge it, export it, index images, serve it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from geoplantnet.errors import InputError, UsageError
from pipelines.figures import figures_of, print_figures
from pipelines.identifier import PLACE_FILE, ExpertsOption, FlorasOption, ModelArg, check_output, ids_of, network_of, projects_of
from pipelines.identify_answers import predict, serve, survey
from pipelines.identify_training import retrain, train
from pipelines.labelled_photos import (
    PhotosArg,
    as_trained,
    is_store,
    name_of,
    photos_of,
    readable,
    source_of,
    squares_of,
    tell_rejected,
    that_taught,
)

if TYPE_CHECKING:
    from geoplantnet.identify.prior import PlaceWeight
    from geoplantnet.identify.similarity import ImageIndex

app = typer.Typer(
    help="Photos to species: train, evaluate, score, place, predict, survey, index, export, serve, retrain.", no_args_is_help=True
)
for verb in (train, predict, survey, serve, retrain):
    app.command()(verb)


@app.command()
def evaluate(
    model: ModelArg,
    photos: PhotosArg,
    of: Annotated[str, typer.Option("--split", help="Only photos of this split (train, val, test); default: all.")] = "",
    run: Annotated[
        Path | None, typer.Option("--run", dir_okay=False, help="Write what it answers to each observation as a run file of LifeCLEF.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the figures here too.")] = None,
    images: Annotated[str | None, typer.Option(help="Where a store's images lie.")] = None,
    experts: ExpertsOption = None,
) -> None:
    """Say how good a classifier is on labelled photos; those of species it does not know count as wrong."""
    from geoplantnet.identify import evaluation
    from geoplantnet.identify.run_file import write_run
    from geoplantnet.storage import write_json

    console = Console(stderr=True)
    network, known = network_of(model, experts=experts), readable(photos_of(photos, images=images))
    taught = that_taught(model, photos, known)
    if of:
        taught, known = taught[(known.table["split"] == of).to_numpy()], known.of_split(of)
    if not len(known):
        raise InputError(f"{source_of(photos)} has no photos of the split {of!r}; name train, val or test, or leave it out")
    tell_rejected(console, known.rejected)
    if taught.any():
        console.print(f"{int(taught.sum()):,} of these {len(known):,} photos taught the classifier: what it says of them flatters it")
    outputs = evaluation.answers(network, known)
    figures = figures_of(network, known, outputs)
    if run is not None:
        names, p = evaluation.of_observations(network, known, outputs)
        files = [Path(name).name for name in names]
        own = all(map(str.endswith, known.table["image"].astype(str), known.table["observation"]))
        if own and len(set(files)) == len(files):  # no observations are said: photos are known by their files
            names = files
        write_run(run, names, p, [taxon.taxon_id for taxon in network.species], top=min(30, len(network.species)))
    if output is not None:
        write_json(output, figures)
    print_figures(console, figures, f"{model}: {len(known):,} photos")


@app.command()
def score(
    run: Annotated[Path, typer.Argument(help="A run file of LifeCLEF: of observations, or of quadrats.")],
    truth: Annotated[
        Path, typer.Argument(help="CSV: observation (or quadrat) and taxonID; a quadrat has a row a species, and may have a transect.")
    ],
    output: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the figures here too.")] = None,
) -> None:
    """Score a run file, of this or any other program, as the LifeCLEF challenges do."""
    from geoplantnet.identify.run_file import is_of_quadrats, read_quadrats, read_run, read_transects, read_truth, score_quadrats, score_run
    from geoplantnet.storage import write_json

    known = read_truth(truth)
    if is_of_quadrats(run):
        quadrats = read_quadrats(run)
        named, figures = {taxon for species in quadrats.values() for taxon in species}, {"f1": score_quadrats(quadrats, known)}
        if (transects := read_transects(truth)) is not None:
            figures["f1_of_transects"] = score_quadrats(quadrats, known, transects)
    else:
        several = next((name for name, species in known.items() if len(species) > 1), None)
        if several is not None:
            raise InputError(f"{truth} names several species of {several!r}; an observation shows one")
        answers = read_run(run)
        named, figures = set(answers["species_id"]), score_run(answers, {name: species[0] for name, species in known.items()})
    wanted = {taxon for species in known.values() for taxon in species}
    if wanted and named and not wanted & named:
        Console(stderr=True).print(
            f"no species is in both: {truth} has {min(wanted)!r}, {run} has {min(named)!r}; give the truth the ids of the run"
        )
    if output is not None:
        write_json(output, figures)
    print_figures(Console(stderr=True), figures, f"{run}: {len(known):,} answers")


@app.command()
def place(
    model: ModelArg,
    photos: PhotosArg,
    maps: Annotated[Path, typer.Option("--maps", help="A published store of maps that predicts species.")],
    of: Annotated[str, typer.Option("--split", help="Only photos of this split (train, val, test); default: all.")] = "",
    images: Annotated[str | None, typer.Option(help="Where a store's images lie.")] = None,
) -> None:
    """Learn how much a map may say beside photos, from photos with places that neither net nor map learnt from; `serve --maps` goes by it."""
    from geoplantnet.identify import evaluation
    from geoplantnet.identify.prior import PlaceWeight, learn_place_weight, with_place
    from geoplantnet.identify.temperature import probabilities
    from geoplantnet.serving.atlas import open_atlas
    from geoplantnet.serving.identify.prior import MapPrior
    from geoplantnet.storage import write_json

    network, known = network_of(model), readable(photos_of(photos, images=images))
    tell_rejected(Console(stderr=True), known.rejected)
    if of:
        known = known.of_split(of)
    atlas = open_atlas(maps)
    try:
        prior = MapPrior(atlas, network.species)
        told = [prior.at(*where) if np.isfinite(where).all() else None for where in known.places]
    finally:
        atlas.close()
    truth = evaluation.positions(known, network)
    used = np.array([p is not None for p in told], bool) & (truth >= 0)
    if not used.any():
        raise InputError(f"of {len(known):,} photos none has a place in {maps} and a species that {model} knows; give photos taken there")
    known, truth, present = known.subset(used), truth[used], np.stack([p for p, use in zip(told, used) if use and p is not None])
    log_p = np.log(probabilities(evaluation.answers(network, known).logits, network.card.temperature) + 1e-300)
    learnt = learn_place_weight(log_p, present, truth, groups=known.table["observation"].tolist())

    def right(weight: PlaceWeight) -> float:
        return float((with_place(log_p, present, weight).argmax(axis=1) == truth).mean())

    figures = {
        "photos": learnt.photos,
        "weight": learnt.place.weight,
        "floor": learnt.place.floor,
        "top1_photos_alone": right(PlaceWeight(weight=0)),
        "top1_default_weight": right(PlaceWeight()),
        "top1_this_weight": right(learnt.place),
        "nll_photos_alone": learnt.loss_before,
        "nll_held_out": learnt.loss_after,
    }
    write_json(model / PLACE_FILE, {**figures, "maps": str(maps.name)})
    console = Console(stderr=True)
    left = int((~used).sum())
    if left:
        console.print(f"left out: {left:,} photos without a place in the maps, or of a species that the classifier does not know")
    print_figures(console, figures, f"{model / PLACE_FILE}: used by `identify serve --maps`")


@app.command()
def index(
    model: ModelArg,
    photos: PhotosArg,
    output: Annotated[Path, typer.Option("--output", help="Folder of the index; one that is there grows by the images it lacks.")],
    floras: FlorasOption = None,
    images: Annotated[str | None, typer.Option(help="Where a store's images lie.")] = None,
    bits: Annotated[int, typer.Option(help="Bits of a code.")] = 256,
) -> None:
    """Index labelled photos, so that answers come with the most similar ones."""
    from geoplantnet.identify import evaluation
    from geoplantnet.identify.similarity import ImageIndex, IndexedImage

    network, known = network_of(model), readable(photos_of(photos, images=images))
    by_flora: Mapping[str, Any] | None = None
    if floras is not None:
        found = projects_of(floras, network)
        by_flora = {project.id: ids_of(network, project.species) for project in found if project.species is not None}
    grown = ImageIndex.open(output, floras=by_flora) if output.is_dir() else None
    at = evaluation.positions(known, network)  # by the net's own ids, whatever list the photos came with
    ids = [network.species[int(i)].taxon_id if i >= 0 else known.species[int(k)].taxon_id for i, k in zip(at, known.labels)]
    shown = [
        IndexedImage(
            image=name_of(str(row["image"]), stored=is_store(photos)),
            observation="" if str(row["image"]).endswith(row["observation"]) else row["observation"],  # its own file: none is told
            species=species,
            organ=row["organ"],
            author=row["author"],
            license=row["license"],
        )
        for row, species in zip(known.table.to_dict("records"), ids)
    ]
    changed: list[IndexedImage] = []
    gone: list[str] = []
    if grown is not None:
        grown.check(network.card)
        changed = [image for image in shown if image.image in grown and grown.image(image.image) != image]
        if changed:  # labels that were corrected since, of pixels that are the same
            grown.add(grown.features_of([image.image for image in changed]), changed)
        gone = _withdrawn(grown, photos, images) if is_store(photos) else []
        grown.remove(gone)
    new = np.array([grown is None or image.image not in grown for image in shown], bool)
    rejected, known = known.rejected, known.subset(new)
    if len(known):
        outputs = evaluation.answers(network, known)
        if grown is None:
            grown = ImageIndex.train(outputs.features, bits=bits, floras=by_flora, network=f"{network.card.name} {network.card.version}")
        grown.add(outputs.features, [image for image, lacks in zip(shown, new) if lacks])
    if grown is None:
        raise InputError(f"{source_of(photos)} holds no photos; there is nothing to index")
    grown.save(output)
    console = Console(stderr=True)
    strangers = int((at[new] < 0).sum())
    tell_rejected(console, rejected)
    console.print(f"{output}: {len(grown):,} images, {len(known):,} of them new")
    if changed:
        console.print(f"{len(changed):,} were told anew: their species, organ or author changed")
    if gone:
        console.print(f"{len(gone):,} were taken out: their authors took them back")
    if strangers:
        console.print(f"{strangers:,} of the new are of species that {model} does not know: no answer will show them")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A trained classifier.")],
    output: Annotated[Path, typer.Option("--output", help="Folder to be made: model, labels, floras, index and a runner.")],
    photos: Annotated[
        str | None,
        typer.Option("--photos", help="Photos to calibrate 8-bit weights with, best those it was trained on; needed unless --float."),
    ] = None,
    whole: Annotated[bool, typer.Option("--float", help="Keep 32-bit weights: four times the size, no error.")] = False,
    floras: FlorasOption = None,
    index: Annotated[Path | None, typer.Option("--index", help="An index to go with it.")] = None,
    names: Annotated[Path | None, typer.Option("--names", help="Common names (JSON: language -> taxonID -> names).")] = None,
    images: Annotated[str | None, typer.Option(help="Where a store's images lie.")] = None,
) -> None:
    """Write a classifier as a folder that answers without torch, a server or a network."""
    from geoplantnet.identify.classifier import checkpoint
    from geoplantnet.identify.classifier.onnx_export import export as write

    if photos is None and not whole:
        raise UsageError("8-bit weights are calibrated on photos; name some with --photos, or keep 32 bits with --float")
    if (model / "partition.json").is_file():
        raise UsageError(f"{model} is a partition of many nets; a folder for offline holds one: train without --partition")
    check_output(output, ("model.onnx", "card.json", "labels.json", "projects.json", "names.json", "index", "identify.py", "__pycache__"))
    if index is not None and not (index / "images.json").is_file():
        raise UsageError(f"--index {index} is no index; make one with `geoplantnet identify index`")
    common = _names(names) if names is not None else None
    network = checkpoint.load(model)
    squares = held = None
    if photos is not None:
        known = readable(photos_of(photos, images=images))
        tell_rejected(Console(stderr=True), known.rejected)
        learnt, judged = as_trained(checkpoint.provenance(model), known)
        squares, held = (squares_of(part, n, network.card.size) for part, n in ((learnt, 150), (judged, 100)))
    told = write(
        network,
        output,
        int8=not whole,
        calibration=squares,
        held=held,
        projects=projects_of(floras, network) if floras is not None else None,
        names=common,
        index=index,
    )
    print_figures(Console(stderr=True), told, f"{output}")


def _names(file: Path) -> dict[str, dict[str, list[str]]]:
    """Common names: language -> taxonID -> names. Raises InputError for a file that holds anything else."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        every = [found for of in told.values() for found in of.values()]
        if all(isinstance(found, list) and all(isinstance(name, str) for name in found) for found in every):
            return {str(language): dict(of) for language, of in told.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{file} cannot be read as names ({error}); JSON of language -> taxonID -> names was expected") from error
    raise InputError(f"{file} holds other things than names; JSON of language -> taxonID -> names was expected")


def _withdrawn(index: ImageIndex, store: str, images: str | None) -> list[str]:
    """Names of the images of an index whose authors took them back from a store."""
    from pipelines.observations import open_store

    told = list(index)
    with open_store(store, images) as opened:
        gone = opened.withdrawn(sorted({image.observation for image in told if image.observation}))
    return [image.image for image in told if image.observation in gone]
