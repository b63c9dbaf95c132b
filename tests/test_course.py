"""The bookkeeping of a run."""

from __future__ import annotations

import pytest
import torch

from raytl.metric import METRICS, Figures
from raytl.train.course import Course, figures_of
from tests.tiny import counted, tiny_recipe

ACCURACY = METRICS["val_accuracy"]


def course(**values: object) -> Course:
    return Course(tiny_recipe(**values), 3, ACCURACY)


def test_the_best_epoch_is_that_of_the_best_metric_then_of_the_lower_loss() -> None:
    found = course(epochs=9)
    told = [(0.5, 1.0), (0.7, 1.2), (0.7, 0.9), (0.6, 0.1), (0.7, 0.9)]
    flags, tensor = [], torch.tensor(0)
    for epoch, (accuracy, loss) in enumerate(told, start=1):
        tensor.fill_(epoch)
        flags.append(found.note(epoch, Figures(accuracy, accuracy, loss), lambda: {"epoch": tensor}))
    assert flags == [True, True, True, False, False]
    assert (found.best.epoch, int(found.best.tensors["epoch"])) == (3, 3)
    assert found.best.figures == Figures(0.7, 0.7, 0.9)


def test_what_is_kept_is_a_copy() -> None:
    found, tensor = course(), torch.zeros(2)
    found.note(1, Figures(0.5, 0.5, 1.0), lambda: {"x": tensor})
    tensor.fill_(7)
    assert found.best.tensors["x"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "losses", "finished"),
    [
        ({"epochs": 2}, [1.0], [False]),
        ({"epochs": 2}, [1.0, 2.0], [False, True]),
        ({"epochs": 9, "early_stop": "patience:1,0.0"}, [1.0, 0.5, 0.6], [False, False, True]),
    ],
)
def test_a_run_ends_with_its_epochs_or_early(
    values: dict[str, object], losses: list[float], finished: list[bool]
) -> None:
    run, found = course(**values), []
    for epoch, loss in enumerate(losses, start=1):
        run.note(epoch, Figures(0.5, 0.5, loss), dict)
        found.append(run.finished)
    assert found == finished


def test_figures_are_those_of_the_counts() -> None:
    found = figures_of(counted(5, loss=0.25))
    assert (found.val_accuracy, found.val_loss) == (5 / 15, 0.25)
    assert found.val_macro_f1 == pytest.approx((10 / 15) / 3)  # class 0: 2 * 5 / (10 + 5), the others 0
