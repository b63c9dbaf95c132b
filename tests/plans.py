"""A study of tiny pictures made ready by hand, for tests of what happens to it on Ray, and stand-ins of Tune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from raytl.data.album import Album, open_album
from raytl.metric import find_metric
from raytl.models.cost import BackboneFacts
from raytl.on_ray.job import Job, Report, RunFacts, Workplace
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.on_ray.results import as_result
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder
from raytl.space import Choices, Domain, LogUniform, Space
from raytl.study import FLAT, Study
from tests.pictures import write_classes
from tests.rows import START, epoch_row

STAGES = 3
SPACE: Mapping[str, Domain] = {"lr": LogUniform(1e-4, 1e-1), "freeze_depth": Choices((0, STAGES))}
HEADS: Mapping[str, Domain] = {"lr": LogUniform(1e-4, 1e-1), "ema_decay": Choices((0.0, 0.9))}
FACTS = RunFacts("node", "fp32", 1_000, ())
BASE = Recipe(backbone="plain_cnn", weights="none", image_size=16, eval_resize=20, precision="fp32", batch_size=8)


def make_album(folder: Path, classes: int = 2, pictures: int = 12) -> Album:
    """Small noisy pictures in one folder for each class."""
    return open_album(write_classes(folder, dict.fromkeys("abcdef"[:classes], pictures)), workers=1)


def make_part(backbone: str, domains: Mapping[str, Domain] = SPACE, epochs: int = 9) -> BackbonePlan:
    """A backbone of three stages; nothing is built."""
    default = replace(BASE, backbone=backbone, epochs=epochs, lr=0.003)
    facts = BackboneFacts(
        name=backbone,
        stage_names=("one", "two", "three"),
        parameters=100,
        trainable_parameters=(100, 80, 40, 10),
        frozen_fractions=(0.0, 0.3, 0.6, 0.9),
        forward_flops=1_000,
        image_size=16,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    probe = replace(default, freeze_depth=STAGES, lr=0.001, augment="none")
    return BackbonePlan(facts, default, probe, Space(domains), Space(HEADS))


def make_plan(albums: tuple[Album, ...], cache: Path, **values: Any) -> Plan:
    """A study of two backbones, all trials alike; `values` are fields of `Study`, or `domains` for both spaces."""
    domains = values.pop("domains", SPACE)
    values = {"backbones": ("plain_cnn", "tiny_resnet"), "trials": 4, "confirm_seeds": 2, "policy": FLAT, **values}
    study = Study(**{"name": "made-up", "data": "pictures", "searcher": "random", **values})
    epochs = study.epochs or 9
    return Plan(study, albums, tuple(make_part(name, domains, epochs) for name in study.backbones), cache)


def make_recorder(root: Path, metric: str = "val_accuracy") -> Recorder:
    """The recorder of a study folder; called again for the same folder, it knows what was recorded."""
    folder = StudyFolder(root)
    folder.create()
    return Recorder(folder, find_metric(metric))


def make_workplace(albums: tuple[Album, ...], folder: Path) -> Workplace:
    """Where tiny jobs are trained, on the processors."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Workplace(albums, "val_accuracy", folder / "checkpoints", folder / "cache", threads=1, use_gpu=False)


def make_report(job: Job, epoch: int, score: float = 0.5, **values: Any) -> Report:
    """One epoch of a job that reached `score`; `values` are fields of `Report`."""
    ended_at = START + timedelta(seconds=epoch)
    row = epoch_row(trial_id=job.trial_id, epoch=epoch, ended_at=ended_at, val_accuracy=score, val_loss=1 - score)
    return Report(**{"job": job, "row": row, "facts": FACTS, **values})


@dataclass(eq=False)
class TuneTrial:
    """What is read of a trial of Tune."""

    config: dict[str, Any]
    trial_id: str = "tune0"
    status: str = "RUNNING"
    error: str | None = None
    last_result: dict[str, Any] = field(default_factory=dict)

    def get_error(self) -> str | None:
        """The text of the error, as Tune gives it."""
        return self.error


def deliver(scheduler: Any, trial: TuneTrial, reports: Iterable[Report]) -> list[str]:
    """Gives a trial's reports to a scheduler until it stops the trial; returns the answers."""
    answers: list[str] = []
    for report in reports:
        answers.append(scheduler.on_trial_result(None, trial, as_result(report, "val_accuracy")))
        if answers[-1] == scheduler.STOP:
            break
    return answers
