"""A web server for tests: its files, its faults, and what it was asked and sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One request as it came, and what was sent of the file."""

    path: str
    range: str | None
    if_range: str | None
    status: int
    bytes: int = 0


@dataclass
class Site:
    """What the server has. `cuts` are the bytes of a body after which connections break, `statuses` what is answered
    instead of a file; both are used up one by one."""

    files: dict[str, bytes]
    address: str = ""
    tag: str = '"one"'
    changed: str = ""
    takes_ranges: bool = True
    minds_if_range: bool = True
    says_length: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    leads_to: str = ""
    served: list[Served] = field(default_factory=list)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Site]:
    """Serves `files` by their paths, such as `/a.zip`, at `site.address`."""
    site = Site(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, known = self.headers.get("Range"), self.headers.get("If-Range")
            data = site.files.get(self.path)
            first = self._first(wanted, known)
            status = site.statuses.pop(0) if site.statuses else 404 if data is None else 206 if first else 200
            if data is not None and status == 206 and first >= len(data):
                status = 416
            request = Served(self.path, wanted, known, status)
            site.served.append(request)
            self.send_response(status)
            if data is None or status not in (200, 206):
                if site.leads_to:
                    self.send_header("Location", site.leads_to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(request, data, first if status == 206 else 0)

        def _first(self, wanted: str | None, known: str | None) -> int:
            stale = site.minds_if_range and known is not None and known not in (site.tag, site.changed)
            if wanted is None or not site.takes_ranges or stale:
                return 0
            return int(wanted.removeprefix("bytes=").partition("-")[0])

        def _send(self, request: Served, data: bytes, first: int) -> None:
            body = data[first:]
            for name, value in (("ETag", site.tag), ("Last-Modified", site.changed)):
                if value:
                    self.send_header(name, value)
            if site.says_length:
                self.send_header("Content-Length", str(len(body)))
            if request.status == 206:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            sent = body[: site.cuts.pop(0)] if site.cuts else body
            self.wfile.write(sent)
            request.bytes = len(sent)
            self.close_connection = True

        def log_message(self, format: str, *_arguments: object) -> None:
            """Nothing: a test's output is its own."""

    return Handler
