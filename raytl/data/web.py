"""One question to a server, and its answer or what went wrong in words that a person can use.

Proxies are those that Python's urllib reads from the environment: https_proxy, http_proxy and no_proxy.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from raytl import __version__
from raytl.errors import DataError, MachineError, RaytlError
from raytl.redaction import redacted

CHUNK_BYTES = 1 << 20
SILENCE_SECONDS = 60.0  # chosen: a server that says nothing for so long has gone
PROXIES = ("https_proxy", "http_proxy", "no_proxy")
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))  # RFC 9110 and 6585: what may be well a moment later
_REFUSING = frozenset((401, 402, 403, 407, 451))
# What a further try in a few seconds does not mend: no such host, nobody listens there, its certificate is not trusted,
# no way there; and, without a number, what a proxy refuses.
_LASTING = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)
_LASTING_NUMBERS = (None, errno.ENETUNREACH, errno.EHOSTUNREACH)


class BrokenError(Exception):
    """The way to the server broke, or the server has a bad moment: a further try may do."""


class ChangedError(BrokenError):
    """What has come so far does not belong to what the server has now: a further try must begin at the beginning."""


@dataclass(frozen=True)
class Version:
    """What a server says of a file, by which two halves of it are known to belong together."""

    address: str
    tag: str = ""  # its ETag
    changed: str = ""  # its Last-Modified
    bytes: int | None = None

    @property
    def validator(self) -> str:
        """What If-Range takes: a strong tag or, where there is none, the date of change; else nothing."""
        return self.tag if self.tag and not self.tag.startswith("W/") else self.changed

    def may_follow(self, known: Version | None) -> bool:
        """Whether a rest of this version belongs to a part of `known`; what either does not say is not compared."""
        if known is None or self.bytes != known.bytes:
            return False
        pairs = ((self.tag, known.tag), (self.changed, known.changed))
        return all(new == old for new, old in pairs if new and old)


class Answer:
    """A file that is coming, from byte `begin` on."""

    def __init__(self, address: str, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.begin, whole = _range(response)
        headers = response.headers
        self.version = Version(address, headers.get("ETag", ""), headers.get("Last-Modified", ""), whole)

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come; ends where the connection ends, which need not be the end of the file.

        Raises:
            BrokenError: the connection broke.
        """
        while data := self._read():
            yield data

    def close(self) -> None:
        """Lets go of the connection."""
        self._response.close()

    def _read(self) -> bytes:
        try:
            return self._response.read1(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenError(f"the connection broke ({type(error).__name__})") from error


def ask(address: str, by_hand: str, known: Version | None = None, begin: int = 0) -> Answer:
    """Asks for a file, from byte `begin` on where it is still the version `known`; the answer may be all of it.

    Raises:
        BrokenError: worth a further try.
        DataError: there is no such file, or it is not for everyone.
        MachineError: the host cannot be reached.
    """
    headers = {"User-Agent": f"raytl/{__version__}", "Accept-Encoding": "identity"}
    if begin and known:
        headers["Range"] = f"bytes={begin}-"
        headers |= {"If-Range": known.validator} if known.validator else {}
    opener = urllib.request.build_opener(_Redirects(by_hand))
    try:
        return Answer(address, opener.open(urllib.request.Request(address, headers=headers), timeout=SILENCE_SECONDS))
    except (OSError, http.client.HTTPException) as error:
        raise web_problem(error, address, by_hand) from error


def web_problem(error: Exception, address: str, by_hand: str) -> RaytlError | BrokenError:
    """What to raise for an error that urllib raised for `address`; `by_hand` is what a person can do instead."""
    host = host_of(address)
    if isinstance(error, urllib.error.HTTPError):
        return _status_problem(error, host, address, by_hand)
    reason: str | BaseException = error.reason if isinstance(error, urllib.error.URLError) else error
    if _is_lasting(reason):
        return MachineError(unreachable(host, str(reason), by_hand))
    return BrokenError(f"the connection broke ({type(reason).__name__}: {reason})")


def unreachable(host: str, reason: str, by_hand: str) -> str:
    """What to say where a host cannot be reached."""
    set_ = [f"{name}={redacted(value)}" for name in PROXIES if (value := _variable(name))]
    return (
        f"{host}: cannot be reached ({reason}); a network is needed, or a proxy: {', '.join(PROXIES)} are read "
        f"({', '.join(set_) or 'none is set'}); mend this, or {by_hand}"
    )


def host_of(address: str) -> str:
    """The host and, where one is given, the port of an address."""
    return urlsplit(address).netloc.rpartition("@")[2]


def _status_problem(
    error: urllib.error.HTTPError, host: str, address: str, by_hand: str
) -> DataError | MachineError | BrokenError:
    said = f"{error.code} {error.reason}"
    error.close()
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return ChangedError(f"the server answers {said}")
    if error.code in _PASSING:
        return BrokenError(f"the server answers {said}")
    if error.code in _REFUSING:
        return DataError(f"{host}: refuses {address} ({said}); it may want an account: {by_hand}")
    return DataError(f"{host}: does not have {address} ({said}); it may have moved: {by_hand}")


def _is_lasting(reason: str | BaseException) -> bool:
    if isinstance(reason, (str, *_LASTING)):
        return True
    return type(reason) is OSError and reason.errno in _LASTING_NUMBERS


def _variable(name: str) -> str | None:
    return os.environ.get(name) or os.environ.get(name.upper())


def _range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte that comes, and how many the whole file has (None: not said)."""
    if response.status == http.client.PARTIAL_CONTENT:
        span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes").strip().partition("/")
        first = span.partition("-")[0]
        return (int(first) if first.isdigit() else -1), (int(whole) if whole.isdigit() else None)
    said = response.headers.get("Content-Length", "")
    return 0, (int(said) if said.isdigit() else None)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but never from an encrypted to an open one."""

    def __init__(self, by_hand: str) -> None:
        self._by_hand = by_hand

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """As urllib's own, with that one exception."""
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise DataError(
                f"{host_of(req.full_url)}: leads from https to {newurl}, where anybody could change the file; "
                f"{self._by_hand}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
