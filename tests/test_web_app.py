"""What `raytl serve` answers, without Ray: pictures, bounds, errors, headers."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.types import ASGIApp

from raytl.errors import ConfigError
from raytl.use import viewer
from raytl.use.bounds import Bounds, RefusedError, Room
from raytl.use.explain import heat_name, save_heat_maps
from raytl.use.export import load_model
from raytl.use.predict import see
from raytl.use.sight import Sight
from raytl.use.web_app import HEADERS, LOOPBACK, make_app
from tests.served import LIMITS, SERVED, Reply, ask, direct_app, form, get, picture_file, png, post_form, post_json
from tests.served import saved_model as save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("secret-place") / "tiny")


@pytest.fixture(scope="module")
def app(saved: Path) -> ASGIApp:
    return direct_app(saved)


def test_answers_are_those_of_predictions_from_files(app: ASGIApp, saved: Path, tmp_path: Path) -> None:
    files = {f"{seed}.png": png(seed, 30 + 7 * seed) for seed in range(3)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    expected = [each.prediction for part in see(load_model(saved), sorted(tmp_path.iterdir()), 1) for each in part]
    said = post_form(app, files).said
    assert said["model"] == "tiny" and [each["file"] for each in said["pictures"]] == list(files)
    for found, each in zip(said["pictures"], expected, strict=True):
        assert (found["predicted"], found["probabilities"]) == (each.predicted, each.probabilities)
        assert found["probability"] == max(each.probabilities.values())
        assert list(found["probabilities"].values()) == sorted(each.probabilities.values(), reverse=True)
    encoded = post_json(app, {"pictures": [b64encode(data).decode() for data in files.values()]}).said
    assert [{**each, "file": None} for each in said["pictures"]] == encoded["pictures"]


def test_the_heat_map_is_the_one_that_predict_writes(app: ASGIApp, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(5, 80, 40))
    loaded = load_model(saved)
    save_heat_maps(loaded, next(see(loaded, [tmp_path / "x.png"])), tmp_path / "heat")
    found = post_form(app, {"x.png": png(5, 80, 40)}, {"explain": "true"}).said["pictures"][0]
    assert b64decode(found["heat_map"]) == (tmp_path / "heat" / heat_name(tmp_path / "x.png")).read_bytes()
    # 80 x 40 becomes 40 x 20, of which the model sees 16 x 16 in the middle.
    assert found["heat_map_box"] == pytest.approx([12 / 40, 2 / 20, 16 / 40, 16 / 20])


def test_a_model_without_heat_maps_says_why_and_answers(
    saved: Path, monkeypatch: pytest.MonkeyPatch, app: ASGIApp
) -> None:
    def refuse(*_: object) -> list[bytes]:
        raise ConfigError("its last map has no rows")

    monkeypatch.setattr(viewer, "heat_pngs", refuse)
    found = post_form(app, {"x.png": png(1)}, {"explain": "true"}).said["pictures"][0]
    assert found["heat_map_problem"] == "its last map has no rows" and "heat_map" not in found
    assert found["predicted"] in "abc"


@pytest.mark.parametrize("top", [1, 2, 3])
def test_only_so_many_classes_are_told(app: ASGIApp, top: int) -> None:
    by_form = post_form(app, {"x.png": png(1)}, {"top": str(top)}).said["pictures"][0]
    by_json = post_json(app, {"pictures": [b64encode(png(1)).decode()], "top": top}).said["pictures"][0]
    assert len(by_form["probabilities"]) == top and by_form["predicted"] in by_form["probabilities"]
    assert by_form["probabilities"] == by_json["probabilities"]


def test_a_bad_picture_gets_its_reason_and_the_others_are_answered(app: ASGIApp) -> None:
    cut = png(2)[:-40]
    reply = post_form(app, {"cut.png": cut, "none.txt": b"hello", "good.png": png(1), "empty.png": b""})
    assert reply.status == 200
    found = reply.said["pictures"]
    assert [sorted(each) for each in (found[0], found[1], found[3])] == [["file", "problem"]] * 3
    assert found[2]["predicted"] in "abc"
    assert found[1]["problem"].startswith("not a picture of a known kind (JPEG, PNG")
    assert found[3]["problem"] == "empty file"


def test_where_no_picture_can_be_read_the_status_says_so(app: ASGIApp) -> None:
    cut = post_form(app, {"cut.png": png(2)[:-40], "none.txt": b"hello"})
    assert cut.status == 422 and "2 pictures, and none could be read" in cut.problem
    assert all(each["problem"] for each in cut.said["pictures"])
    assert post_form(app, {"picture.png": b"%PDF-1.7 not what its name says"}).status == 415


def header_of(width: int, height: int) -> bytes:
    """The begin of a PNG that says so many pixels, and no pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data", [header_of(30_000, 30_000), header_of(2**31 - 1, 2**31 - 1), picture_file(Image.new("1", (200, 51)))]
)
def test_pictures_of_too_many_pixels_are_not_decoded(
    app: ASGIApp, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "convert", refuse)
    reply = post_form(app, {"bomb.png": data})
    assert reply.status == 422
    assert "pixels" in reply.said["pictures"][0]["problem"]


