"""Who teaches a student: a study's answer or its ensemble, opened, and asked about the training pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raytl.data.store import PictureSet
from raytl.errors import ConfigError, StorageError
from raytl.results.ensembles import Ensemble
from raytl.use.ensemble import LoadedEnsemble, open_model
from raytl.use.export import LoadedModel
from raytl.use.finals import Final
from raytl.use.library import Source, ValidationSet, open_final, open_library
from raytl.use.predict import probabilities_over


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher by the name of its run in the tables, and opened."""

    trial_id: str
    opened: LoadedModel | LoadedEnsemble


def open_answer(finals: Sequence[Final], source: Source, validation: ValidationSet) -> Teacher:
    """The first of `finals`, runs of a study's answer, whose weights are there and still give their figures.

    Raises:
        ConfigError: there is none; the reasons are named.
    """
    reasons: list[str] = []
    for final in finals:
        library = open_library([final], source, validation)
        if library.candidates:
            return Teacher(final.row.trial_id, open_final(final, source.root, source.classes))
        reasons += library.left_out
    raise ConfigError(
        f"{source.root}: no run of its answer can teach: {'; '.join(dict.fromkeys(reasons)) or 'it has none'}; resume "
        "the study to have its model saved, or take its ensemble with --teacher ensemble"
    )


def open_mean(ensembles: Sequence[Ensemble], source: Source) -> Teacher:
    """The ensemble that `models/` holds.

    Raises:
        ConfigError: there is none, or it knows other classes.
        StorageError: it cannot be read.
    """
    for each in ensembles:
        if each.model.model_path and (source.root / each.model.model_path).is_dir():
            opened = open_model(source.root / each.model.model_path)
            if opened.classes != source.classes:
                raise ConfigError(
                    f"{each.model.model_path}: tells {', '.join(opened.classes)} apart, and the pictures show "
                    f"{', '.join(source.classes)}; teacher and student must have the same classes in the same order, "
                    f"so make the ensemble anew: `raytl ensemble {source.root}`"
                )
            return Teacher(each.model.trial_ids[0], opened)
    raise ConfigError(
        f"--teacher ensemble: {source.root} has no saved ensemble; `raytl ensemble {source.root}` makes one, or take "
        "the answer with --teacher best"
    )


def ask(teacher: Teacher, pictures: Callable[[int], PictureSet], device: torch.device) -> Tensor:
    """What the teacher makes of pictures as it is evaluated: (N, C) float64, on the CPU, in their order.

    `pictures` gives them by the shorter side in pixels that a model takes, the same ones in the same order at any.

    Raises:
        StorageError: the teacher gives something that is no probability.
    """
    opened = teacher.opened
    if isinstance(opened, LoadedEnsemble):
        parts = [_asked(each, pictures(each.eval_resize), device) for each in opened.members]
        found = torch.stack([part * weight for part, weight in zip(parts, opened.weights, strict=True)]).sum(0)
    else:
        found = _asked(opened, pictures(opened.eval_resize), device)
    if not bool(found.isfinite().all()):
        raise StorageError(
            f"{teacher.trial_id}: the teacher gives probabilities that are no numbers: its weights are damaged; resume "
            "the study to have its model saved again"
        )
    return found


def _asked(loaded: LoadedModel, pictures: PictureSet, device: torch.device) -> Tensor:
    loaded.model.to(device)
    found = probabilities_over(loaded, pictures)
    loaded.model.to("cpu")  # the student has the device for itself
    return found
