"""A model in a process of its own: it opens pictures in threads and computes those of concurrent requests together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ray import serve

from raytl.use.ensemble import open_model
from raytl.use.sight import HeatMap, Sight
from raytl.use.viewer import Opened, Viewer


@dataclass(frozen=True)
class Batching:
    """How pictures are gathered: at most so many together, and none waits longer for others."""

    most_together: int
    wait_seconds: float


class Replica:
    """Answers as `sight.Model` does."""

    def __init__(self, model: Path, batching: Batching, most_pixels: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._viewer = Viewer(open_model(model), most_pixels)
        self._readers = ThreadPoolExecutor(threads)
        self._only = ThreadPoolExecutor(1)  # a heat map hooks into the model: nobody else may use it meanwhile
        for method in (self._classify, self._explain):
            settings: Any = method
            settings.set_max_batch_size(batching.most_together)
            settings.set_batch_wait_timeout_s(batching.wait_seconds)

    async def see(self, pictures: Sequence[bytes], explain: bool) -> list[Sight]:
        """As `sight.Model` says."""
        return list(await asyncio.gather(*(self._seen(data, explain) for data in pictures)))

    async def check(self) -> None:
        """As `sight.Model` says."""
        await self._classify(self._viewer.drawn())

    async def _seen(self, data: bytes, explain: bool) -> Sight:
        opened = await asyncio.get_running_loop().run_in_executor(self._readers, self._viewer.open, data)
        if isinstance(opened, Sight):
            return opened
        sight: Sight = await self._classify(opened)
        if not explain:
            return sight
        found = await self._explain((opened, str(sight.predicted)))
        return replace(sight, heat_map=found) if isinstance(found, HeatMap) else replace(sight, heat_problem=found)

    @serve.batch
    async def _classify(self, pictures: list[Opened]) -> list[Sight]:
        """Called with one picture; computed with those of others."""
        return await asyncio.get_running_loop().run_in_executor(self._only, self._viewer.classify, pictures)

    @serve.batch
    async def _explain(self, wanted: list[tuple[Opened, str]]) -> list[HeatMap | str]:
        """Called with one picture and its class; computed with those of others."""
        pictures, classes = [picture for picture, _ in wanted], [name for _, name in wanted]
        return await asyncio.get_running_loop().run_in_executor(self._only, self._viewer.explain, pictures, classes)
