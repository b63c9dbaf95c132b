"""What the commands do that train nothing new here: `raytl compare`, `raytl rerun`, `raytl search --detach`.

Torch and Ray take ten seconds to import on a slow machine: what needs them imports them when called.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc

from raytl.choice import nearest
from raytl.commands import check_whole
from raytl.errors import ConfigError
from raytl.noise import shown
from raytl.on_ray.preflight import check_start
from raytl.redaction import redacted
from raytl.results.contrast import contrast, contrast_lines
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.repeat import other_versions, repeat_lines, repeat_of
from raytl.results.result_only import ResultOnly
from raytl.results.schemas import DISTILL, SCORELESS, ConfirmedRow, EpochRow, TrialRow
from raytl.results.tables import confirmed_rows, epoch_rows, learning_curve, trial_rows
from raytl.study import Study, study_of_values

NAMED = 5  # chosen: how many trials a message names


def compare(a: Path, b: Path, backbone: str | None = None) -> int:
    """Says whether the answers of two studies differ, and in what the studies do."""
    found = contrast(load_study(a), load_study(b), backbone)
    print("\n".join(contrast_lines(found, str(a), str(b))))
    return 0


def detach(study: Study, out: Path | None, words: Sequence[str] = ()) -> int:
    """Gives a search to the cluster as a job, and says how to follow, see and stop it."""
    check_whole(study)
    from raytl.on_ray.submission import submit

    done = submit(study, out, words)
    storage = redacted(study.storage) if study.storage else None
    asking = f"--address {redacted(done.address)} {done.job}"
    place = shlex.quote(storage) if storage else f"{out}   (on a machine of the cluster; from afar with --storage URL)"
    print(f"{done.job}: the cluster has the search, and needs this machine no more")
    print(f"follow:  ray job logs --follow {asking}")
    print(f"look:    raytl list {place}")
    print(f"stop:    ray job stop {asking}")
    print(f"go on:   the same command; without this cluster `raytl resume {storage or out} --address local`")
    return 0


def rerun_folder(root: Path, trial_id: str) -> Path:
    """Where a repeated trial goes unless another folder is named: beside its study."""
    return root.resolve().with_name(f"{root.resolve().name}-rerun-{trial_id}")


def rerun(root: Path, trial_id: str, target: Path, changed_data: bool = False) -> int:
    """Repeats one trial in a folder of its own and says epoch by epoch whether its figures came again.

    Exit code 5 where the trial has no figure this time.
    """
    first = load_study(root)
    trial = _trial(first, trial_id)
    if trial.stage == DISTILL:
        raise ConfigError(
            f"{trial_id}: a student of `raytl distill`, which learned from another model; only what was trained on "
            f"labels alone can be repeated: `raytl distill` in a copy of {root} from before it teaches anew"
        )
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"--out {target}: not empty; a repeated trial needs a folder of its own, so name another one")
    values = first.folder.read_study()
    study = study_of_values(first.folder.read_spec())
    check_whole(study)
    check_start(study, target)
    with shown(False):
        from raytl.on_ray.rerun import Wanted, rerun_trial

        wanted = Wanted(trial, study, first.folder, first.tables, changed_data)
        job = rerun_trial(wanted, target, ResultOnly(first.metric), lambda line: print(line, flush=True))
    second = load_study(target)
    now = next(row for row in trial_rows(second.trials) if row.trial_id == job.trial_id)
    tested = [*_tested(first, trial_id), *_tested(second, job.trial_id)]
    elsewhere = other_versions(values, second.folder.read_study())
    print(
        "\n".join(repeat_lines(repeat_of(_epochs(first, trial_id), _epochs(second, job.trial_id), tested, elsewhere)))
    )
    print(f"{now.status}{f' ({now.reason})' if now.reason else ''}; its rows are in {target}")
    return 5 if now.status in SCORELESS and trial.status not in SCORELESS else 0


def _trial(study: LoadedStudy, trial_id: str) -> TrialRow:
    rows = {row.trial_id: row for row in trial_rows(study.trials)}
    if trial_id not in rows:
        best = [row for each in study.final_models[:1] for row in each.trial_ids]
        such = ", ".join([*best, *(name for name in rows if name not in best)][:NAMED])
        raise ConfigError(
            f"{trial_id}: no trial of {study.folder.root}{nearest(trial_id, list(rows))}; it has {len(rows):,}, such "
            f"as {such or 'none'} (trial_id in tables/trials.parquet)"
        )
    return rows[trial_id]


def _epochs(study: LoadedStudy, trial_id: str) -> list[EpochRow]:
    return epoch_rows(learning_curve(study.tables, trial_id))


def _tested(study: LoadedStudy, trial_id: str) -> list[ConfirmedRow]:
    return confirmed_rows(study.confirmed.filter(pc.field("trial_id") == trial_id))
