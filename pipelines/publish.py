"""Stages `publish` (the files GIS people expect, and the tile's STAC item) and `catalog` (what ties the tiles together)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from geoplantnet.assemblages import LatentTile
from geoplantnet.assemblages.assemblage import Assemblage
from geoplantnet.assemblages.reporting import reporting_tables
from geoplantnet.assemblages.species_tile import SpeciesTile
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.geotiff import encode, read_header, write_cog
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.catalog.product import COG, GEOPACKAGE, ZARR, Layer, LegendClass, Product, Uncertainty, readable_end
from geoplantnet.catalog.relief import MARGIN, hillshade
from geoplantnet.catalog.stac import write_catalog, write_item
from geoplantnet.cubes import Modality, node_named, open_cube
from geoplantnet.indicators import IndicatorInfo, indicator
from pipelines.build_cubes import cube_of
from pipelines.change import CHANGE, CHANGES, COUNT_SCALE, SHARE_SCALE
from pipelines.change import NODATA as CHANGE_NODATA
from pipelines.compute_indicators import APPLICABLE, SET_RULE, spread_band, spread_scale
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.habitats import chosen_indicators
from pipelines.ledger import Ledger
from pipelines.map_species import SEAL
from pipelines.provenance import made_of
from pipelines.sensitive import rules_by_tile, seal, sensitive_traits, traits_told
from pipelines.species_records import counted_from, write_records
from pipelines.tables import stored_species

SCALE, NODATA = 0.004, 255
APPLICABILITY = "applicability"
INDEX_SCALE, INDEX_NODATA = 0.001, 65_535
REPORTING_CELL = 5_000
LATENT, DENSE = ("latent", "Latent tile and species head"), ("dense", "Probabilities of all species, by species and by cell")
"""Key and title of the store that predictions lie in."""


def settings(run: Run) -> Callable[[str], object]:
    """The words and moments an item states."""
    r, sensitive = run.recipe, rules_by_tile(run)
    words = [r.title, r.notice, r.interval, r.map.plot_area, r.indicators, r.publish.model_dump()]
    return lambda tile_id: [*words, [repr(rule) for rule in sensitive[tile_id]]] if tile_id in sensitive else words


def needs(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """All that the tile's item lists."""
    return [("map", tile_id), ("indicators", tile_id), *([(CHANGES.name, tile_id)] if run.scenario else []), *cube_of(run, tile_id)]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Export one tile and commit its STAC item."""
    mapped = open_species_tile(run.predictions(tile_id), run.grid, assemblage=run.assemblage(tile_id))
    assert mapped.assemblage is not None
    species = _species(run, mapped) if run.recipe.publish.species else None
    coverage, relief, applicability = _coverage(run, mapped, mapped.assemblage), _relief(run, tile_id), _applicability(run, mapped)
    tile, (key, title) = run.tile(tile_id), LATENT if isinstance(mapped, LatentTile) else DENSE
    products = [
        Product.of(coverage, key="coverage", media_type=GEOPACKAGE, title="Species coverage of 5 km reporting cells"),
        Product.of(run.cube(tile_id), key="cube", media_type=ZARR, title="Model input", roles=("source",)),
        Product.of(run.predictions(tile_id), key=key, media_type=ZARR, title=title),
        Product.of(run.assemblage(tile_id), key="assemblage", media_type=ZARR, title="Species sets of every cell, and means of 1 km"),
    ]
    if species:
        products.append(Product.of(species, key="species", media_type=COG, title="Probability of every species"))
    else:
        run.product(tile_id, "species.tif").unlink(missing_ok=True)  # of a run that had asked for it
    if relief:
        products.append(Product.of(relief, key="relief", media_type=COG, title="Relief", roles=("overview",)))
    if applicability:
        products.append(Product.of(applicability, key=APPLICABILITY, media_type=COG, title="Where the model extrapolates"))
    for info in (one.info for one in chosen_indicators(run)):
        file = run.product(tile_id, f"{info.id}.tif")
        products.append(Product.of(file, key=info.id, media_type=COG, title=info.title, classes=_classes(info)))
    if run.scenario:
        products.append(Product.of(run.product(tile_id, f"{CHANGE}.tif"), key=CHANGE, media_type=COG, title="Change of the flora"))
    start, end = (datetime.fromisoformat(moment) for moment in run.recipe.interval)
    properties = {"geoplantnet:notice": run.recipe.notice, "title": tile_id} | (
        {"geoplantnet:scenario": run.scenario} if run.scenario else {}
    )
    properties |= {f"dwc:{name}": words for name, words in sensitive_facts(run).items()}
    item = write_item(run.store, tile, products, interval=(start, end), properties=properties)
    stats: dict[str, Any] = {
        "bytes": sum(p.size for p in products),
        "species": mapped.species.hash,
        "members": mapped.members,
    }
    if SEAL in mapped.attributes:
        stats[SEAL] = mapped.attributes[SEAL]
    if applicability:
        stats["dissimilarity_threshold"] = mapped.dissimilarity_threshold
    return [path for path in (species, coverage, relief, applicability, item) if path], stats


def _species(run: Run, mapped: SpeciesTile) -> Path:
    """All species as one multi-band COG, one byte a probability."""
    return write_cog(
        run.product(mapped.tile.id, "species.tif"),
        (band for _, p in mapped.blocks() for band in encode(p, scale=SCALE, nodata=NODATA).values),
        mapped.geobox,
        dtype="uint8",
        band_names=[t.taxon_id for t in mapped.species],
        band_descriptions=[t.scientific_name for t in mapped.species],
        scale=SCALE,
        nodata=NODATA,
        unit="1",
        tags={"title": f"Probability of presence on {run.recipe.map.plot_area:g} m2", "notice": run.recipe.notice} | sensitive_facts(run),
    )


def _coverage(run: Run, mapped: SpeciesTile, assemblage: Assemblage) -> Path:
    """Share of every 5 km reporting cell that each species' set covers, as a GeoPackage."""
    cells, rows = reporting_tables(assemblage, mapped.species, REPORTING_CELL)
    return write_coverage(run.product(mapped.tile.id, "coverage.gpkg"), cells, rows, coverage_facts(run))


