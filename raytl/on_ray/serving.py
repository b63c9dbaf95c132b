"""A saved model behind HTTP on Ray Serve: one front that reads requests, and replicas of the model that answer.

What finds no place in the queue before the replicas is refused with 503.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.exceptions import RayServeException
from ray.serve.schema import LoggingConfig

from raytl.errors import MachineError
from raytl.noise import is_wanted
from raytl.on_ray.cluster import joined
from raytl.on_ray.front import Front
from raytl.on_ray.replica import Batching, Replica
from raytl.stops import unchanged
from raytl.use.bounds import Bounds
from raytl.use.sight import ServedModel

NAME = "raytl"
# Chosen: a replica holds so many batches, and requests at least; they gather there. Measured with two of each: Serve,
# which asks a full replica again after ever longer waits, gave 32 clients a quarter of the answers of a single one.
HELD_BATCHES, LEAST_HELD = 4, 32
# Chosen: requests that wait before each replica, or a batch of them. Measured with 8: Serve counts those, too, which it
# is just handing over, and refused some of 32 clients that came at once.
LEAST_QUEUED = 32
UPLOADS = 2  # chosen: for each request that replicas and queue may hold, so many may be on their way in
GRACE_SECONDS = 3.0  # chosen: what is being answered at Ctrl-C may be finished
KEEP_ALIVE_SECONDS = 5  # chosen: for connections on which nothing is asked


@dataclass(frozen=True)
class Service:
    """How a model is served: where, to whom (`hosts` as in `make_app`), by how many replicas, and within what."""

    model: Path
    host: str
    port: int
    hosts: frozenset[str] | None
    replicas: int
    batching: Batching
    bounds: Bounds

    @property
    def held(self) -> int:
        """Requests that each replica holds."""
        return max(LEAST_HELD, self.batching.most_together * HELD_BATCHES)

    @property
    def queued(self) -> int:
        """Requests that wait before the replicas; what comes then is told to come again."""
        return self.replicas * max(LEAST_QUEUED, self.batching.most_together)

    @property
    def most_requests(self) -> int:
        """Requests that are held at once, those included that are on their way in."""
        return UPLOADS * (self.queued + self.replicas * self.held)


def check_place(host: str, port: int) -> None:
    """Sees to it that the port is free, before anything is started.

    Raises:
        MachineError: it is in use or may not be used, or the host is not this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself will
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        raise MachineError(
            f"{host} port {port}: cannot be listened at ({error.strerror or error}); give another one with --port, "
            "such as --port 8001, or end what uses it; --host must be an address of this machine"
        ) from error


def check_replicas(count: int, cpus: int) -> None:
    """Sees to it that every replica has a processor; Ray would wait for ever.

    Raises:
        MachineError: there are fewer.
    """
    if count > cpus:
        raise MachineError(
            f"--replicas {count}: each needs a processor, and there are {cpus}; give at most --replicas {cpus}"
        )


@contextmanager
def serving(service: Service, served: ServedModel) -> Iterator[None]:
    """A Ray of its own that answers within the block; nothing of it is left after it.

    Raises:
        MachineError: more replicas than processors, or Ray or its server cannot be started.
    """
    with joined(None) as resources:
        check_replicas(service.replicas, resources.cpus)
        with unchanged():
            _start(service, served, resources.cpus // service.replicas)
        try:
            yield
        finally:
            # What is under way is answered. The rest ends with Ray: `serve.shutdown` lets Ray say on the console that
            # the controller, which it kills, is dead.
            serve.delete(NAME)


def _start(service: Service, served: ServedModel, cpus_each: int) -> None:
    level = logging.INFO if is_wanted() else logging.ERROR
    logging.getLogger("ray.serve").setLevel(level)
    said = LoggingConfig(log_level=logging.getLevelName(level), enable_access_log=is_wanted())
    http = HTTPOptions(host=service.host, port=service.port, keep_alive_timeout_s=KEEP_ALIVE_SECONDS)
    try:
        serve.start(proxy_location=ProxyLocation.HeadOnly, http_options=http, logging_config=said)
        serve.run(_application(service, served, cpus_each), name=NAME, logging_config=said)
    except (RayError, RayServeException, RuntimeError, OSError) as error:
        raise MachineError(
            f"{service.host} port {service.port}: Ray Serve could not be started ({error}); see what `raytl doctor` "
            "says; RAYTL_LOG=debug shows what Ray itself says"
        ) from error


def _application(service: Service, served: ServedModel, cpus_each: int) -> Any:
    ending: Any = {"graceful_shutdown_timeout_s": GRACE_SECONDS, "graceful_shutdown_wait_loop_s": 0.1}
    model = serve.deployment()(Replica).options(
        name="model",
        num_replicas=service.replicas,
        ray_actor_options={"num_cpus": cpus_each},
        max_ongoing_requests=service.held,
        max_queued_requests=service.queued,
        **ending,
    )
    front = serve.deployment()(serve.ingress()(Front)).options(
        name="front",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=UPLOADS * service.most_requests,  # so that it can refuse itself, with what to do
        **ending,
    )
    bounds = replace(service.bounds, most_requests=service.most_requests)
    bound = model.bind(service.model, service.batching, bounds.most_pixels, cpus_each)
    return front.bind(bound, served, bounds, service.hosts)
