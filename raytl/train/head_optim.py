"""The optimizers of T heads at once: the formulas of torch's as `train.optim` configures them, with rates by head.

torch's optimizers have one rate for a group of parameters, and a group for each head would be a loop over heads.
Here a parameter is (T, ...), and what differs between heads is broadcast over it. That takes several passes over
memory; where heads are so large that these cost more than the loop, there is a loop after all, over torch's fused
kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from raytl.recipe import Recipe
from raytl.train.head_layers import by_head

BETA1, BETA2 = 0.9, 0.999  # this and the next two: torch's defaults, which `train.optim` leaves as they are
EPSILON = 1e-8
RMSPROP_ALPHA = 0.99
LARGE = 1 << 15
"""Numbers in one head's parameter from which, on the CPU, heads are stepped one after the other.

Measured for 64 heads under AdamW, all at once against one after the other: of 16,384 numbers 1.0 and 1.3 ms on one core
(0.7 and 1.7 on two), of 32,768 2.7 and 2.1 (1.3 and 2.2), of 131,072 12.1 and 5.2 (14.4 and 3.8).
"""

Terms = Sequence[Tensor]
Moments = Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a step depends on, by head: (T,) float64 on the CPU; `steps` counts this one too."""

    rates: Tensor
    decays: Tensor
    momenta: Tensor
    steps: Tensor


@dataclass(frozen=True)
class One:
    """The numbers of one head; `before` is a float32 scalar of its own, the steps before this one."""

    rate: float
    decay: float
    momentum: float
    before: Tensor


@dataclass(frozen=True)
class Rule:
    """One optimizer. `moments` names the running tensors that it keeps for each parameter, as torch does.

    `terms` are what a step of all heads multiplies by, (T,) each. `together(parameter, gradient, moments, terms)` takes
    the step in place but for weight decay, the terms broadcast to the parameter, and may use up the gradient.
    `alone(parameter, gradient, moments, one)` takes a whole step of one head by a fused kernel, where torch has one.
    """

    moments: tuple[str, ...]
    terms: Callable[[Numbers], Terms]
    together: Callable[[Tensor, Tensor, Moments, Terms], None]
    alone: Callable[[Tensor, Tensor, Moments, One], None] | None
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
        self.steps = torch.zeros(len(recipes), dtype=torch.float64)
        self._read_recipes(recipes)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], rates: Tensor) -> None:
        """One step of every head; rates: (T,) float64 on the CPU. Gradients, by name, are used up."""
        self.steps += 1
        numbers = Numbers(rates, self._decays, self._momenta, self.steps)
        alone = self._rule.alone
        large = {name for name, parameter in self._parameters.items() if alone and _is_large(parameter)}
        if len(large) < len(self._parameters):
            self._step_together({name: value for name, value in gradients.items() if name not in large}, numbers)
        for name in large:
            self._step_each(name, gradients[name], numbers)

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
        self.steps = self.steps[list(places)]
        self._read_recipes(recipes)

    def _read_recipes(self, recipes: Sequence[Recipe]) -> None:
        self._decays = torch.tensor([recipe.weight_decay for recipe in recipes], dtype=torch.float64)
        self._momenta = torch.tensor([recipe.momentum for recipe in recipes], dtype=torch.float64)
        self._decaying = bool(self._decays.any())

    def _step_together(self, gradients: Mapping[str, Tensor], numbers: Numbers) -> None:
        """All heads at once, in as many passes as the rule has operations."""
        decays = 1 - numbers.rates * numbers.decays if self._rule.decoupled_decay else numbers.decays
        joined = torch.stack([decays, *self._rule.terms(numbers)])
        joined = joined.to(next(iter(gradients.values())))  # all in one copy, should it go to a GPU
        for name, gradient in gradients.items():
            parameter = self._parameters[name]
            decay, *terms = (by_head(each, parameter) for each in joined)
            if self._decaying and parameter.ndim > 2:
                _decay(parameter, gradient, decay, self._rule.decoupled_decay)
            self._rule.together(parameter, gradient, list(self._moments[name].values()), terms)

    def _step_each(self, name: str, gradient: Tensor, numbers: Numbers) -> None:
        """One head after the other, each in one pass."""
        assert self._rule.alone is not None
        parameter, moments = self._parameters[name], self._moments[name].values()
        decays = numbers.decays if parameter.ndim > 2 else torch.zeros_like(numbers.decays)
        floats = zip(numbers.rates.tolist(), decays.tolist(), numbers.momenta.tolist(), strict=True)
        before = (numbers.steps - 1).float()
        for own, slope, kept, each, past in zip(
            parameter, gradient, zip(*moments, strict=True), floats, before, strict=True
        ):
            self._rule.alone(own, slope, kept, One(*each, past))


