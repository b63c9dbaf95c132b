"""One thread per process and a cache of its own, for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; tests that do not need torch do not pay for it


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Results and times do not depend on how many cores are free."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """Two processors, whatever the machine has, shared by all tests of a module."""
    import ray

    from raytl.on_ray.cluster import joined

    if not ray.is_initialized():
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with joined(None):
        yield
    ray.shutdown()


@pytest.fixture(scope="module")
def narrow_vgg() -> Iterator[None]:
    """VGG with 64 instead of 4,096 hidden numbers: its layers and their order are all that tests look at, and with 130
    million parameters it took as long as all other families together.
    """
    from timm.models import _registry as registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            registry._model_entrypoints, "vgg11", partial(registry.model_entrypoint("vgg11"), mlp_ratio=1 / 64)
        )
        yield
