"""What travels between processes is whole on arrival and drags neither torch nor Ray along."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from raytl.on_ray.job import Job
from tests.plans import BASE, make_album, make_report, make_workplace

JOB = Job("t", "search", "default", BASE, split=1, recorded_epochs=2)


def test_reading_a_job_imports_neither_torch_nor_ray(tmp_path: Path) -> None:
    content = tmp_path / "job.pickle"
    album = make_album(tmp_path / "pictures")
    content.write_bytes(pickle.dumps((JOB, make_workplace((album,), tmp_path), make_report(JOB, 1))))
    code = (
        f"import pickle, sys; from pathlib import Path; pickle.loads(Path({str(content)!r}).read_bytes()); "
        "print(sorted({'torch', 'ray', 'timm'} & sys.modules.keys()))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_jobs_workplaces_and_reports_arrive_whole(tmp_path: Path) -> None:
    sent = (JOB, make_workplace((make_album(tmp_path / "pictures"),), tmp_path), make_report(JOB, 1))
    assert pickle.loads(pickle.dumps(sent)) == sent


@pytest.mark.parametrize(("stage", "reads"), [("search", False), ("probe", False), ("confirm", True)])
def test_only_final_models_see_test_pictures(stage: str, reads: bool) -> None:
    assert replace(JOB, stage=stage).reads_test_set is reads
