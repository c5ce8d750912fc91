"""`geoplantnet observations`: the store of observations and votes, from the command line."""

from __future__ import annotations

import csv
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from geoplantnet.errors import InputError, IntegrityError, UsageError
from geoplantnet.storage import sha256
from geoplantnet.taxonomy import Taxon

if TYPE_CHECKING:
    from geoplantnet.identify.observations import Aggregated, Counted, ObservationStore
    from geoplantnet.identify.votes import Strategy

app = typer.Typer(help="Observations and votes: a store of them, the labels made of them, and why.", no_args_is_help=True)

StoreArg = Annotated[str, typer.Argument(help="A SQLite file, or postgresql+psycopg://host/database.")]
ImagesOption = Annotated[
    str | None, typer.Option("--images", help="Where images lie: a folder or an fsspec address; default: beside the file.")
]
_ROWS = 200_000
"""Rows of a file that are stored in one transaction."""


def open_store(store: str, images: str | None = None, *, create: bool = False) -> ObservationStore:
    """A store, opened by a machine that may lack what it needs. Raises UsageError that says what to install."""
    try:
        module = importlib.import_module("geoplantnet.identify.observations")
    except ModuleNotFoundError as error:
        raise UsageError(f"this verb needs the identify extra ({error.name} is missing): pip install 'geoplantnet[identify]'") from error
    opened: ObservationStore = module.ObservationStore.open(store, images=images, create=create)
    return opened


def require_people(store: ObservationStore) -> None:
    """Raises UsageError where a model has voted on a store's labels: one newcomer and the model make a label valid, which people alone did not."""
    state = store.state()
    mode = state.parameters.get("ai") if state else None
    if mode in ("fixed", "confident"):
        raise UsageError(
            f"the labels of {store.name} were made with a model's vote (ai={mode}), so a valid one is not yet validated by people; "
            "make them with `geoplantnet observations aggregate --set ai=ignored`, or ai=invalidating"
        )


@app.command()
def init(
    store: StoreArg,
    taxa: Annotated[
        Path | None, typer.Option("--taxa", help="CSV of what may be determined: taxonID, scientificName, genus, family.")
    ] = None,
    checklist: Annotated[str, typer.Option("--checklist", help="The checklist these ids belong to, with its version.")] = "",
    images: ImagesOption = None,
) -> None:
    """Make a store, or bring an older one to this version; add taxa."""
    if taxa is not None and not checklist:
        raise UsageError("--taxa needs --checklist: an id means something in its checklist alone")
    with open_store(store, images, create=True) as opened:
        new = opened.add_taxa(checklist, _taxa(taxa)) if taxa is not None else 0
        _say(f"{opened.name}: {opened.statistics()['taxa']:,} taxa, {new:,} of them new")


@app.command("import")
def import_files(
    store: StoreArg,
    observations: Annotated[
        Path | None, typer.Option("--observations", help="CSV or Parquet; columns as the fields of an Observation.")
    ] = None,
    votes: Annotated[Path | None, typer.Option("--votes", help="CSV or Parquet; columns as the fields of a Vote.")] = None,
    predictions: Annotated[Path | None, typer.Option("--predictions", help="CSV or Parquet: observation_id, taxon_id, score.")] = None,
    model: Annotated[str, typer.Option("--model", help="Name and version of the model that predicts, as name:version.")] = "",
    photos: Annotated[
        Path | None, typer.Option("--photos", help="CSV of --observations' photos: observation_id, file (relative to it), organ.")
    ] = None,
    images: ImagesOption = None,
) -> None:
    """Take in files; bad rows are counted by reason. What was cut off is imported again, and nothing is stored twice."""
    if observations is votes is predictions is None:
        raise UsageError("nothing to import; give --observations, --votes or --predictions")
    name, _, version = model.partition(":")
    if predictions is not None and not (name and version):
        raise UsageError(f"--predictions needs --model name:version, not {model!r}")
    if photos is not None and observations is None:
        raise UsageError("--photos needs --observations: an observation is stored together with its photos")
    with open_store(store, images) as opened:
        from geoplantnet.identify.observations import ModelVersion
        from geoplantnet.identify.observations.store import OBSERVATION_COLUMNS, PREDICTION_COLUMNS, VOTE_COLUMNS

        if observations is not None:
            shown = _photos_of(photos) if photos is not None else {}
            named: set[str] = set()

            def add(rows: pd.DataFrame) -> Counted:
                named.update(rows.get("observation_id", ()))
                return _with_photos(opened, rows, shown) if shown else opened.add_observations(rows)

            _import("observations", observations, add, OBSERVATION_COLUMNS)
            if strange := sorted(shown.keys() - named):
                _say(f"  {len(strange):,} observations with photos are not in {observations}, such as {strange[0]}")
        if votes is not None:
            _import("votes", votes, opened.add_votes, VOTE_COLUMNS, keyed=True)
        if predictions is not None:
            said_by = ModelVersion(name=name, version=version)
            _import("predictions", predictions, lambda rows: opened.add_predictions(said_by, rows), PREDICTION_COLUMNS)


