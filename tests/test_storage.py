"""Addresses of storages and paths: told apart, and kept as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.storage import folder_or_address, is_storage, name_at


@pytest.mark.parametrize(
    ("text", "storage"), [("s3://bucket/a", True), ("file:///a", True), ("results/a", False), ("/a", False)]
)
def test_an_address_stays_as_it_was_written_and_a_path_is_one(text: str, storage: bool) -> None:
    assert is_storage(text) is storage
    assert folder_or_address(text) == (text if storage else Path(text))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://bucket/studies/flowers", "flowers"),
        ("s3://bucket/studies/flowers/", "flowers"),
        ("s3://key:secret@bucket/flowers?endpoint_override=http://host:1/x", "flowers"),
        ("file:///flowers", "flowers"),
        ("s3://bucket", "bucket"),
        ("file:///", "study"),
    ],
)
def test_the_last_part_of_its_path_is_its_name(address: str, name: str) -> None:
    assert name_at(address) == name
