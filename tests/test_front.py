"""What a client is told where replicas cannot answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from raytl.on_ray.front import Front, Remote
from raytl.use.sight import Sight
from tests.served import LIMITS, SERVED, get, png, post_form


def handle(result: object) -> Any:
    """A deployment's handle whose calls give a result, or raise it."""

    async def call(*_: object) -> object:
        if isinstance(result, Exception):
            raise result
        return result

    return SimpleNamespace(see=SimpleNamespace(remote=call), check=SimpleNamespace(remote=call))


UNAVAILABLE = DeploymentUnavailableError(DeploymentID("model", "raytl"))


def back_pressure() -> BackPressureError:
    return BackPressureError(num_queued_requests=3, max_queued_requests=3)


def test_it_needs_no_torch() -> None:
    """It would cost the process of the front 700 MB."""
    code = "import sys, raytl.on_ray.front; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_answers_come_through() -> None:
    sights = [Sight("a", {"a": 0.6, "b": 0.4}, batch=1)]
    assert asyncio.run(Remote(handle(sights)).see([b"x"], False)) == sights
    app = Front(handle(sights), SERVED, LIMITS, None).__serve_build_asgi_app__()
    assert post_form(app, {"x.png": png(1)}).said["pictures"][0]["probability"] == 0.6


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (back_pressure(), "the queue before the model is full"),
        (RayActorError(), "the model is being started again"),
        (
            UNAVAILABLE,
            "the model is being started again",
        ),
    ],
)
def test_who_cannot_be_served_now_is_told_to_come_again(error: Exception, word: str) -> None:
    app = Front(handle(error), SERVED, LIMITS, None).__serve_build_asgi_app__()
    for reply in (post_form(app, {"x.png": png(1)}), get(app, "/health")):
        assert reply.status == 503 and reply.headers["retry-after"] == "1" and word in reply.problem


def test_a_model_that_fails_is_no_reason_to_come_again() -> None:
    failed = RayTaskError("see", "Traceback: /srv/secret", ValueError("no tensor")).as_instanceof_cause()
    app = Front(handle(failed), SERVED, LIMITS, None).__serve_build_asgi_app__()
    reply = post_form(app, {"x.png": png(1)})
    assert reply.status == 500 and "secret" not in reply.body.decode() and "retry-after" not in reply.headers
