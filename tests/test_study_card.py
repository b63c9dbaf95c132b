"""The card that a study writes: its counts and figures are those of the tables, its limits are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytl.data.album import Album, open_album
from raytl.limits import Limits
from raytl.results.schemas import PredictionRow, to_table
from raytl.results.stats import accuracy_interval
from raytl.results.wording import percent_interval
from raytl.use.finals import Final
from raytl.use.study_card import study_card
from tests.pictures import write_classes
from tests.rows import confirmed_row
from tests.tiny import tiny_recipe

RIGHT = {"t0": [1, 1, 1, 0, 1, 1, 0, 0], "t1": [1, 1, 1, 1, 1, 1, 1, 0]}


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return open_album(write_classes(tmp_path_factory.mktemp("data") / "d", {"ant": 20, "bee": 12}))


def final(trial_id: str, **values: object) -> Final:
    right = RIGHT[trial_id]
    row = confirmed_row(
        trial_id=trial_id,
        test_accuracy=sum(right) / 8,
        test_count=8,
        correct=sum(right),
        test_macro_f1=0.6161,
        **values,
    )
    return Final(row, tiny_recipe(), Path("nowhere"))


def answers(trial_id: str) -> list[PredictionRow]:
    """Four ants and four bees; the predicted class always has 0.9."""
    rows = []
    for index, right in enumerate(RIGHT[trial_id]):
        label, other = ("ant", "bee") if index < 4 else ("bee", "ant")
        said = label if right else other
        chances = (0.9, 0.1) if said == "ant" else (0.1, 0.9)
        rows.append(
            PredictionRow(
                trial_id=trial_id, seed=0, path=str(index), label=label, predicted=said, probabilities=chances
            )
        )
    return rows


def test_figures_have_the_intervals_of_the_tables(album: Album) -> None:
    finals = [final("t0", test_auc=0.77), final("t1")]
    predictions = to_table("predictions", [*answers("t0"), *answers("t1")], 1)
    card = study_card("my pictures", album, finals, finals[0], predictions)
    figures = dict(card.figures)
    alone = accuracy_interval(np.array([RIGHT["t0"]], bool))
    both = accuracy_interval(np.array(list(RIGHT.values()), bool))
    assert figures["test accuracy [95%]"] == percent_interval(alone) and alone.value == 0.625
    assert figures["mean test accuracy of the recipe over 2 seeds [95%]"] == percent_interval(both)
    assert figures["lowest recall of a class (bee, 4 test pictures) [95%]"].startswith("50.0% [")
    assert (figures["test macro F1"], figures["test area under the ROC curve"]) == ("0.6161", "0.7700")
    counts = album.counts()
    assert card.counts == tuple((label, *counts[label].values()) for label in ("ant", "bee"))
    assert card.data.startswith("my pictures: ")
    said = " ".join(card.limits)
    assert f"The rarest class in training is bee: {counts['bee']['train']} pictures to train on" in said
    assert "the predicted class had 90.0% on average, and 62.5% were right" in said
    assert "was not tested" in said and "The test set has 8 pictures" in said and "bf16" not in said


def test_without_predictions_figures_have_no_interval(album: Album) -> None:
    chosen = final("t0")
    chosen = replace(chosen, recipe=tiny_recipe(precision="bf16"))
    card = study_card("d", album, [chosen], chosen, to_table("predictions", [], 1))
    assert dict(card.figures)["test accuracy [95%]"] == "62.5%"
    assert not any("recall" in name for name, _ in card.figures)
    assert not any("calibrated" in line for line in card.limits) and "bf16" in card.limits[-1]


def test_a_card_says_that_its_model_is_over_the_limits(album: Album) -> None:
    finals = [final("t0", predict_images_per_second=30.0), final("t1", predict_images_per_second=50.0)]
    predictions = to_table("predictions", [*answers("t0"), *answers("t1")], 1)
    told = study_card("d", album, finals, finals[0], predictions, Limits(latency_ms=20.0)).limits[0]
    assert (
        told == "Over the limits of its study (at most 20 ms a picture): 25 ms a picture. It is not the study's answer."
    )
    within = study_card("d", album, finals, finals[0], predictions, Limits(latency_ms=25.0))
    assert within == study_card("d", album, finals, finals[0], predictions)
