"""Writes `raytl/backbone_names.txt` from the installed timm and torchvision: `python -m raytl.models.names`."""

from __future__ import annotations

from pathlib import Path

import timm
import torchvision

import raytl
from raytl.models.carried import CARRIED

# Left to timm, which has the same architectures under its own names (`vit_base_patch16_224`, `regnety_032`).
LEFT_TO_TIMM = ("vit_", "swin_", "maxvit_", "regnet_")

_HEADER = "# Backbone names and their sources; written by `python -m raytl.models.names`, not by hand.\n"


def available() -> dict[str, str]:
    """Names and sources: all of timm's models, torchvision's classifiers that timm lacks, and the package's own."""
    names = dict.fromkeys(timm.list_models(), "timm")
    classifiers = torchvision.models.list_models(module=torchvision.models)
    for name in classifiers:
        if name not in names and not name.startswith(LEFT_TO_TIMM):
            names[name] = "torchvision"
    names |= dict.fromkeys(CARRIED, "carried")
    names["plain_cnn"] = "raytl"
    return names


def write(path: Path) -> None:
    """Writes the list, sorted by name."""
    lines = (f"{name} {source}\n" for name, source in sorted(available().items()))
    path.write_text(_HEADER + "".join(lines), "utf-8")


if __name__ == "__main__":
    write(Path(raytl.__file__).parent / "backbone_names.txt")
