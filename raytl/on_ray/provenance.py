"""Where a study's results come from: the study as run, the data, the versions, the commit and the machine."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from raytl.data.changes import picture_changes
from raytl.errors import ConfigError, DataError
from raytl.going_on import LIMITS, MAY_GROW
from raytl.models.weights import weights_fingerprint
from raytl.on_ray.cluster import Resources
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.redaction import redacted_values
from raytl.results.folder import StudyFolder
from raytl.results.tables import load_tables, picture_rows
from raytl.study import study_of_values

# How long and where, not what: a study goes on under others. Pictures are known by their fingerprint.
MAY_CHANGE = (
    "name",
    "data",
    "more_data",
    "allow_bad",
    "time_limit_seconds",
    "peer_timeout_seconds",
    "trials_per_gpu",
    "address",
    "cache_gb",
    "store_gb",
    "storage",
    "weight_histograms",
    "keep_finals",
    *LIMITS,
)
PACKAGE = Path(__file__).resolve().parents[1]  # the folder raytl, which lies at the top of its checkout
PACKAGES = ("raytl", "ray", "torch", "torchvision", "timm", "optuna", "hyperopt", "pyarrow", "numpy")


def write_provenance(plan: Plan, folder: StudyFolder, resources: Resources, changed_data: bool = False) -> None:
    """Writes `study.json`, or checks that the folder holds this very study, which then goes on.

    With `changed_data` it goes on although its pictures have changed, and `study.json` tells that. More trials, seeds
    or splits than before extend the study, which `study.json` tells under `extended`.

    Raises:
        ConfigError: where the folder holds another study; what differs is named.
        DataError: where its pictures have changed; how they have is said.
    """
    spec = redacted_values(json.loads(json.dumps(plan.study.values())))
    assert isinstance(spec, dict)
    if folder.study_json.exists():
        known = folder.read_study()
        _check_same(folder, known, spec)
        if known.get("data_fingerprint") != plan.album.fingerprint:
            known = _with_pictures(plan, folder, known, changed_data)
        going_on = _with_changes(plan, known, spec)
        if going_on != folder.read_study():
            folder.write_study(going_on)
        return
    folder.write_study(
        {
            "spec": spec,
            "command": _command(sys.argv),
            "data_fingerprint": plan.album.fingerprint,
            "splits": [album.fingerprint for album in plan.albums],
            "classes": list(plan.album.classes),
            "confirm_seeds": _seeds(plan),
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


def _command(words: Sequence[str]) -> str:
    """What was typed: `raytl`, whichever way that was started, or a program such as `experiments/search_all.py`."""
    program = Path(words[0])
    is_other = program.suffix == ".py" and program.parent.name != "raytl"
    return shlex.join([*(["python", words[0]] if is_other else ["raytl"]), *words[1:]])


def _check_same(folder: StudyFolder, known: Mapping[str, object], spec: Mapping[str, object]) -> None:
    before = known.get("spec")
    # A study that an older version began knows nothing of fields that are younger: they are at their defaults.
    before = json.loads(json.dumps(study_of_values(before).values())) if isinstance(before, dict) else {}
    problems = [
        f"{folder.root}: holds a study with {name}={before.get(name)!r}, this one has {value!r}"
        for name, value in spec.items()
        if before.get(name) != value and name not in MAY_CHANGE and not _grows(name, before.get(name), value)
    ]
    if problems:
        raise ConfigError(
            *problems, f"`raytl resume {folder.root}` goes on with the study it holds; another needs another --out"
        )


def _grows(name: str, before: object, value: object) -> bool:
    return name in MAY_GROW and isinstance(before, int) and isinstance(value, int) and value > before


def _with_changes(plan: Plan, known: dict[str, object], spec: Mapping[str, object]) -> dict[str, object]:
    """`study.json` with the limits that count from now on, and with what the study has grown by."""
    before = known.get("spec")
    before = before if isinstance(before, dict) else {}
    defaults = json.loads(json.dumps(study_of_values(before).values()))
    changed = {name: spec[name] for name in (*LIMITS, *MAY_GROW) if defaults[name] != spec[name]}
    if not changed:
        return known
    values = {**known, "spec": {**before, **changed}}
    grown = {name: [defaults[name], spec[name]] for name in MAY_GROW if name in changed}
    if not grown:
        return values
    told = known.get("extended")
    change = {"at": _now(), "command": _command(sys.argv), "changes": grown}
    return {
        **values,
        "confirm_seeds": _seeds(plan),
        "splits": [album.fingerprint for album in plan.albums],
        "extended": [*(told if isinstance(told, list) else []), change],
    }


def _seeds(plan: Plan) -> list[int]:
    return [plan.study.seed + index for index in range(plan.study.confirm_seeds)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _with_pictures(
    plan: Plan, folder: StudyFolder, known: Mapping[str, object], changed_data: bool
) -> dict[str, object]:
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
    change = {"at": _now(), "changes": changes}
    return {
        **known,
        "data_fingerprint": plan.album.fingerprint,
        "splits": [album.fingerprint for album in plan.albums],
        "data_changes": [*(told if isinstance(told, list) else []), change],
    }


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


def _git_commit(package: Path = PACKAGE) -> str | None:
    """The commit of raytl's own checkout; None where it is installed, be it inside another project's checkout."""
    command = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = found.stdout.splitlines()
    if found.returncode or len(lines) != 2 or Path(lines[0]).resolve() != package.parent:
        return None
    return lines[1]