def coverage_facts(run: Run) -> dict[str, str]:
    """What a file of coverage tells of itself."""
    return {
        "title": run.recipe.title,
        "notice": run.recipe.notice,
        "set_rule": SET_RULE,
        "plot_area_m2": f"{run.recipe.map.plot_area:g}",
        **sensitive_facts(run),
    }


def sensitive_facts(run: Run) -> dict[str, str]:
    """What a file of several species says of those that are sensitive: as `sensitive_species`, and how many are left out."""
    told = sensitive_traits(run) if run.recipe.sensitive else {}
    names = {taxon.taxon_id: taxon.scientific_name for taxon in stored_species(run)} if told else {}
    coarse = [f"{names[taxon]} ({taxon}). {trait['generalisation']}" for taxon, trait in told.items() if not trait.get("withheld")]
    count = sum(bool(trait.get("withheld")) for trait in told.values())
    return ({"dataGeneralizations": " | ".join(coarse)} if coarse else {}) | (
        {"informationWithheld": f"{count} species are sensitive and left out"} if count else {}
    )


def sensitive_words(run: Run) -> list[str]:
    """What the collection says of sensitive species, in a sentence; none where there are none."""
    told = sensitive_traits(run).values() if run.recipe.sensitive else ()
    silent = sum(bool(trait.get("withheld")) for trait in told)
    coarse = len(told) - silent
    words = [*([f"{coarse} told as means over squares"] if coarse else []), *([f"{silent} withheld"] if silent else [])]
    return [f"Sensitive species: {', '.join(words)}."] if words else []


def _relief(run: Run, tile_id: str) -> Path | None:
    """Hillshade of the cube's elevation; None for a recipe without any."""
    m = _relief_modality(run)
    if m is None:
        return None
    elevation = node_named(open_cube(run.cube(tile_id)), m.name)["data"].sel(band="elevation").values
    spare = m.halo - MARGIN
    inner = elevation[spare : elevation.shape[0] - spare, spare : elevation.shape[1] - spare]
    shade = hillshade(inner, run.grid.cell_size)[None]
    return write_cog(run.product(tile_id, "relief.tif"), shade, run.tile(tile_id).geobox(), band_names=["relief"], nodata=0, unit="1")


def _applicability(run: Run, mapped: SpeciesTile) -> Path | None:
    """Dissimilarity index of every mapped cell and whether it lies in the area of applicability; None where a model has none."""
    if mapped.dissimilarity is None or mapped.inside is None:
        return None
    index = encode(mapped.dissimilarity, scale=INDEX_SCALE, nodata=INDEX_NODATA, dtype="uint16").values
    inside = np.where(mapped.valid, mapped.inside, INDEX_NODATA).astype(np.uint16)
    return write_cog(
        run.product(mapped.tile.id, "applicability.tif"),
        np.stack([index, inside]),
        mapped.geobox,
        band_names=["dissimilarity_index", "inside"],
        band_descriptions=[
            "Dissimilarity index: distance to the most similar plot learnt from, 1 = mean distance of two of them",
            "1 in the area of applicability of the model, 0 where it extrapolates",
        ],
        scale=[INDEX_SCALE, 1.0],
        nodata=INDEX_NODATA,
        unit=["1", "class"],
        overview_resampling="nearest",
        tags={
            "title": "Area of applicability (Meyer & Pebesma 2021)",
            "dissimilarity_threshold": f"{mapped.dissimilarity_threshold:.6g}",
            "notice": run.recipe.notice,
        },
    )


