"""Does attention help, and does pretraining? Fruit and vegetables with and without attention blocks, each at its rate.

Command:   python experiments/fruit_attention.py --data DIR [options of `raytl search`]     (36 classes)
           python experiments/fruit_attention.py --data DIR --plain      (the three-block network, random weights)
           python experiments/fruit_attention.py --data DIR --binary     (the same, fruit or vegetable, one logit)
           python experiments/fruit_attention.py [--stand-in-binary]     (that network on drawn fruit)
Data:      fruits and vegetables in 36 class folders under train, validation and test
Hardware:  a GPU; two processor cores for the small networks
Minutes:   2 for the drawn fruit
Expected:  the report's "Effects": what squeeze-and-excitation and CBAM do, at three learning rates, and whether that is
           larger than the spread between seeds; ROC's area for the binary task; "Data" names pictures that lie in two
           of the given splits
Came out:  drawn fruit, three seeds: the rate matters (1e-3: 8.5 points above the mean [5.9, 11.2]), attention does not

The question comes from 94.71% with attention against 95.82% without for a three-block network, 96.66% against 95.82%
for VGG16 and 96.94% against 97.49% for ResNet50, one run each, rates given by hand. Attention stands behind the last
stage (Hu et al. 2018 at ratio 8; Woo et al. 2018). Learning rates are a factor of the design, so that each block is
seen at its own best one. What pretraining does is the same command once more with `--weights none`.
Train and test folders of this data set share near-identical pictures: they are reported and kept out of the score.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from raytl.class_map import read_class_map
from raytl.study import Study

STUDY = Study(
    name="fruit-attention",
    data="drawn-fruit",
    backbones=("vgg16", "resnet50"),
    epochs=25,
    image_size=256,
    confirm_seeds=3,
    settings={
        "freeze_depth": 0,
        "pool": "avg",
        "head": "mlp:256",
        "dropout": 0.5,
        "optimizer": "adam",
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "head_lr_scale": 1.0,
        "batch_size": 32,
        "augment": "light",
    },
    design={
        "attention": {
            "without": {"attention": "none"},
            "squeeze-and-excitation": {"attention": "se:8"},
            "CBAM": {"attention": "cbam:8"},
        },
        "rate": {"1e-5": {"lr": 1e-5}, "1e-4": {"lr": 1e-4}, "1e-3": {"lr": 1e-3}},
    },
)
PLAIN = replace(
    STUDY,
    name="fruit-plain",
    backbones=("plain_cnn",),
    weights="none",
    settings={**STUDY.settings, "pool": "flatten", "head": "mlp:128"},
)
BINARY = replace(
    PLAIN,
    name="fruit-or-vegetable",
    epochs=10,
    class_map=read_class_map(Path(__file__).with_name("fruit_or_vegetable.csv")),
    settings={**PLAIN.settings, "loss": "bce"},
)
STAND_IN = replace(PLAIN, name="fruit-stand-in", data="drawn-fruit:15", image_size=32, epochs=6)
STAND_IN_BINARY = replace(BINARY, name="fruit-stand-in-binary", data="drawn-fruit:15", image_size=32, epochs=6)
QUICK = replace(
    STAND_IN,
    data="drawn-fruit:4",
    epochs=1,
    confirm_seeds=2,
    design={**STUDY.design, "rate": {name: STUDY.design["rate"][name] for name in ("1e-4", "1e-3")}},
)

if __name__ == "__main__":
    from search_all import run  # beside this file, which `raytl search --study` reads from anywhere

    sys.exit(run(__file__, sys.argv[1:]))
