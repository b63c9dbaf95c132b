"""Classes grouped by a file: what it says, and what does not fit is refused all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.class_map import class_map_problems, read_class_map
from raytl.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_come_by_class(tmp_path: Path) -> None:
    file = write(tmp_path / "map.csv", "\ufeffgroup,class,note\nfruit,apple,red\nvegetable,beetroot,\nfruit,pear,\n")
    assert read_class_map(file) == {"apple": "fruit", "beetroot": "vegetable", "pear": "fruit"}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("class,kind\napple,fruit\n", ["lacks the column group; it needs class and group"]),
        ("class,group\n", ["has no row"]),
        (
            "class,group\napple,\npear,fruit\npear,x\n",
            ["class 'apple' has no group", "class 'pear' stands there 2 times"],
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_class_map(write(tmp_path / "map.csv", text))
    assert [problem.split(": ", 1)[1] for problem in caught.value.problems] == problems
    with pytest.raises(ConfigError, match="cannot be read"):
        read_class_map(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("class_map", "problems"),
    [
        ({}, []),
        ({"apple": "fruit", "beetroot": "vegetable"}, []),
        (
            {"aple": "fruit", "beetroot": "vegetable"},
            ["'aple' is no class of these pictures", "class 'apple' has no group"],
        ),
        ({"apple": "food", "beetroot": "food"}, ["there is one group only"]),
    ],
)
def test_a_map_and_classes_that_do_not_fit(class_map: dict[str, str], problems: list[str]) -> None:
    said = class_map_problems(class_map, ("apple", "beetroot"))
    assert len(said) == len(problems)
    assert all(problem in line for problem, line in zip(problems, said, strict=True))
