"""Figures of a whole study for Python code: what the report draws as SVG, drawn by matplotlib.

No figure touches pyplot: none changes a setting of whoever calls, and none stays open behind them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from raytl.limits import NO_LIMITS, Limits
from raytl.metric import Metric
from raytl.results.charts import suits_log
from raytl.results.confusion import Confusion
from raytl.results.facts import FinalModel
from raytl.results.figures import draw_confusion, no_formula
from raytl.results.history import FreezePoint, TrialCurve
from raytl.results.pareto import front
from raytl.results.wording import METRIC_NAMES

WIDTH_INCHES, HEIGHT_INCHES = 4.2, 3.4  # of one panel; chosen: three stand side by side in a notebook
COLUMNS = 3
MARKERS = "os^DvP*X"
STYLES: dict[str, dict[str, Any]] = {
    "stopped": {"color": "0.75", "linewidth": 0.8},
    "completed": {"color": "tab:blue", "linewidth": 1.0, "alpha": 0.7},
    "best": {"color": "tab:orange", "linewidth": 2.2},
}


class Plot(Figure):
    """A matplotlib figure that a notebook shows by itself, whether or not pyplot is in use there."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        FigureCanvasAgg(self).print_png(file)
        return file.getvalue()


def curves_plot(curves: Mapping[str, Sequence[TrialCurve]], metric: Metric) -> Plot:
    """The deciding metric of every trial by epoch, a panel for each backbone; the best trial is drawn over the others.

    Where nothing is recorded the figure says so, as all of these do.
    """
    figure, panels = _panels(len(curves), sharey=True)
    for axes, (backbone, trials) in zip(panels, curves.items(), strict=True):
        for trial in trials:
            x, y = zip(*trial.points, strict=True)
            axes.plot(x, y, marker="." if len(x) == 1 else None, **STYLES[trial.kind])
        axes.set(title=no_formula(backbone), xlabel="epoch")
    if panels:
        panels[0].set_ylabel(METRIC_NAMES[metric.name])
    return _told(figure, panels, "no epoch has been recorded")


def freeze_plot(points: Sequence[FreezePoint], metric: Metric) -> Plot:
    """What trials reached, and what an epoch of theirs cost in seconds, by the share of a picture's forward operations
    that was frozen.
    """
    figure, panels = _panels(2 if points else 0)
    reached = [(point.backbone, point.frozen_fraction, point.value) for point in points]
    priced = [(point.backbone, point.frozen_fraction, point.epoch_seconds) for point in points if point.epoch_seconds]
    names = (METRIC_NAMES[metric.name], "seconds per epoch")
    for axes, shown, name in zip(panels, (reached, priced), names, strict=False):
        _scatter(axes, shown)
        axes.set(xlabel="share of the forward pass that is frozen", ylabel=name, xlim=(-0.03, 1.03))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    if priced:
        _log_where_wide(panels[1].set_yscale, [seconds for _, _, seconds in priced])
    return _told(figure, panels, "no trial with a known freeze depth has ended")


def pareto_plot(models: Sequence[FinalModel], limits: Limits = NO_LIMITS) -> Plot:
    """Test accuracy of final models, with intervals, by milliseconds a picture, megabytes and seconds to train.

    The line joins models that no other beats in both; a dashed one is the most that the study lets a model cost.
    """
    figure, panels = _panels(3 if models else 0, sharey=True)
    costs: tuple[tuple[str, Sequence[float | None], float | None], ...] = (
        ("milliseconds a picture", [model.milliseconds for model in models], limits.latency_ms),
        ("megabytes", [model.size_bytes / 1e6 if model.size_bytes else None for model in models], limits.size_mb),
        ("seconds to train", [model.train_seconds for model in models], None),
    )
    for axes, (name, values, most) in zip(panels, costs, strict=False):
        known = [(cost, model) for cost, model in zip(values, models, strict=True) if cost]
        for cost, model in known:
            low, high = (abs(end - model.test.value) for end in (model.test.low, model.test.high))
            if math.isfinite(low):
                axes.errorbar(cost, model.test.value, yerr=[[low], [high]], color="0.7", zorder=1)
        line = front([(cost, model.test.value) for cost, model in known])
        axes.plot([cost for cost, _ in line], [value for _, value in line], color="0.5", linewidth=1, zorder=2)
        _scatter(axes, [(model.backbone, cost, model.test.value) for cost, model in known])
        axes.set_xlabel(name)
        if most is not None:
            axes.axvline(most, color="tab:red", linestyle="--", linewidth=1, zorder=0)
        _log_where_wide(axes.set_xscale, [*(cost for cost, _ in known), *([] if most is None else [most])])
    if panels:
        panels[0].set_ylabel("test accuracy")
        panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    return _told(figure, panels, "no final model has been tested yet")


def confusion_plot(found: Confusion | None, title: str) -> Plot:
    """How often test pictures of each class (rows) were taken for each class (columns), over all runs of a model."""
    side = 0.0 if found is None else min(max(3.0, 0.45 * len(found.classes)), 14.0)
    figure = Plot(figsize=(side + 1.5 or WIDTH_INCHES, side + 1.0 or HEIGHT_INCHES), layout="constrained")
    panels = [] if found is None else [figure.add_subplot()]
    if found is not None:
        draw_confusion(panels[0], found.counts, found.classes)
        panels[0].set_title(no_formula(title))
    return _told(figure, panels, "no predictions are recorded")


def _panels(count: int, sharey: bool = False) -> tuple[Plot, list[Axes]]:
    columns, rows = min(COLUMNS, max(1, count)), max(1, math.ceil(count / COLUMNS))
    figure = Plot(figsize=(columns * WIDTH_INCHES, rows * HEIGHT_INCHES), layout="constrained")
    panels: list[Axes] = []
    for place in range(count):
        panels.append(figure.add_subplot(rows, columns, place + 1, sharey=panels[0] if panels and sharey else None))
    return figure, panels


def _scatter(axes: Axes, points: Iterable[tuple[str, float, float]]) -> None:
    """Points of each backbone under its own mark and colour, named beside the panel."""
    found = list(points)
    for place, backbone in enumerate(dict.fromkeys(name for name, _, _ in found)):
        own = [(x, y) for name, x, y in found if name == backbone]
        marker = MARKERS[place % len(MARKERS)]
        axes.scatter([x for x, _ in own], [y for _, y in own], marker=marker, label=no_formula(backbone), zorder=3)
    if found:
        axes.legend(fontsize="small")


def _log_where_wide(set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    if values and suits_log(min(values), max(values)):
        set_scale("log")


def _told(figure: Plot, panels: Sequence[Axes], otherwise: str) -> Plot:
    if not panels:
        figure.text(0.5, 0.5, otherwise, ha="center", va="center")
    return figure
