"""Whether the disks have room for a study, once it is known what it writes."""

from __future__ import annotations

from pathlib import Path

from raytl.limits import BYTES_PER_PARAMETER
from raytl.machine import check_disk
from raytl.on_ray.cluster import Slots
from raytl.on_ray.plan import Plan, keepings
from raytl.on_ray.preflight import refuse

CHECKPOINT_COPIES = 3  # the model, its best epoch, and one moment at least


def check_room(plan: Plan, out: Path, slots: Slots) -> None:
    """Refuses a search for which the disk has too little room even where all goes well.

    Decoded pictures need none: those that do not fit are not stored.

    Raises:
        MachineError: how much there is, and how much is needed.
    """
    refuse((check_disk("disk of the study", out, least_bytes(plan, slots)),))


def least_bytes(plan: Plan, slots: Slots) -> int:
    """What a study certainly writes: a checkpoint per running trial, and the tensors of every final model."""
    parameters = [part.facts.parameters for part in plan.backbones]
    finals = plan.study.confirm_seeds * plan.study.splits
    return BYTES_PER_PARAMETER * (CHECKPOINT_COPIES * max(parameters) * slots.count + finals * sum(parameters))


def missing_bytes(plan: Plan) -> int:
    """Decoded pictures that are not stored yet, and will be."""
    return sum(each.missing_bytes for each in keepings(plan))
