"""Steps are heard by whoever listens, and by nobody otherwise."""

from __future__ import annotations

import pytest

from raytl.steps import listening, reached


def test_listeners_hear_steps_while_they_listen() -> None:
    first: list[str] = []
    second: list[str] = []
    reached("before")
    with listening(first.append):
        reached("one")
        with listening(second.append):
            reached("two")
        reached("three")
    reached("after")
    assert (first, second) == (["one", "two", "three"], ["two"])


def test_what_a_listener_raises_reaches_the_writer() -> None:
    def full(step: str) -> None:
        raise OSError(28, step)

    with listening(full), pytest.raises(OSError, match="written"):
        reached("written")
    reached("written")
