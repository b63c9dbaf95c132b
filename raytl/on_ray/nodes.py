"""Whether every machine of a cluster finds what a study was given, and can write where it keeps its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytl.errors import StorageError
from raytl.results.folder import StudyFolder, draft_of
from raytl.study import Study

# Chosen: longer than Ray 2.60 takes to notice that a machine is gone, at most five checks of 3 + 10 seconds.
PATIENCE_SECONDS = 90.0


def given_paths(study: Study) -> tuple[Path, ...]:
    """What a study reads from paths that a person gave: pictures, tables, archives, weights; not what raytl makes."""
    weights = () if study.weights in ("pretrained", "none") else (study.weights,)
    given = (study.data, *study.more_data, *weights)
    return tuple(Path(each).resolve() for each in given if Path(each).exists())


def check_nodes(folder: StudyFolder, given: Sequence[Path] = ()) -> None:
    """Has every machine look for `given`, read a file of ours and write one, where there are several machines.

    One that turns out to be gone is none of them: Ray may call it alive for a minute after its end.

    Raises:
        StorageError: this machine cannot write there, or one line for each other that cannot.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if len(alive) < 2:
        return
    seen = _left_to_see(folder)
    try:
        asked = [_asked(node, seen, given) for node in alive]
        told = [(node["NodeID"], _answer(node, task)) for node, task in zip(alive, asked, strict=True)]
        left = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        problems = [problem for name, problem in told if problem and name in left]
    finally:
        seen.unlink(missing_ok=True)
    if problems:
        raise StorageError(*problems)


def _left_to_see(folder: StudyFolder) -> Path:
    """A file that every machine has to see."""
    try:
        folder.checkpoints.mkdir(exist_ok=True)
        seen = draft_of(folder.checkpoints.resolve() / "seen")
        seen.write_text("")
    except OSError as error:
        raise StorageError(
            f"{folder.checkpoints}: cannot be written ({error.strerror or error}); make room, mend the folder, or give "
            "one that can be written with --out"
        ) from error
    return seen


def _asked(node: dict[str, str], seen: Path, given: Sequence[Path]) -> ray.ObjectRef[str]:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return _try.options(scheduling_strategy=there).remote(seen, tuple(given))


@ray.remote(num_cpus=0)
def _try(seen: Path, given: tuple[Path, ...]) -> str:
    return _problem(seen, given)


def _problem(seen: Path, given: Sequence[Path]) -> str:
    """What is wrong with a shared file's folder, or with what was given, on this machine; nothing where all is well."""
    if not seen.exists():
        return "does not hold what another machine wrote there; put it on storage that all machines share, with --out"
    try:
        probe = draft_of(seen)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return f"cannot be written ({error.strerror}); put it on storage that all machines share, with --out"
    missing = [str(path) for path in given if not path.exists()]
    return f"is there, but not {', '.join(missing)}; put it on storage that all machines share" if missing else ""


def _answer(node: dict[str, str], task: ray.ObjectRef[str]) -> str:
    try:
        said = ray.get(task, timeout=PATIENCE_SECONDS)
    except RayError as error:
        said = f"could not be looked at ({type(error).__name__})"
    return f"the study folder on {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) {said}" if said else ""
