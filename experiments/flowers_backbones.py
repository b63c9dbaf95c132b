"""Which of six backbones is best on flowers? As it was published, and as it can be told with seeds.

Command:   python experiments/flowers_backbones.py --data DIR [options of `raytl search`]
           python experiments/flowers_backbones.py --data DIR --as-published
           python experiments/flowers_backbones.py --data DIR --candidates
           python experiments/flowers_backbones.py            (carried backbones on drawn flowers)
Data:      a folder of class folders: daisy, dandelion, rose, sunflower, tulip, 2,746 pictures
Hardware:  a GPU; two processor cores for the carried backbones
Minutes:   3 for the stand-in; 22 for two small backbones on 750 flowers beside other work
Expected:  every backbone far above the share of the largest class, and the best of them with an interval
Came out:  mobilenetv2_100 on 750 flowers, five seeds: 0.929 [0.858, 0.962]; more in results/README.md

The question comes from a search of ten trials of three epochs for each backbone, then ten epochs at the best setting,
which reported test accuracies of 0.235 (vgg16, convnext_tiny, swinv2_tiny: the share of the largest class), 0.437
(vit_base), 0.483 (resnet50) and 0.634 (efficientnetv2_s), one run each. All its trials trained one model object, so
that the first rate of 0.05 destroyed the pretrained weights for all that followed. `--as-published` is that search with
its spaces, sizes, normalization and augmentation, and a model of its own for every trial. Its split was drawn in two
stratified steps from seed 42; ours is drawn by the same shares and seed, but not the same pictures.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from raytl.space import Choices, LogUniform
from raytl.study import FLAT, Study

OWN_AUGMENT = "crop+flip+autoaugment"

STUDY = Study(
    name="flowers-backbones",
    data="drawn-flowers",
    backbones=(
        "vgg16",
        "resnet50",
        "tf_efficientnetv2_s",
        "convnext_tiny",
        "vit_base_patch16_224",
        "swinv2_tiny_window8_256",
    ),
    trials=10,
    seed=42,
)
CANDIDATES = replace(
    STUDY,
    name="flowers-candidates",
    backbones=("resnext50_32x4d", "efficientnet_b0", "deit_base_patch16_224", "swin_tiny_patch4_window7_224"),
)
AS_PUBLISHED = replace(
    STUDY,
    name="flowers-as-published",
    policy=FLAT,
    searcher="optuna",
    scheduler="none",
    epochs=3,
    confirm_epochs=10,
    settings={
        "freeze_depth": 0,
        "optimizer": "adam",
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "head_lr_scale": 1.0,
        "layer_decay": 1.0,
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "ema_decay": 0.0,
        "normalize": "half",
        "augment": "crop+flip",
        "lr": LogUniform(1e-5, 1e-1),
        "batch_size": Choices((16, 32, 64)),
    },
    backbone_settings={
        "vgg16": {"normalize": "imagenet"},
        "resnet50": {"normalize": "imagenet"},
        "tf_efficientnetv2_s": {"augment": OWN_AUGMENT},
        "convnext_tiny": {"augment": OWN_AUGMENT},
    },
)
STAND_IN = replace(
    STUDY, name="flowers-stand-in", backbones=("tiny_mobilenet", "tiny_resnet", "tiny_vit"), trials=5, confirm_seeds=3
)
QUICK = replace(STAND_IN, data="drawn-flowers:15", backbones=("tiny_resnet",), trials=2, epochs=1, confirm_seeds=2)

if __name__ == "__main__":
    from search_all import run  # beside this file, which `raytl search --study` reads from anywhere

    sys.exit(run(__file__, sys.argv[1:]))
