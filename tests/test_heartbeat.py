"""A head that answers is left alone, one that is gone is noticed once."""

from __future__ import annotations

import socket
import time

import pytest

from raytl.on_ray import heartbeat as module
from raytl.on_ray.heartbeat import heard, split_address


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "LOST_SECONDS", 0.3)


def test_a_head_that_goes_is_noticed_and_one_that_is_there_is_not() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        port = server.getsockname()[1]
        with heard("127.0.0.1", port, said.append):
            time.sleep(0.6)
            assert said == []
            server.close()
            time.sleep(0.15)
            assert said == [], "it may come back"
            time.sleep(0.6)
    assert said == [f"the head of the Ray cluster at 127.0.0.1:{port} has not answered for 0 s"]


def test_a_head_that_comes_back_in_time_is_not_given_up() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        port = server.getsockname()[1]
    with heard("127.0.0.1", port, said.append):
        time.sleep(0.15)
        with socket.create_server(("127.0.0.1", port), backlog=1000):
            time.sleep(0.6)
    assert said == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.1:6379", ("10.0.0.1", 6379)), ("ray://head:10001", ("head", 10001)), ("[::1]:6379", ("::1", 6379))],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected
