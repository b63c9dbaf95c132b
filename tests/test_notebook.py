"""docs/first_search.ipynb runs from its first cell to its last, and keeps no output of whoever ran it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first_search.ipynb"


def code_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert code_cells()
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells())


@pytest.mark.slow
@pytest.mark.ray
def test_the_notebook_runs(tmp_path: Path) -> None:
    """As a program: what a cell ends on, and a notebook would show, is computed all the same."""
    code = "\n\n".join("".join(cell["source"]) for cell in code_cells())
    (tmp_path / "first_search.py").write_text(code + "\n")
    done = subprocess.run([sys.executable, "first_search.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test accuracy over 2 seeds" in done.stdout
    seen = [line for line in done.stdout.splitlines() if line.startswith("some_flowers")]
    assert len(seen) == 10
    assert (tmp_path / "first_search" / "report.html").exists()
