"""Tune's view of whoever does tasks: an actor that takes up one after another, and of which a step is a report.

Imports no torch: what trains may live in other processes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ray import tune

from raytl.on_ray.job import Done, Report, Task
from raytl.on_ray.results import as_result


class TaskTrial(tune.Trainable):
    """What `WarmTrial` (one worker) and `GroupTrial` (several) have in common. `setup` is theirs."""

    metric: str

    @abstractmethod
    def take_up(self, task: Task) -> None:
        """Begins a task; nothing is computed before the first report is asked for."""

    @abstractmethod
    def next_report(self) -> Report | Done:
        """Goes on with the task until there is something to say."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes up the next task in the same process."""
        self.take_up(new_config["task"])
        return True

    def step(self) -> dict[str, Any]:
        """One report, as Tune's result."""
        return as_result(self.next_report(), self.metric)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the study's own checkpoint folder is the truth."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, see `save_checkpoint`."""
