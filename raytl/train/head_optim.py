"""The optimizers of T heads at once: the formulas of torch's as `train.optim` configures them, with rates by head.

torch's optimizers have one rate for a group of parameters, and a group for each head would be a loop over heads.
Here a parameter is (T, ...), and what differs between heads is broadcast over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raytl.recipe import Recipe
from raytl.train.head_layers import by_head

BETA1, BETA2 = 0.9, 0.999  # this and the next two: torch's defaults, which `train.optim` leaves as they are
EPSILON = 1e-8
RMSPROP_ALPHA = 0.99

Terms = Sequence[Tensor]


@dataclass(frozen=True)
class Rule:
    """One optimizer. `moments` names the running tensors that it keeps for each parameter, as torch does.

    `terms(rates, momenta, steps)` are the numbers (T,) float64 that a step depends on; `move(parameter, gradient,
    moments, terms)` takes it in place, the terms broadcast to the parameter, and may use up the gradient.
    """

    moments: tuple[str, ...]
    terms: Callable[[Tensor, Tensor, Tensor], Terms]
    move: Callable[[Tensor, Tensor, Sequence[Tensor], Terms], None]
    decoupled_decay: bool = False


class HeadOptimizer:
    """Takes the steps of T heads whose parameters are stacked as (T, outputs, inputs) and (T, outputs).

    Recipes name the same optimizer, and differ in rate, weight decay and momentum as they like. As in `train.optim`,
    biases have no weight decay. `steps` (T,) counts those that each head has taken.
    """

    def __init__(self, recipes: Sequence[Recipe], parameters: Mapping[str, Tensor]) -> None:
        self._rule = RULES[recipes[0].optimizer]
        self._parameters = dict(parameters)
        self._moments = {
            name: {moment: torch.zeros_like(value, requires_grad=False) for moment in self._rule.moments}
            for name, value in parameters.items()
        }
        self._decays, self._momenta = _numbers(recipes)
        self.steps = torch.zeros(len(recipes), dtype=torch.float64)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], rates: Tensor) -> None:
        """One step of every head; rates: (T,) float64 on the CPU. Gradients, by name, are used up."""
        self.steps += 1
        shrink = 1 - rates * self._decays if self._rule.decoupled_decay else self._decays
        numbers = torch.stack([shrink, *self._rule.terms(rates, self._momenta, self.steps)])
        numbers = numbers.to(next(iter(self._parameters.values())))  # all at once: a copy to a GPU costs the same
        for name, parameter in self._parameters.items():
            decay, *terms = (by_head(each, parameter) for each in numbers)
            if parameter.ndim > 2 and bool(self._decays.any()):
                self._decay(parameter, gradients[name], decay)
            self._rule.move(parameter, gradients[name], list(self._moments[name].values()), terms)

    def tensors(self, place: int) -> dict[str, Tensor]:
        """Copies of what one head's steps have left, by `parameter/moment`."""
        return {
            f"{name}/{moment}": value[place].clone()
            for name, moments in self._moments.items()
            for moment, value in moments.items()
        }

    def load(self, place: int, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Puts back what `tensors()` gave after so many steps."""
        for name, moments in self._moments.items():
            for moment, value in moments.items():
                value[place] = tensors[f"{name}/{moment}"]
        self.steps[place] = steps

    def keep(self, places: Sequence[int], recipes: Sequence[Recipe], parameters: Mapping[str, Tensor]) -> None:
        """Goes on with the heads at `places` alone; `recipes` and `parameters` are theirs."""
        self._parameters = dict(parameters)
        self._moments = {
            name: {moment: value[list(places)] for moment, value in moments.items()}
            for name, moments in self._moments.items()
        }
        self._decays, self._momenta = _numbers(recipes)
        self.steps = self.steps[list(places)]

    def _decay(self, parameter: Tensor, gradient: Tensor, decay: Tensor) -> None:
        if self._rule.decoupled_decay:
            parameter.mul_(decay)
        else:
            gradient.addcmul_(parameter, decay)


def _numbers(recipes: Sequence[Recipe]) -> tuple[Tensor, Tensor]:
    """Weight decay and momentum (T,) float64 of recipes."""
    numbers = [(recipe.weight_decay, recipe.momentum) for recipe in recipes]
    decays, momenta = torch.tensor(numbers, dtype=torch.float64).view(-1, 2).unbind(1)
    return decays, momenta


def _adam_terms(rates: Tensor, momenta: Tensor, steps: Tensor) -> Terms:
    """Rate and epsilon with both corrections of the bias drawn into them, which saves a pass over the parameter."""
    correction = (1 - BETA2**steps).sqrt()
    return -rates * correction / (1 - BETA1**steps), EPSILON * correction


def _adam(parameter: Tensor, gradient: Tensor, moments: Sequence[Tensor], terms: Terms) -> None:
    (mean, square), (rate, epsilon) = moments, terms
    mean.lerp_(gradient, 1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    torch.sqrt(square, out=gradient).add_(epsilon)
    parameter.addcmul_(torch.div(mean, gradient, out=gradient), rate)


def _sgd_terms(rates: Tensor, momenta: Tensor, steps: Tensor) -> Terms:
    return -rates, momenta


def _sgd(parameter: Tensor, gradient: Tensor, moments: Sequence[Tensor], terms: Terms) -> None:
    """Nesterov's momentum; one of 0 leaves the gradient as it is."""
    (buffer,), (rate, momentum) = moments, terms
    buffer.mul_(momentum).add_(gradient)
    parameter.addcmul_(gradient.addcmul_(buffer, momentum), rate)


def _rmsprop_terms(rates: Tensor, momenta: Tensor, steps: Tensor) -> Terms:
    return (-rates,)


def _rmsprop(parameter: Tensor, gradient: Tensor, moments: Sequence[Tensor], terms: Terms) -> None:
    (square,), (rate,) = moments, terms
    square.mul_(RMSPROP_ALPHA).addcmul_(gradient, gradient, value=1 - RMSPROP_ALPHA)
    parameter.addcmul_(gradient.div_(square.sqrt().add_(EPSILON)), rate)


RULES = {
    "adamw": Rule(("exp_avg", "exp_avg_sq"), _adam_terms, _adam, decoupled_decay=True),
    "adam": Rule(("exp_avg", "exp_avg_sq"), _adam_terms, _adam),
    "sgd": Rule(("momentum_buffer",), _sgd_terms, _sgd),
    "rmsprop": Rule(("square_avg",), _rmsprop_terms, _rmsprop),
}