@app.command()
def aggregate(
    store: StoreArg,
    strategy: Annotated[
        str, typer.Option("--strategy", help="plantnet, plantnet-anchored, majority, ...; default: the one of the stored labels.")
    ] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy, such as gamma=0.8 (may be repeated).")
    ] = None,
) -> None:
    """Make labels and weights from the whole log."""
    with open_store(store) as opened:
        state = opened.state()
        name = strategy or (state.strategy if state is not None else "plantnet")
        _told(opened.aggregate(_strategy(name, parameter or []) if strategy or parameter else None))


@app.command()
def update(store: StoreArg) -> None:
    """Take in what was logged since, by the same rule."""
    with open_store(store) as opened:
        _told(opened.update())


@app.command()
def weight(
    store: StoreArg,
    user: Annotated[str, typer.Argument(help="An account.")],
    fixed: Annotated[float | None, typer.Option("--fixed", help="The weight, whatever is found.")] = None,
    minimal: Annotated[float | None, typer.Option("--minimal", help="The weight does not fall below it.")] = None,
) -> None:
    """Set a user's weight; without an option what was set is taken back. It counts from the next update."""
    with open_store(store) as opened:
        opened.set_weight(user, fixed=fixed, minimal=minimal)
        _say(_lines(opened.user(user)))


@app.command()
def withdraw(
    store: StoreArg,
    observation: Annotated[str, typer.Argument(help="Id of an observation.")],
    images: ImagesOption = None,
) -> None:
    """Take an observation back in its author's name, for good: out of every record and list, its photos removed. The log keeps that it was."""
    with open_store(store, images) as opened:
        new = opened.withdraw(observation)
    _say(f"observation {observation} {'is withdrawn; make products and indexes of photos anew' if new else 'was withdrawn before'}")


@app.command()
def show(
    store: StoreArg,
    observation: Annotated[str | None, typer.Option("--observation", help="Id of an observation: why this label?")] = None,
    user: Annotated[str | None, typer.Option("--user", help="An account: what does it weigh, and what did it say?")] = None,
) -> None:
    """Tell all about one observation or user."""
    if (observation is None) == (user is None):
        raise UsageError("say of what: --observation ID or --user ID")
    with open_store(store) as opened:
        if user is not None:
            _say(_lines(opened.user(user)))
            return
        assert observation is not None
        record, state = opened.record(observation), opened.state()
        _say(_lines({name: value for name, value in record.items() if value not in ("", 0.0) and value == value}))
        _table(opened.history(observation))
        _say("no labels yet: aggregate" if state is None else _rule(state.strategy, state.parameters))


@app.command()
def status(store: StoreArg) -> None:
    """How many there are of each, and what the labels stand for."""
    with open_store(store) as opened:
        counts, state = opened.statistics(), opened.state()
        _say(_lines({"store": opened.name, **counts}))
        if state is None:
            _say("no labels yet: aggregate")
            return
        behind = counts["logged"] - state.logged
        _say(f"labels of {state.at:%Y-%m-%d %H:%M} UTC, {'up to date' if not behind else f'{behind:,} acts behind: update'}")
        _say("\n".join([_rule(state.strategy, state.parameters), *state.notes]))