def _relief_modality(run: Run) -> Modality | None:
    """The modality a hillshade can be drawn from: elevation on the cells, with a margin."""
    fits = (m for m in run.modalities if "elevation" in m.bands and m.resolution == run.grid.cell_size and m.halo >= MARGIN)
    return next(fits, None)


def _classes(info: IndicatorInfo) -> tuple[LegendClass, ...]:
    return tuple(
        LegendClass(value=c.value, label=f"{c.letters} {c.label}", color=c.color, fr=f"{c.letters} {c.label_fr}") for c in info.classes
    )


def layers_of(run: Run) -> list[Layer]:
    """Everything a map of this run can show, indicators first."""
    credit = "; ".join(run.recipe.attribution)
    layers, ledger = [], Ledger(run.store)
    for info in (one.info for one in chosen_indicators(run)):
        classes = _classes(info)
        layers.append(
            Layer(
                id=info.id,
                title=info.title,
                description=info.description,
                family=info.family,
                asset=info.id,
                unit=info.unit,
                scale=info.storage.scale,
                nodata=info.storage.nodata,
                range=info.range if classes else _range(info.range, ledger, run, info.id),
                palette=info.palette,
                classes=classes,
                direction=info.direction,
                fr={"title": info.fr.title, "description": info.fr.description, "direction": info.fr.direction},
                attribution=credit,
                uncertainty=_uncertainty(info, ledger, run),
                applicable=_applicable(run, info),
            )
        )
    published = [r.stats for _, tile in catalog_needs(run, "catalog") if (r := ledger.record("publish", tile))]
    layers += _uncertainty_layers(run, published, ledger, credit)
    layers += _change_layers(run, ledger, credit)
    if _relief_modality(run):
        words = "Shaded relief, lit from the north-west: the ground under the other layers."
        layers.append(
            Layer(
                id="relief",
                title="Relief",
                description=words,
                family="Terrain",
                asset="relief",
                nodata=0,
                range=(1, 255),
                palette="grey",
                direction="light = facing the light",
                fr={
                    "title": "Relief",
                    "description": "Relief ombré, éclairé du nord-ouest : le sol sous les autres couches.",
                    "direction": "clair = face à la lumière",
                },
                attribution=credit,
            )
        )
    return layers


def _uncertainty(info: IndicatorInfo, ledger: Ledger, run: Run) -> Uncertainty | None:
    """The band that says how far to trust an indicator: its standard deviation, or the probability of the class mapped."""
    if info.uncertainty:
        return Uncertainty(
            band=info.bands.index(info.uncertainty) + 1,
            title=f"{info.title}: standard deviation",
            unit=info.unit,
            scale=info.storage.scale,
            range=_range((0.0, readable_end((info.range[1] - info.range[0]) / 4, least=0.02)), ledger, run, info.uncertainty),
            direction="yellow = uncertain, blue = certain",
            fr=f"{info.fr.title} : écart-type",
        )
    if f"{info.id}_p" in info.bands:
        return Uncertainty(
            band=info.bands.index(f"{info.id}_p") + 1,
            title=f"{info.title}: probability of the class shown",
            scale=next(band.storage.scale for band in info.further if band.name == f"{info.id}_p"),
            direction="yellow = certain, blue = one of several",
            fr=f"{info.fr.title} : probabilité de la classe montrée",
        )
    return None


def _applicable(run: Run, info: IndicatorInfo) -> int | None:
    """The last band of an indicator's raster, where the model knows its area of applicability."""
    names = read_header(run.product(run.chosen[0], f"{info.id}.tif")).bands
    return len(names) if names[-1].name == APPLICABLE else None


