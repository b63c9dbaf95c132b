"""Is it worth passing every picture through a frozen backbone again in each epoch? In-line against two-stage.

Command:   python experiments/inline_or_two_stage.py --data DIR [options of `raytl search`]    (five classes, Adam)
           python experiments/inline_or_two_stage.py --data DIR --binary             (two classes, one logit, RMSprop)
           python experiments/inline_or_two_stage.py            (a carried backbone on drawn flowers)
Data:      flowers in five class folders; dogs and cats in two, 2,000, 1,000 and 1,000 in train, validation and test
Hardware:  a GPU for vgg19; two processor cores for small backbones
Minutes:   1 for the stand-in; 23 for two small backbones on 750 flowers beside other work
Expected:  the report's "Effects": what each way reaches beyond the mean of all, with intervals, and below it what each
           took: seconds of training, seconds of whole runs, bytes stored, memory
Came out:  750 flowers, mobilenetv2_100, 5 seeds: no way is told apart by accuracy; two-stage takes a third of the time

The question comes from a comparison in words of two ways to train a head over a frozen VGG19: in-line (pictures pass
the backbone in every epoch, freshly augmented; 97.30% on dogs and cats, 82.20% on flowers, one run each) and two-stage
(features computed once: fast, but without augmentation). Here both are the same recipe under the same seeds, beside two
more ways: features of four augmented views, stored, and the last stage unfrozen at a low rate. The head is that of the
original: flattened features, layers of 256, 128 and 64, then the classes.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from raytl.study import Study

AUGMENT = "flip+rotate:36+zoom:0.4"  # the original's: a turn of up to a tenth of a circle to either side

STUDY = Study(
    name="inline-or-two-stage",
    data="drawn-flowers",
    backbones=("vgg19",),
    epochs=10,
    image_size=180,
    settings={
        "head": "mlp:256-128-64",
        "pool": "flatten",
        "batch_size": 16,
        "optimizer": "adam",
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "head_lr_scale": 1.0,
    },
    design={
        "way": {
            "in-line": {"freeze_depth": "all", "lr": 1e-3, "augment": AUGMENT},
            "two-stage": {"freeze_depth": "all", "lr": 1e-3, "augment": "none"},
            "two-stage of 4 views": {"freeze_depth": "all", "lr": 1e-3, "augment": AUGMENT, "views": 4},
            "last stage trained": {"freeze_depth": "all-1", "lr": 1e-5, "augment": AUGMENT},
        }
    },
)
BINARY = replace(
    STUDY, name="inline-or-two-stage-binary", settings={**STUDY.settings, "optimizer": "rmsprop", "loss": "bce"}
)
STAND_IN = replace(
    STUDY, name="inline-stand-in", data="drawn-flowers:60", backbones=("tiny_resnet",), image_size=64, confirm_seeds=3
)
QUICK = replace(STAND_IN, data="drawn-flowers:10", epochs=1, confirm_seeds=2)

if __name__ == "__main__":
    from search_all import run  # beside this file, which `raytl search --study` reads from anywhere

    sys.exit(run(__file__, sys.argv[1:]))
