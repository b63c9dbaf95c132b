"""The elements of a page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raytl.results.page import POLICY, Html, document, join, section, table, tag, text_table
from tests.pages import Page

# What an HTML parser gives back as it was: no control characters, no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)


@given(TEXT, TEXT)
def test_any_text_comes_back_as_it_was_and_makes_no_element(content: str, value: str) -> None:
    page = Page(tag("p", content, {"title": value}))
    assert page.tags == [("p", {"title": value})]
    assert page.text == content.strip()
    assert page.problems == []


def test_markup_is_kept_and_text_escaped() -> None:
    assert join(["<b>", Html("<br>"), "&"]) == "&lt;b&gt;<br>&amp;"


def test_a_table_tells_figures_from_text() -> None:
    page = Page(table(("name", "count"), [("a", "1"), (Html("<td>own</td>"), "2")], first=True))
    assert [cell.get("class") for cell in page.of("td")] == ["", "n", None, "n"]
    assert [row.get("class") for row in page.of("tr")] == [None, "first", ""]
    assert page.problems == []


def test_a_long_list_says_how_much_is_left_out() -> None:
    page = Page(text_table(("name",), [(str(index),) for index in range(1_210)], 10))
    assert len(page.of("td")) == 10
    assert "1,200 more are in the tables." in page.text
    assert "more are" not in Page(text_table(("name",), [("a",)], 1)).text


def test_a_document_is_whole_and_forbids_itself_the_network() -> None:
    page = Page(document("a <b>", "sub", [section("one", "First", ["text"])], [("one", "First")]))
    assert page.problems == []
    assert page.of("meta")[-1]["content"] == POLICY
    assert POLICY == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert page.of("a") == [{"href": "#one"}]
    assert page.of("section") == [{"id": "one"}]
    assert page.texts[:2] == ["a <b>", "a <b>"]
