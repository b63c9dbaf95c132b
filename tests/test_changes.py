"""What became of pictures between two looks at them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from raytl.data.changes import EXAMPLES, picture_changes
from raytl.results.schemas import PictureRow


def row(path: str, label: str = "a", split: str | None = "train", sha256: str = "1", status: str = "ok") -> PictureRow:
    return PictureRow(path=path, label=label, split=split, width=1, height=1, sha256=sha256, status=status)


def test_each_kind_of_change_has_a_line() -> None:
    before = [
        row("same"),
        row("gone"),
        row("other"),
        row("moved"),
        row("split"),
        row("broken"),
        row("bad", status="bad"),
    ]
    after = [row("same"), row("new"), row("other", sha256="2"), row("moved", label="b"), row("split", split="test")]
    after += [row("broken", status="bad"), row("bad", status="bad", sha256="3")]
    assert picture_changes(before, after) == [
        "1 picture added: new",
        "2 pictures removed or no longer usable: gone, broken",
        "1 picture with other content: other",
        "1 picture of another class: moved",
        "1 picture in another split: split",
    ]


@given(st.sets(st.sampled_from("abcdefghij")), st.sets(st.sampled_from("abcdefghij")))
def test_added_and_removed_are_the_difference_of_sets(old: set[str], new: set[str]) -> None:
    lines = picture_changes([row(path) for path in sorted(old)], [row(path) for path in sorted(new)])
    counts = [int(line.split()[0]) for line in lines]
    assert counts == [len(each) for each in (new - old, old - new) if each]
    for line, paths in zip(lines, [each for each in (new - old, old - new) if each], strict=True):
        shown = sorted(paths)[:EXAMPLES]
        assert line.endswith(": " + ", ".join(shown) + (", ..." if len(paths) > EXAMPLES else ""))


def test_nothing_changed_says_nothing() -> None:
    rows = [row("x"), replace(row("y"), split=None)]
    assert picture_changes(rows, rows) == []
