"""A search given to a cluster: what is sent, and what is refused before anything is."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from raytl.cli import main, make_parser
from raytl.errors import ConfigError, MachineError
from raytl.on_ray import submission as module
from raytl.on_ray.submission import VARIABLES, path_problems, submit
from raytl.options import EMBEDDED, study_of
from raytl.study import Study

AFAR = replace(EMBEDDED, address="http://head:8265", storage="s3://bucket/flowers")
OUT = Path("/mnt/raytl/results/flowers")
Captured = pytest.CaptureFixture[str]


@dataclass
class Cluster:
    """A job server that takes whatever comes, and understands it as the cluster would."""

    address: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    jobs: list[tuple[str, Study, Path, str]] = field(default_factory=list)

    def connect(self, address: str) -> Cluster:
        self.address = address
        self.variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        return self

    def submit_job(self, *, entrypoint: str, submission_id: str, runtime_env: dict[str, Any]) -> str:
        folder = runtime_env["working_dir"]
        python, *words = shlex.split(entrypoint)
        assert python == "python" and words[:3] == ["-m", "raytl.cli", "search"]
        whence = "import raytl; print(raytl.__file__)"
        found = subprocess.run([sys.executable, "-c", whence], cwd=folder, check=True, capture_output=True, text=True)
        assert Path(found.stdout.strip()).parents[1] == Path(folder).resolve(), "the job runs this very code"
        before = Path.cwd()
        os.chdir(folder)
        try:
            options = make_parser().parse_args(words[2:])
            self.jobs.append((submission_id, study_of(options), options.out, entrypoint))
        finally:
            os.chdir(before)
        return submission_id

    def get_address(self) -> str:
        return self.address


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(module, "_connect", made.connect)
    return made


def test_the_job_is_the_study_as_it_was_understood_here(cluster: Cluster) -> None:
    done = submit(AFAR, OUT, ["--quiet"])
    [(job, study, out, entrypoint)] = cluster.jobs
    assert done.job == job and job.startswith("raytl-flowers-") and done.address == cluster.address == AFAR.address
    assert study == replace(AFAR, address="auto") and out == OUT
    assert entrypoint.endswith(" --quiet") and "s3://" not in entrypoint, "a dashboard shows the entrypoint"
    assert submit(AFAR, OUT).job != job


@pytest.mark.parametrize(
    ("given", "variable", "told"),
    [("http://head:8265", None, "http://head:8265"), (None, "http://named:8265", "http://named:8265")],
)
def test_a_job_that_was_taken_is_said_to_be_whatever_happens_then(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, given: str | None, variable: str | None, told: str
) -> None:
    def fails() -> str:
        raise ConnectionError("the head is busy")

    monkeypatch.setattr(cluster, "get_address", fails)
    if variable is not None:
        monkeypatch.setenv(VARIABLES[0], variable)
    done = submit(replace(AFAR, address=given), OUT)
    assert [job for job, *_ in cluster.jobs] == [done.job] and done.address == told


def test_an_experiment_file_need_not_be_on_the_cluster(cluster: Cluster, tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from raytl import Study\nSTUDY = Study(name='mine', data='digits', backbones=('tiny_vit',))\n")
    words = ["search", "--study", str(file), "--trials", "3", "--detach", "--address", "http://head:8265"]
    assert main([*words, "--out", str(OUT), "--storage", "s3://bucket/mine", "--json"]) == 0
    [(job, study, out, entrypoint)] = cluster.jobs
    assert (study.name, study.trials, study.address, out) == ("mine", 3, "auto", OUT)
    assert entrypoint.endswith(" --json")
    asking = f"--address http://head:8265 {job}"
    assert capsys.readouterr().out.splitlines() == [
        f"{job}: the cluster has the search, and needs this machine no more",
        f"follow:  ray job logs --follow {asking}",
        "look:    raytl list s3://bucket/mine",
        f"stop:    ray job stop {asking}",
        "go on:   the same command; without this cluster `raytl resume s3://bucket/mine --address local`",
    ]


def test_an_address_that_was_given_goes_before_the_variables(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    submit(AFAR, OUT)
    assert (cluster.address, cluster.variables) == ("http://head:8265", {})
    assert os.environ["RAY_ADDRESS"] == "http://other:8265"
    for address in (None, "auto"):
        submit(replace(AFAR, address=address), OUT)
        assert (cluster.address, cluster.variables) == ("auto", {"RAY_ADDRESS": "http://other:8265"})


def test_pictures_of_this_machine_are_refused_and_nothing_is_sent(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    asked = ["search", "pictures", str(tmp_path / "pictures"), "/mnt/elsewhere/more", "drawn-flowers:20"]
    assert main([*asked, "--weights", "own", "--detach", "--address", "http://head:8265"]) == 2
    said = capsys.readouterr().err
    assert [said.count(f"raytl: data='{name}': nothing that") for name in ("pictures", tmp_path / "pictures")] == [1, 1]
    assert "weights='own': nothing that the cluster can read" in said and "--out: not given" in said
    assert "ray rsync-up" in said and "/mnt/raytl/data" in said and "elsewhere" not in said and "drawn" not in said
    assert not cluster.jobs


@pytest.mark.parametrize(
    "data", ["drawn-flowers", "drawn-flowers:20", "/mnt/elsewhere/pictures", "s3://bucket/pictures"]
)
def test_what_the_cluster_may_have_is_let_through(data: str) -> None:
    assert path_problems(replace(AFAR, data=data)) == []


def test_other_storage_than_this_machines_own_disk_may_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the disk that a person's home lies on: here that of the processes, which nobody shares."""
    assert path_problems(replace(AFAR, data=str(tmp_path))) != [] or tmp_path.stat().st_dev != Path.home().stat().st_dev
    monkeypatch.setattr(Path, "home", lambda: Path("/proc"))
    assert path_problems(replace(AFAR, data=str(tmp_path))) == []


def test_on_a_machine_of_the_cluster_paths_are_made_whole(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    submit(replace(AFAR, address="auto", data="pictures", more_data=("digits",)), Path("mine"))
    [(_, study, out, _)] = cluster.jobs
    assert (study.data, study.more_data, out) == (str(tmp_path / "pictures"), ("digits",), tmp_path / "mine")


@pytest.mark.parametrize("out", [None, Path("results/flowers")])
def test_a_study_folder_of_this_machine_is_refused(out: Path | None, cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match=r"--out: .* such as /mnt/raytl/results/NAME"):
        submit(AFAR, out)
    assert not cluster.jobs


def test_without_a_cluster_it_is_said_how_to_name_one(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match="no cluster is named; give --address"):
        submit(replace(AFAR, address=None), OUT)


def test_a_cluster_that_does_not_answer_is_named_without_its_secrets() -> None:
    study = replace(AFAR, address="http://me:canary-secret@127.0.0.1:1")
    with pytest.raises(MachineError) as caught:
        submit(study, OUT)
    assert "no cluster took the job at 'http://<redacted>@127.0.0.1:1'" in str(caught.value)
    assert "canary-secret" not in str(caught.value) and "ray dashboard cluster.yaml" in str(caught.value)
