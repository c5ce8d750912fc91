"""Forms with photos, read in memory: not a byte of what strangers send is written to a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import Request

from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.guard import Refused
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.settings import MOST_BODY

_FIELDS, _FIELD_BYTES, _NAME = 64, 10_000, 200
_CHUNK = 1 << 20
_PHOTOS = (b"\xff\xd8\xff", b"\x89PNG")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A photo as it came."""

    field: str
    filename: str
    data: bytes
    id: str
    """SHA-256 of the bytes."""


def upload_of(field: str, filename: str, data: bytes) -> Upload:
    """A photo with its id."""
    return Upload(field=field, filename=filename[:_NAME], data=data, id=hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form that was sent."""

    photos: tuple[Upload, ...]
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The values of a field, in their order; also as ``name[]``, and several in one separated by commas."""
        given = [value for field, value in self.fields if field in (name, f"{name}[]")]
        return [part.strip() for value in given for part in value.split(",") if part.strip()]

    def one(self, name: str, default: str = "") -> str:
        """The value of a field. Raises Refused where it is given twice."""
        given = [value for field, value in self.fields if field == name]
        if len(given) > 1:
            raise refuse(HTTPStatus.BAD_REQUEST, f"{name} is given {len(given)} times; give it once", "form")
        return given[0].strip() if given else default


def content_of(request: Request) -> bytes:
    """The boundary of a form. Raises Refused (415) for another body."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        given = shown(request.headers.get("content-type", ""))
        raise refuse(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body is {given}; send multipart/form-data with its boundary, a photo a part", "form"
        )
    return bytes(options[b"boundary"])


def read_form(body: bytes, boundary: bytes, *, photos: Sequence[str], most: int) -> Form:
    """Take a body apart. `photos`: names of fields that hold them; `most`: how many. For a thread. Raises Refused (400)."""
    found: list[Upload] = []
    fields: list[tuple[str, str]] = []

    def on_file(file: File) -> None:
        name = _text(file.field_name)
        data = file.file_object.getvalue()  # type: ignore[union-attr]
        if not data and not file.file_name:
            return
        keep(name, _text(file.file_name), data)

    def keep(name: str, filename: str, data: bytes) -> None:
        if name not in photos:
            wanted = f"photos are sent as {photos[0]}" if photos else "no files are wanted here"
            raise refuse(HTTPStatus.BAD_REQUEST, f"a file is sent as {shown(name)}; {wanted}", "form")
        if len(found) == most:
            raise refuse(HTTPStatus.BAD_REQUEST, f"more than {most} photos are sent; send at most {most} of one plant", "form")
        found.append(upload_of(name, filename, data))

    def on_field(field: Field) -> None:
        name = _text(field.field_name)
        if name in photos and not field.value:  # as a page sends a choice of files that was left empty
            return
        if name in photos and field.value and field.value.startswith(_PHOTOS):  # without a name, or with one only as RFC 5987 has it
            keep(name, "", field.value)
            return
        if name in photos:
            raise refuse(
                HTTPStatus.BAD_REQUEST, f"{name} holds a text, no photo; addresses of photos are not fetched here, send the photos", "form"
            )
        if len(fields) == _FIELDS or len(field.value or b"") > _FIELD_BYTES:  # the parser itself bounds only forms of another kind
            raise refuse(HTTPStatus.BAD_REQUEST, f"a form holds at most {_FIELDS} fields, of {_FIELD_BYTES} bytes each; send fewer", "form")
        fields.append((name, _text(field.value)))

    if b"--" + boundary + b"--" not in body:
        raise refuse(HTTPStatus.BAD_REQUEST, "the form ends before its last boundary: it was cut on its way; send it again", "form")
    limits = {"MAX_MEMORY_FILE_SIZE": MOST_BODY + 1, "UPLOAD_ERROR_ON_BAD_CTE": True}
    view = memoryview(body)
    try:
        parser = FormParser("multipart/form-data", on_field, on_file, boundary=boundary, config=limits)
        for start in range(0, len(body), _CHUNK):
            parser.write(bytes(view[start : start + _CHUNK]))
        parser.finalize()
    except Refused:
        raise
    except (FormParserError, ValueError, LookupError) as error:
        raise refuse(HTTPStatus.BAD_REQUEST, f"the body is no multipart form ({shown(str(error), 100)})", "form") from error
    return Form(photos=tuple(found), fields=tuple(fields))


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace").replace("\0", "")
