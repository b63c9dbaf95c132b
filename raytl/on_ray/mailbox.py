"""Where a trial's actor and its group of workers meet: tasks go one way, reports the other, each side waits there.

Workers ask one by one, never all together: nobody waits for a peer within the time-out of a process group while there
is nothing to do.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray

from raytl.on_ray.job import Done, Report, Task


class Mailbox:
    """One task at a time, counted from 1, and what was reported of it so far."""

    def __init__(self) -> None:
        self._number = 0
        self._task: Task | None = None
        self._asked = 0
        self._arrived: set[int] = set()
        self._heard: dict[int, float] = {}  # seconds of the loop's clock at which each worker was last alive
        self._given = 0.0  # seconds of the same clock
        self._waited: float | None = None
        self._reports: list[Report | Done] = []
        self._changed = asyncio.Condition()

    async def give(self, task: Task | None) -> None:
        """The trial's next task, which ends the one before; None sends the group home."""
        async with self._changed:
            self._number, self._task = self._number + 1, task
            self._asked, self._arrived, self._reports = 0, set(), []
            self._given, self._waited = asyncio.get_running_loop().time(), None
            self._changed.notify_all()

    async def take(self, after: int) -> tuple[int, Task | None]:
        """The number and the task that follow the one numbered `after`, as soon as there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > after)
            if self._waited is None:
                self._waited = asyncio.get_running_loop().time() - self._given
            return self._number, self._task

    async def alive(self, worker: int) -> None:
        """A sign of life of a worker that is getting ready: those that wait for it go on waiting."""
        self._heard[worker] = asyncio.get_running_loop().time()

    async def arrive(self, number: int, worker: int, workers: int, seconds: float) -> None:
        """Waits until all workers, counted from 0, are ready for a task, or until it has been ended.

        However long that takes: decoding has no bound. But each of them must give a sign of life every `seconds`.

        Raises:
            TimeoutError: one has been silent for longer.
        """
        clock = asyncio.get_running_loop()
        async with self._changed:
            if number == self._number:
                self._arrived.add(worker)
                self._changed.notify_all()
            begin = clock.time()
            while self._number <= number and len(self._arrived) < workers:
                heard = {each: max(begin, self._heard.get(each, begin)) for each in range(workers)}
                silent = min(heard.keys() - self._arrived, key=lambda each: (heard[each], each))
                left = heard[silent] + seconds - clock.time()
                if left <= 0:
                    raise TimeoutError(_silence(silent, workers, seconds))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left)

    async def put(self, number: int, report: Report | Done) -> None:
        """A worker's report on a task; of one that has been ended nobody wants any more."""
        async with self._changed:
            if number == self._number:
                waited = self._waited or 0.0
                self._reports.append(replace(report, waited_seconds=waited) if isinstance(report, Report) else report)
                self._changed.notify_all()

    async def ask(self, count: int, seconds: float) -> Report | Done | None:
        """The `count`-th report of the task; None where it has not come within `seconds`.

        Who asks for a report wants the task to go on until it comes.
        """
        async with self._changed:
            self._asked = max(self._asked, count)
            self._changed.notify_all()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: len(self._reports) >= count), seconds)
            return self._reports[count - 1] if len(self._reports) >= count else None

    async def goes_on(self, number: int, count: int) -> bool:
        """Whether a worker goes on with a task after its `count`-th report, as soon as that is known."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > number or self._asked > count)
            return self._number == number


def _silence(worker: int, workers: int, seconds: float) -> str:
    return (
        f"worker {worker} of {workers} (from 0) gave no sign of life for {seconds:g} s before its pictures were ready: "
        "its process or its machine stands still; where machines may do so for longer, raise --peer-timeout"
    )


RemoteMailbox: Any = ray.remote(num_cpus=0)(Mailbox)
