"""Identification over the network: the API that Pl@ntNet's clients know, below /v2, and the page at /identify.

    app             the application              server          the port and its processes
    identification  identify, projects, species  quota, keys     who asks, and how much a day
    desk            what routes share            uploads         forms of photos, in memory
    facts           what is told of a species    media           photos that are shown
    problems        how it says no               schemas         what answers hold

Runs without torch: a net comes as an `Identifier`, whatever runs it.
"""

from geoplantnet.serving.identify.app import create_identify_app
from geoplantnet.serving.identify.settings import IdentifySettings

__all__ = ["IdentifySettings", "create_identify_app"]
