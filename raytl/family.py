"""What is known beforehand about a backbone from its name: pixels, rates, and what is worth searching.

Each family has its own ranges: a rate that suits a ResNet destroys the pretrained weights of a transformer. Where a
number has no source or measurement beside it, it was chosen: a factor of ten or more to either side of common use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raytl.recipe import Recipe
from raytl.space import Choices, Domain, LogUniform, Space, Uniform

# The package's own backbones (`models.carried`); timm's tiny_vit_5m_224 and its like are not among them.
CARRIED_NAMES = ("tiny_mobilenet", "tiny_resnet", "tiny_vit")

# Head rate of the linear probe, lr * head_lr_scale = 1e-2. Measured on frozen mobilenetv2_100 features, AdamW with
# cosine, batch 32, six seeds: 5 epochs reach 0.953 on 153 pictures of ants and bees and 0.866 on 350 flowers, 20 epochs
# 0.952 and 0.881. A third of the rate gives 0.948 and 0.847 after 5 epochs, three times as much 0.949 and 0.859;
# weight decay 0.01 and 0.1 differ by at most 0.006.
PROBE_LR = 1e-3
PROBE_HEAD_LR_SCALE = 10.0

# Measured on 208 pictures of ants and bees (mobilenetv2_100, three seeds): see results/LOG.md.
HEAD_EMA = 0.95
VIEWS = 8  # chosen: stored views of each training picture; with nine epochs nearly as many as fresh augmentation shows

IMBALANCE = 1.5  # chosen: largest over smallest class, from which class weights are worth a try
STEPS_PER_EPOCH = 6  # chosen: a batch size that leaves fewer steps in an epoch is not offered
BATCH_SIZE = 32
STRIDE = 32  # pixels that one value of the last map of most backbones stands for
RESIZE = 8 / 7  # 256 for 224 pixels, as in the evaluation of most ImageNet models

# (size, resize) of backbones whose published size their name does not give; flowers_backbones.py uses the second.
_PIXELS = {
    "inception_v3": (299, 342),
    "tf_efficientnetv2_s": (300, 320),
}
_RESIZES = {256: 288}  # swinv2_tiny_window8_256, as in experiments/flowers_backbones.py
WEIGHT_DECAY = LogUniform(1e-4, 0.3)  # chosen: thirty times and more to either side of AdamW's usual 0.01


@dataclass(frozen=True, kw_only=True)
class Family:
    """Backbones that are fine-tuned alike; their names start with one of `prefixes` (parted by spaces).

    `enlarges`: pictures a little larger than those it was trained on may suit it better, since random crops showed it
    things larger than a center crop does (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
    `lr` is meant for AdamW; the optimizer is not searched, since the same rate means another thing under another one.
    `layer_decay` is per stage; None: not searched, and the head's own rate (`head_lr_scale`) is searched instead.
    """

    name: str
    prefixes: str = ""
    lr: LogUniform
    default_lr: float
    default_layer_decay: float = 1.0
    layer_decay: Uniform | None = None
    default_weight_decay: float = 0.01
    epochs: int = 9  # chosen: rungs at 1, 3 and 9
    enlarges: bool = False


# Decays per stage: papers give 0.65 to 0.9 per block, and a stage holds about three of a ViT's twelve.
_DECAY = Uniform(0.4, 1.0)

TINY = Family(name="tiny", lr=LogUniform(1e-4, 1e-2), default_lr=1e-3)
MOBILE = Family(
    name="mobile",
    prefixes="mobilenet mobileone efficientnet squeezenet lcnet mnasnet tinynet ghostnet shufflenet fbnet mixnet",
    lr=LogUniform(3e-5, 3e-3),
    default_lr=5e-4,
    enlarges=True,
)
RESIDUAL = Family(
    name="residual",
    prefixes="resnet resnext resnest res2net wide_resnet seresnet seresnext ecaresnet densenet regnet googlenet "
    "inception xception dpn",
    # experiments/potato_googlenet_grid.py, expressions.py: Adam at 1e-4 with all layers, 1e-3 with the head alone
    lr=LogUniform(1e-5, 3e-3),
    default_lr=2e-4,
    enlarges=True,
)
PLAIN = Family(
    name="plain",
    prefixes="vgg alexnet plain_cnn repvgg",
    lr=LogUniform(1e-6, 1e-3),  # experiments/fruit_attention.py: VGG needs 1e-5 where others learn at 1e-4
    default_lr=3e-5,
)
CONVNEXT = Family(
    name="convnext",
    prefixes="convnext",
    lr=LogUniform(1e-6, 1e-3),  # Liu et al. 2022, fine-tuning: AdamW at 5e-5 with layer-wise decay
    default_lr=1e-4,
    default_layer_decay=0.7,
    layer_decay=_DECAY,
    default_weight_decay=0.05,
)
TRANSFORMER = Family(
    name="transformer",
    prefixes="vit_ vit- deit swin beit eva cait xcit pvt flexivit tiny_vit maxvit",
    lr=LogUniform(1e-6, 1e-3),  # Liu et al. 2021, Swin fine-tuning at 1e-5; He et al. 2022, MAE fine-tuning to 1e-3
    default_lr=5e-5,
    default_layer_decay=0.7,
    layer_decay=_DECAY,
    default_weight_decay=0.05,
)
OTHER = Family(name="other", lr=LogUniform(1e-6, 3e-3), default_lr=1e-4)
# Random weights, whatever the backbone: nothing to preserve, so nothing to freeze either.
SCRATCH = Family(name="scratch", lr=LogUniform(1e-4, 1e-2), default_lr=1e-3, default_weight_decay=0.05, epochs=27)

FAMILIES = (TINY, MOBILE, RESIDUAL, PLAIN, CONVNEXT, TRANSFORMER, OTHER)


def family_of(backbone: str) -> Family:
    """The family that a backbone's name (timm's or torchvision's, with or without `tf_`) belongs to."""
    if backbone in CARRIED_NAMES:
        return TINY
    name = backbone.removeprefix("timm/").removeprefix("tf_")
    return next((family for family in FAMILIES if name.startswith(tuple(family.prefixes.split()))), OTHER)


def default_recipe(
    backbone: str, weights: str = "pretrained", epochs: int | None = None, image_size: int | None = None, seed: int = 0
) -> Recipe:
    """Fine-tuning of all stages that is sensible on little data; `epochs` None takes the family's own.

    `image_size` (pixels) None takes the size that the backbone was trained at, as far as its name tells.
    """
    family = _family(backbone, weights)
    count = family.epochs if epochs is None else epochs
    size, resize = _pixels(backbone, image_size)
    return Recipe(
        backbone=backbone,
        weights=weights,
        image_size=size,
        eval_resize=resize,
        lr=family.default_lr,
        head_lr_scale=1.0 if family is SCRATCH else PROBE_HEAD_LR_SCALE,
        layer_decay=family.default_layer_decay,
        weight_decay=family.default_weight_decay,
        warmup_epochs=1.0 if count >= 5 else 0.5,
        epochs=count,
        batch_size=BATCH_SIZE,
        augment="light",
        seed=seed,
    )


def probe_recipe(default: Recipe, stage_count: int) -> Recipe:
    """The linear probe of a backbone: all stages frozen, a linear head, the pictures as they are."""
    return replace(
        default,
        freeze_depth=stage_count,
        unfreeze_epoch=None,
        head_epochs=0,
        head="linear",
        attention="none",
        aux_loss_weight=0.0,
        lr=PROBE_LR,
        head_lr_scale=PROBE_HEAD_LR_SCALE,
        warmup_epochs=0.0,
        augment="none",
        views=0,
        mixup=0.0,
        cutmix=0.0,
        label_smoothing=0.0,
    )


def head_recipe(probe: Recipe, default: Recipe) -> Recipe:
    """All stages frozen like the probe, but with augmented pictures and averaged weights: the cheapest fine-tuning."""
    return with_views(replace(probe, augment=default.augment, ema_decay=HEAD_EMA))


def default_space(backbone: str, stage_count: int, class_counts: Sequence[int], weights: str = "pretrained") -> Space:
    """What is worth searching, at most ten fields; default recipe and probe lie inside (a probe needs weights).

    `class_counts` are the training pictures of each class: they decide on batch sizes and class weights.
    """
    family = _family(backbone, weights)
    domains: dict[str, Domain] = {"lr": family.lr, "weight_decay": WEIGHT_DECAY}
    if family is not SCRATCH:
        domains["freeze_depth"] = Choices(freeze_depths(stage_count))
        domains |= {"layer_decay": family.layer_decay} if family.layer_decay else {"head_lr_scale": LogUniform(1, 30)}
    batch_sizes = _batch_sizes(sum(class_counts))
    if len(batch_sizes) > 1:
        domains["batch_size"] = Choices(batch_sizes)
    domains["augment"] = Choices(("none", "light", "medium", "strong"))
    domains["label_smoothing"] = Choices((0.0, 0.1))
    domains["mixup"] = Choices((0.0, 0.2))
    domains["ema_decay"] = Choices((0.0, HEAD_EMA))
    return Space(domains | _weighting(class_counts))


def head_space(default: Recipe, class_counts: Sequence[int]) -> Space:
    """What is worth trying of a head alone; the linear probe lies inside.

    Rates are those of a head: `lr` times `PROBE_HEAD_LR_SCALE`, a third to ten times the probe's.
    """
    domains: dict[str, Domain] = {
        "lr": LogUniform(PROBE_LR / 3, PROBE_LR * 10),
        "weight_decay": WEIGHT_DECAY,
        "label_smoothing": Choices((0.0, 0.1)),
        "ema_decay": Choices((0.0, HEAD_EMA)),
        "augment": Choices(("none", default.augment) if default.augment != "none" else ("none",)),
    }
    if family_of(default.backbone).enlarges and enlarged(default.image_size) != default.image_size:
        domains["image_size"] = Choices((default.image_size, enlarged(default.image_size)))
    batch_sizes = _batch_sizes(sum(class_counts))
    if len(batch_sizes) > 1:
        domains["batch_size"] = Choices(batch_sizes)
    return Space(domains | _weighting(class_counts))


def enlarged(image_size: int) -> int:
    """A seventh more pixels in width and height, in whole thirty-seconds: 256 for 224."""
    return round(image_size * RESIZE / STRIDE) * STRIDE


def at_size(recipe: Recipe, image_size: int) -> Recipe:
    """The recipe with pictures of another size, evaluated in the same proportion."""
    if image_size == recipe.image_size:
        return recipe
    return replace(recipe, image_size=image_size, eval_resize=_resize_of(image_size))


def with_views(recipe: Recipe) -> Recipe:
    """The recipe with stored views where frozen stages see augmented pictures, so that they are run once for all."""
    shared = recipe.freeze_depth > 0 and recipe.augment != "none" and not (recipe.mixup or recipe.cutmix)
    return replace(recipe, views=VIEWS if shared else 0)


def freeze_depths(stage_count: int) -> tuple[int, ...]:
    """No stage, a quarter, half, three quarters and all of them, in whole stages."""
    return tuple(sorted({round(stage_count * quarter / 4) for quarter in range(5)}))


def _weighting(class_counts: Sequence[int]) -> dict[str, Domain]:
    imbalanced = max(class_counts) >= IMBALANCE * min(class_counts)
    return {"class_weights": Choices(("none", "balanced", "effective"))} if imbalanced else {}


def _family(backbone: str, weights: str) -> Family:
    unpublished = backbone == "plain_cnn" and weights == "pretrained"
    return SCRATCH if weights == "none" or unpublished else family_of(backbone)


def _batch_sizes(train_count: int) -> tuple[int, ...]:
    fitting = {size for size in (16, 32, 64) if size * STEPS_PER_EPOCH <= train_count}
    return tuple(sorted(fitting | {BATCH_SIZE}))


def _pixels(backbone: str, image_size: int | None) -> tuple[int, int]:
    """Image size and evaluation resize: given, known, said by the name, or 224."""
    if backbone in CARRIED_NAMES or backbone == "plain_cnn":
        size = image_size or 64
        return size, size
    if image_size is None and backbone in _PIXELS:
        return _PIXELS[backbone]
    size = image_size or _said_size(backbone)
    return size, _resize_of(size)


def _resize_of(image_size: int) -> int:
    return _RESIZES.get(image_size, round(image_size * RESIZE))


def _said_size(backbone: str) -> int:
    """The pixels in a transformer's name (`_384`); in other names such numbers are widths (`mobilenetv2_100`)."""
    said = re.search(r"_(\d{3})(?=[._]|$)", backbone)
    return int(said[1]) if said and family_of(backbone) is TRANSFORMER else 224
