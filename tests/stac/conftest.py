"""The STAC API of the tests, started once a session (`server.py`); where it cannot start, tests are skipped with the command that mends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server import Unavailable, started


@dataclass(frozen=True, kw_only=True)
class StacServer:
    """Where the API answers, and what it was loaded with."""

    api: str
    """Address of the landing page."""
    files: str
    """Address of the folder of real data, over HTTP with ranges."""
    catalog: str
    """Path of a static catalog with the same items."""
    items: tuple[dict[str, Any], ...] = field(repr=False)
    """Every item as loaded."""


@pytest.fixture(scope="session")
def stac(data_folder: Path) -> Iterator[StacServer]:
    """The server, from its first answer to the end of the session; it ends by itself if the session dies."""
    try:
        with started(data_folder) as where:
            items = tuple(json.loads(item) for item in Path(where["items"]).read_text(encoding="utf-8").splitlines())
            yield StacServer(api=where["api"], files=where["files"], catalog=where["items"], items=items)
    except Unavailable as lacks:
        pytest.skip(f"no STAC API on this machine; `make stac` as root installs it. Missing: {lacks}")
