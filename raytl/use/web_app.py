"""The HTTP application of `raytl serve`: what is asked under which address, and what every answer carries.

It knows neither torch nor Ray: what answers is a `Model`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raytl.results.page import POLICY
from raytl.use.bounds import Bounds, RefusedError, Room
from raytl.use.front_page import front_page
from raytl.use.openapi import docs_page, schema
from raytl.use.sight import Model, ServedModel, Sight
from raytl.use.upload import Wanted, read_wanted

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",  # pages say their own
}
ADDRESSES = "GET /, /docs, /openapi.json and /health, and POST /predict"
T = TypeVar("T")
_log = logging.getLogger(__name__)


def make_app(served: ServedModel, model: Model, bounds: Bounds, hosts: frozenset[str] | None = None) -> ASGIApp:
    """An ASGI application.

    `hosts`: the names that it may be called by, without ports; a page of strangers cannot then reach it by a name of
    theirs that leads to this machine (DNS rebinding). None: any.
    """
    front, docs, said = front_page(served, bounds), docs_page(served, bounds), schema(served, bounds)
    answers = _Answers(served, model, bounds, Room(bounds))

    async def page(request: Request) -> Response:
        return HTMLResponse(front.text, headers={"content-security-policy": front.policy})

    async def readable(request: Request) -> Response:
        return HTMLResponse(docs, headers={"content-security-policy": f"{POLICY}; frame-ancestors 'none'"})

    async def openapi(request: Request) -> Response:
        return JSONResponse(said)

    routes = [
        Route("/", page),
        Route("/docs", readable),
        Route("/openapi.json", openapi),
        Route("/health", answers.health),
        Route("/predict", answers.predict, methods=["POST"]),
    ]
    handlers = {RefusedError: _refused, HTTPException: _not_here, ClientDisconnect: _gone, Exception: _broken}
    return _Guard(Starlette(routes=routes, exception_handlers=handlers), hosts)


@dataclass(frozen=True)
class _Answers:
    """What depends on the model."""

    served: ServedModel
    model: Model
    bounds: Bounds
    room: Room

    async def health(self, request: Request) -> Response:
        await self._in_time(self.model.check())
        return JSONResponse({"status": "ok", **self.served.said()})

    async def predict(self, request: Request) -> Response:
        with self.room.place() as place:
            wanted = await read_wanted(request, self.bounds, place, len(self.served.classes))
            data = [upload.data for upload in wanted.uploads]
            sights = await self._in_time(self.model.see(data, wanted.explain))
        return _answer(self.served, wanted, sights)

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(answer, self.bounds.answer_seconds)
        except TimeoutError:
            raise RefusedError.busy(f"the model has not answered within {self.bounds.answer_seconds:g} s") from None


def _answer(served: ServedModel, wanted: Wanted, sights: list[Sight]) -> Response:
    """200 where at least one picture could be read; 415 where none is a picture, else 422."""
    rows = zip(wanted.uploads, sights, strict=True)
    said = {"model": served.name, "pictures": [sight.said(upload.name, wanted.top) for upload, sight in rows]}
    if any(sight.predicted is not None for sight in sights):
        return JSONResponse(said)
    status = 422 if any(sight.known_kind for sight in sights) else 415
    count = f"{len(sights)} picture{'s' * (len(sights) > 1)}"
    problem = f"{count}, and none could be read; what is wrong stands with each; send whole picture files"
    return JSONResponse({"problem": problem, **said}, status)


def _refusal_response(refusal: RefusedError) -> Response:
    headers = {} if refusal.retry_seconds is None else {"retry-after": str(refusal.retry_seconds)}
    return JSONResponse({"problem": refusal.problem}, refusal.status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _refusal_response(error)


async def _not_here(request: Request, error: Exception) -> Response:
    """404 and 405, which starlette raises."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method[:20]} {request.url.path[:80]}"
    response = _refusal_response(RefusedError(error.status_code, f"{asked}: not served here; there are {ADDRESSES}"))
    response.headers.update(error.headers or {})
    return response


async def _broken(request: Request, error: Exception) -> Response:
    """What went wrong inside is told to the log alone."""
    problem = "the server could not answer; its log says why; send the request again, or tell its owner"
    return _refusal_response(RefusedError(500, problem))


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this: the client has closed the connection."""
    return Response(status_code=400)


class _Guard:
    """Refuses foreign host names, adds the headers of every answer, and logs what went wrong."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hardened = _Hardened(send)
        refusal = self._foreign(scope)
        try:
            await (self._app if refusal is None else _refusal_response(refusal))(scope, receive, hardened)
        except Exception:  # starlette has answered with `_broken`, and raises for the server's own log
            _log.exception("a request could not be answered")

    def _foreign(self, scope: Scope) -> RefusedError | None:
        host = Request(scope).headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts is None or name in self._hosts:
            return None
        here = ", ".join(sorted(self._hosts))
        return RefusedError(
            421, f"host {name[:80]!r}: this server answers to {here}; call it by one of these, or use --host"
        )


class _Hardened:
    """Sends on, with the headers that every answer carries."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            said = {name.lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in said]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)
