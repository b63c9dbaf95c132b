"""What a server says of one picture, and what it says of itself. Imports neither torch nor Ray."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

Box = tuple[float, float, float, float]
"""Left, top, width and height as fractions of a picture that stands upright."""


@dataclass(frozen=True)
class HeatMap:
    """A PNG of the square `box` of a picture, grey, under what speaks there for the predicted class."""

    png: bytes
    box: Box


@dataclass(frozen=True)
class Sight:
    """One picture: its likeliest class and all probabilities by class name, or why it could not be read.

    `known_kind`: whether the bytes began as a picture does. `batch`: how many pictures were computed together, this one
    included. `heat_map` where one was asked for, or `heat_problem`, which says why there is none.
    """

    predicted: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    known_kind: bool = True
    batch: int = 0
    heat_map: HeatMap | None = None
    heat_problem: str | None = None

    def said(self, file: str | None, top: int | None) -> dict[str, object]:
        """As JSON says it, with the `top` likeliest classes, the predicted one first."""
        if self.predicted is None:
            return {"file": file, "problem": self.problem}
        answer: dict[str, object] = {
            "file": file,
            "predicted": self.predicted,
            "probability": self.probabilities[self.predicted],
            "probabilities": dict(sorted(self.probabilities.items(), key=self._rank)[:top]),
            "batch": self.batch,
        }
        if self.heat_map is not None:
            answer["heat_map"] = b64encode(self.heat_map.png).decode()
            answer["heat_map_box"] = list(self.heat_map.box)
        elif self.heat_problem is not None:
            answer["heat_map_problem"] = self.heat_problem
        return answer

    def _rank(self, named: tuple[str, float]) -> tuple[bool, float]:
        return named[0] != self.predicted, -named[1]


@dataclass(frozen=True)
class ServedModel:
    """What is said of a model that is served."""

    name: str
    classes: tuple[str, ...]
    version: str

    def said(self) -> dict[str, object]:
        """As JSON says it."""
        return {"model": self.name, "classes": list(self.classes), "version": self.version}


class Model(Protocol):
    """What a server asks for answers: the model itself, or a way to its replicas."""

    async def see(self, pictures: Sequence[bytes], explain: bool) -> list[Sight]:
        """An answer for each picture file.

        Raises:
            RefusedError: where the model cannot answer now.
        """

    async def check(self) -> None:
        """Returns once the model has answered for a drawn picture; raises as `see`."""
