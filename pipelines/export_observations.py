"""`geoplantnet observations export`: the trusted records of a store -> Darwin Core Archive, GeoParquet or GeoPackage, by the suffix of the output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from geoplantnet.errors import InputError, UsageError
from pipelines.observations import StoreArg, open_store, require_people

if TYPE_CHECKING:
    from geoplantnet.identify.calibration import Calibration
    from geoplantnet.identify.export import ExportReport, ExportRules
    from geoplantnet.identify.floras import Floras
    from geoplantnet.identify.protection import Protection
    from geoplantnet.identify.quality import TrustRules
    from geoplantnet.occurrences.archive import DatasetDescription

ABOUT = (
    "Occurrences of plants from people's photos. Labels are made from weighted votes, or stand on the calibrated score of a model; "
    "basisOfRecord and identificationVerificationStatus say which."
)


class Records(Protocol):
    """What is asked of a store."""

    def records(self) -> Iterator[pd.DataFrame]:
        """Chunks of `RECORD_COLUMNS`."""
        ...

    def taxa(self) -> pd.DataFrame:
        """taxonID, scientificName, genus, family."""
        ...


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was made, and the books: read by quality = `left_out` + what the report read = written + refused."""

    path: Path
    rows: int
    read: int
    left_out: Mapping[str, int]
    """By quality, by reason."""
    report: ExportReport
    cells_cleaned: int


def export_observations(
    store: Records,
    output: Path,
    description: DatasetDescription,
    rules: ExportRules,
    trust: TrustRules,
    *,
    protection: Protection | None = None,
    calibrations: Mapping[str, Calibration] | None = None,
    floras: Floras | None = None,
) -> Exported:
    """Write what `trust` trusts of a store. Raises UsageError for another suffix, and as `write_archive` and `write_points`."""
    from geoplantnet.catalog.points import SUFFIXES, write_points
    from geoplantnet.identify.export import CORE, Export, write_darwin_core
    from geoplantnet.identify.quality import trusted
    from geoplantnet.identify.regions import countries

    if output.suffix not in (".zip", *SUFFIXES):
        raise UsageError(f"{output} ends in none of .zip (Darwin Core Archive), {', '.join(SUFFIXES)}; say the format by the name")
    taxa = store.taxa()
    kept = trusted(store.records(), trust, calibrations=calibrations, floras=floras, land=countries(), names=taxa)
    export = Export(kept, rules, protection=protection, names=dict(zip(taxa["taxonID"], taxa["scientificName"], strict=True)))
    cleaned = 0
    if output.suffix == ".zip":
        written = write_darwin_core(output, export, description)
        rows, cleaned = written.rows[CORE.file], written.cells_cleaned
    else:
        facts = {
            "title": description.title,
            "description": description.description,
            "publisher": description.organization,
            "license": description.license_url,
            "published": description.published.isoformat(),
        }
        rows = write_points(output, (chunk[CORE.file] for chunk in export), facts)
    return Exported(path=output, rows=rows, read=kept.read, left_out=kept.counts, report=export.report, cells_cleaned=cleaned)


