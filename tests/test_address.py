"""A study runs where --address says, else where RAY_ADDRESS does, else here."""

from __future__ import annotations

import pytest

from raytl.address import VARIABLE, place_of


@pytest.mark.parametrize(
    ("address", "variable", "expected", "said"),
    [
        (None, None, None, None),
        (None, "", None, None),
        ("local", None, None, None),
        (None, "10.0.0.1:6379", "10.0.0.1:6379", "the cluster at 10.0.0.1:6379, as RAY_ADDRESS says"),
        (None, "ray://head:10001", "ray://head:10001", "--address local stays on this machine"),
        (None, "local", None, "on this machine, as RAY_ADDRESS=local says"),
        ("local", "10.0.0.1:6379", None, "as --address local says, whatever RAY_ADDRESS=10.0.0.1:6379 says"),
        ("other:6379", "10.0.0.1:6379", "other:6379", "the cluster at other:6379, as --address says"),
        ("auto", None, "auto", "the cluster at auto, as --address says"),
        ("auto", "10.0.0.1:6379", "auto", "which RAY_ADDRESS=10.0.0.1:6379 decides"),
    ],
)
def test_who_decides_where_a_study_runs(
    address: str | None, variable: str | None, expected: str | None, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    place = place_of(address)
    assert place.address == expected
    assert (place.line is None) if said is None else (said in str(place.line))
