"""What is shipped: built from the sources, licensed, small, the same in both languages."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.app import PAGE
from geoplantnet.serving.settings import ServerSettings

WEB = PAGE.parent
STRING = re.compile(r'^  "([^"]+)":\s*\n?\s*"(.*)",$', re.MULTILINE)


def test_dist_was_built_from_src() -> None:
    """What is shipped is what the sources say: every file `dist` was built from still has the hash it was built with."""
    lines = (PAGE / "SOURCES.sha256").read_text().splitlines()
    built_from = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = [WEB / "build.mjs", WEB / "package-lock.json", *(path for path in (WEB / "src").rglob("*") if path.is_file())]
    now = {path.relative_to(WEB).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert now == built_from, "run `npm ci && npm run build` in geoplantnet/serving/web and commit dist"


def test_licences_of_bundled_code_are_shipped() -> None:
    """Each bundled package stands in THIRD_PARTY.txt with its licence."""
    text = (PAGE / "THIRD_PARTY.txt").read_text()
    for package in ("ol", "proj4", "rbush", "world-atlas"):
        assert re.search(rf"^{package} [\d.]+ \(.+\)$", text, re.MULTILINE), package
    assert "Natural Earth" in text


def test_the_page_stays_small() -> None:
    """Everything a first visit loads stays below 600 kB, compressed."""
    sent = [path for path in PAGE.iterdir() if path.suffix in (".js", ".css", ".html", ".json", ".svg")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in sent) < 600_000


def test_no_address_of_another_host_is_built_in() -> None:
    """Neither page nor style names a file of another host."""
    for name in ("index.html", "style.css"):
        addresses = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(https?:[^"')\s]+)""", (PAGE / name).read_text())
        assert addresses == [], name


@pytest.mark.parametrize("pair", [("en.js", "fr.js"), ("area.en.js", "area.fr.js")], ids=["page", "area"])
def test_both_languages_say_the_same_things(pair: tuple[str, str]) -> None:
    """English and French have the same keys, and each text the same placeholders."""
    english, french = (_strings(WEB / "src" / "strings" / name) for name in pair)
    assert set(english) == set(french)
    assert {key: _places(text) for key, text in english.items()} == {key: _places(text) for key, text in french.items()}


def _strings(path: Path) -> dict[str, str]:
    return dict(STRING.findall(path.read_text()))


def _places(text: str) -> set[str]:
    return set(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize(
    "template", ["https://tiles.test/map.png", "https://*.test/{z}/{x}/{y}", "ftp://tiles.test/{z}/{x}/{y}", "satellite"]
)
def test_a_basemap_that_could_not_be_asked_is_refused(template: str) -> None:
    """Tiles without places in their address, wildcard hosts and unknown names are refused with the spelling expected."""
    with pytest.raises(ConfigurationError, match="natural-earth, none, or an address"):
        ServerSettings(basemap=template)
