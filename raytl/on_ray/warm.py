"""A trial of one worker: a warm actor that Tune gives one task after another.

The actor keeps its process, its imports, the memory-mapped pictures and the pretrained tensors; model, optimizer and
random numbers are made anew for each trial, so that a trial does not depend on what ran before it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

from raytl.errors import RaytlError, StorageError
from raytl.on_ray.fleet import own_node
from raytl.on_ray.job import UNWRITABLE, Done, Job, Report, RunFacts, Task, Workplace
from raytl.on_ray.trial import TaskTrial
from raytl.on_ray.work import device_of, work
from raytl.train.world import World


class WarmTrial(TaskTrial):
    """Trains where it is."""

    def setup(self, config: dict[str, Any], workplace: Workplace) -> None:  # type: ignore[override]
        """Takes up the first task."""
        self._workplace, self.metric = workplace, workplace.metric
        self.take_up(config["task"])

    def take_up(self, task: Task) -> None:
        """Begins a task."""
        self._task = task
        self._reports = reports_of(task, self._workplace, World(device=device_of(self._workplace)))

    def next_report(self) -> Report | Done:
        """One epoch, or a chore.

        What a person must mend fails the task at once, since another worker would fail, too.
        """
        try:
            return next(self._reports)
        except RaytlError as error:
            return failure(self._task, error)


def reports_of(task: Task, workplace: Workplace, world: World) -> Iterator[Report | Done]:
    """What a worker does with a task and says of it; of a group, the first alone does chores."""
    if isinstance(task, Job):
        yield from work(task, workplace, world)
    elif world.is_main:
        begin = time.monotonic()
        value = task.do(workplace)
        yield Done(task, value, seconds=time.monotonic() - begin)


def failure(task: Task, error: RaytlError) -> Report | Done:
    """What is said of a task that cannot be done before a person has mended something."""
    reason = "; ".join(error.problems)
    if not isinstance(task, Job):
        return Done(task, reason=reason)
    facts = RunFacts(socket.gethostname(), "", None, (), node_id=own_node())
    return Report(task, None, facts, ended=UNWRITABLE if isinstance(error, StorageError) else "failed", reason=reason)
