"""What people, models and administrators do to a store, as values; and what makes an act one that cannot be taken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from geoplantnet.errors import InputError
from geoplantnet.identify.observations.schema import KINDS, ORGANS

LONGEST = 1000
"""Characters of any text of an act."""
_FLAG = {"0": 0, "1": 1}
_ORGANS = {organ: place for place, organ in enumerate(ORGANS)}
_QUALITY = {"-1": -1, "0": 0, "1": 1}
_DETERMINATION, _ORGAN = KINDS.index("determination"), KINDS.index("organ")
_OF_AN_IMAGE = ("quality", "organ")


Stored = tuple[str, float | None, float | None, float | None, tuple[str, ...]]
"""An observation in its tables: author, latitude, longitude, uncertainty, texts."""


class RefusedAct(InputError):
    """An act that cannot be taken; `reason` is what it is counted under when many are sent at once."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A plant somebody saw, at a place and time."""

    observation_id: str = ""
    """Stable, unique in the store; empty = the store makes one."""
    user_id: str
    """The author's account."""
    latitude: float | None = None
    """Degrees, WGS 84; None or NaN = unknown, then the longitude is too."""
    longitude: float | None = None
    """Degrees, WGS 84."""
    coordinate_uncertainty: float | None = None
    """Radius, metres, above 0; None or NaN = unknown."""
    event_date: str = ""
    """When, ISO 8601; kept as it is given, quality rules judge it. Empty = unknown."""
    dataset_id: str = ""
    """Provenance: the app, project or archive it came from."""
    flora: str = ""
    """Id of the flora the author chose."""
    license: str = ""
    """URL of the licence of record and images."""
    rights_holder: str = ""
    verbatim_name: str = ""
    """The name as the author wrote it."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A photo of an observation."""

    data: bytes
    """JPEG or PNG, at most 20 MB; its metadata are not stored."""
    organ: str = "auto"
    """What the author says it shows, one of `ORGANS`; auto = nothing said."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a user says of an observation or of one of its images. A later one of the same kind there takes its place."""

    observation_id: str
    user_id: str
    kind: str
    """determination, quality, organ, malformed, not_a_plant or cultivated; withdrawn: see `ObservationStore.withdraw`."""
    value: str
    """A taxon id; 1, 0 or -1 (quality); an organ; 1 or 0 (the others). Empty withdraws."""
    image: str = ""
    """SHA-256 of the image, for an organ, and for a quality where it is of one image."""
    key: str = ""
    """The client's own id of this act, unique for the user: sent twice, it is logged once. Empty = none."""
    at: datetime | None = None
    """When it was cast; None = now. A time without zone is UTC."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A classifier that predicts."""

    name: str
    version: str
    sha256: str = ""
    """Of its weights; empty = unknown."""
    about: str = ""
    """Where it is described: a URL or a sentence."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What became of many acts: read = kept + repeated + the sum of `rejected`."""

    kept: int
    repeated: int
    """In the store already: the same key, or the same observation."""
    rejected: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Reason -> how many."""
    examples: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Reason -> the first such row (from 0) and what is wrong with it."""

    @property
    def read(self) -> int:
        return self.kept + self.repeated + sum(self.rejected.values())


class Tally:
    """Counts acts on their way into a `Counted`."""

    def __init__(self) -> None:
        self.kept = self.repeated = 0
        self.rejected: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.first: RefusedAct | None = None

    def refuse(self, row: int, refused: RefusedAct) -> None:
        self.first = self.first or refused
        self.rejected[refused.reason] += 1
        self.examples.setdefault(refused.reason, f"row {row}: {refused}")

    def counted(self) -> Counted:
        return Counted(
            kept=self.kept,
            repeated=self.repeated,
            rejected=MappingProxyType(dict(sorted(self.rejected.items()))),
            examples=MappingProxyType(self.examples),
        )


