"""The card of a saved model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.use.card import ModelCard, card_text

CARD = ModelCard("300 pictures of insects", (("test accuracy", "0.910 (0.870 to 0.945)"),), ("a remark",))
RECIPE = Recipe(backbone="plain_cnn", weights="none", image_size=16, lr=0.0123)


def test_the_card_says_what_there_is_to_say() -> None:
    text = card_text(CARD, build_classifier(RECIPE, 3), RECIPE, ("ant", "bee", "wasp"), opens_in_timm=False)
    assert text.startswith("---\ntags:\n- image-classification\n- raytl\n")
    said = (
        CARD.data,
        "0.910 (0.870 to 0.945)",
        "ant, bee, wasp",
        "a remark",
        "`backbone` | plain_cnn",
        "`lr` | 0.0123",
    )
    for words in (*said, "raytl.load_model", "start from random values"):
        assert words.lower() in text.lower()
    assert "timm.create_model" not in text


def test_a_model_that_timm_opens_says_how() -> None:
    text = card_text(CARD, build_classifier(RECIPE, 3), RECIPE, ("a", "b", "c"), opens_in_timm=True)
    assert 'timm.create_model("local-dir:.", pretrained=True)' in text and "library_name: timm" in text


def test_the_card_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    model = build_classifier(RECIPE, 3)
    location = str(tmp_path / "plain_cnn.safetensors")
    model.weights = replace(model.weights, source="folder", location=location, sha256="abc", matched=1.0)
    text = card_text(CARD, model, RECIPE, ("a", "b", "c"), opens_in_timm=False)
    assert str(tmp_path) not in text and "plain_cnn.safetensors (sha256 `abc`), 100.0%" in text


@pytest.mark.parametrize(
    ("loss", "classes", "said"),
    [
        ("cross_entropy", ("a", "b", "c"), "Probabilities are the softmax of the logits."),
        ("bce", ("a", "b", "c"), "Probabilities are the sigmoids of the logits, divided by their sum."),
        ("bce", ("a", "b"), "The sigmoid of the one logit is the probability of b."),
    ],
)
def test_the_card_says_how_pictures_go_in_and_probabilities_come_out(
    loss: str, classes: tuple[str, ...], said: str
) -> None:
    recipe = replace(RECIPE, loss=loss, eval_resize=19)
    model = build_classifier(recipe, len(classes))
    text = card_text(CARD, model, recipe, classes, opens_in_timm=False)
    for words in (
        said,
        "shorter side has 19 pixels, cut to 16 x 16",
        f"mean {list(model.input.mean)}",
        "--format onnx",
    ):
        assert words in text


def test_counts_and_limits_are_told() -> None:
    card = replace(CARD, counts=(("ant", 7, 2, 3), ("b|ee", 5, 1, 1)), limits=("no other camera was tested",))
    text = card_text(card, build_classifier(RECIPE, 2), RECIPE, ("ant", "b|ee"), opens_in_timm=False)
    rows = (
        "| class | train | val | test |",
        "| --- | --- | --- | --- |",
        "| ant | 7 | 2 | 3 |",
        r"| b\|ee | 5 | 1 | 1 |",
    )
    assert "\n".join(rows) in text
    assert "## Limits\n\n- no other camera was tested\n" in text
