"""The process that takes HTTP requests and hands them to replicas of the model. It imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.types import ASGIApp

from raytl.use.bounds import Bounds, RefusedError
from raytl.use.sight import ServedModel, Sight
from raytl.use.web_app import make_app


class Front:
    """The ingress: Ray Serve asks it for its application once it has been made."""

    def __init__(self, handle: Any, served: ServedModel, bounds: Bounds, hosts: frozenset[str] | None) -> None:
        self._handle, self._served, self._bounds, self._hosts = handle, served, bounds, hosts

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return make_app(self._served, Remote(self._handle), self._bounds, self._hosts)


class Remote:
    """The replicas, as the HTTP application asks them."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def see(self, pictures: Sequence[bytes], explain: bool) -> list[Sight]:
        """As `sight.Model` says."""
        with _told():
            sights: list[Sight] = await self._handle.see.remote(pictures, explain)
        return sights

    async def check(self) -> None:
        """As `sight.Model` says."""
        with _told():
            await self._handle.check.remote()


@contextmanager
def _told() -> Iterator[None]:
    """What Ray raises where no replica can answer, as a client is told it."""
    try:
        yield
    except BackPressureError:
        raise RefusedError.busy("the queue before the model is full") from None
    except RayTaskError:  # the model itself failed, and would again
        raise
    except (RayError, DeploymentUnavailableError):
        raise RefusedError.busy("the model is being started again") from None
