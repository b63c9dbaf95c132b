"""Whether a model is as often right as it says, against hand-made answers and scikit-learn."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import calibration_curve

from raytl.results.calibration import BINS, calibration, expected_error
from raytl.results.schemas import to_table
from raytl.results.stats import wilson_interval
from tests.rows import prediction_row


def predictions(said: np.ndarray, right: np.ndarray, trial_id: str = "t0") -> pa.Table:
    """Answers of one run; (N,) probabilities of the predicted class, and (N,) whether it is right."""
    rows = [
        prediction_row(
            trial_id=trial_id, path=f"{index}.jpg", label="a", predicted="a" if good else "b",
            probabilities=[p, 1 - p] if good else [1 - p, p],
        )
        for index, (p, good) in enumerate(zip(said.tolist(), right.tolist(), strict=True))
    ]  # fmt: skip
    return to_table("predictions", rows, 1)


def made(count: int, excess: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a model that says `excess` more than is true."""
    generator = np.random.default_rng(seed)
    said = generator.uniform(0.5 + max(0.0, excess), 1.0, count)
    return said, generator.random(count) < said - excess


def test_bins_are_those_of_scikit_learn() -> None:
    said, right = made(400)
    found = calibration(predictions(said, right), ["t0"])
    assert found and len(found.bins) == BINS
    share, mean = calibration_curve(right, said, n_bins=BINS, strategy="quantile")
    np.testing.assert_allclose([each.said for each in found.bins], mean, rtol=1e-6)
    np.testing.assert_allclose([each.right.value for each in found.bins], share, rtol=1e-6)
    assert found.error == pytest.approx(np.abs(share - mean).mean(), rel=1e-6)
    for each in found.bins:
        ends = wilson_interval(round(each.right.value * 40), 40)
        assert (each.right.low, each.right.high) == pytest.approx((ends.low, ends.high))


def test_the_error_is_zero_where_what_is_said_holds_in_every_bin() -> None:
    said, right = np.repeat([0.6, 0.8], 50), np.concatenate([np.arange(50) < 30, np.arange(50) < 40])
    assert expected_error(said, right) > 0, "ten bins of ten: within one, answers are all right or all wrong"
    generator = np.random.default_rng(0)
    mixed = np.concatenate([np.tile(np.arange(10) < 6, 5), np.tile(np.arange(10) < 8, 5)])
    assert expected_error(said, mixed) == pytest.approx(0, abs=1e-12)
    many = np.stack([mixed, generator.permutation(mixed), ~mixed])
    np.testing.assert_allclose(expected_error(said, many), [expected_error(said, each) for each in many])


def test_a_perfect_model_shows_about_the_error_that_is_told() -> None:
    found = [calibration(predictions(*made(200, seed=seed)), ["t0"]) for seed in range(20)]
    errors = [each.error for each in found if each]
    assert found[0] and np.mean(errors) == pytest.approx(found[0].perfect, rel=0.15) and found[0].perfect > 0.03
    assert sum(each.excess.excludes_zero for each in found if each) <= 4


def test_one_that_is_too_sure_is_found_so() -> None:
    found = calibration(predictions(*made(300, excess=0.12)), ["t0"])
    assert found and found.excess.low > 0 and found.excess.value == pytest.approx(0.12, abs=0.06)
    assert found.error > 2 * found.perfect


def test_several_runs_are_over_the_same_pictures_and_repeat_them() -> None:
    said, right = made(100)
    runs = pa.concat_tables([predictions(said, right, name) for name in ("t0", "t1", "t2")])
    one, three = (calibration(runs, names) for names in (["t0"], ["t0", "t1", "t2"]))
    assert one and three
    assert (three.pictures, three.runs) == (100, 3) and three.error == pytest.approx(one.error)
    assert three.excess == one.excess, "the same answers again tell nothing more"
    assert sum(each.count for each in three.bins) == 100


def test_without_predictions_there_is_none_and_few_make_few_bins() -> None:
    table = predictions(*made(12))
    assert calibration(table, ["other"]) is None
    found = calibration(table, ["t0"])
    assert found and len(found.bins) == 2
