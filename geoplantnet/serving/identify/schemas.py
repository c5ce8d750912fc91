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


class Problem(BaseModel):
    statusCode: int
    error: str
    message: str


def _problems(*codes: int) -> dict[int | str, Json]:
    return {code: {"model": Problem} for code in codes}


ERRORS: dict[int | str, Json] = _problems(400, 401, 404, 413, 414, 415, 422, 429, 503)
"""Answers that are none; FastAPI's own 422 is answered as 400."""
del ERRORS[422]

_PHOTOS: Json = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": 5}
_ORGAN: Json = {"type": "string", "enum": ["leaf", "flower", "fruit", "bark", "habit", "other", "auto"]}
IDENTIFY_FORM: Mapping[str, Json] = {
    "images": _PHOTOS,
    "organs": {"type": "array", "items": _ORGAN},
    "lat": {"type": "string", "description": "extension: latitude, degrees"},
    "lon": {"type": "string", "description": "extension: longitude, degrees"},
}


def form_of(fields: Mapping[str, Json], needed: Sequence[str]) -> Json:
    """`openapi_extra` of a route that reads a multipart form itself."""
    schema = {"type": "object", "properties": dict(fields), "required": list(needed)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
