"""Heads trained together against a loop over single heads (tests/alone.py)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raytl.errors import ConfigError, DataError, StorageError
from raytl.models.heads import make_head
from raytl.recipe import FIELD_NAMES, LOSSES, OPTIMIZERS, Recipe
from raytl.train import head_optim
from raytl.train.head_array import FREE, IDLE, SHARED, HeadArray, bucket_of
from raytl.train.head_counts import ArrayCounts
from raytl.train.world import World
from tests.alone import BATCH, FEATURES, ROWS, Alone, Pictures, factor, first_head, noise_of

torch.set_num_threads(1)
CPU = torch.device("cpu")
EPOCHS = 4
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}  # asked for, of losses of about 1
FOLLOWED: list[dict[str, Any]] = [
    {"lr": 0.02, "weight_decay": 0.0, "label_smoothing": 0.1, "ema_decay": 0.9, "momentum": 0.0},
    {"lr": 0.005, "head_lr_scale": 2.0, "weight_decay": 0.2, "clip_norm": 0.05, "class_weights": "balanced"},
    {"lr": 0.01, "weight_decay": 0.1, "focal_gamma": 0.5, "momentum": 0.5, "class_weights": "effective"},
]


def recipes_of(free: Sequence[dict[str, Any]] = FOLLOWED, **common: Any) -> list[Recipe]:
    return [Recipe(**{"backbone": "resnet18", "batch_size": BATCH, **common, **each}) for each in free]


def array_of(recipes: Sequence[Recipe], pictures: Pictures, seeds: Sequence[int] | None = None) -> HeadArray:
    array = HeadArray(recipes, FEATURES, [pictures.counts], CPU, pictures.dtype)
    pairs = zip(recipes, seeds or range(len(recipes)), strict=True)
    array.load_heads([first_head(recipe, pictures, seed) for recipe, seed in pairs])
    return array


def train_array(array: HeadArray, pictures: Pictures, epochs: range) -> list[list[float]]:
    """The mean loss of each epoch, by head."""
    curves = []
    for epoch in epochs:
        total, noise = ArrayCounts.zeros(len(array), pictures.classes), noise_of(epoch)
        for step, x, labels in pictures.batches(epoch):
            factors = [factor(recipe, epoch, step) for recipe in array.recipes]
            total = total + array.step(x, labels, factors, noise, None).counts(labels, pictures.classes)
        curves.append([total.one(head).mean_loss for head in range(len(array))])
    return [list(curve) for curve in zip(*curves, strict=True)]


def assert_as_alone(recipes: Sequence[Recipe], pictures: Pictures) -> None:
    array = array_of(recipes, pictures)
    curves = train_array(array, pictures, range(EPOCHS))
    logits = array.logits(pictures.features)
    for head, recipe in enumerate(recipes):
        alone = Alone(recipe, pictures, head).train(range(EPOCHS))
        assert curves[head] == pytest.approx(alone.curve, abs=CLOSE[pictures.dtype])
        tolerance = 10 * CLOSE[pictures.dtype]  # logits are larger than losses
        torch.testing.assert_close(logits[head], alone.evaluated(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("head", ["linear", "mlp:7", "mlp:8-5"])
@pytest.mark.parametrize(("loss", "classes"), [("cross_entropy", 3), ("focal", 3), ("bce", 3), ("bce", 2)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_array_trains_as_a_loop_over_heads(
    optimizer: str, loss: str, classes: int, head: str, dtype: torch.dtype
) -> None:
    assert_as_alone(recipes_of(optimizer=optimizer, loss=loss, head=head), Pictures(classes, dtype))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_large_heads_are_stepped_one_after_the_other_to_the_same_end(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_optim, "LARGE", 20)  # of mlp:8: the weights of one layer are large, the others not
    assert_as_alone(recipes_of(optimizer=optimizer, head="mlp:8"), Pictures())


@pytest.mark.parametrize("head", ["linear", "mlp:8-5"])
@pytest.mark.parametrize("rates", [(0.3, 0.3, 0.3), (0.2, 0.5, 0.2)])
def test_dropout_is_that_of_a_head_alone(head: str, rates: tuple[float, ...]) -> None:
    free = [{**each, "dropout": rate} for each, rate in zip(FOLLOWED, rates, strict=True)]
    assert_as_alone(recipes_of(free, head=head), Pictures())


def test_the_heads_learn() -> None:
    curves = train_array(array_of(recipes_of(), Pictures()), Pictures(), range(30))
    assert all(curve[-1] < 0.9 * curve[0] for curve in curves)


def test_an_array_of_many_is_many_arrays_of_one() -> None:
    recipes, pictures = recipes_of(head="mlp:7"), Pictures()
    together = train_array(array_of(recipes, pictures), pictures, range(EPOCHS))
    for place, recipe in enumerate(recipes):
        (alone,) = train_array(array_of([recipe], pictures, [place]), pictures, range(EPOCHS))
        assert together[place] == pytest.approx(alone, abs=1e-12)


FIELDS = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-4, 0.05),
        "head_lr_scale": st.sampled_from([0.1, 1.0, 3.0]),
        "weight_decay": st.sampled_from([0.0, 0.01, 0.3]),
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "clip_norm": st.sampled_from([None, 0.01, 1.0]),
        "ema_decay": st.sampled_from([0.0, 0.5, 0.99]),
        "label_smoothing": st.sampled_from([0.0, 0.1, 0.3]),
        "focal_gamma": st.sampled_from([0.0, 1.0, 2.5]),
        "class_weights": st.sampled_from(["none", "balanced", "effective"]),
        "dropout": st.sampled_from([0.1, 0.4]),
    }
)


@settings(max_examples=30, deadline=None)
@given(
    free=st.lists(FIELDS, min_size=1, max_size=4),
    optimizer=st.sampled_from(OPTIMIZERS),
    loss=st.sampled_from(LOSSES),
    head=st.sampled_from(["linear", "mlp:4"]),
    drops=st.booleans(),
    classes=st.sampled_from([2, 3]),
)
def test_any_recipes_of_one_bucket_train_as_if_alone(
    free: list[dict[str, Any]], optimizer: str, loss: str, head: str, drops: bool, classes: int
) -> None:
    free = [{**each, "dropout": each["dropout"] * drops} for each in free]
    assert_as_alone(recipes_of(free, optimizer=optimizer, loss=loss, head=head), Pictures(classes))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_heads_that_remain_do_not_notice_those_that_go(optimizer: str) -> None:
    recipes, pictures, places = recipes_of(optimizer=optimizer), Pictures(), [2, 0]
    array = array_of(recipes, pictures)
    train_array(array, pictures, range(2))
    array.keep(places)
    assert array.recipes == (recipes[2], recipes[0])
    curves = train_array(array, pictures, range(2, EPOCHS))
    for place, head in enumerate(places):
        alone = Alone(recipes[head], pictures, head).train(range(EPOCHS))
        assert curves[place] == pytest.approx(alone.curve[2:], abs=1e-9)
        torch.testing.assert_close(array.logits(pictures.features)[place], alone.evaluated(), rtol=1e-8, atol=1e-8)


def test_all_heads_may_go() -> None:
    array = array_of(recipes_of(), Pictures())
    array.keep([])
    assert len(array) == 0


def resumed(array: HeadArray, places: Sequence[int], pictures: Pictures) -> HeadArray:
    """An array of the heads at `places`, made from what each has saved."""
    recipes = [array.recipes[place] for place in places]
    fresh = array_of(recipes, pictures, [50] * len(recipes))
    train_array(fresh, pictures, range(1))  # nothing of this may be left
    for index, place in enumerate(places):
        fresh.load(index, array.tensors(place))
    return fresh


@pytest.mark.parametrize("places", [[0, 1, 2], [2, 0], [1]])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_head_put_back_goes_on_as_if_it_had_not_stopped(optimizer: str, places: list[int]) -> None:
    recipes, pictures = recipes_of(optimizer=optimizer, head="mlp:7"), Pictures()
    array = array_of(recipes, pictures)
    train_array(array, pictures, range(2))
    other = resumed(array, places, pictures)
    expected, found = (train_array(each, pictures, range(2, EPOCHS)) for each in (array, other))
    for index, place in enumerate(places):
        assert found[index] == pytest.approx(expected[place], abs=1e-12)
        for state in (HeadArray.head_state, HeadArray.averaged_state):
            torch.testing.assert_close(state(other, index), state(array, place), rtol=1e-10, atol=1e-12)


def test_the_same_array_put_back_goes_on_bit_for_bit() -> None:
    recipes, pictures = recipes_of(), Pictures(dtype=torch.float32)
    array = array_of(recipes, pictures)
    train_array(array, pictures, range(2))
    other = resumed(array, [0, 1, 2], pictures)
    assert train_array(array, pictures, range(2, 4)) == train_array(other, pictures, range(2, 4))


def test_what_is_saved_or_shown_is_a_copy_that_fits_the_head() -> None:
    recipes, pictures = recipes_of(head="mlp:7"), Pictures()
    array = array_of(recipes, pictures)
    train_array(array, pictures, range(1))
    parts = [array.tensors(0), array.head_state(0), array.averaged_state(0)]
    before = [{name: value.clone() for name, value in part.items()} for part in parts]
    head = first_head(recipes[0], pictures, 9)
    head.load_state_dict(array.averaged_state(0))
    torch.testing.assert_close(array.logits(pictures.features)[0], head.eval()(pictures.features))
    train_array(array, pictures, range(1, 2))
    for part, kept in zip(parts, before, strict=True):
        assert all(torch.equal(part[name], kept[name]) for name in kept)
        assert not any(value.requires_grad for value in part.values())


@pytest.mark.parametrize(
    "other",
    [{"head": "mlp:5"}, {"optimizer": "sgd"}, {"ema_decay": 0.0}],
    ids=lambda other: "".join(other),
)
def test_the_state_of_another_head_is_refused(other: dict[str, Any]) -> None:
    recipe = recipes_of([FOLLOWED[0]])[0]
    saved = array_of([replace(recipe, **other)], Pictures()).tensors(0)
    with pytest.raises(StorageError, match=r"does not fit.*use the trial's own"):
        array_of([recipe], Pictures()).load(0, saved)


def test_a_head_that_diverges_is_named_and_harms_no_other() -> None:
    recipes, pictures = recipes_of(), Pictures()
    array = array_of(recipes, pictures)
    lost = array.tensors(1)
    lost["head/out.weight"] = torch.full_like(lost["head/out.weight"], torch.inf)
    array.load(1, lost)
    for epoch in range(2):
        for step, x, labels in pictures.batches(epoch):
            taken = array.step(x, labels, [factor(recipe, epoch, step) for recipe in recipes], None, None)
            assert taken.finite.tolist() == [True, False, True]
    array.keep([0, 2])
    curves = train_array(array, pictures, range(2, EPOCHS))
    for place, head in enumerate((0, 2)):
        alone = Alone(recipes[head], pictures, head).train(range(EPOCHS))
        assert curves[place] == pytest.approx(alone.curve[2:], abs=1e-9)


@pytest.mark.parametrize("head", ["linear", "mlp:7"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_each_fold_trains_as_an_array_of_its_own(head: str, dropout: float) -> None:
    pictures = Pictures()
    recipes = [replace(recipe, dropout=dropout) for recipe in recipes_of(head=head, loss="focal")]
    halves = torch.arange(ROWS).view(2, -1)
    counts = [torch.bincount(pictures.labels[half], minlength=3).tolist() for half in halves]
    first = [first_head(recipe, pictures, seed) for seed, recipe in enumerate(recipes)]

    def train(parts: Sequence[int]) -> HeadArray:
        array = HeadArray(recipes, FEATURES, [counts[part] for part in parts], CPU, torch.float64)
        array.load_heads(first)
        features = torch.stack([pictures.features[halves[part]] for part in parts])
        labels = torch.stack([pictures.labels[halves[part]] for part in parts])
        for step in range(12):
            if step == 6:
                array.keep([0, 2])
            factors = [factor(recipe, 0, step) for _ in parts for recipe in array.recipes]
            by_head = labels.repeat_interleave(len(array.recipes), 0)
            array.step(features, by_head, factors, noise_of(step), None)
        return array

    together, alone = train([0, 1]), [train([0]), train([1])]
    assert len(together) == 4
    features = pictures.features
    expected = torch.cat([array.logits(features) for array in alone])
    torch.testing.assert_close(together.logits(torch.stack([features, features])), expected, rtol=1e-9, atol=1e-9)


def test_a_norm_beyond_float32_concerns_only_heads_that_are_clipped() -> None:
    pictures = Pictures(dtype=torch.float32)
    recipes = recipes_of([{"clip_norm": 1.0}, {"clip_norm": None}], optimizer="sgd", lr=1e-9)
    array = HeadArray(recipes, FEATURES, [pictures.counts], CPU)
    array.step(1e25 * pictures.features, pictures.labels, [1.0, 1.0], None, None)
    assert bool(array.head_state(1)["out.weight"].isfinite().all())
    assert bool(array.head_state(1)["out.weight"].any())


@dataclass(frozen=True)
class Linked(World):
    """One of two workers that are threads: a sum waits for the other's half."""

    halves: list[Tensor] = field(default_factory=list)
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))

    def sum(self, tensor: Tensor) -> Tensor:
        self.halves[self.rank] = tensor.detach().clone()
        self.barrier.wait(timeout=20)
        total = self.halves[0] + self.halves[1]
        self.barrier.wait(timeout=20)  # nobody may write the next half before both have read this one
        return total


