"""A tiny saved model, its HTTP application without Ray, and a client that drives the application itself."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import uvicorn
from PIL import Image
from starlette.types import ASGIApp, Message

from raytl.models.classifier import build_classifier
from raytl.use.bounds import Bounds
from raytl.use.card import ModelCard
from raytl.use.export import LoadedModel, load_model, save_model
from raytl.use.sight import HeatMap, ServedModel, Sight
from raytl.use.viewer import Opened, Viewer
from raytl.use.web_app import LOOPBACK, make_app
from tests.pictures import noise
from tests.tiny import tiny_recipe

SERVED = ServedModel("tiny", ("a", "b", "c"), "1.2.3")
LIMITS = Bounds(most_bytes=100_000, most_pictures=4, most_pixels=10_000, body_seconds=5, answer_seconds=5)


def saved_model(folder: Path, classes: tuple[str, ...] = SERVED.classes, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    recipe = tiny_recipe()
    save_model(folder, build_classifier(recipe, len(classes)), recipe, classes, ModelCard("generated pictures"))
    return folder


def png(seed: int, width: int = 40, height: int = 30) -> bytes:
    return picture_file(noise(seed, width, height))


def picture_file(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Direct:
    """The model itself, one request after the other."""

    def __init__(self, loaded: LoadedModel, most_pixels: int = LIMITS.most_pixels) -> None:
        self.viewer = Viewer(loaded, most_pixels)

    async def see(self, pictures: Sequence[bytes], explain: bool) -> list[Sight]:
        return [self._sight(self.viewer.open(data), explain) for data in pictures]

    async def check(self) -> None:
        self.viewer.classify([self.viewer.drawn()])

    def _sight(self, opened: Opened | Sight, explain: bool) -> Sight:
        if isinstance(opened, Sight):
            return opened
        sight = self.viewer.classify([opened])[0]
        if not explain:
            return sight
        found = self.viewer.explain([opened], [str(sight.predicted)])[0]
        return replace(sight, heat_map=found) if isinstance(found, HeatMap) else replace(sight, heat_problem=found)


def direct_app(model: Path, bounds: Bounds = LIMITS) -> ASGIApp:
    loaded = load_model(model)
    return make_app(replace(SERVED, classes=loaded.classes), Direct(loaded, bounds.most_pixels), bounds, LOOPBACK)


@dataclass(frozen=True)
class Reply:
    """What came back, and how many parts of the body had been asked for by then."""

    status: int
    headers: dict[str, str]
    body: bytes
    parts_read: int

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        return str(self.said["problem"])


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    parts: Sequence[bytes] | AsyncIterator[bytes] = (),
    headers: dict[str, str] | None = None,
) -> Reply:
    """One request, without a network; `parts` of the body come as they are asked for."""
    target, _, query = path.partition("?")
    named = {"host": "127.0.0.1:8000", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
    }
    body, sent, read = _each(parts), list[Message](), 0

    async def receive() -> Message:
        nonlocal read
        try:
            part = await anext(body)
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        read += 1
        return {"type": "http.request", "body": part, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:]), read)


async def _each(parts: Sequence[bytes] | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(parts, Sequence):
        for part in parts:
            yield part
    else:
        async for part in parts:
            yield part


def get(app: ASGIApp, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
    return asyncio.run(ask(app, method, path, (), headers))


def form(files: dict[str, bytes], fields: dict[str, str] | None = None) -> tuple[bytes, dict[str, str]]:
    """A multipart body, written by hand after RFC 7578, and its headers."""
    mark = uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (fields or {}).items()
    ]
    for name, data in files.items():
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n")
    body = b"".join(parts) + f"--{mark}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={mark}", "content-length": str(len(body))}


def post_form(app: ASGIApp, files: dict[str, bytes], fields: dict[str, str] | None = None) -> Reply:
    body, headers = form(files, fields)
    return asyncio.run(ask(app, "POST", "/predict", [body], headers))


def post_json(app: ASGIApp, said: object) -> Reply:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return asyncio.run(ask(app, "POST", "/predict", [body], {"content-type": "application/json"}))


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """The application on a free port of this machine; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
