"""A study as a file of JSON: what `study.json` keeps under `spec`."""

from __future__ import annotations

import json
from pathlib import Path

from raytl.errors import ConfigError
from raytl.study import Study, study_of_values


def write_spec(study: Study, path: Path) -> None:
    """Writes a study where `read_spec` can read it, its secrets included."""
    path.write_text(json.dumps({"spec": study.values()}, ensure_ascii=False, allow_nan=False))


def read_spec(path: Path) -> Study:
    """The study of a `study.json`: what a study folder was made of, or what `write_spec` wrote.

    Raises:
        ConfigError: where the file cannot be read, or holds no study of this version.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"study file {str(path)!r}: {error}; give a study.json as raytl writes it") from error
    spec = values.get("spec") if isinstance(values, dict) else None
    if not isinstance(spec, dict):
        raise ConfigError(f"study file {str(path)!r}: no `spec` in it; give a study.json as raytl writes it")
    return study_of_values(spec)
