"""One thread per process and a cache of its own, for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

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
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with joined(None):
        yield
    ray.shutdown()