def _uncertainty_layers(run: Run, published: Sequence[dict[str, Any]], ledger: Ledger, credit: str) -> list[Layer]:
    """Where the model extrapolates, and how far the members of an ensemble disagree on richness; what the tiles have of it."""
    layers = []
    if thresholds := [stats["dissimilarity_threshold"] for stats in published if "dissimilarity_threshold" in stats]:
        threshold = max(thresholds)
        layers += [
            Layer(
                id=APPLICABILITY,
                title="Area of applicability",
                description="Where the environment is like that of plots the model learnt from. Outside, nobody has tested its predictions: "
                "take them as extrapolation, whatever probability they state.",
                family="Uncertainty",
                asset=APPLICABILITY,
                band=2,
                unit="class",
                nodata=INDEX_NODATA,
                classes=(
                    LegendClass(
                        value=1, label="inside: like the plots learnt from", color="#1b7837", fr="dedans : comme les placettes apprises"
                    ),
                    LegendClass(value=0, label="outside: extrapolation", color="#d73027", fr="dehors : extrapolation"),
                ),
                direction="green = inside, red = extrapolation",
                fr={
                    "title": "Domaine d'applicabilité",
                    "description": "Là où l'environnement ressemble à celui des placettes dont le modèle a appris. Au-dehors, personne n'a vérifié "
                    "ses prédictions : ce sont des extrapolations, quelle que soit la probabilité annoncée.",
                    "direction": "vert = dedans, rouge = extrapolation",
                },
                attribution=credit,
            ),
            Layer(
                id="dissimilarity",
                title="Dissimilarity to the plots learnt from",
                description="Distance of a cell's environment to that of the most similar plot, predictors weighted by what they add to the "
                f"model; 1 is the mean distance of two plots. Above {threshold:.2g} the model extrapolates (Meyer & Pebesma 2021).",
                family="Uncertainty",
                asset=APPLICABILITY,
                scale=INDEX_SCALE,
                nodata=INDEX_NODATA,
                range=(0.0, readable_end(2 * threshold, least=0.02)),
                palette="viridis",
                direction=f"violet = like a plot, yellow = unlike any; the edge of the area of applicability is {threshold:.2g}",
                fr={
                    "title": "Dissemblance d'avec les placettes apprises",
                    "description": "Distance entre l'environnement de la cellule et celui de la placette la plus semblable, les prédicteurs étant "
                    f"pondérés par leur apport au modèle ; 1 est la distance moyenne de deux placettes. Au-delà de {threshold:.2g}, le modèle extrapole.",
                    "direction": f"violet = comme une placette, jaune = comme aucune ; le bord du domaine d'applicabilité est à {threshold:.2g}",
                },
                attribution=credit,
            ),
        ]
    if "richness" in run.recipe.indicators and (members := max((stats["members"] for stats in published), default=1)) > 1:
        info = indicator("richness").info
        layers.append(
            Layer(
                id="richness.spread",
                title=f"{info.title}: disagreement of models",
                description=f"Standard deviation of {info.title.lower()} between the {members} models whose mean is mapped. It shows what "
                "chance in training leaves open, and not what none of them knows.",
                family="Uncertainty",
                asset=info.id,
                band=len(info.bands) + 1,
                unit=info.unit,
                scale=spread_scale(info.storage),
                nodata=info.storage.nodata,
                range=_range((0.0, 1.0), ledger, run, spread_band(info.id)),
                palette="viridis",
                direction="yellow = models disagree, violet = they agree",
                fr={
                    "title": f"{info.fr.title} : désaccord des modèles",
                    "description": f"Écart-type entre les {members} modèles dont la moyenne est cartographiée. Il montre ce que le hasard de "
                    "l'apprentissage laisse ouvert, et non ce qu'aucun ne sait.",
                    "direction": "jaune = les modèles divergent, violet = ils s'accordent",
                },
                attribution=credit,
            )
        )
    return layers


def _change_layers(run: Run, ledger: Ledger, credit: str) -> list[Layer]:
    """What a scenario gains and loses against the recipe's own map; none for a run that is no scenario."""
    if not run.scenario:
        return []
    against, compared = (
        f"Against today's map, under {run.recipe.title}.",
        f"Par rapport à la carte d'aujourd'hui, selon {run.recipe.title}.",
    )
    told = (
        ("gain", "Species gained", f"How many species the place becomes fit for. That they arrive is not said. {against}", "greens", "dark green = fit for many new species", ("Espèces gagnées", f"Pour combien d'espèces le lieu devient favorable. Il n'est pas dit qu'elles arrivent. {compared}", "vert foncé = favorable à beaucoup de nouvelles espèces")),
        ("loss", "Species lost", f"How many species the place is no longer fit for. {against}", "magma", "pale yellow = many species lost", ("Espèces perdues", f"Pour combien d'espèces le lieu n'est plus favorable. {compared}", "jaune pâle = beaucoup d'espèces perdues")),
        ("turnover", "Turnover of the flora", f"How unlike the expected flora becomes: 0 is the same, 1 has nothing in common. {against}", "viridis", "yellow = another flora", ("Renouvellement de la flore", f"À quel point la flore attendue devient différente : 0, la même ; 1, rien en commun. {compared}", "jaune = une autre flore")),
    )  # fmt: skip
    records = [r.stats for tile in run.tiles if (r := ledger.record(CHANGES.name, tile))]
    layers = []
    for band, (name, title, description, palette, direction, (title_fr, description_fr, direction_fr)) in enumerate(told, 1):
        highest = [stats[name][2] for stats in records if stats.get(name)]
        layers.append(
            Layer(
                id=f"{CHANGE}.{name}",
                title=title,
                description=description,
                family="Ecosystem",
                asset=CHANGE,
                band=band,
                unit="1" if name == "turnover" else "species",
                scale=SHARE_SCALE if name == "turnover" else COUNT_SCALE,
                nodata=CHANGE_NODATA,
                range=(0.0, readable_end(max(highest, default=1.0), least=0.02)),
                palette=palette,
                direction=direction,
                fr={"title": title_fr, "description": description_fr, "direction": direction_fr},
                attribution=credit,
            )
        )
    return layers