@app.command()
def verify(store: StoreArg, images: ImagesOption = None) -> None:
    """Look at all of a store: log, labels, images. Ends with 6 where something is wrong."""
    with open_store(store, images) as opened:
        found, name = opened.verify(), opened.name
    if not found.sound:
        raise IntegrityError(f"{name}: {'; '.join(found.damage)}")
    _say(f"sound: {found.acts:,} acts, labels made again up to act {found.replayed.acts:,}, {found.images:,} images")
    if found.unnamed_images:
        _say(f"{found.unnamed_images:,} image files belong to no observation; they do no harm")


def _import(what: str, file: Path, add: Callable[[pd.DataFrame], Counted], known: Sequence[str], *, keyed: bool = False) -> None:
    """A file, part by part, each in a transaction of its own. Votes without a key get one from file and row: sent again, they are known."""
    kept = repeated = first = 0
    rejected: Counter[str] = Counter()
    examples: dict[str, str] = {}
    unread: list[str] = []
    digest = sha256(file)[:16] if file.is_file() else ""
    for part in _parts(file):
        unread = [str(column) for column in part if column not in known]
        if keyed:
            own = pd.Series([f"{digest}:{row}" for row in range(first, first + len(part))], index=part.index)
            given = part["key"].fillna("") if "key" in part else pd.Series("", index=part.index)
            part["key"] = given.where(given != "", own)
        counted = add(part)
        rejected.update(counted.rejected)
        for reason, example in counted.examples.items():
            examples.setdefault(reason, f"after row {first:,}, {example}" if first else example)
        kept, repeated, first = kept + counted.kept, repeated + counted.repeated, first + len(part)
    _say(f"{file}: {kept:,} {what} stored, {repeated:,} known, {sum(rejected.values()):,} refused of {first:,}")
    if unread:
        _say(f"  columns not read: {', '.join(unread)}; those of {what} are {', '.join(known)}")
    for reason, count in rejected.most_common():
        _say(f"  {count:,} x {reason}; first {examples[reason]}")


def _photos_of(file: Path) -> dict[str, list[tuple[Path, str]]]:
    """Files of the photos of each observation, and what they show. Raises InputError for a table that names none."""
    table = pd.concat(list(_parts(file)), ignore_index=True)
    if missing := [name for name in ("observation_id", "file") if name not in table]:
        raise InputError(f"{file} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    found: dict[str, list[tuple[Path, str]]] = {}
    for one, name, organ in zip(table["observation_id"], table["file"], table.get("organ", pd.Series("", index=table.index)), strict=True):
        found.setdefault(one, []).append((file.parent / name, organ or "auto"))
    return found


def _with_photos(store: ObservationStore, rows: pd.DataFrame, photos: Mapping[str, Sequence[tuple[Path, str]]]) -> Counted:
    """Store observations one by one, each with its photos; one whose photos cannot all be read is refused."""
    from geoplantnet.identify.observations import Image, Observation
    from geoplantnet.identify.observations.acts import RefusedAct, Tally
    from geoplantnet.identify.observations.store import OBSERVATION_COLUMNS

    if missing := [column for column in ("observation_id", "user_id") if column not in rows]:
        raise InputError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, rows.columns))}")
    tally = Tally()
    for number, row in enumerate(rows.to_dict("records")):
        said = {column: row[column] for column in OBSERVATION_COLUMNS if column in row and pd.notna(row[column])}
        known = store.holds(row["observation_id"])
        try:
            shown = [Image(data=file.read_bytes(), organ=organ) for file, organ in photos.get(row["observation_id"], ())]
            store.add_observation(Observation(**said), shown)
        except RefusedAct as refused:
            tally.refuse(number, refused)
        except (OSError, InputError) as error:
            tally.refuse(number, RefusedAct("photo cannot be stored", str(error)))
        else:
            tally.repeated += known
            tally.kept += not known
    return tally.counted()


