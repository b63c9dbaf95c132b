"""Splits by groups: none in two splits, classes near their shares, whatever groups and copies there are."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.data.album import open_album
from raytl.data.split import assign_splits
from raytl.errors import DataError
from raytl.results.schemas import PictureRow
from tests.pictures import write_classes


def row(place: int, label: str, group: str | None, content: int, split: str | None = None) -> PictureRow:
    return PictureRow(
        path=f"{place}.png",
        label=label,
        split=split,
        width=4,
        height=4,
        sha256=hashlib.sha256(f"{content}".encode()).hexdigest(),
        status="ok",
        group=group,
    )


def sides(rows: tuple[PictureRow, ...], name: str) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = defaultdict(set)
    for item in rows:
        if getattr(item, name) is not None:
            found[getattr(item, name)].add(item.split)
    return found


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=40, max_size=120),
    st.lists(st.tuples(st.integers(0, 119), st.integers(0, 119)), max_size=5),
    st.integers(0, 2**31 - 1),
)
def test_no_group_and_no_content_lies_in_two_splits(
    places: list[tuple[int, bool]], copies: list[tuple[int, int]], seed: int
) -> None:
    contents = list(range(len(places)))
    for first, second in copies:
        contents[second % len(places)] = contents[first % len(places)]
    rows = [
        row(place, "b" if is_b else "a", None if group < 5 else f"g{group}", contents[place])
        for place, (group, is_b) in enumerate(places)
    ]
    rows += [row(1000 + place, "ab"[place % 2], f"own {place}", 1000 + place) for place in range(12)]
    try:
        done = assign_splits(rows, seed)
    except DataError as error:
        assert "has no usable picture in" in str(error)  # one group may be most of the pictures
        return
    assert {len(found) for found in sides(done, "group").values()} == {1}
    assert {len(found) for found in sides(done, "sha256").values()} == {1}
    assert assign_splits(rows, seed) == done


def test_many_small_groups_keep_the_shares_of_every_class() -> None:
    rows = [row(place, "ab"[place % 10 == 0], f"g{place // 5}", place) for place in range(1000)]
    done = assign_splits(rows, 0)
    for label in "ab":
        counts = Counter(item.split for item in done if item.label == label)
        for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            assert counts[split] / sum(counts.values()) == pytest.approx(share, abs=0.03)
    assert [item.split for item in assign_splits(rows, 1)] != [item.split for item in done]


def test_of_a_given_train_and_test_only_validation_is_drawn_by_groups() -> None:
    rows = [row(place, "ab"[place % 2], f"g{place // 4}", place, "train") for place in range(80)]
    rows += [row(100 + place, "ab"[place % 2], None, 100 + place, "test") for place in range(10)]
    done = assign_splits(rows, 0)
    assert {item.split for item in done[80:]} == {"test"} and {item.split for item in done[:80]} == {"train", "val"}
    assert {len(found) for found in sides(done, "group").values()} == {1}


@pytest.mark.parametrize("each", [3, 4, 6])
def test_classes_of_fewer_pictures_than_folds_are_split(each: int) -> None:
    rows = [row(place, "ab"[place % 2], f"g{place}", place) for place in range(2 * each)]
    done = assign_splits(rows, 0)
    assert {(item.label, item.split) for item in done} == {
        (label, split) for label in "ab" for split in ("train", "val", "test")
    }


def test_a_picture_of_each_class_is_too_few() -> None:
    with pytest.raises(DataError, match="class 'a' has no usable picture in val"):
        assign_splits([row(place, "ab"[place], f"g{place}", place) for place in range(2)], 0)


def test_a_single_group_is_too_few() -> None:
    with pytest.raises(DataError, match="class 'a' has no usable picture in"):
        assign_splits([row(place, "ab"[place % 2], "all", place) for place in range(40)], 0)


def test_an_album_of_a_listing_keeps_its_groups_together(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 24, "b": 24})
    lines = [f"{label}/{index:03d}.png,{label},patient {index // 3}" for label in ("a", "b") for index in range(24)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *lines]))
    album = open_album(tmp_path / "list.csv", workers=1)
    assert {len(found) for found in sides(album.pictures, "group").values()} == {1}
    assert len(sides(album.pictures, "group")) == 8
