"""Splits: stratified, by content, stable, and honest about classes that are too small."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.data.split import assign_splits, derived_seed
from raytl.errors import DataError
from raytl.results.schemas import PictureRow


def row(label: str, content: str, split: str | None = None, status: str = "ok", name: str = "") -> PictureRow:
    return PictureRow(
        path=f"{split}/{label}/{name or content}",
        label=label,
        split=split,
        width=4,
        height=4,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        status=status,
    )


def rows_of(sizes: dict[str, int], split: str | None = None) -> list[PictureRow]:
    return [row(label, f"{split}-{label}-{index}", split) for label, size in sizes.items() for index in range(size)]


def counts(rows: Sequence[PictureRow], label: str) -> dict[str | None, int]:
    return Counter(row.split for row in rows if row.label == label)


class_sizes = st.dictionaries(st.sampled_from("abcd"), st.integers(3, 120), min_size=2)


@given(class_sizes, st.integers(0, 2**31 - 1))
def test_shares_are_exact_to_rounding(sizes: dict[str, int], seed: int) -> None:
    rows = assign_splits(rows_of(sizes), seed)
    for label, size in sizes.items():
        share = max(1, round(0.15 * size))
        assert counts(rows, label) == {"train": size - 2 * share, "val": share, "test": share}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=20), st.integers(0, 100))
def test_equal_contents_stay_together(pairs: list[tuple[str, int]], seed: int) -> None:
    rows = [row(label, f"{number}", name=f"{place}") for place, (label, number) in enumerate(pairs)]
    rows += rows_of({"a": 4, "b": 4})  # so that both classes have enough pictures of their own
    sides: dict[str | None, set[str | None]] = defaultdict(set)
    result = assign_splits(rows, seed)
    for item in result:
        sides[item.sha256].add(item.split)
    assert all(len(found) == 1 for found in sides.values())
    assert {(item.label, item.split) for item in result} >= {(k, s) for k in "ab" for s in ("train", "val", "test")}


@given(st.permutations(range(40)), st.integers(0, 100))
def test_order_and_names_do_not_matter(order: list[int], seed: int) -> None:
    rows = rows_of({"a": 20, "b": 20})
    expected = {item.path: item.split for item in assign_splits(rows, seed)}
    assert {item.path: item.split for item in assign_splits([rows[place] for place in order], seed)} == expected


@given(st.integers(0, 1000), st.integers(10, 300))
def test_a_new_picture_moves_few_others(seed: int, size: int) -> None:
    rows = rows_of({"a": size, "b": 5})
    before = {item.path: item.split for item in assign_splits(rows, seed)}
    after = {item.path: item.split for item in assign_splits([*rows, row("a", "new")], seed)}
    assert sum(before[path] != after[path] for path in before) <= 3


def test_label_conflicts_go_to_train() -> None:
    rows = [*rows_of({"a": 20, "b": 20}), *(row(label, f"both-{n}") for n in range(5) for label in "ab")]
    for seed in range(10):
        assert {item.split for item in assign_splits(rows, seed) if "both" in item.path} == {"train"}


def test_seeds_give_different_splits() -> None:
    rows = rows_of({"a": 50, "b": 50})
    tests = {
        frozenset(item.path for item in assign_splits(rows, derived_seed(7, index)) if item.split == "test")
        for index in range(5)
    }
    assert len(tests) == 5
    assert derived_seed(7, 0) == 7


def test_all_splits_given_are_kept() -> None:
    rows = [item for split in ("train", "val", "test") for item in rows_of({"a": 4, "b": 4}, split)]
    rows.append(row("a", "train-a-0", "test"))  # the same picture in two given splits is reported, not moved
    assert assign_splits(rows, 3) == tuple(rows)


def test_train_and_val_given() -> None:
    rows = [*rows_of({"a": 40, "b": 20}, "train"), *rows_of({"a": 10, "b": 10}, "val")]
    result = assign_splits(rows, 1)
    assert counts(result, "a") == {"train": 34, "val": 6, "test": 10}
    assert counts(result, "b") == {"train": 17, "val": 3, "test": 10}
    assert all(after.split == "test" for before, after in zip(rows, result, strict=True) if before.split == "val")


def test_train_and_test_given() -> None:
    rows = [*rows_of({"a": 40, "b": 20}, "train"), *rows_of({"a": 10, "b": 10}, "test")]
    assert counts(assign_splits(rows, 1), "a") == {"train": 34, "val": 6, "test": 10}


def test_bad_rows_are_not_drawn() -> None:
    bad = row("a", "broken", status="bad")
    result = assign_splits([bad, *rows_of({"a": 10, "b": 10})], 0)
    assert result[0] == bad
    assert sum(counts(result[1:], "a").values()) == 10


def test_classes_too_small_are_all_named() -> None:
    with pytest.raises(DataError) as caught:
        assign_splits(rows_of({"a": 2, "b": 1, "c": 9}), 0)
    assert [text.split(";")[0] for text in caught.value.problems] == [
        "class 'a' has 2 pictures",
        "class 'b' has 1 picture",
    ]
    assert "one each for train, val, test" in caught.value.problems[0]
    copies = [row("a", "same", name=str(n)) for n in range(9)]
    with pytest.raises(DataError, match="1 different picture;"):
        assign_splits([*copies, *rows_of({"b": 9})], 0)


def test_a_given_split_without_a_class() -> None:
    rows = [*rows_of({"a": 9, "b": 9}, "train"), *rows_of({"a": 9}, "val"), *rows_of({"a": 9, "b": 9}, "test")]
    with pytest.raises(DataError, match="class 'b' has no usable picture in val"):
        assign_splits(rows, 0)
    with pytest.raises(DataError, match="class 'b' has no usable picture in test"):
        assign_splits([item for item in rows if item.split != "test"], 0)