def _range(declared: tuple[float, float], ledger: Ledger, run: Run, name: str) -> tuple[float, float]:
    """Ends of an indicator's palette: where its values lie on the run's tiles; from zero unless they are all far above it."""
    spreads = [r.stats[name] for tile in run.tiles if (r := ledger.record("indicators", tile)) and r.stats.get(name)]
    if not spreads:
        return declared
    low, high = min(s[0] for s in spreads), max(s[2] for s in spreads)
    low = 0.0 if low < high / 2 else math.floor(low * 10) / 10
    return low, max(readable_end(high, least=0.02), low + 0.1)


def catalog_settings(run: Run) -> Callable[[str], object]:
    """The words of the catalog and of every layer, how they were made, and that it has overviews."""
    r, sensitive = run.recipe, rules_by_tile(run)
    return lambda key: [
        "overviews",
        made_of(run),
        *([] if run.base else [counted_from(run)]),
        r.title,
        r.description,
        r.notice,
        r.fr.model_dump(),
        r.licence,
        r.attribution,
        r.indicators,
        r.map.plot_area,
        r.publish.model_dump(),
        *([sorted(map(repr, {rule for own in sensitive.values() for rule in own}))] if sensitive else []),
    ]


def catalog_needs(run: Run, key: str) -> list[tuple[str, str]]:
    """Every tile published with today's species axis and today's rules for sensitive species: band k of another axis would be another species,
    and a tile that was mapped under other rules may tell what nobody may know any more.
    """
    ledger, axis, sensitive = Ledger(run.store), stored_species(run).hash, rules_by_tile(run)
    made = [(tile, record.stats) for tile in run.tiles if (record := ledger.record("publish", tile))]
    return [
        ("publish", tile) for tile, stats in made if stats["species"] == axis and stats.get(SEAL, "") == seal(sensitive.get(tile, ()))
    ] or [("publish", run.tiles[0])]


def catalog_work(run: Run, key: str, inside: Inside) -> Made:
    """Commit the collection and the catalog, the last files of a run."""
    tiles = [tile for _, tile in catalog_needs(run, key)]
    items = [run.store / "tiles" / tile / f"{tile}.json" for tile in tiles]
    r = run.recipe
    layers, species = layers_of(run), stored_species(run)
    overviews = write_overviews(run.store, items, layers, species=species, traits=traits_told(run))
    products = [] if run.base else [write_records(run, tiles)]  # a scenario's records are its base's
    path = write_catalog(
        run.store,
        title=r.title,
        description=" ".join([r.description or r.title, *sensitive_words(run)]),
        notice=r.notice,
        layers=layers,
        items=items,
        license=r.licence,
        overviews=overviews,
        made=made_of(run),
        fr={name: text for name, text in r.fr.model_dump().items() if text},
        products=products,
    )
    made = [*overviews.values(), *(record for one in overviews.values() if (record := one.with_suffix(".json")).is_file())]
    made += [product.path for product in products]
    return [path, run.store / "tiles" / "collection.json", *made], {"tiles": len(items)}


def describe(stats: dict[str, Any]) -> str:
    """Size of the tile's products."""
    return f"{stats['bytes'] / 1e6:.0f} MB"


PUBLISH: Stage[Run] = Stage("publish", keys=lambda run: run.chosen, settings=settings, needs=needs, work=work, describe=describe)
CATALOG: Stage[Run] = Stage(
    "catalog", keys=lambda run: ("catalog",), settings=catalog_settings, needs=catalog_needs, work=catalog_work, of_tiles=False
)
