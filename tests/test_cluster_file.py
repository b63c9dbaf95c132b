"""cluster.yaml: Ray's own loader and schema accept it, and nobody gets in who should not."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]
FILE = ROOT / "cluster.yaml"
TOKEN = "~/.ray/auth_token"
START_COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands")
SECRETS = r"AKIA[0-9A-Z]{16}|aws_secret|RAY_AUTH_TOKEN=|-----BEGIN|\b[0-9a-f]{32,}\b"


def merged(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as Ray uses it: with Ray's defaults for all that it does not say."""
    return dict(prepare_config(copy.deepcopy(config)))


@pytest.fixture
def cluster() -> dict[str, Any]:
    return merged(yaml.safe_load(FILE.read_text()))


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
        if not kind["node_config"].get("SecurityGroupIds"):
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


def test_ray_accepts_it_and_would_refuse_a_misspelt_key(cluster: dict[str, Any]) -> None:
    validate_config(cluster)
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config({**cluster, "idle_timeout_minute": 5})


def test_nothing_of_ray_s_defaults_is_run(cluster: dict[str, Any]) -> None:
    own = yaml.safe_load(FILE.read_text())
    for key in ("initialization_commands", *START_COMMANDS):
        assert cluster[key] == own[key]
    for key in ("head_setup_commands", "worker_setup_commands"):
        assert cluster[key] == own["setup_commands"] + own[key]


def test_nobody_gets_in(cluster: dict[str, Any]) -> None:
    assert access_problems(cluster) == []
    assert "0.0.0.0" not in FILE.read_text()


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
    assert all(kind["min_workers"] == 1 and kind["resources"]["GPU"] > 0 for kind in kinds.values())


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
