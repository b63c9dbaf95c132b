"""Moving averages against a hand-written one."""

import copy

import pytest
import torch
from torch import nn

from raytl.errors import StorageError
from raytl.train.ema import Ema

torch.set_num_threads(1)


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 3, 5, 5))
    return model


def change(model: nn.Module, seed: int) -> None:
    """Stands for one step of training: every parameter that may move does, and so do the running statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    model(torch.randn(4, 3, 5, 5, generator=generator))


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_average_is_the_hand_written_one(decay: float) -> None:
    model = make_model()
    ema = Ema(model, decay)
    expected = values(model)
    for t in range(30):
        change(model, t)
        ema.update()
        share = min(decay, (1 + t) / (10 + t))
        for name, value in model.state_dict().items():
            expected[name] = (
                share * expected[name] + (1 - share) * value if value.is_floating_point() else value.clone()
            )
    with ema.applied():
        torch.testing.assert_close(values(model), expected)


def test_own_weights_come_back_bit_for_bit_also_after_an_error() -> None:
    model = make_model()
    ema = Ema(model, 0.9)
    change(model, 1)
    ema.update()
    before = values(model)
    with ema.applied():
        averaged = values(model)
    assert_same(values(model), before)
    assert not torch.equal(averaged["0.weight"], before["0.weight"])
    with pytest.raises(RuntimeError, match="evaluation failed"), ema.applied():
        raise RuntimeError("evaluation failed")
    assert_same(values(model), before)
    with ema.applied():
        assert_same(values(model), averaged)


def test_a_decay_of_0_keeps_nothing_and_changes_nothing() -> None:
    model = make_model()
    ema = Ema(model, 0.0)
    change(model, 1)
    ema.update()
    before = values(model)
    assert ema.state() == {}
    with ema.applied():
        assert_same(values(model), before)
    ema.load({})


def test_frozen_parameters_are_not_kept_until_they_are_opened() -> None:
    model = make_model()
    model[0].requires_grad_(False)
    ema = Ema(model, 0.5)
    change(model, 1)
    ema.update()
    assert "0.weight" not in ema.state()
    model[0].requires_grad_(True)
    change(model, 2)
    ema.update()
    opened = values(model)["0.weight"]
    change(model, 3)
    ema.update()
    share = min(0.5, 3 / 12)
    expected = share * opened + (1 - share) * values(model)["0.weight"]
    torch.testing.assert_close(ema.state()["0.weight"], expected)


def test_what_does_not_change_is_averaged_to_itself_exactly() -> None:
    model = make_model()
    ema = Ema(model, 0.9)
    before = values(model)
    for _ in range(50):
        ema.update()
    with ema.applied():
        assert_same(values(model), before)


def test_a_saved_state_goes_on_as_if_it_had_not_stopped() -> None:
    model = make_model()
    ema = Ema(model, 0.9)
    for t in range(5):
        change(model, t)
        ema.update()
    other = copy.deepcopy(model)
    resumed = Ema(other, 0.9)
    resumed.load({name: value.clone() for name, value in ema.state().items()})
    for t in range(5, 9):
        for one, average in ((model, ema), (other, resumed)):
            change(one, t)
            average.update()
    assert_same(resumed.state(), ema.state())


def test_loading_copies() -> None:
    model = make_model()
    ema = Ema(model, 0.9)
    saved = {name: value.clone() for name, value in ema.state().items()}
    ema.load(saved)
    change(model, 1)
    ema.update()
    torch.testing.assert_close(saved["0.weight"], values(make_model())["0.weight"], rtol=0, atol=0)


@pytest.mark.parametrize("fault", ["unknown", "missing", "none kept", "one kept too many"])
def test_a_state_of_another_model_is_refused(fault: str) -> None:
    ema = Ema(make_model(), 0.0 if fault == "one kept too many" else 0.9)
    state = Ema(make_model(), 0.9).state()
    if fault == "unknown":
        state["7.weight"] = torch.zeros(1)
    if fault == "missing":
        del state["0.weight"]
    with pytest.raises(StorageError, match="do not fit"):
        ema.load({} if fault == "none kept" else state)
