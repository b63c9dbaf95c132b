"""docs/ is true: its commands, queries and Python run, its samples are what is printed, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from raytl.data.fruit import draw_fruit
from raytl.recipe import FIELD_NAMES
from raytl.results.schemas import TABLES, schema
from tests.book import ROOT, Block, Desk, answer_of, as_printed, blocks_of, check_words, links_of, rows_of, section_of
from tests.pages import Page

DOCS = ROOT / "docs"
README = ROOT / "README.md"
FIVE = ["raytl data check", "raytl search", "raytl predict", "raytl serve", "curl"]
AFTER = [
    "own_data.md",
    "reading_the_report.md",
    "study_folder.md",
    "choosing_a_space.md",
    "comparing.md",
    "questions.md",
]
OLDER = {"clusters.md", "events.md", "faults.md"}  # each has tests of its own
FIGURES = "benchmarks.md"  # what it tells takes programs hours
PER_CLASS = 40
real = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the pages call curl, which is not installed here"),
]


def draw_pictures(folder: Path) -> None:
    """What a person brings: two classes, and a picture that no model has seen."""
    for place, kind in enumerate(("apple", "pear")):
        (folder / "pictures" / kind).mkdir(parents=True)
        for index in range(PER_CLASS):
            picture = draw_fruit(kind, np.random.default_rng([7, place, index]))
            picture.save(folder / "pictures" / kind / f"{index:03d}.png")
    draw_fruit("pear", np.random.default_rng(8)).save(folder / "new_picture.png")


@pytest.fixture(scope="module")
def first(one_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The desk of first_search.md after all of its blocks: the study that the other pages look at."""
    desk = Desk(tmp_path_factory.mktemp("docs"))
    draw_pictures(desk.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk.folder)
        for block in blocks_of(DOCS / "first_search.md"):
            if block.is_run:
                desk.run(block)
            else:
                read_only(block)
        yield desk
    if desk.server is not None and desk.server.process.poll() is None:
        desk.server.kill()


def read_only(block: Block) -> None:
    """A block that cannot be run here is understood all the same."""
    for words in block.commands:
        check_words(words)


def desk_with(first: Desk, folder: Path) -> Desk:
    """Another folder with the same pictures and the same study."""
    for name in ("pictures", "results"):
        shutil.copytree(first.folder / name, folder / name)
    shutil.copy(first.folder / "new_picture.png", folder)
    return Desk(folder)


