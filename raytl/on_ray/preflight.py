"""What must hold before a search begins: looked at by every start, and by `raytl doctor`."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from raytl.address import place_of
from raytl.errors import MachineError, StorageError
from raytl.machine import (
    Check,
    cache_folder,
    check_count,
    check_disk,
    check_open_files,
    check_processors,
    check_shared_memory,
    check_versions,
    check_writable,
)
from raytl.on_ray.token import OTHERS, TOKEN, token_file
from raytl.study import Study

SMALL_STUDY_BYTES = 2_000_000_000  # chosen: checkpoints and models of small backbones, and their pictures


def machine_checks(out: Path) -> tuple[Check, ...]:
    """Everything that can be looked at without Ray, for a small study in `out`."""
    return (
        check_versions(),
        check_processors(),
        check_writable("study folder", out),
        check_disk("disk of the study", out, SMALL_STUDY_BYTES),
        check_writable("cache", cache_folder()),
        check_disk("disk of the cache", cache_folder(), SMALL_STUDY_BYTES),
        check_shared_memory(),
        check_open_files(),
        check_token(),
    )


def check_start(study: Study, out: Path) -> None:
    """Refuses a search that this machine cannot do, within a second: before pictures are read or torch is imported.

    Raises:
        StorageError: nothing can be written where the study or the cache is to lie.
        MachineError: any other check that failed.
    """
    writable = (check_writable("study folder", out), check_writable("cache", cache_folder()))
    lacking = [check for check in writable if not check.passed]
    if lacking:
        raise StorageError(*map(_said, lacking))
    here = (
        (check_count(study.workers_per_trial), check_shared_memory()) if place_of(study.address).address is None else ()
    )
    refuse((check_versions(), check_open_files(), *here))


def refuse(checks: Sequence[Check]) -> None:
    """Ends a search that cannot end well, before it has begun.

    Raises:
        MachineError: each check that failed, with what is there, what is needed and what to do.
    """
    failed = [check for check in checks if not check.passed]
    if failed:
        raise MachineError(*map(_said, failed))


def _said(check: Check) -> str:
    return f"{check.name}: {check.there}; {check.problem}"


def check_token() -> Check:
    """The token of a Ray that we start: not there yet, or for this user alone."""
    if os.environ.get(TOKEN):
        return Check("authentication", f"a token in {TOKEN}")
    path = token_file()
    if not path.exists():
        return Check("authentication", f"a token will be made in {path}")
    if path.stat().st_mode & OTHERS and path.stat().st_uid != os.getuid():
        mode = stat.filemode(path.stat().st_mode)
        return Check("authentication", f"{path} ({mode})", "others may read the token: give another in RAY_AUTH_TOKEN")
    return Check("authentication", f"the token in {path}")
