"""The card of a saved ensemble: what it is made of, how good it is, what it costs, how it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raytl.limits import size_megabytes
from raytl.results.ensembles import Ensemble, runs_text
from raytl.results.wording import percent, percent_interval, points
from raytl.use.card import list_text, table_text
from raytl.use.ensemble import member_name
from raytl.use.mixture import Weighted

HEAD = "---\ntags:\n- image-classification\n- raytl\nlibrary_name: raytl\n---\n"
OPEN = """```python
from pathlib import Path

from raytl.use.ensemble import open_model
from raytl.use.predict import predict

for found in predict(open_model(Path(".")), [Path("picture.jpg")]):
    print(found.predicted, found.probabilities)
```

`raytl predict` and `raytl serve` take this folder, too; `raytl export` takes a member's."""
MEANS = (
    "Each member gets the picture at its own size and normalization, as its own card says; the probabilities are the "
    "mean of the members' by their weights. Members were chosen by greedy forward selection with replacement on the "
    "validation pictures (Caruana et al., 2004)."
)


@dataclass(frozen=True)
class CardFacts:
    """What the card tells beside the members: the data in words, classes, the ensemble as it was tested.

    `best` is the validation accuracy of the best member alone.
    """

    data: str
    classes: tuple[str, ...]
    ensemble: Ensemble
    best: float


def ensemble_card(facts: CardFacts, members: Sequence[Weighted]) -> str:
    """The card as Markdown."""
    header = ("folder", "weight", "model", "seed", "validation accuracy", "pictures/s", "MB")
    parts = [
        f"# An ensemble of {len(members)} models, {len(facts.classes)} classes\n\n{OPEN}",
        f"## Members\n\n{MEANS}\n\n{table_text(header, [_cells(*each) for each in enumerate(members)])}",
        f"## Data\n\n{facts.data}\n\nClasses, in the order of the probabilities: {', '.join(facts.classes)}.",
        f"## Figures\n\n{table_text(('figure', 'value'), _figures(facts))}",
        f"## Limits\n\n{list_text(_limits(facts))}",
    ]
    return HEAD + "\n\n".join(parts) + "\n"


def _cells(place: int, member: Weighted) -> tuple[str, ...]:
    row = member.final.row
    return (
        f"`{member_name(place)}`",
        f"{member.weight:.2f}",
        f"{row.backbone}, {row.role}",
        str(row.seed),
        percent(row.val_accuracy),
        f"{row.predict_images_per_second:,.0f}",
        f"{size_megabytes(member.final.parameters or 0):,.1f}",
    )


def _figures(facts: CardFacts) -> list[tuple[str, str]]:
    model, rival = facts.ensemble.model, facts.ensemble.rival
    figures = [
        ("validation accuracy (what it was chosen on)", percent(model.val_accuracy)),
        ("validation accuracy of its best member alone", percent(facts.best)),
        (f"test accuracy over {model.test_count:,} pictures [95%]", percent_interval(model.test)),
        ("test macro F1", percent(model.test_macro_f1)),
        ("test log loss", f"{model.test_loss:.4f}"),
    ]
    if facts.ensemble.difference is not None:
        name = f"less the study's answer ({rival.backbone}, {rival.role}, {runs_text(rival)}) [95%]"
        figures.append((name, points(facts.ensemble.difference)))
    if model.milliseconds is not None:
        figures.append(("milliseconds a picture, of all members", f"{model.milliseconds:.3g}"))
    if model.size_bytes is not None:
        figures.append(("megabytes of weights", f"{model.size_bytes / 1e6:,.1f}"))
    return figures


def _limits(facts: CardFacts) -> list[str]:
    over = facts.ensemble.model.over
    return [
        "Its validation figure is the best of many means that were tried on the same pictures: it flatters. The test "
        "figure does not: test pictures had no part in the choice.",
        "Its probabilities were not calibrated; a mean of several models is often less sure than it is right.",
        *([f"Over the limits of its study: {over}."] if over else []),
    ]
