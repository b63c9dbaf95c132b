"""What `raytl serve` refuses before anything is started, and what it says."""

from __future__ import annotations

import importlib.util
import json
import shlex
import socket
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytl import serve_command
from raytl.cli import main
from raytl.data.decode import decode
from raytl.on_ray import serving
from raytl.serve_command import address, how_to_call, is_loopback
from tests.ports import free_port
from tests.served import saved_model

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of these are told before Ray is started."""

    def refuse(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(serving, "joined", refuse)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_named_with_the_remedy(taken: int, tmp_path: Path, capsys: Captured) -> None:
    assert main(["serve", str(tmp_path), "--port", str(taken)]) == 3
    said = capsys.readouterr().err
    assert f"127.0.0.1 port {taken}: cannot be listened at (Address already in use)" in said and "--port 8001" in said


def test_the_first_line_comes_before_anything_that_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def check_place(_host: str, _port: int) -> None:
        assert capsys.readouterr().err == "starting: loading m (this takes 10 seconds to a minute)\n"
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "check_place", check_place)
    assert main(["serve", "m"]) == 130


def test_a_host_that_is_another_machine_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert main(["serve", str(tmp_path), "--host", "192.0.2.77", "--port", str(free_port())]) == 3
    assert "192.0.2.77" in capsys.readouterr().err


def test_more_replicas_than_processors_are_refused(tmp_path: Path, capsys: Captured) -> None:
    assert main(["serve", str(tmp_path), "--replicas", "9999", "--port", str(free_port())]) == 3
    assert "--replicas 9999: each needs a processor" in capsys.readouterr().err


def test_a_folder_without_a_model_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert main(["serve", str(tmp_path), "--port", str(free_port())]) == 6
    assert "no saved model here" in capsys.readouterr().err


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    found = importlib.util.find_spec
    gone = ("fastapi", "python_multipart")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else found(name))
    assert main(["serve", str(tmp_path)]) == 2
    assert "serving needs fastapi, python_multipart, which is not installed" in (said := capsys.readouterr().err)
    assert "pip install '.[serve]'" in said


@pytest.mark.parametrize(
    "words", [["--port", "0"], ["--port", "70000"], ["--max-batch", "0"], ["--max-wait-ms", "-1"], ["--replicas", "x"]]
)
def test_counts_have_bounds(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", "model", *words])
    assert end.value.code == 2 and "give a whole number from" in capsys.readouterr().err


def test_another_host_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    model = saved_model(tmp_path / "m")
    with pytest.raises(AssertionError, match="Ray was started"):
        serve_command.serve(model, "0.0.0.0", free_port())
    assert "there is no login" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="Ray was started"):
        serve_command.serve(model, "127.0.0.1", free_port())
    assert "there is no login" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "loopback", "where"),
    [
        ("127.0.0.1", True, "http://127.0.0.1:80"),
        ("127.8.8.8", True, "http://127.8.8.8:80"),
        ("::1", True, "http://[::1]:80"),
        ("LocalHost", True, "http://localhost:80"),
        ("0.0.0.0", False, "http://127.0.0.1:80"),
        ("::", False, "http://[::1]:80"),
        ("pictures.example", False, "http://pictures.example:80"),
    ],
)
def test_a_host_is_of_this_machine_or_of_all(host: str, loopback: bool, where: str) -> None:
    assert is_loopback(host) is loopback and address(host, 80) == where


def test_the_line_that_is_printed_sends_a_picture() -> None:
    (line,) = [line for line in how_to_call("m", 3, "http://127.0.0.1:80") if line.startswith("curl")]
    words = shlex.split(line)
    body = json.loads(words[words.index("-d") + 1])
    assert decode(b64decode(body["pictures"][0])).getpixel((0, 0)) == (255, 0, 0)
    assert words[-1] == "http://127.0.0.1:80/predict"
