"""What a study's answer may cost when it is used: limits on speed and size that a final model must keep to win."""

from __future__ import annotations

from dataclasses import dataclass

BYTES_PER_PARAMETER = 4  # weights are saved as 32-bit numbers


@dataclass(frozen=True)
class Limits:
    """The most milliseconds a picture may take and megabytes (of a million bytes) that weights may have; None: any."""

    latency_ms: float | None = None
    size_mb: float | None = None

    def excess(self, images_per_second: float, parameters: int | None) -> str | None:
        """By what a model is over the limits, in words, such as `31 ms a picture`; None where it is within them.

        A figure that was not measured is not over.
        """
        milliseconds = 1000 / images_per_second if images_per_second > 0 else 0.0
        megabytes = size_megabytes(parameters or 0)
        over = [
            text
            for value, most, text in (
                (milliseconds, self.latency_ms, f"{milliseconds:.3g} ms a picture"),
                (megabytes, self.size_mb, f"{megabytes:.4g} MB"),
            )
            if most is not None and value > most
        ]
        return ", ".join(over) or None

    @property
    def text(self) -> str:
        """The limits in words; empty where there are none."""
        latency = [] if self.latency_ms is None else [f"at most {self.latency_ms:g} ms a picture"]
        size = [] if self.size_mb is None else [f"at most {self.size_mb:g} MB"]
        return ", ".join([*latency, *size])


NO_LIMITS = Limits()


def size_megabytes(parameters: int) -> float:
    """What so many parameters weigh on disk, in millions of bytes."""
    return BYTES_PER_PARAMETER * parameters / 1e6
