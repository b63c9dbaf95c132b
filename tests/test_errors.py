"""Errors a person can meet: several findings in one, and an exit code for each kind."""

from __future__ import annotations

import pytest

from raytl.errors import ConfigError, DataError, MachineError, RaytlError, StorageError


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 2), (MachineError, 3), (DataError, 4), (StorageError, 6)])
def test_every_kind_has_its_exit_code_and_says_one_line_per_finding(kind: type[RaytlError], code: int) -> None:
    error = kind("a=1: must be 2", "b=3: must be 4")
    assert isinstance(error, RaytlError)
    assert error.exit_code == code
    assert error.problems == ("a=1: must be 2", "b=3: must be 4")
    assert str(error).splitlines() == list(error.problems)