def test_a_picture_of_just_so_many_pixels_is_answered(app: ASGIApp) -> None:
    assert post_form(app, {"x.png": png(1, 100, 100)}).status == 200


def test_a_body_that_says_it_is_too_large_is_not_read(app: ASGIApp) -> None:
    body, headers = form({"x.png": bytes(LIMITS.most_bytes)})
    reply = asyncio.run(ask(app, "POST", "/predict", [body], headers))
    assert (reply.status, reply.parts_read) == (413, 0)
    assert f"{len(body):,} bytes" in reply.problem and "0.1 MB" in reply.problem and "--max-megabytes" in reply.problem


def test_a_body_is_counted_while_it_comes(app: ASGIApp) -> None:
    for said in ({}, {"content-length": "10"}):
        headers = {"content-type": "application/json", **said}
        reply = asyncio.run(ask(app, "POST", "/predict", [bytes(10_000)] * 1000, headers))
        assert (reply.status, reply.parts_read) == (413, 11)


def test_a_body_that_does_not_come_is_not_waited_for(saved: Path) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    app = direct_app(saved, replace(LIMITS, body_seconds=0.05))
    reply = asyncio.run(ask(app, "POST", "/predict", stuck(), {"content-type": "application/json"}))
    assert reply.status == 408 and "after 0.05 s" in reply.problem


def test_too_many_pictures_are_refused(app: ASGIApp) -> None:
    most = LIMITS.most_pictures
    files = {f"{index}.png": png(index, 8, 8) for index in range(most + 1)}
    encoded = [b64encode(data).decode() for data in files.values()]
    for reply in (post_form(app, files), post_json(app, {"pictures": encoded})):
        assert reply.status == 413 and f"a request may have {most}" in reply.problem
    assert post_json(app, {"pictures": encoded[:most]}).status == 200