def text_of(value: object, what: str, *, needed: bool = False) -> str:
    """A text as it is stored; None and NaN are empty. Raises RefusedAct for one that is missing, too long, or holds a NUL."""
    if isinstance(value, str):
        text = value
    elif value is None or value != value:  # NaN, NaT
        text = ""
    else:
        raise RefusedAct("not a text", f"{what} is {value!r}; write it as a text")
    if needed and not text:
        raise RefusedAct(f"no {what}", f"{what} is empty")
    if len(text) > LONGEST:
        raise RefusedAct("text too long", f"{what} has {len(text):,} characters, at most {LONGEST:,} are kept")
    if "\0" in text or (not text.isascii() and _unpaired(text)):
        raise RefusedAct("not a text", f"{what} {text!r} holds a character that no text has")
    return text


def number_of(value: object, what: str, low: float, high: float) -> float | None:
    """A finite number within low to high, both included, or its text; None for None, NaN and an empty text. Raises RefusedAct."""
    if value is None or value == "":
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise RefusedAct(f"{what} is no number", repr(value)) from None
    if math.isnan(number):
        return None
    if not low <= number <= high or math.isinf(number):
        raise RefusedAct(f"{what} out of range", f"{number} is outside {low:g} to {high:g}")
    return number + 0.0  # no -0.0, which has another text


def checked_observation(
    user: object, latitude: object, longitude: object, uncertainty: object, texts: tuple[object, ...], names: tuple[str, ...]
) -> Stored:
    """The fields of an observation as they are stored. Raises RefusedAct."""
    author = text_of(user, "user_id", needed=True)
    north = number_of(latitude, "latitude", -90, 90)
    east = number_of(longitude, "longitude", -180, 180)
    if (north is None) != (east is None):
        raise RefusedAct("half a place", f"latitude {north}, longitude {east}; give both or neither")
    radius = number_of(uncertainty, "coordinate_uncertainty", 0, math.inf)
    if radius == 0:
        raise RefusedAct("coordinate_uncertainty out of range", "0 m; it is above 0, or unknown")
    return author, north, east, radius, tuple(text_of(t, n) for t, n in zip(texts, names, strict=True))


def checked_vote(kind: object, value: object, image: object) -> tuple[int, str | int | None, str]:
    """(place in KINDS; taxon id, number, or None for a withdrawal; image) of a vote. Raises RefusedAct."""
    if kind not in KINDS:
        raise RefusedAct("unknown kind", f"{kind!r}; a vote is about {', '.join(KINDS)}")
    number, said, of = KINDS.index(str(kind)), text_of(value, "value"), text_of(image, "image")
    if of and kind not in _OF_AN_IMAGE:
        raise RefusedAct("not of an image", f"{kind} is of the whole observation; leave image empty")
    if not of and number == _ORGAN:
        raise RefusedAct("no image", "an organ is of one image; give its SHA-256")
    if kind == "withdrawn":
        if said != "1":
            raise RefusedAct("bad value", f"withdrawn {said!r}; wanted 1: who takes an observation back does so for good")
        return number, 1, of
    if not said:
        return number, None, of
    if number == _DETERMINATION:
        return number, said, of
    allowed = _ORGANS if number == _ORGAN else _QUALITY if kind == "quality" else _FLAG
    if said not in allowed:
        raise RefusedAct("bad value", f"{kind} {said!r}; wanted {', '.join(allowed)}, or an empty text to withdraw")
    return number, allowed[said], of


def milliseconds(at: object, now: int) -> int:
    """A time since 1970 UTC; None and NaT are `now`. Raises RefusedAct for what is no time."""
    if at is None or at != at:
        return now
    if isinstance(at, str):
        if not at:
            return now
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise RefusedAct("bad time", f"{at!r} is not ISO 8601") from None
    if not isinstance(at, datetime):
        raise RefusedAct("bad time", f"{at!r} is not a time")
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _unpaired(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
