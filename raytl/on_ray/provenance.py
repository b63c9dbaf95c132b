"""Where a study's results come from: the study as run, the data, the versions, the commit and the machine."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from raytl.errors import ConfigError
from raytl.models.weights import weights_fingerprint
from raytl.on_ray.cluster import Resources
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.results.folder import StudyFolder

MAY_CHANGE = ("time_limit_seconds", "address", "cache_gb")  # how long and where, not what: a study goes on under others
PACKAGES = ("raytl", "ray", "torch", "torchvision", "timm", "optuna", "hyperopt", "pyarrow", "numpy")


def write_provenance(plan: Plan, folder: StudyFolder, resources: Resources) -> None:
    """Writes `study.json`, or checks that the folder holds this very study, which then goes on.

    Raises:
        ConfigError: where the folder holds another study; what differs is named.
    """
    spec = json.loads(json.dumps(plan.study.values()))
    if folder.study_json.exists():
        _check_same(folder, spec, plan.album.fingerprint)
        return
    folder.write_study(
        {
            "spec": spec,
            "command": shlex.join(["raytl", *sys.argv[1:]]),
            "data_fingerprint": plan.album.fingerprint,
            "splits": [album.fingerprint for album in plan.albums],
            "classes": list(plan.album.classes),
            "confirm_seeds": [plan.study.seed + index for index in range(plan.study.confirm_seeds)],
            "backbones": {part.backbone: _backbone(part) for part in plan.backbones},
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
            "git_commit": _git_commit(),
            "machine": {
                "node": platform.node(),
                "platform": platform.platform(),
                "cpus": resources.cpus,
                "gpus": resources.gpus,
                "memory_bytes": resources.memory_bytes,
            },
        }
    )


def known_precisions(folder: StudyFolder) -> dict[str, str]:
    """The number format of each backbone in an earlier run of the study; empty where there was none."""
    if not folder.study_json.exists():
        return {}
    backbones = folder.read_study().get("backbones")
    known = backbones.items() if isinstance(backbones, dict) else ()
    return {name: values["default"]["precision"] for name, values in known}


def _check_same(folder: StudyFolder, spec: dict[str, object], fingerprint: str) -> None:
    known = folder.read_study()
    before = known.get("spec")
    before = before if isinstance(before, dict) else {}
    problems = [
        f"{folder.root}: holds a study with {name}={before.get(name)!r}, this one has {value!r}"
        for name, value in spec.items()
        if before.get(name) != value and name not in MAY_CHANGE
    ]
    if known.get("data_fingerprint") != fingerprint:
        problems.append(f"{folder.root}: its study was made on other pictures or another split")
    if problems:
        raise ConfigError(*problems, "give another folder with --out, or remove this one")


def _backbone(part: BackbonePlan) -> dict[str, object]:
    return {
        "stages": list(part.facts.stage_names),
        "frozen_fractions": list(part.facts.frozen_fractions),
        "default": part.default.values(),
        "probe": part.probe.values(),
        "space": {name: str(domain) for name, domain in part.space.domains.items()},
        "weights_sha256": weights_fingerprint(part.backbone, part.default.weights),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
