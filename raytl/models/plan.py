"""How a backbone is cut into stages: plain descriptions by module name, so that copies of a model stay valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

Step = str | Callable[[nn.Module, Tensor], Tensor]
"""One step of the forward pass: the name of a submodule, or a function of (net, x) for what has no module."""

Layout = Literal["map", "map_channels_last", "tokens"]
"""What comes before pooling: (B, C, h, w), (B, h, w, C) or (B, T, C)."""


@dataclass(frozen=True)
class Stage:
    """One freezable piece of a backbone.

    `modules` are the names of the submodules and of the loose parameters (such as `cls_token`) that it owns, within
    the backbone's `net`. `steps` say how it runs; they are empty where the piece can only run as part of the whole.
    """

    name: str
    modules: tuple[str, ...]
    steps: tuple[Step, ...] = ()

    def owns(self, name: str) -> bool:
        """Whether the parameter, buffer or submodule `name` of `net` belongs to this stage."""
        return any(name == module or name.startswith(f"{module}.") for module in self.modules)


@dataclass(frozen=True)
class Tap:
    """An auxiliary classifier: it listens after `step`, is called `module` in `net`, and ends with `classifier`."""

    step: str
    module: str
    classifier: str


@dataclass(frozen=True)
class Plan:
    """A backbone as an ordered list of stages.

    `stages` lead from the picture to the last map; `wide` is a stage behind the map (VGG's two wide layers), `tail`
    takes the map to the vector in front of the classifier, running `wide` and `tail_modules` (a norm or a
    convolution after pooling) on its way. With another pooling than the backbone's own these two do not exist.
    """

    stages: tuple[Stage, ...]
    tail: Callable[[nn.Module, Tensor], Tensor]
    tail_modules: tuple[str, ...] = ()
    wide: Stage | None = None
    layout: Layout = "map"
    prefix_tokens: int = 0
    taps: tuple[Tap, ...] = ()


def run_step(net: nn.Module, step: Step, x: Tensor) -> Tensor:
    """Applies one step to `x`."""
    result = net.get_submodule(step)(x) if isinstance(step, str) else step(net, x)
    assert isinstance(result, Tensor)
    return result


def even_groups(names: list[str], most: int) -> list[list[str]]:
    """`names` in at most `most` consecutive groups whose sizes differ by one at most, the larger ones last."""
    count = min(most, len(names))
    edges = [index * len(names) // count for index in range(count + 1)] if count else [0]
    return [names[low:high] for low, high in pairwise(edges)]
