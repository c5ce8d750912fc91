"""What answers hold, as the OpenAPI document tells it. Field names are those of Pl@ntNet's API; ours beside them are called extensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]


class Model(BaseModel):
    """Nothing is told that does not stand here."""

    model_config = ConfigDict(extra="forbid")


class Status(Model):
    status: Literal["ok"]


class Project(Model):
    id: str
    title: str
    description: str
    speciesCount: int


class Species(Model):
    id: str = Field(description="taxonID")
    scientificNameWithoutAuthor: str
    scientificNameAuthorship: str
    gbifId: int | None = None
    powoId: str | None = None
    iucnCategory: str | None = None
    commonNames: list[str]


class Names(Model):
    scientificNameWithoutAuthor: str
    scientificNameAuthorship: str
    scientificName: str


class ResultSpecies(Names):
    genus: Names
    family: Names
    commonNames: list[str]


class Date(Model):
    timestamp: int | None = None
    string: str | None = None


class Url(Model):
    o: str
    m: str
    s: str


class Image(Model):
    organ: str
    author: str
    license: str
    date: Date
    citation: str
    url: Url
    observation: str = Field(description="extension: id of the observation it belongs to")


class GbifId(Model):
    id: int


class PowoId(Model):
    id: str


class Iucn(Model):
    id: str
    category: str


class Result(Model):
    score: float = Field(ge=0, le=1)
    species: ResultSpecies
    taxonID: str = Field(description="extension: id of the species here")
    images: list[Image] | None = None
    gbif: GbifId | None = None
    powo: PowoId | None = None
    iucn: Iucn | None = None


class GenusResult(Model):
    score: float = Field(ge=0, le=1)
    genus: Names
    family: Names


class FamilyResult(Model):
    score: float = Field(ge=0, le=1)
    family: Names


class OtherResults(Model):
    species: list[Result] = Field(description="the likeliest outside the flora")
    genus: list[GenusResult]
    family: list[FamilyResult]


class IdentifyQuery(Model):
    project: str
    images: list[str]
    organs: list[str]
    includeRelatedImages: bool
    noReject: bool
    type: str | None = None


class PredictedOrgan(Model):
    image: str
    filename: str
    organ: str
    score: float = Field(ge=0, le=1)


class IdentificationResult(Model):
    query: IdentifyQuery
    language: str
    preferedReferential: str
    switchToProject: str | None = None
    bestMatch: str
    results: list[Result]
    otherResults: OtherResults | None = None
    version: str
    remainingIdentificationRequests: int
    predictedOrgans: list[PredictedOrgan]
    evidence: Literal["sdm", "flora", "none"] = Field(description="extension: what beside the photos was weighed")
    answerSet: list[str] = Field(description="extension: taxonIDs of the species that the answer may be, together")


class Place(Model):
    latitude: float
    longitude: float
    uncertainty: float | None


class KnownSpecies(ResultSpecies):
    id: str


class ObservationImage(Image):
    id: str = Field(description="SHA-256 of the photo")


class Answer(Model):
    species: KnownSpecies
    share: float = Field(ge=0, le=1, description="of the weight of all who named a species")
    votes: int


class Prediction(Model):
    species: KnownSpecies | None
    score: float
    model: str


class Flags(Model):
    """Shares of weight, 0 to 1."""

    malformed: float
    not_a_plant: float
    cultivated: float


class Observation(Model):
    id: str
    own: bool
    author: str = Field(description="as the author wants to be cited; empty = not at all")
    date: str
    place: Place | None
    dataGeneralizations: str = Field(description="what was done to place and day before they were told")
    project: str
    license: str
    species: KnownSpecies | None = Field(description="the label")
    valid: bool
    confidence: float = Field(description="share of weight that agrees on the label")
    weight: float = Field(description="weight of those who do")
    votes: int
    answers: list[Answer]
    prediction: Prediction | None
    flags: Flags
    images: list[ObservationImage]


class Review(Model):
    results: list[Observation]
    next: str | None = Field(description="`after` of the next page; null on the last")


class Said(Model):
    """A vote, in our words or in those of Pl@ntNet's clients (`name`, `quality`, `organ`). Other fields are refused: one misspelt would withdraw a vote."""

    species: str | None = Field(None, max_length=1000, description="taxonID or scientific name")
    value: bool | int | str | None = None
    kind: str | None = Field(None, max_length=40)
    key: str | None = Field(None, max_length=200, description="the client's own id of this vote: sent twice, it counts once")
    name: str | None = Field(None, max_length=1000, description="as `species`")
    quality: bool | None = Field(None, description="of an image: true is 1, false is -1")
    organ: str | None = Field(None, max_length=40, description="of an image")
    score: float | None = Field(None, description="taken, and of no use: how much a vote weighs is learnt from all votes")


class Voted(Model):
    observation: str
    kind: str
    value: str
    new: bool
    updated: bool = Field(description="as `new`")


class Counts(Model):
    identify: int
    survey: int = Field(description="extension: tiles of surveys")


class QuotaDay(Model):
    day: str
    count: Counts
    remaining: Counts


class QuotaToday(QuotaDay):
    quota: Counts


class Account(Model):
    id: str
    username: str
    created: str