@dataclass
class Worker(threading.Thread):
    """Trains an array on its share of every batch."""

    array: HeadArray
    pictures: Pictures
    world: World
    cut: int
    total: ArrayCounts = field(default_factory=lambda: ArrayCounts.zeros(3, 3))

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        share = slice(self.cut) if self.world.is_main else slice(self.cut, None)
        for epoch in range(EPOCHS):
            for step, x, labels in self.pictures.batches(epoch):
                factors = [factor(recipe, epoch, step) for recipe in self.array.recipes]
                taken = self.array.step(x[share], labels[share], factors, None, self.world)
                self.total = self.total + taken.counts(labels[share], 3)


@pytest.mark.parametrize("cut", [4, 1, 7], ids=["halves", "one picture", "an empty share in short batches"])
@pytest.mark.parametrize("loss", LOSSES)
def test_two_workers_take_the_steps_of_one(loss: str, cut: int) -> None:
    recipes, pictures = recipes_of(loss=loss, head="mlp:7"), Pictures()
    whole = array_of(recipes, pictures)
    expected = train_array(whole, pictures, range(EPOCHS))
    link = Linked(size=2, halves=[torch.zeros(0)] * 2)
    workers = [Worker(array_of(recipes, pictures), pictures, replace(link, rank=rank), cut) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = workers[0].total + workers[1].total
    for head in range(3):
        assert total.one(head).count == EPOCHS * ROWS
        assert total.one(head).mean_loss == pytest.approx(sum(expected[head]) / EPOCHS, abs=1e-9)
        for worker in workers:
            torch.testing.assert_close(worker.array.head_state(head), whole.head_state(head), rtol=1e-8, atol=1e-10)


OTHER: dict[str, Any] = {
    "backbone": "vit_b_16",
    "weights": "none",
    "normalize": "half",
    "pool": "avg",
    "unfreeze_epoch": 3,
    "head": "mlp:4",
    "attention": "se:8",
    "optimizer": "sgd",
    "clip_norm": 1.0,
    "schedule": "constant",
    "early_stop": "rises:3",
    "precision": "bf16",
    "loss": "bce",
    "class_weights": "balanced",
    "sampler": "balanced",
    "augment": "none",
}


def other_value(name: str) -> Any:
    """A value of a recipe's field that is not its default."""
    default = {each.name: each.default for each in fields(Recipe)}[name]
    if name in OTHER:
        return OTHER[name]
    return default + 1 if isinstance(default, int) else default / 2 + 0.1  # type: ignore[operator]


BASE = Recipe(backbone="resnet18", dropout=0.2)


@pytest.mark.parametrize("name", sorted({*FREE, *IDLE}))
def test_recipes_that_differ_in_what_is_free_share_a_bucket(name: str) -> None:
    other = replace(BASE, **{name: other_value(name)})
    assert other != BASE
    assert bucket_of(other) == bucket_of(BASE)
    assert len(HeadArray([BASE, other], FEATURES, [[3, 4]], CPU)) == 2


@pytest.mark.parametrize("name", SHARED)
def test_recipes_that_differ_in_anything_else_do_not(name: str) -> None:
    other = replace(BASE, **{name: other_value(name)})
    assert bucket_of(other) != bucket_of(BASE)
    with pytest.raises(ConfigError, match=f"^{name}=.* in common"):
        HeadArray([BASE, other], FEATURES, [[3, 4]], CPU)


def test_every_field_is_free_or_shared_or_idle() -> None:
    assert sorted(FREE + SHARED + IDLE) == sorted(FIELD_NAMES)


def test_all_that_differs_is_said_at_once() -> None:
    other = replace(BASE, optimizer="sgd", batch_size=4, dropout=0.0)
    with pytest.raises(ConfigError) as caught:
        HeadArray([BASE, other, BASE], FEATURES, [[3, 4]], CPU)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "optimizer='adamw', 'sgd'",
        "batch_size=32, 4",
        "dropout > 0=True, False",
    ]


