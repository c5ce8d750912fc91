"""`geoplantnet identify`: train a classifier of photos, judge it, export it, index images, serve it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from geoplantnet.errors import InputError, UsageError

if TYPE_CHECKING:
    from geoplantnet.identify.engine import Identifier
    from geoplantnet.identify.network import Network, Outputs
    from geoplantnet.identify.photo_set import PhotoSet
    from geoplantnet.identify.projects import Projects
    from geoplantnet.serving.atlas import Atlas

app = typer.Typer(help="Photos to species: train, evaluate, export, index, serve, retrain.", no_args_is_help=True)

PhotosArg = Annotated[
    str, typer.Argument(help="Labelled photos: a folder laid out as Pl@ntNet-300K, a CSV with file and label, or a store of observations.")
]
ModelArg = Annotated[Path, typer.Argument(help="A trained classifier, or the folder that `identify export` wrote.")]
FlorasOption = Annotated[
    Path | None, typer.Option("--floras", help="Checklists by region (CSV: region, taxonID or scientificName, status).")
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same result.")]
_STORES = (".sqlite", ".db", ".sqlite3")


def photos_of(source: str, *, images: str | None = None) -> PhotoSet:
    """Labelled photos, from what a user names. Raises InputError for what is none of the three kinds."""
    from geoplantnet.identify.photo_set import PhotoSet

    path = Path(source)
    if path.is_dir():
        return PhotoSet.read_folder(path)
    if "://" in source or path.suffix in _STORES:
        from pipelines.train_identify import validated_photos

        return validated_photos(source, images=images).photos
    if path.is_file():
        return PhotoSet.read_metadata(path)
    raise InputError(
        f"there is nothing at {source}; name a folder laid out as Pl@ntNet-300K, a CSV with file and label, or a store of observations"
    )


def network_of(folder: Path, *, threads: int = 1) -> Network:
    """A trained net, run by torch or, from an exported folder, by onnxruntime. Raises ModelError for a folder that holds neither."""
    if (folder / "model.onnx").is_file():
        from geoplantnet.identify.offline import OnnxNetwork

        return OnnxNetwork(folder, threads=threads)
    from geoplantnet.identify.classifier.checkpoint import load

    return load(folder)


def split(photos: PhotoSet, held_out: float, seed: int) -> tuple[PhotoSet, PhotoSet]:
    """Training and validation photos: as the set itself says, else a share of each species' observations is held out."""
    if (photos.table["split"] == "train").any() and (photos.table["split"] == "val").any():
        return photos.of_split("train"), photos.of_split("val")
    if not 0.02 <= held_out <= 0.5:
        raise UsageError(f"--held-out {held_out}: a share from 0.02 to 0.5 of the photos was expected")
    fold = photos.folds(round(1 / held_out), seed)
    return photos.subset(fold != 0), photos.subset(fold == 0)


