"""Verbs of `geoplantnet identify` that answer: one plant, photos of plots, a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from geoplantnet.errors import InputError, UsageError, did_you_mean
from pipelines.identifier import ExpertsOption, FlorasOption, Maker, ModelArg, ids_of, network_of, projects_of
from pipelines.labelled_photos import photos_in

_PLACE = {
    "sdm": "The map of the place was asked.",
    "flora": "The flora of the place was asked.",
    "none": "Nothing was known of the place.",
}


def predict(
    model: ModelArg,
    photos: Annotated[list[Path], typer.Argument(help="One to five photos of one plant.")],
    organ: Annotated[
        list[str] | None, typer.Option(help="What a photo shows, one each, in their order; auto: the net looks. Default: auto for all.")
    ] = None,
    latitude: Annotated[float | None, typer.Option(min=-90, max=90, help="Where they were taken, degrees.")] = None,
    longitude: Annotated[float | None, typer.Option(min=-180, max=180, help="Where they were taken, degrees.")] = None,
    maps: Annotated[Path | None, typer.Option("--maps", help="A published store of maps: the place as evidence.")] = None,
    floras: FlorasOption = None,
    project: Annotated[str, typer.Option(help="Only species of this flora; all: every one.")] = "all",
    top: Annotated[int, typer.Option(min=1, help="Species that are told.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    experts: ExpertsOption = None,
) -> None:
    """Name the plant in photos."""
    from geoplantnet.identify.engine import CREDIBLE
    from geoplantnet.identify.network import ORGANS
    from geoplantnet.identify.photos import Decoder, RefusedPhoto
    from geoplantnet.serving.atlas import open_atlas

    if odd := [name for name in organ or () if name not in (*ORGANS, "auto")]:
        raise UsageError(f"--organ {odd[0]}; there are {', '.join(ORGANS)}, and auto")
    if (latitude is None) != (longitude is None):
        raise UsageError("a place has a latitude and a longitude; give both, or neither")
    if maps is not None and latitude is None:
        raise UsageError("--maps says what grows at a place; give --latitude and --longitude too")
    atlas = open_atlas(maps) if maps is not None else None
    try:
        identifier = Maker(model=model, floras=floras, experts=experts)(atlas)
        pixels = []
        with Decoder(workers=1) as decoder:
            for photo in photos:
                try:
                    pixels.append(decoder.pixels(photo.read_bytes()))
                except (OSError, RefusedPhoto) as error:
                    raise InputError(f"{photo} cannot be read: {error}") from error
        shows = ["" if name == "auto" else name for name in organ or ()]
        where = None if latitude is None or longitude is None else (longitude, latitude)
        told = identifier.identify(pixels, shows, project=project, place=where, top=top)
    finally:
        if atlas is not None:
            atlas.close()
    species = [(identifier.network.species[one.species], one.score) for one in told.candidates]
    if as_json:
        answer = {
            "project": told.project,
            "evidence": told.evidence,
            "rejected": told.rejected,
            "organs": told.organs,
            "species": [
                {
                    "taxonID": taxon.taxon_id,
                    "scientificName": taxon.scientific_name,
                    "genus": taxon.genus,
                    "family": taxon.family,
                    "score": score,
                }
                for taxon, score in species
            ],
            "genus": told.genera[:top],
            "family": told.families[:top],
            "answer_set": ids_of(identifier.network, np.array(told.answer_set, int)),
        }
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=1))
        return
    if told.rejected:
        typer.echo("These photos hardly show a plant.")
    for taxon, score in species:
        typer.echo(f"{score:6.1%}  {taxon.scientific_name} ({taxon.family})")
    known = _PLACE[told.evidence] if where is not None else "No place was given."
    several = f"It is one of {len(told.answer_set)} species" if len(told.answer_set) > 1 else "It is the first"
    typer.echo(f"{several} with {CREDIBLE:.0%}. {known}")


def survey(
    model: ModelArg,
    quadrats: Annotated[list[Path], typer.Argument(help="Photos of plots, or folders of them; each is known by its file's name.")],
    run: Annotated[
        Path, typer.Option("--run", dir_okay=False, help="Run file to be written: the species of each quadrat, as PlantCLEF takes it.")
    ],
    tile_size: Annotated[int, typer.Option(help="Side of the squares a photo is cut into, pixels.")] = 518,
    tile_stride: Annotated[int, typer.Option(help="Pixels from one square to the next; 0: half a side.")] = 0,
    multi_scale: Annotated[bool, typer.Option("--multi-scale", help="Look at larger squares too.")] = False,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="A square counts for a species from this score on.")] = 0.1,
    max_rank: Annotated[int, typer.Option(min=1, help="And among its first so many.")] = 1,
    floras: FlorasOption = None,
    project: Annotated[str, typer.Option(help="Of --floras: only species of this flora.")] = "",
    experts: ExpertsOption = None,
) -> None:
    """Name the species in photos of plots, several in each, as a run file that `score` scores."""
    from geoplantnet.identify.photos import SURVEY, Decoder, RefusedPhoto
    from geoplantnet.identify.run_file import write_quadrats
    from geoplantnet.identify.survey import Tiling, look, matches

    tiling = Tiling(size=tile_size, stride=tile_stride, multi_scale=multi_scale)
    files = photos_in(quadrats)
    network = network_of(model, experts=experts)
    if project and floras is None:
        raise UsageError(f"--project {project} is one of --floras; name their file too")
    species = projects_of(floras, network)[project].species if floras is not None and project else None
    console, answers = Console(stderr=True), {}
    with Decoder(workers=1) as decoder:
        for name, file in track(files.items(), "quadrats", console=console):
            try:
                pixels = decoder.pixels(file.read_bytes(), SURVEY)
            except (OSError, RefusedPhoto) as error:
                console.print(f"left out: {file}, {error}")
                continue
            seen = look(network, pixels, tiling.boxes(pixels.shape[1], pixels.shape[0]), species)
            best = np.where(matches(seen.scores, min_score=min_score, max_rank=max_rank), seen.scores, 0.0).max(axis=0)
            answers[name] = ids_of(network, np.argsort(-best, kind="stable")[: np.count_nonzero(best)])
    if not answers:
        raise InputError(f"of {len(files):,} photos none can be read; there is nothing to answer")
    write_quadrats(run, answers)
    left = f", {len(files) - len(answers):,} left out" if len(files) > len(answers) else ""
    console.print(f"{run}: {len(answers):,} quadrats{left}, {np.mean([len(named) for named in answers.values()]):.1f} species each")


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
    anonymous: Annotated[int | None, typer.Option(min=0, help="The same of each address without a key; 0: a key is needed.")] = None,
    url: Annotated[str, typer.Option(help="Address that people reach it by, where a proxy stands before it.")] = "",
    proxy: Annotated[list[str] | None, typer.Option(help="Address or network of a proxy whose X-Forwarded-For is believed.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Web page that may ask, such as https://app.example.org; * = any.")] = None,
    images: Annotated[str | None, typer.Option(help="Where the store's images lie.")] = None,
    photos_from: Annotated[
        list[str] | None, typer.Option(help="Origin whose photos may be named by address, such as https://photos.example.org.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option("--set", help="A limit of the server, such as timeout_s=120 or errors_cost=false; again for another."),
    ] = None,
    sensitive: Annotated[Path | None, typer.Option("--sensitive", help="Sensitive species (CSV); places of these are not told.")] = None,
    experts: ExpertsOption = None,
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
        anonymous_quota=daily if anonymous is None else anonymous,
        url=url,
        trusted_proxies=tuple(proxy or ()),
        origins=tuple(origin or ("*",)),
        facts=facts,
        names=names,
        sensitive=sensitive,
        workers=workers,
        photo_origins=tuple(photos_from or ()),
        **_limits(limits or []),
    )
    console = Console(stderr=True)
    if keys is not None and settings.anonymous_quota:
        console.print(f"without a key each address may ask {settings.anonymous_quota} times a day; --anonymous 0 wants a key of everybody")
    serve_identify(
        Maker(model=model, index=index, floras=floras, experts=experts),
        host=host,
        port=port,
        announce=lambda url: console.print(f"identify plants at {url}identify/, the API at {url}v2/"),
        settings=settings,
        store=observations,
        images=images,
        catalog=maps,
        model_folder=exported,
    )


def _limits(given: Sequence[str]) -> dict[str, Any]:
    """``timeout_s=120`` -> {"timeout_s": 120.0}, of the numbers and switches of `IdentifySettings` without an option of their own. Raises UsageError."""
    from geoplantnet.serving.identify.settings import IdentifySettings

    own = ("daily_quota", "anonymous_quota", "workers")
    known = {f.name: f.default for f in fields(IdentifySettings) if isinstance(f.default, int | float) and f.name not in own}
    found: dict[str, Any] = {}
    for one in given:
        name, _, value = (part.strip() for part in one.partition("="))
        if name not in known:
            raise UsageError(f"--set {one}: {name} is no limit.{did_you_mean(name, known)} There are {', '.join(known)}")
        kind = type(known[name])
        try:
            found[name] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            wanted = "true or false" if kind is bool else "a whole number" if kind is int else "a number"
            raise UsageError(f"--set {one}: {wanted} was expected") from None
    return found
