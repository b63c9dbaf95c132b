"""cluster.yaml and its variants: Ray's own loaders and schema accept them, and nobody gets in who should not."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr as ray_reads
from ray.autoscaler._private.util import prepare_config, validate_config

from raytl.cli import make_parser

ROOT = Path(__file__).parents[1]
FILE = ROOT / "cluster.yaml"
ON_PREMISES = ROOT / "experiments" / "cluster" / "on_premises.yaml"
KUBERAY = ROOT / "experiments" / "cluster" / "kuberay.yaml"
TOKEN = "~/.ray/auth_token"
START_COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands")
SECRETS = r"AKIA[0-9A-Z]{16}|aws_secret|RAY_AUTH_TOKEN=|-----BEGIN|\b[0-9a-f]{32,}\b"


def merged(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as Ray uses it: with Ray's defaults for all that it does not say."""
    return dict(prepare_config(copy.deepcopy(config)))


@pytest.fixture
def cluster() -> dict[str, Any]:
    return merged(yaml.safe_load(FILE.read_text()))


@pytest.fixture(params=[FILE, ON_PREMISES], ids=["aws", "on_premises"])
def file(request: pytest.FixtureRequest) -> Path:
    """Each file that `ray up` takes."""
    return Path(request.param)


def access_problems(config: dict[str, Any]) -> list[str]:
    """Every way in which a merged configuration lets somebody in, or gives a secret away."""
    text = yaml.safe_dump(config, width=10_000)
    problems = [f"{found!r} opens to every address" for found in re.findall(r"0\.0\.0\.0(?:/\d+)?|::/0", text)]
    problems += [f"secret in the file: {found[:8]}..." for found in re.findall(SECRETS, text)]
    for key in START_COMMANDS:
        problems += [f"{key}: {problem}" for command in config[key] for problem in start_problems(command)]
    if config["file_mounts"].get(TOKEN) != TOKEN:
        problems.append(f"file_mounts: {TOKEN} does not reach the nodes")
    if not any(f"chmod 600 {TOKEN}" in command for command in config["initialization_commands"]):
        problems.append("initialization_commands: others may read the token")
    for name, kind in config["available_node_types"].items():
        if config["provider"]["type"] == "aws" and not kind["node_config"].get("SecurityGroupIds"):
            problems.append(f"{name}: no SecurityGroupIds, and the group that Ray makes opens ssh to all")
    return problems


def start_problems(command: str) -> Iterator[str]:
    """What is wrong with one command, if it is one that starts Ray."""
    if not re.search(r"\bray start\b", command):
        return
    if not re.search(r"\bRAY_AUTH_MODE=token \S*ray start\b", command):
        yield "starts ray without a token"
    hosts = re.findall(r"--dashboard-host[= ](\S+)", command)
    if "--head" in command.split() and hosts != ["127.0.0.1"]:
        yield f"dashboard on {hosts or 'a host that is not said'}"


def test_ray_accepts_it_and_would_refuse_a_misspelt_key(file: Path) -> None:
    cluster = merged(yaml.safe_load(file.read_text()))
    validate_config(cluster)
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config({**cluster, "idle_timeout_minute": 5})


def test_nothing_of_ray_s_defaults_is_run(file: Path) -> None:
    own = yaml.safe_load(file.read_text())
    cluster = merged(own)
    for key in ("initialization_commands", *START_COMMANDS):
        assert cluster[key] == own[key]
    for key in ("head_setup_commands", "worker_setup_commands"):
        assert cluster[key] == own["setup_commands"] + own[key]


def test_nobody_gets_in(file: Path) -> None:
    assert access_problems(merged(yaml.safe_load(file.read_text()))) == []
    assert "0.0.0.0" not in file.read_text()


def test_machines_that_are_there_are_started_as_those_that_are_rented() -> None:
    """What `make test-cluster` runs of cluster.yaml on separate hosts is what the other file says as well."""
    rented, there = (yaml.safe_load(path.read_text()) for path in (FILE, ON_PREMISES))
    assert {key for key in rented if rented[key] != there.get(key)} == {
        *("provider", "auth", "initialization_commands"),
        *("available_node_types", "head_node_type", "max_workers", "upscaling_speed", "idle_timeout_minutes"),
    }
    assert set(there) <= set(rented)


