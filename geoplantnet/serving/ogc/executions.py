"""OGC API Processes 1.0 over HTTP: what is asked is read and checked here, run at once or handed to `jobs`, and answered.

pygeoapi's process manager is not used: it starts a thread a request, calls addresses that a request names, and tells every fault as the
client's (decision 025). Nothing of a request is ever fetched: inputs by reference and subscribers are refused.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import jsonschema
from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.errors import LayerNotFound, TryAgain, did_you_mean
from geoplantnet.serving.exceptions import InvalidParameter, MissingParameter, OperationNotSupported, shown
from geoplantnet.serving.guard.exchange import exchange_of
from geoplantnet.serving.ogc.jobs import Budget, Dismissed, Job, Jobs, Result
from geoplantnet.serving.ogc.openapi import HTML, PROBLEM, Document, get, path_parameter, ref, refusals
from geoplantnet.serving.ogc.parameters import DOCUMENT, LIMIT, OFFSET, F
from geoplantnet.serving.ogc.processes import (
    ASYNC_TILES,
    GRANT,
    JSON,
    MAP_TILE,
    MEDIA_TYPE,
    PROCESSES,
    SITE,
    SYNC_S,
    SYNC_TILES,
    Operator,
    Process,
    Task,
    processes_of,
    run_elsewhere,
)
from geoplantnet.serving.report import DRAWN, POLICIES

if TYPE_CHECKING:
    from geoplantnet.serving.ogc.door import Service

_OGC = "http://www.opengis.net/spec/ogcapi-processes-1/1.0"
CONFORMANCE = tuple(f"{_OGC}/conf/{name}" for name in ("core", "ogc-process-description", "json", "html", "oas30", "job-list", "dismiss"))
_EXCEPTIONS = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
_RELATION = "http://www.opengis.net/def/rel/ogc/1.0"
LIST = (F, DOCUMENT[1], LIMIT, OFFSET)
SYNC_AT_ONCE = 2
"""Processes a worker runs while their clients wait; maps keep the other places of the gate."""
_KEY = "key "
"""What the name of an owner begins with that has a key."""
_DOCUMENT = ":document"
"""What the kind of a job ends with whose result is to be a document."""
_MEMBERS = ("inputs", "outputs", "response", "subscriber")


class NoSuchJob(LayerNotFound):
    """There is no job of this id, or none any more."""


class NoSuchProcess(LayerNotFound):
    """There is no process of this id."""


class ResultNotReady(LayerNotFound):
    """The job is not done yet."""


KINDS: Mapping[type[Exception], str] = {
    NoSuchJob: f"{_EXCEPTIONS}/no-such-job",
    NoSuchProcess: f"{_EXCEPTIONS}/no-such-process",
    ResultNotReady: f"{_EXCEPTIONS}/result-not-ready",
}
"""The `type` of an exception, where the standard names one."""


class Processing:
    """The processes of a server and its jobs."""

    def __init__(self, jobs: Jobs, operator: Operator | None = None) -> None:
        self.jobs, self._operator = jobs, operator
        self._all = processes_of(operator)
        self._room = threading.BoundedSemaphore(SYNC_AT_ONCE)

    def offered(self, request: Request) -> Mapping[str, Process]:
        """What a request may run: the operator's own process only with a key that grants it."""
        if MAP_TILE not in self._all:
            return self._all
        exchange = exchange_of(request.scope)
        granted = exchange is not None and exchange.key is not None and exchange.key.grants(GRANT)
        return self._all if granted else PROCESSES

    def process(self, request: Request, id: str) -> Process:
        """Raises NoSuchProcess with the nearest spellings."""
        offered = self.offered(request)
        if id not in offered:
            raise NoSuchProcess(f"there is no process {shown(id)}; use one of {', '.join(offered)}.{did_you_mean(id[:60], offered)}")
        return offered[id]

    # ---- descriptions

    def listing(self, service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
        """The processes, without their inputs."""
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 1000))
        chosen = list(self.offered(request).values())[offset : offset + limit]
        links = [_link(f"{service.url}/ogc/processes", "self", "This document"), _page_link(f"{service.url}/ogc/processes")]
        return {"title": "Processes", "processes": [_summary(service, one) for one in chosen], "links": links}

    def description(self, service: Service, request: Request, id: str) -> dict[str, Any]:
        """A process with its inputs and its output."""
        process = self.process(request, id)
        inputs = {
            name: {
                "title": one.title,
                "schema": dict(one.schema),
                "minOccurs": int(one.required),
                "maxOccurs": 1,
            }
            for name, one in process.inputs.items()
        }
        schemas = [_output_schema(media_type) for media_type in process.media_types]
        output = {"title": process.title, "schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}
        return {**_summary(service, process), "inputs": inputs, "outputs": {process.output: output}}

    # ---- execution

    def execute(self, service: Service, request: Request, id: str, body: bytes) -> Response:
        """Run a process: at once, or as a job where the client prefers that (``Prefer: respond-async``)."""
        process = self.process(request, id)
        inputs, as_document = _read(process, body)
        inputs[SITE] = service.url
        if not _prefers_async(request) and not process.only_async:
            result = self._now(service, process, inputs)
            return _answer(process, result, as_document)
        job = self._later(service, request, process, inputs, as_document)
        headers = {"Location": f"{service.url}/ogc/jobs/{job.id}", "Preference-Applied": "respond-async"}
        return Response(json.dumps(status(service, job)), HTTPStatus.CREATED, headers, JSON)

    def _now(self, service: Service, process: Process, inputs: dict[str, Any]) -> Result:
        if not self._room.acquire(blocking=False):
            raise TryAgain(f"{SYNC_AT_ONCE} processes are at work already; try again in a few seconds, or with Prefer: respond-async")
        try:
            return process.run(service.atlas, inputs, Budget(SYNC_S), SYNC_TILES)
        except Dismissed:
            raise TryAgain("the server is ending; try again") from None
        finally:
            self._room.release()

    def _later(self, service: Service, request: Request, process: Process, inputs: dict[str, Any], as_document: bool) -> Job:
        kind = process.id + _DOCUMENT if as_document else process.id
        owner = owner_of(request)
        if not self.jobs.remote:
            return self.jobs.submit(kind, owner, _work, process, service.atlas, inputs)
        task = Task(
            process=process.id,
            inputs=inputs,
            store=str(service.atlas.catalog.root),
            version=service.atlas.catalog.version,
            shown=service.atlas.shown,
            seconds=SYNC_S * 30,
            models=tuple((name, str(path)) for name, path in service.atlas.models.items()),
            operator=self._operator if process.id == MAP_TILE else None,
        )
        return self.jobs.submit(kind, owner, run_elsewhere, task)

    # ---- jobs

    def job(self, request: Request, id: str) -> Job:
        """The job of an id, which nobody can guess; one that was started with a key is there for that key alone, as long as it opens the
        process. Raises NoSuchJob.
        """
        job = self.jobs.job(id)
        if job is None or (
            job.owner.startswith(_KEY) and not (job.owner == owner_of(request) and _process_of(job) in self.offered(request))
        ):
            raise NoSuchJob(f"there is no job {shown(id)}; jobs are forgotten a day after their end")
        return job

    def job_list(self, service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
        """The jobs of a key. Without one there are none: behind a proxy, or a shared address, others' would be among them."""
        offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 10)), 1000)
        owner = owner_of(request)
        found, count = self.jobs.jobs(owner, limit, offset) if owner.startswith(_KEY) else ([], 0)
        base = f"{service.url}/ogc/jobs"
        links = [_link(base, "self", "This document"), _page_link(base)]
        if offset:
            links.append(_link(f"{base}?limit={limit}&offset={max(offset - limit, 0)}", "prev", "The page before"))
        if count > offset + limit:
            links.append(_link(f"{base}?limit={limit}&offset={offset + limit}", "next", "The next page"))
        return {"title": "Jobs", "jobs": [status(service, job) for job in found], "links": links}

    def results(self, request: Request, id: str) -> Response:
        """What a job made. Raises NoSuchJob, ResultNotReady, and what it failed with."""
        job = self.job(request, id)
        if job.status == "failed":
            raise Failed(job)
        if job.status != "successful":
            raise ResultNotReady(f"job {id} is {job.status}: {job.message}; look at its status, and ask again when it is successful")
        process = processes_of(self._operator or (lambda tile: {}))[_process_of(job)]
        return _answer(process, self.jobs.result(job), job.process.endswith(_DOCUMENT))


