"""The card of a saved model: what it is, what it was trained on, how good it is, how it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raytl.models.classifier import Classifier, count_parameters, output_count
from raytl.recipe import Recipe
from raytl.results.schemas import SPLITS


@dataclass(frozen=True)
class ModelCard:
    """What only the study knows of a model: its data in words, and figures such as ("test accuracy", "0.95").

    `counts` has a row for each class: its name, and its pictures in train, val and test; `limits` say what the figures
    do not cover.
    """

    data: str
    figures: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    counts: tuple[tuple[str, int, int, int], ...] = ()
    limits: tuple[str, ...] = ()


def card_text(card: ModelCard, model: Classifier, recipe: Recipe, classes: tuple[str, ...], opens_in_timm: bool) -> str:
    """The card as Markdown."""
    library = "timm" if opens_in_timm else "raytl"
    head = f"---\ntags:\n- image-classification\n- {library}\nlibrary_name: {library}\n---\n"
    parts = [
        f"# {recipe.backbone}, {len(classes)} classes\n\n{_how_to_open(opens_in_timm)}",
        f"## Pictures and outputs\n\n{_pictures(model, recipe, classes)}",
        f"## Data\n\n{card.data}\n\nClasses, in the order of the logits: {', '.join(classes)}.",
        table_text(("class", *SPLITS), card.counts) if card.counts else "",
        f"## Figures\n\n{table_text(('figure', 'value'), card.figures)}" if card.figures else "",
        f"## Limits\n\n{list_text(card.limits)}" if card.limits else "",
        f"## Recipe\n\n{table_text(('field', 'value'), _recipe_rows(recipe))}",
        f"## Weights it started from\n\n{_weights(model)}",
        f"## Remarks\n\n{list_text((*card.remarks, *model.notes))}" if card.remarks or model.notes else "",
    ]
    return head + "\n\n".join(part.strip() for part in parts if part) + "\n"


def _how_to_open(opens_in_timm: bool) -> str:
    own = '```python\nimport raytl\n\nmodel = raytl.load_model(".")\n```'
    other = '```python\nimport timm\n\nmodel = timm.create_model("local-dir:.", pretrained=True)\n```'
    opened = f"{other}\n\nor\n\n{own}" if opens_in_timm else own
    return f"{opened}\n\nFor other programs: `raytl export MODEL --format onnx` makes one ONNX file of this folder."


def _pictures(model: Classifier, recipe: Recipe, classes: tuple[str, ...]) -> str:
    """How a picture becomes the model's input, and its logits probabilities."""
    spec = model.input
    cut = (
        f"A picture in RGB is resized bicubically with antialiasing until its shorter side has {recipe.eval_resize} "
        f"pixels, cut to {spec.image_size} x {spec.image_size} around its center, divided by 255, and normalized by "
        f"mean {list(spec.mean)} and standard deviation {list(spec.std)}."
    )
    if output_count(recipe, len(classes)) == 1:
        return f"{cut} The sigmoid of the one logit is the probability of {classes[1]}."
    if recipe.loss == "bce":
        return f"{cut} Probabilities are the sigmoids of the logits, divided by their sum."
    return f"{cut} Probabilities are the softmax of the logits."


def _weights(model: Classifier) -> str:
    report = model.weights
    size = f"{count_parameters(model):,} parameters."
    if not report.sha256:
        return f"{report.note.capitalize()}. {size}"
    where = Path(report.location).name if report.source == "folder" else report.location  # a path tells of a machine
    return f"{where} (sha256 `{report.sha256}`), {report.matched:.1%} of the backbone in use. {size}"


def _recipe_rows(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    return tuple((f"`{name}`", str(value)) for name, value in recipe.values().items())


def table_text(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in (names, ["---"] * len(names), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def list_text(lines: Sequence[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)