def test_ray_s_own_defaults_are_refused() -> None:
    problems = "\n".join(access_problems(merged({"cluster_name": "defaults", "provider": {"type": "aws"}})))
    for expected in ("0.0.0.0", "without a token", "dashboard on", "does not reach", "may read the token", "opens ssh"):
        assert expected in problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("--dashboard-host=127.0.0.1", "", "dashboard on a host that is not said"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host=10.0.0.5", "dashboard on"),
        ("RAY_AUTH_MODE=token ~/raytl/.venv/bin/ray start --address", "ray start --address", "without a token"),
        ("chmod 600 ~/.ray/auth_token", "true", "may read the token"),
        ("*groups", "[]", "gpu: no SecurityGroupIds"),
        ("make setup", "RAY_AUTH_TOKEN=abc make setup", "secret"),
    ],
)
def test_each_hole_is_found(old: str, new: str, problem: str) -> None:
    text = FILE.read_text()
    assert old in text
    assert any(problem in found for found in access_problems(merged(yaml.safe_load(text.replace(old, new)))))


def test_trials_run_on_gpu_workers_only(cluster: dict[str, Any]) -> None:
    kinds = cluster["available_node_types"]
    assert set(kinds.pop(cluster["head_node_type"])["resources"].values()) == {0}
    assert all(kind["min_workers"] == 0 and kind["resources"]["GPU"] > 0 for kind in kinds.values())


def kubernetes_job() -> dict[str, Any]:
    """The job's specification. Its operator's schema is in no package of Python: these tests hold what matters here."""
    job = yaml.safe_load(KUBERAY.read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    return dict(job["spec"])


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_ray_s_autoscaler_reads_the_cluster_of_kubernetes_as_it_is_meant() -> None:
    cluster = kubernetes_job()["rayClusterSpec"]
    read = ray_reads({"metadata": {"name": "raytl", "namespace": "default"}, "spec": cluster})
    kinds = read["available_node_types"]
    assert kinds[read["head_node_type"]]["resources"]["CPU"] == 0 == kinds[read["head_node_type"]]["resources"]["GPU"]
    assert kinds["gpu"]["resources"]["GPU"] == 1 and kinds["gpu"]["resources"]["CPU"] == 8
    assert (kinds["gpu"]["min_workers"], kinds["gpu"]["max_workers"]) == (2, 8)
    assert read["idle_timeout_minutes"] == 5
    assert cluster["rayVersion"] == ray.__version__


def test_on_kubernetes_a_token_is_asked_for_and_every_pod_has_what_it_needs() -> None:
    job = kubernetes_job()
    assert (
        job["rayClusterSpec"]["authOptions"] == {"mode": "token"} and job["rayClusterSpec"]["enableInTreeAutoscaling"]
    )
    assert job["shutdownAfterJobFinishes"] is True and job["backoffLimit"] == 1
    for pod in (group["template"]["spec"] for group in groups(job)):
        [container] = pod["containers"]
        assert re.fullmatch(r"\S+@sha256:\S+", container["image"]), "by its digest"
        assert container["resources"]["limits"] == container["resources"]["requests"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"raytl": "/mnt/raytl", "shared-memory": "/dev/shm"} and pod["securityContext"]["runAsNonRoot"]
        volumes = {volume.pop("name"): volume for volume in copy.deepcopy(pod["volumes"])}
        assert volumes.keys() == mounts.keys()
        shared = volumes["shared-memory"]["emptyDir"]
        assert shared["medium"] == "Memory" and shared["sizeLimit"] == "4Gi", "twice the object store"
    assert not re.search(SECRETS, KUBERAY.read_text())


def test_the_command_of_the_job_is_one_that_raytl_understands() -> None:
    """Without a shell's operators: who submits it may be a shell too, and take them for its own."""
    entrypoint = kubernetes_job()["entrypoint"]
    program, command, *options = shlex.split(entrypoint)
    assert (program, command) == ("raytl", "search") and not set(entrypoint) & set("|&;$<>()`")
    parsed = make_parser().parse_args([command, *options])
    assert parsed.address == "auto" and str(parsed.out).startswith("/mnt/raytl/")


def test_a_node_gets_what_it_needs_and_no_more(cluster: dict[str, Any]) -> None:
    """Each mounted path is named and exists; no exclude, which Ray applies to every mount, hits a package of raytl."""
    mounts = {local for remote, local in cluster["file_mounts"].items() if remote != TOKEN}
    assert [local for local in mounts if not (ROOT / local).exists()] == []
    assert mounts.isdisjoint({".", "./", ".git", "data", "results", ".venv"})
    wanted = [path for path in (ROOT / "raytl").rglob("*") if "__pycache__" not in path.parts]
    names = {path.name for path in wanted}
    assert {"__init__.py", "data", "results"} <= names
    assert not [name for name in names for pattern in cluster["rsync_exclude"] if fnmatch(name, pattern.strip("/"))]


def test_what_a_person_fills_in_is_said_once_each() -> None:
    commands = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert sorted(re.findall(r"\b\w+-FILL-IN", "\n".join(commands))) == ["ami-FILL-IN", "fs-FILL-IN", "sg-FILL-IN"]