class Failed(Exception):
    """A job's own failure, told again."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.message)
        self.status = HTTPStatus(job.code or 500)


def status(service: Service, job: Job) -> dict[str, Any]:
    """A job as the standard tells it (statusInfo)."""
    base = f"{service.url}/ogc/jobs/{job.id}"
    links = [_link(base, "self", "This job"), _page_link(base)]
    if job.status == "successful":
        links.append({"href": f"{base}/results", "rel": f"{_RELATION}/results", "type": job.media_type or JSON, "title": "Its result"})
    told: dict[str, Any] = {
        "jobID": job.id,
        "processID": _process_of(job),
        "type": "process",
        "status": job.status,
        "message": job.message,
        "progress": job.progress,
        "created": job.created.isoformat(timespec="milliseconds"),
        "updated": job.updated.isoformat(timespec="milliseconds"),
    }
    told |= {name: moment.isoformat(timespec="milliseconds") for name in ("started", "finished") if (moment := getattr(job, name))}
    return told | {"links": links}


def _process_of(job: Job) -> str:
    return job.process.removesuffix(_DOCUMENT)


def owner_of(request: Request) -> str:
    """Whose job it is: the holder of a key, or else an address."""
    exchange = exchange_of(request.scope)
    if exchange is not None and exchange.key is not None:
        return f"{_KEY}{exchange.key.name}"
    return f"address {request.client.host if request.client else ''}"


def _work(process: Process, atlas: Any, inputs: dict[str, Any], budget: Budget) -> Result:
    return process.run(atlas, inputs, budget, ASYNC_TILES)


def _prefers_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).lower()
    return "respond-async" in (part.split(";")[0].strip() for part in preferences.split(","))


# ---- reading


def _read(process: Process, body: bytes) -> tuple[dict[str, Any], bool]:
    """The inputs of an execution, checked, and whether a document is wanted. Raises InvalidParameter, MissingParameter, OperationNotSupported."""
    try:
        told = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InvalidParameter('the body is no JSON; send {"inputs": {...}}') from None
    if not isinstance(told, dict):
        raise InvalidParameter('the body is no JSON object; send {"inputs": {...}}')
    if told.get("subscriber") is not None:
        raise OperationNotSupported(
            "a subscriber is not called back here: no address of a request is ever opened; look at the job's status instead"
        )
    for name in told:
        if name not in _MEMBERS:
            raise InvalidParameter(f"member {shown(name)} is not known here; use {', '.join(_MEMBERS[:3])}")
    media_type = _asked_format(process, told.get("outputs"))
    if told.get("response", "raw") not in ("raw", "document"):
        raise InvalidParameter(f"response={shown(str(told['response']))} is neither raw nor document")
    given = told.get("inputs", {})
    if not isinstance(given, dict):
        raise InvalidParameter("inputs is no JSON object; name each input with its value")
    values = {}
    for name, value in given.items():
        if name not in process.inputs:
            known = process.inputs
            raise InvalidParameter(f"{shown(name)} is no input of {process.id}; use {', '.join(known)}.{did_you_mean(name[:60], known)}")
        values[name] = _value(name, value)
    for name, one in process.inputs.items():
        if one.required and name not in values:
            raise MissingParameter(f"input {name!r} is missing: {one.title}")
        if name in values and one.checked:
            _check(name, values[name], one.schema)
    if media_type:
        values[MEDIA_TYPE] = media_type
    return values, told.get("response") == "document"


def _no_number(constant: str) -> float:
    """NaN and Infinity, which Python reads and JSON has not."""
    raise ValueError(constant)


def _value(name: str, value: Any) -> Any:
    """An input as given, or inside an object that qualifies it."""
    if isinstance(value, dict) and "href" in value:
        raise OperationNotSupported(
            f"input {name!r} is given by a reference; no address of a request is ever opened, give the value itself"
        )
    if isinstance(value, dict) and "value" in value and "type" not in value:
        return value["value"]
    return value


def _check(name: str, value: Any, schema: Mapping[str, Any]) -> None:
    try:
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
    except RecursionError:
        raise InvalidParameter(f"input {name!r} is nested too deep") from None
    if error is not None:
        where = "".join(f"[{part!r}]" for part in list(error.absolute_path)[:8])
        raise InvalidParameter(f"input {name!r}{where} is not as the process describes it: {shown(error.message, 200)}")


def _asked_format(process: Process, asked: Any) -> str:
    """The media type that is asked of the output; empty where none is."""
    if asked is None:
        return ""
    if not isinstance(asked, dict):
        raise InvalidParameter("outputs is no JSON object; leave it out, or name the output")
    media_type: Any = ""
    for name, how in asked.items():
        if name != process.output:
            raise InvalidParameter(f"{shown(name)} is no output of {process.id}; it has one, {process.output}")
        if not isinstance(how, dict) or how.get("transmissionMode", "value") != "value":
            raise OperationNotSupported("outputs are given as values only; leave transmissionMode out")
        form = how.get("format", {})
        media_type = form.get("mediaType", "") if isinstance(form, dict) else None
        if media_type != "" and media_type not in process.media_types:
            raise InvalidParameter(f"output {name} comes as {', '.join(process.media_types)}, not as {shown(str(media_type))}")
    return str(media_type)


# ---- answering


def _answer(process: Process, result: Result, as_document: bool) -> Response:
    if not as_document:
        headers = {}
        if result.filename:
            how = "inline" if result.media_type in DRAWN else "attachment"
            headers["Content-Disposition"] = f'{how}; filename="{result.filename}"'
        if result.media_type in POLICIES:
            headers["Content-Security-Policy"] = POLICIES[result.media_type]
        return Response(result.body, HTTPStatus.OK, headers, result.media_type)
    if result.media_type == JSON:
        value = json.loads(result.body)
    else:
        value = {"value": base64.b64encode(result.body).decode(), "encoding": "base64", "mediaType": result.media_type}
    return Response(json.dumps({process.output: value}, ensure_ascii=False), HTTPStatus.OK, media_type=JSON)


def _summary(service: Service, process: Process) -> dict[str, Any]:
    base = f"{service.url}/ogc/processes/{process.id}"
    return {
        "id": process.id,
        "title": process.title,
        "description": process.description,
        "version": "1.0.0",
        "jobControlOptions": ["async-execute"] if process.only_async else ["sync-execute", "async-execute"],
        "outputTransmission": ["value"],
        "links": [
            _link(base, "self", "This process"),
            _page_link(base),
            _link(f"{base}/execution", f"{_RELATION}/execute", "Run it (POST)"),
        ],
    }


def _output_schema(media_type: str) -> dict[str, Any]:
    if media_type == JSON:
        return {"type": "object", "contentMediaType": JSON}
    return {"type": "string", "contentEncoding": "binary", "contentMediaType": media_type}


def _link(href: str, rel: str, title: str) -> dict[str, str]:
    return {"href": href, "rel": rel, "type": JSON, "title": title}


def _page_link(base: str) -> dict[str, str]:
    return {"href": f"{base}?f=html", "rel": "alternate", "type": "text/html", "title": "This document as HTML"}


# ---- OpenAPI

SCHEMAS: Document = {
    "processes": {
        "type": "object",
        "required": ["processes", "links"],
        "properties": {"processes": {"type": "array", "items": ref("process")}, "links": {"type": "array", "items": ref("link")}},
    },
    "process": {
        "type": "object",
        "required": ["id", "version", "jobControlOptions"],
        "properties": {
            "id": {"type": "string"},
            "title": {"type": "string"},
            "version": {"type": "string"},
            "jobControlOptions": {"type": "array", "items": {"type": "string", "enum": ["sync-execute", "async-execute"]}},
            "inputs": {"type": "object"},
            "outputs": {"type": "object"},
        },
    },
    "job": {
        "type": "object",
        "required": ["jobID", "type", "status"],
        "properties": {
            "jobID": {"type": "string"},
            "processID": {"type": "string"},
            "type": {"type": "string", "enum": ["process"]},
            "status": {"type": "string", "enum": ["accepted", "running", "successful", "failed", "dismissed"]},
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        },
    },
    "jobs": {
        "type": "object",
        "required": ["jobs", "links"],
        "properties": {"jobs": {"type": "array", "items": ref("job")}, "links": {"type": "array", "items": ref("link")}},
    },
}


def paths() -> Document:
    """The paths of processes and jobs. The operator's own process is in no public document."""
    text = {"type": "string"}
    job = {"name": "jobId", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,60}$"}}
    told: Document = {
        "/processes": {"get": get("The processes", LIST, {JSON: ref("processes"), HTML: text})},
        "/processes/{processId}": {
            "parameters": [path_parameter("processId", "a process", PROCESSES)],
            "get": get("A process", DOCUMENT, {JSON: ref("process"), HTML: text}, missing=True),
        },
        "/jobs": {"get": get("The jobs of the key that is sent", LIST, {JSON: ref("jobs"), HTML: text})},
        "/jobs/{jobId}": {
            "parameters": [job],
            "get": get("A job", DOCUMENT, {JSON: ref("job"), HTML: text}, missing=True),
            "delete": get("Dismiss a job", (), {JSON: ref("job")}, missing=True),
        },
        "/jobs/{jobId}/results": {"parameters": [job], "get": get("What a job made", (), {JSON: {}}, missing=True)},
    }
    for process in PROCESSES.values():
        told[f"/processes/{process.id}/execution"] = {"post": _post(process)}
    return told


_OUTPUT = {
    "type": "object",
    "properties": {"format": {"type": "object", "properties": {"mediaType": {"type": "string"}}}},
    "description": "The media type it is to come as; the first one without",
}


def _post(process: Process) -> Document:
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {
                "type": "object",
                "required": [name for name, one in process.inputs.items() if one.required],
                "properties": {name: dict(one.schema) for name, one in process.inputs.items()},
                "additionalProperties": False,
            },
            "outputs": {"type": "object", "properties": {process.output: _OUTPUT}},
            "response": {"type": "string", "enum": ["raw", "document"]},
        },
        "additionalProperties": False,
    }
    content = {
        media_type: {"schema": {} if media_type == JSON else {"type": "string", "format": "binary"}} for media_type in process.media_types
    }
    return {
        "summary": process.title,
        "description": process.description,
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "responses": {
            "200": {"description": "The result", "content": content | {JSON: {"schema": {"type": "object"}}}},
            "201": {"description": "A job was made (Prefer: respond-async)", "content": {JSON: {"schema": ref("job")}}},
            **refusals(missing=True),
            "413": {"description": "The body is too large", "content": {PROBLEM: {"schema": ref("exception")}}},
        },
    }