def _parts(file: Path) -> Iterator[pd.DataFrame]:
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            yield from (batch.to_pandas() for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} is no Parquet file, or a damaged one: {error}") from error
        return
    try:
        yield from _csv_parts(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is no CSV in UTF-8 with a header: {error}") from error


def _csv_parts(file: Path) -> Iterator[pd.DataFrame]:
    """A CSV of which every row has a cell a column: of a row that was cut short an empty value would be a withdrawal."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        header = next(reader, [])
        if not header or len(set(header)) < len(header):
            raise csv.Error("the first line is to name every column once")
        rows: list[list[str]] = []
        for row in reader:
            if not row:  # an empty line
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{file}:{reader.line_num}: {len(row)} cells, the header has {len(header)}; mend the row, then import again"
                )
            rows.append(row)
            if len(rows) == _ROWS:
                yield pd.DataFrame(rows, columns=header, dtype=str)
                rows = []
        yield pd.DataFrame(rows, columns=header, dtype=str)


def _taxa(file: Path) -> list[Taxon]:
    table = pd.concat(list(_parts(file)), ignore_index=True)
    if missing := [name for name in ("taxonID", "scientificName") if name not in table]:
        raise InputError(f"{file} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    more = {name: table[name] if name in table else pd.Series("", index=table.index) for name in ("genus", "family")}
    rows = zip(table["taxonID"], table["scientificName"], more["genus"], more["family"], strict=True)
    return [Taxon(taxon_id=i, scientific_name=name, genus=genus or name.split(" ")[0], family=family) for i, name, genus, family in rows]


@app.command()
def simulate(
    recipe: Annotated[str, typer.Argument(help="A recipe with a virtual world: a YAML file, or the name of a shipped one (demo).")],
    store: StoreArg,
    observations: Annotated[int, typer.Option("--observations", min=1, help="How many.")] = 5_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other people.")] = 0,
    experts: Annotated[int, typer.Option("--experts", min=0, help="People who know most species.")] = 12,
    amateurs: Annotated[int, typer.Option("--amateurs", min=0, help="People who know some.")] = 180,
    spammers: Annotated[int, typer.Option("--spammers", min=0, help="Accounts that name at random, or all alike.")] = 8,
) -> None:
    """Fill a new store with simulated observers of a recipe's virtual world, their votes and a model's predictions; make labels."""
    from geoplantnet.identify.simulated import Crowd  # here, as what follows: most verbs need no virtual world
    from pipelines.context import Run
    from pipelines.simulate import simulate as fill

    made = fill(
        Run.open(recipe), store, observations=observations, seed=seed, crowd=Crowd(experts=experts, amateurs=amateurs, spammers=spammers)
    )
    right = f", {100 * made.right / made.valid:.1f} % of them true" if made.valid else ""
    _say(
        f"{made.store}: {made.users:,} observers, {made.observations:,} observations, {made.votes:,} votes; {made.valid:,} valid labels{right}"
    )


def _strategy(name: str, parameters: list[str]) -> Strategy:
    from geoplantnet.identify.observations.labels import strategy_named

    values: dict[str, Any] = {}
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        if not (key and text):
            raise UsageError(f"--set {parameter!r} is no parameter; write it as gamma=0.8")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return strategy_named(name, values)


def _told(made: Aggregated) -> None:
    state = made.state
    end = "a fixed point" if state.converged else f"a cycle of {state.cycle}" if state.cycle else "no fixed point"
    _say(f"{made.valid:,} valid labels, {made.labelled:,} in all, of {made.observations:,} observations")
    _say(f"{made.changed:,} are others than before, {made.users_changed:,} users weigh otherwise; {state.iterations} iterations to {end}")
    _say("\n".join([_rule(state.strategy, state.parameters), *state.notes]))


def _rule(strategy: str, parameters: Mapping[str, Any]) -> str:
    return f"by {strategy}" + (f" ({', '.join(f'{name} {value}' for name, value in parameters.items())})" if parameters else "")


def _lines(values: Mapping[str, Any]) -> str:
    width = max(map(len, values))
    return "\n".join(f"{name:<{width}}  {_word(value)}" for name, value in values.items())


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _table(rows: pd.DataFrame) -> None:
    table = Table()
    for column in rows.columns:
        table.add_column(column)
    for row in rows.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    Console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if value != value else f"{value:.3f}"
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, pd.Timestamp) else str(value)


def _say(text: str) -> None:
    typer.echo(text)
