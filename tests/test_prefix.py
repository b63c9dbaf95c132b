"""Activations of a frozen prefix: the suffix makes the same of them as of pictures, and keys tell all apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from raytl.data.pixels import StoredPixels
from raytl.data.store import PIXELS, FitData
from raytl.data.views import View, eval_batch, train_batch
from raytl.errors import ConfigError
from raytl.models.classifier import Classifier, build_classifier
from raytl.models.stages import set_freeze_depth
from raytl.recipe import Recipe
from raytl.train.device import Precision, memory_format
from raytl.train.prefix import EVALUATION, VIEW_SEED, compute, key_of, pictures_digest, weights_digests
from raytl.train.prefix_store import PrefixStore
from tests.prefixes import PLENTY, Clock
from tests.test_stages import FAMILIES, WIDE
from tests.tiny import first, tiny_data, tiny_recipe

pytestmark = pytest.mark.usefixtures("narrow_vgg")

FP32 = Precision("fp32", "cpu")
AUGMENT = "crop+flip+jitter:0.2"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"), sizes=(6, 3, 3))


def view_of(model: Classifier, recipe: Recipe) -> View:
    return View(recipe.image_size, model.input.mean, model.input.std, recipe.parsed_augment)


def classifier(recipe: Recipe) -> Classifier:
    torch.manual_seed(0)
    model = build_classifier(recipe, 3)
    return model.to(memory_format=memory_format(model))


def loss_of(model: Classifier, pass_: Callable[[], Tensor], labels: Tensor) -> Tensor:
    """The loss of one training pass; dropout and stochastic depth are drawn alike for all."""
    model.train()
    torch.manual_seed(3)
    return functional.cross_entropy(pass_(), labels)


def ticking(clock: Clock, produced: Callable[[np.ndarray], Iterator[Tensor]], rows: np.ndarray) -> Iterator[Tensor]:
    """Every boundary costs a second, so that storing it always pays."""
    for boundary in produced(rows):
        clock.now += 1
        yield boundary


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in WIDE)])
def test_training_on_stored_activations_is_training_on_pictures(name: str, data: FitData, tmp_path: Path) -> None:
    """At every depth that the backbone can be cut at, all captured in one pass."""
    size = {**FAMILIES, **WIDE}[name]
    recipe = Recipe(backbone=name, weights="none", image_size=size, eval_resize=size, augment=AUGMENT, views=2)
    model, clock, rows = classifier(recipe), Clock(), np.array([4, 0, 3, 5])
    view = view_of(model, recipe)
    depths = [depth for depth in range(len(model.stages) + 1) if model.backbone.splits_at(depth)]
    keys = [key_of(model, recipe, data.train, depth, 2, FP32) for depth in depths]
    run = partial(compute, model, data.train, view, depths, precision=FP32, seed=VIEW_SEED, view_index=2)
    store = PrefixStore(tmp_path / "store", PLENTY, clock)
    entries = store.build(keys, len(data.train), partial(ticking, clock, run), 4, uses=5).entries
    assert entries is not None
    x, labels = train_batch(data.train, rows, view, VIEW_SEED, 2), data.train.labels[torch.from_numpy(rows)]
    # from the deepest on: a pass in training mode changes the statistics of all stages that are open
    for depth, entry in reversed(list(zip(depths, entries, strict=True))):
        set_freeze_depth(model, depth)
        whole = loss_of(model, partial(model, x), labels)
        stored = entry.batch(rows)
        assert not stored.requires_grad and not stored.is_inference()
        rest = loss_of(model, partial(model.suffix, stored, depth), labels)
        torch.testing.assert_close(rest, whole, rtol=2e-5, atol=1e-6)
        rest.backward()


@pytest.mark.parametrize("name", ["tiny_mobilenet", "tiny_vit", "densenet121", "googlenet"])
def test_depths_captured_together_are_those_captured_alone(name: str, data: FitData) -> None:
    recipe = Recipe(backbone=name, weights="none", image_size=32, eval_resize=32, augment="none")
    model = classifier(recipe)
    arguments: dict[str, Any] = {"rows": np.arange(3), "precision": FP32, "seed": VIEW_SEED, "view_index": EVALUATION}
    depths = range(len(model.stages) + 1)
    view = view_of(model, recipe)
    together = [each.clone() for each in compute(model, data.train, view, depths, **arguments)]
    x = eval_batch(data.train, np.arange(3), view)
    for depth in depths:
        (alone,) = compute(model, data.train, view, [depth], **arguments)
        torch.testing.assert_close(together[depth], alone, rtol=0, atol=0)
        with torch.no_grad():
            torch.testing.assert_close(alone, model.eval().prefix(x, depth), rtol=0, atol=0)


def test_bf16_activations_are_those_of_a_bf16_pass(data: FitData) -> None:
    recipe = tiny_recipe(backbone="tiny_resnet", image_size=32, eval_resize=32)
    model, bf16 = classifier(recipe), Precision("bf16", "cpu")
    (found,) = compute(model, data.train, view_of(model, recipe), [2], np.arange(3), bf16, VIEW_SEED, EVALUATION)
    x = eval_batch(data.train, np.arange(3), view_of(model, recipe))
    with bf16.autocast(), torch.no_grad():
        expected = model.eval().prefix(x, 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_left_in_its_mode_at_every_boundary(training: bool, data: FitData) -> None:
    recipe = tiny_recipe(backbone="tiny_mobilenet", image_size=32, eval_resize=32, freeze_depth=2)
    model = classifier(recipe).train(training)
    modes = {name: module.training for name, module in model.named_modules()}
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    view = view_of(model, recipe)
    for _ in compute(model, data.train, view, [1, 3], np.arange(3), FP32, VIEW_SEED, 1):
        assert {name: module.training for name, module in model.named_modules()} == modes
        assert torch.is_grad_enabled()
    assert all(torch.equal(statistics[name], value) for name, value in model.state_dict().items())


def test_depths_ascend_and_lie_where_the_backbone_can_be_cut(data: FitData) -> None:
    recipe = tiny_recipe()
    model = classifier(recipe)
    arguments: dict[str, Any] = {"rows": np.arange(2), "precision": FP32, "seed": VIEW_SEED, "view_index": EVALUATION}
    with pytest.raises(ValueError, match=r"depths=\[2, 1\]: must ascend"):
        list(compute(model, data.train, view_of(model, recipe), [2, 1], **arguments))
    whole = Recipe(backbone="levit_128s", weights="none", augment="none")
    with pytest.raises(ConfigError, match="runs as a whole only"):
        list(compute(classifier(whole), data.train, view_of(model, whole), [1], **arguments))


BASE = tiny_recipe(backbone="tiny_resnet", image_size=32, eval_resize=32, augment=AUGMENT, views=3)


def test_equal_models_pictures_and_views_have_equal_keys(data: FitData) -> None:
    one, other = classifier(BASE), classifier(replace(BASE, lr=0.5, seed=4, batch_size=2, epochs=9))
    mixed = replace(BASE, augment="jitter:0.2+flip+crop")
    keys = {key_of(one, BASE, data.train, 2, 1, FP32), key_of(other, mixed, data.train, 2, 1, FP32)}
    assert len({key.name for key in keys}) == len(keys) == 1
    assert len(keys.pop().name) == 24


@pytest.mark.parametrize(
    "values",
    [
        {"image_size": 24},
        {"normalize": "imagenet"},
        {"augment": "crop+flip+jitter:0.3"},
        {"augment": "none"},
        {"backbone": "tiny_mobilenet"},
    ],
)
def test_another_recipe_has_another_key(values: dict[str, Any], data: FitData) -> None:
    changed = replace(BASE, **values)
    one = key_of(classifier(BASE), BASE, data.train, 2, 1, FP32)
    assert key_of(classifier(changed), changed, data.train, 2, 1, FP32).name != one.name


def test_depth_view_precision_and_pictures_have_keys_of_their_own(data: FitData) -> None:
    model = classifier(BASE)
    fewer = first(data.train, 5)
    turned = replace(fewer, keys=fewer.keys[::-1].copy())
    elsewhere = replace(fewer, pixels=StoredPixels(Path("other", PIXELS), np.empty((0, 3))))
    keys = [
        key_of(model, BASE, data.train, 2, 1, FP32),
        key_of(model, BASE, data.train, 3, 1, FP32),
        key_of(model, BASE, data.train, 2, 2, FP32),
        key_of(model, BASE, data.train, 2, EVALUATION, FP32),
        key_of(model, BASE, data.train, 2, 1, Precision("bf16", "cpu")),
        key_of(model, BASE, data.train, 2, 1, Precision("fp32", "cuda")),
        *(key_of(model, BASE, pictures, 2, 1, FP32) for pictures in (fewer, turned, elsewhere)),
    ]
    assert len({key.name for key in keys}) == len(keys)
    assert keys[0].forward_pass == keys[1].forward_pass
    assert len({key.forward_pass for key in keys}) == len(keys) - 1


def test_without_augmentation_every_view_is_the_evaluations(data: FitData) -> None:
    recipe = replace(BASE, augment="none")
    model = classifier(recipe)
    keys = {key_of(model, recipe, data.train, 1, view, FP32) for view in (EVALUATION, 1, 2)}
    assert len(keys) == 1
    arguments = (model, data.train, view_of(model, recipe), [1], np.arange(4), FP32, VIEW_SEED)
    (evaluated,), (shown,) = compute(*arguments, EVALUATION), compute(*arguments, 2)
    torch.testing.assert_close(evaluated, shown, rtol=0, atol=0)


def test_pooling_matters_only_where_activations_are_pooled(data: FitData) -> None:
    last = len(classifier(BASE).stages)
    averaged = replace(BASE, pool="avg")
    attended = replace(BASE, attention="se:8")

    def key(recipe: Recipe, depth: int) -> str:
        return key_of(classifier(recipe), recipe, data.train, depth, 1, FP32).name

    assert key(BASE, 1) == key(averaged, 1) == key(attended, 1)
    assert len({key(BASE, last), key(averaged, last), key(attended, last)}) == 3


def test_every_tensor_of_the_prefix_and_none_behind_it_is_in_the_digest() -> None:
    """Each parameter, statistic and unsaved buffer in turn is changed a little."""
    model = classifier(BASE)
    before = weights_digests(model)
    assert len(set(before)) == len(model.stages) + 1
    net = model.backbone.net
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        owner = next(place for place, stage in enumerate(model.stages) if stage.owns(name))
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor.add_(1)
        changed = [depth for depth, digest in enumerate(weights_digests(model)) if digest != before[depth]]
        assert changed == list(range(owner + 1, len(model.stages) + 1)), name
        with torch.no_grad():
            tensor.copy_(kept)
    assert weights_digests(model) == before


def test_unsaved_buffers_count_and_memory_layout_does_not() -> None:
    recipe = Recipe(backbone="swin_tiny_patch4_window7_224", weights="none", image_size=32, eval_resize=32)
    model = classifier(recipe)
    saved = model.backbone.net.state_dict()
    unsaved = [value for name, value in model.backbone.net.named_buffers() if name not in saved]
    before = weights_digests(model)
    unsaved[0].add_(1)
    assert weights_digests(model)[-1] != before[-1]
    resnet = classifier(BASE)
    laid_out = weights_digests(resnet)
    assert weights_digests(resnet.to(memory_format=torch.contiguous_format)) == laid_out


def test_a_digest_of_pictures_is_theirs_wherever_the_store_lies(data: FitData) -> None:
    moved = replace(
        data.train, pixels=StoredPixels(Path("elsewhere", data.train.pixels.name, PIXELS), np.empty((0, 3)))
    )
    assert pictures_digest(moved) == pictures_digest(data.train)
