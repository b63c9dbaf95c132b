"""Averages of many heads against the averages of one model, `train.ema.Ema`."""

import torch
from torch import Tensor, nn

from raytl.train.ema import Ema
from raytl.train.head_ema import HeadAverages

torch.set_num_threads(1)
DECAYS = [0.9, 0.0, 0.3, 0.999]


def moved(step: int) -> dict[str, Tensor]:
    """Where four heads are after a step."""
    generator = torch.Generator().manual_seed(step)
    return {
        "weight": torch.randn(4, 2, 3, generator=generator, dtype=torch.float64),
        "bias": torch.randn(4, 2, generator=generator, dtype=torch.float64),
    }


def alone(head: int, steps: int) -> dict[str, Tensor]:
    """What `Ema` makes of one head; its present values for a decay of 0."""
    layer = nn.Linear(3, 2, dtype=torch.float64)
    layer.load_state_dict({name: value[head] for name, value in moved(0).items()})
    ema = Ema(layer, DECAYS[head])
    for step in range(1, steps + 1):
        layer.load_state_dict({name: value[head] for name, value in moved(step).items()})
        ema.update()
    with ema.applied():
        return {name: value.clone() for name, value in layer.state_dict().items()}


def test_every_head_has_the_average_of_its_own_decay() -> None:
    averages = HeadAverages(DECAYS, moved(0))
    for step in range(1, 21):
        averages.update(moved(step), torch.full((4,), float(step), dtype=torch.float64))
    for head in range(4):
        found = {name: value[head] for name, value in averages.values.items()}
        torch.testing.assert_close(found, alone(head, 20), rtol=1e-12, atol=1e-14)
    assert torch.equal(averages.values["weight"][1], moved(20)["weight"][1])


def test_dropped_heads_leave_the_others_alone() -> None:
    averages = HeadAverages(DECAYS, moved(0))
    places = [0, 1, 2, 3]
    for step in range(1, 11):
        if step == 5:
            places = [3, 1]
            averages.keep(places)
        present = {name: value[places] for name, value in moved(step).items()}
        averages.update(present, torch.full((len(places),), float(step), dtype=torch.float64))
    torch.testing.assert_close(averages.values["weight"][0], alone(3, 10)["weight"], rtol=1e-12, atol=1e-14)
    averages.keep([1])
    assert averages.values == {}


def test_nothing_is_kept_where_nothing_is_averaged() -> None:
    averages = HeadAverages([0.0, 0.0], moved(0))
    averages.update(moved(1), torch.ones(2, dtype=torch.float64))
    averages.keep([0])
    assert averages.values == {}
