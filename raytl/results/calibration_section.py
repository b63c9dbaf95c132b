"""The part of the report that tells how far a model's probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from raytl.results.calibration import Bin, Calibration
from raytl.results.charts import Axis, Curve, Dot, axis, panel
from raytl.results.facts import FinalModel
from raytl.results.page import Html, classed, note, section, table
from raytl.results.wording import count, percent, points

NO_PREDICTIONS = "No prediction is recorded."

Calibrated = tuple[FinalModel, Calibration]


def calibration_section(found: Sequence[Calibrated]) -> Html:
    """How sure models are against how often they are right: figures, and a chart each."""
    if not found:
        return section("calibration", "Calibration", [note(NO_PREDICTIONS)])
    rows = [
        (f"{model.backbone}, {model.role}", _verdict(each), points(each.excess), percent(each.error),
         percent(each.perfect), count(each.pictures))
        for model, each in found
    ]  # fmt: skip
    header = ("model", "", "probability − accuracy [95%]", "calibration error", "of a perfect model", "test pictures")
    about = (
        "Of the pictures to which a calibrated model gives 80%, it has 80% right. Probability less accuracy, over all "
        "test pictures, says whether a model is too sure of itself. The calibration error (mean distance from the "
        "diagonal, bins of equal counts) is above zero for a perfect model, too, where pictures are few: what such "
        "a one would show is beside it."
    )
    charts = [_chart(f"{model.backbone}, {model.role}", each.bins) for model, each in found]
    return section(
        "calibration", "Calibration", [note(about), table(header, rows, (0, 1)), classed("div", "panels", charts)]
    )


def _verdict(found: Calibration) -> str:
    if not found.excess.excludes_zero:
        return "about as sure as right"
    return "too sure of itself" if found.excess.value > 0 else "not sure enough"


def _chart(title: str, bins: Sequence[Bin]) -> Html:
    lowest = min(min(each.said, each.right.low) for each in bins)
    x = Axis(max(0.0, lowest - 0.03), 1.03, "probability of the predicted class", _tick)
    y = axis([lowest, 1.0], "share that is right", _tick)
    diagonal = Curve([(x.low, x.low), (1.0, 1.0)], "stopped")
    ranges = [Curve([(each.said, each.right.low), (each.said, each.right.high)], "completed") for each in bins]
    dots = [
        Dot(
            each.said, each.right.value, 0, f"says {each.said:.1%}, {each.right.value:.1%} right, {each.count} pictures"
        )
        for each in bins
    ]
    return panel(title, x, y, [diagonal, *ranges], dots)


def _tick(value: float) -> str:
    return f"{value:.0%}" if value <= 1 else ""
