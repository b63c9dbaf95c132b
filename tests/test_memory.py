"""The peak of resident memory, measured anew for each run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from raytl.train import memory
from raytl.train.memory import peak_bytes, reset_peak

CPU = torch.device("cpu")
BLOCK_BYTES = 100_000_000
LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not Linux: no peak can be had")


@LINUX
def test_the_peak_holds_what_was_held_and_freed_since_the_reset() -> None:
    reset_peak(CPU)
    before = peak_bytes(CPU)
    np.ones(BLOCK_BYTES, np.uint8).sum()
    after = peak_bytes(CPU)
    assert before is not None and after is not None
    assert 0.9 * BLOCK_BYTES < after - before < 2 * BLOCK_BYTES
    reset_peak(CPU)
    again = peak_bytes(CPU)
    assert again is not None and again < after - 0.5 * BLOCK_BYTES


def test_without_the_kernels_figures_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none" / "status")
    reset_peak(CPU)
    assert peak_bytes(CPU) is None


def test_kilobytes_are_turned_into_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert peak_bytes(CPU) == 2048 * 1024


def test_a_gpus_own_count_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append(f"reset {device}"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    reset_peak(torch.device("cuda:0"))
    assert asked == ["reset cuda:0"]
    assert peak_bytes(torch.device("cuda:0")) == 7
