"""A trial of one worker: a warm actor that Tune gives one recipe after another.

The actor keeps its process, its imports, the memory-mapped pictures and the pretrained tensors; model, optimizer and
random numbers are made anew for each trial, so that a trial does not depend on what ran before it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from ray import tune

from raytl.errors import RaytlError, StorageError
from raytl.on_ray.job import UNWRITABLE, Job, Report, RunFacts, Workplace
from raytl.on_ray.results import as_result
from raytl.on_ray.work import device_of, work
from raytl.train.world import World


class WarmTrial(tune.Trainable):
    """Tune's view of a run: `step` trains one epoch."""

    def setup(self, config: dict[str, Any], workplace: Workplace) -> None:  # type: ignore[override]
        """Takes up a trial; nothing is computed before the first step."""
        self._workplace = workplace
        self._begin(config["job"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes up the next trial in the same process."""
        self._begin(new_config["job"])
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, as Tune's result.

        What a person must mend fails the trial at once, since another worker would fail, too.
        """
        try:
            report = next(self._reports)
        except RaytlError as error:
            facts = RunFacts(socket.gethostname(), "", None, (), {})
            ended = UNWRITABLE if isinstance(error, StorageError) else "failed"
            report = Report(self._job, None, facts, ended=ended, reason="; ".join(error.problems))
        return {**as_result(report, self._workplace.metric), "done": report.ended is not None}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the study's own checkpoint folder is the truth."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, see `save_checkpoint`."""

    def _begin(self, job: Job) -> None:
        self._job = job
        self._reports: Iterator[Report] = work(job, self._workplace, World(device=device_of(self._workplace)))
