"""A small server of identification: a net without weights, drawn photos, keys, a store."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.photos import Decoder
from geoplantnet.serving.guard import KeyRing
from geoplantnet.serving.identify import IdentifySettings, create_identify_app
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

NAMES = (
    ("Primula veris", "Primulaceae", "Cowslip"),
    ("Primula elatior", "Primulaceae", "Oxlip"),
    ("Gentiana lutea", "Gentianaceae", "Great yellow gentian"),
    ("Gentiana verna", "Gentianaceae", ""),
    ("Cypripedium calceolus", "Orchidaceae", "Lady's slipper"),
    ("Picea abies", "Pinaceae", "Norway spruce"),
)


@pytest.fixture(scope="session")
def species() -> SpeciesList:
    taxa = tuple(
        Taxon(
            taxon_id=name.lower().replace(" ", "-"),
            scientific_name=name,
            genus=name.split()[0],
            family=family,
            vernacular_name=common,
        )
        for name, family, common in NAMES
    )
    return SpeciesList(checklist="test 1", taxa=taxa)


def drawn(seed: int = 0, *, size: tuple[int, int] = (80, 60), kind: str = "JPEG", green: bool = True) -> bytes:
    """A photo of blurred colours."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    if not green:
        pixels[..., 1] = 0
        pixels[..., ::2] //= 8
    out = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(
        out, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {})
    )
    return out.getvalue()


@pytest.fixture(scope="session")
def photo() -> Callable[..., bytes]:
    return drawn


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=2) as decoder:
        yield decoder


@pytest.fixture
def settings(tmp_path: Path) -> IdentifySettings:
    return IdentifySettings(keys=tmp_path / "keys.sqlite", quota=tmp_path / "quota.sqlite", update_s=0.2)


@pytest.fixture
def key(settings: IdentifySettings) -> str:
    """Of Flora, who may ask 40 times a day."""
    assert settings.keys is not None
    ring = KeyRing(settings.keys, create=True)
    token = ring.add("flora", quota=40)
    ring.close()
    return token


@pytest.fixture
def identifier(species: SpeciesList) -> Identifier:
    return Identifier(FakeNetwork(species))


@pytest.fixture
def client_of(identifier: Identifier, decoder: Decoder, settings: IdentifySettings, key: str) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of a server with other settings, or other parts."""
    opened: list[TestClient] = []

    def make(*, key: str = key, changes: dict[str, Any] | None = None, **parts: Any) -> TestClient:
        own = replace(settings, **(changes or {}))
        app = create_identify_app(parts.pop("identifier", identifier), settings=own, decoder=decoder, **parts)
        client = TestClient(app, raise_server_exceptions=False, headers={"Api-Key": key} if key else {})
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of()
