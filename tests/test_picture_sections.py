"""Parts of the report about pictures and the run."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import pytest

from raytl.metric import METRICS
from raytl.results.confusion import Confusion
from raytl.results.facts import FinalModel, final_models
from raytl.results.health import check_health
from raytl.results.history import Incident
from raytl.results.picture_sections import (
    COUNTED_CLASSES,
    DRAWN_CLASSES,
    NO_HEAT,
    classes_section,
    confusion_section,
    health_section,
    heat_section,
    incidents_section,
    run_section,
)
from raytl.results.schemas import to_table
from raytl.results.tables import load_tables
from tests.pages import Page
from tests.studies import Plan, picture_row, write_study


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FinalModel:
    tables = load_tables(write_study(tmp_path_factory.mktemp("study"), Plan(backbones=("a",), seeds=2)))
    return final_models(tables, METRICS["val_accuracy"])[0]


def square(classes: int) -> Confusion:
    counts = np.full((classes, classes), 1) + np.diag(np.arange(classes))
    return Confusion(tuple(f"class {index}" for index in range(classes)), counts)


def test_a_small_matrix_shows_its_counts_and_shares(model: FinalModel) -> None:
    found = Confusion(("cat", "<dog>"), np.array([[9, 1], [0, 0]]))
    page = Page(confusion_section([(model, found)]))
    assert [cell["style"] for cell in page.of("td")] == [f"--share:{s}" for s in ("0.900", "0.100", "0.000", "0.000")]
    assert [cell["title"] for cell in page.of("td")] == ["9", "1", "0", "0"]
    assert page.texts[-6:] == ["cat", "<dog>", "cat", "9", "1", "<dog>"]


def test_larger_matrices_drop_counts_and_then_become_lists(model: FinalModel) -> None:
    middle = Page(confusion_section([(model, square(COUNTED_CLASSES + 1))]))
    assert len(middle.of("td")) == (COUNTED_CLASSES + 1) ** 2
    assert "1" not in middle.texts
    large = Page(confusion_section([(model, square(DRAWN_CLASSES + 1))]))
    assert "times" in large.texts
    assert f"{(DRAWN_CLASSES + 1) * DRAWN_CLASSES - 50:,} more are in the tables." in large.texts


def test_classes_are_per_run(model: FinalModel) -> None:
    page = Page(classes_section(model, Confusion(("cat", "dog"), np.array([[18, 2], [5, 5]]))))
    first = page.texts.index("cat")
    assert page.texts[first : first + 5] == ["cat", "10", "78.3%", "90.0%", "83.7%"]
    assert "would reach 66.7%" in page.text


def test_the_state_of_the_pictures_is_told() -> None:
    rows = [
        picture_row("a.jpg", "<b>rose</b>", "train"),
        picture_row("bad.jpg", "rose", None, "bad", "cut short"),
        picture_row("x.jpg", "rose", "train", content="same"),
        picture_row("y.jpg", "tulip", "test", content="same"),
    ]
    page = Page(health_section(check_health(to_table("data", rows, 1))))
    assert {"<b>rose</b>", "cut short", "x.jpg\ny.jpg", "train, test", "rose, tulip"} <= set(page.texts)
    assert "Files left out: 1. Suspects: 0. Groups of files with the same content: 1." in page.texts
    assert page.problems == []


def test_incidents_and_unread_files_are_told() -> None:
    found = [Incident("failed", "out of memory", ("t1", "t2", "t3", "t4"))]
    page = Page(incidents_section(found, ["00000007-trials.arrow: damaged"]))
    assert "t1, t2, t3 and 1 more" in page.texts
    assert "00000007-trials.arrow: damaged" in page.texts


def test_the_run_can_be_typed_again() -> None:
    study = {"command": ["raytl", "search", "my data"], "spec": {"trials": 8}, "backbones": {"a": {"stages": ["s"]}}}
    page = Page(run_section(study, "results/a b"))
    assert "raytl search 'my data'" in page.texts
    assert "raytl resume 'results/a b'\nraytl report 'results/a b'" in page.texts
    assert page.texts[page.texts.index("spec.trials") + 1] == "8"
    assert page.texts.index("Each backbone: stages, default recipe, search space, weights") < page.texts.index(
        "backbones.a.stages"
    )


def test_heat_maps_are_in_the_page_itself() -> None:
    page = Page(heat_section([("<vit>", b"\xff\xd8one"), ("resnet", b"\xff\xd8two")]))
    assert page.problems == []
    found = [picture["src"] or "" for picture in page.of("img")]
    assert [b64decode(source.removeprefix("data:image/jpeg;base64,")) for source in found] == [
        b"\xff\xd8one",
        b"\xff\xd8two",
    ]
    assert [picture["alt"] for picture in page.of("img")] == [
        "Heat maps of <vit> over test pictures",
        "Heat maps of resnet over test pictures",
    ]
    assert page.texts.index("<vit>") < page.texts.index("resnet")


def test_parts_without_facts_say_so() -> None:
    assert NO_HEAT in Page(heat_section([])).texts
    assert "No prediction is recorded." in Page(confusion_section([])).texts
    assert "No prediction is recorded." in Page(classes_section(None, None)).texts
    assert "The table of pictures is empty." in Page(health_section(check_health(to_table("data", [], 1)))).texts
    assert "Nothing: every trial ended as it should." in Page(incidents_section([], [])).texts
    assert "study.json names no command." in Page(run_section({}, "x")).texts
