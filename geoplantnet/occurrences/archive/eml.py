"""What a data set is, for people and for GBIF: `eml.xml` in EML 2.2.0, GBIF's metadata profile 1.3 (https://github.com/gbif/eml-profile)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from geoplantnet.errors import UsageError, did_you_mean
from geoplantnet.occurrences.archive.layout import cleaned

_EML = "https://eml.ecoinformatics.org/eml-2.2.0"
_SCHEMA = "https://rs.gbif.org/schema/eml-gbif-profile/1.3/eml.xsd"
LICENSES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "CC0-1.0": ("Creative Commons Zero v1.0 Universal", "http://creativecommons.org/publicdomain/zero/1.0/legalcode"),
        "CC-BY-4.0": ("Creative Commons Attribution 4.0 International", "http://creativecommons.org/licenses/by/4.0/legalcode"),
        "CC-BY-NC-4.0": (
            "Creative Commons Attribution Non Commercial 4.0 International",
            "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
        ),
    }
)
"""SPDX identifier -> name and URL of the licences that GBIF takes for a data set; others it cannot read."""


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """What the publisher says of a data set. Raises UsageError for an empty title, description or organization, and a licence GBIF does not take."""

    title: str
    description: str
    """A few sentences."""
    organization: str
    """Who publishes it."""
    license: str
    """One of `LICENSES`: of the data set, and of records that name none of their own."""
    published: date
    dataset_id: str = ""
    """DOI, UUID or URL of the data set; empty = none yet."""
    email: str = ""
    """Where to write to."""
    url: str = ""
    """Home page."""
    language: str = "en"
    """Of title and description, ISO 639-1."""

    def __post_init__(self) -> None:
        for name in ("title", "description", "organization"):
            if not getattr(self, name).strip():
                raise UsageError(f"a data set needs a {name}; GBIF refuses one without")
        if self.license not in LICENSES:
            near = did_you_mean(self.license, LICENSES)
            raise UsageError(f"licence {self.license!r} is none that GBIF takes for a data set: {', '.join(LICENSES)}.{near}")

    @property
    def license_url(self) -> str:
        """Where the licence stands in full."""
        return LICENSES[self.license][1]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Where and when the records are."""

    west: float
    """Degrees, WGS 84, as the others."""
    south: float
    east: float
    north: float
    first: str
    """Earliest year (or day, ISO 8601: the profile knows no months); empty = unknown."""
    last: str


def eml(description: DatasetDescription, coverage: Coverage | None, *, methods: Sequence[str] = (), notes: Sequence[str] = ()) -> bytes:
    """The file. `methods`: how the records came to be, a step a text; `notes`: what users must know. Same content, same bytes."""
    root = ET.Element(
        "eml:eml",
        {
            "xmlns:eml": _EML,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{_EML} {_SCHEMA}",
            "packageId": cleaned(f"{description.dataset_id or description.title}/{description.published.isoformat()}"),
            "system": "http://gbif.org",
            "scope": "system",
            "xml:lang": description.language,
        },
    )
    dataset = ET.SubElement(root, "dataset")  # the order of its children is the schema's
    if description.dataset_id:
        _add(dataset, "alternateIdentifier", description.dataset_id)
    _add(dataset, "title", description.title).set("xml:lang", description.language)
    _agent(dataset, "creator", description)
    _agent(dataset, "metadataProvider", description)
    _add(dataset, "pubDate", description.published.isoformat())
    _add(dataset, "language", description.language)
    _add(_add(dataset, "abstract"), "para", description.description)
    keywords = _add(dataset, "keywordSet")
    _add(keywords, "keyword", "Occurrence")
    _add(keywords, "keywordThesaurus", "GBIF Dataset Type Vocabulary: http://rs.gbif.org/vocabulary/gbif/dataset_type.xml")
    if notes:
        _add(_add(dataset, "additionalInfo"), "para", " ".join(notes))
    _rights(dataset, description)
    if description.url:
        online = _add(_add(dataset, "distribution", scope="document"), "online")
        _add(online, "url", description.url, function="information")
    _coverage(_add(dataset, "coverage"), coverage)
    _add(_add(dataset, "maintenance"), "description")
    _add(dataset[-1][0], "para", "Exported anew from the store of observations; votes and labels may change between versions.")
    _add(dataset[-1], "maintenanceUpdateFrequency", "irregular")
    _agent(dataset, "contact", description)
    if methods:
        steps = _add(dataset, "methods")
        for text in methods:
            _add(_add(_add(steps, "methodStep"), "description"), "para", text)
    ET.indent(root, "  ")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _agent(dataset: ET.Element, role: str, description: DatasetDescription) -> None:
    agent = _add(dataset, role)
    _add(agent, "organizationName", description.organization)
    if description.email:
        _add(agent, "electronicMailAddress", description.email)
    if description.url:
        _add(agent, "onlineUrl", description.url)


def _rights(dataset: ET.Element, description: DatasetDescription) -> None:
    """GBIF reads the licence from the link's address and no other place."""
    name, url = LICENSES[description.license]
    para = _add(_add(dataset, "intellectualRights"), "para", "This work is licensed under ")
    link = _add(para, "ulink", url=url)
    _add(link, "citetitle", name)
    link.tail = ". A record may name a licence of its own."
    licensed = _add(dataset, "licensed")
    _add(licensed, "licenseName", name)
    _add(licensed, "url", f"https://spdx.org/licenses/{description.license}.html")
    _add(licensed, "identifier", description.license)


def _coverage(node: ET.Element, coverage: Coverage | None) -> None:
    if coverage is not None:
        place = _add(node, "geographicCoverage")
        _add(place, "geographicDescription", "Box around the places told of the records; plants are not everywhere in it.")
        box = _add(place, "boundingCoordinates")
        for side in ("west", "east", "north", "south"):
            _add(box, f"{side}BoundingCoordinate", f"{getattr(coverage, side):.6f}")
        if coverage.first:
            dates = _add(_add(node, "temporalCoverage"), "rangeOfDates")
            for tag, day in (("beginDate", coverage.first), ("endDate", coverage.last)):
                _add(_add(dates, tag), "calendarDate", day)
    taxa = _add(node, "taxonomicCoverage")
    _add(taxa, "generalTaxonomicCoverage", "Plants, to the species.")
    kingdom = _add(taxa, "taxonomicClassification")
    _add(kingdom, "taxonRankName", "kingdom")
    _add(kingdom, "taxonRankValue", "Plantae")


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    node = ET.SubElement(parent, tag, attributes)
    node.text = None if text is None else cleaned(text)
    return node
