"""A report becomes a result whose score is always to be maximized."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raytl.errors import ConfigError
from raytl.on_ray.job import Job
from raytl.on_ray.results import REPORT, as_result
from tests.plans import BASE, make_report

JOB = Job("t", "search", "default", BASE)


@pytest.mark.parametrize(("metric", "score"), [("val_accuracy", 0.75), ("val_macro_f1", 0.25), ("val_loss", -0.25)])
def test_a_report_of_an_epoch(metric: str, score: float) -> None:
    report = make_report(JOB, 3, 0.75)
    assert as_result(report, metric) == {REPORT: report, "done": False, "epoch": 3, "score": score}


def test_a_report_without_an_epoch_has_no_score() -> None:
    report = replace(make_report(JOB, 3), row=None, ended="diverged")
    assert as_result(report, "val_accuracy") == {REPORT: report, "done": True}


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="val_accuracy"):
        as_result(make_report(JOB, 1), "val_acuracy")
