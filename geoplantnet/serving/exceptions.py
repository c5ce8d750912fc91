"""What a map server refuses, and the one dict that turns an error into an HTTP status and an OGC code."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from geoplantnet.errors import GeoPlantNetError, InputError, LayerNotFound, NoDataError, RequestError, TryAgain, UnknownSpecies, UnknownTile

LOGGER = logging.getLogger(__name__)


class MissingParameter(RequestError):
    """A parameter the operation needs is absent or empty."""


class InvalidParameter(RequestError):
    """A parameter whose value cannot be read, or is out of its range."""


class InvalidCrs(RequestError):
    """A coordinate reference system the layers are not offered in."""


class InvalidFormat(RequestError):
    """An output format that is not offered."""


class InvalidPoint(RequestError):
    """A pixel outside the map it is asked of."""


class StyleNotDefined(RequestError):
    """A style that is not offered for the layer."""


class InvalidDimensionValue(RequestError):
    """A time, a scenario or another dimension's value that a layer does not have."""


class OperationNotSupported(RequestError):
    """A request the service does not know."""


class CurrentUpdateSequence(RequestError):
    """The client's capabilities are those of now."""


class InvalidUpdateSequence(RequestError):
    """The client claims capabilities newer than those of now."""


class TileOutOfRange(RequestError):
    """A row or column that a tile matrix does not have."""


class VersionGone(RequestError):
    """A URL that names a version of the maps which is no longer served."""


class TooLarge(RequestError):
    """More cells than one answer may hold."""


@dataclass(frozen=True)
class Fault:
    """How an error leaves the server."""

    status: HTTPStatus
    code: str
    """OGC exception code: those of WMS 1.3.0 where it has one, else those of OWS Common."""


FAULTS: dict[type[GeoPlantNetError], Fault] = {
    MissingParameter: Fault(HTTPStatus.BAD_REQUEST, "MissingParameterValue"),
    InvalidParameter: Fault(HTTPStatus.BAD_REQUEST, "InvalidParameterValue"),
    InvalidCrs: Fault(HTTPStatus.BAD_REQUEST, "InvalidCRS"),
    InvalidFormat: Fault(HTTPStatus.BAD_REQUEST, "InvalidFormat"),
    InvalidPoint: Fault(HTTPStatus.BAD_REQUEST, "InvalidPoint"),
    StyleNotDefined: Fault(HTTPStatus.BAD_REQUEST, "StyleNotDefined"),
    InvalidDimensionValue: Fault(HTTPStatus.BAD_REQUEST, "InvalidDimensionValue"),
    OperationNotSupported: Fault(HTTPStatus.BAD_REQUEST, "OperationNotSupported"),
    CurrentUpdateSequence: Fault(HTTPStatus.OK, "CurrentUpdateSequence"),
    InvalidUpdateSequence: Fault(HTTPStatus.BAD_REQUEST, "InvalidUpdateSequence"),
    TileOutOfRange: Fault(HTTPStatus.BAD_REQUEST, "TileOutOfRange"),
    VersionGone: Fault(HTTPStatus.GONE, "NoApplicableCode"),
    TooLarge: Fault(HTTPStatus.BAD_REQUEST, "InvalidParameterValue"),
    RequestError: Fault(HTTPStatus.BAD_REQUEST, "NoApplicableCode"),
    LayerNotFound: Fault(HTTPStatus.NOT_FOUND, "LayerNotDefined"),
    UnknownSpecies: Fault(HTTPStatus.NOT_FOUND, "LayerNotDefined"),
    UnknownTile: Fault(HTTPStatus.NOT_FOUND, "InvalidParameterValue"),
    NoDataError: Fault(HTTPStatus.NOT_FOUND, "NoApplicableCode"),
    TryAgain: Fault(HTTPStatus.SERVICE_UNAVAILABLE, "NoApplicableCode"),
}
"""The nearest class up the tree of errors counts. What is not below one of these is the server's own fault (500)."""

_OURS = Fault(HTTPStatus.INTERNAL_SERVER_ERROR, "NoApplicableCode")


def fault_of(error: Exception) -> tuple[Fault, str]:
    """Status, code and the message to show. A server's own fault is logged whole and shown without any detail."""
    for kind in type(error).__mro__:
        if kind in FAULTS:
            return FAULTS[kind], str(error)
    LOGGER.error("request failed: %s", error, exc_info=error)
    cause = "a published file cannot be read" if isinstance(error, (InputError, OSError)) else "an error inside the server"
    return _OURS, f"{cause}; nothing is wrong with the request, the operator finds the details in the server's log"


def shown(text: str, limit: int = 60) -> str:
    """A client's text quoted for a message: shortened, control characters escaped (XML cannot hold them)."""
    return repr(text if len(text) <= limit else text[:limit] + "...")