ONE = b64encode(png(1)).decode()


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"pictures": ["\xff"]}', "no JSON"),
        ([ONE], "an object with a list"),
        ({"pictures": ONE}, "an object with a list"),
        ({"pictures": []}, "no picture in the request"),
        ({"pictures": [ONE, "!"]}, "picture 2 is no base64 text"),
        ({"pictures": [3]}, "picture 1 is no base64 text"),
        ({"pictures": [f"data:image/png;base64,{ONE}"]}, "without 'data:...,'"),
        ({"pictures": ["https://example.org/x.png"]}, "no address is fetched"),
        ({"pictures": ["é"]}, "picture 1 is no base64 text"),
        ({"pictures": [ONE], "url": "http://127.0.0.1"}, "'url': a request has pictures, top, explain"),
        ({"pictures": [ONE], "top": 0}, "top='0': give a whole number from 1 to 3"),
        ({"pictures": [ONE], "top": 4}, "from 1 to 3"),
        ({"pictures": [ONE], "top": True}, "top='True'"),
        ({"pictures": [ONE], "top": 1.5}, "top='1.5'"),
        ({"pictures": [ONE], "explain": "perhaps"}, "explain='perhaps': give true or false"),
        ({"pictures": [ONE], "explain": 1}, "explain='1'"),
    ],
)
def test_json_that_cannot_be_answered_is_told_what_is_wrong(app: ASGIApp, said: object, word: str) -> None:
    reply = post_json(app, said)
    assert reply.status == 400 and word in reply.problem


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"file": "http://127.0.0.1/x.png"}, "no address is fetched"),
        ({"url": "http://127.0.0.1/x.png"}, "'url': a request has file, top, explain"),
        ({"top": "9" * 5000}, "from 1 to 3"),
        ({"top": "²"}, "from 1 to 3"),
        ({"explain": "maybe"}, "give true or false"),
        ({str(index): "" for index in range(9)}, "cannot be read"),
    ],
)
def test_a_form_that_cannot_be_answered_is_told_what_is_wrong(app: ASGIApp, fields: dict[str, str], word: str) -> None:
    reply = post_form(app, {"x.png": png(1)}, fields)
    assert reply.status == 400 and word in reply.problem


def test_forms_without_pictures_or_without_end(app: ASGIApp) -> None:
    assert "no picture in the request" in post_form(app, {}, {"top": "1"}).problem
    headers = {"content-type": "multipart/form-data"}
    assert asyncio.run(ask(app, "POST", "/predict", [b"x"], headers)).status == 400
    body, headers = form({"x.png": png(1)})
    assert asyncio.run(ask(app, "POST", "/predict", [body[:-60]], headers)).status == 400
    for kind in ("image/png", "", "application/x-www-form-urlencoded"):
        reply = asyncio.run(ask(app, "POST", "/predict", [png(1)], {"content-type": kind}))
        assert (reply.status, reply.parts_read) == (415, 0) and repr(kind) in reply.problem
    body, headers = form({"x.png": png(1)})
    reply = asyncio.run(ask(app, "POST", "/predict?top=1", [body], headers))
    assert reply.status == 400 and "'top' in the address" in reply.problem


def test_a_body_in_many_parts_is_one_body(app: ASGIApp) -> None:
    body, headers = form({"x.png": png(1)}, {"top": "1"})
    reply = asyncio.run(ask(app, "POST", "/predict", [body[i : i + 7] for i in range(0, len(body), 7)], headers))
    assert reply.said == post_form(app, {"x.png": png(1)}, {"top": "1"}).said


def test_file_names_lose_their_folders(app: ASGIApp) -> None:
    for name, rest in (("/srv/pictures/x.png", "x.png"), ("C:\\\\me\\\\x.png", "x.png"), ("y" * 900, "y" * 200)):
        assert post_form(app, {name: png(1)}).said["pictures"][0]["file"] == rest


