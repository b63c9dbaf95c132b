"""The card of a saved model: what it is, what it was trained on, how good it is, how it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raytl.models.classifier import Classifier, count_parameters
from raytl.recipe import Recipe


@dataclass(frozen=True)
class ModelCard:
    """What only the study knows of a model: its data in words, and figures such as ("test accuracy", "0.95")."""

    data: str
    figures: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def card_text(card: ModelCard, model: Classifier, recipe: Recipe, classes: tuple[str, ...], opens_in_timm: bool) -> str:
    """The card as Markdown."""
    library = "timm" if opens_in_timm else "raytl"
    head = f"---\ntags:\n- image-classification\n- {library}\nlibrary_name: {library}\n---\n"
    parts = [
        f"# {recipe.backbone}, {len(classes)} classes\n\n{_how_to_open(opens_in_timm)}",
        f"## Data\n\n{card.data}\n\nClasses, in the order of the logits: {', '.join(classes)}.",
        f"## Figures\n\n{_table(('figure', 'value'), card.figures)}" if card.figures else "",
        f"## Recipe\n\n{_table(('field', 'value'), _recipe_rows(recipe))}",
        f"## Weights it started from\n\n{_weights(model)}",
        "## Remarks\n\n" + "\n".join(f"- {line}" for line in (*card.remarks, *model.notes)) + "\n"
        if card.remarks or model.notes
        else "",
    ]
    return head + "\n\n".join(part.strip() for part in parts if part) + "\n"


def _how_to_open(opens_in_timm: bool) -> str:
    lines = (
        "from pathlib import Path",
        "from raytl.use.export import load_model",
        "",
        'loaded = load_model(Path("."))',
    )
    own = "\n".join(("```python", *lines, "```"))
    other = '```python\nimport timm\n\nmodel = timm.create_model("local-dir:.", pretrained=True)\n```'
    return f"{other}\n\nor\n\n{own}" if opens_in_timm else own


def _weights(model: Classifier) -> str:
    report = model.weights
    size = f"{count_parameters(model):,} parameters."
    if not report.sha256:
        return f"{report.note.capitalize()}. {size}"
    where = Path(report.location).name if report.source == "folder" else report.location  # a path tells of a machine
    return f"{where} (sha256 `{report.sha256}`), {report.matched:.1%} of the backbone in use. {size}"


def _recipe_rows(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    return tuple((f"`{name}`", str(value)) for name, value in recipe.values().items())


def _table(names: tuple[str, str], rows: tuple[tuple[str, str], ...]) -> str:
    lines = [f"| {left} | {right} |" for left, right in (names, ("---", "---"), *rows)]
    return "\n".join(lines)