def _is_large(parameter: Tensor) -> bool:
    return parameter.device.type == "cpu" and parameter[0].numel() >= LARGE


def _decay(parameter: Tensor, gradient: Tensor, decay: Tensor, decoupled: bool) -> None:
    if decoupled:
        parameter.mul_(decay)
    else:
        gradient.addcmul_(parameter, decay)


def _adam_terms(numbers: Numbers) -> Terms:
    """Rate and epsilon with both corrections of the bias drawn into them, which saves a pass over the parameter."""
    correction = (1 - BETA2**numbers.steps).sqrt()
    return -numbers.rates * correction / (1 - BETA1**numbers.steps), EPSILON * correction


def _adam(parameter: Tensor, gradient: Tensor, moments: Moments, terms: Terms) -> None:
    (mean, square), (rate, epsilon) = moments, terms
    mean.lerp_(gradient, 1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    torch.sqrt(square, out=gradient).add_(epsilon)
    parameter.addcmul_(torch.div(mean, gradient, out=gradient), rate)


def _fused_adam(coupled: bool) -> Callable[[Tensor, Tensor, Moments, One], None]:
    kernel = adam if coupled else adamw

    def alone(parameter: Tensor, gradient: Tensor, moments: Moments, one: One) -> None:
        mean, square = moments
        kernel(
            [parameter],
            [gradient],
            [mean],
            [square],
            max_exp_avg_sqs=[],
            state_steps=[one.before],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=BETA1,
            beta2=BETA2,
            eps=EPSILON,
            lr=one.rate,
            weight_decay=one.decay,
        )

    return alone


def _sgd_terms(numbers: Numbers) -> Terms:
    return -numbers.rates, numbers.momenta


def _sgd(parameter: Tensor, gradient: Tensor, moments: Moments, terms: Terms) -> None:
    """Nesterov's momentum; one of 0 leaves the gradient as it is."""
    (buffer,), (rate, momentum) = moments, terms
    buffer.mul_(momentum).add_(gradient)
    parameter.addcmul_(gradient.addcmul_(buffer, momentum), rate)


def _fused_sgd(parameter: Tensor, gradient: Tensor, moments: Moments, one: One) -> None:
    sgd(
        [parameter],
        [gradient],
        [*moments],
        fused=True,
        dampening=0.0,
        nesterov=one.momentum > 0,
        maximize=False,
        lr=one.rate,
        weight_decay=one.decay,
        momentum=one.momentum,
    )


def _rmsprop_terms(numbers: Numbers) -> Terms:
    return (-numbers.rates,)


def _rmsprop(parameter: Tensor, gradient: Tensor, moments: Moments, terms: Terms) -> None:
    (square,), (rate,) = moments, terms
    square.mul_(RMSPROP_ALPHA).addcmul_(gradient, gradient, value=1 - RMSPROP_ALPHA)
    parameter.addcmul_(gradient.div_(square.sqrt().add_(EPSILON)), rate)


RULES = {
    "adamw": Rule(("exp_avg", "exp_avg_sq"), _adam_terms, _adam, _fused_adam(coupled=False), decoupled_decay=True),
    "adam": Rule(("exp_avg", "exp_avg_sq"), _adam_terms, _adam, _fused_adam(coupled=True)),
    "sgd": Rule(("momentum_buffer",), _sgd_terms, _sgd, _fused_sgd),
    "rmsprop": Rule(("square_avg",), _rmsprop_terms, _rmsprop, None),
}
