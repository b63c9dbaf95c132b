"""What `raytl serve` does: checks, starts, says how to call it, and waits until it is to end.

Torch and Ray take seconds to import: each is imported when it is needed.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import shlex
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raytl.errors import ConfigError
from raytl.extras import install_hint
from raytl.noise import is_wanted, shown

if TYPE_CHECKING:
    from raytl.on_ray.serving import Service
    from raytl.use.sight import ServedModel

LARGEST = 4  # chosen: of the largest requests, so many find room at once
PACKAGES = ("fastapi", "starlette", "uvicorn", "python_multipart")  # what the extra `serve` brings
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where one listens at all addresses, and one of them
# One red pixel as PNG, so that the line that is printed can be typed as it stands.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"


@dataclass(frozen=True)
class Wishes:
    """How a model is to be served: `most_together` pictures in a batch, which waits `wait_milliseconds` for others."""

    replicas: int = 1
    most_together: int = 8
    wait_milliseconds: int = 5
    megabytes: int = 20


def serve(model: Path, host: str, port: int, wishes: Wishes = Wishes()) -> int:
    """Answers until Ctrl-C or SIGTERM, which is its orderly end: exit code 0.

    Raises:
        ConfigError: packages are missing.
        MachineError: too few processors, a port that is in use, or Ray cannot be started.
        StorageError: no model can be read there.
    """
    check_packages()
    print(f"starting: loading {model} (this takes 10 seconds to a minute)", file=sys.stderr, flush=True)
    with shown(is_wanted()):
        from raytl.on_ray.serving import check_place, check_replicas, serving

        check_place(host, port)
        check_replicas(wishes.replicas, len(os.sched_getaffinity(0)))
        served = _served(model)
        if not is_loopback(host):
            print(open_warning(host), file=sys.stderr, flush=True)
        with serving(_service(model.resolve(), host, port, wishes), served):
            print("\n".join(how_to_call(served.name, len(served.classes), address(host, port))), flush=True)
            _wait()
    print("raytl: the server has ended", file=sys.stderr)
    return 0


def check_packages() -> None:
    """Refuses to begin where packages are missing.

    Raises:
        ConfigError: naming them, and the command that installs them.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"serving needs {', '.join(missing)}, which is not installed; {install_hint('serve')}")


def how_to_call(name: str, class_count: int, where: str) -> list[str]:
    """Lines for a person; the one that begins with curl can be typed as it stands."""
    body = json.dumps({"pictures": [PIXEL]})
    return [
        f"{name} ({class_count} classes) is served at {where}",
        f"a page to try it on: {where}/      for programs: {where}/docs",
        f"curl -s -H 'content-type: application/json' -d {shlex.quote(body)} {where}/predict",
        f"or with a picture of yours: curl -s -F file=@PICTURE -F explain=true {where}/predict",
        "Ctrl-C ends it",
    ]


def open_warning(host: str) -> str:
    """What is said where others than this machine can reach the server."""
    return (
        f"raytl: --host {host}: whoever can reach this machine can use the model; there is no login and no encryption; "
        "put a server that has them before it, or leave --host out"
    )


def address(host: str, port: int) -> str:
    """Where a client on this machine reaches the server."""
    return f"http://{bracketed(WILDCARDS.get(host, host))}:{port}"


def bracketed(host: str) -> str:
    """A host as addresses name it: IPv6 numbers in brackets."""
    return f"[{host}]" if ":" in host else host.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _served(model: Path) -> ServedModel:
    from raytl import __version__
    from raytl.use.ensemble import open_model
    from raytl.use.sight import ServedModel

    return ServedModel(model.resolve().name, open_model(model).classes, __version__)


def _service(model: Path, host: str, port: int, wishes: Wishes) -> Service:
    from raytl.on_ray.replica import Batching
    from raytl.on_ray.serving import Service
    from raytl.use.bounds import MEGABYTE, Bounds
    from raytl.use.web_app import LOOPBACK

    most_bytes = wishes.megabytes * MEGABYTE
    bounds = Bounds(most_bytes=most_bytes, most_held_bytes=max(Bounds.most_held_bytes, LARGEST * most_bytes))
    batching = Batching(wishes.most_together, wishes.wait_milliseconds / 1000)
    hosts = LOOPBACK | {bracketed(host)} if is_loopback(host) else None
    return Service(model, host, port, hosts, wishes.replicas, batching, bounds)


def _wait() -> None:
    """Until Ctrl-C or SIGTERM, which `stops.orderly` makes a KeyboardInterrupt."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
