"""Grad-CAM: closed forms, finite differences and whole models, and that the heat lies on what decides."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from raytl.data.views import View, center_batch
from raytl.errors import ConfigError, DataError
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.use.cam import BATCH, FEWEST_PLACES, heat_maps
from raytl.use.export import LoadedModel
from raytl.use.predict import logits_of
from tests.pictures import noise
from tests.test_stages import EVERY, FAMILIES, WIDE

pytestmark = pytest.mark.usefixtures("narrow_vgg")

CLASSES = ("ant", "bee", "wasp")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fresh(backbone: str, side: int, classes: int = 3, **values: Any) -> LoadedModel:
    """A model with random weights."""
    recipe = replace(
        Recipe(backbone=backbone, weights="none", image_size=side, eval_resize=side, precision="fp32"),
        **values,
    )
    torch.manual_seed(3)
    model = build_classifier(recipe, classes).eval()
    return LoadedModel(model, recipe, CLASSES[:classes], model.input, side)


def some(count: int, side: int) -> list[np.ndarray]:
    """Smooth patterns, wider than high."""
    return [np.asarray(noise(index, side + 6, side)) for index in range(count)]


def batch_of(loaded: LoadedModel, pictures: list[np.ndarray]) -> Tensor:
    return center_batch(pictures, View(loaded.input.image_size, loaded.input.mean, loaded.input.std))


def enlarged(coarse: np.ndarray, side: int) -> np.ndarray:
    """(B, h, w) to (B, side, side) by Pillow, negative values cut off before, the maximum of each 1."""
    positive = np.maximum(coarse, 0).astype(np.float32)
    large = [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BILINEAR)) for each in positive]
    return np.stack([each / max(each.max(), 1e-30) for each in large])


@torch.no_grad()
def test_behind_an_average_and_a_linear_head_it_is_the_class_activation_map() -> None:
    """Closed form: the slope of a class at every place is its weight / (h w), so the map is the one of Zhou et al."""
    loaded, pictures = fresh("plain_cnn", 48), some(4, 48)
    last_map = loaded.model.backbone.net(batch_of(loaded, pictures))
    weight = loaded.model.head.state_dict()["out.weight"]
    wanted = [2, 0, 1, 1]
    expected = torch.einsum("bk,bkhw->bhw", weight[wanted], last_map)
    found = heat_maps(loaded, pictures, wanted)
    assert (expected > 0).any() and found.max() == 1
    np.testing.assert_allclose(found, enlarged(expected.numpy(), 48), atol=1e-5)


@torch.no_grad()
def test_one_logit_speaks_for_the_second_class_and_its_negative_for_the_first() -> None:
    loaded, pictures = fresh("plain_cnn", 48, classes=2, loss="bce"), some(6, 48)
    evidence = torch.einsum(
        "k,bkhw->bhw",
        loaded.model.head.state_dict()["out.weight"][0],
        loaded.model.backbone.net(batch_of(loaded, pictures)),
    ).numpy()
    np.testing.assert_allclose(heat_maps(loaded, pictures, [1] * 6), enlarged(evidence, 48), atol=1e-5)
    np.testing.assert_allclose(heat_maps(loaded, pictures, [0] * 6), enlarged(-evidence, 48), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "side", "values"),
    [
        ("tiny_vit", 32, {}),
        ("test_vit", 64, {"pool": "avg", "head": "mlp:8"}),
        ("mobilenetv3_small_050", 128, {"attention": "cbam:4"}),
        ("test_convnext", 128, {"loss": "focal"}),
        ("swin_tiny_patch4_window7_224", 128, {}),
        ("plain_cnn", 32, {"pool": "flatten", "attention": "se:8"}),
    ],
)
def test_weights_are_the_slopes_by_finite_differences(backbone: str, side: int, values: dict[str, Any]) -> None:
    """Reference without autograd: a channel's mean slope is what raising it everywhere does to the logit."""
    loaded, pictures = fresh(backbone, side, **values), some(1, side)
    rest = copy.deepcopy(loaded.model).double()
    last_map = rest.backbone.features(batch_of(loaded, pictures).double())
    tokens = last_map.ndim == 3
    first = rest.backbone.plan.prefix_tokens
    places = last_map[:, first:].transpose(1, 2) if tokens else last_map.flatten(2)
    slopes = []
    for channel in range(places.shape[1]):
        raised = torch.zeros_like(last_map)
        raised[(0, slice(first, None), channel) if tokens else (0, channel)] = 1e-5
        high, low = (_behind(rest, last_map + sign * raised)[0, 1] for sign in (1, -1))
        slopes.append((high - low) / 2e-5 / places.shape[2])
    grid = int(places.shape[2] ** 0.5)
    coarse = (torch.stack(slopes)[:, None] * places[0]).sum(0).view(1, grid, grid)
    assert grid >= FEWEST_PLACES and (coarse > 0).any()
    np.testing.assert_allclose(heat_maps(loaded, pictures, [1]), enlarged(coarse.numpy(), side), atol=2e-3)


