"""Where a study's results come from: the study as run, the data, the versions, the commit and the machine."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from raytl.data.changes import picture_changes
from raytl.errors import ConfigError, DataError
from raytl.models.weights import weights_fingerprint
from raytl.on_ray.cluster import Resources
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.results.folder import StudyFolder
from raytl.results.tables import load_tables, picture_rows

# How long and where, not what: a study goes on under others. Pictures are known by their fingerprint.
MAY_CHANGE = ("name", "data", "time_limit_seconds", "address", "cache_gb")
PACKAGES = ("raytl", "ray", "torch", "torchvision", "timm", "optuna", "hyperopt", "pyarrow", "numpy")


def write_provenance(plan: Plan, folder: StudyFolder, resources: Resources, changed_data: bool = False) -> None:
    """Writes `study.json`, or checks that the folder holds this very study, which then goes on.

    With `changed_data` it goes on although its pictures have changed, and `study.json` tells that.

    Raises:
        ConfigError: where the folder holds another study; what differs is named.
        DataError: where its pictures have changed; how they have is said.
    """
    spec = json.loads(json.dumps(plan.study.values()))
    if folder.study_json.exists():
        known = folder.read_study()
        _check_same(folder, known, spec)
        if known.get("data_fingerprint") != plan.album.fingerprint:
            _accept_pictures(plan, folder, known, changed_data)
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


def _check_same(folder: StudyFolder, known: Mapping[str, object], spec: Mapping[str, object]) -> None:
    before = known.get("spec")
    before = before if isinstance(before, dict) else {}
    problems = [
        f"{folder.root}: holds a study with {name}={before.get(name)!r}, this one has {value!r}"
        for name, value in spec.items()
        if before.get(name) != value and name not in MAY_CHANGE
    ]
    if problems:
        raise ConfigError(
            *problems, f"`raytl resume {folder.root}` goes on with the study it holds; another needs another --out"
        )


def _accept_pictures(plan: Plan, folder: StudyFolder, known: Mapping[str, object], changed_data: bool) -> None:
    changes = picture_changes(picture_rows(load_tables(folder).data), plan.album.pictures)
    if known.get("classes") != list(plan.album.classes):
        raise DataError(
            *changes, f"{folder.root}: its study has other classes; begin another one with a new folder for --out"
        )
    if not changed_data:
        raise DataError(
            *changes,
            f"{folder.root}: the pictures or their split have changed since its study began; put them back, or go on "
            f"all the same with `raytl resume {folder.root} --changed-data`: what was measured before stays as it is",
        )
    told = known.get("data_changes")
    change = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "changes": changes}
    folder.write_study(
        {
            **known,
            "data_fingerprint": plan.album.fingerprint,
            "splits": [album.fingerprint for album in plan.albums],
            "data_changes": [*(told if isinstance(told, list) else []), change],
        }
    )


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
