"""Which backbone reads expressions best, at what price, and which of them overfits? Frozen and trained, with seeds.

Command:   python experiments/expressions.py --data DIR [--data MORE] [options of `raytl search`]
           python experiments/expressions.py            (carried backbones on drawn faces)
Data:      anime faces in seven class folders (angry, crying, embarrassed, happy, pleased, sad, shock), or ants and
           bees; several folders are taken together, classes matched by name
Hardware:  a GPU; two processor cores for small backbones
Minutes:   2 for the drawn faces; 6 for two small backbones on ants and bees
Expected:  the report's "Final models": accuracy against seconds to train for every backbone, frozen and trained, and
           training less validation accuracy, which grows with overfitting; what the networks look at, in heat maps
Came out:  ants and bees, three seeds: frozen or trained is no difference beyond the spread, frozen takes half the time

The question comes from DenseNet121 at 43.12% above ResNet50 at 40.25%, ResNet50 about 15% faster, one run each, "both
overfit". The head is that of the original: a layer of 512 behind the frozen backbone, dropout 0.5, Adam at 1e-3, up to
30 epochs, ended when the validation loss rose five times running. Its author wished for more backbones, tuning,
explanations and united data sets: the same head is trained with all stages open, too.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from raytl.study import Study

STUDY = Study(
    name="expressions",
    data="drawn-faces",
    backbones=("resnet50", "densenet121", "efficientnet_b0", "vit_base_patch16_224"),
    epochs=30,
    settings={
        "head": "mlp:512",
        "dropout": 0.5,
        "optimizer": "adam",
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "early_stop": "rises:5",
        "batch_size": 32,
        "augment": "flip+rotate:15+jitter:0.2",
    },
    design={
        "backbone is": {
            "frozen": {"freeze_depth": "all", "lr": 1e-3, "head_lr_scale": 1.0},
            "trained": {"freeze_depth": 0, "lr": 1e-4, "head_lr_scale": 10.0},
        }
    },
)
STAND_IN = replace(
    STUDY,
    name="expressions-stand-in",
    data="drawn-faces:60",
    backbones=("tiny_resnet", "tiny_mobilenet"),
    epochs=12,
    confirm_seeds=3,
)
QUICK = replace(STAND_IN, data="drawn-faces:10", backbones=("tiny_resnet",), epochs=1, confirm_seeds=2)

if __name__ == "__main__":
    from search_all import run  # beside this file, which `raytl search --study` reads from anywhere

    sys.exit(run(__file__, sys.argv[1:]))