def test_nothing_is_connected_to_and_nothing_is_written(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", refuse)
    assert post_form(app, {"x.png": png(1), "y.png": png(2) + bytes(90_000)}).status == 200


class Stuck:
    """A model that answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def see(self, pictures: Sequence[bytes], explain: bool) -> list[Sight]:
        self.asked.set()
        await self.go.wait()
        return [Sight("a", {"a": 1.0}) for _ in pictures]

    async def check(self) -> None:
        await self.go.wait()


@pytest.mark.parametrize(
    ("bounds", "read", "word"),
    [
        (replace(LIMITS, most_requests=1), 0, "requests that are waiting: 1, as many as may"),
        (replace(LIMITS, most_held_bytes=1000), 1, "MB, as much as may"),
    ],
)
def test_where_there_is_no_room_one_is_told_to_come_again(bounds: Bounds, read: int, word: str) -> None:
    async def scene() -> tuple[Reply, Reply, Reply]:
        model = Stuck()
        app = make_app(SERVED, model, bounds)
        body, headers = form({"x.png": bytes(600)})
        first = asyncio.create_task(ask(app, "POST", "/predict", [body], headers))
        await model.asked.wait()
        second = await ask(app, "POST", "/predict", [body], headers)
        model.go.set()
        return await first, second, await ask(app, "POST", "/predict", [body], headers)

    first, second, third = asyncio.run(scene())
    assert (first.status, second.status, third.status) == (200, 503, 200)
    assert second.parts_read == read and second.headers["retry-after"] == "1" and word in second.problem


def test_a_room_is_empty_again_whatever_happens() -> None:
    room = Room(replace(LIMITS, most_requests=1, most_held_bytes=100))
    for _ in range(3):
        with pytest.raises(RefusedError) as refused, room.place() as place:
            place.hold(100)
            place.hold(1)
        assert refused.value.status == 503
    with room.place(), pytest.raises(RefusedError), room.place():
        pass


def test_a_model_that_does_not_answer_is_told_of_in_time() -> None:
    first, second = (make_app(SERVED, Stuck(), replace(LIMITS, answer_seconds=0.05)) for _ in range(2))
    for reply in (get(first, "/health"), post_form(second, {"x.png": png(1)})):
        assert reply.status == 503 and "within 0.05 s" in reply.problem and reply.headers["retry-after"] == "1"


class Broken(Stuck):
    """A model that fails with a message that nobody else is to read."""

    async def see(self, pictures: Sequence[bytes], explain: bool) -> list[Sight]:
        raise RuntimeError("/srv/secret-place/model.safetensors is gone")

    async def check(self) -> None:
        raise RuntimeError("/srv/secret-place is gone")


def test_what_went_wrong_inside_is_not_told_outside(caplog: pytest.LogCaptureFixture) -> None:
    reply = post_form(make_app(SERVED, Broken(), LIMITS), {"x.png": png(1)})
    assert reply.status == 500 and "secret" not in reply.body.decode() and "its log says why" in reply.problem
    assert "secret-place" in caplog.text


def every_reply(app: ASGIApp) -> list[Reply]:
    return [
        *(get(app, path) for path in ("/", "/docs", "/openapi.json", "/health", "/nothing", "/predict")),
        post_form(app, {"x.png": png(1)}, {"explain": "true"}),
        post_form(app, {"x.png": b"no"}),
        post_json(app, {}),
        get(app, "/", headers={"host": "evil.example"}),
    ]


def test_every_answer_carries_the_headers_and_no_path(app: ASGIApp, saved: Path) -> None:
    replies = every_reply(app)
    assert [reply.status for reply in replies] == [200, 200, 200, 200, 404, 405, 200, 415, 400, 421]
    for reply in replies:
        assert set(HEADERS) <= set(reply.headers)
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        for path in (str(saved), str(saved.parent), str(Path.cwd()), "site-packages"):
            assert path not in reply.body.decode()
    assert replies[5].headers["allow"] == "POST" and "POST /predict" in replies[5].problem


def test_health_says_which_model_answers(app: ASGIApp) -> None:
    said = get(app, "/health").said
    assert said == {"status": "ok", "model": "tiny", "classes": ["a", "b", "c"], "version": "1.2.3"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("10.0.0.7:8000", 421),
        ("", 421),
    ],
)
def test_a_server_of_this_machine_answers_to_its_own_names(app: ASGIApp, host: str, status: int) -> None:
    assert get(app, "/openapi.json", headers={"host": host}).status == status


def test_a_server_for_others_answers_to_any_name() -> None:
    model: Any = Stuck()
    assert get(make_app(SERVED, model, LIMITS), "/openapi.json", headers={"host": "pictures.example"}).status == 200
    assert "127.0.0.1" in LOOPBACK
