"""The report's part on calibration."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.metric import METRICS
from raytl.results.calibration import Bin, Calibration
from raytl.results.calibration_section import NO_PREDICTIONS, calibration_section
from raytl.results.facts import FinalModel, final_models
from raytl.results.stats import Interval
from raytl.results.tables import load_tables
from tests.pages import Page
from tests.studies import Plan, write_study

BIN = Bin(0.8, Interval(0.7, 0.6, 0.78), 40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FinalModel:
    folder: Path = tmp_path_factory.mktemp("study")
    return final_models(load_tables(write_study(folder, Plan(backbones=("a",)))), METRICS["val_accuracy"])[0]


@pytest.mark.parametrize(
    ("excess", "verdict"),
    [
        (Interval(0.05, 0.02, 0.08), "too sure of itself"),
        (Interval(-0.05, -0.08, -0.02), "not sure enough"),
        (Interval(0.01, -0.02, 0.04), "about as sure as right"),
    ],
)
def test_each_model_has_its_figures_a_verdict_and_a_chart(model: FinalModel, excess: Interval, verdict: str) -> None:
    page = Page(calibration_section([(model, Calibration(240, 3, (BIN, BIN), excess, 0.061, 0.025))]))
    assert page.problems == []
    assert {"a, best", verdict, "6.1%", "2.5%", "240"} <= set(page.texts)
    assert len([mark for mark in page.of("circle") if "dot" in str(mark["class"])]) == 2
    assert "says 80.0%, 70.0% right, 40 pictures" in page.texts


def test_without_predictions_it_says_so() -> None:
    assert NO_PREDICTIONS in Page(calibration_section([])).texts
