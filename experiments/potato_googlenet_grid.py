"""Which tricks help, and do they add up? Four ways to train times three recipes, the same seeds for each cell.

Command:   python experiments/potato_googlenet_grid.py --data DIR [options of `raytl search`]
           python experiments/potato_googlenet_grid.py --data DIR --others          (resnet50 and three more beside it)
           python experiments/potato_googlenet_grid.py            (googlenet from random weights on small drawn leaves)
Data:      the potato leaves of PlantVillage, 1000, 1000 and 152 a class (Hughes and Salathé 2015), in a folder of class
           folders
Hardware:  a GPU for 36 runs of googlenet; two processor cores for the drawn leaves
Minutes:   12 for the drawn leaves, beside other work
Expected:  a table of effects: what each strategy and each recipe does, and what they do together, each told from the
           spread between seeds

The question comes from nine runs, one a cell, whose author explained differences of ten points; the same model trained
again differed by twelve. The auxiliary outputs were thrown away in training there, so two of the three strategies were
one. Here they are trained at the weight that the architecture was published with (Szegedy et al. 2015), the frozen
extractor is the fourth, and every cell has seeds.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from raytl.study import Study

STUDY = Study(
    name="potato-googlenet-grid",
    data="drawn-leaves",
    backbones=("googlenet",),
    confirm_seeds=3,
    epochs=50,
    settings={"optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0, "early_stop": "patience:5,0.001"},
    design={
        "strategy": {
            "all trained": {"freeze_depth": 0},
            "auxiliary": {"freeze_depth": 0, "aux_loss_weight": 0.3},
            "gradual": {"freeze_depth": "all", "unfreeze_epoch": 5, "unfreeze_lr_scale": 0.1},
            "extractor": {"freeze_depth": "all"},
        },
        "recipe": {
            "plain": {"schedule": "step:10,0.5"},
            "smooth": {"schedule": "step:10,0.5", "label_smoothing": 0.1},
            "plateau": {"schedule": "plateau:0.5,2,1e-6", "label_smoothing": 0.1},
        },
    },
)

# Without auxiliary outputs the second strategy is the first: it is left out.
OTHERS = replace(
    STUDY,
    name="potato-grid-others",
    backbones=("resnet50", "vgg16", "mobilenetv2_100", "resnet18"),
    design={
        **STUDY.design,
        "strategy": {name: level for name, level in STUDY.design["strategy"].items() if name != "auxiliary"},
    },
)
STAND_IN = replace(
    STUDY,
    name="grid-stand-in",
    data="drawn-leaves:150",
    weights="none",
    image_size=64,
    epochs=12,
    settings={**STUDY.settings, "lr": 1e-3},
)
QUICK = replace(
    STAND_IN,
    data="drawn-leaves:20",
    epochs=1,
    confirm_seeds=2,
    design={**STUDY.design, "recipe": {name: STUDY.design["recipe"][name] for name in ("plain", "plateau")}},
)

if __name__ == "__main__":
    from search_all import run  # beside this file, which `raytl search --study` reads from anywhere

    sys.exit(run(__file__, sys.argv[1:]))