def _behind(model: Classifier, last_map: Tensor) -> Tensor:
    logits: Tensor = model.head(model.backbone.pooled(model.attention(last_map)))
    return logits


def test_a_class_token_is_followed_into_the_last_attention() -> None:
    """The last block written out: what its first norm gives is where the slopes are taken."""
    loaded, pictures = fresh("test_vit", 64), some(2, 64)
    net, head = loaded.model.backbone.net, loaded.model.head
    *before, last = net.blocks  # type: ignore[misc]
    x = net._pos_embed(net.patch_embed(batch_of(loaded, pictures)))  # type: ignore[operator]
    for block in before:
        x = block(x)
    normed = last.norm1(x).detach().requires_grad_()
    y = x.detach() + last.attn(normed)
    tokens = net.norm(y + last.mlp(last.norm2(y)))  # type: ignore[operator]
    logits = head(tokens[:, 0])
    torch.testing.assert_close(logits, logits_of(loaded, pictures), rtol=0, atol=1e-5)
    logits[:, 2].sum().backward()
    assert normed.grad is not None
    weights = normed.grad[:, 1:].mean(1)
    coarse = (weights[:, None] * normed[:, 1:]).sum(2).view(2, 4, 4).detach().numpy()
    found = heat_maps(loaded, pictures, [2, 2])
    assert found.max() == 1
    np.testing.assert_allclose(found, enlarged(coarse, 64), atol=1e-4)


def test_a_map_of_too_few_places_is_read_one_stage_earlier() -> None:
    """A ResNet's last stage written out, between its input of 4 x 4 places and its output of 2 x 2."""
    loaded, pictures = fresh("tiny_resnet", 64), some(1, 64)
    net = loaded.model.backbone.net
    with torch.no_grad():
        early = net.layer3(net.layer2(net.layer1(net.maxpool(net.act1(net.bn1(net.conv1(batch_of(loaded, pictures))))))))  # type: ignore[operator] # fmt: skip # noqa: E501
    early = early.requires_grad_()
    loaded.model.head(net.layer4(early).mean((2, 3)))[0, 1].backward()  # type: ignore[operator]
    assert early.shape[2:] == (4, 4) and early.grad is not None
    coarse = (early.grad.mean((2, 3), keepdim=True) * early).sum(1).detach().numpy()
    loaded.model.zero_grad()
    np.testing.assert_allclose(heat_maps(loaded, pictures, [1]), enlarged(coarse, 64), atol=1e-4)