@app.command()
def train(
    photos: PhotosArg,
    output: Annotated[Path, typer.Option("--output", help="Folder of the classifier to be made.")],
    backbone: Annotated[str, typer.Option(help="small, resnet18, efficientnet-lite0|1|2, or dinov2:FOLDER.")] = "efficientnet-lite0",
    transfer: Annotated[str, typer.Option(help="What learns: head, freeze (the last stages too) or all.")] = "freeze",
    frozen: Annotated[int | None, typer.Option(help="Stages that do not learn under freeze; default: two thirds.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    size: Annotated[int | None, typer.Option(help="Side of the net's input, pixels; default: what the backbone was made for.")] = None,
    held_out: Annotated[float, typer.Option(help="Share held out for figures and calibration, where the photos have no split.")] = 0.2,
    name: Annotated[str, typer.Option(help="The classifier's name.")] = "classifier",
    version: Annotated[str, typer.Option(help="Of these weights.")] = "1",
    images: Annotated[str | None, typer.Option(help="Where a store's images lie.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Train a classifier; what was begun and killed goes on."""
    from geoplantnet.identify.classifier import checkpoint
    from geoplantnet.identify.classifier.train import Training, fit

    console = Console(stderr=True)
    known = photos_of(photos, images=images)
    learn, judge = split(known, held_out, seed)
    training = Training(backbone=backbone, transfer=transfer, frozen=frozen, epochs=epochs, size=size, seed=seed)  # type: ignore[arg-type]
    console.print(f"{len(learn):,} photos of {len(known.species):,} species to learn from, {len(judge):,} held out")
    _tell_rejected(console, known.rejected)
    state = output.parent / f".{output.name}-state"
    fitted = fit(
        learn,
        training,
        validation=judge,
        name=name,
        version=version,
        resume=state,
        on_epoch=lambda epoch, value: console.print(f"epoch {epoch} of {epochs}: loss {value:.3f}"),
    )
    checkpoint.save(
        fitted.network, output, photos=photos, learnt_from=len(learn), training=dict(vars(training)), rejected=dict(known.rejected)
    )
    _remove(state)
    _print(console, dict(fitted.network.card.figures), f"{output}: figures of {len(judge):,} photos held out")


@app.command()
def evaluate(
    model: ModelArg,
    photos: PhotosArg,
    of: Annotated[str, typer.Option("--split", help="Only photos of this split (train, val, test); default: all.")] = "",
    run: Annotated[Path | None, typer.Option("--run", help="Write what it answers as a run file of LifeCLEF.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    images: Annotated[str | None, typer.Option(help="Where a store's images lie.")] = None,
) -> None:
    """Say how good a classifier is on labelled photos; those of species it does not know count as wrong."""
    from geoplantnet.identify.run_file import write_run
    from geoplantnet.identify.temperature import probabilities
    from geoplantnet.storage import write_json

    console = Console(stderr=True)
    network, known = network_of(model), photos_of(photos, images=images)
    if of:
        known = known.of_split(of)
    if not len(known):
        raise InputError(f"{photos} has no photos of the split {of!r}; name train, val or test, or leave it out")
    outputs = answers(network, known)
    p = probabilities(outputs.logits, network.card.temperature)
    figures = figures_of(p, _positions(known, network))
    if run is not None:
        names = (
            [f"{i}" for i in range(len(known))]
            if known.table["image"].duplicated().any()
            else list(known.table["image"].map(lambda x: Path(x).name))
        )
        write_run(run, names, p, [taxon.taxon_id for taxon in network.species], top=min(30, len(network.species)))
    if output is not None:
        write_json(output, figures)
    _print(console, figures, f"{model}: {len(known):,} photos")


def answers(network: Network, photos: PhotoSet) -> Outputs:
    """What any net says of the photos of a set, prepared as online."""
    from geoplantnet.identify.network import Outputs
    from geoplantnet.identify.photos.squares import Squares

    with Squares(list(photos.table["image"]), network.card.size) as squares:
        parts = [network(squares[np.arange(i, min(i + 32, len(photos)))]) for i in range(0, len(photos), 32)]
    return Outputs(**{key: np.concatenate([getattr(part, key) for part in parts]) for key in ("logits", "features", "organs", "plant")})


def figures_of(p: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Micro and macro top-1 and top-5, average-5, and ECE of probabilities (n, species); truth -1: a species the net does not know."""
    from geoplantnet.identify import metrics

    known = truth >= 0
    figures = {"photos": float(len(truth)), "photos_of_unknown_species": float((~known).sum())}
    if not known.any():
        return figures
    share, p, truth = float(known.mean()), p[known], truth[known]
    k = min(5, p.shape[1])
    figures |= {"top1": metrics.top_k(p, truth, 1) * share, "top5": metrics.top_k(p, truth, k) * share}
    figures |= {"macro_top1": metrics.top_k(p, truth, 1, macro=True), "macro_top5": metrics.top_k(p, truth, k, macro=True)}
    figures |= {"average5": metrics.average_k(p, truth, k), "macro_average5": metrics.average_k(p, truth, k, macro=True)}
    return figures | {"ece": metrics.expected_calibration_error(p, truth)}


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
    from geoplantnet.identify.similarity import ImageIndex, IndexedImage

    network, known = network_of(model), photos_of(photos, images=images)
    by_flora: Mapping[str, Any] | None = None
    if floras is not None:
        found = projects_of(floras, network)
        by_flora = {project.id: _ids(network, project.species) for project in found if project.species is not None}
    grown = ImageIndex.open(output, floras=by_flora) if output.is_dir() else None
    if grown is not None:
        grown.check(network.card)
        known = known.subset(np.array([Path(image).name not in grown and image not in grown for image in known.table["image"]], bool))
    ids = [known.species[k].taxon_id for k in known.labels]
    if len(known):
        outputs = answers(network, known)
        if grown is None:
            grown = ImageIndex.train(outputs.features, bits=bits, floras=by_flora, network=f"{network.card.name} {network.card.version}")
        rows = known.table.to_dict("records")
        grown.add(
            outputs.features,
            [
                IndexedImage(
                    image=_digest(row["image"]),
                    observation=row["observation"],
                    species=species,
                    organ=row["organ"],
                    author=row["author"],
                    license=row["license"],
                )
                for row, species in zip(rows, ids)
            ],
        )
    if grown is None:
        raise InputError(f"{photos} holds no photos; there is nothing to index")
    grown.save(output)
    Console(stderr=True).print(f"{output}: {len(grown):,} images, {len(known):,} of them new")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A trained classifier.")],
    output: Annotated[Path, typer.Option("--output", help="Folder to be made: model, labels, floras, index and a runner.")],
    photos: Annotated[str | None, typer.Option("--photos", help="Photos to calibrate 8-bit weights with; needed unless --float.")] = None,
    whole: Annotated[bool, typer.Option("--float", help="Keep 32-bit weights: four times the size, no error.")] = False,
    floras: FlorasOption = None,
    index: Annotated[Path | None, typer.Option("--index", help="An index to go with it.")] = None,
    names: Annotated[Path | None, typer.Option("--names", help="Common names (JSON: language -> taxonID -> names).")] = None,
) -> None:
    """Write a classifier as a folder that answers without torch, a server or a network."""
    from geoplantnet.identify.classifier import checkpoint
    from geoplantnet.identify.classifier.onnx_export import export as write
    from geoplantnet.identify.photos.squares import Squares

    if photos is None and not whole:
        raise UsageError("8-bit weights are calibrated on photos; name some with --photos, or keep 32 bits with --float")
    network = checkpoint.load(model)
    squares = np.zeros((0, network.card.size, network.card.size, 3), np.uint8)
    if photos is not None:
        known = photos_of(photos)
        some = np.sort(np.random.default_rng(0).permutation(len(known))[:200])
        with Squares(list(known.table["image"].iloc[some]), network.card.size) as read:
            squares = read[np.arange(len(some))]
    told = write(
        network,
        output,
        int8=not whole,
        calibration=squares,
        projects=projects_of(floras, network) if floras is not None else None,
        names=json.loads(names.read_text(encoding="utf-8")) if names is not None else None,
        index=index,
    )
    _print(Console(stderr=True), told, f"{output}")


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What makes an `Identifier` in each process of a server; the maps that are served beside it bring in the place."""

    model: Path
    index: Path | None = None
    floras: Path | None = None
    threads: int = 1

    def __call__(self, atlas: Atlas | None) -> Identifier:
        from geoplantnet.identify.engine import Identifier
        from geoplantnet.identify.projects import Projects
        from geoplantnet.identify.regions import countries
        from geoplantnet.identify.similarity import ImageIndex
        from geoplantnet.serving.identify.prior import MapPrior

        network = network_of(self.model, threads=self.threads)
        projects: Projects | None = None
        if self.floras is not None:
            projects = projects_of(self.floras, network)
        elif (self.model / "projects.json").is_file():
            projects = Projects.open(self.model / "projects.json", network.species, countries())
        folder = self.index or (self.model / "index")
        images = ImageIndex.open(folder) if folder.is_dir() else None
        prior = MapPrior(atlas, network.species) if atlas is not None else None
        return Identifier(network, projects=projects, prior=prior, index=images)


@app.command()
def serve(
    model: ModelArg,
    observations: Annotated[
        str | None, typer.Option("--observations", help="A store of observations: contributions, votes, review.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option("--maps", help="A published store of maps: the place as evidence, and the maps beside.")
    ] = None,
    index: Annotated[Path | None, typer.Option("--index", help="Index of similar images; default: the model's own.")] = None,
    floras: FlorasOption = None,
    facts: Annotated[Path | None, typer.Option("--facts", help="GBIF, POWO and IUCN ids of species (CSV).")] = None,
    names: Annotated[Path | None, typer.Option("--names", help="Common names (JSON).")] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="File of API keys (`geoplantnet keys`); none: anybody may ask.")] = None,
    quota: Annotated[Path | None, typer.Option("--quota", help="File that counts requests; default: forgotten at the end.")] = None,
    daily: Annotated[int, typer.Option(min=1, help="Identifications a day and key.")] = 500,
    sensitive: Annotated[Path | None, typer.Option("--sensitive", help="Sensitive species (CSV); places of these are not told.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    title: Annotated[str, typer.Option(help="Name of the service.")] = "geoplantnet",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8001,
) -> None:
    """Serve the API at /v2 and the page at /identify."""
    from geoplantnet.serving.identify.server import serve_identify
    from geoplantnet.serving.identify.settings import IdentifySettings

    exported = model if (model / "model.onnx").is_file() else None
    settings = IdentifySettings(
        title=title,
        keys=keys,
        quota=quota,
        daily_quota=daily,
        anonymous_quota=daily,
        facts=facts,
        names=names,
        sensitive=sensitive,
        workers=workers,
    )
    console = Console(stderr=True)
    serve_identify(
        Maker(model=model, index=index, floras=floras),
        host=host,
        port=port,
        announce=lambda url: console.print(f"identify plants at {url}identify/, the API at {url}v2/"),
        settings=settings,
        store=observations,
        catalog=maps,
        model_folder=exported,
    )


@app.command()
def retrain(
    store: Annotated[str, typer.Argument(help="A store of observations.")],
    models: Annotated[Path, typer.Option("--models", help="Folder of versions; `current` in it names the one in use.")],
    backbone: Annotated[str, typer.Option(help="As of `identify train`.")] = "efficientnet-lite0",
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    minimum: Annotated[int, typer.Option(min=2, help="Photos that a species needs.")] = 5,
    images: Annotated[str | None, typer.Option(help="Where the store's images lie.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Train anew from what people validated since; the new version is used where it is no worse on the same held-out photos."""
    from geoplantnet.identify.classifier.train import Training
    from pipelines.train_identify import retrain as again

    told = again(store, models, Training(backbone=backbone, epochs=epochs, seed=seed), minimum=minimum, images=images)
    Console(stderr=True).print(told.words)


def projects_of(floras: Path, network: Network) -> Projects:
    """The floras of a file as projects of a net; names are looked up among the net's own species."""
    from geoplantnet.identify.projects import Projects
    from geoplantnet.identify.regions import countries

    return Projects.read(floras, network.species, countries())


def _positions(photos: PhotoSet, network: Network) -> np.ndarray:
    """(n,): where a net has each photo's species, by scientific name; -1 where it does not know it."""
    at = {taxon.scientific_name: i for i, taxon in enumerate(network.species)}
    return np.array([at.get(photos.species[k].scientific_name, -1) for k in photos.labels], np.intp)


def _ids(network: Network, species: np.ndarray) -> list[str]:
    return [network.species[int(i)].taxon_id for i in species]


def _digest(image: str) -> str:
    """An image's name in an index: its SHA-256 where its file is named so, as a store does."""
    stem = Path(image).stem
    return stem if len(stem) == 64 and all(c in "0123456789abcdef" for c in stem) else image


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _tell_rejected(console: Console, rejected: Mapping[str, int]) -> None:
    for reason, n in rejected.items():
        console.print(f"left out: {n:,} photos, {reason}")


def _print(console: Console, figures: Mapping[str, Any], title: str) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    console.print(table)
