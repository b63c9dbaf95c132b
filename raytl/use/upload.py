"""A request's body, read within its bounds, and the pictures and wishes in it.

Nothing is written to a disk, and no address is ever fetched.
"""

from __future__ import annotations

import asyncio
import binascii
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from raytl.use.bounds import MEGABYTE, Bounds, Place, RefusedError

FORM, JSON = "multipart/form-data", "application/json"
FILE, PICTURES, TOP, EXPLAIN = "file", "pictures", "top", "explain"
NAME_LETTERS = 200  # chosen: of a file's name, which is said again in the answer
BOOLEANS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


@dataclass(frozen=True)
class Upload:
    """A picture file's bytes and, where it was said, its name without folders."""

    name: str | None
    data: bytes


@dataclass(frozen=True)
class Wanted:
    """What a request asks for: `top` likeliest classes of each picture (None: all), and heat maps or not."""

    uploads: tuple[Upload, ...]
    top: int | None = None
    explain: bool = False


async def read_wanted(request: Request, bounds: Bounds, place: Place, class_count: int) -> Wanted:
    """The pictures and wishes of a request.

    Raises:
        RefusedError: 400, 408, 413 or 415, or 503 where there is no room for its bytes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, JSON):
        raise RefusedError(
            415, f"content-type {kind[:NAME_LETTERS]!r}: a request is {FORM} or {JSON}; curl says -F file=@picture.jpg"
        )
    if request.query_params:
        said = ", ".join(sorted(request.query_params))[:NAME_LETTERS]
        raise RefusedError(
            400, f"{said!r} in the address: wishes stand in the body; send them as form fields or JSON keys"
        )
    body = await _body(request, bounds, place)
    if kind == JSON:
        return await asyncio.to_thread(_from_json, body, bounds, class_count)
    return await _from_form(request.headers, body, bounds, class_count)


async def _body(request: Request, bounds: Bounds, place: Place) -> bytes:
    """All of the body; what is larger than it may be is refused by its header, or as soon as too much has come."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > bounds.most_bytes:
        raise RefusedError(413, _too_large(f"{int(said):,}", bounds))
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > bounds.most_bytes:
                    raise RefusedError(413, _too_large(f"more than {bounds.most_bytes:,}", bounds))
                place.hold(len(chunk))
                body += chunk
    except TimeoutError:
        problem = f"the body was not there after {bounds.body_seconds:g} s; send it faster, or smaller pictures"
        raise RefusedError(408, problem) from None
    return bytes(body)


def _too_large(count: str, bounds: Bounds) -> str:
    return (
        f"{count} bytes: a request may have {bounds.most_bytes / MEGABYTE:g} MB; send smaller or fewer pictures, or "
        "start the server with a larger --max-megabytes"
    )


class _InMemory(MultiPartParser):
    """Keeps files in memory, whose size is bounded, where starlette would write those over 1 MB to a disk."""

    spool_max_size = 1 << 40


async def _from_form(headers: Headers, body: bytes, bounds: Bounds, class_count: int) -> Wanted:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(headers, once(), max_files=bounds.most_pictures, max_fields=4).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(f"more than {bounds.most_pictures}", bounds) from None
        raise RefusedError(
            400, f"the form cannot be read ({error.message}); send it as curl -F file=@PICTURE does"
        ) from None
    fields = {name: value for name, value in form.items() if name != FILE}
    _check_names(fields, (FILE, TOP, EXPLAIN))
    uploads = await _files(form)
    return _wanted(uploads, fields.get(TOP), fields.get(EXPLAIN), class_count)


async def _files(form: FormData) -> list[Upload]:
    uploads = []
    for value in form.getlist(FILE):
        if not isinstance(value, UploadFile):
            raise RefusedError(
                400, f"{FILE} is text: it must be a file, no address is fetched; curl says -F file=@PICTURE"
            )
        name = (value.filename or "").replace("\\", "/").rpartition("/")[2][:NAME_LETTERS]
        uploads.append(Upload(name or None, await value.read()))
    return uploads


def _from_json(body: bytes, bounds: Bounds, class_count: int) -> Wanted:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, 'the body is no JSON; send {"pictures": ["<base64>"]}') from None
    if not isinstance(said, dict) or not isinstance(said.get(PICTURES), list):
        raise RefusedError(400, 'the body must be an object with a list of base64 texts: {"pictures": ["<base64>"]}')
    _check_names(said, (PICTURES, TOP, EXPLAIN))
    if len(said[PICTURES]) > bounds.most_pictures:
        raise _too_many(f"{len(said[PICTURES])}", bounds)
    uploads = [Upload(None, _decoded(number, text)) for number, text in enumerate(said[PICTURES], 1)]
    return _wanted(uploads, said.get(TOP), said.get(EXPLAIN), class_count)


def _decoded(number: int, text: object) -> bytes:
    try:
        if isinstance(text, str):
            return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise RefusedError(
        400,
        f"picture {number} is no base64 text: send the bytes of the file as base64, without line breaks and without "
        "'data:...,' before it; no address is fetched",
    )


def _too_many(count: str, bounds: Bounds) -> RefusedError:
    problem = f"{count} pictures: a request may have {bounds.most_pictures}; send the others in another one"
    return RefusedError(413, problem)


def _check_names(fields: Mapping[str, object], known: tuple[str, ...]) -> None:
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise RefusedError(
            400, f"{', '.join(unknown)[:NAME_LETTERS]!r}: a request has {', '.join(known)}; leave out the others"
        )


def _wanted(uploads: list[Upload], top: object, explain: object, class_count: int) -> Wanted:
    if not uploads:
        raise RefusedError(400, "no picture in the request; send one or several, such as curl -F file=@PICTURE")
    return Wanted(tuple(uploads), _top(top, class_count), _explain(explain))


def _top(said: object, class_count: int) -> int | None:
    if said is None:
        return None
    if isinstance(said, str) and said.isascii() and said.isdecimal() and len(said) < 10:
        said = int(said)
    if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= class_count:
        problem = f"{TOP}={str(said)[:20]!r}: give a whole number from 1 to {class_count}, the number of classes"
        raise RefusedError(400, problem)
    return said


def _explain(said: object) -> bool:
    found = BOOLEANS.get(said.lower()) if isinstance(said, str) else said
    if found is None and said is None:
        return False
    if not isinstance(found, bool):
        raise RefusedError(400, f"{EXPLAIN}={str(said)[:20]!r}: give true or false")
    return found
