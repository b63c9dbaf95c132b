"""Grad-CAM: where in a picture a model finds what speaks for a class (Selvaraju et al. 2017, arXiv:1610.02391).

The activations are those that enter the head, the backbone's last map, as in the paper. Two kinds of models are read
one step earlier:
- Where a head reads a class token alone, patch tokens behind the last block have no say. Then it is what the last
  block's first norm hands to its attention, by which patches reach the class token; so does pytorch-grad-cam
  (https://jacobgil.github.io/pytorch-gradcam-book/vision_transformers.html). Measured on squares in a corner, the
  norm's output found them more often than its input.
- Small pictures leave a last map of one or four places, which tell nothing of where. Then it is the input of the
  last stage that has `FEWEST_PLACES` rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from raytl.data.views import View, center_batch
from raytl.errors import ConfigError, DataError
from raytl.models.classifier import Classifier
from raytl.train.device import resolve_precision
from raytl.use.export import LoadedModel

BATCH = 16  # chosen: bounds memory, whatever the number of pictures
# Chosen: rows and columns of a map; measured with 2, a square of a quarter's side was hardly ever found.
FEWEST_PLACES = 4


def heat_maps(loaded: LoadedModel, pictures: Sequence[np.ndarray], classes: Sequence[int]) -> np.ndarray:
    """How much each place of each picture speaks for a class: (B, S, S) float32 from 0 to 1, S the model's input side.

    `pictures`: (H, W, 3) uint8 with shorter sides of `eval_resize`, as prediction takes them; the maps are of the
    squares that the model sees (`data.views.center_squares`). `classes`: indices, one for each picture. The
    hottest place of a map is 1, and a map is 0 where nothing speaks for the class. With one logit, what speaks for the
    first class is what lowers it. The model stays as it is: its mode, its gradients.

    Raises:
        DataError: a class that the model does not have, or not one class for each picture.
        ConfigError: a model whose activations have no places in rows and columns.
    """
    side = loaded.input.image_size
    _check_classes(loaded, len(pictures), classes)
    maps = [np.zeros((0, side, side), np.float32)]
    for start in range(0, len(pictures), BATCH):
        batch = center_batch(pictures[start : start + BATCH], View(side, loaded.input.mean, loaded.input.std))
        wanted = torch.tensor(classes[start : start + BATCH])
        with torch.enable_grad(), resolve_precision(loaded.recipe.precision, batch.device).autocast():
            activations, slopes = _at_the_end(loaded.model, batch, wanted)
        maps.append(_heat(activations, slopes, side).numpy())
    return np.concatenate(maps)


def _check_classes(loaded: LoadedModel, count: int, classes: Sequence[int]) -> None:
    if len(classes) != count:
        raise DataError(f"{len(classes)} classes for {count} pictures; give one for each picture")
    for index in classes:
        if not 0 <= index < len(loaded.classes):
            raise DataError(f"class {index}: the model has {len(loaded.classes)} classes, from 0 on; give one of them")


def _at_the_end(model: Classifier, batch: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Activations and the slopes of the classes' logits, (B, C, h, w), as near to the head as places can be told."""
    activations, slopes = _tapped(model, model.attention, batch, classes)
    if slopes.ndim == 3:
        if not _on_a_grid(model, slopes).any():
            activations, slopes = _tapped(model, _last_attention(model), batch, classes)
        return _on_a_grid(model, activations), _on_a_grid(model, slopes)
    for module in _stage_starts(model):
        if min(activations.shape[2:]) >= FEWEST_PLACES:
            break
        activations, slopes = map(model.backbone.to_map, _tapped(model, module, batch, classes))
    return activations, slopes


def _stage_starts(model: Classifier) -> Iterator[nn.Module]:
    """The first modules of the stages, the last stage first; the first stage, which sees pixels, is left out."""
    for stage in reversed(model.backbone.plan.stages[1:]):
        if stage.steps and isinstance(stage.steps[0], str):
            yield model.backbone.net.get_submodule(stage.steps[0])


def _tapped(model: Classifier, module: nn.Module, batch: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """What enters `module`, and the slopes there of the logits that speak for `classes`.

    The pass is cut there by a hook that lasts for this pass alone; parameters take part as constants, so nothing is
    kept for a backward pass before the cut.
    """
    tapped: list[Tensor] = []

    def cut(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tapped.append(inputs[0].detach().float().requires_grad_())
        return (tapped[0].clone(), *inputs[1:])  # a copy: what follows may work in place

    constants = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with module.register_forward_pre_hook(cut):
        logits = functional_call(model, constants, (batch,))
    (slopes,) = torch.autograd.grad(_spoken_for(logits, classes).sum(), tapped[0])
    return tapped[0].detach(), slopes


def _spoken_for(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit (B,) of a class for each row (B, K); one logit has two signs."""
    columns = torch.cat([-logits, logits], 1) if logits.shape[1] == 1 else logits
    return columns.gather(1, classes[:, None])[:, 0]


def _last_attention(model: Classifier) -> nn.Module:
    """The attention of a transformer's last block, which is handed the first norm's output."""
    blocks = getattr(model.backbone.net, "blocks", None)
    last = list(blocks.children())[-1] if isinstance(blocks, nn.Module) else None
    attention = getattr(last, "attn", None)
    if not isinstance(attention, nn.Module):
        raise ConfigError(
            f"{model.backbone.name}: its head reads no place of its last map, and it has no blocks with attention in "
            "front of that, so no heat map can be made; use another backbone, or pool='avg'"
        )
    return attention


def _on_a_grid(model: Classifier, x: Tensor) -> Tensor:
    """A map (B, C, h, w) as it is; tokens (B, T, C), with or without those that stand for no place, as a square map."""
    if x.ndim == 4:
        return x
    for places in (x[:, model.backbone.plan.prefix_tokens :], x):
        side = math.isqrt(places.shape[1])
        if side and side**2 == places.shape[1]:
            return places.transpose(1, 2).unflatten(2, (side, side))
    raise ConfigError(
        f"{model.backbone.name}: its last map has {x.shape[1]} tokens, which form no square, so no heat map can be "
        "made; use another backbone"
    )


def _heat(activations: Tensor, slopes: Tensor, side: int) -> Tensor:
    """Both (B, C, h, w) -> (B, side, side): equations 1 and 2 of the paper, enlarged bilinearly, the maximum 1."""
    weights = slopes.mean((2, 3), keepdim=True)
    heat = functional.relu((weights * activations).sum(1, keepdim=True))
    large = functional.interpolate(heat, (side, side), mode="bilinear", align_corners=False)[:, 0]
    return large / large.amax((1, 2), keepdim=True).clamp_min(torch.finfo(large.dtype).tiny)
