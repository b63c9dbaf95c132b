"""What a study would take, as told before it runs: rough figures, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Estimate:
    """Time in seconds and room in bytes; `low_seconds` to `high_seconds` is what chance and the scheduler leave open.

    Times are None where nothing could be measured; `reason` says why. `step_seconds` parts `seconds` among the steps.
    `worker_hours` are the hours of GPUs, or of workers' shares of the processors, that trials take; `hourly_cost` is
    what one of them costs where machines have prices. `decoded_bytes` of pictures are still to be written in the cache,
    where `prefix_bytes` is the most that is kept of what frozen stages make of them; `study_bytes` go to the study
    folder at least.
    """

    decoded_bytes: int
    prefix_bytes: int
    study_bytes: int
    seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    step_seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    worker_hours: float | None = None
    low_worker_hours: float | None = None
    high_worker_hours: float | None = None
    hourly_cost: float | None = None

    def lines(self) -> list[str]:
        """For a person."""
        room = (
            f"room: {size_text(self.decoded_bytes)} of decoded pictures and up to {size_text(self.prefix_bytes)} of "
            f"what frozen stages make of them, in the cache; {size_text(self.study_bytes)} or more in the study folder"
        )
        return [self._time(), room, *self._machines()]

    @property
    def cost(self) -> float | None:
        """What the trials will likely cost, in the unit of the prices; None without prices, or without a time."""
        hours, price = self.worker_hours, self.hourly_cost
        return None if hours is None or price is None else hours * price

    def _machines(self) -> list[str]:
        likely, low, high = self.worker_hours, self.low_worker_hours, self.high_worker_hours
        if likely is None or low is None or high is None:
            return []
        told = f"machines: roughly {likely:.2g} worker-hours ({low:.2g} to {high:.2g})"
        if (price := self.hourly_cost) is None:
            return [told]
        return [
            f"{told}, which cost {likely * price:.2g} ({low * price:.2g} to {high * price:.2g}) at {price:.3g} each"
        ]

    def _time(self) -> str:
        if self.seconds is None or self.low_seconds is None or self.high_seconds is None:
            return f"time: not known: {self.reason}"
        steps = ", ".join(f"{name} {time_text(seconds)}" for name, seconds in self.step_seconds.items())
        return (
            f"time: roughly {time_text(self.seconds)} ({time_text(self.low_seconds)} to "
            f"{time_text(self.high_seconds)}), from a few timed batches: {steps}"
        )


def time_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3.1 h`: no finer than an estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size_text(size_bytes: int) -> str:
    """`12 MB`, `3.4 GB`."""
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.1f} GB"