class TestBlocks:
    """Every block that is not marked runs, on a study that first_search.md makes."""

    pytestmark = real

    def test_five_commands_lead_from_a_folder_to_a_served_model(self, first: Desk) -> None:
        said = {block.line: first.said.get(block.line, "") for block in blocks_of(DOCS / "first_search.md")}
        asked, predicted = (next(text for text in said.values() if mark in text) for mark in ('"pictures":[', ".png\t"))
        answer = answer_of(asked)
        assert answer["file"] == "new_picture.png" and set(answer["probabilities"]) == {"apple", "pear"}
        assert predicted == f"new_picture.png\t{answer['predicted']}\t{answer['probability']:.4f}\n"
        assert first.close() == 0

    @pytest.mark.parametrize("page", AFTER)
    def test_every_block_of_a_page_runs(
        self, page: str, first: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = desk_with(first, tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "100")
        for block in blocks_of(DOCS / page):
            if block.is_run:
                desk.run(block)
            else:
                read_only(block)

    def test_the_report_has_the_parts_that_its_page_explains(self, first: Desk) -> None:
        told = re.findall(r"^\| ([A-Z][^|]*) \|", (DOCS / "reading_the_report.md").read_text(), re.MULTILINE)
        page = (first.folder / "results" / "pictures" / "report.html").read_text()
        titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
        assert titles and titles == [title for title in told if title != "Effects"], "a design alone has effects"
        assert Page(page).problems == []

    def test_the_tables_have_the_columns_of_their_schemas(self, first: Desk) -> None:
        for table in TABLES:
            there = pq.read_schema(first.folder / "results" / "pictures" / "tables" / f"{table}.parquet").names
            assert there == schema(table).names

    def test_the_queries_of_the_readme(self, first: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(first.folder)
        best, depth, curve = [block.text for block in blocks_of(README, section_of(README, "Tables with DuckDB"))]
        for row in rows_of(best):
            backbone, _, seeds, count, accuracy, low, high = row
            low_end, high_end = wilson(accuracy, count)
            assert seeds == 2 and backbone in ("tiny_resnet", "tiny_vit")
            assert (low, high) == (pytest.approx(low_end, abs=1e-3), pytest.approx(high_end, abs=1e-3))
        trials = pq.read_table("results/pictures/tables/trials.parquet").to_pandas()
        whole = trials[(trials.stage == "search") & (trials.status == "completed")]
        groups = whole.groupby(["backbone", "freeze_depth"]).val_accuracy.max()
        assert {row[:2]: row[4] for row in rows_of(depth)} == groups.to_dict() and len(groups)
        of_best = trials[trials.stage == "search"].sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
        epochs = rows_of(curve)
        assert [row[0] for row in epochs] == list(range(1, of_best.iloc[0].epochs_run + 1))
        assert max(row[4] for row in epochs) == of_best.iloc[0].val_accuracy


def wilson(share: float, count: int) -> tuple[float, float]:
    """The ends of Wilson's interval: where the distance to the share is 1.96 standard errors, found by trying."""
    grid = np.linspace(0, 1, 100_001)
    inside = grid[np.abs(share - grid) <= 1.96 * np.sqrt(grid * (1 - grid) / count) + 1e-12]
    return float(inside[0]), float(inside[-1])


def columns_told(table: str) -> list[str]:
    """The columns that study_folder.md explains for a table, those of the recipe left out."""
    rows = re.findall(r"^\| `([\w*]+)` \|", section_of(DOCS / "study_folder.md", table), re.MULTILINE)
    return [name for name in rows if name != "recipe_*"]


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_explained_in_its_order(table: str) -> None:
    of_recipe = {f"recipe_{name}" for name in FIELD_NAMES}
    names = [name for name in schema(table).names if name not in of_recipe]
    assert columns_told(table) == names


def test_every_field_of_a_recipe_is_named() -> None:
    text = section_of(DOCS / "study_folder.md", "trials")
    told = text[text.index("The fields of a recipe:") : text.index("The class `Recipe`")]
    assert tuple(re.findall(r"`(\w+)`", told)) == FIELD_NAMES


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="the page's patches are applied by git, which is not installed")
def test_the_patches_apply_and_what_they_add_works(tmp_path: Path) -> None:
    """In a copy of the package: what adding.md says is typed there, in the order of the page."""
    shutil.copytree(ROOT / "raytl", tmp_path / "raytl", ignore=shutil.ignore_patterns("__pycache__"))
    code, printed = "", []
    for block in blocks_of(DOCS / "adding.md"):
        if block.language == "diff":
            subprocess.run(["git", "apply", "-"], input=block.text, cwd=tmp_path, text=True, check=True)
        elif not block.is_run:
            read_only(block)
        elif block.language == "sh":
            code += "".join(f"import runpy; runpy.run_module({words[2]!r}, run_name='__main__')\n"
                            "from raytl.catalog import backbone_sources; backbone_sources.cache_clear()\n"
                            for words in block.commands)  # fmt: skip
        else:
            code += block.text
            printed += [block.printed or ""]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(printed)
    assert "patch_cnn raytl\n" in (tmp_path / "raytl" / "backbone_names.txt").read_text()


def commands_in(page: Path, text: str | None = None) -> list[list[str]]:
    return [words for block in blocks_of(page, text) if block.language == "sh" for words in block.commands]


def test_the_readme_has_the_five_commands_of_the_page() -> None:
    five = commands_in(README, section_of(README, "From a folder to a served model in five commands"))
    page = [block for block in blocks_of(DOCS / "first_search.md") if block.language == "sh" and block.is_run]
    assert five == [block.commands[0] for block in page[:5]]
    assert [" ".join(words).startswith(start) for words, start in zip(five, FIVE, strict=True)] == [True] * 5


def test_the_korean_page_has_the_same_blocks() -> None:
    english, korean = (blocks_of(DOCS / name) for name in ("first_search.md", "first_search.ko.md"))
    same = [[(b.language, b.text, b.mark, b.printed) for b in page] for page in (english, korean)]
    assert same[0] == same[1] and len(english) > 5
    assert len(re.findall(r"^#", (DOCS / "first_search.ko.md").read_text(), re.MULTILINE)) == 3


@pytest.mark.parametrize("page", [README, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = [link.partition("#")[0] for link in links_of(page)]
    assert [link for link in targets if link and not (page.parent / link).exists()] == []


def test_the_index_names_every_page_and_every_page_is_run() -> None:
    pages = {path.name for path in DOCS.iterdir() if path.suffix in (".md", ".ipynb")} - {"README.md"}
    assert set(links_of(DOCS / "README.md")) == pages
    run = {"first_search.md", "first_search.ko.md", "adding.md", *AFTER}
    assert run | OLDER | {FIGURES, "first_search.ipynb"} == pages


@pytest.mark.parametrize("page", [README, DOCS / FIGURES, ROOT / "results" / "README.md"], ids=lambda page: page.name)
def test_the_programs_that_figures_come_from_are_there(page: Path) -> None:
    text = page.read_text()
    programs = set(re.findall(r"python (experiments/[\w/]+(?:\.py)?)", text))
    assert programs and [name for name in programs if not (ROOT / name).exists()] == []
    tables = set(re.findall(r"`(results/reference/[\w/.]+)`", text))
    assert [name for name in tables if not (ROOT / name).exists()] == []


def test_every_block_has_a_language_and_every_mark_a_reason() -> None:
    for name in ("first_search.md", "first_search.ko.md", "adding.md", *AFTER):
        text = (DOCS / name).read_text()
        fences = re.findall(r"^```(\w*)$", text, re.MULTILINE)
        assert {*fences[::2]} <= {"sh", "python", "sql", "text", "diff"} and {*fences[1::2]} == {""}, name
        marks = re.findall(r"<!-- (.*?) -->", text)
        assert all(re.match(r"not (run|compared): \w.{5,}", mark) for mark in marks), name


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [("a b\n", "a b\n", True), ("a c\n", "a b\n", False), ("a 1\nb\n", "a ...\nb\n", True), ("x\n", "x\ny\n", False)],
)
def test_dots_stand_for_anything(said: str, printed: str, same: bool) -> None:
    assert as_printed(said, printed) == same


def test_a_page_that_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(1)\n```\n\n```text\n2\n```\n\n```sh\nraytl list nothing\n```\n\nx\n\n```text\ny\n```\n"
    )
    wrong, refused = blocks_of(page)
    assert (wrong.printed, refused.printed) == ("2\n", None)
    for block in (wrong, refused):
        with pytest.raises(AssertionError, match=r"page\.md:\d+"):
            Desk(tmp_path).run(block)
    with pytest.raises(SystemExit):
        check_words(["raytl", "search", "x", "--no-such-option"])