class Contract(Model):
    plan: str
    status: str
    firstSignatureDate: str
    indicativeYearlyQuota: int


class CountOfMonth(Model):
    identify: int


class Month(Model):
    period: str
    startDate: str
    endDate: str
    count: CountOfMonth
    aboveQuota: CountOfMonth


class Security(Model):
    exposeKey: bool
    ips: list[str]
    domains: list[str]


class Subscription(Model):
    account: Account
    contract: Contract
    history: list[Month]
    security: Security


class Center(Model):
    x: float
    y: float


class Location(Model):
    center: Center
    size: int
    score: float
    organ: str


class FoundGroup(Model):
    name: str
    coverage: float = Field(description="share of the photo in squares where it was found")
    max_score: float
    count: int
    location: list[Location]


class FoundSpecies(FoundGroup):
    binomial: str
    taxonID: str
    genus: str
    family: str
    gbif_id: int | None = None


class RejectedTile(Model):
    center: Center
    size: int
    plant: float


class Size(Model):
    width: int
    height: int


class SurveyResults(Model):
    nb_sub_queries: int
    nb_matching_sub_queries: int
    uncovered: float = Field(description="share of the photo in no square where something was found")
    tile_size: int
    tile_stride: int
    image: Size
    species: list[FoundSpecies]
    genus: list[FoundGroup]
    family: list[FoundGroup]
    rejected: list[RejectedTile] | None = None


class SurveyQuery(Model):
    project: str
    image: str


class SurveyResult(Model):
    query: SurveyQuery
    results: SurveyResults
    version: str
    remainingIdentificationRequests: int = Field(description="tiles that are left today")


class Cost(Model):
    estimated_cost: int


class AltitudeClass(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: int = Field(alias="from", description="metres")
    to: int
    count: int


class MapOfSpecies(Model):
    layer: str
    wms: str


class SpeciesFacts(ResultSpecies):
    id: str
    gbifId: int | None = None
    powoId: str | None = None
    iucnCategory: str | None = None
    months: list[int] = Field(min_length=12, max_length=12, description="records in each month, January first")
    recordCount: int
    altitude: list[AltitudeClass] | None
    images: list[ObservationImage | Image] = Field(description="with an id: of the store; others: of the index of similar images")
    map: MapOfSpecies | None


class SpeciesOfPlace(Model):
    id: str
    scientificNameWithoutAuthor: str
    scientificNameAuthorship: str
    genus: str
    family: str
    commonNames: list[str]
    coverage: float = Field(description="share of the box where the map holds it present")
    probability: float | None = Field(description="mean predicted probability in the box")
    identifiable: bool = Field(description="whether the net knows it")


class SpeciesOfBox(Model):
    bbox: list[float]
    results: list[SpeciesOfPlace]
    withheld: int = Field(description="sensitive species that no list names")
    cells: float
    partial: bool
    notice: str
    title: str
    license: str
    version: str


class Problem(BaseModel):
    statusCode: int
    error: str
    message: str


def _problems(*codes: int) -> dict[int | str, Json]:
    return {code: {"model": Problem} for code in codes}


ERRORS: dict[int | str, Json] = _problems(400, 401, 404, 413, 414, 415, 429, 503)
"""Answers that are none."""
OF_OBSERVATIONS: dict[int | str, Json] = {**ERRORS, **_problems(403, 409, 410)}
"""Of who is not the author, of a key that was used for another act, and of what was taken back."""

_PHOTOS: Json = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": 5}
_ORGAN: Json = {"type": "string", "enum": ["leaf", "flower", "fruit", "bark", "habit", "other", "auto"]}
IDENTIFY_FORM: Mapping[str, Json] = {
    "images": _PHOTOS,
    "organs": {"type": "array", "items": _ORGAN},
    "lat": {"type": "string", "description": "extension: latitude, degrees"},
    "lon": {"type": "string", "description": "extension: longitude, degrees"},
}
OBSERVATION_FORM: Mapping[str, Json] = {
    **IDENTIFY_FORM,
    "license": {"type": "string", "description": "one of the server's licences, such as cc-by-sa"},
    "species": {"type": "string", "description": "what it is: taxonID or scientific name"},
    "date": {"type": "string", "description": "day of the photo, ISO 8601"},
    "uncertainty": {"type": "string", "description": "of the place, metres"},
    "author": {"type": "string", "description": "as you want to be cited"},
    "project": {"type": "string"},
    "key": {"type": "string", "description": "your own id of this contribution: sent twice, it is kept once"},
    "no-reject": {"type": "string", "description": "true: keep photos that seem to show no plant"},
}
SURVEY_FORM: Mapping[str, Json] = {
    "image": {"type": "string", "format": "binary", "description": "parameters of the query may stand beside it"}
}
_NUMBERS: Json = {"type": "array", "items": {"type": "string"}}
CUSTOM_FORM: Mapping[str, Json] = {
    **SURVEY_FORM,
    "pixels": {**_NUMBERS, "description": "x,y of the middle of each square"},
    "sizes": {**_NUMBERS, "description": "side of each square, or of all"},
}


def form_of(fields: Mapping[str, Json], needed: Sequence[str]) -> Json:
    """`openapi_extra` of a route that reads a multipart form itself."""
    schema = {"type": "object", "properties": dict(fields), "required": list(needed)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
