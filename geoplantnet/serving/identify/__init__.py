"""Identification over the network: the API that Pl@ntNet's clients know, below /v2, and the page at /identify.

    app, server        the application; the port       identification    identify, projects, species, languages
    settings           what an operator decides        survey, surveying several species in one photo
    keys, quota        who asks, and how much a day    observing         contributions, votes, review; sightings: what is told of them
    desk, uploads      how a request is taken in       exploring         a species, a place, photos
    facts, media       what is told of species; photos accounts          quota and subscription
    protection         sensitive species               page, documents   /identify, /v2/docs
    problems           how it says no                  schemas           what answers hold

Runs without torch: a net comes as an `Identifier`, whatever runs it.
"""

from geoplantnet.serving.identify.app import create_identify_app
from geoplantnet.serving.identify.server import serve_identify
from geoplantnet.serving.identify.settings import IdentifySettings

__all__ = ["IdentifySettings", "create_identify_app", "serve_identify"]
