"""The most memory a run has held at once, and giving back what a failed one held."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak(device: torch.device) -> None:
    """Starts a new measurement in this process, so that a reused process does not report an earlier run's peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR.write_text("5")  # Linux: resets the high-water mark of resident memory
    except OSError:
        return  # not Linux, or not allowed: the peak since the process began is what can be had


def peak_bytes(device: torch.device) -> int | None:
    """Bytes held at most since `reset_peak`: of the device, or resident in memory where there is no GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def release(device: torch.device) -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
