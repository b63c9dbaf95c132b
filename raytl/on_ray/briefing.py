"""What a person is told before a study begins: its data, where it runs, what is known already, what will be done."""

from __future__ import annotations

from raytl.address import Place
from raytl.data.album import Album
from raytl.design import cells_of
from raytl.on_ray.cluster import Slots
from raytl.on_ray.earlier import goes_on
from raytl.on_ray.plan import Plan, stored_bytes
from raytl.results.recorder import Recorder
from raytl.results.schemas import DISTILL
from raytl.study import Study


def data_lines(album: Album) -> list[str]:
    """How many pictures there are, then each that cannot be used or looks odd, and why."""
    counts = {split: len(album.part(split)) for split in ("train", "val", "test")}
    shares = ", ".join(f"{count} {split}" for split, count in counts.items())
    return [
        f"data: {len(album.used)} pictures in {len(album.classes)} classes ({shares})",
        *(f"  {row.status}: {row.path}: {row.reason}" for row in album.pictures if row.status != "ok"),
    ]


def place_lines(place: Place, has_joined: bool) -> list[str]:
    """Which Ray it is and who decided that; nothing where nobody did. `has_joined`: this process has one already."""
    line = "Ray: the one that this process has joined already" if has_joined else place.line
    return [line] if line is not None else []


def known_lines(recorder: Recorder, swept: int) -> list[str]:
    """What an earlier run left, and what becomes of it; `swept` files of it have been removed."""
    ledger = recorder.ledger
    lines = [f"  {problem}" for problem in ledger.problems]
    if removed := swept + ledger.removed_files:
        lines.append(f"  {removed} files that an interrupted write left were removed")
    if not recorder.trials:
        return lines
    own = [row for row in recorder.trials.values() if row.stage != DISTILL]
    begun = [row.trial_id for row in own if goes_on(row)]
    continued = sum(bool(recorder.epochs[name]) for name in begun)
    return [
        *lines,
        f"going on: {len(own) - len(begun)} trials kept, {continued} continued from their checkpoints, "
        f"{len(begun) - continued} begun again",
    ]


def plan_lines(plan: Plan, slots: Slots) -> list[str]:
    """The backbones, and how many trials of what length share the machines in which way."""
    return [*_backbone_lines(plan), _work_line(plan, slots)]


def most_trials(study: Study) -> int:
    """How many trials, or runs of a design, there are to be done at the same time at most."""
    runs = len(cells_of(study.design)) * study.confirm_seeds * study.splits
    return (runs or study.trials) * len(study.backbones)


def _backbone_lines(plan: Plan) -> list[str]:
    return [
        f"{part.backbone}: {part.facts.parameters / 1e6:.2f}M parameters, {part.stage_count} stages, "
        f"{part.default.image_size} pixels, {part.default.precision}"
        for part in plan.backbones
    ]


def _work_line(plan: Plan, slots: Slots) -> str:
    epochs = max(part.default.epochs for part in plan.backbones)
    share = f"{slots.describe()}; {stored_bytes(plan) / 1e6:.0f} MB of decoded pictures"
    if plan.study.design:
        return f"design: {most_trials(plan.study)} runs of up to {epochs} epochs; {share}"
    seeds = plan.study.confirm_seeds
    return (
        f"search: {plan.trial_count} trials ({plan.study.trials} per backbone) of up to {epochs} epochs; "
        f"then {seeds} seed{'s' * (seeds > 1)} of the best; {share}"
    )
