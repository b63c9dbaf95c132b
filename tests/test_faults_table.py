"""Every fault and every kind of bad input that is promised to be handled has a test named after it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
ROWS = {*(f"f{number}" for number in range(1, 21)), *(f"d{number}" for number in range(1, 10))}


def named_tests() -> dict[str, list[str]]:
    """By row, the tests that carry its name, such as test_f3_f19_a_killed_search_goes_on."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (match := re.match(r"test((?:_[fd]\d+)+)_", node.name)):
                for row in match[1].strip("_").split("_"):
                    found.setdefault(row, []).append(f"{path.name}::{node.name}")
    return found


def test_every_row_has_a_test() -> None:
    assert ROWS - named_tests().keys() == set()
    assert named_tests().keys() <= ROWS, "a name of no row"


def test_the_documented_table_names_them_all() -> None:
    table = (TESTS.parent / "docs" / "faults.md").read_text()
    documented = set(re.findall(r"`(test_\w+\.py::test_\w+)`", table))
    assert documented == {test for tests in named_tests().values() for test in tests}