@pytest.mark.parametrize("backbone", EVERY)
def test_every_family_has_a_map_and_is_left_as_it_was(backbone: str) -> None:
    side = {**FAMILIES, **WIDE}[backbone]
    loaded, pictures = fresh(backbone, side), some(2, side)
    model = loaded.model
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    parameters, modes = list(model.parameters()), [module.training for module in model.modules()]
    asked = [parameter.requires_grad for parameter in parameters]
    found = heat_maps(loaded, pictures, [0, 1])
    assert found.shape == (2, side, side) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0
    assert all(each.max() == pytest.approx(1) or not each.any() for each in found)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == asked
    assert all(parameter.grad is not None and (parameter.grad == 7).all() for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_map_does_not_depend_on_the_other_pictures() -> None:
    loaded, pictures = fresh("plain_cnn", 32), some(BATCH + 2, 32)
    wanted = [index % 3 for index in range(len(pictures))]
    together = heat_maps(loaded, pictures, wanted)
    alone = np.concatenate(
        [heat_maps(loaded, [picture], [index]) for picture, index in zip(pictures, wanted, strict=True)]
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert heat_maps(loaded, [], []).shape == (0, 32, 32)


def test_bf16_is_near_fp32() -> None:
    loaded, pictures = fresh("tiny_vit", 64), some(3, 64)
    half = replace(loaded, recipe=replace(loaded.recipe, precision="bf16"))
    exact, near = (heat_maps(each, pictures, [0, 1, 2]) for each in (loaded, half))
    assert np.abs(exact - near).mean() < 0.05
    assert not np.array_equal(exact, near)


def test_where_nothing_speaks_for_a_class_the_map_is_zero() -> None:
    loaded = fresh("plain_cnn", 32)
    with torch.no_grad():
        loaded.model.head.get_submodule("out").weight[:2] = torch.tensor([[-1.0], [1.0]])  # type: ignore[operator]
    found = heat_maps(loaded, some(2, 32), [0, 1])
    assert not found[0].any() and found[1].any()


@pytest.mark.parametrize(
    ("classes", "message"),
    [([0], "1 classes for 2 pictures"), ([0, 3], "class 3: .* 3 classes"), ([-1, 0], "class -1")],
)
def test_classes_that_do_not_fit_are_refused(classes: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        heat_maps(fresh("plain_cnn", 32), some(2, 32), classes)


def test_models_without_places_are_refused() -> None:
    loaded = fresh("test_vit", 64)
    net = loaded.model.backbone.net
    for block in net.blocks:  # type: ignore[union-attr]
        block.attention = block._modules.pop("attn")
        block.attn = block.attention.forward
    with pytest.raises(ConfigError, match="test_vit: its head reads no place"):
        heat_maps(loaded, some(1, 64), [0])
    odd = fresh("tiny_vit", 32)
    embed = odd.model.backbone.net.patch_drop = DropsOne()
    assert isinstance(embed, nn.Module)
    with pytest.raises(ConfigError, match="tiny_vit: its last map has 15 tokens, which form no square"):
        heat_maps(odd, some(1, 32), [0])


class DropsOne(nn.Module):
    """Leaves the last token out."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :-1]


@dataclass(frozen=True)
class Squares:
    """Grey noise with a square of a class's colour in one corner, `inside` its pixels: (B, S, S) bool."""

    pictures: list[np.ndarray]
    labels: Tensor
    inside: np.ndarray


def squares(count: int, side: int, seed: int) -> Squares:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    pictures = generator.integers(60, 140, (count, side, side, 3)).astype(np.uint8)
    inside = np.zeros((count, side, side), bool)
    edge = side // 4
    for index, (down, right) in enumerate(generator.integers(0, 2, (count, 2)) * (side - edge)):
        inside[index, down : down + edge, right : right + edge] = True
    pictures[inside] = 40 + 180 * np.eye(3, dtype=np.uint8)[labels].repeat(edge**2, axis=0)
    return Squares(list(pictures), torch.from_numpy(labels), inside)


@cache
def taught(backbone: str, steps: int) -> LoadedModel:
    """A model that tells the squares apart."""
    loaded = fresh(backbone, 64)
    optimizer = torch.optim.AdamW(loaded.model.parameters(), 1e-3)
    loaded.model.train()
    for step in range(steps):
        made = squares(16, 64, step)
        optimizer.zero_grad()
        functional.cross_entropy(loaded.model(batch_of(loaded, made.pictures)), made.labels).backward()
        optimizer.step()
    loaded.model.eval()
    return loaded


TAUGHT = [("plain_cnn", 30), ("tiny_resnet", 60), ("test_vit", 60)]


@pytest.mark.parametrize(("backbone", "steps"), TAUGHT)
def test_the_heat_lies_on_what_tells_the_classes_apart(backbone: str, steps: int) -> None:
    loaded, shown = taught(backbone, steps), squares(40, 64, 1_000_000)
    predicted = logits_of(loaded, shown.pictures).argmax(1)
    assert (predicted == shown.labels).float().mean() > 0.9
    found = heat_maps(loaded, shown.pictures, predicted.tolist())
    hottest = [np.unravel_index(each.argmax(), each.shape) for each in found]
    hits = [inside[place] for inside, place in zip(shown.inside, hottest, strict=True)]
    assert np.mean(hits) > 0.6, "the hottest place is in the square, a sixteenth of the picture"
    assert found[shown.inside].mean() > 2 * found[~shown.inside].mean()


@pytest.mark.parametrize(("backbone", "steps"), TAUGHT)
def test_hiding_what_is_hot_costs_more_than_hiding_what_is_cold(backbone: str, steps: int) -> None:
    loaded, shown = taught(backbone, steps), squares(40, 64, 2_000_000)
    logits = logits_of(loaded, shown.pictures)
    predicted = logits.argmax(1)
    order = heat_maps(loaded, shown.pictures, predicted.tolist()).reshape(40, -1).argsort(axis=1, kind="stable")
    quarter = order.shape[1] // 4
    losses = []
    for hidden in (order[:, -quarter:], order[:, :quarter]):
        masked = np.stack(shown.pictures).reshape(40, -1, 3)
        np.put_along_axis(masked, hidden[..., None], 100, axis=1)
        after = logits_of(loaded, list(masked.reshape(40, 64, 64, 3)))
        losses.append((logits - after).gather(1, predicted[:, None]).mean())
    assert losses[0] > 0.5 and losses[0] > 2 * losses[1]
