"""Questions to a server that cannot be asked, and what is said then."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from http.client import HTTPMessage
from io import BytesIO

import pytest

from raytl.data.web import BrokenError, Version, ask, host_of, web_problem
from raytl.data.web import _Redirects as Redirects
from raytl.errors import DataError, MachineError
from tests.files_server import serving


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_no_network_says_which_host_which_proxies_and_what_to_do() -> None:
    port = closed_port()
    with pytest.raises(MachineError) as caught:
        ask(f"http://127.0.0.1:{port}/a.zip", "bring it")
    said = str(caught.value)
    assert said.startswith(f"127.0.0.1:{port}: cannot be reached (") and "refused" in said
    assert "https_proxy, http_proxy, no_proxy are read (none is set); mend this, or bring it" in said


def test_a_proxy_is_used_and_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:pass-word-1@127.0.0.1:{closed_port()}")
    with serving({"/a": b"x"}) as site, pytest.raises(MachineError) as caught:
        ask(f"{site.address}/a", "bring it")
    assert site.served == [], "the proxy was asked, which is not there"
    assert "http_proxy=http://<redacted>@127.0.0.1" in str(caught.value) and "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "lasts"),
    [
        (socket.gaierror(-2, "Name or service not known"), True),
        (OSError("Tunnel connection failed: 403 Forbidden"), True),
        (OSError(101, "Network is unreachable"), True),
        (ConnectionResetError(104, "reset"), False),
        (TimeoutError("timed out"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(reason: OSError, lasts: bool) -> None:
    problem = web_problem(urllib.error.URLError(reason), "https://example.org/a", "bring it")
    assert isinstance(problem, MachineError if lasts else BrokenError)


def test_a_redirect_is_followed_but_not_out_of_encryption() -> None:
    with serving({"/b": b"there"}) as site:
        site.statuses, site.leads_to = [302], "/b"
        answer = ask(f"{site.address}/a", "bring it")
        assert b"".join(answer.chunks()) == b"there"
        answer.close()
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(DataError, match=r"leads from https to http://example\.org/b.*; bring it"):
        Redirects("bring it").redirect_request(request, BytesIO(), 302, "", HTTPMessage(), "http://example.org/b")
    led = Redirects("bring it").redirect_request(request, BytesIO(), 302, "", HTTPMessage(), "https://example.org/b")
    assert led is not None and led.full_url == "https://example.org/b"


def test_two_halves_belong_together() -> None:
    known = Version("a", '"1"', "monday", 10)
    assert known.validator == '"1"' and Version("a", 'W/"1"', "monday", 10).validator == "monday"
    assert Version("b", "", "", 10).may_follow(known), "what is not said is not compared"
    assert not Version("a", '"2"', "monday", 10).may_follow(known)
    assert not Version("a", '"1"', "tuesday", 10).may_follow(known)
    assert not Version("a", '"1"', "monday", 11).may_follow(known)
    assert not known.may_follow(None)


def test_a_host_is_said_without_a_user() -> None:
    assert host_of("https://me:word@example.org:8080/a/b") == "example.org:8080"
