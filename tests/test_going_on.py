"""What a study keeps from its beginning to its end."""

from __future__ import annotations

from dataclasses import fields

import pytest

from raytl.going_on import LIMITS, MAY_GROW, lasting
from raytl.study import Study


def test_all_that_may_be_told_anew_are_fields_of_a_study() -> None:
    assert {*LIMITS, *MAY_GROW} <= {field.name for field in fields(Study)}


@pytest.mark.parametrize("name", [*LIMITS, *MAY_GROW])
def test_what_may_be_told_anew_makes_no_other_study(name: str) -> None:
    assert lasting({"seed": 1, name: 2}) == lasting({"seed": 1, name: 3}) == {"seed": 1}


def test_what_stays_makes_another_study() -> None:
    assert lasting({"seed": 1}) != lasting({"seed": 2})
    assert lasting(None) is None
