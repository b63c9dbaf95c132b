"""What a study knows of a final model, for its card: pictures, figures with intervals, and what they do not cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raytl.data.album import Album
from raytl.errors import DataError
from raytl.limits import NO_LIMITS, Limits
from raytl.results.confusion import confusion
from raytl.results.outcomes import outcomes
from raytl.results.schemas import SPLITS, ConfirmedRow
from raytl.results.stats import accuracy_interval, wilson_interval
from raytl.results.wording import percent, percent_interval, small_set_sentence
from raytl.use.card import ModelCard
from raytl.use.finals import Final, excess_of, recipe_key


def study_card(
    source: str,
    album: Album,
    finals: Sequence[Final],
    chosen: Final,
    predictions: pa.Table,
    limits: Limits = NO_LIMITS,
) -> ModelCard:
    """The card of `chosen` among the final models of its backbone.

    `source` names the data, without secrets; `predictions` is the study's table. Intervals are at 95%.
    """
    runs = [final for final in finals if recipe_key(final) == recipe_key(chosen)]
    alike = [final.row for final in runs if final.row.split == chosen.row.split]
    return ModelCard(
        data=data_sentence(source, album),
        figures=(*_figures(chosen.row, alike, predictions), *_weakest(chosen.row, predictions)),
        remarks=("Trained on the train split only; test figures carry over to pictures of the same kind.",),
        counts=tuple((label, each["train"], each["val"], each["test"]) for label, each in album.counts().items()),
        limits=(*_over(runs, limits), *_limits(album, chosen, predictions)),
    )


def data_sentence(source: str, album: Album) -> str:
    """The data in words: how many pictures there are to train, to choose and to test on."""
    counts = {split: len(album.part(split)) for split in SPLITS}
    shares = ", ".join(f"{count:,} pictures in {split}" for split, count in counts.items())
    return f"{source}: {shares}. Trained on train, chosen on val, tested once on test."


def _figures(row: ConfirmedRow, alike: Sequence[ConfirmedRow], predictions: pa.Table) -> list[tuple[str, str]]:
    mean = float(np.mean([each.test_accuracy for each in alike]))
    figures = [
        ("validation accuracy (the reason for choosing this seed)", f"{row.val_accuracy:.4f}"),
        ("test accuracy [95%]", _accuracy([row], row.test_accuracy, predictions)),
        (f"mean test accuracy of the recipe over {len(alike)} seeds [95%]", _accuracy(alike, mean, predictions)),
        ("test macro F1", f"{row.test_macro_f1:.4f}"),
        ("test log loss", f"{row.test_loss:.4f}"),
    ]
    return figures if row.test_auc is None else [*figures, ("test area under the ROC curve", f"{row.test_auc:.4f}")]


def _accuracy(rows: Sequence[ConfirmedRow], recorded: float, predictions: pa.Table) -> str:
    try:
        correct = outcomes(predictions, [row.trial_id for row in rows]).correct
    except DataError:  # without its predictions a figure has no interval
        return percent(recorded)
    return percent_interval(accuracy_interval(correct))


def _weakest(row: ConfirmedRow, predictions: pa.Table) -> list[tuple[str, str]]:
    """The class that is found least often, with how sure that is (Wilson's interval)."""
    found = confusion(predictions, [row.trial_id])
    known = [each for each in found.figures() if each.recall is not None] if found else []
    if not known:
        return []
    worst = min(known, key=lambda each: (each.recall, each.name))
    interval = wilson_interval(round((worst.recall or 0.0) * worst.count), worst.count)
    name = f"lowest recall of a class ({worst.name}, {worst.count} test pictures) [95%]"
    return [(name, f"{percent(worst.recall)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]")]


def _over(runs: Sequence[Final], limits: Limits) -> list[str]:
    """That the model may not be the study's answer, where that is so."""
    over = excess_of(runs, limits)
    return [f"Over the limits of its study ({limits.text}): {over}. It is not the study's answer."] if over else []


def _limits(album: Album, chosen: Final, predictions: pa.Table) -> tuple[str, ...]:
    row = chosen.row
    counts = album.counts()
    rarest = min(counts, key=lambda label: (counts[label]["train"], label))
    limits = [
        "Tested on pictures from the same source as it was trained on. Another camera, place or time was not tested.",
        "Every picture is given one of the classes, one that shows none of them, too; this was not tested.",
        f"The rarest class in training is {rarest}: {counts[rarest]['train']} pictures to train on, "
        f"{counts[rarest]['test']} to test on.",
        small_set_sentence("test", row.test_count, row.test_accuracy),
        *_sureness(row, predictions),
    ]
    if chosen.recipe.precision == "bf16":
        limits.append("The figures are of computing in bf16; in float32 probabilities differ a little.")
    return tuple(limits)


def _sureness(row: ConfirmedRow, predictions: pa.Table) -> list[str]:
    """How sure the model says it is, against how often it is right: calibration in its plainest form."""
    own = predictions.filter(pc.field("trial_id") == row.trial_id)
    if not len(own):
        return []
    said = float(np.mean([max(each) for each in own["probabilities"].to_pylist()]))
    return [
        f"Its probabilities were not calibrated: on the test pictures the predicted class had {percent(said)} on "
        f"average, and {percent(row.test_accuracy)} were right."
    ]
