"""The recipe's `serving:` section -> the server's settings. Apart from `rooms`: a machine that makes maps may have no server installed."""

from __future__ import annotations

from geoplantnet.config.recipe import ServingSection
from geoplantnet.serving.settings import PlaceLayer, ServerSettings


def server_settings(section: ServingSection) -> ServerSettings:
    """What the section says, as the server takes it. Raises ConfigurationError."""
    values = section.model_dump()
    values["trusted_proxies"] = tuple(map(str, section.trusted_proxies))
    values["places"] = tuple(PlaceLayer(**place) for place in values["places"])
    return ServerSettings(**values)
