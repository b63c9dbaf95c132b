"""Checks that name the silent failures of fine-tuning while they can still be mended.

A run with a shared model, a cut gradient or a collapsed prediction ends with a score like any other; each check here
gives the value, the rule and the remedy instead. That weights are in use is checked where they are loaded
(`raytl.models.weights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from raytl.errors import ConfigError, RaytlError

OWNER = "_raytl_owner"


class Diverged(RaytlError):  # noqa: N818 - named for the status it ends in
    """A loss that is not a finite number; the trial ends with the status `diverged`."""

    exit_code = 5

    def __init__(self, epoch: int, step: int, value: float) -> None:
        self.epoch, self.step, self.value = epoch, step, value
        super().__init__(
            f"loss={value} in epoch {epoch}, step {step}: a loss must be finite; lower lr, or set clip_norm or "
            "warmup_epochs"
        )

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, int, float]]:
        return type(self), (self.epoch, self.step, self.value)  # the exception crosses processes


class NoGradientError(RaytlError):
    """Trainable stages that the loss cannot reach."""

    exit_code = 5


class SharedModelError(RaytlError):
    """One model trained by two trials: the second starts from what the first has left, not from pretrained weights."""

    exit_code = 5


def check_finite(value: float, epoch: int, step: int) -> None:
    """Ends a trial at the first loss that is infinite or not a number.

    Raises:
        Diverged: with epoch, step and value.
    """
    if not isfinite(value):
        raise Diverged(epoch, step, value)


def check_trainable(model: nn.Module) -> None:
    """Refuses a model in which nothing can learn.

    Raises:
        ConfigError: where no parameter requires a gradient.
    """
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise ConfigError(
            f"none of {len(parameters)} parameters of {type(model).__name__} requires a gradient: at least the "
            "head must learn; lower freeze_depth or mend the freezing"
        )


def check_groups(model: nn.Module, groups: Sequence[tuple[str, Sequence[nn.Parameter]]]) -> None:
    """Refuses a model with trainable parameters that no optimizer group holds.

    Raises:
        ConfigError: naming them; they would keep their first values for ever.
    """
    held = {id(parameter) for _, parameters in groups for parameter in parameters}
    missed = [name for name, value in model.named_parameters() if value.requires_grad and id(value) not in held]
    if missed:
        raise ConfigError(
            f"{len(missed)} trainable parameters belong to no stage and no head ({', '.join(missed[:5])}): nothing "
            "would train them; list them in a stage or freeze them"
        )


def check_gradients(groups: Sequence[tuple[str, Sequence[nn.Parameter]]]) -> None:
    """After the first backward pass: names the stages whose gradients are all missing or exactly 0.

    A head that starts at exactly 0 passes no gradient back in the first step and would be named for it.

    Raises:
        NoGradientError: with one line for each such stage.
    """
    problems = []
    for name, parameters in groups:
        expected = [value for value in parameters if value.requires_grad]
        if expected and not any(_has_gradient(value) for value in expected):
            problems.append(
                f"stage {name!r}: no gradient reaches any of its {len(expected)} trainable parameters; look for a "
                "detach, a no_grad, a tap that bypasses it, or freeze the stage"
            )
    if problems:
        raise NoGradientError(*problems)


def claim(model: nn.Module, trial_id: str) -> None:
    """Marks the trainable parameters as those of one trial; call it before training and again after unfreezing.

    The mark lives and dies with the parameter, and a copy of a model carries none. Frozen parameters may be shared.

    Raises:
        SharedModelError: where another trial has trained one of them.
    """
    trainable = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    for name, value in trainable:
        owner = getattr(value, OWNER, trial_id)
        if owner != trial_id:
            raise SharedModelError(
                f"trial {trial_id} was given {name!r}, which trial {owner} has trained: each trial must start from its "
                "own copy of the pretrained weights; build a new model for each trial"
            )
    for _, value in trainable:
        setattr(value, OWNER, trial_id)


def collapse(confusion: Tensor) -> str | None:
    """A warning where every picture was given the same class though several classes occur; else None.

    confusion: (C, C) counts, rows true, columns predicted.
    """
    predicted, true = confusion.sum(0), confusion.sum(1)
    if int((predicted > 0).sum()) != 1 or int((true > 0).sum()) < 2:
        return None
    only = int(predicted.argmax())
    return (
        f"all {int(true.sum())} validation pictures were predicted as class {only}, to which {int(true[only])} belong: "
        "the model has learned nothing from the pictures; lower lr, or check weights and freeze_depth"
    )


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(torch.count_nonzero(parameter.grad))
