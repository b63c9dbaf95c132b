"""Whole searches as arms: raytl's in this process or by its command, and the documented one as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import ROOT, refuse

from raytl.metric import find_metric
from raytl.on_ray.driver import run_study
from raytl.results.folder import StudyFolder
from raytl.results.result_only import ResultOnly
from raytl.results.schemas import TrialRow
from raytl.results.tables import Tables, epoch_rows, load_tables, trial_rows
from raytl.study import Study

CACHE = "RAYTL_CACHE"  # where raytl keeps decoded pictures: empty for each benchmark
PATIENCE_SECONDS = 1800  # chosen: three times what the longest arm takes; the documented pattern can hang


def run_quietly(study: Study, out: Path) -> Tables:
    """Runs a study in this process; a study with trials that failed is no measurement."""
    outcome = run_study(study, out, lambda line: None, ResultOnly(find_metric(study.metric)))
    if outcome.without_figure:
        raise RuntimeError(f"{outcome.without_figure} trials of {study.name} have no figure")
    return load_tables(StudyFolder(out))


def run_command(words: list[str]) -> None:
    """Runs `experiments/search_all.py` with options, as a person would."""
    command = [sys.executable, str(ROOT / "experiments" / "search_all.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, cwd=ROOT)


def run_documented(folder: Path, words: list[str]) -> dict[str, Any]:
    """Runs the documented search and returns what it says."""
    return run_json("documented.py", folder, words)


def run_json(program: str, folder: Path, words: list[str]) -> dict[str, Any]:
    """Runs one of the other searches and returns what its last line says."""
    command = [sys.executable, str(Path(__file__).with_name(program)), str(folder), *words]
    try:
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise refuse(f"{program} did not end in {PATIENCE_SECONDS} s; there is nothing to compare") from error
    said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return said


def search_trials(tables: Tables) -> list[TrialRow]:
    """The trials of the search itself, without heads and final models."""
    return [row for row in trial_rows(tables.trials) if row.stage == "search"]


def training_times(tables: Tables) -> list[tuple[float, float]]:
    """When the first epoch of each search trial began and its last one ended, in seconds of the clock."""
    wanted = {row.trial_id for row in search_trials(tables)}
    times: dict[str, tuple[float, float]] = {}
    for row in epoch_rows(tables.epochs):
        if row.trial_id in wanted:
            began, _ = times.get(row.trial_id, (row.started_at.timestamp(), 0.0))
            times[row.trial_id] = (began, row.ended_at.timestamp())
    return sorted(times.values())
