"""A study that a file holds: a Python file of a person's own, or a study.json."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from raytl.choice import nearest
from raytl.errors import ConfigError, RaytlError
from raytl.spec import read_spec
from raytl.study import Study


def load_study(said: str) -> Study:
    """The study that `FILE` calls STUDY, or that `FILE:NAME` names, or that a study.json holds.

    Raises:
        ConfigError: where the file is missing, cannot be run, or has no such study.
    """
    if said.endswith(".json"):
        return read_spec(Path(said))
    file, _, name = said.rpartition(":")
    return load_study_file(Path(file), name) if file.endswith(".py") else load_study_file(Path(said))


def study_names(path: Path) -> tuple[str, ...]:
    """What a Python file calls its studies; none where it cannot be run: who loads one hears why."""
    try:
        return tuple(name for name, value in _variables(path).items() if isinstance(value, Study))
    except ConfigError:
        return ()


def load_study_file(path: Path, name: str = "STUDY") -> Study:
    """The study of that name in a Python file.

    Raises:
        ConfigError: where the file is missing, cannot be run, or has no study.
    """
    variables = _variables(path)
    study = variables.get(name)
    if not isinstance(study, Study):
        known = [each for each, value in variables.items() if isinstance(value, Study)]
        raise ConfigError(
            f"study file {str(path)!r}: {name} is {study!r}; it must be a raytl.study.Study{nearest(name, known)}"
        )
    return study


def _variables(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"study file {str(path)!r}: no such Python file; give one that says STUDY = Study(...)")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except RaytlError:
        raise
    except Exception as error:  # a person's own code can raise anything
        raise ConfigError(f"study file {str(path)!r}: {type(error).__name__}: {error}; mend the file") from error
    return vars(module)
