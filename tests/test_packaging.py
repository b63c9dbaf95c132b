"""What `pip install .` gives somebody else, what the lock holds, and what is uploaded to a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray._private.runtime_env.packaging import create_package

import raytl

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network from a copy of what goes into it."""
    copy = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "raytl", copy / "raytl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run([sys.executable, "-c", BUILD, str(copy / "dist")], cwd=copy, check=True, capture_output=True)
    return zipfile.ZipFile(next((copy / "dist").glob("*.whl")))


def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def lock_entries(text: str) -> dict[str, list[tuple[str, int]]]:
    """For each package of a lock: its versions, each with the number of its hashes."""
    entries: dict[str, list[tuple[str, int]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        if found := re.match(r"([a-z0-9.-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", entry):
            entries.setdefault(found[1], []).append((found[2], entry.count("--hash=sha256:")))
    return entries


def lock_problems(project: dict[str, Any], text: str) -> list[str]:
    """Where the lock does not hold what pyproject.toml asks for, or holds an address or a line without hashes."""
    entries = lock_entries(text)
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    problems = [
        f"{address} in the lock" for address in re.findall(r"\S*(?:://|--\w*index|--find-links|/home/)\S*", text)
    ]
    problems += [f"{name} has no hash" for name, pins in entries.items() if not all(hashes for _, hashes in pins)]
    for line in (line for group in [*groups, project["dependency-groups"]["dev"]] for line in group):
        wanted = Requirement(line)
        pins = entries.get(canonicalize_name(wanted.name), [])
        if not pins or not all(version in wanted.specifier for version, _ in pins):
            problems.append(f"{line}: the lock has {pins}; run `make lock`")
    return problems


def test_the_wheel_holds_the_whole_package(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "raytl").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert inside == {path.relative_to(ROOT).as_posix() for path in files}
    assert {Path(name).suffix for name in inside} >= {".py", ".txt", ".typed", ".safetensors"}


def test_the_wheel_gives_the_command(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    module, function = re.findall(r"raytl = ([\w.]+):(\w+)", wheel.read(name).decode())[0]
    assert callable(getattr(import_module(module), function))


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("raytl", raytl.__version__, "Apache-2.0")
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_version_is_said_once() -> None:
    assert PROJECT["project"]["version"] == raytl.__version__


def test_every_dependency_has_a_lower_bound_and_ray_its_minor_version() -> None:
    wanted = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    assert all({">=", "~="} & {clause.operator for clause in each.specifier} for each in wanted)
    ray = next(each for each in wanted if each.name == "ray")
    assert "2.60.9" in ray.specifier and "2.61.0" not in ray.specifier


def test_the_lock_holds_what_the_project_asks_for() -> None:
    assert len(lock_entries(LOCK)) > 50
    assert lock_problems(PROJECT, LOCK) == []


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        (r"(?m)^ray==[\d.]+", "ray==2.59.0", "make lock"),
        (r"(?m)^torch==", "tork==", "make lock"),
        (r"(?ms)^(rich==\S+).*?(?=^\w)", r"\1\n", "rich has no hash"),
        (r"\A", "--index-url https://example.org/simple\n", "in the lock"),
    ],
)
def test_a_broken_lock_is_found(pattern: str, replacement: str, problem: str) -> None:
    broken = re.sub(pattern, replacement, LOCK, count=1)
    assert broken != LOCK
    assert any(problem in found for found in lock_problems(PROJECT, broken))


def test_import_raytl_imports_neither_torch_nor_ray() -> None:
    code = "import sys, raytl; print(sorted({'torch', 'torchvision', 'timm', 'ray'} & sys.modules.keys()))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"


def test_ray_uploads_the_code_and_neither_data_nor_results(tmp_path: Path) -> None:
    """Ray's own packager, on a folder like this one: raytl/data and raytl/results are code and must come along."""
    code = {"raytl/data/scan.py", "raytl/results/ledger.py", "experiments/search_all.py", "pyproject.toml"}
    other = {
        ".git/config",
        ".venv/bin/python",
        "data/rose/1.jpg",
        "results/flowers/study.json",
        "weights/a.safetensors",
    }
    for name in code | other:
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text("x")
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path / "project")
    create_package(str(tmp_path / "project"), tmp_path / "package.zip", include_gitignore=True, excludes=[])
    sent = {name for name in zipfile.ZipFile(tmp_path / "package.zip").namelist() if not name.endswith("/")}
    assert sent - {".gitignore", ".rayignore"} == code
