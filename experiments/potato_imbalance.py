"""Does it pay to treat imbalance? Five treatments of one rare class, the same seeds for each.

Command:   python experiments/potato_imbalance.py --data DIR [options of `raytl search`]
           python experiments/potato_imbalance.py            (a carried backbone on drawn leaves, as unequal)
Data:      the potato leaves of PlantVillage, 1000, 1000 and 152 a class (Hughes and Salathé 2015), in a folder of class
           folders
Hardware:  a GPU for resnet50; two processor cores for the drawn leaves
Minutes:   2 for the drawn leaves
Expected:  recall of the rare class and macro F1 beside accuracy, and which treatment moves macro F1 by more than the
           spread between seeds
Came out:  drawn leaves, four seeds: the balanced sampler is 7.2 points of macro F1 [2.6, 11.8] above the mean

The question comes from a comparison of augmentation alone with a balanced sampler and class weights together, which
reported 96.30% and 95.83% accuracy, one run each. Here each treatment stands alone, too, and every figure has seeds.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from raytl.study import Study

STUDY = Study(
    name="potato-imbalance",
    data="drawn-leaves",
    backbones=("resnet50",),
    metric="val_macro_f1",
    confirm_seeds=5,
    settings={"augment": "crop+flip+rotate:15+jitter:0.2+affine:15,0.1+blur"},
    design={
        "treatment": {
            "none": {},
            "sampler": {"sampler": "balanced"},
            "weights": {"class_weights": "balanced"},
            "both": {"sampler": "balanced", "class_weights": "balanced"},
            "focal": {"loss": "focal", "focal_gamma": 2.0},
        }
    },
)

STAND_IN = replace(
    STUDY, name="imbalance-stand-in", data="drawn-leaves:300", backbones=("tiny_resnet",), epochs=4, confirm_seeds=4
)
QUICK = replace(STAND_IN, data="drawn-leaves:40", epochs=1, confirm_seeds=2)

if __name__ == "__main__":
    from search_all import run  # beside this file, which `raytl search --study` reads from anywhere

    sys.exit(run(__file__, sys.argv[1:]))
