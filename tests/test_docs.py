"""The documents say what is true: code that runs, links that lead somewhere, names that exist."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoplantnet.config.load import load_cube_recipe, load_modality, modality_folders
from geoplantnet.errors import GeoPlantNetError

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("geoplantnet/**/*.md")) if "node_modules" not in p.parts
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_DOTTED = re.compile(r"`((?:geoplantnet|pipelines)(?:\.\w+)+)`")
_SCENARIO = re.compile(r"geoplantnet \w+ ([a-z]+) [^\n`]*--scenario ([\w-]+)")
_RECIPE = re.compile(r"configs/[\w/]+\.yaml")


def pages(*, of: list[Path]) -> Any:
    return pytest.mark.parametrize("page", of, ids=lambda p: p.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def resolve(dotted: str) -> Any:
    """What a dotted name means: a module, or an attribute of one."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if not dotted.startswith(error.name or " "):
                raise
            continue
        for name in parts[n:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


def test_readme_python_runs_offline_and_prints_what_the_readme_shows():
    """The README's Python, run as it stands, prints the lines below it (numbers within 0.2, for another processor's last bits)."""
    found = re.search(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", README, re.DOTALL)
    assert found is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found[1], "README.md", "exec"), {})
    number = re.compile(r"\d+(?:\.\d+)?")
    shown = [[float(n) for n in number.findall(line)] for line in found[2].splitlines()]
    given = [[float(n) for n in number.findall(line)] for line in printed.getvalue().splitlines()]
    assert len(given) == len(shown) > 3
    for got, wanted in zip(given, shown, strict=True):
        assert got == pytest.approx(wanted, abs=0.2)


def test_every_python_block_is_python():
    """Every other block of Python in the documents at least compiles."""
    blocks = [(page, code) for page in PAGES for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]
    assert len(blocks) >= 4
    for page, code in blocks:
        compile(code, page.name, "exec")


@pages(of=PAGES)
def test_relative_links_lead_to_files(page):
    """Every relative link of a page leads to a file of the repository, and its anchor to a heading."""
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}, which is not there"
        assert linked.is_relative_to(ROOT), f"{page.name} links out of the repository: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}; {linked.name} has {sorted(anchors(linked))}"


@pages(of=PAGES)
def test_named_code_exists(page):
    """Every dotted name of ours in a page can be imported: the walks lead through real functions."""
    for dotted in _DOTTED.findall(page.read_text(encoding="utf-8")):
        assert resolve(dotted) is not None


def test_readme_test_command_is_what_ci_calls():
    """`make test` stands in the README, is what .ci/run calls, and is a verb of the Makefile."""
    commands = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    make ")]
    assert "make test" in commands
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in script if line.startswith("make")] == ["make test"]
    verbs = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page in PAGES:
        for verb in re.findall(r"(?:^    |`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert verb in verbs, f"{page.name} names `make {verb}`; the Makefile has {verbs}"


def test_named_commands_are_verbs():
    """Every `geoplantnet VERB` in a page is a verb of the command line."""
    import typer

    from pipelines.cli import app

    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        for verb in re.findall(r"(?:^    |`)geoplantnet ([a-z]+)\b", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert verb in verbs, f"{page.name} names `geoplantnet {verb}`"


def test_named_scenarios_are_of_the_recipe_beside_them():
    """`geoplantnet VERB RECIPE ... --scenario NAME` names a scenario of that shipped recipe."""
    lines = [found for page in PAGES for found in _SCENARIO.findall(page.read_text(encoding="utf-8"))]
    assert lines
    for recipe, name in lines:
        known = yaml.safe_load((ROOT / "configs" / f"{recipe}.yaml").read_text(encoding="utf-8")).get("scenarios", {})
        assert name in known, f"{recipe} has no scenario {name!r}, it has {sorted(known)}"


def test_named_recipes_exist_and_are_sound(tmp_path):
    """Every recipe a page names, and every one shipped, can be read with its modalities."""
    named = {ROOT / name for page in PAGES for name in _RECIPE.findall(page.read_text(encoding="utf-8"))}
    assert all(file.is_file() for file in named), f"named but not there: {sorted(p.name for p in named if not p.is_file())}"
    for file in (ROOT / "configs").glob("*.yaml"):
        recipe = load_cube_recipe(file, data=tmp_path)
        for name, section in recipe.modalities.items():
            assert load_modality(section.definition, modality_folders(file), key=name).name == name


def test_exit_codes_of_the_operator_page_are_those_of_the_errors():
    """The operator's table of exit codes holds every code an error of ours can end with."""
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "operator.md").read_text(encoding="utf-8"), re.MULTILINE)

    def codes(kind: type[GeoPlantNetError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(child) for child in kind.__subclasses__()))

    assert {int(row) for row in rows} >= codes(GeoPlantNetError) | {0, 130}


@pages(of=DECISIONS)
def test_decisions_say_need_choice_and_cost(page):
    """A decision is named NNN-title.md, is titled by its number, and says need, choice and cost, each once and in this order."""
    text = page.read_text(encoding="utf-8")
    number = re.fullmatch(r"(\d{3})-[a-z0-9-]+\.md", page.name)
    assert number is not None
    assert text.startswith(f"# {number[1]} ")
    assert re.findall(r"^\*\*(\w+)\.\*\* \S", text, re.MULTILINE) == ["Need", "Choice", "Cost"]


def test_decisions_are_numbered_without_gaps():
    """001, 002 ..."""
    assert [int(p.name[:3]) for p in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_no_figure_is_left_to_be_filled_in():
    """No marker such as <<AUC>> is left where a measured figure belongs."""
    left = [f"{page.relative_to(ROOT)}: {mark}" for page in PAGES for mark in re.findall(r"<<\w+>>", page.read_text(encoding="utf-8"))]
    assert left == []
