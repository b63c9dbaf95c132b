"""The page on which a model is tried: what its policy lets run, and what a person sees in a real browser."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect
from starlette.types import ASGIApp

from raytl.data.samples import write_sample
from raytl.use.bounds import Bounds
from raytl.use.front_page import front_page
from raytl.use.sight import ServedModel
from tests.browser import browsing, keep, needs_chromium
from tests.served import LIMITS, SERVED, direct_app, get, listening, png, post_form, saved_model

browser = [pytest.mark.slow, needs_chromium]
SPEAKING = 7  # a seed of which something in the flower speaks for its class, though the model has learnt nothing
FLOWERS = ("daisy", "lily", "poppy", "rose", "tulip")
WIDER = """() => [...document.querySelectorAll("main *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + " " + e.className)"""
DROPPED = """([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
}"""


def test_the_policy_lets_its_own_script_and_style_run_and_nothing_else() -> None:
    page = front_page(SERVED, LIMITS)
    allowed = dict(part.split(" ", 1) for part in page.policy.split("; "))
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page.text, re.DOTALL)
        assert allowed[directive] == f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert allowed["default-src"] == "'none'" and allowed["connect-src"] == "'self'"
    assert not re.search(r"https?://|\son\w+=|\sstyle=|<script .|@import|url\(", page.text)
    assert "{{" not in page.text


def test_names_are_text_and_no_markup() -> None:
    evil = ServedModel("<script>alert(1)</script>", ('"><img src=x onerror=alert(1)>', "{{model}}"), "1")
    text = front_page(evil, LIMITS).text
    assert text.count("<script>") == 1 and "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in text and "{{model}}</p>" in text


def test_limits_stand_on_the_page() -> None:
    text = front_page(SERVED, Bounds(most_bytes=7_500_000)).text
    assert 'data-most-bytes="7500000"' in text and "up to 7.5 MB" in text


def test_everything_that_is_asked_has_a_label() -> None:
    text = front_page(SERVED, LIMITS).text
    for name in re.findall(r'<input id="(\w+)"', text):
        assert re.search(rf'<label[^>]*(for="{name}"|>\s*<input id="{name}")', text)
    assert 'role="status" aria-live="polite"' in text and '<html lang="en">' in text


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ASGIApp:
    bounds = replace(LIMITS, most_bytes=1_000_000, most_pixels=1_000_000)
    return direct_app(saved_model(tmp_path_factory.mktemp("model") / "tiny", FLOWERS, SPEAKING), bounds)


@pytest.fixture(scope="module")
def address(app: ASGIApp) -> Iterator[str]:
    with listening(app) as address:
        yield address


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sample("drawn-flowers", tmp_path_factory.mktemp("flowers") / "drawn", 1)
    return next(folder.rglob("*.png"))


def bars(page: Page) -> dict[str, str]:
    return {
        row.locator(".name").inner_text(): row.locator(".percent").inner_text()
        for row in page.locator(".sight .bars li").all()
    }


def expected(app: ASGIApp, name: str, data: bytes) -> dict[str, str]:
    found = post_form(app, {name: data}).said["pictures"][0]["probabilities"]
    return {label: f"{100 * share:.1f}%" for label, share in found.items()}


class TestInABrowser:
    pytestmark = browser

    def test_a_chosen_picture_shows_its_classes_and_where_the_model_looks(
        self, app: ASGIApp, address: str, flower: Path, tmp_path: Path
    ) -> None:
        shares = expected(app, flower.name, flower.read_bytes())
        with browsing(width=1000, height=760) as page:
            page.goto(address)
            page.get_by_label("Choose pictures").set_input_files(flower)
            map_ = page.locator(".frame img.map")
            expect(map_).to_be_visible()
            found = bars(page)
            assert found == shares
            expect(page.get_by_role("status")).to_contain_text(f"{flower.name}: {next(iter(found))}")
            widths = page.locator(".bar").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
            assert widths == sorted(widths, reverse=True) and widths[0] > 0
            frame, box = page.locator(".frame").bounding_box(), map_.bounding_box()
            # The tiny model sees the middle 16 of 20 pixels of a square picture.
            assert frame and box
            assert box["width"] / frame["width"] == pytest.approx(0.8, abs=0.02)
            assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(0.1, abs=0.02)
            assert map_.evaluate("e => e.naturalWidth") == 224
            keep(page, "serve", tmp_path)
            page.get_by_label("Heat map").fill("0")
            assert map_.evaluate("e => getComputedStyle(e).opacity") == "0"

    def test_the_likeliest_class_comes_first_where_classes_are_named_by_numbers(self, address: str) -> None:
        shares = {"7": 0.4, "10": 0.4, "daisy": 0.15, "0": 0.04, "3": 0.01}
        with browsing() as page:
            page.goto(address)
            rows = page.evaluate(
                "sight => [...bars(sight).children].map(e => [e.querySelector('.name').textContent, e.className])",
                {"predicted": "10", "probabilities": shares},
            )
        assert rows == [["10", "first"], ["7", ""], ["daisy", ""], ["0", ""], ["3", ""]]

    def test_a_dropped_picture_is_taken(self, app: ASGIApp, address: str) -> None:
        data = png(3)
        shares = expected(app, "dropped.png", data)
        with browsing() as page:
            page.goto(address)
            page.get_by_label("Show what speaks for the class").uncheck()
            page.evaluate(DROPPED, ["dropped.png", list(data)])
            expect(page.locator(".sight h2")).to_contain_text("dropped.png")
            assert bars(page) == shares
            expect(page.locator(".map")).to_have_count(0)

    def test_what_is_no_picture_is_told_and_the_others_are_shown(self, address: str) -> None:
        files: list[FilePayload] = [
            {"name": "words.png", "mimeType": "image/png", "buffer": b"words"},
            {"name": "large.png", "mimeType": "image/png", "buffer": bytes(1_000_001)},
            {"name": "good.png", "mimeType": "image/png", "buffer": png(1)},
        ]
        with browsing(expected="status of 415") as page:
            page.goto(address)
            page.locator("#file").set_input_files(files)
            expect(page.get_by_role("status")).to_have_text("3 pictures")
            cards = page.locator(".sight")
            expect(cards.nth(0)).to_contain_text("not a picture of a known kind")
            expect(cards.nth(1)).to_contain_text("too large; choose one of at most 1 MB")
            expect(cards.nth(2).locator(".bars li")).to_have_count(5)

    def test_it_is_dark_for_those_who_want_it_and_fits_a_telephone(self, address: str, flower: Path) -> None:
        with browsing(width=360, height=740, dark=True) as page:
            page.goto(address)
            assert page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(20, 23, 26)"
            page.locator("#file").set_input_files(flower)
            expect(page.locator(".frame img.map")).to_be_visible()
            assert page.evaluate(WIDER) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def test_it_can_be_used_by_keyboard(self, address: str) -> None:
        with browsing() as page:
            page.goto(address)
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "file"
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == "explain"
            page.keyboard.press("Space")
            expect(page.locator("#explain")).not_to_be_checked()

    def test_the_page_for_programs_opens(self, address: str) -> None:
        with browsing() as page:
            page.goto(address)
            page.get_by_role("link", name="for programs").click()
            expect(page.get_by_role("heading", name="POST /predict")).to_be_visible()


def test_the_policy_is_sent_with_the_page(app: ASGIApp) -> None:
    assert "script-src 'sha256-" in get(app, "/").headers["content-security-policy"]