def command(
    store: StoreArg,
    output: Annotated[Path, typer.Option("--output", help="Where to: .zip (Darwin Core Archive), .parquet (GeoParquet) or .gpkg.")],
    title: Annotated[str, typer.Option(help="Of the data set.")],
    organization: Annotated[str, typer.Option(help="Who publishes it, and holds the rights where a record names nobody.")],
    license: Annotated[str, typer.Option(help="CC0-1.0, CC-BY-4.0 or CC-BY-NC-4.0; a record's own comes first.")],
    description: Annotated[str, typer.Option(help="A few sentences.")] = ABOUT,
    email: Annotated[str, typer.Option(help="Where to write to.")] = "",
    url: Annotated[str, typer.Option(help="Home page.")] = "",
    dataset_id: Annotated[str, typer.Option("--dataset-id", help="DOI, UUID or URL of the data set.")] = "",
    published: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Of publication; default: today (UTC).")
    ] = None,
    images: Annotated[str, typer.Option(help="Address of an image, with {sha256}; default: images are not published.")] = "",
    sensitive: Annotated[Path | None, typer.Option(help="Table of sensitive species (CSV), told in squares or not at all.")] = None,
    secret: Annotated[
        Path | None, typer.Option(help="File of 16 random bytes or more, kept: from it the ids of sensitive records are made.")
    ] = None,
    calibrations: Annotated[Path | None, typer.Option(help="Of the models (JSON); without it no record is trusted for a score.")] = None,
    floras: Annotated[Path | None, typer.Option(help="Checklists by country (CSV: region, taxonID, status).")] = None,
    score: Annotated[float, typer.Option(help="Calibrated score above which a model is trusted.")] = 0.95,
    determinations: Annotated[int, typer.Option(min=1, help="People's votes that a valid label needs.")] = 1,
    max_uncertainty: Annotated[float, typer.Option("--max-uncertainty", help="Of coordinates, metres.")] = 10_000.0,
) -> None:
    """Publish the trusted records of a store. What is left out is counted by reason."""
    from geoplantnet.identify.calibration import load_calibrations
    from geoplantnet.identify.export import ExportRules
    from geoplantnet.identify.floras import Floras
    from geoplantnet.identify.quality import TrustRules
    from geoplantnet.identify.regions import countries
    from geoplantnet.occurrences.archive import DatasetDescription

    about = DatasetDescription(
        title=title,
        description=description,
        organization=organization,
        license=license,
        published=(published or datetime.now(UTC)).date(),
        dataset_id=dataset_id,
        email=email,
        url=url,
    )
    rules = ExportRules(license=about.license_url, rights_holder=organization, dataset_name=title, images=images, ai_score=score)
    trust = replace(TrustRules(), ai_score=score, determinations=determinations, max_uncertainty=max_uncertainty)
    protection = _protection(sensitive, secret)
    with open_store(store) as opened:
        require_people(opened)
        done = export_observations(
            opened,
            output,
            about,
            rules,
            trust,
            protection=protection,
            calibrations=load_calibrations(calibrations) if calibrations else None,
            floras=Floras.read(floras, countries()) if floras else None,
        )
    _tell(done, protected=protection is not None)


def _protection(sensitive: Path | None, secret: Path | None) -> Protection | None:
    from geoplantnet.identify.protection import Protection
    from geoplantnet.taxonomy.sensitive import read_sensitive

    if sensitive is None:
        return None
    if secret is None:
        raise UsageError("--sensitive needs --secret: a file that is kept; make one by `head -c 32 /dev/urandom > secret.key`")
    try:
        return Protection(rules=read_sensitive(sensitive), secret=secret.read_bytes())
    except OSError as error:
        raise InputError(f"{secret} cannot be read ({error.strerror}); make a secret by `head -c 32 /dev/urandom > {secret}`") from error


def _tell(done: Exported, *, protected: bool) -> None:
    """The books, and what the publisher should know of them."""
    console, table = Console(highlight=False), Table("records", "count")
    table.columns[1].justify = "right"
    table.add_row("read", f"{done.read:,}")
    for reason, count in [*done.left_out.items(), *sorted(done.report.refused.items())]:
        table.add_row(f"left out: {reason}", f"{count:,}")
    for basis, count in sorted(done.report.written.items()):
        table.add_row(f"written: {basis}", f"{count:,}")
    table.add_row("of them in squares", f"{done.report.generalised:,}")
    console.print(table)
    console.print(f"{done.path}: {done.rows:,} records", markup=False, soft_wrap=True)
    warn = Console(stderr=True, highlight=False, soft_wrap=True)
    if not protected:
        warn.print("No table of sensitive species was given (--sensitive): every place is told as it is.", markup=False)
    for taxon in done.report.unmatched:
        warn.print(f"The rule of {taxon!r} is of no taxon of the store: is it spelt right? It protects nobody.", markup=False)
