"""What is shipped of the page of identification: small, licensed, installable, the same in both languages, no other host."""

from __future__ import annotations

import gzip
import json
import re

from PIL import Image

from geoplantnet.serving.app import PAGE

DIST, SRC = PAGE / "identify", PAGE.parent / "src" / "identify"
STRING = re.compile(r'^  "([^"]+)": "(.*)",$', re.MULTILINE)


def _strings(lang: str) -> dict[str, str]:
    return dict(STRING.findall((SRC / "strings" / f"{lang}.js").read_text()))


def test_both_languages_of_identification_say_the_same_things() -> None:
    """English and French have the same keys, and each text the same placeholders."""
    english, french = _strings("en"), _strings("fr")
    assert len(english) > 200 and set(english) == set(french)
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", french[key])), key


def test_every_word_that_is_asked_for_is_there() -> None:
    """Each key that the page's sources name is among its strings."""
    text = "\n".join(path.read_text() for path in SRC.rglob("*.js") if path.parent.name != "strings") + (SRC / "index.html").read_text()
    known = {re.sub(r"\.(one|other)$", "", key) for key in _strings("en")} | set(_strings("en"))
    asked = set(re.findall(r"""\bt\("([a-z][\w.-]+)\"""", text)) | set(re.findall(r'data-t(?:-label)?="([\w.-]+)"', text))
    assert len(asked) > 100 and asked <= known


def test_a_first_visit_stays_small() -> None:
    """What a first visit loads stays below 120 kB, compressed; the engine comes only when it is asked for."""
    sent = [DIST / name for name in ("index.html", "app.js", "style.css", "sw.js", "worker.js", "manifest.webmanifest", "icon.svg")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in sent) < 120_000
    assert gzip.decompress((DIST / "engine.wasm.gz").read_bytes())[:4] == b"\0asm"


def test_it_can_be_installed() -> None:
    """The manifest names itself, starts within its scope, and its icons are there at the sizes it says."""
    manifest = json.loads((DIST / "manifest.webmanifest").read_text())
    assert manifest["start_url"] == manifest["scope"] == "./" and manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        path = DIST / icon["src"]
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert "x".join(map(str, image.size)) == icon["sizes"]
        else:
            assert path.is_file()


def test_the_service_worker_keeps_what_the_page_is_made_of() -> None:
    """Every file that the page links to is in the worker's list; the list names no file that is not there."""
    shell = set(json.loads(re.search(r'\["\./".*?\]', (DIST / "sw.js").read_text()).group()))  # type: ignore[union-attr]
    linked = set(re.findall(r'(?:href|src)="(\./[\w.-]+)"', (DIST / "index.html").read_text())) - {"./THIRD_PARTY.txt"}
    assert linked <= shell
    assert all((DIST / name).exists() for name in shell)


def test_licences_of_the_engine_are_shipped() -> None:
    """onnxruntime-web stands in THIRD_PARTY.txt with its licence, and what it is built of beside."""
    assert re.search(r"^onnxruntime-web [\d.]+ \(MIT\)$", (DIST / "THIRD_PARTY.txt").read_text(), re.MULTILINE)
    assert "Eigen" in (DIST / "ENGINE_NOTICES.txt").read_text()


def test_no_address_of_another_host_is_in_the_page() -> None:
    """Neither page, style nor the page's own script names a file of another host."""
    for path in (DIST / "index.html", DIST / "style.css", DIST / "app.js", DIST / "sw.js"):
        assert re.findall(r"https?://(?!www\.w3\.org/)[\w.-]+", path.read_text()) == [], path.name
