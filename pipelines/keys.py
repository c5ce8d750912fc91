"""`geoplantnet keys`: who may see the private layers of a server, and how often."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from geoplantnet.config.load import find_recipe, load_recipe
from geoplantnet.errors import UsageError

if TYPE_CHECKING:
    from geoplantnet.serving.guard.keys import KeyRing

app = typer.Typer(help="API keys of a server: add, list, revoke.", no_args_is_help=True)

RecipeArg = Annotated[str, typer.Argument(help="A recipe, whose `serving.keys` names the file of keys; - with --file.")]
NameArg = Annotated[str, typer.Argument(help="Whose key it is; told in the server's log.")]
FileOption = Annotated[Path | None, typer.Option("--file", help="File of keys; instead of the recipe's.")]


@app.command()
def add(
    recipe: RecipeArg,
    name: NameArg,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", help="Private layers it opens: an id or a pattern such as 'species.*' (may be repeated)."),
    ] = None,
    quota: Annotated[int | None, typer.Option("--quota", min=1, help="Requests a day (UTC); default: as many as asked.")] = None,
    expires: Annotated[
        datetime | None, typer.Option("--expires", formats=["%Y-%m-%d"], help="First day (UTC) it is worth nothing; default: never.")
    ] = None,
    file: FileOption = None,
) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    ring = _open(recipe, file, create=True)
    token = ring.add(name, layers=tuple(layers or ()), quota=quota, expires=expires.replace(tzinfo=UTC) if expires else None)
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"The key of {name}, kept in {ring.file} as a hash. It is not shown again; send it as header X-API-Key:", markup=False
    )
    typer.echo(token)


@app.command("list")
def list_keys(recipe: RecipeArg, file: FileOption = None) -> None:
    """Name all keys: what they open, what was used of them today."""
    now = datetime.now(UTC)
    table = Table()
    for column in ("name", "layers", "quota a day", "used today", "made", "expires", "state"):
        table.add_column(column, justify="right" if column in ("quota a day", "used today") else "left")
    for key in _open(recipe, file).keys(now=now):
        quota = "" if key.quota is None else f"{key.quota:,}"
        until = f"{key.expires:%Y-%m-%d}" if key.expires else "never"
        table.add_row(key.name, ", ".join(key.layers), quota, f"{key.used:,}", f"{key.created:%Y-%m-%d}", until, key.state(now))
    Console().print(table)


@app.command()
def revoke(recipe: RecipeArg, name: NameArg, file: FileOption = None) -> None:
    """Make a key worthless from the next request on. The name stays taken: it stands in logs."""
    _open(recipe, file).revoke(name)
    Console(highlight=False, soft_wrap=True).print(f"{name}: revoked", markup=False)


def _open(recipe: str, file: Path | None, *, create: bool = False) -> KeyRing:
    try:
        from geoplantnet.serving.guard.keys import KeyRing
    except ImportError as error:
        raise UsageError(f"keys need the serving extra ({error.name} is missing): pip install 'geoplantnet[serving]'") from error
    chosen = file or load_recipe(found := find_recipe(recipe)).serving.keys
    if chosen is None:
        raise UsageError(f"{found} names no file of keys; add `serving: {{keys: keys.sqlite}}`, or give --file")
    return KeyRing(chosen, create=create)
