"""What a person sees of the report and of TensorBoard, in a real browser."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from raytl.metric import METRICS
from raytl.results.facts import final_models
from raytl.results.folder import StudyFolder
from raytl.results.pr_curve import pr_curves
from raytl.results.report import CONTENTS, write_report
from raytl.results.schemas import EpochRow
from raytl.results.tables import epoch_rows, load_tables, prediction_rows, trial_rows
from raytl.results.tensorboard import BoardWriter
from raytl.results.wording import percent_interval
from tests.board import Board, serve
from tests.browser import browsing, keep, needs_chromium
from tests.studies import Plan, write_study

pytestmark = [pytest.mark.slow, needs_chromium]

HUNDREDS = 40  # trials of each of six backbones
STROKE_WIDTH = "e => getComputedStyle(e).strokeWidth"
BACKGROUND = "e => getComputedStyle(e).backgroundColor"
ON_THE_LINE = "e => { const p = e.getPointAtLength(40).matrixTransform(e.getScreenCTM()); return [p.x, p.y] }"
# What reaches over the page's right edge, but for what lies in a box that scrolls by itself.
WIDER = """() => [...document.querySelectorAll("main *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll"))
  .map(e => e.tagName + " " + e.className)"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    folder = write_study(tmp_path_factory.mktemp("study") / "flowers", Plan(trials=24, test_pictures=120))
    write_report(folder, load_tables(folder))
    return folder


def png() -> bytes:
    """64 by 48 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def colors(path: Path) -> int:
    with Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(1 << 24) or ())


def test_the_report_shows_the_answer_first_and_every_part(study: StudyFolder, tmp_path: Path) -> None:
    tables = load_tables(study)
    best = final_models(tables, METRICS["val_accuracy"])[0]
    with browsing() as page:
        page.goto(study.report.as_uri())
        answer = page.locator(".answer")
        expect(answer).to_be_in_viewport()
        expect(answer).to_contain_text(f"Best is {best.backbone}")
        expect(answer).to_contain_text(percent_interval(best.test))
        titles = [title for anchor, title in CONTENTS if anchor != "effects"]
        assert page.locator("nav a").all_inner_texts() == titles
        for link in page.locator("nav a").all():
            link.click()
            expect(page.locator(str(link.get_attribute("href")))).to_be_in_viewport()
        assert page.evaluate(WIDER) == [], "wider than the page"
        assert colors(keep(page, "report", tmp_path, whole=True)) > 100


def test_the_report_answers_to_the_pointer(study: StudyFolder) -> None:
    with browsing() as page:
        page.goto(study.report.as_uri())
        line = page.locator("polyline.trial").last
        line.scroll_into_view_if_needed()
        before = line.evaluate(STROKE_WIDTH)
        page.mouse.move(*line.evaluate(ON_THE_LINE))
        assert float(before.removesuffix("px")) < 4 and line.evaluate(STROKE_WIDTH) == "4px"
        assert "lr" in line.locator("title").inner_html()
        page.locator("#answer summary").click()
        expect(page.locator("#answer pre")).to_be_visible()


def test_the_report_is_dark_for_those_who_want_it_and_light_on_paper(study: StudyFolder, tmp_path: Path) -> None:
    with browsing(dark=True) as page:
        page.goto(study.report.as_uri())
        assert page.locator("body").evaluate(BACKGROUND) == "rgb(20, 23, 26)"
        page.emulate_media(media="print", color_scheme="dark")
        assert (
            page.locator("body").evaluate(BACKGROUND) == "rgb(255, 255, 255)" and not page.locator("nav").is_visible()
        )
        printed = tmp_path / "report.pdf"
        page.pdf(path=printed, format="A4")
        assert printed.read_bytes()[:5] == b"%PDF-"


def test_the_report_can_be_read_on_a_telephone(study: StudyFolder) -> None:
    with browsing(width=390, height=800) as page:
        page.goto(study.report.as_uri())
        assert page.evaluate(WIDER) == []
        expect(page.locator(".answer")).to_be_visible()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Board, StudyFolder]]:
    """A served study of hundreds of trials, written as a search writes them."""
    plan = Plan(backbones=tuple(f"net_{letter}" for letter in "abcdef"), trials=HUNDREDS, seeds=1, roles=("best",))
    folder = write_study(tmp_path_factory.mktemp("board") / "study", plan)
    tables, writer = load_tables(folder), BoardWriter(folder.tensorboard)
    epochs: dict[str, list[EpochRow]] = {}
    for row in epoch_rows(tables.epochs):
        epochs.setdefault(row.trial_id, []).append(row)
    finals = {row["trial_id"] for row in tables.confirmed.to_pylist()}
    predictions = prediction_rows(tables.predictions)
    for trial in trial_rows(tables.trials):
        writer.start(trial, epochs.get(trial.trial_id, ()))
        writer.end(trial)
    writer.close()
    gallery = BoardWriter(folder.tensorboard_finals)
    for name in sorted(finals):
        own = [row for row in predictions if row.trial_id == name]
        gallery.pr_curves(name, pr_curves(own, plan.classes))
        gallery.picture(name, "test/confusion", png(), 0)
    gallery.close()
    with serve(folder.tensorboard) as served:
        yield served, folder


def test_tensorboard_has_a_table_and_lines_of_hundreds_of_trials(
    board: tuple[Board, StudyFolder], tmp_path: Path
) -> None:
    served, folder = board
    trials = sorted(trial_rows(load_tables(folder).trials), key=lambda row: row.trial_id)
    names, first = [row.trial_id for row in trials], trials[:100]  # as many as TensorBoard shows on one page
    assert len(names) > 200
    with browsing(width=1600, height=1000) as page:
        page.goto(f"{served.url}#hparams")
        page.get_by_text("TABLE VIEW").wait_for()
        expect(page.get_by_text(names[0], exact=True)).to_be_visible(timeout=20_000)
        keep(page, "tensorboard", tmp_path)
        page.get_by_text("PARALLEL COORDINATES VIEW").click()
        lines = page.locator("tf-hparams-parallel-coords-plot svg g.background path")
        expect(lines).to_have_count(sum(row.val_accuracy is not None for row in first), timeout=20_000)
        page.goto(f"{served.url}#scalars")
        expect(page.get_by_role("button", name="val 3")).to_be_visible(timeout=20_000)


def test_tensorboard_shows_pictures_and_curves_of_published_models(
    board: tuple[Board, StudyFolder], tmp_path: Path
) -> None:
    _, folder = board
    with serve(folder.tensorboard_finals) as served, browsing(width=1600, height=1000) as page:
        page.goto(f"{served.url}#pr_curves")
        expect(page.get_by_text("test/precision_recall/daisy").first).to_be_visible(timeout=20_000)
        page.wait_for_timeout(1000)
        assert colors(keep(page, "tensorboard_curves", tmp_path)) > 50
        page.goto(f"{served.url}#images")
        picture = page.locator("tf-image-loader img").first
        expect(picture).to_be_visible(timeout=20_000)
        assert picture.evaluate("e => e.naturalWidth") == 64
