"""The study that is simulated: raytl's own space for one backbone, of which nothing is built."""

from __future__ import annotations

from pathlib import Path

from raytl.data.album import Album
from raytl.family import default_recipe, default_space, head_space, probe_recipe
from raytl.models.cost import BackboneFacts
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.study import FLAT, Study

BACKBONE, STAGES, EPOCHS = "resnet50", 5, 9
CLASSES = 10


def make_plan(searcher: str, trials: int, root: Path) -> Plan:
    """A study of one backbone with raytl's own space; no picture is read and no model built."""
    study = Study(
        name="simulation",
        data="simulated",
        backbones=(BACKBONE,),
        trials=trials,
        epochs=EPOCHS,
        searcher=searcher,
        policy=FLAT,
    )
    default = default_recipe(BACKBONE, epochs=EPOCHS)
    counts = [100] * CLASSES
    facts = BackboneFacts(
        name=BACKBONE,
        stage_names=tuple(f"stage{number}" for number in range(STAGES)),
        parameters=25_000_000,
        trainable_parameters=tuple(5_000_000 * (STAGES - depth) for depth in range(STAGES + 1)),
        frozen_fractions=tuple(depth / STAGES for depth in range(STAGES + 1)),
        forward_flops=4_000_000_000,
        image_size=default.image_size,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    space, heads = default_space(BACKBONE, STAGES, counts), head_space(default, counts)
    part = BackbonePlan(facts, default, probe_recipe(default, STAGES), space, heads)
    album = Album(root, tuple(f"class{number}" for number in range(CLASSES)), (), "simulated")
    return Plan(study, (album,), (part,), root / "cache")
