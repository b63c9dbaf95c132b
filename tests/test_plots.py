"""Figures of a study hold the points that its facts hold."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.results.confusion import Confusion
from raytl.results.facts import FinalModel, final_models
from raytl.results.history import FreezePoint, TrialCurve
from raytl.results.plots import Plot, confusion_plot, curves_plot, freeze_plot, pareto_plot
from raytl.results.tables import load_tables
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]
CURVES = {
    "a$b": (TrialCurve("t1", "stopped", ((1.0, 0.5),)), TrialCurve("t2", "best", ((1.0, 0.6), (2.0, 0.7)))),
    "c": (TrialCurve("t3", "completed", ((1.0, 0.2), (2.0, math.nan), (3.0, 0.4))),),
}
POINTS = (
    FreezePoint("a", "t1", 0.0, 0.9, 40.0),
    FreezePoint("b", "t2", 0.5, 0.8, 4.0),
    FreezePoint("a", "t3", 1.0, 0.7, None),
)


def dots(axes: Axes) -> set[tuple[float, float]]:
    marks = [each for each in axes.collections if isinstance(each, PathCollection)]
    return {(float(x), float(y)) for each in marks for x, y in np.asarray(each.get_offsets())}


def test_each_trial_is_a_line_in_its_backbones_panel() -> None:
    figure = curves_plot(CURVES, ACCURACY)
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_xydata(), [(1.0, 0.6), (2.0, 0.7)])
    assert figure.axes[0].lines[0].get_marker() == ".", "one epoch is no line and would not be seen"
    assert figure.axes[0].get_ylabel() == "validation accuracy"


def test_depths_are_shown_with_value_and_price() -> None:
    figure = freeze_plot(POINTS, ACCURACY)
    reached, price = figure.axes
    assert dots(reached) == {(0.0, 0.9), (0.5, 0.8), (1.0, 0.7)}
    assert dots(price) == {(0.0, 40.0), (0.5, 4.0)} and price.get_yscale() == "log"
    legend = reached.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["a", "b"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinalModel, ...]:
    return final_models(load_tables(write_study(tmp_path_factory.mktemp("s") / "made", Plan(seeds=2))), ACCURACY)


def test_models_stand_at_their_costs(models: tuple[FinalModel, ...]) -> None:
    speed, size, seconds = pareto_plot(models).axes
    assert dots(speed) == {(0.5, model.test.value) for model in models}  # 2,000 pictures a second
    assert dots(size) == {(1.0, model.test.value) for model in models}  # 250,000 parameters of four bytes
    assert dots(seconds) == {(model.train_seconds, model.test.value) for model in models}
    top = max(model.test.value for model in models)
    assert np.asarray(speed.lines[-1].get_xydata()).tolist() == [[0.5, top]]


def test_limits_are_lines_in_their_panels(models: tuple[FinalModel, ...]) -> None:
    panels = pareto_plot(models, Limits(latency_ms=8.0, size_mb=3.0)).axes
    dashed = [
        [np.asarray(line.get_xdata()).tolist() for line in axes.lines if line.get_linestyle() == "--"]
        for axes in panels
    ]
    assert dashed == [[[8.0, 8.0]], [[3.0, 3.0]], []] and panels[0].get_xscale() == "log"


def test_a_model_of_unknown_size_is_left_out_of_that_panel_alone(models: tuple[FinalModel, ...]) -> None:
    unknown = replace(models[0], parameters=None)
    speed, size, _ = pareto_plot([unknown, models[1]]).axes
    assert len(dots(speed)) == 2 and dots(size) == {(1.0, models[1].test.value)}


def test_what_there_is_not_is_said() -> None:
    for figure, words in (
        (curves_plot({}, ACCURACY), "no epoch"),
        (freeze_plot((), ACCURACY), "no trial"),
        (pareto_plot(()), "no final model"),
        (confusion_plot(None, ""), "no predictions"),
    ):
        assert figure.axes == [] and words in figure.texts[0].get_text()
        assert shown(figure)


def shown(figure: Plot) -> bool:
    return figure._repr_png_().startswith(b"\x89PNG")


def test_a_notebook_gets_a_picture_of_each() -> None:
    found = Confusion(("a", "$b"), np.array([[3, 1], [0, 2]]))
    assert shown(confusion_plot(found, "t")) and shown(curves_plot(CURVES, ACCURACY))
    assert [text.get_text() for text in confusion_plot(found, "t").axes[0].texts] == ["3", "1", "0", "2"]


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    root = write_study(tmp_path / "made", Plan(seeds=1, trials=2)).root
    code = (
        f"import sys, raytl; raytl.load_study({str(root)!r}).plot_pareto(); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