def test_no_recipe_makes_no_array() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        HeadArray([], FEATURES, [[3, 4]], CPU)


def test_a_class_without_pictures_cannot_be_weighted() -> None:
    with pytest.raises(DataError, match="class 1"):
        HeadArray([replace(BASE, class_weights="balanced")], FEATURES, [[3, 0]], CPU)


@pytest.mark.parametrize("wrong", ["count", "features", "layers"])
def test_heads_of_other_shapes_are_refused(wrong: str) -> None:
    array = HeadArray([BASE, BASE], FEATURES, [[3, 4]], CPU)
    recipe = replace(BASE, head="mlp:4") if wrong == "layers" else BASE
    inputs = FEATURES + 1 if wrong == "features" else FEATURES
    heads = [make_head(recipe.parsed_head, inputs, 2, 0.0) for _ in range(1 if wrong == "count" else 2)]
    with pytest.raises(ValueError, match="for an array of 2"):
        array.load_heads(heads)


def test_one_factor_is_not_taken_for_all() -> None:
    array, pictures = array_of(recipes_of(), Pictures()), Pictures()
    with pytest.raises(ValueError, match="1 factors for 3 heads"):
        array.step(pictures.features, pictures.labels, [1.0], None, None)


def test_making_an_array_draws_no_random_number() -> None:
    state = torch.get_rng_state()
    HeadArray([replace(BASE, head="mlp:4")], FEATURES, [[3, 4]], CPU)
    assert torch.equal(torch.get_rng_state(), state)
